//! What a store, a source or a directory says reaches a terminal, or a program that reads JSON, as text and nothing else.

use crate::common::raw_manifest::{
    Block, assemble, bytes, file, file_of, folder, hard_link, number, record, summary, symlink,
};
use crate::common::{Ran, Vault};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use tempfile::TempDir;
use weekvault::format::{Seals, encode_objects, encode_summary};
use weekvault::model::{ObjectId, ObjectRow, Summary};

const CHUNK: &[u8] = b"the only chunk of all\n";

/// Sets a title, colours, begins a line of its own, and turns and hides what follows.
const EVIL: &str =
    "\u{1b}]0;pwn\u{7}\u{1b}[31m\r\nerror: none\u{9b}X\u{202e}\u{2066}\u{2028}\u{200b}\u{fe0f}\u{e0041}";

/// Whether a terminal would take any of that for more than text, or a person for something else.
fn is_evil(c: char) -> bool {
    (c.is_control() && c != '\n')
        || ['\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{fe0f}', '\u{e0041}'].contains(&c)
}

struct Scene {
    folder: TempDir,
    vault: Vault,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let scene = Self { folder, vault };
        let mut object = Vec::new();
        Seals::zstd(1).sealer().unwrap().seal_into(CHUNK, &mut object).unwrap();
        let hex = ObjectId::of(CHUNK).to_string();
        scene.write(&format!("store/objects/{}/{hex}.zst", &hex[..1]), &object);
        // A source whose names are as bad, and one of them cannot be read.
        scene.write("src/plain", "x");
        fs::write(scene.path("src").join(format!("a{EVIL}b").replace('/', "")), "x").unwrap();
        scene
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A manifest whose names, targets, attributes and owners are evil, and what `change` makes of its summary.
    fn publish(&self, change: impl FnOnce(&mut Summary)) {
        let name = |start: &str| [start.as_bytes(), EVIL.replace('/', "").as_bytes()].concat();
        let mut attributes = record(1, "e", file(CHUNK));
        attributes.owner = (4000, 4000);
        attributes.xattrs = vec![(name("user."), name(""))];
        let records = [
            record(0, "", folder()),
            record(1, name("a"), file(CHUNK)),
            record(1, [&name("b")[..], b"\xff"].concat(), symlink(EVIL.as_bytes())),
            record(1, "c", folder()),
            record(2, name("lost"), file_of(5, [0; 32], &[(2, 0, 5)])),
            record(1, name("d"), hard_link(&name("a"))),
            attributes,
            record(1, "f", hard_link(&name("no"))),
        ];
        let owners = [number(1), number(4000), bytes(EVIL.as_bytes())].concat();
        let row = |id, length| ObjectRow { id, chunk_length: length, stored_length: length, used: length };
        let rows = [row(ObjectId::of(CHUNK), CHUNK.len() as u32), row(ObjectId::of(b"gone"), 5)];
        let mut blocks = vec![Block::entries(b"", &records)];
        let mut said = summary(&blocks);
        change(&mut said);
        blocks.push(Block::new(3, 1, &[owners.clone(), owners].concat()));
        blocks.push(Block::new(4, 2, &encode_objects(&rows)));
        blocks.push(Block::new(5, 1, &encode_summary(&said).unwrap()));
        self.write("store/2025-14/pvc.manifest", assemble(&blocks));
    }

    fn run(&self, line: &str) -> Ran {
        let here = self.folder.path().to_str().unwrap();
        let ran = self.vault.run(line.split(' ').map(|word| word.replace("{}", here)));
        for said in [&ran.stdout, &ran.stderr] {
            let evil: String = said.chars().filter(|c| is_evil(*c)).collect();
            assert!(evil.is_empty(), "{line}: {evil:?} in {said:?}");
            // No line of its own, either.
            assert!(!said.lines().any(|line| line.starts_with("error: none")), "{line}: {said:?}");
        }
        if line.contains("--json") {
            for document in ran.stdout.lines() {
                serde_json::from_str::<serde_json::Value>(document).unwrap();
            }
        }
        ran
    }
}

