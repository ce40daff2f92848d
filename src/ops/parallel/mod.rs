//! Threads that work on one operation, and what they hand to each other.

mod memory;
mod ordered;
mod shared;
mod threads;

pub(super) use memory::{Place, Pool, Room};
pub(super) use ordered::{Bounds, Closed, Output, Work, ordered};
pub(super) use shared::{Queue, shared};
pub(super) use threads::{Panics, Threads, with_threads};
