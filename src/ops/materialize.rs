//! Weeks of trees side by side, as rsync would have made them: what a week has unchanged from the one before is one inode.

use super::restore::{Before, RestoreOptions, Restored, restore_beside};
use super::{Error, Run};
use crate::archive::{Archive, ArchiveError, ManifestId, told_of_future};
use crate::model::{Observer, PvcName, WeekRef};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// What became of one manifest.
#[derive(Debug)]
pub struct Materialized {
    /// Which.
    pub id: ManifestId,
    /// Where its tree is.
    pub target: PathBuf,
    /// What was made; an error where nothing was.
    pub result: Result<Restored, ArchiveError>,
    /// Bytes written.
    pub written: u64,
}

/// Recreates the trees of many manifests as `<YYYY-WW>/<pvc>/` in the target of `options`, which is new or empty. Each
/// week's is its complete manifest, or the partial one where that is all there is. One that cannot be read does not keep
/// the others from being made.
///
/// # Errors
/// [`Error`] where there is no such manifest, or nothing can be made at all.
pub fn materialize_all(
    run: Run<'_>,
    week: Option<WeekRef>,
    pvc: Option<&PvcName>,
    options: &RestoreOptions,
) -> Result<Vec<Materialized>, Error> {
    let Run { archive, observer, .. } = run;
    let mut before: BTreeMap<PvcName, Before> = BTreeMap::new();
    let mut all = Vec::new();
    for id in wanted(archive, week, pvc, observer)? {
        let name = format!("{}/{}", id.week, id.pvc);
        observer.phase(&format!("restoring {name}"), None);
        if id.partial {
            observer.warn(&format!("{name} is partial: some paths could not be read when it was made"));
        }
        let target = options.target.join(&name);
        let options = RestoreOptions { target: target.clone(), ..options.clone() };
        let written = observer.counters().bytes_restored.get();
        let result = archive.open_manifest(&id).map_err(Error::from).and_then(|manifest| {
            archive.check_chosen(&manifest, week, |warning| observer.warn(warning))?;
            let restored = restore_beside(run, &manifest, &options, before.get(&id.pvc))?;
            // Of too many problems not all are known.
            if restored.failed > restored.problems.len() as u64 {
                before.remove(&id.pvc);
            } else {
                let failed = Arc::new(restored.problems.iter().map(|p| p.path.clone()).collect());
                before.insert(id.pvc.clone(), Before { manifest, root: target.clone(), failed });
            }
            Ok(restored)
        });
        let result = match result {
            Err(Error::Archive(error)) => {
                observer.warn(&format!("{name} is not restored: {error}"));
                Err(error)
            }
            result => Ok(result?),
        };
        let written = observer.counters().bytes_restored.get() - written;
        all.push(Materialized { id, target, result, written });
    }
    Ok(all)
}

/// The manifests to be made, by week and pvc.
fn wanted(
    archive: &Archive,
    week: Option<WeekRef>,
    pvc: Option<&PvcName>,
    observer: &dyn Observer,
) -> Result<Vec<ManifestId>, Error> {
    let mut ids: Vec<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    // A complete one comes before a partial one.
    ids.dedup_by(|b, a| (a.week, &a.pvc) == (b.week, &b.pvc));
    ids.retain(|id| pvc.is_none_or(|pvc| id.pvc == *pvc));
    let Some(week) = week else {
        return match ids.is_empty() {
            true => Err(Error::NoSuchPath("the store has no such manifests; see `weekvault list`".into())),
            false => Ok(ids),
        };
    };
    let pvcs: BTreeSet<PvcName> = ids.into_iter().map(|id| id.pvc).chain(pvc.cloned()).collect();
    for pvc in &pvcs {
        let future =
            if matches!(week, WeekRef::Exact(_)) { BTreeSet::new() } else { archive.future_weeks(pvc)? };
        if !future.is_empty() {
            observer.warn(&told_of_future(pvc, &future));
        }
    }
    let found: Vec<_> = pvcs.iter().map(|pvc| archive.find_manifest(week, pvc)).collect();
    let (mut ids, mut missing) = (Vec::new(), None);
    for found in found {
        match found {
            Ok(id) => ids.push(id),
            Err(error) => missing = missing.or(Some(error)),
        }
    }
    match missing {
        Some(error) if ids.is_empty() => Err(error.into()),
        _ => Ok(ids),
    }
}
