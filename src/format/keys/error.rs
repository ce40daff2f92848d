//! What can be wrong with keys.

use crate::format::FormatError;
use std::io;

/// Why keys or a file of them cannot be used. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Bytes that are not what the format asks for.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The operating system gave no random numbers.
    #[error("the operating system gives no random numbers")]
    Random(#[source] io::Error),
    /// The identity file is encrypted with a passphrase: ask for it, and use [`super::Identities::decrypt`].
    #[error("the identity file is encrypted with a passphrase")]
    Locked,
    /// It is not the passphrase of the identity file.
    #[error("the passphrase is wrong: the identity file does not open with it")]
    WrongPassphrase,
    /// Testing one passphrase would take too much memory and time.
    #[error(
        "the identity file asks for a scrypt work factor of {found}, where {limit} is the most: encrypt it anew with `age -p`"
    )]
    TooMuchWork {
        /// The logarithm (base 2) of the work.
        found: u8,
        /// The most that is done.
        limit: u8,
    },
    /// An identity that only the operator's own age can use.
    #[error(
        "line {line} of the identity file is {kind}, which this weekvault cannot use: let your own age open the read file, \
         `age -d -i IDENTITY keys/read-1-1.age | weekvault ... --identity -`"
    )]
    Foreign {
        /// Its line, from 1.
        line: usize,
        /// What it is.
        kind: &'static str,
    },
    /// A recipient that cannot be encrypted to.
    #[error("{recipient} is {reason}")]
    Recipient {
        /// The recipient, or what may be shown of it.
        recipient: String,
        /// What is wrong, and the way out.
        reason: &'static str,
    },
    /// No identity at hand is a recipient.
    #[error(
        "none of the identities opens {0}: its recipients are others. Give the identity of one of them by `--identity`"
    )]
    NotForUs(&'static str),
    /// A change of a read file that makes no sense.
    #[error("the read file cannot be changed so: {0}")]
    Change(String),
    /// Read files that cannot all be of one store.
    #[error(
        "the read files are not all of one history:{}\nSay by `--expect` which one is yours: its newest recipient is on \
         your kit. Where they have the same one, any `weekvault key` command makes one that counts before both",
        listed(found)
    )]
    Ambiguous {
        /// Where each was found, and the recipient of its newest read key. The one that would count is first.
        found: Vec<(String, String)>,
    },
    /// No read file has the recipient that was asked for.
    #[error("no read file has {expected} as its newest recipient; there are:{}", listed(found))]
    Unexpected {
        /// The recipient that was asked for.
        expected: String,
        /// Where each was found, and the recipient of its newest read key.
        found: Vec<(String, String)>,
    },
}

impl KeyError {
    /// The error for a text that was given for a recipient. A secret that was mistaken for one is not shown.
    pub(super) fn recipient(text: &str, reason: &'static str) -> Self {
        let public = text.starts_with("age1") || text.starts_with("ssh-");
        let shown = match public && !text.to_ascii_uppercase().contains("SECRET") {
            true => text.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(100).collect(),
            false => "what was given as a recipient".into(),
        };
        Self::Recipient { recipient: shown, reason }
    }
}

/// One a line.
fn listed(found: &[(String, String)]) -> String {
    found.iter().map(|(place, recipient)| format!("\n  {place}: {recipient}")).collect()
}
