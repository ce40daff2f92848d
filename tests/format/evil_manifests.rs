//! Restores of manifests that were made to harm: every hash in them is right, and what they say is not.

use crate::common;
use crate::common::raw_manifest::{
    Block, Record, assemble, device, fifo, file, file_of, folder, hard_link, manifest, number, record,
    summary, symlink,
};
use crate::common::{Ran, Tree, Vault, confined, inodes, is_root, skip};
use rustix::fs::{CWD, RenameFlags};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink as make_symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;
use weekvault::format::{Seals, encode_objects, encode_summary};
use weekvault::model::{ArchivePath, Counts, Kind, Meta, ObjectId, ObjectRow, Timestamp};
use weekvault::tree::{OwnerMap, Target};

const CHUNK: &[u8] = b"the only chunk of all\n";
const CANARY: &str = "nothing may touch this";
const NOBODY: u32 = 65534;

fn row() -> ObjectRow {
    let length = CHUNK.len() as u32;
    ObjectRow { id: ObjectId::of(CHUNK), chunk_length: length, stored_length: length, used: length }
}

/// A store with one object, a target, and beside them what must stay as it is.
struct Scene {
    folder: TempDir,
    vault: Vault,
}

impl Scene {
    fn new() -> Self {
        let folder = common::quick_folder(64 << 20, 1000);
        // A run as nobody must come this far.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let scene = Self { folder, vault };
        let mut object = Vec::new();
        Seals::zstd(1).sealer().unwrap().seal_into(CHUNK, &mut object).unwrap();
        let hex = ObjectId::of(CHUNK).to_string();
        scene.write(&format!("store/objects/{}/{hex}.zst", &hex[..1]), &object);
        scene.write("outside/canary", CANARY);
        scene.write("outside/folder/canary", CANARY);
        fs::create_dir(scene.path("target")).unwrap();
        scene
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn publish(&self, manifest: &[u8]) {
        self.write("store/2025-14/pvc.manifest", manifest);
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.vault.command();
        command.args(["restore", "--week", "2025-14", "--pvc", "pvc", "--target"]);
        command.arg(self.path("target")).args(more);
        command
    }

    /// Runs a restore, and sees to it that nothing but the target changes: names, contents, times, or even ctimes.
    #[track_caller]
    fn restore_by(&self, command: &Command) -> Ran {
        let look = || {
            let mut names: Vec<_> =
                fs::read_dir(self.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            let trees = ["outside", "store"].map(|tree| self.path(tree));
            let inodes = trees.clone().map(|tree| inodes(&tree));
            (names, inodes, trees.map(|tree| Tree::of(&tree)))
        };
        let before = look();
        let ran = Ran::of(confined(command)).unharmed();
        assert!(before == look(), "changed outside of the target: {}{}", ran.stdout, ran.stderr);
        ran
    }

    #[track_caller]
    fn restore(&self, more: &[&str]) -> Ran {
        self.restore_by(&self.command(more))
    }

    /// The target's paths.
    fn restored(&self) -> BTreeSet<String> {
        let text = |path: Vec<u8>| String::from_utf8_lossy(&path).into_owned();
        Tree::of(&self.path("target")).0.into_keys().filter(|p| !p.is_empty()).map(text).collect()
    }

    #[track_caller]
    fn assert_sound(&self, path: &str) {
        let path = self.path("target").join(path);
        assert_eq!(fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())), CHUNK);
        assert_eq!(path.metadata().unwrap().mtime(), 1_700_000_000, "{}", path.display());
    }
}

fn sound(depth: u32, name: &str) -> Record {
    record(depth, name, file(CHUNK))
}

fn head() -> Block {
    let root = record(0, "", folder());
    Block::entries(b"", &[root, sound(1, "aaa"), record(1, "bbb", folder()), sound(2, "in")])
}

fn tail() -> Block {
    Block::entries(b"", &[sound(1, "zzz")])
}

/// What every manifest here has besides the evil.
const SOUND: [&str; 5] = ["aaa", "bbb/in", "before", "zzz", "bbb"];

/// What is wrong; what stands between `head` and `tail`; what the program must say; what it may make.
struct Case {
    name: String,
    blocks: Vec<Block>,
    says: Vec<String>,
    made: Vec<&'static str>,
}

