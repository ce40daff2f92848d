//! Giving up what is old: retention after a backup, and garbage collection.

use super::backup::BackedUp;
use super::clock::now;
use super::{Error, Run};
use crate::archive::{
    Collected, GcOptions, Retention, Retired, StoreLock, Weeks, collect, lock_alone, retain,
};
use crate::model::{Completeness, PvcName, Week};

/// Days that retired files stay in the trash, if nothing else is said.
pub const TRASH_DAYS: u32 = 7;

/// How to collect garbage.
#[derive(Clone, Copy, Debug)]
pub struct GcRun {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Days that retired files stay in the trash.
    pub trash_days: u32,
    /// Empty the whole trash now, of what is retired in this run too.
    pub empty_trash: bool,
    /// Go on though the store's clock and ours do not agree.
    pub ignore_clock: bool,
}

/// Collects garbage.
///
/// # Errors
/// [`Error::Busy`] when another run is at work on the store; [`crate::archive::ArchiveError::Clock`] when the clocks do not
/// agree.
pub fn gc(run: Run<'_>, how: GcRun) -> Result<Collected, Error> {
    if !how.dry_run && !how.ignore_clock {
        run.archive.check_clock(now())?;
    }
    gc_beside(run, &run.archive.weeks()?, how, None)
}

/// The same for a run that has just looked at the weeks, and has asked the clock.
fn gc_beside(run: Run<'_>, seen: &Weeks, how: GcRun, held: Option<StoreLock>) -> Result<Collected, Error> {
    let (Run { archive, observer, .. }, now) = (run, now());
    let GcRun { dry_run, trash_days, empty_trash, .. } = how;
    let options = GcOptions { dry_run, trash_days, empty_trash, now };
    if dry_run {
        return Ok(collect(archive, seen, options, observer)?);
    }
    let guard = lock_alone(archive, held)?;
    match guard {
        StoreLock::Busy => return Err(Error::Busy("collecting garbage")),
        // What a run beside this one builds on could be deleted.
        StoreLock::Unsupported if empty_trash => return Err(Error::NoLocks),
        StoreLock::Held(_) | StoreLock::Unsupported => {}
    }
    archive.clean_tmp(now)?;
    let collected = collect(archive, seen, options, observer)?;
    drop(guard);
    Ok(collected)
}

/// What retention and gc did after a backup.
#[derive(Clone, Debug, Default)]
pub struct CleanedUp {
    /// Manifests that were retired.
    pub retired: Vec<Retired>,
    /// Files that the storage did not let us move or delete.
    pub stuck: u64,
    /// None where another run was at work on the store.
    pub collected: Option<Collected>,
}

/// After a backup of `sources` into `week`: keeps the newest `keep` weeks of these, then collects garbage.
/// `held` is the lock that the backup had, if any. `done` tells what was done, also of a run that fails.
///
/// # Errors
/// As [`gc`]. Where the clocks do not agree nothing is retired. [`Error::Stuck`] once all else is done.
pub fn clean_up(
    run: Run<'_>,
    sources: &[BackedUp],
    week: Week,
    keep: usize,
    held: Option<StoreLock>,
    done: &mut CleanedUp,
) -> Result<(), Error> {
    let (Run { archive, observer, .. }, now) = (run, now());
    archive.check_clock(now)?;
    // Only of the pvcs of this run: others may be kept longer. What was published just now stays, however old its
    // week is.
    let pvcs: Vec<PvcName> = sources.iter().map(|s| s.pvc.clone()).collect();
    let retention = Retention { keep, pvcs: Some(&pvcs), never: Some(week), dry_run: false };
    let mut seen = archive.weeks()?;
    let given = retain(archive, &seen.manifests, retention, now, observer)?;
    (done.retired, done.stuck) = (given.retired, given.stuck);
    if done.retired.is_empty() && sources.iter().all(|s| s.completeness != Completeness::Complete) {
        // Nothing has changed that a collection could act on but what the next complete run has too.
        return if done.stuck == 0 { Ok(()) } else { Err(Error::Stuck { files: done.stuck }) };
    }
    seen.manifests.retain(|m| done.retired.iter().all(|retired| retired.id != m.id));
    run.go_on()?;
    let how = GcRun { dry_run: false, trash_days: TRASH_DAYS, empty_trash: false, ignore_clock: true };
    let collected = gc_beside(run, &seen, how, held)?;
    done.collected = Some(collected);
    done.stuck += collected.stuck;
    match done.stuck {
        _ if collected.interrupted => Err(Error::Cancelled),
        0 => Ok(()),
        files => Err(Error::Stuck { files }),
    }
}
