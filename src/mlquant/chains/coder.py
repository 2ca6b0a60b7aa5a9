"""A coding chain over arrays: the list of steps that `steps` states, folded as the plan folds it over files.

A sample goes the way that the single commands take it: remove-gain or encode, vq-search, restore-gain or decode, infer,
synth. Each step is given by its name, with the files and the settings that its command takes:

    {"step": "encode", "weights": "..."}, and so "decode" and "infer"
    {"step": "remove_gain"}, and so "restore_gain"
    {"step": "quantise", "codebooks": ["..."], "k": 4, "mbest": 5, "send_every": 2, "predict": 0.5, "reset_every": 9}
    {"step": "synthesise", "postfilter": 1.2}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import numpy as np
from pydantic import Field, create_model

from mlquant.core import records
from mlquant.core.blocks import Block, validate
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.networks import inference
from mlquant.quantisers import gain, vq
from mlquant.quantisers.files import read_coefficient
from mlquant.quantisers.types import ResetEvery, SendEvery, Survivors, Width
from mlquant.vocoder import decoder

if TYPE_CHECKING:
    from mlquant.networks.dense import Dense
    from mlquant.networks.model import AtWork

    Step = tuple[str, tuple[Dense | AtWork, dict] | None]

FRAME_MS = 1000 * FRAME // SAMPLE_RATE


# the settings of steps


class _OfGain(Block):
    step: Literal["remove_gain", "restore_gain"]


class _OfNetwork(Block):
    step: Literal["encode", "decode", "infer"]
    weights: str


class _OfQuantiser(Block):
    step: Literal["quantise"]
    codebooks: Annotated[list[str], Field(min_length=1)]
    k: Width
    mbest: Survivors
    send_every: SendEvery
    reset_every: ResetEvery | None = None
    predict: float | None = None
    predictor: str | None = None


def _settings_of(function: Callable) -> dict[str, Any]:
    """Return the parameters of a function that have a default as fields of a block, so that it alone states them."""
    hints, given = get_type_hints(function, include_extras=True), inspect.signature(function).parameters
    return {name: (hints[name], one.default) for name, one in given.items() if one.default is not one.empty}


_OfVocoder: Any = create_model(
    "_OfVocoder", __base__=Block, step=(Literal["synthesise"], ...), **_settings_of(decoder.decode)
)
_Settings: Any = Annotated[_OfGain | _OfNetwork | _OfQuantiser | _OfVocoder, Field(discriminator="step")]

_ENDS = {
    **{"remove_gain": ("b", "shapes"), "restore_gain": ("shapes", "b"), "synthesise": ("y", "speech")},
    **{"encode": ("source", "latents"), "decode": ("latents", "target"), "infer": ("source", "target")},
    "quantise": ("shapes or latents", "shapes or latents"),
}
"""What each step takes and what it makes; source and target are the features that its network takes and makes."""


# the chain


@dataclass(frozen=True)
class Search:
    """The codebooks [M, k] of all stages of a quantiser, and the options of `vq.quantise` for a search in them."""

    codebooks: list[np.ndarray]
    options: dict


@dataclass(frozen=True)
class Chain:
    """The steps before the quantiser, its search, the steps after it, and the settings of `decoder.decode`.

    A step is its name, and the network with its settings that it goes through, or None. The first takes the features
    `source`, "b" or "y". A vector is sent every `interval_ms`.
    """

    source: str
    before: list[Step]
    search: Search
    interval_ms: int
    after: list[Step]
    synthesis: dict


@dataclass(frozen=True)
class Made:
    """What steps have made of a sample so far: features, vectors [n, k] of them, and the last b_hat [F, 22].

    The features are [F, 22], b or b_hat, or [F, 79], y or y_hat; y_hat has the energy of y [F, 79].
    """

    y: np.ndarray
    features: np.ndarray
    vectors: np.ndarray | None = None
    b_hat: np.ndarray | None = None


def load(settings: dict) -> Chain:
    """Load the chain of settings as of `studies.rates.RateSettings`.

    Raises InputError for steps that do not follow each other, and for files and numbers that do not fit.
    """
    given = [validate(_Settings, one, f"settings: steps.{i}") for i, one in enumerate(settings["steps"])]
    names = [one.step for one in given]
    if names.count("quantise") != 1 or names[-1] != "synthesise":
        raise InputError(f"steps: found {', '.join(names)}, expected one quantise, and synthesise at the end")
    steps = [(one.step, inference.load(one.weights) if isinstance(one, _OfNetwork) else None) for one in given]
    have = source = "y" if steps[0][1] and steps[0][1][0].row.source == "y" else "b"
    for i, (name, network) in enumerate(steps):
        known = {"source": network[0].row.source, "target": network[0].row.target} if network else {}
        if have in ("shapes", "latents"):
            known["shapes or latents"] = have
        takes, makes = (known.get(end, end) for end in _ENDS[name])
        where = given[i].weights if network else f"steps.{i}"
        if network and "latents" in (takes, makes) and not network[0].row.encoder:
            raise InputError(f"{where}: has no bottleneck, so no latents")
        if takes != have:
            raise InputError(f"{where}: found {have} before {name}, expected {takes}")
        have = makes
    at = names.index("quantise")
    search, encoder = _search(given[at], settings["stages"]), steps[at - 1][1]  # none where b itself is quantised
    interval_ms = search.options["send_every"] * FRAME_MS * (encoder[1]["ncat"] if encoder else 1)
    return Chain(source, steps[:at], search, interval_ms, steps[at + 1 : -1], given[-1].model_dump(exclude={"step"}))


def _search(given: _OfQuantiser, stages: list[int]) -> Search:
    """Return the search of a quantiser that is used with each of several numbers of stages."""
    codebooks = [records.read_f32(path, given.k) for path in given.codebooks]
    if (most := max(stages)) > len(codebooks):
        raise InputError(f"stages: found {most}, expected at most {len(codebooks)}, the number of codebooks")
    a = read_coefficient(given.predict, Path(given.predictor) if given.predictor else None)
    if given.reset_every is not None and a is None:
        raise InputError("predict: none, expected a coefficient with reset_every")
    options = given.model_dump(exclude={"step", "codebooks", "k", "predict", "predictor"})
    return Search(codebooks, options | {"a": a})


# arrays


def encoded(chain: Chain, b: np.ndarray, y: np.ndarray) -> Made:
    """Return what the steps before the quantiser make of features b [F, 22] and y [F, 79]."""
    return _folded(chain.before, Made(y, b if chain.source == "b" else y))


def decoded(chain: Chain, made: Made, vectors: np.ndarray) -> Made:
    """Return what the steps after the quantiser make of vectors [n, k], which it gives for those of `encoded`."""
    return _folded(chain.after, replace(made, vectors=vectors))


def _folded(steps: list[Step], made: Made) -> Made:
    y, features, vectors, b_hat = made.y, made.features, made.vectors, made.b_hat
    for step in steps:
        match step:
            case "remove_gain", _:
                vectors = gain.without_gain(features)
            case "encode", network:
                vectors = inference.encode(*network, features)
            case "restore_gain", _:
                features = gain.with_gain(vectors, features)
            case "decode", network:
                features = inference.decode(*network, vectors, features, y)
            case "infer", network:
                features = inference.infer(*network, features, y)
        if features is not made.features and features.shape[1] == 22:
            b_hat = features
    return Made(y, features, vectors, b_hat)


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
        y_hat = decoded(chain, made, quantise(chain.search, made.vectors, stages)).features
        decoder.check(y_hat, sum(map(len, models)), f"{name}: y_hat", sample["model"])
        yield y_hat, decoder.decode(models, y_hat, **chain.synthesis)
