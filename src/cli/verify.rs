//! `verify`: the integrity check.

use super::context::Context;
use super::failure::{DAMAGED, DONE, FAILED, Failure, UNCHECKED};
use super::heads::{self, HeadArgs, Heads};
use super::human::{bytes, count, merge, path_json};
use super::metrics::{Gateway, head_reports, push_verify};
use super::options::{DAMAGED as DAMAGED_MEANING, UNCHECKED as UNCHECKED_MEANING, help_end};
use crate::archive::{Foreign, ManifestId};
use crate::edge::VerifyReport;
use crate::model::{ArchivePath, PvcName, WeekRef, one_line};
use crate::ops::clock;
use crate::ops::verify::{Hurts, Repair, Slice, Verified, VerifyOptions, verify};
use clap::Args;
use serde_json::{Value, json};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  weekvault verify
  weekvault verify --slice day/7         (each day another seventh)
  weekvault verify --quick
  weekvault verify --week latest --pvc enigma
  weekvault verify --repair              (then run a backup)
  weekvault verify --quick --head /var/lib/weekvault/head.json
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: the store cannot be opened or listed", &[DAMAGED_MEANING, UNCHECKED_MEANING]))]
pub(super) struct VerifyArgs {
    /// Only look whether objects are there with the right length; read none
    #[arg(long, env = "WEEKVAULT_QUICK")]
    quick: bool,
    /// Only the K-th of N parts of the objects; "day/N" is today's
    #[arg(long, env = "WEEKVAULT_SLICE", value_name = "K/N", value_parser = parse_slice)]
    slice: Option<Slice>,
    /// Only what this week needs
    #[arg(long, env = "WEEKVAULT_WEEK", value_name = "WEEK")]
    week: Option<WeekRef>,
    /// Only what this pvc needs
    #[arg(long, env = "WEEKVAULT_PVC", value_name = "NAME")]
    pvc: Option<PvcName>,
    /// Put damaged objects into the trash, so that the next backup stores them again, and take whole copies from there
    #[arg(long, env = "WEEKVAULT_REPAIR")]
    repair: bool,
    #[command(flatten)]
    heads: HeadArgs,
    #[command(flatten)]
    gateway: Gateway,
}

