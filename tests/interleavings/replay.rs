//! The store as one process sees it: it answers what the process was told before, up to its next step.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use weekvault::model::Timestamp;
use weekvault::store::{
    Blob, Item, ItemKind, Key, Lock, LockMode, MemoryStore, Store, StoreError, StoreOperation as Op, Upload,
    read_all, write_all,
};

pub(crate) type Bytes = Arc<Vec<u8>>;

/// What a store holds.
pub(crate) type Files = BTreeMap<Key, Bytes>;

/// What a process asks of the store that others may notice, or may have had a hand in.
///
/// Nothing else is a step: an upload is its writer's own until it is committed, a file that was opened never changes,
/// and syncing, the clock and the lock do nothing in memory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Open(Key),
    List(Key),
    Put(Key, Bytes),
    Rename(Key, Key),
    Delete(Key),
}

/// What it is told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Missing,
    Done,
    Bytes(Bytes),
    /// Names, and of files the length and when they were written.
    Items(Vec<(String, Option<(u64, Timestamp)>)>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(key) => write!(f, "open {key}"),
            Self::List(key) => write!(f, "list /{key}"),
            Self::Put(key, _) => write!(f, "put {key}"),
            Self::Rename(from, to) => write!(f, "rename {from} to {to}"),
            Self::Delete(key) => write!(f, "delete {key}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Done => f.write_str("done"),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Items(items) => {
                let names: Vec<&str> = items.iter().map(|(name, _)| name.as_str()).collect();
                write!(f, "[{}]", names.join(" "))
            }
        }
    }
}

impl Step {
    /// Does the step with the store in memory; what that holds afterwards, if it may have changed.
    pub(crate) fn apply(&self, files: &Files) -> (Answer, Option<Files>) {
        let store = store_of(files);
        let done = match self {
            Self::Open(key) => match files.get(key) {
                Some(bytes) => return (Answer::Bytes(Arc::clone(bytes)), None),
                None => store.open(key).map(drop),
            },
            Self::List(folder) => {
                let items = store.list(folder).unwrap().into_iter().map(|item| {
                    let written = item.file_length().map(|n| (n, written(&files[&folder.child(&item.name)])));
                    (item.name, written)
                });
                return (Answer::Items(items.collect()), None);
            }
            Self::Put(key, bytes) => write_all(&store, key, bytes),
            Self::Rename(from, to) => store.rename(from, to),
            Self::Delete(key) => store.delete(key),
        };
        match done {
            Ok(()) => (Answer::Done, Some(files_of(&store))),
            Err(e) if e.is_not_found() => (Answer::Missing, None),
            Err(e) => panic!("{e}"),
        }
    }

    /// The same for two runs whose clocks differ: a manifest tells when it was made, and a place in the trash on which
    /// day. The days of the tests' own are all in 2025.
    fn timeless(&self) -> Self {
        let dayless = |key: &Key| match key.as_str().strip_prefix("trash/").and_then(|k| k.split_once('/')) {
            Some((day, rest)) if !day.starts_with("2025") => Key::new(format!("trash/-/{rest}")),
            _ => key.clone(),
        };
        match self {
            Self::Put(key, _) if key.as_str().ends_with(".manifest") => {
                Self::Put(dayless(key), Bytes::default())
            }
            Self::Open(key) => Self::Open(dayless(key)),
            Self::Rename(from, to) => Self::Rename(from.clone(), dayless(to)),
            step => step.clone(),
        }
    }
}

/// The store's clock stands still, but a manifest that is replaced has to look like another one.
fn written(bytes: &Bytes) -> Timestamp {
    let hash = u32::from_le_bytes(*blake3::hash(bytes).as_bytes().first_chunk().unwrap());
    Timestamp { secs: 0, nanos: hash % 1_000_000_000 }
}

pub(crate) fn store_of(files: &Files) -> MemoryStore {
    let store = MemoryStore::default();
    files.iter().for_each(|(key, bytes)| write_all(&store, key, bytes).unwrap());
    store
}

pub(crate) fn files_of(store: &MemoryStore) -> Files {
    fn add(store: &MemoryStore, folder: &Key, files: &mut Files) {
        for item in store.list(folder).unwrap() {
            let key = folder.child(&item.name);
            match item.kind {
                ItemKind::Other => {}
                ItemKind::Folder => add(store, &key, files),
                ItemKind::File { .. } => {
                    drop(files.insert(key.clone(), Arc::new(read_all(store, &key, u64::MAX).unwrap())))
                }
            }
        }
    }
    let mut files = Files::new();
    add(store, &Key::root(), &mut files);
    files
}

/// What no process ever changes: asking for it is no step, since no order of steps gives another answer.
pub(crate) struct Quiet {
    pub(crate) store_json: Bytes,
    /// First digits of the objects that come up: all other folders of objects are empty, and stay so.
    pub(crate) digits: Vec<char>,
}

