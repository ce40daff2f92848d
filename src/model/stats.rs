//! The only counters: what a run has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Live counters of one run, shared by its threads.
        #[derive(Default, Debug)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter),* }

        /// The values of [`Counters`] at one moment.
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Stats { $($(#[$doc])* pub $name: u64),* }

        impl Counters {
            /// The values now.
            pub fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get()),* }
            }
        }
    };
}

counters! {
    /// Entries seen: of a source, a target or a manifest.
    entries,
    /// Bytes of files' content read.
    bytes_read,
    /// Bytes of files' content written.
    bytes_restored,
    /// Files written.
    files_restored,
    /// Bytes read from the store.
    store_read,
    /// Bytes written to the store.
    store_written,
    /// Objects read from the store.
    objects_read,
    /// Objects written to the store.
    objects_written,
}

/// A number that threads add to.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
