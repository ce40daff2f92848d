//! The layers between a plain piece of data and the stored one: zstd, and in sealed stores age around it.

mod age;
mod padding;
mod zstd;

use self::age::{AgeOpener, AgeSealer, sealed_bound};
use self::zstd::{FrameOpener, FrameSealer, frame_bound};
use super::FormatError;
use super::keys::{NameKey, ReadFile, WriterFile};
use crate::model::{ChunkId, ObjectId};
use std::io;
use std::sync::Arc;

/// How a piece of data is sealed. The number stands in manifests; objects tell it by their file's ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seal {
    /// One zstd frame (number 0, ending `.zst`).
    Zstd,
    /// One age file of a zstd frame and padding (number 1, ending `.age`).
    Age,
}

impl Seal {
    /// The number that stands for the scheme on disk.
    pub fn number(self) -> u8 {
        match self {
            Self::Zstd => 0,
            Self::Age => 1,
        }
    }

    /// The most bytes that an object's file, or a manifest's block, of `plain` bytes can take.
    pub fn stored_bound(self, plain: usize) -> usize {
        match self {
            Self::Zstd => frame_bound(plain),
            Self::Age => sealed_bound(plain),
        }
    }

    /// The scheme with this number.
    ///
    /// # Errors
    /// [`FormatError::Seal`] for a number that is not known, such as a later version's.
    pub fn from_number(number: u8, part: &'static str) -> Result<Self, FormatError> {
        match number {
            0 => Ok(Self::Zstd),
            1 => Ok(Self::Age),
            scheme => Err(FormatError::Seal { part, scheme }),
        }
    }
}

/// The most bytes that a frame of `plain` bytes can take, which anybody may read.
pub fn stored_bound(plain: usize) -> usize {
    Seal::Zstd.stored_bound(plain)
}

/// What there is of a store's keys.
#[derive(Clone, Debug)]
pub enum Keys {
    /// The store is plain, and has none.
    Plain,
    /// The store is sealed, and nobody has given a key: what is public can be read, and nothing written.
    Without,
    /// Those of a writer, which cannot read what they write.
    Writer(Arc<WriterFile>),
    /// Those of an operator, which read everything.
    Reader(Arc<ReadFile>),
}

/// How the pieces of data of a store are sealed, opened and named. Manifests and objects go by the same.
#[derive(Clone, Debug)]
pub struct Seals {
    level: i32,
    keys: Keys,
}

impl Default for Seals {
    /// Those of zstd's level 3.
    fn default() -> Self {
        Self::zstd(3)
    }
}

impl Seals {
    /// Those of a plain store that compress with zstd at `level` (1 to 22, negative for faster).
    pub fn zstd(level: i32) -> Self {
        Self { level, keys: Keys::Plain }
    }

    /// Those that go by these keys, and compress with zstd's level 3.
    pub fn with_keys(keys: Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// The same at another level of zstd.
    pub fn at_level(&self, level: i32) -> Self {
        Self { level, keys: self.keys.clone() }
    }

    /// What there is of the store's keys.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Whether the store is sealed.
    pub fn is_sealed(&self) -> bool {
        !matches!(self.keys, Keys::Plain)
    }

    /// What seals pieces of data.
    ///
    /// # Errors
    /// When zstd has no memory or refuses the level; [`io::ErrorKind::PermissionDenied`] in a sealed store without a
    /// writer's keys.
    pub fn sealer(&self) -> io::Result<Sealer> {
        let keys = match &self.keys {
            Keys::Plain => None,
            Keys::Writer(keys) => Some(Arc::clone(keys)),
            Keys::Without | Keys::Reader(_) => {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "that takes a writer's keys"));
            }
        };
        Ok(Sealer { age: AgeSealer::new(FrameSealer::new(self.level)?), keys })
    }

    /// What opens them, whatever the level was, as far as there are keys for it.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub fn opener(&self) -> io::Result<Opener> {
        Ok(Opener { age: AgeOpener::new(FrameOpener::new()?), keys: self.keys.clone() })
    }

    fn name_key(&self) -> Option<&NameKey> {
        match &self.keys {
            Keys::Plain | Keys::Without => None,
            Keys::Writer(keys) => Some(keys.name_key()),
            Keys::Reader(keys) => Some(keys.name_key()),
        }
    }

    /// Whether a chunk is the one that an object is named after. Plain objects, which a store that was sealed later has too, are named
    /// by the plain hash, and sealed ones by the naming key: without it the answer is no.
    pub fn is_named(&self, chunk: &[u8], id: &ObjectId) -> bool {
        match id.sum() {
            None => ChunkId::of(chunk) == *id.chunk(),
            Some(_) => self.name_key().is_some_and(|key| key.chunk_id(chunk) == *id.chunk()),
        }
    }

    /// The tag in the name of an object's file in a sealed store; none without the naming key, and none for a plain object.
    pub fn tag(&self, id: &ObjectId) -> Option<[u8; 8]> {
        Some(self.name_key()?.tag(id.chunk(), id.sum()?))
    }

    /// Whether a tag shows that whoever stored an object's file had the naming key; none without it, and for a plain object.
    pub fn is_tag(&self, id: &ObjectId, tag: &[u8; 8]) -> Option<bool> {
        Some(self.name_key()?.is_tag(id.chunk(), id.sum()?, tag))
    }

    /// What decides where a sealed store's content stream is cut: the gear table, and the key of the second condition.
    pub fn cut_key(&self) -> Option<([u64; 256], [u8; 32])> {
        self.name_key().map(|key| (key.gear(), key.cut_key()))
    }

    /// How what is written is sealed.
    pub fn seal(&self) -> Seal {
        if self.is_sealed() { Seal::Age } else { Seal::Zstd }
    }

    /// Whether objects of this kind can be opened.
    pub fn can_open(&self, id: &ObjectId) -> bool {
        id.sum().is_none() || matches!(self.keys, Keys::Reader(_))
    }
}

