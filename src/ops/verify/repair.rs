//! Mending what a check found: copies from the trash take the place of damaged objects, else the place is left empty for
//! the next backup to fill.

use crate::archive::{ArchiveError, Damage, ObjectReader, Trash};
use crate::model::{ObjectId, ObjectRow};
use crate::ops::clock::now;
use crate::ops::{Error, Run};
use std::collections::BTreeMap;

/// What was done about a damaged object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repair {
    /// A whole copy from the trash stands in its place.
    BroughtBack,
    /// It is in the trash now, so that the next backup stores it again, if the source still has it.
    SetAside,
    /// The storage did not let it be set aside: it stays where it is.
    Stuck,
    /// There was nothing to set aside: the next backup stores it again, if the source still has it.
    Missing,
}

/// Does what can be done about each damaged object. One that no manifest needs is only set aside.
pub(super) fn repair(
    run: Run<'_>,
    damage: &BTreeMap<ObjectId, (Damage, Option<ObjectRow>)>,
) -> Result<BTreeMap<ObjectId, Repair>, Error> {
    let Run { archive, observer, .. } = run;
    let mut repaired = BTreeMap::new();
    if damage.is_empty() {
        return Ok(repaired);
    }
    observer.phase("repairing", None);
    let now = now();
    // What could not be read may be whole: it stays where it is.
    let verdicts = || damage.iter().filter(|(_, (damage, _))| damage.is_verdict());
    for (id, (damage, _)) in verdicts() {
        run.go_on()?;
        if *damage == Damage::Missing {
            continue;
        }
        match archive.set_aside(id, now) {
            Err(ArchiveError::Store(e)) if e.is_refused() => {
                observer.warn(&format!("{e}; the rest goes on"));
                repaired.insert(*id, Repair::Stuck);
            }
            done => done?,
        }
    }
    // Looked at only now: what a backup stored anew since it was found damaged was set aside as well, and is the copy to
    // bring back.
    let trash = Trash::list(archive)?;
    let mut reader = ObjectReader::prepared(archive)?;
    for (id, (damage, row)) in verdicts() {
        if repaired.contains_key(id) {
            continue;
        }
        let brought_back = match row {
            Some(row) => archive.bring_back(id, row.chunk_length, &trash, &mut reader)?,
            None => false,
        };
        let done = match damage {
            _ if brought_back => Repair::BroughtBack,
            Damage::Missing => Repair::Missing,
            _ => Repair::SetAside,
        };
        repaired.insert(*id, done);
    }
    archive.sync()?;
    Ok(repaired)
}
