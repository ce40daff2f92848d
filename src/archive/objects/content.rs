//! A file's content from any place on.

use super::reader::ObjectReader;
use crate::archive::error::ArchiveError;
use crate::archive::open::Archive;
use crate::model::{Extent, FileContent, ObjectRow};
use std::collections::VecDeque;

/// Bytes of chunks that are kept for the next read; the last chunk is kept whatever its length.
const KEPT: usize = 8 << 20;

/// Where the extents of a file are.
#[derive(Clone, Debug)]
pub struct Extents {
    extents: Vec<Extent>,
    /// Where each ends in the file; ascending.
    ends: Vec<u64>,
}

impl Extents {
    /// Those of a content.
    pub fn new(content: &FileContent) -> Self {
        let mut end = 0u64;
        let ends = content.extents.iter().map(|extent| {
            end = end.saturating_add(extent.length());
            end
        });
        Self { ends: ends.collect(), extents: content.extents.clone() }
    }

    /// The file's length in bytes.
    pub fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The extent that has the byte at `offset`, how far that is into it, and how many bytes it has from there on.
    fn at(&self, offset: u64) -> Option<(Extent, u64, u64)> {
        let at = self.ends.partition_point(|end| *end <= offset);
        let (extent, end) = (self.extents.get(at)?, self.ends.get(at)?);
        let left = end - offset;
        Some((*extent, extent.length() - left, left))
    }
}

/// Reads contents of one manifest's files from any place on. Each chunk is verified against its name, and the ones that were
/// used last are kept.
pub struct ContentReader {
    reader: ObjectReader,
    objects: Vec<ObjectRow>,
    /// Chunks by their rows, the one that was used last at the end.
    kept: VecDeque<(u32, Vec<u8>)>,
}

impl ContentReader {
    /// A reader of the files whose extents are of this object table.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] when zstd has no memory.
    pub fn new(archive: &Archive, objects: Vec<ObjectRow>) -> Result<Self, ArchiveError> {
        Ok(Self { reader: ObjectReader::prepared(archive)?, objects, kept: VecDeque::new() })
    }

    /// Fills the buffer with the content from `offset` on, as far as the file goes, and returns how many bytes that is.
    ///
    /// # Errors
    /// [`ArchiveError::Object`] when no copy of a chunk is whole; [`ArchiveError::Store`] when the trash cannot be listed.
    pub fn read_at(&mut self, file: &Extents, offset: u64, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some((extent, skip, left)) = file.at(offset.saturating_add(filled as u64)) else { break };
            let length = left.min(rest.len() as u64) as usize;
            let rest = rest.get_mut(..length).unwrap_or_default();
            match extent {
                Extent::Hole { .. } => rest.fill(0),
                Extent::Slice { object, offset, .. } => {
                    let chunk = self.chunk(object)?;
                    let from = (u64::from(offset) + skip) as usize;
                    // The manifest's reader has checked that the chunk has these bytes.
                    let Some(slice) = chunk.get(from..from + length) else { break };
                    rest.copy_from_slice(slice);
                }
            }
            filled += length;
        }
        Ok(filled)
    }

    /// Bytes read from the store so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    fn chunk(&mut self, row: u32) -> Result<&[u8], ArchiveError> {
        let chunk = match self.kept.iter().rposition(|(kept, _)| *kept == row) {
            Some(at) => self.kept.remove(at).unwrap_or_default().1,
            None => self.fetch(row)?,
        };
        self.kept.push_back((row, chunk));
        Ok(self.kept.back().map_or(&[], |(_, chunk)| chunk))
    }

    fn fetch(&mut self, row: u32) -> Result<Vec<u8>, ArchiveError> {
        let Some(ObjectRow { id, chunk_length, .. }) = self.objects.get(row as usize).copied() else {
            return Ok(Vec::new());
        };
        let mut room = Vec::new();
        while self.kept_bytes() + chunk_length as usize > KEPT {
            let Some((_, oldest)) = self.kept.pop_front() else { break };
            room = oldest;
        }
        self.reader.fetch_into(&id, chunk_length, &mut room)?;
        Ok(room)
    }

    fn kept_bytes(&self) -> usize {
        self.kept.iter().map(|(_, chunk)| chunk.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContentHash;

    #[test]
    fn any_place_of_a_file_is_in_its_extent() {
        let slice = |object, offset, length| Extent::Slice { object, offset, length };
        let extents = vec![slice(0, 5, 10), Extent::Hole { length: 1 << 40 }, slice(1, 0, 1)];
        let size = extents.iter().map(Extent::length).sum();
        let content = FileContent { size, hash: ContentHash([0; 32]), extents, changed_while_read: false };
        let extents = Extents::new(&content);
        assert_eq!(extents.length(), 11 + (1 << 40));
        assert_eq!(extents.at(0), Some((slice(0, 5, 10), 0, 10)));
        assert_eq!(extents.at(9), Some((slice(0, 5, 10), 9, 1)));
        assert_eq!(extents.at(10), Some((Extent::Hole { length: 1 << 40 }, 0, 1 << 40)));
        assert_eq!(extents.at(10 + (1 << 40)), Some((slice(1, 0, 1), 0, 1)));
        assert_eq!(extents.at(11 + (1 << 40)), None);
        assert_eq!(Extents::new(&FileContent { size: 0, extents: vec![], ..content }).at(0), None);
    }
}
