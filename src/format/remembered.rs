//! What a verifier remembers of a sealed store, so that an older state of it is noticed: a file outside of the store.

use super::FormatError;
use super::keys::WriterId;
use crate::model::{Digest, PvcName, StoreId, Week};
use serde::{Deserialize, Serialize};

const PART: &str = "the file of remembered manifests";
/// A manifest takes 300 bytes: enough for eight weeks of ten thousand pvcs.
pub const MAX_REMEMBERED: u64 = 32 << 20;
const VERSION: u32 = 1;

/// The complete manifests that were in place at the last look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// Of this store.
    pub store: StoreId,
    /// By pvc and week, at most one of each.
    pub heads: Vec<RememberedHead>,
}

/// One of them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RememberedHead {
    /// The source's name.
    pub pvc: PvcName,
    /// The week.
    pub week: Week,
    /// Who has signed it.
    pub writer: WriterId,
    /// Its number among those of this writer and pvc, from 1.
    pub sequence: u64,
    /// Its digest.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
struct FileRecord {
    weekvault_heads: u32,
    store: String,
    heads: Vec<HeadRecord>,
}

#[derive(Serialize, Deserialize)]
struct HeadRecord {
    pvc: String,
    week: String,
    writer: String,
    sequence: u64,
    digest: String,
}

impl Remembered {
    /// The file's text.
    ///
    /// # Errors
    /// [`FormatError::Invalid`].
    pub fn encode(&self) -> Result<String, FormatError> {
        let head = |head: &RememberedHead| HeadRecord {
            pvc: head.pvc.to_string(),
            week: head.week.to_string(),
            writer: head.writer.to_string(),
            sequence: head.sequence,
            digest: head.digest.to_string(),
        };
        let heads = self.heads.iter().map(head).collect();
        let record = FileRecord { weekvault_heads: VERSION, store: self.store.to_string(), heads };
        let text = serde_json::to_string_pretty(&record).map_err(|e| FormatError::json(PART, &e))?;
        Ok(text + "\n")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        fn part<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, FormatError> {
            text.parse().map_err(|e| FormatError::invalid(PART, format!("{text:?}: {e}")))
        }
        let record: FileRecord = serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))?;
        if record.weekvault_heads != VERSION {
            let reason =
                format!("it is of version {}, and this program knows {VERSION}", record.weekvault_heads);
            return Err(FormatError::invalid(PART, reason));
        }
        let head = |head: &HeadRecord| {
            Ok::<_, FormatError>(RememberedHead {
                pvc: part(&head.pvc)?,
                week: part(&head.week)?,
                writer: part(&head.writer)?,
                sequence: head.sequence,
                digest: part(&head.digest)?,
            })
        };
        let heads = record.heads.iter().map(head).collect::<Result<_, _>>()?;
        Ok(Self { store: part(&record.store)?, heads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written_and_nothing_else_is() {
        let writer = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let head = RememberedHead {
            pvc: "html".parse().unwrap(),
            week: "2025-14".parse().unwrap(),
            writer: writer.parse().unwrap(),
            sequence: 7,
            digest: Digest([9; 32]),
        };
        let remembered = Remembered { store: StoreId([3; 16]), heads: vec![head] };
        let text = remembered.encode().unwrap();
        assert_eq!(Remembered::decode(text.as_bytes()).unwrap(), remembered);
        for (from, to) in [
            ("\"weekvault_heads\": 1", "\"weekvault_heads\": 2"),
            ("2025-14", "2025"),
            (&writer[..8], "3"),
            ("7", "-7"),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text);
            let error = Remembered::decode(wrong.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(PART), "{error}");
        }
        assert!(Remembered::decode(b"{}").is_err() && Remembered::decode(b"").is_err());
    }
}
