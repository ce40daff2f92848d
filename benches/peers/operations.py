"""What each tool does to its store, counted with strace: what a slow network disk feels."""

import subprocess

from measure import Failed, argv, failure, say, usage_of
from storeops import COUNTED, KINDS, traced
from trees import Appended, linux, settle

TEN = 10


def counts_of(tool, tree):
    """Counts of a first backup, of one without changes, and of one with ten changed files."""
    found = {"first": counted(tool, tool.backup(1, tree))}
    store = usage_of(tool.store)
    found["files"], found["folders"] = store["files"], store["folders"]
    found["nochange"] = counted(tool, tool.backup(2, tree))
    with Appended(tree, files=TEN, stamp=TEN):
        found["ten"] = counted(tool, tool.backup(3, tree))
    return found


def counted(tool, command):
    # Of the others only what is compared: strace makes their hundreds of thousands of reads and writes very slow.
    kinds = KINDS if tool.name == "weekvault" else (*COUNTED, "stat")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    status, count = traced(tool.store, argv(command), kinds=kinds, env=tool.env, **silent)
    if status:
        raise failure(command, status, "under strace")
    return {"counted": count.counted, **count.kinds}


def measure(work, tools):
    tree = linux("6.1", work)
    settle()
    result = {}
    for tool in tools:
        say(f"store operations: {tool.label}")
        tool.prepare()
        try:
            result[tool.name] = counts_of(tool, tree)
        except Failed as failed:
            say(f"{tool.label}: {failed}")
        finally:
            tool.remove()
    return result
