//! Which objects the store has: the only place that answers "do we have it already?".

use super::map::ObjectMap;
use crate::archive::error::ArchiveError;
use crate::archive::id::{ManifestId, ManifestRef};
use crate::archive::open::Archive;
use crate::model::{ChunkId, ObjectId, ObjectRow};
use crate::store::Key;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What came of asking whether an object is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is, or another thread is about to store it.
    Known,
    /// It is, as far as manifests tell, but of what the caller goes by nothing has relied on it so far: the caller checks
    /// it, then says [`Inventory::prove`], or stores it anew.
    Unproven,
    /// It is not: the caller stores it, and says so with [`Inventory::stored`].
    Mine,
    /// A file of that name is there, but no manifest vouches for it: the caller compares it, then says
    /// [`Inventory::adopt`], or stores it anew.
    Orphan,
}

/// What a backup knows of the store's objects while it runs. Objects are told by number ([`ObjectMap`]).
///
/// An object is known when the object table of a published manifest names it *and* it was listed with that length,
/// or when this run stored it.
pub struct Inventory {
    archive: Archive,
    manifests: Vec<ManifestRef>,
    objects: Mutex<ObjectMap<Known>>,
    /// The source that is being read, counted from 1.
    source: AtomicU32,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// 0 where it is not known: no manifest vouches for the object, or only such of a sealed store as do not tell it, and no
    /// thread has claimed it.
    chunk_length: u32,
    /// 0 until it is stored, or a manifest vouches for it.
    stored_length: u32,
    /// The last source whose own earlier manifest has it, [`PROVEN`], or 0.
    trust: u32,
}

/// This run has stored the object, or read it and found it whole.
const PROVEN: u32 = u32::MAX;

impl Inventory {
    /// Looks at `objects/` and reads the object tables of all published manifests.
    ///
    /// A manifest that cannot be read vouches for nothing; it is handed to `unreadable`.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] when the store cannot be listed.
    pub fn take(
        archive: &Archive,
        mut unreadable: impl FnMut(&ManifestRef, &ArchiveError),
    ) -> Result<Self, ArchiveError> {
        let mut objects = ObjectMap::<Known>::new(archive.list_objects()?);
        let mut contradicted = Vec::new();
        let manifests = archive.manifests()?;
        for manifest in &manifests {
            let vouched = match Self::vouched(archive, &manifest.id, &objects) {
                Ok(vouched) => vouched,
                Err(error) if error.is_out_of_reach() => return Err(error),
                Err(error) => {
                    unreadable(manifest, &error);
                    continue;
                }
            };
            for (number, chunk_length) in vouched {
                let stored_length = objects.stored_length(number);
                let Some(known) = objects.get_mut(number) else { continue };
                let told = |length: u32| length != 0;
                if told(known.chunk_length) && told(chunk_length) && known.chunk_length != chunk_length {
                    contradicted.push(number);
                }
                let chunk_length = chunk_length.max(known.chunk_length);
                *known = Known { chunk_length, stored_length, trust: 0 };
            }
        }
        // One of the manifests is wrong about it, and which one shows only when the object is read: an orphan.
        for number in contradicted {
            objects.get_mut(number).map(std::mem::take);
        }
        let (objects, source) = (Mutex::new(objects), AtomicU32::new(0));
        Ok(Self { archive: archive.clone(), manifests, objects, source })
    }

    /// The objects that a manifest vouches for and that are there as it says, by number, with their chunks' lengths. Nothing of a
    /// manifest counts before all of its table was read.
    fn vouched(
        archive: &Archive,
        id: &ManifestId,
        objects: &ObjectMap<Known>,
    ) -> Result<Vec<(u32, u32)>, ArchiveError> {
        let mut vouched = Vec::new();
        if let Some(manifest) = archive.open_listed(id)? {
            archive.check_reliable(&manifest)?;
            vouched.reserve_exact(manifest.reader().rows());
            manifest.each_object(|row| {
                let number = objects.number(&row.id);
                let number = number.filter(|number| objects.stored_length(*number) == row.stored_length);
                vouched.extend(number.map(|number| (number, row.chunk_length)));
            })?;
        }
        Ok(vouched)
    }

    /// The published manifests, as they were when it looked.
    pub fn manifests(&self) -> &[ManifestRef] {
        &self.manifests
    }

    /// How many objects have numbers.
    pub fn count(&self) -> usize {
        self.objects().len()
    }

    /// The object's number, which it gets where it has none.
    pub fn number(&self, id: &ObjectId) -> u32 {
        self.objects().add(id)
    }

