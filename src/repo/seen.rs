//! What this run has seen of the store, used again while it is certain to be so still.
//!
//! A daily run looks at the same folders for what to build on, before publishing, after it, in gc and for the metrics.
//! On a disk that seeks for each, one look at a folder that has not changed is enough.

use super::RepoError;
use crate::store::{Key, Stamp, Store};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What was seen at some keys.
pub(super) struct Seen<T> {
    keep: usize,
    by_key: Mutex<HashMap<Key, (Stamp, T)>>,
}

impl<T: Clone> Seen<T> {
    /// Keeps what was seen at so many keys.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, by_key: Mutex::default() }
    }

    /// What `look` has found at `key` before, where the store's stamp says that it would find the same now; else what it
    /// finds.
    pub(super) fn get(
        &self,
        store: &dyn Store,
        key: &Key,
        look: impl FnOnce() -> Result<T, RepoError>,
    ) -> Result<T, RepoError> {
        // Taken before the look: what changes in between makes the next stamp another one.
        let stamp = store.stamp(key);
        let held = || self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(stamp), Some((seen, value))) = (stamp, held().get(key))
            && stamp == *seen
        {
            return Ok(value.clone());
        }
        held().remove(key);
        let value = look()?;
        if let (Some(stamp), mut by_key) = (stamp, held())
            && by_key.len() < self.keep
        {
            by_key.insert(key.clone(), (stamp, value.clone()));
        }
        Ok(value)
    }
}
