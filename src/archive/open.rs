//! Opening a store, and making a new one.

use super::error::ArchiveError;
use super::layout;
use super::listing::{Listing, ObjectFolder};
use super::manifest::Manifest;
use super::seen::Seen;
use crate::format::{ChunkSizes, FormatError, Keys, Seals, StoreConfig, decode_store, encode_store};
use crate::model::{Timestamp, Week};
use crate::store::{Item, ItemKind, Key, Store};
use crate::tree::StorePlace;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// `store.json` is a few hundred bytes; a larger one is not ours.
const MAX_STORE_JSON: u64 = 64 << 10;

/// A store that has been opened: its files and what it says of itself.
#[derive(Clone)]
pub struct Archive {
    pub(super) store: Arc<dyn Store>,
    config: Arc<StoreConfig>,
    seals: Seals,
    pub(super) folders: Arc<Seen<Arc<[Item]>>>,
    pub(super) objects: Arc<Seen<ObjectFolder>>,
    pub(super) manifests: Arc<Seen<Manifest>>,
    pub(super) last_listing: Arc<Mutex<Option<Listing>>>,
}

/// Folders, objects' folders and manifests that are kept in mind. The files of so many manifests stay open: fewer than a
/// process may have.
const FOLDERS: usize = 1000;
const OBJECT_FOLDERS: usize = 16;
const MANIFESTS: usize = 100;

/// What a new store is to say of itself.
#[derive(Clone, Debug)]
pub struct NewStore {
    /// Where the content stream is cut.
    pub chunks: ChunkSizes,
    /// When it is made.
    pub created: Timestamp,
    /// The program that makes it.
    pub created_by: String,
    /// 32 random hexadecimal digits.
    pub id: String,
}

impl NewStore {
    fn config(&self) -> StoreConfig {
        let Self { chunks, created, created_by, id } = self.clone();
        StoreConfig { id, chunks, created: created.rfc3339(), created_by, sealed: false }
    }
}

