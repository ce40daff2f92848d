//! Names of files in a store.

use std::fmt;

/// The place of a file or folder in a store: components joined by `/`; the root is empty.
///
/// Made by `archive::layout` only, from parts that cannot hold `..` or a slash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(String);

impl Key {
    /// The store's root folder.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The key with these bytes, as a listing's names joined by `/` make it.
    pub fn new(path: impl Into<String>) -> Self {
        let path = path.into();
        debug_assert!(!path.split('/').any(|c| c == ".."), "{path}");
        Self(path)
    }

    /// The key of a child of this folder.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// The folder that holds this.
    pub fn parent(&self) -> Self {
        Self(self.0.rsplit_once('/').map_or(String::new(), |(parent, _)| parent.to_owned()))
    }

    /// The last component.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The text, without a leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
