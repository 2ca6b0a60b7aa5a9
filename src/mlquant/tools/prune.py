"""Stages in results/ that the configuration no longer makes: listed with their sizes, and removed on demand.

Only folders results/KIND/NAME.KEY of the kinds that the workflow makes are looked at. Links are neither followed nor
removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlquant.cli import kinds
from mlquant.core.disk import read_json
from mlquant.core.errors import InputError
from mlquant.tools.why import STAGE, plan_of


def prune(configfiles: Iterable[str], delete: bool) -> None:
    """Print a line for each stage that can go, the newest last, one for each folder that is kept, and the sum.

    What config.yaml and the given files over it make, with the code as it is, stays, and what folders that people named
    refer to (see `_referred`). With `delete` the stages are removed, with their logs and benchmarks. Raises InputError
    for that while Snakemake runs, and beside a sweep or study that is not in the configuration: nothing else tells
    which networks are its own.
    """
    plan = plan_of(configfiles)
    named = sorted(_named())
    unknown = [folder for folder in named if folder not in plan.folders() and "/compare/" not in folder]
    if delete:
        if os.path.isdir(".snakemake/locks") and os.listdir(".snakemake/locks"):
            raise InputError(".snakemake/locks: Snakemake runs here, expected none (after a crash: snakemake --unlock)")
        for folder in unknown:
            if not folder.endswith("_wav"):
                raise InputError(f"{folder}: not in the configuration, expected its --configfile, or no such folder")
    kept = plan.nodes.keys() | _referred(named)
    stages = [folder for kind in kinds() for folder in _stages_of(kind) if folder not in kept]
    stages.sort(key=lambda folder: os.stat(folder).st_mtime)
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder in stages:
        size = _size(folder, seen)
        total += size
        print(f"{size / 1e6:9.1f} MB  {folder}")
        if delete:
            _remove(folder)
    for folder in unknown:
        print(f"        kept  {folder}, which is not in the configuration")
    print(f"{total / 1e6:9.1f} MB  {'removed' if delete else 'in all'}: {len(stages)} stages")


def _stages_of(kind: str) -> Iterator[str]:
    """The folders of the stages of a kind that are there."""
    folder = Path("results", kind)
    if folder.is_dir() and not folder.is_symlink():
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and STAGE.fullmatch(f"results/{kind}/{entry.name}"):
                yield f"results/{kind}/{entry.name}"


def _named() -> Iterator[str]:
    """The folders that people named: of experiments, sweeps, studies and comparisons."""
    for pattern in ("*_wav", "sweeps/*", "studies/*", "compare/*"):
        for path in Path("results").glob(pattern):
            if path.is_dir() and not path.name.startswith("."):
                yield path.as_posix()


def _referred(named: Iterable[str]) -> set[str]:
    """The stages that the provenance of experiments, and of variants that comparisons show, names.

    And those that the provenance of the networks, codebooks and tables among these names.
    """
    found: set[str] = set()
    pending = []
    for folder in named:
        if folder.endswith("_wav"):
            pending.append(folder)
        if folder.startswith("results/compare/"):
            words = folder.removeprefix("results/compare/").split("_vs_")
            sides = {"_vs_".join(part) for i in range(1, len(words)) for part in (words[:i], words[i:])}
            pending += [f"results/experiments/{side}" for side in sides if "." in side]
    while pending:
        folder = pending.pop()
        found.add(folder)
        path = Path(folder, "provenance.json")
        if not path.exists():
            continue
        provenance = read_json(path)
        names = {match[0] for match in STAGE.finditer(json.dumps(provenance))}
        if folder.endswith("_wav"):
            names.add(f"results/experiments/{Path(folder).name.removesuffix('_wav')}.{provenance.get('key')}")
        pending += names - found
    return found


def _size(folder: str, seen: set[tuple[int, int]]) -> int:
    """Bytes on the disk of a folder, as du counts them; files that were seen before, under another name, have none."""
    size = 0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += 512 * status.st_blocks
    return size


def _remove(folder: str) -> None:
    """Remove a stage, its log and its benchmark."""
    shutil.rmtree(folder)
    name = folder.removeprefix("results/")
    Path(f"results/logs/{name}.log").unlink(missing_ok=True)
    Path(f"results/benchmarks/{name}.tsv").unlink(missing_ok=True)
