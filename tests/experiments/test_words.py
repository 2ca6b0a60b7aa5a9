"""The words of the page say what was done and what came of it, and nothing that the settings and numbers do not."""

import numpy as np
import pytest

from mlquant.core.blocks import validate
from mlquant.experiments.page.words import Words
from mlquant.networks.settings import NetworkSettings

MANIFOLD = {"family": "manifold", "nn": 1}
NN4 = {"family": "autoencoder1", "nn": 4, "d": 10}
B = "b (20 mel-spaced levels in dB every 10 ms)"
START = f"The speech of 2 samples went through the sinusoidal analysis of Codec 2, which gives {B}; "
END = "; the result, y_hat (an estimate of y: 79 levels, one every 50 Hz), was synthesised to speech"


def output(index, networks=(), **settings):
    return {"index": index, "tag": f"t{index}", "process": "vocoder", "networks": [*networks], "mbest": 5} | settings


def words_of(outputs, bits=(), stages=None, files=None, pesq=None, modes=None, in_set=None, **networks):
    """Words about outputs; `bits` has bits and ms by index, `pesq` and `modes` the PESQ of each sample."""
    networks = {"manifold": MANIFOLD, "nn4": NN4} | networks
    trained = {name: (name, validate(NetworkSettings, {"lr": 1e-3, "epochs": 1} | settings, name).model_dump())
               for name, settings in networks.items()}  # fmt: skip
    pesq, bits = pesq or {}, dict(bits)
    means = [{"group": "all", "index": o["index"], "tag": o["tag"], "pesq": None}
             | dict(zip(("bits_per_frame", "frame_ms"), bits.get(o["index"], (None, None)), strict=True))
             | ({"pesq": float(np.mean(pesq[o["index"]]))} if o["index"] in pesq else {})
             for o in outputs]  # fmt: skip
    measures = [{"sample": f"s{i}", "index": o["index"], "tag": o["tag"], "pesq": value}
                for o in outputs for i, value in enumerate(pesq.get(o["index"], ()))]  # fmt: skip
    anchors = [{"sample": f"s{i}", "tag": mode, "bit_per_s": 1000.0, "pesq": value}
               for mode, values in (modes or {}).items() for i, value in enumerate(values)]  # fmt: skip
    return Words(outputs, trained, means, measures, anchors, stages or {}, files or {}, in_set)


@pytest.mark.parametrize(
    ("outputs", "more", "sentence"),
    [
        (
            [output(5, ["nn4", "manifold"]), output(6, ["nn4", "manifold"], quantiser="vq", stages=2),
             output(7, ["nn4", "manifold"], quantiser="vq", stages=1), output(3, ["manifold"])],
            {"bits": {6: (24, 10), 7: (12, 10)}},
            f"{START}b went through an autoencoder with d = 10, and its latents (the numbers at its narrowest) were "
            f"quantised with 24 bits (2 stages) and 12 bits (1 stage) every 10 ms{END}.",
        ),
        (
            [output(3, ["manifold"]), output(4, ["four", "manifold"])],
            {"four": {"family": "autoencoder1", "nn": 2, "d": 30, "ncat": 4}},
            f"{START}b went through an autoencoder with d = 30 for 4 frames at a time{END}.",
        ),
        (
            [output(3, ["manifold"])],
            {},
            f"{START}b went to a network as it was{END}.",
        ),
        (
            [output(6, ["one"], noise_var=1e-3), output(7, ["one"], noise_var=3e-3), output(5, ["one"])],
            {"one": {"family": "autoencoder3", "nn": 1, "d": 10}},
            f"{START}b went through an autoencoder with d = 10, with noise of variance 0.001 and 0.003 on its latents "
            f"(the numbers at its narrowest) in place of a quantiser{END}.",
        ),
        (
            [output(5, ["y"])],
            {"y": {"family": "autoencoder2", "nn": 1, "d": 10}},
            "The speech of 2 samples went through the sinusoidal analysis of Codec 2, which gives y (79 levels in dB, "
            "one every 50 Hz, every 10 ms); y went through an autoencoder with d = 10; the result, y_hat (an estimate "
            "of y), was synthesised to speech.",
        ),
        (
            [output(4, ["manifold"], quantiser="best"), output(6, ["manifold"], quantiser="best", postfilter=1.2)],
            {"bits": {4: (24, 20), 6: (24, 20)},
             "stages": {"q": {"command": "vq-search", "settings": {"predict": None},
                              "inputs": {"codebooks": ["a", "b"], "predictor": ["p/a.f32"]}}},
             "files": {(4, "t4"): {"l_hat": "q/l_hat.f32"}, (6, "t6"): {"l_hat": "q/l_hat.f32"}}},
            f"{START}b, less its mean (its gain, which is passed on), was quantised with 24 bits (2 stages) every "
            f"20 ms, by prediction from the vector before{END}, with a postfilter of 1.2.",
        ),
        (
            [output(4, ["manifold"], quantiser="best"), output(6, ["nn4", "manifold"], quantiser="vq", stages=1)],
            {"bits": {4: (24, 20), 6: (12, 10)}},
            f"{START}b, less its mean (its gain, which is passed on), was quantised with 24 bits every 20 ms; b went "
            f"through an autoencoder with d = 10, and its latents (the numbers at its narrowest) were quantised with "
            f"12 bits (1 stage) every 10 ms{END}.",
        ),
        (
            [output(5, ["fsq", "manifold"])],
            {"fsq": {"family": "autoencoder1", "nn": 5, "d": 4}},
            f"{START}b went through an autoencoder with d = 4, quantised by finite scalars{END}.",
        ),
        (
            [output(1, process="original"), output(8, process="codec2", mode="3200"),
             output(9, process="codec2", mode="700C")],
            {},
            "The speech of 2 samples was made again by the sinusoidal model, with amplitudes and phases as analysed "
            "and coded by Codec 2 at 3200 bit/s and 700C.",
        ),
    ],
    ids=["quantised", "frames", "manifold", "noise", "y", "prediction", "both", "fsq", "no vocoder"],
)  # fmt: skip
def test_what_was_done_is_one_sentence(outputs, more, sentence):
    assert words_of(outputs, **more).sentence(2) == sentence


