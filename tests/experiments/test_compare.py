"""A comparison names what differs and nothing else; its intervals hold what they should as often as they should."""

import hashlib
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import test_set
from support.commands import run, succeeds
from support.pages import check_accessibility, opened
from test_page import tables_of

from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.core.intervals import speaker_interval
from mlquant.experiments import compare, words

SAMPLES = ["anna", "ben", "carl", "dora", "emil"]
FRAMES = [60, 75, 100, 130, 240]
SPEECH = {"seed": 1, "minutes": 5}


def stages_of(samples, d, mbest, codebooks, own, tag):
    """Stages and files of samples' output 5 (a network) and 6 (quantised), keyed by all that they are made from."""
    stages = {}

    def add(kind, name, settings, **inputs):
        inputs = {key: paths if isinstance(paths, list) else [paths] for key, paths in inputs.items()}
        key = hashlib.sha256(json.dumps([kind, settings, inputs]).encode()).hexdigest()[:8]
        stages[f"results/{kind}/{name}.{key}"] = {"key": key, "settings": settings, "inputs": inputs}
        return f"results/{kind}/{name}.{key}/"

    corpus = [add("features", f"tracts_{part}", SPEECH | {"part": part}) + "b.f32" for part in ("one", "two")]
    weights = add("networks", "nn4", {"d": d, "lr": 0.002}, features=corpus) + "weights"
    train = add("latents", "tracts", {"thresh": 30}, weights=weights, features=corpus) + "l.f32"
    books = []
    for i in range(codebooks):
        books.append(add("codebooks", f"vq_{i + 1}", {"k": d, "size": 4096}, train=train) + "vq.f32")
        train = books[-1].replace("vq.f32", "residual.f32")
    result = {}
    for name in samples:
        b = add("features", name, {}, speech=f"{own}/{name}.wav") + "b.f32"
        hats = [add("inferred", f"{name}_nn4", {}, weights=weights, features=b) + "hat.f32"]
        latents = add("latents", f"{name}_nn4", {}, weights=weights, features=b) + "l.f32"
        chosen = add("quantised", f"{name}_vq", {"k": d, "mbest": mbest}, latents=latents, codebooks=books) + "l_hat"
        hats.append(add("decoded", f"{name}_nn4", {}, weights=weights, latents=chosen, features=b) + "hat.f32")
        wavs = [add("synthesised", name, {}, y_hat=hat) + "speech.wav" for hat in hats]
        rows = zip((5, 6), ("nn4", tag), wavs, hats, strict=True)
        result[name] = {
            "rows": [{"index": i, "tag": tag, "files": {"wav": wav, "y_hat": hat}} for i, tag, wav, hat in rows]
        }
    return stages, result


def frames_of(seed, shift=0.0):
    """Frames of each sample: its SD in eighths, so that a file of six digits holds it exactly."""
    random = np.random.default_rng(seed)
    return {
        name: pd.DataFrame(
            {
                "frame": range(length),
                "voiced": random.integers(2, size=length),
                "sd_dB2": random.integers(8, 400, size=length) / 8 + shift,
                "sd_b_dB2": np.nan,
                "lsd_dB": np.where(random.random(length) < 0.7, random.integers(8, 99, size=length) / 8, np.nan),
            }
        )
        for name, length in zip(SAMPLES, FRAMES, strict=True)
    }


def write(folder, frames=None, of_samples=None, *, tag="vq", own="speech", d=10, mbest=5, codebooks=1, **provenance):
    """An experiment's folder: `frames` of each sample for output 6, `of_samples` more columns of its measures."""
    frames = frames or frames_of(1)
    folder.mkdir(parents=True)
    rows, tables = [], []
    for i, (name, table) in enumerate(frames.items()):
        distortion = table["sd_dB2"]
        measures = {"sample": name, "sex": "f", "index": 6, "tag": tag, "frames": len(table)}
        measures |= {"sd_dB2": distortion.mean(), "sd_voiced_dB2": distortion[table["voiced"] > 0].mean()}
        measures |= {"frames_above_4dB": (distortion > 16).sum(), "share_above_4dB": (distortion > 16).mean()}
        measures |= {"lsd_dB": table["lsd_dB"].mean(), "bit_per_s": 2400}
        rows.append(measures | {key: values[i] for key, values in (of_samples or {}).items()})
        tables.append(table.assign(sample=name, index=6, tag=tag))
    pd.DataFrame(rows).to_csv(folder / "measures.csv", index=False)
    pd.concat(tables).to_csv(folder / "frames.csv", index=False)
    stages, samples = stages_of(frames, d, mbest, codebooks, own, tag)
    outputs = [{"index": 5, "tag": "nn4", "mbest": 5}, {"index": 6, "tag": tag, "mbest": mbest}]
    made = {
        "experiment": {"name": folder.name, "title": "Voices", "samples": list(frames), "outputs": outputs},
        "stages": stages,
        "samples": samples,
        "definitions": {"mlquant.vq": "aaaaaaaa", "mlquant.files": "bbbbbbbb"},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "machine": "x86_64"},
    }
    disk.write_json(folder / "provenance.json", made | provenance)
    return folder


def rows(comparison, kind):
    """(where, a, b) of the differences of a kind."""
    table = comparison.differences
    return [tuple(row) for row in table.loc[table["kind"] == kind, ["where", "a", "b"]].to_numpy()]


def measure(comparison, name):
    return comparison.measures.set_index("measure").loc[name]


# what differs in settings and code


def test_identical(tmp_path):
    pesq = {"pesq": [3.1, 3.0, 2.9, 3.2, 3.3]}
    comparison = compare.compare(write(tmp_path / "x", None, pesq), write(tmp_path / "y", None, pesq))
    assert comparison.differences.empty
    names = ["sd_dB2", "sd_voiced_dB2", "frames_above_4dB", "share_above_4dB", "lsd_dB", "pesq"]
    assert comparison.measures["measure"].tolist() == names  # bit_per_s has no better and is the same
    assert (comparison.measures[["difference", "low", "high"]] == 0).all(axis=None)
    assert set(comparison.measures["verdict"]) == {"same"}
    assert compare.text(comparison) == "x compared with y\n  x: Voices\n  y: Voices\nNo difference."


