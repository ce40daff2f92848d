//! A new identity of an operator.

use super::{KeyError, OperatorRecipient, ReadKey};
use std::fmt;
use zeroize::Zeroizing;

/// An X25519 identity for an operator, to be printed and kept by no program.
pub struct PaperKey(ReadKey);

impl PaperKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        ReadKey::generate().map(Self)
    }

    /// The identity as age writes it: `AGE-SECRET-KEY-1…`.
    pub fn to_text(&self) -> Zeroizing<String> {
        self.0.to_text()
    }

    /// Its public half.
    pub fn recipient(&self) -> OperatorRecipient {
        self.0.identity().to_public().into()
    }
}

impl fmt::Debug for PaperKey {
    /// Shows the public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaperKey({})", self.recipient())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::read_file;
    use crate::format::keys::{Identities, ReadFile};

    #[test]
    fn opens_what_it_is_a_recipient_of() {
        let key = PaperKey::generate().unwrap();
        let sealed = read_file().seal(&[key.recipient()]).unwrap();
        let identities = Identities::parse(key.to_text().as_bytes()).unwrap();
        assert_eq!(identities.recipients(), [key.recipient()]);
        assert_eq!(ReadFile::open(&sealed, &identities).unwrap().number(), read_file().number());
        assert!(!format!("{key:?}").contains(&key.to_text()[16..24]));
    }
}
