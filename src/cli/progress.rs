//! Progress on stderr: a bar on a terminal, else a plain line now and then.

use super::human::{bytes, document_line, path_json};
use crate::edge::Interrupt;
use crate::model::{ArchivePath, Counters, Observer, Problem, lines, one_line};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// Without a terminal, a long operation says this often how far it is.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// So many problems are printed; all of them are counted, and listed in the manifest.
const MAX_PRINTED: u64 = 100;

/// So many warnings are told from those that come again.
const MAX_REMEMBERED: usize = 10_000;

/// Listens to the engine and tells whoever watches.
pub(super) struct Progress {
    shared: Arc<Shared>,
    interrupt: Interrupt,
    /// Ends the ticking thread.
    ticker: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
    printed: AtomicU64,
    itemise: Mutex<Itemise>,
    /// What was warned of, as hashes: two parts of a command may find the same.
    warned: Mutex<HashSet<u64>>,
    salt: RandomState,
}

struct Shared {
    counters: Counters,
    bar: Option<ProgressBar>,
    quiet: bool,
    colored: bool,
    phase: Mutex<(String, Option<u64>)>,
}

/// What is done with the changes that a restore makes, or in a dry run would make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Itemise {
    /// Nothing: only their numbers are told.
    No,
    /// A line each on stdout.
    Text,
    /// A JSON document each on stdout.
    Json,
}

/// Stderr, to which writing never fails: work does not end because nobody listens.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        // Colours are ours: what is written into a message or a log has none of its own by now.
        let parts: Vec<_> = text.split('\x1b').map(lines).collect();
        let _ = io::stderr().write_all(parts.join("\x1b").as_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line in one go, so that those of several threads do not mix.
fn say(line: &str) {
    let _ = Stderr.write_all(line.as_bytes());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    pub(super) fn new(quiet: bool, bar: bool, colored: bool, interrupt: Interrupt) -> Self {
        let bar = (bar && !quiet).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {wide_msg}") {
                bar.set_style(style);
            }
            bar
        });
        let shared = Shared { counters: Counters::default(), bar, quiet, colored, phase: Mutex::default() };
        Self {
            shared: Arc::new(shared),
            interrupt,
            ticker: Mutex::new(None),
            printed: AtomicU64::new(0),
            itemise: Mutex::new(Itemise::No),
            warned: Mutex::default(),
            salt: RandomState::new(),
        }
    }

    /// From now on, tells of the changes that a restore makes.
    pub(super) fn itemise(&self, how: Itemise) {
        *lock(&self.itemise) = how;
        if let Some(bar) = &self.shared.bar {
            // The lines show well enough that something is going on.
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Ends the bar.
    pub(super) fn finish(&self) {
        if let Some((stop, thread)) = lock(&self.ticker).take() {
            drop(stop);
            let _ = thread.join();
        }
        if let Some(bar) = &self.shared.bar {
            bar.finish_and_clear();
        }
    }

    /// Prints while the bar is out of the way.
    fn aside(&self, print: impl FnOnce()) {
        match &self.shared.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn line(&self, kind: &str, color: u8, message: &str) {
        // Whatever a store or a source has made of it, it is one line.
        let message = one_line(message);
        let line = match self.shared.colored {
            true => format!("\x1b[1;{color}m{kind}:\x1b[0m {message}\n"),
            false => format!("{kind}: {message}\n"),
        };
        self.aside(|| say(&line));
    }

    /// Why the command failed.
    pub(super) fn error(&self, message: &str) {
        self.line("error", 31, message);
    }

    /// What helps against it.
    pub(super) fn hint(&self, message: &str) {
        self.line("hint", 36, message);
    }

    /// Something worth saying, unless told to be quiet.
    pub(super) fn note(&self, message: &str) {
        if !self.shared.quiet {
            self.line("note", 36, message);
        }
    }
}

impl Shared {
    fn message(&self) -> String {
        let (phase, total) = lock(&self.phase).clone();
        let now = self.counters.snapshot();
        let of = total.map(|t| format!(" of {}", bytes(t))).unwrap_or_default();
        let parts = [
            (now.entries, format!("{} entries", now.entries)),
            (now.bytes_read, format!("{} read", bytes(now.bytes_read))),
            (now.store_read, format!("{}{of} fetched", bytes(now.store_read))),
            (now.store_written, format!("{} stored", bytes(now.store_written))),
            (now.files_restored, format!("{} files restored", now.files_restored)),
        ];
        let parts: Vec<String> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(_, text)| text).collect();
        if parts.is_empty() { phase } else { format!("{phase}: {}", parts.join(", ")) }
    }
}

impl Observer for Progress {
    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn phase(&self, what: &str, total: Option<u64>) {
        *lock(&self.shared.phase) = (what.to_owned(), total);
        let mut ticker = lock(&self.ticker);
        if ticker.is_some() || self.shared.quiet {
            return;
        }
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&self.shared);
        let interval = if shared.bar.is_some() { Duration::from_millis(100) } else { PLAIN_INTERVAL };
        let started = Instant::now();
        let tick = move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let message = shared.message();
                match &shared.bar {
                    Some(bar) => {
                        bar.set_message(message);
                        bar.tick();
                    }
                    None => say(&format!("{} s: {message}\n", started.elapsed().as_secs())),
                }
            }
        };
        // Where a limit on processes leaves no thread for it, the work goes on in silence.
        *ticker = Builder::new().spawn(tick).ok().map(|thread| (stop, thread));
    }

    fn problem(&self, problem: &Problem) {
        match self.printed.fetch_add(1, Ordering::Relaxed) {
            n if n < MAX_PRINTED => {
                let Problem { path, operation, error } = problem;
                // The phase names the source or the manifest that the path is of.
                let phase = lock(&self.shared.phase).0.clone();
                self.warn(&format!("{phase}: cannot {operation} {path}: {error}"));
            }
            MAX_PRINTED => self.warn("more like this follow; they are counted, not printed"),
            _ => {}
        }
    }

    fn warn(&self, message: &str) {
        let mut warned = lock(&self.warned);
        if warned.len() < MAX_REMEMBERED && !warned.insert(self.salt.hash_one(message)) {
            return;
        }
        drop(warned);
        self.line("warning", 33, message);
    }

    fn change(&self, path: &ArchivePath, what: &str) {
        let line = match *lock(&self.itemise) {
            Itemise::No => return,
            Itemise::Text => format!("{what:<8} {path}\n"),
            Itemise::Json => document_line(&path_json(path, json!({ "change": what }))),
        };
        // Whoever reads may leave before the end; what is being done goes on.
        let _ = io::stdout().write_all(line.as_bytes());
    }

    fn cancelled(&self) -> bool {
        self.interrupt.received().is_some()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
