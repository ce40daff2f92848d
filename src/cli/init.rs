//! `init`: makes a store.

use super::args::help_end;
use super::context::Context;
use super::failure::{DONE, Failure};
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
    let (path, config) = (context.global.store.display(), opened.archive.config());
    let document = json!({ "store": path.to_string(), "id": config.id, "created": config.created });
    context.print(&document, &format!("a new store at {path}, with the id {}\n", config.id))?;
    Ok(DONE)
}
