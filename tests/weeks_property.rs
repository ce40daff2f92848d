//! Random trees, changed at random from week to week: every week comes back exactly, from whatever stands there.
//!
//! The trees of one run go through their weeks in step. Whatever was changed within two seconds of a backup is read
//! again by the next one, and a tree on its own would be through all its weeks before anything could be kept unread.
#![cfg(test)]

mod common;

use common::{Tree, assert_same_tree, is_root, quick_folder, rsync_says};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use weekvault::format::ChunkSizes;
use weekvault::model::{PvcName, Silent, Timestamp, Week, WeekRef};
use weekvault::ops::backup::{BackupOptions, Origin, Source, backup};
use weekvault::ops::clock;
use weekvault::ops::restore::{Owner, RestoreOptions, Selection, restore};
use weekvault::ops::verify::{VerifyOptions, verify};
use weekvault::repo::{Archive, GcOptions, NewStore, collect};
use weekvault::store::MemoryStore;
use weekvault::tree::WalkOptions;

/// Trees in a run, and weeks that they go through.
const TREES: usize = 40;
const WEEKS: usize = 5;

/// What a tree is, and how it is changed; paths are named by numbers, and found when it comes to them.
#[derive(Clone, Debug)]
struct Life {
    /// Index of the chunk sizes.
    chunks: usize,
    threads: usize,
    birth: Vec<Edit>,
    weeks: Vec<Edits>,
}

#[derive(Clone, Debug)]
struct Edits {
    first: Vec<Edit>,
    /// What happens after a backup, before another one into the same week.
    second: Option<Vec<Edit>>,
}

#[derive(Clone, Debug)]
enum Edit {
    Make {
        folder: u16,
        name: Bytes,
        thing: Thing,
    },
    Replace {
        path: u16,
        thing: Thing,
    },
    Copy {
        file: u16,
        folder: u16,
        name: Bytes,
    },
    Append {
        file: u16,
        content: Content,
    },
    /// In the middle, and without a trace in the mtime where `unnoticed`.
    Overwrite {
        file: u16,
        at: u16,
        content: Content,
        unnoticed: bool,
    },
    Truncate {
        file: u16,
        to: u16,
    },
    Grow {
        file: u16,
        by: u32,
    },
    Delete {
        path: u16,
    },
    Rename {
        path: u16,
        folder: u16,
        name: Bytes,
    },
    Link {
        path: u16,
        folder: u16,
        name: Bytes,
    },
    /// Gives a name an inode of its own, with the same content and metadata.
    Unlink {
        file: u16,
    },
    Mode {
        path: u16,
        mode: u32,
    },
    Owner {
        path: u16,
        owner: (u32, u32),
    },
    Touch {
        path: u16,
        secs: i64,
        nanos: i64,
    },
    Attribute {
        path: u16,
        name: u8,
        value: Option<Bytes>,
    },
}

#[derive(Clone, Debug)]
enum Thing {
    Folder,
    File(Content),
    Sparse { length: u32, at: u16, content: Content },
    Symlink(Bytes),
    Fifo,
}

/// Bytes, told as text.
#[derive(Clone)]
struct Bytes(Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [first, rest @ ..] if rest.len() > 20 && rest.iter().all(|b| b == first) => {
                write!(f, "{} x {:?}", self.0.len(), char::from(*first))
            }
            bytes => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

/// Bytes that begin like all others of their seed.
#[derive(Clone, Debug)]
struct Content {
    seed: u8,
    length: u32,
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length as usize];
        match self.seed {
            0 => {}
            1 => bytes.iter_mut().zip(b"The quick brown fox. ".iter().cycle()).for_each(|(a, b)| *a = *b),
            seed => blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes),
        }
        bytes
    }
}

/// Chunks of tests, small and very small ones; and those that every store has.
fn chunks(index: usize) -> ChunkSizes {
    let sizes = |min, avg, max| ChunkSizes { min, avg, max };
    [sizes(64, 256, 1024), sizes(64, 256, 1024), sizes(256, 1024, 4096), ChunkSizes::default()][index % 4]
}

fn name() -> impl Strategy<Value = Bytes> {
    let odd = vec(any::<u8>(), 1..6).prop_map(|mut name| {
        name.iter_mut().filter(|b| matches!(**b, b'/' | 0)).for_each(|b| *b = b'_');
        if name == b"." || name == b".." { Bytes(b"dots".to_vec()) } else { Bytes(name) }
    });
    prop_oneof![
        // Few names, so that they meet again, and neighbours that sort apart from what is in them.
        6 => prop::sample::select(vec!["a", "b", "c", "a-", "a.b", "ab", "b ", "B"]).prop_map(|n| Bytes(n.as_bytes().to_vec())),
        2 => odd,
        1 => (b'x'..=b'z').prop_map(|letter| Bytes(vec![letter; 255])),
    ]
}

