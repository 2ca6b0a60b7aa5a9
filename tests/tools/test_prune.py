"""`mlquant prune` lists the stages that the configuration no longer makes, and removes them and nothing else."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from support.commands import run
from support.configs import COMPARED, edited

from mlquant.cli import kinds
from mlquant.plan.config import load
from mlquant.plan.plan import Plan

OLD = "results/networks/nn4.00000000"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder with a configuration and a folder with a file for all of its stages; the current one."""
    monkeypatch.chdir(tmp_path)
    configure("config.yaml")
    plan = Plan(load(yaml.safe_load(COMPARED)))
    for stage in plan.nodes.values():
        add(stage.folder)
    return plan


def configure(path, *edits):
    """Write the configuration with edits; returns it."""
    raw = edited(*edits, base=COMPARED)
    Path(path).write_text(yaml.safe_dump(raw, sort_keys=False), encoding="utf-8")  # the order of parts is in the keys
    return raw


def add(folder, size=5000, age=0):
    """A stage's folder with a file, a log and a benchmark, so many seconds old."""
    name = folder.removeprefix("results/")
    for path in (f"{folder}/file", f"results/logs/{name}.log", f"results/benchmarks/{name}.tsv"):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(bytes(size))
    time = Path(folder).stat().st_mtime - age
    os.utime(folder, (time, time))


