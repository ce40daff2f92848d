//! What a walk leaves out stands in the manifest, whatever the reason.

use crate::common::{Ran, Vault, backup_arguments, skip};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use weekvault::archive::Archive;
use weekvault::model::LeftOutReason::{self, Cache, Leftover, Mount};
use weekvault::model::RunId;
use weekvault::store::LocalStore;

const WEEK: &str = "2025-14";
const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n";

fn put(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The places that the week's only manifest says were left out, and its paths.
fn told(vault: &Vault) -> (Vec<(String, LeftOutReason)>, Vec<String>) {
    let archive = Archive::open(Arc::new(LocalStore::new(&vault.store, RunId(1)))).unwrap();
    let id = archive.manifests().unwrap().remove(0).id;
    let manifest = archive.open_manifest(&id).unwrap();
    let places = manifest.left_out().unwrap().into_iter().map(|p| (p.path.to_string(), p.reason)).collect();
    (places, manifest.entries().unwrap().map(|entry| entry.unwrap().0.to_string()).collect())
}

fn places(expected: &[(&str, LeftOutReason)]) -> Vec<(String, LeftOutReason)> {
    expected.iter().map(|(path, reason)| ((*path).to_owned(), *reason)).collect()
}

#[test]
fn caches_and_leftovers_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    put(source.join("a/cache/CACHEDIR.TAG"), TAG);
    put(source.join("a/cache/deep/object"), "object");
    put(source.join("a/empty-cache/CACHEDIR.TAG"), TAG);
    put(source.join("a/no-cache/CACHEDIR.TAG"), "Signature: none\n");
    put(source.join("a/no-cache/object"), "object");
    put(source.join("skip.tmp"), "told by the excludes");
    put(source.join("a/.weekvault-1f-67f4d2e805f5e100-0"), "half a file");
    put(source.join(".weekvault-notes"), "a user's own");
    let arguments = |more: &[&str]| {
        let mut arguments = backup_arguments(WEEK, &[("pvc", &source)]);
        arguments.extend(["--exclude=*.tmp".into()]);
        arguments.extend(more.iter().map(Into::into));
        arguments
    };
    let ran = vault.run(arguments(&["--exclude-caches"])).expect(0);
    // The file that a pattern matches, what is in the cache, and what a restore left behind.
    assert_eq!(ran.json()["sources"][0]["skipped"], 3);
    let leftover = ("a/.weekvault-1f-67f4d2e805f5e100-0", Leftover);
    let (left_out, entries) = told(&vault);
    assert_eq!(left_out, places(&[leftover, ("a/cache", Cache), ("a/empty-cache", Cache)]));
    assert!(
        entries.contains(&"a/cache/CACHEDIR.TAG".to_owned()) && !entries.contains(&"a/cache/deep".to_owned())
    );
    assert!(entries.contains(&".weekvault-notes".to_owned()), "{entries:?}");
    vault.verify();
    vault.run(arguments(&[])).expect(0);
    assert_eq!(told(&vault).0, places(&[leftover]));
    fs::remove_file(source.join(leftover.0)).unwrap();
    vault.run(arguments(&[])).expect(0);
    assert_eq!(told(&vault).0, []);
}

/// Backs the source up where a command has mounted things, in a namespace of its own.
fn backup_with_mounts(vault: &Vault, source: &Path, mounts: &str, more: &[&str]) -> Option<Ran> {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("cd \"$0\" && {mounts} && \"$@\"")]).arg(source);
    let inner = vault.command();
    command.arg(inner.get_program()).args(inner.get_args());
    command.args(backup_arguments(WEEK, &[("pvc", source)])).args(more);
    let probe = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        skip("what is mounted", "mounting is not allowed here");
        return None;
    }
    Some(Ran::of(command))
}

