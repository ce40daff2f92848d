//! The command line, run as a process: exit codes, messages, what goes where, and what is written where it must not be.

use crate::common::{Place, Ran};
use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// All that shows whether something below a folder was touched, by path.
type Snapshot = BTreeMap<PathBuf, (u32, u64, u64, (i64, i64), (i64, i64), u64, Vec<u8>)>;

fn snapshot(root: &Path) -> Snapshot {
    let (mut all, mut todo) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(path) = todo.pop() {
        let stat = path.symlink_metadata().unwrap();
        let mut content = Vec::new();
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if stat.is_file() {
            content = fs::read(&path).unwrap_or_default();
        }
        let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
        all.insert(path, (stat.mode(), stat.ino(), stat.nlink(), mtime, ctime, stat.len(), content));
    }
    all
}

/// Bytes that do not compress, different for each seed.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Sets the times of a file to long ago.
fn make_old(path: &Path) {
    let past = Timespec { tv_sec: 1_700_000_000, tv_nsec: 0 };
    let times = Timestamps { last_access: past, last_modification: past };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, AtFlags::empty()).unwrap();
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(path, bytes).unwrap();
}

/// Takes away the last byte of a file.
fn cut_short(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
}

/// The commands and what makes a run of each: they all read, and find what they look for.
const READERS: [&str; 9] = [
    "list",
    "ls --week latest --pvc html",
    "ls --week latest --pvc html -lR",
    "cat --week latest --pvc html index.php",
    "restore -q --week latest --pvc html --dry-run --target {}/nowhere",
    "verify",
    "verify --quick",
    "gc --dry-run",
    "retain --keep 1 --dry-run",
];

/// A place with two pvcs in one week, `html` with some files and `enigma` with one.
fn filled() -> Place {
    let place = Place::new();
    place.write("html/index.php", "<?php\n");
    place.write("html/config/config.inc.php", "config");
    symlink("index.php", place.path("html/link")).unwrap();
    place.write("enigma/pubring.kbx", noise(5_000, 1));
    place.say("backup --week 2025-14 --source html={}/html --source enigma={}/enigma").expect(0);
    place
}

// What is refused, and how.

#[test]
fn a_source_that_is_missing_publishes_and_writes_nothing() {
    let place = Place::new();
    place.write("html/index.php", "x");
    let missing = place.say("backup --source html={}/html --source gone={}/gone").expect(1);
    missing.says("source \"gone\"").says(&place.text("gone")).says("nothing was published");
    let file = place.say("backup --source f={}/html/index.php").expect(1);
    file.says("source \"f\"").says("is no folder");
    let dangling = place.path("dangling");
    symlink("nothing", &dangling).unwrap();
    place.say("backup --source d={}/dangling").expect(1).says("source \"d\"");
    assert!(!place.store().exists(), "a store was made for nothing");
    // In a store that is there, nothing is touched.
    place.backup("2025-14", "html");
    let before = snapshot(&place.store());
    place.say("backup --source html={}/html --source gone={}/gone").expect(1);
    assert_eq!(snapshot(&place.store()), before);
}

#[test]
fn a_source_that_became_empty_publishes_nothing() {
    let place = Place::new();
    fs::create_dir(place.path("html")).unwrap();
    place.write("enigma/key", "key");
    // A first backup has nothing to compare with.
    place.backup("2025-13", "html");
    place.write("html/index.php", "x");
    place.backup("2025-14", "html");
    fs::remove_file(place.path("html/index.php")).unwrap();
    // lost+found does not make a volume less empty.
    fs::create_dir(place.path("html/lost+found")).unwrap();
    let ran = place.say("backup --week 2025-15 --source enigma={}/enigma --source html={}/html").expect(1);
    ran.says("source \"html\"").says("is empty").says("--allow-empty").says("Nothing was published");
    assert!(!place.path("store/2025-15").exists(), "neither it nor the other source");
    place.say("backup --week 2025-15 --source html={}/html --dry-run").expect(1);
    place.say("backup --week 2025-15 --source html={}/html --allow-empty").expect(0);
    assert!(place.path("store/2025-15/html.manifest").exists());
}

#[test]
fn wrong_usage_is_told_before_anything_is_written() {
    let place = Place::new();
    place.write("html/index.php", "x");
    for (line, message) in [
        ("backup --source html={}/html --source html={}/store", "two sources are called \"html\""),
        ("backup --source html={}/html,html={}/html", "two sources are called \"html\""),
        ("backup --source html={}/html --week 2025-54", "invalid week \"2025-54\""),
        ("backup --source html={}/html --week latest", "e.g. 2025-14"),
        ("backup --source .html={}/html", "invalid pvc name \".html\""),
        ("backup --source a/b={}/html", "invalid pvc name"),
        ("backup --source x.partial={}/html", "invalid pvc name"),
        ("backup --source html=", "names no folder"),
        ("backup --source {}/html", "NAME=DIR"),
        ("backup", "--source <NAME=DIR>"),
        ("backup --source html={}/html --keep 0", "--keep"),
        ("backup --source html={}/html --compression 20", "--compression"),
        ("backup --source html={}/html --threads 0", "--threads"),
        ("backup --source html={}/html --exclude [z-a]", "[z-a]"),
        ("backup --source html={}/html --exclude-from {}/none", "/none: No such file"),
        ("backup --source html={}/html --store s3://bucket/x", "s3://"),
        ("restore --week 2025-1 --pvc html", "invalid week \"2025-1\""),
        ("restore --week latest --pvc a/b", "invalid pvc name \"a/b\""),
        ("restore --week latest", "--pvc <NAME>"),
        ("restore --week latest --pvc html --path ../x", "relative to the source's root"),
        ("restore --week latest --pvc html --no-owner --numeric-owner", "--numeric-owner"),
        ("ls --week latest --pvc html ../x", "relative to the source's root"),
        ("cat --week latest --pvc html a//b", "relative to the source's root"),
        ("verify --slice 3", "give K/N"),
        ("verify --slice 8/7", "K must be from 1 to 7"),
        ("verify --slice 0/7", "K must be from 1 to 7"),
        ("verify --slice 1/0", "N must be"),
        ("retain", "--keep <N>"),
        ("completions tcsh", "tcsh"),
        ("list --store", "--store"),
        ("bogus", "bogus"),
        ("", "subcommand"),
    ] {
        let ran = place.say(line).expect(2).says(message);
        assert_eq!(ran.stdout, "", "{ran}");
        // Also for programs.
        let document = place.say(&format!("--json {line}")).expect(2).json();
        assert_eq!(document["exit_code"], 2, "{line}");
        let error = document["error"].as_str().unwrap();
        assert!(!error.is_empty() && !error.starts_with("error"), "{error}");
        assert!(!place.store().exists(), "{line} made a store");
    }
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let place = filled();
    let config = fs::read_to_string(place.path("store/store.json")).unwrap();
    place.write("store/store.json", config.replace("\"version\": 1", "\"version\": 3"));
    let before = snapshot(&place.store());
    let others = ["gc", "retain --keep 1", "backup --source html={}/html", "verify"];
    for line in READERS.iter().chain(&others) {
        place.say(line).expect(1).says("use a newer weekvault").says("store.json");
        assert_eq!(snapshot(&place.store()), before, "{line}");
    }
}

#[test]
fn a_store_inside_a_source_is_refused() {
    let place = Place::new();
    place.write("html/index.php", "x");
    fs::create_dir(place.path("html/sub")).unwrap();
    symlink(place.path("html/sub"), place.path("elsewhere")).unwrap();
    for store in ["html", "html/store", "html/sub/deep/store", "elsewhere", "elsewhere/store"] {
        let before = snapshot(&place.path("html"));
        let store = place.text(store);
        let ran = place.say(&format!("backup --source html={{}}/html --store {store}")).expect(2);
        ran.says(&store).says("inside source \"html\"");
        let ran = place.say(&format!("backup --dry-run --source html={{}}/html --store {store}")).expect(2);
        ran.says("inside source \"html\"");
        assert_eq!(snapshot(&place.path("html")), before, "{store}");
    }
    // A relative path leads there as well.
    for (store, source) in [("store", "html=."), ("sub/store", "html=../html"), ("../html/store", "html=.")] {
        let before = snapshot(&place.path("html"));
        let mut command = place.bare();
        command.current_dir(place.path("html")).args(["--store", store, "backup", "--source", source]);
        Ran::of(command).expect(2).says("inside source \"html\"");
        assert_eq!(snapshot(&place.path("html")), before, "{store} {source}");
    }
    // A neighbour whose name begins alike is no inside.
    place.say("backup --source html={}/html --store {}/html-store").expect(0);
}

