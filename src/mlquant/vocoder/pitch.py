"""Pitch for coding: a track without octave jumps that a codec can send, and the harmonic model at this pitch.

The pitch of `analysis`, that of Codec 2, jumps by an octave or so in a tenth of the steps between voiced frames. That
costs nothing where amplitudes and pitch are used as they are, and much where pitch is sent every 40 ms. Here the pitch
is what a decoder will have: levels of log2 F0 at knots some frames apart, straight lines between them, and perhaps an
offset in the middle. A trellis (Viterbi) chooses them, so that harmonics of this pitch explain the most of the windowed
speech below 1200 Hz (least squares; see Christensen and Jakobsson, "Multi-Pitch Estimation", 2009), and decides a fixed
time later, in a stream as in a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.fft

from mlquant.core.records import FRAME, MAX_AMP, SAMPLE_RATE, Model
from mlquant.vocoder import analysis
from mlquant.vocoder.analysis import PITCH_BUFFER

LOWEST, HIGHEST = 40.0, 500.0  # Hz, of the pitches that are tried
GRID = 0.01  # octaves between the pitches that are tried
BAND = 1200.0  # Hz; harmonics up to here are fitted
_FFT = 2048
_CHUNK = 1024  # frames worked on at a time
_SMOOTHED = 40  # bins to either side, of the flattening
_FLATTENED = 0.7  # power of the smoothed spectrum that it is divided by
_BY_CHANCE = 0.6  # what noise that a pitch explains costs, of what it gains
_BY_TRACKER, _NEAR = 0.2, 0.1  # what a pitch costs that is as far, in octaves, from that of Codec 2
_JUMP = 1.0  # cost of an octave between two knots, in frames that are loud and not explained at all
_MOST = 0.7  # the most that a step between two knots costs
_SILENCE = 0.02  # share of that cost where there is no sound
_REFERENCE = 1000.0  # RMS of a window of int16 samples that counts as one
_LOUDNESS = 0.46  # power of the amplitude that tells how much a frame counts


@dataclass(frozen=True)
class Pitch:
    """How pitch is sent, as `settings.Pitch` describes it."""

    every_ms: int
    bits: int
    offsets: tuple[float, ...]
    lowest: float
    highest: float
    wait: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", tuple(self.offsets))

    @property
    def frames(self) -> int:
        """Frames from one knot to the next."""
        return self.every_ms // 10

    @property
    def fields(self) -> list[tuple[str, int]]:
        """What is sent of a knot: names and bits."""
        middle = [("middle", (len(self.offsets) - 1).bit_length())] if self.offsets else []
        return [("knot", self.bits), *middle]

    @property
    def levels(self) -> np.ndarray:
        """Levels [2^bits] of log2 of F0 in Hz."""
        return np.linspace(np.log2(self.lowest), np.log2(self.highest), 1 << self.bits)

    def between(self, before: np.ndarray, knot: np.ndarray, offset: np.ndarray) -> np.ndarray:
        """log2 F0 [..., frames] of the frames up to a knot, of levels and offsets [...] in octaves."""
        share = np.arange(1, self.frames + 1) / self.frames
        middle = 1 - np.abs(2 * share - 1)
        return before[..., None] + (knot - before)[..., None] * share + offset[..., None] * middle


@cache
def _fitting() -> tuple:
    """The window [320], its squared sum, the matrix [levels, 1025] that sums power at harmonics, and chance [levels].

    Chance is the share of white noise that the harmonics of a pitch explain.
    """
    from scipy.sparse import csr_array

    window = np.zeros(PITCH_BUFFER)
    window[1:] = np.hanning(PITCH_BUFFER + 1)[1:-1]
    energy = np.square(window).sum()
    f0 = 2.0 ** np.arange(np.log2(LOWEST), np.log2(HIGHEST) + GRID / 2, GRID)
    rows, columns = [], []
    for i, hz in enumerate(f0):
        harmonics = hz * np.arange(1, int(BAND / hz) + 1)
        columns.append(np.rint(harmonics * _FFT / SAMPLE_RATE).astype(int))
        rows.append(np.full(len(harmonics), i))
    row, column = np.concatenate(rows), np.concatenate(columns)
    harmonics = csr_array((np.ones(len(row), np.float32), (row, column)), shape=(len(f0), _FFT // 2 + 1))
    # A harmonic explains the noise of a band as wide as the window's main lobe.
    bandwidth = SAMPLE_RATE * np.power(window, 4).sum() / energy**2
    chance = np.bincount(row, minlength=len(f0)) * bandwidth / BAND
    return window.astype(np.float32), energy, harmonics, chance.astype(np.float32)


def misfit(windows: np.ndarray, tracked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How badly each pitch explains the pitch buffers [F, 320]: costs [F, pitches], and how much a frame counts [F].

    Pitches are `GRID` octaves apart from `LOWEST` up. The cost is 1 less the share of energy below 1200 Hz that the
    harmonics explain, and more, the more noise they would explain: half the pitch explains as much with twice as many
    harmonics. The spectrum is flattened first, so that a pitch that misses every other harmonic costs about a half,
    also where the first formant is narrow. Costs of all pitches are nearly alike where there is none.
    """
    window, energy, harmonics, chance = _fitting()
    once = windows * window
    band = int(BAND * _FFT / SAMPLE_RATE) + 1
    whole = scipy.fft.rfft(once, _FFT, axis=1)
    power = whole.real**2 + whole.imag**2
    total = power[:, :band].sum(axis=1) / np.float32(_FFT)
    around = np.cumsum(np.pad(power[:, : 2 * band], ((0, 0), (_SMOOTHED + 1, _SMOOTHED))), axis=1, dtype=np.float64)
    smooth = (around[:, 2 * _SMOOTHED + 1 :] - around[:, : -2 * _SMOOTHED - 1])[:, : band + 1]
    flat = (np.maximum(smooth, 1e-3) ** -_FLATTENED).astype(np.float32)
    twice = scipy.fft.rfft(once * window, _FFT, axis=1)[:, : band + 1]
    weighted = (twice.real**2 + twice.imag**2) * flat
    explained = (harmonics[:, : band + 1] @ weighted.T).T / np.float32(energy)
    whole_energy = (power[:, :band] * flat[:, :band]).sum(axis=1) / np.float32(_FFT)
    share = explained / np.maximum(whole_energy, np.float32(1e-9))[:, None] / np.maximum(chance, 1)
    cost = 1 - np.minimum(share, 1) + _BY_CHANCE * np.minimum(chance, 1)
    log2_f0 = np.float32(np.log2(LOWEST)) + np.float32(GRID) * np.arange(len(chance), dtype=np.float32)
    # Codec 2 finds half of a pitch that is above its highest, and twice one that is below its lowest.
    octaves = np.where(log2_f0 > np.log2(400), -1, np.where(log2_f0 < np.log2(50), 1, 0)).astype(np.float32)
    off = np.minimum(np.abs(tracked[:, None] - log2_f0), np.abs(tracked[:, None] - octaves - log2_f0))
    cost += _BY_TRACKER * np.minimum(off / np.float32(_NEAR), 1)
    rms = np.sqrt(2 * total / np.float32(energy))
    return cost.astype(np.float32), ((rms / _REFERENCE) ** _LOUDNESS).astype(np.float32)


