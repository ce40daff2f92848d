//! Before the first stage: objects that the store has lost are put together again from the files they were cut from.
//!
//! A chunk is a run of the content stream. As long as the files in it are what they were, their bytes are the chunk's,
//! and its hash says so; then every week that needs the object is whole again. Where they are not, their files are read
//! into new chunks like any that changed, and this week at least is whole.

use super::pack::Packer;
use super::previous::Previous;
use crate::model::{ArchivePath, Extent, Kind, ObjectRow};
use crate::ops::{Error, Run};
use crate::tree::{SourceError, SourceReader};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Slices that are looked at; of a store that has lost more than these hold the rest is read anew.
const MAX_SLICES: usize = 200_000;
/// Bytes that their paths may take.
const MAX_PATHS: usize = 16 << 20;

/// A slice of a lost chunk, and where a file has it.
struct Slice {
    /// In the chunk.
    at: u32,
    length: u32,
    path: Arc<ArchivePath>,
    /// In the file.
    from: u64,
}

/// Stores again what can be put together of what `previous` needs and the store has not.
pub(super) fn mend(
    previous: &mut Previous,
    source: &mut SourceReader,
    packer: &mut Packer<'_>,
    run: Run<'_>,
) -> Result<(), Error> {
    let lost = lost(previous, packer)?;
    if lost.is_empty() {
        return Ok(());
    }
    let (total, mut mended, mut chunk) = (lost.len(), 0, Vec::new());
    for (row, slices) in lost {
        run.go_on()?;
        chunk.resize(row.chunk_length as usize, 0);
        // A file that is gone or unreadable now is told of when it is met in its place.
        if assemble(source, slices, &mut chunk).is_ok_and(|whole| whole)
            && packer.name(&chunk) == *row.id.chunk()
        {
            packer.pack(row.id.chunk(), &chunk)?;
            mended += 1;
        }
    }
    previous.judge(packer.putter.inventory)?;
    run.observer.warn(&format!(
        "the store has lost {total} of the objects that {} needs; the source still had all of {mended}, which are stored again",
        previous.manifest.id()
    ));
    Ok(())
}

/// The lost objects, with all of the files' slices of them.
fn lost(previous: &Previous, packer: &Packer<'_>) -> Result<Vec<(ObjectRow, Vec<Slice>)>, Error> {
    let rows = previous.lost(packer.putter.inventory)?.into_iter();
    let mut lost: BTreeMap<u32, (ObjectRow, Vec<Slice>)> =
        rows.map(|(at, row)| (at, (row, Vec::new()))).collect();
    if lost.is_empty() {
        return Ok(Vec::new());
    }
    let (mut slices, mut bytes) = (0, 0);
    for entry in previous.entries(|_| {})? {
        let (path, entry) = entry?;
        let Kind::File(content) = entry.kind else { continue };
        let (mut from, path_length) = (0, path.as_bytes().len());
        let path = Arc::new(path);
        for extent in content.extents {
            let length = match extent {
                Extent::Hole { length } => length,
                Extent::Slice { object, offset, length } => {
                    if let Some((_, lost)) =
                        lost.get_mut(&object).filter(|_| slices < MAX_SLICES && bytes < MAX_PATHS)
                    {
                        // The slices of one file share its path.
                        if Arc::strong_count(&path) == 1 {
                            bytes += path_length;
                        }
                        lost.push(Slice { at: offset, length, path: Arc::clone(&path), from });
                        slices += 1;
                    }
                    length.into()
                }
            };
            from += length;
        }
    }
    Ok(lost.into_values().collect())
}

/// Fills `chunk` from the files. False where they do not have all of it.
fn assemble(
    source: &mut SourceReader,
    mut slices: Vec<Slice>,
    chunk: &mut [u8],
) -> Result<bool, SourceError> {
    slices.sort_by_key(|slice| slice.at);
    let mut filled = 0;
    for slice in slices {
        let range = slice.at as usize..slice.at as usize + slice.length as usize;
        // Files of one content share a slice.
        if range.start < filled {
            continue;
        }
        let Some(part) = chunk.get_mut(range.clone()).filter(|_| range.start == filled) else {
            return Ok(false);
        };
        source.read_range(&slice.path, slice.from, part)?;
        filled = range.end;
    }
    Ok(filled == chunk.len())
}
