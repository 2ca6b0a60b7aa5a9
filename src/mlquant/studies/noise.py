"""What does noise on the latents cost, and how many bits has a quantiser whose error is no larger than the noise?

The noise is white and Gaussian. The spectral distortion with it says what a quantiser with an error of that variance
would cost, without training one. Source: mlquant.tex of the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from mlquant.core.blocks import Block, Positive
from mlquant.core.stage import Setting
from mlquant.networks.types import Seed
from mlquant.studies import shared

if TYPE_CHECKING:
    import pandas as pd

Variance = Annotated[float, Setting(help="variance of the noise on an element of the latents", ge=0)]


class Settings(Block):
    """Noise on the latents, and the bits of a quantiser as good."""

    kind: Annotated[Literal["noise"], Setting(help="which study it is")]
    quantiser: Annotated[str, Setting(help="the quantiser whose bits are read; noise is put on its network's latents")]
    noise_vars: Annotated[list[Variance], Field(min_length=1), Setting(help="variances of the noise, 0 for none")]
    frame_ms: Annotated[Positive, Setting(help="time between the vectors that are sent, for bit/s")] = 20
    seed: Annotated[Seed, Setting(help="seed of the noise")] = 1


def check(config: Any, name: str, settings: Settings) -> None:
    shared.check_quantiser(config, name, settings)


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    network = graph.config.quantisers[settings.quantiser].network
    files = shared.files_of_network(graph, network) | shared.files_of_quantiser(graph, settings.quantiser)
    return shared.summary(name, settings.model_dump(), files)


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return SD in dB^2 with noise of each variance, and the fewest bits of the quantiser with no larger an error.

    The error of the quantiser is that of its training; where it is never so small the bits are NaN.
    """
    import numpy as np
    import pandas as pd

    network, trained, *sets = shared.vector_sets(settings)
    trace, rows = shared.chained(settings["traces"]), []
    for noise_var in settings["noise_vars"]:
        rng, sd = np.random.default_rng(settings["seed"]), []  # the same draws for each variance, scaled
        for latents, target in sets:
            noisy = latents + np.sqrt(noise_var, dtype="f4") * rng.standard_normal(latents.shape, np.float32)
            sd.append(shared.sd_dB2(trained, network.decode(noisy), target))
        good = trace[(trace["variance"] <= noise_var) & (noise_var > 0)]
        rows.append((noise_var, *sd, good["bits"].min(), good["stages"].min()))
    table = pd.DataFrame(rows, columns=["noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages"])
    return {"noise": table.assign(bit_per_s=table["vq_bits"] * 1000 / settings["frame_ms"])}


