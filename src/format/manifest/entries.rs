//! The entries of a manifest, one block at a time: from the beginning, from a path on, or those of one directory.

use super::index::{Block, Section};
use super::reader::{ChunkLengths, ManifestReader, RandomRead, ReadError};
use super::sequence::{Sequence, check_slice, invalid};
use super::starts::check_start;
use crate::format::wire::{decode_context, decode_depth, decode_entry};
use crate::format::{FormatError, Opener};
use crate::model::{ArchivePath, Entry, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries of a block at most: in memory, one takes many times its bytes. Writers close blocks long before.
const MAX_ENTRIES: u32 = 250_000;

impl<R: RandomRead> ManifestReader<R> {
    /// The entries of one block of the entries section, checked one by one but not against their neighbours.
    ///
    /// # Errors
    /// [`ReadError`] when the block is damaged.
    pub fn block_entries(&self, block: &Block) -> Result<Vec<Entry>, ReadError> {
        check_entries(block.items)?;
        let mut plain = Vec::new();
        let items = self.plain(block, &mut self.opener()?, &mut plain)?;
        check_entries(items)?;
        let mut at = decode_context(&plain)?.1;
        let mut entries = Vec::new();
        while entries.len() < items as usize {
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
        Ok(Entries {
            reader: self,
            next: 0,
            opener: self.opener()?,
            lengths: self.chunk_lengths()?,
            plain: Vec::new(),
            at: 0,
            left: 0,
            sequence: Sequence::default(),
            found: BTreeMap::new(),
            asked: None,
        })
    }

    /// The same from `path` on, or a little before it: the blocks before the one that has it are not read.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn entries_from(&self, path: &ArchivePath) -> Result<Entries<'_, R>, ReadError> {
        let mut entries = self.entries()?;
        entries.pass_over(|start| start <= path);
        Ok(entries)
    }

    /// What is directly in a directory, in path order. Blocks that have only what is further below are not read.
    ///
    /// # Errors
    /// As [`Self::entries`].
    pub fn children(&self, directory: &ArchivePath) -> Result<Children<'_, R>, ReadError> {
        Ok(Children { entries: self.entries_from(directory)?, directory: directory.clone() })
    }

    /// Checks that the starts section, where the manifest has it, says what is true.
    ///
    /// # Errors
    /// [`ReadError`] where it does not, or a block cannot be read.
    pub fn check_starts(&self) -> Result<(), ReadError> {
        let Some(starts) = self.read_starts()? else { return Ok(()) };
        let (mut opener, mut plain) = (self.opener()?, Vec::new());
        for (said, block) in starts.iter().zip(self.entry_blocks()) {
            check_start(said, &self.block_start(block, &mut opener, &mut plain)?.0)?;
        }
        Ok(())
    }

    /// The blocks of entries, which come first.
    pub(super) fn entry_blocks(&self) -> &[Block] {
        let blocks = self.blocks();
        blocks.get(..blocks.partition_point(|b| b.section == Section::Entries)).unwrap_or_default()
    }

    /// The path that a block begins with, and how many items it has.
    fn block_start(
        &self,
        block: &Block,
        opener: &mut Opener,
        plain: &mut Vec<u8>,
    ) -> Result<(ArchivePath, u32), ReadError> {
        let items = self.plain(block, opener, plain)?;
        let (folder, used) = decode_context(plain)?;
        let (entry, _) = decode_entry(plain.get(used..).unwrap_or_default())?;
        Ok((entry.name.map_or_else(ArchivePath::root, |name| folder.child(&name)), items))
    }
}

fn check_entries(items: u32) -> Result<(), FormatError> {
    match items {
        0..=MAX_ENTRIES => Ok(()),
        items => Err(invalid(format!("a block has {items} entries, more than {MAX_ENTRIES}"))),
    }
}

/// Streams a manifest's entries; memory holds one block. A damaged block yields one error, and the stream goes on with
/// the next block, which says where it begins.
pub struct Entries<'a, R> {
    reader: &'a ManifestReader<R>,
    /// The next of the blocks of entries.
    next: usize,
    opener: Opener,
    lengths: Arc<ChunkLengths>,
    plain: Vec<u8>,
    at: usize,
    left: u32,
    sequence: Sequence,
    /// What blocks begin with, as they themselves say.
    found: BTreeMap<usize, ArchivePath>,
    /// The block that was asked last, its plain bytes and how many items they are: mostly it is the next one to open.
    asked: Option<(usize, Vec<u8>, u32)>,
}

