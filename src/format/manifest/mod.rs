//! The manifest file: a header, sealed blocks, an index of the blocks, a footer.
//!
//! ```text
//! header   16 bytes: mark, format version
//! blocks   sealed pieces, end to end, sections in the order of their numbers:
//!            1 entries   2 missing   3 owners   4 objects   5 summary
//! index    one 48-byte row a block: section, seal, items, lengths, BLAKE3 of the stored block
//! footer   48 bytes: index length, BLAKE3 of header and index, mark
//! ```
//!
//! The footer's hash covers the index and the index's hashes cover the blocks, so it commits to every byte of the
//! file, yet any one block can be checked and read alone: the object table without the entries, and the entries
//! one block at a time, each verified before a byte of it is decoded.

mod entries;
mod index;
mod objects;
mod reader;
mod sequence;
mod starts;
mod writer;

pub use entries::Entries;
pub use index::{Block, Section, Signed, Version};
pub use objects::{decode_objects, encode_objects};
pub use reader::{ChunkLengths, MAX_PROBLEMS, ManifestReader, RandomRead, ReadError};
pub use writer::{ManifestWriter, Written};

#[cfg(test)]
mod tests;
