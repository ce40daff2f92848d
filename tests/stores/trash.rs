//! What was retired, replaced, lost or damaged comes back.

use crate::common;
use crate::common::{Vault, assert_equal, backup_arguments, quick_folder};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::archive::{Archive, ArchiveError, NewStore};
use weekvault::model::Silent;
use weekvault::ops::clock::this_week;
use weekvault::ops::gc::{GcRun, gc};
use weekvault::ops::{Error, Run};
use weekvault::store::MemoryStore;

/// A store of small chunks, and a source that a test changes from week to week.
struct Setting {
    folder: tempfile::TempDir,
    vault: Vault,
}

impl Setting {
    fn new() -> Self {
        let folder = quick_folder(64 << 20, 10_000);
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        fs::create_dir(folder.path().join("source")).unwrap();
        let setting = Self { folder, vault };
        for file in 0..12 {
            setting.write(file, file);
        }
        setting
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Gives a file a content of its own, of some chunks.
    fn write(&self, file: usize, seed: usize) {
        let text: String =
            (0..40).map(|i| blake3::hash(format!("{seed} {i}").as_bytes()).to_string()).collect();
        fs::write(self.source().join(format!("file-{file}")), text).unwrap();
    }

    fn back_up(&self, week: &str, more: &[&str]) -> common::Ran {
        let mut arguments = backup_arguments(week, &[("pvc", &self.source())]);
        arguments.extend(more.iter().map(Into::into));
        self.vault.run(arguments).expect(0)
    }

    /// A copy of the source as it is now, to compare with later.
    fn keep(&self, name: &str) -> PathBuf {
        let copy = self.folder.path().join(name);
        common::copy(&self.source(), &copy);
        copy
    }

    #[track_caller]
    fn assert_restores(&self, week: &str, expected: &Path) {
        let target = self.folder.path().join("restored");
        let _ = fs::remove_dir_all(&target);
        self.vault.restore(week, "pvc", &target, &[]).expect(0);
        assert_equal(expected, &target);
    }

    fn undelete(&self, week: &str) -> common::Ran {
        self.vault.run(["undelete", "--week", week, "--pvc", "pvc", "--json"])
    }

    fn trash(&self) -> Value {
        self.vault.run(["list", "--trash", "--json"]).expect(0).json()
    }

    fn objects(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.vault.store.join("objects")).unwrap();
        let mut objects: Vec<PathBuf> = folders
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|object| object.unwrap().path())
            .collect();
        objects.sort();
        objects
    }
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_retired_week_comes_back_with_its_objects() {
    let setting = Setting::new();
    setting.back_up("2025-10", &[]);
    let first = setting.keep("first");
    for file in 0..12 {
        setting.write(file, 100 + file);
    }
    setting.back_up("2025-11", &["--keep", "1"]);
    let trash = setting.trash();
    assert_eq!(trash["manifests"][0]["week"], "2025-10");
    assert!(trash["objects"][0]["objects"].as_u64().unwrap() > 10, "{trash}");
    assert!(setting.vault.run(["list"]).expect(0).stdout.lines().count() == 2);

    let back = setting.undelete("2025-10").expect(0).json();
    assert!(back["brought_back_objects"].as_u64().unwrap() > 10 && back["replaced"] == false, "{back}");
    setting.assert_restores("2025-10", &first);
    setting.assert_restores("2025-11", &setting.source());
    setting.vault.verify();
    assert_eq!(setting.trash(), serde_json::json!({ "manifests": [], "objects": [] }));
    let again = setting.undelete("2025-10").expect(1);
    assert!(
        again.stderr.contains("the trash has no manifest of week 2025-10, pvc \"pvc\""),
        "{}",
        again.stderr
    );
}

