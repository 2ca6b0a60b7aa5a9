"""Sinusoidal synthesis: a harmonic model back to 8 kHz speech.

The method is that of Codec 2's `c2sim` (https://github.com/drowe67/codec2-dev, commit c43d2958c6c):
`synthesise` overlap-adds the inverse transform of each frame's harmonics; `phase0` makes the phases that
a decoder without transmitted phases uses, from the excitation's advance and a minimum phase filter. As
Codec 2's postfilter of phases does, it also makes the phases of harmonics below the background noise
random. Random phases come from the reference's own generator, which starts anew with each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import scipy.fft

from mlquant.core.records import FRAME, MAX_AMP, Model
from mlquant.vocoder.analysis import FFT, TWO_PI

CLIP_MAGNITUDE = 32000.0  # magnitude of the analytic signal above which the Hilbert clipper scales it down
_RAND_MAX = 32767
_BACKGROUND_THRESHOLD = 40.0  # dB; louder frames do not update the background estimate
_BACKGROUND_BETA = 0.1
_BACKGROUND_MARGIN = 6.0  # dB above the background below which a harmonic's phase is random
_TINY = np.float32(1e-30)  # an amplitude that nothing is divided by less than
_BLOCK = 1024  # frames transformed at a time


def _ramps() -> tuple[np.ndarray, np.ndarray]:
    """Rising and falling halves [80] of the trapezoid, accumulated in float32 as the reference does."""
    step = 1.0 / FRAME
    up, down = np.zeros(FRAME, np.float32), np.ones(FRAME, np.float32)
    for i in range(1, FRAME):
        up[i] = up[i - 1].astype(np.float64) + step
        down[i] = down[i - 1].astype(np.float64) - step
    return up, down


_UP, _DOWN = _ramps()


def synthesise(model: Model) -> np.ndarray:
    """Speech [80*F] int16 from amplitudes and phases: overlap-add of 160-sample trapezoids."""
    return np.concatenate(list(synthesise_in_chunks([model])))


def synthesise_in_chunks(models: Iterable[Model]) -> Iterator[np.ndarray]:
    """Yield the speech of models that follow each other, one after the other."""
    tail = np.zeros(FRAME, np.float32)
    for model in models:
        speech, tail = _overlapped(model, tail)
        yield np.trunc(np.clip(speech, -32767, 32767)).astype(np.int16).ravel()


def _overlapped(model: Model, tail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return frames [F, 80] float32, added to `tail` [80], the rest of the frame before, and the last rest."""
    frames = len(model)
    fade_in = np.zeros((frames, FRAME), np.float32)
    fade_out = np.zeros((frames, FRAME), np.float32)
    for start in range(0, frames, _BLOCK):
        block = slice(start, start + _BLOCK)
        wave = _waveforms(model, block)
        # A frame is centred on sample 79 of its first 80: the transform's sample 0.
        fade_in[block, : FRAME - 1] = wave[:, FFT - FRAME + 1 :] * _UP[:-1]
        fade_in[block, FRAME - 1] = wave[:, 0] * _UP[-1]
        fade_out[block, : FRAME - 1] = wave[:, 1:FRAME] * _DOWN[:-1]
    fade_in[0] += tail
    fade_in[1:] += fade_out[:-1]
    return fade_in, fade_out[-1]


def _waveforms(model: Model, block: slice) -> np.ndarray:
    """Clipped waveforms [F, 512] float32 of a block of frames."""
    Wo, L = model.Wo[block], model.L[block]
    m = np.arange(1, L.max() + 1)
    bins = _bins(Wo, m)
    inside = m <= L[:, None]
    A, phi = model.A[block, 1 : m[-1] + 1], model.phi[block, 1 : m[-1] + 1]
    harmonics = (2.0 * A * np.exp(1j * phi.astype(np.float64))).astype(np.complex64)
    spectrum = np.zeros((len(Wo), FFT), np.complex64)
    row, column = np.nonzero(inside)
    # In row order, so of two harmonics in one bin the higher stays.
    spectrum[row, bins[row, column]] = harmonics[row, column]
    wave = scipy.fft.ifft(spectrum, axis=1, norm="forward")
    magnitude = np.abs(wave)
    scale = np.where(magnitude > CLIP_MAGNITUDE, CLIP_MAGNITUDE / np.maximum(magnitude, 1.0), 1.0)
    return (wave.real * scale).astype(np.float32)