COLUMNS = {
    "noise_var": "variance of the white Gaussian noise that is added to each latent",
    "sd_training_dB2": "spectral distortion with this noise, of vectors that the network is trained on, in dB²",
    "sd_held_out_dB2": "the same of vectors that its training holds out",
    "vq_bits": "fewest bits of the quantiser whose error is no larger than the noise; empty where it is never so small",
    "vq_stages": "stages of the quantiser that these bits take",
    "bit_per_s": "bit rate of these bits",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core.figures import label_ends
    from mlquant.core.tables import read_table

    table = read_table(folder / "noise.csv").sort_values("noise_var")
    at, reached = table["noise_var"], table.dropna(subset=["vq_bits"])
    figure.set_size_inches(6.5, 5.5 if len(reached) else 3.5)
    axes = figure.subplots(2 if len(reached) else 1, sharex=True, squeeze=False)[:, 0]
    for column, label in {"sd_training_dB2": "training", "sd_held_out_dB2": "held out"}.items():
        axes[0].plot(at, table[column], "o-", label=label)
    axes[0].set_ylabel("SD (dB²)")
    if (at > 0).any():  # a logarithmic axis has no 0
        axes[0].set_xscale("symlog", linthresh=at[at > 0].min(), linscale=0.5)
    if len(reached):
        axes[1].plot(reached["noise_var"], reached["vq_bits"], "o-", c="0.2")
        rate = float((reached["bit_per_s"] / reached["vq_bits"]).iloc[0])
        of_rate = axes[1].secondary_yaxis("right", functions=(lambda bits: bits * rate, lambda bits: bits / rate))
        of_rate.set_ylabel("bit rate (bit/s)")
        axes[1].set(ylabel="bits of a vector", title="fewest bits of the VQ whose error is no larger than the noise")
    axes[-1].set_xlabel("variance of the noise on a latent (no unit)")
    label_ends(axes[0])


# in the report

TITLE = "Noise, and the bits of a quantiser with no larger an error"
SECTION, PLACE = "Noise on the latents", 20
PUBLISHED = {
    "source": "mlquant.tex, d = 10, weighted linear loss, 143,000 training frames, a vector every 20 ms",
    "rows": [
        {"noise_var": 0, "sd_dB2": 1.89},
        {"noise_var": 0.0003, "vq_bits": 36, "vq_stages": 3, "bit_per_s": 1800},
        {"noise_var": 0.001, "sd_dB2": 2.57, "vq_bits": 28, "vq_stages": 3, "bit_per_s": 1400},
        {"noise_var": 0.0015, "vq_bits": 24, "vq_stages": 2, "bit_per_s": 1200},
        {"noise_var": 0.003, "sd_dB2": 3.93, "vq_bits": 20, "vq_stages": 2, "bit_per_s": 1000},
        {"noise_var": 0.01, "sd_dB2": 8.77, "vq_bits": 10, "vq_stages": 1, "bit_per_s": 500},
    ],
}


def published_for(noise_var: float) -> dict:
    """Return the original's figures for a variance, which are written with six digits; {} where it has none."""
    return next((row for row in PUBLISHED["rows"] if f"{row['noise_var']:.6g}" == f"{noise_var:.6g}"), {})


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    columns = ("noise_var", "sd_training_dB2", "sd_held_out_dB2", "vq_bits", "vq_stages", "bit_per_s")
    table = read_rows(folder / "noise.csv", *columns).sort_values("noise_var")
    published = [published_for(value) for value in table["noise_var"]]
    reached = table.dropna(subset=["vq_bits"])
    facts = {
        "low": table.iloc[0].to_dict(),
        "high": table.iloc[-1].to_dict(),
        "known": published[-1].get("sd_dB2"),
        "finest": reached.iloc[0].to_dict() if len(reached) else None,
        "finest_known": published_for(reached["noise_var"].iloc[0]).get("vq_bits") if len(reached) else None,
    }
    caption = "SD with noise on the latents, and the fewest bits of a quantiser whose error is no larger"
    made = laid_out(
        caption,
        ("noise variance", table["noise_var"], "g"),
        ("SD training (dB²)", table["sd_training_dB2"], ".2f"),
        ("published SD", [row.get("sd_dB2") for row in published], ".2f"),
        ("SD held out (dB²)", table["sd_held_out_dB2"], ".2f"),
        ("VQ bits", table["vq_bits"], "g"),
        ("published bits", [row.get("vq_bits") for row in published], "d"),
        ("stages", table["vq_stages"], "g"),
        ("published stages", [row.get("vq_stages") for row in published], "d"),
        ("bit/s", table["bit_per_s"], "g"),
        ("published bit/s", [row.get("bit_per_s") for row in published], "d"),
        source=f"{PUBLISHED['source']}; SD is of these frames, which are other speech than our training vectors",
    )
    return facts, [made]


WORDS = {
    "question": """
What does noise on the latents cost, and how many bits does a vector quantiser need for an error no larger?
""",
    "setup": """
<p>Gaussian noise on the latents of training and held-out vectors, one every {{ part.settings.frame_ms }} ms.
Bits are read from the training of {{ quantiser(part, part.settings.quantiser) }}.</p>
""",
    "findings": """
{% set low, high, finest = part.facts.low, part.facts.high, part.facts.finest %}
<p>From noise of variance {{ low.noise_var | num("g") }} to {{ high.noise_var | num("g") }}, SD on held-out vectors goes
from {{ low.sd_held_out_dB2 | num(".2f") }} to {{ high.sd_held_out_dB2 | num(".2f") }} dB²

{%- if part.facts.known is not none %}; on training vectors it ends at {{ high.sd_training_dB2 | num(".2f") }}, where
{{ part.facts.known | num(".2f") }} is published for other training speech
{%- endif %}.
{% if finest %}
The smallest of these variances that the quantiser reaches is {{ finest.noise_var | num("g") }}, with
{{ finest.vq_bits | num("g") }} bits
{%- if part.facts.finest_known is not none %} (published: {{ part.facts.finest_known }}){% endif %}, or
{{ finest.bit_per_s | num("g") }} bit/s.
{% else %}
The quantiser reaches none of these variances.
{% endif %}</p>
""",
    "caption": "SD against the variance of the noise, and the quantiser that reaches each variance.",
}
