//! Golden stores: made once by the program of their day, readable for ever.
//!
//! Each folder of `tests/golden/` has a `store/`, of which two weeks of two sources are published and one is in the
//! trash, and `expected.jsonl`: what its manifests say, a line for each manifest and each of its entries, as
//! `describe` puts it. The tests work on copies.
//!
//! # Making new ones
//!
//! A golden store is never changed, nor made anew: it is there to show what older programs left behind. When the format
//! gets a new version, or something new without one, *add* stores that have it, under a name that is not there yet:
//!
//! ```console
//! # WEEKVAULT_GOLDEN=v3 cargo test --locked --test format -- --ignored --nocapture make_golden_stores
//! ```
//!
//! makes `v3-default` and `v3-small` (of tiny chunks), with `plant` for the trees; it refuses where one of them exists.
//! `WEEKVAULT_GOLDEN=v2-sealed` makes the sealed one, of which `golden_sealed.rs` tells more.
//! That takes root, for devices and owners, `setpriv`, for a run that cannot read everything, and an ext4 or btrfs in
//! `/tmp`, for far times. Then look at the stores' size (`du -sh`, together a few hundred KB at most) and commit them.

use crate::common;
use crate::common::{Ran, Vault, is_root, skip};
use crate::golden_sealed::{
    self, KeyFolder, back_up_sealed, has_age, is_blind, make_sealed_golden_store, writer_keys,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use weekvault::archive::{Archive, Manifest, NewStore};
use weekvault::format::{ChunkSizes, Keys, Section, encode_summary};
use weekvault::model::{Entry, Extent, Kind, Meta, Owners, RunId, Silent, Timestamp, WeekRef};
use weekvault::ops::Run;
use weekvault::ops::backup::{BackupOptions, Labels, Source, backup};
use weekvault::store::LocalStore;
use weekvault::tree::{Excludes, WalkOptions};

pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
pub(super) const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/read_store.py");
/// The week of a new backup, after all golden ones.
pub(super) const NEXT: &str = "2025-15";

/// A golden store.
pub(super) struct Golden {
    pub(super) name: String,
    folder: PathBuf,
}

/// A copy of a golden store, to work on.
pub(super) struct Copy {
    folder: TempDir,
    pub(super) vault: Vault,
    /// Where it is sealed.
    pub(super) keys: Option<KeyFolder>,
}

/// All golden stores; none in a package of the crate, which has not got them.
pub(super) fn golden_stores() -> Vec<Golden> {
    let Ok(folders) = fs::read_dir(ROOT) else {
        skip("golden stores", "this copy of the crate has no tests/golden");
        return Vec::new();
    };
    let golden =
        |path: PathBuf| Golden { name: path.file_name().unwrap().to_str().unwrap().to_owned(), folder: path };
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut stores: Vec<Golden> = folders.map(golden).collect();
    stores.sort_by(|a, b| a.name.cmp(&b.name));
    for version in ["v1-default", "v1-small", golden_sealed::NAME] {
        assert!(stores.iter().any(|s| s.name == version), "{version} is gone: golden stores are for ever");
    }
    stores
}

impl Golden {
    pub(super) fn copy(&self) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        copy_folder(&self.folder.join("store"), &store);
        Copy { folder, vault: Vault::new(store), keys: KeyFolder::of(&self.folder) }
    }

    /// The lines of `expected.jsonl`, by manifest: what it says of itself, then its entries.
    fn expected(&self) -> BTreeMap<String, Vec<Value>> {
        let text = fs::read_to_string(self.folder.join("expected.jsonl")).unwrap();
        let mut manifests: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(manifest) = line["manifest"].as_str() {
                manifest.clone_into(&mut name);
            }
            manifests.entry(name.clone()).or_default().push(line);
        }
        manifests
    }
}

impl Copy {
    /// As whoever can read it opens it.
    fn archive(&self) -> Archive {
        let archive = Archive::open(Arc::new(LocalStore::new(&self.vault.store, RunId(1)))).unwrap();
        let keys = self.keys.as_ref().map_or(Keys::Plain, |keys| keys.reader(&self.vault.store));
        archive.with_keys(keys)
    }

    /// Runs the program, which can read the store.
    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        let mut command = self.vault.command();
        command.args(arguments);
        if let Some(keys) = &self.keys {
            command.arg("--identity").arg(keys.identity());
        }
        Ran::of(command)
    }

    /// Backs up as whoever writes to it; the sources' part of the report.
    fn back_up(&self, week: &str, sources: &[(&str, &Path)]) -> Vec<Value> {
        match &self.keys {
            None => self.vault.backup(week, sources),
            Some(keys) => back_up_sealed(&self.vault, keys, week, sources),
        }
    }

    /// Its published manifests.
    pub(super) fn manifests(&self) -> Vec<Manifest> {
        let archive = self.archive();
        let refs = archive.manifests().unwrap();
        refs.iter().map(|m| archive.open_manifest(&m.id).unwrap()).collect()
    }

    fn materialize(&self, manifest: &Manifest, owners: &str, target: &Path) {
        let week = manifest.id().week.to_string();
        let pvc = manifest.id().pvc.to_string();
        let mut arguments: Vec<&OsStr> =
            ["materialize", owners, "--week", &week, "--pvc", &pvc].map(OsStr::new).into();
        arguments.push(target.as_os_str());
        let ran = self.run(arguments);
        // Elsewhere than in the hands of root some things cannot be made.
        if ran.code == Some(1) && !able() {
            skip(
                &format!("some paths of {}", manifest.id()),
                "not root, or a file system without attributes",
            );
        } else {
            ran.expect(0);
        }
    }
}

