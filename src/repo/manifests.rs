//! Finding and opening manifests.

use super::{Archive, Listing, RepoError, layout};
use crate::cache::Cache;
use crate::format::{FormatError, ManifestReader, RandomRead, ReadError, decode_summary, encode_summary};
use crate::model::{Completeness, LeftOut, ObjectRow, Owners, Problem, PvcName, Summary, Timestamp, Week};
use crate::store::{Blob, ItemKind, Key};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Names a manifest: one source in one week, complete or partial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ManifestId {
    /// The week.
    pub week: Week,
    /// The source.
    pub pvc: PvcName,
    /// Made by a run that could not read everything.
    pub partial: bool,
}

impl ManifestId {
    pub(super) fn key(&self) -> Key {
        self.key_below(&Key::root())
    }

    pub(super) fn key_below(&self, base: &Key) -> Key {
        layout::week_below(base, self.week).child(&layout::manifest_name(&self.pvc, self.partial))
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.week, layout::manifest_name(&self.pvc, self.partial))
    }
}

/// A manifest's file as a listing shows it; another length or time means that it was replaced.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ManifestRef {
    /// Which one.
    pub id: ManifestId,
    /// Bytes of its file.
    pub length: u64,
    /// When it was written, by the store's clock.
    pub modified: Timestamp,
}

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
    /// [`RepoError::NoWeek`], naming it.
    pub(super) fn check(&self) -> Result<(), RepoError> {
        self.blocked.clone().map_or(Ok(()), |path| Err(RepoError::NoWeek(path)))
    }
}

/// A file of the store, as the format room reads it.
pub struct StoredFile(Box<dyn Blob>);

