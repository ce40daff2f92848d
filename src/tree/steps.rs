//! Handles of the directories on the way to where one is: what is deep in a tree is opened from what is above it, not from
//! the root each time.

use crate::model::ArchivePath;
use crate::sys::open_beneath;
use rustix::fs::OFlags;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// So many handles are held. Of a deeper way every second one is let go, the nearest last.
const MAX_HELD: usize = 64;

/// Bytes of a path that are opened in one step.
const FAR: usize = 1 << 10;

/// The directories from below a root down to the one that was used last. Clones go their own ways.
#[derive(Clone, Default, Debug)]
pub(super) struct Steps(Vec<(ArchivePath, Arc<OwnedFd>)>);

/// The part of a path below a directory that it is in.
fn below<'a>(path: &'a ArchivePath, folder: &ArchivePath) -> &'a Path {
    let rest = path.as_bytes().get(folder.as_bytes().len()..).unwrap_or_default();
    Path::new(OsStr::from_bytes(rest.strip_prefix(b"/").unwrap_or(rest)))
}

impl Steps {
    /// A handle of a directory below `root`, which takes no reads.
    pub(super) fn folder(
        &mut self,
        root: BorrowedFd<'_>,
        path: &ArchivePath,
    ) -> rustix::io::Result<Arc<OwnedFd>> {
        self.up_to(path);
        if let Some((known, folder)) = self.0.last()
            && known == path
        {
            return Ok(Arc::clone(folder));
        }
        if let Some(half) = self.half_way(path) {
            // Whoever goes up from here finds a handle near each of the next ones.
            self.folder(root, &half)?;
        }
        let opened = self.open(root, path, OFlags::PATH | OFlags::DIRECTORY)?;
        let opened = Arc::new(opened);
        self.note(path.clone(), Arc::clone(&opened));
        Ok(opened)
    }

    /// The directory half-way from what is held to one that is far below it.
    fn half_way(&self, path: &ArchivePath) -> Option<ArchivePath> {
        let from = self.0.last().map_or(0, |(held, _)| held.as_bytes().len() + 1);
        let rest = path.as_bytes().get(from..).filter(|rest| rest.len() > FAR)?;
        let half = rest.get(..rest.len() / 2)?.iter().rposition(|&byte| byte == b'/')?;
        ArchivePath::parse(path.as_bytes().get(..from + half)?).ok()
    }

    /// Opens something at or below the directory that was used last, or else from the nearest one above it.
    pub(super) fn open(
        &mut self,
        root: BorrowedFd<'_>,
        path: &ArchivePath,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        self.up_to(path);
        match self.0.last() {
            Some((above, folder)) => open_beneath(folder.as_fd(), below(path, above), flags),
            None => open_beneath(root, path.as_path(), flags),
        }
    }

    /// Holds a handle of a directory.
    pub(super) fn note(&mut self, path: ArchivePath, folder: Arc<OwnedFd>) {
        self.up_to(&path);
        self.0.push((path, folder));
        if self.0.len() > MAX_HELD {
            let mut number = 0;
            self.0.retain(|_| {
                number += 1;
                number > MAX_HELD / 2 || number % 2 == 0
            });
        }
    }

    /// Forgets what is not above a path.
    fn up_to(&mut self, path: &ArchivePath) {
        while self.0.last().is_some_and(|(held, _)| !path.is_within(held)) {
            self.0.pop();
        }
    }

    /// Forgets all: something may have taken the place of a directory.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets a directory and what is in it.
    pub(super) fn forget(&mut self, path: &ArchivePath) {
        while self.0.last().is_some_and(|(held, _)| held.is_within(path)) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::stat::stat_open;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn each_handle_is_of_its_path_wherever_one_comes_from() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::File::open(dir.path()).unwrap();
        let deep = |n: usize| ArchivePath::parse("d/".repeat(n).as_bytes()).unwrap();
        fs::create_dir_all(dir.path().join(deep(300).as_path())).unwrap();
        fs::create_dir_all(dir.path().join("d/d/other/deep")).unwrap();
        let mut steps = Steps::default();
        let other = ArchivePath::parse(b"d/d/other/deep").unwrap();
        let ways: Vec<ArchivePath> =
            (1..300).map(deep).chain((1..300).rev().map(deep)).chain([other, deep(299), deep(2)]).collect();
        for path in ways {
            let handle = steps.folder(root.as_fd(), &path).unwrap();
            let expected = fs::metadata(dir.path().join(path.as_path())).unwrap().ino();
            assert_eq!(stat_open(handle.as_fd()).unwrap().inode, expected, "{path}");
            assert!(steps.0.len() <= MAX_HELD + 1);
        }
        steps.forget(&deep(1));
        assert!(steps.0.is_empty());
    }
}
