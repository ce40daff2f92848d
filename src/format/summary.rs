//! The summary section: JSON, so that a later version may add to it without a new format.

use super::FormatError;
use crate::model::{Completeness, Counts, Details, Digest, Head, MAX_BEFORE, Summary, Timestamp};
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
    let utf8 = details.source.to_str();
    let record = SummaryRecord {
        week: summary.week.to_string(),
        pvc: summary.pvc.to_string(),
        source: details.source.to_string_lossy().into_owned(),
        source_bytes: utf8.is_none().then(|| details.source.as_os_str().as_bytes().to_vec()),
        host: details.host.clone(),
        tool: details.tool.clone(),
        store: summary.store.clone(),
        excludes: details.excludes.clone(),
        started: (summary.started.secs, summary.started.nanos),
        finished: (summary.finished.secs, summary.finished.nanos),
        compared_with: details.compared_with.map(|d| d.to_string()),
        complete: summary.completeness == Completeness::Complete,
        missing: missing(summary),
        counts: (&details.counts).into(),
    };
    text(&record)
}

#[derive(Serialize, Deserialize)]
struct PublicRecord {
    week: String,
    pvc: String,
    store: String,
    /// Whole seconds.
    started: i64,
    finished: i64,
    complete: bool,
    empty: bool,
    sequence: u64,
    since: i64,
    same: String,
    before: Vec<(u64, String)>,
}

#[derive(Serialize, Deserialize)]
struct PrivateRecord {
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source_bytes: Option<Vec<u8>>,
    host: String,
    tool: String,
    #[serde(default)]
    excludes: Vec<String>,
    started: (i64, u32),
    finished: (i64, u32),
    compared_with: Option<String>,
    missing: u64,
    #[serde(default)]
    counts: CountsRecord,
}

/// The bytes of a sealed store's summary section, which anybody may read.
///
/// # Errors
/// [`FormatError::TooLarge`].
pub(super) fn encode_public_summary(summary: &Summary, head: &Head) -> Result<Vec<u8>, FormatError> {
    let record = PublicRecord {
        week: summary.week.to_string(),
        pvc: summary.pvc.to_string(),
        store: summary.store.clone(),
        started: summary.started.secs,
        finished: summary.finished.secs,
        complete: summary.completeness == Completeness::Complete,
        empty: head.is_empty,
        sequence: head.sequence,
        since: head.since.secs,
        same: Digest(head.same).to_string(),
        before: head.before.iter().map(|(sequence, digest)| (*sequence, digest.to_string())).collect(),
    };
    text(&record)
}

/// The bytes of a sealed store's private summary section.
///
/// # Errors
/// [`FormatError::TooLarge`]; [`FormatError::Invalid`] for a summary without details.
pub(super) fn encode_private_summary(summary: &Summary) -> Result<Vec<u8>, FormatError> {
    let details = summary.details.as_ref();
    let details = details.ok_or_else(|| FormatError::invalid(PART, "it has no details"))?;
    let utf8 = details.source.to_str();
    let record = PrivateRecord {
        source: details.source.to_string_lossy().into_owned(),
        source_bytes: utf8.is_none().then(|| details.source.as_os_str().as_bytes().to_vec()),
        host: details.host.clone(),
        tool: details.tool.clone(),
        excludes: details.excludes.clone(),
        started: (summary.started.secs, summary.started.nanos),
        finished: (summary.finished.secs, summary.finished.nanos),
        compared_with: details.compared_with.map(|d| d.to_string()),
        missing: missing(summary),
        counts: (&details.counts).into(),
    };
    text(&record)
}

fn missing(summary: &Summary) -> u64 {
    match summary.completeness {
        Completeness::Complete => 0,
        Completeness::Partial { missing } => missing,
    }
}

fn text(record: &impl Serialize) -> Result<Vec<u8>, FormatError> {
    let bytes = serde_json::to_vec_pretty(record).map_err(|e| FormatError::json(PART, &e))?;
    match bytes.len() {
        0..=MAX_SUMMARY => Ok(bytes),
        size => {
            Err(FormatError::TooLarge { what: PART.into(), size: size as u64, limit: MAX_SUMMARY as u64 })
        }
    }
}

fn record<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, FormatError> {
    if bytes.len() > MAX_SUMMARY {
        let reason = format!("it has {} bytes, more than {MAX_SUMMARY}", bytes.len());
        return Err(FormatError::invalid(PART, reason));
    }
    serde_json::from_slice(bytes).map_err(|e| FormatError::json(PART, &e))
}

