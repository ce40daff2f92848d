//! Sealed stores: what a writer stores only an operator can read, and everything else goes without a key.

use crate::common::skip;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use weekvault::archive::{Archive, GcOptions, NewStore as NewArchive, collect};
use weekvault::format::keys::{NewStore, OperatorRecipient, PlainManifest, ReadKey};
use weekvault::format::{ChunkSizes, Keys};
use weekvault::model::{RunId, Silent, StoreId, WeekRef};
use weekvault::ops::backup::{BackedUp, BackupOptions, Labels, Source, backup};
use weekvault::ops::clock::now;
use weekvault::ops::restore::{Owner, RestoreOptions, restore};
use weekvault::ops::verify::{Verified, VerifyOptions, verify};
use weekvault::ops::{Error, Run};
use weekvault::store::LocalStore;

pub(super) const STORE: &str = "00112233445566778899aabbccddeeff";
pub(super) const CHUNKS: ChunkSizes = ChunkSizes { min: 1024, avg: 4096, max: 16384 };

/// A sealed store, as those see it who write, read, and have no key.
pub(super) struct Sealed {
    folder: tempfile::TempDir,
    pub(super) writer: Archive,
    pub(super) reader: Archive,
    pub(super) keyless: Archive,
    /// An age identity file of the store's read key.
    identity: PathBuf,
}

impl Sealed {
    pub(super) fn new(blind: bool) -> Self {
        Self::after(blind, |_, _| ())
    }

    /// One that was a plain store, in which `begin` does something with this source.
    pub(super) fn after(blind: bool, begin: impl FnOnce(&Archive, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(LocalStore::new(folder.path().join("store"), RunId(1)));
        let new = NewArchive { chunks: CHUNKS, created: now(), created_by: "test".into(), id: STORE.into() };
        let plain = Archive::open_or_create(store, &new).unwrap();
        let source = folder.path().join("src");
        fs::create_dir(&source).unwrap();
        begin(&plain, &source);
        let listed = plain.manifests().unwrap().into_iter().map(|listed| {
            let digest = plain.open_manifest(&listed.id).unwrap().reader().digest();
            PlainManifest { week: listed.id.week, pvc: listed.id.pvc, digest }
        });
        let operator = ReadKey::generate().unwrap();
        let recipient: OperatorRecipient = operator.recipient().to_string().parse().unwrap();
        let id: StoreId = STORE.parse().unwrap();
        let keys = NewStore::generate(id, CHUNKS, &[recipient], blind, listed).unwrap();
        let identity = folder.path().join("identity");
        fs::write(&identity, keys.read_file.read_keys()[0].to_text().as_bytes()).unwrap();
        let writer = plain.with_keys(Keys::Writer(Arc::new(keys.writer)));
        let reader = plain.with_keys(Keys::Reader(Arc::new(keys.read_file)));
        Self { folder, writer, reader, keyless: plain.with_keys(Keys::Without), identity }
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path("src").join(name), bytes).unwrap();
    }

    pub(super) fn backup(&self, week: &str) -> Result<BackedUp, Error> {
        back_up(&self.writer, &self.path("src"), week)
    }

    pub(super) fn restore(&self, archive: &Archive, week: &str, target: &Path) -> Result<(), Error> {
        let id = archive.find_manifest(WeekRef::Exact(week.parse().unwrap()), &"p".parse().unwrap())?;
        let manifest = archive.open_manifest(&id)?;
        let options = RestoreOptions { owner: Owner::Nobody, ..RestoreOptions::into(target) };
        let restored = restore(Run::new(archive, &Silent::default()).on(2), &manifest, &options)?;
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        Ok(())
    }

    #[track_caller]
    pub(super) fn restores(&self, week: &str, expected: &[(&str, Vec<u8>)]) {
        let target = tempfile::tempdir().unwrap();
        self.restore(&self.reader, week, target.path()).unwrap();
        let mut names = BTreeSet::new();
        for (name, bytes) in expected {
            assert_eq!(fs::read(target.path().join(name)).unwrap(), *bytes, "{week}: {name}");
            names.insert((*name).to_owned());
        }
        let found =
            fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(found.collect::<BTreeSet<_>>(), names, "{week}");
    }

    pub(super) fn verify(&self, archive: &Archive) -> Verified {
        verify(Run::new(archive, &Silent::default()), &VerifyOptions::default()).unwrap()
    }

    pub(super) fn gc(&self) {
        let options = GcOptions { dry_run: false, trash_days: 7, empty_trash: false, now: now() };
        collect(&self.keyless, &self.keyless.weeks().unwrap(), options, &Silent::default()).unwrap();
    }

