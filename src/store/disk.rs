//! The few operations of a file system that a store in a folder is made of.
//!
//! A seam of its own so that tests can stand a model in its place: one that loses what was not synced, fails at the
//! N-th operation, or reports as failed what it did.

use super::{Lock, LockMode, Stamp};
use crate::model::Timestamp;
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, StatxFlags};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// A file system, as far as a store needs one. Each call is one operation, tried once.
pub trait Disk: Send + Sync {
    /// Opens a regular file for reading, without waiting: a fifo of that name would hold us until somebody writes.
    ///
    /// # Errors
    /// What the file system says; also for what is no regular file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Makes a file that is not there yet, for its owner alone.
    ///
    /// # Errors
    /// What the file system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// What is in a folder, unsorted; symbolic links are followed.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Seen)>>;

    /// What stands at a path; symbolic links are followed.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self, path: &Path) -> io::Result<Seen>;

    /// What a file or folder is told by, asked of the server itself where there is one.
    ///
    /// # Errors
    /// What the file system says; also where it cannot tell.
    fn stamp(&self, _path: &Path) -> io::Result<Stamp> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves a file, replacing what stands at `to`.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::AlreadyExists`] where something has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a folder for its owner alone.
    ///
    /// # Errors
    /// What the file system says.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    ///
    /// # Errors
    /// What the file system says.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder's names durable.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// Tries to lock a file, which is made where it is missing.
    ///
    /// # Errors
    /// When the file cannot be made.
    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Lock>;

    /// Waits, before something is tried again.
    fn pause(&self, duration: Duration);
}

/// An open file of a disk.
pub trait DiskFile: Send + Sync {
    /// What it is.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self) -> io::Result<Seen>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Appends some of `bytes`; returns how many.
    ///
    /// # Errors
    /// What the file system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the content durable. An error means that any of it may be lost, and says so only once.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Closes it. NFS may report the last write's error as late as here.
    ///
    /// # Errors
    /// What the file system says.
    fn close(self: Box<Self>) -> io::Result<()>;
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// File, folder, or anything else.
    pub kind: SeenKind,
    /// Device and inode: the same file has the same.
    pub id: (u64, u64),
    /// Bytes of a file.
    pub length: u64,
    /// When it was last written, by the file system's clock.
    pub modified: Timestamp,
}

/// The kinds of things that a store tells apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeenKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Neither.
    Other,
}

/// Something that is not a regular file stands where one should be.
#[derive(Debug, thiserror::Error)]
#[error("it is not a regular file")]
pub struct NoFile;

/// The operating system's file system.
pub(super) struct OsDisk;

fn seen(m: &fs::Metadata) -> Seen {
    let kind = match m.file_type() {
        t if t.is_file() => SeenKind::File,
        t if t.is_dir() => SeenKind::Folder,
        _ => SeenKind::Other,
    };
    let modified = Timestamp { secs: m.mtime(), nanos: m.mtime_nsec() as u32 };
    Seen { kind, id: (m.dev(), m.ino()), length: m.len(), modified }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(NoFile));
        }
        Ok(Box::new(OsFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Seen)>> {
        let mut items = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // Names that are not UTF-8 are never ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = match entry.file_type()? {
                t if t.is_dir() => SeenKind::Folder,
                t if t.is_file() || t.is_symlink() => match fs::metadata(entry.path()) {
                    Ok(m) => {
                        items.push((name, seen(&m)));
                        continue;
                    }
                    // A symbolic link that leads nowhere; a file has been removed since.
                    Err(e) if e.kind() == io::ErrorKind::NotFound && t.is_symlink() => SeenKind::Other,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(e),
                },
                _ => SeenKind::Other,
            };
            // Of these the kind is all that is asked: it saves a look at each.
            items.push((name, Seen { kind, id: (0, 0), length: 0, modified: Timestamp::default() }));
        }
        Ok(items)
    }

    fn look(&self, path: &Path) -> io::Result<Seen> {
        fs::metadata(path).map(|m| seen(&m))
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        // What an NFS client remembers may be as old as its mount option actimeo says.
        let flags = AtFlags::STATX_FORCE_SYNC;
        let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MTIME | StatxFlags::CTIME;
        let found = rustix::fs::statx(CWD, path, flags, wanted)?;
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
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path, mode: LockMode) -> io::Result<Lock> {
        // Neither waiting for a fifo's reader nor making what a symbolic link leads to.
        let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW).bits() as i32;
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let file = match open.open(path) {
            Err(_) if path.symlink_metadata().is_ok_and(|m| !m.is_file()) => return Ok(Lock::Unsupported),
            file => file?,
        };
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        Ok(match rustix::fs::flock(&file, operation) {
            Ok(()) => Lock::Held(Box::new(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Lock::Busy,
            Err(_) => Lock::Unsupported,
        })
    }

    fn pause(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn look(&self) -> io::Result<Seen> {
        self.0.metadata().map(|m| seen(&m))
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