#[test]
fn a_target_inside_the_store_is_refused() {
    let place = filled();
    symlink(place.store(), place.path("elsewhere")).unwrap();
    let before = snapshot(&place.store());
    for target in ["store", "store/new", "store/a/b", "elsewhere/new"] {
        let restore = format!("restore --week latest --pvc html --target {{}}/{target}");
        place.say(&restore).expect(2).says("inside the store").says(target);
        place.say(&format!("{restore} --dry-run")).expect(2);
        let materialize = format!("materialize --week latest --pvc html {{}}/{target}");
        place.say(&materialize).expect(2);
        assert_eq!(snapshot(&place.store()), before, "{target}");
    }
    // Deleting what is extra would delete the store.
    let above = "restore --week latest --pvc html --target {} --delete --dry-run";
    place.say(above).expect(2).says("would delete the store");
    assert_eq!(snapshot(&place.store()), before);
}

#[test]
fn where_there_is_no_store_it_is_said() {
    let place = Place::new();
    for line in READERS.iter().chain(&["gc", "retain --keep 1", "restore --week latest --pvc html"]) {
        let ran = place.say(line).expect(1).says("no store at").says(&place.text("store"));
        assert_eq!(ran.stdout, "", "{ran}");
    }
    assert!(!place.store().exists());
    // What is something else is not taken for one.
    place.write("store/precious.txt", "x");
    place.write("html/index.php", "x");
    let before = snapshot(&place.store());
    place.say("backup --source html={}/html").expect(1).says("precious.txt").says("is no weekvault store");
    place.say("backup --source html={}/html --dry-run").expect(1).says("precious.txt");
    assert_eq!(snapshot(&place.store()), before);
    place.write("file", "x");
    place.say("list --store {}/file").expect(1).says("/file");
    place.say("backup --source html={}/html --store {}/file").expect(1).says("/file");
}

#[test]
fn what_is_not_there_is_told_with_what_there_is() {
    let place = filled();
    let ran = place.say("restore --week 2025-14 --pvc engima --target {}/t").expect(1);
    assert_eq!(ran.stderr, "error: week 2025-14 has no manifest for pvc \"engima\"; it has: enigma, html\n");
    place.say("ls --week 2025-13 --pvc enigma").expect(1).says("2025-13").says("it has: 2025-14");
    place.say("cat --week previous --pvc enigma x").expect(1).says("previous").says("it has: 2025-14");
    for line in ["list --pvc x", "verify --pvc x", "retain --keep 1 --pvc x", "ls --week latest --pvc x"] {
        place.say(line).expect(1).says("pvc \"x\"").says("enigma, html");
    }
    place.say("verify --week 2024-01").expect(1).says("no week 2024-01").says("it has: 2025-14");
    for line in ["ls --week latest --pvc html a/b", "cat --week latest --pvc html a/b"] {
        place.say(line).expect(1).says("2025-14").says("has no path a/b").says("weekvault ls");
    }
    place.say("cat --week latest --pvc html config").expect(1).says("is a folder");
    place.say("cat --week latest --pvc html link").expect(1).says("symbolic link to index.php");
    let ran = place.say("restore --week latest --pvc html --path conf --target {}/t").expect(1);
    ran.says("\"conf\"").says("weekvault ls");
}

#[test]
fn an_empty_path_is_not_everything() {
    let place = filled();
    place.write("html/precious", "x");
    let line = "restore --week latest --pvc html --delete --path";
    let mut arguments = place.words(line);
    arguments.push(String::new());
    place.run(arguments).expect(2).says("--path is empty");
    assert!(place.path("html/precious").exists());
    // A folder's own extra files are another matter.
    place.write("html/config/extra", "x");
    place.say(&format!("{line} config")).expect(0);
    assert!(place.path("html/precious").exists() && !place.path("html/config/extra").exists());
}

// Where options come from.

#[test]
fn restore_as_the_manual_says_it() {
    let place = filled();
    let source = place.path("enigma/pubring.kbx");
    let before = fs::read(&source).unwrap();
    fs::write(&source, "broken").unwrap();
    let mut command = place.bare();
    command.args(["restore", "--week", "2025-14", "--pvc", "enigma"]).env("WEEKVAULT_STORE", place.store());
    let ran = Ran::of(command).expect(0);
    assert!(ran.stdout.starts_with("2025-14/enigma to "), "{ran}");
    assert_eq!(fs::read(&source).unwrap(), before);
    fs::remove_dir_all(place.path("enigma")).unwrap();
    place.say("restore --week 2025-14 --pvc enigma").expect(0);
    assert_eq!(fs::read(&source).unwrap(), before);
}

/// Visits every command, with its name: `key list`.
fn each_command(visit: &mut dyn FnMut(&str, &clap::Command)) {
    fn below(above: &str, command: &clap::Command, visit: &mut dyn FnMut(&str, &clap::Command)) {
        visit(above, command);
        for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
            below(format!("{above} {}", command.get_name()).trim_start(), command, visit);
        }
    }
    let mut all = weekvault::cli::command();
    all.build();
    below("", &all, visit);
}

