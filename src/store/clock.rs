//! The clock of a store's file system, which need not be ours.

use crate::model::Timestamp;
use std::time::{Duration, Instant};

/// The store's clock, as it was when it was asked.
pub(super) struct Clock {
    showed: Timestamp,
    at: Instant,
}

impl Clock {
    /// A clock that has shown this a moment ago.
    pub(super) fn showing(showed: Timestamp) -> Self {
        Self { showed, at: Instant::now() }
    }

    /// What it shows now: never later than it does.
    pub(super) fn now(&self) -> Timestamp {
        self.showed.plus(self.at.elapsed())
    }

    /// Whether a folder that changed then would show another time if it changed now. The kernel's clock for files goes
    /// in steps of up to 10 ms; a file system that keeps whole steps only may have ones of 2 s.
    pub(super) fn is_past(&self, modified: Timestamp) -> bool {
        let step = if modified.nanos.is_multiple_of(10_000_000) { 2500 } else { 20 };
        modified.plus(Duration::from_millis(step)) < self.now()
    }
}
