//! A whole check: the manifests, then the objects, then who is hurt.

use super::again::look_again;
use super::contents::Contents;
use super::manifest::{blame, check_entries};
use super::objects::Objects;
use super::options::VerifyOptions;
use super::reading::Reading;
use super::repair::{Repair, repair};
use super::result::{Damaged, Hurts, Verified};
use super::stand_in::stand_ins;
use crate::archive::{
    Archive, ArchiveError, Damage, Listing, Manifest, ManifestId, ObjectReader, StoreLock, alike_pvcs, lock,
};
use crate::model::{ChunkId, Extent, FileContent, ObjectId, Week, WeekRef};
use crate::ops::{Error, Run};
use crate::store::LockMode;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Checks the store. Damage is in the result.
///
/// # Errors
/// [`Error`] when the store cannot be listed, or has no manifest of the week and pvc that were asked for;
/// [`Error::Busy`] when it is to be repaired and others are at work on it.
pub fn verify(run: Run<'_>, options: &VerifyOptions) -> Result<Verified, Error> {
    let archive = run.archive;
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
    let mut check = Check::new(run, listing, options);
    let sound = check.manifests(selected, &mut result)?;
    let mut damage = check.objects(narrowed, &mut result)?;
    if !options.repair {
        result.displaced = look_again(archive, options, &mut damage)?;
    } else {
        result.repaired = repair(run, &damage)?;
        // What stands in its place now is whole, and what nothing needs hurts nothing where it is now.
        damage.retain(|id, (_, row)| row.is_some() && result.repaired.get(id) != Some(&Repair::BroughtBack));
    }
    result.stand_ins = stand_ins(archive, &check.objects, &mut damage)?;
    let orphans: BTreeSet<ObjectId> =
        damage.iter().filter(|(_, (_, row))| row.is_none()).map(|(id, _)| *id).collect();
    let Check { contents, mut objects, .. } = check;
    let (blamed, wrong) = blame(archive, &sound, damage, &contents, &mut objects)?;
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

/// A check on its way.
struct Check<'a> {
    run: Run<'a>,
    options: &'a VerifyOptions,
    objects: Objects,
    /// By number of the object: whether a sound manifest needs it.
    needed: Vec<bool>,
    contents: Contents,
    reading: Reading,
}

impl<'a> Check<'a> {
    fn new(run: Run<'a>, listing: Listing, options: &'a VerifyOptions) -> Self {
        let (objects, contents, reading) = (Objects::new(listing), Contents::default(), Reading::default());
        Self { run, options, objects, needed: Vec::new(), contents, reading }
    }

    /// Checks the manifests; returns those that are sound.
    fn manifests(
        &mut self,
        selected: Vec<ManifestId>,
        result: &mut Verified,
    ) -> Result<Vec<ManifestId>, Error> {
        self.run.observer.phase("checking manifests", None);
        let mut sound = Vec::new();
        for id in selected {
            self.run.go_on()?;
            result.manifests += 1;
            let checked = match self.run.archive.open_listed(&id) {
                Ok(Some(manifest)) => match self.run.archive.check_trusted(&manifest) {
                    Ok(()) => {
                        if self.run.archive.is_revoked(&manifest) {
                            result.revoked.push(id.clone());
                        }
                        self.manifest(&manifest)?
                    }
                    Err(error) => Err(error),
                },
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
                Err(error) => match self.run.archive.as_foreign(&id, &self.run.archive.manifests()?) {
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

    fn manifest(&mut self, manifest: &Manifest) -> Result<Result<(), ArchiveError>, Error> {
        let numbers = match self.objects.number(manifest) {
            Ok(numbers) => numbers,
            Err(error) => return Ok(Err(error)),
        };
        let (pvc, mut failed) = (&manifest.id().pvc, Ok(()));
        let checked = check_entries(manifest, |path, content| {
            if !self.options.quick && failed.is_ok() && self.is_in_slice(content, &numbers) {
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
    fn is_in_slice(&self, content: &FileContent, numbers: &[u32]) -> bool {
        let Some(slice) = self.options.slice else { return true };
        let first = content.extents.iter().find_map(|extent| match *extent {
            Extent::Slice { object, .. } => numbers.get(object as usize),
            Extent::Hole { .. } => None,
        });
        first.and_then(|number| self.objects.id(*number)).is_none_or(|id| slice.contains(&id))
    }

    fn read(&mut self, last: Option<(Vec<u32>, Vec<u32>)>) -> Result<(), Error> {
        let (contents, objects) = (&mut self.contents, &self.objects);
        self.reading.read(self.run, contents, objects, last, self.options)
    }

    /// Checks the objects; returns what is wrong.
    fn objects(&mut self, narrowed: bool, result: &mut Verified) -> Result<Damaged, Error> {
        let is_needed = |number: &u32| self.needed.get(*number as usize).copied().unwrap_or(false);
        let mut needed: Vec<u32> = self.objects.named().filter(is_needed).collect();
        result.referenced = needed.len() as u64;
        let id = |number: &u32| self.objects.id(*number);
        let in_slice =
            |n: &u32| self.options.slice.is_none_or(|slice| id(n).is_some_and(|id| slice.contains(&id)));
        let mut orphans: Vec<u32> = Vec::new();
        if !narrowed {
            orphans.extend(self.objects.listed().filter(|number| !is_needed(number)));
            let theirs: BTreeSet<&ObjectId> = result.foreign.iter().flat_map(|f| &f.objects).collect();
            let spare = self.spare_chunks(&needed, &orphans);
            let is_kept = |id: ObjectId| theirs.contains(&id) || spare.contains(id.chunk());
            result.unreferenced = orphans.iter().filter(|n| !id(n).is_some_and(is_kept)).count() as u64;
        }
        orphans.retain(in_slice);
        needed.retain(in_slice);
        result.objects = (needed.len() + orphans.len()) as u64;
        let ids = needed.iter().chain(&orphans).filter_map(id);
        let bytes = ids.filter_map(|id| self.objects.listing().stored_length(&id)).sum();
        self.run.observer.phase("checking objects", (!self.options.quick).then_some(bytes));
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

    /// The chunks of `needed` that have other files too, among `orphans`: a sealed store keeps these, since they may have to stand
    /// in for one that is needed.
    fn spare_chunks(&self, needed: &[u32], orphans: &[u32]) -> HashSet<ChunkId> {
        let sealed = |number: &u32| self.objects.id(*number).filter(|id| id.sum().is_some());
        let others: HashSet<ChunkId> = orphans.iter().filter_map(sealed).map(|id| *id.chunk()).collect();
        if others.is_empty() {
            return others;
        }
        let chunks = needed.iter().filter_map(sealed).map(|id| *id.chunk());
        chunks.filter(|chunk| others.contains(chunk)).collect()
    }

    /// Looks only whether objects are there with the right length.
    fn lengths(&self, needed: &[u32]) -> Result<Damaged, Error> {
        let mut damage = Damaged::new();
        let mut reader = ObjectReader::new(self.run.archive, Arc::default())
            .map_err(Error::system("prepare decompression"))?;
        for row in needed.iter().filter_map(|number| self.objects.get(*number)) {
            let expected = row.stored_length.into();
            let found = match self.objects.listing().stored_length(&row.id) {
                None => Damage::Missing,
                // It may have been lost and stored anew at another level: then only its content can tell.
                Some(found) if found != expected && reader.intact(&row.id, row.chunk_length).is_err() => {
                    Damage::Length { found, expected }
                }
                Some(_) => continue,
            };
            damage.insert(row.id, (found, Some(row)));
        }
        Ok(damage)
    }
}
