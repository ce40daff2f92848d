//! The layout of weekly copies that rsync makes with `--link-dest`: `<YYYY-WW>/<pvc>/`.

use crate::model::{PvcName, Week};
use std::io;
use std::path::{Path, PathBuf};
use walkdir::WalkDir;

/// A copy of a source in a week's folder.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WeeklyCopy {
    /// The week that the folder is named after.
    pub week: Week,
    /// The source that the copy is named after.
    pub pvc: PvcName,
    /// Where it is.
    pub path: PathBuf,
}

/// A name in a farm that is no copy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PassedOver {
    /// Relative to the farm.
    pub path: PathBuf,
    /// What it is instead.
    pub reason: &'static str,
}

/// What a look at a farm showed.
#[derive(Clone, Default, Debug)]
pub struct Farm {
    /// By week, then by pvc.
    pub copies: Vec<WeeklyCopy>,
    /// Sorted.
    pub passed_over: Vec<PassedOver>,
}

/// What a name in a farm leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Folder,
    Link,
    Other,
}

impl Farm {
    /// Looks at the folder `root` and the folders of the weeks in it, but at nothing deeper. Symbolic links are not
    /// followed: `latest` would be a week twice.
    ///
    /// # Errors
    /// Of the first folder that cannot be listed: its path, and what the operating system said.
    pub fn look(root: &Path) -> Result<Self, (PathBuf, io::Error)> {
        let mut farm = Self::default();
        let mut pass = |path: &Path, reason| {
            farm.passed_over.push(PassedOver { path: path.to_path_buf(), reason });
        };
        for (name, node) in list(root)? {
            match (name.to_str().and_then(|n| n.parse::<Week>().ok()), node) {
                (Some(week), Node::Folder) => {
                    for (pvc, node) in list(&root.join(&name))? {
                        let path = name.join(&pvc);
                        match (pvc.to_str().and_then(|p| p.parse::<PvcName>().ok()), node) {
                            (Some(pvc), Node::Folder) => {
                                farm.copies.push(WeeklyCopy { week, pvc, path: root.join(path) });
                            }
                            (None, Node::Folder) => pass(&path, "its name cannot be a pvc's"),
                            (_, Node::Link) => pass(&path, "it is a symbolic link"),
                            (_, Node::Other) => pass(&path, "it is no folder"),
                        }
                    }
                }
                (Some(_), Node::Link) => pass(&name, "it is a symbolic link"),
                (Some(_), Node::Other) => pass(&name, "it is no folder"),
                (None, _) => pass(&name, "its name is no week"),
            }
        }
        farm.copies.sort_unstable();
        farm.passed_over.sort_unstable();
        Ok(farm)
    }
}

fn list(folder: &Path) -> Result<Vec<(PathBuf, Node)>, (PathBuf, io::Error)> {
    let failed = |error| (folder.to_path_buf(), error);
    let mut names = Vec::new();
    let broken = |error: walkdir::Error| {
        let message = error.to_string();
        failed(error.into_io_error().unwrap_or_else(|| io::Error::other(message)))
    };
    for entry in WalkDir::new(folder).min_depth(1).max_depth(1) {
        let entry = entry.map_err(broken)?;
        let node = match entry.file_type() {
            t if t.is_dir() => Node::Folder,
            t if t.is_symlink() => Node::Link,
            _ => Node::Other,
        };
        names.push((PathBuf::from(entry.file_name()), node));
    }
    Ok(names)
}