    /// Begins with the next source, which relies without a look on the objects of `own`, the table of its own earlier
    /// manifest. All others are checked before new data relies on them: whoever may write to the store could have
    /// planted them, with a manifest to vouch for them.
    pub fn next_source(&self, own: &[u32]) {
        let source = self.source.fetch_add(1, Ordering::Relaxed) + 1;
        let mut objects = self.objects();
        for number in own {
            if let Some(known) =
                objects.get_mut(*number).filter(|k| k.stored_length != 0 && k.trust != PROVEN)
            {
                known.trust = source;
            }
        }
    }

    /// Says that an object was read and found whole.
    pub fn prove(&self, number: u32) {
        let mut objects = self.objects();
        let listed = objects.id(number).and_then(|id| objects.listing().stored_length(&id));
        if let Some(known) = objects.get_mut(number).filter(|known| known.chunk_length != 0) {
            known.trust = PROVEN;
            // What was claimed in a sealed store is a file that is there.
            if known.stored_length == 0 {
                known.stored_length = listed.map_or(0, |length| length as u32);
            }
        }
    }

    /// Says that an object was read and is not whole: the next to claim it finds it unproven.
    pub fn doubt(&self, number: u32) {
        if let Some(known) = self.objects().get_mut(number).filter(|known| known.chunk_length != 0) {
            known.trust = 0;
        }
    }

    fn objects(&self) -> MutexGuard<'_, ObjectMap<Known>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an object that an earlier manifest names, or of another file of its chunk where that one is lost and this run
    /// has stored the chunk anew.
    pub fn number_now(&self, id: &ObjectId) -> u32 {
        let mut objects = self.objects();
        let number = objects.add(id);
        let is_there = |number: &u32| objects.get(*number).is_some_and(|known| known.stored_length > 0);
        let other = || {
            objects.listed_of(id.chunk()).find(is_there).or_else(|| objects.other(id.chunk(), |o| o != id))
        };
        match is_there(&number) {
            true => number,
            false => other().filter(is_there).unwrap_or(number),
        }
    }

    /// An object that a manifest names or this run has stored, so that it can be relied on: its name and lengths, `used` aside.
    pub fn row(&self, number: u32) -> Option<ObjectRow> {
        let objects = self.objects();
        let Known { chunk_length, stored_length, .. } = *objects.get(number)?;
        row(objects.id(number), Lengths { chunk_length, stored_length }, 0)
    }

    /// Asks for the object of a chunk, and takes the duty to store it where it is not there. Returns its number too.
    pub fn claim(&self, chunk: &ChunkId, chunk_length: u32) -> (u32, Claim) {
        let mut objects = self.objects();
        if self.archive.seals().is_sealed() {
            return self.claim_sealed(&mut objects, chunk, chunk_length);
        }
        let number = objects.add(&ObjectId::plain(*chunk));
        let is_listed = objects.is_listed(number);
        let Some(known) = objects.get_mut(number) else { return (number, Claim::Mine) };
        if known.chunk_length == chunk_length {
            return (number, if self.is_trusted(known) { Claim::Known } else { Claim::Unproven });
        }
        *known = Known { chunk_length, stored_length: 0, trust: PROVEN };
        (number, if is_listed { Claim::Orphan } else { Claim::Mine })
    }

    /// The same in a sealed store, where a file is never replaced and a chunk may have several. What has to be looked at gets a
    /// number of its own, which in the end is that of the file that was found whole, or of a new one.
    fn claim_sealed(
        &self,
        objects: &mut ObjectMap<Known>,
        chunk: &ChunkId,
        chunk_length: u32,
    ) -> (u32, Claim) {
        let state = |number: &u32| objects.get(*number).copied().unwrap_or_default();
        let fits = |known: &Known| known.chunk_length == 0 || known.chunk_length == chunk_length;
        let is_vouched = |number: &u32| state(number).stored_length > 0 && fits(&state(number));
        let listed = || objects.listed_of(chunk);
        if let Some(number) = listed().find(|number| is_vouched(number) && self.is_trusted(&state(number))) {
            return (number, Claim::Known);
        }
        let mine = objects.other(chunk, |_| true);
        if let Some(number) = mine.filter(|number| state(number).trust == PROVEN) {
            return (number, Claim::Known);
        }
        let seals = self.archive.seals();
        let has_tag = |number: &u32| {
            let file = objects.listing().at(*number);
            file.is_some_and(|file| seals.is_tag(&file.name.id, &file.name.tag) == Some(true))
        };
        let unproven = listed().find(is_vouched);
        let candidate = unproven.or_else(|| listed().find(has_tag)).and_then(|number| objects.id(number));
        let number = mine.unwrap_or_else(|| objects.add(&ObjectId::plain(*chunk)));
        if let Some(known) = objects.get_mut(number) {
            *known = Known { chunk_length, stored_length: 0, trust: PROVEN };
        }
        objects.rename(number, candidate.unwrap_or(ObjectId::plain(*chunk)));
        let claim = match (candidate, unproven) {
            (None, _) => Claim::Mine,
            (Some(_), Some(_)) => Claim::Unproven,
            (Some(_), None) => Claim::Orphan,
        };
        (number, claim)
    }

