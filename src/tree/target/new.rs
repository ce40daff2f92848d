//! What is made: in a directory of the restorer's own, to be moved to its place when it is done.

use super::{Inode, Result, Target, Unrestored, swapped, taken};
use crate::model::{ArchivePath, Kind, Meta, Name};
use crate::tree::leftover::{is_leftover_name, leftover_name};
use crate::tree::stat::{Home, stat_at, stat_open};
use crate::tree::{OwnerMap, SourceError};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file that is being written where nobody else can reach it.
pub struct NewFile {
    file: File,
    bench: Arc<Bench>,
    temporary: String,
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

    /// Reads what was written; returns how many bytes there are, 0 at the end.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.file.read_at(buffer, offset)
    }
}

/// The directories in which a restore makes things: one for each file system that the tree has, since nothing can be moved
/// from one to another. They are removed when the last clone of the target goes.
#[derive(Default)]
pub(super) struct Workshop {
    benches: Mutex<HashMap<(Option<u64>, u64), Arc<Bench>>>,
    /// Numbers what is made and is not a file.
    nodes: AtomicU64,
    /// The file system has no rename that replaces nothing.
    always_replaces: AtomicBool,
}

/// So many directories are kept in mind.
const MAX_HOMES: usize = 1 << 14;

/// The file systems that directories are on, once asked for: files are written in the order of the store, each in another
/// directory than the one before.
#[derive(Clone, Default)]
pub(super) struct Homes(HashMap<u64, Home>, RandomState);

impl Homes {
    fn of(&mut self, path: &ArchivePath, folder: BorrowedFd<'_>) -> rustix::io::Result<Home> {
        let key = self.1.hash_one(path);
        if let Some(home) = self.0.get(&key) {
            return Ok(*home);
        }
        if self.0.len() >= MAX_HOMES {
            self.0.clear();
        }
        let home = Home::of(&stat_open(folder)?);
        Ok(*self.0.entry(key).or_insert(home))
    }
}

/// A directory that only the restorer can enter.
struct Bench {
    folder: OwnedFd,
    above: Arc<OwnedFd>,
    name: String,
}

impl Workshop {
    fn benches(&self) -> MutexGuard<'_, HashMap<(Option<u64>, u64), Arc<Bench>>> {
        self.benches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        for (_, bench) in self.benches().drain() {
            remove(bench.above.as_fd(), &bench.name, bench.folder.as_fd());
        }
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.close();
    }
}

const BENCH: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Bench {
    /// Makes one in a directory of the tree.
    fn new(above: &Arc<OwnedFd>) -> rustix::io::Result<Self> {
        let name = leftover_name()?;
        rustix::fs::mkdirat(above.as_fd(), name.as_str(), Mode::RWXU)?;
        let folder = rustix::fs::openat(above.as_fd(), name.as_str(), BENCH, Mode::empty())?;
        // Tells it from what a killed run has left. Not every file system has such locks.
        let _ = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive);
        if !is_ours(folder.as_fd())? {
            // Somebody has put another directory in its place: nothing is made there.
            return Err(Errno::PERM);
        }
        sweep(above.as_fd(), folder.as_fd());
        // A directory's default ACL is inherited: what is made here must be open to nobody.
        let _ = rustix::fs::fremovexattr(&folder, "system.posix_acl_default");
        Ok(Self { folder, above: Arc::clone(above), name })
    }
}

/// Whether a directory is one that we made: what we make in it has its owner, whoever that is on this file system (NFS maps
/// root to another, FAT and NTFS know one owner for all), and nobody else may enter it, if the file system has modes.
fn is_ours(folder: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let probe = rustix::fs::openat(folder, "probe", flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::unlinkat(folder, "probe", AtFlags::empty())?;
    let (probe, folder) = (rustix::fs::fstat(probe)?, rustix::fs::fstat(folder)?);
    let is_open = |mode: u32| mode & 0o077 != 0;
    Ok(probe.st_uid == folder.st_uid && (!is_open(folder.st_mode) || is_open(probe.st_mode)))
}

/// Removes what killed runs have left in a directory of the tree, of the owner of `ours`: what is held by a run stays.
fn sweep(above: BorrowedFd<'_>, ours: BorrowedFd<'_>) {
    let open = |name: &[u8]| rustix::fs::openat(above, name, BENCH, Mode::empty());
    let Ok(names) = open(b".").and_then(Dir::new) else { return };
    for name in names.flatten().map(|entry| entry.file_name().to_owned()) {
        if !is_leftover_name(name.to_bytes()) {
            continue;
        }
        let Ok(folder) = open(name.to_bytes()) else { continue };
        let (Ok(found), Ok(ours)) = (rustix::fs::fstat(&folder), rustix::fs::fstat(ours)) else { continue };
        let is_another_of_ours = found.st_uid == ours.st_uid && found.st_ino != ours.st_ino;
        if is_another_of_ours
            && rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
            && let Ok(name) = name.to_str()
        {
            remove(above, name, folder.as_fd());
        }
    }
}

/// Removes such a directory with the files in it; it has no directories.
fn remove(above: BorrowedFd<'_>, name: &str, folder: BorrowedFd<'_>) {
    let listed = rustix::fs::openat(folder, ".", BENCH, Mode::empty()).and_then(Dir::new);
    for entry in listed.into_iter().flatten().flatten() {
        let _ = rustix::fs::unlinkat(folder, entry.file_name(), AtFlags::empty());
    }
    // Only the directory itself: another of that name stays.
    let same = |found: rustix::fs::Stat| rustix::fs::fstat(folder).is_ok_and(|f| f.st_ino == found.st_ino);
    if rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(same) {
        let _ = rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR);
    }
}

