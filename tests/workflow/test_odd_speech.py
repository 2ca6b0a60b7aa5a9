"""Odd speech through every command: finite output of the right length, or one clear line."""

import json
import sys
import warnings

import numpy as np
import pytest
import soundfile

from mlquant import cli
from mlquant.core import records

RATE = 8000
N = np.arange(RATE)
NOISE = np.random.default_rng(5).uniform(-0.9, 0.9, RATE)
VOICE = 0.2 * np.sign(np.sin(2 * np.pi * 120 * N / RATE)) * (np.sin(2 * np.pi * 3 * N / RATE) > -0.5) + 0.01 * NOISE


def tone(frequency, rate=RATE):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate)


def impulse(length, at):
    return np.where(np.arange(length) == at, 0.99, 0)


# Names of files to their samples, 1 being full scale, their rate, and how they are stored.
GOOD = {
    "square.wav": (np.sign(np.sin(2 * np.pi * 100 * N / RATE) + 1e-9), RATE, "PCM_16"),
    "square_at_half_the_rate.wav": (np.where(N % 2, 0.9999, -1), RATE, "PCM_16"),
    "dc.wav": (np.full(RATE, 0.5), RATE, "PCM_16"),
    "full_scale_dc.wav": (np.full(RATE, -1.0), RATE, "PCM_16"),
    "impulse.wav": (impulse(RATE, 4000), RATE, "PCM_16"),
    "impulse_at_the_start.wav": (impulse(RATE, 0), RATE, "PCM_16"),
    "impulse_at_the_end.wav": (impulse(RATE, RATE - 1), RATE, "PCM_16"),
    "least_bit.wav": (np.where(N % 100, 0, 1 / 32768), RATE, "PCM_16"),
    "one_frame.wav": (VOICE[:80], RATE, "PCM_16"),
    "one_sample_more.wav": (VOICE[:81], RATE, "PCM_16"),
    "white_noise.wav": (NOISE, RATE, "PCM_16"),
    "10_Hz.wav": (tone(10), RATE, "PCM_16"),
    "3900_Hz.wav": (tone(3900), RATE, "PCM_16"),
    "silence_then_speech.wav": (np.r_[np.zeros(RATE // 2), VOICE[: RATE // 2]], RATE, "PCM_16"),
    "8_bit.wav": (VOICE, RATE, "PCM_U8"),
    "24_bit.wav": (VOICE, RATE, "PCM_24"),
    "float.wav": (VOICE, RATE, "FLOAT"),
    "double_beyond_full_scale.wav": (10 * VOICE, RATE, "DOUBLE"),
    "denormal_and_speech.wav": (np.where(N < 4000, 1e-310, VOICE), RATE, "DOUBLE"),
    "stereo.wav": (np.stack([VOICE, 0.5 * NOISE], axis=1), RATE, "PCM_16"),
    "opposite_stereo.wav": (np.stack([VOICE, -0.9 * VOICE], axis=1), RATE, "PCM_16"),
    "44100_Hz_stereo.flac": (np.stack([tone(440, 44100), tone(330, 44100)], axis=1), 44100, "PCM_24"),
    "voice.raw": (VOICE, RATE, None),
}
BAD = {
    "silence.wav": (np.zeros(RATE), RATE, "PCM_16", "zero"),
    "8_bit_silence.wav": (np.zeros(RATE), RATE, "PCM_U8", "zero"),
    "float_silence.wav": (np.full(RATE, 1e-9), RATE, "FLOAT", "zero"),
    "opposite.wav": (np.stack([VOICE, -VOICE], axis=1), RATE, "FLOAT", "zero"),
    "nothing.wav": (np.zeros(0), RATE, "PCM_16", "0 samples"),
    "one_sample.wav": (np.ones(1) / 2, RATE, "PCM_16", "1 samples"),
    "79_samples.wav": (VOICE[:79], RATE, "PCM_16", "79 samples"),
    "nan.wav": (np.where(N == 5000, np.nan, VOICE), RATE, "FLOAT", "NaN or infinity"),
    "inf.wav": (np.where(N == 5000, np.inf, VOICE), RATE, "FLOAT", "NaN or infinity"),
    "minus_inf_in_a_channel.wav": (np.stack([VOICE, np.full(RATE, -np.inf)], axis=1), RATE, "DOUBLE", "NaN or"),
    "integers.wav": (32768 * VOICE, RATE, "FLOAT", "expected floats from -1 to 1"),
    "slow.wav": (VOICE, 999, "PCM_16", "999 Hz as its header says, expected 1000 to 768000"),
    "fast.wav": (VOICE, 4_000_000, "PCM_16", "4000000 Hz as its header says"),
    "65_channels.wav": (np.zeros((80, 65)), RATE, "PCM_16", "65 channels as its header says"),
}


def write(path, samples, rate, subtype):
    if subtype:
        soundfile.write(path, samples, rate, subtype)
    else:
        np.rint(32767 * samples).astype("<i2").tofile(path)


def command(folder, *words):
    """A command in this process; what it says on failure. No warning may pass by."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["mlquant", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            assert isinstance(end.code, str) and end.code.isprintable(), words
            return end.code
    return None


def test_a_corpus_of_a_folder_takes_every_format_and_lists_once_what_it_leaves_out(tmp_path, capsys):
    (tmp_path / "voices/more").mkdir(parents=True)
    for i, name in enumerate(("a.wav", "b.flac", "more/c.ogg", "d.mp3", "e.aiff", "f.AU")):
        soundfile.write(tmp_path / "voices" / name, np.roll(VOICE, 100 * i), RATE)
    for name in ("voice.m4a", "more/notes.txt"):
        (tmp_path / "voices" / name).write_text("text")
    words = ["prepare-corpus", "--settings", '{"files": "voices"}', "-o", "c.raw", "--manifest", "c.csv"]
    assert command(tmp_path, *words) is None
    told = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert told == [
        "voices: files that are no audio that is read are left out: 2 (voices/more/notes.txt, voices/voice.m4a)"
    ]
    paths = [line.split(",")[0] for line in (tmp_path / "c.csv").read_text().splitlines()[1:]]
    assert sorted(paths) == [f"voices/{name}" for name in ("a.wav", "b.flac", "d.mp3", "e.aiff", "f.AU", "more/c.ogg")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, voice):
    """A folder with a small bottleneck, its codebook and a manifold network, trained on a voice."""
    folder = tmp_path_factory.mktemp("trained")
    records.write_speech(folder / "v.raw", voice)
    settings = {"family": "manifold", "nn": 3, "lr": 1e-3, "epochs": 2, "batch": 32, "held_out": 0.1}
    bottleneck = settings | {"family": "autoencoder1", "nn": 4, "d": 4}
    of_b = ["train", "--features", "b.f32", "--settings"]
    for words in (
        ["analyse", "v.raw", "-o", "m.bin"],
        ["features", "m.bin", "--b", "b.f32", "--y", "y.f32"],
        [*of_b, json.dumps(settings), "--target", "y.f32", "-o", "manifold"],
        [*of_b, json.dumps(bottleneck), "-o", "bottleneck"],
        ["encode", "bottleneck/weights.safetensors", "b.f32", "-o", "l.f32"],
        ["vq-train", "l.f32", "-k", "4", "-m", "16", "-o", "q.f32"],
    ):
        assert command(folder, *words) is None
    return folder


@pytest.mark.parametrize("name", GOOD)
def test_odd_speech_goes_through_the_whole_chain(trained, tmp_path, name):
    samples, rate, subtype = GOOD[name]
    write(tmp_path / name, samples, rate, subtype)
    length = round(len(samples) * RATE / rate)
    weights, manifold = trained / "bottleneck/weights.safetensors", trained / "manifold/weights.safetensors"
    for words in (
        ["prepare-sample", name, "-o", "s.raw"],
        ["analyse", "s.raw", "-o", "m.bin"],
        ["features", "m.bin", "--b", "b.f32", "--y", "y.f32"],
        ["encode", weights, "b.f32", "-o", "l.f32"],
        ["vq-search", "l.f32", "-k", "4", "-q", trained / "q.f32", "--mbest", "3", "-o", "l_hat.f32"],
        ["decode", weights, "l_hat.f32", "--features", "b.f32", "-o", "b_hat.f32"],
        ["infer", manifold, "b_hat.f32", "--energy-from", "y.f32", "-o", "y_hat.f32"],
        ["synth", "m.bin", "y_hat.f32", "-o", "vq.wav"],
        ["synth", "m.bin", "y.f32", "-o", "ideal.wav"],
        ["resynth", "m.bin", "-o", "original.wav"],
        ["anchor", "s.raw", "--mode", "3200", "-o", "3200.wav"],
    ):
        assert command(tmp_path, *words) is None
    speech = records.read_speech(tmp_path / "s.raw")
    frames = -(-length // records.FRAME)
    assert len(speech) == length
    for name, width in (("b", 22), ("y", 79), ("l", 4), ("l_hat", 4), ("b_hat", 22), ("y_hat", 79)):
        assert records.read_f32(tmp_path / f"{name}.f32", width).shape == (frames, width)  # finite, or it is refused
    for name in ("vq", "ideal", "original", "3200"):
        found, at = soundfile.read(tmp_path / f"{name}.wav", dtype="int16")
        assert at == RATE and found.shape == (frames * records.FRAME,)
    named = {key: str(tmp_path / f"{key}.f32") for key in ("b", "b_hat", "y", "y_hat", "l", "l_hat")}
    row = {"index": 6, "tag": "vq", "bits_per_frame": 4, "frame_ms": 10, "delay": 0}
    rows = [row | {"files": named | {"wav": str(tmp_path / "vq.wav")}}]
    rows += [row | {"tag": "3200", "files": {"wav": str(tmp_path / "3200.wav")}}]
    references = {"source": "s.raw", "original": "original.wav", "ideal_y": "ideal.wav"}
    references = {key: str(tmp_path / path) for key, path in references.items()} | {"features": named["b"]}
    record = {"sample": "odd", "sex": None, "references": references, "rows": rows, "stages": {}}
    assert command(tmp_path, "measure", json.dumps(record), "-o", "measured.json") is None
    # Strictly: JSON has no NaN and no infinity.
    text = (tmp_path / "measured.json").read_text()
    measured = json.loads(text, parse_constant=lambda constant: pytest.fail(constant))["measures"]
    assert len(measured) == 2 and measured[0]["frames"] == frames and measured[0]["sd_dB2"] >= 0


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_speech_is_one_clear_line(tmp_path, name):
    samples, rate, subtype, says = BAD[name]
    write(tmp_path / name, samples, rate, subtype)
    before = sorted(tmp_path.iterdir())
    for words in (["prepare-sample", name], ["analyse", name], ["anchor", name]):
        told = command(tmp_path, *words, "-o", "out.raw")
        assert told.startswith(f"mlquant {words[0]}: {name}: ") and says in told
        assert sorted(tmp_path.iterdir()) == before