def refer(folder, *stages, **more):
    """A folder whose provenance names stages."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    Path(folder, "provenance.json").write_text(json.dumps({"stages": {stage: {} for stage in stages}, **more}))


def listed(*arguments):
    """The stages in the list, in its order."""
    ended = run("prune", *arguments)
    assert (ended.status, ended.err) == (0, [])
    return re.findall(r"MB  (results/\S+)$", ended.out, re.MULTILINE)


def everything():
    return {path.as_posix() for path in Path().rglob("*")}


def test_what_the_configuration_makes_is_kept(made):
    before = everything()
    assert listed() == listed("--delete") == []
    assert run("prune").out == "      0.0 MB  in all: 0 results\n"
    assert everything() == before


def test_the_kinds_are_those_of_the_plan(made):
    assert {stage.kind for stage in made.nodes.values()} <= {*kinds()}


def test_what_it_no_longer_makes_is_listed_with_sizes_the_newest_last(made):
    add("results/codebooks/vq_1.00000000", size=2_000_000, age=100)
    add(OLD, age=200)
    add("results/experiments/240118.00000000", age=300)
    before = everything()
    ended = run("prune")
    assert [line.split("  ")[-1] for line in ended.out.splitlines()] == [
        *("results/experiments/240118.00000000", OLD, "results/codebooks/vq_1.00000000", "in all: 3 results"),
    ]
    sizes = [float(line.split(" MB")[0]) for line in ended.out.splitlines()]
    assert sizes[2] == pytest.approx(2, abs=0.1) and sizes[3] == pytest.approx(sum(sizes[:3]), abs=0.2)
    assert everything() == before


def test_a_setting_that_changed_leaves_what_was_made_with_it(made):
    configure("config.yaml", ("quantisers.vq.stages.1.size", 128))
    kinds = {folder.split("/")[1] for folder in listed()}
    assert kinds == {"codebooks", "quantised", "decoded", "inferred", "synthesised", "measures", "experiments"}


def test_delete_removes_what_is_listed_with_logs_and_benchmarks_and_nothing_else(made):
    before = everything()
    old = ["results/codebooks/vq_1.00000000", OLD]
    for folder in old:
        add(folder)
    assert sorted(listed("--delete")) == old
    assert everything() == before
    add(OLD)
    Path("results/logs/networks/nn4.00000000.log").unlink()
    assert run("prune", "--delete").out.endswith(" MB  removed: 1 results\n")
    assert everything() == before


def test_what_is_no_stage_is_neither_listed_nor_removed(made, tmp_path):
    away = tmp_path.parent / f"{tmp_path.name}_away"
    (away / "a.00000000").mkdir(parents=True)
    for name in (
        "networks/nn4",
        "networks/nn4.0000000",
        "networks/nn4.0000000g",
        "networks/.nn4.00000000",
        "mine/a.00000000",
    ):
        Path("results", name).mkdir(parents=True)
    Path("results/networks/a.00000000").symlink_to(away)
    Path("results/networks/b.00000000").touch()
    shutil.rmtree("results/figures")
    Path("results/figures").symlink_to(away)
    add(OLD)
    Path(OLD, "link").symlink_to(away)
    before = everything()
    assert listed("--delete") == [OLD]
    assert {path for path in before - everything() if not path.startswith(OLD)} == {
        "results/logs/networks/nn4.00000000.log",
        "results/benchmarks/networks/nn4.00000000.tsv",
    }
    assert (away / "a.00000000").is_dir()


def test_a_file_with_two_names_is_counted_once(made):
    for name, age in (("a", 9), ("b", 0)):
        add(f"results/synthesised/{name}.00000000", age=age)
    Path("results/synthesised/a.00000000/file").write_bytes(bytes(3_000_000))
    Path("results/synthesised/b.00000000/file").unlink()
    os.link("results/synthesised/a.00000000/file", "results/synthesised/b.00000000/file")
    sizes = sorted(float(line.split(" MB")[0]) for line in run("prune").out.splitlines())
    assert sizes == pytest.approx([0, 3, 3], abs=0.1)


def test_what_a_folder_of_an_experiment_names_is_kept_and_what_that_names(made):
    """An experiment of a configuration beside config.yaml, with a network whose provenance names its corpus."""
    corpus, latents = "results/corpora/few.00000000", "results/latents/few.00000000"
    tables = "results/experiments/wide.00000000"
    for folder in (OLD, corpus, latents, tables):
        add(folder)
    refer("results/wide_wav", OLD, key="00000000", files={f"{latents}/l.f32": ""})
    refer(OLD, corpus)
    assert listed("--delete") == []
    assert "        kept  results/wide_wav, which is not in the configuration\n" in run("prune").out
    shutil.rmtree("results/wide_wav")
    assert sorted(listed()) == sorted([OLD, corpus, latents, tables])


def test_a_variant_that_a_comparison_shows_is_kept(made):
    tables = "results/experiments/240118.00000000"
    add(tables)
    refer(tables, OLD)
    add(OLD)
    assert sorted(listed()) == [tables, OLD]
    Path("results/compare/240118.00000000_vs_240118").mkdir(parents=True)
    assert listed() == []


def test_a_file_over_the_configuration_counts(made):
    Path("wide.yaml").write_text(yaml.safe_dump({"networks": {"nn4": {"d": 12}}}))
    wide = Plan(load(configure("config.yaml", ("networks.nn4.d", 12))))
    configure("config.yaml", ("networks.nn4.d", 8))
    for folder in wide.nodes:
        add(folder)
    assert wide.graph.networks["nn4"].folder in listed()
    assert wide.graph.networks["nn4"].folder not in listed("--configfile", "wide.yaml")


def test_beside_a_sweep_of_another_configuration_nothing_is_removed(made):
    add(OLD)
    Path("results/sweeps/mine").mkdir(parents=True)
    assert listed() == [OLD]
    ended = run("prune", "--delete")
    assert (ended.status, ended.out, len(ended.err)) == (1, "", 1)
    assert ended.err[0].startswith(
        "mlquant prune: results/sweeps/mine: not in the configuration, expected its --configfile"
    )
    assert Path(OLD).is_dir()


def test_while_snakemake_runs_nothing_is_removed(made):
    add(OLD)
    Path(".snakemake/locks").mkdir(parents=True)
    Path(".snakemake/locks/0.input.lock").touch()
    ended = run("prune", "--delete")
    assert (ended.status, ended.out, len(ended.err)) == (1, "", 1)
    assert "Snakemake runs here" in ended.err[0] and Path(OLD).is_dir()
    assert listed() == [OLD]


def test_what_cannot_be_read_ends_in_a_line_and_removes_nothing(made):
    add(OLD)
    Path("results/wide_wav").mkdir()
    Path("results/wide_wav/provenance.json").write_text("{")
    ended = run("prune", "--delete")
    assert (ended.status, len(ended.err)) == (1, 1) and "results/wide_wav/provenance.json: not JSON" in ended.err[0]
    Path("config.yaml").write_text("networks: [")
    ended = run("prune", "--delete")
    assert (ended.status, len(ended.err)) == (1, 1) and "config.yaml, line 1" in ended.err[0]
    Path("config.yaml").unlink()
    assert "mlquant prune: config.yaml: " in run("prune", "--delete").err[0]
    assert Path(OLD).is_dir()
