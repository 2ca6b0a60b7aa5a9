"""Which frames are worth training on: those of more energy than a threshold, alone or in pairs over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlquant.core import records
from mlquant.core.errors import InputError
from mlquant.vocoder.features import energy_dB


def loud(features: np.ndarray, thresh: float | None, ncat: int = 1) -> np.ndarray:
    """Which sequences [ceil(F/ncat)] of features [F, 22 or 79] hold no frame of an energy of `thresh` dB or less."""
    if thresh is None:
        return np.ones(-(-len(features) // ncat), bool)
    above = energy_dB(features[:, :20] if features.shape[1] == 22 else features) > thresh
    return np.pad(above, (0, -len(above) % ncat), "edge").reshape(-1, ncat).all(axis=1)


def to_train_on(vectors: np.ndarray, loud: np.ndarray, before: int | None = None) -> np.ndarray:
    """Of vectors [n, k], those that are loud [n] bool: [n', k].

    With `before`, each after the one so many before it, of which both are loud: [n', 2k], for prediction.
    """
    if before is None:
        return vectors[loud]
    if before < 1:
        raise InputError(f"pairs: found {before}, expected at least 1 vector from one to the next")
    keep = loud[before:] & loud[:-before]
    return np.concatenate([vectors[:-before][keep], vectors[before:][keep]], axis=1)


def write(path: Path, kept: list[np.ndarray], features: list[Path], thresh: float | None, pairs: int | None) -> None:
    """Write the vectors that are kept of several files of features; InputError where none is."""
    if not sum(map(len, kept)):
        limits = f"thresh {thresh} dB, pairs {pairs}"
        names = ", ".join(map(str, features))
        raise InputError(f"{names}: no frame is left with {limits}, expected at least one")
    records.write_f32(path, np.concatenate(kept))
