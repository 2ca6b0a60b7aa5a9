"""What does each measure say of codecs, of our outputs, of noise and of postfilters, and do the measures agree?

Every condition is measured on all utterances of a test set. Intervals are of 95 %, by bootstrap over speakers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from mlquant.chains.settings import Mode, Output
from mlquant.core.blocks import Block, Line, Name, nearest, validate
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.core.types import Stages, Survivors
from mlquant.measures import columns
from mlquant.measures.settings import SNR
from mlquant.quantisers.types import Smooth
from mlquant.studies import shared
from mlquant.vocoder.types import MODES, Postfilter

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Index = Annotated[int, Setting(help="index of an output", ge=0)]
Condition = Annotated[
    Line, Setting(help="name of a condition: index 3, Codec 2 1200, noise 20 dB, postfilter 1.2, or of a variant")
]
FAMILIES = {
    "outputs": "outputs (index)",
    "Codec 2": "Codec 2 (bit/s)",
    "noise": "white noise (SNR in dB)",
    "postfilter": "postfilter (factor)",
}
"""The families of conditions, with the titles of their panels."""


_NUMBERED = r"index \d+|noise -?[0-9.]+ dB|postfilter [0-9.]+"


class Variant(Block):
    """An output of the experiment with other settings."""

    output: Annotated[
        Index, Setting(help="index of the output that it is like in all else; without that output it is left out")
    ]
    stages: Annotated[Stages | None, Setting(help="stages of the quantiser that are used")] = None
    mbest: Annotated[Survivors | None, Setting(help="survivors of the search")] = None
    smooth: Annotated[Smooth | None, Setting(help="share of each neighbour of a quantised vector")] = None
    postfilter: Annotated[Postfilter | None, Setting(help="factor of the postfilter")] = None


class Claim(Block):
    """A sentence that holds if one condition is better than another, or better by less than two others are."""

    says: Annotated[Line, Setting(help="the sentence")]
    better: Annotated[Condition, Setting(help="condition that is better, if the sentence holds")]
    than: Annotated[Condition, Setting(help="condition that it is better than")]
    by_less_than: Annotated[
        list[Condition] | None,
        Field(min_length=2, max_length=2),
        Setting(help="two conditions: the sentence holds if the first is better than the second by more than that"),
    ] = None

    @property
    def named(self) -> list[str]:
        """The conditions that the claim is of."""
        return [self.better, self.than, *(self.by_less_than or ())]


class Settings(Block):
    """What each measure says of modes of Codec 2, outputs, noise and postfilters, on a test set."""

    kind: Annotated[Literal["measures"], Setting(help="which study it is")]
    experiment: Annotated[str, Setting(help="the experiment whose outputs are measured")]
    test_set: Annotated[str, Setting(help="the test set that they are measured on")]
    indices: Annotated[list[Index], Setting(help="outputs, by index; by default all but those of Codec 2")] = []
    variants: Annotated[dict[Name, Variant], Setting(help="outputs with other settings, by name")] = {}
    modes: Annotated[list[Mode], Setting(help="modes of Codec 2, in bit/s")] = [*MODES]
    noises: Annotated[list[SNR], Setting(help="signal to noise ratios of the source with white noise, in dB")] = [
        *(0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0)
    ]
    postfilters: Annotated[list[Postfilter], Setting(help="factors of the postfilter of an output")] = [
        *(1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
    ]
    postfiltered: Annotated[
        Index | None,
        Setting(
            help="index of that output; by default, and where the experiment does not have it, the last that is "
            "quantised, or else the last of a vocoder"
        ),
    ] = None
    claims: Annotated[list[Claim], Setting(help="sentences, of which it is told which measures confirm them")] = []
    in_all: Annotated[bool, Setting(help="whether `snakemake all_studies` makes it")] = True

    @model_validator(mode="after")
    def _each_once(self) -> Settings:
        for name in ("indices", "modes", "noises", "postfilters"):
            shared.refuse_repeated(name, getattr(self, name))
        return self


class Measured(NamedTuple):
    """A condition: an output, or the source with noise of a ratio in dB. `of` is what a variant is a variant of."""

    family: str
    name: str
    output: Output | None = None
    snr_dB: float = 0.0
    of: str | None = None


def conditions(config: Any, name: str, settings: Settings) -> Iterator[Measured]:
    """Give all conditions of a study, family by family. Raises InputError for a variant that cannot be."""
    outputs = config.experiments[settings.experiment].outputs
    for index in settings.indices or [index for index, one in outputs.items() if one.process != "codec2"]:
        yield Measured("outputs", f"index {index}", outputs[index])
    for key, variant in settings.variants.items():
        if variant.output not in outputs:  # a user may have taken it out of the experiment
            continue
        changes = variant.model_dump(exclude={"output"}, exclude_none=True)
        given = outputs[variant.output].model_dump(exclude_unset=True) | changes
        output = validate(Output, given, f"config: studies.{name}.variants.{key}")
        yield Measured("outputs", key, output, of=f"index {variant.output}")
    for mode in settings.modes:
        yield Measured("Codec 2", f"Codec 2 {mode}", Output(tag=mode, process="codec2", mode=mode))
    for snr_dB in settings.noises:
        yield Measured("noise", f"noise {snr_dB:g} dB", snr_dB=snr_dB)
    if (filtered := postfiltered(config, settings)) is not None:
        for factor in settings.postfilters:
            output = outputs[filtered].model_copy(update={"postfilter": factor})
            yield Measured("postfilter", f"postfilter {factor:g}", output)


def postfiltered(config: Any, settings: Settings) -> int | None:
    """Return the index of the output whose postfilter varies; None for an experiment without any of a vocoder."""
    outputs = config.experiments[settings.experiment].outputs
    if settings.postfiltered in outputs:
        return settings.postfiltered
    of_vocoder = [index for index, output in outputs.items() if output.process == "vocoder"]
    return max(of_vocoder, key=lambda index: (outputs[index].quantiser is not None, index), default=None)


def check(config: Any, name: str, settings: Settings) -> None:
    """Refuse outputs that the experiment does not have, conditions that are there twice, and claims of unknown ones.

    A condition of a claim need not be among those that are measured, so that fewer of these can be asked for.
    """
    where, outputs = f"config: studies.{name}", config.experiments[settings.experiment].outputs
    for i, index in enumerate(settings.indices):
        if index not in outputs:
            known = ", ".join(map(str, outputs))
            raise InputError(
                f"{where}.indices.{i}: found {index}, expected an output of {settings.experiment}: {known}"
            )
    filtered = postfiltered(config, settings)
    if filtered is not None and outputs[filtered].process != "vocoder":
        found = outputs[filtered].process
        raise InputError(f"{where}.postfiltered: {filtered} is of process {found}, expected one of a vocoder")
    made: list[str] = []
    for one in conditions(config, name, settings):
        if one.name in made:
            raise InputError(f"{where}: {one.name} is there twice, expected once")
        if one.of and one.output:
            config.check_chain(f"studies.{name}.variants.{one.name}", one.output)
        made.append(one.name)
    known = [
        *made,
        *settings.variants,
        *(f"index {index}" for index in outputs),
        *(f"Codec 2 {mode}" for mode in MODES),
    ]
    for i, claim in enumerate(settings.claims):
        for condition in claim.named:
            if condition not in known and not re.fullmatch(_NUMBERED, condition):
                raise InputError(f"{where}.claims.{i}: {condition!r} names no condition, {nearest(condition, known)}")


def chains(config: Any, settings: Settings) -> list[Output]:
    """Return the outputs whose networks and quantisers are measured."""
    return [one.output for one in conditions(config, "", settings) if one.output]


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    """Return the measures of each condition on each shard of the test set.

    What the experiment measures on the same test set is not measured again. The manifests of corpora come along, as no
    network may be trained on an utterance.
    """
    shards, measured, nodes = graph.test_set(settings.test_set), [], []
    for one in conditions(graph.config, name, settings):
        made = [graph.set_measures(x, one.output) if one.output else graph.set_in_noise(x, one.snr_dB) for x in shards]
        nodes += made
        row = {"family": one.family, "condition": one.name, "of": one.of}
        measured.append(row | {"files": [node.file("measures.csv") for node in made]})
    files = files_of_set(graph, shards, nodes)
    paths = [path for row in measured for path in row["files"]] + shared.paths_in(files)
    given = settings.model_dump(include={"kind", "test_set", "claims"}) | {"conditions": measured, **files}
    return shared.Summary({**given, "name": name}, [*dict.fromkeys(paths)], {})


def files_of_set(graph: Any, shards: list, nodes: list) -> dict[str, list[str]]:
    """Return the tables of the utterances of shards, and the manifests of the corpora behind nodes of measures."""
    behind = graph.behind([path for node in nodes for paths in node.inputs.values() for path in paths])
    return {
        "utterances": [shard.utterances for shard in shards],
        "manifests": [node.file("manifest.csv") for node in behind.values() if node.kind == "corpora"],
    }


# the tables


def tables(settings: dict) -> dict[str, pd.DataFrame]:
    """Return the means of each condition, the steps within families, the agreement of measures, and the claims.

    Raises InputError for tables of other utterances, for a set without any, and for an utterance that a network was
    trained on.
    """
    values, speakers = values_of(settings, [row["condition"] for row in settings["conditions"]])
    made = {
        "conditions": _means(settings["conditions"], values, speakers),
        "steps": _steps(settings["conditions"], values, speakers),
        "agreement": _agreement(settings["conditions"], values, speakers),
    }
    return made | _claims(settings["claims"], values, speakers)


def values_of(settings: dict, names: list[str]) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:
    """Return the values [U] of each measure of each condition that has it, and the speakers [U] of the utterances.

    `names` are those of the conditions in the settings. Raises InputError for tables of other utterances, for a set
    without any, and for an utterance that a network was trained on.
    """
    from mlquant.speech import corpus, sets

    used = [one for path in settings["utterances"] for one in sets.read(Path(path))]
    corpus.refuse_samples(sets.checksums(used), map(Path, settings["manifests"]))
    found = {name: _read(row["files"]) for name, row in zip(names, settings["conditions"], strict=True)}
    first, *_ = found.values()
    if first.empty:
        raise InputError(f"test_sets.{settings['test_set']}: holds no utterance, expected at least one")
    for name, table in found.items():
        if list(table["utterance"]) != list(first["utterance"]):
            raise InputError(f"{name}: was measured on other utterances than the first condition")
    values = {
        measure: {name: table[measure].to_numpy(float) for name, table in found.items() if table[measure].notna().any()}
        for measure in measures()
    }
    return {measure: of for measure, of in values.items() if of}, first["speaker"].to_numpy(str)


def measures() -> list[str]:
    """Return the measures of a test set that say what is better, of those from the same values only the first.

    An error of vectors that are quantised is none: it is of one network.
    """
    found: dict[str, str] = {}
    for name in columns.OF_SET:
        column = columns.COLUMNS.get(name)
        if column and column.better and not column.of_vectors:
            found.setdefault(column.per_frame or name, name)
    return [*found.values()]


def _read(files: list[str]) -> pd.DataFrame:
    """Return the measures of all shards, a row for each utterance."""
    import pandas as pd

    from mlquant.core.tables import read_table

    needed = ("utterance", "speaker", *measures())
    parts = [read_table(path, *needed, what="measures of a test set") for path in files]
    return pd.concat([one for one in parts if len(one)] or parts, ignore_index=True)


def goodness(measure: str, values: np.ndarray) -> np.ndarray:
    """Return values of a measure, changed so that a higher one is better."""
    better = columns.COLUMNS[measure].better
    return values if better == "higher" else -values if better == "lower" else -abs(values)


def _means(rows: list[dict], values: dict, speakers: np.ndarray) -> pd.DataFrame:
    """Return the mean of each measure of each condition that has it, with its interval."""
    import pandas as pd

    found = []
    for row in rows:
        for measure, of in values.items():
            if (one := of.get(row["condition"])) is not None:
                mean, counts, interval = estimated(one, speakers)
                found.append([row["family"], row["condition"], measure, *counts, mean, *interval])
    heads = ["family", "condition", "measure", "utterances", "speakers", "mean", "low", "high"]
    return pd.DataFrame(found, columns=heads)


def estimated(values: np.ndarray, speakers: np.ndarray) -> tuple[float, list[int], tuple[float, float]]:
    """Return the mean of values [U], some of them NaN, the numbers of utterances and speakers, and the interval."""
    import numpy as np

    from mlquant.core.intervals import speaker_interval

    known = np.isfinite(values)
    values, speakers = values[known], speakers[known]
    interval = speaker_interval(values, speakers) or (np.nan, np.nan)
    return float(values.mean()), [len(values), len(np.unique(speakers))], interval


def verdict_of(low: float, high: float) -> str:
    """Return what an interval of how much better something is says."""
    return "better" if low > 0 else "worse" if high < 0 else "cannot tell"


def _steps(rows: list[dict], values: dict, speakers: np.ndarray) -> pd.DataFrame:
    """Return the paired differences of conditions beside each other in a family, and of a variant and its output."""
    import pandas as pd

    families: dict[str, list[str]] = {}
    for row in rows:
        families.setdefault(row["family"], []).extend([] if row["of"] else [row["condition"]])
    known = {row["condition"] for row in rows}
    pairs = [(family, *pair) for family, names in families.items() for pair in pairwise(names)]
    pairs += [(row["family"], row["of"], row["condition"]) for row in rows if row["of"] in known]
    found = []
    for family, one, other in pairs:
        for measure, of in values.items():
            if one in of and other in of and (row := paired(measure, of[one], of[other], speakers)):
                found.append([family, one, other, measure, *row])
    return pd.DataFrame(found, columns=["family", "condition", "condition_b", "measure", *PAIRED])


PAIRED = ["utterances", "speakers", "difference", "low", "high", "beyond_chance", "verdict"]
"""What `paired` gives."""


def paired(measure: str, one: np.ndarray, other: np.ndarray, speakers: np.ndarray) -> list | None:
    """Return PAIRED, the difference of values [U] of a measure, the others less these; None where none has both."""
    import numpy as np

    if not np.isfinite(difference := other - one).any():
        return None
    mean, counts, (low, high) = estimated(difference, speakers)
    verdict = verdict_of(*estimated(goodness(measure, other) - goodness(measure, one), speakers)[2])
    return [*counts, mean, low, high, verdict != "cannot tell", verdict]


def _agreement(rows: list[dict], values: dict, speakers: np.ndarray) -> pd.DataFrame:
    """Return Kendall's tau-b of each two measures, over all conditions and over those of each family.

    The same output under two names counts once in all conditions.
    """
    import numpy as np
    import pandas as pd

    from mlquant.core.intervals import resampled_means, widened

    different: dict[tuple, str] = {}
    for row in rows:
        different.setdefault(tuple(row["files"]), row["condition"])
    groups = {"all": [*different.values()]}
    for row in rows:
        groups.setdefault(row["family"], []).append(row["condition"])
    unknown, drawn_from, found = np.full(len(speakers), np.nan), len(np.unique(speakers)), []
    for group, names in groups.items():
        every = [goodness(measure, of.get(name, unknown)) for name in names for measure, of in values.items()]
        shape = (-1, len(names), len(values))
        each = np.stack(every, axis=1)
        observed = kendall(_mean_of_known(each).reshape(shape))[0]
        resampled = kendall(resampled_means(each, speakers).reshape(shape))
        for (a, one), (b, other) in combinations(enumerate(values), 2):
            both = sum(name in values[one] and name in values[other] for name in names)
            if both < 3 or not np.isfinite(tau := observed[a, b]):
                continue
            of_draws = resampled[:, a, b]
            interval = widened(of_draws[np.isfinite(of_draws)], tau, drawn_from, 1) or (np.nan, np.nan)
            found.append([group, one, other, both, tau, *np.clip(interval, -1, 1)])
    heads = ["family", "measure", "measure_b", "conditions", "kendall_tau", "low", "high"]
    return pd.DataFrame(found, columns=heads)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """Return the means [K] of values [U, K] that are not NaN; NaN where there are none."""
    import numpy as np

    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)


def kendall(values: np.ndarray) -> np.ndarray:
    """Return Kendall's tau-b [..., M, M] of each two columns of values [..., C, M]; NaN where a column is all ties.

    A row counts for two columns if it is NaN in neither. scipy has it for two series; here thousands are drawn.
    Kendall, 1945.
    """
    import numpy as np

    i, j = np.triu_indices(values.shape[-2], 1)
    signs = np.sign(values[..., i, :] - values[..., j, :])
    known = np.isfinite(signs).astype(float)
    signs = np.where(known > 0, signs, 0)
    untied = np.swapaxes(signs**2, -1, -2) @ known
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.swapaxes(signs, -1, -2) @ signs / np.sqrt(untied * np.swapaxes(untied, -1, -2))


def _claims(claims: list[dict], values: dict, speakers: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return what each measure says of each claim, and in how many measures the claim holds.

    A measure that has no value in one of the conditions, or the same in all, tells nothing and is left out. A claim of
    a condition that is not there is not measured.
    """
    import numpy as np
    import pandas as pd

    by_measure, found = [], []
    for number, claim in enumerate(claims, 1):
        pairs = [(claim["better"], claim["than"]), *([claim["by_less_than"]] if claim["by_less_than"] else [])]
        verdicts: dict[str, list[str]] = {"confirms": [], "contradicts": [], "cannot tell": []}
        for measure, of in values.items():
            if not all(name in of for pair in pairs for name in pair):
                continue
            gains = [goodness(measure, of[one]) - goodness(measure, of[other]) for one, other in pairs]
            gain = gains[1] - gains[0] if len(gains) > 1 else gains[0]
            if not np.isfinite(gain).any() or not any(np.nan_to_num(one).any() for one in gains):
                continue
            mean, counts, (low, high) = estimated(gain, speakers)
            verdict = {"better": "confirms", "worse": "contradicts"}.get(verdict_of(low, high), "cannot tell")
            verdicts[verdict].append(measure)
            by_measure.append([number, measure, *counts, mean, low, high, verdict])
        less_than = " over ".join(claim["by_less_than"] or ())
        names = [claim["better"], claim["than"], less_than]
        found.append([number, claim["says"], *names, _holds(verdicts), *map(" ".join, verdicts.values())])
    heads = [
        "claim",
        "says",
        "better",
        "than",
        "by_less_than",
        "holds",
        "confirmed_by",
        "contradicted_by",
        "undecided_by",
    ]
    of_each = ["claim", "measure", "utterances", "speakers", "gain", "low", "high", "verdict"]
    return {
        "claims": pd.DataFrame(found, columns=heads),
        "claims_by_measure": pd.DataFrame(by_measure, columns=of_each),
    }


