//! Checking a store: every object, every manifest, every reference; and mending what can be mended.

mod again;
mod contents;
mod manifest;
mod reading;
mod repair;

use super::Error;
use crate::model::{Extent, FileContent, ObjectId, ObjectRow, Observer, PvcName, Week, WeekRef};
use crate::repo::{
    Archive, Damage, Foreign, Listing, Manifest, ManifestId, ObjectReader, RepoError, StoreLock, alike_pvcs,
    lock, told_of_alike, told_of_future,
};
use crate::store::LockMode;
use contents::{Contents, Objects};
use manifest::{blame, check_entries};
use reading::Reading;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use manifest::Hurts;
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
    /// Paths that need it: up to 100 of each manifest.
    pub hurts: Hurts,
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
    /// Files whose content is not the one that their manifest gives the hash of, though every object of it is whole.
    pub wrong_contents: Hurts,
    /// Contents that were not hashed: that would take out of proportion to the store.
    pub unhashed: u64,
    /// Contents that were not hashed: nearly all of them is holes.
    pub sparse: u64,
    /// Objects that could not be read: whether they are whole cannot be told.
    pub unchecked_objects: Vec<DamagedObject>,
    /// Manifests that could not be read, and why.
    pub unchecked_manifests: Vec<(ManifestId, String)>,
    /// There are objects and not one manifest, published or in the trash.
    pub lacks_manifests: bool,
    /// What stands in the store and is neither a regular file nor a directory, or not the one of them that its place has:
    /// paths below the store's root. It is passed over.
    pub strange: Vec<String>,
    /// Files that are not the manifests that their names say.
    pub foreign: Vec<Foreign>,
    /// Pvcs whose names differ only in case.
    pub alike: Vec<(PvcName, PvcName)>,
    /// Manifests of weeks that are later than now.
    pub future: Vec<ManifestId>,
    /// Manifests that were looked at and of whose sources some paths could not be read when they were made.
    pub partial: Vec<ManifestId>,
}

impl Verified {
    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damaged_objects.is_empty()
            && self.damaged_manifests.is_empty()
            && self.wrong_contents == Hurts::default()
            && !self.lacks_manifests
    }

    /// For people: what is no damage, but should not be so.
    pub fn notes(&self) -> Vec<String> {
        let mut future: BTreeMap<&PvcName, BTreeSet<Week>> = BTreeMap::new();
        for id in &self.future {
            future.entry(&id.pvc).or_default().insert(id.week);
        }
        let future = future.iter().map(|(pvc, weeks)| told_of_future(pvc, weeks));
        let alike = self.alike.iter().map(|(a, b)| told_of_alike(a, b));
        let partial = |id: &ManifestId| {
            let (week, pvc) = (id.week, &id.pvc);
            format!(
                "{week}/{pvc} is partial: some paths could not be read when it was made, and are not in it"
            )
        };
        let partial = self.partial.iter().map(partial);
        self.foreign.iter().map(ToString::to_string).chain(alike).chain(future).chain(partial).collect()
    }

    /// Whether all that was to be checked could be read.
    pub fn is_checked(&self) -> bool {
        self.unchecked_objects.is_empty() && self.unchecked_manifests.is_empty() && self.unhashed == 0
    }
}