impl Target {
    /// Removes the directories in which things were made; what is made after that makes new ones.
    pub fn close_workshop(&self) {
        self.workshop.close();
    }

    /// The directory in which what is to stand at `path` is made. `again` where the one that was used is gone.
    fn bench(&mut self, path: &ArchivePath, again: bool) -> rustix::io::Result<Arc<Bench>> {
        let (parent, _) = self.parent(path)?;
        let home = self.homes.of(&path.parent().unwrap_or_default(), parent.as_fd())?;
        let mut benches = self.workshop.benches();
        if again {
            benches.remove(&home.key());
        }
        if let Some(bench) = benches.get(&home.key()) {
            return Ok(Arc::clone(bench));
        }
        // In a directory that changes anyway: the others keep their times.
        let bench = Arc::new(Bench::new(&parent)?);
        sweep(self.folder.as_fd(), bench.folder.as_fd());
        benches.insert(home.key(), Arc::clone(&bench));
        Ok(bench)
    }

    /// Makes something on a bench; once more on a new one where somebody has removed that.
    fn on_bench<T>(
        &mut self,
        path: &ArchivePath,
        operation: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<(T, Arc<Bench>)> {
        let failed = |e| SourceError::new(path, operation, e);
        self.parent_to_change(path, "open the folder of")?;
        let bench = self.bench(path, false).map_err(failed)?;
        match make(bench.folder.as_fd()) {
            Err(Errno::NOENT | Errno::STALE) => {
                let bench = self.bench(path, true).map_err(failed)?;
                Ok((make(bench.folder.as_fd()).map_err(failed)?, bench))
            }
            made => Ok((made.map_err(failed)?, bench)),
        }
    }

    /// Begins a file that will stand at `path`; `number` tells the files of a run apart.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn create(&mut self, path: &ArchivePath, number: u64) -> Result<NewFile> {
        let temporary = number.to_string();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |folder: BorrowedFd<'_>| rustix::fs::openat(folder, temporary.as_str(), flags, mode);
        let (file, bench) = self.on_bench(path, "create", make)?;
        if matches!(*self.owners, OwnerMap::Nobody) {
            self.inherit_group(path, file.as_fd())?;
        }
        Ok(NewFile { file: file.into(), bench, temporary, end: 0 })
    }

    /// What is made in a directory with the setgid bit has its group.
    fn inherit_group(&mut self, path: &ArchivePath, file: BorrowedFd<'_>) -> Result<()> {
        let failed = |e| SourceError::new(path, "create", e);
        let (parent, _) = self.parent(path).map_err(failed)?;
        let parent = rustix::fs::fstat(parent.as_fd()).map_err(failed)?;
        if parent.st_mode & 0o2000 != 0 {
            // Whoever is not in the group keeps their own.
            let _ = rustix::fs::fchown(file, None, Some(Gid::from_raw(parent.st_gid)));
        }
        Ok(())
    }

