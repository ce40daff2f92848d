//! The command line: arguments, progress, text and JSON, exit codes. One short file a command.

mod backup;
mod bug;
mod cat;
mod commands;
mod completions;
mod context;
mod failure;
mod files;
mod forget;
mod gc;
mod heads;
mod human;
mod import;
mod init;
mod key;
mod keys;
mod list;
mod ls;
mod man;
mod materialize;
mod metrics;
mod options;
mod place;
mod progress;
mod restore;
mod retain;
mod seal;
mod stores;
mod trash;
mod undelete;
mod verify;

pub use commands::definition as command;

use crate::model::one_line;
use commands::Cli;
use context::Context;
use failure::Failure;
use std::io::Write;
use std::process::ExitCode;

/// Runs the program: reads the command line, does what it says, and returns the exit code.
pub fn main() -> ExitCode {
    bug::listen();
    let untold = |failure: Failure| {
        let _ = writeln!(std::io::stderr(), "error: {}", one_line(&failure.to_string()));
        failure.code()
    };
    Failure::caught(|| Ok(parse_and_run())).unwrap_or_else(untold).into()
}

fn parse_and_run() -> u8 {
    let Cli { global, command } = match commands::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let json = global.json;
    let context = match Context::new(global) {
        Ok(context) => context,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {}", one_line(&failure.to_string()));
            if json {
                failure.print_json();
            }
            return failure.code();
        }
    };
    Failure::caught(|| commands::run(&context, &command)).unwrap_or_else(|failure| context.tell(&failure))
}
