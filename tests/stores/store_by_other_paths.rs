//! The store is told by what it is: whatever path leads to it, no backup takes it and no restore touches it.

use crate::common;
use crate::common::{Ran, Tree, Vault, backup_arguments, skip};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use weekvault::archive::Archive;
use weekvault::model::{LeftOutReason, RunId};
use weekvault::store::LocalStore;

const WEEK: &str = "2025-14";

fn put(path: impl AsRef<Path>, content: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A share that has data, and the store in a folder of its own; there is another path to the store.
struct Share {
    dir: tempfile::TempDir,
    /// The store as it lies in the share.
    vault: Vault,
}

impl Share {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path().join("share/data/file"), "content");
        put(dir.path().join("small/only"), "x");
        fs::create_dir(dir.path().join("other")).unwrap();
        let vault = Vault::new(dir.path().join("share/vault"));
        vault.backup(WEEK, &[("small", &dir.path().join("small"))]);
        Self { dir, vault }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A directory of objects, relative to the share's parent.
    fn objects(&self) -> String {
        let first = fs::read_dir(self.path("share/vault/objects")).unwrap().next().unwrap().unwrap();
        format!("share/vault/objects/{}", first.file_name().to_str().unwrap())
    }

    /// What is in the store, its own path given.
    fn store(&self) -> Tree {
        Tree::of(&self.vault.store)
    }

    /// Runs the program on `store` where a directory of the share is mounted once more at `other`.
    fn run(&self, mounted: &str, store: &str, arguments: &[OsString]) -> Ran {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]);
        command.args([self.path(mounted), self.path("other")]);
        let inner = Vault::new(self.path(store)).command();
        command.arg(inner.get_program()).args(inner.get_args()).args(arguments);
        Ran::of(command)
    }

    fn words(&self, line: &str) -> Vec<OsString> {
        line.replace("{}", self.dir.path().to_str().unwrap()).split(' ').map(OsString::from).collect()
    }

    fn is_possible() -> bool {
        let probe = Command::new("unshare").args(["-m", "sh", "-c", "mount --bind /mnt /mnt"]).output();
        let possible = probe.is_ok_and(|output| output.status.success());
        if !possible {
            skip("a store that is mounted twice", "mounting is not allowed here");
        }
        possible
    }
}

#[test]
fn a_backup_leaves_out_a_store_that_it_meets_by_another_mount() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    let backup = backup_arguments(WEEK, &[("share", &share.path("share"))]);
    let before = fs::read_dir(share.path("share/vault/objects")).unwrap().count();
    let ran = share.run("share/vault", "other", &backup).expect(0);
    let ran = ran.says("vault is the store, or a copy of it: it is left out of the backup");
    assert_eq!(ran.json()["sources"][0]["skipped"], 1);
    let archive = Archive::open(Arc::new(LocalStore::new(&share.vault.store, RunId(1)))).unwrap();
    let id = archive.manifests().unwrap().into_iter().find(|m| m.id.pvc.as_str() == "share").unwrap().id;
    let manifest = archive.open_manifest(&id).unwrap();
    let paths: Vec<String> = manifest.entries().unwrap().map(|e| e.unwrap().0.to_string()).collect();
    assert_eq!(paths, [".", "data", "data/file", "vault"]);
    let [place] = &manifest.left_out().unwrap()[..] else { panic!("one place is left out") };
    assert_eq!((place.path.to_string().as_str(), place.reason), ("vault", LeftOutReason::Store));
    assert!(fs::read_dir(share.path("share/vault/objects")).unwrap().count() <= before + 1);
    // Its own directory, which changes with each week, is not for a restore to mend.
    fs::remove_file(share.path("share/data/file")).unwrap();
    let (before, modified) =
        (share.store(), fs::metadata(share.path("share/vault")).unwrap().modified().unwrap());
    for more in ["", " --delete"] {
        let restore =
            share.words(&format!("restore --json --week latest --pvc share --target {{}}/share{more}"));
        let report = share.run("share/vault", "other", &restore).expect(0).json();
        assert_eq!((&report["failed"], report["changes"].get("delete")), (&0.into(), None), "{report}");
        assert_eq!(before.differences(&share.store()), "");
        assert_eq!(fs::metadata(share.path("share/vault")).unwrap().modified().unwrap(), modified);
    }
    assert!(share.path("share/data/file").exists());
    // With threads that look ahead, too.
    share.run("share/vault", "other", &[&backup[..], &["--readers=8".into()]].concat()).expect(0);
    share.vault.verify();
}

