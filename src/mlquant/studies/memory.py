"""How good is a codec for its memory and its work, and what does rounding its tables to 8 bits cost?

Codecs of several sizes are measured on all utterances of a test set. If one has a twin with `eight_bit`, its tables are
also rounded without more training. Sizes are those of all tables as they are stored, work is that of the decoder's
networks and predictors. Intervals are of 95 %, by bootstrap over speakers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from mlquant.chains.settings import Mode, Output
from mlquant.core.blocks import Block
from mlquant.core.stage import Setting
from mlquant.studies import measures, shared

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FLOAT, ROUNDED, TRAINED = "32 bits", "rounded to 8 bits", "trained for 8 bits"


class Settings(Block):
    """Quality of codecs against the size of their tables and the work of their decoders, on a test set."""

    kind: Annotated[Literal["memory"], Setting(help="which study it is")]
    codecs: Annotated[list[str], Field(min_length=1), Setting(help="names of codecs, of any sizes")]
    test_set: Annotated[str, Setting(help="the test set that they are measured on")]
    modes: Annotated[list[Mode], Setting(help="modes of Codec 2 beside them, in bit/s")] = []
    in_all: Annotated[bool, Setting(help="whether `snakemake all_studies` makes it")] = True

    @model_validator(mode="after")
    def _each_once(self) -> Settings:
        for name in ("codecs", "modes"):
            shared.refuse_repeated(name, getattr(self, name))
        return self


def check(config: Any, name: str, settings: Settings) -> None:
    """Refuse a name that is not that of a codec."""
    shared.check_codecs(config, name, settings.codecs)


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    """Return the folders of the codecs, and the measures of each of them on each shard of the test set."""
    shards, rows, nodes, folders = graph.test_set(settings.test_set), [], [], []
    entries = {codec: graph.config.codecs[codec] for codec in settings.codecs}
    parents = {_but_for_bits(entry): codec for codec, entry in entries.items() if not entry.eight_bit}
    twins = {_but_for_bits(entry): codec for codec, entry in entries.items() if entry.eight_bit}

    def measured(named: str, output: Output, row: dict, condition: str = "clean", changes: dict | None = None) -> None:
        made = [graph.set_measures(shard, output, condition, changes) for shard in shards]
        nodes.extend(made)
        rows.append({"codec": named, **row, "files": [node.file("measures.csv") for node in made]})

    for codec, entry in entries.items():
        node, like = graph.codec(codec), _but_for_bits(entry)
        output = Output(tag=codec, process="codec", codec=codec)
        row = {"folder": node.file("codec.json"), "tables": TRAINED if entry.eight_bit else FLOAT}
        folders += [node.file("codec.json"), node.file("tables.safetensors")]
        measured(codec, output, row | {"than": parents.get(like) if entry.eight_bit else None})
        if not entry.eight_bit and like in twins:
            measured(codec, output, row | {"tables": ROUNDED, "than": codec}, "rounded", {"rounded": True})
    for mode in settings.modes:
        measured(f"Codec 2 {mode}", Output(tag=mode, process="codec2", mode=mode), {"tables": "", "than": None})
    files = measures.files_of_set(graph, shards, nodes)
    paths = [path for row in rows for path in row["files"]] + folders + shared.paths_in(files)
    given = settings.model_dump(include={"kind", "test_set"}) | {"conditions": rows, **files}
    return shared.Summary({**given, "name": name}, [*dict.fromkeys(paths)], {})


def _but_for_bits(entry: Any) -> str:
    return entry.model_dump_json(exclude={"eight_bit"})


# the tables


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the means of each codec with its size and work, and what 8 bits cost, paired by utterance.

    Raises InputError for tables of other utterances, for a set without any, and for an utterance that a codec was
    trained on.
    """
    import pandas as pd

    from mlquant.codecs import files

    rows, means, costs = settings["conditions"], [], []
    values, speakers = measures.values_of(settings, [_name(row) for row in rows])
    for row in rows:
        size = [float("nan")] * 3
        if "folder" in row:
            codec, _ = files.read(Path(row["folder"]))
            size = [codec.bit_rate, codec.table_bytes(row["tables"] != FLOAT) / 1000, codec.multiplications / 1e6]
        for measure, of in values.items():
            one: np.ndarray | None = of.get(_name(row))
            if one is not None:
                mean, counts, interval = measures.estimated(one, speakers)
                means.append([row["codec"], row["tables"], *size, measure, *counts, mean, *interval])
            before = None if row["than"] is None else of.get(f"{row['than']}, {FLOAT}")
            if one is not None and before is not None and (pair := measures.paired(measure, before, one, speakers)):
                costs.append([row["than"], row["tables"], measure, *pair])
    sizes = ["bit_per_s", "kB", "million_per_s"]
    heads = ["codec", "tables", *sizes, "measure", "utterances", "speakers", "mean", "low", "high"]
    return {
        "sizes": pd.DataFrame(means, columns=heads),
        "rounding": pd.DataFrame(costs, columns=["codec", "tables", "measure", *measures.PAIRED]),
    }


