//! Owners go by name from one machine to another, wherever a number of theirs stands.

use crate::common;
use crate::common::{Ran, Vault, backup_arguments, is_root, skip};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// Runs the program where these are the users and groups.
fn on_machine(vault: &Vault, names: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new("unshare");
    let script =
        "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/group\" /etc/group && exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(names);
    let inner = vault.command();
    command.arg(inner.get_program()).args(inner.get_args()).args(arguments);
    Ran::of(command)
}

fn machine(folder: &Path, users: &[(&str, u32)]) {
    fs::create_dir(folder).unwrap();
    let lines = |ending: &str| -> String {
        users
            .iter()
            .map(|(name, id)| format!("{name}:x:{id}:{}\n", ending.replace('#', &id.to_string())))
            .collect()
    };
    fs::write(folder.join("passwd"), lines("#::/:/bin/sh")).unwrap();
    fs::write(folder.join("group"), lines("")).unwrap();
}

#[test]
fn owners_and_acls_go_by_name_and_root_stays_root() {
    let can_mount = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !is_root() || !can_mount.is_ok_and(|output| output.status.success()) {
        return skip("owners of another machine", "mounting is not allowed here");
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = Vault::new(folder.path().join("store"));
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let (there, here) = (folder.path().join("there"), folder.path().join("here"));
    // "admin" is root's second name there, and somebody's here; alice and bob have changed numbers.
    machine(&there, &[("root", 0), ("admin", 0), ("alice", 5001), ("bob", 5002)]);
    machine(&here, &[("root", 0), ("admin", 1500), ("bob", 5001), ("alice", 5002), ("alice", 6000)]);
    fs::create_dir(&source).unwrap();
    for (file, owner) in [("roots", 0), ("alices", 5001)] {
        fs::write(source.join(file), file).unwrap();
        chown(source.join(file), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(source.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    }
    common::system(Command::new("setfacl").args(["-m", "u:5001:rw,g:5002:r"]).arg(source.join("roots")));
    common::system(Command::new("setfacl").args(["-d", "-m", "u:5002:rx"]).arg(&source));
    let arguments = backup_arguments("2025-14", &[("pvc", &source)]);
    let arguments: Vec<&str> = arguments.iter().map(|a| a.to_str().unwrap()).collect();
    on_machine(&vault, &there, &arguments).expect(0);
    let restore = ["restore", "--week", "2025-14", "--pvc", "pvc", "--target", target.to_str().unwrap()];
    on_machine(&vault, &here, &restore).expect(0);
    let owner = |file: &str| fs::metadata(target.join(file)).unwrap().uid();
    assert_eq!((owner("roots"), owner("alices")), (0, 5002));
    let acl = |path: &Path| common::system(Command::new("getfacl").args(["-cnp"]).arg(path));
    let roots = acl(&target.join("roots"));
    assert!(roots.contains("user:5002:rw-") && roots.contains("group:5001:r--"), "{roots}");
    assert!(acl(&target).contains("default:user:5001:r-x"), "{}", acl(&target));
    // What is right already is known as such.
    on_machine(&vault, &here, &restore).expect(0).says(": 3 already right");
    let mut numeric = restore.to_vec();
    numeric.extend(["--numeric-owner"]);
    on_machine(&vault, &here, &numeric).expect(0);
    assert_eq!((owner("roots"), owner("alices")), (0, 5001));
    assert!(acl(&target.join("roots")).contains("user:5001:rw-"));
}
