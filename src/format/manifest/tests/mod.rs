use super::*;
use crate::format::Seals;
use crate::model::*;
use proptest::prelude::*;
use std::io;
use std::sync::Arc;

mod sealed;
mod seek;

impl RandomRead for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.get(offset as usize..).and_then(|b| b.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn summary() -> Summary {
    Summary {
        week: "2025-14".parse().unwrap(),
        pvc: "enigma".parse().unwrap(),
        store: "00112233445566778899aabbccddeeff".into(),
        started: Timestamp { secs: 1_744_081_800, nanos: 5 },
        finished: Timestamp { secs: 1_744_081_804, nanos: 0 },
        completeness: Completeness::Partial { missing: 1 },
        details: Some(Details {
            source: "/src/enigma".into(),
            host: "pod".into(),
            tool: "weekvault test".into(),
            excludes: vec!["*.tmp".into()],
            compared_with: Some(Digest([7; 32])),
            counts: Counts { entries: 3, bytes: 12, ..Counts::default() },
        }),
        head: None,
    }
}

fn write(entries: &[Entry], objects: &[ObjectRow]) -> Vec<u8> {
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    writer.problem(problem());
    writer.finish(&owners(), objects, &summary()).unwrap().out
}

fn problem() -> Problem {
    Problem { path: ArchivePath::parse(b"a/b").unwrap(), operation: "open".into(), error: "denied".into() }
}

fn owners() -> Owners {
    Owners { users: vec![(0, b"root".to_vec()), (33, b"www-data".to_vec())], groups: vec![] }
}

fn meta() -> impl Strategy<Value = Meta> {
    let time = || (any::<i64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Timestamp { secs, nanos });
    let xattrs = prop::collection::btree_map("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..99), 0..3);
    (0..0o10000u32, any::<u32>(), any::<u32>(), time(), time(), any::<u64>(), xattrs).prop_map(
        |(mode, uid, gid, mtime, ctime, inode, xattrs)| {
            let xattrs = xattrs.into_iter().map(|(n, value)| Xattr { name: n.into_bytes(), value }).collect();
            Meta { mode, uid, gid, mtime, ctime, inode, xattrs }
        },
    )
}

fn table() -> Vec<ObjectRow> {
    let row = |i: u8| ObjectRow {
        id: ObjectId::plain(ChunkId([i; 32])),
        chunk_length: 1 << 20,
        stored_length: 77,
        used: 9,
    };
    (0..4).map(row).collect()
}

fn kind() -> impl Strategy<Value = Kind> {
    let extent = prop_oneof![
        (0..4u32, 0..1000u32, 1..1000u32).prop_map(|(object, offset, length)| Extent::Slice {
            object,
            offset,
            length
        }),
        (1..u64::MAX >> 8).prop_map(|length| Extent::Hole { length }),
    ];
    let content = (prop::collection::vec(extent, 0..5), any::<[u8; 32]>(), any::<bool>());
    let device = || (any::<u32>(), any::<u32>()).prop_map(|(major, minor)| DeviceNumber { major, minor });
    prop_oneof![
        Just(Kind::Directory),
        content.prop_map(|(extents, hash, changed_while_read)| Kind::File(FileContent {
            size: extents.iter().map(Extent::length).sum(),
            hash: ContentHash(hash),
            extents,
            changed_while_read,
        })),
        prop::collection::vec(1..=255u8, 1..40).prop_map(Kind::Symlink),
        Just(Kind::Fifo),
        Just(Kind::Socket),
        device().prop_map(Kind::CharDevice),
        device().prop_map(Kind::BlockDevice),
    ]
}

/// A tree: random children below random folders, in path order, root first.
fn tree() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop::collection::vec(any::<u8>(), 1..6).prop_filter_map("a name", |b| Name::new(&b).ok());
    let node = (any::<prop::sample::Index>(), name, meta(), kind());
    (meta(), prop::collection::vec(node, 0..60)).prop_map(|(meta, nodes)| {
        let root = Entry { depth: 0, name: None, meta, kind: Kind::Directory };
        let mut tree = std::collections::BTreeMap::from([(ArchivePath::root(), root)]);
        for (parent, name, meta, kind) in nodes {
            let folders: Vec<_> =
                tree.iter().filter(|(_, e)| e.kind == Kind::Directory).map(|(p, _)| p).collect();
            let path = parent.get(&folders).child(&name);
            tree.entry(path.clone()).or_insert(Entry { depth: path.depth(), name: Some(name), meta, kind });
        }
        tree.into_values().collect()
    })
}

#[expect(clippy::ptr_arg, reason = "the vector is what is read")]
fn read(bytes: &Vec<u8>) -> Result<Vec<Entry>, ReadError> {
    let reader = ManifestReader::open(bytes.clone(), &Seals::default())?;
    reader.summary()?;
    reader.owners()?;
    reader.problems()?;
    reader.entries()?.map(|e| e.map(|(_, entry)| entry)).collect()
}

proptest! {
    #[test]
    fn any_tree_reads_back(entries in tree()) {
        let bytes = write(&entries, &table());
        prop_assert_eq!(read(&bytes).unwrap(), entries);
    }

    #[test]
    fn any_bytes_are_refused_politely(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&bytes).is_err());
    }
}

fn small() -> Vec<Entry> {
    let meta = Meta { mode: 0o755, ..Meta::default() };
    let entry = |depth, name: &str, kind| Entry {
        depth,
        name: Name::new(name.as_bytes()).ok(),
        meta: meta.clone(),
        kind,
    };
    vec![entry(0, "", Kind::Directory), entry(1, "d", Kind::Directory), entry(2, "f", Kind::Fifo)]
}

