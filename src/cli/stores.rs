//! Opening the store, and making one.

use super::context::Context;
use super::failure::{FAILED, Failure};
use super::progress::Stderr;
use crate::archive::{Archive, ArchiveError, NewStore};
use crate::cache::Places;
use crate::edge::{Interrupt, SoftMount};
use crate::format::ChunkSizes;
use crate::model::{Patience, RunId, Shown, is_passing};
use crate::ops::{Error, TOOL, clock};
use crate::store::{LocalStore, MemoryStore, Store, StoreError, StoreOperation};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What a command does where there is no store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum IfMissing {
    /// Makes one.
    Make,
    /// Fails.
    Fail,
    /// Goes on as if there were an empty one: a dry run.
    Pretend,
}

/// What `--existing` and `--dry-run` say about that.
pub(super) fn if_missing(existing: bool, dry_run: bool) -> IfMissing {
    match (existing, dry_run) {
        (true, _) => IfMissing::Fail,
        (_, true) => IfMissing::Pretend,
        _ => IfMissing::Make,
    }
}

/// A store, and whether it was there.
pub(super) struct Opened {
    pub(super) archive: Archive,
    /// The command has made it.
    pub(super) is_new: bool,
}

/// What is found where a store may be.
pub(super) enum Looked {
    Store(Archive),
    /// No store, and where one can be made.
    Nothing(Arc<dyn Store>),
}

impl Opened {
    /// For JSON: the id of a store that the command has made.
    pub(super) fn created_id(&self) -> Option<&str> {
        self.is_new.then_some(self.archive.config().id.as_str())
    }
}

impl Context {
    /// Refuses a `--store` that nobody can have meant.
    pub(super) fn check_store(&self) -> Result<(), Failure> {
        let wrong = |wrong| Err(Failure::Usage(format!("--store {:?} {wrong}", self.global.store)));
        self.wrong_store.as_ref().map_or(Ok(()), wrong)
    }

    /// Refuses a store whose root cannot be looked at: what lies in it, or it in what, could not be told. That nothing is
    /// there yet is another thing.
    pub(super) fn check_reachable(&self) -> Result<(), Failure> {
        let root = &self.global.store;
        let look = || fs::metadata(root).map(drop);
        match Patience::default().run(std::thread::sleep, is_passing, look) {
            Err(source) if is_passing(&source) => {
                let (operation, path) = (StoreOperation::Open, root.display().to_string());
                Err(ArchiveError::Store(StoreError::at(operation, path, source)).into())
            }
            _ => Ok(()),
        }
    }

