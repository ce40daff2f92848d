//! Objects: which there are, and what they hold.

mod content;
mod inventory;
mod look;
mod map;
mod reader;

pub use content::{ContentReader, Extents};
pub use inventory::{Claim, Inventory, Stored};
pub use map::ObjectMap;
pub use reader::{ObjectReader, SharedTrash};
