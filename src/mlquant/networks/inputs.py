"""Inputs of networks: features in dB/20, that is log10 of the amplitude, most often less their own energy."""

from __future__ import annotations

import numpy as np

from mlquant.networks.rows import row_of
from mlquant.vocoder.features import energy_dB


def network_inputs(settings: dict, features: np.ndarray) -> np.ndarray:
    """Return the inputs that a network gets for features: [F, 20, 22 or 79] float32.

    `features` are y [F, 79] in dB for a network that takes y, else records [F, 22] (b in dB, Wo, voiced). Inputs are in
    dB/20. A b of less energy than `lower_limit_dB` is lifted to it. The energy is taken out of b when `norm` is set,
    and always out of y. A 22-wide network also gets log10(Wo) and the voicing.
    """
    row = row_of(settings)
    if row.source == "y":
        return normalised(features)
    b = features[:, :20].astype(np.float64)
    if settings["lower_limit_dB"] is not None:
        b = b + np.maximum(settings["lower_limit_dB"] - energy_dB(b), 0)[:, None]
    x = normalised(b) if settings["norm"] else (b / 20).astype(np.float32)
    if row.inputs == 22:
        return np.concatenate([x, np.stack([np.log10(features[:, 20]), features[:, 21]], axis=1)], axis=1, dtype="f4")
    return x


def normalised(features: np.ndarray) -> np.ndarray:
    """Feature vectors [F, n] in dB as dB/20 less their own energy: [F, n] float32."""
    return ((features - energy_dB(features)[:, None]) / 20).astype(np.float32)


def cosine_basis() -> np.ndarray:
    """The orthonormal cosine transform of b: b @ basis [20, 20] float64 are its coefficients."""
    n, k = np.indices((20, 20))
    return np.sqrt(np.where(k == 0, 1, 2) / 20) * np.cos(np.pi * (2 * n + 1) * k / 40)
