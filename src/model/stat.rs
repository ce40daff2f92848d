//! What a file system says of a path, before anything is read.

use super::{DeviceNumber, Timestamp};

/// What stands at a path of a live tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// A folder.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

/// The result of an `lstat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stat {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits with setuid, setgid and sticky: the lower 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// The file system's device; tells file systems apart within one run.
    pub device: u64,
    /// The mount that it was reached by; none where the kernel does not say.
    pub mount: Option<u64>,
    /// How many names the inode has.
    pub links: u64,
    /// Bytes that the content takes on disk; fewer than `size` for a sparse file.
    pub allocated: u64,
}

impl Stat {
    /// Whether this and `other` are looks at one file, which has not changed in between. Device and inode number alone do
    /// not say so: a file system may give the number of a file that was removed to the next one, and some give one number
    /// to several files. The ctime is not asked: it changes with each name that comes or goes.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let identity = |s: &Self| (s.device, s.inode, s.kind, s.links);
        let state = |s: &Self| (s.size, s.mtime, s.mode, s.uid, s.gid);
        identity(self) == identity(other) && state(self) == state(other)
    }
}
