//! Backups of the same and of different pvcs, gc, verify and restore at work on one store at once, and killed at any
//! moment: whatever is published can be restored, to exactly what its source was.
//!
//! `WEEKVAULT_KILL_SECONDS` says how long (20, and half of it on a sealed store), `WEEKVAULT_KILL_SEED` with which dice; each run
//! prints its own.

use crate::common::fate::{Dice, Ended, Fate, Fates, Moment};
use crate::common::{StoreKind, Tree, Vault, assert_same_tree, backup_arguments, quick_folder};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};
use tempfile::TempDir;
use weekvault::archive::{Archive, ManifestRef};
use weekvault::model::RunId;

/// Weeks that retention keeps.
const KEEP: usize = 3;

/// The week of the last backup, which nobody disturbs.
const LAST: &str = "2025-53";

/// A source and every state that it ever had.
struct Source {
    pvc: &'static str,
    path: PathBuf,
    state: u32,
    history: BTreeMap<u32, Tree>,
}

impl Source {
    fn new(pvc: &'static str, path: PathBuf) -> Self {
        for folder in 0..4 {
            fs::create_dir_all(path.join(format!("folder-{folder}"))).unwrap();
        }
        symlink("folder-1", path.join("link")).unwrap();
        Self { pvc, path, state: 0, history: BTreeMap::new() }
    }

    /// Goes on to another state; a file in it has the state's number. Contents come again after a while, so that
    /// objects that were retired are wanted again.
    fn change(&mut self, dice: &Dice) {
        self.state += 1;
        fs::write(self.path.join("state"), self.state.to_string()).unwrap();
        let name = |n: u64| self.path.join(format!("folder-{}/file-{n}", n % 4));
        for _ in 0..25 {
            let (one, other) = (name(dice.below(40)), name(dice.below(40)));
            match dice.below(6) {
                0 => drop(fs::remove_file(one)),
                1 => drop(fs::rename(one, other)),
                2 => drop(fs::hard_link(one, other)),
                _ => {
                    let content = Dice::new(dice.below(150));
                    let words = content.below(700);
                    let bytes: Vec<u8> = (0..words).flat_map(|_| content.throw().to_le_bytes()).collect();
                    fs::write(one, bytes).unwrap();
                }
            }
        }
        self.history.insert(self.state, Tree::of(&self.path));
    }
}

/// A store, and what is known of it.
struct Field {
    folder: TempDir,
    vault: Vault,
    archive: Archive,
    dice: Dice,
    fates: Fates,
    restored: AtomicU64,
    /// Backups that gave up because objects were moved to and fro by several gcs.
    lost_sight: AtomicU64,
    targets: AtomicU64,
}

impl Field {
    fn new(kind: StoreKind, seed: u64) -> Self {
        let folder = quick_folder(512 << 20, 100_000);
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let vault = vault.of_kind(kind, &folder.path().join("keys"));
        let archive = vault.archive();
        let [restored, lost_sight, targets] = [0; 3].map(AtomicU64::new);
        Self {
            folder,
            vault,
            archive,
            dice: Dice::new(seed),
            fates: Fates::default(),
            restored,
            lost_sight,
            targets,
        }
    }

    fn run<S: Into<OsString>>(&self, fate: &Fate, arguments: impl IntoIterator<Item = S>) -> Ended {
        // Safety needs no lock. Without the file that others hold it on, it keeps nobody from anything.
        if !self.dice.one_in(4) {
            let _ = fs::remove_file(self.vault.store.join("lock"));
        }
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let kind =
            ["backup", "gc", "verify", "restore"].into_iter().find(|kind| arguments[0] == *kind).unwrap();
        self.fates.run(&self.dice, kind, fate, self.vault.command().args(self.vault.with_keys(arguments)))
    }