def test_settings(tmp_path):
    a = write(tmp_path / "x.11111111")
    b = write(tmp_path / "x.22222222", d=8, mbest=3, codebooks=2)
    comparison = compare.compare(a, b)
    assert rows(comparison, "experiment") == [("output 6 vq: mbest", "5", "3")]
    assert rows(comparison, "settings") == [
        ("codebooks vq_1: k", "10", "8"),
        ("codebooks vq_2", "-", "only here"),
        ("networks nn4: d", "10", "8"),
        ("quantised vq: k", "10", "8"),
        ("quantised vq: mbest", "5", "3"),
    ]
    assert rows(comparison, "definitions") == rows(comparison, "versions") == []


def test_own_files(tmp_path):
    """The path of a user's own file is told, the keys of what is made from it are not."""
    comparison = compare.compare(write(tmp_path / "x"), write(tmp_path / "y", own="mine"))
    assert rows(comparison, "settings") == [
        (
            "features of samples: speech",
            *(", ".join(f"{own}/{name}.wav" for name in SAMPLES) for own in ("speech", "mine")),
        )
    ]
    assert "experiment" not in set(comparison.differences["kind"])


def test_stages_that_only_one_has(tmp_path):
    a, b = write(tmp_path / "x"), write(tmp_path / "y", codebooks=2)
    assert rows(compare.compare(a, b), "settings") == [("codebooks vq_2", "-", "only here")]
    assert rows(compare.compare(b, a), "settings") == [("codebooks vq_2", "only here", "-")]


def test_stages_of_one_name(tmp_path):
    """Of several stages of a name, the values that the other side does not have are told."""
    folders = [write(tmp_path / "x"), write(tmp_path / "y")]
    for folder, seeds in zip(folders, ("12", "23"), strict=True):
        provenance = disk.read_json(folder / "provenance.json")
        for seed in seeds:
            provenance["stages"][f"results/networks/spare.{seed * 8}"] = {"settings": {"seed": int(seed)}, "inputs": {}}
        disk.write_json(folder / "provenance.json", provenance)
    assert rows(compare.compare(*folders), "settings") == [("networks spare: seed", "1", "3")]


def test_code_and_versions(tmp_path):
    definitions = {"mlquant.vq": "cccccccc", "mlquant.files": "bbbbbbbb", "mlquant.new": "dddddddd"}
    versions = {"python": "3.11.7", "torch": "2.14.0", "machine": "aarch64"}
    b = write(tmp_path / "y", definitions=definitions, versions=versions)
    comparison = compare.compare(write(tmp_path / "x"), b)
    assert rows(comparison, "definitions") == [("mlquant.vq", "aaaaaaaa", "cccccccc"), ("mlquant.new", "-", "dddddddd")]
    assert rows(comparison, "versions") == [("torch", "2.13.0", "2.14.0"), ("machine", "x86_64", "aarch64")]
    assert not rows(comparison, "settings")


def test_samples_and_outputs(tmp_path):
    """Samples and outputs that one has alone are told, a tag that differs too; means are over what both have."""
    frames = frames_of(1)
    a = write(tmp_path / "x", {name: frames[name] for name in SAMPLES[:4]}, tag="vq24")
    b = write(tmp_path / "y", {name: frames[name] for name in SAMPLES[1:]}, tag="vq12")
    provenance = disk.read_json(b / "provenance.json")
    provenance["experiment"]["outputs"][0]["index"] = 3
    disk.write_json(b / "provenance.json", provenance)
    comparison = compare.compare(a, b)
    assert rows(comparison, "experiment") == [
        ("samples", "anna", "emil"),
        ("output 6 vq24: tag", "vq24", "vq12"),
        ("outputs", "5 nn4", "3 nn4"),
    ]
    assert not rows(comparison, "settings")  # of the samples that one has alone
    assert set(zip(comparison.measures["tag"], comparison.measures["tag_b"], strict=True)) == {("vq24", "vq12")}
    assert set(comparison.measures["samples"]) == {3}
    expected = np.mean([frames[name]["sd_dB2"].mean() for name in SAMPLES[1:4]])
    assert measure(comparison, "sd_dB2")["a"] == pytest.approx(expected)
    assert (comparison.measures["difference"] == 0).all()
    assert "Equal in these measures: 6 vq24 -> 6 vq12." in compare.text(comparison)


def test_a_tag_may_look_like_a_number(tmp_path):
    comparison = compare.compare(write(tmp_path / "x", tag="3200"), write(tmp_path / "y", tag="3200", mbest=3))
    assert rows(comparison, "settings") == [("quantised vq: mbest", "5", "3")]
    assert set(comparison.measures["interval"]) == {"frames"}


@pytest.mark.parametrize(
    ("folders", "keys", "names"),
    [
        (("240118_wav", "wide_wav"), ("11111111", "22222222"), ("240118", "wide")),
        (("240118_wav", "240118.11111111"), ("22222222", "11111111"), ("240118", "240118.11111111")),
        (("here/240118_wav", "there/240118_wav"), ("11111111", "22222222"), ("240118.11111111", "240118.22222222")),
        (("240118_wav", "240118"), ("11111111", "22222222"), ("240118.11111111", "240118.22222222")),
        (("one/results/240118_wav", "two/results/240118_wav"), ("11111111",) * 2, ("240118 in one", "240118 in two")),
        (("240118_wav", "240118"), ("11111111",) * 2, ("240118 in 240118_wav", "240118 in 240118")),
    ],
)  # fmt: skip
def test_names_are_short_and_differ(tmp_path, folders, keys, names):
    written = [write(tmp_path / folder, key=key) for folder, key in zip(folders, keys, strict=True)]
    assert compare.compare(*written).names == names


def test_a_folder_against_itself_has_two_names(tmp_path):
    a = write(tmp_path / "x", key="11111111")
    assert compare.compare(a, a).names == ("x in one place", "x in the same place")


# what differs, in words


def lines(a, b):
    """The lines on what differs, of two folders."""
    comparison = compare.compare(a, b)
    return [one.line(comparison.names) for one in words.differences(comparison.differences)]


def test_settings_are_told_in_the_words_of_the_configuration(tmp_path):
    a, b = write(tmp_path / "240118"), write(tmp_path / "wide", d=20, mbest=3, codebooks=2)
    assert lines(a, b) == [
        "output 6 vq: mbest (survivors of the search after each stage) 5 in 240118, 3 in wide",
        "network nn4: d (width of the bottleneck) 10 in 240118, 20 in wide",
        "codebook vq_2 only in wide",
    ]
    told = compare.text(compare.compare(a, b))
    assert "3 settings differ: mbest of output 6 vq, d of network nn4, codebook vq_2 alone. " in told


