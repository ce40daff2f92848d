//! The root of a source: opened once, and all of the tree is reached below that handle.

use super::SourceError;
use super::error::is_absent;
use super::stat::{stat_at, stat_open};
use crate::model::{ArchivePath, Stat, Timestamp};
use crate::sys::{is_remote, open_within, refresh};
use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags};
use std::collections::HashSet;
use std::ffi::CStr;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A source's root, by a handle that stays what it is wherever the tree is moved, and whatever is mounted over it. Clones
/// share it.
#[derive(Clone, Debug)]
pub struct SourceRoot(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    path: PathBuf,
    folder: OwnedFd,
    stat: Stat,
    /// Directories of which names were listed for good that could not be found.
    haunted: AtomicU32,
    /// Files that changed since then are to be flushed one by one, before they are read.
    flush_since: OnceLock<Timestamp>,
}

/// Linux writes a page that was changed through a mapping out after half a minute, unless it is told to wait longer.
const LONGEST_DIRTY: i64 = 120;

impl SourceRoot {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |operation, e: rustix::io::Errno| SourceError::new(&ArchivePath::root(), operation, e);
        let folder = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| failed("open", e))?;
        let stat = stat_open(folder.as_fd()).map_err(|e| failed("stat", e))?;
        let haunted = AtomicU32::default();
        let flush_since = OnceLock::new();
        Ok(Self(Arc::new(Opened { path: path.to_path_buf(), folder, stat, haunted, flush_since })))
    }

    /// Where it was when it was opened.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Whether each question to its file system may cross a network.
    pub fn is_remote(&self) -> bool {
        is_remote(&self.0.path)
    }

    /// What it was when it was opened.
    pub(super) fn stat(&self) -> Stat {
        self.0.stat
    }

    /// The handle, which takes no reads.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.0.folder.as_fd()
    }

    /// Has its file system write out what was changed through mappings. A page that is written out already is the only one
    /// of which the next change moves the file's times: what is read of others could change later without a sign.
    /// Where a file system cannot be flushed as a whole, young files are flushed one by one as they are read; the error is for
    /// who wants to tell of it.
    ///
    /// # Errors
    /// [`io::Error`] of the flush.
    pub fn flush(&self, now: Timestamp) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(self.handle(), ".", flags, Mode::empty());
        let flushed = folder.and_then(rustix::fs::syncfs);
        if flushed.is_err() {
            let _ = self.0.flush_since.set(now.plus_seconds(-LONGEST_DIRTY));
        }
        Ok(flushed?)
    }

    /// Whether a file of these times is to be flushed before it is read.
    pub(super) fn is_to_flush(&self, stat: &Stat) -> bool {
        self.0.flush_since.get().is_some_and(|since| stat.mtime >= *since || stat.ctime >= *since)
    }

    /// Whether its path still leads to it: what is read below the handle is the source only as long as it does.
    ///
    /// # Errors
    /// [`io::Error`] when the path cannot be looked at, as where nothing stands there any more.
    pub fn is_still_there(&self) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let now = rustix::fs::open(&self.0.path, flags, Mode::empty())?;
        let (now, then) = (stat_open(now.as_fd())?, self.0.stat);
        let same_mount = match (now.mount, then.mount) {
            (Some(now), Some(then)) => now == then,
            _ => true,
        };
        Ok(same_mount && (now.device, now.inode) == (then.device, then.inode))
    }

    /// Opens a directory below it for listing; `ResolveFlags::NO_XDEV` keeps to the root's mount.
    pub(super) fn open_folder(&self, path: &ArchivePath, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
        // A tree that leads to deeper places than a path can name is not followed there.
        if path.as_bytes().len() >= PATH_MAX {
            return Err(rustix::io::Errno::NAMETOOLONG);
        }
        open_within(self.handle(), path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY, more)
    }

    /// What stands at a path now.
    pub(super) fn look(&self, path: &ArchivePath) -> io::Result<Stat> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(stat_open(self.handle())?);
        };
        let folder = open_within(
            self.handle(),
            parent.as_path(),
            OFlags::PATH | OFlags::DIRECTORY,
            ResolveFlags::empty(),
        )?;
        Ok(stat_at(folder.as_fd(), name.as_bytes())?)
    }

    /// How often to look again for what is listed and not found: where whole trees are like that, less often.
    pub(super) fn attempts(&self) -> u32 {
        if self.0.haunted.load(Ordering::Relaxed) < 8 { 8 } else { 2 }
    }

    pub(super) fn found_haunted(&self) {
        self.0.haunted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Bytes of a path that the kernel takes in one call.
const PATH_MAX: usize = 4096;

/// Hands each name in an open directory to `take`, with its inode number and type as the listing has them.
///
/// # Errors
/// Of the first call that fails. `ENOENT` says that the directory has been removed.
pub(super) fn each_name(
    folder: BorrowedFd<'_>,
    mut take: impl FnMut(&[u8], (u64, u32)),
) -> rustix::io::Result<()> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut names = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = names.next() {
        let entry = entry?;
        match CStr::to_bytes(entry.file_name()) {
            b"." | b".." => {}
            name => take(name, (entry.ino(), entry.file_type().as_raw_mode())),
        }
    }
    Ok(())
}

