//! Checking a manifest, and whom damaged objects hurt.

use super::contents::Contents;
use super::objects::Objects;
use super::result::{Damaged, DamagedObject, Hurts, MAX_NAMES};
use crate::archive::{Archive, ArchiveError, Manifest, ManifestId};
use crate::format::{FormatError, Section};
use crate::model::{ArchivePath, Entry, Extent, FileContent, Kind, ObjectId, ObjectRow};
use crate::ops::Error;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

/// Reads all of a manifest; what its reader does not check itself is checked here. Returns its object table.
pub(in crate::ops) fn check_manifest(manifest: &Manifest) -> Result<Vec<ObjectRow>, ArchiveError> {
    let table = manifest.objects()?;
    check_entries(manifest, |_, _| ())?;
    Ok(table)
}

/// Does so for a manifest whose object table has been read; `file` is handed each content.
pub(super) fn check_entries(
    manifest: &Manifest,
    mut file: impl FnMut(&ArchivePath, &FileContent),
) -> Result<(), ArchiveError> {
    let invalid =
        |reason: String| manifest.error(FormatError::Invalid { part: "the entries section", reason }.into());
    if manifest.summary().details.is_none() {
        // Without a key its blocks are still those that the index has the hashes of.
        return manifest.reader().check_all_blocks().map_err(|e| manifest.error(e));
    }
    manifest.owners()?;
    manifest.problems()?;
    manifest.left_out()?;
    // What nobody decodes here has still to be what was stored.
    for section in [Section::ReadFile, Section::Ancillary] {
        manifest.reader().check_blocks(section).map_err(|e| manifest.error(e))?;
    }
    manifest.reader().check_starts().map_err(|e| manifest.error(e))?;
    let _shared = manifest.chunk_lengths()?;
    // As hashes: a tree may be all links, and their first names long.
    let (salt, mut firsts, mut count) = (RandomState::new(), HashSet::new(), 0);
    for entry in manifest.entries()? {
        match entry? {
            (_, Entry { kind: Kind::HardLink(first), .. }) => drop(firsts.insert(salt.hash_one(&first))),
            (path, Entry { kind: Kind::File(content), .. }) => file(&path, &content),
            _ => {}
        }
        count += 1;
    }
    let said = manifest.details()?.counts.entries;
    if count != said {
        return Err(invalid(format!("{count} entries where the summary says {said}")));
    }
    if !firsts.is_empty() {
        for entry in manifest.entries()? {
            let (path, entry) = entry?;
            if !matches!(entry.kind, Kind::Directory | Kind::HardLink(_)) {
                firsts.remove(&salt.hash_one(&path));
            }
        }
    }
    if firsts.is_empty() {
        return Ok(());
    }
    for entry in manifest.entries()? {
        if let (_, Entry { kind: Kind::HardLink(first), .. }) = entry?
            && firsts.contains(&salt.hash_one(&first))
        {
            let reason = format!("a hard link leads to {first}, which is nothing that can have links");
            return Err(invalid(reason));
        }
    }
    Ok(())
}

/// Says which paths of which manifests need the damaged objects, and which have contents that are not as claimed.
pub(super) fn blame(
    archive: &Archive,
    manifests: &[ManifestId],
    damage: Damaged,
    contents: &Contents,
    objects: &mut Objects,
) -> Result<(Vec<DamagedObject>, Hurts), Error> {
    // In the order of their names, by which they are found.
    let mut damaged: Vec<DamagedObject> = damage
        .into_iter()
        .map(|(id, (damage, _))| DamagedObject { id, damage, hurts: Hurts::default() })
        .collect();
    let find = |damaged: &[DamagedObject], id: &ObjectId| damaged.binary_search_by(|o| o.id.cmp(id)).ok();
    let (mut wrong, mut room) = (Hurts::default(), MAX_NAMES);
    if damaged.is_empty() && contents.found.wrong.is_empty() {
        return Ok((Vec::new(), wrong));
    }
    for id in manifests {
        let manifest = match archive.open_manifest(id) {
            // Retired since it was checked.
            Err(ArchiveError::Store(e)) if e.is_not_found() => continue,
            manifest => manifest?,
        };
        let numbers = objects.number(&manifest)?;
        let is_damaged = |number: &u32| objects.id(*number).and_then(|id| find(&damaged, &id));
        let concerned = numbers.iter().any(|number| is_damaged(number).is_some());
        if !concerned && contents.found.wrong.is_empty() {
            continue;
        }
        if manifest.summary().details.is_none() {
            // Which paths need an object takes a key to know.
            for number in numbers.iter().filter(|_| concerned) {
                let found = objects.id(*number).and_then(|object| find(&damaged, &object));
                if let Some(damaged) = found.and_then(|found| damaged.get_mut(found)) {
                    damaged.hurts.add(id, &ArchivePath::root(), &mut room);
                }
            }
            continue;
        }
        for entry in manifest.entries()? {
            let (path, Entry { kind: Kind::File(content), .. }) = entry? else { continue };
            if contents.is_wrong(&content, &numbers) {
                wrong.add(id, &path, &mut room);
            }
            if !concerned {
                continue;
            }
            let rows: BTreeSet<u32> = content.extents.iter().filter_map(row).collect();
            for row in rows {
                let object = numbers.get(row as usize).and_then(|number| objects.id(*number));
                let found = object.and_then(|object| find(&damaged, &object));
                let Some(damaged) = found.and_then(|found| damaged.get_mut(found)) else { continue };
                damaged.hurts.add(id, &path, &mut room);
            }
        }
    }
    Ok((damaged, wrong))
}

fn row(extent: &Extent) -> Option<u32> {
    match *extent {
        Extent::Slice { object, .. } => Some(object),
        Extent::Hole { .. } => None,
    }
}
