//! Giving up what is old: retention after a backup, and garbage collection.

use super::Error;
use super::clock::now;
use crate::model::{Observer, PvcName, Week};
use crate::repo::{
    Archive, Collected, GcOptions, ManifestRef, Retention, Retired, StoreLock, collect, lock, retain,
};
use crate::store::LockMode;

/// Days that retired files stay in the trash, if nothing else is said.
pub const TRASH_DAYS: u32 = 7;

/// How to collect garbage.
#[derive(Clone, Copy, Debug)]
pub struct GcRun {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Days that retired files stay in the trash.
    pub trash_days: u32,
    /// Go on though the store's clock and ours do not agree.
    pub ignore_clock: bool,
}

/// Collects garbage.
///
/// # Errors
/// [`Error::Busy`] when another run is at work on the store; [`crate::repo::RepoError::Clock`] when the clocks do not
/// agree.
pub fn gc(archive: &Archive, run: GcRun, observer: &dyn Observer) -> Result<Collected, Error> {
    if !run.dry_run && !run.ignore_clock {
        archive.check_clock(now())?;
    }
    gc_beside(archive, &archive.manifests()?, run, observer)
}

/// The same for a run that has just listed the manifests, and has asked the clock.
fn gc_beside(
    archive: &Archive,
    listed: &[ManifestRef],
    run: GcRun,
    observer: &dyn Observer,
) -> Result<Collected, Error> {
    let now = now();
    let options = GcOptions { dry_run: run.dry_run, trash_days: run.trash_days, now };
    if run.dry_run {
        return Ok(collect(archive, listed, options, observer)?);
    }
    let guard = lock(archive, LockMode::Exclusive)?;
    if matches!(guard, StoreLock::Busy) {
        return Err(Error::Busy("collecting garbage"));
    }
    archive.clean_tmp(now)?;
    let collected = collect(archive, listed, options, observer)?;
    drop(guard);
    Ok(collected)
}

/// What retention and gc did after a backup.
#[derive(Clone, Debug, Default)]
pub struct CleanedUp {
    /// Manifests that were retired.
    pub retired: Vec<Retired>,
    /// None where another run was at work on the store.
    pub collected: Option<Collected>,
}

/// After a complete backup of `pvcs` into `week`: keeps the newest `keep` weeks of these, then collects garbage.
/// `done` tells what was done, also of a run that fails.
///
/// # Errors
/// As [`gc`]. Where the clocks do not agree nothing is retired.
pub fn clean_up(
    archive: &Archive,
    pvcs: &[PvcName],
    week: Week,
    keep: usize,
    done: &mut CleanedUp,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let now = now();
    archive.check_clock(now)?;
    // Only of the pvcs of this run: others may be kept longer. What was published just now stays, however old its
    // week is.
    let retention = Retention { keep, pvcs: Some(pvcs), never: Some(week), dry_run: false };
    let mut listed = archive.manifests()?;
    done.retired = retain(archive, &listed, retention, now, observer)?;
    listed.retain(|m| done.retired.iter().all(|retired| retired.id != m.id));
    if observer.cancelled() {
        return Err(Error::Cancelled);
    }
    let run = GcRun { dry_run: false, trash_days: TRASH_DAYS, ignore_clock: true };
    let collected = gc_beside(archive, &listed, run, observer)?;
    done.collected = Some(collected);
    if collected.interrupted { Err(Error::Cancelled) } else { Ok(()) }
}
