//! What a writer's file opens: nothing of what was written with it, but for private blocks that its compare key is for.

use crate::common::Place;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use weekvault::archive::Archive;
use weekvault::format::Keys;
use weekvault::model::RunId;
use weekvault::store::LocalStore;

/// Every key of a writer's file as an age identity, whatever it is for: the compare key, and the 32 bytes of the others taken for
/// one.
fn identities(writer: &str) -> BTreeMap<String, age::x25519::Identity> {
    let mut keys = BTreeMap::new();
    for line in writer.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        let text = match name {
            "compare" => value.to_owned(),
            "name-key" | "sign" => {
                let bytes: Vec<u8> = value.as_bytes().chunks(2).map(hex).collect();
                assert_eq!(bytes.len(), 32, "{name}");
                let hrp = bech32::Hrp::parse("age-secret-key-").unwrap();
                bech32::encode::<bech32::Bech32>(hrp, &bytes).unwrap().to_uppercase()
            }
            _ => continue,
        };
        keys.insert(name.to_owned(), age::x25519::Identity::from_str(&text).unwrap());
    }
    keys
}

fn hex(digits: &[u8]) -> u8 {
    u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
}

fn opens(key: &age::x25519::Identity, file: &[u8]) -> bool {
    let file = age::Decryptor::new(file).unwrap();
    file.decrypt(std::iter::once(key as &dyn age::Identity)).is_ok()
}

/// Tries the keys on everything of the store that is encrypted; how much each opens: objects, private blocks, read files.
fn opened(place: &Place, keys: &BTreeMap<String, age::x25519::Identity>) -> BTreeMap<String, [usize; 3]> {
    let archive = Archive::open(Arc::new(LocalStore::new(place.store(), RunId(1)))).unwrap();
    let archive = archive.with_keys(Keys::Without);
    let read = |path: &Path| fs::read(path).unwrap();
    let of_store = |below: &str| {
        let files = place.files(below).into_iter().filter(|path| path.is_file());
        files.map(|path| read(&path)).collect::<Vec<_>>()
    };
    let mut blocks = Vec::new();
    for listed in archive.manifests().unwrap() {
        let manifest = archive.open_manifest(&listed.id).unwrap();
        let file = read(&place.store().join(listed.id.to_string()));
        for block in manifest.reader().blocks().iter().filter(|block| block.section.is_private()) {
            let at = block.offset as usize;
            blocks.push(file[at..at + block.stored_length as usize].to_vec());
        }
    }
    let tried = [of_store("objects"), blocks, of_store("keys")];
    assert!(tried.iter().all(|files| !files.is_empty()));
    let count =
        |key: &age::x25519::Identity, files: &[Vec<u8>]| files.iter().filter(|file| opens(key, file)).count();
    keys.iter().map(|(name, key)| (name.clone(), [0, 1, 2].map(|kind| count(key, &tried[kind])))).collect()
}

fn history(place: &Place) {
    for week in 13..17 {
        place.write("html/a", vec![week; 200_000]);
        place.write(&format!("html/{week}"), "of this week");
        place.backup_sealed(&format!("2025-{week}"), "html");
    }
}

#[test]
fn no_key_of_a_writers_file_opens_what_was_written_with_it() {
    let place = Place::sealed();
    history(&place);
    let writer = fs::read_to_string(place.path("writer.key")).unwrap();
    let keys = identities(&writer);
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["compare", "name-key", "sign"]);
    let opened = opened(&place, &keys);
    assert_eq!((opened["name-key"], opened["sign"]), ([0; 3], [0; 3]));
    let [objects, blocks, read_files] = opened["compare"];
    assert!(objects == 0 && read_files == 0 && blocks > 4, "{opened:?}");
}

#[test]
fn a_blind_writers_file_opens_nothing() {
    let place = Place::with_operators();
    place.say("init --recipients-file {}/all.txt --writer-key {}/writer.key --blind").expect(0);
    history(&place);
    let writer = fs::read_to_string(place.path("writer.key")).unwrap();
    let keys = identities(&writer);
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["name-key", "sign"]);
    assert!(opened(&place, &keys).values().all(|opened| *opened == [0; 3]));
}

#[test]
fn another_writers_compare_key_and_a_renewed_one_open_nothing_of_before() {
    let place = Place::sealed();
    history(&place);
    let keys = "--identity {}/ann.key --recipients-file {}/all.txt --writer-key {}/writer.key";
    place.say(&format!("key writer {{}}/other.key {keys}")).expect(0);
    place.say(&format!("key rotate {keys}")).expect(0);
    for name in ["other.key", "writer.key"] {
        let keys = identities(&fs::read_to_string(place.path(name)).unwrap());
        assert!(opened(&place, &keys).values().all(|opened| *opened == [0; 3]), "{name}");
    }
}
