//! A store in a folder: a local disk or a mounted share.
//!
//! What a network file system reports is not always what happened: a request that was sent twice fails the second
//! time. So the outcome of every rename, mkdir and unlink that failed is looked at before it counts as an error, and
//! what only reads is tried again. An fsync or close that failed is never tried again on the same file: the kernel
//! tells such an error once, and then takes the lost pages for written.

use super::clock::Clock;
use super::disk::{Disk, DiskFile, OsDisk, Seen, SeenKind};
use super::{
    Blob, Item, ItemKind, Key, Lock, LockMode, Stamp, Store, StoreError, StoreOperation as Op, Upload,
};
use crate::model::{Patience, RunId, Timestamp, is_passing};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

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
    folders: Mutex<Folders>,
    clock: OnceLock<Clock>,
}

#[derive(Default)]
struct Folders {
    /// Folders whose names changed since the last sync.
    touched: BTreeSet<PathBuf>,
    /// Folders whose own names, and those of the folders above them, are durable.
    rooted: BTreeSet<PathBuf>,
}

impl LocalStore {
    /// The store in the folder `root`, which need not exist yet. `run` names its unfinished files.
    pub fn new(root: impl Into<PathBuf>, run: RunId) -> Self {
        Self::on(Box::new(OsDisk), root, run)
    }

    /// The same on a disk of the caller's.
    pub fn on(disk: Box<dyn Disk>, root: impl Into<PathBuf>, run: RunId) -> Self {
        let (patience, folders, clock) = (Patience::default(), Mutex::default(), OnceLock::new());
        let shared = Shared { disk, run, next: AtomicU64::new(0), patience, folders, clock };
        Self { root: root.into(), shared: Arc::new(shared) }
    }

    fn disk(&self) -> &dyn Disk {
        self.shared.disk.as_ref()
    }

    fn path(&self, key: &Key) -> PathBuf {
        if key.as_str().is_empty() { self.root.clone() } else { self.root.join(key.as_str()) }
    }

