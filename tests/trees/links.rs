//! What others put into a store in place of its files and directories: nothing is followed, nothing outside is touched.

use crate::common;
use crate::common::{Place, Ran, Vault, assert_equal, is_root, skip};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn set_up() -> Place {
    let place = Place::with_small_chunks();
    fs::create_dir(place.source()).unwrap();
    for week in ["2025-13", "2025-14"] {
        let text: String =
            (0..60).map(|i| blake3::hash(format!("{week} {i}").as_bytes()).to_string()).collect();
        fs::write(place.source().join(week), text).unwrap();
        place.vault.backup(week, &[("pvc", &place.source())]);
    }
    fs::create_dir_all(place.outside("2020-01-01/objects/0")).unwrap();
    for file in ["a", "2020-01-01/b", "2020-01-01/objects/0/c"] {
        fs::write(place.outside(file), "precious").unwrap();
    }
    place
}

impl Place {
    fn outside(&self, name: &str) -> PathBuf {
        self.folder.path().join("outside").join(name)
    }

    fn in_store(&self, name: &str) -> PathBuf {
        self.vault.store.join(name)
    }

    /// Puts a link to the directory outside where something of the store was, if anything.
    fn link(&self, name: &str, target: &Path) {
        let place = self.in_store(name);
        match fs::symlink_metadata(&place) {
            Ok(m) if m.is_dir() => fs::remove_dir_all(&place).unwrap(),
            Ok(_) => fs::remove_file(&place).unwrap(),
            Err(_) => fs::create_dir_all(place.parent().unwrap()).unwrap(),
        }
        symlink(target, place).unwrap();
    }

    #[track_caller]
    fn outside_is_untouched(&self) {
        let names = ["a", "2020-01-01/b", "2020-01-01/objects/0/c"];
        assert!(names.iter().all(|n| fs::read(self.outside(n)).is_ok_and(|text| text == b"precious")));
        let found = walkdir::WalkDir::new(self.outside("")).into_iter().count();
        assert_eq!(found, 7, "something was made outside");
    }

    fn confined(&self, arguments: &[&str]) -> Ran {
        self.vault.run_confined(arguments)
    }

    fn back_up_confined(&self) -> Ran {
        let source = format!("pvc={}", self.source().display());
        self.confined(&["backup", "--week", "2025-14", "--keep", "1", "--source", &source])
    }
}

#[test]
fn a_link_in_the_trash_leads_gc_nowhere() {
    let absolute = |place: &Place| place.outside("");
    let relative = |_: &Place| PathBuf::from("../../../outside");
    type Aim = fn(&Place) -> PathBuf;
    let cases: [(&str, Aim); 5] = [
        ("trash", absolute),
        ("trash/2020-01-01", absolute),
        ("trash/2020-01-01/objects", relative),
        ("trash/2020-01-01/x", absolute),
        ("trash/2020-01-01/damaged", absolute),
    ];
    for (name, aim) in cases {
        for with_backup in [false, true] {
            let place = set_up();
            place.link(name, &aim(&place));
            if with_backup {
                place.back_up_confined();
            } else {
                place.confined(&["gc", "--trash-days", "0"]);
                place.confined(&["gc"]);
            }
            place.outside_is_untouched();
        }
    }
}

#[test]
fn no_link_in_the_store_is_followed() {
    for name in ["objects", "objects/0", "objects/a", "tmp", "trash", "2025-14", "2025-15", "lock"] {
        for (aim, target) in [("a directory", "outside"), ("itself", "self"), ("a file", "outside/a")] {
            let place = set_up();
            let target =
                if target == "self" { place.in_store(name) } else { place.folder.path().join(target) };
            place.link(name, &target);
            let report = place.confined(&["verify", "--json"]).json();
            let named = report["passed_over"].as_array().unwrap();
            assert_eq!(named, &[serde_json::json!(name)], "{name} to {aim}");
            for command in [
                &["list"][..],
                &["gc"],
                &["retain", "--keep", "1"],
                &["verify", "--repair"],
                &["restore", "--week", "2025-13", "--pvc", "pvc", "--target", "out"],
            ] {
                place.run(command);
            }
            place.back_up_confined();
            place.outside_is_untouched();
        }
    }
}

