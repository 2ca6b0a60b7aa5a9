"""Two experiments side by side: the settings, code and versions that differ, and by how much the measures do.

A difference is B less A. Its interval of 95 % comes from a bootstrap over the frames that both have. The same blocks of
frames are drawn for both, so that the difficulty of a sentence cancels. A block is 250 ms long: neighbouring frames are
alike, and an interval from single frames would be far too narrow. All samples are kept, with the weights that they have
in the means of `tables`. So the interval shows what is chance within these sentences, not how other sentences would
turn out. A measure without a value for each frame has a bootstrap over samples. Its interval does show how other
sentences would turn out, and is wide where there are few samples.

Where both experiments were measured on the same test set, the measures that it has are compared on it instead,
utterance by utterance, with a bootstrap over speakers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from mlquant.core.disk import read_json, require, write_text
from mlquant.core.errors import InputError, markdown
from mlquant.core.intervals import RESAMPLES, sample_interval, widened
from mlquant.core.provenance import quick_look
from mlquant.core.tables import explained, read_table
from mlquant.experiments import words
from mlquant.experiments.sets import SET_MEASURES, paired
from mlquant.experiments.told import OVER_SPEAKERS, counted
from mlquant.measures import columns
from mlquant.measures.columns import Column

BLOCK = 25  # frames of 10 ms in a block of the bootstrap
COLUMNS = ["index", "tag", "index_b", "tag_b", "measure", "samples", "utterances", "speakers", "a", "b", "difference"]
COLUMNS += ["low", "high", "interval", "verdict"]
_KEYS = ["sample", "index", "tag"]
_COUNTED = ("samples", "utterances", "speakers")
_LINES = 12  # most differences that are printed
_VERDICTS = {"same": "no clear difference"}
_ON_SPEAKERS = {"better": "better, beyond chance", "worse": "worse, beyond chance", "same": "not beyond chance"}
_INTERVALS = (
    "An interval over frames shows what is chance within these sentences, one over samples what is chance among "
    "sentences like them. Better and worse stand only where the interval holds no 0."
)
_ABOUT_DIFFERENCES = {
    "kind": "experiment: its entry in the configuration; settings: of a command; definitions: of the code; versions",
    "where": "the kind and name of what was made, and the setting",
    "a": "the value in {a}; `-` where there is none, or none that {b} does not have too",
    "b": "the value in {b}",
}
_ABOUT_MEASURES = {
    "index": "number of the output of {a}",
    "tag": "its short name",
    "index_b": "number of the output of {b}, where it is another one",
    "tag_b": "its short name, where it is another one",
    "measure": "a column of the measures.csv of experiments",
    "samples": "number of samples that the means are over: those that both experiments have; empty on a test set",
    "utterances": "number of utterances of the test set that the means are over; empty for means over samples",
    "speakers": "number of their speakers",
    "a": "the mean of {a}",
    "b": "the mean of {b}",
    "difference": "b less a",
    "low": "the lower end of its interval of 95 %; empty where frames differ, or for fewer than 3 samples or speakers",
    "high": "the upper end",
    "interval": "what the interval is over: frames or samples, or speakers of the test set",
    "verdict": "what {b} is: better, worse, same where the interval holds 0, or not comparable",
}


@dataclass(frozen=True)
class Pair:
    """Two outputs that are compared, one of each experiment: index and tag, what is done, bits in words, and bit/s.

    The rate is None where nothing is quantised.
    """

    outputs: tuple[tuple[int, str], tuple[int, str]]
    what: tuple[str, str]
    bits: tuple[str, str]
    rates: tuple[float | None, float | None]

    @property
    def name(self) -> str:
        """Index and tag, as 6 vq24, or 6 vq24 -> 5 best where they differ."""
        return " -> ".join(dict.fromkeys(map(_named, self.outputs)))


@dataclass(frozen=True)
class Comparison:
    """What differs between A and B.

    `names` are short and differ; `titles`, `keys` and `quick_looks` are of the experiments, "" where there is none.
    `differences` has a row for each difference, with its kind (experiment, settings, definitions or versions), its
    place, and the values a and b; "-" stands on the side that has none. `pairs` are the outputs that are compared.
    `measures` has a row for each output and measure, with COLUMNS: index_b and tag_b are empty where they equal index
    and tag; samples is empty on a test set, utterances and speakers elsewhere; interval says whether it is over
    "frames", "samples" or "speakers", and is empty where there is none; the verdict on B is better, worse or same, and
    is empty where a measure has no better values or no interval. It is "not comparable", and there is no difference,
    where the measure of A and of B is not of the same (see `Column.of_vectors`).
    `test_set` says on what test set both were measured, or why the measures are those of samples.
    """

    names: tuple[str, str]
    titles: tuple[str, str]
    keys: tuple[str, str]
    quick_looks: tuple[str, str]
    differences: pd.DataFrame
    pairs: list[Pair]
    measures: pd.DataFrame
    test_set: str = ""


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
    keys = _both(str(side.get("key") or "") for side in provenance)
    names = _names((a, b), keys)
    return Comparison(
        names,
        _both(side["experiment"].get("title") or "" for side in provenance),
        keys,
        _both(quick_look(side["experiment"].get("lowered", {})) for side in provenance),
        pd.DataFrame(rows, columns=["kind", "where", "a", "b"]),
        [_pair(both, measured, provenance) for both in matched.items()],
        _differences(measured, [_frames(a), _frames(b)], matched, seed, provenance, _utterances((a, b), provenance)),
        _about_sets(names, provenance),
    )


def refuse_others(folder: Path) -> None:
    """Raise InputError for an experiment that was made in another place: its page needs the networks, from here."""
    networks = _provenance(folder).get("networks", {}).values()
    if missing := next((path for path in networks if not Path(path).exists()), None):
        here = "expected both experiments in the results/ of one folder, where mlquant compare runs"
        raise InputError(f"{folder}: made of {missing}, which is not in {Path.cwd()}, {here}")


def write(comparison: Comparison, folder: Path) -> None:
    """Write differences.csv, measures.csv and README.md of two experiments into a folder."""
    write_text(folder / "differences.csv", comparison.differences.to_csv(index=False))
    write_text(folder / "measures.csv", comparison.measures.to_csv(index=False, float_format="%.6g"))
    parts = [*_report(comparison, _markdown)]
    names = dict(zip("ab", map(markdown, comparison.names), strict=True))
    for table, about in (("differences.csv", _ABOUT_DIFFERENCES), ("measures.csv", _ABOUT_MEASURES)):
        said = {column: text.format(**names) for column, text in about.items()}
        parts += [f"## Columns of {table}", explained(said, said)]
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")


def text(comparison: Comparison) -> str:
    """Return the comparison for a terminal: what differs in settings and code, then a table of measures."""
    return "\n".join(_report(comparison, _plain))


def for_page(comparison: Comparison) -> dict:
    """Return what the page shows of a comparison, as objects of JSON."""
    measures = [*_compared(), *map(_column, _others(comparison))]
    return {
        **{name: getattr(comparison, name) for name in ("names", "titles", "keys")},
        "sentence": _sentence(comparison),
        "notes": [{"text": text, "warning": warning} for text, warning in _code(comparison)],
        "settings": [one.line(comparison.names) for one in words.differences(comparison.differences)],
        "versions": _versions_told(comparison),
        "rows": comparison.differences.to_numpy().tolist(),
        "pairs": [{"outputs": pair.outputs, "what": pair.what, "bits": pair.bits} for pair in comparison.pairs],
        "test_set": comparison.test_set,
        "over": _over(comparison),
        "intervals": _INTERVALS,
        "measures": [
            {
                **{"name": one.name, "label": one.heading, "help": one.help, "digits": one.digits},
                "better": one.better and f"{one.better} is better",
                "first": one.compared,
                "rows": [_json_row(row) for row in _rows(comparison, one)],
            }
            for one in measures
        ],
    }


def _json_row(row: Row) -> dict:
    named = {name: getattr(row, name) for name in ("a", "b", "difference", "low", "high")}
    numbers = {name: None if pd.isna(value) else float(value) for name, value in named.items()}
    words_of = {"over": row.over, "verdict": row.verdict, "words": row.words, "equal": row.equal}
    return {"pair": row.pair, **numbers, **words_of}


# names


def _both(values: Iterable[str]) -> tuple[str, str]:
    a, b = values
    return a, b


def _names(folders: tuple[Path, Path], keys: tuple[str, str]) -> tuple[str, str]:
    """Return short names of two experiments: those of their folders, as far as they differ.

    Else they have the keys of the experiments, or the first folders above them that differ.
    """
    paths = [folder.absolute() for folder in folders]
    plain = _both(path.name.removesuffix("_wav") for path in paths)
    if plain[0] != plain[1]:
        return plain
    if keys[0] != keys[1] and all(keys):
        return _both(f"{name}.{key}" for name, key in zip(plain, keys, strict=True))
    above = list(zip(*(path.resolve().parts[::-1] for path in paths)))  # noqa: B905
    differing = next((both for both in above if both[0] != both[1]), ("one place", "the same place"))
    return _both(f"{name} in {place}" for name, place in zip(plain, differing, strict=True))


def _pair(both: tuple[tuple[int, str], tuple[int, str]], measured: list[pd.DataFrame], provenance: list[dict]) -> Pair:
    what, bits, rates = [], [], []
    for output, table, side in zip(both, measured, provenance, strict=True):
        entry = next((row for row in side["experiment"]["outputs"] if (row["index"], row["tag"]) == output), {})
        rows = table[(table["index"] == output[0]) & (table["tag"] == output[1])]
        number, ms, rate = (
            float(rows[name].dropna().iloc[0]) if name in rows and rows[name].notna().any() else None
            for name in ("bits_per_frame", "frame_ms", "bit_per_s")
        )
        what.append(entry.get("processing") or entry.get("process") or "")
        bits.append(f"{number:.0f} bits every {ms:.0f} ms" if number is not None and ms is not None else "")
        rates.append(rate)
    return Pair(both, _both(what), _both(bits), (rates[0], rates[1]))


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


def _utterances(folders: tuple[Path, Path], provenance: list[dict]) -> list[pd.DataFrame] | None:
    """Read utterances.csv of two experiments, in one order; None unless both have the same test set.

    Its utterances may lie in other shards. Raises InputError for tables that do not hold the same utterances.
    """
    if not _same_set(provenance):
        return None
    order = ["speaker", "utterance"]
    what, tables = "the measures of a test set", []
    for folder in folders:
        table = read_table(folder / "utterances.csv", "index", "tag", *order, what=what)
        tables.append(table.sort_values(order, kind="stable"))
    listed = [
        [part[order].to_numpy().tolist() for _, part in table.groupby(["index", "tag"], sort=False)] for table in tables
    ]
    if any(one != listed[0][0] for side in listed for one in side):
        raise InputError(f"{folders[1]}/utterances.csv: has other utterances than {folders[0]}, expected the same")
    return tables


def _same_set(provenance: list[dict]) -> bool:
    known = [(side.get("test_set") or {}).get("sha256") for side in provenance]
    return known[0] is not None and known[0] == known[1]


def _about_sets(names: tuple[str, str], provenance: list[dict]) -> str:
    """Return on which test set two experiments are compared, or why they are on samples, as a sentence."""
    known = [side.get("test_set") for side in provenance]
    titles = [one["name"] for one in known if one]
    if _same_set(provenance):
        called = titles[0] if titles[0] == titles[1] else f"{titles[0]} (in {names[1]} {titles[1]})"
        return f"Both were measured on the test set {called}: {counted(known[0])}. {OVER_SPEAKERS}"
    what = "means and intervals are of the samples that both have"
    if len(titles) == 2:
        other = f"{titles[0]} and {titles[1]}" if titles[0] != titles[1] else f"two of the name {titles[0]}"
        return f"They have different test sets ({other}), so {what}."
    if titles:
        (name,) = (name for name, one in zip(names, known, strict=True) if one)
        return f"Only {name} has a test set ({titles[0]}), so {what}."
    return f"Neither has a test set, so {what}."


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
    own = ("name", "samples", "outputs", "code", "measured_in_set")
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
    measured: list[pd.DataFrame],
    frames: list[pd.DataFrame],
    matched: dict,
    seed: int,
    provenance: list[dict],
    utterances: list[pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Return the table of `Comparison.measures`.

    Means are over the utterances that have a measure in both, or else over such samples.
    """
    numeric = [table.select_dtypes("number").columns for table in measured]
    names = [name for name in numeric[0] if name not in _KEYS and name in numeric[1]]
    in_set = [name for name in SET_MEASURES if all(name in table for table in utterances or ())] if utterances else []
    names += [name for name in in_set if name not in names]
    measures = [_column(name) for name in names]
    of_set = [dict(list(table.groupby(["index", "tag"]))) for table in utterances or ()]
    by_output = [dict(list(table.groupby(["index", "tag"]))) for table in measured]
    by_sample = [dict(list(table.groupby(_KEYS))) for table in frames]
    rows = []
    for outputs in matched.items():
        ours, theirs = (of[output].set_index("sample") for of, output in zip(by_output, outputs, strict=True))
        quantised = [_quantised(side, output) for side, output in zip(provenance, outputs, strict=True)]
        other_vectors = None not in quantised and quantised[0] != quantised[1]
        index_b, tag_b = (there if there != here else "" for here, there in zip(*outputs, strict=True))
        for measure in measures:
            here = [*outputs[0], index_b, tag_b, measure.name]
            if measure.name in in_set:
                sides = [of[output].reset_index(drop=True) for of, output in zip(of_set, outputs, strict=True)]
                if found := paired(*(side[measure.name] for side in sides), sides[0]["speaker"], seed):
                    comparable = not (measure.of_vectors and other_vectors)
                    rows.append([*here, np.nan, *_of_set(measure, found, comparable)])
                    continue
            if not all(measure.name in side for side in (ours, theirs)):
                continue
            values = [side[measure.name] for side in (ours, theirs)]
            pair = pd.concat(values, axis=1, keys=["a", "b"], join="inner").dropna()
            if pair.empty or (measure.better is None and pair["a"].equals(pair["b"])):
                continue
            row = [*here, len(pair), np.nan, np.nan, *pair.mean()]
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


