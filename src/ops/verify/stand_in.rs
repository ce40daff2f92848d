//! Files that stand in for others: in a sealed store a chunk may have several, and any whole one serves what needs the chunk.

use super::objects::Objects;
use super::result::Damaged;
use crate::archive::{Archive, ArchiveError, Damage, ObjectReader};
use crate::model::{ObjectId, ObjectRow};
use std::collections::BTreeSet;

/// Drops from `damage` what another whole file of the chunk stands in for, and returns it. Whether such a file was stored by
/// somebody who could tell, the naming key says, or a manifest that names it; where there is neither, what it stands in for could
/// not be checked.
pub(super) fn stand_ins(
    archive: &Archive,
    objects: &Objects,
    damage: &mut Damaged,
) -> Result<BTreeSet<ObjectId>, ArchiveError> {
    let mut served = BTreeSet::new();
    let mut of_sealed =
        damage.iter_mut().filter(|(id, (_, row))| id.sum().is_some() && row.is_some()).peekable();
    if of_sealed.peek().is_none() {
        return Ok(served);
    }
    archive.list_objects()?;
    let mut reader = ObjectReader::prepared(archive)?;
    for (id, (found, row)) in of_sealed {
        let Some(row) = row else { continue };
        match best(archive, objects, row, &mut reader)? {
            Some(true) => drop(served.insert(*id)),
            Some(false) => {
                let reason =
                    format!("{found}, and whether another file may stand in for it takes a key to know");
                *found = Damage::Unreadable(reason);
            }
            None => {}
        }
    }
    damage.retain(|id, _| !served.contains(id));
    Ok(served)
}

/// Whether a whole file stands in for an object: none does, one may, or one does.
fn best(
    archive: &Archive,
    objects: &Objects,
    row: &ObjectRow,
    reader: &mut ObjectReader,
) -> Result<Option<bool>, ArchiveError> {
    let mut best = None;
    for (other, is_right) in archive.others_of(&row.id)? {
        let is_named = || objects.number_of(&other).and_then(|number| objects.get(number)).is_some();
        let is_right = is_right.or_else(|| is_named().then_some(true));
        if is_right != Some(false) && reader.intact(&other, row.chunk_length).is_ok() {
            best = best.max(Some(is_right == Some(true)));
        }
    }
    Ok(best)
}
