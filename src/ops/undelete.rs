//! Bringing a retired manifest and its objects back from the trash.

use super::clock::now;
use super::verify::check_manifest;
use super::{Error, Run};
use crate::archive::{Archive, ArchiveError, ManifestId, Trashed, look_again};
use crate::model::{ObjectRow, PvcName, Week};
use jiff::civil::Date;

/// What was brought back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undeleted {
    /// Which manifest.
    pub id: ManifestId,
    /// The day on which it had been retired or replaced.
    pub day: Date,
    /// Objects that came back with it.
    pub brought_back: u64,
    /// A manifest that stood in its place is in the trash now.
    pub replaced: bool,
}

/// Brings the manifest of a week and pvc back that was made last of those in the trash, with its objects; a published one
/// in its place goes to the trash. One that is damaged, or whose objects are gone, is left and the next taken.
///
/// # Errors
/// [`ArchiveError::NotInTrash`]; what is wrong with the last one tried, when none can be brought back.
pub fn undelete(run: Run<'_>, week: Week, pvc: &PvcName) -> Result<Undeleted, Error> {
    let Run { archive, observer, .. } = run;
    let listed = archive.manifests()?;
    archive.check_names(std::slice::from_ref(pvc), &listed, |message| observer.warn(message))?;
    let mut candidates = archive.find_trashed(week, pvc)?.into_iter().peekable();
    while let Some(trashed) = candidates.next() {
        match objects_back(archive, &trashed) {
            Ok((objects, brought_back)) => {
                return publish(run, &trashed, &objects, brought_back);
            }
            Err(
                error @ (ArchiveError::Format { .. }
                | ArchiveError::Vanished { .. }
                | ArchiveError::Object { .. }),
            ) if candidates.peek().is_some() => {
                let id = &trashed.manifest.id;
                observer.warn(&format!("{id} of {} is left in the trash: {error}", trashed.day));
            }
            Err(error) => return Err(error.into()),
        }
    }
    // find_trashed gives at least one.
    Err(ArchiveError::NotInTrash { week, pvc: pvc.clone(), have: Vec::new() }.into())
}

/// Sees to it that all a manifest needs is in its place: what a backup does before it publishes.
fn objects_back(archive: &Archive, trashed: &Trashed) -> Result<(Vec<ObjectRow>, u64), ArchiveError> {
    let objects = check_manifest(&archive.open_trashed(trashed)?)?;
    let brought_back = look_again(archive, objects.iter().copied())?;
    Ok((objects, brought_back))
}

/// Publishes it, and looks again. What fails from here on fails for good: another manifest must not take its place.
fn publish(
    run: Run<'_>,
    trashed: &Trashed,
    objects: &[ObjectRow],
    brought_back: u64,
) -> Result<Undeleted, Error> {
    run.go_on()?;
    let archive = run.archive;
    let id = trashed.manifest.id.clone();
    let replaced = archive.manifests()?.iter().any(|m| m.id == id);
    archive.republish(trashed, now()).map_err(|(error, may_be_published)| match may_be_published {
        true => Error::published(id.to_string(), false)(error),
        false => error.into(),
    })?;
    let look = || {
        let more = look_again(archive, objects.iter().copied())?;
        archive.still_stands(&id).map(|()| more)
    };
    let more = look().map_err(Error::published(id.to_string(), true))?;
    let brought_back = brought_back + more;
    Ok(Undeleted { id, day: trashed.day, brought_back, replaced })
}
