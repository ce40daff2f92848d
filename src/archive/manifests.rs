//! Finding and opening manifests.

use super::error::ArchiveError;
use super::id::{ManifestId, ManifestRef};
use super::layout;
use super::listing::Listing;
use super::manifest::Manifest;
use super::open::Archive;
use crate::cache::Cache;
use crate::format::{FormatError, decode_summary, encode_summary};
use crate::model::{Summary, Timestamp, Week};
use crate::store::{ItemKind, Key};

/// One look at the weeks' directories.
#[derive(Clone, Default, Debug)]
pub struct Weeks {
    /// The manifests, oldest week first.
    pub manifests: Vec<ManifestRef>,
    /// Files that are named nearly as manifests are: `html (1).manifest`.
    pub(super) nearly: Vec<Key>,
    /// A week's name at which something other than a directory stands.
    blocked: Option<String>,
}

impl Weeks {
    /// Refuses a store in which something other than a directory stands at a week's name: what that week needs cannot be
    /// told, so nothing may be given up.
    ///
    /// # Errors
    /// [`ArchiveError::NoWeek`], naming it.
    pub(super) fn check(&self) -> Result<(), ArchiveError> {
        self.blocked.clone().map_or(Ok(()), |path| Err(ArchiveError::NoWeek(path)))
    }
}

impl Archive {
    /// All manifests that are published, oldest week first.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn manifests(&self) -> Result<Vec<ManifestRef>, ArchiveError> {
        Ok(self.weeks()?.manifests)
    }

    /// What the weeks' directories hold.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn weeks(&self) -> Result<Weeks, ArchiveError> {
        self.weeks_below(&Key::root())
    }

    /// Whether the store has objects, or trash, and not one manifest, published or in the trash: then something hides them,
    /// or they are lost. `listed` and `listing` are looks at both.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn lacks_manifests(&self, listed: &[ManifestRef], listing: &Listing) -> Result<bool, ArchiveError> {
        if !listed.is_empty() {
            return Ok(false);
        }
        let has_objects = !listing.is_empty() || self.trashed_objects()?.iter().any(|day| day.objects > 0);
        Ok(has_objects && self.trashed_manifests()?.is_empty())
    }

    /// Refuses such a store.
    ///
    /// # Errors
    /// [`ArchiveError::NoManifests`]; [`ArchiveError::Store`].
    pub(super) fn check_manifests(
        &self,
        listed: &[ManifestRef],
        listing: &Listing,
    ) -> Result<(), ArchiveError> {
        match self.lacks_manifests(listed, listing)? {
            true => Err(ArchiveError::NoManifests(self.location())),
            false => Ok(()),
        }
    }

    pub(super) fn weeks_below(&self, base: &Key) -> Result<Weeks, ArchiveError> {
        let mut weeks = Weeks::default();
        for folder in self.list(base)?.iter() {
            let Ok(week) = folder.name.parse::<Week>() else { continue };
            if folder.kind != ItemKind::Folder {
                weeks.blocked.get_or_insert_with(|| self.full_path(&base.child(&folder.name)));
                continue;
            }
            let folder = layout::week_below(base, week);
            for item in self.list(&folder)?.iter() {
                let Some((pvc, partial)) = layout::parse_manifest(&item.name) else {
                    if layout::is_nearly_manifest(&item.name) && item.file_length().is_some() {
                        weeks.nearly.push(folder.child(&item.name));
                    }
                    continue;
                };
                // What has a manifest's name is one, though it may be none that can be read.
                let (length, modified) = match item.kind {
                    ItemKind::File { length, modified } => (length, modified),
                    ItemKind::Folder | ItemKind::Other => (0, Timestamp::default()),
                };
                weeks.manifests.push(ManifestRef { id: ManifestId { week, pvc, partial }, length, modified });
            }
        }
        weeks.manifests.sort();
        Ok(weeks)
    }

    /// Opens a manifest that was listed. None where it has been retired since.
    ///
    /// # Errors
    /// As [`Archive::open_manifest`].
    pub fn open_listed(&self, id: &ManifestId) -> Result<Option<Manifest>, ArchiveError> {
        match self.open_manifest(id) {
            Err(ArchiveError::Store(e)) if e.is_not_found() => {
                // A symbolic link that leads nowhere is not found either, but there.
                let there = self.manifests()?.iter().any(|m| m.id == *id);
                if there { Err(e.into()) } else { Ok(None) }
            }
            opened => opened.map(Some),
        }
    }

    /// The same for one that may have been replaced since this process has opened it: to build on, that serves as well.
    ///
    /// # Errors
    /// As [`Archive::open_manifest`].
    pub fn open_before(&self, id: &ManifestId) -> Result<Option<Manifest>, ArchiveError> {
        match self.manifests.before(&id.key()) {
            Some(manifest) => Ok(Some(manifest)),
            None => self.open_listed(id),
        }
    }

    /// Whether a manifest is in its place as it was opened.
    pub fn stands(&self, manifest: &Manifest) -> bool {
        let now = self.open_manifest(manifest.id());
        now.is_ok_and(|now| now.reader().blocks() == manifest.reader().blocks())
    }

    /// Opens a manifest; its header, footer, index and summary are checked.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn open_manifest(&self, id: &ManifestId) -> Result<Manifest, ArchiveError> {
        let key = id.key();
        self.manifests.get(self.store.as_ref(), &key, || self.open_manifest_at(&key, id))
    }

    pub(super) fn open_manifest_at(&self, key: &Key, id: &ManifestId) -> Result<Manifest, ArchiveError> {
        let manifest = self.decode_manifest(key)?;
        let is = manifest.id();
        // A file that was moved or copied to another's place must not be restored as that.
        if is != id {
            let source = FormatError::Invalid { part: "the manifest", reason: format!("it is that of {is}") };
            return Err(ArchiveError::Format { path: self.full_path(key), source });
        }
        let (summary, store) = (manifest.summary(), &self.config().id);
        if manifest.writer().is_some() && summary.store != *store && !store.is_empty() {
            let reason = format!("it is that of another store, {}", summary.store);
            let source = FormatError::Invalid { part: "the manifest", reason };
            return Err(ArchiveError::Format { path: self.full_path(key), source });
        }
        Ok(manifest)
    }

    /// Opens the file as the manifest that it says it is.
    pub(super) fn decode_manifest(&self, key: &Key) -> Result<Manifest, ArchiveError> {
        Manifest::open(self.store.open(key)?, self.full_path(key), self.seals())
    }

    /// What a manifest says about itself, from the cache where that has the summary of exactly this file.
    ///
    /// # Errors
    /// As [`Archive::open_manifest`].
    pub fn summary_of(&self, manifest: &ManifestRef, cache: Option<&Cache>) -> Result<Summary, ArchiveError> {
        let ManifestRef { id, length, modified } = manifest;
        let store = &self.config().id;
        let key = format!("summary/{store}/{id}/{length}/{}.{:09}", modified.secs, modified.nanos);
        // What a sealed store keeps from others is not left in a cache.
        let cache = cache.filter(|_| !self.seals().is_sealed());
        let cached = cache.and_then(|c| c.get(key.as_bytes())).and_then(|bytes| decode_summary(&bytes).ok());
        if let Some(summary) = cached {
            return Ok(summary);
        }
        let summary = self.open_manifest(id)?.summary().clone();
        if let (Some(cache), Ok(bytes)) = (cache, encode_summary(&summary)) {
            cache.put(key.as_bytes(), &bytes);
        }
        Ok(summary)
    }
}