fn parse_slice(text: &str) -> Result<Slice, String> {
    let (part, of) = text.split_once('/').ok_or("give K/N, such as 2/7, or day/7")?;
    let of: u32 = of.parse().ok().filter(|n| *n > 0).ok_or("N must be a number from 1 on")?;
    let part = match part {
        // Days since 1970, so that N days in a row take N different parts.
        "day" => (clock::now().secs.div_euclid(86_400).unsigned_abs() % u64::from(of)) as u32 + 1,
        part => part.parse().map_err(|_| "K must be a number, or \"day\"")?,
    };
    if (1..=of).contains(&part) { Ok(Slice { part, of }) } else { Err(format!("K must be from 1 to {of}")) }
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<u8, Failure> {
    const LEFT: &str = "not everything was checked";
    let begun = Instant::now();
    let options = VerifyOptions {
        quick: args.quick,
        slice: args.slice,
        week: args.week,
        pvc: args.pvc.clone(),
        repair: args.repair,
    };
    let result = Failure::caught(|| {
        let archive = context.for_reader(context.open().map_err(Failure::in_opening)?)?;
        let memory = heads::open(context, &archive, &args.heads)?;
        let verified = verify(context.run(&archive), &options).map_err(|e| context.failure(e, LEFT))?;
        let heads = memory.map(|memory| heads::compare(memory, &archive, &args.heads));
        Ok((verified, heads, archive))
    });
    let code = match &result {
        Ok((verified, heads, _)) => exit_code(verified, heads.as_ref()),
        Err(failure) => failure.code(),
    };
    push_verify(context, &args.gateway, || VerifyReport {
        status: code.into(),
        finished: clock::now(),
        read_bytes: context.observer().counters().store_read.get(),
        damaged_objects: result.as_ref().ok().map(|(verified, ..)| verified.damaged_objects.len() as u64),
        heads: result.as_ref().map(|(.., archive)| head_reports(archive)).unwrap_or_default(),
    });
    let (verified, heads, _) = result?;
    let document = document(args, &verified, code, begun.elapsed().as_secs_f64());
    let document = merge(document, json!({ "heads": heads.as_ref().map(Heads::document) }));
    let told = heads.as_ref().map(Heads::text).unwrap_or_default();
    context.print(&document, &(text(args, &verified) + &told))?;
    match heads.and_then(|heads| heads.unwritten) {
        Some(why) if code == FAILED => {
            Err(Failure::Incomplete(format!("what there is was not remembered: {why}")))
        }
        Some(why) => {
            context.observer().warn(&format!("what there is was not remembered: {why}"));
            Ok(code)
        }
        None => Ok(code),
    }
}

fn exit_code(verified: &Verified, heads: Option<&Heads>) -> u8 {
    let heads = heads.map_or(DONE, Heads::code);
    match verified {
        verified if !verified.is_clean() || heads == DAMAGED => DAMAGED,
        verified if !verified.is_checked() || heads == UNCHECKED => UNCHECKED,
        _ => heads,
    }
}

fn text(args: &VerifyArgs, verified: &Verified) -> String {
    let mut text = String::new();
    for (id, damage) in &verified.damaged_manifests {
        text.push_str(&format!(
            "damaged manifest: {}\n  hurts {} {}: all of it\n",
            one_line(damage),
            id.week,
            id.pvc
        ));
    }
    if verified.lacks_manifests {
        text.push_str(
            "there are objects and not one manifest, published or in the trash: nothing can be restored\n",
        );
    }
    for (id, why) in &verified.unchecked_manifests {
        text.push_str(&format!(
            "not checked: {}\n  concerns {} {}: all of it\n",
            one_line(why),
            id.week,
            id.pvc
        ));
    }
    text.push_str(&objects_text(verified));
    for (id, repair) in verified.repaired.iter().take(MAX_NAMED) {
        text.push_str(&format!("object {id}: {}\n", repair_text(*repair)));
    }
    text.push_str(&more("dealt with", verified.repaired.len()));
    for path in &verified.strange {
        text.push_str(&format!(
            "{} is not what weekvault puts there (a link, a device, or a file in place of a directory); it is \
             passed over, not followed: remove it\n",
            one_line(path)
        ));
    }
    verified.notes().iter().for_each(|note| text.push_str(&format!("{}\n", one_line(note))));
    text.push_str(&sum(args, verified));
    if !verified.displaced.is_empty() {
        let objects = count(verified.displaced.len() as u64, "object");
        text.push_str(&format!(
            "{objects} in the trash though needed; the next backup or gc brings such back\n"
        ));
    }
    if !verified.stand_ins.is_empty() {
        let objects = count(verified.stand_ins.len() as u64, "object");
        text.push_str(&format!(
            "{objects} lost or damaged, for which another file of the same content stands in\n"
        ));
    }
    // A damaged manifest may need them.
    if verified.unreferenced > 0 && verified.damaged_manifests.is_empty() {
        let objects = count(verified.unreferenced, "object");
        text.push_str(&format!(
            "{objects} without a manifest that needs them; `weekvault gc` retires such\n"
        ));
    }
    text
}

/// What is wrong with objects, and with contents.
fn objects_text(verified: &Verified) -> String {
    let mut text = String::new();
    for object in verified.unchecked_objects.iter().take(MAX_NAMED) {
        text.push_str(&format!("object {} is {}\n", object.id, one_line(&object.damage.to_string())));
    }
    text.push_str(&more("not checked", verified.unchecked_objects.len()));
    for object in verified.damaged_objects.iter().take(MAX_NAMED) {
        text.push_str(&format!("object {} is {}\n", object.id, one_line(&object.damage.to_string())));
        text.push_str(&hurts_text(&object.hurts));
        if object.hurts == Hurts::default() {
            text.push_str("  no manifest needs it\n");
        }
    }
    text.push_str(&more("missing or damaged", verified.damaged_objects.len()));
    if verified.wrong_contents != Hurts::default() {
        text.push_str(
            "the content of files is not the one whose hash their manifest gives, though every object is whole; \
             a backup with --force-read takes them from the source again\n",
        );
        text.push_str(&hurts_text(&verified.wrong_contents));
    }
    text
}

/// The line that sums up.
fn sum(args: &VerifyArgs, verified: &Verified) -> String {
    let manifests = count(verified.manifests, "manifest");
    let objects = count(verified.objects, "object");
    let part = args.slice.map(|s| format!(" of slice {}/{}", s.part, s.of)).unwrap_or_default();
    let mut text = match args.quick {
        true => format!("{manifests} checked, {objects}{part} looked at: "),
        false => format!("{manifests} checked, {objects}{part} read ({}): ", bytes(verified.read_bytes)),
    };
    let damaged = [
        (verified.damaged_manifests.len() as u64, "manifest"),
        (verified.damaged_objects.len() as u64, "object"),
        (verified.wrong_contents.count(), "file"),
    ];
    let damaged: Vec<String> =
        damaged.iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(*n, what)).collect();
    let unchecked = verified.unchecked_objects.len() + verified.unchecked_manifests.len();
    if unchecked > 0 {
        let files = count(unchecked as u64, "file");
        text.push_str(&format!("{files} could not be read, and so not be checked; "));
    }
    if verified.unhashed > 0 {
        let contents = count(verified.unhashed, "content");
        text.push_str(&format!("{contents} not hashed, which would take out of proportion to the store; "));
    }
    if verified.sparse > 0 {
        let contents = count(verified.sparse, "content");
        text.push_str(&format!("{contents} not hashed, being nearly all holes; "));
    }
    text.push_str(&match damaged.as_slice() {
        [] if verified.lacks_manifests => "the manifests are MISSING\n".to_owned(),
        [] if unchecked > 0 => "nothing that was read is damaged\n".to_owned(),
        [] if !verified.repaired.is_empty() => "what was damaged is repaired\n".to_owned(),
        [] => "nothing is damaged\n".to_owned(),
        damaged => format!("{} DAMAGED\n", damaged.join(" and ")),
    });
    text
}