fn copy_folder(source: &Path, target: &Path) {
    fs::create_dir(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), target.join(entry.file_name()))
        };
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Whether all that the golden trees have can be made here.
fn able() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (file, device) = (folder.path().join("file"), folder.path().join("device"));
    fs::write(&file, "").unwrap();
    let attributes = ["user.x", "security.capability"];
    is_root()
        && chown(&file, Some(4242), Some(4243)).is_ok()
        && attributes.iter().all(|name| set_xattr(&file, name, &capability()).is_ok())
        && set_xattr(&file, "system.posix_acl_access", &acl()).is_ok()
        && make_node(&device, FileType::CharacterDevice, 4095, 1_048_575).is_ok()
        && FAR_TIMES.iter().all(|(_, secs, nanos)| {
            set_mtime(&file, *secs, *nanos);
            let stat = fs::metadata(&file).unwrap();
            (stat.mtime(), stat.mtime_nsec()) == (*secs, *nanos)
        })
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = walkdir::WalkDir::new(folder).into_iter().map(|found| found.unwrap().into_path());
    found.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A manifest and its entries, a value each. Golden stores are compared with it: what is added later has to be left out
/// where old entries have none of it.
pub(super) fn describe(manifest: &Manifest) -> Vec<Value> {
    let bytes = encode_summary(manifest.summary()).unwrap();
    let summary: Value = serde_json::from_slice(&bytes).unwrap();
    let Owners { users, groups } = manifest.owners().unwrap();
    let names =
        |table: &[(u32, Vec<u8>)]| table.iter().map(|(id, name)| json!([id, text(name)])).collect::<Vec<_>>();
    let row =
        |o: &weekvault::model::ObjectRow| json!([o.id.to_string(), o.chunk_length, o.stored_length, o.used]);
    let mut lines = vec![json!({
        "manifest": manifest.id().to_string(),
        "digest": manifest.reader().digest().to_string(),
        "summary": summary,
        "users": names(&users),
        "groups": names(&groups),
        "objects": manifest.objects().unwrap().iter().map(row).collect::<Vec<_>>(),
        "missing": manifest.problems().unwrap().iter()
            .map(|p| json!([text(p.path.as_bytes()), p.operation, p.error])).collect::<Vec<_>>(),
    })];
    if let Some(head) = &manifest.summary().head {
        let before = head.before.iter().map(|(sequence, digest)| json!([sequence, digest.to_string()]));
        lines[0]["head"] = json!({
            "writer": manifest.writer().map(|writer| writer.to_string()),
            "sequence": head.sequence,
            "before": before.collect::<Vec<_>>(),
            "same": blake3::Hash::from_bytes(head.same).to_string(),
            "since": head.since.secs,
            "empty": head.is_empty,
        });
    }
    for entry in manifest.entries().unwrap() {
        let (path, entry) = entry.unwrap();
        lines.push(describe_entry(path.as_bytes(), &entry));
    }
    lines
}

fn describe_entry(path: &[u8], entry: &Entry) -> Value {
    let Meta { mode, uid, gid, mtime, ctime, inode, xattrs } = &entry.meta;
    let time = |t: &Timestamp| json!([t.secs, t.nanos]);
    let mut line = json!({
        "path": text(path),
        "kind": entry.kind.letter().to_string(),
        "mode": format!("{mode:04o}"),
        "owner": [uid, gid],
        "mtime": time(mtime),
        "ctime": time(ctime),
        "inode": inode,
    });
    if !xattrs.is_empty() {
        line["xattrs"] = xattrs.iter().map(|x| json!([text(&x.name), text(&x.value)])).collect();
    }
    match &entry.kind {
        Kind::File(content) => {
            line["size"] = json!(content.size);
            line["blake3"] = json!(content.hash.to_string());
            if content.changed_while_read {
                line["changed_while_read"] = json!(true);
            }
            let extent = |extent: &Extent| match *extent {
                Extent::Slice { object, offset, length } => json!([object + 1, offset, length]),
                Extent::Hole { length } => json!([0, 0, length]),
            };
            line["extents"] = content.extents.iter().map(extent).collect();
        }
        Kind::Symlink(target) => line["target"] = json!(text(target)),
        Kind::HardLink(target) => line["target"] = json!(text(target.as_bytes())),
        Kind::CharDevice(d) | Kind::BlockDevice(d) => line["device"] = json!([d.major, d.minor]),
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    line
}

/// Bytes as text; of long ones their number and hash.
fn text(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=300 => bytes.escape_ascii().to_string(),
        length => format!("{length} bytes, BLAKE3 {}", blake3::hash(bytes)),
    }
}

