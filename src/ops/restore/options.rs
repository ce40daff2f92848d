//! How to restore.

use super::select::Selection;
use std::path::PathBuf;

/// Whose the restored files are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The owners of the manifest's names on this machine; the numbers where a name is not known.
    Names,
    /// The manifest's numbers.
    Numeric,
    /// Whoever restores.
    Nobody,
}

/// How to restore.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Where to.
    pub target: PathBuf,
    /// What.
    pub selection: Selection,
    /// Delete what the manifest has not.
    pub delete: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Whose the files are to be.
    pub owner: Owner,
    /// Turn blocks of zeros into holes.
    pub sparse: bool,
    /// Read every file back and compare its hash.
    pub verify: bool,
}

impl RestoreOptions {
    /// All of a manifest into a target, with its owners by name, and nothing deleted.
    pub fn into(target: impl Into<PathBuf>) -> Self {
        Self {
            target: target.into(),
            selection: Selection::all(),
            delete: false,
            dry_run: false,
            owner: Owner::Names,
            sparse: false,
            verify: false,
        }
    }
}
