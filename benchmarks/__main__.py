"""Measures every stage on real speech: `python -m benchmarks`, at the root of the project after `make`.

Wall and CPU time, peak memory and throughput of the commands, how they grow with their input, and the same of the
independent programs that a user would run instead, where they are installed. Writes benchmark.md and benchmark.json.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks import inputs, stages
from benchmarks.measure import cores, installed
from mlquant.core import provenance
from mlquant.core.disk import write_json, write_text
from mlquant.core.errors import InputError, log

COLUMNS = ("stage", "what", "input", "cores", "runs", "wall (s)", "CPU (s)", "peak (MB)", "throughput", "growth",
           "GFLOP/s", "of BLAS", "of their time", "note")  # fmt: skip
TOOLS = ("c2sim", "vqtrain", "vq_mbest")
PACKAGES = ("mlquant", "numpy", "scipy", "torch", "faiss-cpu")


def options(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[1])
    add, default = parser.add_argument, [name for name in stages.STAGES if name not in stages.CHOSEN]
    add("--only", nargs="+", choices=[*stages.STAGES], default=default, metavar="STAGE",
        help=f"one or more of {', '.join(stages.STAGES)}; default all but {' and '.join(stages.CHOSEN)}")  # fmt: skip
    add("--runs", type=int, default=3, help="runs of each command, whose median counts (default 3)")
    add("--limit", type=float, default=120, metavar="S", help="a command that has taken so long is not run again")
    add("--minutes", type=float, default=24, help="minutes of speech; a quarter and a sixteenth too (default 24)")
    add("--vectors", type=int, default=144617, help="latents; a quarter and a sixteenth too (default 144617)")
    add("--entries", type=int, default=4096, help="entries of a codebook that is trained (default 4096)")
    add("--hours", type=float, default=10, help="hours of speech in the stage long (default 10; 15 MB a minute)")
    add("--epochs-share", type=float, default=1, metavar="X",
        help="in the stage training, run this share of all epochs and extrapolate (default 1)")  # fmt: skip
    add("--octave", metavar="DIR", help="folder with linear_batch.m and what it calls, for features in Octave")
    add("-o", "--out", type=Path, default=Path("results/benchmark"), metavar="DIR", help="(default results/benchmark)")
    chosen = parser.parse_args(arguments)
    for name in ("runs", "minutes", "vectors", "entries", "hours", "epochs_share"):
        if not getattr(chosen, name) > 0:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(chosen, name)}, expected more than 0")
    return chosen


def machine(chosen: argparse.Namespace, arguments: list[str]) -> dict:
    """Return what the numbers depend on besides the code: processor, memory, versions, and programs of others."""
    cpu = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")]
    tools = {name: installed(name) for name in TOOLS}
    tools["octave-cli"] = installed("octave-cli") if chosen.octave else None
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": " ".join(["python -m benchmarks", *arguments]),
        "cpu": cpu[0] if cpu else platform.processor() or platform.machine(),
        "cores": len(cores()),
        "memory_GB": round(memory[0] * 1024 / 1e9, 1) if memory else None,
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "commit": provenance.versions()["revision"],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "tools": tools,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def report(about: dict, rows: list[dict], problems: list[str]) -> str:
    """Return the report as Markdown: the machine, the table, and what was not measured."""
    lines = [
        "# Benchmark",
        "",
        f"{about['date']}, `{about['command']}`, commit {about['commit']}",
        "",
        f"{about['cpu']}, {about['cores']} cores, {about['memory_GB']} GB, {about['system']}, "
        f"load before {about['load_before']}; {', '.join(f'{k} {v}' for k, v in about['versions'].items())}",
        "",
        "Times are medians of the runs, with the least and the most. Commands that are compared took turns. *of their "
        "time*: our time as a part of the independent program's, for the same amount of input. *growth*: how many "
        "times longer it took for so many times the input. Peaks below about 10 MB cannot be measured.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' for _ in COLUMNS)} |",
        *(f"| {' | '.join(cells(row))} |" for row in rows),
        "",
        *(f"- {problem}" for problem in problems),
    ]
    return "\n".join(lines).rstrip() + "\n"


def cells(row: dict) -> list[str]:
    """Return the cells of a row."""
    rate = f"{row['throughput']:.4g} {row['unit']}/s"
    if row["unit"] == stages.SPEECH:
        rate = f"{row['throughput']:.4g} x real time"
    spread = f" ({row['min_s']:.2f} to {row['max_s']:.2f})" if row["runs"] > 1 else ""
    known = lambda text, *values: "" if None in values else text.format(*values)  # noqa: E731
    share = row["blas_gflops"] and row["gflops"] and row["gflops"] / row["blas_gflops"]
    return [
        *(row["stage"], row["what"], f"{row['amount']:.6g} {row['unit']}", str(row["cores"]), str(row["runs"])),
        *(f"{row['wall_s']:.2f}{spread}", f"{row['cpu_s']:.2f}", f"{row['peak_MB']:.0f}", rate),
        known("{1:.2f} for {0:.3g}", row["times"], row["growth"]),
        known("{:.1f}", row["gflops"]),
        known("{:.2f} of {:.1f}", share, row["blas_gflops"]),
        known("{:.3f} of {}", row["ratio"], row["against"]),
        row["note"],
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the report again after each stage. Returns 1 if a stage failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    chosen = options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    about = machine(chosen, arguments)
    rows: list[dict] = []
    problems = [f"{name} is not on the PATH: nothing is compared with it" for name in TOOLS if not about["tools"][name]]
    if not about["tools"]["octave-cli"]:
        reason = "octave-cli is not on the PATH" if chosen.octave else "no --octave DIR is given"
        problems.append(f"{reason}: nothing is compared with Octave")
    for problem in problems:
        log(problem)
    failed = False
    with tempfile.TemporaryDirectory(prefix="mlquant-benchmark-") as name:
        bench = stages.Bench(inputs.find(), Path(name).resolve(), chosen)
        for stage in chosen.only:
            try:
                rows += stages.STAGES[stage](bench)
            except (InputError, OSError) as error:
                failed = True
                problems.append(f"{stage} failed: {error}")
                log(problems[-1])
            text = report(about, rows, problems)
            write_text(chosen.out / "benchmark.md", text)
            write_json(chosen.out / "benchmark.json", {"machine": about, "rows": rows, "problems": problems})
    print(text)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (InputError, OSError) as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
