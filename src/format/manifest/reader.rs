//! Reads a manifest: the small sections whole, the entries one block at a time.

use super::index::{
    Block, FOOTER_LENGTH, HEADER_LENGTH, LEFT_OUT, ROW_LENGTH, Section, check_header, decode_footer,
    decode_index,
};
use super::objects::{Distinct, ROW, decode_rows};
use super::sequence::{Sequence, check_slice, invalid};
use crate::format::notes::{MAX_LEFT_OUT, check_left_out_order, decode_left_out, decode_problem};
use crate::format::summary::decode_summary;
use crate::format::wire::{MAX_RECORD, decode_context, decode_depth, decode_entry, decode_owners};
use crate::format::{FormatError, Opener, Seal, Seals};
use crate::model::{ArchivePath, Digest, Entry, LeftOut, ObjectRow, Owners, Problem, Summary};
use std::io;

/// So much of the file's end is read at once: it holds the index and the public sections of most manifests.
const TAIL: u64 = 64 << 10;
/// Records of the missing section at most; what is beyond is only counted, in the summary.
pub const MAX_PROBLEMS: usize = 10_000;
/// Entries of a block at most: in memory, one takes many times its bytes. Writers close blocks long before.
const MAX_ENTRIES: u32 = 250_000;

/// A file that can be read at any place.
pub trait RandomRead {
    /// Length in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the storage returns; [`io::ErrorKind::UnexpectedEof`] where the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The storage failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are wrong.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// An open manifest whose index has been checked.
pub struct ManifestReader<R> {
    file: R,
    tail: Vec<u8>,
    blocks: Vec<Block>,
    digest: Digest,
    seals: Seals,
}

impl<R: RandomRead> ManifestReader<R> {
    /// Opens a manifest: reads and checks header, footer and index.
    ///
    /// # Errors
    /// [`ReadError`] when any of these is missing, damaged or of a newer version.
    pub fn open(file: R, seals: &Seals) -> Result<Self, ReadError> {
        let length = file.length();
        let needed = HEADER_LENGTH + FOOTER_LENGTH;
        if length < needed {
            return Err(FormatError::Truncated { part: "the manifest", needed, found: length }.into());
        }
        let mut tail = vec![0; length.min(TAIL) as usize];
        let tail_start = length - tail.len() as u64;
        file.read_exact_at(&mut tail, tail_start)?;
        let mut reader =
            Self { file, tail, blocks: Vec::new(), digest: Digest([0; 32]), seals: seals.clone() };
        check_header(&reader.read(0, HEADER_LENGTH)?)?;
        let footer = reader.read(length - FOOTER_LENGTH, FOOTER_LENGTH)?;
        let (index_length, digest) = decode_footer(&footer, length)?;
        let index_start = length - FOOTER_LENGTH - index_length;
        let index = reader.read(index_start, index_length)?;
        reader.blocks = decode_index(&index, digest, index_start - HEADER_LENGTH)?;
        reader.digest = digest;
        debug_assert_eq!(reader.blocks.len() as u64, index_length / ROW_LENGTH);
        Ok(reader)
    }

    /// What identifies this manifest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The blocks, as the index lists them.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Bytes at a place of the file, from the tail where it has them.
    fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let tail_start = self.file.length() - self.tail.len() as u64;
        if let Some(skip) = offset.checked_sub(tail_start)
            && let Some(bytes) = self.tail.get(skip as usize..(skip + length) as usize)
        {
            return Ok(bytes.to_vec());
        }
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// A block's plain bytes, verified before they are decompressed.
    fn plain(&self, block: &Block, opener: &mut Opener, plain: &mut Vec<u8>) -> Result<(), ReadError> {
        Seal::from_number(block.seal, block.section.part())?;
        let stored = self.read(block.offset, block.stored_length.into())?;
        if blake3::hash(&stored).as_bytes() != &block.hash {
            return Err(FormatError::Hash(block.section.part()).into());
        }
        opener.open_into(&stored, block.plain_length, block.section.part(), plain)?;
        Ok(())
    }