def _name(row: dict) -> str:
    return f"{row['codec']}, {row['tables']}"


COLUMNS = {
    "codec": "name of the codec, or Codec 2 and its mode",
    "tables": "how its numbers are stored: with 32 bits; rounded to 8 bits after its training; or with 8 bits, as "
    "it was trained for",
    "bit_per_s": "its bit/s",
    "kB": "size of all its tables as they are stored, in 1000 bytes",
    "million_per_s": "multiplications of a decoder's networks and predictors for a second of speech, in millions",
    **{name: measures.COLUMNS[name] for name in ("measure", "utterances", "speakers", "mean", "low", "high")},
    "difference": "mean over the utterances of a difference of the measure: with 8 bits less with 32",
    "beyond_chance": measures.COLUMNS["beyond_chance"],
    "verdict": "what the interval says: whether it is better or worse with 8 bits, or that it cannot tell",
}


# the figure


def figure(figure: Any, folder: Path) -> None:
    import numpy as np
    from matplotlib.lines import Line2D

    from mlquant.core.colours import LIGHT
    from mlquant.core.figures import legend_below, say_nothing_there
    from mlquant.core.tables import read_table

    figure.set_size_inches(8, 6.5)
    names = ("codec", "tables", "kB", "million_per_s", "measure", "mean", "low", "high")
    table = read_table(folder / "sizes.csv", *names)
    styles = {
        FLOAT: {"c": LIGHT[0], "marker": "s"},
        ROUNDED: {"c": LIGHT[1], "marker": "v"},
        TRAINED: {"c": LIGHT[2], "marker": "o"},
    }
    others = dict.fromkeys(table.loc[table["kB"].isna(), "codec"])
    modes = {mode: {"c": LIGHT[3 + i % (len(LIGHT) - 3)], "ls": "--", "lw": 0.9} for i, mode in enumerate(others)}
    axes = figure.subplots(2, 2)
    words = {"kB": "all tables (kB)", "million_per_s": "multiplications (million a second)"}
    for line, measure in zip(axes, ("pesq", "estoi"), strict=True):
        for axis, (column, label) in zip(line, words.items(), strict=True):
            part = table[table["measure"] == measure]
            for stored, style in styles.items():
                of = part[part["tables"] == stored]
                around = np.nan_to_num(np.abs(np.stack([of["mean"] - of["low"], of["high"] - of["mean"]])))
                axis.errorbar(of[column], of["mean"], around, ls="", elinewidth=1, capsize=2, ms=4, **style)
            for mode, mean in part.loc[part["kB"].isna(), ["codec", "mean"]].itertuples(index=False):
                axis.axhline(mean, **modes[mode])
            if part.empty:
                say_nothing_there(axis, f"{measures.label_of(measure)} was not measured")
            axis.set(xlabel=label, xscale="log", ylabel=f"mean {measures.heading_of(measure)}")
    lines = [Line2D([], [], ls="", label=stored, **style) for stored, style in styles.items()]
    legend_below(figure, lines + [Line2D([], [], label=mode, **style) for mode, style in modes.items()])


