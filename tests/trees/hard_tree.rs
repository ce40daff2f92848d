//! A tree of all that a file system can hold comes back as it was: anew, plain, and in place of something broken.

use crate::common;
use crate::common::{
    Tree, Vault, What, assert_equal, assert_same_tree, copy, is_root, rsync_says, skip, system,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;

const WEEK: &str = "2025-14";
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Bytes of a path that Linux takes in one call, with the NUL at its end.
const PATH_MAX: usize = 4096;

/// A folder for a test; gone at its end, however deep the trees in it are.
struct Folder(Option<TempDir>);

impl Folder {
    fn new() -> Self {
        Self(Some(tempfile::tempdir().unwrap()))
    }

    fn path(&self) -> &Path {
        self.0.as_ref().unwrap().path()
    }

    fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let folder = self.0.take().unwrap().keep();
        let _ = Command::new("rm").arg("-rf").arg(folder).status();
    }
}

/// Bytes that neither compress nor repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Sets an attribute; where that is refused, says so.
fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    if let Err(error) = rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        let what = format!("{name} of {} bytes on {}", value.len(), path.display());
        skip(&what, &error.to_string());
    }
}

fn make_node(path: &Path, kind: FileType, major: u32, minor: u32) -> bool {
    let made =
        rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(major, minor));
    if let Err(error) = made {
        skip(&path.display().to_string(), &error.to_string());
    }
    made.is_ok()
}

fn plant_contents(root: &Path) {
    fs::create_dir(root).unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::create_dir(root.join("empty folder")).unwrap();
    // About the sizes at which the content stream is cut, and a file is large.
    for (seed, size) in [0, 256 * KIB, MIB, 4 * MIB].into_iter().enumerate() {
        for size in [size.saturating_sub(1), size, size + 1] {
            fs::write(root.join(format!("{size} bytes")), noise(seed as u64, size)).unwrap();
        }
    }
    fs::write(root.join("zeros"), vec![0; 4 * MIB + 4097]).unwrap();
    fs::write(root.join("repeats"), b"0123456789".repeat(MIB)).unwrap();
    fs::write(root.join("same"), noise(3, 4 * MIB)).unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(3 * MIB as u64 + 1).unwrap();
    sparse.write_all_at(b"in between", MIB as u64 + 4095).unwrap();
}

fn plant_links(root: &Path) {
    fs::create_dir_all(root.join("b/c")).unwrap();
    fs::create_dir(root.join("a")).unwrap();
    fs::write(root.join("b/c/first by name is elsewhere"), "linked").unwrap();
    for name in ["a/another", "b/another", "zz"] {
        fs::hard_link(root.join("b/c/first by name is elsewhere"), root.join(name)).unwrap();
    }
    fs::hard_link(root.join("b/c"), root.join("d")).unwrap_err();
    let targets: [(&str, &[u8]); 8] = [
        ("dangling", b"no/such/place"),
        ("absolute", b"/etc/passwd"),
        ("up", b".."),
        ("up and away", b"../../../../../../.."),
        ("itself", b"itself"),
        ("odd", b"\xff\n \\ *"),
        ("slashes", b"b//c/./"),
        ("long", &[b'x'; PATH_MAX - 1]),
    ];
    for (name, target) in targets {
        symlink(OsStr::from_bytes(target), root.join(name)).unwrap();
    }
    make_node(&root.join("fifo"), FileType::Fifo, 0, 0);
    make_node(&root.join("socket"), FileType::Socket, 0, 0);
    let devices = [
        ("null", FileType::CharacterDevice, 1, 3),
        ("block", FileType::BlockDevice, 7, 99),
        ("high", FileType::CharacterDevice, 4095, 1_048_575),
        ("whiteout", FileType::CharacterDevice, 0, 0),
    ];
    let mut linked = vec!["dangling", "fifo", "socket"];
    for (name, kind, major, minor) in devices {
        // Anyone may make a whiteout, but rsync takes no devices from others than root.
        if !is_root() {
            skip(name, "not root");
        } else if make_node(&root.join(name), kind, major, minor) {
            linked.push(name);
        }
    }
    for name in linked {
        rustix::fs::linkat(CWD, root.join(name), CWD, root.join(format!("a/{name}")), AtFlags::empty())
            .unwrap();
    }
}

