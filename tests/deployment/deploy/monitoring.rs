//! What a real Prometheus knows of the manifests' jobs, by a real Pushgateway: rules and dashboard are about that.

use super::kubernetes::{Task, documents};
use super::node::Node;
use super::{deploy, rules};
use crate::common::prometheus::Prometheus;
use crate::common::pushgateway::Pushgateway;
use crate::common::{Ran, is_root};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// A node, what its jobs push to, and what scrapes that.
struct Cluster {
    node: Node,
    gateway: Pushgateway,
    prometheus: Prometheus,
}

impl Cluster {
    fn start() -> Self {
        let gateway = Pushgateway::start();
        let mut configuration = documents(&deploy("prometheus/prometheus.yaml")).pop().unwrap();
        configuration["scrape_configs"][0]["static_configs"][0]["targets"] =
            serde_json::json!([gateway.url().trim_start_matches("http://")]);
        configuration["rule_files"] = serde_json::json!([deploy("prometheus/rules.yaml")]);
        let prometheus = Prometheus::start(&configuration);
        Self { node: Node::new(), gateway, prometheus }
    }

    fn command(&self, file: &str, capabilities: Option<&[String]>) -> Command {
        let mut command = self.node.command(&Task::of("roundcube", file), capabilities);
        command.env("WEEKVAULT_PUSHGATEWAY", self.gateway.url());
        command
    }

    /// Runs a job, and waits until Prometheus has what it pushed.
    #[track_caller]
    fn run(&mut self, file: &str, code: i32) {
        Ran::of(self.command(file, None)).expect(code);
        self.scraped();
    }

    /// Waits until Prometheus has what the Pushgateway has.
    fn scraped(&mut self) {
        let pushed = self.gateway.metrics();
        let last = |metric: &str| -> Option<f64> {
            let line = pushed.lines().find(|line| line.starts_with(&format!("{metric}{{")))?;
            line.rsplit(' ').next()?.parse().ok()
        };
        // The Pushgateway's own time of each push.
        let time = last("push_time_seconds").unwrap();
        self.prometheus.wait("scraped", |prometheus| {
            let known = prometheus.query("push_time_seconds");
            (known.first()?.1 == time).then_some(())
        });
    }

    /// The value of the job's only sample.
    #[track_caller]
    fn value(&self, metric: &str) -> f64 {
        let samples = self.prometheus.query(&format!("{metric}{{job=\"roundcube-backup\"}}"));
        assert_eq!(samples.len(), 1, "{metric}: {samples:?}");
        samples[0].1
    }

    /// Waits until an alert fires, or does not.
    fn alert(&mut self, name: &str, fires: bool) {
        let query = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\",job=\"roundcube-backup\"}}");
        let what = format!("{name}: {fires}");
        self.prometheus.wait(&what, |p| (p.query(&query).is_empty() != fires).then_some(()));
    }
}