def test_networks_are_those_of_the_runs_where_two_names_stand_for_one():
    stages = {
        "inferred": {"command": "infer", "inputs": {"weights": ["manifold/w"], "features": ["decoded/hat.f32"]}},
        "decoded": {"command": "decode", "inputs": {"weights": ["nn4/w"], "features": ["f/b.f32"]}},
    }
    files = {(6, "t6"): {"y_hat": "inferred/hat.f32"}}
    words = words_of([output(6, ["other_name", "manifold"])], stages=stages, files=files)
    assert "b went through an autoencoder with d = 10;" in words.sentence(1)


def test_outputs_have_short_names_that_differ():
    outputs = [
        output(1, process="original"),
        output(3, ["manifold"]),
        output(4, ["manifold"], quantiser="best", stages=2),
        output(5, ["tuned"], quantiser="best", stages=2),
        output(6, ["nn4", "manifold"], quantiser="vq", stages=1, postfilter=1.2),
        output(8, process="codec2", mode="3200"),
    ]
    bits = {4: (24, 20), 5: (24, 20), 6: (12, 10)}
    told = words_of(outputs, bits, tuned=MANIFOLD, pesq={3: [3.0, 3.1, 3.2], 4: [3.0, 3.1]}).outputs_in_words()
    assert [one["short"] for one in told] == [
        "sinusoidal model", "b to y", "24 bits / 20 ms, t4", "24 bits / 20 ms, t5", "12 bits, postfilter",
        "Codec 2 3200",
    ]  # fmt: skip
    assert [one["what"] for one in told] == [
        "sinusoidal model, phases as analysed, nothing coded",
        "y made from b by a network, nothing quantised",
        "b less its mean, quantised in 2 stages (manifold)",
        "b less its mean, quantised in 2 stages (tuned)",
        "b through autoencoder (d = 10), latents quantised in 1 stage, postfilter 1.2",
        "Codec 2 at 3200 bit/s",
    ]
    low, high = told[1]["pesq"]
    assert low < 3.1 < high
    assert told[2]["pesq"] is None, "two samples give no interval"


BASE = np.array([3.0, 3.1, 3.2, 3.3, 3.4])


@pytest.mark.parametrize(
    ("theirs", "told"),
    [
        (np.add(BASE, [0.02, -0.02, 0.03, 0, -0.03]), "24 bits every 10 ms measure like Codec 2 at 3200 bit/s"),
        (np.add(BASE, [0.5, -0.5, 0.3, 0, -0.3]), "24 bits every 10 ms lie nearest to Codec 2 at 3200 bit/s"),
        (np.add(BASE, [0.5, 0.55, 0.5, 0.45, 0.5]), "24 bits every 10 ms measure worse than Codec 2 at 3200 bit/s"),
        (
            np.subtract(BASE, [0.5, 0.55, 0.5, 0.45, 0.5]),
            "24 bits every 10 ms measure better than Codec 2 at 3200 bit/s",
        ),
        (BASE[:2], "24 bits every 10 ms beside Codec 2 at 3200 bit/s"),
    ],
)
def test_outputs_are_alike_only_where_the_interval_of_the_difference_says_so(theirs, told):
    outputs = [output(6, ["nn4", "manifold"], quantiser="vq", stages=2)]
    words = words_of(outputs, {6: (24, 10)}, pesq={6: BASE}, modes={"3200": theirs, "1200": BASE - 2})
    assert words.finding() == f"{told} (PESQ 3.20 and {np.mean(theirs):.2f})."