fn content() -> impl Strategy<Value = Content> {
    let length = prop_oneof![
        2 => 0..3_u32,
        4 => 3..700_u32,
        3 => 700..6_000_u32,
        2 => 6_000..40_000_u32,
        1 => prop::sample::select(vec![63_u32, 64, 255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097]),
    ];
    (0..7_u8, length).prop_map(|(seed, length)| Content { seed, length })
}

/// A few MiB, for stores with chunks as they usually are.
fn large() -> impl Strategy<Value = Content> {
    (0..7_u8, 200_000..6_000_000_u32).prop_map(|(seed, length)| Content { seed, length })
}

fn thing() -> impl Strategy<Value = Thing> {
    let target = prop_oneof![Just(Bytes(b"..".to_vec())), Just(Bytes(b"a".to_vec())), name()];
    prop_oneof![
        4 => Just(Thing::Folder),
        12 => content().prop_map(Thing::File),
        1 => large().prop_map(Thing::File),
        2 => (1..8_000_000_u32, any::<u16>(), content()).prop_map(|(length, at, content)| Thing::Sparse { length, at, content }),
        2 => target.prop_map(Thing::Symlink),
        1 => Just(Thing::Fifo),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let n = any::<u16>;
    let value = prop::option::of(vec(any::<u8>(), 0..300).prop_map(Bytes));
    let time = prop_oneof![-2_147_483_648..15_000_000_000_i64, 1_700_000_000..1_700_000_003_i64];
    prop_oneof![
        6 => (n(), name(), thing()).prop_map(|(folder, name, thing)| Edit::Make { folder, name, thing }),
        2 => (n(), thing()).prop_map(|(path, thing)| Edit::Replace { path, thing }),
        2 => (n(), n(), name()).prop_map(|(file, folder, name)| Edit::Copy { file, folder, name }),
        2 => (n(), content()).prop_map(|(file, content)| Edit::Append { file, content }),
        2 => (n(), n(), content(), any::<bool>())
            .prop_map(|(file, at, content, unnoticed)| Edit::Overwrite { file, at, content, unnoticed }),
        1 => (n(), n()).prop_map(|(file, to)| Edit::Truncate { file, to }),
        1 => (n(), 1..2_000_000_u32).prop_map(|(file, by)| Edit::Grow { file, by }),
        2 => n().prop_map(|path| Edit::Delete { path }),
        3 => (n(), n(), name()).prop_map(|(path, folder, name)| Edit::Rename { path, folder, name }),
        3 => (n(), n(), name()).prop_map(|(path, folder, name)| Edit::Link { path, folder, name }),
        1 => n().prop_map(|file| Edit::Unlink { file }),
        1 => (n(), 0..0o10000_u32).prop_map(|(path, mode)| Edit::Mode { path, mode }),
        1 => (n(), (0..4_u32, 0..4_u32)).prop_map(|(path, owner)| Edit::Owner { path, owner }),
        2 => (n(), time, 0..1_000_000_000_i64).prop_map(|(path, secs, nanos)| Edit::Touch { path, secs, nanos }),
        1 => (n(), 0..3_u8, value).prop_map(|(path, name, value)| Edit::Attribute { path, name, value }),
    ]
}

fn life() -> impl Strategy<Value = Life> {
    let edits = (vec(edit(), 0..8), prop::option::weighted(0.2, vec(edit(), 0..4)));
    let edits = edits.prop_map(|(first, second)| Edits { first, second });
    (0..4_usize, 1..4_usize, vec(edit(), 0..40), vec(edits, WEEKS))
        .prop_map(|(chunks, threads, birth, weeks)| Life { chunks, threads, birth, weeks })
}

/// A tree on its way through the weeks.
struct Living<'a> {
    life: &'a Life,
    root: PathBuf,
    archive: Archive,
    pvc: PvcName,
}

impl<'a> Living<'a> {
    fn new(life: &'a Life, root: PathBuf) -> Self {
        fs::create_dir(&root).unwrap();
        let new = NewStore {
            chunks: chunks(life.chunks),
            created: Timestamp::default(),
            created_by: "a test".into(),
            id: "00112233445566778899aabbccddeeff".into(),
        };
        let archive = Archive::open_or_create(Arc::new(MemoryStore::default()), &new).unwrap();
        let living = Self { life, root, archive, pvc: "pvc".parse().unwrap() };
        living.edit(&life.birth);
        living
    }

