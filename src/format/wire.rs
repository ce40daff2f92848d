//! Entries as bincode records. Nothing outside this module uses bincode.
//!
//! The configuration is bincode 2's standard one: little endian, variable-length integers.

use super::FormatError;
use crate::model::{
    ArchivePath, ContentHash, DeviceNumber, Entry, Excerpt, Extent, FileContent, Kind, Meta, Name, Owners,
    Timestamp, Xattr,
};
use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// No record may be larger, in bytes; nor may a block of records.
pub(super) const MAX_RECORD: usize = 32 << 20;
/// No file may have more extents: some 2 TB of data, or as many holes.
pub const MAX_EXTENTS: usize = 2_000_000;
/// No entry may have more extended attributes; Linux lists 64 KiB of names at most, so fewer than these.
const MAX_XATTRS: usize = 10_000;
/// No more users, nor groups, may have names.
const MAX_OWNERS: usize = 250_000;
/// Longest path, in bytes. No file system takes longer ones, and a hostile manifest could grow them for ever.
pub(super) const MAX_PATH: usize = 64 << 10;

/// bincode counts each number in its widest form, which is up to eight times what it takes. A record is never longer
/// than the block that it is read from, nor a list than its type says; this is behind both.
const MAX_COUNTED: usize = 8 * MAX_RECORD;

type Config = Configuration<LittleEndian, Varint, Limit<MAX_COUNTED>>;
const CONFIG: Config = bincode::config::standard().with_limit::<MAX_COUNTED>();

const ENTRIES: &str = "the entries section";

#[derive(Serialize, Deserialize)]
struct EntryRecord<'a> {
    depth: u32,
    #[serde(with = "serde_bytes")]
    name: &'a [u8],
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    ctime: (i64, u32),
    inode: u64,
    #[serde(borrow)]
    xattrs: List<(Bytes<'a>, Bytes<'a>), MAX_XATTRS>,
    kind: KindRecord<'a>,
    extra: Extra,
}

#[derive(Serialize, Deserialize)]
struct Bytes<'a>(#[serde(with = "serde_bytes")] &'a [u8]);

/// A list whose length is checked while it is read: in memory its items take many times their bytes on disk.
struct List<T, const MOST: usize>(Vec<T>);

impl<T: Serialize, const MOST: usize> Serialize for List<T, MOST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for List<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
    type Value = List<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == MOST {
                return Err(A::Error::custom(format_args!("a list has more than {MOST} items")));
            }
            list.push(item);
        }
        Ok(List(list))
    }
}

/// (tag, value): room for what later versions record of an entry. Tags that this one does not know, which are all, are
/// passed over, and none are written.
struct Extra;

impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(std::iter::empty::<(u32, Bytes<'_>)>())
    }
}

impl<'de> Deserialize<'de> for Extra {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ExtraVisitor)
    }
}

struct ExtraVisitor;

impl<'de> Visitor<'de> for ExtraVisitor {
    type Value = Extra;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags with values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tags: A) -> Result<Extra, A::Error> {
        while tags.next_element::<(u32, Bytes<'de>)>()?.is_some() {}
        Ok(Extra)
    }
}

