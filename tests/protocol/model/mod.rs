//! A disk in memory that may lose what was not synced and fail at any operation, and a judge of what is left then.
//!
//! ```text
//! disk ─ every operation, recorded ─ crash: what a power cut may leave of them ─ judge: does every manifest restore?
//!   └ fault: an operation fails, or is done and reported as failed
//! ```

#![allow(dead_code, reason = "each test uses its own part of this")]

pub(crate) mod acts;
pub(crate) mod crash;
pub(crate) mod disk;
pub(crate) mod fault;
pub(crate) mod image;
pub(crate) mod judge;
pub(crate) mod keys;
pub(crate) mod runs;
pub(crate) mod sources;
