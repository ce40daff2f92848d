//! Making a manifest visible: the only commit point.

use crate::archive::error::ArchiveError;
use crate::archive::id::ManifestId;
use crate::archive::objects::ObjectReader;
use crate::archive::open::Archive;
use crate::archive::trash::{Trash, Trashed};
use crate::format::{Block, FormatError, ManifestWriter, Section, Written};
use crate::model::{Digest, Entry, LeftOut, ObjectRow, Owners, Problem, Summary, Timestamp};
use crate::store::{Over, StoreError, StoreOperation, Upload, Version};
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
        let upload = Counted(archive.store.upload()?, Arc::clone(&written));
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
        objects: impl Iterator<Item = ObjectRow> + Clone,
        summary: &Summary,
    ) -> Result<FinishedManifest, ArchiveError> {
        let Self { archive, path, mut writer, written } = self;
        writer.lineage(archive.lineage(&id.pvc)?);
        let failed = |e| write_error(&path, e);
        let Written { out, digest, blocks, same } =
            writer.finish(owners, objects, summary).map_err(failed)?;
        let Counted(upload, _) = out.into_inner().map_err(|e| failed(e.into_error()))?;
        let length = written.load(Ordering::Relaxed);
        Ok(FinishedManifest { archive, id, upload, digest, blocks, same, length })
    }
}

/// A manifest that is written, and not published. Dropped, it leaves nothing.
pub struct FinishedManifest {
    archive: Archive,
    id: ManifestId,
    upload: Box<dyn Upload>,
    digest: Digest,
    blocks: Vec<Block>,
    /// In a sealed store, where the blocks of two manifests that say the same differ.
    same: Option<[u8; 32]>,
    length: u64,
}

impl FinishedManifest {
    /// Which one it is to be.
    pub fn id(&self) -> &ManifestId {
        &self.id
    }

    /// Publishes it: first a manifest that it replaces is kept in the trash, unless it says the same, then that and
    /// everything that the new one names is made durable, then it is made visible. Returns its digest and length.
    ///
    /// # Errors
    /// [`ArchiveError`]; then it is not visible, or was published whole and only the report of it failed.
    pub fn publish(self, now: Timestamp) -> Result<(Digest, u64), ArchiveError> {
        let Self { archive, id, mut upload, digest, blocks, same, length } = self;
        archive.replace(|archive| {
            let over = match archive.says_the_same(&id, &blocks, same) {
                Some(version) => Over::This(version),
                None => archive.keep_replaced(&id, now)?,
            };
            archive.store.sync()?;
            Ok(upload.publish(&id.key(), &over)?)
        })?;
        archive.store.sync()?;
        Ok((digest, length))
    }
}

fn write_error(path: &str, error: io::Error) -> ArchiveError {
    match error.downcast::<FormatError>() {
        Ok(source) => ArchiveError::Format { path: path.to_owned(), source },
        Err(source) => StoreError::at(StoreOperation::Write, path.to_owned(), source).into(),
    }
}

impl Archive {
    /// Publishes a manifest out of the trash; one that it replaces is kept there. What it names must have been looked at.
    ///
    /// # Errors
    /// [`ArchiveError::Store`], and whether it may be published all the same.
    pub fn republish(&self, trashed: &Trashed, now: Timestamp) -> Result<(), (ArchiveError, bool)> {
        let id = &trashed.manifest.id;
        let mut may_be_published = false;
        let replaced = self.replace(|archive| {
            let over = archive.keep_replaced(id, now)?;
            archive.store.sync()?;
            let published = archive.store.republish(&trashed.key, &id.key(), &over);
            may_be_published = published.as_ref().is_err_and(|error| !error.is_refused());
            Ok(published?)
        });
        replaced.map_err(|error| (error, may_be_published))?;
        self.store.sync().map_err(|error| (error.into(), true))
    }

    /// Replaces a manifest, and once more where another run has replaced it meanwhile.
    fn replace(
        &self,
        mut attempt: impl FnMut(&Self) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        for _ in 1..LOOKS {
            match attempt(self) {
                Err(ArchiveError::Store(error)) if error.is_taken() => {}
                done => return done,
            }
        }
        attempt(self)
    }

    /// The version of the manifest that stands at `id`, if it says the same as one with these blocks, but for when it was made.
    fn says_the_same(&self, id: &ManifestId, blocks: &[Block], same: Option<[u8; 32]>) -> Option<Version> {
        let told = |blocks: &[Block]| -> Vec<Block> {
            blocks.iter().filter(|block| block.section != Section::Summary).copied().collect()
        };
        // One that cannot be read is kept.
        let stands = self.open_manifest(id).ok()?;
        let is_same = match (same, &stands.summary().head) {
            (Some(same), Some(head)) => same == head.same && self.check_reliable(&stands).is_ok(),
            (None, None) => told(stands.reader().blocks()) == told(blocks),
            _ => false,
        };
        is_same.then(|| stands.version().clone())
    }

    /// Keeps a manifest that is about to be replaced in the trash, so that there is no moment without one. Returns what may be
    /// replaced.
    fn keep_replaced(&self, id: &ManifestId, now: Timestamp) -> Result<Over, ArchiveError> {
        for place in self.trash_places(now, |day| id.key_below(day))? {
            match self.store.keep(&id.key(), &place) {
                Err(e) if e.is_taken() => {}
                kept => return Ok(kept?.into()),
            }
        }
        Ok(Over::Nothing)
    }

    /// Whether a manifest that was published just now still stands, or another of its name.
    ///
    /// # Errors
    /// [`ArchiveError::Withdrawn`] where it does not; [`ArchiveError::Store`].
    pub fn still_stands(&self, id: &ManifestId) -> Result<(), ArchiveError> {
        match self.store.is_there(&id.key())? {
            true => Ok(()),
            false => Err(ArchiveError::Withdrawn(id.clone())),
        }
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
pub fn look_again(
    archive: &Archive,
    needed: impl Iterator<Item = ObjectRow> + Clone,
) -> Result<u64, ArchiveError> {
    for _ in 1..LOOKS {
        match look_once(archive, needed.clone()) {
            // A gc may have carried an object from where we were about to look to where we had looked.
            Err(ArchiveError::Vanished { .. }) => {}
            looked => return looked,
        }
    }
    look_once(archive, needed)
}

fn look_once(archive: &Archive, needed: impl Iterator<Item = ObjectRow>) -> Result<u64, ArchiveError> {
    let listing = archive.list_objects()?;
    let doubtful: Vec<ObjectRow> = needed.filter(|row| !listing.has(row)).collect();
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
