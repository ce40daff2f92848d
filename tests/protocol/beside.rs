//! Runs beside each other: one is held at each of its operations in turn, and another is done from its begin to its end
//! meanwhile. The lock of the model disk keeps nobody out.

use super::model;
use super::model::acts::{Act, backup, clean_up, text, whole_run};
use super::model::crash::Replay;
use super::model::disk::ModelDisk;
use super::model::image::{Effect, Image};
use super::model::judge::Judge;
use super::model::runs::{self, DAY, Job};
use super::model::sources::Sources;
use crate::common::StoreKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use weekvault::model::Timestamp;
use weekvault::ops::clock;

/// Something that is done, and how it is called.
#[derive(Clone)]
struct Run {
    name: &'static str,
    act: Act,
    job: Job,
}

#[derive(Default)]
struct Tried {
    meetings: AtomicUsize,
    /// Runs whose manifest was retired before their end.
    retired: AtomicUsize,
    between: AtomicUsize,
}

struct Setting {
    kind: StoreKind,
    sources: Sources,
    judge: Judge,
    begin: Timestamp,
}

impl Setting {
    fn new(kind: StoreKind) -> Self {
        let begin = Timestamp { secs: clock::now().secs / DAY * DAY + DAY / 2, nanos: 0 };
        Self { kind, sources: Sources::new(4), judge: Judge::default(), begin }
    }

    fn run(&self, name: &'static str, act: Act, week: &str, state: usize) -> Run {
        let job = Job {
            week: week.parse().unwrap(),
            sources: self.sources.of_state(state),
            keep: 2,
            now: self.begin.plus_seconds(23 * DAY),
        };
        Run { name, act, job }
    }

    fn learn(&self, image: &Image) -> Result<model::judge::Places, String> {
        self.judge.learn(image, &self.sources.trees.iter().collect::<Vec<_>>(), None)
    }

    /// A store with two weeks, and one in the trash since today, whose objects the next gc retires; and with others that
    /// are in the trash for long.
    fn store(&self) -> Image {
        let disk = ModelDisk::new(runs::before_the_first_run(self.kind), self.begin);
        for (week, state, day) in [("2025-01", 0, 0), ("2025-02", 1, 7), ("2025-03", 2, 14)] {
            let job =
                Job { now: self.begin.plus_seconds(day * DAY), ..self.run("", whole_run, week, state).job };
            disk.state().clock = job.now;
            whole_run(&disk, &job).unwrap();
            self.learn(&disk.state().live).unwrap();
        }
        let fourth = self.run("", backup, "2025-04", 3).job;
        disk.state().clock = fourth.now;
        backup(&disk, &fourth).unwrap();
        runs::retire(&runs::open(&disk).unwrap(), &fourth).unwrap();
        self.learn(&disk.state().live).unwrap();
        disk.state().live.clone()
    }

    /// Does `inner` while `outer` is held at the operation of this number. False where it has not so many.
    fn beside(
        &self,
        start: &Image,
        outer: &Run,
        inner: &Run,
        at: u64,
        tried: &Tried,
    ) -> Result<bool, String> {
        let disk = ModelDisk::new(start.clone(), outer.job.now);
        let came = Arc::new(Mutex::new(None));
        let (held, run, result) = (disk.clone(), inner.clone(), Arc::clone(&came));
        disk.state().between = Some((
            at,
            Box::new(move || {
                let log = held.state().log.len();
                let done = (run.act)(&held, &run.job);
                *result.lock().unwrap() = Some((log, done));
            }),
        ));
        let outer_result = (outer.act)(&disk, &outer.job);
        let Some((began, inner_result)) = came.lock().unwrap().take() else { return Ok(false) };
        inner_result.map_err(|e| format!("{} fails: {e}", inner.name))?;
        match outer_result {
            // What it has published was retired before its end, and it says so.
            Err(e) if e.contains("is in the trash: another run retired it meanwhile") => {
                tried.retired.fetch_add(1, Ordering::Relaxed);
            }
            result => result.map_err(|e| format!("{} fails: {e}", outer.name))?,
        }
        // Whichever of them is killed: readers find all.
        let (log, mut image) = (disk.state().log.clone(), start.clone());
        for (number, effect) in log.iter().enumerate() {
            image.apply(effect);
            if number >= began && matches!(effect, Effect::Rename { .. } | Effect::Remove { .. }) {
                tried.between.fetch_add(1, Ordering::Relaxed);
                self.learn(&image).map_err(|e| format!("if killed after {effect:?}: {e}"))?;
            }
        }
        self.learn(&Replay::of(start, &log).least()).map_err(|e| format!("after a power cut: {e}"))?;
        // Not only does a reader find what is in the trash: whoever looks last brings it back.
        if let Some(wrong) = runs::unclean(&disk) {
            return Err(format!("when both are done: {wrong}"));
        }
        let next = self.run("the next run", whole_run, "2025-05", 3);
        let next = Job { now: next.job.now.plus_seconds(DAY), ..next.job };
        disk.state().clock = next.now;
        whole_run(&disk, &next).map_err(|e| format!("the next run fails: {e}"))?;
        runs::unclean(&disk).map_or(Ok(true), Err)
    }
}

#[test]
fn whoever_works_on_the_store_meanwhile_takes_nothing_that_is_needed() {
    meet_at_every(1, StoreKind::Plain);
}

/// At some of the operations only: a meeting takes several runs, each of which seals and opens.
#[test]
fn whoever_works_on_a_sealed_store_meanwhile_takes_nothing_that_is_needed() {
    meet_at_every(19, StoreKind::Sealed);
}

fn meet_at_every(stride: u64, kind: StoreKind) {
    let (began, setting) = (Instant::now(), Setting::new(kind));
    let start = setting.store();
    let gc = setting.run("retention and gc", clean_up, "2025-04", 3);
    // Its chunks are among what gc retires just then.
    let again = setting.run("a backup of what there was before", backup, "2025-05", 1);
    let whole = setting.run("a whole run", whole_run, "2025-04", 0);
    let back = setting.run("undelete", undelete_the_second_week, "2025-02", 1);
    let pairs = [
        (&gc, &again),
        (&again, &gc),
        (&gc, &back),
        (&back, &gc),
        (&gc, &gc),
        (&whole, &again),
        (&again, &whole),
    ];
    let (tried, wrong) = (Tried::default(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (setting, start, tried, wrong) = (&setting, &start, &tried, &wrong);
            scope.spawn(move || {
                for (outer, inner) in pairs {
                    for at in (1 + stride * thread..).step_by(2 * stride as usize) {
                        match setting.beside(start, outer, inner, at, tried) {
                            Ok(false) => break,
                            Ok(true) => {}
                            Err(e) => {
                                let names = format!("{} in the midst of {}", inner.name, outer.name);
                                wrong.lock().unwrap().push(format!("{names}, before operation {at}: {e}"));
                            }
                        }
                        tried.meetings.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!(
        "{} meetings tried, {} manifests retired at once, {} states between; {:?}",
        tried.meetings.into_inner(),
        tried.retired.into_inner(),
        tried.between.into_inner(),
        began.elapsed()
    );
    let wrong = wrong.into_inner().unwrap();
    let first: Vec<_> = wrong.iter().take(30).collect();
    assert!(wrong.is_empty(), "{} meetings go wrong, such as these: {first:#?}", wrong.len());
}

fn undelete_the_second_week(disk: &ModelDisk, _: &Job) -> Result<(), String> {
    runs::bring_back(disk, "2025-02/html").map_err(text).map(drop)
}
