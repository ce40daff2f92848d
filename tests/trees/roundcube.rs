//! Twelve weeks of a Roundcube installation: its program files (`html`) and its users' keyrings (`enigma`).

use crate::common::{Vault, assert_equal, copy, fixtures, is_root, quick_folder, rsync_says, skip, system};
use rustix::fs::XattrFlags;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PVCS: [&str; 2] = ["html", "enigma"];
/// Weeks that a backup keeps when nothing else is said.
const KEPT: usize = 8;
const WEEKS: usize = 12;

fn label(week: usize) -> String {
    format!("2025-{week:02}")
}

/// The two volumes, as Roundcube would have them mounted.
struct Volumes {
    html: PathBuf,
    enigma: PathBuf,
}

impl Volumes {
    fn new(folder: &Path) -> Self {
        Self { html: folder.join("html"), enigma: folder.join("enigma") }
    }

    fn of(&self, pvc: &str) -> &Path {
        if pvc == "html" { &self.html } else { &self.enigma }
    }

    /// A file or folder of the program, which is deep in what its package installs.
    fn program(&self, path: &str) -> PathBuf {
        self.html.join("usr/share/roundcube").join(path)
    }

    fn user(&self, path: &str) -> PathBuf {
        self.enigma.join(path)
    }

    /// What happens to the volumes before the backup of a week.
    fn live_through(&self, week: usize) {
        match week {
            1 => {
                self.install("old", week);
                copy(&fixtures().join("gnupg"), &self.enigma);
            }
            2 => self.move_and_touch(),
            3 => self.edit(),
            4 => self.change_owners(),
            5 => self.replace_files_by_folders(),
            6 => self.replace_folders_by_files(),
            7 => self.install("new", week),
            8 => self.change_users(),
            9 => self.link_and_grow(),
            10 => self.retarget_and_mark(),
            11 => self.install("old", week),
            _ => self.edit_again(),
        }
    }

    /// As a package manager does it: what the version does not have goes.
    fn install(&self, version: &str, week: usize) {
        copy(&fixtures().join("roundcube").join(version), &self.html);
        // What the administrator and the running program put there.
        append(
            &self.html.join("etc/roundcube/config.inc.php"),
            &format!("<?php // of the {version} version\n"),
        );
        fs::create_dir_all(self.html.join("var/log/roundcube")).unwrap();
        append(&self.html.join("var/log/roundcube/errors.log"), &"an error\n".repeat(20_000));
        // Something large that is gone two weeks later.
        let mut upload = vec![0; 5 << 20];
        blake3::Hasher::new().update(&week.to_le_bytes()).finalize_xof().fill(&mut upload);
        fs::write(self.html.join("var/log/roundcube/upload"), upload).unwrap();
    }

    fn move_and_touch(&self) {
        rename(&self.program("program/js"), &self.program("program/scripts"));
        rename(&self.program("program/lib"), &self.program("skins/lib"));
        fs::create_dir(self.program("attic")).unwrap();
        rename(&self.program("program/include/iniset.php"), &self.program("attic/-iniset.php"));
        rename(&self.program("index.php"), &self.program("index of\nold.php"));
        system(
            Command::new("find")
                .arg(self.program("plugins"))
                .args(["-type", "f", "-exec", "touch", "{}", "+"]),
        );
        rename(&self.user("anna@example.org"), &self.user("anna@example.com"));
        system(Command::new("touch").arg(self.user("ben@example.org/pubring.kbx")));
    }

    fn edit(&self) {
        for (number, file) in files(&self.program("plugins")).iter().enumerate() {
            match number % 40 {
                0 => append(file, "// a line at the end\n"),
                10 => prepend(file, "<?php /* a line at the start */ ?>\n"),
                20 => fs::remove_file(file).unwrap(),
                30 => truncate(file),
                _ => {}
            }
        }
        fs::remove_dir_all(self.program("plugins/acl")).unwrap();
        fs::remove_file(self.html.join("var/log/roundcube/upload")).unwrap();
        fs::write(self.program("plugins/empty"), "").unwrap();
        append(&self.user("ben@example.org/pubring.kbx"), "another key");
        fs::remove_dir_all(self.user("chloe@example.org/openpgp-revocs.d")).unwrap();
    }

