//! Whether the contents of files have their hashes: a manifest says both what a file's hash is and where its bytes are.
//!
//! Contents that are one slice of an object are hashed when that is read. All others are hashed in the order of their
//! bytes; those of one path in several weeks go side by side, so that the objects that they share are read once. What two
//! manifests say alike is looked at once.

use super::objects::Objects;
use crate::model::{ArchivePath, Extent, FileContent, HASHED_ZEROS};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

/// Bytes of memory that contents may take before they are looked at.
const WINDOW: usize = 24 << 20;
/// Contents that are remembered, so as not to look at them again when another manifest has them.
const MAX_SEEN: usize = 3_500_000;
/// Contents that are hashed side by side.
const ABREAST: usize = 64;
/// Slices in one step.
const MAX_FEEDS: usize = 64 << 10;
/// An object's number in [`Objects`], or none: a hole.
#[derive(Clone, Copy)]
struct Part {
    object: Option<u32>,
    offset: u32,
    length: u64,
}

/// A content: what is claimed of it, and where its parts are.
#[derive(Clone, Copy)]
struct Claim {
    /// Stands for hash and parts.
    claim: u64,
    /// Stands for the hash.
    hash: u64,
    first: u32,
    parts: u32,
    /// Its place among those that are hashed in the order of their bytes; stands for its path until that is known.
    order: u64,
}

/// What was found of contents so far.
#[derive(Default)]
pub(super) struct Found {
    /// Claims that are not true.
    pub(super) wrong: HashSet<u64>,
    /// Contents that are not looked at: they would cost out of proportion to the store.
    pub(super) too_much: u64,
    /// Contents of more zeros than are hashed.
    pub(super) too_sparse: u64,
}

/// Contents that wait to be looked at.
#[derive(Default)]
pub(super) struct Contents {
    salt: RandomState,
    seen: HashSet<u64>,
    parts: Vec<Part>,
    claims: Vec<Claim>,
    zeros: u64,
    hashed: u64,
    again: u64,
    pub(super) found: Found,
}

impl Contents {
    /// What stands for a content; rows are those of its manifest's table, `numbers` their objects.
    pub(super) fn claim(&self, content: &FileContent, numbers: &[u32]) -> u64 {
        let part = |extent: &Extent| match *extent {
            Extent::Hole { length } => (None, 0, length),
            Extent::Slice { object, offset, length } => (numbers.get(object as usize), offset, length.into()),
        };
        let parts = content.extents.iter().map(part);
        let mut hasher = self.salt.build_hasher();
        std::hash::Hash::hash(&content.hash, &mut hasher);
        parts.for_each(|part| std::hash::Hash::hash(&part, &mut hasher));
        std::hash::Hasher::finish(&hasher)
    }

    /// Adds a content of a manifest. True where it is time to look at those that came together.
    pub(super) fn add(
        &mut self,
        path: (&crate::model::PvcName, &ArchivePath),
        content: &FileContent,
        numbers: &[u32],
        objects: &Objects,
    ) -> bool {
        let claim = self.claim(content, numbers);
        if self.seen.len() < MAX_SEEN && !self.seen.insert(claim) {
            return false;
        }
        let number = |row: u32| numbers.get(row as usize).copied();
        match *content.extents.as_slice() {
            [] => {
                self.judge(claim, *blake3::hash(&[]).as_bytes() == content.hash.0);
                return false;
            }
            // All of a chunk: its name is its hash.
            [Extent::Slice { object, offset: 0, length }]
                if number(object)
                    .and_then(|n| objects.get(n))
                    .is_some_and(|o| o.id.sum().is_none() && o.chunk_length == length) =>
            {
                let id = number(object).and_then(|n| objects.get(n)).map(|o| o.id);
                self.judge(claim, id.is_some_and(|id| id.chunk().0 == content.hash.0));
                return false;
            }
            _ => {}
        }
        let holes = content.extents.iter().filter(|e| matches!(e, Extent::Hole { .. }));
        let zeros = holes.map(Extent::length).fold(0, u64::saturating_add);
        if zeros > HASHED_ZEROS.saturating_sub(self.zeros) {
            self.found.too_sparse += 1;
            return false;
        }
        self.zeros += zeros;
        if zeros == content.size {
            let mut hasher = blake3::Hasher::new();
            hash_zeros(&mut hasher, zeros);
            self.judge(claim, *hasher.finalize().as_bytes() == content.hash.0);
            return false;
        }
        self.hashed = self.hashed.saturating_add(content.size - zeros);
        if self.hashed > objects.affordable() {
            self.found.too_much += 1;
            return false;
        }
        let first = self.parts.len() as u32;
        let part = |extent: &Extent| match *extent {
            Extent::Hole { length } => Part { object: None, offset: 0, length },
            Extent::Slice { object, offset, length } => {
                Part { object: number(object), offset, length: length.into() }
            }
        };
        self.parts.extend(content.extents.iter().map(part));
        let (hash, order) = (self.salt.hash_one(content.hash), self.salt.hash_one(path));
        let parts = content.extents.len() as u32;
        self.claims.push(Claim { claim, hash, first, parts, order });
        self.parts.len() * size_of::<Part>() + self.claims.len() * size_of::<Claim>() >= WINDOW
    }

