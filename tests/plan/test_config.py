"""The blocks of the configuration, their one-line errors, and what a change of a setting makes anew."""

import copy
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import soundfile
import yaml
from support.configs import (
    ABSENT,
    COMPARED,
    CONFIG,
    OUTPUTS,
    SAMPLES,
    each_sample,
    edited,
    gathering,
    planned,
    redone,
    rows_of,
)

from mlquant.core import blocks, containers
from mlquant.core.errors import InputError
from mlquant.plan import config
from mlquant.plan.plan import Plan
from mlquant.quantisers.settings import Predictive
from mlquant.speech import archives
from mlquant.speech.settings import SeededChoice, SetShard

FROM_SEARCH = {"quantised", "decoded", "inferred", "synthesised", "measures", "experiments"}
ROOT = Path(__file__).resolve().parents[2]


# --- the schema ------------------------------------------------------------------------------------------


def test_the_configuration_of_the_repository_is_valid_and_its_plan_is_complete():
    raw = config.read(ROOT)
    plan = Plan(config.load(raw))
    published = plan.experiments["240118"]
    assert set(published.measured) == {"big_dog", "two_lines", "hts1a", "kristoff", "mmt1"}
    assert set(published.optional) == {"two_lines"}
    for outputs, anchors in published.measured.values():
        names = [f"{row['index']}_{row['tag']}" for row in outputs.settings["rows"]]
        assert names == ["1_out", "3_k80_y_hat", "5_k80_b_hat_nn4", "6_k80_b_hat_vq24", "7_k80_b_hat_vq12", "8_3200"]
        assert [row["bits_per_frame"] for row in outputs.settings["rows"]] == [None, None, None, 24, 12, 64]
        rates = {
            row["tag"]: row["frame_ms"] and row["bits_per_frame"] / row["frame_ms"] for row in anchors.settings["rows"]
        }
        modes = {"3200": 3.2, "2400": 2.4, "1600": 1.6, "1400": 1.4, "1300": 1.3, "1200": 1.2, "700C": 0.7}
        assert rates == {"original": None, "ideal_y": None} | modes


def test_every_input_of_a_plan_is_made_by_another_of_its_stages():
    plan = planned()
    made = {folder for folder in plan.nodes}
    consumed = {path for stage in plan.nodes.values() for paths in stage.inputs.values() for path in paths}
    assert consumed
    assert {path.rsplit("/", 1)[0] for path in consumed} <= made


