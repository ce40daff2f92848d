//! Whole manifests: whatever the bytes are, what a reader hands out keeps what the format promises.

use super::sealed::{STORE, is_right};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::archive::Archive;
use weekvault::data::Window;
use weekvault::format::{
    ChunkSizes, ManifestReader, ManifestWriter, RandomRead, ReadError, Seals, Section, StoreConfig,
    encode_store,
};
use weekvault::model::{
    ArchivePath, Completeness, Entry, Extent, Kind, LeftOut, ObjectRow, Owners, Problem, PvcName, Silent,
    StoreId, Summary, WeekRef,
};
use weekvault::ops::Run;
use weekvault::ops::browse::{self, Depth};
use weekvault::ops::clock;
use weekvault::ops::restore::{Owner, RestoreOptions, restore};
use weekvault::ops::verify::{VerifyOptions, verify};
use weekvault::store::{Key, MemoryStore, Store};

/// Messages go to a terminal and a log.
const LONGEST_MESSAGE: usize = 600 << 10;
/// A tree of more entries is not written anew.
const MANY: usize = 3000;

/// A tree of more entries is not looked at with the commands.
const FEW: usize = 300;

/// Bytes as a file.
pub(super) struct InMemory<'a>(pub(super) &'a [u8]);

impl RandomRead for InMemory<'_> {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.get(offset as usize..).and_then(|b| b.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// All of a manifest.
#[derive(PartialEq, Debug)]
struct Whole {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
    owners: Owners,
    objects: Vec<ObjectRow>,
    summary: Summary,
}

/// Whose manifest it is: what reads it, and what writes one that says the same.
pub(super) struct Side {
    pub(super) reader: Seals,
    pub(super) writer: Seals,
}

/// Reads a manifest of a plain store in every way that there is.
pub(super) fn check(file: &[u8]) {
    check_with(file, &Side { reader: Seals::default(), writer: Seals::zstd(1) });
}

/// The same of any store.
pub(super) fn check_with(file: &[u8], side: &Side) {
    let reader = match ManifestReader::open(InMemory(file), &side.reader) {
        Ok(reader) => reader,
        Err(error) => return polite(&error),
    };
    blocks_fill_the_file(&reader, file.len() as u64);
    let read = |error| polite(&error);
    let problems = reader.problems().map_err(read).ok();
    let left_out = reader.left_out().map_err(read).ok();
    lists_are_short(problems.as_deref().unwrap_or_default(), left_out.as_deref().unwrap_or_default());
    let _ = reader.read_file().map_err(read);
    let owners = reader.owners().map_err(read).ok();
    let objects = reader.objects().map_err(read).ok();
    let summary = reader.summary().map_err(read).ok();
    for section in [Section::Entries, Section::Ancillary] {
        let _ = reader.check_blocks(section).map_err(read);
    }
    let entries = match &objects {
        Some(objects) => stream(&reader, objects),
        None => {
            assert!(reader.entries().is_err(), "entries without an object table");
            None
        }
    };
    blocks_alone(&reader, entries.as_deref());
    if reader.check_starts().map_err(read).is_ok()
        && let Some(entries) = entries.as_deref().filter(|entries| entries.len() < 40)
    {
        from_any_path(&reader, entries);
    }
    if let Some(problems) = &problems {
        problems.iter().for_each(|p| sane_path(&p.path));
    }
    if let Some(owners) = &owners {
        assert!(owners.users.is_sorted_by(|a, b| a.0 < b.0) && owners.groups.is_sorted_by(|a, b| a.0 < b.0));
    }
    if let (Some(entries), Some(problems), Some(owners), Some(objects), Some(summary)) =
        (entries, problems, owners, objects, summary)
        && entries.len() < MANY
    {
        let whole = Whole { entries, problems, owners, objects, summary };
        // Nobody signs for a store that has no name.
        if !side.writer.is_sealed() || whole.summary.store.parse::<StoreId>().is_ok() {
            writes_back(&whole, side);
        }
        if whole.entries.len() < FEW && (!side.reader.is_sealed() || is_right(&reader)) {
            in_a_store(file, &whole, &side.reader);
        }
    }
}

/// Reading from a path on, and one directory, show what reading all does.
fn from_any_path(reader: &ManifestReader<InMemory<'_>>, entries: &[Entry]) {
    let all: Vec<_> = reader.entries().expect("they were read").flatten().collect();
    assert_eq!(all.len(), entries.len());
    for (path, _) in &all {
        let from = reader.entries_from(path).expect("they were read").flatten();
        let from: Vec<_> = from.filter(|(at, _)| at >= path).collect();
        assert!(from.iter().eq(all.iter().filter(|(at, _)| at >= path)), "from {path} on");
        let children = reader.children(path).expect("they were read").flatten();
        let is_child = |at: &ArchivePath| !at.is_root() && at.parent().as_ref() == Some(path);
        assert!(children.eq(all.iter().filter(|(at, _)| is_child(at)).cloned()), "in {path}");
    }
}

