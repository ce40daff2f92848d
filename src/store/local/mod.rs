//! A store in a folder: a local disk or a mounted share.
//!
//! What a network file system reports is not always what happened: a request that was sent twice fails the second
//! time. So the outcome of every rename, mkdir and unlink that failed is looked at before it counts as an error, and
//! what only reads is tried again. An fsync or close that failed is never tried again on the same file: the kernel
//! tells such an error once, and then takes the lost pages for written.

mod files;
mod folders;
mod lock;
mod patient;

use super::clock::Clock;
use super::disk::{Disk, Seen, SeenKind};
use super::error::{Elsewhere, Gone};
use super::os::{OsDisk, blocked};
use super::{
    Blob, Item, ItemKind, Key, Lock, LockMode, NoFile, Stamp, Store, StoreError, StoreOperation as Op,
    Upload, Wait,
};
use crate::model::{Patience, RunId, Timestamp};
use files::{LocalBlob, LocalUpload, Opened, Unfinished, Writing};
use folders::Folders;
use patient::{Open, leave};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

/// A store in a folder. Folders are made 0700, files 0600: a store holds what the sources protect.
#[derive(Clone)]
pub struct LocalStore {
    root: PathBuf,
    shared: Arc<Shared>,
}

/// What uploads and blobs share with their store.
struct Shared {
    disk: Box<dyn Disk>,
    run: RunId,
    next: AtomicU64,
    patience: Patience,
    /// Of reading what is open: the kernel has much of it in memory, so that it says nothing of the storage.
    reading: Patience,
    folders: Mutex<Folders>,
    clock: OnceLock<Clock>,
    /// It was said that folders cannot be synced here.
    unsynced: AtomicBool,
    /// When a server has kept us waiting and has not answered, the last time.
    unanswered: Mutex<Option<Instant>>,
    /// A file that was begun to see what time it gets, until there is something to write to it.
    spare: Mutex<Option<Unfinished>>,
    /// What is open.
    open: Mutex<Vec<Weak<dyn Open>>>,
    /// When the operations began that have not returned, by numbers that grow.
    waiting: Mutex<BTreeMap<u64, Instant>>,
}

impl Shared {
    fn unanswered(&self) -> MutexGuard<'_, Option<Instant>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let spare = self.spare.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some(spare) if self.unanswered().is_some() => leave(spare.file),
            Some(spare) => {
                drop(spare.file);
                // Left behind it costs a name until the next clean-up.
                let _ = self.disk.remove_file(&spare.temporary);
            }
            None => {}
        }
    }
}

impl LocalStore {
    /// The store in the folder `root`, which need not exist yet. `run` names its unfinished files.
    pub fn new(root: impl Into<PathBuf>, run: RunId) -> Self {
        let root = root.into();
        Self::on(Box::new(OsDisk::new(root.clone())), root, run)
    }

