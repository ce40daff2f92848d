//! Second stage of a restore: folders, links and nodes are made at once, files go to the writer.

use super::before::Linking;
use super::clear::Clearing;
use super::hashes::{FirstNames, PathHashes, no_first_name};
use super::look::{Action, Looked, Worker, is_cut};
use super::missing::MissingFolders;
use super::options::RestoreOptions;
use super::report::Report;
use super::siblings::Siblings;
use super::write::Writer;
use crate::archive::{ArchiveError, Manifest};
use crate::model::{ArchivePath, Entry, Kind, NodeKind, Problem, Stat};
use crate::tree::{OwnerMap, SourceError, Target};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;

/// Bytes that the names of links may take whose first names are not selected.
const MAX_DETACHED: usize = 16 << 20;

/// Does what was found to be needed, in path order.
pub(super) struct Restoring<'a, 'b, 'c> {
    pub(super) writer: Writer<'b>,
    pub(super) target: Target,
    pub(super) report: &'a Report<'a>,
    pub(super) options: &'a RestoreOptions,
    pub(super) clearing: &'a Clearing<'a>,
    pub(super) owners: &'a OwnerMap,
    pub(super) linking: Option<Linking<'c>>,
    /// Folders above the current entry that are not selected and not there.
    pub(super) ancestors: MissingFolders,
    pub(super) made: BTreeSet<ArchivePath>,
    /// First names that are not selected → the selected names of the same inode.
    pub(super) detached: BTreeMap<ArchivePath, Vec<ArchivePath>>,
    /// All of these selected names.
    pub(super) detached_links: PathHashes,
    /// Bytes of memory that `detached` takes, about.
    pub(super) detached_bytes: usize,
    /// Inodes with several names that an entry of its own has been found to be.
    pub(super) inodes: HashSet<(u64, u64)>,
    pub(super) firsts: FirstNames,
    pub(super) siblings: Siblings,
}

impl<'a, 'b, 'c> Restoring<'a, 'b, 'c> {
    pub(super) fn new(
        writer: Writer<'b>,
        target: Target,
        report: &'a Report<'a>,
        options: &'a RestoreOptions,
        clearing: &'a Clearing<'a>,
        owners: &'a OwnerMap,
    ) -> Self {
        Self {
            writer,
            target,
            report,
            options,
            clearing,
            owners,
            linking: None,
            ancestors: MissingFolders::default(),
            made: BTreeSet::new(),
            detached: BTreeMap::new(),
            detached_links: PathHashes::default(),
            detached_bytes: 0,
            inodes: HashSet::new(),
            firsts: FirstNames::default(),
            siblings: Siblings::default(),
        }
    }
}

