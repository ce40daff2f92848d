//! `materialize`: recreates plain trees.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::options::{Which, help_end};
use super::restore::{FAILED, How, carry_out, hint_at_owners, report};
use crate::archive::Archive;
use crate::model::{PvcName, Shown, WeekRef};
use crate::ops::materialize::{Materialized, materialize_all};
use crate::ops::restore::RestoreOptions;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  weekvault materialize --week 2025-14 --pvc html /srv/compare/html
  weekvault materialize --all /srv/weeks
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, FAILED, &[]))]
pub(super) struct MaterializeArgs {
    /// The week: YYYY-WW as `date +%Y-%W` prints it, "latest" or "previous"
    #[arg(long, env = "WEEKVAULT_WEEK", value_name = "WEEK", required_unless_present = "all")]
    week: Option<WeekRef>,
    /// The source's name
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME", required_unless_present = "all")]
    pvc: Option<PvcName>,
    /// Every week and pvc, or all of that week or pvc, as DIR/YYYY-WW/NAME, with hard links between the weeks
    #[arg(long, env = "WEEKVAULT_ALL")]
    all: bool,
    /// A new or empty folder
    dir: PathBuf,
    #[command(flatten)]
    how: How,
}

pub(super) fn run(context: &Context, args: &MaterializeArgs) -> Result<u8, Failure> {
    let archive = context.for_reader(context.open_to_read()?)?;
    let manifest = match (args.week, &args.pvc) {
        (Some(week), Some(pvc)) if !args.all => {
            Some(context.manifest(&Which { week, pvc: pvc.clone() }, &archive)?)
        }
        _ => None,
    };
    if !is_new_or_empty(&args.dir)? {
        let message =
            format!("{} is not empty; give a new folder, or use `weekvault restore`", Shown::path(&args.dir));
        return Err(Failure::Usage(message));
    }
    let options = args.how.options(args.dir.clone());
    match manifest {
        Some(manifest) => carry_out(context, &archive, &manifest, &options),
        None => all(context, &archive, args, &options),
    }
}

fn all(
    context: &Context,
    archive: &Archive,
    args: &MaterializeArgs,
    options: &RestoreOptions,
) -> Result<u8, Failure> {
    const LEFT: &str = "some weeks are there, the last of them in part: begin again in a new folder";
    context.check_pvc(archive, args.pvc.as_ref())?;
    let made = materialize_all(context.run(archive), args.week, args.pvc.as_ref(), options);
    let made = made.map_err(|e| context.failure(e, LEFT))?;
    let (mut documents, mut lines, mut failed) = (Vec::new(), String::new(), 0);
    for tree in &made {
        let (document, line) = told(options, tree);
        documents.push(document);
        lines.push_str(&line);
        failed += usize::from(tree.result.as_ref().map_or(true, |restored| restored.failed > 0));
    }
    context.print(&json!({ "trees": documents }), &lines)?;
    if failed == 0 {
        return Ok(DONE);
    }
    for restored in made.iter().filter_map(|tree| tree.result.as_ref().ok()).take(1) {
        hint_at_owners(context, options, restored);
    }
    Err(Failure::Incomplete(format!(
        "{failed} of {} trees in {} are not as the manifests have them: see the warnings",
        made.len(),
        Shown::path(&options.target)
    )))
}

fn told(options: &RestoreOptions, tree: &Materialized) -> (Value, String) {
    let Materialized { id, target, result, written } = tree;
    match result {
        Ok(restored) => {
            report(&RestoreOptions { target: target.clone(), ..options.clone() }, id, restored, *written)
        }
        Err(error) => {
            let document = json!({
                "week": id.week.to_string(),
                "pvc": id.pvc.as_str(),
                "partial": id.partial,
                "target": target.display().to_string(),
                "error": error.to_string(),
            });
            (document, format!("{}/{}: NOT RESTORED\n", id.week, id.pvc))
        }
    }
}

fn is_new_or_empty(dir: &Path) -> Result<bool, Failure> {
    super::place::check(dir).map_err(|wrong| Failure::Usage(format!("the folder {dir:?} {wrong}")))?;
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(e) => Err(Failure::Usage(format!("{}: {e}", dir.display()))),
    }
}
