//! What a restore has done so far; shared by its threads.

use super::hashes::PathHashes;
use crate::archive::ArchiveError;
use crate::model::{ArchivePath, Observer, Problem};
use crate::tree::{IN_STORE, Unrestored};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a restore did, or in a dry run would do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Paths changed, by the word that was printed for them: create, rewrite, replace, metadata, link, relink, delete.
    pub changes: BTreeMap<&'static str, u64>,
    /// The first paths that were deleted.
    pub deleted: Vec<ArchivePath>,
    /// Stale logs of databases, and the names that they have now.
    pub moved_aside: Vec<(ArchivePath, ArchivePath)>,
    /// Paths that were right already.
    pub unchanged: u64,
    /// What could not be restored; of metadata, the first 1,000.
    pub problems: Vec<Problem>,
    /// How many problems there were.
    pub failed: u64,
}

/// So many deleted paths are named; the rest is counted.
const MAX_DELETED_TOLD: usize = 20;
/// So many problems are kept; the rest is counted.
const MAX_PROBLEMS: usize = 1_000;
/// Bytes that they may take.
const MAX_PROBLEM_BYTES: usize = 4 << 20;

pub(super) struct Report<'a> {
    observer: &'a dyn Observer,
    state: Mutex<State>,
    /// The target keeps times less exactly than the manifest has them.
    pub(super) coarse: AtomicBool,
}

#[derive(Default)]
struct State {
    result: Restored,
    /// Bytes that the problems' paths and errors take.
    bytes: usize,
    damaged: bool,
    /// Where the store was met.
    stores: BTreeSet<ArchivePath>,
    /// Files that could not be restored: no other name is made of what stands there instead.
    lost: PathHashes,
    /// Databases of SQLite that were written.
    databases: PathHashes,
    /// In a dry run: files whose inode would be a new one, so that links to them would be made anew.
    rewritten: PathHashes,
}

impl<'a> Report<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, state: Mutex::default(), coarse: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, path: &ArchivePath, what: &'static str) {
        let mut state = self.state();
        *state.result.changes.entry(what).or_default() += 1;
        if what == "delete" && state.result.deleted.len() < MAX_DELETED_TOLD {
            state.result.deleted.push(path.clone());
        }
        drop(state);
        self.observer.change(path, what);
    }

    pub(super) fn unchanged(&self) {
        self.state().result.unchanged += 1;
    }

    /// Tells of a problem; of a store that is in the target once, and not of each path in it.
    pub(super) fn problem(&self, problem: Problem) {
        if problem.operation == IN_STORE && !self.state().stores.insert(problem.path.clone()) {
            return;
        }
        self.observer.problem(&problem);
        let mut state = self.state();
        state.result.failed += 1;
        let bytes = problem.path.as_bytes().len() + problem.error.len();
        if state.result.problems.len() < MAX_PROBLEMS && state.bytes + bytes <= MAX_PROBLEM_BYTES {
            state.bytes += bytes;
            state.result.problems.push(problem);
        }
    }

    /// A file that could not be restored.
    pub(super) fn lost(&self, problem: Problem) {
        self.state().lost.insert(&problem.path);
        self.problem(problem);
    }

    pub(super) fn is_lost(&self, path: &ArchivePath) -> bool {
        self.state().lost.has(path)
    }

    /// A part of the manifest is damaged: what it had cannot be restored, and all else can.
    pub(super) fn damaged(&self, error: &ArchiveError) {
        self.problem(Problem {
            path: ArchivePath::root(),
            operation: "restore all of".into(),
            error: error.to_string(),
        });
        self.state().damaged = true;
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.state().damaged
    }

    pub(super) fn unrestored(&self, errors: &[Unrestored]) {
        for error in errors {
            self.problem(error.into());
        }
    }

    /// A database of SQLite was written.
    pub(super) fn note_database(&self, path: &ArchivePath) {
        self.state().databases.insert(path);
    }

    pub(super) fn is_database(&self, path: &ArchivePath) -> bool {
        self.state().databases.has(path)
    }

    /// What would have been applied to a restored database has another name now.
    pub(super) fn moved_aside(&self, path: &ArchivePath, aside: &ArchivePath) {
        self.observer.warn(&format!(
            "{path} was left of another state of the database beside it, and would have been applied to what was restored: \
             it is {aside} now"
        ));
        self.state().result.moved_aside.push((path.clone(), aside.clone()));
    }

    pub(super) fn note_rewritten(&self, path: &ArchivePath) {
        self.state().rewritten.insert(path);
    }

    pub(super) fn rewritten(&self, path: &ArchivePath) -> bool {
        self.state().rewritten.has(path)
    }

    pub(super) fn into_result(self) -> Restored {
        if self.coarse.into_inner() {
            self.observer.warn(
                "the target's file system keeps times less exactly, or not so far in the future, as the manifest has them: \
                 what it has made of them counts as right",
            );
        }
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).result
    }
}