def _holds(verdicts: dict[str, list[str]]) -> str:
    """Return in which measures a claim holds, from the measures by verdict."""
    confirmed, all_ = verdicts["confirms"], sum(map(len, verdicts.values()))
    if not all_:
        return "not measured"
    if len(confirmed) == all_:
        return "in all measures"
    if confirmed == ["pesq"]:
        return "in PESQ alone"
    return f"in {len(confirmed)} of {all_} measures" if confirmed else "in no measure"


COLUMNS = {
    "family": "what the conditions of a family have in common: outputs of the experiment, modes of Codec 2, the source "
    "with white noise, or a postfilter; all means every condition",
    "condition": "what was done to the utterances",
    "measure": "name of the measure",
    "utterances": "number of utterances that have the measure",
    "speakers": "number of their speakers",
    "mean": "its mean over the utterances",
    "low": "lower end of the interval of 95 %, by bootstrap over speakers; empty for fewer than 3 speakers",
    "high": "upper end of that interval",
    "condition_b": "the condition that it is compared with",
    "difference": "the measure of condition_b less that of condition, mean over the utterances",
    "beyond_chance": "True where the interval does not hold 0",
    "verdict": "what the interval says: of steps, whether condition_b is better or worse; of claims, whether the "
    "measure confirms or contradicts it; or that it cannot tell",
    "measure_b": "name of the second measure",
    "conditions": "number of conditions that both measures have",
    "kendall_tau": "Kendall's tau-b of their means, each turned so that higher is better: 1 where they rank all "
    "conditions alike, -1 where one ranks them the other way round",
    "claim": "number of the claim",
    "says": "its sentence",
    "better": "condition that is better, if it holds",
    "than": "condition that this one is better than",
    "by_less_than": "of a claim on two differences: the other two conditions, of which the first is better than the "
    "second by more than that",
    "holds": "in which of the measures that see a difference the claim holds beyond chance",
    "confirmed_by": "measures that confirm it",
    "contradicted_by": "measures that contradict it",
    "undecided_by": "measures that cannot tell",
    "gain": "how much better the first condition is, or how much the other gain is larger; positive if the claim holds",
}


