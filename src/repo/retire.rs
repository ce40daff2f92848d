//! Moving what nothing references into the trash, and emptying that: the only places that delete.

use super::trash::day_of;
use super::{Archive, Listing, ManifestId, ManifestRef, ObjectReader, RepoError, Trash, layout};
use crate::model::{ObjectId, Observer, PvcName, Timestamp, Week};
use crate::store::{Item, ItemKind, Key, StoreOperation};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How to collect garbage.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Days that retired files stay in the trash.
    pub trash_days: u32,
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
    /// It was asked to stop before it was through.
    pub interrupted: bool,
}

/// Retires the objects that no manifest references, and empties the trash of what is old and still unreferenced. Asked
/// to stop, it does so in a state like any other. `listed` are the manifests as they were a moment ago.
///
/// # Errors
/// [`RepoError`]. A manifest that cannot be read stops it before anything is moved: it could need anything.
pub fn collect(
    archive: &Archive,
    listed: &[ManifestRef],
    options: GcOptions,
    observer: &dyn Observer,
) -> Result<Collected, RepoError> {
    archive.check_weeks()?;
    let (mut live, mut known) = (Live::new(), HashSet::new());
    add_live(archive, listed, &mut known, &mut live)?;
    let mut gc = Gc { archive, options, observer, report: Collected::default() };
    let listing = archive.list_objects()?;
    archive.check_manifests(listed, &listing)?;
    match gc.retire(&listing, &live) {
        // New names take room, which old trash may give. A sync that failed is never tried again.
        Err(RepoError::Store(e)) if e.is_full() && e.operation == StoreOperation::Rename => {
            let old = gc.old_days()?;
            gc.empty(&old, &live)?;
            gc.retire(&listing, &live)?;
        }
        retired => retired?,
    }
    let old = gc.old_days()?;
    if gc.report.retired > 0 || !old.is_empty() {
        // What was published since we looked may need what we moved, or are about to delete.
        add_live(archive, &archive.manifests()?, &mut known, &mut live)?;
    }
    if !options.dry_run {
        let there = if gc.report.retired > 0 { archive.list_objects()? } else { listing };
        gc.report.brought_back = bring_back_missing(archive, &live, &there)?;
        archive.store.sync()?;
    }
    gc.report.live = live.len() as u64;
    gc.empty(&old, &live)?;
    if !options.dry_run {
        archive.store.sync()?;
    }
    Ok(gc.report)
}

/// The objects that manifests reference, with their chunks' lengths.
type Live = HashMap<ObjectId, u32>;

/// Adds what all manifests need that were listed and are not `known` yet.
fn add_live(
    archive: &Archive,
    listed: &[ManifestRef],
    known: &mut HashSet<ManifestRef>,
    live: &mut Live,
) -> Result<(), RepoError> {
    for manifest in listed {
        if known.contains(manifest) {
            continue;
        }
        // Retired since it was listed: its objects may go.
        let Some(opened) = archive.open_listed(&manifest.id)? else { continue };
        live.extend(opened.objects()?.iter().map(|row| (row.id, row.chunk_length)));
        known.insert(manifest.clone());
    }
    Ok(())
}

