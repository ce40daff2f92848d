"""How time, memory and store operations of ours grow with the files, the weeks, the objects, and with one large file."""

import json
import os
import shutil
import subprocess

from measure import Failed, failure, middle, quiet, run, say, usage_of
from storeops import COUNTED, KINDS, traced
from trees import generated, generated_file, noise, regular_files, settle

FILES = (1_000, 10_000, 100_000, 1_000_000)
WEEKS = (1, 4, 8)
WEEKS_FILES = 100_000
APPENDED_PERCENT = 1
LARGE_FILE = 20 << 30
# Of so many objects, about, the store is made: with chunks of 1 KiB that takes 1.3 GiB of data, where it would take 1 TB.
OBJECTS = (10_000, 215_000, 1_000_000)
SMALL_CHUNKS = {"min": 512, "avg": 1024, "max": 4096}
OBJECTS_A_MIB = 771


def backup(tool, tree, week=1):
    return tool.command("backup", "--week", f"2025-{9 + week:02}", "--source", f"tree={tree}")


def operations(tool, command):
    status, count = traced(
        tool.store, command, kinds=COUNTED, env=tool.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    if status:
        raise failure(command, status, "under strace")
    return {"counted": count.counted, **{kind: count.kinds[kind] for kind in KINDS if kind in COUNTED}}


def timed(tool, command, rounds=1):
    samples = [run(command, env=tool.env) for _ in range(rounds)]
    return {value: middle(samples, value) for value in ("wall", "cpu", "rss")}


def by_files(work, tool, rounds):
    points = []
    for files in FILES:
        say(f"growth: {files:,} files")
        tree = generated(files, work)
        settle()
        tool.prepare()
        point = {"files": files, "first": {"ops": operations(tool, backup(tool, tree))}}
        tool.prepare()
        point["first"].update(timed(tool, backup(tool, tree)))
        point["nochange"] = {**timed(tool, backup(tool, tree), rounds), "ops": operations(tool, backup(tool, tree))}
        point["store"] = usage_of(tool.store)
        point["verify"] = timed(tool, tool.verify(tree, None), rounds)
        # Its place in memory is needed for the restore.
        quiet(["rm", "-rf", tree])
        out = os.path.join(work, "out")
        point["restore"] = timed(tool, tool.restore(1, tree, out))
        quiet(["rm", "-rf", out])
        tool.remove()
        points.append(point)
    return points


def append(tree, number):
    everything = regular_files(tree)
    step = 100 // APPENDED_PERCENT
    for path in everything[number % step :: step]:
        with open(path, "ab") as file:
            file.write(b"week %d\n" % number)


def by_weeks(work, tool, rounds):
    say(f"growth: {max(WEEKS)} weeks of {WEEKS_FILES:,} files")
    tree = generated(WEEKS_FILES, work)
    settle()
    tool.prepare()
    points = []
    for week in range(1, max(WEEKS) + 1):
        if week > 1:
            append(tree, week)
            settle()
        weekly = timed(tool, backup(tool, tree, week))
        if week in WEEKS:
            daily = {**timed(tool, backup(tool, tree, week), rounds), "ops": operations(tool, backup(tool, tree, week))}
            verify = timed(tool, tool.verify(tree, None), rounds)
            append(tree, week + max(WEEKS))
            settle()
            weekly["ops"] = operations(tool, backup(tool, tree, week))
            point = {"weeks": week, "weekly": weekly, "nochange": daily, "verify": verify}
            points.append({**point, "store": usage_of(tool.store)})
    tool.remove()
    quiet(["rm", "-rf", tree])
    return points


def small_chunks(tool):
    """Makes an empty store that has many objects of little data."""
    tool.prepare()
    quiet(tool.command("init"), env=tool.env)
    description = os.path.join(tool.store, "store.json")
    with open(description) as file:
        store = json.load(file)
    store["chunking"].update(SMALL_CHUNKS)
    with open(description, "w") as file:
        json.dump(store, file)


def count_objects(tool):
    return sum(len(names) for _, _, names in os.walk(os.path.join(tool.store, "objects")))


def by_objects(work, tool, rounds):
    points = []
    for objects in OBJECTS:
        say(f"growth: {objects:,} objects")
        # Some more than that: where the chunks are cut is the data's choice.
        tree = noise(-(-objects * 104 // 100 // OBJECTS_A_MIB), work)
        settle()
        small_chunks(tool)
        point = {"first": timed(tool, backup(tool, tree)), "objects": count_objects(tool)}
        point["nochange"] = timed(tool, backup(tool, tree), rounds)
        for number, path in enumerate(regular_files(tree)[::100]):
            with open(path, "wb") as file:
                file.write(os.urandom(1 << 20))
        settle()
        point["changed"] = timed(tool, backup(tool, tree, 2))
        point["verify"] = timed(tool, tool.verify(tree, None), rounds)
        point["gc"] = timed(tool, tool.command("gc"), rounds)
        out = os.path.join(work, "out")
        one = os.path.relpath(regular_files(tree)[0], tree)
        pvc = ("--week", tool.week(1), "--pvc", "tree", "--target", out)
        point["one"] = timed(tool, tool.command("restore", *pvc, "--path", one))
        quiet(["rm", "-rf", out, tree])
        tool.remove()
        points.append(point)
    return points


def large_file(disk, tool):
    """Peak RSS of each step with one large file, which lies on a disk and not in memory."""
    folder = os.path.join(disk, "weekvault-large-file")
    tree, out = os.path.join(folder, "tree"), os.path.join(folder, "out")
    quiet(["rm", "-rf", folder])
    if shutil.disk_usage(disk).free < 2.2 * LARGE_FILE:
        raise Failed(f"not enough room for a file of {LARGE_FILE >> 30} GiB, and its restore, in {disk}")
    say(f"growth: one file of {LARGE_FILE >> 30} GiB")
    try:
        os.makedirs(tree)
        generated_file(os.path.join(tree, "large"), LARGE_FILE)
        settle()
        tool.prepare()
        point = {"bytes": LARGE_FILE, "first": timed(tool, backup(tool, tree)), "nochange": timed(tool, backup(tool, tree))}
        point["store"] = usage_of(tool.store)
        point["verify"] = timed(tool, tool.verify(tree, None))
        point["restore"] = timed(tool, tool.restore(1, tree, out))
        tool.remove()
        return point
    finally:
        quiet(["rm", "-rf", folder])


def measure(work, disk, tool, rounds):
    result = {"files": by_files(work, tool, rounds), "weeks": by_weeks(work, tool, rounds), "weeks_files": WEEKS_FILES}
    try:
        result["large_file"] = large_file(disk, tool)
    except Failed as failed:
        say(str(failed))
        result["large_file"] = {"failed": str(failed)}
    return result
