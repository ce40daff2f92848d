//! Fifth stage: write objects to the store, as many at once as the store is quick with.
//!
//! Writing one is mostly waiting: for a disk to say that it is durable, or for an answer from elsewhere. The stage takes the
//! objects as they come, and each result goes to its chunk's place in the order.

use super::cut::Row;
use crate::archive::Inventory;
use crate::model::{ObjectId, Observer};
use crate::ops::Error;
use crate::ops::parallel::{Output, Place, Pool};

/// What the pack stage and the put stage put out, in the order of the pieces.
#[derive(Debug)]
pub(super) enum Packed {
    /// The next chunk of the stream is this object.
    Chunk(StoredChunk),
    /// Rows for the manifest; the chunks they need have come before.
    Rows(Vec<Row>),
    /// The store failed: nothing may be published.
    Failed(Error),
}

/// A chunk that the store has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredChunk {
    /// Its number in the inventory.
    pub(super) object: u32,
    pub(super) chunk_length: u32,
    /// Bytes that were written for it; none where the store had it.
    pub(super) written: Option<u32>,
}

/// A compressed chunk on its way into the store.
pub(super) struct ToPut<'a> {
    pub(super) id: ObjectId,
    pub(super) chunk: StoredChunk,
    /// The object's bytes.
    pub(super) stored: Vec<u8>,
    pub(super) place: Place<'a>,
    pub(super) output: Output<Packed>,
}

/// Writes objects to the store.
#[derive(Clone, Copy)]
pub(super) struct Putter<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) dry_run: bool,
    pub(super) observer: &'a dyn Observer,
}

impl Putter<'_> {
    /// Does one piece of work, and gives its memory to the pool.
    pub(super) fn work(&self, to_put: ToPut<'_>, pool: &Pool) {
        let ToPut { id, chunk, stored, place, output } = to_put;
        if output.is_wanted() {
            let packed = self.put(id, chunk, &stored).map_or_else(Packed::Failed, Packed::Chunk);
            // A taker that is gone says itself what is wrong.
            let _ = output.send(packed);
        }
        pool.give(stored);
        drop(place);
    }

    /// Writes an object, which the caller has claimed.
    pub(super) fn put(&self, id: ObjectId, chunk: StoredChunk, stored: &[u8]) -> Result<StoredChunk, Error> {
        if !self.dry_run {
            self.inventory.store(&id, stored)?;
        }
        let length = stored.len() as u32;
        self.inventory.stored(chunk.object, &id, length);
        self.observer.counters().objects_written.add(1);
        self.observer.counters().store_written.add(length.into());
        Ok(StoredChunk { written: Some(length), ..chunk })
    }
}
