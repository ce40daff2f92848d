//! A store and a source for tests of the engine, without the program around it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::archive::{Archive, NewStore};
use weekvault::format::{ChunkSizes, Section};
use weekvault::model::{Observer, Silent, WeekRef};
use weekvault::ops::backup::{BackedUp, BackupOptions, Labels, Source, backup};
use weekvault::ops::clock::now;
use weekvault::ops::restore::{Owner, RestoreOptions, Restored, restore};
use weekvault::ops::verify::{Verified, VerifyOptions, verify};
use weekvault::ops::{Error, Run};
use weekvault::store::LocalStore;

/// A store and a source in a folder of their own.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) archive: Archive,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::new(folder.path().join("store"), weekvault::model::RunId(1)));
        let chunks = ChunkSizes { min: 1024, avg: 4096, max: 16384 };
        let new = NewStore { chunks, created: now(), created_by: "test".into(), id: "00".repeat(16) };
        let archive = Archive::open_or_create(store, &new).unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        Self { folder, archive }
    }

    pub(crate) fn src(&self) -> PathBuf {
        self.folder.path().join("src")
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.src().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn backup(&self, week: &str) -> Result<BackedUp, Error> {
        self.backup_as(week, "p")
    }

    pub(crate) fn backup_as(&self, week: &str, pvc: &str) -> Result<BackedUp, Error> {
        self.backup_watched(week, pvc, &Silent::default())
    }

    pub(crate) fn backup_watched(
        &self,
        week: &str,
        pvc: &str,
        observer: &dyn Observer,
    ) -> Result<BackedUp, Error> {
        let run = Run::new(&self.archive, observer).on(2);
        let labels = Labels::of(week.parse().unwrap());
        let source = Source { pvc: pvc.parse().unwrap(), path: self.src() };
        Ok(backup(run, &[source], &labels, &BackupOptions::default())?.sources.remove(0))
    }

    pub(crate) fn restore(&self, week: &str, target: &Path, delete: bool) -> Result<Restored, Error> {
        self.restore_watched(week, target, delete, &Silent::default())
    }

    pub(crate) fn restore_watched(
        &self,
        week: &str,
        target: &Path,
        delete: bool,
        observer: &dyn Observer,
    ) -> Result<Restored, Error> {
        let id = self.archive.find_manifest(WeekRef::Exact(week.parse().unwrap()), &"p".parse().unwrap())?;
        let manifest = self.archive.open_manifest(&id)?;
        let options = RestoreOptions { delete, owner: Owner::Nobody, ..RestoreOptions::into(target) };
        restore(Run::new(&self.archive, observer).on(2), &manifest, &options)
    }

    pub(crate) fn verify(&self, options: VerifyOptions) -> Result<Verified, Error> {
        verify(Run::new(&self.archive, &Silent::default()), &options)
    }

    pub(crate) fn manifest(&self, week: &str) -> PathBuf {
        self.folder.path().join("store").join(week).join("p.manifest")
    }

    /// Flips a bit of the n-th block of entries of a manifest.
    pub(crate) fn damage_block(&self, week: &str, n: usize) {
        let id =
            self.archive.find_manifest(WeekRef::Exact(week.parse().unwrap()), &"p".parse().unwrap()).unwrap();
        let manifest = self.archive.open_manifest(&id).unwrap();
        let mut blocks = manifest.reader().blocks().iter().filter(|b| b.section == Section::Entries);
        let offset = blocks.nth(n).unwrap().offset as usize + 20;
        let mut bytes = fs::read(self.manifest(week)).unwrap();
        bytes[offset] ^= 1;
        fs::write(self.manifest(week), bytes).unwrap();
    }

    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.folder.path().join("store/objects")).unwrap() {
            found.extend(fs::read_dir(folder.unwrap().path()).unwrap().map(|f| f.unwrap().path()));
        }
        found
    }
}
