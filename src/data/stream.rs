//! The content stream: the bytes of all files that are read in a run, end to end, cut into chunks.

use super::cut::{CutKey, CutSizes, Cutter};
use std::collections::VecDeque;

/// A piece of the content stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Counts the chunks of one stream from 0.
    pub number: u32,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A slice of a chunk of the stream, or a hole: what a file's content becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamExtent {
    /// `length` bytes at `offset` of chunk `chunk`.
    Slice {
        /// The chunk's number.
        chunk: u32,
        /// First byte in the chunk.
        offset: u32,
        /// Bytes.
        length: u32,
    },
    /// Zeros that are stored nowhere.
    Hole {
        /// Bytes.
        length: u64,
    },
}

/// Where a file's content is in the stream: ranges of positions, and holes, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ranges(Vec<Range>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Range {
    Data { start: u64, end: u64 },
    Hole { length: u64 },
}

impl Ranges {
    /// Adds the bytes from `start` to `end` of the stream.
    pub fn data(&mut self, start: u64, end: u64) {
        match self.0.last_mut() {
            Some(Range::Data { end: last, .. }) if *last == start => *last = end,
            _ if start == end => {}
            _ => self.0.push(Range::Data { start, end }),
        }
    }

    /// Adds zeros.
    pub fn hole(&mut self, length: u64) {
        match self.0.last_mut() {
            Some(Range::Hole { length: last }) => *last += length,
            _ => self.0.push(Range::Hole { length }),
        }
    }

    /// Where the last byte in the stream ends; 0 without any.
    fn end(&self) -> u64 {
        let ends = self.0.iter().rev().map(|r| match r {
            Range::Data { end, .. } => *end,
            Range::Hole { .. } => 0,
        });
        ends.max().unwrap_or(0)
    }
}

/// What comes out of the stream, in order: a chunk before everything that needs it.
#[derive(Debug)]
pub enum Cut<T> {
    /// The next chunk.
    Chunk(Chunk),
    /// An item, with the extents of its content if it was given ranges.
    Item(T, Option<Vec<StreamExtent>>),
}

/// A chunk that was cut and that waiting items may still need.
#[derive(Clone, Copy)]
struct Placed {
    number: u32,
    start: u64,
    end: u64,
}

/// Joins contents, cuts them, and gives each item its extents once its last chunk is cut.
///
/// `T` is carried along. Items come out in the order in which they went in, each after the chunks it needs.
pub struct ContentStream<'a, T> {
    /// Where the memory for a chunk comes from; it is empty, and best of the largest chunk's capacity.
    spare: &'a dyn Fn() -> Vec<u8>,
    cutter: Cutter<'a>,
    /// What has not been cut yet: at most one chunk.
    buffer: Vec<u8>,
    /// So far there is no place to cut in the buffer.
    searched: usize,
    /// Once the buffer is as long, a place to cut is looked for.
    look_at: usize,
    /// Where the first uncut byte is in the stream.
    position: u64,
    next: u32,
    chunks: VecDeque<Placed>,
    waiting: VecDeque<(T, Option<Ranges>)>,
}

/// So many items wait for the current chunk at most; then it is cut, so that memory stays bounded.
const MAX_WAITING: usize = 32 << 10;

/// A place to cut is looked for each time that so many bytes have come: while they are in the processor's cache, and
/// before many come behind it, which are moved to the next buffer.
const LOOK: usize = 128 << 10;

