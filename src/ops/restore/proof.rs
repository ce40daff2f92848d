//! Whether what is written has the hash that the manifest gives for it, found while the bytes are at hand.
//!
//! Slices come in the order of the objects, and from several threads; a hash wants the file's order. What came before its
//! turn is read again from the file when that is there, which the system has still in memory.

use crate::model::{ContentHash, Extent, FileContent, HASHED_ZEROS};
use crate::tree::NewFile;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Holes and early slices that are remembered of a file; with more, all the rest of it is read again at its end.
const MAX_AHEAD: usize = 1024;
/// Files that are hashed piece by piece at once: a hasher takes 2 KB.
const MAX_HASHERS: usize = 4096;

/// What a file's content is to be.
pub(super) struct Proof {
    hash: ContentHash,
    size: u64,
    /// Where holes are; none where there are too many.
    holes: Option<Box<[(u64, u64)]>>,
    /// More zeros than are hashed as such: it is taken as its objects are, each of which has its hash.
    too_sparse: bool,
    state: Mutex<State>,
}

enum State {
    /// Nothing came so far.
    New,
    /// All came at once, and had the hash or had not.
    Done(bool),
    Hashing(Box<Progress>),
    /// Nothing is remembered: it is read when it is whole.
    Later,
}

struct Progress {
    hasher: blake3::Hasher,
    /// Bytes that are hashed.
    at: u64,
    /// Slices that came before their turn: begin and end.
    ahead: BTreeMap<u64, u64>,
}

/// A slice that has been written.
pub(super) struct Written<'a> {
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
}

impl Proof {
    pub(super) fn new(content: &FileContent) -> Self {
        let (mut holes, mut at, mut zeros) = (Vec::new(), 0, 0u64);
        for extent in &content.extents {
            if let Extent::Hole { length } = *extent {
                zeros = zeros.saturating_add(length);
                if holes.len() <= MAX_AHEAD {
                    holes.push((at, length));
                }
            }
            at += extent.length();
        }
        let holes = (holes.len() <= MAX_AHEAD).then(|| holes.into_boxed_slice());
        let too_sparse = zeros > HASHED_ZEROS;
        Self { hash: content.hash, size: content.size, holes, too_sparse, state: Mutex::new(State::New) }
    }

    /// Bytes of memory that it takes beyond its own size.
    pub(super) fn weight(&self) -> usize {
        self.holes.as_ref().map_or(0, |holes| size_of_val(&**holes))
    }

    /// Whether the file's hash is not looked at, so that its objects have to be right by their names.
    pub(super) fn is_by_names(&self) -> bool {
        self.too_sparse
    }

    /// Notes slices that were written, in their order. `hashers` counts those at work.
    pub(super) fn written(
        &self,
        new: &NewFile,
        slices: &[Written<'_>],
        hashers: &AtomicUsize,
    ) -> io::Result<()> {
        if self.too_sparse {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::New) {
            if let [Written { at: 0, bytes }] = slices
                && bytes.len() as u64 == self.size
            {
                *state = State::Done(ContentHash::of(bytes) == self.hash);
                return Ok(());
            }
            *state = if self.holes.is_some() && hashers.load(Ordering::Relaxed) < MAX_HASHERS {
                hashers.fetch_add(1, Ordering::Relaxed);
                let (hasher, ahead) = (blake3::Hasher::new(), BTreeMap::new());
                State::Hashing(Box::new(Progress { hasher, at: 0, ahead }))
            } else {
                State::Later
            };
        }
        let State::Hashing(progress) = &mut *state else { return Ok(()) };
        for slice in slices {
            self.catch_up(progress, new)?;
            if slice.at == progress.at {
                progress.hasher.update(slice.bytes);
                progress.at += slice.bytes.len() as u64;
            } else if progress.ahead.len() < MAX_AHEAD {
                progress.ahead.insert(slice.at, slice.at + slice.bytes.len() as u64);
            }
        }
        self.catch_up(progress, new)
    }

    /// Hashes what came before its turn and has it now.
    fn catch_up(&self, progress: &mut Progress, new: &NewFile) -> io::Result<()> {
        let holes = self.holes.as_deref().unwrap_or_default();
        loop {
            if let Ok(found) = holes.binary_search_by_key(&progress.at, |(at, _)| *at)
                && let Some((_, length)) = holes.get(found)
            {
                hash_zeros(&mut progress.hasher, *length);
                progress.at += length;
            } else if let Some(end) = progress.ahead.remove(&progress.at) {
                read(&mut progress.hasher, new, progress.at, end)?;
                progress.at = end;
            } else {
                return Ok(());
            }
        }
    }

    /// Whether the whole file has the hash. All that was noted is forgotten: the file may be written once more.
    pub(super) fn holds(&self, new: &NewFile, hashers: &AtomicUsize) -> io::Result<bool> {
        if self.too_sparse {
            return Ok(true);
        }
        let (mut hasher, at) = match self.take(hashers) {
            State::Done(holds) => return Ok(holds),
            State::Hashing(progress) => (progress.hasher, progress.at),
            State::New | State::Later => (blake3::Hasher::new(), 0),
        };
        read(&mut hasher, new, at, self.size)?;
        Ok(ContentHash::from(hasher.finalize()) == self.hash)
    }

    /// Forgets all that was noted.
    pub(super) fn forget(&self, hashers: &AtomicUsize) {
        self.take(hashers);
    }

    fn take(&self, hashers: &AtomicUsize) -> State {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::replace(&mut *state, State::New);
        if matches!(taken, State::Hashing(_)) {
            hashers.fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }
}

/// Hashes a part of a file; what is behind its end is a hole to come.
fn read(hasher: &mut blake3::Hasher, new: &NewFile, mut at: u64, end: u64) -> io::Result<()> {
    const PART: u64 = 64 << 10;
    let mut buffer = vec![0; PART.min(end - at) as usize];
    while at < end {
        let want = (end - at).min(PART) as usize;
        let part = buffer.get_mut(..want).unwrap_or_default();
        match new.read_at(part, at)? {
            0 => {
                hash_zeros(hasher, end - at);
                return Ok(());
            }
            got => {
                hasher.update(part.get(..got).unwrap_or_default());
                at += got as u64;
            }
        }
    }
    Ok(())
}

fn hash_zeros(hasher: &mut blake3::Hasher, mut length: u64) {
    const ZEROS: &[u8] = &[0; 64 << 10];
    while length > 0 {
        let part = length.min(ZEROS.len() as u64);
        hasher.update(ZEROS.get(..part as usize).unwrap_or(ZEROS));
        length -= part;
    }
}
