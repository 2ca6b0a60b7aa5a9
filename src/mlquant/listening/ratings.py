"""What raters say: their answers checked, means with intervals, differences, and what of these is chance.

A rater's answers are alike, and so are those to one sample. Therefore the intervals and tests of scores take the means
of raters as what was drawn by chance, not single answers: they tell what other raters like these would say of these
samples. A second interval tells what these raters would say of other samples like these.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import binomtest
from tabulate import tabulate

from mlquant.core import disk
from mlquant.core.colours import LIGHT
from mlquant.core.errors import Faults, InputError, markdown, one_line
from mlquant.core.figures import new_figure
from mlquant.core.intervals import sample_interval
from mlquant.core.tables import explained

COLUMNS = ("test", "kind", "experiment", "rater", "seed", "time", "trial", "sample", "position", "stimulus", "index")
COLUMNS += ("tag", "score", "listens", "seconds")
"""The columns of a file that the page saves."""
LEAST, MOST_MISSED = 90, 0.15
RULE = (
    f"A rater who gives the hidden reference less than {LEAST} in more than {MOST_MISSED:.0%} of the trials is left "
    "out, as in ITU-R BS.1534-3."
)
"""Which raters of a test of kind mushra are left out."""
_TEST = ["test", "kind", "experiment"]
_WHAT = ["stimulus", "index", "tag"]
_SCALE = {"mushra": 100.0, "preference": 1.0}

ABOUT = {
    "test": "name and key of the test, as its page has it",
    "kind": "mushra: a score for each sound; preference: which of two is better",
    "experiment": "name and key of the experiment that was heard",
    "stimulus": "reference: the hidden reference; anchor: the low anchor; output: an output of the experiment",
    "index": "index of the output; empty for reference and anchor",
    "tag": "tag of the output, or mode of the anchor",
    "score": "mean score, each rater with the same weight: from 0 to 100, or of pairs the share of answers that prefer "
    "it, where no preference counts half",
    "low": "lower end of the 95 % interval over raters: what others like these would say of these samples",
    "high": "upper end of this interval",
    "low_samples": "lower end of the 95 % interval over samples: what these raters would say of others like these",
    "high_samples": "upper end of this interval",
    "raters": "raters that the figures are of",
    "samples": "samples that the figures are of",
    "answers": "answers that the figures are of",
    "rater": "name or code of the rater",
    "files": "file with the rater's answers",
    "trials": "trials that were answered",
    "missed": f"trials in which the hidden reference got less than {LEAST}",
    "seconds": "for how long the rater listened to the sounds that were judged",
    "left_out": "why the rater is left out; empty if not",
    "stimulus_a": "A of the pair: reference, anchor or output",
    "index_a": "its index",
    "tag_a": "its tag",
    "stimulus_b": "B of the pair",
    "index_b": "its index",
    "tag_b": "its tag",
    "difference": "mean score of A less that of B, in the same trials",
    "low_difference": "lower end of its 95 % interval over raters",
    "high_difference": "upper end of this interval",
    "better_a": "answers that prefer A",
    "ties": "answers without a preference",
    "better_b": "answers that prefer B",
    "share_a": "share of A among the answers with a preference",
    "low_share": "lower end of its exact 95 % interval (Clopper and Pearson), which takes answers as independent",
    "high_share": "upper end of this interval",
    "p": "chance of a difference as large if there were none: of scores by Student's t test of the raters' mean "
    "differences, of preferences by the exact binomial test of the answers",
    "p_holm": "the same, corrected for the number of pairs by the method of Holm",
    "better": "A or B where that is beyond chance: p_holm below 0.05; else empty",
}
"""What each column of the written tables holds."""


def summarise(paths: Sequence[Path], out: Path) -> str:
    """Write ratings.csv, pairs.csv, raters.csv, README.md and a figure; return what is printed.

    Other files in `out` stay. Raises InputError for files that hold no answers to one test (see `read`), and if every
    rater is left out.
    """
    answers = read(paths)
    raters = screened(answers)
    left_out = raters[raters["left_out"] != ""]
    if len(left_out) == len(raters):
        raise InputError(f"all {len(raters)} raters are left out, expected one or more that find the hidden reference")
    answers = answers[~answers["rater"].isin(left_out["rater"])]
    tables = {"ratings": means(answers), "pairs": pairs(answers), "raters": raters}
    for name, table in tables.items():
        disk.write_text(out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    kind = answers["kind"].iloc[0]
    with new_figure(6.5, 1.2 + 0.32 * len(tables["ratings"]), out / "ratings.png", out / "ratings.svg") as figure:
        _draw(figure.subplots(), tables["ratings"], answers, kind)
    disk.write_text(out / "README.md", "\n\n".join(_readme(tables, kind)) + "\n")
    return "\n\n".join(_told(tables, kind, "plain"))


# reading


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the answers of files as rows with COLUMNS, and with `file` and `row`, which names its line.

    Raises InputError, with a line for each fault, for a file that the page did not save; for answers to another test
    than the first file's; for values that cannot be, such as a score above 100; for a trial that is there twice, or not
    as a whole.
    """
    faults, rows = Faults(), list[dict]()
    for path in paths:
        with faults.gathered():
            for number, row in _lines(path):
                with faults.gathered():
                    rows.append(_checked(row, f"{path}: row {number}") | {"file": str(path), "row": number})
    faults.tell()
    first = rows[0]
    for row in rows:
        for name in _TEST:
            if row[name] != first[name]:
                was = f"{name} {_short(row[name])}, expected {_short(first[name])} as in {first['file']}"
                faults.append(f"{row['file']}: row {row['row']}: found {was}")
                break
    faults.tell()
    _check_trials(rows, faults)
    faults.tell()
    return pd.DataFrame(rows).astype({"index": "Int64"})


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Give the rows of a file with their numbers; the first row holds the names of the columns."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = list(reader.fieldnames or ())
            lack = [name for name in COLUMNS if name not in found]
            if lack or len(found) != len(COLUMNS):
                what = f"has no column {lack[0]}" if lack else f"has {len(found)} columns"
                raise InputError(f"{path}: {what}, expected {', '.join(COLUMNS)}, as the page of a listening test has")
            rows = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise disk.unreadable(path, error) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no table in UTF-8 ({error}), expected answers as the page saves them") from None
    if not rows:
        raise InputError(f"{path}: has no answers, expected one or more")
    yield from rows