def _bins(Wo: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Transform bins [F, m] of the harmonics, kept off DC and the Nyquist frequency."""
    position = (m.astype(np.float32) * Wo[:, None]) * np.float32(FFT)
    return np.clip((position.astype(np.float64) / TWO_PI + 0.5).astype(np.int64), 1, FFT // 2 - 1)


def phase0(model: Model, H: np.ndarray) -> Model:
    """Return the model with phases that need not be sent.

    H [F, 161] complex is the filter at each harmonic. Voiced harmonics m have the phase of m times the
    excitation's, unvoiced ones a random phase, both turned by H. Voiced harmonics below the background noise
    get a random phase too. Random draws follow the reference's order, frame by frame.
    """
    return next(phase0_in_chunks([(model, H)]))


def phase0_in_chunks(filtered: Iterable[tuple[Model, np.ndarray]], gradual: bool = False) -> Iterator[Model]:
    """Yield the same for models that follow each other, each with its H.

    The reference decides of each voiced harmonic whether it is noise, and draws a phase if it is. There another
    rounding can decide otherwise, and all that is drawn after it is other, too. With `gradual` a phase is drawn for
    every harmonic, and a voiced one takes a share of it: all of it up to two thirds of the amplitude that counts as
    noise, half of it at that amplitude, nothing from twice as much on.
    """
    m = np.arange(MAX_AMP + 1)
    previous, background, state = np.float32(0), np.float32(0), np.uint64(1)
    for model, H in filtered:
        inside = (m >= 1) & (m <= model.L[:, None])
        voiced = model.voiced[:, None] != 0
        amplitude, background = _background_amplitude(model, background)
        if gradual:
            share = np.clip(amplitude[:, None] / np.maximum(model.A, _TINY) - np.float32(0.5), 0, 1)
            blurred, drawn = np.zeros_like(inside), inside
        else:
            share, blurred = np.float32(0), inside & voiced & (amplitude[:, None] > model.A)
            drawn = (inside & ~voiced) | blurred
        random_phase = np.zeros(model.A.shape, np.float32)
        # Boolean indexing runs by frame and then by harmonic: the order of the draws.
        random_phase[drawn], state = _random_phases(int(drawn.sum()), state)
        phase = _excitation_phase(model.Wo, previous)
        previous = phase[-1]
        excitation = np.where(voiced, phase[:, None] * m.astype(np.float32) + share * random_phase, random_phase)
        turned = H * np.exp(1j * excitation.astype(np.float64))
        phi = np.arctan2(turned.imag, turned.real + 1e-12)
        phi = np.where(blurred, random_phase, phi)
        yield replace(model, phi=np.where(inside, phi, 0.0).astype(np.float32))


def _excitation_phase(Wo: np.ndarray, previous: np.float32) -> np.ndarray:
    """Phase [F] float32 of the fundamental, advanced by a frame each frame and wrapped to +-pi. Sequential."""
    advance = (Wo * np.float32(FRAME)).astype(np.float32)
    phase = np.zeros(len(Wo), np.float32)
    for frame, step in enumerate(advance):
        unwrapped = previous + step
        turns = np.floor(np.float32(float(unwrapped) / TWO_PI + 0.5))
        previous = np.float32(float(unwrapped) - TWO_PI * float(turns))
        phase[frame] = previous
    return phase


def _background_amplitude(model: Model, current: np.float32) -> tuple[np.ndarray, np.float32]:
    """Amplitude [F] below which voiced harmonics count as noise, and the estimate in dB that it ends with.

    Sequential over quiet unvoiced frames, from the estimate `current` on.
    """
    # One harmonic after the other, in float32, decides what falls below 40 dB.
    energy = np.float32(1e-12) + np.add.accumulate(model.A * model.A, axis=1)[:, -1]
    level = np.float32(10.0) * np.log10(energy / model.L.astype(np.float32))
    estimate = np.zeros(len(model), np.float32)
    quiet = (level < _BACKGROUND_THRESHOLD) & (model.voiced == 0)
    for frame in range(len(model)):
        if quiet[frame]:
            current = np.float32(float(current) * (1.0 - _BACKGROUND_BETA) + float(level[frame]) * _BACKGROUND_BETA)
        estimate[frame] = current
    return (10.0 ** ((estimate.astype(np.float64) + _BACKGROUND_MARGIN) / 20.0)).astype(np.float32), current


def _random_phases(count: int, state: np.uint64) -> tuple[np.ndarray, np.uint64]:
    """`count` phases [count] float32 in 0..2 pi, from the reference's 64-bit congruential generator, and its state."""
    if not count:
        return np.zeros(0, np.float32), state
    multiplier = np.cumprod(np.full(count, 1103515245, np.uint64))
    # next_n = a^n * seed + c * (1 + a + ... + a^(n-1)), all modulo 2^64
    increment = np.uint64(12345) * np.cumsum(np.concatenate([np.ones(1, np.uint64), multiplier[:-1]])[:count])
    states = multiplier * state + increment
    draw = (states >> np.uint64(16)) % np.uint64(_RAND_MAX + 1)
    return (TWO_PI * draw.astype(np.float64) / _RAND_MAX).astype(np.float32), states[-1]
