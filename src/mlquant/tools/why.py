"""Why a target would be made: the jobs that Snakemake would run, the cause of each of them, and their time.

The jobs are those of Snakemake's own dry run; its records are read, not its text. A node without a result under its key
is compared with earlier variants of the same kind and name. These are known from the provenance of experiments,
networks and codebooks, and from the records of measures. The time of a job is the time that jobs of the same name, or
else of the same kind, took before; a setting that makes a training longer does not change it.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlquant.core import keys
from mlquant.core.disk import read_json
from mlquant.core.errors import InputError, log, one_line
from mlquant.core.stage import Setting
from mlquant.experiments.compare import changes
from mlquant.plan.config import load, read
from mlquant.plan.graph import Node
from mlquant.plan.plan import Plan
from mlquant.plan.reading import refuse_repeats
from mlquant.plan.records import WITH_SIDECAR
from mlquant.plan.schema import helps

KEYED = re.compile(r"results/(\w+)/([A-Za-z0-9_-]+)\.([0-9a-f]{8})(?![A-Za-z0-9_-])")
"""The folder of a node: kind, name and key."""
_PACKAGE = Path(keys.__file__).parents[1]
_INPUTS = 3  # most inputs in the line of a job
_NAMED = 4  # most names in a list
_SHORT = 40  # most characters of the value of a setting


@dataclass(frozen=True)
class Job:
    """A job that would run, as Snakemake records it; `folder` is that of the node, or else the first output."""

    folder: str
    rule: str
    command: str
    inputs: list[str]
    outputs: list[str]
    reason: str
    benchmark: str
    threads: int
    checkpoint: bool


@dataclass
class Variant:
    """A node as it was recorded: its settings, inputs by name, and the code behind it; `time` of the record in s."""

    settings: dict
    inputs: dict
    definitions: dict[str, str]
    time: float


Variants = dict[tuple[str, str], dict[str, Variant]]
"""By kind and name, then by folder."""


def plan_of(configfiles: Iterable[str], entries: Iterable[str] = ()) -> Plan:
    """Return the plan of the configuration, with files and KEY=VALUE entries over it, as the Snakefile reads it.

    Raises InputError for a configuration that cannot be used.
    """
    settings = {}
    if entries := list(entries):
        from snakemake.cli import parse_config

        refuse_repeats(entries)
        try:
            settings = parse_config(entries)
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from None
    return Plan(load(read(Path(), configfiles, settings)))


def explain(target: str, configfiles: list[str], entries: list[str], cores: int, every: bool = False) -> None:
    """Print what would run for a target: how much and for how long, then what differs, then what follows from it.

    Jobs are folded: those of all samples with the same cause are one line. With `every` a line for each job follows, in
    the order of the graph. Raises InputError for a configuration that cannot be used, and for a target that Snakemake
    refuses.
    """
    plan = plan_of(configfiles, entries)
    asked = would_run(target, configfiles, entries)
    if not (jobs := [job for job in asked if job.outputs]):
        print(one_line(f"Nothing to be done: {target} is up to date."))
        return
    order = {folder: place for place, folder in enumerate(plan.nodes)}
    jobs.sort(key=lambda job: order.get(job.folder, len(order)))
    variants = recorded()
    work = Work(plan.nodes, variants)
    seconds = [estimate(job.benchmark, work) for job in jobs]
    found = {job.folder: causes(job, plan.nodes, variants) for job in jobs}
    new, differs, follows = fold(plan, jobs, found, variants)
    lines = [f"{total(jobs, seconds, cores)}{_staying(plan, target, asked)}"]
    lines.append("To run: " + ", ".join(f"{count} {rule}" for rule, count in Counter(job.rule for job in jobs).items()))
    for title, told in (("What differs:", differs), ("What is new:", new), ("What follows from it:", follows)):
        lines += [title, *(f"  {line}" for line in told)] if told else []
    if any(job.checkpoint for job in jobs):
        lines.append("More jobs may follow: an optional source must be tried before it is known what it has.")
    if every:
        lines += ["All jobs:", *_table(jobs, found, seconds)]
    else:
        lines.append("With --all each job is listed, with its cause and time.")
    for line in lines:
        print(one_line(line))


def _staying(plan: Plan, target: str, jobs: list[Job]) -> str:
    """Return how many results behind a target stay as they are, for the end of the line on what would run."""
    # A target that is a rule, and a folder that the plan does not know, stand for what they take.
    asked = [target, *(path for job in jobs if job.folder not in plan.nodes for path in job.inputs)]
    known = plan.folders()
    known_paths = [path for path in asked if path in known or path.rpartition("/")[0] in plan.nodes]
    made = {job.folder for job in jobs if job.outputs}
    behind = set[str]().union(*(plan.needed_for([path]) for path in known_paths))
    stay = [path for path in behind - made if (path in plan.nodes or path in known) and os.path.exists(path)]
    return f"; {len(stay)} other results stay" if stay else ""


def _table(jobs: list[Job], found: dict[str, list[Cause]], seconds: list[float | None]) -> list[str]:
    """Return a line for each job: its command, folder, causes and time."""
    rows = []
    for job, time in zip(jobs, seconds, strict=True):
        inputs = list(dict.fromkeys(cause.text for cause in found[job.folder] if cause.kind == "input"))
        texts = [cause.text for cause in found[job.folder] if cause.kind != "input"] + inputs[:_INPUTS]
        texts += [f"and {len(inputs) - _INPUTS} inputs more"] if len(inputs) > _INPUTS else []
        rows.append((job.command, job.folder.removeprefix("results/"), ", ".join(texts), _about(time)))
    widths = [min(max(map(len, column)), 60) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


# the jobs


def would_run(target: str, configfiles: list[str], entries: list[str]) -> list[Job]:
    """Return the jobs of Snakemake's dry run; InputError for what Snakemake refuses.

    A target that is a rule, such as all_experiments, has a job without outputs, whose inputs are what it stands for.
    """
    arguments = ["--dry-run", *(["--configfile", *configfiles] if configfiles else [])]
    arguments += ["--config", *entries] if entries else []
    # It runs in a process of its own, because a run leaves loggers, locks and loaded modules behind.
    command = [sys.executable, "-P", "-m", "mlquant.tools.why", *arguments, "--", target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        status, jobs, errors = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        status, jobs, errors = 1, [], []
    if status:
        text = errors[0] if errors else done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"Snakemake: {' '.join(text.partition('Traceback')[0].split())}")
    return [Job(**job) for job in jobs]


class _Records(logging.Handler):
    """Keeps the records that Snakemake makes of jobs and errors."""

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[dict] = []
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == "job_info":
            self.jobs.append(_job(record))
        elif record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage())


def _job(record: logging.LogRecord) -> dict:
    """Return the fields of a `Job`, as JSON can hold them."""
    first = record.output[0] if record.output else ""
    node, command = KEYED.match(first), re.search(r"\bmlquant ([a-z-]+)", record.shellcmd or "")
    return {
        "folder": node[0] if node else first,
        "rule": record.rule_name,
        "command": command[1] if command else record.rule_name,
        "inputs": record.input,
        "outputs": record.output,
        "reason": record.reason,
        "benchmark": record.benchmark or "",
        "threads": record.threads,
        "checkpoint": record.is_checkpoint,
    }


def _dry_run() -> None:
    """Run Snakemake with the arguments of this process; the last line of stdout is then its records, as JSON."""
    from snakemake import cli

    records, status = _Records(), 0
    # Snakemake removes the handlers of its own logger, so this one is on the logger above it.
    logging.getLogger().addHandler(records)
    try:
        cli.main()
    except SystemExit as end:
        status = end.code
    print(f"\n{json.dumps([status, records.jobs, records.errors])}", end="")


# the causes


def recorded() -> Variants:
    """Return all nodes that a provenance.json in results/ records; a file that cannot be read is logged."""
    variants: Variants = defaultdict(dict)
    for kind in ("experiments", "networks", "codebooks"):
        for path in sorted(Path("results", kind).glob("*/provenance.json")):
            found = _object(path)
            nodes, definitions = _dict(found.get("stages")), _dict(found.get("definitions"))
            if kind == "experiments":  # the entry of the experiment stands for the settings of its tables
                nodes = nodes | {path.parent.as_posix(): {"settings": found.get("experiment")}}
            for folder, node in nodes.items():
                if (match := KEYED.fullmatch(folder)) and isinstance(node, dict):
                    settings, inputs = _dict(node.get("settings")), _dict(node.get("inputs"))
                    known = Variant(settings, inputs, {}, path.stat().st_mtime)
                    known = variants[match[1], match[2]].setdefault(folder, known)
                    known.definitions |= definitions
    return variants


def _measured(node: Node, variants: Variants) -> dict[str, Variant]:
    """Return the earlier variants of a node of measures by folder.

    The records of measures hold their settings. The code is that of the first tables which were made after them.
    """
    found = {}
    tables = [one for (kind, _), those in variants.items() if kind == "experiments" for one in those.values()]
    for path in Path("results/measures").glob(f"{node.name}.*/measured.json"):
        record = _object(path)
        settings = {name: record[name] for name in node.settings if name in record and name != "stages"}
        inputs = {name: [*_dict(record.get(name))] for name in node.inputs if name in record}
        time = path.stat().st_mtime
        after = min((one for one in tables if one.time >= time), key=lambda one: one.time, default=None)
        found[path.parent.as_posix()] = Variant(settings, inputs, after.definitions if after else {}, time)
    return found


def _object(path: Path) -> dict:
    try:
        return read_json(path)
    except InputError as error:
        log(f"mlquant why: {error}; passed over")
        return {}


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class Cause:
    """Why a job would run, in words.

    Of a setting, `name` is its name, and `values` are the old and the new value as texts. Of code, `name` is the file
    and `values` is the function in it. Of an input that a stage makes, `name` is its folder, and `values` is the folder
    that was taken before, if it is known. An input may also be gone. All other causes are facts.
    """

    text: str
    kind: Literal["fact", "setting", "code", "input", "gone"] = "fact"
    name: str = ""
    values: tuple[str, ...] = ()


def causes(job: Job, nodes: dict[str, Node], variants: Variants) -> list[Cause]:
    """Return the causes of a job, the most important first; `nodes` are those of the plan."""
    node, missing = nodes.get(job.folder), _named(job.outputs, job.reason, "Missing output files")
    found = []
    if not missing or any(map(os.path.exists, job.outputs)):
        found += [Cause(f"{path} is newer") for path in _named(job.inputs, job.reason, "Updated input files")]
    if "Incomplete output files" in job.reason:
        found.append(Cause("was interrupted"))
    if node and missing:
        known = _measured(node, variants) if node.kind == "measures" else variants[node.kind, node.name]
        if node.folder in known or any(map(os.path.exists, job.outputs)):
            found += [Cause(f"{os.path.basename(path)} is missing") for path in missing]
        else:
            found += _against_earlier(node, known, nodes)
    if not found and missing and not _others(job.folder):
        found.append(_NEW)
    if not found:
        # The inputs that other jobs make first, and what Snakemake compares besides the times of files.
        made = _named(job.inputs, job.reason, "Input files updated by another job")
        found = list(dict.fromkeys(_of_input(path) for path in made))
        before, _, now = job.reason.partition("Params have changed")[2].partition(" now: ")
        found += [cause for cause in _of_params(job, before, now) if cause.text not in [one.text for one in found]]
    if not found and missing:
        found.append(Cause("has changed, no record says how"))
    if not found and "Set of input files has changed" in job.reason:
        found = _other_tables(job) or [Cause("takes other files than before")]
    if not found and "Code has changed" in job.reason:
        found.append(Cause(f"rule {job.rule} has changed"))
    return found or [Cause(job.reason)]


_NEW = Cause("new")


def _other_tables(job: Job) -> list[Cause]:
    """Return the tables that a job takes, if the folder that it makes was made of tables with another key."""
    path = Path(job.folder, "provenance.json")
    key = _object(path).get("key") if path.exists() else None
    taken = {match[0]: match for match in map(KEYED.match, job.inputs) if match and match[1] == "experiments"}
    return [
        _of_node(folder, "has changed", f"results/experiments/{match[2]}.{key}")
        for folder, match in sorted(taken.items())
        if key and match[3] != key
    ]


def _named(paths: list[str], reason: str, label: str) -> list[str]:
    """Return those of some paths that Snakemake's reason names under a label."""
    named = f", {re.split('; (?=[A-Z])', reason.partition(f'{label}: ')[2])[0]}, "
    return [path for path in paths if f", {path}, " in named]


