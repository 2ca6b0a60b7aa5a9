"""How much does a network depend on its settings? One is trained with each row of settings put over a base.

A sweep is no study of trained networks, and has a section of its own in the configuration, `sweeps`; its file holds
what a study's holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mlquant.core.blocks import Block, Line, Name, Positive
from mlquant.core.stage import Setting
from mlquant.networks.types import HELD_OUT_BELOW
from mlquant.studies.shared import Summary

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["loss", "sd_dB2", "held_out_loss", "held_out_sd_dB2"]
"""Columns of a loss curve that the summary has the last and the least value of."""


class Settings(Block):
    """Networks that differ in a few settings, trained and compared: `snakemake results/sweeps/<name>`."""

    title: Annotated[Line, Setting(help="title of the figure and of the report's part")] = ""
    base: Annotated[dict[str, Any], Setting(help="settings that all networks of the sweep have in common")] = {}
    rows: Annotated[
        dict[Name, dict[str, Any]],
        Field(min_length=1),
        Setting(help="settings that are put over the base, by the name of the row"),
    ]
    repeats: Annotated[Positive, Setting(help="trainings of each row, with seeds that follow each other")] = 1


def networks(name: str, settings: Settings, add: Callable) -> None:
    for row, changes in settings.rows.items():
        place = f"sweeps.{name}.rows.{row}"
        first = add(place, settings.base, changes)
        for seed in range(first.seed + 1, first.seed + settings.repeats):
            add(f"{place}.seed{seed}", settings.base, changes, {"seed": seed})


def needs(graph: Any, name: str, settings: Settings) -> Summary:
    """Return the networks of a sweep as its variants; the label of each says what its row changes."""
    variants = []
    for network, trained in graph.config.networks.items():
        if not network.startswith(f"sweeps.{name}.rows."):
            continue
        row, *seed = network.split(".")[3:]
        changes = [f"{key} {value}" for key, value in settings.rows[row].items()] + seed
        label = f"{row}: {', '.join(changes)}" if changes else row
        variant = {"variant": "_".join([row, *seed]), "label": label, "folder": graph.network(network).folder}
        variants.append(variant | {"settings": trained.model_dump(exclude={"row"})})
    files = [f"{variant['folder']}/{file}" for variant in variants for file in ("losses.csv", "training.json")]
    return Summary({"name": name, "title": settings.title, "variants": variants}, files, {})


def summarise(sweep: dict, folder: Path) -> None:
    """Write summary.csv, losses.csv, the figure of all loss curves and README.md into `folder`.

    `sweep` has name, title and variants, each with its name, label, settings and the folder that `mlquant train` has
    written. Raises InputError for a folder without a loss curve.
    """
    import pandas as pd

    from mlquant.core.disk import read_json, require, write_text
    from mlquant.core.errors import log
    from mlquant.core.figures import plot_curves
    from mlquant.core.tables import read_table

    require(sweep, "sweep", "name", "title", "variants")
    rows, curves = [], []
    for variant in sweep["variants"]:
        training = read_json(f"{variant['folder']}/training.json")
        require(training, f"{variant['folder']}/training.json", "failed", "seconds")
        curve = read_table(f"{variant['folder']}/losses.csv", "epoch", *COLUMNS)
        rows.append(_row(variant, curve) | training)
        curves.append(curve.assign(variant=variant["label"]))
        if training["failed"]:
            log(f"sweep {sweep['name']}: variant {variant['label']} failed: {training['failed']}")
    summary = pd.DataFrame(rows)
    write_text(folder / "summary.csv", summary.to_csv(index=False, float_format="%.6g"))
    table = pd.concat(curves)[["variant", "epoch", *COLUMNS]]
    write_text(folder / "losses.csv", table.to_csv(index=False, float_format="%.9g"))
    # Weighted losses can be compared only where all are weighted alike.
    alike = set(summary["loss"]) == {"wloss"} and summary["gamma"].nunique() == 1
    value, label = ("loss", "weighted loss in training (no unit)") if alike else ("sd_dB2", "SD in training (dB²)")
    plot_curves(folder / "losses.csv", value, label, sweep["title"] or sweep["name"], folder / "losses")
    write_text(folder / "README.md", _readme(sweep, summary))


def _about() -> dict[str, str]:
    """Return what each column of summary.csv and losses.csv holds."""
    from mlquant.networks.settings import Network

    settings = Network.helps()
    return {
        "variant": "row of the sweep, with the seed where it is trained several times; in losses.csv its label",
        "label": "the row, and what it changes",
        **settings,
        "epoch": "number of the epoch",
        "loss": f"in summary.csv: {settings['loss']}; in losses.csv: loss of the training vectors",
        "sd_dB2": "spectral distortion of the training vectors, in dB²",
        "held_out_loss": "loss of vectors that the training holds out",
        "held_out_sd_dB2": "spectral distortion of these, in dB²",
        "final_*": "this column of losses.csv after the last epoch",
        "best_*": "the least value of this column of losses.csv",
        "epochs_trained": "epochs that were trained",
        "failed": "why the training failed; empty if it did not",
        "seconds": "time that the training took",
    }


def _row(variant: dict, curve: pd.DataFrame) -> dict:
    """Return a variant's line of the summary: its settings, and the last and the least values of its curve."""
    last = {f"final_{column}": curve[column].iloc[-1] if len(curve) else None for column in COLUMNS}
    best = {f"best_{column}": curve[column].min() if len(curve) else None for column in COLUMNS}
    names = {"variant": variant["variant"], "label": variant["label"]}
    return {**names, **variant["settings"], **last, **best, "epochs_trained": len(curve)}


