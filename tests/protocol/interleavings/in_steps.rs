//! Storage without a rename: nothing is lost under the three rules of `weekvault::store::in_steps`, and something without
//! any one of them.

use super::explore::{Explored, Program};
use super::replay::{Broken, Check, Files, Moves, store_of};
use super::yard::{TODAY, WEEK, Yard, gc, is_published, open, retain_and_gc, run_backup, text};
use super::{assert_sound, assert_wrong, everything, nobody};
use weekvault::archive::Archive;
use weekvault::model::{ObjectId, Silent};
use weekvault::ops::Run;
use weekvault::ops::undelete::undelete;
use weekvault::store::Key;

/// All rules; tests take one away.
const RULES: Broken = Broken { copies_back: true, check: Check::Copy, own_folder: true, conditional: true };

/// What stands in a place before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Copy {
    None,
    Whole,
    Damaged,
}

/// A store in whose place for an object, and in whose trash of today, these copies of it are.
fn yard(in_place: Copy, in_trash: Copy, moves: Moves) -> Yard {
    let mut yard = Yard::new();
    yard.moves = moves;
    for (copy, is_trash) in [(in_trash, true), (in_place, false)] {
        if copy == Copy::None {
            continue;
        }
        yard.orphan("x");
        if copy == Copy::Damaged {
            yard.damage(&yard.object("x"));
        }
        if is_trash {
            yard.retire(&yard.object("x"), TODAY);
        }
    }
    yard
}

/// A backup that needs the object, and two gcs.
fn explore(in_place: Copy, in_trash: Copy, moves: Moves) -> Explored {
    let mut yard = yard(in_place, in_trash, moves);
    let programs = vec![yard.backup("x"), gc(), gc()];
    yard.explore(programs, &is_published)
}

/// A manifest comes back that needs the object: in its place that is cut short, in the trash whole.
fn explore_undelete(moves: Moves) -> Explored {
    let mut yard = yard(Copy::None, Copy::Whole, moves);
    yard.published("2025-03", "q", "x");
    let key = Key::new("2025-03/q.manifest");
    yard.retire(&key, TODAY);
    yard.cut_short(&yard.object("x"));
    let undelete = Program::new("undelete", |store| {
        let (week, pvc) = ("2025-03".parse().unwrap(), "q".parse().unwrap());
        undelete(Run::new(&open(store)?, &Silent::default()), week, &pvc).map(drop).map_err(text)
    });
    let is_back = |files: &Files| files.contains_key(&key);
    yard.explore(vec![undelete, gc(), gc()], &is_back)
}

#[test]
fn nothing_is_lost_under_all_rules() {
    assert_sound(&explore(Copy::None, Copy::Whole, Moves::InSteps));
    assert_sound(&explore(Copy::Damaged, Copy::None, Moves::InSteps));
    assert_sound(&explore_undelete(Moves::InSteps));
    if !everything() {
        return;
    }
    for in_place in [Copy::None, Copy::Whole, Copy::Damaged] {
        for in_trash in [Copy::None, Copy::Whole, Copy::Damaged] {
            println!("{in_place:?} in place, {in_trash:?} in the trash");
            assert_sound(&explore(in_place, in_trash, Moves::InSteps));
        }
    }
}

#[test]
fn a_manifest_that_is_retired_meanwhile() {
    if !everything() {
        return;
    }
    let mut yard = yard(Copy::None, Copy::None, Moves::InSteps);
    yard.published("2025-01", "q", "x");
    yard.published("2025-02", "q", "");
    let programs = vec![yard.backup("x"), retain_and_gc("q"), gc()];
    assert_sound(&yard.explore(programs, &is_published));
}

/// The first rule.
#[test]
fn what_comes_back_and_leaves_the_trash_is_lost() {
    let only = Broken { copies_back: false, ..RULES };
    assert_wrong(&explore(Copy::None, Copy::None, Moves::Without(only)), "lost");
    let unchecked = Broken { check: Check::Nothing, own_folder: false, ..only };
    assert_wrong(&explore(Copy::Whole, Copy::None, Moves::Without(unchecked)), "lost");
}

/// The second rule. Where no copy is damaged, it is not needed.
#[test]
fn what_is_deleted_without_a_look_at_its_copy_is_lost() {
    let only = Broken { check: Check::Nothing, ..RULES };
    assert_wrong(&explore(Copy::Damaged, Copy::None, Moves::Without(only)), "lost");
    let shared = Moves::Without(Broken { own_folder: false, ..only });
    assert_wrong(&explore(Copy::Damaged, Copy::None, shared), "lost");
    assert_sound(&explore(Copy::None, Copy::Whole, shared));
}

/// The third rule: a copy that is not whole takes the place of one that is. Nor does it help to compare versions.
#[test]
fn what_is_copied_over_another_run_s_trash_is_lost() {
    for check in [Check::Copy, Check::Version] {
        let shared = Moves::Without(Broken { own_folder: false, check, ..RULES });
        assert_wrong(&explore_undelete(shared), "lost");
        assert_sound(&explore(Copy::None, Copy::Whole, shared));
    }
}

/// Whether a manifest of the pvc, published or in the trash, names this object.
fn has_manifest_of(files: &Files, content: &str) -> bool {
    let archive: Archive = open(store_of(files)).unwrap();
    let published = archive.manifests().unwrap().into_iter().filter(|m| m.id.pvc.as_str() == "p");
    let published = published.map(|m| archive.open_manifest(&m.id).unwrap());
    let trashed = archive.trashed_manifests().unwrap().into_iter();
    let trashed = trashed.map(|t| archive.open_trashed(&t).unwrap());
    let id = ObjectId::of(content.as_bytes());
    published.chain(trashed).any(|manifest| manifest.objects().unwrap().iter().any(|row| row.id == id))
}

/// Two backups of one week publish: each is published or in the trash.
fn explore_manifests(moves: Moves) -> Explored {
    let mut yard = yard(Copy::None, Copy::None, moves);
    yard.published(WEEK, "p", "");
    let programs = vec![yard.backup("x"), yard.backup("y"), nobody()];
    yard.explore(programs, &|files| has_manifest_of(files, "x"))
}

#[test]
fn a_manifest_that_is_replaced_is_kept() {
    assert_sound(&explore_manifests(Moves::InSteps));
    let blind = Broken { conditional: false, ..RULES };
    assert_wrong(&explore_manifests(Moves::Without(blind)), "backup says that it is done: it is not");
}

/// A week is retired while it is backed up once more.
fn explore_retired(moves: Moves) -> Explored {
    let mut yard = yard(Copy::None, Copy::None, moves);
    yard.published("2025-18", "p", "");
    yard.published(WEEK, "p", "");
    let path = yard.source("x");
    let backup = Program::new("backup", move |store| run_backup(store, "2025-18", "p", path.clone()));
    let programs = vec![backup, retain_and_gc("p"), nobody()];
    yard.explore(programs, &|files| has_manifest_of(files, "x"))
}

#[test]
fn a_manifest_that_is_retired_is_the_one_that_was_kept() {
    assert_sound(&explore_retired(Moves::InSteps));
    let blind = Broken { conditional: false, ..RULES };
    assert_wrong(&explore_retired(Moves::Without(blind)), "backup says that it is done: it is not");
}
