//! First stage of a restore: what stands at each path, and what must be done about it. Changes nothing.

use super::report::Report;
use crate::data::{Change, Compare};
use crate::model::{ArchivePath, Entry, FileContent, Kind, Meta, NodeKind, Observer, Stat};
use crate::ops::Error;
use crate::ops::parallel::{Output, Place};
use crate::tree::{ContentSink, OwnerMap, Restart, SourceError, SourceReader, Target};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

/// What must be done to make a path equal to its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Only its metadata differs.
    Mend,
    /// Nothing stands there: it is made.
    Create,
    /// A file has another content, or a link another target.
    Rewrite,
    /// Something of another kind stands there; `folder` tells that it is a folder.
    Replace { folder: bool },
}

impl Action {
    /// The word that a restore prints.
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Mend => Some("metadata"),
            Self::Create => Some("create"),
            Self::Rewrite => Some("rewrite"),
            Self::Replace { .. } => Some("replace"),
        }
    }
}

/// An entry that was looked at.
pub(super) struct Looked {
    pub(super) path: ArchivePath,
    pub(super) entry: Entry,
    pub(super) action: Result<Action, SourceError>,
    /// What stands there.
    pub(super) stat: Option<Stat>,
}

impl Looked {
    /// Whether an inode has other names, so that changing it would change what stands there too.
    pub(super) fn is_shared(stat: &Stat) -> bool {
        stat.links > 1 && stat.kind != NodeKind::Directory
    }
}

/// Entries that are looked at together.
pub(super) struct Batch<'a> {
    pub(super) entries: Vec<(ArchivePath, Entry)>,
    /// The memory that they take.
    pub(super) place: Place<'a>,
}

/// What the workers of this stage share.
#[derive(Clone, Copy)]
pub(super) struct Looking<'a> {
    /// The target.
    pub(super) root: &'a Path,
    pub(super) owners: &'a OwnerMap,
    pub(super) compare: Compare,
    pub(super) observer: &'a dyn Observer,
    pub(super) report: &'a Report<'a>,
}

/// A worker of this stage.
pub(super) struct Worker<'a> {
    looking: Looking<'a>,
    target: Target,
    reader: SourceReader,
    /// What files are read into.
    buffer: Vec<u8>,
    /// See [`Looked`]; of the path that is being looked at.
    found: Option<Stat>,
    /// A folder that was not there: what is to be in it need not be looked for.
    missing: Option<ArchivePath>,
}

impl<'a> Worker<'a> {
    /// A worker with handles of its own.
    ///
    /// # Errors
    /// [`Error::Target`] where the target cannot be opened.
    pub(super) fn new(looking: Looking<'a>) -> Result<Self, Error> {
        let bad = |e: SourceError| Error::Target { path: looking.root.to_path_buf(), reason: e.to_string() };
        let target = Target::open(looking.root, looking.owners.clone()).map_err(bad)?;
        let reader = SourceReader::new(looking.root).map_err(bad)?;
        Ok(Self { looking, target, reader, buffer: Vec::new(), found: None, missing: None })
    }
}

