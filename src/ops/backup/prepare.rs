//! One source: found out what it was before, read, looked at with doubt, and turned into a manifest without a name.

use super::collect::Collected;
use super::mend::mend;
use super::options::{BackupOptions, Labels, Origin};
use super::pack::Packer;
use super::pipeline::Pipeline;
use super::previous::Previous;
use super::result::BackedUp;
use super::sources::{Before, Source, check_folder, check_likely, check_still_there, recorded};
use crate::archive::{ArchiveError, Inventory, Manifest, ManifestId, PendingManifest, SharedTrash};
use crate::model::{ArchivePath, Completeness, Details, Owners, Summary, Timestamp};
use crate::ops::clock::now;
use crate::ops::{Error, Run};
use crate::tree::{OwnerNames, SourceError, SourceReader, SourceRoot};

/// A source that has been read: its manifest waits to be published.
pub(super) struct Prepared {
    pub(super) result: BackedUp,
    /// None in a dry run.
    pub(super) manifest: Option<Ready>,
}

/// A manifest that has all its entries, and what else goes into it.
pub(super) struct Ready {
    pub(super) manifest: PendingManifest,
    pub(super) id: ManifestId,
    pub(super) owners: Owners,
    /// The objects' numbers, with how much is used of each.
    pub(super) objects: Vec<(u32, u32)>,
    pub(super) summary: Summary,
    /// The earlier manifest, where that names all of the objects.
    pub(super) based_on: Option<Manifest>,
}

/// A bug: an entry was recorded before the chunks that it needs.
const UNSTORED: &str = "a manifest names a chunk that was neither found nor stored";

/// Reads a source, and stores what the store has not of it.
pub(super) fn prepare(
    run: Run<'_>,
    inventory: &Inventory,
    source: &Source,
    labels: &Labels,
    options: &BackupOptions,
) -> Result<Prepared, Error> {
    let started = now();
    let preparing = Preparing { run, inventory, source, labels, options };
    let root = preparing.open()?;
    if labels.origin == Origin::Live && !options.dry_run {
        // Whether it could be flushed as a whole or not, what is read is whole.
        let _ = root.flush(started);
    }
    let (previous, before) = preparing.compare_with(&root)?;
    let (manifest, collected) = preparing.read(&root, previous.as_ref())?;
    preparing.refuse(&root, &collected, before.or(previous.as_ref()))?;
    preparing.finish(manifest, collected, previous.as_ref(), started)
}

/// What its steps share.
struct Preparing<'a> {
    run: Run<'a>,
    inventory: &'a Inventory,
    source: &'a Source,
    labels: &'a Labels,
    options: &'a BackupOptions,
}

/// What is known of earlier manifests that were not compared with.
#[derive(Default)]
struct NotCompared {
    /// Whether there were any that could not be read.
    unreadable: bool,
    /// What the newest of them says to everybody, where a sealed store keeps the rest from this writer.
    public: Option<Summary>,
}

impl NotCompared {
    fn or<'a>(&'a self, previous: Option<&'a Previous>) -> Before<'a> {
        match (previous, &self.public) {
            (Some(previous), _) => Before::Read(&previous.summary),
            (None, Some(public)) => Before::Read(public),
            (None, None) if self.unreadable => Before::Unreadable,
            (None, None) => Before::Nothing,
        }
    }
}