#[test]
fn mount_points_are_recorded_directories_and_files() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    put(source.join("data/file"), "file");
    put(source.join("data/other"), "other");
    for name in ["bind", "tmpfs"] {
        fs::create_dir(source.join(name)).unwrap();
    }
    put(source.join("config"), "of the image");
    // The same file system again, another one, and a file over a file, as a pod's volumes are.
    let mounts = "mount --bind data bind && mount -t tmpfs none tmpfs && echo inner >tmpfs/inner && \
                  mount --bind data/file config";
    let Some(ran) = backup_with_mounts(&vault, &source, mounts, &[]) else { return };
    ran.expect(0);
    let (left_out, entries) = told(&vault);
    assert_eq!(left_out, places(&[("bind", Mount), ("config", Mount), ("tmpfs", Mount)]));
    assert_eq!(entries, [".", "bind", "data", "data/file", "data/other", "tmpfs"]);
    let ran = backup_with_mounts(&vault, &source, mounts, &["--cross-filesystems"]).unwrap();
    ran.expect(0);
    let (left_out, entries) = told(&vault);
    assert_eq!(left_out, []);
    assert!(["bind/file", "config", "tmpfs/inner"].iter().all(|p| entries.contains(&(*p).to_owned())));
}

#[test]
fn the_lower_layer_of_an_overlay_is_no_mount() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    fs::create_dir(&source).unwrap();
    // Lower and upper are file systems of their own: files of the lower one keep its device.
    let mounts = "mount -t tmpfs none /mnt && mkdir /mnt/l /mnt/u && mount -t tmpfs none /mnt/l && \
                  mkdir /mnt/l/dir /mnt/u/up /mnt/u/work && echo low >/mnt/l/dir/low && \
                  mount -t overlay none -o lowerdir=/mnt/l,upperdir=/mnt/u/up,workdir=/mnt/u/work \"$0\" && \
                  echo up >\"$0/up\"";
    let Some(ran) = backup_with_mounts(&vault, &source, mounts, &[]) else { return };
    if ran.stderr.contains("mount:") {
        return skip("an overlay", "it cannot be mounted here");
    }
    ran.expect(0);
    let (left_out, entries) = told(&vault);
    assert_eq!((left_out, entries), (vec![], [".", "dir", "dir/low", "up"].map(str::to_owned).to_vec()));
}

/// Restores in place and deletes what is extra.
fn restore_and_delete(vault: &Vault, source: &Path) {
    vault.restore(WEEK, "pvc", source, &["--delete"]).expect(0);
}

#[test]
fn a_restore_deletes_nothing_that_the_backup_did_not_look_at() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    put(source.join("cache/CACHEDIR.TAG"), TAG);
    put(source.join("cache/deep/object"), "object");
    put(source.join("file"), "file");
    let mut arguments = backup_arguments(WEEK, &[("pvc", &source)]);
    arguments.push("--exclude-caches".into());
    vault.run(arguments).expect(0);
    put(source.join("extra/file"), "extra");
    put(source.join(".weekvault-1f-67f4d2e805f5e100-0"), "half a file");
    restore_and_delete(&vault, &source);
    assert!(source.join("cache/deep/object").exists());
    assert!(!source.join("extra").exists() && !source.join(".weekvault-1f-67f4d2e805f5e100-0").exists());
}

#[test]
fn a_restore_spares_a_cache_whose_manifest_does_not_tell_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    // As an older version's manifest has a cache directory: the tag and nothing else.
    put(source.join("cache/CACHEDIR.TAG"), TAG);
    put(source.join("no-cache/CACHEDIR.TAG"), "no signature");
    vault.backup(WEEK, &[("pvc", &source)]);
    for name in ["cache/object", "no-cache/object"] {
        put(source.join(name), "object");
    }
    restore_and_delete(&vault, &source);
    assert!(source.join("cache/object").exists() && !source.join("no-cache/object").exists());
}

#[test]
fn a_restore_deletes_nothing_of_what_was_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let (vault, source) = (Vault::new(dir.path().join("store")), dir.path().join("source"));
    fs::create_dir_all(source.join("volume")).unwrap();
    put(source.join("config"), "of the image");
    let mounts =
        "mount -t tmpfs none volume && echo inner >volume/inner && mount --bind /etc/hostname config";
    let Some(ran) = backup_with_mounts(&vault, &source, mounts, &[]) else { return };
    ran.expect(0);
    put(source.join("volume/inner"), "not mounted now");
    put(source.join("extra"), "extra");
    restore_and_delete(&vault, &source);
    assert!(source.join("volume/inner").exists() && source.join("config").exists());
    assert!(!source.join("extra").exists());
}
