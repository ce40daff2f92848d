//! Whether what a disk has left is what was promised. Reads images with a reader of its own: of the program only the
//! manifest's format is used.

use super::image::{Content, Image};
use super::keys::{STAFF, file_name, open_sealed};
use super::sources::{Tree, What};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex};
use weekvault::format::{Keys, ManifestReader, RandomRead, Seals};
use weekvault::model::{ChunkId, Completeness, Extent, Kind, ObjectId};

/// What is known of a manifest, by the hash of its file.
struct Version {
    needs: Vec<ObjectId>,
    tree: Tree,
}

/// Where manifests are.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Places {
    /// By `<week>/<pvc>`.
    pub(crate) visible: BTreeMap<String, blake3::Hash>,
    /// Those in the trash of which every object is there too.
    pub(crate) trash: BTreeSet<[u8; 32]>,
}

impl Places {
    /// Where a manifest is, if anywhere.
    pub(crate) fn has(&self, hash: &blake3::Hash) -> bool {
        self.visible.values().any(|h| h == hash) || self.in_trash(hash)
    }

    pub(crate) fn in_trash(&self, hash: &blake3::Hash) -> bool {
        self.trash.contains(hash.as_bytes())
    }
}

type Opened = Option<(ObjectId, Arc<Vec<u8>>)>;

#[derive(Default)]
pub(crate) struct Judge {
    versions: Mutex<HashMap<blake3::Hash, Arc<Version>>>,
    opened: Mutex<HashMap<blake3::Hash, Opened>>,
}

/// An object that was damaged on purpose, and so may be missing.
pub(crate) type Excused = Option<ObjectId>;

