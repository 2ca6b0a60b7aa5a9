"""The report, from tables made up here: what stands on the page is what stands in them."""

import json
import re

import pandas as pd
import pytest

from mlquant import report
from mlquant.core.errors import InputError

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
    output(3, "y_hat", networks=["nn4"]),
    output(6, "vq24", networks=["nn4"], quantiser="nn4_vq", stages=2),
    output(8, "3200", "codec2"),
]


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

    def experiment(self, name, title="", pesq=(3.31, 2.77, 3.17), **settings):
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
        measures = pd.concat([rows.assign(sample=sample) for sample in ("big_dog", "two_lines")])
        path = self.add(
            *("experiment", name, {"means": means, "measures": measures}, "nn4_losses.png", ["nn4"], ["nn4_vq"]),
            **{"outputs": OUTPUTS, "samples": ["big_dog"], "title": title, "published": None, **settings},
        )
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
        "From noise of variance 0 to 0.003, SD on held-out vectors goes from 2.50 to 7.77 dB² (published",
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
    means = row_of(page, "Means over all", "3")
    assert means["PESQ"] == "3.31" and means["published PESQ"] == "3.34"
    by_sample = row_of(page, "SD (dB²) of index 3", "two_lines")
    assert by_sample == {"sample": "two_lines", "all frames": "5.25", "voiced frames": "6.00", "published": "1.02"}
    assert "over big_dog, two_lines, hts1a, kristoff and mmt1" in results.text()[1]


def test_measured_wavs_win_over_published_means(results):
    path = results.experiment("240118", published="shared/published/240118_wav")
    means = pd.read_csv(path / "means.csv")
    means.assign(published_pesq=1.23).to_csv(path / "means.csv", index=False)
    page, text = results.text()
    assert row_of(page, "Means over all", "3")["published PESQ"] == "1.23"
    assert row_of(page, "Means by sex", "3")["published PESQ male"] == "1.23"
    assert "the same measures of the wavs in shared/published/240118_wav" in text


def test_a_repeated_experiment_has_the_published_figures_too(results):
    results.experiment("240118_seed")
    page, _ = results.text()
    assert row_of(page, "Means over all", "6")["published PESQ"] == "3.08"


def test_names_that_look_like_numbers_are_names(results, monkeypatch):
    monkeypatch.setitem(globals(), "OUTPUTS", [output(8, "3200", "codec2"), output(9, "1e-3"), output(10, "07")])
    results.experiment("mine")
    page, _ = results.text()
    assert (
        row_of(page, "Means over all", "9")["PESQ"] == "2.77" and row_of(page, "Means over all", "10")["PESQ"] == "3.17"
    )


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