    fn is_trusted(&self, known: &Known) -> bool {
        known.trust == PROVEN || known.trust == self.source.load(Ordering::Relaxed)
    }

    /// The object that has a number now.
    pub fn id(&self, number: u32) -> Option<ObjectId> {
        self.objects().id(number)
    }

    /// Writes a claimed object, durably but for its name.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; then the run must publish nothing.
    pub fn store(&self, id: &ObjectId, stored: &[u8]) -> Result<(), ArchiveError> {
        let key = self.key_of(id)?;
        match self.archive.store.put(&key, stored) {
            // What the file system says it lost is written anew, to another file.
            Err(error) if error.is_passing() => Ok(self.archive.store.put(&key, stored)?),
            result => Ok(result?),
        }
    }

    fn key_of(&self, id: &ObjectId) -> Result<Key, ArchiveError> {
        let name = self.archive.name_of(id)?;
        name.map(|name| name.key()).ok_or(ArchiveError::Vanished { missing: 1, example: *id })
    }

    /// Forgets all claims of objects that were not stored: whoever had them has given up.
    pub fn give_up_claims(&self) {
        let mut objects = self.objects();
        for number in 0..objects.len() as u32 {
            objects.get_mut(number).filter(|known| known.stored_length == 0).map(std::mem::take);
        }
    }

    /// Says that a claimed object now is there, with a file of this length.
    pub fn stored(&self, number: u32, id: &ObjectId, stored_length: u32) {
        let mut objects = self.objects();
        objects.rename(number, *id);
        if let Some(known) = objects.get_mut(number) {
            (known.stored_length, known.trust) = (stored_length, PROVEN);
        }
    }

    /// Keeps an orphan that was found to hold the chunk. Its name may never have been made durable by whoever put it: the next
    /// sync sees to that. False where a gc has taken it away since.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn adopt(&self, id: &ObjectId, number: u32) -> Result<bool, ArchiveError> {
        let is_there = self.archive.store.is_there(&self.key_of(id)?)?;
        if is_there {
            let length = self.objects().listing().stored_length(id).unwrap_or(0);
            self.stored(number, id, length as u32);
        }
        Ok(is_there)
    }

    /// What is known of the objects now that all is stored.
    pub fn close(self) -> Stored {
        let objects = self.objects.into_inner().unwrap_or_else(PoisonError::into_inner);
        let keep = |Known { chunk_length, stored_length, .. }| Lengths { chunk_length, stored_length };
        Stored(objects.close(keep))
    }
}

impl ObjectMap<Known> {
    /// The length of the file that was listed.
    fn stored_length(&self, number: u32) -> u32 {
        self.listing().at(number).map_or(0, |file| file.length)
    }
}

/// The objects that manifests may name, by number.
pub struct Stored(ObjectMap<Lengths>);

/// What an object table says of an object.
#[derive(Clone, Copy, Default)]
struct Lengths {
    chunk_length: u32,
    stored_length: u32,
}

impl Stored {
    /// Rows of an object table for these objects, of whose bytes so many are used. An object that is not there is left out.
    pub fn rows<'a>(&'a self, used: &'a [(u32, u32)]) -> impl Iterator<Item = ObjectRow> + Clone + 'a {
        let Self(objects) = self;
        used.iter().filter_map(|(number, used)| row(objects.id(*number), *objects.get(*number)?, *used))
    }
}

fn row(id: Option<ObjectId>, lengths: Lengths, used: u32) -> Option<ObjectRow> {
    let Lengths { chunk_length, stored_length } = lengths;
    // Files of the same content may share a slice: more than all of a chunk is all of it.
    let used = used.min(chunk_length);
    (stored_length > 0).then_some(ObjectRow { id: id?, chunk_length, stored_length, used })
}
