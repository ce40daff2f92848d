//! `forget`: weeks that somebody names go to the trash.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::human::{bytes, count};
use super::options::help_end;
use crate::archive::{Archive, ManifestId};
use crate::model::{PvcName, WeekRef};
use crate::ops::Error;
use crate::ops::forget::{Forgotten, forget};
use clap::Args;
use serde_json::json;
use std::str::FromStr;

const EXAMPLES: &str = "\
Examples:
  weekvault forget 2025-14/html --dry-run
  weekvault forget 2025-14/html 2025-15/html
  weekvault forget --pvc old-shop
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: there is no such manifest, or not all could be moved", &[]))]
pub(super) struct ForgetArgs {
    /// Manifests to retire, complete and partial: the week as for `restore`, a slash, the pvc
    #[arg(value_name = "WEEK/PVC")]
    addresses: Vec<Address>,
    /// Alone, and not from the environment: all weeks of this pvc. Beside addresses: only such are accepted
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvc: Option<PvcName>,
    /// Only say what would be done, and how much only these weeks need
    #[arg(long, env = "WEEKVAULT_DRY_RUN")]
    dry_run: bool,
}

/// Names the manifests of one week and pvc.
#[derive(Clone, Debug)]
struct Address {
    week: WeekRef,
    pvc: PvcName,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (week, pvc) = text.split_once('/').ok_or("give WEEK/PVC, such as 2025-14/html")?;
        if pvc.contains(':') {
            return Err("whole weeks of a pvc can be forgotten, not single paths".into());
        }
        let week = week.parse().map_err(|e: crate::model::InvalidWeek| e.to_string())?;
        Ok(Self { week, pvc: pvc.parse().map_err(|e: crate::model::InvalidName| e.to_string())? })
    }
}

pub(super) fn run(context: &Context, args: &ForgetArgs) -> Result<u8, Failure> {
    check(args)?;
    let archive = context.open()?;
    let ids = named(context, &archive, args)?;
    let forgotten = forget(context.run(&archive), ids.clone(), args.dry_run);
    let forgotten = forgotten.map_err(|e| context.failure(e, "nothing was retired"))?;
    print(context, args, &forgotten)?;
    let Forgotten { given, .. } = forgotten;
    match (given.stuck, given.retired.len() as u64) {
        (0, done) if done < ids.len() as u64 => {
            Err(context.failure(Error::Cancelled, "not all that was named is in the trash"))
        }
        (0, _) => Ok(DONE),
        (files, _) => Err(Failure::Incomplete(Error::Stuck { files }.to_string())),
    }
}

fn check(args: &ForgetArgs) -> Result<(), Failure> {
    let is_given = std::env::args_os()
        .filter_map(|a| a.into_string().ok())
        .any(|a| a == "--pvc" || a.starts_with("--pvc="));
    if args.addresses.is_empty() && (args.pvc.is_none() || !is_given) {
        // A variable that is there for other commands must not give up a whole pvc.
        return Err(Failure::Usage(
            "name what is to be forgotten: WEEK/PVC, or with --pvc on the command line all weeks of a pvc"
                .into(),
        ));
    }
    let Some(pvc) = &args.pvc else { return Ok(()) };
    match args.addresses.iter().find(|address| address.pvc != *pvc) {
        Some(other) => Err(Failure::Usage(format!(
            "{}/{} is not of the pvc \"{pvc}\", which --pvc or WEEKVAULT_PVC has narrowed this command to",
            other.week, other.pvc
        ))),
        None => Ok(()),
    }
}

/// The manifests that are meant. Nothing is done where one of the addresses has none.
fn named(context: &Context, archive: &Archive, args: &ForgetArgs) -> Result<Vec<ManifestId>, Failure> {
    let all: Vec<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    let mut weeks = Vec::new();
    for Address { week, pvc } in &args.addresses {
        context.tell_future(archive, *week, pvc)?;
        weeks.push((archive.find_manifest(*week, pvc)?.week, pvc));
    }
    if let (true, Some(pvc)) = (args.addresses.is_empty(), &args.pvc) {
        context.check_pvc(archive, Some(pvc))?;
        weeks.extend(all.iter().filter(|id| id.pvc == *pvc).map(|id| (id.week, pvc)));
    }
    Ok(all.iter().filter(|id| weeks.contains(&(id.week, &id.pvc))).cloned().collect())
}

fn print(context: &Context, args: &ForgetArgs, forgotten: &Forgotten) -> Result<(), Failure> {
    let names: Vec<String> = forgotten.given.retired.iter().map(|r| r.id.to_string()).collect();
    let verb = if args.dry_run { "would retire" } else { "retired" };
    let mut text: String = names.iter().map(|name| format!("{verb} {name}\n")).collect();
    match &forgotten.freed {
        Some(freed) => text.push_str(&format!(
            "{} in {} that nothing else needs\ndry run: nothing was changed\n",
            bytes(freed.bytes),
            count(freed.objects, "object")
        )),
        None if names.is_empty() => {}
        None => text.push_str(
            "in the trash now: `weekvault undelete` brings them back, `weekvault gc` retires what only they needed\n",
        ),
    }
    let document = json!({
        "dry_run": args.dry_run,
        "retired": names,
        "freed_objects": forgotten.freed.map(|f| f.objects),
        "freed_bytes": forgotten.freed.map(|f| f.bytes),
        "stuck_files": forgotten.given.stuck,
    });
    context.print(&document, &text)
}