/// So many paths are named for each damaged object and manifest.
const MAX_PATHS: usize = 100;
/// Bytes that the names of all these paths may take.
const MAX_NAMES: usize = 8 << 20;

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
    result.partial = selected.iter().filter(|id| id.partial).cloned().collect();
    let narrowed = options.week.is_some() || options.pvc.is_some();
    let listing = archive.list_objects()?;
    result.strange = archive.strange(&listing)?;
    let weeks = archive.weeks()?;
    let all = &weeks.manifests;
    result.lacks_manifests = archive.lacks_manifests(all, &listing)?;
    result.alike = alike_pvcs(all);
    let future = archive.later_than_now(&all.iter().map(|m| m.id.week).collect());
    result.future = all.iter().map(|m| m.id.clone()).filter(|id| future.contains(&id.week)).collect();
    result.foreign = archive.foreign_names(&weeks)?;
    let mut check = Check::new(archive, &listing, options, observer);
    let sound = check.manifests(selected, &mut result)?;
    let mut damage = check.objects(narrowed, &mut result)?;
    if !options.repair {
        result.displaced = again::look_again(archive, options, &mut damage)?;
    } else {
        result.repaired = repair::repair(archive, &damage, observer)?;
        // What stands in its place now is whole, and what nothing needs hurts nothing where it is now.
        damage.retain(|id, (_, row)| row.is_some() && result.repaired.get(id) != Some(&Repair::BroughtBack));
    }
    let orphans: BTreeSet<ObjectId> =
        damage.iter().filter(|(_, (_, row))| row.is_none()).map(|(id, _)| *id).collect();
    let Check { contents, mut objects, .. } = check;
    let (blamed, wrong) = blame(archive, &sound, damage, &contents, (&mut objects, &listing))?;
    (result.wrong_contents, result.unhashed) = (wrong, contents.found.too_much);
    result.sparse = contents.found.too_sparse;
    (result.damaged_objects, result.unchecked_objects) =
        blamed.into_iter().partition(|object| object.damage.is_verdict());
    // What a manifest needed that has been retired since hurts nobody.
    let listed: BTreeSet<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    if !sound.iter().all(|id| listed.contains(id)) {
        result
            .damaged_objects
            .retain(|object| object.hurts != Hurts::default() || orphans.contains(&object.id));
    }
    Ok(result)
}

fn select(archive: &Archive, options: &VerifyOptions) -> Result<Vec<ManifestId>, Error> {
    let all: Vec<ManifestId> = archive.manifests()?.into_iter().map(|m| m.id).collect();
    let weeks: BTreeSet<Week> =
        all.iter().filter(|m| options.pvc.as_ref().is_none_or(|p| m.pvc == *p)).map(|m| m.week).collect();
    let week = options.week.and_then(|week| archive.week_of(week, &weeks));
    let is_none = options.week.is_some() && week.is_none();
    let fits = |m: &ManifestId| {
        !is_none && week.is_none_or(|w| m.week == w) && options.pvc.as_ref().is_none_or(|p| m.pvc == *p)
    };
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

/// A check on its way.
struct Check<'a> {
    archive: &'a Archive,
    listing: &'a Listing,
    options: &'a VerifyOptions,
    observer: &'a dyn Observer,
    objects: Objects,
    /// By number of the object: whether a sound manifest needs it.
    needed: Vec<bool>,
    contents: Contents,
    reading: Reading,
}

impl<'a> Check<'a> {
    fn new(
        archive: &'a Archive,
        listing: &'a Listing,
        options: &'a VerifyOptions,
        observer: &'a dyn Observer,
    ) -> Self {
        let (objects, contents, reading) = (Objects::default(), Contents::default(), Reading::default());
        Self { archive, listing, options, observer, objects, needed: Vec::new(), contents, reading }
    }

    /// Checks the manifests; returns those that are sound.
    fn manifests(
        &mut self,
        selected: Vec<ManifestId>,
        result: &mut Verified,
    ) -> Result<Vec<ManifestId>, Error> {
        self.observer.phase("checking manifests", None);
        let mut sound = Vec::new();
        for id in selected {
            if self.observer.cancelled() {
                return Err(Error::Cancelled);
            }
            result.manifests += 1;
            let checked = match self.archive.open_listed(&id) {
                Ok(Some(manifest)) => self.manifest(&manifest)?,
                // Retired since it was listed.
                Ok(None) => {
                    result.manifests -= 1;
                    continue;
                }
                Err(error) => Err(error),
            };
            match checked {
                Ok(()) => sound.push(id),
                Err(error) if error.is_access() => result.unchecked_manifests.push((id, error.to_string())),
                Err(error) => match self.archive.as_foreign(&id, &self.archive.manifests()?) {
                    Ok(Some(foreign)) => {
                        result.manifests -= 1;
                        result.foreign.push(foreign);
                    }
                    _ => result.damaged_manifests.push((id, error.to_string())),
                },
            }
        }
        Ok(sound)
    }

