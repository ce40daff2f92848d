//! Writing a tree: relative to directory handles, never through a symbolic link.
//!
//! The tree may belong to somebody who changes it meanwhile, and who must gain nothing by it. What is made, is made in a
//! directory that only the restorer can enter, gets its owner and mode there, and is moved to its place when it is done;
//! what is changed in its place is the very inode that was looked at.

mod loosened;
mod metadata;
mod new;
mod outside;
mod workshop;

use super::exclude::is_cache_tag;
use super::root::each_name;
use super::stat::{Home, stat_at, stat_open};
use super::steps::Steps;
use super::xattrs::{self, Place};
use super::{OwnerMap, SourceError};
use crate::model::{ArchivePath, Name, NodeKind, Stat, Xattr};
use loosened::Loosened;
use metadata::kept;
use outside::Outside;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use workshop::{Homes, Workshop};

pub use new::NewFile;
pub use outside::IN_STORE;

/// Something of an entry's metadata that could not be restored, though the entry was.
pub type Unrestored = SourceError;

/// A tree that is written. Each thread clones its own: it remembers the folder used last.
#[derive(Clone)]
pub struct Target {
    root: PathBuf,
    folder: Arc<OwnedFd>,
    owners: Arc<OwnerMap>,
    /// Where the root is: nothing that is mounted in the tree is removed.
    home: Home,
    /// Whether /proc is there: some calls take no handles, and reach what a handle is of by it.
    has_proc: bool,
    steps: Steps,
    /// Where directories are, by hashes of their paths.
    homes: Homes,
    outside: Outside,
    /// Where new files are made; shared by the clones.
    workshop: Arc<Workshop>,
    /// Directories that were made writable; shared by the clones.
    loosened: Arc<Loosened>,
}

/// An error in making something at a path where nothing stood. That something stands there now may be the target's doing.
fn taken(path: &ArchivePath, operation: &'static str, error: Errno) -> SourceError {
    if error != Errno::EXIST {
        return SourceError::new(path, operation, error);
    }
    let error = "something of this name stands there now that did not when it was looked at; does the target ignore case, or \
                 spell names in another way, so that two names of the tree are one?";
    SourceError::new(path, operation, std::io::Error::other(error))
}

/// The inode that an earlier look found at a path.
pub type Inode = (u64, u64);

/// What was looked at is not what stands there now.
pub(super) fn swapped(path: &ArchivePath, operation: &'static str) -> SourceError {
    let error =
        "something else stands there since it was looked at; is the tree in use? Run the restore again";
    SourceError::new(path, operation, std::io::Error::other(error))
}

type Result<T> = std::result::Result<T, SourceError>;

