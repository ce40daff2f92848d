//! What goes wrong with a source or a target.

use crate::model::{ArchivePath, Problem, is_passing};
use std::io;

/// An operation on the outside file system that failed: which, on what, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct SourceError {
    /// Relative to the tree's root.
    pub path: ArchivePath,
    /// What was tried: `open`, `read`, `stat`, …
    pub operation: &'static str,
    /// What the operating system said.
    pub source: io::Error,
}

impl SourceError {
    /// An error of `operation` on `path`.
    pub fn new(path: &ArchivePath, operation: &'static str, source: impl Into<io::Error>) -> Self {
        Self { path: path.clone(), operation, source: source.into() }
    }

    /// Whether it may be gone when tried again.
    pub fn is_passing(&self) -> bool {
        is_passing(&self.source)
    }

    /// Whether the path is gone.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

impl From<&SourceError> for Problem {
    fn from(error: &SourceError) -> Self {
        let text = error.source.to_string();
        Self { path: error.path.clone(), operation: error.operation.to_owned(), error: text }
    }
}
