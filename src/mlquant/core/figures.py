"""Figures, drawn from the CSV files that commands write."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from mlquant.core.disk import write_bytes
from mlquant.core.errors import InputError
from mlquant.core.tables import read_table

_STYLE: dict[Any, Any] = {"font.size": 8, "axes.titlesize": 8, "axes.grid": True, "grid.alpha": 0.3}
_STYLE |= {"lines.markersize": 4, "text.parse_math": False}  # a dollar in a title stays a dollar


@contextlib.contextmanager
def new_figure(width: float, height: float, *paths: Path) -> Iterator:
    """Yield a figure of a size in inches to draw in; then write it to the paths, which end in .png or .svg.

    The same drawing gives the same bytes. Raises InputError for a path that ends otherwise.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # With dates and random names the same drawing would have other bytes each time.
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
    with new_figure(9, 3.6, out) as figure:
        for axis, column, label in zip(figure.subplots(1, 2), ("loss", "sd_dB2"), ("loss", "SD (dB²)"), strict=True):
            axis.semilogy(curve["epoch"], curve[[column, f"held_out_{column}"]], label=["training", "held out"])
            axis.set(xlabel="epoch", ylabel=label)
            axis.legend()
        figure.suptitle(title)


def plot_curves(table: Path, value: str, label: str, title: str, stem: Path) -> None:
    """Plot a column of a CSV file against its `epoch`, a curve for each `variant`, as stem.png and stem.svg."""
    rows = read_table(table, "variant", "epoch", value)
    with new_figure(6.5, 4.5, Path(f"{stem}.png"), Path(f"{stem}.svg")) as figure:
        axis = figure.subplots()
        draw_curves(axis, rows, "epoch", value, "variant", marker=None)
        axis.set(xlabel="epoch", ylabel=label, yscale="log", title=title)
        figure.legend(handles=axis.lines, loc="outside lower center", ncols=2)


def draw_curves(axis: Any, table: pd.DataFrame, x: str, y: str, *by: str, marker: str | None = "o") -> None:
    """Draw column y against column x, a curve for each group of rows that agree in the columns `by`.

    The last of these columns chooses the style of the line, those before it choose the colour.
    """
    colours, lines = (table.groupby(list(names), sort=False).ngroup() for names in (by[:-1] or by, by[-1:]))
    for names, part in table.groupby(list(by), sort=False):
        line = {"c": f"C{colours[part.index[0]] % 10}", "ls": ("-", "--", ":", "-.")[lines[part.index[0]] % 4]}
        label = ", ".join(str(name).replace("held_out", "held out") for name in names if name)
        axis.plot(part[x], part[y], marker=marker, label=label, **line)
