//! What every operation works with.

use super::Error;
use crate::archive::Archive;
use crate::model::Observer;

/// This program and its version, as manifests and stores name what made them.
pub const TOOL: &str = concat!("weekvault ", env!("CARGO_PKG_VERSION"));

/// A run of an operation: on what, watched by whom, with how much of the machine.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The store.
    pub archive: &'a Archive,
    /// Is told what happens, and is asked whether to stop.
    pub observer: &'a dyn Observer,
    /// Threads for each kind of work, at least 1.
    pub threads: usize,
}

impl<'a> Run<'a> {
    /// A run on one thread.
    pub fn new(archive: &'a Archive, observer: &'a dyn Observer) -> Self {
        Self { archive, observer, threads: 1 }
    }

    /// The same on so many threads.
    pub fn on(self, threads: usize) -> Self {
        Self { threads: threads.max(1), ..self }
    }

    /// Asked now and then between two steps.
    ///
    /// # Errors
    /// [`Error::Cancelled`] once the observer wants it to stop.
    pub(super) fn go_on(&self) -> Result<(), Error> {
        if self.observer.cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
