"""Sinusoidal analysis: 8 kHz speech to the parameters of a harmonic model, a frame of 10 ms at a time.

The method is that of Codec 2's `c2sim --hpf --modelout` (https://github.com/drowe67/codec2-dev, commit
c43d2958c6c; pitch: D. Rowe, "Techniques for harmonic sinusoidal coding", PhD thesis, 1997, chapter 4):
high pass, non-linear pitch estimate, refinement by harmonic sum, band energies, MBE voicing.

Everything is vectorised over frames; only the pitch tracker's memory is a loop. The reference computes in
float32, and whether two candidates tie, or a bin falls left or right of a half, is decided by its
rounding. So where a decision depends on it the same operations are made in the same order and
precision here; sums that decide nothing are made in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

import numpy as np
import scipy.fft

from mlquant.core.errors import InputError
from mlquant.core.records import FRAME, MAX_AMP, Model, joined

FFT = 512  # size of the analysis and synthesis transforms
PITCH_BUFFER = 320  # samples of the pitch buffer; a frame's parameters describe its middle
WINDOW = 279  # samples of the analysis window
# The reference writes pi to ten digits; its decisions follow from that value.
TWO_PI = 6.283185307
PI = 3.141592654
P_MIN, P_MAX = 20, 160  # pitch period in samples
PITCH_DECIMATION = 5
V_THRESH = 6.0  # dB; harmonic to residual ratio below 1 kHz above which a frame is voiced

# First half of the symmetric 101-tap high pass, -6 dB at 200 Hz: Octave's fir1(100, 200/4000, "high").
_HIGH_PASS_HALF = (
    -0.000499868, -0.000497679, -0.000493493, -0.000484583, -0.000466851, -0.000435008, -0.000382842, -0.000303593,
    -0.000190401, -0.000036813, 0.000162659, 0.000411977, 0.000713017, 0.001065054, 0.001464319, 0.001903637,
    0.002372201, 0.00285547, 0.003335225, 0.003789793, 0.004194432, 0.004521877, 0.004743044, 0.004827864,
    0.004746231, 0.004469029, 0.003969209, 0.003222877, 0.002210351, 0.000917149, -0.000665129, -0.002538068,
    -0.00469588, -0.007125056, -0.009804244, -0.012704368, -0.015788995, -0.019014942, -0.022333127, -0.025689617,
    -0.029026873, -0.032285135, -0.03540393, -0.038323615, -0.040986963, -0.043340698, -0.04533696, -0.04693461,
    -0.048100382, -0.048809826, 0.95145273,
)  # fmt: skip
HIGH_PASS = np.array(_HIGH_PASS_HALF + _HIGH_PASS_HALF[-2::-1], np.float32)

# First half of the symmetric 48-tap low pass, 600 Hz, of the pitch estimator.
_PITCH_LOW_PASS_HALF = (
    -1.0818124e-03, -1.1008344e-03, -9.2768838e-04, -4.2289438e-04, 5.5034190e-04, 2.0029849e-03,
    3.7058509e-03, 5.1449415e-03, 5.5924666e-03, 4.3036754e-03, 8.0284511e-04, -4.8204610e-03,
    -1.1705810e-02, -1.8199275e-02, -2.2065282e-02, -2.0920610e-02, -1.2808831e-02, 3.2204775e-03,
    2.6683811e-02, 5.5520624e-02, 8.6305944e-02, 1.1480192e-01, 1.3674206e-01, 1.4867556e-01,
)  # fmt: skip
PITCH_LOW_PASS = np.array(_PITCH_LOW_PASS_HALF + _PITCH_LOW_PASS_HALF[::-1], np.float32)

_CHUNK = 8192  # frames analysed at a time: memory does not grow with the length of the speech
_BLOCK = 512  # frames of like pitch worked on at a time: their work arrays fit the cache


def high_pass(speech: np.ndarray) -> np.ndarray:
    """Filter [N] samples with the 101-tap high pass, without delay compensation; returns [N] float32."""
    return fir_float32(np.asarray(speech, np.float32), HIGH_PASS, np.zeros(len(HIGH_PASS) - 1, np.float32))[0]


def analyse(speech: np.ndarray) -> Model:
    """Analyse [N] int16 samples at 8 kHz into a Model of ceil(N/80) frames.

    The last, partial frame is padded with zeros. Parameters of a frame lag its newest sample by 160
    samples. Raises InputError when there are no samples.
    """
    return joined(list(analyse_in_chunks(speech)))


def analyse_in_chunks(speech: np.ndarray) -> Iterator[Model]:
    """Yield the same parameters as Models of up to 8192 frames each; InputError when there are no samples."""
    frames = -(-len(speech) // FRAME)
    if not frames:
        raise InputError("speech: 0 samples, expected at least one")
    history = PITCH_BUFFER - FRAME
    # The reference starts with a buffer of ones for the spectrum, and of zeros for the pitch.
    buffer, squares = np.ones(history, np.float32), np.zeros(history, np.float32)
    memory, pitch_memory, previous = np.zeros(len(HIGH_PASS) - 1, np.float32), None, _LOW_BIN
    for start in range(0, frames, _CHUNK):
        samples = speech[start * FRAME : (start + _CHUNK) * FRAME]
        padded = np.zeros(-(-len(samples) // FRAME) * FRAME, np.float32)
        padded[: len(samples)] = samples
        filtered, memory = fir_float32(padded, HIGH_PASS, memory)
        squared, pitch_memory = squared_and_filtered(filtered, pitch_memory)
        buffer = np.concatenate([buffer[-history:], filtered])
        squares = np.concatenate([squares[-history:], squared])
        f0_bin = track_pitch(in_blocks(pitch_candidates, windows_of(squares)), previous)
        previous = f0_bin[-1]
        yield _model_of_chunk(windows_of(buffer), f0_bin)


def windows_of(buffer: np.ndarray) -> np.ndarray:
    """The 320-sample pitch buffers of frames: a view [F, 320]."""
    return np.lib.stride_tricks.sliding_window_view(buffer, PITCH_BUFFER)[::FRAME]


def in_blocks(function: Callable, windows: np.ndarray) -> np.ndarray:
    """What a function gives for pitch buffers [F, 320], some of them at a time, so that memory is bounded."""
    return np.concatenate([function(windows[i : i + _BLOCK]) for i in range(0, len(windows), _BLOCK)])


def fir_float32(signal: np.ndarray, taps: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """FIR filter that accumulates tap by tap in float32, as the reference does, and its memory afterwards.

    `memory` holds the samples before the signal, as many as the taps less one.
    """
    padded = np.concatenate([memory, signal])
    out = np.zeros(len(signal), np.float32)
    step = 1 << 15
    product = np.empty(step, np.float32)
    for start in range(0, len(signal), step):
        part = out[start : start + step]
        for j, tap in enumerate(taps):
            first = start + len(taps) - 1 - j
            part += np.multiply(padded[first : first + len(part)], tap, out=product[: len(part)])
    return out, padded[len(signal) :]


# --- pitch -----------------------------------------------------------------------------------------------


def squared_and_filtered(filtered: np.ndarray, memory: tuple | None) -> tuple[np.ndarray, tuple]:
    """Square, remove DC and low-pass: [N] float32, and the memory of all three; None is that after silence."""
    before, notch, low_pass = memory or (np.float32(0), 0.0, np.zeros(len(PITCH_LOW_PASS) - 1, np.float32))
    square = filtered * filtered
    difference = np.diff(square, prepend=before)
    notched = _one_pole(difference.astype(np.float64), notch)
    # The added 1.0 is the reference's, whose filter memory runs oldest sample first.
    lifted = (notched.astype(np.float32) + 1.0).astype(np.float32)
    low_passed, low_pass = fir_float32(lifted, PITCH_LOW_PASS[::-1], low_pass)
    return low_passed, (square[-1], notched[-1], low_pass)


def _one_pole(x: np.ndarray, before: float) -> np.ndarray:
    """Return y[n] = x[n] + 0.95 y[n-1], [N] float64, where `before` is y[-1]."""
    if len(x) < _CHUNK * FRAME:
        return np.fromiter(accumulate(x.tolist(), lambda y, x: x + 0.95 * y, initial=float(before)), float)[1:]
    # The same sums, much faster, but this import takes as long as the whole analysis of a short file.
    from scipy.signal import lfilter

    return lfilter([1.0], [1.0, -0.95], x, zi=[0.95 * before])[0]


_LOW_BIN = FFT * PITCH_DECIMATION // P_MAX
_HIGH_BIN = FFT * PITCH_DECIMATION // P_MIN
_PITCH_WINDOW = (0.5 - 0.5 * np.cos(2 * PI * np.arange(64) / 63)).astype(np.float32)


def pitch_candidates(squares: np.ndarray) -> np.ndarray:
    """Candidate F0 bins [F, 1 + multiples, 2] of frames of filtered squares [F, 320].

    Row 0 is the global peak; row k the sub-multiple k + 1. In each, column 0 is the bin of a peak that counts after
    any pitch, column 1 that of a peak that counts only when the previous pitch bin lies near it. 0 stands for no peak.
    """
    decimated = squares[:, ::PITCH_DECIMATION] * _PITCH_WINDOW
    spectrum = scipy.fft.rfft(decimated, FFT, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    peak = _LOW_BIN + np.argmax(power[:, _LOW_BIN : _HIGH_BIN + 1], axis=1)
    peak_power = power[np.arange(len(power)), peak]
    candidates = np.zeros((len(power), _HIGH_BIN // _LOW_BIN, 2), np.int64)
    candidates[:, 0, 0] = peak
    strong = (0.3 * peak_power).astype(np.float32)
    weak = (0.3 * 0.5 * peak_power).astype(np.float32)
    for multiple in range(2, _HIGH_BIN // _LOW_BIN + 1):
        frames = np.flatnonzero(peak // multiple >= _LOW_BIN)
        if not len(frames):
            break
        low, high = _sub_multiple_range(peak[frames], multiple)
        bins = low[:, None] + np.arange((high - low).max() + 1)
        inside = np.where(bins <= high[:, None], power[frames[:, None], np.minimum(bins, FFT // 2)], -1.0)
        best = low + np.argmax(inside, axis=1)
        value = power[frames, best]
        local = (value > power[frames, best - 1]) & (value > power[frames, best + 1])
        candidates[frames, multiple - 1, 0] = np.where(local & (value > strong[frames]), best, 0)
        candidates[frames, multiple - 1, 1] = np.where(local & (value > weak[frames]), best, 0)
    return candidates


def _sub_multiple_range(peak: np.ndarray, multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last bin [F] of the search around peak/multiple."""
    centre = peak // multiple
    return np.maximum((0.8 * centre).astype(np.int64), _LOW_BIN), (1.2 * centre).astype(np.int64)


