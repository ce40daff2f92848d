//! `key writer` and `key renew`: the files of writers.

use super::next::{Changing, End, Next};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::human::count;
use crate::cli::keys::{OpenKeys, RecipientArgs, check_new, create, refused};
use crate::cli::options::help_end;
use crate::format::keys::{CompareKey, WriterFile, WriterSecret};
use crate::model::Shown;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const WRITER_EXAMPLES: &str = "\
Examples:
  weekvault key writer mail.key --identity mine.key --recipients-file all.txt \\
    --writer-key writer.key
  weekvault key writer keyring.key --blind --identity mine.key --recipients-file all.txt
";
const RENEW_EXAMPLES: &str = "\
Examples:
  weekvault key renew --identity mine.key --writer-key writer.key --writer-key mail.key
";

#[derive(Args, Debug)]
#[command(after_help = help_end(WRITER_EXAMPLES, "failed: no writer was made, unless the message says so", &[]))]
pub(super) struct WriterArgs {
    /// Where to make the new writer's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Make a writer that can read nothing at all, also not the names of its own files: it compares with nothing
    #[arg(long, env = "WEEKVAULT_BLIND")]
    blind: bool,
}

#[derive(Args, Debug)]
#[command(after_help = help_end(RENEW_EXAMPLES, "failed: not all files could be renewed", &[]))]
pub(super) struct RenewArgs {}

pub(super) fn writer(context: &Context, args: &WriterArgs) -> Result<u8, Failure> {
    let recipients = args.recipients.parse(0)?;
    check_new(&args.file, &context.global.store)?;
    let changing = Changing::begin(context)?;
    let OpenKeys { file, given, .. } = changing.keys(context)?;
    let refused = refused("the new writer");
    let secret = WriterSecret::generate().map_err(&refused)?;
    let compare = if args.blind { None } else { Some(CompareKey::generate().map_err(&refused)?) };
    let id = secret.id();
    let file = changing.changed(file, |file| file.with_writer(id))?;
    let next = changing.put(context, file, &recipients, &given)?;
    let chunks = changing.archive.config().chunks;
    let writer = WriterFile::new(&next.file, next.sealed.clone(), chunks, secret, compare);
    create(&args.file, &writer.map_err(refused)?)?;
    let place = Shown::path(&args.file);
    let end = End {
        made: Some(id),
        document: json!({ "writer": id.to_string(), "writer_file": args.file.to_string_lossy(), "blind": args.blind }),
        advice: "writers whose files are not renewed do not build on what the new one stores\n",
        ..End::of(format!(
            "writer {id} has the file {place}; {} can open the store",
            count(recipients.len() as u64, "recipient")
        ))
    };
    changing.finish(context, &next, &end)
}

pub(super) fn renew(context: &Context, _: &RenewArgs) -> Result<u8, Failure> {
    let changing = Changing::begin(context)?;
    if !changing.renews() {
        return Err(Failure::Usage("name the writers' files that are to be renewed by --writer-key".into()));
    }
    let keys = changing.keys(context)?;
    let sealed = keys.sealed().cloned().ok_or_else(|| {
        Failure::Refused(format!(
            "the read file {} of {} is not in the store: give the identity itself, or take it in by `weekvault key import`",
            keys.file.number(),
            keys.place
        ))
    })?;
    let next = Next { file: keys.file, sealed };
    changing.finish(
        context,
        &next,
        &End::of("writers' files are renewed from the read file that counts".into()),
    )
}
