//! A tree that is written, by the handle of its root.

use super::error::Result;
use super::loosened::Loosened;
use super::outside::{IN_STORE, Outside};
use super::own::OwnFolders;
use super::staging::{Homes, Staging};
use crate::model::{ArchivePath, Name, NodeKind, Stat};
use crate::tree::exclude::is_cache_tag;
use crate::tree::root::each_name;
use crate::tree::stat::{Home, stat_at, stat_open};
use crate::tree::steps::Steps;
use crate::tree::{OwnerMap, SourceError, StorePlace};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tree that is written. Each thread clones its own: it remembers the folder used last.
#[derive(Clone)]
pub struct Target {
    pub(super) root: PathBuf,
    pub(super) folder: Arc<OwnedFd>,
    pub(super) owners: Arc<OwnerMap>,
    /// Where the root is: nothing that is mounted in the tree is removed.
    pub(super) home: Home,
    /// Whether /proc is there: some calls take no handles, and reach what a handle is of by it.
    pub(super) has_proc: bool,
    pub(super) steps: Steps,
    /// Where directories are, by hashes of their paths.
    pub(super) homes: Homes,
    pub(super) outside: Outside,
    pub(super) own: OwnFolders,
    /// Where new files are made; shared by the clones.
    pub(super) staging: Arc<Staging>,
    /// Directories that were made writable; shared by the clones.
    pub(super) loosened: Arc<Loosened>,
}

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
            own: OwnFolders::default(),
            staging: Arc::default(),
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
    pub(super) fn parent(&mut self, path: &ArchivePath) -> rustix::io::Result<(Arc<OwnedFd>, Name)> {
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
        self.children_but(path, |_| false)
    }

    /// Those of them that are not `known`.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn children_but(&mut self, path: &ArchivePath, known: impl Fn(&[u8]) -> bool) -> Result<Vec<Name>> {
        let failed = |e: Errno| SourceError::new(path, "list", e);
        let folder = match self.steps.open(self.folder.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
            folder => folder.map_err(failed)?,
        };
        let mut names = Vec::new();
        let take = |name: &[u8], _| {
            if !known(name) {
                names.extend(Name::new(name));
            }
        };
        match each_name(folder.as_fd(), take) {
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

    /// Whether a directory carries a valid `CACHEDIR.TAG`.
    pub fn has_cache_tag(&mut self, path: &ArchivePath) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.steps.open(self.folder.as_fd(), path, flags).is_ok_and(|fd| is_cache_tag(fd.as_fd()))
    }

    /// A path to an entry by way of its folder's handle, for calls that know no handles; the handle keeps it valid.
    pub(super) fn proc_path(&mut self, path: &ArchivePath) -> std::io::Result<(Arc<OwnedFd>, PathBuf)> {
        let (folder, name) = self.parent(path)?;
        let mut place = self.proc_of(folder.as_fd())?;
        place.push(name.as_os_str());
        Ok((folder, place))
    }

    /// A path to what a handle is of.
    pub(super) fn proc_of(&self, fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
        match self.has_proc {
            true => Ok(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))),
            false => Err(std::io::Error::other("that needs /proc, which is not mounted")),
        }
    }

    /// The same tree; nothing is changed in it where it is the store.
    pub fn beside(self, store: Arc<StorePlace>) -> Self {
        Self { outside: Outside::of(store), ..self }
    }

    /// Makes sure that a directory is neither the store nor in it.
    ///
    /// # Errors
    /// [`SourceError`], of the operation [`IN_STORE`] with the path of the store in the tree.
    pub fn keep_off_store(&mut self, folder: &ArchivePath) -> Result<()> {
        let opened = self.outside.check(self.folder.as_fd(), folder)?;
        if let Some(handle) = opened {
            self.steps.note(folder.clone(), Arc::new(handle));
        }
        Ok(())
    }

    /// Whether a directory is the store's root.
    pub fn is_store(&mut self, folder: &ArchivePath) -> bool {
        self.keep_off_store(folder).is_err_and(|error| error.operation == IN_STORE && error.path == *folder)
    }

    /// The same for what is about to get other metadata.
    pub(super) fn keep_off_store_at(&mut self, path: &ArchivePath, kind: Option<NodeKind>) -> Result<()> {
        match (kind, path.parent()) {
            (Some(NodeKind::Directory), _) | (_, None) => self.keep_off_store(path),
            (_, Some(folder)) => self.keep_off_store(&folder),
        }
    }

    /// As [`Self::parent`], of a path that is about to be changed.
    pub(super) fn parent_to_change(
        &mut self,
        path: &ArchivePath,
        operation: &'static str,
    ) -> Result<(Arc<OwnedFd>, Name)> {
        if let Some(folder) = path.parent() {
            self.keep_off_store(&folder)?;
        }
        let (folder, name) = self.parent(path).map_err(|e| SourceError::new(path, operation, e))?;
        if let Some(parent) = path.parent() {
            self.loosened.loosen(&parent, folder.as_fd());
        }
        Ok((folder, name))
    }
}
