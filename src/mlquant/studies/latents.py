"""How much do the latents of a network have in common, with each other and with themselves a little later?

Principal components, correlation over time and histograms of the latents of all frames of a corpus, and an image of
the latents of a few seconds. Source: mlquant.tex of the original.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mlquant.core.blocks import Block, Positive
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.studies import shared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Settings(Block):
    """Statistics of a network's latents."""

    kind: Annotated[Literal["latents"], Setting(help="which study it is")]
    network: Annotated[str, Setting(help="the network, one with a bottleneck")]
    lags: Annotated[Positive, Setting(help="longest lag of the correlation over time, in vectors")] = 25
    seconds: Annotated[float, Setting(help="length of the image of latents", gt=0)] = 4.0


def check(config: Any, name: str, settings: Settings) -> None:
    if config.networks[settings.network].d is None:
        raise InputError(f"config: studies.{name}.network: {settings.network!r} has no bottleneck, so no latents")


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    files = shared.files_of_network(graph, settings.network)
    return shared.summary(name, settings.model_dump() | {"frame_ms": shared.frame_ms(graph, settings.network)}, files)


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the components' shares, how many components hold most, correlations, histograms, and a stretch of latents.

    The stretch is the part of the first file that has most energy. Raises InputError for a network without latents.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core import records
    from mlquant.networks import inference
    from mlquant.vocoder.features import energy_dB

    shared.require_files(settings)
    network, trained = inference.load(settings["weights"])
    key, width = ("features", 22) if network.row.source == "b" else ("targets", 79)
    feature_records = [records.read_f32(path, width) for path in settings[key]]
    runs = [inference.encode(network, trained, array) for array in feature_records]
    vectors, step, lags = np.concatenate(runs), settings["frame_ms"], np.arange(settings["lags"] + 1)
    elements = [f"element_{i + 1}" for i in range(vectors.shape[1])]
    share, shares = component_shares(vectors), np.array([0.90, 0.95, 0.99])
    pca = {"component": 1 + np.arange(len(share)), "share": share, "cumulative_share": share.cumsum()}
    dimensions = {"share": shares, "components": 1 + np.searchsorted(share.cumsum(), shares)}
    values = pd.DataFrame(correlations(runs, settings["lags"]), columns=elements)
    correlation = {"lag_frames": lags, "lag_ms": lags * step, "mean": values.mean(axis=1), **values}
    energy = energy_dB(inference.spectrum(feature_records[0]))[:: trained["ncat"]]
    length = min(round(settings["seconds"] * 1000 / step), len(energy))
    start = np.convolve(energy, np.ones(length), "valid").argmax()
    values = pd.DataFrame(runs[0][start : start + length], columns=elements)
    stretch = {"time_s": (start + values.index) * step / 1000, **values}
    edges = np.linspace(min(-1, vectors.min()), max(1, vectors.max()), 41)
    density = np.stack([np.histogram(element, edges, density=True)[0] for element in vectors.T])
    element, middle = np.indices(density.shape).reshape(2, -1)
    histogram = {"element": 1 + element, "latent": (edges[middle] + edges[middle + 1]) / 2, "density": density.ravel()}
    made = dict(pca=pca, dimensions=dimensions, correlation=correlation, stretch=stretch, histogram=histogram)
    return {name: pd.DataFrame(table) for name, table in made.items()}


def component_shares(vectors: np.ndarray) -> np.ndarray:
    """Return the shares [d] of the variance of vectors [F, d] along their principal components, largest first."""
    import numpy as np

    variance = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=np.float64), compute_uv=False) ** 2
    return variance / variance.sum()


def correlations(runs: list[np.ndarray], lags: int) -> np.ndarray:
    """Return the correlation [lags+1, d] of each element of runs [F, d] with itself so many vectors later.

    Vectors of two runs are never compared. An element that never changes has the correlation 0.
    """
    import numpy as np

    mean = np.concatenate(runs).mean(axis=0, dtype=np.float64)
    apart = np.concatenate([np.pad(run - mean, ((0, lags), (0, 0)), constant_values=np.nan) for run in runs])
    products = [np.nanmean(apart[: len(apart) - lag] * apart[lag:], axis=0) for lag in range(lags + 1)]
    return np.array(products) / np.maximum(products[0], 1e-30)


COLUMNS = {
    "component": "number of the principal component, the largest first",
    "share": "its share of the variance of all latents; in dimensions.csv the share that is asked for",
    "cumulative_share": "share of this component and all before it",
    "components": "how many components have this share together",
    "lag_frames": "distance between two vectors, in vectors of latents",
    "lag_ms": "the same in ms",
    "mean": "correlation of latents so far apart, mean over the elements",
    "time_s": "time from the start of the first file, in seconds",
    "element_*": "of each latent: its correlation in correlation.csv, its value in stretch.csv",
    "element": "number of the latent within its vector",
    "latent": "value of the latent, the middle of a bin of the histogram",
    "density": "density of the values in this bin",
}


