//! Making a tree equal to a manifest: in place, or anew.
//!
//! ```text
//! manifest ─ look (what stands there? parallel, changes nothing) ─ apply in path order
//!              files that differ: window ─ fetch each object once ─ verify ─ write slices ─ put in place
//!          ─ finish: hard links, extra paths, folders' metadata, each folder after what is in it
//! ```

mod apply;
mod before;
mod clear;
mod feed;
mod finish;
mod hashes;
mod look;
mod missing;
mod options;
mod preview;
mod proof;
mod read_back;
mod report;
mod root;
mod select;
mod siblings;
mod survey;
mod tree;
mod write;

pub use before::Before;
pub use options::{Owner, RestoreOptions};
pub use report::Restored;
pub use select::{InvalidPattern, Selection};
pub use survey::{Survey, survey};
pub use tree::{restore, restore_beside};
