//! Names and paths inside a source: raw bytes, never text.

use super::Shown;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// One path component: 1 to 255 raw bytes without `/` and NUL, and neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

/// Bytes that cannot be a path component; of many, the first.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("\"{}\" is not a valid file name", Excerpt(.0))]
pub struct InvalidComponent(pub Vec<u8>);

/// Bytes in a message: escaped, and of many the first, since a hostile record could say megabytes.
#[derive(Clone, Copy, Debug)]
pub struct Excerpt<'a>(pub &'a [u8]);

impl Excerpt<'_> {
    /// So many bytes are shown: those of the longest name.
    const MOST: usize = 255;
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(Self::MOST) {
            Some((first, [_, ..])) => write!(f, "{}...", first.escape_ascii()),
            _ => write!(f, "{}", self.0.escape_ascii()),
        }
    }
}

impl Name {
    /// Checks and takes a component.
    ///
    /// # Errors
    /// [`InvalidComponent`] where a file system could take the bytes for something else than one child's name.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidComponent> {
        let reserved = bytes.is_empty() || bytes == b"." || bytes == b"..";
        if reserved || bytes.len() > 255 || bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            let first = bytes.get(..=Excerpt::MOST).unwrap_or(bytes);
            return Err(InvalidComponent(first.to_vec()));
        }
        Ok(Self(bytes.into()))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For calls of the operating system.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A path relative to a source's root: components joined by `/`; the root itself is empty.
///
/// Ordered as a manifest is: depth first, siblings by raw bytes, a folder before what is in it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ArchivePath(Vec<u8>);

impl ArchivePath {
    /// The root of a source.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads a path: components separated by `/`; one leading `/` or `./` and trailing slashes are ignored.
    ///
    /// # Errors
    /// [`InvalidComponent`] for the first component that is not a [`Name`].
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidComponent> {
        let bytes = bytes.strip_prefix(b"./").or(bytes.strip_prefix(b"/")).unwrap_or(bytes);
        let end = bytes.iter().rposition(|&b| b != b'/').map_or(0, |i| i + 1);
        let bytes = bytes.get(..end).unwrap_or_default();
        if bytes.is_empty() || bytes == b"." {
            return Ok(Self::root());
        }
        for component in bytes.split(|&b| b == b'/') {
            Name::new(component)?;
        }
        Ok(Self(bytes.to_vec()))
    }

    /// The path of a child of this folder.
    pub fn child(&self, name: &Name) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(&name.0);
        Self(bytes)
    }

    /// The folder that holds this path; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0.get(..end).unwrap_or_default().to_vec()))
    }

    /// The last component; none for the root.
    pub fn file_name(&self) -> Option<Name> {
        let last = self.0.rsplit(|&b| b == b'/').next().filter(|c| !c.is_empty())?;
        Some(Name(last.into()))
    }

    /// The components, first to last.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// How many components the path has; 0 for the root.
    pub fn depth(&self) -> u32 {
        self.components().count() as u32
    }

    /// Whether this is the root of the source.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `self` is `folder` or lies below it.
    pub fn is_within(&self, folder: &ArchivePath) -> bool {
        match self.0.strip_prefix(folder.0.as_slice()) {
            Some(rest) => folder.is_root() || rest.is_empty() || rest.first() == Some(&b'/'),
            None => false,
        }
    }

    /// The raw bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the operating system, still relative to the root.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// This path below the folder `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        if self.is_root() { root.to_path_buf() } else { root.join(self.as_path()) }
    }
}

impl Ord for ArchivePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // Neighbours in a tree have most of their paths in common: that is passed over in large steps.
        const STEP: usize = 64;
        let steps = self.0.chunks_exact(STEP).zip(other.0.chunks_exact(STEP));
        let same = steps.take_while(|(a, b)| a == b).count() * STEP;
        let (a, b) = (self.0.iter().skip(same), other.0.iter().skip(same));
        // A separator sorts below every byte, so that "a/b" comes before "a.txt".
        let key = |&b: &u8| if b == b'/' { 0u16 } else { u16::from(b) + 1 };
        a.map(key).cmp(b.map(key))
    }
}

impl PartialOrd for ArchivePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ArchivePath {
    /// Readable on one line: see [`Shown`]. A path that is longer than Linux takes one (`PATH_MAX`) is shown without its middle:
    /// each of many messages could have 64 KiB of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        if self.0.len() <= MAX_SHOWN {
            return Shown(&self.0).fmt(f);
        }
        let (first, rest) = self.0.split_at_checked(END_SHOWN).unwrap_or((&self.0, b""));
        let (middle, last) = rest.split_at_checked(rest.len() - END_SHOWN).unwrap_or((b"", rest));
        write!(f, "{}...({} bytes)...{}", Shown(first), middle.len(), Shown(last))
    }
}

