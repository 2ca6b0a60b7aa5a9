"""Two experiments side by side: the settings, code and versions that differ, and by how much the measures do.

A difference is B less A. Its interval of 95 % comes from a bootstrap over the frames that both have. The same blocks of
frames are drawn for both, so that the difficulty of a sentence cancels. A block is 250 ms long: neighbouring frames are
alike, and an interval from single frames would be far too narrow. All samples are kept, with the weights that they have
in the means of `tables`. So the interval shows what is chance within these sentences, not how other sentences would
turn out. A measure without a value for each frame has a bootstrap over samples. Its interval does show how other
sentences would turn out, and is wide where there are few samples.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import ndtri, stdtrit
from tabulate import tabulate

from mlquant.core.disk import read_json, require, write_text
from mlquant.core.errors import InputError, markdown
from mlquant.core.tables import read_table
from mlquant.measures import columns
from mlquant.measures.columns import Column

BLOCK = 25  # frames of 10 ms in a block of the bootstrap
RESAMPLES = 1000
COLUMNS = ["index", "tag", "index_b", "tag_b", "measure", "samples", "a", "b", "difference", "low", "high", "interval"]
COLUMNS += ["verdict"]
_KEYS = ["sample", "index", "tag"]
_LEGEND = (
    "An interval over frames shows what is chance within these sentences, one over samples what is chance among "
    "sentences like them. B is the same where the interval holds 0. The latent_mse of two outputs is comparable where "
    "both quantise latents of the same network, or both b. Other outputs than those of the same index are compared by "
    "mlquant compare --pair."
)
_KINDS = {"experiment": "Experiment", "settings": "Settings", "definitions": "Code", "versions": "Versions"}


@dataclass(frozen=True)
class Comparison:
    """What differs between A and B.

    `names` are those of their folders. `differences` has a row for each difference, with its kind (experiment,
    settings, definitions or versions), its place, and the values a and b; "-" stands on the side that has none.
    `measures` has a row for each output and measure, with COLUMNS: index_b and tag_b are empty where they equal index
    and tag; interval says whether it is over "frames" or "samples", and is empty where there is none; the verdict on B
    is better, worse or same, and is empty where a measure has no better values or no interval. It is "not comparable",
    and there is no difference, where the measure of A and of B is not of the same (see `Column.of_vectors`).
    """

    names: tuple[str, str]
    differences: pd.DataFrame
    measures: pd.DataFrame


def compare(a: Path, b: Path, seed: int = 1, pairs: Sequence[str] = ()) -> Comparison:
    """Compare the folders of two experiments, `results/<name>_wav` or `results/experiments/<name>.<key>`.

    Outputs are compared with those of the same index, but for `pairs`: "6:4" compares output 6 of A with output 4 of B.
    `seed` is that of the bootstrap. Raises InputError for a folder that holds no experiment, for two folders that have
    no output or no sample in common, and for a pair of outputs that are not there.
    """
    a, b = Path(a), Path(b)
    measured = [_measures(folder) for folder in (a, b)]
    provenance = [_provenance(folder) for folder in (a, b)]
    outputs = [list(dict.fromkeys(zip(table["index"], table["tag"], strict=True))) for table in measured]
    by_hand = _pairs(pairs, (a, b), outputs)
    matched = _match(*outputs, by_hand)
    for what, common, found in (
        ("output", matched, [{index for index, _ in side} for side in outputs]),
        ("sample", set(measured[0]["sample"]) & set(measured[1]["sample"]), [set(t["sample"]) for t in measured]),
    ):
        if not common:
            texts = [", ".join(map(str, sorted(side))) for side in found]
            raise InputError(f"{b}: no {what} in common with {a}: has {texts[1]}, expected one of {texts[0]}")
    rows = [
        *(("experiment", *row) for row in _of_experiment(*provenance, by_hand)),
        *(("settings", *row) for row in _of_nodes(*provenance)),
        *(("definitions", *row) for row in changes(*(side.get("definitions", {}) for side in provenance))),
        *(("versions", *row) for row in changes(*map(_versions, provenance))),
    ]
    names = (a.absolute().name, b.absolute().name)
    return Comparison(
        names if names[0] != names[1] else (str(a), str(b)),
        pd.DataFrame(rows, columns=["kind", "where", "a", "b"]),
        _differences(measured, [_frames(a), _frames(b)], matched, seed, provenance),
    )


def summarise(a: Path, b: Path, folder: Path, seed: int = 1, pairs: Sequence[str] = ()) -> str:
    """Write differences.csv, measures.csv and README.md of two experiments into `folder`; return the printed text.

    Raises InputError as `compare` does.
    """
    comparison = compare(a, b, seed, pairs)
    write_text(folder / "differences.csv", comparison.differences.to_csv(index=False))
    write_text(folder / "measures.csv", comparison.measures.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "README.md", "\n\n".join(_report(comparison, _markdown)) + "\n")
    return text(comparison)


def text(comparison: Comparison) -> str:
    """Return the comparison for a terminal: what differs in settings and code, then a table of measures an output."""
    return "\n".join(_report(comparison, _plain))


# reading


def _measures(folder: Path) -> pd.DataFrame:
    """Read measures.csv of an experiment's folder."""
    for name in ("measures.csv", "provenance.json"):
        if not folder.is_dir() or not (folder / name).exists():
            what = f"no experiment: has no {name}" if folder.is_dir() else "no such folder"
            raise InputError(f"{folder}: {what}, expected a folder such as results/240118_wav")
    return _typed(read_table(folder / "measures.csv", *_KEYS, what="the measures of an experiment"))


