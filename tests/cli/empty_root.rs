//! The static binary on an empty root: a folder that has the binary, a store, sources, and nothing else but what a test
//! puts there.
//!
//! `WEEKVAULT_STATIC_BINARY` is where the binary is. `docs/deploy/static-build.sh` builds it, and `.ci/run` does both.

use crate::common::pushgateway::Pushgateway;
use crate::common::{Ran, Tree, assert_equal, assert_same_tree, copy, fixtures, is_root, skip, system};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// An empty root.
struct Root(TempDir);

impl Root {
    /// One with the binary; none where there is no binary, or no right to use one.
    fn new() -> Option<Self> {
        let Some(binary) = std::env::var_os("WEEKVAULT_STATIC_BINARY").filter(|v| !v.is_empty()) else {
            skip("the empty root", "no WEEKVAULT_STATIC_BINARY");
            return None;
        };
        if !is_root() {
            skip("the empty root", "not root");
            return None;
        }
        let root = Self(tempfile::tempdir().unwrap());
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join(binary);
        fs::copy(&binary, root.path("weekvault")).unwrap_or_else(|e| panic!("{}: {e}", binary.display()));
        for folder in ["backup", "src"] {
            fs::create_dir(root.path(folder)).unwrap();
        }
        Some(root)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    /// The binary in this root, with these arguments and no environment.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--root").arg(self.0.path()).arg("/weekvault").args(line.split_whitespace());
        command.env_clear().stdin(Stdio::null());
        command
    }

    /// Runs it, and wants it to have no reason to complain.
    #[track_caller]
    fn run(&self, line: &str) -> Ran {
        let ran = Ran::of(self.command(&format!("{line} --quiet"))).expect(0);
        assert_eq!(ran.stderr, "", "{line}");
        ran
    }

    /// What is in the root.
    fn names(&self) -> BTreeSet<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn nothing_but_the_binary_is_needed() {
    let Some(root) = Root::new() else { return };
    assert_eq!(root.run("--version").stdout.trim(), concat!("weekvault ", env!("CARGO_PKG_VERSION")));
    let original = tempfile::tempdir().unwrap();
    for (fixture, source) in [("roundcube/new", "html"), ("gnupg", "enigma")] {
        fs::create_dir(original.path().join(source)).unwrap();
        copy(&fixtures().join(fixture), &original.path().join(source));
    }
    let enigma = original.path().join("enigma");
    let foreign = enigma.join("foreign");
    fs::write(&foreign, "another's").unwrap();
    chown(&foreign, Some(33), Some(34)).unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o6750)).unwrap();
    copy(original.path(), &root.path("src"));

    root.run("backup --source html=/src/html --source enigma=/src/enigma");
    assert_eq!(root.run("verify --json").json()["exit_code"], 0);
    assert_eq!(root.run("list --json").json().as_array().unwrap().len(), 2);
    assert!(root.run("ls -l --week latest --pvc enigma").stdout.contains(" 33 "));

    // In place, over what has changed, and anew.
    fs::write(root.path("src/enigma/foreign"), "overwritten").unwrap();
    root.run("restore --week latest --pvc enigma --verify");
    fs::remove_dir_all(root.path("src/html")).unwrap();
    root.run("restore --week latest --pvc html");
    for source in ["html", "enigma"] {
        assert_equal(&original.path().join(source), &root.path("src").join(source));
    }
    root.run("materialize --week latest --pvc html /new");
    assert_equal(&original.path().join("html"), &root.path("new"));
    assert!(root.names().into_iter().eq(["backup", "new", "src", "weekvault"]), "{:?}", root.names());
}

#[test]
fn what_needs_proc_is_told_and_the_rest_is_restored() {
    let Some(root) = Root::new() else { return };
    root.write("src/file", "content");
    std::os::unix::fs::symlink("file", root.path("src/link")).unwrap();
    let original = Tree::of(&root.path("src"));
    root.run("backup --source s=/src");
    fs::write(root.path("src/file"), "overwritten").unwrap();
    let ran = Ran::of(root.command("restore --week latest --pvc s"));
    ran.expect(1).says("cannot read the attributes of link: that needs /proc, which is not mounted");
    assert_same_tree(&original, &root.path("src"));
}

#[test]
fn the_week_is_the_time_zones_without_a_database_of_them() {
    let Some(root) = Root::new() else { return };
    root.write("src/file", "content");
    for (zone, ahead) in [("Pacific/Kiritimati", "14 hours"), ("Pacific/Pago_Pago", "-11 hours")] {
        let week = || {
            let week = system(Command::new("date").args(["-u", "-d", ahead, "+%Y-%W"]));
            week.trim().to_owned()
        };
        // A week may end in between.
        loop {
            let before = week();
            let mut command = root.command("backup --quiet --source s=/src");
            command.env("TZ", zone);
            let ran = Ran::of(command).expect(0);
            assert_eq!(ran.stderr, "");
            if before == week() {
                assert!(root.path(&format!("backup/{before}/s.manifest")).is_file(), "{zone}: {before}");
                break;
            }
        }
    }
}

