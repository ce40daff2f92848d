//! Each single operation on the store's disk fails, one after the other, in each way that disks and shares have: a run
//! survives it or says that it failed, whatever is visible restores, and the next run is as good as ever.

use super::model::acts::{Act, backup, clean_up, repair, text, undelete, verify, whole_run};
use super::model::crash::{Data, Fate, Replay};
use super::model::disk::ModelDisk;
use super::model::fault::{Fault, Faults, Kind, Reach, Site, without_sum};
use super::model::image::{Effect, Image, store};
use super::model::judge::{Excused, Judge, Places};
use super::model::runs::{self, DAY, Job};
use super::model::sources::{NAMES, Sources};
use crate::common::StoreKind;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use weekvault::model::Timestamp;
use weekvault::ops::clock;
use weekvault::store::Disk;

/// A store, and what is done with it.
struct Scene {
    name: &'static str,
    start: Image,
    job: Job,
    state: usize,
    act: Act,
    /// Damaged from the start.
    excused: Excused,
}

struct Setting {
    kind: StoreKind,
    sources: Sources,
    judge: Judge,
    begin: Timestamp,
}

impl Setting {
    fn job(&self, week: &str, state: usize, day: i64) -> Job {
        Job {
            week: week.parse().unwrap(),
            sources: self.sources.of_state(state),
            keep: 2,
            now: self.begin.plus_seconds(day * DAY),
        }
    }

    /// What is on the disk after something more was done, all of it durable.
    fn after(&self, start: &Image, job: &Job, state: usize, act: Act) -> Image {
        let disk = ModelDisk::new(start.clone(), job.now);
        act(&disk, job).unwrap();
        let live = disk.state().live.clone();
        self.judge.learn(&live, &[&self.sources.trees[state]], None).unwrap();
        live
    }

    fn scenes(&self) -> Vec<Scene> {
        let disk = ModelDisk::new(runs::before_the_first_run(self.kind), self.begin);
        if self.kind == StoreKind::Plain {
            // The folder is there, as where a volume is mounted.
            disk.make_folder(&store()).unwrap();
        }
        let empty = disk.state().live.clone();
        let jobs = [("2025-01", 0, 0), ("2025-02", 1, 7), ("2025-03", 2, 14), ("2025-04", 3, 23)];
        let [first, second, third, fourth] = jobs.map(|(week, state, day)| self.job(week, state, day));
        let one = self.after(&empty, &first, 0, whole_run);
        let two = self.after(&one, &second, 1, whole_run);
        let three = self.after(&two, &third, 2, whole_run);
        let four = self.after(&three, &fourth, 3, backup);
        let disk = ModelDisk::new(three.clone(), third.now);
        let (rotten, path) = runs::an_object(&disk, "2025-03/html");
        disk.state().rot(&path);
        let damaged = disk.state().live.clone();
        let scene = |name, start: &Image, job: &Job, state, act| Scene {
            name,
            start: start.clone(),
            job: job.clone(),
            state,
            act,
            excused: None,
        };
        vec![
            scene("the first run", &empty, &first, 0, whole_run),
            scene("a backup", &one, &second, 1, backup),
            scene("a second backup in one week", &one, &self.job("2025-01", 1, 1), 1, backup),
            scene("retention and gc", &four, &fourth, 3, clean_up),
            scene("undelete", &three, &self.job("2025-03", 2, 15), 2, undelete),
            scene("verify", &three, &self.job("2025-03", 2, 15), 2, verify),
            Scene { excused: Some(rotten), ..scene("repair", &damaged, &third, 2, repair) },
        ]
    }
}

impl Scene {
    fn begin(&self) -> ModelDisk {
        ModelDisk::new(self.start.clone(), self.job.now)
    }

    /// Every operation, when none fails, and the paths that are there then.
    fn without_fault(&self) -> (Vec<Site>, BTreeSet<String>) {
        let disk = self.begin();
        (self.act)(&disk, &self.job).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        let state = disk.state();
        (state.faults.sites.clone(), paths(&state.live))
    }
}

/// Every path but those of unfinished writes, whatever day's trash it is in; of a sealed store's objects only the chunk.
fn paths(image: &Image) -> BTreeSet<String> {
    let path =
        |(path, _): (String, _)| match path.split_once("/trash/").map(|(_, in_day)| in_day.split_once('/')) {
            Some(Some((_, rest))) => Some(format!("trash/{rest}")),
            Some(None) => None,
            None => Some(path).filter(|path| !path.starts_with("/store/tmp")),
        };
    image.walk().into_iter().filter_map(path).map(|path| without_sum(&path)).collect()
}

