"""Figures, drawn from the CSV files that commands write.

Curves have the colours of `core.colours`, in their order, and after the last of them another style of line. A drawing
function draws first, then calls `title`, and at its end `label_ends` or `legend_below`, then `label_points`, which look
at where things are.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mlquant.core.colours import LIGHT
from mlquant.core.disk import write_bytes
from mlquant.core.errors import InputError
from mlquant.core.tables import read_table

if TYPE_CHECKING:
    import numpy as np

DASHES = ("-", "--", ":", "-.")
"""Styles of lines, for what colours do not tell."""
_STYLE: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9, "figure.titlesize": 10, "legend.fontsize": 9}
_STYLE |= {"axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True, "lines.markersize": 4, "axes.xmargin": 0.02}
_STYLE |= {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
_STYLE |= {"text.parse_math": False}  # a dollar in a title stays a dollar
_STYLE |= {"figure.constrained_layout.w_pad": 0.07, "figure.constrained_layout.h_pad": 0.06}
_STYLE |= {"axes.formatter.useoffset": False, "axes.formatter.limits": (-6, 7)}
_DPI = 150
_FEW = 6  # as many curves as are labelled at their ends
_ROOM = 120.0  # points for a label beside a curve or a point


@contextlib.contextmanager
def new_figure(width: float, height: float, *paths: Path) -> Iterator:
    """Yield a figure of a size in inches to draw in; then write it to the paths, which end in .png or .svg.

    The same drawing gives the same bytes. Raises InputError for a path that ends otherwise.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    # With dates and random names the same drawing would have other bytes each time.
    cycle = {"axes.prop_cycle": cycler(linestyle=DASHES) * cycler(color=LIGHT)}
    with matplotlib.rc_context(_STYLE | cycle | {"svg.hashsalt": "mlquant"}):
        yield (figure := Figure((width, height), _DPI, layout="constrained"))
        _settle(figure)
        for path in paths:
            kind, buffer = path.suffix.lower().lstrip("."), io.BytesIO()
            if kind not in ("png", "svg"):
                raise InputError(f"{path}: cannot be written as {path.suffix!r}, expected .png or .svg")
            figure.savefig(buffer, format=kind, dpi=_DPI, metadata={"Software" if kind == "png" else "Date": None})
            write_bytes(path, buffer.getvalue())


def plot_losses(losses: Path, text: str, out: Path) -> None:
    """Plot a network's loss curve (a losses.csv of `mlquant train`): loss and SD in dB^2 against epochs."""
    columns = ("epoch", "loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2")
    curve = read_table(losses, *columns, what="a loss curve written by mlquant train")
    with new_figure(9, 3.6, out) as figure:
        axes = figure.subplots(1, 2)
        for axis, column, label in zip(axes, ("loss", "sd_dB2"), ("loss (no unit)", "SD (dB²)"), strict=True):
            draw_training(axis, curve, column, label)
        title(figure, text)
        label_ends(*axes)


def draw_training(axis: Any, curve: pd.DataFrame, column: str, label: str) -> None:
    """Draw a column of a loss curve and its `held_out_` column against epochs."""
    for name, words in ((column, "training"), (f"held_out_{column}", "held out")):
        axis.plot(curve["epoch"], curve[name], label=words)
    some = (curve[[column, f"held_out_{column}"]] > 0).any(axis=None)  # which a logarithmic axis needs
    axis.set(ylabel=label, yscale="log" if some else "linear")
    count_epochs(axis, curve["epoch"])


def plot_curves(table: Path, value: str, label: str, text: str, stem: Path) -> None:
    """Plot a column of a CSV file against its `epoch`, a curve for each `variant`, as stem.png and stem.svg."""
    rows = read_table(table, "variant", "epoch", value)
    with new_figure(6.5, 4.5, Path(f"{stem}.png"), Path(f"{stem}.svg")) as figure:
        axis = figure.subplots()
        draw_curves(axis, rows, "epoch", value, "variant", marker=None)
        axis.set(ylabel=label, yscale="log" if (rows[value] > 0).any() else "linear")
        count_epochs(axis, rows["epoch"])
        title(figure, text)
        label_ends(axis)


