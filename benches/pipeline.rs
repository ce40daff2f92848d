//! The stages of a backup, each alone: `cargo bench`.

use weekvault::data::{Change, Compare, ContentStream, Cut, CutKey, CutSizes, Merge, Merged, Window};
use weekvault::format::{ManifestReader, ManifestWriter, RandomRead, Seals};
use weekvault::model::{
    ArchivePath, Completeness, ContentHash, Counts, Details, Entry, Extent, FileContent, Kind, Meta, Name,
    NodeKind, ObjectId, ObjectRow, Owners, Stat, Summary, Timestamp,
};

fn main() {
    divan::main();
}

/// Bytes of each sample.
const LENGTH: usize = 16 << 20;

/// Text of words that come again: about as compressible as source code.
fn text() -> Vec<u8> {
    let (mut bytes, mut x) = (Vec::with_capacity(LENGTH + 16), 1u64);
    while bytes.len() < LENGTH {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(format!("word{} ", (x >> 33) % 5000).as_bytes());
    }
    bytes.truncate(LENGTH);
    bytes
}

/// As plain and as sealed stores cut.
#[divan::bench(args = [false, true])]
fn cut(bencher: divan::Bencher<'_, '_>, sealed: bool) {
    let text = text();
    let mut x = 1u64;
    let gear = std::array::from_fn(|_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        x ^ (x >> 29)
    });
    let key = sealed.then_some(CutKey { gear, key: [1; 32] });
    let sizes = CutSizes { min: 256 << 10, avg: 1 << 20, max: 4 << 20 };
    bencher.counter(divan::counter::BytesCount::new(LENGTH)).bench(|| {
        let mut chunks = 0;
        let mut out = |cut: Cut<()>| {
            chunks += usize::from(matches!(cut, Cut::Chunk(_)));
            Ok::<_, ()>(())
        };
        let spare = || Vec::with_capacity(4 << 20);
        let mut stream = ContentStream::new(sizes, key.as_ref(), &spare);
        let done = stream.append(&text, &mut out).and_then(|()| stream.cut_here(&mut out));
        (done, chunks)
    });
}

#[divan::bench]
fn hash(bencher: divan::Bencher<'_, '_>) {
    let text = text();
    bencher.counter(divan::counter::BytesCount::new(LENGTH)).bench(|| ObjectId::of(&text));
}

#[divan::bench]
fn seal(bencher: divan::Bencher<'_, '_>) {
    let text = text();
    let (mut sealer, mut stored) = (Seals::zstd(3).sealer(), Vec::new());
    bencher.counter(divan::counter::BytesCount::new(LENGTH)).bench_local(|| {
        for chunk in text.chunks(1 << 20) {
            let sealed = sealer.as_mut().map(|sealer| sealer.seal_into(chunk, &mut stored));
            divan::black_box(sealed.is_ok());
        }
    });
}

#[divan::bench]
fn open(bencher: divan::Bencher<'_, '_>) {
    let (text, mut stored, mut plain) = (text(), Vec::new(), Vec::new());
    let sealed = Seals::zstd(3).sealer().and_then(|mut sealer| sealer.seal_into(&text, &mut stored));
    let mut opener = Seals::default().opener();
    bencher.counter(divan::counter::BytesCount::new(LENGTH)).bench_local(|| {
        let opened =
            opener.as_mut().map(|opener| opener.open_into(&stored, LENGTH as u32, "object", &mut plain));
        divan::black_box((opened.is_ok(), sealed.is_ok()));
    });
}

/// Entries of each sample.
const ENTRIES: u32 = 50_000;

fn entries() -> Vec<Entry> {
    let meta = |i: u32| Meta {
        mode: 0o644,
        mtime: Timestamp { secs: 1_700_000_000 + i64::from(i), nanos: i },
        inode: 1_000_000 + u64::from(i),
        ..Meta::default()
    };
    let root = Entry { depth: 0, name: None, meta: meta(0), kind: Kind::Directory };
    let file = |i: u32| {
        let extents = vec![Extent::Slice { object: 0, offset: i, length: 1000 }];
        let hash = ContentHash::of(&i.to_le_bytes());
        let content = FileContent { size: 1000, hash, extents, changed_while_read: false };
        let name = Name::new(format!("file-{i:08}.php").as_bytes()).ok();
        Entry { depth: 1, name, meta: meta(i), kind: Kind::File(content) }
    };
    std::iter::once(root).chain((0..ENTRIES).map(file)).collect()
}

