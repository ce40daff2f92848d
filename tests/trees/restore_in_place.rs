//! A restore into a tree that is there changes what differs, and nothing else.

use crate::common::{
    Inodes, Tree, Vault, assert_equal, assert_same_tree, backup_arguments, copy, inodes, is_root, rsync_says,
    skip, system,
};
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const WEEK: &str = "2025-14";

/// Something that is done to a path.
type Act<'a> = &'a dyn Fn(&Path);

/// A folder with a source, a store that has it, and a live tree that equals it; `live` is none of the source's inodes.
struct Setting {
    folder: TempDir,
    vault: Vault,
}

impl Setting {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(folder.path().join("store"));
        let setting = Self { folder, vault };
        plant(&setting.source());
        setting.back_up();
        copy(&setting.source(), &setting.live());
        setting
    }

    fn back_up(&self) {
        self.vault.backup(WEEK, &[("pvc", &self.source())]);
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn live(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    #[track_caller]
    fn restore(&self, more: &[&str]) -> Vec<String> {
        changes(&self.vault.restore(WEEK, "pvc", &self.live(), more).expect(0).stdout)
    }

    /// A dry run that must change nothing, then the real one that must print the same. What they printed, sorted.
    #[track_caller]
    fn restore_twice(&self, more: &[&str]) -> Vec<String> {
        let before = self.live().exists().then(|| inodes(&self.live()));
        let mut told = self.restore(&[more, &["--dry-run"]].concat());
        let after = self.live().exists().then(|| inodes(&self.live()));
        assert_eq!(before, after, "a dry run changed something");
        let mut done = self.restore(&[more, &["--verbose"]].concat());
        told.sort_unstable();
        done.sort_unstable();
        assert_eq!(told, done, "the dry run, and the real one");
        done
    }
}

/// The lines about changes, without the summary that ends them.
fn changes(stdout: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let summary = lines.pop().unwrap();
    assert!(summary.contains("already right"), "{stdout}");
    lines
}

/// A tree of some hundred paths.
fn plant(root: &Path) {
    for folder in 0..8 {
        let folder = root.join(format!("folder-{folder}"));
        fs::create_dir_all(folder.join("below/deep")).unwrap();
        for file in 0..10 {
            let text = format!("{} {file}\n", folder.display()).repeat(file * file * 50);
            fs::write(folder.join(format!("file-{file}")), &text).unwrap();
            fs::write(
                folder.join(format!("below/deep/file-{file}")),
                text.as_bytes().split_at(text.len() / 2).0,
            )
            .unwrap();
        }
        symlink("file-1", folder.join("symlink")).unwrap();
        fs::hard_link(folder.join("file-2"), folder.join("below/linked")).unwrap();
    }
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    for folder in ["folder-0", "folder-0/below", "folder-3/below/deep"] {
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o2750)).unwrap();
    }
    age(root);
}

/// Gives everything below `root` an old mtime, so that a look at mtimes alone finds what was just written.
fn age(root: &Path) {
    let touch = ["-exec", "touch", "--no-dereference", "--date=2024-02-29 12:34:56.123456789 UTC", "{}", "+"];
    system(Command::new("find").arg(root).args(touch));
}

fn mtime(path: &Path) -> Timestamps {
    let stat = path.symlink_metadata().unwrap();
    let last_modification = Timespec { tv_sec: stat.mtime(), tv_nsec: stat.mtime_nsec() };
    Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }, last_modification }
}

