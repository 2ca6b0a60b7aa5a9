"""Rate and distortion of a quantised chain, which is the chain of the single commands."""

import hashlib
import importlib.util
import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest

from mlquant import cli
from mlquant.chains import coder
from mlquant.core import blocks, records
from mlquant.measures import measures
from mlquant.networks import inference, training
from mlquant.networks.settings import NetworkSettings
from mlquant.quantisers import gain, vq
from mlquant.studies import rates
from mlquant.vocoder import analysis, chosen, features

HAS_PESQ = importlib.util.find_spec("pesq") is not None
SMALL = {"family": "autoencoder1", "nn": 4, "d": 4, "lr": 2e-3, "batch": 64, "epochs": 2, "held_out": 0.1}
WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory, voice):
    """A folder with a sample, networks of every kind of chain, and codebooks of 16 and 8 entries of their vectors."""
    folder = tmp_path_factory.mktemp("made")
    records.write_speech(folder / "v.raw", voice)
    records.write_model(folder / "m.bin", analysis.analyse_in_chunks(voice))
    model = records.read_model(folder / "m.bin")
    b, y = features.model_to_features(model, -80)
    b = features.features_to_records(b, model.Wo, model.voiced)
    records.write_f32(folder / "b.f32", b)
    records.write_f32(folder / "y.f32", y)
    for name, changes in {
        "nn4": {},
        "other": {"seed": 2},
        "pairs": {"ncat": 2},
        "straight": {"family": "autoencoder3", "nn": 1},
        "manifold": {"family": "manifold", "nn": 1, "d": None},
    }.items():
        settings = NetworkSettings(**{**SMALL, **changes}).model_dump()
        training.train(settings, [b], [y] if name in ("straight", "manifold") else None, folder / name)
    for name in ("nn4", "pairs", "straight", "shape"):
        array = (
            gain.without_gain(b) if name == "shape" else inference.encode(*inference.load(folder / name / WEIGHTS), b)
        )
        for stage, size in enumerate((16, 8), 1):
            result = vq.train(array, size, seed=1)
            records.write_f32(folder / f"{name}_{stage}.f32", result.codebook)
            array = result.residual
    records.write_f32(folder / "every.f32", gain.without_gain(b))
    records.write_f32(folder / "a.f32", np.array([[0.7]]))
    return folder


CHAINS = {  # networks, place of the quantised one, encoder, codebooks, and settings of the quantiser and the synthesis
    "latents": (["nn4", "manifold"], 0, "nn4", "nn4", {}),
    "latents now and then": (["nn4", "manifold"], 0, "nn4", "nn4", {"send_every": 4}),
    "a decoder of its own": (["other", "manifold"], 0, "nn4", "nn4", {"mbest": 1}),
    "pairs of frames": (["pairs", "manifold"], 0, "pairs", "pairs", {}),
    "straight to y": (
        ["straight"],
        0,
        "straight",
        "straight",
        {"predict": 0.5, "reset_every": 9, "send_every": 2, "postfilter": 1.3},
    ),
    "the second network": (["nn4", "straight"], 1, "straight", "straight", {}),
    "b itself": (["manifold"], None, None, "shape", {}),
    "b itself, predicted": (["manifold"], None, None, "shape", {"predictor": "a.f32", "reset_every": 10}),
    "b through two networks": (["nn4", "manifold"], None, None, "shape", {"send_every": 2}),
}


