//! A store in memory, for tests of what is built on stores.

use super::{Blob, Item, ItemKind, Key, Lock, LockMode, Store, StoreError, StoreOperation as Op, Upload};
use crate::model::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Files = Arc<Mutex<BTreeMap<Key, Arc<Vec<u8>>>>>;

/// A store in memory. Clones share their files. Its clock stands still at 0.
#[derive(Clone, Default)]
pub struct MemoryStore(Files);

fn held(files: &Files) -> MutexGuard<'_, BTreeMap<Key, Arc<Vec<u8>>>> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store for MemoryStore {
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        match held(&self.0).get(key) {
            Some(bytes) => Ok(Box::new(MemoryBlob(Arc::clone(bytes)))),
            None => Err(StoreError::new(Op::Open, &self.location(), key, io::ErrorKind::NotFound.into())),
        }
    }

    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload { files: Arc::clone(&self.0), bytes: Vec::new() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let prefix = if folder.as_str().is_empty() { String::new() } else { format!("{folder}/") };
        let (mut items, mut folders) = (Vec::new(), BTreeSet::new());
        for (key, bytes) in held(&self.0).iter() {
            match key.as_str().strip_prefix(&prefix).map(|rest| (rest, rest.split_once('/'))) {
                Some((name, None)) => {
                    let kind = ItemKind::File { length: bytes.len() as u64, modified: Timestamp::default() };
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

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        let mut files = held(&self.0);
        match files.remove(from) {
            Some(bytes) => {
                files.insert(to.clone(), bytes);
                Ok(())
            }
            None => Err(StoreError::new(Op::Rename, &self.location(), from, io::ErrorKind::NotFound.into())),
        }
    }

    fn link(&self, from: &Key, to: &Key) -> Result<bool, StoreError> {
        let mut files = held(&self.0);
        let Some(bytes) = files.get(from).cloned() else {
            return Err(StoreError::new(Op::Link, &self.location(), from, io::ErrorKind::NotFound.into()));
        };
        if files.contains_key(to) {
            return Err(StoreError::new(Op::Link, &self.location(), to, io::ErrorKind::AlreadyExists.into()));
        }
        files.insert(to.clone(), bytes);
        Ok(true)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        held(&self.0).remove(key);
        Ok(())
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

struct MemoryBlob(Arc<Vec<u8>>);

impl Blob for MemoryBlob {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..));
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
    files: Files,
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
    fn commit(self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        held(&self.files).insert(key.clone(), Arc::new(self.bytes));
        Ok(())
    }
}
