//! From the standard library's metadata to the model's.

use crate::model::{DeviceNumber, NodeKind, Stat, Timestamp};
use std::fs::Metadata;
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
