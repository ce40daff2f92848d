//! What became of a backup.

use super::sources::MissingSource;
use crate::model::{Completeness, Counts, Problem, PvcName, Timestamp};

/// What became of one source.
#[derive(Clone, Debug)]
pub struct BackedUp {
    /// Which.
    pub pvc: PvcName,
    /// What was found and done.
    pub counts: Counts,
    /// Whether everything could be read.
    pub completeness: Completeness,
    /// Up to 10,000 paths that could not be read.
    pub problems: Vec<Problem>,
    /// Bytes of the manifest; 0 in a dry run.
    pub manifest_bytes: u64,
    /// Bytes of the manifest and of all objects that it needs, new or not; 0 in a dry run.
    pub output_bytes: u64,
    /// When its walk began, and when its manifest was done.
    pub started: Timestamp,
    /// See `started`.
    pub finished: Timestamp,
}

/// What became of a run.
#[derive(Debug)]
pub struct Backup {
    /// The sources that were published, or would be.
    pub sources: Vec<BackedUp>,
    /// Those that the run was done without.
    pub missing: Vec<MissingSource>,
}
