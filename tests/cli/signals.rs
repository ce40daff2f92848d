//! Runs that are told to stop, at any moment: they do so soon, leave nothing half done in the store, and the next run
//! goes on. What is pushed of them to Prometheus is in `metrics.rs`.

use crate::common;
use crate::common::{Tree, Vault, What, assert_same_tree, backup_arguments, quick_folder};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const OLD: &str = "2025-13";
const NEW: &str = "2025-14";

/// Each with how many files it has.
const SOURCES: [(&str, u64); 3] = [("html", 150), ("enigma", 20), ("other", 60)];

/// So many moments of a run are tried, each with one of the three signals in turn.
fn moments() -> u32 {
    let number = std::env::var("WEEKVAULT_SIGNAL_MOMENTS").ok().filter(|v| !v.is_empty());
    number.map_or(16, |n| n.parse().unwrap())
}

/// Promised are 2 s; a machine may be busy with other tests.
const SOON: Duration = Duration::from_secs(5);

/// A folder with a store, and the sources that it has.
struct Setting {
    folder: TempDir,
    vault: Vault,
}

impl Setting {
    /// With very small chunks, every stage has a lot to do.
    fn new() -> Self {
        let folder = quick_folder(256 << 20, 100_000);
        let vault = Vault::with_small_chunks(folder.path().join("store"));
        let setting = Self { folder, vault };
        for (pvc, files) in SOURCES {
            setting.write(pvc, files, 0);
        }
        setting.vault.run(setting.backup(OLD)).expect(0);
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives a source so many files, whose contents no other `number` has.
    fn write(&self, pvc: &str, files: u64, number: u64) {
        let source = self.path(pvc);
        let _ = fs::remove_dir_all(&source);
        for file in 0..files {
            let folder = source.join(format!("folder-{}", file % 7));
            fs::create_dir_all(&folder).unwrap();
            let mut hasher = blake3::Hasher::new();
            hasher.update(pvc.as_bytes()).update(&number.to_le_bytes()).update(&file.to_le_bytes());
            let mut content = vec![0; 40 * file as usize];
            hasher.finalize_xof().fill(&mut content);
            fs::write(folder.join(format!("file-{file}")), content).unwrap();
        }
        symlink("folder-1", source.join("link")).unwrap();
        fs::hard_link(source.join("folder-1/file-8"), source.join("linked")).unwrap();
    }

    fn backup(&self, week: &str) -> Vec<OsString> {
        let [html, enigma] = ["html", "enigma"].map(|pvc| self.path(pvc));
        backup_arguments(week, &[("html", &html), ("enigma", &enigma)])
    }

    /// What of the store is published, as paths.
    fn published(&self) -> BTreeSet<String> {
        let listed = self.vault.run(["list", "--json"]).expect(0).json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        listed.as_array().unwrap().iter().map(|m| text(&m["week"]) + "/" + &text(&m["pvc"])).collect()
    }

    fn unfinished(&self) -> usize {
        fs::read_dir(self.vault.store.join("tmp")).map_or(0, Iterator::count)
    }

    #[track_caller]
    fn check_restore(&self, week: &str, pvc: &str, expected: &Tree) {
        let target = self.path("target");
        self.vault.restore(week, pvc, &target, &[]).expect(0);
        assert_same_tree(expected, &target);
        fs::remove_dir_all(target).unwrap();
    }

    fn start<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Started {
        let mut command = self.vault.command();
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        Started { begun: Instant::now(), child: command.spawn().unwrap(), told: None }
    }
}

/// A run, and the signal it was told to stop with.
struct Started {
    begun: Instant,
    child: Child,
    told: Option<(Signal, Instant)>,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How it ended, and how long after it was told to.
struct Ended {
    code: i32,
    /// A signal ended it at once: it did not listen to them yet.
    at_once: bool,
    stderr: String,
    took: Duration,
}

impl Started {
    /// Tells it to stop, this long after its beginning, unless it is done by then.
    fn tell(&mut self, moment: Duration, signal: Signal) {
        while self.begun.elapsed() < moment && self.child.try_wait().unwrap().is_none() {
            sleep(Duration::from_micros(200));
        }
        if self.child.try_wait().unwrap().is_none() {
            self.told = Some((signal, Instant::now()));
            kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
        }
    }