def figure(figure: Any, folder: Path) -> None:
    from mlquant.core.colours import LIGHT
    from mlquant.core.figures import label_ends, whole_numbers
    from mlquant.core.tables import read_table

    figure.set_size_inches(8.5, 6.5)
    above, below = figure.subfigures(2, 1)
    (shares, lags), images = above.subplots(1, 2), below.subplots(1, 2)
    names = ("pca", "dimensions", "correlation", "stretch", "histogram")
    pca, dimensions, correlation, stretch, histogram = (read_table(folder / f"{name}.csv") for name in names)
    shares.bar(pca["component"], 100 * pca["share"], color=LIGHT[4])
    shares.plot(pca["component"], 100 * pca["cumulative_share"], "o-", c=LIGHT[0], label="cumulative")
    for colour, (_, share, components) in zip(LIGHT[1:], dimensions.itertuples(), strict=False):
        ends = [min(components, len(pca) - 0.5), len(pca) + 0.5]
        shares.plot(ends, [100 * share] * 2, c=colour, ls="--", label=f"{share:.0%} in {components:g}")
    shares.set(xlabel="principal component", ylabel="share of the variance (%)", ylim=(0, 105))
    whole_numbers(shares.xaxis)
    each = [name for name in correlation if name.startswith("element_")]
    for name in each:
        lags.plot(correlation["lag_ms"], correlation[name], color="0.75", label="_each")
    lags.plot(correlation["lag_ms"], correlation["mean"], "o-", c=LIGHT[0], label=f"mean of {len(each)}")
    lags.set(xlabel="lag (ms)", ylabel="correlation of a latent with itself")
    density = histogram.pivot(index="latent", columns="element", values="density")
    drawn, most = stretch.set_index("time_s"), float(stretch[each].abs().to_numpy().max())
    for axis, table, (x, label), style in (
        (images[0], drawn, ("time (s)", "value of a latent (no unit)"), {"cmap": "RdBu", "vmin": -most, "vmax": most}),
        (
            images[1],
            density / density.max(),
            ("value of a latent (no unit)", "density, of its largest"),
            {"cmap": "Greys"},
        ),
    ):
        span = (table.index[0], table.index[-1], table.shape[1] + 0.5, 0.5)
        image = axis.imshow(table.T, aspect="auto", interpolation="none", extent=span, **style)
        axis.set(xlabel=x, ylabel="number of the latent")
        whole_numbers(axis.yaxis)
        axis.grid(False)
        below.colorbar(image, label=label, ax=axis)
    label_ends(shares, lags)


# in the report

TITLE = "What the latents look like"
SECTION, PLACE = "Dimension reduction", 12


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    dimensions = read_rows(folder / "dimensions.csv", "share", "components")
    pca = read_rows(folder / "pca.csv", "component", "share")
    correlation = read_rows(folder / "correlation.csv", "lag_frames", "lag_ms", "mean")
    later, low = correlation[correlation["lag_frames"] > 0], correlation[correlation["mean"] < 0.5]
    facts = {
        "d": len(pca),
        "dimensions": dimensions.to_dict("records"),
        "first": pca["share"].iloc[0],
        "lag_ms": later["lag_ms"].iloc[0],
        "correlation": later["mean"].iloc[0],
        "half_ms": low["lag_ms"].iloc[0] if len(low) else None,
        "last_ms": correlation["lag_ms"].iloc[-1],
    }
    some = later[later["lag_frames"].isin([1, 2, 3, 5, 10, 20, 50])]
    shares = ("share of the variance", dimensions["share"], ".0%"), ("components", dimensions["components"], "g")
    lags = ("lag (ms)", some["lag_ms"], "g"), ("mean correlation", some["mean"], ".2f")
    components = laid_out(f"Principal components of {len(pca)} latents", *shares)
    return facts, [components, laid_out("Latents over time", *lags)]


WORDS = {
    "question": """
How much do the latents of {{ network(part, part.settings.network) }} have in common, with each other and with
themselves a little later?
""",
    "setup": """
<p>Latents of all frames of the corpus <code>{{ part.used[part.settings.network].corpus }}</code>: principal components,
correlation over {{ part.settings.lags }} frames, histograms, and a stretch of {{ part.settings.seconds | num("g") }}
s.</p>
""",
    "findings": """
<p>The first principal component holds {{ part.facts.first | num(".0%") }} of the variance.
{% for row in part.facts.dimensions %}
{{ row.share | num(".0%") }} takes {{ row.components | num("g") }} of {{ part.facts.d }} components
{{- "." if loop.last else ";" }}
{% endfor %}
After {{ part.facts.lag_ms | num("g") }} ms the mean correlation of a latent with itself is
{{ part.facts.correlation | num(".2f") }};
{% if part.facts.half_ms is not none %}
it falls below a half at {{ part.facts.half_ms | num("g") }} ms.
{% else %}
it stays above a half up to {{ part.facts.last_ms | num("g") }} ms.
{% endif %}</p>
""",
    "caption": "Shares of the principal components, correlation over time, a stretch of latents, and their histograms.",
}
