//! What the manifests say, as far as it can be told without a cluster.

use super::deploy;
use super::kubernetes::{OVERLAYS, Object, Task, documents, kustomized, lost, objects};
use std::collections::BTreeSet;

const TASKS: [&str; 5] = ["init.yaml", "backup.yaml", "verify.yaml", "restore.yaml", "materialize.yaml"];

fn tasks() -> impl Iterator<Item = Task> {
    let plain = OVERLAYS.into_iter().flat_map(|overlay| TASKS.map(|file| Task::of(overlay, file)));
    plain.chain(OVERLAYS.map(Task::sealed_backup))
}

#[test]
fn kubernetes_has_a_place_for_every_field() {
    for overlay in OVERLAYS {
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(deploy("kubernetes").join(overlay)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != "kustomization.yaml" {
                assert!(!objects(overlay, &name).is_empty(), "{overlay}/{name}");
                files.insert(name);
            }
        }
        assert_eq!(files.len(), 7, "{files:?}");
    }
    // The judge is not blind: what Kubernetes does not know is seen.
    let known = serde_json::json!({"a": {"b": [{"c": 1}]}});
    assert_eq!(lost(&serde_json::json!({"a": {"b": [{"c": 1, "d": 2}]}}), &known, ""), ["/a/b/0/d"]);
    assert_eq!(lost(&serde_json::json!({"a": {"b": [{"c": 2}]}}), &known, ""), ["/a/b/0/c"]);
}

#[test]
fn kustomizations_have_what_runs_by_itself() {
    for overlay in OVERLAYS {
        let folder = deploy("kubernetes").join(overlay);
        let document = documents(&folder.join("kustomization.yaml")).pop().unwrap();
        // A restore in it would run at each `kubectl apply`.
        let resources = ["nfs.yaml", "backup.yaml", "verify.yaml", "network.yaml"];
        assert_eq!(document["resources"], serde_json::json!(resources));
        let image = Task::of(overlay, "backup.yaml").container().image.clone().unwrap();
        let (name, tag) = image.split_once(':').unwrap();
        assert_eq!(document["images"][0]["name"], name, "it would replace nothing");
        assert_eq!(document["images"][0]["newTag"], tag);
        assert_eq!(tag, env!("CARGO_PKG_VERSION"));
        let all = kustomized(overlay).unwrap_or_default();
        if !all.is_empty() {
            assert_eq!(all.iter().filter(|document| document["kind"] == "CronJob").count(), 2);
            let inside = all.iter().filter(|d| d["metadata"]["namespace"] == document["namespace"]);
            assert_eq!(inside.count(), 4);
        }
    }
}

