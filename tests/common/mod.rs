//! What the tests of whole trees share: the program, real data, and two judges of whether trees are equal.
//!
//! One judge is rsync, which knows nothing of weekvault. The other is a walk of our own, for what rsync does not look
//! at: nanoseconds, and links that should not be there.

#![allow(dead_code, unused_imports, reason = "each test uses its own part of this")]

pub(crate) mod bench;
pub(crate) mod edits;
pub(crate) mod fate;
mod operators;
mod place;
pub(crate) mod prometheus;
pub(crate) mod pushgateway;
pub(crate) mod raw_manifest;

pub(crate) use operators::{INIT, OPERATORS, StoreKind};
pub(crate) use place::Place;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// Whether the test may set owners, make devices and read everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a part of a test is left out, and why.
pub(crate) fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED: {what}: {why}");
}

/// A temporary folder: in memory where there is room for so much, since trees that are made and compared many times
/// over keep a disk busy for long.
pub(crate) fn quick_folder(bytes: u64, inodes: u64) -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    let has_room = |s: rustix::fs::StatVfs| s.f_bavail * s.f_frsize >= bytes && s.f_favail >= inodes;
    let folder = match rustix::fs::statvfs(shared).is_ok_and(has_room) {
        true => tempfile::tempdir_in(shared).or_else(|_| tempfile::tempdir()),
        false => tempfile::tempdir(),
    };
    folder.unwrap()
}

/// The folder with the real data (`roundcube/old`, `roundcube/new`, `gnupg`); fetched if it is not there.
pub(crate) fn fixtures() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = match std::env::var_os("WEEKVAULT_FIXTURES").filter(|v| !v.is_empty()) {
            Some(folder) => root.join(folder),
            None => root.join("target/fixtures"),
        };
        let missing = || {
            ["roundcube/old", "roundcube/new", "gnupg"].into_iter().find(|name| !folder.join(name).is_dir())
        };
        if missing().is_some() {
            let script = root.join("tests/fixtures/get.sh");
            let got = Command::new(&script).arg(&folder).output();
            let got = got.unwrap_or_else(|e| panic!("cannot run {}: {e}", script.display()));
            if let Some(name) = missing() {
                panic!(
                    "no {name} in {}: {} ended with {}:\n{}{}",
                    folder.display(),
                    script.display(),
                    got.status,
                    String::from_utf8_lossy(&got.stdout),
                    String::from_utf8_lossy(&got.stderr)
                );
            }
        }
        folder
    });
    &FOLDER
}

/// A store, as whoever runs the program sees it.
pub(crate) struct Vault {
    pub(crate) store: PathBuf,
    /// Of a sealed store: the folder with the writer's and the operators' files, which commands get that need them.
    pub(crate) keys: Option<PathBuf>,
}

