//! `restore`: makes a live tree equal to a manifest.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::{bytes, path_json};
use super::options::{Which, help_end};
use super::place;
use super::progress::Itemise;
use crate::archive::{Archive, Manifest, ManifestId};
use crate::model::Shown;
use crate::ops::restore::{Owner, RestoreOptions, Restored, Selection, restore, survey};
use crate::tree::is_mount_point;
use clap::Args;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  weekvault restore --week 2025-14 --pvc enigma     (where it was backed up from)
  weekvault restore --week latest --pvc enigma --delete --dry-run
  weekvault restore --week previous --pvc html --target /tmp/html \\
      --path config --path 'plugins/**/*.php'
";

/// What exit code 1 means.
pub(super) const FAILED: &str = "failed, or something could not be restored";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, FAILED, &[]))]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    which: Which,
    /// Where to [default: where the source was when it was backed up]
    #[arg(long, env = "WEEKVAULT_TARGET", value_name = "DIR")]
    target: Option<PathBuf>,
    /// Only this file, folder or glob, relative to the source's root; may be repeated
    #[arg(long = "path", env = "WEEKVAULT_PATH", value_name = "PATH")]
    paths: Vec<OsString>,
    /// Delete what the manifest has not
    #[arg(long, env = "WEEKVAULT_DELETE")]
    delete: bool,
    /// Change nothing; print what would change, a path a line (as --verbose does while it is changed)
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
    #[command(flatten)]
    how: How,
    /// Read every file back and compare its hash
    #[arg(long, env = "WEEKVAULT_VERIFY")]
    verify: bool,
    /// Go on where the target looks like a mistake: --delete would remove more than half of it, or it is where the source
    /// was, and is no mount point, and has something else
    #[arg(long, env = "WEEKVAULT_YES")]
    yes: bool,
}

/// How restored files are made.
#[derive(Args, Debug)]
pub(super) struct How {
    /// Leave restored files to whoever restores
    #[arg(long, env = "WEEKVAULT_NO_OWNER")]
    no_owner: bool,
    /// Use the manifest's numeric owners, even where their names have other numbers here
    #[arg(long, env = "WEEKVAULT_NUMERIC_OWNER", conflicts_with = "no_owner")]
    numeric_owner: bool,
    /// Turn blocks of zeros into holes
    #[arg(long, env = "WEEKVAULT_SPARSE")]
    sparse: bool,
}

impl How {
    /// These options, for a restore of everything to `target`.
    pub(super) fn options(&self, target: PathBuf) -> RestoreOptions {
        RestoreOptions {
            owner: match (self.no_owner, self.numeric_owner) {
                (true, _) => Owner::Nobody,
                (_, true) => Owner::Numeric,
                _ => Owner::Names,
            },
            sparse: self.sparse,
            ..RestoreOptions::into(target)
        }
    }
}

pub(super) fn run(context: &Context, args: &RestoreArgs) -> Result<u8, Failure> {
    if args.paths.iter().any(|p| p.is_empty()) {
        // Most likely a variable that was meant to hold one; all of the source is what it does not mean.
        return Err(Failure::Usage(
            "a --path is empty: give a path, or leave it out to restore everything".into(),
        ));
    }
    let patterns = args.paths.iter().map(OsString::as_os_str);
    let selection = Selection::new(patterns).map_err(|e| Failure::Usage(e.to_string()))?;
    let archive = context.for_reader(context.open_to_read()?)?;
    let manifest = context.manifest(&args.which, &archive)?;
    let selection = selection.of(&manifest)?;
    let source = &manifest.details()?.source;
    let target = match &args.target {
        Some(target) => {
            place::check(target).map_err(|wrong| Failure::Usage(format!("--target {target:?} {wrong}")))?;
            target.clone()
        }
        None if source.as_os_str().is_empty() => {
            let id = manifest.id();
            let message = format!("{id} was imported, and does not tell where its source was: give --target");
            return Err(Failure::Usage(message));
        }
        None if !source.is_absolute() => {
            let (id, source) = (manifest.id(), Shown::path(source));
            return Err(Failure::Refused(format!(
                "{id} says that its source was at {source}, which is no whole path: give --target"
            )));
        }
        None => source.clone(),
    };
    let RestoreArgs { delete, dry_run, verify, .. } = *args;
    let options = RestoreOptions { selection, delete, dry_run, verify, ..args.how.options(target) };
    announce(context, args, &manifest, &options)?;
    if !dry_run && !args.yes {
        confirm(context, args, &archive, &manifest, &options)?;
    }
    carry_out(context, &archive, &manifest, &options)
}

/// Says what is about to go where.
fn announce(
    context: &Context,
    args: &RestoreArgs,
    manifest: &Manifest,
    options: &RestoreOptions,
) -> Result<(), Failure> {
    let (id, counts) = (manifest.id(), &manifest.details()?.counts);
    let what = match options.selection.is_all() {
        true => format!("{} files, {}", counts.files, bytes(counts.bytes)),
        false => "the selected paths".to_owned(),
    };
    let whence = if args.target.is_some() { "" } else { ", where it was backed up from" };
    let delete = if options.delete { "; what it has not is deleted there" } else { "" };
    let target = Shown::path(&options.target);
    let about = if options.dry_run { "what a restore would do" } else { "restoring" };
    context.progress.note(&format!("{about}: {}/{} to {target}{whence}: {what}{delete}", id.week, id.pvc));
    Ok(())
}