/// Evil entries among sound ones.
fn entries(name: &str, evil: &[Record], says: &[&str], made: &[&'static str]) -> Case {
    let records = [&[sound(1, "before")], evil].concat();
    Case {
        name: name.into(),
        blocks: vec![Block::entries(b"", &records)],
        says: says.iter().map(ToString::to_string).collect(),
        made: made.to_vec(),
    }
}

#[track_caller]
fn try_all(cases: Vec<Case>) {
    let count = cases.len();
    for case in cases {
        let scene = Scene::new();
        // Something that the manifest does not have, for a hard link to lead to.
        scene.write("target/extra", "not of the backup");
        let blocks = [vec![head()], case.blocks, vec![tail()]].concat();
        scene.publish(&manifest(&blocks, &[row()]));
        let ran = scene.restore(&[]);
        assert_eq!(ran.code, Some(1), "{}: {}{}", case.name, ran.stdout, ran.stderr);
        for text in &case.says {
            assert!(ran.stderr.contains(text), "{}: no {text:?} in {}", case.name, ran.stderr);
        }
        let expected = SOUND.iter().chain(&case.made).chain(&["extra"]).map(ToString::to_string).collect();
        assert_eq!(scene.restored(), expected, "{}: {}", case.name, ran.stderr);
        SOUND.iter().filter(|path| **path != "bbb").for_each(|path| scene.assert_sound(path));
        assert_eq!(fs::read(scene.path("target/extra")).unwrap(), b"not of the backup");
        assert_eq!(fs::metadata(scene.path("target/extra")).unwrap().nlink(), 1, "{}", case.name);
        let ran = scene.vault.run_confined(["verify", "--json"]);
        assert!(ran.code == Some(4) || case.says.is_empty(), "{}: verify: {}", case.name, ran.stdout);
    }
    println!("{count} cases");
}

#[test]
fn names_that_lead_elsewhere() {
    let evil = |name: &[u8]| {
        // Of long ones the message shows the start.
        let shown = name.get(..200).unwrap_or(name).escape_ascii();
        let says = [&format!("\"{shown}"), "\" is not a valid file name"];
        entries(&format!("{name:?}"), &[record(1, name, file(CHUNK))], &says, &[])
    };
    let names: [&[u8]; 12] = [
        b"/etc/passwd",
        b"",
        b".",
        b"..",
        b"../outside/canary",
        b"m/..",
        b"m\0",
        b"\0",
        b"m/n",
        b"/",
        b"m/",
        &[b'm'; 256],
    ];
    let mut cases: Vec<Case> = names.map(evil).into();
    let named_root = record(0, "m", folder());
    cases.push(entries("a root with a name", &[named_root], &["the root has a name"], &[]));
    for context in ["..", "/", "bbb/..", "bbb/", "./bbb", "bbb\0", "aaa", "ccc", "before/m"] {
        let block = Block::entries(context.as_bytes(), &[sound(2, "m")]);
        let mut case = entries(&format!("a block in {context:?}"), &[], &["a block begins in"], &[]);
        case.blocks.push(block);
        if context == "before/m" {
            case.says = vec!["a block begins in before/m, after before".into()];
        }
        cases.push(case);
    }
    try_all(cases);
}

#[test]
fn trees_that_are_none() {
    let link = || record(1, "m", symlink(b"../outside/folder"));
    let deeper = |name| sound(2, name);
    let mut cases = vec![
        entries(
            "a child of a link",
            &[link(), deeper("n")],
            &["m/n is below something that is no folder"],
            &["m"],
        ),
        entries("through a link", &[link(), deeper("canary")], &["m/canary is below"], &["m"]),
        entries("a child of a file", &[sound(1, "m"), deeper("n")], &["m/n is below"], &["m"]),
        entries("twice", &[sound(1, "m"), sound(1, "m")], &["m is out of order"], &["m"]),
        entries(
            "link, then folder",
            &[link(), record(1, "m", folder()), deeper("n")],
            &["m is out of order"],
            &["m"],
        ),
        entries("backwards", &[sound(1, "n"), sound(1, "m")], &["m is out of order"], &["n"]),
        entries("a skipped level", &[sound(3, "m")], &["skips a level"], &[]),
        entries("4294967295 levels", &[sound(u32::MAX, "m")], &["skips a level"], &[]),
        entries("a second root", &[record(0, "", folder())], &["is out of order"], &[]),
    ];
    // The same over blocks: one that goes on below the link, with a damaged one between them or without.
    for damaged in [false, true] {
        let mut case = entries("a block below a link", &[link()], &["m/n is below something"], &["m"]);
        if damaged {
            case.blocks.push(Block { items: 9, ..Block::entries(b"", &[]) });
        }
        case.blocks.push(Block::entries(b"m", &[deeper("n")]));
        cases.push(case);
    }
    try_all(cases);

    for (root, says) in [
        (record(0, "", file(CHUNK)), "is not a root folder"),
        (record(0, "", symlink(b"../outside")), "is not a root folder"),
        (record(1, "m", folder()), "begins at depth 1"),
    ] {
        let scene = Scene::new();
        scene.publish(&manifest(&[Block::entries(b"", &[root]), tail()], &[row()]));
        scene.restore(&[]).expect(1).says(says);
        assert_eq!(scene.restored(), BTreeSet::from(["zzz".to_owned()]));
    }
}

#[test]
fn hard_links_to_what_has_no_second_name() {
    let link = |name: &str, target: &str| record(1, name, hard_link(target.as_bytes()));
    let outside = Scene::new();
    let outside = outside.path("outside/canary").display().to_string();
    let mut cases = Vec::new();
    for target in [&outside, "../outside/canary", "bbb/../../outside/canary", "/", "", "./aaa", "aaa/", "a\0"]
    {
        let says = format!("is a hard link to \"{}\"", target.as_bytes().escape_ascii());
        cases.push(entries(target, &[link("m", target)], &[&says], &[]));
    }
    for (target, why) in
        [("m", "itself"), ("n", "a later entry"), ("zzz", "a later entry"), ("m/n", "below itself")]
    {
        cases.push(entries(
            why,
            &[link("m", target), link("n", "m")],
            &["m is a hard link to a later path"],
            &[],
        ));
    }
    // These show only when all of the tree is known, so that what comes after them is restored.
    for (target, why) in [
        ("bbb", "a folder"),
        ("extra", "no entry"),
        ("bbb/nothing", "nothing"),
        ("aaa/in", "a child of a file"),
    ] {
        let records = [link("m", target), sound(1, "n")];
        let says = ["cannot link m", &format!("{target}, is no")];
        cases.push(entries(why, &records, &says, &["n"]));
    }
    let chain = [link("m", "aaa"), link("n", "m"), sound(1, "o")];
    cases.push(entries("a link to a link", &chain, &["cannot link n", "m, is no"], &["m", "o"]));
    try_all(cases);
}

/// What stands at a link's place is all there is of it, if the link cannot be made.
#[test]
fn a_link_that_cannot_be_made_takes_nothing_away() {
    for target in ["bbb", "nothing", "extra"] {
        for more in [&[][..], &["--path", "x"]] {
            let scene = Scene::new();
            scene.write("target/x", "still here");
            scene.write("target/extra", "not of the backup");
            let evil = record(1, "x", hard_link(target.as_bytes()));
            scene.publish(&manifest(&[head(), Block::entries(b"", &[evil]), tail()], &[row()]));
            scene.restore(more).expect(1).says("cannot link x");
            assert_eq!(fs::read(scene.path("target/x")).unwrap(), b"still here", "{target} {more:?}");
        }
    }
}

#[test]
fn contents_that_do_not_add_up() {
    let hash = *blake3::hash(CHUNK).as_bytes();
    let length = CHUNK.len() as u64;
    let evil = |size: u64, extents: &[(u64, u64, u64)], says: &str| {
        entries(says, &[record(1, "m", file_of(size, hash, extents))], &["\"m\"", says], &[])
    };
    let far = |extent: (u64, u64, u64), says: &str| {
        entries(says, &[record(1, "m", file_of(extent.2, hash, &[extent]))], &["m needs", says], &[])
    };
    let half = 1 << 63;
    let mut cases = vec![
        far((1, 0, length + 1), "which has 22"),
        far((1, length, 1), "which has 22"),
        far((1, u32::MAX.into(), u32::MAX.into()), "which has 22"),
        far((2, 0, 1), "of object 1, which has 0"),
        far((u32::MAX.into(), 0, 1), "which has 0"),
        evil(length + 1, &[(1, 0, length)], "has 23 bytes in 22 bytes of extents"),
        evil(0, &[(1, 0, length)], "has 0 bytes in 22"),
        evil(1, &[], "has 1 bytes in 0"),
        evil(u64::MAX, &[(1, 0, length)], "has 18446744073709551615 bytes in 22"),
        evil(0, &[(0, 0, half), (0, 0, half)], "more than 2^64 bytes"),
        evil(0, &[(1, 0, 0)], "has an empty extent"),
        evil(0, &[(0, 0, 0)], "has an empty extent"),
        evil(1 << 32, &[(1, 0, 1 << 32)], "has a slice of 4294967296 bytes"),
        evil(1, &[(0, 1, 1)], "has a hole with an offset"),
    ];
    let many = record(1, "m", file_of(2_000_001, hash, &vec![(0, 0, 1); 2_000_001]));
    cases.push(entries("too many holes", &[many], &["a list has more than 2000000 items"], &[]));
    // No file has so many bytes: it shows when it is made, and what comes after it is restored.
    for size in [half, u64::MAX] {
        let huge = record(1, "m", file_of(size, hash, &[(0, 0, size)]));
        cases.push(entries("huge", &[huge, sound(1, "n")], &["cannot write m"], &["n"]));
        let tail = record(1, "m", file_of(size, hash, &[(0, 0, size - length), (1, 0, length)]));
        cases.push(entries("huge, with an end", &[tail, sound(1, "n")], &["cannot write m"], &["n"]));
    }
    // Verify sees nothing wrong in a size.
    cases.iter_mut().rev().take(4).for_each(|case| case.name.push_str(", as verify may not know"));
    let (huge, others) = cases.into_iter().partition::<Vec<_>, _>(|case| case.name.starts_with("huge"));
    try_all(others);
    println!("{} huge ones", huge.len());
    for case in huge {
        let scene = Scene::new();
        scene.publish(&manifest(&[vec![head()], case.blocks, vec![tail()]].concat(), &[row()]));
        scene.restore(&[]).expect(1).says("cannot write m");
        ["aaa", "bbb/in", "before", "n", "zzz"].iter().for_each(|path| scene.assert_sound(path));
        assert!(!scene.path("target/m").exists());
    }
}

#[test]
fn records_that_are_none() {
    let with = |change: &dyn Fn(&mut Record)| {
        let mut evil = sound(1, "m");
        change(&mut evil);
        evil
    };
    let xattrs = |names: &[&[u8]]| {
        let list = names.iter().map(|name| (name.to_vec(), b"value".to_vec())).collect::<Vec<_>>();
        with(&|r| r.xattrs.clone_from(&list))
    };
    let flags = |flags: u8| with(&|r| r.kind[1 + 1 + 32] = flags);
    let mut cases = vec![
        entries("mode", &[with(&|r| r.mode = 0o10000)], &["\"m\" has mode 10000"], &[]),
        entries("time", &[with(&|r| r.mtime.1 = 1_000_000_000)], &["a time has 1000000000 nanoseconds"], &[]),
        entries(
            "no attribute",
            &[xattrs(&[b""])],
            &["\"m\" has an extended attribute with an impossible"],
            &[],
        ),
        entries("NUL in an attribute", &[xattrs(&[b"user.a\0b"])], &["\"m\" has an extended attribute"], &[]),
        entries(
            "attributes",
            &[xattrs(&[b"user.b", b"user.a"])],
            &["\"m\" has its extended attributes out of"],
            &[],
        ),
        entries(
            "an attribute twice",
            &[xattrs(&[b"user.a", b"user.a"])],
            &["\"m\" has its extended attributes"],
            &[],
        ),
        entries("flags", &[flags(2)], &["\"m\" has unknown flags 0x2"], &[]),
        entries(
            "no target",
            &[record(1, "m", symlink(b""))],
            &["\"m\" is a symbolic link to an impossible"],
            &[],
        ),
        entries(
            "NUL target",
            &[record(1, "m", symlink(b"a\0b"))],
            &["\"m\" is a symbolic link to an impossible"],
            &[],
        ),
        entries("kind", &[record(1, "m", vec![8])], &["the entries section is invalid"], &[]),
        entries(
            "a number of no form",
            &[record(1, "m", vec![0xff])],
            &["the entries section is invalid"],
            &[],
        ),
        entries(
            "a kind of 64 bits",
            &[record(1, "m", vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0])],
            &["the entries section"],
            &[],
        ),
        entries("cut short", &[record(1, "m", vec![1, 5])], &["the entries section is invalid"], &[]),
    ];
    // Lengths that lie about what follows: none of them may be believed.
    for length in [33, 1 << 20, 1 << 40, u64::MAX] {
        let list = [&[1, 0][..], &[0; 32], &[0], &number(length)].concat();
        cases.push(entries(
            "extents that are not there",
            &[record(1, "m", list)],
            &["the entries section"],
            &[],
        ));
        let text = [&[2][..], &number(length), b"x"].concat();
        cases.push(entries(
            "a target that is not there",
            &[record(1, "m", text)],
            &["the entries section"],
            &[],
        ));
    }
    for items in [0, 1, 3, u32::MAX] {
        let mut case =
            entries(&format!("{items} items"), &[sound(1, "m")], &["the entries section is invalid"], &["m"]);
        case.blocks[0].items = items;
        if items <= 1 || items == u32::MAX {
            case.made.clear();
        }
        if items == 0 || items == u32::MAX {
            // Then there is none before it either.
            case.blocks.insert(0, Block::entries(b"", &[sound(1, "before")]));
        }
        cases.push(case);
    }
    try_all(cases);
}

