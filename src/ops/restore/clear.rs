//! Removing what a target has and the manifest has not.

use super::Report;
use crate::model::{ArchivePath, Completeness, NodeKind, Observer};
use crate::repo::{Manifest, RepoError};
use crate::tree::{Excludes, SourceError, Target};
use std::io::Error as IoError;

/// Removes extra paths, where that was asked for and is safe.
pub(super) struct Clearing<'a> {
    report: &'a Report<'a>,
    /// Paths that the backup could not read: not in the manifest, and not extra.
    unread: Vec<ArchivePath>,
    /// What the backup was told to leave out: not extra either.
    excluded: Excludes,
    delete: bool,
    dry_run: bool,
}

impl<'a> Clearing<'a> {
    /// Without `delete`, and where the manifest does not say all that it left out, nothing extra is removed.
    pub(super) fn new(
        manifest: &Manifest,
        report: &'a Report<'a>,
        delete: bool,
        dry_run: bool,
        observer: &dyn Observer,
    ) -> Result<Self, RepoError> {
        let summary = manifest.summary();
        let unread: Vec<ArchivePath> = match manifest.problems() {
            Ok(problems) => problems.into_iter().map(|p| p.path).collect(),
            // Only deleting needs them.
            Err(RepoError::Format { .. }) if !delete => Vec::new(),
            Err(error @ RepoError::Format { .. }) => {
                report.damaged(&error);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        let all_listed = match summary.completeness {
            Completeness::Complete => true,
            Completeness::Partial { missing } => missing == unread.len() as u64,
        };
        let excluded = Excludes::new(summary.excludes.iter().map(String::as_str));
        if delete && !(all_listed && excluded.is_ok()) {
            observer.warn("the manifest does not say all that the backup left out: nothing extra is deleted");
        }
        let delete = delete && all_listed && excluded.is_ok();
        Ok(Self { report, unread, excluded: excluded.unwrap_or_else(|_| Excludes::none()), delete, dry_run })
    }

    /// Whether extra paths are to go at all. What a damaged part of the manifest had is not extra.
    pub(super) fn deletes(&self) -> bool {
        self.delete && !self.report.is_damaged()
    }

    fn spares(&self, path: &ArchivePath, is_folder: bool) -> bool {
        path.as_bytes() == b"lost+found"
            || self.unread.iter().any(|unread| unread.is_within(path) || path.is_within(unread))
            || self.excluded.excludes(path, is_folder)
    }

    /// Removes what stands at `path` with all that is in it, deepest first; in a dry run only says so. What is spared
    /// stays with the folders above it, and so does another file system that is mounted there. Returns whether all of it
    /// is gone.
    pub(super) fn remove_tree(&self, target: &mut Target, path: &ArchivePath) -> Result<bool, SourceError> {
        let Some(stat) = target.stat(path)? else { return Ok(true) };
        let is_folder = stat.kind == NodeKind::Directory;
        if self.spares(path, is_folder) {
            return Ok(false);
        }
        if !target.is_own(&stat) {
            let error = IoError::other("another file system is mounted here; it is left alone");
            return Err(SourceError::new(path, "delete", error));
        }
        if is_folder {
            target.keep_off_store(path)?;
        }
        if is_folder && !self.empty(target, path)? {
            return Ok(false);
        }
        self.report.change(path, "delete");
        if !self.dry_run {
            target.remove(path, is_folder)?;
        }
        Ok(true)
    }

    fn empty(&self, target: &mut Target, folder: &ArchivePath) -> Result<bool, SourceError> {
        let mut emptied = true;
        for name in target.children(folder)? {
            emptied &= self.remove_tree(target, &folder.child(&name))?;
        }
        Ok(emptied)
    }

    /// Removes what stands where the manifest has something else: what is in a folder only if extra files are to go.
    pub(super) fn make_room(&self, target: &mut Target, path: &ArchivePath) -> Result<(), SourceError> {
        let Some(stat) = target.stat(path)? else { return Ok(()) };
        let is_folder = stat.kind == NodeKind::Directory;
        if is_folder {
            target.keep_off_store(path)?;
            let deletes = self.deletes() && target.is_own(&stat);
            let emptied = target.children(path)?.is_empty() || (deletes && self.empty(target, path)?);
            if !emptied {
                let error = "a folder that is not empty stands here; --delete removes it, unless it is a mount or \
                             has in it what the backup left out";
                return Err(SourceError::new(path, "replace", IoError::other(error)));
            }
        }
        if self.dry_run { Ok(()) } else { target.remove(path, is_folder) }
    }
}
