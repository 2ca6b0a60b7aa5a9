"""How good is the speech at each bit rate, by what is quantised and how, and beside Codec 2?

Every kind of quantiser, of b and of latents, is trained for every interval and size; besides there are chains of
networks that were trained for their quantiser. `mlquant rate` measures each chain with each number of its stages
(see `rates`); this study puts the tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mlquant.chains import steps
from mlquant.chains.settings import RatedChain
from mlquant.core.blocks import Block, Name, Positive, refusal, validate
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.core.types import MBEST
from mlquant.networks.settings import NetworkSettings
from mlquant.quantisers.settings import KINDS, Interval, Predict, Size
from mlquant.studies import rates, shared

if TYPE_CHECKING:
    import pandas as pd

_HELD_OUT = NetworkSettings.model_fields["held_out"].default  # the share that quantisers of b are not trained on


class KindSettings(Block):
    """Settings of one kind of quantiser, which come on top of those that all kinds have in common."""

    renamed: ClassVar[dict[str, str]] = {"stretch": "reset_every"}

    mbest: Annotated[Positive | None, Setting(help="survivors in training, of kinds beam and predictive")] = None
    predict: Annotated[Predict | None, Setting(help="prediction coefficient of kind predictive, or fit")] = None
    reset_every: Annotated[Positive | None, Setting(help="prediction begins anew every so many vectors")] = None


class Settings(Block):
    """Quality against bit rate of many quantisers, and of Codec 2."""

    kind: Annotated[Literal["bits"], Setting(help="which study it is")]
    samples: Annotated[list[Name], Field(min_length=1), Setting(help="samples whose mean PESQ is compared")]
    corpus: Annotated[str, Setting(help="corpus of the quantisers of b; distortions are measured on it too")]
    network: Annotated[str, Setting(help="network from b to b_hat whose latents are quantised")]
    manifold: Annotated[str, Setting(help="network from b_hat to y_hat")]
    kinds: Annotated[
        dict[Literal[*KINDS], KindSettings],
        Field(min_length=1),
        Setting(help="kinds of quantisers to compare, with their own settings"),
    ]
    sizes: Annotated[list[Size], Field(min_length=1), Setting(help="entries of all stages of a quantiser")]
    bits: Annotated[Positive, Setting(help="most bits of a vector: a quantiser has as many stages as fit in")] = 36
    interval_ms: Annotated[list[Interval], Field(min_length=1), Setting(help="times between vectors that are sent")]
    thresh: Annotated[float, Setting(help="frames with less energy, in dB, are neither trained on nor measured")] = 30.0
    stop: Annotated[float, Setting(help="relative gain at which the training of a size is done", gt=0)] = 1e-3
    mbest: Annotated[Positive, Setting(help="survivors of the search")] = MBEST
    seconds: Annotated[float, Setting(help="length of the part of each file that is measured on", gt=0)] = 10.0
    chains: Annotated[dict[Name, RatedChain], Setting(help="other chains to compare, by name")] = {}

    @model_validator(mode="after")
    def _something_to_compare(self) -> Settings:
        for name in ("samples", "sizes", "interval_ms"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise refusal(f"{name}: found {', '.join(map(str, values))}, expected each once")
        if self.bits < (least := max(self.sizes).bit_length() - 1):
            raise refusal(f"bits: found {self.bits}, expected at least {least}, those of a stage of {max(self.sizes)}")
        return self


def compared(name: str, settings: Settings) -> Iterator[tuple[str, str, int, dict]]:
    """Give the place, the source ("latents" or "b"), the interval in ms and the settings of each quantiser."""
    sources = {"latents": {"network": settings.network}, "b": {"corpus": settings.corpus}}
    grid = product(sources, settings.kinds.items(), settings.sizes, settings.interval_ms)
    for source, (kind, own), size, ms in grid:
        stages = [{"size": size, "stop": settings.stop}] * (settings.bits // (size.bit_length() - 1))
        quantiser = {"kind": kind, "interval_ms": ms, "thresh": settings.thresh, "stages": stages}
        quantiser |= sources[source] | own.model_dump(exclude_none=True)
        yield f"studies.{name}.{source}.{kind}.{size}.{ms}ms", source, ms, quantiser


def quantisers(name: str, settings: Settings, add: Callable) -> None:
    for place, *_, quantiser in compared(name, settings):
        add(place, quantiser)


def check(config: Any, name: str, settings: Settings) -> None:
    """Refuse a corpus without y, and chains that do not go from b to y_hat."""
    for part, entry in config.corpora[settings.corpus].parts.items():
        if entry.b and not entry.y:
            raise InputError(f"config: studies.{name}.corpus: part {part} has no y, which it is measured by")
    place, *_ = next(compared(name, settings))  # one of latents
    plain = {"networks": [settings.network, settings.manifold], "quantiser": place, "stages": [1]}
    of_latents = validate(RatedChain, plain, f"config: studies.{name}.network")
    for key, chain in {"network": of_latents, **{f"chains.{key}": one for key, one in settings.chains.items()}}.items():
        config.check_chain(f"studies.{name}.{key}", chain)


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    """Return the tables of all chains, each rated by a job of its own, and the anchors of the samples."""
    rows, chains = [], {}
    for place, source, ms, _ in compared(name, settings):
        quantiser = graph.config.quantisers[place]  # whose stages may be smaller, by max_entries
        row = {"source": source, "kind": quantiser.kind, "sizes": str(quantiser.stages[0].size), "interval_ms": ms}
        if row not in rows:
            rows.append(row)
            networks = [settings.network, settings.manifold] if source == "latents" else [settings.manifold]
            stages = [*range(1, len(quantiser.stages) + 1)]
            chains[len(rows)] = RatedChain(networks=networks, quantiser=place, stages=stages, mbest=settings.mbest)
    for label, chain in settings.chains.items():
        quantiser = graph.config.quantisers[chain.quantiser]
        sizes = "/".join(dict.fromkeys(str(stage.size) for stage in quantiser.stages[: max(chain.stages)]))
        ms = graph.config.send_every(quantiser) * graph.config.vector_ms(quantiser)
        rows.append({"source": label, "kind": quantiser.kind, "sizes": sizes, "interval_ms": ms})
        chains[len(rows)] = chain
    samples = {sample: graph.sample(sample) for sample in settings.samples}
    files = [_rated(graph, settings, chain, samples) for chain in chains.values()]
    rows = [row | {"file": file} for row, file in zip(rows, files, strict=True)]
    anchors = {name: graph.anchors(sample).file("measured.json") for name, sample in samples.items()}
    return shared.Summary({"kind": "bits", "name": name, "rows": rows}, files, anchors)


def _rated(graph: Any, settings: Settings, chain: RatedChain, samples: dict[str, Any]) -> str:
    """Return the file of the rates of a chain; its settings are those of `rates.RateSettings`."""
    config = graph.config
    used, _ = steps.with_initial(config, chain.networks, [chain.quantiser])
    stated = graph.stated(chain)
    b, y = graph.corpus(settings.corpus)
    others_b, others_y = graph.corpus(settings.corpus, held_out=True)
    corpus = {"features": b, "targets": y, "held_out_features": others_b, "held_out_targets": others_y}
    files = {name: {"speech": one.speech, "model": one.model, "b": one.b, "y": one.y} for name, one in samples.items()}
    rated = {
        **corpus,
        "steps": stated,
        "stages": chain.stages,
        # The share that none of the networks and codebooks was trained on.
        "held_out": min(_HELD_OUT, *(config.networks[network].held_out for network in used)),
        "thresh": settings.thresh,
        "seconds": settings.seconds,
        "samples": files,
    }
    inputs = {"trained": [path for path in shared.paths_in(stated) if path.startswith("results/")]}
    inputs |= corpus | {"samples": shared.paths_in(files)}
    label = chain.quantiser.removeprefix("studies.").replace(".", "_")
    return graph.rated(label, rated, **inputs).file("rates.csv")


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return rates and PESQ of all `rows`, tables of `mlquant rate`, and of the `anchors`, sorted by bit/s.

    A line is on the front when no other line of as few bit/s has a higher mean PESQ. The anchors, measures of each
    sample, are the modes of Codec 2, and what the vocoder makes without a rate. Raises InputError for means over
    other samples than the anchors'.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core.tables import read_table

    if not settings["rows"]:
        raise InputError("rows: none, expected at least one table of mlquant rate")
    anchors, parts = _anchors(settings["anchors"]), []
    samples = [name for name in anchors if name.startswith("pesq_")]
    for row in settings["rows"]:
        names = {"source": row["source"], "kind": row["kind"], "entries": row["sizes"]}
        part = read_table(row["file"], *rates.COLUMNS, what="a table of mlquant rate")
        if samples and {*part} - {*rates.COLUMNS} != {*samples}:
            found = ", ".join(name.removeprefix("pesq_") for name in part if name not in rates.COLUMNS) or "none"
            expected = ", ".join(name.removeprefix("pesq_") for name in samples)
            raise InputError(f"{row['file']}: samples {found}, expected those of the anchors, {expected}")
        parts.append(part.assign(**names)[[*names, *part]])
    table = pd.concat([*parts, anchors], ignore_index=True).sort_values(["bit_per_s", "pesq"], ignore_index=True)
    rate, pesq = table["bit_per_s"].to_numpy(float), table["pesq"].to_numpy(float)
    beaten = ((rate <= rate[:, None]) & (pesq > pesq[:, None])).any(axis=1)
    return {"bits": table.assign(on_front=~beaten & np.isfinite(rate) & np.isfinite(pesq))}


def _anchors(paths: list[str]) -> pd.DataFrame:
    """Return the measures of anchors, a row for each tag: mean PESQ, and that of each sample, NaN where it has none."""
    import pandas as pd

    from mlquant.core import disk

    rows: dict[str, dict] = {}
    for path in paths:
        measured = disk.read_json(path)
        disk.require(measured, path, "measures")
        for row in measured["measures"]:
            disk.require(row, path, "sample", "tag", "bits_per_frame", "frame_ms", "bit_per_s", "pesq")
            numbers = {"bits": "bits_per_frame", "interval_ms": "frame_ms", "bit_per_s": "bit_per_s"}
            source = {"source": "reference" if row["bit_per_s"] is None else "codec2", "kind": row["tag"]}
            line = rows.setdefault(row["tag"], source | {name: row[column] for name, column in numbers.items()})
            line[f"pesq_{row['sample']}"] = row["pesq"]
    table = pd.DataFrame([*rows.values()])
    table = table.astype({name: float for name in table if name not in ("source", "kind")})
    return table.assign(pesq=table.filter(regex="^pesq_").mean(axis=1, skipna=False))


COLUMNS = {
    "source": "what is quantised: b, latents, or a chain of the study; codec2 for its modes, reference for what "
    "has no rate",
    "kind": "kind of the quantiser, or name of the chain, of the mode or of the reference",
    "entries": "entries of the codebook of each stage",
    "stages": "stages in use",
    "bits": "bits of one vector",
    "interval_ms": "time between two vectors, in ms",
    "bit_per_s": "bit rate",
    "sd_b_training_dB2": "mean squared error of b_hat on training vectors, in dB²",
    "sd_b_held_out_dB2": "the same on vectors that the training holds out",
    "sd_b_unseen_dB2": "the same on voices that nothing was trained on",
    "sd_training_dB2": "spectral distortion of y_hat in voiced frames, on training vectors, in dB²",
    "sd_held_out_dB2": "the same on vectors that the training holds out",
    "sd_unseen_dB2": "the same on voices that nothing was trained on",
    "pesq": "mean PESQ of the samples",
    "pesq_*": "PESQ of each sample, against its source",
    "on_front": "True where no other line of as few bit/s has a higher mean PESQ",
}


# the figure


def figure(figure: Any, folder: Path) -> None:
    import pandas as pd
    from matplotlib.lines import Line2D

    from mlquant.core.colours import LIGHT
    from mlquant.core.figures import DASHES, label_points, legend_below, say_nothing_there
    from mlquant.core.tables import read_table

    figure.set_size_inches(7.5, 5)
    table = read_table(folder / "bits.csv", "source", "kind", "entries", "interval_ms", "bit_per_s", "pesq")
    ideal = table[(table["source"] == "reference") & (table["kind"] == "ideal_y")].dropna(subset=["pesq"])
    table = table.dropna(subset=["bit_per_s", "pesq"])
    codec2, ours = (table[(table["source"] == "codec2") == there] for there in (True, False))
    chain = ["source", "kind", "interval_ms"]
    alone = ours.groupby(chain)["pesq"].transform("size") == 1
    single, ours = ours[alone], ours[~alone]
    colours = {names: LIGHT[i % len(LIGHT)] for i, (names, _) in enumerate(ours.groupby(chain[:2]))}
    lines, markers = (
        {value: styles[i % len(styles)] for i, value in enumerate(sorted(ours[column].unique()))}
        for column, styles in (("interval_ms", DASHES), ("entries", "osv^"))
    )

    axis = figure.subplots()
    for (*names, interval), part in ours.groupby(chain):
        best, colour = part.groupby("bit_per_s")["pesq"].max(), colours[tuple(names)]
        axis.plot(best.index, best, c=colour, ls=lines[interval], lw=1)
        for entries, points in part.groupby("entries"):
            axis.plot(points["bit_per_s"], points["pesq"], c=colour, ls="", marker=markers[entries])
    axis.plot(codec2["bit_per_s"], codec2["pesq"], "ks--", lw=0.7)
    axis.plot(single["bit_per_s"], single["pesq"], "D", c="w", mec="k", ms=5)
    if table.empty:
        say_nothing_there(axis, "PESQ was not measured")
    for pesq in ideal["pesq"]:
        axis.axhline(pesq, color="0.5", lw=1)
    axis.set(ylabel="mean PESQ (1 to 4.5)", xscale="log", ymargin=0.08)
    axis.set_xlabel("bit rate (bit/s): ours of the spectrum alone, Codec 2's of everything")

    legend = [(", ".join(names), {"c": colour}) for names, colour in colours.items()]
    legend += [(f"every {interval:g} ms", {"c": "0.4", "ls": line}) for interval, line in lines.items()]
    for size, marker in markers.items():
        entries = size if isinstance(size, str) else f"{size:g}"
        legend.append((f"{entries} entries a stage", {"c": "0.4", "ls": "", "marker": marker}))
    legend += [("chain of one rate", {"c": "w", "mec": "k", "ls": "", "marker": "D"})] if len(single) else []
    legend += [("Codec 2", {"c": "k", "ls": "--", "marker": "s", "lw": 0.7})] if len(codec2) else []
    legend += [("y, not quantised", {"c": "0.5"})] if len(ideal) else []
    legend_below(figure, [Line2D([], [], label=label, **style) for label, style in legend])

    # A single chain is named by as much of its names as tells it from the others.
    named = next(columns for columns in (chain[:1], chain[:2], chain) if not single.duplicated(columns).any())
    single = single.assign(interval_ms=single["interval_ms"].map("{:g} ms".format))
    texts = [*map(", ".join, single[named].to_numpy()), *codec2["kind"]]
    label_points(axis, texts, pd.concat([single, codec2])[["bit_per_s", "pesq"]].to_numpy())


# in the report

TITLE = "What bits buy"
SECTION, PLACE = "Bit rate and quality", 70


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import formatted, laid_out, read_rows

    needed = ("source", "kind", "entries", "stages", "interval_ms", "bit_per_s", "sd_b_unseen_dB2", "sd_unseen_dB2")
    table = read_rows(folder / "bits.csv", *needed, "pesq", "on_front")
    anchors = table["source"].isin(["codec2", "reference"])
    ours, codec2 = table[~anchors & table["pesq"].notna()], table[table["source"] == "codec2"]
    front = ours[ours["on_front"]]
    modes = []
    for mode in codec2.to_dict("records"):
        within, good = ours[ours["bit_per_s"] <= mode["bit_per_s"]], ours[ours["pesq"] >= mode["pesq"]]
        best = within.loc[within["pesq"].idxmax()].to_dict() if len(within) else {}
        modes.append({**mode, "best": best, "as_good": good["bit_per_s"].min() if len(good) else None})
    whole = table[(table["source"] == "reference") & (table["kind"] == "ideal_y")]["pesq"]
    facts = {
        "rows": int((~anchors).sum()),
        "samples": [name.removeprefix("pesq_") for name in table if name.startswith("pesq_")],
        "highest": ours.loc[ours["pesq"].idxmax()].to_dict() if len(ours) else None,
        "ideal": whole.iloc[0] if len(whole) else None,
        "modes": [mode for mode in modes if formatted(mode["pesq"]) and mode["best"]],
    }
    best = laid_out(
        "What no other has a higher mean PESQ than, of as few bit/s",
        ("quantised", front["source"], "s"),
        ("kind", front["kind"], "s"),
        ("entries", front["entries"], "g"),
        ("stages", front["stages"], "g"),
        ("in ms", front["interval_ms"], "g"),
        ("bit/s", front["bit_per_s"], "g"),
        ("SD of b, other voices (dB²)", front["sd_b_unseen_dB2"], ".2f"),
        ("SD, other voices (dB²)", front["sd_unseen_dB2"], ".2f"),
        ("PESQ", front["pesq"], ".2f"),
    )
    with_codec2 = laid_out(
        "Beside the modes of Codec 2",
        ("Codec 2", [mode["kind"] for mode in modes], "s"),
        ("bit/s", [mode["bit_per_s"] for mode in modes], "g"),
        ("PESQ", [mode["pesq"] for mode in modes], ".2f"),
        ("best PESQ of no more bit/s", [mode["best"].get("pesq") for mode in modes], ".2f"),
        ("of", [_in_words(mode["best"]) for mode in modes], "s"),
        ("its bit/s", [mode["best"].get("bit_per_s") for mode in modes], "g"),
        ("PESQ as high from, bit/s", [mode["as_good"] for mode in modes], "g"),
    )
    return facts, [best, with_codec2]


def _in_words(row: dict) -> str:
    """Return what was quantised and how."""
    return f"{row['source']}, {row['kind']}, {row['interval_ms']:g} ms" if row else ""


WORDS = {
    "question": """