/// Blocks that open to far more than they are, or say so.
#[test]
fn bombs_go_off_in_a_small_room() {
    let sealed = |plain: &[u8], said: u32| Block { plain_length: said, ..Block::new(1, 1, plain) };
    let zeros = vec![0; 32 << 20];
    let bomb = |name: &str, block: Block, says: &str| {
        let mut case = entries(name, &[], &[says], &[]);
        case.blocks.push(block);
        case
    };
    // About as many attributes as the size of a record lets through.
    let mut many = sound(1, "m");
    let name = |i: u32| [i / 65025 + 1, i / 255 % 255 + 1, i % 255 + 1].map(|digit| digit as u8).to_vec();
    many.xattrs = (0..1_600_000).map(|i| (name(i), b"x".to_vec())).collect();
    let mut cases = vec![
        bomb("zeros", sealed(&zeros, 32 << 20), "begins at depth 0"),
        bomb("more than it says", sealed(&zeros, 1000), "cannot be decompressed"),
        bomb("less than it says", sealed(&zeros[..1000], 32 << 20), "cannot be decompressed"),
        bomb(
            "no frame",
            Block { stored: zeros[..1000].to_vec(), ..sealed(b"", 1000) },
            "cannot be decompressed",
        ),
        bomb("many attributes", Block::entries(b"", &[many]), "a list has more than 10000 items"),
    ];
    // Encoded once: it is long.
    let hash = *blake3::hash(&vec![0; 2_000_000]).as_bytes();
    let holes = file_of(2_000_000, hash, &vec![(0, 0, 1); 2_000_000]);
    let mut sparse = entries("files of millions of holes", &[], &["cannot link x"], &[]);
    let names = ["m0", "m1", "m2", "m3", "m4"];
    sparse.blocks.extend(names.map(|name| Block::entries(b"", &[record(1, name, holes.clone())])));
    sparse.blocks.push(Block::entries(b"", &[record(1, "x", hard_link(b"bbb"))]));
    sparse.made.extend(names);
    cases.push(sparse);
    try_all(cases);

    let scene = Scene::new();
    let large = Block { plain_length: (32 << 20) + 1, ..tail() };
    scene.publish(&manifest(&[head(), large], &[row()]));
    scene.restore(&[]).expect(1).says("has a block of 33554433 bytes");
    let mut blocks = vec![head(); 349_526];
    blocks.iter_mut().for_each(|block| block.stored.truncate(1));
    scene.publish(&assemble(&blocks));
    scene.restore(&[]).expect(1).says("an index of 16777248 bytes");
}