    fn edit(&self, edits: &[Edit]) {
        for edit in edits {
            // What cannot be done in this tree is not done.
            let _ = apply(&self.root, edit, self.life.chunks % 4 == 3);
        }
    }

    fn live(&self, week: usize) {
        let edits = &self.life.weeks[week];
        self.edit(&edits.first);
        self.back_up(week);
        if let Some(second) = &edits.second {
            self.edit(second);
            self.back_up(week);
        }
    }

    fn back_up(&self, week: usize) {
        let options = BackupOptions {
            week: label(week),
            origin: Origin::Live,
            excludes: Vec::new(),
            walk: WalkOptions { cross_filesystems: false, ..WalkOptions::everything() },
            compression: 1,
            force_read: false,
            ignore_ctime: false,
            ignore_inode: false,
            allow_empty: true,
            dry_run: false,
            threads: self.life.threads,
            readers: (self.life.threads > 1).then_some(6),
            host: "test".into(),
            tool: "test".into(),
        };
        let sources = [Source { pvc: self.pvc.clone(), path: self.root.clone() }];
        let done = backup(&self.archive, &sources, &options, &Silent::default()).unwrap();
        assert!(done[0].problems.is_empty(), "{:?}", done[0].problems);
        READ.fetch_add(done[0].counts.bytes_read, Ordering::Relaxed);
        ALL.fetch_add(done[0].counts.bytes, Ordering::Relaxed);
        let options = GcOptions { dry_run: false, trash_days: 7, now: clock::now() };
        collect(&self.archive, &self.archive.manifests().unwrap(), options, &Silent::default()).unwrap();
    }

    fn restore(&self, week: usize, target: &Path, delete: bool) {
        let id = self.archive.find_manifest(WeekRef::Exact(label(week)), &self.pvc).unwrap();
        let manifest = self.archive.open_manifest(&id).unwrap();
        let options = RestoreOptions {
            target: target.to_path_buf(),
            selection: Selection::all(),
            delete,
            dry_run: false,
            owner: Owner::Numeric,
            sparse: self.life.threads == 1,
            verify: false,
            threads: self.life.threads,
        };
        let restored = restore(&self.archive, &manifest, &options, &Silent::default()).unwrap();
        assert_eq!(restored.failed, 0, "{:?}", restored.problems);
    }

    fn verify(&self) {
        let options = VerifyOptions { threads: 1, ..VerifyOptions::default() };
        let verified = verify(&self.archive, &options, &Silent::default()).unwrap();
        assert!(verified.is_clean(), "{verified:?}");
        assert_eq!((verified.unreferenced, verified.manifests), (0, WEEKS as u64));
    }
}

/// Bytes that were read, of all that there were to back up.
static READ: AtomicU64 = AtomicU64::new(0);
static ALL: AtomicU64 = AtomicU64::new(0);

fn label(week: usize) -> Week {
    format!("2025-{week:02}").parse().unwrap()
}

/// All paths of a tree in a fixed order, the root first.
fn paths(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            let mut children: Vec<PathBuf> =
                fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()).collect();
            children.sort_unstable();
            found.extend(children);
        }
        next += 1;
    }
    found
}

fn pick(paths: Vec<PathBuf>, number: u16, wanted: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut fitting: Vec<PathBuf> = paths.into_iter().filter(|p| wanted(p)).collect();
    let at = usize::from(number).checked_rem(fitting.len())?;
    Some(fitting.swap_remove(at))
}

