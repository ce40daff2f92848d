//! Making a sealed store, and changing who can open it and who writes to it.

use crate::common::{INIT, OPERATORS, Place, Ran, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use weekvault::format::keys::{Identities, ReadFile, SealedReadFile, WriterFile};

fn recipient(place: &Place, name: &str) -> String {
    fs::read_to_string(place.path(&format!("{name}.txt"))).unwrap()
}

/// All files of the place with their content, but for the cache.
fn files(place: &Place) -> BTreeMap<PathBuf, Vec<u8>> {
    let all = walkdir::WalkDir::new(place.folder.path()).into_iter().map(Result::unwrap);
    let files = all.filter(|e| e.file_type().is_file() && !e.path().starts_with(place.path("cache")));
    files.map(|e| (e.path().to_owned(), fs::read(e.path()).unwrap())).collect()
}

/// What a read file of the store says to an operator; none where it is for others.
fn opened(place: &Place, number: &str, name: &str) -> Option<ReadFile> {
    let sealed =
        SealedReadFile::from_bytes(&fs::read(place.path(&format!("store/keys/read-{number}.age"))).unwrap());
    let identities = Identities::parse(&fs::read(place.path(&format!("{name}.key"))).unwrap()).unwrap();
    ReadFile::open(&sealed.unwrap(), &identities).ok()
}

fn writer(place: &Place, name: &str) -> WriterFile {
    WriterFile::decode(&fs::read(place.path(name)).unwrap()).unwrap()
}

fn compare_key(place: &Place, name: &str) -> String {
    writer(place, name).compare_key().unwrap().recipient().to_string()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// No secret of the place, and no read key of its store, may be in what was said.
#[track_caller]
fn tells_no_secret(ran: &Ran) {
    let said = format!("{}{}", ran.stdout, ran.stderr).to_ascii_uppercase();
    assert!(!said.contains("AGE-SECRET-KEY-1"), "{ran}");
}

fn has_age() -> bool {
    let has = Command::new("age").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has {
        skip("what age itself makes of it", "there is no age");
    }
    has
}

/// Runs a line of the shell in the place's folder, in which `$W` is the program on the store.
fn shell(place: &Place, line: &str) -> Ran {
    let mut command = place.clean("bash");
    let program = format!("{} --store {}", env!("CARGO_BIN_EXE_weekvault"), place.text("store"));
    command.args(["-o", "pipefail", "-c", line]).current_dir(place.folder.path()).env("W", program);
    Ran::of(command)
}

// Making one.

#[test]
fn a_sealed_store_is_made_and_proved() {
    let place = Place::with_operators();
    let ran = place.say(&format!("{INIT} --json --identity {{}}/ann.key")).expect(0);
    tells_no_secret(&ran);
    let told = ran.json();
    assert_eq!(
        (&told["sealed"], &told["is_new"], &told["blind"]),
        (&true.into(), &true.into(), &false.into())
    );
    assert_eq!((&told["recipients"], &told["proved_recipients"]), (&2.into(), &1.into()), "{told}");
    assert_eq!((&told["read_file"], &told["plain_manifests"]), (&"1-1".into(), &0.into()));
    let config: Value = serde_json::from_slice(&fs::read(place.path("store/store.json")).unwrap()).unwrap();
    assert_eq!(
        (&config["version"], &config["seal"], &config["hash"]),
        (&2.into(), &"age".into(), &"blake3-keyed".into())
    );
    assert_eq!(config["id"], told["id"]);
    for file in ["store/keys/read-1-1.age", "writer.key"] {
        assert_eq!(mode(&place.path(file)), 0o600, "{file}");
    }
    assert_eq!(mode(&place.path("store/keys")), 0o700);
    let file = opened(&place, "1-1", "ann").unwrap();
    assert!(opened(&place, "1-1", "bob").is_some() && opened(&place, "1-1", "eve").is_none());
    assert_eq!(told["read_recipient"], file.read_recipient().to_string());
    let writer = writer(&place, "writer.key");
    assert_eq!(writer.store(), file.store());
    assert_eq!(
        (told["writer"].as_str().unwrap(), writer.trusted()),
        (&*writer.id().to_string(), &[writer.id()][..])
    );
    assert_eq!(writer.read_file().as_bytes(), fs::read(place.path("store/keys/read-1-1.age")).unwrap());
    if has_age() {
        for name in ["ann", "bob"] {
            let ran = shell(&place, &format!("age -d -i {name}.key store/keys/read-1-1.age")).expect(0);
            assert_eq!(ran.stdout, *file.encode().unwrap());
        }
        shell(&place, "age -d -i eve.key store/keys/read-1-1.age").expect(1);
    }
    // It is a store like others.
    for line in ["list", "verify", "gc", "key list", "key test --identity {}/bob.key"] {
        place.say(line).expect(0);
    }
    let before = files(&place);
    place.say("init").expect(1).says("there is a store at");
    let again = "init --recipients-file {}/all.txt --writer-key {}/other.key";
    place.say(again).expect(1).says("is sealed already").says("weekvault key");
    assert_eq!(files(&place), before);
}

#[test]
fn what_would_not_do_is_refused_before_anything_is_written() {
    let place = Place::with_operators();
    place.write("file", "x");
    place.write("html/file", "x");
    place.write("mixed.txt", "age1nonsense\n");
    let before = files(&place);
    let ann = recipient(&place, "ann");
    let secret = fs::read_to_string(place.path("ann.key")).unwrap();
    let secret = secret.lines().last().unwrap();
    for (line, code, said) in [
        ("init --recipients-file {}/all.txt", 2, "--writer-key"),
        (&*format!("{INIT} --writer-key {{}}/two.key"), 2, "once"),
        ("init --writer-key {}/writer.key", 2, "without --recipient a plain store"),
        ("init --blind", 2, "without --recipient a plain store"),
        ("init --single-recipient", 2, "without --recipient a plain store"),
        ("init --identity {}/ann.key", 2, "without --recipient a plain store"),
        (&format!("init --recipient {ann} --writer-key {{}}/writer.key"), 2, "--single-recipient"),
        (&format!("{INIT} --recipient {ann}"), 2, "given twice"),
        (&format!("{INIT} --recipient {secret}"), 2, "no recipient"),
        (&format!("{INIT} --recipients-file {{}}/ann.key"), 2, "secret keys"),
        (&format!("{INIT} --recipients-file {{}}/mixed.txt"), 2, "age1nonsense"),
        (&format!("{INIT} --recipients-file {{}}/none.txt"), 1, "No such file"),
        (
            &format!(
                "{INIT} --recipient age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t"
            ),
            2,
            "key import",
        ),
        (&format!("{INIT} --identity {{}}/eve.key"), 1, "none of the recipients"),
        (&format!("{INIT} --identity {{}}/ann.key --identity {{}}/eve.key"), 1, "none of the recipients"),
        (&format!("{INIT} --identity {{}}/file"), 1, "no identity"),
        (&format!("{INIT} --identity {secret}"), 2, "takes the name of a file"),
        (&format!("{INIT} --store-id 00112233445566778899aabbccddeeff"), 2, "--store-id"),
        ("init --recipients-file {}/all.txt --writer-key {}/file", 1, "where something stands"),
        ("init --recipients-file {}/all.txt --writer-key {}/no/file", 1, "No such file"),
        ("init --recipients-file {}/all.txt --writer-key {}/store/writer.key", 2, "inside the store"),
        (
            "backup --source html={}/html --writer-key {}/writer.key",
            1,
            "only `weekvault init --recipient` makes",
        ),
    ] {
        let ran = place.say(line).expect(code).says(said);
        tells_no_secret(&ran);
        assert_eq!(ran.stdout, "", "{ran}");
        tells_no_secret(&place.say(&format!("{line} --json")).expect(code));
        assert_eq!(files(&place), before, "{line}");
    }
    // A single one can be meant.
    let line = format!("init --recipient {ann} --single-recipient --blind --writer-key {{}}/writer.key");
    place.say(&line).expect(0);
    assert!(writer(&place, "writer.key").compare_key().is_none());
}

#[test]
fn a_plain_store_becomes_a_sealed_one() {
    let place = Place::with_operators();
    for (week, content) in [("2025-13", "one"), ("2025-14", "two"), ("2025-15", "three")] {
        place.write("html/file", content);
        place.backup(week, "html");
    }
    place.say("forget 2025-13/html").expect(0);
    let before: BTreeMap<_, _> =
        files(&place).into_iter().filter(|(path, _)| path.starts_with(place.store())).collect();
    // While a backup runs, what it publishes would be plain.
    let lock = fs::File::open(place.path("store/lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    place.say(INIT).expect(1).says("another run is at work");
    assert!(!place.path("writer.key").exists() && !place.path("store/keys").exists());
    drop(lock);
    place.say(&format!("{INIT} --chunk-size 4M")).expect(1).says("cannot be changed");
    let told = place.say(&format!("{INIT} --json")).expect(0).json();
    assert_eq!((&told["is_new"], &told["plain_manifests"]), (&false.into(), &3.into()), "{told}");
    let file = opened(&place, "1-1", "bob").unwrap();
    let listed: Vec<String> = file.plain().map(|plain| format!("{}/{}", plain.week, plain.pvc)).collect();
    assert_eq!(listed, ["2025-13/html", "2025-14/html", "2025-15/html"]);
    let after = files(&place);
    for (path, content) in before.iter().filter(|(path, _)| !path.ends_with("store.json")) {
        assert_eq!(after.get(path), Some(content), "{}", path.display());
    }
    for line in ["list", "gc"] {
        place.say(line).expect(0);
    }
    // Lines of manifests that are gone are dropped by the next change.
    place.say("gc --empty-trash").expect(0);
    fs::remove_dir_all(place.path("store/trash")).unwrap();
    place.say("key add-recipient --recipients-file {}/all.txt --identity {}/ann.key").expect(0);
    let numbers: Vec<_> =
        fs::read_dir(place.path("store/keys")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    let listed = place.say("key list --json --identity {}/ann.key").expect(0).json();
    assert_eq!(listed["plain_manifests"], 2, "{listed}");
}

#[test]
fn an_attempt_that_was_cut_short_is_told_and_harms_nothing() {
    // The read file is there, and nothing says that the store is sealed.
    let place = Place::with_operators();
    place.write("html/file", "one");
    place.backup("2025-14", "html");
    place.write("store/keys/read-1-1.age", "whatever it is");
    place.backup("2025-15", "html");
    place.say("verify").expect(0);
    let before = files(&place);
    place.say(INIT).expect(1).says("did not come to its end").says("store/keys out of the store");
    assert_eq!(files(&place), before);
    fs::rename(place.path("store/keys"), place.path("keys")).unwrap();
    place.say(INIT).expect(0);
    // The same where there was no store before.
    let place = Place::with_operators();
    place.write("html/file", "one");
    place.write("store/keys/read-1-1.age", "whatever it is");
    for line in [INIT, "init", "backup --source html={}/html"] {
        place.say(line).expect(1).says("keys/read-1-1.age");
    }
    assert!(!place.path("writer.key").exists() && !place.path("store/store.json").exists());
}

#[test]
fn a_description_that_was_replaced_by_a_plain_one_is_noticed() {
    let place = Place::sealed();
    let config = fs::read_to_string(place.path("store/store.json")).unwrap();
    let plain = config
        .replace("\"version\": 2", "\"version\": 1")
        .replace("blake3-keyed", "blake3")
        .replace("\"age\"", "\"zstd\"");
    place.write("store/store.json", plain);
    for line in [
        "key list",
        "key rotate --identity {}/ann.key --recipients-file {}/all.txt",
        "key test --identity {}/ann.key",
    ] {
        place.say(line).expect(1).says("is plain").says("was its store.json replaced");
    }
}

// Changing keys.

#[test]
fn a_recipient_is_added_by_a_new_read_file() {
    let place = Place::sealed();
    let eve = recipient(&place, "eve");
    let first = fs::read(place.path("store/keys/read-1-1.age")).unwrap();
    fs::set_permissions(place.path("writer.key"), fs::Permissions::from_mode(0o440)).unwrap();
    let before = (writer(&place, "writer.key").id(), compare_key(&place, "writer.key"));
    let change = format!("key add-recipient --recipients-file {{}}/all.txt --recipient {eve} --json");
    let ran = place.say(&format!("{change} --identity {{}}/ann.key --writer-key {{}}/writer.key")).expect(0);
    tells_no_secret(&ran);
    let told = ran.json();
    assert_eq!(
        (&told["read_file"], &told["writers_to_renew"]),
        (&"1-2".into(), &serde_json::json!([])),
        "{told}"
    );
    for name in OPERATORS {
        assert!(opened(&place, "1-2", name).is_some(), "{name}");
    }
    assert_eq!(fs::read(place.path("store/keys/read-1-1.age")).unwrap(), first, "never replaced");
    let renewed = writer(&place, "writer.key");
    assert_eq!(renewed.read_file().as_bytes(), fs::read(place.path("store/keys/read-1-2.age")).unwrap());
    assert_eq!((renewed.id(), compare_key(&place, "writer.key")), before);
    assert_eq!(mode(&place.path("writer.key")), 0o440);
    // Without the writer's file it is told that it must be renewed; who is left out is warned of.
    let ran = place
        .say(&format!("{} --identity {{}}/eve.key", "key add-recipient --recipients-file {}/all.txt"))
        .expect(0);
    ran.says("not renewed: the file of writer")
        .says("none of the identities that were given opens the new read file");
    assert!(opened(&place, "1-3", "eve").is_none());
    // Who cannot open the newest is told so.
    let ran = place.say("key list --identity {}/eve.key").expect(0);
    ran.says("keys/read-1-3.age is newer than keys/read-1-2.age");
    place.say("key renew --identity {}/ann.key --writer-key {}/writer.key").expect(0).says("renewed: ");
    assert_eq!(
        writer(&place, "writer.key").read_file().as_bytes(),
        fs::read(place.path("store/keys/read-1-3.age")).unwrap()
    );
    // A read file that is for others is never replaced.
    let line = format!("key add-recipient --recipient {eve} --single-recipient --identity {{}}/eve.key");
    place.say(&line).expect(1).says("keys/read-1-3.age is another read file").says("nothing was changed");
}

#[test]
fn after_a_rotation_what_comes_opens_for_those_who_remain() {
    let place = Place::sealed();
    let (first, compared) = (opened(&place, "1-1", "ann").unwrap(), compare_key(&place, "writer.key"));
    let bob = recipient(&place, "bob");
    let ann = recipient(&place, "ann");
    let remove = format!("key remove-recipient {bob} --identity {{}}/ann.key --writer-key {{}}/writer.key");
    place
        .say(&format!("{remove} --recipients-file {{}}/all.txt"))
        .expect(2)
        .says("is to be removed, and is among");
    place.say(&format!("{remove} --recipient {ann}")).expect(2).says("--single-recipient");
    let told = place.say(&format!("{remove} --recipient {ann} --single-recipient --json")).expect(0).json();
    assert_eq!(told["read_file"], "2-1", "{told}");
    let second = opened(&place, "2-1", "ann").unwrap();
    assert!(opened(&place, "2-1", "bob").is_none() && opened(&place, "1-1", "bob").is_some());
    assert_eq!(second.read_keys().len(), 2);
    assert_eq!(second.read_keys()[0].recipient(), *first.read_recipient());
    assert_ne!(second.read_recipient(), first.read_recipient());
    let writer = writer(&place, "writer.key");
    assert_eq!((writer.read_recipient(), writer.name_key()), (second.read_recipient(), first.name_key()));
    assert_ne!(compare_key(&place, "writer.key"), compared);
    // The old kit says which is its own.
    let test = |name: &str, expect: &ReadFile| {
        place.say(&format!("key test --identity {{}}/{name}.key --expect {}", expect.read_recipient()))
    };
    test("ann", &second).expect(0).says("as --expect says");
    test("ann", &first).expect(0).says("keys/read-2-1.age is passed over");
    test("bob", &second).expect(1).says("no read file has");
    test("bob", &first).expect(0).says("keys/read-2-1.age is newer");
    let third =
        place.say("key rotate --recipients-file {}/all.txt --identity {}/ann.key --json").expect(0).json();
    assert_eq!(
        (&third["read_file"], third["writers_to_renew"].as_array().unwrap().len()),
        (&"3-1".into(), 1)
    );
    assert!(opened(&place, "3-1", "bob").is_some());
}

#[test]
fn writers_come_and_go() {
    let place = Place::sealed();
    let with_keys = "--identity {}/ann.key --recipients-file {}/all.txt";
    let told = place.say(&format!("key writer {{}}/mail.key --blind --json {with_keys}")).expect(0).json();
    let (first, mail) = (writer(&place, "writer.key"), writer(&place, "mail.key"));
    assert_eq!(mode(&place.path("mail.key")), 0o600);
    assert_eq!(
        (told["writer"].as_str().unwrap(), mail.compare_key().is_none()),
        (&*mail.id().to_string(), true)
    );
    assert_eq!(told["writers_to_renew"], serde_json::json!([first.id().to_string()]), "{told}");
    assert!(mail.trusts(&first.id()) && !first.trusts(&mail.id()));
    place.say(&format!("key writer {{}}/mail.key {with_keys}")).expect(1).says("where something stands");
    place.say(&format!("key writer {{}}/store/mail.key {with_keys}")).expect(2).says("inside the store");
    place.say("key renew --identity {}/bob.key --writer-key {}/writer.key").expect(0);
    assert!(writer(&place, "writer.key").trusts(&mail.id()));
    let revoke = format!("key revoke {} {with_keys}", mail.id());
    let both = "--writer-key {}/mail.key --writer-key {}/writer.key";
    let ran = place.say(&format!("{revoke} {both}")).expect(1).says("1 writer's file could not be renewed");
    ran.says("is revoked, or not known").says("renewed: ");
    assert!(!writer(&place, "writer.key").trusts(&mail.id()));
    let listed = place.say("key list --json --identity {}/ann.key").expect(0).json();
    let state = |id: String, revoked: bool| serde_json::json!({ "writer": id, "revoked": revoked });
    let writers = [state(first.id().to_string(), false), state(mail.id().to_string(), true)];
    assert_eq!(listed["writers"], serde_json::json!(writers));
    place.say(&revoke).expect(1).says("is revoked");
    let stranger = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    place.say(&format!("key revoke {stranger} {with_keys}")).expect(1).says("is not known");
    let read_key = opened(&place, "1-1", "ann").unwrap().read_keys()[0].to_text();
    for wrong in ["nonsense", &read_key] {
        tells_no_secret(
            &place.say(&format!("key revoke {wrong} {with_keys}")).expect(2).says("public key of a writer"),
        );
    }
    tells_no_secret(&place.say(&format!("key remove-recipient {} {with_keys}", *read_key)).expect(2));
    // A writer's file of another store is not touched.
    let other = Place::sealed();
    let path = other.text("writer.key");
    let line = format!("key rotate {with_keys} --writer-key {path}");
    let before = files(&place);
    place.say(&line).expect(1).says("not for this one");
    assert_eq!(files(&place), before);
}

#[test]
fn a_kit_opens_the_store_and_is_kept_nowhere() {
    let place = Place::sealed();
    let kit = "key kit --recipients-file {}/all.txt --identity {}/ann.key --writer-key {}/writer.key";
    place.say(&format!("{kit} --json")).expect(2).says("there is no --json of it");
    let ran = place.say(kit).expect(0).says("add it to the list of recipients");
    assert!(!ran.stderr.contains("AGE-SECRET-KEY-"), "{ran}");
    let identity = ran.stdout.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).unwrap();
    for (path, content) in files(&place) {
        let content = String::from_utf8_lossy(&content);
        assert!(!content.contains(identity), "{}", path.display());
    }
    place.write("kit.key", identity);
    let file = opened(&place, "1-2", "kit").unwrap();
    assert!(opened(&place, "1-2", "bob").is_some());
    for told in [file.read_recipient().to_string(), file.store().to_string(), "█▀▀▀▀▀█".to_owned()]
    {
        assert!(ran.stdout.contains(&told), "no {told} in {ran}");
    }
    assert!(ran.stdout.lines().all(|line| line.chars().count() <= 80), "{ran}");
    place.say(&format!("key test --identity {{}}/kit.key --expect {}", file.read_recipient())).expect(0);
}

#[test]
fn what_keys_there_are_and_what_they_open_is_told() {
    let place = Place::sealed();
    place.say("key rotate --recipients-file {}/ann.txt --single-recipient --identity {}/ann.key").expect(0);
    let listed = place.say("key list --json").expect(0).json();
    assert_eq!(
        (&listed["newest"], &listed["writers"], &listed["read_recipient"]),
        (&"2-1".into(), &Value::Null, &Value::Null)
    );
    assert_eq!(listed["read_files"][0]["file"], "keys/read-1-1.age");
    assert!(listed["read_files"][0]["opens"].is_null());
    let listed = place.say("key list --json --identity {}/bob.key").expect(0).json();
    let opens: Vec<&Value> =
        listed["read_files"].as_array().unwrap().iter().map(|file| &file["opens"]).collect();
    assert_eq!(opens, [&true, &false]);
    let ran = place.say("key test --json --identity {}/ann.key --identity {}/bob.key").expect(1);
    tells_no_secret(&ran);
    let told = ran.says("bob.key does not open keys/read-2-1.age").json();
    let opens: Vec<&Value> = told["identities"].as_array().unwrap().iter().map(|one| &one["opens"]).collect();
    assert_eq!(
        (opens, &told["pinned"]),
        (vec![&Value::Bool(true), &Value::Bool(false)], &Value::Bool(false)),
        "{told}"
    );
    place.say("key test --identity {}/eve.key").expect(1).says("none of the identities opens a read file");
    place.say("key test").expect(2).says("--identity");
    for line in [
        "rotate --recipients-file {}/all.txt",
        "renew --writer-key {}/writer.key",
        "kit --recipients-file {}/all.txt",
    ] {
        place.say(&format!("key {line}")).expect(2).says("--identity");
    }
    place.say("key").expect(2);
    // A damaged read file is named, and the others serve.
    fs::write(place.path("store/keys/read-9-1.age"), "damaged").unwrap();
    place.say("key test --identity {}/ann.key").expect(0).says("keys/read-9-1.age");
    // A store that has lost all of them cannot be opened.
    fs::remove_dir_all(place.path("store/keys")).unwrap();
    place.say("key test --identity {}/ann.key").expect(1).says("has no read file");
}

// Other programs, terminals, memory.

#[test]
fn a_read_file_may_be_made_by_an_operators_own_age() {
    if !has_age() {
        return;
    }
    let place = Place::sealed();
    shell(&place, "ssh-keygen -q -t ed25519 -N '' -C '' -f ssh").expect(0);
    let plain = "$W key add-recipient --identity ann.key --plain";
    shell(&place, &format!("{plain} --json")).expect(2).says("no --json");
    shell(&place, &format!("{plain} --writer-key writer.key > x")).expect(2).says("key import");
    shell(&place, &format!("{plain} | age -R ssh.pub -R ann.txt -o next.age")).expect(0);
    assert!(!place.path("store/keys/read-1-2.age").exists(), "it is not taken in by itself");
    shell(&place, "$W key import next.age --identity eve.key").expect(1).says("none of the identities opens");
    shell(&place, "$W key import next.age --identity bob.key").expect(1).says("would not count");
    shell(&place, "$W key import next.age").expect(2).says("--identity");
    let ran = shell(&place, "$W key import next.age --identity ann.key --writer-key writer.key").expect(0);
    ran.says("renewed: writer.key").says("keys/read-1-2.age");
    assert_eq!(
        fs::read(place.path("store/keys/read-1-2.age")).unwrap(),
        fs::read(place.path("next.age")).unwrap()
    );
    shell(&place, "$W key import next.age --identity ann.key").expect(1).says("is in the store already");
    // A key that only age can use, from here on.
    let open = "age -d -i ssh store/keys/read-1-2.age";
    shell(&place, &format!("{open} | $W key test --identity -"))
        .expect(0)
        .says("read file 1-2 from standard input");
    shell(&place, &format!("{open} | $W key rotate --identity - --plain | age -a -R ssh.pub -o last.age"))
        .expect(0);
    shell(&place, "$W key import last.age --identity ann.key").expect(1).says("would not count");
    let ran =
        shell(&place, "age -d -i ssh last.age | $W key import last.age --identity - --writer-key writer.key");
    ran.expect(0).says("was not proved").says("renewed: writer.key");
    let read = shell(&place, "age -d -i ssh store/keys/read-2-1.age").expect(0);
    let file = ReadFile::decode(read.stdout.as_bytes()).unwrap();
    assert_eq!(*writer(&place, "writer.key").read_recipient(), *file.read_recipient());
    shell(
        &place,
        "age -d -i ssh store/keys/read-2-1.age | $W key renew --identity - --writer-key writer.key",
    )
    .expect(0);
    // Nor does anything but a read file come in.
    shell(&place, "echo no | age -R ann.txt -o other.age").expect(0);
    shell(&place, "$W key import other.age --identity ann.key").expect(1);
    shell(&place, "$W key import all.txt --identity ann.key").expect(1).says("not an age file");
}

#[test]
fn a_passphrase_is_asked_for_on_the_terminal() {
    let place = Place::sealed();
    let text = fs::read(place.path("ann.key")).unwrap();
    let mut recipient = age::scrypt::Recipient::new("correct horse".to_owned().into());
    recipient.set_work_factor(2);
    fs::write(place.path("locked.key"), age::encrypt(&recipient, &text).unwrap()).unwrap();
    let line = format!(
        "{} --store {} key test --identity {}",
        env!("CARGO_BIN_EXE_weekvault"),
        place.text("store"),
        place.text("locked.key")
    );
    let typed = |passphrase: &str| {
        let mut command = place.clean("script");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = command.spawn() else { return None };
        let mut stdin = child.stdin.take().unwrap();
        // Until it asks, so that the terminal does not show it.
        let mut asked = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut byte = [0];
        while !asked.ends_with("locked.key: ") && std::io::Read::read(&mut stdout, &mut byte).unwrap() == 1 {
            asked.push(byte[0].into());
        }
        stdin.write_all(format!("{passphrase}\n").as_bytes()).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut said).unwrap();
        assert!(!said.contains(passphrase), "{said}");
        Some((child.wait().unwrap().code(), said))
    };
    let Some((code, said)) = typed("correct horse") else {
        return skip("what a terminal shows", "there is no script(1)");
    };
    assert!(code == Some(0) && said.contains("opens it"), "{said}");
    let (code, said) = typed("battery staple").unwrap();
    assert!(code == Some(1) && said.contains("the passphrase is wrong"), "{said}");
    // Where there is no terminal nobody can be asked.
    let mut command = place.clean("setsid");
    command.args(["-w", "sh", "-c", &line]);
    Ran::of(command).expect(1).says("there is no terminal").says("--identity -");
}

#[test]
fn memory_that_holds_a_key_is_written_to_no_file() {
    let place = Place::sealed();
    let mut command = place.command(["key", "test", "--identity", "-"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let limits = format!("/proc/{}/limits", child.id());
    let is_off = || {
        let limits = fs::read_to_string(&limits).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        core.split_whitespace().filter(|word| *word == "0").count() == 2
    };
    // It waits for its input, before which it has made sure.
    let begun = std::time::Instant::now();
    while !is_off() {
        assert!(begun.elapsed().as_secs() < 20, "its memory may be dumped");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let key = fs::read(place.path("ann.key")).unwrap();
    child.stdin.take().unwrap().write_all(&key).unwrap();
    assert!(child.wait().unwrap().success());
}
