//! Where the store is, told by what it is: a bind mount, a second mount of its share or a symbolic link leads to the same
//! directory by another path, and no comparison of paths shows that.

use super::stat::stat_open;
use crate::model::{Stat, Week};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// The file that a store describes itself in.
pub(super) const STORE_JSON: &[u8] = b"store.json";
/// It has a few hundred bytes.
const MAX_STORE_JSON: u64 = 64 << 10;

/// Device and inode.
type Id = (u64, u64);

/// The place of a store in this machine's file systems.
#[derive(Default, Debug)]
pub struct StorePlace {
    /// The root; none where there is no directory yet, or the store is not in a file system.
    root: Option<Id>,
    path: Option<PathBuf>,
    /// What the store calls itself; empty where that is not known.
    id: String,
    /// What is in it.
    inner: OnceLock<Vec<Id>>,
    /// The root, where it exists, and the directories above it.
    above: OnceLock<Vec<Id>>,
}

impl StorePlace {
    /// The place of an open store: its root as (device, inode), the path that it was opened by, and its id. Another mount
    /// may show it as another device, so a directory with a `store.json` of this id is the store as well.
    pub fn new(root: Option<(u64, u64)>, path: Option<&Path>, id: &str) -> Self {
        let (path, id) = (path.map(Path::to_path_buf), id.to_owned());
        Self { root, path, id, inner: OnceLock::new(), above: OnceLock::new() }
    }

    /// The place of a store that is, or would be, at `path`.
    pub fn at(path: &Path) -> Self {
        let found = path.metadata().ok().filter(std::fs::Metadata::is_dir);
        Self::new(found.map(|m| (m.dev(), m.ino())), Some(path), "")
    }

    /// Whether this is the store's root.
    pub(super) fn is_root(&self, stat: &Stat) -> bool {
        self.root == Some((stat.device, stat.inode))
    }

    /// Whether this open directory is the store's root. What is a copy of the store says the same of itself.
    pub(super) fn is_root_open(&self, folder: BorrowedFd<'_>, stat: &Stat) -> bool {
        self.is_root(stat) || self.is_described_in(folder)
    }

    /// Whether a directory has a `store.json` with the store's id.
    pub(super) fn is_described_in(&self, folder: BorrowedFd<'_>) -> bool {
        if self.id.is_empty() {
            return false;
        }
        // Looked at before it is opened: opening a device may do something.
        let found = rustix::fs::statat(folder, STORE_JSON, AtFlags::SYMLINK_NOFOLLOW);
        if !found.is_ok_and(|f| FileType::from_raw_mode(f.st_mode) == FileType::RegularFile) {
            return false;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(folder, STORE_JSON, flags, Mode::empty()) else { return false };
        let mut text = Vec::new();
        let read = File::from(file).take(MAX_STORE_JSON).read_to_end(&mut text);
        read.is_ok() && text.windows(self.id.len()).any(|part| part == self.id.as_bytes())
    }

    /// Whether this very directory is at a path.
    pub fn is(&self, path: &Path) -> bool {
        self.root.is_some() && self.root == id_at(path)
    }

    /// Whether a path, which need not exist yet, is the store or in it.
    pub fn contains(&self, path: &Path) -> bool {
        let Some(real) = existing(path) else { return false };
        real.ancestors()
            .any(|above| self.is_root_at(above) || id_at(above).is_some_and(|id| self.is_inner_id(id)))
    }

    /// Whether a path is in what the store keeps for itself: in it, but not in the directory of a week, where there may
    /// also be copies that another tool made.
    pub fn keeps(&self, path: &Path) -> bool {
        let Some(real) = existing(path) else { return false };
        let mut below: Option<&Path> = None;
        for above in real.ancestors() {
            match below {
                Some(child) if self.is_root_at(above) => return !is_week(child.file_name()),
                _ if self.is_mounted_apart(above)
                    && id_at(above).is_some_and(|id| self.is_inner_id(id))
                    && !is_week(above.file_name()) =>
                {
                    return true;
                }
                _ => below = Some(above),
            }
        }
        false
    }

    /// Whether the store is, or would be, at a path or below it.
    pub fn is_within(&self, path: &Path) -> bool {
        let Some(id) = id_at(path) else { return false };
        if self.is_root_at(path) {
            return true;
        }
        let look = || {
            let real = self.path.as_deref().and_then(existing).unwrap_or_default();
            real.ancestors().filter_map(id_at).collect()
        };
        self.above.get_or_init(look).contains(&id)
    }

    fn is_root_at(&self, path: &Path) -> bool {
        match (open(path), id_at(path)) {
            (Some(folder), Some(id)) => self.root == Some(id) || self.is_described_in(folder.as_fd()),
            (None, Some(id)) => self.root == Some(id),
            _ => false,
        }
    }

    /// Whether a path is reached by another mount than the store: only then can it be a directory of the store without having
    /// the store's root above it.
    fn is_mounted_apart(&self, path: &Path) -> bool {
        let mount = |path: &Path| open(path).and_then(|fd| stat_open(fd.as_fd()).ok()?.mount);
        let store = self.path.as_deref().and_then(mount);
        store.is_none() || mount(path) != store
    }

    /// Whether this is a directory in the store: one of those may be mounted elsewhere by itself.
    pub(super) fn is_inner(&self, stat: &Stat) -> bool {
        self.is_inner_id((stat.device, stat.inode))
    }

    fn is_inner_id(&self, id: Id) -> bool {
        // Asked of the store only where it may be.
        self.root.is_some_and(|(device, _)| device == id.0)
            && self.inner.get_or_init(|| self.look_inside()).contains(&id)
    }

    /// What is in the store, two levels deep: an object's directory is the deepest that is known by name. By the numbers of
    /// the listings alone, which cost no look at each.
    fn look_inside(&self) -> Vec<Id> {
        let Some((path, (device, _))) = self.path.as_ref().zip(self.root) else { return Vec::new() };
        let list = |folder: &Path| folder.read_dir().into_iter().flatten().flatten();
        let mut inner = Vec::new();
        for entry in list(path) {
            inner.push((device, entry.ino()));
            // A week has no directories but those of other tools.
            if !is_week(Some(&entry.file_name())) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let folders = list(&entry.path()).filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
                inner.extend(folders.map(|entry| (device, entry.ino())));
            }
        }
        inner
    }
}