/// An error says something, in few enough words, on one line that no terminal takes for a command.
pub(super) fn polite(error: &ReadError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.len() < LONGEST_MESSAGE, "a message of {} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(!matches!(error, ReadError::Io(_)), "bytes are wrong, not the storage: {text}");
}

/// Lists that are read whole are no longer than the format has it, whoever says how long they are.
fn lists_are_short(problems: &[Problem], left_out: &[LeftOut]) {
    let texts = |p: &Problem| p.path.as_bytes().len() + p.operation.len() + p.error.len();
    assert!(problems.len() <= 10_000 && problems.iter().map(texts).sum::<usize>() <= 32 << 20);
    assert!(left_out.iter().map(|place| place.path.as_bytes().len() + 1).sum::<usize>() <= 1 << 20);
}

fn blocks_fill_the_file(reader: &ManifestReader<InMemory<'_>>, length: u64) {
    let mut end = 16;
    for block in reader.blocks() {
        assert_eq!(block.offset, end, "blocks stand end to end");
        end += u64::from(block.stored_length);
        assert!(block.plain_length <= 32 << 20);
    }
    let footer = if reader.signed().is_some() { 144 } else { 48 };
    assert_eq!(end + 48 * reader.blocks().len() as u64 + footer, length, "no byte is left over");
    assert!(reader.blocks().is_sorted_by(|a, b| a.section <= b.section));
}

fn sane_path(path: &ArchivePath) {
    assert!(path.as_bytes().len() <= 64 << 10, "a path of {} bytes", path.as_bytes().len());
    assert_eq!(ArchivePath::parse(path.as_bytes()).as_ref(), Ok(path));
    assert!(!path.to_string().chars().any(char::is_control));
}

/// Streams the entries to the end, damage or not; all of them where there is none.
fn stream(reader: &ManifestReader<InMemory<'_>>, objects: &[ObjectRow]) -> Option<Vec<Entry>> {
    let blocks = reader.blocks().iter().filter(|b| b.section == Section::Entries).count();
    let mut last: Option<(ArchivePath, bool)> = None;
    let (mut folders, mut damage, mut all) = (Vec::<ArchivePath>::new(), 0, Vec::new());
    for entry in reader.entries().expect("the table was read") {
        let (path, entry) = match entry {
            Ok(entry) => entry,
            Err(error) => {
                polite(&error);
                damage += 1;
                assert!(damage <= blocks.max(1), "one error for each damaged block");
                continue;
            }
        };
        sane_path(&path);
        assert_eq!((path.depth(), path.file_name()), (entry.depth, entry.name.clone()));
        if let Some((last, folder)) = &last {
            assert!(*last < path, "{path} after {last}");
            assert!(*folder || !path.is_within(last), "{path} is in {last}");
        }
        folders.retain(|f| path.is_within(f));
        if damage == 0 {
            assert_eq!(folders.last().cloned(), path.parent(), "every folder on the way was there");
        }
        let folder = entry.kind == Kind::Directory;
        if folder {
            folders.push(path.clone());
        }
        sane_entry(&path, &entry, objects);
        last = Some((path, folder));
        if all.len() < MANY {
            all.push(entry);
        }
    }
    assert!(damage > 0 || !all.is_empty(), "an empty tree is no tree");
    (damage == 0).then_some(all)
}

fn sane_entry(path: &ArchivePath, entry: &Entry, objects: &[ObjectRow]) {
    let meta = &entry.meta;
    assert!(meta.mode <= 0o7777 && meta.mtime.nanos < 1_000_000_000 && meta.ctime.nanos < 1_000_000_000);
    assert!(meta.xattrs.is_sorted_by(|a, b| a.name < b.name));
    assert!(meta.xattrs.iter().all(|x| !x.name.is_empty() && !x.name.contains(&0)));
    assert!(clock::rfc3339(meta.mtime).ends_with('Z'));
    match &entry.kind {
        Kind::Symlink(target) => assert!(!target.is_empty() && !target.contains(&0)),
        Kind::HardLink(first) => {
            sane_path(first);
            assert!(!first.is_root() && first < path);
        }
        Kind::File(content) => {
            let lengths = content.extents.iter().map(Extent::length);
            assert_eq!(lengths.clone().try_fold(0, u64::checked_add), Some(content.size));
            assert!(lengths.clone().all(|l| l > 0) && content.extents.len() <= 2_000_000);
            let mut window = Window::default();
            window.add(&content.extents);
            let mut placed = 0;
            for (row, slices) in window.take() {
                let chunk = u64::from(objects.get(row as usize).expect("a row of the table").chunk_length);
                for slice in slices {
                    placed += u64::from(slice.length);
                    assert!(u64::from(slice.offset) + u64::from(slice.length) <= chunk, "leaves its chunk");
                    assert!(slice.at + u64::from(slice.length) <= content.size, "leaves its file");
                }
            }
            let holes = content.extents.iter().filter(|e| matches!(e, Extent::Hole { .. }));
            assert_eq!(placed + holes.map(Extent::length).sum::<u64>(), content.size);
        }
        _ => {}
    }
}