fn set_mtime(path: &Path, times: &Timestamps) {
    rustix::fs::utimensat(rustix::fs::CWD, path, times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes a change below a folder and gives the folder its mtime back.
fn unnoticed(path: &Path, change: impl FnOnce(&Path)) {
    let folder = path.parent().unwrap();
    let times = mtime(folder);
    change(path);
    set_mtime(folder, &times);
}

/// Makes ten paths differ, each in a way of its own, in ten folders; the paths, and the word that each should get.
fn break_ten(live: &Path) -> Vec<(String, &'static str)> {
    let owner = if is_root() { (1234, 4321) } else { (rustix::process::geteuid().as_raw(), 0) };
    let ways: [(&str, &'static str, Act<'_>); 10] = [
        ("folder-0/file-3", "rewrite", &|path| {
            let (times, mut bytes) = (mtime(path), fs::read(path).unwrap());
            bytes[7] ^= 1;
            fs::write(path, bytes).unwrap();
            set_mtime(path, &times);
        }),
        ("folder-0/below/deep/file-4", "rewrite", &|path| {
            fs::write(path, "another content and size").unwrap()
        }),
        ("folder-1/file-5", "metadata", &|path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o4711)).unwrap();
        }),
        ("folder-1/below/deep/file-5", "metadata", &|path| {
            let mut times = mtime(path);
            times.last_modification.tv_nsec += 1;
            set_mtime(path, &times);
        }),
        ("folder-2/file-6", "create", &|path| fs::remove_file(path).unwrap()),
        ("folder-2/below/deep/file-6", "replace", &|path| {
            fs::remove_file(path).unwrap();
            symlink("file-5", path).unwrap();
        }),
        ("folder-3/file-7", "replace", &|path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
        ("folder-3/below/deep/file-7", "metadata", &|path| {
            rustix::fs::lsetxattr(path, "user.odd", b"value", XattrFlags::empty()).unwrap();
        }),
        ("folder-4/symlink", "rewrite", &|path| {
            fs::remove_file(path).unwrap();
            symlink("file-9", path).unwrap();
        }),
        ("folder-4/file-8", "metadata", &|path| {
            if is_root() {
                chown(path, Some(owner.0), Some(owner.1)).unwrap();
            } else {
                skip("owners", "not root");
                fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
            }
        }),
    ];
    for (path, _, change) in &ways {
        unnoticed(&live.join(path), change);
    }
    ways.iter().map(|(path, word, _)| (path.to_string(), *word)).collect()
}

/// Paths whose inode, or whose inode's ctime, is another than before.
fn touched(before: &Inodes, after: &Inodes) -> BTreeSet<String> {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let changed = |path: &&Vec<u8>| before.get(*path) != after.get(*path);
    before.keys().chain(after.keys()).filter(changed).map(|p| text(p)).collect()
}

/// The folder that holds a path.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[test]
fn ten_differences_are_mended_and_nothing_else_is_touched() {
    let setting = Setting::new();
    assert_eq!(setting.restore(&[]), [""; 0], "a tree that is right");
    let broken = break_ten(&setting.live());
    let before = inodes(&setting.live());
    let done = setting.restore_twice(&[]);

    let mut expected: Vec<String> = broken.iter().map(|(path, word)| format!("{word} {path}")).collect();
    expected.sort_unstable();
    assert_eq!(done, expected);
    let after = inodes(&setting.live());
    let paths: BTreeSet<String> = broken.iter().map(|(path, _)| path.clone()).collect();
    // A folder that something is put into cannot keep its ctime.
    let allowed: BTreeSet<&str> = paths.iter().map(|p| parent(p)).collect();
    let touched = touched(&before, &after);
    assert!(paths.is_subset(&touched), "left as it was: {:?}", paths.difference(&touched));
    let others: Vec<_> = touched.difference(&paths).filter(|p| !allowed.contains(p.as_str())).collect();
    assert!(others.is_empty(), "touched without need: {others:?}");
    for (path, word) in &broken {
        let inode = |inodes: &Inodes| inodes.get(path.as_bytes()).map(|i| i.number);
        if *word == "metadata" {
            assert_eq!(
                inode(&before),
                inode(&after),
                "{path} has the right content, and should not be written anew"
            );
        }
    }
    assert_equal(&setting.source(), &setting.live());
    assert_eq!(setting.restore_twice(&["--delete"]), [""; 0]);
    assert_eq!(inodes(&setting.live()), after, "nothing is touched a second time");
}

#[test]
fn a_tree_is_restored_to_where_it_was_backed_up_from() {
    let setting = Setting::new();
    let expected = Tree::of(&setting.source());
    let broken = break_ten(&setting.source());
    let before = inodes(&setting.source());
    let arguments = ["restore", "--week", "latest", "--pvc", "pvc", "--verify", "--json"];
    let report = setting.vault.run(arguments).expect(0).json();
    assert_eq!(report["failed"], 0);
    let count = |word: &str| broken.iter().filter(|(_, w)| *w == word).count();
    for word in ["rewrite", "metadata", "create", "replace"] {
        assert_eq!(report["changes"][word], count(word), "{word}: {report}");
    }
    assert_same_tree(&expected, &setting.source());
    let (touched, paths) =
        (touched(&before, &inodes(&setting.source())), broken.iter().map(|(p, _)| p.as_str()));
    let allowed: BTreeSet<&str> = paths.clone().chain(paths.map(parent)).collect();
    let others: Vec<_> = touched.iter().filter(|p| !allowed.contains(p.as_str())).collect();
    assert!(others.is_empty(), "touched without need: {others:?}");
}

