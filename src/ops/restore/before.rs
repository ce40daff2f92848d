//! The week before, in a row of weeks that are made anew side by side: what is the same there is linked, not made again.

use super::options::Owner;
use crate::archive::{ArchiveError, Manifest};
use crate::data::Along;
use crate::model::{ArchivePath, Entry, Kind};
use crate::ops::Error;
use crate::tree::{OwnerMap, OwnerNames, SourceError, Target};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// A tree that was made from a manifest, and that nobody has changed since.
#[derive(Clone)]
pub struct Before {
    /// What it was made from.
    pub manifest: Manifest,
    /// Where it is.
    pub root: PathBuf,
    /// What of it is not as the manifest says.
    pub failed: Arc<BTreeSet<ArchivePath>>,
}

type Entries<'a> = Box<dyn Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>> + 'a>;

/// Links to the tree before, in path order.
pub(super) struct Linking<'a> {
    entries: Along<Entries<'a>>,
    owners: OwnerMap,
    tree: Target,
    failed: Arc<BTreeSet<ArchivePath>>,
}

impl<'a> Linking<'a> {
    /// None where the manifest before does not tell all that has to be the same.
    pub(super) fn new(before: &'a Before, owner: Owner) -> Result<Option<Self>, Error> {
        let Before { manifest, root, failed } = before;
        let owners = match (owner, manifest.owners()) {
            (Owner::Nobody, _) => OwnerMap::Nobody,
            (Owner::Numeric, _) => OwnerMap::Numeric,
            (Owner::Names, Ok(names)) => OwnerMap::Names(names, OwnerNames::of_this_machine()),
            (Owner::Names, Err(ArchiveError::Format { .. })) => return Ok(None),
            (Owner::Names, Err(error)) => return Err(error.into()),
        };
        let bad = |e: SourceError| Error::Target { path: root.clone(), reason: e.to_string() };
        let tree = Target::open(root, owners.clone()).map_err(bad)?;
        // What a damaged part had was told when that tree was made.
        let entries: Entries<'_> = Box::new(manifest.readable(|_| ())?);
        Ok(Some(Self { entries: Along::new(entries), owners, tree, failed: Arc::clone(failed) }))
    }

    /// Makes `path` another name of what the tree before has there, if that is the same in all that is restored. False
    /// where it is not, or the file system does not want to: an inode can have only so many names.
    pub(super) fn link(
        &mut self,
        target: &mut Target,
        path: &ArchivePath,
        entry: &Entry,
        owners: &OwnerMap,
    ) -> Result<bool, ArchiveError> {
        let Some((_, before)) = self.entries.at(path)? else { return Ok(false) };
        let (a, b) = (&before.meta, &entry.meta);
        // What failed there is tried again here, and told.
        let same = !self.failed.contains(path)
            && same_content(&before.kind, &entry.kind)
            && (a.mode, a.uid, a.gid, a.mtime) == (b.mode, b.uid, b.gid, b.mtime)
            && self.owners.xattrs(&a.xattrs) == owners.xattrs(&b.xattrs)
            // One number may have had two names.
            && self.owners.owner(a) == owners.owner(b);
        Ok(same && target.link_from(&mut self.tree, path).is_ok())
    }
}

/// Whether two entries, neither of them a folder or a further name, make the same.
fn same_content(a: &Kind, b: &Kind) -> bool {
    match (a, b) {
        (Kind::File(a), Kind::File(b)) => (a.size, a.hash) == (b.size, b.hash),
        (Kind::Directory | Kind::HardLink(_), _) => false,
        (a, b) => a == b,
    }
}
