//! Looking at folders ahead of the walk, several at once: where each question crosses a network, the answers' time is
//! nearly all waiting.

use super::list::{Child, Folder, How, What, list};
use super::root::SourceRoot;
use crate::model::{ArchivePath, Name, NodeKind, Patience, Stat};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Names that may wait to be walked over; a folder may have more.
const MAX_NAMES: usize = 16 << 10;
/// Folders that may wait to be looked at.
const MAX_WANTED: usize = 4 << 10;

/// Whether a walk would enter the folder that stands at a path.
pub(super) type Enters = dyn Fn(&ArchivePath, &Stat) -> bool + Send + Sync;

/// Threads that look at folders, those first that the walk comes to first.
pub(super) struct Scouts {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    root: SourceRoot,
    how: How,
    enters: Box<Enters>,
    patience: Arc<Patience>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: BTreeSet<ArchivePath>,
    busy: BTreeSet<ArchivePath>,
    done: BTreeMap<ArchivePath, Folder>,
    /// Names in what is done.
    names: usize,
    stopped: bool,
    /// The first panic of a thread: what it was at will never be done.
    panic: Option<Box<dyn Any + Send>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self, path: &ArchivePath) -> Folder {
        list(&self.root, path, None, &self.how, &self.patience)
    }

    /// One thread's work. Whoever waits for a folder is told of a panic.
    fn scout(&self) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.look_ahead())) {
            self.state().panic.get_or_insert(panic);
            self.changed.notify_all();
        }
    }

    fn look_ahead(&self) {
        let mut state = self.state();
        loop {
            if state.stopped {
                return;
            }
            let next = if state.names < MAX_NAMES { state.wanted.pop_first() } else { None };
            let Some(path) = next else {
                state = self.wait(state);
                continue;
            };
            state.busy.insert(path.clone());
            drop(state);
            let folder = self.list(&path);
            let ahead = self.folders(&path, &folder);
            state = self.state();
            state.want(ahead);
            state.names += folder.children.len();
            state.busy.remove(&path);
            state.done.insert(path, folder);
            self.changed.notify_all();
        }
    }

    /// The folders in a folder that the walk would enter.
    fn folders(&self, path: &ArchivePath, folder: &Folder) -> Vec<ArchivePath> {
        // In a cache folder only the tag is of interest.
        let enters = |child: &Child| match &child.what {
            What::There(stat) if stat.kind == NodeKind::Directory && !folder.is_cache => {
                let path = path.child(&child.name);
                (self.enters)(&path, stat).then_some(path)
            }
            _ => None,
        };
        folder.children.iter().filter_map(enters).collect()
    }
}

impl State {
    fn want(&mut self, folders: Vec<ArchivePath>) {
        let room = MAX_WANTED.saturating_sub(self.wanted.len());
        self.wanted.extend(folders.into_iter().take(room));
    }

    /// Forgets what the walk has passed by without asking for it.
    fn pass(&mut self, path: &ArchivePath) {
        self.wanted = self.wanted.split_off(path);
        let ahead = self.done.split_off(path);
        let passed: usize = self.done.values().map(|folder| folder.children.len()).sum();
        self.names -= passed;
        self.done = ahead;
    }
}

impl Scouts {
    /// Starts so many threads below `root`, fewer where the system refuses more; they ask `enters` whether to go into a
    /// folder. Without any, each folder is looked at when it is asked for.
    pub(super) fn start(
        number: usize,
        root: SourceRoot,
        how: How,
        patience: Arc<Patience>,
        enters: Box<Enters>,
    ) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { root, how, enters, patience, state, changed });
        let scout = |_| {
            let shared = Arc::clone(&shared);
            Builder::new().name("scout".to_owned()).spawn(move || shared.scout()).ok()
        };
        let threads = (0..number).map_while(scout).collect();
        Self { shared, threads }
    }

    /// Another look at a folder.
    pub(super) fn look_again(&self, path: &ArchivePath) -> Folder {
        self.shared.list(path)
    }

    /// The next run of names of a folder that has many.
    pub(super) fn next_run(&self, path: &ArchivePath, after: &Name) -> Folder {
        list(&self.shared.root, path, Some(after), &self.shared.how, &self.shared.patience)
    }

    /// The look at a folder; it is taken here and now if nobody has begun with it.
    ///
    /// # Panics
    /// Where one of the threads has.
    pub(super) fn take(&self, path: &ArchivePath) -> Folder {
        let mut state = self.shared.state();
        state.pass(path);
        loop {
            if let Some(panic) = state.panic.take() {
                drop(state);
                resume_unwind(panic);
            }
            if !state.busy.contains(path) {
                break;
            }
            state = self.shared.wait(state);
        }
        if let Some(folder) = state.done.remove(path) {
            state.names -= folder.children.len();
            self.shared.changed.notify_all();
            return folder;
        }
        state.wanted.remove(path);
        drop(state);
        let folder = self.shared.list(path);
        if !self.threads.is_empty() {
            let ahead = self.shared.folders(path, &folder);
            self.shared.state().want(ahead);
            self.shared.changed.notify_all();
        }
        folder
    }
}

impl Drop for Scouts {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has been caught.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_thread_reaches_whoever_waits_for_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/b/c", "d/e/f"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let root = SourceRoot::open(folder.path()).unwrap();
        let enters = |path: &ArchivePath, _: &Stat| {
            assert!(path.depth() < 2, "too deep");
            true
        };
        let scouts = Scouts::start(2, root, How::default(), Arc::default(), Box::new(enters));
        let walk = || {
            for name in ["", "a", "a/b", "d", "d/e"] {
                scouts.take(&ArchivePath::parse(name.as_bytes()).unwrap());
            }
        };
        let panic = catch_unwind(AssertUnwindSafe(walk)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"too deep"));
    }
}
