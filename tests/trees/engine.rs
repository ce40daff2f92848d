//! What the engine does when something is wrong: each of these once lost or hid something.

use crate::common::bench::Bench;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use weekvault::archive::{ContentReader, Extents, GcOptions, Retention, collect, retain};
use weekvault::model::{
    ArchivePath, Completeness, Counters, Extent, Kind, Observer, Silent, Timestamp, Week, WeekRef,
};
use weekvault::ops::Error;
use weekvault::ops::clock::now;
use weekvault::ops::verify::VerifyOptions;

fn files_in(folder: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        count += if path.is_dir() { files_in(&path) } else { 1 };
    }
    count
}

#[test]
fn a_damaged_block_of_a_manifest_hurts_its_own_entries_alone() {
    let bench = Bench::new();
    for i in 0..9000 {
        bench.write(&format!("d{}/file{i:05}", i / 1000), format!("content {i}").as_bytes());
    }
    bench.backup("2025-01").unwrap();
    bench.damage_block("2025-01", 1);
    let target = bench.folder.path().join("out");
    let restored = bench.restore("2025-01", &target, true).unwrap();
    assert!(restored.failed > 0);
    let there = files_in(&target);
    assert!((3000..9000).contains(&there), "{there} files of the sound blocks were restored");
    assert!(!bench.verify(VerifyOptions::default()).unwrap().is_clean());
}

#[test]
fn a_damaged_manifest_does_not_stop_the_next_backup() {
    let bench = Bench::new();
    (0..5000).for_each(|i| bench.write(&format!("f{i}"), b"x"));
    bench.backup("2025-01").unwrap();
    bench.damage_block("2025-01", 0);
    let next = bench.backup("2025-02").unwrap();
    assert_eq!((next.counts.files, next.completeness), (5000, Completeness::Complete));
    let target = bench.folder.path().join("out");
    assert_eq!(bench.restore("2025-02", &target, false).unwrap().failed, 0);
}

#[test]
fn a_file_is_read_from_any_place_on_and_its_chunks_once() {
    let bench = Bench::new();
    // Without a pattern that repeats within a chunk, with a hole, and not from the beginning of its first chunk.
    let mut content: Vec<u8> =
        (0..60_000u32).flat_map(|i| blake3::hash(&i.to_le_bytes()).as_bytes()[..4].to_vec()).collect();
    content.splice(120_000..120_000, vec![0; 300_000]);
    bench.write("a", b"before it in a chunk");
    bench.write("f", &content);
    let file = fs::File::options().write(true).open(bench.folder.path().join("src/f")).unwrap();
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
        131_072,
        262_144,
    )
    .unwrap();
    bench.backup("2025-01").unwrap();
    let week = WeekRef::Exact("2025-01".parse().unwrap());
    let id = bench.archive.find_manifest(week, &"p".parse().unwrap()).unwrap();
    let manifest = bench.archive.open_manifest(&id).unwrap();
    let entry = manifest.find(&ArchivePath::parse(b"f").unwrap()).unwrap().unwrap();
    let Kind::File(file) = entry.kind else { panic!("a file") };
    let extents = Extents::new(&file);
    assert!(file.extents.len() > 20 && file.extents.iter().any(|e| matches!(e, Extent::Hole { .. })));
    assert_eq!(extents.length(), content.len() as u64);
    let reader = || ContentReader::new(&bench.archive, manifest.objects().unwrap()).unwrap();
    let (mut anywhere, mut once) = (reader(), reader());
    for at in 0..500usize {
        let (from, length) = (at * 7919 % (content.len() + 1000), at * 977 % 9000);
        let mut buffer = vec![1; length];
        let read = anywhere.read_at(&extents, from as u64, &mut buffer).unwrap();
        let wanted = content.get(from..(from + length).min(content.len())).unwrap_or_default();
        assert!(buffer[..read] == *wanted, "{length} bytes from {from} on");
    }
    assert_eq!(anywhere.read_at(&extents, u64::MAX, &mut [0; 9]).unwrap(), 0);
    for at in (0..content.len()).step_by(100) {
        once.read_at(&extents, at as u64, &mut [0; 100]).unwrap();
    }
    let stored: u64 = bench.objects().iter().map(|object| object.metadata().unwrap().len()).sum();
    assert!(once.bytes_read() <= stored, "{} of {stored}", once.bytes_read());
}