fn plant_names(root: &Path) {
    fs::create_dir(root).unwrap();
    let mut names: Vec<Vec<u8>> = [
        "-rf",
        "--delete",
        " ",
        "  two ",
        "new\nline",
        "\n",
        "tab\t",
        "back\\slash",
        "\\n",
        "a*b?[c]{d}",
        "'\"",
        "~",
        "...",
        "..a",
        ".hidden",
        "a",
        "a.b",
        "a-b",
        "a b",
        "\u{e4}",
        "a\u{308}",
        "\u{1f512}",
        "\u{7f}",
        "\x01",
        ".weekvault-1",
        "CON",
        "%2F",
        "#",
        "!",
        "a:b",
        "lost+found",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .collect();
    names.extend([
        b"\xff".to_vec(),
        b"\xc3".to_vec(),
        b"x\xf0\x9f\x92".to_vec(),
        vec![b'y'; 255],
        vec![0xfe; 255],
    ]);
    for name in &names {
        let name = OsStr::from_bytes(name);
        fs::write(root.join(name), name.as_bytes()).unwrap();
        // As a folder too, so that the order of siblings and of what is in them is tried.
        let folder =
            root.join(OsString::from_vec([b"d", name.as_bytes()].concat().into_iter().take(255).collect()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(name), "in a folder").unwrap();
    }
}

fn plant_metadata(root: &Path) {
    fs::create_dir(root).unwrap();
    for mode in [0, 0o111, 0o200, 0o400, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777, 0o4000, 0o2000] {
        if mode & 0o400 == 0 && !is_root() {
            skip(&format!("mode {mode:o}"), "not root");
            continue;
        }
        let (file, folder) = (root.join(format!("file {mode:o}")), root.join(format!("folder {mode:o}")));
        fs::write(&file, format!("{mode:o}")).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inside"), "").unwrap();
        if is_root() {
            chown(&file, Some(1000 + mode), Some(2000 + mode)).unwrap();
            chown(&folder, Some(3000 + mode), Some(u32::MAX - 1)).unwrap();
        }
        set_mode(&file, mode);
        if is_root() || mode & 0o100 != 0 {
            set_mode(&folder, mode);
        }
    }
    symlink("file 0", root.join("owned symlink")).unwrap();
    if is_root() {
        lchown(root.join("owned symlink"), Some(77), Some(88)).unwrap();
    } else {
        skip("owners", "not root");
    }
    let times = [
        ("1901", -2_147_483_648, 0),
        ("1901 and a bit", -2_147_483_648, 999_999_999),
        ("just before 1970", -1, 999_999_999),
        ("1970", 0, 0),
        ("a nanosecond", 1_700_000_000, 1),
        ("2038", 2_147_483_648, 123_456_789),
        ("2106", 4_294_967_296, 987_654_321),
        ("2446", 15_032_385_535, 999_999_999),
    ];
    for (name, secs, nanos) in times {
        let (file, folder, link) =
            (root.join(name), root.join(format!("{name} folder")), root.join(format!("{name} symlink")));
        fs::write(&file, name).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("inside"), name).unwrap();
        symlink(name, &link).unwrap();
        for path in [folder.join("inside"), file, folder, link] {
            set_mtime(&path, secs, nanos);
        }
    }
}

fn plant_xattrs(root: &Path) {
    fs::create_dir_all(root.join("folder")).unwrap();
    for name in ["file", "folder/file", "many", "large"] {
        fs::write(root.join(name), name).unwrap();
    }
    symlink("file", root.join("symlink")).unwrap();
    make_node(&root.join("fifo"), FileType::Fifo, 0, 0);
    for name in ["file", "folder"] {
        set_xattr(&root.join(name), "user.one", b"1");
        set_xattr(&root.join(name), "user.none", b"");
        set_xattr(&root.join(name), "user.binary\n\u{e4} name", &[0, 255, 10, 0]);
    }
    for number in 0..50 {
        set_xattr(&root.join("many"), &format!("user.number-{number:02}"), number.to_string().as_bytes());
    }
    set_xattr(&root.join("large"), "user.large", &noise(9, 3 * KIB));
    fs::hard_link(root.join("many"), root.join("folder/many")).unwrap();
    if is_root() {
        for name in ["file", "folder", "symlink", "fifo"] {
            set_xattr(&root.join(name), "trusted.weekvault", name.as_bytes());
        }
    }
    let run = |program: &str, arguments: &[&str], path: &str| {
        let path = root.join(path);
        let command = || Command::new(program).args(arguments).arg(&path).output();
        match command() {
            Ok(output) if output.status.success() => {}
            Ok(output) => skip(program, String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => skip(program, &error.to_string()),
        }
    };
    for name in ["acl", "capable", "folder/acl fifo"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::create_dir_all(root.join("acl folder/inherits")).unwrap();
    run("setfacl", &["-m", "u:1001:rwx,u:1002:-,g:100:r--,m:rw-"], "acl");
    // What is made below inherits: a restore must not let it.
    run("setfacl", &["-m", "d:u:1001:rwx,d:g:100:---,u:1003:r-x"], "acl folder");
    fs::write(root.join("acl folder/plain"), "had no ACL").unwrap();
    fs::create_dir(root.join("acl folder/plain folder")).unwrap();
    make_node(&root.join("acl folder/fifo"), FileType::Fifo, 0, 0);
    symlink("plain", root.join("acl folder/symlink")).unwrap();
    for path in ["acl folder/plain", "acl folder/plain folder", "acl folder/fifo"] {
        run("setfacl", &["-b", "-k"], path);
    }
    if is_root() {
        run("setcap", &["cap_net_bind_service,cap_net_raw+ep"], "capable");
        chown(root.join("file"), Some(55), Some(66)).unwrap();
    }
}

/// Paths as long as they can be, below a root as short as it can be.
fn plant_long_paths(root: &Path, longest: usize) {
    fs::create_dir(root).unwrap();
    let mut path = root.as_os_str().as_bytes().to_vec();
    for letter in (b'a'..=b'z').cycle() {
        let left = longest - path.len() - 1;
        if left <= 255 {
            path.push(b'/');
            path.extend(vec![b'f'; left]);
            break;
        }
        path.push(b'/');
        // A file needs a byte for its name, and one for the slash before.
        path.extend(vec![letter; 255.min(left - 2)]);
        fs::create_dir(OsStr::from_bytes(&path)).unwrap();
    }
    assert_eq!(path.len(), longest);
    fs::write(OsStr::from_bytes(&path), "deep down").unwrap();
}

/// Many folders in each other.
fn plant_levels(root: &Path, levels: usize) {
    let mut path = root.to_path_buf();
    fs::create_dir(&path).unwrap();
    for _ in 0..levels {
        path.push("l");
        fs::create_dir(&path).unwrap();
    }
    symlink("..", path.join("l")).unwrap();
}

/// The whole tree.
fn plant(root: &Path) {
    fs::create_dir(root).unwrap();
    plant_contents(&root.join("contents"));
    plant_links(&root.join("links"));
    plant_names(&root.join("names"));
    plant_metadata(&root.join("metadata"));
    plant_xattrs(&root.join("xattrs"));
    plant_long_paths(&root.join("long"), PATH_MAX - 1);
    plant_levels(&root.join("levels"), 100);
    set_xattr(root, "user.root", b"of the root");
    if is_root() {
        chown(root, Some(4711), Some(1147)).unwrap();
    }
    set_mode(root, 0o3751);
    set_mtime(root, -1_234_567_890, 123_456_789);
}

/// Every path that is no folder, and every folder but the root, deepest last.
fn paths(root: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let tree = Tree::of(root);
    let (folders, others): (Vec<_>, Vec<_>) =
        tree.0.into_iter().partition(|(_, node)| node.what == What::Folder);
    let full = |(path, _): (Vec<u8>, _)| root.join(OsStr::from_bytes(&path));
    (others.into_iter().map(full).collect(), folders.into_iter().map(full).filter(|p| p != root).collect())
}

/// Ways to break a copy of the tree.
fn breakages() -> BTreeMap<&'static str, fn(&Path)> {
    let mut ways: BTreeMap<&'static str, fn(&Path)> = BTreeMap::new();
    ways.insert("all metadata", |root| {
        let (others, folders) = paths(root);
        for path in others.iter().chain(folders.iter().rev()).chain([&root.to_path_buf()]) {
            let is_link = path.is_symlink();
            for name in [
                "user.one",
                "user.root",
                "trusted.weekvault",
                "system.posix_acl_access",
                "system.posix_acl_default",
            ] {
                let _ = rustix::fs::lremovexattr(path, name);
            }
            if !is_link {
                let _ = rustix::fs::lsetxattr(path, "user.extra", b"extra", XattrFlags::empty());
                set_mode(path, 0o700);
            }
            if is_root() {
                lchown(path, Some(9), Some(9)).unwrap();
            }
            set_mtime(path, 1_600_000_000, 0);
        }
    });
    ways.insert("contents", |root| {
        for (number, path) in paths(root).0.iter().enumerate() {
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_symlink() {
                fs::remove_file(path).unwrap();
                symlink("elsewhere", path).unwrap();
            } else if metadata.is_file() {
                // Not root: what may not be written stays as it is.
                let Ok(file) = File::options().write(true).open(path) else { continue };
                match number % 3 {
                    0 => file.set_len(metadata.len() / 2).unwrap(),
                    1 => file.write_all_at(b"changed", metadata.len() / 3).unwrap(),
                    _ => file.write_all_at(b"more", metadata.len()).unwrap(),
                }
            }
            set_mtime(path, metadata.mtime(), metadata.mtime_nsec());
        }
    });
    ways.insert("kinds", |root| {
        let (others, folders) = paths(root);
        for (number, path) in others.iter().enumerate() {
            match number % 5 {
                0 => continue,
                _ => fs::remove_file(path).unwrap(),
            }
            match number % 5 {
                1 => symlink("/etc", path).unwrap(),
                2 if path.as_os_str().len() + 3 < PATH_MAX => {
                    fs::create_dir(path).unwrap();
                    fs::write(path.join("x"), "extra").unwrap();
                }
                3 => fs::write(path, "another").unwrap(),
                _ => {}
            }
        }
        for path in folders.iter().rev().step_by(3) {
            if path.exists() && path.as_os_str().len() < 3000 {
                fs::remove_dir_all(path).unwrap();
                symlink("..", path).unwrap();
            }
        }
    });
    ways.insert("everything is gone", |root| {
        fs::remove_dir_all(root).unwrap();
        fs::create_dir(root).unwrap();
    });
    ways
}

#[test]
fn a_hard_tree_comes_back() {
    let folder = Folder::new();
    let vault = Vault::new(folder.join("store"));
    let source = folder.join("s");
    plant(&source);
    let expected = Tree::of(&source);
    assert!(expected.0.keys().any(|path| path.len() > 4000), "paths are not long");
    let report = vault.backup(WEEK, &[("pvc", &source)]);
    assert_eq!(report[0]["entries"], expected.0.len());
    vault.verify();

    vault.restore(WEEK, "pvc", &folder.join("r"), &["--verify"]).expect(0);
    assert_equal(&source, &folder.join("r"));
    vault.materialize(WEEK, "pvc", &folder.join("m")).expect(0);
    assert_equal(&source, &folder.join("m"));

    // As a tree that nobody touched since: again, into its own week, from what the store has.
    let report = vault.backup(WEEK, &[("pvc", &source)]);
    assert_eq!(report[0]["new_objects"], 0, "{report:?}");
    for (way, spoil) in breakages() {
        let live = folder.join("m");
        spoil(&live);
        assert_ne!(rsync_says(&source, &live), "", "{way}: nothing is broken");
        vault.restore(WEEK, "pvc", &live, &["--delete"]).expect(0);
        let left = rsync_says(&source, &live);
        assert!(left.is_empty(), "{way}: rsync:\n{left}");
        assert_same_tree(&expected, &live);
    }
    vault.restore(WEEK, "pvc", &source, &["--delete"]).expect(0);
    assert_same_tree(&expected, &source);
}

/// rsync gives up at a tenth of this.
#[test]
fn as_many_levels_as_a_path_has_room_for() {
    let folder = Folder::new();
    let vault = Vault::new(folder.join("store"));
    let (source, restored) = (folder.join("s"), folder.join("r"));
    plant_levels(&source, (PATH_MAX - source.as_os_str().len() - 3) / 2);
    let expected = Tree::of(&source);
    assert!(expected.0.len() > 1990);
    vault.backup(WEEK, &[("pvc", &source)]);
    vault.materialize(WEEK, "pvc", &restored).expect(0);
    assert_same_tree(&expected, &restored);
}

/// A folder on a file system that takes attributes of 64 KiB, which ext4 as a rule does not.
fn roomy() -> Option<TempDir> {
    for place in [std::env::temp_dir(), "/dev/shm".into()] {
        let Ok(folder) = tempfile::tempdir_in(&place) else { continue };
        let set = |value: &[u8]| rustix::fs::setxattr(folder.path(), "user.room", value, XattrFlags::empty());
        if set(&[0; 64 * KIB]).is_ok() {
            rustix::fs::removexattr(folder.path(), "user.room").unwrap();
            return Some(folder);
        }
    }
    None
}

#[test]
fn large_attributes_come_back() {
    let Some(folder) = roomy() else {
        return skip("attributes of 32 KiB", "neither the temporary folder nor /dev/shm takes them");
    };
    let (source, restored) = (folder.path().join("source"), folder.path().join("restored"));
    let vault = Vault::new(folder.path().join("store"));
    fs::create_dir(&source).unwrap();
    for (name, length) in [("file", 1), ("folder", 32 * KIB), ("large", 32 * KIB), ("largest", 64 * KIB)] {
        let path = source.join(name);
        if name == "folder" {
            fs::create_dir(&path).unwrap()
        } else {
            fs::write(&path, name).unwrap()
        }
        rustix::fs::setxattr(&path, "user.value", &noise(length as u64, length), XattrFlags::empty())
            .unwrap();
    }
    // A list of names of nearly 64 KiB.
    fs::write(source.join("many"), "").unwrap();
    for number in 0..250 {
        let name = format!("user.{number:0250}");
        rustix::fs::setxattr(source.join("many"), name.as_str(), b"v", XattrFlags::empty()).unwrap();
    }
    let expected = Tree::of(&source);
    assert_eq!(expected.0[&b"largest"[..]].xattrs[&b"user.value"[..]].len(), 64 * KIB);
    assert_eq!(expected.0[&b"many"[..]].xattrs.len(), 250);
    vault.backup(WEEK, &[("pvc", &source)]);
    vault.materialize(WEEK, "pvc", &restored).expect(0);
    assert_equal(&source, &restored);
    for name in ["folder", "large", "largest"] {
        rustix::fs::setxattr(restored.join(name), "user.value", b"another", XattrFlags::empty()).unwrap();
    }
    rustix::fs::removexattr(restored.join("many"), format!("user.{:0250}", 17).as_str()).unwrap();
    let ran = vault.restore(WEEK, "pvc", &restored, &["--json"]).expect(0).json();
    assert_eq!(ran["changes"], serde_json::json!({ "metadata": 4 }));
    assert_equal(&source, &restored);
}

/// Data and holes of a large file: odd places, before and behind 4 GiB.
const ISLANDS: [(u64, usize); 6] = [
    (1, 1),
    (123_456_789, 4097),
    ((1 << 31) - 100, 200),
    ((2 << 30) + 777, 3 * MIB),
    ((4 << 30) - 1, 5 * MIB + 1),
    ((5 << 30) - 1, 1),
];

#[test]
fn a_sparse_file_of_5_gib_stays_sparse() {
    let folder = Folder::new();
    let vault = Vault::new(folder.join("store"));
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    let file = File::create(source.join("large")).unwrap();
    let probe = file.set_len(5 << 30);
    if let Err(error) = probe {
        return skip("a file of 5 GiB", &error.to_string());
    }
    for (number, (at, length)) in ISLANDS.into_iter().enumerate() {
        file.write_all_at(&noise(number as u64, length), at).unwrap();
    }
    let holes = File::create(source.join("nothing but a hole")).unwrap();
    holes.set_len(1 << 30).unwrap();
    fs::write(source.join("zeros"), vec![0; 9 * MIB]).unwrap();
    drop((file, holes));
    let allocated = |root: &Path, name: &str| root.join(name).metadata().unwrap().blocks() * 512;
    let large = allocated(&source, "large");
    if large > 64 * MIB as u64 {
        return skip("a sparse file", "the file system has no holes");
    }

    let started = Instant::now();
    let report = vault.backup(WEEK, &[("pvc", &source)]);
    let read = report[0]["bytes_read"].as_u64().unwrap();
    assert!(read <= large + 10 * MIB as u64, "{read} bytes read of {large}");
    assert_eq!(report[0]["bytes"], (6_u64 << 30) + 9 * MIB as u64);
    eprintln!("backed up in {:?}", started.elapsed());

    let expected = Tree::of(&source);
    for (name, options) in [("sparse", &["--sparse"][..]), ("plain", &[])] {
        let started = Instant::now();
        let restored = folder.join(name);
        vault.restore(WEEK, "pvc", &restored, options).expect(0);
        eprintln!("{name}: restored in {:?}", started.elapsed());
        assert_same_tree(&expected, &restored);
        for (number, (at, length)) in ISLANDS.into_iter().enumerate() {
            let mut bytes = vec![0; length];
            File::open(restored.join("large")).unwrap().read_exact_at(&mut bytes, at).unwrap();
            assert!(bytes == noise(number as u64, length), "{length} bytes at {at}");
        }
        // Holes are not written, whatever is asked for; zeros that take space come back as asked.
        assert!(allocated(&restored, "large") <= large + 64 * KIB as u64);
        assert_eq!(allocated(&restored, "nothing but a hole"), 0);
        assert_eq!(allocated(&restored, "zeros") == 0, name == "sparse");
    }
    // The contents have been compared; rsync would read all the zeros, which takes it half a minute.
    let differences = common::rsync_says_of_metadata(&source, &folder.join("sparse"));
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn a_folder_of_100_000_files() {
    let folder = common::quick_folder(2 << 30, 600_000);
    let vault = Vault::new(folder.path().join("store"));
    let (source, restored) = (folder.path().join("source"), folder.path().join("restored"));
    fs::create_dir(&source).unwrap();
    for number in 0..100_000 {
        let content = if number % 10 == 0 { format!("{number}") } else { String::new() };
        fs::write(source.join(format!("{:x}-{number}", number * 7919 % 100_003)), content).unwrap();
    }
    let started = Instant::now();
    let took = |what: &str| eprintln!("{what} after {:?}", started.elapsed());
    let report = vault.backup(WEEK, &[("pvc", &source)]);
    took("backed up");
    assert_eq!((&report[0]["files"], &report[0]["new_objects"]), (&100_000.into(), &4.into()), "{report:?}");
    let report = vault.backup("2025-15", &[("pvc", &source)]);
    took("backed up again");
    assert_eq!(
        (&report[0]["new"], &report[0]["changed"], &report[0]["new_objects"]),
        (&0.into(), &0.into(), &0.into())
    );
    vault.materialize("2025-15", "pvc", &restored).expect(0);
    took("restored");
    let differences = rsync_says(&source, &restored);
    assert!(differences.is_empty(), "{differences}");
    took("compared");
}

/// Makes a chain of folders that reaches beyond what a path may have, with a file at each level. Handles of all levels.
fn plant_too_deep(root: &Path, levels: usize) -> Vec<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut chain = vec![rustix::fs::open(root, flags, Mode::empty()).unwrap()];
    for _ in 0..levels {
        let at = chain.last().unwrap().as_fd();
        let name = "d".repeat(250);
        rustix::fs::mkdirat(at, name.as_str(), Mode::RWXU).unwrap();
        let below = rustix::fs::openat(at, name.as_str(), flags, Mode::empty()).unwrap();
        let file = rustix::fs::openat(&below, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        rustix::io::write(&file, b"content").unwrap();
        chain.push(below);
    }
    chain
}

#[test]
fn what_is_too_deep_is_reported_and_the_rest_is_backed_up() {
    let folder = Folder::new();
    let vault = Vault::new(folder.join("store"));
    let source = folder.join("source");
    fs::create_dir(&source).unwrap();
    for name in ["before", "zlast"] {
        fs::write(source.join(name), name).unwrap();
    }
    vault.backup(WEEK, &[("pvc", &source)]);
    let manifest = vault.store.join(WEEK).join("pvc.manifest");
    let complete = fs::read(&manifest).unwrap();

    plant_too_deep(&source, 20);
    let ran = vault.run(common::backup_arguments(WEEK, &[("pvc", &source)])).expect(3);
    let report = &ran.json()["sources"][0];
    assert_eq!((&report["complete"], &report["unreadable"]), (&false.into(), &1.into()), "{report}");
    let error = report["problems"][0]["error"].as_str().unwrap();
    assert!(error.contains("name too long"), "{error}");
    assert!(ran.stderr.to_lowercase().contains("name too long"), "{}", ran.stderr);
    assert!(fs::read(&manifest).unwrap() == complete, "a partial manifest never replaces a complete one");
    assert!(manifest.with_file_name("pvc.partial.manifest").is_file());

    let ran = vault.run(common::backup_arguments("2025-15", &[("pvc", &source)])).expect(3);
    assert_eq!(ran.json()["retired"], serde_json::json!([]));
    vault.verify();
    let restored = folder.join("restored");
    let ran = vault.restore("2025-15", "pvc", &restored, &[]).expect(0);
    assert!(ran.stderr.contains("partial"), "{}", ran.stderr);
    let (mut all, found) = (Tree::of(&source), Tree::of(&restored));
    let root = source.as_os_str().len();
    // A name is asked of its folder, which must be within reach.
    let above = |path: &[u8]| path.iter().rposition(|&b| b == b'/').unwrap_or(0);
    all.0.retain(|path, _| root + 1 + above(path) < PATH_MAX);
    assert!(found.0.len() > 30, "{}", found.0.len());
    let differences = all.differences(&found);
    assert!(differences.is_empty(), "{differences}");

    // In place, what the backup could not reach is not extra.
    let before = Tree::of(&source);
    fs::write(source.join("extra"), "extra").unwrap();
    fs::write(source.join("before"), "changed").unwrap();
    vault.restore("2025-15", "pvc", &source, &["--delete"]).expect(0);
    let after = Tree::of(&source);
    assert!(!source.join("extra").exists());
    for path in before.0.keys() {
        assert!(after.0.contains_key(path), "deleted: {}", path.escape_ascii());
    }
}

/// Too deep for the program to have put it there, and in the way.
#[test]
fn what_is_too_deep_can_be_deleted() {
    let folder = Folder::new();
    let vault = Vault::new(folder.join("store"));
    let (source, live) = (folder.join("source"), folder.join("live"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    vault.backup(WEEK, &[("pvc", &source)]);
    copy(&source, &live);
    plant_too_deep(&live, 40);
    vault.restore(WEEK, "pvc", &live, &["--delete"]).expect(0);
    assert_equal(&source, &live);
}

/// Not root: what it may not read makes the manifest partial, and what it may not set is told.
/// Whoever holds a lease is asked to give it up, and the file is read once it is free.
#[test]
fn a_file_under_a_lease_is_waited_for() {
    const HOLDER: &str = "
import fcntl, os, signal, sys
file = os.open(sys.argv[1], os.O_RDWR)
signal.signal(signal.SIGIO, lambda *_: (fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK), sys.exit()))
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
signal.pause()
";
    let folder = Folder::new();
    let (source, target) = (folder.join("source"), folder.join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content").unwrap();
    let mut holder = Command::new("/usr/bin/python3");
    holder.args(["-c", HOLDER]).arg(source.join("file")).stdout(std::process::Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.take().unwrap()), &mut line)
        .unwrap();
    if line != "held\n" {
        holder.wait().unwrap();
        return skip("a lease", "the file system gives none");
    }
    let vault = Vault::new(folder.join("store"));
    vault.backup(WEEK, &[("pvc", &source)]);
    holder.wait().unwrap();
    vault.restore(WEEK, "pvc", &target, &[]).expect(0);
    assert_equal(&source, &target);
}

#[test]
fn without_root() {
    if !is_root() {
        return skip("dropping root's rights", "not root: the other tests ran without them");
    }
    let folder = Folder::new();
    let (source, store, restored) = (folder.join("source"), folder.join("store"), folder.join("restored"));
    set_mode(folder.path(), 0o777);
    fs::create_dir(&source).unwrap();
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        fs::write(source.join(name), name).unwrap();
        set_mode(&source.join(name), mode);
        fs::create_dir(source.join(format!("{name} folder"))).unwrap();
        fs::write(source.join(format!("{name} folder/file")), name).unwrap();
        set_mode(&source.join(format!("{name} folder")), mode | (mode & 0o444) >> 2);
    }
    // The program itself may be in a folder that is root's own.
    let program = folder.join("weekvault");
    fs::copy(env!("CARGO_BIN_EXE_weekvault"), &program).unwrap();
    let run = |arguments: &[&OsStr]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.arg("--no-cache").arg("--store").arg(&store).args(arguments).output().unwrap()
    };
    let text = |s: &str| OsString::from(s);
    let mut from = text("pvc=");
    from.push(&source);
    let output = run(&[OsStr::new("backup"), "--week".as_ref(), WEEK.as_ref(), "--source".as_ref(), &from]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    for path in ["closed", "closed folder"] {
        assert!(
            stderr.lines().any(|line| line.contains(path) && line.contains("denied")),
            "{path}: {stderr}"
        );
    }
    let restore = |more: &[&str]| {
        let mut arguments: Vec<&OsStr> =
            ["restore", "--week", WEEK, "--pvc", "pvc", "--target"].map(OsStr::new).into();
        arguments.push(restored.as_os_str());
        arguments.extend(more.iter().map(OsStr::new));
        run(&arguments)
    };
    let output = restore(&["--no-owner"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(restored.join("open folder/file")).unwrap(), "open");
    assert!(!restored.join("closed").exists());
    let left = system(Command::new("rsync").args(["-rlptHXn", "--checksum", "--itemize-changes"]).args([
        "--exclude=/closed*",
        &format!("{}/", source.display()),
        &format!("{}/", restored.display()),
    ]));
    assert_eq!(left, "");
    // In place, and with the right to delete: what the backup could not read is not extra.
    let before = Tree::of(&source);
    fs::write(source.join("extra"), "extra").unwrap();
    Vault::new(&store).restore(WEEK, "pvc", &source, &["--delete"]).expect(0);
    assert_same_tree(&before, &source);

    fs::remove_dir_all(&restored).unwrap();
    let output = restore(&[]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "owners cannot be restored: {stderr}");
    assert!(
        stderr.contains("owner") && fs::read_to_string(restored.join("open")).unwrap() == "open",
        "{stderr}"
    );
}
