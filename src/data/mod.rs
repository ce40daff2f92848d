//! Pure transformations: merging sorted trees, deciding what changed, cutting the content stream, planning.

mod compare;
mod cut;
mod merge;
mod plan;
mod stream;

pub use compare::{Change, Compare};
pub use cut::{CutKey, CutSizes};
pub use merge::{Along, Merge, Merged, Placed};
pub use plan::{Placement, Window};
pub use stream::{Chunk, ContentStream, Cut, Ranges, StreamExtent};