def test_samples_and_many_places_are_folded(tmp_path):
    a, b = write(tmp_path / "x", own="speech"), write(tmp_path / "y", own="mine")
    for folder, minutes in ((a, range(3, 9)), (b, [0.3] * 6)):
        provenance = disk.read_json(folder / "provenance.json")
        for i, value in enumerate(minutes):
            settings = {"minutes": value, "exclude": [f"{j}.wav" for j in range(6 + (folder == b))]}
            stage = {"key": "1", "settings": settings, "inputs": {}}
            provenance["stages"][f"results/corpora/tracts_part{i}.1234567{i}"] = stage
        disk.write_json(folder / "provenance.json", provenance)
    six = "6 corpora (tracts_part0, tracts_part1, tracts_part2 and 3 more)"
    assert lines(a, b) == [
        f"{six}: minutes (most minutes of speech) 3 to 8 in x, 0.3 in y",
        f"{six}: exclude (globs of files that are left out although `include` matches them) 6 values in x, "
        "7 values, with 6.wav, in y",
        "features: speech: 5 files in speech/ in x, 5 files in mine/ in y",
    ]


def test_no_line_is_long(tmp_path):
    """Neither JSON, nor a checksum, nor a list of hundreds of names makes a line that nobody reads."""
    a, b = write(tmp_path / "x"), write(tmp_path / "y")
    provenance = disk.read_json(b / "provenance.json")
    urls = [{"url": f"https://example.org/{i}/{'a' * 99}", "sha256": f"{i:064x}"} for i in range(99)]
    made = {"key": "1", "settings": {"urls": urls, "package": None}, "inputs": {}}
    provenance["stages"]["results/sources/codec2.2"] = made
    provenance["experiment"]["samples"] += [f"voice{i}" for i in range(500)]
    disk.write_json(b / "provenance.json", provenance)
    provenance = disk.read_json(a / "provenance.json")
    provenance["stages"]["results/sources/codec2.1"] = made | {"settings": {"package": "codec2", "urls": urls[::-1]}}
    disk.write_json(a / "provenance.json", provenance)
    told = compare.text(compare.compare(a, b)).splitlines()
    assert all(len(line) <= 260 and "{" not in line and "0" * 20 not in line for line in told)
    assert len(told) < 50
    assert any("samples: " in line and "voice0" in line and "more only in y" in line for line in told)


def test_a_quick_look_and_other_code_are_told_first(tmp_path):
    a = write(tmp_path / "x", versions={"revision": "1" * 40})
    definitions = {"mlquant.vq.search": "cccccccc", "mlquant.files": "bbbbbbbb"}
    b = write(tmp_path / "y", d=8, definitions=definitions, versions={"revision": "2" * 40})
    provenance = disk.read_json(b / "provenance.json")
    provenance["experiment"]["lowered"] = {"networks.nn4.epochs": [50, 1]}
    disk.write_json(b / "provenance.json", provenance)
    told = compare.text(compare.compare(a, b)).splitlines()
    assert told[3].startswith("y: This is a quick look") and "epochs 1 instead of 50" in told[3]
    parts = "3 parts of the code differ (mlquant.vq, vq.search"
    assert (
        told[4].startswith(f"Made by other code, of revisions 1111111111 and 2222222222: {parts}")
        or "parts of the code" in told[4]
    )
    assert not any("lowered" in line for line in told)
    write(tmp_path / "z", versions={"revision": "2" * 40})
    told = compare.text(compare.compare(a, tmp_path / "z")).splitlines()
    assert told[3] == "Made at revisions 1111111111 and 2222222222, with the same code."


# what differs in measures


def test_constant_shift(tmp_path):
    """Every frame worse by 2 dB^2 is 2 dB^2 for sure, whatever the sentences."""
    comparison = compare.compare(write(tmp_path / "x"), write(tmp_path / "y", frames_of(1, shift=2.0)))
    for name in ("sd_dB2", "sd_voiced_dB2"):
        row = measure(comparison, name)
        assert row[["difference", "low", "high"]].tolist() == pytest.approx([2, 2, 2], abs=1e-9)
        assert (row["interval"], row["verdict"]) == ("frames", "worse")
    assert measure(comparison, "share_above_4dB")["verdict"] == "worse"
    assert measure(comparison, "lsd_dB")["verdict"] == "same"


def test_weights_of_samples(tmp_path):
    """A sample counts once, be it short or long: shifts 5, 0, 0, 0, 0 are a difference of 1."""
    frames = frames_of(1)
    frames["anna"] = frames["anna"].assign(sd_dB2=lambda table: table["sd_dB2"] + 5)
    row = measure(compare.compare(write(tmp_path / "x"), write(tmp_path / "y", frames)), "sd_dB2")
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([1, 1, 1], abs=1e-9)


def test_voiced_only(tmp_path):
    frames = {
        name: table.assign(sd_dB2=table["sd_dB2"] + np.where(table["voiced"], 0, 3))
        for name, table in frames_of(1).items()
    }
    comparison = compare.compare(write(tmp_path / "x"), write(tmp_path / "y", frames))
    assert measure(comparison, "sd_voiced_dB2")[["difference", "low", "high"]].tolist() == [0, 0, 0]
    row = measure(comparison, "sd_dB2")
    assert row["verdict"] == "worse" and row["low"] < row["difference"] < row["high"]


def test_shares(tmp_path):
    """Intervals of shares and counts lie around the differences of their means, a count as many times the share."""
    frames = {name: table.assign(sd_dB2=table["sd_dB2"] * 0.8) for name, table in frames_of(1).items()}
    comparison = compare.compare(write(tmp_path / "x"), write(tmp_path / "y", frames))
    for name in ("share_above_4dB", "frames_above_4dB"):
        row = measure(comparison, name)
        assert row["low"] < row["difference"] < row["high"] < 0
        assert row["low"] + row["high"] == pytest.approx(2 * row["difference"], rel=0.3)
        assert (row["interval"], row["verdict"]) == ("frames", "better")