    /// The plain bytes of a section that is one block of one item.
    fn only_block(&self, section: Section) -> Result<Vec<u8>, ReadError> {
        let mut blocks = self.blocks.iter().filter(|b| b.section == section);
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err(FormatError::invalid(section.part(), "it is not exactly one block").into());
        };
        check_items(section, 1, block.items.into())?;
        let mut plain = Vec::new();
        self.plain(block, &mut self.seals.opener()?, &mut plain)?;
        Ok(plain)
    }

    /// What the manifest says about itself.
    ///
    /// # Errors
    /// [`ReadError`] when the section is missing or damaged.
    pub fn summary(&self) -> Result<Summary, ReadError> {
        Ok(decode_summary(&self.only_block(Section::Summary)?)?)
    }

    /// The names of the numeric owners.
    ///
    /// # Errors
    /// [`ReadError`] when the section is missing or damaged.
    pub fn owners(&self) -> Result<Owners, ReadError> {
        Ok(decode_owners(&self.only_block(Section::Owners)?)?)
    }

    /// The paths that could not be read.
    ///
    /// # Errors
    /// [`ReadError`] when the section is damaged.
    pub fn problems(&self) -> Result<Vec<Problem>, ReadError> {
        let (mut problems, mut plain, mut opener) = (Vec::new(), Vec::new(), self.seals.opener()?);
        let blocks = || self.blocks.iter().filter(|b| b.section == Section::Missing);
        let all: u64 = blocks().map(|b| u64::from(b.plain_length)).sum();
        if all > MAX_RECORD as u64 {
            let reason = format!("it has {all} bytes, more than {MAX_RECORD}");
            return Err(FormatError::invalid(Section::Missing.part(), reason).into());
        }
        for block in blocks() {
            self.plain(block, &mut opener, &mut plain)?;
            let (mut rest, before) = (plain.as_slice(), problems.len());
            while !rest.is_empty() {
                let (problem, used) = decode_problem(rest)?;
                rest = rest.get(used..).unwrap_or_default();
                problems.push(problem);
                if problems.len() > MAX_PROBLEMS {
                    let reason = format!("it has more than {MAX_PROBLEMS} records");
                    return Err(FormatError::invalid(Section::Missing.part(), reason).into());
                }
            }
            check_items(Section::Missing, (problems.len() - before) as u64, block.items.into())?;
        }
        Ok(problems)
    }

    /// What was left out, in path order; nothing where the manifest does not say.
    ///
    /// # Errors
    /// [`ReadError`] when the section is damaged.
    pub fn left_out(&self) -> Result<Vec<LeftOut>, ReadError> {
        const PART: &str = "the left-out section";
        let (mut places, mut plain, mut opener) = (Vec::new(), Vec::new(), self.seals.opener()?);
        let blocks = || self.blocks.iter().filter(|b| b.number == LEFT_OUT);
        let all: u64 = blocks().map(|b| u64::from(b.plain_length)).sum();
        if all > MAX_LEFT_OUT as u64 {
            let reason = format!("it has {all} bytes, more than {MAX_LEFT_OUT}");
            return Err(FormatError::invalid(PART, reason).into());
        }
        for block in blocks() {
            self.plain(block, &mut opener, &mut plain)?;
            let (mut rest, before) = (plain.as_slice(), places.len());
            while !rest.is_empty() {
                let (place, used) = decode_left_out(rest)?;
                check_left_out_order(places.last(), &place)?;
                rest = rest.get(used..).unwrap_or_default();
                places.push(place);
            }
            let found = (places.len() - before) as u64;
            if found != u64::from(block.items) {
                let reason = format!("it has {found} records, the index says {}", block.items);
                return Err(FormatError::invalid(PART, reason).into());
            }
        }
        Ok(places)
    }

    /// The object table; its rows are distinct.
    ///
    /// # Errors
    /// [`ReadError`] when the section is damaged or has impossible rows.
    pub fn objects(&self) -> Result<Vec<ObjectRow>, ReadError> {
        let mut objects = Vec::new();
        self.each_object(|row| objects.push(row))?;
        Ok(objects)
    }

