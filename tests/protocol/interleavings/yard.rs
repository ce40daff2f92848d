//! A store with a past, the processes that meet on it, and what is to be said of it then.

use super::super::model::keys::{STAFF, as_reader, as_writer};
use super::super::model::runs::{self, STORE};
use super::alias::FirstFiles;
use super::explore::{Explored, Explorer, Outcome, Program, Verdict};
use super::replay::{Files, Moves, Quiet, files_of, store_of};
use crate::common::StoreKind;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use weekvault::archive::{Archive, GcOptions, NewStore, ObjectReader, Retention, collect, retain};
use weekvault::model::{ChunkId, ObjectRow, Silent, Timestamp};
use weekvault::ops::Run;
use weekvault::ops::backup::{BackupOptions, Labels, Source, Trust, backup};
use weekvault::store::{Key, MemoryStore, Store};

/// Noon.
pub(crate) const NOW: Timestamp = Timestamp { secs: 1_747_224_000, nanos: 0 };
pub(crate) const TODAY: &str = "trash/2025-05-14";
pub(crate) const LONG_AGO: &str = "trash/2025-05-01";
/// The week of the backup.
pub(crate) const WEEK: &str = "2025-19";

pub(crate) fn text(error: impl ToString) -> String {
    error.to_string()
}

pub(crate) fn open(store: impl Store + 'static) -> Result<Archive, String> {
    Archive::open(Arc::new(store)).map_err(text)
}

pub(crate) fn run_backup(store: impl Store + 'static, week: &str, pvc: &str, path: PathBuf) -> Outcome {
    backup_on(&as_writer(open(store)?), week, pvc, path)
}

fn backup_on(archive: &Archive, week: &str, pvc: &str, path: PathBuf) -> Outcome {
    // What else would be read depends on clocks.
    let trust = Trust { force_read: true, ..Trust::default() };
    let options = BackupOptions { trust, ..BackupOptions::default() };
    let labels = Labels::of(week.parse().unwrap());
    // On more threads more would come to the store in any order.
    let observer = Silent::default();
    let run = Run::new(archive, &observer);
    let sources = [Source { pvc: pvc.parse().unwrap(), path }];
    backup(run, &sources, &labels, &options).map(drop).map_err(text)
}

/// A gc that empties the trash as soon as it may.
pub(crate) fn run_gc(store: impl Store + 'static, now: Timestamp) -> Outcome {
    let options = GcOptions { dry_run: false, trash_days: 0, empty_trash: false, now };
    gc_on(&open(store)?, options)
}

fn gc_on(archive: &Archive, options: GcOptions) -> Outcome {
    let weeks = archive.weeks().map_err(text)?;
    collect(archive, &weeks, options, &Silent::default()).map(drop).map_err(text)
}

pub(crate) fn gc() -> Program {
    Program::new("gc", |store| run_gc(store, NOW))
}

/// Keeps one week of a source, then collects garbage.
pub(crate) fn retain_and_gc(pvc: &'static str) -> Program {
    Program::new("retain, gc", move |store| {
        let pvcs = [pvc.parse().unwrap()];
        let retention = Retention { keep: 1, pvcs: Some(&pvcs), never: None, dry_run: false };
        let archive = open(store.clone())?;
        retain(&archive, &archive.manifests().map_err(text)?, retention, NOW, &Silent::default())
            .map_err(text)?;
        run_gc(store, NOW)
    })
}

/// A store and folders to back up.
pub(crate) struct Yard {
    kind: StoreKind,
    folder: tempfile::TempDir,
    store: MemoryStore,
    /// First digits of the objects that come up.
    pub(crate) digits: Vec<char>,
    pub(crate) moves: Moves,
}

impl Yard {
    pub(crate) fn new() -> Self {
        Self::of_kind(StoreKind::Plain)
    }

    pub(crate) fn of_kind(kind: StoreKind) -> Self {
        let store = MemoryStore::default();
        let new =
            NewStore { chunks: runs::CHUNKS, created: NOW, created_by: "test".into(), id: STORE.into() };
        let place = Arc::new(store.clone());
        match kind {
            StoreKind::Plain => Archive::open_or_create(place, &new).unwrap(),
            // Each manifest has the read file.
            StoreKind::Sealed => Archive::to_be_sealed(place, &new).unwrap().seal().unwrap(),
        };
        let (folder, digits) = (tempfile::tempdir().unwrap(), Vec::new());
        let mut yard = Self { kind, folder, store, digits, moves: Moves::AtOnce };
        // Where no manifest is at all, gc gives nothing up.
        yard.published("2024-50", "bystander", "");
        yard
    }