#[test]
fn lost_and_short_objects_are_stored_again() {
    let bench = Bench::new();
    for i in 0..40 {
        bench.write(&format!("f{i}"), &[i; 3000]);
    }
    bench.backup("2025-01").unwrap();
    let objects = bench.objects();
    assert!(objects.len() > 3);
    fs::remove_file(&objects[0]).unwrap();
    fs::write(&objects[1], b"short").unwrap();
    let check = |options: VerifyOptions| bench.verify(options).unwrap();
    assert_eq!(check(VerifyOptions::default()).damaged_objects.len(), 2);
    assert_eq!(check(VerifyOptions { quick: true, ..VerifyOptions::default() }).damaged_objects.len(), 2);
    let healed = bench.backup("2025-02").unwrap();
    assert!(healed.counts.bytes_read > 0, "the files that need them were read again");
    let week = Some("2025-02".parse().unwrap());
    assert!(check(VerifyOptions { week, ..VerifyOptions::default() }).is_clean());
    let target = bench.folder.path().join("out");
    assert_eq!(bench.restore("2025-02", &target, false).unwrap().failed, 0);
}

#[test]
fn retention_looks_at_its_own_pvcs_and_spares_what_was_just_published() {
    let bench = Bench::new();
    bench.write("f", b"x");
    for week in ["2025-01", "2025-02", "2025-03"] {
        bench.backup_as(week, "p").unwrap();
        bench.backup_as(week, "q").unwrap();
    }
    let old: Week = "2025-01".parse().unwrap();
    let pvcs = ["p".parse().unwrap()];
    let limits = Retention { keep: 1, pvcs: Some(&pvcs), never: Some(old), dry_run: false };
    let retired =
        retain(&bench.archive, &bench.archive.manifests().unwrap(), limits, now(), &Silent::default())
            .unwrap();
    let names: Vec<String> = retired.retired.iter().map(|r| r.id.to_string()).collect();
    assert_eq!(names, ["2025-02/p.manifest"]);
    assert!(bench.folder.path().join("store/2025-02/q.manifest").exists());
}

#[test]
fn an_old_copy_in_the_trash_serves_until_nothing_needs_it() {
    let bench = Bench::new();
    bench.write("f", &[7; 5000]);
    bench.backup("2025-01").unwrap();
    let (object, manifest) = (bench.objects().remove(0), bench.manifest("2025-01"));
    // Where no manifest is at all, gc gives nothing up.
    bench.write("f", &[]);
    bench.backup("2025-02").unwrap();
    let aside = bench.folder.path().join("aside");
    fs::rename(&manifest, &aside).unwrap();
    let long_ago = Timestamp { secs: now().secs - 30 * 86_400, nanos: 0 };
    let options = |now| GcOptions { dry_run: false, trash_days: 7, empty_trash: false, now };
    assert_eq!(
        collect(&bench.archive, &bench.archive.weeks().unwrap(), options(long_ago), &Silent::default())
            .unwrap()
            .retired,
        1
    );
    assert!(!object.exists());
    fs::rename(&aside, &manifest).unwrap();
    let target = bench.folder.path().join("out");
    assert_eq!(bench.restore("2025-01", &target, false).unwrap().failed, 0, "readers look in the trash");
    let again =
        collect(&bench.archive, &bench.archive.weeks().unwrap(), options(now()), &Silent::default()).unwrap();
    assert_eq!((again.brought_back, again.deleted), (1, 0), "gc brings back what a manifest needs");
    assert!(object.exists());
}

#[test]
fn a_gc_that_cannot_read_a_manifest_moves_nothing() {
    let bench = Bench::new();
    bench.write("f", &[7; 5000]);
    bench.backup("2025-01").unwrap();
    let mut bytes = fs::read(bench.manifest("2025-01")).unwrap();
    let end = bytes.len() - 60;
    bytes[end] ^= 1;
    fs::write(bench.manifest("2025-01"), bytes).unwrap();
    let options = GcOptions { dry_run: false, trash_days: 7, empty_trash: false, now: now() };
    assert!(collect(&bench.archive, &bench.archive.weeks().unwrap(), options, &Silent::default()).is_err());
    assert_eq!(bench.objects().len(), 2.min(bench.objects().len()).max(1), "all objects are where they were");
}

