//! The entries of a live tree in path order.

use super::exclude::{CACHE_TAG, Excludes, is_cache_folder};
use super::leftover::is_leftover;
use super::list::Child;
use super::scouts::{Enters, Scouts};
use super::stat::{Home, stat_at};
use super::store_place::StorePlace;
use crate::model::{ArchivePath, LeftOut, LeftOutReason, NodeKind, Patience, Problem, Stat, is_passing};
use rustix::fs::CWD;
use std::collections::VecDeque;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    fn stays(&self, home: Option<&Home>, stat: &Stat) -> bool {
        self.cross_filesystems || home.is_none_or(|home| home.has(stat))
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

/// Walks a tree depth first, siblings by raw bytes, the root first; follows no symbolic link.
pub struct Walk {
    root: PathBuf,
    options: WalkOptions,
    store: Arc<StorePlace>,
    /// None until the root has been looked at.
    scouts: Option<Scouts>,
    /// Where the root is, once known.
    home: Option<Home>,
    /// The folders that the walk is in, with the names still to come.
    levels: Vec<Level>,
    /// The folder that comes next.
    enter: Option<ArchivePath>,
    /// The cache folder that the walk is in.
    cache: Option<ArchivePath>,
    pending: VecDeque<Walked>,
    patience: Arc<Patience>,
}

struct Level {
    path: ArchivePath,
    children: std::vec::IntoIter<Child>,
}

impl Walk {
    /// A walk of the folder `root`, which must not be a symbolic link.
    pub fn new(root: &Path, options: WalkOptions) -> Self {
        Self {
            root: root.to_path_buf(),
            options,
            store: Arc::default(),
            scouts: None,
            home: None,
            levels: Vec::new(),
            enter: None,
            cache: None,
            pending: VecDeque::new(),
            patience: Arc::default(),
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
        let look = || Ok(stat_at(CWD, self.root.as_os_str().as_bytes())?);
        let stat = self.patience.run(std::thread::sleep, is_passing, look);
        let home = stat.as_ref().ok().map(Home::of);
        self.home = home;
        let (options, store) = (self.options.clone(), Arc::clone(&self.store));
        let enters: Box<Enters> = Box::new(move |path, stat| {
            let is_left_out = is_leftover(path) || store.is_root(stat) || !options.stays(home.as_ref(), stat);
            !is_left_out && options.excludes(path, true).is_none()
        });
        let patience = Arc::clone(&self.patience);
        self.scouts = Some(Scouts::start(
            self.options.scouts,
            self.root.clone(),
            Arc::clone(&self.store),
            patience,
            enters,
        ));
        self.meet(ArchivePath::root(), stat)
    }

    /// Looks into a folder; its own entry has been handed out.
    fn go_in(&mut self, path: ArchivePath) {
        let Some(scouts) = &self.scouts else { return };
        let folder = scouts.take(&path);
        // A place is left out once.
        if folder.is_store && self.cache.as_ref() != Some(&path) {
            let path = path.clone();
            self.pending.push_back(Walked::LeftOut(LeftOut { path, reason: LeftOutReason::Store }));
        }
        self.pending.extend(folder.errors.iter().map(|error| failed(path.clone(), "list", error)));
        self.levels.push(Level { path, children: folder.children.into_iter() });
    }

    fn meet(&mut self, path: ArchivePath, stat: io::Result<Stat>) -> Walked {
        let is_folder = stat.as_ref().is_ok_and(|stat| stat.kind == NodeKind::Directory);
        if let Some(skip) = self.skip_reason(&path, is_folder) {
            return Walked::Skipped(path, skip);
        }
        let left_out = |path, reason| Walked::LeftOut(LeftOut { path, reason });
        if is_leftover(&path) {
            return left_out(path, LeftOutReason::Leftover);
        }
        let stat = match stat {
            Ok(stat) => stat,
            Err(error) => return failed(path, "stat", &error),
        };
        let is_mounted = self.home.is_some_and(|home| !home.has(&stat));
        let stays = self.options.stays(self.home.as_ref(), &stat);
        if !stays && !is_folder {
            return left_out(path, LeftOutReason::Mount);
        }
        let id = (stat.device, stat.inode);
        if is_folder && (self.store.is_root(&stat) || (is_mounted && self.store.is_inner(id))) {
            self.pending.push_back(left_out(path.clone(), LeftOutReason::Store));
        } else if !stays {
            self.pending.push_back(left_out(path.clone(), LeftOutReason::Mount));
        } else if is_folder {
            self.enter = Some(path.clone());
            if self.options.exclude_caches && is_cache_folder(&path.below(&self.root)) {
                self.cache = Some(path.clone());
                self.pending.push_back(left_out(path.clone(), LeftOutReason::Cache));
            }
        }
        Walked::Found(Found { path, stat })
    }
}

fn is_tag_of(cache: &ArchivePath, path: &ArchivePath) -> bool {
    path.parent().as_ref() == Some(cache)
        && path.file_name().is_some_and(|n| n.as_bytes() == CACHE_TAG.as_bytes())
}

fn failed(path: ArchivePath, operation: &str, error: &io::Error) -> Walked {
    if error.kind() == io::ErrorKind::NotFound && !path.is_root() {
        return Walked::Vanished(path);
    }
    Walked::Problem(Problem { path, operation: operation.to_owned(), error: error.to_string() })
}

impl Iterator for Walk {
    type Item = Walked;

    fn next(&mut self) -> Option<Walked> {
        if self.scouts.is_none() {
            return Some(self.start());
        }
        loop {
            if let Some(path) = self.enter.take() {
                self.go_in(path);
            }
            if let Some(pending) = self.pending.pop_front() {
                return Some(pending);
            }
            let level = self.levels.last_mut()?;
            match level.children.next() {
                Some(child) => {
                    let path = level.path.child(&child.name);
                    return Some(self.meet(path, child.stat));
                }
                None => drop(self.levels.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

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
            let alone: Vec<Walked> = Walk::new(dir.path(), options.clone()).collect();
            let helped: Vec<Walked> = Walk::new(dir.path(), WalkOptions { scouts, ..options }).collect();
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
        let mut walk = Walk::new(dir.path(), WalkOptions { scouts: 4, ..WalkOptions::everything() });
        assert!(walk.next().is_some() && walk.next().is_some());
        drop(walk);
    }

    #[test]
    fn what_cannot_be_listed_is_told_after_its_own_entry() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let mut walk = Walk::new(dir.path(), WalkOptions::everything());
        let root = walk.next();
        assert!(matches!(&root, Some(Walked::Found(f)) if f.path.is_root()), "{root:?}");
        let folder = walk.next();
        assert!(matches!(&folder, Some(Walked::Found(f)) if f.path.as_bytes() == b"a"), "{folder:?}");
        // Between being looked at and being entered it goes.
        fs::remove_dir(dir.path().join("a")).unwrap();
        assert!(matches!(walk.next(), Some(Walked::Vanished(p)) if p.as_bytes() == b"a"));
        assert_eq!(walk.next(), None);
    }
}
