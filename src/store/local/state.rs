//! What a store in a folder is made of, and the steps that its operations share.

use crate::model::{Patience, RunId};
use crate::store::clock::Clock;
use crate::store::disk::{Disk, DiskFile, Seen, SeenKind};
use crate::store::error::{Elsewhere, Gone};
use crate::store::os::{OsDisk, blocked};
use crate::store::{Key, NoFile, Store, StoreError, StoreOperation as Op};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Instant;

/// A store in a folder. Folders are made 0700, files 0600: a store holds what the sources protect.
#[derive(Clone)]
pub struct LocalStore {
    pub(super) root: PathBuf,
    pub(super) shared: Arc<Shared>,
}

/// What uploads and blobs share with their store.
pub(super) struct Shared {
    pub(super) disk: Box<dyn Disk>,
    pub(super) run: RunId,
    /// Counts unfinished files, for their names.
    pub(super) next: AtomicU64,
    /// Counts the operations that may have to wait.
    pub(super) begun: AtomicU64,
    pub(super) patience: Patience,
    /// Of reading what is open: the kernel has much of it in memory, so that it says nothing of the storage.
    pub(super) reading: Patience,
    pub(super) folders: Mutex<Folders>,
    pub(super) clock: OnceLock<Clock>,
    /// Whether it is on another machine, once asked for.
    pub(super) is_remote: OnceLock<bool>,
    /// It was said that folders cannot be synced here.
    pub(super) unsynced: AtomicBool,
    /// When a server has kept us waiting and has not answered, the last time.
    pub(super) unanswered: Mutex<Option<Instant>>,
    /// A file that was begun to see what time it gets, until there is something to write to it.
    pub(super) spare: Mutex<Option<Unfinished>>,
    /// What is open.
    pub(super) open: Mutex<Vec<Weak<dyn Open>>>,
    /// When the operations began that have not returned, by numbers that grow.
    pub(super) waiting: Mutex<BTreeMap<u64, Instant>>,
}

impl Shared {
    pub(super) fn unanswered(&self) -> MutexGuard<'_, Option<Instant>> {
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
        let (next, begun, unsynced) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        let (unanswered, spare) = (Mutex::default(), Mutex::default());
        let (open, waiting) = (Mutex::default(), Mutex::default());
        let shared = Shared {
            disk,
            run,
            next,
            begun,
            patience,
            reading,
            folders,
            clock,
            is_remote: OnceLock::new(),
            unsynced,
            unanswered,
            spare,
            open,
            waiting,
        };
        Self { root: root.into(), shared: Arc::new(shared) }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.shared.disk.as_ref()
    }

    pub(super) fn path(&self, key: &Key) -> PathBuf {
        if key.as_str().is_empty() { self.root.clone() } else { self.root.join(key.as_str()) }
    }

    /// An error that says what is behind what the file system said.
    pub(super) fn error(&self, operation: Op, key: &Key, source: io::Error) -> StoreError {
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
        StoreError::new(operation, &self.location(), key, source)
    }

    pub(super) fn folders(&self) -> MutexGuard<'_, Folders> {
        self.shared.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the next sync make a folder's names durable; its own name too, which another process may have made.
    pub(super) fn touch(&self, folder: &Path) {
        let mut folders = self.folders();
        let above = folder.ancestors().take_while(|a| a.starts_with(&self.root));
        let unrooted: Vec<PathBuf> = above
            .take_while(|a| *a == folder || !folders.rooted.contains(*a))
            .map(Path::to_path_buf)
            .collect();
        folders.touched.extend(unrooted);
    }

    pub(super) fn look(&self, path: &Path) -> io::Result<Option<Seen>> {
        match self.disk().look(path) {
            Ok(seen) => Ok(Some(seen)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Makes a folder and those above it; each new name is made durable by the next sync.
    pub(super) fn make_folder(&self, path: &Path) -> io::Result<()> {
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
    pub(super) fn with_folder<T>(
        &self,
        folder: &Path,
        mut operation: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
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
    pub(super) fn move_file(
        &self,
        from: &Path,
        to: &Path,
        done: impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        let folder = to.parent().unwrap_or(&self.root);
        self.settled(|| self.with_folder(folder, || self.disk().rename(from, to)), done)?;
        self.touch(folder);
        Ok(())
    }

    /// Moves a file to another key, where it replaces what stands there.
    pub(super) fn move_to(&self, operation: Op, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        // Looked at first: after a failure, only this tells our file from another that stands there.
        let before =
            self.patiently(|| self.disk().look(&source)).map_err(|e| self.error(operation, from, e))?;
        let done = || {
            let moved = self.look(&target)?.is_some_and(|seen| seen.id == before.id);
            Ok(moved && self.look(&source)?.is_none())
        };
        let folder = target.parent().unwrap_or(&self.root);
        self.anchor(operation, folder).map_err(|(op, e)| self.error(op, to, e))?;
        self.move_file(&source, &target, done).map_err(|e| self.error(operation, from, e))?;
        self.touch(source.parent().unwrap_or(&self.root));
        Ok(())
    }
}

/// What is known of the store's directories.
#[derive(Default)]
pub(super) struct Folders {
    /// Folders whose names changed since the last sync.
    pub(super) touched: BTreeSet<PathBuf>,
    /// Folders whose own names, and those of the folders above them, are durable.
    pub(super) rooted: BTreeSet<PathBuf>,
}

/// A file that has no key so far.
pub(super) struct Unfinished {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) seen: Seen,
    pub(super) temporary: PathBuf,
}

/// Has another thread close what is open.
pub(super) fn leave(open: impl Send + 'static) {
    // Without a thread it is closed here, as what is moved into it is dropped.
    let _ = std::thread::Builder::new().name("close".to_owned()).spawn(move || drop(open));
}

/// What is open, until it is let go of.
pub(super) trait Open: Send + Sync {
    /// Has another thread close it, unless it is in use.
    fn leave(&self);
}

impl<T: Send + 'static> Open for Mutex<Option<T>> {
    fn leave(&self) {
        if let Some(open) = self.try_lock().ok().and_then(|mut open| open.take()) {
            leave(open);
        }
    }
}
