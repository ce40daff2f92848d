//! `gc`: what goes to the trash, and what goes from there.

use super::args::help_end;
use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::{bytes, count, merge};
use crate::ops::Error;
use crate::ops::gc::{self as ops, GcRun, TRASH_DAYS};
use crate::repo::Collected;
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  weekvault gc --dry-run
  weekvault gc --trash-days 14
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed, or a backup is running on the store", &[]))]
pub(super) struct GcArgs {
    /// Only say what would be done
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
    /// Days that retired files stay in the trash
    #[arg(long, env = "WEEKVAULT_TRASH_DAYS", default_value_t = TRASH_DAYS, value_name = "N")]
    trash_days: u32,
    /// Go on though the store's clock and this machine's do not agree
    #[arg(long, env = "WEEKVAULT_IGNORE_CLOCK")]
    ignore_clock: bool,
}

pub(super) fn run(context: &Context, args: &GcArgs) -> Result<u8, Failure> {
    let archive = context.open()?;
    context.observer().phase("collecting garbage", None);
    let run = GcRun { dry_run: args.dry_run, trash_days: args.trash_days, ignore_clock: args.ignore_clock };
    let collected = ops::gc(&archive, run, context.observer())?;
    if collected.interrupted {
        return Err(context.failure(Error::Cancelled, "nothing that is needed was touched"));
    }
    let document = merge(json!({ "dry_run": args.dry_run }), collected_json(&collected));
    context.print(&document, &text(&collected, args.dry_run))?;
    Ok(DONE)
}

fn text(collected: &Collected, dry_run: bool) -> String {
    let (retired, deleted) = match dry_run {
        true => ("to retire", "to delete from the trash"),
        false => ("retired", "deleted from the trash"),
    };
    let mut text = format!(
        "{} in use\n{} {retired} ({})\n{} {deleted} ({})\n",
        count(collected.live, "object"),
        count(collected.retired, "object"),
        bytes(collected.retired_bytes),
        count(collected.deleted, "file"),
        bytes(collected.deleted_bytes),
    );
    if collected.brought_back > 0 {
        text.push_str(&format!("{} brought back from the trash\n", count(collected.brought_back, "object")));
    }
    if dry_run {
        text.push_str("dry run: nothing was changed\n");
    }
    text
}

/// What gc did, for programs.
pub(super) fn collected_json(collected: &Collected) -> Value {
    json!({
        "live_objects": collected.live,
        "retired_objects": collected.retired,
        "retired_bytes": collected.retired_bytes,
        "brought_back_objects": collected.brought_back,
        "deleted_files": collected.deleted,
        "deleted_bytes": collected.deleted_bytes,
    })
}
