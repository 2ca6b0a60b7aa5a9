"""Superframes: T frames that follow each other as one vector, by the cosine transform over time."""

from __future__ import annotations

from functools import cache

import numpy as np

QUIETEST = 0.0  # dB; lower energies are quantised as this


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
