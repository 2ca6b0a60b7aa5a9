"""What is quantised: latents of a network, or the shape of b, that is b without its mean; and what is trained on.

The mean of b is its level, which is passed on as energies are; gain and shape are the terms of Gersho and Gray,
"Vector Quantization and Signal Compression", 1992.
"""

from __future__ import annotations

import numpy as np

from mlquant.core.errors import InputError
from mlquant.vocoder.features import energy_dB


def shapes(features: np.ndarray) -> np.ndarray:
    """Shapes [F, 20] float32 in dB of records [F, 22] (b in dB, Wo, voiced): b without its mean."""
    b = features[:, :20].astype(np.float64)
    return (b - b.mean(axis=1, keepdims=True)).astype(np.float32)


def from_shapes(shapes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Records [F, 22] float32 with b_hat in place of b: shapes [F, 20] in dB with the means of the features' b.

    Raises InputError for another number of shapes.
    """
    if len(shapes) != len(features):
        raise InputError(f"shapes: {len(shapes)} frames, expected {len(features)} as of the features")
    b_hat = shapes + features[:, :20].mean(axis=1, keepdims=True, dtype=np.float64)
    return np.concatenate([b_hat, features[:, 20:]], axis=1, dtype=np.float32, casting="same_kind")


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