    /// What is to happen to a run: in a deadly round it is killed as a rule, in a calm one it is held up.
    fn fate(&self, deadly: bool, touched: Option<PathBuf>) -> Fate {
        let touched = touched.filter(|_| self.dice.one_in(2));
        let moment = touched.map_or(Moment::Any, Moment::Change);
        // Long enough for others to begin and end meanwhile.
        let pause = self.dice.part_of(4 * self.fates.usual(&self.dice, "gc"));
        match self.dice.below(6) {
            0 => Fate::Spared,
            1 => Fate::Struck(moment, Some(pause)),
            _ => Fate::Struck(moment, (!deadly).then_some(pause)),
        }
    }

    fn published(&self) -> Vec<ManifestRef> {
        self.archive.manifests().unwrap()
    }

    /// Restores a week to a new place, and holds it to the state of the source that it says it is. None where the
    /// week is not there (any more).
    fn restore(&self, week: &str, source: &Source) -> Option<u32> {
        let target = self.folder.path().join(format!("target-{}", self.targets.fetch_add(1, Relaxed)));
        let mut arguments: Vec<OsString> =
            ["restore", "--week", week, "--pvc", source.pvc, "--target"].map(OsString::from).into();
        arguments.push(target.clone().into());
        let ended = self.run(&Fate::Spared, arguments);
        let gone = ["has no manifest for ", ".manifest: No such file"];
        if ended.code == Some(1) && gone.iter().any(|text| ended.output.contains(text)) {
            return None;
        }
        ended.unless_killed(&[0]);
        let state = fs::read_to_string(target.join("state")).unwrap().parse().unwrap();
        assert_same_tree(&source.history[&state], &target);
        fs::remove_dir_all(target).unwrap();
        self.restored.fetch_add(1, Relaxed);
        Some(state)
    }

    /// Objects that a published manifest names and that are not in their place, as a reader without the trash sees it.
    fn displaced(&self) -> Vec<String> {
        let listing = self.archive.list_objects().unwrap();
        let mut displaced = Vec::new();
        for manifest in self.published() {
            let rows = self.archive.open_manifest(&manifest.id).unwrap().objects().unwrap();
            let gone = rows.iter().filter(|row| !listing.has(row));
            displaced.extend(gone.map(|row| format!("{} of {}", row.id, manifest.id)));
        }
        displaced
    }

    /// Lets days pass: one, or many.
    fn age_trash(&self) {
        for entry in fs::read_dir(self.vault.store.join("trash")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let days = if self.dice.one_in(2) { 1 } else { 10 };
            let name = path.file_name().unwrap().to_str().unwrap();
            let day: jiff::civil::Date = name.split('.').next().unwrap().parse().unwrap();
            let day = day.checked_sub(jiff::Span::new().days(days)).unwrap();
            let unique = self.dice.throw() as u32;
            fs::rename(&path, path.with_file_name(format!("{day}.{unique}"))).unwrap();
        }
    }
}

