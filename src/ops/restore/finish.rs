//! Last stage of a restore: hard links, extra paths, and the folders' metadata, each folder after all that is in it.

use super::clear::Clearing;
use super::hashes::{FirstNames, NameHashes, PathHashes, no_first_name};
use super::look::is_cut;
use super::report::Report;
use super::select::Selection;
use crate::archive::ArchiveError;
use crate::model::{ArchivePath, Entry, Kind, Name, NodeKind, Stat};
use crate::ops::Error;
use crate::tree::{IN_STORE, OwnerMap, SourceError, Target};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

/// A folder that the walk along the manifest is in.
struct Open {
    entry: Entry,
    /// Whether it is itself to be restored, or only on the way to something that is.
    selected: bool,
    children: NameHashes,
    /// How many directories the manifest has in it.
    folders: u64,
    /// SQLite's databases that were written, and what of the names in the manifest may be their logs.
    databases: Vec<Name>,
    logs: BTreeSet<Name>,
}

impl Open {
    fn of(entry: Entry, selected: bool) -> Self {
        let (children, folders, databases, logs) = Default::default();
        Self { entry, selected, children, folders, databases, logs }
    }
}

/// The path of the last open folder, which is above `path`: right above unless a damaged part had what is between.
fn up_to(mut path: ArchivePath, stack: &[Open]) -> ArchivePath {
    let depth = stack.last().map_or(0, |open| open.entry.depth);
    while path.depth() > depth {
        path = path.parent().unwrap_or_default();
    }
    path
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
    pub(super) detached: PathHashes,
    pub(super) firsts: FirstNames,
}

impl Finishing<'_> {
    pub(super) fn run(
        mut self,
        entries: impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>>,
        mut selection: Selection,
    ) -> Result<(), Error> {
        // Each folder is in the one before: the path of the last tells of all.
        let (mut stack, mut at) = (Vec::<Open>::new(), ArchivePath::root());
        for entry in entries {
            let (path, entry) = entry?;
            while !path.is_within(&at)
                && let Some(mut open) = stack.pop()
            {
                self.leave(&at, &mut open);
                at = up_to(at, &stack);
            }
            let selected = selection.selects(&path);
            if let (Some(parent), Some(name)) = (stack.last_mut(), &entry.name) {
                if self.clearing.deletes() {
                    parent.children.add(name);
                }
                if selected && LOGS.iter().any(|ending| name.as_bytes().ends_with(ending)) {
                    parent.logs.insert(name.clone());
                }
                if self.report.is_database(&path) {
                    parent.databases.push(name.clone());
                }
            }
            match &entry.kind {
                Kind::HardLink(target) if selected && !self.detached.has(&path) => {
                    if let Err(error) = self.link(target, &path) {
                        self.report.problem((&error).into());
                    }
                }
                Kind::HardLink(_) => {}
                Kind::Directory => {
                    if let Some(parent) = stack.last_mut() {
                        parent.folders += 1;
                    }
                    stack.push(Open::of(entry, selected));
                    at = path;
                }
                _ => self.firsts.meet(&path),
            }
        }
        while let Some(mut open) = stack.pop() {
            self.leave(&at, &mut open);
            at = up_to(at, &stack);
        }
        Ok(())
    }

    /// Makes `path` a name of what stands at `first`, where it is none yet.
    pub(super) fn link(&mut self, first: &ArchivePath, path: &ArchivePath) -> Result<(), SourceError> {
        if !self.firsts.has_met(first) {
            return Err(no_first_name(path, first));
        }
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

    fn leave(&mut self, path: &ArchivePath, open: &mut Open) {
        open.children.close();
        self.stale_logs(path, open);
        match self.try_leave(path, open) {
            // The store's own directory is its own business.
            Err(error) if error.operation == IN_STORE && error.path == *path => {}
            Err(error) => self.report.problem((&error).into()),
            Ok(()) => {}
        }
    }

    fn try_leave(&mut self, path: &ArchivePath, open: &Open) -> Result<(), SourceError> {
        if !(open.selected || self.made.contains(path)) {
            return Ok(());
        }
        let Some(stat) = self.target.stat(path)? else { return Ok(()) };
        // What is mounted in the tree was not backed up with it, so nothing in it is extra.
        let deletes = self.clearing.deletes() && open.selected && self.target.is_own(&stat);
        if deletes && !self.clearing.is_cache(&mut self.target, path, &open.children) {
            for name in self.target.children_but(path, |name| open.children.has(name))? {
                let extra = path.child(&name);
                match self.clearing.remove_tree(&mut self.target, &extra) {
                    Err(error) if error.operation == IN_STORE && error.path == *path => return Err(error),
                    Err(error) => self.report.problem((&error).into()),
                    Ok(_) => {}
                }
            }
        }
        if self.dry_run {
            return Ok(());
        }
        self.target.sweep(path, &stat, open.folders);
        let meta = &open.entry.meta;
        let stat = self.target.stat(path)?.unwrap_or(stat);
        let owned = self.owners.owner(meta).is_none_or(|owner| owner == (stat.uid, stat.gid));
        let same = owned && stat.mode == meta.mode && stat.mtime == meta.mtime;
        if !same || !self.target.has_xattrs(path, NodeKind::Directory, &meta.xattrs)? {
            let unrestored = self.target.set_metadata(path, meta, &stat)?;
            self.report.unrestored(&unrestored);
        }
        self.target.settle_mode(path);
        if path.is_root() && self.target.stat(path)?.is_some_and(|stat| is_cut(meta, &stat, self.owners)) {
            self.report.coarse.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Moves the logs of a database that was written aside, where the manifest has none: SQLite would apply them to it.
    fn stale_logs(&mut self, path: &ArchivePath, open: &Open) {
        for database in &open.databases {
            for ending in LOGS {
                let mut log = database.as_bytes().to_vec();
                log.extend_from_slice(ending);
                let Some(log) = Name::new(&log).ok().filter(|log| !open.logs.contains(log)) else { continue };
                let log = path.child(&log);
                let is_file = |stat: Option<Stat>| stat.is_some_and(|stat| stat.kind == NodeKind::File);
                if !self.target.stat(&log).is_ok_and(is_file) {
                    continue;
                }
                match self.target.move_aside(&log) {
                    Ok(aside) => self.report.moved_aside(&log, &aside),
                    Err(error) => self.report.problem((&error).into()),
                }
            }
        }
    }
}

/// What SQLite keeps beside a database of the changes that are not in it yet, or are to be taken back.
const LOGS: [&[u8]; 3] = [b"-journal", b"-shm", b"-wal"];
