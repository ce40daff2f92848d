//! Sources that are missing, slow, suddenly another folder, or stand for terabytes of nothing; and changes through mappings.

use crate::common;
use crate::common::{Place, Ran, Vault, backup_arguments, is_root, quick_folder, skip};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

impl Place {
    fn quick() -> Self {
        let place = Self::within(quick_folder(64 << 20, 10_000));
        Vault::with_small_chunks(&place.vault.store);
        place
    }

    /// Makes a folder with so many files.
    fn folder(&self, name: &str, files: u32) -> PathBuf {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        for n in 0..files {
            fs::write(folder.join(format!("{name}-{n}")), format!("{name} {n}")).unwrap();
        }
        folder
    }

    fn back_up(&self, week: &str, sources: &[(&str, &Path)], more: &[&str]) -> Ran {
        let mut arguments = backup_arguments(week, sources);
        arguments.extend(more.iter().map(OsString::from));
        self.vault.run(arguments)
    }

    fn manifests(&self) -> Vec<String> {
        let list = self.vault.run(["list", "--json"]).expect(0).json();
        let name = |m: &Value| format!("{}/{}", m["week"].as_str().unwrap(), m["pvc"].as_str().unwrap());
        list.as_array().unwrap().iter().map(name).collect()
    }
}

#[test]
fn the_others_are_published_without_an_optional_source() {
    let place = Place::quick();
    let (one, two) = (place.folder("one", 3), place.folder("two", 3));
    let sources = [("one", one.as_path()), ("two", two.as_path())];
    for week in ["2025-01", "2025-02"] {
        place.back_up(week, &sources, &["--keep=2"]).expect(0);
    }
    fs::rename(&two, place.path("away")).unwrap();
    place.back_up("2025-03", &sources, &[]).expect(1).says("\"two\"").says("nothing was published");
    let ran = place.back_up("2025-03", &sources, &["--keep=2", "--optional=two"]).expect(3);
    let ran = ran.says("source \"two\"").says("is left out");
    let missing = &ran.json()["missing_sources"];
    assert_eq!((&missing[0]["pvc"], missing.as_array().unwrap().len()), (&json!("two"), 1));
    assert!(missing[0]["reason"].as_str().unwrap().contains("cannot be opened"), "{missing}");
    // Retention has given up the oldest week of what was published, and nothing of the other.
    assert_eq!(place.manifests(), ["2025-01/two", "2025-02/one", "2025-02/two", "2025-03/one"]);
    // Where a volume is not mounted its mount point is empty.
    fs::create_dir(&two).unwrap();
    let ran = place.back_up("2025-04", &sources, &["--optional=two", "--no-retention"]).expect(3);
    assert!(ran.json()["missing_sources"][0]["reason"].as_str().unwrap().contains("empty"));
    place.back_up("2025-04", &sources, &["--optional", "two,one", "--allow-empty"]).expect(0);
    place.vault.verify();
}

#[test]
fn a_run_that_has_no_source_left_fails() {
    let place = Place::quick();
    let (one, gone) = (place.folder("one", 1), place.path("gone"));
    place.back_up("2025-01", &[("gone", &gone)], &["--optional=gone"]).expect(1).says("cannot be opened");
    place.back_up("2025-01", &[("one", &one)], &["--optional=won"]).expect(2).says("--optional won");
    for wrong in ["0s", "-1h", "soon", "7"] {
        place
            .back_up("2025-01", &[("one", &one)], &[&format!("--source-timeout={wrong}")])
            .expect(2)
            .says("90m");
    }
    // No run takes no time.
    let ran = place.back_up("2025-01", &[("one", &one)], &["--source-timeout=1ns"]).expect(1);
    ran.says("took longer than").says("nothing was published");
    assert_eq!(fs::read_dir(place.path("store/tmp")).unwrap().count(), 0);
}

