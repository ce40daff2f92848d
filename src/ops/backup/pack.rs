//! Fourth stage: hash each chunk, and compress it where the store has it not; several threads, results in order.

use super::cut::Piece;
use super::options::BackupOptions;
use super::put::{Packed, Putter, StoredChunk, ToPut};
use crate::archive::{Claim, Inventory, ObjectReader, SharedTrash};
use crate::format::Sealer;
use crate::model::{ChunkId, ObjectId};
use crate::ops::parallel::{Output, Pool, Queue, Room};
use crate::ops::{Error, Run};
use std::sync::Arc;

/// Whether the store has a chunk already.
enum Found {
    There(StoredChunk),
    /// It has not: the object's bytes are in the packer's buffer, to be put.
    Sealed(ObjectId, StoredChunk),
}

/// Sees to it that the store has a chunk.
pub(super) struct Packer<'a> {
    sealer: Sealer,
    reader: ObjectReader,
    /// Room for a compressed chunk, or for an object that is checked: of one chunk it is only either.
    buffer: Vec<u8>,
    pub(super) putter: Putter<'a>,
}

/// A worker of this stage.
pub(super) struct Packing<'a> {
    packer: Packer<'a>,
    memory: Memory<'a>,
    to_put: Queue<ToPut<'a>>,
}

/// What the stage's memory comes from and goes to.
#[derive(Clone, Copy)]
pub(super) struct Memory<'a> {
    /// Takes the chunks' memory back.
    pub(super) chunks: &'a Pool,
    /// Gives memory for objects.
    pub(super) objects: &'a Pool,
    /// What objects may take at once that wait to be put, or are being put.
    pub(super) room: &'a Room,
}

impl<'a> Packing<'a> {
    pub(super) fn new(mut packer: Packer<'a>, memory: Memory<'a>, to_put: Queue<ToPut<'a>>) -> Self {
        packer.buffer = memory.objects.take();
        Self { packer, memory, to_put }
    }

    /// Does one piece of work; the put stage finishes what the store has not.
    pub(super) fn work(&mut self, piece: Piece, output: Output<Packed>) {
        let chunk = match piece {
            Piece::Chunk(chunk) => chunk,
            Piece::Rows(rows) => {
                // A taker that is gone says itself what is wrong.
                let _ = output.send(Packed::Rows(rows));
                return;
            }
        };
        let name = self.packer.name(&chunk.bytes);
        // Nobody wants what a run compresses after it was told to stop.
        let sealed = match self.packer.putter.observer.cancelled() {
            true => Err(Error::Cancelled),
            false => self.packer.seal(&name, &chunk.bytes),
        };
        let packed = match sealed {
            Ok(Found::Sealed(id, sealed)) => {
                self.memory.chunks.give(chunk.bytes);
                let place = self.memory.room.take(self.packer.buffer.len());
                let stored = std::mem::replace(&mut self.packer.buffer, self.memory.objects.take());
                // Who puts them is there until nobody packs, or has panicked.
                let _ = self.to_put.send(ToPut { id, chunk: sealed, stored, place, output });
                return;
            }
            Ok(Found::There(chunk)) => Packed::Chunk(chunk),
            Err(error) => Packed::Failed(error),
        };
        self.memory.chunks.give(chunk.bytes);
        let _ = output.send(packed);
    }
}

impl<'a> Packer<'a> {
    pub(super) fn new(
        run: Run<'a>,
        inventory: &'a Inventory,
        options: &BackupOptions,
        trash: &SharedTrash,
    ) -> Result<Self, Error> {
        let sealer = run.archive.seals().sealer().map_err(Error::system("prepare compression"))?;
        let reader = ObjectReader::new(run.archive, Arc::clone(trash));
        let reader = reader.map_err(Error::system("prepare decompression"))?;
        let putter = Putter { inventory, dry_run: options.dry_run, observer: run.observer };
        Ok(Self { sealer, reader, buffer: Vec::new(), putter })
    }

    /// What a chunk is called.
    pub(super) fn name(&self, chunk: &[u8]) -> ChunkId {
        self.sealer.name(chunk)
    }

    /// Stores a chunk of this name, where the store has it not.
    pub(super) fn pack(&mut self, name: &ChunkId, chunk: &[u8]) -> Result<StoredChunk, Error> {
        match self.seal(name, chunk)? {
            Found::There(chunk) => Ok(chunk),
            Found::Sealed(id, chunk) => self.putter.put(id, chunk, &self.buffer),
        }
    }

    /// Claims a chunk of this name, and seals it where the store has it not.
    fn seal(&mut self, name: &ChunkId, chunk: &[u8]) -> Result<Found, Error> {
        let chunk_length = chunk.len() as u32;
        let inventory = self.putter.inventory;
        let (object, claim) = inventory.claim(name, chunk_length);
        let it = StoredChunk { object, chunk_length, written: None };
        match (claim, inventory.id(object)) {
            (Claim::Known, _) => return Ok(Found::There(it)),
            (Claim::Unproven, Some(id)) if self.reader.is_intact(&id, chunk_length, &mut self.buffer) => {
                inventory.prove(object);
                return Ok(Found::There(it));
            }
            // What a crashed run left may be kept if it holds the chunk.
            (Claim::Orphan, Some(id))
                if self.reader.is_intact(&id, chunk_length, &mut self.buffer)
                    && (self.putter.dry_run || inventory.adopt(&id, object)?) =>
            {
                return Ok(Found::There(it));
            }
            _ => {}
        }
        let id = self.sealer.object(name, chunk, &mut self.buffer);
        Ok(Found::Sealed(id.map_err(Error::system("compress a chunk"))?, it))
    }
}
