//! A local, disposable cache: what makes the next run faster, and is rebuilt from the manifests when it is missing.
//!
//! Kept in sled, which is beta software by its own account. Hence it is never in the store, never proof that an
//! object exists, small, and any error or panic of it means that it is deleted and begun anew.

mod places;
mod private;

pub use places::Places;
pub use private::keep_private;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// Where the cache is in the folder that it is given.
const SUBFOLDER: &str = "weekvault-cache-v1";
/// sled's own page cache, in bytes; its default is 1 GiB.
const CAPACITY: u64 = 4 << 20;
/// Values larger than this are not kept.
const MAX_VALUE: usize = 8 << 20;
/// Once it takes more than this on disk it is begun anew, since nothing in it is ever out of date enough to notice.
const MAX_DISK: u64 = 256 << 20;
/// sled waits for ever for threads that it could not start: an answer that takes longer than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Threads that sled starts for its work.
const THREADS: usize = 8;
/// Bytes of addresses (`RLIMIT_AS`) below which a process does without it.
const ADDRESS_SPACE: u64 = 512 << 20;

/// Keys and values that may be gone at any time. Failing is the same as having nothing.
pub struct Cache {
    folder: PathBuf,
    /// None once it has failed.
    keeper: Mutex<Option<Keeper>>,
}

/// The other end of the thread that has sled, which may never answer.
struct Keeper {
    work: Sender<Work>,
    ended: Receiver<()>,
    patience: Duration,
}

type Work = Box<dyn FnOnce(&sled::Db) + Send>;

impl Cache {
    /// Opens the cache in a subfolder of `folder`, which nobody else may look into. Where that fails it is deleted and tried
    /// once more; where that fails too, where another process has it open, and where it does not answer in time, there is
    /// none.
    pub fn open(folder: &Path) -> Option<Self> {
        // A subfolder of our own: what is deleted when the cache fails must be nobody else's.
        let folder = folder.join(SUBFOLDER);
        let ((work, todo), (end, ended), (opened, is_open)) = (channel::<Work>(), channel(), channel());
        let kept = folder.clone();
        let keep = move || {
            let tree = quietly(|| open_or_renew(&kept)).ok().flatten();
            if opened.send(tree.is_some()).is_err() {
                return;
            }
            if let Some(tree) = tree {
                todo.into_iter().for_each(|work| work(&tree));
                let _ = quietly(|| drop(tree));
                private::tighten_files(&kept);
            }
            let _ = end.send(());
        };
        // The name tells its panics from those that matter.
        Builder::new().name("cache".to_owned()).spawn(keep).ok()?;
        let is_open = is_open.recv_timeout(PATIENCE).unwrap_or(false);
        is_open.then(|| Self { folder, keeper: Mutex::new(Some(Keeper { work, ended, patience: PATIENCE })) })
    }

    /// The value of a key, if it is kept.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = key.to_vec();
        self.guarded(move |tree| tree.get(key)).flatten().map(|value| value.to_vec())
    }

    /// Keeps a value.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        if value.len() <= MAX_VALUE {
            let (key, value) = (key.to_vec(), value.to_vec());
            self.guarded(move |tree| tree.insert(key, value));
        }
    }

    /// Writes out what is kept.
    pub fn flush(&self) {
        self.guarded(|tree| tree.flush());
    }

    /// Runs an operation of sled; whatever goes wrong ends the cache and deletes it.
    fn guarded<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&sled::Db) -> sled::Result<T> + Send + 'static,
    ) -> Option<T> {
        let mut held = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, answered) = channel();
        let work = move |tree: &sled::Db| drop(answer.send(quietly(|| operation(tree))));
        // What cannot be sent is dropped, and its answer never comes.
        let _ = held.as_ref()?.work.send(Box::new(work));
        let answer = answered.recv_timeout(held.as_ref()?.patience);
        if let Ok(Ok(Ok(value))) = answer {
            return Some(value);
        }
        let Keeper { work, ended, patience } = held.take()?;
        drop(work);
        // One that hangs still has its files open.
        if answer.is_ok() && ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
            remove(&self.folder);
        }
        tracing::debug!(folder = %self.folder.display(), "the cache failed and is not used");
        None
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.flush();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Keeper { work, ended, patience }) = keeper {
            drop(work);
            let _ = ended.recv_timeout(patience);
        }
    }
}

enum Failure {
    InUse,
    Broken,
}

/// Opens the cache, a new one if that in `folder` is broken or too large.
fn open_or_renew(folder: &Path) -> Option<sled::Db> {
    private::make(folder).ok()?;
    if !threads_can_be_had() || !memory_can_be_had() {
        return None;
    }
    let tree = match open(folder) {
        Ok(tree) if tree.size_on_disk().is_ok_and(|size| size <= MAX_DISK) => Some(tree),
        Err(Failure::InUse) => None,
        _ => {
            remove(folder);
            private::make(folder).ok()?;
            open(folder).ok()
        }
    };
    private::tighten_files(folder);
    tree
}

/// Whether the system gives all the threads that sled takes for granted.
fn threads_can_be_had() -> bool {
    let (go, stop) = crossbeam_channel::bounded::<()>(0);
    let wait = |_| {
        let stop = stop.clone();
        Builder::new().spawn(move || stop.recv().is_ok())
    };
    let threads: Vec<_> = (0..THREADS).map_while(|n| wait(n).ok()).collect();
    let all = threads.len() == THREADS;
    drop(go);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    all
}

/// Whether the process may have much more memory than sled asks for, which crashes where it is given none.
fn memory_can_be_had() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::As).current;
    limit.is_none_or(|bytes| bytes >= ADDRESS_SPACE)
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
    fn nobody_else_can_look_into_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let own = path.join(SUBFOLDER);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        Cache::open(&path).unwrap().put(b"k", b"v");
        assert_eq!((mode(&path), mode(&own)), (0o700, 0o700));
        // One of an earlier version, that others can read.
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(own.join("db"), std::fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(Cache::open(&path).unwrap().get(b"k"), Some(b"v".to_vec()));
        assert_eq!((mode(&own), mode(&own.join("db"))), (0o700, 0o600));
        // A folder that is not ours is left as it is, as is one behind a link.
        std::fs::remove_dir_all(&own).unwrap();
        std::os::unix::fs::symlink("/tmp", &own).unwrap();
        assert!(Cache::open(&path).is_none());
    }

    #[test]
    fn one_that_never_answers_is_given_up() {
        let (work, _todo) = channel::<Work>();
        let (_end, ended) = channel();
        let folder = tempfile::tempdir().unwrap();
        let patience = Duration::from_millis(20);
        let keeper = Mutex::new(Some(Keeper { work, ended, patience }));
        let cache = Cache { folder: folder.path().to_path_buf(), keeper };
        assert_eq!(cache.get(b"k"), None);
        assert!(cache.keeper.lock().unwrap().is_none() && folder.path().exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_means_no_cache() {
        assert!(Cache::open(Path::new("/dev/null/cache")).is_none());
    }
}
