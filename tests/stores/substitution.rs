//! What somebody puts into a sealed store in the place of something else is named, and not used.

use super::sealed::{CHUNKS, STORE, Sealed, back_up, noise};
use crate::common::{Place, assert_equal};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weekvault::format::Keys;
use weekvault::format::keys::{NewStore, OperatorRecipient, ReadKey};

/// A place with a sealed store of two pvcs and two weeks.
fn sealed() -> Place {
    let place = Place::sealed();
    for (week, text) in [("2025-13", "first"), ("2025-14", "second")] {
        for pvc in ["html", "enigma"] {
            place.write(&format!("{pvc}/a"), format!("{text} of {pvc}"));
            place.write(&format!("{pvc}/large"), noise(pvc.len() as u64, 100_000));
            place.backup_sealed(week, pvc);
        }
    }
    place
}

const BACKUP: &str = "backup --week 2025-15 --source html={}/html --writer-key {}/writer.key";
const ANN: &str = "--identity {}/ann.key";

fn all(place: &Place) -> Vec<(PathBuf, Vec<u8>)> {
    let files = place.files("").into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_description_that_was_replaced_ends_the_backup_before_it_writes() {
    let place = sealed();
    let config = fs::read_to_string(place.path("store/store.json")).unwrap();
    let plain = Place::new();
    plain.say("init").expect(0);
    let plain = fs::read_to_string(plain.path("store/store.json")).unwrap();
    let id = |text: &str| {
        serde_json::from_str::<serde_json::Value>(text).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let sizes = config.replacen("\"avg\": 1048576", "\"avg\": 524288", 1);
    assert_ne!(sizes, config);
    for (replaced, said) in [
        (plain.replace(&id(&plain), &id(&config)), "is plain"),
        (plain.clone(), "is plain"),
        (config.replace(&id(&config), &id(&plain)), "is for store"),
        (sizes, "cuts chunks of other sizes"),
        (config.replacen("age", "none", 1), "store.json"),
        ("{}".to_owned(), "store.json"),
        (String::new(), "store.json"),
    ] {
        fs::write(place.path("store/store.json"), &replaced).unwrap();
        let before = all(&place);
        place.say(BACKUP).expect(1).says(said);
        assert_eq!(all(&place), before, "{replaced}");
        if replaced.contains(&id(&config)) && said == "is plain" {
            let without = BACKUP.replace("--writer-key {}/writer.key", "");
            place
                .say(&without)
                .expect(1)
                .says("is of a sealed store, and store.json says that this one is plain");
            assert_eq!(all(&place), before, "a backup without a writer's file");
        }
    }
    fs::write(place.path("store/store.json"), config).unwrap();
    place.say(BACKUP).expect(0);
}

#[test]
fn manifests_in_others_places_are_named() {
    let other = sealed();
    for (from, to, said) in [
        ("store/2025-13/html.manifest", "2025-14/html.manifest", "it is that of 2025-13/html"),
        ("store/2025-14/enigma.manifest", "2025-14/html.manifest", "it is that of 2025-14/enigma"),
        ("", "2025-14/html.manifest", "it is that of another store"),
    ] {
        let place = sealed();
        let from = if from.is_empty() { other.path("store/2025-14/html.manifest") } else { place.path(from) };
        fs::copy(from, place.path("store").join(to)).unwrap();
        for more in ["", ANN] {
            place.say(&format!("verify {more}")).expect(4).says(said).says("2025-14 html");
        }
        place.say(&format!("restore --week latest --pvc html --target {{}}/out {ANN}")).expect(1).says(said);
        assert!(!place.path("out").exists());
        // What was there before is found, and the week is made anew.
        place.say(&BACKUP.replace("15", "14")).expect(0);
        place.say(&format!("restore --week 2025-14 --pvc html --target {{}}/out {ANN}")).expect(0);
        assert_equal(&place.path("html"), &place.path("out"));
        place.say("verify").expect(0);
    }
}

#[test]
fn objects_in_others_places_are_named_and_stored_anew() {
    let place = sealed();
    let objects = place.files("objects");
    let mut objects = objects.iter().filter(|path| path.is_file());
    let (a, b) = (objects.next().unwrap(), objects.next().unwrap());
    let (in_a, in_b) = (fs::read(a).unwrap(), fs::read(b).unwrap());
    fs::write(a, in_b).unwrap();
    fs::write(b, in_a).unwrap();
    for more in ["", ANN] {
        let told = place.say(&format!("verify --json {more}")).expect(4).json();
        assert_eq!(told["damaged_objects"].as_array().unwrap().len(), 2, "{told}");
    }
    place.say("verify --repair").expect(4);
    for pvc in ["html", "enigma"] {
        place.say(&BACKUP.replace("html", pvc)).expect(0);
        place.say(&format!("restore --week 2025-15 --pvc {pvc} --target {{}}/{pvc}.out {ANN}")).expect(0);
        assert_equal(&place.path(pvc), &place.path(&format!("{pvc}.out")));
    }
    // What the source has no more is lost.
    place.say(&format!("verify --week 2025-15 {ANN}")).expect(0);
}

#[test]
fn private_blocks_and_read_files_of_other_manifests_are_named() {
    let place = sealed();
    let (from, to) = (place.path("store/2025-13/html.manifest"), place.path("store/2025-14/html.manifest"));
    let (old, mut new) = (fs::read(from).unwrap(), fs::read(&to).unwrap());
    // The first block begins behind the header: of the same source it has the same length, padded.
    let length = 1024.min(new.len()).min(old.len());
    new[16..length].copy_from_slice(&old[16..length]);
    fs::write(&to, new).unwrap();
    for more in ["", ANN] {
        place.say(&format!("verify {more}")).expect(4).says("2025-14");
    }
    place.say(&format!("restore --week 2025-14 --pvc html --target {{}}/out {ANN}")).expect(1);
    let other = sealed();
    fs::copy(other.path("store/keys/read-1-1.age"), place.path("store/keys/read-1-1.age")).unwrap();
    let ran = place.say(&format!("restore --week 2025-13 --pvc html --target {{}}/out {ANN}")).expect(0);
    ran.says("opened by 2025-1");
    place.say(&BACKUP.replace("15", "14")).expect(0);
    let carried = place.say("key list --json").expect(0).json();
    assert!(!carried.to_string().contains("eve"), "{carried}");
}

#[test]
fn a_strangers_manifest_is_named_and_nothing_relies_on_it() {
    let store = Sealed::new(false);
    store.write("a", noise(1, 60_000));
    store.backup("2025-13").unwrap();
    // Somebody who knows the store's id, and may write to the share, makes keys of their own for it.
    let theirs = ReadKey::generate().unwrap().recipient().to_string();
    let recipient: OperatorRecipient = theirs.parse().unwrap();
    let keys = NewStore::generate(STORE.parse().unwrap(), CHUNKS, &[recipient], false, []).unwrap();
    let stranger = store.keyless.with_keys(Keys::Writer(Arc::new(keys.writer)));
    let source = store.path("theirs");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), "not what was backed up").unwrap();
    back_up(&stranger, &source, "2025-14").unwrap();
    for week in ["2025-14", "2025-13"] {
        let restored = store.restore(&store.reader, week, Path::new(&store.path(week)));
        match week {
            "2025-14" => {
                let error = restored.unwrap_err().to_string();
                assert!(error.contains("is not one of those that the keys trust"), "{error}");
                assert!(!store.path(week).exists());
            }
            _ => restored.unwrap(),
        }
    }
    let verified = store.verify(&store.reader);
    assert_eq!(verified.damaged_manifests.len(), 1, "{verified:?}");
    assert!(verified.damaged_manifests[0].1.contains("trust"), "{verified:?}");
    // The pod goes on from its own week.
    let done = store.backup("2025-15").unwrap();
    assert_eq!((done.counts.new_objects, done.counts.unchanged), (0, 1));
    store.restores("2025-15", &[("a", noise(1, 60_000))]);
}
