//! Writing a tree: relative to folder handles, never through a symbolic link, files made exclusively.

mod outside;

pub use outside::IN_STORE;

use super::stat::{stat_at, stat_of};
use super::xattrs::{self, Place};
use super::{OwnerMap, SourceError};
use crate::model::{ArchivePath, Kind, Meta, Name, NodeKind, Stat, Timestamp, Xattr};
use crate::sys::open_beneath;
use outside::Outside;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something of an entry's metadata that could not be restored, though the entry was.
pub type Unrestored = SourceError;

/// A tree that is written. Each thread clones its own: it remembers the folder used last.
#[derive(Clone)]
pub struct Target {
    root: PathBuf,
    folder: Arc<OwnedFd>,
    owners: Arc<OwnerMap>,
    /// The root's file system: nothing on another one is removed.
    device: u64,
    /// Whether /proc is there: some calls take no handles, and reach what a handle is of by it.
    has_proc: bool,
    last: Option<(ArchivePath, Arc<OwnedFd>)>,
    outside: Outside,
}

/// A file that is being written under a temporary name, beside where it will be.
pub struct NewFile {
    file: File,
    temporary: Name,
    /// The end of what was written by this handle.
    end: u64,
}

impl NewFile {
    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn write_at(&mut self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.end = self.end.max(offset + bytes.len() as u64);
        Ok(())
    }
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
        let device = root.metadata().map_err(|e| SourceError::new(&ArchivePath::root(), "stat", e))?;
        let device = stat_of(&device).device;
        Ok(Self {
            root: root.to_path_buf(),
            folder: Arc::new(folder),
            owners: Arc::new(owners),
            device,
            has_proc: Path::new("/proc/self/fd").exists(),
            last: None,
            outside: Outside::default(),
        })
    }

    /// Where the tree is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether something is on the same file system as the root.
    pub fn is_own(&self, stat: &Stat) -> bool {
        stat.device == self.device
    }

    /// A handle of the folder that holds `path`, and the name in it.
    fn parent(&mut self, path: &ArchivePath) -> rustix::io::Result<(Arc<OwnedFd>, Name)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        if let Some((known, folder)) = &self.last
            && *known == parent
        {
            return Ok((Arc::clone(folder), name));
        }
        let folder =
            Arc::new(open_beneath(self.folder.as_fd(), parent.as_path(), OFlags::PATH | OFlags::DIRECTORY)?);
        self.last = Some((parent, Arc::clone(&folder)));
        Ok((folder, name))
    }

    /// What stands at `path`, if anything does; below a symbolic link or a file nothing stands.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn stat(&mut self, path: &ArchivePath) -> Result<Option<Stat>> {
        let failed = |e: std::io::Error| SourceError::new(path, "stat", e);
        if path.is_root() {
            return self.root.metadata().map(|m| Some(stat_of(&m))).map_err(failed);
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
        let folder =
            match open_beneath(self.folder.as_fd(), path.as_path(), OFlags::RDONLY | OFlags::DIRECTORY) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
                folder => folder.map_err(failed)?,
            };
        let mut names = Vec::new();
        for entry in Dir::new(folder).map_err(failed)? {
            // Only "." and ".." are no names.
            names.extend(Name::new(entry.map_err(failed)?.file_name().to_bytes()));
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

    /// Makes a folder, for now accessible to its owner alone.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn make_folder(&mut self, path: &ArchivePath) -> Result<()> {
        let (folder, name) = self.parent_to_change(path, "open the folder of")?;
        rustix::fs::mkdirat(folder.as_fd(), name.as_bytes(), Mode::RWXU)
            .map_err(|e| SourceError::new(path, "make", e))?;
        self.outside.note(path.clone());
        Ok(())
    }

    /// Makes a symbolic link, fifo, socket or device at a free path, with its metadata.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be made; what of the metadata could not be set is returned.
    pub fn make_node(&mut self, path: &ArchivePath, kind: &Kind, meta: &Meta) -> Result<Vec<Unrestored>> {
        let (folder, name) = self.parent_to_change(path, "open the folder of")?;
        let folder = folder.as_fd();
        let node =
            |file_type, device| rustix::fs::mknodat(folder, name.as_bytes(), file_type, Mode::RUSR, device);
        let made = match kind {
            Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), folder, name.as_bytes()),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Socket => node(FileType::Socket, 0),
            Kind::CharDevice(d) => node(FileType::CharacterDevice, rustix::fs::makedev(d.major, d.minor)),
            Kind::BlockDevice(d) => node(FileType::BlockDevice, rustix::fs::makedev(d.major, d.minor)),
            Kind::Directory | Kind::File(_) | Kind::HardLink(_) => Err(Errno::INVAL),
        };
        made.map_err(|e| SourceError::new(path, "make", e))?;
        self.set_metadata(path, meta)
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
        self.last = None;
        rustix::fs::unlinkat(folder.as_fd(), name.as_bytes(), flags).map_err(failed)
    }

    /// Begins a file that will stand at `path`; `unique` tells the temporary names of one run apart.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn create(&mut self, path: &ArchivePath, unique: &str) -> Result<NewFile> {
        self.parent_to_change(path, "open the folder of")?;
        self.temporary(path, unique, OFlags::CREATE | OFlags::EXCL, "create")
    }

    /// Opens once more a file that was begun.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn reopen(&mut self, path: &ArchivePath, unique: &str) -> Result<NewFile> {
        self.temporary(path, unique, OFlags::empty(), "open")
    }

    fn temporary(
        &mut self,
        path: &ArchivePath,
        unique: &str,
        flags: OFlags,
        operation: &'static str,
    ) -> Result<NewFile> {
        let (folder, _) = self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
        let temporary = format!(".weekvault-{unique}");
        let flags = flags | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder.as_fd(), temporary.as_str(), flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(|e| SourceError::new(path, operation, e))?;
        let temporary = Name::new(temporary.as_bytes());
        let temporary = temporary.map_err(|e| SourceError::new(path, operation, std::io::Error::other(e)))?;
        Ok(NewFile { file: file.into(), temporary, end: 0 })
    }

    /// Ends a file: gives it its size and metadata, and puts it in its place, where it replaces what is no folder.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be put there; what of the metadata could not be set is returned.
    pub fn finish(
        &mut self,
        new: NewFile,
        path: &ArchivePath,
        size: u64,
        meta: &Meta,
    ) -> Result<Vec<Unrestored>> {
        let result = (|| {
            // Where it ends in a hole, nothing was written there.
            if new.end != size {
                new.file.set_len(size).map_err(|e| SourceError::new(path, "write", e))?;
            }
            let unrestored = self.set_open(new.file.as_fd(), path, meta);
            let (folder, name) =
                self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
            let folder = folder.as_fd();
            rustix::fs::renameat(folder, new.temporary.as_bytes(), folder, name.as_bytes())
                .map_err(|e| SourceError::new(path, "put in place", e))?;
            Ok(unrestored)
        })();
        if result.is_err() {
            self.discard(path, &new.temporary);
        }
        result
    }

    /// Forgets a file that was begun.
    pub fn abandon(&mut self, path: &ArchivePath, unique: &str) {
        if let Ok(temporary) = Name::new(format!(".weekvault-{unique}").as_bytes()) {
            self.discard(path, &temporary);
        }
    }

    fn discard(&mut self, path: &ArchivePath, temporary: &Name) {
        if let Ok((folder, _)) = self.parent(path) {
            let _ = rustix::fs::unlinkat(folder.as_fd(), temporary.as_bytes(), AtFlags::empty());
        }
    }

    /// Whether what stands at `path` has these extended attributes; those that are the machine's own may be there too.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn has_xattrs(&mut self, path: &ArchivePath, kind: NodeKind, wanted: &[Xattr]) -> Result<bool> {
        let mut found = self.xattrs(path, kind)?;
        found.retain(|x| !kept(&x.name) || wanted.iter().any(|w| w.name == x.name));
        Ok(found == wanted)
    }

    /// The extended attributes of what stands at `path`.
    ///
    /// # Errors
    /// [`SourceError`].
    fn xattrs(&mut self, path: &ArchivePath, kind: NodeKind) -> Result<Vec<Xattr>> {
        let failed = |e: std::io::Error| SourceError::new(path, "read the attributes of", e);
        if matches!(kind, NodeKind::File | NodeKind::Directory)
            && let Ok(fd) =
                open_beneath(self.folder.as_fd(), path.as_path(), OFlags::RDONLY | OFlags::NONBLOCK)
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

    /// Gives what stands at `path` its metadata; returns what could not be set.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened.
    pub fn set_metadata(&mut self, path: &ArchivePath, meta: &Meta) -> Result<Vec<Unrestored>> {
        let kind = self.stat(path)?.map(|s| s.kind);
        self.keep_off_store_at(path, kind)?;
        if matches!(kind, Some(NodeKind::File | NodeKind::Directory)) {
            let fd = open_beneath(self.folder.as_fd(), path.as_path(), OFlags::RDONLY | OFlags::NONBLOCK);
            let fd = fd.map_err(|e| SourceError::new(path, "open", e))?;
            return Ok(self.set_open(fd.as_fd(), path, meta));
        }
        let (folder, name) =
            self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
        let (folder, name, nofollow) = (folder.as_fd(), name.as_bytes(), AtFlags::SYMLINK_NOFOLLOW);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // One handle for all: by its name, something else might be met each time.
        let node = rustix::fs::openat(folder, name, flags, Mode::empty()).map(File::from);
        let node = node.map_err(|e| SourceError::new(path, "open", e))?;
        let now = node.metadata().map(|m| stat_of(&m)).map_err(|e| SourceError::new(path, "stat", e))?;
        if kind != Some(now.kind) {
            let error = std::io::Error::other("something else was put in its place");
            return Err(SourceError::new(path, "set the metadata of", error));
        }
        let mut unrestored = Unset { path, errors: Vec::new() };
        if let Some((uid, gid)) = self.owners.owner(meta) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let set = rustix::fs::chownat(node.as_fd(), "", uid, gid, AtFlags::EMPTY_PATH);
            unrestored.note("set the owner of", set);
        }
        // Linux has no modes of symbolic links.
        let mut mode = Ok(0);
        if now.kind != NodeKind::Symlink {
            mode = self.proc_of(node.as_fd()).and_then(|place| {
                rustix::fs::chmod(place, Mode::from_raw_mode(meta.mode))?;
                Ok(meta.mode)
            });
        }
        match self.proc_path(path) {
            Ok((_folder, place)) => {
                unrestored.note_all(xattrs::write(Place::Path(&place), &meta.xattrs, &kept))
            }
            Err(_) if meta.xattrs.is_empty() => {}
            Err(e) => unrestored.note("set attributes of", Err(e)),
        }
        unrestored.note("set the mode of", has_special_bits(node.as_fd(), mode));
        unrestored.note("set the time of", rustix::fs::utimensat(folder, name, &times(meta.mtime), nofollow));
        Ok(unrestored.errors)
    }

    /// The same for an open file or folder. The owner first, since that clears setuid bits and capabilities; the time
    /// last, since all else may touch it.
    fn set_open(&self, fd: BorrowedFd<'_>, path: &ArchivePath, meta: &Meta) -> Vec<Unrestored> {
        let mut unrestored = Unset { path, errors: Vec::new() };
        let mut now = rustix::fs::fstat(fd);
        if let Some((uid, gid)) = self.owners.owner(meta)
            && !now.as_ref().is_ok_and(|now| (now.st_uid, now.st_gid) == (uid, gid))
        {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            unrestored.note("set the owner of", rustix::fs::fchown(fd, uid, gid));
            now = rustix::fs::fstat(fd);
        }
        let mode = now.and_then(|now| self.set_open_mode(fd, meta, &now)).map_err(Into::into);
        unrestored.note_all(xattrs::write(Place::Open(fd), &meta.xattrs, &kept));
        unrestored.note("set the mode of", has_special_bits(fd, mode));
        unrestored.note("set the time of", rustix::fs::futimens(fd, &times(meta.mtime)));
        unrestored.errors
    }

    /// Sets the mode that an open file or folder is to have, and returns it.
    fn set_open_mode(
        &self,
        fd: BorrowedFd<'_>,
        meta: &Meta,
        now: &rustix::fs::Stat,
    ) -> rustix::io::Result<u32> {
        let is_file = FileType::from_raw_mode(now.st_mode) == FileType::RegularFile;
        let mode = self.owners.mode(meta, is_file, (now.st_uid, now.st_gid));
        if now.st_mode & 0o7777 != mode {
            rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))?;
        }
        let asked_for = matches!(*self.owners, OwnerMap::Nobody);
        if mode == meta.mode || asked_for { Ok(mode) } else { Err(Errno::PERM) }
    }
}

