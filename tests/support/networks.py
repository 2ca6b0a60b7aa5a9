"""Features that networks learn from, and a stop in the middle of a training."""

import numpy as np


def records_of(frames, seed=0):
    """Feature records [F, 22] of a smooth spectrum that three numbers make, voiced but for every fifth frame."""
    rng = np.random.default_rng(seed)
    shapes = np.cos(np.outer([1, 2, 3], np.linspace(0, np.pi, 20)))
    b = 40 + 8 * rng.standard_normal((frames, 3)) @ shapes
    Wo = rng.uniform(0.04, 0.3, frames)
    return np.column_stack([b, Wo, np.arange(frames) % 5 > 0]).astype(np.float32)


def targets(array):
    """y [F, 79] that follows from b."""
    at = np.linspace(0, 19, 79)
    return np.stack([np.interp(at, np.arange(20), b) for b in array[:, :20]]).astype(np.float32)


class Stop(BaseException):
    """As a kill, but of the function only."""
