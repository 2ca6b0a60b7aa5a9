"""`mlquant why` names the jobs that Snakemake would run, what made each of them necessary, and the time they take."""

import contextlib
import io
import itertools
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.commands import run
from support.workflow import OVERLAY, Checkout, copy_of_checkout

from mlquant.cli import stages
from mlquant.core import keys
from mlquant.plan.graph import Node
from mlquant.tools import why

SMALL = {
    **{key: OVERLAY[key] for key in ("corpora", "networks", "quantisers")},
    "samples": {"late": OVERLAY["samples"]["late"]},
    "experiments": {"240118": {"samples": ["ann", "bob", "late"]}},
}
# Stands for the commands: makes what a job is to make, from a file that tells what is in it.
STUB = """#!{python} -SI
import json, os, sys
with open("contents.json") as file:
    groups = json.load(file)
for word in sys.argv:
    for path, text in groups.get(word.rpartition("=")[2], {{}}).items():
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
"""


def content(path, plan, behind):
    """What a file tells of the stages behind it, if it is one that does."""
    stage = plan.nodes.get(os.path.dirname(path))
    if path.endswith("provenance.json"):
        told = behind if stage.kind == "experiments" else [stage]
        record = {
            "definitions": {name: one for stage in told for name, one in keys.reached(stage.stage.entry).items()},
            "stages": {stage.folder: {"settings": stage.settings, "inputs": stage.inputs} for stage in told},
        }
        entry = {name: stage.settings.get(name) for name in ("name", "title", "samples", "outputs")}
        return json.dumps(record | {"experiment": entry} if stage.kind == "experiments" else record)
    if path.endswith("measured.json"):
        return json.dumps(stage.settings | {"files": dict.fromkeys(stage.inputs["files"], "")})
    return json.dumps({"available": False}) if path.endswith("manifest.json") else path