/// Looks again at a mode that was set: without CAP_FSETID Linux drops setgid where the group is another's, when the mode is
/// set or an ACL after it, and reports no error.
fn has_special_bits(fd: BorrowedFd<'_>, set: std::io::Result<u32>) -> std::io::Result<()> {
    let wanted = set? & 0o7000;
    if wanted == 0 || rustix::fs::fstat(fd)?.st_mode & wanted == wanted {
        return Ok(());
    }
    Err(std::io::Error::other(
        "setuid, setgid or sticky was dropped; setgid of another's group needs CAP_FSETID",
    ))
}

/// Attributes that are the machine's own: they are not removed where the manifest has none.
pub(super) fn kept(name: &[u8]) -> bool {
    name == b"security.selinux" || name.starts_with(b"system.nfs4") || name.starts_with(b"btrfs.")
}

/// The access time is left alone.
fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() },
    }
}

/// Gathers what of an entry's metadata could not be set.
struct Unset<'a> {
    path: &'a ArchivePath,
    errors: Vec<Unrestored>,
}

impl Unset<'_> {
    fn note(&mut self, operation: &'static str, result: std::result::Result<(), impl Into<std::io::Error>>) {
        if let Err(e) = result {
            self.errors.push(SourceError::new(self.path, operation, e));
        }
    }

    fn note_all(&mut self, failures: Vec<(Vec<u8>, Errno)>) {
        for (name, e) in failures {
            let error = std::io::Error::new(e.kind(), format!("{}: {e}", name.escape_ascii()));
            self.errors.push(SourceError::new(self.path, "set an attribute of", error));
        }
    }
}