def _of_set(measure: Column, found: dict, comparable: bool) -> list:
    """Return a row of `Comparison.measures` from utterances on, of what `sets.paired` found."""
    row = [found[name] for name in ("utterances", "speakers", "a", "b")]
    if not comparable:
        return [*row, np.nan, np.nan, np.nan, "", "not comparable"]
    low, high = found["low"], found["high"]
    if np.isnan(low):
        return [*row, found["difference"], low, high, "", ""]
    verdict = ""
    if measure.better in ("higher", "lower"):
        verdict = "same" if low <= 0 <= high else "better" if (low > 0) == (measure.better == "higher") else "worse"
    return [*row, found["difference"], low, high, "speakers", verdict]


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


# printing


@dataclass(frozen=True)
class Row:
    """A measure of a pair of outputs; `pair` is its place in `Comparison.pairs`. Numbers may be NaN."""

    pair: int
    samples: float
    utterances: float
    speakers: float
    a: float
    b: float
    difference: float
    low: float
    high: float
    over: str
    verdict: str

    @property
    def equal(self) -> bool:
        return self.difference == 0 and not (self.low < 0 or self.high > 0)

    @property
    def words(self) -> str:
        """The verdict in words: nothing where there is none, or where both are equal."""
        words_of = _ON_SPEAKERS if self.over == "speakers" else _VERDICTS
        return "" if self.equal else words_of.get(self.verdict, self.verdict)


