//! One folder of a live tree: its names, and what stands at each.

use super::error::is_absent;
use super::exclude::{CACHE_TAG, is_cache_tag};
use super::root::{Absence, SourceRoot, each_name};
use super::stat::stat_at;
use super::store_place::{STORE_JSON, StorePlace};
use crate::model::{ArchivePath, Excerpt, InvalidComponent, Name, NodeKind, Patience, Stat, is_passing};
use crate::sys::refresh;
use rustix::fs::ResolveFlags;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// What a look at a folder showed.
#[derive(Default, Debug)]
pub(super) struct Folder {
    /// Sorted by raw bytes, each name once.
    pub(super) children: Vec<Child>,
    /// There are names after the last of these: the next listing begins there.
    pub(super) has_more: bool,
    /// Why names may be missing.
    pub(super) errors: Vec<io::Error>,
    /// Why it could not be opened at all.
    pub(super) closed: Option<io::Error>,
    /// It is the store's root: nothing in it is of the tree.
    pub(super) is_store: bool,
    /// Whether it has a valid cache tag; only where that was asked.
    pub(super) is_cache: bool,
}

/// A name in a folder.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) name: Name,
    pub(super) what: What,
}

/// What stands at a name.
#[derive(Debug)]
pub(super) enum What {
    There(Stat),
    /// Nothing any more.
    Gone,
    /// It cannot be told.
    Unknown(io::Error),
}

/// How to look at folders.
#[derive(Clone, Debug)]
pub(super) struct How {
    /// What is not to be taken for a part of the tree.
    pub(super) store: Arc<StorePlace>,
    /// Whether to look for cache tags.
    pub(super) tags: bool,
    /// Whether to stay on the root's mount.
    pub(super) one_mount: bool,
    /// So many names of a folder are in memory at once. One that has more is listed anew for each run of them.
    pub(super) run: usize,
}

/// A run of names takes some 15 MB while it is walked over.
const RUN: usize = 64 << 10;

impl Default for How {
    fn default() -> Self {
        Self { store: Arc::default(), tags: false, one_mount: false, run: RUN }
    }
}

impl How {
    fn resolve(&self) -> ResolveFlags {
        if self.one_mount { ResolveFlags::NO_XDEV } else { ResolveFlags::empty() }
    }
}

/// What a listing says of a name: inode number and type.
type Said = (u64, u32);

/// Lists a folder below the root, from behind the name `after` on, and looks at each name by way of the folder's handle.
pub(super) fn list(
    root: &SourceRoot,
    path: &ArchivePath,
    after: Option<&Name>,
    how: &How,
    patience: &Patience,
) -> Folder {
    let mut folder = Folder::default();
    let (mut names, mut odd) = (Lowest::new(how.run, after), Vec::new());
    let (mut is_described, mut is_tagged) = (false, false);
    // With the handle where only the listing failed: it may have begun.
    let mut listed = || {
        names.clear();
        odd.clear();
        let handle = root.open_folder(path, how.resolve()).map_err(|e| (None, io::Error::from(e)))?;
        let listed = each_name(handle.as_fd(), |name, said| {
            is_described |= name == STORE_JSON;
            is_tagged |= name == CACHE_TAG.as_bytes();
            if names.take(name, said).is_err() && after.is_none() {
                // Of Linux' own file systems none has such names; vfat and its kin have longer ones.
                odd.push(io::Error::other(format!(
                    "it has a name of {} bytes that no manifest can hold: \"{}\"",
                    name.len(),
                    Excerpt(name)
                )));
            }
        });
        match listed {
            Ok(()) => Ok(handle),
            // It has been removed, with all that was in it.
            Err(error) if is_absent(&error.into()) => Err((None, error.into())),
            Err(error) => Err((Some(handle), error.into())),
        }
    };
    let passing = |failed: &(Option<OwnedFd>, io::Error)| is_passing(&failed.1);
    let listed = patience.run(std::thread::sleep, passing, &mut listed);
    folder.errors.append(&mut odd);
    let handle = match listed {
        Ok(handle) => handle,
        Err((Some(handle), error)) => {
            folder.errors.push(error);
            handle
        }
        Err((None, error)) => return Folder { closed: Some(error), ..Folder::default() },
    };
    let mut doubts = BTreeMap::new();
    let (names, has_more) = names.sorted();
    folder.has_more = has_more;
    for (name, twice) in each_once(names) {
        let what = match twice {
            true => Err(listed_twice()),
            false => look(handle.as_fd(), &name, patience),
        };
        let what = what.map_or_else(What::Unknown, What::There);
        if matches!(&what, What::Unknown(error) if twice || is_absent(error)) {
            doubts.insert(name.clone(), folder.children.len());
        }
        folder.children.push(Child { name, what });
    }
    if !doubts.is_empty() {
        look_again(root, path, how, patience, &mut doubts, &mut folder.children);
    }
    if is_described && how.store.is_described_in(handle.as_fd()) {
        return Folder { is_store: true, ..Folder::default() };
    }
    folder.is_cache = how.tags && is_tagged && has_tag(handle.as_fd());
    folder
}

