"""Figures, made from the CSV files that the stages write."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlquant.core.disk import write_bytes
from mlquant.core.errors import InputError

_STYLE: dict[Any, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.grid": True, "grid.alpha": 0.3}
_STYLE |= {"lines.markersize": 4, "text.parse_math": False}  # a dollar in a title is one
_TEXT = ("sample", "sex", "tag", "group", "variant", "label", "failed", "title", "source", "kind")


def read_table(path: str | Path, *columns: str, what: str = "a table of mlquant") -> pd.DataFrame:
    """Read a CSV; raises InputError when it cannot be read or lacks one of the columns.

    A sample called NA and a tag of digits are text as they stand.
    """
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, str), keep_default_na=False, na_values=[""])
        table[list(columns)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not {what} ({str(error).strip()})") from None
    return table


@contextlib.contextmanager
def _figure(width: float, height: float, *paths: Path) -> Iterator:
    """A figure of a size in inches, written to paths that end in .png or .svg once it is drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    # Without dates and random names the same drawing gives the same bytes.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": "mlquant"}):
        yield (figure := Figure((width, height), layout="constrained"))
        for path in paths:
            kind, buffer = path.suffix.lower().lstrip("."), io.BytesIO()
            if kind not in ("png", "svg"):
                raise InputError(f"{path}: cannot be written as {path.suffix!r}, expected .png or .svg")
            figure.savefig(buffer, format=kind, dpi=150, metadata={"Software" if kind == "png" else "Date": None})
            write_bytes(path, buffer.getvalue())


