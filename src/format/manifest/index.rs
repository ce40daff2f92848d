//! Header, index and footer: fixed layouts, little endian.

use crate::format::wire::MAX_RECORD;
use crate::format::{FormatError, stored_bound};
use crate::model::Digest;

pub(super) const HEADER_LENGTH: u64 = 16;
pub(super) const FOOTER_LENGTH: u64 = 48;
pub(super) const ROW_LENGTH: u64 = 48;
/// Longest index that is read, in bytes: room for 350,000 blocks.
const MAX_INDEX: u64 = 16 << 20;

const VERSION: u16 = 1;
const HEADER_MARK: &[u8; 8] = b"WKVLTMF\n";
const FOOTER_MARK: &[u8; 8] = b"WKVLTEND";

/// What a block holds. The numbers stand on disk; blocks are ordered by them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// The tree.
    Entries = 1,
    /// Paths that could not be read.
    Missing = 2,
    /// Names of the numeric owners.
    Owners = 3,
    /// The object table.
    Objects = 4,
    /// The summary.
    Summary = 5,
    /// Numbers 128 to 255: what readers may pass over. Checked, like all blocks, by the index; which one it is
    /// [`Block::number`] tells.
    Ancillary = 128,
}

impl Section {
    fn from_number(number: u8) -> Result<Self, FormatError> {
        if number >= Self::Ancillary as u8 {
            return Ok(Self::Ancillary);
        }
        [Self::Entries, Self::Missing, Self::Owners, Self::Objects, Self::Summary]
            .into_iter()
            .find(|s| *s as u8 == number)
            .ok_or_else(|| FormatError::invalid("the manifest's index", format!("section {number}")))
    }

    /// Whether it tells what the source has: a sealed store keeps that from whoever has no key. What is not private is all that
    /// looking after a store needs.
    pub fn is_private(self) -> bool {
        match self {
            Self::Entries | Self::Missing | Self::Owners | Self::Ancillary => true,
            Self::Objects | Self::Summary => false,
        }
    }

    /// For messages.
    pub fn part(self) -> &'static str {
        match self {
            Self::Entries => "the entries section",
            Self::Missing => "the missing section",
            Self::Owners => "the owners section",
            Self::Objects => "the object table",
            Self::Summary => "the summary section",
            Self::Ancillary => "an ancillary section",
        }
    }
}

/// The ancillary section that lists what was left out.
pub(super) const LEFT_OUT: u8 = 128;
/// The ancillary section that lists what the blocks of entries begin with.
pub(super) const STARTS: u8 = 129;

/// One sealed block of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// What it holds.
    pub section: Section,
    /// Its section's number, which tells ancillary ones apart.
    pub number: u8,
    /// How it is sealed, by number: a scheme that this program does not know hurts those alone who need the block.
    pub seal: u8,
    /// Records in it.
    pub items: u32,
    /// Bytes before sealing.
    pub plain_length: u32,
    /// Bytes in the file.
    pub stored_length: u32,
    /// BLAKE3 of the stored bytes.
    pub hash: [u8; 32],
    /// Where the block begins in the file; follows from the lengths before it.
    pub offset: u64,
}

/// The 16 bytes that every manifest begins with.
pub(super) fn header() -> [u8; HEADER_LENGTH as usize] {
    let mut bytes = [0; HEADER_LENGTH as usize];
    let (mark, rest) = bytes.split_at_mut(8);
    mark.copy_from_slice(HEADER_MARK);
    rest.split_at_mut(2).0.copy_from_slice(&VERSION.to_le_bytes());
    bytes
}

pub(super) fn check_header(bytes: &[u8]) -> Result<(), FormatError> {
    if bytes == header() {
        return Ok(());
    }
    match bytes.split_at_checked(8) {
        Some((mark, [low, high, 0, 0, 0, 0, 0, 0])) if mark == HEADER_MARK => {
            let found = u32::from(u16::from_le_bytes([*low, *high]));
            Err(FormatError::Version { part: "the manifest", found, known: VERSION.into() })
        }
        _ => Err(FormatError::Magic("the manifest")),
    }
}

