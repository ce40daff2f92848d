//! The read file of a sealed store: all that is needed to read it, for operators.

mod choose;
mod file;
mod text;

pub use choose::{Chosen, choose};
pub use file::{KnownWriter, PlainManifest, ReadFile, ReadNumber};
