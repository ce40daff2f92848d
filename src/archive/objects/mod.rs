//! Objects: which there are, and what they hold.

mod inventory;
mod look;
mod reader;

pub use inventory::{Claim, Inventory};
pub use reader::{ObjectReader, SharedTrash};
