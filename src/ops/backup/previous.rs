//! The manifest that a source is compared with, and what of it can be used again.

use crate::format::{Block, Section};
use crate::model::{ContentHash, Digest, Entry, Extent, Kind, ObjectRow, PvcName, Summary, Week};
use crate::ops::Error;
use crate::repo::{Archive, Inventory, Manifest, RepoError};

/// An earlier manifest of the same source.
pub(super) struct Previous {
    pub(super) manifest: Manifest,
    pub(super) summary: Summary,
    /// By row of its object table: the object is known, and enough of it is in use.
    usable: Vec<bool>,
    /// The object table.
    table: Vec<ObjectRow>,
}

impl Previous {
    /// The manifest to compare with: this week's where there is one, else the newest before it, else the newest.
    /// A partial one serves as well as a complete one. One that cannot be read is handed to `unreadable`, and the
    /// next best is taken.
    pub(super) fn find(
        archive: &Archive,
        inventory: &Inventory,
        pvc: &PvcName,
        week: Week,
        mut unreadable: impl FnMut(&RepoError),
    ) -> Result<Option<Self>, Error> {
        let mut candidates: Vec<_> =
            archive.manifests()?.into_iter().map(|m| m.id).filter(|id| id.pvc == *pvc).collect();
        candidates.sort_by_key(|id| (id.week <= week, id.week, !id.partial));
        for id in candidates.into_iter().rev() {
            match archive.open_manifest(&id).and_then(|m| Self::open(m, inventory)) {
                Ok(previous) => return Ok(Some(previous)),
                Err(error) => unreadable(&error),
            }
        }
        Ok(None)
    }

    fn open(manifest: Manifest, inventory: &Inventory) -> Result<Self, RepoError> {
        // Damage that showed in the middle of the run would end it, and the next week's too.
        manifest.reader().check_blocks(Section::Entries).map_err(|e| manifest.error(e))?;
        let summary = manifest.summary().clone();
        let table = manifest.objects()?;
        let mut previous = Self { manifest, summary, usable: Vec::new(), table };
        previous.judge(inventory);
        Ok(previous)
    }

    /// Tells which objects can be used again.
    pub(super) fn judge(&mut self, inventory: &Inventory) {
        // Compaction: of an object that is mostly dead, the living part moves to new objects. Judged by what the
        // manifest before used of it, since what this run will use is known only once it is through.
        let alive = |used: u32, length: u32| u64::from(used) * 2 >= u64::from(length);
        let usable = |row: &ObjectRow| alive(row.used, row.chunk_length) && inventory.is_known(&row.id);
        self.usable = self.table.iter().map(usable).collect();
    }

    /// The object table.
    pub(super) fn table(&self) -> &[ObjectRow] {
        &self.table
    }

    pub(super) fn digest(&self) -> Digest {
        self.manifest.reader().digest()
    }

    /// Whether all objects of a content can be used again.
    pub(super) fn can_reuse(&self, extents: &[Extent]) -> bool {
        extents.iter().all(|extent| match extent {
            Extent::Slice { object, .. } => self.usable.get(*object as usize).copied().unwrap_or(false),
            Extent::Hole { .. } => true,
        })
    }

    /// The object in a row of its table.
    pub(super) fn object(&self, row: u32) -> Option<crate::model::ObjectId> {
        self.table.get(row as usize).map(|o| o.id)
    }
}

/// Finds a content by its hash in an earlier manifest: for files that moved.
///
/// Made at the first question. Takes 16 bytes of memory a file; the entry itself is read again from its block.
pub(super) struct ContentIndex<'a> {
    previous: &'a Previous,
    /// (first bytes of the hash, block, entry in the block), sorted.
    places: Option<Vec<(u64, u32, u32)>>,
    /// The block that was read last.
    block: Option<(u32, Vec<Entry>)>,
}

impl<'a> ContentIndex<'a> {
    pub(super) fn new(previous: &'a Previous) -> Self {
        Self { previous, places: None, block: None }
    }

    /// Extents of the content, in rows of the earlier manifest, if it has it and they can be used again.
    pub(super) fn find(&mut self, hash: &ContentHash, size: u64) -> Result<Option<Vec<Extent>>, RepoError> {
        let mut places = match self.places.take() {
            Some(places) => places,
            None => self.build()?,
        };
        let (key, previous) = (prefix(hash), self.previous);
        let first = places.partition_point(|(k, ..)| *k < key);
        let mut found = None;
        for &(_, block, entry) in places.iter().skip(first).take_while(|(k, ..)| *k == key) {
            if let Kind::File(content) = &self.entry(block, entry)?.kind
                && content.hash == *hash
                && content.size == size
                && previous.can_reuse(&content.extents)
            {
                found = Some(content.extents.clone());
                break;
            }
        }
        places.shrink_to_fit();
        self.places = Some(places);
        Ok(found)
    }

    fn blocks(&self) -> impl Iterator<Item = &'a Block> + use<'a> {
        self.previous.manifest.reader().blocks().iter().filter(|b| b.section == Section::Entries)
    }

    fn read(&self, block: &Block) -> Result<Vec<Entry>, RepoError> {
        let manifest = &self.previous.manifest;
        manifest.reader().block_entries(block).map_err(|e| manifest.error(e))
    }

    fn build(&self) -> Result<Vec<(u64, u32, u32)>, RepoError> {
        let mut places = Vec::new();
        for (number, block) in (0..).zip(self.blocks()) {
            for (at, entry) in (0..).zip(self.read(block)?) {
                if let Kind::File(content) = &entry.kind
                    && !content.extents.is_empty()
                {
                    places.push((prefix(&content.hash), number, at));
                }
            }
        }
        places.sort_unstable();
        Ok(places)
    }

    fn entry(&mut self, block: u32, entry: u32) -> Result<&Entry, RepoError> {
        if self.block.as_ref().is_none_or(|(number, _)| *number != block) {
            let entries = match self.blocks().nth(block as usize) {
                Some(b) => self.read(b)?,
                None => Vec::new(),
            };
            self.block = Some((block, entries));
        }
        let entries = self.block.as_ref().map(|(_, entries)| entries.as_slice()).unwrap_or_default();
        entries.get(entry as usize).ok_or_else(|| {
            let reason = crate::format::FormatError::Hash("the entries section");
            self.previous.manifest.error(reason.into())
        })
    }
}

fn prefix(hash: &ContentHash) -> u64 {
    hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
