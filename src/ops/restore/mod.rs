//! Making a tree equal to a manifest: in place, or anew.
//!
//! ```text
//! manifest ─ look (what stands there? parallel, changes nothing) ─ apply in path order
//!              files that differ: window ─ fetch each object once ─ verify ─ write slices ─ put in place
//!          ─ finish: hard links, extra paths, folders' metadata, each folder after what is in it
//! ```

mod apply;
mod before;
mod clear;
mod finish;
mod look;
mod missing;
mod proof;
mod report;
mod root;
mod select;
mod siblings;
mod survey;
mod write;

pub use before::Before;
pub use report::Restored;
pub use select::{InvalidPattern, Selection};
pub use survey::{Survey, survey};

use super::Error;
use super::parallel::{Bounds, Room, ordered, start};
use crate::data::Compare;
use crate::model::{ArchivePath, Kind, Observer, Problem};
use crate::repo::{Archive, Manifest, RepoError};
use crate::tree::{OwnerMap, OwnerNames, SourceError, SourceReader, Target};
use apply::Restoring;
use before::Linking;
use clear::Clearing;
use finish::{Finishing, FirstNames, PathHashes};
use look::{Batch, Looking};
use missing::MissingFolders;
use report::Report;
use root::{check_target, make_root};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use write::Writer;

/// Whose the restored files are to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The owners of the manifest's names on this machine; the numbers where a name is not known.
    Names,
    /// The manifest's numbers.
    Numeric,
    /// Whoever restores.
    Nobody,
}

/// How to restore.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Where to.
    pub target: PathBuf,
    /// What.
    pub selection: Selection,
    /// Delete what the manifest has not.
    pub delete: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Whose the files are to be.
    pub owner: Owner,
    /// Turn blocks of zeros into holes.
    pub sparse: bool,
    /// Read every file back and compare its hash.
    pub verify: bool,
    /// Threads.
    pub threads: usize,
}

/// Makes the target equal to the manifest. What cannot be restored is in the result; all else is.
///
/// # Errors
/// [`Error`] where nothing can be restored at all: an unreadable manifest, a selection that selects nothing, a target
/// inside the store.
pub fn restore(
    archive: &Archive,
    manifest: &Manifest,
    options: &RestoreOptions,
    observer: &dyn Observer,
) -> Result<Restored, Error> {
    restore_beside(archive, manifest, options, None, observer)
}

/// The same; what is not in the target, but is the same in the tree `before`, becomes another name of that.
///
/// # Errors
/// As [`restore`].
pub fn restore_beside(
    archive: &Archive,
    manifest: &Manifest,
    options: &RestoreOptions,
    before: Option<&Before>,
    observer: &dyn Observer,
) -> Result<Restored, Error> {
    let place = Arc::new(archive.place());
    check_target(&options.target, archive, &place, options.delete)?;
    let objects = manifest.objects()?;
    let report = Report::new(observer);
    let owners = owners(manifest, options, &report)?;
    check_selection(&options.selection, manifest)?;
    let made_root = !options.target.exists();
    if made_root {
        if options.dry_run {
            report.change(&ArchivePath::root(), "create");
            return dry_run_of_nothing(manifest, options, report);
        }
        make_root(&options.target)?;
        report.change(&ArchivePath::root(), "create");
    }
    let bad_target = |e: SourceError| Error::Target { path: options.target.clone(), reason: e.to_string() };
    let target = Target::open(&options.target, owners.clone()).map_err(bad_target)?.beside(place);
    let summary = manifest.summary();
    let compare = Compare {
        started: summary.started,
        finished: summary.finished,
        force_read: false,
        ignore_ctime: false,
        ignore_inode: false,
        was_partial: false,
    };
    let clearing = Clearing::new(manifest, &report, options.delete, options.dry_run, observer)?;
    let mut restoring = Restoring {
        writer: Writer::new(
            archive,
            &objects,
            target.clone(),
            options.sparse,
            options.threads,
            observer,
            &report,
        ),
        target: target.clone(),
        report: &report,
        options,
        clearing: &clearing,
        owners: &owners,
        linking: before.map(|before| Linking::new(before, options.owner)).transpose()?.flatten(),
        ancestors: MissingFolders::default(),
        made: if made_root { BTreeSet::from([ArchivePath::root()]) } else { BTreeSet::new() },
        detached: BTreeMap::new(),
        detached_links: PathHashes::default(),
        detached_bytes: 0,
        inodes: HashSet::new(),
        firsts: FirstNames::default(),
        siblings: siblings::Siblings::default(),
    };
    let workers = make_workers(options, &owners, compare, observer, &report.coarse).map_err(bad_target)?;
    let mut selection = options.selection.clone();
    look_and_apply(manifest, workers, &mut selection, &mut restoring, observer)?;
    let detached = make_workers(
        &RestoreOptions { threads: 1, ..options.clone() },
        &owners,
        compare,
        observer,
        &report.coarse,
    );
    for mut looking in detached.map_err(bad_target)? {
        restoring.detached_links(manifest, &mut looking)?;
    }
    restoring.writer.flush();
    // Before directories get their times, and before what is extra is told from what is not.
    target.close_workshop();
    let Restoring { made, detached_links, firsts, .. } = restoring;
    let finishing = Finishing {
        target,
        owners: &owners,
        report: &report,
        clearing: &clearing,
        dry_run: options.dry_run,
        made,
        detached: detached_links,
        firsts,
    };
    if observer.cancelled() {
        return Err(Error::Cancelled);
    }
    finishing.run(manifest.entries()?, options.selection.clone())?;
    if options.verify && !options.dry_run {
        read_back(manifest, options, &owners, compare, &report, observer)?;
    }
    Ok(report.into_result())
}

