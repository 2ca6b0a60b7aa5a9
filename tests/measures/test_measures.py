"""Measures of signals whose measures are known, and the published speech under the published PESQ."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlquant.core import errors, records
from mlquant.experiments import tables
from mlquant.measures import columns, measures
from mlquant.measures.measures import DELAY

FRAMES = 200
HAS_PESQ = find_spec("pesq") is not None
needs_pesq = pytest.mark.skipif(not HAS_PESQ, reason="needs the package pesq, which a C compiler installs")


def late(speech, samples=DELAY):
    """Speech as it comes out of the vocoder: later, and as long."""
    return np.pad(speech, (samples, 0))[: len(speech)]


@pytest.fixture
def sample(tmp_path, voice):
    """A function that measures one output of the synthetic voice, from arrays that take the place of its files."""
    rng = np.random.default_rng(3)
    features = np.column_stack([rng.normal(30, 5, (FRAMES, 20)), np.full(FRAMES, 0.09), np.arange(FRAMES) % 2])
    arrays = {"b": features, "y": rng.normal(30, 5, (FRAMES, 79)), "l": rng.uniform(-1, 1, (FRAMES, 4))}
    speech = {"source": voice, "original": late(voice), "ideal_y": late(voice), "wav": late(voice)}

    def measure(index=6, bits=24, frame_ms=10, **changed):
        named = {}
        for name, array in (arrays | speech | changed).items():
            named[name] = str(tmp_path / f"{name}.{'raw' if array.ndim == 1 else 'f32'}")
            write = records.write_speech if array.ndim == 1 else records.write_f32
            write(named[name], array)
        references = {name: named[name] for name in ("source", "original", "ideal_y")} | {"features": named["b"]}
        row = {"index": index, "tag": "x", "bits_per_frame": bits, "frame_ms": frame_ms, "delay": 0, "files": named}
        (found,), (frames,), _ = measures.measure_sample({"references": references, "rows": [row]})
        assert {*found} <= {*columns.NAMES, *columns.COLUMNS} and {*frames} <= {*columns.FRAMES}
        return dict.fromkeys(columns.COLUMNS) | found, dict.fromkeys(columns.FRAMES) | frames

    return measure, arrays, speech


# --- features --------------------------------------------------------------------------------------------


def test_a_spectrum_off_by_d_dB_has_d_squared_and_counts_as_outlier_above_2_and_4_dB(sample):
    measure, arrays, _ = sample
    off = np.zeros((FRAMES, 1))
    off[:50], off[50:60] = 3, 5  # dB, of which half are voiced frames
    found, frames = measure(y_hat=arrays["y"] + off)
    assert found["frames"] == FRAMES
    assert found["sd_dB2"] == pytest.approx((50 * 9 + 10 * 25) / FRAMES, rel=1e-4)
    assert found["sd_voiced_dB2"] == pytest.approx((25 * 9 + 5 * 25) / 100, rel=1e-4)
    assert (found["frames_above_2dB"], found["share_above_2dB"]) == (60, 0.3)
    assert (found["frames_above_4dB"], found["share_above_4dB"]) == (10, 0.05)
    np.testing.assert_allclose(frames["sd_dB2"], np.square(off[:, 0]), atol=1e-3)
    assert frames["voiced"] == [0, 1] * 100 and frames["sd_b_dB2"] is None


def test_distortion_outside_200_to_3700_Hz_does_not_count(sample):
    measure, arrays, _ = sample
    y_hat = arrays["y"].copy()
    y_hat[:, :3] += 30
    y_hat[:, 74:] += 30
    assert measure(y_hat=y_hat)[0]["sd_dB2"] == 0


def test_b_hat_and_latents_have_the_mean_of_their_squared_errors(sample):
    measure, arrays, _ = sample
    b_hat = arrays["b"] + np.repeat([2.0, 0.0], [20, 2])
    found, frames = measure(b_hat=b_hat, l_hat=arrays["l"] + 0.1)
    assert found["sd_b_dB2"] == pytest.approx(4, rel=1e-5) and frames["sd_b_dB2"] == pytest.approx([4] * FRAMES)
    assert found["latent_mse"] == pytest.approx(0.01, rel=1e-4)
    assert found["sd_dB2"] is None and found["frames"] is None


def test_bits_a_frame_make_bits_a_second_at_frames_of_10_and_of_20_ms(sample):
    measure, arrays, _ = sample
    rates = ("bit_per_s", "bit_per_s_10ms", "bit_per_s_20ms")
    assert [measure(y_hat=arrays["y"])[0][name] for name in rates] == [2400, 2400, 1200]
    assert [measure(bits=48, frame_ms=40, y_hat=arrays["y"])[0][name] for name in rates] == [1200, 1200, 600]
    assert [measure(bits=64, frame_ms=20)[0][name] for name in rates] == [3200, None, None], (
        "Codec 2 has its own frames"
    )
    assert [measure(bits=None, frame_ms=None)[0][name] for name in rates] == [None] * 3


def test_features_of_another_number_of_frames_are_refused(sample):
    measure, arrays, _ = sample
    with pytest.raises(errors.InputError, match=r"y_hat\.f32: 199 records, expected 200 as in .*y\.f32"):
        measure(y_hat=arrays["y"][1:])


# --- speech ----------------------------------------------------------------------------------------------


@needs_pesq
def test_the_source_itself_is_perfect_once_its_delay_is_taken_off(sample):
    found, frames = sample[0]()
    assert found["original_pesq"] == pytest.approx(4.549, abs=1e-3)
    assert found["stoi"] == pytest.approx(1) and found["estoi"] == pytest.approx(1)
    assert found["lsd_dB"] == 0 and found["original_lsd_dB"] == 0 and found["ideal_y_stoi"] == pytest.approx(1)
    assert [found[f"crest_{band}_dB"] for band in ("low", "mid", "high")] == pytest.approx([0, 0, 0], abs=0.1)
    assert found["delay_samples"] == found["delay_measured"] == 209
    assert len(frames["lsd_dB"]) == FRAMES and frames["lsd_dB"][0] is None, "before the source is heard"


@needs_pesq
def test_the_columns_agree_with_the_packages(sample, voice):
    import pesq
    from pystoi import stoi

    noisy = np.clip(late(voice) + np.random.default_rng(1).normal(0, 300, len(voice)), -32768, 32767).astype(np.int16)
    found, _ = sample[0](wav=noisy, published=noisy)
    assert found["pesq"] == pytest.approx(pesq.pesq(8000, voice, noisy, "nb"), abs=1e-8)
    assert found["original_pesq"] == pytest.approx(pesq.pesq(8000, late(voice), noisy, "nb"), abs=1e-8)
    for name, extended in (("stoi", False), ("estoi", True)):
        expected = stoi(voice[:-209].astype(float), noisy[209:].astype(float), 8000, extended)
        assert found[name] == pytest.approx(expected, abs=1e-8)
        late_stoi = stoi(late(voice).astype(float), noisy.astype(float), 8000, extended)
        assert found[f"ideal_y_{name}"] == pytest.approx(late_stoi, abs=1e-8)
    for prefix in ("", "ideal_y_"):
        for name in ("pesq", "stoi", "estoi", "lsd_dB"):
            assert found[f"published_{prefix}{name}"] == found[f"{prefix}{name}"]


@pytest.mark.parametrize("length", [80, 400, 2000])
def test_speech_too_short_for_a_measure_leaves_it_empty(voice, length):
    found, lsd, _ = measures.audio_measures(voice[:length], voice[:length], 0)
    assert found["stoi"] is found["estoi"] is None
    assert found["lsd_dB"] == 0 and len(lsd) == length // 80
    assert measures.measured_delay(voice[:length], voice[:length]) in (None, 0)


@pytest.mark.parametrize("gain", [2.0, 0.25])
def test_the_log_spectral_distance_of_another_gain_is_that_gain_in_dB(gain):
    noise = np.random.default_rng(1).normal(0, 2000, 8000)
    distance = measures.log_spectral_distance(noise, gain * noise)
    np.testing.assert_allclose(distance, abs(20 * np.log10(gain)), atol=0.01)


def test_frames_without_speech_have_no_distance(voice):
    quiet = voice.copy()
    quiet[4000:8000] = 0
    distance = measures.log_spectral_distance(quiet, voice)
    assert np.isnan(distance[52:98]).all() and np.isfinite(distance[:48]).any()


@settings(max_examples=20)
@given(delay=st.integers(-300, 300))
def test_a_delay_is_measured_whatever_it_is(voice, delay):
    moved = np.roll(voice, delay)
    assert abs(measures.measured_delay(voice, moved) - delay) <= 1


def cycles(phase_of_harmonic):
    """Harmonics of equal level at Wo = 2 pi / 80, with phases by a function of m; and records that say so."""
    n, m = np.arange(80 * FRAMES)[:, None], np.arange(1, 38)
    signal = np.cos(2 * np.pi / 80 * m * n + phase_of_harmonic(m)).sum(axis=1)
    return signal, np.column_stack([np.zeros((FRAMES, 20)), np.full(FRAMES, 2 * np.pi / 80), np.ones(FRAMES)])


@pytest.mark.parametrize(("band", "harmonics"), [(0, 7), (1, 10), (2, 17)])
def test_a_pulse_in_each_cycle_is_more_peaked_than_spread_phases(band, harmonics):
    pulses, records = cycles(lambda m: 0 * m)
    spread, _ = cycles(lambda m: np.pi * m**2 / harmonics)  # Schroeder's phases: a chirp through the band in a cycle
    peaked, flat = (measures.crest_dB(signal, records, 0)[band] for signal in (pulses, spread))
    assert peaked > 6 and peaked > flat + 3


def test_one_harmonic_in_a_band_has_a_flat_envelope():
    records = cycles(lambda m: 0 * m)[1]
    tones = sum(np.cos(2 * np.pi * hertz / 8000 * np.arange(80 * FRAMES)) for hertz in (600, 1500, 2800))
    np.testing.assert_allclose(measures.crest_dB(tones, records, 0), 0, atol=0.3)


def test_the_crest_does_not_depend_on_the_level_and_needs_voice():
    pulses, records = cycles(lambda m: 0 * m)
    np.testing.assert_allclose(
        measures.crest_dB(1000 * pulses, records, 0), measures.crest_dB(pulses, records, 0), rtol=1e-9
    )
    records[:, 21] = 0
    assert measures.crest_dB(pulses, records, 0) == [None, None, None]


PUBLISHED = {"1_out": 3.80, "8_3200": 3.17}  # those of networks are in the tests of the report


@needs_pesq
@pytest.mark.parametrize("output", PUBLISHED)
def test_the_published_speech_has_the_published_pesq(shared, output):
    found = []
    for sample in ("big_dog", "two_lines", "hts1a", "kristoff", "mmt1"):
        source = records.read_speech(shared / f"speech/{sample}.raw")
        wav = records.read_speech(shared / f"published/240118_wav/{sample}_{output}.wav")
        found.append(measures.audio_measures(source, wav, DELAY)[0]["pesq"])
        if output == "1_out":
            assert abs(measures.measured_delay(source, wav) - DELAY) <= 1
    assert np.mean(found) == pytest.approx(PUBLISHED[output], abs=0.02)


# --- means -----------------------------------------------------------------------------------------------


def test_means_are_those_of_all_and_of_each_sex_there_is():
    rows = [("a", "m", 1.0), ("b", "m", 2.0), ("c", "f", 6.0), ("d", None, 3.0)]
    table = pd.DataFrame(
        [
            {"sample": name, "sex": sex, "index": index, "tag": f"t{index}", "pesq": index * value, "stoi": None}
            for index in (8, 1)
            for name, sex, value in rows
        ]
    ).astype({"stoi": float})
    found = tables.means(table)
    assert found[["group", "index", "tag"]].values.tolist() == [
        *(["all", 8, "t8"], ["all", 1, "t1"]),
        *(["male", 8, "t8"], ["male", 1, "t1"]),
        *(["female", 8, "t8"], ["female", 1, "t1"]),
    ]
    assert found["samples"].tolist() == [4, 4, 2, 2, 1, 1]
    assert found["pesq"].tolist() == [24, 3, 12, 1.5, 48, 6]
    assert found["stoi"].isna().all()
    assert set(tables.means(table[table["sex"] == "f"])["group"]) == {"all", "female"}