def plot_losses(losses: Path, title: str, out: Path) -> None:
    """Plot a network's loss curve (a losses.csv of `mlquant train`): loss and SD in dB^2 against epochs."""
    columns = ("epoch", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2")
    curve = read_table(losses, *columns, what="a loss curve written by mlquant train")
    with _figure(9, 3.6, out) as figure:
        for axis, column, label in zip(figure.subplots(1, 2), ("loss", "sd_dB2"), ("loss", "SD (dB²)"), strict=True):
            axis.semilogy(curve["epoch"], curve[[column, f"held_out_{column}"]], label=["training", "held out"])
            axis.set(xlabel="epoch", ylabel=label)
            axis.legend()
        figure.suptitle(title)


def plot_curves(table: Path, value: str, label: str, title: str, stem: Path) -> None:
    """Plot a column of a CSV with a `variant` and an `epoch`, a curve a variant, as stem.png and stem.svg."""
    curves = read_table(table, "variant", "epoch", value)
    with _figure(6.5, 4.5, Path(f"{stem}.png"), Path(f"{stem}.svg")) as figure:
        axis = figure.subplots()
        _curves(axis, curves, "epoch", value, "variant", marker=None)
        axis.set(xlabel="epoch", ylabel=label, yscale="log", title=title)
        figure.legend(handles=axis.lines, loc="outside lower center", ncols=2)


def plot_study(kind: str, folder: Path) -> None:
    """Draw the tables of a study of this kind in `folder`, as PNG and SVG of its name beside them."""
    with _figure(
        6.5, {"latents": 5.5, "bits": 6.2}.get(kind, 4), folder / f"{kind}.png", folder / f"{kind}.svg"
    ) as figure:
        globals()[f"_plot_{kind}"](figure, folder)


def _curves(axis, table: pd.DataFrame, x: str, y: str, *by: str, marker: str | None = "o") -> None:
    """A curve for each group of rows: the last of the columns `by` makes its line, those before its colour."""
    colours, lines = (table.groupby(list(names), sort=False).ngroup() for names in (by[:-1] or by, by[-1:]))
    for names, part in table.groupby(list(by), sort=False):
        line = {"c": f"C{colours[part.index[0]] % 10}", "ls": ("-", "--", ":", "-.")[lines[part.index[0]] % 4]}
        label = ", ".join(str(name).replace("held_out", "held out") for name in names if name)
        axis.plot(part[x], part[y], marker=marker, label=label, **line)


def _plot_noise(figure, folder: Path) -> None:
    axis, table = figure.subplots(), read_table(folder / "noise.csv")
    at = table["noise_var"].where(table["noise_var"] > 0)
    at = at.fillna(at.min() / 3)  # a logarithmic axis has no 0
    sd = table[["sd_training_dB2", "sd_held_out_dB2"]]
    axis.semilogx(at, sd, "o-", label=["training vectors", "held-out vectors"], subs=[])
    for x, y, bits, rate in zip(at, sd.max(axis=1), table["vq_bits"], table["bit_per_s"], strict=True):
        text = f"VQ {bits:g} bits\n{rate:g} bit/s" if bits > 0 else ""
        axis.annotate(text, (x, y), (4, 8), textcoords="offset points", ha="right", rotation=90)
    axis.set_xticks(at, [f"{value:g}" for value in table["noise_var"]])
    axis.set(xlabel="variance of the noise on a latent", ylabel="SD (dB²)", ymargin=0.35)
    axis.legend(loc="upper left")


def _plot_uniform_vq(figure, folder: Path) -> None:
    axis = figure.subplots()
    _curves(axis, read_table(folder / "uniform_vq.csv"), "bits_per_frame", "variance", "quantiser", "measured_on")
    for row in read_table(folder / "needed.csv").dropna().itertuples():
        axis.plot([row.vq_bits, row.uniform_bits], [row.variance] * 2, "k|-", lw=0.7)
        axis.text(
            row.vq_bits - 1, row.variance, f"{row.saving_bits:.1f} bits saved at {row.variance:g}", ha="right", va="top"
        )
    axis.set(xlabel="bits a frame", ylabel="variance of the error of an element", yscale="log")
    axis.legend()


def _plot_latents(figure, folder: Path) -> None:
    (shares, lags), images = figure.subplots(2, 2)
    names = ("pca", "dimensions", "correlation", "stretch", "histogram")
    pca, dimensions, correlation, stretch, histogram = (read_table(folder / f"{name}.csv") for name in names)
    shares.bar(pca["component"], pca["share"])
    shares.plot(pca["component"], pca["cumulative_share"], "ko-")
    for i, share, components in dimensions.itertuples():
        shares.axhline(share, color=f"C{i + 1}", ls="--", label=f"{share:.0%} in {components:g}")
    shares.set(xlabel="principal component", ylabel="share of the variance, each and in all", xticks=pca["component"])
    shares.legend(loc=(0.5, 0.3))
    lags.plot(correlation["lag_ms"], correlation.iloc[:, 3:], color="0.75")
    lags.plot(correlation["lag_ms"], correlation["mean"], "o-")
    lags.set(xlabel="lag (ms)", ylabel="correlation of each latent, mean")
    density = histogram.pivot(index="latent", columns="element", values="density")
    tables = (stretch.set_index("time_s"), density / density.max())
    labels = (("time (s)", "latent", "RdBu"), ("latent", "density against the element's largest", "Greys"))
    for axis, table, (x, label, cmap) in zip(images, tables, labels, strict=True):
        span = (table.index[0], table.index[-1], table.shape[1] + 0.5, 0.5)
        image = axis.imshow(table.T, cmap, aspect="auto", interpolation="none", extent=span)
        axis.set(xlabel=x, ylabel="element")
        axis.grid(False)
        figure.colorbar(image, label=label, ax=axis)


def _plot_analog(figure, folder: Path) -> None:
    table = read_table(folder / "analog.csv").fillna({"trained": ""}).sort_values(["scheme", "d", "trained", "snr_dB"])
    table["d"] = "d " + table["d"].astype(str)
    for axis, column in zip(figure.subplots(1, 2, sharey=True), table.columns[3:5], strict=True):
        _curves(axis, table, column, "sd_dB2", "scheme", "d", "trained")
        band = "the symbol rate" if column == "snr_dB" else f"{column.split('_')[1]} Hz"
        axis.set(xlabel=f"SNR in a bandwidth of {band} (dB)", ylabel="SD (dB²)", yscale="log")
    axis.legend()


def _plot_vq(figure, folder: Path) -> None:
    columns = {"mse": "mean squared error of a latent", "gain_dB": "gain on one survivor (dB)"}
    for axis, (column, label) in zip(figure.subplots(1, 2), columns.items(), strict=True):
        _curves(axis, read_table(folder / "vq.csv"), "mbest", column, "stages")
        axis.set(xlabel="survivors of a stage", ylabel=label)
    axis.legend(title="stages")


def _plot_demo(figure, folder: Path) -> None:
    frames, losses = read_table(folder / "frames.csv"), read_table(folder / "losses.csv")
    shown = read_table(folder / "shown.csv").groupby("frame")
    places = [["losses"] * len(shown) + ["time"] * len(shown), [frame for frame, _ in shown for _ in range(2)]]
    axes = figure.subplot_mosaic(places)
    axes["losses"].semilogy(losses["epoch"], losses[["sd_dB2", "held_out_sd_dB2"]], label=["training", "held out"])
    axes["losses"].set(xlabel="epoch", ylabel="SD (dB²)")
    axes["losses"].legend()
    axes["time"].semilogy(frames["time_s"], frames["sd_dB2"])
    axes["time"].set(xlabel="time (s)", ylabel="SD of a frame (dB²)")
    for frame, part in shown:
        axes[frame].plot(part["f_kHz"], part[["b_dB", "b_hat_dB"]], ".-", label=["b", "b_hat"])
        axes[frame].set(xlabel="frequency (kHz)", ylabel="b (dB)", title=f"frame {frame}")
    figure.legend(handles=axes[frame].lines, loc="outside lower center", ncols=2)
    figure.suptitle(read_table(folder / "summary.csv").fillna({"title": ""})["title"][0])


def _plot_bits(figure, folder: Path) -> None:
    from matplotlib import ticker
    from matplotlib.lines import Line2D

    table = read_table(folder / "bits.csv", "source", "kind", "entries", "interval_ms", "bit_per_s", "pesq")
    ideal = table[(table["source"] == "reference") & (table["kind"] == "ideal_y")].dropna(subset=["pesq"])
    table = table.dropna(subset=["bit_per_s", "pesq"])
    codec2, ours = (table[(table["source"] == "codec2") == there] for there in (True, False))
    chain = ["source", "kind", "interval_ms"]
    alone = ours.groupby(chain)["pesq"].transform("size") == 1
    single, ours = ours[alone], ours[~alone]
    colours = {names: f"C{i % 10}" for i, (names, _) in enumerate(ours.groupby(chain[:2]))}
    lines, markers = (
        {value: styles[i % 4] for i, value in enumerate(sorted(ours[column].unique()))}
        for column, styles in (("interval_ms", ("-", "--", ":", "-.")), ("entries", "osv^"))
    )

    axis = figure.subplots()
    for (*names, interval), part in ours.groupby(chain):
        best, colour = part.groupby("bit_per_s")["pesq"].max(), colours[tuple(names)]
        axis.plot(best.index, best, c=colour, ls=lines[interval], lw=1)
        for entries, points in part.groupby("entries"):
            axis.plot(points["bit_per_s"], points["pesq"], c=colour, ls="", marker=markers[entries])
    axis.plot(codec2["bit_per_s"], codec2["pesq"], "ks--", lw=0.7)
    axis.plot(single["bit_per_s"], single["pesq"], "D", c="gold", mec="k", ms=5)
    for pesq in ideal["pesq"]:
        axis.axhline(pesq, color="0.5", lw=1)
    axis.set(
        xlabel="bit/s of the spectrum alone; of Codec 2, of everything", ylabel="mean PESQ", xscale="log", ymargin=0.08
    )
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(ticker.NullLocator())

    shown: list[tuple[str, dict[str, Any]]] = [(", ".join(names), {"c": colour}) for names, colour in colours.items()]
    shown += [(f"every {interval:g} ms", {"c": "0.4", "ls": line}) for interval, line in lines.items()]
    for size, marker in markers.items():
        entries = size if isinstance(size, str) else f"{size:g}"
        shown.append((f"{entries} entries a stage", {"c": "0.4", "ls": "", "marker": marker}))
    shown += [("Codec 2", {"c": "k", "ls": "--", "marker": "s", "lw": 0.7})] if len(codec2) else []
    shown += [("y, not quantised", {"c": "0.5"})] if len(ideal) else []
    handles = [Line2D([], [], label=label, **style) for label, style in shown]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)

    # Of what names single chains as much as tells them apart.
    named = next(columns for columns in (chain[:1], chain[:2], chain) if not single.duplicated(columns).any())
    single = single.assign(interval_ms=single["interval_ms"].map("{:g} ms".format))
    texts = [*map(", ".join, single[named].to_numpy()), *codec2["kind"]]
    _label(axis, texts, pd.concat([single, codec2])[["bit_per_s", "pesq"]].to_numpy())