/// Tells what is gone from what only cannot be found: `ENOENT` for a name is no proof, since a file system may list names
/// that it does not find, and a whole tree may have gone away.
pub(super) struct Absence {
    root: SourceRoot,
    hasher: RandomState,
    /// The directory that was listed last, and hashes of the names in it.
    listed: Option<(ArchivePath, HashSet<u64>)>,
}

impl Absence {
    pub(super) fn of(root: &SourceRoot) -> Self {
        Self { root: root.clone(), hasher: RandomState::new(), listed: None }
    }

    /// Whether a path, at which something could not be found just now, is gone: its directory does not list it any more,
    /// or is gone itself. The root never is.
    ///
    /// # Errors
    /// Where a directory on the way cannot be listed.
    pub(super) fn is_gone(&mut self, path: &ArchivePath) -> io::Result<bool> {
        let mut path = path.clone();
        while let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            let name = self.hasher.hash_one(name.as_bytes());
            // Not listed a while ago and not found now: it went before that listing.
            if self.listed.as_ref().is_some_and(|(known, names)| *known == parent && !names.contains(&name)) {
                return Ok(true);
            }
            match self.list(&parent) {
                Ok(names) => {
                    let gone = !names.contains(&name);
                    self.listed = Some((parent, names));
                    return Ok(gone);
                }
                Err(error) if is_absent(&error) => path = parent,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn list(&self, folder: &ArchivePath) -> io::Result<HashSet<u64>> {
        let folder = self.root.open_folder(folder, ResolveFlags::empty())?;
        refresh(folder.as_fd());
        let mut names = HashSet::new();
        each_name(folder.as_fd(), |name, _| {
            names.insert(self.hasher.hash_one(name));
        })?;
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_path_is_gone_when_nothing_lists_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        let root = SourceRoot::open(dir.path()).unwrap();
        let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap();
        let gone = |p: &str| Absence::of(&root).is_gone(&path(p)).unwrap();
        assert!(!gone("a/b/c") && gone("a/b/d") && gone("a/x/y/z") && !gone(""));
        let mut absence = Absence::of(&root);
        assert!(!absence.is_gone(&path("a/b/c")).unwrap());
        fs::remove_dir_all(dir.path().join("a")).unwrap();
        assert!(absence.is_gone(&path("a/b/c")).unwrap() && gone("a/b/c"));
        fs::write(dir.path().join("a"), b"a file by now").unwrap();
        assert!(!gone("a") && !gone("a/b/c"), "what stands there by now is not in the manifest");
        assert!(root.is_still_there().unwrap());
    }

    #[test]
    fn a_root_that_was_moved_or_replaced_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("source");
        fs::create_dir(&path).unwrap();
        let root = SourceRoot::open(&path).unwrap();
        assert!(root.is_still_there().unwrap());
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(root.is_still_there().is_err());
        fs::create_dir(&path).unwrap();
        assert!(!root.is_still_there().unwrap());
    }
}