#[test]
fn extras_stay_unless_they_are_to_be_deleted() {
    let setting = Setting::new();
    let live = setting.live();
    fs::create_dir_all(live.join("extra/folder/with")).unwrap();
    fs::write(live.join("extra/folder/with/file"), "mine").unwrap();
    symlink("/etc", live.join("extra/folder/out")).unwrap();
    fs::write(live.join("folder-5/below/extra"), "mine").unwrap();
    fs::write(live.join(OsStr::from_bytes(b"folder-5/\xff\n")), "mine").unwrap();
    fs::hard_link(live.join("folder-6/file-6"), live.join("folder-6/another name")).unwrap();

    assert_eq!(
        setting.restore_twice(&[]),
        ["metadata .", "metadata folder-5", "metadata folder-5/below", "metadata folder-6"]
    );
    assert!(live.join("extra/folder/with/file").exists() && live.join("folder-5/below/extra").exists());
    let left = rsync_says(&setting.source(), &live);
    assert!(left.lines().count() == 8 && left.lines().all(|line| line.starts_with("*deleting ")), "{left}");

    let deleted = setting.restore_twice(&["--delete"]);
    let expected = [
        "delete extra",
        "delete extra/folder",
        "delete extra/folder/out",
        "delete extra/folder/with",
        "delete extra/folder/with/file",
        "delete folder-5/\\xff\\n",
        "delete folder-5/below/extra",
        "delete folder-6/another name",
    ];
    assert_eq!(deleted, expected);
    assert!(Path::new("/etc/passwd").exists());
    assert_equal(&setting.source(), &live);
}

/// Where the manifest has one thing and the tree another, at each level.
#[test]
fn everything_is_replaced_by_everything_else() {
    let setting = Setting::new();
    let kinds: [(&str, Act<'_>); 6] = [
        ("file", &|path| fs::write(path, "a file").unwrap()),
        ("folder", &|path| fs::create_dir(path).unwrap()),
        ("full", &|path| {
            fs::create_dir_all(path.join("some/folder")).unwrap();
            fs::write(path.join("some/folder/file"), "in a folder").unwrap();
            fs::write(path.join("a file"), "in a folder").unwrap();
        }),
        ("symlink", &|path| symlink("somewhere", path).unwrap()),
        ("fifo", &|path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }),
        ("link", &|path| fs::hard_link(path.parent().unwrap().join("0 first"), path).unwrap()),
    ];
    let plant = |root: &Path, turn: usize| {
        fs::create_dir_all(root).unwrap();
        fs::write(root.join("0 first"), "the first name").unwrap();
        for (number, (name, make)) in kinds.iter().enumerate() {
            for other in 0..kinds.len() {
                if turn == 0 {
                    make(&root.join(format!("{name} {other}")));
                } else {
                    kinds[(number + other) % kinds.len()].1(&root.join(format!("{name} {other}")));
                }
            }
        }
        age(root);
    };
    for (from, to) in [(0, 1), (1, 0)] {
        for folder in [setting.source(), setting.live()] {
            fs::remove_dir_all(folder).unwrap();
        }
        plant(&setting.source(), from);
        plant(&setting.live(), to);
        setting.back_up();
        setting.restore_twice(&["--delete"]);
        assert_equal(&setting.source(), &setting.live());
    }
}

#[test]
fn links_are_made_and_parted() {
    let setting = Setting::new();
    let live = setting.live();
    // Right in all but that they are one file, or are two.
    fs::hard_link(setting.source().join("folder-7/file-9"), setting.source().join("folder-7/linked"))
        .unwrap();
    fs::copy(setting.source().join("folder-7/file-8"), setting.source().join("folder-7/parted")).unwrap();
    age(&setting.source());
    setting.back_up();
    fs::copy(live.join("folder-7/file-9"), live.join("folder-7/linked")).unwrap();
    fs::hard_link(live.join("folder-7/file-8"), live.join("folder-7/parted")).unwrap();
    age(&live);
    setting.restore_twice(&["--delete"]);
    assert_equal(&setting.source(), &live);
}

