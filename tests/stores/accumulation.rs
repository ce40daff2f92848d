//! What a store can make a command remember, one kind after the other to its limit: a few hundred kilobytes of store must not
//! take gigabytes or minutes.

use crate::common;
use crate::common::Vault;
use crate::common::raw_manifest;
use crate::common::raw_manifest::{
    Block, Record, assemble, bytes, file_of, folder, hard_link, number, record, summary,
};
use std::fs;
use tempfile::TempDir;
use weekvault::format::{encode_objects, encode_summary};
use weekvault::model::{Completeness, ObjectId, ObjectRow};

/// Bytes that each store may have.
const MAX_STORE: usize = 1 << 20;

fn root() -> Record {
    record(0, "", folder())
}

/// 255 levels of long names: a path of 64 KiB.
fn deep() -> Vec<Record> {
    std::iter::once(root()).chain((0..255).map(|n| record(n + 1, long_name(n), folder()))).collect()
}

fn long_name(n: u32) -> Vec<u8> {
    [format!("d{n:03}").into_bytes(), vec![b'x'; 250]].concat()
}

/// Rows of objects that the store does not have, in their order.
fn gone(count: u32) -> Vec<ObjectRow> {
    let row = |n: u32| {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        ObjectRow {
            id: ObjectId::plain(weekvault::model::ChunkId(id)),
            chunk_length: 1 << 20,
            stored_length: 1000,
            used: 1 << 20,
        }
    };
    (0..count).map(row).collect()
}

fn below(records: Vec<Record>, count: u32, kind: impl Fn(u32) -> Vec<u8>) -> Vec<Record> {
    let depth = records.len() as u32;
    let item = |n: u32| record(depth, format!("f{n:07}"), kind(n));
    records.into_iter().chain((0..count).map(item)).collect()
}

/// A manifest whose summary says what its blocks have.
struct Bomb {
    blocks: Vec<Block>,
    objects: Vec<ObjectRow>,
    /// Users and groups: numbers and names.
    owners: Vec<u8>,
    missing: Vec<Block>,
    left_out: Vec<Block>,
    excludes: Vec<String>,
}

impl Bomb {
    fn of(blocks: Vec<Vec<Record>>, objects: Vec<ObjectRow>) -> Self {
        let blocks = blocks.iter().map(|records| Block::entries(b"", records)).collect();
        let (missing, left_out, excludes) = (Vec::new(), Vec::new(), Vec::new());
        Self { blocks, objects, owners: vec![0, 0], missing, left_out, excludes }
    }

    fn manifest(mut self) -> Vec<u8> {
        let mut told = summary(&self.blocks);
        told.details.as_mut().unwrap().excludes = self.excludes;
        let missing = self.missing.iter().map(|block| u64::from(block.items)).sum();
        if missing > 0 {
            told.completeness = Completeness::Partial { missing };
        }
        let mut all = std::mem::take(&mut self.blocks);
        all.extend(self.missing);
        all.push(Block::new(3, 1, &self.owners));
        if !self.objects.is_empty() {
            for rows in self.objects.chunks(16_384) {
                all.push(Block::new(4, rows.len() as u32, &encode_objects(rows)));
            }
        }
        all.push(Block::new(5, 1, &encode_summary(&told).unwrap()));
        all.extend(self.left_out);
        assemble(&all)
    }
}

/// What each command makes of it: with these exit codes, by whichever of them a look at the store has to end.
#[track_caller]
fn try_all(kind: &str, bomb: Bomb) {
    let folder = TempDir::new().unwrap();
    let vault = Vault::with_small_chunks(folder.path().join("store"));
    let source = folder.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("x"), "x").unwrap();
    let name = if bomb.missing.is_empty() { "pvc.manifest" } else { "pvc.partial.manifest" };
    let bytes = bomb.manifest();
    assert!(bytes.len() <= MAX_STORE, "{kind}: {} bytes", bytes.len());
    fs::create_dir_all(vault.store.join("2025-14")).unwrap();
    fs::write(vault.store.join("2025-14").join(name), bytes).unwrap();
    let of_week = ["--week", "2025-14", "--pvc", "pvc"];
    let (source, target) = (format!("pvc={}", source.display()), folder.path().join("target"));
    fs::create_dir(&target).unwrap();
    fs::write(target.join("other"), "x").unwrap();
    let target = format!("--target={}", target.display());
    let run = |arguments: &[&str]| vault.run_briefly(arguments);
    for (command, options) in [
        ("list", &[][..]),
        ("verify", &["--quick"]),
        ("verify", &["--json"]),
        ("gc", &[]),
        ("backup", &["--force", "--week", "2025-15", "--source", &source]),
        ("undelete", &[]),
    ] {
        let of_week = if command == "undelete" { &of_week[..] } else { &[] };
        run(&[&[command], of_week, options].concat());
    }
    for (command, options) in [
        ("ls", &[][..]),
        ("restore", &[&target, "--no-owner", "--dry-run", "--delete", "--yes"]),
        ("restore", &[&target, "--no-owner", "--dry-run", "--path", "z*"]),
        ("restore", &[&target, "--no-owner"]),
    ] {
        run(&[&[command], &of_week[..], options].concat());
    }
    common::system(std::process::Command::new("rm").arg("-rf").arg(folder.path()));
}

#[test]
fn objects_that_are_not_there() {
    // One after the other in one file, and all of them in each of a hundred files whose paths are long.
    let extents = |count: u64| (1..=count).map(|row| (row, 0, 1)).collect::<Vec<_>>();
    let each = below(vec![root()], 1, |_| file_of(200_000, [0; 32], &extents(200_000)));
    try_all("many objects", Bomb::of(vec![each], gone(200_000)));
    let deep = below(deep(), 100, |_| file_of(1000, [0; 32], &extents(1000)));
    try_all("objects by paths", Bomb::of(vec![deep], gone(1000)));
}