@cache
def _trellis(pitch: Pitch) -> tuple[np.ndarray, np.ndarray]:
    """Indices into the costs [frames, offset, before, knot], and the cost of the step [before, knot]."""
    levels, offsets = pitch.levels, np.array(pitch.offsets or (0.0,))
    before, knot, offset = np.meshgrid(levels, levels, offsets, indexing="ij")
    found = np.rint((pitch.between(before, knot, offset) - np.log2(LOWEST)) / GRID).astype(np.int64)
    last = _fitting()[2].shape[0] - 1
    step = np.minimum(_JUMP * np.abs(levels[:, None] - levels), _MOST)
    return np.ascontiguousarray(np.moveaxis(np.clip(found, 0, last), (3, 2), (0, 1))), step.astype(np.float32)


class Knots:
    """The trellis of one stream, a step for each `frames` frames.

    `push` takes costs [frames, pitches] and weights [frames] of as many frames. It returns what is decided, the level
    of a knot and the offset before it [2] int64, or None as long as there is nothing. `rest` returns those still to
    come. The level before the first knot is that knot's own.
    """

    def __init__(self, pitch: Pitch):
        self.pitch = pitch
        self.index, self.step = _trellis(pitch)
        self.total: np.ndarray | None = None
        self.back: list[np.ndarray] = []
        self.weight = 0.0  # of the last frame

    def push(self, cost: np.ndarray, weight: np.ndarray) -> np.ndarray | None:
        weighted = cost * weight[:, None]
        on_the_way = weighted[0][self.index[0]]
        for frame in range(1, self.pitch.frames):
            on_the_way += weighted[frame][self.index[frame]]
        offset = on_the_way.argmin(axis=0)
        each = np.take_along_axis(on_the_way, offset[None], axis=0)[0]
        # A jump in silence, or where sound begins, is free.
        each += self.step * (_SILENCE + min(self.weight, float(weight.mean())))
        self.weight = float(weight[-1])
        if self.total is None:
            each[~np.eye(len(each), dtype=bool)] = np.inf
        else:
            each += self.total[:, None]
        before, all_levels = each.argmin(axis=0), np.arange(len(each))
        total = each[before, all_levels]
        self.total = total - total.min()
        self.back.append(np.stack([before, offset[before, all_levels]]))
        if len(self.back) <= self.pitch.wait:
            return None
        decided, earlier = self._decided()
        # Paths through another level at the knot that is decided end here.
        self.total[earlier != decided[0]] = np.inf
        return decided

    def rest(self) -> list[np.ndarray]:
        return [self._decided()[0] for _ in range(len(self.back))]

    def _decided(self) -> tuple[np.ndarray, np.ndarray]:
        """Level and offset [2] at the oldest knot of the best path, which is taken off; and each path's level there."""
        assert self.total is not None
        best, level = int(self.total.argmin()), np.arange(len(self.total))
        for before, _ in reversed(self.back[1:]):
            level = before[level]
        oldest = self.back.pop(0)
        return np.array([level[best], oldest[1, level[best]]], np.int64), level


