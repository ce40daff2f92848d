//! Last stage of a restore: hard links, extra paths, and the folders' metadata, each folder after all that is in it.

use super::clear::Clearing;
use super::{Report, Selection};
use crate::model::{ArchivePath, Entry, Kind, Name, NodeKind};
use crate::ops::Error;
use crate::repo::RepoError;
use crate::tree::{OwnerMap, SourceError, Target};
use std::collections::BTreeSet;

/// A folder that the walk along the manifest is in.
struct Open {
    path: ArchivePath,
    entry: Entry,
    /// Whether it is itself to be restored, or only on the way to something that is.
    selected: bool,
    children: BTreeSet<Name>,
}

pub(super) struct Finishing<'a> {
    pub(super) target: Target,
    pub(super) owners: &'a OwnerMap,
    pub(super) report: &'a Report<'a>,
    pub(super) clearing: &'a Clearing<'a>,
    pub(super) dry_run: bool,
    /// Folders that were made on the way to something selected.
    pub(super) made: BTreeSet<ArchivePath>,
    /// Links whose first name is not selected: restored as files of their own, or links to such.
    pub(super) detached: BTreeSet<ArchivePath>,
}

impl Finishing<'_> {
    pub(super) fn run(
        mut self,
        entries: impl Iterator<Item = Result<(ArchivePath, Entry), RepoError>>,
        mut selection: Selection,
    ) -> Result<(), Error> {
        let mut stack: Vec<Open> = Vec::new();
        for entry in entries {
            let (path, entry) = match entry {
                // Told when it was met first.
                Err(RepoError::Format { .. }) => continue,
                entry => entry?,
            };
            while stack.last().is_some_and(|open| !path.is_within(&open.path)) {
                if let Some(open) = stack.pop() {
                    self.leave(&open);
                }
            }
            if let (Some(parent), Some(name)) = (stack.last_mut(), &entry.name)
                && self.clearing.deletes()
            {
                parent.children.insert(name.clone());
            }
            let selected = selection.selects(&path);
            match &entry.kind {
                Kind::HardLink(target) if selected && !self.detached.contains(&path) => {
                    if let Err(error) = self.link(target, &path) {
                        self.report.problem((&error).into());
                    }
                }
                Kind::Directory => stack.push(Open { path, entry, selected, children: BTreeSet::new() }),
                _ => {}
            }
        }
        while let Some(open) = stack.pop() {
            self.leave(&open);
        }
        Ok(())
    }

    /// Makes `path` a name of what stands at `first`, where it is none yet.
    pub(super) fn link(&mut self, first: &ArchivePath, path: &ArchivePath) -> Result<(), SourceError> {
        let there = self.target.stat(path)?;
        let same =
            |a: &crate::model::Stat, b: &crate::model::Stat| (a.device, a.inode) == (b.device, b.inode);
        if let (Some(a), Some(b)) = (self.target.stat(first)?, &there)
            && same(&a, b)
            && !(self.dry_run && self.report.rewritten(first))
        {
            return Ok(());
        }
        if self.report.is_lost(first) || (!self.dry_run && self.target.stat(first)?.is_none()) {
            let error = std::io::Error::other(format!("its first name, {first}, could not be restored"));
            return Err(SourceError::new(path, "link", error));
        }
        self.clearing.make_room(&mut self.target, path)?;
        self.report.change(path, if there.is_some() { "relink" } else { "link" });
        if self.dry_run {
            return Ok(());
        }
        self.target.make_hard_link(first, path)
    }

    fn leave(&mut self, open: &Open) {
        if let Err(error) = self.try_leave(open) {
            self.report.problem((&error).into());
        }
    }

    fn try_leave(&mut self, open: &Open) -> Result<(), SourceError> {
        let Some(stat) = self.target.stat(&open.path)? else { return Ok(()) };
        // What is mounted in the tree was not backed up with it, so nothing in it is extra.
        if self.clearing.deletes() && open.selected && self.target.is_own(&stat) {
            for name in self.target.children(&open.path)? {
                if open.children.contains(&name) {
                    continue;
                }
                let extra = open.path.child(&name);
                if let Err(error) = self.clearing.remove_tree(&mut self.target, &extra) {
                    self.report.problem((&error).into());
                }
            }
        }
        if self.dry_run || !(open.selected || self.made.contains(&open.path)) {
            return Ok(());
        }
        let meta = &open.entry.meta;
        let stat = self.target.stat(&open.path)?.unwrap_or(stat);
        let owned = self.owners.owner(meta).is_none_or(|owner| owner == (stat.uid, stat.gid));
        let same = owned && stat.mode == meta.mode && stat.mtime == meta.mtime;
        if !same || !self.target.has_xattrs(&open.path, NodeKind::Directory, &meta.xattrs)? {
            let unrestored = self.target.set_metadata(&open.path, meta)?;
            self.report.unrestored(&unrestored);
        }
        Ok(())
    }
}
