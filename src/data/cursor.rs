//! Merging two sequences that are sorted by path.

use crate::model::ArchivePath;
use std::cmp::Ordering;

/// Walks along one sorted sequence while another one leads: no map of paths in memory.
pub struct Cursor<T, I> {
    rest: I,
    next: Option<(ArchivePath, T)>,
}

impl<T, E, I: Iterator<Item = Result<(ArchivePath, T), E>>> Cursor<T, I> {
    /// A cursor at the start of `sequence`.
    ///
    /// # Errors
    /// What the sequence's first item is, if it is an error.
    pub fn new(mut sequence: I) -> Result<Self, E> {
        let next = sequence.next().transpose()?;
        Ok(Self { rest: sequence, next })
    }

    /// Moves up to `path` and takes the item there, if there is one. Items passed by are handed to `passed`.
    ///
    /// Paths must be asked for in ascending order.
    ///
    /// # Errors
    /// What the sequence yields.
    pub fn take(
        &mut self,
        path: &ArchivePath,
        mut passed: impl FnMut(ArchivePath, T) -> Result<(), E>,
    ) -> Result<Option<T>, E> {
        while let Some((at, item)) = self.next.take() {
            match at.cmp(path) {
                Ordering::Less => {
                    self.next = self.rest.next().transpose()?;
                    passed(at, item)?;
                }
                Ordering::Equal => {
                    self.next = self.rest.next().transpose()?;
                    return Ok(Some(item));
                }
                Ordering::Greater => {
                    self.next = Some((at, item));
                    break;
                }
            }
        }
        Ok(None)
    }

    /// Hands all that is left to `passed`.
    ///
    /// # Errors
    /// What the sequence yields.
    pub fn finish(mut self, mut passed: impl FnMut(ArchivePath, T) -> Result<(), E>) -> Result<(), E> {
        while let Some((at, item)) = self.next.take() {
            self.next = self.rest.next().transpose()?;
            passed(at, item)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges() {
        let path = |s: &str| ArchivePath::parse(s.as_bytes()).unwrap();
        let items = ["a", "a/x", "b", "d"].map(|p| Ok::<_, ()>((path(p), p)));
        let mut cursor = Cursor::new(items.into_iter()).unwrap();
        let mut passed = Vec::new();
        let mut take = |cursor: &mut Cursor<_, _>, p: &str| {
            cursor.take(&path(p), |_, item| {
                passed.push(item);
                Ok(())
            })
        };
        assert_eq!(take(&mut cursor, "a").unwrap(), Some("a"));
        assert_eq!(take(&mut cursor, "a.txt").unwrap(), None);
        assert_eq!(take(&mut cursor, "b").unwrap(), Some("b"));
        assert_eq!(take(&mut cursor, "c").unwrap(), None);
        let mut rest = Vec::new();
        let mut keep = |_, item| {
            rest.push(item);
            Ok(())
        };
        cursor.finish(&mut keep).unwrap();
        assert_eq!((passed, rest), (vec!["a/x"], vec!["d"]));
    }
}