impl Archive {
    /// Opens the store.
    ///
    /// # Errors
    /// [`ArchiveError::NoStore`] where there is none, [`ArchiveError::Format`] where it is damaged or of a newer version.
    pub fn open(store: Arc<dyn Store>) -> Result<Self, ArchiveError> {
        match store.get(&layout::store_json(), MAX_STORE_JSON) {
            Ok(bytes) => Self::decoded(store, &bytes),
            Err(e) if e.is_not_found() => {
                let archive = Self::undescribed(store, false);
                let is_lost = !archive.manifests()?.is_empty();
                let path = archive.location();
                Err(if is_lost { ArchiveError::Undescribed(path) } else { ArchiveError::NoStore(path) })
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Opens the store for reading alone, which needs nothing of `store.json`: one that is lost or damaged is handed to
    /// `lost`, and does not matter where there are manifests.
    ///
    /// # Errors
    /// As [`Archive::open`], where there is nothing to read, or the store is of a newer version.
    pub fn open_to_read(
        store: Arc<dyn Store>,
        lost: impl FnOnce(&ArchiveError),
    ) -> Result<Self, ArchiveError> {
        let error = match Self::open(Arc::clone(&store)) {
            Err(ArchiveError::Format { source: source @ FormatError::Version { .. }, path }) => {
                return Err(ArchiveError::Format { path, source });
            }
            Err(error @ (ArchiveError::Undescribed(_) | ArchiveError::Format { .. })) => error,
            Err(ArchiveError::Store(error)) if error.is_no_file() => error.into(),
            opened => return opened,
        };
        let archive = Self::undescribed(Arc::clone(&store), false);
        if archive.manifests()?.is_empty() {
            return Err(error);
        }
        let sealed = Self::has_read_files(store.as_ref())? || !archive.carried_read_files()?.is_empty();
        let archive = Self::undescribed(store, sealed);
        lost(&error);
        Ok(archive)
    }

    fn undescribed(store: Arc<dyn Store>, sealed: bool) -> Self {
        let (id, created, created_by) = (String::new(), String::new(), String::new());
        Self::new(store, StoreConfig { id, chunks: ChunkSizes::default(), created, created_by, sealed })
    }

    /// Opens the store, or makes one in an empty or missing folder.
    ///
    /// # Errors
    /// As [`Archive::open`]; [`ArchiveError::NotEmpty`] where the folder holds something else.
    pub fn open_or_create(store: Arc<dyn Store>, new: &NewStore) -> Result<Self, ArchiveError> {
        match Self::open(Arc::clone(&store)) {
            Err(ArchiveError::NoStore(_)) => {}
            opened => return opened,
        }
        Self::check_place(store.as_ref())?;
        Self::new(store, new.config()).describe()
    }

    /// A store that is to be made and sealed, and has nothing so far: [`Archive::seal`] makes it one.
    ///
    /// # Errors
    /// As [`Archive::check_place`].
    pub fn to_be_sealed(store: Arc<dyn Store>, new: &NewStore) -> Result<Self, ArchiveError> {
        Self::check_place(store.as_ref())?;
        Ok(Self::new(store, new.config()))
    }

    /// Writes `store.json`, and opens the store that this makes.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    fn describe(&self) -> Result<Self, ArchiveError> {
        let path = self.full_path(&layout::store_json());
        let bytes = encode_store(&self.config).map_err(|source| ArchiveError::Format { path, source })?;
        self.store.put(&layout::store_json(), &bytes)?;
        self.store.sync()?;
        // Of two runs that make the store at once the later one's file stands; both read that.
        Self::open(Arc::clone(&self.store))
    }

    /// Makes it a sealed store, as which it is opened. Its keys must be durable by now: without them nobody could read what comes.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; the store then is what it was, or is sealed.
    pub fn seal(&self) -> Result<Self, ArchiveError> {
        let config = StoreConfig { sealed: true, ..StoreConfig::clone(&self.config) };
        Self::new(Arc::clone(&self.store), config).describe()
    }

    /// Whether a store may be made where none is: the place must have nothing in it but what may stand beside a store.
    ///
    /// # Errors
    /// [`ArchiveError::NotEmpty`], naming something else that is there.
    pub fn check_place(store: &dyn Store) -> Result<(), ArchiveError> {
        let items = store.list(&Key::root())?;
        // What a fresh file system, a first run that was killed, and a run beside this one may leave; and the weeks of
        // what the store is to replace. Those of a store whose store.json was lost have manifests.
        let harmless = |name: &str| layout::is_own(Path::new(name)) || name == "lost+found";
        let foreign = |item: &&crate::store::Item| match item.kind {
            ItemKind::Folder => !harmless(&item.name) && item.name.parse::<Week>().is_err(),
            _ => !harmless(&item.name) && !item.name.starts_with('.'),
        };
        // An archive whose store.json was lost must not be taken for an empty folder, nor overwritten as one.
        // Nor is what is in folders of these names the store's, to be deleted in time, unless it made it.
        let first = |folder: Key, ours: fn(&str) -> bool| {
            let found = store.list(&folder)?.into_iter().find(|item| !ours(&item.name));
            Ok::<_, ArchiveError>(found.map(|item| format!("{folder}/{}", item.name)))
        };
        let foreign = match items.iter().find(foreign) {
            Some(item) => Some(item.name.clone()),
            None => first(Key::new(layout::OBJECTS), |_| false)?
                .or(first(layout::trash(), |_| false)?)
                .or(first(layout::keys(), |_| false)?)
                .or(first(layout::tmp(), layout::is_unfinished)?),
        };
        if let Some(name) = foreign {
            return Err(ArchiveError::NotEmpty(store.location(), name));
        }
        Ok(())
    }

    fn decoded(store: Arc<dyn Store>, bytes: &[u8]) -> Result<Self, ArchiveError> {
        let path = format!("{}/{}", store.location(), layout::store_json());
        let config = decode_store(bytes).map_err(|source| ArchiveError::Format { path, source })?;
        Ok(Self::new(store, config))
    }

    fn new(store: Arc<dyn Store>, config: StoreConfig) -> Self {
        let seals = if config.sealed { Seals::with_keys(Keys::Without) } else { Seals::default() };
        Self::new_with(store, Arc::new(config), seals)
    }

    fn new_with(store: Arc<dyn Store>, config: Arc<StoreConfig>, seals: Seals) -> Self {
        let folders = Arc::new(Seen::new(FOLDERS));
        let objects = Arc::new(Seen::new(OBJECT_FOLDERS));
        let manifests = Arc::new(Seen::new(MANIFESTS));
        let last_listing = Arc::default();
        Self { store, config, seals, folders, objects, manifests, last_listing }
    }

    /// What is directly in a folder of the store.
    pub(super) fn list(&self, folder: &Key) -> Result<Arc<[Item]>, ArchiveError> {
        let store = self.store.as_ref();
        self.folders.get(store, folder, || Ok(store.list(folder)?.into()))
    }

    /// The same store; what is written to it from now on is compressed at this level of zstd.
    pub fn at_level(&self, level: i32) -> Self {
        Self { seals: self.seals.at_level(level), ..self.clone() }
    }

    /// The same store, with these keys.
    pub fn with_keys(&self, keys: Keys) -> Self {
        Self::new_with(Arc::clone(&self.store), Arc::clone(&self.config), Seals::with_keys(keys))
    }

    /// How its objects and manifests are sealed and named.
    pub fn seals(&self) -> &Seals {
        &self.seals
    }

    /// What the store says of itself.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Where the store is in this machine's file systems.
    pub fn place(&self) -> StorePlace {
        StorePlace::new(self.store.identity(), self.store.local_path(), &self.config.id)
    }

    /// How many objects are worth putting or getting at once.
    pub fn requests_at_once(&self) -> usize {
        self.store.requests_at_once()
    }

    /// For messages: where the store is.
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// Makes everything that was written so far durable.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn sync(&self) -> Result<(), ArchiveError> {
        Ok(self.store.sync()?)
    }

    pub(super) fn full_path(&self, key: &Key) -> String {
        format!("{}/{key}", self.store.location())
    }
}
