//! What `import` does with a farm, and what it leaves of it.

use super::farm::{Farm, Script, import, import_arguments, sum, told, unprivileged};
use crate::common::{Ran, Tree, Vault, assert_same_tree, inodes, is_root, skip, system};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weekvault::archive::Archive;
use weekvault::model::{Counters, Observer, RunId};
use weekvault::ops::Error;
use weekvault::ops::Run;
use weekvault::ops::backup::{BackupOptions, Labels};
use weekvault::ops::import::{ImportOptions, find};
use weekvault::store::LocalStore;

const WEEKS: [&str; 3] = ["2025-12", "2025-13", "2025-14"];

/// A source that grows, three weeks of copies of it, and the same of a second one.
struct Farmed {
    folder: tempfile::TempDir,
    farm: Farm,
}

impl Farmed {
    fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let farm = Farm::new(folder.path().join("backup"));
        let place = Self { folder, farm };
        let mut before = None;
        for (number, week) in WEEKS.into_iter().enumerate() {
            for pvc in ["enigma", "html"] {
                let seed = (number + 10 * pvc.len()) as u8;
                place.write(&format!("{pvc}/docs/from {week}"), &noise(seed, 3_000));
                place.write(&format!("{pvc}/{number}.php"), &noise(seed + 100, 5_000));
                place.farm.sync(script, before, week, pvc, &place.path(pvc));
            }
            before = Some(week);
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A store beside the farm.
    fn vault(&self) -> Vault {
        Vault::new(self.path("vault"))
    }

    #[track_caller]
    fn refused(&self, more: &[&str]) -> Ran {
        self.vault().run(import_arguments(&self.farm, more))
    }
}

fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes
}

/// `week/pvc` of all copies, and a state.
fn all(state: &str) -> Vec<(String, Value)> {
    let weeks = WEEKS.into_iter().flat_map(|week| ["enigma", "html"].map(|pvc| format!("{week}/{pvc}")));
    weeks.map(|name| (name, json!(state))).collect()
}

fn states(report: &Value) -> Vec<(String, Value)> {
    told(report, "state").into_iter().map(|(name, state)| (name, state.clone())).collect()
}

#[test]
fn copies_become_manifests_and_stay_as_they_are() {
    let place = Farmed::new(Script::Mended);
    let before = inodes(&place.farm.0);
    let report = import(&place.vault(), &place.farm, &[]);
    assert_eq!(states(&report), all("imported"));
    assert_eq!(inodes(&place.farm.0), before, "not even a time of the copies has changed");
    for week in WEEKS {
        let again = place.path("again").join(week);
        place.vault().materialize(week, "html", &again).expect(0);
        assert_same_tree(&Tree::of(&place.farm.tree(week, "html")), &again);
    }
    place.vault().verify();
}

