//! The entries of a live tree in path order.

use super::exclude::{CACHE_TAG, Excludes, is_cache_folder};
use super::stat::{stat_at, stat_of};
use crate::model::{ArchivePath, NodeKind, Patience, Problem, Stat, is_passing};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use walkdir::WalkDir;

/// How to walk.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// What to leave out.
    pub excludes: Option<Excludes>,
    /// Leave out what is in folders that carry a `CACHEDIR.TAG`, but for the tag.
    pub exclude_caches: bool,
    /// Enter folders on other file systems.
    pub cross_filesystems: bool,
    /// Leave out `lost+found` at the root.
    pub skip_lost_and_found: bool,
}

impl WalkOptions {
    /// Everything below the root, on every file system.
    pub fn everything() -> Self {
        Self { excludes: None, exclude_caches: false, cross_filesystems: true, skip_lost_and_found: false }
    }
}

/// A path of a live tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Relative to the root.
    pub path: ArchivePath,
    /// What stands there.
    pub stat: Stat,
}

/// What a walk comes upon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Walked {
    /// An entry of the tree.
    Found(Found),
    /// Something that could not be looked at.
    Problem(Problem),
    /// Something left out on request.
    Skipped(ArchivePath, Skip),
    /// Something that went away between being listed and being looked at.
    Vanished(ArchivePath),
}

/// Why something was left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
    /// A pattern matches it.
    Excluded,
    /// It is in a cache folder.
    Cache,
    /// It is on another file system. The folder itself is in the tree, what is in it is not.
    OtherFilesystem,
    /// It is `lost+found` at the root.
    LostAndFound,
}

/// Walks a tree depth first, siblings by raw bytes, the root first; follows no symbolic link.
pub struct Walk {
    root: PathBuf,
    options: WalkOptions,
    inner: walkdir::IntoIter,
    /// The root's file system, once known.
    device: Option<u64>,
    /// The cache folder that the walk is in.
    cache: Option<ArchivePath>,
    pending: Option<Walked>,
    /// The folder of the path that was looked at last.
    folder: Option<(Vec<u8>, OwnedFd)>,
    patience: Arc<Patience>,
}

impl Walk {
    /// A walk of the folder `root`, which must not be a symbolic link.
    pub fn new(root: &Path, options: WalkOptions) -> Self {
        let inner = WalkDir::new(root)
            .same_file_system(!options.cross_filesystems)
            .sort_by(|a, b| a.file_name().as_bytes().cmp(b.file_name().as_bytes()))
            .into_iter();
        let (device, cache, pending, folder) = (None, None, None, None);
        Self {
            root: root.to_path_buf(),
            options,
            inner,
            device,
            cache,
            pending,
            folder,
            patience: Arc::default(),
        }
    }

    fn relative(&self, path: &Path) -> ArchivePath {
        let (path, root) = (path.as_os_str().as_bytes(), self.root.as_os_str().as_bytes());
        // Every path that the walk gives is the root's with something joined to it.
        let relative = path.strip_prefix(root).unwrap_or(path);
        let relative = relative.strip_prefix(b"/").unwrap_or(relative);
        // What the kernel lists is never "..", and a root that is not valid is not walked.
        ArchivePath::parse(relative).unwrap_or_default()
    }

    /// What stands at a path, asked of its folder: the kernel then need not go all the way from the root.
    fn stat(&mut self, path: &Path) -> io::Result<Stat> {
        let bytes = path.as_os_str().as_bytes();
        let cut = bytes.iter().rposition(|&b| b == b'/').filter(|_| path != self.root);
        let Some((above, name)) = cut.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?))) else {
            return path.symlink_metadata().map(|m| stat_of(&m));
        };
        if self.folder.as_ref().is_none_or(|(known, _)| known != above) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let place = if above.is_empty() { b"/" } else { above };
            self.folder = Some((above.to_vec(), rustix::fs::open(place, flags, Mode::empty())?));
        }
        match &self.folder {
            Some((_, folder)) => Ok(stat_at(folder.as_fd(), name)?),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn skip_reason(&self, path: &ArchivePath, is_folder: bool) -> Option<Skip> {
        if path.is_root() {
            return None;
        }
        if self.options.skip_lost_and_found && is_folder && path.as_bytes() == b"lost+found" {
            return Some(Skip::LostAndFound);
        }
        if self.cache.as_ref().is_some_and(|c| path.is_within(c) && !is_tag_of(c, path)) {
            return Some(Skip::Cache);
        }
        let excludes = self.options.excludes.as_ref()?;
        excludes.excludes(path, is_folder).then_some(Skip::Excluded)
    }

    /// Leaves out the rest of a folder that was just met.
    fn leave(&mut self, is_folder: bool, entered: bool) {
        if is_folder && entered {
            self.inner.skip_current_dir();
        }
    }

    fn look(&mut self, entry: &walkdir::DirEntry) -> Walked {
        let path = self.relative(entry.path());
        let is_folder = entry.file_type().is_dir();
        if let Some(skip) = self.skip_reason(&path, is_folder) {
            // A folder on another file system has not been entered, so there is nothing to leave.
            let entered = self.options.cross_filesystems
                || entry.path().symlink_metadata().is_ok_and(|m| Some(stat_of(&m).device) == self.device);
            self.leave(is_folder, entered);
            return Walked::Skipped(path, skip);
        }
        let patience = Arc::clone(&self.patience);
        let stat = match patience.run(std::thread::sleep, is_passing, || self.stat(entry.path())) {
            Ok(stat) => stat,
            Err(error) => {
                self.leave(is_folder, true);
                return failed(path, "stat", &error);
            }
        };
        let device = *self.device.get_or_insert(stat.device);
        // Between listing and looking a folder may have become something else, which has no children.
        if is_folder != (stat.kind == NodeKind::Directory) {
            self.leave(is_folder, true);
        } else if is_folder {
            if !self.options.cross_filesystems && stat.device != device {
                self.pending = Some(Walked::Skipped(path.clone(), Skip::OtherFilesystem));
            }
            if self.options.exclude_caches && is_cache_folder(entry.path()) {
                self.cache = Some(path.clone());
            }
        }
        Walked::Found(Found { path, stat })
    }
}

fn is_tag_of(cache: &ArchivePath, path: &ArchivePath) -> bool {
    path.parent().as_ref() == Some(cache)
        && path.file_name().is_some_and(|n| n.as_bytes() == CACHE_TAG.as_bytes())
}

fn failed(path: ArchivePath, operation: &str, error: &io::Error) -> Walked {
    if error.kind() == io::ErrorKind::NotFound && !path.is_root() {
        return Walked::Vanished(path);
    }
    Walked::Problem(Problem { path, operation: operation.to_owned(), error: error.to_string() })
}

impl Iterator for Walk {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        if let Some(pending) = self.pending.take() {
            return Some(pending);
        }
        Some(match self.inner.next()? {
            Ok(entry) => self.look(&entry),
            Err(error) => {
                let path = error.path().map(|p| self.relative(p)).unwrap_or_default();
                let message = error.to_string();
                let source = error.into_io_error().unwrap_or_else(|| io::Error::other(message));
                failed(path, "list", &source)
            }
        })
    }
}
