//! `retain`: retention alone.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::options::help_end;
use crate::archive::{ArchiveError, Given, Retention, retain};
use crate::model::PvcName;
use crate::ops::{Error, clock};
use clap::Args;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  weekvault retain --keep 8 --dry-run
  weekvault retain --keep 4 --pvc log
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct RetainArgs {
    /// Weeks to keep of each pvc
    #[arg(long, env = "WEEKVAULT_KEEP", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Only this pvc
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvc: Option<PvcName>,
    /// Only say what would be done
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &RetainArgs) -> Result<u8, Failure> {
    let archive = context.open()?;
    context.check_pvc(&archive, args.pvc.as_ref())?;
    let pvcs = args.pvc.as_ref().map(std::slice::from_ref);
    let limits = Retention { keep: args.keep as usize, pvcs, never: None, dry_run: args.dry_run };
    // What has not begun is told by the store's clock, where that can be asked.
    let asked = if args.dry_run { Ok(()) } else { archive.check_clock(clock::now()) };
    let now = if let Err(ArchiveError::Clock { store, .. }) = asked { store } else { clock::now() };
    let Given { retired, stuck } = retain(&archive, &archive.manifests()?, limits, now, context.observer())?;
    let names: Vec<String> = retired.iter().map(|r| r.id.to_string()).collect();
    let verb = if args.dry_run { "would retire" } else { "retired" };
    let text = match names.as_slice() {
        [] => "nothing to retire\n".to_owned(),
        names => names.iter().map(|name| format!("{verb} {name}\n")).collect(),
    };
    context.print(&json!({ "dry_run": args.dry_run, "retired": names, "stuck_files": stuck }), &text)?;
    match stuck {
        0 => Ok(DONE),
        files => Err(Failure::Incomplete(Error::Stuck { files }.to_string())),
    }
}