/// The states that a source may be restored to, of each week and pvc.
type Truth = BTreeMap<(String, &'static str), BTreeSet<u32>>;

/// Two backups of one pvc, one of another, or of both; gc, verify and restore for as long as those take.
fn round(field: &Field, sources: &[Source; 2], week: &str, deadly: bool, truth: &mut Truth) {
    let before: Vec<String> = truth.keys().map(|(week, _)| week.clone()).collect();
    for source in sources {
        truth
            .entry((week.to_owned(), source.pvc))
            .or_insert_with(|| BTreeSet::from([0]))
            .insert(source.state);
    }
    let dice = &field.dice;
    let [html, enigma] = sources.each_ref().map(|s| (s.pvc, s.path.as_path()));
    let teams: [&[(&str, &Path)]; 3] = match dice.below(3) {
        0 => [&[html], &[html], &[enigma]],
        1 => [&[html, enigma], &[html], &[enigma]],
        _ => [&[html, enigma], &[enigma, html], &[html]],
    };
    let at_work = AtomicUsize::new(teams.len());
    let done = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for team in teams {
            let (at_work, done) = (&at_work, &done);
            scope.spawn(move || {
                let _leave = Leave(at_work);
                std::thread::sleep(dice.part_of(Duration::from_millis(60)));
                let mut arguments = backup_arguments(week, team);
                arguments.extend(["--keep".into(), KEEP.to_string().into()]);
                // What it replaces is copied to the trash just before it is published.
                let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
                let copied = field.vault.store.join(format!("trash/{today}/{week}"));
                let published = field.vault.store.join(week).join(format!("{}.manifest", team[0].0));
                let touched = if dice.one_in(2) { copied } else { published };
                let ended = field.run(&field.fate(deadly, Some(touched)), arguments);
                let gone = ended.code == Some(1) && ended.output.contains("are gone from the store");
                field.lost_sight.fetch_add(u64::from(gone), Relaxed);
                ended.unless_killed(if gone { &[1] } else { &[0] });
                if ended.code == Some(0) {
                    done.lock().unwrap().extend(team.iter().map(|(pvc, _)| pvc.to_string()));
                }
            });
        }
        for _ in 0..if deadly { 1 } else { 2 } {
            scope.spawn(|| {
                while at_work.load(Relaxed) > 0 {
                    let days = if dice.one_in(2) { "0" } else { "7" };
                    let folder = field.vault.store.join(format!("objects/{:x}", dice.below(16)));
                    let fate = field.fate(deadly, Some(folder));
                    let ended = field.run(&fate, ["gc", "--json", "--trash-days", days]);
                    // It leaves the store to others who hold the lock, and one of which the first backup is on its way.
                    let says = |text: &str| ended.output.contains(text);
                    let busy = ended.code == Some(1)
                        && (says("another run is at work") || says("has objects and not one manifest"));
                    ended.unless_killed(if busy { &[1] } else { &[0] });
                }
            });
        }
        scope.spawn(|| {
            while deadly && at_work.load(Relaxed) > 0 {
                let how = if dice.one_in(3) { "--quick" } else { "--json" };
                // Held long enough, it may miss at each of its looks what gcs carry about (4); after each round it must not.
                field.run(&field.fate(deadly, None), ["verify", how]).unless_killed(&[0, 4]);
            }
        });
        scope.spawn(|| {
            while deadly && at_work.load(Relaxed) > 0 && !before.is_empty() {
                let (week, source) = (dice.one_of(&before), dice.one_of(sources));
                if let Some(state) = field.restore(week, source) {
                    assert!(truth[&(week.clone(), source.pvc)].contains(&state), "{week} is {state}");
                }
            }
        });
    });
    for pvc in done.into_inner().unwrap() {
        let source = sources.iter().find(|s| s.pvc == pvc).unwrap();
        truth.insert((week.to_owned(), source.pvc), BTreeSet::from([source.state]));
    }
}

/// Counts one down when it is dropped, also by a panic.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Restores all that is published, and holds it against the truth; that is exact then.
fn check(field: &Field, sources: &[Source; 2], truth: &mut Truth) -> u64 {
    let published = field.published();
    let mut found = Truth::new();
    for manifest in &published {
        let (id, week) = (&manifest.id, manifest.id.week.to_string());
        assert!(!id.partial, "{id}");
        let source = sources.iter().find(|s| s.pvc == id.pvc.as_str()).unwrap();
        let state =
            field.restore(&week, source).unwrap_or_else(|| panic!("{id} is published, and not there"));
        let allowed = &truth[&(week.clone(), source.pvc)];
        assert!(allowed.contains(&state), "{id} is state {state}, not one of {allowed:?}");
        found.insert((week, source.pvc), BTreeSet::from([state]));
    }
    // Nobody takes a week away but retention, which leaves the newest.
    for ((week, pvc), states) in truth.iter() {
        let newer = found.keys().filter(|(w, p)| p == pvc && w > week).count();
        let gone = !found.contains_key(&(week.clone(), *pvc));
        assert!(!gone || newer >= KEEP || states.contains(&0), "{week} of {pvc} is gone, of {found:?}");
    }
    *truth = found;
    published.len() as u64
}