impl Worker<'_> {
    pub(super) fn work<'p>(&mut self, batch: Batch<'p>, output: &Output<(Vec<Looked>, Place<'p>)>) {
        let look = |(path, entry): (ArchivePath, Entry)| self.look(path, entry);
        let looked = batch.entries.into_iter().map(look).collect();
        // A taker that is gone says itself what is wrong.
        let _ = output.send((looked, batch.place));
    }

    /// Looks at one path.
    pub(super) fn look(&mut self, path: ArchivePath, entry: Entry) -> Looked {
        self.found = None;
        let action = self.action(&path, &entry);
        Looked { path, entry, action, stat: self.found.take() }
    }

    fn action(&mut self, path: &ArchivePath, entry: &Entry) -> Result<Action, SourceError> {
        self.looking.observer.counters().entries.add(1);
        if matches!(entry.kind, Kind::HardLink(_)) {
            // Links are compared at the end, when their targets are what they will be.
            return Ok(Action::None);
        }
        let Some(stat) = self.stat(path, entry.kind == Kind::Directory)? else { return Ok(Action::Create) };
        self.found = Some(stat);
        if !same_kind(&entry.kind, stat.kind) {
            return Ok(Action::Replace { folder: stat.kind == NodeKind::Directory });
        }
        // The very inode that was backed up, untouched since: nothing needs to be read.
        let untouched = self.looking.compare.change(entry, &stat) == Change::None;
        let owned = self.looking.owners.owner(&entry.meta).is_none_or(|o| o == (stat.uid, stat.gid));
        if untouched && owned {
            return Ok(Action::None);
        }
        match &entry.kind {
            Kind::File(content) if stat.size != content.size => return Ok(Action::Rewrite),
            Kind::File(content) if !untouched && self.differs_in_content(path, content)? => {
                return Ok(Action::Rewrite);
            }
            Kind::Symlink(target) if self.target.link_target(path)? != *target => return Ok(Action::Rewrite),
            _ => {}
        }
        let same = same_metadata(&entry.meta, &stat, self.looking.owners);
        if same && self.target.has_xattrs(path, stat.kind, &entry.meta.xattrs)? {
            return Ok(Action::None);
        }
        // Mending an inode with other names would change what stands there too, and they may be right as they are.
        let anew = Looked::is_shared(&stat) || gives_rights(&entry.meta, &stat, self.looking.owners);
        Ok(if anew && entry.kind != Kind::Directory { Action::Rewrite } else { Action::Mend })
    }

    fn stat(&mut self, path: &ArchivePath, is_folder: bool) -> Result<Option<Stat>, SourceError> {
        if self.missing.as_ref().is_some_and(|missing| path.is_within(missing)) {
            return Ok(None);
        }
        let found = self.target.stat(path)?;
        if found.is_none() {
            self.missing = match path.parent() {
                _ if is_folder => Some(path.clone()),
                Some(folder) => self.target.stat(&folder)?.is_none().then_some(folder),
                None => None,
            };
        }
        Ok(found)
    }

    /// Whether a path, links aside, differs from its entry; the comparison decides how closely to look.
    pub(super) fn differs(&mut self, path: &ArchivePath, entry: &Entry) -> Result<bool, SourceError> {
        let action = self.action(path, entry)?;
        if action == Action::Mend
            && self.found.is_some_and(|stat| is_cut(&entry.meta, &stat, self.looking.owners))
        {
            self.looking.report.coarse.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(action != Action::None)
    }

    fn differs_in_content(&mut self, path: &ArchivePath, content: &FileContent) -> Result<bool, SourceError> {
        match self.reader.content(path, &mut CountOnly(self.looking.observer, &mut self.buffer)) {
            Ok(read) => Ok(read.hash != content.hash),
            // A file that we may not read, we may still replace.
            Err(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// Whether a file is to run with rights that it does not have now. Whoever has it open or mapped could still change it
/// then: an inode of its own is made, which nobody has.
fn gives_rights(meta: &Meta, stat: &Stat, owners: &OwnerMap) -> bool {
    let special = meta.mode & 0o6000;
    let runs_as_another = special != 0
        && (stat.mode & special != special
            || owners.owner(meta).is_some_and(|owner| owner != (stat.uid, stat.gid)));
    let has_capabilities = meta.xattrs.iter().any(|x| x.name == b"security.capability");
    stat.kind == NodeKind::File && (runs_as_another || has_capabilities)
}

/// Whether an entry's owner, mode and time are those of a path; a symbolic link has no mode of its own.
fn same_metadata(meta: &Meta, stat: &Stat, owners: &OwnerMap) -> bool {
    let owned = owners.owner(meta).is_none_or(|owner| owner == (stat.uid, stat.gid));
    let mode = owners.mode(meta, stat.kind == NodeKind::File, (stat.uid, stat.gid));
    owned && meta.mtime == stat.mtime && (stat.kind == NodeKind::Symlink || mode == stat.mode)
}

/// Whether nothing of an entry's metadata is other than its time, of which the file system may have cut off what it does
/// not keep.
pub(super) fn is_cut(meta: &Meta, stat: &Stat, owners: &OwnerMap) -> bool {
    let as_it_is = Meta { mtime: stat.mtime, xattrs: Vec::new(), ..*meta };
    meta.mtime != stat.mtime
        && meta.mtime.may_be_kept_as(stat.mtime)
        && same_metadata(&as_it_is, stat, owners)
}

fn same_kind(kind: &Kind, node: NodeKind) -> bool {
    match (kind, node) {
        (Kind::Directory, NodeKind::Directory)
        | (Kind::File(_), NodeKind::File)
        | (Kind::Symlink(_), NodeKind::Symlink)
        | (Kind::Fifo, NodeKind::Fifo)
        | (Kind::Socket, NodeKind::Socket) => true,
        (Kind::CharDevice(a), NodeKind::CharDevice(b)) | (Kind::BlockDevice(a), NodeKind::BlockDevice(b)) => {
            *a == b
        }
        _ => false,
    }
}

/// Lets bytes pass: only their hash matters.
struct CountOnly<'a>(&'a dyn Observer, &'a mut Vec<u8>);

impl ContentSink for CountOnly<'_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.1.clear();
        self.1
    }

    fn data(&mut self, count: usize) -> ControlFlow<()> {
        self.0.counters().bytes_read.add(count as u64);
        if self.0.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn hole(&mut self, _: u64) -> ControlFlow<()> {
        if self.0.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn restart(&mut self) -> Restart {
        Restart::Again
    }

    fn wants_holes(&self) -> bool {
        true
    }
}
