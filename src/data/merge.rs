//! Two sequences that are sorted by path, side by side: no map of paths in memory.

use crate::model::ArchivePath;
use std::cmp::Ordering;
use std::iter::Peekable;

/// What one or both of two sequences have at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Merged<L, R> {
    /// Only the left one has it.
    Left(L),
    /// Only the right one has it.
    Right(R),
    /// Both have it.
    Both(L, R),
}

/// Something that stands at a path.
pub trait Placed {
    /// The path.
    fn path(&self) -> &ArchivePath;
}

impl<T> Placed for (ArchivePath, T) {
    fn path(&self) -> &ArchivePath {
        &self.0
    }
}

/// Merges two sequences. Each item of either comes once, in the order of the paths; an error comes as soon as it is met.
pub struct Merge<I: Iterator, J: Iterator> {
    left: Peekable<I>,
    right: Peekable<J>,
}

impl<I: Iterator, J: Iterator> Merge<I, J> {
    /// Two sequences that are sorted by path. Several items of one sequence may have one path; the first of them meets what
    /// the other has there.
    pub fn new(left: impl IntoIterator<IntoIter = I>, right: impl IntoIterator<IntoIter = J>) -> Self {
        Self { left: left.into_iter().peekable(), right: right.into_iter().peekable() }
    }
}

impl<L: Placed, R: Placed, E, I, J> Iterator for Merge<I, J>
where
    I: Iterator<Item = Result<L, E>>,
    J: Iterator<Item = Result<R, E>>,
{
    type Item = Result<Merged<L, R>, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.left.peek(), self.right.peek()) {
            (Some(Ok(left)), Some(Ok(right))) => left.path().cmp(right.path()),
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        Some(match order {
            Ordering::Less => self.left.next()?.map(Merged::Left),
            Ordering::Greater => self.right.next()?.map(Merged::Right),
            Ordering::Equal => {
                let (left, right) = (self.left.next()?, self.right.next()?);
                left.and_then(|left| right.map(|right| Merged::Both(left, right)))
            }
        })
    }
}

/// A sequence that is asked for paths in their order, by who has no sequence of them.
pub struct Along<I: Iterator>(Peekable<I>);

impl<R: Placed, E, I: Iterator<Item = Result<R, E>>> Along<I> {
    /// A sequence that is sorted by path.
    pub fn new(sequence: I) -> Self {
        Self(sequence.peekable())
    }

    /// What it has at `path`, which must not come before one that was asked for earlier.
    ///
    /// # Errors
    /// What the sequence yields.
    pub fn at(&mut self, path: &ArchivePath) -> Result<Option<R>, E> {
        loop {
            let order = match self.0.peek() {
                Some(Ok(next)) => next.path().cmp(path),
                Some(Err(_)) => Ordering::Less,
                None => Ordering::Greater,
            };
            match order {
                Ordering::Less => drop(self.0.next().transpose()?),
                Ordering::Equal => return self.0.next().transpose(),
                Ordering::Greater => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(paths: &[&str]) -> impl Iterator<Item = Result<(ArchivePath, String), String>> {
        let item = |path: &&str| match path.strip_prefix('!') {
            Some(error) => Err(error.to_owned()),
            None => Ok((ArchivePath::parse(path.as_bytes()).unwrap(), (*path).to_owned())),
        };
        paths.iter().map(item).collect::<Vec<_>>().into_iter()
    }

    fn merged(left: &[&str], right: &[&str]) -> Vec<String> {
        let told = |merged| match merged {
            Ok(Merged::Left((_, path))) => format!("<{path}"),
            Ok(Merged::Right((_, path))) => format!(">{path}"),
            Ok(Merged::Both((_, left), (_, right))) => format!("{left}={right}"),
            Err(error) => format!("!{error}"),
        };
        Merge::new(items(left), items(right)).map(told).collect()
    }

    #[test]
    fn each_item_comes_once_in_order() {
        let all = merged(&["a", "b", "d"], &["a", "a/x", "c", "d", "e"]);
        assert_eq!(all, ["a=a", ">a/x", "<b", ">c", "d=d", ">e"]);
        assert_eq!(merged(&["a.txt"], &["a/b"]), [">a/b", "<a.txt"], "a separator sorts before all");
        assert_eq!(merged(&["a", "a"], &["a"]), ["a=a", "<a"]);
        assert_eq!(merged(&["a", "!wrong", "c"], &["c"]), ["<a", "!wrong", "c=c"]);
        assert_eq!(merged(&["a"], &["!wrong", "b"]), ["!wrong", "<a", ">b"]);
        assert!(merged(&[], &[]).is_empty());
    }

    #[test]
    fn a_sequence_is_asked_for_some_of_its_paths() {
        let mut along = Along::new(items(&["a", "a/x", "b", "d"]));
        let mut at =
            |path: &str| along.at(&ArchivePath::parse(path.as_bytes()).unwrap()).unwrap().map(|(_, p)| p);
        assert_eq!(at("a").as_deref(), Some("a"));
        assert_eq!(at("a.txt"), None);
        assert_eq!(at("b").as_deref(), Some("b"));
        assert_eq!(at("c"), None);
        assert_eq!(at("d").as_deref(), Some("d"));
        assert_eq!(at("e"), None);
    }
}
