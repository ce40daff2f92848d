//! Copies of objects in the trash: brought back to their places, and damaged ones moved there.

use crate::archive::damage::Copies;
use crate::archive::error::ArchiveError;
use crate::archive::layout;
use crate::archive::objects::ObjectReader;
use crate::archive::open::Archive;
use crate::archive::trash::Trash;
use crate::model::{ObjectId, Timestamp};
use crate::store::Key;

impl Archive {
    /// Whether the trash has a whole copy of an object.
    pub fn copies_in_trash(
        &self,
        id: &ObjectId,
        chunk_length: u32,
        trash: &Trash,
        reader: &mut ObjectReader,
    ) -> Copies {
        reader.first_whole(trash.copies(id), chunk_length)
    }

    /// Brings a copy of an object in the trash that is whole back to its place. False where there is none, and none in
    /// its place either.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn bring_back(
        &self,
        id: &ObjectId,
        chunk_length: u32,
        trash: &Trash,
        reader: &mut ObjectReader,
    ) -> Result<bool, ArchiveError> {
        for (name, key) in trash.copies(id) {
            if reader.intact_at(&key, &name.id, chunk_length).is_err() {
                continue;
            }
            match self.store.bring_back(&key, &name.key()) {
                Ok(()) => return Ok(true),
                // Someone else brought it back.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(reader.intact(id, chunk_length).is_ok())
    }

    /// Moves a damaged object out of the way, to where nobody takes it for a whole one unread.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn set_aside(&self, id: &ObjectId, now: Timestamp) -> Result<(), ArchiveError> {
        // What no look shows is not in the way.
        let Some(name) = self.name_of(id)? else { return Ok(()) };
        let below = |day: &Key| name.key_below(&day.child(layout::DAMAGED));
        let place = self.trash_place(now, below)?;
        match self.store.withdraw(&name.key(), &place) {
            // Another run has moved or replaced it.
            Err(e) if e.is_not_found() || e.is_taken() => Ok(()),
            moved => Ok(moved?),
        }
    }
}
