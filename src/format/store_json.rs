//! `store.json`: what kind of store this is.

use super::{ChunkSizes, FormatError};
use crate::model::{Excerpt, StoreId};
use serde::{Deserialize, Serialize};

/// The format of plain stores, and that of sealed ones, the newest that this program reads and writes.
const PLAIN: u32 = 1;
const SEALED: u32 = 2;
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
    /// Whether what is stored is encrypted. To whom, the read files say.
    pub sealed: bool,
}

impl StoreConfig {
    /// The version, and what the members `hash` and `seal` say in it.
    fn scheme(&self) -> (u32, &'static str, &'static str) {
        if self.sealed { (SEALED, "blake3-keyed", "age") } else { (PLAIN, "blake3", "zstd") }
    }
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
    let (version, hash, seal) = config.scheme();
    let record = StoreRecord {
        format: "weekvault".into(),
        version,
        id: config.id.clone(),
        chunking: ChunkingRecord {
            method: "fastcdc-v2020".into(),
            min: config.chunks.min,
            avg: config.chunks.avg,
            max: config.chunks.max,
        },
        hash: hash.into(),
        seal: seal.into(),
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
    if !(PLAIN..=SEALED).contains(&probe.version) {
        return Err(FormatError::Version { part: PART, found: probe.version, known: SEALED });
    }
    let record: StoreRecord = serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))?;
    let chunks = ChunkSizes { min: record.chunking.min, avg: record.chunking.avg, max: record.chunking.max };
    let (id, created, created_by) = (record.id, record.created, record.created_by);
    let config = StoreConfig { id, chunks, created, created_by, sealed: probe.version == SEALED };
    let (_, hash, seal) = config.scheme();
    for (what, found, known) in [
        ("chunking method", &record.chunking.method, "fastcdc-v2020"),
        ("hash", &record.hash, hash),
        ("seal", &record.seal, seal),
    ] {
        if found != known {
            let found = Excerpt(found.as_bytes());
            return Err(invalid(format!("the {what} is \"{found}\", this weekvault knows {known:?} only")));
        }
    }
    if !chunks.is_valid() {
        return Err(invalid(format!("chunk sizes {} / {} / {}", chunks.min, chunks.avg, chunks.max)));
    }
    if config.sealed && config.id.parse::<StoreId>().is_err() {
        return Err(invalid("the id of a sealed store has 32 hexadecimal digits".into()));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(sealed: bool) -> StoreConfig {
        StoreConfig {
            id: "00112233445566778899aabbccddeeff".into(),
            chunks: ChunkSizes::default(),
            created: "2025-04-08T03:10:00Z".into(),
            created_by: "weekvault 0.1.0".into(),
            sealed,
        }
    }

    fn text(sealed: bool) -> String {
        String::from_utf8(encode_store(&config(sealed)).unwrap()).unwrap()
    }

    #[test]
    fn round_trip_and_refusals() {
        for sealed in [false, true] {
            let text = text(sealed);
            assert_eq!(decode_store(text.as_bytes()).unwrap(), config(sealed));
            let newer = text.replace(
                if sealed { "\"version\": 2" } else { "\"version\": 1" },
                "\"version\": 3, \"more\": []",
            );
            assert!(matches!(decode_store(newer.as_bytes()), Err(FormatError::Version { found: 3, .. })));
            for (from, to) in
                [("fastcdc-v2020", "rabin"), ("4194304", "4194305"), ("\"min\": 262144", "\"min\": 2")]
            {
                assert!(decode_store(text.replace(from, to).as_bytes()).is_err(), "{to}");
            }
        }
        assert!(decode_store(b"{}").is_err() && decode_store(b"").is_err());
    }

    #[test]
    fn a_version_has_its_scheme_and_no_other() {
        let (plain, sealed) = (text(false), text(true));
        assert!(sealed.contains("\"hash\": \"blake3-keyed\"") && sealed.contains("\"seal\": \"age\""));
        let relabelled = plain.replace("\"version\": 1", "\"version\": 2");
        assert!(decode_store(relabelled.as_bytes()).unwrap_err().to_string().contains("the hash is"));
        let relabelled = sealed.replace("\"version\": 2", "\"version\": 1");
        assert!(decode_store(relabelled.as_bytes()).unwrap_err().to_string().contains("the hash is"));
        let half = sealed.replace("\"seal\": \"age\"", "\"seal\": \"zstd\"");
        assert!(decode_store(half.as_bytes()).unwrap_err().to_string().contains("the seal is"));
        assert!(decode_store(sealed.replace("ccddeeff", "ccddeefg").as_bytes()).is_err());
        assert!(decode_store(plain.replace("ccddeeff", "ccddeefg").as_bytes()).is_ok());
    }
}
