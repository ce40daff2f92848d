//! A folder of a test's own.

use super::{Ran, Vault, is_root};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A folder of a test's own, with a store, a cache and whatever sources the test makes. What runs here has a cache; what
/// its vault runs has none.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) vault: Vault,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// In a folder that is there already.
    pub(crate) fn within(folder: TempDir) -> Self {
        // Some tests run as a user who is not the owner.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let vault = Vault::new(folder.path().join("store"));
        Self { folder, vault }
    }

    /// With a store that cuts chunks of some hundred bytes, so that little data makes many objects.
    pub(crate) fn with_small_chunks() -> Self {
        let place = Self::new();
        Vault::with_small_chunks(&place.vault.store);
        place
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn text(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.vault.store.clone()
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.path("source")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.path("target")
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// `program` with nothing of the environment that it listens to.
    pub(crate) fn clean(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let lower = name.to_string_lossy().to_lowercase();
            if lower.starts_with("weekvault_") || lower.ends_with("_proxy") || lower == "no_color" {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).env("HOME", self.path("home")).env_remove("XDG_CACHE_HOME");
        command
    }

    /// The program without any option.
    pub(crate) fn bare(&self) -> Command {
        self.clean(env!("CARGO_BIN_EXE_weekvault"))
    }

    /// The program on this place's store and cache.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.bare();
        command.arg("--store").arg(self.store()).arg("--cache-dir").arg(self.path("cache")).args(arguments);
        command
    }

    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// Runs what a line of words says; `{}` stands for this place's folder.
    pub(crate) fn say(&self, line: &str) -> Ran {
        self.run(self.words(line))
    }

    pub(crate) fn words(&self, line: &str) -> Vec<String> {
        let folder = self.folder.path().display().to_string();
        line.split_whitespace().map(|word| word.replace("{}", &folder)).collect()
    }

    /// Backs the folder `pvc` up as the source `pvc`.
    #[track_caller]
    pub(crate) fn backup(&self, week: &str, pvc: &str) -> Value {
        self.say(&format!("backup --json --week {week} --source {pvc}={{}}/{pvc}")).expect(0).json()
    }

    /// The objects' files.
    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        self.files("objects").into_iter().filter(|p| p.extension().is_some_and(|e| e == "zst")).collect()
    }

    /// Everything below a directory of the store, the directory first.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        let below = self.store().join(below);
        walkdir::WalkDir::new(below).into_iter().map(|e| e.unwrap().into_path()).collect()
    }

    /// The program for a user who is not root: nobody, or whoever runs the test. The binary is linked to where
    /// everybody can run it.
    pub(crate) fn as_nobody<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        if !is_root() {
            return self.command(arguments);
        }
        let program = self.path("weekvault");
        if !program.exists() {
            let built = env!("CARGO_BIN_EXE_weekvault");
            fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        }
        let mut command = self.clean("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
        command.arg("--no-cache").arg("--store").arg(self.store()).args(arguments);
        command
    }

    /// Makes a new folder that whoever `as_nobody` runs as owns.
    pub(crate) fn folder_of_nobody(&self, path: &str) {
        fs::create_dir(self.path(path)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(self.path(path), Some(65534), Some(65534)).unwrap();
        }
    }
}