fn owners(manifest: &Manifest, options: &RestoreOptions, report: &Report<'_>) -> Result<OwnerMap, Error> {
    Ok(match options.owner {
        Owner::Nobody => OwnerMap::Nobody,
        Owner::Numeric => OwnerMap::Numeric,
        Owner::Names => match manifest.owners() {
            Ok(names) => OwnerMap::Names(names, OwnerNames::of_this_machine()),
            Err(error @ RepoError::Format { .. }) => {
                let operation = "go by the owners' names in".to_owned();
                let path = ArchivePath::root();
                report.problem(Problem { path, operation, error: error.to_string() });
                OwnerMap::Numeric
            }
            Err(error) => return Err(error.into()),
        },
    })
}

/// Into a target that does not exist, everything selected would be created.
fn dry_run_of_nothing(
    manifest: &Manifest,
    options: &RestoreOptions,
    report: Report<'_>,
) -> Result<Restored, Error> {
    // Links are told of last, and found again for that: a tree may be all links.
    for tell_links in [false, true] {
        let (mut selection, mut ancestors) = (options.selection.clone(), MissingFolders::default());
        let mut detached = PathHashes::default();
        for entry in manifest.entries()? {
            let (path, entry) = match entry {
                Err(RepoError::Format { .. }) if tell_links => continue,
                Err(error @ RepoError::Format { .. }) => {
                    report.damaged(&error);
                    continue;
                }
                entry => entry?,
            };
            ancestors.enter(&path);
            match (&entry.kind, selection.selects(&path)) {
                _ if path.is_root() => {}
                (Kind::Directory, false) => ancestors.push(path),
                (_, false) => {}
                (Kind::HardLink(first), true) if selection.would_select(first) || !detached.insert(first) => {
                    if tell_links {
                        report.change(&path, "link");
                    }
                }
                _ if tell_links => {}
                (_, true) => {
                    ancestors.take().for_each(|a| report.change(&a, "create"));
                    report.change(&path, "create");
                }
            }
        }
    }
    Ok(report.into_result())
}

