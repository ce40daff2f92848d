//! Contents that the store has as a whole, found by their hash, and compared before anything relies on them: an earlier
//! manifest says both what a content's hash is and where its bytes are, and the two need not agree.

use super::previous::{ContentIndex, Previous};
use crate::archive::{Archive, ArchiveError, Damage, Inventory, ObjectReader, SharedTrash};
use crate::model::{Entry, Extent, FileContent, Kind, Observer};
use crate::ops::Error;

/// Bytes of chunks that may be fetched to compare contents with, beyond [`SHARE`] times the contents' own. Of files that
/// were touched here and there, the rest is stored anew, which takes less.
const FREE: u64 = 256 << 20;
/// See [`FREE`].
const SHARE: u64 = 4;

/// What the earlier manifest has of a source's contents.
pub(super) struct KnownContents<'a> {
    previous: &'a Previous,
    index: ContentIndex<'a>,
    inventory: &'a Inventory,
    reader: ObjectReader,
    /// The object whose chunk was fetched last, and is the reader's: neighbours lie in one.
    fetched_last: Option<u32>,
    fetched: u64,
    compared: u64,
    /// Contents that were not what the manifest says.
    wrong: u64,
}

impl<'a> KnownContents<'a> {
    pub(super) fn new(
        archive: &Archive,
        inventory: &'a Inventory,
        previous: &'a Previous,
    ) -> Result<Self, Error> {
        let reader = ObjectReader::new(archive, SharedTrash::default());
        let reader = reader.map_err(Error::system("prepare decompression"))?;
        let index = ContentIndex::new(previous);
        Ok(Self { previous, index, inventory, reader, fetched_last: None, fetched: 0, compared: 0, wrong: 0 })
    }

    /// Extents that make `bytes`: at the same path for a file that was only touched, elsewhere for one that moved.
    pub(super) fn find(
        &mut self,
        content: &FileContent,
        before: Option<&Entry>,
        bytes: &[u8],
    ) -> Result<Option<Vec<Extent>>, ArchiveError> {
        if content.size == 0 || bytes.len() as u64 != content.size {
            return Ok(None);
        }
        let extents = match before.map(|b| &b.kind) {
            Some(Kind::File(before)) if before.hash == content.hash && before.size == content.size => {
                self.previous.can_reuse(&before.extents).then(|| before.extents.clone())
            }
            _ => self.index.find(&content.hash, content.size)?,
        };
        match extents {
            Some(extents) if self.make(&extents, bytes)? => Ok(Some(extents)),
            _ => Ok(None),
        }
    }

    /// Whether the extents make these bytes. False, too, where that would cost too much to tell.
    fn make(&mut self, extents: &[Extent], bytes: &[u8]) -> Result<bool, ArchiveError> {
        self.compared += bytes.len() as u64;
        let mut rest = bytes;
        for extent in extents {
            let length = usize::try_from(extent.length()).unwrap_or(usize::MAX);
            let Some((part, behind)) = rest.split_at_checked(length) else { return Ok(self.is_wrong()) };
            rest = behind;
            let same = match *extent {
                Extent::Hole { .. } => part.iter().all(|&byte| byte == 0),
                Extent::Slice { object, offset, .. } => {
                    let Some(chunk) = self.chunk(object)? else { return Ok(false) };
                    chunk.get(offset as usize..).is_some_and(|chunk| chunk.starts_with(part))
                }
            };
            if !same {
                return Ok(self.is_wrong());
            }
        }
        Ok(rest.is_empty() || self.is_wrong())
    }

    fn is_wrong(&mut self) -> bool {
        self.wrong += 1;
        false
    }

    /// The chunk of an object, by row of the earlier manifest's table; none that is not whole. Fails where the store is out of
    /// reach.
    fn chunk(&mut self, row: u32) -> Result<Option<&[u8]>, ArchiveError> {
        if self.fetched_last != Some(row) {
            if self.fetched > self.compared.saturating_mul(SHARE).saturating_add(FREE) {
                return Ok(None);
            }
            let Some(number) = self.previous.object(row) else { return Ok(None) };
            let Some(object) = self.inventory.row(number) else { return Ok(None) };
            self.fetched += u64::from(object.chunk_length);
            self.fetched_last = None;
            match self.reader.intact(&object.id, object.chunk_length) {
                Ok(Some(_)) => self.inventory.prove(number),
                // Without a key it cannot be compared.
                Ok(None) => return Ok(None),
                Err(damage @ Damage::Unreachable(_)) => {
                    return Err(ArchiveError::Object { id: object.id, damage });
                }
                Err(_) => {
                    self.inventory.doubt(number);
                    return Ok(None);
                }
            }
            self.fetched_last = Some(row);
        }
        Ok(Some(self.reader.last_chunk()))
    }

    /// Says what was found.
    pub(super) fn tell(&self, observer: &dyn Observer) {
        if self.wrong > 0 {
            observer.warn(&format!(
                "{}: the content of {} of the files that were read is not the one whose hash it gives; they are stored again",
                self.previous.manifest.id(),
                self.wrong
            ));
        }
    }
}
