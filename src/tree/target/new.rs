//! What is made: in a directory of the restorer's own, to be moved to its place when it is done.

use super::error::{Inode, Result, Unrestored, swapped, taken};
use super::handle::Target;
use super::own::Born;
use super::staging::{StagingDirectory, sweep};
use crate::model::{ArchivePath, Kind, Meta, Name, Stat};
use crate::tree::stat::stat_at;
use crate::tree::{OwnerMap, SourceError};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A file that is being written where nobody else can reach it. Dropped before it is finished, it goes, unless it has a
/// name by which others may have it open.
pub struct NewFile {
    file: File,
    place: Place,
    /// The end of what was written by this handle.
    end: u64,
}

/// Where a new file is.
enum Place {
    /// In a staging directory, by a name that others open it by, or by none: then it goes with its handle.
    Staging(Arc<StagingDirectory>, Option<String>),
    /// By its own name in a directory that only the restorer can enter, until it is finished.
    Own { folder: Arc<OwnedFd>, name: Name, born: Born, is_finished: bool },
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Own { folder, name, is_finished: false, .. } = self {
            let _ = rustix::fs::unlinkat(&*folder, name.as_bytes(), AtFlags::empty());
        }
    }
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

    fn discard(&self) {
        if let Place::Staging(staging, Some(temporary)) = &self.place {
            let _ = rustix::fs::unlinkat(&staging.folder, temporary.as_str(), AtFlags::empty());
        }
    }
}

/// A new file, and where it is.
type Begun = (OwnedFd, Place);

const PUT: &str = "put in place";

impl Target {
    /// Removes the directories in which things were made; what is made after that makes new ones.
    pub fn close_staging(&self) {
        self.staging.close();
    }

    /// Removes what a killed restore has left in a directory that is to have so many directories. Only where the number of its
    /// links says that it has others, or says nothing, it is looked for.
    pub fn sweep(&mut self, path: &ArchivePath, stat: &Stat, folders: u64) {
        if stat.links == folders + 2 {
            return;
        }
        let ours = || rustix::process::geteuid().as_raw();
        let owner = self.staging.owner.get().copied().unwrap_or_else(ours);
        if let Ok(folder) = self.steps.folder(self.folder.as_fd(), path) {
            sweep(folder.as_fd(), owner);
        }
    }

    /// The directory in which what is to stand at `path` is made. `again` where the one that was used is gone.
    fn staging_directory(
        &mut self,
        path: &ArchivePath,
        again: bool,
    ) -> rustix::io::Result<Arc<StagingDirectory>> {
        let (parent, _) = self.parent(path)?;
        let home = self.homes.of(&path.parent().unwrap_or_default(), parent.as_fd())?;
        let mut directories = self.staging.directories();
        if again {
            directories.remove(&home.key());
        }
        if let Some(staging) = directories.get(&home.key()) {
            return Ok(Arc::clone(staging));
        }
        // In a directory that changes anyway: the others keep their times.
        let staging = Arc::new(StagingDirectory::new(&parent)?);
        let _ = self.staging.owner.set(staging.owner);
        sweep(self.folder.as_fd(), staging.owner);
        directories.insert(home.key(), Arc::clone(&staging));
        Ok(staging)
    }

    /// Makes something in a staging directory; once more on a new one where somebody has removed that.
    fn in_staging<T>(
        &mut self,
        path: &ArchivePath,
        operation: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<(T, Arc<StagingDirectory>)> {
        let failed = |e| SourceError::new(path, operation, e);
        self.parent_to_change(path, "open the folder of")?;
        let staging = self.staging_directory(path, false).map_err(failed)?;
        match make(staging.folder.as_fd()) {
            Err(Errno::NOENT | Errno::STALE) => {
                let staging = self.staging_directory(path, true).map_err(failed)?;
                Ok((make(staging.folder.as_fd()).map_err(failed)?, staging))
            }
            made => Ok((made.map_err(failed)?, staging)),
        }
    }

    /// Begins a file that will stand at `path`; `number` tells the files of a run apart. `at_once`: it replaces nothing, and
    /// is not to be opened again before it is finished.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn create(&mut self, path: &ArchivePath, number: u64, at_once: bool) -> Result<NewFile> {
        let own = if at_once { self.create_own(path)? } else { None };
        let (file, place) = match own {
            Some(begun) => begun,
            None if at_once && !self.staging.always_names.load(Ordering::Relaxed) => {
                self.create_unnamed(path, number)?
            }
            None => self.create_named(path, number)?,
        };
        if matches!((&*self.owners, &place), (OwnerMap::Nobody, Place::Staging(..))) {
            self.inherit_group(path, file.as_fd())?;
        }
        Ok(NewFile { file: file.into(), place, end: 0 })
    }