/// The variants' order is their number on disk.
#[derive(Serialize, Deserialize)]
enum KindRecord<'a> {
    Directory,
    File(FileRecord),
    Symlink(#[serde(with = "serde_bytes")] &'a [u8]),
    HardLink(#[serde(with = "serde_bytes")] &'a [u8]),
    Fifo,
    Socket,
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    size: u64,
    hash: [u8; 32],
    /// Bit 0: changed while it was read. The others are 0.
    flags: u8,
    /// (row of the object table plus 1, offset, length); row 0 is a hole, with offset 0.
    extents: List<(u32, u32, u64), MAX_EXTENTS>,
}

/// Appends `value` to `out`.
pub(super) fn encode(
    value: &impl Serialize,
    out: &mut Vec<u8>,
    what: &dyn Fn() -> String,
) -> Result<(), FormatError> {
    let before = out.len();
    // Into a vector, the size limit is the only thing that can fail.
    let written = bincode::serde::encode_into_std_write(value, out, CONFIG);
    match written {
        Ok(_) if out.len() - before <= MAX_RECORD => Ok(()),
        _ => {
            let size = (out.len() - before) as u64;
            out.truncate(before);
            Err(FormatError::TooLarge { what: what(), size, limit: MAX_RECORD as u64 })
        }
    }
}

pub(super) fn decode<'a, T: Deserialize<'a>>(
    bytes: &'a [u8],
    part: &'static str,
) -> Result<(T, usize), FormatError> {
    bincode::serde::borrow_decode_from_slice(bytes, CONFIG).map_err(|e| match e {
        // What our own types say; bincode would show it as Rust.
        DecodeError::OtherString(reason) => FormatError::invalid(part, reason),
        e => FormatError::invalid(part, e.to_string()),
    })
}

/// Appends the record of an entry.
pub(super) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let meta = &entry.meta;
    let record = EntryRecord {
        depth: entry.depth,
        name: entry.name.as_ref().map_or(&[], Name::as_bytes),
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        mtime: (meta.mtime.secs, meta.mtime.nanos),
        ctime: (meta.ctime.secs, meta.ctime.nanos),
        inode: meta.inode,
        xattrs: List(meta.xattrs.iter().map(|x| (Bytes(&x.name), Bytes(&x.value))).collect()),
        kind: kind_record(&entry.kind),
        extra: Extra,
    };
    let extents = if let Kind::File(content) = &entry.kind { content.extents.len() } else { 0 };
    check_length(extents, MAX_EXTENTS, || format!("the list of extents of {:?}", entry.name))?;
    check_length(meta.xattrs.len(), MAX_XATTRS, || {
        format!("the list of extended attributes of {:?}", entry.name)
    })?;
    encode(&record, out, &|| format!("the record of {:?}", entry.name))
}

/// Refuses to write a list that no reader takes.
fn check_length(length: usize, limit: usize, what: impl FnOnce() -> String) -> Result<(), FormatError> {
    if length <= limit {
        return Ok(());
    }
    Err(FormatError::TooLarge { what: what(), size: length as u64, limit: limit as u64 })
}

fn kind_record(kind: &Kind) -> KindRecord<'_> {
    match kind {
        Kind::Directory => KindRecord::Directory,
        Kind::File(content) => KindRecord::File(FileRecord {
            size: content.size,
            hash: *content.hash.as_bytes(),
            flags: u8::from(content.changed_while_read),
            extents: List(content.extents.iter().map(extent_record).collect()),
        }),
        Kind::Symlink(target) => KindRecord::Symlink(target),
        Kind::HardLink(target) => KindRecord::HardLink(target.as_bytes()),
        Kind::Fifo => KindRecord::Fifo,
        Kind::Socket => KindRecord::Socket,
        Kind::CharDevice(d) => KindRecord::CharDevice(d.major, d.minor),
        Kind::BlockDevice(d) => KindRecord::BlockDevice(d.major, d.minor),
    }
}

fn extent_record(extent: &Extent) -> (u32, u32, u64) {
    match *extent {
        // Tables have fewer rows than u32::MAX: the writer refuses more.
        Extent::Slice { object, offset, length } => (object.saturating_add(1), offset, u64::from(length)),
        Extent::Hole { length } => (0, 0, length),
    }
}

