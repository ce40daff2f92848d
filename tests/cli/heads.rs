//! `verify --head`: who remembers what a sealed store had notices when it goes back.

use crate::common::{Place, Ran, copy};
use serde_json::json;
use std::fs;

fn verify(place: &Place, more: &str) -> Ran {
    place.say(&format!("verify --head {{}}/head.json {more}"))
}

/// A place with two weeks that are remembered.
fn remembered() -> Place {
    let place = Place::sealed();
    place.write("html/a", "first");
    place.backup_sealed("2025-13", "html");
    place.backup_sealed("2025-14", "html");
    verify(&place, "").expect(0).says("remembered from now on, in").says(": 2 manifests");
    place
}

#[test]
fn a_store_that_goes_on_is_well() {
    let place = remembered();
    verify(&place, "").expect(0).says("the store has not gone back");
    place.write("html/a", "second");
    place.backup_sealed("2025-14", "html");
    place.backup_sealed("2025-15", "html");
    let told = verify(&place, "--json").expect(0).json();
    assert_eq!(
        (&told["heads"]["remembered_before"], &told["heads"]["remembered_now"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(told["heads"]["changes"], json!([]));
    // Retention.
    for week in 16..26 {
        place.backup_sealed(&format!("2025-{week}"), "html");
    }
    verify(&place, "").expect(0);
    let keys = "--identity {}/ann.key --recipients-file {}/all.txt";
    place.say(&format!("key writer {{}}/new.key {keys}")).expect(0);
    place.say("backup --week 2025-25 --source html={}/html --writer-key {}/new.key").expect(0);
    let ran = verify(&place, "").expect(0);
    ran.says("new writer: 2025-25/html is of writer").says("the store has not gone back");
    let told = verify(&place, "--json").expect(0).json();
    assert_eq!(told["heads"]["changes"], json!([]), "from then on it is known");
}

#[test]
fn an_older_state_is_told_until_it_is_accepted() {
    let place = remembered();
    let older = place.path("older");
    copy(&place.store(), &older);
    place.write("html/a", "second");
    place.backup_sealed("2025-14", "html");
    verify(&place, "").expect(0);
    let head = fs::read(place.path("head.json")).unwrap();
    // The older manifest of the same week stands again.
    let manifest = "2025-14/html.manifest";
    fs::copy(older.join(manifest), place.store().join(manifest)).unwrap();
    let ran = verify(&place, "").expect(4);
    ran.says("ROLLED BACK: 2025-14/html was manifest 3 of writer")
        .says("and is manifest 2 again")
        .says("--accept");
    assert_eq!(fs::read(place.path("head.json")).unwrap(), head, "it still remembers");
    let told = verify(&place, "--json").expect(4).json();
    let change = &told["heads"]["changes"][0];
    assert_eq!((&change["verdict"], &change["sequence"]), (&json!("rolled back"), &json!(3)), "{told}");
    place.say("forget 2025-13/html").expect(0);
    verify(&place, "").expect(4).says("2025-13/html was manifest 1").says("and is gone");
    verify(&place, "--accept")
        .expect(0)
        .says("accepted, and remembered from now on, in")
        .says(": 1 manifest\n");
    verify(&place, "").expect(0).says("the store has not gone back");
    place.say("undelete --week 2025-13 --pvc html").expect(0);
    verify(&place, "").expect(0);
}

#[test]
fn what_is_remembered_is_of_one_store_and_outside_of_it() {
    let place = remembered();
    place.say("verify --head {}/store/head.json").expect(2).says("is inside the store");
    let other = Place::sealed();
    let head = place.text("head.json");
    other.say(&format!("verify --head {head}")).expect(1).says("remembers the store");
    let plain = Place::new();
    plain.say("init").expect(0);
    plain.say("verify --head {}/head.json").expect(1).says("is for sealed stores");
    fs::write(plain.path("damaged.json"), "{}").unwrap();
    place
        .say(&format!("verify --head {}", plain.text("damaged.json")))
        .expect(1)
        .says("put back a copy of it");
    place.say("verify --accept").expect(2);
    // Somebody has replaced the description.
    let config = fs::read(plain.path("store/store.json")).unwrap();
    fs::write(place.path("store/store.json"), config).unwrap();
    verify(&place, "").expect(1).says("remembers a sealed store, and store.json says that the one at");
}

#[test]
fn what_was_found_is_told_also_where_it_cannot_be_remembered() {
    let place = remembered();
    let damaged = place.objects_sealed().into_iter().next().unwrap();
    let into_nothing = "verify --head {}/nowhere/head.json";
    place.say(into_nothing).expect(1).says("nothing is damaged").says("was not remembered: cannot write");
    fs::write(&damaged, "damaged").unwrap();
    place.say(into_nothing).expect(4).says("1 object DAMAGED").says("was not remembered: cannot write");
    // A file that makes no sense ends it before the store is read.
    place.write("other.json", "{}");
    let ran = place.say("verify --head {}/other.json").expect(1).says("put back a copy of it");
    assert!(!ran.stdout.contains("DAMAGED"), "{ran}");
}
