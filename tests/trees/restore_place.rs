//! Where a restore goes, and what it asks before it goes there.

use crate::common;
use crate::common::{Place, Ran};
use std::fs;
use std::path::PathBuf;

/// With a source of four files, that is backed up.
fn set_up() -> Place {
    let place = Place::with_small_chunks();
    place.fill("src", &["a", "b", "c/d", "e"]);
    place.vault.backup("2025-14", &[("pvc", &place.path("src"))]);
    place
}

impl Place {
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
    let place = set_up();
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
    let place = set_up();
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
    let said = ran(&["-v"]).stdout;
    assert_eq!(said.lines().filter(|line| line.ends_with(" x")).count(), 1, "each is named once: {said}");
}

#[test]
fn deleting_most_of_a_target_wants_a_yes() {
    let place = set_up();
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
    let place = set_up();
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
    let place = set_up();
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
    let place = set_up();
    for name in ["~/restored", "nas:restored", "$DIR", "restored\n"] {
        place.restore(&["--target", name]).expect(2).says("--target");
        for command in [&["materialize", "--week", "2025-14", "--pvc", "pvc"][..], &["man"]] {
            place.vault.run(command.iter().chain(&[name])).expect(2).says("the folder");
        }
    }
}

/// A WAL of another state would be applied to the database that is restored.
#[test]
fn stale_logs_of_a_database_are_moved_aside() {
    let place = set_up();
    let write = |name: &str, content: &[u8]| {
        let file = place.path("src").join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    };
    let database = |content: &str| [b"SQLite format 3\0".as_slice(), content.as_bytes()].concat();
    for name in ["db", "sub/whole.db", "unchanged"] {
        write(name, &database("old"));
    }
    for (name, content) in [("sub/whole.db-wal", "its own"), ("text", "no database")] {
        write(name, content.as_bytes());
    }
    place.vault.backup("2025-14", &[("pvc", &place.path("src"))]);
    let original = common::Tree::of(&place.path("src").join("sub"));
    for name in ["db", "sub/whole.db"] {
        write(name, &database("new and longer"));
    }
    for name in ["db-wal", "db-shm", "db-journal", "sub/whole.db-wal", "unchanged-wal", "text-wal"] {
        write(name, b"stale");
    }
    write("text", b"something else");
    let ran = place.restore(&["--json"]).expect(0).says("db-wal").says("db-wal.stale-1");
    let moved = ran.json()["moved_aside"].as_array().unwrap().len();
    assert_eq!(moved, 3, "{}", ran.stdout);
    let there = |name: &str| place.path("src").join(name).exists();
    for log in ["db-wal", "db-shm", "db-journal"] {
        assert!(!there(log), "{log}");
        assert_eq!(fs::read(place.path("src").join(format!("{log}.stale-1"))).unwrap(), b"stale");
    }
    // What the week has is restored; what is beside a database that was right, or beside no database, stays.
    common::assert_same_tree(&original, &place.path("src").join("sub"));
    assert!(there("unchanged-wal") && there("text-wal"));
    // Again: a name of its own.
    write("db", &database("newer again"));
    write("db-wal", b"stale again");
    place.restore(&[]).expect(0).says("db-wal.stale-2");
    // The database alone is selected: the log of the week is not restored with it, and that which is there is stale.
    write("sub/whole.db", &database("and again"));
    place.restore(&["--path", "sub/whole.db"]).expect(0).says("sub/whole.db-wal.stale-1");
}

