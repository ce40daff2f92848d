//! A stage that panics ends the operation with an error that says so, and nothing is published or deleted.

use crate::common::bench::Bench;
use std::fs;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;
use weekvault::model::{Counters, Observer};
use weekvault::ops::verify::{VerifyOptions, verify};
use weekvault::ops::{Error, Run};

/// Panics on the thread of a stage, once that works.
struct Panicking {
    stage: &'static str,
    /// A stage beside it has begun: it is not the time before any of them.
    begun: Mutex<bool>,
    changed: Condvar,
    counters: Counters,
}

impl Panicking {
    fn at(stage: &'static str) -> Self {
        Self { stage, begun: Mutex::default(), changed: Condvar::new(), counters: Counters::default() }
    }

    fn met(&self) {
        let thread = thread::current();
        if thread.name() != Some(self.stage) {
            if thread.name() != Some(MAIN) {
                *self.begun.lock().unwrap() = true;
                self.changed.notify_all();
            }
        } else if self.stage != MAIN || self.has_begun() {
            panic!("{} has panicked", self.stage);
        }
    }

    /// Whether there are other threads; on a busy machine they may need a moment to begin.
    fn has_begun(&self) -> bool {
        let begun = self.begun.lock().unwrap();
        *self.changed.wait_timeout_while(begun, Duration::from_millis(100), |begun| !*begun).unwrap().0
    }
}

impl Observer for Panicking {
    fn counters(&self) -> &Counters {
        self.met();
        &self.counters
    }

    fn cancelled(&self) -> bool {
        self.met();
        false
    }
}

/// The thread that calls the operation, and has a stage of its own.
const MAIN: &str = "main";

/// Runs on a thread of that name; its error is that the stage has panicked.
fn panics<T: Send>(stage: &str, operation: impl FnOnce() -> Result<T, Error> + Send) {
    let ended = thread::scope(|scope| {
        thread::Builder::new().name(MAIN.to_owned()).spawn_scoped(scope, operation).unwrap().join()
    });
    let expected = format!("{stage} has panicked");
    match ended.unwrap_or_else(|_| panic!("{stage}: the panic came through")) {
        Err(Error::Bug(said)) => assert_eq!(said, expected),
        Err(error) => panic!("{stage}: {error}"),
        Ok(_) => panic!("{stage}: it ended as if nothing had been"),
    }
}

/// A tree with more than one piece of work for each stage.
fn bench() -> Bench {
    let bench = Bench::new();
    for i in 0..2000u32 {
        let bytes: Vec<u8> = (0..20u32).flat_map(|n| (i * 7919 + n).to_le_bytes()).collect();
        bench.write(&format!("d{}/file{i:05}", i / 100), &bytes);
    }
    bench
}

#[test]
fn a_backup_publishes_nothing() {
    let bench = bench();
    for stage in ["walk", "scan", "read", "cut", "pack", "put", MAIN] {
        panics(stage, || bench.backup_watched("2025-01", "p", &Panicking::at(stage)));
        assert!(!bench.manifest("2025-01").exists(), "{stage}");
    }
    bench.backup("2025-01").unwrap();
    assert!(bench.verify(VerifyOptions::default()).unwrap().is_clean());
}

#[test]
fn a_restore_deletes_nothing_that_it_has_not_looked_for() {
    let bench = bench();
    bench.backup("2025-01").unwrap();
    for stage in ["feed", "look", "write", MAIN] {
        let target = bench.folder.path().join(stage);
        fs::create_dir(&target).unwrap();
        fs::write(target.join("own"), "content").unwrap();
        panics(stage, || bench.restore_watched("2025-01", &target, true, &Panicking::at(stage)));
        assert_eq!(fs::read(target.join("own")).unwrap(), b"content", "{stage}");
    }
}

#[test]
fn a_verify_says_nothing_of_the_store() {
    let bench = bench();
    bench.backup("2025-01").unwrap();
    for stage in ["check", MAIN] {
        let observer = Panicking::at(stage);
        let run = Run::new(&bench.archive, &observer).on(3);
        panics(stage, || verify(run, &VerifyOptions::default()));
    }
}
