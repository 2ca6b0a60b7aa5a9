"""Why a target would be made: the jobs that Snakemake would run, what made each of them necessary, and their time.

What would run is Snakemake's own dry run, of which the records are read, not the text. A stage that is not there under
its key is compared with earlier variants of the same kind and name, as far as the provenance of experiments, networks
and codebooks and the records of measures tell of them. Times are those that jobs of the same name, or else of the same
kind, took before: that a setting makes a training longer is not foreseen.
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
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlquant.core import keys
from mlquant.core.disk import read_json
from mlquant.core.errors import InputError, log, one_line
from mlquant.experiments.compare import changes
from mlquant.plan.config import load, read
from mlquant.plan.graph import Node
from mlquant.plan.plan import Plan

STAGE = re.compile(r"results/(\w+)/([A-Za-z0-9_-]+)\.([0-9a-f]{8})(?![A-Za-z0-9_-])")
"""The folder of a stage: kind, name and key."""
_CAUSES = 3  # that a line tells


@dataclass(frozen=True)
class Job:
    """A job that would run, as Snakemake records it; `folder` is a stage's, or the first output."""

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
    """The plan of the configuration with files and KEY=VALUE entries over it, read as the Snakefile reads it.

    Raises InputError for what is no configuration.
    """
    settings = {}
    if entries := list(entries):
        from snakemake.cli import parse_config

        try:
            settings = parse_config(entries)
        except ValueError as error:
            raise InputError(" ".join(str(error).split())) from None
    return Plan(load(read(Path(), configfiles, settings)))


