//! Which of a manifest's paths a command is about.

use crate::archive::{ArchiveError, Manifest};
use crate::model::ArchivePath;
use crate::ops::Error;
use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Paths as a command line names them: files, folders (with all that is in them), or globs.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    path: Option<ArchivePath>,
    glob: Option<GlobMatcher>,
    matched: bool,
    /// The folder that a glob matched last: what is in it is selected.
    within: Option<ArchivePath>,
}

/// Longest pattern, in bytes: deeply nested ones take more stack than there is.
const MAX_PATTERN: usize = 4096;

/// A pattern that is neither a path nor a glob.
#[derive(Debug, thiserror::Error)]
#[error("invalid path or glob {pattern:?}: {reason}")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// What the patterns name; everything if there are none. In a glob, `*` and `?` stop at a slash, `**` does not.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a OsStr>) -> Result<Self, InvalidPattern> {
        let mut selection = Self::default();
        for pattern in patterns {
            let text = pattern.to_string_lossy().into_owned();
            if text.len() > MAX_PATTERN {
                let pattern = text.chars().take(40).collect::<String>() + "...";
                return Err(InvalidPattern {
                    pattern,
                    reason: format!("it is longer than {MAX_PATTERN} bytes"),
                });
            }
            let path = ArchivePath::parse(without_dots(pattern.as_bytes())).ok();
            let is_glob = text.contains(['*', '?', '[', '{']);
            let glob = is_glob.then(|| GlobBuilder::new(&glob_text(&text)).literal_separator(true).build());
            // What is no glob may still be a name: `draft[1.txt`.
            let glob = match glob.transpose() {
                Err(error) if path.is_none() => {
                    return Err(InvalidPattern { pattern: text, reason: error.to_string() });
                }
                glob => glob.ok().flatten(),
            };
            if path.is_none() && glob.is_none() {
                let reason = "it must be relative to the source's root, without \"..\"".to_owned();
                return Err(InvalidPattern { pattern: text, reason });
            }
            let glob = glob.map(|g| g.compile_matcher());
            selection.patterns.push(Pattern { text, path, glob, matched: false, within: None });
        }
        Ok(selection)
    }

    /// The same for a manifest: a pattern that can be read both ways is the path where the manifest has that, else the
    /// glob. `draft[1].txt` is that file, and `draft1.txt` is not meant.
    ///
    /// # Errors
    /// [`ArchiveError`] where the manifest cannot be read; what is damaged in it counts as not there.
    pub fn of(mut self, manifest: &Manifest) -> Result<Self, ArchiveError> {
        let both_ways = |p: &Pattern| p.path.is_some() && p.glob.is_some();
        if !self.patterns.iter().any(both_ways) {
            return Ok(self);
        }
        for entry in manifest.readable(|_| ())? {
            let (path, _) = entry?;
            for pattern in self.patterns.iter_mut().filter(|p| p.path.as_ref() == Some(&path)) {
                pattern.glob = None;
            }
        }
        for pattern in self.patterns.iter_mut().filter(|p| both_ways(p)) {
            pattern.path = None;
        }
        Ok(self)
    }

    /// Whether everything is selected.
    pub fn is_all(&self) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|p| p.path.as_ref().is_some_and(ArchivePath::is_root))
    }

    /// Whether `path` is selected. Paths must be asked for in path order.
    pub fn selects(&mut self, path: &ArchivePath) -> bool {
        let mut selected = self.patterns.is_empty();
        for pattern in &mut self.patterns {
            let literal = pattern.path.as_ref().is_some_and(|p| path.is_within(p));
            let inside = pattern.within.as_ref().is_some_and(|w| path.is_within(w));
            let globbed = !inside && pattern.glob.as_ref().is_some_and(|g| g.is_match(path.as_path()));
            if globbed {
                pattern.within = Some(path.clone());
            }
            if literal || inside || globbed {
                pattern.matched = true;
                selected = true;
            }
        }
        selected
    }

    /// Whether `path` is selected, asked out of order and without counting as a match.
    pub fn would_select(&self, path: &ArchivePath) -> bool {
        let above = std::iter::successors(Some(path.clone()), ArchivePath::parent);
        let named = |p: &Pattern, a: &ArchivePath| {
            p.path.as_ref() == Some(a) || p.glob.as_ref().is_some_and(|g| g.is_match(a.as_path()))
        };
        self.patterns.is_empty() || above.into_iter().any(|a| self.patterns.iter().any(|p| named(p, &a)))
    }

    /// The patterns that have selected nothing.
    pub fn unmatched(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().filter(|p| !p.matched).map(|p| p.text.as_str())
    }
}

