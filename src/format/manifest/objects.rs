//! The object table: rows of 44 bytes, little endian.

use super::Section;
use crate::format::{FormatError, MAX_CHUNK_LENGTH};
use crate::model::{ObjectId, ObjectRow};

/// Rows of a table at most; some 4 TB of data.
pub(super) const MAX_OBJECTS: usize = 4_000_000;
/// Bytes of a row.
pub(super) const ROW: usize = 44;

/// The plain bytes of an object table, or of a part of one.
pub fn encode_objects(rows: &[ObjectRow]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rows.len() * 44);
    for row in rows {
        bytes.extend_from_slice(row.id.as_bytes());
        for number in [row.chunk_length, row.stored_length, row.used] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    bytes
}

/// Reads a whole object table.
///
/// # Errors
/// [`FormatError::Invalid`] for rows that are cut short, impossible, or there twice.
pub fn decode_objects(bytes: &[u8]) -> Result<Vec<ObjectRow>, FormatError> {
    let mut objects = Vec::new();
    decode_rows(bytes, &mut objects)?;
    check_distinct(&objects)?;
    Ok(objects)
}

/// Reads rows and appends them to `objects`; that they are distinct is not checked.
pub(super) fn decode_rows(bytes: &[u8], objects: &mut Vec<ObjectRow>) -> Result<(), FormatError> {
    let invalid = |reason: String| FormatError::invalid(Section::Objects.part(), reason);
    let (rows, rest) = bytes.as_chunks::<ROW>();
    if objects.len() + rows.len() > MAX_OBJECTS {
        return Err(invalid(format!("it has more than {MAX_OBJECTS} rows")));
    }
    if !rest.is_empty() {
        return Err(invalid(format!("it has {} bytes left over", rest.len())));
    }
    objects.reserve(rows.len());
    for row in rows {
        let (id, numbers) = row.split_first_chunk::<32>().unwrap_or((&[0; 32], &[]));
        let mut values = numbers.as_chunks::<4>().0.iter().map(|n| u32::from_le_bytes(*n));
        let [chunk_length, stored_length, used] = [(); 3].map(|()| values.next().unwrap_or(0));
        let row = ObjectRow { id: ObjectId(*id), chunk_length, stored_length, used };
        check_row(&row)?;
        objects.push(row);
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
pub(super) fn check_distinct(objects: &[ObjectRow]) -> Result<(), FormatError> {
    let mut ids: Vec<ObjectId> = objects.iter().map(|o| o.id).collect();
    ids.sort_unstable();
    if !ids.is_sorted_by(|a, b| a < b) {
        return Err(FormatError::invalid(Section::Objects.part(), "an object is in it twice"));
    }
    Ok(())
}
