"""The summary of a sweep: what its variants were trained with, how far they came, and which failed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mlquant.core.disk import read_json, require, write_text
from mlquant.core.errors import log, markdown
from mlquant.core.figures import plot_curves, read_table

COLUMNS = ["loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"]


def summarise(sweep: dict, folder: Path) -> None:
    """Write summary.csv, losses.csv, the figure of all loss curves and README.md into `folder`.

    `sweep` has name, title and variants, each with its name, label, settings and the folder that `mlquant train` has
    written. Raises InputError for a folder without a loss curve.
    """
    require(sweep, "sweep", "name", "title", "variants")
    rows, curves = [], []
    for variant in sweep["variants"]:
        report = read_json(f"{variant['folder']}/training.json")
        require(report, f"{variant['folder']}/training.json", "failed", "seconds")
        curve = read_table(f"{variant['folder']}/losses.csv", "epoch", *COLUMNS)
        rows.append(_row(variant, curve) | report)
        curves.append(curve.assign(variant=variant["label"]))
        if report["failed"]:
            log(f"sweep {sweep['name']}: variant {variant['label']} failed: {report['failed']}")
    summary = pd.DataFrame(rows)
    write_text(folder / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    table = pd.concat(curves)[["variant", "epoch", *COLUMNS]]
    write_text(folder / "losses.csv", table.to_csv(index=False, float_format="%.9g"))
    # Weighted losses compare where all are weighted alike.
    alike = set(summary["loss"]) == {"wloss"} and summary["gamma"].nunique() == 1
    value, label = ("loss", "weighted loss") if alike else ("sd_dB2", "SD (dB²)")
    plot_curves(folder / "losses.csv", value, label, sweep["title"] or sweep["name"], folder / "losses")
    write_text(folder / "README.md", _readme(sweep, summary))


def _row(variant: dict, curve: pd.DataFrame) -> dict:
    """A variant's line of the summary: its settings, and the last and the best of its curve."""
    last = {f"final_{column}": curve[column].iloc[-1] if len(curve) else None for column in COLUMNS}
    best = {f"best_{column}": curve[column].min() if len(curve) else None for column in COLUMNS}
    return {
        "variant": variant["variant"],
        "label": variant["label"],
        **variant["settings"],
        **last,
        **best,
        "epochs_trained": len(curve),
    }


def _readme(sweep: dict, summary: pd.DataFrame) -> str:
    """The variants by held-out distortion, best first, and why some failed, as Markdown."""
    texts = {name: summary[name].map(markdown, na_action="ignore") for name in ("label", "failed")}
    summary = summary.assign(**texts)
    good = summary[summary["failed"].isna()].sort_values("final_held_out_sd_dB2")
    table = good[["label", "final_sd_dB2", "final_held_out_sd_dB2", "epochs_trained", "seconds"]]
    failed = [f"**Failed: {row.label}**: {row.failed}" for row in summary[summary["failed"].notna()].itertuples()]
    title = markdown(sweep["title"] or "")
    parts = [f"# {sweep['name']}", title, table.to_markdown(index=False, floatfmt=".4g"), *failed]
    parts += ["`summary.csv` holds every setting, `losses.csv` the curves.", "![loss curves](losses.png)"]
    return "\n\n".join(filter(None, parts)) + "\n"
