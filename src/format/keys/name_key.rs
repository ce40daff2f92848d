//! The naming key: what a sealed store's objects are called, and where its content stream is cut.

use super::KeyError;
use super::text::{self, Secret};
use crate::model::ChunkId;
use std::fmt;
use zeroize::Zeroizing;

/// N, the naming key of a sealed store, with what is derived from it. Who has it can test guesses of chunks, and read nothing.
///
/// A store keeps it for good: another one would give every object another name.
pub struct NameKey {
    key: Secret,
    id: Secret,
    tag: Secret,
    gear: Secret,
    cut: Secret,
    same: Secret,
}

impl NameKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        text::random().map(Self::new)
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn from_hex(digits: &str) -> Option<Self> {
        text::from_hex(digits).map(Self::new)
    }

    fn new(key: Secret) -> Self {
        let derive = |context| Zeroizing::new(blake3::derive_key(context, key.as_slice()));
        Self {
            id: derive("weekvault 2026 v2 object id"),
            tag: derive("weekvault 2026 v2 object tag"),
            gear: derive("weekvault 2026 v2 gear"),
            cut: derive("weekvault 2026 v2 cut"),
            same: derive("weekvault 2026 v2 same"),
            key,
        }
    }

    /// The same key for another file.
    pub(super) fn copy(&self) -> Self {
        Self::new(self.key.clone())
    }

    /// The key itself as 64 lower-case hexadecimal digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        text::hex(&self.key)
    }

    /// What a chunk is called: keyed BLAKE3 of the chunk.
    pub fn chunk_id(&self, chunk: &[u8]) -> ChunkId {
        blake3::keyed_hash(&self.id, chunk).into()
    }

    /// The first 8 bytes of keyed BLAKE3 of a chunk's name and `sum`, the first 16 bytes of the plain BLAKE3 of its file: nobody
    /// without the key can make a file that is taken for the object.
    pub fn tag(&self, id: &ChunkId, sum: &[u8; 16]) -> [u8; 8] {
        let mut tag = [0; 8];
        blake3::Hasher::new_keyed(&self.tag).update(id.as_bytes()).update(sum).finalize_xof().fill(&mut tag);
        tag
    }

    /// Whether a tag is right; how long that takes does not depend on where it is wrong.
    pub fn is_tag(&self, id: &ChunkId, sum: &[u8; 16], tag: &[u8; 8]) -> bool {
        u64::from_ne_bytes(self.tag(id, sum)) ^ u64::from_ne_bytes(*tag) == 0
    }

    /// The gear table of the chunker: 256 numbers, little endian, of keyed BLAKE3 of nothing as an endless output.
    pub fn gear(&self) -> [u64; 256] {
        let mut numbers = blake3::Hasher::new_keyed(&self.gear).finalize_xof();
        std::array::from_fn(|_| {
            let mut bytes = [0; 8];
            numbers.fill(&mut bytes);
            u64::from_le_bytes(bytes)
        })
    }

    /// The key of the hash that decides which of the chunker's places count.
    pub fn cut_key(&self) -> [u8; 32] {
        *self.cut
    }

    /// The keyed hasher that tells whether two manifests say the same.
    pub fn same_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.same)
    }
}

impl PartialEq for NameKey {
    /// Takes as long for any two keys.
    fn eq(&self, other: &Self) -> bool {
        blake3::Hash::from_bytes(*self.key) == blake3::Hash::from_bytes(*other.key)
    }
}

impl Eq for NameKey {}

impl fmt::Debug for NameKey {
    /// Shows nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NameKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::NAME_KEY;

    /// What other programs get: `b3sum --derive-key CONTEXT` of the 32 bytes, then `b3sum --keyed`.
    fn by_hand(context: &str, message: &[u8], out: &mut [u8]) {
        let key = blake3::derive_key(context, &*text::from_hex(NAME_KEY).unwrap());
        blake3::Hasher::new_keyed(&key).update(message).finalize_xof().fill(out);
    }

    #[test]
    fn names_are_keyed_hashes() {
        let key = NameKey::from_hex(NAME_KEY).unwrap();
        let mut expected = [0; 32];
        by_hand("weekvault 2026 v2 object id", b"chunk", &mut expected);
        let id = key.chunk_id(b"chunk");
        assert_eq!(id, ChunkId(expected));
        let (sum, mut tag) = ([7; 16], [0; 8]);
        by_hand("weekvault 2026 v2 object tag", &[id.as_bytes().as_slice(), &sum].concat(), &mut tag);
        assert_eq!(key.tag(&id, &sum), tag);
        assert!(key.is_tag(&id, &sum, &tag));
        for bit in 0..64 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!key.is_tag(&id, &sum, &wrong));
        }
        by_hand("weekvault 2026 v2 same", b"entries", &mut expected);
        assert_eq!(*key.same_hasher().update(b"entries").finalize().as_bytes(), expected);
        let cut = blake3::derive_key("weekvault 2026 v2 cut", &*text::from_hex(NAME_KEY).unwrap());
        assert_eq!(key.cut_key(), cut);
    }

    #[test]
    fn gear_tables_are_one_stream() {
        let mut stream = vec![0; 2048];
        by_hand("weekvault 2026 v2 gear", b"", &mut stream);
        let gear = NameKey::from_hex(NAME_KEY).unwrap().gear();
        for (number, bytes) in gear.iter().zip(stream.as_chunks::<8>().0) {
            assert_eq!(*number, u64::from_le_bytes(*bytes));
        }
    }

    /// Values that Python's blake3 gives as well: a change here would make another format.
    #[test]
    fn names_stay_as_they_are() {
        let key = NameKey::from_hex(NAME_KEY).unwrap();
        let id = key.chunk_id(b"abc");
        insta::assert_snapshot!(id, @"ddc4f652d2936e8cbb2032c4f0dd83811c9f24da7f6e7dad6e9c6f02c0ea023f");
        insta::assert_snapshot!(format!("{:02x?}", key.tag(&id, &[1; 16])), @"[d8, 06, 28, d2, 76, 46, c8, b1]");
        insta::assert_snapshot!(format!("{:016x} {:016x}", key.gear()[0], key.gear()[255]), @"526096533ad1688b 69ff55b398db3738");
    }

    #[test]
    fn keys_are_random_and_not_shown() {
        let (one, other) = (NameKey::generate().unwrap(), NameKey::generate().unwrap());
        assert!(one != other && one == NameKey::from_hex(&one.to_hex()).unwrap());
        assert_ne!(one.chunk_id(b"x"), other.chunk_id(b"x"));
        assert_eq!(format!("{one:?}"), "NameKey");
    }
}