/// The long options of a command that mean something to it, without those that every command has.
fn options(command: &clap::Command, global: bool) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|a| a.is_global_set() == global);
    own.filter_map(|a| a.get_long())
        .filter(|o| !matches!(*o, "help" | "version"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_option_has_a_variable() {
    let mut seen = 0;
    each_command(&mut |name, command| {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long().filter(|o| !matches!(*o, "help" | "version")) else {
                assert!(argument.get_short().is_none() || argument.get_long().is_some(), "{name} {argument}");
                continue;
            };
            let variable = format!("WEEKVAULT_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(argument.get_env(), Some(OsStr::new(&variable)), "{name} --{long}");
            seen += 1;
        }
    });
    assert!(seen > 100, "only {seen} options were looked at");
}

#[test]
fn a_cronjob_can_be_all_environment() {
    let place = Place::new();
    place.write("html/index.php", "x");
    place.write("html/a.tmp", "x");
    place.write("html/b.log", "x");
    place.write("enigma/key", "key");
    let run = |arguments: &[&str], variables: &[(&str, String)]| {
        let mut command = place.bare();
        command.args(arguments).env("WEEKVAULT_STORE", place.store()).env("WEEKVAULT_NO_CACHE", "1");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Ran::of(command)
    };
    let sources = format!("html={}, enigma={}", place.text("html"), place.text("enigma"));
    let variables = [
        ("WEEKVAULT_SOURCE", sources),
        ("WEEKVAULT_WEEK", "2025-14".into()),
        ("WEEKVAULT_EXCLUDE", "*.tmp\n/b.*\n".into()),
        ("WEEKVAULT_KEEP", "3".into()),
        ("WEEKVAULT_JSON", "true".into()),
        ("WEEKVAULT_COMPRESSION", "1".into()),
        // Empty is unset, and so is a flag that says no.
        ("WEEKVAULT_PUSHGATEWAY", String::new()),
        ("WEEKVAULT_THREADS", String::new()),
        ("WEEKVAULT_DRY_RUN", "0".into()),
        ("WEEKVAULT_QUIET", "no".into()),
        ("WEEKVAULT_ALLOW_EMPTY", "OFF".into()),
    ];
    let report = run(&["backup"], &variables).expect(0).json();
    assert_eq!(report["sources"][0]["files"], 1, "{report}");
    assert_eq!(report["sources"][0]["skipped"], 2, "{report}");
    assert_eq!(report["sources"][1]["pvc"], "enigma", "{report}");
    assert!(place.path("store/2025-14/enigma.manifest").exists());
    // The command line wins, and no variable of another command is in the way.
    let ran = run(&["list", "--pvc", "html"], &variables[..4]).expect(0);
    assert_eq!(ran.stdout.lines().count(), 2, "{ran}");
    let pvc = |name: &str| [("WEEKVAULT_PVC", name.to_owned()), ("WEEKVAULT_WEEK", "latest".to_owned())];
    assert!(run(&["ls", "--pvc", "enigma"], &pvc("html")).expect(0).stdout.contains("key"));
    assert!(run(&["ls"], &pvc("html")).expect(0).stdout.contains("index.php"));
    run(&["ls", "--week", "2025-15"], &pvc("html")).expect(1);
    assert_eq!(run(&["list"], &[("WEEKVAULT_PVC", String::new())]).expect(0).stdout.lines().count(), 3);
    // -v wins over a quiet environment; so does a falsehood that is none over nothing.
    run(&["list", "-v"], &[("WEEKVAULT_QUIET", "1".into())]).expect(0);
    run(&["gc"], &[("WEEKVAULT_DRY_RUN", "ture".into())]).expect(2).says("--dry-run");
    let owner = [("WEEKVAULT_NO_OWNER", "false".to_owned())];
    let target = place.text("t");
    run(&["restore", "--week", "latest", "--pvc", "html", "--target", &target, "--numeric-owner"], &owner)
        .expect(0);
}

#[test]
fn the_cache_is_where_it_is_told_and_never_in_the_store() {
    let place = filled();
    place.say("list").expect(0);
    assert!(!place.path("home").exists(), "--cache-dir was given");
    place.say("list --cache-dir {}/store/cache").expect(2).says("is inside the store");
    assert!(!place.path("store/cache").exists());
    // A folder that holds other things loses none of them, whatever is wrong with the cache in it.
    place.write("mine/precious", "x");
    place.write("mine/db/precious", "x");
    place.write("mine/conf", "x");
    place.write("mine/weekvault-cache-v1/db/strange", "x");
    let mine = |path: &str| fs::read_to_string(place.path(path)).unwrap();
    place.say("list --cache-dir {}/mine").expect(0);
    assert_eq!([mine("mine/precious"), mine("mine/db/precious"), mine("mine/conf")], ["x", "x", "x"]);
    place.say("list --no-cache --cache-dir {}/other").expect(0);
    assert!(!place.path("other").exists());
    // Without a home there is none, and nobody minds.
    let mut command = place.bare();
    command.arg("--store").arg(place.store()).arg("list").env_remove("HOME");
    assert_eq!(Ran::of(command).expect(0).stderr, "");
}

#[test]
fn a_pattern_is_a_name_where_there_is_one() {
    let place = Place::new();
    for name in ["draft[1].txt", "draft1.txt", "odd[name", "sub/a.php", "sub/b.php"] {
        place.write(&format!("html/{name}"), name);
    }
    place.backup("2025-14", "html");
    for (pattern, restored) in [
        ("draft[1].txt", &["draft[1].txt"][..]),
        ("draft[0-9].txt", &["draft1.txt"]),
        ("odd[name", &["odd[name"]),
        ("./sub/*.php", &["sub/a.php", "sub/b.php"]),
        ("s*/", &["sub/a.php", "sub/b.php"]),
        ("./sub/", &["sub/a.php", "sub/b.php"]),
    ] {
        let target = place.path("target");
        let line = format!("restore --week latest --pvc html --target {{}}/target --path {pattern}");
        place.say(&line).expect(0);
        let files = snapshot(&target).into_keys().filter(|path| path.is_file());
        let files: Vec<_> = files.map(|path| path.strip_prefix(&target).unwrap().to_path_buf()).collect();
        assert_eq!(files, restored.iter().map(PathBuf::from).collect::<Vec<_>>(), "{pattern}");
        fs::remove_dir_all(target).unwrap();
    }
    place
        .say("restore --week latest --pvc html --target {}/target --path odd[other")
        .expect(1)
        .says("odd[other");
}

#[test]
fn a_list_of_excludes_may_be_an_editors_of_windows() {
    let place = Place::new();
    for name in ["keep", "one.tmp", "two.log"] {
        place.write(&format!("html/{name}"), name);
    }
    place.write("list", "\u{feff}*.tmp\r\n*.log\r\n");
    place.say("backup --week 2025-14 --source html={}/html --exclude-from {}/list").expect(0);
    assert_eq!(place.say("ls --week latest --pvc html").expect(0).stdout, "keep\n");
}

// What is written, and what is not.

#[test]
fn the_store_is_for_its_owner_alone_whatever_the_umask() {
    for umask in ["000", "022", "027", "077"] {
        let place = Place::new();
        place.write("html/index.php", "x");
        for week in ["2025-13", "2025-14"] {
            let line = format!("backup --week {week} --keep 1 --source html={{}}/html");
            let mut command = place.clean("sh");
            command.args(["-c", "umask $0; exec \"$@\"", umask, env!("CARGO_BIN_EXE_weekvault"), "--store"]);
            command.arg(place.store()).arg("--no-cache").args(place.words(&line));
            Ran::of(command).expect(0);
            place.write("html/index.php", week);
        }
        let all = snapshot(&place.store());
        assert!(all.keys().any(|p| p.starts_with(place.path("store/trash"))), "{all:?}");
        for (path, (mode, ..)) in all {
            let wanted = if path.is_dir() { 0o40_700 } else { 0o100_600 };
            assert_eq!(mode, wanted, "{} with umask {umask}: {mode:o}", path.display());
        }
    }
}

#[test]
fn a_dry_run_writes_nothing() {
    let place = filled();
    // With no store yet there is none after it either.
    let ran = place.say("backup --dry-run --source html={}/html --store {}/new").expect(0);
    assert!(ran.stdout.contains("dry run: nothing was written"), "{ran}");
    assert!(!place.path("new").exists());
    place.write("html/new", noise(9_000, 2));
    place.backup("2025-15", "html");
    place.write("html/newer", noise(9_000, 3));
    fs::remove_file(place.path("html/link")).unwrap();
    // Something for gc to do: the object of a manifest that is gone, an unfinished write, old trash.
    fs::remove_file(place.path("store/2025-14/enigma.manifest")).unwrap();
    place.write("store/tmp/0123456789abcdef-0", "unfinished");
    place.write("store/trash/2020-01-01/objects/0/x", "old");
    let before = (snapshot(&place.store()), snapshot(&place.path("html")));
    let line = "backup --dry-run --json --week 2025-15 --source html={}/html";
    let report = place.say(line).expect(0).json();
    assert_eq!(report["dry_run"], true, "{report}");
    // What would be written, without the manifest.
    assert_eq!(report["written_bytes"], report["sources"][0]["new_stored_bytes"], "{report}");
    assert_eq!(report["sources"][0]["new"], 1, "{report}");
    assert_eq!(report["sources"][0]["removed"], 1, "{report}");
    let report = place.say("gc --dry-run --json").expect(0).json();
    assert_eq!((&report["retired_objects"], &report["deleted_files"]), (&1.into(), &1.into()), "{report}");
    let report = place.say("retain --keep 1 --dry-run --json").expect(0).json();
    assert_eq!(report["retired"], serde_json::json!(["2025-14/html.manifest"]));
    let ran = place.say("restore --week 2025-14 --pvc html --delete --dry-run").expect(0);
    for change in ["create   link", "delete   new", "delete   newer"] {
        assert!(ran.stdout.lines().any(|line| line == change), "no {change:?} in {ran}");
    }
    assert!(ran.stdout.lines().last().unwrap().starts_with("dry run, 2025-14/html to "), "{ran}");
    place.say("restore --week 2025-14 --pvc html --dry-run --target {}/nowhere/below").expect(0);
    assert!(!place.path("nowhere").exists());
    assert!((snapshot(&place.store()), snapshot(&place.path("html"))) == before, "a dry run wrote something");
}

#[test]
fn readers_need_no_write_access_to_the_store() {
    let place = filled();
    place.folder_of_nobody("home");
    place.folder_of_nobody("out");
    for (path, (mode, ..)) in snapshot(&place.store()) {
        let mode = if mode & 0o40_000 != 0 { 0o555 } else { 0o444 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let before = snapshot(&place.store());
    let restoring = [
        "restore -q --week latest --pvc html --no-owner --target {}/out/restored --verify",
        "materialize --week latest --pvc enigma --no-owner {}/out/materialized",
    ];
    for line in READERS.iter().chain(&restoring) {
        let ran = Ran::of(place.as_nobody(place.words(line))).expect(0);
        assert_eq!(ran.stderr, "", "{ran}");
        assert_eq!(snapshot(&place.store()), before, "{line}");
    }
    assert_eq!(fs::read(place.path("out/restored/index.php")).unwrap(), b"<?php\n");
    assert_eq!(fs::read(place.path("out/materialized/pubring.kbx")).unwrap(), noise(5_000, 1));
    // Writers say what they may not.
    for line in ["backup --source html={}/html", "gc", "retain --keep 1"] {
        let ran = Ran::of(place.as_nobody(place.words(line)));
        if line.starts_with("retain") {
            // There is nothing to retire, so nothing to write.
            ran.expect(0);
        } else {
            ran.expect(1).says("Permission denied").says(&place.text("store/"));
        }
        assert_eq!(snapshot(&place.store()), before, "{line}");
    }
    // So that it can be deleted.
    for path in before.into_keys().filter(|p| p.is_dir()) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_cannot_be_read_makes_the_manifest_partial() {
    let place = Place::new();
    place.folder_of_nobody("store");
    place.folder_of_nobody("out");
    for path in ["html/open", "html/secret", "html/folder/inner"] {
        place.write(path, path);
    }
    let mode =
        |path: &str, mode| fs::set_permissions(place.path(path), fs::Permissions::from_mode(mode)).unwrap();
    let run = |line: &str| Ran::of(place.as_nobody(place.words(line)));
    let backup = |week: &str| run(&format!("backup --json --keep 1 --week {week} --source html={{}}/html"));
    backup("2025-13").expect(0);
    let complete = fs::read(place.path("store/2025-13/html.manifest")).unwrap();
    mode("html/secret", 0o000);
    mode("html/folder", 0o000);
    let ran = backup("2025-14").expect(3);
    let ran = ran.says("warning: backing up html: cannot open secret: Permission denied");
    let ran = ran.says("warning: backing up html: cannot list folder: Permission denied");
    let report = ran.json();
    assert_eq!(report["exit_code"], 3, "{report}");
    assert_eq!(report["retired"], serde_json::json!([]), "retention after a partial run");
    assert!(report["gc"].is_null(), "{report}");
    let source = &report["sources"][0];
    assert_eq!((&source["complete"], &source["unreadable"]), (&false.into(), &2.into()), "{source}");
    let problems: BTreeSet<&str> =
        source["problems"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(problems, BTreeSet::from(["folder", "secret"]));
    assert!(place.path("store/2025-14/html.partial.manifest").exists());
    assert!(!place.path("store/2025-14/html.manifest").exists());
    // Beside a complete one of the same week, never over it.
    backup("2025-13").expect(3);
    assert!(place.path("store/2025-13/html.partial.manifest").exists());
    assert_eq!(fs::read(place.path("store/2025-13/html.manifest")).unwrap(), complete);
    assert_eq!(run("cat --week 2025-13 --pvc html secret").expect(0).stdout, "html/secret");
    run("cat --week 2025-14 --pvc html secret").expect(1).says("2025-14/html is partial");
    run("ls --week 2025-14 --pvc html").expect(0).says("2025-14/html is partial");
    let listed = run("list").expect(0);
    assert_eq!(listed.stdout.matches("PARTIAL: 2 not read").count(), 2, "{listed}");
    assert_eq!(listed.stdout.matches("complete").count(), 1, "{listed}");
    let ran = run("restore --no-owner --week latest --pvc html --target {}/out/restored").expect(0);
    let ran = ran.says("warning: 2025-14/html is partial");
    assert!(place.path("out/restored/open").exists() && !place.path("out/restored/secret").exists(), "{ran}");
    assert_eq!(run("verify").expect(0).stdout.matches("html is partial").count(), 2);
    assert_eq!(run("verify --json").expect(0).json()["partial_manifests"].as_array().unwrap().len(), 2);
    let text = run("backup --keep 1 --week 2025-14 --source html={}/html").expect(3);
    assert!(text.stdout.contains("PARTIAL: 2 not read"), "{text}");
    // Once all can be read again, the complete one takes over and what it makes needless is retired.
    mode("html/secret", 0o644);
    mode("html/folder", 0o755);
    let report = backup("2025-14").expect(0).json();
    let mut retired: Vec<&str> =
        report["retired"].as_array().unwrap().iter().map(|r| r.as_str().unwrap()).collect();
    retired.sort_unstable();
    let gone = ["2025-13/html.manifest", "2025-13/html.partial.manifest", "2025-14/html.partial.manifest"];
    assert_eq!(retired, gone);
}

// What is said, and where.

#[test]
fn json_is_one_document_and_alone_on_stdout() {
    let place = filled();
    for line in ["list", "verify", "verify --quick", "gc", "gc --dry-run", "retain --keep 1", "man {}/man"] {
        place.say(&format!("{line} --json")).expect(0).json();
    }
    let report = place.say("backup --json --week 2025-14 --source html={}/html").expect(0).json();
    assert!(report["exit_code"] == 0 && report["sources"][0]["pvc"] == "html", "{report}");
    let report = place.say("restore --json --week latest --pvc html --target {}/r").expect(0).json();
    assert_eq!(report["changes"]["create"], 5, "{report}");
    let report = place.say("materialize --json --week latest --pvc html {}/m").expect(0).json();
    assert_eq!(report["failed"], 0, "{report}");
    // Streams are lines.
    let lines = place.say("ls --json --week latest --pvc html -R").expect(0).json_lines();
    let paths: Vec<&str> = lines.iter().map(|l| l["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["config", "config/config.inc.php", "index.php", "link"]);
    assert_eq!(lines[1]["size"], 6);
    assert_eq!(lines[2]["blake3"], blake3::hash(b"<?php\n").to_hex().as_str());
    assert_eq!((&lines[3]["type"], &lines[3]["target"]), (&"symlink".into(), &"index.php".into()));
    let lines =
        place.say("restore --json --dry-run --week latest --pvc html --target {}/d").expect(0).json_lines();
    assert_eq!(lines.len(), 6, "five changes and a summary");
    assert_eq!(lines[2]["change"], "create");
    assert_eq!(lines[5]["dry_run"], true);
    // So are errors, of every kind.
    for (line, code) in [
        ("backup --source x={}/none", 1),
        ("backup --source html={}/html --source html={}/html", 2),
        ("restore --week 2025-01 --pvc html", 1),
        ("materialize --week latest --pvc html {}/html", 2),
        ("list --store {}/none", 1),
        ("list --pvc none", 1),
        ("ls --week latest --pvc html none", 1),
        ("cat --week latest --pvc html index.php", 2),
        ("completions bash", 2),
        ("man /dev/null/x", 1),
        ("verify --week 2020-01", 1),
        ("retain --keep many", 2),
    ] {
        let ran = place.say(&format!("{line} --json")).expect(code);
        let document = ran.json();
        assert_eq!(document["exit_code"], code, "{ran}");
        assert!(ran.stderr.contains(document["error"].as_str().unwrap().lines().next().unwrap()), "{ran}");
    }
    // Whoever asks by variable gets no less.
    let mut command = place.command(["retain"]);
    command.env("WEEKVAULT_JSON", "1");
    assert_eq!(Ran::of(command).expect(2).json()["exit_code"], 2);
    // Names that are no text are given as bytes.
    fs::write(place.path("html").join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    place.backup("2025-15", "html");
    let lines = place.say("ls --json --week latest --pvc html").expect(0).json_lines();
    assert!(lines.iter().any(|l| l["path_hex"] == "636166e9" && l["path"] == "caf\u{fffd}"), "{lines:?}");
}

#[test]
fn a_finished_backup_ends_with_the_block() {
    let place = Place::new();
    place.write("html/noise", noise(3 << 20, 1));
    place.write("enigma/key", "key");
    for path in ["html/noise", "enigma/key"] {
        make_old(&place.path(path));
    }
    let line = "backup --ignore-ctime --week 2025-14 --source html={}/html --source enigma={}/enigma";
    place.say("init").expect(0);
    let ran = place.say(line).expect(0);
    assert_eq!(ran.stderr, "", "{ran}");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "=== Backup IO Stats ===");
    let seconds = lines[1].strip_prefix("duration: ").and_then(|s| s.strip_suffix('s')).unwrap();
    assert!(seconds.parse::<u64>().is_ok_and(|s| s < 600), "{ran}");
    assert_eq!(lines[2..6], ["read:    3 MiB", "written: 3 MiB", "output:  3 MiB", ""], "{ran}");
    let head = "pvc     files  unchanged  changed  new  removed   read  new objects  stored  skipped";
    assert_eq!(lines[6], head);
    let words: Vec<Vec<&str>> = lines[7..].iter().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 2, "{ran}");
    assert_eq!(words[0][..8], ["html", "1", "0", "0", "1", "0", "3", "MiB"]);
    assert_eq!(words[1][..8], ["enigma", "1", "0", "0", "1", "0", "3", "B"]);
    // Nothing changed: only manifests are written, and the whole is still what they stand for.
    let ran = place.say(line).expect(0);
    let manifests = ["2025-14/html.manifest", "2025-14/enigma.manifest"];
    let written: u64 = manifests.iter().map(|m| fs::metadata(place.store().join(m)).unwrap().len()).sum();
    let written = match written {
        n @ ..1024 => format!("written: {n} B"),
        n => format!("written: {:.1} KiB", n as f64 / 1024.0),
    };
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[2..5], ["read:    0 B", &written, "output:  3 MiB"], "{ran}");
}

#[test]
fn quiet_silences_notes_but_neither_warnings_nor_errors() {
    let place = filled();
    // As a garbage collection holds it.
    let lock = fs::File::open(place.path("store/lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let line = "backup --week 2025-14 --source html={}/html";
    place.say(line).expect(0).says("note: a garbage collection is running");
    let ran = place.say(&format!("{line} --quiet")).expect(0);
    assert_eq!(ran.stderr, "", "{ran}");
    place
        .say(&format!("{line} -q --pushgateway nonsense"))
        .expect(0)
        .says("warning: metrics were not pushed");
    place.say("list -q --pvc none").expect(1).says("error: ");
}

#[test]
fn colours_are_where_they_are_wanted() {
    let place = filled();
    let escape = '\u{1b}';
    for line in ["list --pvc none", "list --bogus"] {
        assert!(!place.say(line).stderr.contains(escape), "no terminal, no colours");
        assert!(place.say(&format!("{line} --color always")).stderr.contains(escape), "{line}");
        assert!(place.say(&format!("{line} --color=always")).stderr.contains(escape), "{line}");
        assert!(!place.say(&format!("{line} --color never")).stderr.contains(escape), "{line}");
    }
    // On a terminal, which `script` makes: its output is then on stdout.
    let terminal = |color: &str, no_color: Option<&str>| {
        let mut script = place.clean("script");
        let program = env!("CARGO_BIN_EXE_weekvault");
        let inner = format!("'{program}' --color {color} --store '{}' list --pvc none", place.text("store"));
        script.args(["-qec", &inner, "/dev/null"]).env("TERM", "xterm");
        if let Some(value) = no_color {
            script.env("NO_COLOR", value);
        }
        let ran = Ran::of(script);
        assert!(ran.stdout.contains("has: enigma, html"), "{ran}");
        ran.stdout.contains(escape)
    };
    if Command::new("script").arg("--version").output().is_err() {
        return eprintln!("SKIPPED: colours on a terminal: no script(1) here");
    }
    assert!(terminal("auto", None), "a terminal has colours");
    assert!(terminal("auto", Some("")), "an empty NO_COLOR is none");
    assert!(!terminal("auto", Some("1")), "NO_COLOR");
    assert!(!terminal("never", None), "--color never");
    assert!(terminal("always", Some("1")), "--color always");
}

/// Cuts a line as a shell would: single quotes, and what follows a `>` or a comment in brackets left out.
fn shell_words(line: &str) -> Vec<String> {
    let line = line.split(" > ").next().unwrap();
    let line = line.split(" | ").find(|part| part.contains("weekvault")).unwrap_or(line);
    let line = line.split(" (").next().unwrap();
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    assert!(!quoted, "{line}");
    words
}

#[test]
fn help_ends_with_examples_that_work_and_the_exit_codes() {
    let place = Place::new();
    each_command(&mut |name, _| {
        let long = place.say(&format!("{name} --help")).expect(0);
        assert_eq!(long.stdout, place.say(&format!("{name} -h")).expect(0).stdout, "one help, not two");
        assert_eq!(long.stderr, "");
        if !name.is_empty() {
            assert_eq!(long.stdout, place.say(&format!("help {name}")).expect(0).stdout);
        }
        for line in long.stdout.lines() {
            assert!(line.chars().count() <= 100 && !line.ends_with(' '), "{name}: {line:?}");
        }
        let (_, end) = long.stdout.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{long}"));
        let (examples, codes) = end.split_once("\n\nExit codes:\n").unwrap_or_else(|| panic!("{long}"));
        let codes: Vec<&str> = codes.lines().map(|l| l.split_whitespace().next().unwrap()).collect();
        let wanted: &[&str] = match name {
            "" => &["0", "1", "2", "3", "4", "5", "70", "129", "130", "143"],
            "backup" | "import" => &["0", "1", "2", "3", "70", "129", "130", "143"],
            "verify" => &["0", "1", "2", "4", "5", "70", "129", "130", "143"],
            "list" => &["0", "1", "2", "5", "70", "129", "130", "143"],
            _ => &["0", "1", "2", "70", "129", "130", "143"],
        };
        assert_eq!(codes, wanted, "{name}");
        let joined = examples.replace("\\\n", " ");
        let mut count = 0;
        for example in joined.lines() {
            let words = shell_words(example);
            let variables = words.iter().take_while(|w| w.starts_with("WEEKVAULT_")).count();
            if variables > 0 {
                continue;
            }
            let matches = weekvault::cli::command().try_get_matches_from(&words);
            let matches = matches.unwrap_or_else(|e| panic!("{example}: {e}"));
            let (mut at, mut named) = (Some(&matches), Vec::new());
            while let Some((name, matches)) = at.and_then(clap::ArgMatches::subcommand) {
                named.push(name);
                at = Some(matches);
            }
            assert!(
                format!("{} ", named.join(" ")).starts_with(format!("{name} ").trim_start()),
                "{example}"
            );
            count += 1;
        }
        assert!(count > 0, "{name} has no example");
    });
    let version = place.say("--version").expect(0);
    assert_eq!(version.stdout, concat!("weekvault ", env!("CARGO_PKG_VERSION"), "\n"));
    // What variables hold may be a password, and is nobody's business.
    let mut command = place.bare();
    command.args(["backup", "--help"]).env("WEEKVAULT_PUSHGATEWAY", "http://me:s3cret@gateway");
    assert!(!Ran::of(command).expect(0).stdout.contains("s3cret"));
}

/// A writer that nobody reads.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn whoever_stops_reading_breaks_nothing() {
    let place = filled();
    for number in 0..300 {
        place.write(&format!("html/many/a-rather-long-name-{number}"), "x");
    }
    let lines = READERS.into_iter().chain([
        "backup --week 2025-15 --source html={}/html",
        "backup --week 2025-15 --json --source html={}/html",
        "ls --week latest --pvc html -R --json",
        "restore --week latest --pvc html --target {}/restored -v",
        "completions bash",
        "backup --help",
        "--version",
        "man {}/man",
    ]);
    for line in lines {
        let mut command = place.command(place.words(line));
        command.stdout(closed_pipe());
        let ran = Ran::of(command).expect(0);
        assert!(ran.stderr.lines().all(|line| line.starts_with("note: restoring: ")), "{ran}");
    }
    assert!(place.path("restored/many").exists(), "a restore goes on");
    // What went wrong is not forgotten with it.
    cut_short(&place.path("store/2025-15/html.manifest"));
    for (line, code) in [("verify", 4), ("verify --json", 4), ("list", 1), ("list --store {}/none --json", 1)]
    {
        let mut command = place.command(place.words(line));
        command.stdout(closed_pipe());
        Ran::of(command).expect(code);
    }
    for (line, code) in [("list --pvc none", 1), ("gc", 1), ("retain", 2), ("verify --week 2025-14", 0)] {
        let mut command = place.command(place.words(line));
        command.stderr(closed_pipe());
        Ran::of(command).expect(code);
    }
    // A full disk is something else.
    let mut command =
        place.command(place.words("backup --week 2025-16 --no-retention --source html={}/html"));
    command.stdout(fs::File::create("/dev/full").unwrap());
    Ran::of(command).expect(1).says("the backup is published, but cannot write the output: No space left");
    for line in ["verify --week 2025-14", "ls --week 2025-14 --pvc html -R", "completions zsh", "gc --help"] {
        let mut command = place.command(place.words(line));
        command.stdout(fs::File::create("/dev/full").unwrap());
        let ran = Ran::of(command).expect(1);
        assert!(
            line.contains("help") || ran.stderr.contains("cannot write the output: No space left"),
            "{ran}"
        );
    }
}

// What a backup leaves out.

#[test]
fn excludes_leave_out_what_they_name() {
    let place = Place::new();
    for path in
        ["a.tmp", "b/c.tmp", "b/keep.tmp", "cache/x", "b/cache/y", "logs/d/e.log", "lost+found/z", "plain"]
    {
        place.write(&format!("html/{path}"), "x");
    }
    place.write("html/b/lost+found/z", "x");
    place.write("html/thumbs/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    place.write("html/thumbs/1.jpg", "x");
    place.write("html/fake/CACHEDIR.TAG", "no signature");
    place.write("html/fake/1.jpg", "x");
    place.write("patterns", "# what nobody needs\n*.tmp\r\n\n!keep.tmp\n");
    let backup = |options: &[&str]| {
        let mut arguments = place.words("backup --json --week 2025-14 --source html={}/html");
        arguments.extend(options.iter().map(|o| o.replace("{}", &place.text(""))));
        let report = place.run(arguments).expect(0).json();
        let ls = place.say("ls -R --week 2025-14 --pvc html").expect(0);
        let skipped = report["sources"][0]["skipped"].as_u64().unwrap();
        (ls.stdout.lines().map(str::to_owned).collect::<BTreeSet<_>>(), skipped)
    };
    let (all, skipped) = backup(&[]);
    let has = |paths: &BTreeSet<String>, path: &str| paths.contains(path);
    assert!(!has(&all, "lost+found") && has(&all, "b/lost+found/z") && has(&all, "thumbs/1.jpg"), "{all:?}");
    assert_eq!((all.len(), skipped), (20, 1), "{all:?}");
    let without = |gone: &[&str]| {
        all.iter().filter(|p| !gone.iter().any(|g| p == g)).cloned().collect::<BTreeSet<String>>()
    };
    let (paths, skipped) = backup(&["--exclude", "*.tmp", "--exclude=/cache/"]);
    assert_eq!(paths, without(&["a.tmp", "b/c.tmp", "b/keep.tmp", "cache", "cache/x"]));
    assert_eq!(skipped, 5, "what is in a folder that is left out is not looked at");
    let (paths, _) = backup(&["--exclude", "logs/**/*.log\ncache"]);
    assert_eq!(paths, without(&["logs/d/e.log", "cache", "cache/x", "b/cache", "b/cache/y"]));
    // The last pattern that fits decides, and the command line comes after the file.
    let (paths, _) = backup(&["--exclude-from", "{}/patterns"]);
    assert_eq!(paths, without(&["a.tmp", "b/c.tmp"]));
    let (paths, _) = backup(&["--exclude-from", "{}/patterns", "--exclude", "keep.tmp"]);
    assert_eq!(paths, without(&["a.tmp", "b/c.tmp", "b/keep.tmp"]));
    let (paths, _) = backup(&["--exclude-caches"]);
    assert_eq!(paths, without(&["thumbs/1.jpg"]), "the tag itself stays");
}

#[test]
fn other_file_systems_are_entered_on_request_only() {
    let place = Place::new();
    place.write("html/index.php", "x");
    fs::create_dir(place.path("html/mount")).unwrap();
    // In a mount namespace of its own: nothing to clean up, nothing that others see.
    let inside = |script: &str, arguments: &str| {
        let mut command = place.clean("unshare");
        let script = format!("mount -t tmpfs none \"$0\" && echo inner >\"$0/inner\" && {script}");
        command.args(["-m", "sh", "-c", &script]).arg(place.path("html/mount"));
        command.args([env!("CARGO_BIN_EXE_weekvault"), "--no-cache", "--store"]).arg(place.store());
        command.args(place.words(arguments));
        Ran::of(command)
    };
    let possible = inside("true", "");
    if possible.code != Some(0) {
        return eprintln!("SKIPPED: other file systems: {}", possible.stderr.trim());
    }
    let line = "backup --json --week 2025-14 --source html={}/html";
    let report = inside("exec \"$@\"", line).expect(0).json();
    assert_eq!(report["sources"][0]["skipped"], 1, "{report}");
    let ls = || place.say("ls -R --week latest --pvc html").expect(0).stdout;
    assert_eq!(ls(), "index.php\nmount\n");
    inside("exec \"$@\"", &format!("{line} --cross-filesystems")).expect(0);
    assert_eq!(ls(), "index.php\nmount\nmount/inner\n");
}

// Looking into a store.

#[test]
fn list_shows_weeks_and_pvcs() {
    let place = filled();
    assert_eq!(Place::with_small_chunks().say("list").expect(0).stdout, "no manifests yet\n");
    place.backup("2025-15", "html");
    let ran = place.say("list").expect(0);
    let lines: Vec<Vec<&str>> = ran.stdout.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["week", "pvc", "when", "files", "size", "new", "state"]);
    let names: Vec<_> = lines[1..].iter().map(|l| (l[0], l[1])).collect();
    assert_eq!(names, [("2025-14", "enigma"), ("2025-14", "html"), ("2025-15", "html")]);
    assert!(lines[1..].iter().all(|l| l.last() == Some(&"complete")), "{ran}");
    assert_eq!(lines[2][3..6], ["2", "12", "B"], "{ran}");
    let when = lines[2][2];
    assert!(when.len() == 20 && when.ends_with('Z') && when.parse::<jiff::Timestamp>().is_ok(), "{when}");
    let ran = place.say("list --pvc html --json").expect(0).json();
    let list = ran.as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!((&list[0]["week"], &list[0]["files"]), (&"2025-14".into(), &2.into()));
    assert_eq!(list[0]["source"], place.text("html").as_str());
}

#[test]
fn ls_and_cat_show_what_is_in_a_manifest() {
    let place = Place::new();
    place.write("html/b", "bb");
    place.write("html/a/x", noise(100_000, 1));
    place.write("html/a.txt", "");
    fs::hard_link(place.path("html/b"), place.path("html/z")).unwrap();
    fs::write(place.path("html").join(OsStr::from_bytes(b"n\n\xff")), "odd").unwrap();
    fs::set_permissions(place.path("html/b"), fs::Permissions::from_mode(0o4751)).unwrap();
    place.backup("2025-14", "html");
    let ls =
        |arguments: &str| place.say(&format!("ls --week latest --pvc html {arguments}")).expect(0).stdout;
    assert_eq!(ls(""), "a\na.txt\nb\nn\\n\\xff\nz\n");
    assert_eq!(ls("-R"), "a\na/x\na.txt\nb\nn\\n\\xff\nz\n");
    assert_eq!(
        (ls("a"), ls("/a/"), ls("a/x"), ls("./a")),
        ("a/x\n".into(), "a/x\n".into(), "a/x\n".into(), "a/x\n".into())
    );
    let long = ls("-lR");
    let lines: Vec<&str> = long.lines().collect();
    assert!(lines[3].starts_with("-rwsr-x--x "), "{long}");
    assert!(lines[3].ends_with("Z b") && lines[5].ends_with("z = b"), "{long}");
    assert_eq!(lines[1].split_whitespace().nth(3), Some("100000"), "{long}");
    assert_eq!(ls("--long --recursive"), long);
    let cat = |path: &OsStr| {
        let mut command = place.command(["cat", "--week", "latest", "--pvc", "html"]);
        command.arg(path);
        Ran::of(command).expect(0).bytes
    };
    assert_eq!(cat(OsStr::new("a/x")), noise(100_000, 1));
    assert_eq!(cat(OsStr::new("z")), b"bb", "a hard link is as good as the file");
    assert_eq!(cat(OsStr::new("a.txt")), b"");
    assert_eq!(cat(OsStr::from_bytes(b"n\n\xff")), b"odd");
}

#[test]
fn materialize_makes_a_new_tree() {
    let place = filled();
    let line = "materialize --week 2025-14 --pvc html {}/new/tree";
    let ran = place.say(line).expect(0);
    assert!(ran.stdout.starts_with("2025-14/html to ") && ran.stdout.contains("5 created"), "{ran}");
    assert_eq!(fs::read(place.path("new/tree/config/config.inc.php")).unwrap(), b"config");
    place.say(line).expect(2).says("is not empty").says("weekvault restore");
    fs::create_dir(place.path("empty")).unwrap();
    place.say("materialize --week 2025-14 --pvc html {}/empty").expect(0);
    place.write("file", "x");
    place.say("materialize --week 2025-14 --pvc html {}/file").expect(2).says("/file");
    place.say("restore --week 2025-14 --pvc html --target {}/file").expect(1).says("/file");
    assert_eq!(fs::read(place.path("file")).unwrap(), b"x");
}

// Tidying up.

#[test]
fn retention_and_gc_move_to_the_trash_and_empty_it() {
    let place = Place::with_small_chunks();
    for (number, week) in ["2025-12", "2025-13", "2025-14"].into_iter().enumerate() {
        place.write("html/file", noise(4_000, number as u64));
        place.write("enigma/key", noise(500, number as u64 + 10));
        for pvc in ["html", "enigma"] {
            let line = format!("backup --no-retention --week {week} --source {pvc}={{}}/{pvc}");
            place.say(&line).expect(0);
        }
    }
    let weeks = || place.say("list --json").expect(0).json().as_array().unwrap().len();
    let all = place.objects().len();
    assert_eq!(weeks(), 6, "--no-retention");
    let ran = place.say("retain --keep 2 --dry-run").expect(0);
    assert_eq!(ran.stdout, "would retire 2025-12/enigma.manifest\nwould retire 2025-12/html.manifest\n");
    assert_eq!(place.say("retain --keep 2 --pvc html").expect(0).stdout, "retired 2025-12/html.manifest\n");
    assert_eq!(place.say("retain --keep 2 --pvc html").expect(0).stdout, "nothing to retire\n");
    assert_eq!(weeks(), 5);
    place.say("retain --keep 1").expect(0);
    assert_eq!(weeks(), 2);
    assert!(!place.path("store/2025-12").exists(), "a week without manifests has no folder");
    // A backup that runs: gc would waste its work.
    let lock = fs::File::open(place.path("store/lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockShared).unwrap();
    place.say("gc").expect(1).says("another run is at work on the store");
    assert_eq!(place.say("gc --json").expect(1).json()["exit_code"], 1);
    drop(lock);
    place.write("store/tmp/0123456789abcdef-0", "unfinished, and old");
    place.write("store/tmp/0123456789abcdef-1", "somebody may be at it");
    make_old(&place.path("store/tmp/0123456789abcdef-0"));
    let report = place.say("gc --json").expect(0).json();
    let (live, retired) =
        (report["live_objects"].as_u64().unwrap(), report["retired_objects"].as_u64().unwrap());
    assert!(live > 0 && retired > live, "{report}");
    assert_eq!((live + retired, place.objects().len() as u64), (all as u64, live));
    let left: Vec<_> =
        fs::read_dir(place.path("store/tmp")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["0123456789abcdef-1"], "unfinished writes go once they are old");
    let verified = place.say("verify --json").expect(0).json();
    assert_eq!((&verified["objects"], &verified["unreferenced_objects"]), (&live.into(), &0.into()));
    // What is young stays in the trash.
    let trash = |path: &str| fs::read_dir(place.path(path)).unwrap().map(|e| e.unwrap().path()).next();
    let day = trash("store/trash").unwrap();
    assert_eq!(place.say("gc --json").expect(0).json()["deleted_files"], 0);
    fs::rename(&day, place.path("store/trash/2020-01-01")).unwrap();
    assert_eq!(place.say("gc --json --trash-days 99999").expect(0).json()["deleted_files"], 0);
    let ran = place.say("gc").expect(0);
    assert!(ran.stdout.contains(&format!("{} files deleted from the trash", retired + 4)), "{ran}");
    assert_eq!(trash("store/trash"), None);
    place.say("verify").expect(0);
}

#[test]
fn a_backup_retires_what_is_old() {
    let place = Place::new();
    for week in 10..=13 {
        place.write("html/file", noise(2_000, week));
        let report = place.say(&format!("backup --json --keep 2 --week 2025-{week} --source html={{}}/html"));
        let report = report.expect(0).json();
        let retired: Vec<String> = (12..=week).map(|w| format!("2025-{}/html.manifest", w - 2)).collect();
        assert_eq!(report["retired"], serde_json::json!(retired.last().into_iter().collect::<Vec<_>>()));
        assert_eq!(report["gc"]["live_objects"].as_u64().unwrap(), (week - 9).min(2), "{report}");
    }
    assert_eq!(place.objects().len(), 2);
    let text = place.say("backup --keep 1 --week 2025-13 --source html={}/html").expect(0);
    assert!(text.stdout.ends_with("\nretired: 2025-12/html.manifest\n"), "{text}");
}

#[test]
fn a_backup_that_cannot_tidy_up_says_that_it_is_published() {
    let place = filled();
    damage(&place.path("store/2025-14/enigma.manifest"));
    let line = "backup --week 2025-15 --source html={}/html";
    let ran = place.say(line).expect(1).says("the backup is published, but");
    let ran = ran.says("2025-14/enigma.manifest");
    assert!(ran.stdout.starts_with("=== Backup IO Stats ===\n"), "{ran}");
    assert!(place.path("store/2025-15/html.manifest").exists());
    let report = place.say(&format!("{line} --json")).expect(1).json();
    assert_eq!(report["exit_code"], 1);
    assert!(report["trouble"].as_str().unwrap().contains("2025-14/enigma.manifest"), "{report}");
    place.say(&format!("{line} --no-retention")).expect(0);
}

// Verifying.

/// A place whose store has hundreds of objects: `shared` is in both pvcs.
fn many_objects() -> Place {
    let place = Place::with_small_chunks();
    place.write("html/one", noise(20_000, 1));
    place.write("html/shared", noise(20_000, 2));
    place.write("enigma/two", noise(20_000, 3));
    place.write("enigma/shared", noise(20_000, 2));
    place.say("backup --week 2025-14 --source html={}/html --source enigma={}/enigma").expect(0);
    assert!(place.objects().len() > 100);
    place
}

#[test]
fn slices_together_check_each_object_once() {
    let place = many_objects();
    let objects: BTreeSet<PathBuf> = place.objects().into_iter().collect();
    for of in [1_u64, 3, 7] {
        let mut checked = 0;
        for part in 1..=of {
            let report = place.say(&format!("verify --json --slice {part}/{of}")).expect(0).json();
            let (count, share) = (report["objects"].as_u64().unwrap(), objects.len() as u64 / of);
            assert!(count >= share / 2 && count <= 2 * share, "{count} of {} in {part}/{of}", objects.len());
            checked += count;
        }
        assert_eq!(checked, objects.len() as u64);
    }
    let today = place.say("verify --slice day/7").expect(0);
    assert!(today.stdout.contains(" of slice "), "{today}");
    // Each slice names its own, once all are gone.
    for object in &objects {
        fs::remove_file(object).unwrap();
    }
    let mut named = BTreeSet::new();
    for part in 1..=5 {
        let report = place.say(&format!("verify --quick --json --slice {part}/5")).expect(4).json();
        for object in report["damaged_objects"].as_array().unwrap() {
            assert_eq!(object["damage"], "missing");
            assert!(named.insert(object["object"].as_str().unwrap().to_owned()), "{object} in two slices");
        }
    }
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(named, objects.iter().map(stem).collect());
}

#[test]
fn verify_names_what_is_damaged_and_what_that_hurts() {
    let place = many_objects();
    assert!(place.say("verify").expect(0).stdout.contains("nothing is damaged"));
    let quick = place.say("verify --quick --json").expect(0).json();
    assert_eq!(quick["read_bytes"], 0, "a quick one reads nothing");
    let only = |pvc: &str| place.say(&format!("verify --json --pvc {pvc}")).expect(0).json();
    let (html, enigma) = (only("html"), only("enigma"));
    let count = |v: &Value| v["objects"].as_u64().unwrap();
    assert!(count(&html) + count(&enigma) > place.objects().len() as u64, "the shared ones are in both");
    assert!(count(&html) < place.objects().len() as u64);
    assert_eq!(html["manifests"], 1);
    assert_eq!(place.say("verify --json --week latest").expect(0).json()["manifests"], 2);

    // The objects of a source are found by hiding all that are not the other's.
    let mut hurt: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in place.objects().into_iter().step_by(9) {
        let name = object.file_stem().unwrap().to_str().unwrap().to_owned();
        let good = fs::read(&object).unwrap();
        damage(&object);
        let text = place.say("verify").expect(4);
        assert!(text.stdout.contains(&format!("object {name} is damaged")), "{text}");
        assert!(text.stdout.ends_with("1 object DAMAGED\n"), "{text}");
        let report = place.say("verify --json").expect(4).json();
        assert_eq!(report["exit_code"], 4);
        let damaged = report["damaged_objects"].as_array().unwrap();
        assert_eq!((damaged.len(), damaged[0]["object"].as_str()), (1, Some(name.as_str())), "{report}");
        let mut hurts = BTreeSet::new();
        for path in damaged[0]["hurts"].as_array().unwrap() {
            let (pvc, path) = (path["pvc"].as_str().unwrap(), path["path"].as_str().unwrap());
            assert!(text.stdout.contains(&format!("  hurts 2025-14 {pvc}: {path}\n")), "{text}");
            hurts.insert(format!("{pvc}/{path}"));
        }
        for pvc in ["html", "enigma"] {
            let code = if hurts.iter().any(|h| h.starts_with(pvc)) { 4 } else { 0 };
            place.say(&format!("verify --pvc {pvc}")).expect(code);
        }
        place.say("verify --quick").expect(0);
        // What is cut short shows without reading.
        fs::write(&object, &good).unwrap();
        cut_short(&object);
        let ran = place.say("verify --quick").expect(4);
        assert!(ran.stdout.contains(&name), "{ran}");
        fs::write(&object, &good).unwrap();
        hurt.insert(name, hurts);
    }
    let all: BTreeSet<&String> = hurt.values().flatten().collect();
    let all: Vec<&str> = all.into_iter().map(String::as_str).collect();
    assert_eq!(all, ["enigma/shared", "enigma/two", "html/one", "html/shared"]);
    place.say("verify").expect(0);
}

#[test]
fn a_damaged_manifest_hides_nothing_else() {
    let place = many_objects();
    place.backup("2025-15", "html");
    let manifest = place.path("store/2025-14/enigma.manifest");
    damage(&manifest);
    let text = place.say("verify").expect(4);
    assert!(text.stdout.contains(&place.text("store/2025-14/enigma.manifest")), "{text}");
    assert!(text.stdout.contains("hurts 2025-14 enigma: all of it"), "{text}");
    assert!(text.stdout.contains("1 manifest DAMAGED"), "{text}");
    let report = place.say("verify --json").expect(4).json();
    let damaged = report["damaged_manifests"].as_array().unwrap();
    assert_eq!(
        (damaged.len(), &damaged[0]["week"], &damaged[0]["pvc"]),
        (1, &"2025-14".into(), &"enigma".into())
    );
    place.say("verify --pvc html").expect(0);
    place.say("verify --pvc enigma --quick").expect(4);
    let before = snapshot(&place.store().join("objects"));
    place.say("gc").expect(1).says("2025-14/enigma.manifest");
    assert!(snapshot(&place.store().join("objects")) == before, "gc went on without a manifest");
    place.say("restore --week 2025-14 --pvc html --target {}/t").expect(0);
    place.say("restore --week 2025-14 --pvc enigma --target {}/t2").expect(1).says("enigma.manifest");
    cut_short(&manifest);
    let ran = place.say("list").expect(1);
    let line = ran.stdout.lines().find(|l| l.contains("enigma")).unwrap();
    assert!(line.contains("DAMAGED: ") && ran.stdout.matches("complete").count() == 2, "{ran}");
    let list = place.say("list --json").expect(1).json();
    assert_eq!((&list[0]["pvc"], list[0]["damaged"].is_string()), (&"enigma".into(), true), "{list}");
    // The store's own file is part of it.
    damage(&place.path("store/store.json"));
    place.say("verify").expect(4).says("store.json");
    assert_eq!(place.say("verify --json").expect(4).json()["exit_code"], 4);
    place.say("list").expect(1).says("store.json");
}

#[test]
fn a_damaged_object_spoils_no_other_file() {
    let place = Place::with_small_chunks();
    for number in 0..20 {
        place.write(&format!("html/{number:02}"), noise(3_000, number + 1));
    }
    place.backup("2025-14", "html");
    let object = place.objects().swap_remove(7);
    damage(&object);
    let ran = place.say("restore --week latest --pvc html --target {}/t").expect(1);
    let ran = ran.says("warning: restoring 2025-14/html: cannot restore ").says("see the warnings");
    assert!(ran.stderr.contains(object.file_stem().unwrap().to_str().unwrap()), "{ran}");
    let restored = fs::read_dir(place.path("t")).unwrap().map(|e| e.unwrap().path());
    let mut count = 0;
    for path in restored {
        let number: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert!(fs::read(path).unwrap() == noise(3_000, number + 1), "{number} is not what it was");
        count += 1;
    }
    assert!((17..20).contains(&count), "{count} of 20 files are there");
    let number = (0..20).find(|n| !place.path(&format!("t/{n:02}")).exists()).unwrap();
    let cat = format!("cat --week latest --pvc html {number:02}");
    let ran = place.say(&cat).expect(1).says("hint: ");
    assert!(noise(3_000, number + 1).starts_with(&ran.bytes), "what cat prints is verified");
    // As the hint says.
    fs::remove_file(&object).unwrap();
    place.backup("2025-14", "html");
    assert!(place.say(&cat).expect(0).bytes == noise(3_000, number + 1));
    place.say("verify").expect(0);
}

// The command line about itself.

#[test]
fn completions_and_man_pages() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.say(&format!("completions {shell}")).expect(0);
        assert!(ran.stdout.contains("exclude-caches") && ran.stderr.is_empty(), "{ran}");
        if Command::new(shell).arg("--version").output().is_ok() && matches!(shell, "bash" | "zsh") {
            place.write("script", &ran.stdout);
            let checked = Command::new(shell).arg("-n").arg(place.path("script")).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    place.say("man {}/new/man1").expect(0);
    let mut pages = 0;
    each_command(&mut |name, command| {
        let page = if name.is_empty() {
            "weekvault.1".to_owned()
        } else {
            format!("weekvault-{}.1", name.replace(' ', "-"))
        };
        let text = fs::read_to_string(place.path("new/man1").join(&page)).unwrap();
        let plain = text.replace('\\', "");
        assert!(text.contains(".TH ") && plain.contains("Exit codes:"), "{page}");
        for option in options(command, false) {
            assert!(plain.contains(&format!("--{option}")), "no --{option} in {page}");
        }
        pages += 1;
    });
    assert!(pages > 10);
    place.write("file", "x");
    place.say("man {}/file").expect(1).says("cannot write man pages into");
}

#[test]
fn the_reference_has_every_option_and_no_other() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let text = fs::read_to_string(file).unwrap();
    // A section a command, headed by its name in backticks; options are rows that begin with `--option`.
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut section, mut everywhere) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let named = title.strip_prefix('`').and_then(|title| title.split('`').next());
            section = named.or_else(|| title.split(' ').next()).unwrap().to_owned();
            assert!(sections.insert(section.clone(), BTreeSet::new()).is_none(), "{section} twice");
        }
        let first = line.strip_prefix("| ").and_then(|l| l.split(" | ").next()).unwrap_or_default();
        let names = |text: &str| {
            let after = text.split("--").skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-').unwrap_or(rest.len());
                rest[..end].to_owned()
            });
            after.filter(|n| !n.is_empty() && !n.starts_with('-')).collect::<Vec<_>>()
        };
        sections.entry(section.clone()).or_default().extend(names(first));
        everywhere.extend(names(line));
    }
    let mut known = BTreeSet::from(["help".to_owned(), "version".to_owned()]);
    each_command(&mut |name, command| {
        let (title, global) = if name.is_empty() { ("Options", true) } else { (name, false) };
        let documented = sections.get(title).unwrap_or_else(|| panic!("docs/cli.md has no section {title}"));
        assert_eq!(*documented, options(command, global), "section {title} of docs/cli.md");
        known.extend(options(command, global));
    });
    let unknown: Vec<_> = everywhere.difference(&known).collect();
    assert!(unknown.is_empty(), "docs/cli.md speaks of options that there are not: {unknown:?}");
    // Nor of commands that there are not, and the exit codes are those of --help.
    for code in ["0", "1", "2", "3", "4", "5", "129", "130", "143"] {
        assert!(text.lines().any(|l| l.starts_with(&format!("| {code} |"))), "exit code {code}");
    }
}
