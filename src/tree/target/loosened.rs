//! Directories of one's own that may not be written to: who is not root makes them writable for as long as it takes.

use crate::model::ArchivePath;
use crate::sys::open_beneath;
use rustix::fs::{Mode, OFlags};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What their owner needs to change what is in a directory.
const OWNERS: u32 = 0o700;

/// The directories whose modes were changed, and what these were. They get them back when the last clone of the target goes.
pub(super) struct Loosened {
    root: Arc<OwnedFd>,
    /// None for root, who needs no mode.
    user: Option<u32>,
    modes: Mutex<BTreeMap<ArchivePath, u32>>,
}

impl Loosened {
    pub(super) fn below(root: Arc<OwnedFd>) -> Self {
        let user = rustix::process::geteuid();
        Self { root, user: (!user.is_root()).then_some(user.as_raw()), modes: Mutex::default() }
    }

    fn modes(&self) -> MutexGuard<'_, BTreeMap<ArchivePath, u32>> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, path: &ArchivePath) -> rustix::io::Result<OwnedFd> {
        open_beneath(self.root.as_fd(), path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Makes a directory writable, if it is ours. What does not succeed shows when it is written to.
    pub(super) fn loosen(&self, path: &ArchivePath, handle: BorrowedFd<'_>) {
        let Some(user) = self.user else { return };
        let is_to_change =
            |found: &rustix::fs::Stat| found.st_uid == user && found.st_mode & OWNERS != OWNERS;
        if !rustix::fs::fstat(handle).is_ok_and(|found| is_to_change(&found)) {
            return;
        }
        let Ok(folder) = self.open(path) else { return };
        let mut modes = self.modes();
        if let Ok(found) = rustix::fs::fstat(&folder)
            && is_to_change(&found)
            && rustix::fs::fchmod(&folder, Mode::from_raw_mode(found.st_mode & 0o7777 | OWNERS)).is_ok()
        {
            modes.entry(path.clone()).or_insert(found.st_mode & 0o7777);
        }
    }

    /// A directory has the mode that it is to have.
    pub(super) fn settle(&self, path: &ArchivePath) {
        self.modes().remove(path);
    }
}

impl Drop for Loosened {
    fn drop(&mut self) {
        let modes = std::mem::take(self.modes.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (path, mode) in modes.iter().rev() {
            if let Ok(folder) = self.open(path)
                && rustix::fs::fstat(&folder).is_ok_and(|found| found.st_mode & 0o7777 == mode | OWNERS)
            {
                let _ = rustix::fs::fchmod(&folder, Mode::from_raw_mode(*mode));
            }
        }
    }
}