/// So many objects are named, of those that are damaged, not checked, repaired or displaced; the others are counted.
const MAX_NAMED: usize = 10_000;

/// How many of some objects are not named.
fn unnamed(objects: usize) -> usize {
    objects.saturating_sub(MAX_NAMED)
}

fn more(what: &str, objects: usize) -> String {
    match unnamed(objects) {
        0 => String::new(),
        more => format!("further objects {what}, not named here: {more}\n"),
    }
}

fn hurts_text(hurts: &Hurts) -> String {
    let mut text = String::new();
    for (manifest, paths) in &hurts.paths {
        for path in paths {
            // Without a key only this is known, that something needs it.
            let path =
                if path.is_root() { "files that take a key to name".to_owned() } else { path.to_string() };
            text.push_str(&format!("  hurts {} {}: {path}\n", manifest.week, manifest.pvc));
        }
    }
    if hurts.unnamed > 0 {
        text.push_str(&format!("  and hurts {} more\n", count(hurts.unnamed, "path")));
    }
    text
}

fn hurts_json(hurts: &Hurts) -> Value {
    let of = |(id, paths): &(ManifestId, Vec<ArchivePath>)| {
        let manifest = json!({ "week": id.week.to_string(), "pvc": id.pvc.as_str() });
        paths.iter().map(|path| path_json(path, manifest.clone())).collect::<Vec<_>>()
    };
    hurts.paths.iter().flat_map(of).collect()
}

