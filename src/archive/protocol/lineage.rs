//! Which manifests a new one of a sealed store comes after.

use crate::archive::error::ArchiveError;
use crate::archive::manifest::Manifest;
use crate::archive::open::Archive;
use crate::format::Keys;
use crate::model::{Lineage, PvcName};

impl Archive {
    /// What the next manifest of this writer and pvc comes after: the one of the highest number, published or in the trash. Numbers
    /// go on from there, so that none is given twice. Nothing in a plain store.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub(super) fn lineage(&self, pvc: &PvcName) -> Result<Lineage, ArchiveError> {
        let Keys::Writer(keys) = self.seals().keys() else { return Ok(Lineage::default()) };
        let mut newest: Option<Manifest> = None;
        let mut take = |opened: Result<Option<Manifest>, ArchiveError>| {
            let manifest = match opened {
                Ok(Some(manifest)) => manifest,
                // Retired since it was listed, damaged, or no file at all: it has no number.
                Ok(None) | Err(ArchiveError::Format { .. }) => return Ok(()),
                Err(ArchiveError::Store(error)) if error.is_not_found() || error.is_no_file() => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let number = |manifest: &Manifest| manifest.summary().head.as_ref().map(|head| head.sequence);
            if manifest.writer() == Some(keys.id()) && number(&manifest) > newest.as_ref().and_then(number) {
                newest = Some(manifest);
            }
            Ok(())
        };
        for listed in self.manifests()?.iter().filter(|listed| listed.id.pvc == *pvc) {
            take(self.open_listed(&listed.id))?;
        }
        for trashed in self.trashed_manifests()?.iter().filter(|trashed| trashed.manifest.id.pvc == *pvc) {
            take(self.open_trashed(trashed).map(Some))?;
        }
        let after = |manifest: &Manifest| {
            let digest = manifest.reader().digest();
            manifest.summary().head.as_ref().map(|head| Lineage::after(digest, head))
        };
        Ok(newest.as_ref().and_then(after).unwrap_or_default())
    }
}
