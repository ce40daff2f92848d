//! `backup`: the CronJob's command.

mod outcome;
mod report;
mod source;

use super::context::{Context, host};
use super::failure::{Failure, way_out};
use super::metrics;
use super::options::{PARTIAL as PARTIAL_MEANING, help_end};
use super::stores::if_missing;
use crate::archive::{Archive, ArchiveError, ManifestId, StoreLock, lock};
use crate::model::{PvcName, Shown, Week};
use crate::ops::backup::{
    Backup, BackupOptions, Labels, Source, SourceRules, Trust, backup, check_source_folders,
};
use crate::ops::clock;
use crate::ops::gc::CleanedUp;
use crate::store::LockMode;
use crate::tree::{Excludes, StorePlace, WalkOptions};
use clap::Args;
use outcome::Outcome;
pub(super) use report::{missing, source_json};
pub(super) use source::SourceArg;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  weekvault backup --source html=/src/html --source enigma=/src/enigma
  weekvault backup --source html=/src/html --exclude '*.tmp' --dry-run
  WEEKVAULT_SOURCE=html=/src/html,enigma=/src/enigma weekvault backup
";

fn help() -> String {
    let failed = "failed: nothing was published, unless the message says so";
    help_end(EXAMPLES, failed, &[PARTIAL_MEANING])
}

#[derive(Args, Debug)]
#[command(after_help = help())]
pub(super) struct BackupArgs {
    /// A folder to back up and its name; may be repeated. In the environment: NAME=DIR,NAME=DIR
    #[arg(long = "source", env = "WEEKVAULT_SOURCE", value_name = "NAME=DIR", required = true)]
    sources: Vec<SourceArg>,
    /// Make no store: fail where there is none
    #[arg(long, env = "WEEKVAULT_EXISTING")]
    existing: bool,
    /// The week to back up into [default: today's, in the local time zone]
    #[arg(long, env = "WEEKVAULT_WEEK", value_name = "YYYY-WW")]
    week: Option<Week>,
    /// Weeks to keep of each pvc
    #[arg(long, env = "WEEKVAULT_KEEP", default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    /// Retire no old weeks and collect no garbage
    #[arg(long, env = "WEEKVAULT_NO_RETENTION")]
    no_retention: bool,
    /// Leave out what matches, in .gitignore's syntax; may be repeated. In the environment: one a line
    #[arg(long, env = "WEEKVAULT_EXCLUDE", value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what matches a line of this file, in .gitignore's syntax
    #[arg(long, env = "WEEKVAULT_EXCLUDE_FROM", value_name = "FILE")]
    exclude_from: Option<PathBuf>,
    /// Leave out what is in folders that carry a CACHEDIR.TAG
    #[arg(long, env = "WEEKVAULT_EXCLUDE_CACHES")]
    exclude_caches: bool,
    /// Enter folders on other file systems
    #[arg(long, env = "WEEKVAULT_CROSS_FILESYSTEMS")]
    cross_filesystems: bool,
    /// zstd's level, 1 to 19
    #[arg(long, env = "WEEKVAULT_COMPRESSION", default_value_t = 3, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,
    /// Files to read at once from each source [default: 8 on a network file system, else as many as --threads]
    #[arg(long, env = "WEEKVAULT_READERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    readers: Option<u16>,
    /// Trust no metadata: read every file
    #[arg(long, env = "WEEKVAULT_FORCE_READ")]
    force_read: bool,
    /// Compare without ctimes, for file systems that have no stable ones
    #[arg(long, env = "WEEKVAULT_IGNORE_CTIME")]
    ignore_ctime: bool,
    /// Compare without inode numbers, for file systems that have no stable ones
    #[arg(long, env = "WEEKVAULT_IGNORE_INODE")]
    ignore_inode: bool,
    /// Back up a source that is empty, though its last manifest was not
    #[arg(long, env = "WEEKVAULT_ALLOW_EMPTY")]
    allow_empty: bool,
    /// Back up what looks like a mistake: a week later than now, another folder than before that has little of what was
    /// there
    #[arg(long, env = "WEEKVAULT_FORCE")]
    force: bool,
    /// A source that may be missing: the others are backed up without it; may be repeated
    #[arg(long, env = "WEEKVAULT_OPTIONAL", value_name = "NAME", value_delimiter = ',')]
    optional: Vec<PvcName>,
    /// Leave out a source that takes longer: 90m, 2h, 1h30m
    #[arg(long, env = "WEEKVAULT_SOURCE_TIMEOUT", value_name = "DURATION", value_parser = parse_duration)]
    source_timeout: Option<Duration>,
    /// Read and compare, but write nothing and push nothing
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
    #[command(flatten)]
    gateway: metrics::Gateway,
}