/// All the ways in which an operation may fail.
fn faults(at: &Site) -> Vec<Fault> {
    let fault = |error, done, reach| Fault { at: at.clone(), error, done, reach };
    let mut faults = Vec::new();
    for error in [Errno::IO, Errno::NOSPC, Errno::STALE, Errno::ACCESS] {
        if error == Errno::NOSPC && (at.kind.only_reads() || at.kind == Kind::RemoveFile) {
            continue;
        }
        faults.extend([Reach::Once, Reach::Kind].map(|reach| fault(error, false, reach)));
    }
    faults.extend([Errno::IO, Errno::ACCESS].map(|error| fault(error, false, Reach::Everything)));
    if at.kind.changes_names() {
        let repeated = at.kind.answer_to_a_repeat();
        faults.extend([Reach::Once, Reach::Kind].map(|reach| fault(repeated, true, reach)));
    }
    if !at.kind.only_reads() {
        faults.extend([Reach::Once, Reach::Kind].map(|reach| fault(Errno::IO, true, reach)));
        faults.push(fault(Errno::NOSPC, true, Reach::Once));
    }
    faults
}

/// Whether a run has to go on as if nothing had been.
fn is_survived(fault: &Fault) -> bool {
    let is_passing = [Errno::IO, Errno::STALE].contains(&fault.error);
    let kind = fault.at.kind;
    let is_settled = kind.changes_names() && (fault.done || is_passing);
    let is_repeated = (kind.only_reads() || matches!(kind, Kind::Create | Kind::Lock)) && is_passing;
    fault.reach == Reach::Once && (is_settled || is_repeated)
}

