//! Header, index and footer: fixed layouts, little endian.

use super::starts::MAX_STARTS;
use crate::format::keys::WriterId;
use crate::format::notes::MAX_LEFT_OUT;
use crate::format::wire::MAX_RECORD;
use crate::format::{FormatError, Seal};
use crate::model::Digest;

pub(super) const HEADER_LENGTH: u64 = 16;
pub(super) const ROW_LENGTH: u64 = 48;
/// Longest index that is read, in bytes: room for 350,000 blocks.
const MAX_INDEX: u64 = 16 << 20;

const HEADER_MARK: &[u8; 8] = b"WKVLTMF\n";
const FOOTER_MARK: &[u8; 8] = b"WKVLTEND";

/// The versions of manifests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// Those of plain stores.
    Plain = 1,
    /// Those of sealed stores: private blocks are encrypted, and the writer signs.
    Sealed = 2,
}

impl Version {
    /// Bytes of the footer.
    pub(super) fn footer_length(self) -> u64 {
        match self {
            Self::Plain => 48,
            Self::Sealed => 144,
        }
    }
}

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
    /// Of sealed stores: what the object table keeps from whoever has no key.
    PrivateObjects = 6,
    /// Of sealed stores: what the summary keeps.
    PrivateSummary = 7,
    /// Of sealed stores: the read file that the writer had.
    ReadFile = 8,
    /// Numbers 128 to 255: what readers may pass over. Checked, like all blocks, by the index; which one it is
    /// [`Block::number`] tells.
    Ancillary = 128,
}

impl Section {
    fn from_number(number: u8, version: Version) -> Result<Self, FormatError> {
        if number >= Self::Ancillary as u8 {
            return Ok(Self::Ancillary);
        }
        let plain = [Self::Entries, Self::Missing, Self::Owners, Self::Objects, Self::Summary];
        let sealed = [Self::PrivateObjects, Self::PrivateSummary, Self::ReadFile];
        let sealed = sealed.into_iter().filter(|_| version == Version::Sealed);
        let found = plain.into_iter().chain(sealed).find(|s| *s as u8 == number);
        found.ok_or_else(|| FormatError::invalid("the manifest's index", format!("section {number}")))
    }

    /// Whether it tells what the source has: a sealed store keeps that from whoever has no key. What is not private is all that
    /// looking after a store needs.
    pub fn is_private(self) -> bool {
        match self {
            Self::Entries | Self::Missing | Self::Owners | Self::Ancillary => true,
            Self::PrivateObjects | Self::PrivateSummary => true,
            Self::Objects | Self::Summary | Self::ReadFile => false,
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
            Self::PrivateObjects => "the private object table",
            Self::PrivateSummary => "the private summary section",
            Self::ReadFile => "the read file",
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
    /// Records in it; 0 where it is encrypted, and says so itself.
    pub items: u32,
    /// Bytes before sealing; likewise.
    pub plain_length: u32,
    /// Bytes in the file.
    pub stored_length: u32,
    /// BLAKE3 of the stored bytes.
    pub hash: [u8; 32],
    /// Where the block begins in the file; follows from the lengths before it.
    pub offset: u64,
}

impl Block {
    /// The most plain bytes that it may have, whatever it says of itself.
    pub(super) fn most(&self) -> usize {
        match self.number {
            LEFT_OUT => MAX_LEFT_OUT,
            STARTS => MAX_STARTS,
            _ => MAX_RECORD,
        }
    }
}

/// The 16 bytes that every manifest begins with.
pub(super) fn header(version: Version) -> [u8; HEADER_LENGTH as usize] {
    let mut bytes = [0; HEADER_LENGTH as usize];
    let (mark, rest) = bytes.split_at_mut(8);
    mark.copy_from_slice(HEADER_MARK);
    rest.split_at_mut(2).0.copy_from_slice(&(version as u16).to_le_bytes());
    bytes
}

pub(super) fn decode_header(bytes: &[u8]) -> Result<Version, FormatError> {
    if let Some(version) = [Version::Plain, Version::Sealed].into_iter().find(|v| bytes == header(*v)) {
        return Ok(version);
    }
    match bytes.split_at_checked(8) {
        Some((mark, [low, high, 0, 0, 0, 0, 0, 0])) if mark == HEADER_MARK => {
            let found = u32::from(u16::from_le_bytes([*low, *high]));
            Err(FormatError::Version { part: "the manifest", found, known: Version::Sealed as u32 })
        }
        _ => Err(FormatError::Magic("the manifest")),
    }
}

/// Who made a manifest of a sealed store, and the proof of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The writer, as the manifest says.
    pub by: WriterId,
    /// Its signature of the manifest's digest.
    pub signature: [u8; 64],
}

/// What ends a manifest.
pub(super) struct Footer {
    /// Bytes of the index.
    pub(super) index_length: u64,
    pub(super) digest: Digest,
    pub(super) signed: Option<Signed>,
}

/// The index for `blocks`, and the manifest's digest.
pub(super) fn encode_index(blocks: &[Block], version: Version) -> Result<(Vec<u8>, Digest), FormatError> {
    let length = blocks.len() as u64 * ROW_LENGTH + version.footer_length();
    let mut bytes = Vec::with_capacity(length as usize);
    for block in blocks {
        bytes.extend_from_slice(&[block.number, block.seal, 0, 0]);
        for number in [block.items, block.plain_length, block.stored_length] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&block.hash);
    }
    let digest = index_digest(&bytes, version);
    if bytes.len() as u64 > MAX_INDEX {
        let what = "the manifest's index".to_owned();
        return Err(FormatError::TooLarge { what, size: bytes.len() as u64, limit: MAX_INDEX });
    }
    Ok((bytes, digest))
}

