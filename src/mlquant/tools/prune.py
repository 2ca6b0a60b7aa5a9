"""Results that the configuration no longer makes: they are listed with their sizes, and removed on demand.

A result is a folder results/KIND/NAME.KEY of a kind that the workflow makes; nothing else is looked at. Links are
neither followed nor removed.
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
from mlquant.tools.why import KEYED, plan_of


def prune(configfiles: Iterable[str], delete: bool) -> None:
    """Print a line for each result that can go, the newest last, then the folders that are kept, and the sum.

    A result is kept if the configuration, with the given files over config.yaml, and the present code make it, or if a
    folder that a person named refers to it (see `_referred`). With `delete` the other results are removed, with their
    logs and benchmarks. Then InputError is raised while Snakemake runs, and if there is a folder of a sweep or study
    that is not in the configuration, because nothing else says which networks belong to it.
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
    unused = [folder for kind in kinds() for folder in _results_of(kind) if folder not in kept]
    unused.sort(key=lambda folder: os.stat(folder).st_mtime)
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder in unused:
        size = _size(folder, seen)
        total += size
        print(f"{size / 1e6:9.1f} MB  {folder}")
        if delete:
            _remove(folder)
    for folder in unknown:
        print(f"        kept  {folder}, which is not in the configuration")
    print(f"{total / 1e6:9.1f} MB  {'removed' if delete else 'in all'}: {len(unused)} results")


def _results_of(kind: str) -> Iterator[str]:
    """Give the folders of the results of a kind that exist."""
    folder = Path("results", kind)
    if folder.is_dir() and not folder.is_symlink():
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False) and KEYED.fullmatch(f"results/{kind}/{entry.name}"):
                yield f"results/{kind}/{entry.name}"


def _named() -> Iterator[str]:
    """Give the folders that people named: of experiments, sweeps, studies and comparisons."""
    for pattern in ("*_wav", "sweeps/*", "studies/*", "compare/*"):
        for path in Path("results").glob(pattern):
            if path.is_dir() and not path.name.startswith("."):
                yield path.as_posix()


def _referred(named: Iterable[str]) -> set[str]:
    """Return the results named in the provenance of experiments, and of variants that comparisons show.

    The results named in the provenance of these results are among them.
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
        names = {match[0] for match in KEYED.finditer(json.dumps(provenance))}
        if folder.endswith("_wav"):
            names.add(f"results/experiments/{Path(folder).name.removesuffix('_wav')}.{provenance.get('key')}")
        pending += names - found
    return found


def _size(folder: str, seen: set[tuple[int, int]]) -> int:
    """Return the bytes of a folder on the disk, as du counts them; a file counts once, whatever names it has."""
    size = 0
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                size += 512 * status.st_blocks
    return size


def _remove(folder: str) -> None:
    """Remove a result, its log and its benchmark."""
    shutil.rmtree(folder)
    name = folder.removeprefix("results/")
    Path(f"results/logs/{name}.log").unlink(missing_ok=True)
    Path(f"results/benchmarks/{name}.tsv").unlink(missing_ok=True)
