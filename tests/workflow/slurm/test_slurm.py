"""A small experiment and a sweep through the profile on a real SLURM, with jobs killed on the way.

The checkout is only read, and results go to another folder, as on a cluster where one checkout serves many. What comes
out is compared with a local run in a third folder.
"""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml
from cluster import call, running, wait_for, why_not
from support.workflow import ROOT, copy_of_checkout

NO_PLUGIN = None
if not find_spec("snakemake_executor_plugin_slurm"):
    NO_PLUGIN = "needs the package snakemake-executor-plugin-slurm: pip install '.[slurm]'"
MISSING = NO_PLUGIN or why_not()

TARGETS = ("results/small_wav", "results/sweeps/widths")
OVERLAY = {
    "corpora": {"few": {"parts": {"own": {"files": "voices/*.wav"}}}},
    "networks": {
        "manifold": {"corpus": "few", "epochs": 2, "batch": 32},
        "nn4_cat1": {"corpus": "few", "epochs": 2, "batch": 32},
    },
    "quantisers": {"nn4_vq": {"stages": [{"size": 32}]}},
    "experiments": {
        "small": {
            "title": "",
            "samples": ["ann"],
            "outputs": {
                1: {"tag": "out", "process": "original", "processing": "original phases"},
                7: {
                    **{"tag": "vq5", "process": "vocoder", "networks": ["nn4_cat1", "manifold"]},
                    **{"quantiser": "nn4_vq", "processing": "5 bits a frame"},
                },
            },
        },
    },
    "sweeps": {
        "widths": {
            "title": "Six variants",
            "base": {
                **{"corpus": "few", "family": "autoencoder1", "nn": 4, "d": 10, "loss": "wloss", "lr": 2e-3},
                **{"epochs": 3, "batch": 32},
            },
            "rows": {f"d{d}": {"d": d} for d in (2, 4, 6, 8, 12, 14)},
        }
    },
}
# What tells of times, and so differs from run to run: by name, and by place.
TIMED = ("provenance.json", "training.json", "history.csv", "index.html")
TIMED_IN = ("logs/", "benchmarks/", "sweeps/widths/README.md", "sweeps/widths/summary.csv")


def commands():
    """The mlquant commands that run in SLURM jobs: process, job, and arguments."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_text().split("\0")
            if len(arguments) > 2 and arguments[1].endswith("/mlquant"):
                job = re.search(r"\0SLURM_JOB_ID=(\d+)\0", (folder / "environ").read_text())
                found += [(int(folder.name), job[1], arguments[2:])] if job else []
        except (OSError, UnicodeDecodeError):
            continue  # it has ended, or is none of ours
    return found


def running_command(name, of="", but=None):
    """Process and job of a command that runs for a stage, in another job than `but`."""
    for process, job, (command, *options) in commands():
        if command == name and job != but and of in " ".join(options):
            return process, job
    return None


def results(folder):
    """Bytes of every file that comes out alike whenever and wherever it is made."""
    files = [path for path in (folder / "results").rglob("*") if path.is_file() and path.name not in TIMED]
    named = {str(path.relative_to(folder / "results")): path for path in sorted(files)}
    return {name: path.read_bytes() for name, path in named.items() if not name.startswith(TIMED_IN)}


def sources(folder):
    """Bytes of a checkout's files, but for what Python caches."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.mark.slow
