//! What goes wrong with a store.

use super::Key;
use crate::model::is_passing;
use rustix::fs::FileType;
use std::fmt;
use std::io;

/// An operation on a store that failed: which, on what, of which kind, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub operation: StoreOperation,
    /// The file or folder, with the store's location.
    pub path: String,
    /// What it means for who asked.
    pub kind: StoreErrorKind,
    /// What the storage said.
    pub source: io::Error,
}

/// What an error means for who asked. A back end tells it by what its storage says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreErrorKind {
    /// Nothing has that name.
    Missing,
    /// Something has that name already, or another content than was expected of it.
    Taken,
    /// There is no room left, or none of a quota.
    Full,
    /// This file may not be read, moved or deleted: we may not, it is kept from all change, or it lies on another file system.
    Refused,
    /// It may succeed when it is tried again.
    Passing,
    /// The file is longer than it may be, or ends before it should.
    Length,
    /// What stands there is not a regular file.
    NoFile(NoFile),
    /// The store's path no longer leads to the directory in which the run began.
    Gone,
    /// The storage has not answered for so long that nobody should ask it for more.
    Silent,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// The kind of what a file system says.
    fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Io;
        let inner = error.get_ref();
        if let Some(no_file) = inner.and_then(|e| e.downcast_ref::<NoFile>()) {
            return Self::NoFile(*no_file);
        }
        match error.kind() {
            _ if inner.is_some_and(|e| e.is::<Gone>()) => Self::Gone,
            _ if inner.is_some_and(|e| e.is::<Silent>()) => Self::Silent,
            _ if is_passing(error) => Self::Passing,
            Io::NotFound => Self::Missing,
            Io::AlreadyExists => Self::Taken,
            Io::StorageFull | Io::QuotaExceeded => Self::Full,
            Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::CrossesDevices => Self::Refused,
            Io::FileTooLarge | Io::UnexpectedEof => Self::Length,
            _ => Self::Other,
        }
    }
}

/// The root of a store that is in use is not where it was.
#[derive(Debug, thiserror::Error)]
#[error(
    "the store is gone: its path no longer leads to the directory in which this run began; is its share still mounted? \
     Nothing was written elsewhere: mount it, then run this again"
)]
pub(super) struct Gone;

/// A part of the store lies on another file system than the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "it is on another file system than the rest of the store: nothing can be moved there; all of a store must be on one"
)]
pub(super) struct Elsewhere;

/// What was tried on a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreOperation {
    /// Opening a file for reading.
    Open,
    /// Reading.
    Read,
    /// Making a file.
    Create,
    /// Writing.
    Write,
    /// Making a file's bytes or a folder's names durable.
    Sync,
    /// Closing a written file.
    Close,
    /// Listing a folder.
    List,
    /// Making a written file visible.
    Publish,
    /// Moving a file to the trash.
    Retire,
    /// Moving a file back from the trash.
    BringBack,
    /// Keeping a file that is about to be replaced.
    Keep,
    /// Deleting.
    Delete,
    /// Locking.
    Lock,
}

impl fmt::Display for StoreOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Create => "create",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Close => "close",
            Self::List => "list",
            Self::Publish => "publish",
            Self::Retire => "retire",
            Self::BringBack => "bring back",
            Self::Keep => "keep",
            Self::Delete => "delete",
            Self::Lock => "lock",
        })
    }
}

/// The storage has not answered for long; with the last error that it was given up with.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the storage has not answered for long")]
pub(super) struct Silent(pub(super) io::Error);

impl StoreError {
    /// An error of `operation` on `key`, in the store at `location`.
    pub fn new(operation: StoreOperation, location: &str, key: &Key, source: io::Error) -> Self {
        let path = if key.as_str().is_empty() { location.to_owned() } else { format!("{location}/{key}") };
        Self::at(operation, path, source)
    }

    /// An error of `operation` on what is at this path.
    pub fn at(operation: StoreOperation, path: String, source: io::Error) -> Self {
        Self { operation, path, kind: StoreErrorKind::of(&source), source }
    }

    /// Whether the file is missing.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::Missing
    }

    /// Whether something stands already where a new name was to be, or other than what was to be replaced.
    pub fn is_taken(&self) -> bool {
        self.kind == StoreErrorKind::Taken
    }

    /// Whether the store itself is gone: its path no longer leads to the directory in which the run began.
    pub fn is_gone(&self) -> bool {
        self.kind == StoreErrorKind::Gone
    }

    /// Whether it is gone, or nothing has come from it for so long that nobody should ask it for more: then the run ends.
    pub fn is_out_of_reach(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Gone | StoreErrorKind::Silent)
    }

    /// Whether something stands there that is not a regular file, or on the way to it what is not a directory.
    pub fn is_no_file(&self) -> bool {
        matches!(self.kind, StoreErrorKind::NoFile(_))
    }

    /// Whether something on the way is a symbolic link or not a directory.
    pub fn is_blocked(&self) -> bool {
        self.kind == StoreErrorKind::NoFile(NoFile::Blocked)
    }

    /// Whether it may be gone when tried again: what network file systems report when their server does not answer.
    pub fn is_passing(&self) -> bool {
        self.kind == StoreErrorKind::Passing
    }

    /// Whether the storage did not let us read or look, which says nothing of what is stored: that may be whole.
    pub fn is_access(&self) -> bool {
        use StoreErrorKind::{Length, Missing, NoFile};
        !matches!(self.kind, Missing | Length | NoFile(_))
    }

    /// Whether the storage does not let this file be moved or deleted. A sync that failed is never that: after it nothing
    /// more may be published or given up.
    pub fn is_refused(&self) -> bool {
        self.kind == StoreErrorKind::Refused && self.operation != StoreOperation::Sync
    }

    /// Whether storage is full.
    pub fn is_full(&self) -> bool {
        self.kind == StoreErrorKind::Full
    }
}

/// Something that is not a regular file stands where one should be. It is not opened: links inside of a store are never
/// followed, and opening a device can have effects of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoFile {
    /// A directory.
    #[error("it is not a regular file but a directory")]
    Folder,
    /// A symbolic link.
    #[error("it is not a regular file but a symbolic link; weekvault follows no links inside of a store")]
    Link,
    /// A fifo, a socket or a device.
    #[error("it is not a regular file but a fifo, a socket or a device")]
    Special,
    /// Something on the way to it is a symbolic link, or is not a directory.
    #[error(
        "a symbolic link, or something that is not a directory, stands on the way to it; weekvault follows no links \
             inside of a store"
    )]
    Blocked,
}

impl NoFile {
    /// What is wrong with something of this type, if anything is.
    pub(super) fn of(kind: FileType) -> Option<Self> {
        match kind {
            FileType::RegularFile => None,
            FileType::Directory => Some(Self::Folder),
            FileType::Symlink => Some(Self::Link),
            _ => Some(Self::Special),
        }
    }
}
