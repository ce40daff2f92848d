//! Which objects the store has: the only place that answers "do we have it already?".

use crate::archive::error::ArchiveError;
use crate::archive::id::ManifestRef;
use crate::archive::layout;
use crate::archive::listing::Listing;
use crate::archive::open::Archive;
use crate::model::{ObjectId, ObjectRow};
use std::collections::{HashMap, HashSet};
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
    /// [`Inventory::stored`], or stores it anew.
    Orphan,
}

/// What a backup knows of the store's objects while it runs.
///
/// An object is known when the object table of a published manifest names it *and* it was listed with that length,
/// or when this run stored it.
pub struct Inventory {
    archive: Archive,
    manifests: Vec<ManifestRef>,
    listing: Listing,
    known: Mutex<HashMap<ObjectId, Known>>,
    /// The source that is being read, counted from 1.
    source: AtomicU32,
}

#[derive(Clone, Copy)]
struct Known {
    chunk_length: u32,
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
        let listing = archive.list_objects()?;
        let mut known: HashMap<ObjectId, Known> = HashMap::with_capacity(listing.len());
        let mut contradicted = HashSet::new();
        let manifests = archive.manifests()?;
        for manifest in &manifests {
            let opened = archive.open_listed(&manifest.id);
            let table = match opened.and_then(|m| m.map_or(Ok(Vec::new()), |m| m.objects())) {
                Ok(table) => table,
                Err(error) if error.is_out_of_reach() => return Err(error),
                Err(error) => {
                    unreadable(manifest, &error);
                    continue;
                }
            };
            for row in table.iter().filter(|row| listing.has(row)) {
                let (chunk_length, stored_length) = (row.chunk_length, row.stored_length);
                let new = Known { chunk_length, stored_length, trust: 0 };
                if known.insert(row.id, new).is_some_and(|old| old.chunk_length != new.chunk_length) {
                    contradicted.insert(row.id);
                }
            }
        }
        // One of the manifests is wrong about it, and which one shows only when the object is read: an orphan.
        known.retain(|id, _| !contradicted.contains(id));
        let (known, source) = (Mutex::new(known), AtomicU32::new(0));
        Ok(Self { archive: archive.clone(), manifests, listing, known, source })
    }

    /// The published manifests, as they were when it looked.
    pub fn manifests(&self) -> &[ManifestRef] {
        &self.manifests
    }

    /// Begins with the next source, which relies without a look on the objects of `own`, the table of its own earlier
    /// manifest. All others are checked before new data relies on them: whoever may write to the store could have
    /// planted them, with a manifest to vouch for them.
    pub fn next_source(&self, own: &[ObjectRow]) {
        let source = self.source.fetch_add(1, Ordering::Relaxed) + 1;
        let mut known = self.known();
        for row in own {
            if let Some(known) = known.get_mut(&row.id).filter(|k| k.trust != PROVEN) {
                known.trust = source;
            }
        }
    }

    /// Says that an object was read and found whole.
    pub fn prove(&self, id: &ObjectId) {
        self.set_trust(id, PROVEN);
    }

    /// Says that an object was read and is not whole: the next to claim it finds it unproven.
    pub fn doubt(&self, id: &ObjectId) {
        self.set_trust(id, 0);
    }

    fn set_trust(&self, id: &ObjectId, trust: u32) {
        if let Some(known) = self.known().get_mut(id) {
            known.trust = trust;
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ObjectId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an object that a manifest names can be relied on.
    pub fn is_known(&self, id: &ObjectId) -> bool {
        self.known().get(id).is_some_and(|k| k.stored_length > 0)
    }

    /// Asks for an object, and takes the duty to store it where it is not there.
    pub fn claim(&self, id: &ObjectId, chunk_length: u32) -> Claim {
        let mut known = self.known();
        if let Some(k) = known.get(id).filter(|k| k.chunk_length == chunk_length) {
            let is_trusted = k.trust == PROVEN || k.trust == self.source.load(Ordering::Relaxed);
            return if is_trusted { Claim::Known } else { Claim::Unproven };
        }
        known.insert(*id, Known { chunk_length, stored_length: 0, trust: PROVEN });
        if self.listing.stored_length(id).is_some() { Claim::Orphan } else { Claim::Mine }
    }

    /// Writes a claimed object, durably but for its name.
    ///
    /// # Errors
    /// [`ArchiveError::Store`]; then the run must publish nothing.
    pub fn store(&self, id: &ObjectId, stored: &[u8]) -> Result<(), ArchiveError> {
        let key = layout::object(id);
        match self.archive.store.put(&key, stored) {
            // What the file system says it lost is written anew, to another file.
            Err(error) if error.is_passing() => Ok(self.archive.store.put(&key, stored)?),
            result => Ok(result?),
        }
    }

    /// Forgets all claims of objects that were not stored: whoever had them has given up.
    pub fn give_up_claims(&self) {
        self.known().retain(|_, known| known.stored_length > 0);
    }

    /// Says that a claimed object now is there, with a file of this length.
    pub fn stored(&self, id: &ObjectId, stored_length: u32) {
        if let Some(known) = self.known().get_mut(id) {
            (known.stored_length, known.trust) = (stored_length, PROVEN);
        }
    }

    /// Keeps an orphan that was found to hold the chunk. Its name may never have been made durable by whoever put it: the next
    /// sync sees to that. False where a gc has taken it away since.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn adopt(&self, id: &ObjectId) -> Result<bool, ArchiveError> {
        let is_there = self.archive.store.is_there(&layout::object(id))?;
        if is_there {
            self.stored(id, self.listing.stored_length(id).unwrap_or(0) as u32);
        }
        Ok(is_there)
    }

    /// The rows of an object table for these objects, whose bytes are used so much; none for one never stored.
    pub fn rows(&self, used: &[(ObjectId, u64)]) -> Option<Vec<ObjectRow>> {
        let known = self.known();
        let row = |(id, used): &(ObjectId, u64)| {
            let k = known.get(id).filter(|k| k.stored_length > 0)?;
            // Files of the same content may share a slice: more than all of a chunk is all of it.
            let used = (*used).min(k.chunk_length.into()) as u32;
            Some(ObjectRow { id: *id, chunk_length: k.chunk_length, stored_length: k.stored_length, used })
        };
        used.iter().map(row).collect()
    }
}
