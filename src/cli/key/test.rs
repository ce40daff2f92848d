//! `key test`: whether identities open a store.

use crate::archive::{Archive, ArchiveError, ManifestId};
use crate::cli::context::Context;
use crate::cli::failure::{DONE, Failure};
use crate::cli::human::table;
use crate::cli::keys::{Found, Given, OpenKeys};
use crate::cli::options::help_end;
use crate::format::Keys;
use crate::format::keys::{Identities, ReadFile, ReadNumber};
use crate::model::PvcName;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const EXAMPLES: &str = "\
Examples:
  weekvault key test --identity kit.key
  weekvault key test --identity mine.key --expect age1... --json
  age -d -i yubikey.txt /backup/keys/read-1-1.age | weekvault key test --identity -
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: an identity does not open the store, or not all of it", &[]))]
pub(super) struct TestArgs {}

/// What came of one file of identities.
struct Tried {
    place: String,
    recipients: Vec<String>,
    /// Read files that it opens, with their numbers.
    opens: Vec<(String, ReadNumber)>,
}

impl Tried {
    /// Whether it opens the read file that counts, or a copy of that.
    fn opens(&self, number: ReadNumber) -> bool {
        self.opens.iter().any(|(_, opened)| *opened == number)
    }
}

/// Whether the newest manifest of a pvc opens.
struct Opened {
    id: ManifestId,
    /// What is wrong with it.
    error: Option<String>,
}

pub(super) fn test(context: &Context, _: &TestArgs) -> Result<u8, Failure> {
    let archive = context.open_to_read()?;
    context.check_sealed(&archive)?;
    if context.global.identity.is_empty() {
        return Err(Failure::Usage("say by --identity what is to be tried".into()));
    }
    let given = context.identities()?;
    let found = context.found(&archive)?;
    let tried = try_all(&given, &found);
    let keys = context.open_with(&archive, given, found)?;
    let OpenKeys { file, place, .. } = keys;
    let pinned = context.global.expect.is_some();
    let summary =
        Summary { place, number: file.number(), recipient: file.read_recipient().to_string(), pinned };
    let manifests = open_newest(&archive, file)?;
    context.print(&document(&summary, &tried, &manifests), &text(&summary, &tried, &manifests))?;
    let idle: Vec<&str> =
        tried.iter().filter(|one| !one.opens(summary.number)).map(|one| one.place.as_str()).collect();
    if !idle.is_empty() {
        return Err(Failure::Incomplete(format!("{} does not open {}", idle.join(", "), summary.place)));
    }
    match manifests.iter().find(|opened| opened.error.is_some()) {
        Some(opened) => Err(Failure::Incomplete(format!("{} does not open", opened.id))),
        None => Ok(DONE),
    }
}

/// The read file that counts.
struct Summary {
    place: String,
    number: ReadNumber,
    recipient: String,
    pinned: bool,
}

fn try_all(given: &Given, found: &[Found]) -> Vec<Tried> {
    let opens = |identities: &Identities| {
        let open = |found: &Found| {
            let file = ReadFile::open(&found.sealed, identities).ok()?;
            Some((found.place.clone(), file.number()))
        };
        found.iter().filter_map(open).collect()
    };
    let operators = given.operators.iter().map(|(place, identities)| Tried {
        place: place.clone(),
        recipients: identities.recipients().iter().map(ToString::to_string).collect(),
        opens: opens(identities),
    });
    operators.collect()
}

/// Opens what the newest manifest of each pvc keeps from others.
fn open_newest(archive: &Archive, file: ReadFile) -> Result<Vec<Opened>, Failure> {
    let archive = archive.with_keys(Keys::Reader(Arc::new(file)));
    let listed = archive.manifests()?;
    let mut newest: BTreeMap<&PvcName, &ManifestId> = BTreeMap::new();
    newest.extend(listed.iter().map(|manifest| (&manifest.id.pvc, &manifest.id)));
    let open = |id: &ManifestId| -> Result<(), ArchiveError> {
        let manifest = archive.open_manifest(id)?;
        archive.check_chosen(&manifest, None, |_| {})?;
        manifest.details()?;
        manifest.objects().map(drop)
    };
    let mut opened = Vec::new();
    for id in newest.into_values() {
        let error = match open(id) {
            Ok(()) => None,
            Err(error) if error.is_out_of_reach() => return Err(error.into()),
            Err(error) => Some(error.to_string()),
        };
        opened.push(Opened { id: id.clone(), error });
    }
    Ok(opened)
}

fn document(summary: &Summary, tried: &[Tried], manifests: &[Opened]) -> Value {
    let identities = tried.iter().map(|one| {
        json!({
            "file": one.place,
            "recipients": one.recipients,
            "read_files": one.opens.iter().map(|(place, _)| place).collect::<Vec<_>>(),
            "opens": one.opens(summary.number),
        })
    });
    let manifests = manifests.iter().map(|opened| {
        let (week, pvc) = (opened.id.week.to_string(), opened.id.pvc.as_str());
        json!({ "week": week, "pvc": pvc, "partial": opened.id.partial, "error": opened.error })
    });
    json!({
        "read_file": summary.number.to_string(),
        "from": summary.place,
        "read_recipient": summary.recipient,
        "pinned": summary.pinned,
        "identities": identities.collect::<Vec<_>>(),
        "newest_manifests": manifests.collect::<Vec<_>>(),
    })
}

fn text(summary: &Summary, tried: &[Tried], manifests: &[Opened]) -> String {
    let pinned = if summary.pinned { "as --expect says" } else { "not pinned: compare it with your kit" };
    let mut text = format!(
        "read file {} from {}\nnewest read recipient: {} ({pinned})\n",
        summary.number, summary.place, summary.recipient
    );
    let rows: Vec<Vec<String>> = tried
        .iter()
        .map(|one| {
            let state = if one.opens(summary.number) { "opens it" } else { "DOES NOT OPEN IT" };
            vec![one.place.clone(), state.to_owned()]
        })
        .chain(manifests.iter().map(|opened| {
            let state =
                opened.error.as_ref().map_or("opens".to_owned(), |error| format!("DOES NOT OPEN: {error}"));
            vec![opened.id.to_string(), state]
        }))
        .collect();
    text.push_str(&table(&rows, &[1]));
    text
}
