//! Fourth stage: hash each chunk, and store it where the store has it not; several threads, results in order.

use super::cut::{Piece, Row};
use super::options::BackupOptions;
use crate::archive::{Claim, Inventory, ObjectReader, SharedTrash};
use crate::format::{Sealer, Seals};
use crate::model::{ObjectId, Observer};
use crate::ops::parallel::{Output, Pool};
use crate::ops::{Error, Run};
use std::sync::Arc;

/// What the pack stage puts out, in the order of the pieces.
#[derive(Debug)]
pub(super) enum Packed {
    /// The next chunk of the stream is this object.
    Chunk(StoredChunk),
    /// Rows for the manifest; the chunks they need have come before.
    Rows(Vec<Row>),
    /// The store failed: nothing may be published.
    Failed(Error),
}

/// A chunk that the store has now.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredChunk {
    /// Its number in the inventory.
    pub(super) object: u32,
    pub(super) chunk_length: u32,
    /// Bytes that were written for it; none where the store had it.
    pub(super) written: Option<u32>,
}

/// Sees to it that the store has a chunk.
pub(super) struct Packer<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) seals: Seals,
    pub(super) sealer: Sealer,
    pub(super) reader: ObjectReader,
    /// Room for a compressed chunk, or for an object that is checked: of one chunk it is only either.
    pub(super) buffer: Vec<u8>,
    pub(super) dry_run: bool,
    pub(super) observer: &'a dyn Observer,
}

/// A worker of this stage.
pub(super) struct Packing<'a> {
    pub(super) packer: Packer<'a>,
    pub(super) pool: &'a Pool,
}

impl Packing<'_> {
    /// Does one piece of work.
    pub(super) fn work(&mut self, piece: Piece, output: &Output<Packed>) {
        let packed = match piece {
            Piece::Rows(rows) => Packed::Rows(rows),
            Piece::Chunk(chunk) => {
                let id = self.packer.seals.name(&chunk.bytes);
                let packed = self.packer.pack(id, &chunk.bytes).map_or_else(Packed::Failed, Packed::Chunk);
                self.pool.give(chunk.bytes);
                packed
            }
        };
        // A taker that is gone says itself what is wrong.
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
        let seals = run.archive.seals().clone();
        let sealer = seals.sealer().map_err(Error::system("prepare compression"))?;
        let reader = ObjectReader::new(run.archive, Arc::clone(trash));
        let reader = reader.map_err(Error::system("prepare decompression"))?;
        Ok(Self {
            inventory,
            seals,
            sealer,
            reader,
            buffer: Vec::new(),
            dry_run: options.dry_run,
            observer: run.observer,
        })
    }

    /// Stores a chunk whose hash is `id`, where the store has it not.
    pub(super) fn pack(&mut self, id: ObjectId, chunk: &[u8]) -> Result<StoredChunk, Error> {
        let chunk_length = chunk.len() as u32;
        let (object, claim) = self.inventory.claim(&id, chunk_length);
        let found = |written| Ok(StoredChunk { object, chunk_length, written });
        match claim {
            Claim::Known => return found(None),
            Claim::Unproven if self.reader.is_intact(&id, chunk_length, &mut self.buffer) => {
                self.inventory.prove(object);
                return found(None);
            }
            // What a crashed run left may be kept if it holds the chunk.
            Claim::Orphan if self.reader.is_intact(&id, chunk_length, &mut self.buffer) => {
                if self.dry_run || self.inventory.adopt(&id, object)? {
                    return found(None);
                }
            }
            Claim::Orphan | Claim::Unproven | Claim::Mine => {}
        }
        self.sealer.seal_into(chunk, &mut self.buffer).map_err(Error::system("compress a chunk"))?;
        if !self.dry_run {
            self.inventory.store(&id, &self.buffer)?;
        }
        let length = self.buffer.len() as u32;
        self.inventory.stored(object, length);
        self.observer.counters().objects_written.add(1);
        self.observer.counters().store_written.add(length.into());
        found(Some(length))
    }
}
