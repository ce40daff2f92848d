//! Which slices of which objects make the files that are to be written.

use crate::model::Extent;
use std::collections::BTreeMap;

/// A slice of an object and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placement {
    /// Number of the file in its window.
    pub file: u32,
    /// First byte in the file.
    pub at: u64,
    /// First byte in the chunk.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

/// Files that are written together, with their slices gathered by object, so that each object is fetched once.
///
/// A window bounds the memory of a restore, whatever the tree's size; objects that two windows share are fetched
/// for each of them.
#[derive(Default, Debug)]
pub struct Window {
    files: u32,
    slices: usize,
    objects: BTreeMap<u32, Vec<Placement>>,
}

/// So many slices make a window full.
const MAX_SLICES: usize = 64 << 10;

impl Window {
    /// Adds a file and returns its number, which counts from 0, and how many slices make it (none for an empty one).
    pub fn add(&mut self, extents: &[Extent]) -> (u32, u32) {
        let file = self.files;
        let (mut at, mut slices) = (0, 0);
        for extent in extents {
            if let Extent::Slice { object, offset, length } = *extent {
                self.objects.entry(object).or_default().push(Placement { file, at, offset, length });
                slices += 1;
            }
            at += extent.length();
        }
        self.files += 1;
        self.slices += slices as usize + 1;
        (file, slices)
    }

    /// Whether it is time to write what is in the window.
    pub fn is_full(&self) -> bool {
        self.slices >= MAX_SLICES
    }

    /// The objects by row of the object table, each with its slices; leaves the window empty.
    pub fn take(&mut self) -> Vec<(u32, Vec<Placement>)> {
        let window = std::mem::take(self);
        window.objects.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gathers_by_object() {
        let slice = |object, offset, length| Extent::Slice { object, offset, length };
        let mut window = Window::default();
        assert_eq!(window.add(&[slice(1, 0, 10), Extent::Hole { length: 5 }, slice(0, 3, 4)]), (0, 2));
        assert_eq!(window.add(&[]), (1, 0));
        assert_eq!(window.add(&[slice(1, 10, 1)]), (2, 1));
        let place = |file, at, offset, length| Placement { file, at, offset, length };
        let expected = vec![(0, vec![place(0, 15, 3, 4)]), (1, vec![place(0, 0, 0, 10), place(2, 0, 10, 1)])];
        assert_eq!(window.take(), expected);
        assert!(window.take().is_empty());
    }
}