@dataclass
class Made:
    """A checkout in which all is made, and what was told before anything was."""

    checkout: Checkout
    before: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Snakemake has run everything, with commands that only make files, some of which tell what they come from."""
    checkout = copy_of_checkout(tmp_path_factory.mktemp("why") / "checkout", SMALL)
    folder = checkout.folder
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        plan, jobs, groups = why.plan_of([]), why.would_run("all_experiments", [], []), {}
        patch.setattr(why, "would_run", lambda *_: jobs)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            why.explain("all_experiments", [], [], 2)
        jobs = [job for job in jobs if job.outputs]
        behind = [plan.nodes[job.folder] for job in jobs if job.folder in plan.nodes]
        behind = [stage for stage in behind if stage.kind not in ("measures", "experiments", "figures")]
        for job in jobs:
            texts = {path: content(path, plan, behind) for path in job.outputs}
            texts = {f"{job.folder}/index.html": ""} if job.folder.endswith("_wav") else texts
            groups |= dict.fromkeys([job.folder, *job.outputs], texts)
        (folder / "contents.json").write_text(json.dumps(groups))
        (folder / "bin").mkdir()
        (folder / "bin/mlquant").write_text(STUB.format(python=sys.executable))
        (folder / "bin/mlquant").chmod(0o755)
        # A function of bash, as the commands of Snakemake's environment come first on the PATH.
        patch.setenv("BASH_FUNC_mlquant%%", '() { "$MLQUANT_STUB" "$@"; }')
        patch.setenv("MLQUANT_STUB", str(folder / "bin/mlquant"))
        done = checkout.run("--cores", 2)
    assert done.status == 0, done.text
    return Made(checkout, out.getvalue().splitlines())


@pytest.fixture
def told(made, monkeypatch, capsys):
    """A function to what is told of a target with a configuration over that of `made`."""
    monkeypatch.chdir(made.checkout.folder)

    def of(target="results/240118_wav", overlay=None, entries=()):
        Path("overlay.yaml").write_text(yaml.safe_dump(overlay or {}), encoding="utf-8")
        why.explain(target, ["overlay.yaml"], list(entries), 2, every=True)
        lines = capsys.readouterr().out.splitlines()
        folded, rows = lines[: lines.index("All jobs:")], lines[lines.index("All jobs:") + 1 :]
        rows = [re.split("  +", line) for line in rows]
        return Told([(command, place, why) for command, place, why, _ in rows], folded)

    return of


@dataclass
class Told:
    """Command, folder and cause of each job, and the lines before these."""

    jobs: list[tuple[str, str, str]]
    lines: list[str]

    def under(self, title):
        """The lines under a title."""
        after = self.lines[self.lines.index(title) + 1 :] if title in self.lines else []
        return [*map(str.strip, itertools.takewhile(lambda line: line.startswith("  "), after))]

    def command(self, name):
        return next(command for command, place, _ in self.jobs if place.startswith(name))

    def why(self, name):
        """The causes of the jobs of a kind and name, without their keys."""
        return [why for _, place, why in self.jobs if re.sub(r"\.[0-9a-f]{8}$", "", place) == name]


# --- what made it so -------------------------------------------------------------------------------------


def test_before_the_first_run_all_is_new_and_takes_an_unknown_time(made):
    first, rules, title, *lines, more, hint = made.before
    count = sum(int(words.split()[0]) for words in rules.removeprefix("To run: ").split(", "))
    assert count > 30 and first == f"{count} jobs of unknown time"
    assert title == "What is new:" and len(made.before) < 20
    assert "2 samples: prepare_sample, " in "\n".join(lines) and "  240118: tabulate, page" in lines
    assert more == "More jobs may follow: an optional source must be tried before it is known what it has."
    assert hint.startswith("With --all ")


@pytest.mark.slow
def test_nothing_is_to_be_done_when_all_is_there(made):
    ended = run("why", "results/240118_wav", cwd=made.checkout.folder)
    assert (ended.status, ended.err) == (0, [])
    assert ended.out == "Nothing to be done: results/240118_wav is up to date.\n"


@pytest.mark.slow
def test_a_changed_setting_is_named_where_it_is_and_as_an_input_behind_it(told):
    changes = {"epochs": 3, "lr": 0.01, "seed": 2, "batch": 16, "gamma": 0.6}
    done = told(overlay={"networks": {"nn4_cat1": {"d": 8}, "manifold": changes}})
    differs = done.under("What differs:")
    assert len(differs) == 2 and "nn4_cat1: train: d: 10 -> 8 (width of the bottleneck)" in differs
    (line,) = set(differs) - {"nn4_cat1: train: d: 10 -> 8 (width of the bottleneck)"}
    assert line.startswith("manifold: train: ") and "; lr: 0.001 -> 0.01 (learning rate); " in line
    follows = done.under("What follows from it:")
    assert "nn4_vq_1, nn4_vq_2: vq_train" in follows, "the width k of its vectors is that of the bottleneck"
    (samples,) = [line for line in follows if line.startswith("2 samples: ")]
    assert {"encode", "decode", "infer", "vq_search", "measure"} <= {*samples.removeprefix("2 samples: ").split(", ")}
    assert done.why("networks/nn4_cat1") == ["d: 10 -> 8"]
    assert done.why("latents/few") == done.why("inferred/ann_nn4_cat1") == ["input networks/nn4_cat1 has changed"]
    assert done.why("codebooks/nn4_vq_1") == ["k: 10 -> 8, input latents/few has changed"]
    assert done.why("240118_wav")[0].startswith("input experiments/240118 has changed, ")
    (manifold,) = done.why("networks/manifold")
    assert re.fullmatch(r"(\w+: \S+ -> \S+(, |$)){5}", manifold), "all settings are told"
    assert done.why("models/ann") == []
    assert done.command("codebooks/nn4_vq_1") == "vq-train" and done.command("240118_wav") == "page"
    places = [re.sub(r"\.[0-9a-f]{8}$", "", place) for _, place, _ in done.jobs]
    order = ("networks/nn4_cat1", "latents/few", "codebooks/nn4_vq_1", "codebooks/nn4_vq_2", "measures/240118_ann")
    assert sorted(order, key=places.index) == list(order)
    assert re.fullmatch(
        rf"{len(places)} jobs, about \d+ core seconds: .* on 2 cores; \d+ other results stay", done.lines[0]
    )


@pytest.mark.slow
def test_of_variants_as_much_alike_the_one_that_is_no_longer_made_is_compared(made, told):
    """Output 7 has one survivor already, and is as far away, with two stages less."""
    done = told(overlay=made.checkout.outputs(6, mbest=1, stages=3))
    assert done.why("codebooks/nn4_vq_3") == ["new"]
    assert done.why("quantised/ann_nn4_vq") == ["mbest: 5 -> 1, input codebooks/nn4_vq_3 is new"]
    assert done.why("experiments/240118") == ["stages of output 6: 2 -> 3, mbest of output 6: 5 -> 1"]


@pytest.mark.slow
def test_a_changed_file_a_removed_one_and_settings_of_the_command_line_are_named(made, told):
    speech = made.checkout.folder / "speech/ann.raw"
    before, times = speech.read_bytes(), (speech.stat().st_atime_ns, speech.stat().st_mtime_ns)
    speech.write_bytes(before[:-160])
    (wav,) = made.checkout.folder.glob("results/anchors/ann.*/3200.wav")
    wav.rename(wav.with_name("away"))
    done = told("all_experiments", entries=["max_epochs=1"])
    wav.with_name("away").rename(wav)
    speech.write_bytes(before)
    os.utime(speech, ns=times)
    assert done.under("What differs:") == [
        "manifold, nn4_cat1: train: epochs: 30 -> 1 (how often the training goes through the corpus)",
        *("sample ann: prepare_sample: speech/ann.raw is newer", "sample ann: anchor: 3200.wav is missing"),
    ]
    assert len(done.lines) <= 15
    assert done.why("samples/ann") == ["speech/ann.raw is newer"]
    assert done.why("models/ann") == ["input samples/ann is made again"]
    assert done.why("anchors/ann") == ["3200.wav is missing"]
    assert done.why("networks/manifold") == done.why("networks/nn4_cat1") == ["epochs: 30 -> 1"]


SETTINGS = [
    ({"experiments": {"240118": {"outputs": {6: {"mbest": 3}}}}}, "2 samples: vq_search: mbest: 5 -> 3 (survivors of "),
    ({"experiments": {"240118": {"outputs": {6: {"stages": 1}}}}}, "240118: tabulate: stages of output 6: 2 -> 1 (num"),
    ({"experiments": {"240118": {"outputs": {6: None}}}}, "2 samples: measure; 240118: tabulate: output 6 is gone"),
    ({"experiments": {"240118": {"title": "Another"}}}, "240118: tabulate: title: Experiment 1"),
    ({"networks": {"manifold": {"lr": 0.1}}}, "manifold: train: lr: 0.001 -> 0.1 (learning rate)"),
    (
        {"quantisers": {"nn4_vq": {"stages": [{"size": 8}] * 3}}},
        "nn4_vq_1: vq_train: m: 32 -> 8 (entries of the codebook",
    ),
    ({"corpora": {"few": {"seed": 2}}}, "few_own: prepare_corpus: seed: 1 -> 2 (seed of the choice of files and of "),
    ({"features": {"floor_dB": -90}}, "2 samples, few_own: features; unseen_1, unseen_2: analyse_set: floor_dB: -80"),
    ({"samples": {"ann": {"sex": "f"}}}, "sample ann: measure: sex: none -> f (sex of the speaker)"),
    ({"max_epochs": 2}, "manifold, nn4_cat1: train: epochs: 30 -> 2 (how often the training goes through the corpus)"),
]


@pytest.mark.parametrize(
    ("overlay", "line"),
    [SETTINGS[0], *(pytest.param(*one, marks=pytest.mark.slow) for one in SETTINGS[1:])],
    ids=[str(overlay) for overlay, _ in SETTINGS],
)
def test_one_changed_setting_is_told_in_15_lines_first_what_differs(told, overlay, line):
    done = told(overlay=overlay)
    assert len(done.lines) <= 14  # and a hint, where the jobs are not listed
    assert " jobs, about " in done.lines[0] and done.lines[0].endswith(" other results stay")
    assert done.lines[1].startswith("To run: ") and done.lines[2] == "What differs:"
    assert any(told.startswith(line) for told in done.under("What differs:")), done.lines
    assert sum(int(words.split()[0]) for words in done.lines[1].removeprefix("To run: ").split(", ")) == len(done.jobs)


@pytest.mark.slow
def test_edited_code_of_a_folder_that_is_not_keyed_is_named(made, told, monkeypatch):
    source = made.checkout.folder / "edited"
    shutil.copytree(made.checkout.folder / "src", source)
    with open(source / "mlquant/experiments/page/page.html", "a", encoding="utf-8") as file:
        file.write("<p>Edited</p>")
    monkeypatch.setenv("PYTHONPATH", str(source))
    done = told()
    assert done.jobs == [("page", "240118_wav", "code of mlquant page has changed")]
    assert done.lines[0].startswith("1 job, about 1 core seconds: 1 s")
    assert done.under("What differs:") == ["240118: page: code of mlquant page has changed"]


def job(name, *inputs, reason="", outputs=(), threads=1):
    return why.Job(name, "rule", "command", [*inputs], [*(outputs or [name])], reason, "", threads, False)


def texts(causes):
    return [cause.text for cause in causes]


def stage(key, inputs, **settings):
    return Node(stages()["vq-train"], "codebooks", "vq", key, settings, {"train": inputs})


def variant(of, **definitions):
    return why.Variant(of.settings, of.inputs, keys.reached(of.stage.entry) | definitions, 0.0)


@pytest.mark.parametrize(
    ("before", "definitions", "causes"),
    [
        (stage("00000001", ["a"], size=16), {"quantisers.vq.train": "0"}, ["train in quantisers/vq.py has changed"]),
        (
            stage("00000001", ["a"], size=16),
            {"quantisers.stages.vq_train": "0"},
            ["vq_train in quantisers/stages.py has changed"],
        ),
        (stage("00000001", ["a"], size=16), {"experiments.page.write": "0"}, ["has changed, no record says how"]),
        (stage("00000001", ["a", "b"], size=8, stop=1), {}, ["size: 8 -> 16", "stop: 1 -> -", "input b is gone"]),
        (stage("00000001", "51 files, from a to z", size=16), {}, ["input train: 1 files"]),
        (stage("00000001", "1 files, from a to a", size=8), {}, ["size: 8 -> 16"]),
        (stage("00000002", ["a"], size=16), {}, ["vq.f32 is missing"]),
    ],
)
def test_what_is_recorded_of_an_earlier_variant_is_compared(tmp_path, monkeypatch, before, definitions, causes):
    monkeypatch.chdir(tmp_path)
    Path(before.folder).mkdir(parents=True)
    now = stage("00000002", ["a"], size=16)
    made = job(now.folder, "a", reason=f"Missing output files: {now.folder}/vq.f32", outputs=[f"{now.folder}/vq.f32"])
    variants = {("codebooks", "vq"): {before.folder: variant(before, **definitions)}}
    assert texts(why.causes(made, {now.folder: now}, variants)) == causes


@pytest.mark.parametrize(
    ("reason", "causes"),
    [
        ("Updated input files: my a, b.wav", ["my a, b.wav is newer"]),
        ("Incomplete output files: c", ["was interrupted"]),
        ("Set of input files has changed since last execution", ["takes other files than before"]),
        (
            "Code has changed since last execution; Params have changed since last execution: x",
            ["rule rule has changed"],
        ),
        ("Params have changed since last execution: before: a now: b ", ["its settings have changed"]),
        (
            'Params have changed since last execution: before: a,\'{"code": "1", "d": [1, 2]}\' '
            'now: b,\'{"code": "1", "d": 3}\' ',
            ["d: 1, 2 -> 3"],
        ),
        ("Something that Snakemake never said before", ["Something that Snakemake never said before"]),
    ],
)
def test_what_snakemake_compares_is_told(reason, causes):
    assert texts(why.causes(job("results/x", "my a, b.wav", "c", reason=reason), {}, {})) == causes


def test_tables_of_another_key_than_those_in_the_folder_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("results/a_wav").mkdir(parents=True)
    Path("results/a_wav/provenance.json").write_text('{"key": "00000001"}')
    for key, cause in (("00000001", "takes other files than before"), ("00000002", "input experiments/a has changed")):
        tables = [f"results/experiments/a.{key}/{name}.csv" for name in ("means", "measures")]
        page = job("results/a_wav", *tables, reason="Set of input files has changed since last execution")
        assert texts(why.causes(page, {}, {})) == [cause]


@pytest.mark.slow
def test_a_target_or_a_configuration_that_cannot_be_is_refused_in_a_line(made):
    folder = made.checkout.folder
    (folder / "mistake.yaml").write_text('experiments: {"240118": {sample: [ann]}}')
    (folder / "list.yaml").write_text("[1]")
    target = "results/240118_wav"
    for words, line in (
        (["results/none_wav"], "Snakemake: results/none_wav: no rule makes it, the nearest target is results/"),
        ([target, "--config", "max_epochs"], "Invalid config definition: Config entries have to be defined as name="),
        ([target, "--config", "max_epochs=0"], "config: max_epochs: found 0, expected more than 0"),
        ([target, "--configfile", "mistake.yaml"], "config: experiments.240118: unknown key 'sample', the nearest"),
        ([target, "--configfile", "list.yaml"], "list.yaml: found [1], expected keys at its top level"),
        ([target, "--configfile", "none.yaml"], "none.yaml: no such file"),
    ):
        ended = run("why", *words, cwd=folder)
        assert (ended.status, ended.out, len(ended.err)) == (1, "", 1)
        assert ended.err[0].startswith(f"mlquant why: {line}")


def test_a_provenance_that_cannot_be_read_is_named_and_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    network = "results/networks/a.00000000"
    for i, value in enumerate(
        [[], {"stages": [], "definitions": 3}, {"stages": {"a": {}, f"{network}": {"settings": 3}}}]
    ):
        path = Path(f"results/experiments/240118.0000000{i}/provenance.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(value))
    variants = why.recorded()
    assert capsys.readouterr().err == (
        "mlquant why: results/experiments/240118.00000000/provenance.json: holds a list, expected an object; "
        "passed over\n"
    )
    assert variants["networks", "a"].keys() == {network} and variants["networks", "a"][network].settings == {}


class Nothing:
    """A graph in which nothing is behind anything."""

    @staticmethod
    def behind(files):
        return {}


def folded(jobs, found, variants=None, nodes=()):
    plan = SimpleNamespace(nodes={node.folder: node for node in nodes}, graph=Nothing)
    return why.fold(plan, jobs, found, defaultdict(dict, variants or {}))


def test_changed_code_is_told_once_for_each_file_with_its_functions():
    jobs = [job(f"results/codebooks/{name}.00000001") for name in "abcdef"]
    found = {one.folder: [why._of_code("quantisers.vq.train"), why._of_code("core.records.read_f32")] for one in jobs}
    found[jobs[0].folder] = [why._of_code("quantisers.vq.search"), why._of_code("quantisers.vq")]
    nodes = [stage("00000001", [], size=1)]
    new, differs, follows = folded(jobs, found, nodes=nodes)
    assert differs == [
        "a.00000001, b.00000001 and 4 more: rule: code of quantisers/vq.py has changed (search, train)",
        "b.00000001, c.00000001 and 3 more: rule: code of core/records.py has changed (read_f32)",
    ]
    assert (new, follows) == ([], [])


def test_inputs_that_are_there_already_are_told_by_what_differs_behind_them():
    """As after a change of a setting and back: the tables of before are there, and the page alone is made again."""
    before, now = stage("00000001", ["a"], size=8), stage("00000002", ["a"], size=16)
    page = job("results/x_wav", f"{now.folder}/vq.f32")
    found = {page.folder: [why._of_node(now.folder, "has changed", before.folder)]}
    variants = {("codebooks", "vq"): {before.folder: variant(before)}}
    assert folded([page], found, variants, [now])[1] == ["x: rule: size: 8 -> 16"]
    found = {page.folder: [why._of_node(now.folder, "has changed")]}
    assert folded([page], found, {}, [now])[1] == ["x: rule: input codebooks/vq has changed"]


@pytest.mark.parametrize(
    ("before", "now", "texts"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b: 1 -> 2"]),
        ({"outputs": [{"index": 3, "tag": "x"}]}, {"outputs": [{"index": 3, "tag": "y"}]}, ["tag of output 3: x -> y"]),
        ({"outputs": [{"index": 3}]}, {"outputs": [{"index": 3}, {"index": 5}]}, ["output 5 is new"]),
        ({"samples": ["a" * 30, "b" * 30]}, {"samples": ["a" * 30, "c"]}, [f"samples: c is new; {'b' * 30} is gone"]),
        ({"title": "x" * 60 + "a"}, {"title": "x" * 60 + "b"}, [f"title: ...{'x' * 10}a -> ...{'x' * 10}b"]),
        ({"nn": 1, "row": {"layers": "linear"}}, {"nn": 2, "row": {"layers": "conv"}}, ["nn: 1 -> 2"]),
        ({"sex": "m", "entry": {"sex": "m"}}, {"sex": "f", "entry": {"sex": "f"}}, ["sex: m -> f"]),
    ],
)  # fmt: skip
def test_a_setting_is_told_so_that_the_difference_is_seen(before, now, texts):
    assert [cause.text for cause in why._settings(before, now)] == texts


# --- how long it takes -----------------------------------------------------------------------------------


def write_benchmark(path, *seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("s\th:m:s\tmax_rss\n" + "".join(f"{value}\t0:00:01\t-\n" for value in seconds))


def test_a_time_is_that_of_the_same_name_else_of_the_kind_else_unknown(tmp_path):
    nothing = why.Work({}, defaultdict(dict))
    write_benchmark(tmp_path / "networks/a.00000001.tsv", 10)
    write_benchmark(tmp_path / "networks/a.00000002.tsv", 30)
    write_benchmark(tmp_path / "networks/ab.00000003.tsv", 100)
    write_benchmark(tmp_path / "one_wav.tsv", 3)
    write_benchmark(tmp_path / "report.tsv", 7)
    write_benchmark(tmp_path / "sweeps/broken.tsv", "NA")
    for name, seconds in (
        ("networks/a.0000000f.tsv", 20),
        ("networks/b.0000000f.tsv", 30),
        ("codebooks/a.0000000f.tsv", None),
        ("one_wav.tsv", 3),
        ("two_wav.tsv", 3),
        ("report.tsv", 7),
        ("sweeps/broken.tsv", None),
    ):
        assert why.estimate(str(tmp_path / name), nothing) == seconds, name
    assert why.estimate("", nothing) is None


def test_a_time_grows_with_epochs_and_with_the_frames_that_there_will_be(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train, corpus, features = (stages()[command] for command in ("train", "prepare-corpus", "features"))
    nodes, variants = {}, defaultdict(dict)
    for key, minutes, epochs in (("00000001", 0.5, 1), ("00000002", 5, 20)):
        made = [
            Node(corpus, "corpora", "c", key, {"minutes": minutes}, {}),
            Node(features, "features", "c", key, {}, {"model": [f"results/corpora/c.{key}/speech.raw"]}),
            Node(train, "networks", "n", key, {"epochs": epochs}, {"features": [f"results/features/c.{key}/b.f32"]}),
        ]
        for node in made:
            nodes[node.folder] = node
            variants[node.kind, node.name][node.folder] = why.Variant(node.settings, node.inputs, {}, 0.0)
    for folder, name in (("results/corpora/c.00000001", "speech.raw"), ("results/features/c.00000001", "b.f32")):
        Path(folder).mkdir(parents=True)
        Path(folder, name).write_bytes(bytes(800))
    Path("results/networks/n.00000001").mkdir(parents=True)
    Path("results/networks/n.00000001/training.json").write_text('{"seconds": 3}')
    write_benchmark(Path("results/benchmarks/networks/n.00000001.tsv"), 5)
    work = why.Work(nodes, variants)
    # 2 s to start, and 3 s for an epoch of half a minute.
    assert why.estimate("results/benchmarks/networks/n.00000001.tsv", work) == 5
    assert why.estimate("results/benchmarks/networks/n.00000002.tsv", work) == 2 + 3 * 20 * 10


@pytest.mark.parametrize(
    ("jobs", "seconds", "cores", "line"),
    [
        # A chain takes as long on any number of cores; what is beside it fills the others.
        ([job("a"), job("b", "a"), job("c", "b")], [60, 60, 60], 4, "3 jobs, about 180 core seconds: 3 min on 4 cores"),
        ([job(name) for name in "abcd"], [60] * 4, 2, "4 jobs, about 240 core seconds: 2 min to 2 min 30 s on 2 cores"),
        ([job("a"), job("b")], [30, 45], 1, "2 jobs, about 75 core seconds: 1 min 15 s on 1 core"),
        ([job("a", threads=2)], [40], 2, "1 job, about 80 core seconds: 40 s on 2 cores"),
        (
            [job("a"), job("b")],
            [None, 7200],
            1,
            "2 jobs, 1 of unknown time, the others about 7200 core seconds: 2 h on 1",
        ),
        ([job("a")], [None], 1, "1 job of unknown time"),
    ],
)
def test_the_total_is_in_core_seconds_and_between_two_bounds(jobs, seconds, cores, line):
    assert why.total(jobs, seconds, cores).startswith(line)


# --- with what a real run records ------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_run_records_what_is_told_of_the_next_one(copied, monkeypatch, capsys):
    monkeypatch.chdir(copied.folder)

    def told(overlay, target="results/240118_wav"):
        Path("overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
        why.explain(target, ["overlay.yaml"], [], 2, every=True)
        return capsys.readouterr().out.splitlines()

    assert told({}) == ["Nothing to be done: results/240118_wav is up to date."]
    overlay = {"networks": {"nn4_cat1": {"d": 8}}, "corpora": {"few": {"seed": 2}}}
    first, *lines = told(overlay)
    lines = lines[lines.index("All jobs:") + 1 :]
    assert len(lines) == sum(copied.run("-n", "results/240118_wav", overlay=overlay).rules.values())
    of = {line.split()[1].partition(".")[0]: line for line in lines}
    assert " d: 10 -> 8, input features/few_own has changed  " in of["networks/nn4_cat1"]
    assert " seed: 1 -> 2  " in of["corpora/few_own"]
    assert " k: 10 -> 8, input latents/few has changed  " in of["codebooks/nn4_vq_1"]
    assert "unknown" not in first + "".join(lines) and " core seconds: " in first
    # Another variant is made, and its place is then taken by the first one, of which all is there.
    overlay = copied.outputs(6, mbest=3)
    assert " mbest: 5 -> 3  " in {line.split()[0]: line for line in told(overlay) if line}["vq-search"]
    done = copied.run("--cores", 2, "results/240118_wav", overlay=overlay)
    assert done.status == 0, done.text
    line, *lines = told({})
    assert line.startswith("1 job, about ") and "  240118: page: mbest of output 6: 3 -> 5" in "\n".join(lines)
