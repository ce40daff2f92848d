//! Pure nouns, without any I/O: what the other rooms talk about.

mod content_hash;
mod entry;
mod ids;
mod names;
mod observer;
mod path;
mod patience;
mod stat;
mod stats;
mod summary;
mod text;
mod time;
mod week;

pub use content_hash::{ContentHasher, HASHED_ZEROS};
pub use entry::{DeviceNumber, Entry, Extent, FileContent, Kind, Meta, ObjectRow, Owners, Timestamp, Xattr};
pub use ids::{ChunkId, ContentHash, Digest, InvalidStoreId, ObjectId, RunId, StoreId};
pub use names::{InvalidName, PvcName};
pub use observer::{Observer, Silent};
pub use path::{ArchivePath, Excerpt, InvalidComponent, Name, PathStack};
pub use patience::{Patience, is_passing};
pub use stat::{NodeKind, Stat};
pub use stats::{Counter, Counters, Stats};
pub use summary::{
    Completeness, Counts, Details, Head, LeftOut, LeftOutReason, Lineage, MAX_BEFORE, Problem, Summary,
};
pub use text::{Shown, json_line, lines, one_line};
pub use week::{InvalidWeek, Week, WeekRef};
