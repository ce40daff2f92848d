//! The golden store that is sealed: its keys, what goes on there with them and without, and how it was made.
//!
//! `tests/golden/v2-sealed` has besides `store/` a folder `keys/`: an operator's two identities with their recipients, and the
//! files of two writers, of whom `blind.key` is blind. They are there for everybody to see: nothing else may be sealed with them.
//! The store has a week from before it was sealed, one of the first read epoch and one of the second.

use crate::common::{Ran, Vault, backup_arguments, skip};
use crate::golden::{
    CREATED, Golden, NEXT, ROOT, SCRIPT, WEEKS, WITHOUT_CAPABILITIES, back_up, change_first, change_second,
    date_trash, describe, golden_stores, plant, put, variants,
};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use weekvault::archive::{Archive, NewStore};
use weekvault::format::keys::{Identities, PaperKey, ReadFile, ReadNumber, SealedReadFile, WriterFile};
use weekvault::format::{Keys, Version};
use weekvault::model::RunId;
use weekvault::store::LocalStore;

/// The name of the golden store.
pub(super) const NAME: &str = "v2-sealed";
/// The week from before it was sealed.
const PLAIN: &str = "2025-11";
/// Whose file a run is made with that cannot read everything.
pub(super) const WRITER: &str = "WEEKVAULT_GOLDEN_WRITER";

/// The folder with the keys of a sealed store.
#[derive(Clone)]
pub(super) struct KeyFolder(PathBuf);

impl KeyFolder {
    /// The keys of a golden store, if it is sealed.
    pub(super) fn of(golden: &Path) -> Option<Self> {
        Some(golden.join("keys")).filter(|folder| folder.is_dir()).map(Self)
    }

    /// An operator's identity.
    pub(super) fn identity(&self) -> PathBuf {
        self.0.join("operator.key")
    }

    /// The file of the writer that has a pvc.
    pub(super) fn writer(&self, pvc: &str) -> PathBuf {
        self.0.join(if is_blind(pvc) { "blind.key" } else { "writer.key" })
    }

    /// Whether there is an identity in the file `name`.
    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// What an operator has for a store: the newest read file, opened.
    pub(super) fn reader(&self, store: &Path) -> Keys {
        let files = fs::read_dir(store.join("keys")).unwrap().map(|file| file.unwrap().file_name());
        let numbers = files.filter_map(|name| ReadNumber::of_file_name(name.to_str()?));
        let newest = numbers.max().unwrap().file_name();
        let sealed = SealedReadFile::from_bytes(&fs::read(store.join("keys").join(newest)).unwrap()).unwrap();
        let identities = Identities::parse(&fs::read(self.identity()).unwrap()).unwrap();
        Keys::Reader(Arc::new(ReadFile::open(&sealed, &identities).unwrap()))
    }
}

/// Whether the writer of a pvc is blind.
pub(super) fn is_blind(pvc: &str) -> bool {
    pvc == "html"
}

/// What a writer has.
pub(super) fn writer_keys(file: impl AsRef<Path>) -> Keys {
    Keys::Writer(Arc::new(WriterFile::decode(&fs::read(file).unwrap()).unwrap()))
}

/// The sealed golden store; none in a package of the crate, which has not got it.
fn sealed() -> Option<Golden> {
    golden_stores().into_iter().find(|golden| golden.name == NAME)
}

/// Backs up into a sealed store, as whoever writes each of the pvcs; the sources' part of the reports.
pub(super) fn back_up_sealed(
    vault: &Vault,
    keys: &KeyFolder,
    week: &str,
    sources: &[(&str, &Path)],
) -> Vec<Value> {
    let report = |source: &(&str, &Path)| {
        let mut command = vault.command();
        command.args(backup_arguments(week, &[*source])).arg("--writer-key").arg(keys.writer(source.0));
        Ran::of(command).expect(0).json()["sources"][0].take()
    };
    sources.iter().map(report).collect()
}

