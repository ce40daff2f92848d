//! `import`: weekly copies that rsync made become manifests.

use super::backup::{SourceArg, missing, source_json};
use super::context::{Context, host};
use super::failure::{DONE, Failure, PARTIAL};
use super::human::{bytes, table};
use super::options::{PARTIAL as PARTIAL_MEANING, help_end};
use super::stores::{Opened, if_missing};
use crate::archive::{StoreLock, lock};
use crate::model::{PvcName, Week};
use crate::ops::backup::{BackupOptions, Labels, SourceRules};
use crate::ops::clock;
use crate::ops::import::{Import, ImportOptions, Imported, Outcome, Surveyed, find, import};
use crate::store::LockMode;
use crate::tree::WalkOptions;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  weekvault import --rsync-root /backup --dry-run
  weekvault import --rsync-root /backup --source html=/src/html --source enigma=/src/enigma
  weekvault --store /vault import --rsync-root /backup --pvc html --week 2025-13 --week 2025-14
";

fn help() -> String {
    let failed = "failed, or a copy could not be imported; the same command goes on";
    help_end(EXAMPLES, failed, &[PARTIAL_MEANING])
}

#[derive(Args, Debug)]
#[command(after_help = help())]
pub(super) struct ImportArgs {
    /// The folder that has the copies, as YYYY-WW/NAME; it may be the store's own. Nothing is written to them
    #[arg(long, env = "WEEKVAULT_RSYNC_ROOT", value_name = "DIR")]
    rsync_root: PathBuf,
    /// Make no store: fail where there is none
    #[arg(long, env = "WEEKVAULT_EXISTING")]
    existing: bool,
    /// Only this week; may be repeated
    #[arg(long = "week", env = "WEEKVAULT_WEEK", value_name = "YYYY-WW")]
    weeks: Vec<Week>,
    /// Only this pvc; may be repeated
    #[arg(long = "pvc", env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvcs: Vec<PvcName>,
    /// Where the source of this name is mounted, for the manifests to tell: a restore goes there; may be repeated
    #[arg(long = "source", env = "WEEKVAULT_SOURCE", value_name = "NAME=DIR")]
    sources: Vec<SourceArg>,
    /// Enter folders on other file systems
    #[arg(long, env = "WEEKVAULT_CROSS_FILESYSTEMS")]
    cross_filesystems: bool,
    /// zstd's level, 1 to 19
    #[arg(long, env = "WEEKVAULT_COMPRESSION", default_value_t = 3, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,
    /// Files to read at once [default: 8 on a network file system, else as many as --threads]
    #[arg(long, env = "WEEKVAULT_READERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    readers: Option<u16>,
    /// Import copies that are empty, though the week before is not
    #[arg(long, env = "WEEKVAULT_ALLOW_EMPTY")]
    allow_empty: bool,
    /// Import also weeks that are later than now
    #[arg(long, env = "WEEKVAULT_FORCE")]
    force: bool,
    /// Only look at the copies: read none of their files, and write nothing
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
}

pub(super) fn run(context: &Context, args: &ImportArgs) -> Result<u8, Failure> {
    const LEFT: &str = "what was imported before stays; the same command again goes on";
    let begun = Instant::now();
    context.check_store()?;
    let options = options(args);
    let farm = find(&context.global.store, &options)?;
    let opened = context.open_or_create(if_missing(args.existing, args.dry_run))?;
    let archive = &context.for_writer(opened.archive.clone())?;
    let guard = if args.dry_run { None } else { Some(lock(archive, LockMode::Shared)?) };
    if matches!(guard, Some(StoreLock::Busy)) {
        context.progress.note("a garbage collection is running on the store; going on, that is safe");
    }
    let imported = import(context.run(&archive.at_level(args.compression)), farm, &options);
    let imported = imported.map_err(|e| context.failure(e, LEFT))?;
    drop(guard);
    let failed = imported.copies.iter().filter(|t| matches!(t.outcome, Outcome::Failed(_))).count();
    let is_partial = |t: &Imported| match &t.outcome {
        Outcome::Done(done) => missing(done) > 0,
        Outcome::Surveyed(surveyed) => surveyed.unreadable > 0,
        Outcome::Kept | Outcome::Failed(_) => false,
    };
    let code = match failed {
        0 if imported.copies.iter().any(is_partial) => PARTIAL,
        0 => DONE,
        _ => super::failure::FAILED,
    };
    print(context, &opened, args.dry_run, code, begun, &imported)?;
    match failed {
        0 => Ok(code),
        _ => Err(Failure::Incomplete(format!("{failed} copies are not imported: see the warnings"))),
    }
}

