//! Everything that is read besides manifests: sealed pieces, JSON, names, patterns.

use super::manifest::store_with;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;
use weekvault::archive::{ObjectReader, Trash};
use weekvault::data::{ContentStream, Cut, CutSizes, Ranges};
use weekvault::format::{
    MAX_CHUNK_LENGTH, Opener, Seals, decode_objects, decode_store, decode_summary, encode_objects,
    encode_store, encode_summary, stored_bound,
};
use weekvault::model::{ArchivePath, Digest, Name, ObjectId, PathStack, PvcName, Week, WeekRef};
use weekvault::ops::restore::Selection;

/// The first bytes say how long the content is to be; the rest is a frame, and an object table.
pub(super) fn seal(data: &[u8]) {
    let (&[a, b, c], stored) = data.split_first_chunk().unwrap_or((&[0, 0, 0], &[]));
    let length = u32::from_le_bytes([a, b, c, 0]).min(MAX_CHUNK_LENGTH);
    let (mut opener, mut plain) = (Seals::default().opener().unwrap(), vec![7; 3]);
    let opened = opener.open_into(stored, length, "it", &mut plain);
    let said = Opener::plain_length(stored, MAX_CHUNK_LENGTH);
    assert!(said.is_none_or(|n| (1..=MAX_CHUNK_LENGTH).contains(&n)));
    match &opened {
        Ok(()) => {
            assert_eq!(plain.len(), length as usize);
            assert!(said.is_none_or(|n| n == length), "a frame that says {said:?} has {length} bytes");
            let mut sealed = Vec::new();
            Seals::zstd(1).sealer().unwrap().seal_into(&plain, &mut sealed).unwrap();
            assert!(sealed.len() <= stored_bound(plain.len()));
            let mut again = Vec::new();
            opener.open_into(&sealed, length, "it", &mut again).unwrap();
            assert!(plain == again);
        }
        Err(error) => {
            assert!(plain.len() <= length as usize, "more than was asked for");
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }
    // As an object of the store: only the right content comes out.
    let id = if opened.is_ok() { ObjectId::of(&plain) } else { ObjectId::of(stored) };
    let archive = store_with(&format!("objects/{}/{id}.zst", &id.to_string()[..1]), stored);
    let mut reader = ObjectReader::new(&archive, Arc::default()).unwrap();
    let bounded = stored.len() <= stored_bound(length as usize);
    match reader.fetch(&id, length) {
        Ok(chunk) => assert!(chunk == plain && opened.is_ok()),
        Err(_) => assert!(opened.is_err() || !bounded),
    }
    if reader.intact_orphan(&id).is_ok() {
        assert!(said.is_some());
    }
    if let Ok(rows) = decode_objects(stored) {
        assert_eq!(encode_objects(&rows), stored);
        let ids: BTreeSet<ObjectId> = rows.iter().map(|r| r.id).collect();
        assert_eq!(ids.len(), rows.len());
    }
}

/// `store.json` and the summary section.
pub(super) fn json(data: &[u8]) {
    match decode_store(data) {
        Ok(config) => {
            let text = encode_store(&config).unwrap();
            assert_eq!(decode_store(&text).as_ref(), Ok(&config));
            assert_eq!(encode_store(&decode_store(&text).unwrap()), Ok(text));
            let sizes = [config.chunks.min, config.chunks.avg, config.chunks.max].map(|n| n as usize);
            cuts_with(CutSizes { min: sizes[0], avg: sizes[1], max: sizes[2] });
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
    match decode_summary(data) {
        Ok(summary) => {
            let text = encode_summary(&summary).unwrap();
            assert_eq!(decode_summary(&text).as_ref(), Ok(&summary));
            assert!(summary.started.nanos < 1_000_000_000 && summary.finished.nanos < 1_000_000_000);
        }
        Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error}"),
    }
}

/// Sizes that were accepted can be used.
fn cuts_with(sizes: CutSizes) {
    let content: Vec<u8> = (0..6000u32).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    let mut total = 0;
    let mut out = |cut: Cut<()>| {
        if let Cut::Chunk(chunk) = cut {
            assert!(chunk.bytes.len() <= sizes.max && !chunk.bytes.is_empty());
            total += chunk.bytes.len();
        }
        Ok::<_, ()>(())
    };
    let mut stream = ContentStream::new(sizes, None, &Vec::new);
    stream.append(&content, &mut out).unwrap();
    let mut ranges = Ranges::default();
    ranges.data(0, content.len() as u64);
    stream.item((), Some(ranges), &mut out).unwrap();
    stream.cut_here(&mut out).unwrap();
    drop(stream);
    assert_eq!(total, content.len());
}

/// Lines: names and paths of every kind, from a listing, a manifest or a command line.
pub(super) fn names(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|b| *b == b'\n').take(5).collect();
    for line in &lines {
        path(line);
        if let Ok(text) = std::str::from_utf8(line) {
            text_names(text);
            listed(text);
        }
    }
    let mut paths: Vec<ArchivePath> = lines.iter().filter_map(|l| ArchivePath::parse(l).ok()).collect();
    for a in &paths {
        for b in &paths {
            // The order of the components, each by its bytes, is that of the whole.
            assert_eq!(a.cmp(b), a.components().cmp(b.components()), "{a} and {b}");
            let within = a.components().count() >= b.components().count()
                && a.components().zip(b.components()).all(|(a, b)| a == b);
            assert_eq!(a.is_within(b), within, "{a} in {b}");
        }
    }
    paths.sort();
    let mut stack = PathStack::default();
    for path in &paths {
        let before = stack.path().clone();
        if stack.enter(path.depth(), path.file_name().as_ref()) {
            assert_eq!(stack.path().file_name(), path.file_name());
            assert_eq!(stack.path().depth(), path.depth());
        } else {
            assert_eq!(*stack.path(), before, "it stays");
        }
    }
}

fn path(bytes: &[u8]) {
    if let Ok(name) = Name::new(bytes) {
        assert_eq!(name.as_bytes(), bytes);
        assert_eq!(Path::new(name.as_os_str()).components().count(), 1);
        assert!(!format!("{name:?}").chars().any(char::is_control));
    }
    let path = match ArchivePath::parse(bytes) {
        Ok(path) => path,
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 2000 && !text.chars().any(char::is_control), "{} bytes", text.len());
            return;
        }
    };
    assert_eq!(ArchivePath::parse(path.as_bytes()).as_ref(), Ok(&path));
    let names: Vec<Name> = path.components().map(|c| Name::new(c).unwrap()).collect();
    assert_eq!(names.iter().fold(ArchivePath::root(), |folder, name| folder.child(name)), path);
    assert_eq!((path.depth() as usize, path.file_name().as_ref()), (names.len(), names.last()));
    assert_eq!(*PathStack::at(&path).path(), path);
    assert!(!path.to_string().chars().any(char::is_control));
    let below = path.below(Path::new("/target"));
    assert!(below.starts_with("/target"));
    assert!(below.components().skip(1).all(|c| matches!(c, Component::Normal(_))));
    assert_eq!(below.components().count(), 2 + names.len());
    match path.parent() {
        Some(parent) => {
            assert!(parent < path && path.is_within(&parent) && !parent.is_within(&path));
            assert_eq!(parent.child(names.last().unwrap()), path);
        }
        None => assert!(path.is_root()),
    }
}

