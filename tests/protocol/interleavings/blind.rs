//! A store that shows a process what it held before: what comes of not looking again.

use std::collections::HashMap;
use std::sync::Mutex;
use weekvault::model::{RunId, Timestamp};
use weekvault::store::{Blob, Item, Key, Lock, LockMode, Over, Store, StoreError, Upload, Version};

/// After so many looks at a folder it is said to hold the same for ever.
pub(crate) struct Blind<S> {
    store: S,
    looks: usize,
    to: fn(&Key) -> bool,
    seen: Mutex<HashMap<Key, (usize, Vec<Item>)>>,
}

impl<S> Blind<S> {
    /// Blind to the folders that are said to be `to`, after so many looks.
    pub(crate) fn after(looks: usize, to: fn(&Key) -> bool, store: S) -> Self {
        Self { store, looks, to, seen: Mutex::default() }
    }
}

pub(crate) fn manifests(folder: &Key) -> bool {
    folder.as_str().is_empty() || folder.as_str().starts_with("20")
}

pub(crate) fn objects(folder: &Key) -> bool {
    folder.as_str().starts_with("objects/")
}

impl<S: Store> Store for Blind<S> {
    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        let mut seen = self.seen.lock().unwrap();
        let (looks, items) = seen.entry(folder.clone()).or_default();
        if *looks < self.looks || !(self.to)(folder) {
            *items = self.store.list(folder)?;
            *looks += 1;
        }
        Ok(items.clone())
    }

    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        self.store.open(key)
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.store.upload()
    }

    fn retire(
        &self,
        object: &Key,
        place: &Key,
        is_whole: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        self.store.retire(object, place, is_whole)
    }

    fn bring_back(&self, place: &Key, object: &Key) -> Result<(), StoreError> {
        self.store.bring_back(place, object)
    }

    fn withdraw(&self, key: &Key, place: &Key) -> Result<(), StoreError> {
        self.store.withdraw(key, place)
    }

    fn republish(&self, place: &Key, key: &Key, over: &Over) -> Result<(), StoreError> {
        self.store.republish(place, key, over)
    }

    fn keep(&self, key: &Key, place: &Key) -> Result<Option<Version>, StoreError> {
        self.store.keep(key, place)
    }

    fn is_there(&self, key: &Key) -> Result<bool, StoreError> {
        self.store.is_there(key)
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.store.delete(key)
    }

    fn moves_in_steps(&self) -> Option<RunId> {
        self.store.moves_in_steps()
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn now(&self) -> Result<Timestamp, StoreError> {
        self.store.now()
    }

    fn lock(&self, mode: LockMode) -> Result<Lock, StoreError> {
        self.store.lock(mode)
    }

    fn location(&self) -> String {
        self.store.location()
    }
}
