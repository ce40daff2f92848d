//! Removing what a target has and the manifest has not.

use super::hashes::NameHashes;
use super::report::Report;
use crate::archive::{ArchiveError, Manifest};
use crate::model::{ArchivePath, Completeness, LeftOutReason, NodeKind, Observer, Stat};
use crate::tree::{CACHE_TAG, Excludes, SourceError, Target};
use std::collections::BTreeSet;
use std::io::Error as IoError;

/// Removes extra paths, where that was asked for and is safe.
pub(super) struct Clearing<'a> {
    report: &'a Report<'a>,
    /// Paths that the backup could not read, or did not look at: what the manifest has not of them is not extra.
    unknown: BTreeSet<ArchivePath>,
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
    ) -> Result<Self, ArchiveError> {
        let summary = manifest.summary();
        let nothing =
            Self { report, unknown: BTreeSet::new(), excluded: Excludes::none(), delete: false, dry_run };
        if !delete {
            return Ok(nothing);
        }
        let (problems, left_out) = match (manifest.problems(), manifest.left_out()) {
            (Ok(problems), Ok(left_out)) => (problems, left_out),
            (Err(error @ ArchiveError::Format { .. }), _) | (_, Err(error @ ArchiveError::Format { .. })) => {
                report.damaged(&error);
                return Ok(nothing);
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let all_listed = left_out.iter().all(|place| place.reason != LeftOutReason::Unlisted)
            && match summary.completeness {
                Completeness::Complete => true,
                Completeness::Partial { missing } => missing == problems.len() as u64,
            };
        let excluded = Excludes::new(manifest.details()?.excludes.iter().map(String::as_str));
        let Some(excluded) = excluded.ok().filter(|_| all_listed) else {
            observer.warn("the manifest does not say all that the backup left out: nothing extra is deleted");
            return Ok(nothing);
        };
        // What a killed restore left behind is nobody's.
        let left_out = left_out.into_iter().filter(|place| place.reason != LeftOutReason::Leftover);
        let unknown = problems.into_iter().map(|p| p.path).chain(left_out.map(|place| place.path)).collect();
        Ok(Self { unknown, excluded, delete, ..nothing })
    }

    /// Whether extra paths are to go at all. What a damaged part of the manifest had is not extra.
    pub(super) fn deletes(&self) -> bool {
        self.delete && !self.report.is_damaged()
    }

    /// Whether a path is one that the backup did not look at, is in such, or has such in it.
    fn is_unknown(&self, path: &ArchivePath) -> bool {
        let mut above = std::iter::successors(Some(path.clone()), ArchivePath::parent);
        above.any(|path| self.unknown.contains(&path))
            || self.unknown.range(path..).next().is_some_and(|unknown| unknown.is_within(path))
    }

    /// Whether what the manifest has not of a directory is not extra: a cache that the backup left out, by a manifest that
    /// does not say so. Of such it has the tag alone.
    pub(super) fn is_cache(&self, target: &mut Target, folder: &ArchivePath, names: &NameHashes) -> bool {
        names.is_only(CACHE_TAG.as_bytes()) && target.has_cache_tag(folder)
    }

    fn spares(&self, path: &ArchivePath, is_folder: bool) -> bool {
        path.as_bytes() == b"lost+found" || self.is_unknown(path) || self.excluded.excludes(path, is_folder)
    }

    /// Whether what stands at a path that the manifest has not is to go, as far as that can be told without its children.
    pub(super) fn would_remove(&self, path: &ArchivePath, stat: &Stat) -> bool {
        self.deletes() && !self.spares(path, stat.kind == NodeKind::Directory)
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