/// Checks that `found` is what `expected` was written of. Only the summary may have members that were not there then.
#[track_caller]
fn assert_all_say(mut found: Vec<Value>, expected: &[Value], place: &str) {
    let members = expected.first().and_then(|m| m.get("summary")?.as_object());
    if let Some(members) = members {
        found[0]["summary"].as_object_mut().unwrap().retain(|name, _| members.contains_key(name));
    }
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{place}");
    }
    assert_eq!(found.len(), expected.len(), "{place}");
}

#[test]
fn golden_stores_say_what_they_always_said() {
    for golden in golden_stores() {
        let (copy, expected) = (golden.copy(), golden.expected());
        let before = files(&copy.vault.store);
        let manifests = copy.manifests();
        let names: BTreeSet<String> = manifests.iter().map(|m| m.id().to_string()).collect();
        assert_eq!(names, expected.keys().cloned().collect(), "{}", golden.name);
        for manifest in &manifests {
            let place = format!("{} {}", golden.name, manifest.id());
            let expected = &expected[&manifest.id().to_string()];
            assert_all_say(describe(manifest), expected, &place);
        }
        assert_rich(&manifests);
        list_and_ls(&copy, &manifests);
        let report = copy.vault.verify();
        assert_eq!(report["manifests"], manifests.len(), "{report}");
        assert!(files(&copy.vault.store) == before, "{}: looking changes nothing", golden.name);
    }
}

/// Checks that the manifests have what they are for.
fn assert_rich(manifests: &[Manifest]) {
    let (mut kinds, mut xattrs, mut extents, mut holes) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    for manifest in manifests {
        for entry in manifest.entries().unwrap() {
            let (_, entry) = entry.unwrap();
            kinds.insert(entry.kind.letter());
            xattrs.extend(entry.meta.xattrs.into_iter().map(|x| x.name));
            if let Kind::File(content) = entry.kind {
                let is_hole = |e: &&Extent| matches!(e, Extent::Hole { .. });
                holes += content.extents.iter().filter(is_hole).count();
                extents = extents.max(content.extents.len());
            }
        }
    }
    assert_eq!(kinds.len(), 8, "all kinds of entries: {kinds:?}");
    for name in ["user.one", "system.posix_acl_access", "system.posix_acl_default", "security.capability"] {
        assert!(xattrs.contains(name.as_bytes()), "{name}");
    }
    assert!(extents > 1 && holes > 1, "{extents} extents of a file, {holes} holes");
    let entries = |m: &Manifest| m.reader().blocks().iter().filter(|b| b.section == Section::Entries).count();
    assert!(manifests.iter().any(|m| entries(m) > 1), "a second block of entries");
    assert!(
        manifests.iter().any(|m| m.id().partial && !m.problems().unwrap().is_empty()),
        "a partial manifest"
    );
}

