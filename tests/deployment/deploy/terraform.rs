//! The Terraform module says what the manifests say. Its syntax is `terraform fmt`'s business, in `.ci/run`.

use super::deploy;
use super::kubernetes::{Object, Task, objects};
use crate::common::skip;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// A file of the module, or a resource of it, without blanks.
fn terraform(file: &str, resource: &str) -> String {
    let text = fs::read_to_string(deploy("terraform").join(file)).unwrap();
    let start = text.find(resource).unwrap();
    let length = text[start..].find("\n}").unwrap();
    text[start..start + length].replace([' ', '\n'], "")
}

/// Fields that are variables of the module, or the names of its parts.
const OTHERWISE: [&str; 11] = [
    "apiVersion",
    "kind",
    "metadata",
    "schedule",
    "timeZone",
    "image",
    "args",
    "env",
    "affinity",
    "volumes",
    "volumeMounts",
];

/// `field=value` for each field below a value that is no object, with names as in Terraform.
fn settings(value: &Value, settings: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !OTHERWISE.contains(&name.as_str())) {
                let is_plain = value.as_array().is_some_and(|v| !v.iter().any(Value::is_object));
                if value.is_object() || (value.is_array() && !is_plain) {
                    settings_of(name, value, settings);
                } else {
                    settings.insert(format!("{}={value}", snake(name)));
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|v| self::settings(v, settings)),
        _ => {}
    }
}

fn settings_of(name: &str, value: &Value, all: &mut BTreeSet<String>) {
    match name {
        // The limit is a variable, whose default is looked at below.
        "limits" => drop(all.insert("limits={memory=var.memory_limit}".to_owned())),
        "requests" => {
            let value = value.as_object().unwrap().iter().map(|(name, value)| format!("{name}={value}"));
            all.insert(format!("requests={{{}}}", value.collect::<Vec<_>>().join(",")));
        }
        _ => settings(value, all),
    }
}

fn snake(name: &str) -> String {
    let parts = name.chars().map(|c| match c.is_uppercase() {
        true => format!("_{}", c.to_lowercase()),
        false => c.to_string(),
    });
    parts.collect()
}

#[test]
fn the_module_makes_what_the_manifests_are() {
    for file in ["backup", "verify"] {
        let task = Task::of("roundcube", &format!("{file}.yaml"));
        let resource = terraform("main.tf", &format!("resource \"kubernetes_cron_job_v1\" \"{file}\""));
        let mut all = BTreeSet::new();
        settings(&serde_json::to_value(task.cron.as_ref().unwrap()).unwrap(), &mut all);
        assert!(all.len() > 20, "{all:#?}");
        let missing: Vec<_> = all.iter().filter(|setting| !resource.contains(*setting)).collect();
        assert!(missing.is_empty(), "{file}: {missing:#?}");
        let ignored = "ignore_changes=[spec[0].job_template[0].spec[0].template[0].spec[0].dns_config]";
        assert!(resource.contains("#KYVERNO_LIFECYCLE_V1:") && resource.contains(ignored), "{file}");
        // The same variables, and where nothing but a name or a zone is asked for, the same values.
        let environment = terraform("main.tf", "environment = {");
        for (name, value) in task.environment() {
            let (_, rest) =
                environment.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("no {name}"));
            assert!(
                rest.starts_with(&format!("{value:?}"))
                    || rest.starts_with("var.")
                    || rest.starts_with("coalesce(")
            );
        }
    }
}

#[test]
fn the_module_lets_pods_reach_what_the_manifests_do() {
    let Some(Object::Network(policy)) = objects("roundcube", "network.yaml").pop() else { panic!() };
    let selector = policy.spec.unwrap().pod_selector.unwrap().match_expressions.unwrap().pop().unwrap();
    let resource = terraform("main.tf", "resource \"kubernetes_network_policy_v1\" \"backup\"");
    let names =
        selector.values.unwrap().into_iter().map(|name| format!("{:?}", name.replace("roundcube-", "")));
    let names = names.collect::<Vec<_>>().join(",");
    assert!(resource.contains(&format!("[fortaskin[{names}]:\"${{var.name}}-${{task}}\"]")), "{names}");
    for part in [
        "policy_types=[\"Ingress\",\"Egress\"]",
        "ports{protocol=\"UDP\"port=\"53\"}ports{protocol=\"TCP\"port=\"53\"}",
        "match_labels={\"kubernetes.io/metadata.name\"=var.pushgateway_namespace}",
        "ports{protocol=\"TCP\"port=var.pushgateway_port}",
    ] {
        assert!(resource.contains(part), "no {part}");
    }
}

