"""Writes the page and its plots from the results."""

import os
import re

import plots
from latency import MILLISECONDS
from measure import middle
from steps import FLOORS, STEPS
from targets import OURS, TARGETS
from tools import TOOLS

LABELS = {tool.name: tool.label for tool in TOOLS}
SHORT = {"tar": "tar | zstd -3", "borg": "borg"}
STEP_TITLES = {
    "first": "first backup", "nochange": "no change", "append": "1 % appended", "second": "second tree",
    "restore": "restore", "inplace": "restore in place", "verify": "verify all",
}
RUNS = {"first": "first backup", "nochange": "no change", "ten": "10 changed files"}
NOTES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "notes.md")


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    cells = ((cell.replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in cells)])


def number(value):
    """Three digits that mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def count(value):
    return f"{value:,}"


def megabytes(value):
    return f"{value / 1e6:,.1f}" if value < 1e8 else f"{value / 1e6:,.0f}"


def notes():
    """The hand-written sections by their headings, which are the keys of targets."""
    with open(NOTES) as file:
        parts = re.split(r"^## +(\S+)\s*$", file.read(), flags=re.MULTILINE)
    return {key: text.strip() for key, text in zip(parts[1::2], parts[2::2])}


def present(group):
    """Names of tools in a group of results, in their fixed order."""
    return [tool.name for tool in TOOLS if tool.name in group]


def name_of(tool):
    return f"**{LABELS[tool]}**" if tool == OURS else LABELS[tool]


def targets(data):
    rows, missed = [], []
    for target in TARGETS:
        value = target.value(data)
        limit = f"{'≥' if target.at_least else '≤'} {target.limit:g}{target.unit}"
        if value is None:
            rows.append((target.text, limit, "not measured", ""))
            continue
        met = target.met(value)
        text = count(value) if isinstance(value, int) else number(value)
        rows.append((target.text, limit, f"{text}{target.unit}", "met" if met else "**missed**"))
        if not met:
            missed.append(target)
    return table(("target", "at most, or at least", "measured", ""), rows), missed


def obstacles(missed):
    written = notes()
    lines = []
    for target in missed:
        reason = written.get(target.key, "not looked into yet.").replace("\n", "\n  ")
        lines.append(f"* {target.text[0].upper()}{target.text[1:]}: {reason}")
    return ["## Where a target is missed", "\n".join(lines)] if missed else []


def step_cells(data, tool, cell):
    taken = data["steps"]["tools"][tool]
    return (name_of(tool), *(cell(taken[step]) if step in taken else "-" for step in STEPS))


def cpu_and_rss(taken):
    return f"{number(middle(taken, 'cpu'))} / {middle(taken, 'rss') / (1 << 20):,.0f}"


def steps(data):
    part = data["steps"]
    tree = part["tree"]
    names = present(part["tools"])
    head = ("tool", *STEP_TITLES.values())
    wall = table(head, [step_cells(data, tool, lambda taken: number(middle(taken, "wall"))) for tool in names])
    usage = table(head, [step_cells(data, tool, cpu_and_rss) for tool in names])
    floors = table(("floor", "s"), [
        (text, number(middle(part["floors"][key], "wall"))) for key, text in FLOORS.items() if key in part["floors"]
    ])
    about = [f"* {LABELS[tool.name]}: {tool.note}" for tool in TOOLS if tool.note and tool.name in names]
    about += [f"* {LABELS[name]}: {text}" for name in names for text in part["notes"].get(name, ())]
    return [
        f"## Steps on the Linux 6.1 source tree\n\n{count(tree['files'])} files, {tree['bytes'] / 1e9:.2f} GB; the second "
        "tree is Linux 6.12. Everything is in memory (tmpfs). What is restored is the third backup; restore in place is "
        "that of an unchanged tree.",
        "![wall clock by step and tool](benchmarks/steps.svg)",
        "Wall clock in seconds:", wall, "CPU in seconds / peak RSS in MiB of the largest process:", usage,
        "The floors of the same place:", floors, "\n".join(about),
    ]


def stores(data):
    part = data["steps"]["stores"]
    rows = []
    for tool in present(part):
        first, every = part[tool].get("first"), part[tool].get("all")
        if first and every:
            growth = megabytes(part[tool]["growth"])
            rows.append((
                name_of(tool), megabytes(first["bytes"]), growth, megabytes(every["bytes"]), megabytes(every["disk"]),
                count(every["files"]), count(every["folders"]),
            ))
    head = ("tool", "MB after the first", "+ 1 % appended", "MB after all four", "in 4 KiB blocks", "files", "folders")
    return ["## The store", table(head, rows)]


def operations(data):
    part = data["operations"]
    rows = [
        (name_of(tool), *(f"{count(part[tool][run]['counted'])} ({count(part[tool][run]['stat'])})" for run in RUNS))
        for tool in present(part)
    ]
    ours = part.get(OURS)
    kinds = ("open", "create", "mkdir", "rename", "fsync", "unlink", "list", "stat", "lock", "read", "write")
    detail = table(("weekvault", *kinds), [
        (title, *(count(ours[run][kind]) for kind in kinds)) for run, title in RUNS.items()
    ]) if ours else ""
    return [
        "## Store operations\n\nOpens, creates, folders, renames and links, fsyncs, unlinks and listing pages on the "
        "store's paths, and stats in brackets; Linux 6.1, counted with strace by `benches/peers/store_ops`. A tool that "
        "keeps a cache elsewhere is not charged for it.",
        table(("tool", *RUNS.values()), rows), detail,
    ]


def latency(data):
    part = data["latency"]
    rows = [(name_of(tool), *(number(part[tool][run]) for run in RUNS)) for tool in present(part)]
    return [
        f"## Latency\n\nSource (a Roundcube tree) and store each behind a file system that answers every operation "
        f"{MILLISECONDS} ms late (`benches/peers/slowfs.c`), each run with cold caches there. Wall clock in seconds:",
        table(("tool", *RUNS.values()), rows),
    ]


def cells(taken):
    ops = f" / {count(taken['ops']['counted'])}" if "ops" in taken else ""
    return f"{number(taken['wall'])} / {taken['rss'] / (1 << 20):.0f}{ops}"


def growth(data):
    part = data["growth"]
    runs = ("first", "nochange", "verify", "restore")
    files = [(count(point["files"]), *(cells(point[run]) for run in runs)) for point in part["files"]]
    week_runs = ("weekly", "nochange", "verify")
    weeks = [(count(point["weeks"]), *(cells(point[run]) for run in week_runs)) for point in part["weeks"]]
    text = [
        "## Growth\n\nSmall files of 200 bytes, in folders of a thousand. Wall clock in seconds / peak RSS in MiB / store "
        "operations:",
        "![growth of time, memory and store operations](benchmarks/growth.svg)",
        table(("files", "first backup", "no change", "verify", "restore"), files),
        f"{count(part['weeks_files'])} of them, each week 1 % appended to:",
        table(("weeks", "the week's first run", "no change", "verify"), weeks),
    ]
    large = part["large_file"]
    if "failed" in large:
        return [*text, f"One large file: {large['failed']}."]
    return [
        *text, f"One file of {large['bytes'] >> 30} GiB, on a disk:",
        table(("", "first backup", "no change", "verify", "restore"), [("s / MiB", *(cells(large[run]) for run in runs))]),
    ]


def objects(data):
    runs = ("first", "nochange", "changed", "verify", "gc", "one")
    rows = [(count(point["objects"]), *(cells(point[run]) for run in runs)) for point in data["objects"]]
    return [
        "## Objects\n\nGrowth with the objects of a store, which chunks of 1 KiB make many; with those of 1 MiB that `init` "
        "sets by default, 1,000,000 of them are some 1 TB of data. One file of a hundred is replaced. Wall clock in seconds "
        "/ peak RSS in MiB:",
        table(("objects", "first backup", "no change", "1 % replaced", "verify", "gc", "restore of one file"), rows),
    ]


def about(data):
    machine = data["machine"]
    versions = [f"{LABELS[tool]} ({data['versions'][tool]})" for tool in present(data["versions"])]
    measured = {(part["day"], part["commit"]) for part in data["measured"].values()}
    when = " and ".join(f"on {day} at {commit}" for day, commit in sorted(measured))
    rounds = data["measured"].get("steps", {}).get("rounds")
    lines = [
        "# Benchmarks",
        "Written by `benches/peers/run`, which measures all of this in one go: it installs the peers that it can, by apt, "
        "cargo and pip, and runs the tools in turns, so that a drift of the machine hurts all alike"
        + (f" (medians of {rounds} rounds)." if rounds and rounds > 1 else " (one round)." if rounds else "."),
        "```sh\nbenches/peers/run            # everything; most of an hour\n"
        "benches/peers/run --quick    # sizes and counts only, asserted, as .ci/run does\n"
        "benches/peers/run --help\n```",
        f"Measured {when}: {machine['cores']} cores of {machine['cpu']}, {machine['memory'] / (1 << 30):.0f} GiB, "
        f"{machine['system']}, Linux {machine['kernel'].split('-')[0]}.",
        f"Versions: {', '.join(versions)}.",
    ]
    if data["absent"]:
        lines.append(f"Could not be installed, and is left out: {', '.join(data['absent'])}.")
    return lines


def draw(data, folder):
    os.makedirs(folder, exist_ok=True)
    if "steps" in data:
        save(folder, "steps.svg", plots.bars(list(step_panels(data["steps"]["tools"])), LABELS[OURS]))
    if "growth" in data:
        save(folder, "growth.svg", plots.growth([growth_row(data, "files"), growth_row(data, "weeks")]))


def step_panels(taken):
    """For each step the wall clock of each tool, under a name short enough to stand beside a bar."""
    for step, title in STEP_TITLES.items():
        values = [(tool, middle(taken[tool][step], "wall")) for tool in present(taken) if step in taken[tool]]
        if step != "inplace" and values:
            yield title, [(SHORT.get(tool, LABELS[tool]), value) for tool, value in values]


def growth_row(data, by):
    points = data["growth"][by]
    run, title = ("first", "first backup") if by == "files" else ("weekly", "weekly run")
    ticks = [point[by] for point in points]
    values = {
        f"seconds by {by}": lambda taken: taken["wall"],
        f"peak RSS in MiB by {by}": lambda taken: taken["rss"] / (1 << 20),
        f"store operations by {by}": lambda taken: taken["ops"]["counted"],
    }
    row = []
    for heading, value in values.items():
        shown = ((title, run), ("no change", "nochange"))
        row.append((heading, by, ticks, [(name, [(p[by], value(p[key])) for p in points]) for name, key in shown]))
    return row


SECTIONS = {"steps": (steps, stores), "operations": (operations,), "latency": (latency,), "growth": (growth,), "objects": (objects,)}


def save(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def write(data, out):
    draw(data, os.path.join(os.path.dirname(os.path.abspath(out)), "benchmarks"))
    lines = about(data)
    text, missed = targets(data)
    lines += ["## Targets", text, *obstacles(missed)]
    for part, sections in SECTIONS.items():
        if part in data:
            lines += [text for section in sections for text in section(data)]
    with open(out, "w") as file:
        file.write("\n\n".join(line for line in lines if line) + "\n")
