//! What every backend of the store room must do. A new backend is added to `backends`.

use std::io::Write;
use std::sync::Arc;
use weekvault::model::RunId;
use weekvault::store::{Item, ItemKind, Key, LocalStore, Lock, LockMode, MemoryStore, Over, Store};

/// Runs a test on each backend, empty.
fn backends(test: impl Fn(&dyn Store)) {
    let folder = tempfile::tempdir().unwrap();
    test(&LocalStore::new(folder.path().join("store"), RunId(7)));
    test(&MemoryStore::default());
    test(&MemoryStore::default().in_steps(RunId(7)));
}

fn key(path: &str) -> Key {
    Key::new(path)
}

fn names(items: &[Item]) -> Vec<(String, bool)> {
    let mut names: Vec<_> = items.iter().map(|i| (i.name.clone(), i.kind == ItemKind::Folder)).collect();
    names.sort();
    names
}

#[test]
fn what_is_put_can_be_read() {
    backends(|store| {
        store.put(&key("a/b/c"), b"hello").unwrap();
        assert_eq!(store.get(&key("a/b/c"), 5).unwrap(), b"hello");
        assert!(store.get(&key("a/b/c"), 4).is_err(), "longer than allowed");
        let blob = store.open(&key("a/b/c")).unwrap();
        assert_eq!(blob.length(), 5);
        let mut part = [0; 3];
        blob.read_exact_at(&mut part, 2).unwrap();
        assert_eq!(&part, b"llo");
        assert!(blob.read_exact_at(&mut part, 3).is_err(), "past the end");
        let missing = store.open(&key("a/b/d")).map(drop).unwrap_err();
        assert!(missing.is_not_found(), "{missing}");
        assert!(missing.to_string().contains("a/b/d"), "{missing}");
    });
}

#[test]
fn nothing_is_there_before_it_is_published() {
    backends(|store| {
        let mut upload = store.upload().unwrap();
        upload.write_all(b"half").unwrap();
        assert!(store.open(&key("x")).is_err());
        drop(upload);
        assert!(store.list(&key("tmp")).unwrap().is_empty(), "an upload that is dropped leaves nothing");
        let mut upload = store.upload().unwrap();
        upload.write_all(b"whole").unwrap();
        upload.publish(&key("x"), &Over::Nothing).unwrap();
        store.put(&key("x"), b"another").unwrap();
        assert_eq!(store.get(&key("x"), 99).unwrap(), b"another", "it is replaced");
    });
}

/// A folder cannot tell, and replaces anything.
#[test]
fn what_is_published_replaces_no_other_than_was_said() {
    backends(|store| {
        let write = |text: &[u8]| {
            let mut upload = store.upload().unwrap();
            upload.write_all(text).unwrap();
            upload
        };
        write(b"one").publish(&key("w/m"), &Over::Nothing).unwrap();
        let Some(one) = store.keep(&key("w/m"), &key("trash/1/m")).unwrap() else { panic!() };
        write(b"two").publish(&key("w/m"), &Over::This(one.clone())).unwrap();
        assert_eq!(store.get(&key("w/m"), 3).unwrap(), b"two");
        if store.moves_in_steps().is_some() {
            let mut three = write(b"three");
            for over in [Over::Nothing, Over::This(one)] {
                assert!(three.publish(&key("w/m"), &over).unwrap_err().is_taken());
            }
            assert_eq!(store.get(&key("w/m"), 3).unwrap(), b"two");
            let two = store.open(&key("w/m")).unwrap().version();
            three.publish(&key("w/m"), &Over::This(two)).unwrap();
            assert_eq!(store.get(&key("w/m"), 5).unwrap(), b"three", "published after it was refused");
        }
    });
}

#[test]
fn lists_one_folder() {
    backends(|store| {
        assert!(store.list(&Key::root()).unwrap().is_empty(), "no store yet");
        for path in ["f", "d/g", "d/e/h"] {
            store.put(&key(path), path.as_bytes()).unwrap();
        }
        let root: Vec<_> =
            store.list(&Key::root()).unwrap().into_iter().filter(|i| i.name != "tmp").collect();
        assert_eq!(names(&root), [("d".into(), true), ("f".into(), false)]);
        let d = store.list(&key("d")).unwrap();
        assert_eq!(names(&d), [("e".into(), true), ("g".into(), false)]);
        assert_eq!(d.iter().find_map(Item::file_length), Some(3));
        assert!(store.list(&key("nowhere")).unwrap().is_empty());
    });
}

