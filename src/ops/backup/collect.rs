//! Last stage: turn rows into entries of the new manifest, and chunks into rows of its object table.

use super::cut::{Class, Content, Row};
use super::previous::Previous;
use super::put::{Packed, StoredChunk};
use crate::archive::{ArchiveError, Inventory, PendingManifest};
use crate::data::StreamExtent;
use crate::format::{FormatError, MAX_EXTENTS, MAX_PROBLEMS, check_entry};
use crate::model::{ArchivePath, Counts, Entry, Extent, Kind, LeftOut, Observer, PathStack, Problem};
use crate::ops::Error;
use crate::tree::{OwnerId, ids_in};
use std::collections::{BTreeSet, HashSet};

/// What was collected for a manifest besides its entries.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) counts: Counts,
    /// Paths that could not be read.
    pub(super) problems: Vec<Problem>,
    pub(super) missing: u64,
    /// What the walk left out, for reasons that the excludes do not tell.
    pub(super) left_out: Vec<LeftOut>,
    /// The object table: each object's number once, with the bytes that the entries use of it, as far as they can be counted.
    pub(super) objects: Vec<(u32, u32)>,
    pub(super) uids: BTreeSet<u32>,
    pub(super) gids: BTreeSet<u32>,
    /// Paths that cannot be recorded.
    refused: HashSet<ArchivePath>,
    /// Where the entries have come to.
    path: PathStack,
    /// By number of an object: its row in the table, counted from 1; 0 where it has none.
    rows: Vec<u32>,
    /// By chunk of the stream: the object.
    chunks: Vec<u32>,
}

impl Collected {
    /// Nothing yet. There is room for the objects of the manifest before and some more, since growing would leave holes in the
    /// heap.
    pub(super) fn after(previous: Option<&Previous>, inventory: &Inventory) -> Self {
        let with_more = |count: usize| count + count / 16;
        let table = previous.map_or(0, |previous| previous.table().len());
        let numbers = if table == 0 { 0 } else { inventory.count() };
        Self {
            objects: Vec::with_capacity(with_more(table)),
            rows: Vec::with_capacity(with_more(numbers)),
            ..Self::default()
        }
    }

