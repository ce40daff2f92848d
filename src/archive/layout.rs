//! Every name in a store is made and read here.
//!
//! ```text
//! store.json   objects/<h>/<64 hex>.zst   <YYYY-WW>/<pvc>[.partial].manifest
//! trash/<YYYY-MM-DD>[.<n>]/<the same paths>, and damaged/objects/<h>/<64 hex>.zst   tmp/   lock
//! ```

use crate::model::{ObjectId, PvcName, RunId, Week};
use crate::store::Key;
use jiff::civil::Date;
use std::path::Path;

/// The folder of the objects.
pub(super) const OBJECTS: &str = "objects";
/// In a day's trash, the folder of the objects that were found damaged.
pub(super) const DAMAGED: &str = "damaged";
const OBJECT_ENDING: &str = ".zst";
const MANIFEST_ENDING: &str = ".manifest";
const PARTIAL_ENDING: &str = ".partial.manifest";

/// What kind of store this is.
pub(super) fn store_json() -> Key {
    Key::new("store.json")
}

/// Unfinished writes.
pub(super) fn tmp() -> Key {
    Key::new("tmp")
}

/// Retired files.
pub(super) fn trash() -> Key {
    Key::new("trash")
}

/// The folders that hold objects, below `base`: one for each first hex digit.
pub(super) fn object_folders(base: &Key) -> impl Iterator<Item = Key> {
    let objects = base.child(OBJECTS);
    (0..16u32).map(move |digit| objects.child(&char::from_digit(digit, 16).unwrap_or('0').to_string()))
}

/// The folder that an object is in.
pub(super) fn object_folder(id: &ObjectId) -> Key {
    object(id).parent()
}

/// Where an object is, below `base`.
pub(super) fn object_below(base: &Key, id: &ObjectId) -> Key {
    let hex = id.to_string();
    base.child(OBJECTS).child(hex.get(..1).unwrap_or_default()).child(&format!("{hex}{OBJECT_ENDING}"))
}

/// Where an object is.
pub(super) fn object(id: &ObjectId) -> Key {
    object_below(&Key::root(), id)
}

/// The object that a file in one of the object folders is, if its name says so.
pub(super) fn parse_object(name: &str) -> Option<ObjectId> {
    let id: ObjectId = name.strip_suffix(OBJECT_ENDING)?.parse().ok()?;
    // Hex of the other case would be a second name for one object.
    (id.to_string() == name.get(..64)?).then_some(id)
}

/// A week's folder, below `base`.
pub(super) fn week_below(base: &Key, week: Week) -> Key {
    base.child(&week.to_string())
}

/// A manifest's file name.
pub(super) fn manifest_name(pvc: &PvcName, partial: bool) -> String {
    format!("{pvc}{}", if partial { PARTIAL_ENDING } else { MANIFEST_ENDING })
}

/// The pvc that a file in a week's folder is a manifest of, and whether it is a partial one.
pub(super) fn parse_manifest(name: &str) -> Option<(PvcName, bool)> {
    let (pvc, partial) = match name.strip_suffix(PARTIAL_ENDING) {
        Some(pvc) => (pvc, true),
        None => (name.strip_suffix(MANIFEST_ENDING)?, false),
    };
    Some((pvc.parse().ok()?, partial))
}

/// Whether a name ends as manifests' do, and is none of theirs: a copy that somebody has made in a week's directory.
pub(super) fn is_nearly_manifest(name: &str) -> bool {
    name.contains(MANIFEST_ENDING) && !name.starts_with('.') && parse_manifest(name).is_none()
}

/// Whether a path relative to the store's root has a name of the store's own, of those at its top and of manifests.
pub fn is_own(path: &Path) -> bool {
    let mut names = path.iter().map(|name| name.to_str().unwrap_or_default());
    match (names.next(), names.next(), names.next()) {
        (Some(name), None, _) => matches!(name, "store.json" | OBJECTS | "trash" | "tmp" | "lock"),
        (Some(week), Some(name), None) => week.parse::<Week>().is_ok() && parse_manifest(name).is_some(),
        _ => false,
    }
}

/// Whether a name in `tmp/` is that of a run's unfinished write: the run's id and a number.
pub(super) fn is_unfinished(name: &str) -> bool {
    let is = |part: &str, digit: fn(&u8) -> bool| !part.is_empty() && part.as_bytes().iter().all(digit);
    name.split_once('-').is_some_and(|(run, number)| {
        run.len() == RUN_DIGITS && is(run, u8::is_ascii_hexdigit) && is(number, u8::is_ascii_digit)
    })
}

/// A day's folder in the trash, one of this run alone where `run` is given; `attempt` counts from 1.
pub(super) fn trash_day(day: Date, run: Option<RunId>, attempt: u32) -> Key {
    let run = run.map_or(String::new(), |run| format!(".{run}"));
    let attempt = if attempt == 1 { String::new() } else { format!(".{attempt}") };
    trash().child(&format!("{day}{run}{attempt}"))
}

/// The day that a folder in the trash stands for, and its attempt.
pub(super) fn parse_trash_day(name: &str) -> Option<(Date, u32)> {
    let mut parts = name.split('.').peekable();
    let day: Date = parts.next()?.parse().ok()?;
    let run = parts.peek().filter(|part| part.len() == RUN_DIGITS);
    let run = run.and_then(|part| u64::from_str_radix(part, 16).ok()).map(RunId);
    let mut rest = parts.skip(usize::from(run.is_some()));
    let attempt = rest.next().map_or(Some(1), |n| n.parse().ok())?;
    // Only what is written is read: other spellings are somebody else's folders.
    (attempt > 0 && trash_day(day, run, attempt) == trash().child(name)).then_some((day, attempt))
}

/// Hexadecimal digits of a run's id.
const RUN_DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let id = ObjectId::of(b"x");
        let key = object(&id);
        let (folder, name) = key.as_str().rsplit_once('/').unwrap();
        assert_eq!(parse_object(name), Some(id));
        assert!(object_folders(&Key::root()).any(|f| f.as_str() == folder));
        assert_eq!(object_folders(&Key::root()).count(), 16);
        let upper = name.to_uppercase().replace(".ZST", ".zst");
        assert_eq!(parse_object(&upper), None);
        let pvc: PvcName = "a.manifest".parse().unwrap();
        for partial in [false, true] {
            assert_eq!(parse_manifest(&manifest_name(&pvc, partial)), Some((pvc.clone(), partial)));
        }
        assert_eq!(parse_manifest(".hidden.manifest"), None);
        let day = jiff::civil::date(2025, 4, 8);
        for (attempt, run) in [1, 2, 30].into_iter().flat_map(|n| [(n, None), (n, Some(RunId(0x10)))]) {
            let key = trash_day(day, run, attempt);
            assert_eq!(parse_trash_day(key.as_str().strip_prefix("trash/").unwrap()), Some((day, attempt)));
        }
        for other in [
            "2025-4-8",
            "2025-04-08.1",
            "2025-04-08.0",
            "2025-04-08.+5",
            "2025-04-08.007",
            "2025-04-08.x",
            "2025-04-08.2.0000000000000010",
        ] {
            assert_eq!(parse_trash_day(other), None, "{other}");
        }
    }
}
