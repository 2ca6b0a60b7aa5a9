"""The page plays, shows and computes what the tables hold, alone, by keyboard too; the history grows by its rules."""

import base64
import csv
import io
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import test_set
from support.commands import run
from support.pages import (
    check_abx,
    check_accessibility,
    check_bottleneck,
    check_first_screen,
    check_frames,
    check_keyboard,
    check_keys_help,
    check_listening,
    check_numbers,
    check_opening_frame,
    check_phone,
    check_signs,
    check_small_player,
    check_widths,
    opened,
    state,
    wait_for,
)

from mlquant.core import colours, disk, records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError
from mlquant.core.intervals import speaker_interval
from mlquant.experiments import page
from mlquant.experiments.page import data, in_set
from mlquant.networks import inference, model
from mlquant.networks.settings import NetworkSettings
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.quantisers import vq
from mlquant.vocoder import features

TRAINING = {"lr": 0.01, "epochs": 1}
HOSTILE = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"


# What is tested


def network_of(folder, **settings):
    """A network that has learnt nothing, with batch statistics and a mean as after a training, as `mlquant train`."""
    settings = validate(NetworkSettings, TRAINING | settings, "test").model_dump()
    torch.manual_seed(3)
    network = model.Network(settings)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "mean")):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    weights = safetensors.torch.save(network.state_dict(), {"settings": json.dumps(settings)})
    disk.write_bytes(folder / "weights.safetensors", weights)
    disk.write_json(folder / "settings.json", settings)
    losses = "epoch,lr,loss,sd_dB2,held_out_loss,held_out_sd_dB2\n1,1,0.5,9,0.6,10\n2,1,0.4,8,0.5,9\n"
    disk.write_text(folder / "losses.csv", losses)
    return folder


def write_csv(path, rows):
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    disk.write_text(path, buffer.getvalue())


