"""Several runs of Snakemake at the same time in one folder, and a run after one that was killed.

Snakemake locks the files that a run is going to make. A run that is killed leaves its locks behind, and a run that ends
removes the locks of all others with its own. Therefore each run writes its locks into a note, and keeps this file
locked with flock(2) as long as it lives; this lock goes with the process, however it ends. A new run first corrects
Snakemake's locks from the notes. If it needs a file that another run is making, it waits for that run. If both were
asked for the same target, it does not wait: Snakemake's own message then says what to do.

Some file systems that several machines share lock on each machine by itself. So each run also renews the time of its
note while it lives, and the note of another machine counts until it has not been renewed for a while.

A second lock, the door, is held by a run while it begins or ends, so that only one run does so at a time.

Only the Snakefile uses this module. A run calls `enter`, `settle` and `leave`, in this order; a dry run, which makes
nothing, calls `look`. Where the file system has no flock, nothing is done.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

_STATE = Path(".snakemake/mlquant")
_LOCKS = Path(".snakemake/locks")
_POLL_SECONDS = 0.5
_RENEWED_SECONDS = 10.0
_STALE_SECONDS = 120.0  # of a note: file systems show the time of a file to other machines up to 60 s late
_AHEAD_SECONDS = 10.0  # as clocks in a network may differ; what is so little ahead is soon past
_NAMED = 3  # most files in a line

_held: dict[str, TextIO] = {}  # open files: a lock of flock lasts until its file is closed


def enter(targets: list[str], needs: Callable[[Iterable[str]], str | None], log: Callable[[str], None]) -> None:
    """Before Snakemake locks: take the door, correct Snakemake's locks, and wait for files that others are making.

    `needs` returns the first of some files that this run needs, or None. The door is kept until `settle`, or until the
    process ends, so that no other run begins or ends in between.
    """
    try:
        _STATE.mkdir(parents=True, exist_ok=True)
        _take_door()
        _held["run"] = _open(_STATE.absolute() / f"{os.uname().nodename}.{os.getpid()}.run")
        fcntl.flock(_held["run"], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        _held.clear()
        return
    _note(targets, {})
    threading.Thread(target=_renew, args=(_held["run"].name,), daemon=True).start()
    atexit.register(_end)
    announced = None
    while True:
        others = _living()
        _set_right(others)
        waits = [
            (run, path)
            for run, known in others.items()
            if not set(targets) & set(known["targets"])
            if (path := needs(_outputs(known)))
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
        known = {name for run in _living().values() for name in run["locks"]}
        mine = {path.name: path.read_text(encoding="utf-8") for path in _LOCKS.glob("*.lock") if path.name not in known}
        _held["run"].seek(0)
        _note(json.load(_held["run"])["targets"], mine)
        _held.pop("door").close()


def leave() -> None:
    """Before Snakemake removes its locks: take the door, which is released when the process ends."""
    if "run" in _held:
        _take_door()


def dated_ahead(paths: Iterable[str]) -> str | None:
    """Return one line on those of some files whose time is still to come, or None where no file has one.

    What is made of such a file is older than it, which Snakemake takes for a fault: it would remove each result. A
    result with such a time would not be made again when its inputs change.
    """
    now = _now() + _AHEAD_SECONDS
    times = {}
    for path in paths:
        with contextlib.suppress(OSError):  # another run has removed it
            times[path] = os.path.getmtime(path)
    ahead = sorted(path for path in times if times[path] > now)
    if not ahead:
        return None
    first = ahead[0]
    files = first if len(ahead) == 1 else f"{first} and {len(ahead) - 1} more"
    command = f"touch {shlex.join(ahead)}"
    if len(ahead) > _NAMED:
        folders = {"results" if path.startswith("results/") else os.path.dirname(path) or "." for path in ahead}
        command = f"find {shlex.join(sorted(folders))} -newermt now -exec touch {{}} +"
    dated = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(times[first]))
    return (
        f"{files}: dated {dated}, expected a time that is past, as nothing that is made of it could be newer. What is "
        f"ahead gets the present time by: {command}"
    )


def _open(path: Path) -> TextIO:
    return open(path, "a+", encoding="utf-8")


def _take_door(how: int = 0) -> None:
    _held.pop("door", None)
    door = _open(_STATE / "door")
    fcntl.flock(door, fcntl.LOCK_EX | how)
    _held["door"] = door


def _now() -> float:
    """Return the present time as the file system has it, which may be that of another machine."""
    try:
        os.utime(_held["door"].fileno())
        return os.fstat(_held["door"].fileno()).st_mtime
    except (KeyError, OSError):
        return time.time()


def _renew(path: str) -> None:
    """Renew the time of the note of this run as long as it holds it."""
    while getattr(_held.get("run"), "name", None) == path:
        with contextlib.suppress(OSError):
            os.utime(path)
        time.sleep(_RENEWED_SECONDS)


def _end() -> None:
    """Remove the note of this run, so that no other machine takes the run for a living one."""
    if "run" in _held:
        Path(_held["run"].name).unlink(missing_ok=True)


def _note(targets: list[str], locks: dict[str, str]) -> None:
    """Write down the targets of this run, and the text of its locks, `<n>.input.lock` and `<n>.output.lock`."""
    _held["run"].truncate(0)
    json.dump({"boot": _boot(), "targets": targets, "locks": locks}, _held["run"])
    _held["run"].flush()


def _outputs(run: dict) -> list[str]:
    """Return the files that a run is making."""
    return [path for name, text in run["locks"].items() if name.endswith(".output.lock") for path in text.splitlines()]


def _boot() -> str | None:
    """Return what tells this machine, since it was started, from others; None where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _living() -> dict[str, dict]:
    """Return what other living runs wrote down, by host and process; the notes of dead runs are removed."""
    found, own, now = {}, Path(_held["run"].name) if "run" in _held else None, _now()
    for path in sorted(_STATE.absolute().glob("*.run")):
        if path == own:
            continue
        with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            try:
                run = json.load(file)
            except ValueError:  # another machine is writing it
                run = {"boot": None, "targets": [], "locks": {}}
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                found[path.stem] = run
                continue
            # A container has a name of its own, but the locks of the machine.
            here = path.stem.rpartition(".")[0] == os.uname().nodename or run["boot"] in {_boot()} - {None}
            if here or os.fstat(file.fileno()).st_mtime < now - _STALE_SECONDS:
                path.unlink(missing_ok=True)
            else:
                found[path.stem] = run | {"elsewhere": True}
    return found


def _set_right(others: dict[str, dict]) -> None:
    """Make Snakemake's locks those of the other living runs.

    A run of another machine that the door does not keep out may be about to write down its locks: then none is removed.
    """
    known = {name: text for run in others.values() for name, text in run["locks"].items()}
    if all(run["locks"] for run in others.values() if "elsewhere" in run):
        for path in _LOCKS.glob("*.lock"):
            if path.name not in known:
                path.unlink(missing_ok=True)
    for name, text in known.items():
        if not (_LOCKS / name).exists():
            _LOCKS.mkdir(parents=True, exist_ok=True)
            (_LOCKS / name).write_text(text, encoding="utf-8")
