//! A backup and two gcs in every order that their steps can come in, each killed at any of them or not: nothing that a
//! published manifest names is ever out of reach, and in the end all of it is in its place.
//!
//! The steps are those of the real code, on a store in memory (see `explore`). `WEEKVAULT_INTERLEAVINGS=all` has every
//! combination of what may be there before; the tests have those that were thought of.

mod alias;
mod blind;
mod explore;
mod in_steps;
mod replay;
mod yard;

use crate::common::StoreKind;
use blind::Blind;
use explore::{Explored, Program};
use replay::Files;
use std::cell::Cell;
use weekvault::model::Silent;
use weekvault::ops::Run;
use weekvault::ops::undelete::undelete;
use weekvault::store::Key;
use yard::{
    LONG_AGO, NOW, TODAY, WEEK, Yard, gc, is_published, open, retain_and_gc, run_backup, run_gc, text,
};

fn everything() -> bool {
    std::env::var_os("WEEKVAULT_INTERLEAVINGS").is_some_and(|v| v == "all")
}

fn show(explored: &Explored) {
    let Explored { states, schedules, contents, runs, .. } = explored;
    println!("{states} states, {schedules:.1e} schedules, {contents} contents of the store, {runs} runs");
    for (outcome, schedule) in &explored.outcomes {
        println!("  {outcome}\n{}", if everything() { schedule } else { "" });
    }
    if let Some((wrong, schedule)) = &explored.wrong {
        println!("{wrong}\n{schedule}");
    }
}

#[track_caller]
fn assert_sound(explored: &Explored) {
    show(explored);
    assert!(explored.wrong.is_none(), "see the schedule");
    assert!(explored.outcomes.keys().any(|o| !o.contains("fails")), "no schedule in which all succeed");
}

#[track_caller]
fn assert_wrong(explored: &Explored, expected: &str) {
    show(explored);
    let wrong = explored.wrong.as_ref().map(|(wrong, _)| wrong.as_str()).unwrap_or_default();
    assert!(wrong.starts_with(expected), "this has to be noticed");
}

/// What is held for both kinds of stores: a backup has a writer's keys, gc and retention have none.
const KINDS: [StoreKind; 2] = [StoreKind::Sealed, StoreKind::Plain];

/// Who comes third. In a sealed store nobody does: files move in it as they do in a plain one, so what takes three is found
/// there, and with two there are few enough states for runs that seal and open.
fn third(kind: StoreKind) -> Program {
    if kind == StoreKind::Plain { gc() } else { nobody() }
}

#[test]
fn an_object_whose_only_manifest_is_retired_meanwhile() {
    for kind in KINDS {
        let mut yard = Yard::of_kind(kind);
        yard.published("2025-01", "q", "x");
        yard.published("2025-02", "q", "");
        let programs = vec![yard.backup("x"), retain_and_gc("q"), third(kind)];
        assert_sound(&yard.explore(programs, &is_published));
    }
}

#[test]
fn an_orphan_of_a_crashed_run() {
    for kind in KINDS {
        let mut yard = Yard::of_kind(kind);
        yard.orphan("x");
        let programs = vec![yard.backup("x"), gc(), third(kind)];
        assert_sound(&yard.explore(programs, &is_published));
    }
}

/// For meetings of two.
fn nobody() -> Program {
    Program::new("nobody", |_| Ok(()))
}

/// Its gc goes by what its backup saw of the objects, which is old by then.
#[test]
fn a_nightly_run_beside_a_gc() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let programs = vec![yard.nightly("x"), gc(), nobody()];
    assert_sound(&yard.explore(programs, &is_published));
}

/// Another backup needs an orphan that the nightly run's gc moves away.
#[test]
fn a_nightly_run_beside_a_backup() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let path = yard.source("x");
    let other = Program::new("backup", move |store| run_backup(store, WEEK, "r", path.clone()));
    let programs = vec![other, yard.nightly("y"), nobody()];
    assert_sound(&yard.explore(programs, &is_published));
}

#[test]
fn an_object_in_old_trash() {
    for kind in KINDS {
        let mut yard = Yard::of_kind(kind);
        yard.orphan("x");
        yard.retire(&yard.object("x"), LONG_AGO);
        let programs = vec![yard.backup("x"), gc(), third(kind)];
        assert_sound(&yard.explore(programs, &is_published));
    }
}

#[test]
fn a_manifest_that_is_replaced() {
    let mut yard = Yard::new();
    yard.published(WEEK, "p", "");
    yard.orphan("x");
    let programs = vec![yard.backup("x"), gc()];
    assert_sound(&yard.explore(programs, &is_published));
}

#[test]
fn old_trash_that_two_gcs_empty() {
    let mut yard = Yard::new();
    yard.published("2025-02", "q", "x");
    yard.orphan("y");
    yard.retire(&yard.object("x"), LONG_AGO);
    yard.retire(&yard.object("y"), LONG_AGO);
    let programs = vec![yard.backup("x"), gc()];
    assert_sound(&yard.explore(programs, &is_published));
}

#[test]
fn the_only_whole_copy_in_old_trash() {
    let mut yard = Yard::new();
    yard.published("2025-02", "q", "x");
    yard.retire(&yard.object("x"), LONG_AGO);
    yard.orphan("x");
    yard.damage(&yard.object("x"));
    let programs = vec![yard.backup("x"), gc()];
    assert_sound(&yard.explore(programs, &is_published));
}