def settings_of(name, **changes):
    """Settings of a chain, with paths from its folder."""
    networks, quantised, encoder, codebooks, given = CHAINS[name]
    search = {"codebooks": [f"{codebooks}_{i}.f32" for i in (1, 2)], "k": 4 if encoder else 20, "mbest": 3}
    search |= {"send_every": 1} | {key: value for key, value in given.items() if key != "postfilter"}
    steps = [{"step": "infer", "weights": f"{one}/{WEIGHTS}"} for one in networks]
    if encoder:
        steps[quantised]["step"] = "decode"
        steps.insert(quantised, {"step": "quantise", **search})
        steps.insert(quantised, {"step": "encode", "weights": f"{encoder}/{WEIGHTS}"})
    else:
        steps = [{"step": "remove_gain"}, {"step": "quantise", **search}, {"step": "restore_gain"}, *steps]
    return {
        "steps": [*steps, {"step": "synthesise", "postfilter": given.get("postfilter", 1.0)}],
        "stages": [1, 2],
        **{"features": ["b.f32"], "targets": ["y.f32"], "held_out": 0.1, "thresh": 10, "seconds": 60},
        **{"held_out_features": [], "held_out_targets": []},
        **{"samples": {"v": {"speech": "v.raw", "model": "m.bin", "b": "b.f32", "y": "y.f32"}}},
        **changes,
    }


def with_search(settings, **changes):
    """The same with other settings of the quantiser; those that are None are left out."""
    changed = [one | changes if one["step"] == "quantise" else one for one in settings["steps"]]
    kept = [{key: value for key, value in one.items() if value is not None} for one in changed]
    return settings | {"steps": kept}


def command(*words):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mlquant", *map(str, words)])
        cli.main()


def measured(settings):
    return rates.measure(blocks.validate(rates.RateSettings, settings, "settings").model_dump())


# --- the chain -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAINS)
def test_a_sample_goes_the_way_of_the_single_commands(made, monkeypatch, tmp_path, name):
    monkeypatch.chdir(made)
    settings = settings_of(name)
    vectors, hat, made_here = None, "b.f32", itertools.count()

    def out(*words):
        path = tmp_path / f"{next(made_here)}.f32"
        command(*words, "-o", path)
        return path

    for step in settings["steps"]:
        step = dict(step)
        match step.pop("step"), step.get("weights"):
            case "remove_gain", _:
                vectors = out("remove-gain", hat)
            case "encode", weights:
                vectors = out("encode", weights, hat)
            case "quantise", _:
                options = ["-k", step.pop("k"), "-q", ",".join(step.pop("codebooks"))]
                for option, value in step.items():
                    options += [f"--{option.replace('_', '-')}", value]
                vectors = out("vq-search", vectors, *options)
            case "restore_gain", _:
                hat = out("restore-gain", vectors, "--features", hat)
            case "decode" | "infer" as name, weights:
                energy = [] if weights.startswith(("nn4", "other", "pairs")) else ["--energy-from", "y.f32"]
                given = [vectors, "--features", hat] if name == "decode" else [hat]
                hat = out(name, weights, *given, *energy)
            case "synthesise", _:
                command("synth", "m.bin", hat, "--postfilter", step["postfilter"], "-o", tmp_path / "v.wav")

    y_hat, speech = list(coder.outputs(coder.load(settings), settings, "v"))[-1]
    np.testing.assert_array_equal(y_hat, records.read_f32(hat, 79))
    records.write_speech(tmp_path / "ours.wav", speech)
    assert (tmp_path / "ours.wav").read_bytes() == (tmp_path / "v.wav").read_bytes()


@pytest.mark.parametrize("name", CHAINS)
def test_bits_are_of_the_stages_and_only_a_chain_with_b_hat_has_its_distortion(made, monkeypatch, name):
    monkeypatch.chdir(made)
    settings = with_search(settings_of(name, stages=[2, 1]), predict=None, predictor=None, reset_every=None)
    table = measured(settings)
    between = 10 * CHAINS[name][4].get("send_every", 1) * (2 if name == "pairs of frames" else 1)
    assert list(table) == [*rates.COLUMNS, "pesq_v"] and table["stages"].tolist() == [2, 1]
    assert table["bits"].tolist() == [7, 4]
    assert table["interval_ms"].tolist() == [between] * 2
    np.testing.assert_allclose(table["bit_per_s"], table["bits"] * 1000 / between)
    assert table["sd_training_dB2"].notna().all() and table["sd_b_training_dB2"].notna().all() == (
        name != "straight to y"
    )
    assert table[["sd_b_unseen_dB2", "sd_unseen_dB2"]].isna().all(axis=None)
    assert table["pesq"].equals(table["pesq_v"]) and table["pesq"].notna().all() == HAS_PESQ


