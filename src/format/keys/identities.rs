//! What opens a read file: identities of operators.

use super::age_file::{ARMOR, HeaderLimits, MAX_PLAIN, Refusal, binary, decrypt, header};
use super::{KeyError, OperatorRecipient};
use crate::format::FormatError;
use age::secrecy::SecretString;
use age::{scrypt, x25519};
use std::fmt;

const PART: &str = "the identity file";

/// The most work that testing a passphrase may take, as the logarithm (base 2) of scrypt's N. `age -p` asks for 18, which takes
/// 256 MiB; this is what it opens: 4 GiB.
pub const MAX_WORK_FACTOR: u8 = 22;

/// Those of a file that has one stanza, the passphrase's.
const LIMITS: HeaderLimits = HeaderLimits { bytes: 4 << 10, stanzas: 1 };

/// Software identities, which are wiped from memory when they are dropped.
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Reads an age identity file: one identity a line, lines that begin with `#` and empty ones passed over. The plaintext of a
    /// read file is such a file too, of a store's read keys.
    ///
    /// # Errors
    /// [`KeyError::Locked`] when it is encrypted with a passphrase; [`KeyError::Foreign`] for an identity of a plugin, of ssh or
    /// of another kind, naming its line; [`FormatError`] when it is no identity file, or names none.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyError> {
        let invalid = |reason: String| KeyError::from(FormatError::invalid(PART, reason));
        if bytes.len() > MAX_PLAIN {
            let (size, limit) = (bytes.len() as u64, MAX_PLAIN as u64);
            return Err(FormatError::TooLarge { what: PART.into(), size, limit }.into());
        }
        if bytes.starts_with(ARMOR.as_bytes()) || bytes.starts_with(b"age-encryption.org/") {
            check_locked(&binary(bytes, MAX_PLAIN, PART)?)?;
            return Err(KeyError::Locked);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not text".into()))?;
        // All the room from the start: a vector that grows leaves copies behind.
        let mut identities = Vec::with_capacity(text.lines().count());
        for (number, line) in (1..).zip(text.lines()) {
            match line.trim() {
                comment if comment.is_empty() || comment.starts_with('#') => {}
                identity => identities.push(parse_identity(identity, number)?),
            }
        }
        match identities.is_empty() {
            true => Err(invalid("it has no line that begins with AGE-SECRET-KEY-1".into())),
            false => Ok(Self(identities)),
        }
    }

    /// Reads an identity file that is encrypted with a passphrase.
    ///
    /// # Errors
    /// [`KeyError::WrongPassphrase`]; [`KeyError::TooMuchWork`] beyond [`MAX_WORK_FACTOR`]; those of [`Identities::parse`].
    pub fn decrypt(bytes: &[u8], passphrase: &str) -> Result<Self, KeyError> {
        let file = binary(bytes, 2 * MAX_PLAIN, PART)?;
        check_locked(&file)?;
        let mut key = scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
        key.set_max_work_factor(MAX_WORK_FACTOR);
        let plain = decrypt(&file, std::iter::once(&key as &dyn age::Identity), PART);
        let plain = plain.map_err(|refusal| match refusal {
            Refusal::WrongKey | Refusal::NoKey => KeyError::WrongPassphrase,
            Refusal::Work(found) => KeyError::TooMuchWork { found, limit: MAX_WORK_FACTOR },
            Refusal::Format(error) => error.into(),
        })?;
        Self::parse(&plain)
    }

    /// Those of a store's read keys, or of one operator.
    pub(super) fn of(identities: impl IntoIterator<Item = x25519::Identity>) -> Self {
        Self(identities.into_iter().collect())
    }

    /// Their public halves, in the order of the file.
    pub fn recipients(&self) -> Vec<OperatorRecipient> {
        self.0.iter().map(|identity| identity.to_public().into()).collect()
    }

    /// For the age library.
    pub fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

impl fmt::Debug for Identities {
    /// Shows the public halves only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.recipients()).finish()
    }
}

/// Whether it is an age file that a passphrase opens.
fn check_locked(file: &[u8]) -> Result<(), FormatError> {
    match header(file, LIMITS, PART) {
        Ok(header) if header.passphrase => Ok(()),
        _ => Err(FormatError::invalid(
            PART,
            "it is an age file that no passphrase alone opens: open it with your own age, \
             `age -d -i IDENTITY FILE | weekvault ... --identity -`",
        )),
    }
}