def _against_earlier(node: Node, known: dict[str, Variant], nodes: dict[str, Node]) -> list[Cause]:
    """Return how a node differs from the variant that is most like it.

    That is nothing if there is no record of one, or if all that is recorded of one is the same.

    A variant that the plan still has counts as one difference more, as this node does not take its place. Where several
    variants are equally like it, one that the plan no longer has is preferred, then one with the same inputs, or inputs
    of the same names, then the newest.
    """
    compared = []
    for folder, variant in known.items():
        found = _differences(node, variant)
        if not found:
            return []
        inputs = [cause.text for cause in found if cause.text.startswith("input ")]
        others = sum(not text.endswith(" has changed") for text in inputs)
        planned = folder in nodes
        compared.append(((len(found) + planned, planned, others, len(inputs), -variant.time), found))
    return min(compared, key=lambda one: one[0])[1] if compared else []


def _differences(node: Node, variant: Variant) -> list[Cause]:
    """Return the settings, definitions and inputs that differ from those of an earlier variant."""
    now = node.settings
    if node.kind in ("experiments", "measures"):  # their records do not hold all settings
        now = {name: now.get(name) for name in variant.settings}
    found = _settings(variant.settings, now)
    found += [
        _of_code(name)
        for name, digest in keys.reached(node.stage.entry).items()
        if variant.definitions.get(name, digest) != digest
    ]
    for name, paths in node.inputs.items() if variant.inputs else ():
        before = variant.inputs.get(name, [])
        if not isinstance(before, list):  # many own files, which the plan records as one text
            if before != f"{len(paths)} files, from {paths[0]} to {paths[-1]}":
                found.append(Cause(f"input {name}: {len(paths)} files"))
            continue
        folders = {_name(path): path.rpartition("/")[0] for path in before}
        for path in paths:
            if path not in before:
                what = "has changed" if _name(path) in folders else "is new"
                found.append(_of_node(path, what, folders.get(_name(path), "")))
        gone = folders.keys() - {_name(path) for path in paths}
        # What another input has taken the place of follows from that one.
        replaced = any(_name(path) not in folders for path in paths)
        found += [Cause(f"input {path} is gone", "input" if replaced else "gone") for path in sorted(gone)]
    return list(dict.fromkeys(found))


