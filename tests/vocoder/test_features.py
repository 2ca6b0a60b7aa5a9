"""The features are those of the original, follow from their definition, and are finite for whatever a model holds."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from mlquant.core import errors, records
from mlquant.vocoder import features

SAMPLES = ["big_dog", "hts1a", "kristoff", "mmt1", "two_lines"]
MODEL_FILES = ("Wo", "L", "A", "phi", "voiced")
seeds = st.integers(0, 2**32 - 1)


def random_model(frames, seed=0, low_dB=-20, high_dB=70):
    """Frames as the analysis makes them: Wo of its range, L to 0.95 of the band, amplitudes of any shape."""
    rng = np.random.default_rng(seed)
    Wo = rng.uniform(2 * np.pi / 160, 2 * np.pi / 20, frames).astype(np.float32)
    L = np.floor(np.pi / Wo).astype(np.int32)
    L[L * Wo >= 0.95 * np.pi] -= 1
    A = (10 ** (rng.uniform(low_dB, high_dB, (frames, 161)) / 20)).astype(np.float32)
    A[(np.arange(161) == 0) | (np.arange(161) > L[:, None])] = 0
    return records.Model(Wo, L, A, np.zeros_like(A), np.zeros(frames, np.int32))


def take(model, part):
    return records.Model(*(getattr(model, name)[part] for name in MODEL_FILES))


def energy_dB(spectrum):
    return 10 * np.log10(np.sum(10 ** (np.asarray(spectrum, np.float64) / 10), axis=-1))


def emphasised(A, Wo):
    """Energy of all harmonics after the pre-emphasis, [F]."""
    gain = 2 - 2 * np.cos(Wo.astype(np.float64)[:, None] * np.arange(161))
    return np.sum(A.astype(np.float64) ** 2 * gain, axis=1)


@pytest.mark.parametrize("sample", SAMPLES)
def test_features_are_those_of_the_original(reference, sample):
    model = records.read_model(reference(f"golden/{sample}_model.bin"))
    b, y = features.model_to_features(model, -80.0)
    assert b.dtype == y.dtype == np.float32
    feature_records = features.features_to_records(b, model.Wo, model.voiced)
    expected = records.read_f32(reference(f"golden/{sample}_b.f32"), 22)
    np.testing.assert_allclose(y, records.read_f32(reference(f"golden/{sample}_y.f32"), 79), rtol=0, atol=1e-4)
    np.testing.assert_allclose(feature_records, expected, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(feature_records[:, 20:], expected[:, 20:])


@pytest.mark.parametrize("sample", SAMPLES)
def test_amplitudes_and_phases_are_those_of_the_original(reference, sample):
    model = records.read_model(reference(f"golden/{sample}_model.bin"))
    y = records.read_f32(reference(f"golden/{sample}_y.f32"), 79)
    a = records.read_f32(reference(f"golden/{sample}_a.f32"), 160)
    h = records.read_f32(reference(f"golden/{sample}_h.f32"), 320)

    amplitudes = features.amplitudes_to_records(features.envelope_to_amplitudes(y, model.Wo, model.L))
    np.testing.assert_array_equal(amplitudes == 0, a == 0)
    np.testing.assert_allclose(amplitudes, a, rtol=1e-5)
    phases = features.phase_filter_to_records(features.envelope_to_phase_filter(y, model.Wo, model.L))
    np.testing.assert_array_equal((phases == 0)[amplitudes.repeat(2, axis=1) == 0], True)
    np.testing.assert_allclose(phases, h, rtol=0, atol=1e-5)


def transcription(Wo, L, A):
    """One frame, step by step as the method is written down, in plain loops and scipy's spline."""

    def mel(f):
        return np.floor(2595 * np.log10(1 + f / 700) + 0.5)

    def warp(k, K):
        return 700 * (10 ** ((mel(200) + (k - 1) * (mel(3700) - mel(200)) / (K - 1)) / 2595) - 1)

    def smooth(spectrum, bands):
        out = np.zeros(79)
        for m in range(1, 80):
            band = (mel(50 * m) - mel(200)) / ((mel(3700) - mel(200)) / (bands - 1)) + 1
            st, en = max(int(warp(band - 1, bands) / 50 + 0.5), 1), min(int(warp(band + 1, bands) / 50 + 0.5), 80)
            h = np.zeros(81)
            for k in range(st, m):
                h[k] = (k - st) / (m - st)
            h[m] = 1
            for k in range(m + 1, en + 1):
                h[k] = (en - k) / (en - m)
            out[m - 1] = 10 * np.log10(np.sum(h[1:80] / np.sum(h) * 10 ** (spectrum / 10)))
        return out

    Wo = float(Wo)
    m = np.arange(1, L + 1)
    harmonics = 20 * np.log10(A[1 : L + 1].astype(float)) + 10 * np.log10(2 - 2 * np.cos(Wo * m))
    knots = np.concatenate([[0], m * Wo * 4000 / np.pi, [4000]])
    spectrum = CubicSpline(knots, [0, *harmonics, 0])(features.Y_HZ)
    spectrum += energy_dB(harmonics) - energy_dB(spectrum)
    smoothed = smooth(spectrum, 20)
    b = CubicSpline(features.Y_HZ, smoothed)(warp(np.arange(1, 21), 20))
    return b + energy_dB(smoothed) - energy_dB(b), smooth(spectrum, 100)


