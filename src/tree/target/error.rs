//! What goes wrong in a tree that somebody else may change meanwhile.

use crate::model::ArchivePath;
use crate::tree::SourceError;
use rustix::io::Errno;

/// Something of an entry's metadata that could not be restored, though the entry was.
pub type Unrestored = SourceError;

/// An error in making something at a path where nothing stood. That something stands there now may be the target's doing.
pub(super) fn taken(path: &ArchivePath, operation: &'static str, error: Errno) -> SourceError {
    if error != Errno::EXIST {
        return SourceError::new(path, operation, error);
    }
    let error = "something of this name stands there now that did not when it was looked at; does the target ignore case, or \
                 spell names in another way, so that two names of the tree are one?";
    SourceError::new(path, operation, std::io::Error::other(error))
}

/// The inode that an earlier look found at a path.
pub type Inode = (u64, u64);

/// What was looked at is not what stands there now.
pub(super) fn swapped(path: &ArchivePath, operation: &'static str) -> SourceError {
    let error =
        "something else stands there since it was looked at; is the tree in use? Run the restore again";
    SourceError::new(path, operation, std::io::Error::other(error))
}

pub(super) type Result<T> = std::result::Result<T, SourceError>;
