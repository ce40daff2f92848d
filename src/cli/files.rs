//! Files that commands write outside of the store, as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Replaces a file that is there as a whole; its mode and owner stay.
///
/// # Errors
/// What the operating system says; the file then is what it was.
pub(super) fn replace_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays, and what it leads to is replaced.
    let path = fs::canonicalize(path)?;
    let before = fs::metadata(&path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let replaced = write_new(&unfinished, bytes).and_then(|file| {
        // Root may renew another's file, who is still to read it.
        let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))?;
        fs::rename(&unfinished, &path)
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    replaced?;
    sync_folder(&path);
    Ok(())
}

/// Makes a file where nothing stands, for its owner alone, and makes it durable.
///
/// # Errors
/// What the operating system says; nothing is left then.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

/// The directory that a file is in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Makes the names in a file's directory durable, where the file system can.
pub(super) fn sync_folder(path: &Path) {
    let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
}