def test_features_agree_with_a_transcription_frame_by_frame():
    model = random_model(40, seed=1)
    model.L[:3] = 1, 2, 3  # three knots, where the spline is a parabola, and the next
    model.Wo[:3] = 2.0, 1.0, 0.7
    b, y = features.model_to_features(model, -80.0)
    for frame in range(len(model)):
        expected_b, expected_y = transcription(model.Wo[frame], model.L[frame], model.A[frame])
        np.testing.assert_allclose(b[frame], expected_b, rtol=0, atol=1e-4)
        np.testing.assert_allclose(y[frame], expected_y, rtol=0, atol=1e-4)


def test_frequencies_of_the_features():
    np.testing.assert_array_equal(features.Y_HZ, np.arange(50, 4000, 50))
    assert features.B_HZ[[0, -1]] == pytest.approx([199.8, 3701.1], abs=0.05)
    assert len(features.B_HZ) == 20 and np.all(np.diff(np.diff(features.B_HZ)) > 0)


@given(seed=seeds, frames=st.integers(1, 8), most=st.integers(1, 160))
@settings(max_examples=60)
def test_batched_spline_is_the_not_a_knot_spline_of_each_frame(seed, frames, most):
    rng = np.random.default_rng(seed)
    L = rng.integers(1, most + 1, frames)
    gap = rng.uniform(0.3, 3, frames)
    values = rng.normal(0, 30, (L.max() + 2, frames))
    points = rng.uniform(0, 1, (79, frames)) * (L + gap)
    result = features._spline(values, L, gap, points)
    for frame in range(frames):
        knots = np.append(np.arange(L[frame] + 1), L[frame] + gap[frame])
        spline = CubicSpline(knots, values[: L[frame] + 2, frame], bc_type="not-a-knot")
        np.testing.assert_allclose(result[:, frame], spline(points[:, frame]), rtol=1e-9, atol=1e-8)


def test_a_flat_spectrum_gives_flat_features_away_from_the_ends():
    F0 = 100.0
    Wo = np.array([F0 * np.pi / 4000], np.float32)
    L = np.array([38], np.int32)
    A = np.zeros((1, 161), np.float32)
    A[0, 1:39] = 100 / (2 * np.sin(Wo * np.arange(1, 39) / 2))  # 40 dB at every harmonic after the pre-emphasis
    b, y = features.model_to_features(records.Model(Wo, L, A, A, L), -80.0)
    middle = y[0, (features.Y_HZ > 5 * F0) & (features.Y_HZ < 4000 - 5 * F0)]
    assert np.ptp(middle) < 0.02
    assert np.ptp(b[0, (features.B_HZ > 5 * F0) & (features.B_HZ < 4000 - 7 * F0)]) < 0.02
    # The 79 points share the energy of the 38 harmonics. At the ends the spectrum goes to 0 dB, so it is a little more.
    assert 0 < middle.mean() - (40 + 10 * np.log10(38 / 79)) < 0.2
    assert y[0, 0] < middle.mean() - 10


@given(seed=seeds, gain=st.floats(-40, 40))
@settings(max_examples=40)
def test_a_gain_shifts_the_features_by_that_gain(seed, gain):
    # Exactly so but for the two ends, which stay at 0 dB at 0 and 4000 Hz whatever the level: the ripple from there
    # falls to a quarter with each harmonic, and through the energy scaling all points share in a little of it.
    model = random_model(1, seed, 30, 50)
    model.Wo[:], model.L[:] = 2 * np.pi / 150, 74
    model.A[:, 1:75] += 50
    b, y = features.model_to_features(model, -80.0)
    louder_b, louder_y = features.model_to_features(replace(model, A=model.A * np.float32(10 ** (gain / 20))), -80.0)
    middle = (features.Y_HZ > 500) & (features.Y_HZ < 3500)
    np.testing.assert_allclose((louder_y - y)[:, middle], gain, rtol=0, atol=0.02 + 0.02 * abs(gain))
    middle = (features.B_HZ > 600) & (features.B_HZ < 3300)
    np.testing.assert_allclose((louder_b - b)[:, middle], gain, rtol=0, atol=0.02 + 0.02 * abs(gain))