#[test]
fn the_module_mounts_what_the_manifests_mount() {
    for file in ["backup", "verify"] {
        let task = Task::of("roundcube", &format!("{file}.yaml"));
        let resource = terraform("main.tf", &format!("resource \"kubernetes_cron_job_v1\" \"{file}\""));
        let has = |part: &str| assert!(resource.contains(part), "{file}: no {part}");
        let (sources, others): (Vec<_>, Vec<_>) =
            task.mounts().iter().partition(|m| m.mount_path.starts_with("/src/"));
        for mount in others {
            let read_only = if mount.read_only == Some(true) { "read_only=true" } else { "" };
            let (name, path) = (&mount.name, &mount.mount_path);
            has(&format!("volume_mount{{name={name:?}mount_path={path:?}{read_only}}}"));
        }
        has("volume{name=\"backup\"persistent_volume_claim{claim_name=var.store_claim}}");
        if sources.is_empty() {
            has("args=[\"verify\"]");
            assert!(!resource.contains("var.sources"), "{file}");
            continue;
        }
        // A source is never written to.
        assert!(sources.iter().all(|m| m.read_only == Some(true)));
        let claim = "index(sort(local.claims),volume_mount.value.claim)";
        has(&format!(
            "for_each=var.sourcescontent{{name=\"source-${{{claim}}}\"mount_path=volume_mount.value.mount_path\
             sub_path=volume_mount.value.sub_pathread_only=true}}"
        ));
        has("for_each=sort(local.claims)content{name=\"source-${volume.key}\"\
             persistent_volume_claim{claim_name=volume.value}}");
        has("args=concat(#kubernetes/roundcube/init.yamlhasmadethestore.[\"backup\",\"--existing\"],\
             [forname,sourceinvar.sources:\"--source=${name}=${source.mount_path}\"],[\"--keep=${var.keep}\"],)");
        let affinity = task.pod().affinity.clone().unwrap().pod_affinity.unwrap();
        let terms = affinity.required_during_scheduling_ignored_during_execution.unwrap();
        has(&format!(
            "label_selector{{match_labels=var.affinity_labels}}topology_key={:?}",
            terms[0].topology_key
        ));
        assert_eq!(task.arguments()[..2], ["backup", "--existing"]);
    }
}

#[test]
fn a_sealed_backup_gets_what_the_overlay_adds() {
    let task = Task::sealed_backup("roundcube");
    let resource = terraform("main.tf", "resource \"kubernetes_cron_job_v1\" \"backup\"");
    let has = |part: &str| assert!(resource.contains(part), "no {part}");
    let mount = task.mounts().iter().find(|m| m.mount_path == "/keys").unwrap();
    has(&format!(
        "dynamic\"volume_mount\"{{for_each=local.writercontent{{name={:?}mount_path={:?}read_only=true}}}}",
        mount.name, mount.mount_path
    ));
    let volume = task.pod().volumes.iter().flatten().find(|v| v.name == mount.name).unwrap();
    let secret = volume.secret.clone().unwrap();
    let item = secret.items.unwrap().pop().unwrap();
    has(&format!(
        "dynamic\"volume\"{{for_each=local.writercontent{{name={:?}secret{{secret_name=var.writer_secret_name\
         default_mode=\"{:04o}\"items{{key={:?}path={:?}}}}}}}}}",
        volume.name,
        secret.default_mode.unwrap(),
        item.key,
        item.path
    ));
    has("for_each=merge(local.environment,local.writer)");
    let (name, value) = task.environment().into_iter().find(|(name, _)| name.contains("WRITER")).unwrap();
    let locals = terraform("main.tf", "locals {");
    assert!(
        locals.contains(&format!("writer=var.writer_secret_name==null?{{}}:{{{name}={value:?}}}")),
        "{locals}"
    );
    // Nobody else gets it, and a plain store needs none.
    let verify = terraform("main.tf", "resource \"kubernetes_cron_job_v1\" \"verify\"");
    assert!(!verify.contains("writer"));
    assert!(terraform("variables.tf", "variable \"writer_secret_name\"").contains("default=null"));
}

