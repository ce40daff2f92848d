//! What is given up and what is not: weeks that are partial for good, weeks that somebody names, files that cannot be moved,
//! copies that sync tools leave, pvcs whose names are nearly the same, and the whole trash at once.

use crate::common::{Ran, Vault, is_root, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user who may not read what belongs to root.
const SOMEBODY: u32 = 65_534;

/// A store, and a source whose content is another one in each week.
struct Field {
    folder: tempfile::TempDir,
    vault: Vault,
}

impl Field {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        fs::create_dir(folder.path().join("source")).unwrap();
        Self { folder, vault }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// Text that only this week has.
    fn write(&self, week: &str) {
        let text: String =
            (0..20).map(|i| blake3::hash(format!("{week} {i}").as_bytes()).to_string()).collect();
        fs::write(self.source().join("file"), text).unwrap();
    }

    fn backup(&self, week: &str, pvc: &str, more: &[&str]) -> Ran {
        self.write(week);
        let source = format!("{pvc}={}", self.source().display());
        self.run([&["backup", "--json", "--week", week, "--source", &source], more].concat().as_slice())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.vault.run(arguments)
    }

    /// The same as a user to whom modes mean something.
    fn run_as_somebody(&self, arguments: &[&str]) -> Ran {
        let inner = self.vault.command();
        if !is_root() {
            return self.run(arguments);
        }
        let mut command = Command::new("setpriv");
        command.args(["--clear-groups", &format!("--reuid={SOMEBODY}"), &format!("--regid={SOMEBODY}")]);
        command.arg(inner.get_program()).args(inner.get_args()).args(arguments);
        Ran::of(command)
    }

    fn give_to_somebody(&self) {
        for file in walkdir::WalkDir::new(self.folder.path()).into_iter().filter(|_| is_root()) {
            chown(file.unwrap().path(), Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.vault.store.join(path)
    }

    /// The names of all manifests.
    fn manifests(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.vault.store)
            .unwrap()
            .map(|week| week.unwrap())
            .filter(|week| week.file_name().as_encoded_bytes().starts_with(b"2"))
            .flat_map(|week| fs::read_dir(week.path()).unwrap().map(|file| file.unwrap().path()))
            .map(|file| file.strip_prefix(&self.vault.store).unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    fn files(&self, below: &str) -> Vec<PathBuf> {
        let walk = walkdir::WalkDir::new(self.path(below)).into_iter();
        let mut files: Vec<PathBuf> =
            walk.filter_map(Result::ok).filter(|e| e.file_type().is_file()).map(|e| e.into_path()).collect();
        files.sort();
        files
    }

    /// Makes what is in the trash old enough to be deleted.
    fn age_trash(&self) {
        let trash = self.path("trash");
        for day in fs::read_dir(&trash).unwrap() {
            fs::rename(day.unwrap().path(), trash.join("2020-01-01")).unwrap();
        }
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

// Weeks that are partial for good.

#[test]
fn what_is_partial_every_week_does_not_fill_the_store() {
    let field = Field::new();
    fs::write(field.source().join("secret"), "secret").unwrap();
    field.give_to_somebody();
    let backup = |week: &str, code: i32| {
        field.write(week);
        let source = format!("html={}", field.source().display());
        let line = ["backup", "--json", "--week", week, "--keep", "2", "--source", &source];
        field.run_as_somebody(&line).expect(code)
    };
    backup("2025-01", 0);
    backup("2025-02", 0);
    fs::set_permissions(field.source().join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    if is_root() {
        chown(field.source().join("secret"), Some(0), Some(0)).unwrap();
    }
    for week in ["2025-03", "2025-04"] {
        assert!(backup(week, 3).json()["retired"].as_array().unwrap().is_empty());
    }
    let objects = field.files("objects").len();
    for (week, gone) in [("2025-05", "2025-03"), ("2025-06", "2025-04"), ("2025-07", "2025-05")] {
        let ran = backup(week, 3).says("no week since 2025-02 is complete").says("counts the partial ones");
        assert_eq!(ran.json()["retired"], json!([format!("{gone}/html.partial.manifest")]));
        assert!(ran.json()["gc"]["retired_objects"].as_u64().unwrap() > 0, "{}", ran.stdout);
    }
    let kept = ["01/html", "02/html", "06/html.partial", "07/html.partial"];
    assert_eq!(field.manifests(), kept.map(|name| format!("2025-{name}.manifest")));
    // Each week about as much comes as goes; where chunks are cut, chance says.
    assert!(field.files("objects").len() < objects + 8, "{}", field.files("objects").len());
    field.run(&["verify"]).expect(0);
    // Once it can be read again all is as it was.
    fs::remove_file(field.source().join("secret")).unwrap();
    backup("2025-08", 0);
    let kept = ["02/html", "06/html.partial", "07/html.partial", "08/html"];
    assert_eq!(field.manifests(), kept.map(|name| format!("2025-{name}.manifest")));
}

#[test]
fn without_a_single_complete_week_partial_ones_count() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    let complete = fs::read(field.path("2025-01/html.manifest")).unwrap();
    for week in ["2025-01", "2025-02", "2025-03"] {
        fs::create_dir_all(field.path(week)).unwrap();
        fs::write(field.path(week).join("html.partial.manifest"), &complete).unwrap();
    }
    fs::remove_file(field.path("2025-01/html.manifest")).unwrap();
    let ran = field.run(&["retain", "--keep", "2", "--dry-run"]).expect(0);
    ran.says("html: no week is complete; retention counts the partial ones")
        .says("would retire 2025-01/html.partial");
    assert_eq!(field.manifests().len(), 3);
    field.run(&["retain", "--keep", "2"]).expect(0).says("retired 2025-01/html.partial.manifest");
    assert_eq!(field.manifests().len(), 2);
}

#[test]
fn many_weeks_at_once_are_told() {
    let field = Field::new();
    let weeks = ["2025-01", "2025-02", "2025-03", "2025-04", "2025-05"];
    weeks.iter().for_each(|week| drop(field.backup(week, "html", &[]).expect(0)));
    let ran = field.run(&["retain", "--keep", "4"]).expect(0);
    assert!(!ran.stderr.contains("at once"), "{}", ran.stderr);
    field
        .run(&["retain", "--keep", "1"])
        .expect(0)
        .says("html: 3 manifests are retired at once, from 2025-02 to 2025-04");
}

#[test]
fn a_past_week_that_is_replaced_is_noted() {
    let field = Field::new();
    let replaced = |ran: &Ran| ran.json()["replaced"].clone();
    assert_eq!(replaced(&field.backup("2025-01", "html", &[]).expect(0)), json!([]));
    let source = format!("html={}", field.source().display());
    let again = field.run(&["backup", "--json", "--week", "2025-01", "--source", &source]).expect(0);
    assert_eq!(replaced(&again), json!([]), "it says the same");
    fs::write(field.source().join("more"), "more").unwrap();
    let ran = field.backup("2025-01", "html", &[]).expect(0).says("week 2025-01 is past");
    assert_eq!(
        replaced(&ran.says("weekvault undelete --week 2025-01 --pvc html")),
        json!(["2025-01/html.manifest"])
    );
}

// Weeks that somebody names.

#[test]
fn forget_retires_what_is_named_and_undelete_brings_it_back() {
    let field = Field::new();
    for week in ["2025-01", "2025-02", "2025-03"] {
        field.backup(week, "html", &[]).expect(0);
    }
    let before = field.manifests();
    let ran = field.run(&["forget", "2025-02/html", "--dry-run", "--json"]).expect(0).json();
    assert_eq!((&ran["retired"], &ran["dry_run"]), (&json!(["2025-02/html.manifest"]), &json!(true)));
    let freed = ran["freed_bytes"].as_u64().unwrap();
    assert!(ran["freed_objects"].as_u64().unwrap() > 0, "{ran}");
    assert_eq!(field.manifests(), before, "a dry run");
    let stored =
        |field: &Field| field.files("objects").iter().map(|f| f.metadata().unwrap().len()).sum::<u64>();
    let manifest = field.path("2025-02/html.manifest").metadata().unwrap().len();
    let all = stored(&field);
    field.run(&["forget", "2025-02/html"]).expect(0).says("retired 2025-02/html.manifest").says("undelete");
    assert_eq!(field.manifests(), [before[0].clone(), before[2].clone()]);
    assert!(!field.path("2025-02").exists());
    field.run(&["gc"]).expect(0);
    assert_eq!(all - stored(&field) + manifest, freed, "the dry run said so");
    field.run(&["undelete", "--week", "2025-02", "--pvc", "html"]).expect(0);
    assert_eq!(field.manifests(), before);
    field.run(&["verify"]).expect(0);
    // By name of a week, and whole pvcs.
    field.run(&["forget", "latest/html"]).expect(0).says("retired 2025-03/html.manifest");
    field.backup("2025-03", "log", &[]).expect(0);
    field.run(&["forget", "--pvc", "html"]).expect(0).says("2025-01/html").says("2025-02/html");
    assert_eq!(field.manifests(), ["2025-03/log.manifest"]);
}

#[test]
fn forget_does_nothing_unless_all_is_named_well() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    let refused = |line: &[&str], code: i32, why: &str| {
        field.run(&[&["forget"], line].concat()).expect(code).says(why);
        assert_eq!(field.manifests(), ["2025-01/html.manifest"]);
    };
    refused(&["2025-01/html", "2025-02/html"], 1, "2025-02");
    refused(&["2025-01/log"], 1, "it has: html");
    refused(&["2025-01"], 2, "WEEK/PVC");
    refused(&["2025-01/html:file"], 2, "not single paths");
    refused(&["2025-01/html", "--pvc", "log"], 2, "is not of the pvc");
    refused(&[], 2, "name what is to be forgotten");
    refused(&["--pvc", "log"], 1, "no manifest for pvc");
    // A variable that other commands need is no order to give up a pvc.
    let mut command = field.vault.command();
    command.arg("forget").env("WEEKVAULT_PVC", "html");
    Ran::of(command).expect(2).says("on the command line");
    assert_eq!(field.manifests(), ["2025-01/html.manifest"]);
}

#[test]
fn a_damaged_manifest_stops_gc_until_it_is_forgotten() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    field.backup("2025-02", "html", &[]).expect(0);
    let path = field.path("2025-01/html.manifest");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    field.run(&["gc"]).expect(1).says("nothing is given up").says("weekvault forget");
    field.run(&["forget", "2025-01/html", "--dry-run"]).expect(0).says("cannot be told");
    field.run(&["forget", "2025-01/html"]).expect(0);
    field.run(&["gc"]).expect(0);
}

// What cannot be moved.

/// Whether files here can be made immutable; makes one so, or no longer.
fn immutable(path: &Path, yes: bool) -> bool {
    let status = Command::new("chattr").arg(if yes { "+i" } else { "-i" }).arg(path).output();
    status.is_ok_and(|output| output.status.success())
}

#[test]
fn a_store_on_two_file_systems_is_told_of() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    field.backup("2025-02", "html", &[]).expect(0);
    field.run(&["forget", "2025-01/html"]).expect(0);
    // As if `objects` were a mount point.
    let traced = |arguments: &[&str]| {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat,renameat2:error=EXDEV"]);
        let inner = field.vault.command();
        Ran::of({
            traced.arg(inner.get_program()).args(inner.get_args()).args(arguments);
            traced
        })
    };
    let told = "on another file system than the rest of the store";
    traced(&["gc"]).expect(1).says(told).says("the rest goes on");
    field.write("2025-03");
    let source = format!("html={}", field.source().display());
    traced(&["backup", "--week", "2025-03", "--source", &source]).expect(1).says(told);
}

#[test]
fn what_cannot_be_moved_is_told_and_the_rest_goes_on() {
    // In memory files have no such flag on older kernels; a test's own folder may be anywhere.
    let field = Field::new();
    for week in ["2025-01", "2025-02", "2025-03"] {
        field.backup(week, "html", &["--no-retention"]).expect(0);
    }
    let (manifest, object) = (field.path("2025-01/html.manifest"), field.files("objects").remove(0));
    if !immutable(&manifest, true) {
        return skip("files that cannot be moved", "they cannot be made immutable here");
    }
    assert!(immutable(&object, true));
    let ran = field.backup("2025-04", "html", &["--keep", "1"]);
    let retained = field.run(&["retain", "--keep", "1"]);
    assert!(immutable(&manifest, false));
    let again = field.run(&["retain", "--keep", "1"]);
    let gc = field.run(&["gc", "--json"]);
    let emptied = field.run(&["gc", "--empty-trash", "--json"]);
    assert!(immutable(&object, false));
    let ran = ran.expect(1).says("the backup is published").says("2025-01/html.manifest cannot be moved");
    let report: Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(strings(&report["retired"]), ["2025-02/html.manifest", "2025-03/html.manifest"]);
    retained.expect(1).says("1 of the store's files could not be moved");
    again.expect(0).says("retired 2025-01/html.manifest");
    let stuck = |ran: &Ran| ran.json()["stuck_files"].as_u64().unwrap();
    for ran in [gc, emptied] {
        assert!(stuck(&ran) <= 1, "{}", ran.stdout);
        let code = i32::from(stuck(&ran) > 0);
        let ran = ran.expect(code);
        assert!(code == 0 || ran.stderr.contains("could not be moved or deleted"), "{}", ran.stderr);
    }
    assert!(field.files("trash").is_empty(), "{:?}", field.files("trash"));
    field.run(&["gc", "--empty-trash"]).expect(0);
    field.run(&["verify"]).expect(0);
}

#[test]
fn a_read_only_store_is_not_said_to_have_changed() {
    if !is_root() {
        return skip("a store that may not be written", "only root gives files to others");
    }
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    field.backup("2025-02", "html", &[]).expect(0);
    field.run(&["forget", "2025-01/html"]).expect(0);
    for file in walkdir::WalkDir::new(&field.vault.store) {
        let path = file.unwrap().into_path();
        fs::set_permissions(&path, fs::Permissions::from_mode(if path.is_dir() { 0o755 } else { 0o644 }))
            .unwrap();
    }
    let ran = field.run_as_somebody(&["undelete", "--week", "2025-01", "--pvc", "html"]).expect(1);
    assert!(!ran.stderr.contains("may be published"), "{}", ran.stderr);
    ran.says("Permission denied");
}

// The whole trash at once.

#[test]
fn the_whole_trash_can_be_emptied_now() {
    let field = Field::new();
    for week in ["2025-01", "2025-02", "2025-03"] {
        field.backup(week, "html", &["--no-retention"]).expect(0);
    }
    field.run(&["forget", "2025-01/html"]).expect(0);
    field.run(&["gc"]).expect(0);
    field.run(&["forget", "2025-02/html"]).expect(0);
    field.run(&["gc", "--trash-days", "0"]).expect(0);
    let (trash, objects) = (field.files("trash").len() as u64, field.files("objects").len());
    assert!(trash > 2, "what was retired today stays");
    field.write("2025-02");
    let said = field.run(&["gc", "--empty-trash", "--dry-run", "--json"]).expect(0).json();
    assert_eq!(said["deleted_files"], trash);
    assert_eq!(field.files("trash").len() as u64, trash);
    let done = field.run(&["gc", "--empty-trash", "--json"]).expect(0).json();
    assert_eq!(done["deleted_files"], trash);
    assert!(field.files("trash").is_empty());
    assert_eq!(field.files("objects").len(), objects);
    field.run(&["verify"]).expect(0);
    // What nothing needs any more goes in the same run.
    field.backup("2025-04", "html", &["--no-retention"]).expect(0);
    field.run(&["forget", "2025-03/html"]).expect(0);
    let said = field.run(&["gc", "--empty-trash", "--dry-run", "--json"]).expect(0).json();
    let done = field.run(&["gc", "--empty-trash", "--json"]).expect(0).json();
    assert_eq!(said["deleted_files"], done["deleted_files"]);
    assert!(field.files("trash").is_empty() && field.files("objects").len() == objects);
    field.run(&["verify"]).expect(0);
}

#[test]
fn the_trash_is_not_emptied_beside_another_run() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    field.backup("2025-02", "html", &[]).expect(0);
    field.run(&["forget", "2025-01/html"]).expect(0);
    let trash = field.files("trash");
    let lock = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(field.path("lock"))
        .unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    field.run(&["gc", "--empty-trash"]).expect(1).says("another run is at work");
    assert_eq!(field.files("trash"), trash);
}

// Copies that sync tools leave.

#[test]
fn foreign_copies_are_told_and_what_they_need_is_kept() {
    const SYNCTHING: &str = "2025-02/html.sync-conflict-20261020-101500-ABCDEF1.manifest";
    const SYNOLOGY: &str = "2025-02/html_DiskStation_Oct-20-1015-2026_Conflict.manifest";
    const WINDOWS: &str = "2025-02/html (1).manifest";
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    field.backup("2025-02", "html", &[]).expect(0);
    let copy = |from: &str, to: &str| fs::copy(field.path(from), field.path(to)).unwrap();
    for name in [SYNCTHING, SYNOLOGY, WINDOWS] {
        copy("2025-01/html.manifest", name);
    }
    fs::write(field.path("2025-02/html-conflict-2.manifest"), "half of one").unwrap();
    let report = field.run(&["verify", "--json"]).expect(0).json();
    let foreign: Vec<(&str, &Value)> = report["foreign"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["path"].as_str().unwrap(), &f["copy_of"]))
        .collect();
    assert_eq!(foreign.len(), 4, "{report}");
    for name in [SYNCTHING, SYNOLOGY, WINDOWS] {
        assert!(foreign.contains(&(name, &json!("2025-01/html.manifest"))), "{report}");
    }
    assert_eq!(report["damaged_manifests"], json!([]));
    field
        .run(&["verify"])
        .expect(0)
        .says("foreign copy of 2025-01/html.manifest")
        .says("move it out of the store");
    let listed = field.run(&["list"]).expect(0).says("FOREIGN");
    assert!(!listed.stdout.contains("DAMAGED"), "{}", listed.stdout);
    // Never used.
    let pvc = "html.sync-conflict-20261020-101500-ABCDEF1";
    field
        .run(&["cat", "--week", "2025-02", "--pvc", pvc, "file"])
        .expect(1)
        .says("it is that of 2025-01/html");
    // The last that names its objects: none of them goes, neither to the trash nor from it.
    let objects = field.files("objects");
    field.run(&["forget", "2025-01/html"]).expect(0);
    let ran = field.run(&["gc", "--json"]).expect(0).says(SYNCTHING).says("html (1).manifest");
    assert_eq!(ran.json()["retired_objects"], 0, "{}", ran.stdout);
    assert_eq!(field.files("objects"), objects);
    // A copy alone brings the week back.
    field.age_trash();
    field.run(&["gc"]).expect(0);
    fs::create_dir_all(field.path("2025-01")).unwrap();
    fs::rename(field.path(SYNOLOGY), field.path("2025-01/html.manifest")).unwrap();
    fs::remove_file(field.path(SYNCTHING)).unwrap();
    fs::remove_file(field.path(WINDOWS)).unwrap();
    fs::remove_file(field.path("2025-02/html-conflict-2.manifest")).unwrap();
    let report = field.run(&["verify", "--json"]).expect(0).json();
    assert_eq!((&report["foreign"], &report["unreferenced_objects"]), (&json!([]), &json!(0)));
    field.run(&["cat", "--week", "2025-01", "--pvc", "html", "file"]).expect(0);
}

#[test]
fn what_several_parts_of_a_run_meet_is_told_once() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    fs::copy(field.path("2025-01/html.manifest"), field.path("2025-01/html (1).manifest")).unwrap();
    let ran = field.backup("2025-02", "html", &[]).expect(0);
    assert_eq!(ran.stderr.matches("is a foreign copy").count(), 1, "{}", ran.stderr);
}

