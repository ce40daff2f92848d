//! `materialize --all`: the old layout, from whatever the store has.

use super::farm::{materialize_all, unprivileged};
use crate::common::{Ran, Tree, Vault, assert_same_tree};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use weekvault::archive::{Archive, Manifest};
use weekvault::model::{ArchivePath, RunId, Silent, WeekRef};
use weekvault::ops::Run;
use weekvault::ops::restore::{Before, Owner, RestoreOptions, restore, restore_beside};
use weekvault::store::LocalStore;

/// Two pvcs in three weeks. From week to week of `html`, one file is edited, one touched, one made executable; two stay,
/// and so does a symbolic link.
struct ThreeWeeks {
    folder: tempfile::TempDir,
    vault: Vault,
}

const WEEKS: [&str; 3] = ["2025-12", "2025-13", "2025-14"];

impl ThreeWeeks {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("vault"));
        let place = Self { folder, vault };
        let html = place.path("html");
        fs::create_dir_all(html.join("lib")).unwrap();
        for name in ["edited", "touched", "executable", "lib/one", "lib/two"] {
            fs::write(html.join(name), format!("{name} {}", "x".repeat(500))).unwrap();
        }
        symlink("lib", html.join("link")).unwrap();
        fs::hard_link(html.join("lib/two"), html.join("lib/two again")).unwrap();
        fs::create_dir(place.path("enigma")).unwrap();
        fs::write(place.path("enigma/key"), "secret").unwrap();
        for (number, week) in WEEKS.into_iter().enumerate() {
            let mode = if number % 2 == 0 { 0o755 } else { 0o644 };
            fs::set_permissions(html.join("executable"), fs::Permissions::from_mode(mode)).unwrap();
            fs::write(html.join("edited"), format!("edited in {week} {}", "x".repeat(700))).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(number as u64);
            let touched = fs::File::options().write(true).open(html.join("touched")).unwrap();
            touched.set_modified(time).unwrap();
            place.vault.backup(week, &[("html", &html), ("enigma", &place.path("enigma"))]);
            crate::common::copy(&html, &place.kept(week));
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What `html` was in a week.
    fn kept(&self, week: &str) -> PathBuf {
        fs::create_dir_all(self.path("kept")).unwrap();
        self.path("kept").join(week)
    }

    #[track_caller]
    fn check(&self, made: &Path, weeks: &[&str]) {
        for week in weeks {
            assert_same_tree(&Tree::of(&self.kept(week)), &made.join(week).join("html"));
        }
    }

    #[track_caller]
    fn damaged(&self, more: &[&str]) -> (Ran, PathBuf) {
        let made = self.path("made");
        (materialize_all(&self.vault, &made, more).expect(1), made)
    }

    fn archive(&self) -> Archive {
        Archive::open(Arc::new(LocalStore::new(self.vault.store.clone(), RunId(1)))).unwrap()
    }
}

fn manifest(archive: &Archive, week: &str) -> Manifest {
    let week = WeekRef::Exact(week.parse().unwrap());
    archive.open_manifest(&archive.find_manifest(week, &"html".parse().unwrap()).unwrap()).unwrap()
}

