"""What does each part of a whole codec cost, and what do wrong bits and lost frames, beside the modes of Codec 2?

Each codec is measured on all utterances of a test set as it is, with each of its parts alone not quantised, with all of
them not quantised, with wrong bits, and with lost superframes; each mode of Codec 2 with the same errors. A lost one is
a superframe, or a frame of Codec 2. Intervals are of 95 %, by bootstrap over speakers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from mlquant.chains.settings import Mode, Output
from mlquant.core.blocks import Block
from mlquant.core.stage import Setting
from mlquant.core.types import Seed
from mlquant.studies import measures, shared
from mlquant.vocoder.types import MODES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CLEAN = "clean"
PARTS = ("pitch", "voicing", "energy", "shape")
Rate = Annotated[float, Setting(gt=0, le=1)]


class Settings(Block):
    """What the parts of codecs cost, and what errors do to them and to Codec 2, on a test set."""

    kind: Annotated[Literal["codec"], Setting(help="which study it is")]
    codecs: Annotated[list[str], Field(min_length=1), Setting(help="names of codecs")]
    test_set: Annotated[str, Setting(help="the test set that they are measured on")]
    modes: Annotated[list[Mode], Setting(help="modes of Codec 2, in bit/s")] = [*MODES]
    bers: Annotated[list[Rate], Setting(help="shares of bits that are wrong")] = [0.001, 0.01, 0.03, 0.05]
    losses: Annotated[list[Rate], Setting(help="shares of superframes, or frames of Codec 2, that are lost")] = [
        *(0.01, 0.05, 0.1)
    ]
    seed: Seed = 1
    in_all: Annotated[bool, Setting(help="whether `snakemake all_studies` makes it")] = True

    @model_validator(mode="after")
    def _each_once(self) -> Settings:
        for name in ("codecs", "modes", "bers", "losses"):
            shared.refuse_repeated(name, map(_short, getattr(self, name)))
        return self


def _short(value: str | float) -> str:
    """Return a value as it stands in the name of a condition."""
    return value if isinstance(value, str) else f"{value:g}"


class Condition(NamedTuple):
    """A condition of a codec or of a mode of Codec 2: what is done to it besides, as `measure-set` takes it."""

    name: str
    coding: dict[str, Any] = {}


def conditions(settings: Settings, *, of_codec: bool) -> Iterator[Condition]:
    """Give all conditions of a codec, or of a mode of Codec 2, which has no parts."""
    yield Condition(CLEAN)
    if of_codec:
        for part in PARTS:
            yield Condition(f"exact {part}", {"exact": [part]})
        yield Condition("exact all", {"exact": [*PARTS]})
    for name, values in (("ber", settings.bers), ("lost", settings.losses)):
        for value in values:
            yield Condition(f"{name} {_short(value)}", {name: value, "seed": settings.seed})


def check(config: Any, name: str, settings: Settings) -> None:
    """Refuse a name that is not that of a codec."""
    shared.check_codecs(config, name, settings.codecs)


def chains(config: Any, settings: Settings) -> list[Output]:
    """Return none: a codec has no networks and quantisers in a chain; the record names it itself."""
    return []


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    """Return the measures of each condition on each shard of the test set.

    What an experiment measures of a codec or mode on the same test set is not measured again. The manifests of corpora
    come along, as no codec may be trained on an utterance.
    """
    shards, rows, nodes = graph.test_set(settings.test_set), [], []

    def measured(codec: str, rates: dict[str, float], output: Output) -> None:
        """Add a row for each condition; `rates` are bit/s, of each part and of all."""
        for one in conditions(settings, of_codec=output.process == "codec"):
            made = [graph.set_measures(shard, output, one.name.replace(" ", "_"), one.coding) for shard in shards]
            nodes.extend(made)
            part = one.name.removeprefix("exact ") if "exact" in one.coding else None
            row = {"codec": codec, "bit_per_s": rates["all"], "condition": one.name}
            row |= {"part": part, "part_bit_per_s": part and rates[part]}
            rows.append(row | {"files": [node.file("measures.csv") for node in made]})

    for codec in settings.codecs:
        entry = graph.config.codecs[codec]
        bits, seconds = graph.config.bits_of_parts(entry), 0.01 * graph.config.superframe(entry)
        rates = {part: count / seconds for part, count in {**bits, "all": sum(bits.values())}.items()}
        measured(codec, rates, Output(tag=codec, process="codec", codec=codec))
    for mode in settings.modes:
        sent, frame_ms, _ = MODES[mode]
        measured(f"Codec 2 {mode}", {"all": 1000 * sent / frame_ms}, Output(tag=mode, process="codec2", mode=mode))
    files = measures.files_of_set(graph, shards, nodes)
    paths = [path for row in rows for path in row["files"]] + shared.paths_in(files)
    given = settings.model_dump(include={"kind", "test_set"}) | {"conditions": rows, **files}
    return shared.Summary({**given, "name": name}, [*dict.fromkeys(paths)], {})


# the tables


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the means of each condition, and the differences that parts, errors and codecs make, paired by utterance.

    Raises InputError for tables of other utterances, for a set without any, and for an utterance that a codec was
    trained on.
    """
    rows = settings["conditions"]
    values, speakers = measures.values_of(settings, [_name(row["codec"], row["condition"]) for row in rows])
    pairs = _pairs(rows)
    return {
        "conditions": _means(rows, values, speakers),
        "parts": _differences(pairs["parts"], ["codec", "part", "bit_per_s"], values, speakers),
        "errors": _differences(pairs["errors"], ["codec", "bit_per_s", "condition"], values, speakers),
        "against": _differences(
            pairs["against"], ["codec", "bit_per_s", "codec_b", "bit_per_s_b", "condition"], values, speakers
        ),
    }


