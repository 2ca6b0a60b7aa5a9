"""What the page says of an experiment's test set: its means and differences, and clips of some of its utterances."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from mlquant.core import disk
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.experiments.told import OVER_SPEAKERS
from mlquant.measures.columns import OF_SPEECH
from mlquant.speech import sets

ROOM = 275_000
"""Samples of clips for each output: at 240118 they take 3 MB of a page that is to stay below 12 MB."""
_STEP = SAMPLE_RATE // 10


def gather(known: dict, rows: Any, add: Any, delay: int) -> dict | None:
    """Return what the page says of the test set of an experiment, whose provenance is `known`; None without one.

    `rows` gives the rows of a table by its name, `add` keeps an array for the page, and sources are delayed by `delay`
    samples, as speech that was coded is. Raises InputError for tables and speech that do not fit each other.
    """
    if not known.get("test_set"):
        return None
    of_speech = [one.name for one in OF_SPEECH]
    means, pairs = ([row for row in rows(name)] for name in ("set_means", "set_pairs"))
    return {
        **{name: known["test_set"][name] for name in ("name", "utterances", "speakers")},
        "about": OVER_SPEAKERS,
        "measures": sorted(dict.fromkeys(row["measure"] for row in means), key=lambda name: name not in of_speech),
        "means": means,
        "pairs": pairs,
        "clips": _clips(known["experiment"], rows("utterances"), add, delay),
    }


def _clips(experiment: dict, rows: Sequence[dict], add: Any, delay: int) -> dict | None:
    """Return for each output its best, median and worst utterance, by the first measure of speech that is there.

    A clip that two outputs share is there once. Where all are too much for a page, the longest are cut to one length,
    in `seconds`, which is None if none is cut. Returns None where nothing was measured, or no speech is known.
    """
    in_set = experiment["measured_in_set"]
    measure = next((one for one in OF_SPEECH if any(row.get(one.name) is not None for row in rows)), None)
    if measure is None or "speech" not in in_set:
        return None
    shards = [sets.read(Path(path)) for path in in_set["utterances"]]
    every = [(shard, place) for shard, those in enumerate(shards) for place in range(len(those))]
    picked: dict[tuple[int, str], list[tuple[str, int, float]]] = {}
    for output in experiment["outputs"]:
        mine = [row for row in rows if (row["index"], row["tag"]) == (output["index"], output["tag"])]
        if [row["utterance"] for row in mine] != [shards[shard][place].name for shard, place in every]:
            raise InputError(f"output {output['index']}: its utterances.csv is not of the utterances of its test set")
        values = [(row[measure.name], i) for i, row in enumerate(mine) if row[measure.name] is not None]
        order = sorted(values, key=lambda one: (-one[0] if measure.better == "higher" else one[0], one[1]))
        middle, last = (len(order) - 1) // 2, len(order) - 1
        places = {place: which for which, place in (("worst", last), ("median", middle), ("best", 0)) if order}
        picked[output["index"], output["tag"]] = [
            (places[place], order[place][1], order[place][0]) for place in sorted(places)
        ]
    chosen = {i for picks in picked.values() for _, i, _ in picks}
    lengths = {i: shards[every[i][0]][every[i][1]].samples + delay for i in chosen}
    heard = [lengths[i] for i in chosen] + [lengths[i] for picks in picked.values() for _, i, _ in picks]
    longest = _longest(heard, ROOM * len(picked))
    sources = {
        i: add(np.pad(_piece(in_set["speech"][shard], one.start, one.samples), (delay, 0))[:longest], "i2")
        for i in sorted(chosen)
        for shard, one in [(every[i][0], shards[every[i][0]][every[i][1]])]
    }
    outputs = []
    for output, files in zip(experiment["outputs"], in_set["outputs"], strict=True):
        made = []
        for which, i, value in picked[output["index"], output["tag"]]:
            shard, place = every[i]
            one = shards[shard][place]
            starts = [0, *accumulate(FRAME * other.frames for other in shards[shard])]
            coded = _piece(files["speech"][shard], starts[place], FRAME * one.frames)
            about = {"which": which, "utterance": one.name, "speaker": one.speaker, "value": value}
            made.append({**about, "source": sources[i], "coded": add(coded[:longest], "i2")})
        outputs.append({"index": output["index"], "tag": output["tag"], "picks": made})
    cut = longest if longest is not None and any(length > longest for length in heard) else None
    return {"measure": measure.name, "seconds": cut and cut / SAMPLE_RATE, "outputs": outputs}


def _longest(lengths: Iterable[int], room: int) -> int | None:
    """Return the length to which the longest must be cut, so that all fit into the room; None if they fit as they are.

    It is a multiple of 0.1 s, and 1 s at least.
    """
    ordered = sorted(lengths)
    for i, length in enumerate(ordered):
        if length * (len(ordered) - i) > room:
            return max(room // (len(ordered) - i) // _STEP * _STEP, SAMPLE_RATE)
        room -= length
    return None


def _piece(path: str, start: int, samples: int) -> np.ndarray:
    """Read samples [samples] int16 of a headerless file, from `start` on; InputError where it is shorter."""
    try:
        speech = np.fromfile(path, "<i2", samples, offset=2 * start)
    except OSError as error:
        raise disk.unreadable(Path(path), error) from None
    if len(speech) < samples:
        raise InputError(f"{path}: ends before sample {start + samples}, expected all utterances of its shard")
    return speech
