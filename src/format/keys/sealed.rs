//! Read files as they are stored: age files, in binary or as text.

use super::age_file::{HeaderLimits, MAX_PLAIN, Refusal, binary, decrypt, header};
use super::{Identities, KeyError, OperatorRecipient};
use crate::format::FormatError;
use age::armor::{ArmoredWriter, Format};
use age::{EncryptError, Encryptor};
use std::fmt;
use std::io::Write;
use zeroize::Zeroizing;

const PART: &str = "the read file";

/// Those of read files, which have many recipients.
const LIMITS: HeaderLimits = HeaderLimits { bytes: 16 << 10, stanzas: 32 };

/// The most bytes that an age file of `plain` bytes takes: header, nonce, and 16 bytes more for each 64 KiB.
const fn stored_bound(plain: usize) -> usize {
    LIMITS.bytes + 16 + plain + (plain / (64 << 10) + 1) * 16
}

/// A read file as it is stored: an age file in binary, whose header is within limits. What is in it only its recipients know.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedReadFile(Vec<u8>);

impl SealedReadFile {
    /// The most bytes that one takes in binary.
    pub const MAX_LENGTH: u64 = stored_bound(MAX_PLAIN) as u64;

    /// Takes an age file that may be a read file, in binary or as text (armored): one from a store, from a writer's file, or one
    /// that an operator's own age made.
    ///
    /// # Errors
    /// [`FormatError`] when it is no age file, is encrypted with a passphrase, or has more recipients or bytes than a read file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let binary = binary(bytes, stored_bound(MAX_PLAIN), PART)?;
        check(&binary)?;
        Ok(Self(binary.into_owned()))
    }

    /// The age file in binary: what stands in `keys/` and in manifests.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The age file as text, which ends with a newline.
    pub fn to_armor(&self) -> Result<String, KeyError> {
        let failed = |error: std::io::Error| FormatError::invalid(PART, error.to_string());
        let mut out = ArmoredWriter::wrap_output(Vec::new(), Format::AsciiArmor).map_err(failed)?;
        out.write_all(&self.0).map_err(failed)?;
        let text = String::from_utf8(out.finish().map_err(failed)?);
        Ok(text.map_err(|error| FormatError::invalid(PART, error.to_string()))?)
    }

    /// Encrypts the plaintext of a read file.
    pub(super) fn seal(plain: &str, recipients: &[OperatorRecipient]) -> Result<Self, KeyError> {
        let failed = |error: std::io::Error| FormatError::invalid(PART, error.to_string());
        check_recipients(recipients)?;
        let encryptor = Encryptor::with_recipients(recipients.iter().map(OperatorRecipient::recipient));
        let mut out = encryptor.map_err(cannot_encrypt)?.wrap_output(Vec::new()).map_err(failed)?;
        out.write_all(plain.as_bytes()).map_err(failed)?;
        let stored = out.finish().map_err(failed)?;
        check(&stored)?;
        Ok(Self(stored))
    }

    /// The plaintext, all of which has been checked.
    ///
    /// # Errors
    /// [`KeyError::NotForUs`] when no identity is a recipient; [`FormatError`] when it is damaged or too large.
    pub fn plain_text(&self, identities: &Identities) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        check(&self.0)?;
        decrypt(&self.0, identities.iter(), PART).map_err(|error| match error {
            Refusal::NoKey => KeyError::NotForUs(PART),
            Refusal::Format(error) => error.into(),
            Refusal::WrongKey | Refusal::Work(_) => {
                FormatError::invalid(PART, "its header is damaged").into()
            }
        })
    }
}

impl fmt::Debug for SealedReadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedReadFile({} bytes)", self.0.len())
    }
}

fn check(file: &[u8]) -> Result<(), FormatError> {
    let (size, limit) = (file.len() as u64, stored_bound(MAX_PLAIN) as u64);
    if size > limit {
        return Err(FormatError::TooLarge { what: PART.into(), size, limit });
    }
    match header(file, LIMITS, PART)?.passphrase {
        true => Err(FormatError::invalid(PART, "it is encrypted with a passphrase, not for recipients")),
        false => Ok(()),
    }
}

fn check_recipients(recipients: &[OperatorRecipient]) -> Result<(), KeyError> {
    let twice = |(n, recipient)| recipients.iter().take(n).any(|earlier| earlier == recipient);
    if let Some((_, recipient)) = recipients.iter().enumerate().find(|pair| twice(*pair)) {
        let recipient = recipient.to_string();
        return Err(KeyError::Recipient { recipient, reason: "a recipient already: it is given twice" });
    }
    // One stanza is the library's own, which stands for nobody.
    let (size, limit) = (recipients.len() as u64, LIMITS.stanzas as u64 - 1);
    match size > limit {
        true => Err(FormatError::TooLarge { what: "the list of recipients".into(), size, limit }.into()),
        false => Ok(()),
    }
}

