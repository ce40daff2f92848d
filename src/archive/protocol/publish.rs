//! Making a manifest visible: the only commit point.

use crate::archive::error::ArchiveError;
use crate::archive::id::ManifestId;
use crate::archive::objects::ObjectReader;
use crate::archive::open::Archive;
use crate::archive::trash::{Trash, Trashed};
use crate::format::{Block, FormatError, ManifestWriter, Section};
use crate::model::{Digest, Entry, LeftOut, ObjectRow, Owners, Problem, Summary, Timestamp};
use crate::store::{Key, StoreError, StoreOperation, Upload};
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A manifest that is being written. Nothing of it is visible until it is published; dropped, it leaves nothing.
pub struct PendingManifest {
    archive: Archive,
    path: String,
    writer: ManifestWriter<BufWriter<Counted>>,
    written: Arc<AtomicU64>,
}

/// An upload that counts its bytes.
struct Counted(Box<dyn Upload>, Arc<AtomicU64>);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.0.write(bytes)?;
        self.1.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl PendingManifest {
    /// Begins a manifest. Which one it is shows at its end: complete or partial.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn begin(archive: &Archive) -> Result<Self, ArchiveError> {
        let path = format!("{}: a new manifest", archive.location());
        let written = Arc::new(AtomicU64::new(0));
        let upload = Counted(archive.store.create()?, Arc::clone(&written));
        let writer = ManifestWriter::new(BufWriter::with_capacity(256 << 10, upload), archive.seals());
        let writer = writer.map_err(|e| write_error(&path, e))?;
        Ok(Self { archive: archive.clone(), path, writer, written })
    }

    /// Adds the next entry.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn entry(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.writer.entry(entry).map_err(|e| write_error(&self.path, e))
    }

    /// Notes a path that could not be read.
    pub fn problem(&mut self, problem: Problem) {
        self.writer.problem(problem);
    }

    /// Says what was left out, in path order.
    pub fn left_out(&mut self, places: Vec<LeftOut>) {
        self.writer.left_out(places);
    }

    /// Ends the manifest, which is to be published as `id`.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn finish(
        self,
        id: ManifestId,
        owners: &Owners,
        objects: &[ObjectRow],
        summary: &Summary,
    ) -> Result<FinishedManifest, ArchiveError> {
        let Self { archive, path, writer, written } = self;
        let failed = |e| write_error(&path, e);
        let (out, digest, blocks) = writer.finish(owners, objects, summary).map_err(failed)?;
        let Counted(upload, _) = out.into_inner().map_err(|e| failed(e.into_error()))?;
        let length = written.load(Ordering::Relaxed);
        Ok(FinishedManifest { archive, id, upload, digest, blocks, length })
    }
}

/// A manifest that is written, and not published. Dropped, it leaves nothing.
pub struct FinishedManifest {
    archive: Archive,
    id: ManifestId,
    upload: Box<dyn Upload>,
    digest: Digest,
    blocks: Vec<Block>,
    length: u64,
}

impl FinishedManifest {
    /// Publishes it: first a manifest that it replaces is kept in the trash, unless it says the same, then that and
    /// everything that the new one names is made durable, then it is made visible. Returns its digest and length.
    ///
    /// # Errors
    /// [`ArchiveError`]; then it is not visible, or was published whole and only the report of it failed.
    pub fn publish(self, now: Timestamp) -> Result<(Digest, u64), ArchiveError> {
        if !self.archive.says_the_same(&self.id, &self.blocks) {
            self.archive.keep_replaced(&self.id, now)?;
        }
        let Self { archive, id, upload, digest, length, .. } = self;
        archive.store.sync()?;
        upload.commit(&id.key())?;
        archive.store.sync()?;
        Ok((digest, length))
    }
}

fn write_error(path: &str, error: io::Error) -> ArchiveError {
    match error.downcast::<FormatError>() {
        Ok(source) => ArchiveError::Format { path: path.to_owned(), source },
        Err(source) => StoreError { operation: StoreOperation::Write, path: path.to_owned(), source }.into(),
    }
}

impl Archive {
    /// Publishes a manifest out of the trash; one that it replaces is copied there first. What it names must have been
    /// looked at.
    ///
    /// # Errors
    /// [`ArchiveError::Store`], and whether it may be published all the same.
    pub fn republish(&self, trashed: &Trashed, now: Timestamp) -> Result<(), (ArchiveError, bool)> {
        let id = &trashed.manifest.id;
        let before = self.keep_replaced(id, now).and_then(|()| Ok(self.store.sync()?));
        before.map_err(|error| (error, false))?;
        let renamed = self.store.rename(&trashed.key, &id.key());
        renamed.map_err(|error| {
            let is_done = !error.is_refused();
            (error.into(), is_done)
        })?;
        self.store.sync().map_err(|error| (error.into(), true))
    }