pub(super) fn encode_footer(footer: &Footer) -> Vec<u8> {
    let mut bytes = (footer.index_length as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(footer.digest.as_bytes());
    if let Some(signed) = &footer.signed {
        bytes.extend_from_slice(&signed.by.0);
        bytes.extend_from_slice(&signed.signature);
    }
    bytes.extend_from_slice(FOOTER_MARK);
    bytes
}

fn index_digest(index: &[u8], version: Version) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&header(version)).update(index);
    hasher.finalize().into()
}

/// Reads the footer of a file of so many bytes.
pub(super) fn decode_footer(bytes: &[u8], file_length: u64, version: Version) -> Result<Footer, FormatError> {
    let part = "the manifest's footer";
    let fields =
        Some(bytes).filter(|bytes| bytes.len() as u64 == version.footer_length()).and_then(|bytes| {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (zero, rest) = rest.split_first_chunk::<4>()?;
            let (digest, rest) = rest.split_first_chunk::<32>()?;
            let (signed, mark) = rest.split_last_chunk::<8>()?;
            Some((length, zero, digest, signed, mark))
        });
    let Some((length, zero, digest, signed, mark)) = fields else {
        let (needed, found) = (version.footer_length(), bytes.len() as u64);
        return Err(FormatError::Truncated { part, needed, found });
    };
    if mark != FOOTER_MARK || zero != &[0; 4] {
        return Err(FormatError::Magic("the end of the manifest"));
    }
    let length = u64::from(u32::from_le_bytes(*length));
    let around = HEADER_LENGTH + version.footer_length();
    if length % ROW_LENGTH != 0 || length > MAX_INDEX || around + length > file_length {
        let reason = format!("an index of {length} bytes in a file of {file_length}");
        return Err(FormatError::invalid(part, reason));
    }
    let signed = signed
        .split_first_chunk::<32>()
        .and_then(|(by, signature)| Some(Signed { by: WriterId(*by), signature: *signature.first_chunk()? }));
    Ok(Footer { index_length: length, digest: Digest(*digest), signed })
}

/// Reads and checks the index, whose bytes must have the footer's digest, and lays the blocks out.
///
/// `room` is how many bytes of the file are between header and index; the blocks must fill them exactly.
pub(super) fn decode_index(
    bytes: &[u8],
    digest: Digest,
    room: u64,
    version: Version,
) -> Result<Vec<Block>, FormatError> {
    let part = "the manifest's index";
    if index_digest(bytes, version) != digest {
        return Err(FormatError::Hash(part));
    }
    let mut blocks: Vec<Block> = Vec::with_capacity(bytes.len() / ROW_LENGTH as usize);
    let mut offset = HEADER_LENGTH;
    for row in bytes.chunks_exact(ROW_LENGTH as usize) {
        let block = decode_row(row, offset, version)?;
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

fn decode_row(row: &[u8], offset: u64, version: Version) -> Result<Block, FormatError> {
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
    let section = Section::from_number(*number, version)?;
    let scheme = if version == Version::Sealed { Seal::Age } else { Seal::Zstd };
    let bound = scheme.stored_bound(MAX_RECORD);
    if plain_length as usize > MAX_RECORD || stored_length as usize > bound {
        return Err(FormatError::invalid(
            part,
            format!("{} has a block of {plain_length} bytes", section.part()),
        ));
    }
    // In a plain store an unknown seal hurts those alone who need the block; a sealed one must not be talked out of its seals.
    let (is_private, is_age) = (section.is_private(), *seal == Seal::Age.number());
    let is_as_must_be = is_private == is_age && (!is_age || (items, plain_length) == (0, 0));
    if version == Version::Sealed && !is_as_must_be {
        return Err(FormatError::invalid(part, format!("{} is not sealed as it must be", section.part())));
    }
    let hash = hash.try_into().map_err(|_| FormatError::invalid(part, "a row is short"))?;
    Ok(Block { section, number: *number, seal: *seal, items, plain_length, stored_length, hash, offset })
}
