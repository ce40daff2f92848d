//! The store as one process sees it: it answers what the process was told before, up to its next step.

use super::alias::{Aliases, FirstFiles};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use weekvault::model::{RunId, Timestamp};
use weekvault::store::in_steps::{self, Steps};
use weekvault::store::{
    Blob, Item, ItemKind, Key, Lock, LockMode, MemoryStore, Over, Store, StoreError, StoreOperation as Op,
    Upload, Version,
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
    Version(Key),
    Put(Key, Bytes, Over),
    Copy(Key, Key),
    Rename(Key, Key),
    Delete(Key, Over),
}

/// What it is told.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    Missing,
    Taken,
    Done,
    Version(Version),
    Bytes(Bytes),
    /// Names, and of files the length and when they were written.
    Items(Vec<(String, Option<(u64, Timestamp)>)>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(key) => write!(f, "open {key}"),
            Self::List(key) => write!(f, "list /{key}"),
            Self::Version(key) => write!(f, "version of {key}"),
            Self::Put(key, bytes, _) if bytes.is_empty() => write!(f, "clear {key}"),
            Self::Put(key, _, _) => write!(f, "put {key}"),
            Self::Copy(from, to) => write!(f, "copy {from} to {to}"),
            Self::Rename(from, to) => write!(f, "rename {from} to {to}"),
            Self::Delete(key, _) => write!(f, "delete {key}"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Taken => f.write_str("taken"),
            Self::Version(_) => f.write_str("there"),
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
    /// Does the step; what the store holds afterwards, if it may have changed. A file without content counts as none.
    pub(crate) fn apply(&self, files: &Files) -> (Answer, Option<Files>) {
        let find = |key: &Key| files.get(key).filter(|bytes| !bytes.is_empty());
        let may_replace =
            |key: &Key, over: &Over| *over == Over::Anything || *over == Over::from(find(key).map(version));
        let mut changed = files.clone();
        match self {
            Self::Open(key) => {
                return (find(key).map_or(Answer::Missing, |b| Answer::Bytes(Arc::clone(b))), None);
            }
            Self::Version(key) => {
                return (find(key).map_or(Answer::Missing, |b| Answer::Version(version(b))), None);
            }
            Self::List(folder) => {
                let items = store_of(files).list(folder).unwrap().into_iter().map(|item| {
                    let written = item.file_length().map(|n| (n, written(&files[&folder.child(&item.name)])));
                    (item.name, written)
                });
                return (Answer::Items(items.collect()), None);
            }
            Self::Put(key, _, over) | Self::Delete(key, over) if !may_replace(key, over) => {
                return (Answer::Taken, None);
            }
            Self::Put(key, bytes, _) => drop(changed.insert(key.clone(), Arc::clone(bytes))),
            Self::Delete(key, _) => drop(changed.remove(key)),
            Self::Copy(from, to) | Self::Rename(from, to) => match find(from) {
                None => return (Answer::Missing, None),
                Some(bytes) => {
                    if matches!(self, Self::Rename(..)) {
                        changed.remove(from);
                    }
                    changed.insert(to.clone(), Arc::clone(bytes));
                }
            },
        }
        (Answer::Done, Some(changed))
    }

    /// The same where the store's files have the names that it knows them by.
    fn of_the_store(self, aliases: &Aliases) -> Self {
        let key = |key: Key| aliases.key(&key);
        match self {
            Self::Open(at) => Self::Open(key(at)),
            Self::List(folder) => Self::List(folder),
            Self::Version(at) => Self::Version(key(at)),
            Self::Put(at, bytes, over) => Self::Put(key(at), bytes, over),
            Self::Copy(from, to) => Self::Copy(key(from), key(to)),
            Self::Rename(from, to) => Self::Rename(key(from), key(to)),
            Self::Delete(at, over) => Self::Delete(key(at), over),
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
            Self::Put(key, bytes, over) if key.as_str().ends_with(".manifest") => {
                let bytes =
                    if bytes.is_empty() { Bytes::default() } else { Arc::new(b"a manifest".to_vec()) };
                Self::Put(dayless(key), bytes, over.clone())
            }
            Self::Open(key) => Self::Open(dayless(key)),
            Self::Version(key) => Self::Version(dayless(key)),
            Self::Rename(from, to) => Self::Rename(from.clone(), dayless(to)),
            Self::Copy(from, to) => Self::Copy(dayless(from), dayless(to)),
            step => step.clone(),
        }
    }
}

/// The store's clock stands still, but a manifest that is replaced has to look like another one.
fn written(bytes: &Bytes) -> Timestamp {
    let hash = u32::from_le_bytes(*blake3::hash(bytes).as_bytes().first_chunk().unwrap());
    Timestamp { secs: 0, nanos: hash % 1_000_000_000 }
}

fn version(bytes: &Bytes) -> Version {
    Version(blake3::hash(bytes).to_string())
}

pub(crate) fn store_of(files: &Files) -> MemoryStore {
    let store = MemoryStore::default();
    for (key, bytes) in files.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        store.put(key, bytes).unwrap();
    }
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
                    drop(files.insert(key.clone(), Arc::new(store.get(&key, u64::MAX).unwrap())))
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
    pub(crate) moves: Moves,
    pub(crate) firsts: FirstFiles,
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

/// How files move in a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moves {
    /// By a rename, as in a folder.
    AtOnce,
    /// In steps, as in a bucket, under all rules of `weekvault::store::in_steps`.
    InSteps,
    /// In steps, without some of the rules.
    Without(Broken),
}

