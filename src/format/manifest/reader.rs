//! Reads a manifest: the small sections whole, the entries one block at a time.

use super::index::{
    Block, HEADER_LENGTH, LEFT_OUT, ROW_LENGTH, STARTS, Section, Signed, Version, decode_footer,
    decode_header, decode_index,
};
use super::objects::{
    Distinct, MAX_OBJECTS, PUBLIC_ROW, ROW, check_row, decode_private, decode_public, decode_rows,
};
use super::starts::{MAX_STARTS, PART as STARTS_PART, decode_starts};
use crate::format::notes::{MAX_LEFT_OUT, check_left_out_order, decode_left_out, decode_problem};
use crate::format::summary::{decode_private_summary, decode_public_summary, decode_summary};
use crate::format::wire::{MAX_RECORD, decode_owners};
use crate::format::{FormatError, Measures, Opener, Seal, Seals};
use crate::model::{ArchivePath, Digest, LeftOut, ObjectRow, Owners, Problem, Summary};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// So much of the file's end is read at once: it holds the index and the public sections of most manifests.
const TAIL: u64 = 64 << 10;
/// Records of the missing section at most; what is beyond is only counted, in the summary.
pub const MAX_PROBLEMS: usize = 10_000;

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

/// Lengths of chunks, by row of the object table: 4 bytes of memory for each.
pub struct ChunkLengths(Vec<u32>);

impl ChunkLengths {
    /// The length of a row's chunk; 0 where there is no such row.
    pub fn of(&self, row: u32) -> u32 {
        self.0.get(row as usize).copied().unwrap_or(0)
    }
}

/// An open manifest whose index has been checked.
pub struct ManifestReader<R> {
    file: R,
    tail: Vec<u8>,
    version: Version,
    blocks: Vec<Block>,
    digest: Digest,
    signed: Option<Signed>,
    seals: Seals,
    /// Whether the rows of the object table were found to be distinct. They remain that, since the index has the hashes of its
    /// blocks.
    is_distinct: AtomicBool,
    /// As long as somebody has them.
    lengths: Mutex<Weak<ChunkLengths>>,
    /// What the blocks of entries begin with; none where the manifest does not say, or not intelligibly.
    starts: OnceLock<Option<Vec<ArchivePath>>>,
}

impl<R: RandomRead> ManifestReader<R> {
    /// Opens a manifest: reads and checks header, footer and index.
    ///
    /// # Errors
    /// [`ReadError`] when any of these is missing, damaged or of a newer version.
    pub fn open(file: R, seals: &Seals) -> Result<Self, ReadError> {
        let length = file.length();
        let needed = HEADER_LENGTH + Version::Plain.footer_length();
        if length < needed {
            return Err(FormatError::Truncated { part: "the manifest", needed, found: length }.into());
        }
        let mut tail = vec![0; length.min(TAIL) as usize];
        let tail_start = length - tail.len() as u64;
        file.read_exact_at(&mut tail, tail_start)?;
        let mut reader = Self {
            file,
            tail,
            version: Version::Plain,
            blocks: Vec::new(),
            digest: Digest([0; 32]),
            signed: None,
            seals: seals.clone(),
            is_distinct: AtomicBool::new(false),
            lengths: Mutex::default(),
            starts: OnceLock::new(),
        };
        reader.version = decode_header(&reader.read(0, HEADER_LENGTH)?)?;
        let footer_length = reader.version.footer_length();
        let Some(footer_start) = length.checked_sub(footer_length).filter(|start| *start >= HEADER_LENGTH)
        else {
            let (part, needed) = ("the manifest", HEADER_LENGTH + footer_length);
            return Err(FormatError::Truncated { part, needed, found: length }.into());
        };
        let footer = reader.read(footer_start, footer_length)?;
        let footer = decode_footer(&footer, length, reader.version)?;
        let index_start = footer_start - footer.index_length;
        let index = reader.read(index_start, footer.index_length)?;
        let room = index_start - HEADER_LENGTH;
        reader.blocks = decode_index(&index, footer.digest, room, reader.version)?;
        (reader.digest, reader.signed) = (footer.digest, footer.signed);
        debug_assert_eq!(reader.blocks.len() as u64, footer.index_length / ROW_LENGTH);
        Ok(reader)
    }