fn options(target: &Path) -> RestoreOptions {
    RestoreOptions { owner: Owner::Numeric, ..RestoreOptions::into(target) }
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

#[test]
fn weeks_share_what_is_the_same_and_only_that() {
    let place = ThreeWeeks::new();
    let made = place.path("made");
    let report = materialize_all(&place.vault, &made, &["--json"]).expect(0).json();
    assert_eq!(report["trees"].as_array().unwrap().len(), 6);
    place.check(&made, &WEEKS);
    for pair in WEEKS.windows(2) {
        let [before, after] = [pair[0], pair[1]].map(|week| made.join(week).join("html"));
        for name in ["lib/one", "lib/two", "lib/two again", "link"] {
            assert_eq!(inode(&before.join(name)), inode(&after.join(name)), "{name}");
        }
        for name in ["edited", "touched", "executable"] {
            assert_ne!(inode(&before.join(name)), inode(&after.join(name)), "{name}");
        }
    }
    assert_eq!(inode(&made.join("2025-12/enigma/key")), inode(&made.join("2025-14/enigma/key")));
    // Nothing is made where something is.
    materialize_all(&place.vault, &made, &[]).expect(2).says("is not empty");
}

#[test]
fn one_week_or_one_pvc_of_all() {
    let place = ThreeWeeks::new();
    let trees = |more: &[&str], made: &str| {
        let made = place.path(made);
        materialize_all(&place.vault, &made, more).expect(0);
        let mut trees: Vec<String> = Vec::new();
        for week in fs::read_dir(&made).unwrap().map(|e| e.unwrap().path()) {
            let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
            let pvcs = fs::read_dir(&week).unwrap().map(|e| name(&e.unwrap().path()));
            trees.extend(pvcs.map(|pvc| format!("{}/{pvc}", name(&week))));
        }
        trees.sort_unstable();
        trees
    };
    assert_eq!(trees(&["--pvc", "html"], "a"), WEEKS.map(|week| format!("{week}/html")));
    assert_eq!(trees(&["--week", "latest"], "b"), ["2025-14/enigma", "2025-14/html"]);
    assert_eq!(trees(&["--week", "2025-13", "--pvc", "enigma"], "c"), ["2025-13/enigma"]);
    materialize_all(&place.vault, &place.path("d"), &["--week", "2025-20"]).expect(1).says("2025-14");
    materialize_all(&place.vault, &place.path("d"), &["--pvc", "htlm"]).expect(1).says("htlm");
    assert!(!place.path("d").exists());
    let within = place.vault.store.join("made");
    materialize_all(&place.vault, &within, &[]).expect(2).says("the store");
}

#[test]
fn a_damaged_manifest_is_named_and_the_rest_is_made() {
    let place = ThreeWeeks::new();
    let file = place.vault.store.join("2025-13/html.manifest");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    let (ran, made) = place.damaged(&["--json"]);
    let trees = ran.json()["trees"].as_array().unwrap().clone();
    let of = |week: &str, pvc: &str| -> Value {
        trees.iter().find(|t| t["week"] == week && t["pvc"] == pvc).unwrap().clone()
    };
    assert!(of("2025-13", "html")["error"].as_str().unwrap().contains("2025-13/html.manifest"));
    assert_eq!(of("2025-13", "enigma")["failed"], json!(0));
    ran.says("2025-13/html is not restored").says("1 of 6 trees");
    place.check(&made, &["2025-12", "2025-14"]);
    // Over the gap.
    let [before, after] = ["2025-12", "2025-14"].map(|week| inode(&made.join(week).join("html/lib/one")));
    assert_eq!(before, after);
}

#[test]
fn a_lost_object_hurts_only_what_needs_it() {
    let place = ThreeWeeks::new();
    let before: Vec<PathBuf> = objects(&place.vault.store);
    let html = place.path("html");
    fs::write(html.join("edited"), "quite another content, of a week of its own").unwrap();
    place.vault.backup("2025-15", &[("html", &html)]);
    for object in objects(&place.vault.store).iter().filter(|object| !before.contains(object)) {
        fs::remove_file(object).unwrap();
    }
    let (ran, made) = place.damaged(&[]);
    ran.says("edited").says("1 of 7 trees");
    place.check(&made, &WEEKS);
    assert!(!made.join("2025-15/html/edited").exists());
    assert_eq!(inode(&made.join("2025-15/html/lib/one")), inode(&made.join("2025-14/html/lib/one")));
}

fn objects(store: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(store.join("objects")).unwrap().map(|e| e.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|e| e.unwrap().path())).collect()
}

#[test]
fn a_week_that_has_only_a_partial_manifest_is_made_from_that() {
    let place = ThreeWeeks::new();
    let (html, secret) = (place.path("html"), place.path("html/secret"));
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();
    let mut command = unprivileged(&place.vault);
    command.args(crate::common::backup_arguments("2025-15", &[("html", &html)]));
    Ran::of(command).expect(3);
    fs::remove_file(&secret).unwrap();
    let made = place.path("made");
    materialize_all(&place.vault, &made, &[]).expect(0).says("2025-15/html is partial");
    let differences =
        crate::common::rsync_says_of_metadata(&html.join("lib"), &made.join("2025-15/html/lib"));
    assert_eq!(differences, "");
    assert_eq!(inode(&made.join("2025-15/html/lib/one")), inode(&made.join("2025-14/html/lib/one")));
}

#[test]
fn what_fails_is_told_of_each_week() {
    let place = ThreeWeeks::new();
    if !crate::common::is_root() {
        return crate::common::skip("what fails in each week", "not root");
    }
    let html = place.path("html");
    std::os::unix::fs::chown(html.join("lib/one"), Some(33), Some(33)).unwrap();
    for week in ["2025-15", "2025-16"] {
        place.vault.backup(week, &[("html", &html)]);
    }
    let made = place.path("made");
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-chown").arg(place.vault.command().get_program());
    command
        .args(place.vault.command().get_args())
        .args(["materialize", "--json", "--pvc", "html", "--all"])
        .arg(&made);
    let report = Ran::of(command).expect(1).json();
    let trees = report["trees"].as_array().unwrap();
    let failed: Vec<u64> = trees.iter().map(|tree| tree["failed"].as_u64().unwrap()).collect();
    assert_eq!(failed, [0, 0, 0, 1, 1], "{report}");
}

#[test]
fn what_cannot_be_linked_is_copied() {
    let place = ThreeWeeks::new();
    let archive = place.archive();
    let (before, target) = (place.path("before"), place.path("target"));
    let earlier = manifest(&archive, "2025-13");
    let observer = Silent::default();
    let run = Run::new(&archive, &observer).on(2);
    restore(run, &earlier, &options(&before)).unwrap();
    // A link that the file system refuses, for whatever reason.
    fs::remove_file(before.join("lib/one")).unwrap();
    // One that is not as the manifest says, though nothing tells.
    let failed = [ArchivePath::parse(b"lib/two").unwrap()].into();
    let before = Before { manifest: earlier, root: before, failed: Arc::new(failed) };
    let now = manifest(&archive, "2025-14");
    let restored = restore_beside(run, &now, &options(&target), Some(&before)).unwrap();
    assert_eq!(restored.failed, 0, "{:?}", restored.problems);
    assert_same_tree(&Tree::of(&place.kept("2025-14")), &target);
    assert_ne!(inode(&before.root.join("lib/two")), inode(&target.join("lib/two")));
    assert_eq!(inode(&before.root.join("link")), inode(&target.join("link")));
}