    /// The same on a disk of the caller's.
    pub fn on(disk: Box<dyn Disk>, root: impl Into<PathBuf>, run: RunId) -> Self {
        let (folders, clock) = (Mutex::default(), OnceLock::new());
        let (patience, reading) = (Patience::default(), Patience::default());
        let (next, unsynced) = (AtomicU64::new(0), AtomicBool::new(false));
        let (unanswered, spare) = (Mutex::default(), Mutex::default());
        let (open, waiting) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            disk,
            run,
            next,
            patience,
            reading,
            folders,
            clock,
            unsynced,
            unanswered,
            spare,
            open,
            waiting,
        };
        Self { root: root.into(), shared: Arc::new(shared) }
    }

    fn disk(&self) -> &dyn Disk {
        self.shared.disk.as_ref()
    }

    fn path(&self, key: &Key) -> PathBuf {
        if key.as_str().is_empty() { self.root.clone() } else { self.root.join(key.as_str()) }
    }

    /// An error that says what is behind what the file system said.
    fn error(&self, operation: Op, key: &Key, source: io::Error) -> StoreError {
        let may_be_gone = matches!(
            source.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::StaleNetworkFileHandle
                | io::ErrorKind::NotConnected
        );
        let source = match source {
            _ if may_be_gone && self.disk().is_gone() => io::Error::other(Gone),
            e if e.kind() == io::ErrorKind::CrossesDevices => io::Error::new(e.kind(), Elsewhere),
            e if blocked(&e) => io::Error::other(NoFile::Blocked),
            e => e,
        };
        StoreError::new(operation, self, key, source)
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.shared.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next sync make a folder's names durable; its own name too, which another process may have made.
    fn touch(&self, folder: &Path) {
        let mut folders = self.folders();
        let above = folder.ancestors().take_while(|a| a.starts_with(&self.root));
        let unrooted: Vec<PathBuf> = above
            .take_while(|a| *a == folder || !folders.rooted.contains(*a))
            .map(Path::to_path_buf)
            .collect();
        folders.touched.extend(unrooted);
    }

    fn look(&self, path: &Path) -> io::Result<Option<Seen>> {
        match self.disk().look(path) {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a folder and those above it; each new name is made durable by the next sync.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let is_folder = || Ok(self.look(path)?.is_some_and(|s| s.kind == SeenKind::Folder));
        match self.settled(|| self.disk().make_folder(path), is_folder) {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    let mut folders = self.folders();
                    folders.touched.insert(parent.to_path_buf());
                    folders.rooted.remove(path);
                }
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if self.disk().is_gone() {
                    return Err(io::Error::other(Gone));
                }
                let Some(parent) = path.parent() else { return Err(e) };
                self.make_folder(parent)?;
                self.make_folder(path)
            }
            Err(e) => Err(e),
        }
    }

    /// Runs `operation`, and once more after making `folder` if that was missing.
    fn with_folder<T>(&self, folder: &Path, mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match operation() {
            // Not asked first whether it is there: another thread may have made it since.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.make_folder(folder)?;
                operation()
            }
            result => result,
        }
    }

    /// Moves a file; `done` tells whether it has happened.
    fn move_file(&self, from: &Path, to: &Path, done: impl Fn() -> io::Result<bool>) -> io::Result<()> {
        let folder = to.parent().unwrap_or(&self.root);
        self.settled(|| self.with_folder(folder, || self.disk().rename(from, to)), done)?;
        self.touch(folder);
        Ok(())
    }
}