#[test]
fn a_dry_run_tells_what_the_real_run_does_in_an_empty_place() {
    let setting = Setting::new();
    fs::remove_dir_all(setting.live()).unwrap();
    setting.restore_twice(&["--path", "folder-2/below", "--path", "**/file-3"]);
    fs::remove_dir_all(setting.live()).unwrap();
    setting.restore_twice(&[]);
    assert_equal(&setting.source(), &setting.live());
    fs::remove_dir_all(setting.live()).unwrap();
    fs::create_dir(setting.live()).unwrap();
    setting.restore_twice(&["--delete"]);
    assert_equal(&setting.source(), &setting.live());
}

#[test]
fn a_path_restores_that_and_nothing_else() {
    let setting = Setting::new();
    let live = setting.live();
    let spoil = || {
        for file in system(Command::new("find").arg(&live).args(["-type", "f"])).lines() {
            fs::write(file, "spoilt").unwrap();
        }
        age(&live);
    };
    let expected = Tree::of(&setting.source());
    // What --path is given, and which files that are no links should be restored by it.
    let in_folder =
        |folder: &str| (0..10).filter(|n| *n != 2).map(|n| format!("{folder}/file-{n}")).collect();
    let cases: [(&[&str], Vec<String>); 6] = [
        (&["folder-1/file-5"], vec!["folder-1/file-5".into()]),
        (
            &["/folder-1/file-5", "./folder-3/file-1"],
            vec!["folder-1/file-5".into(), "folder-3/file-1".into()],
        ),
        (&["folder-2/below/deep/"], (0..10).map(|n| format!("folder-2/below/deep/file-{n}")).collect()),
        (&["folder-[12]/file-7"], vec!["folder-1/file-7".into(), "folder-2/file-7".into()]),
        (&["folder-4/file-[!2]"], in_folder("folder-4")),
        (
            &["*/below/*/file-{1,9}"],
            (0..8).flat_map(|n| [1, 9].map(|m| format!("folder-{n}/below/deep/file-{m}"))).collect(),
        ),
    ];
    for (patterns, files) in cases {
        spoil();
        let before = inodes(&live);
        let options: Vec<&str> = patterns.iter().flat_map(|p| ["--path", p]).collect();
        let mut wanted: Vec<String> = files.iter().map(|f| format!("rewrite {f}")).collect();
        wanted.sort_unstable();
        assert_eq!(setting.restore_twice(&[&options[..], &["--delete"]].concat()), wanted, "{patterns:?}");
        let restored = Tree::of(&live);
        for file in &files {
            assert_eq!(restored.0[file.as_bytes()], expected.0[file.as_bytes()], "{file}");
        }
        let allowed: BTreeSet<&str> = files.iter().flat_map(|f| [f.as_str(), parent(f)]).collect();
        let touched = touched(&before, &inodes(&live));
        let others: Vec<_> = touched.iter().filter(|p| !allowed.contains(p.as_str())).collect();
        assert!(others.is_empty(), "{patterns:?} touched {others:?}");
    }
    // A whole folder, deleting what is too much in it and nothing elsewhere.
    spoil();
    for extra in ["folder-0/extra", "folder-6/extra", "folder-6/below/extra"] {
        fs::write(live.join(extra), "mine").unwrap();
    }
    setting.restore_twice(&["--path", "folder-6", "--delete"]);
    assert!(live.join("folder-0/extra").exists());
    assert_equal(&setting.source().join("folder-6"), &live.join("folder-6"));

    let ran = setting.vault.restore(WEEK, "pvc", &live, &["--path", "folder-6/no such file"]).expect(1);
    assert!(ran.stderr.contains("folder-6/no such file"), "{}", ran.stderr);
}