#[test]
fn what_took_a_manifests_place_is_no_foreign_copy() {
    let field = Field::new();
    for (week, pvc) in [("2025-01", "html"), ("2025-02", "html"), ("2025-01", "log"), ("2025-02", "log")] {
        field.backup(week, pvc, &[]).expect(0);
    }
    // Of a pvc that has others, and of another week: what the file needed that stood there cannot be told.
    for (from, to) in [("2025-01/html", "2025-01/log"), ("2025-01/html", "2025-02/html")] {
        let (from, to) = (field.path(&format!("{from}.manifest")), field.path(&format!("{to}.manifest")));
        let old = fs::read(&to).unwrap();
        fs::copy(&from, &to).unwrap();
        field.run(&["gc"]).expect(1).says("it is that of 2025-01/html").says("nothing is given up");
        field.run(&["verify"]).expect(4);
        fs::write(&to, old).unwrap();
    }
    // A pvc may have such a name; damaged, it is a manifest like any other.
    field.backup("2025-01", "conflict-db", &[]).expect(0);
    fs::write(field.path("2025-01/conflict-db.manifest"), "damaged").unwrap();
    field.run(&["gc"]).expect(1).says("nothing is given up");
}

// Names that storage may take for one.

#[test]
fn a_new_pvc_that_differs_only_in_case_is_refused() {
    let field = Field::new();
    field.backup("2025-01", "html", &[]).expect(0);
    for new in ["Html", "HTML", "html.PARTIAL"] {
        let ran = field.backup("2025-02", new, &[]).expect(1);
        ran.says(&format!("\"{new}\" differs from \"html\" only in case")).says("nothing was published");
        field.backup("2025-02", new, &["--dry-run"]).expect(1);
    }
    // In the same command, and where the other one is in the trash alone.
    let source = field.source();
    let [one, two] = ["log", "Log"].map(|pvc| format!("{pvc}={}", source.display()));
    field
        .run(&["backup", "--week", "2025-02", "--source", &one, "--source", &two])
        .expect(1)
        .says("only in case");
    field.backup("2025-02", "log", &[]).expect(0);
    field.run(&["forget", "--pvc", "html"]).expect(0);
    field.backup("2025-02", "Html", &[]).expect(1).says("differs from \"html\" only in case");
    assert_eq!(field.manifests(), ["2025-02/log.manifest"]);
    field.run(&["undelete", "--week", "2025-01", "--pvc", "html"]).expect(0);
}

#[test]
fn pvcs_that_differ_only_in_case_are_warned_of() {
    let field = Field::new();
    field.backup("2025-01", "log", &[]).expect(0);
    // As an older version has made them.
    let other = Field::new();
    other.backup("2025-01", "Log", &[]).expect(0);
    fs::copy(other.path("2025-01/Log.manifest"), field.path("2025-01/Log.manifest")).unwrap();
    field.run(&["verify"]).expect(0).says("\"Log\" and \"log\" differ only in case");
    assert_eq!(field.run(&["verify", "--json"]).expect(0).json()["alike_pvcs"], json!([["Log", "log"]]));
    field.backup("2025-02", "log", &[]).expect(0).says("differ only in case");
}