    fn store(&self) -> Result<Arc<dyn Store>, Failure> {
        self.check_store()?;
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(self.global.store.clone(), RunId(random()?)));
        end_where_silent(&store, self.global.store.clone(), &self.interrupt);
        Ok(store)
    }

    /// The store, which must exist.
    pub(super) fn open(&self) -> Result<Archive, Failure> {
        self.expected(Archive::open(self.store()?)?)
    }

    /// The store, which must have something to read, whether or not it is described.
    pub(super) fn open_to_read(&self) -> Result<Archive, Failure> {
        let lost = |error: &ArchiveError| self.observer().warn(&error.to_string());
        self.expected(Archive::open_to_read(self.store()?, lost)?)
    }

    /// The store; where there is none, what `if_missing` says. One that was made is told of.
    pub(super) fn open_or_create(&self, if_missing: IfMissing) -> Result<Opened, Failure> {
        let store = self.store()?;
        match Archive::open(Arc::clone(&store)) {
            Err(ArchiveError::NoStore(_)) => {}
            opened => {
                let archive = self.expected(opened?)?;
                self.remember(&archive);
                return Ok(Opened { archive, is_new: false });
            }
        }
        let path = Shown::path(&self.global.store);
        if let Some(id) = &self.global.store_id {
            return Err(Failure::Refused(format!(
                "no store at {path}, so none with the id {id}; is its share mounted?"
            )));
        }
        if !self.global.writer_key.is_empty() {
            return Err(Failure::Refused(format!(
                "no store at {path}, and a writer's file is for a sealed one, which only `weekvault init --recipient` makes; is its \
                 share mounted?"
            )));
        }
        if if_missing == IfMissing::Fail {
            return Err(Failure::Refused(format!(
                "no store at {path}: there is no store.json, and --existing makes none; is its share mounted? \
                 `weekvault init` makes a store, once"
            )));
        }
        let opened = self.create(store, ChunkSizes::default(), if_missing == IfMissing::Pretend)?;
        if let Some(id) = opened.created_id() {
            self.progress
                .note(&format!("there was no store at {path}: a new one was made, with the id {id}"));
        }
        Ok(opened)
    }

    /// Makes a store where none is.
    pub(super) fn create(
        &self,
        store: Arc<dyn Store>,
        chunks: ChunkSizes,
        pretend: bool,
    ) -> Result<Opened, Failure> {
        let new = new_store(chunks)?;
        let is_there = check_root(&self.global.store)?;
        if pretend {
            if is_there {
                Archive::check_place(store.as_ref())?;
            }
            let archive = Archive::open_or_create(Arc::new(MemoryStore::default()), &new)?;
            let path = Shown::path(&self.global.store);
            self.progress.note(&format!("there is no store at {path}: without --dry-run one would be made"));
            return Ok(Opened { archive, is_new: false });
        }
        if !is_there {
            make_root(&self.global.store)?;
        }
        let before = self.known_here();
        let archive = Archive::open_or_create(store, &new)?;
        Ok(self.made(archive, &new, before))
    }

    /// The store that this machine's cache knows at the place.
    fn known_here(&self) -> Option<String> {
        self.places().and_then(|places| places.get(&self.global.store))
    }

    /// Remembers a store that was made, and warns where another one was.
    fn made(&self, archive: Archive, new: &NewStore, before: Option<String>) -> Opened {
        // Of two runs that make it at once one is the first.
        let is_new = archive.config().id == new.id;
        if let Some(before) = before.filter(|id| is_new && *id != new.id) {
            self.observer().warn(&format!(
                "this machine knows another store at {}, with the id {before}: if its share is not mounted, mount it, and \
                 remove the new store below its mount point",
                Shown::path(&self.global.store)
            ));
        }
        self.remember(&archive);
        Opened { archive, is_new }
    }

    /// What is at the place; nothing is made.
    pub(super) fn look(&self) -> Result<Looked, Failure> {
        let store = self.store()?;
        match Archive::open(Arc::clone(&store)) {
            Err(ArchiveError::NoStore(_)) => Ok(Looked::Nothing(store)),
            opened => Ok(Looked::Store(self.expected(opened?)?)),
        }
    }

    /// What a store would be that is made where none is; nothing is made.
    pub(super) fn to_be_made(&self, store: &dyn Store, chunks: ChunkSizes) -> Result<NewStore, Failure> {
        if check_root(&self.global.store)? {
            Archive::check_place(store)?;
        }
        new_store(chunks)
    }

    /// Makes a sealed store: `keys` puts its keys into the store that is to be.
    pub(super) fn create_sealed(
        &self,
        store: Arc<dyn Store>,
        new: &NewStore,
        keys: impl FnOnce(&Archive) -> Result<(), Failure>,
    ) -> Result<Opened, Failure> {
        if !check_root(&self.global.store)? {
            make_root(&self.global.store)?;
        }
        let before = self.known_here();
        let archive = Archive::to_be_sealed(store, new)?;
        keys(&archive)?;
        Ok(self.made(archive.seal()?, new, before))
    }

    /// For `init`: a store where none is.
    pub(super) fn create_anew(&self, chunks: ChunkSizes) -> Result<Opened, Failure> {
        let store = self.store()?;
        match Archive::open(Arc::clone(&store)) {
            Err(ArchiveError::NoStore(_)) => self.create(store, chunks, false),
            Err(error) => Err(error.into()),
            Ok(archive) => Err(Failure::Refused(format!(
                "there is a store at {} already, with the id {}; nothing was done",
                Shown::path(&self.global.store),
                archive.config().id
            ))),
        }
    }

    /// The store, unless it is another one than `--store-id` says.
    fn expected(&self, archive: Archive) -> Result<Archive, Failure> {
        let Some(wanted) = &self.global.store_id else { return Ok(archive) };
        let path = Shown::path(&self.global.store);
        match archive.config().id.as_str() {
            found if found == wanted => Ok(archive),
            "" => Err(Failure::Refused(format!(
                "{path}/store.json is lost or damaged: whether the store has the id {wanted} cannot be told; without \
                 --store-id what it has can be read"
            ))),
            found => Err(Failure::Refused(format!(
                "the store at {path} has the id {found}, not {wanted}: is another share mounted there?"
            ))),
        }
    }

    fn places(&self) -> Option<Places> {
        self.cache_folder().ok().flatten().map(|folder| Places::new(&folder))
    }

    fn remember(&self, archive: &Archive) {
        if let Some(places) = self.places() {
            places.put(&self.global.store, &archive.config().id);
        }
    }
}

