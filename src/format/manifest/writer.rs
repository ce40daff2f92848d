//! Writes a manifest as a stream: memory holds one block, whatever the tree's size.

use super::index::{Block, LEFT_OUT, Section, encode_index, header};
use super::objects::{MAX_OBJECTS, encode_objects};
use crate::format::notes::{MAX_LEFT_OUT, check_left_out_order, encode_left_out, encode_problem};
use crate::format::summary::encode_summary;
use crate::format::wire::{MAX_RECORD, check_path, encode_context, encode_entry, encode_owners};
use crate::format::{FormatError, Seal, Sealer};
use crate::model::{ArchivePath, Digest, Entry, LeftOut, ObjectRow, Owners, PathStack, Problem, Summary};
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
    path: PathStack,
    problems: Vec<Problem>,
    left_out: Vec<LeftOut>,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest; `level` is zstd's.
    ///
    /// # Errors
    /// What `out` returns.
    pub fn new(mut out: W, level: i32) -> io::Result<Self> {
        let header = header();
        out.write_all(&header)?;
        Ok(Self {
            out,
            sealer: Sealer::new(level)?,
            plain: Vec::new(),
            stored: Vec::new(),
            items: 0,
            blocks: Vec::new(),
            offset: header.len() as u64,
            path: PathStack::default(),
            problems: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// Adds the next entry; entries come in path order, the root first.
    ///
    /// # Errors
    /// What `out` returns, and [`FormatError`] (inside the I/O error) for an entry that cannot be recorded.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        if !self.path.enter(entry.depth, entry.name.as_ref()) {
            let reason = format!("{:?} at depth {} follows {}", entry.name, entry.depth, self.path.path());
            return Err(format_error(FormatError::invalid("the entries section", reason)));
        }
        check_path(self.path.path()).map_err(format_error)?;
        if self.items == 0 {
            let folder = self.path.path().parent().unwrap_or_else(ArchivePath::root);
            encode_context(&folder, &mut self.plain).map_err(format_error)?;
        }
        encode_entry(entry, &mut self.plain).map_err(format_error)?;
        self.items += 1;
        if self.plain.len() >= BLOCK_TARGET { self.close_block(Section::Entries) } else { Ok(()) }
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
        objects: &[ObjectRow],
        summary: &Summary,
    ) -> io::Result<(W, Digest, Vec<Block>)> {
        self.close_block(Section::Entries)?;
        let mut room = MAX_RECORD;
        for problem in std::mem::take(&mut self.problems) {
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
        self.items = 1;
        self.close_block(Section::Owners)?;
        if objects.len() > MAX_OBJECTS {
            let (size, limit) = (objects.len() as u64, MAX_OBJECTS as u64);
            return Err(format_error(FormatError::TooLarge { what: "the object table".into(), size, limit }));
        }
        for rows in objects.chunks(ROWS_PER_BLOCK) {
            self.plain = encode_objects(rows);
            self.items = rows.len() as u32;
            self.close_block(Section::Objects)?;
        }
        self.plain = encode_summary(summary).map_err(format_error)?;
        self.items = 1;
        self.close_block(Section::Summary)?;
        self.write_left_out().map_err(format_error)?;
        self.close(Section::Ancillary, LEFT_OUT)?;
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
