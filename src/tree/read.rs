//! Reading what a walk found, with a check that it did not change meanwhile.

use super::SourceError;
use super::root::{Absence, SourceRoot};
use super::stat::{stat_at, stat_open};
use super::steps::Steps;
use super::xattrs::{self, Place};
use crate::model::{ArchivePath, ContentHash, ContentHasher, Name, NodeKind, Patience, Stat, Xattr};
use crate::sys::open_beneath;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A file that changes is read this often before its last state is taken as it is.
const ATTEMPTS: u32 = 3;
/// What is tried, in words.
const ATTRIBUTES: &str = "read the attributes of";

/// Takes a file's content as it is read.
pub trait ContentSink {
    /// Where the next bytes go: they are read to its end.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// So many bytes have been read. Breaking ends the read; its result then does not matter.
    fn data(&mut self, count: usize) -> ControlFlow<()>;

    /// So many zero bytes come next, which take no space in the source. Only sinks that ask for holes get them.
    fn hole(&mut self, length: u64) -> ControlFlow<()>;

    /// Forget what came so far: the file changed and is read again from its start.
    fn restart(&mut self) -> Restart;

    /// Whether holes should be told apart from zeros.
    fn wants_holes(&self) -> bool;
}

/// What a sink says to another attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restart {
    /// Go on.
    Again,
    /// Nobody listens any more.
    Stop,
}

/// What reading a file gave, besides its bytes.
#[derive(Clone, Debug)]
pub struct ReadContent {
    /// The file as it was when the read began.
    pub stat: Stat,
    /// Bytes read, holes included.
    pub size: u64,
    /// Hash of them.
    pub hash: ContentHash,
    /// Its attributes, or why they could not be read.
    pub xattrs: Result<Vec<Xattr>, Arc<SourceError>>,
    /// It changed during each attempt.
    pub changed_while_read: bool,
}

/// Reads the files of one tree. Cheap to clone a thread's own from.
pub struct SourceReader {
    root: SourceRoot,
    absence: Absence,
    /// The way to what was asked for last.
    steps: Steps,
    patience: Arc<Patience>,
}

/// Bytes of a path that would take long to open from the root each time.
const DEEP: usize = 1 << 10;

/// Bytes handed to a sink at once, at most.
const SEGMENT: usize = 256 << 10;

impl SourceReader {
    /// A reader of the tree at `root`.
    ///
    /// # Errors
    /// [`SourceError`] when the root cannot be opened.
    pub fn new(root: &Path) -> Result<Self, SourceError> {
        Ok(Self::of(&SourceRoot::open(root)?))
    }

    /// A reader of a tree whose root is open.
    pub fn of(root: &SourceRoot) -> Self {
        Self {
            root: root.clone(),
            absence: Absence::of(root),
            steps: Steps::default(),
            patience: Arc::default(),
        }
    }

    /// Whether a path at which nothing was found is gone, as far as its folder says.
    ///
    /// # Errors
    /// [`SourceError`] where that cannot be told.
    pub fn is_gone(&mut self, path: &ArchivePath) -> Result<bool, SourceError> {
        // What was kept may be of what stood there before.
        self.steps.clear();
        self.absence.is_gone(path).map_err(|e| SourceError::new(path, "look for", e))
    }

