//! Checking a store: every object, every manifest, every reference; and mending what can be mended.

mod again;
mod check;
mod contents;
mod heads;
mod manifest;
mod objects;
mod options;
mod reading;
mod repair;
mod result;
mod stand_in;

pub use check::verify;
pub use heads::{HeadChange, HeadChangeKind, HeadRules, HeadVerdict, compare_heads, remember_heads};
pub(super) use manifest::check_manifest;
pub use options::{Slice, VerifyOptions};
pub use repair::Repair;
pub use result::{DamagedObject, Hurts, Verified};
