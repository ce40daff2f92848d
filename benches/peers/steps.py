"""The steps on the Linux tree: every tool does each of them once in every round, so that a drift hurts all alike."""

import os

from measure import Failed, differences, quiet, run, say, usage_of
from trees import Appended, linux, regular_files, settle

STEPS = ("first", "nochange", "append", "second", "restore", "inplace", "verify")
FLOORS = {
    "find": "`find -printf` with stat", "read": "reading all", "copy": "`cp -a`", "copy2": "`cp -a` by two processes",
    "verify": "the objects through `zstd -d` and BLAKE3, two pipes",
}
BACKUPS = {"first": 1, "nochange": 2, "append": 3, "second": 4}
RESTORED = 3
APPENDED_PERCENT = 1


class Bench:
    """Runs the steps and keeps what they took in `result`."""

    def __init__(self, work, tools, steps):
        self.work, self.tools, self.steps = work, tools, steps
        self.tree, self.second = linux("6.1", work), linux("6.12", work)
        self.out = os.path.join(work, "out")
        self.result = {
            "tree": {"files": len(regular_files(self.tree)), "bytes": usage_of(self.tree)["bytes"]},
            "floors": {}, "tools": {}, "stores": {}, "notes": {},
        }

    def round(self, number):
        self.floors()
        for tool in self.tools:
            say(f"round {number}: {tool.label}")
            tool.prepare()
            try:
                self.one(tool, first_round=number == 1)
            except Failed as failed:
                say(f"{tool.label}: {failed}")
                self.note(tool, str(failed))
            finally:
                tool.remove()
                self.clear()

    def floors(self):
        find = "-printf '%s %T@ %C@ %i %m %U %G %p\\n'"
        self.floor("find", f"find {self.tree} {find} >/dev/null")
        self.floor("read", f"find {self.tree} -type f -print0 | xargs -0 cat >/dev/null")
        self.fresh()
        self.floor("copy", ["cp", "-a", f"{self.tree}/.", self.out])
        self.fresh()
        self.floor("copy2", self.two_copies())
        self.clear()

    def two_copies(self):
        """Two processes that copy about the same number of files each; folders are split at the second level."""
        parts = {}
        for path in regular_files(self.tree):
            names = os.path.relpath(path, self.tree).split("/")
            part = "/".join(names[:2])
            parts[part] = parts.get(part, 0) + 1
        halves, weights = ([], []), [0, 0]
        for part, weight in sorted(parts.items(), key=lambda item: -item[1]):
            lighter = weights.index(min(weights))
            halves[lighter].append(part)
            weights[lighter] += weight
        for number, half in enumerate(halves):
            with open(os.path.join(self.work, f"half-{number}"), "w") as file:
                file.write("\0".join(half))
        copy = f"xargs -0 cp -a --parents -t {self.out} <{self.work}/half-"
        # Both halves have parts in the same folders: whoever came second to make one would fail.
        folders = f"find . -mindepth 1 -maxdepth 1 -type d -exec mkdir {self.out}/{{}} ';'"
        return f"cd {self.tree} && {folders} && {{ {copy}0 & {copy}1 && wait $!; }}"

    def one(self, tool, first_round):
        self.backup(tool, "first")
        self.result["stores"].setdefault(tool.name, {})["first"] = usage_of(tool.store)
        self.backup(tool, "nochange")
        before = usage_of(tool.store)["bytes"]
        with Appended(self.tree, percent=APPENDED_PERCENT):
            self.backup(tool, "append")
            self.result["stores"][tool.name]["growth"] = usage_of(tool.store)["bytes"] - before
            if "second" in self.steps:
                self.backup(tool, "second")
                self.result["stores"][tool.name]["all"] = usage_of(tool.store)
            if "restore" in self.steps:
                self.restore(tool, first_round)
            in_place = "inplace" in self.steps and tool.restore_in_place(RESTORED, self.tree)
            if in_place:
                self.sample(tool, "inplace", in_place)
            verify = "verify" in self.steps and tool.verify(self.tree, self.second)
            if verify:
                self.sample(tool, "verify", verify)
                if hasattr(tool, "verify_floor"):
                    self.floor("verify", tool.verify_floor())

    def backup(self, tool, step):
        number = BACKUPS[step]
        self.sample(tool, step, tool.backup(number, self.second if step == "second" else self.tree))

    def restore(self, tool, compare):
        self.fresh()
        self.sample(tool, "restore", tool.restore(RESTORED, self.tree, self.out))
        if compare:
            different = differences(self.tree, tool.restored(self.tree, self.out))
            if different:
                such = f"such as `{different[0].strip()}`"
                self.note(tool, f"rsync finds differences after the restore ({len(different)}), {such}")
        self.clear()

    def sample(self, tool, step, command):
        taken = run(command, env=tool.env)
        self.result["tools"].setdefault(tool.name, {}).setdefault(step, []).append(taken)

    def floor(self, name, command):
        self.result["floors"].setdefault(name, []).append(run(command))

    def note(self, tool, text):
        self.result["notes"].setdefault(tool.name, []).append(text.replace(self.work + "/", ""))

    def fresh(self):
        self.clear()
        os.makedirs(self.out)

    def clear(self):
        quiet(["rm", "-rf", self.out])


def measure(work, tools, steps, rounds):
    bench = Bench(work, tools, steps)
    settle()
    for number in range(1, rounds + 1):
        bench.round(number)
    return bench.result