    /// Of which version it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Who made it, in a sealed store, and the signature that is to prove it.
    pub fn signed(&self) -> Option<&Signed> {
        self.signed.as_ref()
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &R {
        &self.file
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

    /// What opens this manifest's blocks.
    pub(super) fn opener(&self) -> io::Result<Opener> {
        self.seals.opener()
    }

    /// A block's plain bytes, verified before they are decompressed. Returns how many items it has, as far as anybody says.
    pub(super) fn plain(
        &self,
        block: &Block,
        opener: &mut Opener,
        plain: &mut Vec<u8>,
    ) -> Result<u32, ReadError> {
        let (part, scheme) = (block.section.part(), block.seal);
        let seal = Seal::from_number(scheme, part)?;
        if seal == Seal::Age && self.version == Version::Plain {
            return Err(FormatError::Seal { part, scheme }.into());
        }
        let stored = self.read(block.offset, block.stored_length.into())?;
        if blake3::hash(&stored).as_bytes() != &block.hash {
            return Err(FormatError::Hash(part).into());
        }
        let said = match seal {
            Seal::Zstd => Measures { items: block.items, length: block.plain_length },
            Seal::Age => Measures { items: 0, length: block.most() as u32 },
        };
        Ok(opener.block(seal, &stored, said, part, plain)?)
    }

    /// The plain bytes of a section that is one block of one item.
    fn only_block(&self, section: Section) -> Result<Vec<u8>, ReadError> {
        let mut blocks = self.blocks.iter().filter(|b| b.section == section);
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err(FormatError::invalid(section.part(), "it is not exactly one block").into());
        };
        let mut plain = Vec::new();
        let items = self.plain(block, &mut self.opener()?, &mut plain)?;
        check_items(section.part(), 1, items.into())?;
        Ok(plain)
    }

    /// What the manifest says about itself; of a sealed store, without the details where there is no key that opens them.
    ///
    /// # Errors
    /// [`ReadError`] when the section is missing or damaged.
    pub fn summary(&self) -> Result<Summary, ReadError> {
        let public = self.only_block(Section::Summary)?;
        if self.version == Version::Plain {
            return Ok(decode_summary(&public)?);
        }
        let mut summary = decode_public_summary(&public)?;
        match self.only_block(Section::PrivateSummary) {
            Ok(private) => decode_private_summary(&private, &mut summary)?,
            Err(ReadError::Format(FormatError::NoKey(_))) => {}
            Err(error) => return Err(error),
        }
        Ok(summary)
    }

    /// The read file that the writer of a sealed store had; none in a plain one.
    ///
    /// # Errors
    /// [`ReadError`] when the section is missing or damaged.
    pub fn read_file(&self) -> Result<Option<Vec<u8>>, ReadError> {
        match self.version {
            Version::Plain => Ok(None),
            Version::Sealed => self.only_block(Section::ReadFile).map(Some),
        }
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
        let (mut problems, mut plain, mut opener) = (Vec::new(), Vec::new(), self.opener()?);
        let blocks = || self.blocks.iter().filter(|b| b.section == Section::Missing);
        check_sum(Section::Missing.part(), blocks().map(|b| b.plain_length as usize).sum(), MAX_RECORD)?;
        let mut opened = 0;
        for block in blocks() {
            let items = self.plain(block, &mut opener, &mut plain)?;
            opened += plain.len();
            check_sum(Section::Missing.part(), opened, MAX_RECORD)?;
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
            check_items(Section::Missing.part(), (problems.len() - before) as u64, items.into())?;
        }
        Ok(problems)
    }

    /// What was left out, in path order; nothing where the manifest does not say.
    ///
    /// # Errors
    /// [`ReadError`] when the section is damaged.
    pub fn left_out(&self) -> Result<Vec<LeftOut>, ReadError> {
        const PART: &str = "the left-out section";
        let (mut places, mut plain, mut opener) = (Vec::new(), Vec::new(), self.opener()?);
        let blocks = || self.blocks.iter().filter(|b| b.number == LEFT_OUT);
        check_sum(PART, blocks().map(|b| b.plain_length as usize).sum(), MAX_LEFT_OUT)?;
        let mut opened = 0;
        for block in blocks() {
            let items = self.plain(block, &mut opener, &mut plain)?;
            opened += plain.len();
            check_sum(PART, opened, MAX_LEFT_OUT)?;
            let (mut rest, before) = (plain.as_slice(), places.len());
            while !rest.is_empty() {
                let (place, used) = decode_left_out(rest)?;
                check_left_out_order(places.last(), &place)?;
                rest = rest.get(used..).unwrap_or_default();
                places.push(place);
            }
            check_items(PART, (places.len() - before) as u64, items.into())?;
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

    /// Hands on the rows of the object table one by one, once all of it was checked: of a damaged one none is handed on. The
    /// first time this takes 8 bytes of memory for each row until then; in a sealed store it takes some 120 each time. Of that,
    /// where no key opens the private part, rows come in the order of the chunks' names and without what only a key tells.
    ///
    /// # Errors
    /// As [`Self::objects`].
    pub fn each_object(&self, mut take: impl FnMut(ObjectRow)) -> Result<(), ReadError> {
        if self.version == Version::Sealed {
            let public = self.public_objects()?;
            let rows = match self.private_objects(&public) {
                Err(ReadError::Format(FormatError::NoKey(_))) => public,
                rows => rows?,
            };
            rows.into_iter().for_each(take);
            return Ok(());
        }
        match self.is_distinct.load(Ordering::Relaxed) {
            true => self.pass_objects(drop)?,
            false => self.check_distinct()?,
        }
        self.pass_objects(&mut take)
    }

    /// Checks the whole table of a plain store's manifest.
    fn check_distinct(&self) -> Result<(), ReadError> {
        let mut distinct = Distinct::of(self.rows());
        self.pass_objects(|row| distinct.note(&row.id))?;
        if let Some(mut doubtful) = distinct.doubtful() {
            self.pass_objects(|row| doubtful.note(&row.id))?;
            doubtful.check()?;
        }
        self.is_distinct.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// How many rows the object table has, as the index says; never more than it may have. Whoever keeps something of each makes
    /// room for it at once, since growing would leave holes in the heap.
    pub fn rows(&self) -> usize {
        let tables = self.blocks.iter().filter(|b| b.section == Section::Objects);
        tables.map(|b| b.items as usize).sum::<usize>().min(MAX_OBJECTS)
    }

    /// What anybody may know of the objects of a sealed store's manifest: which they are, and how long their files.
    fn public_objects(&self) -> Result<Vec<ObjectRow>, ReadError> {
        let (mut rows, mut last, mut plain, mut opener) = (Vec::new(), None, Vec::new(), self.opener()?);
        let part = Section::Objects.part();
        for block in self.blocks.iter().filter(|b| b.section == Section::Objects) {
            // Before the block is opened, so that one that lies costs nothing.
            check_items(part, u64::from(block.plain_length) / PUBLIC_ROW as u64, block.items.into())?;
            if rows.len() + block.items as usize > MAX_OBJECTS {
                return Err(FormatError::invalid(part, format!("it has more than {MAX_OBJECTS} rows")).into());
            }
            self.plain(block, &mut opener, &mut plain)?;
            decode_public(&plain, &mut last, |row| rows.push(row))?;
        }
        Ok(rows)
    }

    /// The same with what takes a key, in the order in which files need them.
    fn private_objects(&self, public: &[ObjectRow]) -> Result<Vec<ObjectRow>, ReadError> {
        let (mut rows, mut plain, mut opener) =
            (Vec::with_capacity(public.len()), Vec::new(), self.opener()?);
        let mut is_used = vec![false; public.len()];
        let invalid =
            || FormatError::invalid(Section::PrivateObjects.part(), "its rows are not one for each object");
        for block in self.blocks.iter().filter(|b| b.section == Section::PrivateObjects) {
            let (items, before) = (self.plain(block, &mut opener, &mut plain)?, rows.len());
            decode_private(&plain, |private| {
                let at = private.public as usize;
                let row = public.get(at).ok_or_else(invalid)?;
                let used = is_used.get_mut(at).filter(|used| !**used).ok_or_else(invalid)?;
                *used = true;
                let row = ObjectRow { chunk_length: private.chunk_length, used: private.used, ..*row };
                check_row(&row)?;
                rows.push(row);
                Ok(())
            })?;
            check_items(Section::PrivateObjects.part(), (rows.len() - before) as u64, items.into())?;
        }
        if rows.len() != public.len() {
            return Err(invalid().into());
        }
        Ok(rows)
    }

    fn pass_objects(&self, mut take: impl FnMut(ObjectRow)) -> Result<(), ReadError> {
        let (mut rows, mut plain, mut opener) = (0, Vec::new(), self.opener()?);
        for block in self.blocks.iter().filter(|b| b.section == Section::Objects) {
            // Before the block is opened, so that one that lies costs nothing.
            check_items(
                Section::Objects.part(),
                u64::from(block.plain_length) / ROW as u64,
                block.items.into(),
            )?;
            self.plain(block, &mut opener, &mut plain)?;
            rows = decode_rows(&plain, rows, &mut take)?;
        }
        Ok(())
    }

    /// The chunk lengths of the object table, which whoever reads entries needs. All who have them at a time share them, so who
    /// is going to read entries several times holds them meanwhile.
    ///
    /// # Errors
    /// As [`Self::objects`].
    pub fn chunk_lengths(&self) -> Result<Arc<ChunkLengths>, ReadError> {
        let mut known = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lengths) = known.upgrade() {
            return Ok(lengths);
        }
        let mut lengths = Vec::with_capacity(self.rows());
        match self.version {
            Version::Plain => self.each_object(|row| lengths.push(row.chunk_length))?,
            Version::Sealed => {
                let rows = self.private_objects(&self.public_objects()?)?;
                lengths.extend(rows.iter().map(|row| row.chunk_length));
            }
        }
        let lengths = Arc::new(ChunkLengths(lengths));
        *known = Arc::downgrade(&lengths);
        Ok(lengths)
    }

    /// The starts section, where the manifest has it.
    pub(super) fn read_starts(&self) -> Result<Option<Vec<ArchivePath>>, ReadError> {
        let mut blocks = self.blocks.iter().filter(|b| b.number == STARTS);
        let Some(block) = blocks.next() else { return Ok(None) };
        if blocks.next().is_some() || block.plain_length as usize > MAX_STARTS {
            let reason = format!("it is not one block of at most {MAX_STARTS} bytes");
            return Err(FormatError::invalid(STARTS_PART, reason).into());
        }
        let mut plain = Vec::new();
        let items = self.plain(block, &mut self.opener()?, &mut plain)?;
        let of_entries = self.blocks.iter().filter(|b| b.section == Section::Entries);
        let starts = decode_starts(&plain, of_entries.count())?;
        check_items(STARTS_PART, starts.len() as u64, items.into())?;
        Ok(Some(starts))
    }

    /// The same, read once; none where it makes no sense: the manifest means the same without it.
    pub(super) fn starts(&self) -> Option<&[ArchivePath]> {
        self.starts.get_or_init(|| self.read_starts().ok().flatten()).as_deref()
    }

    /// Checks the hashes of all blocks of a section, without decoding them.
    ///
    /// # Errors
    /// [`ReadError`] when one is damaged.
    pub fn check_blocks(&self, section: Section) -> Result<(), ReadError> {
        self.blocks.iter().filter(|b| b.section == section).try_for_each(|block| self.check_block(block))
    }

    /// Checks the hashes of all blocks, without decoding them.
    ///
    /// # Errors
    /// [`ReadError`] when one is damaged.
    pub fn check_all_blocks(&self) -> Result<(), ReadError> {
        self.blocks.iter().try_for_each(|block| self.check_block(block))
    }

    fn check_block(&self, block: &Block) -> Result<(), ReadError> {
        let stored = self.read(block.offset, block.stored_length.into())?;
        match blake3::hash(&stored).as_bytes() == &block.hash {
            true => Ok(()),
            false => Err(FormatError::Hash(block.section.part()).into()),
        }
    }
}

/// Checks how many plain bytes a section has that is read whole: as the index says, which of encrypted blocks says nothing, and
/// as they are opened.
fn check_sum(part: &'static str, bytes: usize, most: usize) -> Result<(), FormatError> {
    match bytes > most {
        true => Err(FormatError::invalid(part, format!("it has {bytes} bytes, more than {most}"))),
        false => Ok(()),
    }
}

fn check_items(part: &'static str, found: u64, said: u64) -> Result<(), FormatError> {
    if found == said {
        return Ok(());
    }
    Err(FormatError::invalid(part, format!("it has {found} records, the index says {said}")))
}