/// Each level is opened from what is near it. From the root each time, these take a minute in all.
#[test]
fn many_levels_cost_seconds() {
    let mut records = vec![record(0, "", folder())];
    records.extend((1..=16_000).map(|depth| record(depth, "d", folder())));
    let scene = Scene::new();
    scene.publish(&manifest(&[Block::entries(b"", &records)], &[]));
    let begun = std::time::Instant::now();
    for _ in 0..2 {
        scene.restore(&[]).expect(0);
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    common::system(Command::new("rm").arg("-rf").arg(scene.path("target")));
}

/// Deeper than any path can be. What is still a path is restored; each level costs little memory.
#[test]
fn a_hundred_thousand_levels() {
    let mut records = vec![record(0, "", folder()), sound(1, "aaa")];
    records.extend((1..=100_000).map(|depth| record(depth, [b'm'; 200], folder())));
    let mut small: Vec<Record> = records[..2].to_vec();
    small.extend((1..=100_000).map(|depth| record(depth, "levels", folder())));
    for records in [records, small] {
        let scene = Scene::new();
        scene.publish(&manifest(&[Block::entries(b"", &records), tail()], &[row()]));
        let path = if records[2].name == b"levels" { &["--path", "zzz", "--path", "aaa"][..] } else { &[] };
        let ran = scene.restore(path).expect(1).says("a path has more than 65536 bytes");
        scene.assert_sound("aaa");
        scene.assert_sound("zzz");
        assert!(!ran.stderr.contains("cannot make"), "{}", ran.stderr);
        common::system(Command::new("rm").arg("-rf").arg(scene.path("target")));
    }
}

#[test]
fn object_tables_and_summaries_that_lie() {
    let scene = Scene::new();
    let blocks = [head(), tail()];
    let other = ObjectRow { id: ObjectId::of(b"other"), ..row() };
    for (rows, says) in [
        (vec![ObjectRow { chunk_length: 0, ..row() }], "has 0 bytes"),
        (vec![ObjectRow { chunk_length: (16 << 20) + 1, ..row() }], "has 16777217 bytes"),
        (vec![ObjectRow { used: 23, ..row() }], "23 of them used"),
        (vec![ObjectRow { stored_length: 0, ..row() }], "the object table is invalid"),
        (vec![row(), other, row()], "an object is in it twice"),
    ] {
        scene.publish(&manifest(&blocks, &rows));
        scene.restore(&[]).expect(1).says(says).says("2025-14/pvc.manifest");
        scene.vault.run_confined(["verify"]).expect(4).says(says);
        scene.vault.run_confined(["gc"]).expect(1).says(says);
    }
    // A length that the object has not, and an object that is another.
    let longer = ObjectRow { chunk_length: 16 << 20, ..row() };
    for (rows, says) in [(vec![longer], "is damaged"), (vec![other], "is missing")] {
        scene.publish(&manifest(&blocks, &rows));
        scene.restore(&[]).expect(1).says("cannot restore aaa").says(says).says("cannot restore zzz");
        assert_eq!(scene.restored(), BTreeSet::from(["bbb".to_owned()]));
    }
    for (items, plain) in
        [(2, encode_objects(&[row()])), (1, vec![0; 45]), (u32::MAX, encode_objects(&[row()]))]
    {
        let summary = Block::new(5, 1, &encode_summary(&summary(&blocks)).unwrap());
        let rest = [Block::new(3, 1, &[0, 0]), Block::new(4, items, &plain), summary];
        scene.publish(&assemble(&[&blocks[..], &rest].concat()));
        scene.restore(&[]).expect(1).says("the object table is invalid");
    }
    let far = Timestamp { secs: i64::MAX, nanos: 0 };
    let early = Timestamp { secs: i64::MIN, nanos: 0 };
    for (started, finished) in [(far, far), (early, early), (far, early)] {
        let counts = Counts { entries: u64::MAX, files: u64::MAX, bytes: u64::MAX, ..Counts::default() };
        let mut said = weekvault::model::Summary { started, finished, ..summary(&blocks) };
        said.details.as_mut().unwrap().counts = counts;
        let rest = [
            Block::new(3, 1, &[0, 0]),
            Block::new(4, 1, &encode_objects(&[row()])),
            Block::new(5, 1, &encode_summary(&said).unwrap()),
        ];
        scene.publish(&assemble(&[&blocks[..], &rest].concat()));
        scene.restore(&[]).expect(0);
        scene.vault.run_confined(["list"]).expect(0);
        scene.vault.run_confined(["verify"]).expect(4).says("where the summary says 18446744073709551615");
        ["aaa", "bbb/in", "zzz"].iter().for_each(|path| scene.assert_sound(path));
    }
}

/// Links that stand in the target where the manifest has folders and files lead nowhere.
#[test]
fn links_that_stand_in_the_way() {
    let mut blocks = vec![head()];
    blocks.push(Block::entries(
        b"",
        &[
            record(1, "m", folder()),
            record(2, "canary", file(CHUNK)),
            record(2, "deep", folder()),
            sound(3, "canary"),
            record(1, "pipe", fifo()),
            record(1, "same", hard_link(b"aaa")),
        ],
    ));
    blocks.push(tail());
    let plant = |scene: &Scene| {
        let target = scene.path("target");
        make_symlink("../outside", target.join("m")).unwrap();
        make_symlink("../outside/folder", target.join("bbb")).unwrap();
        for name in ["aaa", "pipe", "same", "zzz"] {
            make_symlink("../outside/canary", target.join(name)).unwrap();
        }
        make_symlink(scene.path("outside"), target.join("extra")).unwrap();
    };
    for more in [&[][..], &["--delete"], &["--verify"], &["--sparse", "--threads", "1"]] {
        let scene = Scene::new();
        plant(&scene);
        scene.publish(&manifest(&blocks, &[row()]));
        scene.restore(more).expect(0);
        ["aaa", "bbb/in", "m/canary", "m/deep/canary", "same", "zzz"]
            .iter()
            .for_each(|path| scene.assert_sound(path));
        assert_eq!(scene.path("target/extra").is_symlink(), more != ["--delete"]);
        let links = ["m", "bbb", "aaa", "pipe", "same", "zzz"]
            .map(|name| scene.path("target").join(name).is_symlink());
        assert_eq!(links, [false; 6]);
    }
    for path in ["m/canary", "m/deep", "m/deep/canary", "bbb/in"] {
        let scene = Scene::new();
        plant(&scene);
        scene.publish(&manifest(&blocks, &[row()]));
        scene.restore(&["--path", path]).expect(1).says("something that is no folder stands on the way");
    }
}

/// Whoever owns the live tree swaps a link in, again and again, while root restores what stands there.
#[test]
fn a_link_that_is_swapped_in_leads_nowhere() {
    let scene = Scene::new();
    let (target, canary) = (scene.path("target"), scene.path("outside/canary"));
    make_symlink(&canary, target.join("other")).unwrap();
    rustix::fs::mknodat(CWD, target.join("m"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let before = inodes(&scene.path("outside"));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (a, b) = (target.join("m"), target.join("other"));
            while !done.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let mut open = Target::open(&target, OwnerMap::Numeric).unwrap();
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let meta = Meta { mode: 0o666, uid: owner.0, gid: owner.1, ..Meta::default() };
        let (m, n) = (ArchivePath::parse(b"m").unwrap(), ArchivePath::parse(b"n").unwrap());
        for _ in 0..3000 {
            if let Ok(Some(looked)) = open.stat(&m) {
                let _ = open.set_metadata(&m, &meta, &looked);
            }
            let _ = open.make_hard_link(&m, &n);
            let _ = open.remove(&n, false);
        }
        let _ = open.make_node(&n, &Kind::Fifo, &meta, None);
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(before, inodes(&scene.path("outside")));
}

/// What takes root is told, path by path; the rest is restored, and no file gets rights of an owner that it has not.
#[test]
fn what_nobody_may_restore() {
    if !is_root() {
        skip("a restore without rights", "not root: cannot become nobody");
    }
    let nobody = if is_root() { (NOBODY, NOBODY) } else { record(0, "", folder()).owner };
    let with = |name: &str, change: &dyn Fn(&mut Record)| {
        let mut r = sound(1, name);
        r.owner = nobody;
        change(&mut r);
        r
    };
    let xattr = |r: &mut Record, name: &str| r.xattrs = vec![(name.into(), b"value".to_vec())];
    let capability = [0, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let records = [
        with("capability", &|r| r.xattrs = vec![(b"security.capability".to_vec(), capability.to_vec())]),
        with("device", &|r| r.kind = device(1, 3)),
        with("fine", &|r| xattr(r, "user.fine")),
        with("foreign", &|r| r.owner = (33, 33)),
        with("own setuid", &|r| r.mode = 0o6755),
        with("security", &|r| xattr(r, "security.evil")),
        with("setgid", &|r| (r.owner, r.mode) = ((nobody.0, 42), 0o2755)),
        with("setuid", &|r| (r.owner, r.mode) = ((0, 0), 0o6755)),
        with("trusted", &|r| xattr(r, "trusted.evil")),
    ];
    let mut root = record(0, "", folder());
    root.owner = nobody;
    let blocks = [Block::entries(b"", &[root]), Block::entries(b"", &records)];
    let run = |more: &[&str]| {
        let scene = Scene::new();
        scene.publish(&manifest(&blocks, &[row()]));
        let Some(own) = is_root().then_some(NOBODY) else { return (scene.restore(more), scene) };
        common::system(
            Command::new("chown")
                .args(["-R", "65534:65534"])
                .arg(scene.path("store"))
                .arg(scene.path("target")),
        );
        chown(scene.path("outside"), Some(own), Some(own)).unwrap();
        let program = scene.path("weekvault");
        fs::copy(env!("CARGO_BIN_EXE_weekvault"), &program).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        command.args(scene.command(more).get_args().map(OsStr::to_owned));
        (scene.restore_by(&command), scene)
    };
    let mode =
        |scene: &Scene, name: &str| scene.path("target").join(name).metadata().unwrap().mode() & 0o7777;

    let (ran, scene) = run(&[]);
    let ran = ran.expect(1);
    for says in [
        "cannot make device: Operation not permitted",
        "cannot set an attribute of capability: security.capability: ",
        "cannot set an attribute of security: security.evil: ",
        "cannot set an attribute of trusted: trusted.evil: ",
        "cannot set the owner of foreign: ",
        "cannot set the owner of setgid: ",
        "cannot set the owner of setuid: ",
        "cannot set the mode of setuid: ",
        "cannot set the mode of setgid: ",
    ] {
        assert!(ran.stderr.contains(says), "no {says:?} in {}", ran.stderr);
    }
    let sound: Vec<_> =
        records.iter().filter(|r| r.name != b"device").map(|r| OsStr::from_bytes(&r.name)).collect();
    let assert_all = |scene: &Scene| sound.iter().for_each(|name| scene.assert_sound(name.to_str().unwrap()));
    assert_all(&scene);
    assert!(!scene.path("target/device").exists());
    assert_eq!(["own setuid", "setuid", "setgid"].map(|name| mode(&scene, name)), [0o6755, 0o755, 0o755]);
    assert!(!ran.stderr.contains("fine") && !ran.stderr.contains("own setuid"), "{}", ran.stderr);

    // Nor where nobody asked for the owners: root's restore must not make a program of root's of another's.
    let (ran, scene) = run(&["--no-owner"]);
    assert!(!ran.expect(1).stderr.contains("owner"));
    assert_all(&scene);
    assert_eq!(["own setuid", "setuid", "setgid"].map(|name| mode(&scene, name)), [0o6755, 0o755, 0o755]);
    let (first, scene) = (scene, Scene::new());
    drop(first);
    scene
        .publish(&manifest(&[Block::entries(b"", &[record(0, "", folder()), records[4].clone()])], &[row()]));
    scene.restore(&["--no-owner"]).expect(0);
    let expected = if is_root() { 0o755 } else { 0o6755 };
    assert_eq!(mode(&scene, "own setuid"), expected);
    scene.restore(&["--no-owner", "--verify"]).expect(0).says("2 already right");
    assert_eq!(fs::read_to_string(scene.path("outside").join(Path::new("canary"))).unwrap(), CANARY);
}