#[test]
fn a_link_in_place_of_a_file_is_not_read() {
    let place = set_up();
    let secret = place.folder.path().join("secret");
    fs::write(&secret, "\"a secret\"").unwrap();
    let other = place.folder.path().join("other.manifest");
    fs::rename(place.in_store("2025-14/pvc.manifest"), &other).unwrap();
    place.link("2025-14/pvc.manifest", &other);
    let target = place.folder.path().join("out");
    place.vault.restore("2025-14", "pvc", &target, &[]).expect(1).says("symbolic link");
    place.confined(&["verify"]).expect(4).says("2025-14/pvc.manifest").says("symbolic link");
    place.confined(&["gc"]).expect(1).says("symbolic link");
    place.link("store.json", &secret);
    let ran = place.confined(&["list"]);
    assert!(!ran.stderr.contains("a secret"), "{}", ran.stderr);
    place.back_up_confined().expect(1).says("store.json").says("symbolic link");
}

#[test]
fn a_week_that_is_a_link_gives_nothing_up() {
    let place = set_up();
    let moved = place.folder.path().join("moved");
    fs::rename(place.in_store("2025-13"), &moved).unwrap();
    symlink(&moved, place.in_store("2025-13")).unwrap();
    fs::write(place.source().join("2025-13"), "changed").unwrap();
    // Published, but what the linked week needs is not given up.
    place.back_up_confined().expect(1).says("2025-13 is not a directory");
    place.confined(&["gc"]).expect(1).says("2025-13 is not a directory");
    fs::remove_file(place.in_store("2025-13")).unwrap();
    fs::rename(&moved, place.in_store("2025-13")).unwrap();
    place.vault.verify();
    place.confined(&["gc"]).expect(0);
    let target = place.folder.path().join("out");
    place.vault.restore("2025-13", "pvc", &target, &[]).expect(0);
}

#[test]
fn the_root_may_be_a_link_and_its_path_may_change_meanwhile() {
    let place = set_up();
    let link = place.folder.path().join("link");
    symlink(&place.vault.store, &link).unwrap();
    let vault = Vault::new(&link);
    vault.backup("2025-15", &[("pvc", &place.source())]);
    let target = place.folder.path().join("out");
    vault.restore("2025-15", "pvc", &target, &[]).expect(0);
    assert_equal(&place.source(), &target);
    symlink(place.folder.path().join("nowhere"), place.folder.path().join("dangling")).unwrap();
    Vault::new(place.folder.path().join("dangling")).run(["list"]).expect(1).says("no store at");
}

#[test]
fn a_device_in_the_store_is_not_opened() {
    if !is_root() {
        return skip("a device in the store", "only root makes devices");
    }
    let place = set_up();
    for name in ["2025-14/pvc.manifest", "2025-15/x.manifest", "objects/0/x", "lock", "store.json"] {
        let device = place.in_store(name);
        let _ = fs::remove_file(&device);
        fs::create_dir_all(device.parent().unwrap()).unwrap();
        common::system(std::process::Command::new("mknod").arg(&device).args(["c", "5", "2"]));
        for command in [&["list"][..], &["verify"], &["gc"]] {
            let mut traced = std::process::Command::new("strace");
            traced.args(["-f", "-qq", "-e", "trace=open,openat,openat2"]);
            let inner = place.vault.command();
            traced.arg(inner.get_program()).args(inner.get_args()).args(command);
            let ran = Ran::of(traced);
            let is_it = |line: &&str| line.contains(&format!("{name}\"")) && !line.contains("O_PATH");
            let opened: Vec<&str> = ran
                .stderr
                .lines()
                .filter(is_it)
                .filter(|l| !l.contains("= -1") && l.contains("open"))
                .collect();
            assert!(opened.is_empty(), "{name}: {command:?}: {opened:?}");
        }
        fs::remove_file(&device).unwrap();
    }
}

/// A file system whose listings do not say what each name is, as NFS without READDIRPLUS and many others.
fn without_types() -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    fs::create_dir(&mount).unwrap();
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let mut mkfs = std::process::Command::new("mkfs.ext4");
    common::system(mkfs.args(["-q", "-O", "^filetype"]).arg(&image));
    let mounted = std::process::Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount).output();
    mounted.is_ok_and(|o| o.status.success()).then_some((folder, mount))
}