fn cannot_encrypt(error: EncryptError) -> KeyError {
    let reason = match error {
        EncryptError::MissingRecipients => "it has no recipients: nobody could open it",
        EncryptError::IncompatibleRecipients { .. } => {
            "post-quantum recipients (age1tagpq1...) stand alone: others beside them would make them worth no more"
        }
        _ => "it cannot be encrypted",
    };
    FormatError::invalid(PART, reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::age_file::ARMOR;
    use crate::format::keys::samples::{IDENTITY, RECIPIENT, TAG_RECIPIENT};
    use proptest::prelude::*;

    fn ours() -> Identities {
        Identities::parse(IDENTITY.as_bytes()).unwrap()
    }

    fn generated(n: usize) -> Vec<OperatorRecipient> {
        (0..n).map(|_| age::x25519::Identity::generate().to_public().into()).collect()
    }

    fn seal(plain: &str) -> SealedReadFile {
        SealedReadFile::seal(plain, &[RECIPIENT.parse().unwrap()]).unwrap()
    }

    #[test]
    fn opens_for_each_recipient_and_nobody_else() {
        let stranger = age::x25519::Identity::generate();
        let mut recipients = generated(30);
        recipients.insert(7, RECIPIENT.parse().unwrap());
        let sealed = SealedReadFile::seal("plain", &recipients).unwrap();
        assert_eq!(sealed.plain_text(&ours()).unwrap().as_slice(), b"plain");
        let error = sealed.plain_text(&Identities::of([stranger])).unwrap_err();
        assert!(matches!(error, KeyError::NotForUs(_)), "{error}");
        // A hardware key stands beside another one.
        let both = [RECIPIENT.parse().unwrap(), TAG_RECIPIENT.parse().unwrap()];
        assert!(SealedReadFile::seal("plain", &both).unwrap().plain_text(&ours()).is_ok());
    }

    #[test]
    fn text_and_binary_are_the_same_file() {
        let sealed = seal("plain");
        let text = sealed.to_armor().unwrap();
        assert!(text.starts_with(ARMOR) && text.ends_with("-----END AGE ENCRYPTED FILE-----\n"));
        assert_eq!(SealedReadFile::from_bytes(text.as_bytes()).unwrap(), sealed);
        assert_eq!(SealedReadFile::from_bytes(sealed.as_bytes()).unwrap(), sealed);
        for bad in [&text[..text.len() / 2], &text.replacen('\n', "\n!", 1), &format!("{text}more")] {
            assert!(SealedReadFile::from_bytes(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn recipients_are_counted() {
        let one = generated(1);
        for (recipients, reason) in [
            (vec![], "nobody could open it"),
            (generated(32), "32, where 31 is the most"),
            ([one.clone(), one].concat(), "given twice"),
        ] {
            let error = SealedReadFile::seal("plain", &recipients).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn takes_no_more_than_the_limit() {
        let most = "x".repeat(MAX_PLAIN);
        assert_eq!(seal(&most).plain_text(&ours()).unwrap().len(), MAX_PLAIN);
        let error = seal(&format!("{most}x")).plain_text(&ours()).unwrap_err().to_string();
        assert!(error.contains("too large"), "{error}");
        let large = [seal("plain").as_bytes(), vec![0; 1 << 20].as_slice()].concat();
        let text = SealedReadFile(large.clone()).to_armor().unwrap();
        for large in [large.as_slice(), text.as_bytes()] {
            assert!(matches!(SealedReadFile::from_bytes(large), Err(FormatError::TooLarge { .. })));
        }
    }

    #[test]
    fn a_passphrase_is_refused() {
        let mut recipient = age::scrypt::Recipient::new("secret".to_owned().into());
        recipient.set_work_factor(1);
        let file = age::encrypt(&recipient, b"plain").unwrap();
        let error = SealedReadFile::from_bytes(&file).unwrap_err().to_string();
        assert!(error.contains("passphrase"), "{error}");
    }

    #[test]
    fn every_changed_byte_is_found() {
        let sealed = seal("plain");
        for at in 0..sealed.as_bytes().len() {
            let mut bytes = sealed.as_bytes().to_vec();
            bytes[at] ^= 1;
            let opened = SealedReadFile::from_bytes(&bytes).ok().map(|sealed| sealed.plain_text(&ours()));
            assert!(!matches!(opened, Some(Ok(_))), "{at}");
            let cut = SealedReadFile::from_bytes(&sealed.as_bytes()[..at]);
            assert!(!matches!(cut.map(|sealed| sealed.plain_text(&ours())), Ok(Ok(_))), "{at}");
        }
        assert!(SealedReadFile([sealed.as_bytes(), b"x"].concat()).plain_text(&ours()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(mut rest in proptest::collection::vec(any::<u8>(), 0..300), armor: bool) {
            let start = if armor { format!("{ARMOR}\n") } else { "age-encryption.org/v1\n-> X25519 ".into() };
            rest.splice(..0, start.into_bytes());
            if let Ok(sealed) = SealedReadFile::from_bytes(&rest) {
                prop_assert!(sealed.plain_text(&ours()).is_err());
            }
        }

        #[test]
        fn any_stanzas_are_taken(stanzas in proptest::collection::vec(
            ("[!-~]{1,9}( [!-~]{1,9}){0,3}", proptest::collection::vec("[A-Za-z0-9+/]{0,65}", 0..4)), 0..5)) {
            let stanzas = stanzas.iter().map(|(args, body)| format!("-> {args}\n{}\n", body.join("\n")));
            let mac = "A".repeat(43);
            let file = format!("age-encryption.org/v1\n{}--- {mac}\n0123456789abcdef", stanzas.collect::<String>());
            if let Ok(sealed) = SealedReadFile::from_bytes(file.as_bytes()) {
                prop_assert!(sealed.plain_text(&ours()).is_err());
            }
        }
    }
}
