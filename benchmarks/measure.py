"""Measures commands: medians over several runs. Commands that are compared with each other take turns."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlquant.core.errors import InputError, log

HERE = Path(__file__).resolve().parent
OURS = (sys.executable, "-m", "mlquant.cli")


@dataclass(frozen=True)
class Program:
    """A command to measure on an input of `amount` `unit`s.

    `theirs` says that it is a program which ours is compared with. `one_core` pins it to one core. `work` returns,
    after a run, the seconds of the work itself, for a command that reports them: throughput and growth are then
    without the start of the process.
    """

    what: str
    command: tuple
    amount: float
    unit: str
    theirs: bool = False
    one_core: bool = False
    stdin: str = os.devnull
    stdout: str = os.devnull
    work: Callable[[], float] | None = None
    note: str = ""


def ours(*arguments: object) -> tuple:
    """Return a command of mlquant, in this environment."""
    return (*OURS, *map(str, arguments))


def script(name: str, request: dict) -> tuple:
    """Return a program of this folder that takes one JSON object."""
    return (sys.executable, "-P", str(HERE / f"{name}.py"), json.dumps(request))


def together(*chains: list[tuple]) -> tuple:
    """Return one command for chains of commands, which runs all chains at the same time."""
    import shlex

    jobs = [f"({' && '.join(map(shlex.join, chain))}) & p{i}=$!" for i, chain in enumerate(chains)]
    return ("sh", "-c", "\n".join([*jobs, *(f"wait $p{i} || exit 1" for i in range(len(chains)))]))


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def run(program: Program, folder: Path) -> dict:
    """Run a program once; raise InputError with the last line of its output if it fails."""
    stderr = folder / "stderr.txt"
    request = {
        **{"command": [*map(str, program.command)], "cores": cores()[-1:] if program.one_core else None},
        **{"stdin": program.stdin, "stdout": program.stdout, "stderr": str(stderr)},
    }
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} if program.one_core else {}
    launcher = subprocess.Popen(
        [sys.executable, "-I", "-S", str(HERE / "launch.py"), json.dumps(request)],
        **{"stdout": subprocess.PIPE, "env": os.environ | threads, "start_new_session": True},
    )
    try:
        result = json.loads(launcher.communicate()[0])
    except BaseException:
        os.killpg(launcher.pid, signal.SIGKILL)
        raise
    if result["status"]:
        lines = stderr.read_text(errors="replace").split("\n") if stderr.exists() else []
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        raise InputError(f"{program.what}: exit status {result['status']}, it said: {last.strip()}")
    return result | {"work_s": program.work() if program.work else result["wall_s"]}


def compare(stage: str, programs: list[Program], folder: Path, runs: int, limit: float) -> list[dict]:
    """Return a row for each program. They take turns, so that a slow phase of the machine affects all of them.

    A program that has taken `limit` seconds in all is not run again.
    """
    taken: list[list[dict]] = [[] for _ in programs]
    for _ in range(runs):
        for program, results in zip(programs, taken, strict=True):
            if sum(result["wall_s"] for result in results) <= limit:
                results.append(run(program, folder))
                log(f"{stage}: {program.what}: {results[-1]['wall_s']:.2f} s")
    rows = [row(stage, program, results) for program, results in zip(programs, taken, strict=True)]
    for theirs in [row for program, row in zip(programs, rows, strict=True) if program.theirs]:
        for mine in [row for program, row in zip(programs, rows, strict=True) if not program.theirs]:
            mine |= {"ratio": theirs["throughput"] / mine["throughput"], "against": theirs["what"]}
    return rows


def row(stage: str, program: Program, results: list[dict]) -> dict:
    """Return a row of the table: medians over the runs of a program."""
    median = {name: statistics.median(result[name] for result in results) for name in results[0] if name != "status"}
    walls = [result["wall_s"] for result in results]
    return {
        **{"stage": stage, "what": program.what, "amount": program.amount, "unit": program.unit, "runs": len(results)},
        **{"cores": 1 if program.one_core else len(cores()), **median, "min_s": min(walls), "max_s": max(walls)},
        **{"throughput": program.amount / median["work_s"], "times": None, "growth": None, "gflops": None},
        **{"blas_gflops": None, "ratio": None, "against": None, "note": program.note},
    }


def grow(rows: list[dict]) -> list[dict]:
    """Return the rows, each with its input and its time as multiples of those of the smallest input."""
    for larger in rows:
        first = min((row for row in rows if row["what"] == larger["what"]), key=lambda row: row["amount"])
        if first is not larger:
            larger |= {"times": larger["amount"] / first["amount"], "growth": larger["work_s"] / first["work_s"]}
    return rows


def installed(name: str) -> str | None:
    """Return the absolute path of an independent program, or None."""
    path = shutil.which(name)
    return path and str(Path(path).resolve())


def blas_gflops(shapes: list[tuple[int, int, int]], one_core: bool, folder: Path) -> float:
    """Return the GFLOP/s of matrix products [m, k] @ [k, n], by PyTorch's or numpy's BLAS, whichever is faster."""
    output = folder / "blas.json"
    run(Program("BLAS", script("blas", {"shapes": shapes}), 1, "run", one_core=one_core, stdout=str(output)), folder)
    return max(json.loads(output.read_text()).values())
