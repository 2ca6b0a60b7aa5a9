"""What a user asks Snakemake for, by targets and configuration files: it is made, or one line says how to name it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlquant.plan import config
from mlquant.plan.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
MINE = "networks:\n  nn4_cat1: {epochs: 3}\n"


def asked(folder, *words):
    """The exit status and the lines of Snakemake, run from the checkout to work in another folder."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--directory", folder, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def refused(folder, *words):
    """The lines in which Snakemake refuses to begin, without the one that names the profile."""
    status, lines = asked(folder, "-n", *words)
    assert status == 1, lines
    return [line for line in lines if not line.startswith("Using workflow specific profile")]


def test_targets_that_no_rule_makes_are_told_at_once_each_with_the_nearest(tmp_path):
    nearest = {
        "results/240181_wav": "results/240118_wav",
        "resuls/240118_wav": "results/240118_wav",
        "240118": "results/240118_wav",
        "results/studies/nosie": "results/studies/noise",
        "results/sweeps/gama": "results/sweeps/gamma",
        "all_experimnts": "all_experiments",
    }
    book = next(node for node in Plan(config.load(config.read(ROOT))).nodes.values() if node.name == "nn4_vq_2")
    nearest["results/codebooks/nn4_vq_3"] = book.file("vq.f32")
    here = tmp_path / "results/240118_wav"
    lines = refused(tmp_path, "./results/240118_wav", *nearest, here, "results/240118_wav/means.csv")
    assert lines == [
        *(f"{target}: no rule makes it, the nearest target is {near}" for target, near in nearest.items()),
        f"{here}: found an absolute path, expected results/240118_wav",
        "results/240118_wav/means.csv: no rule makes this file by itself, expected the folder that it is in, "
        "results/240118_wav",
    ]


def test_a_run_notes_the_targets_that_it_has_however_they_are_written(tmp_path):
    """By these another run knows whether it waits. A file of the configuration in results/ is none of them."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/mine.yaml").write_text(MINE)
    plan = Plan(config.load(config.read(ROOT)))
    source = next(node for node in plan.nodes.values() if node.kind == "sources").file("speech.tar")
    written = [f"./{source}", source.replace("/", "//"), source]
    asked(tmp_path, "--touch", "--configfile", tmp_path / "results/mine.yaml", "--", *written)  # makes nothing
    (note,) = (tmp_path / ".snakemake/mlquant").glob("*.run")
    assert json.loads(note.read_text())["targets"] == [source, source, source]


def test_a_target_that_configfile_takes_is_told(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    (line,) = refused(tmp_path, "--configfile", tmp_path / "mine.yaml", "results/240118_wav")
    assert line.startswith("results/240118_wav: no such file, expected a file of the configuration; --configfile takes")
    assert line.endswith("a target stands before it, or after --")


FILES = {
    "networks: [": "line 1, column 12: expected the node content",
    "a:\n  b: *five": "line 2, column 6: found the alias *five, expected an anchor &five above it: ",
    "networks: {}\nnetworks: {}": "line 2: networks is there already in line 1, expected once",
}


@pytest.mark.parametrize(
    ("text", "place"), [*((text, "configfile") for text in FILES), (next(iter(FILES)), "config.yaml")]
)
def test_a_file_that_cannot_be_read_is_one_line_with_its_place(tmp_path, text, place):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    given = ["--configfile", path] if place == "configfile" else []
    (line,) = refused(tmp_path, "results/240118_wav", *given)
    assert line.startswith(f"{path if given else 'config.yaml'}, {FILES[text]}")


def test_all_faults_of_a_configuration_are_told_in_one_run(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "networks:\n  nn4_cat1: {lr: 0, epoch: 3}\n  mine: {like: manifold, corpus: promts}\n"
        "quantisers: {best24: {kind: null}}\nexperiments: {240118: {samples: [big_dgo]}}\nmax_epochs: none\n"
    )
    assert sorted(refused(tmp_path, "results/240118_wav", "--configfile", tmp_path / "mine.yaml")) == [
        "config: experiments.240118.samples.0: 'big_dgo' names no sample or file in speech/, "
        "the nearest valid one is 'big_dog'",
        "config: max_epochs: found 'none', expected a whole number",
        "config: networks.mine.corpus: 'promts' names no corpus, the nearest valid one is 'prompts'",
        "config: networks.nn4_cat1.lr: found 0, expected more than 0",
        "config: networks.nn4_cat1: unknown key 'epoch', the nearest valid one is 'epochs'",
        "config: quantisers.best24.kind: is empty, expected one of 'lbg', 'beam', 'predictive'",
    ]


def test_a_setting_that_is_twice_on_the_command_line_is_told(tmp_path):
    lines = refused(tmp_path, "results/240118_wav", "--config", "max_epochs=1", "networks={a: {lr: 1, lr: 2}}")
    assert lines == ["--config: networks.a.lr is there twice, expected once"]
