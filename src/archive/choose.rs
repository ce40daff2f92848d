//! Which manifest is meant: by week and pvc, by `latest` and `previous`.

use super::error::ArchiveError;
use super::id::ManifestId;
use super::open::Archive;
use crate::model::{PvcName, Timestamp, Week, WeekRef};
use crate::store::Key;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

impl Archive {
    /// The week that is meant, of these; none where there is none. One that has not begun is neither the latest nor the one
    /// before.
    pub fn week_of(&self, week: WeekRef, weeks: &BTreeSet<Week>) -> Option<Week> {
        let back = match week {
            WeekRef::Exact(week) => return Some(week),
            WeekRef::Latest => 0,
            WeekRef::Previous => 1,
        };
        let future = self.later_than_now(weeks);
        weeks.iter().rev().filter(|week| !future.contains(week)).nth(back).copied()
    }

    /// Those of these weeks that are later than now, by this machine's clock or by the newest change of the store's root
    /// directory: whichever is later, since a clock that is behind must not hide what there is.
    pub fn later_than_now(&self, weeks: &BTreeSet<Week>) -> BTreeSet<Week> {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let ours = Timestamp { secs: ours as i64, nanos: 0 };
        let later = |now: Timestamp| {
            let last = Week::last_begun(now);
            weeks.iter().filter(move |week| **week > last)
        };
        if later(ours).next().is_none() {
            return BTreeSet::new();
        }
        let changed = self.store.modified(&Key::root()).unwrap_or_default();
        later(ours.max(changed)).copied().collect()
    }

    /// The weeks of a pvc that are later than now.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn future_weeks(&self, pvc: &PvcName) -> Result<BTreeSet<Week>, ArchiveError> {
        let manifests = self.manifests()?;
        Ok(self.later_than_now(&manifests.iter().filter(|m| m.id.pvc == *pvc).map(|m| m.id.week).collect()))
    }

    /// The manifest that a command line names; a complete one rather than a partial one of the same week.
    ///
    /// # Errors
    /// [`ArchiveError::NoManifest`], which says what there is instead.
    pub fn find_manifest(&self, week: WeekRef, pvc: &PvcName) -> Result<ManifestId, ArchiveError> {
        let all: Vec<ManifestId> = self.manifests()?.into_iter().map(|m| m.id).collect();
        let weeks: BTreeSet<Week> = all.iter().filter(|m| m.pvc == *pvc).map(|m| m.week).collect();
        let wanted = self.week_of(week, &weeks);
        // Complete ones sort before partial ones.
        if let Some(id) = all.iter().find(|m| m.pvc == *pvc && Some(m.week) == wanted) {
            return Ok(id.clone());
        }
        let of_week = |m: &&ManifestId| Some(m.week) == wanted;
        let mut pvcs: BTreeSet<PvcName> = all.iter().filter(of_week).map(|m| m.pvc.clone()).collect();
        if pvcs.is_empty() && weeks.is_empty() {
            pvcs = all.into_iter().map(|m| m.pvc).collect();
            let week = if pvcs.is_empty() { week } else { WeekRef::Latest };
            return Err(ArchiveError::NoManifest {
                week,
                pvc: pvc.clone(),
                weeks: vec![],
                pvcs: pvcs.into_iter().collect(),
            });
        }
        let (weeks, pvcs) = (weeks.into_iter().collect(), pvcs.into_iter().collect());
        Err(ArchiveError::NoManifest { week, pvc: pvc.clone(), weeks, pvcs })
    }
}
