//! Fetching objects: read, opened and verified, or an error.

use crate::archive::damage::{Copies, Damage};
use crate::archive::error::ArchiveError;
use crate::archive::layout::ObjectName;
use crate::archive::open::Archive;
use crate::archive::trash::Trash;
use crate::format::{FormatError, MAX_CHUNK_LENGTH, Opener, Seal, sum_of};
use crate::model::ObjectId;
use crate::store::{Key, StoreError, StoreOperation};
use std::sync::{Arc, Mutex, PoisonError};

/// How often to look for what seems to be nowhere.
const LOOKS: u32 = 3;

/// What a look at the trash showed; shared by the readers of an operation, made at the first object that is missed.
pub type SharedTrash = Arc<Mutex<Option<Trash>>>;

/// Fetches objects, from `objects/` and, failing that, from the trash. One for each thread: it keeps its buffers.
pub struct ObjectReader {
    archive: Archive,
    opener: Opener,
    plain: Vec<u8>,
    trash: SharedTrash,
    bytes_read: u64,
    /// Whether a chunk is compared with its name.
    by_name: bool,
    /// Whether the object that was read last was opened, so that its chunk is there.
    is_open: bool,
}

impl ObjectReader {
    /// A reader; `trash` is shared by those of one operation.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn new(archive: &Archive, trash: SharedTrash) -> std::io::Result<Self> {
        let (archive, opener) = (archive.clone(), archive.seals().opener()?);
        Ok(Self { archive, opener, plain: Vec::new(), trash, bytes_read: 0, by_name: true, is_open: false })
    }

    /// A reader that shares its look at the trash with none.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] when zstd has no memory.
    pub fn prepared(archive: &Archive) -> Result<Self, ArchiveError> {
        let failed = |source| StoreError::at(StoreOperation::Read, archive.location(), source);
        Ok(Self::new(archive, SharedTrash::default()).map_err(failed)?)
    }

    /// The chunk that an object holds, verified against its name.
    ///
    /// # Errors
    /// [`ArchiveError::Object`] when no copy of it is whole; [`ArchiveError::Store`] when the trash cannot be listed.
    pub fn fetch(&mut self, id: &ObjectId, chunk_length: u32) -> Result<&[u8], ArchiveError> {
        self.find(id, chunk_length)?;
        Ok(&self.plain)
    }

    /// The same in the caller's memory, which need not be of any length.
    ///
    /// # Errors
    /// Those of [`ObjectReader::fetch`].
    pub fn fetch_into(
        &mut self,
        id: &ObjectId,
        chunk_length: u32,
        room: &mut Vec<u8>,
    ) -> Result<(), ArchiveError> {
        std::mem::swap(&mut self.plain, room);
        let found = self.find(id, chunk_length);
        std::mem::swap(&mut self.plain, room);
        found
    }

    /// The same as [`ObjectReader::fetch`] without a comparison with the name, which hashes each byte: for a caller that has another proof of what it
    /// takes of the chunk, and calls [`ObjectReader::fetch`] where that fails.
    ///
    /// # Errors
    /// Those of [`ObjectReader::fetch`].
    pub fn fetch_unproven(&mut self, id: &ObjectId, chunk_length: u32) -> Result<&[u8], ArchiveError> {
        self.by_name = false;
        let found = self.find(id, chunk_length);
        self.by_name = true;
        found?;
        Ok(&self.plain)
    }

    fn find(&mut self, id: &ObjectId, chunk_length: u32) -> Result<(), ArchiveError> {
        if !self.archive.seals().can_open(id) {
            let source = FormatError::NoKey("an object");
            return Err(ArchiveError::Format { path: self.archive.location(), source });
        }
        if let Err(damage) = self.open_own(id, chunk_length) {
            if self.open_stand_in(id, chunk_length)? {
                return Ok(());
            }
            // A gc may carry an object from where we are about to look to where we have looked, and back.
            let mut found = self.in_trash(id, chunk_length, false)?;
            for _ in 0..LOOKS {
                if found.is_whole() {
                    break;
                }
                found = self.in_trash(id, chunk_length, true)?;
                if !found.is_whole() && self.open_own(id, chunk_length).is_ok() {
                    found = Copies::Whole;
                }
            }
            match found {
                Copies::Whole => {}
                Copies::Unreadable(reason) if damage == Damage::Missing => {
                    return Err(ArchiveError::Object { id: *id, damage: Damage::Unreadable(reason) });
                }
                _ => return Err(ArchiveError::Object { id: *id, damage }),
            }
        }
        Ok(())
    }

    /// Whether the object's own file, in `objects/` alone, is *intact*: its bytes are those that were stored. Whoever looks
    /// after a store asks that, and needs no key for it. Where it can be opened, the answer comes with the chunk, and is also
    /// that to whether the content is *right*, which [`Self::fetch`] asks: whether it has the object's name. Of a plain object
    /// both are one.
    ///
    /// # Errors
    /// The damage.
    pub fn intact(&mut self, id: &ObjectId, chunk_length: u32) -> Result<Option<&[u8]>, Damage> {
        self.open_own(id, chunk_length)?;
        Ok(self.is_open.then_some(&self.plain))
    }

    /// Whether [`Self::intact`] finds the object whole; `room` is memory for its chunk.
    pub fn is_intact(&mut self, id: &ObjectId, chunk_length: u32, room: &mut Vec<u8>) -> bool {
        std::mem::swap(&mut self.plain, room);
        let is_whole = self.intact(id, chunk_length).is_ok();
        std::mem::swap(&mut self.plain, room);
        is_whole
    }

    /// The chunk that was read last, where that went well.
    pub fn last_chunk(&self) -> &[u8] {
        &self.plain
    }

    /// Whether another file than the object's own is intact.
    pub(in crate::archive) fn intact_at(
        &mut self,
        key: &Key,
        id: &ObjectId,
        chunk_length: u32,
    ) -> Result<(), Damage> {
        self.open_at(key, id, chunk_length)
    }

    /// Whether an object that no manifest names is intact: its frame says how long its chunk is.
    ///
    /// # Errors
    /// The damage.
    pub fn intact_orphan(&mut self, id: &ObjectId) -> Result<(), Damage> {
        let stored = self.read(&self.key_of(id)?, bound(id, MAX_CHUNK_LENGTH))?;
        self.holds(&stored, id)
    }

    /// Whether these are the bytes of this object's file.
    ///
    /// # Errors
    /// The damage.
    pub(in crate::archive) fn holds(&mut self, stored: &[u8], id: &ObjectId) -> Result<(), Damage> {
        if id.sum().is_some() {
            return has_sum(stored, id);
        }
        let length = Opener::plain_length(stored, MAX_CHUNK_LENGTH);
        let length = length
            .ok_or_else(|| Damage::Undecodable("its frame has no length that a chunk can have".into()))?;
        self.open(stored, id, length)
    }

    /// Bytes read from the store so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Opens the first whole copy in the trash, as a look at it showed; a fresh look where `again`.
    fn in_trash(&mut self, id: &ObjectId, chunk_length: u32, again: bool) -> Result<Copies, ArchiveError> {
        let copies = {
            let mut trash = self.trash.lock().unwrap_or_else(PoisonError::into_inner);
            let known = match trash.take() {
                Some(known) if !again => known,
                _ => Trash::list(&self.archive)?,
            };
            trash.insert(known).copies(id).collect::<Vec<_>>()
        };
        Ok(self.first_whole(copies.into_iter(), chunk_length))
    }

    /// Opens the first of some files that holds the chunk.
    pub(in crate::archive) fn first_whole(
        &mut self,
        copies: impl Iterator<Item = (ObjectName, Key)>,
        chunk_length: u32,
    ) -> Copies {
        let mut found = Copies::None;
        for (name, key) in copies {
            match self.open_at(&key, &name.id, chunk_length) {
                Ok(()) => return Copies::Whole,
                Err(Damage::Unreadable(reason) | Damage::Unreachable(reason)) => {
                    found = Copies::Unreadable(reason);
                }
                Err(_) => {}
            }
        }
        found
    }

    /// Where the object's own file is.
    fn key_of(&self, id: &ObjectId) -> Result<Key, Damage> {
        match self.archive.name_of(id) {
            Ok(name) => name.map(|name| name.key()).ok_or(Damage::Missing),
            Err(error) => Err(Damage::Unreachable(error.to_string())),
        }
    }

    /// Opens another file of the object's chunk that is in `objects/`, if there is one that somebody with the naming key has stored.
    fn open_stand_in(&mut self, id: &ObjectId, chunk_length: u32) -> Result<bool, ArchiveError> {
        if id.sum().is_none() {
            return Ok(false);
        }
        for (other, is_right) in self.archive.others_of(id)? {
            if is_right == Some(true) && self.open_own(&other, chunk_length).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn open_own(&mut self, id: &ObjectId, chunk_length: u32) -> Result<(), Damage> {
        self.open_at(&self.key_of(id)?, id, chunk_length)
    }

    fn open_at(&mut self, key: &Key, id: &ObjectId, chunk_length: u32) -> Result<(), Damage> {
        let stored = self.read(key, bound(id, chunk_length))?;
        self.open(&stored, id, chunk_length)
    }

    fn read(&mut self, key: &Key, limit: u64) -> Result<Vec<u8>, Damage> {
        let stored = self.archive.store.get(key, limit).map_err(|e: StoreError| match e {
            e if e.is_not_found() => Damage::Missing,
            e if e.is_out_of_reach() => Damage::Unreachable(e.to_string()),
            e if e.is_access() => Damage::Unreadable(e.to_string()),
            e => Damage::NoObject(e.to_string()),
        })?;
        self.bytes_read += stored.len() as u64;
        Ok(stored)
    }

    fn open(&mut self, stored: &[u8], id: &ObjectId, chunk_length: u32) -> Result<(), Damage> {
        self.is_open = false;
        let is_sealed = id.sum().is_some();
        if is_sealed {
            self.plain.clear();
            has_sum(stored, id)?;
            // How long the chunk is, too, takes a key to know.
            if !self.archive.seals().can_open(id) || chunk_length == 0 {
                return Ok(());
            }
        }
        let seal = if is_sealed { Seal::Age } else { Seal::Zstd };
        let opened = self.opener.object(seal, stored, chunk_length, "it", &mut self.plain);
        opened.map_err(|e| Damage::Undecodable(e.to_string()))?;
        self.is_open = true;
        // The name is what commits an encrypted file to its content.
        if (!self.by_name && !is_sealed) || self.archive.seals().is_named(&self.plain, id) {
            Ok(())
        } else {
            Err(Damage::Content)
        }
    }
}

/// The most bytes that an object's file can have, whose chunk has so many, or 0 where that is not known.
fn bound(id: &ObjectId, chunk_length: u32) -> u64 {
    let seal = if id.sum().is_some() { Seal::Age } else { Seal::Zstd };
    let length = if chunk_length == 0 { MAX_CHUNK_LENGTH } else { chunk_length.min(MAX_CHUNK_LENGTH) };
    seal.stored_bound(length as usize) as u64
}

/// Whether these are the bytes that a sealed object's name has the sum of.
fn has_sum(stored: &[u8], id: &ObjectId) -> Result<(), Damage> {
    match id.sum() == Some(&sum_of(stored)) {
        true => Ok(()),
        false => Err(Damage::Content),
    }
}
