//! Power cuts: whatever of the last operations a disk loses, each manifest that is visible restores, nothing that was
//! published is gone, and the next run works.
//!
//! The operations of a whole history are recorded on a model disk. For each of them the states that a power cut right
//! after it may leave are made and judged.
#![cfg(test)]

mod common;
mod model;

use model::crash::Replay;
use model::disk::ModelDisk;
use model::image::{Effect, Image};
use model::judge::{Judge, Ledger, Places};
use model::runs::{self, DAY, Job};
use model::sources::{NAMES, Sources};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use weekvault::model::Timestamp;
use weekvault::ops::clock;

/// A run of the CronJob.
struct Step {
    week: &'static str,
    /// Which state the sources are in.
    state: usize,
    /// Days since the history's begin.
    day: i64,
}

const STATES: usize = 6;

/// Keeps two weeks: from the third week on something is retired, and a week later the trash is emptied of it.
const HISTORY: [Step; 6] = [
    Step { week: "2025-01", state: 0, day: 0 },
    Step { week: "2025-02", state: 1, day: 7 },
    // Once more in the same week: the manifest is replaced.
    Step { week: "2025-02", state: 2, day: 8 },
    Step { week: "2025-03", state: 3, day: 14 },
    Step { week: "2025-04", state: 4, day: 23 },
    Step { week: "2025-05", state: 5, day: 32 },
];

struct History {
    sources: Sources,
    start: Image,
    log: Vec<Effect>,
    judge: Judge,
    ledger: Ledger,
    begin: Timestamp,
}

impl History {
    /// Runs it all on a disk that fails in nothing.
    fn record() -> Self {
        let (sources, judge, begin) = (Sources::new(STATES), Judge::default(), clock::now());
        let start = Image::empty();
        let disk = ModelDisk::new(start.clone(), begin);
        let mut history = Self { sources, start, log: Vec::new(), judge, ledger: Ledger::default(), begin };
        for step in &HISTORY {
            disk.state().clock = history.begin.plus_seconds(step.day * DAY);
            let ran = runs::run(&disk, &history.job(step));
            assert!(ran.is_done(), "{}: {}", step.week, ran.told());
            let state = disk.state();
            history.judge.learn(&state.live, &history.sources.trees[step.state]).unwrap();
            history.ledger.step(state.log.len(), history.judge.check(&state.live).unwrap());
        }
        assert_eq!(runs::unclean(&disk), None);
        let state = disk.state();
        assert!(state.wrongs.is_empty(), "{:?}", state.wrongs);
        history.log = state.log.clone();
        drop(state);
        history
    }

    fn job(&self, step: &Step) -> Job {
        Job {
            week: step.week.parse().unwrap(),
            sources: self.sources.of_state(step.state),
            keep: 2,
            now: self.begin.plus_seconds(step.day * DAY),
        }
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
    let places = history.judge.check(image)?;
    history.ledger.check(operation, &places)?;
    if !tried.without_tmp.lock().unwrap().insert(without_tmp) {
        return Ok(());
    }
    if let Some((slot, hash)) =
        places.visible.iter().find(|(_, h)| (h.as_bytes()[0] ^ all.as_bytes()[0]) < 32)
    {
        tried.restored.fetch_add(1, Ordering::Relaxed);
        let target = history.sources.folder().join(format!("restored {:?}", std::thread::current().id()));
        let disk = ModelDisk::rebooted(image.clone(), history.begin);
        if runs::restored(&disk, slot, &target)? != history.judge.tree(hash) {
            return Err(format!("{slot} is restored as something else"));
        }
    }
    goes_on(history, operation, image, &places).map_err(|wrong| format!("the next day's run: {wrong}"))
}

/// Does what was under way once more, a day later, on what the power cut left.
fn goes_on(history: &History, operation: usize, image: &Image, before: &Places) -> Result<(), String> {
    let step = &HISTORY[history.ledger.step_at(operation).min(HISTORY.len() - 1)];
    let mut job = history.job(step);
    job.now = job.now.plus_seconds(DAY);
    let disk = ModelDisk::rebooted(image.clone(), job.now);
    let ran = runs::run(&disk, &job);
    if !ran.is_done() {
        return Err(ran.told());
    }
    let state = disk.state();
    history.judge.learn(&state.live, &history.sources.trees[step.state])?;
    let after = history.judge.check(&state.live)?;
    if history.judge.check(&Replay::of(&state.start, &state.log).least())? != after {
        return Err("not all that it did is durable".into());
    }
    // What was replaced is in the trash under the day that the machine's clock says, which is long ago in here.
    let lost =
        |(slot, hash): &(&String, &blake3::Hash)| !after.visible.contains_key(*slot) && !after.in_trash(hash);
    if let Some((slot, _)) = before.visible.iter().find(lost) {
        return Err(format!("{slot} is gone"));
    }
    if let Some(pvc) = NAMES.iter().find(|pvc| !after.visible.contains_key(&format!("{}/{pvc}", step.week))) {
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
    let began = Instant::now();
    let history = History::record();
    let tried = Tried::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (history, tried) = (&history, &tried);
            scope.spawn(move || {
                let mut replay = Replay::new(&history.start);
                for operation in 0..=history.log.len() {
                    if operation % threads == thread {
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
        tried.states.into_inner(),
        tried.seen.into_inner().unwrap().len(),
        tried.without_tmp.into_inner().unwrap().len(),
        tried.restored.into_inner(),
        began.elapsed()
    );
    let wrong = tried.wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} states are wrong, such as this one: {}", wrong.len(), wrong[0]);
}
