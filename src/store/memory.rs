//! Stores in memory, for tests of what is built on stores.

use super::in_steps::{self, Steps};
use super::{
    Blob, Item, ItemKind, Key, Lock, LockMode, Over, Store, StoreError, StoreOperation as Op, Upload, Version,
};
use crate::model::{RunId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store in memory. Clones share their files. Its clock stands still at 0.
#[derive(Clone, Default)]
pub struct MemoryStore {
    held: Arc<Mutex<Held>>,
    /// It has no rename, as a bucket has none; this is the run whose trash it uses.
    steps_of: Option<RunId>,
}

#[derive(Default)]
struct Held {
    files: BTreeMap<Key, MemoryFile>,
    written: u64,
}

#[derive(Clone)]
struct MemoryFile {
    bytes: Arc<Vec<u8>>,
    /// The number of its writing.
    number: u64,
}

impl MemoryFile {
    fn version(&self) -> Version {
        Version(self.number.to_string())
    }
}

impl MemoryStore {
    /// The same files without a rename, as run `run` uses them: what moves is copied and deleted, and an empty file is none.
    pub fn in_steps(&self, run: RunId) -> Self {
        Self { held: Arc::clone(&self.held), steps_of: Some(run) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error<T>(&self, operation: Op, key: &Key, kind: io::ErrorKind) -> Result<T, StoreError> {
        Err(StoreError::new(operation, &self.location(), key, kind.into()))
    }

    /// Whether a file counts as there.
    fn counts(&self, file: &MemoryFile) -> bool {
        self.steps_of.is_none() || !file.bytes.is_empty()
    }

    fn find(&self, operation: Op, key: &Key) -> Result<MemoryFile, StoreError> {
        match self.held().files.get(key).filter(|file| self.counts(file)) {
            Some(file) => Ok(file.clone()),
            None => self.error(operation, key, io::ErrorKind::NotFound),
        }
    }

    fn write(&self, operation: Op, key: &Key, bytes: Arc<Vec<u8>>, over: &Over) -> Result<(), StoreError> {
        let mut held = self.held();
        let stands = held.files.get(key).filter(|file| self.counts(file)).map(MemoryFile::version);
        if self.steps_of.is_some() && *over != Over::Anything && *over != Over::from(stands) {
            return self.error(operation, key, io::ErrorKind::AlreadyExists);
        }
        held.written += 1;
        let number = held.written;
        held.files.insert(key.clone(), MemoryFile { bytes, number });
        Ok(())
    }

    fn rename(&self, operation: Op, from: &Key, to: &Key) -> Result<(), StoreError> {
        let mut held = self.held();
        match held.files.remove(from) {
            Some(file) => drop(held.files.insert(to.clone(), file)),
            None => return self.error(operation, from, io::ErrorKind::NotFound),
        }
        Ok(())
    }
}

impl Steps for MemoryStore {
    fn version(&self, key: &Key) -> Result<Option<Version>, StoreError> {
        Ok(self.find(Op::Open, key).ok().map(|file| file.version()))
    }

    fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let file = self.find(Op::Open, from)?;
        self.write(Op::Write, to, file.bytes, &Over::Anything)
    }

    fn clear(&self, key: &Key, version: &Version) -> Result<(), StoreError> {
        self.write(Op::Retire, key, Arc::default(), &Over::This(version.clone()))
    }
}

impl Store for MemoryStore {
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        Ok(Box::new(MemoryBlob(self.find(Op::Open, key)?)))
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload { store: self.clone(), bytes: Vec::new() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let prefix = if folder.as_str().is_empty() { String::new() } else { format!("{folder}/") };
        let (mut items, mut folders) = (Vec::new(), BTreeSet::new());
        for (key, file) in self.held().files.iter().filter(|(_, file)| self.counts(file)) {
            match key.as_str().strip_prefix(&prefix).map(|rest| (rest, rest.split_once('/'))) {
                Some((name, None)) => {
                    let kind =
                        ItemKind::File { length: file.bytes.len() as u64, modified: Timestamp::default() };
                    items.push(Item { name: name.to_owned(), kind });
                }
                Some((_, Some((name, _)))) => {
                    folders.insert(name.to_owned());
                }
                None => {}
            }
        }
        items.extend(folders.into_iter().map(|name| Item { name, kind: ItemKind::Folder }));
        Ok(items)
    }

    fn retire(
        &self,
        object: &Key,
        place: &Key,
        is_whole: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        match self.steps_of {
            Some(_) => in_steps::retire(self, object, place, is_whole),
            None => self.rename(Op::Retire, object, place).map(|()| true),
        }
    }

    fn bring_back(&self, place: &Key, object: &Key) -> Result<(), StoreError> {
        match self.steps_of {
            Some(_) => self.copy(place, object),
            None => self.rename(Op::BringBack, place, object),
        }
    }

    fn withdraw(&self, key: &Key, place: &Key) -> Result<(), StoreError> {
        match self.steps_of {
            Some(_) => in_steps::withdraw(self, key, place),
            None => self.rename(Op::Retire, key, place),
        }
    }

    fn republish(&self, place: &Key, key: &Key, over: &Over) -> Result<(), StoreError> {
        match self.steps_of {
            Some(_) => in_steps::republish(self, place, key, over),
            None => self.rename(Op::BringBack, place, key),
        }
    }

    fn keep(&self, key: &Key, place: &Key) -> Result<Option<Version>, StoreError> {
        in_steps::keep(self, key, place)
    }

    fn is_there(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.version(key)?.is_some())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.held().files.remove(key);
        Ok(())
    }

    fn moves_in_steps(&self) -> Option<RunId> {
        self.steps_of
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::default())
    }

    fn lock(&self, _: LockMode) -> Result<Lock, StoreError> {
        Ok(Lock::Unsupported)
    }

    fn location(&self) -> String {
        "memory:".into()
    }
}

struct MemoryBlob(MemoryFile);

impl Blob for MemoryBlob {
    fn length(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    fn version(&self) -> Version {
        self.0.version()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.bytes.get(offset..));
        match rest.and_then(|rest| rest.get(..buffer.len())) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

struct MemoryUpload {
    store: MemoryStore,
    bytes: Vec<u8>,
}

impl Write for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for MemoryUpload {
    fn publish(&mut self, key: &Key, over: &Over) -> Result<(), StoreError> {
        self.store.write(Op::Publish, key, Arc::new(self.bytes.clone()), over)
    }
}