#[test]
fn sections_read_alone() {
    let reader = ManifestReader::open(write(&small(), &table()), &Seals::default()).unwrap();
    assert_eq!(reader.summary().unwrap(), summary());
    assert_eq!(reader.owners().unwrap(), owners());
    assert_eq!(reader.objects().unwrap(), table());
    assert_eq!(reader.problems().unwrap(), vec![problem()]);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = write(&small(), &table());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(read(&damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let bytes = write(&small(), &table());
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end].to_vec()).is_err(), "cut at {end}");
    }
    for tail in [vec![0], bytes.clone()] {
        assert!(read(&[bytes.clone(), tail].concat()).is_err());
    }
}

#[test]
fn many_blocks_stream_in_order() {
    let mut entries = small();
    for i in 0..20_000u32 {
        let name = Name::new(format!("f{i:06}").as_bytes()).ok();
        entries.push(Entry {
            depth: 2,
            name,
            meta: Meta { inode: i.into(), ..Meta::default() },
            kind: Kind::Fifo,
        });
    }
    let bytes = write(&entries, &[]);
    let reader = ManifestReader::open(bytes.clone(), &Seals::default()).unwrap();
    assert!(reader.blocks().iter().filter(|b| b.section == Section::Entries).count() > 1);
    assert_eq!(read(&bytes).unwrap(), entries);
}

#[test]
fn impossible_trees_are_refused() {
    let fifo =
        |depth, name: &str| Entry { name: Name::new(name.as_bytes()).ok(), depth, ..small()[2].clone() };
    let slice = |object, offset, length| Entry {
        kind: Kind::File(FileContent {
            size: u64::from(length),
            hash: ContentHash([0; 32]),
            extents: vec![Extent::Slice { object, offset, length }],
            changed_while_read: false,
        }),
        ..fifo(1, "x")
    };
    let link = |target: &str| Entry {
        kind: Kind::HardLink(ArchivePath::parse(target.as_bytes()).unwrap()),
        ..fifo(1, "x")
    };
    let cases: [(&str, Vec<Entry>); 7] = [
        ("out of order", vec![fifo(1, "b"), fifo(1, "a")]),
        ("out of order", vec![fifo(1, "a"), fifo(1, "a")]),
        ("no folder", vec![fifo(1, "a"), fifo(2, "b")]),
        ("which has 0", vec![slice(4, 0, 1)]),
        ("which has 1048576", vec![slice(0, 1 << 20, 1)]),
        ("later path", vec![link("y")]),
        ("later path", vec![link("x")]),
    ];
    for (message, rest) in cases {
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        let entries = [vec![small()[0].clone()], rest].concat();
        let written = entries.iter().try_for_each(|entry| writer.entry(entry));
        let error = match written.and_then(|()| writer.finish(&owners(), table(), &summary()).map(drop)) {
            Err(error) => error.to_string(),
            Ok(()) => panic!("{message}: written"),
        };
        assert!(error.contains(message), "{error} for {message}");
    }
    let written = |entries: &[Entry]| {
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        entries.iter().try_for_each(|entry| writer.entry(entry))?;
        writer.finish(&owners(), [] as [ObjectRow; 0], &summary()).map(drop)
    };
    assert!(written(&[fifo(1, "a")]).is_err(), "no root");
    assert!(written(&[]).is_err(), "nothing at all");
    assert!(written(&small()).is_ok());
}

/// Entries of which some are impossible by themselves.
fn odd(entry: Entry, how: u8) -> Entry {
    let mut odd = entry;
    match how {
        0 => odd.meta.mode |= 0o100_000,
        1 => odd.meta.mtime.nanos = 1_000_000_000,
        2 => odd.meta.xattrs = vec![Xattr { name: b"user.k".to_vec(), value: vec![] }; 2],
        3 => odd.meta.xattrs = vec![Xattr { name: vec![], value: vec![] }],
        4 => odd.kind = Kind::Symlink(Vec::new()),
        5 => odd.kind = Kind::HardLink(ArchivePath::root()),
        6 => odd.depth += 2,
        _ => {}
    }
    odd
}

proptest! {
    #[test]
    fn what_the_writer_takes_the_reader_takes(
        entries in tree(), swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..4),
        odds in prop::collection::vec(0..40u8, 60),
    ) {
        let mut entries: Vec<Entry> =
            entries.into_iter().zip(odds.into_iter().chain(std::iter::repeat(9))).map(|(e, how)| odd(e, how)).collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(entries.len()), b.index(entries.len()));
            entries.swap(a, b);
        }
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        // What is refused is left out, and costs nothing else.
        entries.retain(|entry| writer.entry(entry).is_ok());
        let written = writer.finish(&owners(), table(), &summary());
        prop_assert_eq!(written.is_ok(), !entries.is_empty());
        if let Ok(Written { out: bytes, .. }) = written {
            prop_assert_eq!(read(&bytes).unwrap(), entries);
        }
    }
}

#[test]
fn a_record_that_is_too_long_costs_itself() {
    let long = |name: &str, megabytes: usize| {
        let value = vec![7; megabytes << 20];
        let xattrs = vec![Xattr { name: b"user.k".to_vec(), value }];
        Entry {
            name: Name::new(name.as_bytes()).ok(),
            depth: 1,
            meta: Meta { xattrs, ..Meta::default() },
            kind: Kind::Fifo,
        }
    };
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(1)).unwrap();
    let entries = [small()[0].clone(), long("a", 31), long("b", 33), long("c", 31), long("d", 0)];
    let taken = entries.each_ref().map(|entry| writer.entry(entry).is_ok());
    assert_eq!(taken, [true, true, false, true, true]);
    let bytes = writer.finish(&owners(), [] as [ObjectRow; 0], &summary()).unwrap().out;
    assert_eq!(read(&bytes).unwrap(), [0, 1, 3, 4].map(|at| entries[at].clone()));
}