fn text_names(text: &str) {
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let week = text.parse::<Week>();
    assert_eq!(week.is_ok(), is_week(text), "{text:?}");
    match &week {
        Ok(week) => assert_eq!(week.to_string(), text),
        Err(error) => assert!(!error.to_string().chars().any(char::is_control)),
    }
    match text.parse::<WeekRef>() {
        Ok(week) => assert_eq!(week.to_string(), text),
        Err(_) => assert!(week.is_err() && text != "latest" && text != "previous"),
    }
    match text.parse::<PvcName>() {
        Ok(pvc) => {
            assert_eq!((pvc.as_str(), pvc.to_string().as_str()), (text, text));
            Name::new(text.as_bytes()).expect("a pvc's name is a file's name");
        }
        Err(error) => assert!(!is_pvc(text) && !error.to_string().chars().any(char::is_control)),
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert!(text.len() == 64 && digest.to_string().eq_ignore_ascii_case(text));
        assert!(digits(text) || !text.is_empty());
    }
}

fn is_week(s: &str) -> bool {
    let b = s.as_bytes();
    b.len() == 7
        && b[4] == b'-'
        && b.iter().enumerate().all(|(i, b)| i == 4 || b.is_ascii_digit())
        && (b[5] - b'0') * 10 + (b[6] - b'0') <= 53
}

