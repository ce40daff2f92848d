//! What a source's file system says is not believed where it cannot be: names that it lists and does not find, and what
//! an earlier manifest says that nobody can read.

use crate::common::raw_manifest::{Block, fifo, file, folder, manifest, record};
use crate::common::{Vault, backup_arguments, skip};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};

const WEEK: &str = "2025-14";

/// A process that has ended and not been asked how: the system lists what it had, and finds little of it.
struct Zombie(Child);

impl Zombie {
    fn new() -> Option<Self> {
        let child = Command::new("true").spawn().ok()?;
        let zombie = Self(child);
        let state = || fs::read_to_string(format!("/proc/{}/stat", zombie.0.id())).ok();
        while !state()?.contains(") Z") {
            std::thread::yield_now();
        }
        Some(zombie)
    }

    /// A directory of symbolic links that are listed, looked at, and not there when they are read.
    fn links(&self) -> PathBuf {
        format!("/proc/{}/ns", self.0.id()).into()
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

#[test]
fn what_is_listed_and_not_found_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let vault = Vault::new(dir.path().join("store"));
    let Some(zombie) = Zombie::new() else { return skip("names that are not found", "no /proc here") };
    let links = zombie.links();
    let lost = |path: &PathBuf| fs::read_link(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    let listed: Vec<PathBuf> = fs::read_dir(&links).unwrap().map(|entry| entry.unwrap().path()).collect();
    let missing = listed.iter().filter(|path| lost(path)).count() as u64;
    if missing == 0 {
        return skip("names that are not found", "this kernel finds all that a dead process had");
    }
    // The same with threads that look ahead.
    for readers in ["1", "6"] {
        let mut arguments = backup_arguments(WEEK, &[("pvc", &links)]);
        arguments.extend(["--readers".into(), readers.into()]);
        let ran = vault.run(arguments).expect(3);
        let report = &ran.json()["sources"][0];
        assert_eq!((&report["vanished"], &report["unreadable"]), (&0.into(), &missing.into()), "{report}");
    }
}

/// The manifest of a directory in which one name stands twice, as it was once written.
fn with_a_name_twice(content: &[u8]) -> Vec<u8> {
    let object = weekvault::model::ObjectRow {
        id: weekvault::model::ObjectId::of(content),
        chunk_length: content.len() as u32,
        stored_length: 100,
        used: content.len() as u32,
    };
    let records = [
        record(0, "", folder()),
        record(1, "a", file(content)),
        record(1, "b", fifo()),
        record(1, "b", fifo()),
        record(1, "c", file(content)),
    ];
    manifest(&[Block::entries(b"", &records)], &[object])
}

#[test]
fn an_earlier_manifest_that_no_reader_takes_ends_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(source.join(name), "content").unwrap();
    }
    vault.backup(WEEK, &[("pvc", &source)]);
    let place = vault.store.join(WEEK).join("pvc.manifest");
    fs::write(&place, with_a_name_twice(b"content")).unwrap();
    vault.run(["verify"]).expect(4).says("is out of order");
    for week in [WEEK, "2025-15"] {
        fs::write(&place, with_a_name_twice(b"content")).unwrap();
        let ran = vault.run(backup_arguments(week, &[("pvc", &source)])).expect(0);
        let ran = ran.says("in part not compared with").says("is out of order");
        assert_eq!(ran.json()["sources"][0]["files"], 3);
        let restored = dir.path().join(week);
        vault.restore(week, "pvc", &restored, &[]).expect(0);
        for name in ["a", "b", "c"] {
            assert_eq!(fs::read(restored.join(name)).unwrap(), b"content", "{name}");
        }
    }
}
