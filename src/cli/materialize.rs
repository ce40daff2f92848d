//! `materialize`: recreates a plain tree.

use super::args::{Which, help_end};
use super::context::Context;
use super::failure::Failure;
use super::restore::{FAILED, How, carry_out};
use clap::Args;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  weekvault materialize --week 2025-14 --pvc html /srv/compare/html
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, FAILED, &[]))]
pub(super) struct MaterializeArgs {
    #[command(flatten)]
    which: Which,
    /// A new or empty folder
    dir: PathBuf,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(context: &Context, args: &MaterializeArgs) -> Result<u8, Failure> {
    let archive = context.open_to_read()?;
    let manifest = args.which.open(&archive)?;
    if !is_new_or_empty(&args.dir)? {
        let message =
            format!("{} is not empty; give a new folder, or use `weekvault restore`", args.dir.display());
        return Err(Failure::Usage(message));
    }
    carry_out(context, &archive, &manifest, &args.how.options(context, args.dir.clone()))
}

fn is_new_or_empty(dir: &Path) -> Result<bool, Failure> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Failure::Usage(format!("{}: {e}", dir.display()))),
    }
}
