//! Folders that are not there, on the way to something that is to be restored.

use crate::model::ArchivePath;

/// Folders above the current entry that are not selected and not there. Each is in the one before, so that the deepest
/// tells of all: a path for each level would be too much of a tree that is all depth.
#[derive(Default)]
pub(super) struct MissingFolders {
    deepest: ArchivePath,
    /// Depth of the outermost; 0 where there are none.
    first: u32,
}

impl MissingFolders {
    /// Forgets those that `path` is not in.
    pub(super) fn enter(&mut self, path: &ArchivePath) {
        while self.first > 0 && !path.is_within(&self.deepest) {
            self.deepest = self.deepest.parent().unwrap_or_default();
            if self.deepest.depth() < self.first {
                self.first = 0;
            }
        }
    }

    /// Adds a folder that the current entry is.
    pub(super) fn push(&mut self, path: ArchivePath) {
        if self.first == 0 {
            self.first = path.depth();
        }
        self.deepest = path;
    }

    /// Takes them all, each after the one that it is in.
    pub(super) fn take(&mut self) -> impl Iterator<Item = ArchivePath> + use<> {
        let Self { deepest, first } = std::mem::take(self);
        let bytes = deepest.as_bytes().to_vec();
        let mut ends: Vec<usize> = (0..bytes.len()).filter(|&i| bytes.get(i) == Some(&b'/')).collect();
        ends.push(bytes.len());
        let outer = if first == 0 { ends.len() } else { first as usize - 1 };
        ends.into_iter().skip(outer).filter_map(move |end| ArchivePath::parse(bytes.get(..end)?).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_tells_of_all() {
        let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap();
        let mut missing = MissingFolders::default();
        assert_eq!(missing.take().count(), 0);
        for (entered, pushed) in [("a/b", true), ("a/b/c", true), ("a/b/c/d", true), ("a/b/e", false)] {
            missing.enter(&path(entered));
            if pushed {
                missing.push(path(entered));
            }
        }
        assert_eq!(missing.take().collect::<Vec<_>>(), [path("a/b")]);
        missing.push(path("x"));
        missing.push(path("x/y"));
        missing.enter(&path("x/y/z"));
        assert_eq!(missing.take().collect::<Vec<_>>(), [path("x"), path("x/y")]);
        missing.push(path("x"));
        missing.enter(&path("y"));
        assert_eq!(missing.take().count(), 0);
    }
}