    /// What stands at a path now.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn look(&mut self, path: &ArchivePath) -> Result<Stat, SourceError> {
        let found = match path.is_root() {
            true => stat_open(self.root.handle()),
            false => self.parent(path).and_then(|(folder, name)| stat_at(folder.as_fd(), name.as_bytes())),
        };
        found.map_err(|e| SourceError::new(path, "stat", e))
    }

    /// Opens without following any symbolic link, so that a tree that is changed under us cannot lead outside.
    fn open(&mut self, path: &ArchivePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK;
        // Only a file's owner and root may leave its access time alone.
        let root = self.root.handle();
        // From the root it is what stands there now; only what is very deep is opened from what is above it.
        let mut steps = (path.as_bytes().len() > DEEP).then_some(&mut self.steps);
        let mut open = |flags| match &mut steps {
            Some(steps) => steps.open(root, path, flags),
            None => open_beneath(root, path.as_path(), flags),
        };
        match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags),
            result => result,
        }
    }

    /// A handle of the folder that holds a path, and the name in it. The last one is kept: what follows is mostly in it.
    fn parent(&mut self, path: &ArchivePath) -> rustix::io::Result<(Arc<OwnedFd>, Name)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
        Ok((self.steps.folder(self.root.handle(), &parent)?, name))
    }

    /// The extended attributes of anything but a regular file.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn xattrs(&mut self, path: &ArchivePath, kind: NodeKind) -> Result<Vec<Xattr>, SourceError> {
        if kind == NodeKind::Directory {
            let fd = self.open(path, OFlags::DIRECTORY);
            // A folder may be entered without the right to list it.
            if let Ok(fd) = fd {
                return self.attributes(path, Place::Open(fd.as_fd()));
            }
        }
        // The call takes no handle of these, but a path by way of one.
        let place = if path.is_root() {
            proc_path(self.root.handle()).map(|folder| folder.join("."))
        } else {
            let failed = |e: Errno| SourceError::new(path, ATTRIBUTES, e);
            let (folder, name) = self.parent(path).map_err(failed)?;
            proc_path(folder.as_fd()).map(|folder| folder.join(name.as_os_str()))
        };
        // Without /proc there is no other way than by the path.
        let place = place.unwrap_or_else(|| path.below(self.root.path()));
        self.attributes(path, Place::Path(&place))
    }

    fn attributes(&self, path: &ArchivePath, place: Place<'_>) -> Result<Vec<Xattr>, SourceError> {
        let read = || xattrs::read(place).map_err(|e| SourceError::new(path, ATTRIBUTES, e));
        self.patience.run(std::thread::sleep, SourceError::is_passing, read)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn link_target(&mut self, path: &ArchivePath) -> Result<Vec<u8>, SourceError> {
        let patience = Arc::clone(&self.patience);
        patience.run(std::thread::sleep, SourceError::is_passing, || {
            let target = self
                .parent(path)
                .and_then(|(folder, name)| rustix::fs::readlinkat(&*folder, name.as_bytes(), Vec::new()));
            target.map(|t| t.into_bytes()).map_err(|e| SourceError::new(path, "read the link", e))
        })
    }

    /// Fills `buffer` from the `offset`-th byte of a regular file on.
    ///
    /// # Errors
    /// [`SourceError`], also where the file ends before.
    pub fn read_range(
        &mut self,
        path: &ArchivePath,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), SourceError> {
        let fd = self.open(path, OFlags::empty()).map_err(|e| SourceError::new(path, "open", e))?;
        let file = File::from(fd);
        if look(path, &file)?.kind != NodeKind::File {
            let error = io::Error::other("it is no regular file any more");
            return Err(SourceError::new(path, "read", error));
        }
        file.read_exact_at(buffer, offset).map_err(|e| SourceError::new(path, "read", e))
    }

    /// Reads a regular file into `sink`: again from the start, up to three times in all, while it changes, and while it
    /// fails for a reason that may pass.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened or read, or is no regular file any more.
    pub fn content(
        &mut self,
        path: &ArchivePath,
        sink: &mut dyn ContentSink,
    ) -> Result<ReadContent, SourceError> {
        let (patience, mut begun) = (Arc::clone(&self.patience), false);
        patience.run(std::thread::sleep, SourceError::is_passing, || {
            if std::mem::replace(&mut begun, true) && sink.restart() == Restart::Stop {
                return Err(SourceError::new(path, "read", io::ErrorKind::Interrupted));
            }
            self.unchanged(path, sink)
        })
    }

    /// Reads until it has not changed meanwhile.
    fn unchanged(
        &mut self,
        path: &ArchivePath,
        sink: &mut dyn ContentSink,
    ) -> Result<ReadContent, SourceError> {
        let fd = self.open(path, OFlags::empty()).map_err(|e| SourceError::new(path, "open", e))?;
        let mut file = File::from(fd);
        let mut attempt = 1;
        loop {
            let before = look(path, &file)?;
            if before.kind != NodeKind::File {
                return Err(SourceError::new(
                    path,
                    "read",
                    io::Error::other("it is no regular file any more"),
                ));
            }
            if self.root.is_to_flush(&before) {
                // Not every file system does that for a file that is open for reading.
                let _ = rustix::fs::fdatasync(&file);
            }
            let (size, hash) =
                self.once(&mut file, &before, sink).map_err(|e| SourceError::new(path, "read", e))?;
            let xattrs = self.attributes(path, Place::Open(file.as_fd())).map_err(Arc::new);
            let after = look(path, &file)?;
            let same = |a: &Stat, b: &Stat| a.size == b.size && a.mtime == b.mtime && a.ctime == b.ctime;
            let changed_while_read = size != before.size || !same(&before, &after);
            if !changed_while_read || attempt == ATTEMPTS || sink.restart() == Restart::Stop {
                return Ok(ReadContent { stat: before, size, hash, xattrs, changed_while_read });
            }
            attempt += 1;
            rustix::fs::seek(&file, SeekFrom::Start(0)).map_err(|e| SourceError::new(path, "seek in", e))?;
        }
    }

    /// One pass over the file, up to the size it had when looked at: what is appended later belongs to a later run.
    fn once(
        &mut self,
        file: &mut File,
        stat: &Stat,
        sink: &mut dyn ContentSink,
    ) -> io::Result<(u64, ContentHash)> {
        let mut hasher = ContentHasher::default();
        let sparse = sink.wants_holes() && stat.allocated < stat.size;
        let mut at = 0;
        while at < stat.size {
            let (hole, data) = if sparse { next_data(file, at, stat.size)? } else { (0, stat.size - at) };
            // A hole that is filled just now may show neither.
            let data = if hole == 0 && data == 0 { stat.size - at } else { data };
            let mut left = hole;
            while left > 0 {
                // What is not hashed takes no time, however long it is.
                let part = if hasher.has_hashed_zeros() { left } else { left.min(HOLE_PART) };
                hasher.hole(part);
                if sink.hole(part).is_break() {
                    return Ok((at, hasher.finish()));
                }
                at += part;
                left -= part;
            }
            let end = at + data;
            while at < end {
                let want = (end - at).min(SEGMENT as u64) as usize;
                let buffer = sink.buffer();
                let got = fill(file, buffer, want)?;
                let bytes = buffer.len().checked_sub(got).and_then(|start| buffer.get(start..));
                let bytes = bytes.unwrap_or_default();
                at += got as u64;
                if got as u64 == stat.size {
                    // All of a small file at once, which BLAKE3 does in fewer and wider steps.
                    let hash = ContentHash::of(bytes);
                    let _ = sink.data(got);
                    return Ok((at, hash));
                }
                hasher.data(bytes);
                if sink.data(got).is_break() || got < want {
                    return Ok((at, hasher.finish()));
                }
            }
        }
        Ok((at, hasher.finish()))
    }
}