/// Seals pieces of data, and names chunks; keeps its working memory between them.
pub struct Sealer {
    age: AgeSealer,
    /// In a sealed store.
    keys: Option<Arc<WriterFile>>,
}

impl Sealer {
    /// What a chunk is called.
    pub fn name(&self, chunk: &[u8]) -> ChunkId {
        self.keys.as_ref().map_or_else(|| ChunkId::of(chunk), |keys| keys.name_key().chunk_id(chunk))
    }

    /// Compresses what anybody may read into `stored`, whose old content is dropped. The frame says its plain length.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn seal_into(&mut self, plain: &[u8], stored: &mut Vec<u8>) -> io::Result<()> {
        self.age.public(plain, stored)
    }

    /// Seals a chunk into `stored`, whose old content is dropped, and names the object that this is the file of.
    ///
    /// # Errors
    /// When memory or random numbers run out.
    pub fn object(&mut self, name: &ChunkId, chunk: &[u8], stored: &mut Vec<u8>) -> io::Result<ObjectId> {
        match &self.keys {
            None => {
                self.age.public(chunk, stored)?;
                Ok(ObjectId::plain(*name))
            }
            Some(keys) => {
                self.age.object(chunk, &[keys.read_recipient().recipient()], stored)?;
                Ok(ObjectId::sealed(*name, sum_of(stored)))
            }
        }
    }

    /// Seals a block of a manifest, which is for everybody if it is not private, into `stored`, whose old content is dropped.
    ///
    /// # Errors
    /// When memory or random numbers run out.
    pub fn block(
        &mut self,
        is_private: bool,
        items: u32,
        plain: &[u8],
        stored: &mut Vec<u8>,
    ) -> io::Result<Seal> {
        match &self.keys {
            Some(keys) if is_private => {
                let compare = keys.compare_key().map(|key| key.recipient());
                let mut to = vec![keys.read_recipient().recipient()];
                to.extend(compare.as_ref().map(|compare| compare.recipient()));
                self.age.block(items, plain, &to, stored)?;
                Ok(Seal::Age)
            }
            _ => self.age.public(plain, stored).map(|()| Seal::Zstd),
        }
    }
}

/// The sum in the name of a sealed object's file.
pub fn sum_of(stored: &[u8]) -> [u8; 16] {
    *blake3::hash(stored).as_bytes().first_chunk().unwrap_or(&[0; 16])
}

/// Opens sealed pieces of data; keeps its working memory between them.
pub struct Opener {
    age: AgeOpener,
    keys: Keys,
}

impl Opener {
    /// How many plain bytes a plain object's file says it holds, if it says so and they are 1 to `limit`.
    pub fn plain_length(stored: &[u8], limit: u32) -> Option<u32> {
        FrameOpener::plain_length(stored, limit)
    }

    /// Opens a frame that anybody may read, which must hold exactly `length` plain bytes, into `plain`, whose old content is dropped.
    ///
    /// Never writes more than `length` bytes, whatever the frame says of itself.
    ///
    /// # Errors
    /// [`FormatError::Zstd`] naming `part` when it is not one zstd frame, a damaged one, or one of another length.
    pub fn open_into(
        &mut self,
        stored: &[u8],
        length: u32,
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        self.age.public(stored, length, part, plain)
    }

    /// Opens an object's file, which must hold a chunk of exactly `length` bytes, into `plain`, whose old content is dropped.
    ///
    /// Never writes more than `length` bytes, whatever the file says of itself.
    ///
    /// # Errors
    /// [`FormatError`] naming `part` when it is damaged, or holds another number of bytes; [`FormatError::NoKey`].
    pub fn object(
        &mut self,
        seal: Seal,
        stored: &[u8],
        length: u32,
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        match (seal, &self.keys) {
            (Seal::Zstd, _) => self.open_into(stored, length, part, plain),
            (Seal::Age, Keys::Reader(keys)) => {
                let with: Vec<_> = keys.read_keys().iter().rev().map(|key| key.identity()).collect();
                self.age.object(stored, length, &with, part, plain)
            }
            (Seal::Age, _) => Err(FormatError::NoKey(part)),
        }
    }

    /// Opens a block of a manifest into `plain`, whose old content is dropped, and returns how many items it has: what the
    /// index says, or in a private block of a sealed store, what that says itself.
    ///
    /// Never writes more bytes than `said`, which of a private block is the most that it may have, whatever the block says of itself.
    ///
    /// # Errors
    /// [`FormatError`] naming `part` when it is damaged; [`FormatError::NoKey`].
    pub fn block(
        &mut self,
        seal: Seal,
        stored: &[u8],
        said: Measures,
        part: &'static str,
        plain: &mut Vec<u8>,
    ) -> Result<u32, FormatError> {
        let with: Vec<_> = match (seal, &self.keys) {
            (Seal::Zstd, _) => {
                self.age.public(stored, said.length, part, plain)?;
                return Ok(said.items);
            }
            (Seal::Age, Keys::Reader(keys)) => {
                keys.read_keys().iter().rev().map(|key| key.identity()).collect()
            }
            (Seal::Age, Keys::Writer(keys)) => {
                keys.compare_key().map(|key| key.identity()).into_iter().collect()
            }
            (Seal::Age, Keys::Plain | Keys::Without) => Vec::new(),
        };
        if with.is_empty() {
            return Err(FormatError::NoKey(part));
        }
        self.age.block(stored, said.length, &with, part, plain)
    }
}

/// How large a block is: as the index says, or at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measures {
    /// Records in it.
    pub items: u32,
    /// Plain bytes.
    pub length: u32,
}
