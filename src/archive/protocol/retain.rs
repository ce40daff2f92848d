//! Retention: which manifests are old, and moving manifests to the trash.

use crate::archive::error::ArchiveError;
use crate::archive::id::{ManifestId, ManifestRef};
use crate::archive::open::Archive;
use crate::model::{Observer, PvcName, Timestamp, Week};
use std::collections::{BTreeMap, BTreeSet};

/// A manifest that was moved to the trash, or in a dry run would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retired {
    /// Which one.
    pub id: ManifestId,
}

/// What became of manifests that were to go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Given {
    /// Those that are in the trash now, or in a dry run would be.
    pub retired: Vec<Retired>,
    /// How many the storage did not let us move.
    pub stuck: u64,
}

/// What retention keeps.
#[derive(Clone, Copy, Debug)]
pub struct Retention<'a> {
    /// So many complete manifests of each pvc, and at most so many weeks of which there are only partial ones.
    pub keep: usize,
    /// Only these pvcs are looked at; all where none are given.
    pub pvcs: Option<&'a [PvcName]>,
    /// This week stays, however old it is: it was published just now.
    pub never: Option<Week>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A run that retires more manifests of a pvc than this says so: in a week one becomes old, beside a partial one.
const USUAL: usize = 2;

/// Keeps the newest complete manifests of each pvc and moves older ones to the trash, and with them partial manifests
/// that are older than all that is kept, that have been made needless by a complete one of their week, or that have enough
/// newer ones: what can never be read whole must not fill the store. Weeks later than `now` do not count and stay. Asked to
/// stop, it leaves the rest to the next run. `listed` are the manifests as they were a moment ago.
///
/// # Errors
/// [`ArchiveError::Store`].
pub fn retain(
    archive: &Archive,
    listed: &[ManifestRef],
    retention: Retention<'_>,
    now: Timestamp,
    observer: &dyn Observer,
) -> Result<Given, ArchiveError> {
    let mut by_pvc: BTreeMap<&PvcName, Vec<&ManifestRef>> = BTreeMap::new();
    for manifest in listed {
        if retention.pvcs.is_none_or(|pvcs| pvcs.contains(&manifest.id.pvc)) {
            by_pvc.entry(&manifest.id.pvc).or_default().push(manifest);
        }
    }
    let mut old = Vec::new();
    for (pvc, manifests) in by_pvc {
        let (manifests, future): (Vec<_>, Vec<_>) =
            manifests.into_iter().partition(|m| m.id.week <= Week::last_begun(now));
        if !future.is_empty() {
            let weeks = future.iter().map(|m| m.id.week).collect();
            observer.warn(&told_of_future(pvc, &weeks));
        }
        let history = History::of(&manifests, retention.keep);
        let ids: Vec<ManifestId> =
            manifests.iter().filter(|m| history.is_old(m, retention.never)).map(|m| m.id.clone()).collect();
        let partial = ids.iter().filter(|id| history.is_crowded_out(id)).count();
        if partial > 0 {
            let complete = match history.complete.last() {
                Some(week) => format!("no week since {week} is complete"),
                None => "no week is complete".to_owned(),
            };
            observer.warn(&format!(
                "{pvc}: {complete}; retention counts the partial ones, of which it keeps {}",
                retention.keep
            ));
        }
        if let ([first, .., last], false) = (ids.as_slice(), retention.dry_run)
            && ids.len() > USUAL
        {
            observer.warn(&format!(
                "{pvc}: {} manifests are retired at once, from {} to {}; `weekvault undelete` brings one back from the trash",
                ids.len(),
                first.week,
                last.week
            ));
        }
        old.extend(ids);
    }
    match retention.dry_run {
        true => Ok(Given { retired: old.into_iter().map(|id| Retired { id }).collect(), stuck: 0 }),
        false => move_to_trash(archive, old, now, observer),
    }
}