#[test]
fn an_empty_source_is_refused_where_no_manifest_can_say_that_it_was_not() {
    let bench = Bench::new();
    bench.write("f", b"x");
    bench.backup("2025-01").unwrap();
    let mut bytes = fs::read(bench.manifest("2025-01")).unwrap();
    let end = bytes.len() - 60;
    bytes[end] ^= 1;
    fs::write(bench.manifest("2025-01"), bytes).unwrap();
    fs::remove_file(bench.src().join("f")).unwrap();
    let refused = bench.backup("2025-02").unwrap_err();
    assert!(matches!(refused, Error::EmptySource { .. }), "{refused}");
    bench.write("f", b"x");
    bench.backup("2025-02").unwrap();
}

#[test]
fn emptied_objects_are_not_taken_for_known_ones() {
    let bench = Bench::new();
    bench.write("f", &[1; 9000]);
    bench.backup("2025-01").unwrap();
    for object in bench.objects() {
        fs::write(&object, b"").unwrap();
    }
    bench.backup("2025-02").unwrap();
    assert!(bench.verify(VerifyOptions::default()).unwrap().is_clean());
}

#[test]
fn restore_leaves_files_that_are_right_alone() {
    let bench = Bench::new();
    (0..20).for_each(|i| bench.write(&format!("d/f{i}"), format!("{i}").as_bytes()));
    bench.backup("2025-01").unwrap();
    let inodes = || -> Vec<u64> {
        (0..20).map(|i| fs::metadata(bench.src().join(format!("d/f{i}"))).unwrap().ino()).collect()
    };
    let before = inodes();
    bench.write("d/f3", b"changed");
    fs::remove_file(bench.src().join("d/f4")).unwrap();
    bench.write("extra", b"e");
    let src = bench.src();
    let restored = bench.restore("2025-01", &src, false).unwrap();
    assert_eq!(restored.failed, 0);
    let changed: Vec<usize> = (0..20).filter(|&i| inodes()[i] != before[i]).collect();
    assert!(changed.iter().all(|i| [3, 4].contains(i)), "{changed:?}");
    assert!(src.join("extra").exists());
    bench.restore("2025-01", &src, true).unwrap();
    assert!(!src.join("extra").exists());
}

/// Does something once, in the middle of a run.
struct Meddling<F> {
    counters: Counters,
    once: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> Observer for Meddling<F> {
    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn cancelled(&self) -> bool {
        if self.counters.entries.get() > 0
            && let Some(act) = self.once.lock().unwrap().take()
        {
            act();
        }
        false
    }
}

impl<F> Meddling<F> {
    fn new(act: F) -> Self {
        Self { counters: Counters::default(), once: Mutex::new(Some(act)) }
    }
}

#[test]
fn a_source_that_goes_away_in_mid_run_is_not_published() {
    for comes_back in [false, true] {
        let bench = Bench::new();
        (0..3000).for_each(|n| bench.write(&format!("{}/{n}", n % 50), &[7; 10]));
        bench.backup("2025-14").unwrap();
        let (src, gone) = (bench.src(), bench.folder.path().join("gone"));
        let meddling = Meddling::new(move || {
            fs::rename(&src, &gone).unwrap();
            if comes_back {
                fs::create_dir(&src).unwrap();
            }
        });
        let error = bench.backup_watched("2025-15", "p", &meddling).unwrap_err().to_string();
        let what = if comes_back { "was replaced while it was read" } else { "went away while it was read" };
        assert!(error.contains(what) && error.contains("nothing was published"), "{error}");
        assert!(!bench.manifest("2025-15").exists());
    }
}

#[test]
fn what_really_vanishes_in_mid_run_is_no_problem() {
    let bench = Bench::new();
    (0..3000).for_each(|n| bench.write(&format!("{}/{n}", n % 50), &[7; 10]));
    let src = bench.src();
    let meddling =
        Meddling::new(move || (0..50).for_each(|n| drop(fs::remove_dir_all(src.join(n.to_string())))));
    let done = bench.backup_watched("2025-15", "p", &meddling).unwrap();
    assert_eq!(done.completeness, Completeness::Complete, "{:?}", done.problems);
    bench.verify(VerifyOptions::default()).unwrap();
}
