//! Paths as hashes, of which a hostile manifest may have very many, and very long ones.

use crate::model::{ArchivePath, Name};
use crate::tree::SourceError;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Paths, as hashes: a tree may be all links, or all that cannot be restored, each of a path of 64 KiB.
#[derive(Default)]
pub(super) struct PathHashes(HashSet<u64>, RandomState);

impl PathHashes {
    /// Adds a path. False where it was there.
    pub(super) fn insert(&mut self, path: &ArchivePath) -> bool {
        self.0.insert(self.1.hash_one(path))
    }

    pub(super) fn has(&self, path: &ArchivePath) -> bool {
        !self.0.is_empty() && self.0.contains(&self.1.hash_one(path))
    }
}

/// First names that links want and that have not been met, as hashes: a tree may be all links.
#[derive(Default)]
pub(super) struct FirstNames(HashSet<u64>, RandomState);

impl FirstNames {
    /// Notes the first name of a link.
    pub(super) fn want(&mut self, first: &ArchivePath) {
        self.0.insert(self.1.hash_one(first));
    }

    /// Notes an entry that may have other names.
    pub(super) fn meet(&mut self, path: &ArchivePath) {
        if !self.0.is_empty() {
            self.0.remove(&self.1.hash_one(path));
        }
    }

    pub(super) fn has_met(&self, first: &ArchivePath) -> bool {
        !self.0.contains(&self.1.hash_one(first))
    }
}

/// The names in a folder, as hashes: there may be millions of them. They are added first, and asked for once all are there.
#[derive(Default)]
pub(super) struct NameHashes(Vec<u64>, RandomState);

impl NameHashes {
    pub(super) fn add(&mut self, name: &Name) {
        self.0.push(self.1.hash_one(name.as_bytes()));
    }

    /// Has them ready to be asked for.
    pub(super) fn close(&mut self) {
        self.0.sort_unstable();
    }

    /// Whether a name may be one of them. One that is is never taken for another.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.0.binary_search(&self.1.hash_one(name)).is_ok()
    }

    /// Whether this is the only one.
    pub(super) fn is_only(&self, name: &[u8]) -> bool {
        self.0.len() == 1 && self.has(name)
    }
}

/// A link whose first name is no entry, or one of a kind that has no other names.
pub(super) fn no_first_name(path: &ArchivePath, first: &ArchivePath) -> SourceError {
    let error = format!("its first name, {first}, is nothing in the manifest that can have links");
    SourceError::new(path, "link", std::io::Error::other(error))
}
