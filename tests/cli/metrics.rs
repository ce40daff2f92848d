//! What a real Pushgateway knows after a run: of success, of failure, and of runs that were told to stop.

use crate::common::pushgateway::Pushgateway;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use weekvault::format::keys::PaperKey;

/// A place with a Pushgateway.
struct Watched {
    dir: TempDir,
    gateway: Pushgateway,
}

impl Watched {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir, gateway: Pushgateway::start() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// The program on this place's store; `{}` in the line stands for this place's folder.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weekvault"));
        self.prepare(&mut command, line);
        command
    }

    fn prepare(&self, command: &mut Command, line: &str) {
        for (name, _) in std::env::vars_os() {
            let lower = name.to_string_lossy().to_lowercase();
            if lower.starts_with("weekvault_") || lower.ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        let folder = self.dir.path().display().to_string();
        command.arg("--store").arg(self.path("store")).arg("--cache-dir").arg(self.path("cache"));
        command.args(line.split_whitespace().map(|word| word.replace("{}", &folder)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Runs the program with this place's Pushgateway.
    fn run(&self, line: &str) -> Output {
        self.command(&format!("{line} --json --pushgateway {}", self.gateway.url())).output().unwrap()
    }

    /// All samples pushed for the default job, by name, or name and pvc.
    fn samples(&self) -> Samples {
        samples(&self.gateway.metrics(), "roundcube-backup")
    }
}

type Samples = BTreeMap<String, f64>;

fn samples(metrics: &str, job: &str) -> Samples {
    let mut samples = BTreeMap::new();
    for line in metrics.lines().filter(|line| line.starts_with("backup_")) {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = rest.split_once("} ").unwrap();
        let label = |wanted: &str| {
            let of =
                |l: &str| Some(l.strip_prefix(wanted)?.strip_prefix("=\"")?.trim_end_matches('"').to_owned());
            labels.split(',').find_map(of)
        };
        if label("job").as_deref() == Some(job) {
            let name = label("pvc").map_or(name.to_owned(), |pvc| format!("{name}/{pvc}"));
            assert!(samples.insert(name, value.parse().unwrap()).is_none(), "{line}");
        }
    }
    samples
}

#[track_caller]
fn expect(output: &Output, code: i32) -> Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}"))
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The names in the first column of the table of metrics in `docs/cli.md`.
fn documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let text = fs::read_to_string(file).unwrap();
    let name = |line: &str| Some(line.strip_prefix("| `backup_")?.split_once('`')?.0.to_owned());
    text.lines().filter_map(name).map(|name| format!("backup_{name}")).collect()
}

const RUN: [&str; 2] = ["backup_last_run_timestamp", "backup_last_success_timestamp"];

#[test]
fn success_pushes_all_that_the_reference_promises() {
    let place = Watched::new();
    place.write("html/a", vec![b'a'; 10_000]);
    place.write("html/b", "bb");
    place.write("enigma/key", "key");
    let begun = now();
    let line = "backup --source html={}/html --source enigma={}/enigma --week";
    expect(&place.run(&format!("{line} 2025-13")), 0);
    place.write("html/b", "changed");
    place.write("html/c", "new");
    let report = expect(&place.run(&format!("{line} 2025-14")), 0);
    let samples = place.samples();
    let number = |value: &Value| value.as_f64().unwrap();
    let mut wanted = BTreeMap::from([
        ("backup_last_status".to_owned(), 0.0),
        ("backup_duration_seconds".to_owned(), number(&report["duration_seconds"])),
        ("backup_read_bytes".to_owned(), number(&report["read_bytes"])),
        ("backup_written_bytes".to_owned(), number(&report["written_bytes"])),
        ("backup_output_bytes".to_owned(), number(&report["output_bytes"])),
        ("backup_weeks".to_owned(), 2.0),
        ("backup_store_created_timestamp".to_owned(), created(&place.path("store"))),
    ]);
    assert_eq!(report["sources"].as_array().unwrap().len(), 2);
    for source in report["sources"].as_array().unwrap() {
        let mut of_pvc = |name: &str, value| {
            wanted.insert(format!("{name}/{}", source["pvc"].as_str().unwrap()), value);
        };
        of_pvc("backup_files", number(&source["files"]));
        of_pvc("backup_source_bytes", number(&source["bytes"]));
        of_pvc("backup_changed_files", number(&source["changed"]) + number(&source["new"]));
        of_pvc("backup_unreadable_files", 0.0);
        of_pvc("backup_changed_while_read_files", 0.0);
    }
    assert_eq!((wanted["backup_files/html"], wanted["backup_changed_files/html"]), (3.0, 2.0));
    assert_eq!(wanted["backup_source_bytes/html"], 10_010.0);
    // The store as it is on disk.
    let objects = files(&place.path("store/objects"));
    let manifests = [files(&place.path("store/2025-13")), files(&place.path("store/2025-14"))].concat();
    let stored: u64 = objects.iter().chain(&manifests).sum();
    wanted.insert("backup_store_objects".to_owned(), objects.len() as f64);
    wanted.insert("backup_store_bytes".to_owned(), stored as f64);
    let listed = place.command("list --json").output().unwrap();
    let logical: f64 = expect(&listed, 0).as_array().unwrap().iter().map(|m| number(&m["bytes"])).sum();
    wanted.insert("backup_dedup_ratio".to_owned(), logical / stored as f64);
    for (name, value) in &wanted {
        let pushed = samples.get(name).unwrap_or_else(|| panic!("no {name} in {samples:#?}"));
        assert!((pushed - value).abs() <= 1e-9 * value.abs(), "{name} is {pushed}, not {value}");
    }
    for name in RUN {
        assert!(samples[name] >= begun - 1.0 && samples[name] <= now() + 1.0, "{name}");
    }
    // Not one more, not one less, than the reference has. A sealed store tells where it stands as well.
    expect(&place.run("verify"), 0);
    assert!(!place.samples().keys().any(|name| name.starts_with("backup_head_")));
    place.write("operator.txt", PaperKey::generate().unwrap().recipient().to_string());
    let keys = "--recipients-file {}/operator.txt --single-recipient --writer-key {}/writer.key";
    assert!(place.command(&format!("init {keys}")).status().unwrap().success());
    for sequence in [1.0, 2.0] {
        expect(&place.run("backup --source html={}/html --week 2025-14 --writer-key {}/writer.key"), 0);
        assert_eq!(place.samples()["backup_head_sequence/html"], sequence);
    }
    let samples = place.samples();
    let manifest = fs::read(place.path("store/2025-14/html.manifest")).unwrap();
    let digest48: String =
        manifest[manifest.len() - 136..][..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let digest48 = u64::from_str_radix(&digest48, 16).unwrap() as f64;
    assert_eq!(samples["backup_head_digest48/html"], digest48);
    let names: BTreeSet<String> = samples.keys().map(|n| n.split('/').next().unwrap().to_owned()).collect();
    assert_eq!(names, documented());
}

/// The lengths of all files below a folder.
fn files(folder: &Path) -> Vec<u64> {
    let mut lengths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => lengths.extend(files(&path)),
            false => lengths.push(fs::metadata(&path).unwrap().len()),
        }
    }
    lengths
}

