//! Commands on sealed stores: what goes without a key, and what takes which.

use crate::common::{Place, assert_equal, copy};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use weekvault::format::keys::PaperKey;

/// A place with a sealed store that has two weeks of `html`.
fn two_weeks() -> Place {
    let place = Place::sealed();
    place.write("html/config/main.inc.php", "first");
    place.write("html/large", vec![7; 300_000]);
    place.backup_sealed("2025-13", "html");
    place.write("html/config/main.inc.php", "second, and longer");
    place.backup_sealed("2025-14", "html");
    place
}

/// An operator's identity.
const ANN: &str = "--identity {}/ann.key";

#[test]
fn a_backup_takes_a_writers_file_and_nothing_else() {
    let place = two_weeks();
    let before = place.files("").len();
    let backup = "backup --week 2025-15 --source html={}/html";
    place
        .say(backup)
        .expect(1)
        .says("is sealed: give a writer's file by --writer-key")
        .says("nothing was done");
    place.say(&format!("{backup} {ANN}")).expect(1).says("--writer-key");
    place.say(&format!("{backup} --dry-run")).expect(1).says("--writer-key");
    assert_eq!(place.files("").len(), before);
    place.say(&format!("{backup} --dry-run --writer-key {{}}/writer.key")).expect(0);
    assert_eq!(place.files("").len(), before);
    let other = Place::sealed();
    let of_other = other.text("writer.key");
    place
        .say(&format!("{backup} --writer-key {of_other}"))
        .expect(1)
        .says("is for store")
        .says("nothing was done");
    assert_eq!(place.files("").len(), before);
    place.backup_sealed("2025-15", "html");
}

#[test]
fn what_is_kept_from_others_takes_an_identity() {
    let place = two_weeks();
    let which = "--week latest --pvc html";
    for line in [
        format!("ls {which}"),
        format!("cat {which} large"),
        format!("restore {which} --target {{}}/out"),
        format!("materialize {which} {{}}/out"),
    ] {
        let ran = place.say(&line).expect(1).says("no key that opens it was given");
        ran.says("hint: give by --identity");
        assert!(!place.path("out").exists(), "{line}");
    }
    let ran = place.say(&format!("ls -R {which} {ANN}")).expect(0);
    assert_eq!(ran.stdout, "config\nconfig/main.inc.php\nlarge\n");
    let ran = place.say(&format!("cat {which} config/main.inc.php --identity {{}}/bob.key")).expect(0);
    assert_eq!(ran.stdout, "second, and longer");
    place.say(&format!("ls {which} --identity {{}}/eve.key")).expect(1).says("none of the identities opens");
    place.say(&format!("restore {which} --target {{}}/out {ANN}")).expect(0).says("not pinned");
    assert_equal(&place.path("html"), &place.path("out"));
    place.say(&format!("materialize --all {{}}/weeks {ANN}")).expect(0);
    assert_eq!(fs::read(place.path("weeks/2025-13/html/config/main.inc.php")).unwrap(), b"first");
    let told = place.say("key list --json").expect(0).json();
    let newest = told["read_files"][0]["number"].clone();
    assert_eq!(newest, json!("1-1"), "{told}");
}

#[test]
fn what_keeps_a_store_takes_no_key() {
    let place = two_weeks();
    let listed = |more: &str| place.say(&format!("list --json {more}")).expect(0).json();
    let (keyless, keyed) = (listed(""), listed(ANN));
    let newest = &keyless[1];
    assert_eq!((&newest["sealed"], &newest["sequence"]), (&json!(true), &json!(2)), "{newest}");
    for hidden in ["files", "bytes", "host", "source", "tool", "entries"] {
        assert_eq!(newest[hidden], Value::Null, "{hidden}");
        assert_ne!(keyed[1][hidden], Value::Null, "{hidden}");
    }
    for more in ["", ANN] {
        let verified = place.say(&format!("verify --json {more}")).expect(0).json();
        assert_eq!((&verified["manifests"], &verified["unreferenced_objects"]), (&json!(2), &json!(0)));
    }
    place.say("retain --keep 1").expect(0);
    place.say("undelete --week 2025-13 --pvc html").expect(0);
    place.say("forget 2025-13/html").expect(0);
    place.say("gc --empty-trash").expect(0);
    assert_eq!(listed("").as_array().unwrap().len(), 1);
    place.say(&format!("restore --week 2025-14 --pvc html --target {{}}/out {ANN}")).expect(0);
    assert_equal(&place.path("html"), &place.path("out"));
}

