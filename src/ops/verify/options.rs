//! What to check.

use crate::model::{ObjectId, PvcName, WeekRef};

/// The K-th of N parts of the objects, split by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// From 1 to `of`.
    pub part: u32,
    /// How many parts there are.
    pub of: u32,
}

impl Slice {
    /// Whether an object is in the part. Names are hashes, so the parts are of about one size.
    pub fn contains(&self, id: &ObjectId) -> bool {
        let key = id.chunk().as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // The range of keys in `of` equal parts, so that a part is a run of neighbouring names.
        (u128::from(key) * u128::from(self.of)) >> 64 == u128::from(self.part.saturating_sub(1))
    }
}

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Only presence and stored length of objects; manifests are checked whole nevertheless.
    pub quick: bool,
    /// Only this part of the objects.
    pub slice: Option<Slice>,
    /// Only what this week needs.
    pub week: Option<WeekRef>,
    /// Only what this source needs.
    pub pvc: Option<PvcName>,
    /// Mend what can be mended.
    pub repair: bool,
}
