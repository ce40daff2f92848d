//! `undelete`: a retired manifest comes back.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::count;
use super::options::help_end;
use crate::model::{PvcName, Week};
use crate::ops::undelete::{Undeleted, undelete};
use clap::Args;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  weekvault undelete --week 2025-14 --pvc enigma
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: there is none, or not all that it needs", &[]))]
pub(super) struct UndeleteArgs {
    /// The week, as `list --trash` shows it
    #[arg(long, env = "WEEKVAULT_WEEK", value_name = "YYYY-WW")]
    week: Week,
    /// The source's name
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvc: PvcName,
}

pub(super) fn run(context: &Context, args: &UndeleteArgs) -> Result<u8, Failure> {
    const LEFT: &str = "the manifest is still in the trash";
    let archive = context.open()?;
    context.observer().phase("bringing back", None);
    let undeleted = undelete(context.run(&archive), args.week, &args.pvc);
    let Undeleted { id, day, brought_back, replaced } = undeleted.map_err(|e| context.failure(e, LEFT))?;
    let mut text =
        format!("{id}, in the trash since {day}, is back, and {} with it\n", count(brought_back, "object"));
    if replaced {
        text.push_str("the manifest that stood in its place is in the trash now\n");
    }
    text.push_str(
        "the next backup retires it again unless it keeps that many weeks: see --keep, --no-retention\n",
    );
    let document = json!({
        "manifest": id.to_string(),
        "week": id.week.to_string(),
        "pvc": id.pvc.as_str(),
        "retired": day.to_string(),
        "brought_back_objects": brought_back,
        "replaced": replaced,
    });
    context.print(&document, &text)?;
    Ok(DONE)
}
