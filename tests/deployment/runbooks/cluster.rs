//! The cluster that the pages speak of: Roundcube, its volumes, the backup's CronJobs, and what is made by hand. Jobs are
//! run, each in a mount namespace of its own, with the volumes, the variables and the capabilities that it asks for.

use super::sandbox::Sandbox;
use crate::common::copy;
use crate::deploy::kubernetes::{
    Object, Task, capabilities, check_command_line, merge, object, sealed_backup, typed, variables,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecretVolumeSource};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Mounts, in pairs of what and where (`-ro` behind it: not to be written to), then runs what follows `--`.
const RUN: &str = r#"
set -e
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    case $3 in ro) mount -o remount,bind,ro "$2" ;; esac
    shift 3
done
shift
exec "$@" 2>&1
"#;

/// A container that has ended.
pub(crate) struct Ended {
    pub(crate) app: String,
    pub(crate) log: String,
    pub(crate) code: i32,
}

/// What waits for somebody to attach to it: its app, and what it runs.
type Waiting = (String, Box<PodSpec>);

pub(crate) struct Cluster<'a> {
    pub(crate) sandbox: &'a Sandbox,
    /// Pods of Roundcube.
    pub(crate) replicas: u32,
    /// CronJobs, by name.
    pub(crate) crons: BTreeMap<String, Value>,
    pub(crate) jobs: BTreeMap<String, Ended>,
    pub(crate) pods: BTreeMap<String, Ended>,
    /// Jobs and pods whose identity comes by their standard input, by `job/NAME` and `pod/NAME`.
    pub(crate) waiting: BTreeMap<String, Waiting>,
    /// Secrets by name, and what they have, by key.
    pub(crate) secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// Claims, and where what they claim lies.
    claims: BTreeMap<String, PathBuf>,
    /// Instead of the one in the manifests.
    pub(crate) pushgateway: Option<String>,
}