def _compared() -> list[Column]:
    """Return the measures that matter, in order: those of speech, then others that have better values, then rates."""
    chosen = [column for column in columns.MEASURES if column.compared]
    return sorted(chosen, key=lambda one: (not one.of_speech, one.better is None))


def _column(name: str) -> Column:
    # A measure that another version wrote has no row in the table of measures. Only its name is known.
    return columns.COLUMNS.get(name, Column(name=name, label=name))


def _others(comparison: Comparison) -> list[str]:
    """Return the names of the measures that matter less, in the order of measures.csv of an experiment."""
    order = list(columns.COLUMNS)
    others = [name for name in dict.fromkeys(comparison.measures["measure"]) if not _column(name).compared]
    return sorted(others, key=lambda name: order.index(name) if name in order else len(order))


def _rows(comparison: Comparison, measure: Column) -> list[Row]:
    """Return the rows of a measure, for the pairs that have it. Bit rates are there where they are equal, too."""
    table = comparison.measures[comparison.measures["measure"] == measure.name]
    rows = []
    for place, pair in enumerate(comparison.pairs):
        row = next((one for one in table.to_dict("records") if (one["index"], one["tag"]) == pair.outputs[0]), None)
        if row:
            named = ("samples", "utterances", "speakers", "a", "b", "difference", "low", "high")
            rows.append(Row(place, *(row[name] for name in named), row["interval"], row["verdict"]))
        elif measure.name == "bit_per_s" and pair.rates[0] is not None and pair.rates[0] == pair.rates[1]:
            rows.append(Row(place, 0, 0, 0, *pair.rates, 0.0, 0.0, 0.0, "", ""))
    return rows


