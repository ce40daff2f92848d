"""The smoke test: sizes and counts on a Roundcube tree, which do not depend on how fast the machine is."""

import os
import shutil
import subprocess

from growth import count_objects, small_chunks
from limits import QUICK
from measure import Failed, differences, failure, quiet, run, say, usage_of
from storeops import traced
from tools import Tar, Weekvault
from trees import Appended, noise, roundcube, settle


NAMES = 300_000


class Checks:
    """Prints each value beside its limit and remembers which ones were missed."""

    def __init__(self):
        self.missed = []

    def at_most(self, what, value, limit, unit=""):
        met = value <= limit
        shown = f"{value:,.3f}".removesuffix(".000")
        print(f"{'ok' if met else 'MISSED':7} {what}: {shown}{unit}, at most {limit:,}{unit}", flush=True)
        if not met:
            self.missed.append(what)


def missing(*commands):
    return [command for command in commands if not shutil.which(command)]


def counted(tool, command):
    status, count = traced(tool.store, command, env=tool.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if status:
        raise failure(command, status, "under strace")
    return count


def check(work, own):
    """True where every limit holds."""
    lacking = missing("strace", "rsync", "tar", "zstd")
    if lacking:
        say(f"SKIPPED: not installed here: {' '.join(lacking)}")
        return True
    checks = Checks()
    tree = roundcube(work)
    settle()
    tool, tar = Weekvault(own, os.path.join(work, "weekvault")), Tar("tar", os.path.join(work, "tar"))
    tool.prepare()
    tar.prepare()
    try:
        compare(checks, tool, tar, tree, os.path.join(work, "out"))
        remember(checks, tool, work)
    except Failed as failed:
        print(f"FAILED  {failed}")
        checks.missed.append("a command failed")
    finally:
        quiet(["rm", "-rf", tree, tool.place, tar.place, os.path.join(work, "out")])
    return not checks.missed


def compare(checks, tool, tar, tree, out):
    quiet(tar.backup(1, tree), env=tar.env)
    first = counted(tool, tool.backup(1, tree))
    store = usage_of(tool.store)
    checks.at_most("store against tar | zstd -3", store["bytes"] / usage_of(tar.store)["bytes"], QUICK["store_against_tar"])
    checks.at_most("files that a first backup creates", first.kinds["create"], QUICK["created"])

    unchanged = counted(tool, tool.backup(2, tree))
    checks.at_most("store operations of an unchanged run", unchanged.counted, QUICK["unchanged_operations"])
    week = usage_of(tool.store)
    growth = (week["bytes"] - store["bytes"]) / 1e3
    checks.at_most("growth in an unchanged week", growth, QUICK["unchanged_growth_kb"], " kB")

    with Appended(tree, files=10, stamp=10):
        ten = counted(tool, tool.backup(3, tree))
        checks.at_most("store operations of a run with 10 changed files", ten.counted, QUICK["ten_operations"])
        grown = usage_of(tool.store)
        growth = (grown["bytes"] - week["bytes"]) / 1e3
        checks.at_most("growth with 10 changed files", growth, QUICK["ten_growth_kb"], " kB")
        os.makedirs(out)
        quiet(tool.restore(3, tree, out), env=tool.env)
        checks.at_most("differences that rsync finds in a restore", len(differences(tree, out)), 0)
        in_place = counted(tool, tool.restore_in_place(3, tree))
        checks.at_most("files that an in-place restore creates in the store", in_place.kinds["create"], 0)
        checks.at_most("differences that rsync finds after it", len(differences(out, tree)), 0)
    quiet(tool.verify(tree, None), env=tool.env)
    print("ok      verify finds no damage")


def remember(checks, tool, work):
    """What a command remembers of each object and of each name."""
    peaks = {}
    for files in (1, 80):
        tree = noise(files, work)
        settle()
        small_chunks(tool)
        quiet(tool.backup(1, tree), env=tool.env)
        commands = {"an unchanged run": tool.backup(1, tree), "verify": tool.verify(tree, None), "gc": tool.command("gc")}
        objects = count_objects(tool)
        for name, command in commands.items():
            peaks.setdefault(name, []).append((run(command, env=tool.env)["rss"], objects))
        quiet(["rm", "-rf", tree])
    for name, ((base, few), (peak, many)) in peaks.items():
        checks.at_most(f"memory of {name}", (peak - base) / (many - few), QUICK["bytes_an_object"], " bytes an object")
    tree = os.path.join(work, "trees", "names")
    os.makedirs(tree)
    for number in range(NAMES):
        with open(os.path.join(tree, f"{number * 7919 % NAMES:09}.{'x' * 50}"), "wb"):
            pass
    settle()
    tool.prepare()
    peak = run(tool.backup(1, tree), env=tool.env)["rss"] / (1 << 20)
    checks.at_most(f"memory for a folder of {NAMES:,} names", peak, QUICK["names_mib"], " MiB")
    quiet(["rm", "-rf", tree])
