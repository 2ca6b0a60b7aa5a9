"""Speech through Codec 2 itself (package pycodec2), for comparison.

Codec 2's random generator is global to a process, so the same speech gives the same bytes only in a process that has
decoded nothing before: each mode runs in a process of its own.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable

import numpy as np

from mlquant.core.errors import InputError
from mlquant.core.records import FRAME
from mlquant.vocoder.types import MODES


def codec2(speech: np.ndarray, modes: list[str]) -> list[np.ndarray]:
    """Code and decode [N] int16 in each of `modes` after the analysis' high pass: [N padded to whole 10 ms] int16 each.

    The filtered speech is truncated toward zero, as by Codec 2's `hpf` tool. Raises InputError for a mode that
    is not among `MODES`.
    """
    import pycodec2  # noqa: F401  # a missing package is better found here than in every process

    _check(*modes)
    return [_in_own_process(speech, mode, lambda sent: sent) for mode in modes]


def _check(*modes: str) -> None:
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"mode: found {mode}, expected one of {', '.join(MODES)}")


def with_errors(speech: np.ndarray, mode: str, ber: float, lost: float, seed: int) -> np.ndarray:
    """Code and decode [N] int16 in a mode, with shares of bits turned over and of frames lost, drawn by the seed.

    In place of a lost frame the bits of the one before are decoded again, as Codec 2 leaves it to its user what to do.
    Returns [N padded to whole 10 ms] int16; the rest is as of `codec2`. InputError for a mode that is not there.
    """
    _check(mode)
    rng, bits = np.random.default_rng(seed), MODES[mode][0]
    before = b""

    def received(sent: bytes) -> bytes:
        nonlocal before
        wrong = np.packbits(rng.random(bits) < ber)
        is_lost = rng.random() < lost
        flipped = (np.frombuffer(sent, np.uint8) ^ wrong).tobytes()
        before = before or flipped if is_lost else flipped
        return before

    return _in_own_process(speech, mode, received)


def _coded_through(speech: np.ndarray, mode: str, channel: Callable[[bytes], bytes]) -> np.ndarray:
    import pycodec2

    from mlquant.vocoder.analysis import high_pass

    codec = pycodec2.Codec2(int(mode.rstrip("C")))
    size = codec.samples_per_frame()
    length = -(-len(speech) // FRAME) * FRAME
    padded = np.zeros(-(-length // size) * size, np.float32)
    padded[: len(speech)] = speech
    filtered = np.clip(np.trunc(high_pass(padded)), -32768, 32767).astype(np.int16)
    frames = filtered.reshape(-1, size)
    return np.concatenate([codec.decode(channel(codec.encode(frame))) for frame in frames])[:length]


def _in_own_process(speech: np.ndarray, mode: str, channel: Callable[[bytes], bytes]) -> np.ndarray:
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: theirs.send_bytes(_coded_through(speech, mode, channel).tobytes()))
    process.start()
    theirs.close()
    try:
        return np.frombuffer(ours.recv_bytes(), np.int16)
    except EOFError:
        raise InputError(f"mode {mode}: Codec 2 ended without speech") from None
    finally:
        process.join()
