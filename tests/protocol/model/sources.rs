//! Small trees to back up, one state of them after the other, and what a manifest of each must hold.

use rustix::fs::FileType;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use weekvault::ops::backup::Source;

/// What a tree has at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Folder,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Link(Vec<u8>),
}

/// What a tree holds, by path: mode, mtime, and what is there.
pub(crate) type Tree = BTreeMap<Vec<u8>, (u32, i64, What)>;

/// The states that the sources go through.
pub(crate) struct Sources {
    folder: tempfile::TempDir,
    /// By state and name.
    pub(crate) trees: Vec<BTreeMap<String, Tree>>,
}

pub(crate) const NAMES: [&str; 2] = ["enigma", "html"];

impl Sources {
    pub(crate) fn new(states: usize) -> Self {
        let folder = crate::common::quick_folder(16 << 20, 1000);
        let mut sources = Self { folder, trees: Vec::new() };
        for state in 0..states {
            let mut trees = BTreeMap::new();
            for name in NAMES {
                let root = sources.path(state, name);
                fs::create_dir_all(&root).unwrap();
                write(&root, name, state);
                trees.insert(name.to_owned(), read(&root));
            }
            sources.trees.push(trees);
        }
        sources
    }

    fn path(&self, state: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("{state}/{name}"))
    }

    pub(crate) fn of_state(&self, state: usize) -> Vec<Source> {
        let source = |name: &str| Source { pvc: name.parse().unwrap(), path: self.path(state, name) };
        NAMES.map(source).into()
    }

    /// A folder beside the sources.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Bytes that do not compress to nothing, the same for the same numbers.
fn bytes(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    // Text compresses a little.
    bytes.iter_mut().for_each(|b| *b = b' ' + *b % 64);
    bytes
}

fn write(root: &Path, name: &str, state: usize) {
    let put = |path: &str, version: usize, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        set_time(&file, version);
    };
    if name == "enigma" {
        put("keyring", state / 2, &bytes(&format!("keyring {}", state / 2), 300));
        put("empty", 0, b"");
        set_time(&File::open(root).unwrap(), state);
        return;
    }
    put("kept", 0, &bytes("kept", 700));
    // Large: cut on its own. Its end stays the same.
    let mut large = bytes("large", 1500);
    large[..200].copy_from_slice(&bytes(&format!("large {state}"), 200));
    put("d/large", state, &large);
    put("d/log", state, &bytes("log", 150 + 90 * state));
    // It moves.
    put(&format!("d/moved{}", state % 3), 0, &bytes("moved", 260));
    if state.is_multiple_of(2) {
        // It comes and goes: its chunks are garbage now and then.
        put("sometimes", 0, &bytes("sometimes", 400));
    }
    fs::hard_link(root.join("kept"), root.join("linked")).unwrap();
    symlink("d/log", root.join("symlink")).unwrap();
    fs::set_permissions(root.join("kept"), fs::Permissions::from_mode(0o640)).unwrap();
    for folder in ["d", ""] {
        set_time(&File::open(root.join(folder)).unwrap(), state);
    }
}

/// Long ago, so that what did not change is not read again.
fn set_time(file: &File, version: usize) {
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000 + 1000 * version as u64))
        .unwrap();
}

/// What is in a folder.
pub(crate) fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut links = HashMap::new();
    let mut todo = vec![(Vec::new(), root.to_path_buf())];
    while let Some((path, place)) = todo.pop() {
        let meta = fs::symlink_metadata(&place).unwrap();
        let what = match FileType::from_raw_mode(meta.mode()) {
            FileType::Directory => {
                for entry in fs::read_dir(&place).unwrap() {
                    let name = entry.unwrap().file_name();
                    let mut path = path.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend(name.as_bytes());
                    todo.push((path, place.join(name)));
                }
                What::Folder
            }
            FileType::Symlink => {
                What::Symlink(fs::read_link(&place).unwrap().as_os_str().as_bytes().to_vec())
            }
            _ => What::File(fs::read(&place).unwrap()),
        };
        if meta.nlink() > 1 && !meta.is_dir() {
            links.entry(meta.ino()).or_insert_with(Vec::new).push(path.clone());
        }
        let mtime = if meta.is_symlink() { 0 } else { meta.mtime() };
        tree.insert(path, (meta.mode() & 0o7777, mtime, what));
    }
    for mut paths in links.into_values() {
        paths.sort();
        for path in &paths[1..] {
            tree.get_mut(path).unwrap().2 = What::Link(paths[0].clone());
        }
    }
    tree
}
