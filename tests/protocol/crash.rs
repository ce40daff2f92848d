//! Power cuts: whatever of the last operations a disk loses, each manifest that is visible restores, nothing that was
//! published is gone, and the next run works.
//!
//! The operations of a whole history are recorded on a model disk. For each of them the states that a power cut right
//! after it may leave are made and judged.

use super::model::crash::Replay;
use super::model::disk::ModelDisk;
use super::model::image::{Effect, Image};
use super::model::judge::{Excused, Judge, Ledger, Places};
use super::model::runs::{self, DAY, Job};
use super::model::sources::{NAMES, Sources};
use crate::common::StoreKind;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use weekvault::archive::ArchiveError;
use weekvault::model::{ObjectId, Timestamp};
use weekvault::ops::{Error, clock};

/// What somebody does with the store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Do {
    /// The CronJob, of the sources in this state, into this week.
    Backup(&'static str, usize),
    Undelete(&'static str),
    /// A byte of an object that this manifest needs changes.
    Rot(&'static str),
    Repair,
}

/// With the days since its begin. Keeps two weeks: from the third week on something is retired, and with the next run
/// the trash is emptied of it.
const HISTORY: [(i64, Do); 11] = [
    (0, Do::Backup("2025-01", 0)),
    (7, Do::Backup("2025-02", 1)),
    // Once more in the same week: manifests are replaced, one of them for a while.
    (7, Do::Backup("2025-02", 2)),
    (7, Do::Undelete("2025-02/html")),
    (14, Do::Backup("2025-03", 3)),
    (15, Do::Undelete("2025-01/enigma")),
    (23, Do::Backup("2025-04", 4)),
    (24, Do::Rot("2025-04/html")),
    (24, Do::Repair),
    (24, Do::Backup("2025-04", 4)),
    (32, Do::Backup("2025-05", 5)),
];

const STATES: usize = 6;

struct History {
    sources: Sources,
    start: Image,
    log: Vec<Effect>,
    judge: Judge,
    ledger: Ledger,
    begin: Timestamp,
    /// What rots, and the operations between which it is not whole.
    rotten: Option<(ObjectId, Range<usize>)>,
}

impl History {
    /// Runs it all on a disk that fails in nothing.
    fn record(kind: StoreKind) -> Self {
        // By midday, so that which day's trash is emptied does not depend on the hour.
        let begin = Timestamp { secs: clock::now().secs / DAY * DAY + DAY / 2, nanos: 0 };
        let (sources, judge, ledger) = (Sources::new(STATES), Judge::default(), Ledger::default());
        let start = runs::before_the_first_run(kind);
        let disk = ModelDisk::new(start.clone(), begin);
        let mut history = Self { sources, start, log: Vec::new(), judge, ledger, begin, rotten: None };
        for (number, (day, action)) in HISTORY.iter().enumerate() {
            disk.state().clock = begin.plus_seconds(day * DAY);
            let (_, state) = history.last_backup(number);
            match action {
                Do::Backup(..) => {
                    let ran = runs::run(&disk, &history.job(number));
                    assert!(ran.is_done(), "{}", ran.told());
                }
                Do::Undelete(slot) => drop(runs::bring_back(&disk, slot).unwrap()),
                Do::Rot(slot) => {
                    let (id, path) = runs::an_object(&disk, slot);
                    let began = disk.state().log.len();
                    disk.state().rot(&path);
                    history.rotten = Some((id, began..usize::MAX));
                }
                Do::Repair => assert_eq!(runs::repair(&disk).unwrap().damaged_objects.len(), 1),
            }
            let disk = disk.state();
            if let Some((_, range)) = history.rotten.as_mut().filter(|(_, range)| range.end == usize::MAX)
                && matches!(action, Do::Backup(..))
            {
                range.end = disk.log.len();
            }
            let excused = history.excused(disk.log.len());
            let places = history.judge.learn(&disk.live, &[&history.sources.trees[state]], excused).unwrap();
            history.ledger.step(disk.log.len(), places);
        }
        assert_eq!(runs::unclean(&disk), None);
        let state = disk.state();
        assert!(state.wrongs.is_empty(), "{:?}", state.wrongs);
        history.log = state.log.clone();
        drop(state);
        history
    }

    /// The week and the sources' state of the backup that is under way, or was the last.
    fn last_backup(&self, step: usize) -> (&'static str, usize) {
        let backup = |(_, action): &(i64, Do)| match action {
            Do::Backup(week, state) => Some((*week, *state)),
            _ => None,
        };
        HISTORY[..=step].iter().rev().find_map(backup).unwrap()
    }

    fn job(&self, step: usize) -> Job {
        let (week, state) = self.last_backup(step);
        Job {
            week: week.parse().unwrap(),
            sources: self.sources.of_state(state),
            keep: 2,
            now: self.begin.plus_seconds(HISTORY[step].0 * DAY),
        }
    }

    fn excused(&self, operation: usize) -> Excused {
        self.rotten.as_ref().filter(|(_, range)| range.contains(&operation)).map(|(id, _)| *id)
    }
}

/// What was tried, by the threads of a test together.
#[derive(Default)]
struct Tried {
    states: AtomicUsize,
    restored: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    seen: Mutex<HashSet<blake3::Hash>>,
    without_tmp: Mutex<HashSet<blake3::Hash>>,
}

/// Judges one state that a power cut may leave.
fn judge(history: &History, tried: &Tried, operation: usize, image: &Image) -> Result<(), String> {
    tried.states.fetch_add(1, Ordering::Relaxed);
    let (all, without_tmp) = image.hashes();
    if !tried.seen.lock().unwrap().insert(all) {
        return Ok(());
    }
    let excused = history.excused(operation);
    let places = history.judge.check(image, excused)?;
    history.ledger.check(operation, &places)?;
    if !tried.without_tmp.lock().unwrap().insert(without_tmp) {
        return Ok(());
    }
    // A real restore takes time: some of them, picked by chance.
    let picked =
        |(_, hash): &(&String, &blake3::Hash)| hash.as_bytes()[0].abs_diff(without_tmp.as_bytes()[0]) < 16;
    if let Some((slot, hash)) = places.visible.iter().find(picked).filter(|_| excused.is_none()) {
        tried.restored.fetch_add(1, Ordering::Relaxed);
        let target = history.sources.folder().join(format!("restored {:?}", std::thread::current().id()));
        let _ = std::fs::remove_dir_all(&target);
        let disk = ModelDisk::rebooted(image.clone(), history.begin);
        if runs::restored(&disk, slot, &target)? != history.judge.tree(hash) {
            return Err(format!("{slot} is restored as something else"));
        }
    }
    goes_on(history, operation, image, &places).map_err(|wrong| format!("the next day's run: {wrong}"))
}

/// Does what was under way once more, a day later, on what the power cut left.
fn goes_on(history: &History, operation: usize, image: &Image, before: &Places) -> Result<(), String> {
    let step = history.ledger.step_at(operation).min(HISTORY.len() - 1);
    let mut job = history.job(step);
    job.now = job.now.plus_seconds(DAY);
    let disk = ModelDisk::rebooted(image.clone(), job.now);
    match HISTORY[step].1 {
        Do::Undelete(slot) => match runs::bring_back(&disk, slot) {
            // It came back before the power cut.
            Err(Error::Archive(ArchiveError::NotInTrash { .. })) if before.visible.contains_key(slot) => {}
            result => drop(result.map_err(|e| e.to_string())?),
        },
        Do::Rot(_) | Do::Repair => drop(runs::repair(&disk).map_err(|e| e.to_string())?),
        Do::Backup(..) => {}
    }
    let ran = runs::run(&disk, &job);
    if !ran.is_done() {
        return Err(ran.told());
    }
    let (week, state_of_sources) = history.last_backup(step);
    let state = disk.state();
    let after = history.judge.learn(&state.live, &[&history.sources.trees[state_of_sources]], None)?;
    if history.judge.check(&Replay::of(&state.start, &state.log).least(), None)? != after {
        return Err("not all that it did is durable".into());
    }
    // What was replaced is in the trash under the day that the machine's clock says, which is long ago in here.
    let lost =
        |(slot, hash): &(&String, &blake3::Hash)| !after.visible.contains_key(*slot) && !after.in_trash(hash);
    if let Some((slot, _)) = before.visible.iter().find(lost) {
        return Err(format!("{slot} is gone"));
    }
    if let Some(pvc) = NAMES.iter().find(|pvc| !after.visible.contains_key(&format!("{week}/{pvc}"))) {
        return Err(format!("{pvc} is not published"));
    }
    if let Some((left, _)) = state.live.files_below("/store/tmp").first() {
        return Err(format!("tmp/{left} is left"));
    }
    if let Some(wrong) = state.wrongs.first() {
        return Err(wrong.clone());
    }
    drop(state);
    let verified = runs::check(&disk).map_err(|e| e.to_string())?;
    if !verified.is_clean() || verified.unreferenced > 0 {
        return Err(format!("verify says {verified:?}"));
    }
    Ok(())
}

#[test]
fn a_power_cut_leaves_the_last_good_state() {
    cut_at_every(1, StoreKind::Plain, 20_000);
}

/// After some of the operations only: to seal and to open takes most of the time that a state's next run does. They are spread
/// over all runs.
#[test]
fn a_power_cut_leaves_the_last_good_state_of_a_sealed_store() {
    cut_at_every(97, StoreKind::Sealed, 600);
}

fn cut_at_every(stride: usize, kind: StoreKind, at_least: usize) {
    let began = Instant::now();
    let history = History::record(kind);
    let tried = Tried::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (history, tried) = (&history, &tried);
            scope.spawn(move || {
                let mut replay = Replay::new(&history.start);
                for operation in 0..=history.log.len() {
                    if operation % stride == 0 && operation / stride % threads == thread {
                        replay.states(operation as u64, |image, what| {
                            if let Err(wrong) = judge(history, tried, operation, &image) {
                                let last = operation.checked_sub(1).map(|o| &history.log[o]);
                                let when = format!("after {operation} operations, the last of them {last:?}");
                                let text = format!("{when}; {}:\n{wrong}\n{}", what(), image.print());
                                tried.wrong.lock().unwrap().push(text);
                            }
                        });
                    }
                    if let Some(effect) = history.log.get(operation) {
                        replay.apply(effect);
                    }
                }
            });
        }
    });
    println!(
        "{} operations, {} states tried, {} of them different, {} but for unfinished writes; {} restored; {:?}",
        history.log.len(),
        tried.states.load(Ordering::Relaxed),
        tried.seen.into_inner().unwrap().len(),
        tried.without_tmp.into_inner().unwrap().len(),
        tried.restored.into_inner(),
        began.elapsed()
    );
    assert!(tried.states.into_inner() > at_least, "too few");
    let wrong = tried.wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} states are wrong, such as this one: {}", wrong.len(), wrong[0]);
}

