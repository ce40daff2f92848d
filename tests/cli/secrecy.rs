//! What of a source is found outside of it, after a sealed store was written: nothing.

use crate::common::{Place, Ran, skip};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use weekvault::format::keys::PaperKey;

/// Something that is nowhere else: letters and digits that are random each time.
fn marker() -> String {
    let key = PaperKey::generate().unwrap().to_text();
    key.to_lowercase().chars().rev().take(20).collect()
}

/// Whether a file, or what was said, has it: as it is, or in hexadecimal digits.
fn has(bytes: &[u8], marker: &str) -> bool {
    let hex: String = marker.bytes().map(|byte| format!("{byte:02x}")).collect();
    [marker, &hex].iter().any(|wanted| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes()))
}

/// A source whose every part has a marker.
fn source(place: &Place) -> BTreeMap<&'static str, String> {
    let parts = [
        "source path",
        "name",
        "directory",
        "content",
        "large content",
        "link target",
        "attribute",
        "value",
        "exclude",
    ];
    let markers: BTreeMap<_, _> = parts.into_iter().map(|part| (part, marker())).collect();
    let root = format!("src-{}", markers["source path"]);
    let in_root = |path: &str| format!("{root}/{path}");
    place.write(&in_root(&format!("{}/{}", markers["directory"], markers["name"])), &markers["content"]);
    let large = format!("{}\n", markers["large content"]).repeat(20_000);
    place.write(&in_root("large"), &large);
    symlink(&markers["link target"], place.path(&in_root("link"))).unwrap();
    let (name, value) = (format!("user.{}", markers["attribute"]), markers["value"].as_bytes());
    let set =
        rustix::fs::setxattr(place.path(&in_root("large")), &*name, value, rustix::fs::XattrFlags::empty());
    if set.is_err() {
        skip("markers in attributes", "the file system has none");
    }
    markers
}

fn find(place: &Place, markers: &BTreeMap<&str, String>, ran: &[Ran]) {
    let mut files = place.files("");
    files.extend(
        walkdir::WalkDir::new(place.path("cache")).into_iter().flatten().map(walkdir::DirEntry::into_path),
    );
    files.extend(
        walkdir::WalkDir::new(place.path("home")).into_iter().flatten().map(walkdir::DirEntry::into_path),
    );
    for path in files {
        let content = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        for (part, marker) in markers {
            assert!(!has(path.as_os_str().as_encoded_bytes(), marker), "{part} in a name: {path:?}");
            assert!(!has(&content, marker), "{part} in {path:?}");
        }
    }
    for ran in ran {
        for (part, marker) in markers {
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!has(said.as_bytes(), marker), "{part} is told: {ran}");
        }
    }
}

#[test]
fn nothing_of_a_source_is_in_the_store_the_cache_or_what_is_printed() {
    for blind in ["", "--blind"] {
        let place = Place::with_operators();
        place
            .say(&format!("init --recipients-file {{}}/all.txt --writer-key {{}}/writer.key {blind}"))
            .expect(0);
        let mut markers = source(&place);
        let root = format!("src-{}", markers["source path"]);
        let exclude = markers["exclude"].clone();
        let backup = |week: &str, more: &str| {
            place.say(&format!(
                "backup -v --week {week} --source html={{}}/{root} --exclude {exclude} --writer-key {{}}/writer.key {more}"
            ))
        };
        let first = backup("2025-13", "").expect(0);
        place.write(&format!("{root}/large"), markers["large content"].repeat(9000));
        let ran = [
            first,
            backup("2025-14", "--json").expect(0),
            backup("2025-14", "--keep 1").expect(0),
            place.say("list").expect(0),
            place.say("list --trash").expect(0),
            place.say("verify --json").expect(0),
            place.say("gc").expect(0),
            place.say("ls --week latest --pvc html").expect(1),
        ];
        // The name of this machine, which the manifest has too.
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        if host.len() >= 8 {
            markers.insert("host", host);
        }
        find(&place, &markers, &ran);
        // What is looked for is there, for who may read it.
        let ran = place.say("ls -R --week latest --pvc html --identity {}/ann.key").expect(0);
        assert!(ran.stdout.contains(&markers["name"]), "{ran}");
    }
}

#[test]
fn a_run_that_is_killed_or_crashes_leaves_nothing_of_a_source() {
    let place = Place::sealed();
    let markers = source(&place);
    let root = place.text(&format!("src-{}", markers["source path"]));
    fs::create_dir(place.path("dumps")).unwrap();
    for signal in ["ABRT", "SEGV", "KILL"] {
        let mut command = Command::new("bash");
        // A tree that is large enough is not needed: the signal comes when objects are there.
        let script = "ulimit -c unlimited; \"$@\" & pid=$!; \
            until [ -n \"$(find ../store/tmp ../store/objects -type f 2>/dev/null | head -n 1)\" ] || ! kill -0 $pid 2>/dev/null; do :; done; \
            kill -\"$SIGNAL\" $pid 2>/dev/null; wait $pid; true";
        command.args(["-c", script, "bash"]).current_dir(place.path("dumps")).env("SIGNAL", signal);
        let line = [
            "backup",
            "--week",
            "2025-14",
            "--source",
            &format!("html={root}"),
            "--writer-key",
            &place.text("writer.key"),
        ];
        let program = place.command(line.iter().map(OsStr::new));
        command.arg(program.get_program()).args(program.get_args());
        let ran = Ran::of(command).expect(0);
        assert_eq!(fs::read_dir(place.path("dumps")).unwrap().count(), 0, "a core dump");
        find(&place, &markers, &[ran]);
    }
}