impl RandomRead for StoredFile {
    fn length(&self) -> u64 {
        self.0.length()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// An open manifest. Its errors name its file. Clones share it.
#[derive(Clone)]
pub struct Manifest(Arc<Opened>);

struct Opened {
    id: ManifestId,
    path: String,
    reader: ManifestReader<StoredFile>,
    summary: Summary,
}

impl Manifest {
    /// Which one it is.
    pub fn id(&self) -> &ManifestId {
        &self.0.id
    }

    /// The reader below.
    pub fn reader(&self) -> &ManifestReader<StoredFile> {
        &self.0.reader
    }

    /// Gives an error of the reader this manifest's path.
    pub fn error(&self, error: ReadError) -> RepoError {
        RepoError::read(self.0.path.clone(), error)
    }

    /// What the manifest says about itself.
    pub fn summary(&self) -> &Summary {
        &self.0.summary
    }

    /// The object table.
    ///
    /// # Errors
    /// [`RepoError`], naming the file.
    pub fn objects(&self) -> Result<Vec<ObjectRow>, RepoError> {
        self.0.reader.objects().map_err(|e| self.error(e))
    }

    /// The names of the numeric owners.
    ///
    /// # Errors
    /// [`RepoError`], naming the file.
    pub fn owners(&self) -> Result<Owners, RepoError> {
        self.0.reader.owners().map_err(|e| self.error(e))
    }

    /// The paths that could not be read.
    ///
    /// # Errors
    /// [`RepoError`], naming the file.
    pub fn problems(&self) -> Result<Vec<Problem>, RepoError> {
        self.0.reader.problems().map_err(|e| self.error(e))
    }

    /// What was left out for reasons that the excludes do not tell, in path order.
    ///
    /// # Errors
    /// [`RepoError`], naming the file.
    pub fn left_out(&self) -> Result<Vec<LeftOut>, RepoError> {
        self.0.reader.left_out().map_err(|e| self.error(e))
    }

    /// The entries in path order, as a stream.
    ///
    /// # Errors
    /// [`RepoError`], naming the file.
    pub fn entries(
        &self,
    ) -> Result<
        impl Iterator<Item = Result<(crate::model::ArchivePath, crate::model::Entry), RepoError>> + '_,
        RepoError,
    > {
        let entries = self.0.reader.entries().map_err(|e| self.error(e))?;
        Ok(entries.map(|entry| entry.map_err(|e| self.error(e))))
    }
}

impl Archive {
    /// All manifests that are published, oldest week first.
    ///
    /// # Errors
    /// [`RepoError::Store`].
    pub fn manifests(&self) -> Result<Vec<ManifestRef>, RepoError> {
        Ok(self.weeks()?.manifests)
    }

    /// What the weeks' directories hold.
    ///
    /// # Errors
    /// [`RepoError::Store`].
    pub fn weeks(&self) -> Result<Weeks, RepoError> {
        self.weeks_below(&Key::root())
    }

    /// Whether the store has objects, or trash, and not one manifest, published or in the trash: then something hides them,
    /// or they are lost. `listed` and `listing` are looks at both.
    ///
    /// # Errors
    /// [`RepoError::Store`].
    pub fn lacks_manifests(&self, listed: &[ManifestRef], listing: &Listing) -> Result<bool, RepoError> {
        if !listed.is_empty() {
            return Ok(false);
        }
        let has_objects = !listing.is_empty() || self.trashed_objects()?.iter().any(|day| day.objects > 0);
        Ok(has_objects && self.trashed_manifests()?.is_empty())
    }

    /// Refuses such a store.
    ///
    /// # Errors
    /// [`RepoError::NoManifests`]; [`RepoError::Store`].
    pub(super) fn check_manifests(&self, listed: &[ManifestRef], listing: &Listing) -> Result<(), RepoError> {
        match self.lacks_manifests(listed, listing)? {
            true => Err(RepoError::NoManifests(self.location())),
            false => Ok(()),
        }
    }

    pub(super) fn weeks_below(&self, base: &Key) -> Result<Weeks, RepoError> {
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
    pub fn open_listed(&self, id: &ManifestId) -> Result<Option<Manifest>, RepoError> {
        match self.open_manifest(id) {
            Err(RepoError::Store(e)) if e.is_not_found() => {
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
    pub fn open_before(&self, id: &ManifestId) -> Result<Option<Manifest>, RepoError> {
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
    /// [`RepoError`], naming the file.
    pub fn open_manifest(&self, id: &ManifestId) -> Result<Manifest, RepoError> {
        let key = id.key();
        self.manifests.get(self.store.as_ref(), &key, || self.open_manifest_at(&key, id))
    }

    pub(super) fn open_manifest_at(&self, key: &Key, id: &ManifestId) -> Result<Manifest, RepoError> {
        let (is, manifest) = self.decode_manifest(key)?;
        // A file that was moved or copied to another's place must not be restored as that.
        if is != *id {
            let source = FormatError::Invalid { part: "the manifest", reason: format!("it is that of {is}") };
            return Err(RepoError::Format { path: self.full_path(key), source });
        }
        Ok(manifest)
    }

    /// Opens the file as the manifest that it says it is.
    pub(super) fn decode_manifest(&self, key: &Key) -> Result<(ManifestId, Manifest), RepoError> {
        let path = self.full_path(key);
        let file = StoredFile(self.store.open(key)?);
        let reader = ManifestReader::open(file).map_err(|e| RepoError::read(path.clone(), e))?;
        let summary = reader.summary().map_err(|e| RepoError::read(path.clone(), e))?;
        let partial = summary.completeness != Completeness::Complete;
        let id = ManifestId { week: summary.week, pvc: summary.pvc.clone(), partial };
        Ok((id.clone(), Manifest(Arc::new(Opened { id, path, reader, summary }))))
    }

    /// What a manifest says about itself, from the cache where that has the summary of exactly this file.
    ///
    /// # Errors
    /// As [`Archive::open_manifest`].
    pub fn summary_of(&self, manifest: &ManifestRef, cache: Option<&Cache>) -> Result<Summary, RepoError> {
        let ManifestRef { id, length, modified } = manifest;
        let store = &self.config().id;
        let key = format!("summary/{store}/{id}/{length}/{}.{:09}", modified.secs, modified.nanos);
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
