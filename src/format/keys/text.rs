//! The words that key files are made of: each value has one form, and secret ones are wiped from memory.

use super::KeyError;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

/// 32 secret bytes.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// 32 bytes from the operating system's random numbers.
///
/// # Errors
/// [`KeyError::Random`].
pub(super) fn random() -> Result<Secret, KeyError> {
    let mut bytes = Secret::default();
    let filled = getrandom(bytes.as_mut_slice(), GetRandomFlags::empty());
    match filled.map_err(|error| KeyError::Random(error.into()))? {
        32 => Ok(bytes),
        _ => Err(KeyError::Random(std::io::ErrorKind::UnexpectedEof.into())),
    }
}

/// 64 lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.extend(char::from_digit(digit.into(), 16));
    }
    text
}

/// The bytes of 64 lower-case hexadecimal digits.
pub(super) fn from_hex(text: &str) -> Option<Secret> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut bytes = Secret::default();
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// The 32 bytes that a bech32 word with this prefix holds, whatever its case. Words of age keys hold no more.
pub(super) fn from_bech32(text: &str, prefix: &str) -> Option<Secret> {
    let word = CheckedHrpstring::new::<Bech32>(text).ok()?;
    let hrp = word.hrp();
    // A word is in upper case or in lower case as a whole.
    if !hrp.as_str().eq_ignore_ascii_case(prefix) || word.byte_iter().len() != 32 {
        return None;
    }
    let mut bytes = Secret::default();
    bytes.iter_mut().zip(word.byte_iter()).for_each(|(byte, given)| *byte = given);
    Some(bytes)
}

/// A number from 1 on in decimal digits, without zeros before it.
pub(super) fn from_decimal(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    digits.then(|| text.parse().ok()).flatten()
}

/// What may be told of a word that stands where a name belongs: a secret that got there must not be shown.
pub(super) fn shown_name(word: &str) -> Option<&str> {
    let harmless = word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (harmless && (1..=24).contains(&word.len())).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hex_has_one_form() {
        let text = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff";
        assert_eq!(hex(&from_hex(text).unwrap()).as_str(), text);
        for bad in
            [&text[1..], &text.to_uppercase(), &format!("{text}0"), &format!("{text}00"), "", &"é".repeat(32)]
        {
            assert!(from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn numbers_have_one_form() {
        assert_eq!((from_decimal("1"), from_decimal("4294967295")), (Some(1), Some(u32::MAX)));
        for bad in ["", "0", "01", "+1", "-1", " 1", "1 ", "4294967296", "٣"] {
            assert!(from_decimal(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_shown() {
        assert_eq!(shown_name("name-key"), Some("name-key"));
        let hexadecimal = "ab".repeat(32);
        for secret in ["AGE-SECRET-KEY-1QQ", "abc1", hexadecimal.as_str(), ""] {
            assert_eq!(shown_name(secret), None);
        }
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,100}", bytes: [u8; 32]) {
            let _ = (from_hex(&text), from_decimal(&text), from_bech32(&text, "age"), shown_name(&text));
            let word = bech32::encode_lower::<Bech32>(bech32::Hrp::parse("age").unwrap(), &bytes).unwrap();
            prop_assert_eq!(*from_bech32(&word, "age").unwrap(), bytes);
            prop_assert!(from_bech32(&word, "ag").is_none());
            prop_assert_eq!(*from_hex(&hex(&bytes)).unwrap(), bytes);
        }
    }
}
