//! Manifests, read as Kubernetes reads them, and what they have the program do.

use super::deploy;
use crate::common::skip;
use k8s_openapi::api::batch::v1::{CronJob, Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PersistentVolume, PersistentVolumeClaim, PodSpec, VolumeMount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

pub(crate) const OVERLAYS: [&str; 2] = ["roundcube", "mailserver"];

pub(crate) enum Object {
    CronJob(Box<CronJob>),
    Job(Box<Job>),
    Volume(Box<PersistentVolume>),
    Claim(Box<PersistentVolumeClaim>),
    Network(Box<NetworkPolicy>),
}

/// The documents of a YAML file.
pub(crate) fn documents(file: &Path) -> Vec<Value> {
    parsed(&fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
}

/// The documents of a YAML text.
pub(crate) fn parsed(text: &str) -> Vec<Value> {
    let of = |d| Value::deserialize(d).unwrap_or_else(|e| panic!("{e}: {text}"));
    serde_norway::Deserializer::from_str(text).map(of).collect()
}

/// The objects of a file in an overlay, each of a type of Kubernetes, which must have a place for all that the file has.
pub(crate) fn objects(overlay: &str, file: &str) -> Vec<Object> {
    let file = deploy("kubernetes").join(overlay).join(file);
    documents(&file).iter().map(object).collect()
}

pub(crate) fn object(document: &Value) -> Object {
    let kind = [&document["apiVersion"], &document["kind"]].map(|v| v.as_str().unwrap_or_default());
    match kind {
        ["batch/v1", "CronJob"] => Object::CronJob(Box::new(typed(document))),
        ["batch/v1", "Job"] => Object::Job(Box::new(typed(document))),
        ["v1", "PersistentVolume"] => Object::Volume(Box::new(typed(document))),
        ["v1", "PersistentVolumeClaim"] => Object::Claim(Box::new(typed(document))),
        ["networking.k8s.io/v1", "NetworkPolicy"] => Object::Network(Box::new(typed(document))),
        kind => panic!("a {kind:?} is not known here: {document:#}"),
    }
}

pub(crate) fn typed<T: DeserializeOwned + Serialize>(document: &Value) -> T {
    let typed: T = serde_json::from_value(document.clone()).unwrap_or_else(|e| panic!("{e}: {document:#}"));
    let lost = lost(document, &serde_json::to_value(&typed).unwrap(), "");
    assert!(lost.is_empty(), "{}: Kubernetes knows no {lost:?}", document["metadata"]["name"]);
    typed
}

/// Puts what `patch` has into a document, as Kubernetes merges strategically: objects of a list by their names, mounts by their
/// paths; null takes away.
pub(crate) fn merge(document: &mut Value, patch: &Value) {
    match (&mut *document, patch) {
        (Value::Object(fields), Value::Object(patches)) => {
            for (name, patch) in patches {
                if patch.is_null() {
                    fields.remove(name);
                } else {
                    merge(fields.entry(name).or_insert(Value::Null), patch);
                }
            }
        }
        (Value::Array(items), Value::Array(patches)) if patches.iter().all(|patch| key(patch).is_some()) => {
            for patch in patches {
                match items.iter_mut().find(|item| key(item) == key(patch)) {
                    Some(item) => merge(item, patch),
                    None => items.push(patch.clone()),
                }
            }
        }
        _ => *document = patch.clone(),
    }
}

fn key(item: &Value) -> Option<&Value> {
    item.get("mountPath").or_else(|| item.get("name"))
}

/// What `kubectl apply -k` would send; none where there is no kubectl.
pub(crate) fn kustomized(folder: &str) -> Option<Vec<Value>> {
    let output = Command::new("kubectl").arg("kustomize").arg(deploy("kubernetes").join(folder)).output();
    let Ok(output) = output else {
        skip("kustomizations", "no kubectl here");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(parsed(&String::from_utf8(output.stdout).unwrap()))
}

/// The backup's CronJob of an overlay, with what its overlay for sealed stores adds.
pub(crate) fn sealed_backup(overlay: &str) -> Value {
    let mut cron = documents(&deploy("kubernetes").join(overlay).join("backup.yaml")).pop().unwrap();
    let mut patch = documents(&deploy("kubernetes/sealed/backup.yaml")).pop().unwrap();
    // Which one it is for is said beside it.
    patch.as_object_mut().unwrap().remove("metadata");
    merge(&mut cron, &patch);
    cron
}

/// The paths of what is in a document, and is not the same in another.
pub(crate) fn lost(document: &Value, other: &Value, path: &str) -> Vec<String> {
    match (document, other) {
        (Value::Object(document), Value::Object(_)) => {
            document.iter().flat_map(|(name, v)| lost(v, &other[name], &format!("{path}/{name}"))).collect()
        }
        (Value::Array(document), Value::Array(others)) if document.len() == others.len() => {
            let pairs = document.iter().zip(others).enumerate();
            pairs.flat_map(|(number, (v, other))| lost(v, other, &format!("{path}/{number}"))).collect()
        }
        _ if document == other => Vec::new(),
        _ => vec![path.to_owned()],
    }
}

/// Holds a container's arguments and variables to the program's own parser.
#[track_caller]
pub(crate) fn check_command_line(container: &Container) {
    let (program, arguments) = (weekvault::cli::command(), container.args.as_deref().unwrap());
    assert!(container.command.is_none(), "the image has the command");
    let command = program.find_subcommand(&arguments[0]).unwrap();
    let options: Vec<_> = program.get_arguments().chain(command.get_arguments()).collect();
    let mut line = vec!["weekvault".to_owned()];
    for (name, value) in variables(container).into_iter().filter(|(name, _)| name.starts_with("WEEKVAULT_")) {
        let option = options.iter().find(|o| o.get_env().is_some_and(|v| v == name));
        let option = option.unwrap_or_else(|| panic!("{}: {name} is no variable of it", arguments[0]));
        match option.get_action().takes_values() {
            true => line.push(format!("--{}={value}", option.get_long().unwrap())),
            false => assert!(["0", "1"].contains(&value), "{name}={value}"),
        }
    }
    // Options that all commands have may stand behind the command as well.
    line.splice(1..1, arguments.iter().cloned());
    let parsed = program.clone().try_get_matches_from(&line);
    assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
    // A name that nothing reads would be a silent no.
    let known = |name: &str| name == "TZ" || name.starts_with("WEEKVAULT_");
    assert!(variables(container).iter().all(|(name, _)| known(name)));
}

/// The variables that a container has, by name.
pub(crate) fn variables(container: &Container) -> Vec<(&str, &str)> {
    let variables = container.env.iter().flatten();
    variables.map(|v| (v.name.as_str(), v.value.as_deref().unwrap())).collect()
}

/// The capabilities that are added to none.
pub(crate) fn capabilities(container: &Container) -> Vec<String> {
    let capabilities = container.security_context.clone().unwrap().capabilities.unwrap();
    assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]), "{}", container.name);
    capabilities.add.unwrap_or_default()
}

