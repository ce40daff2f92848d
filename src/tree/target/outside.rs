//! Keeping what is written off the store, which may lie in the tree by another mount or name.

use super::error::Result;
use crate::model::ArchivePath;
use crate::sys::open_beneath;
use crate::tree::stat::stat_open;
use crate::tree::{SourceError, StorePlace};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// The operation of an error that says that something of the store would be changed.
pub const IN_STORE: &str = "change what is in";

/// So many directories are kept in mind.
const MAX_KNOWN: usize = 1 << 16;

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Whether an error says that no directory stands there.
fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// What is known to lie outside the store.
#[derive(Clone, Default)]
pub(super) struct Outside {
    store: Arc<StorePlace>,
    /// A directory that is neither the store nor in it, and so are those above it.
    pub(super) last: Option<ArchivePath>,
    /// A directory that was missing: as long as it still is, so is all below it.
    missing: Option<ArchivePath>,
    /// More of them, as hashes.
    known: Arc<Mutex<HashSet<u64>>>,
    hasher: RandomState,
    /// The root's mount, once known.
    mount: Option<u64>,
}

impl Outside {
    pub(super) fn of(store: Arc<StorePlace>) -> Self {
        Self { store, ..Self::default() }
    }

    fn knows(&self, path: &ArchivePath) -> bool {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.last.as_ref().is_some_and(|last| last.is_within(path))
            || known().contains(&self.hasher.hash_one(path))
    }

    /// Notes a directory that is outside, with those above it.
    pub(super) fn note(&mut self, path: ArchivePath) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(self.hasher.hash_one(&path));
        self.last = Some(path);
    }

    /// Makes sure that a directory of the tree at `root` is neither the store nor in it; what is missing is not. Returns a
    /// handle of it if it had to be opened.
    ///
    /// # Errors
    /// [`SourceError`], of the operation [`IN_STORE`] with the path of the store in the tree.
    pub(super) fn check(&mut self, root: BorrowedFd<'_>, folder: &ArchivePath) -> Result<Option<OwnedFd>> {
        if let Some(missing) = &self.missing
            && folder.is_within(missing)
            && open_beneath(root, missing.as_path(), FOLDER).is_err_and(is_absent)
        {
            return Ok(None);
        }
        let above = std::iter::successors(Some(folder.clone()), ArchivePath::parent);
        let mut unknown: Vec<ArchivePath> = above.take_while(|path| !self.knows(path)).collect();
        let mut handle = None;
        while let Some(path) = unknown.pop() {
            let failed = |e: Errno| SourceError::new(&path, "open", e);
            let opened = match open_beneath(root, path.as_path(), FOLDER) {
                Err(e) if is_absent(e) => {
                    self.missing = Some(path);
                    return Ok(None);
                }
                opened => opened.map_err(failed)?,
            };
            let found = stat_open(opened.as_fd()).map_err(failed)?;
            if path.is_root() {
                self.mount = found.mount;
            }
            // Of what is in the store only a mount can lead into a tree that the store is not in.
            let is_mounted = path.is_root() || found.mount.is_none() || found.mount != self.mount;
            if self.store.is_root_open(opened.as_fd(), &found) || (is_mounted && self.store.is_inner(&found))
            {
                let error = "it is the store, or a copy of it: nothing in it is changed";
                return Err(SourceError::new(&path, IN_STORE, std::io::Error::other(error)));
            }
            handle = Some(opened);
            self.note(path);
        }
        Ok(handle)
    }
}
