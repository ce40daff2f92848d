//! The read files of a sealed store, in `keys/` and in manifests, and what a store that becomes one had before.

use super::error::ArchiveError;
use super::id::{ManifestId, ManifestRef};
use super::layout;
use super::manifest::Manifest;
use super::open::Archive;
use crate::format::FormatError;
use crate::format::keys::{PlainManifest, ReadNumber, SealedReadFile, WriterId};
use crate::model::{Digest, PvcName, Week};
use crate::store::{Item, Key, Store, StoreError, StoreOperation};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// A store has no more read files in `keys/`: one for each change of who may open it.
const MAX_READ_FILES: usize = 1000;

/// A read file in `keys/`.
#[derive(Clone, Debug)]
pub struct StoredReadFile {
    /// Below the store's root: `keys/read-1-1.age`.
    pub place: String,
    /// What its name says.
    pub number: ReadNumber,
    /// The file.
    pub sealed: SealedReadFile,
}

/// The read file that a manifest carries.
#[derive(Clone, Debug)]
pub struct CarriedReadFile {
    /// Of these, the newest of its pvc.
    pub manifest: ManifestId,
    /// Who made that.
    pub writer: WriterId,
    /// The file.
    pub sealed: SealedReadFile,
}

/// What the manifests of a store are, those in the trash too.
#[derive(Clone, Default, Debug)]
pub struct Origins {
    /// Those that are not encrypted.
    pub plain: BTreeSet<PlainManifest>,
    /// Weeks and pvcs of which there is one that cannot be read.
    pub unread: BTreeSet<(Week, PvcName)>,
    /// How many are encrypted.
    pub sealed: usize,
}

impl Origins {
    /// Whether a plain manifest is there, or may be.
    pub fn may_have(&self, plain: &PlainManifest) -> bool {
        self.plain.contains(plain) || self.unread.contains(&(plain.week, plain.pvc.clone()))
    }

