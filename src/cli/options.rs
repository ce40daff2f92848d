//! What the command lines of several commands have in common.

use crate::model::{PvcName, WeekRef};
use clap::{ArgAction, Args, ValueEnum};
use std::path::PathBuf;

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
    /// What opens a sealed store: an age identity file of an operator; - for stdin; may be repeated
    #[arg(long, global = true, env = "WEEKVAULT_IDENTITY", value_name = "FILE")]
    pub(super) identity: Vec<PathBuf>,
    /// The newest read recipient that a sealed store must have, as the kit says it
    #[arg(long, global = true, env = "WEEKVAULT_EXPECT", value_name = "RECIPIENT")]
    pub(super) expect: Option<String>,
    /// What writes to a sealed store: a writer's file; where some are renewed, may be repeated
    #[arg(long, global = true, env = "WEEKVAULT_WRITER_KEY", value_name = "FILE")]
    pub(super) writer_key: Vec<PathBuf>,
}

// Doc comments on the values would make clap print all help in two lengths.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Color {
    Auto,
    Always,
    Never,
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
        [
            (70, "a bug in weekvault"),
            (129, "hung up (SIGHUP)"),
            (130, "interrupted (SIGINT)"),
            (143, "terminated (SIGTERM)"),
        ],
    );
    let codes = before.iter().chain(more).chain(&after);
    let codes: Vec<String> = codes.map(|(code, meaning)| format!("  {code:<4} {meaning}")).collect();
    format!("{ENVIRONMENT}\n{examples}\nExit codes:\n{}", codes.join("\n"))
}