def _label(axis, texts: list[str], points: np.ndarray) -> None:
    """Write texts beside points [n, 2], each where least is in the way of it and of the line to its point."""
    axis.figure.draw_without_rendering()  # from here on it is known where things are
    point = axis.figure.dpi / 72
    busy = [np.empty((0, 3))]  # pixel, and how much in the way
    for line in axis.lines:
        corners = line.get_transform().transform(line.get_xydata())
        if line.get_linestyle() != "None":
            along = np.linspace(corners[:-1], corners[1:], 100).reshape(-1, 2)
            busy.append(np.column_stack([along, np.ones(len(along))]))
        if line.get_marker() != "None":
            busy.append(np.column_stack([corners, np.full(len(corners), 30)]))
    sides = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (2, 1), (-2, 1), (2, -1)])
    offsets = np.concatenate([radius * sides for radius in (5, 11, 18, 26, 36)])
    for text, at in zip(texts, points, strict=True):
        style = {"textcoords": "offset points", "fontsize": 7, "ha": "center", "va": "center", "in_layout": False}
        note = axis.annotate(text, at, (0, 0), **style)
        size = np.array(note.get_window_extent().size) / point
        middles = offsets + np.sign(offsets) * size / 2
        own = axis.transData.transform(at)
        low = own + point * (middles - size / 2 - 2.5)
        high = low + point * (size + 5)
        spots = np.concatenate(busy)
        inside = ((spots[:, :2] > low[:, None]) & (spots[:, :2] < high[:, None])).all(axis=2)
        outside = (low < axis.bbox.min).any(axis=1) | (high > axis.bbox.max).any(axis=1)
        others = spots[(spots[:, 2] > 1) & (np.abs(spots[:, :2] - own) > 1).any(axis=1), :2]
        leader = own + np.linspace(0.1, 1, 20)[:, None, None] * point * offsets
        crossed = (np.abs(others - leader[:, :, None]) < 5 * point).all(axis=3).any(axis=0).sum(axis=1)
        cost = inside @ spots[:, 2] + 20 * crossed + np.hypot(*offsets.T) / 4 + 1e4 * outside
        best = cost.argmin()
        note.remove()
        arrow = {
            "arrowstyle": "-",
            "lw": 0.5,
            "shrinkA": 0,
            "shrinkB": 2,
            "relpos": tuple((1 - np.sign(offsets[best])) / 2),
        }
        axis.annotate(text, at, middles[best], arrowprops=arrow, **style)
        grid = np.stack(np.meshgrid(*np.linspace(low[best], high[best], 12).T), axis=-1).reshape(-1, 2)
        busy += [np.column_stack([grid, np.full(len(grid), 10)]) for grid in (grid, leader[:, best])]