fn manifest(entries: &[Entry]) -> std::io::Result<Vec<u8>> {
    let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3))?;
    for entry in entries {
        writer.entry(entry)?;
    }
    let invalid = |e: &dyn std::fmt::Display| std::io::Error::other(e.to_string());
    let objects = [ObjectRow {
        id: ObjectId::plain(weekvault::model::ChunkId([1; 32])),
        chunk_length: 4 << 20,
        stored_length: 1 << 20,
        used: 4 << 20,
    }];
    let summary = Summary {
        week: "2025-14".parse().map_err(|e| invalid(&e))?,
        pvc: "bench".parse().map_err(|e| invalid(&e))?,
        store: String::new(),
        started: Timestamp::default(),
        finished: Timestamp::default(),
        completeness: Completeness::Complete,
        details: Some(Details {
            source: "/".into(),
            host: String::new(),
            tool: String::new(),
            excludes: Vec::new(),
            compared_with: None,
            counts: Counts::default(),
        }),
        head: None,
    };
    Ok(writer.finish(&Owners::default(), objects, &summary)?.out)
}

#[divan::bench]
fn manifest_encode(bencher: divan::Bencher<'_, '_>) {
    let entries = entries();
    bencher
        .counter(divan::counter::ItemsCount::new(entries.len()))
        .bench(|| manifest(&entries).map(|m| m.len()));
}

struct InMemory(Vec<u8>);

impl RandomRead for InMemory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let bytes = self.0.get(offset as usize..).and_then(|b| b.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[divan::bench]
fn manifest_decode(bencher: divan::Bencher<'_, '_>) {
    let bytes = manifest(&entries()).unwrap_or_default();
    let reader = ManifestReader::open(InMemory(bytes), &Seals::default());
    bencher.counter(divan::counter::ItemsCount::new(ENTRIES)).bench(|| match &reader {
        Ok(reader) => reader.entries().map_or(0, Iterator::count),
        Err(_) => 0,
    });
}

/// What a walk finds of an entry that has not changed.
fn stat_of(entry: &Entry) -> Stat {
    let Meta { mode, uid, gid, mtime, ctime, inode, .. } = entry.meta;
    let (kind, size) = match &entry.kind {
        Kind::File(content) => (NodeKind::File, content.size),
        _ => (NodeKind::Directory, 0),
    };
    Stat {
        kind,
        mode,
        uid,
        gid,
        size,
        mtime,
        ctime,
        inode,
        device: 1,
        mount: None,
        links: 1,
        allocated: size,
    }
}

/// The merge of a walk with the manifest before, where nothing has changed.
#[divan::bench]
fn compare(bencher: divan::Bencher<'_, '_>) {
    let entries = entries();
    let path =
        |e: &Entry| e.name.as_ref().map_or(ArchivePath::root(), |name| ArchivePath::root().child(name));
    let walk: Vec<(ArchivePath, Stat)> = entries.iter().map(|e| (path(e), stat_of(e))).collect();
    let ran = Timestamp { secs: 1_800_000_000, nanos: 0 };
    let compare = Compare {
        started: ran,
        finished: ran,
        force_read: false,
        ignore_ctime: false,
        ignore_inode: false,
        was_partial: false,
    };
    bencher
        .counter(divan::counter::ItemsCount::new(entries.len()))
        .with_inputs(|| entries.iter().map(|e| (path(e), e.clone())).collect::<Vec<_>>())
        .bench_values(|before| {
            let walk = walk.iter().cloned().map(Ok::<_, ()>);
            let mut unchanged = 0;
            for merged in Merge::new(walk, before.into_iter().map(Ok)) {
                if let Merged::Both((_, stat), (_, entry)) = merged? {
                    unchanged += usize::from(compare.change(&entry, &stat) == Change::None);
                }
            }
            Ok::<_, ()>(unchanged)
        });
}

/// Gathering the slices of small files by object, a window at a time.
#[divan::bench]
fn plan(bencher: divan::Bencher<'_, '_>) {
    let file = |i: u32| vec![Extent::Slice { object: i / 64, offset: i % 64 * 1000, length: 1000 }];
    let files: Vec<Vec<Extent>> = (0..ENTRIES).map(file).collect();
    bencher.counter(divan::counter::ItemsCount::new(files.len())).bench(|| {
        let (mut window, mut objects) = (Window::default(), 0);
        for extents in &files {
            window.add(extents);
            if window.is_full() {
                objects += window.take().len();
            }
        }
        objects + window.take().len()
    });
}
