//! The manifest that a source is compared with, and what of it can be used again.

use crate::archive::{Archive, ArchiveError, Inventory, Manifest};
use crate::format::{Block, ChunkLengths, Section};
use crate::model::{
    ArchivePath, ContentHash, Digest, Entry, Extent, FileContent, Kind, ObjectRow, PvcName, Summary, Week,
};
use crate::ops::Error;
use std::sync::Arc;

/// An earlier manifest of the same source.
pub(super) struct Previous {
    pub(super) manifest: Manifest,
    pub(super) summary: Summary,
    /// The object table: the objects' numbers in the inventory.
    table: Vec<u32>,
    /// By row of the table.
    rows: Vec<Usable>,
    /// Held because the entries are read several times.
    lengths: Arc<ChunkLengths>,
    /// Whether the living part of an object that is mostly dead is to move to new objects.
    compact: bool,
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
        compact: bool,
        mut unreadable: impl FnMut(&ArchiveError),
    ) -> Result<Option<Self>, Error> {
        let mut candidates: Vec<_> =
            inventory.manifests().iter().map(|m| m.id.clone()).filter(|id| id.pvc == *pvc).collect();
        candidates.sort_by_key(|id| (id.week <= week, id.week, !id.partial));
        for id in candidates.into_iter().rev() {
            let opened = archive.open_before(&id).and_then(|opened| {
                let checked = |m: Manifest| archive.check_reliable(&m).map(|()| m);
                opened.map(|m| Self::open(checked(m)?, inventory, compact)).transpose()
            });
            match opened {
                Ok(Some(previous)) => return Ok(Some(previous)),
                // Retired since it was listed.
                Ok(None) => {}
                Err(error) if error.is_out_of_reach() => return Err(error.into()),
                Err(error) => unreadable(&error),
            }
        }
        Ok(None)
    }

    fn open(manifest: Manifest, inventory: &Inventory, compact: bool) -> Result<Self, ArchiveError> {
        manifest.details()?;
        // Damage that showed in the middle of the run would end it, and the next week's too.
        manifest.reader().check_blocks(Section::Entries).map_err(|e| manifest.error(e))?;
        let summary = manifest.summary().clone();
        let lengths = manifest.chunk_lengths()?;
        let mut previous = Self { manifest, summary, table: Vec::new(), rows: Vec::new(), lengths, compact };
        previous.judge(inventory)?;
        Ok(previous)
    }

    /// Whether it names all of these objects, in this order, with the lengths that they have.
    pub(super) fn names_all(&self, objects: &[(u32, u32)]) -> bool {
        let mut mine = self.table.iter().zip(&self.rows);
        objects.iter().all(|(number, _)| mine.any(|(known, row)| known == number && row.is_exact))
    }

    /// Tells which objects can be used again.
    ///
    /// # Errors
    /// [`ArchiveError`], where the table cannot be read.
    pub(super) fn judge(&mut self, inventory: &Inventory) -> Result<(), ArchiveError> {
        // Compaction: of an object that is mostly dead, the living part moves to new objects. Judged by what the
        // manifest before used of it, since what this run will use is known only once it is through.
        let alive = |row: &ObjectRow| !self.compact || u64::from(row.used) * 2 >= u64::from(row.chunk_length);
        let count = self.manifest.reader().rows();
        let (mut table, mut rows) = (Vec::with_capacity(count), Vec::with_capacity(count));
        self.manifest.each_object(|row| {
            let number = inventory.number_now(&row.id);
            // Where two manifests do not agree on an object's length, one of them lies: its content is read anew.
            let known = inventory.row(number).filter(|known| known.chunk_length == row.chunk_length);
            let is_exact = known.is_some_and(|known| known.stored_length == row.stored_length);
            table.push(number);
            rows.push(Usable { is_usable: known.is_some() && alive(&row), is_exact });
        })?;
        (self.table, self.rows) = (table, rows);
        Ok(())
    }

    /// The objects that it needs and the inventory does not know, by row of its table.
    ///
    /// # Errors
    /// [`ArchiveError`], where the table cannot be read.
    pub(super) fn lost(&self, inventory: &Inventory) -> Result<Vec<(u32, ObjectRow)>, ArchiveError> {
        let (mut lost, mut numbers) = (Vec::new(), (0..).zip(&self.table));
        self.manifest.each_object(|row| {
            let Some((at, number)) = numbers.next() else { return };
            if inventory.row(*number).is_none() {
                lost.push((at, row));
            }
        })?;
        Ok(lost)
    }

    /// The object table: the objects' numbers.
    pub(super) fn table(&self) -> &[u32] {
        &self.table
    }

    pub(super) fn digest(&self) -> Digest {
        self.manifest.reader().digest()
    }

    /// Whether all objects of a content can be used again, and have what is needed of them.
    pub(super) fn can_reuse(&self, extents: &[Extent]) -> bool {
        extents.iter().all(|extent| match *extent {
            Extent::Slice { object, offset, length } => {
                let end = u64::from(offset) + u64::from(length);
                let is_usable = self.rows.get(object as usize).is_some_and(|row| row.is_usable);
                is_usable && end <= self.lengths.of(object).into()
            }
            Extent::Hole { .. } => true,
        })
    }

    /// The entries in path order, as far as they can be made sense of: what cannot be is handed to `unreadable`, and is
    /// as if it had not been there. A manifest whose hashes are right may still be one that no reader takes, as an older
    /// program could write it; it must not end the runs that come after it.
    pub(super) fn entries(
        &self,
        unreadable: impl FnMut(&ArchiveError),
    ) -> Result<impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>>, ArchiveError> {
        self.manifest.readable(unreadable)
    }

    /// The number of the object in a row of its table.
    pub(super) fn object(&self, row: u32) -> Option<u32> {
        self.table.get(row as usize).copied()
    }
}