    fn add(
        &mut self,
        listed: &ManifestRef,
        opened: Result<Manifest, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let ManifestId { week, pvc, .. } = listed.id.clone();
        match opened {
            Ok(manifest) if manifest.writer().is_some() => self.sealed += 1,
            Ok(manifest) => {
                let digest = manifest.reader().digest();
                self.plain.insert(PlainManifest { week, pvc, digest });
            }
            // Retired or deleted since it was listed.
            Err(ArchiveError::Store(error)) if error.is_not_found() => {}
            Err(ArchiveError::Format { .. }) => drop(self.unread.insert((week, pvc))),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The read files' names in `keys/`, each with its number.
fn names(items: Vec<Item>) -> impl Iterator<Item = (ReadNumber, Item)> {
    items.into_iter().filter_map(|item| Some((ReadNumber::of_file_name(&item.name)?, item)))
}

impl Archive {
    /// Whether there is something in `keys/` that has a read file's name.
    pub(super) fn has_read_files(store: &dyn Store) -> Result<bool, ArchiveError> {
        Ok(names(store.list(&layout::keys())?).next().is_some())
    }

    /// The read files in `keys/`, in the order of their numbers. What has the name of one and is none is handed to `damaged`.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; [`ArchiveError::Format`] for more than a thousand.
    pub fn read_files(
        &self,
        mut damaged: impl FnMut(&ArchiveError),
    ) -> Result<Vec<StoredReadFile>, ArchiveError> {
        let mut found: Vec<(ReadNumber, Item)> = names(self.store.list(&layout::keys())?).collect();
        found.sort_by_key(|(number, _)| *number);
        if found.len() > MAX_READ_FILES {
            let (size, limit) = (found.len() as u64, MAX_READ_FILES as u64);
            let source = FormatError::TooLarge { what: "the number of read files".into(), size, limit };
            return Err(ArchiveError::Format { path: self.full_path(&layout::keys()), source });
        }
        let mut files = Vec::new();
        for (number, _) in found {
            let key = layout::read_file(number);
            match self.read_file_at(&key) {
                Ok(sealed) => files.push(StoredReadFile { place: key.to_string(), number, sealed }),
                Err(error @ ArchiveError::Format { .. }) => damaged(&error),
                Err(ArchiveError::Store(error)) if error.is_out_of_reach() => return Err(error.into()),
                Err(error) => damaged(&error),
            }
        }
        Ok(files)
    }

    fn read_file_at(&self, key: &Key) -> Result<SealedReadFile, ArchiveError> {
        let bytes = self.store.get(key, SealedReadFile::MAX_LENGTH)?;
        let failed = |source| ArchiveError::Format { path: self.full_path(key), source };
        SealedReadFile::from_bytes(&bytes).map_err(failed)
    }

    /// The read files that the newest manifests carry, one of each pvc and two where its newest week has a partial one as well.
    /// Manifests that cannot be read are passed over.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn carried_read_files(&self) -> Result<Vec<CarriedReadFile>, ArchiveError> {
        let listed = self.manifests()?;
        let mut newest: BTreeMap<&PvcName, Week> = BTreeMap::new();
        // Oldest week first.
        newest.extend(listed.iter().map(|manifest| (&manifest.id.pvc, manifest.id.week)));
        let mut carried = Vec::new();
        for ManifestRef { id, .. } in listed.iter().filter(|m| newest.get(&m.id.pvc) == Some(&m.id.week)) {
            match self.carried_by(id) {
                Ok(found) => carried.extend(found),
                Err(ArchiveError::Store(error)) if error.is_out_of_reach() => return Err(error.into()),
                Err(_) => {}
            }
        }
        Ok(carried)
    }

    fn carried_by(&self, id: &ManifestId) -> Result<Option<CarriedReadFile>, ArchiveError> {
        let Some(manifest) = self.open_listed(id)? else { return Ok(None) };
        let Some(writer) = manifest.writer() else { return Ok(None) };
        let bytes = manifest.reader().read_file().map_err(|error| manifest.error(error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let sealed = SealedReadFile::from_bytes(&bytes).map_err(|error| manifest.error(error.into()))?;
        Ok(Some(CarriedReadFile { manifest: id.clone(), writer, sealed }))
    }

    /// Puts a read file into `keys/`, where it is durable afterwards. It replaces nothing: where that very file stands already, all
    /// is well.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; [`StoreError::is_taken`] where another file has that number.
    pub fn add_read_file(&self, number: ReadNumber, file: &SealedReadFile) -> Result<(), ArchiveError> {
        let (place, bytes) = (layout::read_file(number), file.as_bytes());
        // A file that is written can replace another one without a word; a second name of a file cannot.
        let unfinished = layout::unfinished(&Digest::of(bytes));
        self.store.put(&unfinished, bytes)?;
        let kept = self.store.keep(&unfinished, &place);
        // Left behind it costs space until the next clean-up.
        let _ = self.store.delete(&unfinished);
        match kept {
            Ok(Some(_)) => {}
            Ok(None) => {
                let gone = io::ErrorKind::NotFound.into();
                return Err(StoreError::new(StoreOperation::Keep, &self.location(), &unfinished, gone).into());
            }
            Err(error) if error.is_taken() => {
                let is_same = self.read_file_at(&place).is_ok_and(|stands| stands == *file);
                if !is_same {
                    return Err(error.into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.store.sync()?)
    }

    /// What the manifests of the store are, those in the trash and partial ones too.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn origins(&self) -> Result<Origins, ArchiveError> {
        let mut origins = Origins::default();
        for listed in self.manifests()? {
            origins.add(&listed, self.open_manifest(&listed.id))?;
        }
        for trashed in self.trashed_manifests()? {
            origins.add(&trashed.manifest, self.open_trashed(&trashed))?;
        }
        Ok(origins)
    }

    /// Whether the store, which is plain, has read files all the same: those of an attempt to seal it that did not come to its end.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn has_keys(&self) -> Result<bool, ArchiveError> {
        Self::has_read_files(self.store.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{ManifestId, NewStore};
    use crate::format::keys::{NewStore as NewKeys, OperatorRecipient, ReadKey};
    use crate::format::{ChunkSizes, Keys};
    use crate::model::{RunId, StoreId, Timestamp};
    use crate::store::{LocalStore, MemoryStore};
    use std::sync::Arc;

    const FIRST: ReadNumber = ReadNumber { epoch: 1, n: 1 };

    fn new_store() -> NewStore {
        let id = "00112233445566778899aabbccddeeff".to_owned();
        NewStore {
            chunks: ChunkSizes::default(),
            created: Timestamp::default(),
            created_by: "test".into(),
            id,
        }
    }

    fn new_keys() -> NewKeys {
        let operator = ReadKey::generate().unwrap().recipient().to_string();
        let recipient: OperatorRecipient = operator.parse().unwrap();
        let id: StoreId = new_store().id.parse().unwrap();
        NewKeys::generate(id, ChunkSizes::default(), &[recipient], false, []).unwrap()
    }

    fn names(archive: &Archive) -> Vec<String> {
        let files = archive.read_files(|error| panic!("{error}")).unwrap();
        files.into_iter().map(|file| file.place).collect()
    }

    #[test]
    fn a_read_file_is_added_once_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let local: Arc<dyn Store> = Arc::new(LocalStore::new(folder.path().join("store"), RunId(1)));
        let memory = MemoryStore::default();
        for store in [local, Arc::new(memory.clone()), Arc::new(MemoryStore::default().in_steps(RunId(2)))] {
            let archive = Archive::to_be_sealed(store, &new_store()).unwrap();
            let (one, other) = (new_keys().sealed, new_keys().sealed);
            let tenth = ReadNumber { n: 10, ..FIRST };
            archive.add_read_file(tenth, &other).unwrap();
            archive.add_read_file(FIRST, &one).unwrap();
            // The very same is there already.
            archive.add_read_file(FIRST, &one).unwrap();
            let taken = archive.add_read_file(FIRST, &other).unwrap_err();
            assert!(matches!(taken, ArchiveError::Store(error) if error.is_taken()));
            assert_eq!(names(&archive), ["keys/read-1-1.age", "keys/read-1-10.age"]);
            assert_eq!(archive.read_files(|_| {}).unwrap()[0].sealed, one);
            assert!(archive.store.list(&layout::tmp()).unwrap().is_empty());
        }
    }

    #[test]
    fn what_is_no_read_file_is_named_and_passed_over() {
        let store = MemoryStore::default();
        let archive = Archive::to_be_sealed(Arc::new(store.clone()), &new_store()).unwrap();
        archive.add_read_file(FIRST, &new_keys().sealed).unwrap();
        for (name, bytes) in
            [("read-1-2.age", vec![0; 10]), ("read-1-3.age", vec![0; 1 << 20]), ("notes", vec![])]
        {
            store.put(&layout::keys().child(name), &bytes).unwrap();
        }
        let mut told = Vec::new();
        let files = archive.read_files(|error| told.push(error.to_string())).unwrap();
        assert_eq!((files.len(), told.len()), (1, 2), "{told:?}");
        assert!(told[0].contains("keys/read-1-2.age") && told[1].contains("keys/read-1-3.age"), "{told:?}");
        for n in 4..1010 {
            store.put(&layout::read_file(ReadNumber { epoch: 1, n }), &[]).unwrap();
        }
        assert!(archive.read_files(|_| {}).unwrap_err().to_string().contains("1000 is the most"));
    }

    #[test]
    fn a_store_is_plain_until_its_description_says_that_it_is_sealed() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let plain = Archive::open_or_create(Arc::clone(&store), &new_store()).unwrap();
        assert!(!plain.config().sealed && matches!(plain.seals().keys(), Keys::Plain));
        plain.add_read_file(FIRST, &new_keys().sealed).unwrap();
        assert!(plain.has_keys().unwrap() && !Archive::open(Arc::clone(&store)).unwrap().config().sealed);
        let sealed = plain.seal().unwrap();
        assert!(matches!(sealed.seals().keys(), Keys::Without));
        let (before, after) = (plain.config().clone(), sealed.config().clone());
        assert_eq!(crate::format::StoreConfig { sealed: true, ..before }, after);
    }

    #[test]
    fn keys_without_a_store_are_not_taken_for_an_empty_place() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let archive = Archive::to_be_sealed(Arc::clone(&store), &new_store()).unwrap();
        archive.add_read_file(FIRST, &new_keys().sealed).unwrap();
        for made in [
            Archive::to_be_sealed(Arc::clone(&store), &new_store()),
            Archive::open_or_create(Arc::clone(&store), &new_store()),
        ] {
            let Err(error) = made else { panic!("a store was made") };
            assert!(error.to_string().contains("keys/read-1-1.age"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_may_be_any_plain_manifest_of_its_week() {
        let store = MemoryStore::default();
        let archive = Archive::open_or_create(Arc::new(store.clone()), &new_store()).unwrap();
        let (week, pvc): (Week, PvcName) = ("2025-14".parse().unwrap(), "html".parse().unwrap());
        let id = ManifestId { week, pvc: pvc.clone(), partial: false };
        store.put(&id.key(), b"no manifest").unwrap();
        let origins = archive.origins().unwrap();
        let plain = |pvc: &str| PlainManifest { week, pvc: pvc.parse().unwrap(), digest: Digest([1; 32]) };
        assert!(origins.may_have(&plain("html")) && !origins.may_have(&plain("enigma")));
        assert!(origins.plain.is_empty() && origins.sealed == 0);
    }
}
