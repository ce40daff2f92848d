//! The starts section: the path that each block of entries begins with, so that a reader finds a path without opening others.

use crate::format::FormatError;
use crate::format::wire::{check_path, decode, encode, path};
use crate::model::{ArchivePath, Excerpt};
use serde::{Deserialize, Serialize};

/// Plain bytes of the section at most; a manifest that needs more has none.
pub(super) const MAX_STARTS: usize = 4 << 20;

pub(super) const PART: &str = "the starts section";

#[derive(Serialize, Deserialize)]
struct StartRecord<'a> {
    #[serde(with = "serde_bytes")]
    path: &'a [u8],
}

/// Gathers the section while the blocks of entries are written.
#[derive(Default)]
pub(super) struct StartsWriter {
    plain: Vec<u8>,
    blocks: u32,
    /// They take more room than the section has.
    too_many: bool,
}

impl StartsWriter {
    /// Notes the path that the next block begins with.
    pub(super) fn note(&mut self, start: &ArchivePath) -> Result<(), FormatError> {
        self.blocks += 1;
        if self.too_many {
            return Ok(());
        }
        check_path(start)?;
        let record = StartRecord { path: start.as_bytes() };
        encode(&record, &mut self.plain, &|| format!("the start at {start}"))?;
        if self.plain.len() > MAX_STARTS {
            (self.plain, self.too_many) = (Vec::new(), true);
        }
        Ok(())
    }

    /// The section's plain bytes and its records: none where the one block begins with the root anyway.
    pub(super) fn finish(self) -> Option<(Vec<u8>, u32)> {
        (self.blocks > 1 && !self.too_many).then_some((self.plain, self.blocks))
    }
}

/// Reads the section of a manifest that has so many blocks of entries.
pub(super) fn decode_starts(bytes: &[u8], blocks: usize) -> Result<Vec<ArchivePath>, FormatError> {
    let (mut starts, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (record, used) = decode::<StartRecord<'_>>(rest, PART)?;
        let Some(start) = path(record.path) else {
            return Err(FormatError::invalid(PART, format!("\"{}\" is no path", Excerpt(record.path))));
        };
        match starts.last() {
            None if !start.is_root() => {
                return Err(FormatError::invalid(PART, "it does not begin with the root"));
            }
            Some(last) if *last >= start => {
                return Err(FormatError::invalid(PART, format!("{start} is out of order")));
            }
            _ => starts.push(start),
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    if starts.len() == blocks {
        return Ok(starts);
    }
    let reason = format!("it has {} records, there are {blocks} blocks of entries", starts.len());
    Err(FormatError::invalid(PART, reason))
}

/// Checks a record against the block that it tells of.
pub(super) fn check_start(said: &ArchivePath, found: &ArchivePath) -> Result<(), FormatError> {
    if said == found {
        return Ok(());
    }
    Err(FormatError::invalid(PART, format!("it says {said} of a block that begins with {found}")))
}
