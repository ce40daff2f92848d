//! What goes wrong with a source or a target.

use crate::model::{ArchivePath, Problem, is_passing};
use rustix::io::Errno;
use std::io;

/// Whether an error says that nothing stands where something was looked for: the name is not there, a directory on the way
/// is something else by now, or an open handle leads to nothing any more.
pub(super) fn is_absent(error: &io::Error) -> bool {
    const ABSENT: [Errno; 4] = [Errno::NOENT, Errno::NOTDIR, Errno::STALE, Errno::LOOP];
    error.raw_os_error().is_some_and(|code| ABSENT.iter().any(|e| e.raw_os_error() == code))
}

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

    /// Whether nothing was found at the path. Whether it is gone is another question:
    /// [`SourceReader::is_gone`](super::SourceReader::is_gone).
    pub fn is_absent(&self) -> bool {
        is_absent(&self.source)
    }
}

impl From<&SourceError> for Problem {
    fn from(error: &SourceError) -> Self {
        let text = error.source.to_string();
        Self { path: error.path.clone(), operation: error.operation.to_owned(), error: text }
    }
}
