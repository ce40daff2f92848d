//! Trying again, and giving up.

use super::state::{LocalStore, Open, leave};
use crate::model::{Patience, is_passing};
use crate::store::Wait;
use crate::store::error::Silent;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A disk says at once that it cannot read or write; who takes longer to say so has waited for a server.
const WAITED: Duration = Duration::from_secs(5);

impl LocalStore {
    /// Remembers what is open.
    pub(super) fn note_open<T: Send + 'static>(&self, open: &Arc<Mutex<Option<T>>>) {
        let open: Weak<dyn Open> = Arc::downgrade(open) as Weak<Mutex<Option<T>>>;
        let mut all = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0);
        all.push(open);
    }

    /// Tries what only reads, or does nothing the second time, until it succeeds or fails for a reason that stays.
    pub(super) fn patiently<T>(&self, attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.with_patience(&self.shared.patience, attempt)
    }

    pub(super) fn with_patience<T>(
        &self,
        patience: &Patience,
        mut attempt: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        let attempt = || self.waited(&mut attempt);
        patience.run(|length| self.disk().pause(length), is_passing, attempt)
    }

    /// An error of storage that has kept us waiting for long enough: nobody should try the same once more.
    pub(super) fn final_word(&self, error: io::Error) -> io::Error {
        match is_passing(&error) && self.is_unanswered() && self.shared.patience.is_spent() {
            true => io::Error::other(Silent(error)),
            false => error,
        }
    }

    /// Lets go of something open. Closing what a server has not been told of waits for that: where it does not answer, another
    /// thread waits, which ends with the process.
    pub(super) fn let_go(&self, open: impl Send + 'static) {
        if self.is_unanswered() {
            leave(open);
        } else {
            let _ = self.waited(|| {
                drop(open);
                Ok(())
            });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`crate::store::Store::wait`].
    pub(super) fn time_waited(&self) -> Wait {
        let longest = self.waiting().values().next().map_or(Duration::ZERO, Instant::elapsed);
        Wait { longest, failed: self.shared.unanswered().map(|moment| moment.elapsed()) }
    }

    fn is_unanswered(&self) -> bool {
        self.shared.unanswered().is_some()
    }

    /// Does something once, and notes where that was waiting for nothing.
    pub(super) fn waited<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let begun = Instant::now();
        let number = self.shared.begun.fetch_add(1, Ordering::Relaxed);
        self.waiting().insert(number, begun);
        let done = operation();
        self.waiting().remove(&number);
        done.inspect_err(|error| {
            if is_passing(error) && begun.elapsed() >= WAITED {
                *self.shared.unanswered() = Some(Instant::now());
                self.shared.patience.has_failed(begun);
            }
        })
    }

    /// Tries a change until it succeeds, or turns out to be `done` although it was reported as failed.
    pub(super) fn settled(
        &self,
        mut change: impl FnMut() -> io::Result<()>,
        done: impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        self.patiently(|| match change() {
            Err(_) if done().unwrap_or(false) => Ok(()),
            result => result,
        })
    }

    pub(super) fn discard(&self, temporary: &Path) {
        // Of a server that does not answer each question costs half a minute.
        if self.is_unanswered() {
            return;
        }
        let gone = || Ok(self.look(temporary)?.is_none());
        // Left behind it costs space until the next clean-up, no more.
        let _ = self.settled(|| self.disk().remove_file(temporary), gone);
    }
}
