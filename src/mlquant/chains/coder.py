"""A coding chain over arrays: the steps of `steps`, folded as the plan folds them over files.

A sample goes the way that the single commands take it: remove-gain or encode, vq-search, restore-gain or decode, infer,
synth. Each step is given by its name, with the files and the settings that its command takes:

    {"step": "encode", "weights": "..."}, and so "decode" and "infer"
    {"step": "remove_gain"}, and so "restore_gain"
    {"step": "quantise", "codebooks": ["..."], "k": 4, "mbest": 5, "send_every": 2, "predict": 0.5, "reset_every": 9}
    {"step": "synthesise", "postfilter": 1.2}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from mlquant.chains.steps import Encode, Made, Quantise, Step, Synthesise
from mlquant.core import records
from mlquant.core.blocks import validate
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.quantisers import vq
from mlquant.vocoder import decoder

FRAME_MS = 1000 * FRAME // SAMPLE_RATE
_Given: Any = Annotated[Step, Field(discriminator="step")]


@dataclass(frozen=True)
class Search:
    """The codebooks [M, k] of all stages of a quantiser, and the options of `vq.quantise` for a search in them."""

    codebooks: list[np.ndarray]
    options: dict


@dataclass(frozen=True)
class Chain:
    """The steps before the quantiser, its search, the steps after it, and the synthesis.

    The first step takes the features `source`, "b" or "y". A vector is sent every `interval_ms`.
    """

    source: str
    before: list[Any]
    search: Search
    interval_ms: int
    after: list[Any]
    synthesis: Synthesise


def load(settings: dict) -> Chain:
    """Load the chain of settings as of `studies.rates.RateSettings`.

    Raises InputError for steps that do not follow each other, and for files and numbers that do not fit.
    """
    steps = [validate(_Given, one, f"settings: steps.{i}") for i, one in enumerate(settings["steps"])]
    names = [step.step for step in steps]
    if names.count("quantise") != 1 or names[-1] != "synthesise":
        raise InputError(f"steps: found {', '.join(names)}, expected one quantise, and synthesise at the end")
    have = source = "y" if "y" in steps[0].takes else "b"
    for i, step in enumerate(steps):
        if have not in step.takes:
            where, takes = getattr(step, "weights", f"steps.{i}"), " or ".join(step.takes)
            raise InputError(f"{where}: found {have} before {step.step}, expected {takes}")
        have = step.makes or have
    at = names.index("quantise")
    search = _search(steps[at], settings["stages"])
    together = [step.loaded[1]["ncat"] for step in steps[:at] if isinstance(step, Encode)] or [1]
    interval_ms = search.options["send_every"] * FRAME_MS * together[-1]
    return Chain(source, steps[:at], search, interval_ms, steps[at + 1 : -1], steps[-1])


def search_of(step: Quantise) -> Search:
    """Return the search of a quantiser with all of its codebooks."""
    return _search(step, [len(step.codebooks)])


def _search(step: Quantise, stages: list[int]) -> Search:
    """Return the search of a quantiser that is used with each of several numbers of stages."""
    codebooks = [records.read_f32(path, step.k) for path in step.codebooks]
    if (most := max(stages)) > len(codebooks):
        raise InputError(f"stages: found {most}, expected at most {len(codebooks)}, the number of codebooks")
    options = step.model_dump(include={"mbest", "send_every", "reset_every", "smooth"})
    return Search(codebooks, options | {"a": step.coefficient()})


def encoded(chain: Chain, b: np.ndarray, y: np.ndarray) -> Made:
    """Return what the steps before the quantiser make of features b [F, 22] and y [F, 79]."""
    return _folded(chain.before, Made(b if chain.source == "b" else y, y))


def decoded(chain: Chain, made: Made, vectors: np.ndarray) -> Made:
    """Return what the steps after the quantiser make of vectors [n, k], which it gives for those of `encoded`."""
    return _folded(chain.after, replace(made, vectors=vectors))


def _folded(steps: list[Any], made: Made) -> Made:
    for step in steps:
        made = step.of_arrays(made)
    return made


def quantise(search: Search, array: np.ndarray, stages: int) -> np.ndarray:
    """Return vectors [n, k] as the decoder has them: quantised by the first `stages`, and interpolated between."""
    return vq.interpolated(_sent(search, array, stages), search.options["send_every"], len(array))


def _sent(search: Search, array: np.ndarray, stages: int, counted: np.ndarray | None = None) -> np.ndarray:
    """Return the quantised vectors [ceil(n/send_every), k] of vectors [n, k]; `counted` as in `vq.quantise`."""
    return vq.quantise(array, search.codebooks[:stages], counted=counted, **search.options)[1]


def quantise_all(search: Search, arrays: list[np.ndarray], stages: int) -> list[np.ndarray]:
    """Return several arrays [n, k] as `quantise` returns each: the fast way, to measure them by.

    The stretches between two resets of a predictive quantiser are searched all at once. For that each array is
    continued to whole stretches. One after the other, they take minutes for minutes of speech.
    """
    send_every, a, reset_every = (search.options[name] for name in ("send_every", "a", "reset_every"))
    if a is None or reset_every is None or not arrays:
        return [quantise(search, array, stages) for array in arrays]
    padded = [np.pad(array, ((0, -len(array) % (reset_every * send_every)), (0, 0))) for array in arrays]
    sent = [-(-len(array) // send_every) for array in arrays]
    counted = [np.arange(len(array) // send_every) < count for array, count in zip(padded, sent, strict=True)]
    together = _sent(search, np.concatenate(padded), stages, np.concatenate(counted))
    found = np.split(together, np.cumsum([len(marks) for marks in counted])[:-1])
    return [
        vq.interpolated(part[:count], send_every, len(array))
        for part, count, array in zip(found, sent, arrays, strict=True)
    ]


def read_pair(path: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Read features b [F, 22] and y [F, 79] of the same speech; InputError for files of different lengths."""
    b, y = records.read_features(path), records.read_f32(target, 79)
    if len(b) != len(y):
        raise InputError(f"{target}: {len(y)} frames, expected {len(b)} as in {path}")
    return b, y


def outputs(chain: Chain, settings: dict, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the y_hat [F, 79] and the speech [80*F] int16 of a sample, for each of `stages`."""
    sample = settings["samples"][name]
    made = encoded(chain, *read_pair(sample["b"], sample["y"]))
    models = list(records.read_model_in_chunks(sample["model"]))
    for stages in settings["stages"]:
        hat = decoded(chain, made, quantise(chain.search, made.vectors, stages))
        decoder.check(hat.features, sum(map(len, models)), f"{name}: y_hat", sample["model"])
        yield hat.features, chain.synthesis.of_arrays(replace(hat, model=models)).speech
