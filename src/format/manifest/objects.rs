//! The object table, little endian: in a plain store rows of 44 bytes; in a sealed one public rows of 52, by chunk, and private
//! ones of 12, in the order in which files need them.

use super::Section;
use crate::format::{FormatError, MAX_CHUNK_LENGTH};
use crate::model::{ChunkId, ObjectId, ObjectRow};

/// Rows of a table at most; some 4 TB of data.
pub(super) const MAX_OBJECTS: usize = 4_000_000;
/// Bytes of a row.
pub(super) const ROW: usize = 44;
pub(super) const PUBLIC_ROW: usize = 52;
pub(super) const PRIVATE_ROW: usize = 12;

/// Appends a row's bytes.
pub(super) fn encode_row(row: &ObjectRow, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(row.id.chunk().as_bytes());
    for number in [row.chunk_length, row.stored_length, row.used] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// The plain bytes of an object table, or of a part of one.
pub fn encode_objects(rows: &[ObjectRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * ROW);
    rows.iter().for_each(|row| encode_row(row, &mut bytes));
    bytes
}

/// Reads a whole object table.
///
/// # Errors
/// [`FormatError::Invalid`] for rows that are cut short, impossible, or there twice.
pub fn decode_objects(bytes: &[u8]) -> Result<Vec<ObjectRow>, FormatError> {
    let mut objects = Vec::new();
    decode_rows(bytes, 0, |row| objects.push(row))?;
    check_distinct(objects.iter().map(|row| row.id))?;
    Ok(objects)
}

/// Hands on the rows of a part of a table, before which it has so many others; returns how many it has then. That they are
/// distinct is not checked.
pub(super) fn decode_rows(
    bytes: &[u8],
    before: usize,
    mut take: impl FnMut(ObjectRow),
) -> Result<usize, FormatError> {
    let invalid = |reason: String| FormatError::invalid(Section::Objects.part(), reason);
    let (rows, rest) = bytes.as_chunks::<ROW>();
    if before + rows.len() > MAX_OBJECTS {
        return Err(invalid(format!("it has more than {MAX_OBJECTS} rows")));
    }
    if !rest.is_empty() {
        return Err(invalid(format!("it has {} bytes left over", rest.len())));
    }
    for row in rows {
        let (id, numbers) = row.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        let mut values = numbers.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n));
        let [chunk_length, stored_length, used] = [(); 3].map(|()| values.next().unwrap_or(0));
        let row = ObjectRow { id: ObjectId::plain(ChunkId(*id)), chunk_length, stored_length, used };
        check_row(&row)?;
        take(row);
    }
    Ok(before + rows.len())
}

/// Appends a public row's bytes.
pub(super) fn encode_public(row: &ObjectRow, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(row.id.chunk().as_bytes());
    bytes.extend_from_slice(row.id.sum().unwrap_or(&[0; 16]));
    bytes.extend_from_slice(&row.stored_length.to_le_bytes());
}

/// Hands on the public rows of a part of a table; `last` is the chunk before them, and becomes the last one of theirs. What it
/// takes a key to know, the rows do not say.
pub(super) fn decode_public(
    bytes: &[u8],
    last: &mut Option<ChunkId>,
    mut take: impl FnMut(ObjectRow),
) -> Result<(), FormatError> {
    let invalid = |reason: &str| FormatError::invalid(Section::Objects.part(), reason);
    let (rows, rest) = bytes.as_chunks::<PUBLIC_ROW>();
    if !rest.is_empty() {
        return Err(invalid("it has bytes left over"));
    }
    for row in rows {
        let (chunk, row) = row.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        let (sum, row) = row.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
        let stored_length = row.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let chunk = ChunkId(*chunk);
        if last.is_some_and(|last| last >= chunk) || *sum == [0; 16] || stored_length == 0 {
            return Err(invalid("its rows are not those of distinct objects in order"));
        }
        *last = Some(chunk);
        take(ObjectRow { id: ObjectId::sealed(chunk, *sum), chunk_length: 0, stored_length, used: 0 });
    }
    Ok(())
}

/// What a private row says: which public row it belongs to, counted from 0, and what of its object's chunk.
pub(super) struct PrivateRow {
    pub(super) public: u32,
    pub(super) chunk_length: u32,
    pub(super) used: u32,
}

