//! Records of what a manifest has not: paths that could not be read, and places that were left out.

use super::FormatError;
use super::wire::{check_path, decode, encode, path};
use crate::model::{Excerpt, LeftOut, LeftOutReason, Problem};
use serde::{Deserialize, Serialize};

/// Plain bytes of the left-out section at most; places beyond are not listed one by one.
pub const MAX_LEFT_OUT: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct ProblemRecord<'a> {
    #[serde(with = "serde_bytes")]
    path: &'a [u8],
    operation: &'a str,
    error: &'a str,
}

/// Appends the record of a path that could not be read.
pub(super) fn encode_problem(problem: &Problem, out: &mut Vec<u8>) -> Result<(), FormatError> {
    check_path(&problem.path)?;
    let record =
        ProblemRecord { path: problem.path.as_bytes(), operation: &problem.operation, error: &problem.error };
    encode(&record, out, &|| format!("the problem of {}", problem.path))
}

/// Reads a problem at the start of `bytes`; also returns how many bytes it took.
pub(super) fn decode_problem(bytes: &[u8]) -> Result<(Problem, usize), FormatError> {
    let part = "the missing section";
    let (record, used) = decode::<ProblemRecord<'_>>(bytes, part)?;
    let Some(path) = path(record.path) else {
        return Err(FormatError::invalid(part, format!("\"{}\" is no path", Excerpt(record.path))));
    };
    Ok((Problem { path, operation: record.operation.into(), error: record.error.into() }, used))
}

#[derive(Serialize, Deserialize)]
struct LeftOutRecord<'a> {
    #[serde(with = "serde_bytes")]
    path: &'a [u8],
    reason: u32,
}

const LEFT_OUT: &str = "the left-out section";

/// The reasons that have a number.
const REASONS: [LeftOutReason; 5] = [
    LeftOutReason::Unlisted,
    LeftOutReason::Cache,
    LeftOutReason::Mount,
    LeftOutReason::Store,
    LeftOutReason::Leftover,
];

/// Appends the record of a place that was left out.
pub(super) fn encode_left_out(place: &LeftOut, out: &mut Vec<u8>) -> Result<(), FormatError> {
    check_path(&place.path)?;
    let reason = match place.reason {
        LeftOutReason::Other(number) => number,
        reason => (0..).zip(REASONS).find(|(_, r)| *r == reason).map_or(0, |(number, _)| number),
    };
    let record = LeftOutRecord { path: place.path.as_bytes(), reason };
    encode(&record, out, &|| format!("what was left out at {}", place.path))
}

/// Reads the place at the start of `bytes`; also returns how many bytes it took.
pub(super) fn decode_left_out(bytes: &[u8]) -> Result<(LeftOut, usize), FormatError> {
    let (record, used) = decode::<LeftOutRecord<'_>>(bytes, LEFT_OUT)?;
    let Some(path) = path(record.path) else {
        return Err(FormatError::invalid(LEFT_OUT, format!("\"{}\" is no path", Excerpt(record.path))));
    };
    let reason = REASONS.get(record.reason as usize).copied();
    Ok((LeftOut { path, reason: reason.unwrap_or(LeftOutReason::Other(record.reason)) }, used))
}

/// Checks that a place comes after the one before it.
pub(super) fn check_left_out_order(last: Option<&LeftOut>, next: &LeftOut) -> Result<(), FormatError> {
    match last {
        Some(last) if last.path >= next.path => {
            Err(FormatError::invalid(LEFT_OUT, format!("{} is out of order", next.path)))
        }
        _ => Ok(()),
    }
}
