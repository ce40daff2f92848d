//! Third stage: lay contents end to end, find those that the store has as a whole, and cut the rest into chunks.

use super::known::KnownContents;
use super::read::{Fed, Item, NewFile};
use crate::data::{Chunk, ContentStream, Cut, CutKey, CutSizes, Ranges, StreamExtent};
use crate::model::{ArchivePath, Entry, Extent, Kind, Observer, Problem};
use crate::ops::Error;
use crate::ops::parallel::{Pool, Work};
use std::collections::HashSet;

/// What the cut stage hands to the pack stage, in order: a chunk before the entries that need it.
#[derive(Debug)]
pub(super) enum Piece {
    Chunk(Chunk),
    Rows(Vec<Row>),
}

/// Something for the manifest.
#[derive(Debug)]
pub(super) enum Row {
    /// An entry, with where its content is, and how it stands to what was there before.
    Entry { entry: Entry, content: Content, class: Class },
    /// Something that could not be read.
    Problem(Problem),
    /// Something went away.
    Vanished,
}

/// Where an entry's content is.
#[derive(Debug)]
pub(super) enum Content {
    /// In rows of the previous manifest's table, as the entry says; or the entry has none.
    Kept,
    /// In chunks of this run's stream.
    Stream(Vec<StreamExtent>),
}

/// How a file stands to what was at its path before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    New,
    Changed,
    Unchanged,
}

/// Rows in one piece of work for the pack stage.
const MAX_ROWS: usize = 256;

pub(super) struct Cutting<'a, R> {
    stream: ContentStream<'a, Pending>,
    pool: &'a Pool,
    known: Option<KnownContents<'a>>,
    out: Out<'a, R>,
    /// The large file that is coming in.
    large: Option<Ranges>,
    /// Entries with several names that were left out: their other names lead nowhere.
    lost: HashSet<ArchivePath>,
}

/// An entry in the stream.
#[derive(Debug)]
struct Pending {
    row: Row,
}

struct Out<'a, R> {
    work: &'a Work<Piece, R>,
    rows: Vec<Row>,
}

/// Whoever takes the pieces is gone, and says itself what is wrong.
#[derive(Debug)]
enum Stop {
    Closed,
    Failed(Error),
}

impl<R> Out<'_, R> {
    fn take(&mut self, cut: Cut<Pending>) -> Result<(), Stop> {
        match cut {
            Cut::Chunk(chunk) => {
                self.flush()?;
                self.work.send(Piece::Chunk(chunk)).map_err(|_| Stop::Closed)
            }
            Cut::Item(Pending { row }, extents) => {
                self.rows.push(match (row, extents) {
                    (Row::Entry { entry, class, .. }, Some(extents)) => {
                        Row::Entry { entry, class, content: Content::Stream(extents) }
                    }
                    (row, _) => row,
                });
                if self.rows.len() >= MAX_ROWS { self.flush() } else { Ok(()) }
            }
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.work.send(Piece::Rows(rows)).map_err(|_| Stop::Closed)
    }
}