/// Which rules are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken {
    /// What comes back is copied, and its copy in the trash left.
    pub(crate) copies_back: bool,
    /// What is asked before a retired object is deleted.
    pub(crate) check: Check,
    /// Each run has a folder in the trash of its own.
    pub(crate) own_folder: bool,
    /// A manifest is withdrawn, and replaced, only if it still is what was kept.
    pub(crate) conditional: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Check {
    Nothing,
    /// The object is the one that was copied.
    Version,
    /// The copy is whole.
    Copy,
}

/// A process's store: its past, and how far a run of it has come through that.
#[derive(Clone)]
pub(crate) struct Replay {
    past: Arc<Vec<(Arc<Step>, Arc<Answer>)>>,
    quiet: Arc<Quiet>,
    run: RunId,
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    at: usize,
    next: Option<Step>,
    /// Why this was no run of the process.
    wrong: Option<String>,
    aliases: Aliases,
}

impl Replay {
    pub(crate) fn new(past: Vec<(Arc<Step>, Arc<Answer>)>, quiet: Arc<Quiet>, run: RunId) -> Self {
        Self { past: Arc::new(past), quiet, run, progress: Arc::default() }
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
        let step = step.of_the_store(&progress.aliases);
        let over = progress.next.is_some() || progress.wrong.is_some();
        let kind = match self.past.get(progress.at) {
            _ if over => io::ErrorKind::Other,
            Some((before, answer)) if before.timeless() == step.timeless() => {
                progress.at += 1;
                match **answer {
                    Answer::Missing => io::ErrorKind::NotFound,
                    Answer::Taken => io::ErrorKind::AlreadyExists,
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

    fn rename(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.change(Op::Retire, from, Step::Rename(from.clone(), to.clone()))
    }

    fn change(&self, operation: Op, key: &Key, step: Step) -> Result<(), StoreError> {
        let to = match &step {
            Step::Rename(_, to) | Step::Copy(_, to) => to,
            _ => key,
        };
        if self.quiet.has(key) || self.quiet.has(to) {
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
        let (version, bytes) = (version(&bytes), self.progress().aliases.read(&bytes));
        Ok(Box::new(Read { bytes, version }))
    }

    fn upload(&self) -> Result<Box<dyn Upload>, StoreError> {
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
        let aliases = &self.progress().aliases;
        let item = |(name, written): &(String, Option<(u64, Timestamp)>)| {
            let kind =
                written.map_or(ItemKind::Folder, |(length, modified)| ItemKind::File { length, modified });
            Item { name: aliases.name(name), kind }
        };
        Ok(items.iter().map(item).collect())
    }

    fn retire(
        &self,
        object: &Key,
        place: &Key,
        is_whole: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        let check = match self.quiet.moves {
            Moves::AtOnce => return self.rename(object, place).map(|()| true),
            Moves::InSteps => Check::Copy,
            Moves::Without(Broken { check, .. }) => check,
        };
        if check == Check::Copy {
            return in_steps::retire(self, object, place, is_whole);
        }
        let copied = match check {
            Check::Version => self.version(object)?.map_or(Over::Anything, Over::This),
            _ => Over::Anything,
        };
        self.copy(object, place)?;
        match self.change(Op::Delete, object, Step::Delete(object.clone(), copied)) {
            Err(error) if error.is_taken() => Ok(false),
            deleted => deleted.map(|()| true),
        }
    }

    fn bring_back(&self, place: &Key, object: &Key) -> Result<(), StoreError> {
        match self.quiet.moves {
            Moves::AtOnce => self.rename(place, object),
            Moves::Without(Broken { copies_back: false, .. }) => {
                self.copy(place, object)?;
                self.delete(place)
            }
            _ => self.copy(place, object),
        }
    }

    fn withdraw(&self, key: &Key, place: &Key) -> Result<(), StoreError> {
        match self.quiet.moves {
            Moves::AtOnce => self.rename(key, place),
            Moves::Without(Broken { conditional: false, .. }) => {
                self.copy(key, place)?;
                self.delete(key)
            }
            _ => in_steps::withdraw(self, key, place),
        }
    }

    fn republish(&self, place: &Key, key: &Key, over: &Over) -> Result<(), StoreError> {
        match self.quiet.moves {
            Moves::AtOnce => self.rename(place, key),
            _ => in_steps::republish(self, place, key, over),
        }
    }

    fn keep(&self, key: &Key, place: &Key) -> Result<Option<Version>, StoreError> {
        in_steps::keep(self, key, place)
    }

    fn is_there(&self, key: &Key) -> Result<bool, StoreError> {
        Ok(self.version(key)?.is_some())
    }

    fn delete(&self, key: &Key) -> Result<(), StoreError> {
        // In memory a folder is there as long as it has files.
        if ![".zst", ".age", ".manifest"].iter().any(|ending| key.as_str().ends_with(ending)) {
            return Ok(());
        }
        self.change(Op::Delete, key, Step::Delete(key.clone(), Over::Anything))
    }

    fn moves_in_steps(&self) -> Option<RunId> {
        match self.quiet.moves {
            Moves::InSteps | Moves::Without(Broken { own_folder: true, .. }) => Some(self.run),
            Moves::AtOnce | Moves::Without(_) => None,
        }
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

struct Read {
    bytes: Bytes,
    version: Version,
}

impl Blob for Read {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn version(&self) -> Version {
        self.version.clone()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = self.bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(rest.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
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
    fn publish(&mut self, key: &Key, over: &Over) -> Result<(), StoreError> {
        let over = match self.store.quiet.moves {
            Moves::AtOnce | Moves::Without(Broken { conditional: false, .. }) => Over::Anything,
            _ => over.clone(),
        };
        let (bytes, Replay { run, quiet, .. }) = (Arc::new(self.bytes.clone()), &self.store);
        let (key, bytes) = self.store.progress().aliases.put(*run, &quiet.firsts, key, &bytes);
        self.store.change(Op::Publish, &key, Step::Put(key.clone(), bytes, over))
    }
}

impl Steps for Replay {
    fn version(&self, key: &Key) -> Result<Option<Version>, StoreError> {
        match self.ask(Op::Open, key, Step::Version(key.clone())) {
            Err(error) if error.is_not_found() => Ok(None),
            answer => Ok(match &*answer? {
                Answer::Version(version) => Some(version.clone()),
                _ => None,
            }),
        }
    }

    fn copy(&self, from: &Key, to: &Key) -> Result<(), StoreError> {
        self.change(Op::Write, from, Step::Copy(from.clone(), to.clone()))
    }

    fn clear(&self, key: &Key, version: &Version) -> Result<(), StoreError> {
        let step = Step::Put(key.clone(), Bytes::default(), Over::This(version.clone()));
        self.change(Op::Retire, key, step)
    }
}
