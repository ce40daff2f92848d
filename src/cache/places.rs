//! Which store was where, as this machine saw it last.

use super::private;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const SUBFOLDER: &str = "weekvault-stores-v1";
/// Ids are short; a longer file is not ours.
const MAX_ID: usize = 200;

/// The ids of stores by their paths. Like everything here it may be gone at any time, and failing is the same as having
/// nothing.
#[derive(Clone, Debug)]
pub struct Places(PathBuf);

impl Places {
    /// Those that are kept in a subfolder of `folder`.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join(SUBFOLDER))
    }

    fn file(&self, store: &Path) -> PathBuf {
        let hash = blake3::hash(store.as_os_str().as_bytes()).to_hex();
        self.0.join(hash.as_str())
    }

    /// The id of the store that was at this absolute path.
    pub fn get(&self, store: &Path) -> Option<String> {
        let text = fs::read_to_string(self.file(store)).ok()?;
        let id = text.lines().next().unwrap_or_default();
        (!id.is_empty() && id.len() <= MAX_ID).then(|| id.to_owned())
    }

    /// Remembers the id of the store at this absolute path.
    pub fn put(&self, store: &Path, id: &str) {
        if self.get(store).as_deref() == Some(id) || private::make(&self.0).is_err() {
            return;
        }
        let (file, new) = (self.file(store), self.0.join(format!("new-{}", std::process::id())));
        let written = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
        let written = written.and_then(|mut file| file.write_all(format!("{id}\n").as_bytes()));
        let _ = written.and_then(|()| fs::rename(&new, file)).or_else(|_| fs::remove_file(&new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_what_was_where() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(&folder.path().join("cache"));
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert_eq!(places.get(a), None);
        places.put(a, "first");
        places.put(b, "other");
        places.put(a, "second");
        assert_eq!((places.get(a).unwrap(), places.get(b).unwrap()), ("second".into(), "other".into()));
        assert_eq!(Places::new(Path::new("/dev/null")).get(a), None);
        Places::new(Path::new("/dev/null")).put(a, "nowhere");
    }
}
