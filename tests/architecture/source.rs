//! The source as modules: what each file defines, what it names, and where that is defined, through re-exports.

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree, Visibility};

/// A module's path from the crate's root, or that of an item in it.
type Names = Vec<String>;

/// A file, which is one module.
pub(crate) struct Module {
    /// Below `src`.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
    pub(crate) syntax: syn::File,
    defined: BTreeSet<String>,
    /// Names that it imports, `*` for all of a module, and what they stand for.
    imported: Vec<(String, Names)>,
    /// Paths that it names.
    named: Vec<Names>,
}

/// What a module uses: the modules in which that is defined, each with a path that names it.
type Uses = BTreeMap<Names, String>;

/// All files of `src`, by their modules.
pub(crate) struct Source {
    pub(crate) modules: BTreeMap<Names, Module>,
    pub(crate) arrows: BTreeMap<Names, Uses>,
}

impl Source {
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files = walkdir::WalkDir::new(&root).sort_by_file_name().into_iter().map(Result::unwrap);
        let rust = files.filter(|f| f.path().extension().is_some_and(|e| e == "rs"));
        let module = |file: walkdir::DirEntry| {
            let below = file.path().strip_prefix(&root).unwrap().to_path_buf();
            let text = std::fs::read_to_string(file.path()).unwrap();
            (names_of(&below), Module::parse(below, text))
        };
        // The program's own file only calls the library.
        let modules = rust.filter(|f| f.file_name() != "main.rs").map(module).collect();
        let mut source = Self { modules, arrows: BTreeMap::new() };
        source.arrows = source.modules.keys().map(|module| (module.clone(), source.uses(module))).collect();
        source
    }

    fn uses(&self, of: &Names) -> Uses {
        let module = &self.modules[of];
        let found = |path: &Names| {
            let used = self.resolve(of, path, 0).filter(|used| *used != of)?;
            Some((used.clone(), path.join("::")))
        };
        module.named.iter().chain(module.imported.iter().map(|(_, path)| path)).filter_map(found).collect()
    }

    /// The module in which a path leads to something, seen from another; none for what is outside.
    fn resolve(&self, from: &Names, path: &[String], depth: u32) -> Option<&Names> {
        let (mut base, mut rest) = (from.clone(), path);
        match rest.first()?.as_str() {
            "crate" => (base, rest) = (Names::new(), &rest[1..]),
            "self" | "super" => {
                while let Some(step @ ("self" | "super")) = rest.first().map(String::as_str) {
                    if step == "super" {
                        base.pop();
                    }
                    rest = &rest[1..];
                }
            }
            first => {
                let (here, _) = self.modules.get_key_value(from)?;
                let module = &self.modules[here];
                let is_here =
                    self.modules.contains_key(&below(from, first)) || module.defined.contains(first);
                if !is_here && !module.imported.iter().any(|(name, _)| name == first) {
                    return None;
                }
            }
        }
        self.within(&base, rest, depth)
    }

    fn within(&self, base: &Names, rest: &[String], depth: u32) -> Option<&Names> {
        let (here, module) = self.modules.get_key_value(base)?;
        let Some(first) = rest.first().filter(|first| *first != "*") else { return Some(here) };
        if depth > 16 {
            return Some(here);
        }
        let child = below(base, first);
        if self.modules.contains_key(&child) {
            return self.within(&child, &rest[1..], depth + 1);
        }
        if module.defined.contains(first) {
            return Some(here);
        }
        let exact = module.imported.iter().filter(|(name, _)| name == first);
        let globs = module.imported.iter().filter(|(name, _)| name == "*");
        for (name, path) in exact.chain(globs) {
            let mut path = path.clone();
            if name == "*" {
                path.pop();
                path.push(first.clone());
            }
            path.extend_from_slice(&rest[1..]);
            if path.first() != Some(first) || path.len() > rest.len() {
                let found = self.resolve(here, &path, depth + 1);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }
}

fn below(base: &Names, name: &str) -> Names {
    let mut names = base.clone();
    names.push(name.to_owned());
    names
}

/// `cli/backup/mod.rs` is `cli::backup`, `lib.rs` the root.
fn names_of(file: &Path) -> Names {
    let mut names: Names = file.with_extension("").iter().map(|n| n.to_str().unwrap().to_owned()).collect();
    if names.last().is_some_and(|last| last == "mod" || last == "lib") {
        names.pop();
    }
    names
}

/// Whether an item is there in tests alone.
fn is_test(attributes: &[Attribute]) -> bool {
    let is_test = |a: &Attribute| match &a.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::NameValue(_) => false,
    };
    attributes.iter().any(is_test)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Const(item) => &item.attrs,
        _ => &[],
    }
}

impl Module {
    /// Whether it names something of an outside crate.
    pub(crate) fn names_outside(&self, name: &str) -> bool {
        let imported = self.imported.iter().map(|(_, path)| path);
        let mut paths = self.named.iter().filter(|path| path.len() > 1).chain(imported);
        paths.any(|path| path.first().is_some_and(|first| first == name))
    }

    fn parse(file: PathBuf, text: String) -> Self {
        let mut syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        syntax.items.retain(|item| !is_test(attributes(item)));
        let mut reading = Reading::default();
        reading.visit_file(&syntax);
        let Reading { defined, imported, named } = reading;
        Self { file, text, syntax, defined, imported, named }
    }
}

#[derive(Default)]
struct Reading {
    defined: BTreeSet<String>,
    imported: Vec<(String, Names)>,
    named: Vec<Names>,
}

impl Reading {
    fn tree(&mut self, tree: &UseTree, prefix: &Names) {
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &below(prefix, &path.ident.to_string())),
            UseTree::Name(name) if name.ident == "self" => {
                self.import(prefix.last().cloned(), prefix.clone())
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.import(Some(name.clone()), below(prefix, &name));
            }
            UseTree::Rename(rename) if rename.ident == "self" => {
                self.import(Some(rename.rename.to_string()), prefix.clone());
            }
            UseTree::Rename(rename) => {
                let path = below(prefix, &rename.ident.to_string());
                self.import(Some(rename.rename.to_string()), path);
            }
            UseTree::Glob(_) => self.import(Some("*".to_owned()), below(prefix, "*")),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, prefix)),
        }
    }

    fn import(&mut self, name: Option<String>, path: Names) {
        self.imported.extend(name.map(|name| (name, path)));
    }

    /// The paths in what is no syntax to us: what macros and attributes are given.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons) = (Names::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1
                }
                other => {
                    self.named.push(std::mem::take(&mut path));
                    colons = 0;
                    match other {
                        TokenTree::Ident(name) => path.push(name.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.named.push(path);
        self.named.retain(|path| !path.is_empty());
    }
}

impl<'a> Visit<'a> for Reading {
    fn visit_item(&mut self, item: &'a Item) {
        let name = match item {
            Item::Const(item) => Some(&item.ident),
            Item::Enum(item) => Some(&item.ident),
            Item::Fn(item) => Some(&item.sig.ident),
            Item::Static(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        self.defined.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&item.tree, &Names::new());
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        self.named.push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// `pub(in crate::cli)` uses nothing.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_macro(&mut self, called: &'a syn::Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'a Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }
}
