"""Pitch for coding: known voices are found without octave errors, and a stream decides as a whole file does."""

import numpy as np
import pytest
from support.codecs import sent_pitch

from mlquant.core import records
from mlquant.vocoder import analysis, pitch

WIDE = sent_pitch(bits=7, lowest=40, highest=500)


def voiced(f0, seconds=1.0, noise=20, seed=0):
    """A voice of harmonics under two formants, with a known F0 in Hz: a number, or one for each sample."""
    count = int(8000 * seconds)
    f0 = np.broadcast_to(np.asarray(f0, float), (count,))
    phase, speech = np.cumsum(2 * np.pi * f0 / 8000), np.zeros(count)
    for m in range(1, 100):
        hz = m * f0
        gain = 1 / np.hypot(1, (hz - 500) / 300) + 0.5 / np.hypot(1, (hz - 1500) / 300) + 0.1
        speech += np.where(hz < 3800, gain * np.cos(m * phase + 0.1 * m * m), 0)
    speech *= 12000 / np.abs(speech).max()
    return (speech + np.random.default_rng(seed).normal(0, noise, count)).astype(np.int16)


def tracked(speech, sent, frames=None):
    """Knots [n, 2], and Wo and voicing of all frames."""
    knots, models = zip(*pitch.tracked([speech], sent, frames), strict=True)
    return np.concatenate(knots), *(np.concatenate([getattr(one, name) for one in models]) for name in ("Wo", "voiced"))


def octaves(Wo, f0):
    return np.log2(Wo * 4000 / np.pi / f0)


@pytest.mark.parametrize("f0", [50, 55, 60, 80, 100, 130, 170, 220, 280, 350, 400, 450, 490, 500])
def test_a_steady_voice_has_its_pitch(f0):
    _, Wo, marks = tracked(voiced(f0), WIDE)
    assert np.abs(octaves(Wo, f0)[8:-8]).max() < 0.04
    assert marks[8:-8].mean() > 0.9


@pytest.mark.parametrize("f0", [40, 45])
def test_harmonics_too_near_for_the_window_give_no_octave_error(f0):
    _, Wo, _ = tracked(voiced(f0), WIDE)
    assert np.abs(octaves(Wo, f0)[8:-8]).max() < 0.4


def test_a_glide_is_followed():
    f0 = np.geomspace(90, 300, 16000)
    _, Wo, _ = tracked(voiced(f0, 2), sent_pitch())
    # A frame's pitch is that 160 samples before its last one, and its filter delays by 50.
    at = np.clip(80 * np.arange(len(Wo)) + 79 - 160 - 50, 0, 15999)
    assert np.abs(octaves(Wo, f0[at])[8:-8]).max() < 0.08


def test_noise_at_two_octaves_does_not_move_it():
    rng = np.random.default_rng(3)
    noise = np.convolve(
        rng.normal(0, 1, 8100),
        np.sin(2 * np.pi * np.array([300.0, 1200.0])[:, None] / 8000 * np.arange(101)).sum(0),
        "valid",
    )
    speech = voiced(120).astype(float) + noise[:8000] * 3000 / noise.std() / 4
    _, Wo, _ = tracked(speech.astype(np.int16), sent_pitch())
    assert np.mean(np.abs(octaves(Wo, 120)[8:-8]) > 0.5) < 0.02


def test_creak_with_two_periods_in_turn_stays_on_one_pitch():
    periods = np.tile([144, 176], 60)  # samples: 18 and 22 ms
    speech = np.zeros(periods.sum() + 400)
    decay = np.exp(-np.arange(300) / 40) * np.cos(2 * np.pi * 600 / 8000 * np.arange(300))
    for start in np.cumsum(periods):
        speech[start : start + 300][: len(speech) - start] += decay[: len(speech) - start]
    _, Wo, _ = tracked((speech * 9000).astype(np.int16), sent_pitch())
    steps = np.abs(np.diff(np.log2(Wo[8:-8])))
    assert (steps > 0.15).mean() < 0.02
    assert 45 < np.median(Wo) * 4000 / np.pi < 70  # of one period, 45 to 56 Hz, or of what Codec 2 finds


def test_a_pitch_that_is_sent_jumps_less_than_that_of_codec_2(reference):
    jumps = []
    for name in ("hts1a", "kristoff", "mmt1"):
        speech = records.read_speech(reference(f"speech/{name}.raw"))
        model = analysis.analyse(speech)
        _, Wo, marks = tracked(speech, sent_pitch())
        for track, voiced_frames in ((model.Wo, model.voiced), (Wo, marks)):
            both = (voiced_frames[1:] > 0) & (voiced_frames[:-1] > 0)
            jumps.append(np.mean(np.abs(np.diff(np.log2(track)))[both] > 0.15))
    assert max(jumps[1::2]) < 0.08 < 0.15 < min(jumps[::2])


@pytest.mark.parametrize(
    "sent", [sent_pitch(), sent_pitch(every_ms=20, offsets=[], wait=3), sent_pitch(every_ms=10, bits=8, wait=0)]
)
def test_a_stream_has_the_pitch_of_the_file(voice, sent):
    knots, Wo, _ = tracked(voice, sent, 8)
    cuts = np.cumsum(np.random.default_rng(1).integers(1, 700, 60))
    in_pieces = [*pitch.tracked(np.split(voice, cuts[cuts < len(voice)]), sent, 8)]
    assert np.array_equal(np.concatenate([one for one, _ in in_pieces]), knots)
    for name in ("Wo", "L", "A", "phi", "voiced"):
        whole = np.concatenate([getattr(model, name) for _, model in pitch.tracked([voice], sent, 8)])
        assert np.array_equal(np.concatenate([getattr(model, name) for _, model in in_pieces]), whole), name
    assert len(Wo) == -(-len(voice) // 640) * 8


def test_the_decoder_has_the_pitch_of_the_encoder(voice):
    sent = sent_pitch()
    knots, Wo, _ = tracked(voice, sent)
    assert np.array_equal(pitch.decoded(knots, sent), Wo)
    later = pitch.decoded(knots[5:], sent, int(knots[4, 0]))
    assert np.array_equal(later, Wo[5 * sent.frames :])
    assert Wo.min() * 4000 / np.pi > sent.lowest * 2**-0.07 and Wo.max() * 4000 / np.pi < sent.highest * 2**0.07


def test_silence_and_no_speech():
    _, Wo, marks = tracked(np.zeros(4000, np.int16), sent_pitch())
    assert np.isfinite(Wo).all() and not marks[4:].any()  # at first the buffer holds the ones of Codec 2
    assert [*pitch.tracked([np.zeros(0, np.int16)], sent_pitch())] == []