def draw_curves(axis: Any, table: pd.DataFrame, x: str, y: str, *by: str, marker: str | None = "o") -> None:
    """Draw column y against column x, a curve for each group of rows that agree in the columns `by`.

    The last of several columns chooses the style of the line, those before it choose the colour.
    """
    colours, lines = (table.groupby(list(names), sort=False).ngroup() for names in (by[:-1] or by, by[-1:]))
    for names, part in table.groupby(list(by), sort=False):
        colour = colours[part.index[0]]
        dash = lines[part.index[0]] if by[1:] else colour // len(LIGHT)
        label = ", ".join(str(name).replace("held_out", "held out") for name in names if name)
        style = {"c": LIGHT[colour % len(LIGHT)], "ls": DASHES[dash % len(DASHES)]}
        axis.plot(part[x], part[y], marker=marker, label=label, **style)


def whole_numbers(axis: Any) -> None:
    """Let an axis, such as `axes.xaxis`, have whole numbers as ticks."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))


def count_epochs(axis: Any, epochs: pd.Series) -> None:
    """Make the x axis one of epochs, with whole numbers; of few of them the lines show every point."""
    axis.set_xlabel("epoch")
    whole_numbers(axis.xaxis)
    if epochs.empty:
        say_nothing_there(axis, "no epoch was finished")
    if len(shown := epochs.unique()) <= 10:
        axis.set_xlim(min(shown, default=1) - 0.3, max(shown, default=1) + 0.3)
        for line in axis.lines:
            line.set_marker("o")


# texts


def say_nothing_there(axis: Any, why: str) -> None:
    """Write in the middle of axes why they are empty."""
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", va="center")
    axis.tick_params(labelleft=False, labelbottom=False)


def title(figure: Any, text: str) -> None:
    """Write a title above all of a figure, in as many lines as it takes; the figure grows by those after the first."""
    if text:
        lines = wrapped(text, 72 * 0.95 * figure.get_figwidth(), 10)
        figure.suptitle(lines)
        figure.set_figheight(figure.get_figheight() + 0.17 * lines.count("\n"))


def label_ends(*axes: Any) -> None:
    """Write the label of each curve at its end: right of the frame, or beside the end of one that ends before.

    Where curves are more than a few or labels are long, they get a legend below the figure instead.
    """
    import numpy as np
    from matplotlib.transforms import ScaledTranslation

    figure = axes[0].get_figure(root=True)
    lines = {axis: [line for line in axis.lines if not line.get_label().startswith("_")] for axis in axes}
    one_of_each = {line.get_label(): line for those in lines.values() for line in those}
    if len(one_of_each) > _FEW or any(wrapped(label, _ROOM, 8).count("\n") > 1 for label in one_of_each):
        return legend_below(figure, [*one_of_each.values()])
    _settle(figure)
    notes: dict[Any, list] = {axis: [] for axis in axes}
    inside: dict[Any, list] = {axis: [] for axis in axes}
    for axis, those in lines.items():
        beside = axis.transAxes + ScaledTranslation(12 / 72, 0, figure.dpi_scale_trans)
        for line in those:
            points = np.asarray(line.get_xydata(), float)
            at = (axis.transScale + axis.transLimits).transform(points)
            if not len(there := np.flatnonzero(np.isfinite(at).all(axis=1))):
                continue
            end = points[there[-1]]
            if at[there[-1], 0] < 0.8:
                inside[axis].append((line.get_label(), end))
                continue
            arrow = {"arrowstyle": "-", "lw": 0.7, "color": line.get_color()}
            arrow |= {"shrinkA": 2, "shrinkB": 0, "relpos": (0, 0.5)}
            style = {"textcoords": beside, "va": "center", "annotation_clip": False, "arrowprops": arrow, "fontsize": 8}
            notes[axis].append(axis.annotate(wrapped(line.get_label(), _ROOM, 8), end, (1, 0.5), **style))
    figure.draw_without_rendering()
    for axis, those in notes.items():
        tall = [(1.5 + 1.3 * note.get_text().count("\n")) * 8 * figure.dpi / 72 / axis.bbox.height for note in those]
        ends = [axis.transAxes.inverted().transform(axis.transData.transform(note.xy))[1] for note in those]
        for note, place in zip(those, spread(ends, tall), strict=True):
            note.set_position((1, place))
    for axis, named in inside.items():
        if named:
            label_points(axis, [label for label, _ in named], np.array([end for _, end in named]))
    return None


def spread(wanted: Sequence[float], tall: Sequence[float]) -> list[float]:
    """Return where in [0, 1] the middles of texts go that are so `tall`: without overlap, near to those wanted."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    below = dict.fromkeys(order, 0.0)  # the least distance of each from the lowest
    for one, next_ in itertools.pairwise(order):
        below[next_] = below[one] + (tall[one] + tall[next_]) / 2
    blocks: list[list[float]] = []  # of texts that touch: the mean place wanted for the lowest, and their number
    for i in order:
        blocks.append([wanted[i] - below[i], 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (other, more) = blocks[-2:]
            blocks[-2:] = [[(mean * count + other * more) / (count + more), count + more]]
    lowest = [mean for mean, count in blocks for _ in range(int(count))]
    free = 1 - below[order[-1]] if order else 1
    places = {i: min(max(low, 0), free) + below[i] for i, low in zip(order, lowest, strict=True)}
    return [places[i] for i in range(len(wanted))]


def legend_below(figure: Any, handles: Sequence[Any]) -> None:
    """Write the labels of `handles` below the figure, which grows by the height of that, in columns that fit."""
    if not handles:
        return
    room = 72 * 0.95 * figure.get_figwidth()
    labels = [wrapped(handle.get_label(), room - 50, 9) for handle in handles]
    longest = max(_width(line, 9) for label in labels for line in label.split("\n"))
    ncols = max(1, min(4, len(labels), int(room // (longest + 45))))
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=ncols)
    height = figure.get_figheight()
    figure.set_figheight(height + 0.2 * sum(1 + label.count("\n") for label in labels))  # enough to measure it
    figure.draw_without_rendering()
    figure.set_figheight(height + legend.get_window_extent().height / figure.dpi)


def label_points(axis: Any, texts: Sequence[str], points: np.ndarray) -> None:
    """Write texts beside points [n, 2], each where least is in the way of it and of the line to its point."""
    import numpy as np
    from matplotlib.text import Text

    figure = axis.get_figure(root=True)
    _settle(figure)  # from here on it is known where things are
    point = figure.dpi / 72
    busy = [np.empty((0, 3))]  # pixel, and how much in the way
    for line in axis.lines:
        corners = line.get_transform().transform(line.get_xydata())
        corners = corners[np.isfinite(corners).all(axis=1)]
        if line.get_linestyle() != "None" and len(corners) > 1:
            steps = max(2, min(100, 3000 // len(corners)))
            along = np.linspace(corners[:-1], corners[1:], steps).reshape(-1, 2)
            along = np.unique(np.round(along / point / 2), axis=0) * point * 2
            busy.append(np.column_stack([along, np.full(len(along), 3)]))
        if line.get_marker() != "None":
            busy.append(np.column_stack([corners, np.full(len(corners), 30)]))
    taken = [Text.get_window_extent(note).get_points() for note in axis.texts]  # by other texts
    sides = np.array([(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (2, 1), (-2, 1), (2, -1)])
    offsets = np.concatenate([radius * sides for radius in (5, 11, 18, 26, 36, 50, 70, 95, 125)])
    for text, at in zip(texts, points, strict=True):
        text = wrapped(text, _ROOM, 8)
        style = {"textcoords": "offset points", "fontsize": 8, "ha": "center", "va": "center", "in_layout": False}
        note = axis.annotate(text, at, (0, 0), **style)
        size = np.array(note.get_window_extent().size) / point
        middles = offsets + np.sign(offsets) * size / 2
        own = axis.transData.transform(at)
        low = own + point * (middles - size / 2 - 2.5)
        high = low + point * (size + 5)
        spots = np.concatenate(busy)
        inside = ((spots[:, :2] > low[:, None]) & (spots[:, :2] < high[:, None])).all(axis=2)
        outside = (low < axis.bbox.min).any(axis=1) | (high > axis.bbox.max).any(axis=1)
        others = spots[(spots[:, 2] > 3) & (np.abs(spots[:, :2] - own) > 1).any(axis=1), :2]
        leader = own + np.linspace(0.1, 1, 20)[:, None, None] * point * offsets
        crossed = (np.abs(others - leader[:, :, None]) < 5 * point).all(axis=3).any(axis=0).sum(axis=1)
        cost = inside @ spots[:, 2] + 20 * crossed + np.hypot(*offsets.T) / 4 + 1e4 * outside
        for other_low, other_high in taken:
            cost += 1e3 * ((low < other_high) & (high > other_low)).all(axis=1)
            cost += 20 * ((leader > other_low) & (leader < other_high)).all(axis=2).any(axis=0)
        best = cost.argmin()
        note.remove()
        arrow = {"arrowstyle": "-", "lw": 0.5, "shrinkA": 0, "shrinkB": 2}
        arrow["relpos"] = tuple((1 - np.sign(offsets[best])) / 2)
        far = math.hypot(*offsets[best]) > 8
        axis.annotate(text, at, middles[best], arrowprops=arrow if far else None, **style)
        busy.append(np.column_stack([leader[:, best], np.full(len(leader), 10)]))
        taken.append(np.array([low[best], high[best]]))


def wrapped(text: str, room: float, size: float) -> str:
    """Return a text in lines that are no wider than `room` points, of letters of so many points."""
    columns = len(text)
    while columns > 1 and any(_width(line, size) > room for line in text.split("\n")):
        columns = min(columns - 1, math.ceil(columns * 0.9))
        text = "\n".join(textwrap.wrap(text.replace("\n", " "), columns))
    return text


@cache
def _width(text: str, size: float) -> float:
    """Return how many points wide a line of text is in letters of so many points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)[0] if text else 0.0


# ticks


def _settle(figure: Any) -> None:
    """Lay out a figure, give axes that are not linear plain numbers, and let labels be no longer than their axes."""
    from matplotlib import ticker

    figure.draw_without_rendering()
    for axes in figure.axes:
        ends = zip((axes.xaxis, axes.yaxis), axes.bbox.size * 72 / figure.dpi, strict=True)
        for axis, length in ends:
            for label in (axis.label, *([axes.title] if axis is axes.xaxis else [])):
                if (text := wrapped(label.get_text(), max(length, 60), label.get_fontsize())) != label.get_text():
                    label.set_text(text)
            if axis.get_scale() in ("log", "symlog") and axis.isDefault_majloc:
                axis.set_major_locator(ticker.FixedLocator(_ticks_of(axis, length)))
            if axis.get_scale() != "linear" and axis.isDefault_majfmt:
                axis.set_major_formatter(lambda number, _: plain(number))
                axis.set_minor_locator(ticker.NullLocator())
    if figure.stale:
        figure.draw_without_rendering()


def _ticks_of(axis: Any, length: float) -> list[float]:
    """Return plain numbers for an axis so many points long, with base 10, or linear around 0: as many as fit."""
    low, high = sorted(axis.get_view_interval())
    at = axis.get_transform().transform
    linear = getattr(axis.get_transform(), "linthresh", None)
    if not -math.inf < low < high < math.inf or (linear is None and low <= 0):
        return []

    def around(ticks: list[float]) -> list[float]:
        both = ticks if linear is None else [*(-tick for tick in reversed(ticks)), 0.0, *ticks]
        return [tick for tick in both if low <= tick <= high]

    def fit(ticks: list[float]) -> bool:
        ticks = around(ticks)
        longest = max((_width(plain(tick), 9) for tick in ticks), default=0)
        need = 16 if axis.axis_name == "y" else longest + 9
        places = [length * float(place) for place in (at(ticks) - at(low)) / (at(high) - at(low))]
        return len(ticks) <= 10 and all(b - a >= need for a, b in itertools.pairwise(places))

    return around(log_ticks(low if linear is None else linear, max(-low, high), fit))


def log_ticks(low: float, high: float, fit: Callable[[list[float]], bool]) -> list[float]:
    """Return numbers that are easy to read between two others, as many as the function `fit` allows."""
    from matplotlib.ticker import MaxNLocator

    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    choices = [
        [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits] for digits in _DIGITS
    ]
    choices += [
        [float(f"1e{power}") for power in range(first, last + 1) if power % step == 0] for step in (2, 5, 10, 50)
    ]
    inside = ([tick for tick in ticks if low <= tick <= high] for ticks in choices)
    chosen = next((ticks for ticks in inside if fit(ticks)), [])
    # Within less than a decade, or where 80, 90 and 100 leave the axis without a number up to 160.
    if len(chosen) < 3 or chosen[-1] ** 2 < low * high:
        linear = (MaxNLocator(count, steps=[1, 2, 5, 10]).tick_values(low, high) for count in range(7, 1, -1))
        inside = ([float(tick) for tick in ticks if low <= tick <= high] for ticks in linear)
        chosen = max([chosen, *(ticks for ticks in inside if fit(ticks))], key=len)
    return chosen


_DIGITS = ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))


def plain(number: float) -> str:
    """Return a number as people write it: 0.00001 and 100000, but 1e-12."""
    import numpy as np

    rounded = float(f"{number:.10g}")
    short = rounded == 0 or 1e-6 <= abs(rounded) < 1e7
    return np.format_float_positional(rounded, trim="-") if short else re.sub("e([+]|(-))0*", r"e\2", f"{rounded:g}")