impl<'a, R> Cutting<'a, R> {
    /// `pool` takes back the buffers of what was read; `spare` gives those for chunks.
    pub(super) fn new(
        (sizes, key): (CutSizes, Option<&'a CutKey>),
        known: Option<KnownContents<'a>>,
        work: &'a Work<Piece, R>,
        pool: &'a Pool,
        spare: &'a dyn Fn() -> Vec<u8>,
    ) -> Self {
        Self {
            stream: ContentStream::new(sizes, key, spare),
            pool,
            known,
            out: Out { work, rows: Vec::new() },
            large: None,
            lost: HashSet::new(),
        }
    }

    /// Takes all that the read stage puts out.
    pub(super) fn run(
        mut self,
        fed: impl Iterator<Item = Fed>,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        let taken = self.take_all(fed, observer);
        if let Some(known) = &self.known {
            known.tell(observer);
        }
        match taken {
            Ok(()) | Err(Stop::Closed) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn take_all(&mut self, fed: impl Iterator<Item = Fed>, observer: &dyn Observer) -> Result<(), Stop> {
        for fed in fed {
            if observer.cancelled() {
                return Err(Stop::Failed(Error::Cancelled));
            }
            self.take(fed)?;
        }
        self.stream.cut_here(&mut |cut| self.out.take(cut))?;
        self.out.flush()
    }

    fn take(&mut self, fed: Fed) -> Result<(), Stop> {
        match fed {
            Fed::Batch { bytes, items } => {
                for item in items {
                    self.item(item, &bytes)?;
                }
                self.pool.give(bytes);
            }
            Fed::Data(bytes) => {
                self.begin_large()?;
                let start = self.stream.position();
                self.append(&bytes)?;
                self.pool.give(bytes);
                if let Some(ranges) = &mut self.large {
                    ranges.data(start, self.stream.position());
                }
            }
            Fed::Hole(length) => {
                self.begin_large()?;
                if let Some(ranges) = &mut self.large {
                    ranges.hole(length);
                }
            }
            Fed::Restart => {
                // What has come of the file stays in the stream as waste, and nothing will refer to it.
                self.large = None;
            }
            Fed::Large(file) => {
                let ranges = self.large.take().unwrap_or_default();
                let class = class(&file);
                self.entry(file.entry, Some(ranges), class)?;
                self.stream.cut_here(&mut |cut| self.out.take(cut))?;
            }
            Fed::LargeFailed(problem) => {
                self.large = None;
                self.problem(problem, true)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.stream.append(bytes, &mut |cut| self.out.take(cut))
    }

    /// Cuts the stream where a large file begins, so that its chunks do not depend on what is before it.
    fn begin_large(&mut self) -> Result<(), Stop> {
        if self.large.is_none() {
            self.stream.cut_here(&mut |cut| self.out.take(cut))?;
            self.stream.forget_before(self.stream.position());
            self.large = Some(Ranges::default());
        }
        Ok(())
    }

    fn item(&mut self, item: Item, bytes: &[u8]) -> Result<(), Stop> {
        match item {
            Item::Ready(entry) => self.entry(entry, None, Class::Unchanged),
            Item::Small(file, range) => self.small(*file, bytes.get(range).unwrap_or_default()),
            Item::Link(entry, path) => {
                if !matches!(&entry.kind, Kind::HardLink(target) if self.lost.contains(target)) {
                    return self.entry(entry, None, Class::Unchanged);
                }
                let error = "its first name could not be read, or is another file by now".to_owned();
                self.problem(Problem { path, operation: "link".into(), error }, true)
            }
            Item::Problem { problem, lost } => self.problem(problem, lost),
            Item::Replaced(path) => {
                self.lost.insert(path);
                Ok(())
            }
            Item::Vanished(path) => {
                self.lost.insert(path);
                self.row(Row::Vanished, None)
            }
        }
    }

    fn problem(&mut self, problem: Problem, lost: bool) -> Result<(), Stop> {
        if lost {
            self.lost.insert(problem.path.clone());
        }
        self.row(Row::Problem(problem), None)
    }

    fn small(&mut self, file: NewFile, bytes: &[u8]) -> Result<(), Stop> {
        let class = class(&file);
        if let Some(extents) = self.known_content(&file, bytes)? {
            let mut entry = file.entry;
            if let Kind::File(content) = &mut entry.kind {
                content.extents = extents;
            }
            return self.entry(entry, None, class);
        }
        let start = self.stream.position();
        self.stream.forget_before(start);
        self.append(bytes)?;
        let mut ranges = Ranges::default();
        ranges.data(start, self.stream.position());
        self.entry(file.entry, Some(ranges), class)
    }

    /// Extents that the store has of this content.
    fn known_content(&mut self, file: &NewFile, bytes: &[u8]) -> Result<Option<Vec<Extent>>, Stop> {
        let (Some(known), Some(content)) = (&mut self.known, file.content()) else { return Ok(None) };
        known.find(content, file.before.as_ref(), bytes).map_err(|e| Stop::Failed(e.into()))
    }

    fn entry(&mut self, entry: Entry, ranges: Option<Ranges>, class: Class) -> Result<(), Stop> {
        self.row(Row::Entry { entry, content: Content::Kept, class }, ranges)
    }

    fn row(&mut self, row: Row, ranges: Option<Ranges>) -> Result<(), Stop> {
        self.stream.item(Pending { row }, ranges, &mut |cut| self.out.take(cut))
    }
}

/// Compares a file that was read with what was at its path.
fn class(file: &NewFile) -> Class {
    let (Some(before), Some(now)) = (&file.before, file.content()) else { return Class::New };
    let Kind::File(old) = &before.kind else { return Class::New };
    let (a, b) = (&before.meta, &file.entry.meta);
    let same_meta =
        (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime) && a.xattrs == b.xattrs;
    if same_meta && old.hash == now.hash { Class::Unchanged } else { Class::Changed }
}