    /// Hands on the rows of the object table one by one, once all of it was checked: of a damaged one none is handed on. Takes
    /// 8 bytes of memory for each row until then.
    ///
    /// # Errors
    /// As [`Self::objects`].
    pub fn each_object(&self, take: impl FnMut(ObjectRow)) -> Result<(), ReadError> {
        let mut distinct = Distinct::default();
        self.pass_objects(|row| distinct.note(&row.id))?;
        if let Some(mut doubtful) = distinct.doubtful() {
            self.pass_objects(|row| doubtful.note(&row.id))?;
            doubtful.check()?;
        }
        self.pass_objects(take)
    }

    fn pass_objects(&self, mut take: impl FnMut(ObjectRow)) -> Result<(), ReadError> {
        let (mut rows, mut plain, mut opener) = (0, Vec::new(), self.seals.opener()?);
        for block in self.blocks.iter().filter(|b| b.section == Section::Objects) {
            // Before the block is opened, so that one that lies costs nothing.
            check_items(Section::Objects, u64::from(block.plain_length) / ROW as u64, block.items.into())?;
            self.plain(block, &mut opener, &mut plain)?;
            rows = decode_rows(&plain, rows, &mut take)?;
        }
        Ok(())
    }

    /// Checks the hashes of all blocks of a section, without decoding them.
    ///
    /// # Errors
    /// [`ReadError`] when one is damaged.
    pub fn check_blocks(&self, section: Section) -> Result<(), ReadError> {
        for block in self.blocks.iter().filter(|b| b.section == section) {
            let stored = self.read(block.offset, block.stored_length.into())?;
            if blake3::hash(&stored).as_bytes() != &block.hash {
                return Err(FormatError::Hash(section.part()).into());
            }
        }
        Ok(())
    }

    /// The entries of one block of the entries section, checked one by one but not against their neighbours.
    ///
    /// # Errors
    /// [`ReadError`] when the block is damaged.
    pub fn block_entries(&self, block: &Block) -> Result<Vec<Entry>, ReadError> {
        check_entries(block)?;
        let mut plain = Vec::new();
        self.plain(block, &mut self.seals.opener()?, &mut plain)?;
        let mut at = decode_context(&plain)?.1;
        let mut entries = Vec::new();
        while entries.len() < block.items as usize {
            let (entry, used) = decode_entry(plain.get(at..).unwrap_or_default())?;
            at += used;
            entries.push(entry);
        }
        if at != plain.len() {
            return Err(invalid("a block has bytes left over").into());
        }
        Ok(entries)
    }

    /// The entries in path order, each checked against what came before it and against the object table.
    ///
    /// # Errors
    /// [`ReadError`] when the object table cannot be read; later errors come from the iterator.
    pub fn entries(&self) -> Result<Entries<'_, R>, ReadError> {
        self.entries_after(0)
    }

    /// The same from `path` on, or a little before it: the blocks before the one that has it are not read. Which one that is
    /// is found by halving.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn entries_from(&self, path: &ArchivePath) -> Result<Entries<'_, R>, ReadError> {
        let blocks: Vec<usize> = (0..)
            .zip(&self.blocks)
            .filter(|(_, b)| b.section == Section::Entries)
            .map(|(at, _)| at)
            .collect();
        let (mut opener, mut plain) = (self.seals.opener()?, Vec::new());
        let (mut from, mut to) = (0, blocks.len());
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            let block = blocks.get(middle).and_then(|at| self.blocks.get(*at));
            match block.map(|block| self.block_start(block, &mut opener, &mut plain)) {
                Some(Ok(start)) if start <= *path => from = middle,
                Some(Ok(_)) => to = middle,
                // Where one is damaged, that shows on the way from the beginning.
                _ => return self.entries_after(0),
            }
        }
        self.entries_after(blocks.get(from).copied().unwrap_or(0))
    }

    /// The path of a block's first entry.
    fn block_start(
        &self,
        block: &Block,
        opener: &mut Opener,
        plain: &mut Vec<u8>,
    ) -> Result<ArchivePath, ReadError> {
        self.plain(block, opener, plain)?;
        let (folder, used) = decode_context(plain)?;
        let (entry, _) = decode_entry(plain.get(used..).unwrap_or_default())?;
        Ok(entry.name.map_or_else(ArchivePath::root, |name| folder.child(&name)))
    }

    /// The entries of the blocks from one of all the index's on.
    fn entries_after(&self, first: usize) -> Result<Entries<'_, R>, ReadError> {
        let mut lengths = Vec::new();
        self.each_object(|row| lengths.push(row.chunk_length))?;
        let mut sequence = Sequence::default();
        if first > 0 {
            sequence.break_off();
        }
        Ok(Entries {
            reader: self,
            blocks: self.blocks.get(first..).unwrap_or_default().iter(),
            opener: self.seals.opener()?,
            lengths,
            plain: Vec::new(),
            at: 0,
            left: 0,
            sequence,
        })
    }
}