def _short(text: object) -> str:
    return repr(one_line(str(text))[:60])


def _whole(text: str, least: int = 0) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least else None


def _number(text: str, most: float) -> float | None:
    """Return a number from 0 to `most`; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= most and text.isascii() else None


def _time(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return None


def _named(text: str) -> str | None:
    return text if text.strip() else None


def _one_of(*texts: str) -> Callable[[str], str | None]:
    return lambda text: text if text in texts else None


_READ: dict[str, tuple[Callable[[str], Any], str]] = {
    "test": (_named, "the name of a test"),
    "kind": (_one_of("mushra", "preference"), "mushra or preference"),
    "experiment": (_named, "the name of an experiment"),
    "rater": (_named, "a name"),
    "seed": (
        lambda text: int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None,
        "a whole number",
    ),
    "time": (_time, "a time as 2026-11-30T12:00:00Z"),
    "trial": (lambda text: _whole(text, 1), "a number from 1 on"),
    "sample": (_named, "the name of a sample"),
    "position": (_named, "a letter"),
    "stimulus": (_one_of("reference", "anchor", "output"), "reference, anchor or output"),
    "listens": (_whole, "a whole number"),
    "seconds": (lambda text: _number(text, 1e6), "seconds"),
}
"""How the values of columns are read, each with what is expected; None stands for a value that cannot be."""


def _checked(row: dict, where: str) -> dict:
    """Return a row with its values read; InputError for the first that cannot be."""
    if None in row or None in row.values():
        raise InputError(f"{where}: has {'more' if None in row else 'fewer'} than {len(COLUMNS)} values")
    found: dict[str, Any] = {"tag": row["tag"]}
    for name, (read, expected) in _READ.items():
        found[name] = read(row[name])
        if found[name] is None:
            raise InputError(f"{where}: {name}: found {_short(row[name])}, expected {expected}")
    is_output = found["stimulus"] == "output"
    if found["kind"] == "preference" and not is_output:
        raise InputError(f"{where}: stimulus: found {found['stimulus']}, expected output in a test of preference")
    found["index"] = _whole(row["index"]) if is_output else None
    if is_output == (found["index"] is None) or (row["index"] and not is_output):
        expected = "the index of an output" if is_output else f"none for the {found['stimulus']}"
        raise InputError(f"{where}: index: found {_short(row['index'])}, expected {expected}")
    found["score"] = _number(row["score"], _SCALE[found["kind"]])
    whole_steps = found["kind"] == "mushra" or found["score"] in (0, 0.5, 1)
    if found["score"] is None or not whole_steps:
        expected = "a number from 0 to 100" if found["kind"] == "mushra" else "0, 0.5 or 1"
        raise InputError(f"{where}: score: found {_short(row['score'])}, expected {expected}")
    return found


def _check_trials(rows: list[dict], faults: Faults) -> None:
    """Note trials that are there twice, or whose rows do not belong together."""
    trials: dict[tuple, list[dict]] = {}
    for row in rows:
        trials.setdefault((row["rater"], row["trial"]), []).append(row)
    seen: dict[tuple, dict] = {}
    twice: set[tuple] = set()  # a line for each file is enough
    heard = {_what(row) for row in rows}
    for (rater, number), group in trials.items():
        first, kind = group[0], group[0]["kind"]
        place = f"{first['file']}: row {first['row']}"
        about = f"trial {number} of rater {_short(rater)}"
        other = next((row for row in group if (row["file"], row["sample"]) != (first["file"], first["sample"])), None)
        again = next((row for i, row in enumerate(group) if _what(row) in map(_what, group[:i])), None)
        if other or again:
            row = other or again
            assert row
            if (row["file"], rater) not in twice:
                known = f"was answered in {first['file']}, row {first['row']}, already"
                advice = "expected each trial once; have two people one name?"
                faults.append(f"{row['file']}: row {row['row']}: {about} {known}, {advice}")
            twice.add((row["file"], rater))
            continue
        if kind == "preference":
            if len(group) != 2 or sum(row["score"] for row in group) != 1:
                scores = ", ".join(f"{row['score']:g}" for row in group)
                faults.append(f"{place}: {about} has the scores {scores}, expected two that make 1")
        elif {_what(row) for row in group} != heard:
            lack = next(iter(sorted(heard - {_what(row) for row in group}, key=str)))
            faults.append(f"{place}: {about} has no {_label(*lack)}, expected all sounds in each trial")
        elif not any(row["stimulus"] == "reference" for row in group):
            faults.append(f"{place}: {about} has no hidden reference, expected one in each trial")
        known_trial = (rater, first["sample"], frozenset(map(_what, group)))
        if (before := seen.setdefault(known_trial, first)) is not first:
            was = f"{before['file']}, row {before['row']}"
            faults.append(f"{place}: {about} has sample {first['sample']} as in {was}, expected it once")


def _what(row: dict) -> tuple:
    return tuple(row[name] for name in _WHAT)


# who is left out, means, and differences


def screened(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each rater; `left_out` says why one is left out, which is by RULE, and is empty otherwise."""
    rows = []
    for rater, own in answers.groupby("rater", sort=False):
        trials = own["trial"].nunique()
        row = {"rater": rater, "files": ", ".join(own["file"].unique()), "trials": trials}
        missed = int((own.loc[own["stimulus"] == "reference", "score"] < LEAST).sum())
        why = f"missed the hidden reference in {missed} of {trials} trials" if missed > MOST_MISSED * trials else ""
        row |= {"missed": missed} if own["kind"].iloc[0] == "mushra" else {}
        rows.append(row | {"seconds": own["seconds"].sum(), "left_out": why})
    return pd.DataFrame(rows)


