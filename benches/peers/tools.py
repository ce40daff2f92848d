"""The tools that are compared: which command is which step.

Backups are numbered: 1 first, 2 no change, 3 some files appended to, 4 the second tree. 3 is what is restored.
"""

import os
import shlex

from measure import quiet

quote = shlex.quote


class Tool:
    """A tool with a store of its own, and a home so that no cache is shared."""

    name = label = ""
    note = ""
    restores_in_place = False

    def __init__(self, binary, place, level=3):
        self.binary, self.place, self.level = binary, place, level
        self.store, self.home = os.path.join(place, "store"), os.path.join(place, "home")
        self.env = {
            "PATH": os.environ["PATH"], "HOME": self.home, "XDG_CACHE_HOME": os.path.join(self.home, "cache"), "LC_ALL": "C"
        }

    def prepare(self):
        """Makes an empty store."""
        self.remove()
        os.makedirs(self.store)
        os.makedirs(self.home)
        self.init()

    def remove(self):
        quiet(["rm", "-rf", self.place])

    def init(self):
        pass

    def version(self):
        lines = quiet([self.binary, "--version"], env={**os.environ, "LC_ALL": "C"}).strip().splitlines()
        return lines[0] if lines else ""

    def restored(self, tree, out):
        """Where under `out` the tree is after a restore."""
        return out

    def backup(self, number, tree):
        raise NotImplementedError

    def restore(self, number, tree, out):
        raise NotImplementedError

    def verify(self, tree, second):
        return None

    def restore_in_place(self, number, tree):
        return None


class Weekvault(Tool):
    name, label = "weekvault", "weekvault"
    restores_in_place = True
    options = ()

    def command(self, *arguments):
        return [self.binary, "--quiet", "--store", self.store, *self.options, *arguments]

    def week(self, number):
        return f"2025-{9 + number:02}"

    def backup(self, number, tree):
        return self.command("backup", "--week", self.week(number), "--source", f"tree={tree}")

    def restore(self, number, tree, out):
        return self.command("materialize", "--week", self.week(number), "--pvc", "tree", out)

    def restore_in_place(self, number, tree):
        return self.command("restore", "--week", self.week(number), "--pvc", "tree", "--target", tree)

    def verify(self, tree, second):
        return self.command("verify")

    def verify_floor(self):
        """What the machine can do at best: the objects through `zstd -d` and BLAKE3, half of them on each core."""
        lists = [os.path.join(self.home, f"objects-{half}") for half in (0, 1)]
        objects = sorted(
            os.path.join(place, name)
            for place, _, files in os.walk(os.path.join(self.store, "objects")) for name in files
        )
        for half, path in enumerate(lists):
            with open(path, "w") as file:
                file.write("\0".join(objects[half::2]))
        pipe = "xargs -0 zstd -dcq <{} | b3sum --num-threads 1 & pid{}=$!"
        return "; ".join([*(pipe.format(quote(path), half) for half, path in enumerate(lists)), "wait $pid0 && wait $pid1"])


class Tar(Tool):
    name, label = "tar", "tar + zstd -3 -T2"
    note = "a new archive each time; verify is `zstd -t` of all four"

    def archive(self, number):
        return os.path.join(self.store, f"{number}.tar.zst")

    def backup(self, number, tree):
        return f"tar -C {quote(tree)} -cf - . | zstd -q -{self.level} -T2 -o {quote(self.archive(number))}"

    def restore(self, number, tree, out):
        return f"zstd -dcq {quote(self.archive(number))} | tar -xf - -C {quote(out)}"

    def verify(self, tree, second):
        return f"zstd -tq {quote(self.store)}/*.zst"


class Rsync(Tool):
    name, label = "rsync", "rsync --link-dest"
    note = "verify compares checksums with the source; it cannot be done without one"
    restores_in_place = True

    def week(self, number):
        return os.path.join(self.store, str(number))

    def backup(self, number, tree):
        links = [f"--link-dest={self.week(number - 1)}"] if number > 1 else []
        return ["rsync", "-aHAX", "--delete", *links, f"{tree}/", f"{self.week(number)}/"]

    def restore(self, number, tree, out):
        return ["rsync", "-aHAX", f"{self.week(number)}/", f"{out}/"]

    def restore_in_place(self, number, tree):
        return ["rsync", "-aHAX", "--delete", f"{self.week(number)}/", f"{tree}/"]

    def verify(self, tree, second):
        same = "rsync -aHAXn --delete --checksum {}/ {}/"
        return " && ".join(same.format(quote(a), quote(self.week(n))) for a, n in ((tree, 3), (second, 4)))


