//! Two names of a manifest that a target takes for one: it ignores case, or spells names in another way.

use crate::model::{ArchivePath, Stat};
use crate::tree::SourceError;
use std::collections::HashMap;

/// What stands at the entries that were met of each directory that the walk is in.
#[derive(Default)]
pub(super) struct Siblings {
    stack: Vec<(ArchivePath, HashMap<(u64, u64), String>)>,
}

impl Siblings {
    /// Refuses an entry whose path leads to what a sibling's leads to already. Links of one inode are told by their number.
    pub(super) fn check(&mut self, path: &ArchivePath, stat: Option<&Stat>) -> Result<(), SourceError> {
        let (Some(parent), Some(stat)) = (path.parent(), stat) else { return Ok(()) };
        if stat.links > 1 && stat.kind != crate::model::NodeKind::Directory {
            return Ok(());
        }
        while self.stack.last().is_some_and(|(folder, _)| *folder != parent && !parent.is_within(folder)) {
            self.stack.pop();
        }
        if self.stack.last().is_none_or(|(folder, _)| *folder != parent) {
            self.stack.push((parent, HashMap::new()));
        }
        let name = folded(path);
        let met =
            self.stack.last_mut().and_then(|(_, met)| met.insert((stat.device, stat.inode), name.clone()));
        // Some file systems give one number to several files, whose names then have nothing in common.
        if met.is_none_or(|met| met != name && met.is_ascii() && name.is_ascii()) {
            return Ok(());
        }
        let error = "another name of the tree is this very file here: does the target ignore case, or spell names in \
                     another way? The other one stays; restore this one elsewhere with --path and --target";
        Err(SourceError::new(path, "restore", std::io::Error::other(error)))
    }
}

/// A name without what some file systems do not tell apart: case, and dots and blanks at its end.
fn folded(path: &ArchivePath) -> String {
    let name = path.file_name().map(|name| String::from_utf8_lossy(name.as_bytes()).to_lowercase());
    name.unwrap_or_default().trim_end_matches(['.', ' ']).to_owned()
}
