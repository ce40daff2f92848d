//! Holds the rooms: who may use whom, and how large a file may be. See `docs/design.md`.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room → rooms that it may use. Dependencies point one way.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("format", &["model"]),
    ("data", &["model"]),
    ("sys", &[]),
    ("tree", &["sys", "model"]),
    ("store", &["sys", "model"]),
    ("cache", &["model"]),
    ("repo", &["format", "data", "tree", "store", "cache", "model"]),
    ("ops", &["repo", "format", "data", "tree", "store", "cache", "model"]),
    ("edge", &["model"]),
    ("cli", &["ops", "edge", "repo", "format", "data", "tree", "store", "cache", "model"]),
];

/// Outside crates that have one room, so that what they are used for can be changed in one place.
const CRATES: &[(&str, &[&str])] = &[
    ("bincode", &["format"]),
    ("serde_bytes", &["format"]),
    ("zstd", &["format"]),
    ("fastcdc", &["data"]),
    ("walkdir", &["tree"]),
    ("ignore", &["tree"]),
    ("sled", &["cache"]),
    ("prometheus", &["edge"]),
    ("reqwest", &["edge"]),
    ("hickory_resolver", &["edge"]),
    ("signal_hook", &["edge"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
];

/// Lines of code that a file may have, without blank lines, comments and its tests.
const MAX_LINES: usize = 350;

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read =
        |f: PathBuf| (f.strip_prefix(&root).unwrap().to_path_buf(), std::fs::read_to_string(&f).unwrap());
    files.into_iter().map(read).collect()
}

/// The room of a file: the first folder of its path below `src`.
fn room(path: &Path) -> Option<String> {
    let mut components = path.components();
    let first = components.next()?.as_os_str().to_str()?.to_owned();
    components.next().map(|_| first)
}

/// What is not a test: everything before the file's test module.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// The names that follow each `prefix` in a text.
fn names_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        &rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())]
    })
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = room(&path) else { continue };
        let Some(allowed) = allowed.get(room.as_str()) else {
            wrong.push(format!("{}: {room} is no room that docs/design.md knows", path.display()));
            continue;
        };
        for used in names_after(code(&text), "crate::") {
            if used != room && !allowed.contains(&used) {
                wrong.push(format!("{}: {room} uses {used}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn outside_crates_keep_to_their_rooms() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, rooms) in CRATES {
            let uses = code(&text).lines().any(|line| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains(&format!("{name}::")) || line.starts_with(&format!("use {name}")))
            });
            if uses && !room(&path).is_some_and(|room| rooms.contains(&room.as_str())) {
                wrong.push(format!("{} uses {name}, which belongs in {rooms:?}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_are_short_enough_to_read() {
    let lines = |text: &str| {
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        code(text).lines().filter(is_code).count()
    };
    let long: Vec<String> = sources()
        .iter()
        .map(|(path, text)| (path, lines(text)))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_library_is_the_rooms() {
    let (_, lib) = sources().into_iter().find(|(path, _)| path == Path::new("lib.rs")).unwrap();
    let modules: Vec<&str> = names_after(&lib, "pub mod ").collect();
    let mut rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    rooms.sort_unstable();
    assert_eq!(modules, rooms, "one module a room, in alphabetical order");
}
