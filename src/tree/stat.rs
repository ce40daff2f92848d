//! From the file system's metadata to the model's.

use crate::model::{DeviceNumber, NodeKind, Stat, Timestamp};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, StatxFlags, StatxTimestamp};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// What stands at a name in a folder; a symbolic link is not followed.
pub(super) fn stat_at(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    // What is mounted on demand is not mounted for a look at it: `stat` never did, `statx` has to be told.
    match look(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
        // Kernels before 4.11, and strict seccomp profiles.
        Err(Errno::NOSYS | Errno::PERM) => {
            rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| from_stat(&found))
        }
        stat => stat,
    }
}

/// What a handle is of.
pub(super) fn stat_open(handle: BorrowedFd<'_>) -> rustix::io::Result<Stat> {
    match look(handle, b"", AtFlags::EMPTY_PATH) {
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::fstat(handle).map(|found| from_stat(&found)),
        stat => stat,
    }
}

/// Whether something is mounted at a path.
pub fn is_mount_point(path: &Path) -> bool {
    let mount = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        stat_open(folder.as_fd()).map(|stat| (stat.mount, stat.device))
    };
    let Ok(path) = path.canonicalize() else { return false };
    path.parent().is_none_or(|above| mount(&path) != mount(above))
}

fn look(folder: BorrowedFd<'_>, name: &[u8], flags: AtFlags) -> rustix::io::Result<Stat> {
    let found = rustix::fs::statx(folder, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)?;
    let time = |t: StatxTimestamp| Timestamp { secs: t.tv_sec, nanos: t.tv_nsec.min(999_999_999) };
    let has_mount = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID);
    Ok(Stat {
        kind: kind_of(found.stx_mode.into(), || DeviceNumber {
            major: found.stx_rdev_major,
            minor: found.stx_rdev_minor,
        }),
        mode: u32::from(found.stx_mode) & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        size: found.stx_size,
        mtime: time(found.stx_mtime),
        ctime: time(found.stx_ctime),
        inode: found.stx_ino,
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        mount: has_mount.then_some(found.stx_mnt_id),
        links: found.stx_nlink.into(),
        allocated: found.stx_blocks * 512,
    })
}

fn from_stat(found: &rustix::fs::Stat) -> Stat {
    let device =
        || DeviceNumber { major: rustix::fs::major(found.st_rdev), minor: rustix::fs::minor(found.st_rdev) };
    let time = |secs, nanos: u64| Timestamp { secs, nanos: nanos.min(999_999_999) as u32 };
    Stat {
        kind: kind_of(found.st_mode, device),
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        size: found.st_size as u64,
        mtime: time(found.st_mtime, found.st_mtime_nsec),
        ctime: time(found.st_ctime, found.st_ctime_nsec),
        inode: found.st_ino,
        device: found.st_dev,
        mount: None,
        links: found.st_nlink,
        allocated: found.st_blocks as u64 * 512,
    }
}

fn kind_of(mode: u32, device: impl Fn() -> DeviceNumber) -> NodeKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::CharacterDevice => NodeKind::CharDevice(device()),
        _ => NodeKind::BlockDevice(device()),
    }
}

/// Where a tree is: decides what belongs to it, and what is mounted in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Home {
    mount: Option<u64>,
    device: u64,
}

impl Home {
    /// The home of a tree with this root.
    pub(super) fn of(root: &Stat) -> Self {
        Self { mount: root.mount, device: root.device }
    }

    /// What file systems that are reached by one mount have in common.
    pub(super) fn key(&self) -> (Option<u64>, u64) {
        (self.mount, self.device)
    }

    /// Whether what stands at a path below the root is part of the tree, and not a mount point or, without being one,
    /// the root of another file system.
    ///
    /// The mount decides: a bind mount of the same file system has the root's device, and a file of an overlay's lower
    /// layer has another one, though nothing is mounted there. A directory of the same mount that has another device is
    /// a subvolume, which users of `--one-file-system` in other tools know as a file system of its own. Where the
    /// kernel does not tell mounts (before 5.8), the device of directories is all there is.
    pub(super) fn has(&self, stat: &Stat) -> bool {
        let same_mount = match (self.mount, stat.mount) {
            (Some(home), Some(mount)) => home == mount,
            _ => true,
        };
        same_mount && (stat.kind != NodeKind::Directory || stat.device == self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn stat(kind: NodeKind, mount: Option<u64>, device: u64) -> Stat {
        let time = Timestamp::default();
        let (mode, uid, gid, size, inode, links, allocated) = (0, 0, 0, 0, 0, 1, 0);
        let (mtime, ctime) = (time, time);
        Stat { kind, mode, uid, gid, size, mtime, ctime, inode, device, mount, links, allocated }
    }

    #[test]
    fn mounts_decide_and_devices_of_directories() {
        let (file, dir) = (NodeKind::File, NodeKind::Directory);
        let home = Home::of(&stat(dir, Some(7), 1));
        assert!(home.has(&stat(dir, Some(7), 1)) && home.has(&stat(file, Some(7), 1)));
        assert!(home.has(&stat(file, Some(7), 2)), "a file of an overlay's lower layer");
        assert!(!home.has(&stat(dir, Some(8), 1)) && !home.has(&stat(file, Some(8), 1)), "bind mounts");
        assert!(!home.has(&stat(dir, Some(7), 2)), "a subvolume");
        for old in [Home::of(&stat(dir, None, 1)), home] {
            assert!(old.has(&stat(dir, None, 1)) && !old.has(&stat(dir, None, 2)));
            assert!(old.has(&stat(file, None, 2)));
        }
    }

    #[test]
    fn all_looks_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), b"abc").unwrap();
        let folder = std::fs::File::open(dir.path()).unwrap();
        let file = std::fs::File::open(dir.path().join("f")).unwrap();
        let at = stat_at(folder.as_fd(), b"f").unwrap();
        assert_eq!(at, stat_open(file.as_fd()).unwrap());
        assert_eq!(Stat { mount: None, ..at }, from_stat(&rustix::fs::fstat(&file).unwrap()));
        // Linux from 5.8 on says it.
        assert_eq!(at.mount, stat_open(folder.as_fd()).unwrap().mount);
    }
}
