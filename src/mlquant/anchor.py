"""Speech through Codec 2 itself (package pycodec2), for comparison.

Codec 2's random generator is global to a process, so the same speech gives the same bytes only in a fresh
process for each file: one command, one file.
"""

from __future__ import annotations

import numpy as np

from mlquant.files import FRAME, InputError
from mlquant.sinusoidal.analysis import high_pass

MODES = (3200, 2400, 1600, 1400, 1300, 1200)


def codec2(speech: np.ndarray, mode: int) -> np.ndarray:
    """Code and decode [N] int16 at `mode` bit/s after the analysis' high pass: [N padded to whole 10 ms] int16.

    The filtered speech is truncated toward zero, as by Codec 2's `hpf` tool. Raises InputError for a mode that
    is none of `MODES`.
    """
    import pycodec2

    if mode not in MODES:
        raise InputError(f"mode: found {mode}, expected one of {', '.join(map(str, MODES))}")
    codec = pycodec2.Codec2(mode)
    size = codec.samples_per_frame()
    length = -(-len(speech) // FRAME) * FRAME
    padded = np.zeros(-(-length // size) * size, np.float32)
    padded[: len(speech)] = speech
    filtered = np.clip(np.trunc(high_pass(padded)), -32768, 32767).astype(np.int16)
    return np.concatenate([codec.decode(codec.encode(frame)) for frame in filtered.reshape(-1, size)])[:length]
