//! A look at a target before anything is changed: what a mistake would cost.

use super::clear::Clearing;
use super::options::RestoreOptions;
use super::report::Report;
use super::root::check_target;
use super::select::Selection;
use crate::archive::Manifest;
use crate::data::Along;
use crate::model::{ArchivePath, Observer};
use crate::ops::{Error, Run};
use crate::tree::{SourceRoot, Walk, WalkOptions, Walked};
use std::sync::Arc;

/// What a target has, the root aside.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Survey {
    /// Paths.
    pub names: u64,
    /// Paths that the manifest has as well.
    pub shared: u64,
    /// Paths that `--delete` would remove.
    pub extra: u64,
}

/// Compares a target's paths with a manifest's. Where nothing is to be deleted, the first path that both have is enough.
///
/// # Errors
/// [`Error`] where the target is one that a restore refuses; [`Error::Archive`] where the manifest cannot be read;
/// [`Error::Cancelled`].
pub fn survey(run: Run<'_>, manifest: &Manifest, options: &RestoreOptions) -> Result<Survey, Error> {
    let Run { archive, observer, .. } = run;
    let place = Arc::new(archive.place());
    check_target(&options.target, archive, &place, options.delete)?;
    let mut found = Survey::default();
    let Ok(root) = SourceRoot::open(&options.target) else { return Ok(found) };
    let (nobody, mut selection) = (Quiet(observer), options.selection.clone());
    let report = Report::new(&nobody);
    let clearing = Clearing::new(manifest, &report, options.delete, true, &nobody)?;
    let walk = WalkOptions { cross_filesystems: false, ..WalkOptions::everything() };
    // What a damaged part has cannot be told; a restore tells of it.
    let mut entries = Along::new(manifest.readable(|_| ())?);
    for walked in Walk::new(&root, walk).beside(place) {
        let Walked::Found(there) = walked else { continue };
        if there.path.is_root() {
            continue;
        }
        run.go_on()?;
        found.names += 1;
        if entries.at(&there.path)?.is_some() {
            found.shared += 1;
            if !options.delete {
                break;
            }
        } else if is_selected(&mut selection, &there.path) && clearing.would_remove(&there.path, &there.stat)
        {
            found.extra += 1;
        }
    }
    Ok(found)
}

/// Of a selection only what is in a selected directory is deleted.
fn is_selected(selection: &mut Selection, path: &ArchivePath) -> bool {
    selection.is_all() || path.parent().is_some_and(|parent| selection.selects(&parent))
}

/// An observer of a look: what there is to say, the restore says.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn counters(&self) -> &crate::model::Counters {
        self.0.counters()
    }

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}
