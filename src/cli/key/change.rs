//! `key add-recipient`, `remove-recipient`, `rotate` and `revoke`: who can open a store, and who writes to it.

use super::next::{Changing, End};
use crate::cli::context::Context;
use crate::cli::failure::{DONE, Failure};
use crate::cli::human::count;
use crate::cli::keys::{OpenKeys, RecipientArgs, is_secret, refused};
use crate::cli::options::help_end;
use crate::format::keys::{InvalidWriter, KeyError, ReadFile, WriterId};
use clap::Args;
use std::io::{self, IsTerminal, Write};

const ADD_EXAMPLES: &str = "\
Examples:
  weekvault key add-recipient --identity mine.key --recipients-file all.txt \\
    --writer-key writer.key
  weekvault key add-recipient --identity mine.key --plain | age -R all.txt -o next.age
";
const REMOVE_EXAMPLES: &str = "\
Examples:
  weekvault key remove-recipient age1theirs --identity mine.key --recipients-file remaining.txt
";
const ROTATE_EXAMPLES: &str = "\
Examples:
  weekvault key rotate --identity mine.key --recipients-file all.txt --writer-key writer.key
";
const REVOKE_EXAMPLES: &str = "\
Examples:
  weekvault key revoke 3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c \\
    --identity mine.key --recipients-file all.txt --writer-key other-writer.key
";
const FAILED: &str = "failed: nothing was changed, unless the message says so";

#[derive(Args, Debug)]
struct NextArgs {
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Write the new read file to stdout, open, for your own age to encrypt, and change nothing: `key import` takes what that
    /// makes
    #[arg(long, env = "WEEKVAULT_PLAIN")]
    plain: bool,
}

#[derive(Args, Debug)]
#[command(after_help = help_end(ADD_EXAMPLES, FAILED, &[]))]
pub(super) struct AddArgs {
    #[command(flatten)]
    next: NextArgs,
}

#[derive(Args, Debug)]
#[command(after_help = help_end(REMOVE_EXAMPLES, FAILED, &[]))]
pub(super) struct RemoveArgs {
    /// Who shall not be able to open what is written from now on
    #[arg(value_name = "REMOVED", required = true)]
    removed: Vec<String>,
    #[command(flatten)]
    next: NextArgs,
}

#[derive(Args, Debug)]
#[command(after_help = help_end(ROTATE_EXAMPLES, FAILED, &[]))]
pub(super) struct RotateArgs {
    #[command(flatten)]
    next: NextArgs,
}

#[derive(Args, Debug)]
#[command(after_help = help_end(REVOKE_EXAMPLES, FAILED, &[]))]
pub(super) struct RevokeArgs {
    /// The writer's public key, as `key list` shows it
    writer: String,
    #[command(flatten)]
    next: NextArgs,
}

const NEW_EPOCH: &str = "\
what is written with renewed writers' files opens for these recipients alone; what was written before, for whoever could
kits have the recipient of before: write the new one on them, or make new ones by `weekvault key kit`
";
const REVOKED: &str = "\
its weeks are restored only when they are named, with a warning, and no writer whose file is renewed builds on them
`weekvault key writer` makes another one in its place
";

pub(super) fn add(context: &Context, args: &AddArgs) -> Result<u8, Failure> {
    change(context, &args.next, ReadFile::renumbered, |n| End::of(format!("{n} can open the store")))
}

pub(super) fn remove(context: &Context, args: &RemoveArgs) -> Result<u8, Failure> {
    if args.removed.iter().any(|text| is_secret(text)) {
        return Err(Failure::Usage("give the recipient that is to be removed, not its identity".into()));
    }
    if !args.next.plain {
        let remaining = args.next.recipients.parse(0)?;
        if let Some(both) = remaining.iter().map(ToString::to_string).find(|text| args.removed.contains(text))
        {
            return Err(Failure::Usage(format!(
                "{both} is to be removed, and is among those who shall be able to open the store"
            )));
        }
    }
    // Whoever was removed has the read key: without another one nothing would be kept from them.
    change(context, &args.next, ReadFile::rotated, |n| new_epoch(format!("{n} can open what comes")))
}

pub(super) fn rotate(context: &Context, args: &RotateArgs) -> Result<u8, Failure> {
    change(context, &args.next, ReadFile::rotated, |n| new_epoch(format!("there is a new read key, for {n}")))
}

pub(super) fn revoke(context: &Context, args: &RevokeArgs) -> Result<u8, Failure> {
    // What cannot be read is not shown: it may be anything.
    let writer: WriterId =
        args.writer.trim().parse().map_err(|e: InvalidWriter| Failure::Usage(format!("WRITER is {e}")))?;
    let revoke = |file: ReadFile| file.without_writer(&writer);
    let done = format!("writer {writer} is revoked");
    change(context, &args.next, revoke, |_| End { advice: REVOKED, ..End::of(done) })
}

fn new_epoch(done: String) -> End<'static> {
    End { advice: NEW_EPOCH, compare_keys: true, ..End::of(done) }
}

fn change(
    context: &Context,
    args: &NextArgs,
    change: impl FnOnce(ReadFile) -> Result<ReadFile, KeyError>,
    end: impl FnOnce(String) -> End<'static>,
) -> Result<u8, Failure> {
    if args.plain {
        return plain(context, change);
    }
    let recipients = args.recipients.parse(0)?;
    let changing = Changing::begin(context)?;
    let OpenKeys { file, given, .. } = changing.keys(context)?;
    let file = changing.changed(file, change)?;
    let next = changing.put(context, file, &recipients, &given)?;
    changing.finish(context, &next, &end(count(recipients.len() as u64, "recipient")))
}

/// The same as far as it goes without encrypting.
fn plain(
    context: &Context,
    change: impl FnOnce(ReadFile) -> Result<ReadFile, KeyError>,
) -> Result<u8, Failure> {
    context.refuse_json("--plain writes a read file to stdout")?;
    if io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "--plain would show the keys of all that is stored on the terminal: pipe it into your own age"
                .into(),
        ));
    }
    let changing = Changing::begin(context)?;
    if changing.renews() {
        return Err(Failure::Usage(
            "writers' files are renewed when the read file is there: `key import` does it".into(),
        ));
    }
    let keys = changing.keys(context)?;
    let file = changing.changed(keys.file, change)?;
    let text = file.encode().map_err(|e| refused("the read file")(e.into()))?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(DONE)
}