/// Does an edit; none where nothing fits, or the file system refuses.
fn apply(root: &Path, edit: &Edit, large: bool) -> Option<()> {
    let all = paths(root);
    let kind =
        |wanted: fn(&fs::Metadata) -> bool| move |p: &Path| p.symlink_metadata().is_ok_and(|m| wanted(&m));
    let file = |number| pick(all.clone(), number, kind(|m| m.is_file()));
    let folder = |number| pick(all.clone(), number, kind(|m| m.is_dir()));
    let below = |number| pick(all.clone(), number, |p| p != root);
    let free = |number, name: &Bytes| {
        let path = folder(number)?.join(OsStr::from_bytes(&name.0));
        // Deep enough, but not too deep for what looks at it by full paths.
        (path.symlink_metadata().is_err() && path.as_os_str().len() < 2_000).then_some(path)
    };
    match edit {
        Edit::Make { folder, name, thing } => make(&free(*folder, name)?, thing, large),
        Edit::Replace { path, thing } => {
            let path = below(*path)?;
            remove(&path)?;
            make(&path, thing, large)
        }
        Edit::Copy { file: from, folder, name } => {
            fs::copy(file(*from)?, free(*folder, name)?).ok().map(drop)
        }
        Edit::Append { file: to, content } => {
            OpenOptions::new().append(true).open(file(*to)?).ok()?.write_all(&content.bytes()).ok()
        }
        Edit::Overwrite { file: to, at, content, unnoticed } => {
            let path = file(*to)?;
            let before = path.metadata().ok()?;
            let at = before.len().checked_rem(u64::from(*at).max(1))?;
            let mut bytes = content.bytes();
            if *unnoticed {
                bytes.truncate((before.len() - at) as usize);
            }
            File::options().write(true).open(&path).ok()?.write_all_at(&bytes, at).ok()?;
            if *unnoticed { touch(&path, before.mtime(), before.mtime_nsec()) } else { Some(()) }
        }
        Edit::Truncate { file: of, to } => {
            let path = file(*of)?;
            let length = path.metadata().ok()?.len() * u64::from(*to) / 65_536;
            File::options().write(true).open(path).ok()?.set_len(length).ok()
        }
        Edit::Grow { file: of, by } => {
            let path = file(*of)?;
            let length = (path.metadata().ok()?.len() + u64::from(*by)).min(16 << 20);
            File::options().write(true).open(path).ok()?.set_len(length).ok()
        }
        Edit::Delete { path } => remove(&below(*path)?),
        Edit::Rename { path, folder, name } => fs::rename(below(*path)?, free(*folder, name)?).ok(),
        Edit::Link { path, folder, name } => {
            let path = pick(all.clone(), *path, kind(|m| !m.is_dir()))?;
            rustix::fs::linkat(CWD, path, CWD, free(*folder, name)?, AtFlags::empty()).ok()
        }
        Edit::Unlink { file: of } => {
            let path = pick(all.clone(), *of, kind(|m| m.is_file() && m.nlink() > 1))?;
            let before = path.metadata().ok()?;
            let bytes = fs::read(&path).ok()?;
            remove(&path)?;
            fs::write(&path, bytes).ok()?;
            own(&path, (before.uid(), before.gid()))?;
            fs::set_permissions(&path, before.permissions()).ok()?;
            touch(&path, before.mtime(), before.mtime_nsec())
        }
        Edit::Mode { path, mode } => {
            let path = pick(all.clone(), *path, kind(|m| !m.is_symlink()))?;
            let mode = if is_root() { *mode } else { mode & 0o1777 | 0o700 };
            fs::set_permissions(path, Permissions::from_mode(mode)).ok()
        }
        Edit::Owner { path, owner } => own(&pick(all.clone(), *path, |_| true)?, *owner),
        Edit::Touch { path, secs, nanos } => touch(&pick(all.clone(), *path, |_| true)?, *secs, *nanos),
        Edit::Attribute { path, name, value } => {
            let path = pick(all.clone(), *path, kind(|m| m.is_dir() || m.is_file()))?;
            let name = format!("user.{name}");
            match value {
                Some(value) => rustix::fs::setxattr(path, name.as_str(), &value.0, XattrFlags::empty()).ok(),
                None => rustix::fs::removexattr(path, name.as_str()).ok(),
            }
        }
    }
}

fn make(path: &Path, thing: &Thing, large: bool) -> Option<()> {
    // In very small chunks, much content is a great many objects and nothing new.
    let fit = |length: u32| if large { length } else { length % 60_000 };
    match thing {
        Thing::Folder => fs::create_dir(path).ok(),
        Thing::File(content) => {
            fs::write(path, Content { length: fit(content.length), ..*content }.bytes()).ok()
        }
        Thing::Sparse { length, at, content } => {
            let file = File::create(path).ok()?;
            file.set_len((*length).into()).ok()?;
            file.write_all_at(&content.bytes(), u64::from(*length) * u64::from(*at) / 65_536).ok()
        }
        Thing::Symlink(target) => symlink(OsStr::from_bytes(&target.0), path).ok(),
        Thing::Fifo => rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).ok(),
    }
}

fn remove(path: &Path) -> Option<()> {
    if path.symlink_metadata().ok()?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.ok()
}

fn own(path: &Path, owner: (u32, u32)) -> Option<()> {
    if is_root() { lchown(path, Some(owner.0), Some(owner.1)).ok() } else { Some(()) }
}