def tables_of(folder, voice, *, samples=("one", "two"), name="small", key="11111111", title="A title", tag="y_hat",
              target="b", pesq=True, revision="0" * 40 + "-dirty"):  # fmt: skip
    """A tables folder as of `mlquant tabulate`: outputs 1 (no features), 3 (y_hat) and 6 (quantised), a bottleneck."""
    stages = folder / "stages"
    spec = {"family": "autoencoder1", "nn": 4, "d": 4, "ncat": 2, "noise_var": 0.01}
    if target == "y":
        spec = {"family": "autoencoder3", "nn": 1, "d": 4, "noise_var": 0.01}
    net = network_of(stages / "net", loss="wloss", gamma=0.5, **spec)
    manifold = network_of(stages / "manifold", family="manifold", nn=1)
    network, settings = inference.load(net / "weights.safetensors")
    rng = np.random.default_rng(1)
    codebooks = []
    for i in (1, 2):
        records.write_f32(stages / f"vq_{i}" / "vq.f32", rng.normal(0, 1 / i, (32, 4)))
        disk.write_text(stages / f"vq_{i}" / "trace.csv", "entries,variance,iterations\n16,0.5,3\n32,0.3,4\n")
        codebooks.append(f"{stages}/vq_{i}/vq.f32")
    outputs = [
        {"index": 1, "tag": "out", "process": "original", "processing": "original", "shows": "", "networks": []},
        {"index": 3, "tag": tag, "process": "vocoder", "processing": "b to y_hat", "shows": "x",
         "networks": ["manifold"]},
        {"index": 6, "tag": "vq", "process": "vocoder", "processing": "quantised", "shows": "y", "networks": ["net"],
         "quantiser": "vq", "stages": 2, "mbest": 3},
    ]  # fmt: skip
    measures, frames, known, latents, sent, wavs = [], [], {}, {}, {}, {}
    for s, sample in enumerate(samples):
        made = stages / f"sample{s}"
        count = 60 + s
        speech = voice[s * 80 : s * 80 + 80 * count]
        records.write_speech(made / "speech.raw", speech)
        Wo = rng.uniform(0.05, 0.2, count).astype(np.float32)
        L = np.floor(np.pi / Wo).astype(np.int32) - 1
        A = (1000 * np.exp(-np.arange(161) / 20) * rng.uniform(0.7, 1.3, (count, 161))).astype(np.float32)
        model = records.Model(Wo, L, A, A * 0, (np.arange(count) % 2).astype(np.int32))
        records.write_model(made / "model.bin", model)
        b, y = features.model_to_features(model, 0.0)
        feature_records = features.features_to_records(b, Wo, model.voiced)
        records.write_f32(made / "b.f32", feature_records)
        records.write_f32(made / "y.f32", y)
        records.write_f32(made / "l.f32", inference.encode(network, settings, feature_records))
        latents[sample], sent[sample] = f"{made}/l.f32", f"{made}/indices.npy"
        books = [records.read_f32(path, 4) for path in codebooks]
        np.save(made / "indices.npy", vq.search_smoothed(records.read_f32(made / "l.f32", 4), books, 3, 0.25))
        rows = []
        for output in outputs:
            index = output["index"]
            named = {"wav": f"{made}/{index}.wav", "y": f"{made}/y.f32"}
            records.write_speech(named["wav"], np.roll(speech // index, 209))
            row = {"sample": sample, "sex": "mf"[s % 2], "index": index, "tag": output["tag"], "delay_samples": 209,
                   "delay_measured": 210, "pesq": 4 - index / 5 if pesq else "", "stoi": 0.9}  # fmt: skip
            if index > 1:
                y_hat = y + rng.normal(0, index, y.shape)
                named["y_hat"] = f"{made}/y_hat_{index}.f32"
                records.write_f32(named["y_hat"], y_hat)
                sd = features.spectral_distortion(y, y_hat)
                row["sd_dB2"] = float(sd.mean())
            if index == 6:
                row["bit_per_s"] = 1000
                named["published"] = f"{made}/published.wav"
                records.write_speech(named["published"], np.roll(speech // 2, 209))
                named["b_hat"] = f"{made}/b_hat.f32"
                records.write_f32(named["b_hat"], feature_records + 1)
            for i in range(count):
                value = f"{sd[i]:.6g}" if index > 1 else ""
                frames.append({"sample": sample, "index": index, "tag": output["tag"], "frame": i, "sd_dB2": value})
            measures.append(row)
            rows.append(
                {"index": index, "tag": output["tag"], "bits_per_frame": None, "frame_ms": None, "files": named}
            )
            wavs[f"{sample.replace('/', '')}_{index}_{output['tag'].replace('/', '')}.wav"] = {
                "from": named["wav"],
                "index": index,
                "tag": output["tag"],
            }
        known[sample] = {"sex": "mf"[s % 2], "source": f"{made}/speech.raw", "model": f"{made}/model.bin",
                         "features": f"{made}/b.f32", "y": f"{made}/y.f32", "rows": rows}  # fmt: skip
    means = [
        {"group": group, "index": o["index"], "tag": o["tag"], "samples": 1,
         "pesq": 3 if pesq else "", "sd_dB2": o["index"], "bit_per_s": 1000 if o["index"] == 6 else ""}
        for group in ("all", "male", "female")
        for o in outputs
    ]  # fmt: skip
    anchors = [{"sample": s, "tag": t, "bit_per_s": t if t.isdigit() else "", "pesq": 2.5}
               for s in samples for t in ("original", "ideal_y", "1200", "3200")]  # fmt: skip
    tables = folder / "tables"
    for table, rows in (("measures", measures), ("means", means), ("anchors", anchors), ("frames", frames)):
        write_csv(tables / f"{table}.csv", rows)
    provenance = {
        "experiment": {"name": name, "title": title, "samples": list(samples), "outputs": outputs, "published": None},
        "key": key,
        "left_out": [],
        "pesq": pesq,
        "wavs": wavs,
        "samples": known,
        "networks": {"net": str(net), "manifold": str(manifold)},
        "codebooks": {f"vq_{i}": f"{stages}/vq_{i}" for i in (1, 2)},
        "bottleneck": {
            "network": "net",
            "weights": f"{net}/weights.safetensors",
            "codebooks": codebooks,
            "choices": [
                {"index": 6, "tag": "vq", "stages": 2, "mbest": 3},
                {"index": 7, "tag": "vq", "stages": 1, "mbest": 1},
                {"index": 9, "tag": "vq", "stages": 2, "mbest": 3, "smooth": 0.25, "sent": sent},
            ],
            "latents": latents,
        },
        "stages": {str(net): {"key": "k", "command": "train", "settings": {"seed": 1}, "inputs": {}}},
        "definitions": {"vq": "12345678"},
        "versions": {"python": "3", "revision": revision},
    }
    disk.write_json(tables / "provenance.json", provenance)
    return tables


@pytest.fixture(scope="module")
def tables(tmp_path_factory, voice):
    return tables_of(tmp_path_factory.mktemp("page"), voice)


@pytest.fixture(scope="module")
def html(tables):
    page.write(tables, tables.parent / "history.csv", tables.parent / "out")
    return tables.parent / "out" / "index.html"


@pytest.fixture(scope="module")
def with_set(tmp_path_factory, voice):
    """A page of tables with a test set, the table of its utterances, and the provenance."""
    tables = tables_of(tmp_path_factory.mktemp("set"), voice, samples=("one", "two", "three"))
    every = test_set.add(tables)
    page.write(tables, None, tables.parent / "out")
    return tables.parent / "out" / "index.html", every, disk.read_json(tables / "provenance.json")


def page_data(text):
    """The object and the bytes that a page holds."""
    between = text.partition('id="data">')[2]
    found, _, rest = between.partition("</script>")
    blob = rest.partition('id="blob">')[2].partition("</script>")[0]
    return json.loads(found), blob


# The Python side


@pytest.mark.parametrize(
    "settings",
    [
        {"family": "autoencoder1", "nn": 1, "d": 10},
        {"family": "autoencoder1", "nn": 2, "d": 30, "ncat": 4},
        {"family": "autoencoder1", "nn": 4, "d": 10, "zero_mean": True},
        {"family": "autoencoder1", "nn": 2, "d": 6, "ncat": 3, "dct": True, "zero_mean": True, "norm": False},
        {"family": "autoencoder2", "nn": 2, "d": 10},
        {"family": "autoencoder3", "nn": 4, "d": 10},
        {"family": "autoencoder4", "nn": 6, "d": 10},
    ],
    ids=lambda s: f"{s['family']}-{s['nn']}",
)
def test_the_dense_layers_are_the_decoder(tmp_path, settings):
    weights = network_of(tmp_path, **settings) / "weights.safetensors"
    layers, settings = data.decoder_layers(weights)
    assert settings == disk.read_json(tmp_path / "settings.json")
    network = model.Network(settings).eval()
    network.load_state_dict(safetensors.torch.load_file(weights))
    rng = np.random.default_rng(0)
    latents = x = rng.uniform(-1, 1, (12, settings["d"])).astype(np.float32)
    for i, (W, b) in enumerate(layers):
        x = (np.maximum(x, 0) if i else x) @ W.T + b
    with torch.no_grad():
        assert np.abs(network.decode(torch.from_numpy(latents)).numpy() - x).max() < 1e-5


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"family": "autoencoder1", "nn": 3, "d": 8, "ncat": 4}, "conv"),
        ({"family": "autoencoder1", "nn": 5, "d": 4}, "fsq"),
        ({"family": "manifold", "nn": 1}, "no bottleneck"),
    ],
)
def test_a_decoder_of_other_layers_is_refused_with_the_reason(tmp_path, settings, reason):
    with pytest.raises(InputError, match=reason):
        data.decoder_layers(network_of(tmp_path, **settings) / "weights.safetensors")


