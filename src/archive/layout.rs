//! Every name in a store is made and read here.
//!
//! ```text
//! store.json   objects/<h>/<64 hex>.zst   <YYYY-WW>/<pvc>[.partial].manifest
//! trash/<YYYY-MM-DD>[.<n>]/<the same paths>, and damaged/objects/<h>/<64 hex>.zst   tmp/   lock
//! in sealed stores also objects/<h>/<64 hex>.<32 hex>.<16 hex>.age   keys/read-<epoch>-<n>.age
//! ```

use crate::format::keys::ReadNumber;
use crate::model::{ChunkId, Digest, ObjectId, PvcName, RunId, Week};
use crate::store::Key;
use jiff::civil::Date;
use std::fmt;
use std::path::Path;

/// The folder of the objects.
pub(super) const OBJECTS: &str = "objects";
/// In a day's trash, the folder of the objects that were found damaged.
pub(super) const DAMAGED: &str = "damaged";
/// In sealed stores, the folder of the read files.
pub(super) const KEYS: &str = "keys";
const OBJECT_ENDING: &str = ".zst";
const SEALED_ENDING: &str = ".age";
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

/// The read files of a sealed store.
pub(super) fn keys() -> Key {
    Key::new(KEYS)
}

/// A read file.
pub(super) fn read_file(number: ReadNumber) -> Key {
    keys().child(&number.file_name())
}

/// Where a file that must replace nothing stands until it has its name. `digest` is that of its bytes.
pub(super) fn unfinished(digest: &Digest) -> Key {
    let digest = digest.to_string();
    tmp().child(&format!("{}-0", digest.get(..RUN_DIGITS).unwrap_or_default()))
}

/// The folders that hold objects, below `base`: one for each first hex digit.
pub(super) fn object_folders(base: &Key) -> impl Iterator<Item = Key> {
    let objects = base.child(OBJECTS);
    (0..16u32).map(move |digit| objects.child(&char::from_digit(digit, 16).unwrap_or('0').to_string()))
}

/// What an object's file is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ObjectName {
    pub(super) id: ObjectId,
    /// Proves that whoever stored the file had the naming key; only sealed stores' files have it, else it is 0.
    pub(super) tag: Tag,
}

/// The tag of a file in a sealed store.
pub(super) type Tag = [u8; 8];

impl ObjectName {
    /// The object's file, in its place.
    pub(super) fn key(&self) -> Key {
        self.key_below(&Key::root())
    }

    /// The object's file, below `base`.
    pub(super) fn key_below(&self, base: &Key) -> Key {
        let name = self.to_string();
        base.child(OBJECTS).child(name.get(..1).unwrap_or_default()).child(&name)
    }

    /// Whether `folder` is one that has this object's place.
    pub(super) fn belongs_in(&self, folder: &Key) -> bool {
        folder.as_str().ends_with(self.key().parent().as_str())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, tag } = self;
        match id.sum() {
            None => write!(f, "{id}{OBJECT_ENDING}"),
            Some(_) => write!(f, "{id}.{:016x}{SEALED_ENDING}", u64::from_be_bytes(*tag)),
        }
    }
}

/// The object that a file in one of the object folders is, if its name says so.
pub(super) fn parse_object(name: &str) -> Option<ObjectName> {
    let parsed = match name.strip_suffix(OBJECT_ENDING) {
        Some(hex) => ObjectName { id: ObjectId::plain(ChunkId(bytes(hex)?)), tag: Tag::default() },
        None => {
            let mut parts = name.strip_suffix(SEALED_ENDING)?.split('.');
            let (chunk, sum, tag) = (parts.next()?, parts.next()?, parts.next()?);
            ObjectName { id: ObjectId::sealed(ChunkId(bytes(chunk)?), bytes(sum)?), tag: bytes(tag)? }
        }
    };
    // Hex of the other case would be a second name for one object.
    (parsed.to_string() == name).then_some(parsed)
}

/// What so many hexadecimal digits stand for.
fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let mut bytes = [0; N];
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        *byte = (digit(high)? << 4 | digit(low)?) as u8;
    }
    Some(bytes)
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
        (Some(name), None, _) => matches!(name, "store.json" | OBJECTS | KEYS | "trash" | "tmp" | "lock"),
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
        let (plain, chunk) = (ObjectId::of(b"x"), *ObjectId::of(b"x").chunk());
        let (sealed, tag) = (ObjectId::sealed(chunk, [0xfe; 16]), [0, 0, 0, 0, 0xab, 0, 0, 1]);
        for (object, length) in
            [(ObjectName { id: plain, tag: Tag::default() }, 68), (ObjectName { id: sealed, tag }, 118)]
        {
            let key = object.key();
            let (folder, name) = key.as_str().rsplit_once('/').unwrap();
            assert_eq!((parse_object(name), name.len()), (Some(object), length));
            assert!(object_folders(&Key::root()).any(|f| f.as_str() == folder && object.belongs_in(&f)));
            let upper = name.to_uppercase().replace(".ZST", ".zst").replace(".AGE", ".age");
            for other in [
                &upper,
                &name.replace(".zst", ".x").replace(".age", ".zst").replace(".x", ".age"),
                &format!("{name}.age"),
            ] {
                assert_eq!(parse_object(other), None, "{other}");
            }
        }
        assert_eq!(object_folders(&Key::root()).count(), 16);
        let unsummed = format!("{plain}.{}.{}.age", "0".repeat(32), "0".repeat(16));
        assert_eq!(parse_object(&unsummed), None, "another name of a plain object");
        let number = ReadNumber { epoch: 2, n: 1 };
        assert_eq!(read_file(number).as_str(), "keys/read-2-1.age");
        assert!(is_own(Path::new("keys")) && !is_own(Path::new("keys/read-2-1.age")));
        assert!(is_unfinished(unfinished(&Digest::of(b"x")).name()));
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