@pytest.mark.parametrize(
    ("name", "change", "verdict"),
    [
        ("pesq", 0.1, "better"),
        ("estoi", -0.1, "worse"),
        ("ideal_y_stoi", 0.1, "better"),
        ("original_lsd_dB", 0.1, "worse"),
        ("latent_mse", -0.1, "better"),
        ("bit_per_s_10ms", -0.1, ""),
        ("published_pesq", 0.1, ""),
    ],
)
def test_directions(tmp_path, name, change, verdict):
    values = np.array([3.0, 3.1, 2.8, 2.9, 3.3])
    b = write(tmp_path / "y", None, {name: values + change * np.array([1, 1.2, 0.9, 1.1, 0.8])})
    row = measure(compare.compare(write(tmp_path / "x", None, {name: values}), b), name)
    assert row["verdict"] == verdict
    assert row["interval"] == "samples"
    assert row["low"] < row["difference"] < row["high"]
    assert row["difference"] == pytest.approx(change)


@pytest.mark.parametrize(
    ("a", "b", "verdict"),
    [(-1.0, 0.2, "better"), (-1.0, -0.5, "better"), (0.5, 1.5, "worse"), (0.1, -1.0, "worse"), (-1.0, 1.0, "same")],
)
def test_crest(tmp_path, a, b, verdict):
    """A ratio less the source's is better when it is nearer to 0, from whichever side."""
    spread = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    one = write(tmp_path / "x", None, {"crest_mid_dB": a + spread})
    other = write(tmp_path / "y", None, {"crest_mid_dB": b + spread[[2, 0, 4, 1, 3]]})
    row = measure(compare.compare(one, other), "crest_mid_dB")
    assert row["verdict"] == verdict
    assert row["difference"] == pytest.approx(b - a)


def test_no_interval(tmp_path):
    """Frames that are not the same and samples that are too few leave intervals empty, not the differences."""
    frames = frames_of(1, shift=1.0)
    frames["emil"] = frames["emil"].iloc[:-7]
    comparison = compare.compare(write(tmp_path / "x"), write(tmp_path / "y", frames))
    assert not comparison.measures["measure"].isin(["pesq"]).any()
    row = measure(comparison, "sd_dB2")
    means = [np.mean([table["sd_dB2"].mean() for table in each.values()]) for each in (frames_of(1), frames)]
    assert row["difference"] == pytest.approx(means[1] - means[0])
    assert np.isnan(row["low"]) and np.isnan(row["high"]) and row["interval"] == row["verdict"] == ""
    two = {name: table for name, table in frames_of(1).items() if name in SAMPLES[:2]}
    folders = [write(tmp_path / f"{pesq}", two, {"pesq": [pesq, pesq]}) for pesq in (3.0, 3.5)]
    (folders[0] / "frames.csv").unlink()
    table = compare.compare(*folders).measures
    assert set(table["interval"]) == set(table["verdict"]) == {""}
    assert measure(compare.compare(*folders), "pesq")["difference"] == 0.5


def test_a_variant_from_before_a_measure_of_frames_is_compared_without_it(tmp_path):
    folders = [write(tmp_path / name, frames_of(1)) for name in "ab"]
    table = pd.read_csv(folders[0] / "frames.csv").drop(columns="lsd_dB")
    table.to_csv(folders[0] / "frames.csv", index=False)
    assert measure(compare.compare(*folders), "sd_dB2")["difference"] == 0


@settings(max_examples=10)
@given(seeds=st.tuples(st.integers(1, 99), st.integers(100, 199)), bias=st.sampled_from([-0.2, 0.0, 0.2]))
def test_swapped(tmp_path_factory, seeds, bias):
    """B against A is A against B with every difference negated and every verdict turned."""
    folder = tmp_path_factory.mktemp("swapped")
    random = np.random.default_rng(seeds)
    values = random.normal([[bias] * 5, [-bias] * 5])
    one = write(folder / "x", frames_of(seeds[0], 10 * bias), {"pesq": values[0], "crest_low_dB": values[1]})
    other = write(folder / "y", frames_of(seeds[1]), {"pesq": values[1], "crest_low_dB": values[0]}, d=7)
    there, back = compare.compare(one, other), compare.compare(other, one)
    assert rows(there, "settings") == [(where, a, b) for where, b, a in rows(back, "settings")] != []
    turned = {"better": "worse", "worse": "better"}
    expected = back.measures.assign(
        a=back.measures["b"],
        b=back.measures["a"],
        difference=-back.measures["difference"],
        low=-back.measures["high"],
        high=-back.measures["low"],
        verdict=back.measures["verdict"].replace(turned),
    )
    pd.testing.assert_frame_equal(there.measures, expected)


@pytest.mark.slow
def test_coverage_of_frames():
    """Of independent frames 95 % of the intervals hold the truth; of frames like their neighbours blocks are needed."""
    random = np.random.default_rng(1)
    hits, alike = [], {1: [], compare.BLOCK: []}
    for _ in range(200):
        parts = [(random.gamma(2, 3, length), random.gamma(2, 3, length) + 1) for length in (150, 300)]
        low, high = compare.frame_interval(parts)
        hits.append(low <= 1 <= high)
    for _ in range(100):
        # Each value a mean of 8 that are independent: correlated over 80 ms.
        parts = [
            tuple(np.convolve(random.standard_normal(length + 7), np.ones(8) / 8, "valid") for _ in "ab")
            for length in (150, 300)
        ]
        for block, found in alike.items():
            low, high = compare.frame_interval(parts, block=block)
            found.append((low <= 0 <= high, high - low))
    assert 0.92 <= np.mean(hits) <= 0.98
    single, blocks = np.mean(alike[1], axis=0), np.mean(alike[compare.BLOCK], axis=0)
    assert single[0] < 0.65 and blocks[0] > 0.87
    assert blocks[1] > 2 * single[1]


def test_first_and_last_frames():
    """Frames at the ends are drawn as often as those between; samples shorter than a block count too."""
    early = np.where(np.arange(100) < 12, 100.0, 0.0)
    for values in (early, early[::-1]):
        low, high = compare.frame_interval([(np.zeros(100), values)])
        assert low < 0 and high > 24
    short = np.arange(10.0)
    low, high = compare.frame_interval([(short, short + early[:10])] + [(np.zeros(100), np.zeros(100))] * 3)
    assert (low, high) == pytest.approx((25, 25))


