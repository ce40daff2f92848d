//! The damage matrix: each kind of file in a store, damaged in each way. What is hurt is named, all else is restored, and
//! the next backup mends the week that it makes. In a sealed store nobody needs a key to find it all: see [`Case::verify`].

use crate::common;
use crate::common::raw_manifest::{Block, Record, assemble, file_of, folder, hard_link, record, symlink};
use crate::common::{Ran, StoreKind, Tree, Vault, backup_arguments, system};
use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;
use weekvault::archive::{Archive, GcOptions, Manifest, ManifestId, PendingManifest, collect};
use weekvault::format::{self, Section, encode_objects, encode_summary};
use weekvault::model::{
    ArchivePath, Completeness, Entry, Extent, Kind, Meta, Problem, Silent, Summary, Timestamp, WeekRef,
};
use weekvault::ops::Run;
use weekvault::ops::restore::{RestoreOptions, Restored, restore};
use weekvault::ops::verify::{VerifyOptions, verify};
use weekvault::ops::{Error, browse, clock};

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

static PLAIN: LazyLock<Base> = LazyLock::new(|| Base::new(StoreKind::Plain));
static SEALED: LazyLock<Base> = LazyLock::new(|| Base::new(StoreKind::Sealed));

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

fn manifest_of(archive: &Archive, week: &str) -> Manifest {
    let week = WeekRef::Exact(week.parse().unwrap());
    archive.open_manifest(&archive.find_manifest(week, &"pvc".parse().unwrap()).unwrap()).unwrap()
}

fn entries_of(manifest: &Manifest) -> Vec<(ArchivePath, Entry)> {
    manifest.entries().unwrap().map(Result::unwrap).collect()
}

/// The object that a file is one of, by its name.
fn object_of(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    let parts: Vec<&str> = name.split('.').collect();
    parts[..parts.len().div_ceil(2)].join(".")
}

impl Base {
    fn new(kind: StoreKind) -> Self {
        let folder = common::quick_folder(256 << 20, 50_000);
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let vault = vault.of_kind(kind, &folder.path().join("keys"));
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

        let archive = vault.reader();
        let current = manifest_of(&archive, CURRENT);
        let mut partial = PendingManifest::begin(&vault.writer()).unwrap();
        entries_of(&current).iter().for_each(|(_, entry)| partial.entry(entry).unwrap());
        let (path, operation) = (ArchivePath::parse(b"unread").unwrap(), "open".to_owned());
        partial.problem(Problem { path, operation, error: "denied".into() });
        let id = ManifestId { week: PARTIAL.parse().unwrap(), partial: true, ..current.id().clone() };
        let completeness = Completeness::Partial { missing: 1 };
        let summary = Summary { week: id.week, completeness, ..current.summary().clone() };
        let rows = current.objects().unwrap();
        let partial = partial.finish(id, &current.owners().unwrap(), rows.into_iter(), &summary).unwrap();
        partial.publish(clock::now()).unwrap();
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
        let is_fitting = |path: &PathBuf| self.users.get(&object_of(path)).is_some_and(of_these);
        let found: Vec<_> = self.files_below("objects").into_iter().filter(is_fitting).collect();
        assert!(found.len() >= 2, "{weeks:?}");
        found
    }

