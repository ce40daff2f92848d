//! Reading from a path on, and one directory.

use super::*;
use crate::format::manifest::index::{Footer, encode_footer, encode_index};

/// Folders of files whose attributes fill blocks, with the paths.
fn many_blocks() -> Vec<(ArchivePath, Entry)> {
    let attribute = || Xattr { name: b"user.k".to_vec(), value: vec![7; 20 << 10] };
    let entry = |path: &ArchivePath, kind| {
        let meta = Meta { xattrs: vec![attribute()], ..Meta::default() };
        Entry { depth: path.depth(), name: path.file_name(), meta, kind }
    };
    let path = |text: String| ArchivePath::parse(text.as_bytes()).unwrap();
    let mut paths = vec![(ArchivePath::root(), Kind::Directory)];
    for folder in 0..12 {
        paths.push((path(format!("d{folder:02}")), Kind::Directory));
        paths.extend((0..9).map(|file| (path(format!("d{folder:02}/f{file}")), Kind::Fifo)));
        paths.push((path(format!("d{folder:02}.txt")), Kind::Fifo));
    }
    paths.into_iter().map(|(path, kind)| (path.clone(), entry(&path, kind))).collect()
}

/// Index and footer.
fn ending(blocks: &[Block]) -> Vec<u8> {
    let (index, digest) = encode_index(blocks, Version::Plain).unwrap();
    let footer = Footer { index_length: index.len() as u64, digest, signed: None };
    [index, encode_footer(&footer)].concat()
}

/// The same manifest as programs before the starts section wrote it, and with starts that are not true.
fn without_starts(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let reader = ManifestReader::open(bytes.to_vec(), &Seals::default()).unwrap();
    let (starts, others) = reader.blocks().split_last().unwrap();
    assert_eq!(
        (starts.number, starts.offset),
        (129, others.last().map_or(0, |b| b.offset + u64::from(b.stored_length)))
    );
    let before = &bytes[..starts.offset as usize];
    let older = [before, &ending(others)].concat();
    let mut lies = vec![0];
    for at in 1..starts.items {
        let path = format!("d{at:05}");
        lies.extend([[path.len() as u8].as_slice(), path.as_bytes()].concat());
    }
    let mut stored = Vec::new();
    Seals::zstd(1).sealer().unwrap().block(true, 1, &lies, &mut stored).unwrap();
    let (plain_length, stored_length) = (lies.len() as u32, stored.len() as u32);
    let lying = Block { plain_length, stored_length, hash: *blake3::hash(&stored).as_bytes(), ..*starts };
    let index = ending(&[others, &[lying]].concat());
    (older, [before, &stored, &index].concat())
}

#[test]
fn entries_may_be_read_from_any_path_on() {
    let all = many_blocks();
    let entries: Vec<Entry> = all.iter().map(|(_, entry)| entry.clone()).collect();
    let bytes = write(&entries, &table());
    let (older, lying) = without_starts(&bytes);
    for mut bytes in [bytes, older, lying] {
        let reader = ManifestReader::open(bytes.clone(), &Seals::default()).unwrap();
        let blocks: Vec<Block> =
            reader.blocks().iter().filter(|b| b.section == Section::Entries).copied().collect();
        assert!(blocks.len() > 8, "{}", blocks.len());
        let nowhere =
            ["d03/f4x", "d03/f", "a", "z", "d05.t"].map(|p| ArchivePath::parse(p.as_bytes()).unwrap());
        for path in all.iter().map(|(path, _)| path).chain(&nowhere) {
            let found: Vec<_> = reader.entries_from(path).unwrap().collect::<Result<_, _>>().unwrap();
            let wanted = || all.iter().filter(|(at, _)| at >= path);
            assert!(found.iter().filter(|(at, _)| at >= path).eq(wanted()), "{path}");
            assert!(
                found.len() <= wanted().count() + blocks[0].items as usize,
                "{path}: no more than a block before it"
            );
        }
        // A damaged block in the middle hides nothing of the others, and shows.
        let middle = blocks[blocks.len() / 2];
        bytes[middle.offset as usize + 9] ^= 1;
        let reader = ManifestReader::open(bytes, &Seals::default()).unwrap();
        for (path, _) in &all {
            let (whole, damaged): (Vec<_>, Vec<_>) =
                reader.entries_from(path).unwrap().partition(Result::is_ok);
            let whole: Vec<_> = whole.into_iter().flatten().collect();
            let all: Vec<_> = reader.entries().unwrap().flatten().collect();
            assert!(
                whole.iter().filter(|(at, _)| at >= path).eq(all.iter().filter(|(at, _)| at >= path)),
                "{path}"
            );
            assert!(damaged.len() <= 1);
        }
    }
}

