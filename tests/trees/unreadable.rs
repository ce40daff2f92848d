//! What cannot be read is not judged: it may be whole. Nor is a store judged by manifests that are hidden.

use crate::common;
use crate::common::{Place, Ran, Vault, assert_equal, is_root, skip};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user who may not read what belongs to root.
const SOMEBODY: u32 = 65_534;

/// With a store of somebody's that has two weeks, the older of which has a file that the newer has not.
fn set_up() -> Place {
    let place = Place::with_small_chunks();
    let source = place.source();
    fs::create_dir(&source).unwrap();
    for (week, file) in [("2025-13", "old"), ("2025-14", "new")] {
        let text: String =
            (0..40).map(|i| blake3::hash(format!("{file} {i}").as_bytes()).to_string()).collect();
        let _ = fs::remove_file(source.join("old"));
        fs::write(source.join(file), text).unwrap();
        place.vault.backup(week, &[("pvc", &source)]);
        if week == "2025-13" {
            common::copy(&source, &place.kept());
        }
    }
    for file in place.files("") {
        chown(file, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
    }
    place
}

impl Place {
    /// What week 13 was.
    fn kept(&self) -> PathBuf {
        self.folder.path().join("kept")
    }

    fn close(paths: &[PathBuf]) {
        for path in paths {
            chown(path, Some(0), Some(0)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Runs the program as somebody.
    fn as_somebody(&self, arguments: &[&str]) -> Ran {
        let inner = self.vault.command();
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", &format!("--reuid={SOMEBODY}"), &format!("--regid={SOMEBODY}")]);
        command.arg(inner.get_program()).args(inner.get_args()).args(arguments);
        Ran::of(command)
    }

    fn is_whole(&self) {
        self.vault.verify();
        let target = self.folder.path().join("out");
        self.vault.restore("2025-13", "pvc", &target, &[]).expect(0);
        assert_equal(&self.kept(), &target);
    }

    /// Makes what is in the trash old enough to be deleted.
    fn age_trash(&self) {
        let trash = self.vault.store.join("trash");
        for day in fs::read_dir(&trash).unwrap() {
            fs::rename(day.unwrap().path(), trash.join("2020-01-01")).unwrap();
        }
    }
}

#[test]
fn objects_that_may_not_be_read_are_not_taken_for_damaged() {
    if !is_root() {
        return skip("objects that may not be read", "only root gives files to others");
    }
    let place = set_up();
    let objects = place.objects();
    Place::close(&objects);
    let ran = place
        .as_somebody(&["verify"])
        .expect(5)
        .says("could not be read")
        .says("nothing that was read is damaged");
    assert!(!ran.stdout.contains("DAMAGED"), "{}", ran.stdout);
    let report = place.as_somebody(&["verify", "--json"]).expect(5).json();
    assert_eq!(report["unchecked_objects"].as_array().unwrap().len(), objects.len());
    assert_eq!(report["damaged_objects"].as_array().unwrap().len(), 0);
    let repaired = place.as_somebody(&["verify", "--repair", "--json"]).expect(5).json();
    assert_eq!(repaired["repaired"].as_array().unwrap().len(), 0, "{repaired}");
    assert_eq!(place.objects(), objects, "nothing was moved");
    place.as_somebody(&[
        "restore",
        "--week",
        "2025-13",
        "--pvc",
        "pvc",
        "--target",
        "/nowhere/at/all",
        "--dry-run",
    ]);
    place.is_whole();
}

#[test]
fn damage_weighs_more_than_what_could_not_be_read() {
    if !is_root() {
        return skip("objects that may not be read", "only root gives files to others");
    }
    let place = set_up();
    let objects = place.objects();
    Place::close(&objects[..1]);
    fs::write(&objects[1], "not a frame").unwrap();
    let report = place.as_somebody(&["verify", "--repair", "--json"]).expect(4).json();
    assert_eq!(report["unchecked_objects"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["damaged_objects"].as_array().unwrap().len(), 1, "{report}");
    assert!(objects[0].exists() && !objects[1].exists(), "what was read and found wrong is set aside");
}

#[test]
fn what_was_set_aside_stays_while_a_manifest_names_it() {
    let place = set_up();
    let objects = place.objects();
    // As a repair did that took what it could not read for damaged.
    for object in &objects {
        let aside = place.vault.store.join("trash/2020-01-01/damaged");
        let aside = aside.join(object.strip_prefix(&place.vault.store).unwrap());
        fs::create_dir_all(aside.parent().unwrap()).unwrap();
        fs::rename(object, aside).unwrap();
    }
    place.vault.run(["gc", "--trash-days", "0"]).expect(0);
    place.is_whole();
    // One that has a whole one in its place is of no use.
    let aside = place.vault.store.join("trash/2020-01-01/damaged");
    let copy = aside.join(objects[0].strip_prefix(&place.vault.store).unwrap());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    place.vault.run(["gc"]).expect(0);
    assert!(objects[0].exists());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, "wrong").unwrap();
    place.vault.run(["gc"]).expect(0);
    assert!(!copy.exists());
}

#[test]
fn a_manifest_that_may_not_be_read_is_not_called_damaged() {
    if !is_root() {
        return skip("a manifest that may not be read", "only root gives files to others");
    }
    let place = set_up();
    Place::close(&[place.vault.store.join("2025-13/pvc.manifest")]);
    let ran = place.as_somebody(&["list"]).expect(5).says("NOT CHECKED").says("Permission denied");
    assert!(!ran.stdout.contains("DAMAGED"), "{}", ran.stdout);
    let listed = place.as_somebody(&["list", "--json"]).expect(5).json();
    assert!(listed[0]["not_checked"].is_string() && listed[0]["damaged"].is_null(), "{listed}");
    let report = place.as_somebody(&["verify", "--json"]).expect(5).json();
    assert_eq!(report["unchecked_manifests"][0]["week"], "2025-13", "{report}");
    assert_eq!(report["damaged_manifests"].as_array().unwrap().len(), 0, "{report}");
    let objects = place.objects();
    place.as_somebody(&["gc"]).expect(1).says("Permission denied");
    assert_eq!(place.objects(), objects);
}

fn hide_manifests(place: &Place) -> PathBuf {
    let hidden = place.folder.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    for week in ["2025-13", "2025-14"] {
        fs::rename(place.vault.store.join(week), hidden.join(week)).unwrap();
    }
    hidden
}

#[test]
fn a_store_without_manifests_gives_nothing_up() {
    let place = set_up();
    let objects = place.objects();
    let hidden = hide_manifests(&place);
    for command in [&["gc"][..], &["gc", "--trash-days", "0"]] {
        place.vault.run(command).expect(1).says("not one manifest");
    }
    assert_eq!(place.objects(), objects);
    place.vault.run(["list"]).expect(1).says("not one manifest");
    place.vault.run(["list", "--json"]).expect(1).json();
    place.vault.run(["verify"]).expect(4).says("the manifests are MISSING");
    assert_eq!(place.vault.run(["verify", "--json"]).expect(4).json()["lacks_manifests"], true);
    // Objects in the trash alone are as telling.
    let trash = place.vault.store.join("trash/2020-01-01");
    fs::create_dir_all(&trash).unwrap();
    fs::rename(place.vault.store.join("objects"), trash.join("objects")).unwrap();
    place.vault.run(["gc"]).expect(1).says("not one manifest");
    for week in ["2025-13", "2025-14"] {
        fs::rename(hidden.join(week), place.vault.store.join(week)).unwrap();
    }
    place.vault.run(["gc"]).expect(0);
    place.is_whole();
}

#[test]
fn a_new_store_and_one_whose_manifests_are_all_retired_are_well() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::with_small_chunks(folder.path().join("store"));
    vault.run(["list"]).expect(0).says("no manifests yet");
    vault.run(["verify"]).expect(0);
    vault.run(["gc"]).expect(0);
    let place = set_up();
    let hidden = hide_manifests(&place);
    let trash = place.vault.store.join("trash/2020-01-01");
    fs::create_dir_all(&trash).unwrap();
    fs::rename(hidden.join("2025-14"), trash.join("2025-14")).unwrap();
    place.vault.run(["list"]).expect(0).says("no manifests yet");
    place.age_trash();
    place.vault.run(["gc"]).expect(0);
}

#[test]
fn a_path_that_is_no_directory_is_no_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let vault = Vault::new(&file as &Path);
    vault.run(["list"]).expect(1);
    vault.run(["verify"]).expect(1);
}

/// Of a store that is gone one object is enough: the others are not to be had either.
#[test]
fn an_object_of_a_store_that_is_gone_is_out_of_reach() {
    use std::sync::Arc;
    use weekvault::archive::{Archive, Damage, ObjectReader};
    use weekvault::model::{ObjectId, RunId};
    use weekvault::store::LocalStore;

    let place = set_up();
    let root = &place.vault.store;
    let archive = Archive::open(Arc::new(LocalStore::new(root, RunId(1)))).unwrap();
    let mut reader = ObjectReader::prepared(&archive).unwrap();
    let id = ObjectId::of(b"an object that was never there");
    assert_eq!(reader.intact(&id, 10).unwrap_err(), Damage::Missing);
    fs::rename(root, root.with_extension("moved")).unwrap();
    let damage = reader.intact(&id, 10).unwrap_err();
    assert!(matches!(damage, Damage::Unreachable(_)) && !damage.is_verdict(), "{damage:?}");
    assert!(damage.to_string().contains("the store is gone"), "{damage}");
}
