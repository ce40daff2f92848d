//! The directories in which a restore makes things: only the restorer can enter them.

use crate::model::ArchivePath;
use crate::tree::leftover::{is_leftover_name, leftover_name};
use crate::tree::stat::{Home, stat_open};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// The directories in which a restore makes things: one for each file system that the tree has, since nothing can be moved
/// from one to another. They are removed when the last clone of the target goes.
#[derive(Default)]
pub(super) struct Staging {
    directories: Mutex<HashMap<(Option<u64>, u64), Arc<StagingDirectory>>>,
    /// Whom what was made belongs to.
    pub(super) owner: OnceLock<u32>,
    /// Numbers what is made and is not a file.
    pub(super) nodes: AtomicU64,
    /// The file system has no rename that replaces nothing.
    pub(super) always_replaces: AtomicBool,
    /// The file system has no files without a name.
    pub(super) always_names: AtomicBool,
}

/// So many directories are kept in mind.
const MAX_HOMES: usize = 1 << 14;

/// The file systems that directories are on, once asked for: files are written in the order of the store, each in another
/// directory than the one before.
#[derive(Clone, Default)]
pub(super) struct Homes(HashMap<u64, Home>, RandomState);

impl Homes {
    pub(super) fn of(&mut self, path: &ArchivePath, folder: BorrowedFd<'_>) -> rustix::io::Result<Home> {
        let key = self.1.hash_one(path);
        if let Some(home) = self.0.get(&key) {
            return Ok(*home);
        }
        if self.0.len() >= MAX_HOMES {
            self.0.clear();
        }
        let home = Home::of(&stat_open(folder)?);
        Ok(*self.0.entry(key).or_insert(home))
    }
}

/// A directory that only the restorer can enter.
pub(super) struct StagingDirectory {
    pub(super) folder: OwnedFd,
    above: Arc<OwnedFd>,
    name: String,
    /// Whom what we make belongs to on this file system: NFS may map us to another.
    pub(super) owner: u32,
}

impl Staging {
    pub(super) fn directories(&self) -> MutexGuard<'_, HashMap<(Option<u64>, u64), Arc<StagingDirectory>>> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        for (_, staging) in self.directories().drain() {
            staging.close();
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.close();
    }
}

const BENCH: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl StagingDirectory {
    /// Makes one in a directory of the tree.
    pub(super) fn new(above: &Arc<OwnedFd>) -> rustix::io::Result<Self> {
        let name = leftover_name()?;
        rustix::fs::mkdirat(above.as_fd(), name.as_str(), Mode::RWXU)?;
        let folder = rustix::fs::openat(above.as_fd(), name.as_str(), BENCH, Mode::empty())?;
        // Tells it from what a killed run has left. Not every file system has such locks.
        let _ = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive);
        if !is_ours(folder.as_fd())? {
            // Somebody has put another directory in its place: nothing is made there.
            return Err(Errno::PERM);
        }
        let owner = rustix::fs::fstat(&folder)?.st_uid;
        sweep(above.as_fd(), owner);
        // A directory's default ACL is inherited: what is made here must be open to nobody.
        let _ = rustix::fs::fremovexattr(&folder, "system.posix_acl_default");
        Ok(Self { folder, above: Arc::clone(above), name, owner })
    }
}

impl StagingDirectory {
    /// Removes it with the files in it.
    pub(super) fn close(&self) {
        remove(self.above.as_fd(), &self.name, self.folder.as_fd());
    }
}

/// Whether a directory is one that we made: what we make in it has its owner, whoever that is on this file system (NFS maps
/// root to another, FAT and NTFS know one owner for all), and nobody else may enter it, if the file system has modes.
fn is_ours(folder: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let probe = rustix::fs::openat(folder, "probe", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::unlinkat(folder, "probe", AtFlags::empty())?;
    let (probe, folder) = (rustix::fs::fstat(probe)?, rustix::fs::fstat(folder)?);
    let is_open = |mode: u32| mode & 0o077 != 0;
    Ok(probe.st_uid == folder.st_uid && (!is_open(folder.st_mode) || is_open(probe.st_mode)))
}

/// Removes what killed runs have left in a directory of the tree, if it belongs to `owner`: what is held by a run stays, such as
/// what we hold ourselves.
pub(super) fn sweep(above: BorrowedFd<'_>, owner: u32) {
    let open = |name: &[u8]| rustix::fs::openat(above, name, BENCH, Mode::empty());
    let Ok(names) = open(b".").and_then(Dir::new) else { return };
    for name in names.flatten().map(|entry| entry.file_name().to_owned()) {
        if !is_leftover_name(name.to_bytes()) {
            continue;
        }
        let Ok(folder) = open(name.to_bytes()) else { continue };
        if rustix::fs::fstat(&folder).is_ok_and(|found| found.st_uid == owner)
            && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Ok(name) = name.to_str()
        {
            remove(above, name, folder.as_fd());
        }
    }
}

/// Removes such a directory with the files in it; it has no directories.
fn remove(above: BorrowedFd<'_>, name: &str, folder: BorrowedFd<'_>) {
    let listed = rustix::fs::openat(folder, ".", BENCH, Mode::empty()).and_then(Dir::new);
    for entry in listed.into_iter().flatten().flatten() {
        let _ = rustix::fs::unlinkat(folder, entry.file_name(), AtFlags::empty());
    }
    // Only the directory itself: another of that name stays.
    let same = |found: rustix::fs::Stat| rustix::fs::fstat(folder).is_ok_and(|f| f.st_ino == found.st_ino);
    if rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(same) {
        let _ = rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR);
    }
}
