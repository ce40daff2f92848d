//! Where the manifests of a sealed store stand among those of their writers.

use super::error::ArchiveError;
use super::id::ManifestId;
use super::open::Archive;
use crate::format::keys::WriterId;
use crate::model::{Digest, Head};

/// A signed manifest in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingHead {
    /// Which.
    pub id: ManifestId,
    /// Who has signed it.
    pub writer: WriterId,
    /// Its digest.
    pub digest: Digest,
    /// Where it stands among those of this writer and pvc.
    pub head: Head,
}

impl Archive {
    /// The signed manifests that are published, partial ones too, oldest week first. Those that are damaged, or not trusted, are
    /// passed over; there are none in a plain store.
    ///
    /// # Errors
    /// [`ArchiveError::Store`] where one cannot be read.
    pub fn heads(&self) -> Result<Vec<StandingHead>, ArchiveError> {
        let mut heads = Vec::new();
        if !self.seals().is_sealed() {
            return Ok(heads);
        }
        for listed in self.manifests()? {
            let manifest = match self.open_listed(&listed.id) {
                Ok(Some(manifest)) if self.check_trusted(&manifest).is_ok() => manifest,
                Ok(_) => continue,
                Err(error) if error.is_access() => return Err(error),
                Err(_) => continue,
            };
            if let (Some(writer), Some(head)) = (manifest.writer(), manifest.summary().head.clone()) {
                heads.push(StandingHead { id: listed.id, writer, digest: manifest.reader().digest(), head });
            }
        }
        Ok(heads)
    }
}
