//! Little room for processes: whatever the limit, a command ends by itself, either done or with a message. And a terminal
//! that goes away.

use crate::common::{Ran, Tree, Vault, assert_same_tree, is_root, skip};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder of a user who has no other process, with a store and the program.
/// A user with a program, a source and a home of their own.
struct Limited {
    folder: TempDir,
    user: u32,
}

impl Limited {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, user: 1_000_000 + std::process::id() };
        let built = env!("CARGO_BIN_EXE_weekvault");
        let program = place.path("weekvault");
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        for name in ["", "src", "home"] {
            fs::create_dir_all(place.path(name)).unwrap();
            chown(place.path(name), Some(place.user), Some(place.user)).unwrap();
        }
        for n in 0..20u8 {
            let file = place.path("src").join(format!("f{n}"));
            fs::write(&file, vec![n; 50_000]).unwrap();
            chown(file, Some(place.user), Some(place.user)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command of that user, who may have so many processes and threads.
    fn limited(&self, tasks: u32, line: &str) -> Ran {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", "40", "setpriv", "--clear-groups"]);
        command.args([format!("--reuid={}", self.user), format!("--regid={}", self.user)]);
        command.args(["prlimit".to_owned(), format!("--nproc={tasks}"), "--core=0".to_owned()]);
        command.arg(self.path("weekvault")).arg("--store").arg(self.path("store"));
        command.args(line.split(' ').map(|word| word.replace("{}", self.folder.path().to_str().unwrap())));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path("home"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        Ran::of(command)
    }
}

/// A command of the program under a limit of `prlimit`.
fn under(limit: &str, vault: &Vault, arguments: &[&str]) -> Ran {
    let mut command = Command::new("prlimit");
    let inner = vault.command();
    command.args([limit, "--core=0"]).arg(inner.get_program()).args(inner.get_args()).args(arguments);
    Ran::of(command)
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_any() {
    let folder = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(folder.path().join("store")), folder.path().join("source"));
    fs::create_dir(&source).unwrap();
    let noise: Vec<u8> = (0..10_000u32).flat_map(|n| *blake3::hash(&n.to_le_bytes()).as_bytes()).collect();
    fs::write(source.join("large"), &noise).unwrap();
    fs::write(source.join("small"), "x").unwrap();
    let of = format!("html={}", source.display());
    let limit = "--fsize=100000";
    under(limit, &vault, &["backup", "--source", &of]).expect(1).says("File too large");
    vault.run(["backup", "--source", &of]).expect(0);
    let target = folder.path().join("target");
    let restore = ["restore", "--week", "latest", "--pvc", "html", "--target", target.to_str().unwrap()];
    under(limit, &vault, &restore).expect(1).says("cannot write large: File too large");
    assert_eq!(fs::read(target.join("small")).unwrap(), b"x", "the rest is restored");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 1, "nothing unfinished is left");
}

/// sled crashes where it is given no memory.
#[test]
fn where_little_memory_may_be_had_the_cache_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::new(folder.path().join("store"));
    vault.run(["init"]).expect(0);
    let cache = folder.path().join("cache");
    for bytes in [60_000_000, 100_000_000, 300_000_000] {
        let mut command = Command::new("prlimit");
        command.args([format!("--as={bytes}"), "--core=0".to_owned()]).arg(env!("CARGO_BIN_EXE_weekvault"));
        command.arg("--store").arg(&vault.store).arg("--cache-dir").arg(&cache).arg("list");
        Ran::of(command).expect(0).says("no manifests yet");
    }
}

#[test]
fn a_limit_on_processes_fails_with_a_message_or_not_at_all() {
    if !is_root() {
        return skip("a limit on processes", "not root: nobody else's limit can be tried");
    }
    let place = Limited::new();
    place.limited(1000, "backup --week 2025-13 --source html={}/src").expect(0);
    let expected = Tree::of(&place.path("src"));
    let commands = [
        "backup --week 2025-14 --source html={}/src --force-read --threads 4",
        "verify --threads 4",
        "restore --week latest --pvc html --target {}/out --threads 4",
        "list --json",
        "list --json",
    ];
    let mut done = 0;
    for tasks in [1, 2, 3, 4, 6, 8, 10, 13, 16, 20] {
        for line in commands {
            let ran = place.limited(tasks, line).unharmed();
            let code = ran.code.unwrap();
            assert!(code <= 1, "{line} with {tasks} tasks: {code}: {}", ran.stderr);
            if code == 1 {
                let said = ran.stderr.contains("cannot start a thread (is the limit on processes reached?)")
                    || ran.stderr.contains("cannot listen for signals");
                assert!(said, "{line} with {tasks} tasks: {}", ran.stderr);
            } else {
                done += 1;
            }
            if code == 0 && line.starts_with("restore") {
                assert_same_tree(&expected, &place.path("out"));
            }
        }
        let _ = fs::remove_dir_all(place.path("out"));
    }
    assert!(done > 30, "{done} of 50 came to their end");
    let left = fs::read_dir(place.path("store/tmp")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "unfinished files in the store");
}

/// The program with a signal ignored or not, whatever it is for the tests.
fn env(disposition: &str, program: &Path) -> Command {
    let mut command = Command::new("env");
    command.arg(disposition).arg(program);
    command
}

#[test]
fn what_was_begun_with_nohup_does_not_end_with_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("src")).unwrap();
    for n in 0..2000 {
        fs::write(folder.path().join(format!("src/{n}")), n.to_string()).unwrap();
    }
    let vault = Vault::new(folder.path().join("store"));
    let program = vault.command();
    let mut source = std::ffi::OsString::from("html=");
    source.push(folder.path().join("src"));
    let mut run = env("--ignore-signal=HUP", Path::new(program.get_program()));
    run.args(program.get_args()).arg("backup").arg("--source").arg(source);
    let mut child = run.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    // From before `env` has begun it until after its end.
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    let ignores = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        mask.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() & 1 == 1)
    };
    while !ignores() {
        std::thread::yield_now();
    }
    let status = loop {
        let _ = kill_process(pid, Signal::HUP);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert_eq!(status.code(), Some(0));
    vault.verify();
}
