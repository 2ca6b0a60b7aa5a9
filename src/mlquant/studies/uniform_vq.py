"""How many bits does a vector quantiser of the latents save against a uniform quantiser of each element?

Both are compared by the variance of the error of an element. A uniform quantiser of s levels over (-1, 1) has
1/(3 s^2) in theory. Source: mlquant.tex of the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlquant.core.blocks import Block, Positive
from mlquant.core.stage import Setting
from mlquant.core.types import MBEST
from mlquant.studies import noise, shared

if TYPE_CHECKING:
    import pandas as pd


class Settings(Block):
    """A vector quantiser against a uniform one of each element."""

    kind: Annotated[Literal["uniform_vq"], Setting(help="which study it is")]
    quantiser: Annotated[str, Setting(help="the vector quantiser")]
    mbest: Annotated[Positive, Setting(help="survivors of its search on held-out vectors")] = MBEST


def check(config: Any, name: str, settings: Settings) -> None:
    shared.check_quantiser(config, name, settings)


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    return shared.summary_of_quantiser(graph, name, settings)


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the variance of both quantisers' errors against bits, and the bits that both need for some variances.

    The bits of the vector quantiser are interpolated between the sizes that its training went through; they are NaN
    for a variance that it does not reach.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core import records
    from mlquant.quantisers import vq

    *_, (latents, _) = shared.vector_sets(settings)
    trace, d, rows = shared.chained(settings["traces"]), latents.shape[1], []
    for bits in range(1, 6):
        error = vq.mean_squared_error(latents, vq.uniform(latents, bits))
        rows += [("uniform", "theory", d * bits, 1 / (3 * 4**bits)), ("uniform", "held_out", d * bits, error)]
    rows += [("vq", "training", *row) for row in zip(trace["bits"], trace["variance"], strict=True)]
    codebooks = [records.read_f32(path, d) for path in settings["codebooks"]]
    for used in (codebooks[: i + 1] for i in range(len(codebooks))):
        decoded = vq.decode(vq.search(latents, used, settings["mbest"]), used)
        bits = sum(np.log2(len(codebook)) for codebook in used)
        rows.append(("vq", "held_out", bits, vq.mean_squared_error(latents, decoded)))
    variance = np.array([3e-4, 1e-3, 1.5e-3, 3e-3, 1e-2])  # the bottleneck noises of mlquant.tex
    rising, uniform_bits = trace.sort_values("variance"), d * np.log2(1 / np.sqrt(3 * variance))
    vq_bits = np.interp(np.log(variance), np.log(rising["variance"]), rising["bits"], left=np.nan, right=np.nan)
    needed = {"variance": variance, "uniform_bits": uniform_bits, "vq_bits": vq_bits}
    table = pd.DataFrame(rows, columns=["quantiser", "measured_on", "bits_per_frame", "variance"])
    return {"uniform_vq": table, "needed": pd.DataFrame(needed).assign(saving_bits=uniform_bits - vq_bits)}


COLUMNS = {
    "quantiser": "uniform: each latent by itself; vq: the vector quantiser",
    "measured_on": "theory, training vectors, or vectors that the training holds out",
    "bits_per_frame": "bits of one vector of latents",
    "variance": "variance of the error of a latent",
    "uniform_bits": "bits of one vector with which the uniform quantiser has this variance, in theory",
    "vq_bits": "the same of the vector quantiser; empty for a variance that it does not reach",
    "saving_bits": "bits that the vector quantiser saves",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core.figures import draw_curves, label_ends, label_points
    from mlquant.core.tables import read_table

    figure.set_size_inches(7.5, 5)
    axis, table = figure.subplots(), read_table(folder / "uniform_vq.csv")
    names = {"uniform": "uniform quantiser", "vq": "VQ"}
    draw_curves(axis, table.replace({"quantiser": names}), "bits_per_frame", "variance", "quantiser", "measured_on")
    saved = read_table(folder / "needed.csv").dropna()
    for row in saved.itertuples():
        axis.plot([row.vq_bits, row.uniform_bits], [row.variance] * 2, "k|-", lw=0.7, label="_saved")
    axis.set(xlabel="bits a frame", ylabel="variance of the error of an element (no unit)", yscale="log")
    axis.set_xlim(0, 1.2 * table["bits_per_frame"].max())  # with room for what is saved
    label_ends(axis)
    texts = [f"{bits:.1f} bits saved" for bits in saved["saving_bits"]]
    label_points(axis, texts, saved[["uniform_bits", "variance"]].to_numpy())


# in the report

TITLE = "Bits of the two quantisers"
SECTION, PLACE = "Vector quantiser against uniform quantiser", 30
PUBLISHED = {  # the variance by bits an element
    "source": "mlquant.tex, s levels over (-1, 1): 1/(3 s²)",
    "variance": {"1": 0.0833, "2": 0.0208, "3": 0.0052, "4": 0.0013, "5": 0.0003},
}


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.errors import InputError
    from mlquant.core.tables import laid_out, read_rows

    needed = read_rows(folder / "needed.csv", "variance", "uniform_bits", "vq_bits", "saving_bits")
    table = read_rows(folder / "uniform_vq.csv", "quantiser", "measured_on", "bits_per_frame", "variance")
    pairs = {
        name: part.set_index("bits_per_frame")["variance"] for name, part in table.groupby(["quantiser", "measured_on"])
    }
    if missing := {("uniform", "theory"), ("uniform", "held_out"), ("vq", "held_out")} - {*pairs}:
        expected = "expected those of mlquant study"
        raise InputError(f"{folder}/uniform_vq.csv: has no rows {', '.join(min(missing))}, {expected}")
    theory, held_out, vq_held = pairs["uniform", "theory"], pairs["uniform", "held_out"], pairs["vq", "held_out"]
    width = theory.index[0]  # bits a frame at one bit an element
    each = [f"{bits / width:g}" for bits in theory.index]
    saved = needed.dropna(subset=["saving_bits"])
    facts = {
        "saved": len(saved),
        "least": saved["saving_bits"].min(),
        "most": saved["saving_bits"].max(),
        "last_bits": vq_held.index[-1],
        "last": vq_held.iloc[-1],
        # A uniform quantiser of as many bits, between whole bits an element.
        "uniform": _interpolated(vq_held.index[-1], held_out),
    }
    bits = laid_out(
        "Bits a frame for an error of this variance",
        ("variance", needed["variance"], "g"),
        ("uniform quantiser", needed["uniform_bits"], ".1f"),
        ("VQ", needed["vq_bits"], ".1f"),
        ("published VQ", [noise.published_for(value).get("vq_bits") for value in needed["variance"]], "d"),
        ("saved", needed["saving_bits"], ".1f"),
        source=noise.PUBLISHED["source"],
    )
    uniform = laid_out(
        "Uniform quantiser of each element",
        ("bits an element", each, "s"),
        ("bits a frame", theory.index, "g"),
        ("variance in theory", theory, ".4f"),
        ("published", [PUBLISHED["variance"].get(bits) for bits in each], ".4f"),
        ("measured, held out", held_out.reindex(theory.index), ".4f"),
        source=PUBLISHED["source"],
    )
    stages = laid_out(
        "Stages of the vector quantiser", ("bits a frame", vq_held.index, "g"), ("variance, held out", vq_held, ".4f")
    )
    return facts, [bits, uniform, stages]


def _interpolated(bits: float, variance: pd.Series) -> float | None:
    """Return the variance at so many bits, log-linear between those measured; None for bits outside of them."""
    import numpy as np

    if not variance.index.min() <= bits <= variance.index.max():
        return None
    return float(np.exp(np.interp(bits, variance.index, np.log(variance))))


WORDS = {
    "question": """
How many bits does a vector quantiser of the latents save against a uniform quantiser of each element?
""",
    "setup": """
<p>{{ quantiser(part, part.settings.quantiser) }}; {{ part.settings.mbest }} survivor
{{- "s" if part.settings.mbest > 1 }} of its search. The uniform quantiser has 2<sup>bits</sup> levels over
(&minus;1, 1).</p>
""",
    "findings": """
{% set facts = part.facts %}
<p>
{%- if facts.saved %}
For the variances that the vector quantiser reaches in training it saves
{% if facts.saved > 1 %}
between {{ facts.least | num(".1f") }} and {{ facts.most | num(".1f") }}
{% else %}
{{ facts.most | num(".1f") }}
{% endif %}
bits a frame.
{% else %}
The vector quantiser reaches none of the variances in the first table.
{% endif %}
On held-out vectors all its stages, {{ facts.last_bits | num("g") }} bits, leave an error of variance
{{ facts.last | num(".2g") }}
{%- if facts.uniform is not none %}; a uniform quantiser of as many bits, {{ facts.uniform | num(".2g") }}{% endif %}.
</p>
""",
    "caption": "Variance of the error against bits a frame.",
}
