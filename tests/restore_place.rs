//! Where a restore goes, and what it asks before it goes there.
#![cfg(test)]

mod common;

use common::{Ran, Vault};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

struct Place {
    folder: TempDir,
    vault: Vault,
}

impl Place {
    /// With a source of four files, that is backed up.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let place = Self { folder, vault };
        place.fill("src", &["a", "b", "c/d", "e"]);
        place.vault.backup("2025-14", &[("pvc", &place.path("src"))]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fill(&self, folder: &str, names: &[&str]) {
        for name in names {
            let file = self.path(folder).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, *name).unwrap();
        }
    }

    fn restore(&self, more: &[&str]) -> Ran {
        self.vault.run(["restore", "--week", "2025-14", "--pvc", "pvc"].iter().chain(more))
    }

    fn names(&self, folder: &str) -> usize {
        walkdir::WalkDir::new(self.path(folder)).into_iter().count() - 1
    }
}

#[test]
fn where_to_and_what_is_said_first() {
    let place = Place::new();
    let source = place.path("src").display().to_string();
    let ran = place.restore(&[]).expect(0);
    assert!(
        ran.stderr
            .contains(&format!("restoring: 2025-14/pvc to {source}, where it was backed up from: 4 files"))
    );
    let target = place.path("else").display().to_string();
    let ran = place.restore(&["--target", &target, "--path", "a", "--delete"]).expect(0);
    let expected =
        format!("restoring: 2025-14/pvc to {target}: the selected paths; what it has not is deleted there");
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    assert_eq!(place.restore(&["-q"]).expect(0).stderr, "");
    let dry = place.restore(&["--dry-run"]).expect(0);
    assert!(dry.stderr.contains("what a restore would do"), "{}", dry.stderr);
}

#[test]
fn what_is_deleted_is_named() {
    let place = Place::new();
    let ran = |more: &[&str]| place.restore(&[&["--delete"], more].concat()).expect(0);
    place.fill("src", &["x"]);
    assert!(ran(&[]).stdout.starts_with("deleted x\n"));
    let many: Vec<String> = (10..40).map(|n| format!("x-{n}")).collect();
    place.fill("src", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let said = ran(&["--yes"]).stdout;
    assert!(said.starts_with("deleted x-10\n") && said.contains("deleted x-29\ndeleted 10 more\n"), "{said}");
    place.fill("src", &["x"]);
    let document = ran(&["--json"]).json();
    assert_eq!(document["deleted"][0]["path"], "x", "{document}");
    place.fill("src", &["x"]);
    assert_eq!(ran(&["-v"]).stdout.matches('x').count(), 1, "each is named once");
}

#[test]
fn deleting_most_of_a_target_wants_a_yes() {
    let place = Place::new();
    place.fill("other", &["1", "2", "3", "4", "5", "a"]);
    let target = place.path("other").display().to_string();
    let restore = |more: &[&str]| place.restore(&[&["--target", target.as_str(), "--delete"], more].concat());
    restore(&[]).expect(1).says("--delete would remove 5 of the 6 names").says("--yes");
    assert_eq!(place.names("other"), 6);
    // A look changes nothing and asks nothing.
    restore(&["--dry-run"]).expect(0);
    restore(&["--yes"]).expect(0);
    common::assert_equal(&place.path("src"), &place.path("other"));
    // Half of it or less is what --delete is for; so is what is not there, or has nothing.
    place.fill("other", &["1", "2", "3"]);
    restore(&[]).expect(0);
    fs::remove_dir_all(place.path("other")).unwrap();
    restore(&[]).expect(0);
    // What the backup left out does not go, and does not count.
    let mut arguments = common::backup_arguments("2025-14", &[("pvc", &place.path("src"))]);
    arguments.push("--exclude=*.tmp".into());
    place.vault.run(arguments).expect(0);
    place.fill("other", &["1.tmp", "2.tmp", "3.tmp", "4.tmp", "5.tmp", "6.tmp", "7.tmp"]);
    restore(&[]).expect(0);
    assert_eq!(place.names("other"), 12);
}

#[test]
fn another_tree_where_the_source_was_wants_a_yes() {
    let place = Place::new();
    fs::rename(place.path("src"), place.path("away")).unwrap();
    // Missing, and empty.
    place.restore(&[]).expect(0);
    fs::remove_dir_all(place.path("src")).unwrap();
    fs::create_dir(place.path("src")).unwrap();
    place.restore(&[]).expect(0);
    fs::remove_dir_all(place.path("src")).unwrap();
    place.fill("src", &["something", "else"]);
    place.restore(&[]).expect(1).says("is no mount point").says("--yes");
    assert_eq!(place.names("src"), 2);
    place.restore(&["--yes"]).expect(0);
    assert_eq!(place.names("src"), 7);
    // Some of what it had is there: damaged as it may be, that is the tree that was meant.
    for gone in ["something", "else", "b", "e"] {
        fs::remove_file(place.path("src").join(gone)).unwrap();
    }
    place.restore(&[]).expect(0);
    common::assert_equal(&place.path("away"), &place.path("src"));
    // A target that somebody has named is one that somebody meant.
    place.fill("named", &["something", "else"]);
    place.restore(&["--target", place.path("named").to_str().unwrap()]).expect(0);
}

#[test]
fn a_mount_point_is_where_it_was_meant_to_go() {
    if !common::is_root() {
        return common::skip("a mount", "only root mounts");
    }
    let place = Place::new();
    fs::remove_dir_all(place.path("src")).unwrap();
    fs::create_dir(place.path("src")).unwrap();
    let script = "mount -t tmpfs none \"$0\" && touch \"$0/lost\" && \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(place.path("src"));
    let inner = place.vault.command();
    command.arg(inner.get_program()).args(inner.get_args());
    Ran::of({
        command.args(["restore", "--week", "2025-14", "--pvc", "pvc"]);
        command
    })
    .expect(0);
}

#[test]
fn a_folder_that_looks_remote_or_unexpanded_is_no_target() {
    let place = Place::new();
    for name in ["~/restored", "nas:restored", "$DIR", "restored\n"] {
        place.restore(&["--target", name]).expect(2).says("--target");
        for command in [&["materialize", "--week", "2025-14", "--pvc", "pvc"][..], &["man"]] {
            place.vault.run(command.iter().chain(&[name])).expect(2).says("the folder");
        }
    }
}