/// The variables' own rules, by terraform itself: they need no provider.
#[test]
fn a_writers_secret_is_given_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(deploy("terraform/variables.tf"), folder.path().join("variables.tf")).unwrap();
    let others = serde_json::json!({
        "name": "x", "namespace": "x", "store_claim": "x", "affinity_labels": {},
        "sources": {"x": {"claim": "x", "mount_path": "/x"}},
    });
    for (name, is_one) in
        [("weekvault-writer", true), ("/keys/writer.key", false), ("weekvault-writer 1", false), ("", false)]
    {
        let mut values = others.clone();
        values["writer_secret_name"] = name.into();
        fs::write(folder.path().join("x.auto.tfvars.json"), values.to_string()).unwrap();
        let mut terraform = Command::new("terraform");
        terraform.args(["plan", "-input=false", "-no-color"]).current_dir(folder.path());
        terraform.env("CHECKPOINT_DISABLE", "1").env_remove("TF_CLI_CONFIG_FILE").env("HOME", folder.path());
        let Ok(output) = terraform.output() else { return skip("a variable's rules", "no terraform here") };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_one, "{name:?}: {said}");
        assert!(is_one || said.contains("It is the name of a Secret"), "{name:?}: {said}");
    }
}

#[test]
fn defaults_are_the_manifests() {
    let default = |file: &str, name: &str| {
        let variable = terraform(file, &format!("variable \"{name}\""));
        variable.split_once("default=").unwrap().1.to_owned()
    };
    let task = Task::of("roundcube", "backup.yaml");
    let spec = task.cron.as_ref().unwrap().spec.as_ref().unwrap();
    let environment = task.environment();
    let variable = |wanted: &str| environment.iter().find(|(name, _)| *name == wanted).unwrap().1;
    for (name, value) in [
        ("schedule", spec.schedule.as_str()),
        ("time_zone", spec.time_zone.as_deref().unwrap()),
        ("image", task.container().image.as_deref().unwrap()),
        ("pushgateway", variable("WEEKVAULT_PUSHGATEWAY")),
        ("memory_limit", &task.container().resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0),
    ] {
        assert_eq!(default("variables.tf", name), format!("{value:?}").replace(' ', ""), "{name}");
    }
    assert!(task.arguments().contains(&format!("--keep={}", default("variables.tf", "keep"))));
    let gateway = ["namespace", "port"]
        .map(|part| default("variables.tf", &format!("pushgateway_{part}")).replace('"', ""));
    assert!(variable("WEEKVAULT_PUSHGATEWAY").ends_with(&gateway.join(":")), "{gateway:?}");
    let verify = Task::of("roundcube", "verify.yaml").cron.unwrap().spec.unwrap();
    assert_eq!(default("variables.tf", "verify_schedule"), format!("{:?}", verify.schedule).replace(' ', ""));
    let Some(Object::Volume(volume)) = objects("roundcube", "nfs.yaml").into_iter().next() else { panic!() };
    let options = format!("{:?}", volume.spec.unwrap().mount_options.unwrap()).replace(' ', "");
    assert_eq!(default("nfs_volume/variables.tf", "mount_options"), options);
    // An empty name, as the manifests have it, is lost on the way through the provider.
    assert_ne!(default("nfs_volume/variables.tf", "storage_class").split('"').nth(1), Some(""));
    for resource in ["persistent_volume_v1", "persistent_volume_claim_v1"] {
        let resource = terraform("nfs_volume/main.tf", &format!("resource \"kubernetes_{resource}\""));
        assert!(resource.contains("storage_class_name=var.storage_class"), "{resource}");
    }
}

#[test]
fn examples_are_the_overlays() {
    for (name, overlay) in
        [("roundcube", "roundcube"), ("mailserver", "mailserver"), ("roundcube-sealed", "roundcube")]
    {
        let file = format!("examples/{name}/main.tf");
        let example = terraform(&file, "module \"backup\"");
        assert_eq!(
            example.contains("writer_secret_name=\"weekvault-writer\""),
            name.ends_with("-sealed"),
            "{name}"
        );
        let task = Task::of(overlay, "backup.yaml");
        let spec = task.cron.as_ref().unwrap().spec.as_ref().unwrap();
        assert!(example.contains(&format!("schedule={:?}", spec.schedule).replace(' ', "")), "{overlay}");
        for mount in task.mounts().iter().filter(|m| m.mount_path.starts_with("/src/")) {
            let volume = task.pod().volumes.iter().flatten().find(|v| v.name == mount.name).unwrap();
            let claim = &volume.persistent_volume_claim.as_ref().unwrap().claim_name;
            let sub_path =
                mount.sub_path.as_ref().map_or(String::new(), |path| format!(",sub_path={path:?}"));
            let source = format!("{{claim={claim:?},mount_path={:?}{sub_path}}}", mount.mount_path);
            assert!(example.contains(&source), "{overlay}: no {source}");
        }
    }
}
