//! Roundcube's volumes, their backups, and what happens to them.

use super::cluster::Cluster;
use super::sandbox::Sandbox;
use crate::common::pushgateway::Pushgateway;
use crate::common::{Vault, assert_equal, copy, fixtures, rsync_says, system};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const OLD: &str = "2025-13";
pub(crate) const NEW: &str = "2025-14";

/// A large file of the program, which is the same in all versions.
pub(crate) const BUNDLE: &str = "vendor/bundle.phar";

/// Days ago of which the rsync CronJob has copies.
pub(crate) const FARM: [u32; 3] = [14, 7, 0];

pub(crate) struct World<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) cluster: Cluster<'a>,
    gateway: Option<Pushgateway>,
    /// Whether the store is sealed: then what is looked at takes an identity.
    pub(crate) sealed: bool,
}

impl<'a> World<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox) -> Self {
        let world = Self { sandbox, cluster: Cluster::new(sandbox), gateway: None, sealed: false };
        copy(&fixtures().join("gnupg"), &world.volume("enigma"));
        world.install("old");
        world
    }

    /// From now on jobs push to a Pushgateway.
    pub(crate) fn start_pushgateway(&mut self) {
        let gateway = Pushgateway::start();
        self.cluster.pushgateway = Some(gateway.url());
        self.gateway = Some(gateway);
    }

    /// What an alert on the CronJobs would see now.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = self.gateway.as_ref().unwrap().metrics();
        let start = format!("{name}{{instance=\"\",job=\"roundcube-backup\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
    }

    pub(crate) fn volume(&self, pvc: &str) -> PathBuf {
        self.sandbox.path("claims").join(pvc)
    }

    /// A version of Roundcube, with what the administrator puts there.
    pub(crate) fn install(&self, version: &str) {
        let html = self.volume("html");
        copy(&fixtures().join("roundcube").join(version).join("usr/share/roundcube"), &html);
        let config = html.join("config");
        if !config.is_dir() {
            fs::create_dir(&config).unwrap();
        }
        fs::write(config.join("config.inc.php"), "<?php // the administrator's own\n").unwrap();
        let mut bundle = vec![0; 2 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut bundle);
        fs::create_dir_all(html.join("vendor")).unwrap();
        fs::write(html.join(BUNDLE), bundle).unwrap();
        system(Command::new("chown").arg("-hR").arg("33:33").arg(self.sandbox.path("claims")));
    }

    /// The store, as it is seen from outside, even where it is a file system of its own.
    pub(crate) fn store(&self) -> PathBuf {
        self.sandbox.inside("/backup")
    }

    pub(crate) fn vault(&self) -> Vault {
        Vault::new(self.store())
    }

    /// Backs up as the CronJob does, and keeps a copy of what was backed up.
    pub(crate) fn back_up(&mut self, week: &str) {
        if !self.store().join("store.json").exists() {
            self.vault().run(["init"]).expect(0);
        }
        let mut job = self.cluster.job_of("roundcube-backup", "first");
        let arguments = &mut job["spec"]["template"]["spec"]["containers"][0]["args"];
        arguments.as_array_mut().unwrap().push(json!(format!("--week={week}")));
        self.cluster.create(&job);
        let ended = self.cluster.jobs.remove("first").unwrap();
        assert_eq!(ended.code, 0, "{}", ended.log);
        copy(&self.sandbox.path("claims"), &self.truth(week));
    }

    /// Two weeks, and a mirror of the store as a NAS makes it.
    pub(crate) fn two_weeks(&mut self) {
        self.back_up(OLD);
        self.install("new");
        self.back_up(NEW);
        self.mirror();
    }

    pub(crate) fn mirror(&self) {
        let mut rsync = Command::new("rsync");
        rsync.args(["-rlt", "--no-perms", "--no-owner", "--no-group", "--chmod=ugo=rwX", "--delete"]);
        rsync.args(["--exclude=/trash", "--exclude=/tmp", "--exclude=/lock"]);
        let (mut from, mut to) =
            (self.store().into_os_string(), self.sandbox.path("offsite").into_os_string());
        from.push("/");
        to.push("/");
        system(rsync.arg(from).arg(to));
        system(Command::new("chown").arg("-R").arg("1000:100").arg(self.sandbox.path("offsite")));
    }

    pub(crate) fn truth(&self, week: &str) -> PathBuf {
        self.sandbox.path("truth").join(week)
    }

    /// What Roundcube found when it was started last is what a week had.
    #[track_caller]
    pub(crate) fn check_started(&self, week: &str) {
        for pvc in ["html", "enigma"] {
            assert_equal(&self.truth(week).join(pvc), &self.started(pvc));
        }
        self.check_running();
    }

    /// The same where only a path was restored: the folder that it is in was changed just now.
    #[track_caller]
    pub(crate) fn check_started_with(&self, week: &str, pvc: &str, folder: &str) {
        for name in ["html", "enigma"] {
            let differences = rsync_says(&self.truth(week).join(name), &self.started(name));
            let expected = if name == pvc { format!(".d..t...... {folder}/\n") } else { String::new() };
            assert_eq!(differences, expected, "{name}");
        }
        self.check_running();
    }

    fn started(&self, pvc: &str) -> PathBuf {
        self.sandbox.path("started").join(pvc)
    }

    /// Roundcube runs, backups will, and nothing is left about.
    #[track_caller]
    pub(crate) fn check_running(&self) {
        assert_eq!(self.cluster.replicas, 1);
        assert!(!self.cluster.is_suspended("roundcube-backup"));
        assert!(self.cluster.jobs.keys().all(|name| !name.ends_with("-now") && !name.ends_with("-restore")));
        assert!(self.cluster.pods.is_empty());
        let _ = fs::remove_dir_all(self.sandbox.path("started"));
    }

    /// The store is whole, and a week of it is what its sources were.
    #[track_caller]
    pub(crate) fn check_week(&self, week: &str) {
        let vault = self.vault();
        vault.verify();
        for pvc in ["html", "enigma"] {
            let target = self.sandbox.path("materialized");
            self.materialize(week, pvc, &target).expect(0);
            assert_equal(&self.truth(week).join(pvc), &target);
            fs::remove_dir_all(target).unwrap();
        }
    }

    /// A backup was made today that is what the sources are.
    #[track_caller]
    pub(crate) fn check_backed_up(&self) {
        copy(&self.sandbox.path("claims"), &self.truth("latest"));
        self.check_week("latest");
        let listed = self.vault().run(["list", "--json"]).expect(0).json();
        let weeks: BTreeSet<&str> =
            listed.as_array().unwrap().iter().map(|m| m["week"].as_str().unwrap()).collect();
        assert!(weeks.last() > Some(&"2025-99"), "{weeks:?}");
    }

    /// Puts the volumes back to what a week had.
    pub(crate) fn reset(&self, week: &str) {
        let homes = fs::read_dir(self.volume("enigma")).unwrap();
        for home in homes {
            // What gpg started there.
            let _ = Command::new("gpgconf")
                .arg("--homedir")
                .arg(home.unwrap().path())
                .args(["--kill", "all"])
                .output();
        }
        copy(&self.truth(week), &self.sandbox.path("claims"));
    }

    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.store().join("objects")).unwrap();
        let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The week of so many days ago.
    pub(crate) fn week(&self, days_ago: u32) -> String {
        let mut date = Command::new("date");
        system(date.args(["-u", "+%Y-%W", "-d"]).arg(format!("{days_ago} days ago"))).trim().to_owned()
    }

    /// Weekly copies where the store will be, made as the script was meant to make them.
    pub(crate) fn live_with_rsync(&mut self) {
        let mut previous: Option<PathBuf> = None;
        for days_ago in FARM {
            self.install(if days_ago == FARM[0] { "old" } else { "new" });
            // rsync writes to no path through another namespace.
            let copy_of_week = self.sandbox.path("store").join(self.week(days_ago));
            for pvc in ["html", "enigma"] {
                fs::create_dir_all(copy_of_week.join(pvc)).unwrap();
                let mut rsync = Command::new("rsync");
                rsync.args(["-aH", "--delete"]);
                if let Some(previous) = &previous {
                    let mut link = std::ffi::OsString::from("--link-dest=");
                    link.push(previous.join(pvc));
                    rsync.arg(link);
                }
                let mut from = self.volume(pvc).into_os_string();
                from.push("/");
                system(rsync.arg(from).arg(copy_of_week.join(pvc)));
            }
            copy(&copy_of_week, &self.truth(&self.week(days_ago)));
            previous = Some(copy_of_week);
        }
    }

    /// The store's share, with nothing on it.
    pub(crate) fn lose_store(&self) {
        for entry in fs::read_dir(self.store()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    }

    /// As the CronJob's controller does it.
    pub(crate) fn run_cron(&mut self, cron: &str) -> i32 {
        let name = format!("{cron}-29402011");
        self.cluster.jobs.remove(&name);
        let job: Value = self.cluster.job_of(cron, &name);
        self.cluster.create(&job);
        self.cluster.jobs[&name].code
    }
}

/// Turns a bit over in the middle of a file; its times stay.
pub(crate) fn damage(file: &Path) {
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
}
