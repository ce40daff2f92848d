//! `list`: weeks and pvcs.

use super::context::Context;
use super::failure::{DONE, FAILED, Failure, UNCHECKED};
use super::human::{bytes, table};
use super::options::{UNCHECKED as UNCHECKED_MEANING, help_end};
use crate::model::{Completeness, Counts, PvcName};
use crate::ops::browse::{self, Listed, NoSummary};
use crate::ops::clock;
use crate::ops::gc::TRASH_DAYS;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const EXAMPLES: &str = "\
Examples:
  weekvault list
  weekvault list --pvc enigma --json
  weekvault list --trash
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed, a manifest is damaged, or there are objects and no manifest", &[UNCHECKED_MEANING]))]
pub(super) struct ListArgs {
    /// Only this pvc
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvc: Option<PvcName>,
    /// What is in the trash, and until when
    #[arg(long, env = "WEEKVAULT_TRASH")]
    trash: bool,
    /// With --trash: days that gc leaves retired files there
    #[arg(long, env = "WEEKVAULT_TRASH_DAYS", default_value_t = TRASH_DAYS, value_name = "N")]
    trash_days: u32,
}

pub(super) fn run(context: &Context, args: &ListArgs) -> Result<u8, Failure> {
    let archive = context.for_reader(context.open_to_read()?)?;
    if args.trash {
        return super::trash::print(context, &archive, args.pvc.as_ref(), args.trash_days);
    }
    context.check_pvc(&archive, args.pvc.as_ref())?;
    let mut listed = browse::list(&archive, context.cache()?.as_ref())?;
    let has_any = !listed.is_empty();
    listed.retain(|l| args.pvc.as_ref().is_none_or(|pvc| l.id.pvc == *pvc));
    let head = ["week", "pvc", "when", "files", "size", "new", "state"].map(str::to_owned).to_vec();
    let sealed = archive.config().sealed;
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(listed.iter().map(|listed| row(listed, sealed))).collect();
    let text = if listed.is_empty() { "no manifests yet\n".to_owned() } else { table(&rows, &[1, 2, 6]) };
    context.print(&listed.iter().map(document).collect(), &text)?;
    for pvc in listed.iter().map(|l| &l.id.pvc).collect::<BTreeSet<_>>() {
        let weeks = listed.iter().filter(|l| l.id.pvc == *pvc).map(|l| l.id.week).collect();
        context.tell_of_future(pvc, &archive.later_than_now(&weeks));
    }
    if !has_any {
        browse::check_manifests(&archive).map_err(|e| Failure::Incomplete(e.to_string()))?;
    }
    let any = |wanted: fn(&NoSummary) -> bool| listed.iter().any(|l| l.summary.as_ref().is_err_and(wanted));
    Ok(match () {
        () if any(|why| matches!(why, NoSummary::Damaged(_))) => FAILED,
        () if any(|why| matches!(why, NoSummary::Unreadable(_))) => UNCHECKED,
        () => DONE,
    })
}

/// In a sealed store it is said which manifests are plain.
fn row(listed: &Listed, sealed: bool) -> Vec<String> {
    let mut row = vec![listed.id.week.to_string(), listed.id.pvc.to_string()];
    match &listed.summary {
        Ok(summary) => {
            let counts = summary.counts();
            let mut state = match summary.completeness {
                Completeness::Complete => "complete".to_owned(),
                Completeness::Partial { missing } => format!("PARTIAL: {missing} not read"),
            };
            if let Some(counts) = counts.filter(|counts| counts.changed_while_read > 0) {
                state.push_str(&format!(", {} changed while read", counts.changed_while_read));
            }
            if sealed && summary.head.is_none() {
                state.push_str(", plain");
            }
            // Without a key that is not known.
            let told = |told: fn(&Counts) -> String| counts.map_or_else(|| "-".to_owned(), told);
            row.extend([
                clock::rfc3339(summary.started),
                told(|c| c.files.to_string()),
                told(|c| bytes(c.bytes)),
            ]);
            let new = counts.map(|counts| bytes(counts.new_stored_bytes.saturating_add(listed.length)));
            row.extend([new.unwrap_or_else(|| "-".to_owned()), state]);
        }
        Err(why) => {
            row.extend(["-"; 4].map(str::to_owned));
            row.push(match why {
                NoSummary::Damaged(error) => format!("DAMAGED: {error}"),
                NoSummary::Foreign(what) => format!("FOREIGN: {what}"),
                NoSummary::Unreadable(error) => format!("NOT CHECKED: {error}"),
            });
        }
    }
    row
}

fn document(listed: &Listed) -> Value {
    let (week, pvc) = (listed.id.week.to_string(), listed.id.pvc.as_str());
    let details = listed.summary.as_ref().ok().and_then(|summary| summary.details.as_ref());
    let counts = details.map(|details| details.counts);
    match &listed.summary {
        Err(NoSummary::Damaged(error)) => {
            json!({ "week": week, "pvc": pvc, "partial": listed.id.partial, "damaged": error })
        }
        Err(NoSummary::Foreign(what)) => {
            json!({ "week": week, "pvc": pvc, "partial": listed.id.partial, "foreign": what })
        }
        Err(NoSummary::Unreadable(error)) => {
            json!({ "week": week, "pvc": pvc, "partial": listed.id.partial, "not_checked": error })
        }
        Ok(summary) => json!({
            "week": week,
            "pvc": pvc,
            "partial": listed.id.partial,
            "unreadable": match summary.completeness {
                Completeness::Complete => 0,
                Completeness::Partial { missing } => missing,
            },
            "started": clock::rfc3339(summary.started),
            "finished": clock::rfc3339(summary.finished),
            "host": details.map(|d| &d.host),
            "tool": details.map(|d| &d.tool),
            "source": details.map(|d| d.source.display().to_string()),
            "entries": counts.map(|c| c.entries),
            "files": counts.map(|c| c.files),
            "bytes": counts.map(|c| c.bytes),
            "new_stored_bytes": counts.map(|c| c.new_stored_bytes),
            "manifest_bytes": listed.length,
            "changed_while_read": counts.map(|c| c.changed_while_read),
            "sealed": summary.head.is_some(),
            "sequence": summary.head.as_ref().map(|head| head.sequence),
            "since": summary.head.as_ref().map(|head| clock::rfc3339(head.since)),
        }),
    }
}
