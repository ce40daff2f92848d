//! The script that is replaced, by its rsync lines.

use crate::common::{Vault, is_root, system};
use serde_json::Value;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The script's two forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Script {
    /// Told of the folder of the week before, in which nothing is where rsync looks: all is copied.
    Deployed,
    /// Told of the copy in it.
    Mended,
}

/// The folder with the weeks.
pub(crate) struct Farm(pub(crate) PathBuf);

impl Farm {
    pub(crate) fn new(root: PathBuf) -> Self {
        fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    /// The copy of a source in a week.
    pub(crate) fn tree(&self, week: &str, pvc: &str) -> PathBuf {
        self.0.join(week).join(pvc)
    }

    /// Copies a source into a week.
    #[track_caller]
    pub(crate) fn sync(&self, script: Script, before: Option<&str>, week: &str, pvc: &str, source: &Path) {
        fs::create_dir_all(self.0.join(week)).unwrap();
        let mut rsync = Command::new("rsync");
        rsync.args(["-aH", "--delete"]);
        if let Some(before) = before {
            let mut option = OsString::from("--link-dest=");
            option.push(match script {
                Script::Deployed => self.0.join(before),
                Script::Mended => self.tree(before, pvc),
            });
            rsync.arg(option);
        }
        let with_slash = |path: &Path| path.join("");
        system(rsync.arg(with_slash(source)).arg(with_slash(&self.tree(week, pvc))));
    }

    /// Bytes of all files of a pvc in these weeks, each inode counted once.
    pub(crate) fn bytes_of_inodes(&self, weeks: &[&str], pvc: &str) -> u64 {
        let mut sizes = HashMap::new();
        for week in weeks {
            let mut todo = vec![self.tree(week, pvc)];
            while let Some(folder) = todo.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    let found = path.symlink_metadata().unwrap();
                    if found.is_dir() {
                        todo.push(path);
                    } else if found.is_file() {
                        sizes.insert(found.ino(), found.len());
                    }
                }
            }
        }
        sizes.into_values().sum()
    }
}

/// Imports into a store; the program's report.
#[track_caller]
pub(crate) fn import(vault: &Vault, farm: &Farm, more: &[&str]) -> Value {
    vault.run(import_arguments(farm, more)).expect(0).json()
}

pub(crate) fn import_arguments<'a>(farm: &'a Farm, more: &'a [&'a str]) -> Vec<&'a OsStr> {
    let mut arguments: Vec<&OsStr> = ["import", "--json", "--rsync-root"].map(OsStr::new).into();
    arguments.push(farm.0.as_os_str());
    arguments.extend(more.iter().map(OsStr::new));
    arguments
}

/// What an import's report says of each copy: `week/pvc` and a member, such as `state`.
pub(crate) fn told<'a>(report: &'a Value, member: &str) -> Vec<(String, &'a Value)> {
    let copies = report["copies"].as_array().unwrap();
    let name = |copy: &Value| format!("{}/{}", copy["week"].as_str().unwrap(), copy["pvc"].as_str().unwrap());
    copies.iter().map(|copy| (name(copy), &copy[member])).collect()
}

/// The sum of a number of all copies.
pub(crate) fn sum(report: &Value, member: &str) -> u64 {
    told(report, member).iter().map(|(_, value)| value.as_u64().unwrap()).sum()
}

/// Materializes all weeks.
pub(crate) fn materialize_all(vault: &Vault, folder: &Path, more: &[&str]) -> crate::common::Ran {
    let mut arguments: Vec<&OsStr> = ["materialize", "--all"].map(OsStr::new).into();
    arguments.push(folder.as_os_str());
    arguments.extend(more.iter().map(OsStr::new));
    vault.run(arguments)
}

/// The program on a store, without root's right to read everything.
pub(crate) fn unprivileged(vault: &Vault) -> Command {
    let command = vault.command();
    if !is_root() {
        return command;
    }
    let mut without = Command::new("setpriv");
    without.arg("--bounding-set=-dac_override,-dac_read_search").arg(command.get_program());
    without.args(command.get_args()).stdin(Stdio::null());
    for (name, _) in command.get_envs().filter(|(_, value)| value.is_none()) {
        without.env_remove(name);
    }
    without
}
