//! Manifests and objects that somebody put into the store: what they say of one thing in two places is compared, and what
//! they ask for is bounded.

use crate::common::raw_manifest::{
    Block, Record, assemble, file_of, folder, hard_link, manifest, record, summary,
};
use crate::common::{Ran, Vault};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use weekvault::format::{Seals, encode_objects, encode_summary};
use weekvault::model::{Counts, ObjectId, ObjectRow};

struct Scene {
    folder: TempDir,
    vault: Vault,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        fs::create_dir(folder.path().join("src")).unwrap();
        Self { folder, vault }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn publish(&self, place: &str, manifest: &[u8]) {
        let path = self.path("store").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, manifest).unwrap();
    }

    /// Stores a chunk; as `named`, where given, and with bytes of its own all the same.
    fn object(&self, chunk: &[u8], named: Option<ObjectId>) -> ObjectRow {
        let mut stored = Vec::new();
        Seals::zstd(1).sealer().unwrap().seal_into(chunk, &mut stored).unwrap();
        let (id, length) = (named.unwrap_or(ObjectId::of(chunk)), chunk.len() as u32);
        let hex = id.to_string();
        self.publish(&format!("objects/{}/{hex}.zst", &hex[..1]), &stored);
        ObjectRow { id, chunk_length: length, stored_length: stored.len() as u32, used: length }
    }

    fn backup(&self, week: &str, more: &[&str]) -> Ran {
        let source = format!("pvc={}", self.path("src").display());
        let arguments = ["backup", "--week", week, "--source", &source];
        self.vault.run(arguments.iter().chain(more))
    }

    #[track_caller]
    fn assert_restores(&self, week: &str, path: &str, content: &[u8]) {
        let ran = self.vault.run(["cat", "--week", week, "--pvc", "pvc", path]);
        assert_eq!(ran.expect(0).stdout.as_bytes(), content, "{week} {path}");
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn root() -> Record {
    record(0, "", folder())
}

const TRUE: &[u8] = b"what the file of the source has in it, and its hash is of\n";
const FALSE: &[u8] = b"what somebody would like to see in it, of the same length\n";

#[test]
fn verify_names_files_whose_content_is_not_what_their_hash_says() {
    let scene = Scene::new();
    let rows: Vec<ObjectRow> =
        (0..9u8).map(|n| scene.object(&[[n; 700], [n + 1; 700]].concat(), None)).collect();
    let chunk = |n: u64| [[n as u8; 700], [n as u8 + 1; 700]].concat();
    let two = |a: u64, b: u64| [&chunk(a - 1)[5..], &chunk(b - 1)[..900]].concat();
    let sound = |name: &str, a: u64, b: u64| {
        record(1, name, file_of(2295, hash(&two(a, b)), &[(a, 5, 1395), (b, 0, 900)]))
    };
    let holes = [vec![0; 5000], chunk(2), vec![0; 10]].concat();
    let holed = |hash| file_of(6410, hash, &[(0, 0, 5000), (3, 0, 1400), (0, 0, 10)]);
    let sound = [
        root(),
        record(1, "a-empty", file_of(0, hash(b""), &[])),
        record(1, "b-slice", file_of(100, hash(&chunk(0)[650..750]), &[(1, 650, 100)])),
        record(1, "c-whole", file_of(1400, hash(&chunk(0)), &[(1, 0, 1400)])),
        sound("d", 1, 2),
        // Back and forth, so that an object comes in again after others.
        sound("e", 9, 1),
        sound("f", 2, 8),
        record(1, "g-holes", holed(hash(&holes))),
        record(1, "h-hole", file_of(4000, hash(&[0; 4000]), &[(0, 0, 4000)])),
    ];
    scene.publish("2025-14/pvc.manifest", &manifest(&[Block::entries(b"", &sound)], &rows));
    let report = scene.vault.run(["verify", "--json"]).expect(0).json();
    assert_eq!(report["wrong_contents"].as_array().unwrap().len(), 0);
    assert_eq!((report["objects"].as_u64(), report["unhashed_contents"].as_u64()), (Some(9), Some(0)));

    // Then each of them has the right hash and other bytes.
    let wrong = [
        root(),
        record(1, "a-empty", file_of(0, hash(b"x"), &[])),
        record(1, "b-slice", file_of(100, hash(&chunk(0)[650..750]), &[(1, 0, 100)])),
        record(1, "c-whole", file_of(1400, hash(&chunk(0)), &[(2, 0, 1400)])),
        record(1, "d", file_of(2295, hash(&two(1, 2)), &[(1, 5, 1395), (3, 0, 900)])),
        record(1, "e", file_of(2295, hash(&two(9, 1)), &[(9, 4, 1395), (1, 0, 900)])),
        record(1, "g-holes", holed(hash(&holes[1..]))),
        record(1, "h-hole", file_of(4001, hash(&[0; 4000]), &[(0, 0, 4001)])),
        record(1, "i-sound", file_of(1400, hash(&chunk(4)), &[(5, 0, 1400)])),
    ];
    scene.publish("2025-14/pvc.manifest", &manifest(&[Block::entries(b"", &wrong)], &rows));
    for threads in ["1", "4"] {
        let ran = scene.vault.run(["verify", "--json", "--threads", threads]).expect(4);
        let report = ran.json();
        assert_eq!(report["damaged_objects"].as_array().unwrap().len(), 0);
        let named = report["wrong_contents"].as_array().unwrap().iter();
        let named: Vec<_> =
            named.map(|w| (w["week"].as_str().unwrap(), w["path"].as_str().unwrap())).collect();
        let expected = ["a-empty", "b-slice", "c-whole", "d", "e", "g-holes", "h-hole"];
        assert_eq!(named, expected.map(|path| ("2025-14", path)));
    }
    let ran = scene.vault.run(["verify"]).expect(4);
    assert!(ran.stdout.contains("hurts 2025-14 pvc: b-slice") && ran.stdout.contains("7 files DAMAGED"));
    scene.vault.run(["verify", "--quick"]).expect(0);
    // In parts, each file is hashed with the object that it begins in.
    let slices = (1..=3).map(|n| scene.vault.run(["verify", "--json", "--slice", &format!("{n}/3")]).json());
    let named: usize = slices.map(|s| s["wrong_contents"].as_array().unwrap().len()).sum();
    // Those without an object count in each.
    assert_eq!(named, 5 + 3 * 2);
}

#[test]
fn a_backup_compares_the_content_that_it_uses_again() {
    for (more, name) in [(&[][..], "f"), (&["--force-read"], "f"), (&[], "elsewhere")] {
        let scene = Scene::new();
        fs::write(scene.path("src").join(name), TRUE).unwrap();
        let row = scene.object(FALSE, None);
        let forged = record(1, "f", file_of(TRUE.len() as u64, hash(TRUE), &[(1, 0, FALSE.len() as u64)]));
        scene.publish("2025-14/pvc.manifest", &manifest(&[Block::entries(b"", &[root(), forged])], &[row]));
        let ran = scene.backup("2025-15", more).expect(0);
        assert!(ran.stderr.contains("not the one whose hash it gives"), "{}", ran.stderr);
        scene.assert_restores("2025-15", name, TRUE);
        scene.vault.run(["verify", "--week", "2025-15"]).expect(0);
        // What was read and found right is used again.
        fs::rename(scene.path("src").join(name), scene.path("src/moved")).unwrap();
        let ran = scene.backup("2025-16", more).expect(0);
        assert!(!ran.stderr.contains("hash"), "{}", ran.stderr);
        scene.assert_restores("2025-16", "moved", TRUE);
    }
}

#[test]
fn an_object_that_others_brought_is_read_before_new_data_relies_on_it() {
    // Vouched for by another pvc; or by an own manifest, where only --force-read does not believe it.
    for (pvc, more) in [("planted", &[][..]), ("pvc", &["--force-read"])] {
        let scene = Scene::new();
        fs::write(scene.path("src/f"), TRUE).unwrap();
        let row = scene.object(FALSE, Some(ObjectId::of(TRUE)));
        let block = Block::entries(b"", &[root()]);
        let mut said = summary(std::slice::from_ref(&block));
        said.pvc = pvc.parse().unwrap();
        said.details.as_mut().unwrap().counts = Counts { entries: 1, ..Counts::default() };
        let planted = assemble(&[
            block,
            Block::new(3, 1, &[0, 0]),
            Block::new(4, 1, &encode_objects(&[row])),
            Block::new(5, 1, &encode_summary(&said).unwrap()),
        ]);
        scene.publish(&format!("2025-14/{pvc}.manifest"), &planted);
        scene.vault.run(["verify"]).expect(4);
        scene.backup("2025-15", more).expect(0);
        scene.assert_restores("2025-15", "f", TRUE);
        scene.vault.run(["verify"]).expect(0);
    }
}

/// 255 directories, one in the other, of names of 254 bytes each.
fn deep() -> Vec<Record> {
    let name = |n: u32| [format!("d{n:03}").into_bytes(), vec![b'x'; 250]].concat();
    let folders = (0..255).map(|n| record(n + 1, name(n), folder()));
    std::iter::once(root()).chain(folders).collect()
}

fn gone(n: u32) -> ObjectRow {
    let id = ObjectId::of(&n.to_le_bytes());
    ObjectRow { id, chunk_length: 1 << 20, stored_length: 1000, used: 1 << 20 }
}

#[test]
fn long_paths_are_not_kept_for_each_item() {
    let files = |count: u32, extents: &[(u64, u64, u64)]| {
        let mut records = deep();
        let size = extents.iter().map(|e| e.2).sum();
        let file = |n: u32| record(256, format!("f{n:06}"), file_of(size, [0; 32], extents));
        records.extend((0..count).map(file));
        vec![Block::entries(b"", &records)]
    };
    // A hundred paths for each of four hundred damaged objects.
    let scene = Scene::new();
    let rows: Vec<ObjectRow> = (0..400).map(gone).collect();
    let extents: Vec<_> = (1..=400).map(|row| (row, 0, 1)).collect();
    scene.publish("2025-14/pvc.manifest", &manifest(&files(100, &extents), &rows));
    let report = scene.vault.run_confined(["verify", "--json"]).expect(4).json();
    let objects = report["damaged_objects"].as_array().unwrap();
    assert_eq!(objects.len(), 400);
    let paths =
        |o: &serde_json::Value| o["hurts"].as_array().unwrap().len() as u64 + o["unnamed"].as_u64().unwrap();
    assert!(objects.iter().all(|o| paths(o) == 100));

    // Slices of a lost object, each of which might mend it.
    let extents: Vec<_> = (0..40_000).map(|at| (1, at, 1)).collect();
    let scene = Scene::new();
    fs::write(scene.path("src/x"), "x").unwrap();
    scene.publish("2025-14/pvc.manifest", &manifest(&files(1, &extents), &[gone(0)]));
    let source = format!("pvc={}", scene.path("src").display());
    // Whoever wants to replace this tree by another must say so.
    let ran = scene.vault.run_confined(["backup", "--force", "--week", "2025-15", "--source", &source]);
    ran.says("the store has lost 1 of the objects");

    // The first names of links.
    let scene = Scene::new();
    let name = |n: u32| [format!("d{n:03}").into_bytes(), vec![b'x'; 250]].concat();
    let above = (0..255).map(name).collect::<Vec<_>>().join(&b'/');
    let link = |n: u32| {
        let first = [&above[..], format!("/f{n:06}").as_bytes()].concat();
        record(1, format!("l{n:06}"), hard_link(&first))
    };
    let blocks = (0..20).map(|b| (b * 400..b * 400 + 400).map(link).collect::<Vec<_>>());
    let mut all = vec![Block::entries(b"", &[root()])];
    all.extend(blocks.map(|links| Block::entries(b"", &links)));
    scene.publish("2025-14/pvc.manifest", &manifest(&all, &[]));
    scene.vault.run_confined(["verify"]).expect(4).says("a hard link leads to");
}

#[test]
fn contents_that_would_take_for_ever_are_not_hashed() {
    let scene = Scene::new();
    const MIB: u64 = 1 << 20;
    // What a manifest says of objects that are not there pays for nothing.
    let mut rows = vec![scene.object(&vec![7; MIB as usize], None)];
    rows.extend((0..20_000).map(gone));
    rows.sort_by_key(|row| row.id);
    let row = 1 + rows.iter().position(|row| row.stored_length != 1000).unwrap() as u64;
    let hole = record(1, "hole", file_of(8 << 40, [0; 32], &[(0, 0, 8 << 40)]));
    let long: Vec<_> = (0..100_000).map(|_| (row, 0, MIB)).collect();
    let long = (0..100).map(|n| {
        let mut extents = long.clone();
        extents[0].2 = n + 1;
        record(1, format!("long{n:03}"), file_of(99_999 * MIB + 1 + n, [0; 32], &extents))
    });
    let blocks: Vec<Block> = std::iter::once(Block::entries(b"", &[root(), hole]))
        .chain(long.map(|long| Block::entries(b"", &[long])))
        .collect();
    scene.publish("2025-14/pvc.manifest", &manifest(&blocks, &rows));
    let ran = scene.vault.run_confined(["verify", "--json"]).expect(4);
    let report = ran.json();
    assert_eq!(report["sparse_contents"], 1);
    assert_eq!(report["unhashed_contents"], 100);
}

#[test]
fn a_restore_takes_no_content_that_has_not_its_hash() {
    let scene = Scene::new();
    let chunk = |n: u8| [[n; 700], [n + 1; 700]].concat();
    let rows: Vec<ObjectRow> = (0..9u8).map(|n| scene.object(&chunk(n), None)).collect();
    let long: Vec<(u64, u64, u64)> = (0..9).rev().map(|n| (n + 1, 3, 1300)).collect();
    let long_content: Vec<u8> = (0..9).rev().flat_map(|n| chunk(n)[3..1303].to_vec()).collect();
    let holes = [vec![0; 5000], chunk(2), vec![0; 10]].concat();
    let holed = |hash| file_of(6410, hash, &[(0, 0, 5000), (3, 0, 1400), (0, 0, 10)]);
    let length = long_content.len() as u64;
    let records = [
        root(),
        record(1, "a-slice", file_of(100, hash(&chunk(0)[650..750]), &[(1, 650, 100)])),
        record(1, "b-long", file_of(length, hash(&long_content), &long)),
        record(1, "c-holes", holed(hash(&holes))),
        record(1, "d-hole", file_of(4000, hash(&[0; 4000]), &[(0, 0, 4000)])),
        record(1, "w-slice", file_of(100, hash(&chunk(0)[650..750]), &[(1, 649, 100)])),
        record(1, "w-long", file_of(length, hash(&long_content[1..]), &long)),
        record(1, "w-whole", file_of(1400, hash(&chunk(0)), &[(2, 0, 1400)])),
        record(1, "w-xholes", holed(hash(&holes[1..]))),
        record(1, "w-yhole", file_of(4000, hash(&[1; 4000]), &[(0, 0, 4000)])),
        record(1, "w-zempty", file_of(0, hash(&[1]), &[])),
    ];
    let mut records = records.to_vec();
    records[5..].sort_by(|a, b| a.name.cmp(&b.name));
    scene.publish("2025-14/pvc.manifest", &manifest(&[Block::entries(b"", &records)], &rows));
    for threads in ["1", "4"] {
        let target = scene.path(threads);
        fs::create_dir(&target).unwrap();
        fs::write(target.join("w-slice"), "what was there").unwrap();
        let ran = scene.vault.restore("2025-14", "pvc", &target, &["--no-owner", "--threads", threads]);
        let ran = ran.expect(1);
        for name in ["w-slice", "w-long", "w-whole", "w-xholes", "w-yhole", "w-zempty"] {
            let told = format!("{name}: its content is not the one whose hash the manifest gives");
            assert!(ran.stderr.contains(&told), "{}", ran.stderr);
        }
        let names: Vec<_> = fs::read_dir(&target).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert_eq!(fs::read(target.join("w-slice")).unwrap(), b"what was there");
        assert_eq!(fs::read(target.join("b-long")).unwrap(), long_content);
        assert_eq!(fs::read(target.join("c-holes")).unwrap(), holes);
    }
}

#[test]
fn a_restore_looks_for_another_copy_of_an_object_with_other_bytes() {
    let scene = Scene::new();
    let chunk = |n: u8| [[n; 700], [n + 1; 700]].concat();
    let rows: Vec<ObjectRow> = (0..3u8).map(|n| scene.object(&chunk(n), None)).collect();
    let long_content = [&chunk(0)[5..], &chunk(1), &chunk(2)[..9]].concat();
    let length = long_content.len() as u64;
    let long = [(1, 5, 1395), (2, 0, 1400), (3, 0, 9)];
    let untouched = chunk(1)[700..800].to_vec();
    let records = [
        root(),
        record(1, "a-slice", file_of(100, hash(&chunk(1)[650..750]), &[(2, 650, 100)])),
        record(1, "b-long", file_of(length, hash(&long_content), &long)),
        record(1, "c-untouched", file_of(100, hash(&untouched), &[(2, 700, 100)])),
    ];
    scene.publish("2025-14/pvc.manifest", &manifest(&[Block::entries(b"", &records)], &rows));
    // The frame is whole, and so is the second half of what is in it.
    let name = rows[1].id.to_string();
    let place = format!("objects/{}/{name}.zst", &name[..1]);
    let copy = fs::read(scene.path("store").join(&place)).unwrap();
    let mut other = chunk(1);
    other[..700].fill(7);
    scene.object(&other, Some(rows[1].id));
    let restore = |target: &str| {
        let target = scene.path(target);
        (scene.vault.restore("2025-14", "pvc", &target, &["--no-owner"]), target)
    };
    let (ran, target) = restore("damaged");
    let ran = ran.expect(1);
    for name in ["a-slice", "b-long"] {
        let line = ran.stderr.lines().find(|line| line.contains(name)).unwrap_or_default();
        assert!(line.contains("its content does not have its name's hash"), "{}", ran.stderr);
        assert!(!target.join(name).exists());
    }
    assert_eq!(fs::read(target.join("c-untouched")).unwrap(), untouched, "its bytes have its hash");
    scene.publish(&format!("trash/2025-03-09/{place}"), &copy);
    let (ran, target) = restore("whole");
    ran.expect(0);
    assert_eq!(fs::read(target.join("a-slice")).unwrap(), &chunk(1)[650..750]);
    assert_eq!(fs::read(target.join("b-long")).unwrap(), long_content);
}
