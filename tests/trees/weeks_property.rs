//! Random trees, changed at random from week to week: every week comes back exactly, from whatever stands there.
//!
//! The trees of one run go through their weeks in step. Whatever was changed within two seconds of a backup is read
//! again by the next one, and a tree on its own would be through all its weeks before anything could be kept unread.

use crate::common::edits::{Edit, apply, edit, touch};
use crate::common::{Tree, assert_same_tree, quick_folder, rsync_says};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use weekvault::archive::{Archive, GcOptions, NewStore, collect};
use weekvault::format::ChunkSizes;
use weekvault::model::{PvcName, Silent, Timestamp, Week, WeekRef};
use weekvault::ops::Run;
use weekvault::ops::backup::{BackupOptions, Labels, Source, SourceRules, backup};
use weekvault::ops::clock;
use weekvault::ops::restore::{Owner, RestoreOptions, restore};
use weekvault::ops::verify::{VerifyOptions, verify};
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

/// Chunks of tests, small and very small ones; and those that every store has.
fn chunks(index: usize) -> ChunkSizes {
    let sizes = |min, avg, max| ChunkSizes { min, avg, max };
    [sizes(64, 256, 1024), sizes(64, 256, 1024), sizes(256, 1024, 4096), ChunkSizes::default()][index % 4]
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
        let threads = self.life.threads;
        let options = BackupOptions {
            walk: WalkOptions { cross_filesystems: false, ..WalkOptions::everything() },
            rules: SourceRules { allow_empty: true, allow_other: true, ..SourceRules::default() },
            readers: (threads > 1).then_some(6),
            ..BackupOptions::default()
        };
        let observer = Silent::default();
        let run = Run::new(&self.archive, &observer).on(threads);
        let sources = [Source { pvc: self.pvc.clone(), path: self.root.clone() }];
        let done = backup(run, &sources, &Labels::of(label(week)), &options).unwrap();
        assert!(done.sources[0].problems.is_empty(), "{:?}", done.sources[0].problems);
        READ.fetch_add(done.sources[0].counts.bytes_read, Ordering::Relaxed);
        ALL.fetch_add(done.sources[0].counts.bytes, Ordering::Relaxed);
        let options = GcOptions { dry_run: false, trash_days: 7, empty_trash: false, now: clock::now() };
        collect(&self.archive, &self.archive.weeks().unwrap(), options, &Silent::default()).unwrap();
    }

    fn restore(&self, week: usize, target: &Path, delete: bool) {
        let id = self.archive.find_manifest(WeekRef::Exact(label(week)), &self.pvc).unwrap();
        let manifest = self.archive.open_manifest(&id).unwrap();
        let threads = self.life.threads;
        let options = RestoreOptions {
            delete,
            owner: Owner::Numeric,
            sparse: threads == 1,
            ..RestoreOptions::into(target)
        };
        let observer = Silent::default();
        let run = Run::new(&self.archive, &observer).on(threads);
        let restored = restore(run, &manifest, &options).unwrap();
        assert_eq!(restored.failed, 0, "{:?}", restored.problems);
    }

    fn verify(&self) {
        let observer = Silent::default();
        let verified = verify(Run::new(&self.archive, &observer), &VerifyOptions::default()).unwrap();
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
    let panic = std::panic::catch_unwind(|| go_through_the_weeks(lives, hops)).err()?;
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