def test_coverage_of_samples():
    random = np.random.default_rng(1)
    for samples in (3, 5, 20):
        found = [compare.sample_interval(random.standard_normal(samples)) for _ in range(400)]
        assert 0.91 <= np.mean([low <= 0 <= high for low, high in found]) <= 0.985


def test_seed(tmp_path):
    values = np.random.default_rng(1).standard_normal(100)
    assert compare.sample_interval(values, 1) == compare.sample_interval(values, 1)
    assert compare.sample_interval(values, 1) != compare.sample_interval(values, 2)
    assert compare.frame_interval([(values, 2 * values)], 1) != compare.frame_interval([(values, 2 * values)], 2)
    assert compare.frame_interval([(values[:30], 2 * values[:30])], 1) is None  # two blocks tell nothing
    a, b = write(tmp_path / "x", frames_of(1)), write(tmp_path / "y", frames_of(2))
    assert not compare.compare(a, b, 1).measures["low"].equals(compare.compare(a, b, 2).measures["low"])


# outputs that are compared by hand, and measures that are not comparable


def quantising(folder, index, kind, **inputs):
    """The folder, with output 6 at another index, and with the file that this output quantises, of a kind."""
    for name in ("measures.csv", "frames.csv"):
        table = pd.read_csv(folder / name)
        table.assign(index=table["index"].replace(6, index)).to_csv(folder / name, index=False)
    provenance = disk.read_json(folder / "provenance.json")
    for output in provenance["experiment"]["outputs"]:
        output["index"] = index if output["index"] == 6 else output["index"]
    for name, sample in provenance["samples"].items():
        made = f"results/{kind}/{name}.0a1b2c3d"
        provenance["stages"][made] = {"settings": {}, "inputs": inputs}
        for row in sample["rows"]:
            row["index"] = index if row["index"] == 6 else row["index"]
            row["files"]["l"] = f"{made}/l.f32"
    disk.write_json(folder / "provenance.json", provenance)
    return folder


NN4, OTHER = {"weights": ["results/networks/nn4.1/w"]}, {"weights": ["results/networks/other.2/w"]}


@pytest.mark.parametrize(
    ("theirs", "verdict"),
    [
        (("latents", NN4), "worse"),
        (("latents", OTHER), "not comparable"),  # whose latents have a scale of their own
        (("gain_removed", {}), "not comparable"),  # b, in dB^2
    ],
)
def test_errors_of_vectors_are_compared_where_both_quantise_the_same(tmp_path, theirs, verdict):
    errors = {"latent_mse": np.array([0.011, 0.012, 0.0115, 0.013, 0.0125])}
    a = quantising(write(tmp_path / "x", None, errors), 6, "latents", **NN4)
    b = quantising(write(tmp_path / "y", None, {"latent_mse": errors["latent_mse"] * 250}), 6, theirs[0], **theirs[1])
    row = measure(compare.compare(a, b), "latent_mse")
    assert row["verdict"] == verdict and row["b"] == pytest.approx(3.0) and row["samples"] == 5
    assert np.isnan(row["difference"]) == (verdict == "not comparable") == (row["interval"] == "")
    assert measure(compare.compare(a, b), "sd_dB2")["verdict"] == "same"
    (row,) = next(one for one in compare.for_page(compare.compare(a, b))["measures"] if one["name"] == "latent_mse")[
        "rows"
    ]
    assert row["verdict"] == verdict and (row["difference"] is None) == (verdict == "not comparable")


def test_outputs_are_paired_by_hand(tmp_path):
    a = write(tmp_path / "x", frames_of(1), tag="vq24")
    b = quantising(write(tmp_path / "y", frames_of(1, 2.0), tag="best"), 4, "latents", **NN4)
    comparison = compare.compare(a, b, pairs=["6:4"])
    row = measure(comparison, "sd_dB2")
    assert row[["index", "tag", "index_b", "tag_b"]].tolist() == [6, "vq24", 4, "best"]
    assert row["difference"] == pytest.approx(2) and row["interval"] == "frames" and row["verdict"] == "worse"
    assert rows(comparison, "experiment") == [("output 6 vq24 -> 4 best: tag", "vq24", "best")]
    assert "6 vq24 -> 4 best" in compare.text(comparison)


def test_a_pair_by_hand_takes_the_place_of_the_pairs_of_its_outputs():
    a, b = [(3, "y"), (5, "nn4"), (6, "vq")], [(3, "y"), (5, "best"), (6, "vq")]
    assert compare._match(a, b, {6: 5}) == {(3, "y"): (3, "y"), (6, "vq"): (5, "best")}
    assert compare._match(a, b, {5: 6, 6: 6}) == {(3, "y"): (3, "y"), (5, "nn4"): (6, "vq"), (6, "vq"): (6, "vq")}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["6"], "pair: found '6', expected an index of A and one of B, as 6:4"),
        (["six:4"], "pair: found 'six:4', expected an index of A"),
        (["6:-1"], "pair: found '6:-1', expected an index of A"),
        (["9:6"], "pair: found 9:6, but .*x has no output 9, expected one of 6"),
        (["6:4"], "pair: found 6:4, but .*y has no output 4, expected one of 6"),
        (["6:6", "6:6"], "pair: found 6:6 and 6:6, expected output 6 of A once"),
    ],
)
def test_pairs_that_are_not_there_end_in_one_line(tmp_path, pairs, message):
    words = [word for pair in pairs for word in ("--pair", pair)]
    ended = run("compare", write(tmp_path / "x"), write(tmp_path / "y"), *words, "-o", tmp_path / "out")
    assert ended.status == 1 and len(ended.err) == 1 and re.match(f"mlquant compare: {message}", ended.err[0])
    assert not (tmp_path / "out").exists()


# on a test set


ONLY_SAMPLES = "means and intervals are of the samples that both have"


@pytest.fixture(scope="module")
def in_sets(tmp_path_factory, voice):
    """Four experiments: on a test set, on the same in other shards and by another name, on another one, on none.

    On the first set output 6 of the second is better and output 3 is not; its samples say the opposite.
    """
    folder, made = tmp_path_factory.mktemp("in_sets"), []
    options = ({}, {"name": "same", "shards": 3, "shifts": {1: 0.0, 3: -0.1, 6: -0.15}}, {"name": "other", "seed": 2})
    for name, of_set in zip(("a", "b", "c", "d"), (*options, None), strict=True):
        tables = tables_of(folder / f"made_{name}", voice, samples=("one", "two", "three"), name=name, key="1" * 8)
        if of_set is not None:
            test_set.add(tables, **of_set)
        if name != "a":
            table = pd.read_csv(tables / "measures.csv")
            table["pesq"] += np.where(table["index"] == 6, -0.3, np.where(table["index"] == 3, 0.3, 0))
            table.to_csv(tables / "measures.csv", index=False)
        made.append(tables.rename(folder / f"{name}_wav"))
    return made


