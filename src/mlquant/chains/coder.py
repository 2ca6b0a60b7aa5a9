"""Rate and distortion of a chain of networks one of whose latents, or whose b, are quantised.

Each number of stages is a row: its bits and bit/s, the distortion of b_hat and y_hat on the speech that the networks
were trained on, on what was held out of it and on other voices, and the PESQ of samples. A sample goes the way that
the single commands take it: shapes or encode, vq-search, from-shapes or decode, infer, synth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from mlquant.core import records
from mlquant.core.blocks import Block, Positive
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.measures import measures
from mlquant.networks import inference, rows
from mlquant.quantisers import gain, vq
from mlquant.vocoder import chosen, decoder, features
from mlquant.vocoder.types import Postfilter

if TYPE_CHECKING:
    from mlquant.networks.dense import Dense
    from mlquant.networks.model import AtWork

SETS = ("training", "held_out", "unseen")
_DISTORTIONS = ("sd_b", "sd")
COLUMNS = ["stages", "bits", "interval_ms", "bit_per_s"]
COLUMNS += [f"{what}_{name}_dB2" for what in _DISTORTIONS for name in SETS] + ["pesq"]
"""Columns of the table, behind which are those of the PESQ of samples."""
_FRAME_MS = 1000 * FRAME // SAMPLE_RATE
_SHAPE = 20  # elements of the shape of b


class Sample(Block):
    """Files of a sample: 16-bit speech, its model, and its features."""

    speech: str
    model: str
    b: str
    y: str


class Settings(Block):
    """What to measure; paths are those of files.

    `networks` make y_hat, one after the other; `quantised` is the place of the one whose latents, made by `encoder`,
    are quantised: with None, the shape of b is, before the first. Of the vectors one in `every` is sent, every
    `interval_ms`. `predict`, `mbest` and `stretch` are as of `mlquant vq-search`, `expand` of `mlquant synth`. The
    share `held_out` of each of the `features`, its end, was not trained on, and no voice of `held_out_features` was.
    Frames of no more than `thresh` dB do not count in distortions; of each set of frames of a file the first `seconds`
    are taken.
    """

    networks: Annotated[list[str], Field(min_length=1)]
    quantised: Annotated[int, Field(ge=0)] | None
    encoder: str | None
    codebooks: Annotated[list[str], Field(min_length=1)]
    stages: Annotated[list[Positive], Field(min_length=1)]
    mbest: Positive
    every: Positive
    predict: float | str | None
    stretch: Positive | None
    expand: Postfilter
    interval_ms: Annotated[float, Field(gt=0)]
    features: list[str]
    targets: list[str]
    held_out: Annotated[float, Field(ge=0, lt=1)]
    held_out_features: list[str]
    held_out_targets: list[str]
    thresh: float | None
    seconds: Annotated[float, Field(gt=0)]
    samples: dict[str, Sample]
    pesq: bool


@dataclass(frozen=True)
class Chain:
    """Networks with their settings, the place of the quantised one, its encoder, and codebooks [M, k] of all stages.

    `search` has mbest, every, predict (a coefficient or None) and stretch.
    """

    networks: list[tuple[Dense | AtWork, dict]]
    quantised: int | None
    encoder: tuple[Dense | AtWork, dict] | None
    codebooks: list[np.ndarray]
    search: dict


def measure(settings: dict, names: list[str] | None = None) -> pd.DataFrame:
    """Bits, bit/s, distortions and PESQ of each of `stages`, for settings as of Settings, `predict` a number or None.

    `names` are those of the samples to take, all without. Distortions are in dB^2: of b_hat the mean squared error of
    all frames above `thresh`, of y_hat the spectral distortion of the voiced ones; NaN where there is nothing to
    measure. The mean PESQ is NaN where that of a sample is. Raises InputError for what does not fit together.
    """
    names = list(settings["samples"]) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in settings["samples"]]:
        raise InputError(f"samples: found {unknown[0]!r}, expected one of {', '.join(settings['samples']) or 'none'}")
    chain, stages = load(settings), settings["stages"]
    bits = [sum((len(codebook) - 1).bit_length() for codebook in chain.codebooks[:used]) for used in stages]
    table = pd.DataFrame({"stages": stages, "bits": bits, "interval_ms": settings["interval_ms"]})
    table["bit_per_s"] = 1000 * table["bits"] / settings["interval_ms"]
    found = {name: _distortions(chain, settings, _segments(settings, name)) for name in SETS}
    for i, what in enumerate(_DISTORTIONS):
        for name in SETS:
            table[f"{what}_{name}_dB2"] = found[name][:, i]
    scores = {f"pesq_{name}": _scores(chain, settings, name) for name in names}
    table["pesq"] = np.mean([*scores.values()], axis=0) if scores else np.nan
    return table.assign(**scores)


def load(settings: dict) -> Chain:
    """The chain of settings as of `measure`; InputError for networks, codebooks and numbers that do not fit."""
    networks = [inference.load(path) for path in settings["networks"]]
    rows_ = [network.row for network, _ in networks]
    made = [*(row.target for row in rows_), None]
    quantised, encoder = settings["quantised"], settings["encoder"] and inference.load(settings["encoder"])
    if rows_[-1].target != "y":
        raise InputError(f"{settings['networks'][-1]}: makes b_hat, expected y_hat of the last network")
    for path, row, before in zip(settings["networks"][1:], rows_[1:], made, strict=False):
        if row.source != before:
            raise InputError(f"{path}: takes {row.source}, expected {before}, which the network before it makes")
    if quantised is None and encoder:
        raise InputError(f"encoder: found {settings['encoder']}, expected none where b itself is quantised")
    if quantised is None and rows_[0].source != "b":
        raise InputError(f"{settings['networks'][0]}: takes y, expected a network that takes b, which is quantised")
    if quantised is not None and quantised >= len(networks):
        raise InputError(f"quantised: found {quantised}, expected less than {len(networks)}, the number of networks")
    if quantised is not None and not encoder:
        raise InputError("encoder: none, expected that of the latents that are quantised")
    if encoder and (width := rows.latent_width(encoder[1])) is None:
        raise InputError(f"{settings['encoder']}: has no bottleneck, so no latents")
    codebooks = [records.read_f32(path, width if encoder else _SHAPE) for path in settings["codebooks"]]
    if (most := max(settings["stages"])) > len(codebooks):
        raise InputError(f"stages: found {most}, expected at most {len(codebooks)}, the number of codebooks")
    interval_ms = settings["every"] * _FRAME_MS * (encoder[1]["ncat"] if encoder else 1)
    if settings["interval_ms"] != interval_ms:
        raise InputError(f"interval_ms: found {settings['interval_ms']:g}, expected {interval_ms}, as of every")
    search = {name: settings[name] for name in ("mbest", "every", "predict", "stretch")}
    if search["stretch"] is not None and search["predict"] is None:
        raise InputError("predict: none, expected a coefficient with stretch")
    return Chain(networks, quantised, encoder, codebooks, search)


def to_vectors(chain: Chain, b: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [n, k] to quantise of features b [F, 22] and y [F, 79], and the features [F, 22 or 79] they are of."""
    hat = b if chain.networks[0][0].row.source == "b" else y
    for network, settings in chain.networks[: chain.quantised or 0]:
        hat = inference.infer(network, settings, hat, y)
    return (gain.without_gain(hat) if chain.encoder is None else inference.encode(*chain.encoder, hat)), hat


