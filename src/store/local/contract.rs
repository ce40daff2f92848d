//! The store's operations on a folder.

use super::files::{LocalBlob, LocalUpload, Opened, Writing};
use super::state::{LocalStore, Unfinished};
use crate::model::Timestamp;
use crate::store::clock::Clock;
use crate::store::disk::{Seen, SeenKind};
use crate::store::os::blocked;
use crate::store::{
    Blob, Item, ItemKind, Key, Lock, LockMode, Stamp, Store, StoreError, StoreOperation as Op, Upload, Wait,
};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