fn bring_back_missing(archive: &Archive, live: &Live, there: &Listing) -> Result<u64, RepoError> {
    let mut missing: Vec<_> = live.iter().filter(|(id, _)| there.stored_length(id).is_none()).collect();
    missing.sort_unstable();
    if missing.is_empty() {
        return Ok(0);
    }
    let trash = Trash::list(archive)?;
    let mut reader = ObjectReader::prepared(archive)?;
    let mut brought_back = 0;
    for (id, chunk_length) in missing {
        brought_back += u64::from(archive.bring_back(id, *chunk_length, &trash, &mut reader)?);
    }
    Ok(brought_back)
}

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

    /// Moves what nothing references to the trash.
    fn retire(&mut self, listing: &Listing, live: &Live) -> Result<(), RepoError> {
        let today = self.archive.trash_folders(self.options.now)?.next().unwrap_or_else(layout::trash);
        let mut unreferenced: Vec<_> = listing.iter().filter(|(id, _)| !live.contains_key(*id)).collect();
        unreferenced.sort_unstable();
        (self.report.retired, self.report.retired_bytes) = (0, 0);
        for (id, length) in unreferenced {
            if self.is_asked_to_stop() {
                break;
            }
            if !self.options.dry_run {
                match self.archive.store.rename(&layout::object(id), &layout::object_below(&today, id)) {
                    // Another gc was faster.
                    Err(e) if e.is_not_found() => {}
                    moved => moved?,
                }
            }
            self.report.retired += 1;
            self.report.retired_bytes += length;
        }
        Ok(())
    }

    /// The days whose trash is old enough to go.
    fn old_days(&self) -> Result<Vec<Key>, RepoError> {
        // A file that was retired just before midnight may be needed by a run that is publishing now.
        let since = self.options.now.plus_seconds(-86_400 * i64::from(self.options.trash_days) - 3600);
        let days = self.archive.trash_days()?.into_iter();
        Ok(days.filter(|(day, _)| *day < day_of(since)).map(|(_, folder)| folder).collect())
    }

    /// Deletes what has been in the trash for long.
    fn empty(&mut self, old: &[Key], live: &Live) -> Result<(), RepoError> {
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
    fn day(&mut self, folder: &Key, live: &Live) -> Result<(), RepoError> {
        let mut reader = ObjectReader::prepared(self.archive)?;
        let mut is_empty = true;
        for item in self.archive.store.list(folder)? {
            let mut is_replaced =
                |id: &ObjectId| live.get(id).is_some_and(|length| reader.check(id, *length).is_ok());
            let mut spared: Box<dyn FnMut(&ObjectId) -> bool + '_> = match item.name.as_str() {
                layout::OBJECTS => Box::new(|id| live.contains_key(id)),
                layout::DAMAGED => Box::new(|id| live.contains_key(id) && !is_replaced(id)),
                _ => Box::new(|_| false),
            };
            is_empty &= self.item(&folder.child(&item.name), &item, &mut *spared)?;
        }
        self.remove_empty(folder, is_empty)
    }

    /// Deletes a file, or what is below a folder, and the folder once it is empty. Returns whether it is gone.
    fn item(
        &mut self,
        key: &Key,
        item: &Item,
        spared: &mut dyn FnMut(&ObjectId) -> bool,
    ) -> Result<bool, RepoError> {
        if self.is_asked_to_stop() {
            return Ok(false);
        }
        match item.kind {
            ItemKind::Folder => {
                let mut is_empty = true;
                for item in self.archive.store.list(key)? {
                    is_empty &= self.item(&key.child(&item.name), &item, spared)?;
                }
                self.remove_empty(key, is_empty)?;
                Ok(is_empty)
            }
            ItemKind::File { .. } if layout::parse_object(&item.name).is_some_and(|id| spared(&id)) => {
                Ok(false)
            }
            ItemKind::File { .. } | ItemKind::Other => {
                self.report.deleted += 1;
                self.report.deleted_bytes += item.file_length().unwrap_or(0);
                if !self.options.dry_run {
                    self.archive.store.delete(key)?;
                }
                Ok(true)
            }
        }
    }

    fn remove_empty(&self, folder: &Key, is_empty: bool) -> Result<(), RepoError> {
        if is_empty && !self.options.dry_run {
            self.archive.store.delete(folder)?;
        }
        Ok(())
    }
}

/// A manifest that retention moved to the trash, or in a dry run would move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retired {
    /// Which one.
    pub id: ManifestId,
}

/// What retention keeps.
#[derive(Clone, Copy, Debug)]
pub struct Retention<'a> {
    /// So many complete manifests of each pvc.
    pub keep: usize,
    /// Only these pvcs are looked at; all where none are given.
    pub pvcs: Option<&'a [PvcName]>,
    /// This week stays, however old it is: it was published just now.
    pub never: Option<Week>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Keeps the newest complete manifests of each pvc and moves older ones to the trash, and with them partial manifests
/// that are older than all that is kept, or that a complete one of their week has made needless. Asked to stop, it
/// leaves the rest to the next run. `listed` are the manifests as they were a moment ago.
///
/// # Errors
/// [`RepoError::Store`].
pub fn retain(
    archive: &Archive,
    listed: &[ManifestRef],
    retention: Retention<'_>,
    now: Timestamp,
    observer: &dyn Observer,
) -> Result<Vec<Retired>, RepoError> {
    let Retention { keep, pvcs, never, dry_run } = retention;
    let mut by_pvc: BTreeMap<PvcName, Vec<ManifestId>> = BTreeMap::new();
    for ManifestRef { id, .. } in listed {
        if pvcs.is_none_or(|pvcs| pvcs.contains(&id.pvc)) {
            by_pvc.entry(id.pvc.clone()).or_default().push(id.clone());
        }
    }
    let mut retired = Vec::new();
    for ids in by_pvc.into_values() {
        let complete: Vec<_> = ids.iter().filter(|id| !id.partial).map(|id| id.week).collect();
        let first_kept = complete.iter().rev().take(keep).next_back().copied();
        // Of a pvc without a complete manifest nothing is old: a partial one is all there is.
        let Some(first_kept) = first_kept else { continue };
        for id in ids {
            let needless = id.partial && complete.contains(&id.week);
            if (id.week < first_kept && Some(id.week) != never) || needless {
                retired.push(Retired { id });
            }
        }
    }
    if dry_run {
        return Ok(retired);
    }
    let mut done = Vec::new();
    for Retired { id } in retired {
        if observer.cancelled() {
            break;
        }
        let place = archive.trash_place(now, |day| id.key_below(day))?;
        match archive.store.rename(&id.key(), &place) {
            Err(e) if e.is_not_found() => {}
            moved => moved?,
        }
        let week = id.key().parent();
        if archive.store.list(&week)?.is_empty() {
            // Another run may have published into it since; then it stays.
            let _ = archive.store.delete(&week);
        }
        done.push(Retired { id });
    }
    archive.store.sync()?;
    Ok(done)
}
