"""Analysis finds the harmonics that a signal is made of, synthesis makes the signal; both as the reference does."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlquant.core import errors, records
from mlquant.vocoder import analysis, decoder, features, synthesis

SAMPLES = ["big_dog", "hts1a", "kristoff", "mmt1", "two_lines"]
FIELDS = ("Wo", "L", "A", "phi", "voiced")
STEADY = slice(6, -1)  # frames whose buffers hold nothing but the signal
seeds = st.integers(0, 2**32 - 1)


def snr_dB(reference, other):
    assert len(reference) == len(other)
    reference, other = reference.astype(float), other.astype(float)
    error = np.sum((reference - other) ** 2)
    return np.inf if error == 0 else 10 * np.log10(np.sum(reference**2) / error)


def harmonics(period, frames=40, level=300.0, tilt=0.0, seed=0):
    """A steady sum of cosines of peak 2 A_m [80*frames] float64, with its Wo and A [L].

    Their phases are random. There are some, not those of seed 0, for which the method finds a multiple of the pitch.
    """
    Wo = 2 * np.pi / period
    L = int(np.pi / Wo)
    m = np.arange(1, L + (L * Wo < 0.95 * np.pi))
    A = level * 10 ** (-tilt * m / len(m) / 20)
    phase = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(m))
    return 2 * A @ np.cos(np.outer(m * Wo, np.arange(80 * frames)) + phase[:, None]), Wo, A


def high_pass_gain(radians):
    """Gain of the high pass at frequencies [n] rad/sample, from its taps."""
    return np.abs(np.exp(-1j * np.outer(radians, np.arange(101))) @ analysis.HIGH_PASS.astype(float))


def equal(one, other, first=slice(None), second=slice(None)):
    return all(np.array_equal(getattr(one, name)[first], getattr(other, name)[second]) for name in FIELDS)


# --- analysis --------------------------------------------------------------------------------------------


def test_high_pass_is_half_at_200_Hz_and_flat_above():
    dB = 20 * np.log10(high_pass_gain(2 * np.pi * np.array([50, 200, 400, 1000, 3900]) / 8000))
    assert dB[0] < -20 and dB[1] == pytest.approx(-6, abs=0.5)
    np.testing.assert_allclose(dB[2:], 0, atol=0.2)
    impulse = np.zeros(200)
    impulse[7] = 1
    np.testing.assert_array_equal(analysis.high_pass(impulse)[7:108], analysis.HIGH_PASS)
    np.testing.assert_array_equal(analysis.HIGH_PASS, analysis.HIGH_PASS[::-1])


def test_high_pass_taps_are_those_of_the_original(reference):
    np.testing.assert_allclose(analysis.HIGH_PASS, np.fromfile(reference("golden/hpf200.f32"), "<f4"), atol=1e-9)


@given(
    n=st.integers(1, 700).map(lambda n: n * n // 7 + 1),
    seed=seeds,
)
@settings(max_examples=15)
def test_high_pass_is_the_convolution_with_its_taps(n, seed):
    speech = np.random.default_rng(seed).integers(-32768, 32768, n)
    expected = np.convolve(speech, analysis.HIGH_PASS.astype(float))[:n]
    np.testing.assert_allclose(analysis.high_pass(speech), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("tilt", [0, 20])
@pytest.mark.parametrize("period", [22, 25, 30, 33.3, 40, 47.7, 50, 64, 80])
def test_a_harmonic_signal_gives_back_its_pitch_amplitudes_and_voicing(period, tilt):
    signal, Wo, A = harmonics(period, tilt=tilt)
    model = analysis.analyse(signal)
    # Steps of 0.25 sample of period, rounded to the nearest: half a step is 0.6 % at 20 samples.
    np.testing.assert_allclose(model.Wo[STEADY], Wo, rtol=max(0.002, 0.13 / period))
    np.testing.assert_array_equal(model.L[STEADY], len(A))
    np.testing.assert_array_equal(model.voiced[STEADY], 1)
    expected = 20 * np.log10(A * high_pass_gain(Wo * np.arange(1, len(A) + 1)))
    found = 20 * np.log10(model.A[STEADY, 1 : len(A) + 1])
    loud = expected > expected.max() - 20  # below 100 Hz the high pass leaves little but the neighbours' skirts
    np.testing.assert_allclose(found[:, loud], np.broadcast_to(expected[loud], found[:, loud].shape), atol=0.1)
    assert not model.A[STEADY, len(A) + 1 :].any() and not model.A[:, 0].any()


@pytest.mark.parametrize("period", [100, 110, 120])
def test_the_pitch_of_a_low_voice_is_found_among_its_many_harmonics(period):
    # Its harmonics lie so close that the analysis window's lobes overlap: amplitudes are good to some dB only.
    signal, Wo, A = harmonics(period, tilt=30)
    model = analysis.analyse(signal)
    np.testing.assert_allclose(model.Wo[STEADY], Wo, rtol=0.005)
    found, expected = 20 * np.log10(model.A[STEADY, 6:40]), 20 * np.log10(A[5:39])
    assert np.abs(found - expected).max() < 2


@pytest.mark.parametrize("period", [32, 64])  # harmonics in the middle of bins of the transform
def test_phases_are_those_at_the_middle_of_the_buffer(period):
    signal, Wo, A = harmonics(period)
    model = analysis.analyse(signal)
    phase = np.random.default_rng(0).uniform(-np.pi, np.pi, len(A))
    m = np.arange(1, len(A) + 1)
    filtered = np.angle(np.exp(-1j * np.outer(m * Wo, np.arange(101))) @ analysis.HIGH_PASS.astype(float))
    for frame in (10, 11, 30):
        middle = 80 * (frame + 1) - 160
        error = model.phi[frame, m] - (m * Wo * middle + phase + filtered)
        error = np.angle(np.exp(1j * error))[high_pass_gain(m * Wo) > 0.5]
        np.testing.assert_allclose(error, 0, atol=0.02)


def test_white_noise_is_seldom_voiced_and_a_harmonic_signal_in_noise_is():
    noise = np.random.default_rng(1).normal(0, 300, 80 * 600)
    assert analysis.analyse(noise).voiced.mean() < 0.3
    signal = harmonics(57, frames=600, tilt=10)[0]
    louder = signal / signal.std() * noise.std() * 10 ** (15 / 20)
    assert analysis.analyse(louder + noise).voiced[STEADY].mean() > 0.99
    # 10 dB more energy below 2 kHz than above is enough to be voiced, and less by 10 dB to be unvoiced.
    n = np.arange(80 * 40)
    for hertz, voiced in ((1000, 1), (3000, 0)):
        model = analysis.analyse(3000 * np.sin(2 * np.pi * hertz / 8000 * n))
        np.testing.assert_array_equal(model.voiced[STEADY], voiced)


@given(seed=seeds, period=st.floats(22, 110), octaves=st.integers(-3, 2))
@settings(max_examples=15)
def test_a_gain_changes_the_amplitudes_by_that_gain_and_nothing_else(seed, period, octaves):
    # Powers of two are exact in float32: only the constants that the method adds may tell.
    signal, _, _ = harmonics(period, frames=20, tilt=12, seed=seed)
    signal = signal.astype(np.float32)
    one, other = analysis.analyse(signal), analysis.analyse(signal * np.float32(2.0**octaves))
    for name in ("Wo", "L", "voiced"):
        np.testing.assert_array_equal(getattr(other, name)[STEADY], getattr(one, name)[STEADY])
    np.testing.assert_allclose(other.A[STEADY], one.A[STEADY] * 2.0**octaves, rtol=1e-6)
    np.testing.assert_allclose(other.phi[STEADY], one.phi[STEADY], rtol=0, atol=1e-6)


def test_a_shift_by_a_frame_shifts_the_model_by_a_frame(voice):
    one, other = analysis.analyse(voice), analysis.analyse(np.concatenate([np.zeros(80, np.int16), voice]))
    assert len(other) == len(one) + 1
    # The first frames differ: their buffers hold the ones that the reference starts with.
    assert equal(one, other, slice(10, None), slice(11, None))


@given(cut=st.integers(1, 2000))
@settings(max_examples=20)
def test_a_last_partial_frame_is_padded_with_zeros(voice, cut):
    part = analysis.analyse(voice[:cut])
    assert len(part) == -(-cut // 80)
    assert equal(part, analysis.analyse(np.concatenate([voice[:cut], np.zeros(-cut % 80, np.int16)])))


@pytest.mark.parametrize("frames", [1023, 1024, 1025, 1500])
def test_a_frame_depends_on_nothing_that_comes_after_it(voice, frames):
    speech = np.tile(voice, 11)  # 2200 frames, three blocks
    whole = analysis.analyse(speech)
    assert equal(analysis.analyse(speech[: 80 * frames]), whole, slice(None), slice(frames))


@pytest.mark.parametrize("zeros", [80, 800, 8000])
def test_digital_silence_gives_a_finite_model_that_can_be_read_back(tmp_path, voice, zeros):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = analysis.analyse(np.concatenate([voice[:800], np.zeros(zeros, np.int16), voice[:800]]))
        silent = analysis.analyse(np.zeros(zeros, np.int16))
    for found in (model, silent):
        records.write_model(tmp_path / "m.bin", found)
        assert equal(records.read_model(tmp_path / "m.bin"), found)  # its reader checks every field's range
    assert silent.A[6:].max(initial=0) == 0 and not silent.voiced[6:].any()


@given(speech=st.lists(st.sampled_from([-32768, -1, 0, 1, 32767]), min_size=1, max_size=400), seed=seeds)
@settings(max_examples=40)
def test_every_speech_gives_a_model_within_the_vocoders_range(speech, seed):
    speech = np.concatenate([speech, np.random.default_rng(seed).choice(speech, 1000)]).astype(np.int16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = analysis.analyse(speech)
    assert np.all((model.Wo >= np.float32(2 * np.pi / 160)) & (model.Wo <= np.float32(2 * np.pi / 20)))
    L = np.pi / model.Wo.astype(float)
    assert np.all((model.L < L) & (model.L > L - 2.001))
    assert np.isfinite(model.A).all() and np.isfinite(model.phi).all() and np.all(model.A >= 0)
    assert set(model.voiced.tolist()) <= {0, 1}


def test_no_samples_are_refused():
    with pytest.raises(errors.InputError, match="0 samples"):
        analysis.analyse(np.zeros(0, np.int16))


@pytest.mark.parametrize("sample", SAMPLES)
def test_analysis_is_that_of_the_reference(reference, sample):
    golden = records.read_model(reference(f"golden/{sample}_model.bin"))
    model = analysis.analyse(records.read_speech(reference(f"speech/{sample}.raw")))
    assert len(model) == len(golden)
    same = (np.abs(model.Wo / golden.Wo - 1) <= 1e-4) & (model.L == golden.L) & (model.voiced == golden.voiced)
    assert same.mean() >= 0.999
    m = np.arange(161)
    used = same[:, None] & (m >= 1) & (m <= golden.L[:, None])
    dB = 20 * np.log10(model.A[used] / golden.A[used])
    assert np.mean(np.abs(dB) <= 0.01) >= 0.999
    turn = np.abs(np.angle(np.exp(1j * (model.phi[used] - golden.phi[used]))))
    assert np.mean(turn <= 0.01) >= 0.999


# --- synthesis -------------------------------------------------------------------------------------------


def cosine(bins, peak):
    """What `steady` sounds like from the second frame on. A frame's middle is sample 79 of its 80, where the overlap
    of the reference sums up to 79/80."""
    n = np.arange(80, 1600)
    return peak * np.cos(2 * np.pi * bins / 512 * (n - 79)) * np.where(n % 80 == 79, 79 / 80, 1)


def steady(bins, A, frames=20):
    """A model of one harmonic in the middle of a bin of the transform, its phase advancing with its frequency."""
    Wo = np.full(frames, 2 * np.pi * bins / 512, np.float32)
    amplitudes, phi = np.zeros((2, frames, 161), np.float32)
    amplitudes[:, 1] = A
    phi[:, 1] = (2 * np.pi * bins / 512 * 80 * np.arange(frames)) % (2 * np.pi)
    return records.Model(Wo, np.ones(frames, np.int32), amplitudes, phi, np.ones(frames, np.int32))


@given(bins=st.integers(1, 255), A=st.floats(10, 15900))
@settings(max_examples=30)
def test_a_harmonic_of_amplitude_A_is_a_cosine_of_peak_2A(bins, A):
    speech = synthesis.synthesise(steady(bins, A))
    assert speech.shape == (1600,) and speech.dtype == np.int16
    np.testing.assert_allclose(speech[80:], cosine(bins, 2 * A), rtol=0, atol=1.1)


def test_the_overlap_of_two_frames_is_linear():
    one, two = steady(16, 100, 2), steady(16, 100, 2)
    one.A[1], two.A[0] = 0, 0
    parts = synthesis.synthesise(one).astype(int) + synthesis.synthesise(two)
    assert np.abs(parts - synthesis.synthesise(steady(16, 100, 2))).max() <= 1
    first = np.abs(synthesis.synthesise(one)[:80])
    assert np.all(first <= 200 * np.arange(80) / 80) and first[79] >= 196  # rises from 0 to its middle


@pytest.mark.parametrize("A", [16000.5, 20000, 1e6, 1e9])
def test_the_clipper_limits_the_magnitude_and_keeps_the_phase(A):
    np.testing.assert_allclose(synthesis.synthesise(steady(16, A))[80:], cosine(16, 32000), rtol=0, atol=1.1)


def test_harmonics_stay_off_the_ends_of_the_spectrum_and_the_higher_of_two_in_a_bin_stays():
    def two(bins):
        model = steady(1, 0)
        model.Wo[:], model.L[:] = 2 * np.pi * bins / 512, 2
        model.A[:, 1], model.A[:, 2] = 1000, 100
        model.phi[:] = 0
        return model

    low = synthesis._waveforms(two(0.2), slice(None))  # both of them rounded down to bin 0: raised to 1
    np.testing.assert_allclose(low[5], 200 * np.cos(2 * np.pi / 512 * np.arange(512)), atol=1e-3)
    high = synthesis._waveforms(two(255.9), slice(None))  # 256 and 512: lowered to 255
    np.testing.assert_allclose(high[5], 200 * np.cos(2 * np.pi * 255 / 512 * np.arange(512)), atol=1e-3)


@pytest.mark.parametrize("frames", [1, 1024, 1025])
def test_frames_do_not_know_of_blocks(frames):
    rng = np.random.default_rng(2)
    Wo = rng.uniform(0.04, 0.3, 1025).astype(np.float32)
    A, phi = rng.uniform(0, 60, (1025, 161)).astype(np.float32), rng.uniform(-3, 3, (1025, 161)).astype(np.float32)
    model = records.Model(Wo, np.floor(3 / Wo).astype(np.int32), A, phi, np.ones(1025, np.int32))
    part = records.Model(*(getattr(model, name)[:frames] for name in FIELDS))
    np.testing.assert_array_equal(synthesis.synthesise(part), synthesis.synthesise(model)[: 80 * frames])


@pytest.mark.parametrize(("period", "least"), [(25, 25), (40, 30), (73, 30), (100, 20)])
def test_analysis_and_synthesis_give_back_a_harmonic_signal_159_samples_later(period, least):
    signal, _, _ = harmonics(period, frames=80, level=100)
    speech = synthesis.synthesise(analysis.analyse(signal))
    expected = analysis.high_pass(signal)
    assert snr_dB(expected[1000:6000], speech[1159:6159]) > least


@pytest.mark.parametrize("sample", SAMPLES)
def test_index_1_is_the_published_file(reference, sample):
    published = records.read_speech(reference(f"published/240118_wav/{sample}_1_out.wav"))
    speech = records.read_speech(reference(f"speech/{sample}.raw"))
    assert snr_dB(published, synthesis.synthesise(analysis.analyse(speech))) >= 90


# --- phases that are not sent ----------------------------------------------------------------------------


class Rand:
    """The reference's generator, in whole numbers."""

    def __init__(self):
        self.next = 1

    def phase(self):
        self.next = (self.next * 1103515245 + 12345) % 2**64
        return 6.283185307 * (self.next // 65536 % 32768) / 32767


@given(count=st.integers(0, 200))
@settings(max_examples=20)
def test_random_phases_follow_the_recurrence(count):
    rand = Rand()
    np.testing.assert_array_equal(
        synthesis._random_phases(count, np.uint64(1))[0], np.array([rand.phase() for _ in range(count)], np.float32)
    )


def test_random_phases_follow_the_recurrence_over_a_long_file():
    rand = Rand()
    expected = [rand.phase() for _ in range(100_000)]
    np.testing.assert_array_equal(synthesis._random_phases(100_000, np.uint64(1))[0], np.array(expected, np.float32))
    assert min(expected) >= 0 and max(expected) == pytest.approx(2 * np.pi)


@given(Wo=st.floats(2 * np.pi / 160, 2 * np.pi / 20), turn=st.floats(-3, 3))
@settings(max_examples=20)
def test_the_phase_of_voiced_harmonics_advances_with_their_frequency(Wo, turn):
    frames, L = 60, int(0.95 * np.pi / Wo)
    model = records.Model(
        np.full(frames, Wo, np.float32),
        np.full(frames, L, np.int32),
        np.full((frames, 161), 100, np.float32),
        np.zeros((frames, 161), np.float32),
        np.ones(frames, np.int32),
    )
    H = np.exp(1j * turn * np.arange(161) / 161)[None].repeat(frames, axis=0)
    phi = synthesis.phase0(model, H).phi
    m = np.arange(1, L + 1)
    Wo = float(np.float32(Wo))
    expected = np.outer(np.arange(1, frames + 1) * 80 * Wo, m) + turn * m / 161
    # float32 in each of 60 advances, times the harmonic's number
    np.testing.assert_allclose(np.angle(np.exp(1j * (phi[:, 1 : L + 1] - expected))), 0, atol=1e-4 * L)
    assert not phi[:, 0].any() and not phi[:, L + 1 :].any()


def phase0_in_plain_loops(model, H):
    """The phases frame by frame and harmonic by harmonic, as the method is written down, in float64."""
    rand, excitation, background = Rand(), 0.0, 0.0
    phi = np.zeros(model.A.shape)
    for frame in range(len(model)):
        L, A = model.L[frame], model.A[frame].astype(float)
        excitation += float(model.Wo[frame]) * 80
        excitation -= 2 * np.pi * np.floor(excitation / (2 * np.pi) + 0.5)
        for m in range(1, L + 1):
            E = m * excitation if model.voiced[frame] else rand.phase()
            phi[frame, m] = np.angle(H[frame, m] * np.exp(1j * E))
        e = 10 * np.log10((1e-12 + np.sum(A[1 : L + 1] ** 2)) / L)
        if e < 40 and not model.voiced[frame]:
            background = 0.9 * background + 0.1 * e
        if model.voiced[frame]:
            for m in range(1, L + 1):
                if A[m] < 10 ** ((background + 6) / 20):
                    phi[frame, m] = rand.phase()
    return phi


@given(seed=seeds, frames=st.integers(1, 40), voiced=st.floats(0, 1))
@settings(max_examples=30)
def test_phases_and_draws_are_those_of_the_method_in_plain_loops(seed, frames, voiced):
    rng = np.random.default_rng(seed)
    Wo = rng.uniform(0.04, 0.3, frames).astype(np.float32)
    L = np.floor(0.95 * np.pi / Wo).astype(np.int32)
    level = rng.uniform(-10, 55, (frames, 1)) + rng.uniform(-10, 10, (frames, 161))
    A = np.where((np.arange(161) >= 1) & (np.arange(161) <= L[:, None]), 10 ** (level / 20), 0).astype(np.float32)
    H = np.exp(1j * rng.uniform(-3, 3, A.shape))
    model = records.Model(Wo, L, A, np.zeros_like(A), (rng.uniform(size=frames) < voiced).astype(np.int32))
    error = synthesis.phase0(model, H).phi - phase0_in_plain_loops(model, H)
    np.testing.assert_allclose(np.angle(np.exp(1j * error)), 0, atol=5e-3)


def test_the_postfilter_blurs_only_what_lies_below_the_background():
    frames = 80
    A = np.full((frames, 161), 10 ** (30 / 20), np.float32)  # a background of 30 dB in unvoiced frames
    A[-1, 1::2] = 10 ** (37 / 20)  # in the last, voiced frame: 6 dB above the background is the border
    A[-1, 2::2] = 10 ** (35 / 20)
    A[:, 21:] = 0
    A[:, 0] = 0
    voiced = np.zeros(frames, np.int32)
    voiced[-1] = 1
    model = records.Model(np.full(frames, 0.1, np.float32), np.full(frames, 20, np.int32), A, np.zeros_like(A), voiced)
    phi = synthesis.phase0(model, np.ones(A.shape, complex)).phi[-1]
    in_phase = np.abs(np.angle(np.exp(1j * (phi[1:21] - np.arange(1, 21) * 0.1 * 80 * frames)))) < 0.01
    np.testing.assert_array_equal(in_phase, np.arange(1, 21) % 2 == 1)
    # Unvoiced frames of 40 dB and more are speech, no background: nothing is blurred after them.
    loud = replace(model, A=np.where(voiced[:, None], A, 10 * A))
    phi = synthesis.phase0(loud, np.ones(A.shape, complex)).phi[-1]
    in_phase = np.abs(np.angle(np.exp(1j * (phi[1:21] - np.arange(1, 21) * 0.1 * 80 * frames)))) < 0.01
    assert in_phase.all()


def test_a_gradual_blur_is_all_below_the_background_none_above_and_nowhere_a_step():
    frames, harmonics = 300, 60
    A = np.full((frames, 161), 10 ** (30 / 20), np.float32)
    dB = np.linspace(25, 47, harmonics)  # 6 dB above the background is the border
    A[200:, 1 : 1 + harmonics] = 10 ** (dB / 20)
    A[:, 1 + harmonics :] = A[:, 0] = 0
    voiced = (np.arange(frames) >= 200).astype(np.int32)
    sizes = np.full(frames, 0.05, np.float32), np.full(frames, harmonics, np.int32)
    model = records.Model(*sizes, A, np.zeros_like(A), voiced)

    def turned(model):
        [made] = synthesis.phase0_in_chunks([(model, np.ones(A.shape, complex))], gradual=True)
        m, n = np.arange(1, 1 + harmonics), np.arange(1, frames + 1)[200:, None]
        return np.exp(1j * (made.phi[200:, 1 : 1 + harmonics] - m * 0.05 * 80 * n).astype(np.float64))

    found = turned(model)
    steady = np.abs(found.mean(axis=0))
    assert (steady[dB > 42.1] > 0.999).all() and (steady[dB < 32.3] < 0.4).all()
    assert ((steady > 0.4) & (steady < 0.999)).sum() > 5  # those between are blurred in part
    other = turned(replace(model, A=A * np.float32(1 + 2e-6)))
    assert np.abs(other - found).max() < 1e-3


@pytest.mark.parametrize("sample", SAMPLES)
def test_speech_from_the_references_amplitudes_and_phase_filter_is_its_own(reference, sample):
    model = records.read_model(reference(f"golden/{sample}_model.bin"))
    expected = records.read_speech(reference(f"golden/{sample}_ideal_y.raw"))
    A = features.records_to_amplitudes(records.read_f32(reference(f"golden/{sample}_a.f32"), 160))
    H = features.records_to_phase_filter(records.read_f32(reference(f"golden/{sample}_h.f32"), 320))
    assert snr_dB(expected, synthesis.synthesise(synthesis.phase0(replace(model, A=A), H))) >= 90
    y = records.read_f32(reference(f"golden/{sample}_y.f32"), 79)
    A = features.envelope_to_amplitudes(y, model.Wo, model.L)
    H = features.envelope_to_phase_filter(y, model.Wo, model.L)
    assert snr_dB(expected, synthesis.synthesise(synthesis.phase0(replace(model, A=A), H))) >= 60


# --- a postfilter ----------------------------------------------------------------------------------------


@given(seed=seeds, factor=st.floats(0.1, 2), level=st.floats(-200, 200))
@settings(max_examples=30)
def test_postfiltered_spectra_have_so_many_times_the_range_and_the_same_energy(seed, factor, level):
    y_hat = np.float32(level) + np.random.default_rng(seed).uniform(-40, 40, (5, 79)).astype(np.float32)
    spectra = decoder.postfiltered(y_hat, factor)
    np.testing.assert_allclose(np.diff(spectra), factor * np.diff(y_hat.astype(float)), atol=1e-4)
    energies = (10 ** ((spectra - level) / 10)).sum(axis=1), (10 ** ((y_hat.astype(float) - level) / 10)).sum(axis=1)
    np.testing.assert_allclose(*energies, rtol=1e-6)


def test_formants_stand_out_more_and_phases_stay(voice):
    model = analysis.analyse(voice)
    _, y = features.model_to_features(model, -80.0)
    kept = {}
    for postfilter in (1.0, 1.2):
        for _ in decoder.decode_in_chunks(
            [model], y, postfilter, lambda A, H, to=postfilter: kept.setdefault(to, (A, H))
        ):
            pass
    (A, H), (postfiltered, same) = kept[1.0], kept[1.2]
    np.testing.assert_array_equal(same, H)
    hz = np.arange(161) * model.Wo[:, None] * 4000 / np.pi
    inside = (hz > 300) & (hz < 3500)  # the ends of the spectrum are 0 dB
    gain = np.sin(model.Wo[:, None] * np.arange(161) / 2)  # of the pre-emphasis
    for frame in range(len(model)):
        dB, postfiltered_dB = (20 * np.log10((x * gain)[frame, inside[frame]]) for x in (A, postfiltered))
        np.testing.assert_allclose(np.diff(postfiltered_dB), 1.2 * np.diff(dB), atol=0.05)
    np.testing.assert_array_equal(decoder.decode([model], y), decoder.decode([model], y, 1.0))
    assert (decoder.decode([model], y) != decoder.decode([model], y, 1.2)).any()


# --- in chunks -------------------------------------------------------------------------------------------


def test_chunks_of_any_size_give_what_the_whole_gives(voice, monkeypatch):
    speech = np.concatenate([voice, voice[::-1], voice])
    whole = analysis.analyse(speech)
    H = np.exp(1j * np.linspace(0, 3, 161)) * np.ones((len(whole), 1))
    spoken = synthesis.synthesise(synthesis.phase0(whole, H))
    for size in (1, 7, 64):
        monkeypatch.setattr(analysis, "_CHUNK", size)
        chunks = list(analysis.analyse_in_chunks(speech))
        assert {len(chunk) for chunk in chunks[:-1]} == {size} and equal(records.joined(chunks), whole)
        starts = range(0, len(whole), size)
        filtered = zip(chunks, (H[start : start + size] for start in starts), strict=True)
        parts = synthesis.synthesise_in_chunks(synthesis.phase0_in_chunks(filtered))
        np.testing.assert_array_equal(np.concatenate(list(parts)), spoken)


def test_the_recursion_of_the_notch_is_the_same_by_either_way():
    x = np.random.default_rng(1).normal(0, 1e6, 3000)
    slow = analysis._one_pole(x, 5.0)
    analysis_chunk, analysis._CHUNK = analysis._CHUNK, 1
    try:
        np.testing.assert_array_equal(analysis._one_pole(x, 5.0), slow)
    finally:
        analysis._CHUNK = analysis_chunk
