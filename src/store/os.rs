//! The operating system's file system, reached from one handle of the store's root.

use super::disk::{Disk, DiskFile, DiskLock, HeldFile, Seen, SeenKind};
use super::error::Gone;
use super::{LockMode, NoFile, Stamp};
use crate::model::Timestamp;
use crate::sys::{is_blocked, open_beneath, refresh};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The file system below one directory. Its handle is kept once it could be opened: whatever happens to the path after
/// that, nothing of the store is looked for or written anywhere else.
pub(super) struct OsDisk {
    root: PathBuf,
    handle: Mutex<Option<Arc<Root>>>,
}

struct Root {
    fd: OwnedFd,
    id: (u64, u64),
}

/// A directory of the store, or the one above its root.
enum Folder {
    Root(Arc<Root>),
    Below(OwnedFd),
    Outside,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => root.fd.as_fd(),
            Self::Below(fd) => fd.as_fd(),
            Self::Outside => CWD,
        }
    }
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Neither waiting for a fifo's writer nor becoming a terminal's process.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

impl OsDisk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, handle: Mutex::default() }
    }

    fn held(&self) -> Option<Arc<Root>> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The root's handle. The root itself may be a symbolic link.
    fn root(&self) -> io::Result<Arc<Root>> {
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = handle.as_ref() {
            return Ok(Arc::clone(root));
        }
        let fd = rustix::fs::open(&self.root, FOLDER, Mode::empty())?;
        let found = rustix::fs::fstat(&fd)?;
        let root = Arc::new(Root { fd, id: (found.st_dev, found.st_ino) });
        *handle = Some(Arc::clone(&root));
        Ok(root)
    }

    fn below(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.strip_prefix(&self.root).map_err(io::Error::other)?;
        Ok(open_beneath(self.root()?.fd.as_fd(), relative, flags)?)
    }

    /// The directory that holds a path, and the name that it has there.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(Folder, &'a OsStr)> {
        let Ok(relative) = path.strip_prefix(&self.root) else {
            // What is above the root, for making that.
            return Ok((Folder::Outside, path.as_os_str()));
        };
        match (relative.parent(), relative.file_name()) {
            (Some(above), Some(name)) if above.as_os_str().is_empty() => {
                Ok((Folder::Root(self.root()?), name))
            }
            (Some(above), Some(name)) => {
                Ok((Folder::Below(open_beneath(self.root()?.fd.as_fd(), above, FOLDER)?), name))
            }
            _ => Ok((Folder::Outside, path.as_os_str())),
        }
    }

    /// What stands at a path; of the root, what it leads to.
    fn stat(&self, path: &Path) -> io::Result<rustix::fs::Stat> {
        let (folder, name) = self.place(path)?;
        let stat = match folder {
            Folder::Outside if path == self.root => rustix::fs::fstat(&self.root()?.fd)?,
            Folder::Outside => rustix::fs::stat(path)?,
            folder => rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?,
        };
        Ok(stat)
    }
}

#[expect(clippy::useless_conversion, reason = "the fields' types differ by architecture")]
fn seen(stat: &rustix::fs::Stat) -> Seen {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => SeenKind::File,
        FileType::Directory => SeenKind::Folder,
        _ => SeenKind::Other,
    };
    let nanos = u32::try_from(stat.st_mtime_nsec).unwrap_or_default();
    let modified = Timestamp { secs: stat.st_mtime.into(), nanos };
    Seen { kind, id: (stat.st_dev.into(), stat.st_ino.into()), length: stat.st_size as u64, modified }
}

/// What is known where the kind is all that is asked: it saves a look.
fn told(kind: SeenKind) -> Seen {
    Seen { kind, id: (0, 0), length: 0, modified: Timestamp::default() }
}

