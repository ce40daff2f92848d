//! What a check found.

use super::repair::Repair;
use crate::archive::{Damage, Foreign, ManifestId, told_of_alike, told_of_future};
use crate::model::{ArchivePath, ObjectId, ObjectRow, PvcName, Week};
use std::collections::{BTreeMap, BTreeSet};

/// What is wrong with which objects, and what a manifest says of them.
pub(super) type Damaged = BTreeMap<ObjectId, (Damage, Option<ObjectRow>)>;

/// So many paths are named for each damaged object and manifest.
const MAX_PATHS: usize = 100;
/// Bytes that the names of all these paths may take.
pub(super) const MAX_NAMES: usize = 8 << 20;

/// What damage hurts: paths by manifest, as many as there is room for, and how many more there are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hurts {
    /// The paths that are named, a manifest after the other.
    pub paths: Vec<(ManifestId, Vec<ArchivePath>)>,
    /// How many are not named.
    pub unnamed: u64,
}

impl Hurts {
    /// How many paths are hurt.
    pub fn count(&self) -> u64 {
        self.paths.iter().map(|(_, paths)| paths.len() as u64).sum::<u64>() + self.unnamed
    }

    /// Adds a path of the manifest that is looked at, where there is room for it.
    pub(super) fn add(&mut self, manifest: &ManifestId, path: &ArchivePath, room: &mut usize) {
        let is_new = self.paths.last().is_none_or(|(last, _)| last != manifest);
        let paths = if is_new { 0 } else { self.paths.last().map_or(0, |(_, paths)| paths.len()) };
        let of_manifest = if is_new { size_of::<(ManifestId, Vec<ArchivePath>)>() } else { 0 };
        let weight = of_manifest + size_of::<ArchivePath>() + path.as_bytes().len();
        if paths >= MAX_PATHS || weight > *room {
            self.unnamed += 1;
            return;
        }
        *room -= weight;
        if is_new {
            self.paths.push((manifest.clone(), Vec::new()));
        }
        if let Some((_, paths)) = self.paths.last_mut() {
            paths.push(path.clone());
        }
    }
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
    /// Objects whose own files are lost or damaged, and for which another whole file of the chunk stands in: only sealed stores
    /// have such.
    pub stand_ins: BTreeSet<ObjectId>,
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
    /// Manifests whose writer was revoked, as far as the keys tell.
    pub revoked: Vec<ManifestId>,
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
        let revoked = self.revoked.iter().map(|id| {
            format!(
                "{}/{} is of a writer who was revoked: it is read only where its week is named",
                id.week, id.pvc
            )
        });
        let foreign = self.foreign.iter().map(ToString::to_string);
        foreign.chain(alike).chain(future).chain(partial).chain(revoked).collect()
    }

    /// Whether all that was to be checked could be read.
    pub fn is_checked(&self) -> bool {
        self.unchecked_objects.is_empty() && self.unchecked_manifests.is_empty() && self.unhashed == 0
    }
}
