//! The entries of a live tree in path order.

use super::error::is_absent;
use super::exclude::{CACHE_TAG, Excludes};
use super::leftover::is_leftover;
use super::list::{Child, Folder, How, What};
use super::root::{Absence, SourceRoot};
use super::scouts::{Enters, Scouts};
use super::stat::Home;
use super::store_place::StorePlace;
use crate::model::{
    ArchivePath, LeftOut, LeftOutReason, Name, NodeKind, Patience, Problem, Stat, is_passing,
};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How to walk.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// What to leave out.
    pub excludes: Option<Excludes>,
    /// Leave out what is in folders that carry a `CACHEDIR.TAG`, but for the tag.
    pub exclude_caches: bool,
    /// Enter what is mounted in the tree, and other file systems without a mount of their own (subvolumes).
    pub cross_filesystems: bool,
    /// Leave out `lost+found` at the root.
    pub skip_lost_and_found: bool,
    /// Threads that look at folders ahead of the walk; 0 where looking is cheaper than waking them.
    pub scouts: usize,
}

impl WalkOptions {
    fn excludes(&self, path: &ArchivePath, is_folder: bool) -> Option<Skip> {
        if path.is_root() {
            return None;
        }
        if self.skip_lost_and_found && is_folder && path.as_bytes() == b"lost+found" {
            return Some(Skip::LostAndFound);
        }
        let excludes = self.excludes.as_ref()?;
        excludes.excludes(path, is_folder).then_some(Skip::Excluded)
    }

    /// Whether the walk stays in the tree with what stands at a path.
    fn stays(&self, home: Home, stat: &Stat) -> bool {
        self.cross_filesystems || home.has(stat)
    }

    /// Everything below the root, on every file system.
    pub fn everything() -> Self {
        Self {
            excludes: None,
            exclude_caches: false,
            cross_filesystems: true,
            skip_lost_and_found: false,
            scouts: 0,
        }
    }
}

/// A path of a live tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Relative to the root.
    pub path: ArchivePath,
    /// What stands there.
    pub stat: Stat,
}

/// What a walk comes upon.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Walked {
    /// An entry of the tree.
    Found(Found),
    /// Something that could not be looked at.
    Problem(Problem),
    /// Something left out on request, as the manifest's excludes tell, or the place that is left out around it.
    Skipped(ArchivePath, Skip),
    /// A place that is left out, in whole or but for what was found before.
    LeftOut(LeftOut),
    /// Something that went away between being listed and being looked at.
    Vanished(ArchivePath),
}

/// Why something was left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Skip {
    /// A pattern matches it.
    Excluded,
    /// It is in a cache folder.
    Cache,
    /// It is `lost+found` at the root.
    LostAndFound,
}

/// Walks a tree depth first, siblings by raw bytes, the root first; follows no symbolic link. All of it is reached below
/// the root's handle.
pub struct Walk {
    root: SourceRoot,
    options: WalkOptions,
    store: Arc<StorePlace>,
    /// None until the root has been looked at.
    scouts: Option<Scouts>,
    home: Home,
    absence: Absence,
    /// The folders that the walk is in, with the names still to come.
    levels: Vec<Level>,
    /// The cache folder that the walk is in.
    cache: Option<ArchivePath>,
    pending: VecDeque<Walked>,
    patience: Arc<Patience>,
    /// Names of a folder that are in memory at once.
    run: usize,
}

struct Level {
    path: ArchivePath,
    children: std::vec::IntoIter<Child>,
    /// The last of these names, where there are more behind it.
    last: Option<Name>,
}

impl Level {
    fn new(path: ArchivePath, folder: Folder) -> Self {
        let last = folder.children.last().filter(|_| folder.has_more).map(|child| child.name.clone());
        Self { path, children: folder.children.into_iter(), last }
    }
}

impl Walk {
    /// A walk of the tree below `root`.
    pub fn new(root: &SourceRoot, options: WalkOptions) -> Self {
        Self {
            root: root.clone(),
            options,
            store: Arc::default(),
            scouts: None,
            home: Home::of(&root.stat()),
            absence: Absence::of(root),
            levels: Vec::new(),
            cache: None,
            pending: VecDeque::new(),
            patience: Arc::default(),
            run: How::default().run,
        }
    }

    /// The same walk; it does not enter the store.
    pub fn beside(self, store: Arc<StorePlace>) -> Self {
        Self { store, ..self }
    }

