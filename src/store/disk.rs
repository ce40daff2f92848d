//! The few operations of a file system that a store in a folder is made of.
//!
//! A seam of its own so that tests can stand a model in its place: one that loses what was not synced, fails at the
//! N-th operation, or reports as failed what it did.

use super::{LockMode, Stamp};
use crate::model::Timestamp;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A file system, as far as a store needs one. Each call is one operation, tried once.
pub trait Disk: Send + Sync {
    /// Opens a regular file for reading; nothing else is opened at all.
    ///
    /// # Errors
    /// What the file system says; [`NoFile`](super::NoFile) for what is not a regular file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file that is not there yet, for its owner alone.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Hands on what is in a folder, unsorted. Symbolic links are not followed. A name that goes while it is listed is passed over;
    /// one that goes on to be listed and is not found is neither file nor folder.
    ///
    /// # Errors
    /// What the file system says; that nothing is there only of the folder itself. Some names may have been handed on by then.
    fn list(&self, folder: &Path, found: &mut dyn FnMut(&str, Seen)) -> io::Result<()>;

    /// What stands at a path; symbolic links are not followed, but for the root.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self, path: &Path) -> io::Result<Seen>;

    /// What a file or folder is told by, asked of the server itself where there is one.
    ///
    /// # Errors
    /// What the file system says; also where it cannot tell.
    fn stamp(&self, _path: &Path, _again: bool) -> io::Result<Stamp> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves a file, replacing what stands at `to`.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::AlreadyExists`] where something has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a folder for its owner alone.
    ///
    /// # Errors
    /// What the file system says.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder's names durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Tries to lock a file, which is made where it is missing.
    ///
    /// # Errors
    /// When the file cannot be made.
    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<DiskLock>;

    /// Device and inode of the store's root, where it is there and has such.
    fn identity(&self) -> Option<(u64, u64)> {
        None
    }

    /// Whether the root's path leads elsewhere, or nowhere, while it led to a directory when it was first used: its share
    /// was unmounted, or it was moved or removed.
    fn is_gone(&self) -> bool {
        false
    }

    /// Waits, before something is tried again.
    fn pause(&self, duration: Duration);
}

/// An open file of a disk.
pub trait DiskFile: Send + Sync {
    /// What it is.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self) -> io::Result<Seen>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Appends some of `bytes`; returns how many.
    ///
    /// # Errors
    /// What the file system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the content durable. An error means that any of it may be lost, and says so only once.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Closes it. NFS may report the last write's error as late as here.
    ///
    /// # Errors
    /// What the file system says.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// What came of asking for a lock on a file.
pub enum DiskLock {
    /// It is held until this is dropped.
    Held(Box<dyn HeldFile>),
    /// Another process holds it in a way that excludes ours.
    Busy,
    /// The file system has no locks.
    Unsupported,
}

/// A file that is locked.
pub trait HeldFile: Send + Sync {
    /// Tries to lock it for us alone. Where others hold it as well it may be locked no more.
    ///
    /// # Errors
    /// What the file system says.
    fn hold_alone(&self) -> io::Result<bool>;
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// File, folder, or anything else.
    pub kind: SeenKind,
    /// Device and inode: the same file has the same.
    pub id: (u64, u64),
    /// Bytes of a file.
    pub length: u64,
    /// When it was last written, by the file system's clock.
    pub modified: Timestamp,
}

/// The kinds of things that a store tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeenKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Neither, or not to be told.
    Other,
}
