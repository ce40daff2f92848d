//! Checking a store: every object, every manifest, every reference; and mending what can be mended.

mod again;
mod manifest;
mod repair;

use super::Error;
use super::parallel::start_some;
use crate::model::{ArchivePath, ObjectId, ObjectRow, Observer, PvcName, Week, WeekRef};
use crate::repo::{Archive, Damage, Listing, ManifestId, ObjectReader, SharedTrash, StoreLock, lock};
use crate::store::LockMode;
use manifest::blame;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(super) use manifest::check_manifest;
pub use repair::Repair;

/// The K-th of N parts of the objects, split by their names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slice {
    /// From 1 to `of`.
    pub part: u32,
    /// How many parts there are.
    pub of: u32,
}

impl Slice {
    /// Whether an object is in the part. Names are hashes, so the parts are of about one size.
    pub fn contains(&self, id: &ObjectId) -> bool {
        let key = id.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        // The range of keys in `of` equal parts, so that a part is a run of neighbouring names.
        (u128::from(key) * u128::from(self.of)) >> 64 == u128::from(self.part.saturating_sub(1))
    }
}

/// What to check.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// Only presence and stored length of objects; manifests are checked whole nevertheless.
    pub quick: bool,
    /// Only this part of the objects.
    pub slice: Option<Slice>,
    /// Only what this week needs.
    pub week: Option<WeekRef>,
    /// Only what this source needs.
    pub pvc: Option<PvcName>,
    /// Mend what can be mended.
    pub repair: bool,
    /// Threads.
    pub threads: usize,
}

/// A damaged object and what it hurts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DamagedObject {
    /// Its name.
    pub id: ObjectId,
    /// What is wrong with it.
    pub damage: Damage,
    /// Paths that need it, by manifest: up to 100 of each.
    pub hurts: BTreeMap<ManifestId, Vec<ArchivePath>>,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Manifests checked.
    pub manifests: u64,
    /// Objects checked.
    pub objects: u64,
    /// Objects that manifests reference.
    pub referenced: u64,
    /// Objects that nothing references; gc retires them.
    pub unreferenced: u64,
    /// Bytes read from objects.
    pub read_bytes: u64,
    /// Objects that are damaged or missing, and stay so until a backup stores them again.
    pub damaged_objects: Vec<DamagedObject>,
    /// Objects that manifests reference and that are whole, but in the trash.
    pub displaced: BTreeSet<ObjectId>,
    /// What was done about objects that were damaged.
    pub repaired: BTreeMap<ObjectId, Repair>,
    /// Manifests that are damaged, and how.
    pub damaged_manifests: Vec<(ManifestId, String)>,
    /// Objects that could not be read: whether they are whole cannot be told.
    pub unchecked_objects: Vec<DamagedObject>,
    /// Manifests that could not be read, and why.
    pub unchecked_manifests: Vec<(ManifestId, String)>,
    /// There are objects and not one manifest, published or in the trash.
    pub lacks_manifests: bool,
    /// What stands in the store and is neither a regular file nor a directory, or not the one of them that its place has:
    /// paths below the store's root. It is passed over.
    pub strange: Vec<String>,
}

impl Verified {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damaged_objects.is_empty() && self.damaged_manifests.is_empty() && !self.lacks_manifests
    }

    /// Whether all that was to be checked could be read.
    pub fn is_checked(&self) -> bool {
        self.unchecked_objects.is_empty() && self.unchecked_manifests.is_empty()
    }
}

/// So many paths are named for each damaged object and manifest.
const MAX_PATHS: usize = 100;

/// Checks the store. Damage is in the result.
///
/// # Errors
/// [`Error`] when the store cannot be listed, or has no manifest of the week and pvc that were asked for;
/// [`Error::Busy`] when it is to be repaired and others are at work on it.
pub fn verify(
    archive: &Archive,
    options: &VerifyOptions,
    observer: &dyn Observer,
) -> Result<Verified, Error> {
    let mut result = Verified::default();
    let guard = if options.repair { Some(lock(archive, LockMode::Exclusive)?) } else { None };
    if matches!(guard, Some(StoreLock::Busy)) {
        return Err(Error::Busy("repairing"));
    }
    let selected = select(archive, options)?;
    let narrowed = options.week.is_some() || options.pvc.is_some();
    let listing = archive.list_objects()?;
    result.strange = archive.strange(&listing)?;
    result.lacks_manifests = archive.lacks_manifests(&archive.manifests()?, &listing)?;
    observer.phase("checking manifests", None);
    let mut needed: HashMap<ObjectId, ObjectRow> = HashMap::new();
    let mut sound = Vec::new();
    for id in selected {
        if observer.cancelled() {
            return Err(Error::Cancelled);
        }
        result.manifests += 1;
        match archive.open_listed(&id).and_then(|m| m.map(|m| check_manifest(&m)).transpose()) {
            Ok(Some(table)) => {
                for row in table {
                    // An object that was lost and stored anew may have another length than an older manifest says.
                    if !needed.get(&row.id).is_some_and(|known| listing.has(known)) {
                        needed.insert(row.id, row);
                    }
                }
                sound.push(id);
            }
            // Retired since it was listed.
            Ok(None) => result.manifests -= 1,
            Err(error) if error.is_access() => result.unchecked_manifests.push((id, error.to_string())),
            Err(error) => result.damaged_manifests.push((id, error.to_string())),
        }
    }
    result.referenced = needed.len() as u64;
    let mut checks: Vec<(ObjectId, Option<ObjectRow>)> = Vec::new();
    if !narrowed {
        checks.extend(listing.iter().filter(|(id, _)| !needed.contains_key(*id)).map(|(id, _)| (*id, None)));
        result.unreferenced = checks.len() as u64;
    }
    checks.extend(needed.into_iter().map(|(id, row)| (id, Some(row))));
    checks.retain(|(id, _)| options.slice.is_none_or(|slice| slice.contains(id)));
    checks.sort_unstable_by_key(|(id, _)| *id);
    result.objects = checks.len() as u64;
    let bytes = checks.iter().filter_map(|(id, _)| listing.stored_length(id)).sum();
    observer.phase("checking objects", (!options.quick).then_some(bytes));
    let mut damage = check_objects(archive, &listing, &checks, options, observer, &mut result)?;
    if !options.repair {
        result.displaced = again::look_again(archive, options, &mut damage)?;
    } else {
        result.repaired = repair::repair(archive, &damage, observer)?;
        // What stands in its place now is whole, and what nothing needs hurts nothing where it is now.
        damage.retain(|id, (_, row)| row.is_some() && result.repaired.get(id) != Some(&Repair::BroughtBack));
    }
    let orphans: BTreeSet<ObjectId> =
        damage.iter().filter(|(_, (_, row))| row.is_none()).map(|(id, _)| *id).collect();
    let blamed = blame(archive, &sound, damage)?;
    (result.damaged_objects, result.unchecked_objects) =
        blamed.into_iter().partition(|object| object.damage.is_verdict());
    // What a manifest needed that has been retired since hurts nobody.
    let listed: BTreeSet<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    if !sound.iter().all(|id| listed.contains(id)) {
        result.damaged_objects.retain(|object| !object.hurts.is_empty() || orphans.contains(&object.id));
    }
    Ok(result)
}