def _over(comparison: Comparison) -> str:
    """Return what the means of the measures that matter are over: 58 utterances of 8 speakers, or 5 samples."""
    rows = [row for one in _compared() for row in _rows(comparison, one)]
    most = {name: int(np.nanmax([0, *(getattr(row, name) for row in rows)])) for name in _COUNTED}
    if most["utterances"]:
        return counted(most)
    return f"{most['samples']} sample{'s' if most['samples'] != 1 else ''}"


def _notes(comparison: Comparison) -> list[tuple[str, bool]]:
    """Return what a reader must know first, each with whether it is a warning: quick looks, and other code."""
    looks = zip(comparison.names, comparison.quick_looks, strict=True)
    return [*((f"{name}: {text}", True) for name, text in looks if text), *_code(comparison)]


def _code(comparison: Comparison) -> list[tuple[str, bool]]:
    """Return a sentence on code and revisions, with whether it is a warning; nothing where they are the same."""
    table = comparison.differences
    code = table.loc[table["kind"] == "definitions", "where"].tolist()
    revisions = table[(table["kind"] == "versions") & (table["where"] == "revision")]
    at = "".join(f" {_cut(row.a)} and {_cut(row.b)}" for row in revisions.itertuples())
    if code:
        parts = "1 part of the code differs" if len(code) == 1 else f"{len(code)} parts of the code differ"
        some = ", ".join(".".join(name.split(".")[-2:]) for name in code[:3])
        of = f", of revisions{at}" if at else ""
        return [(f"Made by other code{of}: {parts} ({some}{' and others' if len(code) > 3 else ''}).", True)]
    return [(f"Made at revisions{at}, with the same code.", False)] if at else []