/// Index and footer for `blocks`, and the manifest's digest.
pub(super) fn encode_index(blocks: &[Block]) -> Result<(Vec<u8>, Digest), FormatError> {
    let mut bytes = Vec::with_capacity(blocks.len() * ROW_LENGTH as usize + FOOTER_LENGTH as usize);
    for block in blocks {
        bytes.extend_from_slice(&[block.number, block.seal, 0, 0]);
        for number in [block.items, block.plain_length, block.stored_length] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&block.hash);
    }
    let digest = index_digest(&bytes);
    let length = bytes.len() as u32;
    if bytes.len() as u64 > MAX_INDEX {
        let what = "the manifest's index".to_owned();
        return Err(FormatError::TooLarge { what, size: bytes.len() as u64, limit: MAX_INDEX });
    }
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(digest.as_bytes());
    bytes.extend_from_slice(FOOTER_MARK);
    Ok((bytes, digest))
}

fn index_digest(index: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header()).update(index);
    hasher.finalize().into()
}

/// Reads the footer: the index's length and the manifest's digest.
pub(super) fn decode_footer(bytes: &[u8], file_length: u64) -> Result<(u64, Digest), FormatError> {
    let part = "the manifest's footer";
    let fields = <&[u8; FOOTER_LENGTH as usize]>::try_from(bytes).ok().and_then(|bytes| {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (zero, rest) = rest.split_first_chunk::<4>()?;
        let (digest, mark) = rest.split_first_chunk::<32>()?;
        Some((length, zero, digest, mark))
    });
    let Some((length, zero, digest, mark)) = fields else {
        return Err(FormatError::Truncated { part, needed: FOOTER_LENGTH, found: bytes.len() as u64 });
    };
    if mark != FOOTER_MARK || zero != &[0; 4] {
        return Err(FormatError::Magic("the end of the manifest"));
    }
    let length = u64::from(u32::from_le_bytes(*length));
    if length % ROW_LENGTH != 0 || length > MAX_INDEX || HEADER_LENGTH + length + FOOTER_LENGTH > file_length
    {
        return Err(FormatError::invalid(
            part,
            format!("an index of {length} bytes in a file of {file_length}"),
        ));
    }
    Ok((length, Digest(*digest)))
}

/// Reads and checks the index, whose bytes must have the footer's digest, and lays the blocks out.
///
/// `room` is how many bytes of the file are between header and index; the blocks must fill them exactly.
pub(super) fn decode_index(bytes: &[u8], digest: Digest, room: u64) -> Result<Vec<Block>, FormatError> {
    let part = "the manifest's index";
    if index_digest(bytes) != digest {
        return Err(FormatError::Hash(part));
    }
    let mut blocks: Vec<Block> = Vec::with_capacity(bytes.len() / ROW_LENGTH as usize);
    let mut offset = HEADER_LENGTH;
    for row in bytes.chunks_exact(ROW_LENGTH as usize) {
        let block = decode_row(row, offset)?;
        if blocks.last().is_some_and(|last| last.section > block.section) {
            return Err(FormatError::invalid(part, "sections are out of order"));
        }
        offset += u64::from(block.stored_length);
        blocks.push(block);
    }
    if offset != HEADER_LENGTH + room {
        return Err(FormatError::invalid(
            part,
            format!("its blocks end at {offset}, it begins at {}", 16 + room),
        ));
    }
    Ok(blocks)
}

fn decode_row(row: &[u8], offset: u64) -> Result<Block, FormatError> {
    let part = "the manifest's index";
    let [number, seal, 0, 0, numbers @ ..] = row else {
        return Err(FormatError::invalid(part, "reserved bytes are set"));
    };
    let mut values = [0u32; 3];
    let (numbers, hash) = numbers.split_at_checked(12).unwrap_or_default();
    for (value, bytes) in values.iter_mut().zip(numbers.chunks_exact(4)) {
        *value = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    let [items, plain_length, stored_length] = values;
    let section = Section::from_number(*number)?;
    if plain_length as usize > MAX_RECORD || stored_length as usize > stored_bound(MAX_RECORD) {
        return Err(FormatError::invalid(
            part,
            format!("{} has a block of {plain_length} bytes", section.part()),
        ));
    }
    let hash = hash.try_into().map_err(|_| FormatError::invalid(part, "a row is short"))?;
    Ok(Block { section, number: *number, seal: *seal, items, plain_length, stored_length, hash, offset })
}