#[test]
fn ten_thousand_objects_are_named_and_the_others_counted() {
    let folder = TempDir::new().unwrap();
    let vault = Vault::with_small_chunks(folder.path().join("store"));
    let extents: Vec<_> = (1..=10_003).map(|row| (row, 0, 1)).collect();
    let file = below(vec![root()], 1, |_| file_of(10_003, [0; 32], &extents));
    fs::create_dir_all(vault.store.join("2025-14")).unwrap();
    fs::write(vault.store.join("2025-14/pvc.manifest"), Bomb::of(vec![file], gone(10_003)).manifest())
        .unwrap();
    let report = vault.run(["verify", "--json"]).expect(4).json();
    assert_eq!(report["damaged_objects"].as_array().unwrap().len(), 10_000);
    assert_eq!(report["unnamed_objects"]["damaged"], 3, "{}", report["unnamed_objects"]);
    let said = vault.run(["verify"]).expect(4).stdout;
    assert!(said.contains("further objects missing or damaged, not named here: 3\n"));
    assert!(said.ends_with("10003 objects DAMAGED\n"));
}

#[test]
fn files_and_slices_of_an_object_that_is_not_there() {
    let files = below(deep(), 8_000, |_| file_of(1, [0; 32], &[(1, 0, 1)]));
    try_all("files", Bomb::of(vec![files], gone(1)));
    let slices: Vec<_> = (0..200_000).map(|at| (1, at % (1 << 20), 1)).collect();
    let one = below(deep(), 1, |_| file_of(200_000, [0; 32], &slices));
    try_all("slices", Bomb::of(vec![one], gone(1)));
}

#[test]
fn hard_links() {
    let empty = *blake3::hash(b"").as_bytes();
    let first = below(vec![root()], 1, |_| file_of(0, empty, &[]));
    let links =
        |count: u32| (0..count).map(|n| record(1, format!("l{n:07}"), hard_link(b"f0000000"))).collect();
    try_all("names of one file", Bomb::of(vec![first, links(60_000)], Vec::new()));
    let above = (0..255).map(long_name).collect::<Vec<_>>().join(&b'/');
    let link = |n: u32| {
        let first = [&above[..], format!("/f{n:07}").as_bytes()].concat();
        record(1, format!("l{n:07}"), hard_link(&first))
    };
    let mut blocks = vec![vec![root()]];
    blocks.extend((0..13).map(|b| (b * 400..b * 400 + 400).map(link).collect()));
    try_all("first names that are not there", Bomb::of(blocks, Vec::new()));
    // Links that are selected, and their first names are not.
    let mut files = vec![root(), record(1, "a", folder())];
    files.extend((0..6_000).map(|n| record(2, format!("f{n:07}"), file_of(0, empty, &[]))));
    let mut others: Vec<Record> = deep()[1..].to_vec();
    others[0].name[0] = b'z';
    others.extend(
        (0..6_000).map(|n| record(256, format!("l{n:07}"), hard_link(format!("a/f{n:07}").as_bytes()))),
    );
    try_all("links that are selected", Bomb::of(vec![files, others], Vec::new()));
}

#[test]
fn levels_and_attributes() {
    let levels = std::iter::once(root()).chain((1..=8_000).map(|depth| record(depth, "d", folder())));
    try_all("levels", Bomb::of(vec![levels.collect()], Vec::new()));
    let mut many = below(vec![root()], 300, |_| folder());
    for record in &mut many {
        record.xattrs = (0..500).map(|n| (format!("user.{n:04}").into_bytes(), vec![b'x'; 50])).collect();
    }
    try_all("attributes", Bomb::of(vec![many], Vec::new()));
    let mut symlinks = below(vec![root()], 20_000, |_| raw_manifest::symlink(&[b'x'; 4000]));
    symlinks.truncate(8_000);
    try_all("targets of links", Bomb::of(vec![symlinks], Vec::new()));
}

#[test]
fn owners_excludes_and_places() {
    let names = |prefix: &str| {
        let mut names = number(100_000);
        (0..100_000u64).for_each(|n| {
            names.extend(number(n));
            names.extend(bytes(format!("{prefix}{n}").as_bytes()));
        });
        names
    };
    let mut bomb = Bomb::of(vec![vec![root()]], Vec::new());
    bomb.owners = [names("u"), names("g")].concat();
    try_all("owners", bomb);
    let mut bomb = Bomb::of(vec![below(deep(), 5, |_| folder())], Vec::new());
    bomb.excludes = (0..20_000).map(|n| format!("*a*b*c*[d-z]{n}*")).collect();
    try_all("excludes", bomb);
    let path = |n: u32| {
        [(0..250).map(long_name).collect::<Vec<_>>().join(&b'/'), format!("/{n:07}").into()].concat()
    };
    let mut bomb = Bomb::of(vec![vec![root()]], Vec::new());
    let problem = |n: u32| [bytes(&path(n)), bytes(b"open"), bytes(b"no")].concat();
    let problems = |b: u32| (b * 400..b * 400 + 400).flat_map(problem).collect::<Vec<u8>>();
    bomb.missing = (0..20).map(|b| Block::new(2, 400, &problems(b))).collect();
    try_all("paths that could not be read", bomb);
    let mut bomb = Bomb::of(vec![vec![root()]], Vec::new());
    let place = |n: u32| [bytes(&path(n)), number(1)].concat();
    bomb.left_out = vec![Block::new(128, 16, &(0..16).flat_map(place).collect::<Vec<u8>>())];
    try_all("places that were left out", bomb);
}
