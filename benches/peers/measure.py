"""Runs commands and measures them: wall clock, CPU of all processes, peak RSS of the largest one."""

import os
import statistics
import subprocess
import sys
import tempfile
import time

started = time.monotonic()


class Failed(Exception):
    """A command that did not end well; the text says which and how."""


def say(text):
    print(f"[{time.monotonic() - started:6.0f} s] {text}", file=sys.stderr, flush=True)


def argv(command):
    """A list is a command; a string is a line for bash, where a failure anywhere in a pipe counts."""
    return ["bash", "-c", f"set -o pipefail; {command}"] if isinstance(command, str) else [str(part) for part in command]


def failure(command, status, stderr):
    last = stderr.strip().splitlines()[-3:]
    # Where this machine has things is nothing for a page.
    words = " ".join(os.path.basename(word) or word for word in argv(command))
    return Failed(f"exit code {status} of `{words[:300]}`: {' / '.join(last)[:600]}")


def run(command, cwd=None, env=None, allowed=(0,)):
    """Runs a command and returns `{"wall", "cpu", "rss"}` in seconds and bytes.

    The RSS is the one that GNU time sees: a child of Python would begin with Python's own.
    """
    with tempfile.NamedTemporaryFile("r") as peak, tempfile.TemporaryFile("w+") as stderr:
        wrapped = ["/usr/bin/time", "-q", "-o", peak.name, "-f", "%M", "--", *argv(command)]
        begin = time.perf_counter()
        process = subprocess.Popen(
            wrapped, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in allowed:
            stderr.seek(0)
            raise failure(command, process.returncode, stderr.read())
        return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime, "rss": int(peak.read().split()[-1]) * 1024}


def quiet(command, cwd=None, env=None, allowed=(0,)):
    """Runs a command that is not measured; its stdout."""
    done = subprocess.run(
        argv(command), cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    if done.returncode not in allowed:
        raise failure(command, done.returncode, done.stderr)
    return done.stdout


def middle(samples, value):
    """The median of one value of several runs."""
    return statistics.median(sample[value] for sample in samples)


def usage_of(folder):
    """What a store takes: bytes, bytes on a disk of 4 KiB blocks, files, folders. Hard links take bytes once."""
    total = {"bytes": 0, "disk": 0, "files": 0, "folders": 0}
    seen = set()
    for place, folders, files in os.walk(folder):
        total["folders"] += len(folders)
        total["files"] += len(files)
        for name in files:
            about = os.lstat(os.path.join(place, name))
            if about.st_nlink > 1:
                if about.st_ino in seen:
                    continue
                seen.add(about.st_ino)
            total["bytes"] += about.st_size
            total["disk"] += -(-about.st_size // 4096) * 4096
    return total


def differences(source, restored):
    """What rsync would still change: the lines it prints. None at all means that a restore was right."""
    lines = quiet(
        ["rsync", "-aHAXn", "--delete", "--checksum", "--itemize-changes", f"{source}/", f"{restored}/"], allowed=(0, 23)
    )
    return lines.splitlines()