/// Gives some unfinished writes an age in hours, by the store's clock.
fn age(files: &[PathBuf], hours: u64) {
    for file in files {
        let file = fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
}

/// What killed runs left unfinished goes with the first run that finds it old; what is younger may be someone's.
fn check_leftovers(field: &Field, sources: &[Source; 2], truth: &mut Truth) -> usize {
    let folder = field.vault.store.join("tmp");
    // Enough for both halves, should no run have been killed while it wrote.
    [RunId(0), RunId(1)]
        .iter()
        .for_each(|run| fs::write(folder.join(format!("{run}-0")), "unfinished").unwrap());
    let unfinished = || -> BTreeSet<PathBuf> {
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let all: Vec<PathBuf> = unfinished().into_iter().collect();
    let (old, young) = all.split_at(all.len() / 2);
    age(old, 13);
    age(young, 11);
    let [html, enigma] = sources.each_ref().map(|s| (s.pvc, s.path.as_path()));
    field.run(&Fate::Spared, backup_arguments(LAST, &[html, enigma])).unless_killed(&[0]);
    sources.iter().for_each(|s| drop(truth.insert((LAST.into(), s.pvc), BTreeSet::from([s.state]))));
    assert_eq!(unfinished(), young.iter().cloned().collect());
    age(young, 13);
    field.run(&Fate::Spared, ["gc"]).unless_killed(&[0]);
    assert_eq!(unfinished(), BTreeSet::new());
    // What no run can have left is somebody else's.
    let theirs = folder.join("dump.sql");
    fs::write(&theirs, "precious").unwrap();
    age(std::slice::from_ref(&theirs), 13);
    field.run(&Fate::Spared, ["gc"]).unless_killed(&[0]);
    assert_eq!(unfinished(), BTreeSet::from([theirs]));
    all.len() - 2
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|v| !v.is_empty()).map(|v| v.parse().unwrap())
}

#[test]
fn whatever_is_killed_all_that_is_published_can_be_restored() {
    kill(StoreKind::Plain, variable("WEEKVAULT_KILL_SECONDS").unwrap_or(20));
}

/// In half the time: what may come of kills is the same, but for two files that hold one chunk.
#[test]
fn whatever_is_killed_all_that_is_published_in_a_sealed_store_can_be_restored() {
    kill(StoreKind::Sealed, variable("WEEKVAULT_KILL_SECONDS").unwrap_or(20) / 2);
}

fn kill(kind: StoreKind, seconds: u64) {
    let clock = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = variable("WEEKVAULT_KILL_SEED").unwrap_or_else(clock);
    println!("WEEKVAULT_KILL_SEED={seed}");
    let field = Field::new(kind, seed);
    let mut sources = ["html", "enigma"].map(|pvc| Source::new(pvc, field.folder.path().join(pvc)));
    let mut truth = Truth::new();
    let (begun, mut rounds, mut published) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let number = rounds / 3;
        let week = format!("{}-{:02}", 2000 + number / 50, 1 + number % 50);
        // Three deadly ones, then three calm ones.
        let deadly = rounds % 6 < 3;
        rounds += 1;
        sources.iter_mut().for_each(|s| s.change(&field.dice));
        round(&field, &sources, &week, deadly, &mut truth);
        if !deadly {
            assert_eq!(field.displaced(), [""; 0], "nobody was killed in round {rounds}");
            field.vault.verify();
        }
        if deadly || rounds % 6 == 0 {
            published += check(&field, &sources, &mut truth);
        }
        if rounds % 6 == 3 {
            field.run(&Fate::Spared, ["gc"]).unless_killed(&[0]);
            assert_eq!(field.displaced(), [""; 0], "gc brings back what is needed, after round {rounds}");
            field.vault.verify();
        }
        if field.dice.one_in(3) {
            field.age_trash();
        }
    }
    let leftovers = check_leftovers(&field, &sources, &mut truth);
    assert_eq!(field.displaced(), [""; 0]);
    published += check(&field, &sources, &mut truth);
    assert_eq!(field.vault.verify()["unreferenced_objects"], 0);
    println!(
        "{rounds} rounds in {:.0?}, {published} times a manifest was held against the truth, {} restores, \
         {leftovers} files left in tmp/, {} backups lost sight of objects\n{}",
        begun.elapsed(),
        field.restored.load(Relaxed),
        field.lost_sight.load(Relaxed),
        field.fates.figures()
    );
}