    /// In a directory that this run has made.
    fn create_own(&mut self, path: &ArchivePath) -> Result<Option<Begun>> {
        let (folder, name) = self.parent_to_change(path, "open the folder of")?;
        let Some(inode) = self.own.find(&folder) else { return Ok(None) };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name.as_bytes(), flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(|e| taken(path, PUT, e))?;
        let Some(born) = self.own.born(inode, file.as_fd()) else {
            // It is made anew in a staging directory, as all others of this directory are from now on.
            let _ = rustix::fs::unlinkat(&folder, name.as_bytes(), AtFlags::empty());
            return Ok(None);
        };
        Ok(Some((file, Place::Own { folder, name, born, is_finished: false })))
    }

    fn create_named(&mut self, path: &ArchivePath, number: u64) -> Result<Begun> {
        let temporary = number.to_string();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let make = |folder: BorrowedFd<'_>| rustix::fs::openat(folder, temporary.as_str(), flags, mode);
        let (file, staging) = self.in_staging(path, "create", make)?;
        Ok((file, Place::Staging(staging, Some(temporary))))
    }

    /// A file without a name takes no lock of its directory, which all threads have in common.
    fn create_unnamed(&mut self, path: &ArchivePath, number: u64) -> Result<Begun> {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let make =
            |folder: BorrowedFd<'_>| match rustix::fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR) {
                // Kernels before 3.11 take it for the directory.
                Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::ISDIR | Errno::NOSYS) => Ok(None),
                made => made.map(Some),
            };
        if let (Some(file), staging) = self.in_staging(path, "create", make)? {
            return Ok((file, Place::Staging(staging, None)));
        }
        self.staging.always_names.store(true, Ordering::Relaxed);
        self.create_named(path, number)
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
        let staging = self.staging_directory(path, false).map_err(failed)?;
        let temporary = number.to_string();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(staging.folder.as_fd(), temporary.as_str(), flags, Mode::empty());
        let place = Place::Staging(staging, Some(temporary));
        Ok(NewFile { file: file.map_err(failed)?.into(), place, end: 0 })
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
        let result = self.try_finish(&mut new, path, size, meta, looked);
        if result.is_err() {
            new.discard();
        }
        result
    }

    fn try_finish(
        &mut self,
        new: &mut NewFile,
        path: &ArchivePath,
        size: u64,
        meta: &Meta,
        looked: Option<Inode>,
    ) -> Result<Vec<Unrestored>> {
        // Where it ends in a hole, nothing was written there.
        if new.end != size {
            new.file.set_len(size).map_err(|e| SourceError::new(path, "write", e))?;
        }
        let (staging, temporary) = match &mut new.place {
            Place::Own { born, is_finished, .. } => {
                let set = self.set_born(new.file.as_fd(), path, meta, *born);
                *is_finished = true;
                return Ok(set);
            }
            Place::Staging(staging, temporary) => (Arc::clone(staging), temporary.as_deref()),
        };
        let unrestored = self.set_open(new.file.as_fd(), path, meta, |_| Ok(true)).unwrap_or_default();
        let (folder, name) =
            self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
        let put = match temporary {
            Some(name_there) => {
                let there = (staging.folder.as_fd(), name_there.as_bytes());
                self.put(there, (folder.as_fd(), &name), path, looked)
            }
            None => self.link(new.file.as_fd(), (folder.as_fd(), &name), path),
        };
        match put {
            Err(error) if error.source.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                self.put_across(new, path, meta, (&folder, &name), looked)
            }
            put => put.map(|()| unrestored),
        }
    }

    /// Gives a name to a file that has none. Where the system does not let it (user namespaces, file systems on top of
    /// others), the error is the one of a move to another file system, for which a copy is the way out; further files
    /// get names at once.
    fn link(
        &self,
        file: BorrowedFd<'_>,
        (folder, name): (BorrowedFd<'_>, &Name),
        path: &ArchivePath,
    ) -> Result<()> {
        let name = name.as_bytes();
        let linked = match rustix::fs::linkat(file, "", folder, name, AtFlags::EMPTY_PATH) {
            // Not everybody may, before Linux 6.10.
            Err(Errno::NOENT) => match self.proc_of(file) {
                Ok(place) => {
                    rustix::fs::linkat(rustix::fs::CWD, place, folder, name, AtFlags::SYMLINK_FOLLOW)
                }
                Err(_) => Err(Errno::XDEV),
            },
            linked => linked,
        };
        let linked = linked.map_err(|e| match e {
            Errno::PERM | Errno::ACCESS | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV => {
                self.staging.always_names.store(true, Ordering::Relaxed);
                Errno::XDEV
            }
            e => e,
        });
        linked.map_err(|e| taken(path, PUT, e))
    }

    /// Moves what was made to its place.
    fn put(
        &self,
        (staging, temporary): (BorrowedFd<'_>, &[u8]),
        (folder, name): (BorrowedFd<'_>, &Name),
        path: &ArchivePath,
        looked: Option<Inode>,
    ) -> Result<()> {
        let name = name.as_bytes();
        let stands = match looked {
            None => None,
            Some(_) => stat_at(folder, name).ok().map(|now| (now.device, now.inode)),
        };
        if stands.is_some() {
            if stands != looked {
                return Err(swapped(path, PUT));
            }
            return rustix::fs::renameat(staging, temporary, folder, name)
                .map_err(|e| SourceError::new(path, PUT, e));
        }
        if !self.staging.always_replaces.load(Ordering::Relaxed) {
            match rustix::fs::renameat_with(staging, temporary, folder, name, RenameFlags::NOREPLACE) {
                // NFS and others have no such rename, as kernels before 3.15.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.staging.always_replaces.store(true, Ordering::Relaxed);
                }
                put => return put.map_err(|e| taken(path, PUT, e)),
            }
        }
        match stat_at(folder, name) {
            Err(Errno::NOENT) => rustix::fs::renameat(staging, temporary, folder, name)
                .map_err(|e| SourceError::new(path, PUT, e)),
            Ok(_) => Err(taken(path, PUT, Errno::EXIST)),
            Err(e) => Err(SourceError::new(path, PUT, e)),
        }
    }

    /// The same where nothing can be moved from the staging to the directory, though they are on one file system (project
    /// quotas, directories with keys of their own): it is copied to a staging directory in that very directory.
    fn put_across(
        &mut self,
        new: &mut NewFile,
        path: &ArchivePath,
        meta: &Meta,
        (folder, name): (&Arc<OwnedFd>, &Name),
        looked: Option<Inode>,
    ) -> Result<Vec<Unrestored>> {
        let failed = |e: std::io::Error| SourceError::new(path, "put in place", e);
        let near = StagingDirectory::new(folder).map_err(|e| failed(e.into()))?;
        let result = (|| {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let copy = rustix::fs::openat(&near.folder, "0", flags, Mode::RUSR | Mode::WUSR);
            let mut copy = File::from(copy.map_err(|e| failed(e.into()))?);
            new.file.seek(SeekFrom::Start(0)).map_err(failed)?;
            std::io::copy(&mut new.file, &mut copy).map_err(failed)?;
            let unrestored = self.set_open(copy.as_fd(), path, meta, |_| Ok(true)).unwrap_or_default();
            self.put((near.folder.as_fd(), b"0"), (folder.as_fd(), name), path, looked)?;
            Ok(unrestored)
        })();
        near.close();
        new.discard();
        result
    }

    /// Forgets a file that was begun.
    pub fn abandon(&self, number: u64) {
        for staging in self.staging.directories().values() {
            let _ = rustix::fs::unlinkat(&staging.folder, number.to_string().as_str(), AtFlags::empty());
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
        let temporary = format!("n{}", self.staging.nodes.fetch_add(1, Ordering::Relaxed));
        let (_, staging) = self.in_staging(path, "make", |folder| {
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
        let made = self.set_node(staging.folder.as_fd(), temporary.as_bytes(), path, meta, None);
        let result = made.and_then(|unrestored| {
            let (folder, name) =
                self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
            self.put((staging.folder.as_fd(), temporary.as_bytes()), (folder.as_fd(), &name), path, looked)?;
            Ok(unrestored)
        });
        if result.is_err() {
            let _ = rustix::fs::unlinkat(&staging.folder, temporary.as_str(), AtFlags::empty());
        }
        result
    }
}