#[test]
fn a_name_that_goes_while_it_is_listed_hides_no_other() {
    let Some((folder, mount)) = without_types() else {
        return skip("a directory without types", "no loop mount can be made here");
    };
    let vault = Vault::with_small_chunks(mount.join("store"));
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    vault.backup("2025-14", &[("pvc", &source)]);
    let objects = || walkdir::WalkDir::new(vault.store.join("objects")).into_iter().count();
    let before = objects();
    for ghost in ["ghost", "2025-14/ghost", "objects/ghost", "trash/ghost"] {
        let path = vault.store.join(ghost);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        // Listed, and then not there.
        let haunted = |command: &[&str]| {
            let mut traced = std::process::Command::new("strace");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-P", "ghost", "-P"]).arg(&path);
            traced.args(["-e", "inject=newfstatat,statx,lstat,stat:error=ENOENT"]);
            let inner = vault.command();
            traced.arg(inner.get_program()).args(inner.get_args()).args(command);
            Ran::of(traced)
        };
        haunted(&["list"]).expect(0).says("2025-14");
        haunted(&["verify"]).expect(0).says("1 manifest checked");
        haunted(&["gc"]).expect(0);
        assert_eq!(objects() - usize::from(ghost == "objects/ghost"), before, "{ghost}");
        fs::remove_file(&path).unwrap();
    }
    common::system(std::process::Command::new("umount").arg(&mount));
}

/// Only opening a directory may say that it is missing: ENOENT of its listing is an error like any.
#[test]
fn a_listing_that_breaks_off_is_no_empty_directory() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::with_small_chunks(folder.path().join("store"));
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    vault.backup("2025-14", &[("pvc", &source)]);
    fs::create_dir_all(target.join("extra")).unwrap();
    fs::write(target.join("extra/file"), "").unwrap();
    let missing = |calls: &str, path: &Path, arguments: &[&str]| {
        let mut traced = std::process::Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(path);
        let (calls, when) = calls.split_once(':').unwrap_or((calls, "when=1+"));
        traced.args(["-e", &format!("inject={calls}:error=ENOENT:{when}")]);
        let inner = vault.command();
        traced.arg(inner.get_program()).args(inner.get_args()).args(arguments);
        Ran::of(traced)
    };
    let breaking =
        |path: &Path, when: &str, arguments: &[&str]| missing(&format!("getdents64{when}"), path, arguments);
    let objects = vault.store.join("objects");
    let one = fs::read_dir(&objects).unwrap().next().unwrap().unwrap().path();
    for (listed, commands) in [
        (&one, &["verify", "gc"][..]),
        (&objects, &["verify", "gc"]),
        (&vault.store.join("2025-14"), &["list", "verify", "gc"]),
        (&vault.store, &["list", "verify", "gc"]),
    ] {
        for command in commands {
            breaking(listed, "", &[command]).expect(1).says("cannot list").says("Input/output error");
            breaking(listed, ":when=1", &[command]).expect(0);
        }
    }
    // A manifest that is listed and not found needs what it needs.
    let looks = "newfstatat,statx,lstat,stat";
    let week = vault.store.join("2025-14");
    missing(looks, &week, &["gc"]).expect(0).says("1 object in use");
    let every = format!("{looks},openat,openat2,open");
    for path in [Path::new("2025-14/pvc.manifest"), &week.join("pvc.manifest")] {
        let ran = missing(&every, path, &["gc"]);
        assert!(
            ran.stderr.contains("pvc.manifest") || ran.stdout.contains("1 object in use"),
            "{}",
            ran.stderr
        );
    }
    vault.run(["verify"]).expect(0).says("1 object read");
    let restore = ["restore", "--week", "2025-14", "--pvc", "pvc", "--delete", "--yes", "--target"];
    let restore = [&restore[..], &[target.to_str().unwrap()]].concat();
    breaking(&target.join("extra"), "", &restore).expect(1).says("cannot list extra");
    vault.run(&restore).expect(0);
    assert!(!target.join("extra").exists());
}