/// Reads the entry at the start of `bytes`; also returns how many bytes it took.
///
/// What needs the entries before it or the object table (order, links, extents in range) is checked by the reader.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<(Entry, usize), FormatError> {
    let (record, used) = decode::<EntryRecord<'_>>(bytes, ENTRIES)?;
    let invalid = |reason: String| FormatError::invalid(ENTRIES, reason);
    let name = match (record.depth, record.name) {
        (0, []) => None,
        (0, _) => return Err(invalid("the root has a name".into())),
        (_, name) => Some(Name::new(name).map_err(|e| invalid(e.to_string()))?),
    };
    let of_entry = |reason: String| of_entry(name.as_ref(), &reason);
    let xattrs = &record.xattrs.0;
    let meta = Meta {
        mode: record.mode,
        uid: record.uid,
        gid: record.gid,
        mtime: Timestamp { secs: record.mtime.0, nanos: record.mtime.1 },
        ctime: Timestamp { secs: record.ctime.0, nanos: record.ctime.1 },
        inode: record.inode,
        xattrs: xattrs.iter().map(|(n, v)| Xattr { name: n.0.into(), value: v.0.into() }).collect(),
    };
    let kind = kind(record.kind).map_err(of_entry)?;
    let entry = Entry { depth: record.depth, name, meta, kind };
    check_entry(&entry)?;
    Ok((entry, used))
}

fn of_entry(name: Option<&Name>, reason: &str) -> FormatError {
    FormatError::invalid(
        ENTRIES,
        match name {
            Some(name) => format!("{name:?} {reason}"),
            None => format!("the root {reason}"),
        },
    )
}

/// Checks an entry by itself. What is read is checked by this, and what is to be written.
///
/// # Errors
/// [`FormatError::Invalid`] for an entry that no reader takes.
pub fn check_entry(entry: &Entry) -> Result<(), FormatError> {
    let refuse = |reason: &str| Err(of_entry(entry.name.as_ref(), reason));
    let Meta { mode, mtime, ctime, ref xattrs, .. } = entry.meta;
    if (entry.depth == 0) != entry.name.is_none() {
        return refuse("is at the wrong depth");
    }
    if mode > 0o7777 {
        return refuse(&format!("has mode {mode:o}"));
    }
    if let Some(nanos) = [mtime.nanos, ctime.nanos].into_iter().find(|nanos| *nanos > 999_999_999) {
        return Err(FormatError::invalid(ENTRIES, format!("a time has {nanos} nanoseconds")));
    }
    if xattrs.iter().any(|x| x.name.is_empty() || x.name.contains(&0)) {
        return refuse("has an extended attribute with an impossible name");
    }
    if !xattrs.is_sorted_by(|a, b| a.name < b.name) {
        return refuse("has its extended attributes out of order");
    }
    match &entry.kind {
        Kind::Symlink(target) if target.is_empty() || target.contains(&0) => {
            refuse("is a symbolic link to an impossible target")
        }
        Kind::HardLink(target) if target.is_root() => refuse("is a hard link to \"\""),
        Kind::HardLink(target) => check_path(target),
        Kind::File(content) => check_content(content).or_else(|reason| refuse(&reason)),
        _ => Ok(()),
    }
}

fn check_content(content: &FileContent) -> Result<(), String> {
    let mut total = 0u64;
    for extent in &content.extents {
        let length = extent.length();
        if length == 0 {
            return Err("has an empty extent".into());
        }
        total = total.checked_add(length).ok_or("has extents of more than 2^64 bytes")?;
    }
    match total == content.size {
        true => Ok(()),
        false => Err(format!("has {} bytes in {total} bytes of extents", content.size)),
    }
}

/// The depth of the entry at the start of `bytes`, which is its record's first field.
pub(super) fn decode_depth(bytes: &[u8]) -> Result<u32, FormatError> {
    decode::<u32>(bytes, ENTRIES).map(|(depth, _)| depth)
}

fn kind(record: KindRecord<'_>) -> Result<Kind, String> {
    Ok(match record {
        KindRecord::Directory => Kind::Directory,
        KindRecord::File(file) => Kind::File(file_content(file)?),
        KindRecord::Symlink(target) => Kind::Symlink(target.into()),
        KindRecord::HardLink(target) => match path(target) {
            Some(path) => Kind::HardLink(path),
            None => return Err(format!("is a hard link to \"{}\"", Excerpt(target))),
        },
        KindRecord::Fifo => Kind::Fifo,
        KindRecord::Socket => Kind::Socket,
        KindRecord::CharDevice(major, minor) => Kind::CharDevice(DeviceNumber { major, minor }),
        KindRecord::BlockDevice(major, minor) => Kind::BlockDevice(DeviceNumber { major, minor }),
    })
}