    pub(super) fn objects(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.path("store/objects")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

pub(super) fn back_up(archive: &Archive, source: &Path, week: &str) -> Result<BackedUp, Error> {
    let silent = Silent::default();
    let source = Source { pvc: "p".parse().unwrap(), path: source.to_owned() };
    let labels = Labels::of(week.parse().unwrap());
    let run = Run::new(archive, &silent).on(2);
    Ok(backup(run, &[source], &labels, &BackupOptions::default())?.sources.remove(0))
}

/// Bytes that do not compress, another for each seed.
pub(super) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn what_a_writer_stores_an_operator_restores() {
    for blind in [false, true] {
        let store = Sealed::new(blind);
        let (first, second) = (noise(1, 100_000), noise(2, 30_000));
        store.write("a", &first);
        store.write("b", "a small one");
        let done = store.backup("2025-13").unwrap();
        assert!(done.counts.new_objects > 3, "{:?}", done.counts);
        let before = store.objects().len();
        let unchanged = store.backup("2025-14").unwrap();
        assert_eq!((unchanged.counts.new_objects, store.objects().len()), (0, before), "blind: {blind}");
        assert_eq!(unchanged.counts.unchanged, if blind { 0 } else { 2 });
        store.write("b", &second);
        store.backup("2025-15").unwrap();
        let small = b"a small one".to_vec();
        store.restores("2025-13", &[("a", first.clone()), ("b", small.clone())]);
        store.restores("2025-14", &[("a", first.clone()), ("b", small)]);
        store.restores("2025-15", &[("a", first), ("b", second)]);
        for archive in [&store.reader, &store.writer, &store.keyless] {
            let verified = store.verify(archive);
            assert!(verified.is_clean() && verified.is_checked(), "{verified:?}");
            assert_eq!((verified.manifests, verified.unreferenced), (3, 0));
            assert_eq!(verified.objects, store.objects().len() as u64);
        }
        assert!(store.objects().iter().all(|path| path.to_string_lossy().ends_with(".age")));
    }
}

#[test]
fn neither_the_writer_nor_anybody_without_a_key_reads() {
    let store = Sealed::new(false);
    store.write("a", noise(1, 50_000));
    store.backup("2025-14").unwrap();
    for archive in [&store.writer, &store.keyless] {
        let target = store.path("out");
        let error = store.restore(archive, "2025-14", &target).unwrap_err().to_string();
        assert!(error.contains("no key that opens it was given"), "{error}");
        assert!(!target.exists());
    }
}

#[test]
fn a_backup_without_a_writers_keys_is_refused_and_writes_nothing() {
    let store = Sealed::new(false);
    store.write("a", "text");
    let all = || walkdir::WalkDir::new(store.path("store")).into_iter().count();
    let before = all();
    for archive in [&store.keyless, &store.reader] {
        let error = back_up(archive, &store.path("src"), "2025-14").unwrap_err().to_string();
        assert!(error.contains("takes the keys of one of its writers"), "{error}");
        assert_eq!(all(), before);
    }
}

#[test]
fn a_plain_store_is_sealed_week_by_week() {
    let contents = (noise(1, 50_000), noise(2, 20_000));
    let store = Sealed::after(false, |plain, source| {
        fs::write(source.join("a"), &contents.0).unwrap();
        back_up(plain, source, "2025-13").unwrap();
    });
    let is_sealed = |path: &PathBuf| path.to_string_lossy().ends_with(".age");
    let plain = store.objects().len();
    assert!(!store.objects().iter().any(is_sealed));
    store.write("b", &contents.1);
    let done = store.backup("2025-14").unwrap();
    let (new, unchanged) = (done.counts.new_chunk_bytes, done.counts.unchanged);
    assert_eq!((new, unchanged), (70_000, 0), "nothing of what is plain is relied on");
    let again = store.backup("2025-15").unwrap();
    assert_eq!((again.counts.new_objects, again.counts.unchanged), (0, 2));
    store.restores("2025-13", &[("a", contents.0.clone())]);
    store.restores("2025-15", &[("a", contents.0), ("b", contents.1)]);
    for archive in [&store.reader, &store.writer, &store.keyless] {
        let verified = store.verify(archive);
        assert!(verified.is_clean() && verified.is_checked() && verified.manifests == 3, "{verified:?}");
    }
    store.gc();
    assert_eq!(store.objects().iter().filter(|path| !is_sealed(path)).count(), plain);
    fs::remove_dir_all(store.path("store/2025-13")).unwrap();
    store.gc();
    assert!(store.objects().iter().all(is_sealed));
}

#[test]
fn plain_manifests_of_later_are_refused() {
    let store = Sealed::after(false, |plain, source| {
        fs::write(source.join("a"), "before").unwrap();
        back_up(plain, source, "2025-13").unwrap();
    });
    // Somebody who may write to the share puts a plain manifest of their own there.
    let plain = store.keyless.with_keys(Keys::Plain);
    store.write("a", "planted");
    back_up(&plain, &store.path("src"), "2025-14").unwrap();
    store.restores("2025-13", &[("a", b"before".to_vec())]);
    let refused = store.restore(&store.reader, "2025-14", &store.path("out")).unwrap_err().to_string();
    assert!(refused.contains("was not there when the store was sealed"), "{refused}");
    let verified = store.verify(&store.reader);
    assert_eq!(verified.damaged_manifests.len(), 1, "{verified:?}");
}

#[test]
fn gc_keeps_what_manifests_need_and_needs_no_key_for_it() {
    let store = Sealed::new(false);
    store.write("a", noise(1, 60_000));
    store.backup("2025-13").unwrap();
    store.write("a", noise(2, 60_000));
    store.backup("2025-14").unwrap();
    let all = store.objects().len();
    store.gc();
    assert_eq!(store.objects().len(), all);
    fs::remove_dir_all(store.path("store/2025-13")).unwrap();
    store.gc();
    assert!(store.objects().len() < all, "what only the lost week needed is in the trash");
    store.restores("2025-14", &[("a", noise(2, 60_000))]);
    assert!(store.verify(&store.keyless).is_clean());
}

#[test]
fn a_lost_object_is_stored_anew_and_serves_older_weeks() {
    let (store, silent) = (Sealed::new(false), Silent::default());
    store.write("a", noise(1, 60_000));
    store.backup("2025-13").unwrap();
    for (at, path) in store.objects().into_iter().enumerate() {
        match at % 2 {
            0 => fs::remove_file(path).unwrap(),
            _ => {
                let mut bytes = fs::read(&path).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                fs::write(path, bytes).unwrap();
            }
        }
    }
    let repairing = VerifyOptions { repair: true, ..VerifyOptions::default() };
    let run = Run::new(&store.keyless, &silent).on(2);
    assert!(!verify(run, &repairing).unwrap().is_clean());
    let longer = [noise(1, 60_000), b"more".to_vec()].concat();
    store.write("a", &longer);
    store.backup("2025-14").unwrap();
    store.restores("2025-14", &[("a", longer)]);
    store.restores("2025-13", &[("a", noise(1, 60_000))]);
    for archive in [&store.keyless, &store.reader, &store.writer] {
        let verified = store.verify(archive);
        assert!(verified.is_clean() && !verified.stand_ins.is_empty(), "{verified:?}");
        // The last chunk was stored anew for the older week alone, in which it has another sum: no manifest names that file.
        let has_naming_key = !std::ptr::eq(archive, &store.keyless);
        assert_eq!(verified.is_checked(), has_naming_key, "{verified:?}");
    }
    store.gc();
    store.restores("2025-13", &[("a", noise(1, 60_000))]);
    // Whether a file that no manifest names any more serves, only a key tells.
    fs::remove_dir_all(store.path("store/2025-14")).unwrap();
    assert!(store.verify(&store.reader).is_clean());
    let verified = store.verify(&store.keyless);
    assert!(verified.is_clean() && !verified.is_checked(), "{verified:?}");
    store.restores("2025-13", &[("a", noise(1, 60_000))]);
}

#[test]
fn a_file_under_a_real_name_is_not_adopted_without_the_right_tag() {
    let store = Sealed::new(false);
    store.write("a", noise(1, 3000));
    store.backup("2025-14").unwrap();
    let objects = store.objects();
    fs::remove_dir_all(store.path("store/2025-14")).unwrap();
    for path in &objects {
        // Somebody who may write to the share, and has no key, makes another file for the same chunk.
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let chunk = name.split('.').next().unwrap();
        let planted = b"not what it says".to_vec();
        let sum = &blake3::hash(&planted).to_hex()[..32];
        fs::remove_file(path).unwrap();
        fs::write(path.with_file_name(format!("{chunk}.{sum}.{}.age", "ab".repeat(8))), planted).unwrap();
    }
    store.backup("2025-15").unwrap();
    store.restores("2025-15", &[("a", noise(1, 3000))]);
}

#[test]
fn age_and_zstd_open_every_object() {
    if Command::new("age").arg("--version").output().is_err() {
        return skip("standard tools open objects", "no age here");
    }
    let store = Sealed::new(false);
    store.write("a", noise(1, 200_000));
    store.backup("2025-14").unwrap();
    let mut bytes = 0;
    for path in store.objects() {
        let age = Command::new("age").arg("-d").arg("-i").arg(&store.identity).arg(&path).output().unwrap();
        assert!(age.status.success(), "{}", String::from_utf8_lossy(&age.stderr));
        let mut zstd =
            Command::new("zstd").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut zstd.stdin.take().unwrap(), &age.stdout).unwrap();
        let opened = zstd.wait_with_output().unwrap();
        assert!(opened.status.success());
        bytes += opened.stdout.len();
    }
    assert_eq!(bytes, 200_000);
}