def means(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of each stimulus with its intervals, the highest first."""
    most = _SCALE[answers["kind"].iloc[0]]
    rows = []
    for what, own in answers.groupby(_WHAT, sort=False, dropna=False):
        by_rater, by_sample = (own.groupby(name)["score"].mean().to_numpy() for name in ("rater", "sample"))
        row = dict(zip([*_TEST, *_WHAT], [*own[_TEST].iloc[0], *what], strict=True))
        row["score"] = by_rater.mean()
        for end, values in (("", by_rater), ("_samples", by_sample)):
            low, high = sample_interval(values) or (math.nan, math.nan)
            row |= {f"low{end}": max(low, 0.0), f"high{end}": min(high, most)}  # of NaN it is NaN
        rows.append(row | {"raters": len(by_rater), "samples": len(by_sample), "answers": len(own)})
    table = pd.DataFrame(rows).astype({"index": "Int64"})
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


def pairs(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each pair of stimuli that were heard in one trial, with difference, interval and p."""
    compare = _difference if answers["kind"].iloc[0] == "mushra" else _preference
    scores = {what: one.set_index(["rater", "trial"])["score"] for what, one in _by_stimulus(answers)}
    stimuli = sorted(scores, key=lambda what: -scores[what].mean())
    rows = []
    for a, b in combinations(stimuli, 2):
        both = pd.concat([scores[a], scores[b]], axis=1, keys=["a", "b"], join="inner")
        if len(both):
            named = {
                f"{name}_{side}": value
                for side, what in (("a", a), ("b", b))
                for name, value in zip(_WHAT, what, strict=True)
            }
            rows.append(named | compare(both) | {"raters": both.index.unique("rater").size, "answers": len(both)})
    table = pd.DataFrame(rows).astype({"index_a": "Int64", "index_b": "Int64"})
    table["p_holm"] = holm(table["p"].to_numpy())
    beyond = table["p_holm"] < 0.05
    table["better"] = np.where(beyond, np.where(table.pop("_a_is_higher"), "A", "B"), "")
    return table[[*table.columns.drop(["raters", "answers"]), "raters", "answers"]]


def _by_stimulus(answers: pd.DataFrame) -> Iterator[tuple[tuple, pd.DataFrame]]:
    for what, own in answers.groupby(_WHAT, sort=False, dropna=False):
        yield tuple(None if pd.isna(value) else value for value in what), own


def _difference(both: pd.DataFrame) -> dict:
    """Return the difference of two stimuli's scores [rater, trial], over the means of raters."""
    differences = (both["a"] - both["b"]).groupby("rater").mean().to_numpy()
    low, high = sample_interval(differences) or (math.nan, math.nan)
    row = {"difference": differences.mean(), "low_difference": low, "high_difference": high}
    return row | {"p": t_test(differences), "_a_is_higher": differences.mean() > 0}


def t_test(values: np.ndarray) -> float:
    """Return the two-sided p-value of Student's t test that the mean of values is 0; NaN for fewer than three.

    Of equal values, which have no spread, it is that of the sign test.
    """
    count, mean = len(values), values.mean()
    if count < 3:
        return math.nan
    spread = values.std(ddof=1)
    if spread < 1e-9:
        return 1.0 if abs(mean) < 1e-9 else 2.0 ** (1 - count)
    return float(2 * stdtr(count - 1, -abs(mean) / spread * math.sqrt(count)))


def _preference(both: pd.DataFrame) -> dict:
    """Return how often each of two outputs is preferred, among the answers [rater, trial] with a preference."""
    a, b = int((both["a"] > both["b"]).sum()), int((both["a"] < both["b"]).sum())
    row = {"better_a": a, "ties": len(both) - a - b, "better_b": b}
    if not a + b:
        return row | {
            "share_a": math.nan,
            "low_share": math.nan,
            "high_share": math.nan,
            "p": 1.0,
            "_a_is_higher": False,
        }
    found = binomtest(a, a + b)
    interval = found.proportion_ci(0.95)
    row |= {"share_a": a / (a + b), "low_share": interval.low, "high_share": interval.high}
    return row | {"p": found.pvalue, "_a_is_higher": a > b}


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values [N] corrected by the method of Holm (1979), in their order; NaN stays, and does not count."""
    corrected, order = np.full(len(p), np.nan), np.argsort(p)[: int(np.isfinite(p).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


# showing


def _label(stimulus: str, index: Any, tag: str) -> str:
    return {"reference": "hidden reference", "anchor": f"anchor {tag}"}.get(stimulus, f"{index} {tag}")


def _draw(axis: Any, ratings: pd.DataFrame, answers: pd.DataFrame, kind: str) -> None:
    """Draw the mean of each stimulus with its interval over raters, and the mean of each rater as a faint dot."""
    numbers = sorted(ratings["index"].dropna())
    labels = [_label(*row) for row in ratings[_WHAT].itertuples(index=False, name=None)]
    own = {_label(*what): one.groupby("rater")["score"].mean() for what, one in _by_stimulus(answers)}
    for place, (label, row) in enumerate(zip(labels, ratings.to_dict("records"), strict=True)):
        colour = "#666666" if pd.isna(row["index"]) else LIGHT[numbers.index(row["index"]) % len(LIGHT)]
        axis.plot(own[label], [place] * len(own[label]), "o", c=colour, ms=3, alpha=0.25, mew=0)
        if not math.isnan(row["low"]):
            axis.plot([row["low"], row["high"]], [place, place], c=colour, lw=2)
        axis.plot(row["score"], place, "o", c=colour, ms=6)
    axis.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.5, -0.5))
    if kind == "mushra":
        axis.set(
            xlim=(-2, 102), xticks=range(0, 101, 20), xlabel="mean score, its 95 % interval over raters; dots: raters"
        )
        for i, word in enumerate(("bad", "poor", "fair", "good", "excellent")):
            axis.text(20 * i + 10, 1.03, word, transform=axis.get_xaxis_transform(), ha="center")
    else:
        axis.axvline(0.5, c="#666666", lw=1)
        axis.set(
            xlim=(-0.02, 1.02), xlabel="share of answers that prefer it, its 95 % interval over raters; dots: raters"
        )


def _told(tables: dict[str, pd.DataFrame], kind: str, style: str) -> list[str]:
    """Return what is printed: how many raters, the means, and which differences are beyond chance."""
    ratings, found, raters = tables["ratings"], tables["pairs"], tables["raters"]
    text = markdown if style == "github" else str
    left_out = raters[raters["left_out"] != ""]
    found = found[(found[["stimulus_a", "stimulus_b"]] != "reference").all(axis=1)]
    lines = [f"{len(raters)} raters, {len(left_out)} left out." + f" {RULE}" * (kind == "mushra")]
    lines += [f"Left out: {text(row.rater)}, who {row.left_out}." for row in left_out.itertuples()]
    digits = 1 if kind == "mushra" else 2
    rows = [
        [
            text(_label(*[row[name] for name in _WHAT])),
            f"{row['score']:.{digits}f}",
            _ends(row, "", digits),
            _ends(row, "_samples", digits),
            row["answers"],
        ]
        for row in ratings.to_dict("records")
    ]
    heads = ["", "score" if kind == "mushra" else "preferred", "95 % over raters", "over samples", "answers"]
    lines.append(tabulate(rows, heads, style, disable_numparse=True))
    beyond = [
        (
            _label(*[row[f"{name}_{good}"] for name in _WHAT]),
            _label(*[row[f"{name}_{bad}"] for name in _WHAT]),
            row["p_holm"],
        )
        for row in found[found["better"] != ""].to_dict("records")
        for good, bad in [("a", "b") if row["better"] == "A" else ("b", "a")]
    ]
    lines.append(f"Beyond chance (p below 0.05 after the correction of Holm): {len(beyond)} of {len(found)} pairs.")
    if beyond:
        lines.append("\n".join(f"- {text(good)} is better than {text(bad)} (p = {p:.2g})" for good, bad, p in beyond))
    return lines


def _ends(row: dict, end: str, digits: int) -> str:
    low, high = row[f"low{end}"], row[f"high{end}"]
    return "" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"


def _readme(tables: dict[str, pd.DataFrame], kind: str) -> Iterator[str]:
    first = tables["ratings"].iloc[0]
    yield f"# Answers to the listening test {markdown(first['test'])}"
    yield f"Of experiment {markdown(first['experiment'])}, by `mlquant ratings`."
    if kind == "preference":
        yield "A test of pairs has no hidden reference: no rater is left out."
    yield from _told(tables, kind, "github")
    yield "![scores](ratings.png)"
    yield (
        "A rater's answers are alike. Therefore intervals, and the tests of scores, are over the means of raters; "
        "three or more are needed. The interval over raters shows what others like these would say of these samples, "
        "the one over samples what these raters would say of others like these."
    )
    for name, table in tables.items():
        yield f"## Columns of {name}.csv"
        yield explained(table, ABOUT)