How good is the speech at each bit rate, by what is quantised and how, and beside Codec 2?
""",
    "setup": """
<p>{{ part.facts.rows }} rates: quantisers of b and of latents, with each number of their stages, at several intervals.
{% if part.facts.highest %}
PESQ is the mean over {{ listed(part.facts.samples) }}.
{% endif %}
Pitch, voicing and energy are not quantised, and their bits are not in the rates; those of Codec 2 hold everything.</p>
""",
    "findings": """
{% set facts = part.facts %}
{% if facts.highest %}
<p>The highest mean PESQ is {{ facts.highest.pesq | num(".2f") }}, at {{ facts.highest.bit_per_s | num("g") }} bit/s
({{ facts.highest.source }}, {{ facts.highest.kind }})
{%- if facts.ideal is not none %}; y that is not quantised has {{ facts.ideal | num(".2f") }}{% endif %}.</p>
{% if facts.modes %}
<ul>
{% for mode in facts.modes %}
<li>Codec 2 {{ mode.kind }} has {{ mode.pesq | num(".2f") }}; the best of no more bit/s
{{ mode.best.pesq | num(".2f") }} ({{ mode.best.source }}, {{ mode.best.kind }},
{{ mode.best.bit_per_s | num("g") }} bit/s).</li>
{% endfor %}
</ul>
{% endif %}
{% else %}
<p>PESQ was not measured. The logs of the rules rate and measure say why. Once the Python package pesq is installed,
<code>snakemake TARGET -R rate measure</code> measures it.</p>
{% endif %}
""",
    "caption": "Mean PESQ against bit/s; a line for what is quantised, the kind of the quantiser and the interval.",
}