/// A job of an overlay: what is the same whether it is made by hand or by a CronJob.
pub(crate) struct Task {
    pub(crate) name: String,
    pub(crate) spec: JobSpec,
    pub(crate) cron: Option<CronJob>,
}

impl Task {
    /// The only object of a file in an overlay.
    pub(crate) fn of(overlay: &str, file: &str) -> Self {
        let object = objects(overlay, file).pop().unwrap_or_else(|| panic!("{overlay}/{file} has nothing"));
        Self::in_object(object)
    }

    /// The backup of an overlay for sealed stores.
    pub(crate) fn sealed_backup(overlay: &str) -> Self {
        Self::in_object(object(&sealed_backup(overlay)))
    }

    fn in_object(object: Object) -> Self {
        match object {
            Object::CronJob(cron) => {
                let (name, spec) = (cron.metadata.name.clone(), cron.spec.clone());
                let spec = spec.and_then(|s| s.job_template.spec);
                Self { name: name.unwrap(), spec: spec.unwrap(), cron: Some(*cron) }
            }
            Object::Job(job) => {
                Self { name: job.metadata.name.unwrap(), spec: job.spec.unwrap(), cron: None }
            }
            _ => panic!("no job"),
        }
    }

    pub(crate) fn pod(&self) -> &PodSpec {
        self.spec.template.spec.as_ref().unwrap()
    }

    pub(crate) fn container(&self) -> &Container {
        match self.pod().containers.as_slice() {
            [container] => container,
            other => panic!("{}: {} containers", self.name, other.len()),
        }
    }

    pub(crate) fn arguments(&self) -> &[String] {
        self.container().args.as_deref().unwrap()
    }

    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        variables(self.container())
    }

    pub(crate) fn mounts(&self) -> &[VolumeMount] {
        self.container().volume_mounts.as_deref().unwrap()
    }

    pub(crate) fn capabilities(&self) -> Vec<String> {
        capabilities(self.container())
    }
}
