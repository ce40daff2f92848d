//! What a look at the objects' folders showed.

use super::layout::{ObjectName, Tag};
use crate::model::{ChunkId, ObjectId, ObjectRow};
use crate::store::Key;
use std::ops::Range;
use std::sync::Arc;

/// An object's file: what its chunk is called, and its length. 36 bytes, as a store may have millions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct File {
    chunk: ChunkId,
    /// In bytes; of a file that is larger than any object, the largest number that there is.
    length: u32,
}

/// What else the name of a file in a sealed store says.
#[derive(Clone, Copy, Default, Debug)]
struct Mark {
    sum: [u8; 16],
    tag: Tag,
}

/// An object's file that was listed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ObjectFile {
    pub(super) name: ObjectName,
    /// In bytes, of a file that is larger than any object the largest number that there is.
    pub(super) length: u32,
}

impl ObjectFile {
    pub(super) fn new(name: ObjectName, length: u64) -> Self {
        Self { name, length: u32::try_from(length).unwrap_or(u32::MAX) }
    }
}

/// What a look at one of the object folders showed. Clones share it.
#[derive(Clone, Default, Debug)]
pub(super) struct ObjectFolder {
    /// The objects' files, sorted by what their names say.
    files: Arc<[File]>,
    /// One for each file, or none where all objects are plain: they take memory.
    marks: Arc<[Mark]>,
    /// What is neither a regular file nor a directory.
    pub(super) strange: Arc<[Key]>,
}

/// What a look at one of the object folders comes upon. Plain objects take no more memory here than later, since there may be
/// many, and what is freed at once leaves holes.
#[derive(Default)]
pub(super) struct ObjectFolderLook {
    plain: Vec<File>,
    sealed: Vec<ObjectFile>,
    pub(super) strange: Vec<Key>,
}

impl ObjectFolderLook {
    /// Forgets what it came upon.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn add(&mut self, file: ObjectFile) {
        match file.name.id.sum() {
            None => self.plain.push(File { chunk: *file.name.id.chunk(), length: file.length }),
            Some(_) => self.sealed.push(file),
        }
    }

    pub(super) fn finish(mut self) -> ObjectFolder {
        let strange = self.strange.into();
        self.plain.sort_unstable();
        if self.sealed.is_empty() {
            return ObjectFolder { files: self.plain.into(), marks: Arc::default(), strange };
        }
        let plain = |file: &File| {
            let name = ObjectName { id: ObjectId::plain(file.chunk), tag: Tag::default() };
            ObjectFile { name, length: file.length }
        };
        self.sealed.extend(self.plain.iter().map(plain));
        self.sealed.sort_unstable();
        let mark = |file: &ObjectFile| {
            let sum = file.name.id.sum().copied().unwrap_or_default();
            Mark { sum, tag: file.name.tag }
        };
        let marks = self.sealed.iter().map(mark).collect();
        let files = self.sealed.iter().map(|f| File { chunk: *f.name.id.chunk(), length: f.length });
        ObjectFolder { files: files.collect(), marks, strange }
    }
}

impl ObjectFolder {
    /// How many files it has.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    fn at(&self, place: usize) -> Option<ObjectFile> {
        let File { chunk, length } = *self.files.get(place)?;
        let Mark { sum, tag } = self.marks.get(place).copied().unwrap_or_default();
        Some(ObjectFile { name: ObjectName { id: ObjectId::sealed(chunk, sum), tag }, length })
    }

    /// The files in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ObjectFile> {
        (0..self.len()).filter_map(|place| self.at(place))
    }

    /// Where the files of a chunk are.
    fn of_chunk(&self, chunk: &ChunkId) -> Range<usize> {
        let Some(found) = find(&self.files, chunk) else { return 0..0 };
        let is_its = |file: &&File| file.chunk == *chunk;
        let before = self.files.get(..found).unwrap_or_default().iter().rev().take_while(is_its).count();
        let behind = self.files.get(found..).unwrap_or_default().iter().take_while(is_its).count();
        found - before..found + behind
    }
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
            *so_far += folder.len() as u32;
            Some(before)
        };
        let before = folders.iter().scan(0, count).collect();
        Self { folders, before }
    }

    /// Where an object is among all, sorted by id.
    pub(super) fn position(&self, id: &ObjectId) -> Option<u32> {
        let mut files = self.of_chunk(id.chunk());
        files.find(|position| self.at(*position).is_some_and(|file| file.name.id == *id))
    }

    /// Where the files are among all that are to hold a chunk: in a plain store one, in a sealed one they may be several.
    pub(super) fn of_chunk(&self, chunk: &ChunkId) -> Range<u32> {
        let digit = chunk.as_bytes().first().map_or(0, |byte| usize::from(byte >> 4));
        let (Some(folder), Some(before)) = (self.folders.get(digit), self.before.get(digit)) else {
            return 0..0;
        };
        let Range { start, end } = folder.of_chunk(chunk);
        before + start as u32..before + end as u32
    }

    /// The object at such a place.
    pub(super) fn at(&self, position: u32) -> Option<ObjectFile> {
        let folder = self.before.partition_point(|before| *before <= position).checked_sub(1)?;
        let within = position - self.before.get(folder)?;
        self.folders.get(folder)?.at(within as usize)
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
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, u64)> {
        self.files().map(|file| (file.name.id, file.length.into()))
    }

    /// Their files, sorted.
    pub(super) fn files(&self) -> impl Iterator<Item = ObjectFile> {
        self.folders.iter().flat_map(ObjectFolder::iter)
    }

    /// What stands in the object folders and is neither a regular file nor a directory.
    pub(super) fn strange(&self) -> impl Iterator<Item = &Key> {
        self.folders.iter().flat_map(|folder| folder.strange.iter())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.folders.iter().map(ObjectFolder::len).sum()
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

/// Finds a file of a chunk among those of a folder. Hashes are spread evenly, so that where one should be can be told, and from what is
/// found there where it is. Ids that somebody has made otherwise take as many steps as halving the folder does.
fn find(files: &[File], chunk: &ChunkId) -> Option<usize> {
    let (target, count) = (place(chunk), files.len() as i128);
    let mut at = ((i128::from(target) * count) >> 64) as usize;
    for _ in 0..GUESSES {
        let off = i128::from(target) - i128::from(place(&files.get(at)?.chunk));
        let steps = (off * count) >> 64;
        at = (at as i128 + steps).clamp(0, count - 1) as usize;
        if steps == 0 {
            break;
        }
    }
    // From there in strides that double.
    let order = |file: &File| place(&file.chunk).cmp(&target).then_with(|| file.chunk.cmp(chunk));
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

/// Where a hash is between the first and the last that a folder may have.
fn place(chunk: &ChunkId) -> u64 {
    chunk.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes)) << 4
}