/// A path to what a handle is of, where /proc is there.
fn proc_path(handle: BorrowedFd<'_>) -> Option<PathBuf> {
    static HAS_PROC: LazyLock<bool> = LazyLock::new(|| Path::new("/proc/self/fd").exists());
    HAS_PROC.then(|| PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())))
}

fn look(path: &ArchivePath, file: &File) -> Result<Stat, SourceError> {
    stat_open(file.as_fd()).map_err(|e| SourceError::new(path, "stat", e))
}

/// Appends the file's next bytes: so many, or fewer where it ends before; how many. After an error there may be others.
fn fill(file: &mut File, buffer: &mut Vec<u8>, want: usize) -> io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + want, 0);
    let mut filled = start;
    while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    buffer.truncate(filled);
    Ok(filled - start)
}

/// Longer holes are handed on in parts, so that whoever wants to stop can.
const HOLE_PART: u64 = 64 << 20;
/// Shorter holes are read as the zeros they are: they would cost more to record than to store.
const MIN_HOLE: u64 = 64 << 10;

/// From `at` on: the length of the hole there (0 where data is), and of the data behind it. Leaves the file's
/// position at the data.
fn next_data(file: &File, at: u64, size: u64) -> io::Result<(u64, u64)> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start.min(size),
        // Nothing but a hole up to the end.
        Err(Errno::NXIO) => size,
        // A file system that does not know holes.
        Err(Errno::INVAL | Errno::NOTSUP) => at,
        Err(e) => return Err(e.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start)).map_or(size, |end| end.min(size)).max(start);
    let start = if start - at < MIN_HOLE { at } else { start };
    rustix::fs::seek(file, SeekFrom::Start(start))?;
    Ok((start - at, end - start))
}