    fn change_owners(&self) {
        system(Command::new("chmod").arg("-R").arg("o-rwx").arg(self.program("skins")));
        set_mode(&self.program("bin"), 0o2775);
        set_mode(&self.html.join("etc/roundcube"), 0o1750);
        set_mode(&self.html, 0o750);
        for file in files(&self.enigma) {
            set_mode(&file, 0o600);
        }
        if is_root() {
            system(
                Command::new("chown").args(["-hR", "33:33"]).arg(self.program("program")).arg(&self.enigma),
            );
            chown(self.html.join("etc/roundcube/config.inc.php"), Some(0), Some(33)).unwrap();
            chown(self.user("anna@example.com"), Some(54_321), Some(12_345)).unwrap();
        } else {
            skip("changes of owners", "not root");
        }
    }

    fn replace_files_by_folders(&self) {
        let config = self.html.join("etc/roundcube/config.inc.php");
        let text = fs::read(&config).unwrap();
        fs::remove_file(&config).unwrap();
        fs::create_dir(&config).unwrap();
        fs::write(config.join("config.inc.php"), text).unwrap();
        fs::remove_dir_all(self.program("skins")).unwrap();
        fs::write(self.program("skins"), "no skins any more").unwrap();
        let ring = self.user("ben@example.org/pubring.kbx");
        rename(&ring, &self.user("ben@example.org/ring"));
        fs::create_dir(&ring).unwrap();
        rename(&self.user("ben@example.org/ring"), &ring.join("ring"));
        // A name that sorts between a folder and what is in it, if names were compared as whole paths.
        fs::write(self.user("ben@example.org/pubring.kbx-old"), "old").unwrap();
    }

    fn replace_folders_by_files(&self) {
        let config = self.html.join("etc/roundcube/config.inc.php");
        let text = fs::read(config.join("config.inc.php")).unwrap();
        fs::remove_dir_all(&config).unwrap();
        fs::write(&config, text).unwrap();
        fs::remove_file(self.program("skins")).unwrap();
        fs::create_dir(self.program("skins")).unwrap();
        symlink("../attic", self.program("skins/elastic")).unwrap();
        let ring = self.user("ben@example.org/pubring.kbx");
        rename(&ring.join("ring"), &self.user("ben@example.org/ring"));
        fs::remove_dir(&ring).unwrap();
        symlink("ring", &ring).unwrap();
    }

    fn change_users(&self) {
        fs::remove_dir_all(self.user("chloe@example.org")).unwrap();
        copy(&fixtures().join("gnupg/chloe@example.org"), &self.user("dora@example.org"));
        append(&self.user("dora@example.org/pubring.kbx"), "a key of hers");
        fs::remove_file(self.user("ben@example.org/pubring.kbx")).unwrap();
        fs::rename(self.user("ben@example.org/ring"), self.user("ben@example.org/pubring.kbx")).unwrap();
    }

    fn link_and_grow(&self) {
        fs::hard_link(self.program("program/js/app.js"), self.program("app.js")).unwrap();
        fs::hard_link(self.program("program/js/app.js"), self.html.join("zzz app.js")).unwrap();
        fs::hard_link(self.user("dora@example.org/pubring.kbx"), self.user("anna@example.com/dora's"))
            .unwrap();
        let log = "2025-03-03 12:00:00 someone did something\n".repeat(200_000);
        append(&self.html.join("var/log/roundcube/userlogins.log"), &log);
    }