def test_a_bottleneck_that_cannot_be_shown_is_a_reason_on_the_page(tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=("one",))
    provenance = disk.read_json(tables / "provenance.json")
    assert "layers" in data.gather([("", tables)])[0]["bottleneck"]
    manifold = f"{provenance['networks']['manifold']}/weights.safetensors"
    for bottleneck in (None, provenance["bottleneck"] | {"weights": manifold}):
        disk.write_json(tables / "provenance.json", provenance | {"bottleneck": bottleneck})
        assert "bottleneck" in data.gather([("", tables)])[0]["bottleneck"]["reason"]


def test_arrays_come_back_from_the_page(html, tables):
    shown, blob = page_data(html.read_text(encoding="utf-8"))
    known = disk.read_json(tables / "provenance.json")["samples"]["two"]
    sample = next(sample for sample in shown["samples"] if sample["name"] == "two")
    raw = base64.b64decode(blob)

    def array(place):
        return np.frombuffer(raw, "<f4" if place["type"] == "f4" else "<i2", np.prod(place["shape"]), place["at"])

    source = records.read_speech(known["source"])
    assert (array(sample["tracks"][0]["audio"]) == np.pad(source, (209, 0))).all()
    assert (array(sample["tracks"][3]["audio"]) == records.read_speech(known["rows"][2]["files"]["wav"])).all()
    y = records.read_f32(known["y"], 79)
    assert np.abs(array(sample["y"]) * shown["step_dB"] - y.ravel()).max() <= 0.0051
    latents = shown["bottleneck"]["latents"]["two"]
    assert (array(latents) == records.read_f32(f"{Path(known['y']).parent}/l.f32", 4).ravel()).all()
    model = records.read_model(known["model"])
    amplitude = array(sample["harmonics"]["A_dB"])[0] * shown["step_dB"]
    expected = 20 * np.log10(model.A[0, 1]) + 10 * np.log10(2 - 2 * np.cos(model.Wo[0]))
    assert amplitude == pytest.approx(expected, abs=0.0051)


def test_the_folder_holds_links_to_tables_wavs_and_loss_curves(html, tables, tmp_path):
    out, provenance = html.parent, disk.read_json(tables / "provenance.json")
    for name, wav in provenance["wavs"].items():
        assert (records.read_speech(out / name) == records.read_speech(wav["from"])).all()
    for path in set(tables.iterdir()) - {tables / "provenance.json"}:
        assert (out / path.name).samefile(path)
    disk.write_bytes(tmp_path / "net.12345678" / "losses.png", b"png")
    page.write(tables, tmp_path / "history.csv", tmp_path / "out", [tmp_path / "net.12345678" / "losses.png"])
    assert (tmp_path / "out" / "net_losses.png").read_bytes() == b"png"
    assert HELD_OUT_BELOW in html.read_text(encoding="utf-8")


def test_hostile_names_stay_text(tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=(HOSTILE,), title=HOSTILE, tag=HOSTILE, name=HOSTILE)
    text = page.render([("", tables)])
    assert "<img" not in text
    assert text.count("</script>") == 3  # the data's, the arrays', the program's
    shown, _ = page_data(text)
    assert shown["samples"][0]["name"] == HOSTILE
    assert shown["experiments"][0]["title"] == HOSTILE


def test_samples_of_two_experiments_are_joined_by_name(tmp_path, voice):
    first = tables_of(tmp_path / "a", voice, samples=("one", "two"), name="a")
    second = tables_of(tmp_path / "b", voice, samples=("two", "three"), name="b")
    shown, _ = page_data(page.render([("A", first), ("B", second)]))
    labels = {sample["name"]: [track["label"] for track in sample["tracks"]] for sample in shown["samples"]}
    alone = ["source", "{0} 1", "{0} 3", "{0} 6", "{0} 6 published"]
    assert labels["one"] == [label.format("A") for label in alone]
    assert labels["three"] == [label.format("B") for label in alone]
    assert labels["two"] == [label.format("A") for label in alone] + [label.format("B") for label in alone[1:]]
    again, _ = page_data(page.render([("A", first), ("A'", first)]))
    one = again["samples"][0]["tracks"]
    assert one[1]["audio"] == one[5]["audio"]  # what experiments share is there once