pub(super) fn run(context: &Context, args: &BackupArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    let outcome = Failure::caught(|| attempt(context, args, begun));
    if !args.dry_run {
        metrics::push_backup(context, &args.gateway, || {
            report::for_metrics(context, &outcome, begun.elapsed())
        });
    }
    let outcome = outcome?;
    let published = |but: String| Failure::Incomplete(format!("the backup is published, but {but}"));
    match report::print(context, args.dry_run, &outcome) {
        Err(failure @ Failure::Output(_)) if !args.dry_run => return Err(published(failure.to_string())),
        printed => printed?,
    }
    match outcome.trouble {
        None => Ok(outcome.code()),
        Some(failure @ Failure::Interrupted { .. }) => Err(failure),
        Some(failure) => {
            let way_out = if let Failure::Ops(error) = &failure { way_out(error) } else { "" };
            Err(published(format!("retiring what is old failed: {failure}{way_out}")))
        }
    }
}

fn attempt(context: &Context, args: &BackupArgs, begun: Instant) -> Result<Outcome, Failure> {
    const LEFT: &str = "nothing was published";
    context.check_store()?;
    context.check_reachable()?;
    let sources: Vec<Source> = args.sources.iter().flat_map(|s| s.0.clone()).collect();
    let (mut labels, options) = options(args)?;
    let store = &context.global.store;
    check_source_folders(&sources, &options.rules, &StorePlace::at(store), &store.display().to_string())?;
    let opened = context.open_or_create(if_missing(args.existing, args.dry_run))?;
    let created = opened.created_id().map(str::to_owned);
    let archive = context.for_writer(opened.archive)?.at_level(args.compression);
    match args.week {
        None if !args.dry_run => labels.week = clock::this_week(&archive)?,
        Some(week) if !args.force => clock::check_begun(&archive, week, !args.dry_run)?,
        // A store that has told its time needs fewer looks. Whether it is right is asked before anything is retired.
        Some(_) if !args.dry_run => match archive.check_clock(clock::now()) {
            Ok(()) | Err(ArchiveError::Clock { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        _ => {}
    }
    let guard = if args.dry_run { None } else { Some(lock(&archive, LockMode::Shared)?) };
    if matches!(guard, Some(StoreLock::Busy)) {
        context.progress.note("a garbage collection is running on the store; going on, that is safe");
    }
    let replaced = replaced(&archive, args.week, &sources)?;
    let sources = backup(context.run(&archive), &sources, &labels, &options);
    let Backup { sources, missing } = sources.map_err(|e| context.failure(e, LEFT))?;
    let mut outcome = Outcome {
        archive,
        created,
        week: labels.week,
        sources,
        missing,
        replaced,
        cleaned: CleanedUp::default(),
        trouble: None,
        took: Duration::ZERO,
    };
    outcome.tell_replaced(context, args.dry_run);
    if !args.no_retention && !args.dry_run {
        outcome.clean_up(context, args.keep, guard);
    }
    outcome.took = begun.elapsed();
    Ok(outcome)
}

/// The complete manifests of the sources in a week that was named and is past: what the run may replace.
fn replaced(archive: &Archive, week: Option<Week>, sources: &[Source]) -> Result<Vec<ManifestId>, Failure> {
    let Some(week) = week.filter(|week| *week < clock::week_of(clock::now())) else { return Ok(Vec::new()) };
    let ids = archive.manifests()?.into_iter().map(|m| m.id);
    let is_meant =
        |id: &ManifestId| !id.partial && id.week == week && sources.iter().any(|s| s.pvc == id.pvc);
    Ok(ids.filter(is_meant).collect())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("give a time such as 90m, 2h or 1h30m, not {text:?}");
    let parsed: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(parsed).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}

fn rules(args: &BackupArgs) -> SourceRules {
    SourceRules {
        optional: args.optional.clone(),
        timeout: args.source_timeout,
        allow_empty: args.allow_empty,
        allow_other: args.force,
    }
}

fn options(args: &BackupArgs) -> Result<(Labels, BackupOptions), Failure> {
    let mut patterns: Vec<String> = args.exclude.iter().flat_map(|e| e.lines().map(str::to_owned)).collect();
    if let Some(file) = &args.exclude_from {
        let failed = |e| Failure::Usage(format!("--exclude-from {}: {e}", Shown::path(file)));
        let text = std::fs::read_to_string(file).map_err(failed)?;
        // Editors of Windows begin a file with a mark of their own, which is no part of a pattern.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        patterns.splice(..0, text.lines().map(str::to_owned));
    }
    let excludes =
        Excludes::new(patterns.iter().map(String::as_str)).map_err(|e| Failure::Usage(e.to_string()))?;
    let options = BackupOptions {
        walk: WalkOptions {
            excludes: (!patterns.is_empty()).then_some(excludes),
            exclude_caches: args.exclude_caches,
            cross_filesystems: args.cross_filesystems,
            skip_lost_and_found: true,
            scouts: 0,
        },
        trust: Trust {
            force_read: args.force_read,
            ignore_ctime: args.ignore_ctime,
            ignore_inode: args.ignore_inode,
        },
        rules: rules(args),
        dry_run: args.dry_run,
        readers: args.readers.map(usize::from),
    };
    let week = args.week.unwrap_or_else(|| clock::week_of(clock::now()));
    Ok((Labels { excludes: patterns, host: host(), ..Labels::of(week) }, options))
}
