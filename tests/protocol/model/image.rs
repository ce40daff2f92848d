//! What a disk holds at one moment, and the changes that lead from one moment to the next.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use weekvault::model::Timestamp;

/// A file's or folder's number: its place in the image. It keeps that for good; 0 is the root.
pub(crate) type NodeId = usize;

/// Bytes of a file.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) hash: blake3::Hash,
}

impl Content {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { hash: blake3::hash(&bytes), bytes: Arc::new(bytes) }
    }
}

#[derive(Clone)]
pub(crate) enum Node {
    File { content: Content, modified: Timestamp },
    Folder(BTreeMap<Arc<str>, NodeId>),
}

/// A name in a folder, and what it leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Edit {
    pub(crate) folder: NodeId,
    pub(crate) name: Arc<str>,
    pub(crate) node: NodeId,
}

impl Edit {
    pub(crate) fn same_name(&self, other: &Self) -> bool {
        (self.folder, &self.name) == (other.folder, &other.name)
    }
}

/// An operation that changed something, as it did.
#[derive(Clone, Debug)]
pub(crate) enum Effect {
    CreateFile {
        at: Edit,
        modified: Timestamp,
    },
    CreateFolder {
        at: Edit,
    },
    Write {
        file: NodeId,
        content: Content,
        modified: Timestamp,
    },
    SyncFile {
        file: NodeId,
    },
    Rename {
        from: Edit,
        to: Edit,
    },
    /// A second name of a file.
    Link {
        at: Edit,
    },
    Remove {
        at: Edit,
    },
    SyncFolder {
        folder: NodeId,
    },
    /// Not by the program: a file rots, and stays so.
    Rot {
        file: NodeId,
        content: Content,
    },
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) nodes: Vec<Node>,
}

impl Image {
    pub(crate) fn empty() -> Self {
        Self { nodes: vec![Node::Folder(BTreeMap::new())] }
    }

    pub(crate) fn names(&self, folder: NodeId) -> Option<&BTreeMap<Arc<str>, NodeId>> {
        match self.nodes.get(folder) {
            Some(Node::Folder(names)) => Some(names),
            _ => None,
        }
    }

    pub(crate) fn find(&self, path: &Path) -> Option<NodeId> {
        let mut at = 0;
        for component in path.components() {
            if let Component::Normal(name) = component {
                at = *self.names(at)?.get(name.to_str()?)?;
            }
        }
        Some(at)
    }

    pub(crate) fn content(&self, path: &Path) -> Option<&Content> {
        match self.nodes.get(self.find(path)?)? {
            Node::File { content, .. } => Some(content),
            Node::Folder(_) => None,
        }
    }

    pub(crate) fn add(&mut self, edit: &Edit) {
        if let Some(Node::Folder(names)) = self.nodes.get_mut(edit.folder) {
            names.insert(Arc::clone(&edit.name), edit.node);
        }
    }

    /// Takes the name away, if it still leads there.
    pub(crate) fn remove(&mut self, edit: &Edit) {
        if let Some(Node::Folder(names)) = self.nodes.get_mut(edit.folder)
            && names.get(&edit.name) == Some(&edit.node)
        {
            names.remove(&edit.name);
        }
    }

    pub(crate) fn fill(&mut self, file: NodeId, content: &Content, modified: Timestamp) {
        self.nodes[file] = Node::File { content: content.clone(), modified };
    }

    /// Makes room for a file or folder that has no name yet.
    pub(crate) fn make(&mut self, effect: &Effect) {
        match effect {
            Effect::CreateFile { modified, .. } => {
                self.nodes.push(Node::File { content: Content::new(Vec::new()), modified: *modified });
            }
            Effect::CreateFolder { .. } => self.nodes.push(Node::Folder(BTreeMap::new())),
            _ => {}
        }
    }

    /// What a program sees at once; what survives a crash is another matter.
    pub(crate) fn apply(&mut self, effect: &Effect) {
        self.make(effect);
        match effect {
            Effect::CreateFile { at, .. } | Effect::CreateFolder { at } | Effect::Link { at } => self.add(at),
            Effect::Write { file, content, modified } => self.fill(*file, content, *modified),
            Effect::Rename { from, to } => {
                self.add(to);
                self.remove(from);
            }
            Effect::Remove { at } => self.remove(at),
            Effect::Rot { file, content } => self.rot(*file, content),
            Effect::SyncFile { .. } | Effect::SyncFolder { .. } => {}
        }
    }

    pub(crate) fn rot(&mut self, file: NodeId, content: &Content) {
        if let Some(Node::File { content: old, .. }) = self.nodes.get_mut(file) {
            *old = content.clone();
        }
    }

    /// All files and folders that have a path, in the order of their paths; folders without content.
    pub(crate) fn walk(&self) -> Vec<(String, Option<&Content>)> {
        let mut found = Vec::new();
        self.walk_below(0, "", &mut found);
        found
    }

    fn walk_below<'a>(&'a self, folder: NodeId, path: &str, found: &mut Vec<(String, Option<&'a Content>)>) {
        for (name, node) in self.names(folder).into_iter().flatten() {
            let path = format!("{path}/{name}");
            match &self.nodes[*node] {
                Node::File { content, .. } => found.push((path, Some(content))),
                Node::Folder(_) => {
                    found.push((path.clone(), None));
                    self.walk_below(*node, &path, found);
                }
            }
        }
    }

    /// Files below a folder, by their paths below it.
    pub(crate) fn files_below(&self, folder: &str) -> Vec<(String, &Content)> {
        let prefix = format!("{folder}/");
        let below =
            |(path, content): (String, Option<_>)| Some((path.strip_prefix(&prefix)?.to_owned(), content?));
        self.walk().into_iter().filter_map(below).collect()
    }

    /// Tells images apart: all of it, and what there is besides unfinished writes, which nothing reads.
    pub(crate) fn hashes(&self) -> (blake3::Hash, blake3::Hash) {
        let (mut all, mut rest) = (blake3::Hasher::new(), blake3::Hasher::new());
        for (path, content) in self.walk() {
            let mut part = path.clone().into_bytes();
            part.push(0);
            part.extend(content.map_or(&[0; 32], |c| c.hash.as_bytes()));
            all.update(&part);
            if !path.starts_with("/store/tmp") {
                rest.update(&part);
            }
        }
        (all.finalize(), rest.finalize())
    }

    pub(crate) fn print(&self) -> String {
        let line = |(path, content): (String, Option<&Content>)| match content {
            Some(c) => format!("  {path} {} bytes\n", c.bytes.len()),
            None => format!("  {path}/\n"),
        };
        self.walk().into_iter().map(line).collect()
    }
}

/// Where the store is on every model disk.
pub(crate) fn store() -> PathBuf {
    PathBuf::from("/store")
}