/// Refuses patterns that match nothing, before anything is changed.
fn check_selection(selection: &Selection, manifest: &Manifest) -> Result<(), Error> {
    if selection.is_all() {
        return Ok(());
    }
    let mut selection = selection.clone();
    for entry in manifest.entries()? {
        match entry {
            Ok((path, _)) => drop(selection.selects(&path)),
            Err(RepoError::Format { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match selection.unmatched().next() {
        None => Ok(()),
        Some(pattern) => {
            let id = manifest.id();
            Err(Error::NoSuchPath(format!("{id} has no path that matches {pattern:?}; see `weekvault ls`")))
        }
    }
}

fn make_workers<'a>(
    options: &RestoreOptions,
    owners: &'a OwnerMap,
    compare: Compare,
    observer: &'a dyn Observer,
    coarse: &'a AtomicBool,
) -> Result<Vec<Looking<'a>>, SourceError> {
    let make = |_| {
        let target = Target::open(&options.target, owners.clone())?;
        let reader = SourceReader::new(&options.target)?;
        let (buffer, found, missing) = (Vec::new(), None, None);
        Ok(Looking { target, reader, buffer, owners, compare, found, observer, coarse, missing })
    };
    (0..options.threads.max(1)).map(make).collect()
}

/// Entries in one piece of work, and bytes of memory that they come to; a single one may be larger.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of memory that all entries may take that are being looked at.
const ROOM: usize = 8 << 20;

/// Looks at all selected entries on several threads, and hands them to `restoring` in path order.
fn look_and_apply(
    manifest: &Manifest,
    workers: Vec<Looking<'_>>,
    selection: &mut Selection,
    restoring: &mut Restoring<'_, '_, '_>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let pieces = 4 * workers.len();
    let bounds = Bounds { waiting: pieces, pieces, ahead: 1 };
    let report = restoring.report;
    let room = Room::new(ROOM);
    let room = &room;
    std::thread::scope(|scope| {
        let workers =
            workers.into_iter().map(|mut looking| move |batch, output: &_| looking.work(batch, output));
        let (work, looked) = ordered(scope, bounds, workers)?;
        let feeding = start(scope, move || -> Result<(), Error> {
            let (mut entries, mut bytes) = (Vec::with_capacity(BATCH), 0);
            for entry in manifest.entries()? {
                let (path, entry) = match entry {
                    Err(error @ RepoError::Format { .. }) => {
                        report.damaged(&error);
                        continue;
                    }
                    entry => entry?,
                };
                // Folders are looked at even on the way: they may have to be made.
                if selection.selects(&path) || entry.kind == Kind::Directory {
                    bytes += path.as_bytes().len() + entry.weight();
                    entries.push((path, entry));
                }
                if entries.len() == BATCH || bytes >= BATCH_BYTES {
                    if observer.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    let place = room.take(std::mem::take(&mut bytes));
                    if work.send(Batch { entries: std::mem::take(&mut entries), place }).is_err() {
                        return Ok(());
                    }
                }
            }
            let _ = work.send(Batch { entries, place: room.take(bytes) });
            Ok(())
        })?;
        let mut selection = restoring.options.selection.clone();
        for (looked, place) in looked {
            for looked in looked {
                let selected = selection.selects(&looked.path);
                restoring.apply(looked, selected);
            }
            drop(place);
        }
        feeding.join().unwrap_or(Err(Error::Cancelled))
    })
}

/// Reads every restored file back and compares its hash: the same look as before, trusting no metadata.
fn read_back(
    manifest: &Manifest,
    options: &RestoreOptions,
    owners: &OwnerMap,
    compare: Compare,
    report: &Report<'_>,
    observer: &dyn Observer,
) -> Result<(), Error> {
    let bad_target = |e: SourceError| Error::Target { path: options.target.clone(), reason: e.to_string() };
    let compare = Compare { force_read: true, ..compare };
    let mut workers = make_workers(
        &RestoreOptions { threads: 1, ..options.clone() },
        owners,
        compare,
        observer,
        &report.coarse,
    )
    .map_err(bad_target)?;
    let mut selection = options.selection.clone();
    observer.phase("reading back", None);
    for entry in manifest.entries()? {
        let (path, entry) = match entry {
            // Told when it was met first.
            Err(RepoError::Format { .. }) => continue,
            entry => entry?,
        };
        let Some(looking) = workers.first_mut().filter(|_| selection.selects(&path)) else { continue };
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        match looking.differs(&path, &entry) {
            Ok(false) => {}
            Ok(true) => report.problem(Problem {
                path,
                operation: "verify".into(),
                error: "it does not equal the manifest after the restore".into(),
            }),
            Err(error) => report.problem((&error).into()),
        }
    }
    Ok(())
}
