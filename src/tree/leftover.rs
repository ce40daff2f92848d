//! Names of what a restore works on: a killed one leaves them behind.

use crate::model::ArchivePath;

/// What such names begin with.
const PREFIX: &[u8] = b".weekvault-";

/// Whether a path's last component is a name that restores give to what they have not finished: after the prefix only
/// hexadecimal digits, in at least three groups. Nobody else gives such names, and nothing else may be left out.
pub(super) fn is_leftover(path: &ArchivePath) -> bool {
    is_leftover_name(path.as_bytes().rsplit(|&b| b == b'/').next().unwrap_or_default())
}

/// A new name of that kind, which nobody can guess.
pub(super) fn leftover_name() -> rustix::io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".weekvault-{:x}-{:x}-0", std::process::id(), u64::from_ne_bytes(random)))
}

/// The same of a name.
pub(super) fn is_leftover_name(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let groups = || rest.split(|&b| b == b'-');
    let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    groups().count() >= 3 && groups().all(|group| !group.is_empty() && group.iter().all(is_hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_restores_make() {
        let is = |path: &str| is_leftover(&ArchivePath::parse(path.as_bytes()).unwrap());
        assert!(is(".weekvault-1a2b-67f4d2e805f5e100-0") && is("a/b/.weekvault-1-2-345"));
        for other in [
            "",
            "a",
            ".weekvault-",
            ".weekvault-notes",
            ".weekvault-1-2",
            ".weekvault-1-2-",
            "weekvault-1-2-3",
        ] {
            assert!(!is(other), "{other}");
        }
        assert!(!is(".weekvault-1-2-3/x") && !is(".weekvault-1-2-3.txt"));
    }
}