def _name(codec: str, condition: str) -> str:
    return f"{codec}, {condition}"


def _pairs(rows: list[dict]) -> dict[str, list[tuple[list, str, str]]]:
    """Return for each table of differences its pairs: first cells, and the names of the first and the other condition.

    The other one is looked at: what it is more than the first is the difference.
    """
    found: dict[str, list[tuple[list, str, str]]] = {"parts": [], "errors": [], "against": []}
    ours = [row for row in rows if not row["codec"].startswith("Codec 2 ")]
    theirs = [row for row in rows if row not in ours]
    for row in rows:
        clean, own = (_name(row["codec"], condition) for condition in (CLEAN, row["condition"]))
        if row["part"]:
            found["parts"].append(([row["codec"], row["part"], row["part_bit_per_s"]], clean, own))
        elif row["condition"] != CLEAN:
            found["errors"].append(([row["codec"], row["bit_per_s"], row["condition"]], clean, own))
    for row in ours:
        for other in theirs:
            if other["condition"] == row["condition"]:
                cells = [row["codec"], row["bit_per_s"], other["codec"], other["bit_per_s"], row["condition"]]
                names = (_name(one["codec"], one["condition"]) for one in (other, row))
                found["against"].append((cells, *names))
    return found


def _means(rows: list[dict], values: dict[str, dict[str, np.ndarray]], speakers: np.ndarray) -> pd.DataFrame:
    """Return the mean of each measure of each condition that has it, with its interval."""
    import pandas as pd

    found = []
    for row in rows:
        for measure, of in values.items():
            if (one := of.get(_name(row["codec"], row["condition"]))) is not None:
                mean, counts, interval = measures.estimated(one, speakers)
                found.append([row["codec"], row["bit_per_s"], row["condition"], measure, *counts, mean, *interval])
    heads = ["codec", "bit_per_s", "condition", "measure", "utterances", "speakers", "mean", "low", "high"]
    return pd.DataFrame(found, columns=heads)


def _differences(
    pairs: list[tuple[list, str, str]], heads: list[str], values: dict[str, dict[str, np.ndarray]], speakers: np.ndarray
) -> pd.DataFrame:
    """Return the paired differences of each measure; the first cells of each pair have these heads."""
    import pandas as pd

    found = []
    for cells, one, other in pairs:
        for measure, of in values.items():
            if one in of and other in of and (row := measures.paired(measure, of[one], of[other], speakers)):
                found.append([*cells, measure, *row])
    return pd.DataFrame(found, columns=[*heads, "measure", *measures.PAIRED])


COLUMNS = {
    "codec": "name of the codec, or Codec 2 and its mode",
    "bit_per_s": "its bit/s; of parts, those that the part takes",
    "condition": "clean, as it is; exact and a part, which alone is not quantised, or all; ber and the share of bits "
    "that are wrong; lost and the share of superframes, or of frames of Codec 2, that are lost",
    "part": "the part that is not quantised; all means pitch, voicing, energy and shape",
    "codec_b": "the mode of Codec 2 that it is compared with, in the same condition",
    "bit_per_s_b": "bit/s of that mode",
    **{name: measures.COLUMNS[name] for name in ("measure", "utterances", "speakers", "mean", "low", "high")},
    "difference": "mean over the utterances of a difference of the measure: of parts, with the part not quantised less "
    "the codec as it is, which is what quantising it costs; of errors, with them less without; of against, the codec "
    "less the mode",
    "beyond_chance": measures.COLUMNS["beyond_chance"],
    "verdict": "what the interval says: whether it is better or worse with the part not quantised, with the errors, or "
    "than the mode; or that it cannot tell",
}