# the figure


def figure(figure: Any, folder: Path) -> None:
    import numpy as np

    from mlquant.core.colours import LIGHT
    from mlquant.core.figures import say_nothing_there
    from mlquant.core.tables import read_table

    table = read_table(folder / "conditions.csv", "family", "condition", "measure", "mean", "low", "high")
    shown = in_order(table["measure"])
    names = {family: [*dict.fromkeys(part["condition"])] for family, part in table.groupby("family", sort=False)}
    if not shown:
        say_nothing_there(figure.subplots(), "no measure has a value")
        return
    longest = max(len(_short(value, family)) for family, values in names.items() for value in values)
    figure.set_size_inches(7.5, 0.8 + 1.15 * len(shown) + 0.07 * min(longest, 25))
    every = sum(map(len, names.values()))
    widths = [max(len(values), every / 6) for values in names.values()]
    layout = {"sharex": "col", "sharey": "row", "width_ratios": widths, "squeeze": False}
    axes = figure.subplots(len(shown), len(names), **layout)
    for row, measure in zip(axes, shown, strict=True):
        row[0].set_ylabel(columns.COLUMNS[measure].heading if measure in columns.COLUMNS else measure)
        for axis, (family, values), width, colour in zip(row, names.items(), widths, LIGHT, strict=False):
            part = table[(table["measure"] == measure) & (table["family"] == family)]
            at = [values.index(value) for value in part["condition"]]
            mean = part["mean"].to_numpy(float)
            around = np.abs(np.stack([mean - part["low"], part["high"] - mean]))
            style = "o" if family == "outputs" else "o-"  # the others are in an order
            axis.errorbar(at, mean, np.nan_to_num(around), fmt=style, c=colour, lw=1, elinewidth=1, capsize=2, ms=3)
            room = 72 * 6 * width / sum(widths) / len(values)
            axis.set_xticks(*_ticks(family, values, room), rotation=90, fontsize=8)
            if part.empty:
                axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center", va="center", fontsize=8)
            axis.set_xlim(-0.6, len(values) - 0.4)
    for axis, family in zip(axes[0], names, strict=True):
        axis.set_title(FAMILIES.get(family, family))


