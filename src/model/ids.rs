//! Identifiers: 32-byte BLAKE3 hashes with a type each, and the ids of a store and of a run.

use std::fmt;
use std::str::FromStr;

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The BLAKE3 hash of `bytes`.
            pub fn of(bytes: &[u8]) -> Self {
                Self(*blake3::hash(bytes).as_bytes())
            }

            /// The raw 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = blake3::HexError;

            /// Reads 64 lower-case hexadecimal digits.
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                blake3::Hash::from_hex(s).map(|h| Self(*h.as_bytes()))
            }
        }

        impl From<blake3::Hash> for $name {
            fn from(hash: blake3::Hash) -> Self {
                Self(*hash.as_bytes())
            }
        }
    };
}

hash_type! {
    /// What a chunk is called: its BLAKE3 hash, in a sealed store one that takes the naming key.
    ChunkId
}
hash_type! {
    /// The BLAKE3 hash of a whole file's content, holes counted as zeros; see [`super::ContentHasher`] for very large ones.
    ContentHash
}
hash_type! {
    /// Identifies a manifest: the hash in its trailer, which covers all of its bytes.
    Digest
}

/// Names an object: the chunk that it holds and, in a sealed store, where a chunk may have several files, which of them.
///
/// Shown as in the file's name: 64 hexadecimal digits, and in a sealed store a full stop and 32 more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    chunk: ChunkId,
    /// Zeros in a plain store, where one file is as good as another.
    sum: [u8; 16],
}

impl ObjectId {
    /// The object of a plain store that holds this chunk.
    pub fn of(chunk: &[u8]) -> Self {
        Self::plain(ChunkId::of(chunk))
    }

    /// The object of a plain store that holds the chunk of this name.
    pub const fn plain(chunk: ChunkId) -> Self {
        Self { chunk, sum: [0; 16] }
    }

    /// The object of a sealed store that holds the chunk of this name, and whose file's BLAKE3 hash begins with `sum`.
    pub const fn sealed(chunk: ChunkId, sum: [u8; 16]) -> Self {
        Self { chunk, sum }
    }

    /// What the chunk is called.
    pub fn chunk(&self) -> &ChunkId {
        &self.chunk
    }

    /// What the file's BLAKE3 hash begins with, in a sealed store.
    pub fn sum(&self) -> Option<&[u8; 16]> {
        (self.sum != [0; 16]).then_some(&self.sum)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.chunk)?;
        let Some(sum) = self.sum() else { return Ok(()) };
        f.write_str(".")?;
        sum.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// The id of one run of the program; names its unfinished writes in `tmp/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Tells a store from all others: 16 random bytes, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 16]);

/// A text that is not a store's id.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{}\" is not the id of a store, which has 32 lower-case hexadecimal digits", super::Excerpt(.0.as_bytes()))]
pub struct InvalidStoreId(pub String);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

impl FromStr for StoreId {
    type Err = InvalidStoreId;

    fn from_str(s: &str) -> Result<Self, InvalidStoreId> {
        let digits = s.len() == 32 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = digits.then(|| u128::from_str_radix(s, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or_else(|| InvalidStoreId(super::names::first(s)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let id = Digest::of(b"abc");
        assert_eq!(id.to_string().parse::<Digest>().unwrap(), id);
        assert!(id.to_string().starts_with("6437b3ac38465133ffb63b75273a8db5"));
        assert!("zz".parse::<Digest>().is_err());
        assert_eq!(ObjectId::of(b"abc").to_string(), id.to_string());
        let sealed = ObjectId::sealed(ChunkId(*id.as_bytes()), [0xa1; 16]);
        assert_eq!(sealed.to_string(), format!("{id}.{}", "a1".repeat(16)));
    }

    #[test]
    fn ids_of_stores_have_one_form() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(text.parse::<StoreId>().unwrap().to_string(), text);
        let (upper, long) = (text.to_uppercase(), format!("{text}0"));
        for bad in ["", &upper, &long, &text[1..], &format!("+{}", &text[1..]), "🔑🔑🔑🔑🔑🔑🔑🔑"]
        {
            assert!(bad.parse::<StoreId>().is_err(), "{bad:?}");
        }
    }
}
