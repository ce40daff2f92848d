//! Moving what nothing references into the trash, and emptying that: the only places that delete.

use super::trash::day_of;
use super::{Archive, ManifestId, ManifestRef, RepoError, Trash, layout};
use crate::model::{ObjectId, PvcName, Timestamp, Week};
use crate::store::{ItemKind, Key};
use std::collections::{BTreeMap, HashSet};

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
}

/// Retires the objects that no manifest references, and empties the trash of what is old and still unreferenced.
///
/// # Errors
/// [`RepoError`]. A manifest that cannot be read stops it before anything is moved: it could need anything.
pub fn collect(archive: &Archive, options: GcOptions) -> Result<Collected, RepoError> {
    let (mut live, mut known) = (HashSet::new(), HashSet::new());
    add_live(archive, &mut known, &mut live)?;
    let mut report = Collected::default();
    let today = layout::trash_day(day_of(options.now), 1);
    let listing = archive.list_objects()?;
    for (id, length) in listing.iter().filter(|(id, _)| !live.contains(*id)) {
        report.retired += 1;
        report.retired_bytes += length;
        if !options.dry_run {
            match archive.store.rename(&layout::object(id), &layout::object_below(&today, id)) {
                // Another gc was faster.
                Err(e) if e.is_not_found() => {}
                moved => moved?,
            }
        }
    }
    // What was published since we looked may need what we moved.
    add_live(archive, &mut known, &mut live)?;
    if !options.dry_run {
        let there = if report.retired > 0 { archive.list_objects()? } else { listing };
        let missing: Vec<&ObjectId> = live.iter().filter(|id| there.stored_length(id).is_none()).collect();
        let trash = if missing.is_empty() { Trash::default() } else { Trash::list(archive)? };
        for id in missing {
            if !trash.copies(id).is_empty() && archive.bring_back(id, &trash)? {
                report.brought_back += 1;
            }
        }
        archive.store.sync()?;
    }
    report.live = live.len() as u64;
    empty(archive, &live, options, &mut report)?;
    if !options.dry_run {
        archive.store.sync()?;
    }
    Ok(report)
}

/// Adds what all manifests need that are published now and not `known` yet.
fn add_live(
    archive: &Archive,
    known: &mut HashSet<ManifestRef>,
    live: &mut HashSet<ObjectId>,
) -> Result<(), RepoError> {
    for manifest in archive.manifests()? {
        if known.contains(&manifest) {
            continue;
        }
        match archive.open_manifest(&manifest.id).and_then(|m| m.objects()) {
            Ok(table) => {
                live.extend(table.iter().map(|row| row.id));
                known.insert(manifest);
            }
            // Retired since it was listed: its objects may go.
            Err(RepoError::Store(e)) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Deletes what has been in the trash for long, but no object that a manifest names.
fn empty(
    archive: &Archive,
    live: &HashSet<ObjectId>,
    options: GcOptions,
    report: &mut Collected,
) -> Result<(), RepoError> {
    let oldest_kept = day_of(options.now.plus_seconds(-86_400 * i64::from(options.trash_days)));
    for (_, folder) in archive.trash_days()?.iter().filter(|(day, _)| *day < oldest_kept) {
        empty_folder(archive, folder, live, options.dry_run, report)?;
    }
    Ok(())
}

/// Deletes what is below `folder`, and the folder once it is empty. Returns whether it is.
fn empty_folder(
    archive: &Archive,
    folder: &Key,
    live: &HashSet<ObjectId>,
    dry_run: bool,
    report: &mut Collected,
) -> Result<bool, RepoError> {
    let mut is_empty = true;
    for item in archive.store.list(folder)? {
        let key = folder.child(&item.name);
        match item.kind {
            ItemKind::Folder => is_empty &= empty_folder(archive, &key, live, dry_run, report)?,
            ItemKind::File { .. }
                if layout::parse_object(&item.name).is_some_and(|id| live.contains(&id)) =>
            {
                is_empty = false;
            }
            ItemKind::File { length, .. } => {
                report.deleted += 1;
                report.deleted_bytes += length;
                if !dry_run {
                    archive.store.delete(&key)?;
                }
            }
        }
    }
    if is_empty && !dry_run {
        archive.store.delete(folder)?;
    }
    Ok(is_empty)
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

/// Keeps the newest complete manifests of each pvc and moves older ones to the trash, and with them partial manifests that are older than all that is kept, or that a complete one of their week has made
/// needless.
///
/// # Errors
/// [`RepoError::Store`].
pub fn retain(
    archive: &Archive,
    retention: Retention<'_>,
    now: Timestamp,
) -> Result<Vec<Retired>, RepoError> {
    let Retention { keep, pvcs, never, dry_run } = retention;
    let mut by_pvc: BTreeMap<PvcName, Vec<ManifestId>> = BTreeMap::new();
    for manifest in archive.manifests()? {
        if pvcs.is_none_or(|pvcs| pvcs.contains(&manifest.id.pvc)) {
            by_pvc.entry(manifest.id.pvc.clone()).or_default().push(manifest.id);
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
    if !dry_run {
        for Retired { id } in &retired {
            let place = archive.trash_place(id, now)?;
            match archive.store.rename(&id.key(), &place) {
                Err(e) if e.is_not_found() => {}
                moved => moved?,
            }
            let week = id.key().parent();
            if archive.store.list(&week)?.is_empty() {
                // Another run may have published into it since; then it stays.
                let _ = archive.store.delete(&week);
            }
        }
        archive.store.sync()?;
    }
    Ok(retired)
}