/// A week is overwritten each day; undelete takes the day back, and, once more, takes that back.
#[test]
fn an_overwritten_manifest_comes_back_newest_first() {
    let setting = Setting::new();
    let mut days = Vec::new();
    for day in 0..3 {
        setting.write(day, 200 + day);
        setting.back_up("2025-10", &[]);
        days.push(setting.keep(&format!("day-{day}")));
    }
    for expected in [&days[1], &days[2], &days[1]] {
        assert_eq!(setting.undelete("2025-10").expect(0).json()["replaced"], true);
        setting.assert_restores("2025-10", expected);
        setting.vault.verify();
    }
    let made: Vec<String> = setting.trash()["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["finished"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(made.len(), 2, "nothing is lost on the way");
}

#[test]
fn a_manifest_that_says_the_same_again_needs_no_place_in_the_trash() {
    let setting = Setting::new();
    let kept = || setting.trash()["manifests"].as_array().unwrap().len();
    for _ in 0..3 {
        setting.back_up("2025-14", &[]);
    }
    assert_eq!(kept(), 0, "{}", setting.trash());
    setting.write(3, 300);
    setting.back_up("2025-14", &[]);
    assert_eq!(kept(), 1, "{}", setting.trash());
    // Only an owner's, a mode's or a time's change is one too.
    fs::set_permissions(setting.source().join("file-5"), fs::Permissions::from_mode(0o600)).unwrap();
    setting.back_up("2025-14", &[]);
    assert_eq!(kept(), 2, "{}", setting.trash());
}

#[test]
fn a_damaged_manifest_in_the_trash_gives_way_to_an_older_one() {
    let setting = Setting::new();
    setting.back_up("2025-10", &[]);
    let first = setting.keep("first");
    setting.write(1, 300);
    setting.back_up("2025-10", &[]);
    setting.write(1, 301);
    setting.back_up("2025-10", &[]);
    let day =
        fs::read_dir(setting.vault.store.join("trash")).unwrap().map(|d| d.unwrap().path()).max().unwrap();
    flip_a_bit(&day.join("2025-10/pvc.manifest"));
    setting.undelete("2025-10").expect(0);
    setting.assert_restores("2025-10", &first);
    flip_a_bit(&setting.vault.store.join("2025-10/pvc.manifest"));
    // The one that stood there, whole, is the newest now.
    setting.undelete("2025-10").expect(0);
    setting.assert_restores("2025-10", &setting.source());
}

/// Every week is whole again, not only the one that is backed up next: the chunks are put together from the files.
#[test]
fn what_the_source_still_has_heals_every_week() {
    let setting = Setting::new();
    let mut weeks = Vec::new();
    for (number, week) in ["2025-10", "2025-11", "2025-12"].into_iter().enumerate() {
        setting.write(number, 400 + number);
        setting.back_up(week, &[]);
        weeks.push((week, setting.keep(week)));
    }
    let lost: Vec<PathBuf> = setting.objects().into_iter().step_by(2).collect();
    for (number, object) in lost.iter().enumerate() {
        match number % 4 {
            0 => fs::remove_file(object).unwrap(),
            1 => flip_a_bit(object),
            2 => fs::write(object, "").unwrap(),
            _ => fs::write(object, [fs::read(object).unwrap(), b"more".to_vec()].concat()).unwrap(),
        }
    }
    let report = setting.vault.run(["verify", "--repair", "--json"]).expect(4).json();
    assert_eq!(report["repaired"].as_array().unwrap().len(), lost.len(), "{report}");
    let backup = setting.back_up("2025-12", &[]);
    assert!(backup.stderr.contains("stored again"), "{}", backup.stderr);
    setting.vault.run(["verify", "--week", "latest"]).expect(0);
    setting.assert_restores("2025-12", &setting.source());
    // Of the older weeks all but what was overwritten since.
    let left = setting.vault.run(["verify", "--json"]).json();
    let hurt: Vec<&str> = left["damaged_objects"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|o| o["hurts"].as_array().unwrap())
        .map(|h| h["path"].as_str().unwrap())
        .collect();
    assert!(hurt.len() < lost.len(), "{left}");
}

#[test]
fn a_file_that_changed_since_is_no_help_and_no_harm() {
    let setting = Setting::new();
    setting.back_up("2025-10", &[]);
    for object in setting.objects() {
        fs::remove_file(object).unwrap();
    }
    setting.write(5, 500);
    fs::remove_file(setting.source().join("file-6")).unwrap();
    setting.back_up("2025-11", &[]);
    setting.vault.run(["verify", "--week", "2025-11"]).expect(0);
    setting.assert_restores("2025-11", &setting.source());
}

#[test]
fn a_whole_copy_in_the_trash_takes_the_damaged_ones_place() {
    let setting = Setting::new();
    setting.back_up("2025-10", &[]);
    let trash = setting.vault.store.join("trash/2025-03-09");
    let objects = setting.objects();
    for object in &objects {
        let copy = trash.join(object.strip_prefix(&setting.vault.store).unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(object, copy).unwrap();
    }
    flip_a_bit(&objects[0]);
    fs::remove_file(&objects[1]).unwrap();
    let report = setting.vault.run(["verify", "--repair"]).expect(0);
    assert!(report.stdout.ends_with("what was damaged is repaired\n"), "{}", report.stdout);
    assert_eq!(report.stdout.matches("a whole copy from the trash").count(), 2);
    setting.vault.verify();
    assert_eq!(setting.objects(), objects);
}

/// A damaged object that was set aside is no copy that a gc may bring back.
#[test]
fn what_was_set_aside_stays_aside() {
    let setting = Setting::new();
    setting.back_up("2025-10", &[]);
    let object = setting.objects().remove(0);
    flip_a_bit(&object);
    setting.vault.run(["verify", "--repair"]).expect(4);
    setting.vault.run(["gc"]).expect(0);
    assert!(!object.exists());
    assert_eq!(setting.trash()["objects"][0]["damaged"], 1);
    setting.back_up("2025-10", &[]);
    setting.vault.verify();
    assert!(object.exists());
}

/// The memory's clock stands at 1970.
#[test]
fn clocks_that_disagree_are_not_trusted() {
    let new = NewStore {
        chunks: weekvault::format::ChunkSizes::default(),
        created: weekvault::ops::clock::now(),
        created_by: "test".into(),
        id: "00".repeat(16),
    };
    let archive = Archive::open_or_create(Arc::new(MemoryStore::default()), &new).unwrap();
    let how = GcRun { dry_run: false, trash_days: 7, empty_trash: false, ignore_clock: false };
    let error = gc(Run::new(&archive, &Silent::default()), how).unwrap_err();
    assert!(matches!(error, Error::Archive(ArchiveError::Clock { .. })), "{error}");
    assert!(error.to_string().contains("1970-01-01T00:00:00Z"), "{error}");
    gc(Run::new(&archive, &Silent::default()), GcRun { ignore_clock: true, ..how }).unwrap();
    gc(Run::new(&archive, &Silent::default()), GcRun { dry_run: true, ..how }).unwrap();
    let error = this_week(&archive).unwrap_err();
    assert!(matches!(error, Error::WhichWeek { .. }) && error.to_string().contains("--week"), "{error}");
}