#[test]
fn directories_of_ones_own_that_may_not_be_written_to() {
    use std::os::unix::fs::PermissionsExt;
    let place = set_up();
    let chmod = |path: PathBuf, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let source = place.path("src");
    place.fill("src", &["ro/file", "ro/deep/file", "ro/gone", "ro/linked"]);
    fs::hard_link(source.join("ro/linked"), source.join("ro/other")).unwrap();
    chmod(source.join("ro/deep"), 0o555);
    chmod(source.join("ro"), 0o555);
    place.vault.backup("2025-14", &[("pvc", &source)]);
    let user = if common::is_root() { 65534 } else { rustix::process::geteuid().as_raw() };
    let target = place.path("target");
    let as_user = |arguments: &[&str]| {
        let inner = place.vault.command();
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        if !common::is_root() {
            command = std::process::Command::new("env");
        }
        command.arg(place.path("weekvault")).args(inner.get_args());
        command.args(["restore", "--week", "2025-14", "--pvc", "pvc", "--no-owner", "--target"]);
        command.arg(&target).args(arguments);
        Ran::of(command)
    };
    fs::copy(env!("CARGO_BIN_EXE_weekvault"), place.path("weekvault")).unwrap();
    chmod(place.folder.path().to_path_buf(), 0o755);
    for entry in walkdir::WalkDir::new(place.path("store")) {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(user), None).unwrap();
    }
    fs::create_dir(&target).unwrap();
    std::os::unix::fs::chown(&target, Some(user), None).unwrap();
    as_user(&[]).expect(0);
    // Each kind of change in a directory that its owner may not write to.
    chmod(target.join("ro"), 0o755);
    fs::write(target.join("ro/file"), "another").unwrap();
    fs::remove_file(target.join("ro/gone")).unwrap();
    fs::remove_file(target.join("ro/other")).unwrap();
    fs::write(target.join("ro/extra"), "extra").unwrap();
    chmod(target.join("ro/deep"), 0o755);
    fs::remove_file(target.join("ro/deep/file")).unwrap();
    chmod(target.join("ro/deep"), 0o555);
    chmod(target.join("ro"), 0o555);
    let mode = |path: &str| fs::metadata(target.join(path)).unwrap().permissions().mode() & 0o7777;
    // Of one file the directory is only on the way: it gets back what it had.
    chmod(target.join("ro"), 0o511);
    as_user(&["--path", "ro/file"]).expect(0);
    assert_eq!((mode("ro"), mode("ro/deep")), (0o511, 0o555));
    as_user(&["--delete"]).expect(0);
    assert_eq!((mode("ro"), mode("ro/deep")), (0o555, 0o555));
    let said = common::rsync_says(&source, &target);
    let differs: Vec<&str> = said.lines().filter(|line| !line.contains("og...")).collect();
    assert!(!target.join("ro/extra").exists() && target.join("ro/other").exists(), "{differs:?}");
    assert_eq!(fs::read(target.join("ro/file")).unwrap(), b"ro/file");
    assert_eq!(fs::read(target.join("ro/deep/file")).unwrap(), b"ro/deep/file");
    for path in ["ro", "ro/deep"] {
        chmod(target.join(path), 0o755);
        chmod(source.join(path), 0o755);
    }
}

#[test]
fn directories_above_a_target_are_not_for_everybody_to_write_to() {
    use std::os::unix::fs::PermissionsExt;
    let place = set_up();
    let inner = place.vault.command();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 000 && \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.args(["restore", "--week", "2025-14", "--pvc", "pvc", "--target"]).arg(place.path("a/b/c"));
    Ran::of(command).expect(0);
    for above in ["a", "a/b"] {
        let mode = fs::metadata(place.path(above)).unwrap().permissions().mode();
        assert_eq!(mode & 0o022, 0, "{above} has mode {mode:o}");
    }
}

/// Inodes of 128 bytes keep no fractions of seconds, and end in 2038.
#[test]
fn times_that_the_target_cannot_hold_are_told_once_and_count_as_right() {
    if !common::is_root() {
        return common::skip("a file system of its own", "only root mounts");
    }
    let place = set_up();
    let (image, mount) = (place.path("image"), place.path("mount"));
    fs::create_dir(&mount).unwrap();
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    common::system(std::process::Command::new("mkfs.ext4").args(["-q", "-I", "128"]).arg(&image));
    let mounted = std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return common::skip("a file system of its own", "no loop mount can be made here");
    }
    let target = mount.join("target");
    let target = target.to_str().unwrap();
    let told = |more: &[&str]| {
        let ran = place.restore(&[&["--target", target], more].concat()).expect(0);
        assert_eq!(ran.stderr.matches("keeps times less exactly").count(), 1, "{}", ran.stderr);
        ran.stdout
    };
    told(&[]);
    assert!(told(&[]).contains("6 already right"));
    assert!(told(&["--verify"]).contains("6 already right"));
    // A time that the target could hold is set; so is one that was cut where it need not be.
    let file = fs::File::options().write(true).open(mount.join("target/a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(file);
    assert!(told(&[]).contains("1 mended in metadata, 5 already right"));
    common::system(std::process::Command::new("umount").arg(&mount));
    let (source, cut) =
        (place.path("src/b"), fs::File::options().write(true).open(place.path("src/b")).unwrap());
    let time = fs::metadata(&source).unwrap().modified().unwrap();
    let whole = time.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    cut.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(whole)).unwrap();
    let ran = place.restore(&[]).expect(0);
    assert!(
        ran.stdout.contains("1 mended in metadata") && !ran.stderr.contains("less exactly"),
        "{}",
        ran.stdout
    );
    assert_eq!(fs::metadata(&source).unwrap().modified().unwrap(), time);
}