def in_order(found: Iterable[str]) -> list[str]:
    """Return measures, each once, in the order of the tables of a test set; what these do not have comes last."""
    known = {name: place for place, name in enumerate(columns.OF_SET)}
    return sorted(dict.fromkeys(found), key=lambda name: known.get(name, len(known)))


def _ticks(family: str, values: list[str], room: float) -> tuple[list[int], list[str]]:
    """Return the places and texts of the conditions of a family, as many as fit where each has `room` points."""
    from mlquant.core.figures import wrapped

    texts = [wrapped(_short(value, family), 120, 8) for value in values]
    step = math.ceil(11 * max(1 + text.count("\n") for text in texts) / room)
    return [*range(0, len(texts), step)], texts[::step]


def _short(condition: str, family: str) -> str:
    """Return the name of a condition without what its family says already."""
    return condition.removeprefix("index " if family == "outputs" else f"{family} ").removesuffix(" dB")


# in the report

TITLE = "What each measure says"
SECTION, PLACE = "Measures", 80


def report(folder: Path, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import formatted, laid_out, read_rows, read_table

    needed = ("family", "condition", "measure", "utterances", "speakers", "mean", "low", "high")
    means = read_rows(folder / "conditions.csv", *needed)
    steps = read_table(folder / "steps.csv", "family", "condition", "condition_b", "measure", "verdict")
    agreement = read_table(folder / "agreement.csv", "family", "measure", "measure_b", "kendall_tau", "low", "high")
    heads = ("says", "holds", "confirmed_by", "contradicted_by", "undecided_by")
    claims = read_table(folder / "claims.csv", *heads)
    shown = in_order(means["measure"])
    found = {(row["condition"], row["measure"]): row for row in means.to_dict("records")}
    names = [*dict.fromkeys(means["condition"])]

    def cell(name: str, measure: str) -> str:
        if (row := found.get((name, measure))) is None:
            return ""
        half = (row["high"] - row["low"]) / 2
        texts = [formatted(value, format_of(measure)) for value in (row["mean"], half)]
        return " ± ".join(filter(None, texts))

    every = agreement[agreement["family"] == "all"]
    taus = {(row["measure"], row["measure_b"]): row for row in every.to_dict("records")}
    taus |= {(b, a): row for (a, b), row in taus.items()}
    ranked = sorted(every.to_dict("records"), key=lambda row: row["kendall_tau"])
    verdicts = steps.groupby(["family", "condition", "condition_b"], sort=False)["verdict"].agg(set)
    facts = {
        "utterances": int(means["utterances"].max()),
        "speakers": int(means["speakers"].max()),
        "conditions": len(names),
        "measures": [label_of(measure) for measure in shown],
        "steps": len(verdicts),
        "disputed": sum({"better", "worse"} <= one for one in verdicts),
        "least": _named(ranked[0]) if ranked else None,
        "most": _named(ranked[-1]) if len(ranked) > 1 else None,
        "claims": claims[["says", "holds"]].to_dict("records"),
    }
    of_claims = laid_out(
        "Which measures confirm what is claimed, beyond chance",
        ("claim", claims["says"], "s"),
        ("holds", claims["holds"], "s"),
        ("confirmed by", map(_labels, claims["confirmed_by"]), "s"),
        ("contradicted by", map(_labels, claims["contradicted_by"]), "s"),
        ("undecided", map(_labels, claims["undecided_by"]), "s"),
    )
    of_means = laid_out(
        "Means and half the widths of their intervals",
        ("condition", names, "s"),
        *((heading_of(measure), [cell(name, measure) for name in names], "") for measure in shown),
    )
    agreeing = [measure for measure in shown if any(measure in pair for pair in taus)]
    of_agreement = laid_out(
        "Kendall's tau of the ranks of all conditions, with its interval",
        ("measure", map(label_of, agreeing), "s"),
        *((label_of(b), [_tau(taus.get((a, b))) for a in agreeing], "") for b in agreeing),
    )
    return facts, [of_claims, of_agreement, of_means]


def cells_of(table: pd.DataFrame, value: str, *by: str) -> Callable[..., str]:
    """Return a function that gives the text of a value and half its interval, for a measure and what is in `by`."""
    from mlquant.core.tables import formatted

    found = {(row["measure"], *(row[name] for name in by)): row for row in table.to_dict("records")}

    def cell(measure: str, *key: str) -> str:
        if (row := found.get((measure, *key))) is None:
            return ""
        half = (row["high"] - row["low"]) / 2
        return " ± ".join(filter(None, (formatted(one, format_of(measure)) for one in (row[value], half))))

    return cell


def format_of(measure: str) -> str:
    return columns.COLUMNS[measure].format if measure in columns.COLUMNS else ".3g"


def label_of(measure: str) -> str:
    return columns.COLUMNS[measure].label if measure in columns.COLUMNS else measure


def heading_of(measure: str) -> str:
    return columns.COLUMNS[measure].heading if measure in columns.COLUMNS else measure


def _labels(measures: Any) -> str:
    """Return the labels of measures, whose names a text lists; "" for an empty cell."""
    return ", ".join(map(label_of, measures.split())) if isinstance(measures, str) else ""


def _tau(row: dict | None) -> str:
    """Return a coefficient with its interval."""
    from mlquant.core.tables import formatted

    if row is None:
        return ""
    low, high = (formatted(row[name], ".2f") for name in ("low", "high"))
    return formatted(row["kendall_tau"], ".2f") + (f" ({low} to {high})" if low else "")


def _named(row: dict) -> dict:
    return {"a": label_of(row["measure"]), "b": label_of(row["measure_b"]), "tau": row["kendall_tau"]}


WORDS = {
    "question": """
What does each measure say of codecs, of our outputs, of noise and of postfilters, and do the measures agree?
""",
    "setup": """
<p>{{ part.facts.conditions }} conditions on the {{ part.facts.utterances }} utterances of the test set
<code>{{ part.settings.test_set }}</code>, by {{ part.facts.speakers }} speakers: outputs of
{{ part.settings.experiment }}, modes of Codec 2, the source in white noise, and the postfilter of
{% if part.settings.postfiltered is none %}an output{% else %}index {{ part.settings.postfiltered }}{% endif %}.
The ratio to the noise is
that of the speech where it is active. Intervals are of 95 %, by bootstrap over speakers; differences are paired by
utterance. Each of many is looked at by itself, so that one in twenty would seem to be beyond chance without being so.
A measure that has no value in a condition, or does not change between two, is left out there: SD is of y_hat, which
only our outputs have, before the postfilter.</p>
""",
    "findings": """
{% set facts = part.facts %}
{% if facts.claims %}
<ul>
{% for claim in facts.claims %}
<li>{{ claim.says }}: {{ claim.holds }}.</li>
{% endfor %}
</ul>
{% endif %}
<p>
{% if facts.least %}
Over all conditions {% if facts.most %}{{ facts.most.a }} and {{ facts.most.b }} agree most (Kendall's tau
{{ facts.most.tau | num(".2f") }}), and {% endif %}{{ facts.least.a }} and {{ facts.least.b }}
{%- if facts.most %} least ({% else %} agree by ({% endif %}{{ facts.least.tau | num(".2f") }}).
{% endif %}
Of {{ facts.steps }} steps from one condition to the next, {{ facts.disputed }} are better by one measure and worse by
another, both beyond chance.</p>
""",
    "caption": "Mean of each measure on the test set, with its interval over speakers; a column for each family.",
}