#[test]
fn lists_all_that_is_below_a_folder() {
    backends(|store| {
        for path in ["f", "d/g", "d/e/h", "d/e/i"] {
            store.put(&key(path), path.as_bytes()).unwrap();
        }
        let mut files = Vec::new();
        let mut note = |folder: &Key, item: Item| {
            files.extend(item.file_length().map(|length| (folder.child(&item.name).to_string(), length)));
            Ok(())
        };
        store.list_below(&key("d"), &mut note).unwrap();
        files.sort();
        assert_eq!(files, [("d/e/h".into(), 5), ("d/e/i".into(), 5), ("d/g".into(), 3)]);
        store.list_below(&key("nowhere"), &mut |_, _| panic!("nothing is there")).unwrap();
    });
}

#[test]
fn an_object_goes_to_the_trash_and_comes_back() {
    backends(|store| {
        store.put(&key("o/a"), b"1").unwrap();
        assert!(store.retire(&key("o/a"), &key("trash/1/o/a"), &mut |copy| copy == b"1").unwrap());
        assert!(!store.is_there(&key("o/a")).unwrap());
        assert_eq!(store.get(&key("trash/1/o/a"), 9).unwrap(), b"1");
        let again = store.retire(&key("o/a"), &key("trash/1/o/a"), &mut |_| true);
        assert!(again.unwrap_err().is_not_found());
        store.put(&key("o/a"), b"2").unwrap();
        store.bring_back(&key("trash/1/o/a"), &key("o/a")).unwrap();
        assert_eq!(store.get(&key("o/a"), 9).unwrap(), b"1", "it takes the place of what stands there");
        assert!(store.is_there(&key("o/a")).unwrap() && !store.is_there(&key("o")).unwrap());
        assert!(store.bring_back(&key("trash/1/o/b"), &key("o/b")).unwrap_err().is_not_found());
        store.sync().unwrap();
    });
}

/// In one step nothing is copied, so that there is no copy that may not be whole.
#[test]
fn an_object_whose_copy_is_not_whole_stays() {
    let store = MemoryStore::default().in_steps(RunId(7));
    store.put(&key("o/a"), b"1").unwrap();
    assert!(!store.retire(&key("o/a"), &key("trash/1/o/a"), &mut |_| false).unwrap());
    assert_eq!(store.get(&key("o/a"), 9).unwrap(), b"1");
}

#[test]
fn a_file_is_withdrawn_and_published_again() {
    backends(|store| {
        store.put(&key("w/m"), b"1").unwrap();
        store.withdraw(&key("w/m"), &key("trash/1/w/m")).unwrap();
        assert!(store.open(&key("w/m")).map(drop).unwrap_err().is_not_found());
        assert!(store.list(&key("w")).unwrap().is_empty() && !store.is_there(&key("w/m")).unwrap());
        assert!(store.withdraw(&key("w/m"), &key("trash/1/w/m")).unwrap_err().is_not_found());
        assert_eq!(store.keep(&key("w/m"), &key("trash/2/w/m")).unwrap(), None, "there is nothing to keep");
        store.republish(&key("trash/1/w/m"), &key("w/m"), &Over::Nothing).unwrap();
        assert_eq!(store.get(&key("w/m"), 9).unwrap(), b"1");
        assert!(store.republish(&key("trash/1/x"), &key("x"), &Over::Nothing).unwrap_err().is_not_found());
    });
}

#[test]
fn deletes_files_and_empty_folders() {
    backends(|store| {
        store.put(&key("new/folder/b"), b"2").unwrap();
        store.delete(&key("new/folder/b")).unwrap();
        store.delete(&key("new/folder/b")).unwrap();
        store.delete(&key("new/folder")).unwrap();
        assert!(store.open(&key("new/folder/b")).is_err());
        store.sync().unwrap();
    });
}

#[test]
fn many_threads_may_put() {
    backends(|store| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for i in 0..20 {
                        store.put(&key(&format!("m/{thread}/{i}")), &[thread, i]).unwrap();
                        store.put(&key("m/same"), &[thread, i]).unwrap();
                    }
                });
            }
        });
        assert_eq!(store.list(&key("m/3")).unwrap().len(), 20);
        assert_eq!(store.open(&key("m/same")).unwrap().length(), 2);
    });
}

