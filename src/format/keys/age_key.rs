//! Keys that encrypt: those of a store's read epochs, and those that a writer compares with.

use super::KeyError;
use super::text::{self, Secret};
use age::secrecy::ExposeSecret;
use age::x25519;
use bech32::{Bech32, Hrp};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What a word has before its separator, as age writes it.
const PUBLIC: Hrp = Hrp::parse_unchecked("age");
const SECRET: Hrp = Hrp::parse_unchecked("age-secret-key-");

/// Curve25519 has points to which every secret key gives the same answer, zero; the top bit of a point does not count. The age
/// library stops the program at one. (The list is libsodium's `has_small_order`.)
const WEAK_POINTS: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Reads an X25519 recipient in the one form that age writes.
pub(super) fn parse_recipient(text: &str) -> Option<x25519::Recipient> {
    let mut point = text::from_bech32(text, PUBLIC.as_str())?;
    if let Some(top) = point.last_mut() {
        *top &= 0x7f;
    }
    if WEAK_POINTS.contains(&text::hex(&point).as_str()) {
        return None;
    }
    text.parse().ok().filter(|recipient: &x25519::Recipient| recipient.to_string() == text)
}

/// An X25519 key, which is wiped from memory when it is dropped.
struct AgeKey {
    bytes: Secret,
    identity: x25519::Identity,
    /// Kept, since to compute it takes as long as to open a file.
    recipient: x25519::Recipient,
}

impl AgeKey {
    fn generate() -> Result<Self, KeyError> {
        let bytes = text::random()?;
        let mut word = Zeroizing::new(String::with_capacity(80));
        // Neither the length nor a String can fail; if one did, the word would not be read back.
        let _ = bech32::encode_upper_to_fmt::<Bech32, _>(&mut *word, SECRET, bytes.as_slice());
        Self::parse(&word).ok_or_else(|| KeyError::Random(std::io::ErrorKind::InvalidData.into()))
    }

    /// Reads a key in the one form that age writes.
    fn parse(text: &str) -> Option<Self> {
        let bytes = text::from_bech32(text, SECRET.as_str())?;
        let identity: x25519::Identity = text.parse().ok()?;
        let recipient = identity.to_public();
        (identity.to_string().expose_secret() == text).then_some(Self { bytes, identity, recipient })
    }
}

macro_rules! key_pair {
    ($(#[$key_doc:meta])* $key:ident, $(#[$recipient_doc:meta])* $recipient:ident) => {
        $(#[$key_doc])*
        pub struct $key(AgeKey);

        impl $key {
            /// A new one.
            ///
            /// # Errors
            /// [`KeyError::Random`].
            pub fn generate() -> Result<Self, KeyError> {
                AgeKey::generate().map(Self)
            }

            /// Reads `AGE-SECRET-KEY-1…`, in upper case, as age writes it.
            pub fn parse(text: &str) -> Option<Self> {
                AgeKey::parse(text).map(Self)
            }

            /// The key as age writes it.
            pub fn to_text(&self) -> Zeroizing<String> {
                Zeroizing::new(self.0.identity.to_string().expose_secret().to_owned())
            }

            /// Its public half.
            pub fn recipient(&self) -> $recipient {
                $recipient(self.0.recipient.clone())
            }

            /// For the age library.
            pub fn identity(&self) -> &x25519::Identity {
                &self.0.identity
            }
        }

        impl fmt::Debug for $key {
            /// Shows the public half only.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($key), self.recipient())
            }
        }

        $(#[$recipient_doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $recipient(x25519::Recipient);

        impl $recipient {
            /// For the age library.
            pub fn recipient(&self) -> &x25519::Recipient {
                &self.0
            }
        }

        impl fmt::Display for $recipient {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $recipient {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($recipient))
            }
        }

        impl FromStr for $recipient {
            type Err = KeyError;

            /// Reads `age1…`, in lower case, as age writes it.
            fn from_str(text: &str) -> Result<Self, KeyError> {
                let invalid = || KeyError::recipient(text, "no recipient of an X25519 key (age1...)");
                parse_recipient(text).map(Self).ok_or_else(invalid)
            }
        }
    };
}

key_pair! {
    /// A read key of a store, r: opens every object and private block that was written in its epoch. Only read files hold it.
    ReadKey,
    /// The public half of a read key, R: what objects and private blocks are encrypted to.
    ReadRecipient
}
key_pair! {
    /// The compare key of one writer, c: opens the private blocks of that writer's manifests, and no object.
    CompareKey,
    /// The public half of a compare key, R(c): what a writer's private blocks are encrypted to as well.
    CompareRecipient
}

impl ReadKey {
    /// The key of a read file's last line.
    pub(super) fn mac_key(&self) -> Secret {
        Zeroizing::new(blake3::derive_key("weekvault 2026 v2 read file mac", self.0.bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::keys::samples::{IDENTITY, RECIPIENT};

    #[test]
    fn keys_have_one_form() {
        let key = ReadKey::parse(IDENTITY).unwrap();
        assert_eq!(key.to_text().as_str(), IDENTITY);
        assert_eq!(key.recipient().to_string(), RECIPIENT);
        assert_eq!(RECIPIENT.parse::<ReadRecipient>().unwrap(), key.recipient());
        let lower = IDENTITY.to_lowercase();
        for bad in ["", RECIPIENT, &lower, &IDENTITY[1..], &format!("{IDENTITY} "), &format!("\n{IDENTITY}")]
        {
            assert!(ReadKey::parse(bad).is_none(), "{bad:?}");
        }
        let upper = RECIPIENT.to_uppercase();
        for bad in ["", IDENTITY, &upper, &RECIPIENT[1..], "age1qqqq"] {
            assert!(bad.parse::<CompareRecipient>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn generated_keys_open_what_is_encrypted_to_them() {
        let (one, other) = (ReadKey::generate().unwrap(), ReadKey::generate().unwrap());
        assert_eq!(ReadKey::parse(&one.to_text()).unwrap().recipient(), one.recipient());
        let file = age::encrypt(one.recipient().recipient(), b"plain").unwrap();
        assert_eq!(age::decrypt(one.identity(), &file).unwrap(), b"plain");
        assert!(age::decrypt(other.identity(), &file).is_err());
    }

    #[test]
    fn keys_are_not_shown() {
        let key = CompareKey::parse(IDENTITY).unwrap();
        assert_eq!(format!("{key:?}"), format!("CompareKey({RECIPIENT})"));
        let error = IDENTITY.parse::<ReadRecipient>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&IDENTITY[16..30]), "{error}");
    }

    #[test]
    fn weak_points_are_no_recipients() {
        for point in WEAK_POINTS {
            let point = text::from_hex(point).unwrap();
            for top in [0, 0x80] {
                let mut point = *point;
                point[31] |= top;
                let word = bech32::encode_lower::<Bech32>(PUBLIC, &point).unwrap();
                assert!(word.parse::<x25519::Recipient>().is_ok() && word.parse::<ReadRecipient>().is_err());
            }
        }
    }
}