/// Checks that the program shows these manifests, and what is in them.
fn list_and_ls(copy: &Copy, manifests: &[Manifest]) {
    let listed = copy.run(["list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().unwrap().len(), manifests.len(), "{listed}");
    for (listed, manifest) in listed.as_array().unwrap().iter().zip(manifests) {
        let (id, counts) = (manifest.id(), *manifest.summary().counts().unwrap());
        assert_eq!(listed["week"], id.week.to_string());
        assert_eq!(listed["pvc"], id.pvc.to_string());
        assert_eq!((&listed["partial"], &listed["files"]), (&json!(id.partial), &json!(counts.files)));
        let (week, pvc) = (id.week.to_string(), id.pvc.to_string());
        let ls = |options: &[&str]| {
            let which = ["ls", "--week", &week, "--pvc", &pvc];
            copy.run(which.iter().chain(options)).expect(0).stdout
        };
        assert_eq!(ls(&["-lR"]).lines().count() as u64, counts.entries - 1, "{id}, without the root");
        let shown = ls(&["-R", "--json"]);
        let hash =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["blake3"].as_str().map(str::to_owned);
        let expected = manifest.entries().unwrap().filter_map(|entry| match entry.unwrap().1.kind {
            Kind::File(content) => Some(content.hash.to_string()),
            _ => None,
        });
        assert_eq!(shown.lines().filter_map(hash).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{id}");
    }
}

#[test]
fn files_of_golden_stores_come_back() {
    for golden in golden_stores() {
        let copy = golden.copy();
        for (number, manifest) in copy.manifests().iter().enumerate() {
            let target = copy.folder.path().join(number.to_string());
            copy.materialize(manifest, "--no-owner", &target);
            assert_tree(manifest, &target);
        }
    }
}

/// Checks kinds and contents of a tree; modes, times, owners and attributes are for `golden_stores_take_new_backups`.
fn assert_tree(manifest: &Manifest, target: &Path) {
    let (mut files, mut missing) = (0, BTreeSet::new());
    for entry in manifest.entries().unwrap() {
        let (name, entry) = entry.unwrap();
        let place = format!("{} {name}", manifest.id());
        let path = name.below(target);
        let Ok(stat) = fs::symlink_metadata(&path) else {
            let special = match &entry.kind {
                Kind::CharDevice(_) | Kind::BlockDevice(_) => true,
                Kind::HardLink(first) => missing.contains(first),
                _ => false,
            };
            assert!(special && !able(), "{place} is missing");
            missing.insert(name);
            continue;
        };
        let file_type = FileType::from_raw_mode(stat.mode());
        let device = |major, minor| (rustix::fs::makedev(major, minor), stat.rdev());
        match entry.kind {
            Kind::Directory => {
                assert_eq!(file_type, FileType::Directory, "{place}");
                open_up(&path, 0o700);
            }
            Kind::File(content) => {
                open_up(&path, 0o600);
                let bytes = fs::read(&path).unwrap();
                assert_eq!(bytes.len() as u64, content.size, "{place}");
                assert_eq!(blake3::hash(&bytes).to_string(), content.hash.to_string(), "{place}");
                files += 1;
            }
            Kind::Symlink(link) => {
                assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), link, "{place}");
            }
            Kind::HardLink(first) => {
                let first = fs::symlink_metadata(first.below(target)).unwrap();
                assert_eq!((first.dev(), first.ino()), (stat.dev(), stat.ino()), "{place}");
            }
            Kind::Fifo => assert_eq!(file_type, FileType::Fifo, "{place}"),
            Kind::Socket => assert_eq!(file_type, FileType::Socket, "{place}"),
            Kind::CharDevice(d) => {
                let (wanted, found) = device(d.major, d.minor);
                assert_eq!((file_type, found), (FileType::CharacterDevice, wanted), "{place}");
            }
            Kind::BlockDevice(d) => {
                let (wanted, found) = device(d.major, d.minor);
                assert_eq!((file_type, found), (FileType::BlockDevice, wanted), "{place}");
            }
        }
    }
    assert_eq!(files, manifest.details().unwrap().counts.files);
}

/// Lets others than root see what is there.
fn open_up(path: &Path, mode: u32) {
    if !is_root() {
        set_mode(path, mode);
    }
}

#[test]
fn golden_stores_take_new_backups() {
    let able = able();
    let owners = if able { "--numeric-owner" } else { "--no-owner" };
    for golden in golden_stores() {
        let copy = golden.copy();
        let before = copy.manifests();
        let latest: Vec<&Manifest> = ["enigma", "html"]
            .map(|pvc| before.iter().rfind(|m| m.id().pvc.as_str() == pvc).unwrap())
            .into_iter()
            .collect();
        let mut sources = Vec::new();
        for manifest in &latest {
            let target = copy.folder.path().join(manifest.id().pvc.as_str());
            copy.materialize(manifest, owners, &target);
            if !able {
                assert_tree(manifest, &target);
            }
            sources.push((manifest.id().pvc.as_str(), target));
        }
        let sources: Vec<(&str, &Path)> = sources.iter().map(|(pvc, path)| (*pvc, path.as_path())).collect();
        for report in copy.back_up(NEXT, &sources) {
            assert_all_there(&copy, &report);
        }
        let report = copy.vault.verify();
        assert_eq!(report["manifests"], before.len() + 2, "{report}");
        let archive = copy.archive();
        for old in latest {
            let new = WeekRef::Exact(NEXT.parse().unwrap());
            let new = archive.open_manifest(&archive.find_manifest(new, &old.id().pvc).unwrap()).unwrap();
            let place = format!("{} {}", golden.name, new.id());
            let compared = copy.keys.is_none() || !is_blind(old.id().pvc.as_str());
            assert_eq!(
                new.summary().details.as_ref().unwrap().compared_with,
                compared.then(|| old.reader().digest()),
                "{place}"
            );
            assert_all_say(restorable(&new, able), &restorable(old, able), &place);
        }
        for report in copy.back_up(NEXT, &sources) {
            assert_eq!(report["new_objects"], 0, "{}: once more: {report}", golden.name);
        }
    }
}

/// Checks that a backup of what was restored found it all in the store.
#[track_caller]
fn assert_all_there(copy: &Copy, report: &Value) {
    if copy.keys.is_none() {
        return assert_eq!(report["new_objects"], 0, "{report}");
    }
    // The writer of a sealed store opens no object to compare with, so it cuts what was touched anew: small files are in other
    // company then, and large ones in the chunks that are there.
    let is_blind = is_blind(report["pvc"].as_str().unwrap());
    let unchanged = if is_blind { json!(0) } else { report["files"].clone() };
    assert_eq!(report["unchanged"], unchanged, "{report}");
    assert!(report["new_chunk_bytes"].as_u64().unwrap() < 20_000, "{report}");
}

/// The entries of a manifest, with what a restore can bring back.
fn restorable(manifest: &Manifest, able: bool) -> Vec<Value> {
    let mut entries = describe(manifest);
    entries.remove(0);
    let mut lost = vec!["ctime", "inode", "extents"];
    if !able {
        entries.retain(|entry| entry["kind"] != "c" && entry["kind"] != "b");
        entries.retain(|entry| entry["target"] != "special/null");
        lost.extend(["owner", "xattrs", "mode", "mtime"]);
    }
    for entry in &mut entries {
        let members = entry.as_object_mut().unwrap();
        members.retain(|name, _| !lost.contains(&name.as_str()));
    }
    entries
}

#[test]
fn what_golden_stores_retired_can_be_had_back() {
    for golden in golden_stores() {
        let copy = golden.copy();
        let (store, published) = (&copy.vault.store, copy.manifests().len());
        // By hand, as docs/format.md has it: the trash holds files under the paths they had.
        let (mut manifests, mut objects) = (0, 0);
        for day in fs::read_dir(store.join("trash")).unwrap() {
            let day = day.unwrap().path();
            for path in files(&day).into_keys() {
                let place = store.join(path.strip_prefix(&day).unwrap());
                if place.exists() {
                    continue;
                }
                let kind =
                    if place.starts_with(store.join("objects")) { &mut objects } else { &mut manifests };
                *kind += 1;
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                fs::rename(path, place).unwrap();
            }
        }
        assert!(manifests > 0 && objects > 0, "{}: {manifests} manifests, {objects} objects", golden.name);
        copy.vault.verify();
        let all = copy.manifests();
        assert_eq!(all.len(), published + manifests);
        // The other way round: what is published is read from the trash, too, and brought back.
        let trash = store.join("trash/2025-04-09");
        fs::create_dir(&trash).unwrap();
        fs::rename(store.join("objects"), trash.join("objects")).unwrap();
        // In a store that was sealed later, a plain one and a sealed one.
        for manifest in [all.first(), all.last()].into_iter().flatten() {
            let target = copy.folder.path().join(manifest.id().to_string().replace('/', "-"));
            copy.materialize(manifest, "--no-owner", &target);
            assert_tree(manifest, &target);
        }
        copy.vault.run(["gc", "--json"]).expect(0);
        assert_eq!(copy.vault.verify()["unreferenced_objects"], 0);
    }
}

#[test]
fn the_script_reads_golden_stores() {
    for golden in golden_stores() {
        let copy = golden.copy();
        if copy.keys.is_some() && !has_age() {
            skip(&format!("read_store.py on {}", golden.name), "no age here");
            continue;
        }
        for manifest in copy.manifests() {
            let script = |path: Option<&[u8]>| {
                let mut command = Command::new("/usr/bin/python3");
                let id = manifest.id();
                let pvc = if id.partial { format!("{}.partial", id.pvc) } else { id.pvc.to_string() };
                command.arg(SCRIPT).arg(&copy.vault.store).arg(id.week.to_string()).arg(pvc);
                if let Some(keys) = &copy.keys {
                    command.arg("--identity").arg(keys.identity());
                }
                let output = command.args(path.map(OsStr::from_bytes)).output().unwrap();
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() && told.is_empty(), "{} {id}: {told}", golden.name);
                output.stdout
            };
            let entries: Vec<_> = manifest.entries().unwrap().map(Result::unwrap).collect();
            let listed = script(None).iter().filter(|b| **b == b'\n').count();
            assert_eq!(listed, entries.len(), "{} {}", golden.name, manifest.id());
            // Those of several extents; the others are alike, and each takes a process.
            for (path, entry) in &entries {
                let Kind::File(content) = &entry.kind else { continue };
                if content.extents.len() > 1 {
                    let hash = blake3::hash(&script(Some(path.as_bytes()))).to_string();
                    assert_eq!(hash, content.hash.to_string(), "{} {} {path}", golden.name, manifest.id());
                }
            }
        }
    }
}

