//! Taking over weekly copies that rsync made: each becomes a manifest, and stays as it is.
//!
//! The copies of a pvc are backed up oldest first, each compared with the one before. A file that a hard link carried over
//! is the same inode, untouched: its entry is kept, so that every inode is read once. A copy of a file is read, and its
//! content found.

mod survey;

pub use survey::Surveyed;

use super::backup::{BackedUp, BackupOptions, Labels, Origin, Source, Trust, backup};
use super::clock::check_begun;
use super::{Error, Run};
use crate::archive::{Archive, ManifestId, is_own};
use crate::model::{Observer, PvcName, Shown, Week};
use crate::tree::{Farm, PassedOver, StorePlace, WeeklyCopy};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use survey::Surveying;

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The folder that has the weeks' folders.
    pub farm: PathBuf,
    /// Only these weeks; all where none are given.
    pub weeks: Vec<Week>,
    /// Only these pvcs; all where none are given.
    pub pvcs: Vec<PvcName>,
    /// Also weeks that are later than now.
    pub future: bool,
    /// Where sources were mounted, for the manifests to tell.
    pub sources: Vec<Source>,
    /// How to back each copy up. Week and origin are the copy's own. In a dry run copies are looked at, but not read.
    pub backup: BackupOptions,
    /// What the manifests say of the run; each copy has a week and an origin of its own.
    pub labels: Labels,
}