fn is_week(name: Option<&OsStr>) -> bool {
    name.and_then(OsStr::to_str).is_some_and(|name| name.parse::<Week>().is_ok())
}

fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

fn id_at(path: &Path) -> Option<Id> {
    path.metadata().ok().map(|m| (m.dev(), m.ino()))
}

/// What is there already of a path: the last of it that exists, without symbolic links. What is missing on the way leads
/// nowhere else once it is made.
fn existing(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    let (mut real, mut missing) = (PathBuf::from("/"), 0_usize);
    for component in std::path::absolute(path).ok()?.components() {
        match component {
            Component::Normal(name) if missing == 0 => match real.join(name).canonicalize() {
                Ok(found) => real = found,
                Err(_) => missing = 1,
            },
            Component::Normal(_) => missing += 1,
            Component::ParentDir if missing > 0 => missing -= 1,
            Component::ParentDir => drop(real.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    /// A store below a directory whose name is not UTF-8, and its place.
    fn store() -> (tempfile::TempDir, PathBuf, StorePlace) {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().join(OsStr::from_bytes(b"b\xe4r"));
        let root = above.join("vault");
        fs::create_dir_all(root.join("objects/ab")).unwrap();
        fs::create_dir_all(root.join("2025-14/html")).unwrap();
        fs::write(root.join("store.json"), format!("{{\"id\":\"{ID}\"}}")).unwrap();
        let place = StorePlace { id: ID.to_owned(), ..StorePlace::at(&root) };
        (dir, above, place)
    }

    #[test]
    fn what_is_in_the_store_and_what_it_is_in() {
        let (dir, above, place) = store();
        symlink(above.join("vault"), dir.path().join("link")).unwrap();
        for inside in ["vault", "vault/objects/ab", "vault/new/deep", "gone/../vault/x", "gone/x/../../vault"]
        {
            assert!(place.contains(&above.join(inside)), "{inside}");
        }
        assert!(place.contains(&dir.path().join("link/new")));
        for outside in ["", "vault-2", "vault/..", "vault/new/../../x", "gone/vault"] {
            assert!(!place.contains(&above.join(outside)), "{outside}");
        }
        assert!(place.keeps(&above.join("vault/objects/ab")) && place.keeps(&above.join("vault/objects")));
        assert!(!place.keeps(&above.join("vault/2025-14/html")) && !place.keeps(&above.join("vault")));
        for around in [dir.path(), &above, &above.join("vault"), &dir.path().join("link")] {
            assert!(place.is_within(around), "{around:?}");
        }
        assert!(!place.is_within(&above.join("vault/objects")) && !place.is_within(&above.join("gone")));
    }

    #[test]
    fn a_store_that_is_not_there_yet_would_be_where_its_path_leads() {
        let (dir, above, _) = store();
        let place = StorePlace::at(&above.join("sub/new/vault"));
        assert!(place.is_within(dir.path()) && place.is_within(&above));
        assert!(!place.is_within(&above.join("vault")) && !place.contains(&above.join("sub")));
    }

    #[test]
    fn another_mount_is_told_by_the_id() {
        let (_dir, above, place) = store();
        // As a second mount of the share shows it: by another device.
        let place = StorePlace { root: place.root.map(|(device, inode)| (device + 1, inode)), ..place };
        assert!(place.contains(&above.join("vault/new")) && place.is_within(&above.join("vault")));
        fs::write(above.join("vault/store.json"), "{\"id\":\"another\"}").unwrap();
        assert!(!place.contains(&above.join("vault/new")) && !place.is_within(&above.join("vault/objects")));
        fs::remove_file(above.join("vault/store.json")).unwrap();
        rustix::fs::mknodat(CWD, above.join("vault/store.json"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert!(!place.contains(&above.join("vault/new")), "a fifo is not waited for");
    }
}