fn time((secs, nanos): (i64, u32)) -> Result<Timestamp, FormatError> {
    match nanos {
        0..1_000_000_000 => Ok(Timestamp { secs, nanos }),
        _ => Err(FormatError::invalid(PART, format!("a time has {nanos} nanoseconds"))),
    }
}

fn source(text: String, bytes: Option<Vec<u8>>) -> PathBuf {
    bytes.map_or_else(|| PathBuf::from(text), |bytes| PathBuf::from(OsString::from_vec(bytes)))
}

/// Reads a sealed store's summary section: a summary without details. How many paths are missing it does not say, so that a partial
/// one has one at least.
///
/// # Errors
/// [`FormatError::Invalid`] for anything but that.
pub(super) fn decode_public_summary(bytes: &[u8]) -> Result<Summary, FormatError> {
    let invalid = |reason: String| FormatError::invalid(PART, reason);
    let record: PublicRecord = record(bytes)?;
    let hash = |hex: &str| hex.parse::<Digest>().map_err(|e| invalid(e.to_string()));
    let before = record.before.iter().map(|(sequence, hex)| Ok((*sequence, hash(hex)?)));
    let before: Vec<(u64, Digest)> = before.collect::<Result<_, FormatError>>()?;
    let descends = before.iter().map(|(sequence, _)| *sequence).chain([0]);
    let descends = std::iter::once(record.sequence).chain(descends).is_sorted_by(|a, b| a > b);
    if !descends || before.len() > MAX_BEFORE {
        return Err(invalid("its sequence numbers are not those of at most 64 manifests before it".into()));
    }
    let whole = |secs| Timestamp { secs, nanos: 0 };
    Ok(Summary {
        week: record.week.parse().map_err(|e| invalid(format!("{e}")))?,
        pvc: record.pvc.parse().map_err(|e| invalid(format!("{e}")))?,
        store: record.store,
        started: whole(record.started),
        finished: whole(record.finished),
        completeness: match record.complete {
            true => Completeness::Complete,
            false => Completeness::Partial { missing: 1 },
        },
        details: None,
        head: Some(Head {
            sequence: record.sequence,
            before,
            same: hash(&record.same)?.0,
            since: whole(record.since),
            is_empty: record.empty,
        }),
    })
}

/// Adds to a summary what the private section says.
///
/// # Errors
/// [`FormatError::Invalid`] for anything but that, and where the two contradict each other.
pub(super) fn decode_private_summary(bytes: &[u8], summary: &mut Summary) -> Result<(), FormatError> {
    let invalid = |reason: String| FormatError::invalid(PART, reason);
    let record: PrivateRecord = record(bytes)?;
    let (started, finished) = (time(record.started)?, time(record.finished)?);
    let is_complete = summary.completeness == Completeness::Complete;
    let same_times = (started.secs, finished.secs) == (summary.started.secs, summary.finished.secs);
    if is_complete != (record.missing == 0) || !same_times {
        return Err(invalid("its public and its private part contradict each other".into()));
    }
    (summary.started, summary.finished) = (started, finished);
    if !is_complete {
        summary.completeness = Completeness::Partial { missing: record.missing };
    }
    let compared_with = record.compared_with.map(|hex| hex.parse::<Digest>()).transpose();
    summary.details = Some(Details {
        source: source(record.source, record.source_bytes),
        host: record.host,
        tool: record.tool,
        excludes: record.excludes,
        compared_with: compared_with.map_err(|e| invalid(e.to_string()))?,
        counts: record.counts.into(),
    });
    Ok(())
}

/// Reads the summary section of a plain store. Members that this version does not know are passed over.
///
/// # Errors
/// [`FormatError::Invalid`] for anything but a summary.
pub fn decode_summary(bytes: &[u8]) -> Result<Summary, FormatError> {
    let invalid = |reason: String| FormatError::invalid(PART, reason);
    let record: SummaryRecord = record(bytes)?;
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
            source: source(record.source, record.source_bytes),
            host: record.host,
            tool: record.tool,
            excludes: record.excludes,
            compared_with: compared_with.map_err(|e| invalid(e.to_string()))?,
            counts: record.counts.into(),
        }),
        head: None,
    })
}