impl Store for LocalStore {
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        let path = self.path(key);
        let opened = self.patiently(|| {
            let file = self.disk().open(&path)?;
            let seen = file.look()?;
            Ok((file, seen))
        });
        let (file, seen) = opened.map_err(|e| self.error(Op::Open, key, self.final_word(e)))?;
        let file: Arc<Opened> = Arc::new(Mutex::new(Some(Arc::from(file))));
        self.note_open(&file);
        Ok(Box::new(LocalBlob { store: self.clone(), path, seen, file }))
    }

    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        let spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Unfinished { file, seen, temporary } = match spare {
            Some(spare) => spare,
            None => self.begin()?,
        };
        let file: Arc<Writing> = Arc::new(Mutex::new(Some(file)));
        self.note_open(&file);
        Ok(Box::new(LocalUpload { file, id: seen.id, temporary, store: self.clone() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let listed = match self.patiently(|| self.disk().list(&self.path(folder))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.disk().is_gone() => return Ok(Vec::new()),
            // Something else stands there, which is passed over as other things that no store makes are.
            Err(e) if blocked(&e) && *folder != Key::root() && !self.disk().is_gone() => {
                return Ok(Vec::new());
            }
            listed => listed.map_err(|e| self.error(Op::List, folder, e))?,
        };
        // NFS gives such names to files that were deleted while open.
        let ours = listed.into_iter().filter(|(name, _)| !name.starts_with(".nfs"));
        let item = |(name, seen): (String, Seen)| {
            let kind = match seen.kind {
                SeenKind::File => ItemKind::File { length: seen.length, modified: seen.modified },
                SeenKind::Folder => ItemKind::Folder,
                SeenKind::Other => ItemKind::Other,
            };
            Item { name, kind }
        };
        Ok(ours.map(item).collect())
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        // Looked at first: after a failure, only this tells our file from another that stands there.
        let before =
            self.patiently(|| self.disk().look(&source)).map_err(|e| self.error(Op::Rename, from, e))?;
        let done = || {
            let moved = self.look(&target)?.is_some_and(|seen| seen.id == before.id);
            Ok(moved && (source == target || self.look(&source)?.is_none()))
        };
        self.anchor(target.parent().unwrap_or(&self.root)).map_err(|(op, e)| self.error(op, to, e))?;
        self.move_file(&source, &target, done).map_err(|e| self.error(Op::Rename, from, e))?;
        self.touch(source.parent().unwrap_or(&self.root));
        Ok(())
    }

    fn link(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        let failed = |e| self.error(Op::Link, to, e);
        let before =
            self.patiently(|| self.disk().look(&source)).map_err(|e| self.error(Op::Link, from, e))?;
        if before.kind != SeenKind::File {
            return Ok(false);
        }
        let done = || Ok(self.look(&target)?.is_some_and(|seen| seen.id == before.id));
        let folder = target.parent().unwrap_or(&self.root);
        let linked = self.settled(|| self.with_folder(folder, || self.disk().link(&source, &target)), done);
        match linked.as_ref().map_err(io::Error::kind) {
            Ok(()) => {
                self.touch(folder);
                Ok(true)
            }
            Err(
                io::ErrorKind::NotFound
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded,
            ) => linked.map(|()| true).map_err(failed),
            // Storage without such names says so in many ways (EPERM, EXDEV, EINVAL, EMLINK, EIO): a copy will do, and
            // says itself what else is wrong.
            Err(_) => Ok(false),
        }
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        let remove = || match self.disk().remove_file(&path) {
            // Unlinking a folder is EISDIR on Linux, EPERM by POSIX.
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                match self.look(&path)?.is_some_and(|s| s.kind == SeenKind::Folder) {
                    true => self.disk().remove_folder(&path),
                    false => Err(e),
                }
            }
            result => result,
        };
        self.settled(remove, || Ok(self.look(&path)?.is_none()))
            .map_err(|e| self.error(Op::Delete, key, e))?;
        self.touch(path.parent().unwrap_or(&self.root));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        let touched = self.folders().touched.clone();
        for folder in &touched {
            self.sync_folder(folder).map_err(|source| StoreError {
                operation: Op::Sync,
                path: folder.display().to_string(),
                source,
            })?;
        }
        let mut folders = self.folders();
        folders.touched.retain(|folder| !touched.contains(folder));
        folders.rooted.extend(touched);
        Ok(())
    }

    fn stamp(&self, key: &Key, again: bool) -> Option<Stamp> {
        let clock = self.shared.clock.get()?;
        let stamp = self.waited(|| self.disk().stamp(&self.path(key), again)).ok()?;
        // A file is replaced whole, by another inode.
        (!stamp.is_folder || clock.is_past(stamp.modified)).then_some(stamp)
    }

    fn modified(&self, folder: &Key) -> Option<Timestamp> {
        Some(self.waited(|| self.disk().stamp(&self.path(folder), true)).ok()?.modified)
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        if let Some(clock) = self.shared.clock.get() {
            return Ok(clock.now());
        }
        let shows = self.begin()?;
        let clock = self.shared.clock.get_or_init(|| Clock::showing(shows.seen.modified));
        // The first upload takes the file.
        let before = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner).replace(shows);
        if let Some(Unfinished { file, temporary, .. }) = before {
            // Closed first: NFS keeps a file that is open under another name.
            self.let_go(file);
            self.discard(&temporary);
        }
        Ok(clock.now())
    }

    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError> {
        self.lock_file(mode)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        self.disk().identity()
    }

    fn root(&self) -> Option<&Path> {
        Some(&self.root)
    }

    fn wait(&self) -> Wait {
        self.time_waited()
    }

    fn abandon(&self) {
        let all = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).for_each(|file| file.leave());
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}
