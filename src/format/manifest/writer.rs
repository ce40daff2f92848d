//! Writes a manifest as a stream: memory holds one block, whatever the tree's size.

use super::index::{
    Block, Footer, LEFT_OUT, STARTS, Section, Signed, Version, encode_footer, encode_index, header,
};
use super::objects::{
    MAX_OBJECTS, PrivateRow, check_distinct, check_row, encode_private, encode_public, encode_row,
};
use super::reader::MAX_PROBLEMS;
use super::sequence::{Sequence, check_slice, invalid};
use super::starts::StartsWriter;
use crate::format::keys::WriterFile;
use crate::format::notes::{MAX_LEFT_OUT, check_left_out_order, encode_left_out, encode_problem};
use crate::format::summary::{decode_summary, encode_private_summary, encode_public_summary, encode_summary};
use crate::format::wire::{
    MAX_RECORD, check_entry, decode_owners, encode_context, encode_entry, encode_owners,
};
use crate::format::{FormatError, Keys, Seal, Sealer, Seals};
use crate::model::{
    ArchivePath, Digest, Entry, LeftOut, Lineage, ObjectRow, Owners, Problem, StoreId, Summary,
};
use std::borrow::Borrow;
use std::io::{self, Write};
use std::sync::Arc;

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
    /// By row of the object table: so many bytes of the object are needed. No chunk is as long as the largest number.
    needed: Vec<u32>,
    problems: Vec<Problem>,
    left_out: Vec<LeftOut>,
    /// In a sealed store.
    sealing: Option<Sealing>,
}

/// A manifest that was written.
pub struct Written<W> {
    /// Where to.
    pub out: W,
    /// What identifies it.
    pub digest: Digest,
    /// The blocks in its index.
    pub blocks: Vec<Block>,
    /// In a sealed store: [`Head::same`](crate::model::Head::same).
    pub same: Option<[u8; 32]>,
}

