//! The objects that a check comes upon, by number.

use crate::archive::{ArchiveError, Listing, Manifest, ObjectMap};
use crate::model::{ObjectId, ObjectRow};

/// What contents may cost: bytes to hash, and as many bytes of chunks to decompress again. A manifest of a few KB can ask for
/// years, and what it says of its chunks' lengths proves nothing: only the objects' files count. A large file that is nearly
/// the same in each of many weeks asks for a hundred times their bytes.
const FREE: u64 = 4 << 30;
const FOR_EACH_STORED_BYTE: u64 = 1024;

/// The objects that are there, and those that manifests name.
pub(super) struct Objects {
    map: ObjectMap<Lengths>,
    /// Numbers of those that manifests name, in the order in which they were met: the one in which most were written.
    named: Vec<u32>,
    /// Bytes of the named objects' files that are there.
    stored: u64,
}

/// What a manifest says of an object; nothing where none names it.
#[derive(Clone, Copy, Default)]
struct Lengths {
    chunk: u32,
    stored: u32,
}

impl Objects {
    pub(super) fn new(listing: Listing) -> Self {
        Self { map: ObjectMap::new(listing), named: Vec::new(), stored: 0 }
    }

    /// The numbers of the objects of a manifest, by row of its table. Of two rows of one object that one counts which agrees with
    /// the file that is there: one that was lost and stored anew may have another length than an older manifest says.
    pub(super) fn number(&mut self, manifest: &Manifest) -> Result<Vec<u32>, ArchiveError> {
        let mut numbers = Vec::new();
        manifest.each_object(|row| numbers.push(self.take(&row)))?;
        Ok(numbers)
    }

    fn take(&mut self, row: &ObjectRow) -> u32 {
        let number = self.map.add(&row.id);
        let there = self.map.listing().stored_length(&row.id);
        if let Some(known) = self.map.get_mut(number) {
            let is_new = known.stored == 0;
            if is_new || (there == Some(row.stored_length.into()) && there != Some(known.stored.into())) {
                *known = Lengths { chunk: row.chunk_length, stored: row.stored_length };
            }
            if is_new {
                self.stored += there.unwrap_or(0);
                self.named.push(number);
            }
        }
        number
    }

    /// A row for an object that a manifest names.
    pub(super) fn get(&self, number: u32) -> Option<ObjectRow> {
        let Lengths { chunk, stored } = *self.map.get(number)?;
        let row = ObjectRow { id: self.map.id(number)?, chunk_length: chunk, stored_length: stored, used: 0 };
        (stored > 0).then_some(row)
    }

    /// The object of a number, whether or not a manifest names it.
    pub(super) fn id(&self, number: u32) -> Option<ObjectId> {
        self.map.id(number)
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// The numbers of all that manifests name, in the order in which most were written.
    pub(super) fn named(&self) -> impl Iterator<Item = u32> {
        self.named.iter().copied()
    }

    /// The numbers of all that was there.
    pub(super) fn listed(&self) -> impl Iterator<Item = u32> {
        0..self.map.listing().len() as u32
    }

    pub(super) fn listing(&self) -> &Listing {
        self.map.listing()
    }

    pub(super) fn number_of(&self, id: &ObjectId) -> Option<u32> {
        self.map.number(id)
    }

    /// Bytes that contents may cost.
    pub(super) fn affordable(&self) -> u64 {
        affordable(self.stored)
    }
}

fn affordable(stored: u64) -> u64 {
    stored.saturating_mul(FOR_EACH_STORED_BYTE).saturating_add(FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_itself_may_cost_more_in_a_larger_store() {
        assert_eq!(affordable(300), (4 << 30) + 300 * 1024, "a store of a few bytes names petabytes");
        let (image, weeks) = (500 << 30, 52);
        assert!(
            affordable(image / 2) > weeks * image,
            "an image that changes a little each week, compressed"
        );
        assert!(affordable(64 << 20) > 20 << 30, "a file of 20 GiB that repeats 64 MiB");
    }
}
