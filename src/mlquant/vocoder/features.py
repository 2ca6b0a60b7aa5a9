"""Features: from the sinusoidal model to the network's input `b` and target `y`, and from a decoded `y` back.

`y` is the pre-emphasised amplitude spectrum in dB at 79 points 50 Hz apart; `b` is the same spectrum smoothed
and taken at 20 mel-spaced frequencies. Back again, a `y_hat` gives the amplitude of every harmonic and the phase of
the minimum phase filter that has this spectrum. Method and constants: `linear_batch.m` of the original experiment.

Functions on arrays only; nothing here reads files, synthesises or knows networks. Inside, arrays are float64 with
frames last, [points, F]: every step is the same operation on a row of frames, so a frame's result never depends on
the frames around it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mlquant.core.errors import InputError
from mlquant.core.records import MAX_AMP, SAMPLE_RATE, Model

B_POINTS = 20
Y_POINTS = 79
Y_STEP = 50.0  # Hz between the points of y

_CHUNK = 512  # frames worked on at a time: bounds memory, and keeps the arrays in cache
_FFT = 512
_DB = np.log(10) / 10  # exp(_DB * dB) is an energy
_RANGE_DB = 600.0  # keeps energies within float64; recorded speech spans 120 dB
_MEL_LOW, _MEL_HIGH = 200.0, 3700.0  # Hz, of the first and the last band


def _mel(hz: np.ndarray | float) -> np.ndarray:
    return np.floor(2595 * np.log10(1 + hz / 700) + 0.5)


def _band_to_hz(band: np.ndarray | float, bands: int) -> np.ndarray:
    """Centre in Hz of band 1..`bands`, bands equally spaced in mel; fractions and outside values allowed."""
    step = (_mel(_MEL_HIGH) - _mel(_MEL_LOW)) / (bands - 1)
    return 700 * (10 ** ((_mel(_MEL_LOW) + (band - 1) * step) / 2595) - 1)


def _hz_to_band(hz: np.ndarray | float, bands: int) -> np.ndarray:
    step = (_mel(_MEL_HIGH) - _mel(_MEL_LOW)) / (bands - 1)
    return (_mel(hz) - _mel(_MEL_LOW)) / step + 1


def _smoothing(bands: int) -> np.ndarray:
    """Triangular filters as a [79, 79] matrix on linear energies: row m reaches one of `bands` bands to either side."""
    filters = np.zeros((Y_POINTS, Y_POINTS))
    k = np.arange(1, Y_POINTS + 1)
    for m in range(1, Y_POINTS + 1):
        band = _hz_to_band(Y_STEP * m, bands)
        start = max(np.floor(_band_to_hz(band - 1, bands) / Y_STEP + 0.5), 1)
        # At 4000 Hz, the 80th point, a filter that reaches so far is 0.
        end = min(np.floor(_band_to_hz(band + 1, bands) / Y_STEP + 0.5), Y_POINTS + 1)
        rising, falling = (k >= start) & (k < m), (k > m) & (k <= end)
        filters[m - 1, rising] = (k[rising] - start) / (m - start)
        filters[m - 1, falling] = (end - k[falling]) / (end - m)
        filters[m - 1, m - 1] = 1
    return filters / filters.sum(axis=1, keepdims=True)


Y_HZ = Y_STEP * np.arange(1, Y_POINTS + 1)  # [79] Hz: 50, 100, ... 3950, the frequencies of y
B_HZ = _band_to_hz(np.arange(1, B_POINTS + 1), B_POINTS)  # [20] Hz: 199.8 ... 3701.1, the frequencies of b


@cache
def _matrices() -> tuple:
    """Return the smoothing of linear energies for y and b [79, 79], and the spline in dB from 79 points to b [20, 79].

    All are sparse matrices, even the last, which is dense: their product adds up in one order for any number of frames,
    which BLAS does not promise. They are made on first use, as scipy takes longer to import than a sample to make.
    """
    from scipy.interpolate import CubicSpline
    from scipy.sparse import csr_array

    to_mel = CubicSpline(Y_HZ, np.eye(Y_POINTS), bc_type="not-a-knot")(B_HZ)
    return csr_array(_smoothing(100)), csr_array(_smoothing(B_POINTS)), csr_array(to_mel)


def _spline(values: np.ndarray, L: np.ndarray, gap: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Evaluate one not-a-knot cubic spline a column.

    values [K, F]: in each column, rows 0..L hold the values at knots 0, 1, ..., L and row L+1 that at knot L + gap;
    rows above are not used. L [F] from 1 to K-2, gap [F] > 0. points [P, F] from 0 to L + gap. Returns [P, F].

    The knots are uniform up to L, so eliminating the tridiagonal system for the second derivatives from the left
    takes the same factors in all columns; only the row of knot L, where the odd interval is, differs. With three
    knots (L = 1) the two end conditions are one, and the spline is the parabola through them.
    """
    K, F = values.shape
    column = np.arange(F)
    rise = np.diff(values, axis=0)
    # Row i eliminated: second[i] = known[i] - factor[i] * second[i+1]. Knot 1's end condition leaves second[1] alone;
    # row 0 serves L = 1 only, as second[0] = second[1].
    factor = np.zeros(K)
    factor[0] = -1
    second = np.zeros((K, F))
    second[1] = rise[1] - rise[0]
    for i in range(2, K - 2):
        factor[i] = 1 / (4 - factor[i - 1])
        second[i] = (6 * (rise[i] - rise[i - 1]) - second[i - 1]) * factor[i]
    bend = 6 * (rise[L, column] / gap - rise[L - 1, column]) / (1 + gap)
    last = (bend - (1 - gap) * second[L - 1, column]) / (2 - factor[L - 1] + gap * (1 + factor[L - 1]))
    second[np.arange(K)[:, None] >= L] = 0
    second[L, column] = last  # with zeros above, substituting back from the top row leaves it as it is
    for i in range(K - 3, 0, -1):
        second[i] -= factor[i] * second[i + 1]
    second[0] = np.where(L == 1, second[1], 2 * second[1] - second[2])
    second[L + 1, column] = last + gap * (last - second[L - 1, column])

    interval = np.minimum(points, L).astype(np.intp)
    width = np.where(interval == L, gap, 1.0)
    here = interval * F + column
    t = points - interval
    s0, s1 = second.take(here), second.take(here + F)
    slope = rise.take(here) / width - width * (2 * s0 + s1) / 6
    return values.take(here) + t * (slope + t * (s0 / 2 + t * (s1 - s0) / (6 * width)))


