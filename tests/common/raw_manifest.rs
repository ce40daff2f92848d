//! Manifests byte by byte, as `docs/format.md` lays them down: such, too, as the program's own writer refuses.

use weekvault::format::{Seals, encode_objects, encode_summary};
use weekvault::model::{Completeness, Counts, Details, ObjectRow, Summary, Timestamp};

/// An unsigned number.
pub(crate) fn number(n: u64) -> Vec<u8> {
    match n {
        0..=250 => vec![n as u8],
        251..=0xffff => [&[0xfb][..], &(n as u16).to_le_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[0xfc][..], &(n as u32).to_le_bytes()].concat(),
        _ => [&[0xfd][..], &n.to_le_bytes()].concat(),
    }
}

fn signed(n: i64) -> Vec<u8> {
    number(((n << 1) ^ (n >> 63)) as u64)
}

pub(crate) fn bytes(b: &[u8]) -> Vec<u8> {
    [number(b.len() as u64).as_slice(), b].concat()
}

/// What an entry says, nothing of it checked.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) depth: u32,
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Number of the kind and what it adds.
    pub(crate) kind: Vec<u8>,
}

pub(crate) fn record(depth: u32, name: impl AsRef<[u8]>, kind: Vec<u8>) -> Record {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (name, mtime) = (name.as_ref().to_vec(), (1_700_000_000, 5));
    Record { depth, name, mode: 0o755, owner, mtime, xattrs: Vec::new(), kind }
}

impl Record {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = number(self.depth.into());
        out.extend(bytes(&self.name));
        for n in [self.mode, self.owner.0, self.owner.1] {
            out.extend(number(n.into()));
        }
        for (seconds, nanoseconds) in [self.mtime, (1_700_000_000, 0)] {
            out.extend(signed(seconds));
            out.extend(number(nanoseconds.into()));
        }
        out.extend(number(7));
        out.extend(number(self.xattrs.len() as u64));
        for (name, value) in &self.xattrs {
            out.extend(bytes(name));
            out.extend(bytes(value));
        }
        out.extend(&self.kind);
        out.extend(number(0));
        out
    }
}

pub(crate) fn folder() -> Vec<u8> {
    vec![0]
}

pub(crate) fn fifo() -> Vec<u8> {
    vec![4]
}

pub(crate) fn symlink(target: &[u8]) -> Vec<u8> {
    [&[2][..], &bytes(target)].concat()
}

pub(crate) fn hard_link(target: &[u8]) -> Vec<u8> {
    [&[3][..], &bytes(target)].concat()
}

pub(crate) fn device(major: u32, minor: u32) -> Vec<u8> {
    [&[6][..], &number(major.into()), &number(minor.into())].concat()
}

/// A file of these extents: (row, offset, length).
pub(crate) fn file_of(size: u64, hash: [u8; 32], extents: &[(u64, u64, u64)]) -> Vec<u8> {
    let mut out = [&[1][..], &number(size), &hash, &[0], &number(extents.len() as u64)].concat();
    for (row, offset, length) in extents {
        match [*row, *offset, *length] {
            small if small.iter().all(|n| *n <= 250) => out.extend(small.map(|n| n as u8)),
            large => large.iter().for_each(|n| out.extend(number(*n))),
        }
    }
    out
}

/// A file that is all of the chunk in row 1.
pub(crate) fn file(chunk: &[u8]) -> Vec<u8> {
    let length = chunk.len() as u64;
    file_of(length, *blake3::hash(chunk).as_bytes(), &[(1, 0, length)])
}

/// A block, and what the index says of it.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) section: u8,
    pub(crate) items: u32,
    pub(crate) plain_length: u32,
    pub(crate) stored: Vec<u8>,
}

impl Block {
    pub(crate) fn new(section: u8, items: u32, plain: &[u8]) -> Self {
        let mut stored = Vec::new();
        Seals::zstd(1).sealer().unwrap().seal_into(plain, &mut stored).unwrap();
        Self { section, items, plain_length: plain.len() as u32, stored }
    }

    /// Entries, the first of them in the folder `context`.
    pub(crate) fn entries(context: &[u8], records: &[Record]) -> Self {
        let mut plain = bytes(context);
        for record in records {
            plain.extend(record.bytes());
        }
        Self::new(1, records.len() as u32, &plain)
    }
}

/// The summary of a manifest of these blocks.
pub(crate) fn summary(blocks: &[Block]) -> Summary {
    let entries = blocks.iter().filter(|b| b.section == 1).map(|b| u64::from(b.items)).sum();
    let now = Timestamp { secs: 1_744_081_800, nanos: 0 };
    Summary {
        week: "2025-14".parse().unwrap(),
        pvc: "pvc".parse().unwrap(),
        store: String::new(),
        started: now,
        finished: now,
        completeness: Completeness::Complete,
        details: Some(Details {
            source: "/nowhere".into(),
            host: "host".into(),
            tool: "a test".into(),
            excludes: Vec::new(),
            compared_with: None,
            counts: Counts { entries, ..Counts::default() },
        }),
        head: None,
    }
}

/// The manifest of these entries (and missing paths), which need these objects.
pub(crate) fn manifest(blocks: &[Block], objects: &[ObjectRow]) -> Vec<u8> {
    let mut all = blocks.to_vec();
    all.push(Block::new(3, 1, &[0, 0]));
    if !objects.is_empty() {
        all.push(Block::new(4, objects.len() as u32, &encode_objects(objects)));
    }
    all.push(Block::new(5, 1, &encode_summary(&summary(blocks)).unwrap()));
    assemble(&all)
}

/// The file of these blocks. All its hashes are right.
pub(crate) fn assemble(blocks: &[Block]) -> Vec<u8> {
    let mut file = b"WKVLTMF\n\x01\0\0\0\0\0\0\0".to_vec();
    let mut hashed = file.clone();
    for Block { section, items, plain_length, stored } in blocks {
        hashed.extend([*section, 0, 0, 0]);
        for number in [*items, *plain_length, stored.len() as u32] {
            hashed.extend_from_slice(&number.to_le_bytes());
        }
        hashed.extend_from_slice(blake3::hash(stored).as_bytes());
        file.extend_from_slice(stored);
    }
    let index = &hashed[16..];
    file.extend_from_slice(index);
    file.extend_from_slice(&(index.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend_from_slice(blake3::hash(&hashed).as_bytes());
    file.extend_from_slice(b"WKVLTEND");
    file
}