#[test]
fn a_store_that_lost_its_keys_and_its_description_is_still_read() {
    let place = two_weeks();
    fs::remove_dir_all(place.path("store/keys")).unwrap();
    let restore = format!("restore --week 2025-14 --pvc html --target {{}}/out {ANN}");
    place.say(&restore).expect(0).says("opened by 2025-14/html.manifest");
    assert_equal(&place.path("html"), &place.path("out"));
    fs::remove_file(place.path("store/store.json")).unwrap();
    fs::remove_dir_all(place.path("out")).unwrap();
    place.say(&restore).expect(0).says("store.json is lost");
    assert_equal(&place.path("html"), &place.path("out"));
    place.say("ls --week latest --pvc html").expect(1).says("no key that opens it was given");
    place
        .say("backup --week 2025-15 --source html={}/html --writer-key {}/writer.key")
        .expect(1)
        .says("store.json");
}

#[test]
fn a_revoked_writers_weeks_are_read_where_they_are_named() {
    let place = two_weeks();
    let keys = format!("{ANN} --recipients-file {{}}/all.txt");
    place.say(&format!("key writer {{}}/new.key {keys} --writer-key {{}}/writer.key")).expect(0);
    let told = place.say(&format!("key list --json {ANN}")).expect(0).json();
    let first = told["writers"][0]["writer"].as_str().unwrap().to_owned();
    place.say(&format!("key revoke {first} {keys} --writer-key {{}}/new.key")).expect(0);
    place
        .say(&format!("key list {ANN}"))
        .expect(0)
        .says(&format!("by another writer than {first}, who was revoked"));
    place.say(&format!("ls --week latest --pvc html {ANN}")).expect(1).says("was revoked");
    let ran = place.say(&format!("ls --week 2025-14 --pvc html {ANN}")).expect(0);
    ran.says("warning: the writer of").says("was revoked: make sure that it has what you expect");
    place.say(&format!("verify {ANN}")).expect(0).says("2025-14/html is of a writer who was revoked");
    place.say(&format!("materialize --all {{}}/weeks {ANN}")).expect(1).says("is not restored");
    let ran = place.say(&format!("materialize --all --week 2025-14 {{}}/named {ANN}")).expect(0);
    ran.says("warning: the writer of").says("make sure that it has what you expect");
    assert_equal(&place.path("html"), &place.path("named/2025-14/html"));
    // The new one starts from nothing of the revoked one's.
    let line = "backup --json --week 2025-15 --source html={}/html --writer-key {}/new.key";
    let told = place.say(line).expect(0).json();
    assert_eq!(told["sources"][0]["unchanged"], 0, "{told}");
    place.say(&format!("restore --week latest --pvc html --target {{}}/out {ANN}")).expect(0);
    assert_equal(&place.path("html"), &place.path("out"));
}

#[test]
fn a_plain_store_is_sealed_in_the_course_of_its_weeks() {
    let place = Place::with_operators();
    place.write("html/a", "of the plain weeks");
    place.backup("2025-13", "html");
    let sealed = "backup --week 2025-14 --source html={}/html --writer-key {}/writer.key";
    place.say("init --recipients-file {}/all.txt --writer-key {}/writer.key").expect(0);
    place.write("html/b", "of the sealed weeks");
    let ran = place.say(sealed).expect(0).says("1 of its manifests are plain: nothing relies on them");
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{ran}");
    let listed = place.say("list").expect(0);
    let states: Vec<&str> = listed.stdout.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(states, ["state", "complete, plain", "complete"], "{listed}");
    let told = place.say("list --json").expect(0).json();
    assert_eq!((&told[0]["sealed"], &told[1]["sealed"]), (&json!(false), &json!(true)));
    // What is plain anybody reads, who has the store.
    for more in ["", ANN] {
        let ran = place.say(&format!("cat --week 2025-13 --pvc html a {more}")).expect(0);
        assert_eq!(ran.stdout, "of the plain weeks");
    }
    place.say(&format!("restore --week 2025-14 --pvc html --target {{}}/out {ANN}")).expect(0);
    assert_equal(&place.path("html"), &place.path("out"));
    // Plain backups come to an end.
    place.say("backup --week 2025-15 --source html={}/html").expect(1).says("is sealed");
}