/// Asks where a restore looks like a mistake; without a terminal it is refused.
fn confirm(
    context: &Context,
    args: &RestoreArgs,
    archive: &Archive,
    manifest: &Manifest,
    options: &RestoreOptions,
) -> Result<(), Failure> {
    let is_recorded = args.target.is_none() && !is_mount_point(&options.target);
    if !options.delete && !is_recorded {
        return Ok(());
    }
    let survey = survey(context.run(archive), manifest, options);
    let survey = survey.map_err(|e| context.failure(e, "nothing was changed"))?;
    let target = Shown::path(&options.target);
    let doubt = if is_recorded && survey.names > 0 && survey.shared == 0 {
        format!(
            "{target} is no mount point, and has nothing of what is to be restored there, but something else"
        )
    } else if survey.extra * 2 > survey.names {
        format!("--delete would remove {} of the {} names in {target}", survey.extra, survey.names)
    } else {
        return Ok(());
    };
    context.confirm(&doubt)
}

/// Restores, and says what that came to.
pub(super) fn carry_out(
    context: &Context,
    archive: &Archive,
    manifest: &Manifest,
    options: &RestoreOptions,
) -> Result<u8, Failure> {
    const LEFT: &str = "the target is restored in part; the same command again does the rest";
    const UNCHANGED: &str = "nothing was changed";
    let name = format!("{}/{}", manifest.id().week, manifest.id().pvc);
    context.observer().phase(&format!("restoring {name}"), None);
    if options.dry_run || context.global.verbose > 0 {
        context.progress.itemise(if context.global.json { Itemise::Json } else { Itemise::Text });
    }
    let restored = restore(context.run(archive), manifest, options);
    let restored =
        restored.map_err(|e| context.failure(e, if options.dry_run { UNCHANGED } else { LEFT }))?;
    let written = context.observer().counters().bytes_restored.get();
    let (document, mut text) = report(options, manifest.id(), &restored, written);
    // With these each one has been named.
    if !options.dry_run && context.global.verbose == 0 {
        text.insert_str(0, &deleted(&restored));
    }
    context.print(&document, &text)?;
    if restored.failed == 0 {
        return Ok(DONE);
    }
    hint_at_owners(context, options, &restored);
    Err(Failure::Incomplete(format!(
        "{} is not as the manifest has it: see the warnings",
        Shown::path(&options.target)
    )))
}

/// Names what was deleted, or some of it.
fn deleted(restored: &Restored) -> String {
    let mut text: String = restored.deleted.iter().map(|path| format!("deleted {path}\n")).collect();
    let all = restored.changes.get("delete").copied().unwrap_or(0);
    let more = all.saturating_sub(restored.deleted.len() as u64);
    if more > 0 {
        text.push_str(&format!("deleted {more} more\n"));
    }
    text
}

/// Says what helps where owners could not be set.
pub(super) fn hint_at_owners(context: &Context, options: &RestoreOptions, restored: &Restored) {
    if options.owner != Owner::Nobody && restored.problems.iter().any(|p| p.operation == "set the owner of") {
        context.progress.hint("giving files to others takes root; with --no-owner they are yours");
    }
}

/// For each word of a change: what is to be done, and what was.
const WORDS: [(&str, &str, &str); 7] = [
    ("create", "create", "created"),
    ("rewrite", "rewrite", "rewritten"),
    ("replace", "replace", "replaced"),
    ("metadata", "mend in metadata", "mended in metadata"),
    ("link", "link", "linked"),
    ("relink", "link anew", "linked anew"),
    ("delete", "delete", "deleted"),
];

/// What a restore came to, as JSON and as a line of text.
pub(super) fn report(
    options: &RestoreOptions,
    id: &ManifestId,
    restored: &Restored,
    written: u64,
) -> (Value, String) {
    let target = Shown::path(&options.target);
    let change = |&(word, to_do, done): &(&str, &str, &str)| {
        let n = restored.changes.get(word)?;
        Some(if options.dry_run { format!("{n} to {to_do}") } else { format!("{n} {done}") })
    };
    let mut parts: Vec<String> = WORDS.iter().filter_map(change).collect();
    parts.push(format!("{} already right", restored.unchanged));
    if restored.failed > 0 {
        parts.push(format!("{} FAILED", restored.failed));
    }
    let parts = parts.join(", ");
    let text = match options.dry_run {
        true => format!("dry run, {}/{} to {target}: {parts}\n", id.week, id.pvc),
        false => format!("{}/{} to {target}: {parts}; {} written\n", id.week, id.pvc, bytes(written)),
    };
    let named = if options.dry_run { &[][..] } else { &restored.deleted[..] };
    let document = json!({
        "dry_run": options.dry_run,
        "week": id.week.to_string(),
        "pvc": id.pvc.as_str(),
        "partial": id.partial,
        "target": options.target.to_string_lossy(),
        "changes": restored.changes,
        "deleted": named.iter().map(|path| path_json(path, json!({}))).collect::<Vec<_>>(),
        "moved_aside": restored.moved_aside.iter().map(|(path, to)| path_json(path, json!({ "to": to.to_string() }))).collect::<Vec<_>>(),
        "unchanged": restored.unchanged,
        "written_bytes": written,
        "failed": restored.failed,
    });
    (document, text)
}