/// Appends a private row's bytes.
pub(super) fn encode_private(row: &PrivateRow, bytes: &mut Vec<u8>) {
    for number in [row.public + 1, row.chunk_length, row.used] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Hands on the private rows of a part of a table.
pub(super) fn decode_private(
    bytes: &[u8],
    mut take: impl FnMut(PrivateRow) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let invalid = |reason: &str| FormatError::invalid(Section::PrivateObjects.part(), reason);
    let (rows, rest) = bytes.as_chunks::<PRIVATE_ROW>();
    if !rest.is_empty() {
        return Err(invalid("it has bytes left over"));
    }
    for row in rows {
        let mut numbers = row.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n));
        let [public, chunk_length, used] = [(); 3].map(|()| numbers.next().unwrap_or(0));
        let public = public.checked_sub(1).ok_or_else(|| invalid("a row belongs to no object"))?;
        take(PrivateRow { public, chunk_length, used })?;
    }
    Ok(())
}

/// Checks that a row can be that of an object.
pub(super) fn check_row(row: &ObjectRow) -> Result<(), FormatError> {
    let ObjectRow { id, chunk_length, stored_length, used } = *row;
    if chunk_length == 0 || chunk_length > MAX_CHUNK_LENGTH || used > chunk_length || stored_length == 0 {
        let reason = format!("object {id} has {chunk_length} bytes, {used} of them used");
        return Err(FormatError::invalid(Section::Objects.part(), reason));
    }
    Ok(())
}

/// Checks that no object is in a table twice.
pub(super) fn check_distinct(ids: impl Iterator<Item = ObjectId> + Clone) -> Result<(), FormatError> {
    let mut distinct = Distinct::of(ids.size_hint().1.unwrap_or(0));
    ids.clone().for_each(|id| distinct.note(&id));
    let Some(mut doubtful) = distinct.doubtful() else { return Ok(()) };
    ids.for_each(|id| doubtful.note(&id));
    doubtful.check()
}

/// Tells whether ids are distinct by the first 8 bytes of each, and so takes as many bytes of memory. Where some are the same, as
/// only somebody who wants it can bring about, those ids are looked at once more.
pub(super) struct Distinct(Vec<u64>);

/// Ids that begin alike.
pub(super) struct Doubtful {
    prefixes: Vec<u64>,
    ids: Vec<ObjectId>,
}

impl Distinct {
    /// For so many ids at most; more may come.
    pub(super) fn of(ids: usize) -> Self {
        Self(Vec::with_capacity(ids.min(MAX_OBJECTS)))
    }

    pub(super) fn note(&mut self, id: &ObjectId) {
        self.0.push(prefix(id));
    }

    /// What is to be looked at once more, if anything is.
    pub(super) fn doubtful(mut self) -> Option<Doubtful> {
        self.0.sort_unstable();
        let pairs = self.0.windows(2).filter(|pair| pair.first() == pair.last());
        let mut prefixes: Vec<u64> = pairs.filter_map(|pair| pair.first().copied()).collect();
        prefixes.dedup();
        (!prefixes.is_empty()).then_some(Doubtful { prefixes, ids: Vec::new() })
    }
}

impl Doubtful {
    pub(super) fn note(&mut self, id: &ObjectId) {
        if self.prefixes.binary_search(&prefix(id)).is_ok() {
            self.ids.push(*id);
        }
    }

    pub(super) fn check(mut self) -> Result<(), FormatError> {
        self.ids.sort_unstable();
        match self.ids.is_sorted_by(|a, b| a < b) {
            true => Ok(()),
            false => Err(FormatError::invalid(Section::Objects.part(), "an object is in it twice")),
        }
    }
}

fn prefix(id: &ObjectId) -> u64 {
    id.chunk().as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_id_is_twice() {
        let id = |first: u8, last: u8| {
            let mut id = [7; 32];
            (id[0], id[31]) = (first, last);
            ObjectId::plain(ChunkId(id))
        };
        assert!(
            check_distinct([id(1, 1), id(1, 2), id(2, 1)].into_iter()).is_ok(),
            "only their beginnings are the same"
        );
        assert!(check_distinct([id(1, 1), id(2, 1), id(1, 2), id(1, 1)].into_iter()).is_err());
        assert!(check_distinct(std::iter::empty()).is_ok());
    }
}
