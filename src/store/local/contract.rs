//! The store's operations on a folder.

use super::files::{LocalBlob, LocalUpload, Opened, Writing};
use super::state::{LocalStore, Unfinished};
use crate::model::Timestamp;
use crate::store::clock::Clock;
use crate::store::contract::copy_file;
use crate::store::disk::SeenKind;
use crate::store::os::blocked;
use crate::store::{
    Blob, Item, ItemKind, Key, Listed, Lock, LockMode, Over, Stamp, Store, StoreError, StoreOperation as Op,
    Upload, Version, Wait,
};
use crate::sys::is_remote;
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

    fn requests_at_once(&self) -> usize {
        let ask = || self.waited(|| Ok(is_remote(&self.root))).unwrap_or(false);
        // Four round trips to put one, and a sync.
        if *self.shared.is_remote.get_or_init(ask) { 8 } else { 2 }
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
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
        let mut items = Vec::new();
        self.each(folder, &mut |listed| match listed {
            Listed::Anew => items.clear(),
            Listed::Item(name, kind) => items.push(Item { name: name.to_owned(), kind }),
        })?;
        Ok(items)
    }

    fn each(&self, folder: &Key, found: &mut dyn FnMut(Listed<'_>)) -> Result<(), StoreError> {
        let mut is_first = true;
        let listed = self.patiently(|| {
            if !std::mem::take(&mut is_first) {
                found(Listed::Anew);
            }
            self.disk().list(&self.path(folder), &mut |name, seen| {
                let kind = match seen.kind {
                    SeenKind::File => ItemKind::File { length: seen.length, modified: seen.modified },
                    SeenKind::Folder => ItemKind::Folder,
                    SeenKind::Other => ItemKind::Other,
                };
                // NFS gives such names to files that were deleted while open.
                if !name.starts_with(".nfs") {
                    found(Listed::Item(name, kind));
                }
            })
        });
        let is_empty = match &listed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => !self.disk().is_gone(),
            // Something else stands there, which is passed over as other things that no store makes are.
            Err(e) if blocked(e) && *folder != Key::root() => !self.disk().is_gone(),
            _ => false,
        };
        if is_empty {
            found(Listed::Anew);
            return Ok(());
        }
        listed.map_err(|e| self.error(Op::List, folder, e))
    }

    fn retire(
        &self,
        object: &Key,
        place: &Key,
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        self.move_to(Op::Retire, object, place).map(|()| true)
    }

    fn bring_back(&self, place: &Key, object: &Key) -> Result<(), StoreError> {
        self.move_to(Op::BringBack, place, object)
    }

    fn withdraw(&self, key: &Key, place: &Key) -> Result<(), StoreError> {
        self.move_to(Op::Retire, key, place)
    }

    fn republish(&self, place: &Key, key: &Key, _: &Over) -> Result<(), StoreError> {
        self.move_to(Op::BringBack, place, key)
    }

    fn keep(&self, key: &Key, place: &Key) -> Result<Option<Version>, StoreError> {
        let (source, target) = (self.path(key), self.path(place));
        let before = match self.patiently(|| self.look(&source)) {
            Ok(Some(before)) if before.kind == SeenKind::File => before,
            Ok(_) => return Ok(None),
            Err(e) => return Err(self.error(Op::Keep, key, e)),
        };
        let failed = |e| self.error(Op::Keep, place, e);
        let done = || Ok(self.look(&target)?.is_some_and(|seen| seen.id == before.id));
        let folder = target.parent().unwrap_or(&self.root);
        let linked = self.settled(|| self.with_folder(folder, || self.disk().link(&source, &target)), done);
        match linked.as_ref().map_err(io::Error::kind) {
            Ok(()) => self.touch(folder),
            Err(io::ErrorKind::NotFound)
                if self.patiently(|| self.look(&source)).is_ok_and(|s| s.is_none()) =>
            {
                return Ok(None);
            }
            Err(
                io::ErrorKind::NotFound
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::StorageFull
                | io::ErrorKind::QuotaExceeded,
            ) => linked.map_err(failed)?,
            // Storage without second names says so in many ways (EPERM, EXDEV, EINVAL, EMLINK, EIO): a copy will do, and says
            // itself what else is wrong.
            Err(_) => {
                if self.patiently(|| self.look(&target)).map_err(failed)?.is_some() {
                    return Err(failed(io::ErrorKind::AlreadyExists.into()));
                }
                match copy_file(self, key, place, &Over::Nothing) {
                    Err(error) if error.is_not_found() => return Ok(None),
                    copied => copied?,
                }
            }
        }
        Ok(Some(Version::default()))
    }

    fn is_there(&self, key: &Key) -> Result<bool, StoreError> {
        let path = self.path(key);
        let seen = self.patiently(|| self.look(&path)).map_err(|e| self.error(Op::Open, key, e))?;
        let is_there = seen.is_some_and(|seen| seen.kind == SeenKind::File);
        if is_there {
            self.touch(path.parent().unwrap_or(&self.root));
        }
        Ok(is_there)
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
            self.sync_folder(folder)
                .map_err(|source| StoreError::at(Op::Sync, folder.display().to_string(), source))?;
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

    fn local_path(&self) -> Option<&Path> {
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