#[test]
fn prometheus_sees_how_each_run_ended() {
    let mut cluster = Cluster::start();
    for file in ["src/html/index.php", "src/html/secret", "src/enigma/key"] {
        let file = cluster.node.path(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, file.to_str().unwrap()).unwrap();
    }
    Ran::of(cluster.command("init.yaml", None)).expect(0);
    cluster.run("backup.yaml", 0);
    assert_eq!(cluster.value("backup_last_status"), 0.0);
    let success = cluster.value("backup_last_success_timestamp");
    assert_eq!(cluster.value("backup_last_run_timestamp"), success);
    cluster.run("verify.yaml", 0);
    assert_eq!(cluster.value("backup_verify_last_status"), 0.0);
    let verified = cluster.value("backup_verify_last_success_timestamp");
    assert!(verified >= success);
    // With a backup and a verify, each query of the dashboard has something to show, but for one that shows trouble only.
    for (panel, expression) in rules::panels() {
        let shown = cluster.prometheus.query(&expression);
        assert_eq!(shown.is_empty(), expression.ends_with("> 0"), "{panel}: {expression}");
        for (labels, value) in shown {
            assert!(value >= 0.0 && labels["job"] == "roundcube-backup", "{panel}: {labels} {value}");
        }
    }
    assert_eq!(cluster.prometheus.query("backup_files").len(), 2, "one for each pvc");
    // Nothing fires.
    let firing = cluster.prometheus.query("ALERTS{alertstate=\"firing\"}");
    assert!(firing.is_empty(), "{firing:?}");

    // A failure.
    fs::rename(cluster.node.path("src/enigma"), cluster.node.path("src/elsewhere")).unwrap();
    cluster.run("backup.yaml", 1);
    fs::rename(cluster.node.path("src/elsewhere"), cluster.node.path("src/enigma")).unwrap();
    assert_eq!(cluster.value("backup_last_status"), 1.0);
    assert_eq!(cluster.value("backup_last_success_timestamp"), success, "it survives a failed run");
    assert!(cluster.value("backup_last_run_timestamp") > success);

    // A partial backup: without its capability even root cannot read what is another's.
    let secret = cluster.node.path("src/html/secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    let none: &[String] = &[];
    if is_root() {
        std::os::unix::fs::chown(&secret, Some(33), Some(33)).unwrap();
    }
    Ran::of(cluster.command("backup.yaml", is_root().then_some(none))).expect(3);
    cluster.scraped();
    assert_eq!(cluster.value("backup_last_status"), 3.0);
    assert_eq!(cluster.value("backup_last_success_timestamp"), success);
    let unreadable = cluster.prometheus.query("backup_unreadable_files > 0");
    assert_eq!((unreadable.len(), &unreadable[0].0["pvc"], unreadable[0].1), (1, &"html".into(), 1.0));
    cluster.alert("BackupPartial", true);

    // One that is told to stop.
    fs::write(cluster.node.path("src/html/large"), words(24 << 20)).unwrap();
    let mut command = cluster.command("backup.yaml", None);
    command.env("WEEKVAULT_COMPRESSION", "19").env("WEEKVAULT_THREADS", "1");
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let begun = Instant::now();
    // From here on the signal is its own business.
    while !catches_sigterm(&fs::read_to_string(&status).unwrap_or_default()) {
        assert!(child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    cluster.scraped();
    assert_eq!(cluster.value("backup_last_status"), 143.0);
    assert_eq!(cluster.value("backup_last_success_timestamp"), success);
    fs::remove_file(cluster.node.path("src/html/large")).unwrap();

    // All is well again.
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    cluster.run("backup.yaml", 0);
    assert!(cluster.value("backup_last_success_timestamp") > success);
    cluster.alert("BackupPartial", false);

    // Damage.
    let objects = fs::read_dir(cluster.node.path("backup/objects")).unwrap().map(|e| e.unwrap().path());
    let object = objects.flat_map(|folder| fs::read_dir(folder).unwrap()).next().unwrap().unwrap().path();
    fs::write(object, "no longer what it was").unwrap();
    cluster.run("verify.yaml", 4);
    assert_eq!(cluster.value("backup_verify_last_status"), 4.0);
    assert_eq!(cluster.value("backup_verify_damaged_objects"), 1.0);
    assert_eq!(cluster.value("backup_verify_last_success_timestamp"), verified);
    cluster.alert("VerifyDamage", true);
}

fn catches_sigterm(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    caught.is_some_and(|mask| u64::from_str_radix(mask, 16).unwrap() & (1 << 14) != 0)
}

/// Text that takes a while to compress, and is never twice the same.
fn words(length: usize) -> Vec<u8> {
    let (mut text, mut state) = (Vec::with_capacity(length + 8), 1_u64);
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 52).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        text.extend_from_slice(&word.to_le_bytes().map(|b| b'a' + b % 16));
    }
    text
}