    #[track_caller]
    fn end(mut self) -> Ended {
        let mut stderr = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        let since = self.told.map_or(self.begun, |(_, moment)| moment);
        let signal = self.told.map_or(0, |(signal, _)| signal.as_raw());
        // To whoever started it in a shell it looks the same whether it listened already.
        let code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap();
        assert!(code == 0 || code == 128 + signal, "{code} after signal {signal}: {stderr}");
        Ended { code, at_once: status.code().is_none(), stderr, took: since.elapsed() }
    }
}

/// How soon runs of a kind stop, at moments spread over all of the time that they take.
struct Pace {
    what: &'static str,
    usual: Duration,
    runs: u32,
    stopped: u32,
    worst: Duration,
}

impl Pace {
    /// `undisturbed` shows how long it takes.
    #[track_caller]
    fn of(what: &'static str, undisturbed: Started) -> Self {
        let ended = undisturbed.end();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        Self { what, usual: ended.took, runs: 0, stopped: 0, worst: Duration::ZERO }
    }

    fn moments(&self) -> impl Iterator<Item = (Duration, Signal)> + use<> {
        let usual = self.usual;
        let signal = |number| [Signal::TERM, Signal::INT, Signal::HUP][number as usize % 3];
        let all = moments();
        (0..all).map(move |number| (usual * number / (all - 1), signal(number)))
    }

