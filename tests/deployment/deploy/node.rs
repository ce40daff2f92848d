//! A node on which a manifest's job is run, without a cluster.

use super::kubernetes::Task;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A node: what a container sees as `/` is a folder here.
pub(crate) struct Node(TempDir);

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for folder in ["backup", "home", "target", "src", "keys", "identity"] {
            fs::create_dir(node.path(folder)).unwrap();
        }
        node
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// A word of a command line, with each path that is on one of the container's volumes where that is here.
    fn here(&self, task: &Task, word: &str) -> String {
        let (before, path) = match word.find('/') {
            Some(at) if at == 0 || word[..at].ends_with('=') => word.split_at(at),
            _ => return word.to_owned(),
        };
        let on = |mount: &str| path == mount || path.starts_with(&format!("{mount}/"));
        let name = &task.name;
        assert!(task.mounts().iter().any(|m| on(&m.mount_path)), "{name}: nothing is mounted for {word}");
        format!("{before}{}", self.path(path).display())
    }

    /// The container's command with no capabilities but these, if any are given, and no Pushgateway.
    pub(crate) fn command(&self, task: &Task, capabilities: Option<&[String]>) -> Command {
        let program = env!("CARGO_BIN_EXE_weekvault");
        let mut command = Command::new(program);
        if let Some(capabilities) = capabilities {
            let added = capabilities.iter().map(|c| format!(",+{}", c.to_lowercase()));
            let set = format!("-all{}", added.collect::<String>());
            command = Command::new("setpriv");
            command.args(["--inh-caps=-all", "--no-new-privs", "--bounding-set"]).arg(set).arg(program);
        }
        command.env_clear().stdin(Stdio::null()).arg("--json").env("HOME", self.path("home"));
        command.args(task.arguments().iter().map(|word| self.here(task, word)));
        for (name, value) in task.environment() {
            if name != "WEEKVAULT_PUSHGATEWAY" {
                command.env(name, self.here(task, value));
            }
        }
        command
    }
}
