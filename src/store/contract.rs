//! What a place that keeps files by key can do.

use super::{Key, StoreError, StoreOperation};
use crate::model::Timestamp;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A place that keeps files by key. Every backend passes the same conformance tests (`tests/store.rs`).
///
/// Files are immutable once put: they are replaced whole, renamed or deleted, never changed.
pub trait Store: Send + Sync {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] tells a missing file.
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError>;

    /// Begins to write a file, which has no key until it is committed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn create(&self) -> Result<Box<dyn Upload>, StoreError>;

    /// What is directly in `folder`, unsorted. A folder that is missing is empty, and so is what is not a folder.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError>;

    /// Moves a file, replacing what stands at `to`.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] when `from` is missing.
    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError>;

    /// Gives a file a second name, where none of that name is yet. The file must not change under either: both are the
    /// same bytes. False where the storage has no such names, as for what is no file; then nothing has happened.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] when `from` is missing, [`StoreError::is_taken`] when `to` is not.
    fn link(&self, _from: &Key, _to: &Key) -> Result<bool, StoreError> {
        Ok(false)
    }

    /// Deletes a file, or an empty folder. What is missing is deleted already.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// What a folder or file is told by, for who has looked at it to see whether it is still as it was: a folder whose
    /// stamp is the same has the same names, a file the same content. None where nothing so certain can be said, or
    /// nothing stands there; then it is to be looked at again. `again`: it is held against an earlier one, so it has to be what
    /// the storage says now; else it may be older than what a look would find, which costs a network no question.
    fn stamp(&self, _key: &Key, _again: bool) -> Option<Stamp> {
        None
    }

    /// When the names in a directory changed last, by the store's clock; none where that cannot be told.
    fn modified(&self, _folder: &Key) -> Option<Timestamp> {
        None
    }

    /// Makes all commits, renames and deletes so far durable.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing more may be published.
    fn sync(&self) -> Result<(), StoreError>;

    /// The time by the store's own clock, as a file that is written now shows it. Once asked, the store goes on by the
    /// time that has passed since.
    ///
    /// # Errors
    /// [`StoreError`].
    fn now(&self) -> Result<Timestamp, StoreError>;

    /// Tries to take the store's advisory lock, without waiting.
    ///
    /// # Errors
    /// [`StoreError`] when the lock's file cannot be made.
    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError>;

    /// Device and inode of the store's root directory, where it has one: another path that leads to the same is the same
    /// store.
    fn identity(&self) -> Option<(u64, u64)> {
        None
    }

    /// The directory that the store is in, where it is in one. What lies above it can be found by this; whether another path
    /// leads to the store, only [`Store::identity`] tells.
    fn root(&self) -> Option<&Path> {
        None
    }

    /// How long the storage has been waited for.
    fn wait(&self) -> Wait {
        Wait::default()
    }

    /// Has what is open, the lock too, closed by threads of their own: the process is about to end, and where the storage does not
    /// answer its end would wait for each file, one after the other.
    fn abandon(&self) {}

    /// For messages: where the store is. It may be told in another way than the operating system has it.
    fn location(&self) -> String;
}

/// See [`Store::stamp`]; only to be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Device and inode.
    pub id: (u64, u64),
    /// When its names or bytes changed last, by the store's clock.
    pub modified: Timestamp,
    /// When anything of it changed last.
    pub changed: Timestamp,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// A file of a store, open for reading.
pub trait Blob: Send + Sync {
    /// Length in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the storage returns; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A file of a store that is being written. Dropped without a commit, it leaves nothing behind.
pub trait Upload: io::Write + Send {
    /// Makes the content durable, then the file visible as `key`, where it replaces what stood there. The one way
    /// a file comes to be.
    ///
    /// The name itself is durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// [`StoreError`]; the key then holds what it held before.
    fn commit(self: Box<Self>, key: &Key) -> Result<(), StoreError>;
}

/// Something that a folder of the store holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its name in the folder.
    pub name: String,
    /// File or folder.
    pub kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ItemKind {
    /// A file.
    File {
        /// Length in bytes.
        length: u64,
        /// When it was last written, by the store's clock.
        modified: Timestamp,
    },
    /// A folder.
    Folder,
    /// Something that no store makes: a symbolic link, a fifo, a socket, a device. It is never followed or opened.
    Other,
}

impl Item {
    /// The length, if it is a file.
    pub fn file_length(&self) -> Option<u64> {
        match self.kind {
            ItemKind::File { length, .. } => Some(length),
            ItemKind::Folder | ItemKind::Other => None,
        }
    }
}

/// For how long storage has been waited for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wait {
    /// The operation that is under way, of several the one that has waited longest.
    pub longest: Duration,
    /// How long ago an operation has failed for want of an answer, the last that did.
    pub failed: Option<Duration>,
}

/// How the advisory lock is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockMode {
    /// Beside other shared holders: backups.
    Shared,
    /// Alone: gc.
    Exclusive,
}

/// The lock, held until this is dropped.
pub trait HeldLock: Send {
    /// Tries to hold it alone from now on, without waiting. Where that fails it may be held no more.
    ///
    /// # Errors
    /// [`StoreError`].
    fn hold_alone(&mut self) -> Result<bool, StoreError>;
}

/// What came of asking for the lock.
pub enum Lock {
    /// It is held.
    Held(Box<dyn HeldLock>),
    /// Another process holds it in a way that excludes ours.
    Busy,
    /// The file system has no locks.
    Unsupported,
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// [`StoreError`], also for a file that is longer.
pub fn read_all(store: &dyn Store, key: &Key, limit: u64) -> Result<Vec<u8>, StoreError> {
    let blob = store.open(key)?;
    let failed = |e| StoreError::new(StoreOperation::Read, &store.location(), key, e);
    if blob.length() > limit {
        return Err(failed(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has {} bytes, more than the {limit} that it may have", blob.length()),
        )));
    }
    let mut bytes = vec![0; blob.length() as usize];
    blob.read_exact_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

/// Writes a whole file.
///
/// # Errors
/// [`StoreError`].
pub fn write_all(store: &dyn Store, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
    let mut upload = store.create()?;
    upload.write_all(bytes).map_err(|e| StoreError::new(StoreOperation::Write, &store.location(), key, e))?;
    upload.commit(key)
}