def track_pitch(candidates: np.ndarray, before: int) -> np.ndarray:
    """Choose the F0 bin [F] from the candidates, after a frame of bin `before`: the largest sub-multiple that counts.

    Sequential: a weaker peak counts when the previous frame's pitch lies in its search range. Only the
    frames that have such a peak beyond their last strong one look at the previous frame.
    """
    peak = candidates[:, 0, 0]
    multiples = np.arange(1, candidates.shape[1] + 1)
    last_strong = np.where(candidates[:, :, 0] > 0, multiples, 0).max(axis=1)
    chosen = candidates[np.arange(len(peak)), last_strong - 1, 0]
    weak = (candidates[:, :, 1] > 0) & (multiples > last_strong[:, None])
    for frame in np.flatnonzero(weak.any(axis=1)):
        previous = chosen[frame - 1] if frame else before
        for multiple in multiples[weak[frame]]:
            low, high = _sub_multiple_range(peak[frame], multiple)
            if low < previous < high:
                chosen[frame] = candidates[frame, multiple - 1, 1]
    return chosen


# --- spectrum, refinement, amplitudes, voicing -----------------------------------------------------------


def _analysis_window() -> tuple[np.ndarray, np.ndarray]:
    """The window [320], scaled to unit energy times 1/512, and its real spectrum [512] centred on bin 256."""
    half = WINDOW // 2
    window = np.zeros(PITCH_BUFFER, np.float32)
    hann = 0.5 - 0.5 * np.cos((TWO_PI * np.arange(2 * half) / (WINDOW - 1)).astype(np.float32))
    window[PITCH_BUFFER // 2 - half : PITCH_BUFFER // 2 + half] = hann
    energy = np.add.accumulate(window * window)[-1]  # summed one by one, in float32
    window *= np.float32(1.0 / np.sqrt(energy * np.float32(FFT)))
    spectrum = scipy.fft.fft(rotate(window[None])[0]).real
    return window, np.fft.fftshift(spectrum).astype(np.float32)


def rotate(windowed: np.ndarray) -> np.ndarray:
    """Put the middle of windowed pitch buffers [F, 320] at sample 0 of a DFT of 512: [F, 512]."""
    half, middle = WINDOW // 2, PITCH_BUFFER // 2
    rotated = np.zeros((len(windowed), FFT), np.float32)
    rotated[:, :half] = windowed[:, middle : middle + half]
    rotated[:, -half:] = windowed[:, middle - half : middle]
    return rotated


HANN, _WINDOW_SPECTRUM = _analysis_window()
# Bins per rad/sample, twice: the reference multiplies by one and divides by the other.
_RADIANS_PER_BIN = np.float32(TWO_PI / FFT)
_BINS_PER_RADIAN = np.float32(1.0 / _RADIANS_PER_BIN.astype(np.float64))


def _model_of_chunk(windows: np.ndarray, f0_bin: np.ndarray) -> Model:
    """The model of frames with pitch buffers [F, 320] and F0 bins [F]."""
    frames = len(f0_bin)
    amplitudes = (np.zeros((frames, MAX_AMP + 1), np.float32) for _ in range(2))
    model = Model(np.zeros(frames, np.float32), np.zeros(frames, np.int32), *amplitudes, np.zeros(frames, np.int32))
    # Frames of like pitch have as many harmonics: little of a block's arrays, as wide as its widest frame, is wasted.
    order = np.argsort(f0_bin, kind="stable")
    for block in (order[i : i + _BLOCK] for i in range(0, frames, _BLOCK)):
        Wo, L, A, phi, voiced = _model_of_block(windows[block], f0_bin[block])
        model.Wo[block], model.L[block], model.voiced[block] = Wo, L, voiced
        model.A[block, : A.shape[1]], model.phi[block, : A.shape[1]] = A, phi
    return model


def _model_of_block(buffers: np.ndarray, f0_bin: np.ndarray) -> tuple[np.ndarray, ...]:
    """Wo, L, A, phi, voiced of frames with pitch buffers [F, 320] and F0 bins [F]."""
    half = scipy.fft.rfft(rotate(buffers * HANN), axis=1)
    power = half.real * half.real + half.imag * half.imag
    f0 = (f0_bin.astype(np.float32) * np.float32(8000)) / np.float32(FFT * PITCH_DECIMATION)
    Wo = (TWO_PI / (np.float32(8000) / f0).astype(np.float64)).astype(np.float32)
    Wo = _refine(power, Wo, 5.0, 1.0)
    Wo = _refine(power, Wo, 1.0, 0.25)
    Wo = np.clip(Wo, np.float32(TWO_PI / P_MAX), np.float32(TWO_PI / P_MIN))
    L = harmonics(Wo)
    A, phi = amplitudes_and_phases(half, power, Wo, L)
    return Wo, L, A, phi, voicing(half, power, Wo, L, A)


def _refine(power: np.ndarray, Wo: np.ndarray, reach: float, step: float) -> np.ndarray:
    """The Wo [F] within `reach` samples of period whose harmonics sum to the most power.

    Candidates often share all their bins and so tie; the first wins, so sums are float32 in harmonic order.
    """
    mirrored = np.concatenate([power, power[:, -2:0:-1], np.zeros_like(power[:, :1])], axis=1)
    nothing = mirrored.shape[1] - 1
    period = TWO_PI / Wo.astype(np.float64)
    first, last = (period - reach).astype(np.float32), (period + reach).astype(np.float32)
    candidates = [first]
    for _ in range(round(2 * reach / step)):
        candidates.append(candidates[-1] + np.float32(step))
    p = np.stack(candidates, axis=1)
    trial = (TWO_PI / p.astype(np.float64)).astype(np.float32)
    L = (PI / Wo.astype(np.float64)).astype(np.int64)
    bins_apart = trial * _BINS_PER_RADIAN
    position = bins_apart.copy()
    energy = np.zeros_like(trial)
    row = np.arange(len(power))[:, None] * mirrored.shape[1]
    flat = mirrored.ravel()
    rounded, bins, found = np.empty(trial.shape), np.empty(trial.shape, np.int64), np.empty_like(trial)
    for m in range(1, L.max() + 1):
        np.add(position, 0.5, out=rounded, dtype=np.float64)
        np.copyto(bins, rounded, casting="unsafe")
        if m > L.min():
            bins[m > L] = nothing
        bins += row
        energy += flat.take(bins, out=found, mode="clip")
        position += bins_apart
    energy[p > last[:, None]] = 0.0
    best = np.argmax(energy, axis=1)
    frames = np.arange(len(Wo))
    return np.where(energy[frames, best] > 0.0, trial[frames, best], Wo)


def harmonics(Wo: np.ndarray) -> np.ndarray:
    """L [F] int32 of Wo [F] float32: the harmonics below the Nyquist frequency, less one that is nearer than 5 %."""
    L = np.floor((PI / Wo.astype(np.float64)).astype(np.float32)).astype(np.int32)
    return L - ((Wo * L.astype(np.float32)).astype(np.float64) >= 0.95 * PI)


def amplitudes_and_phases(
    half: np.ndarray, power: np.ndarray, Wo: np.ndarray, L: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A and phi, [F, 1 + max L] float32 each, from half spectra [F, 257] and their power."""
    m = np.arange(1, L.max() + 1)
    Wo64 = Wo.astype(np.float64)[:, None]
    edges = np.arange(m[-1] + 1) + 0.5
    band = (edges * Wo64 * np.float64(_BINS_PER_RADIAN) + 0.5).astype(np.int64)
    total = np.zeros((len(power), power.shape[1] + 1))
    np.cumsum(power, axis=1, dtype=np.float64, out=total[:, 1:])
    below = np.take_along_axis(total, np.minimum(band, FFT // 2 + 1), axis=1)
    centre = ((m.astype(np.float32) * Wo[:, None]) / _RADIANS_PER_BIN).astype(np.float64) + 0.5
    at_centre = np.take_along_axis(half, np.minimum(centre.astype(np.int64), FFT // 2), axis=1)
    inside = m <= L[:, None]
    A = np.zeros((len(Wo), m[-1] + 1), np.float32)
    phi = np.zeros_like(A)
    A[:, 1:] = np.where(inside, np.sqrt(np.maximum(np.diff(below, axis=1), 0.0)), 0.0)
    phi[:, 1:] = np.where(inside, np.arctan2(at_centre.imag, at_centre.real), 0.0)
    return A, phi


def voicing(half: np.ndarray, power: np.ndarray, Wo: np.ndarray, L: np.ndarray, A: np.ndarray) -> np.ndarray:
    """Voicing [F] int32: how well harmonics of the window's shape explain the spectrum below 1 kHz."""
    l_1000 = (L * 1000.0 / 4000).astype(np.int64)
    m = np.arange(1, max(l_1000.max(), 1) + 1)
    spacing = Wo[:, None]
    low = _band_edge(m - 0.5, spacing)
    high = _band_edge(m + 0.5, spacing)
    centre = ((m.astype(np.float32) * spacing) * np.float32(FFT)).astype(np.float64) / TWO_PI
    offset = (FFT // 2 - centre + 0.5).astype(np.int64)
    product = np.zeros(low.shape, np.complex128)
    window_energy = np.zeros(low.shape)
    band_energy = np.zeros(low.shape)
    inside = m <= l_1000[:, None]
    for k in range((high - low)[inside].max(initial=0)):
        bins = low + k
        use = inside & (bins < high)
        shape = np.where(use, _WINDOW_SPECTRUM[np.clip(offset + bins, 0, FFT - 1)], 0.0)
        bins = np.minimum(bins, FFT // 2)
        product += np.take_along_axis(half, bins, axis=1) * shape
        window_energy += shape * shape
        band_energy += np.where(use, np.take_along_axis(power, bins, axis=1), 0.0)
    # The least-squares residual of a band is its energy less the projection on the window's shape.
    projection = np.abs(product) ** 2 / np.where(inside, window_energy, 1.0)
    error = 1e-4 + np.maximum(band_energy - projection, 0.0).sum(axis=1)
    squared = A.astype(np.float64) ** 2
    total = np.cumsum(squared, axis=1)
    frames = np.arange(len(L))
    snr = 10 * np.log10((1e-4 + total[frames, l_1000]) / error)
    middle = (L * 2000.0 / 4000).astype(np.int64)
    low_energy = 1e-4 + total[frames, middle]
    high_energy = 1e-4 + total[frames, L] - total[frames, middle] + squared[frames, middle]
    ratio = 10 * np.log10(low_energy / high_energy)
    voiced = (snr > V_THRESH) | (ratio > 10.0)
    # Noise matches the close harmonics of a low pitch well: 60 Hz and less needs more proof.
    doubtful = (ratio < -10.0) | ((ratio < -4.0) & (Wo.astype(np.float64) <= 60 * TWO_PI / 8000))
    return (voiced & ~doubtful).astype(np.int32)


def _band_edge(m: np.ndarray, Wo: np.ndarray) -> np.ndarray:
    """First bin [F, m] at or above m harmonics."""
    return np.ceil((m * Wo.astype(np.float64) * FFT / TWO_PI).astype(np.float32)).astype(np.int64)
