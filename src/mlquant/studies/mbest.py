"""What do more survivors of the search of a quantiser's stages, M-best, gain?

With one survivor each stage quantises what the stage before it leaves. With more, the best sequences of entries so far
are kept from stage to stage.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlquant.core.blocks import Block, Positive
from mlquant.core.stage import Setting
from mlquant.studies import shared

if TYPE_CHECKING:
    import pandas as pd


class Settings(Block):
    """What survivors of the search gain."""

    kind: Annotated[Literal["mbest"], Setting(help="which study it is")]
    quantiser: Annotated[str, Setting(help="the quantiser that is searched")]
    stages: Annotated[list[Positive], Field(min_length=1), Setting(help="numbers of its stages to search")]
    mbest: Annotated[list[Positive], Field(min_length=1), Setting(help="numbers of survivors; 1 is always among them")]


def check(config: Any, name: str, settings: Settings) -> None:
    shared.check_quantiser(config, name, settings, stages=max(settings.stages))


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    return shared.summary_of_quantiser(graph, name, settings)


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the mean squared error of held-out latents against survivors, and the gain in dB on one survivor."""
    import numpy as np
    import pandas as pd

    from mlquant.core import records
    from mlquant.quantisers import vq

    *_, (latents, _) = shared.vector_sets(settings)
    codebooks, rows = [records.read_f32(path, latents.shape[1]) for path in settings["codebooks"]], []
    for used in (codebooks[:stages] for stages in settings["stages"]):
        for mbest in sorted({1, *settings["mbest"]}):
            decoded = vq.decode(vq.search(latents, used, mbest), used)
            rows.append((len(used), mbest, vq.mean_squared_error(latents, decoded)))
    table = pd.DataFrame(rows, columns=["stages", "mbest", "mse"])
    alone = table.groupby("stages")["mse"].transform("first")
    return {"mbest": table.assign(gain_dB=10 * np.log10(alone / table["mse"]))}


COLUMNS = {
    "stages": "stages of the quantiser in use",
    "mbest": "survivors of the search after each stage",
    "mse": "mean squared error of an element of held-out latents",
    "gain_dB": "how much smaller the error is than with one survivor, in dB",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core.figures import draw_curves, label_ends, whole_numbers
    from mlquant.core.tables import read_table

    figure.set_size_inches(8.5, 3.8)
    table = read_table(folder / "mbest.csv")
    table["stages"] = [f"{stages} stage{'s' if stages > 1 else ''}" for stages in table["stages"]]
    columns = {"mse": "mean squared error of a latent (no unit)", "gain_dB": "gain on one survivor (dB)"}
    axes = figure.subplots(1, 2)
    for axis, (column, label) in zip(axes, columns.items(), strict=True):
        draw_curves(axis, table, "mbest", column, "stages")
        axis.set(xlabel="survivors of a stage", ylabel=label)
        whole_numbers(axis.xaxis)
    label_ends(*axes)


# in the report

TITLE = "Survivors of the search"
SECTION, PLACE = "Vector quantiser against uniform quantiser", 31


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    table = read_rows(folder / "mbest.csv", "stages", "mbest", "mse", "gain_dB")
    gains, errors = (table.pivot(index="mbest", columns="stages", values=value) for value in ("gain_dB", "mse"))
    best = table.loc[table["gain_dB"].idxmax()]
    near = table[(table["stages"] == best["stages"]) & (table["gain_dB"] >= 0.9 * best["gain_dB"])]
    facts = {"best": best.to_dict(), "near": near.iloc[0].to_dict()}
    columns = [("survivors", gains.index, "d")]
    for stages in gains:
        columns += [(f"{stages} stages: error", errors[stages], ".3g"), ("gain (dB)", gains[stages], ".2f")]
    return facts, [laid_out("Mean squared error of a held-out latent, and gain on one survivor", *columns)]


WORDS = {
    "question": "What do more survivors of the stage-by-stage search gain?",
    "setup": """
<p>{{ quantiser(part, part.settings.quantiser) }}, searched on held-out vectors with {{ listed(part.settings.stages) }}
of its stages.</p>
""",
    "findings": """
{% set best, near = part.facts.best, part.facts.near %}
<p>The most is gained with {{ best.stages | num("g") }} stages and {{ best.mbest | num("g") }} survivors:
{{ best.gain_dB | num(".2f") }} dB. Nine tenths of it are there with {{ near.mbest | num("g") }}.</p>
""",
    "caption": "Error and gain against survivors.",
}
