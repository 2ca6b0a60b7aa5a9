"""Several runs of Snakemake at the same time in one folder, and a run after one that was killed.

Snakemake locks the files that a run is going to make. A run that is killed leaves its locks behind, and a run that ends
removes the locks of all others with its own. Therefore each run writes its locks into a file, and keeps this file
locked with flock(2) as long as it lives; this lock goes with the process, however it ends. A new run first corrects
Snakemake's locks from these files. If it needs a file that another run is making, it waits for that run. If both were
asked for the same target, it does not wait: Snakemake's own message then says what to do.

A second lock, the door, is held by a run while it begins or ends, so that only one run does so at a time.

Only the Snakefile uses this module. A run calls `enter`, `settle` and `leave`, in this order; a dry run, which makes
nothing, calls `look`. Where the file system has no flock, nothing is done.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_STATE = Path(".snakemake/mlquant")
_LOCKS = Path(".snakemake/locks")
_POLL_SECONDS = 0.5

_held: dict[str, object] = {}  # open files: a lock of flock lasts until its file is closed


def enter(targets: list[str], needs: Callable[[Iterable[str]], str | None], log: Callable[[str], None]) -> None:
    """Before Snakemake locks: take the door, correct Snakemake's locks, and wait for files that others are making.

    `needs` returns the first of some files that this run needs, or None. The door is kept until `settle`, or until the
    process ends, so that no other run begins or ends in between.
    """
    try:
        _STATE.mkdir(parents=True, exist_ok=True)
        _take_door()
        _held["run"] = _open(_STATE / f"{os.uname().nodename}.{os.getpid()}.run")
        fcntl.flock(_held["run"], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _held.clear()
        return
    _note(targets, {})
    announced = None
    while True:
        others = _living()
        _set_right(others)
        waits = [
            (run, path)
            for run, known in others.items()
            if not set(targets) & set(known["targets"])
            if (path := needs(known["locks"].get("output", ())))
        ]
        if not waits:
            return
        _held.pop("door").close()
        if announced != waits[0]:
            announced = waits[0]
            log(f"Waiting for the run of Snakemake {announced[0]}, which is to make {announced[1]}.")
        time.sleep(_POLL_SECONDS)
        _take_door()


def look() -> None:
    """Before Snakemake reads its locks without setting any: correct them, unless a run is beginning or ending."""
    try:
        _STATE.mkdir(parents=True, exist_ok=True)
        _take_door(fcntl.LOCK_NB)
    except OSError:
        return
    _set_right(_living())
    _held.pop("door").close()


def settle() -> None:
    """After Snakemake has locked: write down which locks are those of this run, and release the door."""
    if "door" in _held:
        known = {name for run in _living().values() for name in run["names"].values()}
        mine = {name: kind for name, kind in _lock_files().items() if name not in known}
        _note(_noted()["targets"], mine)
        _held.pop("door").close()


def leave() -> None:
    """Before Snakemake removes its locks: take the door, which is released when the process ends."""
    if "run" in _held:
        _take_door()


def _open(path: Path) -> object:
    return open(path, "a+", encoding="utf-8")


def _take_door(how: int = 0) -> None:
    _held.pop("door", None)
    door = _open(_STATE / "door")
    fcntl.flock(door, fcntl.LOCK_EX | how)
    _held["door"] = door


def _lock_files() -> dict[str, str]:
    """Return Snakemake's lock files, `<n>.input.lock` and `<n>.output.lock`: the kind of each by its name."""
    return {path.name: path.name.split(".")[1] for path in _LOCKS.glob("*.*.lock")}


def _note(targets: list[str], names: dict[str, str]) -> None:
    """Write down the targets of this run, and its lock files with their contents."""
    locks = {kind: (_LOCKS / name).read_text(encoding="utf-8").splitlines() for name, kind in names.items()}
    _held["run"].truncate(0)
    json.dump({"targets": targets, "names": {kind: name for name, kind in names.items()}, "locks": locks}, _held["run"])
    _held["run"].flush()


def _noted() -> dict:
    _held["run"].seek(0)
    return json.load(_held["run"])


def _living() -> dict[str, dict]:
    """Return what other living runs wrote down, by host and process; the files of dead runs are removed."""
    found, own = {}, Path(_held["run"].name) if "run" in _held else None
    for path in sorted(_STATE.glob("*.run")):
        if path == own:
            continue
        with open(path, encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                found[path.stem] = json.load(file)
            else:
                path.unlink(missing_ok=True)
    return found


def _set_right(others: dict[str, dict]) -> None:
    """Make Snakemake's locks exactly those of the other living runs."""
    known = {name: kind for run in others.values() for kind, name in run["names"].items()}
    for name in _lock_files().keys() - known.keys():
        (_LOCKS / name).unlink(missing_ok=True)
    for run in others.values():
        for kind, name in run["names"].items():
            if not (_LOCKS / name).exists():
                _LOCKS.mkdir(parents=True, exist_ok=True)
                (_LOCKS / name).write_text("".join(f"{path}\n" for path in run["locks"][kind]), encoding="utf-8")
