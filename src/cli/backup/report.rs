//! What a backup says at its end: to people, programs and Prometheus.

use super::outcome::Outcome;
use crate::archive::Archive;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::gc::collected_json;
use crate::cli::human::{bytes, path_json, table};
use crate::cli::metrics::head_reports;
use crate::edge::{BackupReport, SourceReport, StoreReport};
use crate::model::{Completeness, Timestamp, Week};
use crate::ops::backup::{BackedUp, MissingSource};
use crate::ops::{browse, clock};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Prints the closing block and a table of the sources, or the same as JSON.
pub(super) fn print(context: &Context, dry_run: bool, outcome: &Outcome) -> Result<(), Failure> {
    let total = |f: fn(&BackedUp) -> u64| outcome.sources.iter().map(f).sum::<u64>();
    let read = total(|s| s.counts.bytes_read);
    let written = context.observer().counters().store_written.get();
    let output = total(|s| s.output_bytes);
    let retired: Vec<String> = outcome.cleaned.retired.iter().map(|r| r.id.to_string()).collect();
    let document = json!({
        "exit_code": outcome.code(),
        "dry_run": dry_run,
        "created_store": outcome.created,
        "duration_seconds": outcome.took.as_secs_f64(),
        "read_bytes": read,
        "written_bytes": written,
        "output_bytes": output,
        "sources": outcome.sources.iter().map(source_json).collect::<Vec<_>>(),
        "missing_sources": outcome.missing.iter().map(missing_json).collect::<Vec<_>>(),
        "replaced": outcome.replaced.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "retired": retired,
        "gc": outcome.cleaned.collected.as_ref().map(collected_json),
        "trouble": outcome.trouble.as_ref().map(ToString::to_string),
    });
    let mut text = format!(
        "=== Backup IO Stats ===\nduration: {}s\nread:    {}\nwritten: {}\noutput:  {}\n\n",
        outcome.took.as_secs(),
        bytes(read),
        bytes(written),
        bytes(output),
    );
    let head = [
        "pvc",
        "files",
        "unchanged",
        "changed",
        "new",
        "removed",
        "read",
        "new objects",
        "stored",
        "skipped",
        "",
    ];
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(outcome.sources.iter().map(row)).collect();
    let missing: Vec<String> = outcome.missing.iter().map(|m| m.source.pvc.to_string()).collect();
    text.push_str(&table(&rows, &[10]));
    if !missing.is_empty() {
        text.push_str(&format!("\nMISSING, and left out: {}\n", missing.join(", ")));
    }
    if !retired.is_empty() {
        text.push_str(&format!("\nretired: {}\n", retired.join(", ")));
    }
    if dry_run {
        text.push_str("\ndry run: nothing was written; `written` is what would be\n");
    }
    context.print(&document, &text)
}

fn missing_json(missing: &MissingSource) -> Value {
    let folder = missing.source.path.display().to_string();
    json!({ "pvc": missing.source.pvc.as_str(), "folder": folder, "reason": missing.reason })
}

pub(in crate::cli) fn missing(source: &BackedUp) -> u64 {
    match source.completeness {
        Completeness::Complete => 0,
        Completeness::Partial { missing } => missing,
    }
}

fn row(source: &BackedUp) -> Vec<String> {
    let c = &source.counts;
    let numbers = [c.files, c.unchanged, c.changed, c.new, c.removed].map(|n| n.to_string());
    let mut row = vec![source.pvc.to_string()];
    row.extend(numbers);
    row.extend([
        bytes(c.bytes_read),
        c.new_objects.to_string(),
        bytes(c.new_stored_bytes),
        c.skipped.to_string(),
    ]);
    let mut notes = Vec::new();
    if missing(source) > 0 {
        notes.push(format!("PARTIAL: {} not read", missing(source)));
    }
    if c.vanished > 0 {
        notes.push(format!("{} vanished", c.vanished));
    }
    row.push(notes.join(", "));
    row
}

pub(in crate::cli) fn source_json(source: &BackedUp) -> Value {
    let c = &source.counts;
    let problems = source.problems.iter();
    let problems =
        problems.map(|p| path_json(&p.path, json!({ "operation": p.operation, "error": p.error })));
    json!({
        "pvc": source.pvc.as_str(),
        "complete": missing(source) == 0,
        "unreadable": missing(source),
        "problems": problems.collect::<Vec<_>>(),
        "started": clock::rfc3339(source.started),
        "finished": clock::rfc3339(source.finished),
        "entries": c.entries,
        "files": c.files,
        "folders": c.folders,
        "bytes": c.bytes,
        "unchanged": c.unchanged,
        "changed": c.changed,
        "new": c.new,
        "removed": c.removed,
        "bytes_read": c.bytes_read,
        "new_objects": c.new_objects,
        "new_chunk_bytes": c.new_chunk_bytes,
        "new_stored_bytes": c.new_stored_bytes,
        "manifest_bytes": source.manifest_bytes,
        "skipped": c.skipped,
        "vanished": c.vanished,
        "changed_while_read": c.changed_while_read,
    })
}

/// What Prometheus is told: of a failed run only what is known.
pub(super) fn for_metrics(context: &Context, run: &Result<Outcome, Failure>, took: Duration) -> BackupReport {
    let sources = run.as_ref().map(|o| o.sources.as_slice()).unwrap_or_default();
    let counters = context.observer().counters();
    BackupReport {
        status: run.as_ref().map_or_else(Failure::code, Outcome::code).into(),
        finished: clock::now(),
        duration: run.as_ref().map_or(took, |o| o.took),
        read_bytes: counters.bytes_read.get(),
        written_bytes: counters.store_written.get(),
        output_bytes: sources.iter().map(|s| s.output_bytes).sum(),
        sources: sources.iter().map(source_report).collect(),
        store: run.as_ref().ok().and_then(|o| store_report(&o.archive)),
        heads: run.as_ref().map(|o| head_reports(&o.archive)).unwrap_or_default(),
    }
}

fn source_report(source: &BackedUp) -> SourceReport {
    SourceReport {
        pvc: source.pvc.clone(),
        files: source.counts.files,
        source_bytes: source.counts.bytes,
        changed_files: source.counts.changed + source.counts.new,
        unreadable_files: missing(source),
        changed_while_read_files: source.counts.changed_while_read,
    }
}

fn store_report(archive: &Archive) -> Option<StoreReport> {
    let listing = archive.list_objects().ok()?;
    let manifests = browse::list(archive, None).ok()?;
    let summaries = manifests.iter().filter_map(|m| m.summary.as_ref().ok());
    // In a sealed store a writer does not know how much the others' manifests stand for.
    let logical: Option<u64> = summaries.map(|summary| Some(summary.counts()?.bytes)).sum();
    let bytes = listing.bytes() + manifests.iter().map(|m| m.length).sum::<u64>();
    let weeks: BTreeSet<Week> = manifests.iter().map(|m| m.id.week).collect();
    let dedup_ratio = logical.map(|logical| if bytes == 0 { 0.0 } else { logical as f64 / bytes as f64 });
    let created = Timestamp::parse_rfc3339(&archive.config().created);
    Some(StoreReport {
        bytes,
        objects: listing.len() as u64,
        dedup_ratio,
        weeks: weeks.len() as u64,
        created,
    })
}