def _settings(before: dict, now: dict) -> list[Cause]:
    """Return the settings that differ, but for those that name the folder of an input."""
    found, whole = [], set()
    before, now = _by_index(before), _by_index(now)
    for name, a, b in changes(before, now):
        place, _, last = name.rpartition(".")
        there = [_at(side, place) is not None for side in (before, now)]
        if KEYED.search(f"{a} {b}"):
            continue
        if place and not all(there):  # an output that was added or left out, and not each of its settings
            outer = next(part for part in _places(place) if not all(_at(side, part) for side in (before, now)))
            if outer not in whole:
                found.append(Cause(f"{_plain(outer)} is {'new' if there[1] else 'gone'}"))
            whole.add(outer)
            continue
        lists = [_at(side, name) for side in (before, now)]
        if all(isinstance(items, list) and items for items in lists):
            text = "; ".join(
                f"{', '.join(map(str, some))} {what}"
                for some, what in (([x for x in lists[1] if x not in lists[0]], "is new"),
                                   ([x for x in lists[0] if x not in lists[1]], "is gone"))
                if some
            )  # fmt: skip
            if text and len(f"{a}{b}") > _SHORT:
                found.append(Cause(f"{_plain(name)}: {text}", "setting", last, (a, b)))
                continue
        if (last, (a, b)) not in [(cause.name, cause.values) for cause in found]:  # as in the entry of a sample
            found.append(Cause(f"{_plain(name)}: {' -> '.join(_shortened(a, b))}", "setting", last, (a, b)))
    named = {cause.name for cause in found}
    if named & {"nn", "family"}:  # which stand for their row in the table of networks
        found = [cause for cause in found if not cause.text.startswith("row.")]
    return found