    /// Takes all that the stages before put out; entries go to `manifest`, if there is one.
    pub(super) fn run(
        &mut self,
        packed: impl Iterator<Item = Packed>,
        previous: Option<&Previous>,
        mut manifest: Option<&mut PendingManifest>,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        for packed in packed {
            match packed {
                Packed::Failed(error) => return Err(error),
                Packed::Chunk(chunk) => self.chunk(chunk),
                Packed::Rows(rows) => {
                    if observer.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    for row in rows {
                        self.row(row, previous, &mut manifest, observer)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: StoredChunk) {
        self.chunks.push(chunk.object);
        if let Some(written) = chunk.written {
            self.counts.new_objects += 1;
            self.counts.new_chunk_bytes += u64::from(chunk.chunk_length);
            self.counts.new_stored_bytes += u64::from(written);
        }
    }

    fn row(
        &mut self,
        row: Row,
        previous: Option<&Previous>,
        manifest: &mut Option<&mut PendingManifest>,
        observer: &dyn Observer,
    ) -> Result<(), Error> {
        match row {
            Row::Vanished => self.counts.vanished += 1,
            Row::Problem(problem) => self.problem(problem, manifest),
            Row::Entry { entry, content, class } => {
                if let Err(reason) = self.entry(entry, content, class, previous, manifest)? {
                    // One odd path costs itself, and what needs it.
                    let path = self.path.path().clone();
                    self.refused.insert(path.clone());
                    let problem = Problem { path, operation: "record".to_owned(), error: reason };
                    observer.problem(&problem);
                    self.problem(problem, manifest);
                }
            }
        }
        Ok(())
    }

    fn problem(&mut self, problem: Problem, manifest: &mut Option<&mut PendingManifest>) {
        self.missing += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem.clone());
            if let Some(manifest) = manifest {
                manifest.problem(problem);
            }
        }
    }

    /// Records an entry. The inner error says why no manifest can have it.
    fn entry(
        &mut self,
        mut entry: Entry,
        content: Content,
        class: Class,
        previous: Option<&Previous>,
        manifest: &mut Option<&mut PendingManifest>,
    ) -> Result<Result<(), String>, Error> {
        if !self.path.enter(entry.depth, entry.name.as_ref()) {
            // The path is not known then, and no walk gives such.
            return Ok(Err("it skips a level".to_owned()));
        }
        match &content {
            Content::Stream(extents) if extents.len() > MAX_EXTENTS => {
                let pieces = extents.len();
                return Ok(Err(format!(
                    "its content is in {pieces} pieces, more than the {MAX_EXTENTS} of the format"
                )));
            }
            _ => {}
        }
        if let Kind::HardLink(first) = &entry.kind
            && self.refused.contains(first)
        {
            return Ok(Err("its first name cannot be recorded".to_owned()));
        }
        self.resolve(&mut entry, content, previous)?;
        let recorded = match manifest {
            Some(manifest) => manifest.entry(&entry),
            None => {
                check_entry(&entry).map_err(|source| ArchiveError::Format { path: String::new(), source })
            }
        };
        match recorded {
            Err(ArchiveError::Format { source, .. }) => Ok(Err(source.to_string())),
            recorded => {
                recorded?;
                self.count(&entry, class);
                Ok(Ok(()))
            }
        }
    }

    /// Gives a file's extents the rows of the new table.
    fn resolve(
        &mut self,
        entry: &mut Entry,
        content: Content,
        previous: Option<&Previous>,
    ) -> Result<(), Error> {
        let Kind::File(file) = &mut entry.kind else { return Ok(()) };
        let lost = || {
            // Only a bug can bring this about; better no manifest than one that names nothing.
            let reason = "an entry refers to a chunk that was never cut".to_owned();
            let source = FormatError::Invalid { part: "the content stream", reason };
            Error::Archive(crate::archive::ArchiveError::Format { path: "this run".into(), source })
        };
        match content {
            Content::Kept => {
                for extent in &mut file.extents {
                    if let Extent::Slice { object, length, .. } = extent {
                        let number = previous.and_then(|p| p.object(*object)).ok_or_else(lost)?;
                        *object = self.use_object(number, *length);
                    }
                }
            }
            Content::Stream(extents) => {
                file.extents.clear();
                for extent in extents {
                    file.extents.push(match extent {
                        StreamExtent::Hole { length } => Extent::Hole { length },
                        StreamExtent::Slice { chunk, offset, length } => {
                            let number = *self.chunks.get(chunk as usize).ok_or_else(lost)?;
                            Extent::Slice { object: self.use_object(number, length), offset, length }
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// The row of an object in the new table, of which so many more bytes are used.
    fn use_object(&mut self, number: u32, bytes: u32) -> u32 {
        let at = number as usize;
        if self.rows.len() <= at {
            self.rows.resize(at + 1, 0);
        }
        if let Some(row) = self.rows.get_mut(at).filter(|row| **row == 0) {
            self.objects.push((number, 0));
            *row = self.objects.len() as u32;
        }
        let row = self.rows.get(at).map_or(0, |row| row - 1);
        if let Some((_, used)) = self.objects.get_mut(row as usize) {
            *used = used.saturating_add(bytes);
        }
        row
    }

    fn count(&mut self, entry: &Entry, class: Class) {
        let counts = &mut self.counts;
        counts.entries += 1;
        self.uids.insert(entry.meta.uid);
        self.gids.insert(entry.meta.gid);
        for id in entry.meta.xattrs.iter().flat_map(ids_in) {
            match id {
                OwnerId::User(uid) => drop(self.uids.insert(uid)),
                OwnerId::Group(gid) => drop(self.gids.insert(gid)),
            }
        }
        match &entry.kind {
            Kind::Directory => counts.folders += 1,
            Kind::File(content) => {
                counts.files += 1;
                counts.bytes += content.size;
                counts.changed_while_read += u64::from(content.changed_while_read);
                match class {
                    Class::New => counts.new += 1,
                    Class::Changed => counts.changed += 1,
                    Class::Unchanged => counts.unchanged += 1,
                }
            }
            _ => {}
        }
    }
}
