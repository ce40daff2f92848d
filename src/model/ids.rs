//! Identifiers: 32-byte BLAKE3 hashes with a type each, and the id of a run.

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
    /// Names an object: the BLAKE3 hash of the chunk that it holds.
    ObjectId
}
hash_type! {
    /// The BLAKE3 hash of a whole file's content, holes counted as zeros; see [`super::ContentHasher`] for very large ones.
    ContentHash
}
hash_type! {
    /// Identifies a manifest: the hash in its trailer, which covers all of its bytes.
    Digest
}

/// The id of one run of the program; names its unfinished writes in `tmp/`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RunId(pub u64);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trip() {
        let id = ObjectId::of(b"abc");
        assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
        assert!(id.to_string().starts_with("6437b3ac38465133ffb63b75273a8db5"));
        assert!("zz".parse::<ObjectId>().is_err());
    }
}
