//! `store.json`: what kind of store this is.

use super::{ChunkSizes, FormatError};
use crate::model::Excerpt;
use serde::{Deserialize, Serialize};

/// The newest store format that this program reads and writes.
const VERSION: u32 = 1;
const PART: &str = "store.json";

/// What `store.json` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// 32 hexadecimal digits that tell this store from all others.
    pub id: String,
    /// Where the content stream is cut.
    pub chunks: ChunkSizes,
    /// RFC 3339.
    pub created: String,
    /// `weekvault` and the version that made the store.
    pub created_by: String,
}

#[derive(Serialize, Deserialize)]
struct StoreRecord {
    format: String,
    version: u32,
    id: String,
    chunking: ChunkingRecord,
    hash: String,
    seal: String,
    created: String,
    created_by: String,
}

#[derive(Serialize, Deserialize)]
struct ChunkingRecord {
    method: String,
    min: u32,
    avg: u32,
    max: u32,
}

/// Only what every version of the file will have.
#[derive(Deserialize)]
struct Probe {
    format: String,
    version: u32,
}

/// The bytes of `store.json`.
///
/// # Errors
/// None that a well-formed configuration can meet.
pub fn encode_store(config: &StoreConfig) -> Result<Vec<u8>, FormatError> {
    let record = StoreRecord {
        format: "weekvault".into(),
        version: VERSION,
        id: config.id.clone(),
        chunking: ChunkingRecord {
            method: "fastcdc-v2020".into(),
            min: config.chunks.min,
            avg: config.chunks.avg,
            max: config.chunks.max,
        },
        hash: "blake3".into(),
        seal: "zstd".into(),
        created: config.created.clone(),
        created_by: config.created_by.clone(),
    };
    let mut bytes =
        serde_json::to_vec_pretty(&record).map_err(|e| FormatError::invalid(PART, e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads `store.json`. Members that this version does not know are passed over.
///
/// # Errors
/// [`FormatError::Version`] for a newer store, others for a damaged file.
pub fn decode_store(bytes: &[u8]) -> Result<StoreConfig, FormatError> {
    let invalid = |reason: String| FormatError::invalid(PART, reason);
    let probe: Probe = serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))?;
    if probe.format != "weekvault" {
        return Err(FormatError::Magic(PART));
    }
    if probe.version != VERSION {
        return Err(FormatError::Version { part: PART, found: probe.version, known: VERSION });
    }
    let record: StoreRecord = serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))?;
    for (what, found, known) in [
        ("chunking method", &record.chunking.method, "fastcdc-v2020"),
        ("hash", &record.hash, "blake3"),
        ("seal", &record.seal, "zstd"),
    ] {
        if found != known {
            let found = Excerpt(found.as_bytes());
            return Err(invalid(format!("the {what} is \"{found}\", this weekvault knows {known:?} only")));
        }
    }
    let chunks = ChunkSizes { min: record.chunking.min, avg: record.chunking.avg, max: record.chunking.max };
    if !chunks.is_valid() {
        return Err(invalid(format!("chunk sizes {} / {} / {}", chunks.min, chunks.avg, chunks.max)));
    }
    Ok(StoreConfig { id: record.id, chunks, created: record.created, created_by: record.created_by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let config = StoreConfig {
            id: "00112233445566778899aabbccddeeff".into(),
            chunks: ChunkSizes::default(),
            created: "2025-04-08T03:10:00Z".into(),
            created_by: "weekvault 0.1.0".into(),
        };
        let text = String::from_utf8(encode_store(&config).unwrap()).unwrap();
        assert_eq!(decode_store(text.as_bytes()).unwrap(), config);
        let newer = text.replace("\"version\": 1", "\"version\": 2, \"more\": []");
        assert!(matches!(decode_store(newer.as_bytes()), Err(FormatError::Version { found: 2, .. })));
        for (from, to) in
            [("fastcdc-v2020", "rabin"), ("4194304", "4194305"), ("\"min\": 262144", "\"min\": 2")]
        {
            assert!(decode_store(text.replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(decode_store(b"{}").is_err() && decode_store(b"").is_err());
    }
}
