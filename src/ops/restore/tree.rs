//! A whole restore: what each of its stages is given, one after the other.

use super::apply::Restoring;
use super::before::{Before, Linking};
use super::clear::Clearing;
use super::feed::look_and_apply;
use super::finish::Finishing;
use super::look::{Looking, Worker};
use super::options::{Owner, RestoreOptions};
use super::preview::dry_run_of_nothing;
use super::read_back::read_back;
use super::report::{Report, Restored};
use super::root::{check_target, make_root};
use super::select::check_selection;
use super::write::{Writer, Writing};
use crate::archive::{ArchiveError, Manifest};
use crate::data::Compare;
use crate::model::{ArchivePath, Problem};
use crate::ops::parallel::{shared, with_threads};
use crate::ops::{Error, Run};
use crate::tree::{OwnerMap, OwnerNames, SourceError, Target};
use std::sync::Arc;

/// Makes the target equal to the manifest. What cannot be restored is in the result; all else is.
///
/// # Errors
/// [`Error`] where nothing can be restored at all: an unreadable manifest, a selection that selects nothing, a target
/// inside the store.
pub fn restore(run: Run<'_>, manifest: &Manifest, options: &RestoreOptions) -> Result<Restored, Error> {
    restore_beside(run, manifest, options, None)
}

/// The same; what is not in the target, but is the same in the tree `before`, becomes another name of that.
///
/// # Errors
/// As [`restore`].
pub fn restore_beside(
    run: Run<'_>,
    manifest: &Manifest,
    options: &RestoreOptions,
    before: Option<&Before>,
) -> Result<Restored, Error> {
    run.archive.check_trusted(manifest)?;
    run.archive.check_readable(manifest)?;
    let place = Arc::new(run.archive.place());
    check_target(&options.target, run.archive, &place, options.delete)?;
    let objects = manifest.objects()?;
    let _shared = manifest.chunk_lengths()?;
    let report = Report::new(run.observer);
    let owners = owners(manifest, options, &report)?;
    check_selection(&options.selection, manifest)?;
    let made_root = !options.target.exists();
    if made_root {
        report.change(&ArchivePath::root(), "create");
        if options.dry_run {
            return dry_run_of_nothing(manifest, options, report);
        }
        make_root(&options.target)?;
    }
    let target = Target::open(&options.target, owners.clone()).map_err(bad_target(options))?.beside(place);
    let clearing = Clearing::new(manifest, &report, options.delete, options.dry_run, run.observer)?;
    let linking = before.map(|before| Linking::new(before, options.owner)).transpose()?.flatten();
    let looking = Looking {
        root: &options.target,
        owners: &owners,
        compare: compare(manifest),
        observer: run.observer,
        report: &report,
    };
    let writing = Writing::new(run, &objects, target.clone(), options.sparse, &report);
    let (target, made, detached, firsts) = with_threads(|threads| {
        let writer = Writer::new(&writing, shared(threads, "write", 0, vec![|it| writing.write(it)])?);
        let mut restoring = Restoring::new(writer, target, &report, options, &clearing, &owners);
        restoring.linking = linking;
        if made_root {
            restoring.made.insert(ArchivePath::root());
        }
        look_and_apply(run, manifest, looking, &mut restoring)?;
        restoring.detached_links(manifest, &mut Worker::new(looking)?)?;
        restoring.writer.close()?;
        // Before directories get their times, and before what is extra is told from what is not.
        restoring.target.close_staging();
        run.go_on()?;
        // The writer goes, and with it the thread that waits for it.
        let Restoring { target, made, detached_links, firsts, .. } = restoring;
        Ok((target, made, detached_links, firsts))
    })?;
    drop(writing);
    let finishing = Finishing {
        target,
        owners: &owners,
        report: &report,
        clearing: &clearing,
        dry_run: options.dry_run,
        made,
        detached,
        firsts,
    };
    finishing.run(manifest.readable(|_| ())?, options.selection.clone())?;
    if options.verify && !options.dry_run {
        read_back(run, manifest, options, looking)?;
    }
    Ok(report.into_result())
}

/// An error of the target as a whole.
fn bad_target(options: &RestoreOptions) -> impl Fn(SourceError) -> Error + '_ {
    |e| Error::Target { path: options.target.clone(), reason: e.to_string() }
}

fn compare(manifest: &Manifest) -> Compare {
    let summary = manifest.summary();
    Compare {
        started: summary.started,
        finished: summary.finished,
        force_read: false,
        ignore_ctime: false,
        ignore_inode: false,
        was_partial: false,
    }
}

fn owners(manifest: &Manifest, options: &RestoreOptions, report: &Report<'_>) -> Result<OwnerMap, Error> {
    Ok(match options.owner {
        Owner::Nobody => OwnerMap::Nobody,
        Owner::Numeric => OwnerMap::Numeric,
        Owner::Names => match manifest.owners() {
            Ok(names) => OwnerMap::Names(names, OwnerNames::of_this_machine()),
            Err(error @ ArchiveError::Format { .. }) => {
                let operation = "go by the owners' names in".to_owned();
                let path = ArchivePath::root();
                report.problem(Problem { path, operation, error: error.to_string() });
                OwnerMap::Numeric
            }
            Err(error) => return Err(error.into()),
        },
    })
}