#[test]
fn a_sealed_golden_store_is_kept_without_a_key_and_read_with_any() {
    let Some(golden) = sealed() else { return };
    let copy = golden.copy();
    let keys = copy.keys.clone().unwrap();
    let run = |line: &str, more: &[&str]| copy.vault.run(line.split(' ').chain(more.iter().copied()));
    let published = copy.manifests().len();
    for name in ["operator.key", "second.key"] {
        let identity = keys.file(name);
        for more in [&[][..], &["--identity", &identity]] {
            let report = run("verify --json", more).expect(0).json();
            assert_eq!(report["manifests"], published, "{report}");
            assert_eq!((&report["damaged_objects"], &report["damaged_manifests"]), (&json!([]), &json!([])));
        }
        let ran = run("ls --week 2025-13 --pvc enigma", &["--identity", &identity]).expect(0);
        assert!(ran.stdout.lines().any(|name| name == "a.txt"), "{ran}");
        let ran = run("key test", &["--identity", &identity]).expect(0);
        assert!(ran.stdout.contains("2-1") || ran.stderr.contains("2-1"), "{ran}");
    }
    let listed = run("list --json", &[]).expect(0).json();
    let seen = |m: &Value| (m["week"].as_str().unwrap().to_owned(), m["sealed"].as_bool().unwrap());
    let listed: Vec<(String, bool)> = listed.as_array().unwrap().iter().map(seen).collect();
    let expected = [PLAIN, "2025-13", "2025-13", "2025-14", "2025-14"];
    assert_eq!(listed, expected.map(|week| (week.to_owned(), week != PLAIN)));
    for line in ["ls --week 2025-14 --pvc enigma", "cat --week 2025-13 --pvc html index.php"] {
        run(line, &[]).expect(1).says("no key that opens it was given");
    }
    // Who does not know the other one's writer, and what is blind, opens nothing.
    let told = run("key list --json", &["--identity", &keys.file("operator.key")]).expect(0).json();
    let numbers = told["read_files"].as_array().unwrap().iter().map(|file| file["number"].as_str().unwrap());
    assert_eq!(numbers.collect::<Vec<_>>(), ["1-1", "1-2", "2-1"], "{told}");
    assert_eq!(told["writers"].as_array().unwrap().len(), 2, "{told}");
}

#[test]
fn what_a_writer_of_a_sealed_golden_store_can_read_is_its_own() {
    let Some(golden) = sealed() else { return };
    let copy = golden.copy();
    let keys = copy.keys.clone().unwrap();
    let plain = Archive::open(Arc::new(LocalStore::new(&copy.vault.store, RunId(1)))).unwrap();
    for (pvc, opens) in [("enigma", true), ("html", false)] {
        let archive = plain.with_keys(writer_keys(keys.writer(pvc)));
        for listed in archive.manifests().unwrap() {
            let manifest = archive.open_manifest(&listed.id).unwrap();
            let is_own = opens && listed.id.to_string() == "2025-14/enigma.manifest";
            let is_plain = manifest.reader().version() == Version::Plain;
            assert_eq!(manifest.entries().is_ok(), is_own || is_plain, "{} to {pvc}", listed.id);
        }
    }
}

/// Whether the program age is there.
pub(super) fn has_age() -> bool {
    Command::new("age").arg("--version").output().is_ok()
}

#[test]
fn the_script_checks_a_sealed_golden_store_without_a_key_and_takes_no_plain_week_that_came_later() {
    let Some(golden) = sealed() else { return };
    let copy = golden.copy();
    let script = |week: &str, pvc: &str, with_identity: bool| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(SCRIPT).arg(&copy.vault.store).args([week, pvc]);
        if with_identity {
            command.arg("--identity").arg(copy.keys.as_ref().unwrap().identity());
        }
        Ran::of(command)
    };
    for manifest in copy.manifests().iter().filter(|m| m.writer().is_some()) {
        let id = manifest.id();
        let pvc = if id.partial { format!("{}.partial", id.pvc) } else { id.pvc.to_string() };
        let said = format!("{} objects are as they were stored", manifest.objects().unwrap().len());
        script(&id.week.to_string(), &pvc, false).expect(0).says(&said);
    }
    if !has_age() {
        return skip("read_store.py on plain manifests of a sealed store", "no age here");
    }
    script(PLAIN, "html", true).expect(0).says("index.php");
    let store = &copy.vault.store;
    fs::create_dir(store.join("2025-10")).unwrap();
    fs::copy(store.join("2025-11/html.manifest"), store.join("2025-10/html.manifest")).unwrap();
    script("2025-10", "html", true).expect(1).says("was not there when the store was sealed");
}