def decoded(chosen: np.ndarray, pitch: Pitch, before: int | None = None) -> np.ndarray:
    """Wo [frames * n] float32 rad/sample of knots and offsets [n, 2], after a knot of the level `before`."""
    levels, offsets = pitch.levels, np.array(pitch.offsets or (0.0,))
    first = chosen[0, 0] if before is None else before
    at = levels[np.concatenate([[first], chosen[:, 0]])]
    return Wo_of(pitch.between(at[:-1], at[1:], offsets[chosen[:, 1]]).ravel())


def Wo_of(log2_f0: np.ndarray) -> np.ndarray:
    """Wo float32 rad/sample of log2 of F0 in Hz, float64."""
    return (2 * np.pi / SAMPLE_RATE * 2.0**log2_f0).astype(np.float32)


def model_at(windows: np.ndarray, Wo: np.ndarray) -> Model:
    """The harmonic model of pitch buffers [F, 320] of high-passed speech at a pitch Wo [F] that is given.

    Amplitudes, phases and voicing are found as in `analysis.analyse`.
    """
    L = analysis.harmonics(Wo)
    half = scipy.fft.rfft(analysis.rotate(windows * analysis.HANN), axis=1)
    power = half.real * half.real + half.imag * half.imag
    A, phi = analysis.amplitudes_and_phases(half, power, Wo, L)
    voiced = analysis.voicing(half, power, Wo, L, A)
    wide = ((0, 0), (0, MAX_AMP + 1 - A.shape[1]))
    return Model(Wo, L, np.pad(A, wide), np.pad(phi, wide), voiced)


