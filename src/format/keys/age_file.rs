//! Small age files that are opened as a whole. What the library would read without end is looked at before it sees a file.

use crate::format::FormatError;
use age::armor::ArmoredReader;
use age::{DecryptError, Decryptor};
use std::borrow::Cow;
use std::io::Read;
use zeroize::Zeroizing;

/// The most bytes that the plaintext of a read file or an identity file may have.
pub const MAX_PLAIN: usize = 512 << 10;

/// What an age file as text begins with.
pub(super) const ARMOR: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// How large the header of an age file may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::format) struct HeaderLimits {
    /// Bytes up to the end of the header.
    pub(in crate::format) bytes: usize,
    /// Recipient stanzas, those that stand for nobody included.
    pub(in crate::format) stanzas: usize,
}

/// Of the header of an age file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::format) struct Header {
    /// Its length in bytes.
    pub(in crate::format) length: usize,
    /// Recipient stanzas.
    pub(in crate::format) stanzas: usize,
    /// Whether a stanza is a passphrase's.
    pub(in crate::format) passphrase: bool,
}

/// Looks at the header of an age file.
///
/// # Errors
/// [`FormatError::Invalid`] naming `part` when there is none, or it is not within the limits.
pub(in crate::format) fn header(
    file: &[u8],
    limits: HeaderLimits,
    part: &'static str,
) -> Result<Header, FormatError> {
    let invalid = |reason: &str| FormatError::invalid(part, reason);
    let within = file.get(..limits.bytes.min(file.len())).unwrap_or_default();
    let mut header = Header { length: 0, stanzas: 0, passphrase: false };
    for line in within.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").ok_or_else(|| invalid("its header is too long, or cut short"))?;
        if header.length == 0 && text != b"age-encryption.org/v1" {
            return Err(invalid("it is not an age file of version 1"));
        }
        header.length += line.len();
        if text.starts_with(b"--- ") {
            return Ok(header);
        }
        let Some(stanza) = text.strip_prefix(b"-> ") else { continue };
        header.stanzas += 1;
        header.passphrase |= stanza.split(|byte| *byte == b' ').next() == Some(b"scrypt");
        if header.stanzas > limits.stanzas {
            return Err(invalid("its header has too many recipients"));
        }
    }
    Err(invalid(if file.is_empty() { "it is empty" } else { "its header is too long, or cut short" }))
}

/// The bytes of an age file that may have been given as text.
pub(super) fn binary<'a>(
    bytes: &'a [u8],
    limit: usize,
    part: &'static str,
) -> Result<Cow<'a, [u8]>, FormatError> {
    if !bytes.starts_with(ARMOR.as_bytes()) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut file = Vec::with_capacity(bytes.len().min(limit + 1));
    let read = ArmoredReader::new(bytes).take(limit as u64 + 1).read_to_end(&mut file);
    read.map_err(|error| FormatError::invalid(part, format!("its armor is damaged: {error}")))?;
    match file.len() > limit {
        true => {
            Err(FormatError::TooLarge { what: part.into(), size: file.len() as u64, limit: limit as u64 })
        }
        false => Ok(Cow::Owned(file)),
    }
}

/// Why an age file does not open.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No identity fits.
    NoKey,
    /// One fits, and does not open it: a wrong passphrase.
    WrongKey,
    /// The passphrase's work, as a logarithm.
    Work(u8),
    /// Damage.
    Format(FormatError),
}

/// Opens an age file whose header was looked at; nothing is returned before its last byte was checked.
pub(super) fn decrypt<'a>(
    file: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
    part: &'static str,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let invalid = |reason: &str| Refusal::Format(FormatError::invalid(part, reason));
    let decryptor = Decryptor::new_buffered(file).map_err(|_| invalid("its header is damaged"))?;
    let opened = decryptor.decrypt(identities).map_err(|error| match error {
        DecryptError::NoMatchingKeys => Refusal::NoKey,
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed => Refusal::WrongKey,
        DecryptError::ExcessiveWork { required, .. } => Refusal::Work(required),
        _ => invalid("its header is damaged"),
    });
    let limit = MAX_PLAIN.min(file.len());
    // With all the room from the start no copy of it stays behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(limit + 1));
    let read = opened?.take(limit as u64 + 1).read_to_end(&mut plain);
    read.map_err(|_| invalid("its content is damaged, or cut short"))?;
    if plain.len() > limit {
        let (what, size, limit) = (part.into(), plain.len() as u64, limit as u64);
        return Err(Refusal::Format(FormatError::TooLarge { what, size, limit }));
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: HeaderLimits = HeaderLimits { bytes: 100, stanzas: 2 };

    fn look(file: &[u8]) -> Result<Header, String> {
        header(file, LIMITS, "file").map_err(|error| error.to_string())
    }

    #[test]
    fn ends_at_the_mac() {
        let found =
            look(b"age-encryption.org/v1\n-> X25519 abc\nbody\n-> x\n\n--- mac\n-> more\npayload").unwrap();
        assert_eq!(found, Header { length: 55, stanzas: 2, passphrase: false });
        assert!(look(b"age-encryption.org/v1\n-> scrypt a 1\nx\n--- mac\n").unwrap().passphrase);
        assert!(look(b"age-encryption.org/v1\n-> scrypt\n--- mac\n").unwrap().passphrase);
        assert!(!look(b"age-encryption.org/v1\n-> scrypted a\n--- mac\n").unwrap().passphrase);
    }

    #[test]
    fn refuses_what_is_too_much_or_something_else() {
        let long = format!("age-encryption.org/v1\n-> X25519 {}\n--- mac\n", "x".repeat(100));
        let many = "age-encryption.org/v1\n-> x\n-> x\n-> x\n--- mac\n";
        for (file, reason) in [
            ("", "empty"),
            ("age-encryption.org/v2\n--- mac\n", "version 1"),
            ("age-encryption.org/v1\r\n--- mac\n", "version 1"),
            ("-----BEGIN AGE ENCRYPTED FILE-----\n", "version 1"),
            ("age-encryption.org/v1", "cut short"),
            ("age-encryption.org/v1\n-> X25519 abc\n", "cut short"),
            ("age-encryption.org/v1\n-> X25519 abc\n--- mac", "cut short"),
            (&long, "too long"),
            (many, "too many"),
        ] {
            let error = look(file.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{file}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = look(&rest);
            let _ = look(&[b"age-encryption.org/v1\n".as_slice(), &rest].concat());
        }
    }
}
