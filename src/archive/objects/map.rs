//! Something that is known of each of many objects.

use crate::archive::listing::Listing;
use crate::model::{ChunkId, ObjectId};
use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Maps objects to what is known of them. Of those that a look at the store showed this takes the memory of a `T`, since the
/// listing has their ids already; of all others, that of a `T` and some 60 bytes.
///
/// Objects have numbers, which stand for them where there are many: first all that were listed, by id, then the others as
/// they came.
pub struct ObjectMap<T> {
    listing: Listing,
    listed: Vec<T>,
    others: Vec<(ObjectId, T)>,
    /// Places in `others`, by id.
    places: HashTable<u32>,
    hasher: RandomState,
}

impl<T: Clone + Default> ObjectMap<T> {
    /// A map that has the default for all that is listed.
    pub fn new(listing: Listing) -> Self {
        let listed = vec![T::default(); listing.len()];
        Self { listing, listed, others: Vec::new(), places: HashTable::new(), hasher: RandomState::new() }
    }

    /// What the look showed.
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// How many objects it has.
    pub fn len(&self) -> usize {
        self.listed.len() + self.others.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the object of a number was listed.
    pub fn is_listed(&self, number: u32) -> bool {
        (number as usize) < self.listed.len()
    }

    /// The number of an object, if it is listed or was added.
    pub fn number(&self, id: &ObjectId) -> Option<u32> {
        self.listing.position(id).or_else(|| self.other(id.chunk(), |other| other == id))
    }

    /// The numbers of what was listed and is to hold a chunk.
    pub(in crate::archive) fn listed_of(&self, chunk: &ChunkId) -> Range<u32> {
        self.listing.of_chunk(chunk)
    }

    /// The number of an object that was added, is to hold a chunk, and is wanted.
    pub(in crate::archive) fn other(
        &self,
        chunk: &ChunkId,
        wanted: impl Fn(&ObjectId) -> bool,
    ) -> Option<u32> {
        let hash = self.hasher.hash_one(chunk);
        let is_it = |place: &u32| {
            let other = self.others.get(*place as usize);
            other.is_some_and(|(other, _)| other.chunk() == chunk && wanted(other))
        };
        self.places.find(hash, is_it).map(|place| self.listed.len() as u32 + place)
    }

    /// Gives an object that was added another file of its chunk.
    pub(super) fn rename(&mut self, number: u32, id: ObjectId) {
        let place = (number as usize).checked_sub(self.listed.len());
        if let Some((other, _)) = place.and_then(|place| self.others.get_mut(place)) {
            *other = id;
        }
    }

    /// The number of an object, which is added with the default if it is not there.
    pub fn add(&mut self, id: &ObjectId) -> u32 {
        if let Some(number) = self.number(id) {
            return number;
        }
        let place = self.others.len() as u32;
        self.others.push((*id, T::default()));
        let (others, hasher) = (&self.others, &self.hasher);
        let hash_of =
            |place: &u32| others.get(*place as usize).map_or(0, |(id, _)| hasher.hash_one(id.chunk()));
        self.places.insert_unique(hasher.hash_one(id.chunk()), place, hash_of);
        self.listed.len() as u32 + place
    }

    /// The object of a number.
    pub fn id(&self, number: u32) -> Option<ObjectId> {
        match self.listing.at(number) {
            Some(file) => Some(file.name.id),
            None => self.others.get((number as usize).checked_sub(self.listed.len())?).map(|(id, _)| *id),
        }
    }

    /// What is known of the object of a number.
    pub fn get(&self, number: u32) -> Option<&T> {
        match self.listed.get(number as usize) {
            Some(known) => Some(known),
            None => {
                self.others.get((number as usize).checked_sub(self.listed.len())?).map(|(_, known)| known)
            }
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let listed = self.listed.len();
        match self.listed.get_mut(number as usize) {
            Some(known) => Some(known),
            None => self.others.get_mut((number as usize).checked_sub(listed)?).map(|(_, known)| known),
        }
    }

    /// Forgets where the others are by id, so that from now on only numbers find them, and of what is known all but what is
    /// kept. That is done in place.
    pub fn close<U>(self, keep: impl Fn(T) -> U) -> ObjectMap<U> {
        let Self { listing, listed, others, places: _, hasher } = self;
        let mut listed: Vec<U> = listed.into_iter().map(&keep).collect();
        // What was collected in place goes on to have all of the room.
        listed.shrink_to_fit();
        let others = others.into_iter().map(|(id, known)| (id, keep(known))).collect();
        ObjectMap { listing, listed, others, places: HashTable::new(), hasher }
    }

    /// What is known of an object.
    pub fn of(&self, id: &ObjectId) -> Option<&T> {
        self.get(self.number(id)?)
    }

    /// All objects with what is known of them, by number.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &T)> {
        let listed = self.listing.iter().map(|(id, _)| id).zip(&self.listed);
        listed.chain(self.others.iter().map(|(id, known)| (*id, known)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::layout::{ObjectName, Tag};
    use crate::archive::listing::{ObjectFile, ObjectFolderLook};
    use crate::model::ChunkId;

    fn listing(ids: impl IntoIterator<Item = ObjectId>) -> Listing {
        let mut folders = vec![Vec::new(); 16];
        for id in ids {
            let name = ObjectName { id, tag: Tag::default() };
            folders[usize::from(id.chunk().as_bytes()[0] >> 4)].push(ObjectFile::new(name, 9));
        }
        let folder = |files: Vec<ObjectFile>| {
            let mut look = ObjectFolderLook::default();
            files.into_iter().for_each(|file| look.add(file));
            look.finish()
        };
        Listing::new(folders.into_iter().map(folder).collect())
    }

    #[test]
    fn finds_what_is_listed_and_what_was_added() {
        // Spread as hashes are, crowded as somebody could make them, and several files of each chunk.
        let hashes = (0..20_000u32).map(|n| ObjectId::of(&n.to_le_bytes()));
        let crowded = (0..20_000u32).map(|n| {
            let mut id = [0x30; 32];
            id[28..].copy_from_slice(&n.to_be_bytes());
            ObjectId::plain(ChunkId(id))
        });
        let sealed = (0..20_000u32).map(|n| {
            let mut sum = [0; 16];
            sum[..4].copy_from_slice(&(n + 1).to_le_bytes());
            ObjectId::sealed(*ObjectId::of(&(n / 3).to_le_bytes()).chunk(), sum)
        });
        for ids in [hashes.collect::<Vec<_>>(), crowded.collect(), sealed.collect()] {
            let (listed, others) = ids.split_at(12_000);
            let mut map = ObjectMap::<u32>::new(listing(listed.iter().copied()));
            assert!(others.iter().all(|id| map.number(id).is_none()));
            for (value, id) in (1..).zip(&ids) {
                let number = map.add(id);
                assert_eq!(
                    (map.id(number), map.is_listed(number)),
                    (Some(*id), listed.contains(id) || value <= 12_000)
                );
                *map.get_mut(number).unwrap() = value;
                assert_eq!(map.add(id), number);
            }
            assert_eq!(map.len(), ids.len());
            for (value, id) in (1..).zip(&ids) {
                assert_eq!(map.of(id), Some(&value));
            }
            assert!(map.iter().zip(0..).all(|((id, _), number)| map.id(number) == Some(id)));
            assert_eq!((0..20_000).filter(|number| !map.is_listed(*number)).count(), others.len());
            assert!(map.id(20_000).is_none() && map.get(20_000).is_none());
        }
    }
}
