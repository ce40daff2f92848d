//! A store in a folder: a local disk or a mounted share.

use super::{Blob, Item, ItemKind, Key, Lock, LockMode, Store, StoreError, StoreOperation as Op, Upload};
use crate::model::{RunId, Timestamp};
use rustix::fs::FlockOperation;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A store in a folder. Folders are made 0700, files 0600: a store holds what the sources protect.
#[derive(Clone)]
pub struct LocalStore {
    root: PathBuf,
    shared: Arc<Shared>,
}

/// What uploads share with their store.
struct Shared {
    run: RunId,
    next: AtomicU64,
    /// Folders whose names changed since the last sync.
    touched: Mutex<BTreeSet<PathBuf>>,
}

impl Shared {
    fn touch(&self, folder: &Path) {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_path_buf());
    }
}

impl LocalStore {
    /// The store in the folder `root`, which need not exist yet. `run` names its unfinished files.
    pub fn new(root: impl Into<PathBuf>, run: RunId) -> Self {
        let shared = Shared { run, next: AtomicU64::new(0), touched: Mutex::default() };
        Self { root: root.into(), shared: Arc::new(shared) }
    }

    fn path(&self, key: &Key) -> PathBuf {
        if key.as_str().is_empty() { self.root.clone() } else { self.root.join(key.as_str()) }
    }

    fn error(&self, operation: Op, key: &Key, source: io::Error) -> StoreError {
        StoreError::new(operation, self, key, source)
    }

    /// Makes a folder and those above it; each new name is made durable by the next sync.
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => {
                if let Some(parent) = path.parent() {
                    self.shared.touch(parent);
                }
                Ok(())
            }
            // NFS may report EEXIST for a folder that this very call made.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let Some(parent) = path.parent() else { return Err(e) };
                self.make_folder(parent)?;
                self.make_folder(path)
            }
            Err(e) => Err(e),
        }
    }

    /// Runs `operation`, and once more after making `folder` if that was missing.
    fn with_folder<T>(&self, folder: &Path, operation: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match operation() {
            // Not asked first whether it is there: another thread may have made it since.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.make_folder(folder)?;
                operation()
            }
            result => result,
        }
    }
}

impl Store for LocalStore {
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        // Without waiting: a fifo of that name would hold us until somebody writes to it.
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(self.path(key));
        let file = file.map_err(|e| self.error(Op::Open, key, e))?;
        let metadata = file.metadata().map_err(|e| self.error(Op::Open, key, e))?;
        if !metadata.is_file() {
            return Err(self.error(Op::Open, key, io::Error::other("it is not a regular file")));
        }
        Ok(Box::new(LocalBlob { length: metadata.len(), file }))
    }

    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let key = Key::new(format!("tmp/{}-{number}", self.shared.run));
        let temporary = self.path(&key);
        let open = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file =
            self.with_folder(&self.root.join("tmp"), open).map_err(|e| self.error(Op::Create, &key, e))?;
        Ok(Box::new(LocalUpload { file: Some(file), temporary, store: self.clone() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let failed = |e| self.error(Op::List, folder, e);
        let entries = match fs::read_dir(self.path(folder)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut items = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Names that are not UTF-8, and those that NFS gives to files deleted while open, are never ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name.starts_with(".nfs") {
                continue;
            }
            let kind = match entry.file_type().map_err(failed)? {
                t if t.is_dir() => ItemKind::Folder,
                // A folder that was moved elsewhere and linked to is where it was, to every reader.
                t if t.is_symlink() && entry.path().is_dir() => ItemKind::Folder,
                t if t.is_file() || t.is_symlink() => match fs::metadata(entry.path()) {
                    Ok(m) => {
                        let modified = Timestamp { secs: m.mtime(), nanos: m.mtime_nsec() as u32 };
                        ItemKind::File { length: m.len(), modified }
                    }
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(failed(e)),
                },
                _ => continue,
            };
            items.push(Item { name, kind });
        }
        Ok(items)
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let (source, target) = (self.path(from), self.path(to));
        let folder = target.parent().unwrap_or(&self.root).to_path_buf();
        self.with_folder(&folder, || fs::rename(&source, &target))
            .map_err(|e| self.error(Op::Rename, from, e))?;
        self.shared.touch(&folder);
        self.shared.touch(source.parent().unwrap_or(&self.root));
        Ok(())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        let deleted = match fs::remove_file(&path) {
            // Unlinking a folder is EISDIR on Linux, EPERM by POSIX.
            Err(_) if path.is_dir() => fs::remove_dir(&path),
            result => result,
        };
        match deleted {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Ok(()) => {
                self.shared.touch(path.parent().unwrap_or(&self.root));
                Ok(())
            }
            Err(e) => Err(self.error(Op::Delete, key, e)),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let touched =
            std::mem::take(&mut *self.shared.touched.lock().unwrap_or_else(PoisonError::into_inner));
        for folder in touched {
            let synced = File::open(&folder).and_then(|f| f.sync_all());
            match synced {
                // A folder that was deleted since has no names left to lose.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                result => result.map_err(|source| StoreError {
                    operation: Op::Sync,
                    path: folder.display().to_string(),
                    source,
                })?,
            }
        }
        Ok(())
    }

    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError> {
        let key = Key::new("lock");
        let path = self.path(&key);
        let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = self.with_folder(&self.root, open).map_err(|e| self.error(Op::Lock, &key, e))?;
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Lock::Held(Box::new(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Busy),
            Err(_) => Ok(Lock::Unsupported),
        }
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }
}

struct LocalBlob {
    file: File,
    length: u64,
}

impl Blob for LocalBlob {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

struct LocalUpload {
    /// Taken by the commit.
    file: Option<File>,
    temporary: PathBuf,
    store: LocalStore,
}

impl Write for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file
            .as_ref()
            .map_or_else(|| Err(io::Error::other("written after its commit")), |mut f| f.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for LocalUpload {
    fn commit(mut self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let target = self.store.path(key);
        let folder = target.parent().unwrap_or(&self.store.root);
        let committed = (|| {
            file.sync_all().map_err(|e| self.store.error(Op::Sync, key, e))?;
            // NFS may report the last write's error as late as here.
            nix::unistd::close(file).map_err(|e| self.store.error(Op::Close, key, e.into()))?;
            let rename = || fs::rename(&self.temporary, &target);
            self.store.with_folder(folder, rename).map_err(|e| self.store.error(Op::Rename, key, e))
        })();
        match committed {
            Ok(()) => self.store.shared.touch(folder),
            Err(_) => drop(fs::remove_file(&self.temporary)),
        }
        committed
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
