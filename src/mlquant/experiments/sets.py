"""The tables of an experiment's test set: every utterance, means over them, and differences of outputs.

Intervals are of 95 %, by bootstrap over speakers: whole speakers are drawn, with all their utterances, because those of
one speaker are alike. A difference of two outputs is taken utterance by utterance.
"""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from mlquant.core.errors import InputError
from mlquant.core.intervals import speaker_interval
from mlquant.core.tables import read_table
from mlquant.measures.columns import COLUMNS, OF_SET
from mlquant.speech import sets as utterances
from mlquant.speech.sets import read as read_utterances

GROUPS = {"all": None, "male": "m", "female": "f"}
SET_MEASURES = [name for name in OF_SET if name in COLUMNS and name != "frames"]
"""Measures of a test set that have means and differences."""
MEANS = ["group", "index", "tag", "measure", "utterances", "speakers", "mean", "low", "high"]
PAIRS = ["group", "index", "tag", "index_b", "tag_b", "measure", "utterances", "speakers"]
PAIRS += ["difference", "low", "high", "beyond_chance"]
ABOUT = {
    "utterance": "name of the utterance in its part of the test set",
    "speaker": "name of the speaker",
    "utterances": "number of utterances that have the measure",
    "speakers": "number of their speakers",
    "measure": "name of the measure",
    "mean": "its mean over the utterances",
    "low": "lower end of the interval of 95 %, by bootstrap over speakers; empty for fewer than 3 speakers",
    "high": "upper end of that interval",
    "index_b": "number of the second output of a pair",
    "tag_b": "short name of the second output",
    "difference": "the second output's measure less that of the first, mean over the utterances",
    "beyond_chance": "True where the interval does not hold 0",
}


def tables(experiment: dict, root: Path | None) -> dict[str, pd.DataFrame]:
    """Return the tables utterances, set_means and set_pairs of an experiment, without rows if it has no test set.

    The experiment holds in `measured_in_set` the files of each of its outputs. Raises InputError for files that are no
    such tables, or of other utterances.
    """
    in_set = experiment.get("measured_in_set")
    if not in_set:
        made = {"utterances": ["index", "tag", *OF_SET], "set_means": MEANS, "set_pairs": PAIRS}
        return {name: pd.DataFrame(columns=columns) for name, columns in made.items()}
    found = []
    for output, files in zip(experiment["outputs"], in_set["outputs"], strict=True):
        parts = [read_table((root or Path()) / path, *OF_SET, what="measures of a test set") for path in files["files"]]
        part = pd.concat([one for one in parts if len(one)] or parts, ignore_index=True)
        part.insert(0, "index", output["index"])
        part.insert(1, "tag", output["tag"])
        found.append(part)
    names = [list(part["utterance"]) for part in found]
    for output, one in zip(experiment["outputs"], names, strict=True):
        if one != names[0]:
            raise InputError(f"output {output['index']}: was measured on other utterances than the first")
    if not names[0]:
        raise InputError(f"test_sets.{experiment['test_set']}: holds no utterance, expected at least one")
    every = pd.concat(found, ignore_index=True)
    return {"utterances": every, "set_means": _means(every), "set_pairs": _pairs(every)}


def about(experiment: dict, root: Path | None) -> dict | None:
    """Return name and numbers of an experiment's test set, and a SHA-256 of which utterances it has; None without one.

    Two sets with that SHA-256 have the same utterances, in whatever shards and under whatever name of the set.
    """
    if not (in_set := experiment.get("measured_in_set")):
        return None
    every = [one for path in in_set["utterances"] for one in read_utterances((root or Path()) / path)]
    known = sorted((one.name, one.speaker, one.samples, one.samples_sha256) for one in every)
    numbers = {"utterances": len(every), "speakers": len({one.speaker for one in every})}
    sha256 = hashlib.sha256(json.dumps(known).encode()).hexdigest()
    return {"name": experiment["test_set"], **numbers, "sha256": sha256}


def checksums(experiment: dict, root: Path | None) -> dict[str, str]:
    """Return the SHA-256 of the samples of every file that the test set is made of, by names for messages."""
    of = (experiment.get("measured_in_set") or {}).get("utterances", ())
    found = [one for path in of for one in read_utterances((root or Path()) / path)]
    return utterances.checksums(found)


def _by_output(every: pd.DataFrame, sex: str | None) -> dict[tuple[int, str], pd.DataFrame]:
    chosen = every if sex is None else every[every["sex"] == sex]
    return {name: part.reset_index(drop=True) for name, part in chosen.groupby(["index", "tag"], sort=False)}


def _means(every: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of each measure of each output, with its interval."""
    rows = []
    for group, sex in GROUPS.items():
        for (index, tag), part in _by_output(every, sex).items():
            for measure in SET_MEASURES:
                known = part[part[measure].notna()]
                if len(known):
                    counts = [len(known), known["speaker"].nunique()]
                    interval = speaker_interval(known[measure], known["speaker"]) or (np.nan, np.nan)
                    rows.append([group, index, tag, measure, *counts, known[measure].mean(), *interval])
    return pd.DataFrame(rows, columns=MEANS)


def paired(a: pd.Series, b: pd.Series, speakers: pd.Series, seed: int = 1) -> dict | None:
    """Return the means of a measure [U] of two outputs over the utterances that have it in both, and their difference.

    The values and the `speakers` are in the same order of utterances. `low` and `high` are the interval of the
    difference b less a, NaN for fewer than 3 speakers. Returns None where no utterance has the measure in both.
    """
    known = (a.notna() & b.notna()).to_numpy()
    if not known.any():
        return None
    a, b, speakers = a[known], b[known], speakers[known]
    low, high = speaker_interval(b.to_numpy() - a.to_numpy(), speakers, seed) or (np.nan, np.nan)
    means = {"a": a.mean(), "b": b.mean(), "difference": float((b.to_numpy() - a.to_numpy()).mean())}
    return {"utterances": len(a), "speakers": speakers.nunique(), **means, "low": low, "high": high}


def _pairs(every: pd.DataFrame) -> pd.DataFrame:
    """Return for each two outputs the difference of each measure that both have, with its interval."""
    rows = []
    for group, sex in GROUPS.items():
        for (a, one), (b, other) in combinations(_by_output(every, sex).items(), 2):
            for measure in SET_MEASURES:
                if found := paired(one[measure], other[measure], one["speaker"]):
                    low, high = found["low"], found["high"]
                    row = [group, *a, *b, measure, found["utterances"], found["speakers"], found["difference"]]
                    rows.append([*row, low, high, bool(low > 0 or high < 0)])
    return pd.DataFrame(rows, columns=PAIRS)
