"""What a user asks Snakemake for, by targets and configuration files: it is made, or one line says how to name it."""

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


@pytest.mark.slow
def test_a_run_knows_what_it_needs_however_its_targets_are_written(tmp_path):
    """By this it waits for another run, and names a file dated ahead of now. A file in results/ may be no target."""
    plan = Plan(config.load(config.read(ROOT)))
    ahead, other = [node.file("speech.tar") for node in plan.nodes.values() if node.kind == "sources"][:2]
    for path, text in ((tmp_path / ahead, ""), (tmp_path / "results/mine.yaml", MINE)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (4e9, 4e9))
    words = ["--touch", "--configfile", tmp_path / "results/mine.yaml", "--"]  # makes nothing
    named = {
        target: any(ahead in line and "dated" in line for line in asked(tmp_path, *words, target)[1])
        for target in (f"./{other}", f"./{ahead}", ahead.replace("/", "//"))
    }
    assert [*named.values()] == [False, True, True]


@pytest.mark.slow
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
    ("text", "place"),
    [
        *((text, "configfile") for text in [*FILES][:1]),
        *(pytest.param(text, "configfile", marks=pytest.mark.slow) for text in [*FILES][1:]),
        (next(iter(FILES)), "config.yaml"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line_with_its_place(tmp_path, text, place):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    given = ["--configfile", path] if place == "configfile" else []
    (line,) = refused(tmp_path, "results/240118_wav", *given)
    assert line.startswith(f"{path if given else 'config.yaml'}, {FILES[text]}")


@pytest.mark.slow
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
        "config: quantisers.best24.kind: is empty, expected one of 'lbg', 'beam', 'predictive', 'superframe'",
    ]


@pytest.mark.slow
def test_a_setting_that_is_twice_on_the_command_line_is_told(tmp_path):
    lines = refused(tmp_path, "results/240118_wav", "--config", "max_epochs=1", "networks={a: {lr: 1, lr: 2}}")
    assert lines == ["--config: networks.a.lr is there twice, expected once"]