#[test]
fn pods_have_no_right_too_many() {
    for task in tasks() {
        let (pod, name) = (task.pod(), &task.name);
        assert_eq!(pod.automount_service_account_token, Some(false), "{name}");
        assert_eq!(pod.enable_service_links, Some(false), "{name}");
        assert_eq!(pod.restart_policy.as_deref(), Some("Never"), "{name}");
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
        let context = pod.security_context.as_ref().unwrap();
        assert!(context.fs_group.is_none(), "{name}: it would change the owners of what is backed up");
        assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault", "{name}");
        let context = task.container().security_context.as_ref().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
        assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
        assert!(context.privileged.is_none(), "{name}");
        // Capabilities that are added reach root only.
        assert_eq!(context.run_as_user, Some(0), "{name}");
        let resources = task.container().resources.as_ref().unwrap();
        assert_eq!(resources.limits.as_ref().unwrap()["memory"].0, "128Mi", "{name}");
        assert!(["cpu", "memory"].iter().all(|r| resources.requests.as_ref().unwrap().contains_key(*r)));
        assert!(
            task.spec.ttl_seconds_after_finished >= Some(3 * 86_400),
            "{name}: its logs are gone too soon"
        );
        // Who writes what.
        for mount in task.mounts() {
            let writes = match mount.mount_path.as_str() {
                "/target" => true,
                "/backup" => name.ends_with("-backup") || name.ends_with("-init"),
                "/keys" | "/identity" => false,
                path if path.starts_with("/src/") => false,
                path => panic!("{name} mounts {path}"),
            };
            assert_eq!(mount.read_only != Some(true), writes, "{name} at {}", mount.mount_path);
        }
        let added = task.capabilities();
        match name.split_once('-').unwrap().1 {
            "backup" => assert_eq!(added, ["DAC_READ_SEARCH"]),
            "init" | "verify" => assert!(added.is_empty(), "{added:?}"),
            _ => assert_eq!(added, ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"]),
        }
    }
}

#[test]
fn pods_reach_a_name_server_and_the_pushgateway() {
    for overlay in OVERLAYS {
        let Some(Object::Network(policy)) = objects(overlay, "network.yaml").pop() else {
            panic!("{overlay}")
        };
        let spec = policy.spec.unwrap();
        assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
        assert!(spec.ingress.is_none(), "nobody reaches them");
        let selector = spec.pod_selector.unwrap().match_expressions.unwrap().pop().unwrap();
        assert_eq!((selector.key.as_str(), selector.operator.as_str()), ("app", "In"));
        let selected = selector.values.unwrap();
        for task in TASKS.map(|file| Task::of(overlay, file)) {
            let labels = task.spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
            assert!(selected.contains(&labels["app"]), "{}", task.name);
            // The gateway's URL names the namespace and the port that are let through.
            for (_, url) in
                task.environment().into_iter().filter(|(name, _)| *name == "WEEKVAULT_PUSHGATEWAY")
            {
                let egress = serde_json::to_value(&spec.egress.as_ref().unwrap()[1]).unwrap();
                let namespace =
                    &egress["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"];
                let end = format!(".{}:{}", namespace.as_str().unwrap(), egress["ports"][0]["port"]);
                assert!(url.ends_with(&end), "{url} does not end in {end}");
            }
        }
        // That of `weekvault.sh`.
        assert!(selected.contains(&format!("{overlay}-command")));
    }
}

#[test]
fn the_image_is_one_file_and_nobodys() {
    let text = std::fs::read_to_string(deploy("../../Dockerfile")).unwrap();
    let (_, last) = text.rsplit_once("\nFROM ").unwrap();
    let first_word = |line: &str| line.split(' ').next().unwrap().to_owned();
    let instructions: Vec<String> =
        last.lines().filter(|l| l.starts_with(|c: char| c.is_ascii_uppercase())).map(first_word).collect();
    assert!(last.starts_with("scratch\n"));
    assert_eq!(instructions, ["ARG", "ARG", "LABEL", "COPY", "ENV", "USER", "ENTRYPOINT"]);
    // In numbers: Kubernetes cannot know of a name whether it is root's.
    let user = last.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    assert!(last.ends_with("ENTRYPOINT [\"/weekvault\"]\n"), "arguments are the program's own");
}

#[test]
fn names_lead_to_what_they_name() {
    for overlay in OVERLAYS {
        let (mut claims, mut volume) = (Vec::new(), None);
        for object in objects(overlay, "nfs.yaml") {
            match object {
                Object::Volume(v) => volume = Some(v),
                Object::Claim(claim) => claims.push(claim),
                _ => panic!("{overlay}/nfs.yaml"),
            }
        }
        let volume = volume.unwrap();
        let spec = volume.spec.unwrap();
        assert_eq!(
            spec.mount_options.unwrap().join(","),
            "nfsvers=4,soft,timeo=30,retrans=3,actimeo=5",
            "as in docs/reliability.md"
        );
        assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));
        let csi = spec.csi.unwrap();
        let attributes = csi.volume_attributes.unwrap();
        assert_eq!(csi.driver, "nfs.csi.k8s.io");
        assert_eq!(csi.volume_handle, format!("{}{}", attributes["server"], attributes["share"]));
        let [claim] = claims.try_into().map_err(drop).unwrap();
        let spec = claim.spec.unwrap();
        assert_eq!(spec.volume_name, volume.metadata.name);
        // The default class would make a volume of its own.
        assert_eq!(spec.storage_class_name.as_deref(), Some(""));
        for task in TASKS.map(|file| Task::of(overlay, file)) {
            let volumes = task.pod().volumes.as_deref().unwrap();
            let named: BTreeSet<&str> = volumes.iter().map(|v| v.name.as_str()).collect();
            let mounted: BTreeSet<&str> = task.mounts().iter().map(|m| m.name.as_str()).collect();
            assert_eq!(named, mounted, "{}", task.name);
            let claim_of = |name: &str| {
                let volume = volumes.iter().find(|v| v.name == name)?;
                Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone())
            };
            assert_eq!(claim_of("backup"), claim.metadata.name, "{}", task.name);
            for rule in task.spec.pod_failure_policy.iter().flat_map(|p| &p.rules) {
                if let Some(codes) = &rule.on_exit_codes {
                    assert_eq!(codes.container_name.as_deref(), Some(task.container().name.as_str()));
                    assert_eq!((codes.operator.as_str(), rule.action.as_str()), ("In", "FailJob"));
                }
            }
        }
    }
}

