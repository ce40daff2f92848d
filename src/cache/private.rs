//! Folders that nobody else may look into, whatever the umask: the names of a source are nobody's business.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Makes a folder for its owner alone, and those above it where they are missing. One that is there must be ours, and is
/// closed to others.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    close(folder)
}

/// Closes a folder of ours to others, if it is there. One that is somebody else's stays as it is.
pub fn keep_private(folder: &Path) {
    let _ = close(folder);
}

fn close(folder: &Path) -> io::Result<()> {
    // Whoever can put a link here could have any folder of ours closed, or read what we write.
    let found = fs::symlink_metadata(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is not a directory of ours"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(found.mode() & 0o700))?;
    }
    Ok(())
}

/// Closes the files in a folder to others: sled makes them as the umask wants it.
pub(super) fn tighten_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if let Ok(found) = entry.metadata()
            && found.mode() & 0o077 != 0
            && !found.is_symlink()
        {
            let _ = fs::set_permissions(entry.path(), Permissions::from_mode(found.mode() & 0o700));
        }
    }
}