def test_a_quantiser_that_loses_nothing_leaves_the_distortion_of_the_network(made, monkeypatch):
    monkeypatch.chdir(made)
    table = measured(with_search(settings_of("b itself", stages=[1], held_out=0), codebooks=["every.f32"]))
    b, y = records.read_features("b.f32"), records.read_f32("y.f32", 79)
    y_hat = inference.infer(*inference.load(f"manifold/{WEIGHTS}"), b, y)
    energy = 10 * np.log10(np.sum(10 ** (b[:, :20].astype(float) / 10), axis=1))
    counted = (energy > 10) & (b[:, 21] > 0)
    assert 0 < counted.sum() < len(b)
    expected = np.mean((y - y_hat)[counted][:, 3:74].astype(float) ** 2)  # 200 to 3700 Hz
    assert table["sd_b_training_dB2"][0] == pytest.approx(0, abs=1e-6)
    assert table["sd_training_dB2"][0] == pytest.approx(expected, rel=1e-4)
    assert table[["sd_held_out_dB2", "sd_b_held_out_dB2"]].isna().all(axis=None)


def test_b_hat_is_measured_at_every_frame_after_interpolation(made, monkeypatch):
    monkeypatch.chdir(made)
    settings = with_search(settings_of("b itself", stages=[1], held_out=0), codebooks=["every.f32"], send_every=4)
    b = records.read_features("b.f32")
    at = np.arange(len(b))
    sent = gain.without_gain(b)[::4]
    shape = np.stack([np.interp(at, at[::4], element) for element in sent.T], axis=1)
    expected = np.square(gain.without_gain(b) - shape).mean(axis=1)[chosen.loud(b, 10)].mean()
    assert expected > 1
    assert measured(settings)["sd_b_training_dB2"][0] == pytest.approx(expected, rel=1e-4)


def test_each_set_is_its_part_of_the_files_and_its_first_seconds(made, monkeypatch, tmp_path):
    monkeypatch.chdir(made)
    b, y = records.read_features("b.f32"), records.read_f32("y.f32", 79)
    rng = np.random.default_rng(1)

    def table(*changed, **changes):
        """With other speech in some frames."""
        spoken, target = b.copy(), y.copy()
        for frames in changed:
            spoken[frames, :20] += 20 * rng.standard_normal(spoken[frames, :20].shape)
            target[frames] += 20
        records.write_f32(tmp_path / "b.f32", spoken)
        records.write_f32(tmp_path / "y.f32", target)
        paths = {"features": ["b.f32", str(tmp_path / "b.f32")], "targets": ["y.f32", str(tmp_path / "y.f32")]}
        others = {"held_out_features": [str(tmp_path / "b.f32")], "held_out_targets": [str(tmp_path / "y.f32")]}
        search = {"held_out": 0.5, "seconds": 0.6, "thresh": -100, "stages": [2]}
        return measured(settings_of("latents", **{**paths, **others, **search, **changes})).iloc[0]

    def differs(one, other):
        return {name for name in rates.COLUMNS if name.startswith("sd") and one[name] != other[name]}

    columns = {name: {f"sd_b_{name}_dB2", f"sd_{name}_dB2"} for name in rates.SETS}
    plain = table()
    assert not plain[[*itertools.chain(*columns.values())]].isna().any()
    assert differs(plain, table(slice(60, 100), slice(160, 200))) == set()
    assert differs(plain, table(slice(0, 60))) == columns["training"] | columns["unseen"]
    assert differs(plain, table(slice(100, 160))) == columns["held_out"]
    assert differs(plain, table(seconds=2)) == set().union(*columns.values())
    quiet = table(thresh=500)
    assert quiet[[*itertools.chain(*columns.values())]].isna().all()