/// Links, where `--path` selects not all of an inode's names: "folder-N/below/linked" comes before its "folder-N/file-2".
#[test]
fn a_link_whose_first_name_is_not_selected() {
    let setting = Setting::new();
    let (source, live) = (setting.source(), setting.live());
    let spoilt = "spoilt";
    let same = |name: &str| {
        let (a, b) =
            (Tree::of(&source).0[name.as_bytes()].clone(), Tree::of(&live).0[name.as_bytes()].clone());
        assert_eq!((a.what, a.mode, a.owner, a.mtime), (b.what, b.mode, b.owner, b.mtime), "{name}");
    };
    // The tree is right: nothing is to be done, and what is linked stays so.
    let before = inodes(&live);
    assert_eq!(setting.restore_twice(&["--path", "folder-0/file-2"]), [""; 0]);
    assert_eq!(before, inodes(&live));

    // Only the second name is restored; the first keeps what it has.
    fs::write(live.join("folder-1/file-2"), spoilt).unwrap();
    setting.restore_twice(&["--path", "folder-1/file-2"]);
    same("folder-1/file-2");
    assert_eq!(fs::read_to_string(live.join("folder-1/below/linked")).unwrap(), spoilt);

    // Where nothing is yet, not even the folder.
    fs::remove_dir_all(live.join("folder-2")).unwrap();
    setting.restore_twice(&["--path", "folder-2/file-2"]);
    same("folder-2/file-2");
    assert!(!live.join("folder-2/below").exists() && !live.join("folder-2/file-3").exists());

    // Both names by two patterns, in a folder that is not there.
    fs::remove_dir_all(live.join("folder-3")).unwrap();
    setting.restore_twice(&["--path", "folder-3/file-2", "--path", "folder-3/below/linked"]);
    same("folder-3/file-2");
    let inode = |path: &str| live.join(path).metadata().unwrap().ino();
    assert_eq!(inode("folder-3/file-2"), inode("folder-3/below/linked"));

    // Into another tree, where only the later of two selected names has a folder to be made.
    fs::remove_dir_all(&live).unwrap();
    setting.restore_twice(&[
        "--path",
        "folder-5/below/linked",
        "--path",
        "folder-5/file-2",
        "--path",
        "folder-6/file-2",
    ]);
    same("folder-6/file-2");
    assert_eq!(inode("folder-5/file-2"), inode("folder-5/below/linked"));
}

