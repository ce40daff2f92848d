//! A tree that its owner changes while root restores it, and targets that take two names for one.

use crate::common;
use crate::common::{Place, Ran, assert_equal, is_root, skip};
use rustix::fs::{CWD, RenameFlags};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use weekvault::model::{ArchivePath, Kind, Meta};
use weekvault::tree::{OwnerMap, Target};

/// A user to whom the live tree belongs.
const USER: u32 = 4242;

fn set_up() -> Place {
    let place = Place::with_small_chunks();
    fs::create_dir(place.source()).unwrap();
    place
}

impl Place {
    fn restore_to_target(&self) -> Ran {
        self.vault.restore("2025-14", "pvc", &self.target(), &["--numeric-owner"])
    }
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".weekvault")).collect()
}

#[test]
fn what_is_being_written_is_out_of_everybodys_reach() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::open(folder.path(), OwnerMap::Nobody).unwrap();
    let path = ArchivePath::parse(b"file").unwrap();
    let mut new = target.create(&path, 0, false).unwrap();
    new.write_at(b"secret", 0).unwrap();
    let made = leftovers(folder.path());
    let staging = fs::metadata(folder.path().join(&made[0])).unwrap();
    assert!(staging.is_dir() && staging.permissions().mode() & 0o777 == 0o700, "{made:?}");
    // Its parent's owner may move it away and put another in its place: nothing changes for who holds it.
    let moved = folder.path().join("moved");
    fs::rename(folder.path().join(&made[0]), &moved).unwrap();
    fs::create_dir(folder.path().join(&made[0])).unwrap();
    fs::write(folder.path().join(&made[0]).join("0"), "forged").unwrap();
    let mut again = target.reopen(&path, 0).unwrap();
    again.write_at(b"SE", 0).unwrap();
    let meta = Meta { mode: 0o600, ..Meta::default() };
    target.finish(again, &path, 6, &meta, None).unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"SEcret");
}

#[test]
fn what_is_written_at_once_can_be_opened_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::open(folder.path(), OwnerMap::Nobody).unwrap();
    let path = ArchivePath::parse(b"file").unwrap();
    let mut new = target.create(&path, 0, true).unwrap();
    new.write_at(b"secret", 0).unwrap();
    let staging = folder.path().join(&leftovers(folder.path())[0]);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "it has no name");
    let meta = Meta { mode: 0o640, ..Meta::default() };
    target.finish(new, &path, 9, &meta, None).unwrap();
    let found = fs::metadata(folder.path().join("file")).unwrap();
    assert_eq!((found.nlink(), found.mode() & 0o7777, found.len()), (1, 0o640, 9));
    // The place is taken.
    let new = target.create(&path, 1, true).unwrap();
    let refused = target.finish(new, &path, 0, &meta, None).unwrap_err();
    assert!(refused.to_string().contains("does the target ignore case"), "{refused}");
    assert_eq!(fs::metadata(folder.path().join("file")).unwrap().len(), 9);
}

/// Before Linux 6.10 only root gets a handle linked without /proc; some file systems and user namespaces link none at all.
#[test]
fn what_has_no_name_gets_one_where_linking_is_refused() {
    let place = set_up();
    for n in 0..4 {
        fs::write(place.source().join(format!("file-{n}")), format!("content {n}")).unwrap();
    }
    fs::set_permissions(place.source().join("file-0"), fs::Permissions::from_mode(0o4755)).unwrap();
    place.vault.backup("2025-14", &[("pvc", &place.source())]);
    for fault in ["ENOENT:when=1+2", "EPERM", "EOPNOTSUPP", "EXDEV"] {
        let _ = fs::remove_dir_all(place.target());
        let mut traced = std::process::Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=linkat:error={fault}")]);
        let inner = place.vault.command();
        traced.arg(inner.get_program()).args(inner.get_args());
        traced.args(["restore", "--week", "2025-14", "--pvc", "pvc", "--threads", "1", "--target"]);
        traced.arg(place.target());
        Ran::of(traced).expect(0);
        assert_equal(&place.source(), &place.target());
        assert_eq!(leftovers(&place.target()), [""; 0], "{fault}");
    }
}

#[test]
fn what_was_looked_at_is_what_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::open(folder.path(), OwnerMap::Nobody).unwrap();
    let path = ArchivePath::parse(b"file").unwrap();
    let file = folder.path().join("file");
    let meta = Meta { mode: 0o4755, ..Meta::default() };
    fs::write(&file, "right").unwrap();
    let looked = target.stat(&path).unwrap().unwrap();
    // Another file under the name, then the same file with another content.
    fs::rename(&file, folder.path().join("kept")).unwrap();
    fs::write(&file, "wrong").unwrap();
    let refused = target.set_metadata(&path, &meta, &looked).unwrap_err();
    assert!(refused.to_string().contains("something else stands there"), "{refused}");
    fs::rename(folder.path().join("kept"), &file).unwrap();
    let looked = target.stat(&path).unwrap().unwrap();
    fs::write(&file, "WRONG").unwrap();
    let looked = weekvault::model::Stat { ctime: looked.ctime.plus_seconds(-1), ..looked };
    assert!(target.set_metadata(&path, &meta, &looked).is_err());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7000, 0, "no rights for a forged file");
}