/// A path of so many bytes is shown whole.
const MAX_SHOWN: usize = 4096;
/// Of a longer one, so many bytes of its beginning and of its end.
const END_SHOWN: usize = 1000;

impl fmt::Debug for ArchivePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Follows a depth-first sequence of (depth, name) and knows the full path of the current one.
#[derive(Clone, Debug, Default)]
pub struct PathStack {
    /// The current path, and where each component ends in it.
    path: ArchivePath,
    ends: Vec<usize>,
}

impl PathStack {
    /// A stack that stands in the folder `path`.
    pub fn at(path: &ArchivePath) -> Self {
        let mut stack = Self::default();
        for component in path.components() {
            stack.push(component);
        }
        stack
    }

    /// Moves to the entry at `depth` called `name`; the root is depth 0 and has no name.
    /// Returns false, and stays, where `depth` skips a level.
    pub fn enter(&mut self, depth: u32, name: Option<&Name>) -> bool {
        match (depth, name) {
            (0, None) => {
                *self = Self::default();
                true
            }
            (1.., Some(name)) if depth as usize <= self.ends.len() + 1 => {
                self.ends.truncate(depth as usize - 1);
                self.path.0.truncate(self.ends.last().copied().unwrap_or(0));
                self.push(&name.0);
                true
            }
            _ => false,
        }
    }

    fn push(&mut self, component: &[u8]) {
        if !self.path.0.is_empty() {
            self.path.0.push(b'/');
        }
        self.path.0.extend_from_slice(component);
        self.ends.push(self.path.0.len());
    }

    /// The path of the current entry.
    pub fn path(&self) -> &ArchivePath {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(s: &str) -> ArchivePath {
        ArchivePath::parse(s.as_bytes()).unwrap()
    }

    #[test]
    fn a_path_that_is_too_long_for_linux_is_shown_without_its_middle() {
        let long = path(&"folder/".repeat(700));
        let shown = long.to_string();
        assert!(shown.len() < 2100 && shown.contains("...(2899 bytes)..."), "{shown}");
        assert!(shown.starts_with("folder/folder/") && shown.ends_with("/folder"), "{shown}");
        let whole = path(&"folder/".repeat(500));
        assert_eq!(whole.to_string().as_bytes(), whole.as_bytes());
    }

    #[test]
    fn refuses_what_could_leave_the_root() {
        for bad in ["..", "a/../b", "a/./b", "a//b", "a/..", "\0", "a\0b"] {
            assert!(ArchivePath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Name::new(&[b'x'; 256]).is_err());
        assert!(Name::new(&[b'x'; 255]).is_ok());
        for root in ["", "/", ".", "./", "//"] {
            assert!(path(root).is_root(), "{root:?}");
        }
        assert_eq!(path("/a/b/"), path("a/b"));
    }

    #[test]
    fn orders_depth_first() {
        let sorted = ["", "a", "a/b", "a/b/c", "a/c", "a-b", "a.txt", "ab", "b"];
        for pair in sorted.windows(2) {
            assert!(path(pair[0]) < path(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn stack_follows_the_tree() {
        let mut stack = PathStack::default();
        let name = |s: &str| Name::new(s.as_bytes()).unwrap();
        for (depth, n, want) in
            [(1, "a", "a"), (2, "b", "a/b"), (3, "c", "a/b/c"), (2, "d", "a/d"), (1, "e", "e")]
        {
            assert!(stack.enter(depth, Some(&name(n))));
            assert_eq!(stack.path(), &path(want));
        }
        assert!(!stack.enter(3, Some(&name("x"))), "skips a level");
        assert!(stack.enter(0, None) && stack.path().is_root());
        assert_eq!(PathStack::at(&path("a/b")).path(), &path("a/b"));
    }

    #[test]
    fn shows_odd_bytes_on_one_line() {
        assert_eq!(ArchivePath::parse(b"a\nb\xff/\xc3\xa4").unwrap().to_string(), "a\\nb\\xff/ä");
        assert_eq!(path("a/b").parent().unwrap(), path("a"));
        assert!(path("a/b").is_within(&path("a")) && !path("ab").is_within(&path("a")));
    }
}
