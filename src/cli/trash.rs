//! `list --trash`: what can still be brought back.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::{bytes, count, merge, table};
use crate::archive::{Archive, Trashed};
use crate::model::{PvcName, Summary};
use crate::ops::clock;
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

pub(super) fn print(
    context: &Context,
    archive: &Archive,
    pvc: Option<&PvcName>,
    days: u32,
) -> Result<u8, Failure> {
    let mut trashed = archive.trashed_manifests()?;
    trashed.retain(|t| pvc.is_none_or(|pvc| t.manifest.id.pvc == *pvc));
    let objects = archive.trashed_objects()?;
    let opened: Vec<(Trashed, Result<Summary, String>)> = trashed
        .into_iter()
        .map(|t| {
            let summary = archive.open_trashed(&t).map(|m| m.summary().clone()).map_err(|e| e.to_string());
            (t, summary)
        })
        .collect();
    let head =
        ["week", "pvc", "made", "retired", "until", "files", "size", "state"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(opened.iter().map(|(t, s)| row(t, s, days))).collect();
    let mut text = if opened.is_empty() { String::new() } else { table(&rows, &[1, 2, 3, 4, 7]) };
    for day in &objects {
        let damaged =
            if day.damaged > 0 { format!(", {} of them damaged", day.damaged) } else { String::new() };
        let (number, size) = (count(day.objects, "object"), bytes(day.bytes));
        text.push_str(&format!(
            "{number} ({size}{damaged}) retired {}, until {}\n",
            day.day,
            until(day.day, days)
        ));
    }
    if text.is_empty() {
        text.push_str("the trash is empty\n");
    }
    let of_day = |day: Date| json!({ "retired": day.to_string(), "until": until(day, days).to_string() });
    let document = json!({
        "manifests": opened.iter().map(|(t, s)| document(t, s, of_day(t.day))).collect::<Vec<_>>(),
        "objects": objects
            .iter()
            .map(|o| merge(of_day(o.day), json!({ "objects": o.objects, "bytes": o.bytes, "damaged": o.damaged })))
            .collect::<Vec<_>>(),
    });
    context.print(&document, &text)?;
    Ok(DONE)
}

/// The first day on which a gc deletes what was retired on `day`; objects that a manifest names stay.
fn until(day: Date, days: u32) -> Date {
    day.saturating_add((i64::from(days) + 1).days())
}

fn row(trashed: &Trashed, summary: &Result<Summary, String>, days: u32) -> Vec<String> {
    let id = &trashed.manifest.id;
    let (day, until) = (trashed.day.to_string(), until(trashed.day, days).to_string());
    let mut row = vec![id.week.to_string(), id.pvc.to_string()];
    match summary {
        Ok(summary) => {
            let state = if id.partial { "PARTIAL" } else { "complete" };
            let (files, size) = match summary.counts() {
                Some(counts) => (counts.files.to_string(), bytes(counts.bytes)),
                None => ("-".to_owned(), "-".to_owned()),
            };
            row.extend([clock::rfc3339(summary.finished), day, until, files, size, state.to_owned()]);
        }
        Err(error) => {
            row.extend(["-".to_owned(), day, until, "-".to_owned(), "-".to_owned()]);
            row.push(format!("DAMAGED: {error}"));
        }
    }
    row
}

fn document(trashed: &Trashed, summary: &Result<Summary, String>, of_day: Value) -> Value {
    let id = &trashed.manifest.id;
    let document = json!({
        "week": id.week.to_string(),
        "pvc": id.pvc.as_str(),
        "partial": id.partial,
        "manifest_bytes": trashed.manifest.length,
    });
    let more = match summary {
        Ok(s) => json!({
            "started": clock::rfc3339(s.started),
            "finished": clock::rfc3339(s.finished),
            "files": s.counts().map(|c| c.files),
            "bytes": s.counts().map(|c| c.bytes),
        }),
        Err(error) => json!({ "damaged": error }),
    };
    merge(merge(document, of_day), more)
}