def quantise(chain: Chain, array: np.ndarray, stages: int) -> np.ndarray:
    """Vectors [n, k] as the first so many stages send them: quantised, and interpolated between those that are sent."""
    return vq.interpolated(_sent(chain, array, stages), chain.search["every"], len(array))


def _sent(chain: Chain, array: np.ndarray, stages: int, counted: np.ndarray | None = None) -> np.ndarray:
    """The quantised vectors [ceil(n/every), k] of vectors [n, k]; `counted` as of `vq.search_predictive`."""
    search = chain.search
    options = {"every": search["every"], "a": search["predict"], "stretch": search["stretch"], "counted": counted}
    return vq.quantise(array, chain.codebooks[:stages], search["mbest"], **options)[1]


def quantise_all(chain: Chain, arrays: list[np.ndarray], stages: int) -> list[np.ndarray]:
    """The same of several arrays [n, k], to measure them by: the stretches of a predictive quantiser all at once.

    One after the other they take minutes for minutes of speech. For that each array is continued to whole stretches.
    """
    every, predict, stretch = (chain.search[name] for name in ("every", "predict", "stretch"))
    if predict is None or stretch is None or not arrays:
        return [quantise(chain, array, stages) for array in arrays]
    padded = [np.pad(array, ((0, -len(array) % (stretch * every)), (0, 0))) for array in arrays]
    sent = [-(-len(array) // every) for array in arrays]
    counted = [np.arange(len(array) // every) < count for array, count in zip(padded, sent, strict=True)]
    together = _sent(chain, np.concatenate(padded), stages, np.concatenate(counted))
    found = np.split(together, np.cumsum([len(marks) for marks in counted])[:-1])
    return [
        vq.interpolated(part[:count], every, len(array)) for part, count, array in zip(found, sent, arrays, strict=True)
    ]


def from_vectors(
    chain: Chain, array: np.ndarray, hat: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Records with b_hat [F, 22], None of a chain without, and y_hat [F, 79] of vectors and features of `to_vectors`.

    The energy of y_hat is that of y [F, 79].
    """
    b_hat, first = hat if chain.quantised and hat.shape[1] == 22 else None, 0
    if chain.quantised is None:
        hat = b_hat = gain.with_gain(array, hat)
    else:
        network, settings = chain.networks[chain.quantised]
        hat, first = inference.decode(network, settings, array, hat, y), chain.quantised + 1
        b_hat = hat if network.row.target == "b" else b_hat
    for network, settings in chain.networks[first:]:
        hat = inference.infer(network, settings, hat, y)
        b_hat = hat if network.row.target == "b" else b_hat
    return b_hat, hat


def _segments(settings: dict, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features b [F, 22] and y [F, 79] of one of SETS: of each file that has some, its first `seconds`."""
    prefix = "held_out_" if name == "unseen" else ""
    paths, targets = settings[f"{prefix}features"], settings[f"{prefix}targets"]
    if len(paths) != len(targets):
        raise InputError(f"{prefix}targets: found {len(targets)} files, expected {len(paths)} as of the features")
    most = max(1, round(settings["seconds"] * 1000 / _FRAME_MS))
    for path, target in zip(paths, targets, strict=True):
        b, y = _pair(path, target)
        trained = rows.training_frames(settings, len(b))
        start, end = {"training": (0, trained), "held_out": (trained, len(b)), "unseen": (0, len(b))}[name]
        part = slice(start, min(end, start + most))
        if start < end:
            yield b[part].copy(), y[part].copy()  # as slices would hold the whole file


def _pair(path: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    b, y = records.read_features(path), records.read_f32(target, 79)
    if len(b) != len(y):
        raise InputError(f"{target}: {len(y)} frames, expected {len(b)} as in {path}")
    return b, y


def _distortions(chain: Chain, settings: dict, segments: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Mean distortion in dB^2 of b_hat and of y_hat, [rows, 2]; NaN where there is none."""
    sums, counts = np.zeros((2, len(settings["stages"]), 2))
    parts = [(b, y, *to_vectors(chain, b, y)) for b, y in segments]
    for row, stages in enumerate(settings["stages"]):
        quantised = quantise_all(chain, [array for _, _, array, _ in parts], stages)
        for (b, y, _, hat), array in zip(parts, quantised, strict=True):
            b_hat, y_hat = from_vectors(chain, array, hat, y)
            loud = chosen.loud(b, settings["thresh"])
            voiced, of_b = loud & (b[:, 21] > 0), np.empty(0)
            if b_hat is not None:
                of_b = np.square(b[loud, :20].astype(np.float64) - b_hat[loud, :20]).mean(axis=1)
            of_y = features.spectral_distortion(y[voiced], y_hat[voiced])
            for i, found in enumerate((of_b, of_y)):
                sums[row, i] += found.sum()
                counts[row, i] += len(found)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _scores(chain: Chain, settings: dict, name: str) -> list[float]:
    """PESQ of a sample for each of `stages`, against its speech; NaN where it is not defined or not asked for."""
    if not settings["pesq"]:
        return [np.nan] * len(settings["stages"])
    source = records.read_speech(settings["samples"][name]["speech"])
    found = [measures.pesq_nb(source, speech) for _, speech in outputs(chain, settings, name)]
    return [np.nan if score is None else score for score in found]


def outputs(chain: Chain, settings: dict, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The y_hat [F, 79] and speech [80*F] int16 of a sample, for each of `stages`."""
    sample = settings["samples"][name]
    b, y = _pair(sample["b"], sample["y"])
    models = list(records.read_model_in_chunks(sample["model"]))
    array, hat = to_vectors(chain, b, y)
    for stages in settings["stages"]:
        _, y_hat = from_vectors(chain, quantise(chain, array, stages), hat, y)
        decoder.check(y_hat, sum(map(len, models)), f"{name}: y_hat", sample["model"])
        yield y_hat, decoder.decode(models, y_hat, settings["expand"])
