"""Every target of config.yaml from clean, with the profile `ci`: little speech, few epochs, small codebooks."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from support.pages import opened, state
from support.readmes import unexplained
from support.workflow import copy_of_checkout, speech_of

from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.plan.config import alike

EXPERIMENTS = ("240104", "240118", "240121A", "240121B", "240125", "240125A")
ON_B = ("best24", "best18", "best12")  # without a bottleneck
CI = ("--workflow-profile", "workflow/profiles/ci")
OWN = {"files": "voices/*.wav", "resample": [1.0]}
OVERLAY = {
    # The speech of the machine, instead of downloads.
    "samples": {"vk5dgr_testing_8k": {"url": "file:///no/such/folder/vk5dgr.wav"}},
    "corpora": {
        **{name: {"parts": {"own": OWN}} for name in ("prompts", "tracts", "everyone")},
        **{name: {"parts": {"own": OWN, "other": {**OWN, "held_out": True}}} for name in ("voices", "voices_y")},
    },
    "studies": {
        "bits": {"samples": ["big_dog", "vk5dgr_testing_8k"], "sizes": [512], "bits": 18, "interval_ms": [10, 20]},
        "measures": {"test_set": "one", "modes": [3200, 2400, 1200], "noises": [10], "postfilters": [1.0, 1.2]},
    },
    "test_sets": {"one": {"files": "speech/big_dog.raw", "shards": 1}},
    "experiments": {
        name: {"samples": ["big_dog", *(["vk5dgr_testing_8k"] if name == "240125" else [])], "test_set": None}
        for name in (*EXPERIMENTS, *ON_B)
    },
    "sweeps": {
        "wild": {
            "base": {
                "corpus": "prompts",
                "family": "autoencoder4",
                "nn": 3,
                "d": 4,
                "loss": "sd",
                "epochs": 9,
                "lr": 0.01,
            },
            "rows": {"tame": {}, "wild": {"optimiser": "sgd", "lr": 1e9}},
        }
    },
}
pytestmark = pytest.mark.slow


def checkout_in(folder):
    """A checkout whose corpora are the machine's own speech, and its configuration."""
    checkout = copy_of_checkout(folder, OVERLAY)
    path = checkout.folder / "config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["corpora"] |= OVERLAY["corpora"]
    for sweep in config["sweeps"].values():  # a network each, of which two are enough
        sweep["rows"] = dict(list(sweep["rows"].items())[:2])
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    speech_of("big_dog", 1.0, 110, 1).astype("<i2").tofile(checkout.folder / "speech" / "big_dog.raw")
    return checkout, config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkout in which every experiment, sweep and study was asked for at once."""
    checkout, config = checkout_in(tmp_path_factory.mktemp("targets") / "all")
    done = checkout.run(*CI, "all_experiments", "all_sweeps", "all_studies", "results/studies/measures")
    assert done.status == 0, done.text
    return checkout, config, done


def test_every_experiment_has_its_published_files(made):
    checkout, config, _ = made
    for name in (*EXPERIMENTS, *ON_B):
        outputs = alike(config)["experiments"][name]["outputs"]
        wavs = {f"results/{name}_wav/big_dog_{index}_{output['tag']}.wav" for index, output in outputs.items()}
        assert checkout.files(f"results/{name}_wav/*.wav") == wavs
        for wav in wavs:
            speech, rate = soundfile.read(checkout.folder / wav)
            assert rate == 8000 and 7680 <= len(speech) <= 8000 and np.abs(speech).max() > 0.01


def test_every_experiment_ends_in_a_page_that_shows_its_bottleneck(made, browser):
    checkout, _, _ = made
    for name in EXPERIMENTS:
        with opened(browser, checkout.folder / f"results/{name}_wav/index.html") as tab:
            assert name in tab.title()
            tab.keyboard.press("Home")
            tab.keyboard.press("n")
            assert state(tab)["frame"] == 1
            assert any(curve["id"] == "live" for curve in state(tab)["curves"]), name


def test_noise_on_the_latents_is_heard(made):
    checkout, _, _ = made
    quiet, noisy, noisier = (
        checkout.bytes(f"results/240121B_wav/big_dog_{output}.wav")
        for output in ("5_y_hat_ae3", "6_y_hat_ae3_1e-3", "7_y_hat_ae3_3e-3")
    )
    assert len({*quiet.values(), *noisy.values(), *noisier.values()}) == 3


def test_every_sweep_has_a_summary_and_a_figure(made):
    checkout, config, _ = made
    for name, sweep in config["sweeps"].items():
        folder = f"results/sweeps/{name}"
        files = {"summary.csv", "losses.csv", "losses.png", "losses.svg", "README.md", "settings.json"}
        assert checkout.files(f"{folder}/*") == {f"{folder}/{file}" for file in files}
        readme = (checkout.folder / folder / "README.md").read_text(encoding="utf-8")
        assert "**This is a quick look" in readme and HELD_OUT_BELOW in readme
        tables = {name: pd.read_csv(checkout.folder / folder / f"{name}.csv") for name in ("summary", "losses")}
        assert unexplained(readme, tables) == []
        summary = pd.read_csv(checkout.folder / folder / "summary.csv").set_index("variant")
        assert list(summary.index.astype(str)) == list(map(str, sweep["rows"]))
        trained = summary[summary["failed"].isna()]
        assert (trained["epochs_trained"] == 1).all() and (trained["seconds"] > 0).all()
        columns = [f"{which}_{column}" for which in ("final", "best") for column in ("loss", "held_out_sd_dB2")]
        assert (trained[columns] > 0).all(axis=None)
        assert {"family", "nn", "d", "lr", "seed"} <= set(summary)


def test_a_variant_that_fails_is_told_and_stops_no_other(made):
    checkout, _, done = made
    summary = pd.read_csv(checkout.folder / "results/sweeps/wild/summary.csv").set_index("variant")
    assert summary["failed"].isna().to_dict() == {"tame": True, "wild": False}
    assert "epoch 1" in summary.loc["wild", "failed"] and "lower the setting lr" in summary.loc["wild", "failed"]
    assert "sweep wild: variant wild: optimiser sgd, lr 1000000000.0 failed: epoch 1" in done.text
    assert "**Failed: wild" in (checkout.folder / "results/sweeps/wild/README.md").read_text(encoding="utf-8")


def test_every_study_has_tables_and_figures_for_print(made):
    checkout, config, _ = made
    for name in (name for name, study in config["studies"].items() if study.get("in_all", True) or name == "measures"):
        files = {path.rsplit("/", 1)[1] for path in checkout.files(f"results/studies/{name}/*")}
        for suffix in (".csv", ".png", ".svg"):
            assert any(file.endswith(suffix) for file in files), (name, files)
        for table in checkout.files(f"results/studies/{name}/*.csv"):
            assert len(pd.read_csv(checkout.folder / table)), table
    wavs = checkout.files("results/studies/analog/*.wav")
    assert len(wavs) == 2 * 3, "of the analog and of the digital scheme at three ratios each"


def test_every_rate_is_rated_on_training_held_out_and_unseen_voices_and_by_pesq(made):
    checkout, config, _ = made
    table = pd.read_csv(checkout.folder / "results/studies/bits/bits.csv")
    rated = table[table["stages"].notna()]
    chains = config["studies"]["bits"]["chains"]
    assert len(rated) == 2 * 3 * 2 * 2 + sum(len(chain["stages"]) for chain in chains.values())
    sets = [f"{what}_{name}_dB2" for what in ("sd_b", "sd") for name in ("training", "held_out", "unseen")]
    assert (rated[sets] > 0).all(axis=None) and rated["pesq"].between(0.5, 4.5).all()
    assert (rated["bit_per_s"] == 1000 * rated["bits"] / rated["interval_ms"]).all()
    modes = table[table["source"] == "codec2"].set_index("kind")["bit_per_s"]
    assert {"3200", "1200", "700C"} <= {*modes.index} and modes["3200"] == 3200


def test_each_sample_is_analysed_once_and_each_network_trained_once(made):
    checkout, _, done = made
    assert done.rules["analyse"] == 2  # the sample, and the speech of both corpora
    trained = {path: json.loads(text) for path, text in checkout.bytes("results/networks/*/provenance.json").items()}
    assert done.rules["train"] + done.rules["train_on"] == len(trained)
    stages = [network["stages"][path.rpartition("/")[0]] for path, network in trained.items()]
    made_of = {json.dumps([stage["settings"], stage["inputs"]], sort_keys=True) for stage in stages}
    assert len(made_of) == len(trained)


def test_a_changed_row_of_a_sweep_trains_that_variant_and_nothing_else(made):
    checkout, config, _ = made
    assert checkout.run(*CI, "-n", "results/sweeps/gamma").rules == {}
    row = next(iter(config["sweeps"]["gamma"]["rows"]))
    overlay = {"sweeps": {"gamma": {"rows": {row: {"gamma": 0.95}}}}}
    done = checkout.run(*CI, "-n", "results/sweeps/gamma", overlay=overlay)
    assert done.rules == {"train": 1, "sweep": 1}
    assert f"gamma_{row}" in done.stages
