//! Retired files: `trash/<day>/` holds them under the paths they had, and damaged objects in a folder apart.

use super::error::ArchiveError;
use super::id::{ManifestId, ManifestRef};
use super::layout::{self, ObjectName};
use super::manifest::Manifest;
use super::open::Archive;
use crate::model::{ObjectId, PvcName, Timestamp, Week};
use crate::store::{ItemKind, Key};
use jiff::civil::Date;

/// Copies of objects that the trash holds. Takes 60 bytes of memory for each.
#[derive(Default, Debug)]
pub struct Trash {
    /// The folders that hold them: first those of retired objects, of these the newest first.
    folders: Vec<Key>,
    /// Each with its folder, sorted.
    copies: Vec<(ObjectName, u32)>,
}

impl Trash {
    /// Looks at the whole trash.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn list(archive: &Archive) -> Result<Self, ArchiveError> {
        let (mut folders, mut damaged) = (Vec::new(), Vec::new());
        for (_, folder) in archive.trash_days()? {
            for item in archive.store.list(&folder)? {
                match item.name.as_str() {
                    layout::OBJECTS => folders.push(folder.clone()),
                    // Never brought back unread.
                    layout::DAMAGED => damaged.push(folder.child(layout::DAMAGED)),
                    _ => {}
                }
            }
        }
        folders.append(&mut damaged);
        let mut copies = Vec::new();
        for (folder, base) in (0..).zip(&folders) {
            copies.extend(archive.list_objects_below(base)?.iter().map(|file| (file.name, folder)));
        }
        copies.sort_unstable();
        Ok(Self { folders, copies })
    }

    /// Whether there is a file that is to hold the object's chunk.
    pub fn has(&self, id: &ObjectId) -> bool {
        self.copies(id).next().is_some()
    }

    /// Where copies of an object are: those that were whole when they were retired first, and of these the newest. Files that
    /// hold the same chunk come after them.
    pub(super) fn copies(&self, id: &ObjectId) -> impl Iterator<Item = (ObjectName, Key)> {
        let first = self.copies.partition_point(|(other, _)| other.id.chunk() < id.chunk());
        let its = |copy: &&(ObjectName, u32)| copy.0.id.chunk() == id.chunk();
        let these = self.copies.get(first..).unwrap_or_default();
        let these = these.get(..these.iter().take_while(its).count()).unwrap_or_default();
        let own = these.iter().filter(move |(name, _)| name.id == *id);
        let others = these.iter().filter(move |(name, _)| name.id != *id);
        let place = |(name, folder): &(ObjectName, u32)| {
            Some((*name, name.key_below(self.folders.get(*folder as usize)?)))
        };
        own.chain(others).filter_map(place)
    }
}

/// A manifest in the trash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trashed {
    /// Which one, and its file.
    pub manifest: ManifestRef,
    /// The day on which it was retired or replaced, in UTC.
    pub day: Date,
    pub(super) key: Key,
}

/// Objects that were retired on one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrashedObjects {
    /// The day, in UTC.
    pub day: Date,
    /// How many.
    pub objects: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How many of them were found damaged.
    pub damaged: u64,
}

/// The day of a moment, in UTC: the trash's folders mean the same on every machine.
pub(super) fn day_of(now: Timestamp) -> Date {
    now.in_calendar().to_zoned(jiff::tz::TimeZone::UTC).date()
}

impl Archive {
    /// The days' folders in the trash, newest first.
    pub(super) fn trash_days(&self) -> Result<Vec<(Date, Key)>, ArchiveError> {
        let mut days = Vec::new();
        for item in self.list(&layout::trash())?.iter() {
            if let (Some((day, attempt)), ItemKind::Folder) =
                (layout::parse_trash_day(&item.name), &item.kind)
            {
                days.push((day, attempt, layout::trash().child(&item.name)));
            }
        }
        days.sort_by(|a, b| b.cmp(a));
        Ok(days.into_iter().map(|(day, _, key)| (day, key)).collect())
    }

    /// Where a file may go in the trash: the day's folder, or the next of its kind.
    pub(super) fn trash_places(
        &self,
        now: Timestamp,
        name_below: impl Fn(&Key) -> Key,
    ) -> Result<impl Iterator<Item = Key>, ArchiveError> {
        Ok(self.trash_folders(now)?.map(move |folder| name_below(&folder)))
    }