def _versions_told(comparison: Comparison) -> str:
    """Return a sentence on the versions that differ besides the revision; "" where there are none."""
    found = comparison.differences
    found = found[(found["kind"] == "versions") & ~found["where"].isin(["revision", "diff_sha256"])]
    told = [f"{row.where} {_cut(row.a)} and {_cut(row.b)}" for row in found.itertuples()]
    return f"Versions differ: {', '.join(told)}." if told else ""


def _sentence(comparison: Comparison) -> str:
    """Return what differs, and how PESQ or the first other measure changes, in one or two sentences."""
    found = words.differences(comparison.differences)
    if len(found) == 1:
        parts = [f"What differs: {found[0].line(comparison.names)}."]
    elif found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        parts = [f"{len(found)} settings differ: {', '.join(one.short for one in found[:3])}{more}."]
    else:
        parts = ["No setting differs."]
    for measure in _compared():
        if rows := _rows(comparison, measure):
            parts.append(_outcome(measure, rows, comparison.names[1]))
            break
    return " ".join(parts)


def _outcome(measure: Column, rows: list[Row], b: str) -> str:
    """Return of how many outputs a measure is better and worse: By PESQ wide is better in 1 of 6 outputs."""
    if all(row.equal for row in rows):
        return f"{measure.label} is equal in all outputs."
    in_set = any(row.over == "speakers" for row in rows)
    by = f"By {measure.label} on the test set" if in_set else f"By {measure.label}"
    counts = {verdict: sum(row.verdict == verdict and not row.equal for row in rows) for verdict in ("better", "worse")}
    beyond = " beyond chance" if in_set else ""
    told = " and ".join(f"{verdict}{beyond} in {count}" for verdict, count in counts.items() if count)
    of = f"of {len(rows)} output{'s' if len(rows) > 1 else ''}"
    return f"{by}, {b} is {told} {of}." if told else f"{by}, no output differs {beyond.strip() or 'clearly'}."