// What follows makes golden stores.

/// A moment in each of the weeks.
pub(super) const WEEKS: [&str; 3] = ["2025-12", "2025-13", "2025-14"];
/// The day of the trash.
const RETIRED: &str = "2025-04-08";
/// What is left out of the backups.
const EXCLUDED: &str = "*.tmp";
pub(super) const CREATED: Timestamp = Timestamp { secs: 1_743_300_000, nanos: 0 };
const FAR_TIMES: [(&str, i64, i64); 5] = [
    ("1901", -2_147_483_648, 0),
    ("just before 1970", -1, 999_999_999),
    ("1970", 0, 0),
    ("2106", 4_294_967_296, 987_654_321),
    ("2446", 15_032_385_535, 0),
];

/// Bytes that neither compress nor repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Bytes that compress well: numbered pages.
fn pages(seed: u64, length: usize) -> Vec<u8> {
    let page = noise(seed, 4080);
    let pages = (0..).flat_map(|number| [format!("page {number:011}").into_bytes(), page.clone()].concat());
    pages.take(length).collect()
}

/// An ACL of a user and a group more, as the kernel lays it out: version, then tag, permissions and number of each.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 6] =
        [(1, 6, u32::MAX), (2, 7, 1001), (4, 4, u32::MAX), (8, 5, 100), (16, 7, u32::MAX), (32, 0, u32::MAX)];
    let entry = |(tag, rights, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [vec![2, 0, 0, 0], entries.map(entry).concat()].concat()
}

