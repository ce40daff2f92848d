//! `gc`: what goes to the trash, and what goes from there.

use super::context::Context;
use super::failure::{DONE, Failure, way_out};
use super::human::{bytes, count, merge};
use super::options::help_end;
use crate::archive::Collected;
use crate::ops::Error;
use crate::ops::gc::{self as ops, GcRun, TRASH_DAYS};
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  weekvault gc --dry-run
  weekvault gc --trash-days 14
  weekvault gc --empty-trash             (what was retired cannot be brought back then)
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed, a backup is running on the store, or not all could be moved", &[]))]
pub(super) struct GcArgs {
    /// Only say what would be done
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
    /// Days that retired files stay in the trash
    #[arg(long, env = "WEEKVAULT_TRASH_DAYS", default_value_t = TRASH_DAYS, value_name = "N")]
    trash_days: u32,
    /// Empty the whole trash now, of what this run retires too; --trash-days does not matter then
    #[arg(long, env = "WEEKVAULT_EMPTY_TRASH")]
    empty_trash: bool,
    /// Go on though the store's clock and this machine's do not agree
    #[arg(long, env = "WEEKVAULT_IGNORE_CLOCK")]
    ignore_clock: bool,
}

pub(super) fn run(context: &Context, args: &GcArgs) -> Result<u8, Failure> {
    let archive = context.open()?;
    context.observer().phase("collecting garbage", None);
    let GcArgs { dry_run, trash_days, empty_trash, ignore_clock } = *args;
    let how = GcRun { dry_run, trash_days, empty_trash, ignore_clock };
    let collected = ops::gc(context.run(&archive), how).map_err(|error| match way_out(&error) {
        "" => Failure::from(error),
        way_out => Failure::Refused(format!("{error}{way_out}")),
    })?;
    if collected.interrupted {
        return Err(context.failure(Error::Cancelled, "nothing that is needed was touched"));
    }
    let document = merge(json!({ "dry_run": args.dry_run }), collected_json(&collected));
    context.print(&document, &text(&collected, args.dry_run))?;
    match collected.stuck {
        0 => Ok(DONE),
        files => Err(Failure::Incomplete(Error::Stuck { files }.to_string())),
    }
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
        "stuck_files": collected.stuck,
    })
}
