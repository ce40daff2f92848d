//! First stage: walk the source, compare each path with the manifest before, and say what is to be done.

use super::copies::Copy;
use super::previous::Previous;
use crate::archive::ArchiveError;
use crate::data::{Change, Compare, Merge, Merged, Placed};
use crate::format::MAX_LEFT_OUT;
use crate::model::{ArchivePath, Entry, Kind, LeftOut, LeftOutReason, NodeKind, Observer, Problem, Stat};
use crate::ops::Error;
use crate::ops::parallel::{Threads, Work};
use crate::tree::{Found, Walk, Walked};
use std::collections::HashMap;
use std::collections::hash_map::Entry::Occupied;

/// What is to be done about a path.
#[derive(Debug)]
pub(super) enum Step {
    /// It is as before: its entry is kept.
    Keep(Entry),
    /// It must be looked at; its content too, where `content` says so.
    Read { found: Found, before: Option<Entry>, content: bool },
    /// It is another name of `target`, which came before.
    Link { found: Found, target: ArchivePath },
    /// It could not be looked at.
    Problem(Problem),
}

/// What a scan came upon besides what it handed on.
#[derive(Default, Debug)]
pub(super) struct Scanned {
    pub(super) left_out: LeftOuts,
    pub(super) skipped: u64,
    pub(super) vanished: u64,
    pub(super) removed: u64,
}

/// Places that were left out, as many as a manifest can list.
#[derive(Default, Debug)]
pub(super) struct LeftOuts {
    places: Vec<LeftOut>,
    bytes: usize,
    unlisted: bool,
}

impl LeftOuts {
    /// Bytes of a record besides its path, at most.
    const RECORD: usize = 16;

    /// Notes a place; they come in path order.
    fn add(&mut self, place: LeftOut) {
        let bytes = self.bytes + place.path.as_bytes().len() + Self::RECORD;
        // Room for the one that says that there are more.
        if bytes + Self::RECORD > MAX_LEFT_OUT || self.unlisted {
            self.unlisted = true;
            return;
        }
        self.bytes = bytes;
        self.places.push(place);
    }

    /// The places in path order. Where there are more, the first says so of the whole tree.
    pub(super) fn list(mut self) -> Vec<LeftOut> {
        if self.unlisted {
            self.places.retain(|place| !place.path.is_root());
            self.places.insert(0, LeftOut { path: ArchivePath::root(), reason: LeftOutReason::Unlisted });
        }
        self.places
    }
}

/// The first names of inodes, with how many names are still to come: forgotten with the last, so that memory grows only
/// with the names that are outside of the source.
type Heads = HashMap<(u64, u64), Head>;

#[derive(Debug)]
struct Head {
    path: ArchivePath,
    /// What the file was like then: another name of it is like that too, and what is not is another file.
    stat: Stat,
    left: u64,
}

/// How large a piece of work is at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pieces {
    steps: usize,
    /// Bytes of files to be read; a single one may have more.
    bytes: u64,
}

impl Pieces {
    pub(super) const LARGE: Self = Self { steps: 256, bytes: 1 << 20 };
    pub(super) const SMALL: Self = Self { steps: 32, bytes: 128 << 10 };
}

/// Paths that the walk hands over at once.
const WALKED: usize = 256;

/// What the scan compares a source with.
pub(super) struct Scan<'a> {
    pub(super) previous: Option<&'a Previous>,
    pub(super) compare: Option<Compare>,
    pub(super) copy: Option<Copy<'a>>,
    pub(super) pieces: Pieces,
    pub(super) observer: &'a dyn Observer,
}

/// The entries of the manifest before.
type Earlier<'a> = Box<dyn Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>> + 'a>;

impl Placed for Walked {
    fn path(&self) -> &ArchivePath {
        match self {
            Self::Found(found) => &found.path,
            Self::Problem(problem) => &problem.path,
            Self::Skipped(path, _) | Self::Vanished(path) => path,
            Self::LeftOut(place) => &place.path,
        }
    }
}