impl Preparing<'_> {
    fn failed(&self, error: SourceError) -> Error {
        Error::Source { pvc: self.source.pvc.clone(), error }
    }

    fn open(&self) -> Result<SourceRoot, Error> {
        check_folder(self.source)?;
        let failed = |e| self.failed(SourceError::new(&ArchivePath::root(), "open", e));
        let root = self.source.path.canonicalize().map_err(failed)?;
        SourceRoot::open(&root).map_err(|e| self.failed(e))
    }

    /// The manifest before; what the store has lost of it is stored again as far as the source still has it.
    fn compare_with(&self, root: &SourceRoot) -> Result<(Option<Previous>, NotCompared), Error> {
        let Self { run, inventory, labels, .. } = *self;
        let mut before = NotCompared::default();
        let compact = labels.origin == Origin::Live;
        let pvc = &self.source.pvc;
        let mut previous = Previous::find(run.archive, inventory, pvc, labels.week, compact, |error| {
            // A blind writer is not told of what it cannot read.
            if !error.is_no_key() {
                before.unreadable = true;
                // Of these one warning is enough.
                if !matches!(error, ArchiveError::PlainInSealed(_)) {
                    run.observer.warn(&format!("not compared with: {error}"));
                }
            }
        })?;
        if previous.is_none() {
            before.public = self.public_summary()?;
        }
        // Whoever trusts nothing does not trust the objects either.
        let trusted = previous.as_ref().filter(|_| !self.options.trust.force_read);
        inventory.next_source(trusted.map_or(&[][..], |p| p.table()));
        if let Some(previous) = previous.as_mut().filter(|_| !self.options.dry_run) {
            let mut reader = SourceReader::of(root);
            let mut packer = Packer::new(run, inventory, self.options, &SharedTrash::default())?;
            mend(previous, &mut reader, &mut packer, run)?;
        }
        Ok((previous, before))
    }

    /// What the newest earlier manifest says to everybody, where that is all that it says to this writer.
    fn public_summary(&self) -> Result<Option<Summary>, Error> {
        let archive = self.run.archive;
        let theirs = self.inventory.manifests().iter().rev().filter(|m| m.id.pvc == self.source.pvc);
        for listed in theirs {
            match archive.open_listed(&listed.id) {
                Ok(Some(manifest)) if archive.check_reliable(&manifest).is_ok() => {
                    let summary = manifest.summary();
                    return Ok(summary.details.is_none().then(|| summary.clone()));
                }
                Err(error) if error.is_out_of_reach() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(None)
    }

    /// All that the source has, into a manifest unless it is a dry run.
    fn read(
        &self,
        root: &SourceRoot,
        previous: Option<&Previous>,
    ) -> Result<(Option<PendingManifest>, Collected), Error> {
        let Self { run, inventory, labels, options, .. } = *self;
        let mut manifest = match options.dry_run {
            true => None,
            false => Some(PendingManifest::begin(run.archive)?),
        };
        let before = run.observer.counters().bytes_read.get();
        let pipeline = Pipeline { run, inventory, root, previous, origin: &labels.origin, options };
        let mut collected = pipeline.run(manifest.as_mut())?;
        collected.counts.bytes_read = run.observer.counters().bytes_read.get() - before;
        Ok((manifest, collected))
    }

    /// Refuses what was read where it is likely to be something else than what is to be protected.
    fn refuse(&self, root: &SourceRoot, collected: &Collected, before: Before<'_>) -> Result<(), Error> {
        let Collected { counts, problems, .. } = collected;
        check_still_there(root, self.source)?;
        check_likely(self.source, &self.options.rules, counts, problems, before, self.run.observer)?;
        if counts.entries == 0 {
            let error = problems.first().map_or("nothing could be read".into(), |p| p.error.clone());
            let error = std::io::Error::other(error);
            return Err(self.failed(SourceError::new(&ArchivePath::root(), "open", error)));
        }
        Ok(())
    }

    fn finish(
        &self,
        manifest: Option<PendingManifest>,
        mut collected: Collected,
        previous: Option<&Previous>,
        started: Timestamp,
    ) -> Result<Prepared, Error> {
        let completeness = match collected.missing {
            0 => Completeness::Complete,
            missing => Completeness::Partial { missing },
        };
        let result = BackedUp {
            pvc: self.source.pvc.clone(),
            counts: collected.counts,
            completeness,
            problems: std::mem::take(&mut collected.problems),
            manifest_bytes: 0,
            output_bytes: 0,
            started,
            finished: now(),
        };
        let ready = manifest.map(|manifest| self.ready(manifest, collected, previous, &result));
        Ok(Prepared { result, manifest: ready.transpose()? })
    }

    fn ready(
        &self,
        mut manifest: PendingManifest,
        collected: Collected,
        previous: Option<&Previous>,
        result: &BackedUp,
    ) -> Result<Ready, Error> {
        manifest.left_out(collected.left_out);
        // Every chunk of this run is either known or stored by now, or the run has failed.
        let objects = collected.objects;
        if objects.iter().any(|(number, _)| self.inventory.row(*number).is_none()) {
            return Err(Error::Bug(UNSTORED.to_owned()));
        }
        let Labels { week, origin, excludes, host, tool } = self.labels.clone();
        let pvc = result.pvc.clone();
        let partial = result.completeness != Completeness::Complete;
        let based_on = previous.filter(|p| p.names_all(&objects)).map(|p| p.manifest.clone());
        let details = Details {
            source: match origin {
                Origin::Live => recorded(&self.source.path),
                Origin::Copy { of } => of,
            },
            host,
            tool,
            excludes,
            compared_with: previous.map(Previous::digest),
            counts: result.counts,
        };
        let summary = Summary {
            week,
            pvc: pvc.clone(),
            store: self.run.archive.config().id.clone(),
            started: result.started,
            finished: result.finished,
            completeness: result.completeness,
            details: Some(details),
            head: None,
        };
        let owners = OwnerNames::of_this_machine().of(&collected.uids, &collected.gids);
        Ok(Ready { manifest, id: ManifestId { week, pvc, partial }, owners, objects, summary, based_on })
    }
}