/// Without what says only "here" at its beginning.
fn without_dots(mut pattern: &[u8]) -> &[u8] {
    while let Some(mut rest) = pattern.strip_prefix(b"./") {
        while let Some(behind) = rest.strip_prefix(b"/") {
            rest = behind;
        }
        pattern = rest;
    }
    pattern
}

/// A glob as paths are written: relative, and without a slash at its end.
fn glob_text(text: &str) -> String {
    let mut text = text;
    while let Some(rest) = text.strip_prefix("./").or_else(|| text.strip_prefix('/')) {
        text = rest;
    }
    let text = text.trim_end_matches('/');
    text.strip_suffix("/.").unwrap_or(text).replace("/./", "/")
}

/// Refuses patterns that match nothing, before anything is changed.
pub(super) fn check_selection(selection: &Selection, manifest: &Manifest) -> Result<(), Error> {
    if selection.is_all() {
        return Ok(());
    }
    let mut selection = selection.clone();
    for entry in manifest.readable(|_| ())? {
        selection.selects(&entry?.0);
    }
    match selection.unmatched().next() {
        None => Ok(()),
        Some(pattern) => {
            let id = manifest.id();
            Err(Error::NoSuchPath(format!("{id} has no path that matches {pattern:?}; see `weekvault ls`")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_folders_and_globs() {
        let mut selection = Selection::new(["a/b", "*.key", "c/**/x"].map(OsStr::new)).unwrap();
        let selected: Vec<&str> =
            ["a", "a/b", "a/b/c", "a/bc", "c", "c/d", "c/d/e", "c/d/e/x", "k.key", "k.key/in"]
                .into_iter()
                .filter(|p| selection.selects(&ArchivePath::parse(p.as_bytes()).unwrap()))
                .collect();
        assert_eq!(selected, ["a/b", "a/b/c", "c/d/e/x", "k.key", "k.key/in"]);
        assert_eq!(selection.unmatched().count(), 0);
        assert!(Selection::new([OsStr::new("../x")]).is_err());
        assert!(Selection::new([OsStr::new(&"{".repeat(100_000))]).is_err());
        // No globs, but names.
        for name in ["draft[1.txt", "a{b", "./draft[1.txt", "draft[1.txt/"] {
            let mut selection = Selection::new([OsStr::new(name)]).unwrap();
            let path = ArchivePath::parse(name.trim_start_matches("./").as_bytes()).unwrap();
            assert!(selection.selects(&path), "{name}");
        }
        assert!(Selection::new([OsStr::new("../a[b")]).is_err());
    }

    #[test]
    fn globs_may_be_written_as_a_shell_completes_them() {
        for glob in ["plugins/*/", "./plugins/*", "/plugins/*", ".//plugins/./*/", "plugins/*/."] {
            let mut selection = Selection::new([OsStr::new(glob)]).unwrap();
            let path = |p: &str| ArchivePath::parse(p.as_bytes()).unwrap();
            assert!(!selection.selects(&path("plugins")), "{glob}");
            assert!(
                selection.selects(&path("plugins/a")) && selection.selects(&path("plugins/a/b")),
                "{glob}"
            );
        }
        assert!(Selection::all().is_all() && Selection::new([OsStr::new("/")]).unwrap().is_all());
    }
}
