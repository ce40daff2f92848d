//! A second look at what seemed to be missing: runs beside a check move objects, retire manifests, and bring back what they
//! moved.

use super::options::VerifyOptions;
use super::result::Damaged;
use crate::archive::{Archive, ArchiveError, Copies, Damage, Listing, ObjectReader, Trash};
use crate::model::{ObjectId, ObjectRow};
use std::collections::BTreeSet;

/// Drops from `damage` what is in its place now, and what nobody needs and is gone. Returns the objects that are whole,
/// but in the trash: every reader finds them there, and the next gc or backup brings them back.
pub(super) fn look_again(
    archive: &Archive,
    options: &VerifyOptions,
    damage: &mut Damaged,
) -> Result<BTreeSet<ObjectId>, ArchiveError> {
    let mut displaced = BTreeSet::new();
    damage.retain(|_, (found, row)| row.is_some() || *found != Damage::Missing);
    // A gc may carry an object from where we are about to look to where we have looked, and back.
    for _ in 0..LOOKS {
        if !damage.values().any(|(found, _)| *found == Damage::Missing) {
            break;
        }
        let (trash, listing) = (Trash::list(archive)?, archive.list_objects()?);
        let mut looking =
            Looking { archive, options, trash, listing, reader: ObjectReader::prepared(archive)? };
        damage.retain(|id, (found, row)| match row {
            Some(row) if *found == Damage::Missing => {
                if looking.is_in_place(row) {
                    return false;
                }
                match looking.in_trash(id, row) {
                    Copies::Whole => {
                        displaced.insert(*id);
                        return false;
                    }
                    Copies::Unreadable(reason) => *found = Damage::Unreadable(reason),
                    Copies::None => {}
                }
                true
            }
            _ => true,
        });
    }
    Ok(displaced)
}

/// How often to look for what seems to be nowhere.
const LOOKS: u32 = 5;

struct Looking<'a> {
    archive: &'a Archive,
    options: &'a VerifyOptions,
    trash: Trash,
    listing: Listing,
    reader: ObjectReader,
}

impl Looking<'_> {
    fn is_in_place(&mut self, row: &ObjectRow) -> bool {
        match self.options.quick {
            true => self.listing.has(row),
            // What is not listed need not be opened.
            false => {
                self.listing.stored_length(&row.id).is_some()
                    && self.reader.intact(&row.id, row.chunk_length).is_ok()
            }
        }
    }

    fn in_trash(&mut self, id: &ObjectId, row: &ObjectRow) -> Copies {
        self.archive.copies_in_trash(id, row.chunk_length, &self.trash, &mut self.reader)
    }
}