impl Quiet {
    fn is_empty_folder(&self, folder: &Key) -> bool {
        let mut parts = folder.as_str().rsplit('/');
        let (digit, above) = (parts.next().unwrap_or_default(), parts.next());
        above == Some("objects") && !self.digits.iter().any(|d| digit.starts_with(*d))
    }

    fn has(&self, key: &Key) -> bool {
        key.as_str() == "store.json" || self.is_empty_folder(&key.parent())
    }
}

/// A process's store: its past, and how far a run of it has come through that.
#[derive(Clone)]
pub(crate) struct Replay {
    past: Arc<Vec<(Arc<Step>, Arc<Answer>)>>,
    quiet: Arc<Quiet>,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    at: usize,
    next: Option<Step>,
    /// Why this was no run of the process.
    wrong: Option<String>,
}

impl Replay {
    pub(crate) fn new(past: Vec<(Arc<Step>, Arc<Answer>)>, quiet: Arc<Quiet>) -> Self {
        Self { past: Arc::new(past), quiet, progress: Arc::default() }
    }

    /// The step after the past; none where the process has ended.
    pub(crate) fn next(&self) -> Option<Step> {
        let mut progress = self.progress();
        assert_eq!(progress.wrong, None);
        assert_eq!(progress.at, self.past.len(), "a process that has the same past has to go the same way");
        progress.next.take()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap()
    }

    /// Once the past is over nothing is answered any more, and the process ends without having done a thing.
    fn ask(&self, operation: Op, key: &Key, step: Step) -> Result<Arc<Answer>, StoreError> {
        let mut progress = self.progress();
        let over = progress.next.is_some() || progress.wrong.is_some();
        let kind = match self.past.get(progress.at) {
            _ if over => io::ErrorKind::Other,
            Some((before, answer)) if before.timeless() == step.timeless() => {
                progress.at += 1;
                match **answer {
                    Answer::Missing => io::ErrorKind::NotFound,
                    _ => return Ok(Arc::clone(answer)),
                }
            }
            Some((before, _)) => {
                progress.wrong = Some(format!("{step} where it was {before} before"));
                io::ErrorKind::Other
            }
            None => {
                progress.next = Some(step);
                io::ErrorKind::Other
            }
        };
        Err(StoreError::new(operation, &self.location(), key, kind.into()))
    }

    fn change(&self, operation: Op, key: &Key, step: Step) -> Result<(), StoreError> {
        if self.quiet.has(key) || matches!(&step, Step::Rename(_, to) if self.quiet.has(to)) {
            self.progress().wrong.get_or_insert(format!("{step} changes what was said to be quiet"));
        }
        self.ask(operation, key, step).map(drop)
    }
}

impl Store for Replay {
    fn open(&self, key: &Key) -> Result<Box<dyn Blob>, StoreError> {
        let bytes = match self.quiet.has(key) {
            true => Arc::clone(&self.quiet.store_json),
            false => match &*self.ask(Op::Open, key, Step::Open(key.clone()))? {
                Answer::Bytes(bytes) => Arc::clone(bytes),
                _ => Bytes::default(),
            },
        };
        store_of(&Files::from([(key.clone(), bytes)])).open(key)
    }

    fn create(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(Written { store: self.clone(), bytes: Vec::new() }))
    }

    fn list(&self, folder: &Key) -> Result<Vec<Item>, StoreError> {
        if self.quiet.is_empty_folder(folder) {
            return Ok(Vec::new());
        }
        // What is in one of these folders is a step; that it is there is not, as none is ever removed but by who empties
        // the trash, and an empty one is as good as none.
        if folder.name() == "objects" {
            let folder = |digit: &char| Item { name: digit.to_string(), kind: ItemKind::Folder };
            return Ok(self.quiet.digits.iter().map(folder).collect());
        }
        let answer = self.ask(Op::List, folder, Step::List(folder.clone()))?;
        let Answer::Items(items) = &*answer else { return Ok(Vec::new()) };
        let item = |(name, written): &(String, Option<(u64, Timestamp)>)| {
            let kind =
                written.map_or(ItemKind::Folder, |(length, modified)| ItemKind::File { length, modified });
            Item { name: name.clone(), kind }
        };
        Ok(items.iter().map(item).collect())
    }

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.change(Op::Rename, from, Step::Rename(from.clone(), to.clone()))
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        // In memory a folder is there as long as it has files.
        if !key.as_str().ends_with(".zst") && !key.as_str().ends_with(".manifest") {
            return Ok(());
        }
        self.change(Op::Delete, key, Step::Delete(key.clone()))
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
        "store".into()
    }
}

struct Written {
    store: Replay,
    bytes: Vec<u8>,
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for Written {
    fn commit(self: Box<Self>, key: &Key) -> Result<(), StoreError> {
        self.store.change(Op::Write, key, Step::Put(key.clone(), Arc::new(self.bytes)))
    }
}