impl<'a> Cluster<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox) -> Self {
        let crons = ["backup", "verify"].map(|file| {
            let task = Task::of("roundcube", &format!("{file}.yaml"));
            (task.name, serde_json::to_value(task.cron.unwrap()).unwrap())
        });
        let claims = ["html", "enigma"]
            .map(|name| (format!("roundcubemail-{name}"), sandbox.path(&format!("claims/{name}"))));
        let mut claims = BTreeMap::from(claims);
        claims.insert("roundcube-backup".to_owned(), sandbox.path("store"));
        let (jobs, pods) = (BTreeMap::new(), BTreeMap::new());
        let (waiting, secrets) = (BTreeMap::new(), BTreeMap::new());
        let crons = crons.into();
        Self { sandbox, replicas: 1, crons, jobs, pods, waiting, secrets, claims, pushgateway: None }
    }

    /// `apply -k`: of what is there already, what somebody else has set stays.
    pub(crate) fn apply(&mut self, folder: &str) {
        match folder {
            "docs/deploy/kubernetes/roundcube" => {}
            "docs/deploy/kubernetes/roundcube-sealed" => {
                self.patch_cron("roundcube-backup", &sealed_backup("roundcube"));
            }
            other => panic!("nothing is known of {other}"),
        }
    }

    pub(crate) fn is_suspended(&self, cron: &str) -> bool {
        self.crons[cron]["spec"]["suspend"] == true
    }

    /// Changes a CronJob.
    pub(crate) fn patch_cron(&mut self, name: &str, patch: &Value) {
        let mut cron = self.crons.get(name).unwrap_or_else(|| panic!("there is no CronJob {name}")).clone();
        merge(&mut cron, patch);
        drop(object(&cron));
        self.crons.insert(name.to_owned(), cron);
    }

    /// Makes what a manifest has, and runs it if it is a job. What `kubectl` says of it.
    pub(crate) fn create(&mut self, document: &Value) -> String {
        match object(document) {
            Object::Job(job) => {
                let name = job.metadata.name.clone().unwrap();
                assert!(!self.jobs.contains_key(&name), "jobs.batch \"{name}\" already exists");
                let app = document["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
                assert!(!self.waiting.contains_key(&format!("job/{name}")), "there is a job {name}");
                self.start(&format!("job/{name}"), app, job.spec.unwrap().template.spec.unwrap());
                format!("job.batch/{name} created\n")
            }
            Object::Claim(claim) => {
                let name = claim.metadata.name.unwrap();
                let volume = claim.spec.unwrap().volume_name.unwrap();
                let folder =
                    self.claims.get(&volume).unwrap_or_else(|| panic!("there is no volume {volume}"));
                self.claims.insert(name.clone(), folder.clone());
                format!("persistentvolumeclaim/{name} created\n")
            }
            Object::Volume(volume) => {
                let name = volume.metadata.name.unwrap();
                let csi = volume.spec.unwrap().csi.unwrap();
                let attributes = csi.volume_attributes.unwrap();
                assert_eq!(csi.volume_handle, format!("{}{}", attributes["server"], attributes["share"]));
                let share = match attributes["share"].as_str() {
                    "/srv/backup/roundcube" => "store",
                    "/srv/mirror/roundcube" => "offsite",
                    other => panic!("no server exports {other}"),
                };
                self.claims.insert(name.clone(), self.sandbox.path(share));
                format!("persistentvolume/{name} created\n")
            }
            Object::CronJob(_) => panic!("a CronJob made by hand"),
            Object::Network(_) => panic!("a policy made by hand"),
        }
    }

    /// `create job --from`: what a CronJob would start.
    pub(crate) fn job_of(&self, cron: &str, name: &str) -> Value {
        let template =
            &self.crons.get(cron).unwrap_or_else(|| panic!("no CronJob {cron}"))["spec"]["jobTemplate"];
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name, "labels": template["metadata"]["labels"] },
            "spec": template["spec"],
        })
    }

    /// `run`: a pod of one container, which `overrides` are merged into.
    pub(crate) fn run(&mut self, name: &str, image: &str, overrides: &Value, arguments: &[String]) {
        let container = json!({ "name": name, "image": image, "args": arguments });
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name },
            "spec": { "restartPolicy": "Never", "containers": [container] },
        });
        merge(&mut pod, overrides);
        let pod: Pod = typed(&pod);
        self.start(&format!("pod/{name}"), String::new(), pod.spec.unwrap());
    }

    /// Runs a pod, or has it wait for what it reads from its standard input.
    fn start(&mut self, name: &str, app: String, pod: PodSpec) {
        let [container] = pod.containers.as_slice() else { panic!("more than one container") };
        let by_variable = variables(container).contains(&("WEEKVAULT_IDENTITY", "-"));
        let arguments = container.args.iter().flatten().map(String::as_str).collect::<Vec<_>>();
        let by_option = arguments.windows(2).any(|pair| pair == ["--identity", "-"])
            || arguments.contains(&"--identity=-");
        if by_variable || by_option {
            assert_eq!((container.stdin, container.stdin_once), (Some(true), Some(true)), "{name}: no stdin");
            self.waiting.insert(name.to_owned(), (app, Box::new(pod)));
        } else {
            let ended = self.run_pod(app, &pod, "");
            self.has_ended(name, ended);
        }
    }

    fn has_ended(&mut self, name: &str, ended: Ended) {
        let (kind, name) = name.split_once('/').unwrap();
        let all = if kind == "job" { &mut self.jobs } else { &mut self.pods };
        all.insert(name.to_owned(), ended);
    }

    /// `attach -i`: gives what waits its standard input; what it has printed.
    pub(crate) fn attach(&mut self, name: &str, stdin: &str) -> String {
        let (app, pod) = self.waiting.remove(name).unwrap_or_else(|| panic!("nothing waits as {name}"));
        let ended = self.run_pod(app, &pod, stdin);
        let log = ended.log.clone();
        self.has_ended(name, ended);
        log
    }

    fn run_pod(&self, app: String, pod: &PodSpec, stdin: &str) -> Ended {
        let [container] = pod.containers.as_slice() else { panic!("more than one container") };
        check_command_line(container);
        assert_eq!(container.image.as_deref(), Some(concat!("weekvault:", env!("CARGO_PKG_VERSION"))));
        let volumes = self.volumes(pod, container);
        // Roundcube's volumes can be mounted on one node at a time.
        let of_roundcube = |what: &str| what.contains("/claims/");
        let sources: Vec<_> = volumes.iter().filter(|volume| of_roundcube(&volume[0])).collect();
        if pod.affinity.is_some() {
            assert!(self.replicas > 0, "the pod waits for Roundcube's, and there is none");
        } else {
            assert!(sources.is_empty() || self.replicas == 0, "Roundcube runs, and uses what is restored");
        }
        let mut command = self.container(&volumes.concat());
        let added = capabilities(container).into_iter().map(|c| format!(",+{}", c.to_lowercase()));
        command.args(["setpriv", "--inh-caps=-all", "--no-new-privs", "--bounding-set"]);
        command.arg(format!("-all{}", added.collect::<String>())).arg("env").arg("-i");
        for (name, value) in variables(container) {
            match (name, &self.pushgateway) {
                ("WEEKVAULT_PUSHGATEWAY", None) => {}
                ("WEEKVAULT_PUSHGATEWAY", Some(url)) => drop(command.arg(format!("{name}={url}"))),
                _ => drop(command.arg(format!("{name}={value}"))),
            }
        }
        command.arg(self.sandbox.path("bin/weekvault")).args(container.args.iter().flatten());
        let ended = ended(app, command, stdin);
        // The node keeps nothing of the pod's Secrets.
        let _ = fs::remove_dir_all(self.sandbox.path("secrets"));
        ended
    }

    /// What a pod sees of a Secret.
    fn secret(&self, source: &SecretVolumeSource) -> PathBuf {
        let name = source.secret_name.as_deref().unwrap();
        let folder = self.sandbox.path("secrets").join(name);
        fs::create_dir_all(&folder).unwrap();
        let Some(secret) = self.secrets.get(name) else {
            assert_eq!(source.optional, Some(true), "the pod waits for a Secret {name}, and there is none");
            return folder;
        };
        let wanted = source.items.iter().flatten().map(|item| (item.key.clone(), item.path.clone()));
        let mut wanted: Vec<(String, String)> = wanted.collect();
        if source.items.is_none() {
            wanted = secret.keys().map(|key| (key.clone(), key.clone())).collect();
        }
        for (key, path) in wanted {
            let content = secret.get(&key).unwrap_or_else(|| panic!("the Secret {name} has no {key}"));
            fs::write(folder.join(&path), content).unwrap();
            let mode = u32::try_from(source.default_mode.unwrap()).unwrap();
            fs::set_permissions(folder.join(&path), Permissions::from_mode(mode)).unwrap();
        }
        folder
    }

    /// What is mounted: a folder, where to, and whether it can be written to.
    fn volumes(&self, pod: &PodSpec, container: &Container) -> Vec<[String; 3]> {
        let volume = |name: &str| pod.volumes.iter().flatten().find(|volume| volume.name == name).unwrap();
        let mount = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
            let volume = volume(&mount.name);
            let what = match (&volume.persistent_volume_claim, &volume.secret) {
                (Some(claim), _) => {
                    let name = &claim.claim_name;
                    self.claims.get(name).unwrap_or_else(|| panic!("there is no claim {name}")).clone()
                }
                (None, Some(secret)) => self.secret(secret),
                (None, None) => {
                    let empty = self.sandbox.path("empty");
                    let _ = fs::remove_dir_all(&empty);
                    fs::create_dir(&empty).unwrap();
                    empty
                }
            };
            assert!(mount.sub_path.is_none());
            let mode = if mount.read_only == Some(true) { "ro" } else { "rw" };
            [what.display().to_string(), mount.mount_path.clone(), mode.to_owned()]
        };
        container.volume_mounts.iter().flatten().map(mount).collect()
    }

    /// What runs with these mounts, to which its command is to be added.
    fn container(&self, volumes: &[String]) -> Command {
        let mut command = self.sandbox.command("unshare");
        command.args(["--mount", "sh", "-c", RUN, "sh"]).args(volumes).arg("--");
        command
    }

    /// `exec`: a command in Roundcube's pod, as the user that it runs as.
    pub(crate) fn exec(&self, words: &[String]) -> Ended {
        assert!(self.replicas > 0, "no pod of Roundcube runs");
        let script = "mount -t tmpfs none /var && mkdir -p /var/www/html /var/roundcube/enigma\nexec \"$@\"";
        let [html, enigma] = ["html", "enigma"].map(|name| self.sandbox.path(&format!("claims/{name}")));
        let volumes = [
            [html.display().to_string(), "/var/www/html".into(), "rw".into()],
            [enigma.display().to_string(), "/var/roundcube/enigma".into(), "rw".into()],
        ];
        let mut command = self.sandbox.command("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", "sh", "-c", RUN, "sh"]);
        command.args(volumes.concat()).arg("--");
        command.args(["setpriv", "--reuid=33", "--regid=33", "--clear-groups"]).args(words);
        ended("roundcubemail".to_owned(), command, "")
    }

    /// `scale`. What Roundcube finds when it starts is kept.
    pub(crate) fn scale(&mut self, replicas: u32) {
        if self.replicas == 0 && replicas > 0 {
            copy(&self.sandbox.path("claims"), &self.sandbox.path("started"));
        }
        self.replicas = replicas;
    }
}

fn ended(app: String, mut command: Command, stdin: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Whoever does not want it may have closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let log = [output.stdout, output.stderr].concat();
    let code = output.status.code().unwrap_or(-1);
    Ended { app, log: String::from_utf8_lossy(&log).into_owned(), code }
}