def buffers(chunks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pitch buffers [f, 320] float32 of high-passed speech and Codec 2's pitch, log2 F0 [f].

    Chunks of int16 samples come one by one. The last, partial frame is padded with zeros.
    """
    history = np.ones(PITCH_BUFFER - FRAME, np.float32)
    squares = np.zeros(PITCH_BUFFER - FRAME, np.float32)
    memory, pitch_memory = np.zeros(len(analysis.HIGH_PASS) - 1, np.float32), None
    previous, rest = analysis._LOW_BIN, np.zeros(0, np.int16)

    def filtered(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal history, squares, memory, pitch_memory, previous
        passed, memory = analysis.fir_float32(samples.astype(np.float32), analysis.HIGH_PASS, memory)
        squared, pitch_memory = analysis.squared_and_filtered(passed, pitch_memory)
        wide, squares = np.concatenate([history, passed]), np.concatenate([squares, squared])
        f0_bin = analysis.track_pitch(
            analysis.in_blocks(analysis.pitch_candidates, analysis.windows_of(squares)), previous
        )
        history, squares, previous = wide[-(PITCH_BUFFER - FRAME) :], squares[-(PITCH_BUFFER - FRAME) :], f0_bin[-1]
        hz = f0_bin * (SAMPLE_RATE / (analysis.FFT * analysis.PITCH_DECIMATION))
        return analysis.windows_of(wide), np.log2(hz).astype(np.float32)

    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        whole = len(rest) // FRAME * FRAME
        if whole:
            yield filtered(rest[:whole])
            rest = rest[whole:]
    if len(rest):
        yield filtered(np.pad(rest, (0, FRAME - len(rest))))


def tracked(
    chunks: Iterable[np.ndarray], pitch: Pitch, frames: int | None = None
) -> Iterator[tuple[np.ndarray, Model]]:
    """Yield knots [n, 2] and the harmonic model at their pitch, for chunks of int16 samples.

    A model has a multiple of `frames`, by default of the frames between two knots. Speech is filled up to that with its
    last frame. Speech without samples gives nothing.
    """
    frames = frames or pitch.frames
    search, knots, before = Knots(pitch), list[np.ndarray](), None
    # What is not used yet: pitch buffers, and costs and weights of the frames after the last whole step.
    unused, costs, weights = (np.zeros((0, size), np.float32) for size in (PITCH_BUFFER, len(_fitting()[3]), 1))

    def steps(windows: np.ndarray, log2_f0: np.ndarray) -> None:
        nonlocal unused, costs, weights
        cost, weight = misfit(windows, log2_f0)
        unused, costs = np.concatenate([unused, windows]), np.concatenate([costs, cost])
        weights = np.concatenate([weights, weight[:, None]])
        while len(costs) >= pitch.frames:
            decided = search.push(costs[: pitch.frames], weights[: pitch.frames, 0])
            costs, weights = costs[pitch.frames :], weights[pitch.frames :]
            if decided is not None:
                knots.append(decided)

    def made() -> Iterator[tuple[np.ndarray, Model]]:
        nonlocal unused, before
        count = len(knots) * pitch.frames // frames * frames
        if count:
            chosen = np.stack(knots[: count // pitch.frames])
            model = model_at(unused[:count], decoded(chosen, pitch, before))
            before, unused = int(chosen[-1, 0]), unused[count:]
            del knots[: len(chosen)]
            yield chosen, model

    seen, last = 0, tuple[np.ndarray, ...]()
    for windows, log2_f0 in buffers(chunks):
        for i in range(0, len(windows), _CHUNK):
            part = windows[i : i + _CHUNK], log2_f0[i : i + _CHUNK]
            steps(*part)
            yield from made()
            seen, last = seen + len(part[0]), (part[0][-1:], part[1][-1:])
    if missing := -seen % frames:
        steps(*(np.repeat(each, missing, axis=0) for each in last))
    knots += search.rest()
    yield from made()
