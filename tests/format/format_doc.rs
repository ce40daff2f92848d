//! Holds `docs/format.md` with its example, `docs/read_store.py` and the program to each other.
//!
//! The document's examples are fenced blocks with a name. `manifest/…` are the parts of one file, in order; `records/…`
//! go on in its block of entries, and `second/…` is a block after that.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use weekvault::archive::{Archive, NewStore};
use weekvault::format::{
    Block, ChunkSizes, FormatError, ManifestReader, ManifestWriter, RandomRead, ReadError, Seals, Section,
    StoreConfig, decode_objects, decode_store, decode_summary, encode_objects, encode_store, encode_summary,
    stored_bound,
};
use weekvault::model::{
    ArchivePath, Completeness, ContentHash, Counts, Details, DeviceNumber, Entry, Extent, FileContent, Kind,
    LeftOut, LeftOutReason, Meta, Name, ObjectId, ObjectRow, Owners, Problem, RunId, Silent, Summary,
    Timestamp, Xattr,
};
use weekvault::ops::Run;
use weekvault::ops::backup::{BackupOptions, Labels, Source, backup};
use weekvault::store::LocalStore;

const DOC: &str =
    concat!(include_str!("../../docs/format.md"), "\n", include_str!("../../docs/format-example.md"));
pub(super) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/read_store.py");
pub(super) const CHUNK: &[u8] = b"Hello, weekvault!\n";
pub(super) const STORE_ID: &str = "9d3f6a0c5b1e48729f04c7d2a86e13b5";

/// The document's examples.
fn examples() -> Vec<(&'static str, &'static str, String)> {
    examples_of(DOC)
}