/// A run that was killed is resumed: what it has stored and is whole, the next one goes by, in a sealed store by sum and tag.
#[test]
fn what_a_killed_run_has_stored_is_adopted() {
    for kind in [StoreKind::Plain, StoreKind::Sealed] {
        let (sources, start) = (Sources::new(1), runs::before_the_first_run(kind));
        let job = Job {
            week: "2025-01".parse().unwrap(),
            sources: sources.of_state(0),
            keep: 2,
            now: clock::now(),
        };
        let disk = ModelDisk::new(start.clone(), job.now);
        assert!(runs::run(&disk, &job).is_done());
        let publishes = |effect: &Effect| match effect {
            Effect::Rename { to: at, .. } | Effect::Link { at } => at.name.ends_with(".manifest"),
            _ => false,
        };
        let log = disk.state().log.clone();
        let mut killed = start;
        log.iter().take_while(|effect| !publishes(effect)).for_each(|effect| killed.apply(effect));
        let objects: Vec<String> = killed.walk().into_iter().map(|(path, _)| path).collect();
        let object = objects.iter().find(|path| path.starts_with("/store/objects/") && path.contains('.'));
        for rotten in [None, object] {
            let disk = ModelDisk::rebooted(killed.clone(), job.now);
            if let Some(rotten) = rotten {
                disk.state().rot(Path::new(rotten));
            }
            let published = runs::run(&disk, &job).published.unwrap();
            let new: u64 = published.iter().map(|source| source.counts.new_objects).sum();
            assert_eq!(new, u64::from(rotten.is_some()), "{kind:?}");
        }
    }
}