#[test]
fn what_is_retired_just_before_midnight() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let before = Program::new("gc before", |store| run_gc(store, NOW.plus_seconds(12 * 3600 - 1)));
    let after = Program::new("gc after", |store| run_gc(store, NOW.plus_seconds(12 * 3600)));
    let programs = vec![yard.backup("x"), before, after];
    assert_sound(&yard.explore(programs, &is_published));
}

#[test]
fn two_backups_of_one_object() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let programs = vec![yard.backup("x"), other_backup(&mut yard), gc()];
    assert_sound(&yard.explore(programs, &is_published));
}

/// In a sealed store each of them may make a file of its own, neither of which is replaced.
#[test]
fn two_backups_of_an_object_that_is_new() {
    for kind in KINDS {
        let mut yard = Yard::of_kind(kind);
        let programs = vec![yard.backup("x"), other_backup(&mut yard), nobody()];
        let most = Cell::new(0);
        let promise = |files: &Files| {
            most.set(most.get().max(files_of_chunk(files)));
            is_published(files)
        };
        assert_sound(&yard.explore(programs, &promise));
        assert_eq!(most.get(), if kind == StoreKind::Plain { 1 } else { 2 });
    }
}

/// How many of the store's files in `objects/` there are; those of one chunk, where no other is backed up.
fn files_of_chunk(files: &Files) -> usize {
    files.keys().filter(|key| key.as_str().starts_with("objects/")).count()
}

fn other_backup(yard: &mut Yard) -> Program {
    let path = yard.source("x");
    Program::new("other backup", move |store| run_backup(store, WEEK, "r", path.clone()))
}

/// A manifest comes back out of the trash, with an object that is there too or still in its place.
#[test]
fn a_manifest_that_is_undeleted() {
    for day in [TODAY, LONG_AGO] {
        for object_too in [false, true] {
            let mut yard = Yard::new();
            yard.published("2025-03", "q", "x");
            let key = Key::new("2025-03/q.manifest");
            yard.retire(&key, day);
            if object_too {
                yard.retire(&yard.object("x"), day);
            }
            let undelete = Program::new("undelete", |store| {
                let (week, pvc) = ("2025-03".parse().unwrap(), "q".parse().unwrap());
                undelete(Run::new(&open(store)?, &Silent::default()), week, &pvc).map(drop).map_err(text)
            });
            let is_back = |files: &Files| files.contains_key(&key);
            assert_sound(&yard.explore(vec![undelete, gc()], &is_back));
        }
    }
}

#[test]
fn a_gc_that_does_not_look_again_is_noticed() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let blind = Program::new("blind gc", |store| run_gc(Blind::after(1, blind::manifests, store), NOW));
    let programs = vec![yard.backup("x"), blind, gc()];
    assert_wrong(&yard.explore(programs, &is_published), "not in its place");
}

#[test]
fn a_backup_that_does_not_look_again_is_noticed() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let path = yard.source("x");
    // It looks once to begin with, and once before it publishes.
    let run = move |store| run_backup(Blind::after(2, blind::objects, store), WEEK, "p", path.clone());
    assert_wrong(
        &yard.explore(vec![Program::new("blind backup", run), gc()], &is_published),
        "not in its place",
    );
}

#[test]
fn trash_that_is_emptied_too_soon_is_noticed() {
    let mut yard = Yard::new();
    yard.orphan("x");
    let tomorrow = Program::new("gc tomorrow", |store| run_gc(store, NOW.plus_seconds(86_400)));
    let programs = vec![yard.backup("x"), gc(), tomorrow];
    assert_wrong(&yard.explore(programs, &is_published), "lost");
}

/// With a folder more whose looks are steps there are more states, and nothing else.
#[test]
fn folders_that_nobody_changes_make_no_difference() {
    let explore = |more: &[char]| {
        let mut yard = Yard::new();
        yard.orphan("x");
        yard.digits.extend(more);
        let programs = vec![yard.backup("x"), gc()];
        yard.explore(programs, &is_published)
    };
    let (fewer, more) = (explore(&[]), explore(&['0']));
    show(&more);
    assert!(more.states > fewer.states);
    assert_eq!(more.contents, fewer.contents);
    assert!(more.outcomes.keys().eq(fewer.outcomes.keys()));
}

/// Whatever earlier runs may have left: copies of the object, a manifest that needs it, one that is to be replaced.
#[test]
fn everything_that_may_be_there_before() {
    if !everything() {
        return;
    }
    for (copies, manifest, replaced) in (0..8).flat_map(|c| (0..6).map(move |m| (c, m / 2, m % 2 == 1))) {
        let [in_place, today, long_ago] = [1, 2, 4].map(|bit| copies & bit > 0);
        if copies == 0 && manifest > 0 {
            continue;
        }
        let mut yard = Yard::new();
        for (wanted, day) in [(today, TODAY), (long_ago, LONG_AGO)] {
            if wanted {
                yard.orphan("x");
                yard.retire(&yard.object("x"), day);
            }
        }
        if in_place {
            yard.orphan("x");
        }
        if manifest > 0 {
            yard.published("2025-01", "q", "x");
            if !in_place {
                yard.delete(&yard.object("x"));
            }
        }
        if replaced {
            yard.published(WEEK, "p", "");
        }
        println!("copies {in_place} {today} {long_ago}, manifest {manifest}, replaced {replaced}");
        let programs = match manifest {
            2 => {
                yard.published("2025-02", "q", "");
                vec![yard.backup("x"), retain_and_gc("q"), gc()]
            }
            _ => vec![yard.backup("x"), gc()],
        };
        assert_sound(&yard.explore(programs, &is_published));
    }
}
