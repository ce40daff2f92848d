//! Retired files: `trash/<day>/` holds them under the paths they had.

use super::{Archive, ManifestId, RepoError, layout};
use crate::model::{ObjectId, Timestamp};
use crate::store::{ItemKind, Key};
use jiff::civil::Date;
use std::collections::HashMap;

/// Copies of objects that the trash holds.
#[derive(Default, Debug)]
pub struct Trash(HashMap<ObjectId, Vec<Key>>);

impl Trash {
    /// Looks at the whole trash.
    ///
    /// # Errors
    /// [`RepoError::Store`].
    pub fn list(archive: &Archive) -> Result<Self, RepoError> {
        let mut objects: HashMap<ObjectId, Vec<Key>> = HashMap::new();
        for (_, folder) in archive.trash_days()? {
            for (id, _) in archive.list_objects_below(&folder)? {
                objects.entry(id).or_default().push(layout::object_below(&folder, &id));
            }
        }
        Ok(Self(objects))
    }

    /// Where copies of an object are, newest first.
    pub fn copies(&self, id: &ObjectId) -> &[Key] {
        self.0.get(id).map_or(&[], Vec::as_slice)
    }
}

/// The day of a moment, in UTC: the trash's folders mean the same on every machine.
pub(super) fn day_of(now: Timestamp) -> Date {
    let moment = jiff::Timestamp::new(now.secs, 0).unwrap_or_default();
    moment.to_zoned(jiff::tz::TimeZone::UTC).date()
}

impl Archive {
    /// The days' folders in the trash, newest first.
    pub(super) fn trash_days(&self) -> Result<Vec<(Date, Key)>, RepoError> {
        let mut days = Vec::new();
        for item in self.store.list(&layout::trash())? {
            if let (Some(day), ItemKind::Folder) = (layout::parse_trash_day(&item.name), item.kind) {
                days.push((day, layout::trash().child(&item.name)));
            }
        }
        days.sort_by(|a, b| b.cmp(a));
        Ok(days)
    }

    /// Where a manifest goes in the trash: the day's folder, or the next of its kind that has none of that name yet.
    pub(super) fn trash_place(&self, id: &ManifestId, now: Timestamp) -> Result<Key, RepoError> {
        let day = day_of(now);
        let mut attempt = 1;
        loop {
            let key = id.key_below(&layout::trash_day(day, attempt));
            match self.store.open(&key) {
                Err(e) if e.is_not_found() => return Ok(key),
                Err(e) => return Err(e.into()),
                Ok(_) => attempt += 1,
            }
        }
    }
}
