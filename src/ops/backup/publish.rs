//! A run of several sources: all are read before the manifest of any is published.

use super::options::{BackupOptions, Labels};
use super::prepare::{Prepared, Ready, prepare};
use super::result::{BackedUp, Backup};
use super::sources::{Source, check_sources};
use crate::archive::{ArchiveError, FinishedManifest, Inventory, Stored, look_again};
use crate::model::PvcName;
use crate::ops::clock::now;
use crate::ops::{Error, Run};

/// Backs up all sources, one after the other, each into its own manifest.
///
/// # Errors
/// [`Error`]. The first source that fails as a whole ends the run, and nothing is published, unless the rules for sources
/// allow for it.
pub fn backup(
    run: Run<'_>,
    sources: &[Source],
    labels: &Labels,
    options: &BackupOptions,
) -> Result<Backup, Error> {
    let Run { archive, observer, .. } = run;
    archive.check_writer()?;
    check_sources(sources, &options.rules, archive)?;
    let names: Vec<PvcName> = sources.iter().map(|s| s.pvc.clone()).collect();
    let (mut plain, mut sealed) = (0, None);
    let inventory = Inventory::take(archive, |manifest, error| match error {
        ArchiveError::PlainInSealed(_) => plain += 1,
        ArchiveError::SealedInPlain(path) => sealed = Some(path.clone()),
        error => observer.warn(&format!("{}: not used for deduplication: {error}", manifest.id)),
    })?;
    // What is to be encrypted must not be written as it is.
    if let Some(path) = sealed {
        return Err(ArchiveError::SealedInPlain(path).into());
    }
    if plain > 0 {
        observer.warn(&format!(
            "the store is sealed, and {plain} of its manifests are plain: nothing relies on them, and with an identity none is read \
             that was not there when the store was sealed"
        ));
    }
    archive.check_names(&names, inventory.manifests(), |message| observer.warn(message))?;
    let (mut prepared, mut missing) = (Vec::new(), Vec::new());
    for source in sources {
        observer.phase(&format!("backing up {}", source.pvc), None);
        let read = |run: Run<'_>| prepare(run, &inventory, source, labels, options);
        match options.rules.within(source, run, read)? {
            Ok(done) => prepared.push(done),
            Err(without) => {
                // What it was about to store is there for nobody.
                inventory.give_up_claims();
                missing.push(without);
            }
        }
    }
    if prepared.is_empty()
        && let Some(missing) = missing.pop()
    {
        return Err(missing.error);
    }
    if options.dry_run {
        return Ok(Backup { sources: prepared.into_iter().map(|p| p.result).collect(), missing });
    }
    let sources = publish(run, labels, prepared, &inventory.close())?;
    Ok(Backup { sources, missing })
}

/// A manifest that is written, and waits for its name.
struct Written {
    result: BackedUp,
    manifest: FinishedManifest,
    /// Bytes of the objects that it needs.
    objects_bytes: u64,
}

/// Publishes what was prepared. Every object that a manifest names is there before it is published, and still there after.
fn publish(
    run: Run<'_>,
    labels: &Labels,
    prepared: Vec<Prepared>,
    stored: &Stored,
) -> Result<Vec<BackedUp>, Error> {
    let (mut needed, mut as_before, mut written) = (Vec::<Vec<(u32, u32)>>::new(), Vec::new(), Vec::new());
    for Prepared { result, manifest } in prepared {
        let Some(Ready { manifest, id, owners, objects, summary, based_on }) = manifest else { continue };
        let manifest = manifest.finish(id, &owners, stored.rows(&objects), &summary)?;
        let objects_bytes = stored.rows(&objects).map(|row| u64::from(row.stored_length)).sum();
        // What an earlier manifest names, which stands, no gc can have taken for unneeded.
        let stands = based_on.is_some_and(|earlier| run.archive.stands(&earlier));
        if stands { &mut as_before } else { &mut needed }.push(objects);
        written.push(Written { result, manifest, objects_bytes });
    }
    if !needed.is_empty() {
        look_again(run.archive, needed.iter().flat_map(|used| stored.rows(used)))?;
    }
    needed.append(&mut as_before);
    run.go_on()?;
    // From here on nothing asks whether to stop: of several manifests all are published, or the store has failed.
    let (mut published, mut names, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for Written { mut result, manifest, objects_bytes } in written {
        let what = format!("{}/{}", labels.week, result.pvc);
        ids.push(manifest.id().clone());
        let (_, length) = manifest.publish(now()).map_err(Error::published(what.clone(), false))?;
        (result.manifest_bytes, result.output_bytes) = (length, objects_bytes + length);
        run.observer.counters().store_written.add(length);
        published.push(result);
        names.push(what);
    }
    let look = || {
        look_again(run.archive, needed.iter().flat_map(|used| stored.rows(used)))?;
        ids.iter().try_for_each(|id| run.archive.still_stands(id))
    };
    look().map_err(Error::published(names.join(", "), true))?;
    Ok(published)
}
