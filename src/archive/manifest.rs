//! An open manifest.

use super::error::ArchiveError;
use super::id::ManifestId;
use crate::format::keys::WriterId;
use crate::format::{ChunkLengths, FormatError, ManifestReader, RandomRead, ReadError, Seals, Signed};
use crate::model::{
    ArchivePath, Completeness, Details, Entry, LeftOut, ObjectRow, Owners, Problem, StoreId, Summary,
};
use crate::store::{Blob, Version};
use std::io;
use std::sync::Arc;

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
    version: Version,
    path: String,
    reader: ManifestReader<StoredFile>,
    summary: Summary,
}

/// Checks that a manifest of a sealed store is signed by the writer that it names. Whether anybody trusts that one is another
/// question.
fn check_signature(reader: &ManifestReader<StoredFile>, summary: &Summary) -> Result<(), FormatError> {
    let Some(Signed { by, signature }) = reader.signed() else { return Ok(()) };
    let store = summary.store.parse::<StoreId>().ok();
    match store.is_some_and(|store| by.verify(&store, &reader.digest(), signature)) {
        true => Ok(()),
        false => {
            let reason = format!("it is not what writer {by} has signed");
            Err(FormatError::Invalid { part: "the manifest's signature", reason })
        }
    }
}

impl Manifest {
    /// Opens a file as the manifest that it says it is; its header, footer, index and summary are checked.
    pub(super) fn open(file: Box<dyn Blob>, path: String, seals: &Seals) -> Result<Self, ArchiveError> {
        let failed = |e| ArchiveError::read(path.clone(), e);
        let version = file.version();
        let reader = ManifestReader::open(StoredFile(file), seals).map_err(failed)?;
        let summary = reader.summary().map_err(failed)?;
        check_signature(&reader, &summary).map_err(|e| failed(e.into()))?;
        let partial = summary.completeness != Completeness::Complete;
        let id = ManifestId { week: summary.week, pvc: summary.pvc.clone(), partial };
        Ok(Self(Arc::new(Opened { id, version, path, reader, summary })))
    }

    /// The writer that has signed it, in a sealed store.
    pub fn writer(&self) -> Option<WriterId> {
        self.0.reader.signed().map(|signed| signed.by)
    }

    /// For messages: where it is.
    pub(super) fn path(&self) -> &str {
        &self.0.path
    }

    /// Which one it is.
    pub fn id(&self) -> &ManifestId {
        &self.0.id
    }

    /// Which version of its key's files it is.
    pub(super) fn version(&self) -> &Version {
        &self.0.version
    }

    /// The reader below.
    pub fn reader(&self) -> &ManifestReader<StoredFile> {
        &self.0.reader
    }

    /// Gives an error of the reader this manifest's path.
    pub fn error(&self, error: ReadError) -> ArchiveError {
        ArchiveError::read(self.0.path.clone(), error)
    }

    /// What the manifest says about itself.
    pub fn summary(&self) -> &Summary {
        &self.0.summary
    }

    /// What it says about its source.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file, where that takes a key that is not there.
    pub fn details(&self) -> Result<&Details, ArchiveError> {
        let details = self.0.summary.details.as_ref();
        details.ok_or_else(|| self.error(FormatError::NoKey("what it says about its source").into()))
    }

    /// The object table.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn objects(&self) -> Result<Vec<ObjectRow>, ArchiveError> {
        self.0.reader.objects().map_err(|e| self.error(e))
    }

    /// Hands on the rows of the object table one by one, once all of it was checked: of a damaged one none is handed on.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file. Where the storage fails, some rows may have been handed on by then.
    pub fn each_object(&self, take: impl FnMut(ObjectRow)) -> Result<(), ArchiveError> {
        self.0.reader.each_object(take).map_err(|e| self.error(e))
    }

    /// The names of the numeric owners.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn owners(&self) -> Result<Owners, ArchiveError> {
        self.0.reader.owners().map_err(|e| self.error(e))
    }

    /// The paths that could not be read.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn problems(&self) -> Result<Vec<Problem>, ArchiveError> {
        self.0.reader.problems().map_err(|e| self.error(e))
    }

    /// What was left out for reasons that the excludes do not tell, in path order.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn left_out(&self) -> Result<Vec<LeftOut>, ArchiveError> {
        self.0.reader.left_out().map_err(|e| self.error(e))
    }

    /// What reading the entries needs of the object table: held by who reads them several times, it is read once.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn chunk_lengths(&self) -> Result<Arc<ChunkLengths>, ArchiveError> {
        self.0.reader.chunk_lengths().map_err(|e| self.error(e))
    }

    /// The entries in path order, as a stream.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>> + '_, ArchiveError> {
        let entries = self.0.reader.entries().map_err(|e| self.error(e))?;
        Ok(entries.map(|entry| entry.map_err(|e| self.error(e))))
    }

    /// The same from `path` on, or a little before it; what comes before is not read.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn entries_from(
        &self,
        path: &ArchivePath,
    ) -> Result<impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>>, ArchiveError> {
        let entries = self.0.reader.entries_from(path).map_err(|e| self.error(e))?;
        Ok(entries.map(|entry| entry.map_err(|e| self.error(e))))
    }

    /// What is directly in a directory, in path order; blocks that have only what is further below are not read.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn children(
        &self,
        directory: &ArchivePath,
    ) -> Result<impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>>, ArchiveError> {
        let children = self.0.reader.children(directory).map_err(|e| self.error(e))?;
        Ok(children.map(|entry| entry.map_err(|e| self.error(e))))
    }

    /// The entry of one path.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file.
    pub fn find(&self, path: &ArchivePath) -> Result<Option<Entry>, ArchiveError> {
        for entry in self.entries_from(path)? {
            let (at, entry) = entry?;
            if at >= *path {
                return Ok((at == *path).then_some(entry));
            }
        }
        Ok(None)
    }

    /// All entries, as far as they can be made sense of: what cannot be is handed to `damaged`, and is as if it were not there.
    ///
    /// # Errors
    /// [`ArchiveError`], naming the file; of those that the stream yields none is [`ArchiveError::Format`].
    pub fn readable(
        &self,
        mut damaged: impl FnMut(&ArchiveError),
    ) -> Result<impl Iterator<Item = Result<(ArchivePath, Entry), ArchiveError>>, ArchiveError> {
        Ok(self.entries()?.filter(move |entry| match entry {
            Err(error @ ArchiveError::Format { .. }) => {
                damaged(error);
                false
            }
            _ => true,
        }))
    }
}
