"""A coder over arrays: a chain of networks one of whose latents, or whose b, are quantised.

A sample goes the way that the single commands take it: shapes or encode, vq-search, from-shapes or decode, infer,
synth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlquant.core import records
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, SAMPLE_RATE
from mlquant.networks import inference, rows
from mlquant.quantisers import gain, vq
from mlquant.vocoder import decoder

if TYPE_CHECKING:
    from mlquant.networks.dense import Dense
    from mlquant.networks.model import AtWork

FRAME_MS = 1000 * FRAME // SAMPLE_RATE
_SHAPE = 20  # elements of the shape of b


@dataclass(frozen=True)
class Chain:
    """Networks with their settings, the place of the quantised one, its encoder, and codebooks [M, k] of all stages.

    `search` has mbest, send_every, predict (a coefficient or None) and reset_every.
    """

    networks: list[tuple[Dense | AtWork, dict]]
    quantised: int | None
    encoder: tuple[Dense | AtWork, dict] | None
    codebooks: list[np.ndarray]
    search: dict


def load(settings: dict) -> Chain:
    """Load the chain of settings as of `studies.rates.RateSettings`, with `predict` a number or None.

    Raises InputError for networks, codebooks and numbers that do not fit each other.
    """
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
    interval_ms = settings["send_every"] * FRAME_MS * (encoder[1]["ncat"] if encoder else 1)
    if settings["interval_ms"] != interval_ms:
        raise InputError(f"interval_ms: found {settings['interval_ms']:g}, expected {interval_ms}, as of send_every")
    search = {name: settings[name] for name in ("mbest", "send_every", "predict", "reset_every")}
    if search["reset_every"] is not None and search["predict"] is None:
        raise InputError("predict: none, expected a coefficient with reset_every")
    return Chain(networks, quantised, encoder, codebooks, search)


def to_vectors(chain: Chain, b: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vectors [n, k] to quantise for features b [F, 22] and y [F, 79], and the features they are made of.

    These are [F, 22], b or b_hat, or y [F, 79].
    """
    hat = b if chain.networks[0][0].row.source == "b" else y
    for network, settings in chain.networks[: chain.quantised or 0]:
        hat = inference.infer(network, settings, hat, y)
    return (gain.without_gain(hat) if chain.encoder is None else inference.encode(*chain.encoder, hat)), hat


def quantise(chain: Chain, array: np.ndarray, stages: int) -> np.ndarray:
    """Return vectors [n, k] as the decoder has them: quantised by the first `stages`, and interpolated between."""
    return vq.interpolated(_sent(chain, array, stages), chain.search["send_every"], len(array))


def _sent(chain: Chain, array: np.ndarray, stages: int, counted: np.ndarray | None = None) -> np.ndarray:
    """Return the quantised vectors [ceil(n/send_every), k] of vectors [n, k]; `counted` as in `vq.quantise`."""
    search = chain.search
    options = {"send_every": search["send_every"], "reset_every": search["reset_every"], "a": search["predict"]}
    return vq.quantise(array, chain.codebooks[:stages], search["mbest"], counted=counted, **options)[1]


def quantise_all(chain: Chain, arrays: list[np.ndarray], stages: int) -> list[np.ndarray]:
    """Return several arrays [n, k] as `quantise` returns each: the fast way, to measure them by.

    The stretches between two resets of a predictive quantiser are searched all at once. For that each array is
    continued to whole stretches. One after the other, they take minutes for minutes of speech.
    """
    send_every, predict, reset_every = (chain.search[name] for name in ("send_every", "predict", "reset_every"))
    if predict is None or reset_every is None or not arrays:
        return [quantise(chain, array, stages) for array in arrays]
    padded = [np.pad(array, ((0, -len(array) % (reset_every * send_every)), (0, 0))) for array in arrays]
    sent = [-(-len(array) // send_every) for array in arrays]
    counted = [np.arange(len(array) // send_every) < count for array, count in zip(padded, sent, strict=True)]
    together = _sent(chain, np.concatenate(padded), stages, np.concatenate(counted))
    found = np.split(together, np.cumsum([len(marks) for marks in counted])[:-1])
    return [
        vq.interpolated(part[:count], send_every, len(array))
        for part, count, array in zip(found, sent, arrays, strict=True)
    ]


def from_vectors(
    chain: Chain, array: np.ndarray, hat: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Return records with b_hat [F, 22], None for a chain without, and y_hat [F, 79] with the energy of y [F, 79].

    They are made of vectors [n, k], as `quantise` returns them, and of the features that `to_vectors` returns.
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


def read_pair(path: str, target: str) -> tuple[np.ndarray, np.ndarray]:
    """Read features b [F, 22] and y [F, 79] of the same speech; InputError for files of different lengths."""
    b, y = records.read_features(path), records.read_f32(target, 79)
    if len(b) != len(y):
        raise InputError(f"{target}: {len(y)} frames, expected {len(b)} as in {path}")
    return b, y


def outputs(chain: Chain, settings: dict, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the y_hat [F, 79] and the speech [80*F] int16 of a sample, for each of `stages`."""
    sample = settings["samples"][name]
    b, y = read_pair(sample["b"], sample["y"])
    models = list(records.read_model_in_chunks(sample["model"]))
    array, hat = to_vectors(chain, b, y)
    for stages in settings["stages"]:
        _, y_hat = from_vectors(chain, quantise(chain, array, stages), hat, y)
        decoder.check(y_hat, sum(map(len, models)), f"{name}: y_hat", sample["model"])
        yield y_hat, decoder.decode(models, y_hat, settings["postfilter"])