/// Makes `tests/golden/v2-sealed` of trees in the directory `root`.
pub(super) fn make_sealed_golden_store(root: &Path) {
    let folder = Path::new(ROOT).join(NAME);
    if let Err(error) = fs::create_dir(&folder) {
        panic!("{}: {error}: golden stores are made once, and never anew", folder.display());
    }
    fs::create_dir(root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let (store, variant) = (folder.join("store"), &variants()[0]);
    let id = blake3::hash(NAME.as_bytes()).to_string()[..32].to_owned();
    let new =
        NewStore { chunks: variant.chunks, created: CREATED, created_by: "weekvault's tests".into(), id };
    let open = || Archive::open(Arc::new(LocalStore::new(&store, RunId(1)))).unwrap();
    let plain = Archive::open_or_create(Arc::new(LocalStore::new(&store, RunId(1))), &new).unwrap();
    plant(root, variant);
    back_up(&plain, PLAIN, root, &["html"]);

    let keys = KeyFolder(folder.join("keys"));
    make_keys(&keys, &store);
    let as_writer = |pvc: &str| open().with_keys(writer_keys(keys.writer(pvc)));
    back_up(&as_writer("enigma"), WEEKS[0], root, &["enigma"]);
    change_first(root);
    back_up(&as_writer("enigma"), WEEKS[1], root, &["enigma"]);
    back_up(&as_writer("html"), WEEKS[1], root, &["html"]);
    change_keys(&keys, &store, "key rotate");
    change_second(root, variant);
    back_up(&as_writer("enigma"), WEEKS[2], root, &["enigma"]);
    put(root.join("enigma/new/file"), "is newer\n");
    // Replaces the week's manifest, of which the trash gets a copy.
    back_up(&as_writer("enigma"), WEEKS[2], root, &["enigma"]);
    let mut again = crate::golden::without_capabilities();
    again.env(WITHOUT_CAPABILITIES, &store).env(WRITER, keys.writer("html"));
    crate::common::system(&mut again);

    let vault = Vault::new(&store);
    vault.run(["retain", "--keep", "2"]).expect(0);
    vault.run(["gc"]).expect(0);
    date_trash(&store);
    crate::golden::as_git_leaves_it(&folder);
    let archive = open().with_keys(keys.reader(&store));
    let refs = archive.manifests().unwrap();
    let lines = refs.iter().flat_map(|m| describe(&archive.open_manifest(&m.id).unwrap()));
    let expected: Vec<String> = lines.map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("expected.jsonl"), expected.concat()).unwrap();
    fs::remove_dir_all(root).unwrap();
    println!("made {}; a new backup goes to {NEXT}", folder.display());
}

/// Seals the store, for two identities and two writers.
fn make_keys(keys: &KeyFolder, store: &Path) {
    let mut recipients = String::new();
    for name in ["operator.key", "second.key"] {
        let key = PaperKey::generate().unwrap();
        let text = format!("# of a golden store: known to everybody\n{}\n", *key.to_text());
        put(keys.0.join(name), text);
        recipients.push_str(&format!("{}\n", key.recipient()));
    }
    put(keys.0.join("recipients.txt"), recipients);
    let mut init = Vault::new(store).command();
    init.arg("init").arg("--recipients-file").arg(keys.0.join("recipients.txt"));
    Ran::of(with(init, "--writer-key", &keys.writer("enigma"))).expect(0);
    change_keys(keys, store, &format!("key writer --blind {}", keys.file("blind.key")));
}

/// Runs a command on the keys, which renews the writers' files that there are.
fn change_keys(keys: &KeyFolder, store: &Path, line: &str) {
    let mut command = Vault::new(store).command();
    command.args(line.split(' ')).arg("--recipients-file").arg(keys.0.join("recipients.txt"));
    command = with(command, "--identity", &keys.identity());
    for pvc in ["enigma", "html"] {
        if keys.writer(pvc).exists() {
            command = with(command, "--writer-key", &keys.writer(pvc));
        }
    }
    Ran::of(command).expect(0);
}

fn with(mut command: Command, option: &str, file: &Path) -> Command {
    command.arg(option).arg(file);
    command
}