impl<R: RandomRead> Entries<'_, R> {
    /// Goes on with the last block whose start `is_before` what is looked for, which holds for some number of starts and for
    /// none after them. What does not lie in the present block any more is not read.
    fn pass_over(&mut self, is_before: impl Fn(&ArchivePath) -> bool) {
        let target = match self.reader.starts() {
            // Only what the block itself says is believed.
            Some(starts) => match starts.partition_point(&is_before).checked_sub(1) {
                Some(at) if at >= self.next && self.found_start(at).as_ref() != starts.get(at) => {
                    self.search(is_before)
                }
                target => target,
            },
            None => self.search(is_before),
        };
        let Some(target) = target.filter(|target| *target >= self.next) else { return };
        if target > 0 {
            self.sequence.break_off();
        }
        (self.next, self.at, self.left) = (target, self.plain.len(), 0);
    }

    /// Finds that block by halving, for manifests that do not list their starts. None where the next block is not such a one,
    /// and where one that is asked is damaged: that shows on the way.
    fn search(&mut self, is_before: impl Fn(&ArchivePath) -> bool) -> Option<usize> {
        let (mut from, mut to) = (self.next, self.reader.entry_blocks().len());
        is_before(&self.found_start(from)?).then_some(())?;
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            match is_before(&self.found_start(middle)?) {
                true => from = middle,
                false => to = middle,
            }
        }
        Some(from)
    }

    fn found_start(&mut self, at: usize) -> Option<ArchivePath> {
        if let Some(found) = self.found.get(&at) {
            return Some(found.clone());
        }
        let block = self.reader.entry_blocks().get(at)?;
        let (_, mut plain, _) = self.asked.take().unwrap_or_default();
        let (start, items) = self.reader.block_start(block, &mut self.opener, &mut plain).ok()?;
        self.found.insert(at, start.clone());
        self.asked = Some((at, plain, items));
        Some(start)
    }

    fn advance(&mut self) -> Result<Option<(ArchivePath, Entry)>, ReadError> {
        while self.left == 0 {
            if self.at != self.plain.len() {
                return Err(invalid("a block has bytes left over").into());
            }
            let at = self.next;
            let Some(block) = self.reader.entry_blocks().get(at) else {
                return match self.sequence.is_at_start() {
                    true => Err(invalid("it has no root").into()),
                    false => Ok(None),
                };
            };
            self.next += 1;
            self.open_block(at, block)?;
        }
        let (entry, used) = decode_entry(self.plain.get(self.at..).unwrap_or_default())?;
        self.at += used;
        self.left -= 1;
        let lengths = &self.lengths;
        self.sequence.take(&entry, |path, object, end| check_slice(path, object, end, lengths.of(object)))?;
        Ok(Some((self.sequence.path().clone(), entry)))
    }

    fn open_block(&mut self, at: usize, block: &Block) -> Result<(), ReadError> {
        check_entries(block.items)?;
        let items = match self.asked.take() {
            Some((asked, plain, items)) if asked == at => {
                self.plain = plain;
                items
            }
            _ => self.reader.plain(block, &mut self.opener, &mut self.plain)?,
        };
        check_entries(items)?;
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
        self.left = items;
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

/// Streams what is directly in one directory.
pub struct Children<'a, R> {
    entries: Entries<'a, R>,
    directory: ArchivePath,
}

impl<R: RandomRead> Iterator for Children<'_, R> {
    type Item = Result<(ArchivePath, Entry), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (path, entry) = match self.entries.next()? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            if path > self.directory && !path.is_within(&self.directory) {
                return None;
            }
            if path <= self.directory || entry.depth != self.directory.depth() + 1 {
                continue;
            }
            if entry.kind == Kind::Directory {
                self.entries.pass_over(|start| *start <= path || start.is_within(&path));
            }
            return Some(Ok((path, entry)));
        }
    }
}
