"""Figures, made from the CSV files that the stages write."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from mlquant.files import InputError, write_bytes

_STYLE = {"font.size": 8, "axes.titlesize": 8, "axes.grid": True, "grid.alpha": 0.3, "lines.markersize": 4}
_STYLE |= {"text.parse_math": False}  # a dollar in a title is one
_TEXT = ("sample", "sex", "tag", "group", "variant", "label", "failed", "title")


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
    with _figure(6.5, 5.5 if kind == "latents" else 4, folder / f"{kind}.png", folder / f"{kind}.svg") as figure:
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