def _report(comparison: Comparison, table: Callable[[list[list[str]], list[str]], str]) -> Iterator[str]:
    """Give the headings, texts and tables of a comparison; `table` lays out rows under a header."""
    in_markdown = table is _markdown
    heading = "## " if in_markdown else ""
    said: Callable[[str], str] = markdown if in_markdown else str
    a, b = map(said, comparison.names)
    yield f"{heading[1:]}{a} compared with {b}"
    of_each = zip(comparison.names, comparison.titles, comparison.keys, strict=True)
    lines = [f"{name}: {', '.join(filter(None, [title, key and f'key {key}']))}" for name, title, key in of_each]
    yield "\n".join(f"- {said(line)}" if in_markdown else f"  {line}" for line in lines)
    for note, warning in _notes(comparison):
        yield f"**{said(note)}**" if in_markdown and warning else said(note)
    if comparison.differences.empty and comparison.measures["difference"].eq(0).all():
        yield "No difference."
        return
    yield said(_sentence(comparison))
    found = [one.line(comparison.names) for one in words.differences(comparison.differences)]
    if len(found) > 1:
        yield f"{heading}What differs"
        lines = [*found[:_LINES], *([f"{len(found) - _LINES} more: differences.csv"] if len(found) > _LINES else [])]
        yield "\n".join(f"- {said(line)}" if in_markdown else f"  {line}" for line in lines)
    if told := _versions_told(comparison):
        yield said(told)
    yield from _of_measures(comparison, table, heading, said)


def _of_measures(
    comparison: Comparison, table: Callable[[list[list[str]], list[str]], str], heading: str, said: Callable[[str], str]
) -> Iterator[str]:
    """Give the table of the measures that matter, and where the others are."""
    a, b = comparison.names
    by_measure = {one: _rows(comparison, one) for one in _compared()}
    changed = {row.pair for rows in by_measure.values() for row in rows if not row.equal}
    equal = [pair.name for place, pair in enumerate(comparison.pairs) if place not in changed]
    yield f"{heading}Measures: means over {_over(comparison)}; a difference is {said(b)} less {said(a)}"
    yield said(comparison.test_set)
    cells = []
    for measure, rows in by_measure.items():
        shown = [row for row in rows if row.pair in changed]
        for i, row in enumerate(shown):
            better = f", {measure.better} is better" if measure.better else ""
            cells.append(
                [f"{measure.heading}{better}" if not i else "", comparison.pairs[row.pair].name, *_cells(row, measure)]
            )
    if cells:
        yield table(cells, ["", "output", a, b, "difference", "95 % interval", "over", f"{b} is"])
    if equal:
        yield said(f"Equal in these measures: {', '.join(equal)}.")
    if others := _others(comparison):
        of_others = comparison.measures[comparison.measures["measure"].isin(others)]
        counts = [f"{sum(of_others['verdict'] == verdict)} {verdict}" for verdict in ("better", "worse")]
        labels = ", ".join(_column(name).label for name in others[:4]) + (", ..." if len(others) > 4 else "")
        yield said(f"Other measures ({labels}; {len(others)} in all) are in measures.csv: {', '.join(counts)}.")
    if any(row.over != "speakers" for one, rows in by_measure.items() for row in rows if row.over and one.better):
        yield _INTERVALS


def _cells(row: Row, measure: Column) -> list[str]:
    """Return the numbers of a row of the printed table; one that is equal has no interval, nor has a rate."""
    a, b = (f"{value:.{measure.digits}f}" for value in (row.a, row.b))
    if row.equal:
        return [a, b, "equal", "", "", ""]
    digits = measure.digits + (measure.better is not None)
    difference = "" if np.isnan(row.difference) else f"{row.difference:+.{digits}f}"
    known = row.over and measure.better is not None
    interval = f"{row.low:+.{digits}f} to {row.high:+.{digits}f}" if known else ""
    return [a, b, difference, interval, row.over if known else "", row.words]


def _cut(text: str, most: int = 40) -> str:
    """Return a text, its middle left out where it is long, a checksum or revision to ten characters."""
    text = re.sub(r"\b([0-9a-f]{10})[0-9a-f]{22,}\b", r"\1", text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _plain(rows: list[list[str]], header: list[str]) -> str:
    """Lay out a table for a terminal; long texts are cut off."""
    rows = [[cell if len(cell) <= 60 else f"{cell[:57]}..." for cell in cells] for cells in rows]
    lines = tabulate(rows, header, "plain", disable_numparse=True).splitlines()
    return "\n".join(f"  {line}".rstrip() for line in lines)


def _markdown(rows: list[list[str]], header: list[str]) -> str:
    rows = [[markdown(cell) for cell in row] for row in [header, *rows]]
    return tabulate(rows[1:], rows[0], "github", disable_numparse=True)