    /// Tells a run to stop, and waits for that.
    #[track_caller]
    fn stop(&mut self, mut run: Started, (moment, signal): (Duration, Signal)) -> Ended {
        run.tell(moment, signal);
        let told = run.told.is_some();
        let ended = run.end();
        if told {
            assert!(ended.took < SOON, "{} went on for {:?} after {signal:?}", self.what, ended.took);
            self.worst = self.worst.max(ended.took);
        }
        self.runs += 1;
        self.stopped += u32::from(ended.code != 0);
        ended
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        let Self { what, usual, runs, stopped, worst } = self;
        println!("{what}: {runs} runs of {usual:.0?}, {stopped} stopped, at the latest after {worst:.0?}");
    }
}

#[test]
fn a_backup_that_is_told_to_stop_publishes_all_or_nothing() {
    let setting = Setting::new();
    let old = ["html", "enigma"].map(|pvc| (pvc, Tree::of(&setting.path(pvc))));
    let mut pace = Pace::of("backup", setting.start(setting.backup(NEW)));
    let both = ["enigma", "html"].map(|pvc| format!("{NEW}/{pvc}"));
    for (number, at) in (1..).zip(pace.moments()) {
        // All is new to the store, and what it had of the week is garbage, which the neighbour's gc retires.
        for path in [NEW, "trash"] {
            let _ = fs::remove_dir_all(setting.vault.store.join(path));
        }
        for (pvc, files) in SOURCES {
            setting.write(pvc, files, number);
        }
        let other = setting.path("other");
        let neighbour = setting.start(backup_arguments(NEW, &[("other", &other)]));
        let ended = pace.stop(setting.start(setting.backup(NEW)), at);
        let neighbour = neighbour.end();
        assert_eq!(neighbour.code, 0, "{}", neighbour.stderr);
        setting.check_restore(NEW, "other", &Tree::of(&other));

        let published = setting.published();
        let there = both.iter().filter(|id| published.contains(*id)).count();
        assert!([0, 2].contains(&there), "{published:?} after {at:?}: {}", ended.stderr);
        assert!(ended.code != 0 || there == 2, "{published:?}");
        let said = ended.stderr.contains("nothing was published");
        assert!(ended.at_once || said == (ended.code != 0 && there == 0), "{published:?}: {}", ended.stderr);
        assert_eq!(setting.unfinished(), 0, "after {at:?}");
        setting.vault.verify();

        setting.vault.run(setting.backup(NEW)).expect(0);
        for pvc in ["html", "enigma"] {
            setting.check_restore(NEW, pvc, &Tree::of(&setting.path(pvc)));
        }
    }
    old.iter().for_each(|(pvc, expected)| setting.check_restore(OLD, pvc, expected));
    assert_eq!(setting.vault.verify()["unreferenced_objects"], 0);
}

#[test]
fn a_restore_that_is_told_to_stop_is_completed_by_the_next() {
    let setting = Setting::new();
    let (expected, target) = (Tree::of(&setting.path("html")), setting.path("restored"));
    let arguments = || -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["restore", "--week", OLD, "--pvc", "html", "--delete", "--target"].map(Into::into).into();
        arguments.push(target.clone().into());
        arguments
    };
    let mut pace = Pace::of("restore", setting.start(arguments()));
    for (number, at) in pace.moments().enumerate() {
        // In place of another tree, or of none.
        fs::remove_dir_all(&target).unwrap();
        if number % 3 == 0 {
            common::copy(&setting.path("other"), &target);
        }
        let ended = pace.stop(setting.start(arguments()), at);
        if ended.code == 0 {
            assert_same_tree(&expected, &target);
        }
        // No options that would take anything away that the first left.
        let mut again = arguments();
        again.retain(|argument| argument != "--delete" || number % 3 == 0);
        setting.vault.run(again).expect(0);
        assert_same_tree(&expected, &target);
    }
}

#[test]
fn a_materialize_that_is_told_to_stop_leaves_whole_files() {
    let setting = Setting::new();
    let (expected, target) = (Tree::of(&setting.path("html")), setting.path("plain"));
    let arguments = || -> Vec<OsString> {
        let mut arguments: Vec<OsString> =
            ["materialize", "--week", OLD, "--pvc", "html"].map(Into::into).into();
        arguments.push(target.clone().into());
        arguments
    };
    let mut pace = Pace::of("materialize", setting.start(arguments()));
    for at in pace.moments() {
        fs::remove_dir_all(&target).unwrap();
        let ended = pace.stop(setting.start(arguments()), at);
        if target.exists() {
            for (path, node) in Tree::of(&target).0 {
                let wanted = expected.0.get(&path).unwrap_or_else(|| panic!("{path:?} is in no manifest"));
                assert!(matches!(node.what, What::Folder) || node.what == wanted.what, "{path:?}: {node:?}");
            }
            fs::remove_dir_all(&target).unwrap();
        }
        assert!([0, 129, 130, 143].contains(&ended.code));
        setting.vault.run(arguments()).expect(0);
        assert_same_tree(&expected, &target);
    }
}

#[test]
fn a_verify_that_is_told_to_stop_reports_nothing() {
    let setting = Setting::new();
    for arguments in [&["verify"][..], &["verify", "--quick"]] {
        let mut pace = Pace::of("verify", setting.start(arguments));
        for at in pace.moments() {
            let ended = pace.stop(setting.start(arguments), at);
            let unfinished = ended.stderr.contains("not everything was checked");
            assert!(ended.code == 0 || ended.at_once || unfinished, "{}", ended.stderr);
        }
    }
    setting.vault.verify();
}

#[test]
fn gc_and_retain_that_are_told_to_stop_lose_nothing() {
    let setting = Setting::new();
    let pristine = setting.path("pristine");
    setting.write("html", 100, 1);
    setting.vault.run(setting.backup(NEW)).expect(0);
    let expected = Tree::of(&setting.path("html"));
    // Garbage, and a week for retention.
    fs::remove_file(setting.vault.store.join(OLD).join("html.manifest")).unwrap();
    common::copy(&setting.vault.store, &pristine);
    for arguments in [&["gc"][..], &["retain", "--keep", "1"]] {
        let mut pace = Pace::of(arguments[0], setting.start(arguments));
        for at in pace.moments() {
            common::copy(&pristine, &setting.vault.store);
            pace.stop(setting.start(arguments), at);
            assert_eq!(setting.unfinished(), 0, "after {at:?}");
            setting.vault.verify();
            setting.check_restore(NEW, "html", &expected);
            setting.vault.run(arguments).expect(0);
            setting.vault.run(["gc"]).expect(0);
            assert_eq!(setting.vault.verify()["unreferenced_objects"], 0);
        }
    }
    setting.check_restore(NEW, "html", &expected);
}

/// As with storage that does not answer: the thread that should look at the flag waits in the kernel.
#[test]
fn a_run_that_waits_in_the_kernel_ends_all_the_same() {
    let setting = Setting::new();
    fs::write(setting.path("html").join("large"), vec![7; 1 << 20]).unwrap();
    setting.vault.run(setting.backup(NEW)).expect(0);
    let mut command = setting.vault.command();
    command.args(["cat", "--week", NEW, "--pvc", "html", "large"]);
    // A pipe that nobody reads is full after 64 KiB.
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
    let waits =
        || fs::read_to_string(format!("/proc/{}/syscall", child.id())).is_ok_and(|s| s.starts_with("1 0x1 "));
    let begun = Instant::now();
    while !waits() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the pipe does not get full");
        sleep(Duration::from_millis(20));
    }
    let told = Instant::now();
    kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(told.elapsed() < Duration::from_secs(8) + SOON, "after {:?}", told.elapsed());
    let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(said.contains("told to stop, the command had not ended after 8 s"), "{said}");
}
