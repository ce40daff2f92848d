//! Files of secrets outside of stores: read whole, made anew for their owner alone, and replaced as a whole.

use super::told::{is_secret, refused};
use crate::cli::failure::Failure;
use crate::cli::files::{folder_of, replace_whole, sync_folder, write_new};
use crate::format::keys::{MAX_WRITER_FILE, WriterFile};
use crate::model::Shown;
use crate::sys::keep_memory_private;
use crate::tree::StorePlace;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Reads a file of secrets, which may have so many bytes.
pub(in crate::cli) fn read_secret(mut from: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    // With all the room from the start no copy of it stays behind.
    let mut bytes = Zeroizing::new(vec![0; limit + 1]);
    let mut length = 0;
    while let Some(room) = bytes.get_mut(length..).filter(|room| !room.is_empty()) {
        match from.read(room) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    if length > limit {
        let told = format!("it has more than the {limit} bytes that such a file may have");
        return Err(io::Error::new(ErrorKind::FileTooLarge, told));
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Refuses a secret key where the name of a writer's file belongs.
fn check_name(path: &Path) -> Result<(), Failure> {
    match is_secret(&path.to_string_lossy()) {
        true => {
            Err(Failure::Usage("--writer-key takes the name of a file, and was given a secret key".into()))
        }
        false => Ok(()),
    }
}

/// Reads a writer's file.
pub(in crate::cli) fn read_writer_file(path: &Path) -> Result<WriterFile, Failure> {
    check_name(path)?;
    keep_memory_private();
    let place = Shown::path(path);
    let read = File::open(path).and_then(|file| read_secret(file, MAX_WRITER_FILE));
    let bytes = read.map_err(|e| Failure::File(format!("read the writer's file {place}"), e))?;
    WriterFile::decode(&bytes).map_err(|e| refused(&place)(e.into()))
}

/// Refuses a place where a writer's file cannot be made: where something stands, in a directory that is not there, in the store.
pub(in crate::cli) fn check_new(path: &Path, store: &Path) -> Result<(), Failure> {
    check_name(path)?;
    let place = Shown::path(path);
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    // One that is to be made is nowhere yet.
    if whole.starts_with(store) || StorePlace::at(store).contains(&whole) {
        return Err(Failure::Usage(format!(
            "the writer's file {place} is to be inside the store {}: whoever has the store would have it too; give another place",
            Shown::path(store)
        )));
    }
    if fs::symlink_metadata(path).is_ok() {
        let unfinished = "if it is what an attempt that failed has left, remove it";
        return Err(Failure::Refused(format!(
            "the writer's file is to be made at {place}, where something stands: give another name, or, {unfinished}; \
             nothing was done"
        )));
    }
    let parent = folder_of(&whole);
    match fs::metadata(&parent) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::Refused(format!("{} is not a directory", Shown::path(&parent)))),
        Err(e) => Err(Failure::File(format!("make the writer's file {place}"), e)),
    }
}

/// Makes a writer's file where nothing stands, for its owner alone.
pub(in crate::cli) fn create(path: &Path, writer: &WriterFile) -> Result<(), Failure> {
    let failed = |e| Failure::File(format!("make the writer's file {}", Shown::path(path)), e);
    let text = writer.encode().map_err(refused(Shown::path(path)))?;
    write_new(path, text.as_bytes()).map_err(failed)?;
    sync_folder(path);
    Ok(())
}

/// Replaces a writer's file as a whole; its mode and owner stay.
pub(in crate::cli) fn replace(path: &Path, writer: &WriterFile) -> Result<(), Failure> {
    let failed = |e| Failure::File(format!("renew the writer's file {}", Shown::path(path)), e);
    let text = writer.encode().map_err(refused(Shown::path(path)))?;
    replace_whole(path, text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_may_be() {
        assert_eq!(read_secret(&b"secret"[..], 6).unwrap().as_slice(), b"secret");
        assert_eq!(read_secret(&b""[..], 6).unwrap().len(), 0);
        assert_eq!(read_secret(&b"secrets"[..], 6).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(read_secret(io::repeat(0), 6).is_err());
    }
}
