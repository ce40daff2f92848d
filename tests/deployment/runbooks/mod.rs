//! `docs/runbooks/`: each page is followed, command by command, in the situation that it is for, on a machine and in a
//! cluster that are played; weekvault, rsync, gpg, the data and the damage are real. Then the outcome is looked at.

mod cluster;
mod kubectl;
mod operator;
mod page;
mod sandbox;
mod situations;
mod world;

use crate::common;
use crate::deploy::kubernetes;
use page::Page;
use sandbox::Sandbox;
use situations::{SITUATIONS, Situation};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use world::World;

fn docs(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)
}

fn deploy(path: &str) -> PathBuf {
    docs("deploy").join(path)
}

fn pages() -> Vec<Page> {
    let names = fs::read_dir(docs("runbooks")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<Page> = names.map(|file| Page::read(&file)).collect();
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    pages
}

/// Follows a page through all its sections, in order.
fn follow(name: &str) {
    let page = Page::read(&docs("runbooks").join(name));
    let situation = SITUATIONS.iter().find(|situation| situation.page == name).unwrap();
    let Some(sandbox) = Sandbox::new(situation.store_size) else { return };
    let mut world = World::new(&sandbox);
    (situation.begin)(&mut world);
    for section in page.runnable() {
        let place = format!("{name}, {:?}", section.title);
        let (_, before, after) = situation.section(&section.title);
        before(&mut world);
        let scripts: Vec<&str> = section.steps.iter().map(|step| step.commands.as_str()).collect();
        let printed = run(&mut world, &scripts).unwrap_or_else(|error| panic!("{place}: {error}"));
        for (step, printed) in section.steps.iter().zip(printed) {
            println!("{name}:{} printed:\n{printed}", step.line);
            if let Some(shown) = &step.output
                && let Some(difference) = page::difference(shown, &printed)
            {
                panic!("{name}:{}: the page shows another output: {difference}\n{printed}", step.line);
            }
        }
        after(&mut world);
        println!("{place}: followed");
    }
}

/// Types scripts into one shell, while the cluster answers; what each has printed.
fn run(world: &mut World<'_>, scripts: &[&str]) -> Result<Vec<String>, String> {
    let (sandbox, cluster) = (world.sandbox, &mut world.cluster);
    let queue = sandbox.path("kubectl/calls");
    let (refused, printed) = std::thread::scope(|scope| {
        let server = scope.spawn(|| kubectl::serve(cluster, &queue));
        let printed = sandbox.shell(scripts);
        fs::OpenOptions::new().write(true).open(&queue).unwrap().write_all(b"last\n").unwrap();
        (server.join().unwrap(), printed)
    });
    if refused.is_empty() { printed } else { Err(format!("{refused:#?}\n{printed:#?}")) }
}

#[test]
fn restore_roundcube() {
    follow("restore-roundcube.md");
}

#[test]
fn verify_failed() {
    follow("verify-failed.md");
}

#[test]
fn backup_stale() {
    follow("backup-stale.md");
}

#[test]
fn store_full() {
    follow("store-full.md");
}

#[test]
fn lost_store() {
    follow("lost-store.md");
}

#[test]
fn migrate_from_rsync() {
    follow("migrate-from-rsync.md");
}

#[test]
fn sealed_keys() {
    follow("sealed-keys.md");
}

#[test]
fn readme() {
    follow("README.md");
}

#[test]
fn no_block_is_left_out() {
    let followed = include_str!("mod.rs");
    for page in pages() {
        let titles: Vec<&str> = page.runnable().map(|section| section.title.as_str()).collect();
        let situation = SITUATIONS.iter().find(|situation| situation.page == page.name);
        let known: Vec<&str> = situation.map(Situation::titles).unwrap_or_default();
        assert_eq!(
            titles, known,
            "{}: sections with commands, and those that a test brings about",
            page.name
        );
        assert!(titles.is_empty() || followed.contains(&format!("follow({:?})", page.name)), "{}", page.name);
    }
}

#[test]
fn commands_in_the_text_are_the_programs() {
    let mut seen = 0;
    for page in pages() {
        for command in &page.commands {
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            if words[0] == "weekvault" {
                let parsed = weekvault::cli::command().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{}: {command}: {}", page.name, parsed.unwrap_err());
            } else {
                kubectl::check(&words[1..])
                    .unwrap_or_else(|error| panic!("{}: {command}: {error}", page.name));
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

/// What a page must not get away with.
#[test]
fn mistakes_are_seen() {
    let Some(sandbox) = Sandbox::new(None) else { return };
    let mut world = World::new(&sandbox);
    world.two_weeks();
    let restore = |change: &str| {
        format!(
            "kubectl set env --local -f docs/deploy/kubernetes/roundcube/restore.yaml -o yaml {change} |
             kubectl -n roundcubemail create -f - || true"
        )
    };
    let changed_by = |sed: &str| {
        format!(
            "sed {sed} docs/deploy/kubernetes/roundcube/restore.yaml |
             kubectl -n roundcubemail create -f - || true"
        )
    };
    let typed = |line: &str| format!("{line} || true");
    for (mistake, told) in [
        (typed("nano /etc/fstab"), "not known here:\nnano"),
        ("weekvault verify --fast".to_owned(), "exit status: 2"),
        (typed("kubectl -n roundcubemail drain node"), "drain node: not known here"),
        (typed("kubectl -n roundcubemail logs --previous job/x"), "--previous"),
        (typed("kubectl get cronjob roundcube-backup"), "no -n"),
        (
            typed(r#"kubectl -n roundcubemail patch cronjob roundcube-backup -p '{"spec":{"stop":true}}'"#),
            "/spec/stop",
        ),
        (restore("WEEKVAULT_WEAK=latest"), "WEEKVAULT_WEAK is no variable of it"),
        (restore("WEEKVAULT_WEEK=latest"), "Roundcube runs, and uses what is restored"),
        (restore("WEEKVAULT_IDENTITY=/identity/mine.key"), "Roundcube runs"),
        (restore("WEEKVAULT_IDENTITY=AGE-SECRET-KEY-1QQ"), "a secret is told to the cluster"),
        (typed("kubectl -n roundcubemail attach -i job/roundcube-restore"), "nothing waits"),
        (typed("kubectl -n roundcubemail wait job/x --for=jsonpath={.status.ready}=1"), "it would wait"),
        (changed_by("s/weekvault:/weekvalt:/"), "weekvalt"),
        (changed_by("s/backoffLimit/backofLimit/"), "/spec/backofLimit"),
    ] {
        let error = run(&mut world, &[&mistake]).expect_err(&mistake);
        assert!(error.contains(told), "{mistake}: {error}");
    }
}

#[test]
fn the_script_ends_as_its_command_does() {
    let Some(sandbox) = Sandbox::new(None) else { return };
    let mut world = World::new(&sandbox);
    world.two_weeks();
    let script = "docs/deploy/kubernetes/weekvault.sh ls --week 1999-01 --pvc html || echo \"exit code $?\"";
    let printed = run(&mut world, &[script]).unwrap().concat();
    assert!(printed.contains("has no manifest") && printed.ends_with("exit code 1\n"), "{printed}");
    // It may write to the store, and leaves no pod.
    let script = "docs/deploy/kubernetes/weekvault.sh retain --keep 1";
    let printed = run(&mut world, &[script]).unwrap().concat();
    assert!(printed.contains("retired 2025-13/html.manifest"), "{printed}");
    assert!(world.cluster.pods.is_empty());
}

const SCRIPT: &str = "docs/deploy/kubernetes/weekvault.sh";

#[test]
fn the_script_hands_an_identity_over() {
    let Some(sandbox) = Sandbox::new(None) else { return };
    let mut world = World::new(&sandbox);
    world.two_sealed_weeks();
    let ls = "ls --week latest --pvc html config";
    let key = fs::read_to_string(world.hand("mine.key")).unwrap();
    for identity in [
        format!("{SCRIPT} {ls} --identity mine.key"),
        format!("{SCRIPT} {ls} --identity=mine.key"),
        format!("cat mine.key | {SCRIPT} {ls} --identity -"),
        format!("{SCRIPT} ls --identity - --week latest --pvc html config < mine.key"),
    ] {
        let printed = run(&mut world, &[&identity]).unwrap().concat();
        assert!(printed.contains("config/config.inc.php"), "{identity}: {printed}");
        assert!(!printed.contains(key.trim()), "{printed}");
        world.check_no_identity();
        assert!(world.cluster.pods.is_empty(), "{identity}");
    }
    for (wrong, told) in [
        ("key test --identity missing.key", "missing.key"),
        ("key test --identity mine.key --identity mine.key", "given twice"),
        ("key rotate --identity mine.key --writer-key writer.key", "--writer-key is of files that stay here"),
        ("init --recipients-file operators.txt", "--recipients-file is of files that stay here"),
    ] {
        let line = format!("{SCRIPT} {wrong} || echo \"exit code $?\"");
        let printed = run(&mut world, &[&line]).unwrap().concat();
        assert!(printed.contains(told) && printed.ends_with("exit code 2\n"), "{wrong}: {printed}");
        assert!(!printed.contains("pod/"), "{wrong}: a pod was made: {printed}");
    }
}

/// While a pod starts there is no log, and one that is quick may have ended by the time that its state is asked for.
#[test]
fn what_a_quick_command_printed_is_not_lost() {
    let stub = "case $* in\n\
        *' logs -f '*) exit 1 ;;\n\
        *' logs '*) echo printed ;;\n\
        *' get pod '*) printf 'Failed 4' ;;\nesac\n";
    let folder = tempfile::tempdir().unwrap();
    let mut command = script_with(folder.path(), stub);
    command.args(["verify", "--quick"]);
    assert_eq!(common::Ran::of(command).expect(4).stdout, "printed\n");
}

/// Where nobody may attach, the pod would wait for ever.
#[test]
fn a_pod_that_gets_no_identity_is_deleted() {
    let stub = "case $* in\n\
        *' logs '*) exit 1 ;;\n\
        *' attach '*) echo forbidden >&2; exit 1 ;;\n\
        *' get pod '*) [ ! -e deleted ] || exit 1; printf 'Running ' ;;\n\
        *' delete pod '*) : >deleted ;;\nesac\n";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.key"), "an identity").unwrap();
    let mut command = script_with(folder.path(), stub);
    command.args(["key", "test", "--identity", "mine.key"]).current_dir(folder.path());
    common::Ran::of(command).expect(1).says("the identity did not get to the command: may you attach");
}

/// The script, with a `kubectl` that does what a script of the shell says.
fn script_with(folder: &Path, stub: &str) -> std::process::Command {
    use std::os::unix::fs::PermissionsExt;
    let kubectl = folder.join("kubectl");
    fs::write(&kubectl, format!("#!/bin/sh\n{stub}")).unwrap();
    fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = std::process::Command::new("timeout");
    command.args(["60", "sh"]).arg(deploy("kubernetes/weekvault.sh")).env("PATH", path);
    command
}

#[test]
fn each_alert_leads_to_a_page() {
    let rules = kubernetes::documents(&deploy("prometheus/rules.yaml")).pop().unwrap();
    let readme = fs::read_to_string(docs("runbooks/README.md")).unwrap();
    let mut pages: BTreeSet<String> = self::pages().into_iter().map(|page| page.name).collect();
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        let alert = rule["alert"].as_str().unwrap();
        let runbook =
            rule["annotations"]["runbook"].as_str().unwrap_or_else(|| panic!("{alert}: no runbook"));
        let (file, place) = runbook.split_once('#').unwrap_or((runbook, ""));
        let file = file.strip_prefix("docs/").unwrap();
        let text = fs::read_to_string(docs(file)).unwrap_or_else(|e| panic!("{alert}: {runbook}: {e}"));
        let anchors = text.lines().filter(|line| line.starts_with('#')).map(|line| {
            line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-").replace(['`', ','], "")
        });
        assert!(place.is_empty() || anchors.into_iter().any(|anchor| anchor == place), "{alert}: {runbook}");
        let name = file.rsplit('/').next().unwrap();
        let row = readme.lines().find(|line| line.starts_with("| ") && line.contains(alert));
        let row = row.unwrap_or_else(|| panic!("docs/runbooks/README.md says nothing of {alert}"));
        assert!(row.contains(&format!("({name}")), "{alert} leads to {name}: {row}");
        pages.remove(name);
    }
    // And whatever is there can be found without an alert.
    pages.remove("README.md");
    assert!(pages.iter().all(|page| readme.contains(&format!("({page}"))), "{pages:?}");
}

/// A cluster where the pod comes to a bad end before there is anything to read of it.
#[test]
fn a_pod_that_does_not_run_is_not_waited_for() {
    for (get_pod, said) in [("printf 'Failed '", "describe pod weekvault-"), ("exit 1", "no log")] {
        let folder = tempfile::tempdir().unwrap();
        let stub = format!(
            "case $* in\n*' logs '*) echo 'no log' >&2; exit 1 ;;\n*' get pod '*) {get_pod} ;;\nesac\n"
        );
        let mut command = script_with(folder.path(), &stub);
        command.arg("list");
        common::Ran::of(command).expect(1).says(said);
    }
}