fn parse_identity(text: &str, line: usize) -> Result<x25519::Identity, KeyError> {
    let upper = text.get(..24.min(text.len())).unwrap_or_default().to_ascii_uppercase();
    let kind = match upper.as_str() {
        upper if upper.starts_with("AGE-SECRET-KEY-1") => {
            let damaged = || format!("line {line} is no whole identity: a character is wrong, or it was cut");
            return text.parse().map_err(|_| FormatError::invalid(PART, damaged()).into());
        }
        upper if upper.starts_with("AGE-PLUGIN-") => "an identity of an age plugin",
        upper if upper.starts_with("AGE-SECRET-KEY-") => "an identity of a newer kind",
        upper if upper.starts_with("-----BEGIN ") => "a key of another program, such as ssh",
        upper if upper.starts_with("AGE1") || upper.starts_with("SSH-") => {
            let reason = format!(
                "line {line} is a recipient, which opens nothing: give the identity that belongs to it"
            );
            return Err(FormatError::invalid(PART, reason).into());
        }
        _ => return Err(FormatError::invalid(PART, format!("line {line} is no identity")).into()),
    };
    Err(KeyError::Foreign { line, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{IDENTITY, READ_KEY, RECIPIENT};
    use proptest::prelude::*;

    fn locked(plain: &[u8], passphrase: &str, work: u8) -> Vec<u8> {
        let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        recipient.set_work_factor(work);
        age::encrypt(&recipient, plain).unwrap()
    }

    #[test]
    fn reads_what_age_keygen_writes() {
        let text = format!("# created: 2026-01-05T10:00:00Z\n# public key: {RECIPIENT}\n{IDENTITY}\n");
        let identities = Identities::parse(text.as_bytes()).unwrap();
        assert_eq!(identities.recipients(), [RECIPIENT.parse().unwrap()]);
        assert_eq!(identities.iter().count(), 1);
        // More than one, line ends of other systems, no last newline.
        let text = format!("\r\n  # both\r\n{READ_KEY}\r\n\r\n{IDENTITY}");
        assert_eq!(Identities::parse(text.as_bytes()).unwrap().recipients().len(), 2);
        assert!(!format!("{identities:?}").contains(&IDENTITY[16..24]));
    }

    #[test]
    fn identities_of_others_are_named_with_the_way_out() {
        for (line, kind) in [
            ("AGE-PLUGIN-YUBIKEY-1QQPQGQYZQ8CPZ", "plugin"),
            ("age-plugin-yubikey-1qqpqgqyzq8cpz", "plugin"),
            ("AGE-SECRET-KEY-PQ-1QQQQQQQQ", "newer kind"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "ssh"),
        ] {
            let error = Identities::parse(format!("# mine\n{line}\n").as_bytes()).unwrap_err();
            assert!(matches!(error, KeyError::Foreign { line: 2, .. }), "{error:?}");
            let text = error.to_string();
            assert!(
                text.contains(kind) && text.contains("age -d -i") && text.contains("--identity -"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_identity_is_named_and_not_shown() {
        let (cut, typo) = (&IDENTITY[..50], format!("{}Q", &IDENTITY[..IDENTITY.len() - 1]));
        for (text, reason) in [
            ("", "no line that begins with AGE-SECRET-KEY-1"),
            ("# only a comment\n", "no line that begins with AGE-SECRET-KEY-1"),
            (&format!("#\n{cut}"), "line 2 is no whole identity"),
            (&typo, "line 1 is no whole identity"),
            (RECIPIENT, "line 1 is a recipient"),
            ("ssh-ed25519 AAAA", "line 1 is a recipient"),
            (&IDENTITY[4..], "line 1 is no identity"),
            ("é", "line 1 is no identity"),
        ] {
            let error = Identities::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason) && !error.contains(&IDENTITY[20..30]), "{text}: {error}");
        }
        assert!(Identities::parse(&[0xff]).is_err());
        assert!(Identities::parse(&vec![b'#'; MAX_PLAIN + 1]).unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn a_passphrase_is_asked_for_and_opens() {
        let text = format!("# mine\n{IDENTITY}\n");
        let file = locked(text.as_bytes(), "correct horse", 2);
        let armor = crate::format::keys::samples::armor(&file);
        for file in [file.as_slice(), armor.as_bytes()] {
            assert!(matches!(Identities::parse(file), Err(KeyError::Locked)));
            let opened = Identities::decrypt(file, "correct horse").unwrap();
            assert_eq!(opened.recipients(), [RECIPIENT.parse().unwrap()]);
            assert!(matches!(Identities::decrypt(file, "wrong"), Err(KeyError::WrongPassphrase)));
        }
        let last = file.len() - 1;
        assert!(Identities::decrypt(&file[..last], "correct horse").is_err());
        // A file within a file is not opened: its plaintext is no identity.
        let nested = locked(&file, "outer", 2);
        assert!(matches!(Identities::decrypt(&nested, "outer"), Err(KeyError::Locked)));
        assert!(Identities::decrypt(text.as_bytes(), "correct horse").is_err());
    }

    #[test]
    fn work_is_bounded() {
        let file = locked(b"plain", "x", 2);
        let at = file.windows(2).position(|two| two == b" 2").unwrap() + 1;
        for work in ["23", "63", "255", "256", "99999999999"] {
            let file = [&file[..at], work.as_bytes(), &file[at + 1..]].concat();
            let error = Identities::decrypt(&file, "x").unwrap_err();
            let bounded = matches!(error, KeyError::TooMuchWork { limit: MAX_WORK_FACTOR, .. });
            assert!(bounded || work.len() > 3 || work == "256", "{error:?}");
        }
    }

    #[test]
    fn a_file_for_recipients_needs_the_operators_age() {
        let file = age::encrypt(&RECIPIENT.parse::<x25519::Recipient>().unwrap(), b"plain").unwrap();
        for error in [Identities::parse(&file).unwrap_err(), Identities::decrypt(&file, "x").unwrap_err()] {
            assert!(error.to_string().contains("--identity -"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(start in 0..4usize, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let start = ["", "AGE-SECRET-KEY-1", "age-encryption.org/v1\n-> scrypt ", ARMOR][start];
            let bytes = [start.as_bytes(), &rest].concat();
            prop_assert!(Identities::parse(&bytes).is_err());
            prop_assert!(Identities::decrypt(&bytes, "x").is_err());
        }
    }
}