# the figure


def figure(figure: Any, folder: Path) -> None:
    import numpy as np
    from matplotlib.lines import Line2D

    from mlquant.core.colours import LIGHT
    from mlquant.core.figures import legend_below, say_nothing_there
    from mlquant.core.tables import read_table

    figure.set_size_inches(8, 6.5)
    table = read_table(folder / "conditions.csv", "codec", "bit_per_s", "condition", "measure", "mean", "low", "high")
    axes, styles = figure.subplots(2, 2).ravel(), {}
    for i, codec in enumerate(dict.fromkeys(table["codec"])):
        theirs = codec.startswith("Codec 2 ")
        ends = {"ls": "--", "marker": "s", "ms": 3, "lw": 0.9} if theirs else {"ls": "-", "marker": "o", "lw": 1.6}
        styles[codec] = ends | {"c": LIGHT[i % len(LIGHT)]}
    drawn = [("pesq", CLEAN), ("estoi", CLEAN), ("pesq", "ber"), ("pesq", "lost")]
    for axis, (measure, condition) in zip(axes, drawn, strict=True):
        part = table[(table["measure"] == measure) & table["condition"].str.startswith((condition, CLEAN))]
        for codec, of in part.groupby("codec", sort=False):
            if condition == CLEAN:
                around = np.abs(np.stack([of["mean"] - of["low"], of["high"] - of["mean"]]))
                style = styles[codec] | {"ls": "", "elinewidth": 1, "capsize": 2}
                axis.errorbar(of["bit_per_s"], of["mean"], np.nan_to_num(around), **style)
                continue
            at = [0.0 if name == CLEAN else 100 * float(name.split()[1]) for name in of["condition"]]
            of = of.assign(at=at).sort_values("at")
            axis.plot(of["at"], of["mean"], **styles[codec])
        if part.empty:
            say_nothing_there(axis, f"{measures.label_of(measure)} was not measured")
        axis.set_ylabel(f"mean {measures.heading_of(measure)}")
    for axis in axes[:2]:
        axis.set(xlabel="bit rate (bit/s)", xscale="log")
    axes[2].set_xlabel("wrong bits (%)")
    axes[3].set_xlabel("lost superframes, or frames of Codec 2 (%)")
    legend_below(figure, [Line2D([], [], label=codec, **style) for codec, style in styles.items()])


# in the report

TITLE = "Parts and errors of whole codecs"
SECTION, PLACE = "Whole codecs", 75


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows, read_table

    means = read_rows(folder / "conditions.csv", "codec", "bit_per_s", "condition", "measure", "mean", "low", "high")
    of_pair = ("codec", "measure", "difference", "low", "high", "verdict")
    parts = read_table(folder / "parts.csv", "part", "bit_per_s", *of_pair)
    errors = read_table(folder / "errors.csv", "condition", *of_pair)
    against = read_table(folder / "against.csv", "codec_b", "condition", *of_pair)
    shown = measures.in_order(means["measure"])
    clean = means[means["condition"] == CLEAN]
    rates = dict(zip(means["codec"], means["bit_per_s"], strict=True))
    facts = {
        "utterances": int(means["utterances"].max()),
        "speakers": int(means["speakers"].max()),
        "codecs": [
            {"codec": name, **_costs(parts, name), **_worst(errors, name), "modes": _modes(against, name)}
            for name in rates
            if not name.startswith("Codec 2 ")
        ],
    }
    cell = measures.cells_of(clean, "mean", "codec")
    of_means = laid_out(
        "As they are: means and half the widths of their intervals",
        ("codec", rates, "s"),
        ("bit/s", rates.values(), ".0f"),
        *((measures.heading_of(one), [cell(one, name) for name in rates], "") for one in shown),
    )
    rows = parts.drop_duplicates(["codec", "part"])
    keys, cell = (
        [*zip(rows["codec"], rows["part"], strict=True)],
        measures.cells_of(parts, "difference", "codec", "part"),
    )
    of_parts = laid_out(
        "What quantising costs: the difference when a part is not quantised, and half the width of its interval",
        ("codec", rows["codec"], "s"),
        ("not quantised", rows["part"], "s"),
        ("its bit/s", rows["bit_per_s"], ".0f"),
        *((measures.heading_of(one), [cell(one, *key) for key in keys], "") for one in shown),
    )
    of_pesq = means[(means["measure"] == "pesq") & ~means["condition"].str.startswith("exact")]
    cell = measures.cells_of(of_pesq, "mean", "condition", "codec")
    of_errors = laid_out(
        "PESQ with wrong bits (ber) and lost frames: means and half the widths of their intervals",
        ("codec", rates, "s"),
        *((one, [cell("pesq", one, name) for name in rates], "") for one in dict.fromkeys(of_pesq["condition"])),
    )
    compared = against[against["condition"] == CLEAN].groupby(["codec", "codec_b"], sort=False)
    told = {pair: {of: _measures_of(one, of) for of in _VERDICTS} for pair, one in compared}
    of_modes = laid_out(
        "Beside the modes of Codec 2, as they are: the measures by which a codec is better or worse beyond chance",
        ("codec", [codec for codec, _ in told], "s"),
        ("beside", [mode for _, mode in told], "s"),
        *((of, [one[of] for one in told.values()], "s") for of in _VERDICTS),
    )
    return facts, [of_means, of_parts, of_errors, of_modes]