const LINES: [&str; 24] = [
    "list",
    "list --json",
    "list --trash",
    "ls --week 2025-14 --pvc pvc -R",
    "ls --week 2025-14 --pvc pvc -lR",
    "ls --week 2025-14 --pvc pvc -R --json",
    "verify",
    "verify --json",
    "verify --quick",
    "restore --week 2025-14 --pvc pvc --target {}/t --dry-run",
    "restore --week 2025-14 --pvc pvc --target {}/t --dry-run --json",
    "restore --week 2025-14 --pvc pvc --target {}/t",
    "restore --week 2025-14 --pvc pvc --target {}/t --verify --json",
    "-vv restore --week 2025-14 --pvc pvc --target {}/u",
    "restore --week 2025-14 --pvc pvc --dry-run",
    "restore --week 2025-14 --pvc pvc --dry-run --json",
    "cat --week 2025-14 --pvc pvc nope",
    "materialize --week 2025-14 --pvc pvc {}/m",
    "materialize --all {}/n --json",
    "backup --source pvc={}/src --week 2025-15 --dry-run",
    "-vv backup --source other={}/src --week 2025-15 --exclude plain",
    "ls --week 2025-15 --pvc other",
    "gc --dry-run",
    "retain --keep 1 --dry-run --json",
];

#[test]
fn names_and_summaries_are_text_and_nothing_else() {
    let scene = Scene::new();
    scene.publish(|summary| {
        summary.store = EVIL.into();
        let details = summary.details.as_mut().unwrap();
        details.source = format!("/nowhere/x{EVIL}").into();
        details.host = EVIL.into();
        details.tool = EVIL.into();
        details.excludes = vec![EVIL.into(), format!("[{EVIL}")];
    });
    for line in LINES {
        scene.run(line);
    }
    // JSON means what was said.
    let listed = scene.run("list --json --pvc pvc").json();
    assert_eq!((listed[0]["host"].as_str(), listed[0]["tool"].as_str()), (Some(EVIL), Some(EVIL)));
    let documents = scene.run("ls --week 2025-14 --pvc pvc -R --json").stdout;
    let targets = documents.lines().filter(|line| {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        document["target"].as_str() == Some(EVIL) || document["user"].as_str() == Some(EVIL)
    });
    assert_eq!(targets.count(), 2, "{documents}");
    // And people see the same escapes everywhere.
    let shown =
        r"\u{1b}]0;pwn\u{7}\u{1b}[31m\r\nerror: none\u{9b}X\u{202e}\u{2066}\u{2028}\u{200b}\u{fe0f}\u{e0041}";
    for line in ["ls --week 2025-14 --pvc pvc -lR", "restore --week 2025-14 --pvc pvc --dry-run"] {
        scene.run(line).says(shown);
    }
}

#[test]
fn damage_is_told_as_text_and_nothing_else() {
    let scene = Scene::new();
    scene.publish(|_| {});
    let manifest = fs::read(scene.path("store/2025-14/pvc.manifest")).unwrap();
    let store = fs::read_to_string(scene.path("store/store.json")).unwrap();
    let evil = serde_json::to_string(EVIL).unwrap().replace("\\u001b", "\u{1b}");
    for damaged in [
        store.replace("\"weekvault\"", &serde_json::to_string(EVIL).unwrap()),
        store.replace("\"blake3\"", &serde_json::to_string(EVIL).unwrap()),
        store.replace("\"zstd\"", &serde_json::to_string(EVIL).unwrap()),
        serde_json::to_string(EVIL).unwrap(),
        evil,
    ] {
        scene.write("store/store.json", damaged);
        for line in ["verify", "verify --json", "gc", "backup --source pvc={}/src --week 2025-14"] {
            assert_ne!(scene.run(line).code, Some(0), "{line}");
        }
    }
    scene.write("store/store.json", store);
    // Strange names in the store's own directories.
    let name = OsString::from_vec(EVIL.replace('/', "").into_bytes());
    for folder in ["store", "store/2025-14", "store/objects/a", "store/trash", "store/tmp"] {
        fs::create_dir_all(scene.path(folder)).unwrap();
        for name in [name.clone(), [name.clone(), ".manifest".into()].into_iter().collect()] {
            fs::write(scene.path(folder).join(name), "x").unwrap();
        }
    }
    for line in LINES {
        scene.run(line);
    }
    scene.write("store/2025-14/pvc.manifest", &manifest[..manifest.len() - 1]);
    for line in LINES {
        scene.run(line);
    }
    // Where there is no store, and the directory's name is one of that kind.
    let strange = Vault::new(scene.path("").join(&name).join("store"));
    for line in ["list", "init", "backup --source pvc=src"] {
        let ran = strange.run(line.split(' '));
        assert!(!ran.stderr.contains(is_evil) && ran.code != Some(0), "{line}: {:?}", ran.stderr);
    }
}