    fn skip_reason(&self, path: &ArchivePath, is_folder: bool) -> Option<Skip> {
        if self.cache.as_ref().is_some_and(|c| path.is_within(c) && path != c && !is_tag_of(c, path)) {
            return Some(Skip::Cache);
        }
        self.options.excludes(path, is_folder)
    }

    fn start(&mut self) -> Walked {
        let (options, home, store) = (self.options.clone(), self.home, Arc::clone(&self.store));
        let enters: Box<Enters> = Box::new(move |path, stat| {
            let is_left_out = is_leftover(path) || store.is_root(stat) || !options.stays(home, stat);
            !is_left_out && options.excludes(path, true).is_none()
        });
        let how = How {
            store: Arc::clone(&self.store),
            tags: self.options.exclude_caches,
            one_mount: !self.options.cross_filesystems,
            run: self.run,
        };
        let patience = Arc::clone(&self.patience);
        let scouts = Scouts::start(self.options.scouts, self.root.clone(), how, patience, enters);
        let look = || self.root.look(&ArchivePath::root());
        let stat = self.patience.run(std::thread::sleep, is_passing, look);
        let root = self.meet(&scouts, ArchivePath::root(), stat.map_or_else(What::Unknown, What::There));
        self.scouts = Some(scouts);
        root
    }

    fn meet(&mut self, scouts: &Scouts, path: ArchivePath, what: What) -> Walked {
        let is_folder = matches!(&what, What::There(stat) if stat.kind == NodeKind::Directory);
        if let Some(skip) = self.skip_reason(&path, is_folder) {
            return Walked::Skipped(path, skip);
        }
        if is_leftover(&path) {
            return left_out(path, LeftOutReason::Leftover);
        }
        let stat = match what {
            What::There(stat) => stat,
            What::Gone => return Walked::Vanished(path),
            What::Unknown(error) => return failed(path, "stat", &error),
        };
        let is_store = || self.store.is_root(&stat) || (!self.home.has(&stat) && self.store.is_inner(&stat));
        if is_folder && is_store() {
            self.pending.push_back(left_out(path.clone(), LeftOutReason::Store));
            return Walked::Found(Found { path, stat });
        }
        match (self.options.stays(self.home, &stat), is_folder) {
            (true, true) => self.meet_folder(scouts, path, stat),
            (true, false) => Walked::Found(Found { path, stat }),
            (false, true) => {
                self.pending.push_back(left_out(path.clone(), LeftOutReason::Mount));
                Walked::Found(Found { path, stat })
            }
            (false, false) => left_out(path, LeftOutReason::Mount),
        }
    }

    /// A folder is looked into before it is handed out: one that is gone by then, or that cannot be found though it is
    /// listed, must not become an empty one.
    fn meet_folder(&mut self, scouts: &Scouts, path: ArchivePath, mut stat: Stat) -> Walked {
        let mut folder = scouts.take(&path);
        for attempt in 1.. {
            let Some(error) = folder.closed.as_ref().filter(|error| is_absent(error)) else { break };
            if self.absence.is_gone(&path).is_ok_and(|gone| gone) {
                return Walked::Vanished(path);
            }
            if attempt > 1 {
                std::thread::sleep(Duration::from_millis(1 << attempt));
            }
            // Another may have taken its place.
            match self.root.look(&path) {
                Ok(now) if now.kind == NodeKind::Directory && attempt < self.root.attempts() => stat = now,
                Ok(now) if now.kind != NodeKind::Directory => {
                    let error = io::Error::other("it is no directory any more");
                    return failed(path, "list", &error);
                }
                _ => {
                    self.root.found_haunted();
                    return failed(path, "list", error);
                }
            }
            folder = scouts.look_again(&path);
        }
        match &folder.closed {
            // Something has been mounted there since, or just now by our coming.
            Some(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                self.pending.push_back(left_out(path.clone(), LeftOutReason::Mount));
            }
            Some(error) => self.pending.push_back(failed(path.clone(), "list", error)),
            None => {}
        }
        self.pending.extend(folder.errors.iter().map(|error| failed(path.clone(), "list", error)));
        if folder.is_store {
            self.pending.push_back(left_out(path.clone(), LeftOutReason::Store));
        }
        if folder.is_cache {
            self.cache = Some(path.clone());
            self.pending.push_back(left_out(path.clone(), LeftOutReason::Cache));
        }
        self.levels.push(Level::new(path.clone(), folder));
        Walked::Found(Found { path, stat })
    }
}

fn is_tag_of(cache: &ArchivePath, path: &ArchivePath) -> bool {
    path.parent().as_ref() == Some(cache)
        && path.file_name().is_some_and(|n| n.as_bytes() == CACHE_TAG.as_bytes())
}

