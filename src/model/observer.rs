//! How the engine tells what it is doing, without knowing who listens.

use super::{ArchivePath, Counters, Problem};

/// Told what happens during a long operation. All methods may be called from any thread.
pub trait Observer: Send + Sync {
    /// The counters that the operation adds to.
    fn counters(&self) -> &Counters;

    /// A stretch of work begins. `what` reads like "backing up html"; `total` is the bytes to come, where known.
    fn phase(&self, what: &str, total: Option<u64>) {
        let _ = (what, total);
    }

    /// Something of a source could not be read, or something of a target not be written.
    fn problem(&self, problem: &Problem) {
        let _ = problem;
    }

    /// Something that the operator should know, but that stops nothing.
    fn warn(&self, message: &str) {
        let _ = message;
    }

    /// A restore changes `path`: `what` names the change.
    fn change(&self, path: &ArchivePath, what: &str) {
        let _ = (path, what);
    }

    /// Asked now and then: whether to stop as soon as possible. Once it has said so it goes on saying so.
    fn cancelled(&self) -> bool {
        false
    }
}

/// An observer that only counts.
#[derive(Default, Debug)]
pub struct Silent(Counters);

impl Observer for Silent {
    fn counters(&self) -> &Counters {
        &self.0
    }
}
