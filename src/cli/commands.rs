//! The command line, as `docs/cli.md` lays it down, and which command does what.

use super::context::Context;
use super::failure::{DONE, FAILED, Failure, USAGE};
use super::options::{DAMAGED, Global, PARTIAL, UNCHECKED, help_end};
use super::{
    backup, cat, completions, forget, gc, import, init, key, list, ls, man, materialize, restore, retain,
    undelete, verify,
};
use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::{OsStr, OsString};

const EXAMPLES: &str = "\
Examples:
  weekvault --store /backup backup --source html=/src/html
  weekvault --store /backup list
  weekvault --store /backup restore --week latest --pvc html
";

/// Content-addressed, deduplicating weekly backups of volumes, in plain files.
#[derive(Parser, Debug)]
#[command(
    name = "weekvault",
    version,
    about,
    subcommand_required = true,
    max_term_width = 100,
    after_help = help_end(EXAMPLES, "failed: nothing was published, unless the message says so", &[PARTIAL, DAMAGED, UNCHECKED])
)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make a store, or seal a plain one
    Init(init::InitArgs),
    /// Back up folders into this week's manifests
    Backup(backup::BackupArgs),
    /// Make a live tree equal to a manifest, in place
    Restore(restore::RestoreArgs),
    /// Recreate a plain tree in a new or empty folder
    Materialize(materialize::MaterializeArgs),
    /// Check objects, manifests and references
    Verify(verify::VerifyArgs),
    /// Retire what nothing references, and empty old trash
    Gc(gc::GcArgs),
    /// Keep the newest weeks, retire older manifests
    Retain(retain::RetainArgs),
    /// Retire weeks that are named, to the trash
    Forget(forget::ForgetArgs),
    /// Bring a retired manifest and its objects back from the trash
    Undelete(undelete::UndeleteArgs),
    /// Turn weekly copies that rsync made into manifests
    Import(import::ImportArgs),
    /// Show weeks and pvcs
    List(list::ListArgs),
    /// Show a manifest's tree
    Ls(ls::LsArgs),
    /// Write one file to stdout
    Cat(cat::CatArgs),
    /// Say who can open a sealed store, and who writes to it
    Key(key::KeyArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Write man pages into a folder
    Man(man::ManArgs),
}

/// Does what the command line says.
pub(super) fn run(context: &Context, command: &Command) -> Result<u8, Failure> {
    match command {
        Command::Init(args) => init::run(context, args),
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
        Command::Key(args) => key::run(context, args),
        Command::Completions(args) => completions::run(context, args, definition()),
        Command::Man(args) => man::run(context, args, definition()),
    }
}

/// The command line's definition, as completions, man pages and tests see it.
pub fn definition() -> clap::Command {
    adapted(Cli::command())
}

/// What holds for all options: a variable that is empty, or says no to a flag, is as good as unset; and help does not
/// name the variables one by one, let alone what they hold, which may be a password.
fn adapted(command: clap::Command) -> clap::Command {
    let adapt = |arg: Arg| {
        let Some(variable) = arg.get_env() else { return arg };
        let flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let says_no = |v: &OsStr| v.is_empty() || (flag && v.to_str().is_some_and(is_no));
        let unset = std::env::var_os(variable).is_some_and(|v| says_no(&v));
        let arg = arg.hide_env(true);
        let arg = if flag { arg.value_parser(BoolishValueParser::new()) } else { arg };
        if unset { arg.env(None) } else { arg }
    };
    command.mut_args(adapt).mut_subcommands(adapted)
}

fn is_no(value: &str) -> bool {
    ["n", "no", "f", "false", "off", "0"].contains(&value.to_lowercase().as_str())
}

/// Reads the command line and the environment. Where that gives no command, all has been said, and the exit code is
/// returned.
pub(super) fn parse() -> Result<Cli, u8> {
    let parsed = definition().color(color()).try_get_matches().and_then(|m| Cli::from_arg_matches(&m));
    let error = match parsed {
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    // Help and version go to stdout, usage errors to stderr; that nobody reads them is nobody's error.
    let printed = error.print();
    if !error.use_stderr() {
        let lost = printed.is_err_and(|e| e.kind() != std::io::ErrorKind::BrokenPipe);
        return Err(if lost { FAILED } else { DONE });
    }
    if given("--json", "WEEKVAULT_JSON").is_some_and(|v| !v.is_empty() && !is_no(&v.to_string_lossy())) {
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        let message = text.split("\n\n").next().unwrap_or_default();
        Failure::Usage(message.to_owned()).print_json();
    }
    Err(USAGE)
}

/// Whether clap's own messages have colours.
fn color() -> ColorChoice {
    match given("--color", "WEEKVAULT_COLOR").as_deref().and_then(OsStr::to_str) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// What an option of every command is set to, as far as that can be told without a command line that makes sense.
fn given(option: &str, variable: &str) -> Option<OsString> {
    let mut arguments = std::env::args_os().skip(1).take_while(|a| a != "--");
    while let Some(argument) = arguments.next() {
        if argument == option {
            return Some(if option == "--json" {
                "yes".into()
            } else {
                arguments.next().unwrap_or_default()
            });
        }
        let value = argument.to_str().and_then(|a| a.strip_prefix(option)?.strip_prefix('='));
        if let Some(value) = value {
            return Some(value.into());
        }
    }
    std::env::var_os(variable)
}
