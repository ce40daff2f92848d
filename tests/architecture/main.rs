//! Holds the rooms: who may use whom, that nothing goes round in circles, and how large things may be. See `docs/design.md`.
#![cfg(test)]

mod circles;
mod source;

use circles::circles;
use source::{Module, Source};
use std::collections::{BTreeMap, BTreeSet};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Room → rooms that it may use. Dependencies point one way.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("format", &["model"]),
    ("data", &["model"]),
    ("sys", &[]),
    ("tree", &["sys", "model"]),
    ("store", &["sys", "model"]),
    ("cache", &["model"]),
    ("archive", &["format", "data", "tree", "store", "cache", "model"]),
    ("ops", &["archive", "format", "data", "tree", "store", "cache", "model"]),
    ("edge", &["model"]),
    ("cli", &["ops", "edge", "archive", "format", "data", "tree", "store", "cache", "sys", "model"]),
];

/// Outside crates and their rooms, so that what one is used for can be changed in one place.
const CRATES: &[(&str, &[&str])] = &[
    ("age", &["format"]),
    ("bech32", &["format"]),
    ("bincode", &["format"]),
    ("blake3", &["cache", "data", "format", "model", "ops"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("crossbeam_channel", &["cache", "ops"]),
    ("ed25519_dalek", &["format"]),
    ("fastcdc", &["data"]),
    ("globset", &["ops"]),
    ("hashbrown", &["archive"]),
    ("hickory_resolver", &["edge"]),
    ("ignore", &["tree"]),
    ("indicatif", &["cli"]),
    ("jiff", &["archive", "cli", "model", "ops"]),
    ("nix", &["sys", "tree", "store"]),
    ("prometheus", &["edge"]),
    ("qrcode", &["cli"]),
    ("reqwest", &["edge"]),
    ("rustix", &["cache", "cli", "format", "model", "store", "sys", "tree"]),
    ("serde", &["format"]),
    ("serde_bytes", &["format"]),
    ("serde_json", &["cli", "format", "model"]),
    ("signal_hook", &["edge"]),
    ("sled", &["cache"]),
    ("thiserror", &["archive", "edge", "format", "model", "ops", "store", "tree"]),
    ("tracing", &["cache", "edge", "ops", "store"]),
    ("tracing_subscriber", &["cli"]),
    ("walkdir", &["tree"]),
    ("zeroize", &["cli", "format", "sys"]),
    ("zstd", &["format"]),
];

/// Lines of code that a file may have, without blank lines, comments and its tests.
const MAX_LINES: usize = 350;
/// Lines that a function may have, and arguments.
const MAX_FUNCTION: usize = 80;
const MAX_ARGUMENTS: usize = 6;

fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    ROOMS.iter().copied().collect()
}

#[test]
fn dependencies_point_one_way() {
    let (source, allowed, mut wrong) = (Source::read(), allowed(), Vec::new());
    for (module, uses) in &source.arrows {
        let Some(room) = module.first() else { continue };
        let Some(allowed) = allowed.get(room.as_str()) else {
            wrong.push(format!("{room} is no room that docs/design.md knows"));
            continue;
        };
        for (used, path) in uses {
            let used = used.first();
            if used.is_some_and(|used| used != room && !allowed.contains(&used.as_str())) {
                wrong.push(format!("{} uses {path}", module.join("/")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let source = Source::read();
    let arrows = source.arrows.iter().map(|(module, uses)| (module.clone(), uses.keys().cloned().collect()));
    let mut told = Vec::new();
    for circle in circles(&arrows.collect()) {
        for module in &circle {
            let within = source.arrows[module].iter().filter(|(used, _)| circle.contains(*used));
            told.extend(
                within.map(|(used, path)| format!("{} → {} ({path})", module.join("/"), used.join("/"))),
            );
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}

/// Seen from afar, folders and the files beside them: what is in a folder counts as the folder.
#[test]
fn no_folders_use_each_other_in_a_circle() {
    let source = Source::read();
    let above = source.modules.keys().filter_map(|module| module.split_last());
    let folders: BTreeSet<&[String]> = above.map(|(_, above)| above).collect();
    let mut told = Vec::new();
    for folder in folders {
        let mut arrows: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        let inside = |module| <[String]>::strip_prefix(module, folder).and_then(|rest| rest.first());
        for (module, uses) in &source.arrows {
            let Some(from) = inside(module) else { continue };
            let to = uses.keys().filter_map(|used| inside(used)).filter(|to| *to != from);
            arrows.entry(from).or_default().extend(to);
        }
        let found = circles(&arrows).into_iter().map(|circle| format!("{}: {circle:?}", folder.join("/")));
        told.extend(found);
    }
    assert!(told.is_empty(), "{told:#?}");
}

#[test]
fn outside_crates_keep_to_their_rooms() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let named = dependencies.lines().filter_map(|line| line.split([' ', '.']).next());
    let named: Vec<String> = named.map(|name| name.replace('-', "_")).collect();
    let listed: Vec<&str> = CRATES.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, listed, "each crate of Cargo.toml has its rooms, in the same order");
    let mut wrong = Vec::new();
    for module in Source::read().modules.values() {
        let room = module.file.iter().next().and_then(|first| first.to_str()).unwrap_or_default();
        for (name, rooms) in CRATES {
            if module.names_outside(name) && !rooms.contains(&room) {
                wrong.push(format!("{} uses {name}, which belongs in {rooms:?}", module.file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is not a test: everything before the file's test module.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn files_are_short_enough_to_read() {
    let lines = |module: &Module| {
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
        code(&module.text).lines().filter(is_code).count()
    };
    let source = Source::read();
    let long = source.modules.values().map(|module| (module.file.display(), lines(module)));
    let long: Vec<String> =
        long.filter(|(_, lines)| *lines > MAX_LINES).map(|(file, n)| format!("{file}: {n} lines")).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn functions_are_short_enough_to_read() {
    struct Functions(Vec<(String, usize, usize)>);
    impl Functions {
        fn add(&mut self, signature: &syn::Signature, whole: proc_macro2::Span) {
            let lines = whole.end().line - whole.start().line + 1;
            self.0.push((signature.ident.to_string(), lines, signature.inputs.len()));
        }
    }
    impl<'a> Visit<'a> for Functions {
        fn visit_item_fn(&mut self, item: &'a syn::ItemFn) {
            self.add(&item.sig, item.sig.span().join(item.block.span()).unwrap_or(item.block.span()));
            visit::visit_item_fn(self, item);
        }

        fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
            self.add(&item.sig, item.sig.span().join(item.block.span()).unwrap_or(item.block.span()));
            visit::visit_impl_item_fn(self, item);
        }

        fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
            self.add(&item.sig, item.span());
            visit::visit_trait_item_fn(self, item);
        }
    }
    let mut wrong = Vec::new();
    for module in Source::read().modules.values() {
        let mut functions = Functions(Vec::new());
        functions.visit_file(&module.syntax);
        let large =
            functions.0.into_iter().filter(|(_, lines, n)| *lines > MAX_FUNCTION || *n > MAX_ARGUMENTS);
        wrong.extend(large.map(|(name, lines, arguments)| {
            format!("{}: {name} has {lines} lines and {arguments} arguments", module.file.display())
        }));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_library_is_the_rooms() {
    let source = Source::read();
    let modules: BTreeSet<&str> =
        source.modules.keys().filter_map(|m| m.first()).map(String::as_str).collect();
    let rooms: BTreeSet<&str> = allowed().into_keys().collect();
    assert_eq!(modules, rooms, "one module a room");
}