def _frames(folder: Path) -> pd.DataFrame:
    """Read frames.csv of an experiment's folder; the table is empty for a folder that was made without this file.

    A column of a measure that an older variant does not have yet is empty.
    """
    names = [*_KEYS, "frame", *columns.FRAMES]
    if not (folder / "frames.csv").exists():
        return pd.DataFrame(columns=names)
    table = read_table(folder / "frames.csv", *_KEYS, "frame", what="the frames of an experiment")
    return _typed(table.reindex(columns=names))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have an index, with the index as an integer."""
    return table.dropna(subset=["index"]).astype({"index": int})


def _provenance(folder: Path) -> dict:
    path = folder / "provenance.json"
    provenance = read_json(path)
    require(provenance, str(path), "experiment", "stages", "versions")
    require(provenance["experiment"], f"{path}: experiment", "samples", "outputs")
    return provenance


def _versions(provenance: dict) -> dict:
    return provenance["versions"] | {"PESQ is measured": provenance.get("pesq")}


# differences of settings


def _pairs(texts: Sequence[str], folders: tuple[Path, Path], outputs: list[list[tuple]]) -> dict[int, int]:
    """Return the index in B by that in A of pairs "A:B"; InputError for others than two that are there once."""
    pairs: dict[int, int] = {}
    for text in texts:
        if not (found := re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)):
            raise InputError(f"pair: found {text!r}, expected an index of A and one of B, as 6:4")
        for index, folder, side in zip(map(int, found.groups()), folders, outputs, strict=True):
            if (times := [one for one, _ in side].count(index)) != 1:
                known = ", ".join(str(one) for one in dict.fromkeys(one for one, _ in side))
                many = f"{times} outputs" if times else "no output"
                raise InputError(f"pair: found {text}, but {folder} has {many} {index}, expected one of {known}")
        a, b = map(int, found.groups())
        if a in pairs:
            raise InputError(f"pair: found {a}:{pairs[a]} and {text}, expected output {a} of A once")
        pairs[a] = b
    return pairs


def _match(a: list[tuple], b: list[tuple], pairs: dict[int, int]) -> dict[tuple, tuple]:
    """Match outputs (index, tag) of A with those of B: by index and tag, else by an index that each side has once.

    Outputs in `pairs`, indices in B by those in A, are matched as it says, and with no other.
    """
    by_index = {index: (index, tag) for index, tag in b}
    by_hand = {one: by_index[pairs[one[0]]] for one in a if pairs.get(one[0]) in by_index}
    a, b = [one for one in a if one[0] not in pairs], [one for one in b if one[0] not in pairs.values()]
    indices = [[index for index, _ in side] for side in (a, b)]
    matched = {}
    for output in a:
        alone = all(side.count(output[0]) == 1 for side in indices)
        if output in b or alone:
            matched[output] = output if output in b else next(other for other in b if other[0] == output[0])
    return dict(sorted({**matched, **by_hand}.items(), key=lambda pair: pair[0][0]))


def changes(a: dict, b: dict) -> list[tuple[str, str, str]]:
    """Return (name, value in A, value in B) of values that differ, in nested objects too; "-" for a missing value."""
    a, b = dict(_flat(a)), dict(_flat(b))
    return [(name, a.get(name, "-"), b.get(name, "-")) for name in a | b if a.get(name, "-") != b.get(name, "-")]


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Give the names and texts of all values in nested objects, as stages.0.size of {"stages": [{"size": 4096}]}."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(i): item for i, item in enumerate(value)}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else key)
    else:
        yield name, _text(value)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    if value is None or value == "":
        return "none"
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_experiment(a: dict, b: dict, pairs: dict[int, int]) -> list[tuple[str, str, str]]:
    """List what differs between the entries of two experiments: texts, samples, and outputs by index and tag."""
    one, other = a["experiment"], b["experiment"]
    own = ("name", "samples", "outputs", "code")
    rows = changes(*({key: value for key, value in side.items() if key not in own} for side in (one, other)))
    for what, x, y in (
        ("samples", one["samples"], other["samples"]),
        ("samples left out", a.get("left_out", []), b.get("left_out", [])),
    ):
        rows += _only(what, [name for name in x if name not in y], [name for name in y if name not in x])
    outputs = [{(row["index"], row["tag"]): row for row in side["outputs"]} for side in (one, other)]
    matched = _match(*map(list, outputs), pairs)
    for x, y in matched.items():
        changed = changes(*({**side[one], "index": ""} for side, one in zip(outputs, (x, y), strict=True)))
        named = _named(x) if x[0] == y[0] else f"{_named(x)} -> {_named(y)}"
        rows += [(f"output {named}: {name}", *values) for name, *values in changed]
    ours = [_named(x) for x in outputs[0] if x not in matched]
    return rows + _only("outputs", ours, [_named(y) for y in outputs[1] if y not in matched.values()])


def _named(output: tuple[int, str]) -> str:
    return f"{output[0]} {output[1]}"


def _only(what: str, a: list[str], b: list[str]) -> list[tuple[str, str, str]]:
    """Return a row with the names that only A has, and those that only B has; no row if there are none."""
    return [(what, _listed(a), _listed(b))] if a or b else []


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 7 else ""
    return (", ".join(names[:6] if more else names) + more) or "-"


def _of_nodes(a: dict, b: dict) -> list[tuple[str, str, str]]:
    """List what differs between the settings of nodes of the same kind and name, whatever their key and sample.

    A side may have several such nodes, as the searches of two outputs; then a row names the values that only one side
    has. Inputs that differ by their key alone have no row, because the node that made them has one. A node of a sample
    that only one side has gives no row either.
    """
    common = set(a["experiment"]["samples"]) & set(b["experiment"]["samples"])
    ours, theirs = (_values(side, common) for side in (a, b))
    rows = []
    for node in sorted(ours.keys() | theirs.keys()):
        if node not in ours or node not in theirs:
            rows.append((node, *("only here" if node in side else "-" for side in (ours, theirs))))
            continue
        for name in dict.fromkeys([*ours[node], *theirs[node]]):
            x, y = (side[node].get(name, set()) for side in (ours, theirs))
            rows += _only(f"{node}: {name}", sorted(x - y), sorted(y - x))
    return rows


def _values(provenance: dict, common: set[str]) -> dict[str, dict[str, set[str]]]:
    """Return all values of the settings of nodes, and the user's own files among their inputs.

    They are sets of texts by the kind and name of the nodes, without key and sample, and by the name of the setting.
    """
    samples = set(provenance["experiment"]["samples"])
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for folder, node in provenance["stages"].items():
        kind, name = Path(folder).parent.name, Path(folder).name.rsplit(".", 1)[0]
        parts = name.split("_")
        starts = ("_".join(parts[:length]) for length in range(len(parts), 0, -1))
        sample = next((start for start in starts if start in samples), None)
        if sample and sample not in common:
            continue
        if sample:
            name = name.removeprefix(sample).removeprefix("_") or "of samples"
        values = found[f"{kind} {name}"]
        for setting, value in _flat(node["settings"]):
            values[setting].add(value)
        for setting, paths in node["inputs"].items():
            paths = [paths] if isinstance(paths, str) else paths  # the record has one text for many files
            values[setting] |= {path for path in paths if str(Path(path).parent) not in provenance["stages"]}
    return found


# differences of measures


def _of_frames(measure: Column, frames: pd.DataFrame) -> np.ndarray:
    """Return the values [F] of frames whose mean is the measure; NaN where a frame does not count."""
    distortion = frames[measure.per_frame].to_numpy(float)
    if measure.voiced:
        return np.where(frames["voiced"] > 0, distortion, np.nan)
    if measure.above is not None:
        weight = np.isfinite(distortion).sum() if measure.whole else 1  # a count is the share times all frames
        return np.where(np.isfinite(distortion), weight * (distortion > measure.above**2), np.nan)
    return distortion


def _quantised(provenance: dict, output: tuple) -> tuple[str, ...] | None:
    """Return what an output quantises: the kind of its vectors, and the network of latents; None if it is not known."""
    for sample in provenance.get("samples", {}).values():
        for row in sample.get("rows", ()):
            path = row["files"].get("l", "") if (row["index"], row["tag"]) == output else ""
            if node := provenance["stages"].get(str(Path(path).parent)):
                weights = node["inputs"].get("weights", [])
                return (Path(path).parent.parent.name, *([weights] if isinstance(weights, str) else weights))
    return None


def _differences(
    measured: list[pd.DataFrame], frames: list[pd.DataFrame], matched: dict, seed: int, provenance: list[dict]
) -> pd.DataFrame:
    """Return the table of `Comparison.measures`. Means are over the samples that have a measure in both."""
    numeric = [table.select_dtypes("number").columns for table in measured]
    names = [name for name in numeric[0] if name not in _KEYS and name in numeric[1]]
    # A measure that another version wrote has no row in the table of measures. Only its name is known.
    measures = [columns.COLUMNS.get(name, Column(name=name, label=name)) for name in names]
    by_output = [dict(list(table.groupby(["index", "tag"]))) for table in measured]
    by_sample = [dict(list(table.groupby(_KEYS))) for table in frames]
    rows = []
    for outputs in matched.items():
        ours, theirs = (of[output].set_index("sample") for of, output in zip(by_output, outputs, strict=True))
        quantised = [_quantised(side, output) for side, output in zip(provenance, outputs, strict=True)]
        other_vectors = None not in quantised and quantised[0] != quantised[1]
        index_b, tag_b = (there if there != here else "" for here, there in zip(*outputs, strict=True))
        for measure in measures:
            values = [side[measure.name] for side in (ours, theirs)]
            pair = pd.concat(values, axis=1, keys=["a", "b"], join="inner").dropna()
            if pair.empty or (measure.better is None and pair["a"].equals(pair["b"])):
                continue
            row = [*outputs[0], index_b, tag_b, measure.name, len(pair), *pair.mean()]
            if measure.of_vectors and other_vectors:
                rows.append([*row, np.nan, np.nan, np.nan, "", "not comparable"])
                continue
            tables = [
                tuple(of.get((sample, *output)) for of, output in zip(by_sample, outputs, strict=True))
                for sample in pair.index
            ]
            interval = _interval(measure, pair, tables, seed)
            rows.append([*row, row[-1] - row[-2], *interval, _verdict(measure, pair, interval, seed)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _interval(
    measure: Column, pair: pd.DataFrame, tables: list[tuple[pd.DataFrame | None, pd.DataFrame | None]], seed: int
) -> tuple[float, float, str]:
    """Return low, high and interval of a measure's difference: over frames, or over samples for other measures.

    `tables` holds the frames of A and of B for each sample. There is no interval where A and B have other frames.
    """
    if measure.per_frame is None:
        found = sample_interval((pair["b"] - pair["a"]).to_numpy(), seed)
    elif all(x is not None and y is not None and np.array_equal(x["frame"], y["frame"]) for x, y in tables):
        values = [(_of_frames(measure, x), _of_frames(measure, y)) for x, y in tables]
        known = all(np.isfinite(one).any() for both in values for one in both)  # not in an older variant
        found = frame_interval(values, seed) if known else None
    else:
        found = None
    return (*found, "frames" if measure.per_frame else "samples") if found else (np.nan, np.nan, "")


def _verdict(measure: Column, pair: pd.DataFrame, interval: tuple[float, float, str], seed: int) -> str:
    """Return better or worse, or same for an interval that holds 0; "" without an interval or a better direction.

    A measure that is better near 0 is better when it is nearer to 0 by more than chance, whatever its sign.
    """
    low, high, over = interval
    if measure.better is None or not over:
        return ""
    if measure.better == "near 0":
        low, high = sample_interval(pair.to_numpy(), seed, lambda mean: np.abs(mean[:, 1]) - np.abs(mean[:, 0]))
    if low <= 0 <= high:
        return "same"
    return "better" if (low > 0) == (measure.better == "higher") else "worse"


def frame_interval(
    parts: list[tuple[np.ndarray, np.ndarray]], seed: int = 1, block: int = BLOCK
) -> tuple[float, float] | None:
    """Return the interval of 95 % of the mean over samples of mean(b) - mean(a), where (a, b) are a sample's frames.

    `parts` holds for each sample a [F] and b [F], NaN where a frame does not count; F differs from sample to sample.
    Within each sample blocks of `block` consecutive frames are drawn, the same for a and b; the first frame follows the
    last. This is the circular block bootstrap of Politis and Romano, 1992. Returns None when there are too few frames.
    """
    random = np.random.default_rng(seed)
    total, expected, drawn = np.zeros(RESAMPLES), 0.0, 0
    for a, b in parts:
        length = min(block, max(len(a) // 2, 1))
        blocks = max(round(len(a) / length), 1)
        drawn += blocks
        start = random.integers(len(a), size=(RESAMPLES, blocks))
        # Sums and numbers of the frames of a and b that count, from each frame on: [F, 4].
        values = np.stack([np.nan_to_num(a), ~np.isnan(a), np.nan_to_num(b), ~np.isnan(b)], axis=1)
        ahead = np.concatenate([values, values[: length - 1]])
        window = np.lib.stride_tricks.sliding_window_view(ahead, length, axis=0).sum(axis=-1)
        sums = window[start].sum(axis=1)
        with np.errstate(invalid="ignore"):
            total += sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
        expected += np.nanmean(b) - np.nanmean(a)
    # A draw may hold no frame that counts, where a sample has very few.
    return widened(total[np.isfinite(total)] / len(parts), expected / len(parts), drawn, len(parts))


def sample_interval(
    values: np.ndarray, seed: int = 1, statistic: Callable[[np.ndarray], np.ndarray] = lambda mean: mean
) -> tuple[float, float] | None:
    """Return the interval of 95 % of a statistic of the mean of samples' values [S] or [S, K]; None for S < 3."""
    chosen = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    observed = statistic(values.mean(axis=0, keepdims=True))[0]
    return widened(statistic(values[chosen].mean(axis=1)), float(observed), len(values), 1)