fn repair_text(repair: Repair) -> &'static str {
    match repair {
        Repair::BroughtBack => "a whole copy from the trash stands in its place now",
        Repair::SetAside => "in the trash now; the next backup stores it again, if the source still has it",
        Repair::Stuck => "it cannot be moved, and stays where it is",
        Repair::Missing => "the next backup stores it again, if the source still has it",
    }
}

fn foreign_json(foreign: &Foreign) -> Value {
    json!({ "path": foreign.path, "copy_of": foreign.of.as_ref().map(ToString::to_string) })
}

fn repair_word(repair: Repair) -> &'static str {
    match repair {
        Repair::BroughtBack => "brought back",
        Repair::SetAside => "set aside",
        Repair::Stuck => "stuck",
        Repair::Missing => "missing",
    }
}

fn document(args: &VerifyArgs, verified: &Verified, code: u8, seconds: f64) -> Value {
    let objects = verified.damaged_objects.iter().take(MAX_NAMED).map(|object| {
        let (id, damage) = (object.id.to_string(), object.damage.to_string());
        json!({ "object": id, "damage": damage, "hurts": hurts_json(&object.hurts), "unnamed": object.hurts.unnamed })
    });
    let manifests = verified.damaged_manifests.iter().map(|(id, damage)| {
        json!({ "manifest": id.to_string(), "week": id.week.to_string(), "pvc": id.pvc.as_str(), "damage": damage })
    });
    let unchecked = verified.unchecked_objects.iter().take(MAX_NAMED);
    let unchecked = unchecked.map(|o| json!({ "object": o.id.to_string(), "reason": o.damage.to_string() }));
    let unchecked_manifests = verified.unchecked_manifests.iter().map(|(id, why)| {
        json!({ "manifest": id.to_string(), "week": id.week.to_string(), "pvc": id.pvc.as_str(), "reason": why })
    });
    let repaired = verified.repaired.iter().take(MAX_NAMED);
    let repaired = repaired.map(|(id, r)| json!({ "object": id.to_string(), "repair": repair_word(*r) }));
    json!({
        "exit_code": code,
        "repaired": repaired.collect::<Vec<_>>(),
        "quick": args.quick,
        "duration_seconds": seconds,
        "manifests": verified.manifests,
        "objects": verified.objects,
        "referenced_objects": verified.referenced,
        "unreferenced_objects": verified.unreferenced,
        "read_bytes": verified.read_bytes,
        "stand_in_objects": verified.stand_ins.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>(),
        "displaced_objects": verified.displaced.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>(),
        "damaged_objects": objects.collect::<Vec<_>>(),
        "unnamed_objects": {
            "damaged": unnamed(verified.damaged_objects.len()),
            "displaced": unnamed(verified.displaced.len()),
            "stand_ins": unnamed(verified.stand_ins.len()),
            "repaired": unnamed(verified.repaired.len()),
            "unchecked": unnamed(verified.unchecked_objects.len()),
        },
        "damaged_manifests": manifests.collect::<Vec<_>>(),
        "wrong_contents": hurts_json(&verified.wrong_contents),
        "wrong_contents_unnamed": verified.wrong_contents.unnamed,
        "unhashed_contents": verified.unhashed,
        "sparse_contents": verified.sparse,
        "unchecked_objects": unchecked.collect::<Vec<_>>(),
        "unchecked_manifests": unchecked_manifests.collect::<Vec<_>>(),
        "lacks_manifests": verified.lacks_manifests,
        "passed_over": verified.strange,
        "foreign": verified.foreign.iter().map(foreign_json).collect::<Vec<_>>(),
        "alike_pvcs": verified.alike.iter().map(|(a, b)| [a.as_str(), b.as_str()]).collect::<Vec<_>>(),
        "partial_manifests": verified.partial.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "revoked_manifests": verified.revoked.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "future_weeks": verified.future.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