impl Vault {
    pub(crate) fn new(store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), keys: None }
    }

    /// A store that cuts very small chunks, so that small trees have many.
    pub(crate) fn with_small_chunks(store: impl Into<PathBuf>) -> Self {
        let vault = Self::new(store);
        std::fs::create_dir_all(&vault.store).unwrap();
        let document = serde_json::json!({
            "format": "weekvault",
            "version": 1,
            "id": "00112233445566778899aabbccddeeff",
            "chunking": { "method": "fastcdc-v2020", "min": 64, "avg": 256, "max": 1024 },
            "hash": "blake3",
            "seal": "zstd",
            "created": "2025-01-01T00:00:00Z",
            "created_by": "a test",
        });
        std::fs::write(vault.store.join("store.json"), document.to_string()).unwrap();
        vault
    }

    /// The program on this store, with no environment and no cache of the user's.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weekvault"));
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.as_bytes().starts_with(b"WEEKVAULT_")) {
            command.env_remove(name);
        }
        command.arg("--no-cache").arg("--store").arg(&self.store).stdin(Stdio::null());
        command
    }

    /// Runs the program with these arguments.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.command();
        command.args(self.with_keys(arguments));
        Ran::of(command)
    }

    /// The same with no more memory than the pod has, not even addresses of it, and with a minute's time: whatever the
    /// bytes in the store are, the program neither crashes nor hangs.
    #[track_caller]
    pub(crate) fn run_confined<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        let mut command = confined(&self.command());
        command.args(self.with_keys(arguments));
        Ran::of(command).unharmed()
    }

    /// The same with ten seconds of processor time; with some more for a program that was built for tests.
    pub(crate) fn run_briefly<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        let program = self.command();
        let mut brief = Command::new("prlimit");
        let seconds = if cfg!(debug_assertions) { "--cpu=40" } else { "--cpu=10" };
        brief.arg(seconds).arg(program.get_program()).args(program.get_args());
        for (name, _) in program.get_envs().filter(|(_, value)| value.is_none()) {
            brief.env_remove(name);
        }
        let mut command = confined(&brief);
        command.args(self.with_keys(arguments));
        Ran::of(command).unharmed()
    }

    /// Backs up into a week; the sources' part of the report.
    pub(crate) fn backup(&self, week: &str, sources: &[(&str, &Path)]) -> Vec<Value> {
        let ran = self.run(backup_arguments(week, sources));
        match ran.expect(0).json()["sources"].take() {
            Value::Array(sources) => sources,
            other => panic!("no sources: {other}"),
        }
    }

    /// Restores in place, or anew where nothing is, however much of that goes; `more` are further options.
    pub(crate) fn restore(&self, week: &str, pvc: &str, target: &Path, more: &[&str]) -> Ran {
        let mut arguments: Vec<&OsStr> =
            ["restore", "--yes", "--week", week, "--pvc", pvc, "--target"].map(OsStr::new).into();
        arguments.push(target.as_os_str());
        arguments.extend(more.iter().map(OsStr::new));
        self.run(arguments)
    }

    pub(crate) fn materialize(&self, week: &str, pvc: &str, target: &Path) -> Ran {
        let mut arguments: Vec<&OsStr> = ["materialize", "--week", week, "--pvc", pvc].map(OsStr::new).into();
        arguments.push(target.as_os_str());
        self.run(arguments)
    }

    /// Checks that a full verify finds no damage; its report.
    #[track_caller]
    pub(crate) fn verify(&self) -> Value {
        let report = self.run(["verify", "--json"]).expect(0).json();
        assert_eq!(report["damaged_objects"].as_array().unwrap().len(), 0, "{report}");
        assert_eq!(report["damaged_manifests"].as_array().unwrap().len(), 0, "{report}");
        report
    }
}

/// A command with 256 MiB of addresses and a minute.
pub(crate) fn confined(command: &Command) -> Command {
    let mut confined = Command::new("timeout");
    confined.args(["60", "prlimit", "--as=268435456", "--core=0"]).arg(command.get_program());
    confined.args(command.get_args()).stdin(Stdio::null());
    // Each arena of glibc takes 64 MiB of addresses, used or not.
    confined.env("MALLOC_ARENA_MAX", "1");
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        confined.env_remove(name);
    }
    confined
}

pub(crate) fn backup_arguments(week: &str, sources: &[(&str, &Path)]) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["backup", "--json", "--week", week].map(OsString::from).into();
    for (pvc, path) in sources {
        let mut source = OsString::from(format!("{pvc}="));
        source.push(path);
        arguments.extend(["--source".into(), source]);
    }
    arguments
}

/// What a run of the program came to.
pub(crate) struct Ran {
    command: String,
    pub(crate) code: Option<i32>,
    /// Stdout, as it is and as text.
    pub(crate) bytes: Vec<u8>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Self {
            command: format!("{command:?}"),
            code: status.code(),
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            bytes: stdout,
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// Checks that the program came to an end of its own: no panic, no signal, memory enough, in time.
    #[track_caller]
    pub(crate) fn unharmed(self) -> Self {
        let ended = self.code.is_some_and(|code| (0..=4).contains(&code));
        let cried = ["panicked", "memory allocation", "overflow"].iter().any(|cry| self.stderr.contains(cry));
        assert!(ended && !cried, "{self}");
        self
    }

    /// What must be on stdout or stderr.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text) || self.stdout.contains(text), "no {text:?} in\n{self}");
        self
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        assert!(!self.stderr.contains("panicked"), "{self}");
        self
    }