def test_making_a_page_loads_nothing_slow():
    program = (
        "import sys, mlquant.experiments.page; print(*{'torch', 'scipy', 'matplotlib', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("missing", ["measures.csv", "frames.csv", "provenance.json"])
def test_a_missing_table_is_one_line(tmp_path, voice, missing):
    tables = tables_of(tmp_path, voice, samples=("one",))
    (tables / missing).unlink()
    with pytest.raises(InputError, match=missing):
        page.write(tables, tmp_path / "history.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_page_of_five_samples_is_small_and_made_in_a_second(tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=[f"s{i}" for i in range(5)])
    start = time.process_time()
    text = page.render([("", tables)])
    assert time.process_time() - start < 1
    assert len(text) < 12e6


def test_colours_are_those_of_the_figures(browser, html):
    for scheme, expected in (("light", colours.LIGHT), ("dark", colours.DARK)):
        with opened(browser, html, color_scheme=scheme) as tab:
            style = "getComputedStyle(document.documentElement)"
            shown = tab.evaluate(
                f"Array.from({{ length: 13 }}, (_, i) => {style}.getPropertyValue(`--c${{i}}`).trim())"
            )
            assert shown == [*expected, ""]
            assert tab.evaluate("mlquant.page.colours") == len(expected)


def history_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def small_tables(folder, key, name="a", **measures):
    write_csv(folder / "means.csv", [{"group": group, "index": 3, "tag": "t", "samples": 2, "pesq": "3.10", **measures}
                                     for group in ("all", "male")])  # fmt: skip
    provenance = {"experiment": {"name": name}, "key": key, "versions": {"revision": None}}
    disk.write_json(folder / "provenance.json", provenance)
    return folder


def test_history_grows_when_the_key_is_another(tmp_path):
    history = tmp_path / "deep" / "history.csv"
    for key, name in (("1", "a"), ("1", "a"), ("1", "b"), ("1", "a"), ("2", "a"), ("1", "a")):
        page.append_history(history, small_tables(tmp_path / "tables", key, name))
    rows = history_of(history)
    assert [(row["experiment"], row["key"]) for row in rows] == [("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")]
    assert rows[0]["pesq"] == "3.10"  # as it stands in the table
    assert rows[0]["revision"] == ""
    assert list(rows[0])[:6] == ["time", "experiment", "key", "revision", "index", "tag"]


def test_history_keeps_columns_that_only_some_rows_have(tmp_path):
    history = tmp_path / "history.csv"
    page.append_history(history, small_tables(tmp_path / "tables", "1", sd_dB2="5"))
    page.append_history(history, small_tables(tmp_path / "tables", "2", stoi="0.9"))
    rows = history_of(history)
    assert [(row["sd_dB2"], row["stoi"]) for row in rows] == [("5", ""), ("", "0.9")]


def test_history_marks_the_rows_of_a_quick_look(tmp_path):
    history = tmp_path / "history.csv"
    for key, lowered in (("1", {}), ("2", {"networks.nn4.epochs": [50, 1], "corpora.a.parts.b.minutes": [None, 0.5]})):
        tables = small_tables(tmp_path / "tables", key)
        known = disk.read_json(tables / "provenance.json")
        disk.write_json(tables / "provenance.json", known | {"experiment": {"name": "a", "lowered": lowered}})
        page.append_history(history, tables)
    full, quick = history_of(history)
    assert full["quick_look"] == ""
    assert quick["quick_look"].endswith(
        "epochs 1 instead of 50 (networks nn4); minutes 0.5 instead of all (corpora a)."
    )


def test_history_that_is_none_is_refused_and_left_alone(tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"history\.csv: has no column time"):
        page.append_history(history, small_tables(tmp_path / "tables", "1"))
    assert history.read_text() == "a,b\n1,2\n"


def append_many(history, tables):
    for folder in tables:
        page.append_history(history, folder)


def test_history_of_processes_at_once_is_whole(tmp_path):
    history = tmp_path / "history.csv"
    folders = [[small_tables(tmp_path / f"{p}{i}", str(i), f"e{p}") for i in range(10)] for p in range(3)]
    processes = [multiprocessing.get_context("fork").Process(target=append_many, args=(history, f)) for f in folders]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    for p in range(3):
        assert [row["key"] for row in history_of(history) if row["experiment"] == f"e{p}"] == list("0123456789")


# The test set


def clip_arrays(html):
    """For each output of a page its picks, with the source and the coded speech as arrays."""
    shown, blob = page_data(html.read_text(encoding="utf-8"))
    raw, found = base64.b64decode(blob), {}
    clips = shown["experiments"][0]["test_set"]["clips"]
    for output in clips["outputs"]:
        for pick in output["picks"]:
            for side in ("source", "coded"):
                place = pick[side]
                pick[side] = np.frombuffer(raw, "<i2", place["shape"][0], place["at"])
            found[output["index"], pick["which"]] = pick
    return clips, found


def speech_in_set(known, every, index, row):
    """Source and coded speech of an utterance, by its row in utterances.csv, found shard by shard."""
    in_set = known["experiment"]["measured_in_set"]
    place = [output["index"] for output in known["experiment"]["outputs"]].index(index)
    for table, speech, coded in zip(
        in_set["utterances"], in_set["speech"], in_set["outputs"][place]["speech"], strict=True
    ):
        start = 0
        for one in csv.DictReader(Path(table).read_text().splitlines()):
            frames = -(-int(one["samples"]) // 80)
            if (one["utterance"], one["speaker"]) == (row["utterance"], row["speaker"]):
                source = records.read_speech(speech)[int(one["start"]) : int(one["start"]) + int(one["samples"])]
                return source, records.read_speech(coded)[80 * start : 80 * (start + frames)]
            start += frames
    raise AssertionError("not in the set")


def test_the_page_holds_the_best_median_and_worst_utterance_of_each_output(with_set):
    html, every, known = with_set
    clips, found = clip_arrays(html)
    assert clips["measure"] == "pesq" and clips["seconds"] is None
    for index, rows in every.groupby("index"):
        order = rows.sort_values("pesq", ascending=False).to_dict("records")
        for which, row in (("best", order[0]), ("median", order[(len(order) - 1) // 2]), ("worst", order[-1])):
            pick = found[index, which]
            assert (pick["utterance"], pick["speaker"]) == (row["utterance"], row["speaker"])
            assert pick["value"] == pytest.approx(row["pesq"], rel=1e-5)
            source, coded = speech_in_set(known, every, index, row)
            np.testing.assert_array_equal(pick["source"], np.pad(source, (209, 0)))
            np.testing.assert_array_equal(pick["coded"], coded)
    shown, _ = page_data(html.read_text(encoding="utf-8"))
    picks = [one for output in shown["experiments"][0]["test_set"]["clips"]["outputs"] for one in output["picks"]]
    places = {(pick["utterance"], pick["source"]["at"]) for pick in picks}
    assert len(places) == len({name for name, _ in places}) < len(picks), "an utterance is there once"


def test_clips_that_are_too_much_for_a_page_are_cut_to_one_length(tmp_path, voice, monkeypatch):
    tables = tables_of(tmp_path, voice, samples=("one",))
    test_set.add(tables, each=2, frames=200)
    monkeypatch.setattr(in_set, "ROOM", 6 * 9000)
    disk.write_text(tmp_path / "page.html", page.render([("", tables)]))
    clips, found = clip_arrays(tmp_path / "page.html")
    assert 1.1 <= clips["seconds"] < 2
    lengths = {len(pick[side]) for pick in found.values() for side in ("source", "coded")}
    assert lengths == {round(8000 * clips["seconds"])}


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=40), st.integers(400_000, 2_000_000))
def test_clips_are_cut_no_shorter_than_the_room_asks_for(lengths, room):
    longest = in_set._longest(lengths, room)
    total = sum(min(one, longest or one) for one in lengths)
    assert total <= room or longest == 8000
    if longest:
        assert sum(lengths) > room and sum(min(one, longest + 800) for one in lengths) > room


def test_speech_of_a_test_set_that_is_not_there_is_one_line(tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=("one",))
    test_set.add(tables)
    coded = Path(disk.read_json(tables / "provenance.json")["experiment"]["measured_in_set"]["outputs"][1]["speech"][0])
    coded.write_bytes(coded.read_bytes()[:100])
    for spoil, told in ((lambda: None, "ends before sample"), (coded.unlink, "no such file")):
        spoil()
        ended = run("page", tables, "-o", tmp_path / "out")
        assert ended.status == 1 and len(ended.err) == 1 and f"{coded}: " in ended.err[0] and told in ended.err[0]
        assert not (tmp_path / "out").exists()


def test_the_first_screen_sets_the_test_set_beside_the_samples(browser, with_set):
    html, every, _ = with_set
    check_first_screen(browser, html)
    check_phone(browser, html)
    with opened(browser, html, viewport={"width": 1280, "height": 800}) as tab:
        assert "on the test set mine (24 utterances of 6 speakers; bootstrap over speakers)" in " ".join(
            tab.locator("#outputs").inner_text().split()
        )
        low, high = speaker_interval(*(every[every["index"] == 6][name] for name in ("pesq", "speaker")))
        mean = every[every["index"] == 6]["pesq"].mean()
        row = tab.locator("#outputs tbody tr").last
        assert row.locator(".in-set").inner_text() == f"{mean:.2f}"
        assert row.locator("td").last.inner_text() == f"{low:.2f} to {high:.2f}"
        tab.locator("#against-bits select").select_option("sd_dB2")
        assert row.locator(".pesq").inner_text() == "6.00"
        assert row.locator(".in-set").inner_text() == f"{10 - mean:.2f}"
        head = tab.locator("#outputs thead th").all_inner_texts()
        assert "SD dB²" in head and "PESQ" not in head


def test_differences_on_the_page_are_told_in_words_by_sex(browser, with_set):
    html, every, _ = with_set
    with opened(browser, html) as tab:
        section = tab.locator("#test-set")
        assert "24 utterances of 6 speakers of the test set mine" in section.inner_text()
        assert "by bootstrap over speakers" in section.inner_text()
        rows = section.get_by_role("region", name="differences of outputs").locator("tbody tr")
        assert rows.count() == 3
        cells = [" ".join(text.split()) for text in rows.nth(1).locator("th, td").all_inner_texts()]
        of = {index: rows.set_index("utterance")["pesq"] for index, rows in every.groupby("index")}
        for cell, sex in zip(cells[2:], ("", "m", "f"), strict=True):
            names = every[(every["index"] == 1) & (every["sex"] == sex if sex else True)]["utterance"]
            assert cell.startswith(
                f"\N{MINUS SIGN}{-(of[6] - of[1])[names].mean():.3f} worse, beyond chance \N{MINUS SIGN}0."
            ), cell
        section.get_by_role("group", name="speakers").get_by_role("button", name="female").click()
        assert "Means over 12 utterances of 3 speakers" in section.inner_text()
        check_accessibility(tab)
    with opened(browser, html, viewport={"width": 390, "height": 800}, color_scheme="dark") as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390
        check_signs(tab)
        check_accessibility(tab)


CLIP = "[Boolean(mlquant.clips.node), mlquant.clips.now?.which, mlquant.clips.now?.index, mlquant.clips.side]"


def test_clips_play_by_mouse_and_by_keyboard_one_at_a_time(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=("one",))
    every = test_set.add(tables, each=2, frames=400)
    disk.write_text(tmp_path / "page.html", page.render([("", tables)]))
    with opened(browser, tmp_path / "page.html") as tab:
        worst = every[every["index"] == 6].sort_values("pesq").iloc[0]
        told = f"the worst utterance of 6, d = 4, not quantised: {worst['utterance']} of {worst['speaker']}, PESQ"
        told = told.replace("d = 4, not quantised", tab.evaluate("mlquant.page.experiments[0].words[2].short"))
        coded = tab.get_by_role("button", name=told).last
        source = tab.get_by_role("button", name=f"source of {told}")
        tab.keyboard.press("r")
        tab.keyboard.press("Space")
        assert state(tab)["playing"]
        coded.click()
        assert tab.evaluate(CLIP) == [True, "worst", 6, "coded"] and not state(tab)["playing"]
        assert coded.get_attribute("aria-pressed") == "true" and source.get_attribute("aria-pressed") == "false"
        assert told in tab.locator("#clip-status").inner_text()
        wait_for(tab, "mlquant.audio.context.currentTime > mlquant.clips.started + 0.2")
        tab.keyboard.press("0")
        assert tab.evaluate(CLIP) == [True, "worst", 6, "source"]
        assert tab.evaluate("mlquant.clips.offset") >= 0.2, "it goes on from the same position"
        tab.keyboard.press("6")
        assert tab.evaluate(CLIP) == [True, "worst", 6, "coded"]
        tab.keyboard.press("Space")
        assert tab.evaluate(CLIP)[0] is False
        tab.keyboard.press("Space")
        assert tab.evaluate(CLIP) == [True, "worst", 6, "coded"]
        tab.locator("#player").focus()
        tab.keyboard.press("Space")
        assert state(tab)["playing"] and tab.evaluate(CLIP)[0] is False
        tab.keyboard.press("Space")
        source.focus()
        tab.keyboard.press("Enter")
        assert tab.evaluate(CLIP) == [True, "worst", 6, "source"]
        tab.keyboard.press("Enter")
        assert tab.evaluate(CLIP)[0] is False
        check_keyboard(tab)


def test_a_page_without_a_test_set_says_nothing_of_one(tab):
    assert not tab.locator("#test-set").is_visible()
    assert "Test set" not in tab.locator("nav").inner_text()


# In a browser


@pytest.fixture
def tab(browser, html):
    with opened(browser, html) as tab:
        yield tab


def test_the_first_screen_has_all_that_matters(browser, html):
    check_first_screen(browser, html)


def crowded(tables):
    """Tables as of a quick look with 20 outputs and 30 samples, of which a sample and some measures are missing."""
    known = disk.read_json(tables / "provenance.json")
    outputs = known["experiment"]["outputs"]
    more = [outputs[2] | {"index": 10 + i, "tag": f"vq{i}", "mbest": 1 + i} for i in range(17)]
    known["experiment"] |= {
        "outputs": outputs + more,
        "title": "A title that is long enough to be broken into two lines in a window of usual width, as is this one",
        "lowered": {f"networks.net{i}.epochs": [50, 1 + i] for i in range(9)},
    }
    known |= {"left_out": ["vk5dgr_testing_8k"], "empty": ["PESQ of one: the package pesq is not installed"]}
    first = known["samples"]["one"]
    first["rows"] += [first["rows"][2] | {"index": one["index"], "tag": one["tag"]} for one in more]
    known["samples"] = {"one": first} | {f"sample_of_many_{i}": first for i in range(29)}
    latents = known["bottleneck"]["latents"]["one"]
    known["bottleneck"]["latents"] = dict.fromkeys(known["samples"], latents)
    disk.write_json(tables / "provenance.json", known)
    for table in ("measures", "means"):
        rows = history_of(tables / f"{table}.csv")
        kept = [row for row in rows if row.get("sample", "one") == "one"]
        copied = [row | {"index": one["index"], "tag": one["tag"], "pesq": f"{2 + one['index'] / 30}"}
                  for one in more for row in kept if row["index"] == "6"]  # fmt: skip
        write_csv(tables / f"{table}.csv", rows + copied)


@pytest.mark.slow
def test_the_first_screen_has_all_that_matters_of_a_crowded_page_too(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice)
    crowded(tables)
    disk.write_text(tmp_path / "page.html", page.render([("", tables)]))
    check_first_screen(browser, tmp_path / "page.html", outputs=3)
    with opened(browser, tmp_path / "page.html", viewport={"width": 1280, "height": 800}) as tab:
        box = tab.locator("#about .warning").first.bounding_box()
        assert "quick look" in tab.locator("#about .warning").first.inner_text()
        assert box["y"] < 200
        check_signs(tab)
        for place in ("#about", "#outputs", "#player"):
            assert "scrolls" in tab.locator(f"{place} .sign:visible").first.inner_text(), place


def test_a_phone_shows_pesq_and_plays(browser, html):
    check_phone(browser, html)


def test_keys_are_behind_a_question_mark(tab):
    check_keys_help(tab)


def test_frames_open_on_the_loudest_voiced_one(tab):
    check_opening_frame(tab)


def test_a_small_player_stands_below_the_tables(tab):
    check_small_player(tab)


def test_a_switch_keeps_the_clock_going(tab):
    check_listening(tab)


def test_frames_step_and_jump(tab):
    check_frames(tab)


def test_a_blind_trial_is_scored(tab):
    check_abx(tab)


def test_the_live_bottleneck_is_the_python_decoder(tab, tables):
    check_bottleneck(tab, disk.read_json(tables / "provenance.json"))


@pytest.mark.slow
def test_a_live_bottleneck_of_y_hat_is_the_python_decoder(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice, target="y")
    disk.write_text(tmp_path / "page.html", page.render([("", tables)]))
    with opened(browser, tmp_path / "page.html") as tab:
        tab.keyboard.press("s")
        check_bottleneck(tab, disk.read_json(tables / "provenance.json"))


def test_numbers_sort_and_unfold(tab):
    check_numbers(tab)


def test_the_keyboard_reaches_everything(tab):
    check_keyboard(tab)


@pytest.mark.slow
def test_no_window_is_too_narrow(browser, html):
    check_widths(browser, html)


def test_hostile_names_are_shown_as_they_are(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=(HOSTILE,), title=HOSTILE, tag=HOSTILE, name=HOSTILE, pesq=False)
    page.append_history(tmp_path / "history.csv", tables)
    disk.write_text(tmp_path / "page.html", page.render([(HOSTILE, tables), ("B", tables)], tmp_path / "history.csv"))
    with opened(browser, tmp_path / "page.html") as tab:
        tab.keyboard.press("3")
        tab.keyboard.press("n")
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("img").count() == 0
        assert HOSTILE in tab.locator("#about").inner_text()
        assert HOSTILE in tab.locator("#samples").inner_text()
        assert "pesq was not installed" in tab.locator("#numbers").inner_text()
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1280


TEXTS = [
    "</script><img src=x onerror=hacked=1>",
    "</style>&amp;<!--",
    "`${hacked=1}`",
    "\"'><svg onload=hacked=1>",
    "a\u2028b",
]
TEXTS += ["javascript:hacked=1", "__proto__", "constructor", "]]>", "%41#?.wav"]


def hostile(tables):
    """Put a text that would run, were it markup, into every field of tables that holds one."""
    text = " ".join(TEXTS)
    known = disk.read_json(tables / "provenance.json")
    for output in known["experiment"]["outputs"]:
        output |= {"processing": text, "shows": text, "process": text, "quantiser": output.get("quantiser") and text}
    known["experiment"] |= {"title": text, "name": text, "published": text}
    known |= {"key": text, "left_out": TEXTS, "definitions": {text: text}, "versions": {text: text, "revision": text}}
    known["stages"] = {f"{text}/{name}": {"key": text, "command": text, "settings": {text: text, "seed": text},
                                          "inputs": {text: [text]}} for name in TEXTS}  # fmt: skip
    known["wavs"] |= {name: {"from": text} for name in TEXTS}
    known["networks"] = {text: next(iter(known["networks"].values()))}
    known["codebooks"] = {text: next(iter(known["codebooks"].values()))}
    known["bottleneck"] |= {"network": text}
    known["bottleneck"]["choices"][0] |= {"index": text, "tag": text}
    for sample in known["samples"].values():
        sample["sex"] = text
    disk.write_json(tables / "provenance.json", known)
    return text


def test_the_chart_of_the_history_leaves_quick_looks_out(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice)
    known = disk.read_json(tables / "provenance.json")
    known["experiment"]["lowered"] = {"networks.nn4.epochs": [50, 1]}
    disk.write_json(tables / "provenance.json", known)
    name = known["experiment"]["name"]
    row = {"experiment": name, "key": "1", "revision": "", "index": 3, "tag": "t", "sd_dB2": ""}
    looks = [("1", 3.1, ""), ("2", 1.5, "This is a quick look."), ("3", 3.2, "")]
    rows = [row | {"time": time, "pesq": pesq, "quick_look": quick} for time, pesq, quick in looks]
    write_csv(tmp_path / "history.csv", rows)
    disk.write_text(tmp_path / "page.html", page.render([("", tables)], tmp_path / "history.csv"))
    with opened(browser, tmp_path / "page.html") as tab:
        assert "epochs 1 instead of 50 (networks nn4)" in tab.locator("#about .warning").inner_text()
        shown = "[...document.querySelectorAll('#networks .chart')].flatMap((box) => box.series ?? [])"
        series = tab.evaluate(f"{shown}.map((one) => [one.name, one.x, one.y]).filter(([name]) => name === '3')")
        assert series == [["3", [1, 3], [3.1, 3.2]]]
        runs = tab.locator("#networks tr").evaluate_all("(all) => all.map((e) => e.textContent)")
        assert sum("2, a quick look" in run for run in runs) == 1


@pytest.mark.slow
def test_whatever_the_tables_and_the_history_say_is_text(browser, tmp_path, voice):
    tables = tables_of(tmp_path, voice, samples=TEXTS, tag="<b>&`${1}")
    text = hostile(tables)
    row = {"time": text, "experiment": text, "key": text, "revision": text, "index": 3, "tag": text, text: 1, "pesq": 2}
    write_csv(tmp_path / "history.csv", [row, row | {"time": "2", "pesq": "", "index": ""}])
    for name, named in (("alone", [("", tables)]), ("both", [(text, tables), ("</title>", tables)])):
        disk.write_text(tmp_path / f"{name}.html", page.render(named, tmp_path / "history.csv"))
        with opened(browser, tmp_path / f"{name}.html") as tab:
            tab.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
            for _ in TEXTS:
                for key in ("3", "j", "w", "s"):
                    tab.keyboard.press(key)
            tab.get_by_role("button", name="each sample").click()
            assert tab.locator("img, svg[onload], b, iframe, script[src]").count() == 0
            assert tab.evaluate("window.hacked") is None
            for place in ("header", "#samples", "#numbers", "#networks", "#provenance"):
                assert text in tab.locator(place).evaluate("(e) => e.textContent"), place
            assert "<b>&`${1}" in tab.locator("#tracks").evaluate("(e) => e.textContent")
            buttons = tab.locator("#samples button").evaluate_all("(all) => all.map((e) => e.textContent)")
            assert buttons == [f"{sample} {text}" for sample in TEXTS]
            links = tab.locator("#provenance a").evaluate_all("(all) => all.map((a) => a.href)")
            assert all(link.startswith(tmp_path.as_uri()) for link in links)
            beside = tmp_path.as_uri() + "/%2541%23%3F.wav"
            assert (beside in links) == (name == "alone")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("time,experiment,key,revision,index,tag\n1,small,k,r,3,x,one,two\n", "row 2 has more than 6 values"),
        ("time,experiment,key,revision,index,tag\n1,small,k,r,<b>,x\n", "not a table of mlquant"),
        ("time,experiment,key,revision,index,tag\n1,small,k\xff\n", "not a table of mlquant"),
    ],
)
def test_a_history_edited_to_no_table_is_one_line(tmp_path, voice, rows, told):
    tables = tables_of(tmp_path, voice, samples=("one",))
    (tmp_path / "history.csv").write_bytes(rows.encode("latin-1"))
    with pytest.raises(InputError, match=rf"^\S*history\.csv: {told}.*$"):
        page.write(tables, tmp_path / "history.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def many_tables(tables, names):
    """The tables of two samples as those of many, whose files are the same."""
    known = disk.read_json(tables / "provenance.json")
    first = known["samples"]["one"]
    known["samples"] = dict.fromkeys(names, first)
    known["bottleneck"]["latents"] = dict.fromkeys(names, known["bottleneck"]["latents"]["one"])
    known["wavs"] = {f"{name}_{row['index']}_{row['tag']}.wav": {"from": row["files"]["wav"]}
                     for name in names for row in first["rows"]}  # fmt: skip
    known["stages"] = {f"results/{kind}/{name}.12345678": {"key": "12345678", "command": kind, "settings": {},
                       "inputs": {"model": [f"results/models/{name}.12345678/model.bin"]}}
                       for name in names for kind in ("models", "features", "synthesised")}  # fmt: skip
    disk.write_json(tables / "provenance.json", known)
    for table in ("measures", "frames"):
        rows = [row for row in history_of(tables / f"{table}.csv") if row["sample"] == "one"]
        write_csv(tables / f"{table}.csv", [row | {"sample": name} for name in names for row in rows])


@pytest.mark.slow
def test_a_page_of_a_thousand_samples_holds_what_a_browser_can(browser, tmp_path, voice, monkeypatch):
    tables = tables_of(tmp_path, voice)
    names = [f"s{i:03}" for i in range(1000)]
    many_tables(tables, names)
    known = disk.read_json(tables / "provenance.json")["samples"]["s000"]
    paths = {known[name] for name in ("source", "features", "y")}
    paths |= {path for row in known["rows"] for path in row["files"].values()}
    size = sum(Path(path).stat().st_size for path in paths)
    monkeypatch.setattr(data, "LIMIT", 40 * size)
    text = page.render([("", tables)])
    assert len(page_data(text)[1]) < 40 * size * 4 / 3, "arrays are no larger than the files that they are from"
    disk.write_text(tmp_path / "page.html", text)
    with opened(browser, tmp_path / "page.html") as tab:
        assert tab.locator("#samples button").all_inner_texts() == [f"{name} m" for name in names[:40]]
        assert "Of 1000 samples 40 can be heard here." in tab.locator("#about").inner_text()
        tab.keyboard.press("Shift+S")
        assert state(tab)["sample"] == "s039"
        tab.get_by_role("button", name="each sample").click()
        assert tab.locator("#numbers table").nth(1).locator("tbody tr").count() == 3000


def test_a_sample_too_long_for_a_page_leaves_its_tables(browser, tmp_path, voice, monkeypatch):
    tables = tables_of(tmp_path, voice)
    monkeypatch.setattr(data, "LIMIT", 1)
    disk.write_text(tmp_path / "page.html", page.render([("", tables)]))
    with opened(browser, tmp_path / "page.html") as tab:
        assert "Of 2 samples 0 can be heard here." in tab.locator("#about").inner_text()
        assert not tab.locator("#player, #abx, #viewer").locator("visible=true").count()
        assert tab.locator("#numbers tbody tr").count() > 9


@pytest.mark.slow
def test_two_experiments_play_in_one_player(browser, tmp_path, voice):
    first = tables_of(tmp_path / "a", voice, samples=("one", "two"), name="a")
    second = tables_of(tmp_path / "b", voice, samples=("two", "three"), name="b")
    disk.write_text(tmp_path / "page.html", page.render([("A", first), ("B", second)]))
    with opened(browser, tmp_path / "page.html") as tab:
        assert tab.title().startswith("A a and B b")
        tab.keyboard.press("s")
        tab.keyboard.press("3")
        assert state(tab)["label"] == "A 3"
        tab.keyboard.press("3")
        assert state(tab)["label"] == "B 3"
        tab.keyboard.press("Shift+S")
        assert state(tab)["sample"] == "one"
        tab.keyboard.press("s")
        tab.keyboard.press("s")
        assert state(tab)["sample"] == "three"
        assert not any(curve["id"] == "live" for curve in state(tab)["curves"])


def test_p_values_are_binomial(tab):
    assert tab.evaluate("mlquant.chance(0, 0)") == 1
    assert tab.evaluate("mlquant.chance(7, 10)") == pytest.approx(176 / 1024)
    assert tab.evaluate("mlquant.chance(10, 10)") == pytest.approx(1 / 1024)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (390, "dark"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((1280, "dark"), (390, "light"))),
    ],
)
def test_axe_finds_nothing_serious(browser, html, width, scheme):
    with opened(browser, html, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        check_accessibility(tab)


def test_axe_finds_what_is_serious(tab):
    tab.evaluate("document.querySelector('h1').style.color = 'rgb(128 128 128 / 0.3)'")
    with pytest.raises(AssertionError, match=r"color-contrast \(serious\): <h1"):
        check_accessibility(tab)