def test_the_same_test_set_decides_utterance_by_utterance(in_sets, tmp_path):
    a, b, *_ = in_sets
    printed = succeeds("compare", a, b, "-o", tmp_path / "out").out
    told = "Both were measured on the test set mine (in b same): 24 utterances of 6 speakers. Intervals are of 95 %"
    assert told in printed and "Measures: means over 24 utterances of 6 speakers; a difference is b less a" in printed
    assert "By PESQ on the test set, b is better beyond chance in 1 of 3 outputs." in printed
    table = pd.read_csv(tmp_path / "out/measures.csv")
    pesq = table[table["measure"] == "pesq"].set_index("index")
    assert (pesq["utterances"] == 24).all() and (pesq["speakers"] == 6).all() and pesq["samples"].isna().all()
    assert set(pesq["interval"]) == {"speakers"}
    every = [pd.read_csv(side / "utterances.csv", dtype={"speaker": str}) for side in (a, b)]
    values = [one[one["index"] == 6].set_index(["speaker", "utterance"])["pesq"] for one in every]
    difference = (values[1] - values[0]).reset_index()
    low, high = speaker_interval(difference["pesq"], difference["speaker"])
    assert pesq.loc[6, "difference"] == pytest.approx(difference["pesq"].mean(), abs=1e-4)
    assert pesq.loc[6, ["low", "high"]].tolist() == pytest.approx([low, high], abs=2e-3)
    assert pesq["verdict"].to_dict() == {1: "same", 3: "same", 6: "better"}
    rows = [re.split(r" {2,}", line.strip()) for line in printed.splitlines()]
    assert ["speakers", "better, beyond chance"] in [row[-2:] for row in rows]
    assert ["speakers", "not beyond chance"] in [row[-2:] for row in rows]
    assert "speakers" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (2, f"They have different test sets (mine and other), so {ONLY_SAMPLES}."),
        (3, f"Only a has a test set (mine), so {ONLY_SAMPLES}."),
    ],
)
def test_with_other_test_sets_samples_are_compared_and_the_words_say_so(in_sets, other, told):
    comparison = compare.compare(in_sets[0], in_sets[other])
    assert told in compare.text(comparison) and told == compare.for_page(comparison)["test_set"]
    pesq = comparison.measures[comparison.measures["measure"] == "pesq"].set_index("index")
    assert (pesq["samples"] == 3).all() and pesq["utterances"].isna().all()
    assert pesq["verdict"].to_dict() == {1: "same", 3: "better", 6: "worse"}
    both = compare.compare(in_sets[3], in_sets[3])
    assert compare.for_page(both)["test_set"] == f"Neither has a test set, so {ONLY_SAMPLES}."


def test_two_outputs_of_one_experiment_are_compared_on_its_test_set(in_sets):
    comparison = compare.compare(in_sets[0], in_sets[0], pairs=["3:6"])
    pesq = comparison.measures[comparison.measures["measure"] == "pesq"].set_index(["index", "index_b"])
    pairs = pd.read_csv(in_sets[0] / "set_pairs.csv").query("group == 'all' and measure == 'pesq'")
    row = pairs.set_index(["index", "index_b"]).loc[(3, 6)]
    for name in ("difference", "low", "high"):
        assert pesq.loc[(3, 6), name] == pytest.approx(row[name], abs=1e-5)


def test_the_page_of_a_comparison_shows_the_test_set(browser, in_sets, tmp_path):
    succeeds("compare", *in_sets[:2], "-o", tmp_path / "out")
    with opened(browser, tmp_path / "out/index.html") as tab:
        assert "Means over 24 utterances of 6 speakers" in tab.locator("#comparison").inner_text()
        rows = texts(tab, "tbody[data-measure=pesq] tr")
        assert rows[2].endswith("not beyond chance") and rows[3].endswith("better, beyond chance")
        assert "better beyond chance in 1 of 3" in tab.locator("#sentence").inner_text()
        assert tab.locator("#test-set h3", has_text="Differences").count() == 2
        check_accessibility(tab)