    /// Whether a way changes nothing of a week's manifest but the read file that it carries.
    fn hits_read_file(&self, week: &str, file: &Path, way: Way) -> bool {
        let (Some(_), Way::Flipped(part)) = (&self.vault.keys, way) else { return false };
        let at = fs::metadata(self.vault.store.join(file)).unwrap().len() * part as u64 / 16;
        let manifest = manifest_of(&self.vault.reader(), week);
        let is_hit = |b: &format::Block| (b.offset..b.offset + u64::from(b.stored_length)).contains(&at);
        manifest.reader().blocks().iter().any(|b| b.section == Section::ReadFile && is_hit(b))
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
    base: &'static Base,
    folder: TempDir,
    vault: Vault,
    /// What was damaged.
    file: PathBuf,
    way: Way,
}

static CASES: AtomicUsize = AtomicUsize::new(0);

impl Case {
    fn new(base: &'static Base, file: &Path, other: &Path, way: Way) -> Self {
        let folder = common::quick_folder(64 << 20, 5000);
        let vault = Vault { store: folder.path().join("store"), keys: base.vault.keys.clone() };
        system(Command::new("cp").arg("-a").arg(&base.vault.store).arg(&vault.store));
        way.apply(&vault.store.join(file), &base.vault.store.join(other));
        CASES.fetch_add(1, Ordering::Relaxed);
        Self { base, folder, vault, file: file.to_path_buf(), way }
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

    /// What a full verify says, which ends with this code. In a sealed store it is given a key; without one it finds the same
    /// damage, and hurting the same weeks, and who only compares each file with the sum in its name finds the same of those
    /// files.
    #[track_caller]
    fn verify(&self, code: i32) -> Ran {
        let Some(keys) = &self.vault.keys else { return self.run("verify", code) };
        let line = format!("verify --identity {}/ann.key", keys.display());
        let (with, without) = (self.run(&format!("{line} --json"), code), self.run("verify --json", code));
        let (with, without) = (Found::of(&with.json()), Found::of(&without.json()));
        assert_eq!(without, with, "{}", self.about());
        let (is_wrong, files) = (|path: &PathBuf| !has_its_sum(path), self.vault.objects());
        let by_sum: BTreeSet<String> =
            files.iter().filter(|path| is_wrong(path)).map(|path| object_of(path)).collect();
        let there: BTreeSet<String> = files.iter().map(|path| object_of(path)).collect();
        let named = with.objects.into_keys().chain(with.stand_ins);
        assert_eq!(by_sum, named.filter(|id| there.contains(id)).collect(), "{}", self.about());
        self.run(&line, code)
    }

    /// Restores each week. Of those in `lost`, the command fails as a whole and says so; of `hurt`, these paths are
    /// named and missing; all else is as it was backed up.
    #[track_caller]
    fn restores(&self, lost: &[&str], hurt: &BTreeMap<&str, BTreeSet<Vec<u8>>>) {
        for (week, tree) in &self.base.weeks {
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
        let arguments = || backup_arguments(CURRENT, &[("pvc", &self.base.source())]);
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
        common::assert_same_tree(&self.base.weeks[2].1, &target);
    }
}

/// What a verify names.
#[derive(PartialEq, Eq, Debug)]
struct Found {
    /// Damaged objects, with the weeks that they hurt.
    objects: BTreeMap<String, BTreeSet<String>>,
    /// Lost or damaged ones that others stand in for.
    stand_ins: BTreeSet<String>,
    manifests: BTreeSet<String>,
    /// How much was checked, and what else there is to say.
    rest: Vec<Value>,
}

impl Found {
    fn of(report: &Value) -> Self {
        let all = |name: &str| report[name].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let weeks =
            |object: &Value| object["hurts"].as_array().unwrap().iter().map(|h| text(&h["week"])).collect();
        let rest = [
            "objects",
            "referenced_objects",
            "unreferenced_objects",
            "displaced_objects",
            "unchecked_objects",
            "unchecked_manifests",
            "partial_manifests",
            "passed_over",
        ];
        Self {
            objects: all("damaged_objects").map(|object| (text(&object["object"]), weeks(object))).collect(),
            stand_ins: all("stand_in_objects").map(text).collect(),
            manifests: all("damaged_manifests").map(|manifest| text(&manifest["manifest"])).collect(),
            rest: rest.iter().map(|name| report[name].clone()).collect(),
        }
    }
}

/// Whether a sealed object's file is the one that its name has the sum of, as `b3sum` tells it.
fn has_its_sum(path: &Path) -> bool {
    let sum = blake3::hash(&fs::read(path).unwrap()).to_hex();
    object_of(path).ends_with(&sum[..32])
}

fn manifests() -> [(&'static str, PathBuf); 3] {
    let path = |week: &'static str, name: &str| (week, Path::new(week).join(name));
    [path(OLD, "pvc.manifest"), path(PARTIAL, "pvc.partial.manifest"), path(CURRENT, "pvc.manifest")]
}

#[test]
fn manifests_in_every_way() {
    damage_manifests(&PLAIN);
}

#[test]
fn manifests_of_a_sealed_store_in_every_way() {
    damage_manifests(&SEALED);
}

fn damage_manifests(base: &'static Base) {
    // A partial manifest of a sealed store differs from a complete one as that of a plain store does.
    let passed_over = base.vault.keys.as_ref().map(|_| PARTIAL);
    for (number, (week, file)) in manifests().iter().enumerate() {
        let other = &manifests()[(number + 1) % 3].1;
        for way in Way::all().filter(|_| passed_over != Some(*week)) {
            let case = Case::new(base, file, other, way);
            let before = case.paths();
            // Whoever has the read file from elsewhere restores without the manifest's.
            let lost: &[&str] = if base.hits_read_file(week, file, way) { &[] } else { &[week] };
            case.restores(lost, &BTreeMap::new());
            case.looks();
            if way == Way::Deleted {
                // Whether there ever was one nothing tells.
                case.verify(0);
            } else {
                case.verify(4).says(file.to_str().unwrap()).says(&format!("hurts {week} pvc: all of it"));
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
    damage_objects(&PLAIN);
}

#[test]
fn objects_of_a_sealed_store_in_every_way() {
    damage_objects(&SEALED);
}

fn damage_objects(base: &'static Base) {
    let all = [&[OLD, PARTIAL, CURRENT][..], &[OLD], &[PARTIAL, CURRENT]];
    // Which weeks need an object is told alike in both kinds of stores, and each command on a sealed one takes longer.
    let groups = if base.vault.keys.is_some() { &all[..1] } else { &all };
    for weeks in groups {
        let objects = base.objects_of(weeks);
        let [file, other, ..] = objects.as_slice() else { panic!("{objects:?}") };
        let id = &object_of(file);
        for way in Way::all() {
            let case = Case::new(base, file, other, way);
            let ran = case.verify(4).says(&format!("object {id} is "));
            for (week, paths) in &case.base.users[id] {
                // Links are not named: they are the same file.
                for path in paths.iter().map(|p| String::from_utf8_lossy(p)).filter(|p| p != "linked") {
                    assert!(ran.stdout.contains(&format!("hurts {week} pvc: {path}\n")), "{}", ran.stdout);
                }
            }
            case.restores(&[], &case.base.users[id]);
            case.looks();
            case.run("gc", 0);
            // A length that is right shows nothing to a backup: verify must tell, and the object go.
            let is_same_length = base.vault.keys.is_some() && way == Way::Replaced;
            if matches!(way, Way::Flipped(_) | Way::Folder) || is_same_length {
                // A sealed object is a file of its name, and what else has that is in nobody's way: the next file has another.
                let stays = base.vault.keys.is_some() && way == Way::Folder;
                let dealt = if stays { "the next backup stores it again" } else { "in the trash now" };
                case.run("verify --repair", 4).says(&format!("object {id}: {dealt}"));
            }
            case.mends(false);
        }
    }
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}

/// What no restore needs hurts none.
#[test]
fn what_is_not_needed() {
    damage_what_is_not_needed(&PLAIN, ".zst", &[]);
}

/// Each manifest carries the read file that the store's folder of them may lose.
#[test]
fn what_is_not_needed_in_a_sealed_store() {
    damage_what_is_not_needed(&SEALED, ".age", &["keys/read-1-1.age"]);
}

fn damage_what_is_not_needed(base: &'static Base, ending: &str, more: &[&str]) {
    let trash = base.files_below("trash");
    let of = |ending: &str| -> Vec<PathBuf> {
        trash.iter().filter(|path| path.to_str().unwrap().ends_with(ending)).cloned().collect()
    };
    let (objects, lost) = (of(ending), of(".manifest"));
    assert!(objects.len() >= 2 && !lost.is_empty());
    let files: [(PathBuf, PathBuf); 4] = [
        (objects[0].clone(), objects[1].clone()),
        (lost[0].clone(), manifests()[0].1.clone()),
        ("lock".into(), "store.json".into()),
        ("tmp/0123456789abcdef-0".into(), "tmp/0123456789abcdef-1".into()),
    ];
    let more = more.iter().map(|file| (file.into(), "store.json".into()));
    for (file, other) in files.into_iter().chain(more) {
        for way in Way::all().filter(|way| !matches!(way, Way::Flipped(3..))) {
            let case = Case::new(base, &file, &other, way);
            case.verify(0);
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
    let other = PLAIN.vault.store.join("other.json");
    let text = fs::read_to_string(PLAIN.vault.store.join("store.json")).unwrap();
    fs::write(&other, text.replace("00112233", "99887766").replace("1024", "4096")).unwrap();
    for way in Way::all() {
        let case = Case::new(&PLAIN, Path::new("store.json"), Path::new("other.json"), way);
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
            let backup = case.vault.run_confined(backup_arguments(CURRENT, &[("pvc", &PLAIN.source())]));
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
        let case = Case::new(&PLAIN, file, file, Way::Flipped(0));
        let file = case.vault.store.join(file);
        let sound = in_small_blocks(&manifest_of(&PLAIN.vault.archive(), week));
        let archive = case.vault.archive();
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

/// Bytes of each block, of the index and of the footer: every one of the signature and of what it is for, and some of all else,
/// since each is looked at twice. Without a key a manifest's private blocks are no more than bytes that the index has the
/// hashes of.
#[test]
fn every_region_of_a_sealed_manifest() {
    const FOOTER: usize = 144;
    const STRIDE: usize = 97;
    let (week, file) = &manifests()[0];
    let case = Case::new(&SEALED, file, file, Way::Appended);
    let sound = fs::read(SEALED.vault.store.join(file)).unwrap();
    let file = case.vault.store.join(file);
    let written = case.folder.path().join("written");
    let archives = [case.vault.archive(), case.vault.reader()];
    let blocks = manifest_of(&SEALED.vault.reader(), week).reader().blocks().to_vec();
    let edges = blocks.iter().flat_map(|b| [b.offset, b.offset + u64::from(b.stored_length) - 1]);
    let mut places: BTreeSet<usize> = edges.map(|at| at as usize).collect();
    assert!(places.len() >= 2 * 7, "{blocks:?}");
    places.extend((0..sound.len()).step_by(STRIDE).chain(sound.len() - FOOTER..sound.len()));
    for at in places {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        // As another file, so that whoever has looked before sees that it is.
        fs::write(&written, bytes).unwrap();
        fs::rename(&written, &file).unwrap();
        CASES.fetch_add(1, Ordering::Relaxed);
        for archive in &archives {
            let options = VerifyOptions { quick: true, ..VerifyOptions::default() };
            let verified = verify(Run::new(archive, &Silent::default()), &options).unwrap();
            let [(damaged, reason)] = verified.damaged_manifests.as_slice() else {
                panic!("{at}: {verified:?}")
            };
            let is_it = damaged.week.to_string() == *week && reason.contains(file.to_str().unwrap());
            assert!(is_it && verified.damaged_objects.is_empty(), "{at}: {verified:?}");
        }
    }
    fs::write(&file, sound).unwrap();
    case.verify(0);
    println!("{} cases so far", CASES.load(Ordering::Relaxed));
}