/// Entries that are gone, between two questions whether to stop.
const GONE: u64 = 1024;

impl<'a> Scan<'a> {
    /// Hands the steps for a whole source to `work`, in path order.
    pub(super) fn run<R: Send>(
        mut self,
        walk: impl Iterator<Item = Walked>,
        work: &Work<Vec<Step>, R>,
    ) -> Result<Scanned, Error> {
        let mut scanned = Scanned::default();
        let mut heads = Heads::new();
        let (mut steps, mut bytes) = (Vec::with_capacity(self.pieces.steps), 0);
        for merged in Merge::new(walk.map(Ok), self.before()?) {
            let (walked, before) = match merged? {
                Merged::Left(walked) => (walked, None),
                Merged::Both(walked, (_, before)) => (walked, Some(before)),
                Merged::Right(_) => {
                    scanned.removed += 1;
                    if scanned.removed.is_multiple_of(GONE) && self.observer.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    continue;
                }
            };
            let Some(step) = self.step(walked, before, &mut heads, &mut scanned)? else { continue };
            let size = match &step {
                Step::Read { found, content: true, .. } => found.stat.size,
                _ => 0,
            };
            if steps.len() >= self.pieces.steps || bytes + size > self.pieces.bytes {
                if self.observer.cancelled() {
                    return Err(Error::Cancelled);
                }
                if !steps.is_empty() && work.send(std::mem::take(&mut steps)).is_err() {
                    return Ok(scanned);
                }
                bytes = 0;
            }
            bytes += size;
            steps.push(step);
        }
        if self.observer.cancelled() {
            return Err(Error::Cancelled);
        }
        if !steps.is_empty() {
            // A taker that is gone says itself what is wrong.
            let _ = work.send(steps);
        }
        Ok(scanned)
    }

    fn before(&self) -> Result<Earlier<'a>, ArchiveError> {
        let Some(previous) = self.previous else { return Ok(Box::new(std::iter::empty())) };
        let (observer, mut told) = (self.observer, false);
        let entries = previous.entries(move |error| {
            if !std::mem::replace(&mut told, true) {
                observer.warn(&format!("in part not compared with: {error}"));
            }
        })?;
        Ok(Box::new(entries))
    }

    /// What is to be done about something that was met, and that the manifest before has as `before`; none where it is only
    /// counted.
    fn step(
        &mut self,
        walked: Walked,
        before: Option<Entry>,
        heads: &mut Heads,
        scanned: &mut Scanned,
    ) -> Result<Option<Step>, Error> {
        let is_found = matches!(walked, Walked::Found(_));
        scanned.removed += u64::from(before.is_some() && !is_found);
        match walked {
            Walked::Skipped(..) => scanned.skipped += 1,
            Walked::LeftOut(place) => {
                if place.reason == LeftOutReason::Store {
                    let path = &place.path;
                    self.observer
                        .warn(&format!("{path} is the store, or a copy of it: it is left out of the backup"));
                }
                scanned.skipped += u64::from(place.reason != LeftOutReason::Cache);
                scanned.left_out.add(place);
            }
            Walked::Vanished(_) => scanned.vanished += 1,
            Walked::Problem(problem) => return Ok(Some(Step::Problem(problem))),
            Walked::Found(found) => {
                self.observer.counters().entries.add(1);
                let (compare, copy) = (self.compare.as_ref(), self.copy.as_mut());
                return Ok(Some(step(found, before, self.previous, compare, copy, heads)?));
            }
        }
        Ok(None)
    }
}