def test_a_table_of_other_utterances_than_its_record_says_is_one_line(in_sets, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for one, other in zip(in_sets, folders, strict=False):
        shutil.copytree(one, other)
    text = (folders[1] / "utterances.csv").read_text()
    (folders[1] / "utterances.csv").write_text(text.replace(",237_1,", ",237_9,"))
    ended = run("compare", *folders, "-o", tmp_path / "out")
    assert ended.status == 1 and len(ended.err) == 1 and not (tmp_path / "out").exists()
    assert f"{folders[1]}/utterances.csv: has other utterances than {folders[0]}" in ended.err[0]


# what is written, and errors


def test_what_is_written_and_printed(tmp_path):
    a = write(tmp_path / "x.11111111", None, {"pesq": [3.1, 3.0, 2.9, 3.2, 3.3]})
    b = write(tmp_path / "x.22222222", frames_of(1, 2.0), {"pesq": [3.3, 3.2, 3.2, 3.4, 3.5]}, d=8)
    (tmp_path / "out").mkdir()
    mean = np.mean([table["sd_dB2"].mean() for table in frames_of(1).values()])
    comparison = compare.compare(a, b)
    compare.write(comparison, tmp_path / "out")
    printed = compare.text(comparison).splitlines()
    assert printed[0] == "x.11111111 compared with x.22222222"
    sentence = "What differs: network nn4: d (width of the bottleneck) 10 in x.11111111, 8 in x.22222222. "
    assert f"{sentence}By PESQ, x.22222222 is better in 1 of 1 output." in printed
    cells = [re.split(r" {2,}", line.strip()) for line in printed]
    head = ["output", "x.11111111", "x.22222222", "difference", "95 % interval", "over", "x.22222222 is"]
    assert cells.index(head) < [line[0] for line in cells].index("PESQ, higher is better")
    assert ["PESQ, higher is better", "6 vq", "3.10", "3.32", "+0.220"] in [line[:5] for line in cells]
    worse = ["6 vq", f"{mean:.2f}", f"{mean + 2:.2f}", "+2.000", "+2.000 to +2.000", "frames", "worse"]
    assert ["SD (dB²), lower is better", *worse] in cells
    assert (
        "Other measures (SD voiced, > 4 dB, share > 4 dB; 3 in all) are in measures.csv: 0 better, 3 worse." in printed
    )
    table = pd.read_csv(tmp_path / "out" / "measures.csv")
    assert table.columns.tolist() == compare.COLUMNS
    assert table.set_index("measure").loc["sd_dB2", "high"] == pytest.approx(2)
    differences = pd.read_csv(tmp_path / "out" / "differences.csv", dtype=str)
    assert ["settings", "networks nn4: d", "10", "8"] in differences.to_numpy().tolist()
    readme = (tmp_path / "out" / "README.md").read_text()
    assert readme.startswith("# x.11111111 compared with x.22222222\n\n- x.11111111: Voices\n")
    assert ["SD (dB²), lower is better", *worse] in [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines()
    ]
    for name, columns in (("differences", differences.columns), ("measures", compare.COLUMNS)):
        told = readme.partition(f"## Columns of {name}.csv\n\n")[2].partition("\n\n")[0].splitlines()
        assert [line.split("`")[1] for line in told] == [*columns] and all(len(line) > 12 for line in told)
    assert "- `a`: the mean of x.11111111\n- `b`: the mean of x.22222222\n" in readme


def test_long_and_strange_texts(tmp_path):
    """A cell that holds what ends a cell in Markdown stays one."""
    a, b = write(tmp_path / "x"), write(tmp_path / "either | or", frames_of(1, 2.0))
    compare.write(compare.compare(a, b), tmp_path)
    rows = [line for line in (tmp_path / "README.md").read_text().splitlines() if "either" in line and line[0] == "|"]
    assert rows and all("either \\| or" in row for row in rows)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: folder.rename(folder.parent / "away"), "no such folder, expected"),
        (lambda folder: (folder / "measures.csv").unlink(), "no experiment: has no measures.csv, expected"),
        (lambda folder: (folder / "provenance.json").unlink(), "no experiment: has no provenance.json, expected"),
        (lambda folder: (folder / "measures.csv").write_text("a,b\n1,2\n"), "not the measures of an experiment"),
        (lambda folder: (folder / "provenance.json").write_text("{"), "not JSON"),
        (lambda folder: (folder / "provenance.json").write_text("{}"), "has no 'experiment', expected"),
        (lambda folder: replace(folder, ",6,", ",9,"), "no output in common with .*: has 9, expected one of 6"),
        (lambda folder: [replace(folder, f"{name},", f"z{name},") for name in SAMPLES], "no sample in common with"),
    ],
)
def test_errors(tmp_path, spoil, message):
    a, b = write(tmp_path / "x"), write(tmp_path / "y")
    spoil(b)
    with pytest.raises(InputError, match=message) as error:
        compare.compare(a, b)
    assert str(b) in str(error.value) and "\n" not in str(error.value)


def replace(folder, old, new):
    path = folder / "measures.csv"
    path.write_text(path.read_text().replace(old, new))


# the page


LONG = "a_title_without_spaces_" * 8


def many_outputs(tables, number):
    """Copies of output 3 as outputs 10, 11, ... of a folder of tables, up to a number of outputs."""
    known = disk.read_json(tables / "provenance.json")
    output = next(one for one in known["experiment"]["outputs"] if one["index"] == 3)
    indices = range(10, 10 + number - len(known["experiment"]["outputs"]))
    known["experiment"]["outputs"] += [output | {"index": index} for index in indices]
    for sample in known["samples"].values():
        row = next(one for one in sample["rows"] if one["index"] == 3)
        sample["rows"] += [row | {"index": index} for index in indices]
    disk.write_json(tables / "provenance.json", known)
    for name in ("measures.csv", "means.csv", "frames.csv"):
        table = pd.read_csv(tables / name)
        copies = [table[table["index"] == 3].assign(index=index) for index in indices]
        pd.concat([table, *copies]).to_csv(tables / name, index=False)


def pair_of_tables(folder, voice, *, names=("240118", "wide"), samples=("one", "two", "three"), outputs=3, **options):
    """Two folders of tables: the second has a network with d = 20, PESQ of output 6 higher, and is a quick look."""
    folders = []
    for i, (name, d) in enumerate(zip(names, (10, 20), strict=True)):
        made = tables_of(folder / f"made{i}", voice, samples=samples, name=name, key=f"{i + 1}" * 8, **options)
        if outputs > 3:
            many_outputs(made, outputs)
        known = disk.read_json(made / "provenance.json")
        networks = {"results/networks/nn4_cat1.12345678": {"key": "12345678", "settings": {"d": d}, "inputs": {}}}
        known["stages"] = networks
        if i:
            known["experiment"]["lowered"] = {"networks.nn4_cat1.epochs": [50, 1]}
            table = pd.read_csv(made / "measures.csv")
            rise = np.array([0.3, 0.31, 0.32])[: len(samples)]
            table.loc[table["index"] == 6, "pesq"] += rise
            table.loc[table["index"] == 3, "pesq"] += rise - 0.31
            table.to_csv(made / "measures.csv", index=False)
        disk.write_json(made / "provenance.json", known)
        folders.append(made.rename(folder / f"{name}_wav"))
    return folders


@pytest.fixture(scope="module")
def compared(tmp_path_factory, voice):
    """The folder that `mlquant compare` makes of two experiments, one of which is a quick look, and what it prints."""
    folder = tmp_path_factory.mktemp("compared")
    ended = succeeds("compare", *pair_of_tables(folder, voice), "-o", folder / "out")
    return folder / "out", ended.out


def test_the_command_prints_one_table_under_the_names(compared):
    folder, printed = compared
    told = printed.splitlines()
    assert told[:3] == ["240118 compared with wide", "  240118: A title, key 11111111", "  wide: A title, key 22222222"]
    assert told[3].startswith("wide: This is a quick look")
    line = "What differs: network nn4_cat1: d (width of the bottleneck) 10 in 240118, 20 in wide. "
    assert f"{line}By PESQ, wide is better in 1 of 3 outputs." in told
    rows = [re.split(r" {2,}", line.strip()) for line in told]
    assert sum("output" in row for row in rows) == 1
    head = rows.index(["output", "240118", "wide", "difference", "95 % interval", "over", "wide is"])
    assert (
        rows[head + 1][:3] == ["PESQ, higher is better", "3 y_hat", "3.40"]
        and rows[head + 1][-1] == "no clear difference"
    )
    assert rows[head + 2][:4] == ["6 vq", "2.80", "3.11", "+0.310"] and rows[head + 2][-1] == "better"
    assert [path.name for path in sorted(folder.iterdir())] == [
        "README.md",
        "differences.csv",
        "index.html",
        "measures.csv",
    ]