fn touch(path: &Path, secs: i64, nanos: i64) -> Option<()> {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: nanos },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// Does the same with each of the trees, on two threads.
fn each(living: &[Living<'_>], work: impl Fn(usize, &Living<'_>) + Sync) {
    let next = AtomicUsize::new(0);
    let all = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(tree) = living.get(number) else { return };
            work(number, tree);
        }
    };
    std::thread::scope(|scope| {
        for thread in [scope.spawn(all), scope.spawn(all)] {
            // What a thread panics with is what this panics with, so that the test tells it.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

#[track_caller]
fn same(source: &Path, expected: &Tree, target: &Path) {
    assert_same_tree(expected, target);
    let differences = rsync_says(source, target);
    assert!(differences.is_empty(), "rsync:\n{differences}");
}

/// `hops` are the weeks that one live tree is restored to, one after the other.
fn go_through_the_weeks(lives: &[Life], hops: &[usize]) {
    let folder = quick_folder(1 << 30, 100_000);
    let sources = folder.path().join("sources");
    fs::create_dir(&sources).unwrap();
    let living: Vec<Living<'_>> = lives
        .iter()
        .enumerate()
        .map(|(number, life)| Living::new(life, sources.join(number.to_string())))
        .collect();
    let (mut weeks, mut expected) = (Vec::new(), Vec::new());
    let old = |folder: &Path| touch(folder, 1_000_000_000, 0).unwrap();
    for week in 0..WEEKS {
        let plain = folder.path().join(format!("week-{week}"));
        fs::create_dir(&plain).unwrap();
        each(&living, |number, tree| {
            tree.live(week);
            tree.restore(week, &plain.join(number.to_string()), false);
        });
        // The folder of all the trees is in none of them.
        old(&sources);
        old(&plain);
        let tree = Tree::of(&sources);
        same(&sources, &tree, &plain);
        weeks.push(plain);
        expected.push(tree);
    }
    each(&living, |_, tree| tree.verify());
    // In place of the sources themselves, which change detection knows, and of a tree that it does not.
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    for (turn, &week) in hops.iter().enumerate() {
        let live = if turn % 2 == 0 { &other } else { &sources };
        each(&living, |number, tree| tree.restore(week, &live.join(number.to_string()), true));
        old(live);
        same(&weeks[week], &expected[week], live);
    }
}

/// What goes wrong with these lives, if anything does.
fn failure(lives: &[Life], hops: &[usize]) -> Option<String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::catch_unwind(|| go_through_the_weeks(lives, hops));
    std::panic::set_hook(hook);
    let panic = outcome.err()?;
    Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic without a message".into()))
}

/// The simplest life that fails on its own, made from one that does.
fn simplest(mut life: impl ValueTree<Value = Life>, hops: &[usize]) -> Option<(Life, String)> {
    let mut simplest = (life.current(), failure(&[life.current()], hops)?);
    let mut moved = life.simplify();
    for _ in 0..100 {
        if !moved {
            break;
        }
        let now = life.current();
        moved = match failure(std::slice::from_ref(&now), hops) {
            Some(reason) => {
                simplest = (now, reason);
                life.simplify()
            }
            None => life.complicate(),
        };
    }
    Some(simplest)
}

#[test]
fn every_week_comes_back() {
    let set = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let seed: u64 = set("WEEKS_PROPERTY_SEED").unwrap_or_else(|| u64::from(clock::now().nanos));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, blake3::hash(&seed.to_le_bytes()).as_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // One run has many trees; PROPTEST_CASES asks for more runs.
    for _ in 0..set("PROPTEST_CASES").unwrap_or(1) {
        let hops = vec(0..WEEKS, 8).new_tree(&mut runner).unwrap().current();
        let trees: Vec<_> = (0..TREES).map(|_| life().new_tree(&mut runner).unwrap()).collect();
        let lives: Vec<Life> = trees.iter().map(ValueTree::current).collect();
        let Some(reason) = failure(&lives, &hops) else { continue };
        for tree in trees {
            if let Some((life, reason)) = simplest(tree, &hops) {
                panic!("WEEKS_PROPERTY_SEED={seed}: {reason}\nweeks restored: {hops:?}\n{life:?}");
            }
        }
        panic!(
            "WEEKS_PROPERTY_SEED={seed}, but no tree fails on its own; weeks restored: {hops:?}: {reason}"
        );
    }
    let (read, all) = (READ.load(Ordering::Relaxed), ALL.load(Ordering::Relaxed));
    eprintln!("{read} of {all} bytes were read");
}
