//! The command line: arguments, progress, text and JSON, exit codes. One short file a command.

mod args;
mod backup;
mod bug;
mod cat;
mod completions;
mod context;
mod failure;
mod forget;
mod gc;
mod human;
mod import;
mod init;
mod list;
mod ls;
mod man;
mod materialize;
mod metrics;
mod place;
mod progress;
mod restore;
mod retain;
mod stores;
mod trash;
mod undelete;
mod verify;

pub use args::command;

use crate::model::one_line;
use args::{Cli, Command};
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
    bug::caught(|| Ok(parse_and_run())).unwrap_or_else(untold).into()
}

fn parse_and_run() -> u8 {
    let Cli { global, command } = match args::parse() {
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
    bug::caught(|| run(&context, &command)).unwrap_or_else(|failure| context.tell(&failure))
}

fn run(context: &Context, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Init(_) => init::run(context),
        Command::Backup(args) => backup::run(context, args),
        Command::Restore(args) => restore::run(context, args),
        Command::Materialize(args) => materialize::run(context, args),
        Command::Verify(args) => verify::run(context, args),
        Command::Gc(args) => gc::run(context, args),
        Command::Retain(args) => retain::run(context, args),
        Command::Forget(args) => forget::run(context, args),
        Command::Undelete(args) => undelete::run(context, args),
        Command::Import(args) => import::run(context, args),
        Command::List(args) => list::run(context, args),
        Command::Ls(args) => ls::run(context, args),
        Command::Cat(args) => cat::run(context, args),
        Command::Completions(args) => completions::run(context, args),
        Command::Man(args) => man::run(context, args),
    }
}
