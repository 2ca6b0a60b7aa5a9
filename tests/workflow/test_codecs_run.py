"""A codec is a result of the workflow: its folder, speech that it codes, and its place in an experiment's tables."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from support.codecs import coded
from support.commands import succeeds
from support.workflow import OVERLAY, copy_of_checkout

from mlquant.codecs import files
from mlquant.core import records
from mlquant.plan import config

pytestmark = pytest.mark.slow
CODEC = {
    "quantisers": {
        "e4": {"kind": "superframe", "of": "energy", "frames": 4, "stages": [{"size": 16}]},
        "s9": {"kind": "superframe", "of": "shape", "frames": 4, "stages": [{"size": 32}, {"size": 16}]},
    },
    "codecs": {
        "tiny": {
            **{"corpus": "few", "energy": "e4", "shape": "s9"},
            "network": {"hidden": [16], "epochs": 2, "finetune": 2, "batch": 16},
        }
    },
    "test_sets": {"own": {"files": "set/*.raw", "shards": 1}},
    "experiments": {
        "coded": {
            "title": "A codec",
            "samples": ["ann"],
            "test_set": "own",
            "outputs": {
                "5": {
                    "tag": "tiny",
                    "process": "codec",
                    "codec": "tiny",
                    "processing": "all of it",
                    "shows": "a codec",
                },
                "8": {"tag": "1300", "process": "codec2", "mode": "1300", "processing": "Codec 2", "shows": "another"},
            },
        }
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    checkout = copy_of_checkout(tmp_path_factory.mktemp("codecs") / "checkout", config.merged(OVERLAY, CODEC))
    (checkout.folder / "set").mkdir()
    shutil.copy(checkout.folder / "speech" / "ann.raw", checkout.folder / "set" / "ann.raw")
    done = checkout.run("results/coded_wav", "results/codecs/tiny", "--cores", 2)
    assert done.status == 0, done.text
    return checkout


def test_the_folder_of_a_codec_has_all_that_is_needed_and_nothing_else(made, tmp_path):
    folder = shutil.copytree(made.folder / "results/codecs/tiny", tmp_path / "elsewhere")
    (folder / ".snakemake_timestamp").unlink()  # Snakemake's own
    assert {path.name for path in folder.iterdir()} == {"codec.json", "tables.safetensors"}
    told = json.loads((folder / "codec.json").read_text())
    assert told["bits"] == 2 + 6 + 2 + 4 + 9 and told["bit_rate"] == 575 and told["name"] == "tiny"
    assert sorted(one["bit"] for one in told["sensitivity"]) == [*range(23)]
    succeeds("enc", folder, made.folder / "speech/ann.raw", "-o", tmp_path / "ann.bit")
    succeeds("dec", folder, tmp_path / "ann.bit", "-o", tmp_path / "ann.wav")
    wav = made.folder / "results/coded_wav/ann_5_tiny.wav"
    assert np.array_equal(
        records.read_speech(wav), records.read_speech(tmp_path / "ann.wav")[: len(records.read_speech(wav))]
    )


def test_tables_and_page_treat_it_as_any_output(made):
    folder = made.folder / "results/coded_wav"
    means = pd.read_csv(folder / "means.csv").query("group == 'all'").set_index("index")
    assert (means.loc[5, "bits_per_frame"], means.loc[5, "frame_ms"], means.loc[5, "bit_per_s"]) == (23, 40, 575)
    assert 1 <= means.loc[5, "pesq"] <= 4.6
    assert (
        "coded by tiny, whose bit streams hold pitch, voicing, energy and spectrum"
        in (folder / "index.html").read_text()
    )
    assert json.loads((folder / "config.yaml").read_text())["codecs"]["tiny"]["energy"] == "e4"


def test_an_utterance_of_a_set_is_coded_as_the_sample(made):
    (of_set,) = (made.folder / "results/set_measures").glob("own_1_tiny.*")
    codec, _ = files.read(made.folder / "results/codecs/tiny")
    speech = records.read_speech(made.folder / "speech/ann.raw")
    spoken = records.read_speech(of_set / "speech.raw")
    assert np.array_equal(spoken, coded(codec, speech)[: len(spoken)])
    of_sample = pd.read_csv(made.folder / "results/coded_wav/measures.csv").set_index("index")
    assert pd.read_csv(of_set / "measures.csv")["pesq"][0] == pytest.approx(of_sample.loc[5, "pesq"], rel=1e-5)


def test_a_change_of_the_postfilter_trains_nothing(made, tmp_path):
    checkout = made.copy(tmp_path / "copy")
    assert checkout.run("-n", "results/coded_wav").rules == {}
    rules = checkout.run("-n", "results/coded_wav", "--config", "codecs={tiny: {postfilter: 1.1}}").rules
    assert "assemble" in rules and not {"track", "vq_superframe", "train_context"} & rules.keys()
    rules = checkout.run("-n", "results/coded_wav", "--config", "quantisers={e4: {stages: [{size: 32}]}}").rules
    assert rules["vq_superframe"] == 1 and "track" not in rules
    changed = "codecs={tiny: {energy: s9}}"
    assert (
        "'s9' is of shape, expected one of kind superframe, of energy" in checkout.run("-n", "--config", changed).text
    )


@pytest.mark.skipif(not (shutil.which("cc") and shutil.which("make")), reason="needs a C compiler, cc, and make")
def test_a_codec_of_other_bits_becomes_a_decoder_in_c(made, tmp_path):
    checkout = made.copy(tmp_path / "copy")
    bits = "quantisers={e4: {stages: [{size: 32}]}, s9: {stages: [{size: 64}, {size: 8}, {size: 8}]}}"
    done = checkout.run(
        "results/codecs/tiny", "--config", bits, "codecs={tiny: {pitch: {bits: 5, offsets: []}, voicing_ms: 40}}"
    )
    assert done.status == 0, done.text
    codec, speech = checkout.folder / "results/codecs/tiny", made.folder / "speech/ann.raw"
    assert json.loads((codec / "codec.json").read_text())["bits"] == 1 + 5 + 5 + 12
    succeeds("export", codec, "-o", tmp_path / "c")
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    succeeds("enc", codec, speech, "-o", tmp_path / "ann.bit")
    succeeds("dec", codec, tmp_path / "ann.bit", "-o", tmp_path / "python.raw", "--lost", "0001")
    command = [tmp_path / "c/dec", "--lost", "0001", tmp_path / "ann.bit", tmp_path / "c.raw"]
    subprocess.run(command, check=True)
    found, expected = (np.fromfile(tmp_path / f"{name}.raw", "<i2").astype(float) for name in ("c", "python"))
    assert np.square(expected).sum() > 1e6 * np.square(found - expected).sum()  # 60 dB