#[test]
fn starts_that_are_not_true_are_noticed() {
    let entries: Vec<Entry> = many_blocks().into_iter().map(|(_, entry)| entry).collect();
    let bytes = write(&entries, &table());
    let (older, lying) = without_starts(&bytes);
    let check = |bytes: Vec<u8>| ManifestReader::open(bytes, &Seals::default()).unwrap().check_starts();
    assert!(check(bytes.clone()).is_ok() && check(older).is_ok());
    let error = check(lying).unwrap_err().to_string();
    assert!(error.contains("the starts section") && error.contains("of a block that begins with"), "{error}");
    assert!(read(&bytes).unwrap() == entries && write(&small(), &table()).len() < 1000);
    let one_block = ManifestReader::open(write(&small(), &table()), &Seals::default()).unwrap();
    assert!(one_block.blocks().iter().all(|b| b.number != 129), "one block begins with the root anyway");
}

/// Counts the reads behind the header and before the tail.
struct Counted(Vec<u8>, std::cell::Cell<usize>);

impl RandomRead for Counted {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.set(self.1.get() + 1);
        self.0.read_exact_at(buffer, offset)
    }
}

#[test]
fn a_directory_is_listed_without_what_is_below() {
    // Noise, so that not all is in the file's tail.
    let noise = |seed: u8| {
        let mut bytes = vec![0; 20 << 10];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
        bytes
    };
    let entry = |text: &str, kind: Kind, seed| {
        let path = ArchivePath::parse(text.as_bytes()).unwrap();
        let xattrs = vec![Xattr { name: b"user.k".to_vec(), value: noise(seed) }];
        let meta = Meta { xattrs, ..Meta::default() };
        let entry = Entry { depth: path.depth(), name: path.file_name(), meta, kind };
        (path, entry)
    };
    let mut all = vec![(ArchivePath::root(), small()[0].clone())];
    for directory in ["a", "b", "c"] {
        all.push(entry(directory, Kind::Directory, 0));
        all.push(entry(&format!("{directory}/in"), Kind::Directory, 0));
        all.extend((0..150).map(|at| entry(&format!("{directory}/in/{at:03}"), Kind::Fifo, at)));
        all.push(entry(&format!("{directory}/z"), Kind::Fifo, 99));
    }
    let entries: Vec<Entry> = all.iter().map(|(_, entry)| entry.clone()).collect();
    let bytes = write(&entries, &[]);
    let (older, lying) = without_starts(&bytes);
    // Who lies is read from the beginning.
    let blocks_of_all = 45;
    for (bytes, most) in [(bytes, 5), (older, 22), (lying, blocks_of_all)] {
        let reader = ManifestReader::open(Counted(bytes, 0.into()), &Seals::default()).unwrap();
        let blocks = reader.blocks().iter().filter(|b| b.section == Section::Entries).count();
        assert!(blocks > 35, "{blocks}");
        for (directory, wanted) in [("", 3), ("a", 2), ("b", 2), ("b/in", 150), ("b/z", 0), ("d", 0)] {
            let directory = match directory {
                "" => ArchivePath::root(),
                path => ArchivePath::parse(path.as_bytes()).unwrap(),
            };
            let before = reader.file().1.get();
            let found: Vec<_> = reader.children(&directory).unwrap().collect::<Result<_, _>>().unwrap();
            let is_child = |path: &ArchivePath| !path.is_root() && path.parent().as_ref() == Some(&directory);
            assert!(found.iter().eq(all.iter().filter(|(path, _)| is_child(path))), "{directory}");
            assert_eq!(found.len(), wanted, "{directory}");
            let reads = reader.file().1.get() - before;
            let most = if wanted == 150 { most + 13 } else { most };
            assert!(reads <= most, "{directory}: {reads} reads of {blocks} blocks");
        }
    }
}