/// What a listing's entry is; None where it has gone since it was listed, which says nothing of the others.
fn entry_seen(folder: BorrowedFd<'_>, name: &str, kind: FileType) -> io::Result<Option<Seen>> {
    match kind {
        FileType::Directory => return Ok(Some(told(SeenKind::Folder))),
        FileType::RegularFile | FileType::Unknown => {}
        _ => return Ok(Some(told(SeenKind::Other))),
    }
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(seen(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

impl OsDisk {
    /// Calls `take` with each name in an open folder, and its type.
    fn each(
        &self,
        folder: &Path,
        opened: &OwnedFd,
        mut take: impl FnMut(&str, FileType) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(32 << 10);
        let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // Only opening it says that a directory is missing: one that is there may be full.
                Err(Errno::NOENT) if self.below(folder, READ | OFlags::DIRECTORY).is_ok() => Err(Errno::IO),
                entry => entry,
            }?;
            // Names that are not UTF-8 are never ours.
            match entry.file_name().to_str() {
                Err(_) | Ok("." | "..") => {}
                Ok(name) => take(name, entry.file_type())?,
            }
        }
        Ok(())
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Looked at before it is opened: opening a device can have effects of its own.
        let found = match self.below(path, OFlags::PATH) {
            Err(e) if blocked(&e) => return Err(io::Error::other(NoFile::Blocked)),
            found => rustix::fs::fstat(found?)?,
        };
        if let Some(wrong) = NoFile::of(FileType::from_raw_mode(found.st_mode)) {
            return Err(io::Error::other(wrong));
        }
        let file = File::from(self.below(path, READ)?);
        let opened = rustix::fs::fstat(&file)?;
        match NoFile::of(FileType::from_raw_mode(opened.st_mode)) {
            Some(wrong) => Err(io::Error::other(wrong)),
            None => Ok(Box::new(OsFile(file))),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let (folder, name) = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
        Ok(Box::new(OsFile(File::from(file))))
    }

    fn list(&self, folder: &Path, found: &mut dyn FnMut(&str, Seen)) -> io::Result<()> {
        let opened = self.below(folder, READ | OFlags::DIRECTORY)?;
        if folder == self.root && rustix::fs::fstat(&opened)?.st_nlink == 0 {
            // A directory that was removed lists as an empty one.
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut absent = BTreeSet::new();
        self.each(folder, &opened, |name, kind| {
            match entry_seen(opened.as_fd(), name, kind)? {
                Some(seen) => found(name, seen),
                None => drop(absent.insert(name.to_owned())),
            }
            Ok(())
        })?;
        if absent.is_empty() {
            return Ok(());
        }
        // What has gone since it was listed is listed no more. What is listed and not found may be anything.
        let again = self.below(folder, READ | OFlags::DIRECTORY)?;
        refresh(again.as_fd());
        self.each(folder, &again, |name, kind| {
            if absent.remove(name) {
                let seen = entry_seen(again.as_fd(), name, kind)?;
                found(name, seen.unwrap_or_else(|| told(SeenKind::Other)));
            }
            Ok(())
        })
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        self.stat(path).map(|stat| seen(&stat))
    }

    fn stamp(&self, path: &Path, again: bool) -> io::Result<Stamp> {
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MTIME | StatxFlags::CTIME;
        // What an NFS client remembers may be as old as its mount option actimeo says.
        let sync = if again { AtFlags::STATX_FORCE_SYNC } else { AtFlags::empty() };
        let flags = sync | AtFlags::SYMLINK_NOFOLLOW;
        let (folder, name) = self.place(path)?;
        let found = match folder {
            Folder::Outside if path == self.root => {
                rustix::fs::statx(&self.root()?.fd, "", flags | AtFlags::EMPTY_PATH, wanted)?
            }
            folder => rustix::fs::statx(folder, name, flags, wanted)?,
        };
        if found.stx_mask & wanted.bits() != wanted.bits() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let time = |t: rustix::fs::StatxTimestamp| Timestamp { secs: t.tv_sec, nanos: t.tv_nsec };
        Ok(Stamp {
            id: (rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor), found.stx_ino),
            modified: time(found.stx_mtime),
            changed: time(found.stx_ctime),
            is_folder: FileType::from_raw_mode(found.stx_mode.into()) == FileType::Directory,
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((source, from), (target, to)) = (self.place(from)?, self.place(to)?);
        Ok(rustix::fs::renameat(source, from, target, to)?)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((source, from), (target, to)) = (self.place(from)?, self.place(to)?);
        Ok(rustix::fs::linkat(source, from, target, to, AtFlags::empty())?)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        if path == self.root && self.held().is_some() {
            // The root was there and is not any more: a new one would not be the store.
            return Err(io::Error::other(Gone));
        }
        let (folder, name) = self.place(path)?;
        Ok(rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(0o700))?)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let flags = READ | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match path.starts_with(&self.root) {
            true => self.below(path, flags)?,
            false => rustix::fs::open(path, flags, Mode::empty())?,
        };
        Ok(rustix::fs::fsync(folder)?)
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<DiskLock> {
        match self.look(path) {
            Ok(seen) if seen.kind != SeenKind::File => return Ok(DiskLock::Unsupported),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let (folder, name) = self.place(path)?;
        // Read and write: NFS makes byte-range locks of these, and a shared one wants a file that is open for reading.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(0o600))?;
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        Ok(match rustix::fs::flock(&file, operation) {
            Ok(()) => DiskLock::Held(Box::new(LockedFile(file))),
            Err(Errno::WOULDBLOCK) => DiskLock::Busy,
            Err(_) => DiskLock::Unsupported,
        })
    }

    fn identity(&self) -> Option<(u64, u64)> {
        self.root().ok().map(|root| root.id)
    }

    fn is_gone(&self) -> bool {
        let Some(root) = self.held() else { return false };
        match rustix::fs::stat(&self.root) {
            Ok(found) => (found.st_dev, found.st_ino) != root.id,
            Err(e) => matches!(e, Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NOTCONN),
        }
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Whether an error says that a symbolic link, or what is not a directory, stands on the way.
pub(super) fn blocked(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| is_blocked(Errno::from_raw_os_error(code)))
}

struct LockedFile(OwnedFd);

impl HeldFile for LockedFile {
    fn hold_alone(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(false),
            locked => Ok(locked.map(|()| true)?),
        }
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn look(&self) -> io::Result<Seen> {
        Ok(seen(&rustix::fs::fstat(&self.0)?))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(nix::unistd::close(self.0)?)
    }
}
