//! Pure transformations: merging sorted trees, deciding what changed, cutting the content stream, planning.

mod compare;
mod cursor;
mod cut;
mod plan;
mod stream;

pub use compare::{Change, Compare};
pub use cursor::Cursor;
pub use cut::CutSizes;
pub use plan::{Placement, Window};
pub use stream::{Chunk, ContentStream, Cut, Ranges, StreamExtent};
