//! Backing sources up: one way through the house.
//!
//! ```text
//! walk ─ scan ─┬ unchanged: keep extents ─────────────────────────────┐
//!              └ read ─ cut ─ pack (hash, known? no: compress) ─ put ─┴ collect ─ publish
//! ```
//!
//! Each stage runs on threads of its own; bounded channels between them bound the memory. Whatever fails in the
//! store ends the run before anything is published.

mod collect;
mod copies;
mod cut;
mod known;
mod mend;
mod options;
mod pack;
mod pipeline;
mod prepare;
mod previous;
mod publish;
mod put;
mod read;
mod result;
mod scan;
mod sources;

pub use options::{BackupOptions, Labels, Origin, Trust};
pub use publish::backup;
pub use result::{BackedUp, Backup};
pub use sources::{MissingSource, Source, SourceRules, check_source_folders};