fn check_items(section: Section, found: u64, said: u64) -> Result<(), FormatError> {
    if found == said {
        return Ok(());
    }
    Err(FormatError::invalid(section.part(), format!("it has {found} records, the index says {said}")))
}

fn check_entries(block: &Block) -> Result<(), FormatError> {
    match block.items {
        0..=MAX_ENTRIES => Ok(()),
        items => Err(invalid(format!("a block has {items} entries, more than {MAX_ENTRIES}"))),
    }
}

/// Streams a manifest's entries; memory holds one block. A damaged block yields one error, and the stream goes on with
/// the next block, which says where it begins.
pub struct Entries<'a, R> {
    reader: &'a ManifestReader<R>,
    blocks: std::slice::Iter<'a, Block>,
    opener: Opener,
    /// Chunk lengths, by row of the object table.
    lengths: Vec<u32>,
    plain: Vec<u8>,
    at: usize,
    left: u32,
    sequence: Sequence,
}

impl<R: RandomRead> Entries<'_, R> {
    fn advance(&mut self) -> Result<Option<(ArchivePath, Entry)>, ReadError> {
        while self.left == 0 {
            if self.at != self.plain.len() {
                return Err(invalid("a block has bytes left over").into());
            }
            let Some(block) = self.blocks.find(|b| b.section == Section::Entries) else {
                return match self.sequence.is_at_start() {
                    true => Err(invalid("it has no root").into()),
                    false => Ok(None),
                };
            };
            self.open_block(block)?;
        }
        let (entry, used) = decode_entry(self.plain.get(self.at..).unwrap_or_default())?;
        self.at += used;
        self.left -= 1;
        let lengths = &self.lengths;
        self.sequence.take(&entry, |path, object, end| {
            check_slice(path, object, end, lengths.get(object as usize).copied().unwrap_or(0))
        })?;
        Ok(Some((self.sequence.path().clone(), entry)))
    }

    fn open_block(&mut self, block: &Block) -> Result<(), ReadError> {
        check_entries(block)?;
        self.reader.plain(block, &mut self.opener, &mut self.plain)?;
        let (folder, used) = decode_context(&self.plain)?;
        // The context only repeats what the entries say: it is for readers that begin here.
        self.sequence.resume(&folder);
        let known = self.sequence.path();
        if !known.is_within(&folder) {
            return Err(invalid(format!("a block begins in {folder}, after {known}")).into());
        }
        let depth = decode_depth(self.plain.get(used..).unwrap_or_default())?;
        let expected = if self.sequence.is_at_start() { 0 } else { folder.depth() + 1 };
        if depth != expected {
            return Err(invalid(format!("a block in {folder} begins at depth {depth}")).into());
        }
        self.at = used;
        self.left = block.items;
        Ok(())
    }
}

impl<R: RandomRead> Iterator for Entries<'_, R> {
    type Item = Result<(ArchivePath, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if let Some(Err(_)) = next {
            self.sequence.break_off();
            (self.at, self.left) = (self.plain.len(), 0);
        }
        next
    }
}
