//! Directories that a restore has made and not yet given their modes: only the restorer can enter them, so a file in one gets
//! its own name at once.

use super::error::Inode;
use crate::tree::stat::stat_open;
use crate::tree::xattrs::{self, Place, kept};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many directories are kept in mind.
const MAX_KNOWN: usize = 1 << 16;

/// What every file has that is made in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Born {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Whether it has no attributes, but for the machine's own.
    pub(super) is_bare: bool,
}

impl Born {
    /// What a file has that was made just now.
    pub(super) fn of(file: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let found = rustix::fs::fstat(file)?;
        // A default ACL of the directory shows here, or a label.
        let is_bare = xattrs::read(Place::Open(file)).is_ok_and(|all| all.iter().all(|x| kept(&x.name)));
        Ok(Self { uid: found.st_uid, gid: found.st_gid, mode: found.st_mode & 0o7777, is_bare })
    }
}

/// The directories by their inodes, with what a file in each has, once there is one. Shared by the clones of a target.
#[derive(Clone, Default)]
pub(super) struct OwnFolders {
    known: Arc<Mutex<HashMap<Inode, Own>>>,
    /// The one that this clone has asked for last, which it holds open.
    last: Option<(Arc<OwnedFd>, Option<Inode>)>,
}

/// A directory of that kind.
#[derive(Clone, Copy, Debug)]
struct Own {
    owner: u32,
    born: Option<Born>,
}

impl OwnFolders {
    fn known(&self) -> MutexGuard<'_, HashMap<Inode, Own>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a directory that was made just now, unless others can enter it: not every file system has modes.
    pub(super) fn add(&self, above: BorrowedFd<'_>, name: &[u8]) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(folder) = rustix::fs::openat(above, name, flags, Mode::empty()) else { return };
        let Ok(found) = stat_open(folder.as_fd()) else { return };
        // Whoever owns the directory above can put another in its place, but none that is the restorer's and closed.
        if found.mode & 0o077 != 0 || found.uid != rustix::process::geteuid().as_raw() {
            return;
        }
        let mut known = self.known();
        if known.len() < MAX_KNOWN {
            known.insert((found.device, found.inode), Own { owner: found.uid, born: None });
        }
    }

    /// The directory's inode, if it is such a directory.
    pub(super) fn find(&mut self, folder: &Arc<OwnedFd>) -> Option<Inode> {
        if let Some((last, inode)) = &self.last
            && Arc::ptr_eq(last, folder)
        {
            return *inode;
        }
        let found = stat_open(folder.as_fd()).ok().map(|found| (found.device, found.inode));
        let inode = found.filter(|inode| self.known().contains_key(inode));
        self.last = Some((Arc::clone(folder), inode));
        inode
    }

    /// What a file in the directory has, of which `file` is one that was made just now. None where it has another owner than
    /// the directory, or others can open it: then the directory is not what it seemed to be, and is forgotten.
    pub(super) fn born(&mut self, folder: Inode, file: BorrowedFd<'_>) -> Option<Born> {
        let own = self.known().get(&folder).copied()?;
        if own.born.is_some() {
            return own.born;
        }
        let is_own = |born: &Born| born.uid == own.owner && born.mode & 0o077 == 0;
        let born = Born::of(file).ok().filter(is_own);
        match born {
            Some(_) => self.known().insert(folder, Own { born, ..own }),
            None => self.known().remove(&folder),
        };
        if born.is_none() {
            self.last = None;
        }
        born
    }
}