@st.composite
def models(draw):
    """Anything that files.read_model accepts, digital silence and absurd levels and pitches included."""
    frames = draw(st.integers(1, 4))
    Wo = st.one_of(
        st.floats(2 * np.pi / 160, 2 * np.pi / 20),
        st.floats(0, float(np.nextafter(np.float32(np.pi), np.float32(0))), exclude_min=True, width=32),
    )
    level = st.one_of(st.just(0.0), st.floats(0, 2.0**127, width=32))
    A = np.zeros((frames, 161), np.float32)
    A[:, 1:] = [draw(st.lists(level, min_size=1, max_size=8).map(lambda row: np.resize(row, 160))) for _ in A]
    L = np.array([draw(st.integers(1, 160)) for _ in range(frames)], np.int32)
    Wo = np.array([draw(Wo) for _ in range(frames)], np.float32)
    return records.Model(Wo, L, A, np.zeros_like(A), np.zeros(frames, np.int32))


@given(models())
@settings(max_examples=200)
@pytest.mark.filterwarnings("error")
def test_features_are_finite_for_every_model(model):
    b, y = features.model_to_features(model, -80.0)
    assert np.isfinite(b).all() and np.isfinite(y).all()
    assert np.isfinite(features.envelope_to_phase_filter(np.clip(y, -200, 200), model.Wo, model.L)).all()


def test_silence_is_the_floor_and_what_is_louder_does_not_know_of_it():
    model = random_model(5, low_dB=-79)
    for floor_dB, floor in ((-80.0, 1e-4), (0.0, 1.0)):
        at_floor = features.model_to_features(replace(model, A=np.full_like(model.A, floor)), -200.0)
        for quiet in (0, 1e-30, 0.9 * floor):
            silent = features.model_to_features(replace(model, A=np.full_like(model.A, quiet)), floor_dB)
            for result, expected in zip(silent, at_floor, strict=True):
                np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)
    for lower, usual in zip(
        features.model_to_features(model, -200.0), features.model_to_features(model, -80.0), strict=True
    ):
        np.testing.assert_array_equal(lower, usual)


def test_harmonics_from_4000_Hz_on_are_left_out():
    Wo = np.array([0.3, np.pi / 10], np.float32)
    inside = np.array([10, 9], np.int32)
    inside += (Wo.astype(float) * (inside + 1) < np.pi).astype(np.int32)
    A = np.ones((2, 161), np.float32)
    results = []
    for L in (inside, np.array([80, 160], np.int32)):
        b, y = features.model_to_features(records.Model(Wo, L, A, A, L), -80.0)
        A_hat, H = features.envelope_to_amplitudes(y, Wo, L), features.envelope_to_phase_filter(y, Wo, L)
        assert np.all((A_hat != 0) == ((np.arange(161) > 0) & (np.arange(161) <= inside[:, None])))
        results.append([b.tobytes(), y.tobytes(), A_hat.tobytes(), H.tobytes()])
    assert results[0] == results[1]


@given(seed=seeds, cuts=st.lists(st.integers(0, 1100), min_size=1, max_size=4))
@settings(max_examples=10)
def test_a_frame_does_not_depend_on_its_neighbours(seed, cuts):
    model = random_model(1100, seed)
    y_hat = np.random.default_rng(seed).normal(20, 20, (1100, 79)).astype(np.float32)

    def results(part):
        frames = take(model, part)
        return (
            *features.model_to_features(frames, -80.0),
            features.envelope_to_amplitudes(y_hat[part], frames.Wo, frames.L),
            features.envelope_to_phase_filter(y_hat[part], frames.Wo, frames.L),
        )

    edges = sorted({0, *cuts, 700, 701, 1100})  # a frame on its own is always among the pieces
    pieces = [results(slice(a, b)) for a, b in pairwise(edges)]
    for whole, parts in zip(results(slice(None)), zip(*pieces, strict=True), strict=True):
        same = np.concatenate(parts).tobytes() == whole.tobytes()
        assert same  # on its own, for pytest would explain at length how megabytes differ
    # Before rounding to float32, which hides most differences.
    inputs = model.Wo, model.L, model.A
    for whole, alone in zip(
        features._chunk_features(*inputs, 1e-4),
        features._chunk_features(*(x[700:701] for x in inputs), 1e-4),
        strict=True,
    ):
        np.testing.assert_array_equal(alone[0], whole[700])


def test_no_frames_give_no_features():
    b, y = features.model_to_features(random_model(0), -80.0)
    assert b.shape == (0, 20) and y.shape == (0, 79)