    /// Opens once more a file that was begun.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn reopen(&mut self, path: &ArchivePath, number: u64) -> Result<NewFile> {
        let failed = |e| SourceError::new(path, "open", e);
        let bench = self.bench(path, false).map_err(failed)?;
        let temporary = number.to_string();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(bench.folder.as_fd(), temporary.as_str(), flags, Mode::empty());
        Ok(NewFile { file: file.map_err(failed)?.into(), bench, temporary, end: 0 })
    }

    /// Ends a file: gives it its size and metadata, and puts it in its place. There it replaces `looked`, what an
    /// earlier look found, and nothing else.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be put there; what of the metadata could not be set is returned.
    pub fn finish(
        &mut self,
        mut new: NewFile,
        path: &ArchivePath,
        size: u64,
        meta: &Meta,
        looked: Option<Inode>,
    ) -> Result<Vec<Unrestored>> {
        let result = (|| {
            // Where it ends in a hole, nothing was written there.
            if new.end != size {
                new.file.set_len(size).map_err(|e| SourceError::new(path, "write", e))?;
            }
            let mut unrestored =
                self.set_open(new.file.as_fd(), path, meta, |_| Ok(true)).unwrap_or_default();
            let (folder, name) =
                self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
            let bench = Arc::clone(&new.bench);
            match self.put(
                bench.folder.as_fd(),
                new.temporary.as_bytes(),
                (folder.as_fd(), &name),
                path,
                looked,
            ) {
                Err(error) if error.source.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                    unrestored = self.put_across(&mut new, path, meta, (&folder, &name), looked)?;
                }
                put => put?,
            }
            Ok(unrestored)
        })();
        if result.is_err() {
            let _ = rustix::fs::unlinkat(&new.bench.folder, new.temporary.as_str(), AtFlags::empty());
        }
        result
    }

    /// Moves what was made to its place.
    fn put(
        &self,
        bench: BorrowedFd<'_>,
        temporary: &[u8],
        (folder, name): (BorrowedFd<'_>, &Name),
        path: &ArchivePath,
        looked: Option<Inode>,
    ) -> Result<()> {
        const PUT: &str = "put in place";
        let name = name.as_bytes();
        let stands = match looked {
            None => None,
            Some(_) => stat_at(folder, name).ok().map(|now| (now.device, now.inode)),
        };
        if stands.is_some() {
            if stands != looked {
                return Err(swapped(path, PUT));
            }
            return rustix::fs::renameat(bench, temporary, folder, name)
                .map_err(|e| SourceError::new(path, PUT, e));
        }
        if !self.workshop.always_replaces.load(Ordering::Relaxed) {
            match rustix::fs::renameat_with(bench, temporary, folder, name, RenameFlags::NOREPLACE) {
                // NFS and others have no such rename, as kernels before 3.15.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.workshop.always_replaces.store(true, Ordering::Relaxed);
                }
                put => return put.map_err(|e| taken(path, PUT, e)),
            }
        }
        match stat_at(folder, name) {
            Err(Errno::NOENT) => rustix::fs::renameat(bench, temporary, folder, name)
                .map_err(|e| SourceError::new(path, PUT, e)),
            Ok(_) => Err(taken(path, PUT, Errno::EXIST)),
            Err(e) => Err(SourceError::new(path, PUT, e)),
        }
    }

    /// The same where nothing can be moved from the bench to the directory, though they are on one file system (project
    /// quotas, directories with keys of their own): it is copied to a bench in that very directory.
    fn put_across(
        &mut self,
        new: &mut NewFile,
        path: &ArchivePath,
        meta: &Meta,
        (folder, name): (&Arc<OwnedFd>, &Name),
        looked: Option<Inode>,
    ) -> Result<Vec<Unrestored>> {
        let failed = |e: std::io::Error| SourceError::new(path, "put in place", e);
        let near = Bench::new(folder).map_err(|e| failed(e.into()))?;
        let result = (|| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(&near.folder, "0", flags, Mode::RUSR | Mode::WUSR);
            let mut copy = File::from(copy.map_err(|e| failed(e.into()))?);
            new.file.seek(SeekFrom::Start(0)).map_err(failed)?;
            std::io::copy(&mut new.file, &mut copy).map_err(failed)?;
            let unrestored = self.set_open(copy.as_fd(), path, meta, |_| Ok(true)).unwrap_or_default();
            self.put(near.folder.as_fd(), b"0", (folder.as_fd(), name), path, looked)?;
            Ok(unrestored)
        })();
        remove(near.above.as_fd(), &near.name, near.folder.as_fd());
        let _ = rustix::fs::unlinkat(&new.bench.folder, new.temporary.as_str(), AtFlags::empty());
        result
    }

    /// Forgets a file that was begun.
    pub fn abandon(&self, number: u64) {
        for bench in self.workshop.benches().values() {
            let _ = rustix::fs::unlinkat(&bench.folder, number.to_string().as_str(), AtFlags::empty());
        }
    }

    /// Makes a symbolic link, fifo, socket or device with its metadata. It replaces `looked`, what an earlier look found,
    /// and nothing else.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be made; what of the metadata could not be set is returned.
    pub fn make_node(
        &mut self,
        path: &ArchivePath,
        kind: &Kind,
        meta: &Meta,
        looked: Option<Inode>,
    ) -> Result<Vec<Unrestored>> {
        let temporary = format!("n{}", self.workshop.nodes.fetch_add(1, Ordering::Relaxed));
        let (_, bench) = self.on_bench(path, "make", |folder| {
            let node = |file_type, device| {
                rustix::fs::mknodat(folder, temporary.as_str(), file_type, Mode::RUSR, device)
            };
            match kind {
                Kind::Symlink(target) => rustix::fs::symlinkat(target.as_slice(), folder, temporary.as_str()),
                Kind::Fifo => node(FileType::Fifo, 0),
                Kind::Socket => node(FileType::Socket, 0),
                Kind::CharDevice(d) => node(FileType::CharacterDevice, rustix::fs::makedev(d.major, d.minor)),
                Kind::BlockDevice(d) => node(FileType::BlockDevice, rustix::fs::makedev(d.major, d.minor)),
                Kind::Directory | Kind::File(_) | Kind::HardLink(_) => Err(Errno::INVAL),
            }
        })?;
        let made = self.set_node(bench.folder.as_fd(), temporary.as_bytes(), path, meta, None);
        let result = made.and_then(|unrestored| {
            let (folder, name) =
                self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
            self.put(bench.folder.as_fd(), temporary.as_bytes(), (folder.as_fd(), &name), path, looked)?;
            Ok(unrestored)
        });
        if result.is_err() {
            let _ = rustix::fs::unlinkat(&bench.folder, temporary.as_str(), AtFlags::empty());
        }
        result
    }
}
