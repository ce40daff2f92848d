//! `kubectl`, as far as the pages use it: each word and option is known, or the page does not pass.

use super::cluster::{Cluster, Ended};
use crate::deploy::kubernetes::parsed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

const NAMESPACE: &str = "roundcubemail";

/// Answers all that is asked for until `last` is written to the queue; what was asked for that there is not.
pub(crate) fn serve(cluster: &mut Cluster<'_>, queue: &Path) -> Vec<String> {
    let mut refused = Vec::new();
    // Held open for writing as well: else there would be an end whenever nobody asks.
    let queue = OpenOptions::new().read(true).write(true).open(queue).unwrap();
    let mut answers: Vec<File> = Vec::new();
    for call in BufReader::new(queue).lines() {
        let call = PathBuf::from(call.unwrap());
        if call == Path::new("last") {
            break;
        }
        let asked = Asked::read(&call);
        let mut answer = Answer::default();
        let words = asked.words.join(" ");
        let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            asked.carry_out(cluster, &mut answer);
        }));
        if let Err(why) = said {
            let plain = why.downcast_ref::<&str>().map(|why| (*why).to_owned());
            let why = plain.or_else(|| why.downcast_ref::<String>().cloned()).unwrap_or_default();
            refused.push(format!("kubectl {words}: {why}"));
            answer = Answer { code: 1, stderr: "error: refused\n".to_owned(), ..Answer::default() };
        }
        fs::write(call.join("stdout"), &answer.stdout).unwrap();
        fs::write(call.join("stderr"), &answer.stderr).unwrap();
        let mut code = OpenOptions::new().read(true).write(true).open(call.join("code")).unwrap();
        writeln!(code, "{}", answer.code).unwrap();
        answers.push(code);
    }
    refused
}

#[derive(Default)]
struct Answer {
    stdout: String,
    stderr: String,
    code: i32,
}

/// A command line of `kubectl`.
struct Asked {
    words: Vec<String>,
    folder: PathBuf,
    stdin: Option<String>,
    /// What is no option, up to `--`.
    plain: Vec<String>,
    options: BTreeMap<String, String>,
    /// What is behind `--`.
    command: Vec<String>,
}

/// What is known of it: the first words, and their options.
const KNOWN: &[(&str, &[&str])] = &[
    ("set env", &["--local", "-f", "-o"]),
    ("create job", &["--from"]),
    ("create secret generic", &["--from-file"]),
    ("create", &["-f"]),
    ("apply", &["-f", "-k"]),
    ("delete job", &["--ignore-not-found"]),
    ("delete pod", &["--ignore-not-found", "--wait"]),
    ("delete secret", &["--ignore-not-found"]),
    ("scale", &["--replicas"]),
    ("rollout status", &["--timeout"]),
    ("patch cronjob", &["-p"]),
    ("wait", &["--for", "-l", "--timeout"]),
    ("attach", &["-i", "--quiet"]),
    ("logs", &["-f", "-l", "--tail"]),
    ("get", &["-l", "-o"]),
    ("describe", &["-l"]),
    ("exec", &[]),
    ("run", &["--image", "--labels", "--restart", "--override-type", "--overrides"]),
];

/// Whether words behind `kubectl` are known, as far as that can be told without carrying them out.
pub(crate) fn check(words: &[String]) -> Result<(), String> {
    Asked::parse(words.to_vec(), PathBuf::new(), None).check()
}

/// Options of which the next word is the value; all others have theirs behind `=`, or none.
const WITH_VALUE: [&str; 5] = ["-n", "-l", "-o", "-p", "-k"];

impl Asked {
    fn read(call: &Path) -> Self {
        let words = fs::read_to_string(call.join("arguments")).unwrap();
        let words: Vec<String> = words.split_terminator('\0').map(str::to_owned).collect();
        let folder = fs::read_to_string(call.join("folder")).unwrap();
        let stdin = fs::read_to_string(call.join("stdin")).ok();
        Self::parse(words, PathBuf::from(folder.trim_end()), stdin)
    }

    fn parse(words: Vec<String>, folder: PathBuf, stdin: Option<String>) -> Self {
        let (mut plain, mut options, mut command) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut rest = words.iter();
        let follows = words.iter().any(|word| word == "logs");
        while let Some(word) = rest.next() {
            if word == "--" {
                command = rest.cloned().collect();
                break;
            }
            let takes = WITH_VALUE.contains(&word.as_str()) || (word == "-f" && !follows);
            if takes {
                options
                    .insert(word.clone(), rest.next().unwrap_or_else(|| panic!("{word} of nothing")).clone());
            } else if word.starts_with('-') {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                options.insert(name.to_owned(), value.to_owned());
            } else {
                plain.push(word.clone());
            }
        }
        Self { words, folder, stdin, plain, options, command }
    }

