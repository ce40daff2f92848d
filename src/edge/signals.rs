//! SIGTERM and SIGINT, as a flag that long work looks at.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// `timeout` signals its child and then the child's whole group: one wish to stop arrives as two signals.
const ONE_WISH: Duration = Duration::from_millis(500);

/// Knows whether the program was asked to stop. Clones share what they know.
#[derive(Clone, Debug)]
pub struct Interrupt {
    /// The first signal; 0 before.
    first: Arc<AtomicI32>,
}

impl Interrupt {
    /// Takes SIGTERM and SIGINT over from the operating system's default, for the life of the process.
    ///
    /// The first signal only sets the flag. Another one, half a second later or more, ends the process at
    /// once with the exit code 128 + signal, for work that does not come to look at the flag.
    ///
    /// Fails where the operating system gives no handler or no thread.
    pub fn register() -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let first = Arc::new(AtomicI32::new(0));
        let flag = Arc::clone(&first);
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut asked: Option<Instant> = None;
            for signal in signals.forever() {
                match asked {
                    None => {
                        flag.store(signal, Relaxed);
                        asked = Some(Instant::now());
                    }
                    Some(moment) if moment.elapsed() > ONE_WISH => low_level::exit(128 + signal),
                    Some(_) => {}
                }
            }
        })?;
        Ok(Self { first })
    }

    /// The first signal that arrived, 15 (SIGTERM) or 2 (SIGINT). The exit code to end with is 128 more.
    pub fn received(&self) -> Option<i32> {
        match self.first.load(Relaxed) {
            0 => None,
            signal => Some(signal),
        }
    }
}