fn step(
    found: Found,
    before: Option<Entry>,
    previous: Option<&Previous>,
    compare: Option<&Compare>,
    copy: Option<&mut Copy<'_>>,
    heads: &mut Heads,
) -> Result<Step, ArchiveError> {
    let stat = &found.stat;
    let may_have_links = copy.as_ref().is_none_or(|copy| copy.has_links(stat));
    if stat.links > 1 && stat.kind != NodeKind::Directory && may_have_links {
        match heads.entry((stat.device, stat.inode)) {
            Occupied(mut known) if known.get().stat.is_same_file(stat) => {
                let head = known.get_mut();
                head.left = head.left.saturating_sub(1);
                let target = if head.left == 0 { known.remove().path } else { head.path.clone() };
                return Ok(Step::Link { target, found });
            }
            place => {
                let head = Head { path: found.path.clone(), stat: *stat, left: stat.links - 1 };
                let _ = place.insert_entry(head);
            }
        }
    }
    let same = match (copy, compare) {
        (Some(copy), Some(compare)) => copy.same_inode(&found, before.as_ref(), compare)?,
        _ => None,
    };
    let (Some(mut entry), Some(previous), Some(compare)) = (same.or(before), previous, compare) else {
        return Ok(Step::Read { found, before: None, content: true });
    };
    let reusable = match &entry.kind {
        Kind::File(content) => previous.can_reuse(&content.extents),
        _ => true,
    };
    Ok(match compare.change(&entry, stat) {
        Change::None if reusable => {
            entry.meta.inode = stat.inode;
            Step::Keep(entry)
        }
        Change::Metadata if reusable => Step::Read { found, before: Some(entry), content: false },
        _ => Step::Read { found, before: Some(entry), content: true },
    })
}

/// The walk of a source on a thread of its own, some way ahead.
///
/// # Errors
/// As [`Threads::start`].
pub(super) fn walk_ahead<'scope>(
    threads: &Threads<'scope, '_>,
    walk: Walk,
    observer: &'scope dyn Observer,
) -> Result<impl Iterator<Item = Walked> + use<>, Error> {
    let (send, receive) = crossbeam_channel::bounded(16);
    let mut walk = walk;
    threads.start("walk", move || {
        loop {
            let batch: Vec<Walked> = walk.by_ref().take(WALKED).collect();
            // Who has asked once to stop goes on asking, so the scan does not take this for the walk's end.
            if batch.is_empty() || observer.cancelled() || send.send(batch).is_err() {
                return;
            }
        }
    })?;
    Ok(receive.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn only_what_looks_the_same_is_another_name() {
        let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap_or_default();
        let (mtime, ctime) = (Timestamp { secs: 5, nanos: 1 }, Timestamp { secs: 6, nanos: 1 });
        let first = Stat {
            kind: NodeKind::File,
            mode: 0o644,
            uid: 1,
            gid: 1,
            size: 3,
            mtime,
            ctime,
            inode: 7,
            device: 1,
            mount: None,
            links: 2,
            allocated: 512,
        };
        let others = [
            Stat { size: 4, ..first },
            Stat { mtime: ctime, ..first },
            Stat { mode: 0o600, ..first },
            Stat { uid: 2, ..first },
            Stat { gid: 2, ..first },
            Stat { links: 3, ..first },
            Stat { kind: NodeKind::Fifo, ..first },
            Stat { device: 2, ..first },
        ];
        let meet = |heads: &mut Heads, at: &str, stat| {
            let found = Found { path: path(at), stat };
            match step(found, None, None, None, None, heads) {
                Ok(Step::Link { target, .. }) => Some(target),
                _ => None,
            }
        };
        for other in others {
            let mut heads = Heads::new();
            assert_eq!(meet(&mut heads, "a", first), None);
            assert_eq!(meet(&mut heads, "b", other), None, "{other:?}");
            // The number belongs to the newer file by now.
            assert_eq!(meet(&mut heads, "c", other), Some(path("b")), "{other:?}");
        }
        let mut heads = Heads::new();
        let linked = Stat { ctime: Timestamp { secs: 9, nanos: 0 }, ..first };
        assert_eq!((meet(&mut heads, "a", first), meet(&mut heads, "b", linked)), (None, Some(path("a"))));
        assert!(heads.is_empty(), "all names have been met");
    }
}
