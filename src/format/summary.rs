//! The summary section: JSON, so that a later version may add to it without a new format.

use super::FormatError;
use crate::model::{Completeness, Counts, Details, Digest, Summary, Timestamp};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

const PART: &str = "the summary section";
/// Longest summary, in bytes. In memory, a list of short texts takes many times its bytes.
const MAX_SUMMARY: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct SummaryRecord {
    week: String,
    pvc: String,
    /// UTF-8 where it can be; else the bytes are in `source_bytes`.
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_bytes: Option<Vec<u8>>,
    host: String,
    tool: String,
    #[serde(default)]
    store: String,
    #[serde(default)]
    excludes: Vec<String>,
    started: (i64, u32),
    finished: (i64, u32),
    compared_with: Option<String>,
    complete: bool,
    missing: u64,
    #[serde(default)]
    counts: CountsRecord,
}

macro_rules! counts {
    ($($name:ident),* $(,)?) => {
        #[derive(Serialize, Deserialize, Default)]
        #[serde(default)]
        struct CountsRecord { $($name: u64),* }

        impl From<&Counts> for CountsRecord {
            fn from(c: &Counts) -> Self {
                Self { $($name: c.$name),* }
            }
        }

        impl From<CountsRecord> for Counts {
            fn from(c: CountsRecord) -> Self {
                Self { $($name: c.$name),* }
            }
        }
    };
}

counts!(
    entries,
    files,
    folders,
    bytes,
    unchanged,
    changed,
    new,
    removed,
    bytes_read,
    new_objects,
    new_chunk_bytes,
    new_stored_bytes,
    skipped,
    vanished,
    changed_while_read,
);

/// The bytes of the summary section of a plain store, which has its details.
///
/// # Errors
/// [`FormatError::TooLarge`]; [`FormatError::Invalid`] for a summary without details.
pub fn encode_summary(summary: &Summary) -> Result<Vec<u8>, FormatError> {
    let details = summary.details.as_ref();
    let details = details.ok_or_else(|| FormatError::invalid(PART, "it has no details"))?;
    let missing = match summary.completeness {
        Completeness::Complete => 0,
        Completeness::Partial { missing } => missing,
    };
    let text = details.source.to_str();
    let record = SummaryRecord {
        week: summary.week.to_string(),
        pvc: summary.pvc.to_string(),
        source: details.source.to_string_lossy().into_owned(),
        source_bytes: text.is_none().then(|| details.source.as_os_str().as_bytes().to_vec()),
        host: details.host.clone(),
        tool: details.tool.clone(),
        store: summary.store.clone(),
        excludes: details.excludes.clone(),
        started: (summary.started.secs, summary.started.nanos),
        finished: (summary.finished.secs, summary.finished.nanos),
        compared_with: details.compared_with.map(|d| d.to_string()),
        complete: summary.completeness == Completeness::Complete,
        missing,
        counts: (&details.counts).into(),
    };
    let bytes = serde_json::to_vec_pretty(&record).map_err(|e| FormatError::json(PART, &e))?;
    if bytes.len() > MAX_SUMMARY {
        let (size, limit) = (bytes.len() as u64, MAX_SUMMARY as u64);
        return Err(FormatError::TooLarge { what: PART.into(), size, limit });
    }
    Ok(bytes)
}

/// Reads the summary section. Members that this version does not know are passed over.
///
/// # Errors
/// [`FormatError::Invalid`] for anything but a summary.
pub fn decode_summary(bytes: &[u8]) -> Result<Summary, FormatError> {
    let invalid = |reason: String| FormatError::invalid(PART, reason);
    if bytes.len() > MAX_SUMMARY {
        return Err(invalid(format!("it has {} bytes, more than {MAX_SUMMARY}", bytes.len())));
    }
    let record: SummaryRecord = serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))?;
    let source = match record.source_bytes {
        Some(bytes) => PathBuf::from(OsString::from_vec(bytes)),
        None => PathBuf::from(record.source),
    };
    let time = |(secs, nanos): (i64, u32)| match nanos {
        0..1_000_000_000 => Ok(Timestamp { secs, nanos }),
        _ => Err(invalid(format!("a time has {nanos} nanoseconds"))),
    };
    if record.complete != (record.missing == 0) {
        return Err(invalid(format!(
            "complete: {}, but {} paths are missing",
            record.complete, record.missing
        )));
    }
    let compared_with = record.compared_with.map(|hex| hex.parse::<Digest>()).transpose();
    Ok(Summary {
        week: record.week.parse().map_err(|e| invalid(format!("{e}")))?,
        pvc: record.pvc.parse().map_err(|e| invalid(format!("{e}")))?,
        store: record.store,
        started: time(record.started)?,
        finished: time(record.finished)?,
        completeness: match record.complete {
            true => Completeness::Complete,
            false => Completeness::Partial { missing: record.missing },
        },
        details: Some(Details {
            source,
            host: record.host,
            tool: record.tool,
            excludes: record.excludes,
            compared_with: compared_with.map_err(|e| invalid(e.to_string()))?,
            counts: record.counts.into(),
        }),
    })
}
