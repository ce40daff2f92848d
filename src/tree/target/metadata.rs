//! Owner, mode, attributes and times of what is restored.

use super::error::{Result, Unrestored, swapped};
use super::handle::Target;
use super::own::Born;
use crate::model::{ArchivePath, Meta, NodeKind, Stat, Timestamp, Xattr};
use crate::tree::stat::stat_open;
use crate::tree::xattrs::{self, Place, kept};
use crate::tree::{OwnerMap, SourceError};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

impl Target {
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

    /// Gives what stands at `path`, and was looked at before, its metadata; returns what could not be set.
    ///
    /// # Errors
    /// [`SourceError`] when it cannot be opened, or is not what was looked at: another inode, or a file that has changed.
    pub fn set_metadata(
        &mut self,
        path: &ArchivePath,
        meta: &Meta,
        looked: &Stat,
    ) -> Result<Vec<Unrestored>> {
        const SET: &str = "set the metadata of";
        self.keep_off_store_at(path, Some(looked.kind))?;
        if matches!(looked.kind, NodeKind::File | NodeKind::Directory) {
            let fd = self.steps.open(self.folder.as_fd(), path, OFlags::RDONLY | OFlags::NONBLOCK);
            let fd = fd.map_err(|e| SourceError::new(path, "open", e))?;
            let now = stat_open(fd.as_fd()).map_err(|e| SourceError::new(path, "stat", e))?;
            let is_file = looked.kind == NodeKind::File;
            if !is_same(looked, &now) || (is_file && looked.ctime != now.ctime) {
                return Err(swapped(path, SET));
            }
            let unrestored = self.set_open(fd.as_fd(), path, meta, |fd| {
                // Its content was compared with the manifest's: it must still be that.
                let now = stat_open(fd)?;
                Ok(!is_file || (now.size, now.mtime) == (looked.size, looked.mtime))
            });
            return unrestored.ok_or_else(|| swapped(path, SET));
        }
        let (folder, name) =
            self.parent(path).map_err(|e| SourceError::new(path, "open the folder of", e))?;
        self.set_node(folder.as_fd(), name.as_bytes(), path, meta, Some(looked))
    }

    /// The same of what is neither a file nor a directory, by its directory's handle. With `looked` it must be that.
    pub(super) fn set_node(
        &self,
        folder: BorrowedFd<'_>,
        name: &[u8],
        path: &ArchivePath,
        meta: &Meta,
        looked: Option<&Stat>,
    ) -> Result<Vec<Unrestored>> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // One handle for all: by its name, something else might be met each time.
        let node = rustix::fs::openat(folder, name, flags, Mode::empty());
        let node = node.map_err(|e| SourceError::new(path, "open", e))?;
        let now = stat_open(node.as_fd()).map_err(|e| SourceError::new(path, "stat", e))?;
        if looked.is_some_and(|looked| !is_same(looked, &now)) {
            return Err(swapped(path, "set the metadata of"));
        }
        let mut unrestored = Unset { path, errors: Vec::new() };
        if let Some((uid, gid)) = self.owners.owner(meta) {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let set = rustix::fs::chownat(node.as_fd(), "", uid, gid, AtFlags::EMPTY_PATH);
            unrestored.note("set the owner of", set);
        }
        match self.proc_of(folder).map(|place| place.join(std::ffi::OsStr::from_bytes(name))) {
            Ok(place) => unrestored.note_all(xattrs::write(
                Place::Path(&place),
                &self.owners.xattrs(&meta.xattrs),
                &kept,
            )),
            Err(_) if meta.xattrs.is_empty() => {}
            Err(e) => unrestored.note("set attributes of", Err(e)),
        }
        // Linux has no modes of symbolic links.
        let mut mode = Ok(0);
        if now.kind != NodeKind::Symlink {
            mode = self.proc_of(node.as_fd()).and_then(|place: PathBuf| {
                rustix::fs::chmod(place, Mode::from_raw_mode(meta.mode))?;
                Ok(meta.mode)
            });
        }
        unrestored.note("set the mode of", has_special_bits(node.as_fd(), mode));
        unrestored.note("set the time of", rustix::fs::utimensat(folder, name, &times(meta.mtime), nofollow));
        Ok(unrestored.errors)
    }

    /// The same for an open file or directory; None where `is_still_right`, asked when only the time is left to set,
    /// denies it. The owner first, since that clears setuid bits and capabilities; the attributes before the mode, since
    /// an ACL that was inherited would let others in; the time last, since all else may touch it.
    pub(super) fn set_open(
        &self,
        fd: BorrowedFd<'_>,
        path: &ArchivePath,
        meta: &Meta,
        is_still_right: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<bool>,
    ) -> Option<Vec<Unrestored>> {
        let mut unrestored = Unset { path, errors: Vec::new() };
        let mut now = rustix::fs::fstat(fd);
        if let Some((uid, gid)) = self.owners.owner(meta)
            && !now.as_ref().is_ok_and(|now| (now.st_uid, now.st_gid) == (uid, gid))
        {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            unrestored.note("set the owner of", rustix::fs::fchown(fd, uid, gid));
            now = rustix::fs::fstat(fd);
        }
        unrestored.note_all(xattrs::write(Place::Open(fd), &self.owners.xattrs(&meta.xattrs), &kept));
        // Removing or setting an ACL changes the mode.
        if !meta.xattrs.is_empty() || now.as_ref().is_ok_and(|now| now.st_mode & 0o070 != 0) {
            now = rustix::fs::fstat(fd);
        }
        let mode = now.and_then(|now| self.set_open_mode(fd, meta, &now)).map_err(Into::into);
        unrestored.note("set the mode of", has_special_bits(fd, mode));
        if !is_still_right(fd).unwrap_or(false) {
            return None;
        }
        unrestored.note("set the time of", rustix::fs::futimens(fd, &times(meta.mtime)));
        Some(unrestored.errors)
    }

    /// The same for a file that was made just now, and has what files have that are made there.
    pub(super) fn set_born(
        &self,
        fd: BorrowedFd<'_>,
        path: &ArchivePath,
        meta: &Meta,
        born: Born,
    ) -> Vec<Unrestored> {
        let owner = (born.uid, born.gid);
        let mode = self.owners.mode(meta, true, owner);
        let is_owned = self.owners.owner(meta).is_none_or(|wanted| wanted == owner);
        let is_plain = born.is_bare && self.owners.xattrs(&meta.xattrs).is_empty();
        if !is_owned || !is_plain || mode != meta.mode || mode & 0o7000 != 0 {
            return self.set_open(fd, path, meta, |_| Ok(true)).unwrap_or_default();
        }
        let mut unrestored = Unset { path, errors: Vec::new() };
        if mode != born.mode {
            unrestored.note("set the mode of", rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)));
        }
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

/// Whether two looks were at one inode.
fn is_same(a: &Stat, b: &Stat) -> bool {
    (a.device, a.inode, a.kind) == (b.device, b.inode, b.kind)
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
