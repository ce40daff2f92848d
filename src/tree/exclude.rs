//! What of a source is left out on request.

use crate::model::ArchivePath;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};
use std::io::Read;
use std::os::fd::BorrowedFd;

/// Patterns in gitignore's syntax, matched against paths relative to a source's root.
#[derive(Clone, Debug)]
pub struct Excludes(Gitignore);

/// A pattern that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("invalid exclude pattern {pattern:?}: {reason}")]
pub struct InvalidGlob {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Longest pattern, in bytes: deeply nested ones take more stack than there is.
const MAX_PATTERN: usize = 4096;
/// Bytes of all patterns: compiled, they take some four hundred times as much memory.
const MAX_PATTERNS: usize = 128 << 10;

impl Excludes {
    /// Nothing is left out.
    pub fn none() -> Self {
        Self(Gitignore::empty())
    }

    /// Reads patterns; of several that match a path the last one decides, as in a `.gitignore`.
    ///
    /// # Errors
    /// [`InvalidGlob`] for the first pattern that cannot be read.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidGlob> {
        let mut builder = GitignoreBuilder::new("");
        let mut bytes = 0;
        for pattern in patterns {
            bytes += pattern.len() + 1;
            if bytes > MAX_PATTERNS {
                let reason = format!("with it, the patterns are longer than {MAX_PATTERNS} bytes");
                return Err(InvalidGlob { pattern: pattern.chars().take(40).collect(), reason });
            }
            if pattern.len() > MAX_PATTERN {
                let pattern = pattern.chars().take(40).collect::<String>() + "...";
                return Err(InvalidGlob {
                    pattern,
                    reason: format!("it is longer than {MAX_PATTERN} bytes"),
                });
            }
            let invalid =
                |e: ignore::Error| InvalidGlob { pattern: pattern.to_owned(), reason: e.to_string() };
            builder.add_line(None, pattern).map_err(invalid)?;
        }
        let invalid = |e: ignore::Error| InvalidGlob { pattern: String::new(), reason: e.to_string() };
        Ok(Self(builder.build().map_err(invalid)?))
    }

    /// Whether the path is left out. A folder that is left out is not entered.
    pub fn excludes(&self, path: &ArchivePath, is_folder: bool) -> bool {
        // matched() strips "./" and "/" from paths, which ours never begin with.
        !self.0.is_empty() && self.0.matched(path.as_path(), is_folder).is_ignore()
    }
}

/// Whether the cache tag in a folder is valid (<https://bford.info/cachedir/>).
pub(super) fn is_cache_tag(folder: BorrowedFd<'_>) -> bool {
    const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
    // A fifo or a link of this name may have come since it was looked at: neither waited for nor followed.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(tag) = rustix::fs::openat(folder, CACHE_TAG, flags, Mode::empty()) else { return false };
    let mut start = [0; SIGNATURE.len()];
    std::fs::File::from(tag).read_exact(&mut start).is_ok() && start == SIGNATURE
}

/// The file that marks a cache folder.
pub const CACHE_TAG: &str = "CACHEDIR.TAG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gitignore_rules() {
        let excludes = Excludes::new(["*.tmp", "/cache/", "logs/**/*.log", "!keep.tmp", "# note"]).unwrap();
        let is =
            |path: &str, folder| excludes.excludes(&ArchivePath::parse(path.as_bytes()).unwrap(), folder);
        assert!(is("a/b.tmp", false) && is("cache", true) && is("logs/x/y.log", false));
        assert!(!is("keep.tmp", false) && !is("a/cache", true) && !is("cache", false) && !is("logs", true));
        assert!(Excludes::new(["a{b"]).is_err() || Excludes::new(["[z-a]"]).is_err());
    }
}