fn options(args: &ImportArgs) -> ImportOptions {
    let backup = BackupOptions {
        walk: WalkOptions {
            cross_filesystems: args.cross_filesystems,
            skip_lost_and_found: true,
            ..WalkOptions::everything()
        },
        // Copies are named by their weeks: each is another folder.
        rules: SourceRules { allow_empty: args.allow_empty, allow_other: true, ..SourceRules::default() },
        dry_run: args.dry_run,
        readers: args.readers.map(usize::from),
        ..BackupOptions::default()
    };
    let labels = Labels { host: host(), ..Labels::of(clock::week_of(clock::now())) };
    ImportOptions {
        farm: args.rsync_root.clone(),
        weeks: args.weeks.clone(),
        pvcs: args.pvcs.clone(),
        future: args.force,
        sources: args.sources.iter().flat_map(|s| s.0.clone()).collect(),
        backup,
        labels,
    }
}

fn print(
    context: &Context,
    opened: &Opened,
    dry_run: bool,
    code: u8,
    begun: Instant,
    imported: &Import,
) -> Result<(), Failure> {
    let read = context.observer().counters().bytes_read.get();
    let written = context.observer().counters().store_written.get();
    let passed_over = imported.passed_over.iter().map(|p| {
        let path = p.path.display().to_string();
        json!({ "path": path, "reason": p.reason })
    });
    let document = json!({
        "exit_code": code,
        "dry_run": dry_run,
        "created_store": opened.created_id(),
        "duration_seconds": begun.elapsed().as_secs_f64(),
        "read_bytes": read,
        "written_bytes": written,
        "copies": imported.copies.iter().map(copy_json).collect::<Vec<_>>(),
        "passed_over": passed_over.collect::<Vec<_>>(),
    });
    let head: &[&str] = match dry_run {
        true => &["week", "pvc", "files", "size", "to read", ""],
        false => &[
            "week",
            "pvc",
            "files",
            "unchanged",
            "changed",
            "new",
            "removed",
            "read",
            "new objects",
            "stored",
            "",
        ],
    };
    let mut rows = vec![head.iter().map(|&h| h.to_owned()).collect()];
    rows.extend(imported.copies.iter().map(|copy| row(copy, head.len())));
    let mut text = table(&rows, &[1, head.len() - 1]);
    let to_read: u64 = imported.copies.iter().map(|t| surveyed(t).map_or(0, |s| s.new_bytes)).sum();
    text.push_str(&match dry_run {
        true => format!("\ndry run: nothing was read or written; {} to read\n", bytes(to_read)),
        false => format!("\n{} read, {} written\n", bytes(read), bytes(written)),
    });
    context.print(&document, &text)
}

fn surveyed(copy: &Imported) -> Option<&Surveyed> {
    match &copy.outcome {
        Outcome::Surveyed(surveyed) => Some(surveyed),
        _ => None,
    }
}

fn row(copy: &Imported, columns: usize) -> Vec<String> {
    let mut row = vec![copy.week.to_string(), copy.pvc.to_string()];
    let unread = |n: u64| if n == 0 { String::new() } else { format!("PARTIAL: {n} not read") };
    let state = match &copy.outcome {
        Outcome::Done(done) => {
            let c = &done.counts;
            row.extend([c.files, c.unchanged, c.changed, c.new, c.removed].map(|n| n.to_string()));
            row.extend([bytes(c.bytes_read), c.new_objects.to_string(), bytes(c.new_stored_bytes)]);
            unread(missing(done))
        }
        Outcome::Surveyed(s) => {
            row.extend([s.files.to_string(), bytes(s.bytes), bytes(s.new_bytes)]);
            unread(s.unreadable)
        }
        Outcome::Kept => "the store has it already".to_owned(),
        Outcome::Failed(_) => "NOT IMPORTED".to_owned(),
    };
    row.resize(columns - 1, "-".to_owned());
    row.push(state);
    row
}

fn copy_json(copy: &Imported) -> Value {
    let (state, of_outcome) = match &copy.outcome {
        Outcome::Done(done) => ("imported", source_json(done)),
        Outcome::Kept => ("kept", json!({})),
        Outcome::Failed(error) => ("failed", json!({ "error": error.to_string() })),
        Outcome::Surveyed(s) => {
            let Surveyed { files, bytes, new, new_bytes, unreadable } = s;
            let counted = json!({
                "files": files, "bytes": bytes, "to_read_files": new, "to_read_bytes": new_bytes,
                "unreadable": unreadable,
            });
            ("to import", counted)
        }
    };
    let mut document = json!({ "week": copy.week.to_string(), "pvc": copy.pvc.as_str(), "state": state });
    if let (Value::Object(document), Value::Object(more)) = (&mut document, of_outcome) {
        document.extend(more);
    }
    document
}
