//! Who can open a sealed store, and what they have beside them where the pages' commands are typed.

use super::world::{NEW, OLD, World};
use crate::common::{Ran, assert_equal, system};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use weekvault::format::keys::PaperKey;

/// Files of the pages: the operator's identity, everybody's recipients, the newest read recipient, and what the cluster writes
/// with.
const HANDS: [&str; 4] = ["mine.key", "operators.txt", "newest.txt", "writer.key"];

impl World<'_> {
    /// Where the pages' commands are typed.
    pub(crate) fn hand(&self, name: &str) -> PathBuf {
        self.sandbox.path("copy").join(name)
    }

    /// The identity of an operator who has no part in what the pages do.
    fn other(&self) -> PathBuf {
        self.sandbox.path("other.key")
    }

    /// A new identity, as a file, and its recipient.
    fn make_identity(&self, file: &Path) -> String {
        let key = PaperKey::generate().unwrap();
        fs::write(file, format!("{}\n", *key.to_text())).unwrap();
        key.recipient().to_string()
    }

    /// Two operators, before there is anything that they could open. One is about to leave, and one keeps out of all.
    pub(crate) fn meet_operators(&self) {
        let other = self.make_identity(&self.other());
        let leaving = self.make_identity(&self.sandbox.path("leaving.key"));
        fs::write(self.hand("lost.txt"), format!("{leaving}\n")).unwrap();
        fs::write(self.hand("operators.txt"), format!("{other}\n{leaving}\n")).unwrap();
    }

    /// The store's identity for whatever the test looks at.
    pub(crate) fn identity(&self) -> Vec<String> {
        if !self.sealed {
            return Vec::new();
        }
        vec!["--identity".to_owned(), self.other().display().to_string()]
    }

    pub(crate) fn materialize(&self, week: &str, pvc: &str, target: &Path) -> Ran {
        let arguments = ["materialize", "--week", week, "--pvc", pvc].map(str::to_owned);
        let target = target.display().to_string();
        self.vault().run(arguments.into_iter().chain([target]).chain(self.identity()))
    }

    /// Begins anew with a sealed store that has nothing yet, which the cluster writes to.
    pub(crate) fn start_sealed(&mut self) {
        self.lose_store();
        let _ = fs::remove_dir_all(self.sandbox.path("truth"));
        fs::create_dir(self.sandbox.path("truth")).unwrap();
        for file in HANDS {
            let _ = fs::remove_file(self.hand(file));
        }
        self.meet_operators();
        let mine = self.make_identity(&self.hand("mine.key"));
        let all = fs::read_to_string(self.hand("operators.txt")).unwrap() + &mine + "\n";
        fs::write(self.hand("operators.txt"), all).unwrap();
        self.install("old");
    }

    pub(crate) fn seal(&mut self) {
        let [all, writer] = ["operators.txt", "writer.key"].map(|file| self.hand(file).display().to_string());
        let told = self.vault().run(["init", "--json", "--recipients-file", &all, "--writer-key", &writer]);
        let newest = told.expect(0).json()["read_recipient"].as_str().unwrap().to_owned();
        fs::write(self.hand("newest.txt"), format!("{newest}\n")).unwrap();
        let writer = fs::read_to_string(writer).unwrap();
        let secret = [("writer.key".to_owned(), writer)].into();
        self.cluster.secrets.insert("weekvault-writer".to_owned(), secret);
        self.cluster.apply("docs/deploy/kubernetes/roundcube-sealed");
        self.sealed = true;
    }

    /// Two weeks in a sealed store, and a mirror of it.
    pub(crate) fn two_sealed_weeks(&mut self) {
        self.start_sealed();
        self.seal();
        self.two_weeks();
    }

    /// What the kit's page says, typed by whoever has it.
    pub(crate) fn type_kit(&self) {
        let page = fs::read_to_string(self.sandbox.path("printed")).unwrap();
        let words = |start: &str| {
            let found: Vec<String> =
                page.split_whitespace().filter(|word| word.starts_with(start)).map(str::to_owned).collect();
            found
        };
        let [identity] = words("AGE-SECRET-KEY-1").try_into().unwrap();
        let [recipient, newest] = words("age1").try_into().unwrap();
        fs::write(self.hand("kit.key"), format!("{identity}\n")).unwrap();
        fs::write(self.hand("newest.txt"), format!("{newest}\n")).unwrap();
        let mut all = fs::read_to_string(self.hand("operators.txt")).unwrap();
        if !all.contains(&recipient) {
            all.push_str(&format!("{recipient}\n"));
            fs::write(self.hand("operators.txt"), all).unwrap();
        }
    }

    /// Leaves a machine with a kit and a mirror that has lost what makes it easy.
    pub(crate) fn put_away(&self) {
        for file in HANDS.iter().filter(|file| **file != "newest.txt") {
            fs::rename(self.hand(file), self.sandbox.path(file)).unwrap();
        }
        fs::remove_dir_all(self.sandbox.path("offsite/keys")).unwrap();
        fs::remove_file(self.sandbox.path("offsite/store.json")).unwrap();
    }

    pub(crate) fn take_back(&self) {
        for file in HANDS.iter().filter(|file| **file != "newest.txt") {
            fs::rename(self.sandbox.path(file), self.hand(file)).unwrap();
        }
    }

    /// What comes does not open for whoever has left.
    #[track_caller]
    pub(crate) fn check_who_left(&self) {
        let key = self.sandbox.path("leaving.key").display().to_string();
        let target = self.sandbox.path("left").display().to_string();
        let line = ["materialize", "--week", "latest", "--pvc", "html", &target, "--identity", &key];
        let ran = self.vault().run(line);
        assert_ne!(ran.code, Some(0), "{ran}");
        let left = fs::read_to_string(self.hand("operators.txt")).unwrap();
        assert!(!left.contains(fs::read_to_string(self.hand("lost.txt")).unwrap().trim()));
    }

    /// The newest read recipient, as `key list` says it now: what an operator writes down after a change.
    pub(crate) fn write_newest(&self) {
        let told =
            self.vault().run(["key", "list", "--json"].map(str::to_owned).into_iter().chain(self.identity()));
        let newest = told.expect(0).json()["read_recipient"].as_str().unwrap().to_owned();
        fs::write(self.hand("newest.txt"), format!("{newest}\n")).unwrap();
    }

    /// No identity is in the cluster, and nothing waits for one.
    #[track_caller]
    pub(crate) fn check_no_identity(&self) {
        let names: Vec<&String> = self.cluster.secrets.keys().collect();
        assert_eq!(names, ["weekvault-writer"]);
        assert!(self.cluster.waiting.is_empty());
        assert!(self.cluster.jobs.values().all(|job| !job.log.contains("AGE-SECRET-KEY-")));
    }

    /// The newest week of all was written with the newest keys.
    #[track_caller]
    pub(crate) fn check_newest_keys(&self) {
        let told =
            self.vault().run(["key", "list", "--json"].map(str::to_owned).into_iter().chain(self.identity()));
        let told = told.expect(0).json();
        let newest = told["newest_manifests"].as_array().unwrap();
        assert!(!newest.is_empty() && newest.iter().all(|m| m["is_newest"] == true), "{told}");
    }

    /// What somebody restored to a machine that has nothing else is what the newest week had.
    #[track_caller]
    pub(crate) fn check_restored(&self, week: &str) {
        for pvc in ["html", "enigma"] {
            // rsync takes no path through another namespace.
            let (there, restored) = (self.sandbox.inside("/tmp").join(pvc), self.sandbox.path("restored"));
            system(Command::new("cp").arg("-a").arg(&there).arg(&restored));
            assert_equal(&self.truth(week).join(pvc), &restored);
            [there, restored].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
        }
    }

    #[track_caller]
    pub(crate) fn check_sealed_weeks(&self) {
        self.check_no_identity();
        [OLD, NEW].into_iter().for_each(|week| self.check_week(week));
    }
}