impl Target {
    /// The tree at `root`, which must be a folder.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened.
    pub fn open(root: &Path, owners: OwnerMap) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(root, flags, Mode::empty());
        let folder = folder.map_err(|e| SourceError::new(&ArchivePath::root(), "open", e))?;
        let found =
            stat_open(folder.as_fd()).map_err(|e| SourceError::new(&ArchivePath::root(), "stat", e))?;
        let folder = Arc::new(folder);
        Ok(Self {
            root: root.to_path_buf(),
            loosened: Arc::new(Loosened::below(Arc::clone(&folder))),
            folder,
            owners: Arc::new(owners),
            home: Home::of(&found),
            has_proc: Path::new("/proc/self/fd").exists(),
            steps: Steps::default(),
            homes: Homes::default(),
            outside: Outside::default(),
            workshop: Arc::default(),
        })
    }

    /// Where the tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether what stands at a path is part of the tree: neither a mount point nor another file system.
    pub fn is_own(&self, stat: &Stat) -> bool {
        self.home.has(stat)
    }

    /// A handle of the folder that holds `path`, and the name in it.
    fn parent(&mut self, path: &ArchivePath) -> rustix::io::Result<(Arc<OwnedFd>, Name)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        Ok((self.steps.folder(self.folder.as_fd(), &parent)?, name))
    }

    /// What stands at `path`, if anything does; below a symbolic link or a file nothing stands.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn stat(&mut self, path: &ArchivePath) -> Result<Option<Stat>> {
        let failed = |e: std::io::Error| SourceError::new(path, "stat", e);
        if path.is_root() {
            return stat_open(self.folder.as_fd()).map(Some).map_err(|e| failed(e.into()));
        }
        let found = self.parent(path).and_then(|(folder, name)| stat_at(folder.as_fd(), name.as_bytes()));
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(e) => Err(failed(e.into())),
        }
    }

    /// The names in a folder; none where there is no folder.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn children(&mut self, path: &ArchivePath) -> Result<Vec<Name>> {
        let failed = |e: Errno| SourceError::new(path, "list", e);
        let folder = match self.steps.open(self.folder.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            folder => folder.map_err(failed)?,
        };
        let mut names = Vec::new();
        match each_name(folder.as_fd(), |name, _| names.extend(Name::new(name))) {
            // It says so of a directory that has been removed; then nothing stands there.
            Err(Errno::NOENT) if self.stat(path)?.is_none() => return Ok(Vec::new()),
            listed => listed.map_err(failed)?,
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn link_target(&mut self, path: &ArchivePath) -> Result<Vec<u8>> {
        let (folder, name) =
            self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
        let target = rustix::fs::readlinkat(folder.as_fd(), name.as_bytes(), Vec::new());
        target.map(|t| t.into_bytes()).map_err(|e| SourceError::new(path, "read the link", e))
    }

    /// A directory has the mode that it is to have: what it had before is not put back.
    pub fn settle_mode(&self, path: &ArchivePath) {
        self.loosened.settle(path);
    }

    /// Moves what stands at `path` to a new name beside it, and returns that.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn move_aside(&mut self, path: &ArchivePath) -> Result<ArchivePath> {
        let (folder, name) = self.parent_to_change(path, "move aside")?;
        let failed = |e| SourceError::new(path, "move aside", e);
        for number in 1.. {
            let mut aside = name.as_bytes().to_vec();
            aside.extend_from_slice(format!(".stale-{number}").as_bytes());
            let Ok(aside) = Name::new(&aside) else { break };
            match stat_at(folder.as_fd(), aside.as_bytes()) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(e) => return Err(failed(e)),
            }
            let (from, to) = (name.as_bytes(), aside.as_bytes());
            rustix::fs::renameat(folder.as_fd(), from, folder.as_fd(), to).map_err(failed)?;
            return Ok(path.parent().unwrap_or_default().child(&aside));
        }
        Err(failed(Errno::NAMETOOLONG))
    }

    /// Makes a folder, for now accessible to its owner alone.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn make_folder(&mut self, path: &ArchivePath) -> Result<()> {
        let (folder, name) = self.parent_to_change(path, "open the folder of")?;
        rustix::fs::mkdirat(folder.as_fd(), name.as_bytes(), Mode::RWXU)
            .map_err(|e| taken(path, "make", e))?;
        self.outside.note(path.clone());
        Ok(())
    }

    /// Makes `path` another name of what stands at `existing`.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn make_hard_link(&mut self, existing: &ArchivePath, path: &ArchivePath) -> Result<()> {
        let failed = |e| SourceError::new(path, "link", e);
        let (from, old) = self.parent(existing).map_err(failed)?;
        let (to, new) = self.parent_to_change(path, "link")?;
        let linked =
            rustix::fs::linkat(from.as_fd(), old.as_bytes(), to.as_fd(), new.as_bytes(), AtFlags::empty());
        linked.map_err(failed)
    }

    /// Makes `path` another name of what stands at the same path of another tree.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn link_from(&mut self, tree: &mut Self, path: &ArchivePath) -> Result<()> {
        let failed = |e| SourceError::new(path, "link", e);
        let (from, name) = tree.parent(path).map_err(failed)?;
        let (to, _) = self.parent_to_change(path, "link")?;
        let name = name.as_bytes();
        rustix::fs::linkat(from.as_fd(), name, to.as_fd(), name, AtFlags::empty()).map_err(failed)
    }

    /// Removes what stands at `path`: a folder only if it is empty.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn remove(&mut self, path: &ArchivePath, is_folder: bool) -> Result<()> {
        let failed = |e| SourceError::new(path, "remove", e);
        let (folder, name) = self.parent_to_change(path, "remove")?;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.steps.forget(path);
        rustix::fs::unlinkat(folder.as_fd(), name.as_bytes(), flags).map_err(failed)
    }

    /// Whether a directory carries a valid `CACHEDIR.TAG`.
    pub fn has_cache_tag(&mut self, path: &ArchivePath) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.steps.open(self.folder.as_fd(), path, flags).is_ok_and(|fd| is_cache_tag(fd.as_fd()))
    }

    /// Whether what stands at `path` has these extended attributes; those that are the machine's own may be there too.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn has_xattrs(&mut self, path: &ArchivePath, kind: NodeKind, wanted: &[Xattr]) -> Result<bool> {
        let owners = Arc::clone(&self.owners);
        let wanted = owners.xattrs(wanted);
        let mut found = self.xattrs(path, kind)?;
        found.retain(|x| !kept(&x.name) || wanted.iter().any(|w| w.name == x.name));
        Ok(found == *wanted)
    }

    /// The extended attributes of what stands at `path`.
    ///
    /// # Errors
    /// [`SourceError`].
    fn xattrs(&mut self, path: &ArchivePath, kind: NodeKind) -> Result<Vec<Xattr>> {
        let failed = |e: std::io::Error| SourceError::new(path, "read the attributes of", e);
        if matches!(kind, NodeKind::File | NodeKind::Directory)
            && let Ok(fd) = self.steps.open(self.folder.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK)
        {
            return xattrs::read(Place::Open(fd.as_fd())).map_err(|e| failed(e.into()));
        }
        let (_folder, place) = self.proc_path(path).map_err(failed)?;
        xattrs::read(Place::Path(&place)).map_err(|e| failed(e.into()))
    }

    /// A path to an entry by way of its folder's handle, for calls that know no handles; the handle keeps it valid.
    fn proc_path(&mut self, path: &ArchivePath) -> std::io::Result<(Arc<OwnedFd>, PathBuf)> {
        let (folder, name) = self.parent(path)?;
        let mut place = self.proc_of(folder.as_fd())?;
        place.push(name.as_os_str());
        Ok((folder, place))
    }

    /// A path to what a handle is of.
    fn proc_of(&self, fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
        match self.has_proc {
            true => Ok(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))),
            false => Err(std::io::Error::other("that needs /proc, which is not mounted")),
        }
    }
}