_VERDICTS = ("better", "worse", "cannot tell")


def _costs(parts: pd.DataFrame, codec: str) -> dict:
    """Return the part of a codec that costs the most PESQ, and what that and all of them cost; None where unknown."""
    of = parts[(parts["codec"] == codec) & (parts["measure"] == "pesq")].set_index("part")
    alone = of.drop(index="all", errors="ignore")
    most = alone["difference"].idxmax() if len(alone) else None
    facts = {"part": most, "cost": None if most is None else float(alone.loc[most, "difference"])}
    facts["beyond_chance"] = most is not None and alone.loc[most, "verdict"] == "better"
    return facts | {"all": float(of.loc["all", "difference"]) if "all" in of.index else None}


def _worst(errors: pd.DataFrame, codec: str) -> dict:
    """Return the condition with errors in which a codec loses the most PESQ, and how much; None where unknown."""
    of = errors[(errors["codec"] == codec) & (errors["measure"] == "pesq")].set_index("condition")["difference"]
    return {"worst": of.idxmin() if len(of) else None, "loss": -float(of.min()) if len(of) else None}


def _modes(against: pd.DataFrame, codec: str) -> dict[str, list[str]]:
    """Return the modes than which a codec, as it is, is better by PESQ, worse, or neither beyond chance."""
    of = against[(against["codec"] == codec) & (against["condition"] == CLEAN) & (against["measure"] == "pesq")]
    return {
        told: [mode.removeprefix("Codec 2 ") for mode in of["codec_b"][of["verdict"] == told]] for told in _VERDICTS
    }


def _measures_of(pairs: pd.DataFrame, verdict: str) -> str:
    """Return the labels of the measures with a verdict."""
    return ", ".join(map(measures.label_of, measures.in_order(pairs["measure"][pairs["verdict"] == verdict])))


WORDS = {
    "question": """
What does each part of a whole codec cost, and what do wrong bits and lost frames, beside the modes of Codec 2?
""",
    "setup": """
<p>{{ listed(part.settings.codecs) }}{% if part.settings.modes %} and the modes {{ listed(part.settings.modes) }} of
Codec 2{% endif %}, on the {{ part.facts.utterances }} utterances of the test set
<code>{{ part.settings.test_set }}</code>, by {{ part.facts.speakers }} speakers. In each codec pitch, voicing, energy
and the shape of the spectrum are left unquantised, one at a time and all at once. Bits are turned over at random, and
superframes of a codec, or frames of Codec 2, are lost at random; in place of a lost frame of Codec 2 the one before is
decoded again. Intervals are of 95 %, by bootstrap over speakers; differences are paired by utterance. Each of many is
looked at by itself, so that one in twenty would seem to be beyond chance without being so.</p>
""",
    "findings": """
<ul>
{% for one in part.facts.codecs %}
<li>{{ one.codec }}:
{% if one.part %} of its parts, {{ one.part }} costs the most PESQ ({{ one.cost | num(".2f") }}
{%- if not one.beyond_chance %}, not beyond chance{% endif %}), all together {{ one.all | num(".2f") }}.{% endif %}
{% if one.worst and one.loss > 0 %} It loses the most PESQ with {{ one.worst | replace("ber", "a bit error rate of") |
replace("lost", "a loss of") }}, {{ one.loss | num(".2f") }}.{% endif %}
{% if one.modes.better %} By PESQ it is better than Codec 2 at {{ listed(one.modes.better) }} bit/s.{% endif %}
{% if one.modes.worse %} By PESQ it is worse than Codec 2 at {{ listed(one.modes.worse) }} bit/s.{% endif %}
{% if one.modes["cannot tell"] %} PESQ cannot tell it from Codec 2 at {{ listed(one.modes["cannot tell"]) }} bit/s.
{%- endif %}</li>
{% endfor %}
</ul>
""",
    "caption": "PESQ and ESTOI against bit/s, with intervals over speakers; PESQ against wrong bits and lost frames.",
}
