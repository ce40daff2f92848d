"""Counts what a command does to a store's files and folders, from a strace of it.

An operation is what a client of a slow network disk waits for. `COUNTED` are the kinds that the limits are about; the
others are shown beside them. Failed calls count as well: asking for what is not there takes as long.
"""

import json
import os
import re
import select
import subprocess
import tempfile

KINDS = {
    "open": ("open", "openat", "openat2", "creat"),
    "create": (),  # those of the above that may create
    "mkdir": ("mkdir", "mkdirat", "mknod", "mknodat"),
    "rename": ("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    "fsync": ("fsync", "fdatasync", "syncfs", "sync_file_range"),
    "unlink": ("unlink", "unlinkat", "rmdir"),
    "list": ("getdents", "getdents64"),
    "stat": ("stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink",
             "readlinkat", "statfs", "fstatfs"),
    "setattr": ("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utimensat", "futimesat", "utime",
                "utimes", "truncate", "ftruncate", "fallocate", "setxattr", "lsetxattr", "fsetxattr"),
    "lock": ("flock", "fcntl"),
    "read": ("read", "pread64", "readv", "preadv", "copy_file_range", "sendfile", "getxattr", "lgetxattr", "fgetxattr",
             "listxattr", "llistxattr", "flistxattr"),
    "write": ("write", "pwrite64", "writev", "pwritev"),
}
COUNTED = ("open", "create", "mkdir", "rename", "fsync", "unlink", "list")
KIND_OF = {call: kind for kind, calls in KINDS.items() for call in calls}

CALL = re.compile(r"^\d+ +(\w+)\((.*)$")
# A file descriptor with its path, a name relative to it, or a path alone.
OPERAND = re.compile(r'(?:AT_FDCWD|\d+)<([^<>]*)>(?:, "((?:[^"\\]|\\.)*)")?|"((?:[^"\\]|\\.)*)"')
ONE_PATH, TWO_PATHS = 1, 2


def paths_of(call, arguments):
    """The paths that a call of strace's output names: two for renames and links, else one."""
    wanted = TWO_PATHS if KIND_OF[call] == "rename" or call in ("copy_file_range", "sendfile") else ONE_PATH
    found = []
    for folder, name, alone in OPERAND.findall(arguments):
        if alone:
            found.append(os.path.join(os.getcwd(), alone))
        elif name:
            found.append(os.path.normpath(os.path.join(folder, name)))
        else:
            found.append(folder)
        if len(found) == wanted:
            break
    return [path.removesuffix("(deleted)") for path in found]


def kind_of(call, arguments):
    """The kind of operation, or None where the call does not reach the disk (`fcntl` that is no lock)."""
    kind = KIND_OF.get(call)
    if kind == "open" and (call == "creat" or "O_CREAT" in arguments or "O_TMPFILE" in arguments):
        return "create"
    if kind == "open" and "O_PATH" in arguments:
        # A name that is looked up, as the kernel does on the way of each path: nothing is opened on the disk.
        return None
    if call == "fcntl" and "LK" not in arguments:
        return None
    return kind


class Count:
    """How many operations of each kind, and the paths if they were asked for."""

    def __init__(self, store, keep_paths=False):
        self.roots = tuple({os.path.abspath(store), os.path.realpath(store)})
        self.kinds = dict.fromkeys(KINDS, 0)
        self.operations = [] if keep_paths else None

    @property
    def counted(self):
        return sum(self.kinds[kind] for kind in COUNTED)

    def line(self, line):
        """Takes a line of strace. A call that others interrupt is counted where it begins."""
        if not any(root in line for root in self.roots):
            return
        match = CALL.match(line)
        if not match or match[1] not in KIND_OF:
            return
        call, arguments = match.groups()
        kind = kind_of(call, arguments)
        if not kind:
            return
        for path in paths_of(call, arguments):
            inside = [root for root in self.roots if path == root or path.startswith(root + "/")]
            if inside:
                self.kinds[kind] += 1
                if self.operations is not None:
                    self.operations.append((kind, call, os.path.relpath(path, inside[0])))
                return

    def as_json(self):
        return json.dumps({"counted": self.counted, **self.kinds})


def traced(store, command, keep_paths=False, kinds=tuple(KINDS), **options):
    """Runs a command under strace; its exit code and the count. `options` are those of `subprocess.Popen`.

    Kinds that are not asked for cost the command no time.
    """
    count = Count(store, keep_paths)
    with tempfile.TemporaryDirectory() as folder:
        pipe = os.path.join(folder, "strace")
        os.mkfifo(pipe)
        # `?`: calls that this machine does not have are not traced. The filter in the kernel stops no other calls.
        calls = ",".join("?" + call for call, kind in KIND_OF.items() if kind in kinds)
        process = subprocess.Popen(
            ["strace", "-f", "--seccomp-bpf", "-qq", "-y", "-s", "1", "-e", "signal=none", "-e", f"trace={calls}",
             "-o", pipe, "--", *command],
            **options,
        )
        # Opened for writing as well, so that a strace that does not start is noticed and not waited for.
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        _read_lines(reader, process, count)
        os.close(reader)
    return process.returncode, count


def _read_lines(reader, process, count):
    rest = b""
    while True:
        ended = process.poll() is not None
        select.select([reader], [], [], 0.05)
        try:
            block = os.read(reader, 1 << 20)
        except BlockingIOError:
            block = None
        if block:
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                count.line(line.decode("utf-8", "surrogateescape"))
        elif ended:
            return