def test_a_mean_over_files_counts_their_frames(made, monkeypatch, tmp_path):
    monkeypatch.chdir(made)
    b, y = records.read_features("b.f32")[:120], records.read_f32("y.f32", 79)[:120]
    parts = []
    for name, frames in {"short": slice(0, 40), "long": slice(40, 120)}.items():
        records.write_f32(tmp_path / f"{name}_b.f32", b[frames])
        records.write_f32(tmp_path / f"{name}_y.f32", y[frames])
        parts.append([str(tmp_path / f"{name}_{kind}.f32") for kind in "by"])
    one, other, both = (
        measured(
            settings_of(
                "latents",
                thresh=-100,
                held_out=0,
                stages=[1],
                features=[x for x, _ in some],
                targets=[t for _, t in some],
            )
        )
        for some in (parts[:1], parts[1:], parts)
    )
    expected = (40 * one["sd_b_training_dB2"] + 80 * other["sd_b_training_dB2"]) / 120
    assert both["sd_b_training_dB2"][0] == pytest.approx(expected[0], rel=1e-6)


def walk(vectors, seed):
    """Vectors [n, 3] that each resemble the one before, by 0.9."""
    steps = np.random.default_rng(seed).standard_normal((vectors, 3)).astype(np.float32)
    return np.array([*itertools.accumulate(steps, lambda before, step: np.float32(0.9) * before + step)])


@pytest.mark.parametrize("options", [{"a": 0.9, "reset_every": 7}, {"a": 0.9}, {"a": None}])
@pytest.mark.parametrize("send_every", [1, 3])
@pytest.mark.parametrize("mbest", [1, 4])
def test_several_arrays_are_quantised_as_each_alone(options, send_every, mbest):
    codebook = np.random.default_rng(1).standard_normal((32, 3)).astype(np.float32)
    options = {"mbest": mbest, "send_every": send_every, "reset_every": None, **options}
    search = coder.Search([codebook, codebook / 4], options)
    arrays = [walk(vectors, seed) for seed, vectors in enumerate((1, 20, 100, 50))]
    for array, found in zip(arrays, coder.quantise_all(search, arrays, 2), strict=True):
        np.testing.assert_array_equal(found, coder.quantise(search, array, 2))