impl Restoring<'_, '_, '_> {
    pub(super) fn apply(&mut self, looked: Looked, selected: bool) {
        let path = looked.path.clone();
        if let Err(error) = self.try_apply(looked, selected) {
            debug_assert!(!path.is_root() || self.options.target.exists());
            self.report.problem((&error).into());
        }
    }

    fn try_apply(&mut self, looked: Looked, selected: bool) -> Result<(), SourceError> {
        let Looked { path, entry, action, stat } = looked;
        let mut action = action?;
        self.ancestors.enter(&path);
        if !selected {
            // Only folders come here. Its metadata is its own business unless it must be made.
            if !matches!(action, Action::None | Action::Mend) {
                self.ancestors.push(path);
            }
            return Ok(());
        }
        if let Some(folder) = path.parent().filter(|_| action != Action::None) {
            self.target.keep_off_store(&folder)?;
        }
        // The store's own directory, which a backup has without what is in it, is as it should be.
        if action == Action::Mend && entry.kind == Kind::Directory && self.target.is_store(&path) {
            action = Action::None;
        }
        self.make_ancestors()?;
        self.make_lost_folders(&path)?;
        // Two entries of their own that are one inode in the target must be parted.
        let stays = matches!(action, Action::None);
        if let Some(stat) = stat.filter(Looked::is_shared)
            && stays
            && !self.inodes.insert((stat.device, stat.inode))
        {
            action = Action::Rewrite;
        }
        self.siblings.check(&path, stat.as_ref())?;
        if let Kind::HardLink(first) = &entry.kind {
            match self.options.selection.would_select(first) {
                true => self.firsts.want(first),
                false => return self.detach(first, path),
            }
            return Ok(());
        }
        if let Action::Replace { folder: true } = action {
            self.clearing.make_room(&mut self.target, &path)?;
        }
        if action == Action::Create && self.link_to_before(&path, &entry) {
            self.report.change(&path, "link");
            return Ok(());
        }
        if action == Action::Mend
            && !self.options.dry_run
            && let Some(stat) = &stat
            && let Some(held) = self.only_time_set(&path, &entry, stat)?
        {
            if held {
                self.report.change(&path, "metadata");
            } else {
                self.report.coarse.store(true, Ordering::Relaxed);
                self.report.unchanged();
            }
            return Ok(());
        }
        if path.is_root() && self.made.contains(&path) {
            // Told when it was made.
        } else if let Some(word) = action.word() {
            self.report.change(&path, word);
        } else {
            self.report.unchanged();
        }
        if self.options.dry_run {
            if matches!(action, Action::Rewrite | Action::Replace { .. }) {
                self.report.note_rewritten(&path);
            }
            return Ok(());
        }
        if action == Action::None {
            return Ok(());
        }
        self.carry_out(path, entry, action, stat)
    }

    /// Sets the time, where nothing else is other than the manifest has it, and the file system may have cut it: whether it
    /// has kept it this time.
    fn only_time_set(
        &mut self,
        path: &ArchivePath,
        entry: &Entry,
        stat: &Stat,
    ) -> Result<Option<bool>, SourceError> {
        if !is_cut(&entry.meta, stat, self.owners)
            || !self.target.has_xattrs(path, stat.kind, &entry.meta.xattrs)?
        {
            return Ok(None);
        }
        let unrestored = self.target.set_metadata(path, &entry.meta, stat)?;
        self.report.unrestored(&unrestored);
        Ok(Some(self.target.stat(path)?.is_some_and(|now| now.mtime != stat.mtime)))
    }

    /// Notes a link whose first name is not selected.
    fn detach(&mut self, first: &ArchivePath, path: ArchivePath) -> Result<(), SourceError> {
        self.detached_links.insert(&path);
        self.detached_bytes += first.as_bytes().len() + path.as_bytes().len() + 2 * size_of::<ArchivePath>();
        if self.detached_bytes > MAX_DETACHED {
            let error = "too many links are selected without the first name of their file; select that too";
            return Err(SourceError::new(&path, "link", std::io::Error::other(error)));
        }
        self.detached.entry(first.clone()).or_default().push(path);
        Ok(())
    }

    /// Whether what is to be made is there by another name now.
    fn link_to_before(&mut self, path: &ArchivePath, entry: &Entry) -> bool {
        let Some(linking) = self.linking.as_mut().filter(|_| !self.options.dry_run) else { return false };
        match linking.link(&mut self.target, path, entry, self.owners) {
            Ok(linked) => linked,
            // Whatever keeps the manifest before from being read: a tree can be made without it.
            Err(_) => {
                self.linking = None;
                false
            }
        }
    }

    fn carry_out(
        &mut self,
        path: ArchivePath,
        entry: Entry,
        action: Action,
        stat: Option<Stat>,
    ) -> Result<(), SourceError> {
        let replaced = matches!(action, Action::Replace { .. });
        // A directory that stood there has been removed.
        let looked = stat.filter(|stat| stat.kind != NodeKind::Directory).map(|s| (s.device, s.inode));
        match &entry.kind {
            // A folder's metadata is set when all that is in it is done.
            Kind::Directory if action == Action::Mend => {}
            Kind::Directory => {
                if replaced {
                    self.target.remove(&path, false)?;
                }
                if !path.is_root() {
                    self.target.make_folder(&path)?;
                }
            }
            _ if action == Action::Mend
                && let Some(stat) = stat =>
            {
                let unrestored = self.target.set_metadata(&path, &entry.meta, &stat)?;
                self.report.unrestored(&unrestored);
            }
            // It takes the place of another in one step.
            Kind::File(content) => self.writer.add(path, entry.meta, content, looked),
            kind => {
                let unrestored = self.target.make_node(&path, kind, &entry.meta, looked)?;
                self.report.unrestored(&unrestored);
            }
        }
        Ok(())
    }

    /// Makes the folders on the way to something selected.
    fn make_ancestors(&mut self) -> Result<(), SourceError> {
        for path in self.ancestors.take() {
            self.make_on_the_way(path)?;
        }
        Ok(())
    }

    /// Makes the folders above a path whose own entries a damaged part of the manifest had.
    fn make_lost_folders(&mut self, path: &ArchivePath) -> Result<(), SourceError> {
        let mut lost = Vec::new();
        let mut above = path.parent().filter(|_| self.report.is_damaged());
        while let Some(folder) = above.filter(|folder| !self.made.contains(folder)) {
            if self.target.stat(&folder)?.is_some_and(|stat| stat.kind == NodeKind::Directory) {
                break;
            }
            above = folder.parent();
            lost.push(folder);
        }
        for folder in lost.into_iter().rev() {
            self.make_on_the_way(folder.clone())?;
            self.made.insert(folder.clone());
            let operation = "restore the owner, mode and times of".to_owned();
            let error = "the part of the manifest that had them is damaged".to_owned();
            self.report.problem(Problem { path: folder, operation, error });
        }
        Ok(())
    }

    fn make_on_the_way(&mut self, path: ArchivePath) -> Result<(), SourceError> {
        if self.target.stat(&path)?.is_some() {
            let error = "something that is no folder stands on the way to what is to be restored";
            return Err(SourceError::new(&path, "make", std::io::Error::other(error)));
        }
        self.report.change(&path, "create");
        if !self.options.dry_run {
            self.target.make_folder(&path)?;
            self.made.insert(path);
        }
        Ok(())
    }

    fn link_detached(&mut self, first: &ArchivePath, path: &ArchivePath) -> Result<(), SourceError> {
        let there = self.target.stat(path)?;
        let same = |a: Stat, b: Stat| (a.device, a.inode) == (b.device, b.inode);
        if let (Some(a), Some(b)) = (self.target.stat(first)?, there)
            && same(a, b)
        {
            return Ok(());
        }
        self.clearing.make_room(&mut self.target, path)?;
        self.report.change(path, "link");
        if self.options.dry_run { Ok(()) } else { self.target.make_hard_link(first, path) }
    }

    /// Restores links whose first name is not selected: the first of them as a file, the others as links to it.
    pub(super) fn detached_links(
        &mut self,
        manifest: &Manifest,
        looking: &mut Worker<'_>,
    ) -> Result<(), ArchiveError> {
        if self.detached.is_empty() {
            return Ok(());
        }
        let wanted = std::mem::take(&mut self.detached);
        let (mut links, mut found) = (Vec::new(), BTreeSet::new());
        for entry in manifest.readable(|_| ())? {
            let (first, mut entry) = entry?;
            if matches!(entry.kind, Kind::Directory | Kind::HardLink(_)) {
                continue;
            }
            let Some((path, others)) = wanted.get(&first).and_then(|paths| paths.split_first()) else {
                continue;
            };
            found.insert(first);
            entry.name = path.file_name();
            self.apply(looking.look(path.clone(), entry), true);
            links.extend(others.iter().map(|other| (path.clone(), other.clone())));
        }
        for (first, paths) in wanted.iter().filter(|(first, _)| !found.contains(*first)) {
            paths.iter().for_each(|path| self.report.problem((&no_first_name(path, first)).into()));
        }
        self.writer.flush();
        for (first, path) in links {
            if let Err(error) = self.link_detached(&first, &path) {
                self.report.problem((&error).into());
            }
        }
        Ok(())
    }
}
