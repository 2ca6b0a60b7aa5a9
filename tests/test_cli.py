"""Every command does its stage from files to files; what it cannot use ends in one line, status 1 and no output."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.commands import run, succeeds
from support.readmes import unexplained

from mlquant.core import disk, records
from mlquant.quantisers import vq
from mlquant.vocoder.features import energy_dB

COMMANDS = [
    *(
        "fetch",
        "prepare-sample",
        "prepare-corpus",
        "prepare-set",
        "analyse",
        "analyse-set",
        "measure-set",
        "features",
        "resynth",
        "train",
        "train-on",
        "encode",
    ),
    *(
        "decode",
        "infer",
        "remove-gain",
        "restore-gain",
        "vq-train",
        "vq-train-beam",
        "vq-predictor",
        "vq-search",
        "vq-superframe",
        "track",
        "train-context",
        "assemble",
        "enc",
        "dec",
        "export",
        "synth",
        "anchor",
        "measure",
    ),
    *(
        "plot-losses",
        "tabulate",
        "page",
        "compare",
        "listening",
        "ratings",
        "sweep",
        "rate",
        "study",
        "report",
        "verify",
        "why",
        "prune",
    ),
]
MANIFOLD = {"family": "manifold", "nn": 1, "lr": 1e-3, "epochs": 3, "batch": 32, "held_out": 0.1}
BOTTLENECK = {**MANIFOLD, "family": "autoencoder1", "nn": 4, "d": 4, "noise_var": 1e-3}
OF_Y = {**MANIFOLD, "family": "autoencoder2", "nn": 1, "d": 4}
SCALARS = {**MANIFOLD, "family": "autoencoder1", "nn": 5, "d": 4, "nvq": 2}
DIVERGES = {**MANIFOLD, "optimiser": "sgd", "lr": 1e6}


@pytest.fixture(scope="module")
def made(tmp_path_factory, voice):
    """A folder with what every stage makes of a synthetic voice, by the commands one after the other."""
    folder = tmp_path_factory.mktemp("made")
    records.write_speech(folder / "v.raw", voice)
    for words in (
        ["analyse", "v.raw", "-o", "m.bin"],
        ["resynth", "m.bin", "-o", "v_1_out.wav"],
        ["features", "m.bin", "--b", "b.f32", "--y", "y.f32"],
        ["train", "--settings", json.dumps(MANIFOLD), "--features", "b.f32", "--target", "y.f32", "-o", "manifold"],
        ["train", "--settings", json.dumps(BOTTLENECK), "--features", "b.f32", "-o", "bottleneck"],
        ["encode", "bottleneck/weights.safetensors", "b.f32", "-o", "l.f32"],
        ["vq-train", "l.f32", "-k", "4", "-m", "16", "-o", "q1.f32", "--residual", "r.f32", "--trace", "t.csv"],
        ["vq-train", "r.f32", "-k", "4", "-m", "8", "-o", "q2.f32"],
        ["vq-train-beam", "l.f32", "-k", "4", "-m", "8", "--after", "q1.f32", "--mbest", "3", "-o", "beam.f32"],
        ["vq-search", "l.f32", "-k", "4", "-q", "q1.f32,q2.f32", "--mbest", "3", "-o", "l_hat.f32", "--usage"],
        ["decode", "bottleneck/weights.safetensors", "l_hat.f32", "--features", "b.f32", "-o", "b_hat.f32"],
        ["infer", "manifold/weights.safetensors", "b_hat.f32", "--energy-from", "y.f32", "-o", "y_hat.f32"],
        ["synth", "m.bin", "y_hat.f32", "-o", "v_6.wav", "--a", "a.f32", "--h", "h.f32"],
        ["plot-losses", "bottleneck/losses.csv", "--title", "bottleneck", "-o", "losses.png"],
    ):
        succeeds(*words, cwd=folder)
    return folder


# --- what works ------------------------------------------------------------------------------------------


def test_every_stage_writes_records_of_its_size(made):
    frames = 200
    sizes = {
        **{"m.bin": 1300 * frames, "b.f32": 88 * frames, "y.f32": 316 * frames, "l.f32": 16 * frames},
        **{"r.f32": 16 * frames, "q1.f32": 16 * 16, "q2.f32": 16 * 8, "beam.f32": 16 * 8, "l_hat.f32": 16 * frames},
        **{"b_hat.f32": 88 * frames, "y_hat.f32": 316 * frames, "a.f32": 640 * frames, "h.f32": 1280 * frames},
        **{"v_1_out.wav": 44 + 160 * frames, "v_6.wav": 44 + 160 * frames},
    }
    assert {name: (made / name).stat().st_size for name in sizes} == sizes
    assert not [path for path in made.rglob(".*")]
    assert (made / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_the_end_of_the_chain_follows_from_its_beginning(made):
    b, b_hat = records.read_f32(made / "b.f32", 22), records.read_f32(made / "b_hat.f32", 22)
    np.testing.assert_array_equal(b_hat[:, 20:], b[:, 20:])
    model = records.read_model(made / "m.bin")
    np.testing.assert_array_equal(b[:, 20], model.Wo)
    latents, quantised = records.read_f32(made / "l.f32", 4), records.read_f32(made / "l_hat.f32", 4)
    assert np.mean((latents - quantised) ** 2) < 0.1 * latents.var()
    a = records.read_f32(made / "a.f32", 160)
    np.testing.assert_array_equal(a[:, 1:] > 0, np.arange(1, 160) <= model.L[:, None])
    out, voice = records.read_speech(made / "v_6.wav").astype(float), records.read_speech(made / "v.raw").astype(float)
    assert 0.3 < out.std() / voice.std() < 3


def test_the_same_commands_give_the_same_bytes(made, tmp_path):
    for words, name in (
        (["analyse", "v.raw"], "m.bin"),
        (["synth", "m.bin", "y_hat.f32"], "v_6.wav"),
        (["vq-train", "l.f32", "-k", "4", "-m", "16", "--threads", "2"], "q1.f32"),
        (["vq-train-beam", "l.f32", "-k", "4", "-m", "8", "--after", "q1.f32", "--mbest", "3"], "beam.f32"),
        (["train", "--settings", "bottleneck/settings.json", "--features", "b.f32"], "bottleneck"),
        (["plot-losses", "bottleneck/losses.csv", "--title", "bottleneck"], "losses.png"),
    ):
        succeeds(*words, "-o", tmp_path / name, cwd=made)
        same = name if name != "bottleneck" else "bottleneck/weights.safetensors"
        assert (tmp_path / same).read_bytes() == (made / same).read_bytes()


def test_a_wav_gives_the_model_of_its_raw(made, tmp_path):
    records.write_speech(tmp_path / "v.wav", records.read_speech(made / "v.raw"))
    succeeds("analyse", tmp_path / "v.wav", "-o", tmp_path / "m.bin")
    assert (tmp_path / "m.bin").read_bytes() == (made / "m.bin").read_bytes()


@pytest.mark.parametrize("name", ["i.npy", "i.bin", "i"])
def test_indices_are_written_under_the_name_that_was_asked_for(made, tmp_path, name):
    words = ["l.f32", "-k", 4, "-q", "q1.f32,q2.f32", "--mbest", 3, "-o", tmp_path / "l_hat.f32"]
    ended = succeeds("vq-search", *words, "--indices", tmp_path / name, cwd=made)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "l_hat.f32"])
    indices = np.load(tmp_path / name)
    assert indices.shape == (200, 2)
    codebooks = [records.read_f32(made / f"q{stage}.f32", 4) for stage in (1, 2)]
    decoded = sum(codebook[indices[:, stage]] for stage, codebook in enumerate(codebooks))
    np.testing.assert_allclose(records.read_f32(tmp_path / "l_hat.f32", 4), decoded, atol=1e-6)
    error = np.mean((records.read_f32(made / "l.f32", 4) - decoded) ** 2)
    assert float(ended.err[0].removeprefix("mean squared error ")) == pytest.approx(error, rel=1e-4)


def test_prediction_is_fitted_trained_and_searched_every_second_vector(made, tmp_path):
    succeeds("encode", "bottleneck/weights.safetensors", "b.f32", "--pairs", 2, "-o", tmp_path / "pairs", cwd=made)
    latents = records.read_f32(made / "l.f32", 4)
    pairs = records.read_f32(tmp_path / "pairs", 8)
    np.testing.assert_array_equal(pairs, np.concatenate([latents[:-2], latents[2:]], axis=1))
    succeeds("vq-predictor", "pairs", "-k", 4, "-o", "a", cwd=tmp_path)
    a = float(records.read_f32(tmp_path / "a", 1)[0, 0])
    assert a == pytest.approx(vq.predictor(latents[2:], latents[:-2]), abs=1e-6)
    for coefficient in ("a", a):
        words = ["pairs", "-k", 4, "-m", 16, "--predict", coefficient, "-o", "q"]
        succeeds("vq-train", *words, cwd=tmp_path)
        codebook = records.read_f32(tmp_path / "q", 4)
        expected = vq.train(vq.prediction_residuals(latents[2:], latents[:-2], a), 16, seed=1).codebook
        np.testing.assert_allclose(codebook, expected, atol=1e-4)
        words = ["-k", 4, "-q", "q", "--predict", coefficient, "--reset-every", 50, "--send-every", 2, "--indices", "i"]
        succeeds("vq-search", made / "l.f32", *words, "-o", "l_hat", cwd=tmp_path)
        assert np.load(tmp_path / "i").shape == (100, 1)
        sent = vq.decode_predictive(np.load(tmp_path / "i"), [codebook], a, reset_every=50)
        np.testing.assert_array_equal(records.read_f32(tmp_path / "l_hat", 4), vq.interpolated(sent, 2, 200))


def test_a_codebook_names_the_file_of_its_coefficient_among_its_inputs(made, tmp_path):
    succeeds("encode", "bottleneck/weights.safetensors", "b.f32", "--pairs", 2, "-o", tmp_path / "pairs", cwd=made)
    succeeds("vq-predictor", "pairs", "-k", 4, "-o", "a", cwd=tmp_path)
    for option, coefficient, expected in (("--predict", "a", {"pairs", "a"}), ("--predict", 0.5, {"pairs"})):
        words = ["pairs", "-k", 4, "-m", 16, option, coefficient, "--record", "{}", "-o", "out/q"]
        succeeds("vq-train", *words, cwd=tmp_path)
        assert disk.read_json(tmp_path / "out/provenance.json")["files"].keys() == expected


def test_shapes_have_no_mean_and_get_it_back(made, tmp_path):
    succeeds("remove-gain", "b.f32", "-o", tmp_path / "s", cwd=made)
    feature_records, shapes = records.read_features(made / "b.f32"), records.read_f32(tmp_path / "s", 20)
    np.testing.assert_allclose(
        shapes, feature_records[:, :20] - feature_records[:, :20].mean(axis=1, keepdims=True), atol=1e-4
    )
    succeeds("restore-gain", tmp_path / "s", "--features", "b.f32", "-o", tmp_path / "b_hat", cwd=made)
    np.testing.assert_allclose(records.read_features(tmp_path / "b_hat"), feature_records, atol=1e-4)
    thresh = float(np.median(energy_dB(feature_records[:, :20])))
    chosen = ["--thresh", thresh, "--held-out", 0.25, "--pairs", 3]
    succeeds("remove-gain", "b.f32", "b.f32", *chosen, "-o", tmp_path / "pairs", cwd=made)
    loud = energy_dB(feature_records[:150, :20]) > thresh
    keep = np.flatnonzero(loud[3:] & loud[:-3])
    expected = np.concatenate([shapes[keep], shapes[keep + 3]], axis=1)
    np.testing.assert_array_equal(records.read_f32(tmp_path / "pairs", 40), np.concatenate([expected, expected]))


def test_noise_on_the_latents_follows_its_seed(made, tmp_path):
    for name, words in {"0": [], "1": ["--noise-var", 0.01], "1b": ["--noise-var", 0.01], "2": ["--seed", 2]}.items():
        words = [*words, "--noise-var", 0.01] if name == "2" else words
        succeeds("infer", "bottleneck/weights.safetensors", "b.f32", *words, "-o", tmp_path / name, cwd=made)
    read = {name: (tmp_path / name).read_bytes() for name in ("0", "1", "1b", "2")}
    assert read["1"] == read["1b"] and len({read["0"], read["1"], read["2"]}) == 3


def test_a_network_of_y_takes_y_files(made, tmp_path):
    words = ["--settings", json.dumps(OF_Y), "--features", "b.f32", "--target", "y.f32"]
    succeeds("train", *words, "-o", tmp_path / "net", cwd=made)
    network = tmp_path / "net/weights.safetensors"
    succeeds("encode", network, "y.f32", "-o", tmp_path / "l", cwd=made)
    succeeds("infer", network, "y.f32", "-o", tmp_path / "y_hat", cwd=made)
    succeeds("decode", network, tmp_path / "l", "--features", "y.f32", "-o", tmp_path / "decoded", cwd=made)
    assert records.read_f32(tmp_path / "l", 4).shape == (200, 4)
    assert (tmp_path / "decoded").read_bytes() == (tmp_path / "y_hat").read_bytes()
    y, y_hat = records.read_f32(made / "y.f32", 79), records.read_f32(tmp_path / "y_hat", 79)
    assert abs((y_hat - y).mean()) < 10  # dB: its level came back
    for command in ("encode", "infer"):
        ended = run(command, network, "b.f32", "-o", tmp_path / "none", cwd=made)
        assert ended.status == 1 and len(ended.err) == 1 and "b.f32: 17600 bytes" in ended.err[0]
    assert not (tmp_path / "none").exists()


def test_a_training_is_measured_on_other_voices_where_it_is_given_some(made, tmp_path):
    records.write_f32(tmp_path / "b.f32", records.read_f32(made / "b.f32", 22)[:50])
    records.write_f32(tmp_path / "y.f32", records.read_f32(made / "y.f32", 79)[:50])
    words = ["--settings", json.dumps(MANIFOLD), "--features", "b.f32", "--target", "y.f32"]
    others = ["--held-out", tmp_path / "b.f32", "--held-out-target", tmp_path / "y.f32"]
    ended = succeeds("train", *words, *others, "-o", tmp_path / "net", cwd=made)
    assert ended.err[0].startswith("180 training and 50 held-out vectors")
    assert (tmp_path / "net/weights.safetensors").read_bytes() == (made / "manifold/weights.safetensors").read_bytes()
    recorded = disk.read_json(tmp_path / "net/provenance.json")["files"]
    assert {str(tmp_path / "b.f32"), str(tmp_path / "y.f32")} < {*recorded}
    records.write_f32(tmp_path / "y.f32", records.read_f32(made / "y.f32", 79)[:49])
    for wrong, reason in (
        (others, "y.f32: 49 frames, expected 50"),
        (others[:2], "target: "),
        (others[2:], "target: "),
    ):
        ended = run("train", *words, *wrong, "-o", tmp_path / "none", cwd=made)
        assert ended.status == 1 and len(ended.err) == 1 and reason in ended.err[0]
    assert not (tmp_path / "none").exists()


def test_latents_of_two_scalar_quantisers_are_twice_as_many(made, tmp_path):
    words = ["--settings", json.dumps(SCALARS), "--features", "b.f32"]
    succeeds("train", *words, "-o", tmp_path / "net", cwd=made)
    network = tmp_path / "net/weights.safetensors"
    succeeds("encode", network, "b.f32", "-o", tmp_path / "l", cwd=made)
    assert (tmp_path / "l").stat().st_size == 4 * 8 * 200
    levels = 4 * records.read_f32(tmp_path / "l", 8)
    np.testing.assert_allclose(levels, levels.round(), atol=1e-5)
    succeeds("decode", network, tmp_path / "l", "--features", "b.f32", "-o", tmp_path / "b_hat", cwd=made)
    succeeds("infer", network, "b.f32", "-o", tmp_path / "through", cwd=made)
    assert (tmp_path / "b_hat").read_bytes() == (tmp_path / "through").read_bytes()
    ended = run("decode", network, "l.f32", "--features", "b.f32", "-o", tmp_path / "none", cwd=made)
    assert ended.status == 1 and len(ended.err) == 1 and "100 vectors, expected 200" in ended.err[0]


def test_a_loss_curve_becomes_an_svg_too(made, tmp_path):
    for _ in range(2):
        succeeds("plot-losses", "bottleneck/losses.csv", "-o", tmp_path / "p.svg", cwd=made)
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()


def test_measures_tables_and_the_page_of_an_experiment(made, tmp_path):
    named = {name: str(made / f"{name}.f32") for name in ("y", "y_hat", "b", "b_hat", "l", "l_hat")}
    named["wav"] = str(made / "v_6.wav")
    references = {"source": str(made / "v.raw"), "model": str(made / "m.bin"), "features": named["b"], "y": named["y"]}
    references |= {"original": str(made / "v_1_out.wav"), "ideal_y": named["wav"]}
    row = {"index": 6, "tag": "vq7", "bits_per_frame": 7, "frame_ms": 10, "delay": 0, "files": named}
    anchor = row | {"index": None, "tag": "3200", "bits_per_frame": 64, "frame_ms": 20, "files": {"wav": named["wav"]}}
    record = {"sample": "v", "sex": "m", "references": references, "stages": {}, "latents": named["l"]}
    for name, of_it in (("measured", row), ("anchors", anchor)):
        succeeds("measure", json.dumps(record | {"rows": [of_it]}), "-o", tmp_path / f"{name}.json")
    whole = disk.read_json(tmp_path / "measured.json")
    died = "PESQ of v_6.wav against v.raw: the library ended its process by SIGSEGV"
    absent = "WER: its Python package cannot be imported (no wheel)"
    disk.write_json(tmp_path / "measured.json", whole | {"empty": [died], "optional": [absent]})
    measured = whole["measures"][0]
    y, y_hat = records.read_f32(made / "y.f32", 79), records.read_f32(made / "y_hat.f32", 79)
    assert measured["sd_dB2"] == pytest.approx(np.mean((y[:, 3:74].astype(float) - y_hat[:, 3:74]) ** 2))
    b, b_hat = records.read_f32(made / "b.f32", 22), records.read_f32(made / "b_hat.f32", 22)
    assert measured["sd_b_dB2"] == pytest.approx(np.mean((b - b_hat) ** 2) * 22 / 20, rel=1e-5)
    assert measured["bit_per_s"] == 700 and measured["latent_mse"] > 0
    network = {"network": "net", "weights": str(made / W), "codebooks": [], "choices": []}
    experiment = {
        **{"name": "trial", "title": "A trial", "samples": ["v", "w"], "speech_dir": "speech", "published": None},
        "outputs": [{"index": 6, "tag": "vq7", "processing": "seven bits", "shows": "little", "networks": ["net"]}],
        **{"networks": {"net": str(made / "bottleneck")}, "codebooks": {}, "definitions": {}, "bottleneck": network},
        "config": {"networks": {"net": {"d": 4}}},
    }
    tables = tmp_path / "trial.0a1b2c3d"
    words = ["tabulate", json.dumps(experiment), "--measured", tmp_path / "measured.json", tmp_path / "anchors.json"]
    words += ["--origins", made / "v.raw"]
    for _ in range(2):  # the second time it is there already
        succeeds(*words, "-o", tables)
        succeeds("page", tables, "--history", tmp_path / "history.csv", "-o", tmp_path / "out", cwd=made)
    written = [
        "README.md",
        "anchors.csv",
        "columns.csv",
        "config.yaml",
        "frames.csv",
        "means.csv",
        "measures.csv",
        "provenance.json",
        "set_means.csv",
        "set_pairs.csv",
        "utterances.csv",
    ]
    assert sorted(path.name for path in tables.iterdir()) == written
    names = [*written[:5], "index.html", *written[5:], "v_6_vq7.wav"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    wav, told = (made / "v_6.wav").read_bytes(), (tmp_path / "out/v_6_vq7.wav").read_bytes()
    assert told[8 : len(wav)] == wav[8:] and b"experiment trial, index 6, key " in told[len(wav) :]
    text = (tmp_path / "out/README.md").read_text()
    columns = pd.read_csv(tables / "columns.csv", keep_default_na=False).set_index("column")
    for name in ("measures", "means", "anchors", "frames", "utterances", "set_means", "set_pairs"):
        table = pd.read_csv(tables / f"{name}.csv")
        told = columns[[f"{name}.csv" in cell.split() for cell in columns["tables"]]]
        assert [*told.index] == [column for column in columns.index if column in table] and {*told.index} == {*table}
    assert (columns["meaning"] != "").all() and columns.loc["sd_dB2", "better"] == "lower"
    filled = pd.read_csv(tables / "measures.csv").dropna(axis="columns", how="all")
    assert unexplained(text, {"measures": filled}) == []
    assert "seven bits" in text and f"{measured['sd_dB2']:.2f}" in text and "sample w could not be obtained" in text
    assert f"- {died}\n" in text and "`snakemake results/trial_wav -R measure` measures again" in text
    assert text.index("Warning: these measures are empty") < text.index(f"- {died}\n")
    assert text.index("Optional measures that are empty") < text.index(f"- {absent}\n")
    assert died in (tmp_path / "out/index.html").read_text() and absent in (tmp_path / "out/index.html").read_text()
    known = disk.read_json(tmp_path / "out/provenance.json")
    assert (
        known["empty"] == [died]
        and absent in known["optional"]
        and known["key"] == "0a1b2c3d"
        and known["files"].keys() == {*named.values(), *references.values()}
    )
    for path, sha256 in [*known["files"].items(), *((tmp_path / "out" / k, v) for k, v in known["folder"].items())]:
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == sha256
    history = pd.read_csv(tmp_path / "history.csv")
    assert history[["experiment", "key", "index"]].values.tolist() == [["trial", "0a1b2c3d", 6]]
    assert pd.read_csv(tables / "anchors.csv")[["sample", "tag", "bit_per_s"]].values.tolist() == [["v", 3200, 3200]]
    frames = pd.read_csv(tables / "frames.csv")
    assert frames["sd_dB2"].mean() == pytest.approx(measured["sd_dB2"], rel=1e-4) and len(frames) == len(y)
    manifest = tmp_path / "manifest.csv"  # of a corpus that holds the sample under another name
    held = known["files"][references["source"]]
    manifest.write_text(f"path,sha256,samples_sha256,factor,start_frame,frames\nother.wav,0,{held},1.0,0,3\n")
    ended = run(*words, manifest, "-o", tmp_path / "refused")
    assert ended.status == 1 and "manifest.csv: other.wav is the test sample v, on which" in ended.err[-1]
    assert not (tmp_path / "refused").exists()


# --- help and imports ------------------------------------------------------------------------------------


def test_the_commands_are_those_that_are_tested():
    ended = run("--help")
    assert ended.status == 0 and not ended.err
    listed = [line.split()[0] for line in ended.out.splitlines() if line.startswith("    ") and line[4] != " "]
    assert set(listed) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    ended = run(command, "--help")
    assert ended.status == 0 and not ended.err
    assert f"example: mlquant {command} " in " ".join(ended.out.split())


def test_a_command_that_there_is_not_and_one_without_arguments_end_in_usage():
    for words in (["nothing"], [], ["analyse"], ["analyse", "a.raw"]):
        ended = run(*words)
        assert ended.status == 2 and ended.err[0].startswith("usage: mlquant")


HEAVY = {"torch", "faiss", "matplotlib", "pandas", "pycodec2", "pydantic", "scipy", "snakemake", "soxr"}


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        (["analyse", "--help"], set()),
        (["train", "--help"], {"pydantic"}),
        (["analyse", "v.raw", "-o", "m2.bin"], {"scipy"}),
        (["encode", "bottleneck/weights.safetensors", "b.f32", "-o", "l2.f32"], set()),
        (["decode", "bottleneck/weights.safetensors", "l.f32", "--features", "b.f32", "-o", "b_hat2.f32"], set()),
        (["infer", "manifold/weights.safetensors", "b.f32", "--energy-from", "y.f32", "-o", "y_hat2.f32"], set()),
        (["infer", "bottleneck/weights.safetensors", "b.f32", "--noise-var", "0.01", "-o", "b_hat2.f32"], set()),
    ],
)
def test_a_command_imports_only_what_its_stage_needs(made, words, allowed):
    code = (
        "import sys, atexit; atexit.register(lambda: print(*sys.modules)); from mlquant import cli; "
        f"sys.argv = ['mlquant', *{words}]; cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=made, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert HEAVY.intersection(ended.stdout.split()) == allowed


# --- bad input -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bad(made):
    """The folder of what was made, with files in it that cannot be used."""
    b, y = records.read_f32(made / "b.f32", 22).copy(), records.read_f32(made / "y.f32", 79)
    (made / "empty").touch()
    (made / "odd").write_bytes(bytes(1301))
    (made / "text.wav").write_text("no audio\n" * 50)
    (made / "folder").mkdir()
    np.zeros(800, "<i2").tofile(made / "zeros.raw")
    records.write_f32(made / "short_y.f32", y[:-1])
    records.write_f32(made / "short_b.f32", b[:-1])
    b[9, 20] = 0
    records.write_f32(made / "wo0.f32", b)
    b[9, 3] = np.nan
    b.tofile(made / "nan.f32")
    np.full((200, 79), 1e30, "<f4").tofile(made / "huge_y.f32")
    data = (made / "bottleneck/weights.safetensors").read_bytes()
    (made / "half.safetensors").write_bytes(data[: len(data) // 2])
    (made / "list.json").write_text("[1]")
    return made


W, V = "bottleneck/weights.safetensors", "manifold/weights.safetensors"
TRAIN = ["train", "--settings", json.dumps(BOTTLENECK), "--features"]
TRAIN_Y = ["train", "--settings", json.dumps(MANIFOLD), "--features"]


def train_with(**changes):
    changed = {key: value for key, value in {**BOTTLENECK, **changes}.items() if value != "left out"}
    return ["train", "--settings", json.dumps(changed), "--features", "b.f32"]


REFUSED = [
    # command, and what the line must name
    (["analyse", "none.wav"], "none.wav: no such file"),
    (["analyse", "empty"], "empty: is empty"),
    (["analyse", "text.wav"], "text.wav: not audio"),
    (["analyse", "zeros.raw"], "zeros.raw: all 800 samples are zero"),
    (["analyse", "folder"], "folder: is a folder, expected a file"),
    (["anchor", "zeros.raw"], "zeros.raw: all 800"),
    (["anchor", "v.raw", "--mode", "1"], "found 1, expected one of 3200"),
    (["prepare-sample", "text.wav"], "text.wav: not audio"),
    (["prepare-sample", "v.raw", "--sha256", "00"], "v.raw"),
    (["prepare-corpus", "text.wav", "--settings", "{}", "--manifest", "MANIFEST"], "text.wav: not audio"),
    (["prepare-corpus", "v.raw", "--settings", '{"minutes": "a"}', "--manifest", "MANIFEST"], "minutes"),
    (["prepare-corpus", "v.raw", "--settings", '{"minute": 1}', "--manifest", "MANIFEST"], "minute"),
    (["fetch", "{}", "--manifest", "MANIFEST"], "expected"),
    (["fetch", '{"urls": 3}', "--manifest", "MANIFEST"], "urls"),
    (["resynth", "odd"], "odd: 1301 bytes"),
    (["resynth", "b.f32"], "b.f32: 17600 bytes"),
    (["features", "odd", "--b"], "odd: 1301 bytes"),
    (["features", "m.bin", "--floor", "nan", "--b"], "floor"),
    (["features", "m.bin", "--floor", "inf", "--b"], "floor"),
    (["synth", "m.bin", "short_y.f32"], "short_y.f32: 199 frames, expected 200"),
    (["synth", "m.bin", "nan.f32"], "nan.f32: 17600 bytes"),
    (["synth", "m.bin", "huge_y.f32"], "huge_y.f32"),
    (
        ["synth", "m.bin", "y_hat.f32", "--postfilter", "2.5"],
        "postfilter: found 2.5, expected a number above 0 and at most 2",
    ),
    (
        ["synth", "m.bin", "y_hat.f32", "--postfilter", "nan"],
        "postfilter: found nan, expected a number above 0 and at most 2",
    ),
    ([*TRAIN, "odd"], "odd: 1301 bytes"),
    ([*TRAIN, "nan.f32"], "nan.f32: record 9"),
    ([*TRAIN_Y, "b.f32"], "target"),
    ([*TRAIN, "b.f32", "--target", "y.f32"], "target"),
    ([*TRAIN_Y, "b.f32", "--target", "short_y.f32"], "short_y.f32"),
    ([*TRAIN_Y, "b.f32", "b.f32", "--target", "y.f32"], "target"),
    ([*TRAIN_Y, "wo0.f32", "--target", "y.f32"], "Wo"),
    (train_with(optimiser="sgd", loss="sd", lr=1e30), "lower the setting lr (now 1e+30)"),
    (train_with(epochs="left out"), "epochs"),
    (train_with(batch=0), "batch"),
    (train_with(optimizer="sgd"), "optimiser"),
    (train_with(loss="mse"), "loss"),
    (train_with(lr="fast"), "lr"),
    (train_with(nn=99), "99"),
    (train_with(d=None), "settings: d: is missing, expected the width of the bottleneck"),
    (["train", "--settings", "{", "--features", "b.f32"], "not JSON"),
    (["train", "--settings", "list.json", "--features", "b.f32"], "list.json: holds a list"),
    (["train", "--settings", "none.json", "--features", "b.f32"], "none.json: no such file"),
    (["encode", "none", "b.f32"], "none: no such file"),
    (["encode", "half.safetensors", "b.f32"], "half.safetensors: not weights"),
    (["encode", "folder", "b.f32"], "folder"),
    (["encode", V, "b.f32"], "no bottleneck"),
    (["encode", W, "b.f32", "nan.f32"], "nan.f32: record 9"),
    (["encode", W, "b.f32", "--thresh", "1000"], "thresh"),
    (["decode", W, "l.f32", "--features", "short_b.f32"], "200 vectors, expected 199"),
    (["decode", W, "nan.f32", "--features", "b.f32"], "nan.f32"),
    (["decode", V, "l.f32", "--features", "b.f32"], "no bottleneck"),
    (["infer", V, "b.f32", "--energy-from", "short_y.f32"], "short_y.f32: 199"),
    (["infer", V, "wo0.f32"], "Wo"),
    (["infer", "b.f32", "b.f32"], "b.f32: not weights"),
    (["infer", W, "b.f32", "--noise-var", "-1"], "noise"),
    (["infer", W, "b.f32", "--noise-var", "nan"], "noise"),
    (["vq-train", "l.f32", "-k", "0", "-m", "16"], "k: found 0"),
    (["vq-train", "l.f32", "-k", "3", "-m", "16"], "l.f32: 3200 bytes"),
    (["vq-train", "l.f32", "-k", "4", "-m", "15"], "power of two"),
    (["vq-train", "l.f32", "-k", "4", "-m", "512"], "512 entries, expected at most"),
    (["vq-train", "l.f32", "-k", "4", "-m", "16", "--en", "4"], "0 to 4, expected"),
    (["vq-train", "l.f32", "-k", "4", "-m", "16", "--seed", "-1"], "seed"),
    (["vq-train-beam", "l.f32", "-k", "4", "-m", "16", "--after", "q1.f32,"], "--after"),
    (["vq-train-beam", "l.f32", "-k", "4", "-m", "16", "--after", "none.f32"], "none.f32: no such file"),
    (["vq-train-beam", "l.f32", "-k", "4", "-m", "16", "--after", "q1.f32", "--mbest", "0"], "mbest: found 0"),
    (["vq-train", "l.f32", "-k", "2", "-m", "16", "--predict", "1"], "prediction coefficient: 1.0"),
    (["vq-train", "l.f32", "-k", "2", "-m", "16", "--predict", "none"], "none: no such file"),
    (["vq-train", "l.f32", "-k", "2", "-m", "16", "--predict", "l.f32"], "l.f32: 800 numbers, expected 1"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--send-every", "0"], "send_every: found 0"),
    (["encode", W, "b.f32", "--pairs", "0"], "pairs: found 0"),
    (["remove-gain", "b.f32", "--pairs", "200"], "no frame is left"),
    (["remove-gain", "b.f32", "--held-out", "1"], "held_out: found 1"),
    (["restore-gain", "b.f32", "--features", "b.f32"], "shapes: 220 frames, expected 200"),
    (
        ["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--predict", "0.5", "--reset-every", "0"],
        "reset_every: found 0",
    ),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--reset-every", "9"], "--predict: none"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--smooth", "0.5"], "smooth: found 0.5"),
    (
        ["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--smooth", "0.2", "--send-every", "2"],
        "smooth: 0.2, expected 0",
    ),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--predict="], "predict: found nothing"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--predict", ".5", "--mbest", "1000000"], "mbest: 1000000, exp"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--predict", "0.5", "--st", "1"], "--predict: found with"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32,none.f32"], "none.f32: no such file"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32,"], "-q"),
    (["vq-search", "l.f32", "-k", "4", "-q", "odd"], "odd: 1301 bytes"),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "--mbest", "0"], "mbest: found 0"),
    (["measure", "none.json"], "none.json: no such file"),
    (["measure", "{}"], "rows"),
    (["plot-losses", "none.csv"], "none.csv: no such file"),
    (["plot-losses", "empty"], "empty: not a loss curve"),
    (["plot-losses", "b.f32"], "b.f32: not a loss curve"),
    (["sweep", "none.json"], "none.json: no such file"),
    (["study", "none.json"], "none.json: no such file"),
    (["study", "{}"], "study: has no 'kind'"),
    (["tabulate", "{}", "--measured", "none.json"], "none.json: no such file"),
    (["tabulate", "{}", "--measured", "bottleneck/settings.json"], "settings.json: has no 'sample'"),
    (["page", "none"], "none"),
    (["page", "bottleneck"], "bottleneck"),
    (["compare", "none", "bottleneck"], "none"),
    (["compare", "bottleneck", "bottleneck"], "bottleneck"),
    (["report", "none.json"], "none.json: no such file"),
    (["report", "{}"], "report"),
    (["anchor", "v.raw", "--mode", "3200", "--mode", "1200"], "-o: 1 files, expected 2"),
]


@pytest.mark.parametrize(("words", "names"), REFUSED, ids=[" ".join(words)[:90] for words, _ in REFUSED])
def test_what_cannot_be_used_ends_in_one_line(bad, tmp_path, words, names):
    out = [str(tmp_path / "out")] if words[-1] in ("--b", "--y") else ["-o", str(tmp_path / "out")]
    if words[0] == "plot-losses":
        out[-1] += ".png"
    words = [str(tmp_path / "manifest") if word == "MANIFEST" else word for word in words]
    before = sorted(os.listdir(bad))
    ended = run(*words, *out, cwd=bad)
    said = [line for line in ended.err if not line.startswith(("epoch ", "180 training"))]
    assert ended.status == 1 and len(said) == 1, ended.err
    assert said[0].startswith(f"mlquant {words[0]}: ") and names in said[0]
    assert sorted(os.listdir(bad)) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("settings", "words", "reason"),
    [
        (DIVERGES, ["b.f32", "--target", "y.f32"], "lower the setting lr (now 1e+06)"),
        (MANIFOLD, ["nan.f32", "--target", "y.f32"], "nan.f32: record 9 holds NaN or infinity"),
        (MANIFOLD, ["b.f32", "--target", "short_y.f32"], "short_y.f32: 199 frames, expected 200"),
        (BOTTLENECK, ["b.f32", "--target", "y.f32"], "target: autoencoder1 nn 4 is trained on b alone"),
    ],
)
def test_a_failure_that_is_kept_is_told_wherever_the_network_is_used(bad, tmp_path, settings, words, reason):
    words = ["train", "--settings", json.dumps(settings), "--features", *words, "-o", tmp_path / "net"]
    ended = run(*words, cwd=bad)
    assert ended.status == 1 and reason in ended.err[-1] and not list(tmp_path.glob("net/*"))
    ended = succeeds(*words, "--keep-failure", cwd=bad)
    assert ended.err[-1].startswith("mlquant train: ") and reason in ended.err[-1]
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        *("losses.csv", "provenance.json", "settings.json", "training.json", "weights.safetensors"),
    ]
    assert reason in disk.read_json(tmp_path / "net/training.json")["failed"]
    weights = tmp_path / "net/weights.safetensors"
    for use in (
        ["infer", weights, "b.f32"],
        ["encode", weights, "b.f32"],
        ["decode", weights, "l.f32", "--features", "b.f32"],
    ):
        ended = run(*use, "-o", tmp_path / "out", cwd=bad)
        assert ended.status == 1 and len(ended.err) == 1
        assert ended.err[0].startswith(f"mlquant {use[0]}: {weights}: ") and reason in ended.err[0]
        assert not (tmp_path / "out").exists()


def test_settings_that_cannot_be_used_are_no_failure_to_keep(bad, tmp_path):
    ended = run(*train_with(nvq=2), "--keep-failure", "-o", tmp_path / "net", cwd=bad)
    assert ended.status == 1 and len(ended.err) == 1 and "nvq: found 2, but autoencoder1 4" in ended.err[0]
    assert not (tmp_path / "net").exists()


def test_a_training_that_goes_well_has_no_failure_to_keep(made, tmp_path):
    succeeds(*train_with(), "--keep-failure", "-o", tmp_path / "net", cwd=made)
    for name in ("losses.csv", "settings.json", "weights.safetensors"):
        assert (tmp_path / "net" / name).read_bytes() == (made / "bottleneck" / name).read_bytes()


def test_neither_b_nor_y_is_refused(made):
    ended = run("features", "m.bin", cwd=made)
    assert ended.status == 1 and len(ended.err) == 1 and "--b" in ended.err[0]


@pytest.mark.parametrize("where", ["folder", "v.raw/x.wav", "folder/../v.raw/y/x.wav"])
def test_an_output_that_cannot_be_there_is_named(bad, where):
    before = sorted(str(path) for path in bad.rglob("*"))
    ended = run("resynth", "m.bin", "-o", where, cwd=bad)
    assert ended.status == 1 and len(ended.err) == 1
    # Its own name, not that of a temporary file that nobody knows.
    assert where.split("/")[0] in ended.err[0] and "/." not in ended.err[0].replace("/..", "")
    assert sorted(str(path) for path in bad.rglob("*")) == before


# --- a full disk, an early end ---------------------------------------------------------------------------

WRITTEN = [
    # command, bytes that fit on the disk
    (["analyse", "v.raw", "-o", "{}/x.bin"], 5000),
    (["resynth", "m.bin", "-o", "{}/x.wav"], 5000),
    (["resynth", "m.bin", "-o", "{}/x.raw"], 5000),
    (["features", "m.bin", "--b", "{}/b", "--y", "{}/y"], 20000),
    (["synth", "m.bin", "y_hat.f32", "-o", "{}/x.wav", "--a", "{}/a"], 5000),
    (["train", "--settings", json.dumps(BOTTLENECK), "--features", "b.f32", "-o", "{}/net"], 20000),
    (["train", "--settings", json.dumps({**BOTTLENECK, "epochs": 7}), "--features", "b.f32", "-o", "{}/net"], 200000),
    (["encode", W, "b.f32", "-o", "{}/l"], 1000),
    (["vq-train", "l.f32", "-k", "4", "-m", "8", "-o", "{}/q", "--residual", "{}/r"], 500),
    (["vq-search", "l.f32", "-k", "4", "-q", "q1.f32", "-o", "{}/l", "--indices", "{}/i.npy"], 500),
    (["plot-losses", "bottleneck/losses.csv", "-o", "{}/p.png"], 5000),
    (["anchor", "v.raw", "-o", "{}/x.wav"], 5000),
]


@pytest.mark.parametrize(("words", "limit"), WRITTEN, ids=[f"{words[0]} {words[-1]}" for words, _ in WRITTEN])
def test_a_full_disk_ends_in_one_line_and_nothing_half_written(made, tmp_path, words, limit):
    # A limit on the size of a file stands for the disk: it reaches every library that writes.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        ended = run(*(word.format(tmp_path) if word.startswith("{}") else word for word in words), cwd=made)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    said = [line for line in ended.err if line.startswith("mlquant")]
    assert ended.status == 1 and len(said) == 1 and said[0] == ended.err[-1], ended.err
    assert str(tmp_path) in said[0] and "File too large" in said[0]
    for path in tmp_path.rglob("*"):  # what was whole may stay; half a file or a temporary one may not
        assert not path.name.startswith(".")
        assert path.is_dir() or path.stat().st_size < limit


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupt_and_a_termination_leave_nothing_behind(made, tmp_path, name):
    # Snakemake ends its jobs with SIGTERM. Here it comes in the middle of the writing.
    code = f"""
import os, signal
from pathlib import Path
from mlquant import cli

def half(path, data):
    with open(path, "wb") as file:
        file.write(data[:9])
    os.kill(os.getpid(), signal.{name})

Path.write_bytes = half
cli.main()
"""
    command = [sys.executable, "-c", code, "resynth", "m.bin", "-o", str(tmp_path / "x.raw")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=made, timeout=60)
    number = signal.Signals[name]
    assert ended.returncode in (128 + number, -number) and len(ended.stderr.splitlines()) <= 1, ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("package", "words"),
    [("soundfile", ["resynth", "m.bin"]), ("faiss", ["vq-train", "l.f32", "-k", "4", "-m", "8"])],
)
def test_a_missing_package_is_named(made, tmp_path, monkeypatch, package, words):
    for name in [name for name in sys.modules if name.split(".")[0] == package or name == "mlquant.quantisers.vq"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delattr("mlquant.quantisers.vq", raising=False)
    ended = run(*words, "-o", tmp_path / "x.wav", cwd=made)
    assert ended.status == 1 and len(ended.err) == 1
    assert f"package {package} is not installed" in ended.err[0]
    assert not list(tmp_path.iterdir())