    /// Whether a content is not as its manifest claims.
    pub(super) fn is_wrong(&self, content: &FileContent, numbers: &[u32]) -> bool {
        !self.found.wrong.is_empty() && self.found.wrong.contains(&self.claim(content, numbers))
    }

    fn judge(&mut self, claim: u64, is_true: bool) {
        if !is_true {
            self.found.wrong.insert(claim);
        }
    }

    /// Makes a plan for what came together, and forgets it.
    pub(super) fn plan(&mut self) -> Plan {
        let (parts, claims) = (std::mem::take(&mut self.parts), std::mem::take(&mut self.claims));
        let (mut single, mut longer): (Vec<_>, Vec<_>) = claims.into_iter().partition(|c| c.parts == 1);
        let object = |claim: &Claim| parts.get(claim.first as usize).and_then(|part| part.object);
        single.sort_unstable_by_key(object);
        // In the order in which paths were met first: files that lie in one object come together as well.
        let mut paths = HashMap::new();
        for claim in &mut longer {
            let next = paths.len() as u64;
            claim.order = *paths.entry(claim.order).or_insert(next);
        }
        longer.sort_by_key(|claim| claim.order);
        Plan { parts, single, longer, salt: self.salt.clone() }
    }

    /// Where to begin with a plan.
    pub(super) fn order(&self) -> Order {
        let slots = (0..ABREAST as u32).rev().collect();
        Order { next: 0, running: Vec::new(), slots, again: self.again, too_much: 0 }
    }

    /// Takes account of what a plan came to.
    pub(super) fn account(&mut self, order: &Order, wrong: impl IntoIterator<Item = u64>) {
        self.again = order.again;
        self.found.too_much += order.too_much;
        self.found.wrong.extend(wrong);
    }
}

/// A content that is being hashed.
struct Running {
    /// Its number among the longer ones.
    claim: usize,
    slot: u32,
    /// The next part, and where the next slice is.
    part: usize,
    slice: usize,
    end: usize,
    at: u64,
}

/// Contents that are looked at together.
pub(super) struct Plan {
    parts: Vec<Part>,
    /// Contents of one slice, by object.
    single: Vec<Claim>,
    longer: Vec<Claim>,
    salt: RandomState,
}

/// How far a plan is carried out.
pub(super) struct Order {
    next: usize,
    running: Vec<Running>,
    /// Free places for hashers.
    slots: Vec<u32>,
    /// Bytes of chunks that are decompressed though they were before.
    again: u64,
    too_much: u64,
}

/// What to do with a hasher, in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed {
    Slice {
        slot: u32,
        offset: u32,
        length: u32,
    },
    Zeros {
        slot: u32,
        length: u64,
    },
    /// The content is whole: its hash is what stands for it here.
    End {
        slot: u32,
        claim: u64,
        hash: u64,
    },
}

impl Plan {
    /// Hashers that are at work at once.
    pub(super) const SLOTS: usize = ABREAST;

    /// The objects that contents of one slice need, each with those contents.
    pub(super) fn singles(&self) -> HashMap<u32, Range<usize>> {
        let mut ranges = HashMap::<u32, Range<usize>>::new();
        for (number, claim) in self.single.iter().enumerate() {
            if let Some(object) = self.parts.get(claim.first as usize).and_then(|part| part.object) {
                ranges.entry(object).or_insert(number..number).end = number + 1;
            }
        }
        ranges
    }