/// For people: these weeks of the pvc have not begun.
pub fn told_of_future(pvc: &PvcName, weeks: &BTreeSet<Week>) -> String {
    let names: Vec<String> = weeks.iter().map(ToString::to_string).collect();
    let (names, first) = (names.join(", "), names.first().cloned().unwrap_or_default());
    let (week, is, counts) =
        if weeks.len() == 1 { ("week", "is", "counts") } else { ("weeks", "are", "count") };
    format!(
        "{pvc}: {week} {names} {is} later than now: {counts} neither in retention nor as `latest`; if that is a mistake, \
         `weekvault forget {first}/{pvc}` retires such a week"
    )
}

/// The weeks of a pvc that have begun.
struct History {
    /// With a complete manifest, and when the last of them was written.
    complete: Vec<Week>,
    written: BTreeMap<Week, Timestamp>,
    /// Complete manifests before this one are old; partial ones too.
    first_kept: Option<Week>,
    /// Partial manifests before this one have enough newer ones.
    first_partial: Option<Week>,
}

impl History {
    fn of(manifests: &[&ManifestRef], keep: usize) -> Self {
        let of_kind = |partial: bool| manifests.iter().filter(move |m| m.id.partial == partial);
        let written: BTreeMap<Week, Timestamp> = of_kind(false).map(|m| (m.id.week, m.modified)).collect();
        let complete: Vec<Week> = written.keys().copied().collect();
        let partial: BTreeSet<Week> =
            of_kind(true).map(|m| m.id.week).filter(|week| !written.contains_key(week)).collect();
        let first_kept = complete.iter().rev().take(keep).next_back().copied();
        let first_partial = partial.iter().rev().take(keep).next_back().copied();
        Self { complete, written, first_kept, first_partial }
    }

    fn is_old(&self, manifest: &ManifestRef, never: Option<Week>) -> bool {
        let ManifestRef { id, modified, .. } = manifest;
        // A partial one that was made after the complete one of its week has what that has not.
        let is_needless = id.partial && self.written.get(&id.week).is_some_and(|written| written >= modified);
        let is_before = self.first_kept.is_some_and(|first| id.week < first) || self.is_crowded_out(id);
        is_needless || (is_before && Some(id.week) != never)
    }

    /// A partial one that is old only because of newer partial ones. One beside a complete one of its week goes with that.
    fn is_crowded_out(&self, id: &ManifestId) -> bool {
        let is_before = |first: Option<Week>| first.is_some_and(|first| id.week < first);
        let is_alone = id.partial && !self.written.contains_key(&id.week);
        is_alone && is_before(self.first_partial) && !is_before(self.first_kept)
    }
}

/// Moves manifests to the trash. One that the storage does not let us move is told of, and the others go.
///
/// # Errors
/// [`ArchiveError::Store`].
pub fn move_to_trash(
    archive: &Archive,
    ids: Vec<ManifestId>,
    now: Timestamp,
    observer: &dyn Observer,
) -> Result<Given, ArchiveError> {
    let mut given = Given::default();
    for id in ids {
        if observer.cancelled() {
            break;
        }
        let place = archive.trash_place(now, |day| id.key_below(day))?;
        match archive.store.withdraw(&id.key(), &place) {
            Err(e) if e.is_not_found() => {}
            Err(e) if e.is_taken() => {
                observer.warn(&format!("{id} was replaced by another run just now, and stays"));
                continue;
            }
            Err(e) if e.is_refused() => {
                observer.warn(&format!("{id} cannot be moved to the trash, and stays: {e}"));
                given.stuck += 1;
                continue;
            }
            moved => moved?,
        }
        let week = id.key().parent();
        if archive.store.list(&week)?.is_empty() {
            // Another run may have published into it since; then it stays.
            let _ = archive.store.delete(&week);
        }
        given.retired.push(Retired { id });
    }
    archive.store.sync()?;
    Ok(given)
}