#[test]
fn locks_exclude_each_other_where_there_are_locks() {
    let folder = tempfile::tempdir().unwrap();
    let open = |run| Arc::new(LocalStore::new(folder.path(), RunId(run)));
    let (a, b) = (open(1), open(2));
    let shared = a.lock(LockMode::Shared).unwrap();
    assert!(matches!(b.lock(LockMode::Shared).unwrap(), Lock::Held(_)));
    assert!(matches!(b.lock(LockMode::Exclusive).unwrap(), Lock::Busy));
    drop(shared);
    assert!(matches!(b.lock(LockMode::Exclusive).unwrap(), Lock::Held(_)));
    // One that is held becomes one that excludes the others, unless there are others.
    let Lock::Held(mut mine) = a.lock(LockMode::Shared).unwrap() else { panic!() };
    let Lock::Held(other) = b.lock(LockMode::Shared).unwrap() else { panic!() };
    assert!(!mine.hold_alone().unwrap());
    drop((mine, other));
    let Lock::Held(mut mine) = a.lock(LockMode::Shared).unwrap() else { panic!() };
    assert!(mine.hold_alone().unwrap());
    assert!(matches!(b.lock(LockMode::Shared).unwrap(), Lock::Busy));
    drop(mine);
    assert!(matches!(b.lock(LockMode::Shared).unwrap(), Lock::Held(_)));
}

#[test]
fn the_store_has_a_clock() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::new(folder.path().join("store"), RunId(7));
    let ours = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((store.now().unwrap().secs - ours).abs() < 60);
    store.now().unwrap();
    assert_eq!(store.list(&key("tmp")).unwrap().len(), 1, "asking again makes no other file");
    let other = LocalStore::new(folder.path().join("store"), RunId(8));
    // The file that was made to ask is the first that is written.
    store.put(&key("a"), b"hello").unwrap();
    assert!(other.list(&key("tmp")).unwrap().is_empty());
    assert_eq!(other.get(&key("a"), 5).unwrap(), b"hello");
    store.put(&key("b"), b"world").unwrap();
    assert_eq!(other.get(&key("b"), 5).unwrap(), b"world");
    other.now().unwrap();
    drop(other);
    assert!(store.list(&key("tmp")).unwrap().is_empty(), "asking leaves nothing behind");
}

#[test]
fn a_file_is_kept_before_it_is_replaced() {
    backends(|store| {
        store.put(&key("a/b"), b"hello").unwrap();
        assert!(store.keep(&key("a/b"), &key("c/d/e")).unwrap().is_some());
        assert_eq!(store.get(&key("c/d/e"), 5).unwrap(), b"hello");
        store.put(&key("z"), b"z").unwrap();
        assert!(store.keep(&key("z"), &key("c/d/e")).unwrap_err().is_taken());
        store.put(&key("a/b"), b"other").unwrap();
        assert_eq!(store.get(&key("c/d/e"), 5).unwrap(), b"hello", "what is replaced is kept");
    });
}

/// Makes a folder's last change one of long ago.
fn age(folder: &std::path::Path) {
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_001);
    std::fs::File::open(folder).unwrap().set_modified(long_ago).unwrap();
}

#[test]
fn a_stamp_tells_whether_names_came_or_went() {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::new(folder.path(), RunId(7));
    store.put(&key("a/b"), b"hello").unwrap();
    age(&folder.path().join("a"));
    assert_eq!(store.stamp(&key("a"), true), None, "without a clock nothing is known to be past");
    store.now().unwrap();
    let stamp = store.stamp(&key("a"), true);
    assert!(stamp.is_some() && stamp == store.stamp(&key("a"), true));
    assert_eq!(store.stamp(&key("x"), true), None, "nothing is there");
    store.put(&key("a/c"), b"hello").unwrap();
    assert_eq!(store.stamp(&key("a"), true), None, "a change at the same moment would not show");
    age(&folder.path().join("a"));
    assert_ne!(store.stamp(&key("a"), true), stamp, "a change that nobody should make shows all the same");
    let file = store.stamp(&key("a/b"), true);
    store.put(&key("a/b"), b"hello").unwrap();
    assert!(file.is_some() && store.stamp(&key("a/b"), true) != file);
}

#[test]
fn a_store_that_is_gone_is_told_from_one_that_lacks_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("store"), folder.path().join("moved"));
    let store = LocalStore::new(&path, RunId(7));
    store.put(&key("a/b"), b"1").unwrap();
    assert!(store.open(&key("a/c")).map(drop).unwrap_err().is_not_found());
    assert!(store.list(&key("c")).unwrap().is_empty());
    // As where a share is unmounted: the path leads to what was below it.
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    store.put(&key("a/d"), b"2").unwrap();
    assert_eq!(std::fs::read(moved.join("a/d")).unwrap(), b"2", "written where the run began");
    let gone = store.open(&key("a/c")).map(drop).unwrap_err();
    assert!(gone.is_gone() && !gone.is_not_found(), "{gone}");
    assert!(gone.to_string().contains("the store is gone"), "{gone}");
    assert!(store.list(&key("c")).unwrap_err().is_gone());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is written elsewhere");
    std::fs::remove_dir_all(&moved).unwrap();
    assert!(store.upload().map(drop).unwrap_err().is_gone());
    assert!(store.list(&Key::root()).unwrap_err().is_gone());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is written elsewhere");
}
