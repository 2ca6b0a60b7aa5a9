"""Superframes: T frames that follow each other as one vector, by the cosine transform over time."""

from __future__ import annotations

from functools import cache

import numpy as np

from mlquant.core.records import SAMPLE_RATE

QUIETEST = 0.0  # dB; lower energies are quantised as this
SENT = (-100.0, 120.0)  # dB; within these is what a decoder takes of energy. Speech of 16 bits has less than 100


def energies(dB: np.ndarray) -> np.ndarray:
    """Energies [F] float32 of frames as they are quantised: at least `QUIETEST`, which no one hears."""
    return np.maximum(dB, QUIETEST).astype(np.float32)


@cache
def over_time(frames: int) -> np.ndarray:
    """Orthonormal cosine transform [frames, frames]: row i is the i-th cosine."""
    n = np.arange(frames)
    basis = np.cos(np.pi / frames * (n + 0.5) * n[:, None]) * np.sqrt(2 / frames)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def together(frames: np.ndarray, T: int) -> np.ndarray:
    """Vectors [F / T, T k] of frames [F, k]: the cosine transform over each T frames. F is a multiple of T."""
    each = frames.reshape(-1, T, frames.shape[1])
    return np.ascontiguousarray(np.einsum("ij,njk->nik", over_time(T), each).reshape(len(each), -1), np.float32)


def apart(vectors: np.ndarray, T: int) -> np.ndarray:
    """Frames [n T, k] of vectors [n, T k]: the inverse of `together`."""
    each = vectors.reshape(len(vectors), T, -1)
    return np.einsum("ij,nik->njk", over_time(T), each).reshape(len(each) * T, -1).astype(np.float32)


def voicing_bits(voiced: np.ndarray, energy: np.ndarray, frames: int) -> np.ndarray:
    """One bit [F / frames] for each `frames` frames: whether the louder of them are voiced; louder by 6 dB is 2."""
    weight = 10.0 ** (energy.astype(np.float64) / 20)
    signed = np.where(voiced > 0, weight, -weight).reshape(-1, frames)
    return (signed.sum(axis=1) > 0).astype(np.int64)


def beside(energy: np.ndarray, log2_f0: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """What is sent beside the shapes of superframes, as numbers [n, 2 T + 3] about one.

    Energies in dB, log2 of F0 in Hz and voicing are [n, T] each; of voicing the means of both halves are taken.
    """
    level = energy.mean(axis=1, keepdims=True)
    halves = voiced.reshape(len(voiced), 2, -1).mean(axis=2)
    parts = [(energy - level) / 20, level / 20 - 3, halves, log2_f0 - 7]
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="same_kind")


def side_of(
    Wo: np.ndarray, voiced: np.ndarray, y: np.ndarray, T: int, voicing: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies in dB, log2 of F0 in Hz, and voicing as it is sent, float32 [n, T] each, of Wo, voiced and y [n T, 79].

    A bit of voicing stands for `voicing` frames.
    """
    from mlquant.vocoder.features import energy_dB

    energy = energies(energy_dB(y))
    sent = voicing_bits(voiced, energy, voicing).repeat(voicing)
    log2_f0 = np.log2(Wo * (SAMPLE_RATE / (2 * np.pi)))
    return energy.reshape(-1, T), log2_f0.reshape(-1, T).astype(np.float32), sent.reshape(-1, T).astype(np.float32)
