//! Copies that sync tools and people leave beside manifests: never used, but what they need is given up by nobody, since
//! one of them may be the last whole copy of what a conflict has lost.

use super::error::ArchiveError;
use super::id::{ManifestId, ManifestRef};
use super::manifests::Weeks;
use super::open::Archive;
use crate::model::{ObjectId, PvcName};
use crate::store::Key;
use std::fmt;

/// A file in a week's directory that is not the manifest that its name says, if it says any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Foreign {
    /// Below the store's root.
    pub path: String,
    /// The manifest that it is a copy of, where that can be told.
    pub of: Option<ManifestId>,
    /// What it needs.
    pub objects: Vec<ObjectId>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, of, .. } = self;
        match of {
            Some(of) => write!(f, "{path} is a foreign copy of {of}, as sync tools make them")?,
            None => write!(f, "{path} is a foreign file, as sync tools make them, and no manifest")?,
        }
        f.write_str(
            "; it is not used, and what it needs is kept: move it out of the store, or, if it is what should be there, to its \
             right name",
        )
    }
}

/// Whether a name is another pvc's and tells of a conflict, as Syncthing, Synology, Nextcloud, ownCloud and Dropbox have it.
fn tells_of_conflict(pvc: &PvcName, listed: &[ManifestRef]) -> bool {
    let is_rest =
        |rest: &str| rest.starts_with(['.', '_', '-']) && rest.to_ascii_lowercase().contains("conflict");
    listed.iter().any(|m| pvc.as_str().strip_prefix(m.id.pvc.as_str()).is_some_and(is_rest))
}

impl Archive {
    /// What the file is that has the name of manifest `id` and could not be opened as that, if it is foreign. A file that
    /// has taken the place of a manifest is not: what that needed cannot be told. `listed` are all manifests.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn as_foreign(
        &self,
        id: &ManifestId,
        listed: &[ManifestRef],
    ) -> Result<Option<Foreign>, ArchiveError> {
        let found = match self.decoded_at(&id.key()) {
            Ok(found) if found.0.pvc != id.pvc => Some(found),
            Err(ArchiveError::Format { .. }) if tells_of_conflict(&id.pvc, listed) => None,
            Ok(_) | Err(ArchiveError::Format { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A pvc that has a manifest of its own is one.
        let own = |m: &&ManifestRef| m.id.pvc == id.pvc && m.id != *id;
        if listed.iter().filter(own).any(|m| self.open_manifest(&m.id).is_ok()) {
            return Ok(None);
        }
        for trashed in self.trashed_manifests()? {
            if own(&&trashed.manifest) && self.open_trashed(&trashed).is_ok() {
                return Ok(None);
            }
        }
        let (of, objects) = found.unzip();
        Ok(Some(Foreign { path: id.key().to_string(), of, objects: objects.unwrap_or_default() }))
    }

    /// Files in weeks' directories that are named nearly as manifests are: `html (1).manifest`.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn foreign_names(&self, weeks: &Weeks) -> Result<Vec<Foreign>, ArchiveError> {
        let mut found = Vec::new();
        for key in &weeks.nearly {
            let (of, objects) = match self.decoded_at(key) {
                Ok((of, objects)) => (Some(of), objects),
                Err(ArchiveError::Format { .. }) => (None, Vec::new()),
                // Deleted since it was listed.
                Err(ArchiveError::Store(e)) if e.is_not_found() => continue,
                Err(error) => return Err(error),
            };
            found.push(Foreign { path: key.to_string(), of, objects });
        }
        Ok(found)
    }

    /// Which manifest a file is, whatever its name, and what that needs.
    fn decoded_at(&self, key: &Key) -> Result<(ManifestId, Vec<ObjectId>), ArchiveError> {
        let manifest = self.decode_manifest(key)?;
        let id = manifest.id().clone();
        Ok((id, manifest.objects()?.iter().map(|row| row.id).collect()))
    }
}