    fn retarget_and_mark(&self) {
        let link = self.program("plugins/retargeted");
        symlink("acl", &link).unwrap();
        for link in links(&self.html).iter().step_by(7) {
            fs::remove_file(link).unwrap();
            symlink("../somewhere/else", link).unwrap();
        }
        let marked = self.program("program/js/app.js");
        if rustix::fs::setxattr(&marked, "user.comment", b"of two names", XattrFlags::empty()).is_err() {
            skip("attributes", "the temporary folder's file system has none");
        }
        fs::remove_file(self.html.join("zzz app.js")).unwrap();
        append(&self.html.join("var/log/roundcube/userlogins.log"), "the last line\n");
        fs::create_dir_all(self.user("very/deep/down/there")).unwrap();
        rename(&self.user("anna@example.com"), &self.user("very/deep/down/there/anna@example.com"));
    }

    fn edit_again(&self) {
        for file in files(&self.program("program")).iter().step_by(11) {
            append(file, "\n");
        }
        // The same bytes anew: another inode, another time.
        for file in files(&self.program("plugins")).iter().step_by(9) {
            let bytes = fs::read(file).unwrap();
            fs::remove_file(file).unwrap();
            fs::write(file, bytes).unwrap();
        }
        fs::remove_dir_all(self.user("very/deep/down/there/anna@example.com/private-keys-v1.d")).unwrap();
    }
}

fn rename(from: &Path, to: &Path) {
    fs::rename(from, to).unwrap_or_else(|e| panic!("{} to {}: {e}", from.display(), to.display()));
}

fn append(file: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(file);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn prepend(file: &Path, text: &str) {
    let old = fs::read(file).unwrap();
    fs::write(file, [text.as_bytes(), &old].concat()).unwrap();
}

fn truncate(file: &Path) {
    let length = file.metadata().unwrap().len();
    OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Paths below a folder that `find` says are of a type, sorted.
fn find(folder: &Path, kind: &str) -> Vec<PathBuf> {
    let listed = system(Command::new("find").arg(folder).args(["-type", kind, "-print0"]));
    let mut paths: Vec<PathBuf> = listed.split_terminator('\0').map(PathBuf::from).collect();
    assert!(!paths.is_empty(), "nothing in {}", folder.display());
    paths.sort_unstable();
    paths
}

fn files(folder: &Path) -> Vec<PathBuf> {
    find(folder, "f")
}

fn links(folder: &Path) -> Vec<PathBuf> {
    find(folder, "l")
}

/// Names of the objects below a folder of the store.
fn objects(folder: &Path) -> BTreeSet<String> {
    if !folder.is_dir() {
        return BTreeSet::new();
    }
    let files = system(Command::new("find").arg(folder).args(["-name", "*.zst", "-printf", "%f\\n"]));
    files.lines().map(str::to_owned).collect()
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// Restores a week of both pvcs in the three ways there are, all at once, and compares each with the volume.
fn restore_and_compare(vault: &Vault, folder: &Path, volumes: &Volumes, week: &str) {
    let in_place = |pvc: &'static str| {
        let live = folder.join("live").join(pvc);
        vault.restore(week, pvc, &live, &["--delete"]).expect(0);
        compare(week, volumes.of(pvc), &live);
    };
    let anew = |pvc: &'static str| {
        let fresh = folder.join("fresh").join(pvc);
        vault.restore(week, pvc, &fresh, &[]).expect(0);
        compare(week, volumes.of(pvc), &fresh);
        fs::remove_dir_all(&fresh).unwrap();
    };
    let plain = |pvc: &'static str| {
        let plain = folder.join("plain").join(pvc);
        vault.materialize(week, pvc, &plain).expect(0);
        assert_equal(volumes.of(pvc), &plain);
        fs::remove_dir_all(&plain).unwrap();
    };
    std::thread::scope(|scope| {
        for pvc in PVCS {
            scope.spawn(move || in_place(pvc));
            scope.spawn(move || anew(pvc));
            scope.spawn(move || plain(pvc));
        }
    });
}

fn compare(week: &str, source: &Path, target: &Path) {
    let differences = rsync_says(source, target);
    assert!(differences.is_empty(), "{week}, {}:\n{differences}", target.display());
}

fn sum(report: &[Value], field: &str) -> u64 {
    report.iter().map(|source| source[field].as_u64().unwrap()).sum()
}

