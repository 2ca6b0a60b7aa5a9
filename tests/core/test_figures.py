"""Every kind of figure can be read: no text overlaps another, a frame or the border, and numbers are plain."""

import itertools
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from mlquant import studies
from mlquant.core import colours, figures
from mlquant.studies import memory

LONG = "a network whose name is far longer than anyone would wish, $\\frac{1}{2}$ and_then_some_more_of_it" * 2


def falling(count, last, start=10.0):
    """A curve that falls, fast at first, from `start` to `last`."""
    return last + (start - last) * np.exp(-6 * np.linspace(0, 1, count))


def losses(epochs, last=5.9, held_out=3.7, **columns):
    """A loss curve as `mlquant train` writes it."""
    sd, held = falling(epochs, last, 3 * last), falling(epochs, held_out, 3 * held_out)
    table = {"epoch": np.arange(1, epochs + 1), "lr": 1e-3, "loss": sd / 1200, "sd_dB2": sd}
    return pd.DataFrame({**table, "held_out_loss": held / 1200, "held_out_sd_dB2": held, **columns})


def sweep(names, epochs=50, apart=1.2):
    """Loss curves of a sweep; every third training ends before the others."""
    parts = []
    for i, name in enumerate(names):
        count = epochs if i % 3 else max(1, epochs // 2)
        parts.append(losses(count, 4 * apart**i, 3.5 * apart**i, variant=name))
    return pd.concat(parts, ignore_index=True) if parts else losses(0, variant="")


def noise(variances, bits):
    table = pd.DataFrame({"noise_var": variances, "vq_bits": bits})
    sd = 2 + 700 * table["noise_var"]
    table = table.assign(sd_training_dB2=1.1 * sd, sd_held_out_dB2=sd, vq_stages=2, bit_per_s=50 * table["vq_bits"])
    return {"noise": table}


def uniform_vq(stages, steepness=0.13):
    rows = []
    for bits in range(10, 51, 10):
        theory = 1 / (3 * 4 ** (bits / 10))
        rows += [("uniform", "theory", bits, theory), ("uniform", "held_out", bits, theory * (0.7 + bits / 160))]
    variance = 0.05 * np.exp(-steepness * np.arange(12 * stages + 1))
    rows += [("vq", "training", bits, variance[bits]) for bits in range(1, 12 * stages + 1)]
    rows += [("vq", "held_out", bits, 1.3 * variance[bits]) for bits in range(12, 12 * stages + 1, 12)]
    table = pd.DataFrame(rows, columns=["quantiser", "measured_on", "bits_per_frame", "variance"])
    needed = pd.DataFrame({"variance": [3e-4, 1e-3, 1.5e-3, 3e-3, 1e-2]})
    needed["uniform_bits"] = 10 * np.log2(1 / np.sqrt(3 * needed["variance"]))
    needed["vq_bits"] = (np.log(0.05 / needed["variance"]) / steepness).where(needed["variance"] >= variance[-1])
    return {"uniform_vq": table, "needed": needed.assign(saving_bits=needed["uniform_bits"] - needed["vq_bits"])}


def latents(d, lags=25, seconds=4.0):
    rng = np.random.default_rng(d)
    share = 0.6 ** np.arange(d)
    share = share / share.sum()
    pca = pd.DataFrame({"component": 1 + np.arange(d), "share": share, "cumulative_share": share.cumsum()})
    wanted = np.array([0.9, 0.95, 0.99])
    dimensions = pd.DataFrame({"share": wanted, "components": 1 + np.searchsorted(share.cumsum(), wanted)})
    elements = [f"element_{i + 1}" for i in range(d)]
    values = pd.DataFrame(np.exp(-np.outer(np.arange(lags + 1), rng.uniform(0.05, 0.3, d))), columns=elements)
    lag = np.arange(lags + 1)
    correlation = pd.DataFrame({"lag_frames": lag, "lag_ms": 10 * lag, "mean": values.mean(axis=1)}).join(values)
    time = 2 + np.arange(round(100 * seconds)) / 100
    stretch = pd.DataFrame(rng.uniform(-0.9, 0.9, (len(time), d)), columns=elements)
    stretch.insert(0, "time_s", time)
    middles = np.linspace(-0.975, 0.975, 40)
    density = [(i + 1, x, np.exp(-(((x - rng.normal(0, 0.01)) / 0.3) ** 2))) for i in range(d) for x in middles]
    histogram = pd.DataFrame(density, columns=["element", "latent", "density"])
    made = dict(pca=pca, dimensions=dimensions, correlation=correlation, stretch=stretch, histogram=histogram)
    return made


def mbest(stages, survivors, gain=1.0):
    rows = [(s, m, 0.0026 * 0.75**s * (1 - 0.1 * gain * np.log10(m))) for s in stages for m in survivors]
    table = pd.DataFrame(rows, columns=["stages", "mbest", "mse"])
    alone = table.groupby("stages")["mse"].transform("first")
    return {"mbest": table.assign(gain_dB=10 * np.log10(alone / table["mse"]))}


def analog(ds, snrs, floor=2.0):
    rows = []
    for (i, d), snr in itertools.product(enumerate(ds), snrs):
        for trained, more in (("plain", 1.3), ("matched", 1.0)):
            sd = floor * (1 - 0.03 * i) + more * 30 * 10 ** (-snr / 10) / d
            rows.append(("analog", d, trained, snr, snr - 7.8 + i, 0.3, np.nan, np.nan, sd))
    for snr in snrs:
        error = 0.5 * 10 ** (-snr / 4) if snr > 0 else 0.2
        rows.append(("digital", ds[0], "", snr, snr - 8.7, 1, error, error, floor * 1.5 + 120 * error))
    names = [
        "scheme",
        "d",
        "trained",
        "snr_dB",
        "snr_3000_dB",
        "Es",
        "bit_error_rate",
        "bit_error_rate_theory",
        "sd_dB2",
    ]
    return {"analog": pd.DataFrame(rows, columns=names)}


def bits(sources, intervals, sizes, chains, pesq=1.0, codec2=True):
    """Rates of quantisers, of other chains by name and bit/s, and of Codec 2."""
    rows = []
    for (i, source), kind, ms, size in itertools.product(
        enumerate(sources), ("lbg", "beam", "predictive"), intervals, sizes
    ):
        width = int(np.log2(size))
        for stages in range(1, 36 // width + 1):
            rate = 1000 * stages * width / ms
            score = 1.5 + 0.5 * np.log(rate / 200) + 0.05 * ("predictive", "lbg", "beam").index(kind) - 0.1 * i
            rows.append((source, kind, size, stages, stages * width, ms, rate, pesq * score))
    rows += [(name, "lbg", 4096, 2, 24, 20, rate, pesq * (2 + 0.001 * rate)) for name, rate in chains.items()]
    if codec2:
        modes = {"700C": (700, 2.29), "1200": (1200, 2.56), "1300": (1300, 2.6), "1400": (1400, 2.58)}
        modes |= {"1600": (1600, 2.88), "2400": (2400, 3.0), "3200": (3200, 3.26)}
        rows += [
            ("codec2", mode, None, None, rate / 25, 40, rate, pesq * score) for mode, (rate, score) in modes.items()
        ]
        rows += [("reference", "ideal_y", None, None, None, None, None, pesq * 3.3)]
    names = ["source", "kind", "entries", "stages", "bits", "interval_ms", "bit_per_s", "pesq"]
    return {"bits": pd.DataFrame(rows, columns=names)}


def demo(frames, epochs, title="", seconds=3.0, sd=1.0):
    rng = np.random.default_rng(1)
    time = np.arange(round(100 * seconds)) / 100
    of_frames = {
        "frame": np.arange(len(time)),
        "time_s": time,
        "energy_dB": 40,
        "sd_dB2": sd * rng.gamma(2, 3, len(time)),
    }
    number = (np.arange(frames) * len(time) // frames).repeat(20)
    b = 40 + 20 * np.sin(np.arange(20 * frames) / 3)
    shown = {"frame": number, "f_kHz": np.tile(np.linspace(0.2, 3.7, 20), frames), "b_dB": b, "b_hat_dB": b + 2}
    summary = {"set": ["training", "held_out", "sample"], "sd_dB2": 3.0, "title": title}
    made = {
        name: pd.DataFrame(table) for name, table in (("frames", of_frames), ("shown", shown), ("summary", summary))
    }
    return made | {"losses": losses(epochs)}


def measured(families, scores, intervals=0.1):
    """Means of measures of conditions, by family, of which each is a little worse than the one before."""
    rows = []
    for i, (family, names) in enumerate(families.items()):
        for j, name in enumerate(names):
            for measure, (start, step) in scores.items():
                if measure != "sd_dB2" or family == "outputs":
                    mean = start + step * (j + i / 10)
                    rows.append((family, name, measure, mean, mean - intervals * step, mean + intervals * step))
    return {"conditions": pd.DataFrame(rows, columns=["family", "condition", "measure", "mean", "low", "high"])}


def coded(rates, bers, losses, scores=(("pesq", 3.5), ("estoi", 0.8)), intervals=0.1):
    """Means of measures of codecs, by their bit/s, as they are and with errors; more bits are a little better."""
    rows = []
    names = ["clean", "exact all", *(f"ber {ber}" for ber in bers), *(f"lost {loss}" for loss in losses)]
    for codec, rate in rates.items():
        for j, name in enumerate(names):
            for measure, best in scores:
                mean = best * (0.7 + 0.1 * np.log10(rate / 450)) * (1 - 0.05 * j)
                rows.append((codec, rate, name, measure, mean, mean - intervals, mean + intervals))
    heads = ["codec", "bit_per_s", "condition", "measure", "mean", "low", "high"]
    return {"conditions": pd.DataFrame(rows, columns=heads)}


def sized(sizes, modes, measures=(("pesq", 3.0), ("estoi", 0.7)), intervals=0.1):
    """Means of measures of codecs with tables of so many kB, with 32 bits, rounded, and with 8 bits; and of modes."""
    rows = []
    for i, size in enumerate(sizes):
        for stored, factor in ((memory.FLOAT, 4), (memory.ROUNDED, 1), (memory.TRAINED, 1)):
            for measure, mean in measures:
                mean = mean * (0.8 + 0.02 * i) - 0.1 * (stored == memory.ROUNDED)
                around = (mean, mean - intervals, mean + intervals)
                rows.append((f"of {size}", stored, factor * size, size / 60, measure, *around))
    rows += [(f"Codec 2 {mode}", np.nan, np.nan, np.nan, "pesq", mean, mean, mean) for mode, mean in modes.items()]
    heads = ["codec", "tables", "kB", "million_per_s", "measure", "mean", "low", "high"]
    return {"sizes": pd.DataFrame(rows, columns=heads)}


OURS = {f"codec{rate}": rate for rate in (1600, 1200, 700, 450)}
THEIRS = {f"Codec 2 {rate}": rate for rate in (3200, 2400, 1600, 1400, 1300, 1200)} | {"Codec 2 700C": 700}
FAMILIES = {
    "outputs": [*(f"index {i}" for i in (1, 3, 5, 6, 7)), "6_unsmoothed", "7_unsmoothed"],
    "Codec 2": [f"Codec 2 {mode}" for mode in ("3200", "2400", "1600", "1400", "1300", "1200", "700C")],
    "noise": [f"noise {snr} dB" for snr in (0, 5, 10, 15, 20, 30, 40)],
    "postfilter": [f"postfilter {factor}" for factor in (1, 1.1, 1.2, 1.3, 1.4, 1.5)],
}
SCORES = {"sd_dB2": (5.0, 4.0), "sd_b_dB2": (2.0, 1.0), "pesq": (3.8, -0.2), "stoi": (0.9, -0.05)}
SCORES |= {"estoi": (0.8, -0.05), "lsd_dB": (4.0, 0.5), "visqol": (4.0, -0.2), "wer": (0.1, 0.05)}
CHAINS = {f"{name}{rate // 50}": rate for name in ("tuned", "best") for rate in (600, 900, 1200)}
STUDIES = {
    "noise": {
        "as configured": noise([0, 3e-4, 1e-3, 1.5e-3, 3e-3, 1e-2], [np.nan, 36, 28, 24, 20, 10]),
        "no bits": noise([0, 1e-3], [np.nan, np.nan]),
        "no noise": noise([0.0], [np.nan]),
        "one, of many bits": noise([3e-3], [1020]),
        "close to each other": noise([0, 1e-3, 1.01e-3, 1.02e-3, 1.03e-3], [np.nan, 24, 24, 24, 23]),
        "over many decades": noise([1e-9, 1e-6, 1e-3, 10], [90, 60, 30, 1]),
    },
    "uniform_vq": {
        "as configured": uniform_vq(3),
        "a small one": uniform_vq(1, 0.3),
        "a bad one": uniform_vq(4, 0.03),
        "as bad as the other": uniform_vq(3, 2 * np.log(2) / 10),
    },
    "latents": {
        f"{d} latents": latents(d, lags, seconds) for d, lags, seconds in ((10, 25, 4), (1, 1, 0.2), (80, 300, 90))
    },
    "mbest": {
        "as configured": mbest([2, 3], [1, 2, 3, 5, 10, 20]),
        "one stage": mbest([1], [1, 2]),
        "no gain": mbest([1, 2], [1], 0),
        "many": mbest(range(1, 13), range(1, 65)),
    },
    "analog": {
        "as configured": analog([10, 20], [-5, 0, 5, 10, 15, 20]),
        "one ratio": analog([10], [10]),
        "many": analog([4, 6, 8, 10, 20, 30], [0, 10]),
        "alike": analog([10, 20], [-5, 30], 90.0),
    },
    "bits": {
        "as configured": bits(["latents", "b"], [10, 20, 40], [512, 4096], CHAINS),
        "no PESQ": bits(["b"], [20], [512], {}, np.nan),
        "one": bits([], [20], [512], {"alone": 1200}, codec2=False),
        "long names": bits([LONG[:90], LONG[:120]], [10], [512], {LONG[:60]: 900, f"{LONG[:60]}2": 910, "c": 900}),
    },
    "measures": {
        "as configured": measured(FAMILIES, SCORES),
        "one": measured({"noise": ["noise 5 dB"]}, {"pesq": (3.0, -0.1)}, np.nan),
        "none": measured({}, {}),
        "long names": measured(
            {"outputs": [f"{'long_name_' * 6}{i}" for i in range(9)]}, {"sd_dB2": (1e4, 1e3), "stoi": (0.9, -1e-5)}
        ),
        "many": measured(
            {"outputs": ["index 3"], "noise": [f"noise {snr} dB" for snr in range(40)]},
            SCORES | {f"measure_number_{i}_of_its_kind": (i, 0.1) for i in range(6)},
        ),
    },
    "codec": {
        "as configured": coded(OURS | THEIRS, [0.001, 0.01, 0.03, 0.05], [0.01, 0.05, 0.1]),
        "one": coded({"alone": 1200}, [0.01], [0.05], intervals=np.nan),
        "no PESQ, no errors": coded(OURS, [], [], [("stoi", 0.9)]),
        "long names": coded({f"{'long_name_' * 6}{i}": 450 + i for i in range(14)}, [0.001, 1], [0.01, 1]),
    },
    "memory": {
        "as configured": sized([24, 43, 64, 140, 280, 510, 900], {"3200": 2.8, "2400": 2.55, "1300": 2.2}),
        "one": sized([64], {}, intervals=np.nan),
        "no ESTOI, modes close to each other": sized([24, 64], {"3200": 2.5, "2400": 2.499}, [("pesq", 3.0)]),
        "many": sized([*range(16, 4000, 60)], {}),
    },
    "demo": {
        "as configured": demo(4, 50, "Two frames of b at a time through a d = 20 bottleneck"),
        "one frame, one epoch": demo(1, 1, "$\\frac{1}{2}$ of it"),
        "many": demo(6, 3000, LONG, 60.0),
        "five frames of no distortion": demo(5, 5, sd=0.0),
    },
}
"""The tables of each kind of study: as the configuration gives them, and as hard to draw as they may be."""


class Check:
    """What is written while this is in place; `faults` says what cannot be read in it."""

    def __init__(self, monkeypatch):
        self.faults, self.written = [], 0
        save, draw = Figure.savefig, Text.draw
        texts, frames = {}, {}

        def noted(text, renderer, *args, **kwargs):
            if text.get_visible() and text.get_text().strip():
                texts[text] = Text.get_window_extent(text, renderer).padded(-0.5)
                figure = text.get_figure(root=True)
                frames.update({axes: Bbox(axes.bbox.get_points()) for axes in figure.axes})
                frames[figure] = Bbox(figure.bbox.get_points())
            draw(text, renderer, *args, **kwargs)

        def checked(figure, *args, **kwargs):
            texts.clear(), frames.clear()
            with monkeypatch.context() as patch:
                patch.setattr(Text, "draw", noted)
                save(figure, *args, **kwargs)
            self.faults += [f"{kwargs['format']}: {fault}" for fault in faults_of(figure, texts, frames)]
            self.written += 1

        monkeypatch.setattr(Figure, "savefig", checked)


def faults_of(figure, texts, frames):
    """What of a figure cannot be read, by the boxes of its texts as they are written, and of its frames and border."""
    words = {text: repr(text.get_text()) for text in texts}
    for (one, a), (other, b) in itertools.combinations(texts.items(), 2):
        if a.overlaps(b):
            yield f"{words[one]} overlaps {words[other]}"
    border = frames.pop(figure)
    for text, box in texts.items():
        if not within(box, border):
            yield f"{words[text]} leaves the canvas"
        for axes, frame in frames.items():
            if box.overlaps(frame) and not (text.axes is axes and within(box, frame)):
                yield f"{words[text]} runs over a frame"
    inch = border.width / figure.get_figwidth()
    for axes, frame in frames.items():
        if min(frame.width, frame.height) < 0.8 * inch and not hasattr(axes, "_colorbar"):
            yield f"a frame of {frame.width / inch:.2f} by {frame.height / inch:.2f} inches"
        for axis in (axes.xaxis, axes.yaxis):
            numbers = [text for text in axis.get_majorticklabels() if text in texts]
            if axis.get_scale() == "log" and axes.lines and len(numbers) == 1:
                yield "a single number at an axis"
        if axes.get_xlabel() == "epoch":
            yield from (f"epoch {tick}" for tick in axes.get_xticks() if tick % 1)
    if not isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        yield "no constrained layout"


def within(box, other):
    """Whether a box lies in another."""
    return all(other.contains(*corner) for corner in (box.min, box.max))


def of_svg(path):
    """What of an SVG cannot be read."""
    drawn = path.read_text(encoding="utf-8")
    return re.findall(r"mathdefault|\\math\w*|\d*e[+-]0\d", drawn)


def draw_study(kind, tables, folder):
    folder.mkdir()
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    studies.draw(kind, folder)
    return folder / f"{kind}.svg"


def drawn_of(kind, cases, folder, monkeypatch):
    """Draw a kind of study from the tables of each case; what cannot be read in the figures."""
    check, faults = Check(monkeypatch), []
    for i, (case, tables) in enumerate(cases):
        svg = draw_study(kind, tables, folder / str(i))
        faults += [f"{case}: {fault}" for fault in (*check.faults, *of_svg(svg))]
        check.faults.clear()
    assert check.written == 2 * len(cases)
    return faults


@pytest.mark.parametrize("kind", studies.kinds())
@pytest.mark.slow
def test_the_figure_of_a_study_can_be_read(tmp_path, monkeypatch, kind):
    assert kind in STUDIES, "give the tables of this kind of study here, so that its figure is looked at"
    assert drawn_of(kind, [*STUDIES[kind].items()][:2], tmp_path, monkeypatch) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", STUDIES)
def test_the_figure_of_a_study_of_odd_numbers_can_be_read(tmp_path, monkeypatch, kind):
    assert drawn_of(kind, [*STUDIES[kind].items()][2:], tmp_path, monkeypatch) == []


LOSSES = {  # epochs, SD in training and held out at their end, title
    "as usual": (50, 5.9, 3.7, "nn4_cat1"),
    "one epoch": (1, 5.9, 3.7, "nn4_cat1"),
    "five epochs, a dollar": (5, 5.9, 3.7, "$x_1$"),
    "two epochs, far apart": (2, 1e-5, 1e6, "nn4_cat1"),
    "many epochs, long title": (3000, 5.9, 5.8, LONG),
    "hardly any change": (50, 90, 90.0001, "nn4_cat1"),
    "none": (0, 5.9, 3.7, "nn4_cat1"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LOSSES)
def test_loss_curves_can_be_read(tmp_path, monkeypatch, case):
    check, (epochs, last, held_out, title) = Check(monkeypatch), LOSSES[case]
    losses(epochs, last, held_out).to_csv(tmp_path / "losses.csv", index=False)
    for path in (tmp_path / "losses.png", tmp_path / "losses.svg"):
        figures.plot_losses(tmp_path / "losses.csv", title, path)
    assert [*check.faults, *of_svg(path)] == [] and check.written == 2
    if title != LONG:
        assert f"<!-- {title} -->" in path.read_text(encoding="utf-8")


SWEEPS = {  # epochs, how far apart, variants
    "few": (50, 1.2, [f"g{i}0: gamma 0.{i}" for i in range(5, 9)]),
    "one epoch": (1, 1.2, [f"C{i}: nn 5, d 15, noise_var 0.001, seed {i}" for i in range(6)]),
    "all alike": (2000, 1.0001, [f"C{i}: nn 5, d 15, noise_var 0.001, seed {i}" for i in range(6)]),
    "many": (50, 1.1, [f"g{i}0: gamma 0.{i}" for i in range(12)]),
    "more than colours": (5, 1.05, [f"{i}" for i in range(30)]),
    "long": (50, 1.1, [f"{i}: {LONG}" for i in range(12)]),
    "none": (50, 1.0, []),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SWEEPS)
def test_curves_of_a_sweep_can_be_read(tmp_path, monkeypatch, case):
    check, (epochs, apart, names) = Check(monkeypatch), SWEEPS[case]
    sweep(names, epochs, apart).to_csv(tmp_path / "losses.csv", index=False)
    figures.plot_curves(tmp_path / "losses.csv", "sd_dB2", "SD in training (dB²)", f"$ {case}", tmp_path / "c")
    assert [*check.faults, *of_svg(tmp_path / "c.svg")] == [] and check.written == 2


def test_what_cannot_be_read_is_found(tmp_path, monkeypatch):
    check = Check(monkeypatch)
    with figures.new_figure(3, 3, tmp_path / "x.png") as figure:
        one, _ = figure.subplots(2)
        for at, text in ((0.5, "one"), (0.52, "other"), (-0.05, "over the frame"), (20, "far away")):
            one.text(at, 0.5, text, transform=one.transAxes, in_layout=False)
    found = " ".join(check.faults)
    for fault in ("'one' overlaps 'other'", "'over the frame' runs over a frame", "'far away' leaves the canvas"):
        assert fault in found


def test_curves_have_the_colours_of_the_page_and_then_another_line(tmp_path):
    with figures.new_figure(4, 3, tmp_path / "x.svg") as figure:
        axis = figure.subplots()
        figures.draw_curves(axis, sweep([str(i) for i in range(30)]), "epoch", "loss", "variant", marker=None)
        styles = [(line.get_color(), line.get_linestyle()) for line in axis.lines]
        assert [colour for colour, _ in styles[:12]] == [*colours.LIGHT] and len({*styles}) == 30
        assert [line.get_color() for line in axis.plot(np.eye(12))] == [*colours.LIGHT]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (3, 12, "3 4 5 6 7 8 9 10"),
        (0.0045, 0.016, "0.005 0.006 0.007 0.008 0.009 0.01"),
        (75, 160, "80 100 120 140 160"),
        (4.02, 4.31, "4.05 4.1 4.15 4.2 4.25 4.3"),
        (2e-5, 3, "0.0001 0.001 0.01 0.1 1"),
        (1e-12, 1e12, "1e-10 0.00001 1 100000 1e10"),
    ],
)
def test_ticks_of_a_logarithmic_axis_are_plain_and_many_enough(low, high, texts):
    assert " ".join(map(figures.plain, figures.log_ticks(low, high, lambda ticks: len(ticks) <= 8))) == texts


def test_labels_beside_each_other_are_spread_without_changing_their_order():
    assert figures.spread([], []) == []
    assert figures.spread([0.2, 0.8], [0.1, 0.1]) == [0.2, 0.8]
    np.testing.assert_allclose(figures.spread([0.5, 0.5, 0.5], [0.1, 0.2, 0.1]), [0.35, 0.5, 0.65])
    np.testing.assert_allclose(figures.spread([1, 0.99, 0], [0.1, 0.1, 0.1]), [1, 0.9, 0])
