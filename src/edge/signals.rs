//! SIGTERM, SIGINT and SIGHUP, as a flag that long work looks at.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// `timeout` signals its child and then the child's whole group: one wish to stop arrives as two signals.
const ONE_WISH: Duration = Duration::from_millis(500);

/// A run ends in order within a fraction of a second. One that has not ended after this long waits for storage that does
/// not answer.
const GRACE: Duration = Duration::from_secs(8);

/// Knows whether the program was asked to stop. Clones share what they know.
#[derive(Clone)]
pub struct Interrupt {
    /// The first signal; 0 before.
    first: Arc<AtomicI32>,
    last: Arc<Last>,
}

/// What is to be done before a process ends whose work has not.
type Last = Mutex<Option<Box<dyn Fn() + Send>>>;

impl Interrupt {
    /// Takes SIGTERM, SIGINT and SIGHUP over from the operating system's default, for the life of the process. A SIGHUP
    /// that whoever started the program lets it ignore, as `nohup` does, stays ignored. SIGXFSZ (`RLIMIT_FSIZE`) no longer
    /// ends the process.
    ///
    /// The first signal only sets the flag. Another one, half a second later or more, ends the process at
    /// once with the exit code 128 + signal, for work that does not come to look at the flag. So does the first one after
    /// eight seconds; `late` says so.
    ///
    /// Fails where the operating system gives no handler or no thread.
    pub fn register(late: fn(Duration)) -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = (!is_ignored(SIGHUP, &status)).then_some(SIGHUP);
        let mut signals = Signals::new([SIGTERM, SIGINT].into_iter().chain(hangup))?;
        // Where files may only be so large, a write is to fail with an error that names the file.
        signal_hook::flag::register(SIGXFSZ, Arc::default())?;
        let first = Arc::new(AtomicI32::new(0));
        let (flag, last) = (Arc::clone(&first), Arc::<Last>::default());
        let ending = Arc::clone(&last);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut asked: Option<Instant> = None;
            for signal in signals.forever() {
                match asked {
                    None => {
                        flag.store(signal, Relaxed);
                        asked = Some(Instant::now());
                        let ending = Arc::clone(&ending);
                        let end = move || {
                            thread::sleep(GRACE);
                            late(GRACE);
                            do_last(&ending);
                            low_level::exit(128 + signal)
                        };
                        // Without the thread there is the second signal.
                        let _ = thread::Builder::new().name("grace".to_owned()).spawn(end);
                    }
                    Some(moment) if moment.elapsed() > ONE_WISH => {
                        do_last(&ending);
                        low_level::exit(128 + signal)
                    }
                    Some(_) => {}
                }
            }
        })?;
        Ok(Self { first, last })
    }

    /// Has `last` done before the process ends though its work has not ended. It must be short.
    pub fn before_end(&self, last: impl Fn() + Send + 'static) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(last));
    }

    /// The first signal that arrived, 15 (SIGTERM), 2 (SIGINT) or 1 (SIGHUP). The exit code to end with is 128 more.
    pub fn received(&self) -> Option<i32> {
        match self.first.load(Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}

fn do_last(last: &Last) {
    if let Some(last) = last.lock().unwrap_or_else(PoisonError::into_inner).take() {
        last();
    }
}

/// Whether a process ignores a signal, by its `/proc/…/status`; one that says nothing does not.
fn is_ignored(signal: i32, status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001003\nSigCgt:\t0000000000000000\n";
        assert!(is_ignored(SIGHUP, status) && is_ignored(SIGINT, status) && is_ignored(13, status));
        assert!(!is_ignored(SIGTERM, status) && !is_ignored(SIGHUP, ""));
    }
}