#[test]
fn twelve_weeks() {
    let folder = quick_folder(2 << 30, 200_000);
    let folder = folder.path();
    let vault = Vault::new(folder.join("store"));
    let (volumes, kept) = (Volumes::new(&folder.join("volumes")), folder.join("kept"));
    for place in ["volumes", "live", "fresh", "plain", "kept"] {
        fs::create_dir(folder.join(place)).unwrap();
    }
    let mut seen = BTreeSet::new();
    for week in 1..=WEEKS {
        volumes.live_through(week);
        let report = vault.backup(&label(week), &PVCS.map(|pvc| (pvc, volumes.of(pvc))));
        if week == 2 {
            assert_eq!(sum(&report, "new_chunk_bytes"), 0, "moved and touched files are known: {report:?}");
            assert!(sum(&report, "new") + sum(&report, "changed") > 500, "{report:?}");
        }
        seen.extend(objects(&vault.store.join("objects")));
        restore_and_compare(&vault, folder, &volumes, &label(week));
        if week + KEPT > WEEKS {
            copy(&folder.join("volumes"), &kept.join(label(week)));
        }
    }
    check_what_is_left(&vault, &seen);

    // Each week that is left, from another one each time.
    std::thread::scope(|scope| {
        for pvc in PVCS {
            let (vault, kept) = (&vault, &kept);
            scope.spawn(move || {
                let live = folder.join("live").join(pvc);
                for week in [10, 5, 12, 7, 11, 6, 9, 8].map(label) {
                    vault.restore(&week, pvc, &live, &["--delete"]).expect(0);
                    compare(&week, &kept.join(&week).join(pvc), &live);
                }
            });
        }
    });
    // The oldest without anything to begin with.
    let oldest = label(WEEKS - KEPT + 1);
    vault.materialize(&oldest, "html", &folder.join("anew")).expect(0);
    assert_equal(&kept.join(&oldest).join("html"), &folder.join("anew"));
    vault.restore(&label(WEEKS - KEPT), "html", &folder.join("live/html"), &[]).expect(1);
}

/// Eight manifests a pvc, the objects that they need, and all else in the trash.
fn check_what_is_left(vault: &Vault, seen: &BTreeSet<String>) {
    let weeks: Vec<String> = (WEEKS - KEPT + 1..=WEEKS).map(label).collect();
    let mut top = weeks.clone();
    top.extend(["lock", "objects", "store.json", "tmp", "trash"].map(str::to_owned));
    assert_eq!(names(&vault.store), top);
    for week in &weeks {
        assert_eq!(names(&vault.store.join(week)), ["enigma.manifest", "html.manifest"]);
    }
    assert!(names(&vault.store.join("tmp")).is_empty());

    let (live, trash) = (objects(&vault.store.join("objects")), objects(&vault.store.join("trash")));
    let report = vault.verify();
    assert_eq!(report["unreferenced_objects"], 0, "{report}");
    assert_eq!(report["referenced_objects"], live.len(), "{report}");
    assert_eq!(report["manifests"], 2 * KEPT, "{report}");
    assert!(!live.is_empty() && !trash.is_empty(), "{} objects, {} in the trash", live.len(), trash.len());
    assert!(live.is_disjoint(&trash), "in both: {:?}", live.intersection(&trash).collect::<Vec<_>>());
    let all: BTreeSet<String> = live.union(&trash).cloned().collect();
    assert_eq!(all, *seen, "no object was ever deleted");
    let manifests = system(Command::new("find").arg(vault.store.join("trash")).args([
        "-name",
        "*.manifest",
        "-printf",
        "%P\\n",
    ]));
    let mut manifests: Vec<&str> = manifests.lines().map(|path| path.split_once('/').unwrap().1).collect();
    manifests.sort_unstable();
    let expected: Vec<String> = (1..=WEEKS - KEPT)
        .flat_map(|w| ["enigma", "html"].map(|p| format!("{}/{p}.manifest", label(w))))
        .collect();
    assert_eq!(manifests, expected);
}