/// The first names of a folder, in the order of their bytes.
struct Lowest<'a> {
    limit: usize,
    after: Option<&'a Name>,
    names: BinaryHeap<(Name, Said)>,
    /// The first of those that it has no room for.
    beyond: Option<Name>,
}

impl<'a> Lowest<'a> {
    /// So many names, from behind `after` on.
    fn new(limit: usize, after: Option<&'a Name>) -> Self {
        Self { limit, after, names: BinaryHeap::new(), beyond: None }
    }

    fn clear(&mut self) {
        self.names.clear();
        self.beyond = None;
    }

    fn take(&mut self, bytes: &[u8], said: Said) -> Result<(), InvalidComponent> {
        let is_after = |name: &Name| bytes > name.as_bytes();
        if self.after.is_some_and(|after| !is_after(after)) || self.beyond.as_ref().is_some_and(is_after) {
            return Ok(());
        }
        self.names.push((Name::new(bytes)?, said));
        if self.names.len() > self.limit {
            self.beyond = self.names.pop().map(|(name, _)| name);
        }
        Ok(())
    }

    /// The names in order, and whether there are more. One that was listed several times is whole in one run.
    fn sorted(self) -> (Vec<(Name, Said)>, bool) {
        let Self { names, beyond, .. } = self;
        let mut names = names.into_vec();
        names.sort_unstable();
        if let Some(beyond) = &beyond {
            let within = names.partition_point(|(name, _)| name < beyond);
            names.truncate(if within == 0 { names.len() } else { within });
        }
        (names, beyond.is_some())
    }
}

/// The names in order, each once, and whether it was listed as several things: a directory that changes while it is listed
/// may list a name twice, and so do some file systems.
fn each_once(mut names: Vec<(Name, Said)>) -> Vec<(Name, bool)> {
    names.dedup();
    let mut once: Vec<(Name, bool)> = Vec::with_capacity(names.len());
    for (name, _) in names {
        match once.last_mut() {
            Some((last, twice)) if *last == name => *twice = true,
            _ => once.push((name, false)),
        }
    }
    once
}

fn look(folder: BorrowedFd<'_>, name: &Name, patience: &Patience) -> io::Result<Stat> {
    let look = || Ok(stat_at(folder, name.as_bytes())?);
    patience.run(std::thread::sleep, is_passing, look)
}

fn listed_twice() -> io::Error {
    io::Error::other("the directory lists it twice, as different files")
}

