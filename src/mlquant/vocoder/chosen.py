"""The vectors to train on: those of frames with more energy than a threshold, alone or in pairs over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlquant.core import records
from mlquant.core.errors import InputError
from mlquant.vocoder.features import energy_dB


def loud(features: np.ndarray, thresh: float | None, ncat: int = 1) -> np.ndarray:
    """Return in which sequences [ceil(F/ncat)] bool of features [F, 22 or 79] each frame has more than `thresh` dB."""
    if thresh is None:
        return np.ones(-(-len(features) // ncat), bool)
    above = energy_dB(features[:, :20] if features.shape[1] == 22 else features) > thresh
    return np.pad(above, (0, -len(above) % ncat), "edge").reshape(-1, ncat).all(axis=1)


def to_train_on(vectors: np.ndarray, loud: np.ndarray, before: int | None = None) -> np.ndarray:
    """Return those of vectors [n, k] that are loud [n] bool: [n', k].

    With `before`, return pairs for prediction [n', 2k]: the vector that comes `before` vectors earlier, then the vector
    itself, where both are loud. Raises InputError for a `before` below 1.
    """
    if before is None:
        return vectors[loud]
    if before < 1:
        raise InputError(f"pairs: found {before}, expected a distance of at least 1 vector")
    keep = loud[before:] & loud[:-before]
    return np.concatenate([vectors[:-before][keep], vectors[before:][keep]], axis=1)


def write(path: Path, kept: list[np.ndarray], features: list[Path], thresh: float | None, pairs: int | None) -> None:
    """Write the vectors that are kept of several files of features; InputError where none is left."""
    if not sum(map(len, kept)):
        limits = f"thresh {thresh} dB, pairs {pairs}"
        names = ", ".join(map(str, features))
        raise InputError(f"{names}: no frame is left with {limits}, expected at least one")
    records.write_f32(path, np.concatenate(kept))
