//! A disk that is really full, at any moment of a run: what is published stays whole, what cannot be is told, and with
//! space again all goes on.

use crate::common::{Ran, Tree, Vault, assert_same_tree, backup_arguments, quick_folder, skip};
use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A kind of file system, and how a small one of it is made at `$AT`.
type Kind = (&'static str, &'static str);

const TMPFS: Kind = ("a tmpfs", "mount -t tmpfs -o size=64m,nr_inodes=2000 none \"$AT\"");

/// No block is kept for root, whom the test may be.
const EXT4: Kind = (
    "an ext4",
    "PATH=$PATH:/usr/sbin:/sbin; truncate -s 64M \"$AT.image\"
    mkfs.ext4 -q -m 0 \"$AT.image\" && mount -o loop \"$AT.image\" \"$AT\"",
);

/// A small file system in a mount namespace of its own, which ends with this value.
struct Disk {
    namespace: Child,
    folder: TempDir,
    root: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

impl Disk {
    /// None where this machine lets nobody mount such, which is told.
    fn new((kind, mount): Kind) -> Option<Self> {
        let folder = quick_folder(512 << 20, 10_000);
        let at = folder.path().join("disk");
        fs::create_dir(&at).unwrap();
        let root: &[&str] = &["--mount"];
        let user: &[&str] = &["--user", "--map-root-user", "--mount"];
        for options in [root, user] {
            let mut unshare = Command::new("unshare");
            unshare.args(options).args(["sh", "-c", &format!("{mount} && echo mounted && exec cat")]);
            unshare.env("AT", &at).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            let Ok(mut namespace) = unshare.spawn() else { break };
            let mut line = String::new();
            BufReader::new(namespace.stdout.take().unwrap()).read_line(&mut line).unwrap();
            // What is mounted there is seen from outside by this way.
            let root = PathBuf::from(format!("/proc/{}/root{}", namespace.id(), at.display()));
            if line == "mounted\n" && root.is_dir() {
                return Some(Self { namespace, folder, root });
            }
            let _ = namespace.kill();
            let _ = namespace.wait();
        }
        skip(&format!("a full disk that is {kind}"), "mounting it is not allowed here");
        None
    }

    fn stat(&self) -> StatVfs {
        statvfs(&self.root).unwrap()
    }

    fn free(&self) -> u64 {
        let stat = self.stat();
        stat.f_bavail * stat.f_frsize
    }

    /// Someone else takes all space but so much.
    fn leave(&self, bytes: u64) {
        for number in 0..64 {
            let take = self.free().saturating_sub(bytes);
            if take < 4096 {
                return;
            }
            // The file's own records may take what it should leave: then a smaller one, and another one.
            let file = File::create(self.others().join(format!("space-{number}"))).unwrap();
            if fallocate(&file, FallocateFlags::empty(), 0, take).is_err() {
                let _ = fallocate(&file, FallocateFlags::empty(), 0, take - take / 8);
            }
        }
    }

    /// Someone else takes all inodes but so many.
    fn leave_inodes(&self, inodes: u64) {
        let others = self.others();
        for number in 0..self.stat().f_ffree.saturating_sub(inodes) {
            File::create(others.join(number.to_string())).unwrap();
        }
    }

    fn others(&self) -> PathBuf {
        let others = self.root.join("others");
        fs::create_dir_all(&others).unwrap();
        others
    }

    /// They go.
    fn leave_all(&self) {
        fs::remove_dir_all(self.others()).unwrap();
    }
}

/// Bytes that nothing makes smaller.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    bytes.resize(length, 0);
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// A store on a small disk, and a source that goes on to change.
struct Setting {
    disk: Disk,
    vault: Vault,
    /// What the source was in each week that is published.
    weeks: BTreeMap<&'static str, Tree>,
}

const OLD: &str = "2025-13";
const NEW: &str = "2025-14";

impl Setting {
    fn new(kind: Kind) -> Option<Self> {
        let disk = Disk::new(kind)?;
        let source = disk.folder.path().join("source");
        fs::create_dir_all(source.join("folder")).unwrap();
        for number in 0..20 {
            fs::write(source.join(format!("folder/{number}")), noise(100_000, number)).unwrap();
        }
        let vault = Vault::new(disk.root.join("store"));
        let mut setting = Self { disk, vault, weeks: BTreeMap::new() };
        setting.publish(OLD);
        Some(setting)
    }

    fn publish(&mut self, week: &'static str) {
        self.vault.backup(week, &[("pvc", &self.source())]);
        self.weeks.insert(week, Tree::of(&self.source()));
    }

    fn source(&self) -> PathBuf {
        self.disk.folder.path().join("source")
    }

    fn back_up(&self) -> Ran {
        self.vault.run(backup_arguments(NEW, &[("pvc", &self.source())]))
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.vault.store.join(folder)).into_iter().flatten();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn check_restore(&self, week: &str, expected: &Tree) {
        let target = self.disk.folder.path().join("target");
        self.vault.restore(week, "pvc", &target, &[]).expect(0);
        assert_same_tree(expected, &target);
        fs::remove_dir_all(target).unwrap();
    }

    /// The run failed for want of space, and says so with a way out.
    #[track_caller]
    fn check_told(&self, ran: &Ran) {
        let (stderr, store) = (&ran.stderr, self.vault.store.display().to_string());
        assert_eq!(ran.code, Some(1), "{}{stderr}", ran.stdout);
        for part in [store.as_str(), "No space left on device", "free some space"] {
            assert!(stderr.contains(part), "no {part:?} in {stderr}");
        }
        let told = ran.json();
        assert!(told["error"].as_str().unwrap().contains("No space left on device"), "{told}");
        assert!(told["hint"].as_str().unwrap().contains("free some space"), "{told}");
    }

