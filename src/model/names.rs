//! The name of a source.

use std::fmt;
use std::str::FromStr;

/// The name of a source (`html`, `enigma`): `[A-Za-z0-9._-]+`, not starting with a dot, at most 200 bytes.
///
/// The limit leaves room for `.partial.manifest` in a 255-byte file name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PvcName(String);

/// A name that cannot be a pvc's.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "invalid pvc name {0:?}: use letters, digits, '.', '_' and '-', not starting with a dot, at most 200 of them, \
     and not ending in \".partial\""
)]
pub struct InvalidName(pub String);

impl PvcName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The start of a text that is to be told as wrong: one from a file may have megabytes.
pub(super) fn first(s: &str) -> String {
    s.chars().take(255).collect()
}

impl FromStr for PvcName {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        // "x.partial" would make x's partial manifest and this one's complete manifest the same file.
        let fits = (1..=200).contains(&s.len()) && !s.starts_with('.') && !s.ends_with(".partial");
        if fits && s.bytes().all(allowed) { Ok(Self(s.to_owned())) } else { Err(InvalidName(first(s))) }
    }
}

impl fmt::Display for PvcName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        for good in ["html", "enigma", "a.b_c-D9", "-x", "0"] {
            assert_eq!(good.parse::<PvcName>().unwrap().as_str(), good);
        }
        let long = "x".repeat(201);
        for bad in ["", ".", ".hidden", "a/b", "a b", "ä", "x.partial", &long] {
            assert!(bad.parse::<PvcName>().is_err(), "{bad:?}");
        }
    }
}
