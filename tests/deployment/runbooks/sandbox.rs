//! The machine that a runbook is followed on: a root of its own in a mount namespace of its own.

use crate::common::{is_root, quick_folder, skip};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// The real root's folders, and those that the pages and the jobs speak of; `/tmp` is empty. What is mounted at `$ROOT`
/// cannot be mounted once more below itself.
const MAKE_ROOT: &str = r#"
mount --make-rprivate /
mount --bind "$PROGRAM" "$FOLDER/bin/weekvault"
if [ -n "$STORE_SIZE" ]; then mount -t tmpfs -o "size=$STORE_SIZE,mode=755" none "$FOLDER/store"; fi
mount -t tmpfs -o mode=755 none "$ROOT" && mount --make-unbindable "$ROOT"
for entry in /*; do
    case $entry in /backup | /src | /mnt | /cache | /target | /tmp | /keys | /identity) continue ;; esac
    if [ -L "$entry" ]; then cp -a "$entry" "$ROOT/"
    elif [ -d "$entry" ]; then mkdir "$ROOT$entry" && mount --rbind "$entry" "$ROOT$entry"
    fi
done
mkdir -m 1777 "$ROOT/tmp"
mkdir -p "$ROOT/backup" "$ROOT/src/html" "$ROOT/src/enigma" "$ROOT/cache" "$ROOT/target" "$ROOT/mnt/offsite/roundcube" "$ROOT/keys" "$ROOT/identity"
"#;

/// Mounted into it: the store, its copy, and what the test keeps beside them, wherever that is.
const MOUNT_SHARES: &str = r#"
case $FOLDER in /tmp/*) mkdir -p "$ROOT$FOLDER" && mount --rbind "$FOLDER" "$ROOT$FOLDER" ;; esac
mount --bind "$FOLDER/store" "$ROOT/backup"
mount --bind "$FOLDER/offsite" "$ROOT/mnt/offsite/roundcube"
echo ready
exec chroot "$ROOT" cat
"#;

/// What a page may use beside `weekvault` and `kubectl`. Anything else is not known there.
const TOOLS: [&str; 13] =
    ["rsync", "df", "du", "ls", "sed", "sleep", "rm", "mv", "date", "gpg", "cat", "age", "age-keygen"];

/// Ends with this value.
pub(crate) struct Sandbox {
    namespace: Child,
    folder: TempDir,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.namespace.kill();
        let _ = self.namespace.wait();
    }
}

impl Sandbox {
    /// None where this machine does not let us, which is told. `store_size` is what the store's file system holds, if it
    /// has one of its own.
    pub(crate) fn new(store_size: Option<&str>) -> Option<Self> {
        let not_here = |why: &str| {
            assert!(std::env::var_os("CI").is_none(), "the runbooks cannot be run: {why}");
            skip("the runbooks", why);
            None
        };
        if !is_root() {
            return not_here("not root");
        }
        let folder = quick_folder(1 << 30, 100_000);
        let path = folder.path();
        for name in ["root", "store", "offsite", "claims", "bin", "home", "kubectl", "copy", "truth"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        fs::write(path.join("bin/weekvault"), "").unwrap();
        let mut unshare = Command::new("unshare");
        let script = format!("set -eu\n{MAKE_ROOT}{MOUNT_SHARES}");
        unshare.args(["--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        unshare
            .env("PROGRAM", env!("CARGO_BIN_EXE_weekvault"))
            .env("ROOT", path.join("root"))
            .env("FOLDER", path);
        unshare.env("STORE_SIZE", store_size.unwrap_or_default());
        let Ok(mut namespace) = unshare.spawn() else { return not_here("there is no unshare") };
        let mut line = String::new();
        BufReader::new(namespace.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sandbox = Self { namespace, folder };
        if line != "ready\n" {
            return not_here("it lets nobody mount");
        }
        sandbox.make_commands();
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(docs).arg(sandbox.path("copy"));
        assert!(copy.status().unwrap().success());
        Some(sandbox)
    }

    /// The commands that there are, and `kubectl`, which hands what it is asked to whoever plays the cluster.
    fn make_commands(&self) {
        let bin = self.path("bin");
        let path = std::env::var_os("PATH").unwrap();
        for tool in TOOLS {
            let found = std::env::split_paths(&path).map(|p| p.join(tool)).find(|p| p.is_file());
            let found = found.unwrap_or_else(|| panic!("no {tool} in PATH (tests/run installs it)"));
            symlink(found.canonicalize().unwrap(), bin.join(tool)).unwrap();
        }
        let calls = self.path("kubectl").display().to_string();
        let stub = format!(
            r#"#!/bin/sh
PATH=/usr/bin:/bin
call=$(mktemp -d {calls}/call.XXXXXX)
mkfifo "$call/code"
printf '%s\0' "$@" >"$call/arguments"
pwd >"$call/folder"
for word; do case $word in - | -i) cat >"$call/stdin" ;; esac; done
echo "$call" >{calls}/calls
read -r code <"$call/code"
cat "$call/stdout"
cat "$call/stderr" >&2
exit "$code"
"#
        );
        // The printer.
        let printer = format!("#!/bin/sh\nexec /usr/bin/cat >{}\n", self.path("printed").display());
        for (name, script) in [("kubectl", stub), ("lpr", printer)] {
            let file = bin.join(name);
            fs::write(&file, script).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let made = Command::new("mkfifo").arg(self.path("kubectl/calls")).status().unwrap();
        assert!(made.success());
    }

    /// A place of the test's own, which has the same path inside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A path of the machine, as it is seen from outside of it.
    pub(crate) fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.namespace.id()))
    }

    /// A command on the machine.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--root", "--target", &self.namespace.id().to_string()]);
        command
            .args(["env", "-C", "/", "-i", "LC_ALL=C", "TZ=UTC"])
            .arg(program.as_ref())
            .stdin(Stdio::null());
        command
    }

    /// A shell in the copy of the repository, that ends at the first command that fails. Before each of the scripts it
    /// says so; what it prints is then cut there. What went wrong, if it fails, or if a command is none of those that
    /// there are.
    pub(crate) fn shell(&self, scripts: &[&str]) -> Result<Vec<String>, String> {
        // A byte that nothing prints.
        const MARK: &str = "\u{1e}\n";
        let unknown = self.path("unknown");
        let _ = fs::remove_file(&unknown);
        let mut text = format!(
            "exec 2>&1\nset -eE -o pipefail\ncommand_not_found_handle() {{ echo \"$1\" >>{}; \
             echo \"$1: no command of a runbook\" >&2; return 127; }}\n",
            unknown.display()
        );
        for script in scripts {
            text.push_str(&format!("printf '\\036\\n'\n{script}"));
        }
        let file = self.path("script");
        fs::File::create(&file).unwrap().write_all(text.as_bytes()).unwrap();
        let mut command = self.command("/usr/bin/timeout");
        command.args(["300", "env", "-C"]).arg(self.path("copy"));
        command.arg(format!("PATH={}", self.path("bin").display()));
        command.arg(format!("HOME={}", self.path("home").display()));
        command.args(["/bin/bash", "--norc", "--noprofile"]).arg(&file);
        let output = command.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let unknown = fs::read_to_string(unknown).unwrap_or_default();
        if !unknown.is_empty() {
            return Err(format!("commands that are not known here:\n{unknown}"));
        }
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}\n{printed}{error}", output.status));
        }
        Ok(printed.split(MARK).skip(1).map(str::to_owned).collect())
    }
}
