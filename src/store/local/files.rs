//! Files of a store in a folder: open for reading, and being written.

use super::state::{LocalStore, Unfinished};
use crate::model::is_passing;
use crate::store::disk::{DiskFile, Seen};
use crate::store::{Blob, Key, Over, StoreError, StoreOperation as Op, Upload};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct LocalBlob {
    pub(super) store: LocalStore,
    pub(super) path: PathBuf,
    pub(super) seen: Seen,
    /// Replaced when its handle has gone stale; taken at the end.
    pub(super) file: Arc<Opened>,
}

/// A file that is open for reading, until it is let go of.
pub(super) type Opened = Mutex<Option<Arc<dyn DiskFile>>>;

impl LocalBlob {
    fn file(&self) -> MutexGuard<'_, Option<Arc<dyn DiskFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blob for LocalBlob {
    fn length(&self) -> u64 {
        self.seen.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.store.with_patience(&self.store.shared.reading, || {
            let Some(file) = self.file().clone() else { return Err(io::ErrorKind::NotFound.into()) };
            let read = file.read_exact_at(buffer, offset);
            if read.as_ref().is_err_and(is_passing)
                && let Ok(again) = self.store.disk().open(&self.path)
                && again.look().is_ok_and(|seen| seen.id == self.seen.id)
            {
                *self.file() = Some(Arc::from(again));
            }
            read
        })
    }
}

impl Drop for LocalBlob {
    fn drop(&mut self) {
        if let Some(file) = self.file().take() {
            self.store.let_go(file);
        }
    }
}

impl LocalStore {
    /// Begins a file in `tmp`.
    pub(super) fn begin(&self) -> Result<Unfinished, StoreError> {
        let folder = self.root.join("tmp");
        let mut key = Key::root();
        let made = self.patiently(|| {
            // A new name each time: the file of an attempt that is reported as failed may be there.
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            key = Key::new(format!("tmp/{}-{number}", self.shared.run));
            let file = self.waited(|| self.with_folder(&folder, || self.disk().create(&self.path(&key))));
            file.and_then(|file| Ok((file.look()?, file))).inspect_err(|_| self.discard(&self.path(&key)))
        });
        let (seen, file) = made.map_err(|e| self.error(Op::Create, &key, self.final_word(e)))?;
        Ok(Unfinished { file, seen, temporary: self.path(&key) })
    }
}

/// A file that is being written, until it is published, or it is let go of.
pub(super) type Writing = Mutex<Option<Box<dyn DiskFile>>>;

pub(super) struct LocalUpload {
    pub(super) file: Arc<Writing>,
    pub(super) id: (u64, u64),
    pub(super) temporary: PathBuf,
    pub(super) store: LocalStore,
}

impl Write for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or_else(
            || Err(io::Error::other("written after it was published")),
            |f| self.store.waited(|| f.write(bytes)),
        )
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for LocalUpload {
    /// A file system has no rename that says what it may replace.
    fn publish(&mut self, key: &Key, _: &Over) -> Result<(), StoreError> {
        let taken = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (store, target) = (&self.store, self.store.path(key));
        let Some(mut file) = taken else {
            return Err(store.error(Op::Publish, key, io::Error::other("it was published before")));
        };
        if let Err(error) = store.waited(|| file.sync()) {
            // Closed first: NFS keeps a file that is open under another name.
            store.let_go(file);
            store.discard(&self.temporary);
            return Err(store.error(Op::Sync, key, error));
        }
        let committed = (|| {
            store.waited(|| file.close()).map_err(|e| store.error(Op::Close, key, e))?;
            let done = || Ok(store.look(&target)?.is_some_and(|s| s.id == self.id));
            store.move_file(&self.temporary, &target, done).map_err(|e| store.error(Op::Publish, key, e))
        })();
        if committed.is_err() {
            store.discard(&self.temporary);
        }
        committed
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(file) = file {
            self.store.let_go(file);
            self.store.discard(&self.temporary);
        }
    }
}