    fn option(&self, name: &str) -> &str {
        self.options.get(name).unwrap_or_else(|| panic!("no {name}"))
    }

    /// The verb, its options, and where it asks the cluster, the namespace.
    fn check(&self) -> Result<(), String> {
        let words = self.plain.join(" ") + " ";
        let known = KNOWN.iter().find(|(verb, _)| words.starts_with(&format!("{verb} ")));
        let Some((_, options)) = known else { return Err("not known here".to_owned()) };
        let unknown: Vec<_> =
            self.options.keys().filter(|name| *name != "-n" && !options.contains(&name.as_str())).collect();
        if !unknown.is_empty() {
            return Err(format!("options that are not known here: {unknown:?}"));
        }
        let elsewhere = ["--local", "-k"].iter().any(|option| self.options.contains_key(*option));
        match self.options.get("-n") {
            None if elsewhere => Ok(()),
            Some(namespace) if namespace == NAMESPACE => Ok(()),
            other => Err(format!("no -n {NAMESPACE}, but {other:?}")),
        }
    }

    /// What `-f` names.
    fn documents(&self) -> Vec<Value> {
        match self.option("-f") {
            "-" => parsed(self.stdin.as_deref().unwrap()),
            file => {
                parsed(&fs::read_to_string(self.folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}")))
            }
        }
    }

    fn carry_out(&self, cluster: &mut Cluster<'_>, answer: &mut Answer) {
        self.check().unwrap_or_else(|error| panic!("{error}"));
        // Whatever is told to the cluster, and is neither a Secret nor what is typed into a pod, it keeps for all to see.
        let told = self.words.concat() + self.stdin.as_deref().unwrap_or_default();
        assert!(
            self.plain[0] == "attach" || !told.contains("AGE-SECRET-KEY-"),
            "a secret is told to the cluster"
        );
        let plain: Vec<&str> = self.plain.iter().map(String::as_str).collect();
        match plain.as_slice() {
            ["set", "env", changes @ ..] => self.set_env(changes, answer),
            ["create", "job", name] => {
                let cron = self.option("--from").strip_prefix("cronjob/").unwrap();
                let job = cluster.job_of(cron, name);
                answer.stdout = cluster.create(&job);
            }
            ["create", "secret", "generic", name] => {
                let file = self.option("--from-file");
                assert!(!file.contains(['/', '=']), "{file}: its name is the Secret's key");
                let content = fs::read_to_string(self.folder.join(file));
                let content = content.unwrap_or_else(|e| panic!("{file}: {e}"));
                let new = [(file.to_owned(), content)].into();
                assert!(
                    cluster.secrets.insert((*name).to_owned(), new).is_none(),
                    "there is a Secret {name}"
                );
                answer.stdout = format!("secret/{name} created\n");
            }
            ["apply"] if self.options.contains_key("-k") => cluster.apply(self.option("-k")),
            ["delete", "secret", name] => {
                let was_there = cluster.secrets.remove(*name).is_some();
                assert!(was_there || self.options.contains_key("--ignore-not-found"), "there is no {name}");
                answer.stdout = format!("secret \"{name}\" deleted\n");
            }
            ["create" | "apply"] => {
                for document in self.documents() {
                    answer.stdout += &cluster.create(&document);
                }
            }
            ["delete", kind @ ("job" | "pod"), names @ ..] => {
                for name in names {
                    let (all, of) = if *kind == "job" {
                        (&mut cluster.jobs, "job.batch")
                    } else {
                        (&mut cluster.pods, "pod")
                    };
                    let waited = cluster.waiting.remove(&format!("{kind}/{name}")).is_some();
                    let was_there = all.remove(*name).is_some() || waited;
                    assert!(
                        was_there || self.options.contains_key("--ignore-not-found"),
                        "there is no {name}"
                    );
                    if was_there {
                        answer.stdout += &format!("{of} \"{name}\" deleted\n");
                    }
                }
            }
            ["scale", "deployment/roundcubemail"] => {
                cluster.scale(self.option("--replicas").parse().unwrap());
                answer.stdout = "deployment.apps/roundcubemail scaled\n".into();
            }
            ["rollout", "status", "deployment/roundcubemail"] => {
                assert!(cluster.replicas > 0);
                answer.stdout = "deployment \"roundcubemail\" successfully rolled out\n".into();
            }
            ["patch", "cronjob", name] => {
                cluster.patch_cron(name, &serde_json::from_str(self.option("-p")).unwrap());
                answer.stdout = format!("cronjob.batch/{name} patched\n");
            }
            ["wait", "pod"] => {
                assert_eq!((self.option("--for"), self.option("-l")), ("delete", "app=roundcubemail"));
                assert_eq!(cluster.replicas, 0, "it would wait for ever");
                answer.stdout = "pod/roundcubemail-5d8f7c6b9-x2x7k condition met\n".into();
            }
            ["wait", what] => {
                let (kind, ready) = match self.option("--for") {
                    "jsonpath={.status.ready}=1" => ("job/", cluster.waiting.contains_key(*what)),
                    "condition=Ready" => ("pod/", cluster.waiting.contains_key(*what)),
                    other => panic!("not known here: {other}"),
                };
                assert!(what.starts_with(kind) && ready, "it would wait until its time is over");
                answer.stdout = format!("{} condition met\n", what.replace("job/", "job.batch/"));
            }
            ["attach", what] => {
                assert!(self.options.contains_key("-i"));
                let name = if what.contains('/') { (*what).to_owned() } else { format!("pod/{what}") };
                answer.stdout = cluster.attach(&name, self.stdin.as_deref().unwrap());
            }
            ["logs", waits] if cluster.waiting.contains_key(*waits) => {
                *answer = Answer { code: 1, stderr: "error: it waits\n".to_owned(), ..Answer::default() };
            }
            ["logs", ..] => self.logs(&plain[1..], cluster, answer),
            ["get" | "describe", what @ ..] => self.get(what, cluster, answer),
            ["exec", "deployment/roundcubemail"] => {
                let Ended { log, code, .. } = cluster.exec(&self.command);
                *answer = Answer { stdout: log, stderr: String::new(), code };
            }
            ["run", name] => {
                assert_eq!(
                    (self.option("--restart"), self.option("--override-type")),
                    ("Never", "strategic")
                );
                let overrides = serde_json::from_str(self.option("--overrides")).unwrap();
                // The network policy knows it by that.
                assert_eq!(self.option("--labels"), "app=roundcube-command");
                cluster.run(name, self.option("--image"), &overrides, &self.command);
                answer.stdout = format!("pod/{name} created\n");
            }
            _ => panic!("not known here"),
        }
    }

    /// Changes the variables of a job's container, and prints the job.
    fn set_env(&self, changes: &[&str], answer: &mut Answer) {
        assert_eq!(self.option("-o"), "yaml");
        let [mut job] = <[Value; 1]>::try_from(self.documents()).unwrap();
        let variables = &mut job["spec"]["template"]["spec"]["containers"][0]["env"];
        let variables = variables.as_array_mut().unwrap();
        for change in changes {
            let (name, value) = change.split_once('=').unwrap();
            variables.retain(|variable| variable["name"] != name);
            variables.push(json!({ "name": name, "value": value }));
        }
        // JSON is YAML.
        answer.stdout = job.to_string();
    }

    fn logs(&self, what: &[&str], cluster: &Cluster<'_>, answer: &mut Answer) {
        let name = what.first().copied().unwrap_or_default();
        let of = |all: &BTreeMap<String, Ended>, name: &str| {
            all.get(name).unwrap_or_else(|| panic!("there is no {name}")).log.clone()
        };
        answer.stdout = match (name.split_once('/'), self.options.get("-l")) {
            (Some(("job", name)), None) => of(&cluster.jobs, name),
            (Some(("pod", name)), None) => of(&cluster.pods, name),
            (None, Some(label)) => {
                assert_eq!(self.option("--tail"), "-1", "by a label only ten lines are shown");
                let app = label.strip_prefix("app=").unwrap();
                let jobs = cluster.jobs.values().filter(|job| job.app == app);
                jobs.map(|job| job.log.as_str()).collect()
            }
            other => panic!("logs of {other:?}"),
        };
    }

    fn get(&self, what: &[&str], cluster: &Cluster<'_>, answer: &mut Answer) {
        match (what, self.options.get("-o").and_then(|o| o.strip_prefix("jsonpath="))) {
            (["cronjob", name], Some("{.spec.jobTemplate.spec.template.spec.containers[0].image}")) => {
                let pod = &cluster.crons[*name]["spec"]["jobTemplate"]["spec"]["template"]["spec"];
                answer.stdout = pod["containers"][0]["image"].as_str().unwrap().to_owned();
            }
            (
                ["pod", name],
                Some("{.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}"),
            ) => {
                if cluster.waiting.contains_key(&format!("pod/{name}")) {
                    answer.stdout = "Running ".to_owned();
                    return;
                }
                let code = cluster.pods[*name].code;
                answer.stdout = format!("{} {code}", if code == 0 { "Succeeded" } else { "Failed" });
            }
            (["cronjob", name], None) => {
                assert!(cluster.crons.contains_key(*name), "there is no CronJob {name}");
            }
            (["job" | "job,pod" | "pod"], None) => assert!(self.option("-l").starts_with("app=roundcube")),
            (["job", name], None) => assert!(cluster.jobs.contains_key(*name), "there is no job {name}"),
            other => panic!("not known here: {other:?}"),
        }
    }
}