/// What a manifest of a sealed store needs besides.
struct Sealing {
    keys: Arc<WriterFile>,
    /// Of the plain bytes that say what the source has.
    same: blake3::Hasher,
    lineage: Lineage,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest, whose blocks are sealed as `seals` has it.
    ///
    /// # Errors
    /// What `out` returns; [`io::ErrorKind::PermissionDenied`] in a sealed store without a writer's keys.
    pub fn new(mut out: W, seals: &Seals) -> io::Result<Self> {
        let sealing = match seals.keys() {
            Keys::Writer(keys) => {
                let same = keys.name_key().same_hasher();
                Some(Sealing { keys: Arc::clone(keys), same, lineage: Lineage::default() })
            }
            _ => None,
        };
        let header = header(if sealing.is_some() { Version::Sealed } else { Version::Plain });
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
            sealing,
        })
    }

    /// Says which manifests of this writer and pvc came before, in a sealed store.
    pub fn lineage(&mut self, lineage: Lineage) {
        if let Some(sealing) = &mut self.sealing {
            sealing.lineage = lineage;
        }
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
            *needed = u32::try_from(end).unwrap_or(u32::MAX).max(*needed);
        }
    }

    fn check_objects(&self, objects: impl Iterator<Item = ObjectRow> + Clone) -> Result<(), FormatError> {
        let mut needed = self.needed.iter();
        let mut rows = 0;
        for row in objects.clone() {
            check_row(&row)?;
            if let Some(&end) = needed.next() {
                check_slice(&ArchivePath::root(), rows, end.into(), row.chunk_length)?;
            }
            rows += 1;
            if rows as usize > MAX_OBJECTS {
                let (size, limit) = (objects.count() as u64, MAX_OBJECTS as u64);
                return Err(FormatError::TooLarge { what: "the object table".into(), size, limit });
            }
        }
        for (row, &end) in (rows..).zip(needed) {
            check_slice(&ArchivePath::root(), row, end.into(), 0)?;
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

    /// Ends the manifest.
    ///
    /// # Errors
    /// What `out` returns, and [`FormatError`] (inside the I/O error) for a table that is too large.
    pub fn finish(
        mut self,
        owners: &Owners,
        objects: impl IntoIterator<Item: Borrow<ObjectRow>, IntoIter: Clone>,
        summary: &Summary,
    ) -> io::Result<Written<W>> {
        let objects = objects.into_iter().map(|row| *row.borrow());
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
        match self.sealing.take() {
            None => self.write_plain(objects, summary)?,
            Some(sealing) => self.sealing = Some(self.write_sealed(sealing, objects, summary)?),
        }
        self.write_left_out().map_err(format_error)?;
        self.close(Section::Ancillary, LEFT_OUT)?;
        if let Some((plain, items)) = std::mem::take(&mut self.starts).finish() {
            (self.plain, self.items) = (plain, items);
            self.close(Section::Ancillary, STARTS)?;
        }
        let digest = self.write_index(&summary.store).map_err(format_error)?;
        self.out.write_all(&self.stored)?;
        let same = self.sealing.map(|sealing| sealing.same.finalize().into());
        Ok(Written { out: self.out, digest, blocks: self.blocks, same })
    }

    /// Object table and summary of a plain store.
    fn write_plain(
        &mut self,
        mut objects: impl Iterator<Item = ObjectRow>,
        summary: &Summary,
    ) -> io::Result<()> {
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
        self.close_block(Section::Summary)
    }

    /// The same of a sealed store: what anybody may read, then what takes a key, and the read file.
    fn write_sealed(
        &mut self,
        mut sealing: Sealing,
        objects: impl Iterator<Item = ObjectRow> + Clone,
        summary: &Summary,
    ) -> io::Result<Sealing> {
        // Nothing in the public table follows the order of files.
        let mut public: Vec<(ObjectRow, u32)> = objects.clone().zip(0..).collect();
        public.sort_unstable_by_key(|(row, _)| row.id);
        let mut places = vec![0; public.len()];
        for (place, (row, at)) in (0..).zip(&public) {
            encode_public(row, &mut self.plain);
            self.items += 1;
            if let Some(of_row) = places.get_mut(*at as usize) {
                *of_row = place;
            }
            if self.items as usize == ROWS_PER_BLOCK {
                self.close_block(Section::Objects)?;
            }
        }
        self.close_block(Section::Objects)?;
        drop(public);
        // The private rows come after the summary in the file, and before it in what the summary says of them.
        let mut private = Vec::with_capacity(places.len());
        for (row, public) in objects.zip(places) {
            private.push(PrivateRow { public, chunk_length: row.chunk_length, used: row.used });
        }
        let mut bytes = Vec::new();
        for rows in private.chunks(ROWS_PER_BLOCK) {
            bytes.clear();
            rows.iter().for_each(|row| encode_private(row, &mut bytes));
            sealing.same.update(&bytes);
        }
        let head = sealing.lineage.head(sealing.same.finalize().into(), summary);
        self.plain = encode_public_summary(summary, &head).map_err(format_error)?;
        self.items = 1;
        self.close_block(Section::Summary)?;
        for rows in private.chunks(ROWS_PER_BLOCK) {
            rows.iter().for_each(|row| encode_private(row, &mut self.plain));
            self.items = rows.len() as u32;
            self.close_block(Section::PrivateObjects)?;
        }
        self.plain = encode_private_summary(summary).map_err(format_error)?;
        self.items = 1;
        self.close_block(Section::PrivateSummary)?;
        self.plain.extend_from_slice(sealing.keys.read_file().as_bytes());
        self.items = 1;
        self.close_block(Section::ReadFile)?;
        Ok(sealing)
    }

    /// Puts index and footer into `stored`.
    fn write_index(&mut self, store: &str) -> Result<Digest, FormatError> {
        let version = if self.sealing.is_some() { Version::Sealed } else { Version::Plain };
        let (index, digest) = encode_index(&self.blocks, version)?;
        let index_length = index.len() as u64;
        let signed = match &self.sealing {
            None => None,
            Some(Sealing { keys, .. }) => {
                let id: StoreId =
                    store.parse().map_err(|e| FormatError::invalid("the store's id", format!("{e}")))?;
                Some(Signed { by: keys.id(), signature: keys.secret().sign(&id, &digest) })
            }
        };
        self.stored = index;
        self.stored.extend(encode_footer(&Footer { index_length, digest, signed }));
        Ok(digest)
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
        if let Some(Sealing { same, .. }) = &mut self.sealing
            && matches!(section, Section::Entries | Section::Missing | Section::Owners)
        {
            same.update(&self.plain);
        }
        let is_private = section.is_private();
        let seal = self.sealer.block(is_private, self.items, &self.plain, &mut self.stored)?;
        self.out.write_all(&self.stored)?;
        // An encrypted block says itself how large it is.
        let (items, plain_length) = match seal {
            Seal::Zstd => (self.items, self.plain.len() as u32),
            Seal::Age => (0, 0),
        };
        self.blocks.push(Block {
            section,
            number,
            seal: seal.number(),
            items,
            plain_length,
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