#[test]
fn a_store_among_its_copies_is_a_store_like_any() {
    let place = Farmed::new(Script::Mended);
    let vault = Vault::new(&place.farm.0);
    let copies = || WEEKS.map(|week| inodes(&place.farm.tree(week, "html")));
    let before = copies();
    import(&vault, &place.farm, &[]);
    // Its own names are no surprise to a second import.
    let report = import(&vault, &place.farm, &[]);
    assert_eq!((states(&report), &report["passed_over"]), (all("kept"), &json!([])));
    let live = place.path("html");
    vault.backup("2025-15", &[("html", &live)]);
    let listed = vault.run(["list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 7);
    assert_eq!(vault.verify()["manifests"], json!(7));
    let retired = vault.run(["retain", "--keep", "2", "--json"]).expect(0).json();
    assert_eq!(retired["retired"].as_array().unwrap().len(), 3, "{retired}");
    vault.run(["gc"]).expect(0);
    vault.run(["undelete", "--week", WEEKS[0], "--pvc", "html"]).expect(0);
    vault.verify();
    assert_eq!(copies(), before, "neither retention nor gc touches a copy");
}

#[test]
fn a_backup_after_the_import_stores_nothing_that_the_copies_had() {
    for script in [Script::Mended, Script::Deployed] {
        let place = Farmed::new(script);
        let report = import(&place.vault(), &place.farm, &[]);
        let unique = sum(&report, "new_chunk_bytes");
        let content = 2 * 3 * 8_000;
        assert_eq!(unique, content, "{script:?}: each content is stored once");
        let live = [("html", place.path("html")), ("enigma", place.path("enigma"))];
        let live = live.each_ref().map(|(pvc, path)| (*pvc, path.as_path()));
        for source in place.vault().backup("2025-15", &live) {
            assert_eq!(source["new_objects"], 0, "{source}");
            assert_eq!((&source["changed"], &source["new"]), (&json!(0), &json!(0)), "{source}");
        }
    }
}

#[test]
fn an_import_goes_on_where_it_was() {
    let place = Farmed::new(Script::Mended);
    let report = import(&place.vault(), &place.farm, &["--week", WEEKS[0], "--pvc", "html"]);
    assert_eq!(states(&report), [(format!("{}/html", WEEKS[0]), json!("imported"))]);
    let manifest = place.path("vault").join(WEEKS[0]).join("html.manifest");
    let kept = fs::read(&manifest).unwrap();
    let mut expected = all("imported");
    expected[1].1 = json!("kept");
    assert_eq!(states(&import(&place.vault(), &place.farm, &[])), expected);
    assert_eq!(fs::read(&manifest).unwrap(), kept);
}

#[test]
fn a_damaged_manifest_does_not_keep_its_week_from_being_imported() {
    let place = Farmed::new(Script::Mended);
    import(&place.vault(), &place.farm, &[]);
    let manifest = place.path("vault").join(WEEKS[1]).join("html.manifest");
    fs::File::options().write(true).open(&manifest).unwrap().set_len(100).unwrap();
    let mut expected = all("kept");
    expected[3].1 = json!("imported");
    assert_eq!(states(&import(&place.vault(), &place.farm, &[])), expected);
    place.vault().verify();
}

#[test]
fn a_store_is_not_made_where_its_folders_are_somebody_elses() {
    for theirs in ["tmp/dump.sql", "trash/2020-01-01/old/file", "objects/file"] {
        let place = Farmed::new(Script::Mended);
        let farm = place.farm.0.strip_prefix(place.folder.path()).unwrap().to_str().unwrap().to_owned();
        place.write(&format!("{farm}/{theirs}"), b"precious");
        let vault = Vault::new(&place.farm.0);
        let first: PathBuf = Path::new(theirs).components().take(2).collect();
        for more in [&["--dry-run"][..], &[]] {
            vault.run(import_arguments(&place.farm, more)).expect(1).says(first.to_str().unwrap());
        }
        vault.run(crate::common::backup_arguments("2025-15", &[("html", &place.path("html"))])).expect(1);
        assert_eq!(fs::read(place.farm.0.join(theirs)).unwrap(), b"precious");
        assert!(!place.farm.0.join("store.json").exists());
    }
}

/// Asks to stop once so many copies have been begun.
struct StopAt {
    counters: Counters,
    begun: AtomicUsize,
    at: usize,
}

impl Observer for StopAt {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn phase(&self, what: &str, _: Option<u64>) {
        self.begun.fetch_add(usize::from(what.starts_with("importing")), Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.begun.load(Ordering::Relaxed) >= self.at
    }
}

#[test]
fn an_import_that_is_stopped_leaves_whole_weeks_and_goes_on() {
    let place = Farmed::new(Script::Mended);
    let vault = Vault::with_small_chunks(place.path("vault"));
    let archive = Archive::open(Arc::new(LocalStore::new(vault.store.clone(), RunId(1)))).unwrap();
    let options = ImportOptions {
        farm: place.farm.0.clone(),
        future: false,
        weeks: Vec::new(),
        pvcs: Vec::new(),
        sources: Vec::new(),
        backup: BackupOptions::default(),
        labels: Labels::of("2025-15".parse().unwrap()),
    };
    let observer = StopAt { counters: Counters::default(), begun: AtomicUsize::new(0), at: 3 };
    let found = find(&vault.store, &options).unwrap();
    let stopped = weekvault::ops::import::import(Run::new(&archive, &observer), found, &options);
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
    vault.verify();
    let mut expected = all("imported");
    expected[..2].iter_mut().for_each(|(_, state)| *state = json!("kept"));
    assert_eq!(states(&import(&vault, &place.farm, &[])), expected);
    vault.verify();
}

#[test]
fn a_dry_run_tells_what_there_is_and_writes_nothing() {
    let place = Farmed::new(Script::Mended);
    let report = import(&place.vault(), &place.farm, &["--dry-run"]);
    assert!(!place.path("vault").exists());
    assert_eq!(states(&report), all("to import"));
    let per_week = told(&report, "to_read_bytes").into_iter().filter(|(name, _)| name.ends_with("html"));
    assert_eq!(per_week.map(|(_, n)| n.clone()).collect::<Vec<_>>(), [8_000, 8_000, 8_000]);
    assert_eq!(sum(&report, "bytes"), 2 * (1 + 2 + 3) * 8_000);
    import(&place.vault(), &place.farm, &["--week", WEEKS[0]]);
    let report = import(&place.vault(), &place.farm, &["--dry-run"]);
    assert_eq!(states(&report).iter().filter(|(_, state)| state == "kept").count(), 2);
    // What the run itself would be refused.
    place.write("backup/notes.txt", b"x");
    let vault = Vault::new(&place.farm.0);
    for more in [["--dry-run"].as_slice(), &[]] {
        let ran = vault.run(import_arguments(&place.farm, more)).expect(1);
        ran.says("notes.txt").says("move that elsewhere");
    }
}

#[test]
fn what_is_no_copy_is_told_and_passed_over() {
    let place = Farmed::new(Script::Mended);
    symlink(WEEKS[2], place.farm.0.join("latest")).unwrap();
    symlink("html", place.farm.0.join(WEEKS[2]).join("www")).unwrap();
    place.write("backup/2025-13/rsync.log", b"x");
    place.write("backup/2025-13/.html.old/file", b"x");
    place.write("backup/2025-W14/html/file", b"x");
    let ran = place.vault().run(import_arguments(&place.farm, &["--source", "engima=/src/enigma"])).expect(0);
    let passed: Vec<_> =
        ran.json()["passed_over"].as_array().unwrap().iter().map(|p| p["path"].clone()).collect();
    assert_eq!(passed, ["2025-13/.html.old", "2025-13/rsync.log", "2025-14/www", "2025-W14", "latest"]);
    assert_eq!(states(&ran.json()), all("imported"));
    let told =
        ["rsync.log is passed over: it is no folder", "latest is passed over: its name is no week", "engima"];
    told.into_iter().fold(ran, |ran, text| ran.says(text));
}

#[test]
fn where_there_is_nothing_to_import_the_way_out_is_told() {
    let place = Farmed::new(Script::Mended);
    place
        .refused(&["--week", "2025-20"])
        .expect(1)
        .says("it has weeks 2025-12, 2025-13, 2025-14 of enigma, html");
    place.refused(&["--pvc", "htlm"]).expect(1).says("of enigma, html");
    let of_a_week = Farm(place.farm.0.join(WEEKS[0]));
    place
        .vault()
        .run(import_arguments(&of_a_week, &[]))
        .expect(1)
        .says("the folder that has the weeks' folders");
    let nowhere = Farm(place.path("nowhere"));
    place.vault().run(import_arguments(&nowhere, &[])).expect(1).says("nowhere").says("No such file");
    assert!(!place.path("vault").exists(), "nothing was made for it");
}

#[test]
fn a_restore_goes_where_the_source_was_or_asks() {
    let place = Farmed::new(Script::Mended);
    let source = format!("html={}", place.path("html").display());
    import(&place.vault(), &place.farm, &["--source", &source]);
    fs::remove_dir_all(place.path("html")).unwrap();
    place.vault().run(["restore", "--week", WEEKS[2], "--pvc", "html"]).expect(0);
    assert_same_tree(&Tree::of(&place.farm.tree(WEEKS[2], "html")), &place.path("html"));
    let before = inodes(&place.farm.0);
    place
        .vault()
        .run(["restore", "--week", WEEKS[2], "--pvc", "enigma", "--delete"])
        .expect(2)
        .says("give --target");
    assert_eq!(inodes(&place.farm.0), before);
}

#[test]
fn an_empty_copy_is_not_taken_for_a_week() {
    let place = Farmed::new(Script::Mended);
    let emptied = place.farm.tree(WEEKS[1], "html");
    fs::remove_dir_all(&emptied).unwrap();
    fs::create_dir(&emptied).unwrap();
    let ran = place.refused(&[]).expect(1).says("2025-13").says("is empty").says("--allow-empty");
    let mut expected = all("imported");
    expected[3].1 = json!("failed");
    assert_eq!(states(&ran.json()), expected);
    let report = import(&place.vault(), &place.farm, &["--allow-empty"]);
    assert_eq!(states(&report)[3].1, "imported");
}

#[test]
fn what_cannot_be_read_makes_a_partial_manifest_until_it_can() {
    let place = Farmed::new(Script::Mended);
    let secret = place.farm.tree(WEEKS[1], "html").join("1.php");
    fs::set_permissions(&secret, Permissions::from_mode(0o0)).unwrap();
    let run = || {
        let mut command = unprivileged(&place.vault());
        command.args(import_arguments(&place.farm, &["--week", WEEKS[1]]));
        Ran::of(command)
    };
    let ran = run().expect(3).says("1.php").says("ermission denied");
    assert_eq!(told(&ran.json(), "unreadable").iter().map(|(_, n)| n.as_u64().unwrap()).sum::<u64>(), 1);
    let week = place.path("vault").join(WEEKS[1]);
    assert!(week.join("html.partial.manifest").exists() && !week.join("html.manifest").exists());
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let states = states(&run().expect(0).json());
    assert_eq!(states.iter().map(|(_, state)| state.clone()).collect::<Vec<_>>(), ["kept", "imported"]);
    assert!(week.join("html.manifest").exists());
}

#[test]
fn a_name_that_went_does_not_make_its_file_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (source, farm) = (folder.path().join("source"), Farm::new(folder.path().join("backup")));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), noise(1, 9_000)).unwrap();
    fs::hard_link(source.join("a"), source.join("b")).unwrap();
    fs::hard_link(source.join("a"), source.join("c")).unwrap();
    farm.sync(Script::Mended, None, WEEKS[0], "pvc", &source);
    fs::remove_file(source.join("a")).unwrap();
    farm.sync(Script::Mended, Some(WEEKS[0]), WEEKS[1], "pvc", &source);
    let (first, second) = (farm.tree(WEEKS[0], "pvc"), farm.tree(WEEKS[1], "pvc"));
    // What was made within the last two seconds is read again, whatever it is.
    let vault = Vault::new(folder.path().join("vault"));
    let made = std::time::Instant::now();
    let mut report = import(&vault, &farm, &[]);
    while made.elapsed().as_secs() < 4 {
        fs::remove_dir_all(&vault.store).unwrap();
        report = import(&vault, &farm, &[]);
    }
    assert_eq!(sum(&report, "bytes_read"), 9_000, "{report}");
    for (week, copy) in [(WEEKS[0], first), (WEEKS[1], second)] {
        let again = folder.path().join(week);
        vault.materialize(week, "pvc", &again).expect(0);
        // Two names of one inode in a copy are two of one inode again.
        assert_same_tree(&Tree::of(&copy), &again);
    }
}

#[test]
fn a_mirror_without_owners_and_modes_restores_everything() {
    let place = Farmed::new(Script::Mended);
    if is_root() {
        system(Command::new("chown").args(["-hR", "33:12345"]).arg(place.path("html/docs")));
    } else {
        skip("changes of owners", "not root");
    }
    fs::set_permissions(place.path("html/0.php"), Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(place.path("html/docs"), Permissions::from_mode(0o2750)).unwrap();
    fs::hard_link(place.path("html/1.php"), place.path("html/docs/linked")).unwrap();
    let vault = place.vault();
    import(&vault, &place.farm, &[]);
    let live = place.path("html");
    vault.backup("2025-15", &[("html", &live)]);
    let mirror = place.path("mirror");
    let mut rsync = Command::new("rsync");
    rsync.args(["-rlt", "--no-perms", "--no-owner", "--no-group"]);
    system(rsync.arg(vault.store.join("")).arg(mirror.join("")));
    check_mirror(&Vault::new(mirror), &live, &place.path("restored"));
}

fn check_mirror(mirror: &Vault, live: &Path, target: &Path) {
    mirror.restore("2025-15", "html", target, &["--numeric-owner"]).expect(0);
    crate::common::assert_equal(live, target);
    mirror.verify();
}
