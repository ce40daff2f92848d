//! When to try again what failed.

use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait before each further attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(1500)];

/// After so many failures in a row that no waiting cured, nobody waits any more: what is gone for good must not cost
/// seconds for each of a hundred thousand files.
const LIMIT: u32 = 8;

/// After so long without a success nobody waits any more either: a network file system takes 12 to 24 s (`soft,timeo=30,
/// retrans=3`) to say that its server does not answer, and a run ends within two minutes of that.
const SPAN: Duration = Duration::from_secs(40);

/// Whether an error may be gone when tried again: what network file systems report when their server does not answer, a
/// file that somebody else holds a lease on, and a call that a signal has cut short.
pub fn is_passing(error: &io::Error) -> bool {
    const PASSING: [Errno; 6] =
        [Errno::IO, Errno::STALE, Errno::TIMEDOUT, Errno::REMOTEIO, Errno::AGAIN, Errno::INTR];
    error.raw_os_error().is_some_and(|code| PASSING.iter().any(|e| e.raw_os_error() == code))
}

/// Tries again what fails for a reason that may pass; shared by all that are at work in one place.
#[derive(Default, Debug)]
pub struct Patience {
    /// Failures in a row that stayed.
    lost: AtomicU32,
    /// When the first of the attempts began that have failed since the last success.
    failing_since: Mutex<Option<Instant>>,
}

impl Patience {
    /// Runs an operation that does no harm when it is done twice, up to three times; `pause` waits in between.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn run<T, E>(
        &self,
        pause: impl Fn(Duration),
        passing: impl Fn(&E) -> bool,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let begun = Instant::now();
            match attempt() {
                Err(error) if passing(&error) => {
                    self.failing_since().get_or_insert(begun);
                    let Some(length) = pauses.next().filter(|_| !self.is_spent()) else {
                        self.lost.fetch_add(1, Relaxed);
                        return Err(error);
                    };
                    pause(length);
                }
                result => {
                    if result.is_ok() {
                        self.has_succeeded();
                    }
                    return result;
                }
            }
        }
    }

    /// Something that began then has failed, whether or not it is tried again.
    pub fn has_failed(&self, begun: Instant) {
        self.failing_since().get_or_insert(begun);
    }

    /// Something has succeeded.
    fn has_succeeded(&self) {
        self.lost.store(0, Relaxed);
        *self.failing_since() = None;
    }

    /// For how long nothing has succeeded, since something failed.
    fn failing_for(&self) -> Duration {
        self.failing_since().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether nothing has succeeded for so long that the storage is taken not to answer any more.
    pub fn is_spent(&self) -> bool {
        self.lost.load(Relaxed) >= LIMIT || self.failing_for() >= SPAN
    }

    fn failing_since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failing_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(patience: &Patience, errors: usize, error: Errno) -> (bool, usize) {
        let mut attempts = 0;
        let result = patience.run(
            |_| {},
            is_passing,
            || {
                attempts += 1;
                if attempts <= errors { Err(io::Error::from(error)) } else { Ok(()) }
            },
        );
        (result.is_ok(), attempts)
    }

    #[test]
    fn what_passes_is_tried_again_and_what_stays_is_not() {
        let patience = Patience::default();
        assert_eq!(failing(&patience, 2, Errno::IO), (true, 3));
        assert_eq!(failing(&patience, 3, Errno::STALE), (false, 3));
        assert_eq!(failing(&patience, 1, Errno::ACCESS), (false, 1));
    }

    #[test]
    fn nobody_waits_for_ever() {
        let patience = Patience::default();
        for _ in 0..LIMIT {
            assert_eq!(failing(&patience, 9, Errno::IO), (false, 3));
        }
        assert_eq!(failing(&patience, 9, Errno::IO), (false, 1));
        assert_eq!(failing(&patience, 0, Errno::IO), (true, 1));
        assert_eq!(failing(&patience, 1, Errno::IO), (true, 2), "it answers again");
    }
}