def widened(resampled: np.ndarray, observed: float, drawn: int, groups: int) -> tuple[float, float] | None:
    """Return the middle 95 % of resampled values, widened around the observed one by the t distribution.

    Otherwise an interval from few values is too narrow: with five samples it would miss the truth in 15 % of cases.
    There are `drawn` values in `groups`; each group takes one from the degrees of freedom.
    """
    freedom = drawn - groups
    if freedom < 2 or not len(resampled):
        return None
    wider = stdtrit(freedom, 0.975) / ndtri(0.975) * np.sqrt(drawn / freedom)
    low, high = observed + wider * (np.percentile(resampled, [2.5, 97.5]) - observed)
    return float(low), float(high)


# printing


def _report(comparison: Comparison, table: Callable[[list[list[str]], list[str]], str]) -> Iterator[str]:
    """Give the headings, texts and tables of a comparison; `table` lays out rows under a header."""
    heading = "## " if table is _markdown else ""
    a, b = map(markdown if heading else str, comparison.names)
    yield f"{heading[1:]}{a} (A) against {b} (B)"
    differences, measures = comparison.differences, comparison.measures
    if differences.empty and measures["difference"].eq(0).all():
        yield "No difference."
        return
    for kind, name in _KINDS.items():
        rows = differences[differences["kind"] == kind]
        if rows.empty:
            yield f"{heading}{name}: no difference"
        else:
            yield f"{heading}{name}"
            yield table(rows[["where", "a", "b"]].to_numpy().tolist(), ["", "A", "B"])
    in_order = sorted(columns.MEASURES, key=lambda one: not one.of_speech)
    compared = [column.name for column in in_order if column.compared]
    yield f"{heading}Measures: means over the samples of both, B - A, its 95 % interval"
    for (index, tag), rows in measures.groupby(["index", "tag"], sort=False):
        other = " ".join(str(rows[name].iloc[0]) for name in ("index_b", "tag_b") if rows[name].iloc[0] != "")
        title = f"{index} {tag}" + f" -> {other}" * bool(other)
        title = f"### {markdown(title)}" if heading else title
        if rows["difference"].eq(0).all():  # it is NaN where a measure is not comparable
            yield f"{title}: no difference"
            continue
        main = rows[rows["measure"].isin(compared)].sort_values("measure", key=lambda names: names.map(compared.index))
        yield title
        yield table([_row(row) for row in main.itertuples()], ["", "A", "B", "B - A", "95 % interval", "over", "B is"])
    yield _LEGEND


def _row(row) -> list[str]:
    """Return a measure's line of a printed table; one that is equal to the last digit has no interval."""
    numbers = [f"{row.a:.4g}", f"{row.b:.4g}"]
    if row.interval and row.low == row.difference == row.high == 0:
        return [row.measure, *numbers, "0", "", "", row.verdict]
    interval = f"{row.low:+.3g} to {row.high:+.3g}" if row.interval else ""
    difference = "" if np.isnan(row.difference) else f"{row.difference:+.3g}"
    over = f"{row.samples} samples" if row.interval == "samples" else row.interval
    return [row.measure, *numbers, difference, interval, over, row.verdict]


def _plain(rows: list[list[str]], header: list[str]) -> str:
    """Lay out a table for a terminal; long texts are cut off."""
    rows = [[where, *(cell if len(cell) <= 60 else f"{cell[:57]}..." for cell in cells)] for where, *cells in rows]
    lines = tabulate(rows, header, "plain", disable_numparse=True).splitlines()
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _markdown(rows: list[list[str]], header: list[str]) -> str:
    rows = [[markdown(cell) for cell in row] for row in rows]
    return tabulate(rows, header, "github", disable_numparse=True)