    fn manifest(&mut self, manifest: &Manifest) -> Result<Result<(), RepoError>, Error> {
        let table = match manifest.objects() {
            Ok(table) => table,
            Err(error) => return Ok(Err(error)),
        };
        // An object that was lost and stored anew may have another length than an older manifest says.
        let numbers = self.objects.number(&table, self.listing);
        let (pvc, mut failed) = (&manifest.id().pvc, Ok(()));
        let checked = check_entries(manifest, |path, content| {
            if !self.options.quick && failed.is_ok() && self.is_in_slice(content, &table) {
                let full = self.contents.add((pvc, path), content, &numbers, &self.objects);
                failed = if full { self.read(None) } else { Ok(()) };
            }
        });
        failed?;
        if checked.is_ok() {
            self.needed.resize(self.objects.len(), false);
            for number in numbers {
                if let Some(needed) = self.needed.get_mut(number as usize) {
                    *needed = true;
                }
            }
        }
        Ok(checked)
    }

    /// Of a part of the objects, contents are hashed that begin in it.
    fn is_in_slice(&self, content: &FileContent, table: &[ObjectRow]) -> bool {
        let Some(slice) = self.options.slice else { return true };
        let first = content.extents.iter().find_map(|extent| match *extent {
            Extent::Slice { object, .. } => table.get(object as usize),
            Extent::Hole { .. } => None,
        });
        first.is_none_or(|row| slice.contains(&row.id))
    }

    fn read(&mut self, last: Option<(Vec<u32>, Vec<ObjectId>)>) -> Result<(), Error> {
        let (contents, objects) = (&mut self.contents, &self.objects);
        self.reading.read(self.archive, contents, objects, last, self.options, self.observer)
    }

    /// Checks the objects; returns what is wrong.
    fn objects(&mut self, narrowed: bool, result: &mut Verified) -> Result<Damaged, Error> {
        let is_needed = |number: &u32| self.needed.get(*number as usize).copied().unwrap_or(false);
        let needed: Vec<u32> = (0..self.objects.len() as u32).filter(is_needed).collect();
        result.referenced = needed.len() as u64;
        let in_slice = |id: &ObjectId| self.options.slice.is_none_or(|slice| slice.contains(id));
        let mut orphans: Vec<ObjectId> = Vec::new();
        if !narrowed {
            let is_orphan = |id: &ObjectId| self.objects.number_of(id).is_none_or(|n| !is_needed(&n));
            orphans.extend(self.listing.iter().map(|(id, _)| *id).filter(is_orphan));
            let theirs: BTreeSet<&ObjectId> = result.foreign.iter().flat_map(|f| &f.objects).collect();
            result.unreferenced = orphans.iter().filter(|id| !theirs.contains(id)).count() as u64;
        }
        orphans.retain(in_slice);
        let rows = |n: &u32| self.objects.get(*n).is_some_and(|row| in_slice(&row.id));
        let needed: Vec<u32> = needed.into_iter().filter(rows).collect();
        result.objects = (needed.len() + orphans.len()) as u64;
        let lengths = needed.iter().filter_map(|n| self.objects.get(*n)).map(|row| &row.id).chain(&orphans);
        let bytes = lengths.filter_map(|id| self.listing.stored_length(id)).sum();
        self.observer.phase("checking objects", (!self.options.quick).then_some(bytes));
        if self.options.quick {
            return self.lengths(&needed);
        }
        self.read(Some((needed, orphans)))?;
        result.read_bytes = self.reading.bytes;
        let mut damage = std::mem::take(&mut self.reading.damage);
        // What only a damaged manifest names was read for its contents.
        damage.retain(|id, (_, row)| {
            let needed = self.objects.number_of(id).and_then(|n| self.needed.get(n as usize)).copied();
            row.is_none() || needed == Some(true)
        });
        Ok(damage)
    }

    /// Looks only whether objects are there with the right length.
    fn lengths(&self, needed: &[u32]) -> Result<Damaged, Error> {
        let mut damage = Damaged::new();
        let mut reader = ObjectReader::new(self.archive, Arc::default())
            .map_err(Error::system("prepare decompression"))?;
        for row in needed.iter().filter_map(|number| self.objects.get(*number)) {
            let expected = row.stored_length.into();
            let found = match self.listing.stored_length(&row.id) {
                None => Damage::Missing,
                // It may have been lost and stored anew at another level: then only its content can tell.
                Some(found) if found != expected && reader.check(&row.id, row.chunk_length).is_err() => {
                    Damage::Length { found, expected }
                }
                Some(_) => continue,
            };
            damage.insert(row.id, (found, Some(*row)));
        }
        Ok(damage)
    }
}
