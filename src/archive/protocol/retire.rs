//! Moving objects that nothing references into the trash, and emptying that: the only places that delete.

use crate::archive::error::ArchiveError;
use crate::archive::id::ManifestRef;
use crate::archive::layout::{self, ObjectName};
use crate::archive::listing::Listing;
use crate::archive::manifests::Weeks;
use crate::archive::objects::{ObjectMap, ObjectReader};
use crate::archive::open::Archive;
use crate::archive::trash::{Trash, day_of};
use crate::model::{ChunkId, ObjectId, Observer, Timestamp};
use crate::store::{Item, ItemKind, Key, StoreError, StoreOperation};
use std::borrow::Cow;
use std::collections::HashSet;

/// How to collect garbage.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Days that retired files stay in the trash.
    pub trash_days: u32,
    /// Empty the whole trash, of what is retired now too. Only for who has the store alone.
    pub empty_trash: bool,
    /// The time now.
    pub now: Timestamp,
}

/// What a collection did, or in a dry run would do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Collected {
    /// Objects that manifests reference.
    pub live: u64,
    /// Objects moved to the trash.
    pub retired: u64,
    /// Bytes of their files.
    pub retired_bytes: u64,
    /// Objects moved back from the trash, because a manifest needs them.
    pub brought_back: u64,
    /// Files deleted from the trash.
    pub deleted: u64,
    /// Bytes of them.
    pub deleted_bytes: u64,
    /// Files and directories that the storage did not let us move or delete.
    pub stuck: u64,
    /// It was asked to stop before it was through.
    pub interrupted: bool,
}

/// Retires the objects that no manifest references, and empties the trash of what is old and still unreferenced. Asked
/// to stop, it does so in a state like any other. `seen` is a look at the weeks of a moment ago.
///
/// # Errors
/// [`ArchiveError`]. A manifest that cannot be read stops it before anything is moved: it could need anything. A foreign copy
/// of one does not, but what that needs stays.
pub fn collect(
    archive: &Archive,
    seen: &Weeks,
    options: GcOptions,
    observer: &dyn Observer,
) -> Result<Collected, ArchiveError> {
    // It may be old: what is not needed now is moved if it is still there, and what has come since waits for the next gc.
    let listing = archive.last_listing()?;
    archive.check_manifests(&seen.manifests, &listing)?;
    let mut live = Live { rows: ObjectMap::new(listing.clone()), foreign: HashSet::new() };
    let mut known = HashSet::new();
    add_live(archive, seen, &mut known, &mut live, observer)?;
    let mut gc = Gc { archive, options, observer, report: Collected::default() };
    match gc.retire(&listing, &live, seen) {
        // New names take room, which old trash may give. A sync that failed is never tried again.
        Err(ArchiveError::Store(e)) if e.is_full() && e.operation != StoreOperation::Sync => {
            let old = gc.old_days()?;
            gc.empty(&old, &live, seen)?;
            gc.retire(&listing, &live, seen)?;
        }
        retired => retired?,
    }
    let old = gc.old_days()?;
    let mut seen = Cow::Borrowed(seen);
    if gc.report.retired > 0 || !old.is_empty() {
        // What was published since we looked may need what we moved, or are about to delete.
        seen = Cow::Owned(archive.weeks()?);
        add_live(archive, &seen, &mut known, &mut live, observer)?;
    }
    if !options.dry_run {
        if gc.report.retired > 0 || live.lacks(&listing).next().is_some() {
            gc.bring_back_missing(&live, &archive.list_objects()?)?;
        }
        archive.store.sync()?;
    }
    gc.report.live = live.rows.iter().filter(|(_, reference)| reference.is_referenced).count() as u64;
    // What was retired now has made another day's folder.
    let old = if options.empty_trash { gc.old_days()? } else { old };
    gc.empty(&old, &live, &seen)?;
    if options.empty_trash && options.dry_run {
        gc.report.deleted += gc.report.retired;
        gc.report.deleted_bytes += gc.report.retired_bytes;
    }
    if !options.dry_run {
        archive.store.sync()?;
    }
    Ok(gc.report)
}

/// The objects that manifests reference.
struct Live {
    /// Of all that are there or referenced.
    rows: ObjectMap<Reference>,
    /// What foreign copies of manifests need: it stays where it is, in the trash too.
    foreign: HashSet<ObjectId>,
}

/// Whether manifests reference an object.
#[derive(Clone, Copy, Default)]
struct Reference {
    is_referenced: bool,
    /// The length of its chunk, 0 where it takes a key to know.
    chunk_length: u32,
}

impl Live {
    /// Whether an object is needed. Every file of a chunk is that a manifest needs: it may have to stand in for another.
    fn has(&self, id: &ObjectId) -> bool {
        self.length(id).is_some() || self.foreign.contains(id) || self.needs_chunk(id.chunk())
    }

