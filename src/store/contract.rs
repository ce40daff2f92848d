//! What a place that keeps files by key can do.

use super::{Key, StoreError, StoreOperation};
use crate::model::{RunId, Timestamp};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// A place that keeps files by key. Every back end passes the same conformance tests (`tests/stores/contract.rs`).
///
/// Files are immutable once put: they are replaced whole, moved or deleted, never changed. There are two sorts of them. What an
/// *object* holds follows from its key, so that any two files of that key are as good as each other once they are whole. Every
/// other file (a manifest, the store's description) may be replaced by one that says something else.
///
/// The operations are those of the protocol (`docs/reliability.md`) and not those of a file system, since storage without a
/// rename has to do some of them in several steps, during which other processes do theirs. [`Store::moves_in_steps`] tells such
/// storage; its steps are in [`super::in_steps`].
pub trait Store: Send + Sync {
    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] tells a missing file.
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError>;

    /// Reads a whole file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError`], also for a file that is longer.
    fn get(&self, key: &Key, limit: u64) -> Result<Vec<u8>, StoreError> {
        let blob = self.open(key)?;
        let failed = |e| StoreError::new(StoreOperation::Read, &self.location(), key, e);
        if blob.length() > limit {
            return Err(failed(too_long(blob.length(), limit)));
        }
        let mut bytes = vec![0; blob.length() as usize];
        blob.read_exact_at(&mut bytes, 0).map_err(failed)?;
        Ok(bytes)
    }

    /// Writes a whole file, which replaces what stands at `key`. It is durable, but for its name: see [`Store::sync`].
    ///
    /// # Errors
    /// [`StoreError`]; the key then holds what it held before.
    fn put(&self, key: &Key, bytes: &[u8]) -> Result<(), StoreError> {
        let mut upload = self.upload()?;
        upload
            .write_all(bytes)
            .map_err(|e| StoreError::new(StoreOperation::Write, &self.location(), key, e))?;
        upload.publish(key, &Over::Anything)
    }

    /// How many files are worth putting or getting at once: both are mostly waiting.
    fn requests_at_once(&self) -> usize {
        2
    }

    /// Begins to write a file of any length, which has no key until it is published.
    ///
    /// # Errors
    /// [`StoreError`].
    fn upload(&self) -> Result<Box<dyn Upload>, StoreError>;

    /// What is directly in `folder`, unsorted. A folder that is missing is empty, and so is what is not a folder.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError>;

    /// Hands on what is directly in `folder`, as [`Store::list`] has it, so that of a large folder nothing is in memory twice.
    ///
    /// # Errors
    /// [`StoreError`]; some names may have been handed on by then.
    fn each(&self, folder: &Key, found: &mut dyn FnMut(Listed<'_>)) -> Result<(), StoreError> {
        let items = self.list(folder)?;
        items.into_iter().for_each(|item| found(Listed::Item(&item.name, item.kind)));
        Ok(())
    }

    /// Hands all that is below `folder` to `visit`, unsorted, each with the folder it is in; folders too, where the storage has
    /// such.
    ///
    /// # Errors
    /// [`StoreError`], also what `visit` fails with.
    fn list_below(
        &self,
        folder: &Key,
        visit: &mut dyn FnMut(&Key, Item) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        for item in self.list(folder)? {
            let below = (item.kind == ItemKind::Folder).then(|| folder.child(&item.name));
            visit(folder, item)?;
            below.map_or(Ok(()), |below| self.list_below(&below, visit))?;
        }
        Ok(())
    }

    /// Moves an object to `place` in the trash, where it replaces what stands there. Storage that moves in steps copies it
    /// there, and deletes it only once `is_whole` has found that copy whole; false where it was not: then the object stays.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] where there is no object.
    fn retire(
        &self,
        object: &Key,
        place: &Key,
        is_whole: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, StoreError>;

    /// Moves an object from the trash to its key, where it replaces what stands there. Storage that moves in steps leaves the
    /// copy in the trash.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] where there is nothing at `place`.
    fn bring_back(&self, place: &Key, object: &Key) -> Result<(), StoreError>;

    /// Moves a file to `place` in the trash, where nothing stands. Its key is free afterwards. It may be an object that is not
    /// whole.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] where there is no file; [`StoreError::is_taken`] where it was replaced
    /// meanwhile, by a file which then stands.
    fn withdraw(&self, key: &Key, place: &Key) -> Result<(), StoreError>;

    /// Moves a file from `place` in the trash to its key. Storage that moves in steps leaves the copy in the trash.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_not_found`] where there is nothing at `place`; [`StoreError::is_taken`] as
    /// [`Upload::publish`].
    fn republish(&self, place: &Key, key: &Key, over: &Over) -> Result<(), StoreError>;

    /// Keeps what stands at `key` at `place` as well, where nothing stands yet: under a second name, or as a copy. Returns the
    /// version that was kept, or nothing where no regular file stands at `key`.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::is_taken`] where something stands at `place`.
    fn keep(&self, key: &Key, place: &Key) -> Result<Option<Version>, StoreError>;

    /// Whether a file is there; if so, the next [`Store::sync`] makes its name durable, which may be another run's.
    ///
    /// # Errors
    /// [`StoreError`].
    fn is_there(&self, key: &Key) -> Result<bool, StoreError>;

    /// Deletes a file, or an empty folder. What is missing is deleted already.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete(&self, key: &Key) -> Result<(), StoreError>;

    /// The run whose folders in the trash must be its own, where storage moves in several steps; none where it moves in one.
    fn moves_in_steps(&self) -> Option<RunId> {
        None
    }

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

    /// Makes all that was put, published, moved and deleted so far durable.
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
    fn local_path(&self) -> Option<&Path> {
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

    /// Which version of its key's files it is, where the storage tells versions apart.
    fn version(&self) -> Version {
        Version::default()
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the storage returns; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A file of a store that is being written. Dropped before it is published, it leaves nothing behind.
pub trait Upload: io::Write + Send {
    /// Makes the content durable, then the file visible as `key`, where it replaces what `over` says.
    ///
    /// The name itself is durable after the next [`Store::sync`].
    ///
    /// # Errors
    /// [`StoreError`]; the key then holds what it held before. [`StoreError::is_taken`] where that is not what `over` says: this
    /// may then be published again. A folder cannot tell, and replaces anything.
    fn publish(&mut self, key: &Key, over: &Over) -> Result<(), StoreError>;
}

/// One of the files that a key has had, told by what the storage calls it (an entity tag).
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Version(pub String);

/// What a file may replace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Over {
    /// Anything.
    Anything,
    /// Nothing: the key must be free.
    Nothing,
    /// This version alone.
    This(Version),
}

impl From<Option<Version>> for Over {
    fn from(version: Option<Version>) -> Self {
        version.map_or(Self::Nothing, Self::This)
    }
}

/// Something that a folder of the store holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Its name in the folder.
    pub name: String,
    /// File or folder.
    pub kind: ItemKind,
}

/// What a listing hands on, step by step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listed<'a> {
    /// It begins anew: what was handed on so far does not count.
    Anew,
    /// A name in the folder, and what that is.
    Item(&'a str, ItemKind),
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

/// Why a file is not read.
pub(super) fn too_long(length: u64, limit: u64) -> io::Error {
    let told = format!("it has {length} bytes, more than the {limit} that it may have");
    io::Error::new(io::ErrorKind::FileTooLarge, told)
}

/// Copies a file within a store, through memory.
///
/// # Errors
/// [`StoreError`]; those of [`Upload::publish`].
pub(super) fn copy_file(
    store: &(impl Store + ?Sized),
    from: &Key,
    to: &Key,
    over: &Over,
) -> Result<(), StoreError> {
    let source = store.open(from)?;
    let failed = |operation, key, e| StoreError::new(operation, &store.location(), key, e);
    let mut copy = store.upload()?;
    let (mut at, length) = (0, source.length());
    let mut buffer = vec![0; COPIED_AT_ONCE.min(length) as usize];
    while at < length {
        let part = buffer.len().min((length - at) as usize);
        let part = buffer.get_mut(..part).unwrap_or_default();
        source.read_exact_at(part, at).map_err(|e| failed(StoreOperation::Read, from, e))?;
        copy.write_all(part).map_err(|e| failed(StoreOperation::Write, to, e))?;
        at += part.len() as u64;
    }
    copy.publish(to, over)
}

/// So many bytes of a file that is copied are in memory.
const COPIED_AT_ONCE: u64 = 256 << 10;
