//! `init`: makes a store.

use super::context::Context;
use super::failure::{DONE, Failure};
use super::options::help_end;
use crate::model::Shown;
use clap::Args;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  weekvault --store /backup init
  weekvault --store /mnt/nas/vault init --json
";

#[derive(Args, Debug)]
#[command(after_help = help_end(EXAMPLES, "failed, or there is a store already", &[]))]
pub(super) struct InitArgs {}

pub(super) fn run(context: &Context) -> Result<u8, Failure> {
    if context.global.store_id.is_some() {
        return Err(Failure::Usage(
            "--store-id is the id of a store that is there; a new one gets its own".into(),
        ));
    }
    let opened = context.create_anew()?;
    let (path, config) = (&context.global.store, opened.archive.config());
    let document = json!({ "store": path.to_string_lossy(), "id": config.id, "created": config.created });
    context
        .print(&document, &format!("a new store at {}, with the id {}\n", Shown::path(path), config.id))?;
    Ok(DONE)
}