/// Lists a folder anew for names that were listed and not found, or were listed twice: what it lists no more is gone, and
/// what it goes on to list without showing it is a problem.
fn look_again(
    root: &SourceRoot,
    path: &ArchivePath,
    how: &How,
    patience: &Patience,
    doubts: &mut BTreeMap<Name, usize>,
    children: &mut [Child],
) {
    for attempt in 0..root.attempts() {
        if attempt > 1 {
            // Something comes and goes; not in step with us.
            std::thread::sleep(Duration::from_millis(1 << attempt));
        }
        let mut again: BTreeMap<&Name, Vec<Said>> = BTreeMap::new();
        let listed = root.open_folder(path, how.resolve()).and_then(|folder| {
            refresh(folder.as_fd());
            each_name(folder.as_fd(), |name, said| {
                let known = Name::new(name).ok().and_then(|name| Some(doubts.get_key_value(&name)?.0));
                if let Some(name) = known {
                    let all = again.entry(name).or_default();
                    if !all.contains(&said) {
                        all.push(said);
                    }
                }
            })?;
            Ok(folder)
        });
        let mut settled = BTreeSet::new();
        for (name, &at) in doubts.iter() {
            let what = match (&listed, again.get(name).map(Vec::as_slice)) {
                (Err(error), _) => match is_absent(&(*error).into()) {
                    true => gone_with_folder(root, path),
                    false => What::Unknown((*error).into()),
                },
                (Ok(_), None | Some([])) => What::Gone,
                (Ok(folder), Some([_])) => {
                    look(folder.as_fd(), name, patience).map_or_else(What::Unknown, What::There)
                }
                (Ok(_), Some(_)) => What::Unknown(listed_twice()),
            };
            let settles = !matches!(&what, What::Unknown(_));
            if let Some(child) = children.get_mut(at) {
                child.what = what;
            }
            if settles {
                settled.insert(name.clone());
            }
        }
        doubts.retain(|name, _| !settled.contains(name));
        if doubts.is_empty() {
            return;
        }
    }
    root.found_haunted();
    for &at in doubts.values() {
        if let Some(Child { what: What::Unknown(error), .. }) = children.get_mut(at)
            && is_absent(error)
        {
            *error = io::Error::other(format!("the directory lists it, but: {error}"));
        }
    }
}

/// What is in a folder that is not found any more.
fn gone_with_folder(root: &SourceRoot, folder: &ArchivePath) -> What {
    match Absence::of(root).is_gone(folder) {
        Ok(true) => What::Gone,
        Ok(false) => What::Unknown(rustix::io::Errno::NOENT.into()),
        Err(error) => What::Unknown(error),
    }
}

fn has_tag(folder: BorrowedFd<'_>) -> bool {
    stat_at(folder, CACHE_TAG.as_bytes()).is_ok_and(|stat| stat.kind == NodeKind::File)
        && is_cache_tag(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_once() {
        let name = |n: &str| Name::new(n.as_bytes()).unwrap();
        let listed = [("b", 2), ("a", 1), ("c", 3), ("a", 1), ("c", 4), ("c", 3)];
        let mut listed = listed.map(|(n, inode)| (name(n), (inode, 8))).to_vec();
        listed.sort_unstable();
        assert_eq!(each_once(listed), [(name("a"), false), (name("b"), false), (name("c"), true)]);
    }

    #[test]
    fn runs_of_names_leave_out_none_and_part_none_from_its_double() {
        let all = ["e", "b", "a", "d", "c", "b", "f", "g", "b"];
        for limit in 3..10 {
            let (mut after, mut seen) = (None::<Name>, Vec::new());
            loop {
                let mut lowest = Lowest::new(limit, after.as_ref());
                (0..).zip(all).for_each(|(n, name)| lowest.take(name.as_bytes(), (n, 8)).unwrap());
                let (names, has_more) = lowest.sorted();
                assert!(names.len() <= limit);
                let run = each_once(names);
                seen.extend(
                    run.iter()
                        .map(|(name, twice)| (String::from_utf8_lossy(name.as_bytes()).into_owned(), *twice)),
                );
                if !has_more {
                    break;
                }
                after = run.last().map(|(name, _)| name.clone());
            }
            let expected = ["a", "b", "c", "d", "e", "f", "g"].map(|n| (n.to_owned(), n == "b"));
            assert_eq!(seen, expected, "{limit}");
        }
    }
}
