//! Retiring manifests that somebody names.

use super::clock::now;
use super::{Error, Run};
use crate::archive::{Given, ManifestId, ManifestRef, ObjectMap, Retired, move_to_trash};

/// Manifests that were retired, or in a dry run would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forgotten {
    /// Which, and how many could not be.
    pub given: Given,
    /// In a dry run: what nothing else needs.
    pub freed: Option<Freed>,
}

/// What a gc gives up once manifests are retired.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Freed {
    /// Objects that nothing else needs.
    pub objects: u64,
    /// Bytes of their files, and of the manifests.
    pub bytes: u64,
}

/// Moves manifests to the trash; in a dry run it says instead how much only they need. Asked to stop, it leaves the rest.
///
/// # Errors
/// [`Error::Archive`]; [`Error::Cancelled`] for who has asked to stop before anything was done.
pub fn forget(run: Run<'_>, ids: Vec<ManifestId>, dry_run: bool) -> Result<Forgotten, Error> {
    if dry_run {
        let freed = Some(freed(run, &ids)?);
        let retired = ids.into_iter().map(|id| Retired { id }).collect();
        return Ok(Forgotten { given: Given { retired, stuck: 0 }, freed });
    }
    run.go_on()?;
    Ok(Forgotten { given: move_to_trash(run.archive, ids, now(), run.observer)?, freed: None })
}

fn freed(run: Run<'_>, ids: &[ManifestId]) -> Result<Freed, Error> {
    let Run { archive, observer, .. } = run;
    let (theirs, others): (Vec<ManifestRef>, Vec<ManifestRef>) =
        archive.manifests()?.into_iter().partition(|m| ids.contains(&m.id));
    // Whether only what is to go needs an object.
    let mut alone = ObjectMap::<bool>::new(archive.list_objects()?);
    let mut mark = |manifest: &ManifestRef, is_alone: bool| {
        let Some(opened) = archive.open_listed(&manifest.id)? else { return Ok(()) };
        opened.each_object(|row| {
            let number = alone.number(&row.id);
            if let Some(alone) = number.and_then(|number| alone.get_mut(number)) {
                *alone = is_alone;
            }
        })
    };
    for manifest in &theirs {
        if let Err(error) = mark(manifest, true) {
            observer.warn(&format!("what only {} needs cannot be told: {error}", manifest.id));
        }
    }
    for manifest in &others {
        run.go_on()?;
        mark(manifest, false)?;
    }
    let freed = alone.iter().filter(|(_, alone)| **alone);
    let (objects, bytes) = freed.fold((0, 0), |(objects, bytes), (id, _)| {
        (objects + 1, bytes + alone.listing().stored_length(&id).unwrap_or(0))
    });
    let manifests: u64 = theirs.iter().map(|m| m.length).sum();
    Ok(Freed { objects, bytes: bytes + manifests })
}
