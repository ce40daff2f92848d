//! What this run has seen of the store, used again while it is certain to be so still.
//!
//! A daily run looks at the same folders for what to build on, before publishing, after it, in gc and for the metrics.
//! On a disk that seeks for each, one look at a folder that has not changed is enough.

use super::error::ArchiveError;
use crate::store::{Key, Stamp, Store};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What was seen at some keys.
pub(super) struct Seen<T> {
    keep: usize,
    /// Nothing for a key at which the last look saw what cannot be told by a stamp.
    by_key: Mutex<HashMap<Key, Option<(Stamp, T)>>>,
}

impl<T: Clone> Seen<T> {
    /// Keeps what was seen at so many keys.
    pub(super) fn new(keep: usize) -> Self {
        Self { keep, by_key: Mutex::default() }
    }

    /// What was found at `key` before, whether or not it is still so.
    pub(super) fn before(&self, key: &Key) -> Option<T> {
        let by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.get(key)?.as_ref().map(|(_, value)| value.clone())
    }

    /// What `look` has found at `key` before, where the store's stamp says that it would find the same now; else what it
    /// finds.
    pub(super) fn get(
        &self,
        store: &dyn Store,
        key: &Key,
        look: impl FnOnce() -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        let held = || self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        // A second look is there to see what has changed since the first, a network's client must not answer it from what
        // it remembers: asked for such a stamp, it forgets that.
        let (is_first, before) = {
            let by_key = held();
            let before = by_key.get(key);
            (before.is_none() && by_key.len() < self.keep, before.cloned().flatten())
        };
        // Taken before the look: what changes in between makes the next stamp another one.
        let stamp = store.stamp(key, !is_first);
        if let (Some(stamp), Some((seen, value))) = (stamp, before)
            && stamp == seen
        {
            return Ok(value);
        }
        let looked = look();
        let mut by_key = held();
        if by_key.len() < self.keep || by_key.contains_key(key) {
            let seen = stamp.and_then(|stamp| Some((stamp, looked.as_ref().ok()?.clone())));
            by_key.insert(key.clone(), seen);
        }
        drop(by_key);
        looked
    }
}
