"""The benchmark runs, on next to no input, and reports all that it promises. How long anything takes is not tested."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mlquant.core.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's main module; it lies beside the package, at the root of the project."""
    monkeypatch.syspath_prepend(ROOT)
    import benchmarks.__main__

    return benchmarks.__main__


@pytest.fixture
def tiny(bench, monkeypatch, tmp_path, voice):
    """Two seconds of speech and a few latents in place of the corpus; of the independent programs a c2sim alone."""
    rng = np.random.default_rng(1)
    voice.tofile(tmp_path / "speech.raw")
    rng.standard_normal((200, 10), np.float32).tofile(tmp_path / "l.f32")
    found = {"speech": [str(tmp_path / "speech.raw")], "latents": str(tmp_path / "l.f32"), "measure": None}
    monkeypatch.setattr(bench.inputs, "find", lambda: found | {"tables": None})
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/c2sim").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin/c2sim").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    return found


@pytest.mark.slow
def test_table_and_json_hold_what_is_promised(bench, tiny, tmp_path, capsys):
    arguments = ["--only", "analyse", "both", "page", "--runs", "1", "--minutes", "0.03", "-o", str(tmp_path / "out")]
    assert bench.main(arguments) == 1, "there is no page to measure"
    report = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert {"date", "command", "cpu", "cores", "memory_GB", "load_before", "versions", "tools"} <= set(
        report["machine"]
    )
    assert [row["amount"] for row in report["rows"]] == [0.11, 0.11, 0.45, 0.45, 1.8, 1.8, 1.8]
    for row in report["rows"]:
        assert min(row[name] for name in ("wall_s", "cpu_s", "peak_MB", "throughput", "min_s", "max_s")) > 0
    mine, theirs = report["rows"][4:6]
    assert (mine["what"], mine["cores"], mine["against"]) == ("mlquant analyse", 1, "c2sim --hpf --modelout")
    assert mine["ratio"] == pytest.approx(mine["wall_s"] / theirs["wall_s"])
    assert mine["times"] == pytest.approx(1.8 / 0.11) and mine["growth"] > 0
    assert any("vqtrain is not on the PATH" in problem for problem in report["problems"])
    assert any("no --octave DIR" in problem for problem in report["problems"])
    assert any("page failed: results of 240118" in problem for problem in report["problems"])
    text = (tmp_path / "out/benchmark.md").read_text()
    assert capsys.readouterr().out == text + "\n"
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(report["rows"])
    assert {line.replace("\\|", "").count("|") for line in table} == {len(bench.COLUMNS) + 1}


def test_without_results_one_line_says_what_to_run(bench, monkeypatch, tmp_path):
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has not been made; run `make` first"):
        bench.main(["-o", str(tmp_path / "out")])


def test_peak_memory_is_the_commands_not_the_benchmarks(bench, tmp_path):
    from benchmarks.measure import Program, run

    held = np.ones(50_000_000)  # 400 MB
    small, large = (
        run(Program("python", (sys.executable, "-I", "-S", "-c", code), 1, "run", one_core=True), tmp_path)
        for code in ("pass", "b'x' * 100_000_000")
    )
    assert held.nbytes / 1e6 > 300 > large["peak_MB"] > 100 > 50 > small["peak_MB"]


def test_a_command_that_fails_is_told_with_its_last_line(bench, tmp_path):
    from benchmarks.measure import Program, run

    with pytest.raises(InputError, match="vqtrain: exit status 3, it said: no such thing"):
        run(Program("vqtrain", ("sh", "-c", "echo no such thing >&2; exit 3"), 1, "run"), tmp_path)


def test_the_original_loop_learns(bench):
    import torch

    from benchmarks.original_loop import train
    from mlquant.networks.rows import ROWS
    from mlquant.networks.settings import as_settings

    row = as_settings(ROWS["autoencoder1", 4])
    settings = {"family": "autoencoder1", "nn": 4, "d": 4, "noise_var": 1e-3, "gamma": 0.5, "lr": 0.05, "batch": 32}
    b = torch.rand(320, 20) - 1
    result = train(settings | {"seed": 1, "row": row}, (b, b, b[:50], b[:50]), 3)
    assert result["steps"] == 30 and result["seconds"] > 0
    losses = [row["loss"] for row in result["curve"]]
    assert losses == sorted(losses, reverse=True)