def test_an_experiment_of_another_folder_is_refused_in_one_line(tmp_path, voice):
    a, b = pair_of_tables(tmp_path, voice, samples=("one",))
    known = disk.read_json(b / "provenance.json")
    disk.write_json(b / "provenance.json", known | {"networks": {"net": "results/networks/net.12345678"}})
    ended = run("compare", a, b, "-o", tmp_path / "out")
    assert ended.status == 1 and len(ended.err) == 1 and not (tmp_path / "out").exists()
    assert f"{b}: made of results/networks/net.12345678, which is not in " in ended.err[0]


def texts(tab, selector):
    """The visible texts of elements, cells and lines of a cell separated by one space."""
    return [" ".join(text.split()) for text in tab.locator(selector).all_inner_texts()]


def test_the_page_opens_with_names_what_differs_and_pesq(browser, compared):
    with opened(browser, compared[0] / "index.html", viewport={"width": 1280, "height": 800}) as tab:
        about = tab.locator("#about").inner_text()
        for text in ("240118", "wide", "A title", "key 22222222", "wide: This is a quick look"):
            assert text in about
        assert tab.locator("#sentence").inner_text() == (
            "What differs: network nn4_cat1: d (width of the bottleneck) 10 in 240118, 20 in wide. "
            "By PESQ, wide is better in 1 of 3 outputs."
        )
        head = texts(tab, "#comparison > div > div > table thead th")
        assert head == ["output", "240118", "wide", "difference, 95 % interval, and what wide is"]
        shown = tab.locator("#comparison > div > div > table > tbody")
        order = shown.evaluate_all("(all) => all.map((e) => e.dataset.measure)")
        assert order == ["pesq", "stoi", "sd_dB2", "bit_per_s"]
        rows = texts(tab, "tbody[data-measure=pesq] tr")
        assert rows[1] == "1 out original 3.80 3.80 equal"
        near = r"3 y_hat b to y_hat 3.40 3.40 .0.000 .0.0\d\d to .0.0\d\d no clear difference"
        assert re.fullmatch(near, rows[2])
        assert re.fullmatch(r"6 vq quantised 2.80 3.11 \+0.310 \+0.2\d\d to \+0.3\d\d better", rows[3])
        for selector in ("h1", "#about", "#sentence", "#comparison thead", "tbody[data-measure=pesq]"):
            box = tab.locator(selector).first.bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= 800, selector
        assert tab.locator("#comparison details").evaluate_all("(all) => all.every((e) => !e.open)")
        check_accessibility(tab)
    with opened(browser, compared[0] / "index.html", color_scheme="dark") as tab:
        check_accessibility(tab)


@pytest.mark.parametrize("name", [pytest.param("wide", marks=pytest.mark.slow), "w" * 64])
@pytest.mark.slow
def test_a_phone_shows_the_difference_of_pesq_at_once(browser, tmp_path, voice, name):
    folders = pair_of_tables(tmp_path, voice, names=("n" * len(name), name), title=LONG, tag="k80_" * 12 + "y_hat")
    succeeds("compare", *folders, "-o", tmp_path / "out")
    for width in (390, 1280):
        with opened(browser, tmp_path / "out" / "index.html", viewport={"width": width, "height": 844}) as tab:
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            cells = tab.locator("#comparison tbody[data-measure=pesq] td, #comparison thead th, #about p, h1").all()
            boxes = [cell.bounding_box() for cell in cells if cell.is_visible()]
            assert len(boxes) > 14 and all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
            inside = tab.locator(".change span").evaluate_all(
                "(all) => all.every((e) => e.getBoundingClientRect().right <= innerWidth)"
            )
            assert inside
            if width == 390:
                check_accessibility(tab)


@pytest.mark.parametrize("outputs", [6, 9])
@pytest.mark.slow
def test_each_output_has_a_look_of_its_own(browser, tmp_path, voice, outputs):
    """Of twelve outputs each has its own colour; more differ by the dashes of their lines."""
    folders = pair_of_tables(tmp_path, voice, samples=("one",), outputs=outputs)
    succeeds("compare", *folders, "-o", tmp_path / "out")
    for scheme in ("light", "dark"):
        with opened(browser, tmp_path / "out" / "index.html", color_scheme=scheme) as tab:
            looks = tab.locator("tbody[data-measure=pesq] .swatch").evaluate_all(
                "(all) => all.map((e) => [getComputedStyle(e).color, e.className])"
            )
            assert len(looks) == 2 * outputs
            curves = tab.evaluate(
                "mlquant.viewer.hidden.clear(), mlquant.audio.listeners.forEach((f) => f()), "
                "mlquant.viewer.curves.filter((c) => c.kind === 'y_hat').map((c) => [c.colour, c.dash])"
            )
            rates = tab.evaluate(
                "document.getElementById('bits-chart').series"
                ".filter((s) => s.wide && !s.hollow).map((s) => [s.colour, s.dash])"
            )
            assert len(curves) == 2 * (outputs - 1) and len(rates) == 2
            for drawn in (looks, curves, rates):
                assert len({tuple(look) for look in drawn}) == len(drawn)
            assert len({colour for colour, _ in looks}) == min(12, 2 * outputs)


@pytest.mark.slow
def test_whatever_experiments_say_is_text(browser, tmp_path, voice):
    hostile = "<img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>"
    folders = pair_of_tables(tmp_path, voice, title=hostile, tag="<i>&`${1}")
    succeeds("compare", *folders, "-o", tmp_path / "out")
    with opened(browser, tmp_path / "out" / "index.html") as tab:
        assert tab.evaluate("window.hacked") is None and tab.locator("#comparison img, #about img").count() == 0
        assert hostile in tab.locator("#about").inner_text()
        assert "<i>&`${1}" in tab.locator("#comparison").evaluate("(e) => e.textContent")
