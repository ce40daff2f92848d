//! Checking a manifest, and whom damaged objects hurt.

use super::{DamagedObject, MAX_PATHS};
use crate::format::{FormatError, Section};
use crate::model::{Entry, Extent, Kind, ObjectId, ObjectRow};
use crate::ops::Error;
use crate::repo::{Archive, Manifest, ManifestId, RepoError};
use std::collections::{BTreeMap, HashSet};

/// Reads all of a manifest; what its reader does not check itself is checked here. Returns its object table.
pub(in crate::ops) fn check_manifest(manifest: &Manifest) -> Result<Vec<ObjectRow>, RepoError> {
    let invalid =
        |reason: String| manifest.error(FormatError::Invalid { part: "the entries section", reason }.into());
    manifest.owners()?;
    manifest.problems()?;
    manifest.left_out()?;
    manifest.reader().check_blocks(Section::Ancillary).map_err(|e| manifest.error(e))?;
    let table = manifest.objects()?;
    let mut firsts = HashSet::new();
    let mut count = 0;
    for entry in manifest.entries()? {
        if let (_, Entry { kind: Kind::HardLink(first), .. }) = entry? {
            firsts.insert(first);
        }
        count += 1;
    }
    let said = manifest.summary().counts.entries;
    if count != said {
        return Err(invalid(format!("{count} entries where the summary says {said}")));
    }
    if !firsts.is_empty() {
        for entry in manifest.entries()? {
            let (path, entry) = entry?;
            if !matches!(entry.kind, Kind::Directory | Kind::HardLink(_)) {
                firsts.remove(&path);
            }
        }
    }
    match firsts.iter().next() {
        Some(first) => {
            Err(invalid(format!("a hard link leads to {first}, which is nothing that can have links")))
        }
        None => Ok(table),
    }
}

/// Says which paths of which manifests need the damaged objects.
pub(super) fn blame(
    archive: &Archive,
    manifests: &[ManifestId],
    damage: super::Damaged,
) -> Result<Vec<DamagedObject>, Error> {
    let mut damaged: BTreeMap<ObjectId, DamagedObject> = damage
        .into_iter()
        .map(|(id, (damage, _))| (id, DamagedObject { id, damage, hurts: BTreeMap::new() }))
        .collect();
    if damaged.is_empty() {
        return Ok(Vec::new());
    }
    for id in manifests {
        let manifest = match archive.open_manifest(id) {
            // Retired since it was checked.
            Err(RepoError::Store(e)) if e.is_not_found() => continue,
            manifest => manifest?,
        };
        let table = manifest.objects()?;
        if !table.iter().any(|row| damaged.contains_key(&row.id)) {
            continue;
        }
        for entry in manifest.entries()? {
            let (path, Entry { kind: Kind::File(content), .. }) = entry? else { continue };
            for extent in &content.extents {
                let Extent::Slice { object, .. } = extent else { continue };
                let row = table.get(*object as usize);
                if let Some(damaged) = row.and_then(|row| damaged.get_mut(&row.id)) {
                    let paths = damaged.hurts.entry(manifest.id().clone()).or_default();
                    if paths.last() != Some(&path) && paths.len() < MAX_PATHS {
                        paths.push(path.clone());
                    }
                }
            }
        }
    }
    Ok(damaged.into_values().collect())
}