def _readme(sweep: dict, summary: pd.DataFrame) -> str:
    """Return the variants by held-out distortion, best first, and why some failed, as Markdown."""
    from mlquant.core.errors import markdown
    from mlquant.core.provenance import quick_look
    from mlquant.core.tables import explained

    texts = {name: summary[name].map(markdown, na_action="ignore") for name in ("label", "failed")}
    summary = summary.assign(**texts)
    good = summary[summary["failed"].isna()].sort_values("final_held_out_sd_dB2")
    table = good[["label", "final_sd_dB2", "final_held_out_sd_dB2", "epochs_trained", "seconds"]]
    failed = [f"**Failed: {row.label}**: {row.failed}" for row in summary[summary["failed"].notna()].itertuples()]
    title = markdown(sweep["title"] or "")
    quick = quick_look(sweep.get("record", {}).get("lowered", {}))
    parts = [
        f"# {sweep['name']}",
        title,
        f"**{markdown(quick)}**" if quick else "",
        table.to_markdown(index=False, floatfmt=".4g"),
        *failed,
    ]
    parts += ["`summary.csv` holds every setting, `losses.csv` the curves.", "![loss curves](losses.png)"]
    parts += [HELD_OUT_BELOW]
    parts += ["## Columns of summary.csv", explained([*summary], about := _about())]
    parts += ["## Columns of losses.csv", explained(["variant", "epoch", *COLUMNS], about)]
    return "\n\n".join(filter(None, parts)) + "\n"


# in the report

TITLE = ""  # an entry's own
SECTION, PLACE = "Designs compared", 80


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    needed = ("variant", "label", "final_sd_dB2", "final_held_out_sd_dB2", "best_held_out_sd_dB2", "epochs_trained")
    table = read_rows(folder / "summary.csv", *needed, "failed", "seconds")
    first = table.columns.get_loc("label") + 1
    end = table.columns.get_loc("final_loss") if "final_loss" in table else first
    settings = table.iloc[:, first:end]
    varied = [name for name in settings if settings[name].nunique(dropna=False) > 1]
    fixed = {name: settings[name].iloc[0] for name in settings if name not in varied}
    good = table[table["failed"].isna()].sort_values("final_held_out_sd_dB2")
    bad = table[table["failed"].notna()]
    facts = {
        "variants": len(table),
        "varied": varied,
        "fixed": {name: _in_words(value) for name, value in fixed.items()},
        "failed": [{"label": row.label, "why": row.failed} for row in bad.itertuples()],
        "best": good.iloc[0].to_dict() if len(good) else None,
        "worst": good.iloc[-1].to_dict() if len(good) > 1 else None,
    }
    made = laid_out(
        "Variants, best first",
        ("variant", good["label"], "s"),
        ("SD training (dB²)", good["final_sd_dB2"], ".2f"),
        ("SD held out (dB²)", good["final_held_out_sd_dB2"], ".2f"),
        ("best held out", good["best_held_out_sd_dB2"], ".2f"),
        ("epochs", good["epochs_trained"], "d"),
        ("seconds", good["seconds"], ".0f"),
    )
    return facts, [made]


def _in_words(value: object) -> str:
    """Return a setting as a text; an empty one for what is switched off or missing."""
    import numpy as np

    from mlquant.core.tables import formatted

    off = isinstance(value, bool | np.bool_) and not value
    return "" if off else formatted(value, "g" if isinstance(value, float) else "")


WORDS = {
    "question": """How much depends on {{ listed(part.facts.varied) or "chance" }}?""",
    "setup": """
<p>{{ part.facts.variants }} trainings that differ in {{ listed(part.facts.varied) or "nothing" }}; in all of them:
{% for name, value in part.facts.fixed.items() if value %}
{{ name }} {{ value }}{{ "," if not loop.last }}
{%- if not loop.last %} {% endif %}
{% endfor %}.</p>
""",
    "findings": """
{% set best, worst = part.facts.best, part.facts.worst %}
<p>
{%- if best %}
Least SD on held-out vectors after training: {{ best.final_held_out_sd_dB2 | num(".2f") }} dB² ({{ best.label }})
{%- if worst %}; most: {{ worst.final_held_out_sd_dB2 | num(".2f") }} dB² ({{ worst.label }}){% endif %}.
{%- else %}
No training succeeded.
{%- endif %}</p>
{% for one in part.facts.failed %}
<p class="failed">Failed: {{ one.label }}: {{ one.why }}</p>
{% endfor %}
""",
    "caption": "Loss curves of all variants, in training. " + HELD_OUT_BELOW,
}
