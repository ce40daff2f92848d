//! Bytes ↔ nouns: every byte on disk is made and read here, as `docs/format.md` lays down.
//!
//! Bytes are input: each length is checked before it is believed, each hash before what it covers is decoded.

mod chunk_sizes;
mod error;
pub mod keys;
mod manifest;
mod notes;
mod remembered;
mod seals;
mod store_json;
mod summary;
mod wire;

pub use chunk_sizes::{ChunkSizes, MAX_CHUNK_LENGTH};
pub use error::FormatError;
pub use manifest::{
    Block, ChunkLengths, Entries, MAX_PROBLEMS, ManifestReader, ManifestWriter, RandomRead, ReadError,
    Section, Signed, Version, Written, decode_objects, encode_objects,
};
pub use notes::MAX_LEFT_OUT;
pub use remembered::{MAX_REMEMBERED, Remembered, RememberedHead};
pub use seals::{Keys, Measures, Opener, Seal, Sealer, Seals, stored_bound, sum_of};
pub use store_json::{StoreConfig, decode_store, encode_store};
pub use summary::{decode_summary, encode_summary};
pub use wire::{MAX_EXTENTS, check_entry};