def _harmonics(Wo: np.ndarray, L: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns Wo [F] float64, L [F] below 4000 Hz, harmonic numbers m [max L, 1] and which a frame has [max L, F]."""
    Wo = Wo.astype(np.float64)
    # The analysis never gives a harmonic at or above 4000 Hz; in other files they have no place in the spectrum.
    L = np.minimum(L, np.ceil(np.pi / Wo) - 1).astype(np.intp)
    m = np.arange(1, L.max() + 1)[:, None]
    return Wo, L, m, m <= L


def _emphasis(Wo: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Gain of the pre-emphasis 1 - z^-1 at harmonic m, linear: its square is 2 - 2cos(Wo*m)."""
    return 2 * np.sin(Wo * m / 2)


def _total(energy: np.ndarray) -> np.ndarray:
    """Sum over points, one after the other: numpy's own sum takes another order when there is one frame."""
    return sum(energy)


def _total_dB(spectrum: np.ndarray) -> np.ndarray:
    """Energy of a spectrum in dB, [points, F] -> [F]; -inf marks points that don't count."""
    peak = spectrum.max(axis=0)
    return peak + np.log(_total(np.exp(_DB * (spectrum - peak)))) / _DB


def _chunk_features(Wo: np.ndarray, L: np.ndarray, A: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    Wo, L, m, used = _harmonics(Wo, L)
    amplitudes = np.maximum(A[:, 1 : len(m) + 1].T.astype(np.float64), floor)
    emphasised = np.where(used, amplitudes * _emphasis(Wo, m), 1.0)
    knots = np.zeros((len(m) + 2, len(Wo)))  # 0 dB at 0 and at 4000 Hz
    knots[1:-1] = 20 * np.log10(emphasised)
    nyquist = np.pi / Wo  # in units of F0, as are the points
    spectrum = _spline(knots, L, nyquist - L, nyquist * Y_HZ[:, None] / (SAMPLE_RATE / 2))

    # Few harmonics of a low F0 let the spline swing by thousands of dB, which only the limit keeps finite.
    energy = np.exp(_DB * np.maximum(spectrum - spectrum.max(axis=0), -_RANGE_DB))
    energy *= _total(np.where(used, emphasised**2, 0.0)) / _total(energy)
    smooth_y, smooth_b, to_mel = _matrices()
    y = 10 * np.log10(smooth_y @ energy)
    smooth = smooth_b @ energy
    b = to_mel @ (10 * np.log10(smooth))
    b += 10 * np.log10(_total(smooth)) - _total_dB(b)
    return b.T, y.T


def model_to_features(model: Model, floor_dB: float) -> tuple[np.ndarray, np.ndarray]:
    """Features of every frame of a model.

    Amplitudes below `floor_dB` (dB, 0 dB is A = 1) are raised to it, so that digital silence has finite features;
    harmonics at or above 4000 Hz are left out. Returns b [F, 20] and y [F, 79], float32 dB, finite for every model
    that `records.read_model` accepts. Source: linear_batch.m, linear_batch_ml_in.
    """
    frames = len(model)
    b = np.empty((frames, B_POINTS), np.float32)
    y = np.empty((frames, Y_POINTS), np.float32)
    for start in range(0, frames, _CHUNK):
        part = slice(start, start + _CHUNK)
        b[part], y[part] = _chunk_features(model.Wo[part], model.L[part], model.A[part], 10 ** (floor_dB / 20))
    return b, y


def features_to_records(b: np.ndarray, Wo: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Records of a `_b.f32` file, [F, 22] float32: b [F, 20], then Wo [F] and voiced [F] (0 or 1)."""
    return np.column_stack([b, Wo, voiced]).astype(np.float32)


def _envelope(y_hat: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Spline through y_hat [F, 79] and 0 dB at 0 and 4000 Hz, at points [P, F or 1] in units of 50 Hz; [P, F] dB."""
    knots = np.zeros((Y_POINTS + 2, len(y_hat)))
    knots[1:-1] = y_hat.T
    return _spline(knots, np.full(len(y_hat), Y_POINTS), np.ones(len(y_hat)), points)


def _check_envelope(y_hat: np.ndarray, Wo: np.ndarray, L: np.ndarray) -> None:
    if y_hat.shape != (len(Wo), Y_POINTS) or len(L) != len(Wo):
        raise InputError(
            f"y_hat is {' x '.join(map(str, y_hat.shape))}, with {len(Wo)} Wo and {len(L)} L: "
            f"expected {Y_POINTS} values for each frame of the model"
        )


def envelope_to_amplitudes(y_hat: np.ndarray, Wo: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Amplitudes of the harmonics from a spectrum y_hat [F, 79] dB, Wo [F] rad/sample and L [F].

    The harmonics get the energy of the 79 points, then the pre-emphasis is taken off. Returns A [F, 161] float32,
    linear, 0 at index 0, above L and from 4000 Hz on. Raises InputError when the numbers of frames differ.
    Source: linear_batch.m, linear_batch_ml_out.
    """
    _check_envelope(y_hat, Wo, L)
    A = np.zeros((len(Wo), MAX_AMP + 1), np.float32)
    for start in range(0, len(Wo), _CHUNK):
        part = slice(start, start + _CHUNK)
        W, _, m, used = _harmonics(Wo[part], L[part])
        y = y_hat[part].astype(np.float64)
        spectrum = np.where(used, _envelope(y, m * W * (Y_POINTS + 1) / np.pi), -np.inf)
        spectrum += _total_dB(y.T) - _total_dB(spectrum)
        A[part, 1 : len(m) + 1] = (np.exp(_DB / 2 * spectrum) / np.where(used, _emphasis(W, m), 1.0)).T
    return A


def envelope_to_phase_filter(y_hat: np.ndarray, Wo: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Phase at the harmonics of the minimum phase filter with the spectrum y_hat [F, 79] dB; Wo [F], L [F] as above.

    By the real cepstrum: folding it to positive time turns the logarithm of a magnitude into that of the minimum
    phase transfer function. Returns H [F, 161] complex64 of magnitude 1, and 0 where there is no harmonic, as
    `envelope_to_amplitudes`. Raises InputError when the numbers of frames differ. Source: linear_batch.m.
    """
    _check_envelope(y_hat, Wo, L)
    H = np.zeros((len(Wo), MAX_AMP + 1), np.complex64)
    bins = np.arange(_FFT // 2 + 1)[:, None]
    for start in range(0, len(Wo), _CHUNK):
        part = slice(start, start + _CHUNK)
        W, _, m, used = _harmonics(Wo[part], L[part])
        spectrum = _envelope(y_hat[part], bins * (Y_POINTS + 1) / (_FFT // 2))
        cepstrum = np.fft.irfft(spectrum, _FFT, axis=0)
        cepstrum[1 : _FFT // 2] *= 2
        cepstrum[_FFT // 2 + 1 :] = 0
        phase = np.fft.rfft(cepstrum, axis=0).imag * (_DB / 2)
        # One bin below the harmonic: the original indexes from 1 with a bin number counted from 0. Only
        # the lowest harmonics of F0 < 8 Hz, and those that are not used, are clipped.
        nearest = np.clip(np.floor(m * W * _FFT / (2 * np.pi) + 0.5).astype(np.intp) - 1, 0, _FFT // 2)
        sampled = phase[nearest, np.arange(len(W))]
        H[part, 1 : len(m) + 1] = np.where(used, np.exp(1j * sampled), 0).T
    return H


def amplitudes_to_records(A: np.ndarray) -> np.ndarray:
    """A [F, 161] as records of `c2sim --amread`, [F, 160] float32; A_160, which no vocoder frame has, is left out."""
    return A[:, :MAX_AMP].astype(np.float32)


def records_to_amplitudes(records: np.ndarray) -> np.ndarray:
    """Records of `c2sim --amread` [F, 160] as A [F, 161] float32."""
    return np.pad(records.astype(np.float32), ((0, 0), (0, 1)))


def phase_filter_to_records(H: np.ndarray) -> np.ndarray:
    """H [F, 161] as records of `c2sim --hmread`, [F, 320] float32: 160 pairs cos, sin."""
    return np.ascontiguousarray(H[:, :MAX_AMP], np.complex64).view(np.float32)


def records_to_phase_filter(records: np.ndarray) -> np.ndarray:
    """Records of `c2sim --hmread` [F, 320] as H [F, 161] complex64."""
    return np.pad(np.ascontiguousarray(records, np.float32).view(np.complex64), ((0, 0), (0, 1)))


def spectral_distortion(y: np.ndarray, y_hat: np.ndarray) -> np.ndarray:
    """Mean squared difference of two spectra [F, 79] dB from 200 to 3700 Hz, both included; [F] dB^2.

    Raises InputError when the shapes differ. Source: linear_batch.m, which prints the mean over frames.
    """
    if y.shape != y_hat.shape:
        raise InputError(f"y is {y.shape} and y_hat {y_hat.shape}, expected the same frames and points in both")
    band = (Y_HZ >= _MEL_LOW) & (Y_HZ <= _MEL_HIGH)
    return np.mean((y[:, band].astype(np.float64) - y_hat[:, band]) ** 2, axis=1)


def energy_dB(features: np.ndarray) -> np.ndarray:
    """Energy [F] in dB of feature vectors [F, n] in dB: 10 log10 of the sum of 10^(X/10), in float64."""
    features = features.astype(np.float64)
    peak = features.max(axis=1, keepdims=True)
    return (peak + 10 * np.log10(np.sum(10 ** ((features - peak) / 10), axis=1, keepdims=True)))[:, 0]