/// A copy, and what became of it.
#[derive(Debug)]
pub struct Imported {
    /// Its week.
    pub week: Week,
    /// Its source.
    pub pvc: PvcName,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a copy.
#[derive(Debug)]
pub enum Outcome {
    /// It is a manifest now.
    Done(BackedUp),
    /// The store has a complete manifest of this week and pvc, which stands.
    Kept,
    /// It cannot be imported.
    Failed(Error),
    /// It would be imported.
    Surveyed(Surveyed),
}

/// What an import came to.
#[derive(Debug)]
pub struct Import {
    /// By week, then by pvc.
    pub copies: Vec<Imported>,
    /// What in the farm is no copy.
    pub passed_over: Vec<PassedOver>,
}

/// What is to be imported, into a store that is or would be at `store`: in the same folder its own names are nothing that
/// is passed over.
///
/// # Errors
/// [`Error::Farm`] where there is nothing to import.
pub fn find(store: &Path, options: &ImportOptions) -> Result<Farm, Error> {
    let root = &options.farm;
    let bad = |reason: String| Error::Farm { path: root.clone(), reason };
    let mut farm = Farm::look(root).map_err(|(path, error)| match path == *root {
        true => bad(format!("cannot be listed: {error}")),
        false => bad(format!("cannot be imported: listing {} failed: {error}", Shown::path(&path))),
    })?;
    if StorePlace::at(store).is(root) {
        farm.passed_over.retain(|passed| !is_own(&passed.path));
    }
    let names = |farm: &Farm| {
        let weeks: BTreeSet<Week> = farm.copies.iter().map(|copy| copy.week).collect();
        let pvcs: BTreeSet<&PvcName> = farm.copies.iter().map(|copy| &copy.pvc).collect();
        let join = |names: Vec<String>| names.join(", ");
        let weeks = join(weeks.iter().map(ToString::to_string).collect());
        (weeks, join(pvcs.iter().map(ToString::to_string).collect()))
    };
    let (weeks, pvcs) = names(&farm);
    if farm.copies.is_empty() {
        let reason = "has no folders like 2025-14/html: give the folder that has the weeks' folders";
        return Err(bad(reason.to_owned()));
    }
    let wanted = |copy: &WeeklyCopy| {
        (options.weeks.is_empty() || options.weeks.contains(&copy.week))
            && (options.pvcs.is_empty() || options.pvcs.contains(&copy.pvc))
    };
    farm.copies.retain(wanted);
    if farm.copies.is_empty() {
        return Err(bad(format!("has nothing of what was asked for; it has weeks {weeks} of {pvcs}")));
    }
    Ok(farm)
}

/// Imports what was found. A copy that fails as a whole is told of in the result, and the others are imported.
///
/// # Errors
/// [`Error`] of the store. What was imported until then stays.
pub fn import(run: Run<'_>, farm: Farm, options: &ImportOptions) -> Result<Import, Error> {
    let Run { archive, observer, .. } = run;
    let Farm { copies, passed_over } = farm;
    for PassedOver { path, reason } in &passed_over {
        observer.warn(&format!("{} is passed over: {reason}", Shown::path(&options.farm.join(path))));
    }
    let known: BTreeSet<&PvcName> = copies.iter().map(|copy| &copy.pvc).collect();
    for source in options.sources.iter().filter(|source| !known.contains(&source.pvc)) {
        observer.warn(&format!("{} has nothing of source \"{}\"", Shown::path(&options.farm), source.pvc));
    }
    let published: BTreeSet<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    let mut surveying = Surveying::default();
    let mut devices = BTreeMap::new();
    let mut imported = Vec::new();
    for WeeklyCopy { week, pvc, path } in copies {
        run.go_on()?;
        if !options.future
            && let Err(error) = check_begun(archive, week, false)
        {
            imported.push(Imported { week, pvc, outcome: failed(week, error, observer)? });
            continue;
        }
        let id = ManifestId { week, pvc: pvc.clone(), partial: false };
        let is_kept = published.contains(&id) && is_whole(archive, &id, observer);
        // On another file system the same inode may be another file.
        let device = std::fs::metadata(&path).map(|m| m.dev()).ok();
        let beside = devices.insert(pvc.clone(), device) == Some(device);
        let verb = if options.backup.dry_run { "looking at" } else { "importing" };
        observer.phase(&format!("{verb} {week}/{pvc}"), None);
        let outcome = if options.backup.dry_run {
            let surveyed = surveying.survey(&pvc, &path, &options.backup.walk, observer);
            if is_kept { Outcome::Kept } else { Outcome::Surveyed(surveyed) }
        } else if is_kept {
            Outcome::Kept
        } else {
            let labels = Labels { week, ..options.labels.clone() };
            let trust = Trust { force_read: !beside, ..options.backup.trust };
            let how = BackupOptions { trust, ..options.backup.clone() };
            one(run, Source { pvc: pvc.clone(), path }, labels, &how, &options.sources)?
        };
        imported.push(Imported { week, pvc, outcome });
    }
    // Of a look that was ended early nothing is told.
    if options.backup.dry_run && observer.cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(Import { copies: imported, passed_over })
}

/// Whether a published manifest can be read to its end; one that cannot is told of, and made anew.
fn is_whole(archive: &Archive, id: &ManifestId, observer: &dyn Observer) -> bool {
    let read = archive
        .open_manifest(id)
        .and_then(|manifest| archive.check_trusted(&manifest).map(|()| manifest))
        .and_then(|manifest| manifest.entries()?.try_for_each(|entry| entry.map(drop)));
    match read {
        // A writer cannot read what others have made, nor a blind one its own.
        Err(error) if !error.is_no_key() => {
            observer.warn(&format!("{error}; the copy is to take its place"));
            false
        }
        _ => true,
    }
}

/// Imports one copy.
fn one(
    run: Run<'_>,
    copy: Source,
    labels: Labels,
    how: &BackupOptions,
    sources: &[Source],
) -> Result<Outcome, Error> {
    let source = sources.iter().find(|source| source.pvc == copy.pvc);
    let of = source.map(|s| std::path::absolute(&s.path).unwrap_or_else(|_| s.path.clone()));
    let origin = Origin::Copy { of: of.unwrap_or_default() };
    let labels = Labels { origin, ..labels };
    match backup(run, &[copy], &labels, how) {
        Ok(done) => match done.sources.into_iter().next() {
            Some(done) => Ok(Outcome::Done(done)),
            None => Err(Error::Bug("a backup of one source came to none".to_owned())),
        },
        Err(error) => failed(labels.week, error, run.observer),
    }
}

/// Tells of an error that is that of one copy; others end the import.
fn failed(week: Week, error: Error, observer: &dyn Observer) -> Result<Outcome, Error> {
    match error {
        Error::Source { .. }
        | Error::BadSource { .. }
        | Error::EmptySource { .. }
        | Error::Nested { .. }
        | Error::FutureWeek { .. } => {
            observer.warn(&format!("week {week} is not imported: {error}"));
            Ok(Outcome::Failed(error))
        }
        error => Err(error),
    }
}