#[test]
fn failure_is_pushed_and_leaves_the_last_success_standing() {
    let place = Watched::new();
    place.write("html/a", "a");
    expect(&place.run("backup --source html={}/html"), 0);
    let before = place.samples();
    for (line, code) in [
        ("backup --source html={}/html --source gone={}/gone", 1),
        ("backup --source html={}/html --source html={}/html", 2),
        ("backup --source html={}/html --exclude-from {}/none", 2),
        ("backup --source html={}/html --store {}/html/store", 2),
    ] {
        expect(&place.run(line), code);
        let after = place.samples();
        assert_eq!(after["backup_last_status"], f64::from(code), "{line}");
        assert!(after["backup_last_run_timestamp"] > before["backup_last_run_timestamp"], "{line}");
        for name in
            ["backup_last_success_timestamp", "backup_files/html", "backup_store_bytes", "backup_weeks"]
        {
            assert_eq!(after[name], before[name], "{name} after {line}");
        }
    }
    // Jobs are apart.
    expect(&place.run("backup --source gone={}/gone --job other"), 1);
    let other = samples(&place.gateway.metrics(), "other");
    assert_eq!(other["backup_last_status"], 1.0);
    assert!(!other.contains_key("backup_last_success_timestamp") && !other.contains_key("backup_files/html"));
    // A dry run is nobody's business.
    let before = place.samples();
    expect(&place.run("backup --source html={}/html --dry-run"), 0);
    assert_eq!(place.samples(), before);
}