impl<'a, T> ContentStream<'a, T> {
    /// An empty stream, which a sealed store cuts by its key. `spare` gives the empty vectors that become chunks.
    pub fn new(sizes: CutSizes, key: Option<&'a CutKey>, spare: &'a dyn Fn() -> Vec<u8>) -> Self {
        Self {
            spare,
            cutter: Cutter::new(sizes, key),
            buffer: Vec::new(),
            searched: 0,
            look_at: LOOK.min(sizes.max),
            position: 0,
            next: 0,
            chunks: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The position where the next byte will be.
    pub fn position(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    /// Appends bytes; what can be cut is handed to `out`.
    pub fn append<E>(
        &mut self,
        mut bytes: &[u8],
        out: &mut impl FnMut(Cut<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer = (self.spare)();
            }
            let room = self.look_at.saturating_sub(self.buffer.len());
            let (step, rest) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(step);
            bytes = rest;
            if self.buffer.len() >= self.look_at {
                let max = self.cutter.sizes().max;
                match self.place_to_cut() {
                    Some(length) => self.cut_at(length, out)?,
                    None if self.buffer.len() >= max => self.cut_at(max, out)?,
                    None => self.look_at = (self.look_at + LOOK).min(max),
                }
            }
        }
        Ok(())
    }

    /// Adds an item, whose content (if any) has been appended at `ranges`.
    pub fn item<E>(
        &mut self,
        item: T,
        ranges: Option<Ranges>,
        out: &mut impl FnMut(Cut<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.waiting.push_back((item, ranges));
        if self.waiting.len() > MAX_WAITING { self.cut_here(out) } else { self.release(out) }
    }

    /// Ends the current chunk: what follows begins a new one.
    pub fn cut_here<E>(&mut self, out: &mut impl FnMut(Cut<T>) -> Result<(), E>) -> Result<(), E> {
        while !self.buffer.is_empty() {
            let length = self.place_to_cut().unwrap_or(self.buffer.len());
            self.cut_at(length, out)?;
        }
        self.release(out)
    }

    /// The length of the next chunk, if the buffer has a place to cut.
    fn place_to_cut(&mut self) -> Option<usize> {
        let found = self.cutter.first(&self.buffer, self.searched);
        self.searched = self.buffer.len() & !1;
        found
    }

    fn cut_at<E>(&mut self, length: usize, out: &mut impl FnMut(Cut<T>) -> Result<(), E>) -> Result<(), E> {
        self.look_at = LOOK.min(self.cutter.sizes().max);
        self.searched = 0;
        // The buffer becomes the chunk; what is behind the cut moves to the next.
        let mut rest = Vec::new();
        if length < self.buffer.len() {
            rest = (self.spare)();
            rest.extend_from_slice(self.buffer.get(length..).unwrap_or_default());
            self.buffer.truncate(length);
        }
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let chunk = Chunk { number: self.next, bytes };
        let end = self.position + length as u64;
        self.chunks.push_back(Placed { number: self.next, start: self.position, end });
        self.next += 1;
        self.position = end;
        out(Cut::Chunk(chunk))?;
        self.release(out)
    }

    /// Hands out the items whose content is wholly cut.
    fn release<E>(&mut self, out: &mut impl FnMut(Cut<T>) -> Result<(), E>) -> Result<(), E> {
        while let Some((_, ranges)) = self.waiting.front() {
            if ranges.as_ref().is_some_and(|r| r.end() > self.position) {
                return Ok(());
            }
            if let Some((item, ranges)) = self.waiting.pop_front() {
                let extents = ranges.map(|r| self.extents(&r));
                out(Cut::Item(item, extents))?;
            }
        }
        // Chunks are needed by waiting items and by a content that is being appended, which began after the last
        // item: while one streams in, its ranges keep growing at the end only.
        Ok(())
    }

    /// Forgets the chunks before `position`: no item that comes later has content there.
    pub fn forget_before(&mut self, position: u64) {
        let first = self.waiting.iter().find_map(|(_, r)| {
            r.as_ref()?.0.iter().find_map(|r| match r {
                Range::Data { start, .. } => Some(*start),
                Range::Hole { .. } => None,
            })
        });
        let position = first.map_or(position, |first| first.min(position));
        while self.chunks.front().is_some_and(|c| c.end <= position) {
            self.chunks.pop_front();
        }
    }

    fn extents(&self, ranges: &Ranges) -> Vec<StreamExtent> {
        let mut extents = Vec::with_capacity(ranges.0.len());
        for range in &ranges.0 {
            match *range {
                Range::Hole { length } => extents.push(StreamExtent::Hole { length }),
                Range::Data { start, end } => {
                    let first = self.chunks.partition_point(|c| c.end <= start);
                    for chunk in self.chunks.range(first..).take_while(|c| c.start < end) {
                        let from = start.max(chunk.start);
                        extents.push(StreamExtent::Slice {
                            chunk: chunk.number,
                            offset: (from - chunk.start) as u32,
                            length: (end.min(chunk.end) - from) as u32,
                        });
                    }
                }
            }
        }
        extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZES: CutSizes = CutSizes { min: 64, avg: 256, max: 1024 };

    fn run(files: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<Vec<StreamExtent>>) {
        let (mut chunks, mut extents) = (Vec::new(), Vec::new());
        let mut stream = ContentStream::new(SIZES, None, &Vec::new);
        let mut out = |cut: Cut<usize>| {
            match cut {
                Cut::Chunk(chunk) => {
                    assert_eq!(chunk.number as usize, chunks.len());
                    assert!(chunk.bytes.len() <= SIZES.max);
                    chunks.push(chunk.bytes);
                }
                Cut::Item(number, e) => {
                    assert_eq!(number, extents.len(), "items keep their order");
                    extents.push(e.unwrap());
                }
            }
            Ok::<_, ()>(())
        };
        for (number, file) in files.iter().enumerate() {
            stream.forget_before(stream.position());
            let large = file.len() >= SIZES.max;
            if large {
                stream.cut_here(&mut out).unwrap();
            }
            let mut ranges = Ranges::default();
            for part in file.chunks(700) {
                let start = stream.position();
                stream.append(part, &mut out).unwrap();
                ranges.data(start, stream.position());
            }
            stream.item(number, Some(ranges), &mut out).unwrap();
            if large {
                stream.cut_here(&mut out).unwrap();
            }
        }
        stream.cut_here(&mut out).unwrap();
        (chunks, extents)
    }

    fn content(chunks: &[Vec<u8>], extents: &[StreamExtent]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for extent in extents {
            let StreamExtent::Slice { chunk, offset, length } = *extent else { panic!("{extent:?}") };
            bytes.extend_from_slice(&chunks[chunk as usize][offset as usize..(offset + length) as usize]);
        }
        bytes
    }

    proptest! {
        #[test]
        fn every_file_is_its_extents(seed in prop::collection::vec((any::<u8>(), 0..5000usize), 0..20)) {
            let files: Vec<Vec<u8>> = seed.iter().map(|&(s, n)| noise(s, n)).collect();
            let (chunks, extents) = run(&files);
            prop_assert_eq!(extents.len(), files.len());
            for (file, extents) in files.iter().zip(&extents) {
                prop_assert_eq!(&content(&chunks, extents), file);
            }
        }
    }

    fn noise(seed: u8, length: usize) -> Vec<u8> {
        let mut x = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
        let next = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn a_large_file_is_cut_alike_whatever_its_neighbours() {
        let large = noise(1, 20_000);
        let (alone, _) = run(std::slice::from_ref(&large));
        let (among, _) = run(&[noise(2, 777), large, noise(3, 99)]);
        assert!(alone.len() > 10);
        assert!(alone.iter().all(|c| among.contains(c)));
    }

    #[test]
    fn many_items_do_not_wait_for_ever() {
        let mut stream = ContentStream::new(SIZES, None, &Vec::new);
        let mut seen = 0;
        let mut out = |cut: Cut<usize>| {
            seen += usize::from(matches!(cut, Cut::Item(..)));
            Ok::<_, ()>(())
        };
        stream.append(b"x", &mut out).unwrap();
        let mut ranges = Ranges::default();
        ranges.data(0, 1);
        stream.item(0, Some(ranges), &mut out).unwrap();
        for i in 0..MAX_WAITING {
            stream.item(i, None, &mut out).unwrap();
        }
        assert_eq!(seen, MAX_WAITING + 1);
    }
}