#[test]
fn a_directory_of_the_store_that_is_mounted_in_a_tree_is_left_out_too() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    put(share.path("other/objects/planted"), "planted");
    put(share.path("other/file"), "x");
    share.vault.backup(WEEK, &[("tree", &share.path("other"))]);
    fs::remove_file(share.path("other/objects/planted")).unwrap();
    let before = share.store();
    let run = |arguments: &[OsString]| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]);
        command.args([share.path("share/vault/objects"), share.path("other/objects")]);
        let inner = share.vault.command();
        command.arg(inner.get_program()).args(inner.get_args()).args(arguments);
        Ran::of(command)
    };
    let restore = share.words("restore --week latest --pvc tree --delete --target {}/other");
    run(&restore).expect(1).says("objects: it is the store, or a copy of it");
    assert_eq!(before.differences(&share.store()), "");
    let backup = backup_arguments(WEEK, &[("tree", &share.path("other"))]);
    run(&[&backup[..], &["--cross-filesystems".into()]].concat()).expect(0).says("objects is the store");
    share.vault.verify();
}

#[test]
fn a_source_that_is_the_store_or_in_it_is_refused_by_any_path() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    let before = share.store();
    for (mounted, source, says) in [
        ("share/vault", "other", "inside source \"s\""),
        ("share/vault", "other/objects", "inside the store"),
        ("share/vault/objects", "other", "inside the store"),
        (&share.objects(), "other", "inside the store"),
        ("share", "other", "inside source \"s\""),
        ("share", "other/vault/objects", "inside the store"),
    ] {
        let backup = share.words(&format!("backup --source s={{}}/{source}"));
        share.run(mounted, "share/vault", &backup).expect(2).says(says);
        let dry_run = share.words(&format!("backup --dry-run --source s={{}}/{source}"));
        share.run(mounted, "share/vault", &dry_run).expect(2).says(says);
    }
    assert_eq!(before.differences(&share.store()), "");
}

#[test]
fn a_target_in_the_store_is_refused_by_any_path() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    let before = share.store();
    for (mounted, target) in [
        ("share/vault", "other"),
        ("share/vault", "other/new/deep"),
        ("share/vault", "gone/../other/new"),
        ("share/vault/objects", "other"),
        ("share/vault/objects", "other/new"),
        (&share.objects(), "other"),
        ("share/vault/2025-14", "other/new"),
        ("share", "other/vault/new"),
    ] {
        let restore = format!("restore --week latest --pvc small --target {{}}/{target}");
        for line in [
            restore.clone(),
            format!("{restore} --delete"),
            format!("{restore} --dry-run"),
            format!("materialize --all {{}}/{target}/weeks"),
            format!("materialize --week latest --pvc small {{}}/{target}/weeks"),
            format!("list --cache-dir {{}}/{target}/cache"),
        ] {
            let mut arguments = share.words(&line);
            // The cache is asked for after what switches it off.
            let with_cache = line.contains("--cache-dir");
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", "mount --bind \"$0\" \"$1\" && shift && exec \"$@\""]);
            command.args([share.path(mounted), share.path("other")]);
            command.arg(env!("CARGO_BIN_EXE_weekvault")).arg("--store").arg(share.path("share/vault"));
            if !with_cache {
                arguments.insert(0, "--no-cache".into());
            }
            command.args(arguments);
            Ran::of(command).expect(2).says("inside the store");
        }
    }
    assert_eq!(before.differences(&share.store()), "");
}