    fn needs_chunk(&self, chunk: &ChunkId) -> bool {
        let needed = |number: u32| self.rows.get(number).is_some_and(|reference| reference.is_referenced);
        self.rows.listed_of(chunk).any(needed) || self.rows.other(chunk, |_| true).is_some()
    }

    /// The length of its chunk, if a manifest references it.
    fn length(&self, id: &ObjectId) -> Option<u32> {
        self.rows.of(id).filter(|reference| reference.is_referenced).map(|reference| reference.chunk_length)
    }

    /// What manifests reference and a look at the objects did not show.
    fn lacks(&self, there: &Listing) -> impl Iterator<Item = (ObjectId, u32)> {
        let lacking = |(id, reference): &(ObjectId, &Reference)| {
            reference.is_referenced && there.stored_length(id).is_none()
        };
        self.rows.iter().filter(lacking).map(|(id, reference)| (id, reference.chunk_length))
    }
}

/// Adds what all manifests need that were seen and are not `known` yet.
fn add_live(
    archive: &Archive,
    seen: &Weeks,
    known: &mut HashSet<ManifestRef>,
    live: &mut Live,
    observer: &dyn Observer,
) -> Result<(), ArchiveError> {
    let is_first = known.is_empty();
    for manifest in &seen.manifests {
        if known.contains(manifest) {
            continue;
        }
        match archive.open_listed(&manifest.id) {
            // Retired since it was listed: its objects may go.
            Ok(None) => continue,
            Ok(Some(opened)) => {
                opened.each_object(|row| {
                    let number = live.rows.add(&row.id);
                    if let Some(reference) = live.rows.get_mut(number) {
                        let chunk_length = row.chunk_length.max(reference.chunk_length);
                        *reference = Reference { is_referenced: true, chunk_length };
                    }
                })?;
            }
            Err(error @ ArchiveError::Format { .. }) => {
                match archive.as_foreign(&manifest.id, &seen.manifests)? {
                    Some(foreign) => {
                        observer.warn(&foreign.to_string());
                        live.foreign.extend(foreign.objects);
                    }
                    None => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
        known.insert(manifest.clone());
    }
    for foreign in archive.foreign_names(seen)? {
        if is_first {
            observer.warn(&foreign.to_string());
        }
        live.foreign.extend(foreign.objects);
    }
    Ok(())
}

/// So many files that cannot be moved are named.
const MAX_STUCK_TOLD: u64 = 20;

/// A collection under way.
struct Gc<'a> {
    archive: &'a Archive,
    options: GcOptions,
    observer: &'a dyn Observer,
    report: Collected,
}

impl Gc<'_> {
    fn is_asked_to_stop(&mut self) -> bool {
        self.report.interrupted |= self.observer.cancelled();
        self.report.interrupted
    }

    /// What came of a move or deletion. Where the storage does not let this one file go, that is told, and the rest goes on.
    fn is_done(&mut self, done: Result<(), StoreError>) -> Result<bool, ArchiveError> {
        match done {
            Err(e) if e.is_refused() => {
                self.report.stuck += 1;
                self.warn(&format!("{e}; the rest goes on"));
                Ok(false)
            }
            done => Ok(done.map(|()| true)?),
        }
    }

    /// Tells of what is stuck; the first ones tell what is the matter.
    fn warn(&self, message: &str) {
        if self.report.stuck <= MAX_STUCK_TOLD {
            self.observer.warn(message);
        }
    }

    fn bring_back_missing(&mut self, live: &Live, there: &Listing) -> Result<(), ArchiveError> {
        let archive = self.archive;
        let mut missing: Vec<_> = live.lacks(there).collect();
        missing.sort_unstable();
        if missing.is_empty() {
            return Ok(());
        }
        let trash = Trash::list(archive)?;
        let mut reader = ObjectReader::prepared(archive)?;
        for (id, chunk_length) in missing {
            match archive.bring_back(&id, chunk_length, &trash, &mut reader) {
                Ok(is_back) => self.report.brought_back += u64::from(is_back),
                // Every reader finds it in the trash.
                Err(ArchiveError::Store(e)) => drop(self.is_done(Err(e))?),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves what nothing references to the trash.
    fn retire(&mut self, listing: &Listing, live: &Live, seen: &Weeks) -> Result<(), ArchiveError> {
        let unreferenced: Vec<_> = listing.files().filter(|file| !live.has(&file.name.id)).collect();
        (self.report.retired, self.report.retired_bytes, self.report.stuck) = (0, 0, 0);
        if unreferenced.is_empty() {
            return Ok(());
        }
        seen.check()?;
        let today = self.archive.trash_folders(self.options.now)?.next().unwrap_or_else(layout::trash);
        let mut reader = ObjectReader::prepared(self.archive)?;
        for file in unreferenced {
            if self.is_asked_to_stop() {
                break;
            }
            if !self.options.dry_run && !self.retire_one(&file.name, &today, &mut reader)? {
                continue;
            }
            self.report.retired += 1;
            self.report.retired_bytes += u64::from(file.length);
        }
        Ok(())
    }

    /// Moves an object to this folder of the trash. Returns whether it is gone from its place.
    fn retire_one(
        &mut self,
        name: &ObjectName,
        folder: &Key,
        reader: &mut ObjectReader,
    ) -> Result<bool, ArchiveError> {
        let (object, place, id) = (name.key(), name.key_below(folder), &name.id);
        let retired = self.archive.store.retire(&object, &place, &mut |copy| reader.holds(copy, id).is_ok());
        match retired {
            // Another gc was faster.
            Err(e) if e.is_not_found() => Ok(true),
            Ok(false) => {
                self.report.stuck += 1;
                self.warn(&format!(
                    "object {id} is not needed, and stays in objects/: its copy in the trash is not whole"
                ));
                Ok(false)
            }
            moved => self.is_done(moved.map(drop)),
        }
    }

    /// The days whose trash is old enough to go.
    fn old_days(&self) -> Result<Vec<Key>, ArchiveError> {
        // A file that was retired just before midnight may be needed by a run that is publishing now.
        let since = self.options.now.plus_seconds(-86_400 * i64::from(self.options.trash_days) - 3600);
        let days = self.archive.trash_days()?.into_iter();
        let is_old = |day| self.options.empty_trash || day < day_of(since);
        Ok(days.filter(|(day, _)| is_old(*day)).map(|(_, folder)| folder).collect())
    }

    /// Deletes what has been in the trash for long.
    fn empty(&mut self, old: &[Key], live: &Live, seen: &Weeks) -> Result<(), ArchiveError> {
        if !old.is_empty() {
            seen.check()?;
        }
        for folder in old {
            if self.is_asked_to_stop() {
                break;
            }
            self.day(folder, live)?;
        }
        Ok(())
    }

    /// Empties a day's folder, but for objects that a manifest names. Of those that were found damaged these stay too, as
    /// long as no whole one stands in their place: what could not be read when it was set aside may be whole.
    fn day(&mut self, folder: &Key, live: &Live) -> Result<(), ArchiveError> {
        let mut reader = ObjectReader::prepared(self.archive)?;
        let mut is_empty = true;
        for item in self.archive.store.list(folder)? {
            let mut is_replaced =
                |id: &ObjectId| live.length(id).is_some_and(|length| reader.intact(id, length).is_ok());
            let mut spared: Box<dyn FnMut(&ObjectId) -> bool + '_> = match item.name.as_str() {
                layout::OBJECTS => Box::new(|id| live.has(id)),
                layout::DAMAGED => Box::new(|id| live.has(id) && !is_replaced(id)),
                _ => Box::new(|_| false),
            };
            is_empty &= self.item(&folder.child(&item.name), &item, &mut *spared)?;
        }
        self.remove_empty(folder, is_empty).map(drop)
    }

    /// Deletes a file, or what is below a folder, and the folder once it is empty. Returns whether it is gone.
    fn item(
        &mut self,
        key: &Key,
        item: &Item,
        spared: &mut dyn FnMut(&ObjectId) -> bool,
    ) -> Result<bool, ArchiveError> {
        if self.is_asked_to_stop() {
            return Ok(false);
        }
        match item.kind {
            ItemKind::Folder => {
                let mut is_empty = true;
                for item in self.archive.store.list(key)? {
                    is_empty &= self.item(&key.child(&item.name), &item, spared)?;
                }
                self.remove_empty(key, is_empty)
            }
            ItemKind::File { .. }
                if layout::parse_object(&item.name).is_some_and(|object| spared(&object.id)) =>
            {
                Ok(false)
            }
            ItemKind::File { .. } | ItemKind::Other => {
                if !self.options.dry_run {
                    let deleted = self.archive.store.delete(key);
                    if !self.is_done(deleted)? {
                        return Ok(false);
                    }
                }
                self.report.deleted += 1;
                self.report.deleted_bytes += item.file_length().unwrap_or(0);
                Ok(true)
            }
        }
    }

    /// Returns whether the directory is gone.
    fn remove_empty(&mut self, folder: &Key, is_empty: bool) -> Result<bool, ArchiveError> {
        if !is_empty || self.options.dry_run {
            return Ok(is_empty);
        }
        let deleted = self.archive.store.delete(folder);
        self.is_done(deleted)
    }
}