    /// A folder with one file, whose content is one object, or none where it is empty.
    pub(crate) fn source(&mut self, content: &str) -> PathBuf {
        let path = self.folder.path().join(format!("source {content}"));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("file"), content).unwrap();
        if !content.is_empty() {
            self.digits.extend(self.chunk(content).chars().next());
        }
        path
    }

    /// An earlier backup.
    pub(crate) fn published(&mut self, week: &str, pvc: &str, content: &str) {
        let path = self.source(content);
        run_backup(self.store.clone(), week, pvc, path).unwrap();
    }

    /// An object that a crashed run left.
    pub(crate) fn orphan(&mut self, content: &str) {
        self.published("2025-01", "crashed", content);
        self.delete(&Key::new("2025-01/crashed.manifest"));
    }

    pub(crate) fn delete(&self, key: &Key) {
        self.store.delete(key).unwrap();
    }

    /// What the chunk with this content is called.
    fn chunk(&self, content: &str) -> String {
        let chunk = content.as_bytes();
        match self.kind {
            StoreKind::Plain => ChunkId::of(chunk).to_string(),
            StoreKind::Sealed => STAFF.reader.name_key().chunk_id(chunk).to_string(),
        }
    }

    /// The file in `objects/` whose chunk has this content.
    pub(crate) fn object(&self, content: &str) -> Key {
        let chunk = self.chunk(content);
        let folder = Key::new(format!("objects/{}", &chunk[..1]));
        let items = self.store.list(&folder).unwrap();
        let object = items.iter().find(|item| item.name.starts_with(&chunk)).unwrap();
        folder.child(&object.name)
    }

    /// Retires a file.
    pub(crate) fn retire(&self, key: &Key, day: &str) {
        self.store.withdraw(key, &Key::new(format!("{day}/{key}"))).unwrap();
    }

    /// Changes a file without changing its length.
    pub(crate) fn damage(&self, key: &Key) {
        let mut bytes = self.store.get(key, 1 << 16).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        self.store.put(key, &bytes).unwrap();
    }

    /// Takes a file's last byte away.
    pub(crate) fn cut_short(&self, key: &Key) {
        let mut bytes = self.store.get(key, 1 << 16).unwrap();
        bytes.pop();
        self.store.put(key, &bytes).unwrap();
    }

    /// The backup of a source whose content this is.
    pub(crate) fn backup(&mut self, content: &str) -> Program {
        let path = self.source(content);
        Program::new("backup", move |store| run_backup(store, WEEK, "p", path.clone()))
    }

    /// A nightly run: the backup of a source whose content this is, then a gc that goes by what the backup has seen.
    pub(crate) fn nightly(&mut self, content: &str) -> Program {
        let path = self.source(content);
        Program::new("nightly", move |store| {
            let archive = as_writer(open(store)?);
            backup_on(&archive, WEEK, "p", path.clone())?;
            gc_on(&archive, GcOptions { dry_run: false, trash_days: 0, empty_trash: false, now: NOW })
        })
    }

    /// Runs two programs, the latter twice, or three, in every order of their steps. Once the first has succeeded, what
    /// it promised is so.
    pub(crate) fn explore(self, programs: Vec<Program>, promise: &dyn Fn(&Files) -> bool) -> Explored {
        let store_json = Arc::new(self.store.get(&Key::new("store.json"), 1 << 16).unwrap());
        let firsts = FirstFiles::default();
        let quiet = Quiet { store_json, digits: self.digits, moves: self.moves, firsts };
        let end = |outcomes: &[(&str, &Outcome)], files: &Files, verdict: &Verdict| {
            let gc_fails = outcomes.iter().any(|(name, outcome)| name.contains("gc") && outcome.is_err());
            match outcomes {
                [(name, Ok(())), ..] if !promise(files) => {
                    Some(format!("{name} says that it is done: it is not"))
                }
                _ if gc_fails => Some("a gc fails".to_owned()),
                _ => verdict.astray.first().map(|astray| format!("not in its place: {astray}")),
            }
        };
        Explorer::new(programs, quiet, &judge).explore(files_of(&self.store), &end)
    }
}

/// What a backup promises.
pub(crate) fn is_published(files: &Files) -> bool {
    files.contains_key(&Key::new(format!("{WEEK}/p.manifest")))
}

fn judge(files: &Files) -> Verdict {
    let store = store_of(files);
    let archive = as_reader(open(store.clone()).unwrap());
    let (mut verdict, mut rows) = (Verdict::default(), Vec::new());
    for manifest in archive.manifests().unwrap() {
        match archive.open_manifest(&manifest.id).and_then(|m| m.objects()) {
            Ok(table) => {
                rows.extend(table.into_iter().map(|row| (row, format!("{} of {}", row.id, manifest.id))))
            }
            Err(error) => verdict.lost.push(text(error)),
        }
    }
    let astray = |(row, name): &(ObjectRow, String)| {
        let there = archive.list_objects().unwrap().stored_length(&row.id).is_some();
        (!there).then(|| name.clone())
    };
    let lost = |(row, name): &(ObjectRow, String)| {
        let found = ObjectReader::prepared(&archive).unwrap().fetch(&row.id, row.chunk_length).is_ok();
        (!found).then(|| name.clone())
    };
    verdict.astray.extend(rows.iter().filter_map(astray));
    verdict.lost.extend(rows.iter().filter_map(lost));
    // So late that whatever is in the trash is old.
    verdict.after_gc = match run_gc(store, NOW.plus_seconds(60 * 86_400)) {
        Ok(()) => rows.iter().find_map(|row| lost(row).or_else(|| astray(row))),
        failed => failed.err(),
    };
    verdict
}
