//! The jobs of the manifests, run: their arguments and environment by the program itself, their capabilities by the kernel.

use super::kubernetes::{OVERLAYS, Task, check_command_line};
use super::node::Node;
use crate::common::{Ran, Tree, assert_same_tree, is_root, skip};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn options_and_variables_are_the_programs() {
    for overlay in OVERLAYS {
        for file in ["init.yaml", "backup.yaml", "verify.yaml", "restore.yaml", "materialize.yaml"] {
            check_command_line(Task::of(overlay, file).container());
        }
    }
}

#[test]
fn the_jobs_do_what_they_are_for() {
    for overlay in OVERLAYS {
        let node = Node::new();
        let [init, backup, verify, restore, materialize] =
            ["init", "backup", "verify", "restore", "materialize"]
                .map(|f| Task::of(overlay, &format!("{f}.yaml")));
        let run = |task| -> Value {
            let ran = Ran::of(node.command(task, None)).expect(0);
            // A restore that is dry has lines before the one that sums up.
            serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
        };
        let sources: Vec<&str> =
            backup.mounts().iter().filter_map(|m| m.mount_path.strip_prefix("/src/")).collect();
        for source in &sources {
            fs::create_dir(node.path(&format!("src/{source}"))).unwrap();
            fs::write(node.path(&format!("src/{source}/file")), source).unwrap();
        }
        // A share that is not mounted is an empty folder, and no place for a new store.
        Ran::of(node.command(&backup, None)).expect(1).says("no store at").says("weekvault init");
        assert_eq!(fs::read_dir(node.path("backup")).unwrap().count(), 0);
        let id = run(&init)["id"].clone();
        assert!(id.as_str().is_some_and(|id| id.len() == 32), "{id}");
        Ran::of(node.command(&init, None)).expect(1).says("there is a store at").says(id.as_str().unwrap());
        let report = run(&backup);
        let names: Vec<&str> =
            report["sources"].as_array().unwrap().iter().map(|s| s["pvc"].as_str().unwrap()).collect();
        assert_eq!(names, sources, "each source has its mount's name, so that a restore finds it");
        assert_eq!(run(&verify)["exit_code"], 0);
        let live = node.path(&format!("src/{}/file", sources[0]));
        fs::write(&live, "overwritten").unwrap();
        // As it is, it only says what it would do.
        let volume = node.path(&format!("src/{}", sources[0]));
        let restoring = |dry_run: &str| {
            let mut command = node.command(&restore, None);
            command.env("WEEKVAULT_TARGET", &volume).env("WEEKVAULT_DRY_RUN", dry_run);
            Ran::of(command).expect(0)
        };
        assert!(restore.environment().contains(&("WEEKVAULT_TARGET", "/target")));
        assert!(restore.environment().contains(&("WEEKVAULT_DRY_RUN", "1")));
        restoring("1");
        assert_eq!(fs::read_to_string(&live).unwrap(), "overwritten");
        restoring("0");
        assert_eq!(fs::read_to_string(&live).unwrap(), sources[0]);
        run(&materialize);
        assert_eq!(fs::read_to_string(node.path("target/tree/file")).unwrap(), sources[0]);
        // None of them keeps a cache, so that no pod needs a volume for one: only which store was where.
        let kept = fs::read_dir(node.path("home/.cache/weekvault")).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(kept.collect::<Vec<_>>(), ["weekvault-stores-v1"]);
    }
}

/// Makes a source of what only some may read or make, none of it root's.
fn make_foreign_tree(root: &Path) {
    let run = |line: &str| {
        let mut words = line.split_whitespace().map(|w| w.replace("{}", root.to_str().unwrap()));
        let mut command = Command::new(words.next().unwrap());
        let output = command.args(words).output().unwrap_or_else(|e| panic!("{line}: {e}"));
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    fs::create_dir_all(root.join("private")).unwrap();
    for file in ["private/key", "setuid", "setgid", "privileged"] {
        fs::write(root.join(file), file).unwrap();
    }
    run("mknod {}/device c 1 3");
    run("mkfifo {}/fifo");
    run("chown -R 33:34 {}");
    for (path, mode) in [
        ("private/key", 0o400),
        ("setuid", 0o4711),
        ("setgid", 0o2711),
        ("fifo", 0o2620),
        ("private", 0o2700),
        ("", 0o700),
    ] {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    run("setfattr -n user.note -v x {}/private/key");
    run("setcap cap_net_bind_service+ep {}/privileged");
}

#[test]
fn capabilities_suffice_and_none_is_idle() {
    if !is_root() {
        return skip("capabilities", "not root");
    }
    let node = Node::new();
    let source = node.path("src/html");
    make_foreign_tree(&source);
    fs::create_dir(node.path("src/enigma")).unwrap();
    let original = Tree::of(&source);
    let [backup, restore] = ["backup", "restore"].map(|f| Task::of("roundcube", &format!("{f}.yaml")));
    Ran::of(node.command(&Task::of("roundcube", "init.yaml"), Some(&[]))).expect(0);
    let given = backup.capabilities();
    assert_eq!(given.len(), 1);
    // Not even the source's root can be listed.
    Ran::of(node.command(&backup, Some(&[]))).expect(1);
    Ran::of(node.command(&backup, Some(&given))).expect(0);
    Ran::of(node.command(&Task::of("roundcube", "verify.yaml"), Some(&[]))).expect(0);
    let restored = |capabilities: &[String]| {
        fs::remove_dir_all(&source).unwrap();
        fs::create_dir(&source).unwrap();
        std::os::unix::fs::chown(&source, Some(33), Some(34)).unwrap();
        let mut command = node.command(&restore, Some(capabilities));
        command.env("WEEKVAULT_DRY_RUN", "0").env("WEEKVAULT_TARGET", &source);
        Ran::of(command)
    };
    let given = restore.capabilities();
    restored(&given).expect(0);
    assert_same_tree(&original, &source);
    for idle in &given {
        let fewer: Vec<String> = given.iter().filter(|c| *c != idle).cloned().collect();
        let ran = restored(&fewer);
        assert_eq!(ran.code, Some(1), "a restore does without {idle}: {}", ran.stderr);
        let told: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(": cannot ")).collect();
        assert!(!told.is_empty(), "{idle}: {}", ran.stderr);
        if idle == "FSETID" {
            // The kernel reports none of these.
            let of = ["fifo", "private", "setgid"].map(|path| format!("cannot set the mode of {path}: "));
            assert!(told.len() == 3 && of.iter().all(|of| ran.stderr.contains(of)), "{}", ran.stderr);
        }
    }
}
