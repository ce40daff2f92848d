//! `completions`: what a shell needs to complete our command line.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::options::help_end;
use clap::Args;
use std::io::{self, Write};

const EXAMPLES: &str = "\
Examples:
  weekvault completions bash > /etc/bash_completion.d/weekvault
  weekvault completions zsh > /usr/local/share/zsh/site-functions/_weekvault
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(
    context: &Context,
    args: &CompletionsArgs,
    mut command: clap::Command,
) -> Result<u8, Failure> {
    context.refuse_json("completions prints a shell's script to stdout")?;
    // The generator panics where its output fails: memory does not.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "weekvault", &mut script);
    io::stdout().write_all(&script)?;
    Ok(DONE)
}
