"""Figures, made from the CSV files that the stages write."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from mlquant.files import InputError, write_bytes


def plot_losses(losses: Path, title: str, out: Path) -> None:
    """Plot a network's loss curve (a losses.csv of `mlquant train`): loss and SD in dB^2 against epochs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    try:
        curve = pd.read_csv(losses)
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
        for axis, column, label in zip(axes, ("loss", "sd_dB2"), ("loss", "SD (dB²)"), strict=True):
            axis.semilogy(curve["epoch"], curve[column], label="training")
            axis.semilogy(curve["epoch"], curve[f"held_out_{column}"], label="held out")
            axis.set_xlabel("epoch")
            axis.set_ylabel(label)
            axis.grid(True, which="both", alpha=0.3)
            axis.legend()
    except FileNotFoundError:
        raise InputError(f"{losses}: no such file") from None
    except (KeyError, ValueError) as error:
        raise InputError(f"{losses}: not a loss curve written by mlquant train ({error})") from None
    figure.suptitle(title)
    kind = out.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise InputError(f"{out}: cannot be written as {out.suffix!r}, expected .png or .svg")
    buffer = io.BytesIO()
    # Without dates and random names the same curve gives the same bytes.
    with plt.rc_context({"svg.hashsalt": "mlquant"}):
        figure.savefig(buffer, format=kind, dpi=150, metadata={"Software" if kind == "png" else "Date": None})
    plt.close(figure)
    write_bytes(out, buffer.getvalue())
