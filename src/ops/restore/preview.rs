//! What a dry run says of a target that does not exist.

use super::hashes::PathHashes;
use super::missing::MissingFolders;
use super::options::RestoreOptions;
use super::report::{Report, Restored};
use crate::archive::{ArchiveError, Manifest};
use crate::model::Kind;
use crate::ops::Error;

/// Into a target that does not exist, everything selected would be created.
pub(super) fn dry_run_of_nothing(
    manifest: &Manifest,
    options: &RestoreOptions,
    report: Report<'_>,
) -> Result<Restored, Error> {
    // Links are told of last, and found again for that: a tree may be all links.
    for tell_links in [false, true] {
        let (mut selection, mut ancestors) = (options.selection.clone(), MissingFolders::default());
        let mut detached = PathHashes::default();
        let damaged = |error: &ArchiveError| {
            if !tell_links {
                report.damaged(error);
            }
        };
        for entry in manifest.readable(damaged)? {
            let (path, entry) = entry?;
            ancestors.enter(&path);
            match (&entry.kind, selection.selects(&path)) {
                _ if path.is_root() => {}
                (Kind::Directory, false) => ancestors.push(path),
                (_, false) => {}
                (Kind::HardLink(first), true) if selection.would_select(first) || !detached.insert(first) => {
                    if tell_links {
                        report.change(&path, "link");
                    }
                }
                _ if tell_links => {}
                (_, true) => {
                    ancestors.take().for_each(|a| report.change(&a, "create"));
                    report.change(&path, "create");
                }
            }
        }
    }
    Ok(report.into_result())
}
