//! The command line, as `docs/cli.md` lays it down.

use super::context::Context;
use super::failure::{DONE, FAILED, Failure, USAGE};
use super::{
    backup, cat, completions, forget, gc, import, init, list, ls, man, materialize, restore, retain,
    undelete, verify,
};
use crate::model::{PvcName, WeekRef};
use crate::repo::{Archive, Manifest};
use clap::builder::BoolishValueParser;
use clap::{
    Arg, ArgAction, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

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

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// The store's folder
    #[arg(long, global = true, env = "WEEKVAULT_STORE", default_value = "/backup", value_name = "DIR")]
    pub(super) store: PathBuf,
    /// Refuse a store with another id than this
    #[arg(long, global = true, env = "WEEKVAULT_STORE_ID", value_name = "ID")]
    pub(super) store_id: Option<String>,
    /// Print JSON on stdout, and nothing else there
    #[arg(long, global = true, env = "WEEKVAULT_JSON")]
    pub(super) json: bool,
    /// Say more; twice for debugging. Wins over --quiet
    #[arg(long, short, global = true, env = "WEEKVAULT_VERBOSE", action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Say nothing on stderr but warnings and errors
    #[arg(long, short, global = true, env = "WEEKVAULT_QUIET")]
    pub(super) quiet: bool,
    /// When to use colours on stderr; "auto" is on a terminal without NO_COLOR
    #[arg(long, global = true, env = "WEEKVAULT_COLOR", value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
    /// Threads for each kind of work [default: the number of cores, at most 4]
    #[arg(long, global = true, env = "WEEKVAULT_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) threads: Option<u16>,
    /// Where to keep what makes the next run faster [default: weekvault in the user's cache folder]
    #[arg(long, global = true, env = "WEEKVAULT_CACHE_DIR", value_name = "DIR")]
    pub(super) cache_dir: Option<PathBuf>,
    /// Keep no such cache
    #[arg(long, global = true, env = "WEEKVAULT_NO_CACHE")]
    pub(super) no_cache: bool,
}

// Doc comments on the values would make clap print all help in two lengths.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Make a store
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
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Write man pages into a folder
    Man(man::ManArgs),
}

/// Names a manifest.
#[derive(Args, Clone, Debug)]
pub(super) struct Which {
    /// The week: YYYY-WW as `date +%Y-%W` prints it, "latest" or "previous"
    #[arg(long, env = "WEEKVAULT_WEEK", value_name = "WEEK")]
    pub(super) week: WeekRef,
    /// The source's name
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pub(super) pvc: PvcName,
}

impl Which {
    /// Opens the manifest.
    pub(super) fn open(&self, context: &Context, archive: &Archive) -> Result<Manifest, Failure> {
        context.tell_future(archive, self.week, &self.pvc)?;
        let manifest = archive.open_manifest(&archive.find_manifest(self.week, &self.pvc)?)?;
        let id = manifest.id();
        if id.partial {
            let (week, pvc) = (id.week, &id.pvc);
            context
                .observer()
                .warn(&format!("{week}/{pvc} is partial: some paths could not be read when it was made"));
        }
        Ok(manifest)
    }
}

/// An exit code and what it means.
pub(super) type ExitMeaning = (u8, &'static str);
pub(super) const PARTIAL: ExitMeaning = (3, "published, but some files of the sources could not be read");
pub(super) const DAMAGED: ExitMeaning = (4, "verify found damage");
pub(super) const UNCHECKED: ExitMeaning = (5, "something could not be read, and so not be checked");

const ENVIRONMENT: &str = "\
Every option can be set in the environment: --cache-dir DIR as
WEEKVAULT_CACHE_DIR=DIR, --json as WEEKVAULT_JSON=1.
";

/// The end of a command's help: examples, then the exit codes that the command can have.
pub(super) fn help_end(examples: &str, failed: &'static str, more: &[ExitMeaning]) -> String {
    let (before, after) = (
        [(0, "done"), (1, failed), (2, "wrong usage")],
        [(129, "hung up (SIGHUP)"), (130, "interrupted (SIGINT)"), (143, "terminated (SIGTERM)")],
    );
    let codes = before.iter().chain(more).chain(&after);
    let codes: Vec<String> = codes.map(|(code, meaning)| format!("  {code:<4} {meaning}")).collect();
    format!("{ENVIRONMENT}\n{examples}\nExit codes:\n{}", codes.join("\n"))
}

/// The command line's definition, as completions, man pages and tests see it.
pub fn command() -> clap::Command {
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
    let parsed = command().color(color()).try_get_matches().and_then(|m| Cli::from_arg_matches(&m));
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
