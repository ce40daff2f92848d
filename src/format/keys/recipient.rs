//! Who can open a store: the recipients of its read files.

use super::KeyError;
use super::age_key::parse_recipient;
use age::{tag, tagpq, x25519};
use std::fmt;
use std::str::FromStr;

/// No word of a recipient is longer, in bytes; those of post-quantum keys come near 2,000.
const MAX_WORD: usize = 4096;

const FOREIGN: &str = "a recipient that this weekvault cannot encrypt to: encrypt the read file with your own age, and take it in \
                       with `weekvault key import`";

/// A recipient of read files, R1..Rn: one who keeps an identity outside of the cluster.
#[derive(Clone, PartialEq)]
pub struct OperatorRecipient(Kind);

#[derive(Clone, PartialEq)]
enum Kind {
    /// `age1…`: a key that is a file or a sheet of paper.
    X25519(x25519::Recipient),
    /// `age1tag1…`: a P-256 key in hardware.
    Tag(Box<tag::Recipient>),
    /// `age1tagpq1…`: the same with ML-KEM-768.
    TagPq(Box<tagpq::Recipient>),
}

impl OperatorRecipient {
    /// For the age library.
    pub(super) fn recipient(&self) -> &dyn age::Recipient {
        match &self.0 {
            Kind::X25519(recipient) => recipient,
            Kind::Tag(recipient) => recipient.as_ref(),
            Kind::TagPq(recipient) => recipient.as_ref(),
        }
    }

    /// Whether a quantum computer would be of no use: age files have such recipients only, or none.
    pub fn is_post_quantum(&self) -> bool {
        matches!(self.0, Kind::TagPq(_))
    }
}

impl From<x25519::Recipient> for OperatorRecipient {
    fn from(recipient: x25519::Recipient) -> Self {
        Self(Kind::X25519(recipient))
    }
}

impl fmt::Display for OperatorRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::X25519(recipient) => recipient.fmt(f),
            Kind::Tag(recipient) => recipient.fmt(f),
            Kind::TagPq(recipient) => recipient.fmt(f),
        }
    }
}

impl fmt::Debug for OperatorRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorRecipient({self})")
    }
}

impl FromStr for OperatorRecipient {
    type Err = KeyError;

    /// Reads `age1…`, `age1tag1…` or `age1tagpq1…`. Of others, such as ssh keys and those of plugins, the error tells the way.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let damaged = "no whole recipient: a character is wrong, or it was cut";
        if text.len() > MAX_WORD {
            return Err(KeyError::recipient(text, damaged));
        }
        let kind = match text.rsplit_once('1').map(|(prefix, _)| prefix) {
            Some("age") => parse_recipient(text).map(Kind::X25519),
            Some("age1tag") => text.parse().ok().map(|recipient| Kind::Tag(Box::new(recipient))),
            Some("age1tagpq") => text.parse().ok().map(|recipient| Kind::TagPq(Box::new(recipient))),
            Some(prefix) if prefix.starts_with("age1") => return Err(KeyError::recipient(text, FOREIGN)),
            _ if text.starts_with("ssh-") => return Err(KeyError::recipient(text, FOREIGN)),
            _ => {
                return Err(KeyError::recipient(
                    text,
                    "no recipient: give one that begins with age1, as `age-keygen -y` prints it",
                ));
            }
        };
        kind.map(Self).ok_or_else(|| KeyError::recipient(text, damaged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{IDENTITY, RECIPIENT, TAG_RECIPIENT};
    use proptest::prelude::*;

    #[test]
    fn what_the_library_makes_is_taken() {
        for text in [RECIPIENT, TAG_RECIPIENT] {
            let recipient: OperatorRecipient = text.parse().unwrap();
            assert_eq!(recipient.to_string(), text);
            assert!(!recipient.is_post_quantum());
        }
    }

    #[test]
    fn others_are_refused_with_the_way_out() {
        for (text, hint) in [
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice",
                "key import",
            ),
            ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "key import"),
            ("age1pq1qqqqqqqqqqqqqqqqqqqqqqqqq", "key import"),
            (&RECIPIENT[..40], "cut"),
            (&format!("{}q", &RECIPIENT[..RECIPIENT.len() - 1]), "wrong"),
            (&RECIPIENT.to_uppercase(), "age-keygen -y"),
            ("", "age-keygen -y"),
            ("operator@example.org", "age-keygen -y"),
            (&format!("age1{}", "q".repeat(5000)), "cut"),
        ] {
            let error = text.parse::<OperatorRecipient>().unwrap_err().to_string();
            assert!(error.contains(hint) && error.len() < 400, "{error}");
        }
    }

    #[test]
    fn an_identity_in_place_of_a_recipient_is_not_shown() {
        for text in [IDENTITY.to_owned(), IDENTITY.to_lowercase(), format!("age1 {IDENTITY}")] {
            let error = text.parse::<OperatorRecipient>().unwrap_err();
            assert!(!format!("{error} {error:?}").to_uppercase().contains(&IDENTITY[16..24]), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(age1|age1tag1|age1tagpq1|ssh-|)\\PC{0,200}") {
            let _ = text.parse::<OperatorRecipient>();
        }
    }
}