MISTAKES = {
    "unknown key at the top": (("speach_dir", "x"), "config: unknown key 'speach_dir'", "'speech_dir'"),
    "unknown key of features": (
        ("features", {"floor_db": -80}),
        "config: features: unknown key 'floor_db'",
        "floor_dB",
    ),
    "unknown key of a source": (("sources.prompts.pakage", "x"), "sources.prompts: unknown key 'pakage'", "'package'"),
    "unknown key of a url": (
        ("sources.prompts.urls.0.sha", "x"),
        "sources.prompts.urls.0: unknown key 'sha'",
        "'sha256'",
    ),
    "unknown key of a sample": (("samples.ann.gender", "f"), "samples.ann: unknown key 'gender'", "nearest"),
    "unknown key of a corpus": (("corpora.voices.sead", 3), "corpora.voices: unknown key 'sead'", "'seed'"),
    "unknown key of a part": (
        ("corpora.voices.parts.men.minute", 3),
        "corpora.voices.parts.men: unknown key 'minute'",
        "'minutes'",
    ),
    "unknown key of a network": (("networks.nn4.epoch", 3), "networks.nn4: unknown key 'epoch'", "'epochs'"),
    "unknown key of a quantiser": (("quantisers.vq.stage", []), "quantisers.vq: unknown key 'stage'", "'stages'"),
    "unknown key of a codebook": (("quantisers.vq.stages.1.sise", 4), "vq.stages.1: unknown key 'sise'", "'size'"),
    "unknown key of an experiment": (
        ("experiments.240118.sample", []),
        "experiments.240118: unknown key 'sample'",
        "'samples'",
    ),
    "unknown key of an output": ((f"{OUTPUTS}.6.m_best", 5), f"{OUTPUTS}.6: unknown key 'm_best'", "'mbest'"),
    "a key that is no text": (("networks.nn4.True", 1), "networks.nn4: unknown key 'True'", "nearest"),
    "text for a number": (("networks.nn4.epochs", "many"), "networks.nn4.epochs: found 'many'", "whole number"),
    "a fraction for a whole number": (("networks.nn4.epochs", 2.5), "networks.nn4.epochs: found 2.5", "whole number"),
    "a block for a number": (("networks.nn4.lr", {"a": 1}), "networks.nn4.lr: found {'a': 1}", "number"),
    "text for a list": ((f"{OUTPUTS}.3.networks", "manifold"), f"{OUTPUTS}.3.networks: found 'manifold'", "list"),
    "text for a list of globs": (
        ("corpora.voices.parts.men.include", "m/*"),
        "corpora.voices.parts.men.include: found 'm/*'",
        "list",
    ),
    "a list for a block": (("networks", []), "config: networks: found []", "expected settings"),
    "an empty block": (("networks", None), "config: networks: is empty", "expected settings"),
    "an empty entry": (("networks.nn4", None), "networks.nn4: is empty", "expected settings"),
    "a missing setting": (("networks.nn4.lr", ABSENT), "networks.nn4.lr: is missing", "expected"),
    "no experiments": (("experiments", ABSENT), "config: experiments: is missing", "expected"),
    "a learning rate of zero": (("networks.nn4.lr", 0), "networks.nn4.lr: found 0", "more than 0"),
    "a negative seed": (("networks.nn4.seed", -1), "networks.nn4.seed: found -1", "at least 0"),
    "a gamma beyond 1": (("networks.nn4.gamma", 1.5), "networks.nn4.gamma: found 1.5", "at most 1"),
    "nothing held out": (("networks.nn4.held_out", 0), "networks.nn4.held_out: found 0", "more than 0"),
    "an unknown loss": (("networks.nn4.loss", "wlos"), "networks.nn4.loss: found 'wlos'", "'wloss'"),
    "an unknown optimiser": (("networks.nn4.optimiser", "adm"), "networks.nn4.optimiser: found 'adm'", "'adam'"),
    "an unknown process": ((f"{OUTPUTS}.1.process", "orig"), f"{OUTPUTS}.1.process: found 'orig'", "'original'"),
    "an unknown mode": ((f"{OUTPUTS}.8.mode", 3201), f"{OUTPUTS}.8.mode: found '3201'", "3200"),
    "a factor of voices out of range": (
        ("corpora.voices.parts.men.resample", [1.0, 3.0]),
        "corpora.voices.parts.men.resample.1: found 3.0",
        "at most 2",
    ),
    "a checksum that is none": (
        ("samples.ann.sha256", "abc"),
        "samples.ann.sha256: found 'abc'",
        "text that matches ^[0-9a-f]{64}$",
    ),
    "a tag with a slash": ((f"{OUTPUTS}.1.tag", "../out"), f"{OUTPUTS}.1.tag: found '../out'", "text that matches"),
    "a name with a space": (
        ("networks.my network", {}),
        "networks.my network: found the key 'my network'",
        "text that matches",
    ),
    "a codebook of 100": (("quantisers.vq.stages.0.size", 100), "vq.stages.0.size: found 100", "power of two"),
    "survivors of LBG training": (
        ("quantisers.vq.mbest", 5),
        "quantisers.vq: mbest goes with kind beam or predictive only",
        "lbg",
    ),
    "no survivors of beam training": (("quantisers.vq.kind", "beam"), "quantisers.vq.mbest: is missing", "expected"),
    "an unknown kind of quantiser": (("quantisers.vq.kind", "ball"), "quantisers.vq.kind: found 'ball'", "'beam'"),
    "no codebooks": (("quantisers.vq.stages", []), "quantisers.vq.stages: found []", "1 or more"),
    "no samples": (("experiments.240118.samples", []), "experiments.240118.samples: found []", "1 or more"),
    "no outputs": ((OUTPUTS, {}), f"{OUTPUTS}: found {{}}", "1 or more"),
    # names that refer to nothing
    "an unknown source of a sample": (("samples.ann.source", "promts"), "samples.ann.source: 'promts'", "'prompts'"),
    "an unknown source of a part": (
        ("corpora.voices.parts.men.source", "promts"),
        "corpora.voices.parts.men.source: 'promts' names no source",
        "'prompts'",
    ),
    "an unknown test set": (
        ("experiments.240118.test_set", "unsen"),
        "experiments.240118.test_set: 'unsen' names no test set",
        "",
    ),
    "an unknown source of a test set": (
        ("test_sets", {"mine": {"source": "promts"}}),
        "test_sets.mine.parts.all.source: 'promts' names no source",
        "'prompts'",
    ),
    "an unknown corpus": (("networks.nn4.corpus", "voice"), "networks.nn4.corpus: 'voice' names no corpus", "'voices'"),
    "an unknown network of a quantiser": (
        ("quantisers.vq.network", "nn5"),
        "quantisers.vq.network: 'nn5' names no network",
        "'nn4'",
    ),
    "an unknown network of an output": (
        (f"{OUTPUTS}.5.networks", ["nn4", "manifolt"]),
        f"{OUTPUTS}.5.networks.1: 'manifolt' names no network",
        "'manifold'",
    ),
    "an unknown quantiser": ((f"{OUTPUTS}.6.quantiser", "qv"), f"{OUTPUTS}.6.quantiser: 'qv' names no", "'vq'"),
    "an unknown sample": (
        ("experiments.240118.samples", ["ann", "bop"]),
        "experiments.240118.samples.1: 'bop' names no sample or file in speech/",
        "'bob'",
    ),
    # settings that contradict each other
    "a bottleneck without a width": (
        ("networks.nn4.d", ABSENT),
        "networks.nn4.d: is missing",
        "width of the bottleneck",
    ),
    "a width without a bottleneck": (("networks.manifold.d", 3), "networks.manifold.d: found 3", "no bottleneck"),
    "noise without a bottleneck": (
        ("networks.manifold.noise_var", 0.1),
        "networks.manifold.noise_var: found 0.1",
        "no bottleneck noise",
    ),
    "noise in a network that has none": (
        ("networks.nn4.nn", 2),
        "networks.nn4.noise_var: found 0.001",
        "no bottleneck",
    ),
    "an unknown network number": (("networks.nn4.nn", 8), "networks.nn4.nn: found 8", "6, 7 for autoencoder1"),
    "several frames in a network of one": (
        ("networks.manifold.ncat", 3),
        "networks.manifold.ncat: found 3",
        "one frame",
    ),
    "a manifold that does not normalise": (
        ("networks.manifold.norm", False),
        "networks.manifold.norm: found False",
        "normalises",
    ),
    "a sample of source and url": (("samples.ann.url", "https://x"), "samples.ann: has both source and url", "one"),
    "a sample of source without file": (("samples.ann.file", ABSENT), "samples.ann: has source without file", "both"),
    "an optional sample of a source": (("samples.ann.optional", True), "samples.ann: is optional", "url"),
    "a sample from nowhere": (("samples.may", {"sex": "f"}), "samples.may: has no source and no url", "speech/may.wav"),
    "a source from nowhere": (("sources.prompts", {}), "sources.prompts: has neither package nor urls", "at least one"),
    "a part of two origins": (
        ("corpora.voices.parts.men.b", "b.f32"),
        "corpora.voices.parts.men: has source and b",
        "exactly one of source, files and b",
    ),
    "a part without y for a manifold": (
        ("corpora.voices.parts.men", {"b": "b.f32"}),
        "corpora.voices.parts.men: has b without y",
        "manifold",
    ),
    "a folder of speech that is not there": (
        ("corpora.voices.parts.men", {"files": "no/such/folder"}),
        "corpora.voices.parts.men.files: no",
        "'no/such/folder'",
    ),
    "speakers of whom none is held out": (
        ("corpora.voices.parts.men.speakers", "m/(.)"),
        "corpora.voices.parts.men: has speakers without held_out_speakers and minutes_each",
        "one of them, or both",
    ),
    "minutes of each of whom nobody tells apart": (
        ("corpora.voices.parts.men.minutes_each", 2),
        "corpora.voices.parts.men: has minutes_each without speakers",
        "both or neither",
    ),
    "smoothing without a quantiser": (
        (f"{OUTPUTS}.5.smooth", 0.25),
        f"{OUTPUTS}.5: has smooth without a quantiser",
        "expected both",
    ),
    "a pause of a minute": (
        ("corpora.voices.parts.men.pause_ms", 60_000),
        "corpora.voices.parts.men.pause_ms: found 60000",
        "2000",
    ),
    "a held-out voice of an unknown source": (
        ("held_out_voices", {"eve": {"sex": "f", "source": "promts", "include": ["*"]}}),
        "held_out_voices.eve.source: 'promts'",
        "'prompts'",
    ),
    "a held-out voice that may be in an unknown source": (
        ("held_out_voices", {"eve": {"sex": "f", "source": "prompts", "include": ["*"], "also": {"promts": ["*"]}}}),
        "held_out_voices.eve.also: 'promts'",
        "'prompts'",
    ),
    "a set of held-out voices without such a table": (
        ("test_sets", {"unseen": {"held_out_voices": True}}),
        "test_sets.unseen.held_out_voices: the table is empty",
        "expected a voice",
    ),
    "a set of held-out voices with a choice of its own": (
        ("test_sets", {"unseen": {"held_out_voices": True, "include": ["*"]}}),
        "test_sets.unseen: has held_out_voices and include",
        "expected one of them",
    ),
    "a set of held-out voices in odd seconds": (
        ("test_sets", {"unseen": {"held_out_voices": True, "seconds": [8, 5]}}),
        "test_sets.unseen.seconds: found [8.0, 5.0]",
        "the lower end first",
    ),
    "a set of nothing": (
        ("test_sets", {"unseen": {"shards": 2}}),
        "test_sets.unseen: has no parts",
        "expected source, files, parts, or held_out_voices: true",
    ),
    "a set of files that are not there": (
        ("test_sets", {"own": {"files": "gone"}}),
        "test_sets.own.parts.all.files: no audio matches 'gone'",
        "expected wav",
    ),
    "a set with the sex of one speaker": (
        ("test_sets", {"own": {"source": "prompts", "sex": {"ann": "w"}}}),
        "test_sets.own.parts.all.sex.ann: found 'w'",
        "'m' or 'f'",
    ),
    "a held-out voice without a sex": (
        ("held_out_voices", {"eve": {"source": "prompts", "include": ["*"]}}),
        "held_out_voices.eve.sex",
        "is missing",
    ),
    "speakers without a group": (
        ("corpora.voices.parts.men", {"source": "prompts", "speakers": "m/.*", "held_out_speakers": 1}),
        "corpora.voices.parts.men.speakers: found 'm/.*'",
        "one group",
    ),
    "speakers by what is no regular expression": (
        ("corpora.voices.parts.men", {"source": "prompts", "speakers": "m/(", "held_out_speakers": 1}),
        "corpora.voices.parts.men.speakers: found 'm/('",
        "expected a regular expression",
    ),
    "speakers of ready-made features": (
        ("corpora.voices.parts.men", {"b": "b.f32", "y": "y.f32", "speakers": "(.)", "held_out_speakers": 1}),
        "corpora.voices.parts.men: has speakers and b",
        "speech that one job prepares",
    ),
    "speakers of a part that is held out": (
        (
            "corpora.voices.parts.men",
            {"source": "prompts", "speakers": "(.)", "held_out_speakers": 1, "held_out": True},
        ),
        "corpora.voices.parts.men: has held_out and held_out_speakers",
        "at most one",
    ),
    "a corpus that is all held out": (
        ("corpora.voices.parts", {"men": {"source": "prompts", "held_out": True}}),
        "corpora.voices.parts: all are held out",
        "one to train on",
    ),
    "a range with its ends exchanged": (
        ("corpora.voices.parts.men.noise", [30, 10]),
        "corpora.voices.parts.men.noise: found [30.0, 10.0]",
        "the lower end first",
    ),
    "one number for a range": (("corpora.voices.parts.men.gain", [3]), "parts.men.gain: found [3]", "2 or more"),
    "a quantiser of a network without a bottleneck": (
        ("quantisers.vq.network", "manifold"),
        "quantisers.vq.network: 'manifold'",
        "no bottleneck",
    ),
    "more stages than the quantiser has": ((f"{OUTPUTS}.6.stages", 4), f"{OUTPUTS}.6.stages: found 4", "has 3 stages"),
    "a quantiser of a network that is not in the chain": (
        (f"{OUTPUTS}.6.networks", ["manifold"]),
        f"{OUTPUTS}.6.quantiser",
        "'nn4'",
    ),
    "networks in the wrong order": (
        (f"{OUTPUTS}.5.networks", ["manifold", "nn4"]),
        f"{OUTPUTS}.5.networks.0: 'manifold' makes y_hat",
        "b_hat before the last",
    ),
    "a chain that ends in b_hat": (
        (f"{OUTPUTS}.5.networks", ["nn4"]),
        f"{OUTPUTS}.5.networks.0: 'nn4' makes b_hat",
        "y_hat from the last",
    ),
    "networks of an original": (
        (f"{OUTPUTS}.1.networks", ["manifold"]),
        f"{OUTPUTS}.1: networks",
        "vocoder only, found process original",
    ),
    "codec2 without a mode": ((f"{OUTPUTS}.8.mode", ABSENT), f"{OUTPUTS}.8.mode: is missing", "3200"),
    "a mode without codec2": (
        (f"{OUTPUTS}.1.mode", 3200),
        f"{OUTPUTS}.1: mode goes with process codec2 only",
        "original",
    ),
    "a list of outputs, as there was": (
        (OUTPUTS, [{"index": 1, "tag": "out", "process": "original"}]),
        f"{OUTPUTS}: found a list",
        "by index: for each, in place of '- index: 6' write '6:'",
    ),
    "an output with an index as there was": ((f"{OUTPUTS}.1.index", 1), f"{OUTPUTS}.1: index is no longer a key", "6:"),
    "an index that is none": ((f"{OUTPUTS}.six", {}), f"{OUTPUTS}.six: found the key 'six'", "whole number"),
    "the old name of a postfilter": ((f"{OUTPUTS}.6.expand", 1.2), f"{OUTPUTS}.6: expand is now called", "postfilter"),
    "the old name of a reset": (("quantisers.vq.stretch", 5), "quantisers.vq: stretch is now called", "reset_every"),
    "test samples forbidden by hand": (
        ("corpora.voices.parts.men.forbid", ["1" * 64]),
        "corpora.voices.parts.men: forbid is no longer a key",
        "the program itself refuses test samples",
    ),
    "an unknown key of what parts have in common": (
        ("corpora.voices.parts_with", {"minute": 3}),
        "corpora.voices.parts_with: unknown key 'minute'",
        "'minutes'",
    ),
    "an unknown key of parts once more": (
        ("corpora.voices.parts_again", {"low": {"resampel": [0.9]}}),
        "corpora.voices.parts_again.low: unknown key 'resampel'",
        "'resample'",
    ),
    "no settings of parts": (("corpora.voices.parts_with", [1]), "corpora.voices.parts_with: found [1]", "settings"),
    "an entry like one that is not there": (
        ("networks.nn4.like", "manifolt"),
        "networks.nn4.like: 'manifolt' names no network",
        "'manifold'",
    ),
    "an entry like itself": (("networks.nn4.like", "nn4"), "networks.nn4.like: found 'nn4'", "from 'nn4' itself"),
    "an entry like what is no name": (("networks.nn4.like", ["nn4"]), "networks.nn4.like: found ['nn4']", "name of a"),
    "a sweep of a network that is not there": (
        ("sweeps", {"s": {"base": {"like": "nn5"}, "rows": {"a": {}}}}),
        "sweeps.s.base.like: 'nn5' names no network",
        "'nn4'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_key_and_what_was_expected(mistake):
    planned()  # without the mistake all is well
    assert_refused(planned, *MISTAKES[mistake])


def lines_of(*edits):
    """The lines in which the plan of an edited configuration is refused."""
    with pytest.raises(InputError) as caught:
        compared(*edits)
    return str(caught.value).split("\n")


def test_of_many_mistakes_twenty_are_told_and_how_many_more_there_are():
    lines = lines_of(*((f"networks.nn4.x{i}", 1) for i in range(25)))
    assert len(lines) == 21 and lines[-1] == "and 5 more"


def test_mistakes_of_all_sections_are_told_at_once_and_what_follows_from_them_is_not():
    edits = {
        "sources.prompts.urls": 3,
        "samples.bob.source": "promts",
        "networks.nn4.lr": ABSENT,
        "networks.manifold.corpus": "voice",
        "quantisers.vq.stages": [],
        f"{OUTPUTS}.3.networks": ["manifolt"],
        f"{OUTPUTS}.5.mbest": 3,
        "sweeps.rates.rows.slow": None,
        "studies.demo.sample": "bop",
    }
    places = {key.replace("5.mbest", "5").replace("3.networks", "3.networks.0") for key in edits}
    assert sorted(line.split(": ")[1] for line in lines_of(*edits.items())) == sorted(places)


def test_samples_that_cannot_be_planned_are_told_at_once():
    lines = lines_of(("samples.ann", {"sex": "f"}), ("studies.demo.sample", "may"), ("samples.may", {}))
    assert {line.split(":")[1].strip() for line in lines} == {"samples.ann", "samples.may"}


@pytest.mark.parametrize("index", ["06", "6.0", "+6", "6_0"])
def test_an_index_is_written_in_one_way_only(index):
    assert lines_of(
        (OUTPUTS, {6: {"tag": "a", "process": "original"}, index: {"tag": "b", "process": "original"}})
    ) == [f"config: {OUTPUTS}: found the index {index}, expected as in 6"]


def assert_refused(plan_of, edit, where, expected):
    """The plan of an edited configuration ends in one line that names a place and says, after it, what is wrong."""
    with pytest.raises(InputError) as caught:
        plan_of(edit)
    line, *others = str(caught.value).split("\n")
    assert all(one.startswith("config: ") for one in (line, *others))
    assert where in line
    assert expected in line.split(where, 1)[1]


COMPARED_MISTAKES = {
    "an unknown key of a row": (("sweeps.rates.rows.slow.learn", 1), "sweeps.rates.rows.slow: unknown key 'learn'", ""),
    "an unknown key of a sweep": (("sweeps.rates.row", 1), "sweeps.rates: unknown key 'row'", "'rows'"),
    "a row that contradicts itself": (
        ("sweeps.rates.rows.slow", {"nn": 9}),
        "rates.rows.slow: nn: found 9",
        "5, 6 for autoencoder4",
    ),
    "a row without a rate": (("sweeps.rates.base.lr", ABSENT), "sweeps.rates.rows.plain: lr: is missing", "expected"),
    "a sweep without rows": (("sweeps.rates.rows", {}), "sweeps.rates.rows: found {}", "1 or more"),
    "a row's unknown corpus": (("sweeps.rates.rows.slow.corpus", "voice"), "rows.slow.corpus: 'voice'", "'voices'"),
    "an unknown kind of study": (("studies.noise.kind", "nois"), "studies.noise.kind: found 'nois'", "'noise'"),
    "an unknown key of a study": (("studies.noise.noise", 1), "studies.noise: unknown key 'noise'", "noise_vars"),
    "an unknown quantiser of a study": (("studies.noise.quantiser", "qv"), "noise.quantiser: 'qv' names no", "'vq'"),
    "an unknown network of a study": (("studies.latents.network", "nn5"), "latents.network: 'nn5' names no", "'nn4'"),
    "an unknown sample of a study": (("studies.demo.sample", "bop"), "studies.demo.sample: 'bop' names no", "'bob'"),
    "latents of a network without any": (("studies.latents.network", "manifold"), "latents.network", "no bottleneck"),
    "more stages than there are": (("studies.survivors.stages", [2, 4]), "survivors.stages: found 4", "3 stages"),
    "a demo of a network to y": (("studies.demo.network", "manifold"), "studies.demo.network: 'manifold'", "b_hat"),
    "a manifold that makes b_hat": (("studies.channel.manifold", "nn4"), "studies.channel.manifold: 'nn4'", "y_hat"),
    "symbols of an odd number of latents": (("studies.channel.d", [5]), "studies.channel.base.d5: d: found 5", "even"),
    "a limit that is no size": (("max_entries", 100), "config: max_entries: found 100", "power of two"),
    "a limit of no epochs": (("max_epochs", 0), "config: max_epochs: found 0", "more than 0"),
}


@pytest.mark.parametrize("mistake", COMPARED_MISTAKES)
def test_a_mistake_in_a_sweep_or_a_study_is_one_line_too(mistake):
    assert_refused(compared, *COMPARED_MISTAKES[mistake])


def test_noise_at_inference_goes_on_one_bottleneck_and_not_beside_a_quantiser():
    plan = planned((f"{OUTPUTS}.5.noise_var", 0.01))
    row = rows_of(plan, "ann")[2]
    noisy = [stage for stage in plan.nodes.values() if stage.kind == "inferred" and stage.settings["noise_var"]]
    assert {stage.name for stage in noisy} == each_sample("*_nn4")
    assert all(stage.settings == {"noise_var": 0.01, "seed": 1} for stage in noisy)
    assert row["files"]["b_hat"] in {stage.file("hat.f32") for stage in noisy}
    seeded = planned((f"{OUTPUTS}.5.noise_var", 0.01), (f"{OUTPUTS}.5.seed", 2))
    assert redone(plan, seeded) >= each_sample("inferred/*_nn4")
    for edit in ((f"{OUTPUTS}.3.noise_var", 0.01), (f"{OUTPUTS}.6.noise_var", 0.01), (f"{OUTPUTS}.1.noise_var", 0.01)):
        with pytest.raises(InputError, match="noise_var"):
            planned(edit)


def test_a_network_that_takes_y_starts_a_chain():
    network = {"corpus": "voices", "family": "autoencoder2", "nn": 1, "d": 4, "lr": 1e-3, "epochs": 2}
    output = {"tag": "ae2", "process": "vocoder", "networks": ["ae2"]}
    plan = planned(("networks.ae2", network), (OUTPUTS, {5: output}))
    (stage,) = [stage for stage in plan.nodes.values() if (stage.kind, stage.name) == ("inferred", "ann_ae2")]
    assert [Path(path).name for path in stage.inputs["features"]] == ["y.f32"]
    assert stage.inputs["energy"] == stage.inputs["features"]
    with pytest.raises(InputError, match="takes y, expected one that takes b_hat"):
        planned(("networks.ae2", network), (OUTPUTS, {5: {**output, "networks": ["nn4", "ae2"]}}))


# --- sweeps and studies ----------------------------------------------------------------------------------


def compared(*edits):
    return Plan(config.load(edited(*edits, base=COMPARED)))


def test_a_sweep_has_a_variant_for_each_row_and_seed():
    variants = {variant["variant"]: variant for variant in compared().sweeps["rates"].settings["variants"]}
    found = {name: (variant["settings"]["lr"], variant["settings"]["seed"]) for name, variant in variants.items()}
    assert found == {"plain": (1e-2, 1), "plain_seed2": (1e-2, 2), "slow": (1e-3, 1), "slow_seed2": (1e-3, 2)}
    assert variants["slow_seed2"]["label"] == "slow: lr 0.001, seed2" and variants["plain"]["label"] == "plain"
    assert len({variant["folder"] for variant in variants.values()}) == 4


def test_a_changed_row_trains_its_variant_only():
    before = compared()
    assert redone(before, compared(("sweeps.rates.rows.slow.lr", 1e-4))) == {
        "networks/rates_slow",
        "networks/rates_slow_seed2",
    }
    assert redone(before, compared(("sweeps.rates.rows.deep", {"nn": 2}))) == {
        "networks/rates_deep",
        "networks/rates_deep_seed2",
    }
    assert redone(before, compared(("sweeps.rates.title", "new"), ("sweeps.rates.rows.slow", ABSENT))) == set()


def test_a_variant_that_an_experiment_has_is_trained_once():
    raw = edited(base=COMPARED)
    raw["sweeps"]["widths"] = {"base": raw["networks"]["nn4"], "rows": {"d10": {}, "d12": {"d": 12}}}
    plan = Plan(config.load(raw))
    assert redone(compared(), plan) == {"networks/widths_d12"}
    assert plan.sweeps["widths"].settings["variants"][0]["folder"] == plan.graph.networks["nn4"].folder


def test_limits_hold_for_every_training_corpus_and_codebook():
    plan = compared(("max_epochs", 2), ("max_minutes", 0.5), ("max_entries", 32))
    stages = {kind: [s.settings for s in plan.nodes.values() if s.kind == kind] for kind in ("networks", "corpora")}
    assert {settings["epochs"] for settings in stages["networks"]} == {2}
    assert {settings["minutes"] for settings in stages["corpora"]} == {0.5}
    sizes = {stage.name: stage.settings["m"] for stage in plan.nodes.values() if stage.kind == "codebooks"}
    assert sizes == {"vq_1": 16, "vq_2": 32, "vq_3": 32}
    assert all(variant["settings"]["epochs"] == 2 for variant in plan.sweeps["rates"].settings["variants"])


def test_what_sweeps_and_studies_take_is_made_by_stages_and_named_in_their_settings():
    plan = compared()
    assert plan.studies.keys() == {"noise", "against", "latents", "survivors", "channel", "demo"}
    for summary in (*plan.sweeps.values(), *plan.studies.values()):
        assert summary.files
        assert {path.rsplit("/", 1)[0] for path in summary.files} <= plan.nodes.keys()
        text = plan.params(("mlquant.studies.stages:study",), summary.settings)
        assert all(path.rsplit("/", 1)[0] in text for path in summary.files)
    networks = plan.studies["channel"].settings["networks"]
    assert [(network["d"], network["snr_dB"]) for network in networks] == [
        (d, snr) for d in (4, 6) for snr in (None, 0, 2.5)
    ]
    trained = [plan.nodes[network["weights"].rsplit("/", 1)[0]].settings["noise_var"] for network in networks]
    assert trained == pytest.approx(2 * [0, 0.5, 0.5 / 10**0.25], rel=1e-5)


def test_the_original_experiments_sweeps_and_studies_are_in_the_configuration():
    plan = Plan(config.load(config.read(ROOT)))
    tags = {
        name: [f"{output['index']}_{output['tag']}" for output in experiment.tables.settings["outputs"]]
        for name, experiment in plan.experiments.items()
    }
    noisy = ["1_out", "3_y_hat", "5_y_hat_ae3", "6_y_hat_ae3_1e-3", "7_y_hat_ae3_3e-3", "8_3200"]
    assert tags["240104"] == ["1_out", "3_k80_y_hat", "4_k80_b_hat_nn2", "8_3200"]
    assert tags["240121A"] == tags["240121B"] == noisy
    assert tags["240125"] == ["1_out", "3_y_hat", "5_y_hat_ae3", "6_y_hat_ae3_vq24", "8_3200"]
    assert tags["240125A"] == ["1_out", "3_y_hat", "5_y_hat_ae2", "8_3200"]
    assert set(plan.experiments["240125"].optional) == {"two_lines", "vk5dgr_testing_8k"}
    rows = {name: len(sweep.settings["variants"]) for name, sweep in plan.sweeps.items()}
    assert [rows[f"auto_test_{group}"] for group in "abcde"] == [8, 10, 7, 5, 5]
    assert {"gamma", "epochs", "bottleneck"} <= rows.keys()
    assert plan.studies.keys() >= {"noise", "uniform_vq", "latents", "analog", "vq", "basic", "dim_reduction"}
    analysed = [stage.name for stage in plan.nodes.values() if stage.kind == "models"]
    assert len(analysed) == len(set(analysed)), "each sample and part of a corpus is analysed once"


def test_the_experiment_of_the_readme_is_valid(tmp_path):
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("`wide.yaml`:\n\n")[1].split("\n\nand")[0]
    (own := tmp_path / "wide.yaml").write_text(textwrap.dedent(block), encoding="utf-8")
    rows = rows_of(Plan(config.load(config.read(ROOT, [own]))), "big_dog", "wide")
    assert [row["bits_per_frame"] for row in rows] == [None, 12]


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_file_that_holds_no_mapping_is_one_line(raw):
    with pytest.raises(InputError, match=r"^config: (found .*|is empty), expected settings$"):
        config.load(raw)


@pytest.mark.parametrize(
    "edit",
    [
        (f"{OUTPUTS}.5.stages", 2),  # the quantiser was forgotten: unquantised speech under the name of quantised
        ("networks.nn4.epochs", True),
        ("networks.nn4.lr", float("inf")),
        ("networks.nn4.thresh", float("nan")),
        ("corpora.voices.parts.men.minutes", float("inf")),
        (f"{OUTPUTS}.6.networks", ["nn4", "nn4", "manifold"]),  # would be quantised twice, and counted once
        ("experiments.240118.samples", ["ann", "ann"]),
        ("experiments", {}),
    ],
    ids=lambda edit: edit[0],
)
def test_a_mistake_is_not_accepted(edit):
    with pytest.raises(InputError):
        planned(edit)


def test_names_and_tags_that_yaml_reads_as_numbers_are_text():
    unquoted = CONFIG.replace('"240118":', "240118:")
    assert 240118 in yaml.safe_load(unquoted)["experiments"]
    plan = Plan(config.load(yaml.safe_load(unquoted)))
    assert list(plan.experiments) == ["240118"]
    assert plan.nodes.keys() == planned().nodes.keys()
    assert plan.experiments["240118"].tables.settings["outputs"][5]["tag"] == "3200"


def test_anchors_that_would_fill_the_memory_written_out_are_one_line():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(InputError, match="config"):
        config.load(yaml.safe_load("\n".join(lines)))


def test_a_number_that_yaml_reads_as_text_is_that_number():
    text = yaml.safe_load(CONFIG.replace("lr: 1.0e-3", "lr: 1e-3"))
    assert text["networks"]["nn4"]["lr"] == "1e-3"
    assert Plan(config.load(text)).nodes.keys() == planned().nodes.keys()


def test_a_default_that_is_written_out_changes_no_key():
    plan = planned(("networks.nn4.gamma", 0.5), ("networks.nn4.batch", 256), ("features", {"floor_dB": -80}))
    assert plan.nodes.keys() == planned().nodes.keys()


def test_the_page_shows_the_bottleneck_that_is_quantised_and_how():
    plan = planned().experiments["240118"]
    bottleneck = plan.tables.settings["bottleneck"]
    assert bottleneck["network"] == "nn4" and [Path(path).name for path in bottleneck["codebooks"]] == 2 * ["vq.f32"]
    choices = [(choice["index"], choice["stages"], choice["mbest"]) for choice in bottleneck["choices"]]
    assert choices == [(6, 2, 5), (7, 1, 1)]
    assert plan.latents.keys() == set(SAMPLES)
    for name, (outputs, anchors) in plan.measured.items():
        assert (outputs.settings["latents"], anchors.settings["latents"]) == (plan.latents[name], None)


def test_the_page_takes_what_outputs_with_smoothing_sent():
    plan = planned((f"{OUTPUTS}.6.smooth", 0.25))
    made = plan.experiments["240118"]
    first, second = made.tables.settings["bottleneck"]["choices"]
    assert first["smooth"] == 0.25 and "smooth" not in second and first["sent"].keys() == set(SAMPLES)
    for name, path in first["sent"].items():
        assert made.sent[name] == [path] and plan[path.rpartition("/")[0]].settings["smooth"] == 0.25


def test_a_test_set_is_in_the_configuration_of_its_experiment_and_its_speech_on_the_page():
    entry = {"mine": {"parts": {"z": {"source": "prompts", "sex": "f"}, "a": {"source": "prompts", "sex": "m"}}}}
    edits = (("test_sets", entry), ("experiments.240118.test_set", "mine"))
    plan = planned(*edits)
    made = plan.experiments["240118"]
    entries = made.tables.settings["config"]
    again = Plan(config.load(edited(("samples", edited()["samples"]), base=yaml.safe_dump(entries, sort_keys=False))))
    assert [*entries["test_sets"]["mine"]["parts"]] == ["z", "a"]
    assert again.experiments["240118"].tables.folder == made.tables.folder
    in_set = made.tables.settings["measured_in_set"]
    speech = [*in_set["speech"], *(path for output in in_set["outputs"] for path in output["speech"])]
    assert len(speech) == 7 * 4 and {*speech, *in_set["utterances"]} <= {*made.on_page}
    assert not any(path.endswith("speech.raw") for path in made.tables.inputs["of_set"])


def test_without_a_quantiser_the_page_shows_the_last_bottleneck_and_without_one_none():
    outputs = edited()["experiments"]["240118"]["outputs"]
    plan = planned((OUTPUTS, {index: outputs[index] for index in (1, 3, 5)}))
    bottleneck = plan.experiments["240118"].tables.settings["bottleneck"]
    assert (bottleneck["network"], bottleneck["codebooks"], bottleneck["choices"]) == ("nn4", [], [])
    assert {path.rsplit("/", 1)[0] for path in plan.experiments["240118"].latents.values()} <= plan.nodes.keys()
    plan = planned((OUTPUTS, {index: outputs[index] for index in (1, 3)}))
    assert plan.experiments["240118"].tables.settings["bottleneck"] is None
    assert plan.experiments["240118"].latents == {}


def test_published_wavs_are_measured_where_they_are_and_a_folder_without_any_is_refused():
    named = ("experiments.240118.published", "theirs")
    with pytest.raises(InputError, match=r"experiments\.240118\.published: theirs holds no wav of the experiment's"):
        planned(named)
    Path("theirs").mkdir()
    Path("theirs/ann_6_vq2.wav").touch()
    Path("theirs/ann_9_other.wav").touch()
    before, after = planned(), planned(named)
    found = {row["index"]: row["files"].get("published") for row in rows_of(after, "ann")}
    assert found == {1: None, 3: None, 5: None, 6: "theirs/ann_6_vq2.wav", 7: None, 8: None}
    assert redone(before, after) == {"measures/240118_ann", "experiments/240118"}


# --- keys: parameters ------------------------------------------------------------------------------------


def test_a_setting_of_the_manifold_redoes_it_and_what_comes_through_it():
    assert redone(planned(), planned(("networks.manifold.lr", 2e-3))) == {
        "networks/manifold",
        "figures/manifold",
        "experiments/240118",
    } | each_sample("inferred/*_manifold", "synthesised/*", "measures/240118_*")


def test_the_width_of_the_bottleneck_redoes_its_network_and_not_the_manifold():
    before, after = planned(), planned(("networks.nn4.d", 8))
    assert redone(before, after) == {
        "networks/nn4",
        "figures/nn4",
        "experiments/240118",
        "latents/voices",
        "codebooks/vq_1",
        "codebooks/vq_2",
    } | each_sample(
        "latents/*_nn4",
        "quantised/*_vq",
        "decoded/*_nn4",
        "inferred/*_nn4",
        "inferred/*_manifold",
        "synthesised/*",
        "measures/240118_*",
    )
    assert before.graph.networks["manifold"] == after.graph.networks["manifold"]


def test_smoothing_reaches_the_search_of_its_output_alone_and_none_changes_no_key():
    before, after = planned(), planned((f"{OUTPUTS}.6.smooth", 0.25))
    searches = [node for node in after.nodes.values() if node.kind == "quantised"]
    assert sorted(node.settings.get("smooth", 0) for node in searches) == sorted(
        [0.25] * len(SAMPLES) + [0] * (len(searches) - len(SAMPLES))
    )
    assert redone(before, planned((f"{OUTPUTS}.6.smooth", 0.0))) <= {"experiments/240118"}, "what it records alone"
    assert {name.split("/")[0] for name in redone(before, after)} <= FROM_SEARCH


def test_smoothing_is_of_a_quantiser_of_every_vector_on_its_own():
    predictive = {"kind": "predictive", "mbest": 2, "predict": 0.5}
    for changes in (predictive, {"interval_ms": 20}):
        edits = [(f"quantisers.vq.{key}", value) for key, value in changes.items()]
        with pytest.raises(InputError, match=rf"{OUTPUTS}\.6\.smooth: 'vq' predicts, or does not send every vector"):
            planned((f"{OUTPUTS}.6.smooth", 0.25), *edits)


def test_mbest_redoes_one_search_of_each_sample_and_what_follows():
    before, after = planned(), planned((f"{OUTPUTS}.6.mbest", 3))
    expected = {"experiments/240118"} | each_sample(
        "quantised/*_vq", "decoded/*_nn4", "inferred/*_manifold", "synthesised/*", "measures/240118_*"
    )
    assert redone(before, after) == expected
    assert len(after.nodes.keys() - before.nodes.keys()) == len(expected)


def test_a_postfilter_redoes_the_speech_of_its_output_and_what_follows():
    before, after = planned(), planned((f"{OUTPUTS}.6.postfilter", 1.2))
    assert redone(before, after) == {"experiments/240118"} | each_sample("synthesised/*", "measures/240118_*")
    assert {stage.command for stage in after.nodes.values() if stage.settings == {"postfilter": 1.2}} == {"synth"}
    with pytest.raises(InputError, match="postfilter goes with process vocoder"):
        planned((f"{OUTPUTS}.1.postfilter", 1.2))


FROM_SEARCH = {"quantised", "decoded", "inferred", "synthesised", "measures", "experiments"}


def test_a_third_stage_trains_one_codebook():
    before, after = planned(), planned((f"{OUTPUTS}.6.stages", 3))
    assert {name for name in redone(before, after) if "/vq_" in name or "networks" in name} == {"codebooks/vq_3"}
    assert before.nodes.keys() - after.nodes.keys() == {
        folder for folder, stage in before.nodes.items() if folder not in after.nodes and stage.kind in FROM_SEARCH
    }


def test_the_second_codebook_leaves_the_first_and_what_uses_only_that():
    before, after = planned(), planned(("quantisers.vq.stages.1.seed", 2))
    assert {name for name in redone(before, after) if "codebooks" in name} == {"codebooks/vq_2"}
    assert rows_of(after, "ann")[4]["files"]["wav"] == rows_of(before, "ann")[4]["files"]["wav"]


def test_later_stages_of_a_beam_quantiser_take_the_latents_and_all_codebooks_before_them():
    before, beam = planned((f"{OUTPUTS}.6.stages", 3)), beam_of(5)
    books = {stage.name: stage for stage in beam.nodes.values() if stage.kind == "codebooks"}
    latents = books["vq_1"].inputs["train"]
    assert books["vq_1"].folder in before.nodes, "the first stage is that of an LBG quantiser"
    after = [books[name].file("vq.f32") for name in ("vq_1", "vq_2")]
    assert books["vq_2"].inputs == {"train": latents, "after": after[:1]}
    assert books["vq_3"].inputs == {"train": latents, "after": after}
    assert "mbest" not in books["vq_1"].settings and books["vq_3"].settings["mbest"] == 5


def test_the_survivors_of_beam_training_leave_its_first_stage():
    assert {name for name in redone(beam_of(5), beam_of(4)) if "codebooks" in name} == {
        "codebooks/vq_2",
        "codebooks/vq_3",
    }


def beam_of(mbest):
    """A plan with all three stages of a quantiser in use, trained on so many survivors."""
    return planned((f"{OUTPUTS}.6.stages", 3), ("quantisers.vq.kind", "beam"), ("quantisers.vq.mbest", mbest))


def test_a_codebook_that_no_output_uses_yet_changes_no_key():
    assert planned(("quantisers.vq.stages.2.size", 128)).nodes.keys() == planned().nodes.keys()


def test_a_new_sample_leaves_every_stage_of_the_others():
    before = planned(("experiments.240118.samples", ["ann", "bob"]))
    after = planned()
    assert {name for name in redone(before, after) if "may" not in name} == {"experiments/240118"}
    assert {name for name in redone(after, before)} == {"experiments/240118"}


def test_the_minutes_of_one_part_leave_the_other_part():
    new = redone(planned(), planned(("corpora.voices.parts.men.minutes", 3)))
    assert {f"{kind}/voices_men" for kind in ("corpora", "models", "features")} <= new
    assert {"networks/manifold", "networks/nn4", "latents/voices", "codebooks/vq_1"} <= new
    assert not any("women" in name or name.startswith(("sources", "samples", "models/ann")) for name in new)


def test_the_floor_of_the_features_leaves_analysis_and_anchors():
    kinds = {name.split("/")[0] for name in redone(planned(), planned(("features", {"floor_dB": -60})))}
    assert "features" in kinds and "networks" in kinds
    assert not kinds & {"sources", "optional_sources", "samples", "corpora", "models", "resynthesised", "anchors"}


def test_a_url_or_checksum_redoes_the_source_and_what_is_cut_from_it():
    new = redone(planned(), planned(("sources.prompts.urls.0.sha256", "0" * 64)))
    assert {"sources/prompts", "samples/ann", "samples/bob", "corpora/voices_men"} <= new
    assert "samples/may" not in new


def test_legends_titles_and_voices_redo_no_wav():
    edits = [("experiments.240118.title", "new"), (f"{OUTPUTS}.6.processing", "new"), ("samples.ann.sex", "m")]
    before, after = planned(), planned(*edits)
    assert redone(before, after) == {"measures/240118_ann", "measures/ann_anchors", "experiments/240118"}
    assert gathering(before) != gathering(after)


def test_a_parameter_changed_back_restores_every_key():
    before = planned()
    for edit in (("networks.nn4.d", 8), (f"{OUTPUTS}.6.mbest", 3), ("corpora.voices.seed", 2)):
        assert planned(edit).nodes.keys() != before.nodes.keys()
        assert planned().nodes == before.nodes


def test_entries_with_equal_settings_share_one_stage():
    plan = planned()
    twin = edited()
    twin["networks"]["twin"] = copy.deepcopy(twin["networks"]["nn4"])
    twin["experiments"]["other"] = copy.deepcopy(twin["experiments"]["240118"])
    shared = Plan(config.load(twin))
    assert shared.graph.networks["twin"] is shared.graph.networks["nn4"]
    assert redone(plan, shared) == {"experiments/other"}, "not even the measures"
    twin["networks"]["twin"]["seed"] = 2
    assert Plan(config.load(twin)).graph.networks["twin"].key != shared.graph.networks["nn4"].key


def test_keys_are_the_same_in_every_process():
    script = "import sys, yaml; from mlquant.plan.config import load; from mlquant.plan.plan import Plan\n"
    script += "print(*Plan(load(yaml.safe_load(sys.stdin))).nodes, sep='\\n')"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=CONFIG,
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
        assert done.stdout.split() == list(planned().nodes)


def test_a_folder_that_the_configuration_does_not_make_is_named_with_the_nearest():
    plan = planned()
    wanted = plan.graph.networks["nn4"].folder
    with pytest.raises(InputError, match=rf"nothing in the configuration makes it.*{wanted}"):
        plan[wanted[:-1]]


# --- speech of the user's own ----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".raw", ".WAV", ".mp3", ".Ogg", ".opus", ".aiff"])
def test_a_file_in_the_speech_folder_wins_over_a_source(suffix):
    before = planned()
    own = Path(f"speech/may{suffix}")
    own.parent.mkdir()
    own.touch()
    after = planned()
    assert {name for name in redone(before, after) if "may" not in name} == {"experiments/240118"}
    (speech,) = [stage for stage in after.nodes.values() if (stage.kind, stage.name) == ("samples", "may")]
    assert speech.inputs == {"speech": [str(own)]}
    assert not after.experiments["240118"].optional, "it is there, so it is no longer optional"
    assert not any(stage.kind == "optional_sources" for stage in after.nodes.values())
    own.unlink()
    assert planned().nodes == before.nodes


def test_a_sample_needs_no_entry_when_its_file_is_in_the_speech_folder():
    Path("mine").mkdir()
    Path("mine/dan.wav").touch()
    plan = planned(("speech_dir", "mine"), ("experiments.240118.samples", ["dan"]))
    (row, *_) = rows_of(plan, "dan")
    assert row["files"]["wav"].startswith("results/resynthesised/dan.")


@pytest.mark.parametrize("suffix", containers.SUFFIXES)
def test_every_suffix_that_is_read_names_a_sample_and_a_file_of_a_corpus(suffix):
    Path("speech").mkdir()
    Path(f"speech/dan{suffix}").touch()
    Path(f"speech/ann{suffix}").touch()
    plan = planned(("experiments.240118.samples", ["dan"]), ("corpora.voices.parts.men", {"files": "speech"}))
    (sample,) = [stage for stage in plan.nodes.values() if (stage.kind, stage.name) == ("samples", "dan")]
    assert sample.inputs == {"speech": [f"speech/dan{suffix}"]}
    (corpus,) = [stage for stage in plan.nodes.values() if stage.name == "voices_men" and stage.kind == "corpora"]
    assert corpus.inputs == {"own": [f"speech/ann{suffix}", f"speech/dan{suffix}"]}


def test_every_format_of_libsndfile_has_its_suffix():
    formats = {f".{name.lower()}" for name in soundfile.available_formats()}
    assert formats - {*containers.SUFFIXES} == {".sd2"}  # which needs a second file


@pytest.mark.parametrize("name", ["dan.m4a", "dan.AAC", "may.wma", "dan.txt", "dan"])
def test_a_sample_whose_only_file_is_not_read_is_named(name):
    Path("speech").mkdir()
    Path("speech", name).touch()
    sample = ("experiments.240118.samples", [name.split(".")[0]])
    with pytest.raises(InputError, match=f"found speech/{name}, which is not read, expected wav, flac, ogg"):
        planned(sample)
    Path("speech", f"{name.split('.')[0]}.wav").touch()
    planned(sample)


@pytest.mark.parametrize("name", ["my dog", "dog.2", "höre"])
def test_a_file_whose_name_cannot_name_a_stage_is_refused(name):
    Path("speech").mkdir()
    Path(f"speech/{name}.wav").touch()
    with pytest.raises(InputError, match=name):
        planned(("experiments.240118.samples", [name]))


def test_two_outputs_of_one_published_name_are_refused():
    Path("speech").mkdir()
    for name in ("ann", "ann_1"):
        Path(f"speech/{name}.wav").touch()
    outputs = {
        1: {"tag": "2_x", "process": "original"},
        2: {"tag": "x", "process": "codec2", "mode": 1200},
    }
    with pytest.raises(InputError, match=r"outputs\.2: its file ann_1_2_x.wav is also that of outputs\.1"):
        planned(("experiments.240118.samples", ["ann", "ann_1"]), (OUTPUTS, outputs))


def test_own_training_files_count_by_their_paths():
    Path("voices/more").mkdir(parents=True)
    Path("voices/a.wav").write_bytes(b"one")
    part = ("corpora.voices.parts.men", {"files": "voices"})
    before = planned(part)
    Path("voices/a.wav").write_bytes(b"two")
    Path("voices/notes.txt").touch()
    assert planned(part).nodes == before.nodes
    Path("voices/more/b.flac").touch()
    after = planned(part)
    assert "corpora/voices_men" in redone(before, after)
    (corpus,) = [stage for stage in after.nodes.values() if stage.name == "voices_men" and stage.kind == "corpora"]
    assert corpus.inputs == {"own": ["voices/a.wav", "voices/more/b.flac"]}


def test_own_files_are_prepared_in_shards_that_share_the_minutes():
    Path("voices").mkdir()
    for name in "abcde":
        Path(f"voices/{name}.wav").touch()
    part = {"files": "voices", "minutes": 6, "shards": 2}
    plan = planned(("corpora.voices.parts", {"own": part}))
    shards = {stage.name: stage for stage in plan.nodes.values() if stage.kind == "corpora"}
    assert shards.keys() == {"voices_own_1", "voices_own_2"}
    assert shards["voices_own_1"].inputs["own"] == ["voices/a.wav", "voices/c.wav", "voices/e.wav"]
    assert shards["voices_own_2"].inputs["own"] == ["voices/b.wav", "voices/d.wav"]
    assert {stage.settings["minutes"] for stage in shards.values()} == {3}
    assert len(plan.graph.networks["manifold"].inputs["features"]) == 2
    for refused, reason in (({"shards": 6}, "at most 5"), ({"files": None, "source": "prompts"}, "shards goes with")):
        with pytest.raises(InputError, match=f"corpora.voices.parts.own.*{reason}"):
            planned(("corpora.voices.parts", {"own": part | refused}))


def test_ready_made_features_are_trained_on_as_they_are():
    plan = planned(("corpora.voices.parts", {"ready": {"b": "train_b20_ml.f32", "y": "train_y80_ml.f32"}}))
    assert plan.graph.networks["manifold"].inputs == {"features": ["train_b20_ml.f32"], "targets": ["train_y80_ml.f32"]}
    assert plan.graph.networks["nn4"].inputs == {"features": ["train_b20_ml.f32"]}
    assert not any(stage.kind == "corpora" for stage in plan.nodes.values())


def folders_behind(files):
    """The names of the corpora that features come from."""
    return [re.sub(r".*/(.*)\.\w+/.*", r"\1", path) for path in files]


def test_a_part_that_is_held_out_is_measured_on_and_nothing_is_trained_on_it():
    before, after = planned(), planned(("corpora.voices.parts.men.held_out", True))
    for network in ("manifold", "nn4"):
        assert "held_out_features" not in before.graph.networks[network].inputs
        inputs = after.graph.networks[network].inputs
        assert folders_behind(inputs["features"]) == ["voices_women"]
        assert folders_behind(inputs["held_out_features"]) == ["voices_men"]
    assert folders_behind(after.graph.networks["manifold"].inputs["held_out_targets"]) == ["voices_men"]
    assert "held_out_targets" not in after.graph.networks["nn4"].inputs
    (latents,) = [stage for stage in after.nodes.values() if stage.kind == "latents" and stage.name == "voices"]
    assert folders_behind(latents.inputs["features"]) == ["voices_women"]
    assert not {"corpora/voices_men", "features/voices_men", "networks/voices_women"} & redone(before, after)
    assert {"networks/manifold", "networks/nn4", "codebooks/vq_1"} <= redone(before, after)


def test_speakers_held_out_are_prepared_apart_and_as_they_are():
    changed = {"resample": [1.0, 1.1], "equalise": 4.0, "noise": [10, 30], "gain": [-20, 0]}
    part = {"source": "prompts", "minutes": 2, "speakers": r"m/(\w+)/", "held_out_speakers": 3, **changed}
    plan = planned(("corpora.voices.parts.men", part))
    made = {stage.name: stage.settings for stage in plan.nodes.values() if stage.kind == "corpora"}
    assert made.keys() == {"voices_women", "voices_men", "voices_men_held_out"}
    assert {key: made["voices_men"][key] for key in changed} == changed and "held_out" not in made["voices_men"]
    as_it_is = {"resample": [1.0], "equalise": 0.0, "noise": None, "gain": None}
    assert made["voices_men_held_out"] == made["voices_men"] | as_it_is | {"held_out": True}
    inputs = plan.graph.networks["manifold"].inputs
    assert folders_behind(inputs["features"]) == ["voices_women", "voices_men"]
    assert folders_behind(inputs["held_out_features"]) == ["voices_men_held_out"]
    louder = planned(("corpora.voices.parts.men", part | {"gain": [-10, 0]}))
    assert not any("held_out" in name for name in redone(plan, louder))
    for settings in made.values():
        SeededChoice(**settings)


def test_held_out_voices_are_left_out_of_every_part_that_is_trained_on():
    voice = {"sex": "m", "source": "prompts", "include": ["m/rob/*"], "also": {"prompts": ["x/rob*"], "others": ["*"]}}
    changes = [("held_out_voices", {"rob": voice}), ("sources.others", {"package": "others"})]

    def excluded(*more):
        parts = planned(*changes, *more).config.corpora["voices"].parts
        return [parts[name].exclude for name in ("women", "men")]

    assert excluded() == [["m/rob/*", "x/rob*"]] * 2
    assert excluded(("corpora.voices.parts.men.exclude", ["m/rob/*", "b"])) == [
        ["m/rob/*", "x/rob*"],
        ["m/rob/*", "b", "x/rob*"],
    ]
    assert excluded(("corpora.voices.parts.men.held_out", True)) == [["m/rob/*", "x/rob*"], []]
    made = [node.settings for node in planned(*changes).nodes.values() if node.kind == "corpora"]
    assert [settings["exclude"] for settings in made] == [["m/rob/*", "x/rob*"]] * 2


def voices_of(sex, folder):
    return {"sex": sex, "source": "prompts", "include": [f"{folder}/*"], "also": {"prompts": [f"also/{folder}/*"]}}


HELD_OUT = ("held_out_voices", {"rob": voices_of("m", "r"), "eve": voices_of("f", "e")})
SET_OF_VOICES = ("test_sets", {"unseen": {"held_out_voices": True, "utterances": 16, "seconds": [5, 8], "shards": 2}})


def test_a_set_of_held_out_voices_has_a_part_of_each_in_few_shards():
    plan = planned(HELD_OUT, SET_OF_VOICES, ("experiments.240118.test_set", "unseen"))
    made = [node for node in plan.nodes.values() if node.kind == "sets"]
    assert [node.name for node in made] == ["unseen_1", "unseen_2"]
    for shard, node in enumerate(made):
        assert (node.settings["shard"], node.settings["shards"]) == (shard, 2)
        parts = node.settings["parts"]
        assert {
            name: (part["sex"], part["include"], part["utterances"], part["seconds"]) for name, part in parts.items()
        } == {
            "rob": ("m", ["r/*"], 16, [5, 8]),
            "eve": ("f", ["e/*"], 16, [5, 8]),
        }
        SetShard(**node.settings)
        assert node.inputs["speech"] == [part["archive"] for part in parts.values()][:1]
    kinds = [node.kind for node in plan.nodes.values()]
    outputs = len(plan.config.experiments["240118"].outputs)
    assert [kinds.count(kind) for kind in ("sets", "set_features", "set_measures")] == [2, 2, 2 * outputs]


def test_a_set_of_held_out_voices_makes_the_same_set_from_its_parts():
    plan = planned(HELD_OUT, SET_OF_VOICES, ("experiments.240118.test_set", "unseen"))
    dumped = plan.config.test_sets["unseen"].model_dump(mode="json")
    again = planned(("test_sets", {"unseen": dumped}), ("experiments.240118.test_set", "unseen"))
    prepared = [
        {folder for folder in one.nodes if "/unseen_" in folder and "measures" not in folder} for one in (plan, again)
    ]
    assert prepared[0] == prepared[1] and len(prepared[0]) == 4


def test_a_source_keeps_the_tables_that_a_test_set_takes_from_it():
    Path("own.csv").touch()
    clips = {"source": "prompts", "transcripts": "*.trans.txt", "sex": "SPEAKERS.TXT"}
    parts = {"a": clips, "b": clips | {"sex": "own.csv", "transcripts": None}, "c": clips | {"sex": "m"}}
    plan = planned(("test_sets", {"read": {"parts": parts, "shards": 1}}), ("experiments.240118.test_set", "read"))
    (source,) = [node for node in plan.nodes.values() if node.name == "prompts" and node.kind == "sources"]
    assert source.settings["tables"] == ["*.trans.txt", "SPEAKERS.TXT"]
    (prepared,) = [node for node in plan.nodes.values() if node.kind == "sets"]
    assert prepared.inputs == {"speech": [source.file("speech.tar")], "own": ["own.csv"]}


def test_a_shard_of_own_files_takes_its_utterances_and_all_tables():
    Path("own").mkdir()
    for name in "abcdef":
        Path(f"own/{name}.wav").touch()
    Path("own/words.trans.txt").touch()
    Path("sexes.csv").touch()
    own = {"files": "own", "speakers": "own/(.)", "shards": 3, "sex": "sexes.csv", "transcripts": "*.trans.txt"}
    plan = planned(("test_sets", {"own": own}), ("experiments.240118.test_set", "own"))
    taken = [node.inputs["own"] for node in plan.nodes.values() if node.kind == "sets"]
    assert all(paths[:2] == ["sexes.csv", "own/words.trans.txt"] for paths in taken)
    assert sorted(path for paths in taken for path in paths[2:]) == [f"own/{name}.wav" for name in "abcdef"]
    assert len(taken) == 3


def test_ready_made_features_and_shards_of_own_files_can_be_held_out():
    Path("voices").mkdir()
    for name in "abcd":
        Path(f"voices/{name}.wav").touch()
    parts = {"ready": {"b": "b.f32", "y": "y.f32"}, "own": {"files": "voices", "shards": 2, "held_out": True}}
    inputs = planned(("corpora.voices.parts", parts)).graph.networks["manifold"].inputs
    assert inputs["features"] == ["b.f32"] and folders_behind(inputs["held_out_features"]) == [
        "voices_own_1",
        "voices_own_2",
    ]
    parts = {"own": {"files": "voices"}, "ready": {"b": "b.f32", "y": "y.f32", "held_out": True}}
    inputs = planned(("corpora.voices.parts", parts)).graph.networks["manifold"].inputs
    assert (inputs["held_out_features"], inputs["held_out_targets"]) == (["b.f32"], ["y.f32"])
    parts = {"own": {"files": "voices", "shards": 2, "speakers": "(.)", "held_out_speakers": 1}}
    with pytest.raises(InputError, match="has speakers and shards"):
        planned(("corpora.voices.parts", parts))


def test_the_corpora_for_users_with_a_network_hold_voices_out():
    raw = config.read(ROOT)
    for corpus in ("librispeech", "arctic"):
        raw["networks"][f"of_{corpus}"] = {**raw["networks"]["manifold"], "corpus": corpus}
    plan = Plan(config.load(raw))
    inputs = {corpus: plan.graph.networks[f"of_{corpus}"].inputs for corpus in ("librispeech", "arctic")}
    assert folders_behind(inputs["librispeech"]["features"]) == ["librispeech_readers"]
    assert folders_behind(inputs["librispeech"]["held_out_features"]) == ["librispeech_readers_held_out"]
    assert len(inputs["arctic"]["features"]) == 6
    assert folders_behind(inputs["arctic"]["held_out_features"]) == ["arctic_rms", "arctic_slt"]
    behind = {name: plan.graph.behind(inputs[name]["features"] + inputs[name]["held_out_features"]) for name in inputs}
    sources = {name: [stage for stage in some.values() if stage.kind == "sources"] for name, some in behind.items()}
    assert [len(sources[name]) for name in inputs] == [1, 8]
    assert all(
        url["url"].startswith("https://")
        for some in sources.values()
        for stage in some
        for url in stage.settings["urls"]
    )
    part = raw["corpora"]["librispeech"]["parts"]["readers"]
    assert re.search(part["speakers"], "LibriSpeech/dev-clean/84/121123/84-121123-0000.flac")[1] == "84"
    (recorded,) = plan.config.corpora["arctic"].parts["slt"].include
    assert archives.matches("cmu_us_slt_arctic/wav/arctic_a0001.wav", recorded)


def test_the_settings_of_a_stage_fit_on_a_command_line_with_a_large_corpus():
    Path("voices").mkdir()
    for i in range(3000):
        Path(f"voices/a_name_of_some_length_{i:05}.wav").touch()
    plan = planned(("corpora.voices.parts.men", {"files": "voices"}))
    assert max(len(json.dumps(stage.settings)) for stage in plan.nodes.values()) < 100_000


def test_a_number_that_is_a_text_as_those_of_the_command_line_are_is_taken():
    given = {"kind": "predictive", "corpus": "c", "mbest": "3", "predict": "0.5", "interval_ms": "20"}
    block = blocks.validate(Predictive, given | {"stages": [{"size": "16"}]}, "q")
    assert (block.mbest, block.predict, block.interval_ms, block.stages[0].size) == (3, 0.5, 20, 16)