def explain(target: str, configfiles: list[str], entries: list[str], cores: int) -> None:
    """Print a line for each job that would run for a target, in the order of the graph, and their number and time.

    Raises InputError for a configuration that cannot be used, and for what Snakemake refuses.
    """
    plan = plan_of(configfiles, entries)
    jobs = would_run(target, configfiles, entries)
    if not jobs:
        print(one_line(f"Nothing to be done: {target} is up to date."))
        return
    order = {folder: place for place, folder in enumerate(plan.nodes)}
    jobs.sort(key=lambda job: order.get(job.folder, len(order)))
    variants, seconds, rows = recorded(), [estimate(job.benchmark) for job in jobs], []
    for job, time in zip(jobs, seconds, strict=True):
        found = causes(job, plan.nodes, variants)
        more = [f"and {len(found) - _CAUSES} more"] if len(found) > _CAUSES else []
        why = ", ".join(found[:_CAUSES] + more)
        rows.append((job.command, job.folder.removeprefix("results/"), why, _about(time)))
    widths = [min(max(map(len, column)), 60) for column in zip(*rows, strict=True)]
    for row in rows:
        print(one_line("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()))
    print(total(jobs, seconds, cores))
    if any(job.checkpoint for job in jobs):
        print("More may follow: what an optional source has is known only when it has been tried.")


# what would run


def would_run(target: str, configfiles: list[str], entries: list[str]) -> list[Job]:
    """The jobs of Snakemake's dry run, without those that make nothing; InputError for what it refuses."""
    arguments = ["--dry-run", *(["--configfile", *configfiles] if configfiles else [])]
    arguments += ["--config", *entries] if entries else []
    # A process of its own, as a run leaves much behind: loggers, locks, what the Snakefile has loaded.
    command = [sys.executable, "-P", "-m", "mlquant.tools.why", *arguments, "--", target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        status, jobs, errors = json.loads(done.stdout.rpartition("\n")[2])
    except ValueError:
        status, jobs, errors = 1, [], []
    if status:
        text = errors[0] if errors else done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"Snakemake: {' '.join(text.partition('Traceback')[0].split())}")
    return [Job(**job) for job in jobs if job["outputs"]]


class _Records(logging.Handler):
    """Keeps what Snakemake records of jobs and errors."""

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
    """A `Job` as far as JSON goes."""
    first = record.output[0] if record.output else ""
    stage, command = STAGE.match(first), re.search(r"\bmlquant ([a-z-]+)", record.shellcmd or "")
    return {
        "folder": stage[0] if stage else first,
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


# what made it so


def recorded() -> Variants:
    """All stages that a provenance.json in results/ tells of; one that cannot be read is named and passed over."""
    variants: Variants = defaultdict(dict)
    for kind in ("experiments", "networks", "codebooks"):
        for path in sorted(Path("results", kind).glob("*/provenance.json")):
            found = _object(path)
            stages, definitions = _dict(found.get("stages")), _dict(found.get("definitions"))
            if kind == "experiments":  # whose entry stands for the settings of the tables
                stages = stages | {path.parent.as_posix(): {"settings": found.get("experiment")}}
            for folder, stage in stages.items():
                if (match := STAGE.fullmatch(folder)) and isinstance(stage, dict):
                    settings, inputs = _dict(stage.get("settings")), _dict(stage.get("inputs"))
                    known = Variant(settings, inputs, {}, path.stat().st_mtime)
                    known = variants[match[1], match[2]].setdefault(folder, known)
                    known.definitions |= definitions
    return variants


def _measured(node: Node) -> dict[str, Variant]:
    """The earlier variants of a node of measures, which record themselves, by folder."""
    found = {}
    for path in Path("results/measures").glob(f"{node.name}.*/measured.json"):
        record = _object(path)
        settings = {name: record[name] for name in node.settings if name in record and name != "stages"}
        inputs = {name: [*_dict(record.get(name))] for name in node.inputs if name in record}
        found[path.parent.as_posix()] = Variant(settings, inputs, {}, path.stat().st_mtime)
    return found


def _object(path: Path) -> dict:
    try:
        return read_json(path)
    except InputError as error:
        log(f"mlquant why: {error}; passed over")
        return {}


def _dict(value: object) -> dict:
    return value if isinstance(value, dict) else {}


def causes(job: Job, nodes: dict[str, Node], variants: Variants) -> list[str]:
    """What made a job necessary, the most telling first; `nodes` are those of the plan."""
    node, missing = nodes.get(job.folder), _named(job.outputs, job.reason, "Missing output files")
    found = [f"{path} is newer" for path in _named(job.inputs, job.reason, "Updated input files")]
    if "Incomplete output files" in job.reason:
        found.append("was interrupted")
    if node and missing:
        known = _measured(node) if node.kind == "measures" else variants[node.kind, node.name]
        if node.folder in known or any(map(os.path.exists, job.outputs)):
            found += [f"{os.path.basename(path)} is missing" for path in missing]
        else:
            found += _against_earlier(node, known, nodes)
    if not found and missing and not _others(job.folder):
        found.append("new")
    if not found:
        # Of what is made first, and what Snakemake compares beside the times of files.
        made = _named(job.inputs, job.reason, "Input files updated by another job")
        found = list(dict.fromkeys(_told(path) for path in made))
        before, _, now = job.reason.partition("Params have changed")[2].partition(" now: ")
        found += [cause for cause in _of_params(job.command, before, now) if cause not in found]
    if not found and missing:
        found.append("is another, no record tells why")
    if not found and "Set of input files has changed" in job.reason:
        found = _other_tables(job) or ["takes other files than before"]
    if not found and "Code has changed" in job.reason:
        found.append(f"rule {job.rule} is another")
    return found or [job.reason]


def _other_tables(job: Job) -> list[str]:
    """The tables that a job takes, where the folder that it makes holds those of another key."""
    path = Path(job.folder, "provenance.json")
    key = _object(path).get("key") if path.exists() else None
    taken = [match for match in map(STAGE.match, job.inputs) if match and match[1] == "experiments"]
    return sorted({f"input {_name(match[0])} is another" for match in taken if key and match[3] != key})


def _named(paths: list[str], reason: str, label: str) -> list[str]:
    """Those of some paths that Snakemake's reason names under a label."""
    named = f", {re.split('; (?=[A-Z])', reason.partition(f'{label}: ')[2])[0]}, "
    return [path for path in paths if f", {path}, " in named]


def _against_earlier(node: Node, known: dict[str, Variant], nodes: dict[str, Node]) -> list[str]:
    """How a node differs from the variant that is most like it; nothing where no record tells.

    Of variants that are as much alike one that the plan does not have any more counts first, then one of the same
    inputs, then the last.
    """
    compared = []
    for folder, variant in known.items():
        if found := _differences(node, variant):
            inputs = sum(cause.startswith("input ") for cause in found)
            compared.append((len(found), folder in nodes, inputs, -variant.time, found))
    return min(compared)[-1] if compared else []


def _differences(node: Node, variant: Variant) -> list[str]:
    """Settings, definitions and inputs that are others than in an earlier variant."""
    now = node.settings
    if node.kind in ("experiments", "measures"):  # of which not all settings are recorded
        now = {name: now.get(name) for name in variant.settings}
    found = [
        f"{name}: {_short(a)} -> {_short(b)}"
        for name, a, b in changes(variant.settings, now)
        if not STAGE.search(f"{a} {b}")  # an input
    ]
    found += [
        f"{'.'.join(name.split('.')[-2:])} is another"
        for name, digest in keys.reached(node.stage.entry).items()
        if variant.definitions.get(name, digest) != digest
    ]
    for name, paths in node.inputs.items() if variant.inputs else ():
        before = variant.inputs.get(name, [])
        if not isinstance(before, list):  # a text on many own files, as the plan records them
            if before != f"{len(paths)} files, from {paths[0]} to {paths[-1]}":
                found.append(f"input {name}: {len(paths)} files")
            continue
        names = {_name(path) for path in before}
        new = [path for path in paths if path not in before]
        found += [f"input {_name(path)} is {'another' if _name(path) in names else 'new'}" for path in new]
        gone = names - {_name(path) for path in paths}
        found += [f"input {path} is gone" for path in sorted(gone)]
    return list(dict.fromkeys(found))


def _of_params(command: str, before: str, now: str) -> list[str]:
    """What a folder that is not keyed was made with before, and is now, by texts that hold its settings as JSON."""
    if not now:
        return []
    keys_before = {match[0] for match in STAGE.finditer(before)}
    stages = [match for match in STAGE.finditer(now) if match[0] not in keys_before]
    names = {_name(folder) for folder in keys_before}
    found = [f"input {_name(match[0])} is {'another' if _name(match[0]) in names else 'new'}" for match in stages]
    settings = []
    for text in (before, now):
        try:
            settings.append(_dict(json.JSONDecoder().raw_decode(text, text.find("{"))[0]))
        except ValueError:
            settings.append({})
    for name, a, b in changes(*settings):
        if name == "code":
            found.append(f"code of mlquant {command} is another")
        elif not STAGE.search(f"{a} {b}"):
            found.append(f"{name}: {_short(a)} -> {_short(b)}")
    return list(dict.fromkeys(found)) or ["its settings are others"]


def _told(path: str) -> str:
    """What is told of an input that another job makes first."""
    how = "made again" if os.path.isdir(os.path.dirname(path)) else "another" if _others(path) else "new"
    return f"input {_name(path)} is {how}"


def _name(path: str) -> str:
    """Kind and name of the stage that a path lies in; the path where it lies in none."""
    match = STAGE.match(path)
    return f"{match[1]}/{match[2]}" if match else path


def _others(path: str) -> bool:
    """Whether there are stages of the same kind and name as that of a path, but with other keys."""
    match = STAGE.match(path)
    found = Path("results", match[1]).glob(f"{match[2]}.*") if match else ()
    return any(folder.as_posix() != match[0] for folder in found)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."


# how long it takes


def estimate(benchmark: str) -> float | None:
    """Median of the seconds of jobs with the same name and any key, else of the same kind; None when none ran."""
    name, key, suffix = re.fullmatch(r"(.*?)(\.[0-9a-f]{8})?(\.tsv)?", os.path.basename(benchmark)).groups()
    folder = Path(benchmark).parent
    kind = "*.tsv" if key else "*_wav.tsv" if name.endswith("_wav") else f"{name}.tsv"
    for pattern in (f"{name}.*tsv" if key else f"{name}.tsv", kind):
        seconds = [value for path in folder.glob(pattern) for value in _seconds(path)]
        if seconds and suffix:
            return statistics.median(seconds)
    return None


def _seconds(path: Path) -> list[float]:
    """The column s of a benchmark file, as far as it holds numbers."""
    found = []
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            with contextlib.suppress(TypeError, ValueError):
                found.append(float(row.get("s")))
    return found


def total(jobs: list[Job], seconds: list[float | None], cores: int) -> str:
    """The number of jobs, core seconds, and the least and most time that they take on so many cores.

    Not less than the longest chain and than all work divided by the cores; not more than when no core waits while a
    job could run, (work - chain) / cores + chain (Graham, 1966), or than one by one where jobs take several cores.
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
    """Such as 22 s, 1 min 14 s or 2 h 5 min."""
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