def _by_index(settings: dict) -> dict:
    """Return settings of tables or measures with their outputs by index, and any others as they are."""
    for key in ("outputs", "rows"):
        found = settings.get(key)
        if isinstance(found, list) and found and all(isinstance(one, dict) and "index" in one for one in found):
            named = {f"{one['index']}" if key == "outputs" or one["index"] is not None else one.get("tag"): one
                     for one in found}  # fmt: skip
            settings = {name: value for name, value in settings.items() if name != key} | {"outputs": named}
    return settings


def _at(settings: dict, name: str) -> Any:
    """Return what stands in nested settings under a name with dots, or None."""
    found: Any = settings
    for part in name.split(".") if name else ():
        if isinstance(found, list):
            found = dict(enumerate(found)).get(int(part)) if part.isdecimal() else None
        else:
            found = _dict(found).get(part)
    return found


def _places(name: str) -> list[str]:
    """Return the places that lead to a name with dots, the outermost first, and the name."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _plain(name: str) -> str:
    """Return the name of a setting as it is told: that of an output as mbest of output 6."""
    match = re.fullmatch(r"outputs\.(\d+)(?:\.(.+))?", name)
    return name if not match else f"{match[2]} of output {match[1]}" if match[2] else f"output {match[1]}"


def _of_params(job: Job, before: str, now: str) -> list[Cause]:
    """Return how the settings of a folder without a key changed, from two texts that hold them as JSON."""
    if not now:
        return []
    folders = {match[0]: _name(match[0]) for match in KEYED.finditer(before)}
    names = {name: folder for folder, name in folders.items()}
    inputs = dict.fromkeys(match[0] for match in KEYED.finditer(now) if match[0] not in folders)
    found = [
        _of_node(folder, "has changed" if _name(folder) in names else "is new", names.get(_name(folder), ""))
        for folder in inputs
    ]
    settings = []
    for text in (before, now):
        try:
            settings.append(_dict(json.JSONDecoder().raw_decode(text, text.find("{"))[0]))
        except ValueError:
            settings.append({})
    codes = [side.pop("code", None) for side in settings]
    if codes[0] != codes[1]:
        found.append(Cause(f"code of mlquant {job.command} has changed"))
    # What settings.json of a study keeps tells of the same settings once more.
    records = [side.pop("record", {}) for side in settings]
    changed = _settings(*settings) or ([] if found else _settings(*records))
    return list(dict.fromkeys([*found, *changed])) or [Cause("its settings have changed")]


def _of_input(path: str) -> Cause:
    """Return the cause that an input is which another job makes first."""
    made_again = os.path.isdir(os.path.dirname(path))
    return _of_node(path, "is made again" if made_again else "has changed" if _others(path) else "is new")


def _of_node(path: str, what: str, before: str = "") -> Cause:
    """Return the cause that an input has changed, or is new; one that no stage makes is a fact."""
    text, match = f"input {_name(path)} {what}", KEYED.match(path)
    return Cause(text, "input", match[0], (before,) if before else ()) if match else Cause(text)


def _of_code(label: str) -> Cause:
    """Return the cause that a definition has changed, which `keys.reached` names by its module."""
    whole = label.replace(".", "/") + ".py"  # what runs when the module is imported
    if "/" in label or (_PACKAGE / whole).exists():
        path = label if "/" in label else whole
        return Cause(f"{path} has changed", "code", path)
    module, _, name = label.rpartition(".")
    path = module.replace(".", "/")
    path += ".py" if (_PACKAGE / f"{path}.py").exists() else "/__init__.py"
    return Cause(f"{name} in {path} has changed", "code", path, (name,))


def _name(path: str) -> str:
    """Return the kind and name of the node whose folder a path is in; the path itself if there is none."""
    match = KEYED.match(path)
    return f"{match[1]}/{match[2]}" if match else path


def _others(path: str) -> bool:
    """Return whether there are results of the same kind and name as that of a path, but with other keys."""
    match = KEYED.match(path)
    found = Path("results", match[1]).glob(f"{match[2]}.*") if match else ()
    return any(folder.as_posix() != match[0] for folder in found)


def _shortened(a: str, b: str) -> tuple[str, str]:
    """Return two texts, of which long ones are cut so that the place where they begin to differ is there."""
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, same - 10) if max(len(a), len(b)) > _SHORT else 0
    cut = [("..." if start else "") + text[start:] for text in (a, b)]
    return tuple(text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..." for text in cut)


# the causes of all jobs, folded


def fold(
    plan: Plan, jobs: list[Job], found: dict[str, list[Cause]], variants: Variants
) -> tuple[list[str], list[str], list[str]]:
    """Return the lines on what is new, on what differs, and on what follows, for jobs in the order of the graph.

    `found` holds the causes of each job by its folder. A job that has no other cause than inputs which are made in the
    same run follows from these. So does a setting that has the same values in a job before it, such as the width k of
    vectors from the width d of a bottleneck.
    """
    made = {job.folder for job in jobs}
    differ: dict[str, list[Cause]] = {}
    for job in jobs:
        differ[job.folder] = _own(plan, job, found, differ, variants, made)
    by_cause: dict[tuple, list[Cause]] = defaultdict(list)
    places: dict[tuple, list[Job]] = defaultdict(list)
    subjects = {job.folder: _subject(plan, job.folder) for job in jobs}
    for job in jobs:
        is_sample, name = subjects[job.folder]
        for cause in differ[job.folder]:
            key = (cause.name,) if cause.kind == "code" else (cause.text,)
            if is_sample and cause.kind != "setting":  # a text that names the sample is told once for all samples
                key = (re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "<sample>", key[0]),)
            if cause != _NEW:
                by_cause[key].append(cause)
                places[key].append(job)
    alike: dict[tuple, list[tuple]] = defaultdict(list)  # the causes of the same jobs are told together
    for key, where in places.items():
        alike[tuple(dict.fromkeys(job.folder for job in where))].append(key)
    of = {job.folder: job for job in jobs}
    lines, said = [], set[str]()
    for folders, those in alike.items():
        texts = _with_inputs([_told(key[0], by_cause[key], plan.nodes.get(folders[0]), said) for key in those])
        lines.append(f"{'; '.join(_groups([of[folder] for folder in folders], subjects))}: {'; '.join(texts)}")
    new = [job for job in jobs if differ[job.folder] == [_NEW]]
    following = [job for job in jobs if not differ[job.folder]]
    return _groups(new, subjects), lines, _groups(following, subjects)


def _own(
    plan: Plan,
    job: Job,
    found: dict[str, list[Cause]],
    differ: dict[str, list[Cause]],
    variants: Variants,
    made: Collection[str],
) -> list[Cause]:
    """Return the causes of a job that do not follow from those of the jobs before it, which `differ` holds."""
    mine = found[job.folder]
    taken = {match[0] for match in map(KEYED.match, job.inputs) if match}
    before = {folder for folder in taken if folder in made}
    pending = [*before]
    while pending:
        node = plan.nodes.get(pending.pop())
        paths = [path for paths in node.inputs.values() for path in paths] if node else []
        new = {folder for path in paths if (folder := path.rpartition("/")[0]) in made} - before
        before |= new
        pending += new
    same = {cause.values for folder in before for cause in differ.get(folder, ()) if cause.kind == "setting"}
    own = [cause for cause in mine if cause.kind != "input"]
    # The settings of tables name the outputs, as a user does. What is measured, and on which inputs, follows from that.
    if job.rule == "measure" and any(folder.startswith("results/experiments/") for folder in made):
        return [cause for cause in own if cause.kind != "gone" and " of output " not in cause.text]
    if any(cause.name in before for cause in mine):
        if job.rule == "tabulate":
            return [cause for cause in own if cause.kind != "gone"]
        return [cause for cause in own if cause.kind != "setting" or cause.values not in same]
    return own or _earlier(plan, mine, variants, set()) or mine


def _earlier(plan: Plan, mine: list[Cause], variants: Variants, seen: set[str]) -> list[Cause]:
    """Return what differs behind inputs that are there already, compared with the inputs that were taken before."""
    found = []
    for cause in mine:
        match = KEYED.fullmatch(cause.values[0]) if cause.kind == "input" and cause.values else None
        if match is None or cause.name in seen:
            continue
        seen.add(cause.name)
        node, variant = plan.nodes.get(cause.name), variants[match[1], match[2]].get(match[0])
        of_it = _differences(node, variant) if node and variant else []
        found += [one for one in of_it if one.kind != "input"]
        found += _earlier(plan, [one for one in of_it if one.kind == "input"], variants, seen)
    return list(dict.fromkeys(found))


def _told(text: str, those: list[Cause], node: Node | None, said: set[str]) -> str:
    """Return the text of a cause that several jobs have; that of a setting says in plain words what it is.

    `text` is the one that stands for those of several samples. `said` holds the names of settings of which it was said
    before what they are.
    """
    first = those[0]
    if first.kind == "code":
        names = list(dict.fromkeys(name for cause in those for name in cause.values))
        return f"code of {first.name} has changed{f' ({_listed(names)})' if names else ''}"
    about = ""
    if first.kind == "setting" and node and first.name not in said:
        about = _about_setting(node, first.name, " of output " in first.text)
        said.add(first.name)
    return f"{text if len({*those}) > 1 else first.text}{f' ({about})' if about else ''}"


def _with_inputs(texts: list[str]) -> list[str]:
    """Return texts of causes, in which those on many inputs that are new, or gone, are one."""
    for end in ("new", "gone"):
        names = [name for text in texts if (name := _input_that(text, end))]
        if len(names) > 1:
            texts = [text for text in texts if not _input_that(text, end)]
            texts.append(f"inputs {_listed(names)} are {end}")
    return texts


def _input_that(text: str, end: str) -> str | None:
    match = re.fullmatch(rf"input (.+) is {end}", text)
    return match[1] if match else None


def _about_setting(node: Node, name: str, of_output: bool) -> str:
    """Return the first words of the help of a setting of a node; "" where it has none."""
    one, whole = node.stage.settings.get(name), node.stage.whole
    if one is None and whole and isinstance(whole.about, Setting) and whole.about.block:
        about = helps(whole.about.block).get(f"outputs.{name}" if of_output else name, "")
    else:
        about = one.about.help if one else ""
    about = re.split(r"; |\. ", about)[0]
    return about if len(about) <= 60 else re.split(r"(?<=.{15})[:,] ", about)[0]


def _groups(jobs: list[Job], subjects: dict[str, tuple[bool, str]]) -> list[str]:
    """Return the subjects of jobs with their rules; subjects with the same rules are told together.

    A subject says whether it is a sample, and its name.
    """
    rules: dict[tuple[bool, str], list[str]] = defaultdict(list)
    for job in jobs:
        if job.rule not in rules[subjects[job.folder]]:
            rules[subjects[job.folder]].append(job.rule)
    alike: dict[tuple, list[tuple[bool, str]]] = defaultdict(list)
    for subject, those in rules.items():
        alike[tuple(those)].append(subject)
    texts = []
    for those, found in alike.items():
        samples, names = ([name for is_sample, name in found if is_sample == which] for which in (True, False))
        whose = [f"sample {name}" for name in samples] if len(samples) <= 1 else [f"{len(samples)} samples"]
        texts.append(f"{_listed([*whose, *names])}: {', '.join(those)}")
    return texts


def _subject(plan: Plan, folder: str) -> tuple[bool, str]:
    """Return whether a job is of one sample, and the name of this sample, or of the node or the folder."""
    node = plan.nodes.get(folder)
    if node is None:
        return False, os.path.basename(folder).removesuffix("_wav")
    behind = [node, *plan.graph.behind([path for paths in node.inputs.values() for path in paths]).values()]
    samples = {one.name for one in behind if one.kind == "samples"}
    return (True, *samples) if len(samples) == 1 else (False, node.name)


def _listed(names: list[str]) -> str:
    """Return names with commas between them; of many the first ones."""
    shown = names if len(names) <= _NAMED else [*names[: _NAMED - 2], f"{len(names) - _NAMED + 2} more"]
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) < len(names) else ", ".join(names)


# the time


class Work:
    """How much nodes have to do, the bytes of their inputs times the epochs of a training, and how long it took before.

    Only the ratio of two nodes of one kind means something. An input that is not made yet has the size of one that was
    made of other inputs, or with other minutes of speech, changed as these are.
    """

    def __init__(self, nodes: dict[str, Node], variants: Variants):
        self._nodes, self._variants, self._sizes = nodes, variants, dict[str, float]()
        self._benchmarks: dict[tuple[Path, str], dict[Path, list[float]]] = {}  # read once, not for each job

    def benchmarks(self, folder: Path, pattern: str) -> dict[Path, list[float]]:
        """Return the seconds in the benchmark files of a folder that match a pattern, by path."""
        if (folder, pattern) not in self._benchmarks:
            found = {path: seconds for path in folder.glob(pattern) if (seconds := _seconds(path))}
            self._benchmarks[folder, pattern] = found
        return self._benchmarks[folder, pattern]

    def of(self, folder: str) -> float:
        """Return the work of a node of the plan or of an earlier one; 0 where it is not known."""
        known = self._known(folder)
        if known is None:
            return 0.0
        return self._taken(known) * known.settings.get("epochs", 1)

    def _known(self, folder: str) -> Node | Variant | None:
        match = KEYED.fullmatch(folder)
        return self._nodes.get(folder) or (self._variants[match[1], match[2]].get(folder) if match else None)

    def _taken(self, known: Node | Variant) -> float:
        lists = [paths for paths in known.inputs.values() if isinstance(paths, list)]
        return sum(self._size(path) for paths in lists for path in paths)

    def _size(self, path: str) -> float:
        if path not in self._sizes:
            self._sizes[path] = 0.0  # also for what should depend on itself
            self._sizes[path] = os.path.getsize(path) if os.path.exists(path) else self._expected(path)
        return self._sizes[path]

    def _expected(self, path: str) -> float:
        folder, _, name = path.rpartition("/")
        known, match = self._known(folder), KEYED.fullmatch(folder)
        for other, made in self._variants[match[1], match[2]].items() if known and match else ():
            if os.path.exists(f"{other}/{name}"):
                before, now = (self._speech(one) or self._taken(one) for one in (made, known))
                grows = before and name not in WITH_SIDECAR.values()  # weights and codebooks do not
                return os.path.getsize(f"{other}/{name}") * (now / before if grows else 1)
        return 0.0

    @staticmethod
    def _speech(known: Node | Variant) -> float:
        """Return the bytes of the speech that a part of a corpus takes at most; 0 where it takes all."""
        return 60 * 16_000 * (known.settings.get("minutes") or 0.0)


def estimate(benchmark: str, work: Work) -> float | None:
    """Return the median of the seconds of jobs with the same name and any key, else of the same kind, or None.

    What a job took besides starting is multiplied by how much more there is to do now. Starting is what the record of a
    training or codebook does not count, and for other jobs the time of the fastest of their kind.
    """
    name, key, suffix = re.fullmatch(r"(.*?)(\.[0-9a-f]{8})?(\.tsv)?", os.path.basename(benchmark)).groups()
    folder = Path(benchmark).parent
    kind = "*.tsv" if key else "*_wav.tsv" if name.endswith("_wav") else f"{name}.tsv"
    taken = work.benchmarks(folder, kind)
    for pattern in (f"{name}.*tsv" if key else f"{name}.tsv", kind):
        alike = [path for path in taken if path.match(pattern)]
        if not alike or not suffix:
            continue
        now, found = work.of(f"results/{folder.name}/{name}{key}") if key else 0.0, []
        fastest = min(map(min, taken.values()))
        for path in alike:
            before = work.of(f"results/{folder.name}/{path.stem}")
            inside = _inside(Path("results", folder.name, path.stem))
            for seconds in taken[path]:
                fixed = fastest if inside is None else max(0.0, seconds - inside)
                found.append(fixed + (seconds - fixed) * now / before if now and before else seconds)
        return statistics.median(found)
    return None


def _inside(folder: Path) -> float | None:
    """Return the seconds of a training, or of a command that trains a codebook; None for another folder."""
    for name in ("training.json", "provenance.json"):
        if (folder / name).exists():
            seconds = _object(folder / name).get("seconds")
            return seconds if isinstance(seconds, int | float) else None
    return None


def _seconds(path: Path) -> list[float]:
    """Return the numbers in the column s of a benchmark file."""
    found = []
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            with contextlib.suppress(TypeError, ValueError):
                found.append(float(row.get("s")))
    return found


def total(jobs: list[Job], seconds: list[float | None], cores: int) -> str:
    """Return a text on the number of jobs, the core seconds, and the least and most time on so many cores.

    The least time is that of the longest chain, or all work divided by the cores if that is more. The most time is
    (work - chain) / cores + chain, if no core waits while a job could run (Graham, 1966); where jobs take several
    cores it is the time of all jobs one by one.
    """
    makers = {path: job for job in jobs for path in job.outputs}
    took = {job.folder: time or 0 for job, time in zip(jobs, seconds, strict=True)}
    until: dict[str, float] = {}
    for job in jobs:  # in the order of the graph
        first = [until.get(makers[path].folder, 0) for path in job.inputs if path in makers]
        until[job.folder] = took[job.folder] + max(first, default=0)
    chain, work = max(until.values()), sum(took[job.folder] * min(job.threads, cores) for job in jobs)
    single = all(job.threads == 1 for job in jobs)
    least, most = max(chain, work / cores), chain + (work - chain) / cores if single else sum(took.values())
    text = f"{len(jobs)} job{'s' if len(jobs) > 1 else ''}"
    if unknown := sum(time is None for time in seconds):
        text += f", {unknown} of unknown time" if unknown < len(jobs) else " of unknown time"
    if work:
        span = f"{_duration(least)} to {_duration(most)}" if _duration(least) != _duration(most) else _duration(most)
        text += f"{', the others' if unknown else ','} about {max(1, round(work))} core seconds: "
        text += f"{span} on {cores} core{'s' if cores > 1 else ''}"
    return text


def _about(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"about {_duration(seconds)}"


def _duration(seconds: float) -> str:
    """Return a time in words, such as 22 s, 1 min 14 s or 2 h 5 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / 60), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


if __name__ == "__main__":
    _dry_run()