    /// Stdout, which must be one JSON document on one line.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// Stdout, which must be JSON lines.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}\n{self}"));
        self.stdout.lines().map(parse).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, code, stdout, stderr, .. } = self;
        write!(f, "{command}\nended with {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// A command of the system, run to its end; panics with its output unless it succeeds.
#[track_caller]
pub(crate) fn system(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|e| panic!("cannot run {command:?}: {e} (tests/run installs it)"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A path with a slash at its end: for rsync, what is in the folder.
fn contents_of(folder: &Path) -> OsString {
    let mut path = folder.as_os_str().to_owned();
    path.push("/");
    path
}

/// Makes `target` a copy of `source`: all that rsync can copy, and nothing else in it.
#[track_caller]
pub(crate) fn copy(source: &Path, target: &Path) {
    let mut rsync = Command::new("rsync");
    // To the nanosecond: else a folder that was changed this very second keeps the time at which its copy was made.
    rsync.args(["-aHAX", "--delete", "--modify-window=-1"]);
    system(rsync.arg(contents_of(source)).arg(contents_of(target)));
}

/// What rsync would do to make `target` equal to `source`; nothing where it is.
#[track_caller]
pub(crate) fn rsync_says(source: &Path, target: &Path) -> String {
    rsync(source, target, &["--checksum"])
}

/// The same, but of files with the same size and mtime rsync reads none.
#[track_caller]
pub(crate) fn rsync_says_of_metadata(source: &Path, target: &Path) -> String {
    rsync(source, target, &[])
}

#[track_caller]
fn rsync(source: &Path, target: &Path, more: &[&str]) -> String {
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHAXn", "--delete", "--itemize-changes"]).args(more);
    // To the nanosecond, not to the second.
    rsync.arg("--modify-window=-1");
    system(rsync.arg(contents_of(source)).arg(contents_of(target)))
}

/// Both judges on whether `target` equals `source`.
#[track_caller]
pub(crate) fn assert_equal(source: &Path, target: &Path) {
    let differences = rsync_says(source, target);
    assert!(
        differences.is_empty(),
        "rsync, of {} and {}:\n{differences}",
        source.display(),
        target.display()
    );
    assert_same_tree(&Tree::of(source), target);
}

/// Our own judge on whether the tree at `target` is as `expected`.
#[track_caller]
pub(crate) fn assert_same_tree(expected: &Tree, target: &Path) {
    let differences = expected.differences(&Tree::of(target));
    assert!(differences.is_empty(), "{} differs:\n{differences}", target.display());
}

/// All that should be the same in two equal trees, by path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tree(pub(crate) BTreeMap<Vec<u8>, Node>);

/// A path of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u64),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same inode, where that is another one.
    pub(crate) link_to: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Folder,
    File { size: u64, hash: blake3::Hash },
    Symlink(Vec<u8>),
    Fifo,
    Socket,
    Device(FileType, u64),
}

impl Tree {
    /// Looks at a tree, and reads all of it.
    pub(crate) fn of(root: &Path) -> Self {
        let (mut nodes, mut firsts) = (BTreeMap::new(), HashMap::new());
        walk(root, |path, folder, name, stat| {
            nodes.insert(path.to_vec(), node(path, folder, name, stat, &mut firsts));
        });
        Self(nodes)
    }

    /// What is different in `other`, a line each, the first few; nothing where they are equal.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let mut text = String::new();
        let mut count = 0;
        for path in self.0.keys().chain(other.0.keys().filter(|p| !self.0.contains_key(*p))) {
            let (a, b) = (self.0.get(path), other.0.get(path));
            if a != b {
                count += 1;
                if count <= 20 {
                    let _ = writeln!(text, "{:?}:\n  - {a:?}\n  + {b:?}", OsStr::from_bytes(path));
                }
            }
        }
        if count > 20 {
            let _ = writeln!(text, "and {} more", count - 20);
        }
        text
    }
}

fn node(
    path: &[u8],
    folder: &OwnedFd,
    name: &OsStr,
    stat: &Stat,
    firsts: &mut HashMap<(u64, u64), Vec<u8>>,
) -> Node {
    let file_type = FileType::from_raw_mode(stat.st_mode);
    let open =
        |flags| rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let what = match file_type {
        FileType::Directory => What::Folder,
        FileType::RegularFile => {
            // Without the right to read it, a file is compared by the rest.
            let hash = open(OFlags::RDONLY).map_or(blake3::hash(b""), |fd| hash(fd, stat));
            What::File { size: stat.st_size as u64, hash }
        }
        FileType::Symlink => {
            What::Symlink(rustix::fs::readlinkat(folder, name, Vec::new()).unwrap().into_bytes())
        }
        FileType::Fifo => What::Fifo,
        FileType::Socket => What::Socket,
        device => What::Device(device, stat.st_rdev),
    };
    let mut link_to = None;
    if stat.st_nlink > 1 && file_type != FileType::Directory {
        link_to = firsts.get(&(stat.st_dev, stat.st_ino)).cloned();
        firsts.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.to_vec());
    }
    let place = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    Node {
        what,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        xattrs: xattrs(&place),
        link_to,
    }
}