@given(seed=seeds)
@settings(max_examples=20)
def test_harmonics_get_the_energy_of_the_spectrum(seed):
    model = random_model(6, seed)
    y_hat = np.random.default_rng(seed).uniform(-20, 60, (6, 79)).astype(np.float32)
    A = features.envelope_to_amplitudes(y_hat, model.Wo, model.L)
    np.testing.assert_allclose(10 * np.log10(emphasised(A, model.Wo)), energy_dB(y_hat), rtol=0, atol=1e-4)
    louder = features.envelope_to_amplitudes(y_hat + np.float32(12), model.Wo, model.L)
    assert np.all(louder > A, where=A > 0)


def test_features_of_a_smooth_spectrum_give_its_amplitudes_back():
    model = random_model(1)
    model.Wo[:], model.L[:] = 2 * np.pi / 80, 38
    model.A[0, 1:39] = 1000 * np.exp(-np.arange(1, 39) / 12)
    model.A[0, 39:] = 0
    _, y = features.model_to_features(model, -80.0)
    A = features.envelope_to_amplitudes(y, model.Wo, model.L)
    np.testing.assert_allclose(20 * np.log10(A[0, 3:36] / model.A[0, 3:36]), 0, atol=0.2)


@pytest.mark.parametrize("poles", [False, True])
def test_phase_is_that_of_the_known_minimum_phase_filter(poles):
    # 1 + 0.5 z^-2, and its inverse, have the same gain at 0 and 4000 Hz: taken as 0 dB, the ends fit.
    def response(radians):
        value = 1 + 0.5 * np.exp(-2j * radians)
        return 1 / value if poles else value

    Wo, L = np.array([0.05, 0.2], np.float32), np.array([60, 14], np.int32)
    y_hat = 20 * np.log10(np.abs(response(features.Y_HZ * np.pi / 4000) / response(0.0)))
    H = features.envelope_to_phase_filter(np.stack([y_hat, y_hat]).astype(np.float32), Wo, L)
    for frame in range(2):
        m = np.arange(1, L[frame] + 1)
        bins = np.round(m * float(Wo[frame]) * 512 / (2 * np.pi)) - 1  # one below: the original's indexing
        expected = np.exp(1j * np.angle(response(2 * np.pi * bins / 512)))
        np.testing.assert_allclose(H[frame, m], expected, rtol=0, atol=1e-3)
        assert not H[frame, 0] and not H[frame, L[frame] + 1 :].any()


def test_a_spectrum_for_other_frames_is_refused():
    Wo, L = np.full(3, 0.1, np.float32), np.full(3, 29, np.int32)
    for convert in (features.envelope_to_amplitudes, features.envelope_to_phase_filter):
        for shape in ((2, 79), (1, 79), (3, 20)):
            with pytest.raises(errors.InputError, match=f"y_hat is {shape[0]} x {shape[1]}.*expected 79"):
                convert(np.zeros(shape, np.float32), Wo, L)


def test_records_for_synthesis_hold_harmonic_m_at_index_m():
    A = np.arange(2 * 161, dtype=np.float32).reshape(2, 161)
    H = (A + 1j * (A + 0.5)).astype(np.complex64)
    a, h = features.amplitudes_to_records(A), features.phase_filter_to_records(H)
    assert a.shape == (2, 160) and h.shape == (2, 320) and a.dtype == h.dtype == np.float32
    assert a[1, 7] == A[1, 7]
    assert h[1, 14] == A[1, 7] and h[1, 15] == A[1, 7] + 0.5
    np.testing.assert_array_equal(features.records_to_amplitudes(a)[:, :160], A[:, :160])
    np.testing.assert_array_equal(features.records_to_phase_filter(h)[:, :160], H[:, :160])
    assert features.records_to_amplitudes(a).shape == features.records_to_phase_filter(h).shape == (2, 161)


def test_spectral_distortion_is_the_mean_square_from_200_to_3700_Hz():
    y = np.random.default_rng(0).normal(0, 20, (3, 79)).astype(np.float32)
    assert not features.spectral_distortion(y, y).any()
    np.testing.assert_allclose(features.spectral_distortion(y, y + 3), 9, rtol=1e-5)
    for point in range(79):
        y_hat = y.copy()
        y_hat[1] = y[1] + 2 * (np.arange(79) == point)
        expected = [0, 4 / 71 if 200 <= features.Y_HZ[point] <= 3700 else 0, 0]
        np.testing.assert_allclose(features.spectral_distortion(y, y_hat), expected, rtol=1e-4)
    with pytest.raises(errors.InputError, match="same frames"):
        features.spectral_distortion(y, y[:1])
