//! The store's advisory lock: a file that is locked.

use super::state::LocalStore;
use crate::store::disk::{DiskLock, HeldFile};
use crate::store::{HeldLock, Key, Lock, LockMode, StoreError, StoreOperation as Op};
use std::sync::{Arc, Mutex, PoisonError};

/// The file that is locked.
const LOCK: &str = "lock";

/// The lock, as long as it is held.
pub(super) struct LocalLock {
    held: Arc<Locked>,
    store: LocalStore,
}

/// A file that is locked, until it is let go of.
pub(super) type Locked = Mutex<Option<Arc<dyn HeldFile>>>;

impl HeldLock for LocalLock {
    fn hold_alone(&mut self) -> Result<bool, StoreError> {
        let Some(held) = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone() else {
            return Ok(false);
        };
        self.store.patiently(|| held.hold_alone()).map_err(|e| self.store.error(Op::Lock, &Key::new(LOCK), e))
    }
}

impl Drop for LocalLock {
    fn drop(&mut self) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(held) = held {
            self.store.let_go(held);
        }
    }
}

impl LocalStore {
    /// Tries to lock the store's lock file.
    pub(super) fn lock_file(&self, mode: LockMode) -> Result<Lock, StoreError> {
        let key = Key::new(LOCK);
        let lock = || self.with_folder(&self.root, || self.disk().lock(&self.path(&key), mode));
        let lock = self.patiently(lock).map_err(|e| self.error(Op::Lock, &key, e))?;
        Ok(match lock {
            DiskLock::Held(held) => {
                let held: Arc<Locked> = Arc::new(Mutex::new(Some(Arc::from(held))));
                self.note_open(&held);
                Lock::Held(Box::new(LocalLock { held, store: self.clone() }))
            }
            DiskLock::Busy => Lock::Busy,
            DiskLock::Unsupported => Lock::Unsupported,
        })
    }
}
