//! Pure transformations: merging sorted trees, deciding what changed, cutting the content stream, planning.

mod compare;
mod cursor;
mod plan;
mod stream;

pub use compare::{Change, Compare};
pub use cursor::Cursor;
pub use plan::{Placement, Window};
pub use stream::{Chunk, ContentStream, Cut, CutSizes, Ranges, StreamExtent};
