//! Random trees, changed at random from week to week, copied by the script, imported, and made again.

use super::farm::{Farm, Script, import, materialize_all, sum, told};
use crate::common::edits::{Edit, Thing, apply, edit};
use crate::common::{Inodes, Tree, Vault, assert_same_tree, inodes, quick_folder, rsync_says};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Sources in a run: whatever changed within two seconds of an import is read again, and one would be through too soon.
const TREES: usize = 10;
const WEEKS: [&str; 4] = ["2024-52", "2025-00", "2025-01", "2025-02"];

fn pvc(number: usize) -> String {
    format!("t{number}")
}

/// Of zeros rsync makes bytes, and in very small chunks those are a great many.
fn is_small(edit: &Edit) -> bool {
    !matches!(
        edit,
        Edit::Grow { .. }
            | Edit::Make { thing: Thing::Sparse { .. }, .. }
            | Edit::Replace { thing: Thing::Sparse { .. }, .. }
    )
}

/// Makes both farms, of trees that live through the weeks.
fn farms(folder: &Path, runner: &mut TestRunner) -> [Farm; 2] {
    let farms = ["mended", "deployed"].map(|name| Farm::new(folder.join(name)));
    for number in 0..TREES {
        let source = folder.join("sources").join(pvc(number));
        fs::create_dir_all(&source).unwrap();
        let mut before = None;
        for week in WEEKS {
            let edits = if before.is_none() { 5..40 } else { 0..8 };
            let edits = vec(edit().prop_filter("large", is_small), edits);
            for edit in edits.new_tree(runner).unwrap().current() {
                // What cannot be done in this tree is not done.
                let _ = apply(&source, &edit, false);
            }
            for (farm, script) in farms.iter().zip([Script::Mended, Script::Deployed]) {
                farm.sync(script, before, week, &pvc(number), &source);
            }
            before = Some(week);
        }
    }
    farms
}

/// Checks that the weeks below `made` are those of the farm, and linked where nothing changed.
fn check(farm: &Farm, made: &Path) {
    for number in 0..TREES {
        let pvc = pvc(number);
        let mut before: Option<(Tree, Inodes)> = None;
        for week in WEEKS {
            let (copy, again) = (farm.tree(week, &pvc), made.join(week).join(&pvc));
            let tree = Tree::of(&copy);
            assert_same_tree(&tree, &again);
            let differences = rsync_says(&copy, &again);
            assert!(differences.is_empty(), "rsync, of {}:\n{differences}", again.display());
            let found = inodes(&again);
            if let Some((earlier, old)) = &before {
                check_links(week, earlier, old, &tree, &found);
            }
            before = Some((tree, found));
        }
    }
}

/// Inodes with several names in a tree.
fn linked(tree: &Inodes) -> BTreeSet<u64> {
    let mut met = BTreeSet::new();
    tree.values().map(|inode| inode.number).filter(|number| !met.insert(*number)).collect()
}

fn check_links(week: &str, earlier: &Tree, old: &Inodes, tree: &Tree, found: &Inodes) {
    let (old_links, links) = (linked(old), linked(found));
    for (path, node) in &tree.0 {
        let Some(before) = earlier.0.get(path) else { continue };
        let (old, new) = (old[path].number, found[path].number);
        let is_folder = node.what == crate::common::What::Folder;
        // What was a further name of something else may be a file of its own now.
        let is_alone = !old_links.contains(&old) && !links.contains(&new);
        let name = String::from_utf8_lossy(path);
        if old == new {
            let same = (&node.what, node.mode, node.owner, node.mtime, &node.xattrs)
                == (&before.what, before.mode, before.owner, before.mtime, &before.xattrs);
            assert!(same && !is_folder, "{week}, {name}: one inode of {before:?} and {node:?}");
        } else if is_alone && !is_folder {
            assert_ne!(node, before, "{week}, {name}: nothing changed, and it is another inode");
        }
    }
}

#[test]
fn every_week_is_what_its_copy_was() {
    let seed = std::env::var("IMPORT_PROPERTY_SEED").ok().and_then(|value| value.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(weekvault::ops::clock::now().nanos));
    eprintln!("IMPORT_PROPERTY_SEED={seed}");
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, blake3::hash(&seed.to_le_bytes()).as_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let folder = quick_folder(2 << 30, 100_000);
    let [mended, deployed] = farms(folder.path(), &mut runner);
    let made = Instant::now();

    // Copies that share nothing but their content.
    let vault = Vault::with_small_chunks(folder.path().join("vault"));
    let report = import(&vault, &deployed, &["--allow-empty"]);
    let (copies, read) = (TREES * WEEKS.len(), sum(&report, "bytes_read"));
    assert_eq!(told(&report, "state").iter().filter(|(_, state)| *state == "imported").count(), copies);
    assert_eq!(read, sum(&report, "bytes"), "each of their inodes is read once");
    vault.verify();
    let again = folder.path().join("deployed again");
    materialize_all(&vault, &again, &["--numeric-owner"]).expect(0);
    check(&deployed, &again);

    // Linked copies, into a store in their own folder.
    let vault = Vault::with_small_chunks(&mended.0);
    let report = import(&vault, &mended, &["--allow-empty"]);
    if made.elapsed() > Duration::from_secs(4) {
        for number in 0..TREES {
            let pvc = pvc(number);
            let of_pvc = |(name, _): &&(String, _)| name.split('/').nth(1) == Some(pvc.as_str());
            let read = told(&report, "bytes_read");
            let read: u64 = read.iter().filter(of_pvc).map(|(_, n)| n.as_u64().unwrap()).sum();
            assert_eq!(read, mended.bytes_of_inodes(&WEEKS, &pvc), "{pvc}: each inode is read once");
        }
    }
    vault.verify();
    let again = folder.path().join("mended again");
    materialize_all(&vault, &again, &["--numeric-owner"]).expect(0);
    check(&mended, &again);
}