/// What a row of an earlier table is good for.
#[derive(Clone, Copy)]
struct Usable {
    /// Whether the object is known, and enough of it in use.
    is_usable: bool,
    /// Whether the object's file is as the table says.
    is_exact: bool,
}

/// Finds files of an earlier manifest by something other than their path.
///
/// Made at the first question. Takes 16 bytes of memory a file; the entry itself is read again from its block.
struct FileIndex<'a> {
    previous: &'a Previous,
    key: fn(&Entry, &FileContent) -> Option<u64>,
    /// (key, block, entry in the block), sorted.
    places: Option<Vec<(u64, u32, u32)>>,
    /// The block that was read last.
    block: Option<(u32, Vec<Entry>)>,
}

/// Finds a content by its hash: for files that moved.
pub(super) struct ContentIndex<'a>(FileIndex<'a>);

impl<'a> ContentIndex<'a> {
    pub(super) fn new(previous: &'a Previous) -> Self {
        let key =
            |_: &Entry, content: &FileContent| (!content.extents.is_empty()).then(|| prefix(&content.hash));
        Self(FileIndex { previous, key, places: None, block: None })
    }

    /// Extents of the content, in rows of the earlier manifest, if it has it and they can be used again.
    pub(super) fn find(
        &mut self,
        hash: &ContentHash,
        size: u64,
    ) -> Result<Option<Vec<Extent>>, ArchiveError> {
        let previous = self.0.previous;
        self.0.find(prefix(hash), |entry| match &entry.kind {
            Kind::File(content)
                if content.hash == *hash && content.size == size && previous.can_reuse(&content.extents) =>
            {
                Some(content.extents.clone())
            }
            _ => None,
        })
    }
}

/// Finds a file by its inode: for names of it that came and went.
pub(super) struct InodeIndex<'a>(FileIndex<'a>);

impl<'a> InodeIndex<'a> {
    pub(super) fn new(previous: &'a Previous) -> Self {
        Self(FileIndex { previous, key: |entry, _| Some(entry.meta.inode), places: None, block: None })
    }

    /// The entry of a file that had this inode and is as wanted.
    pub(super) fn find(
        &mut self,
        inode: u64,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Option<Entry>, ArchiveError> {
        self.0.find(inode, |entry| (entry.meta.inode == inode && wanted(entry)).then(|| entry.clone()))
    }
}

impl<'a> FileIndex<'a> {
    /// What `wanted` takes of the first file of this key that it takes.
    fn find<T>(&mut self, key: u64, wanted: impl Fn(&Entry) -> Option<T>) -> Result<Option<T>, ArchiveError> {
        let mut places = match self.places.take() {
            Some(places) => places,
            None => self.build()?,
        };
        let first = places.partition_point(|(k, ..)| *k < key);
        let mut found = None;
        for &(_, block, entry) in places.iter().skip(first).take_while(|(k, ..)| *k == key) {
            found = wanted(self.entry(block, entry)?);
            if found.is_some() {
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

    fn read(&self, block: &Block) -> Result<Vec<Entry>, ArchiveError> {
        let manifest = &self.previous.manifest;
        manifest.reader().block_entries(block).map_err(|e| manifest.error(e))
    }

    fn build(&self) -> Result<Vec<(u64, u32, u32)>, ArchiveError> {
        let mut places = Vec::new();
        for (number, block) in (0..).zip(self.blocks()) {
            let entries = match self.read(block) {
                // What cannot be made sense of has nothing to be found.
                Err(ArchiveError::Format { .. }) => continue,
                entries => entries?,
            };
            for (at, entry) in (0..).zip(entries) {
                if let Kind::File(content) = &entry.kind
                    && let Some(key) = (self.key)(&entry, content)
                {
                    places.push((key, number, at));
                }
            }
        }
        places.sort_unstable();
        Ok(places)
    }

    fn entry(&mut self, block: u32, entry: u32) -> Result<&Entry, ArchiveError> {
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