def test_the_finding_takes_the_best_output_of_each_rate_and_none_without_bits_or_pesq():
    outputs = [output(i, ["nn4", "manifold"], quantiser="vq") for i in (4, 5, 6)] + [output(3, ["manifold"])]
    bits = {4: (24, 20), 5: (24, 20), 6: (12, 10)}
    pesq = {4: BASE - 0.2, 5: BASE, 6: BASE - 1, 3: BASE + 0.5}
    assert (
        words_of(outputs, bits, pesq=pesq).finding()
        == "24 bits every 20 ms: PESQ 3.20; 12 bits every 10 ms: PESQ 2.20."
    )
    assert words_of(outputs, bits).finding() == ""
    assert words_of(outputs[3:], pesq=pesq).finding() == ""


def set_of(means, differences):
    """What the page has of a test set: the mean PESQ of each index, and by pair of them the difference and its ends."""
    return {
        **{"name": "mine", "utterances": 58, "speakers": 8},
        "means": [{"group": "all", "measure": "pesq", "index": i, "tag": f"t{i}", "mean": v} for i, v in means.items()],
        "pairs": [
            {"group": "all", "measure": "pesq", "index": a, "tag": f"t{a}", "index_b": b, "tag_b": f"t{b}",
             "difference": one[0], "low": one[1], "high": one[2]}
            for (a, b), one in differences.items()
        ],
    }  # fmt: skip


IN_SET = "On the test set mine, 58 utterances of 8 speakers: "


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        (
            {(6, 8): (-0.21, -0.28, -0.13), (7, 8): (0.02, -0.1, 0.17)},
            "24 bits every 10 ms measure better than Codec 2 at 3200 bit/s (by 0.21, 0.13 to 0.28; PESQ 3.01 and "
            "2.80); 12 bits every 10 ms measure like Codec 2 at 3200 bit/s (PESQ 2.78 and 2.80).",
        ),
        (
            {(6, 8): (0.05, 0.01, 0.09), (7, 8): (0.1, -0.1, 0.3)},
            "24 bits every 10 ms measure worse than Codec 2 at 3200 bit/s (by 0.05, 0.01 to 0.09; PESQ 3.01 and 2.80); "
            "12 bits every 10 ms do not differ beyond chance from Codec 2 at 3200 bit/s (PESQ 2.78 and 2.80).",
        ),
        (
            {(6, 8): (0.05, None, None), (7, 8): (0.1, None, None)},
            "24 bits every 10 ms beside Codec 2 at 3200 bit/s (PESQ 3.01 and 2.80); "
            "12 bits every 10 ms beside Codec 2 at 3200 bit/s (PESQ 2.78 and 2.80).",
        ),
    ],
)
def test_paired_differences_of_the_test_set_decide_and_samples_do_not(differences, told):
    outputs = [output(6, ["nn4"], quantiser="vq"), output(7, ["nn4"], quantiser="vq")]
    outputs.append(output(8, process="codec2", mode="3200"))
    samples = {6: BASE - 1, 7: BASE + 1}  # these say the opposite
    in_set = set_of({6: 3.01, 7: 2.78, 8: 2.8}, differences)
    words = words_of(outputs, {6: (24, 10), 7: (12, 10)}, pesq=samples, modes={"1200": BASE}, in_set=in_set)
    assert words.finding() == IN_SET + told


def test_without_codec_2_on_the_test_set_each_rate_is_beside_the_next():
    outputs = [output(6, ["nn4"], quantiser="vq"), output(7, ["nn4"], quantiser="vq")]
    in_set = set_of({6: 3.01, 7: 2.78}, {(6, 7): (-0.23, -0.3, -0.15)})
    words = words_of(outputs, {6: (24, 10), 7: (12, 10)}, in_set=in_set)
    told = "24 bits every 10 ms measure better than 12 bits every 10 ms (by 0.23, 0.15 to 0.30; PESQ 3.01 and 2.78)."
    assert words.finding() == IN_SET + told
    assert words_of(outputs[:1], {6: (24, 10)}, in_set=in_set).finding() == f"{IN_SET}24 bits every 10 ms: PESQ 3.01."