fn select(archive: &Archive, options: &VerifyOptions) -> Result<Vec<ManifestId>, Error> {
    let all: Vec<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    let weeks: BTreeSet<Week> =
        all.iter().filter(|m| options.pvc.as_ref().is_none_or(|p| m.pvc == *p)).map(|m| m.week).collect();
    let week = match options.week {
        None => None,
        Some(WeekRef::Exact(week)) => Some(week),
        Some(WeekRef::Latest) => weeks.iter().next_back().copied(),
        Some(WeekRef::Previous) => weeks.iter().nth_back(1).copied(),
    };
    let fits =
        |m: &ManifestId| week.is_none_or(|w| m.week == w) && options.pvc.as_ref().is_none_or(|p| m.pvc == *p);
    let selected: Vec<ManifestId> = all.into_iter().filter(fits).collect();
    match (&options.pvc, options.week) {
        (Some(pvc), _) if selected.is_empty() => {
            // Says what there is instead.
            archive.find_manifest(options.week.unwrap_or(WeekRef::Latest), pvc)?;
            Ok(selected)
        }
        (None, Some(asked)) if selected.is_empty() => {
            let have: Vec<String> = weeks.iter().map(ToString::to_string).collect();
            Err(Error::NoSuchPath(format!("the store has no week {asked}; it has: {}", have.join(", "))))
        }
        _ => Ok(selected),
    }
}

/// What is wrong with which objects, and what a manifest says of them.
type Damaged = BTreeMap<ObjectId, (Damage, Option<ObjectRow>)>;

/// Checks objects on several threads; returns what is wrong.
fn check_objects(
    archive: &Archive,
    listing: &Listing,
    checks: &[(ObjectId, Option<ObjectRow>)],
    options: &VerifyOptions,
    observer: &dyn Observer,
    result: &mut Verified,
) -> Result<Damaged, Error> {
    let damage = Mutex::new(Damaged::new());
    let note = |(id, row): &(ObjectId, Option<ObjectRow>), found: Damage| {
        damage.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, (found, *row));
    };
    if options.quick {
        let mut reader =
            ObjectReader::new(archive, Arc::default()).map_err(Error::system("prepare decompression"))?;
        for check @ (id, row) in checks {
            match (listing.stored_length(id), row) {
                (None, _) => note(check, Damage::Missing),
                // It may have been lost and stored anew at another level: then only its content can tell.
                (Some(found), Some(row)) if found != u64::from(row.stored_length) => {
                    match reader.check(id, row.chunk_length) {
                        Ok(_) => {}
                        Err(damage @ Damage::Unreadable(_)) => note(check, damage),
                        Err(_) => note(check, Damage::Length { found, expected: row.stored_length.into() }),
                    }
                }
                _ => {}
            }
        }
    } else {
        let next = AtomicUsize::new(0);
        let trash = SharedTrash::default();
        let before = observer.counters().store_read.get();
        let check = || -> Result<(), Error> {
            let mut reader = ObjectReader::new(archive, Arc::clone(&trash))
                .map_err(Error::system("prepare decompression"))?;
            while let Some(check @ (id, row)) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
                if observer.cancelled() {
                    return Err(Error::Cancelled);
                }
                let read_before = reader.bytes_read();
                let checked = match row {
                    Some(row) => reader.check(id, row.chunk_length).map(drop),
                    None => reader.check_orphan(id),
                };
                if let Err(found) = checked {
                    note(check, found);
                }
                observer.counters().objects_read.add(1);
                observer.counters().store_read.add(reader.bytes_read() - read_before);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            // This thread does its part, so that all is checked even where there are no others.
            let others = start_some(scope, (1..options.threads).map(|_| check)).unwrap_or_default();
            let mine = check();
            others.into_iter().fold(mine, |so_far, t| so_far.and(t.join().unwrap_or(Err(Error::Cancelled))))
        })?;
        result.read_bytes = observer.counters().store_read.get() - before;
    }
    Ok(damage.into_inner().unwrap_or_else(PoisonError::into_inner))
}
