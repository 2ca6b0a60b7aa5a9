"""Gain-shape quantisation of b: its gain, which is the mean in dB, is taken out and passed on; the shape is quantised.

Gain and shape are the terms of Gersho and Gray, "Vector Quantization and Signal Compression", 1992.
"""

from __future__ import annotations

import numpy as np

from mlquant.core.errors import InputError


def without_gain(features: np.ndarray) -> np.ndarray:
    """Return the shapes [F, 20] float32 in dB of records [F, 22] (b in dB, Wo, voiced): b without its mean."""
    b = features[:, :20].astype(np.float64)
    return (b - b.mean(axis=1, keepdims=True)).astype(np.float32)


def with_gain(shapes: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Records [F, 22] float32 with b_hat in place of b: shapes [F, 20] in dB with the means of the features' b.

    Raises InputError for another number of shapes.
    """
    if len(shapes) != len(features):
        raise InputError(f"shapes: {len(shapes)} frames, expected {len(features)} as of the features")
    b_hat = shapes + features[:, :20].mean(axis=1, keepdims=True, dtype=np.float64)
    return np.concatenate([b_hat, features[:, 20:]], axis=1, dtype=np.float32, casting="same_kind")
