//! What deployments of sealed stores have and have not, and their jobs, run.

use super::deploy;
use super::kubernetes::{OVERLAYS, Task, check_command_line, documents, kustomized, merge, sealed_backup};
use super::node::Node;
use crate::common::{INIT, Place, Ran, is_root};
use serde_json::{Value, json};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;

/// The same with the objects of each list in one order, whoever has put them together.
fn in_order(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, in_order(value))).collect::<Value>()
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.into_iter().map(in_order).collect();
            if items.iter().all(Value::is_object) {
                items.sort_by_key(Value::to_string);
            }
            Value::Array(items)
        }
        other => other,
    }
}

#[test]
fn overlays_for_sealed_stores_are_the_plain_ones_with_a_writers_file() {
    let component = documents(&deploy("kubernetes/sealed/kustomization.yaml")).pop().unwrap();
    let patch = json!([{"path": "backup.yaml", "target": {"kind": "CronJob", "name": ".*-backup"}}]);
    assert_eq!((&component["kind"], &component["patches"]), (&json!("Component"), &patch));
    for overlay in OVERLAYS {
        let folder = format!("{overlay}-sealed");
        let text = deploy("kubernetes").join(&folder).join("kustomization.yaml");
        let document = documents(&text).pop().unwrap();
        assert_eq!(document["resources"], json!([format!("../{overlay}")]));
        assert_eq!(document["components"], json!(["../sealed"]));
        let (Some(plain), Some(sealed)) = (kustomized(overlay), kustomized(&folder)) else { continue };
        for (plain, sealed) in plain.into_iter().zip(sealed) {
            let mut expected = plain;
            if expected["metadata"]["name"] == format!("{overlay}-backup") && expected["kind"] == "CronJob" {
                let namespace = expected["metadata"]["namespace"].clone();
                expected = sealed_backup(overlay);
                expected["metadata"]["namespace"] = namespace;
            }
            assert_eq!(in_order(sealed), in_order(expected), "{folder}");
        }
    }
}

#[test]
fn a_sealed_backup_gets_a_writers_file_and_nothing_more() {
    for overlay in OVERLAYS {
        let (plain, sealed) = (Task::of(overlay, "backup.yaml"), Task::sealed_backup(overlay));
        let added: Vec<_> =
            sealed.environment().into_iter().filter(|v| !plain.environment().contains(v)).collect();
        assert_eq!(added, [("WEEKVAULT_WRITER_KEY", "/keys/writer.key")], "{overlay}");
        let mut rest = sealed.spec.clone();
        let pod = rest.template.spec.as_mut().unwrap();
        let volume = pod.volumes.as_mut().unwrap().pop().unwrap();
        let mount = pod.containers[0].volume_mounts.as_mut().unwrap().pop().unwrap();
        pod.containers[0].env.as_mut().unwrap().retain(|v| v.name != "WEEKVAULT_WRITER_KEY");
        assert_eq!(rest, plain.spec, "{overlay}: what else differs from the plain one");
        assert_eq!((mount.mount_path.as_str(), &mount.name), ("/keys", &volume.name));
        let secret = volume.secret.unwrap();
        assert_eq!(secret.secret_name.as_deref(), Some("weekvault-writer"));
        assert_eq!((secret.default_mode, secret.optional), (Some(0o400), None), "{overlay}");
        let keys: Vec<_> = secret.items.unwrap().into_iter().map(|item| item.path).collect();
        assert_eq!(keys, ["writer.key"]);
    }
}