    /// Whether the manifest that stands at `id` says the same as one with these blocks, but for when it was made.
    fn says_the_same(&self, id: &ManifestId, blocks: &[Block]) -> bool {
        let told = |blocks: &[Block]| -> Vec<Block> {
            blocks.iter().filter(|block| block.section != Section::Summary).copied().collect()
        };
        // One that cannot be read is kept.
        self.open_manifest(id).is_ok_and(|old| told(old.reader().blocks()) == told(blocks))
    }

    /// Keeps a manifest that is about to be replaced in the trash: by another name where the storage has such, else as a
    /// copy, so that there is no moment without one.
    fn keep_replaced(&self, id: &ManifestId, now: Timestamp) -> Result<(), ArchiveError> {
        for place in self.trash_places(now, |day| id.key_below(day))? {
            match self.store.link(&id.key(), &place) {
                Ok(true) => break,
                Ok(false) => return self.copy_replaced(id, now),
                Err(e) if e.is_not_found() => break,
                Err(e) if e.is_taken() => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn copy_replaced(&self, id: &ManifestId, now: Timestamp) -> Result<(), ArchiveError> {
        let old = match self.store.open(&id.key()) {
            Err(e) if e.is_not_found() || e.is_no_file() => return Ok(()),
            old => old?,
        };
        let place = self.trash_place(now, |day| id.key_below(day))?;
        let mut copy = self.store.create()?;
        let failed = |operation, key: &Key, e| StoreError::new(operation, &self.store.location(), key, e);
        let source = id.key();
        let (mut at, length) = (0, old.length());
        let mut buffer = vec![0; (256 << 10).min(length as usize)];
        while at < length {
            let part = buffer.len().min((length - at) as usize);
            let part = buffer.get_mut(..part).unwrap_or_default();
            old.read_exact_at(part, at).map_err(|e| failed(StoreOperation::Read, &source, e))?;
            copy.write_all(part).map_err(|e| failed(StoreOperation::Write, &place, e))?;
            at += part.len() as u64;
        }
        Ok(copy.commit(&place)?)
    }
}

/// How often to look for what seems to be nowhere.
const LOOKS: u32 = 3;

/// Looks at `objects/`, and brings back from the trash what is needed and not there: before publishing, so that a
/// manifest names nothing new that is not there, and after it, since a gc that had not seen the manifest may have moved objects
/// meanwhile. Returns how many objects were brought back.
///
/// # Errors
/// [`ArchiveError::Vanished`] when something is in neither place.
pub fn look_again(archive: &Archive, needed: &[ObjectRow]) -> Result<u64, ArchiveError> {
    for _ in 1..LOOKS {
        match look_once(archive, needed) {
            // A gc may have carried an object from where we were about to look to where we had looked.
            Err(ArchiveError::Vanished { .. }) => {}
            looked => return looked,
        }
    }
    look_once(archive, needed)
}

fn look_once(archive: &Archive, needed: &[ObjectRow]) -> Result<u64, ArchiveError> {
    let listing = archive.list_objects()?;
    let doubtful: Vec<&ObjectRow> = needed.iter().filter(|row| !listing.has(row)).collect();
    if doubtful.is_empty() {
        return Ok(0);
    }
    let trash = Trash::list(archive)?;
    let mut reader = ObjectReader::prepared(archive)?;
    let (mut missing, mut brought_back) = (Vec::new(), 0);
    for row in doubtful {
        // Another run may have stored the same chunk at another level: its file has another length and is as good.
        match reader.intact(&row.id, row.chunk_length) {
            Ok(_) => continue,
            // Whether it is whole cannot be told: it stays where it is.
            Err(damage) if !damage.is_verdict() => return Err(ArchiveError::Object { id: row.id, damage }),
            Err(_) => {}
        }
        if archive.bring_back(&row.id, row.chunk_length, &trash, &mut reader)? {
            brought_back += 1;
        } else {
            missing.push(row.id);
        }
    }
    archive.store.sync()?;
    match missing.first() {
        Some(&example) => Err(ArchiveError::Vanished { missing: missing.len(), example }),
        None => Ok(brought_back),
    }
}
