//! Runs of the program that are killed, or held up, at moments that dice choose.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// No run of a small tree takes so long, however busy the machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Dice that many threads throw; the same seed gives the same throws.
pub(crate) struct Dice(AtomicU64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn throw(&self) -> u64 {
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `n - 1`.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.throw() % n
    }

    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }

    /// A part of this, up to all of it.
    pub(crate) fn part_of(&self, whole: Duration) -> Duration {
        whole.mul_f64(self.below(1 << 20) as f64 / f64::from(1 << 20))
    }
}

/// What happens to a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is left alone.
    Spared,
    /// It is killed, or held up for so long ...
    Struck(Moment, Option<Duration>),
}

/// When.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Anywhere in the time that such runs take.
    Any,
    /// As soon as this file or folder is made or changed, by whomever.
    Change(PathBuf),
}

/// How a run ended.
pub(crate) struct Ended {
    command: String,
    /// None where it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
}

impl Ended {
    /// Not killed, it must have come to one of these codes.
    #[track_caller]
    pub(crate) fn unless_killed(&self, codes: &[i32]) {
        let fine = self.code.is_none_or(|code| codes.contains(&code));
        assert!(fine, "{}: {:?}\n{}", self.command, self.code, self.output);
    }
}

/// How many runs of a kind there were, and what became of them.
#[derive(Default)]
struct Tally {
    runs: u64,
    held_up: u64,
    /// In which tenth of the time that such a run takes.
    killed: [u64; 10],
    killed_at_change: u64,
    /// How long it took those that were left alone: the latest few.
    took: VecDeque<Duration>,
}

/// Runs the program, and counts.
#[derive(Default)]
pub(crate) struct Fates(Mutex<BTreeMap<&'static str, Tally>>);

/// Ends its process with itself, should a check fail meanwhile.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Waits until it ends, or until something is so.
    fn ends_before(&mut self, mut so: impl FnMut(Duration) -> bool) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return Some(status);
            }
            if so(begun.elapsed()) {
                return None;
            }
            assert!(begun.elapsed() < DEADLINE, "it does not end");
            sleep(Duration::from_micros(200));
        }
    }

    fn wait(&mut self) -> ExitStatus {
        self.ends_before(|_| false).unwrap_or_default()
    }
}

impl Fates {
    /// How long one of the latest runs of a kind took.
    pub(crate) fn usual(&self, dice: &Dice, kind: &str) -> Duration {
        let tallies = self.0.lock().unwrap();
        let took = tallies.get(kind).map(|t| &t.took).filter(|t| !t.is_empty());
        took.map_or(Duration::from_millis(100), |t| t[dice.below(t.len() as u64) as usize])
    }

    /// Runs a command that is of this kind.
    pub(crate) fn run(&self, dice: &Dice, kind: &'static str, fate: &Fate, command: &mut Command) -> Ended {
        let mut output = tempfile::tempfile().unwrap();
        command.stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
        let usual = self.usual(dice, kind);
        let begun = Instant::now();
        let mut process = Process(command.spawn().unwrap());
        let mut struck = false;
        let status = match fate {
            Fate::Spared => process.wait(),
            Fate::Struck(moment, pause) => {
                let first = match moment {
                    Moment::Any => {
                        let at = dice.part_of(usual);
                        process.ends_before(|passed| passed >= at)
                    }
                    Moment::Change(path) => {
                        let was = state(path);
                        process.ends_before(|_| state(path) != was)
                    }
                };
                struck = first.is_none();
                first.unwrap_or_else(|| match pause {
                    None => {
                        process.0.kill().unwrap();
                        process.wait()
                    }
                    Some(pause) => {
                        let pid = Pid::from_raw(process.0.id() as i32).unwrap();
                        kill_process(pid, Signal::STOP).unwrap();
                        sleep(*pause);
                        kill_process(pid, Signal::CONT).unwrap();
                        process.wait()
                    }
                })
            }
        };
        let took = begun.elapsed();
        let mut text = String::new();
        output.rewind().unwrap();
        output.read_to_string(&mut text).unwrap();
        let mut tallies = self.0.lock().unwrap();
        let tally = tallies.entry(kind).or_default();
        tally.runs += 1;
        match (status.code(), status.signal(), fate) {
            (Some(_), _, Fate::Struck(_, Some(_))) if struck => tally.held_up += 1,
            (Some(_), _, _) => {
                tally.took.push_front(took);
                tally.took.truncate(8);
            }
            (None, Some(9), Fate::Struck(Moment::Change(_), None)) => tally.killed_at_change += 1,
            (None, Some(9), Fate::Struck(Moment::Any, None)) => {
                tally.killed[((10.0 * took.as_secs_f64() / usual.as_secs_f64()) as usize).min(9)] += 1;
            }
            _ => panic!("{command:?}: {status}\n{text}"),
        }
        Ended { command: format!("{command:?}"), code: status.code(), output: text }
    }

    /// What became of all, a line a kind.
    pub(crate) fn figures(&self) -> String {
        let mut text = String::new();
        for (kind, Tally { runs, held_up, killed, killed_at_change, took }) in self.0.lock().unwrap().iter() {
            let kills = killed.iter().sum::<u64>() + killed_at_change;
            let late = took.iter().max().copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "{kind}: {runs} runs of up to {late:.0?}, {held_up} held up, {kills} killed: {killed_at_change} at \
                 a change, the others by tenths of a run {killed:?}"
            );
        }
        text
    }
}

fn state(path: &Path) -> Option<(u64, i64, i64)> {
    path.metadata().map(|m| (m.ino(), m.mtime(), m.mtime_nsec())).ok()
}