# in the report

TITLE = "Memory and work of whole codecs"
SECTION, PLACE = "Whole codecs", 76


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows, read_table

    names = ("codec", "tables", "bit_per_s", "kB", "million_per_s", "measure", "mean", "low", "high")
    means = read_rows(folder / "sizes.csv", *names)
    costs = read_table(folder / "rounding.csv", "codec", "tables", "measure", "difference", "low", "high", "verdict")
    shown = measures.in_order(means["measure"])
    means = means.fillna({"tables": ""})
    rows, cell = means.drop_duplicates(["codec", "tables"]), measures.cells_of(means, "mean", "codec", "tables")
    keys = [*zip(rows["codec"], rows["tables"], strict=True)]
    of_sizes = laid_out(
        "Means and half the widths of their intervals",
        ("codec", rows["codec"], "s"),
        ("tables", rows["tables"], "s"),
        ("kB", rows["kB"], ".0f"),
        ("million/s", rows["million_per_s"], ".1f"),
        *((measures.heading_of(one), [cell(one, *key) for key in keys], "") for one in shown),
    )
    pairs, cost = costs.drop_duplicates(["codec", "tables"]), measures.cells_of(costs, "difference", "codec", "tables")
    keys = [*zip(pairs["codec"], pairs["tables"], strict=True)]
    of_rounding = laid_out(
        "What 8 bits cost: the difference from 32 bits, and half the width of its interval",
        ("codec", pairs["codec"], "s"),
        ("tables", pairs["tables"], "s"),
        *((measures.heading_of(one), [cost(one, *key) for key in keys], "") for one in shown),
    )
    of_pesq = costs[costs["measure"] == "pesq"]
    ours = means[(means["measure"] == "pesq") & means["tables"].isin([FLOAT, TRAINED])].sort_values("kB")
    facts = {
        "utterances": int(means["utterances"].max()),
        "speakers": int(means["speakers"].max()),
        "sizes": ours[["codec", "tables", "kB", "mean"]].to_dict("records"),
        "rounding": of_pesq[["codec", "tables", "difference", "verdict"]].to_dict("records"),
    }
    return facts, [of_sizes, of_rounding]


WORDS = {
    "question": """
How good is a codec for the memory of its tables and for the work of its decoder, and what does rounding all of its
numbers to 8 bits cost, before and after training for it?
""",
    "setup": """
<p>{{ listed(part.settings.codecs) }}{% if part.settings.modes %} and the modes {{ listed(part.settings.modes) }} of
Codec 2{% endif %}, on the {{ part.facts.utterances }} utterances of the test set
<code>{{ part.settings.test_set }}</code>, by {{ part.facts.speakers }} speakers. With 8 bits a matrix has a scale for
each row, a codebook one for each element. In the training for 8 bits the quantisers are rounded in each round, and the
network is trained on with rounded weights. Intervals are of 95 %, by bootstrap over speakers; differences are paired by
utterance.</p>
""",
    "findings": """
<ul>
{% for one in part.facts.rounding %}
<li>{{ one.codec }}, {{ one.tables }}: PESQ {{ one.difference | num("+.3f") }} against 32 bits
{%- if one.verdict == "cannot tell" %}, not beyond chance{% endif %}.</li>
{% endfor %}
{% for one in part.facts.sizes %}{% if loop.first or loop.last %}
<li>{{ one.codec }}, {{ one.tables }}, has a PESQ of {{ one.mean | num(".2f") }} with {{ one.kB | num(".0f") }} kB.</li>
{% endif %}{% endfor %}
</ul>
""",
    "caption": "PESQ and ESTOI against the size of all tables, and against the multiplications of the decoder.",
}
