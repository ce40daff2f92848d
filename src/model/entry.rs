//! One path of a tree, as a manifest holds it.

use super::{ArchivePath, ContentHash, Name, ObjectId};

/// One path of a tree: where, what, and all that is needed to make it again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Levels below the root; the root itself is 0.
    pub depth: u32,
    /// The last path component; none for the root.
    pub name: Option<Name>,
    /// Ownership, permissions and times.
    pub meta: Meta,
    /// What stands at the path.
    pub kind: Kind,
}

impl Entry {
    /// Bytes of memory that the entry takes, about.
    pub fn weight(&self) -> usize {
        let kind = match &self.kind {
            Kind::File(content) => content.extents.len() * size_of::<Extent>(),
            Kind::Symlink(target) => target.len(),
            Kind::HardLink(first) => first.as_bytes().len(),
            _ => 0,
        };
        size_of::<Self>() + kind + self.meta.weight()
    }
}

/// A point in time as file systems keep it: seconds since 1970 (negative before) plus nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0 to 999,999,999, counted forward from `secs`.
    pub nanos: u32,
}

impl Timestamp {
    /// The moment `seconds` later (or earlier, where negative).
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self { secs: self.secs.saturating_add(seconds), nanos: self.nanos }
    }

    /// The moment so much later.
    pub fn plus(self, length: std::time::Duration) -> Self {
        let nanos = self.nanos + length.subsec_nanos();
        let seconds = i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        let carried = self.plus_seconds(seconds).plus_seconds((nanos / 1_000_000_000).into());
        Self { nanos: nanos % 1_000_000_000, ..carried }
    }
}

/// An extended attribute: full name (`user.x`, `system.posix_acl_access`) and value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Xattr {
    /// Raw bytes, with the namespace.
    pub name: Vec<u8>,
    /// Raw bytes.
    pub value: Vec<u8>,
}

/// Metadata that every kind of entry has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: the lower 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode; only compared, never restored.
    pub ctime: Timestamp,
    /// Inode number; only compared, never restored. Without the device, which differs from mount to mount.
    pub inode: u64,
    /// Extended attributes, sorted by name; POSIX ACLs and file capabilities are among them.
    pub xattrs: Vec<Xattr>,
}

impl Meta {
    /// Bytes of memory that the attributes take, about.
    pub fn weight(&self) -> usize {
        let weight = |x: &Xattr| size_of::<Xattr>() + x.name.len() + x.value.len();
        self.xattrs.iter().map(weight).sum()
    }
}

/// What stands at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A folder.
    Directory,
    /// A regular file.
    File(FileContent),
    /// A symbolic link, with its target's raw bytes.
    Symlink(Vec<u8>),
    /// Another name of an earlier entry that is not a folder and not itself a hard link.
    HardLink(ArchivePath),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
}

impl Kind {
    /// The one letter that `ls -l` and `find -printf %y` use; `h` for a hard link.
    pub fn letter(&self) -> char {
        match self {
            Self::Directory => 'd',
            Self::File(_) => 'f',
            Self::Symlink(_) => 'l',
            Self::HardLink(_) => 'h',
            Self::Fifo => 'p',
            Self::Socket => 's',
            Self::CharDevice(_) => 'c',
            Self::BlockDevice(_) => 'b',
        }
    }
}

/// A device's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceNumber {
    /// Which driver.
    pub major: u32,
    /// Which of its devices.
    pub minor: u32,
}

/// A regular file's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileContent {
    /// Length in bytes; the extents' lengths add up to it.
    pub size: u64,
    /// Hash of the whole content.
    pub hash: ContentHash,
    /// The slices that make the content, in order.
    pub extents: Vec<Extent>,
    /// The file changed during each of the attempts to read it: the content may mix several states.
    pub changed_while_read: bool,
}

/// A slice of a chunk that belongs to a file, or a run of zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// `length` bytes at `offset` of the chunk in row `object` of the same manifest's object table.
    Slice {
        /// Row of the object table.
        object: u32,
        /// First byte in the chunk.
        offset: u32,
        /// Bytes; at least 1.
        length: u32,
    },
    /// `length` zero bytes that are stored nowhere.
    Hole {
        /// Bytes; at least 1.
        length: u64,
    },
}

impl Extent {
    /// Bytes of the file that the extent makes.
    pub fn length(&self) -> u64 {
        match *self {
            Self::Slice { length, .. } => u64::from(length),
            Self::Hole { length } => length,
        }
    }
}

/// A row of a manifest's object table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectRow {
    /// Name of the object, hash of its chunk.
    pub id: ObjectId,
    /// Bytes of the chunk.
    pub chunk_length: u32,
    /// Bytes of the object's file.
    pub stored_length: u32,
    /// How many of the chunk's bytes this manifest's files use; at most `chunk_length`.
    pub used: u32,
}

/// The names that belonged to the numeric owners when the manifest was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Owners {
    /// (uid, name), sorted by uid.
    pub users: Vec<(u32, Vec<u8>)>,
    /// (gid, name), sorted by gid.
    pub groups: Vec<(u32, Vec<u8>)>,
}

impl Owners {
    /// The name of a user, if it had one.
    pub fn user(&self, uid: u32) -> Option<&[u8]> {
        lookup(&self.users, uid)
    }

    /// The name of a group, if it had one.
    pub fn group(&self, gid: u32) -> Option<&[u8]> {
        lookup(&self.groups, gid)
    }
}

fn lookup(table: &[(u32, Vec<u8>)], id: u32) -> Option<&[u8]> {
    let row = table.binary_search_by_key(&id, |(id, _)| *id).ok()?;
    table.get(row).map(|(_, name)| name.as_slice())
}