/// A document's examples, in order: language, name, body.
pub(super) fn examples_of(doc: &'static str) -> Vec<(&'static str, &'static str, String)> {
    let mut examples = Vec::new();
    let mut lines = doc.lines();
    while let Some(line) = lines.next() {
        let Some((language, name)) = line.strip_prefix("```").and_then(|l| l.split_once(" name=")) else {
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
        examples.push((language, name, body.join("\n")));
    }
    examples
}

/// Whether the document says this, followed by something that does not go on with a number.
fn says(text: &str) -> bool {
    says_in(DOC, text)
}

/// The same of any document.
pub(super) fn says_in(doc: &str, text: &str) -> bool {
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    doc.match_indices(text).any(|(at, found)| !digit(&doc[at + found.len()..]))
}

/// The bytes of all examples whose name begins so, end to end; each example has some.
pub(super) fn bytes(prefix: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for (language, _, body) in examples().into_iter().filter(|(_, name, _)| name.starts_with(prefix)) {
        match language {
            "hex" => {
                for line in body.lines() {
                    all.extend(digits(line.split('#').next().unwrap()));
                }
            }
            _ => all.extend_from_slice(body.as_bytes()),
        }
    }
    assert!(!all.is_empty(), "format.md has no example {prefix}");
    all
}

fn digits(hex: &str) -> impl Iterator<Item = u8> {
    hex.split_whitespace().map(move |d| u8::from_str_radix(d, 16).unwrap_or_else(|e| panic!("{hex}: {e}")))
}

fn text(name: &str) -> String {
    String::from_utf8(bytes(name)).unwrap()
}

/// `bytes` after its first `skip` bytes, which are a zstd frame's header and that of its raw block.
fn plain(name: &str, skip: usize) -> Vec<u8> {
    let bytes = bytes(name);
    let mut opener = Seals::default().opener().unwrap();
    let mut opened = Vec::new();
    opener.open_into(&bytes, (bytes.len() - skip) as u32, "the example", &mut opened).unwrap();
    assert_eq!(opened, bytes[skip..], "{name} is legible");
    opened
}

pub(super) struct InMemory(pub(super) Vec<u8>);

impl RandomRead for InMemory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.get(offset as usize..).and_then(|b| b.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn open(manifest: Vec<u8>) -> ManifestReader<InMemory> {
    ManifestReader::open(InMemory(manifest), &Seals::default()).unwrap()
}

/// A zstd frame with one raw block.
fn frame(plain: &[u8]) -> Vec<u8> {
    let length = plain.len() as u32;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd];
    match u8::try_from(length) {
        Ok(length) => frame.extend([0x20, length]),
        Err(_) => {
            frame.push(0x60);
            frame.extend_from_slice(&((length - 256) as u16).to_le_bytes());
        }
    }
    frame.extend_from_slice(&(length << 3 | 1).to_le_bytes()[..3]);
    [frame.as_slice(), plain].concat()
}

/// A block as it is in a manifest, with what its row says of it.
struct Sealed {
    section: u8,
    seal: u8,
    items: u32,
    plain_length: usize,
    stored: Vec<u8>,
}

/// A manifest of these blocks (section, items, plain bytes), put together as the document says.
fn assemble(blocks: &[(u8, u32, &[u8])]) -> Vec<u8> {
    let sealed = |(section, items, plain): &(u8, u32, &[u8])| Sealed {
        section: *section,
        seal: 0,
        items: *items,
        plain_length: plain.len(),
        stored: frame(plain),
    };
    assemble_sealed(&blocks.iter().map(sealed).collect::<Vec<_>>())
}

fn assemble_sealed(blocks: &[Sealed]) -> Vec<u8> {
    let mut file = b"WKVLTMF\n\x01\0\0\0\0\0\0\0".to_vec();
    let mut hashed = file.clone();
    for Sealed { section, seal, items, plain_length, stored } in blocks {
        hashed.extend([*section, *seal, 0, 0]);
        for number in [*items, *plain_length as u32, stored.len() as u32] {
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

/// The plain bytes of a section, as the index lays its blocks out.
pub(super) fn section(manifest: &[u8], section: Section) -> Vec<u8> {
    let (mut opener, mut all, mut plain) = (Seals::default().opener().unwrap(), Vec::new(), Vec::new());
    for block in open(manifest.to_vec()).blocks().iter().filter(|b| b.section == section) {
        let stored = &manifest[block.offset as usize..][..block.stored_length as usize];
        opener.open_into(stored, block.plain_length, "a block", &mut plain).unwrap();
        all.extend_from_slice(&plain);
    }
    all
}

pub(super) const RUN: Timestamp = Timestamp { secs: 1_744_081_800, nanos: 0 };

fn entry(name: &[u8], mode: u32, inode: u64, kind: Kind) -> Entry {
    let meta = Meta { mode, uid: 33, gid: 33, mtime: RUN, ctime: RUN, inode, xattrs: vec![] };
    let name = (!name.is_empty()).then(|| Name::new(name).unwrap());
    Entry { depth: name.iter().count() as u32, name, meta, kind }
}

/// The tree of the example manifest.
pub(super) fn small_tree() -> Vec<Entry> {
    let content = FileContent {
        size: 18,
        hash: ContentHash::of(CHUNK),
        extents: vec![Extent::Slice { object: 0, offset: 0, length: 18 }],
        changed_while_read: false,
    };
    let target = b"greeting".to_vec();
    let link = ArchivePath::parse(&target).unwrap();
    let mut tree = vec![
        entry(b"", 0o755, 2, Kind::Directory),
        entry(b"greeting", 0o644, 12, Kind::File(content)),
        entry(b"hello", 0o644, 12, Kind::HardLink(link)),
        entry(b"latest", 0o777, 13, Kind::Symlink(target)),
    ];
    for named in &mut tree[1..3] {
        named.meta.mtime = Timestamp { secs: 1_743_995_400, nanos: 500_000_000 };
        named.meta.ctime = Timestamp { secs: 1_744_078_200, nanos: 250 };
        named.meta.xattrs = vec![Xattr { name: b"user.lang".to_vec(), value: b"en".to_vec() }];
    }
    tree
}

fn sparse_content() -> Vec<u8> {
    [&CHUNK[..5], &[0; 1_000_000], &CHUNK[5..]].concat()
}

/// The example's tree with an entry of each other kind.
fn full_tree() -> Vec<Entry> {
    let content = FileContent {
        size: 1_000_018,
        hash: ContentHash::of(&sparse_content()),
        extents: vec![
            Extent::Slice { object: 0, offset: 0, length: 5 },
            Extent::Hole { length: 1_000_000 },
            Extent::Slice { object: 0, offset: 5, length: 13 },
        ],
        changed_while_read: true,
    };
    let mut sparse = entry(b"sparse\xff", 0o4755, 18, Kind::File(content));
    sparse.meta.mtime = Timestamp { secs: -1, nanos: 500_000_000 };
    let mut tree = small_tree();
    tree.extend([
        entry(b"null", 0o666, 14, Kind::CharDevice(DeviceNumber { major: 1, minor: 3 })),
        entry(b"pipe", 0o600, 15, Kind::Fifo),
        entry(b"sda", 0o660, 16, Kind::BlockDevice(DeviceNumber { major: 8, minor: 0 })),
        entry(b"shelf", 0o1777, 70_000, Kind::Directory),
        Entry { depth: 2, ..entry(b"socket", 0o600, (1 << 32) + 5, Kind::Socket) },
        sparse,
    ]);
    tree
}

pub(super) fn owners() -> Owners {
    let table = || vec![(33, b"www-data".to_vec())];
    Owners { users: table(), groups: table() }
}

fn object() -> ObjectRow {
    ObjectRow { id: ObjectId::of(CHUNK), chunk_length: 18, stored_length: 27, used: 18 }
}

pub(super) fn summary() -> Summary {
    Summary {
        week: "2025-14".parse().unwrap(),
        pvc: "enigma".parse().unwrap(),
        store: STORE_ID.into(),
        started: RUN,
        finished: Timestamp { secs: RUN.secs + 1, nanos: 250_000_000 },
        completeness: Completeness::Complete,
        details: Some(Details {
            source: "/src/enigma".into(),
            host: "backup-29065890-x7k2p".into(),
            tool: "weekvault 0.1.0".into(),
            excludes: vec!["*.tmp".into()],
            compared_with: None,
            counts: Counts {
                entries: 4,
                files: 1,
                folders: 1,
                bytes: 18,
                new: 1,
                bytes_read: 18,
                new_objects: 1,
                new_chunk_bytes: 18,
                new_stored_bytes: 27,
                ..Counts::default()
            },
        }),
        head: None,
    }
}

/// A manifest as the program writes it.
fn write(entries: &[Entry], problems: &[Problem]) -> Vec<u8> {
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    for problem in problems {
        writer.problem(problem.clone());
    }
    writer.finish(&owners(), [object()], &summary()).unwrap().out
}

fn read(manifest: Vec<u8>) -> Vec<Entry> {
    open(manifest).entries().unwrap().map(|e| e.unwrap().1).collect()
}

/// The document's plain blocks of entries: the manifest's with all that may follow in it, and one after that.
fn entry_blocks() -> [Vec<u8>; 2] {
    let first = [section(&bytes("manifest/"), Section::Entries), bytes("records/")].concat();
    [first, bytes("second/")]
}

/// The example's manifest with an entry of each kind, in two blocks.
fn full_manifest() -> Vec<u8> {
    let [first, second] = entry_blocks();
    assemble(&[
        (1, 8, &first),
        (1, 2, &second),
        (3, 1, &section(&bytes("manifest/"), Section::Owners)),
        (4, 1, &encode_objects(&[object()])),
        (5, 1, &bytes("manifest/summary")),
    ])
}

#[test]
fn the_example_manifest_reads_as_the_document_says() {
    let reader = open(bytes("manifest/"));
    let entries: Vec<_> = reader.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(entries.iter().map(|(_, e)| e.clone()).collect::<Vec<_>>(), small_tree());
    assert_eq!(reader.owners().unwrap(), owners());
    assert_eq!(reader.objects().unwrap(), vec![object()]);
    assert_eq!(reader.problems().unwrap(), vec![]);
    assert_eq!(reader.summary().unwrap(), summary());
    assert!(DOC.contains(&format!("\n{}  -\n", reader.digest())), "the digest that the document prints");
    for block in reader.blocks() {
        assert!(says(&format!("at {}", block.offset)), "{}", block.offset);
    }
    let index = reader.blocks().last().map(|b| b.offset + u64::from(b.stored_length)).unwrap();
    let footer = index + 48 * reader.blocks().len() as u64;
    assert!(says(&format!("The index, at {index}, and the footer, at {footer}:")));
    assert_eq!(footer + 48, bytes("manifest/").len() as u64);
    assert!(DOC.contains(&format!("{} bytes: a root folder", bytes("manifest/").len())));
}

#[test]
fn the_program_writes_the_example_manifest() {
    let (documented, written) = (bytes("manifest/"), write(&small_tree(), &[]));
    for part in [Section::Entries, Section::Missing, Section::Owners, Section::Objects] {
        assert_eq!(section(&written, part), section(&documented, part), "{}", part.part());
    }
    // A later version may have more to say.
    let json = |manifest: &[u8]| json(&section(manifest, Section::Summary));
    assert_contains(&json(&written), &json(&documented));
    let rows = |manifest: &[u8]| -> Vec<_> {
        let row = |b: &Block| (b.section, b.seal, b.items);
        open(manifest.to_vec()).blocks().iter().map(row).collect()
    };
    assert_eq!(rows(&written), rows(&documented));
    assert_eq!(written[..16], documented[..16]);
    // What surrounds the blocks, as the document has it: frames, index, footer.
    let parts: Vec<_> = [Section::Entries, Section::Owners, Section::Objects, Section::Summary]
        .map(|s| (s as u8, if s == Section::Entries { 4 } else { 1 }, section(&documented, s)))
        .to_vec();
    let blocks: Vec<_> = parts.iter().map(|(s, items, plain)| (*s, *items, plain.as_slice())).collect();
    assert_eq!(assemble(&blocks), documented);
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn assert_contains(whole: &Value, part: &Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                assert_contains(whole.get(name).unwrap_or_else(|| panic!("no member {name}")), value);
            }
        }
        _ => assert_eq!(whole, part),
    }
}

#[test]
fn every_kind_of_entry_is_documented() {
    assert_eq!(read(full_manifest()), full_tree());
    let reader = open(full_manifest());
    let second = reader.block_entries(&reader.blocks()[1]).unwrap();
    assert_eq!(second, full_tree()[8..], "a block reads alone");
    let [first, second] = entry_blocks();
    let context = bytes("second/context").len();
    let written = section(&write(&full_tree(), &[]), Section::Entries);
    assert_eq!(written, [&first, &second[context..]].concat());
    let kinds: BTreeSet<char> = full_tree().iter().map(|e| e.kind.letter()).collect();
    assert_eq!(kinds.len(), 8);
}

#[test]
fn numbers_are_encoded_as_documented() {
    let mut seen = 0;
    for line in text("varints").lines() {
        let (what, hex) = line.split_once(" = ").unwrap();
        let (kind, number) = what.split_once(' ').unwrap();
        let encoded: Vec<u8> = digits(hex).collect();
        let mut root = entry(b"", 0, 0, Kind::Directory);
        root.meta = Meta::default();
        // Context, depth, name, mode, uid, gid, seconds and nanoseconds of two times, inode, xattrs, kind, extra.
        let mut fields = [vec![0; 6], vec![0], vec![0; 3], vec![0], vec![0; 3]];
        match kind {
            "unsigned" => {
                root.meta.inode = number.trim().parse().unwrap();
                fields[3] = encoded;
            }
            _ => {
                root.meta.mtime.secs = number.trim().parse().unwrap();
                fields[1] = encoded;
            }
        }
        let manifest = write(std::slice::from_ref(&root), &[]);
        assert_eq!(section(&manifest, Section::Entries), fields.concat(), "{line}");
        let assembled = assemble(&[(1, 1, &fields.concat())]);
        assert_eq!(read(assembled), [root], "{line}");
        seen += 1;
    }
    assert_eq!(seen, 17);
    let bad = |number: &[u8]| {
        let fields = [&[0; 3], number, &[0; 10]].concat();
        open(assemble(&[(1, 1, &fields)])).entries().unwrap().next().unwrap().is_err()
    };
    assert!(!bad(&[0xfb, 5, 0]), "a mode in more bytes than it needs");
    assert!(bad(&[0xfd, 5, 0, 0, 0, 0, 0, 0, 0]) && bad(&[0xfe; 17]) && bad(&[0xff]));
}

/// What is refused says so and names this.
#[track_caller]
pub(super) fn assert_refused<T>(read: Result<T, impl std::fmt::Display>, message: &str) {
    let error = read.map(drop).map_err(|e| e.to_string()).expect_err(message);
    assert!(error.contains(message), "{error}: {message}");
}

fn try_open(manifest: Vec<u8>) -> Result<ManifestReader<InMemory>, ReadError> {
    ManifestReader::open(InMemory(manifest), &Seals::default())
}

fn try_read(manifest: Vec<u8>) -> Result<Vec<Entry>, ReadError> {
    try_open(manifest)?.entries()?.map(|e| e.map(|(_, entry)| entry)).collect()
}

#[test]
fn unknown_extras_are_passed_over() {
    let plain = section(&bytes("manifest/"), Section::Entries);
    let (end, start) = plain.split_last().unwrap();
    assert_eq!(*end, 0, "the last record ends with an empty extra");
    // Tags 300, 7, and 300 again, with values of two, no and one bytes.
    let extra = [3, 0xfb, 0x2c, 1, 2, b'h', b'i', 7, 0, 0xfb, 0x2c, 1, 1, 0xff];
    let with = |extra: &[u8]| [start, extra].concat();
    let table = encode_objects(&[object()]);
    let manifest = |plain: &[u8]| assemble(&[(1, 4, plain), (4, 1, &table)]);
    assert_eq!(read(manifest(&with(&[0]))), small_tree());
    assert_eq!(read(manifest(&with(&extra))), small_tree());
    for short in [&extra[..extra.len() - 1], &[4], &[]] {
        assert!(try_read(manifest(&with(short))).is_err(), "{short:?}");
    }
    assert_refused(try_read(manifest(&with(&[0, 0]))), "left over");
}

/// The example's sections, with these blocks before and after them.
fn surrounded(before: &[(u8, u32, &[u8])], after: &[(u8, u32, &[u8])]) -> Vec<u8> {
    let documented = bytes("manifest/");
    let parts = [Section::Entries, Section::Owners, Section::Objects, Section::Summary]
        .map(|s| (s as u8, if s == Section::Entries { 4 } else { 1 }, section(&documented, s)));
    let own = parts.iter().map(|(section, items, plain)| (*section, *items, plain.as_slice()));
    assemble(&before.iter().copied().chain(own).chain(after.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn ancillary_sections_are_passed_over() {
    let manifest = surrounded(&[], &[(200, 3, b"later"), (128, 0, b""), (255, 1, b"much later")]);
    let reader = open(manifest.clone());
    assert_eq!(reader.summary().unwrap(), summary());
    assert_eq!(reader.owners().unwrap(), owners());
    assert_eq!(reader.objects().unwrap(), [object()]);
    assert_eq!(reader.problems().unwrap(), []);
    assert_eq!(read(manifest.clone()), small_tree());
    assert_ne!(reader.digest(), open(bytes("manifest/")).digest(), "they are covered like all blocks");
    let store = tempfile::tempdir().unwrap();
    put(store.path().join("2025-14/enigma.manifest"), &manifest);
    assert_eq!(script(store.path(), None).unwrap(), b".\ngreeting\nhello\nlatest\n");

    assert_refused(try_open(surrounded(&[(128, 0, b"")], &[])), "out of order");
    for critical in [0, 6, 7, 127] {
        assert_refused(try_open(surrounded(&[], &[(critical, 1, b"x")])), &format!("section {critical}"));
    }
}

#[test]
fn an_unknown_seal_is_refused_where_it_is_needed() {
    let documented = bytes("manifest/");
    let block = |section: Section, seal, items| {
        let blocks = open(documented.clone());
        let block = *blocks.blocks().iter().find(|b| b.section == section).unwrap();
        let stored = documented[block.offset as usize..][..block.stored_length as usize].to_vec();
        Sealed { section: section as u8, seal, items, plain_length: block.plain_length as usize, stored }
    };
    let reader = open(assemble_sealed(&[
        block(Section::Entries, 1, 4),
        block(Section::Owners, 200, 1),
        block(Section::Objects, 0, 1),
        block(Section::Summary, 0, 1),
        Sealed { section: 130, seal: 9, items: 7, plain_length: 5, stored: b"what?".to_vec() },
    ]));
    assert_eq!(reader.summary().unwrap(), summary());
    assert_eq!(reader.objects().unwrap(), [object()]);
    assert_eq!(reader.problems().unwrap(), []);
    for refused in [reader.owners().map(drop), reader.entries().unwrap().next().unwrap().map(drop)] {
        assert!(matches!(refused, Err(ReadError::Format(FormatError::Seal { .. }))), "{refused:?}");
    }
}

#[test]
fn a_block_is_where_its_context_says() {
    let table = encode_objects(&[object()]);
    let [first, second] = entry_blocks();
    let rest = &second[bytes("second/context").len()..];
    let manifest = |context: &[u8], items| {
        let second = [&[context.len() as u8], context, rest].concat();
        try_read(assemble(&[(1, 8, &first), (1, items, &second), (4, 1, &table)]))
    };
    assert_eq!(manifest(b"shelf", 2).unwrap(), full_tree());
    assert_refused(manifest(b"", 2), "begins at depth 2");
    assert_refused(manifest(b"other", 2), "a block begins in other, after shelf");
    assert_refused(manifest(b"shelf/", 2), "a block begins in");
    for items in [0, 1, 3] {
        assert!(manifest(b"shelf", items).is_err(), "{items} items");
    }
    // The root's block begins at depth 0, and nothing else does.
    assert_refused(try_read(assemble(&[(1, 1, &[b"\x01a", &first[1..]].concat())])), "a block begins in a");
    assert_refused(try_read(assemble(&[(1, 2, &second)])), "a block begins in shelf");
    assert_refused(
        try_read(assemble(&[(1, 8, &first), (1, 8, &first), (4, 1, &table)])),
        "begins at depth 0",
    );
}

#[test]
fn a_damaged_block_costs_its_own_entries() {
    let manifest = full_manifest();
    let blocks = open(manifest.clone()).blocks().to_vec();
    let read_damaged = |block: &Block| {
        let mut damaged = manifest.clone();
        damaged[block.offset as usize + 20] ^= 1;
        let reader = open(damaged);
        let entries = reader.entries().unwrap().map(|e| e.ok().map(|(_, entry)| entry));
        entries.collect::<Vec<_>>()
    };
    let all: Vec<_> = full_tree().into_iter().map(Some).collect();
    assert_eq!(read_damaged(&blocks[0]), [&[None], &all[8..]].concat());
    assert_eq!(read_damaged(&blocks[1]), [&all[..8], &[None]].concat());
}

#[test]
fn sections_have_the_documented_blocks() {
    let (owners, summary) = (section(&bytes("manifest/"), Section::Owners), bytes("manifest/summary"));
    let row = encode_objects(&[object()]);
    for blocks in [&[][..], &[(3, 2, &owners[..])], &[(3, 1, &owners), (3, 1, &owners)]] {
        assert!(open(assemble(blocks)).owners().is_err(), "{} blocks", blocks.len());
    }
    assert_eq!(open(assemble(&[(3, 1, &owners)])).owners().unwrap(), self::owners());
    assert_eq!(open(assemble(&[(5, 1, &summary)])).summary().unwrap(), self::summary());
    for blocks in [&[][..], &[(5, 0, &summary[..])], &[(5, 1, &summary), (5, 1, &summary)]] {
        assert!(open(assemble(blocks)).summary().is_err(), "{} blocks", blocks.len());
    }
    let two = [row.as_slice(), &[7; 32], &[1, 0, 0, 0].repeat(3)].concat();
    let objects = |items, plain: &[u8]| open(assemble(&[(4, items, plain)])).objects();
    assert_eq!(objects(2, &two).unwrap().len(), 2);
    assert_eq!(open(assemble(&[(4, 1, &row), (4, 1, &two[44..])])).objects().unwrap().len(), 2);
    for (items, plain) in [(1, &two[..]), (3, &two), (1, &row[..43]), (1, &two[..45])] {
        assert!(objects(items, plain).is_err(), "{items} items, {} bytes", plain.len());
    }
    assert_refused(objects(2, &row.repeat(2)), "twice");
}

#[test]
fn the_summary_is_as_documented() {
    let documented = text("manifest/summary");
    let with = |from: &str, to: &str| {
        assert!(documented.contains(from), "{from}");
        decode_summary(documented.replacen(from, to, 1).as_bytes())
    };
    assert_eq!(with("", "").unwrap(), summary());
    assert_eq!(with("{", "{ \"later\": [1, {}],").unwrap(), summary());
    let mut older = with("\"store\"", "\"other\"").unwrap();
    assert_eq!(std::mem::replace(&mut older.store, STORE_ID.into()), "");
    assert_eq!(older, summary());
    assert_eq!(with("\"excludes\"", "\"other\"").unwrap().details.unwrap().excludes, [""; 0]);
    assert_eq!(with("\"removed\"", "\"other\"").unwrap().counts(), summary().counts());
    assert_refused(with("\"missing\": 0", "\"missing\": 1"), "missing");
    assert_refused(with("\"complete\": true", "\"complete\": false"), "missing");
    let partial = documented.replace("\"complete\": true", "\"complete\": false");
    let partial = decode_summary(partial.replace("\"missing\": 0", "\"missing\": 3").as_bytes()).unwrap();
    assert_eq!(partial.completeness, Completeness::Partial { missing: 3 });
    assert_eq!(with("250000000", "999999999").unwrap().finished.nanos, 999_999_999);
    assert_refused(with("250000000", "1000000000"), "nanoseconds");
    for needed in ["week", "pvc", "source", "host", "tool", "started", "finished", "complete", "missing"] {
        assert_refused(with(&format!("\"{needed}\""), "\"other\""), needed);
    }
}

/// A block sealed by zstd, as large as it may be.
fn sealed(section: u8, items: u32, plain: &[u8]) -> Sealed {
    let mut stored = Vec::new();
    Seals::zstd(1).sealer().unwrap().seal_into(plain, &mut stored).unwrap();
    Sealed { section, seal: 0, items, plain_length: plain.len(), stored }
}

#[test]
fn the_limits_are_as_documented() {
    for row in [
        "| chunk | 16 MiB (",
        "| block, plain; a record is never more than a block | 32 MiB |",
        "| block, stored | what zstd can make of 32 MiB of noise: 32.125 MiB |",
        "| entries of a block | 250,000 |",
        "| index | 16 MiB, so 349,525 blocks |",
        "| extents of a file | 2,000,000 |",
        "| extended attributes of an entry | 10,000 |",
        "| path | 64 KiB;",
        "| object table | 4,000,000 rows |",
        "| missing | 10,000 records, and 32 MiB of plain blocks together |",
        "| owners | 250,000 users, and as many groups |",
        "| summary | 4 MiB |",
    ] {
        assert!(DOC.contains(row), "{row}");
    }
    let chunk = |length: u32| {
        let lengths = [length, 1, 1].map(u32::to_le_bytes).concat();
        decode_objects(&[&[7; 32], lengths.as_slice()].concat())
    };
    assert!(chunk(1).is_ok() && chunk(16 << 20).is_ok());
    assert!(chunk(0).is_err() && chunk((16 << 20) + 1).is_err());

    let plain = |plain_length| {
        let block = Sealed { section: 128, seal: 0, items: 0, plain_length, stored: vec![] };
        try_open(assemble_sealed(&[block]))
    };
    assert!(plain(32 << 20).is_ok() && plain((32 << 20) + 1).is_err());
    assert_eq!(stored_bound(32 << 20), (32 << 20) + (128 << 10));
    let stored = |length| {
        let block = Sealed { section: 128, seal: 0, items: 0, plain_length: 0, stored: vec![0; length] };
        try_open(assemble_sealed(&[block]))
    };
    assert!(stored(stored_bound(32 << 20)).is_ok() && stored(stored_bound(32 << 20) + 1).is_err());

    let blocks = |count| {
        let block = || Sealed { section: 128, seal: 0, items: 0, plain_length: 0, stored: vec![] };
        try_open(assemble_sealed(&(0..count).map(|_| block()).collect::<Vec<_>>()))
    };
    assert!(blocks(349_525).is_ok() && blocks(349_526).is_err());

    let missing = |count: u32| {
        let plain = b"\x01x\0\0".repeat(count as usize);
        open(assemble_sealed(&[sealed(2, count, &plain)])).problems().map(|problems| problems.len())
    };
    assert_eq!(missing(10_000).unwrap(), 10_000);
    assert_refused(missing(10_001), "more than 10000 records");

    // Rows of zeros are none, but too many of them are refused for their number.
    let rows = |count: usize| decode_objects(&vec![0; count * 44]).unwrap_err().to_string();
    assert!(!rows(4_000_000).contains("more than 4000000 rows"), "{}", rows(4_000_000));
    assert!(rows(4_000_001).contains("more than 4000000 rows"), "{}", rows(4_000_001));
}

#[test]
fn a_file_has_no_more_extents_than_documented() {
    let sparse = |extents: u32| {
        let holes = vec![Extent::Hole { length: 1 }; extents as usize];
        let hash = ContentHash([0; 32]);
        let content = FileContent { size: extents.into(), hash, extents: holes, changed_while_read: false };
        entry(b"sparse", 0o644, 3, Kind::File(content))
    };
    let root = small_tree().remove(0);
    let manifest = write(&[root.clone(), sparse(2_000_000)], &[]);
    assert!(read(manifest.clone()) == [root.clone(), sparse(2_000_000)]);
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
    writer.entry(&root).unwrap();
    assert!(writer.entry(&sparse(2_000_001)).is_err(), "the writer refuses one more");
    // The same record with one more: in the size, in the number of extents (both `fc`, u32), and at the end.
    let mut plain = section(&manifest, Section::Entries);
    let number = [&[0xfc][..], &2_000_000u32.to_le_bytes()].concat();
    let places: Vec<usize> =
        plain.windows(5).enumerate().filter(|(_, w)| *w == number).map(|(i, _)| i).collect();
    let &[size, count] = places.as_slice() else { panic!("{places:?}") };
    for place in [size, count] {
        plain[place + 1..place + 5].copy_from_slice(&2_000_001u32.to_le_bytes());
    }
    let end = plain.len() - 1;
    plain.splice(end..end, [0, 0, 1]);
    assert_refused(try_read(assemble_sealed(&[sealed(1, 2, &plain)])), "more than 2000000 items");
}

#[test]
fn a_path_is_no_longer_than_documented() {
    let tree = |levels: u32| {
        let folder = |depth| Entry { depth, ..entry(&[b'x'; 255], 0o755, 3, Kind::Directory) };
        [small_tree().remove(0)].into_iter().chain((1..=levels).map(folder)).collect::<Vec<_>>()
    };
    // Each level has 255 bytes and a slash, but for the first.
    assert_eq!(read(write(&tree(256), &[])), tree(256));
    // One more level, by hand: the writer does not take it.
    let (mut writer, mut taken) = (ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap(), 0);
    for entry in tree(257) {
        match writer.entry(&entry) {
            Ok(()) => taken += 1,
            Err(error) => assert!(error.to_string().contains("limit") || error.to_string().contains("most")),
        }
    }
    assert_eq!(taken, 257, "the root and 256 levels");
    let record = section(&write(&[tree(1).remove(0), tree(257).remove(1)], &[]), Section::Entries);
    let mut plain = section(&write(&tree(256), &[]), Section::Entries);
    let one = record.len() - section(&write(&[tree(1).remove(0)], &[]), Section::Entries).len();
    let mut last = record[record.len() - one..].to_vec();
    // Depth 1 becomes 257.
    last.splice(..1, [0xfb, 1, 1]);
    plain.append(&mut last);
    assert_refused(try_read(assemble_sealed(&[sealed(1, 258, &plain)])), "65536 bytes");

    // Nor is any other path longer: a block's context, a hard link's target, a missing one.
    let long = |bytes: usize| {
        let mut path = vec![0xfc];
        path.extend((bytes as u32).to_le_bytes());
        path.extend(b"a/".iter().cycle().take(bytes - 1));
        path.push(b'a');
        path
    };
    for (bytes, good) in [(65_535, true), (65_537, false)] {
        let problem = [long(bytes), vec![0, 0]].concat();
        let read = open(assemble_sealed(&[sealed(2, 1, &problem)])).problems();
        assert_eq!(read.is_ok(), good, "missing, {bytes} bytes");
        let mut link = [&[1, 1, b'z'], [0; 9].as_slice(), &[3]].concat();
        link.extend([long(bytes), vec![0]].concat());
        let plain = [&[0], [0; 13].as_slice(), &link].concat();
        let read = try_read(assemble_sealed(&[sealed(1, 2, &plain)]));
        assert_eq!(read.is_ok(), good, "hard link, {bytes} bytes");
        let context = [long(bytes), vec![0xfc, 0, 0, 1, 0, 1, b'z'], vec![0; 11]].concat();
        let read = try_read(assemble_sealed(&[sealed(1, 1, &context)])).unwrap_err().to_string();
        assert_eq!(read.contains("begins in \""), !good, "context, {bytes} bytes");
    }
}

#[test]
fn lists_are_no_longer_than_documented() {
    let entries = |count: u32| {
        let root = [0; 14];
        let mut plain = root.to_vec();
        for i in 0..count - 1 {
            let name = format!("{i:06x}");
            plain.extend([1, 6]);
            plain.extend_from_slice(name.as_bytes());
            plain.extend([0; 11]);
        }
        try_read(assemble_sealed(&[sealed(1, count, &plain)]))
    };
    assert_eq!(entries(250_000).unwrap().len(), 250_000);
    assert_refused(entries(250_001), "has 250001 entries");

    let with_xattrs = |count: u32| {
        let xattr = |i| Xattr { name: format!("user.{i:05}").into(), value: vec![] };
        let mut root = small_tree().remove(0);
        root.meta.xattrs = (0..count).map(xattr).collect();
        root
    };
    let manifest = write(&[with_xattrs(10_000)], &[]);
    assert_eq!(read(manifest.clone()), [with_xattrs(10_000)]);
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
    assert!(writer.entry(&with_xattrs(10_001)).is_err(), "the writer refuses one more");
    let mut plain = section(&manifest, Section::Entries);
    let number = [0xfb, 0x10, 0x27];
    let place = plain.windows(3).position(|w| w == number).unwrap();
    plain[place + 1] += 1;
    plain.splice(place + 3..place + 3, [1, b'a', 0]);
    assert_refused(try_read(assemble_sealed(&[sealed(1, 1, &plain)])), "more than 10000 items");

    let owners =
        |count: u32| Owners { users: (0..count).map(|i| (i, b"u".to_vec())).collect(), groups: vec![] };
    let finish = |owners: &Owners| {
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(1)).unwrap();
        writer.entry(&small_tree().remove(0)).unwrap();
        let summary = decode_summary(&bytes("manifest/summary")).unwrap();
        writer.finish(owners, [] as [ObjectRow; 0], &summary)
    };
    let manifest = finish(&owners(250_000)).unwrap().out;
    assert_eq!(open(manifest.clone()).owners().unwrap(), owners(250_000));
    assert!(finish(&owners(250_001)).is_err(), "the writer refuses one more");
    let mut plain = section(&manifest, Section::Owners);
    plain[1..5].copy_from_slice(&250_001u32.to_le_bytes());
    let end = plain.len() - 1;
    plain.splice(end..end, [0xfc, 0, 0, 9, 0, 0]);
    assert_refused(open(assemble_sealed(&[sealed(3, 1, &plain)])).owners(), "more than 250000 items");

    let summary = |length: usize| {
        let text = text("manifest/summary").replace("backup-29065890-x7k2p", &"h".repeat(length));
        decode_summary(text.as_bytes())
    };
    assert!(summary(4 << 20).is_err() && summary((4 << 20) - 2000).is_ok());
    let mut large = summary((4 << 20) - 2000).unwrap();
    assert!(encode_summary(&large).is_ok());
    large.details.as_mut().unwrap().tool = "t".repeat(5000);
    assert!(encode_summary(&large).is_err(), "the writer refuses more");

    // 32 blocks, each of 1 MiB.
    let missing = |more: usize| {
        let record = |length: usize| {
            let text = (length as u32 - 8).to_le_bytes();
            [&[1, b'a', 0, 0xfc], text.as_slice(), &vec![b'e'; length - 8]].concat()
        };
        let blocks: Vec<Sealed> =
            (0..32).map(|i| sealed(2, 1, &record((1 << 20) + if i == 0 { more } else { 0 }))).collect();
        open(assemble_sealed(&blocks)).problems()
    };
    assert_eq!(missing(0).unwrap().len(), 32);
    assert_refused(missing(1), "more than 33554432");
    let problem = |length| Problem {
        path: ArchivePath::parse(b"a").unwrap(),
        operation: "read".into(),
        error: "e".repeat(length),
    };
    let many: Vec<Problem> = (0..40).map(|_| problem(1 << 20)).collect();
    let written = open(write(&small_tree(), &many)).problems().unwrap();
    assert_eq!(written, many[..31], "what is beyond is not recorded");
}

#[test]
fn missing_paths_are_encoded_as_documented() {
    let problem = Problem {
        path: ArchivePath::parse(b"private/key").unwrap(),
        operation: "open".into(),
        error: "Permission denied (os error 13)".into(),
    };
    let written = write(&small_tree(), std::slice::from_ref(&problem));
    assert_eq!(section(&written, Section::Missing), bytes("problem"));
    let assembled = assemble(&[(2, 1, &bytes("problem"))]);
    assert_eq!(open(assembled).problems().unwrap(), [problem]);
    for bad in [&b"\x02/x\x00\x00"[..], b"\x01x\x01\xff\x00", b"\x01x\x00"] {
        assert!(open(assemble(&[(2, 1, bad)])).problems().is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn places_left_out_are_encoded_as_documented() {
    let place = |path: &[u8], reason| LeftOut { path: ArchivePath::parse(path).unwrap(), reason };
    let places = vec![
        place(b"", LeftOutReason::Unlisted),
        place(b"cache", LeftOutReason::Cache),
        place(b"mail/mount", LeftOutReason::Mount),
        place(b"week", LeftOutReason::Other(250)),
    ];
    let write = |places: &[LeftOut]| {
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        small_tree().iter().for_each(|entry| writer.entry(entry).unwrap());
        writer.left_out(places.to_vec());
        writer.finish(&owners(), [object()], &summary()).map(|written| written.out)
    };
    let written = open(write(&places).unwrap());
    let block = *written.blocks().last().unwrap();
    assert_eq!((block.section, block.number, block.items), (Section::Ancillary, 128, 4));
    assert_eq!(written.left_out().unwrap(), places);
    assert_eq!(ancillary(&write(&places).unwrap()), bytes("left-out"));
    let assembled =
        |plain: &[u8], items| open(surrounded(&[], &[(200, 1, b"x"), (128, items, plain)])).left_out();
    assert_eq!(assembled(&bytes("left-out"), 4).unwrap(), places);
    for reason in 1..=4 {
        let known = assembled(&[1, b'a', reason], 1).unwrap();
        assert!(!matches!(known[0].reason, LeftOutReason::Other(_)), "{reason}");
    }
    assert_eq!(write(&[]).unwrap(), self::write(&small_tree(), &[]), "without places no section");

    assert!(open(write(&[]).unwrap()).left_out().unwrap().is_empty());
    for (bad, items) in
        [(&b"\x02/x\x01"[..], 1), (b"\x01x\x01\x01x\x01", 2), (b"\x01x\x01\x01a\x01", 2), (b"\x01x\x01", 2)]
    {
        assert!(assembled(bad, items).is_err(), "{}", bad.escape_ascii());
    }
    assert!(write(&[place(b"b", LeftOutReason::Store), place(b"a", LeftOutReason::Store)]).is_err());
    let long = |n: u32| place(format!("{n:06}/{}", "x/".repeat(4000)).as_bytes(), LeftOutReason::Cache);
    let many: Vec<LeftOut> = (0..200).map(long).collect();
    assert!(says("| left out | 1 MiB of plain blocks together |"));
    assert!(write(&many[..130]).is_ok() && write(&many).is_err(), "the writer keeps the limit");
    let block = |number| Sealed { section: 128, seal: 0, items: 0, plain_length: number, stored: vec![] };
    assert_refused(open(assemble_sealed(&[block(1 << 20), block(1)])).left_out(), "more than 1048576");
}

#[test]
fn starts_are_encoded_as_documented() {
    // Records that fill a block each, as a long attribute makes them.
    let entry = |depth, name: &str, kind| Entry {
        depth,
        name: Name::new(name.as_bytes()).ok(),
        meta: Meta {
            xattrs: vec![Xattr { name: b"user.k".to_vec(), value: vec![7; 256 << 10] }],
            ..Meta::default()
        },
        kind,
    };
    let mut mail = entry(1, "mail", Kind::Directory);
    mail.meta.xattrs[0].value.truncate(255 << 10);
    let tree = [
        Entry { meta: Meta::default(), ..entry(0, "", Kind::Directory) },
        mail,
        entry(2, "cur", Kind::Directory),
        entry(2, "new", Kind::Directory),
        entry(3, "a", Kind::Fifo),
    ];
    let write = |tree: &[Entry]| {
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        tree.iter().for_each(|entry| writer.entry(entry).unwrap());
        writer.finish(&owners(), [] as [ObjectRow; 0], &summary()).unwrap().out
    };
    let written = write(&tree);
    let block = *open(written.clone()).blocks().last().unwrap();
    assert_eq!((block.section, block.number, block.items), (Section::Ancillary, 129, 3));
    assert_eq!(ancillary(&written), bytes("starts"));
    assert!(open(written.clone()).check_starts().is_ok());
    assert!(open(write(&tree[..2])).blocks().iter().all(|b| b.number != 129), "one block needs none");

    // Whatever the section says, the entries are the same; a check says what is wrong with it.
    let with = |items: u32, plain: &[u8]| {
        let table = encode_objects(&[object()]);
        let example = bytes("manifest/");
        let entries = section(&example, Section::Entries);
        assemble(&[(1, 4, &entries), (4, 1, &table), (129, items, plain)])
    };
    assert!(open(with(1, &[0])).check_starts().is_ok());
    for (items, bad, why) in [
        (1, &b"\x01a"[..], "does not begin with the root"),
        (2, b"\x00\x01a", "2 records, there are 1 blocks of entries"),
        (3, b"\x00\x01b\x01a", "a is out of order"),
        (2, b"\x00\x02/x", "is no path"),
        (1, b"\x00\x05a", "the starts section"),
        (2, b"\x00", "it has 1 records, the index says 2"),
        (0, b"", "0 records"),
    ] {
        let manifest = with(items, bad);
        assert_refused(open(manifest.clone()).check_starts(), why);
        assert_eq!(read(manifest.clone()), small_tree());
        let reader = open(manifest);
        let from = reader.entries_from(&ArchivePath::parse(b"hello").unwrap()).unwrap();
        assert!(from.map(|entry| entry.unwrap().1).any(|entry| entry == small_tree()[2]));
    }
    assert!(says("| starts | 4 MiB, in one block |"));
    let block = |plain_length| Sealed { section: 129, seal: 0, items: 1, plain_length, stored: vec![] };
    assert_refused(open(assemble_sealed(&[block((4 << 20) + 1)])).check_starts(), "one block of at most");
    assert_refused(open(assemble_sealed(&[block(1), block(1)])).check_starts(), "one block of at most");
}

/// The plain bytes of a manifest's last block, which is of an ancillary section.
fn ancillary(manifest: &[u8]) -> Vec<u8> {
    let reader = open(manifest.to_vec());
    let block = reader.blocks().last().unwrap();
    let stored = &manifest[block.offset as usize..][..block.stored_length as usize];
    let mut plain = Vec::new();
    Seals::default()
        .opener()
        .unwrap()
        .open_into(stored, block.plain_length, "the section", &mut plain)
        .unwrap();
    plain
}

#[test]
fn object_rows_are_encoded_as_documented() {
    let row = plain("manifest/objects", 9);
    assert_eq!(row, encode_objects(&[object()]));
    assert_eq!(decode_objects(&row).unwrap(), [object()]);
    assert_eq!(bytes("object").len(), object().stored_length as usize);
    assert_eq!(plain("object", 9), CHUNK);
    assert_eq!(b3sum_of_content(&bytes("object")), object().id.to_string());
    assert!(DOC.contains(&format!("objects/f/{}.zst", object().id)));
}

/// What `zstd -dc | b3sum` prints.
fn b3sum_of_content(object: &[u8]) -> String {
    let hash = run("b3sum", ["--no-names"], &run("zstd", ["-dcq"], object));
    String::from_utf8(hash).unwrap().trim_end().to_owned()
}

#[test]
fn store_json_is_as_documented() {
    let config = StoreConfig {
        id: STORE_ID.into(),
        chunks: ChunkSizes::default(),
        created: "2025-04-08T03:10:00Z".into(),
        created_by: "weekvault 0.1.0".into(),
        sealed: false,
    };
    let documented = bytes("store.json");
    assert_eq!(decode_store(&documented).unwrap(), config);
    assert_contains(&json(&encode_store(&config).unwrap()), &json(&documented));
}

/// Runs a program with bytes on its standard input; returns its standard output, or what it says of its failure.
pub(super) fn try_run(
    program: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    input: &[u8],
) -> Result<Vec<u8>, String> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{program}: {e}; tests/run installs what is missing"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A program that stops early says why itself.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn run(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8]) -> Vec<u8> {
    try_run(program, args, input).unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Runs `docs/read_store.py` on week 2025-14 of `enigma`, with Debian's Python.
fn script(store: &Path, path: Option<&[u8]>) -> Result<Vec<u8>, String> {
    for tool in ["zstd", "b3sum"] {
        run(tool, ["--version"], b"");
    }
    let mut args: Vec<&OsStr> = vec![SCRIPT.as_ref(), store.as_ref(), "2025-14".as_ref(), "enigma".as_ref()];
    args.extend(path.map(OsStr::from_bytes));
    try_run("/usr/bin/python3", args, b"")
}

/// Paths as the script lists them.
pub(super) fn listing<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> String {
    let shown = |byte: &u8| match byte {
        b' '..=b'~' if *byte != b'\\' => char::from(*byte).to_string(),
        byte => format!("\\x{byte:02x}"),
    };
    let line =
        |path: &[u8]| if path.is_empty() { ".".into() } else { path.iter().map(shown).collect::<String>() };
    paths.into_iter().map(|path| line(path) + "\n").collect()
}

pub(super) fn put(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_script_reads_the_examples() {
    let store = tempfile::tempdir().unwrap();
    let object_file = store.path().join(format!("objects/f/{}.zst", object().id));
    put(object_file.clone(), &bytes("object"));
    put(store.path().join("2025-14/enigma.manifest"), &full_manifest());
    let listed = String::from_utf8(script(store.path(), None).unwrap()).unwrap();
    let paths: Vec<&[u8]> = listed.lines().map(str::as_bytes).collect();
    let expected =
        [".", "greeting", "hello", "latest", "null", "pipe", "sda", "shelf", "shelf/socket", "sparse\\xff"];
    assert_eq!(paths, expected.map(str::as_bytes));
    let extract = |path: &[u8]| script(store.path(), Some(path));
    assert_eq!(extract(b"greeting").unwrap(), CHUNK);
    assert_eq!(extract(b"hello").unwrap(), CHUNK, "a hard link");
    assert!(extract(b"sparse\xff").unwrap() == sparse_content(), "a hole");
    assert!(extract(b"shelf").unwrap_err().contains("no regular file"));
    let mut damaged = bytes("object");
    *damaged.last_mut().unwrap() ^= 1;
    put(object_file, &damaged);
    assert!(extract(b"greeting").unwrap_err().starts_with("damaged: "));
    let mut damaged = full_manifest();
    damaged[30] ^= 1;
    put(store.path().join("2025-14/enigma.manifest"), &damaged);
    assert!(script(store.path(), None).unwrap_err().starts_with("damaged: "));
}

#[test]
fn the_script_is_short() {
    let lines = fs::read_to_string(SCRIPT).unwrap().lines().count();
    assert!(lines <= 140, "{lines} lines");
}

/// Bytes that zstd cannot shorten.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// A small tree with what is hard to get right; returns the content of each regular file that is worth a look.
fn make_tree(root: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut files: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (path, content) in [
        (&b"a.txt"[..], b"one\n".to_vec()),
        (b"a/z", b"two\n".to_vec()),
        (b"a-b", b"three\n".to_vec()),
        (b"empty", vec![]),
        (b"large", noise(9 << 20)),
        (b"medium", noise(3 << 19)),
        (b"odd/new\nline", b"four\n".to_vec()),
        (b"odd/not \xff\xfe UTF-8", b"five\n".to_vec()),
        (b"odd/back\\slash \xc3\xa4", b"six\n".to_vec()),
    ] {
        put(root.join(OsStr::from_bytes(path)), &content);
        files.insert(path.to_vec(), content);
    }
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(20 << 20).unwrap();
    sparse.write_all_at(&noise(100_000), 7 << 20).unwrap();
    sparse.write_all_at(b"after a hole that is too short", (7 << 20) + 100_000 + (60 << 10)).unwrap();
    files.insert(b"sparse".to_vec(), fs::read(root.join("sparse")).unwrap());
    fs::hard_link(root.join("large"), root.join("odd/same as large")).unwrap();
    files.insert(b"odd/same as large".to_vec(), noise(9 << 20));
    symlink("nowhere", root.join("odd/link")).unwrap();
    fs::set_permissions(root.join("a.txt"), fs::Permissions::from_mode(0o4640)).unwrap();
    // Enough entries for a second block, which begins in this folder.
    fs::create_dir_all(root.join("many/below")).unwrap();
    for i in 0..4000 {
        fs::write(root.join(format!("many/below/{i:04}")), b"").unwrap();
    }
    files
}

/// All paths of a tree, each component compared by its bytes.
fn paths_of(root: &Path) -> Vec<Vec<u8>> {
    let found = walkdir::WalkDir::new(root).into_iter().map(|found| found.unwrap().into_path());
    let relative = |path: PathBuf| path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
    let mut paths: Vec<Vec<u8>> = found.map(relative).collect();
    paths.sort_by(|a, b| a.split(|b| *b == b'/').cmp(b.split(|b| *b == b'/')));
    paths
}

fn back_up(source: &Path, store: &Path) {
    let new = NewStore {
        chunks: ChunkSizes::default(),
        created: RUN,
        created_by: "a test".into(),
        id: "0".repeat(32),
    };
    let archive = Archive::open_or_create(Arc::new(LocalStore::new(store, RunId(1))), &new).unwrap();
    let sources = [Source { pvc: "enigma".parse().unwrap(), path: source.to_path_buf() }];
    let labels =
        Labels { host: "here".into(), tool: "a test".into(), ..Labels::of("2025-14".parse().unwrap()) };
    let observer = Silent::default();
    let run = Run::new(&archive, &observer).on(2);
    let done = backup(run, &sources, &labels, &BackupOptions::default()).unwrap();
    assert_eq!(done.sources[0].completeness, Completeness::Complete, "{:?}", done.sources[0].problems);
}

/// Checks that the chunks of a file hold nothing else.
fn assert_own_chunks(extents: &[Extent], table: &[ObjectRow]) {
    assert!(!extents.is_empty());
    for extent in extents {
        let Extent::Slice { object, offset: 0, length } = *extent else { panic!("{extent:?}") };
        assert_eq!(length, table[object as usize].chunk_length);
    }
}

#[test]
fn the_script_reads_a_real_store() {
    let folder = tempfile::tempdir().unwrap();
    let (source, store) = (folder.path().join("source"), folder.path().join("store"));
    let files = make_tree(&source);
    back_up(&source, &store);

    let manifest = open(fs::read(store.join("2025-14/enigma.manifest")).unwrap());
    let blocks = manifest.blocks().iter().filter(|b| b.section == Section::Entries).count();
    assert!(blocks > 1, "the tree is large enough to test contexts");

    let paths = paths_of(&source);
    let listed = String::from_utf8(script(&store, None).unwrap()).unwrap();
    assert_eq!(listed, listing(paths.iter().map(Vec::as_slice)));
    for (path, content) in &files {
        assert_eq!(&fs::read(source.join(OsStr::from_bytes(path))).unwrap(), content);
        let extracted = script(&store, Some(path)).unwrap();
        assert!(&extracted == content, "{} comes back", path.escape_ascii());
    }

    let table = manifest.objects().unwrap();
    assert!(table.len() > 2, "the large file has several chunks");
    for (path, entry) in manifest.entries().unwrap().map(Result::unwrap) {
        let Kind::File(content) = entry.kind else { continue };
        match path.as_bytes() {
            b"large" | b"medium" => assert_own_chunks(&content.extents, &table),
            b"sparse" => {
                let hole = |e: &Extent| matches!(e, Extent::Hole { .. });
                let holes = content.extents.iter().filter(|e| hole(e)).count();
                assert_eq!(holes, 2, "one before and one after the data: {:?}", content.extents);
            }
            _ => assert!(content.extents.len() <= 2, "{path} is small"),
        }
    }
    let stored: Vec<PathBuf> = walkdir::WalkDir::new(store.join("objects"))
        .into_iter()
        .map(|found| found.unwrap().into_path())
        .filter(|path| path.is_file())
        .collect();
    assert_eq!(stored.len(), table.len());
    for path in stored {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(name, format!("{}.zst", b3sum_of_content(&fs::read(&path).unwrap())));
        let folder = path.parent().unwrap().file_name().unwrap();
        assert_eq!(folder, &name[..1]);
        let row = table.iter().find(|row| name.starts_with(&row.id.to_string())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::from(row.stored_length));
    }
}
