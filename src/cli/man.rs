//! `man`: one page for the program, and one for each command.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::options::help_end;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  weekvault man /usr/local/share/man/man1
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct ManArgs {
    /// Where to; made if it is missing
    dir: PathBuf,
}

pub(super) fn run(context: &Context, args: &ManArgs, command: clap::Command) -> Result<u8, Failure> {
    super::place::check(&args.dir)
        .map_err(|wrong| Failure::Usage(format!("the folder {:?} {wrong}", args.dir)))?;
    let failed = |e| Failure::File(format!("write man pages into {}", args.dir.display()), e);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(command, &args.dir).map_err(failed)?;
    let text = format!(
        "man pages are in {}; `man -l {}/weekvault.1` shows the first\n",
        args.dir.display(),
        args.dir.display()
    );
    context.print(&json!({ "dir": args.dir.display().to_string() }), &text)?;
    Ok(DONE)
}