fn file_content(file: FileRecord) -> Result<FileContent, String> {
    if file.flags > 1 {
        return Err(format!("has unknown flags {:#x}", file.flags));
    }
    let mut extents = Vec::with_capacity(file.extents.0.len());
    for (row, offset, length) in file.extents.0 {
        extents.push(match (row.checked_sub(1), u32::try_from(length)) {
            (Some(object), Ok(length)) => Extent::Slice { object, offset, length },
            (Some(_), Err(_)) => return Err(format!("has a slice of {length} bytes")),
            (None, _) if offset != 0 => return Err("has a hole with an offset".into()),
            (None, _) => Extent::Hole { length },
        });
    }
    let hash = ContentHash(file.hash);
    Ok(FileContent { size: file.size, hash, extents, changed_while_read: file.flags & 1 == 1 })
}

/// Appends the context that opens a block of entries: the folder that its first entry is in.
pub(super) fn encode_context(folder: &ArchivePath, out: &mut Vec<u8>) -> Result<(), FormatError> {
    encode(&Bytes(folder.as_bytes()), out, &|| "a path".into())
}

/// Reads a block's context; also returns how many bytes it took.
pub(super) fn decode_context(bytes: &[u8]) -> Result<(ArchivePath, usize), FormatError> {
    let (Bytes(raw), used) = decode::<Bytes<'_>>(bytes, ENTRIES)?;
    match path(raw) {
        Some(path) => Ok((path, used)),
        None => Err(FormatError::invalid(ENTRIES, format!("a block begins in \"{}\"", Excerpt(raw)))),
    }
}

/// Refuses to write a path that no reader takes.
pub(super) fn check_path(path: &ArchivePath) -> Result<(), FormatError> {
    check_length(path.as_bytes().len(), MAX_PATH, || "a path".into())
}

/// A path in its one form, if it is one and not too long.
pub(super) fn path(raw: &[u8]) -> Option<ArchivePath> {
    if raw.len() > MAX_PATH {
        return None;
    }
    ArchivePath::parse(raw).ok().filter(|path| path.as_bytes() == raw)
}

#[derive(Serialize, Deserialize)]
struct OwnersRecord<'a> {
    #[serde(borrow)]
    users: Names<'a>,
    #[serde(borrow)]
    groups: Names<'a>,
}

type Names<'a> = List<(u32, Bytes<'a>), MAX_OWNERS>;

/// The owners section.
pub(super) fn encode_owners(owners: &Owners) -> Result<Vec<u8>, FormatError> {
    fn rows(table: &[(u32, Vec<u8>)]) -> Names<'_> {
        List(table.iter().map(|(id, name)| (*id, Bytes(name))).collect())
    }
    let mut out = Vec::new();
    for table in [&owners.users, &owners.groups] {
        check_length(table.len(), MAX_OWNERS, || "the list of owners' names".into())?;
    }
    let record = OwnersRecord { users: rows(&owners.users), groups: rows(&owners.groups) };
    encode(&record, &mut out, &|| "the owners' names".into())?;
    Ok(out)
}

/// Reads the owners section.
pub(super) fn decode_owners(bytes: &[u8]) -> Result<Owners, FormatError> {
    let part = "the owners section";
    let (record, used) = decode::<OwnersRecord<'_>>(bytes, part)?;
    let rows = |table: Names<'_>| table.0.into_iter().map(|(id, n)| (id, n.0.to_vec())).collect::<Vec<_>>();
    let owners = Owners { users: rows(record.users), groups: rows(record.groups) };
    let sorted = |table: &[(u32, Vec<u8>)]| table.is_sorted_by(|a, b| a.0 < b.0);
    if used != bytes.len() || !sorted(&owners.users) || !sorted(&owners.groups) {
        return Err(FormatError::invalid(part, "it is out of order or has bytes left over"));
    }
    Ok(owners)
}
