//! Copies of a source in a farm: most of their files have names in other copies too, and few have two in one.

use super::previous::{InodeIndex, Previous};
use crate::archive::ArchiveError;
use crate::data::{Change, Compare};
use crate::model::{Entry, Kind, NodeKind, Observer, Stat};
use crate::tree::{Found, Walked};
use std::collections::HashSet;

/// What is known of a copy before it is scanned.
pub(super) struct Copy<'a> {
    linked: Linked,
    /// Files of the copy before.
    inodes: Option<InodeIndex<'a>>,
}

impl<'a> Copy<'a> {
    /// Walks the copy once, for its links.
    pub(super) fn look(
        walk: impl Iterator<Item = Walked>,
        previous: Option<&'a Previous>,
        observer: &dyn Observer,
    ) -> Self {
        Self { linked: Linked::of(walk, observer), inodes: previous.map(InodeIndex::new) }
    }

    /// Whether an inode has several names in the copy.
    pub(super) fn has_links(&self, stat: &Stat) -> bool {
        self.linked.0.contains(&key(stat))
    }

    /// What the copy before had as another name of the very same file, if nothing at all has happened to that since.
    pub(super) fn same_inode(
        &mut self,
        found: &Found,
        before: Option<&Entry>,
        compare: &Compare,
    ) -> Result<Option<Entry>, ArchiveError> {
        let stat = &found.stat;
        let is_same = |entry: &Entry| matches!(entry.kind, Kind::File(_)) && entry.meta.inode == stat.inode;
        if stat.kind != NodeKind::File || stat.links < 2 || before.is_some_and(is_same) {
            return Ok(None);
        }
        let Some(inodes) = &mut self.inodes else { return Ok(None) };
        let same = inodes.find(stat.inode, |entry| compare.change(entry, stat) == Change::None)?;
        let (depth, name) = (found.path.depth(), found.path.file_name());
        Ok(same.map(|entry| Entry { depth, name, ..entry }))
    }
}

/// Inodes that have several names in a copy, by their keys.
struct Linked(HashSet<u64>);

/// Paths between two questions whether to stop.
const STEP: usize = 1024;

impl Linked {
    /// Takes 8 bytes of memory a file while it looks.
    fn of(walk: impl Iterator<Item = Walked>, observer: &dyn Observer) -> Self {
        let mut met = Vec::new();
        for (number, walked) in walk.enumerate() {
            // Whoever scans the copy next is told to stop too.
            if number % STEP == 0 && observer.cancelled() {
                break;
            }
            if let Walked::Found(Found { stat, .. }) = walked
                && stat.links > 1
                && stat.kind != NodeKind::Directory
            {
                met.push(key(&stat));
            }
        }
        met.sort_unstable();
        let several = met.chunk_by(|a, b| a == b).filter(|same| same.len() > 1);
        Self(several.filter_map(|same| same.first().copied()).collect())
    }
}

/// Two inodes of one key only cost the memory for links that there are not.
fn key(stat: &Stat) -> u64 {
    stat.inode ^ stat.device.rotate_left(32)
}