struct Bytes(Content);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.bytes.len() as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let part = self.0.bytes.get(offset as usize..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// `<week>/<pvc>` of a manifest's path, and whether it is published or in the trash.
fn slot(path: &str) -> Option<(String, bool)> {
    let slot = path.strip_suffix(".manifest")?.strip_prefix("/store/")?;
    match slot.split('/').collect::<Vec<_>>()[..] {
        [week, pvc] => Some((format!("{week}/{pvc}"), true)),
        ["trash", _, week, pvc] => Some((format!("{week}/{pvc}"), false)),
        _ => None,
    }
}

impl Judge {
    /// Takes note of manifests that are published for the first time, each of which must hold the tree that its pvc has
    /// in one of these states, and checks all.
    pub(crate) fn learn(
        &self,
        image: &Image,
        states: &[&BTreeMap<String, Tree>],
        excused: Excused,
    ) -> Result<Places, String> {
        for (path, content) in image.walk() {
            let (Some((slot, true)), Some(content)) = (slot(&path), content) else { continue };
            if self.versions.lock().unwrap().contains_key(&content.hash) {
                continue;
            }
            let pvc = slot.split_once('/').unwrap().1;
            let (tree, needs) = self.unpack(image, content).map_err(|e| format!("{path}: {e}"))?;
            if !states.iter().any(|trees| trees[pvc] == tree) {
                return Err(format!("{path} restores to something else: {tree:?}"));
            }
            self.versions.lock().unwrap().insert(content.hash, Arc::new(Version { needs, tree }));
        }
        self.check(image, excused)
    }

    /// The tree of a manifest that was learned.
    pub(crate) fn tree(&self, hash: &blake3::Hash) -> Tree {
        self.versions.lock().unwrap()[hash].tree.clone()
    }

    /// Checks that every manifest that is visible is known and has all its objects; in a sealed store any file of a chunk serves.
    pub(crate) fn check(&self, image: &Image, excused: Excused) -> Result<Places, String> {
        let walk = image.walk();
        let object = |(path, content): &(String, Option<&Content>)| {
            let (id, _) = self.open(path, (*content)?)?;
            let name = format!("objects/{}/{}", &id.to_string()[..1], file_name(&id));
            path.ends_with(&name).then_some(*id.chunk())
        };
        let chunks: HashSet<ChunkId> = walk.iter().filter_map(object).collect();
        let is_there =
            |id: &ObjectId| chunks.contains(id.chunk()) || excused.is_some_and(|e| e.chunk() == id.chunk());
        let mut places = Places::default();
        for (path, content) in &walk {
            let (Some((slot, visible)), Some(content)) = (slot(path), content) else { continue };
            let version = self.versions.lock().unwrap().get(&content.hash).cloned();
            match (version, visible) {
                (Some(version), visible) => match version.needs.iter().find(|id| !is_there(id)) {
                    Some(id) if visible => {
                        return Err(format!("{path} cannot be restored: no whole object {id}"));
                    }
                    Some(_) => {}
                    None if visible => drop(places.visible.insert(slot, content.hash)),
                    None => drop(places.trash.insert(*content.hash.as_bytes())),
                },
                (None, true) => return Err(format!("{path} is none that was ever published")),
                (None, false) => {}
            }
        }
        Ok(places)
    }

    /// The chunk that an object's file holds, and its name; none where the file is damaged, or no object's.
    fn open(&self, path: &str, stored: &Content) -> Opened {
        let ending = path.rsplit_once('.').filter(|_| path.contains("/objects/"))?.1;
        let mut opened = self.opened.lock().unwrap();
        let decode = || {
            let (id, chunk) = match ending {
                "zst" => {
                    let chunk = zstd::stream::decode_all(stored.bytes.as_slice()).ok()?;
                    (ObjectId::of(&chunk), chunk)
                }
                _ => open_sealed(&stored.bytes)?,
            };
            Some((id, Arc::new(chunk)))
        };
        opened.entry(stored.hash).or_insert_with(decode).clone()
    }

    /// The tree that a manifest restores to, and the objects that it takes.
    fn unpack(&self, image: &Image, manifest: &Content) -> Result<(Tree, Vec<ObjectId>), String> {
        let seals = Seals::with_keys(Keys::Reader(Arc::clone(&STAFF.reader)));
        let reader = ManifestReader::open(Bytes(manifest.clone()), &seals).map_err(|e| e.to_string())?;
        if reader.summary().map_err(|e| e.to_string())?.completeness != Completeness::Complete {
            return Err("it is not complete".into());
        }
        let rows = reader.objects().map_err(|e| e.to_string())?;
        let files = image.walk();
        let mut chunks = Vec::new();
        for row in &rows {
            let chunk = row.id.chunk().to_string();
            let beginning = format!("/objects/{}/{chunk}.", &chunk[..1]);
            let copies = files
                .iter()
                .filter(|(path, _)| path.contains(&beginning))
                .filter_map(|(path, c)| self.open(path, (*c)?));
            let chunk = copies.into_iter().find(|(id, _)| id.chunk() == row.id.chunk());
            chunks.push(chunk.ok_or(format!("no whole object {}", row.id))?.1);
        }
        let mut tree = Tree::new();
        for entry in reader.entries().map_err(|e| e.to_string())? {
            let (path, entry) = entry.map_err(|e| e.to_string())?;
            let what = match entry.kind {
                Kind::Directory => What::Folder,
                Kind::Symlink(target) => What::Symlink(target),
                Kind::HardLink(first) => What::Link(first.as_bytes().to_vec()),
                Kind::File(content) => {
                    let mut bytes = Vec::new();
                    for extent in content.extents {
                        match extent {
                            Extent::Hole { length } => bytes.resize(bytes.len() + length as usize, 0),
                            Extent::Slice { object, offset, length } => {
                                let chunk = &chunks[object as usize];
                                bytes.extend(&chunk[offset as usize..(offset + length) as usize]);
                            }
                        }
                    }
                    What::File(bytes)
                }
                other => return Err(format!("{path} is {other:?}")),
            };
            let mtime = if matches!(what, What::Symlink(_)) { 0 } else { entry.meta.mtime.secs };
            tree.insert(path.as_bytes().to_vec(), (entry.meta.mode, mtime, what));
        }
        let links: Vec<_> =
            tree.iter().filter(|(_, n)| matches!(n.2, What::Link(_))).map(|(p, _)| p.clone()).collect();
        for path in links {
            // Only its name is an entry: mode and time are the first one's.
            let What::Link(first) = tree[&path].2.clone() else { continue };
            let (mode, mtime, _) = tree[&first].clone();
            tree.insert(path, (mode, mtime, What::Link(first)));
        }
        Ok((tree, rows.iter().map(|row| row.id).collect()))
    }
}

/// What each step of a history left where, and which operations it took.
#[derive(Default)]
pub(crate) struct Ledger {
    steps: Vec<(usize, Places)>,
}

impl Ledger {
    /// Notes that a step has ended with the operation before `end`.
    pub(crate) fn step(&mut self, end: usize, places: Places) {
        self.steps.push((end, places));
    }

    /// The number of the step in whose midst the operation is.
    pub(crate) fn step_at(&self, operation: usize) -> usize {
        self.steps.partition_point(|(end, _)| *end <= operation)
    }

    /// Checks that all is still there that was published before `operation`, and not meant to go.
    pub(crate) fn check(&self, operation: usize, found: &Places) -> Result<(), String> {
        let step = self.step_at(operation);
        let Some((began, before)) = step.checked_sub(1).map(|s| &self.steps[s]) else { return Ok(()) };
        let after = match self.steps.get(step) {
            Some((_, after)) if *began < operation => after,
            _ => before,
        };
        for (slot, hash) in &before.visible {
            let now = found.visible.get(slot);
            let stays = after.visible.get(slot) == Some(hash);
            let replaced = !stays && now.is_some() && now == after.visible.get(slot);
            if !(now == Some(hash) || replaced || !stays && found.in_trash(hash)) {
                return Err(format!("{slot} was published, and is gone"));
            }
        }
        for hash in before.trash.intersection(&after.trash) {
            if !found.trash.contains(hash) && !found.visible.values().any(|h| h.as_bytes() == hash) {
                return Err("a retired manifest is gone from the trash, or its objects are".into());
            }
        }
        Ok(())
    }
}