/// Each block of entries read by itself has what the stream had from it.
fn blocks_alone(reader: &ManifestReader<InMemory<'_>>, all: Option<&[Entry]>) {
    let (mut entries, mut sound) = (Vec::new(), true);
    for block in reader.blocks().iter().filter(|b| b.section == Section::Entries) {
        match reader.block_entries(block) {
            Ok(read) => {
                assert!(read.len() == block.items as usize || block.seal == 1);
                entries.extend(read.into_iter().take(MANY - entries.len().min(MANY)));
            }
            Err(error) => {
                polite(&error);
                sound = false;
            }
        }
    }
    if let Some(all) = all {
        assert!(sound && entries == all, "a block alone says something else");
    }
}

fn write(whole: &Whole, side: &Side) -> Vec<u8> {
    let mut writer = ManifestWriter::new(Vec::new(), &side.writer).unwrap();
    for entry in &whole.entries {
        writer.entry(entry).expect("what was read can be written");
    }
    whole.problems.iter().for_each(|p| writer.problem(p.clone()));
    writer.finish(&whole.owners, &whole.objects, &whole.summary).expect("what was read can be written").out
}

/// A manifest that was accepted is written and read again without a difference, and then to the same bytes, unless they
/// are encrypted.
fn writes_back(whole: &Whole, side: &Side) {
    let file = write(whole, side);
    let reader = ManifestReader::open(InMemory(&file), &side.reader).unwrap();
    let again = Whole {
        entries: reader.entries().unwrap().map(|e| e.unwrap().1).collect(),
        problems: reader.problems().unwrap(),
        owners: reader.owners().unwrap(),
        objects: reader.objects().unwrap(),
        summary: Summary { head: whole.summary.head.clone(), ..reader.summary().unwrap() },
    };
    assert_eq!(*whole, again);
    assert!(side.writer.is_sealed() || file == write(&again, side));
}

/// A store that holds a manifest and no object.
pub(super) fn store_with(key: &str, file: &[u8]) -> Archive {
    store_of(&Seals::default(), key, file)
}

/// The same of a store that may be sealed.
fn store_of(seals: &Seals, key: &str, file: &[u8]) -> Archive {
    let store = MemoryStore::default();
    let config = StoreConfig {
        id: STORE.into(),
        chunks: ChunkSizes::default(),
        created: "2025-04-08T03:10:00Z".into(),
        created_by: "weekvault".into(),
        sealed: seals.is_sealed(),
    };
    store.put(&Key::new("store.json"), &encode_store(&config).unwrap()).unwrap();
    store.put(&Key::new(key), file).unwrap();
    Archive::open(Arc::new(store)).unwrap().with_keys(seals.keys().clone())
}

/// What the commands make of an accepted manifest.
fn in_a_store(file: &[u8], whole: &Whole, seals: &Seals) {
    let partial = if whole.summary.completeness == Completeness::Complete { "" } else { ".partial" };
    let key = format!("{}/{}{partial}.manifest", whole.summary.week, whole.summary.pvc);
    let archive = store_of(seals, &key, file);
    let (week, pvc): (WeekRef, &PvcName) = (WeekRef::Latest, &whole.summary.pvc);
    let id = archive.find_manifest(week, pvc).expect("it is listed");
    let manifest = archive.open_manifest(&id).expect("it is that of its name");
    let (mut paths, observer) = (Vec::new(), Silent::default());
    browse::ls(&manifest, &ArchivePath::root(), Depth::All, |path, _, _| {
        paths.push(path.clone());
        Ok(())
    })
    .unwrap();
    assert_eq!(paths.len() + 1, whole.entries.len(), "ls shows all but the root");
    let target = PathBuf::from("/nonexistent/weekvault/target");
    let options = RestoreOptions { dry_run: true, owner: Owner::Nobody, ..RestoreOptions::into(&target) };
    let run = Run::new(&archive, &observer);
    let plan = restore(run, &manifest, &options).unwrap();
    assert!(!Path::new(&target).exists(), "a dry run makes nothing");
    let planned: BTreeMap<&str, u64> = plan.changes.iter().map(|(word, n)| (*word, *n)).collect();
    assert_eq!(planned.values().sum::<u64>(), whole.entries.len() as u64, "{planned:?}");
    assert!(paths.iter().all(|path| path.below(&target).starts_with(&target)));
    for (path, entry) in paths.iter().zip(whole.entries.iter().skip(1)).rev().take(3) {
        if let Kind::File(content) = &entry.kind
            && content.size < 1 << 20
        {
            let (mut out, cat) = (Vec::new(), |out: &mut Vec<u8>| browse::cat(run, &manifest, path, out));
            let slices = content.extents.iter().any(|e| matches!(e, Extent::Slice { .. }));
            assert_eq!(cat(&mut out).is_err(), slices, "no object is there");
        }
    }
    let options = VerifyOptions { quick: true, ..VerifyOptions::default() };
    let verified = verify(run, &options).unwrap();
    assert_eq!(verified.manifests, 1);
    assert!(verified.damaged_manifests.len() + verified.damaged_objects.len() >= whole.objects.len().min(1));
}
