//! The damage matrix: each kind of file in a store, damaged in each way. What is hurt is named, all else is restored, and
//! the next backup mends the week that it makes.

use crate::common;
use crate::common::raw_manifest::{Block, Record, assemble, file_of, folder, hard_link, record, symlink};
use crate::common::{Ran, Tree, Vault, backup_arguments, system};
use rustix::fs::{CWD, FileType, Mode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use weekvault::archive::{Archive, GcOptions, Manifest, collect};
use weekvault::format::{ManifestWriter, Seals, Section, encode_objects, encode_summary};
use weekvault::model::{
    ArchivePath, Completeness, Entry, Extent, Kind, Meta, Problem, RunId, Silent, Summary, Timestamp, WeekRef,
};
use weekvault::ops::Run;
use weekvault::ops::restore::{RestoreOptions, Restored, restore};
use weekvault::ops::verify::{VerifyOptions, verify};
use weekvault::ops::{Error, browse};
use weekvault::store::LocalStore;

const OLD: &str = "2025-10";
const PARTIAL: &str = "2025-11";
const CURRENT: &str = "2025-12";

/// A sound store with a file of each kind; every case damages a copy.
struct Base {
    folder: TempDir,
    vault: Vault,
    /// The trees of the weeks, oldest first.
    weeks: [(&'static str, Tree); 3],
    /// By object: the weeks and paths that need it.
    users: BTreeMap<String, BTreeMap<&'static str, BTreeSet<Vec<u8>>>>,
}

static BASE: LazyLock<Base> = LazyLock::new(Base::new);

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn open(store: &Path) -> Archive {
    Archive::open(Arc::new(LocalStore::new(store, RunId(1)))).unwrap()
}

fn manifest_of(archive: &Archive, week: &str) -> Manifest {
    let week = WeekRef::Exact(week.parse().unwrap());
    archive.open_manifest(&archive.find_manifest(week, &"pvc".parse().unwrap()).unwrap()).unwrap()
}

fn entries_of(manifest: &Manifest) -> Vec<(ArchivePath, Entry)> {
    manifest.entries().unwrap().map(Result::unwrap).collect()
}

impl Base {
    fn new() -> Self {
        let folder = common::quick_folder(256 << 20, 50_000);
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let source = folder.path().join("source");
        let write = |path: &str, seed: u64, length: usize| {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, noise(seed, length)).unwrap();
        };
        for (seed, path) in (1..).zip(["a", "b", "folder/c", "folder/d", "folder/in/e", "z"]) {
            write(path, seed, 700 * seed as usize);
        }
        fs::hard_link(source.join("a"), source.join("linked")).unwrap();
        std::os::unix::fs::symlink("folder/c", source.join("symlink")).unwrap();
        let old = Tree::of(&source);
        vault.backup(OLD, &[("pvc", &source)]);
        write("b", 20, 2500);
        write("only for a while", 21, 3000);
        vault.backup(CURRENT, &[("pvc", &source)]);
        fs::remove_file(source.join("only for a while")).unwrap();
        write("new", 22, 2000);
        // The one before goes to the trash, and with gc the objects that it alone had.
        vault.backup(CURRENT, &[("pvc", &source)]);
        vault.run(["gc"]).expect(0);
        fs::create_dir_all(vault.store.join("tmp")).unwrap();
        fs::write(vault.store.join("tmp/0123456789abcdef-0"), noise(23, 500)).unwrap();
        fs::write(vault.store.join("tmp/0123456789abcdef-1"), noise(24, 600)).unwrap();

        let archive = open(&vault.store);
        let current = manifest_of(&archive, CURRENT);
        let mut writer = ManifestWriter::new(Vec::new(), &Seals::zstd(3)).unwrap();
        entries_of(&current).iter().for_each(|(_, entry)| writer.entry(entry).unwrap());
        let (path, operation) = (ArchivePath::parse(b"unread").unwrap(), "open".to_owned());
        writer.problem(Problem { path, operation, error: "denied".into() });
        let partial = Summary {
            week: PARTIAL.parse().unwrap(),
            completeness: Completeness::Partial { missing: 1 },
            ..current.summary().clone()
        };
        let bytes =
            writer.finish(&current.owners().unwrap(), current.objects().unwrap(), &partial).unwrap().out;
        fs::create_dir(vault.store.join(PARTIAL)).unwrap();
        fs::write(vault.store.join(PARTIAL).join("pvc.partial.manifest"), bytes).unwrap();
        vault.verify();

        let now = Tree::of(&source);
        let weeks = [(OLD, old), (PARTIAL, now.clone()), (CURRENT, now)];
        let mut users: BTreeMap<String, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        for (week, _) in &weeks {
            let manifest = manifest_of(&archive, week);
            let table = manifest.objects().unwrap();
            let entries = entries_of(&manifest);
            for (path, entry) in &entries {
                let Kind::File(content) = &entry.kind else { continue };
                let links = entries.iter().filter(|(_, e)| e.kind == Kind::HardLink(path.clone()));
                for extent in &content.extents {
                    let Extent::Slice { object, .. } = extent else { continue };
                    let paths = users.entry(table[*object as usize].id.to_string()).or_default().entry(*week);
                    paths.or_default().extend(
                        std::iter::once(path)
                            .chain(links.clone().map(|l| &l.0))
                            .map(|p| p.as_bytes().to_vec()),
                    );
                }
            }
        }
        Self { folder, vault, weeks, users }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// The objects that just these weeks need; two at least.
    fn objects_of(&self, weeks: &[&str]) -> Vec<PathBuf> {
        let of_these =
            |users: &BTreeMap<&str, BTreeSet<Vec<u8>>>| users.keys().copied().eq(weeks.iter().copied());
        let fitting = self.users.iter().filter(|(_, users)| of_these(users));
        let found: Vec<_> = fitting.map(|(id, _)| format!("objects/{}/{id}.zst", &id[..1]).into()).collect();
        assert!(found.len() >= 2, "{weeks:?}");
        found
    }

    /// Files below a folder of the store.
    fn files_below(&self, path: &str) -> Vec<PathBuf> {
        let found = system(Command::new("find").arg(self.vault.store.join(path)).args(["-type", "f"]));
        let mut found: Vec<PathBuf> = found
            .lines()
            .map(|line| Path::new(line).strip_prefix(&self.vault.store).unwrap().into())
            .collect();
        found.sort();
        found
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Deleted,
    Emptied,
    Truncated,
    /// A bit of the byte at so many 16ths of the file.
    Flipped(usize),
    Replaced,
    Appended,
    Folder,
    Fifo,
    DanglingLink,
}

impl Way {
    fn all() -> impl Iterator<Item = Self> {
        let flips = (0..16).step_by(5).map(Self::Flipped);
        [Self::Deleted, Self::Emptied, Self::Truncated, Self::Replaced, Self::Appended]
            .into_iter()
            .chain([Self::Folder, Self::Fifo, Self::DanglingLink])
            .chain(flips)
    }

    /// Whether there is no file any more.
    fn leaves_no_file(self) -> bool {
        matches!(self, Self::Deleted | Self::Folder | Self::Fifo | Self::DanglingLink)
    }

    /// Damages `path`; `other` is a sound file of its kind.
    fn apply(self, path: &Path, other: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len();
        match self {
            Self::Emptied => bytes.clear(),
            Self::Truncated => bytes.truncate(length * 2 / 3),
            Self::Flipped(at) if length > 0 => bytes[length * at / 16] ^= 1 << (at % 8),
            Self::Flipped(_) => {}
            Self::Replaced => bytes = fs::read(other).unwrap(),
            Self::Appended => bytes.extend(noise(99, 50)),
            Self::Deleted | Self::Folder | Self::Fifo | Self::DanglingLink => {
                fs::remove_file(path).unwrap();
                return match self {
                    Self::Folder => fs::create_dir(path).unwrap(),
                    Self::Fifo => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(),
                    Self::DanglingLink => std::os::unix::fs::symlink("nowhere", path).unwrap(),
                    _ => {}
                };
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

/// A damaged copy of the store.
struct Case {
    folder: TempDir,
    vault: Vault,
    /// What was damaged.
    file: PathBuf,
    way: Way,
}

static CASES: AtomicUsize = AtomicUsize::new(0);

impl Case {
    fn new(file: &Path, other: &Path, way: Way) -> Self {
        let folder = common::quick_folder(64 << 20, 5000);
        let vault = Vault::new(folder.path().join("store"));
        system(Command::new("cp").arg("-a").arg(&BASE.vault.store).arg(&vault.store));
        way.apply(&vault.store.join(file), &BASE.vault.store.join(other));
        CASES.fetch_add(1, Ordering::Relaxed);
        Self { folder, vault, file: file.to_path_buf(), way }
    }

    fn about(&self) -> String {
        format!("{} {:?}", self.file.display(), self.way)
    }

    #[track_caller]
    fn run(&self, line: &str, code: i32) -> Ran {
        let ran = self.vault.run_confined(line.split(' '));
        assert_eq!(ran.code, Some(code), "{}: {line}: {}{}", self.about(), ran.stdout, ran.stderr);
        ran
    }

    /// Restores each week. Of those in `lost`, the command fails as a whole and says so; of `hurt`, these paths are
    /// named and missing; all else is as it was backed up.
    #[track_caller]
    fn restores(&self, lost: &[&str], hurt: &BTreeMap<&str, BTreeSet<Vec<u8>>>) {
        for (week, tree) in &BASE.weeks {
            let (target, none) = (self.folder.path().join(week), BTreeSet::new());
            let ran = self.vault.run_confined(
                ["restore", "--week", week, "--pvc", "pvc", "--target"]
                    .iter()
                    .map(Path::new)
                    .chain([&*target]),
            );
            let about = format!("{}: {week}: {}{}", self.about(), ran.stdout, ran.stderr);
            if lost.contains(week) {
                assert_eq!(ran.code, Some(1), "{about}");
                let nothing = fs::read_dir(&target).map_or(0, Iterator::count) == 0;
                assert!(ran.stderr.contains(week) && nothing, "{about}");
                continue;
            }
            let hurt = hurt.get(week).unwrap_or(&none);
            assert_eq!(ran.code, Some(i32::from(!hurt.is_empty())), "{about}");
            for path in hurt {
                assert!(ran.stderr.contains(&format!(" {}: ", String::from_utf8_lossy(path))), "{about}");
            }
            let mut expected = tree.clone();
            expected.0.retain(|path, _| !hurt.contains(path));
            let differences = expected.differences(&Tree::of(&target));
            assert!(differences.is_empty(), "{about}\n{differences}");
        }
    }

    /// All of the store's paths, but for the trash's.
    fn paths(&self) -> Vec<Vec<u8>> {
        let all = common::inodes(&self.vault.store).into_keys();
        all.filter(|path| !path.starts_with(b"trash")).collect()
    }

    #[track_caller]
    fn looks(&self) {
        for line in
            ["list", "list --json", "ls --week latest --pvc pvc -lR", "ls --week 2025-10 --pvc pvc --json"]
        {
            let ran = self.vault.run_confined(line.split(' '));
            assert!(matches!(ran.code, Some(0 | 1)), "{}: {line}: {}", self.about(), ran.stderr);
        }
    }

    /// The next backup of this week, after which the week is sound. `by_hand`: first, what is damaged is taken out of
    /// the store, as `verify` says, or as the backup says that fails for it.
    #[track_caller]
    fn mends(&self, by_hand: bool) {
        let arguments = || backup_arguments(CURRENT, &[("pvc", &BASE.source())]);
        let week = self.file.parent().and_then(Path::to_str).unwrap_or_default();
        let unreadable = [OLD, PARTIAL].contains(&week) && self.way != Way::Deleted;
        let file = self.vault.store.join(&self.file);
        let remove = || fs::remove_file(&file).or_else(|_| fs::remove_dir(&file)).unwrap();
        if by_hand && !self.way.leaves_no_file() {
            remove();
        } else if by_hand {
            let ran = self.vault.run_confined(arguments());
            let told =
                ran.code == Some(1) && ran.stderr.contains(file.file_name().unwrap().to_str().unwrap());
            assert!(told || ran.code == Some(0), "{}: {}", self.about(), ran.stderr);
            if told {
                remove();
            }
        }
        let ran = self.vault.run_confined(arguments());
        // Of a manifest that no backup writes anew nobody knows what it needs: nothing is retired until it is gone.
        let published = ran.stderr.contains("the backup is published, but retiring what is old failed");
        assert!(ran.code == Some(0) || (unreadable && published), "{}: {}", self.about(), ran.stderr);
        let report = self.run("verify --week latest --json", 0).json();
        assert_eq!(report["damaged_objects"].as_array().map(Vec::len), Some(0), "{}: {report}", self.about());
        let target = self.folder.path().join("mended");
        self.vault.restore("latest", "pvc", &target, &[]).unharmed().expect(0);
        common::assert_same_tree(&BASE.weeks[2].1, &target);
    }
}

fn manifests() -> [(&'static str, PathBuf); 3] {
    let path = |week: &'static str, name: &str| (week, Path::new(week).join(name));
    [path(OLD, "pvc.manifest"), path(PARTIAL, "pvc.partial.manifest"), path(CURRENT, "pvc.manifest")]
}

#[test]
fn manifests_in_every_way() {
    for (number, (week, file)) in manifests().iter().enumerate() {
        let other = &manifests()[(number + 1) % 3].1;
        for way in Way::all() {
            let case = Case::new(file, other, way);
            let before = case.paths();
            case.restores(&[week], &BTreeMap::new());
            case.looks();
            if way == Way::Deleted {
                // Whether there ever was one nothing tells.
                case.run("verify", 0);
            } else {
                case.run("verify", 4)
                    .says(file.to_str().unwrap())
                    .says(&format!("hurts {week} pvc: all of it"));
                // The object table may be sound still; gc needs no more.
                let gc = case.vault.run_confined(["gc"]);
                assert!(gc.code == Some(0) || gc.stderr.contains(file.to_str().unwrap()), "{}", case.about());
                assert_eq!(before, case.paths(), "{}", case.about());
            }
            case.mends(*week == CURRENT && way == Way::Folder);
            case.looks();
        }
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

#[test]
fn objects_in_every_way() {
    for weeks in [&[OLD][..], &[OLD, PARTIAL, CURRENT], &[PARTIAL, CURRENT]] {
        let objects = BASE.objects_of(weeks);
        let [file, other, ..] = objects.as_slice() else { panic!("{objects:?}") };
        let id = file.file_stem().unwrap().to_str().unwrap();
        for way in Way::all() {
            let case = Case::new(file, other, way);
            let ran = case.run("verify", 4).says(&format!("object {id} is "));
            for (week, paths) in &BASE.users[id] {
                // Links are not named: they are the same file.
                for path in paths.iter().map(|p| String::from_utf8_lossy(p)).filter(|p| p != "linked") {
                    assert!(ran.stdout.contains(&format!("hurts {week} pvc: {path}\n")), "{}", ran.stdout);
                }
            }
            case.restores(&[], &BASE.users[id]);
            case.looks();
            case.run("gc", 0);
            // A length that is right shows nothing to a backup: verify must tell, and the object go.
            if matches!(way, Way::Flipped(_) | Way::Folder) {
                case.run("verify --repair", 4).says(&format!("object {id}: in the trash now"));
            }
            case.mends(false);
        }
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

/// What no restore needs hurts none.
#[test]
fn what_is_not_needed() {
    let trash = BASE.files_below("trash");
    let of = |ending: &str| -> Vec<PathBuf> {
        trash.iter().filter(|path| path.to_str().unwrap().ends_with(ending)).cloned().collect()
    };
    let (objects, lost) = (of(".zst"), of(".manifest"));
    assert!(objects.len() >= 2 && !lost.is_empty());
    let files: [(PathBuf, PathBuf); 4] = [
        (objects[0].clone(), objects[1].clone()),
        (lost[0].clone(), manifests()[0].1.clone()),
        ("lock".into(), "store.json".into()),
        ("tmp/0123456789abcdef-0".into(), "tmp/0123456789abcdef-1".into()),
    ];
    for (file, other) in files {
        for way in Way::all().filter(|way| !matches!(way, Way::Flipped(3..))) {
            let case = Case::new(&file, &other, way);
            case.run("verify", 0);
            case.restores(&[], &BTreeMap::new());
            case.run("gc", 0);
            case.mends(false);
            // Once it is old, it goes.
            if let Ok(day) = file.strip_prefix("trash").map(|rest| rest.iter().next().unwrap().to_owned()) {
                let trash = case.vault.store.join("trash");
                fs::rename(trash.join(&day), trash.join("2025-01-01")).unwrap();
                case.run("gc", 0);
                assert!(!trash.join("2025-01-01").exists(), "{}", case.about());
            }
        }
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

#[test]
fn a_store_without_its_description() {
    let other = BASE.vault.store.join("other.json");
    let text = fs::read_to_string(BASE.vault.store.join("store.json")).unwrap();
    fs::write(&other, text.replace("00112233", "99887766").replace("1024", "4096")).unwrap();
    for way in Way::all() {
        let case = Case::new(Path::new("store.json"), Path::new("other.json"), way);
        let before = case.paths();
        let verified = case.vault.run_confined(["verify"]);
        if verified.code == Some(0) {
            // Another sound one, or a bit of what is only for people.
            case.restores(&[], &BTreeMap::new());
        } else {
            verified.says("store.json");
            // Readers need nothing of it; whoever writes must not guess.
            case.restores(&[], &BTreeMap::new());
            case.run("list", 0).says("store.json");
            case.run("gc", 1).says("store.json");
            let backup = case.vault.run_confined(backup_arguments(CURRENT, &[("pvc", &BASE.source())]));
            assert_eq!(backup.code, Some(1), "{}: {}", case.about(), backup.stderr);
            assert_eq!(before, case.paths(), "{}", case.about());
            let file = case.vault.store.join("store.json");
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
            fs::write(&file, &text).unwrap();
        }
        case.mends(false);
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

/// The entries of a manifest, three in a block: as if the tree were a large one.
fn in_small_blocks(manifest: &Manifest) -> Vec<u8> {
    let entries = entries_of(manifest);
    let as_record = |(_, entry): &(ArchivePath, Entry)| {
        let kind = match &entry.kind {
            Kind::Directory => folder(),
            Kind::Symlink(target) => symlink(target),
            Kind::HardLink(first) => hard_link(first.as_bytes()),
            Kind::File(content) => {
                let extent = |extent: &Extent| match *extent {
                    Extent::Slice { object, offset, length } => {
                        (u64::from(object) + 1, u64::from(offset), u64::from(length))
                    }
                    Extent::Hole { length } => (0, 0, length),
                };
                let extents: Vec<_> = content.extents.iter().map(extent).collect();
                file_of(content.size, *content.hash.as_bytes(), &extents)
            }
            other => panic!("{other:?}"),
        };
        let Meta { mode, uid, gid, mtime, .. } = entry.meta;
        let name = entry.name.as_ref().map_or(&[][..], |name| name.as_bytes());
        let mtime = (mtime.secs, mtime.nanos);
        Record { mode, owner: (uid, gid), mtime, ..record(entry.depth, name, kind) }
    };
    let block = |entries: &[(ArchivePath, Entry)]| {
        let context = entries[0].0.parent().unwrap_or_default();
        Block::entries(context.as_bytes(), &entries.iter().map(as_record).collect::<Vec<_>>())
    };
    let mut blocks: Vec<Block> = entries.chunks(3).map(block).collect();
    let objects = manifest.objects().unwrap();
    blocks.push(Block::new(3, 1, &[0, 0]));
    blocks.push(Block::new(4, objects.len() as u32, &encode_objects(&objects)));
    blocks.push(Block::new(5, 1, &encode_summary(manifest.summary()).unwrap()));
    assemble(&blocks)
}

/// A bit of each byte in turn. The index is of no use when it is damaged, nor are the object table and the summary;
/// a block of entries costs its own entries and links to them, and that of the owners their names.
#[test]
fn every_byte_of_a_manifest() {
    for (week, file) in [&manifests()[0]] {
        let case = Case::new(file, file, Way::Flipped(0));
        let file = case.vault.store.join(file);
        let archive = open(&BASE.vault.store);
        let sound = in_small_blocks(&manifest_of(&archive, week));
        let archive = open(&case.vault.store);
        fs::write(&file, &sound).unwrap();
        let manifest = manifest_of(&archive, week);
        let (entries, blocks) = (entries_of(&manifest), manifest.reader().blocks().to_vec());
        let id = manifest.id().clone();
        let target = case.folder.path().join("target");
        let full = restore_to(&archive, &manifest, &target).unwrap();
        assert_eq!(full.failed, 0, "{:?}", full.problems);
        let expected = Tree::of(&target);
        assert!(blocks.iter().filter(|b| b.section == Section::Entries).count() >= 4);
        let paths = case.paths();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&file, bytes).unwrap();
            CASES.fetch_add(1, Ordering::Relaxed);
            let options = VerifyOptions { quick: true, ..VerifyOptions::default() };
            let verified = verify(Run::new(&archive, &Silent::default()), &options).unwrap();
            let [(damaged, reason)] = verified.damaged_manifests.as_slice() else {
                panic!("{at}: {verified:?}")
            };
            assert!(*damaged == id && reason.contains(file.to_str().unwrap()), "{at}: {reason}");
            let listed = browse::list(&archive, None).unwrap();
            assert_eq!(listed.len(), 3);
            let hit = blocks
                .iter()
                .position(|b| (b.offset..b.offset + u64::from(b.stored_length)).contains(&(at as u64)));
            let section = hit.map(|hit| blocks[hit].section);
            let whole = matches!(section, None | Some(Section::Objects | Section::Summary));
            if whole {
                let options = GcOptions {
                    dry_run: false,
                    trash_days: 0,
                    empty_trash: false,
                    now: Timestamp::default(),
                };
                let error = collect(&archive, &archive.weeks().unwrap(), options, &Silent::default())
                    .unwrap_err()
                    .to_string();
                assert!(error.contains(file.to_str().unwrap()), "{at}: {error}");
                assert_eq!(case.paths(), paths);
            }
            fs::remove_dir_all(&target).unwrap();
            let opened = archive.open_manifest(&id).map_err(Error::from);
            let restored = opened.and_then(|manifest| restore_to(&archive, &manifest, &target));
            if whole {
                let error = restored.unwrap_err().to_string();
                assert!(error.contains(file.to_str().unwrap()), "{at}: {error}");
                fs::create_dir_all(&target).unwrap();
                continue;
            }
            let restored = restored.unwrap();
            let told = restored.problems.iter().any(|p| p.error.contains(file.to_str().unwrap()));
            assert!(told && restored.failed > 0, "{at}: {:?}", restored.problems);
            let lost: BTreeSet<&[u8]> = match section {
                Some(Section::Entries) => {
                    entries.chunks(3).nth(hit.unwrap()).unwrap().iter().map(|(p, _)| p.as_bytes()).collect()
                }
                _ => BTreeSet::new(),
            };
            let got = Tree::of(&target);
            for (path, entry) in &entries {
                let is_lost = lost.contains(path.as_bytes());
                match (&entry.kind, is_lost) {
                    // Made where something in it is sound, but with no owner, mode and time of its own.
                    (Kind::Directory, true) => continue,
                    (Kind::HardLink(first), false) if lost.contains(first.as_bytes()) => {
                        assert!(restored.problems.iter().any(|p| p.path == *path), "{path}");
                        continue;
                    }
                    _ => {}
                }
                let mut wanted = expected.0.get(path.as_bytes()).filter(|_| !is_lost).cloned();
                let mut found = got.0.get(path.as_bytes()).cloned();
                if let (Some(wanted), Some(found)) = (&mut wanted, &mut found) {
                    (wanted.link_to, found.link_to) = (None, None);
                }
                assert_eq!(found, wanted, "{at}: {path}");
            }
        }
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

fn restore_to(archive: &Archive, manifest: &Manifest, target: &Path) -> Result<Restored, Error> {
    restore(Run::new(archive, &Silent::default()), manifest, &RestoreOptions::into(target))
}
