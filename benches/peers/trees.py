"""The trees that are backed up, and how they change. All choices are fixed, so that each run backs up the same."""

import hashlib
import os
import subprocess
import time

from measure import Failed, quiet, say

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# A file whose time is within two seconds of a run cannot be told from one that changes during it.
SETTLE_SECONDS = 2.5


def linux(version, work):
    """The kernel's source of Debian's package, unpacked."""
    tree = os.path.join(work, "trees", f"linux-{version}")
    if os.path.isdir(tree):
        return tree
    archive = f"/usr/src/linux-source-{version}.tar.xz"
    if not os.path.exists(archive):
        raise Failed(f"the package linux-source-{version} is not installed")
    say(f"unpacking {archive}")
    aside = tree + ".new"
    quiet(["rm", "-rf", aside])
    os.makedirs(aside)
    quiet(f"xz -dc -T2 {archive} | tar -x -C {aside} --strip-components=1")
    os.rename(aside, tree)
    return tree


def roundcube(work):
    """A copy of a Roundcube tree that may be changed."""
    fixtures = os.environ.get("WEEKVAULT_FIXTURES") or os.path.join(ROOT, "target", "fixtures")
    if not os.path.isdir(os.path.join(fixtures, "roundcube", "new")):
        subprocess.run([os.path.join(ROOT, "tests", "fixtures", "get.sh"), fixtures], check=True, stdout=2)
    tree = os.path.join(work, "trees", "roundcube")
    quiet(["rm", "-rf", tree])
    os.makedirs(os.path.dirname(tree), exist_ok=True)
    quiet(["cp", "-a", os.path.join(fixtures, "roundcube", "new"), tree])
    return tree


def generated(files, work):
    """A tree of small files in folders of a thousand; each has about 200 bytes of its own."""
    tree = os.path.join(work, "trees", f"generated-{files}")
    quiet(["rm", "-rf", tree])
    for first in range(0, files, 1000):
        folder = os.path.join(tree, f"{first // 1000:04}")
        os.makedirs(folder)
        for number in range(first, min(first + 1000, files)):
            name = hashlib.sha256(b"%d" % number).hexdigest()
            with open(os.path.join(folder, f"{name[:12]}.txt"), "wb", buffering=0) as file:
                file.write(f"{number:>8} {name} {name[::-1]} {name[7:]}\n".encode())
    return tree


def generated_file(path, size):
    """One large file: 64 MiB of noise over and over, each time with another head, so that the store stays small."""
    noise = bytearray(hashlib.shake_256(b"weekvault").digest(64 << 20))
    with open(path, "wb", buffering=0) as file:
        for number in range(size // len(noise)):
            noise[:16] = b"%016d" % number
            file.write(noise)


def noise(files, work):
    """A tree of files of 1 MiB that no tool can compress, in folders of a hundred."""
    tree = os.path.join(work, "trees", f"noise-{files}")
    quiet(["rm", "-rf", tree])
    for number in range(files):
        folder = os.path.join(tree, f"{number // 100:04}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"{number:06}"), "wb") as file:
            file.write(hashlib.shake_256(b"%d" % number).digest(1 << 20))
    return tree


def settle():
    time.sleep(SETTLE_SECONDS)


def regular_files(tree):
    found = []
    for place, _, files in os.walk(tree):
        for name in files:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                found.append(path)
    return sorted(found)


class Appended:
    """While this is open, a few bytes stand at the end of every so many files of a tree."""

    def __init__(self, tree, percent=None, files=None, stamp=0):
        everything = regular_files(tree)
        step = round(100 / percent) if percent else max(1, len(everything) // files)
        self.chosen = everything[step // 2 :: step][:files]
        self.stamp = stamp
        self.before = []

    def __enter__(self):
        for path in self.chosen:
            about = os.lstat(path)
            self.before.append((path, about))
            with open(path, "ab") as file:
                file.write(b"\nappended %d\n" % self.stamp)
        settle()
        return self

    def __exit__(self, *_):
        for path, about in self.before:
            os.truncate(path, about.st_size)
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        settle()
