"""The report, from tables made up here: what stands on the page is what stands in them."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from support import test_set
from support.pages import check_accessibility

from mlquant import report
from mlquant.core import records
from mlquant.core.errors import InputError
from mlquant.measures import measures
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.report.published import PUBLISHED

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
NETWORK = {
    **{"family": "autoencoder1", "nn": 4, "d": 10, "ncat": 1, "noise_var": 0.008, "loss": "wloss", "gamma": 0.5},
    **{"optimiser": "adam", "lr": 0.002, "batch": 512, "epochs": 50, "corpus": "tracts"},
}
KEY = "0123abcd"
VQ = {"network": "nn4", "kind": "lbg", "mbest": None, "stages": [{"size": 4096}, {"size": 4096}]}


def output(index, tag, process="vocoder", **settings):
    defaults = {"networks": [], "quantiser": None, "stages": None, "mbest": 5, "noise_var": 0.0, "shows": ""}
    return {"index": index, "tag": tag, "process": process, "processing": f"process {tag}", **defaults, **settings}


OUTPUTS = [
    output(3, "k80_y_hat", networks=["nn4"]),
    output(6, "k80_b_hat_vq24", networks=["nn4"], quantiser="nn4_vq", stages=2),
    output(8, "3200", "codec2"),
]


PESQ = {"big_dog": 3.5, "two_lines": 3.7, "hts1a": 3.0, "kristoff": 3.1, "mmt1": 3.5}
FIVE = {"pesq": PESQ, "ideal_y_pesq": dict.fromkeys(PESQ, 4.25), "ideal_y_lsd_dB": dict.fromkeys(PESQ, 5.4)}


class Results:
    """A folder of results, and what a report is given of them."""

    def __init__(self, folder):
        self.folder, self.folders = folder, []

    def add(self, what, name, tables, figure, networks=(), quantisers=(), **settings):
        place = {"experiment": f"{name}_wav", "study": f"studies/{name}", "sweep": f"sweeps/{name}"}[what]
        path = self.folder / place
        path.mkdir(parents=True, exist_ok=True)
        for table, columns in tables.items():
            pd.DataFrame(columns).to_csv(path / f"{table}.csv", index=False)
        (path / figure).write_text(SVG, encoding="utf-8")
        record = {"kind": what, "name": name, "key": KEY, "settings": {"title": "", **settings}, "lowered": {}}
        record["networks"] = {name: one for name, one in {"nn4": NETWORK}.items() if name in networks}
        record["quantisers"] = {name: one for name, one in {"nn4_vq": VQ}.items() if name in quantisers}
        if what == "experiment":
            known = {"experiment": {"name": name, **record["settings"]}, "left_out": ["late"], "key": KEY}
            (path / "provenance.json").write_text(json.dumps(known), encoding="utf-8")
            (path / "config.yaml").write_text(json.dumps(record), encoding="utf-8")
        else:
            (path / "settings.json").write_text(json.dumps(record), encoding="utf-8")
        self.folders.append({"folder": str(path), "key": KEY, "newer": None, "time": "2026-01-02 03:04:05.678+00:00"})
        return path

    def experiment(self, name, title="", pesq=(3.31, 2.77, 3.17), samples=("big_dog", "two_lines"), **settings):
        rows = pd.DataFrame([{"index": one["index"], "tag": one["tag"]} for one in OUTPUTS])
        rows = rows.assign(bits_per_frame=[None, 24, 64], frame_ms=[None, 10, 20], bit_per_s=[None, 2400, 3200])
        rows = rows.assign(
            pesq=pesq, stoi=0.9, estoi=0.8, sd_dB2=[5.25, 14.5, None], sd_voiced_dB2=6.0, published_pesq=None
        )
        groups = [
            (group, rows.assign(pesq=rows["pesq"] + more))
            for group, more in (("all", 0), ("male", -0.1), ("female", 0.2))
        ]
        means = pd.concat([part.assign(group=group, samples=2) for group, part in groups])
        sexes = {"two_lines": "f"}
        measures = pd.concat([rows.assign(sample=sample, sex=sexes.get(sample, "m")) for sample in samples])
        path = self.add(
            *("experiment", name, {"means": means, "measures": measures}, "nn4_losses.png", ["nn4"], ["nn4_vq"]),
            **{"outputs": OUTPUTS, "samples": ["big_dog"], "title": title, "published": None, **settings},
        )
        return path

    def five(self, name="240118", ours=FIVE, **settings):
        """An experiment with the five samples, of which `ours` gives each measure by sample; index 6 has 1 less."""
        path = self.experiment(name, samples=[*PESQ], **settings)
        table = pd.read_csv(path / "measures.csv", dtype={"tag": str})
        less = (table["index"] == 6).astype(int)
        for measure, values in ours.items():
            table[measure] = table["sample"].map(values) - less
        table.to_csv(path / "measures.csv", index=False)
        return path

    def noise(self, held_out=7.77, name="noise"):
        table = {
            "noise_var": [0, 0.001, 0.003],
            "sd_training_dB2": [2.0, 3.0, 4.0],
            "sd_held_out_dB2": [2.5, 3.5, held_out],
        }
        table |= {"vq_bits": [None, None, 21], "vq_stages": [None, None, 2], "bit_per_s": [None, None, 1050]}
        settings = {"kind": "noise", "quantiser": "nn4_vq", "frame_ms": 20}
        return self.add("study", name, {"noise": table}, "noise.svg", ["nn4"], ["nn4_vq"], **settings)

    def uniform_vq(self):
        theory = [("uniform", "theory", 10 * bits, 1 / (3 * 4**bits)) for bits in range(1, 6)]
        held_out = [("uniform", "held_out", bits, 1.25 * variance) for *_, bits, variance in theory]
        rows = [
            *theory,
            *held_out,
            ("vq", "training", 24, 0.002),
            ("vq", "held_out", 12, 0.01),
            ("vq", "held_out", 24, 0.0031),
        ]
        table = pd.DataFrame(rows, columns=["quantiser", "measured_on", "bits_per_frame", "variance"])
        needed = {
            "variance": [0.001, 0.01],
            "uniform_bits": [41.9, 25.3],
            "vq_bits": [None, 11.1],
            "saving_bits": [None, 14.2],
        }
        tables, settings = (
            {"uniform_vq": table, "needed": needed},
            {"kind": "uniform_vq", "quantiser": "nn4_vq", "mbest": 5},
        )
        self.add("study", "uniform_vq", tables, "uniform_vq.svg", ["nn4"], ["nn4_vq"], **settings)

    def mbest(self):
        table = {
            "stages": [2, 2, 3, 3],
            "mbest": [1, 5, 1, 5],
            "mse": [0.02, 0.015, 0.01, 0.005],
            "gain_dB": [0, 1.25, 0, 3.01],
        }
        settings = {"kind": "mbest", "quantiser": "nn4_vq", "stages": [2, 3]}
        self.add("study", "vq", {"mbest": table}, "mbest.svg", ["nn4"], ["nn4_vq"], **settings)

    def latents(self):
        tables = {
            "dimensions": {"share": [0.9, 0.99], "components": [2, 3]},
            "pca": {"component": [1, 2, 3, 4], "share": [0.37, 0.33, 0.2, 0.1]},
            "correlation": {"lag_frames": [0, 1, 2], "lag_ms": [0, 10, 20], "mean": [1, 0.83, 0.44]},
        }
        self.add("study", "latents", tables, "latents.svg", ["nn4"], kind="latents", network="nn4", lags=2, seconds=4.0)

    def demo(self):
        tables = {
            "summary": {"set": ["training", "held_out", "sample"], "sd_dB2": [4.11, 5.22, 6.33]},
            "frames": {"time_s": [0, 0.01], "energy_dB": [20, 30], "sd_dB2": [5, 6]},
            "losses": {"epoch": [1, 2], "held_out_sd_dB2": [30.5, 5.22]},
        }
        settings = {"kind": "demo", "title": "A demonstration", "network": "nn4", "sample": "big_dog", "frames": 4}
        self.add("study", "basic", tables, "demo.svg", ["nn4"], **settings)

    def analog(self):
        rows = [("analog", 10, "plain", -5, None, 600.5), ("analog", 10, "matched", -5, None, 80.25)]
        rows += [
            ("analog", 10, "plain", 20, None, 21.5),
            ("digital", 10, None, -5, 0.2, 160.75),
            ("digital", 10, None, 20, 0, 17.5),
        ]
        table = pd.DataFrame(rows, columns=["scheme", "d", "trained", "snr_dB", "bit_error_rate", "sd_dB2"])
        settings = {"kind": "analog", "quantiser": "nn4_vq", "d": [10], "snr_dB": [-5.0, 20.0], "stages": 2}
        path = self.add("study", "analog", {"analog": table}, "analog.svg", ["nn4"], ["nn4_vq"], **settings)
        (path / "big_dog_analog_d10_0dB.wav").touch()

    def bits(self, pesq=(2.54, 2.71, 2.45, 2.63, 3.39)):
        table = {
            "source": ["b", "nn4", "nn4", "codec2", "reference"],
            "kind": ["beam", "predictive", "lbg", "1200", "ideal_y"],
            "entries": [512, 4096, 512, None, None],
            "stages": [1, 2, 2, None, None],
            "interval_ms": [20, 20, 10, 40, None],
            "bit_per_s": [450, 1200, 1800, 1200, None],
            "sd_b_unseen_dB2": [14.5, None, 6.5, None, None],
            "sd_unseen_dB2": [24.5, 19.25, 12.5, None, None],
            "pesq": pesq,
            "pesq_big_dog": pesq,
            "on_front": [True, True, False, False, False],
        }
        self.add("study", "bits", {"bits": table}, "bits.svg", ["nn4"], ["nn4_vq"], kind="bits")

    def sweep(self, failed=None):
        table = {
            "variant": ["a", "b"],
            "label": ["a: d 5", "b: d 10"],
            "d": [5, 10],
            "epochs": [9, 9],
            "norm": [False, False],
        }
        table |= {"final_loss": [1, 2], "final_sd_dB2": [8.1, 6.2], "final_held_out_sd_dB2": [9.15, 7.25]}
        table |= {"best_held_out_sd_dB2": [9, 7], "epochs_trained": [9, 9], "failed": [None, failed], "seconds": [3, 4]}
        self.add("sweep", "width", {"summary": table}, "losses.svg", title="How wide")

    def everything(self):
        """One of each, not in the order of the page."""
        (
            self.sweep(),
            self.experiment("mine", "My own"),
            self.bits(),
            self.analog(),
            self.experiment("240125A", "From y"),
        )
        (
            self.experiment("240118", "Experiment 1"),
            self.mbest(),
            self.uniform_vq(),
            self.noise(),
            self.latents(),
            self.demo(),
        )
        self.experiment("240104", "Baseline")

    def text(self, settings=None):
        """The page, and its words without markup, as they are read."""
        out = self.folder / "report.html"
        report.write({"folders": self.folders} if settings is None else settings, out)
        page = out.read_text(encoding="utf-8")
        words = re.sub(r"<(style|title).*?</\1>|data:[^\"]*", "", page, flags=re.DOTALL)
        return page, " ".join(re.sub(r"<[^>]*>", " ", words).split()).replace(" .", ".").replace(" ,", ",")


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results")


SECTIONS = [
    *("Dimension reduction", "Noise on the latents", "Vector quantiser against uniform quantiser", "Experiment 1"),
    *("Autoencoders 2 and 3", "Analog transmission", "Bit rate and quality", "Designs compared", "Other experiments"),
]


def test_sections_come_in_the_order_of_the_paper(results):
    results.everything()
    page, _ = results.text()
    order = "experiment-240104 study-basic study-latents study-noise study-uniform_vq study-vq experiment-240118"
    order += " experiment-240125A study-analog study-bits sweep-width experiment-mine"
    assert re.findall(r'<article id="([^"]*)"', page) == order.split()
    titles = re.findall(r"<h2>\d\. ([^<]*)</h2>", page)
    assert titles == SECTIONS


def test_what_has_no_results_has_no_section(results):
    results.noise()
    page, text = results.text()
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["1. Noise on the latents"]
    assert "1 study" in text and "Experiment 1" not in text and "Analog" not in text


def test_every_kind_says_its_question_and_its_numbers(results):
    results.everything()
    page, text = results.text()
    assert page.count('class="question"') == len(results.folders)
    for sentence in (
        "In training the held-out SD went from 30.50 to 5.22 dB², against 4.11 dB² on the training frames.",
        "On the speech of big_dog it is 6.33 dB².",
        "The first principal component holds 37% of the variance. 90% takes 2 of 4 components;",
        "After 10 ms the mean correlation of a latent with itself is 0.83; it falls below a half at 20 ms.",
        "From noise of variance 0 to 0.003, SD on held-out vectors goes from 2.50 to 7.77 dB²; on training vectors it "
        "ends at 4.00, where 3.93 is published for other training speech.",
        "is 0.003, with 21 bits (published: 20), or 1050 bit/s.",
        "it saves 14.2 bits a frame.",
        "24 bits, leave an error of variance 0.0031",
        "The most is gained with 3 stages and 5 survivors: 3.01 dB.",
        "At -5 dB the least SD is 80.2 dB² (analog, d = 10, trained with noise); the bits have 161.",
        "The bits are better than every analog scheme from 20 dB on.",
        "The highest mean PESQ is 2.71, at 1200 bit/s (nn4, predictive); y that is not quantised has 3.39.",
        "Codec 2 1200 has 2.63; the best of no more bit/s 2.71 (nn4, predictive, 1200 bit/s).",
        "Least SD on held-out vectors after training: 7.25 dB² (b: d 10); most: 9.15 dB² (a: d 5).",
        "highest at index 3, 3.31, and lowest at index 6, 2.77; process 3200 has 3.17.",
        "Index 6 against 3: -0.54 PESQ (-0.54 for male, -0.54 for female speech).",
        "The optional sample late could not be obtained and is left out.",
        "Index 6 takes 2 of its stages with 5 survivors each.",
    ):
        assert sentence in text, sentence


def test_the_best_rates_are_tabulated_and_what_codec_2_is_beside(results):
    results.bits()
    page, _ = results.text()
    best = row_of(page, "What no other", "nn4")
    assert best == {
        **{"quantised": "nn4", "kind": "predictive", "entries": "4096", "stages": "2", "in ms": "20"},
        **{"bit/s": "1200", "SD of b, other voices (dB²)": "", "SD, other voices (dB²)": "19.25", "PESQ": "2.71"},
    }
    assert "lbg" not in page[page.index("<caption>What no other") :]
    beside = row_of(page, "Beside", "1200")
    assert beside["of"] == "nn4, predictive, 20 ms" and beside["PESQ as high from, bit/s"] == "1200"


def test_rates_without_pesq_say_so(results):
    results.bits(pesq=[None] * 5)
    _, text = results.text()
    assert "PESQ was not measured." in text and "Beside the modes" in text and "highest" not in text


@pytest.mark.parametrize("value", [7.77, 9.13])
def test_a_changed_table_changes_the_sentence_and_the_table(results, value):
    results.noise(held_out=value)
    _, text = results.text()
    assert text.count(f"{value:.2f}") == 2


def test_settings_are_those_that_the_folder_was_made_with(results):
    path = results.noise() / "settings.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["networks"]["nn4"] |= {"d": 12, "epochs": 77}
    path.write_text(json.dumps(record), encoding="utf-8")
    _, text = results.text()
    assert "(autoencoder1 4, d = 12) in stages of 4096 and 4096 entries" in text
    assert "nn4 autoencoder1 4 12 1 0.008 wloss 0.5 adam 0.002 512 77 tracts" in text
    record["quantisers"]["nn4_vq"] |= {"kind": "beam", "mbest": 5}
    path.write_text(json.dumps(record), encoding="utf-8")
    _, text = results.text()
    assert "in stages of 4096 and 4096 entries, the later ones on all of 5 survivors" in text


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"key": "01234567"}, "Out of date. It was made with other settings, or by other code, than there are now."),
        ({"key": None}, "Out of date. The configuration of this report has no study of this name."),
        ({"newer": "speech/ann.wav"}, "Out of date. speech/ann.wav is newer than it."),
    ],
)
def test_what_would_be_made_otherwise_now_is_shown_as_it_is_and_marked(results, now, words):
    results.noise(), results.mbest()
    page, text = results.text()
    assert "Out of date" not in text
    results.folders[0] |= now
    page, text = results.text()
    assert words in text and "7.77" in text and text.count("Out of date") == 2
    assert f"snakemake {results.folders[0]['folder']} makes it anew" in text
    assert f'<a href="#study-noise">{results.folders[0]["folder"]}</a>.' in page


def test_a_quick_look_is_marked_and_shown_with_the_values_that_were_used(results):
    path = results.experiment("mine")
    known = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
    known["experiment"]["lowered"] = {"networks.nn4.epochs": [50, 1], "quantisers.nn4_vq.stages.1.size": [4096, 16]}
    (path / "provenance.json").write_text(json.dumps(known), encoding="utf-8")
    page, text = results.text()
    words = "epochs 1 instead of 50 (networks nn4); size 16 instead of 4096 (quantisers nn4_vq)"
    assert f"This is a quick look, made with less than the configuration asks for: {words}." in text
    assert "nn4 autoencoder1 4 10 1 0.008 wloss 0.5 adam 0.002 512 1 tracts" in text
    assert "in stages of 4096 and 16 entries" in text
    assert '<a href="#experiment-mine">' in page[: page.index("<nav")]


def test_a_folder_that_does_not_say_how_it_was_made_is_left_out(results, capsys):
    results.mbest()
    (results.noise() / "settings.json").unlink()
    page, _ = results.text()
    assert re.findall(r'<article id="([^"]*)"', page) == ["study-vq"]
    assert f"{results.folders[1]['folder']}: left out, as it does not record how it was made" in capsys.readouterr().err


def row_of(page, caption, first):
    """Cells of the row of a table that begins with a text."""
    table = page[page.index(f"<caption>{caption}") :]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    return dict(zip(rows[0], next(row for row in rows if row[0] == first), strict=True))


def test_published_figures_stand_beside_ours(results):
    results.noise(), results.uniform_vq(), results.experiment("240118")
    page, _ = results.text()
    noise = row_of(page, "SD with noise", "0.003")
    assert noise["SD held out (dB²)"] == "7.77" and noise["published SD"] == "3.93"
    assert noise["VQ bits"] == "21" and noise["published bits"] == "20" and noise["published bit/s"] == "1000"
    assert row_of(page, "SD with noise", "0")["published SD"] == "1.89"
    assert row_of(page, "Bits a frame", "0.01") | {"VQ": "11.1", "published VQ": "10"} == row_of(
        page, "Bits a frame", "0.01"
    )
    assert row_of(page, "Uniform", "1")["published"] == "0.0833"


def rows_of(page, caption):
    """The cells of each row of a table, by the first two."""
    table = page[page.index(f"<caption>{caption}<") :]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table[: table.index("</table>")], re.DOTALL)
    _, *rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    return {(first, second): rest for first, second, *rest in rows}


def published(measure, index_tag, *samples):
    """The mean of a published figure, as the report writes it."""
    values = PUBLISHED["experiments"]["240118"]["wavs"][index_tag][measure]
    return f"{sum(values[name] for name in samples) / len(samples):.2f}"


INSIDE, OUTSIDE = ("big_dog", "two_lines"), ("hts1a", "kristoff", "mmt1")


@pytest.mark.parametrize("name", ["240118", "240118_seed"])
def test_ours_stands_beside_the_published_by_what_the_author_trained_on(results, name):
    results.five(name)
    page, text = results.text()
    assert rows_of(page, "PESQ against the source speech") == {
        ("outside (n = 3)", "published"): [published("pesq", tag, *OUTSIDE) for tag in ("3_k80_y_hat", VQ24)],
        ("outside (n = 3)", "ours"): ["3.20", "2.20"],
        ("inside (n = 2)", "published"): [published("pesq", tag, *INSIDE) for tag in ("3_k80_y_hat", VQ24)],
        ("inside (n = 2)", "ours"): ["3.60", "2.60"],
        ("all (n = 5)", "published"): [published("pesq", tag, *PESQ) for tag in ("3_k80_y_hat", VQ24)],
        ("all (n = 5)", "ours"): ["3.36", "2.36"],
    }
    assert published("pesq", "3_k80_y_hat", *OUTSIDE) == "3.26" and published("pesq", VQ24, *INSIDE) == "3.34"
    ideal = rows_of(page, "LSD (dB) against the speech of ideal y")
    assert ideal["all (n = 5)", "published"] == ["5.36", "6.41"] and ideal["all (n = 5)", "ours"] == ["5.40", "4.40"]
    ideal = rows_of(page, "PESQ against the speech of ideal y")
    assert ideal["all (n = 5)", "published"] == ["4.13", "3.87"] and ideal["inside (n = 2)", "ours"] == ["4.25", "3.25"]
    for sentence in (
        "big_dog and two_lines belong to the database that the original's author trained his networks on (manifold.tex",
        "so only the speech outside it compares fairly: hts1a, kristoff and mmt1.",
        "mean PESQ of ours less the published is -0.06 at index 3 and -0.70 at index 6. That is of only 3 samples",
        "Published: measured once by this program, of the wavs published as 240118_wav.",
        "all those outside are male.",
    ):
        assert sentence in text, sentence
    means = page[page.index("<caption>Means over all") :]
    assert "published" not in means[: means.index("</table>")], "bare numbers side by side"
    assert "Farthest" not in text


VQ24 = "6_k80_b_hat_vq24"


def test_the_published_sd_is_shown_with_its_source_and_with_why_it_does_not_compare(results):
    results.five()
    page, text = results.text()
    assert row_of(page, "SD (dB²) of index 3 by sample; the published figures do not compare", "two_lines") == {
        **{"sample": "two_lines", "all frames": "5.25", "voiced frames": "6.00", "published": "1.02"}
    }
    assert "Published: manifold.tex, the manifold network on test speech." in text and "mlquant.tex" not in text
    assert "it is 0.37 to 1.38 dB², ours 5.25 to 5.25 dB²" in text
    why = "They do not: PESQ is 4.13 for the published wavs and 4.25 for ours, LSD is 5.36 dB for the published wavs"
    assert why in text
    assert "What the published SD of index 3 is a mean over; the 1.38 dB² of big_dog is also the label of a" in text


def test_worse_wavs_of_ours_do_not_have_the_report_say_that_they_lie_as_near(results):
    results.five(ours=FIVE | {"ideal_y_lsd_dB": dict.fromkeys(PESQ, 9.0)})
    _, text = results.text()
    assert "They do not" not in text and "Measured: PESQ is 4.13" in text and "9.00 dB for ours" in text


def test_published_wavs_that_the_run_measured_win_over_the_figures_on_file(results):
    path = results.five(published="shared/published/240118_wav")
    table = pd.read_csv(path / "measures.csv", dtype={"tag": str})
    table = table.assign(published_pesq=table["pesq"] / 2, published_stoi=0.5, published_ideal_y_pesq=None)
    table.to_csv(path / "measures.csv", index=False)
    page, text = results.text()
    found = rows_of(page, "PESQ against the source speech")
    assert found["outside (n = 3)", "published"] == ["1.60", "1.10"]
    assert rows_of(page, "STOI against the source speech")["inside (n = 2)", "published"] == ["0.500", "0.500"]
    assert "against the speech of ideal y" not in text, "what the run did not measure is not taken from elsewhere"
    assert "Published: measured in this run, of the wavs in shared/published/240118_wav." in text
    assert "on file" not in text and "measured once" not in text


def test_samples_of_which_one_side_is_missing_are_in_neither_mean(results):
    path = results.five()
    table = pd.read_csv(path / "measures.csv", dtype={"tag": str})
    table.loc[(table["sample"] == "mmt1") & (table["index"] == 6), "pesq"] = None
    another = table[table["sample"] == "hts1a"].assign(sample="ann", sex="f")
    pd.concat([table, another]).to_csv(path / "measures.csv", index=False)
    page, _ = results.text()
    found = rows_of(page, "PESQ against the source speech")
    assert found["outside (n = 2)", "ours"] == ["3.05", "2.05"]
    assert found["outside (n = 2)", "published"][0] == published("pesq", "3_k80_y_hat", "hts1a", "kristoff")
    assert not any("not known" in head for head, _ in found)


def test_samples_inside_alone_compare_with_nothing(results):
    results.experiment("240118")
    page, text = results.text()
    assert {head for head, _ in rows_of(page, "PESQ against the source speech")} == {"inside (n = 2)"}
    assert "only the speech outside it compares fairly, and no sample here is outside." in text
    assert "less the published" not in text


def test_of_a_sample_that_the_paper_does_not_name_it_is_said_that_nothing_is_known(results):
    path = results.five("240125", published="theirs")
    table = pd.read_csv(path / "measures.csv", dtype={"tag": str})
    table = pd.concat([table, table[table["sample"] == "hts1a"].assign(sample="vk5dgr_testing_8k")])
    table.assign(published_pesq=3.0).to_csv(path / "measures.csv", index=False)
    page, text = results.text()
    assert rows_of(page, "PESQ against the source speech")["not known (n = 1)", "ours"] == ["3.00", "2.00"]
    assert "Whether vk5dgr_testing_8k belongs to it is not known." in text


def test_published_means_over_other_samples_are_said_not_to_compare(results, monkeypatch):
    monkeypatch.setitem(globals(), "OUTPUTS", [output(5, "y_hat_ae3"), output(6, "vq24"), output(8, "3200", "codec2")])
    results.experiment("240125")
    page, text = results.text()
    assert row_of(page, "Means over all", "5")["published PESQ"] == "3.12"
    assert "and some outside, so they do not compare with ours." in text


def test_published_wavs_of_ones_own_experiment_stand_beside_ours(results):
    path = results.experiment("mine", published="theirs")
    for name in ("means", "measures"):
        table = pd.read_csv(path / f"{name}.csv", dtype={"tag": str})
        table.assign(published_pesq=1.23).to_csv(path / f"{name}.csv", index=False)
    page, text = results.text()
    assert row_of(page, "Means over all", "3")["published PESQ"] == "1.23"
    assert row_of(page, "Means by sex", "3")["published PESQ male"] == "1.23"
    assert "the same measures of the wavs in theirs" in text and "author" not in text


@pytest.mark.parametrize("index_tag", PUBLISHED["experiments"]["240118"]["wavs"])
def test_the_published_figures_are_those_of_the_published_wavs(shared, index_tag):
    pytest.importorskip("pesq", reason="needs the package pesq")
    for measure, figures in PUBLISHED["experiments"]["240118"]["wavs"][index_tag].items():
        of_ideal_y = measure.startswith("ideal_y_")
        for sample, figure in figures.items():
            reference = "golden/{}_ideal_y.raw" if of_ideal_y else "speech/{}.raw"
            wavs = (shared / reference.format(sample), shared / f"published/240118_wav/{sample}_{index_tag}.wav")
            delay = 0 if of_ideal_y else measures.DELAY
            found, _, _ = measures.audio_measures(*map(records.read_speech, wavs), delay)
            assert found[measure.removeprefix("ideal_y_")] == pytest.approx(figure, abs=0.02), (measure, sample)


def test_the_table_of_the_readme_has_the_published_figures():
    readme = (Path(report.__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in readme.splitlines() if "|" in line]
    (head,) = [row for row in rows if row[:2] == ["index", "what"]]
    for index_tag in PUBLISHED["experiments"]["240118"]["wavs"]:
        (row,) = [row for row in rows if row[0] == index_tag[0]]
        cells = dict(zip(head, row, strict=True))
        assert cells["outside: published"] == published("pesq", index_tag, *OUTSIDE)
        assert cells["inside: published"] == published("pesq", index_tag, *INSIDE)


def test_names_that_look_like_numbers_are_names(results, monkeypatch):
    monkeypatch.setitem(globals(), "OUTPUTS", [output(8, "3200", "codec2"), output(9, "1e-3"), output(10, "07")])
    results.experiment("mine")
    page, _ = results.text()
    assert (
        row_of(page, "Means over all", "9")["PESQ"] == "2.77" and row_of(page, "Means over all", "10")["PESQ"] == "3.17"
    )


def test_a_test_set_decides_and_its_tables_come_first(results):
    path = results.experiment("mine")
    every = test_set.add(path, shifts={3: 0.0, 6: -0.2, 8: 0.1})
    page, text = results.text()
    means = every.groupby("index")["pesq"].mean()
    difference = means[6] - means[3]
    where = "the test set mine, 24 utterances of 6 speakers"
    assert f"On {where}, mean PESQ of what the vocoder makes is highest at index 3, {means[3]:.2f}" in text
    assert f"process 3200 has {means[8]:.2f}. Intervals are of 95 %, by bootstrap over speakers" in text
    step = re.search(r"Index 6 against 3: (\S+) PESQ, 95 % interval (\S+) to (\S+): worse, beyond chance \(", text)
    low, high = map(float, step.groups()[1:])
    assert float(step[1]) == pytest.approx(difference, abs=0.006) and low < difference < high < 0
    assert (
        text.index(f"Means over {where}") < text.index(f"PESQ: differences on {where}") < text.index("Means over all")
    )
    assert row_of(page, f"Means over {where}", "6")["PESQ"] == f"{means[6]:.2f}"
    row = row_of(page, "PESQ: differences", "3")
    assert (row["second"], row["female speakers: the second is"]) == ("6", "worse, beyond chance")


def test_without_pesq_the_rest_is_there(results):
    results.experiment("mine", pesq=(None, None, None))
    page, text = results.text()
    assert "PESQ was not measured." in text and "PESQ" not in row_of(page, "Means over all", "3")
    assert row_of(page, "Means over all", "3")["SD (dB²)"] == "5.25"


def test_a_failed_training_is_named(results):
    results.sweep(failed="loss is NaN")
    _, text = results.text()
    assert (
        "Failed: b: d 10: loss is NaN" in text
        and "Least SD on held-out vectors after training: 9.15 dB² (a: d 5)." in text
    )


def test_hostile_text_is_shown_not_run(results):
    results.experiment(
        "mine", title="<script>alert(1)</script>", outputs=[{**OUTPUTS[0], "processing": '"><img src=x>'}]
    )
    results.sweep(failed="<b>bold</b>")
    page, _ = results.text()
    assert "<script" not in page and "<img src=x>" not in page and "<b>bold" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_page_is_one_file(results):
    results.everything()
    page, _ = results.text()
    assert not re.findall(r'(?:src|href)="(?:https?:|//)[^"]*"', page)
    assert set(re.findall(r'<img src="(.{5})', page)) == {"data:"}
    assert page.count("<img") == len(results.folders)
    assert 'href="mine_wav/index.html"' in page and 'href="studies/analog/big_dog_analog_d10_0dB.wav"' in page


def test_each_caption_of_loss_curves_says_why_a_held_out_loss_can_lie_below(results):
    results.everything()
    page, _ = results.text()
    captions = re.findall(r'alt="Figure: [^"]*, ([^"]*)"><figcaption>([^<]*)', page)
    told = {name for name, caption in captions if HELD_OUT_BELOW in caption}
    assert told == {name for name, _ in captions if name.endswith("losses") or name == "demo"} != set()


def test_the_same_results_give_the_same_page(results):
    results.everything()
    assert results.text() == results.text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "noise.csv").unlink(), "noise.csv: no such file"),
        (lambda path: (path / "noise.svg").unlink(), "noise.svg: no such file"),
        (lambda path: (path / "noise.csv").write_text("noise_var\n1\n"), "noise.csv: not a table of mlquant"),
        (lambda path: (path / "noise.csv").write_text(",".join(COLUMNS) + "\n"), "noise.csv: has no rows"),
    ],
)
def test_a_bad_table_is_one_line_that_names_it(results, change, message):
    change(results.noise())
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        results.text()
    assert "\n" not in str(caught.value) and "studies/noise" in str(caught.value)
    assert not (results.folder / "report.html").exists()


COLUMNS = ("noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages", "bit_per_s")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folders": []}, "no folder"),
        ({"folders": [{"folder": "x"}]}, "key"),
        ({}, "folders"),
    ],
)
def test_bad_settings_are_one_line(results, settings, message):
    results.noise()
    with pytest.raises(InputError, match=message) as caught:
        results.text(settings)
    assert "\n" not in str(caught.value)


def test_a_record_of_an_unknown_kind_is_one_line(results):
    path = results.noise() / "settings.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"kind": "talk"}), encoding="utf-8")
    with pytest.raises(InputError, match="kind 'talk', expected experiment, study or sweep"):
        results.text()


@pytest.mark.slow
def test_a_browser_finds_it_accessible_and_no_wider_than_the_window(results, browser):
    results.five(), results.noise(), results.sweep(failed="loss is NaN")
    results.folders[0] |= {"key": None}
    results.text()
    for width, scheme in ((1920, None), (1280, "light"), (390, "dark")):
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        tab.goto((results.folder / "report.html").resolve().as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        mark = tab.locator(".mark").first.bounding_box()
        assert mark["y"] + mark["height"] < 800, "what is out of date is said on the first screen"
        if scheme:
            check_accessibility(tab)
        tab.close()
