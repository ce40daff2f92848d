//! Two names of a manifest that a target takes for one: it ignores case, or spells names in another way.

use crate::model::{ArchivePath, Stat};
use crate::tree::SourceError;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// What stands at the entries that were met of each directory that the walk is in: hashes alone, since a directory may have
/// a million names and a tree thousands of levels.
#[derive(Default)]
pub(super) struct Siblings {
    /// The directory that the walk is in; those above it have entries too.
    folder: ArchivePath,
    /// Of each, the length of its path, and by its entries' inodes their names.
    stack: Vec<(usize, HashMap<u64, Met>)>,
    hasher: RandomState,
}

/// A name that was met.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Met {
    name: u32,
    is_ascii: bool,
}

impl Siblings {
    /// Refuses an entry whose path leads to what a sibling's leads to already. Links of one inode are told by their number.
    pub(super) fn check(&mut self, path: &ArchivePath, stat: Option<&Stat>) -> Result<(), SourceError> {
        let (Some(parent), Some(stat)) = (path.parent(), stat) else { return Ok(()) };
        if stat.links > 1 && stat.kind != crate::model::NodeKind::Directory {
            return Ok(());
        }
        let length = parent.as_bytes().len();
        if parent != self.folder {
            let shared = shared_length(&parent, &self.folder);
            while self.stack.last().is_some_and(|(length, _)| *length > shared) {
                self.stack.pop();
            }
            self.folder = parent;
        }
        if self.stack.last().is_none_or(|(last, _)| *last != length) {
            self.stack.push((length, HashMap::new()));
        }
        let name = folded(path);
        let now = Met { name: self.hasher.hash_one(&name) as u32, is_ascii: name.is_ascii() };
        let inode = self.hasher.hash_one((stat.device, stat.inode));
        let met = self.stack.last_mut().and_then(|(_, met)| met.insert(inode, now));
        // Some file systems give one number to several files, whose names then have nothing in common.
        if met.is_none_or(|met| met != now && met.is_ascii && now.is_ascii) {
            return Ok(());
        }
        let error = "another name of the tree is this very file here: does the target ignore case, or spell names in \
                     another way? The other one stays; restore this one elsewhere with --path and --target";
        Err(SourceError::new(path, "restore", std::io::Error::other(error)))
    }
}

/// Bytes of the path of the deepest directory that both are in.
fn shared_length(a: &ArchivePath, b: &ArchivePath) -> usize {
    let (left, right) = (a.as_bytes(), b.as_bytes());
    if a.is_within(b) || b.is_within(a) {
        return left.len().min(right.len());
    }
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    left.get(..same).and_then(|same| same.iter().rposition(|&byte| byte == b'/')).unwrap_or(0)
}

/// A name without what some file systems do not tell apart: case, and dots and blanks at its end.
fn folded(path: &ArchivePath) -> String {
    let name = path.file_name().map(|name| String::from_utf8_lossy(name.as_bytes()).to_lowercase());
    name.unwrap_or_default().trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_directory_of_both() {
        for (a, b, length) in [
            ("a/b/c", "a/b/d/e", 3),
            ("a/b", "a/b/c", 3),
            ("a/b/c", "a/b", 3),
            ("ab/c", "abc/c", 0),
            ("x/ab/c", "x/abc/c", 1),
            ("", "a", 0),
            ("a", "b", 0),
        ] {
            let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap();
            assert_eq!(shared_length(&path(a), &path(b)), length, "{a} {b}");
        }
    }
}
