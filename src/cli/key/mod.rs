//! `key`: who can open a sealed store, and who writes to it.

mod change;
mod import;
mod kit;
mod list;
mod next;
mod test;
mod writer;

use super::context::Context;
use super::failure::Failure;
use super::options::help_end;
use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  weekvault key list --identity mine.key
  weekvault key kit --identity mine.key --recipients-file all.txt --writer-key writer.key | lpr
  weekvault key rotate --identity mine.key --recipients-file all.txt --writer-key writer.key
";

#[derive(Args, Debug)]
#[command(subcommand_required = true, after_help = help_end(EXAMPLES, "failed: nothing was changed, unless the message says so", &[]))]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand, Debug)]
enum KeyCommand {
    /// Show read files, writers, and which manifests carry an older read file
    List(list::ListArgs),
    /// Try whether identities open the store
    Test(test::TestArgs),
    /// Print a new identity on a page, with all that a restore takes, and keep nothing of it
    Kit(kit::KitArgs),
    /// Make the next read file, for these recipients
    AddRecipient(change::AddArgs),
    /// Make a new read key, for those who remain
    RemoveRecipient(change::RemoveArgs),
    /// Make a new read key: what comes opens for these recipients alone
    Rotate(change::RotateArgs),
    /// Make one more writer, with a file of its own
    Writer(writer::WriterArgs),
    /// Bring writers' files to the read file that counts
    Renew(writer::RenewArgs),
    /// Trust a writer no more
    Revoke(change::RevokeArgs),
    /// Take in a read file that your own age has made, for recipients that weekvault cannot encrypt to
    Import(import::ImportArgs),
}

pub(super) fn run(context: &Context, args: &KeyArgs) -> Result<u8, Failure> {
    match &args.command {
        KeyCommand::List(args) => list::list(context, args),
        KeyCommand::Test(args) => test::test(context, args),
        KeyCommand::Kit(args) => kit::kit(context, args),
        KeyCommand::AddRecipient(args) => change::add(context, args),
        KeyCommand::RemoveRecipient(args) => change::remove(context, args),
        KeyCommand::Rotate(args) => change::rotate(context, args),
        KeyCommand::Writer(args) => writer::writer(context, args),
        KeyCommand::Renew(args) => writer::renew(context, args),
        KeyCommand::Revoke(args) => change::revoke(context, args),
        KeyCommand::Import(args) => import::import(context, args),
    }
}