class Restic(Tool):
    name, label = "restic", "restic"
    note = "encrypts always"

    def command(self, *arguments):
        return [self.binary, "--repo", self.store, "--quiet", *arguments]

    def init(self):
        self.env["RESTIC_PASSWORD"] = "peers"
        quiet(self.command("init", "--repository-version", "2"), env=self.env)

    def version(self):
        return quiet([self.binary, "version"]).strip()

    def backup(self, number, tree):
        return self.command("backup", tree)

    def restore(self, number, tree, out):
        return self.command("restore", "latest", "--path", tree, "--target", out)

    def restored(self, tree, out):
        return out + tree

    def verify(self, tree, second):
        return self.command("check", "--read-data")


class Rustic(Tool):
    name, label = "rustic", "rustic"
    note = "encrypts always"

    def command(self, *arguments):
        common = ["--repository", self.store, "--password", "peers", "--no-progress", "--log-level", "error"]
        return [self.binary, *common, *arguments]

    def init(self):
        quiet(self.command("init"), env=self.env)

    def backup(self, number, tree):
        return self.command("backup", tree)

    def restore(self, number, tree, out):
        return self.command("restore", "--filter-paths", tree, f"latest:{tree}", out)

    def verify(self, tree, second):
        return self.command("check", "--read-data")


class Borg(Tool):
    name, label = "borg", "borg, zstd,3"
    note = "repository without encryption"

    def init(self):
        self.env.update(BORG_BASE_DIR=self.home, BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
        quiet([self.binary, "init", "--encryption", "none", self.store], env=self.env)

    def backup(self, number, tree):
        name = quote(f"{self.store}::{number}")
        return f"cd {quote(tree)} && {self.binary} create --compression zstd,{self.level} {name} ."

    def restore(self, number, tree, out):
        return f"cd {quote(out)} && {self.binary} extract {quote(f'{self.store}::{number}')}"

    def verify(self, tree, second):
        return [self.binary, "check", "--verify-data", self.store]


class Borg2(Borg):
    name, label = "borg2", "borg 2 (beta), zstd,3"
    note = "a beta; repository without encryption, BLAKE3"

    def command(self, *arguments):
        return [self.binary, "--repo", self.store, *arguments]

    def init(self):
        self.env.update(BORG_BASE_DIR=self.home, BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes")
        quiet(self.command("repo-create", "--encryption", "none-blake3"), env=self.env)

    def backup(self, number, tree):
        create = self.command("create", "--compression", f"zstd,{self.level}", str(number), ".")
        return f"cd {quote(tree)} && {shlex.join(create)}"

    def restore(self, number, tree, out):
        return f"cd {quote(out)} && {shlex.join(self.command('extract', str(number)))}"

    def verify(self, tree, second):
        return self.command("check", "--verify-data")


class Bupstash(Tool):
    name, label = "bupstash", "bupstash"
    note = "encrypts always; verify reads one tree"

    def init(self):
        self.key = os.path.join(self.home, "key")
        self.env.update(BUPSTASH_REPOSITORY=self.store)
        quiet(["rm", "-rf", self.store])
        quiet([self.binary, "init"], env=self.env)
        quiet([self.binary, "new-key", "-o", self.key], env=self.env)

    def backup(self, number, tree):
        log = os.path.join(self.home, "send-log" if number < 4 else "send-log-second")
        return [self.binary, "put", "--quiet", "--xattrs", "--key", self.key, "--send-log", log, f"number={number}", tree]

    def restore(self, number, tree, out):
        whole = ["--ownership", "--xattrs", "--into", out]
        return [self.binary, "restore", "--quiet", "--key", self.key, *whole, f"number={number}"]

    def verify(self, tree, second):
        return f"{self.binary} get --quiet --key {quote(self.key)} number=3 >/dev/null"


class Conserve(Tool):
    name, label = "conserve", "conserve"

    def init(self):
        quiet(["rm", "-rf", self.store])
        quiet([self.binary, "init", self.store], env=self.env)

    def backup(self, number, tree):
        return [self.binary, "backup", "--no-progress", "--no-stats", self.store, tree]

    def restore(self, number, tree, out):
        return [self.binary, "restore", "--no-progress", "--no-stats", "-b", f"b{number - 1:04}", self.store, out]

    def verify(self, tree, second):
        return [self.binary, "validate", "--no-progress", "--no-stats", self.store]


class Casync(Tool):
    name, label = "casync", "casync"
    note = "has no verify"

    def index(self, number):
        return os.path.join(self.store, f"{number}.caidx")

    def options(self):
        return [self.binary, f"--store={os.path.join(self.store, 'chunks')}", "--compression=zstd"]

    def backup(self, number, tree):
        return [*self.options(), "make", self.index(number), tree]

    def restore(self, number, tree, out):
        return [*self.options(), "extract", self.index(number), out]


# In the order in which they run: those that ours is held against stand next to it.
TOOLS = (Tar, Weekvault, Bupstash, Rsync, Restic, Rustic, Borg, Borg2, Conserve, Casync)
