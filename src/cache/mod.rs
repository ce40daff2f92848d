//! A local, disposable cache: what makes the next run faster, and is rebuilt from the manifests when it is missing.
//!
//! Kept in sled, which is beta software by its own account. Hence it is never in the store, never proof that an
//! object exists, small, and any error or panic of it means that it is deleted and begun anew.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where the cache is in the folder that it is given.
const SUBFOLDER: &str = "weekvault-cache-v1";
/// sled's own page cache, in bytes; its default is 1 GiB.
const CAPACITY: u64 = 4 << 20;
/// Values larger than this are not kept.
const MAX_VALUE: usize = 8 << 20;
/// Once it takes more than this on disk it is begun anew, since nothing in it is ever out of date enough to notice.
const MAX_DISK: u64 = 256 << 20;

/// Keys and values that may be gone at any time. Failing is the same as having nothing.
pub struct Cache {
    folder: PathBuf,
    /// None once it has failed.
    tree: Mutex<Option<sled::Db>>,
}

impl Cache {
    /// Opens the cache in a subfolder of `folder`. Where that fails it is deleted and tried once more; where that fails too, and
    /// where another process has it open, there is none.
    pub fn open(folder: &Path) -> Option<Self> {
        // A subfolder of our own: what is deleted when the cache fails must be nobody else's.
        let folder = &folder.join(SUBFOLDER);
        let tree = match open(folder) {
            Ok(tree) if tree.size_on_disk().is_ok_and(|size| size <= MAX_DISK) => Some(tree),
            Err(Failure::InUse) => None,
            _ => {
                remove(folder);
                open(folder).ok()
            }
        };
        tree.map(|tree| Self { folder: folder.to_path_buf(), tree: Mutex::new(Some(tree)) })
    }

    /// The value of a key, if it is kept.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.guarded(|tree| tree.get(key)).flatten().map(|value| value.to_vec())
    }

    /// Keeps a value.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        if value.len() <= MAX_VALUE {
            self.guarded(|tree| tree.insert(key, value));
        }
    }

    /// Writes out what is kept.
    pub fn flush(&self) {
        self.guarded(|tree| tree.flush());
    }

    /// Runs an operation of sled; whatever goes wrong ends the cache and deletes it.
    fn guarded<T>(&self, operation: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Option<T> {
        let mut held = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let tree = held.as_ref()?;
        if let Ok(Ok(value)) = quietly(|| operation(tree)) {
            return Some(value);
        }
        let failed = held.take();
        let _ = quietly(|| drop(failed));
        remove(&self.folder);
        tracing::debug!(folder = %self.folder.display(), "the cache failed and was deleted");
        None
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
        let tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = quietly(|| drop(tree));
    }
}

enum Failure {
    InUse,
    Broken,
}

fn open(folder: &Path) -> Result<sled::Db, Failure> {
    // sled keeps a dozen buffers of a segment each; its default of 512 KiB would cost 8 MB of memory.
    let config =
        sled::Config::new().path(folder).cache_capacity(CAPACITY).segment_size(64 << 10).flush_every_ms(None);
    match quietly(|| config.open()) {
        Ok(Ok(tree)) => Ok(tree),
        // sled locks its file, and reports a lock that is held like this.
        Ok(Err(sled::Error::Io(e))) if e.to_string().contains("lock") => Err(Failure::InUse),
        _ => Err(Failure::Broken),
    }
}

/// Runs `f`, turning a panic of it into an error.
fn quietly<T>(f: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(f))
}

fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_values_between_openings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.get(b"k"), None);
        cache.put(b"k", b"v");
        assert!(Cache::open(&path).is_none(), "another process would find it in use");
        drop(cache);
        assert_eq!(Cache::open(&path).unwrap().get(b"k"), Some(b"v".to_vec()));
    }

    #[test]
    fn a_damaged_cache_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        Cache::open(&path).unwrap().put(b"k", &[7; 100_000]);
        for file in ["db", "conf"] {
            std::fs::write(path.join(SUBFOLDER).join(file), b"rubbish").unwrap();
            std::fs::write(path.join("precious"), b"mine").unwrap();
            let cache = Cache::open(&path).unwrap();
            cache.put(b"k", b"v");
            assert_eq!(cache.get(b"k"), Some(b"v".to_vec()), "{file}");
            assert!(path.join("precious").exists(), "what is beside the cache stays");
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_means_no_cache() {
        assert!(Cache::open(Path::new("/dev/null/cache")).is_none());
    }
}