#[test]
fn a_partial_backup_pushes_its_code_and_how_much_is_missing() {
    let place = Watched::new();
    place.write("html/open", "x");
    for number in 0..3 {
        place.write(&format!("html/secret{number}"), "x");
    }
    let root = rustix::process::geteuid().is_root();
    let line = format!("backup --json --source html={{}}/html --pushgateway {}", place.gateway.url());
    let run = || {
        let mut command = place.command(&line);
        if root {
            // As nobody, with the program where nobody can run it.
            let (program, built) = (place.path("weekvault"), env!("CARGO_BIN_EXE_weekvault"));
            if !program.exists() {
                fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
            }
            command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
            place.prepare(&mut command, &format!("{line} --no-cache"));
        }
        command.output().unwrap()
    };
    fs::create_dir(place.path("store")).unwrap();
    if root {
        std::os::unix::fs::chown(place.path("store"), Some(65534), Some(65534)).unwrap();
    }
    expect(&run(), 0);
    let before = place.samples();
    for number in 0..3 {
        let secret = place.path(&format!("html/secret{number}"));
        fs::set_permissions(secret, fs::Permissions::from_mode(0o000)).unwrap();
    }
    expect(&run(), 3);
    let after = place.samples();
    assert_eq!((after["backup_last_status"], after["backup_unreadable_files/html"]), (3.0, 3.0));
    assert_eq!(after["backup_files/html"], 1.0);
    assert_eq!(after["backup_last_success_timestamp"], before["backup_last_success_timestamp"]);
    assert!(after["backup_last_run_timestamp"] > before["backup_last_run_timestamp"]);
}

#[test]
fn verify_pushes_its_metrics() {
    let place = Watched::new();
    for number in 0..5_u32 {
        place.write(&format!("html/{number}"), number.to_string().repeat(1_000));
    }
    expect(&place.run("backup --source html={}/html"), 0);
    let backup = place.samples();
    let begun = now();
    let report = expect(&place.run("verify"), 0);
    let clean = place.samples();
    assert_eq!(clean["backup_verify_last_status"], 0.0);
    assert_eq!(clean["backup_verify_damaged_objects"], 0.0);
    assert_eq!(clean["backup_verify_read_bytes"], report["read_bytes"].as_f64().unwrap());
    assert!(clean["backup_verify_read_bytes"] > 0.0);
    assert!(clean["backup_verify_last_success_timestamp"] >= begun - 1.0);
    let object = objects(&place.path("store")).pop().unwrap();
    fs::remove_file(object).unwrap();
    expect(&place.run("verify"), 4);
    let damaged = place.samples();
    assert_eq!(damaged["backup_verify_last_status"], 4.0);
    assert_eq!(damaged["backup_verify_damaged_objects"], 1.0);
    let success = "backup_verify_last_success_timestamp";
    assert_eq!(damaged[success], clean[success]);
    // One that cannot even begin knows nothing of objects.
    expect(&place.run("verify --week 2000-01"), 1);
    let failed = place.samples();
    assert_eq!((failed["backup_verify_last_status"], failed["backup_verify_damaged_objects"]), (1.0, 1.0));
    for (name, value) in backup {
        assert_eq!(failed[&name], value, "{name} is the backup's");
    }
}

fn objects(store: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(store.join("objects")).into_iter().flatten().map(|e| e.unwrap().path());
    folders.flat_map(|f| fs::read_dir(f).into_iter().flatten()).map(|e| e.unwrap().path()).collect()
}

fn unfinished(store: &Path) -> usize {
    fs::read_dir(store.join("tmp")).map_or(0, Iterator::count)
}

/// Text that takes a while to compress, and is never twice the same.
fn words(length: usize) -> Vec<u8> {
    let (mut text, mut state) = (Vec::with_capacity(length + 8), 1_u64);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // One of 4,096 words of eight letters each.
        let word = (state >> 52).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.extend_from_slice(&word.to_le_bytes().map(|b| b'a' + b % 16));
    }
    text
}

/// Waits until something is so, while a process runs.
#[track_caller]
fn wait(child: &mut Child, what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not {what} after {:?}", begun.elapsed());
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was {what}");
        std::thread::yield_now();
    }
}

/// When a store says that it was made, in seconds since 1970.
fn created(store: &Path) -> f64 {
    let config: Value = serde_json::from_slice(&fs::read(store.join("store.json")).unwrap()).unwrap();
    let created: jiff::Timestamp = config["created"].as_str().unwrap().parse().unwrap();
    created.as_second() as f64
}