/// The exit codes after which a job is not tried again.
fn final_codes(task: &Task) -> Vec<i32> {
    let rules = task.spec.pod_failure_policy.iter().flat_map(|p| &p.rules);
    rules.filter_map(|r| r.on_exit_codes.as_ref()).flat_map(|c| c.values.clone()).collect()
}

#[test]
fn schedules_are_kept() {
    for (overlay, app, schedule) in
        [("roundcube", "roundcubemail", "10 3 * * *"), ("mailserver", "mailserver", "40 3 * * *")]
    {
        let backup = Task::of(overlay, "backup.yaml");
        assert_eq!(backup.name, format!("{overlay}-backup"));
        let cron = backup.cron.as_ref().unwrap().spec.as_ref().unwrap();
        assert_eq!(cron.schedule, schedule);
        let affinity = backup.pod().affinity.clone().unwrap().pod_affinity.unwrap();
        let terms = affinity.required_during_scheduling_ignored_during_execution.unwrap();
        assert_eq!(terms[0].topology_key, "kubernetes.io/hostname");
        let labels = terms[0].label_selector.clone().unwrap().match_labels.unwrap();
        assert_eq!(labels.into_iter().collect::<Vec<_>>(), [("app".to_owned(), app.to_owned())]);
        assert_eq!(final_codes(&backup), [2, 3]);
        let verify = Task::of(overlay, "verify.yaml");
        assert_eq!(final_codes(&verify), [2, 4]);
        for task in [backup, verify] {
            let spec = task.cron.as_ref().unwrap().spec.as_ref().unwrap();
            assert_eq!(spec.concurrency_policy.as_deref(), Some("Forbid"), "{}", task.name);
            assert!(spec.starting_deadline_seconds.is_some() && task.spec.backoff_limit.is_some());
            assert!(spec.successful_jobs_history_limit.is_some() && spec.failed_jobs_history_limit.is_some());
            // The day on which a new week begins is the schedule's.
            let zone = task.environment().into_iter().find(|(name, _)| *name == "TZ").unwrap().1;
            assert_eq!(spec.time_zone.as_deref(), Some(zone), "{}", task.name);
            let dns = task.pod().dns_config.clone().unwrap().options.unwrap();
            assert_eq!(dns[0].name.as_deref(), Some("ndots"));
            // Alerts and dashboard find a verify by the backup's job.
            let job = task.environment().into_iter().find(|(name, _)| *name == "WEEKVAULT_JOB").unwrap().1;
            assert_eq!(job, format!("{overlay}-backup"));
        }
    }
}