fn left_out(path: ArchivePath, reason: LeftOutReason) -> Walked {
    Walked::LeftOut(LeftOut { path, reason })
}

fn failed(path: ArchivePath, operation: &str, error: &io::Error) -> Walked {
    Walked::Problem(Problem { path, operation: operation.to_owned(), error: error.to_string() })
}

impl Iterator for Walk {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        let Some(scouts) = self.scouts.take() else { return Some(self.start()) };
        let next = self.step(&scouts);
        self.scouts = Some(scouts);
        next
    }
}

impl Walk {
    fn step(&mut self, scouts: &Scouts) -> Option<Walked> {
        loop {
            if let Some(pending) = self.pending.pop_front() {
                return Some(pending);
            }
            let level = self.levels.last_mut()?;
            match level.children.next() {
                Some(child) => {
                    let path = level.path.child(&child.name);
                    return Some(self.meet(scouts, path, child.what));
                }
                None => self.next_run(scouts),
            }
        }
    }

    /// Goes on in a folder with more names than are in memory at once, else leaves it.
    fn next_run(&mut self, scouts: &Scouts) {
        let Some(Level { path, last, .. }) = self.levels.pop() else { return };
        let Some(last) = last else { return };
        let mut folder = scouts.next_run(&path, &last);
        let errors = folder.errors.drain(..).chain(folder.closed.take());
        self.pending.extend(errors.map(|error| failed(path.clone(), "list", &error)));
        self.levels.push(Level::new(path, folder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::path::Path;

    fn walk(root: &Path, options: WalkOptions) -> Walk {
        Walk::new(&SourceRoot::open(root).unwrap(), options)
    }

    /// Makes folders of folders and files, as the numbers have it.
    fn grow(folder: &Path, numbers: &mut impl Iterator<Item = u8>, depth: usize) {
        for name in 0..numbers.next().unwrap_or(0) % 5 {
            let path = folder.join(format!("{}-{name}", numbers.next().unwrap_or(0)));
            if depth > 0 && !numbers.next().unwrap_or(0).is_multiple_of(3) {
                let _ = fs::create_dir(&path);
                grow(&path, numbers, depth - 1);
            } else {
                let _ = fs::write(&path, b"x");
            }
        }
    }

    proptest! {
        #[test]
        fn scouts_change_nothing_of_what_is_seen(
            numbers in prop::collection::vec(any::<u8>(), 0..400), scouts in 1..6usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            grow(dir.path(), &mut numbers.into_iter(), 6);
            let excludes = Some(Excludes::new(["1*-0", "2*/"]).unwrap());
            let options = WalkOptions { excludes, ..WalkOptions::everything() };
            let alone: Vec<Walked> = walk(dir.path(), options.clone()).collect();
            let in_runs: Vec<Walked> = Walk { run: 2, ..walk(dir.path(), options.clone()) }.collect();
            prop_assert_eq!(&alone, &in_runs);
            let helped: Vec<Walked> = walk(dir.path(), WalkOptions { scouts, ..options }).collect();
            let path = |walked: &Walked| match walked {
                Walked::Found(found) => found.path.clone(),
                Walked::Skipped(path, _) | Walked::Vanished(path) => path.clone(),
                Walked::LeftOut(place) => place.path.clone(),
                Walked::Problem(problem) => problem.path.clone(),
            };
            let is_sorted = alone.is_sorted_by_key(path);
            prop_assert!(is_sorted);
            prop_assert_eq!(alone, helped);
        }
    }

    #[test]
    fn a_walk_that_is_given_up_ends_its_scouts() {
        let dir = tempfile::tempdir().unwrap();
        grow(dir.path(), &mut (4..255u8).cycle().take(2000), 8);
        let mut walk = walk(dir.path(), WalkOptions { scouts: 4, ..WalkOptions::everything() });
        assert!(walk.next().is_some() && walk.next().is_some());
        drop(walk);
    }

    #[test]
    fn a_folder_that_goes_before_it_is_entered_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let mut walk = walk(dir.path(), WalkOptions::everything());
        let root = walk.next();
        assert!(matches!(&root, Some(Walked::Found(f)) if f.path.is_root()), "{root:?}");
        // Between being looked at and being entered it goes.
        fs::remove_dir(dir.path().join("a")).unwrap();
        assert!(matches!(walk.next(), Some(Walked::Vanished(p)) if p.as_bytes() == b"a"));
        assert_eq!(walk.next(), None);
    }
}
