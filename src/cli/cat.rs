//! `cat`: one file to stdout.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::ls::parse_path;
use super::options::{Which, help_end};
use crate::ops::browse;
use clap::Args;
use std::ffi::OsString;
use std::io::{self, BufWriter};

const EXAMPLES: &str = "\
Examples:
  weekvault cat --week latest --pvc html config/config.inc.php
  weekvault cat --week 2025-14 --pvc enigma pubring.kbx > pubring.kbx
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct CatArgs {
    #[command(flatten)]
    which: Which,
    /// The file in the source
    path: OsString,
}

pub(super) fn run(context: &Context, args: &CatArgs) -> Result<u8, Failure> {
    context.refuse_json("cat writes the file's bytes to stdout")?;
    let path = parse_path(Some(&args.path))?;
    let archive = context.for_reader(context.open_to_read()?)?;
    let manifest = context.manifest(&args.which, &archive)?;
    let mut out = BufWriter::new(io::stdout().lock());
    browse::cat(context.run(&archive), &manifest, &path, &mut out)
        .map_err(|e| context.failure(e, "the output is not whole"))?;
    Ok(DONE)
}