#[test]
fn a_source_that_takes_too_long_is_left_out() {
    let place = Place::quick();
    let (slow, one) = (place.folder("slow", 1), place.folder("one", 2));
    // Both have this one: what the source that is given up was about to store, the other one stores.
    for folder in [&slow, &one] {
        fs::write(folder.join("a-shared"), vec![7; 100_000]).unwrap();
    }
    // Each takes seconds to hash.
    for n in 0..100 {
        let file = fs::File::create(slow.join(format!("hole-{n}"))).unwrap();
        file.set_len(1 << 40).unwrap();
    }
    let sources = [("slow", slow.as_path()), ("one", one.as_path())];
    let ran = place.back_up("2025-01", &sources, &["--source-timeout=6s"]).expect(3);
    let ran = ran.says("source \"slow\"").says("took longer than 6s");
    assert_eq!(ran.json()["missing_sources"][0]["pvc"], "slow");
    assert_eq!(place.manifests(), ["2025-01/one"]);
    place.vault.verify();
    let back = place.path("back");
    place.vault.restore("2025-01", "one", &back, &[]).expect(0);
    common::assert_equal(&one, &back);
}

#[test]
fn terabytes_of_holes_cost_seconds() {
    let place = Place::quick();
    let source = place.folder("source", 2);
    let mut file = fs::File::create(source.join("huge")).unwrap();
    file.write_all(b"begin").unwrap();
    file.set_len(15 << 40).unwrap();
    let begun = Instant::now();
    let sources = [("pvc", source.as_path())];
    place.back_up("2025-01", &sources, &[]).expect(0);
    place.back_up("2025-02", &sources, &[]).expect(0);
    let back = place.path("back");
    place.vault.restore("2025-02", "pvc", &back, &["--verify"]).expect(0);
    // Again, reading what is there.
    fs::File::open(back.join("huge")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    place.vault.restore("2025-02", "pvc", &back, &["--verify"]).expect(0).says("0 B written");
    place.vault.verify();
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    assert_eq!(fs::metadata(back.join("huge")).unwrap().len(), 15 << 40);
    let mut begin = [0; 5];
    fs::File::open(back.join("huge")).unwrap().read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"begin");
    // A change behind terabytes of zeros is one.
    use std::os::unix::fs::FileExt;
    file.write_all_at(b"end", (15 << 40) - 3).unwrap();
    place.back_up("2025-03", &sources, &[]).expect(0);
    place.vault.restore("2025-03", "pvc", &back, &[]).expect(0);
    let mut end = [0; 3];
    fs::File::open(back.join("huge")).unwrap().read_exact_at(&mut end, (15 << 40) - 3).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn another_folder_behind_a_known_name_is_refused() {
    let place = Place::quick();
    let (html, other) = (place.folder("html", 10), place.folder("other", 10));
    place.back_up("2025-01", &[("html", &html)], &[]).expect(0);
    let ran = place.back_up("2025-01", &[("html", &other)], &[]).expect(1);
    let ran = ran.says("of whose 10 paths it has 0").says("--force").says("Nothing was published");
    let told = &ran.json()["suspicious_source"];
    assert_eq!((&told["pvc"], &told["remaining_paths"]), (&json!("html"), &json!(0)), "{told}");
    assert_eq!(told["earlier_folder"], html.to_str().unwrap());
    let back = place.path("back");
    place.vault.restore("2025-01", "html", &back, &[]).expect(0);
    common::assert_equal(&html, &back);
    // An optional source is one that may be missing, not one that may be another.
    place.back_up("2025-01", &[("html", &other)], &["--optional=html"]).expect(1).says("--force");
    place.back_up("2025-01", &[("html", &other)], &["--force"]).expect(0);
    place.back_up("2025-01", &[("html", &other)], &[]).expect(0);
}

#[test]
fn a_folder_that_has_moved_or_changed_is_no_other() {
    let place = Place::quick();
    let html = place.folder("html", 10);
    place.back_up("2025-01", &[("html", &html)], &[]).expect(0);
    // The same files at another mount point, half of them by another name.
    let moved = place.path("moved");
    fs::rename(&html, &moved).unwrap();
    for n in 0..5 {
        fs::rename(moved.join(format!("html-{n}")), moved.join(format!("renamed-{n}"))).unwrap();
    }
    place.back_up("2025-02", &[("html", &moved)], &[]).expect(0);
    // At the same place people may delete what they like.
    for entry in fs::read_dir(&moved).unwrap().skip(1) {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    place.back_up("2025-03", &[("html", &moved)], &[]).expect(0);
    // That not one path is left, though there are others, is worth a word.
    let many = place.folder("many", 12);
    place.back_up("2025-01", &[("many", &many)], &[]).expect(0);
    for n in 0..12 {
        fs::rename(many.join(format!("many-{n}")), many.join(format!("x-{n}"))).unwrap();
    }
    place.back_up("2025-02", &[("many", &many)], &[]).expect(0).says("is it the right volume?");
}

/// Writes to a file through a mapping, without a moment in between at which it would be written out.
const WRITER: &str = "
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 8192)
pages = mmap.mmap(file, 8192)
for line in sys.stdin:
    pages[0:5] = line.strip().encode()
    print('done', flush=True)
";

#[test]
fn a_change_through_a_mapping_is_seen_by_the_next_run() {
    if !is_root() {
        return skip("a file system of its own", "only root mounts");
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    fs::create_dir(&mount).unwrap();
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    common::system(Command::new("mkfs.ext4").arg("-q").arg(&image));
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount).status();
    if !mounted.is_ok_and(|status| status.success()) {
        return skip("a file system of its own", "no loop mount can be made here");
    }
    let (vault, source) = (Vault::new(folder.path().join("store")), mount.join("source"));
    fs::create_dir(&source).unwrap();
    let mut writer = Command::new("/usr/bin/python3");
    writer.args(["-c", WRITER]).arg(source.join("db")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = writer.spawn().expect("python3, which tests/run installs");
    let mut write = |text: &str| {
        writer.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
        let mut answer = [0; 5];
        writer.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    };
    write("first\n");
    // Within two seconds before a run times prove nothing, and the next run reads the file anyway.
    std::thread::sleep(Duration::from_millis(2500));
    vault.backup("2025-14", &[("pvc", &source)]);
    write("again\n");
    let restored = folder.path().join("restored");
    vault.backup("2025-15", &[("pvc", &source)]);
    vault.restore("2025-15", "pvc", &restored, &[]).expect(0);
    let content = fs::read(restored.join("db")).unwrap();
    vault.restore("2025-14", "pvc", &source, &[]).expect(0);
    let in_place = fs::read(source.join("db")).unwrap();
    drop(writer.stdin.take());
    writer.wait().unwrap();
    common::system(Command::new("umount").arg(&mount));
    assert_eq!(&content[..5], b"again", "the later week has the old content");
    assert_eq!(&in_place[..5], b"first", "a restore in place takes the new content for the old one");
}

/// A network file system may end any call with EINTR where a signal arrives; what it says once is not believed.
#[test]
fn a_call_that_is_cut_short_is_made_again() {
    let place = Place::quick();
    let source = place.folder("one", 3);
    fs::create_dir(source.join("folder")).unwrap();
    std::os::unix::fs::symlink("somewhere", source.join("link")).unwrap();
    let (file, folder, link) = (source.join("one-0"), source.join("folder"), source.join("link"));
    for (call, path) in [
        ("statx", &file),
        ("read", &file),
        ("flistxattr", &file),
        ("getdents64", &folder),
        ("flistxattr", &folder),
        ("llistxattr", &link),
        ("readlinkat", &link),
    ] {
        let _ = fs::remove_dir_all(&place.vault.store);
        let (mut traced, log) = (Command::new("strace"), place.path("log"));
        traced.args(["-f", "-qq", "-o"]).arg(&log).arg("-P").arg(path).args(["-e", &format!("trace={call}")]);
        traced.args(["-e", &format!("inject={call}:error=EINTR:when=1")]);
        let inner = place.vault.command();
        traced.arg(inner.get_program()).args(inner.get_args());
        traced.args(backup_arguments("2025-01", &[("one", source.as_path())]));
        Ran::of(traced).expect(0);
        let injected = fs::read_to_string(&log).unwrap().contains("INJECTED");
        // Of links strace sees no path where the call is by way of a handle.
        assert!(injected || path == &link, "{call} was not made for {}", path.display());
    }
}
