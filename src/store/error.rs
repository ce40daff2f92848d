//! What goes wrong with a store.

use super::Key;
use crate::model::is_passing;
use rustix::fs::FileType;
use std::fmt;
use std::io;

/// An operation on a store that failed: which, on what, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct StoreError {
    /// What was tried.
    pub operation: StoreOperation,
    /// The file or folder, with the store's location.
    pub path: String,
    /// What the storage said.
    pub source: io::Error,
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
    /// Moving a file.
    Rename,
    /// Giving a file a second name.
    Link,
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
            Self::Rename => "rename",
            Self::Link => "link",
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
        Self { operation, path, source }
    }

    /// Whether the file is missing.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether something stands already where a new name was to be.
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AlreadyExists
    }

    /// Whether the store itself is gone: its path no longer leads to the directory in which the run began.
    pub fn is_gone(&self) -> bool {
        self.source.get_ref().is_some_and(|e| e.is::<Gone>())
    }

    /// Whether nothing has come from the storage for so long that nobody should ask it for more.
    pub fn is_silent(&self) -> bool {
        self.source.get_ref().is_some_and(|e| e.is::<Silent>())
    }

    /// Whether either is so: then the run ends.
    pub fn is_out_of_reach(&self) -> bool {
        self.is_gone() || self.is_silent()
    }

    /// Whether something stands there that is not a regular file, or on the way to it what is not a directory.
    pub fn is_no_file(&self) -> bool {
        self.source.get_ref().is_some_and(|e| e.is::<NoFile>())
    }

    /// Whether something on the way is a symbolic link or not a directory.
    pub fn is_blocked(&self) -> bool {
        self.source.get_ref().and_then(|e| e.downcast_ref()) == Some(&NoFile::Blocked)
    }

    /// Whether it may be gone when tried again: what network file systems report when their server does not answer.
    pub fn is_passing(&self) -> bool {
        is_passing(&self.source)
    }

    /// Whether the storage did not let us read or look, which says nothing of what is stored: that may be whole.
    pub fn is_access(&self) -> bool {
        let content = [io::ErrorKind::NotFound, io::ErrorKind::FileTooLarge, io::ErrorKind::UnexpectedEof];
        !content.contains(&self.source.kind()) && !self.is_no_file()
    }

    /// Whether the storage does not let this file be moved or deleted: we may not, it is kept from all change, or it lies on
    /// another file system. A sync that failed is never that: after it nothing more may be published or given up.
    pub fn is_refused(&self) -> bool {
        let denied = [
            io::ErrorKind::PermissionDenied,
            io::ErrorKind::ReadOnlyFilesystem,
            io::ErrorKind::CrossesDevices,
        ];
        self.operation != StoreOperation::Sync && denied.contains(&self.source.kind())
    }

    /// Whether storage is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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
