//! `init`: makes a store, or seals a plain one.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::keys::RecipientArgs;
use super::options::help_end;
use super::seal::{SealArgs, seal};
use crate::format::ChunkSizes;
use crate::model::Shown;
use clap::Args;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  weekvault --store /backup init
  weekvault --store /mnt/nas/vault init --json
  weekvault --store /mnt/nas/images init --chunk-size 4M
  weekvault --store /backup init --recipients-file operators.txt --writer-key writer.key
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed, or there is such a store already", &[]))]
pub(super) struct InitArgs {
    /// What chunks come to on average: bytes, or with K or M (KiB, MiB). Larger ones make fewer objects, for stores of several
    /// terabytes; smaller ones share more of what changes a little. It cannot be changed later [default: 1M]
    #[arg(long, env = "WEEKVAULT_CHUNK_SIZE", value_name = "SIZE", value_parser = parse_chunks)]
    chunk_size: Option<ChunkSizes>,
    #[command(flatten)]
    recipients: RecipientArgs,
    /// Make a writer that can read nothing at all, also not the names of its own files: it compares with nothing
    #[arg(long, env = "WEEKVAULT_BLIND")]
    blind: bool,
}

/// Reads an average chunk size.
fn parse_chunks(text: &str) -> Result<ChunkSizes, String> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let size = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    let sizes = size.filter(|size| (MIN_CHUNK..=MAX_CHUNK).contains(size) && size.is_multiple_of(8));
    sizes
        .and_then(ChunkSizes::around)
        .ok_or_else(|| "it must be 64K to 4M, and a multiple of 8 bytes".to_owned())
}

/// A store of smaller chunks has more objects than anyone wants to list.
const MIN_CHUNK: u32 = 64 << 10;
/// The largest average that the format has.
const MAX_CHUNK: u32 = 4 << 20;

pub(super) fn run(context: &Context, args: &InitArgs) -> Result<u8, Failure> {
    let InitArgs { chunk_size, recipients, blind } = args;
    if !recipients.is_empty() {
        return seal(context, &SealArgs { recipients, chunks: *chunk_size, blind: *blind });
    }
    let global = &context.global;
    if *blind || recipients.may_be_single() || !global.writer_key.is_empty() || !global.identity.is_empty() {
        return Err(Failure::Usage(
            "without --recipient a plain store is made, which has no keys: say who shall be able to open the store, or leave the \
             options for keys away"
                .into(),
        ));
    }
    if global.store_id.is_some() {
        return Err(Failure::Usage(
            "--store-id is the id of a store that is there; a new one gets its own".into(),
        ));
    }
    let opened = context.create_anew(chunk_size.unwrap_or_default())?;
    let (path, config) = (&global.store, opened.archive.config());
    let document = json!({
        "store": path.to_string_lossy(),
        "id": config.id,
        "created": config.created,
        "chunk_size": config.chunks.avg,
        "sealed": false,
    });
    context
        .print(&document, &format!("a new store at {}, with the id {}\n", Shown::path(path), config.id))?;
    Ok(DONE)
}
