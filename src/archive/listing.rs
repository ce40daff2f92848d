//! What a look at the objects' folders showed.

use crate::model::{ObjectId, ObjectRow};
use crate::store::Key;
use std::sync::Arc;

/// An object's file: which object it is to be, and its length.
pub(super) type ObjectFile = (ObjectId, u64);

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
    pub(super) folders: Vec<ObjectFolder>,
}

impl Listing {
    /// The length of an object's file, if it was there.
    pub fn stored_length(&self, id: &ObjectId) -> Option<u64> {
        let digit = id.as_bytes().first()? >> 4;
        let folder = &self.folders.get(usize::from(digit))?.files;
        let at = folder.binary_search_by_key(&id, |(id, _)| id).ok()?;
        folder.get(at).map(|(_, length)| *length)
    }

    /// Whether the object was there with the length that a manifest says.
    pub fn has(&self, row: &ObjectRow) -> bool {
        self.stored_length(&row.id) == Some(row.stored_length.into())
    }

    /// All objects, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectId, u64)> {
        self.folders.iter().flat_map(|folder| folder.files.iter()).map(|(id, length)| (id, *length))
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
