"""Gets the tools: by apt what Debian has, by cargo and pip into target/peers what is newer. What cannot be had is left out."""

import os
import shutil
import subprocess
import sys
import sysconfig

from measure import Failed, quiet, say
from trees import ROOT

# What shows that it is there (a command or a file): the package that has it.
PACKAGES = {
    "/usr/bin/time": "time", "zstd": "zstd", "b3sum": "b3sum", "rsync": "rsync", "strace": "strace", "xz": "xz-utils",
    "gcc": "gcc", "pkg-config": "pkg-config", "/usr/include/fuse3/fuse.h": "libfuse3-dev", "fusermount3": "fuse3",
    "/usr/include/sodium.h": "libsodium-dev",
    "restic": "restic", "borg": "borgbackup", "casync": "casync",
    # To build a newer borg.
    os.path.join(sysconfig.get_path("stdlib"), "ensurepip"): "python3-venv",
    os.path.join(sysconfig.get_path("include"), "Python.h"): "python3-dev",
    "/usr/include/sys/acl.h": "libacl1-dev", "/usr/include/openssl/ssl.h": "libssl-dev", "/usr/include/lz4.h": "liblz4-dev",
    "/usr/include/zstd.h": "libzstd-dev", "/usr/include/xxhash.h": "libxxhash-dev",
    "/usr/src/linux-source-6.1.tar.xz": "linux-source-6.1", "/usr/src/linux-source-6.12.tar.xz": "linux-source-6.12",
}
CRATES = {"bupstash": ("bupstash", "0.12.0"), "conserve": ("conserve", "24.8.0"), "rustic": ("rustic-rs", "0.11.4")}
# Of borg 2, the newest that builds with OpenSSL 3.0, which Debian 12 has.
WHEELS = {"borg": ("borgbackup", "1.4.5"), "borg2": ("borgbackup", "2.0.0b23")}
# Debian's stable suite has versions that are years old.
UNSTABLE = ("restic",)
PEERS = os.path.join(ROOT, "target", "peers")


def there(sign):
    return os.path.exists(sign) if sign.startswith("/") else shutil.which(sign) is not None


def by_apt():
    """Installs what is missing; one that cannot be had does not keep the others from being installed."""
    missing = [package for sign, package in PACKAGES.items() if not there(sign)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        say(f"no apt here; without: {' '.join(missing)}")
        return
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    say(f"installing {' '.join(missing)}")
    subprocess.run([*apt, "update"], stdout=2)
    for package in missing:
        done = subprocess.run([*apt, "install", "-y", "--no-install-recommends", package], capture_output=True, text=True)
        if done.returncode:
            say(f"could not install {package}: {done.stderr.strip().splitlines()[-1:]}")


def by_cargo(command):
    """The path of a peer that cargo builds, or None. Each is built once."""
    crate, version = CRATES[command]
    binary = os.path.join(PEERS, "bin", command)
    if os.path.exists(binary):
        return binary
    say(f"building {crate} {version}")
    build = os.path.join(PEERS, "build")
    install = ["cargo", "install", "--locked", "--root", PEERS, "--target-dir", build, crate, "--version", version]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        say(f"could not build {crate}: {done.stderr.strip().splitlines()[-3:]}")
        return None
    return binary


def by_pip(command):
    """The path of a peer that pip builds into a folder of its own, or None. Each is built once."""
    package, version = WHEELS[command]
    folder = os.path.join(PEERS, f"{package}-{version}")
    binary = os.path.join(folder, "bin", command.rstrip("2"))
    if os.path.exists(binary):
        return binary
    say(f"building {package} {version}")
    try:
        quiet([sys.executable, "-m", "venv", folder])
        quiet([os.path.join(folder, "bin", "pip"), "--quiet", "install", f"{package}=={version}"])
    except Failed as failed:
        say(f"could not build {package}: {failed}")
        return None
    return binary


def from_unstable(command):
    """The path of a program out of Debian's unstable suite, or None: of programs in Go that need no library of there. Nothing
    of that suite is installed."""
    folder = os.path.join(PEERS, "unstable", command)
    binary = os.path.join(folder, "usr", "bin", command)
    if os.path.exists(binary):
        return binary
    mirror = debian_mirror()
    if not mirror or not shutil.which("apt-get"):
        return None
    say(f"fetching {command} of Debian's unstable suite")
    for part in ("lists/partial", "archives/partial"):
        os.makedirs(os.path.join(folder, part), exist_ok=True)
    sources = os.path.join(folder, "sources.list")
    with open(sources, "w") as file:
        file.write(f"deb {mirror} unstable main\n")
    options = {
        "Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::State::lists": f"{folder}/lists",
        "Dir::Cache": folder, "Dir::Cache::archives": "archives", "Acquire::Languages": "none"
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    try:
        quiet([*apt, "update"])
        quiet([*apt, "download", command], cwd=folder)
        package, = (name for name in os.listdir(folder) if name.endswith(".deb"))
        quiet(["dpkg-deb", "--extract", os.path.join(folder, package), folder])
    except (Failed, ValueError) as failed:
        say(f"could not fetch {command}: {failed}")
        return None
    return binary if os.path.exists(binary) else None


def debian_mirror():
    """Where this machine's apt has Debian from, or None."""
    lines = quiet(["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(COMPONENT)"]).splitlines()
    sites = [line.split()[0] for line in lines if line.endswith(" Debian main")]
    return next((site for site in sites if "security" not in site), None)


def own_binary(given):
    """Ours: the one given, or a release build of this checkout."""
    if given:
        binary = os.path.abspath(given)
        if not os.access(binary, os.X_OK):
            raise Failed(f"no program at {binary}")
        return binary
    say("building weekvault")
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True, stdout=2)
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
    return os.path.join(target, "release", "weekvault")


def locate(tool, own):
    """The program of a tool, or None where it is not to be had."""
    if tool.name == "weekvault":
        return own
    if tool.name in CRATES:
        return by_cargo(tool.name)
    if tool.name in WHEELS:
        return by_pip(tool.name) or shutil.which(tool.name)
    if tool.name in UNSTABLE:
        return from_unstable(tool.name) or shutil.which(tool.name)
    return shutil.which(tool.name)


def first_line(path, start):
    with open(path) as file:
        return next((line.strip() for line in file if line.startswith(start)), "unknown")


def machine():
    """What the numbers depend on."""
    cpu = first_line("/proc/cpuinfo", "model name").split(":")[-1].strip()
    system = first_line("/etc/os-release", "PRETTY_NAME=").split("=")[-1].strip('"')
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory": memory, "system": system, "kernel": os.uname().release
    }


def commit():
    """The last commit that changed the program, and whether it was changed since."""
    program = ["--", "src", "Cargo.toml", "Cargo.lock"]
    try:
        last = quiet(["git", "-C", ROOT, "log", "-1", "--format=%h", *program]).strip()
        changed = quiet(["git", "-C", ROOT, "status", "--porcelain", *program]).strip()
        return f"{last}-dirty" if changed else last
    except Failed:
        return "unknown"