/// The hash of a file's content. Of a huge one, only of the pieces that are not all zeros, and of their places: the
/// same whether zeros are holes or not, and quick.
fn hash(fd: OwnedFd, stat: &Stat) -> blake3::Hash {
    const HUGE: u64 = 1 << 29;
    const PIECE: u64 = 64 << 10;
    let mut file = std::fs::File::from(fd);
    let mut hasher = blake3::Hasher::new();
    let size = stat.st_size as u64;
    if size < HUGE {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        return hasher.update(&bytes).finalize();
    }
    let (mut at, mut piece) = (0, Vec::new());
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        let place = data / PIECE * PIECE;
        file.seek(SeekFrom::Start(place)).unwrap();
        piece.clear();
        file.by_ref().take(PIECE).read_to_end(&mut piece).unwrap();
        if piece.iter().any(|&b| b != 0) {
            hasher.update(&place.to_le_bytes()).update(&piece);
        }
        at = place + PIECE;
    }
    hasher.finalize()
}

fn xattrs(place: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let Ok(length @ 1..) = rustix::fs::llistxattr_query(place) else { return BTreeMap::new() };
    let mut names = vec![0; length];
    let length = rustix::fs::llistxattr(place, names.as_mut_slice()).unwrap();
    names.truncate(length);
    let mut xattrs = BTreeMap::new();
    for name in names.split(|&b| b == 0).filter(|n| !n.is_empty()) {
        if let Ok(length) = rustix::fs::lgetxattr_query(place, name) {
            let mut value = vec![0; length];
            rustix::fs::lgetxattr(place, name, value.as_mut_slice()).unwrap();
            xattrs.insert(name.to_vec(), value);
        }
    }
    xattrs
}

/// What tells whether a path was touched at all: even the same done once more shows in the ctime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inode {
    pub(crate) number: u64,
    ctime: (i64, u64),
    mtime: (i64, u64),
    mode: u32,
    links: u64,
}

pub(crate) type Inodes = BTreeMap<Vec<u8>, Inode>;

/// The inode of each path.
pub(crate) fn inodes(root: &Path) -> Inodes {
    let mut all = BTreeMap::new();
    walk(root, |path, _, _, s| {
        let (ctime, mtime) = ((s.st_ctime, s.st_ctime_nsec), (s.st_mtime, s.st_mtime_nsec));
        let inode = Inode { number: s.st_ino, ctime, mtime, mode: s.st_mode, links: s.st_nlink };
        all.insert(path.to_vec(), inode);
    });
    all
}

/// Visits a tree, the root first, siblings by raw bytes; paths may be longer than the system takes at once.
fn walk(root: &Path, mut visit: impl FnMut(&[u8], &OwnedFd, &OsStr, &Stat)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        rustix::fs::open(root, flags, Mode::empty()).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let stat = rustix::fs::fstat(&root).unwrap();
    visit(b"", &root, OsStr::new("."), &stat);
    // A handle for each level would be too many in a deep tree: only those of folders with folders to come are kept.
    let mut todo = vec![(Vec::new(), std::rc::Rc::new(root), OsString::from("."))];
    while let Some((path, parent, name)) = todo.pop() {
        // Without the right to list it, a folder is compared by the rest.
        let Ok(folder) =
            rustix::fs::openat(parent.as_fd(), name.as_os_str(), flags | OFlags::NOFOLLOW, Mode::empty())
        else {
            continue;
        };
        drop(parent);
        let folder = std::rc::Rc::new(folder);
        let mut names: Vec<OsString> = Dir::read_from(folder.as_fd())
            .unwrap()
            .map(|entry| OsStr::from_bytes(entry.unwrap().file_name().to_bytes()).to_owned())
            .filter(|name| name != "." && name != "..")
            .collect();
        names.sort_unstable();
        let mut folders = Vec::new();
        for name in names {
            let stat =
                rustix::fs::statat(folder.as_fd(), name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW).unwrap();
            let mut path = path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
            visit(&path, &folder, &name, &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                folders.push((path, std::rc::Rc::clone(&folder), name));
            }
        }
        todo.extend(folders.into_iter().rev());
    }
}