#[test]
fn deleting_what_is_extra_never_enters_the_store() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    put(share.path("share/extra/file"), "extra");
    let before = share.store();
    let restore = share.words("restore --week latest --pvc small --delete --yes --target {}/share");
    for more in [&["--dry-run".into()][..], &[]] {
        // The store is used by its second path, and lies in the target by its first.
        let ran = share.run("share/vault", "other", &[&restore[..], more].concat()).expect(1);
        ran.says("vault: it is the store, or a copy of it: nothing in it is changed");
        assert_eq!(before.differences(&share.store()), "");
        assert_eq!(share.path("share/extra/file").exists(), !more.is_empty());
    }
    assert!(share.path("share/only").exists() && !share.path("share/data").exists());
    // Where the path tells, nothing is begun.
    share.run("share", "share/vault", &restore).expect(2).says("--delete would delete the store");
    let by_mount = share.words("restore --week latest --pvc small --delete --target {}/other");
    share.run("share", "share/vault", &by_mount).expect(2).says("--delete would delete the store");
    assert_eq!(before.differences(&share.store()), "");
}

#[test]
fn what_a_manifest_has_of_the_store_is_not_restored_into_it() {
    if !Share::is_possible() {
        return;
    }
    let share = Share::new();
    // A backup of the share as it was taken before the store was in it by that name: of a copy, without its description.
    common::copy(&share.path("share"), &share.path("was"));
    fs::remove_file(share.path("was/vault/store.json")).unwrap();
    put(share.path("was/vault/objects/ff/planted"), "planted");
    put(share.path("was/vault/lock"), "another");
    share.vault.backup(WEEK, &[("share", &share.path("was"))]);
    fs::remove_file(share.path("share/data/file")).unwrap();
    let before = share.store();
    for more in ["", " --dry-run", " --delete", " --path vault/objects/ff/planted", " --sparse --verify"] {
        let restore = format!("restore --week latest --pvc share --target {{}}/share{more}");
        let ran = share.run("share/vault", "other", &share.words(&restore)).expect(1);
        let told = ran.stderr.lines().filter(|line| line.contains("it is the store")).count();
        assert_eq!(told, 1, "{more}: {}", ran.stderr);
        assert_eq!(before.differences(&share.store()), "", "{more}");
    }
    assert!(share.path("share/data/file").exists());
    share.vault.verify();
}

#[test]
fn a_store_is_told_by_its_id_where_the_device_is_another() {
    let share = Share::new();
    // A copy answers as a second mount of the share does: another directory, and the same id.
    put(share.path("tree/file"), "x");
    common::copy(&share.vault.store, &share.path("tree/second"));
    let before = Tree::of(&share.path("tree/second"));
    let ran = share.vault.run(backup_arguments(WEEK, &[("tree", &share.path("tree"))])).expect(0);
    ran.says("second is the store, or a copy of it");
    let ran = share.vault.restore(WEEK, "small", &share.path("tree"), &["--delete"]).expect(1);
    ran.says("second: it is the store, or a copy of it");
    assert!(!share.path("tree/file").exists());
    let inside = share.path("tree/second/objects/new");
    share.vault.restore(WEEK, "small", &inside, &[]).expect(2).says("inside the store");
    assert_eq!(before.differences(&Tree::of(&share.path("tree/second"))), "");
}

#[test]
fn names_that_are_not_utf_8_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let bar = dir.path().join(OsStr::from_bytes(b"b\xe4r"));
    put(bar.join("data/file"), "content");
    let vault = Vault::new(bar.join("vault"));
    let source = |path: &Path| {
        let mut argument = OsString::from("s=");
        argument.push(path);
        ["backup".into(), "--week".into(), WEEK.into(), "--source".into(), argument]
    };
    vault.run(source(&bar)).expect(2).says("inside source \"s\"");
    assert!(!bar.join("vault").exists());
    vault.run(source(&bar.join("data"))).expect(0);
    let before = Tree::of(&vault.store);
    vault.restore(WEEK, "s", &bar, &["--delete"]).expect(2).says("--delete would delete the store");
    for target in ["vault", "vault/new", "vault/objects"] {
        vault.restore(WEEK, "s", &bar.join(target), &[]).expect(2).says("inside the store");
        vault.materialize(WEEK, "s", &bar.join(target).join("weeks")).expect(2).says("inside the store");
    }
    assert_eq!(before.differences(&Tree::of(&vault.store)), "");
    // Where it came from is where it goes.
    fs::remove_file(bar.join("data/file")).unwrap();
    vault.run(["restore", "--week", WEEK, "--pvc", "s"]).expect(0);
    assert_eq!(fs::read_to_string(bar.join("data/file")).unwrap(), "content");
}