@pytest.mark.skipif(bool(NO_PLUGIN), reason=str(NO_PLUGIN))
def test_no_group_of_the_profile_waits_for_itself_whatever_is_asked_for(tmp_path):
    options = ["--directory", tmp_path, "--workflow-profile", ROOT / "profiles/slurm"]
    targets = ["all_experiments", "all_sweeps", "all_studies"]
    done = subprocess.run(
        ["snakemake", "-n", "--snakefile", ROOT / "Snakefile", *options, *targets], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
def test_jobs_killed_on_a_cluster_are_run_again_and_end_with_the_bytes_of_a_local_run(tmp_path):
    checkout = copy_of_checkout(tmp_path / "checkout", OVERLAY).folder
    config = yaml.safe_load((checkout / "config.yaml").read_text(encoding="utf-8"))
    config |= {"sweeps": OVERLAY["sweeps"], "studies": {}}
    (checkout / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    for place in ("cluster", "local"):
        for speech in ("speech", "voices"):
            shutil.copytree(checkout / speech, tmp_path / place / speech)
    before = sources(checkout)

    command = ["snakemake", "--snakefile", checkout / "Snakefile"]

    def snakemake(name, place, *options):
        """A run in a folder, started; what it prints goes to a file."""
        with open(tmp_path / name, "w") as output:
            return subprocess.Popen(
                [*command, "--directory", tmp_path / place, *options, *TARGETS],
                cwd=tmp_path,
                env=os.environ | {"PYTHONPATH": str(checkout / "src")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def end_of(process, name):
        status = process.wait(600)
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert status == 0, text
        return text

    def seen(*arguments, **options):
        """Process and job of a command as soon as it runs."""

        def look():
            assert on_cluster.poll() is None, (tmp_path / "cluster.txt").read_text(encoding="utf-8")
            return running_command(*arguments, **options)

        return wait_for(look, 300, " ".join(arguments))

    # This cluster keeps no accounts, and short jobs are worth asking after soon.
    options = ["--slurm-no-account", "--slurm-status-command", "squeue"]
    options += ["--slurm-init-seconds-before-status-checks", "2"]
    with running(tmp_path / "slurm"):
        on_cluster = snakemake("cluster.txt", "cluster", "--workflow-profile", checkout / "profiles/slurm", *options)
        started = [on_cluster]
        try:
            _, first = seen("train", "widths_")
            call("scancel", first)
            process, second = seen("train", "widths_", but=first)
            os.kill(process, signal.SIGKILL)
            _, third = seen("synth")  # within the job of a sample
            call("scancel", third)
            started.append(snakemake("local.txt", "local", "--cores", "2"))
            text = end_of(on_cluster, "cluster.txt")
            end_of(started[-1], "local.txt")
        finally:
            for process in started:
                process.kill()
        assert commands() == [], "what was cancelled has ended"
        states = dict(line.split() for line in call("squeue", "-h", "--states=all", "-o", "%i %T").splitlines())
    killed = {first: "CANCELLED", second: "FAILED", third: "CANCELLED"}
    assert {job: state for job, state in states.items() if state != "COMPLETED"} == killed, text
    submitted = re.findall(r"^Job (\S+) has been submitted .*?/slurm_logs/(group_[a-z]+|rule_\w+)", text, re.MULTILINE)
    jobs = Counter(dict(submitted).values())
    print(f"{len(states)} jobs submitted, {len(killed)} killed, {len(submitted) - sum(jobs.values())} run again")
    assert len(states) == len(submitted) == sum(jobs.values()) + len(killed)
    # The corpus and the sample are prepared in a job each; the corpus's latents are a job, all of the sample another.
    assert jobs["group_prepare"] == jobs["group_sample"] == 2
    assert jobs["rule_train"] == 2 + 6
    assert sources(checkout) == before

    ours, theirs = results(tmp_path / "cluster"), results(tmp_path / "local")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert {Path(name).suffix for name in ours} >= {".wav", ".safetensors", ".f32", ".csv"}
    summaries = [pd.read_csv(tmp_path / place / f"{TARGETS[1]}/summary.csv") for place in ("cluster", "local")]
    pd.testing.assert_frame_equal(*(summary.drop(columns="seconds") for summary in summaries))
    again = snakemake("again.txt", "cluster", "-n", "--workflow-profile", checkout / "profiles/slurm")
    assert "Nothing to be done" in end_of(again, "again.txt")