/// `cap_net_bind_service,cap_net_raw+ep`, as the kernel lays it out.
fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 10 | 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat()
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
}

fn make_node(path: &Path, kind: FileType, major: u32, minor: u32) -> rustix::io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR | Mode::RGRP, device)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
    let time = Timespec { tv_sec: secs, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What differs between the golden stores.
pub(super) struct Variant {
    name: &'static str,
    pub(super) chunks: ChunkSizes,
    /// The content of a file of several chunks.
    large: fn() -> Vec<u8>,
    /// The content of a file that is large enough for chunks of its own.
    retired: fn() -> Vec<u8>,
}

pub(super) fn variants() -> [Variant; 2] {
    let small = ChunkSizes { min: 4096, avg: 16_384, max: 65_536 };
    [
        Variant {
            name: "default",
            chunks: ChunkSizes::default(),
            large: || pages(2, 5 << 20),
            retired: || pages(3, 1 << 20),
        },
        Variant { name: "small", chunks: small, large: || noise(2, 45_000), retired: || noise(3, 17_000) },
    ]
}

pub(super) fn put(path: PathBuf, content: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// The trees of the first week: all kinds of entries in `enigma`, enough for a second block of entries in `html`.
pub(super) fn plant(root: &Path, variant: &Variant) {
    let enigma = root.join("enigma");
    let at = |path: &str| enigma.join(path);
    for (path, content) in
        [("a.txt", "one\n"), ("a/z", "two\n"), ("a-b", "three\n"), ("empty", ""), ("turns/into a file", "x")]
    {
        put(at(path), content);
    }
    fs::create_dir(at("empty folder")).unwrap();
    // Contents.
    for path in ["same/one", "same/two", "same/three"] {
        put(at(path), noise(1, 3000));
    }
    put(at("retired later"), (variant.retired)());
    for path in ["large", "large again"] {
        put(at(path), (variant.large)());
    }
    put(at("zeros"), vec![0; 100_000]);
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len((3 << 20) + 1).unwrap();
    sparse.write_all_at(b"in between", (2 << 20) + 4095).unwrap();
    // Links and special files.
    put(at("links/first"), "linked");
    for (path, target) in [("latest", &b"../a.txt"[..]), ("odd", b"\xff\n \\ *"), ("itself", b"itself")] {
        symlink(OsStr::from_bytes(target), at("links").join(path)).unwrap();
    }
    fs::create_dir(at("special")).unwrap();
    for (path, kind, major, minor) in [
        ("fifo", FileType::Fifo, 0, 0),
        ("socket", FileType::Socket, 0, 0),
        ("null", FileType::CharacterDevice, 1, 3),
        ("high", FileType::CharacterDevice, 4095, 1_048_575),
        ("whiteout", FileType::CharacterDevice, 0, 0),
        ("block", FileType::BlockDevice, 7, 99),
    ] {
        make_node(&at("special").join(path), kind, major, minor).unwrap();
    }
    for (first, second) in [
        ("links/first", "links/second"),
        ("links/first", "a/third"),
        ("links/latest", "links/latest too"),
        ("special/null", "special/null too"),
    ] {
        rustix::fs::linkat(CWD, at(first), CWD, at(second), AtFlags::empty()).unwrap();
    }
    // Names.
    let long = vec![b'y'; 255];
    let names: [&[u8]; 12] = [
        b"-rf",
        b" ",
        b"new\nline",
        b"back\\slash",
        b"a*b?[c]{d}",
        b"'\"",
        b"...",
        b".hidden",
        "\u{e4} a\u{308} \u{1f512}".as_bytes(),
        b"\xff\xfe",
        b"\x01\x7f",
        &long,
    ];
    for name in names {
        put(at("names").join(OsStr::from_bytes(name)), name);
    }
    plant_metadata(&enigma);
    plant_html(&root.join("html"));
}

fn plant_metadata(enigma: &Path) {
    let at = |path: &str| enigma.join(path);
    for mode in [0, 0o400, 0o1644, 0o2755, 0o4755, 0o7777] {
        let (file, folder) = (at(&format!("modes/file {mode:o}")), at(&format!("modes/folder {mode:o}")));
        put(file.clone(), format!("{mode:o}"));
        put(folder.join("inside"), "");
        for path in [&file, &folder] {
            chown(path, Some(33), Some(4243)).unwrap();
            set_mode(path, mode);
        }
    }
    put(at("owned"), "by numbers without names");
    chown(at("owned"), Some(4242), Some(u32::MAX - 1)).unwrap();
    lchown(at("links/odd"), Some(77), Some(88)).unwrap();
    put(at("attributes/file"), "has some");
    put(at("attributes/acl"), "for some");
    put(at("attributes/capable"), "of some");
    fs::create_dir(at("attributes/folder")).unwrap();
    put(at("attributes/folder/inside"), "made before the default");
    for path in ["attributes/file", "attributes/folder", ""] {
        set_xattr(&at(path), "user.one", b"1").unwrap();
        set_xattr(&at(path), "user.none", b"").unwrap();
        set_xattr(&at(path), "user.binary\n\u{e4} name", &[0, 255, 10, 0]).unwrap();
    }
    set_xattr(&at("attributes/file"), "user.long", &noise(4, 500)).unwrap();
    set_xattr(&at("attributes/acl"), "system.posix_acl_access", &acl()).unwrap();
    set_xattr(&at("attributes/folder"), "system.posix_acl_access", &acl()).unwrap();
    set_xattr(&at("attributes/folder"), "system.posix_acl_default", &acl()).unwrap();
    set_xattr(&at("attributes/capable"), "security.capability", &capability()).unwrap();
    for (name, secs, nanos) in FAR_TIMES {
        let (file, folder, link) = (
            at(&format!("times/{name}")),
            at(&format!("times/{name} folder")),
            at(&format!("times/{name} link")),
        );
        put(file.clone(), name);
        put(folder.join("inside"), "");
        symlink(name, &link).unwrap();
        for path in [file, folder, link] {
            set_mtime(&path, secs, nanos);
            let stat = fs::symlink_metadata(&path).unwrap();
            assert_eq!((stat.mtime(), stat.mtime_nsec()), (secs, nanos), "the file system keeps {name}");
        }
    }
    chown(enigma, Some(33), Some(33)).unwrap();
    set_mode(enigma, 0o3751);
    age(enigma);
}

/// Gives the root a time from before 1970.
fn age(enigma: &Path) {
    set_mtime(enigma, -1_234_567_890, 123_456_789);
}

fn plant_html(html: &Path) {
    put(html.join("index.php"), "<?php phpinfo();\n");
    put(html.join("config/config.inc.php"), "<?php\n$config = [];\n");
    put(html.join("private/key"), "secret");
    fs::hard_link(html.join("private/key"), html.join("private/second name")).unwrap();
    put(html.join("closed/file"), "behind a closed door");
    put(html.join("logs/errors.log"), "[08-Apr-2025 03:10:00 +0000]: <abcdef> PHP Error\n".repeat(100));
    put(html.join("logs/session.tmp"), "left out");
    // Records of 4 KB each, so that the entries take two blocks, of which the second begins in this folder.
    fs::create_dir(html.join("many")).unwrap();
    for number in 0..66 {
        let target = [format!("{number:015}").as_bytes(), &[b'/'; 4080]].concat();
        symlink(OsStr::from_bytes(&target), html.join(format!("many/{number:02}"))).unwrap();
    }
}

/// What changes after the first week.
pub(super) fn change_first(root: &Path) {
    fs::remove_file(root.join("enigma/retired later")).unwrap();
    age(&root.join("enigma"));
}

/// What changes after the second week.
pub(super) fn change_second(root: &Path, variant: &Variant) {
    let enigma = root.join("enigma");
    let at = |path: &str| enigma.join(path);
    put(at("a.txt"), "one, and more\n");
    fs::remove_file(at("a-b")).unwrap();
    fs::remove_dir_all(at("turns")).unwrap();
    put(at("turns"), "into a file");
    put(at("new/file"), "is new\n");
    fs::rename(at("same/two"), at("new/moved")).unwrap();
    set_mode(&at("same/one"), 0o600);
    set_mtime(&at("same/three"), 1_744_000_000, 1);
    // Some bytes more at the start, and the rest moves.
    put(at("large"), [b"inserted".as_slice(), &(variant.large)()].concat());
    age(&enigma);
    fs::remove_dir_all(root.join("html/many")).unwrap();
    put(root.join("html/index.php"), "<?php echo 'changed';\n");
    for path in ["html/private/key", "html/closed"] {
        set_mode(&root.join(path), 0);
    }
}

/// One run of `backup`. By the library, since the program would note the name of the machine.
pub(super) fn back_up(archive: &Archive, week: &str, root: &Path, pvcs: &[&str]) {
    let source = |pvc: &&str| Source { pvc: pvc.parse().unwrap(), path: root.join(pvc) };
    let options = BackupOptions {
        walk: WalkOptions { excludes: Some(Excludes::new([EXCLUDED]).unwrap()), ..WalkOptions::everything() },
        ..BackupOptions::default()
    };
    let (excludes, host) = (vec![EXCLUDED.into()], "golden".into());
    let labels = Labels { excludes, host, ..Labels::of(week.parse().unwrap()) };
    let sources: Vec<Source> = pvcs.iter().map(source).collect();
    backup(Run::new(&archive.at_level(19), &Silent::default()).on(2), &sources, &labels, &options).unwrap();
}

/// Set to a store's folder: only the run without capabilities is made.
pub(super) const WITHOUT_CAPABILITIES: &str = "WEEKVAULT_GOLDEN_WITHOUT_CAPABILITIES";

/// A run in which even root cannot read what its mode forbids.
fn back_up_without_capabilities(store: &Path) {
    common::system(without_capabilities().env(WITHOUT_CAPABILITIES, store));
}

/// This program, to make nothing but that run.
pub(super) fn without_capabilities() -> Command {
    let mut again = Command::new("setpriv");
    again.arg("--bounding-set=-dac_override,-dac_read_search").arg(std::env::current_exe().unwrap());
    again.args(["--ignored", "--exact", "golden::make_golden_stores"]);
    again
}

/// The trash's folders are named by days: they get the day that the weeks suggest.
pub(super) fn date_trash(store: &Path) {
    for day in fs::read_dir(store.join("trash")).unwrap() {
        let day = day.unwrap();
        let name = day.file_name().into_string().unwrap();
        fs::rename(day.path(), store.join("trash").join(format!("{RETIRED}{}", &name[RETIRED.len()..])))
            .unwrap();
    }
}

/// Gives a golden store's files the modes that they have where git puts them, and takes away what it does not keep.
pub(super) fn as_git_leaves_it(golden: &Path) {
    let _ = fs::remove_file(golden.join("store/lock"));
    let _ = fs::remove_dir_all(golden.join("store/tmp"));
    for path in walkdir::WalkDir::new(golden).into_iter().map(|found| found.unwrap().into_path()) {
        set_mode(&path, if path.is_dir() { 0o755 } else { 0o644 });
    }
}

fn make_golden_store(name: &str, root: &Path, variant: &Variant) {
    let folder = Path::new(ROOT).join(name);
    if let Err(error) = fs::create_dir(&folder) {
        panic!("{}: {error}: golden stores are made once, and never anew", folder.display());
    }
    fs::create_dir(root).unwrap_or_else(|e| panic!("{}: {e}", root.display()));
    let store = folder.join("store");
    let id = blake3::hash(name.as_bytes()).to_string()[..32].to_owned();
    let new =
        NewStore { chunks: variant.chunks, created: CREATED, created_by: "weekvault's tests".into(), id };
    let archive = Archive::open_or_create(Arc::new(LocalStore::new(&store, RunId(1))), &new).unwrap();
    let vault = Vault::new(&store);
    plant(root, variant);
    back_up(&archive, WEEKS[0], root, &["enigma"]);
    change_first(root);
    back_up(&archive, WEEKS[1], root, &["enigma", "html"]);
    change_second(root, variant);
    back_up(&archive, WEEKS[2], root, &["enigma"]);
    put(root.join("enigma/new/file"), "is newer\n");
    // Replaces the week's manifest, of which the trash gets a copy.
    back_up(&archive, WEEKS[2], root, &["enigma"]);
    back_up_without_capabilities(&store);
    vault.run(["retain", "--keep", "2"]).expect(0);
    vault.run(["gc"]).expect(0);
    date_trash(&store);
    as_git_leaves_it(&folder);
    let refs = archive.manifests().unwrap();
    let lines = refs.iter().flat_map(|m| describe(&archive.open_manifest(&m.id).unwrap()));
    let expected: Vec<String> = lines.map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("expected.jsonl"), expected.concat()).unwrap();
    fs::remove_dir_all(root).unwrap();
    println!("made {}", folder.display());
}

#[test]
#[ignore = "makes golden stores for a new version; see the head of this file"]
fn make_golden_stores() {
    // A fixed place, since manifests say where their source was.
    let planted = Path::new("/tmp/weekvault-golden");
    if let Some(store) = std::env::var_os(WITHOUT_CAPABILITIES) {
        let archive = Archive::open(Arc::new(LocalStore::new(store, RunId(2)))).unwrap();
        let keys = std::env::var_os(golden_sealed::WRITER).map_or(Keys::Plain, writer_keys);
        let archive = archive.with_keys(keys);
        return back_up(&archive, WEEKS[2], planted, &["html"]);
    }
    let Some(version) = std::env::var_os("WEEKVAULT_GOLDEN").and_then(|v| OsString::into_string(v).ok())
    else {
        return skip("golden stores", "WEEKVAULT_GOLDEN does not say how to call them");
    };
    assert!(is_root(), "golden stores have devices and owners, which only root can make");
    if version == golden_sealed::NAME {
        return make_sealed_golden_store(planted);
    }
    for variant in variants() {
        make_golden_store(&format!("{version}-{}", variant.name), planted, &variant);
    }
}
