//! Writes a manifest as a stream: memory holds one block, whatever the tree's size.

use super::index::{Block, LEFT_OUT, STARTS, Section, encode_index, header};
use super::objects::{MAX_OBJECTS, check_distinct, check_row, encode_row};
use super::reader::MAX_PROBLEMS;
use super::sequence::{Sequence, check_slice, invalid};
use super::starts::StartsWriter;
use crate::format::notes::{MAX_LEFT_OUT, check_left_out_order, encode_left_out, encode_problem};
use crate::format::summary::{decode_summary, encode_summary};
use crate::format::wire::{
    MAX_RECORD, check_entry, decode_owners, encode_context, encode_entry, encode_owners,
};
use crate::format::{FormatError, Seal, Sealer, Seals};
use crate::model::{ArchivePath, Digest, Entry, LeftOut, ObjectRow, Owners, Problem, Summary};
use std::borrow::Borrow;
use std::io::{self, Write};

/// A block of records is closed once it has this many plain bytes.
const BLOCK_TARGET: usize = 256 << 10;
/// Rows of the object table in one block.
const ROWS_PER_BLOCK: usize = 16 << 10;

/// Writes one manifest to `W`, front to back.
pub struct ManifestWriter<W> {
    out: W,
    sealer: Sealer,
    plain: Vec<u8>,
    stored: Vec<u8>,
    items: u32,
    blocks: Vec<Block>,
    offset: u64,
    sequence: Sequence,
    /// What the block that is being filled begins with.
    start: ArchivePath,
    starts: StartsWriter,
    /// By row of the object table: so many bytes of the object are needed.
    needed: Vec<u64>,
    problems: Vec<Problem>,
    left_out: Vec<LeftOut>,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest, whose blocks are sealed as `seals` has it.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn new(mut out: W, seals: &Seals) -> io::Result<Self> {
        let header = header();
        out.write_all(&header)?;
        Ok(Self {
            out,
            sealer: seals.sealer()?,
            plain: Vec::new(),
            stored: Vec::new(),
            items: 0,
            blocks: Vec::new(),
            offset: header.len() as u64,
            sequence: Sequence::default(),
            start: ArchivePath::root(),
            starts: StartsWriter::default(),
            needed: Vec::new(),
            problems: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// Adds the next entry; entries come in path order, the root first. One that no reader would take is refused, and
    /// changes nothing: others may follow.
    ///
    /// # Errors
    /// What `out` returns, and [`FormatError`] (inside the I/O error) for an entry that is refused.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        check_entry(entry).map_err(format_error)?;
        // Which objects there are is said at the end.
        let mut needs = Vec::new();
        self.sequence
            .take(entry, |_, object, end| {
                needs.push((object, end));
                Ok(())
            })
            .map_err(format_error)?;
        let length = self.plain.len();
        let mut added = self.append(entry);
        if self.plain.len() > MAX_RECORD && self.items > 0 && added.is_ok() {
            // A long record in a block of its own.
            self.plain.truncate(length);
            self.close_entries()?;
            added = self.append(entry);
        }
        if added.is_ok() && self.plain.len() > MAX_RECORD {
            let (size, limit) = (self.plain.len() as u64, MAX_RECORD as u64);
            added =
                Err(FormatError::TooLarge { what: format!("the record of {:?}", entry.name), size, limit });
        }
        if let Err(error) = added {
            self.plain.truncate(if self.items > 0 { length } else { 0 });
            self.sequence.take_back();
            return Err(format_error(error));
        }
        for (object, end) in needs {
            self.need(object, end);
        }
        if self.items == 0 {
            self.start = self.sequence.path().clone();
        }
        self.items += 1;
        if self.plain.len() >= BLOCK_TARGET { self.close_entries() } else { Ok(()) }
    }

    fn append(&mut self, entry: &Entry) -> Result<(), FormatError> {
        if self.items == 0 {
            let folder = self.sequence.path().parent().unwrap_or_else(ArchivePath::root);
            encode_context(&folder, &mut self.plain)?;
        }
        encode_entry(entry, &mut self.plain)
    }

    fn need(&mut self, object: u32, end: u64) {
        let row = object as usize;
        // Longer tables are refused at the end.
        let rows = self.needed.len().max(row + 1).min(MAX_OBJECTS + 1);
        self.needed.resize(rows, 0);
        if let Some(needed) = self.needed.get_mut(row.min(MAX_OBJECTS)) {
            *needed = end.max(*needed);
        }
    }

    fn check_objects(&self, objects: impl Iterator<Item = ObjectRow> + Clone) -> Result<(), FormatError> {
        let mut needed = self.needed.iter();
        let mut rows = 0;
        for row in objects.clone() {
            check_row(&row)?;
            if let Some(&end) = needed.next() {
                check_slice(&ArchivePath::root(), rows, end, row.chunk_length)?;
            }
            rows += 1;
            if rows as usize > MAX_OBJECTS {
                let (size, limit) = (objects.count() as u64, MAX_OBJECTS as u64);
                return Err(FormatError::TooLarge { what: "the object table".into(), size, limit });
            }
        }
        for (row, &end) in (rows..).zip(needed) {
            check_slice(&ArchivePath::root(), row, end, 0)?;
        }
        check_distinct(objects.map(|row| row.id))
    }

    /// Notes a path that could not be read.
    pub fn problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Says what was left out, in path order.
    pub fn left_out(&mut self, places: Vec<LeftOut>) {
        self.left_out = places;
    }

    /// Ends the manifest and returns where it was written to, with its digest and the blocks in its index.
    ///
    /// # Errors
    /// What `out` returns, and [`FormatError`] (inside the I/O error) for a table that is too large.
    pub fn finish(
        mut self,
        owners: &Owners,
        objects: impl IntoIterator<Item: Borrow<ObjectRow>, IntoIter: Clone>,
        summary: &Summary,
    ) -> io::Result<(W, Digest, Vec<Block>)> {
        let mut objects = objects.into_iter().map(|row| *row.borrow());
        if self.sequence.is_at_start() {
            return Err(format_error(invalid("it has no root")));
        }
        self.check_objects(objects.clone()).map_err(format_error)?;
        self.close_entries()?;
        let mut room = MAX_RECORD;
        for problem in std::mem::take(&mut self.problems).into_iter().take(MAX_PROBLEMS) {
            let before = self.plain.len();
            encode_problem(&problem, &mut self.plain).map_err(format_error)?;
            // What is beyond is only counted, in the summary.
            let Some(left) = room.checked_sub(self.plain.len() - before) else {
                self.plain.truncate(before);
                break;
            };
            room = left;
            self.items += 1;
            if self.plain.len() >= BLOCK_TARGET {
                self.close_block(Section::Missing)?;
            }
        }
        self.close_block(Section::Missing)?;
        self.plain = encode_owners(owners).map_err(format_error)?;
        decode_owners(&self.plain).map_err(format_error)?;
        self.items = 1;
        self.close_block(Section::Owners)?;
        while let Some(row) = objects.next() {
            for row in std::iter::once(row).chain(objects.by_ref().take(ROWS_PER_BLOCK - 1)) {
                encode_row(&row, &mut self.plain);
                self.items += 1;
            }
            self.close_block(Section::Objects)?;
        }
        self.plain = encode_summary(summary).map_err(format_error)?;
        decode_summary(&self.plain).map_err(format_error)?;
        self.items = 1;
        self.close_block(Section::Summary)?;
        self.write_left_out().map_err(format_error)?;
        self.close(Section::Ancillary, LEFT_OUT)?;
        if let Some((plain, items)) = std::mem::take(&mut self.starts).finish() {
            (self.plain, self.items) = (plain, items);
            self.close(Section::Ancillary, STARTS)?;
        }
        let (index, digest) = encode_index(&self.blocks).map_err(format_error)?;
        self.out.write_all(&index)?;
        Ok((self.out, digest, self.blocks))
    }

    fn write_left_out(&mut self) -> Result<(), FormatError> {
        let mut last: Option<LeftOut> = None;
        for place in std::mem::take(&mut self.left_out) {
            check_left_out_order(last.as_ref(), &place)?;
            encode_left_out(&place, &mut self.plain)?;
            self.items += 1;
            last = Some(place);
        }
        let size = self.plain.len() as u64;
        if size > MAX_LEFT_OUT as u64 {
            let what = "the list of what was left out".to_owned();
            return Err(FormatError::TooLarge { what, size, limit: MAX_LEFT_OUT as u64 });
        }
        Ok(())
    }

    fn close_entries(&mut self) -> io::Result<()> {
        if self.items > 0 {
            self.starts.note(&self.start).map_err(format_error)?;
        }
        self.close_block(Section::Entries)
    }

    /// Seals and writes what has been gathered, if anything.
    fn close_block(&mut self, section: Section) -> io::Result<()> {
        self.close(section, section as u8)
    }

    fn close(&mut self, section: Section, number: u8) -> io::Result<()> {
        if self.items == 0 {
            return Ok(());
        }
        if self.plain.len() > MAX_RECORD {
            let size = self.plain.len() as u64;
            let what = format!("a block of {}", section.part());
            return Err(format_error(FormatError::TooLarge { what, size, limit: MAX_RECORD as u64 }));
        }
        self.sealer.seal_into(&self.plain, &mut self.stored)?;
        self.out.write_all(&self.stored)?;
        self.blocks.push(Block {
            section,
            number,
            seal: Seal::Zstd.number(),
            items: self.items,
            plain_length: self.plain.len() as u32,
            stored_length: self.stored.len() as u32,
            hash: *blake3::hash(&self.stored).as_bytes(),
            offset: self.offset,
        });
        self.offset += self.stored.len() as u64;
        self.plain.clear();
        self.items = 0;
        Ok(())
    }
}

fn format_error(error: FormatError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
