//! Making a store: only where one was meant, never without a word.

use crate::common::{Ran, Vault};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder with a source, a cache, and whatever stores a test makes; it is the working directory.
/// A working directory with a source and a farm, and no store.
struct Bare(TempDir);

impl Bare {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for folder in ["src", "farm/2025-13/s"] {
            fs::create_dir_all(place.path(folder)).unwrap();
        }
        fs::write(place.path("src/file"), "content").unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, store: &str) -> Command {
        // Only its environment is wanted: that of tests says which cache and store.
        let clean = Vault::new("/nowhere").command();
        let mut command = Command::new(clean.get_program());
        for (name, _) in clean.get_envs() {
            command.env_remove(name);
        }
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command.arg("--cache-dir").arg(self.path("cache")).arg("--store").arg(store);
        command
    }

    fn run(&self, store: &str, line: &str) -> Ran {
        let mut command = self.command(store);
        command.args(line.split_whitespace());
        Ran::of(command)
    }

    fn names(&self) -> Vec<String> {
        let name = |e: std::io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = fs::read_dir(self.0.path()).unwrap().map(name).collect();
        names.sort();
        names
    }
}

const BACKUP: &str = "backup --json --week 2025-14 --source s=src";

fn id(store: &Path) -> String {
    let config = fs::read(store.join("store.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_looks_remote_or_unexpanded_makes_no_directory() {
    let place = Bare::new();
    for (store, way_out) in [
        ("user@nas:/volume1/backup", "mounted"),
        ("nas:backup", "mounted"),
        ("s3:bucket", "./s3:bucket"),
        ("sftp:user@host:/srv/repo", "mounted"),
        ("rest:http://host:8000/", "mounted"),
        ("file:///srv/vault", "give a directory"),
        ("~/vault", "./~/vault"),
        ("$HOME/vault", "./$HOME/vault"),
        ("vault\n", "line break"),
        (" vault", "blank"),
    ] {
        for line in [BACKUP, "init", "list", "import --rsync-root farm"] {
            place.run(store, line).expect(2).says("--store").says(way_out);
        }
        assert_eq!(place.names(), ["farm", "src"], "{store:?}");
    }
    let mut command = place.command("x");
    command.args(["--store", "./s3:bucket"]).args(BACKUP.split(' '));
    // The last one counts, and a directory of that name can be meant.
    assert_eq!(Ran::of(command).code, Some(2), "given twice");
    place.run("./s3:bucket", BACKUP).expect(0);
    assert!(place.path("s3:bucket/store.json").is_file());
    // What needs no store minds nothing.
    place.run("~/vault", "completions bash").expect(0);
    place.run("vault", "list --cache-dir ~/cache").expect(1);
    place.run("./s3:bucket", "list --cache-dir ~/cache").expect(2);
}

#[test]
fn a_store_is_made_once_and_that_is_told() {
    let place = Bare::new();
    let document = place.run("vault", "init --json").expect(0).json();
    let made = id(&place.path("vault"));
    assert_eq!(document["id"], made.as_str());
    assert!(document["store"].as_str().unwrap().ends_with("/vault") && document["created"].is_string());
    let again = place.run("vault", "init").expect(1).says("there is a store at").says(&made);
    assert!(again.stdout.is_empty());
    assert_eq!(id(&place.path("vault")), made);
    let ran = place.run("vault", BACKUP).expect(0);
    assert!(ran.json()["created_store"].is_null() && ran.stderr.is_empty(), "{}", ran.stderr);
    // A backup makes one too, and says so, even where notes are not wanted: there in JSON.
    let ran = place.run("other", BACKUP).expect(0).says("note: there was no store at");
    assert_eq!(ran.json()["created_store"], id(&place.path("other")).as_str());
    let ran = place.run("quiet", &format!("{BACKUP} -q")).expect(0);
    assert_eq!(
        (ran.json()["created_store"].as_str().unwrap(), ""),
        (&*id(&place.path("quiet")), &*ran.stderr)
    );
    let dry = place.run("dry", &format!("{BACKUP} --dry-run")).expect(0).says("one would be made");
    assert!(dry.json()["created_store"].is_null() && !place.path("dry").exists());
}

#[test]
fn only_the_last_directory_is_made() {
    let place = Bare::new();
    for line in [BACKUP, "init", &format!("{BACKUP} --dry-run")] {
        place.run("mnt/share/vault", line).expect(1).says("mnt/share does not exist; is its share mounted?");
        assert!(!place.path("mnt").exists());
    }
    symlink("gone/vault", place.path("link")).unwrap();
    fs::write(place.path("file"), "x").unwrap();
    for line in [BACKUP, "init"] {
        place.run("link", line).expect(1).says("is a symbolic link to gone/vault, which does not exist");
        assert_eq!(place.run("file", line).code, Some(1));
        place.run("file/vault", line).expect(1).says("file");
    }
    fs::create_dir_all(place.path("mnt/share")).unwrap();
    place.run("mnt/share/vault", "init").expect(0);
    // In a directory that holds something else there is none.
    place.run("src", "init").expect(1).says("is no weekvault store, and it is not empty");
}

#[test]
fn a_job_that_has_a_store_makes_no_other() {
    let place = Bare::new();
    let existing = format!("{BACKUP} --existing");
    for line in [&*existing, "import --existing --rsync-root farm", &format!("{existing} --dry-run")] {
        place.run("vault", line).expect(1).says("--existing makes none").says("weekvault init");
        assert_eq!(place.names(), ["farm", "src"]);
    }
    // A mount point without its share is an empty directory.
    fs::create_dir(place.path("vault")).unwrap();
    let mut command = place.command("vault");
    command.args(BACKUP.split(' ')).env("WEEKVAULT_EXISTING", "1");
    Ran::of(command).expect(1).says("is its share mounted?");
    assert_eq!(fs::read_dir(place.path("vault")).unwrap().count(), 0);
    place.run("vault", "init").expect(0);
    place.run("vault", &existing).expect(0);
}

#[test]
fn a_store_with_another_id_is_refused_by_all_commands() {
    let place = Bare::new();
    let (right, wrong) =
        ("--store-id 00112233445566778899aabbccddeeff", "--store-id 00000000000000000000000000000000");
    place.run("vault", &format!("{BACKUP} {right}")).expect(1).says("no store at").says("00112233");
    assert_eq!(place.names(), ["farm", "src"]);
    place.run("vault", &format!("init {right}")).expect(2);
    let vault = Vault::with_small_chunks(place.path("vault"));
    place.run("vault", &format!("{BACKUP} {right}")).expect(0);
    for line in [
        BACKUP,
        "list",
        "ls --week latest --pvc s",
        "cat --week latest --pvc s file",
        "verify",
        "gc",
        "retain --keep 1",
        "restore --week latest --pvc s --target out",
        "materialize --all out",
        "undelete --week 2025-14 --pvc s",
        "import --rsync-root farm",
    ] {
        let ran = place.run("vault", &format!("{line} {wrong}")).expect(1);
        ran.says("has the id 00112233445566778899aabbccddeeff, not 00000000000000000000000000000000");
    }
    assert!(!place.path("out").exists());
    let mut command = place.command("vault");
    command.arg("list").env("WEEKVAULT_STORE_ID", "other");
    Ran::of(command).expect(1);
    place.run("vault", &format!("list {right}")).expect(0);
    // One that has lost its description can be read, but not told.
    fs::remove_file(vault.store.join("store.json")).unwrap();
    place.run("vault", &format!("list {right}")).expect(1).says("cannot be told");
    place.run("vault", "list").expect(0);
}

#[test]
fn where_another_store_was_a_new_one_is_warned_of() {
    let place = Bare::new();
    place.run("vault", BACKUP).expect(0);
    let before = id(&place.path("vault"));
    // The share is not mounted any more.
    fs::rename(place.path("vault"), place.path("share")).unwrap();
    fs::create_dir(place.path("vault")).unwrap();
    let ran = place.run("vault", &format!("{BACKUP} -q")).expect(0).says(&before).says("is not mounted");
    assert!(ran.stderr.starts_with("warning: "), "{}", ran.stderr);
    let after = id(&place.path("vault"));
    assert_ne!(before, after);
    // It is what is there from now on; and without a cache nobody knows.
    assert_eq!(place.run("vault", BACKUP).expect(0).stderr, "");
    fs::remove_dir_all(place.path("vault")).unwrap();
    let mut command = place.command("vault");
    command.arg("--no-cache").args(BACKUP.split(' ').map(OsStr::new));
    let ran = Ran::of(command).expect(0);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn a_store_has_the_chunk_size_that_it_was_made_with() {
    let place = Bare::new();
    let content: Vec<u8> =
        (0..3_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(place.path("src/large"), content).unwrap();
    let objects = |store: &str| {
        let folders = fs::read_dir(place.path(store).join("objects")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let mut counts = Vec::new();
    for (size, bytes) in [("64K", 64 << 10), ("1M", 1 << 20), ("4194304", 4 << 20)] {
        let made = place.run(size, &format!("init --json --chunk-size {size}")).expect(0).json();
        assert_eq!(made["chunk_size"], bytes, "{size}");
        place.run(size, BACKUP).expect(0);
        place.run(size, "verify").expect(0);
        counts.push(objects(size));
    }
    assert!(counts.is_sorted_by(|more, fewer| more > fewer), "{counts:?}");
    for wrong in ["32K", "8M", "65537", "1.5M", "M", "-1"] {
        place.run("other", &format!("init --chunk-size={wrong}")).expect(2).says("64K to 4M");
    }
    assert!(!place.path("other").exists());
}