#[test]
fn what_is_made_replaces_nothing_that_was_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let mut target = Target::open(folder.path(), OwnerMap::Nobody).unwrap();
    let (meta, path) = (Meta { mode: 0o600, ..Meta::default() }, ArchivePath::parse(b"name").unwrap());
    let file = folder.path().join("name");
    fs::write(&file, "another's").unwrap();
    let link = Kind::Symlink(b"x".to_vec());
    let new = target.create(&path, 0, false).unwrap();
    let refused = target.finish(new, &path, 0, &meta, None).unwrap_err();
    assert!(refused.to_string().contains("does the target ignore case"), "{refused}");
    assert!(target.make_node(&path, &link, &meta, None).is_err());
    let other = fs::metadata(folder.path()).unwrap();
    let new = target.create(&path, 1, false).unwrap();
    assert!(target.finish(new, &path, 0, &meta, Some((other.dev(), other.ino()))).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"another's");
    let found = fs::metadata(&file).unwrap();
    target.make_node(&path, &link, &meta, Some((found.dev(), found.ino()))).unwrap();
    assert_eq!(fs::read_link(&file).unwrap(), Path::new("x"), "what was looked at is replaced");
    target.close_staging();
    assert_eq!(leftovers(folder.path()), [""; 0]);
}

/// The owner of the tree exchanges a file with one of their own all the time.
#[test]
fn an_exchange_gives_nobody_rights() {
    if !is_root() {
        return skip("a restore by root into another's tree", "only root gives files to others");
    }
    let place = set_up();
    let tool = place.source().join("tool");
    fs::write(&tool, "the tool").unwrap();
    chown(&tool, Some(0), Some(0)).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).unwrap();
    place.vault.backup("2025-14", &[("pvc", &place.source())]);
    let (live, own) = (place.target().join("tool"), place.target().join("own"));
    for round in 0..12 {
        let _ = fs::remove_dir_all(place.target());
        fs::create_dir(place.target()).unwrap();
        for (path, text) in [(&live, "the tool"), (&own, "a forgery")] {
            fs::write(path, text).unwrap();
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = rustix::fs::renameat_with(CWD, &live, CWD, &own, RenameFlags::EXCHANGE);
                }
            });
            place.restore_to_target();
            done.store(true, Ordering::Relaxed);
        });
        for path in [&live, &own] {
            let found = fs::metadata(path).unwrap();
            let forged = fs::read(path).unwrap() != b"the tool";
            assert!(!(forged && found.uid() == 0), "round {round}: {} is root's", path.display());
        }
    }
}

#[test]
fn what_a_killed_restore_left_goes_with_the_next() {
    let place = set_up();
    fs::write(place.source().join("file"), "content").unwrap();
    place.vault.backup("2025-14", &[("pvc", &place.source())]);
    fs::create_dir(place.target()).unwrap();
    let left = place.target().join(".weekvault-1a2b-67f4d2e805f5e100-0");
    fs::create_dir(&left).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(left.join("7"), "half").unwrap();
    // One that a run is at work in stays.
    let held = place.target().join(".weekvault-3c4d-67f4d2e805f5e100-0");
    fs::create_dir(&held).unwrap();
    let handle = fs::File::open(&held).unwrap();
    handle.try_lock().unwrap();
    place.restore_to_target().expect(0);
    assert!(!left.exists() && held.exists());
    drop(handle);
    let source = place.target();
    place.vault.backup("2025-15", &[("pvc", &source)]);
    let listed = place.vault.run(["ls", "--week", "2025-15", "--pvc", "pvc"]).expect(0).stdout;
    assert!(!listed.contains(".weekvault"), "{listed}");
}

/// Two entries that this target has under one name.
#[test]
fn two_names_that_are_one_here_are_told() {
    let place = set_up();
    fs::write(place.source().join("README"), "one").unwrap();
    fs::write(place.source().join("readme"), "two").unwrap();
    place.vault.backup("2025-14", &[("pvc", &place.source())]);
    let image = place.folder.path().join("image");
    let mounted = (|| {
        fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
        let mkfs = std::process::Command::new("mkfs.vfat").arg(&image).output().ok()?;
        mkfs.status.success().then_some(())?;
        fs::create_dir(place.target()).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-o", "loop"]).arg(&image).arg(place.target());
        mount.output().ok()?.status.success().then_some(())
    })();
    if mounted.is_none() {
        return skip("a target that ignores case", "no vfat can be mounted here");
    }
    let into = place.target().join("tree");
    let ran = place.vault.restore("2025-14", "pvc", &into, &["--no-owner"]);
    common::system(std::process::Command::new("umount").arg(place.target()));
    ran.expect(1).says("does the target ignore case");
}

#[test]
fn a_killed_restore_is_made_whole_by_the_next() {
    let place = set_up();
    for n in 0..4000 {
        let file = place.source().join(format!("d{}/f{n}", n / 40));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!("content {n} ").repeat(1 + n % 90)).unwrap();
    }
    place.vault.backup("2025-14", &[("pvc", &place.source())]);
    for at_least in [1, 700, 2500] {
        let target = place.path(&format!("target-{at_least}"));
        let mut command = place.vault.command();
        command.args(["restore", "--week", "2025-14", "--pvc", "pvc", "--target"]).arg(&target);
        let mut child = command.spawn().unwrap();
        while walkdir::WalkDir::new(&target).into_iter().flatten().count() < at_least {
            assert!(child.try_wait().unwrap().is_none(), "it has ended before it was killed");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // Nobody else can enter what is not finished.
        let top = walkdir::WalkDir::new(&target).max_depth(1).into_iter().flatten();
        for folder in top.filter(|e| e.file_type().is_dir()) {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o077, 0, "{folder:?}");
        }
        place.vault.restore("2025-14", "pvc", &target, &["--numeric-owner"]).expect(0);
        assert_equal(&place.source(), &target);
        assert_eq!(leftovers(&target), Vec::<String>::new());
    }
}
