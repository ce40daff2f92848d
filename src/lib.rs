//! weekvault: a content-addressed, deduplicating weekly backup store in plain files.
//!
//! Each run reads what changed in some directory trees, cuts it into chunks, stores each chunk once under its hash, and
//! publishes one manifest a tree and week. Any week can be restored from any copy of the store, by this program or by
//! `zstd`, `b3sum` and sixty lines of Python (`docs/format.md`, `docs/read_store.py`).
//!
//! # Words
//!
//! | word | meaning |
//! | --- | --- |
//! | store | the root folder that holds everything: `/backup` |
//! | source, pvc | a directory tree to protect, and its name |
//! | week | `YYYY-WW`, exactly as `date +%Y-%W` prints it |
//! | content stream | the bytes of all files that are read in a run, end to end, in path order |
//! | chunk | a piece of the content stream, cut by FastCDC |
//! | object | a chunk as stored: compressed, named by the BLAKE3 hash of the chunk |
//! | extent | (object, offset, length): a slice of a chunk that belongs to a file; a file is a list of extents |
//! | entry | one path of a tree: kind, metadata, size, content hash, extents |
//! | manifest | one source in one week: its entries, and the table of objects that they need |
//! | publish | make a manifest visible; the only commit point |
//! | retire | move what nothing references into `trash/` |
//!
//! # One way through the house
//!
//! ```text
//! walk ─ entries in path order ──┐
//! previous manifest ─ entries ───┴ scan ┬ unchanged: keep extents ───────────────────┐
//!                                       └ read ─ content stream ─ cut ─ hash ─ known? ┤
//!                                                                 no: compress, put ──┤
//!                                                                                     └ manifest ─ publish
//! ```
//!
//! A restore goes the same way back: manifest ─ what differs ─ fetch each object ─ verify ─ write slices ─ metadata.
//!
//! # What always holds
//!
//! * A manifest is visible only when all that it names is durable. A crash at any point leaves the last good state.
//! * Files of a store are written once, under a temporary name, and renamed into place; they are never changed.
//! * An object is *known* only if a published manifest vouches for it *and* it was just listed with its length.
//! * After the first error of the store nothing more is published.
//! * Nothing is deleted but from `trash/`, after days, and then only what no manifest names.
//! * Bytes from disk are input: lengths are checked before they are believed, hashes before what they cover is decoded.
//!
//! # Who may run beside whom
//!
//! Backups may run beside each other and beside one gc, on any number of machines. The lock is advisory and only saves
//! wasted work: safety comes from the order of the steps. gc moves to the trash first and then looks again for new
//! manifests; a backup publishes first and then looks again for objects that went missing; readers look in both places.
//! Readers write nothing and take no lock.
//!
//! # The rooms
//!
//! [`model`] has the nouns; [`format`](mod@format) turns them to bytes and back; [`tree`] is the outside file system;
//! [`sys`] has the system calls that it shares with the store; [`data`] has the pure transformations; [`store`] keeps
//! bytes by key; [`cache`] is local and disposable; [`archive`] is what a store's files mean, with the protocol; [`ops`]
//! has the use cases; [`edge`] talks to the Pushgateway and listens to signals; [`cli`] is the command line. Dependencies
//! point one way, and `tests/architecture` holds that.

pub mod archive;
pub mod cache;
pub mod cli;
pub mod data;
pub mod edge;
pub mod format;
pub mod model;
pub mod ops;
pub mod store;
pub mod sys;
pub mod tree;