/// Ends the process where the store's server does not answer for longer than a soft mount promises.
fn end_where_silent(store: &Arc<dyn Store>, path: PathBuf, interrupt: &Interrupt) {
    let Some(mount) = SoftMount::of(&path) else { return };
    let store = Arc::downgrade(store);
    let abandon = {
        let store = store.clone();
        move || {
            if let Some(store) = store.upgrade() {
                store.abandon();
                // Until each of the threads is at it.
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    };
    interrupt.before_end(abandon.clone());
    let watch = move || {
        let waits = || store.upgrade().map(|store| (store.wait().longest, store.wait().failed));
        let silent = |silence: Duration| {
            let (path, seconds) = (Shown::path(&path), silence.as_secs());
            let _ = writeln!(
                Stderr,
                "error: the server of the store at {path} has not answered for {seconds} s: the command ends at once; what it \
                 left unfinished in the store's tmp/, or in a target, the next run removes"
            );
            abandon();
        };
        mount.watch(waits, silent, FAILED.into());
    };
    // Without the thread there is the kernel's own patience.
    let _ = std::thread::Builder::new().name("silence".to_owned()).spawn(watch);
}

/// Whether the store's directory is there; where it is not, the one that it is to be made in must be.
fn check_root(path: &Path) -> Result<bool, Failure> {
    let named = Shown::path(path);
    let refused = |message: String| Err(Failure::Refused(message));
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(true),
        Ok(_) => return refused(format!("no store can be made at {named}: it is not a directory")),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(Failure::File(format!("look at {named}"), e)),
    }
    if let Ok(target) = fs::read_link(path) {
        return refused(format!(
            "{named} is a symbolic link to {}, which does not exist: is its share mounted?",
            Shown::path(&target)
        ));
    }
    let parent = path.parent().unwrap_or(path);
    match fs::metadata(parent) {
        Ok(found) if found.is_dir() => Ok(false),
        Ok(_) => {
            refused(format!("no store can be made at {named}: {} is not a directory", Shown::path(parent)))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => refused(format!(
            "no store can be made at {named}: {} does not exist; is its share mounted? If the path is right, make that \
             directory first",
            Shown::path(parent)
        )),
        Err(e) => Err(Failure::File(format!("look at {}", Shown::path(parent)), e)),
    }
}

fn make_root(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            Err(Failure::File(format!("make the directory {}", Shown::path(path)), e))
        }
        _ => {
            // The store makes its own names durable, but not that of its root. Not every file system can.
            let parent: PathBuf = path.parent().unwrap_or(path).into();
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
            Ok(())
        }
    }
}

fn new_store(chunks: ChunkSizes) -> Result<NewStore, Failure> {
    let id = format!("{:016x}{:016x}", random()?, random()?);
    Ok(NewStore { chunks, created: clock::now(), created_by: TOOL.to_owned(), id })
}

/// A random number from the operating system.
fn random() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    let failed = |e: rustix::io::Errno| {
        Failure::Ops(Error::System { operation: "get random bytes", source: e.into() })
    };
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(failed)?;
    Ok(u64::from_le_bytes(bytes))
}
