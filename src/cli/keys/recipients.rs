//! Who shall be able to open a store.

use super::told::{is_secret, told};
use crate::cli::failure::Failure;
use crate::format::keys::OperatorRecipient;
use crate::model::Shown;
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file does not tell for whom it is encrypted, so each that is made anew takes all of its recipients.
#[derive(Args, Debug)]
pub(in crate::cli) struct RecipientArgs {
    /// Who shall be able to open the store, all of them: age1..., as `age-keygen -y` prints it; may be repeated
    #[arg(long, env = "WEEKVAULT_RECIPIENT", value_name = "RECIPIENT", value_delimiter = ',')]
    recipient: Vec<String>,
    /// The same, one a line, as age's --recipients-file has it; may be repeated
    #[arg(long, env = "WEEKVAULT_RECIPIENTS_FILE", value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Go on with one recipient: when that one's identity is lost, so is all that is stored
    #[arg(long, env = "WEEKVAULT_SINGLE_RECIPIENT")]
    single_recipient: bool,
}

/// A file of recipients, of which one of a post-quantum key takes 2,000 bytes.
const MAX_RECIPIENTS_FILE: u64 = 128 << 10;

impl RecipientArgs {
    /// Whether none are given.
    pub(in crate::cli) fn is_empty(&self) -> bool {
        self.recipient.is_empty() && self.recipients_file.is_empty()
    }

    /// Whether one is to be enough.
    pub(in crate::cli) fn may_be_single(&self) -> bool {
        self.single_recipient
    }

    /// The recipients, in the order in which they are given. `more` are those that come from elsewhere, for the count.
    ///
    /// # Errors
    /// [`Failure::Usage`] for what is no recipient, for one that is given twice, and for a single one that is not meant.
    pub(in crate::cli) fn parse(&self, more: usize) -> Result<Vec<OperatorRecipient>, Failure> {
        let mut texts = self.recipient.clone();
        for path in &self.recipients_file {
            texts.extend(lines_of(path)?);
        }
        let mut recipients: Vec<OperatorRecipient> = Vec::new();
        for text in &texts {
            let recipient: OperatorRecipient = text.trim().parse().map_err(|e| Failure::Usage(told(&e)))?;
            if recipients.contains(&recipient) {
                return Err(Failure::Usage(format!("the recipient {recipient} is given twice")));
            }
            recipients.push(recipient);
        }
        match recipients.len() + more {
            0 => Err(Failure::Usage(
                "say by --recipient who shall be able to open the store: all of them, since a read file does not tell whom it \
                 was for"
                    .into(),
            )),
            1 if !self.single_recipient => Err(Failure::Usage(
                "there is one recipient: when that one's identity is lost, so is all that is stored; give a second one that is \
                 kept elsewhere, or --single-recipient"
                    .into(),
            )),
            _ => Ok(recipients),
        }
    }
}

fn lines_of(path: &Path) -> Result<Vec<String>, Failure> {
    let place = Shown::path(path);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_RECIPIENTS_FILE).read_to_string(&mut text));
    read.map_err(|e| Failure::File(format!("read the recipients in {place}"), e))?;
    if is_secret(&text) {
        return Err(Failure::Usage(format!(
            "{place} has secret keys: give the recipients that belong to them, as `age-keygen -y {place}` prints them"
        )));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}
