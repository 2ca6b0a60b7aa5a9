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
from mlquant.plan.reading import refuse_repeats
from mlquant.plan.records import WITH_SIDECAR

KEYED = re.compile(r"results/(\w+)/([A-Za-z0-9_-]+)\.([0-9a-f]{8})(?![A-Za-z0-9_-])")
"""The folder of a node: kind, name and key."""
_CAUSES = 3  # most causes in a line


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


def explain(target: str, configfiles: list[str], entries: list[str], cores: int) -> None:
    """Print a line for each job that would run for a target, in the order of the graph, and their number and time.

    Raises InputError for a configuration that cannot be used, and for a target that Snakemake refuses.
    """
    plan = plan_of(configfiles, entries)
    jobs = would_run(target, configfiles, entries)
    if not jobs:
        print(one_line(f"Nothing to be done: {target} is up to date."))
        return
    order = {folder: place for place, folder in enumerate(plan.nodes)}
    jobs.sort(key=lambda job: order.get(job.folder, len(order)))
    variants, rows = recorded(), []
    work = Work(plan.nodes, variants)
    seconds = [estimate(job.benchmark, work) for job in jobs]
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
        print("More jobs may follow: an optional source must be tried before it is known what it has.")


# the jobs


def would_run(target: str, configfiles: list[str], entries: list[str]) -> list[Job]:
    """Return the jobs of Snakemake's dry run that make something; InputError for what Snakemake refuses."""
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
    return [Job(**job) for job in jobs if job["outputs"]]


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


def _measured(node: Node) -> dict[str, Variant]:
    """Return the earlier variants of a node of measures by folder; the records of measures hold their settings."""
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
    """Return the causes of a job, the most important first; `nodes` are those of the plan."""
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
        # The inputs that other jobs make first, and what Snakemake compares besides the times of files.
        made = _named(job.inputs, job.reason, "Input files updated by another job")
        found = list(dict.fromkeys(_of_input(path) for path in made))
        before, _, now = job.reason.partition("Params have changed")[2].partition(" now: ")
        found += [cause for cause in _of_params(job.command, before, now) if cause not in found]
    if not found and missing:
        found.append("has changed, no record says how")
    if not found and "Set of input files has changed" in job.reason:
        found = _other_tables(job) or ["takes other files than before"]
    if not found and "Code has changed" in job.reason:
        found.append(f"rule {job.rule} has changed")
    return found or [job.reason]


def _other_tables(job: Job) -> list[str]:
    """Return the tables that a job takes, if the folder that it makes was made of tables with another key."""
    path = Path(job.folder, "provenance.json")
    key = _object(path).get("key") if path.exists() else None
    taken = [match for match in map(KEYED.match, job.inputs) if match and match[1] == "experiments"]
    return sorted({f"input {_name(match[0])} has changed" for match in taken if key and match[3] != key})


def _named(paths: list[str], reason: str, label: str) -> list[str]:
    """Return those of some paths that Snakemake's reason names under a label."""
    named = f", {re.split('; (?=[A-Z])', reason.partition(f'{label}: ')[2])[0]}, "
    return [path for path in paths if f", {path}, " in named]


def _against_earlier(node: Node, known: dict[str, Variant], nodes: dict[str, Node]) -> list[str]:
    """Return how a node differs from the variant that is most like it; nothing if there is no record of one.

    Where several variants are equally like it, one that the plan no longer has is preferred, then one with the same
    inputs, then the newest.
    """
    compared = []
    for folder, variant in known.items():
        if found := _differences(node, variant):
            inputs = sum(cause.startswith("input ") for cause in found)
            compared.append((len(found), folder in nodes, inputs, -variant.time, found))
    return min(compared)[-1] if compared else []


def _differences(node: Node, variant: Variant) -> list[str]:
    """Return the settings, definitions and inputs that differ from those of an earlier variant."""
    now = node.settings
    if node.kind in ("experiments", "measures"):  # their records do not hold all settings
        now = {name: now.get(name) for name in variant.settings}
    found = [
        f"{name}: {_short(a)} -> {_short(b)}"
        for name, a, b in changes(variant.settings, now)
        if not KEYED.search(f"{a} {b}")  # else it is an input
    ]
    found += [
        f"{'.'.join(name.split('.')[-2:])} has changed"
        for name, digest in keys.reached(node.stage.entry).items()
        if variant.definitions.get(name, digest) != digest
    ]
    for name, paths in node.inputs.items() if variant.inputs else ():
        before = variant.inputs.get(name, [])
        if not isinstance(before, list):  # many own files, which the plan records as one text
            if before != f"{len(paths)} files, from {paths[0]} to {paths[-1]}":
                found.append(f"input {name}: {len(paths)} files")
            continue
        names = {_name(path) for path in before}
        new = [path for path in paths if path not in before]
        found += [f"input {_name(path)} {'has changed' if _name(path) in names else 'is new'}" for path in new]
        gone = names - {_name(path) for path in paths}
        found += [f"input {path} is gone" for path in sorted(gone)]
    return list(dict.fromkeys(found))


def _of_params(command: str, before: str, now: str) -> list[str]:
    """Return how the settings of a folder without a key changed, from two texts that hold them as JSON."""
    if not now:
        return []
    keys_before = {match[0] for match in KEYED.finditer(before)}
    inputs = [match[0] for match in KEYED.finditer(now) if match[0] not in keys_before]
    names = {_name(folder) for folder in keys_before}
    found = [f"input {_name(folder)} {'has changed' if _name(folder) in names else 'is new'}" for folder in inputs]
    settings = []
    for text in (before, now):
        try:
            settings.append(_dict(json.JSONDecoder().raw_decode(text, text.find("{"))[0]))
        except ValueError:
            settings.append({})
    for name, a, b in changes(*settings):
        if name == "code":
            found.append(f"code of mlquant {command} has changed")
        elif not KEYED.search(f"{a} {b}"):
            found.append(f"{name}: {_short(a)} -> {_short(b)}")
    return list(dict.fromkeys(found)) or ["its settings have changed"]


def _of_input(path: str) -> str:
    """Return the cause that an input is which another job makes first."""
    made_again = os.path.isdir(os.path.dirname(path))
    return f"input {_name(path)} {'is made again' if made_again else 'has changed' if _others(path) else 'is new'}"


def _name(path: str) -> str:
    """Return the kind and name of the node whose folder a path is in; the path itself if there is none."""
    match = KEYED.match(path)
    return f"{match[1]}/{match[2]}" if match else path


def _others(path: str) -> bool:
    """Return whether there are results of the same kind and name as that of a path, but with other keys."""
    match = KEYED.match(path)
    found = Path("results", match[1]).glob(f"{match[2]}.*") if match else ()
    return any(folder.as_posix() != match[0] for folder in found)


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:37]}..."


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