    /// Those of some contents of one slice of `chunk` that have another hash than is claimed.
    pub(super) fn wrong_in(&self, chunk: &[u8], contents: Range<usize>) -> Vec<u64> {
        let wrong = |claim: &&Claim| {
            let part = self.parts.get(claim.first as usize);
            let bytes = part.and_then(|part| slice(chunk, part.offset, part.length as u32));
            bytes.is_none_or(|bytes| !self.has_hash(blake3::hash(bytes), claim.hash))
        };
        self.single.get(contents).unwrap_or_default().iter().filter(wrong).map(|claim| claim.claim).collect()
    }

    /// Whether a hash is what stands for it here.
    pub(super) fn has_hash(&self, found: blake3::Hash, hash: u64) -> bool {
        self.salt.hash_one(crate::model::ContentHash::from(found)) == hash
    }
}

impl Order {
    /// The next object to read for contents of more than one slice. `was_read` tells whether an object was.
    pub(super) fn step(
        &mut self,
        plan: &Plan,
        objects: &Objects,
        was_read: impl Fn(u32) -> bool,
    ) -> Option<(u32, Vec<Feed>)> {
        while self.running.len() < ABREAST
            && let Some(claim) = plan.longer.get(self.next)
            && let Some(slot) = self.slots.pop()
        {
            let (part, end) = (claim.first as usize, (claim.first + claim.parts) as usize);
            let slice = next_slice(&plan.parts, part, end);
            self.running.push(Running { claim: self.next, slot, part, slice, end, at: 0 });
            self.next += 1;
        }
        let order = |running: &Running| plan.longer.get(running.claim).map(|claim| claim.order);
        let first = order(self.running.first()?);
        let behind = self.running.iter().filter(|r| order(r) == first).min_by_key(|r| r.at)?;
        let object = plan.parts.get(behind.slice)?.object?;
        if was_read(object) {
            self.again += objects.get(object).map_or(0, |o| u64::from(o.chunk_length));
            if self.again > objects.affordable() {
                self.too_much += (self.running.len() + plan.longer.len() - self.next) as u64;
                self.running.clear();
                self.next = plan.longer.len();
                return None;
            }
        }
        let mut feeds = Vec::new();
        let (parts, longer, slots) = (&plan.parts, &plan.longer, &mut self.slots);
        self.running.retain_mut(|running| {
            let wants = |r: &Running| parts.get(r.slice).is_some_and(|p| p.object == Some(object));
            while running.slice < running.end && wants(running) && feeds.len() < MAX_FEEDS {
                let slice = running.slice;
                running.slice = next_slice(parts, slice + 1, running.end);
                // Holes behind the last slice belong to it.
                let until = if running.slice == running.end { running.end } else { slice + 1 };
                for part in parts.get(running.part..until).unwrap_or_default() {
                    let slot = running.slot;
                    feeds.push(match part.object {
                        None => Feed::Zeros { slot, length: part.length },
                        Some(_) => Feed::Slice { slot, offset: part.offset, length: part.length as u32 },
                    });
                    running.at += part.length;
                }
                running.part = until;
            }
            if running.slice < running.end {
                return true;
            }
            if let Some(claim) = longer.get(running.claim) {
                feeds.push(Feed::End { slot: running.slot, claim: claim.claim, hash: claim.hash });
            }
            slots.push(running.slot);
            false
        });
        Some((object, feeds))
    }
}

/// The first part from `from` on that is no hole.
fn next_slice(parts: &[Part], from: usize, end: usize) -> usize {
    let rest = parts.get(from..end).unwrap_or_default();
    rest.iter().position(|part| part.object.is_some()).map_or(end, |at| from + at)
}

/// A slice of a chunk, where it is within it.
pub(super) fn slice(chunk: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    chunk.get(offset as usize..)?.get(..length as usize)
}

/// Hashes so many zeros.
pub(super) fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    const ZEROS: &[u8] = &[0; 64 << 10];
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        hasher.update(ZEROS.get(..part as usize).unwrap_or(ZEROS));
        length -= part;
    }
}
