//! Second stage: look at what must be looked at, and read what must be read; several threads, results in order.

use super::scan::Step;
use crate::model::{ArchivePath, Entry, FileContent, Kind, Meta, NodeKind, Observer, Problem, Stat, Xattr};
use crate::ops::parallel::{Closed, Output, Pool};
use crate::tree::{ContentSink, Found, ReadContent, Restart, SourceError, SourceReader};
use std::ops::{ControlFlow, Range};
use std::time::Duration;

/// What the read stage puts out.
#[derive(Debug)]
pub(super) enum Fed {
    /// Some entries, and the contents of their files end to end.
    Batch { bytes: Vec<u8>, items: Vec<Item> },
    /// The next bytes of a large file, whose entry comes after them.
    Data(Vec<u8>),
    /// Zeros in a large file.
    Hole(u64),
    /// The large file is read again from its start.
    Restart,
    /// The large file is through.
    Large(Box<NewFile>),
    /// The large file cannot be read to its end.
    LargeFailed(Problem),
}

/// An entry on its way to the manifest.
#[derive(Debug)]
pub(super) enum Item {
    /// Finished; a file's extents are in rows of the previous manifest.
    Ready(Entry),
    /// A file whose content is a range of the batch's bytes.
    Small(Box<NewFile>, Range<usize>),
    /// Another name of an earlier entry, with the path.
    Link(Entry, ArchivePath),
    /// Something that could not be read; the entry is left out if `lost`.
    Problem { problem: Problem, lost: bool },
    /// Something that went away.
    Vanished(ArchivePath),
    /// The next file is another inode than the walk saw.
    Replaced(ArchivePath),
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct NewFile {
    /// Without its extents.
    pub(super) entry: Entry,
    /// What stood at the path before.
    pub(super) before: Option<Entry>,
}

impl NewFile {
    /// The file's content, as far as it is known.
    pub(super) fn content(&self) -> Option<&FileContent> {
        match &self.entry.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }
}

/// How often a file is looked for that is listed and not found.
const LOOKS: u32 = 4;

/// A worker of this stage.
pub(super) struct Reading<'a> {
    pub(super) source: SourceReader,
    /// Files of at least so many bytes are handed on in pieces.
    pub(super) large: usize,
    pub(super) pool: &'a Pool,
    pub(super) observer: &'a dyn Observer,
}