/// What a backup leaves out because it belongs to the file system or to another one, `--delete` leaves alone.
#[test]
fn delete_stays_within_what_was_backed_up() {
    let setting = Setting::new();
    let (source, live) = (setting.source(), setting.live());
    for root in [&source, &live] {
        fs::create_dir(root.join("lost+found")).unwrap();
        fs::write(root.join("lost+found/#12345"), "found").unwrap();
        fs::create_dir(root.join("mounted")).unwrap();
        age(root);
    }
    setting.back_up();
    setting.restore(&["--delete"]);
    assert!(
        live.join("lost+found/#12345").exists(),
        "lost+found is never backed up, and must not be deleted"
    );

    // In a mount namespace of its own: a volume is mounted in the tree, which the backup does not enter.
    let script = "set -e
        mount -t tmpfs none \"$LIVE/mounted\"
        echo kept > \"$LIVE/mounted/file\"
        \"$WEEKVAULT\" --no-cache --store \"$STORE\" restore --week latest --pvc pvc --target \"$LIVE\" --delete
        cat \"$LIVE/mounted/file\"";
    let mut unshare = Command::new("unshare");
    let allowed = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !allowed.is_ok_and(|o| o.status.success()) {
        return skip("a volume in the tree", "mounting is not allowed here");
    }
    unshare.args(["--mount", "sh", "-c", script]).env("LIVE", &live).env("STORE", &setting.vault.store);
    let output = unshare.env("WEEKVAULT", env!("CARGO_BIN_EXE_weekvault")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.ends_with("kept\n"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Nor does it take what the backup was told to leave out: the manifest says what that was.
#[test]
fn what_was_excluded_is_not_extra() {
    let setting = Setting::new();
    let (source, live) = (setting.source(), setting.live());
    for root in [&source, &live] {
        fs::create_dir(root.join("temp")).unwrap();
        fs::write(root.join("temp/session"), "of now").unwrap();
        fs::write(root.join("folder-1/errors.log"), "an error").unwrap();
        age(root);
    }
    let mut backup = backup_arguments(WEEK, &[("pvc", &source)]);
    backup.extend(["--exclude", "/temp/", "--exclude", "*.log"].map(Into::into));
    setting.vault.run(backup).expect(0);
    fs::write(live.join("extra"), "extra").unwrap();
    assert_eq!(setting.restore_twice(&["--delete"]), ["delete extra", "metadata ."]);
    assert_equal(&source, &live);
    // Nor a folder with such in it.
    fs::create_dir(live.join("new")).unwrap();
    fs::write(live.join("new/a.log"), "an error").unwrap();
    fs::write(live.join("new/extra"), "extra").unwrap();
    assert_eq!(setting.restore_twice(&["--delete"]), ["delete new/extra", "metadata ."]);
    assert!(live.join("new/a.log").exists());
}

/// SELinux labels every path by rules of the machine's own; they are no difference.
#[test]
fn labels_of_the_machine_are_left_alone() {
    let setting = Setting::new();
    let live = setting.live();
    let label =
        |path: &Path| rustix::fs::lsetxattr(path, "security.selinux", b"a label", XattrFlags::empty());
    if let Err(error) = label(&live) {
        return skip("labels", &error.to_string());
    }
    for path in ["folder-1", "folder-1/file-1", "folder-1/symlink", "fifo", "folder-1/file-2"] {
        label(&live.join(path)).unwrap();
    }
    assert_eq!(setting.restore_twice(&["--delete", "--verify"]), [""; 0]);
    fs::write(live.join("folder-1/file-2"), "another content, and other metadata").unwrap();
    setting.restore(&["--verify"]);
    for path in ["", "folder-1", "folder-1/file-1", "folder-1/symlink", "fifo"] {
        let length = rustix::fs::lgetxattr_query(live.join(path), "security.selinux");
        assert_eq!(length, Ok(7), "{path:?} lost its label");
    }
}

/// A file whose object is lost cannot be restored; what has its name in the live tree is all there is of it.
#[test]
fn what_cannot_be_restored_is_left_as_it_is() {
    let setting = Setting::new();
    let live = setting.live();
    fs::remove_dir_all(setting.vault.store.join("objects")).unwrap();
    fs::remove_file(live.join("folder-1/below/linked")).unwrap();
    fs::write(live.join("folder-2/file-9"), "another content").unwrap();
    fs::remove_file(live.join("folder-3/file-2")).unwrap();
    fs::copy(live.join("folder-3/below/linked"), live.join("folder-3/file-2")).unwrap();
    fs::write(live.join("folder-3/below/linked"), "another content").unwrap();
    let before = Tree::of(&live);
    let ran = setting.vault.restore(WEEK, "pvc", &live, &["--delete"]).expect(1);
    assert!(ran.stderr.contains("folder-1/below/linked"), "{}", ran.stderr);
    assert!(ran.stderr.contains("folder-2/file-9"), "{}", ran.stderr);
    let after = Tree::of(&live);
    for path in ["folder-1/file-2", "folder-2/file-9", "folder-3/file-2"] {
        assert_eq!(
            before.0[path.as_bytes()],
            *after.0.get(path.as_bytes()).unwrap_or_else(|| panic!("{path} is gone"))
        );
    }
    assert_eq!(before.0.len(), after.0.len());
}

/// On the way to what is selected something stands that is no folder, and is not selected: it is told, in a dry run too.
#[test]
fn a_folder_on_the_way_that_is_something_else() {
    let setting = Setting::new();
    let live = setting.live();
    let outside = setting.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for folder in ["folder-1", "folder-2/below"] {
        fs::remove_dir_all(live.join(folder)).unwrap();
    }
    fs::write(live.join("folder-1"), "no folder").unwrap();
    symlink("../../outside", live.join("folder-2/below")).unwrap();
    let before = inodes(&live);
    for path in ["folder-1/file-1", "folder-2/below/deep", "folder-2/below/linked"] {
        for options in [&["--path", path, "--dry-run"][..], &["--path", path]] {
            let ran = setting.vault.restore(WEEK, "pvc", &live, options).expect(1);
            assert!(ran.stderr.contains(parent(path)), "{}", ran.stderr);
            assert_eq!(before, inodes(&live), "{path}");
        }
    }
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "written outside of the target");
    // All of it is wanted: then it may be replaced.
    setting.restore_twice(&[]);
    assert_equal(&setting.source(), &live);
}