#[derive(Default)]
struct Tried {
    faults: AtomicUsize,
    /// Which folder is made first is up to chance, and which object is put first: some operations do not come again.
    missed: AtomicUsize,
    survived: AtomicUsize,
    /// Runs that said that they failed, though a new manifest is visible.
    failed_but_published: Mutex<BTreeMap<String, usize>>,
    recovered: AtomicUsize,
    seen: Mutex<HashSet<(&'static str, blake3::Hash, blake3::Hash)>>,
    wrong: Mutex<Vec<String>>,
}

fn visible_hashes(places: &Places) -> BTreeSet<[u8; 32]> {
    places.visible.values().map(|hash| *hash.as_bytes()).collect()
}

/// How often a run is done again whose fault had no operation to hit.
const AGAIN: u32 = 3;

fn judge(
    setting: &Setting,
    scene: &Scene,
    fault: &Fault,
    whole: &BTreeSet<String>,
    tried: &Tried,
) -> Result<(), String> {
    let attempt = || {
        let disk = scene.begin();
        disk.state().faults.fault = Some(fault.clone());
        let result = (scene.act)(&disk, &scene.job);
        (disk, result)
    };
    let (mut disk, mut result) = attempt();
    for _ in 0..AGAIN {
        if disk.state().faults.hits > 0 {
            break;
        }
        (disk, result) = attempt();
    }
    tried.faults.fetch_add(1, Ordering::Relaxed);
    let state = disk.state();
    if state.faults.hits == 0 {
        tried.missed.fetch_add(1, Ordering::Relaxed);
        return Ok(());
    }
    if let Some(wrong) = state.wrongs.first() {
        return Err(wrong.clone());
    }
    let before = setting.judge.check(&scene.start, scene.excused)?;
    let after = setting.judge.learn(&state.live, &[&setting.sources.trees[scene.state]], scene.excused)?;
    let replay = Replay::of(&state.start, &state.log);
    survives_a_power_cut(setting, scene, &replay).map_err(|e| format!("after a power cut: {e}"))?;
    let gone =
        |(slot, hash): &(&String, &blake3::Hash)| !after.visible.contains_key(*slot) && !after.in_trash(hash);
    if let Some((slot, _)) = before.visible.iter().find(gone) {
        return Err(format!("{slot} is gone"));
    }
    match &result {
        Ok(()) => {
            let missing: Vec<_> = whole.difference(&paths(&state.live)).cloned().collect();
            if !missing.is_empty() {
                return Err(format!("it reports success, but these are missing: {missing:?}"));
            }
            let least = replay.least();
            if setting.judge.check(&least, scene.excused)? != after || !whole.is_subset(&paths(&least)) {
                return Err("it reports success, but a power cut would undo it".into());
            }
            tried.survived.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) if is_survived(fault) => {
            return Err(format!("it has to survive that, but fails: {error}"));
        }
        Err(_) if !visible_hashes(&after).is_subset(&visible_hashes(&before)) => {
            let scene = scene.name.to_owned();
            *tried.failed_but_published.lock().unwrap().entry(scene).or_default() += 1;
        }
        Err(_) => {}
    }
    if publishes_after_an_error(
        fault,
        &state.start,
        &state.log,
        state.faults.first_hit,
        setting,
        scene,
        &after,
    ) {
        return Err("a manifest was published after an error that stays".into());
    }
    let key = (scene.name, state.live.hashes().1, replay.least().hashes().1);
    drop(state);
    if !tried.seen.lock().unwrap().insert(key) {
        return Ok(());
    }
    tried.recovered.fetch_add(1, Ordering::Relaxed);
    recovers(setting, scene, &disk)
        .map_err(|e| format!("the next run, {}: {e}", result.err().unwrap_or_default()))
}

/// After an error of what writes, and that is there to stay, nothing may become visible.
fn publishes_after_an_error(
    fault: &Fault,
    start: &Image,
    log: &[Effect],
    first_hit: Option<usize>,
    setting: &Setting,
    scene: &Scene,
    after: &Places,
) -> bool {
    use Kind::{Close, Create, MakeFolder, Sync, SyncFolder, Write};
    let writes = [Close, Create, MakeFolder, Sync, SyncFolder, Write].contains(&fault.at.kind);
    if !writes || fault.done || fault.reach == Reach::Once {
        return false;
    }
    let mut then = start.clone();
    log[..first_hit.unwrap_or(0)].iter().for_each(|effect| then.apply(effect));
    let then = setting.judge.check(&then, scene.excused).unwrap_or_default();
    !visible_hashes(after).is_subset(&visible_hashes(&then))
}

fn survives_a_power_cut(setting: &Setting, scene: &Scene, replay: &Replay) -> Result<(), String> {
    setting.judge.check(&replay.least(), scene.excused)?;
    for one in replay.naming(".manifest") {
        let fate = |i| if i == one { Fate::Kept } else { Fate::Lost };
        setting.judge.check(&replay.image(fate, |_| Data::Zeroes), scene.excused)?;
    }
    Ok(())
}

/// The disk is well again: a day later everything works.
fn recovers(setting: &Setting, scene: &Scene, disk: &ModelDisk) -> Result<(), String> {
    let job = Job { now: scene.job.now.plus_seconds(DAY), ..scene.job.clone() };
    disk.state().faults = Faults::default();
    disk.state().clock = job.now;
    if scene.excused.is_some() {
        runs::repair(disk).map_err(text)?;
    }
    whole_run(disk, &job)?;
    let state = disk.state();
    let after = setting.judge.learn(&state.live, &[&setting.sources.trees[scene.state]], None)?;
    if let Some(pvc) = NAMES.iter().find(|pvc| !after.visible.contains_key(&format!("{}/{pvc}", job.week))) {
        return Err(format!("{pvc} is not published"));
    }
    let durable = setting.judge.check(&Replay::of(&state.start, &state.log).least(), None)?;
    // What the run before retired may come back: that was never made durable.
    if let Some((slot, _)) =
        after.visible.iter().find(|(slot, hash)| durable.visible.get(*slot) != Some(*hash))
    {
        return Err(format!("{slot} is not durable"));
    }
    if let Some(wrong) = state.wrongs.first() {
        return Err(wrong.clone());
    }
    drop(state);
    let verified = runs::check(disk).map_err(text)?;
    if !verified.is_clean() || verified.unreferenced > 0 {
        return Err(format!("verify says {verified:?}"));
    }
    Ok(())
}

#[test]
fn a_failing_disk_costs_a_run_and_nothing_else() {
    fail_at_every(1, StoreKind::Plain);
}

/// Some of the faults only, evenly spread over all of them: no state comes again, since nothing is sealed twice alike, and so
/// each takes a run more to recover from.
#[test]
fn a_failing_disk_costs_a_run_on_a_sealed_store_and_nothing_else() {
    fail_at_every(101, StoreKind::Sealed);
}

fn fail_at_every(stride: usize, kind: StoreKind) {
    let began = Instant::now();
    // By midday, so that which day's trash is emptied does not depend on the hour.
    let begin = Timestamp { secs: clock::now().secs / DAY * DAY + DAY / 2, nanos: 0 };
    let setting = Setting { kind, sources: Sources::new(4), judge: Judge::default(), begin };
    let scenes = setting.scenes();
    let whole: Vec<_> = scenes.iter().map(Scene::without_fault).collect();
    let cases: Vec<(&Scene, &BTreeSet<String>, Fault)> = scenes
        .iter()
        .zip(&whole)
        .flat_map(|(scene, (sites, paths))| {
            sites.iter().flat_map(faults).map(move |fault| (scene, paths, fault))
        })
        .step_by(stride)
        .collect();
    let (tried, next) = (Tried::default(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((scene, whole, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(wrong) = judge(&setting, scene, fault, whole, &tried) {
                        tried.wrong.lock().unwrap().push(format!("{}, {fault:?}: {wrong}", scene.name));
                    }
                }
            });
        }
    });
    for (scene, (sites, _)) in scenes.iter().zip(&whole) {
        println!("{}: {} operations", scene.name, sites.len());
    }
    println!(
        "{} faults tried, {} survived, {} different states recovered from; {:?}",
        tried.faults.into_inner(),
        tried.survived.into_inner(),
        tried.recovered.into_inner(),
        began.elapsed()
    );
    println!(
        "failed after a manifest was published: {:#?}",
        tried.failed_but_published.into_inner().unwrap()
    );
    let missed = tried.missed.into_inner();
    println!("{missed} operations never came");
    assert!(missed * 50 < cases.len(), "{missed} of {} operations never came", cases.len());
    let wrong = tried.wrong.into_inner().unwrap();
    let first: Vec<_> = wrong.iter().take(40).collect();
    assert!(wrong.is_empty(), "{} faults go wrong, such as these: {first:#?}", wrong.len());
}
