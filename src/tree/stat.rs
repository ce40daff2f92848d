//! From the file system's metadata to the model's.

use crate::model::{DeviceNumber, NodeKind, Stat, Timestamp};
use rustix::fs::{AtFlags, FileType};
use std::fs::Metadata;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// The model's view of a file's metadata.
pub(super) fn stat_of(metadata: &Metadata) -> Stat {
    let device = || {
        let number = metadata.rdev();
        DeviceNumber { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
    };
    let kind = metadata.file_type();
    let kind = match kind {
        t if t.is_file() => NodeKind::File,
        t if t.is_dir() => NodeKind::Directory,
        t if t.is_symlink() => NodeKind::Symlink,
        t if t.is_fifo() => NodeKind::Fifo,
        t if t.is_socket() => NodeKind::Socket,
        t if t.is_char_device() => NodeKind::CharDevice(device()),
        _ => NodeKind::BlockDevice(device()),
    };
    // The kernel counts nanoseconds forward from the second, before 1970 too.
    let time = |secs, nanos: i64| Timestamp { secs, nanos: nanos.clamp(0, 999_999_999) as u32 };
    Stat {
        kind,
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.size(),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        device: metadata.dev(),
        links: metadata.nlink(),
        allocated: metadata.blocks() * 512,
    }
}

/// What stands at a name in a folder; a symbolic link is not followed.
pub(super) fn stat_at(folder: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let device =
        || DeviceNumber { major: rustix::fs::major(found.st_rdev), minor: rustix::fs::minor(found.st_rdev) };
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        FileType::Fifo => NodeKind::Fifo,
        FileType::Socket => NodeKind::Socket,
        FileType::CharacterDevice => NodeKind::CharDevice(device()),
        _ => NodeKind::BlockDevice(device()),
    };
    let time = |secs, nanos: u64| Timestamp { secs, nanos: nanos.min(999_999_999) as u32 };
    Ok(Stat {
        kind,
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        size: found.st_size as u64,
        mtime: time(found.st_mtime, found.st_mtime_nsec),
        ctime: time(found.st_ctime, found.st_ctime_nsec),
        inode: found.st_ino,
        device: found.st_dev,
        links: found.st_nlink,
        allocated: found.st_blocks as u64 * 512,
    })
}