    fn error(&self, operation: Op, key: &Key, source: io::Error) -> StoreError {
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

    /// Tries what only reads, or does nothing the second time, until it succeeds or fails for a reason that stays.
    fn patiently<T>(&self, attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.shared.patience.run(|length| self.disk().pause(length), is_passing, attempt)
    }

    /// Tries a change until it succeeds, or turns out to be `done` although it was reported as failed.
    fn settled(
        &self,
        mut change: impl FnMut() -> io::Result<()>,
        done: impl Fn() -> io::Result<bool>,
    ) -> io::Result<()> {
        self.patiently(|| match change() {
            Err(_) if done().unwrap_or(false) => Ok(()),
            result => result,
        })
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

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match self.disk().sync_folder(folder) {
            // A folder that was deleted since has no names left to lose.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        }
    }

    /// Makes a folder, if it is missing, and its name durable, with those of the folders above it: what is moved into
    /// it would be lost with it, and with its old name gone that would be for good.
    fn anchor(&self, folder: &Path) -> Result<(), (Op, io::Error)> {
        let loose: Vec<PathBuf> = {
            let folders = self.folders();
            let below_root = folder.ancestors().take_while(|a| *a != self.root && a.starts_with(&self.root));
            below_root.take_while(|a| !folders.rooted.contains(*a)).map(Path::to_path_buf).collect()
        };
        if loose.is_empty() {
            return Ok(());
        }
        let made = self.patiently(|| self.look(folder)).and_then(|seen| match seen {
            None => self.make_folder(folder),
            Some(_) => Ok(()),
        });
        made.map_err(|e| (Op::Rename, e))?;
        for above in loose.iter().filter_map(|f| f.parent()) {
            self.sync_folder(above).map_err(|e| (Op::Sync, e))?;
        }
        self.folders().rooted.extend(loose);
        Ok(())
    }

    /// Moves a file; `done` tells whether it has happened.
    fn move_file(&self, from: &Path, to: &Path, done: impl Fn() -> io::Result<bool>) -> io::Result<()> {
        let folder = to.parent().unwrap_or(&self.root);
        self.settled(|| self.with_folder(folder, || self.disk().rename(from, to)), done)?;
        self.touch(folder);
        Ok(())
    }

    fn discard(&self, temporary: &Path) {
        let gone = || Ok(self.look(temporary)?.is_none());
        // Left behind it costs space until the next clean-up, no more.
        let _ = self.settled(|| self.disk().remove_file(temporary), gone);
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
        let (file, seen) = opened.map_err(|e| self.error(Op::Open, key, e))?;
        Ok(Box::new(LocalBlob { store: self.clone(), path, seen, file: Mutex::new(Arc::from(file)) }))
    }

    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        let folder = self.root.join("tmp");
        let mut key = Key::root();
        let made = self.patiently(|| {
            // A new name each time: the file of an attempt that is reported as failed may be there.
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            key = Key::new(format!("tmp/{}-{number}", self.shared.run));
            let file = self.with_folder(&folder, || self.disk().create(&self.path(&key)));
            file.and_then(|file| Ok((file.look()?.id, file))).inspect_err(|_| self.discard(&self.path(&key)))
        });
        let (id, file) = made.map_err(|e| self.error(Op::Create, &key, e))?;
        Ok(Box::new(LocalUpload { file: Some(file), id, temporary: self.path(&key), store: self.clone() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let listed = match self.patiently(|| self.disk().list(&self.path(folder))) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
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
            // Storage without such names says one of these; so may a file that has as many as it can.
            Err(
                io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied | io::ErrorKind::TooManyLinks,
            ) => Ok(false),
            Err(_) => linked.map(|()| true).map_err(failed),
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

    fn stamp(&self, key: &Key) -> Option<Stamp> {
        let clock = self.shared.clock.get()?;
        let stamp = self.disk().stamp(&self.path(key)).ok()?;
        // A file is replaced whole, by another inode.
        (!stamp.is_folder || clock.is_past(stamp.modified)).then_some(stamp)
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        if let Some(clock) = self.shared.clock.get() {
            return Ok(clock.now());
        }
        let key = Key::new("tmp");
        let folder = self.path(&key);
        let made = self.patiently(|| {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let temporary = folder.join(format!("{}-{number}", self.shared.run));
            let made = self.with_folder(&folder, || self.disk().create(&temporary));
            let seen = made.and_then(|file| file.look());
            self.discard(&temporary);
            seen
        });
        let showed = made.map_err(|e| self.error(Op::Create, &key, e))?.modified;
        Ok(self.shared.clock.get_or_init(|| Clock::showing(showed)).now())
    }

    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError> {
        let key = Key::new("lock");
        let lock = || self.with_folder(&self.root, || self.disk().lock(&self.path(&key), mode));
        self.patiently(lock).map_err(|e| self.error(Op::Lock, &key, e))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

struct LocalBlob {
    store: LocalStore,
    path: PathBuf,
    seen: Seen,
    /// Replaced when its handle has gone stale.
    file: Mutex<Arc<dyn DiskFile>>,
}

impl LocalBlob {
    fn file(&self) -> MutexGuard<'_, Arc<dyn DiskFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blob for LocalBlob {
    fn length(&self) -> u64 {
        self.seen.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.store.patiently(|| {
            let file = Arc::clone(&self.file());
            let read = file.read_exact_at(buffer, offset);
            if read.as_ref().is_err_and(is_passing)
                && let Ok(again) = self.store.disk().open(&self.path)
                && again.look().is_ok_and(|seen| seen.id == self.seen.id)
            {
                *self.file() = Arc::from(again);
            }
            read
        })
    }
}

struct LocalUpload {
    /// Taken by the commit.
    file: Option<Box<dyn DiskFile>>,
    id: (u64, u64),
    temporary: PathBuf,
    store: LocalStore,
}

impl Write for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .as_mut()
            .map_or_else(|| Err(io::Error::other("written after its commit")), |f| f.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for LocalUpload {
    fn commit(mut self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let (store, target) = (&self.store, self.store.path(key));
        let committed = (|| {
            file.sync().map_err(|e| store.error(Op::Sync, key, e))?;
            file.close().map_err(|e| store.error(Op::Close, key, e))?;
            let done = || Ok(store.look(&target)?.is_some_and(|s| s.id == self.id));
            store.move_file(&self.temporary, &target, done).map_err(|e| store.error(Op::Rename, key, e))
        })();
        if committed.is_err() {
            store.discard(&self.temporary);
        }
        committed
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.store.discard(&self.temporary);
        }
    }
}