    /// All that was published is there and whole, and nothing else, on a disk that may still be full.
    #[track_caller]
    fn check_untouched(&self) {
        for week in [OLD, NEW] {
            assert_eq!(self.names(week).len(), usize::from(self.weeks.contains_key(week)), "{week}");
        }
        assert_eq!(self.names("tmp"), [""; 0]);
        self.vault.verify();
        self.weeks.iter().for_each(|(week, expected)| self.check_restore(week, expected));
    }

    /// Somebody has made room.
    #[track_caller]
    fn check_goes_on(&mut self) {
        self.disk.leave_all();
        self.publish(NEW);
        self.check_untouched();
        assert_eq!(self.vault.verify()["unreferenced_objects"], 0);
    }

    /// Puts a store back to what it was.
    fn reset(&self, pristine: &Path) {
        self.disk.leave_all();
        let _ = fs::remove_dir_all(&self.vault.store);
        let status = Command::new("cp").arg("-a").arg(pristine).arg(&self.vault.store).status();
        assert!(status.unwrap().success());
    }

    /// Backs up with less and less of something left, each time into the store as it was before.
    fn sweep(&self, lefts: &[u64], leave: impl Fn(u64)) {
        let pristine = self.disk.folder.path().join("pristine");
        let status = Command::new("cp").arg("-a").arg(&self.vault.store).arg(&pristine).status();
        assert!(status.unwrap().success());
        let now = Tree::of(&self.source());
        let mut enough = Vec::new();
        for &left in lefts {
            self.reset(&pristine);
            leave(left);
            let ran = self.back_up();
            let published = ran.stderr.contains("the backup is published");
            enough.push(ran.code == Some(0));
            if ran.code == Some(0) || published {
                self.check_restore(OLD, &self.weeks[OLD]);
                self.check_restore(NEW, &now);
                self.vault.verify();
                assert_eq!(self.names("tmp"), [""; 0]);
            } else {
                self.check_told(&ran);
                self.check_untouched();
            }
        }
        eprintln!("enough of {lefts:?} was there: {enough:?}");
        assert!(enough.is_sorted() && !enough[0] && enough[lefts.len() - 1], "{enough:?}");
    }
}

#[test]
fn a_backup_that_fills_the_disk_takes_nothing_with_it() {
    for kind in [TMPFS, EXT4] {
        let Some(mut setting) = Setting::new(kind) else { continue };
        setting.disk.leave(24 << 20);
        fs::write(setting.source().join("large"), noise(40 << 20, 100)).unwrap();
        // The second time what is there already is used.
        for _ in 0..2 {
            let ran = setting.back_up();
            assert!(setting.disk.free() < 12 << 20, "it ended with {} left", setting.disk.free());
            setting.check_told(&ran);
            setting.check_untouched();
        }
        setting.check_goes_on();
    }
}

/// Objects of 300 KiB and a manifest of half a MiB: from where not one of them has enough to where all have.
#[test]
fn a_backup_without_space_for_its_manifest_publishes_nothing() {
    for (kind, replaced) in [(TMPFS, false), (EXT4, true)] {
        let Some(mut setting) = Setting::new(kind) else { continue };
        for number in 0..500 {
            let mut target = String::new();
            noise(1000, 1000 + number).iter().for_each(|byte| write!(target, "{byte:02x}").unwrap());
            symlink(target, setting.source().join(format!("link-{number}"))).unwrap();
        }
        if replaced {
            setting.publish(NEW);
        }
        fs::write(setting.source().join("file"), noise(300_000, 200)).unwrap();
        let lefts = [0, 16, 200, 310, 500, 800, 840, 900, 1200, 1360, 1400, 2000];
        setting.sweep(&lefts.map(|kib| kib << 10), |left| setting.disk.leave(left));
        setting.check_goes_on();
    }
}

#[test]
fn a_backup_without_inodes_publishes_nothing() {
    let Some(mut setting) = Setting::new(TMPFS) else { return };
    fs::write(setting.source().join("file"), noise(5 << 20, 300)).unwrap();
    let lefts: Vec<u64> = (0..24).collect();
    setting.sweep(&lefts, |left| setting.disk.leave_inodes(left));
    setting.check_goes_on();
}

#[test]
fn gc_on_a_full_disk_loses_nothing() {
    for kind in [TMPFS, EXT4] {
        let Some(mut setting) = Setting::new(kind) else { continue };
        fs::remove_dir_all(setting.source().join("folder")).unwrap();
        fs::write(setting.source().join("file"), noise(300_000, 400)).unwrap();
        setting.publish(NEW);
        // Nothing needs the old week's objects any more.
        fs::remove_dir_all(setting.vault.store.join(OLD)).unwrap();
        setting.weeks.remove(OLD);
        setting.disk.leave(0);
        setting.disk.leave_inodes(if kind == TMPFS { 0 } else { u64::MAX });
        let ran = setting.vault.run(["gc", "--json"]);
        if ran.code != Some(0) {
            setting.check_told(&ran);
        }
        setting.check_untouched();
        setting.disk.leave_all();
        setting.vault.run(["gc"]).expect(0);
        assert_eq!(setting.vault.verify()["unreferenced_objects"], 0);
        setting.check_untouched();
    }
}