#[test]
fn owners_have_the_names_of_where_it_runs() {
    let Some(root) = Root::new() else { return };
    root.write("src/file", "content");
    chown(root.path("src/file"), Some(4711), Some(4712)).unwrap();
    let owner = || {
        let found = fs::metadata(root.path("src/file")).unwrap();
        (found.uid(), found.gid())
    };
    root.write("etc/passwd", "root:x:0:0::/:/\nwww-data:x:4711:4712::/:/\n");
    root.write("etc/group", "root:x:0:\nwww-data:x:4712:\n");
    root.run("backup --source s=/src");
    let entry = root.run("ls --json --week latest --pvc s file").json();
    assert_eq!((&entry["user"], &entry["group"]), (&"www-data".into(), &"www-data".into()));

    // Another machine, where the same names have other numbers.
    root.write("etc/passwd", "www-data:x:33:34::/:/\n");
    root.write("etc/group", "www-data:x:34:\n");
    root.run("restore --week latest --pvc s");
    assert_eq!(owner(), (33, 34));
    root.run("restore --week latest --pvc s --numeric-owner");
    assert_eq!(owner(), (4711, 4712));
    // And one where there are no names.
    fs::remove_dir_all(root.path("etc")).unwrap();
    chown(root.path("src/file"), Some(1), Some(1)).unwrap();
    root.run("restore --week latest --pvc s");
    assert_eq!(owner(), (4711, 4712));
}

/// A name server on a loopback address of its own that knows one name.
struct NameServer {
    address: Ipv4Addr,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// It says that `known` is at 127.0.0.1, and that there is no other name.
    fn start(known: &'static str) -> Self {
        // resolv.conf has no place for a port, so that each server has an address instead.
        let own = |last| Ipv4Addr::new(127, (std::process::id() >> 8) as u8, std::process::id() as u8, last);
        let bound = (2..250).map(own).find_map(|ip| Some((ip, UdpSocket::bind((ip, 53)).ok()?)));
        let (address, socket) = bound.expect("port 53 of some loopback address");
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (asked, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (log, end) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut query = [0; 512];
            while !end.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let (name, answer) = answer(&query[..length], known);
                log.lock().unwrap().push(name);
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The name that a query is for, and the answer to it (RFC 1035, section 4).
fn answer(query: &[u8], known: &str) -> (String, Vec<u8>) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
        at = end;
    }
    let name = labels.join(".");
    let question = &query[12..at + 5];
    let is_address = query[at + 1..at + 3] == [0, 1];
    let (code, answers) = match name == known {
        true => (0, u8::from(is_address)),
        false => (3, 0),
    };
    let mut answer = query[..2].to_vec();
    // An answer, with authority; one question.
    answer.extend([0x85, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    answer.extend(question);
    if answers == 1 {
        // The question's name, type A, class IN, a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
    }
    (name, answer)
}

#[test]
fn a_pushgateway_is_found_as_in_a_cluster() {
    let Some(root) = Root::new() else { return };
    let gateway = Pushgateway::start();
    let names = NameServer::start("prometheus-pushgateway.monitoring.svc.cluster.local");
    root.write("src/file", "content");
    let port = gateway.url().rsplit(':').next().unwrap().to_owned();
    // The cluster's default, and what the manifests set.
    for ndots in [5, 2] {
        let resolver = format!(
            "search mail.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:{ndots}\n",
            names.address
        );
        root.write("etc/resolv.conf", &resolver);
        for name in
            ["prometheus-pushgateway.monitoring", "prometheus-pushgateway.monitoring.svc.cluster.local"]
        {
            let before = gateway.metrics();
            let job = format!("ndots-{ndots}-{}", name.len());
            assert!(!before.contains(&job));
            root.run(&format!("backup --source s=/src --job {job} --pushgateway http://{name}:{port}"));
            assert!(gateway.metrics().contains(&job), "{ndots} {name}: {:?}", names.asked());
        }
    }
    let asked = names.asked();
    assert!(
        asked.iter().any(|n| n == "prometheus-pushgateway.monitoring.mail.svc.cluster.local"),
        "{asked:?}"
    );
}

#[test]
fn without_name_servers_a_push_is_given_up_at_once() {
    let Some(root) = Root::new() else { return };
    root.write("src/file", "content");
    let ran = Ran::of(root.command("backup --source s=/src --pushgateway http://pushgateway:9091"));
    let ran =
        ran.expect(0).says(": cannot push metrics to http://pushgateway:9091/").says("/etc/resolv.conf");
    assert!(!ran.stderr.contains("gave up after"), "{}", ran.stderr);
    // An address needs no name server.
    let gateway = Pushgateway::start();
    root.run(&format!("backup --source s=/src --pushgateway {}", gateway.url()));
    assert!(gateway.metrics().contains("backup_last_status"));
}