#[test]
fn an_identity_is_in_nothing_that_stands() {
    for overlay in OVERLAYS {
        for task in
            [Task::of(overlay, "backup.yaml"), Task::of(overlay, "verify.yaml"), Task::sealed_backup(overlay)]
        {
            let text = serde_json::to_string(&task.cron).unwrap().to_lowercase();
            assert!(!text.contains("identity") && !text.contains("\"stdin\""), "{}", task.name);
        }
        for file in ["restore.yaml", "materialize.yaml"] {
            let task = Task::of(overlay, file);
            let (name, container) = (&task.name, task.container());
            assert_eq!((container.stdin, container.stdin_once), (Some(true), Some(true)), "{name}");
            let volume = task.pod().volumes.iter().flatten().find(|v| v.name == "identity").unwrap();
            let secret = volume.secret.as_ref().unwrap();
            assert_eq!(secret.secret_name.as_deref(), Some("weekvault-identity"), "{name}");
            // A plain store has none, nor has one that gets it by its standard input.
            assert_eq!((secret.optional, secret.default_mode), (Some(true), Some(0o400)), "{name}");
            assert!(task.environment().iter().all(|(name, _)| *name != "WEEKVAULT_IDENTITY"), "{name}");
        }
    }
    for folder in OVERLAYS.map(|overlay| format!("{overlay}-sealed")) {
        let all = kustomized(&folder).unwrap_or_default();
        assert!(
            all.iter().all(|document| document["kind"] != "Secret"),
            "{folder}: keys are in no repository"
        );
    }
}

#[test]
fn merging_is_what_kubernetes_does() {
    let mut document = json!({"a": [{"name": "x", "v": 1}, {"name": "y"}], "b": ["1"], "c": 1, "d": 1});
    merge(
        &mut document,
        &json!({"a": [{"name": "y", "v": 2}, {"name": "z"}], "b": ["2"], "c": null, "e": {"f": 3}}),
    );
    let merged = json!({
        "a": [{"name": "x", "v": 1}, {"name": "y", "v": 2}, {"name": "z"}], "b": ["2"], "d": 1, "e": {"f": 3}
    });
    assert_eq!(document, merged);
}

#[test]
fn the_jobs_do_with_their_keys_what_they_are_for() {
    for overlay in OVERLAYS {
        let (node, place) = (Node::new(), Place::with_operators());
        let backup = Task::sealed_backup(overlay);
        let [verify, restore, materialize] =
            ["verify", "restore", "materialize"].map(|file| Task::of(overlay, &format!("{file}.yaml")));
        check_command_line(backup.container());
        let run = |task: &Task| {
            let capabilities = is_root().then(|| task.capabilities());
            node.command(task, capabilities.as_deref())
        };
        let source = backup.mounts().iter().find_map(|m| m.mount_path.strip_prefix("/src/")).unwrap();
        for mount in backup.mounts().iter().filter(|m| m.mount_path.starts_with("/src/")) {
            fs::create_dir(node.path(&mount.mount_path)).unwrap();
            fs::write(node.path(&mount.mount_path).join("file"), source).unwrap();
        }
        let mut init = place.bare();
        init.arg("--store").arg(node.path("backup"));
        let words =
            place.words(&INIT.replace("{}/writer.key", &node.path("keys/writer.key").display().to_string()));
        Ran::of({
            init.args(words);
            init
        })
        .expect(0);
        // As the Secret is mounted.
        fs::set_permissions(node.path("keys/writer.key"), Permissions::from_mode(0o400)).unwrap();
        Ran::of(run(&Task::of(overlay, "backup.yaml"))).expect(1).says("--writer-key");
        Ran::of(run(&backup)).expect(0);
        Ran::of(run(&verify)).expect(0);
        Ran::of(run(&restore)).expect(1).says("no key that opens it was given");
        let key = node.path("identity/ann.key");
        fs::copy(place.path("ann.key"), &key).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        let mut restoring = run(&restore);
        restoring.env("WEEKVAULT_IDENTITY", &key).env("WEEKVAULT_DRY_RUN", "0");
        Ran::of(restoring).expect(0);
        assert_eq!(fs::read_to_string(node.path("target/file")).unwrap(), source);
        // No file has it now.
        fs::rename(&key, place.path("taken.key")).unwrap();
        let mut materializing = run(&materialize);
        materializing.env("WEEKVAULT_IDENTITY", "-").stdin(File::open(place.path("taken.key")).unwrap());
        Ran::of(materializing).expect(0);
        assert_eq!(fs::read_to_string(node.path("target/tree/file")).unwrap(), source);
    }
}
