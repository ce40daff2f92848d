//! The advisory lock: it saves wasted work, and nothing's safety needs it.

use super::error::ArchiveError;
use super::layout;
use super::open::Archive;
use crate::model::Timestamp;
use crate::store::{HeldLock, ItemKind, Lock, LockMode};

/// An unfinished write that nobody has touched for this long belongs to nobody, in seconds. Long enough for the
/// manifest of one large source to wait for that of the next; the day's run cleans up after yesterday's.
const STALE_SECONDS: i64 = 12 * 3600;

/// What came of asking for the lock. Held, where it is held, until dropped.
pub enum StoreLock {
    /// We have it.
    Held(Box<dyn HeldLock>),
    /// Others are at work on the store.
    Busy,
    /// The file system has no locks.
    Unsupported,
}

/// Asks for the lock without waiting.
///
/// # Errors
/// [`ArchiveError::Store`] when the lock's file cannot be made.
pub fn lock(archive: &Archive, mode: LockMode) -> Result<StoreLock, ArchiveError> {
    Ok(match archive.store.lock(mode)? {
        Lock::Held(guard) => StoreLock::Held(guard),
        Lock::Busy => StoreLock::Busy,
        Lock::Unsupported => StoreLock::Unsupported,
    })
}

/// Asks for the lock for us alone, without waiting. `held` is what came of asking before: a lock that is held is changed, which
/// takes a network file system less than to give it back and to ask anew.
///
/// # Errors
/// As [`lock`].
pub fn lock_alone(archive: &Archive, held: Option<StoreLock>) -> Result<StoreLock, ArchiveError> {
    match held {
        Some(StoreLock::Held(mut guard)) => match guard.hold_alone()? {
            true => Ok(StoreLock::Held(guard)),
            false => Ok(StoreLock::Busy),
        },
        Some(StoreLock::Unsupported) => Ok(StoreLock::Unsupported),
        Some(StoreLock::Busy) | None => lock(archive, LockMode::Exclusive),
    }
}

/// Clocks that differ by more than this, in seconds, are not to be trusted about what is old.
const MAX_SKEW: i64 = 3600;

impl Archive {
    /// Compares our clock with the store's.
    ///
    /// # Errors
    /// [`ArchiveError::Clock`] when they differ by more than an hour; [`ArchiveError::Store`].
    pub fn check_clock(&self, ours: Timestamp) -> Result<(), ArchiveError> {
        let store = self.store.now()?;
        if (ours.secs - store.secs).abs() <= MAX_SKEW {
            return Ok(());
        }
        Err(ArchiveError::Clock { ours, store })
    }

    /// Deletes what killed runs left unfinished: what is older than twelve hours by the store's own clock. Should that
    /// hit a live run after all, its next rename fails and so does the run, and nothing published is touched. Returns
    /// how many files went.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn clean_tmp(&self, now: Timestamp) -> Result<u64, ArchiveError> {
        let mut deleted = 0;
        for item in self.store.list(&layout::tmp())? {
            let ItemKind::File { modified, .. } = item.kind else { continue };
            if layout::is_unfinished(&item.name) && modified.plus_seconds(STALE_SECONDS) < now {
                self.store.delete(&layout::tmp().child(&item.name))?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
