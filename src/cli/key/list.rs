//! `key list`: what keys a store has.

use crate::archive::Archive;
use crate::cli::context::Context;
use crate::cli::failure::{DONE, Failure};
use crate::cli::human::{count, table};
use crate::cli::keys::{Found, OpenKeys};
use crate::cli::options::help_end;
use crate::format::keys::{ReadNumber, WriterId};
use clap::Args;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  weekvault key list
  weekvault key list --identity mine.key --json
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed", &[]))]
pub(super) struct ListArgs {}

/// Which read file the newest manifest of a pvc carries.
struct Carried {
    manifest: String,
    pvc: String,
    writer: WriterId,
    /// As far as the keys tell.
    is_revoked: bool,
    /// None where that can only be told with a key.
    number: Option<ReadNumber>,
}

/// A read file of the store, and the number that it says it has, as far as that can be told.
struct Listed {
    place: String,
    bytes: usize,
    number: Option<ReadNumber>,
    /// None without an identity.
    opens: Option<bool>,
}

pub(super) fn list(context: &Context, _: &ListArgs) -> Result<u8, Failure> {
    let archive = context.open_to_read()?;
    context.check_sealed(&archive)?;
    let keys = context.open_keys(&archive)?;
    let found = match &keys {
        Some(_) => None,
        None => Some(context.found(&archive)?),
    };
    let found = found.as_deref().or(keys.as_ref().map(|keys| keys.found.as_slice())).unwrap_or_default();
    let files: Vec<Listed> = found.iter().map(|found| listed(found, keys.as_ref())).collect();
    let newest = match &keys {
        Some(keys) => Some(keys.file.number()),
        None => files.iter().filter_map(|file| file.number).max(),
    };
    let carried = carried(&archive, keys.as_ref(), found, &files)?;
    let document = document(&archive, keys.as_ref(), &files, newest, &carried);
    context.print(&document, &text(keys.as_ref(), &files, newest, &carried))?;
    Ok(DONE)
}

fn listed(found: &Found, keys: Option<&OpenKeys>) -> Listed {
    let (place, bytes) = (found.place.clone(), found.sealed.as_bytes().len());
    let opened = keys.map(|keys| keys.given.open(&found.sealed).ok().flatten());
    let number = opened.as_ref().and_then(|file| file.as_ref().map(|file| file.number())).or(found.number);
    Listed { place, bytes, number, opens: opened.map(|file| file.is_some()) }
}

fn carried(
    archive: &Archive,
    keys: Option<&OpenKeys>,
    found: &[Found],
    files: &[Listed],
) -> Result<Vec<Carried>, Failure> {
    let writers = keys.map(|keys| keys.file.writers()).unwrap_or_default();
    let carried = archive.carried_read_files()?.into_iter().map(|carried| {
        let same = found.iter().zip(files).find(|(found, _)| found.sealed == carried.sealed);
        Carried {
            manifest: carried.manifest.to_string(),
            pvc: carried.manifest.pvc.to_string(),
            writer: carried.writer,
            is_revoked: writers.iter().any(|writer| writer.id == carried.writer && writer.revoked),
            number: same.and_then(|(_, file)| file.number),
        }
    });
    Ok(carried.collect())
}

fn document(
    archive: &Archive,
    keys: Option<&OpenKeys>,
    files: &[Listed],
    newest: Option<ReadNumber>,
    carried: &[Carried],
) -> Value {
    let files = files.iter().map(|file| {
        json!({
            "file": file.place,
            "number": file.number.map(|number| number.to_string()),
            "bytes": file.bytes,
            "opens": file.opens,
        })
    });
    let carried = carried.iter().map(|carried| {
        json!({
            "manifest": carried.manifest,
            "pvc": carried.pvc,
            "writer": carried.writer.to_string(),
            "read_file": carried.number.map(|number| number.to_string()),
            "is_newest": carried.number.map(|number| Some(number) >= newest),
        })
    });
    let file = keys.map(|keys| &keys.file);
    let writers = file.map(|file| {
        let writers = file.writers().iter();
        writers
            .map(|writer| json!({ "writer": writer.id.to_string(), "revoked": writer.revoked }))
            .collect::<Vec<_>>()
    });
    json!({
        "id": archive.config().id,
        "read_files": files.collect::<Vec<_>>(),
        "newest": newest.map(|number| number.to_string()),
        "read_recipient": file.map(|file| file.read_recipient().to_string()),
        "writers": writers,
        "plain_manifests": file.map(|file| file.plain().count()),
        "newest_manifests": carried.collect::<Vec<_>>(),
    })
}

fn text(
    keys: Option<&OpenKeys>,
    files: &[Listed],
    newest: Option<ReadNumber>,
    carried: &[Carried],
) -> String {
    let mut text = String::from("read files:\n");
    let rows: Vec<Vec<String>> = files.iter().map(|file| row(file, newest)).collect();
    text.push_str(&indented(&rows));
    match keys {
        None => text.push_str("who writes, and the newest read recipient, are told with --identity\n"),
        Some(OpenKeys { file, place, .. }) => {
            text.push_str(&format!(
                "what counts is from {place}\nnewest read recipient: {}\nwriters:\n",
                file.read_recipient()
            ));
            let state = |revoked| if revoked { "revoked" } else { "trusted" }.to_owned();
            let rows: Vec<_> =
                file.writers().iter().map(|w| vec![w.id.to_string(), state(w.revoked)]).collect();
            text.push_str(&indented(&rows));
            let plain = file.plain().count() as u64;
            if plain > 0 {
                text.push_str(&format!(
                    "from before the store was sealed: {}\n",
                    count(plain, "plain manifest")
                ));
            }
        }
    }
    if !carried.is_empty() {
        text.push_str("newest manifests, and the read file that each carries:\n");
        let rows: Vec<Vec<String>> = carried.iter().map(|carried| carried_row(carried, newest)).collect();
        text.push_str(&indented(&rows));
    }
    text
}

fn row(file: &Listed, newest: Option<ReadNumber>) -> Vec<String> {
    let state = match file.opens {
        None => "",
        Some(true) => "opens",
        Some(false) => "is for others",
    };
    let counts = if file.number.is_some() && file.number == newest { "newest" } else { "" };
    vec![file.place.clone(), state.to_owned(), counts.to_owned()]
}

fn carried_row(carried: &Carried, newest: Option<ReadNumber>) -> Vec<String> {
    let writer = carried.writer;
    let (number, state) = match carried.number {
        None => ("?".to_owned(), "of a number that only a key tells".to_owned()),
        Some(number) if Some(number) < newest => {
            let way_out = match carried.is_revoked {
                true => format!("OLDER: back up by another writer than {writer}, who was revoked"),
                false => format!("OLDER: renew the file of writer {writer}"),
            };
            (number.to_string(), way_out)
        }
        Some(number) => (number.to_string(), String::new()),
    };
    vec![carried.manifest.clone(), number, state]
}

fn indented(rows: &[Vec<String>]) -> String {
    table(rows, &[1, 2]).lines().map(|line| format!("  {line}\n")).collect()
}
