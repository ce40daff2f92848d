//! Whose manifests count in a sealed store.

use super::error::ArchiveError;
use super::manifest::Manifest;
use super::open::Archive;
use crate::format::keys::{PlainManifest, WriterId};
use crate::format::{FormatError, Keys};
use crate::model::WeekRef;

impl Archive {
    /// Refuses a manifest that was made by nobody whom the keys trust. They trust what their writers have signed; an operator's, of
    /// plain manifests, those that were there when the store was sealed. A writer's do not tell these, and without keys nothing can be
    /// told: then everything counts.
    ///
    /// # Errors
    /// [`ArchiveError::NotTrusted`], [`ArchiveError::SealedInPlain`].
    pub fn check_trusted(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        let signed = manifest.writer();
        let distrust = match (self.seals().keys(), signed) {
            (Keys::Plain | Keys::Writer(_), None) | (Keys::Without, _) => return Ok(()),
            (Keys::Plain, Some(_)) => return Err(ArchiveError::SealedInPlain(manifest.path().to_owned())),
            (Keys::Writer(keys), Some(by)) => (!keys.trusts(&by)).then(|| unknown(&by)),
            (Keys::Reader(keys), Some(by)) => {
                let is_known = keys.writers().iter().any(|writer| writer.id == by);
                (!is_known).then(|| unknown(&by))
            }
            (Keys::Reader(keys), None) => {
                let id = manifest.id();
                let plain =
                    PlainManifest { week: id.week, pvc: id.pvc.clone(), digest: manifest.reader().digest() };
                let reason = "it is plain, and was not there when the store was sealed";
                (!keys.lists(&plain)).then(|| reason.to_owned())
            }
        };
        match distrust {
            None => Ok(()),
            Some(reason) => Err(ArchiveError::NotTrusted { path: manifest.path().to_owned(), reason }),
        }
    }

    /// Whether a manifest's writer was revoked, as far as the keys tell: whoever has that writer's file may have made it.
    pub fn is_revoked(&self, manifest: &Manifest) -> bool {
        let (Keys::Reader(keys), Some(by)) = (self.seals().keys(), manifest.writer()) else { return false };
        keys.writers().iter().any(|writer| writer.id == by && writer.revoked)
    }

    /// Refuses to read a manifest that is not trusted, and one whose writer was revoked unless its week was named: then `warn` is told.
    ///
    /// # Errors
    /// [`ArchiveError::NotTrusted`].
    pub fn check_chosen(
        &self,
        manifest: &Manifest,
        week: Option<WeekRef>,
        warn: impl FnOnce(&str),
    ) -> Result<(), ArchiveError> {
        self.check_trusted(manifest)?;
        if !self.is_revoked(manifest) {
            return Ok(());
        }
        let reason = "its writer was revoked; it is read where its week is named".to_owned();
        let path = manifest.path().to_owned();
        match week {
            Some(WeekRef::Exact(_)) => {
                warn(&format!("the writer of {path} was revoked: make sure that it has what you expect"));
                Ok(())
            }
            _ => Err(ArchiveError::NotTrusted { path, reason }),
        }
    }

    /// Refuses a manifest that a backup must not rely on: one that is not trusted, and in a sealed store one that nobody has signed.
    ///
    /// # Errors
    /// [`ArchiveError::NotTrusted`], [`ArchiveError::PlainInSealed`].
    pub fn check_reliable(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        if self.seals().is_sealed() && manifest.writer().is_none() {
            return Err(ArchiveError::PlainInSealed(manifest.path().to_owned()));
        }
        self.check_trusted(manifest)
    }

    /// Refuses to write a backup to a sealed store without a writer's keys.
    ///
    /// # Errors
    /// [`ArchiveError::NoWriter`].
    pub fn check_writer(&self) -> Result<(), ArchiveError> {
        match self.seals().keys() {
            Keys::Plain | Keys::Writer(_) => Ok(()),
            Keys::Without | Keys::Reader(_) => Err(ArchiveError::NoWriter(self.location())),
        }
    }

    /// Refuses to read a manifest's contents where no key opens them.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] with [`FormatError::NoKey`].
    pub fn check_readable(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        match (manifest.writer(), self.seals().keys()) {
            (None, _) | (Some(_), Keys::Reader(_)) => Ok(()),
            (Some(_), _) => Err(manifest.error(FormatError::NoKey("its content").into())),
        }
    }
}

fn unknown(by: &WriterId) -> String {
    format!("writer {by} is not one of those that the keys trust")
}