fn is_pvc(s: &str) -> bool {
    (1..=200).contains(&s.len())
        && !s.starts_with('.')
        && !s.ends_with(".partial")
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// `YYYY-MM-DD`, or that with a number of 2 or more.
fn is_trash_day(s: &str) -> bool {
    let (day, attempt) = s.split_once('.').unwrap_or((s, "2"));
    let attempt_is_one =
        !attempt.starts_with('0') && attempt != "1" && attempt.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |s: &str, length| (s.len() == length).then(|| s.parse::<u32>().ok()).flatten();
    let all = [(year, 4), (month, 2), (day, 2)];
    attempt_is_one
        && (1..10).contains(&attempt.len())
        && all.iter().all(|(s, _)| s.bytes().all(|b| b.is_ascii_digit()))
        && all.iter().all(|(s, length)| number(s, *length).is_some())
        && number(year, 4).is_some_and(|y| y >= 1)
        && number(month, 2).is_some_and(|m| (1..=12).contains(&m))
        && number(day, 2).is_some_and(|d| (1..=28).contains(&d))
}

/// A name at each place of a store where names mean something.
fn listed(name: &str) {
    if name.is_empty() || name == ".." || name == "." || name.contains('/') {
        return;
    }
    // In the folder of the first digit, the object; anywhere else, nothing.
    let is_hex = |s: &str, digits: usize| {
        s.len() == digits && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = name.split('.').collect();
    let hex = match *parts.as_slice() {
        [chunk, "zst"] if is_hex(chunk, 64) => chunk.to_owned(),
        [chunk, sum, tag, "age"]
            if is_hex(chunk, 64) && is_hex(sum, 32) && is_hex(tag, 16) && sum != "0".repeat(32) =>
        {
            format!("{chunk}.{sum}")
        }
        _ => String::new(),
    };
    let object = !hex.is_empty();
    for folder in ["a", "0"] {
        let found = store_with(&format!("objects/{folder}/{name}"), b"x").list_objects().unwrap();
        assert_eq!(found.len(), usize::from(object && name.starts_with(folder)), "{name:?} in {folder}");
        assert!(found.iter().all(|(id, length)| id.to_string() == hex && length == 1));
    }
    let manifests = store_with(&format!("2025-14/{name}"), b"x").manifests().unwrap();
    let (pvc, partial) = match name.strip_suffix(".partial.manifest") {
        Some(pvc) => (pvc, true),
        None => (name.strip_suffix(".manifest").unwrap_or_default(), false),
    };
    assert_eq!(manifests.len(), usize::from(is_pvc(pvc)), "{name:?}");
    for manifest in &manifests {
        assert_eq!((manifest.id.pvc.as_str(), manifest.id.partial), (pvc, partial));
        assert_eq!(manifest.id.to_string(), format!("2025-14/{name}"), "it is found where it is");
    }
    let archive = store_with(&format!("{name}/enigma.manifest"), b"x");
    assert_eq!(archive.manifests().unwrap().len(), usize::from(is_week(name)));
    assert!(archive.manifests().unwrap().iter().all(|m| archive.open_manifest(&m.id).is_err()));
    let id = ObjectId::plain(weekvault::model::ChunkId([0xaa; 32]));
    let trash = Trash::list(&store_with(&format!("trash/{name}/objects/a/{id}.zst"), b"x")).unwrap();
    let found = trash.has(&id);
    assert!(found || !is_trash_day(name), "{name:?} is a day of the trash");
    assert!(!found || name.starts_with(|c: char| c.is_ascii_digit() || c == '-'), "{name:?}");
}

/// The first byte says how many lines are patterns; the others are paths of a tree.
pub(super) fn selection(data: &[u8]) {
    let (count, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut lines = rest.split(|b| *b == b'\n');
    let patterns: Vec<&[u8]> = lines.by_ref().take(usize::from(count % 5)).collect();
    let mut paths = BTreeSet::new();
    for path in lines.take(50).filter_map(|line| ArchivePath::parse(line).ok()) {
        paths.extend(std::iter::successors(Some(path), ArchivePath::parent).take(50));
    }
    let mut selection = match Selection::new(patterns.iter().map(|p| OsStr::from_bytes(p))) {
        Ok(selection) => selection,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let literal = |p: &&[u8]| !p.iter().any(|b| b"*?[{".contains(b));
    let all_literal = patterns.iter().all(literal);
    let named: Vec<ArchivePath> =
        patterns.iter().filter(|p| literal(p)).map(|p| ArchivePath::parse(p).unwrap()).collect();
    let mut any = false;
    for path in &paths {
        let selected = selection.selects(path);
        any |= selected;
        assert_eq!(selected, selection.would_select(path), "{path} by {patterns:?}");
        assert!(selected || !selection.is_all());
        let by_name = named.iter().any(|n| path.is_within(n));
        assert!(selected || !by_name, "{path} by {patterns:?}");
        assert!(!all_literal || selected == by_name || patterns.is_empty(), "{path} by {patterns:?}");
    }
    let unmatched = selection.unmatched().count();
    assert!(any || unmatched == patterns.len());
    assert!(unmatched <= patterns.len());
}
