//! A dry run: what there is to read, told without reading it.

use crate::model::{NodeKind, Observer, PvcName};
use crate::tree::{Found, SourceRoot, Walk, WalkOptions, Walked};
use std::collections::HashMap;
use std::path::Path;

/// What a walk of a copy showed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Surveyed {
    /// Regular files; names of one inode counted once.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Files whose inode the copy before has not.
    pub new: u64,
    /// Sum of their sizes.
    pub new_bytes: u64,
    /// Paths that could not be looked at.
    pub unreadable: u64,
}

/// Inodes of the last copy of each pvc, sorted: 8 bytes of memory a file.
#[derive(Default)]
pub(super) struct Surveying(HashMap<PvcName, Vec<u64>>);

impl Surveying {
    pub(super) fn survey(
        &mut self,
        pvc: &PvcName,
        path: &Path,
        options: &WalkOptions,
        observer: &dyn Observer,
    ) -> Surveyed {
        let mut surveyed = Surveyed::default();
        let mut files = Vec::new();
        let root = match SourceRoot::open(path) {
            Ok(root) => root,
            Err(error) => {
                observer.problem(&(&error).into());
                return Surveyed { unreadable: 1, ..surveyed };
            }
        };
        for walked in Walk::new(&root, options.clone()) {
            if observer.cancelled() {
                break;
            }
            match walked {
                Walked::Found(Found { stat, .. }) => {
                    observer.counters().entries.add(1);
                    if stat.kind == NodeKind::File {
                        files.push((stat.inode, stat.size));
                    }
                }
                Walked::Problem(problem) => {
                    observer.problem(&problem);
                    surveyed.unreadable += 1;
                }
                Walked::Skipped(..) | Walked::LeftOut(_) | Walked::Vanished(_) => {}
            }
        }
        files.sort_unstable();
        files.dedup();
        let before = self.0.remove(pvc).unwrap_or_default();
        for (inode, size) in &files {
            let is_new = before.binary_search(inode).is_err();
            surveyed.files += 1;
            surveyed.bytes += size;
            surveyed.new += u64::from(is_new);
            surveyed.new_bytes += if is_new { *size } else { 0 };
        }
        self.0.insert(pvc.clone(), files.into_iter().map(|(inode, _)| inode).collect());
        surveyed
    }
}