#[test]
fn a_run_that_is_told_to_stop_pushes_that_and_publishes_nothing() {
    let place = Watched::new();
    place.write("small/a", "a");
    expect(&place.run("backup --week 2025-13 --source small={}/small"), 0);
    let before = place.samples();
    place.write("large/words", words(96 << 20));
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        // What a run before this one has stored, it only compares.
        let known = objects(&place.path("store")).len();
        let line = format!(
            "backup --json --week 2025-14 --source small={{}}/small --source large={{}}/large \
             --threads 1 --compression 12 --pushgateway {}",
            place.gateway.url()
        );
        let program = place.command(&line);
        // Tests that were begun with nohup ignore SIGHUP, and so would it.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(program.get_program()).args(program.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in program.get_envs().filter(|(_, value)| value.is_none()) {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        // Its manifest is being written, and objects come.
        wait(&mut child, "at work", || {
            unfinished(&place.path("store")) > 0 && objects(&place.path("store")).len() > known + 1
        });
        let told = Instant::now();
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(told.elapsed() < Duration::from_secs(2), "it took {:?}", told.elapsed());
        let report = expect(&output, code);
        let error = report["error"].as_str().unwrap();
        assert!(error.ends_with("nothing was published") && error.contains("SIG"), "{error}");
        let weeks: Vec<_> =
            fs::read_dir(place.path("store")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!weeks.iter().any(|w| w == "2025-14"), "{weeks:?}");
        assert_eq!(unfinished(&place.path("store")), 0, "it left unfinished files");
        let after = place.samples();
        assert_eq!(after["backup_last_status"], f64::from(code));
        assert!(after["backup_last_run_timestamp"] > before["backup_last_run_timestamp"]);
        assert!(after["backup_read_bytes"] > 0.0);
        for name in ["backup_last_success_timestamp", "backup_files/small", "backup_store_objects"] {
            assert_eq!(after[name], before[name], "{name}");
        }
    }
    // What was stored is not lost on the next run, and what that does not need goes.
    fs::remove_file(place.path("large/words")).unwrap();
    place.write("large/few", words(1 << 20));
    expect(&place.run("backup --week 2025-14 --source small={}/small --source large={}/large"), 0);
    let verified = expect(&place.command("verify --json").output().unwrap(), 0);
    assert_eq!(verified["unreferenced_objects"], 0);
}

#[test]
fn a_verify_that_is_told_to_stop_pushes_that() {
    let place = Watched::new();
    place.write("large/words", words(96 << 20));
    expect(&place.command("backup --json --source large={}/large --compression 1").output().unwrap(), 0);
    let line = format!("verify --json --threads 1 --pushgateway {}", place.gateway.url());
    let mut child = place.command(&line).spawn().unwrap();
    // From here on the signal is its own business, and the work is about to begin.
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    wait(&mut child, "listening for signals", || {
        let status = fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        caught.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() & (1 << 14) != 0)
    });
    let told = Instant::now();
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(told.elapsed() < Duration::from_secs(2), "it took {:?}", told.elapsed());
    expect(&output, 143);
    let samples = place.samples();
    assert_eq!(samples["backup_verify_last_status"], 143.0);
    assert!(!samples.contains_key("backup_verify_last_success_timestamp"));
    assert!(!samples.contains_key("backup_verify_damaged_objects"));
}

#[test]
fn a_push_that_fails_is_warned_of_and_changes_no_exit_code() {
    let place = Watched::new();
    place.write("html/a", "a");
    // Refused for good: told at once. The password is nobody's business.
    let refused = place.gateway.url().replace("//", "//me:s3cret@");
    for (line, code) in [
        ("backup --source html={}/html", 0),
        ("backup --source x={}/x", 1),
        ("verify", 0),
        ("verify --week 2000-01", 1),
    ] {
        let output =
            place.command(&format!("{line} --json --pushgateway {refused}/nowhere")).output().unwrap();
        expect(&output, code);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            err.contains("warning: metrics were not pushed: cannot push metrics to http://127.0.0.1:"),
            "{err}"
        );
        assert!(err.contains("404 Not Found") && !err.contains("s3cret"), "{err}");
    }
    for url in ["127.0.0.1:9091", "ftp://x"] {
        let output = place.command(&format!("verify --json --pushgateway {url}")).output().unwrap();
        expect(&output, 0);
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("warning: metrics were not pushed: invalid")
        );
    }
    // Nobody listens: that may pass, and is tried for half a minute.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begun = Instant::now();
    let spawn =
        |line: &str| place.command(&format!("{line} --json --pushgateway http://{free}")).spawn().unwrap();
    let lines = [("backup --source html={}/html", 0), ("backup --source x={}/x", 1), ("verify", 0)];
    let children = lines.map(|(line, code)| (spawn(line), code));
    for (child, code) in children {
        let output = child.wait_with_output().unwrap();
        expect(&output, code);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            err.contains("warning: metrics were not pushed") && err.contains("Connection refused"),
            "{err}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(45), "{:?}", begun.elapsed());
}