#[test]
fn copies_of_rsync_are_imported_into_a_sealed_store() {
    let place = Place::sealed();
    place.write("farm/2025-13/html/a", "first");
    place.write("farm/2025-14/html/a", "second");
    place.say("import --rsync-root {}/farm").expect(1).says("--writer-key");
    for kind in ["", "--blind"] {
        let import = "import --rsync-root {}/farm --json --writer-key {}/writer.key";
        let states = |told: &Value| {
            let copies = told["copies"].as_array().unwrap().iter();
            copies.map(|copy| copy["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(states(&place.say(import).expect(0).json()), ["imported", "imported"], "{kind}");
        assert_eq!(states(&place.say(import).expect(0).json()), ["kept", "kept"], "{kind}");
        let ran = place.say(&format!("cat --week 2025-13 --pvc html a {ANN}")).expect(0);
        assert_eq!(ran.stdout, "first");
        if kind.is_empty() {
            place.say("forget 2025-13/html 2025-14/html").expect(0);
            fs::remove_file(place.path("writer.key")).unwrap();
            let keys = format!("{ANN} --recipients-file {{}}/all.txt");
            place.say(&format!("key writer {{}}/writer.key --blind {keys}")).expect(0);
        }
    }
}

#[test]
fn an_import_keeps_no_manifest_of_a_writer_whom_it_does_not_know() {
    let place = Place::sealed();
    place.write("farm/2025-13/html/a", "of the copy");
    place.write("html/a", "of another writer");
    let keys = format!("{ANN} --recipients-file {{}}/all.txt");
    place.say(&format!("key writer {{}}/new.key {keys}")).expect(0);
    place.say("backup --week 2025-13 --source html={}/html --writer-key {}/new.key").expect(0);
    let import = "import --rsync-root {}/farm --writer-key {}/writer.key";
    place
        .say(import)
        .expect(0)
        .says("is not one of those that the keys trust; the copy is to take its place");
    let ran = place.say(&format!("cat --week 2025-13 --pvc html a {ANN}")).expect(0);
    assert_eq!(ran.stdout, "of the copy");
    place.say(import).expect(0).says("the store has it already");
}

#[test]
fn eight_plain_weeks_become_eight_sealed_ones() {
    let place = Place::with_operators();
    let content = |week: u32| format!("content of week {week}\n").repeat(2000);
    let backup = |week: u32, more: &str| {
        place.write("html/a", content(week));
        place.write(&format!("html/{week}"), "of one week");
        place.say(&format!("backup --keep 8 --week 2025-{week} --source html={{}}/html {more}")).expect(0)
    };
    let restores = |weeks: std::ops::Range<u32>| {
        for week in weeks {
            let which = format!("--week 2025-{week} --pvc html");
            let ran = place.say(&format!("cat {which} a {ANN}")).expect(0);
            assert_eq!(ran.stdout, content(week), "{week}");
        }
    };
    for week in 10..18 {
        backup(week, "");
    }
    place.say("init --recipients-file {}/all.txt --writer-key {}/writer.key").expect(0);
    restores(10..18);
    for week in 18..26 {
        backup(week, "--writer-key {}/writer.key");
        restores(week - 7..week + 1);
        let listed = place.say("list --json").expect(0).json();
        let plain: Vec<String> = listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|of| of["sealed"] == false)
            .map(|of| of["week"].as_str().unwrap().to_owned())
            .collect();
        let expected: Vec<String> = (week - 7..18).map(|week| format!("2025-{week}")).collect();
        assert_eq!(plain, expected);
        place.say(&format!("verify {ANN}")).expect(0);
    }
    place.say("gc --empty-trash").expect(0);
    let plain = |path: &PathBuf| path.extension().is_some_and(|e| e == "zst");
    assert!(!place.files("").iter().any(plain), "objects of before");
    restores(18..26);
}

#[test]
fn a_kit_alone_restores_on_an_empty_machine() {
    let place = two_weeks();
    let kit = format!("key kit --recipients-file {{}}/all.txt {ANN} --writer-key {{}}/writer.key");
    let printed = place.say(&kit).expect(0).stdout;
    place.write("html/new", "since the kit was printed");
    place.backup_sealed("2025-15", "html");
    // Another machine has the sheet, and a copy of the store that has lost its folder keys/.
    let machine = Place::new();
    copy(&place.store(), &machine.store());
    fs::remove_dir_all(machine.path("store/keys")).unwrap();
    let line =
        |start: &str| printed.lines().map(str::trim).find(|line| line.starts_with(start)).unwrap().to_owned();
    machine.write("kit.key", line("AGE-SECRET-KEY-1"));
    let newest = printed.split("newest read recipient").nth(1).unwrap().split_whitespace().next().unwrap();
    let restore = "restore --week 2025-15 --pvc html --target {}/out --identity {}/kit.key";
    machine.say(&format!("{restore} --expect {newest}")).expect(0).says("as --expect says");
    assert_equal(&place.path("html"), &machine.path("out"));
    let other = PaperKey::generate().unwrap().recipient();
    machine.say(&format!("{restore} --expect {other}")).expect(1).says("as its newest recipient");
    // Older weeks as well.
    let ran =
        machine.say("cat --week 2025-13 --pvc html config/main.inc.php --identity {}/kit.key").expect(0);
    assert_eq!(ran.stdout, "first");
}

#[test]
fn a_recipient_who_was_removed_opens_nothing_of_after() {
    let place = two_weeks();
    let bob = fs::read_to_string(place.path("bob.txt")).unwrap();
    place.write("ann-only.txt", fs::read_to_string(place.path("ann.txt")).unwrap());
    let keys =
        format!("{ANN} --recipients-file {{}}/ann-only.txt --single-recipient --writer-key {{}}/writer.key");
    place.say(&format!("key remove-recipient {bob} {keys}")).expect(0);
    let objects = place.objects_sealed();
    place.backup_sealed("2025-15", "html");
    assert_eq!(place.objects_sealed(), objects, "the read key is new, and what is stored already stays");
    place.write("html/new", vec![9; 50_000]);
    place.backup_sealed("2025-16", "html");
    let cat = |week: u32, path: &str, who: &str| {
        place.say(&format!("cat --week 2025-{week} --pvc html {path} --identity {{}}/{who}.key"))
    };
    for (week, path) in [(13, "large"), (15, "large"), (16, "new")] {
        cat(week, path, "ann").expect(0);
    }
    cat(13, "large", "bob").expect(0);
    cat(15, "large", "bob").expect(1);
    cat(16, "new", "bob").expect(1);
}

#[test]
fn how_much_of_a_keyring_has_changed_cannot_be_told() {
    let mut sizes = BTreeSet::new();
    let place = Place::sealed();
    place.write("enigma/other", vec![1; 400_000]);
    for (at, length) in [1, 700, 1024, 3000, 9_999, 16_384, 24 << 10].into_iter().enumerate() {
        place.write("enigma/pubring.kbx", vec![0; 20]);
        place.backup_sealed("2025-13", "enigma");
        let before = place.objects_sealed();
        let mut keyring = vec![0; length];
        blake3::Hasher::new().update(&[at as u8]).finalize_xof().fill(&mut keyring);
        place.write("enigma/pubring.kbx", keyring);
        place.backup_sealed("2025-14", "enigma");
        let new = place.objects_sealed().into_iter().filter(|path| !before.contains(path));
        sizes.insert(new.map(|path| fs::metadata(path).unwrap().len()).collect::<Vec<_>>());
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}