    /// The day's folder in the trash, and the next of its kind; not those in whose place something else stands.
    pub(super) fn trash_folders(&self, now: Timestamp) -> Result<impl Iterator<Item = Key>, ArchiveError> {
        let day = day_of(now);
        let items = self.list(&layout::trash())?;
        let taken = items.iter().filter(|item| item.kind != ItemKind::Folder);
        let taken: Vec<Key> = taken.map(|item| layout::trash().child(&item.name)).collect();
        let run = self.store.moves_in_steps();
        let folders = (1..).map(move |attempt| layout::trash_day(day, run, attempt));
        Ok(folders.filter(move |key| !taken.contains(key)))
    }

    /// The first of these places that is free.
    pub(super) fn trash_place(
        &self,
        now: Timestamp,
        name_below: impl Fn(&Key) -> Key,
    ) -> Result<Key, ArchiveError> {
        let mut places = self.trash_places(now, name_below)?;
        loop {
            let key = places.next().unwrap_or_else(layout::trash);
            match self.store.open(&key) {
                Err(e) if e.is_not_found() => return Ok(key),
                Err(e) if !e.is_no_file() || e.is_blocked() => return Err(e.into()),
                _ => {}
            }
        }
    }

    /// All manifests in the trash, oldest week first; of one week and pvc the one last retired comes first.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn trashed_manifests(&self) -> Result<Vec<Trashed>, ArchiveError> {
        let mut trashed = Vec::new();
        for (day, folder) in self.trash_days()? {
            for manifest in self.weeks_below(&folder)?.manifests {
                let key = manifest.id.key_below(&folder);
                trashed.push(Trashed { manifest, day, key });
            }
        }
        trashed.sort_by(|a, b| a.manifest.id.cmp(&b.manifest.id));
        Ok(trashed)
    }

    /// The objects in the trash by day, newest first.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub fn trashed_objects(&self) -> Result<Vec<TrashedObjects>, ArchiveError> {
        let mut days: Vec<TrashedObjects> = Vec::new();
        for (day, folder) in self.trash_days()? {
            let retired = self.list_objects_below(&folder)?;
            let damaged = self.list_objects_below(&folder.child(layout::DAMAGED))?;
            let bytes = retired.iter().chain(&damaged).map(|file| u64::from(file.length)).sum();
            let damaged = damaged.len() as u64;
            let objects = retired.len() as u64 + damaged;
            match days.last_mut() {
                Some(last) if last.day == day => {
                    last.objects += objects;
                    last.bytes += bytes;
                    last.damaged += damaged;
                }
                _ if objects == 0 => {}
                _ => days.push(TrashedObjects { day, objects, bytes, damaged }),
            }
        }
        Ok(days)
    }

    /// Opens a manifest in the trash.
    ///
    /// # Errors
    /// As [`Archive::open_manifest`].
    pub fn open_trashed(&self, trashed: &Trashed) -> Result<Manifest, ArchiveError> {
        self.open_manifest_at(&trashed.key, &trashed.manifest.id)
    }

    /// Manifests in the trash of this week and pvc: complete ones before partial ones, and of each kind the one that was
    /// made last first. One that cannot be read comes after all others.
    ///
    /// # Errors
    /// [`ArchiveError::NotInTrash`] where there is none; [`ArchiveError::Store`].
    pub fn find_trashed(&self, week: Week, pvc: &PvcName) -> Result<Vec<Trashed>, ArchiveError> {
        let all = self.trashed_manifests()?;
        let wanted = |id: &ManifestId| id.week == week && id.pvc == *pvc;
        let (mut found, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|t| wanted(&t.manifest.id));
        if found.is_empty() {
            let mut have: Vec<String> =
                others.iter().map(|t| format!("{}/{}", t.manifest.id.week, t.manifest.id.pvc)).collect();
            have.dedup();
            return Err(ArchiveError::NotInTrash { week, pvc: pvc.clone(), have });
        }
        found.sort_by_cached_key(|trashed| {
            let finished = self.open_trashed(trashed).ok().map(|m| m.summary().finished);
            (finished.is_none(), trashed.manifest.id.partial, std::cmp::Reverse(finished))
        });
        Ok(found)
    }
}
