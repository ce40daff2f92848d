//! Names of manifests.

use super::layout;
use crate::model::{PvcName, Timestamp, Week};
use crate::store::Key;
use std::fmt;

/// Names a manifest: one source in one week, complete or partial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ManifestId {
    /// The week.
    pub week: Week,
    /// The source.
    pub pvc: PvcName,
    /// Made by a run that could not read everything.
    pub partial: bool,
}

impl ManifestId {
    pub(super) fn key(&self) -> Key {
        self.key_below(&Key::root())
    }

    pub(super) fn key_below(&self, base: &Key) -> Key {
        layout::week_below(base, self.week).child(&layout::manifest_name(&self.pvc, self.partial))
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.week, layout::manifest_name(&self.pvc, self.partial))
    }
}

/// A manifest's file as a listing shows it; another length or time means that it was replaced.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ManifestRef {
    /// Which one.
    pub id: ManifestId,
    /// Bytes of its file.
    pub length: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}