impl Reading<'_> {
    /// Does the steps of one piece of work.
    pub(super) fn work(&mut self, steps: Vec<Step>, output: &Output<Fed>) {
        // A taker that is gone says itself what is wrong.
        let _ = self.steps(steps, output);
    }

    fn steps(&mut self, steps: Vec<Step>, output: &Output<Fed>) -> Result<(), Closed> {
        let items = Vec::with_capacity(steps.len());
        let mut batch = Batch { bytes: Vec::new(), items, output, pool: self.pool };
        for step in steps {
            match step {
                Step::Keep(entry) => batch.items.push(Item::Ready(entry)),
                Step::Link { found, target } => self.link(found, target, &mut batch)?,
                Step::Problem(problem) => {
                    self.observer.problem(&problem);
                    batch.items.push(Item::Problem { problem, lost: true });
                }
                Step::Read { found, before, content } if found.stat.kind == NodeKind::File && content => {
                    self.file(found, before, &mut batch)?;
                }
                Step::Read { found, before, .. } => self.other(&found, before, &mut batch),
            }
        }
        batch.flush()?;
        self.pool.give(batch.bytes);
        Ok(())
    }

    /// Another name of a file, if it is as the walk saw it: then the file is, whose content came with its first name.
    fn link(&mut self, found: Found, target: ArchivePath, batch: &mut Batch<'_>) -> Result<(), Closed> {
        match self.source.look(&found.path) {
            Ok(now) if now.is_same_file(&found.stat) => {
                if let Some(xattrs) = self.xattrs(&found, batch) {
                    let entry = entry_of(&found.path, &found.stat, xattrs, Kind::HardLink(target));
                    batch.items.push(Item::Link(entry, found.path));
                }
            }
            Ok(stat) if stat.kind == NodeKind::File => {
                return self.file(Found { stat, ..found }, None, batch);
            }
            Ok(stat) if stat.kind != NodeKind::Directory => self.other(&Found { stat, ..found }, None, batch),
            Ok(_) => {
                let error = std::io::Error::other("it is a directory by now");
                self.note_problem(&SourceError::new(&found.path, "link", error), true, batch);
            }
            Err(error) => drop(self.note(&error, true, batch)),
        }
        Ok(())
    }

    /// Attributes; none where there is nothing any more that could have some.
    fn xattrs(&mut self, found: &Found, batch: &mut Batch<'_>) -> Option<Vec<Xattr>> {
        match self.source.xattrs(&found.path, found.stat.kind) {
            Ok(xattrs) => Some(xattrs),
            Err(error) => self.note(&error, false, batch).then(Vec::new),
        }
    }

    /// Notes that something failed; returns whether the path is still there, as far as can be told.
    fn note(&mut self, error: &SourceError, lost: bool, batch: &mut Batch<'_>) -> bool {
        if error.is_absent() && self.source.is_gone(&error.path).is_ok_and(|gone| gone) {
            batch.items.push(Item::Vanished(error.path.clone()));
            return false;
        }
        self.note_problem(error, lost, batch);
        true
    }

    fn note_problem(&self, error: &SourceError, lost: bool, batch: &mut Batch<'_>) {
        let problem = Problem::from(error);
        self.observer.problem(&problem);
        batch.items.push(Item::Problem { problem, lost });
    }

    /// Everything but a regular file's content.
    fn other(&mut self, found: &Found, before: Option<Entry>, batch: &mut Batch<'_>) {
        let kind = match (found.stat.kind, before.map(|b| b.kind)) {
            (NodeKind::File, Some(Kind::File(content))) => Kind::File(content),
            // The scan asks for a file without its content only where it was one before.
            (NodeKind::File, _) => return,
            (NodeKind::Directory, _) => Kind::Directory,
            (NodeKind::Symlink, _) => match self.source.link_target(&found.path) {
                Ok(target) => Kind::Symlink(target),
                Err(error) => {
                    self.note(&error, true, batch);
                    return;
                }
            },
            (NodeKind::Fifo, _) => Kind::Fifo,
            (NodeKind::Socket, _) => Kind::Socket,
            (NodeKind::CharDevice(device), _) => Kind::CharDevice(device),
            (NodeKind::BlockDevice(device), _) => Kind::BlockDevice(device),
        };
        if let Some(xattrs) = self.xattrs(found, batch) {
            batch.items.push(Item::Ready(entry_of(&found.path, &found.stat, xattrs, kind)));
        }
    }

    /// A regular file with its content. One that cannot be found though it is listed is looked for again: another may be
    /// taking its place.
    fn file(
        &mut self,
        mut found: Found,
        mut before: Option<Entry>,
        batch: &mut Batch<'_>,
    ) -> Result<(), Closed> {
        for attempt in 1.. {
            let Some(error) = self.content(&found, &mut before, batch)? else { return Ok(()) };
            if error.is_absent() && self.source.is_gone(&found.path).is_ok_and(|gone| gone) {
                batch.items.push(Item::Vanished(found.path));
                return Ok(());
            }
            match self.source.look(&found.path) {
                Ok(stat) if stat.kind == NodeKind::File && error.is_absent() && attempt < LOOKS => {
                    std::thread::sleep(Duration::from_millis(1 << attempt));
                }
                Ok(stat) if !matches!(stat.kind, NodeKind::File | NodeKind::Directory) => {
                    // Something else took its place since the walk: names of the file are not names of this.
                    batch.items.push(Item::Replaced(found.path.clone()));
                    found.stat = stat;
                    self.other(&found, None, batch);
                    return Ok(());
                }
                _ => {
                    self.note_problem(&error, true, batch);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reads a file; an error where it could not be read at all.
    fn content(
        &mut self,
        found: &Found,
        before: &mut Option<Entry>,
        batch: &mut Batch<'_>,
    ) -> Result<Option<SourceError>, Closed> {
        let start = batch.bytes.len();
        let mut sink = FileSink {
            start,
            large: self.large,
            streams: false,
            piece: Vec::new(),
            closed: false,
            batch,
            observer: self.observer,
        };
        let read = self.source.content(&found.path, &mut sink);
        let (streams, closed) = (sink.streams, sink.closed);
        if closed {
            return Err(Closed);
        }
        match read {
            Ok(read) => {
                if let Err(error) = &read.xattrs {
                    self.note_problem(error, false, batch);
                }
                if found.stat.links > 1 && !read.stat.is_same_file(&found.stat) {
                    // Another file took its place since the walk: the inode's other names are not names of this one.
                    batch.items.push(Item::Replaced(found.path.clone()));
                }
                let file = Box::new(NewFile { entry: file_entry(&found.path, read), before: before.take() });
                if streams {
                    batch.flush()?;
                    batch.output.send(Fed::Large(file))?;
                } else {
                    batch.items.push(Item::Small(file, start..batch.bytes.len()));
                }
                Ok(None)
            }
            Err(error) if streams => {
                let problem = Problem::from(&error);
                self.observer.problem(&problem);
                batch.output.send(Fed::LargeFailed(problem))?;
                Ok(None)
            }
            Err(error) => {
                batch.bytes.truncate(start);
                Ok(Some(error))
            }
        }
    }
}

fn file_entry(path: &ArchivePath, read: ReadContent) -> Entry {
    let content = FileContent {
        size: read.size,
        hash: read.hash,
        extents: Vec::new(),
        changed_while_read: read.changed_while_read,
    };
    entry_of(path, &read.stat, read.xattrs.unwrap_or_default(), Kind::File(content))
}

fn entry_of(path: &ArchivePath, stat: &Stat, xattrs: Vec<Xattr>, kind: Kind) -> Entry {
    let meta = Meta {
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        xattrs,
    };
    Entry { depth: path.depth(), name: path.file_name(), meta, kind }
}

/// What has been done of a piece of work and not been handed on.
struct Batch<'a> {
    bytes: Vec<u8>,
    items: Vec<Item>,
    output: &'a Output<Fed>,
    pool: &'a Pool,
}

impl Batch<'_> {
    fn flush(&mut self) -> Result<(), Closed> {
        if self.items.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        let items = std::mem::take(&mut self.items);
        self.output.send(Fed::Batch { bytes, items })
    }
}

/// Gathers a file in the batch, until it turns out to be large: then hands it on in pieces.
struct FileSink<'a, 'b> {
    batch: &'a mut Batch<'b>,
    /// Where the file begins in the batch's bytes.
    start: usize,
    large: usize,
    streams: bool,
    /// Of a file that is handed on in pieces: what is being read.
    piece: Vec<u8>,
    closed: bool,
    observer: &'a dyn Observer,
}

impl FileSink<'_, '_> {
    fn send(&mut self, fed: Fed) -> ControlFlow<()> {
        if self.batch.output.send(fed).is_err() || self.observer.cancelled() {
            self.closed = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Hands on what came before the file, then what there is of it.
    fn begin_stream(&mut self) -> ControlFlow<()> {
        let begun = self.batch.bytes.split_off(self.start);
        self.streams = true;
        if self.batch.flush().is_err() {
            self.closed = true;
            return ControlFlow::Break(());
        }
        // The batch is empty now: what comes after the file begins a new one.
        self.start = 0;
        if begun.is_empty() { ControlFlow::Continue(()) } else { self.send(Fed::Data(begun)) }
    }
}

impl ContentSink for FileSink<'_, '_> {
    fn buffer(&mut self) -> &mut Vec<u8> {
        let buffer = if self.streams { &mut self.piece } else { &mut self.batch.bytes };
        if buffer.capacity() == 0 {
            *buffer = self.batch.pool.take();
        }
        buffer
    }

    fn data(&mut self, count: usize) -> ControlFlow<()> {
        self.observer.counters().bytes_read.add(count as u64);
        if self.streams {
            let piece = std::mem::take(&mut self.piece);
            return self.send(Fed::Data(piece));
        }
        if self.batch.bytes.len() - self.start >= self.large {
            self.begin_stream()
        } else {
            ControlFlow::Continue(())
        }
    }

    fn hole(&mut self, length: u64) -> ControlFlow<()> {
        let gathered = self.batch.bytes.len() - self.start;
        if !self.streams && gathered as u64 + length < self.large as u64 {
            self.batch.bytes.resize(self.start + gathered + length as usize, 0);
            return ControlFlow::Continue(());
        }
        if !self.streams && self.begin_stream().is_break() {
            return ControlFlow::Break(());
        }
        self.send(Fed::Hole(length))
    }

    fn restart(&mut self) -> Restart {
        let ended = self.streams && self.send(Fed::Restart).is_break();
        self.piece.clear();
        self.batch.bytes.truncate(self.start);
        if ended { Restart::Stop } else { Restart::Again }
    }

    fn wants_holes(&self) -> bool {
        true
    }
}
