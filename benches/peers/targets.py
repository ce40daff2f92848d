"""The targets, and how each is read from the results. Ratios are of medians of one run on one machine."""

import math
from dataclasses import dataclass
from typing import Callable

from measure import middle

OURS = "weekvault"
MIB = 1 << 20


@dataclass(frozen=True)
class Target:
    key: str  # the heading in notes.md
    text: str
    limit: float
    measured: Callable  # of the results; None where it was not measured
    unit: str = "×"
    at_least: bool = False

    def value(self, data):
        try:
            return self.measured(data)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    def met(self, value):
        return value >= self.limit if self.at_least else value <= self.limit


def step(data, tool, name, value="wall"):
    return middle(data["steps"]["tools"][tool][name], value)


def floor(data, name):
    return middle(data["steps"]["floors"][name], "wall")


def against(name, tool):
    return lambda data: step(data, OURS, name) / step(data, tool, name)


def fastest_restore(data):
    tools = data["steps"]["tools"]
    return min(step(data, tool, "restore") for tool in tools if tool != OURS and "restore" in tools[tool])


def stored(data, tool, when):
    return data["steps"]["stores"][tool][when]["bytes"]


def peak(*groups):
    """The highest RSS in MiB of some runs."""
    return max(taken["rss"] for taken in groups) / MIB


def all_steps(data):
    return [sample for samples in data["steps"]["tools"][OURS].values() for sample in samples]


def million(data):
    point = max(data["growth"]["files"], key=lambda point: point["files"])
    if point["files"] < 1_000_000:
        return None
    return peak(*(point[run] for run in ("first", "nochange", "verify", "restore")))


def large_file(data):
    point = data["growth"]["large_file"]
    return peak(*(point[run] for run in ("first", "nochange", "verify", "restore")))


def exponent(points, by, start, runs):
    """The steepest growth of the time, memory or store operations of some runs: 1 is linear, 0 is none."""
    low, high = next(point for point in points if point[by] == start), max(points, key=lambda point: point[by])
    values = (lambda taken: taken["wall"], lambda taken: taken["rss"], lambda taken: taken["ops"]["counted"])
    steepest = max(math.log(value(high[run]) / value(low[run])) for run in runs for value in values)
    return steepest / math.log(high[by] / low[by])


def operations(name):
    return lambda data: data["operations"][OURS][name]["counted"]


def latency(name):
    return lambda data: data["latency"][OURS][name] / data["latency"]["rsync"][name]


def by_objects(least):
    """The peak of the smallest store that has so many objects."""
    def value(data):
        points = [point for point in data.get("objects", ()) if point["objects"] >= least]
        if not points:
            return None
        point = min(points, key=lambda point: point["objects"])
        return peak(*(taken for run, taken in point.items() if run != "objects"))
    return value


TARGETS = (
    Target("first", "first backup, of `tar | zstd -3 -T2`", 0.95, against("first", "tar")),
    Target("first-store", "store after it, of that archive", 1.08,
           lambda d: stored(d, OURS, "first") / stored(d, "tar", "first")),
    Target("nochange-find", "no change, of `find -printf` with stat", 1.5,
           lambda d: step(d, OURS, "nochange") / floor(d, "find")),
    Target("nochange-bupstash", "no change, of bupstash", 1, against("nochange", "bupstash")),
    Target("append", "1 % appended, of bupstash", 0.25, against("append", "bupstash")),
    Target("append-growth", "growth of the store by that", 8, lambda d: d["steps"]["stores"][OURS]["growth"] / 1e6, " MB"),
    Target("second", "second tree, of bupstash", 0.95, against("second", "bupstash")),
    Target("store", "store after all four, of restic", 0.80, lambda d: stored(d, OURS, "all") / stored(d, "restic", "all")),
    Target("restore-peers", "restore, of the fastest peer", 0.5, lambda d: step(d, OURS, "restore") / fastest_restore(d)),
    Target("restore-copy", "restore, of `cp -a` by two processes", 2, lambda d: step(d, OURS, "restore") / floor(d, "copy2")),
    Target("inplace", "restore of an unchanged tree in place, of `find -printf`", 2,
           lambda d: step(d, OURS, "inplace") / floor(d, "find")),
    Target("verify-rustic", "verify, of rustic's check --read-data", 0.5, against("verify", "rustic")),
    Target("verify-floor", "speed of verify, of two pipes of `zstd -d` and BLAKE3", 0.8,
           lambda d: floor(d, "verify") / step(d, OURS, "verify"), at_least=True),
    Target("rss", "peak RSS in every step", 64, lambda d: peak(*all_steps(d)), " MiB"),
    Target("rss-million", "peak RSS with 1,000,000 files", 128, million, " MiB"),
    Target("rss-objects", "peak RSS with 1,000,000 objects", 128, by_objects(1_000_000), " MiB"),
    Target("rss-fewer-objects", "peak RSS with 215,000 objects", 72, by_objects(215_000), " MiB"),
    Target("rss-large", "peak RSS with one file of 20 GiB", 128, large_file, " MiB"),
    Target("ops-first", "files that a first backup creates", 1000, lambda d: d["operations"][OURS]["first"]["create"], ""),
    Target("ops-nochange", "store operations of a run without changes", 100, operations("nochange"), ""),
    Target("ops-ten", "store operations of a run with 10 changed files", 120, operations("ten"), ""),
    Target("ops-million", "store operations of a run without changes, 1,000,000 files", 100,
           lambda d: max(d["growth"]["files"], key=lambda point: point["files"])["nochange"]["ops"]["counted"], ""),
    Target("latency-first", "first backup at 5 ms latency, of rsync", 0.1, latency("first")),
    Target("latency-nochange", "no change at 5 ms latency, of rsync", 0.1, latency("nochange")),
    Target("latency-ten", "10 changed files at 5 ms latency, of rsync", 0.1, latency("ten")),
    Target("growth-files", "growth with the files, 10,000 to 1,000,000: steepest exponent", 1.1,
           lambda d: exponent(d["growth"]["files"], "files", 10_000, ("first", "nochange")), ""),
    Target("growth-weeks", "growth with the weeks, 1 to 8: steepest exponent", 1.1,
           lambda d: exponent(d["growth"]["weeks"], "weeks", 1, ("nochange",)), ""),
)