# --- the command -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_PESQ, reason="needs the package pesq, which a C compiler installs")
def test_the_command_writes_the_pesq_that_the_outputs_have_as_measured(made, monkeypatch, tmp_path):
    settings = settings_of("b itself, predicted", thresh=None)
    settings["samples"] |= {"w": settings["samples"]["v"], "not this one": {**settings["samples"]["v"], "b": "none"}}
    command("rate", json.dumps(settings), "--root", made, "--samples", "v", "w", "-o", tmp_path / "rates.csv")
    table = pd.read_csv(tmp_path / "rates.csv")
    assert list(table) == [*rates.COLUMNS, "pesq_v", "pesq_w"]
    monkeypatch.chdir(made)
    chain = coder.load(settings)
    source = records.read_speech("v.raw")
    expected = [
        measures.audio_measures(source, speech, measures.DELAY)[0]["pesq"]
        for _, speech in coder.outputs(chain, settings, "v")
    ]
    for column in ("pesq", "pesq_v", "pesq_w"):
        np.testing.assert_allclose(table[column], expected, rtol=1e-5)
    command("rate", json.dumps(settings), "--samples", "w", "w", "-o", tmp_path / "again.csv")
    again = pd.read_csv(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(again, table.drop(columns="pesq_v"), check_exact=True)


# What is changed: a setting, or the step at a place of encode, quantise, decode, infer, synthesise. None drops a step,
# and one with a name takes its place.
REFUSED = {
    "no network that makes y_hat": ({3: None}, "steps.3: found b before synthesise, expected y"),
    "networks that do not follow": (
        {2: {"weights": f"straight/{WEIGHTS}"}},
        f"manifold/{WEIGHTS}: found y before infer",
    ),
    "no encoder": ({0: None}, "steps.0: found b before quantise, expected shapes or latents"),
    "no decoder": ({2: None}, f"manifold/{WEIGHTS}: found latents before infer, expected b"),
    "a gain for latents": (
        {2: {"step": "restore_gain"}},
        "steps.2: found latents before restore_gain, expected shapes",
    ),
    "no bottleneck": ({0: {"weights": f"manifold/{WEIGHTS}"}}, f"manifold/{WEIGHTS}: has no bottleneck"),
    "no quantiser": ({1: None}, "steps: found encode, decode, infer, synthesise, expected one quantise"),
    "no speech": ({4: None}, "expected one quantise, and synthesise at the end"),
    "no step of ours": ({0: {"step": "encoder"}}, "settings: steps.0: found {'step': 'encoder'"),
    "another step's setting": (
        {4: {"postfilters": 1}},
        "unknown key 'postfilters', the nearest valid one is 'postfilter'",
    ),
    "a postfilter of nothing": ({4: {"postfilter": 0}}, "settings: steps.4: synthesise.postfilter: found 0, expected"),
    "too many stages": ({"stages": [1, 3]}, "stages: found 3, expected at most 2"),
    "a stretch without prediction": ({1: {"reset_every": 5}}, "predict: none"),
    "a coefficient of 1": ({1: {"predict": 1}}, "prediction coefficient: 1"),
    "a codebook of another width": ({1: {"codebooks": ["a.f32"]}, "stages": [1]}, "a.f32: 4 bytes"),
    "codebooks of other vectors": (
        {1: {"codebooks": ["shape_1.f32"], "k": 20}, "stages": [1]},
        "codebook: 20 elements",
    ),
    "a file that is not there": ({"features": ["none.f32"]}, "none.f32: no such file"),
    "features of other speech": ({"targets": ["every.f32"]}, "every.f32: "),
    "features without targets": ({"targets": []}, "targets: found 0 files, expected 1"),
    "others without targets": ({"held_out_features": ["b.f32"]}, "held_out_targets: found 0"),
    "an unknown key": ({"stage": 1}, "unknown key 'stage', the nearest valid one is 'stages'"),
    "no stages": ({"stages": []}, "settings: stages"),
    "text for a number": ({1: {"send_every": "often"}}, "settings: steps.1: quantise.send_every: found 'often'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_measured_is_one_line_and_no_file(made, tmp_path, case):
    changes, says = REFUSED[case]
    settings = settings_of("latents", **{key: value for key, value in changes.items() if isinstance(key, str)})
    changed = [(one, changes.get(i, {})) for i, one in enumerate(settings["steps"])]
    settings["steps"] = [own if "step" in own else one | own for one, own in changed if own is not None]
    words = ["rate", json.dumps(settings), "--root", made, "-o", tmp_path / "rates.csv"]
    with pytest.raises(SystemExit) as ended:
        command(*words)
    assert says in ended.value.code and "\n" not in ended.value.code and not list(tmp_path.iterdir())


def test_a_sample_that_a_corpus_holds_is_refused_and_one_that_is_not_taken_is_not(made, tmp_path):
    held = hashlib.sha256((made / "v.raw").read_bytes()).hexdigest()
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"path,sha256,samples_sha256,factor,start_frame,frames\nother.wav,0,{held},1.0,0,3\n")
    words = ["rate", json.dumps(settings_of("latents")), "--root", made, "--manifests", manifest]
    with pytest.raises(SystemExit) as ended:
        command(*words, "-o", tmp_path / "rates.csv")
    assert "manifest.csv: other.wav is the test sample v" in ended.value.code
    assert list(tmp_path.iterdir()) == [manifest]


def test_an_unknown_sample_is_one_line_that_names_those_there_are(made, tmp_path):
    words = ["rate", json.dumps(settings_of("latents")), "--root", made, "-o", tmp_path / "rates.csv"]
    with pytest.raises(SystemExit, match="samples: found 'x', expected one of v"):
        command(*words, "--samples", "x")
