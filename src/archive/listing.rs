//! What a look at the objects' folders showed.

use crate::model::{ObjectId, ObjectRow};
use crate::store::Key;
use std::sync::Arc;

/// An object's file: which object it is to be, and its length. 36 bytes, as a store may have millions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ObjectFile {
    pub(super) id: ObjectId,
    /// In bytes; of a file that is larger than any object, the largest number that there is.
    pub(super) length: u32,
}

impl ObjectFile {
    pub(super) fn new(id: ObjectId, length: u64) -> Self {
        Self { id, length: u32::try_from(length).unwrap_or(u32::MAX) }
    }
}

/// What a look at one of the object folders showed. Clones share it.
#[derive(Clone, Default, Debug)]
pub(super) struct ObjectFolder {
    /// The objects, sorted by id.
    pub(super) files: Arc<[ObjectFile]>,
    /// What is neither a regular file nor a directory.
    pub(super) strange: Arc<[Key]>,
}

/// The objects that a look at `objects/` showed, with their files' lengths. Listings share what has not changed.
#[derive(Clone, Debug)]
pub struct Listing {
    /// A folder each, by first hex digit; in each sorted by id.
    folders: Vec<ObjectFolder>,
    /// How many objects are before each folder.
    before: Vec<u32>,
}

impl Listing {
    /// What these folders hold, given by first hex digit.
    pub(super) fn new(folders: Vec<ObjectFolder>) -> Self {
        let count = |so_far: &mut u32, folder: &ObjectFolder| {
            let before = *so_far;
            *so_far += folder.files.len() as u32;
            Some(before)
        };
        let before = folders.iter().scan(0, count).collect();
        Self { folders, before }
    }

    /// Where an object is among all, sorted by id.
    pub(super) fn position(&self, id: &ObjectId) -> Option<u32> {
        let digit = usize::from(id.as_bytes().first()? >> 4);
        let at = find(&self.folders.get(digit)?.files, id)?;
        Some(self.before.get(digit)? + at as u32)
    }

    /// The object at such a place.
    pub(super) fn at(&self, position: u32) -> Option<&ObjectFile> {
        let folder = self.before.partition_point(|before| *before <= position).checked_sub(1)?;
        let within = position - self.before.get(folder)?;
        self.folders.get(folder)?.files.get(within as usize)
    }

    /// The length of an object's file, if it was there.
    pub fn stored_length(&self, id: &ObjectId) -> Option<u64> {
        self.at(self.position(id)?).map(|file| file.length.into())
    }

    /// Whether the object was there with the length that a manifest says.
    pub fn has(&self, row: &ObjectRow) -> bool {
        self.stored_length(&row.id) == Some(row.stored_length.into())
    }

    /// All objects, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, u64)> {
        self.folders.iter().flat_map(|folder| folder.files.iter()).map(|file| (&file.id, file.length.into()))
    }

    /// What stands in the object folders and is neither a regular file nor a directory.
    pub(super) fn strange(&self) -> impl Iterator<Item = &Key> {
        self.folders.iter().flat_map(|folder| folder.strange.iter())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.folders.iter().map(|folder| folder.files.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(_, length)| length).sum()
    }
}

/// Finds a file among those of a folder. Hashes are spread evenly, so that where one should be can be told, and from what is
/// found there where it is. Ids that somebody has made otherwise take as many steps as halving the folder does.
fn find(files: &[ObjectFile], id: &ObjectId) -> Option<usize> {
    let (target, count) = (place(id), files.len() as i128);
    let mut at = ((i128::from(target) * count) >> 64) as usize;
    for _ in 0..GUESSES {
        let off = i128::from(target) - i128::from(place(&files.get(at)?.id));
        let steps = (off * count) >> 64;
        at = (at as i128 + steps).clamp(0, count - 1) as usize;
        if steps == 0 {
            break;
        }
    }
    // From there in strides that double.
    let order = |file: &ObjectFile| place(&file.id).cmp(&target).then_with(|| file.id.cmp(id));
    let (mut from, mut to, mut stride) = (at, at, 1);
    while from > 0 && files.get(from).is_some_and(|file| order(file).is_gt()) {
        (from, to) = (from.saturating_sub(stride), from);
        stride *= 2;
    }
    while files.get(to).is_some_and(|file| order(file).is_lt()) {
        (from, to) = (to, (to + stride).min(files.len()));
        stride *= 2;
    }
    let between = files.get(from..(to + 1).min(files.len()))?;
    between.binary_search_by(order).ok().map(|found| from + found)
}

/// Each guess is off by about the root of what the one before was off by.
const GUESSES: usize = 3;

/// Where an id is between the first and the last that a folder may have.
fn place(id: &ObjectId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)) << 4
}
