"""Source and store each behind a file system that answers every operation some milliseconds late, as a busy NFS disk."""

import contextlib
import os
import statistics

from install import PEERS
from measure import Failed, quiet, run, say
from trees import Appended, roundcube, settle

HERE = os.path.dirname(os.path.realpath(__file__))
MILLISECONDS = 5
TEN = 10
RUNS = ("first", "nochange", "ten")
TOOLS = ("weekvault", "rsync", "restic")


def build():
    if not os.path.exists("/dev/fuse"):
        raise Failed("no /dev/fuse here")
    if os.geteuid() != 0:
        raise Failed("only root can mount")
    os.makedirs(PEERS, exist_ok=True)
    program = os.path.join(PEERS, "slowfs")
    quiet(f"gcc -O2 -Wall -o {program} {HERE}/slowfs.c $(pkg-config --cflags --libs fuse3)")
    return program


@contextlib.contextmanager
def mounted(program, folders):
    """Mounts each folder next to itself as `<folder>.slow`, with cold caches."""
    done = []
    try:
        for folder in folders:
            point = f"{folder}.slow"
            os.makedirs(point, exist_ok=True)
            quiet([program, folder, MILLISECONDS, point])
            done.append(point)
        yield done
    finally:
        for point in done:
            quiet(["umount", point])


def one(program, tool, tree, work):
    """The wall clock of each run; every run begins with a fresh mount, as a pod does."""
    backing = os.path.join(work, "slow-store")
    quiet(["rm", "-rf", backing])
    os.makedirs(backing)
    tool.prepare()
    usual, tool.store = tool.store, os.path.join(f"{backing}.slow", "store")
    taken = {}

    def timed(step, number):
        with mounted(program, [tree, backing]) as (source, _):
            taken[step] = run(tool.backup(number, source), env=tool.env)

    try:
        with mounted(program, [backing]):
            os.makedirs(tool.store)
            tool.init()
        timed("first", 1)
        timed("nochange", 2)
        with Appended(tree, files=TEN, stamp=TEN):
            timed("ten", 3)
    finally:
        tool.store = usual
        tool.remove()
        quiet(["rm", "-rf", backing, f"{backing}.slow"])
    return taken


def measure(work, tools, rounds):
    program = build()
    tree = roundcube(work)
    settle()
    found = {}
    for number in range(1, rounds + 1):
        for tool in tools:
            if tool.name in TOOLS:
                say(f"{MILLISECONDS} ms latency, round {number}: {tool.label}")
                found.setdefault(tool.name, []).append(one(program, tool, tree, work))
    quiet(["rm", "-rf", tree])
    return {
        name: {step: statistics.median(taken[step]["wall"] for taken in all_rounds) for step in RUNS}
        for name, all_rounds in found.items()
    }
