//! `key import`: a read file that an operator's own age has made.

use super::next::{Changing, End, Next};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::keys::{Found, OpenKeys, read_secret, refused};
use crate::cli::options::help_end;
use crate::format::keys::SealedReadFile;
use crate::model::Shown;
use clap::Args;
use std::fs::File;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  weekvault key import next.age --identity mine.key --writer-key writer.key
  age -d -i yubikey.txt next.age | weekvault key import next.age --identity -
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed: nothing was changed, unless the message says so", &[]))]
pub(super) struct ImportArgs {
    /// The age file that your age has made of what a key command wrote with --plain
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// As text an age file is longer by a third and its line breaks.
const MAX_FILE: usize = 2 * SealedReadFile::MAX_LENGTH as usize;

pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<u8, Failure> {
    let place = Shown::path(&args.file).to_string();
    let read = File::open(&args.file).and_then(|file| read_secret(file, MAX_FILE));
    let bytes = read.map_err(|e| Failure::File(format!("read {place}"), e))?;
    let sealed = SealedReadFile::from_bytes(&bytes).map_err(|e| refused(&place)(e.into()))?;
    let changing = Changing::begin(context)?;
    let given = context.identities()?;
    if given.operators.is_empty() && given.opened.is_empty() {
        return Err(Failure::Usage(format!(
            "give an identity that opens {place}, or what your own age makes of it: `age -d -i IDENTITY FILE | weekvault key \
             import FILE --identity -`"
        )));
    }
    let opened: Vec<String> = given.opened.iter().map(|(place, _)| place.clone()).collect();
    let mut found = context.found(&changing.archive)?;
    let already = found.iter().find(|found| found.sealed == sealed).map(|found| found.place.clone());
    if let Some(already) = already.filter(|place| place.starts_with("keys/")) {
        return Err(Failure::Refused(format!(
            "{place} is in the store already, as {already}; nothing was done"
        )));
    }
    found.push(Found { place: place.clone(), number: None, sealed: sealed.clone() });
    let OpenKeys { file, place: counts, .. } = context.open_with(&changing.archive, given, found)?;
    if counts != place && !opened.contains(&counts) {
        return Err(Failure::Refused(format!(
            "{place} would not count: none of the identities opens it, or {counts}, which counts now, is not older; make it anew \
             by `weekvault key add-recipient --plain`; nothing was done"
        )));
    }
    changing.add(&file, &sealed)?;
    if counts != place {
        context.observer().warn(&format!(
            "that {place} holds what {counts} says was not proved: try it by your own age, `age -d -i IDENTITY keys/{}`",
            file.number().file_name()
        ));
    }
    let done = format!("{place} is in the store, as keys/{}", file.number().file_name());
    changing.finish(context, &Next { file, sealed }, &End::of(done))
}
