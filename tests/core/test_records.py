"""What is written is read back, byte for byte as the tools have it; what cannot be used ends in one clear line."""

import io
import json
import os
import re
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlquant.core import disk, records
from mlquant.core.errors import InputError

finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
same_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def model(frames, seed=0):
    rng = np.random.default_rng(seed)
    Wo = rng.uniform(0.04, 0.3, frames).astype(np.float32)
    A, phi = rng.normal(0, 9, (2, frames, 161)).astype(np.float32)
    return records.Model(Wo, np.floor(np.pi / Wo).astype(np.int32), A, phi, rng.integers(0, 2, frames, np.int32))


# --- formats ---------------------------------------------------------------------------------------------


@given(data=st.data(), frames=st.integers(1, 12), width=st.integers(1, 9))
@same_folder
def test_f32_records_come_back(tmp_path, data, frames, width):
    array = data.draw(arrays(np.float32, (frames, width), elements=finite))
    records.write_f32(tmp_path / "a.f32", array)
    assert (tmp_path / "a.f32").read_bytes() == struct.pack(f"<{frames * width}f", *array.ravel().tolist())
    np.testing.assert_array_equal(records.read_f32(tmp_path / "a.f32", width), array)


def test_f32_is_written_little_endian_float32_in_row_order_whatever_the_array(tmp_path):
    array = np.arange(6, dtype=">f8").reshape(3, 2).T
    records.write_f32(tmp_path / "a.f32", array)
    assert (tmp_path / "a.f32").read_bytes() == struct.pack("<6f", 0, 2, 4, 1, 3, 5)


def test_model_records_are_those_of_modelout(tmp_path):
    written = model(3)
    records.write_model(tmp_path / "m.bin", written)
    data = (tmp_path / "m.bin").read_bytes()
    assert len(data) == 3 * 1300
    fields = struct.unpack("<fi161f161fi", data[1300:2600])
    assert fields[0] == written.Wo[1] and fields[1] == written.L[1] and fields[-1] == written.voiced[1]
    np.testing.assert_array_equal(fields[2:163], written.A[1])
    np.testing.assert_array_equal(fields[163:324], written.phi[1])
    read = records.read_model(tmp_path / "m.bin")
    assert len(read) == 3
    for name in ("Wo", "L", "A", "phi", "voiced"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype


def test_files_of_the_tools_pass_through_unchanged(reference, tmp_path):
    model = reference("golden/big_dog_model.bin")
    records.write_model(tmp_path / "m.bin", records.read_model(model))
    assert (tmp_path / "m.bin").read_bytes() == model.read_bytes()
    for name, width in {"big_dog_b": 22, "big_dog_y": 79, "small_vq1": 10, "big_dog_a": 160, "big_dog_h": 320}.items():
        path = reference(f"golden/{name}.f32")
        records.write_f32(tmp_path / "x.f32", records.read_f32(path, width))
        assert (tmp_path / "x.f32").read_bytes() == path.read_bytes()


speech = arrays(np.int16, st.integers(80, 300), elements=st.integers(-32768, 32767)).filter(np.any)


@given(samples=speech)
@same_folder
def test_speech_comes_back_from_raw_wav_and_flac(tmp_path, samples):
    records.write_speech(tmp_path / "s.raw", samples)
    assert (tmp_path / "s.raw").read_bytes() == struct.pack(f"<{len(samples)}h", *samples.tolist())
    records.write_speech(tmp_path / "s.wav", samples)
    wav = (tmp_path / "s.wav").read_bytes()
    assert wav[:4] == b"RIFF" and wav[44:] == (tmp_path / "s.raw").read_bytes()
    assert struct.unpack("<HHIIHH", wav[20:36]) == (1, 1, 8000, 16000, 2, 16)
    soundfile.write(tmp_path / "s.flac", samples, 8000)
    for name in ("s.raw", "s.wav", "s.flac"):
        read = records.read_speech(tmp_path / name)
        assert read.dtype == np.int16
        np.testing.assert_array_equal(read, samples)


def test_published_wavs_are_read_sample_for_sample(reference):
    path = reference("published/240118_wav/big_dog_1_out.wav")
    np.testing.assert_array_equal(records.read_speech(path), np.frombuffer(path.read_bytes()[44:], "<i2"))


def test_stereo_at_16_kHz_becomes_mono_at_8_kHz_and_says_so(tmp_path, capsys):
    n = np.arange(16000)
    left, right = 0.3 * np.sin(2 * np.pi * 440 * n / 16000), 0.1 * np.sin(2 * np.pi * 440 * n / 16000)
    aliasing = 0.3 * np.sin(2 * np.pi * 5000 * n / 16000)  # above 4 kHz: must go, not fold down to 3 kHz
    soundfile.write(tmp_path / "s.wav", np.stack([left + aliasing, right + aliasing], axis=1), 16000, "FLOAT")
    read = records.read_speech(tmp_path / "s.wav")
    assert len(read) == 8000
    expected = 32768 * 0.2 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert np.abs(read - expected)[200:-200].max() < 5
    says = capsys.readouterr().err.splitlines()
    assert len(says) == 2 and all(str(tmp_path / "s.wav") in line for line in says)
    assert "2 channels" in says[0] and "16000 Hz" in says[1] and "8000 Hz" in says[1]


def test_samples_beyond_full_scale_are_clipped_not_wrapped(tmp_path):
    soundfile.write(tmp_path / "s.wav", np.tile([1.5, -1.5], 40), 8000, "FLOAT")
    np.testing.assert_array_equal(records.read_speech(tmp_path / "s.wav"), np.tile([32767, -32768], 40))


def test_clipped_samples_are_counted_once_in_the_log(tmp_path, capsys):
    samples = 0.1 * np.sin(np.arange(800))
    samples[100:107] = 1.75
    soundfile.write(tmp_path / "s.wav", samples, 8000, "FLOAT")
    records.read_speech(tmp_path / "s.wav")
    (line,) = capsys.readouterr().err.splitlines()
    assert "s.wav: 7 of 800 samples are clipped: the loudest has 1.75 times full scale" in line
    samples[100:107] = -1
    soundfile.write(tmp_path / "s.wav", samples, 8000, "FLOAT")
    records.read_speech(tmp_path / "s.wav")
    assert not capsys.readouterr().err


READINGS = {
    "big-endian": lambda speech: speech.astype(">i2"),
    "floats": lambda speech: (speech / 32768).astype("<f4"),
    "seem to be floats": lambda speech: speech.astype("<f4"),
    "at full scale": lambda speech: (speech // 256 + 128).astype(np.uint8),
    "8-bit": lambda speech: (100 * np.sin(np.arange(len(speech)) / 9) + 128).astype(np.uint8),
}


@pytest.mark.parametrize("seems", READINGS)
@pytest.mark.parametrize("gain", [1, 0.1, 0.01])
def test_a_raw_of_another_kind_is_told_of(tmp_path, capsys, voice, seems, gain):
    READINGS[seems](np.rint(gain * voice)).tofile(tmp_path / "s.raw")
    records.read_speech(tmp_path / "s.raw")
    (line,) = capsys.readouterr().err.splitlines()
    assert f"warning: {tmp_path / 's.raw'}: its samples seem to be" in line and seems in line


@pytest.mark.parametrize("gain", [0.003, 0.01, 0.1, 1, 10, 100])
def test_of_speech_noise_and_tones_in_a_raw_nothing_is_told(tmp_path, capsys, voice, gain):
    noise = 3000 * np.random.default_rng(1).standard_normal(8000)
    for samples in (voice, noise, 3000 * np.sin(np.arange(8000) / 9), 3000.0 * (np.arange(8000) % 80 == 0)):
        records.write_speech(tmp_path / "s.raw", np.clip(np.rint(gain * samples), -32768, 32767).astype(np.int16))
        records.read_speech(tmp_path / "s.raw")
    told = [line for line in capsys.readouterr().err.splitlines() if "full scale" not in line]
    assert not told


# --- what cannot be used ---------------------------------------------------------------------------------


def refusal(read, path, *args):
    """The message of the refusal: one line that begins with the file's name."""
    with pytest.raises(InputError) as error:
        read(path, *args)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


readers = pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda path: records.read_f32(path, 22), "a.f32"),
        (records.read_model, "a.bin"),
        (records.read_speech, "a.raw"),
        (records.read_speech, "a.wav"),
        (disk.read_json, "a.json"),
    ],
)


@readers
def test_a_missing_file_an_empty_file_and_a_folder_are_refused(tmp_path, read, name):
    assert "no such file" in refusal(read, tmp_path / name)
    (tmp_path / name).touch()
    assert "is empty" in refusal(read, tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert "is a folder, expected a file" in refusal(read, tmp_path / name)


@given(size=st.integers(1, 400).filter(lambda size: size % 88))
@same_folder
def test_records_of_another_size_are_refused(tmp_path, size):
    (tmp_path / "b.f32").write_bytes(bytes(size))
    message = refusal(records.read_f32, tmp_path / "b.f32", 22)
    assert f"{size} bytes" in message and "multiple of 88" in message


def test_a_truncated_model_is_refused(tmp_path):
    records.write_model(tmp_path / "m.bin", model(4))
    data = (tmp_path / "m.bin").read_bytes()
    for size in (len(data) - 1, 1299, 1301):
        (tmp_path / "m.bin").write_bytes(data[:size])
        message = refusal(records.read_model, tmp_path / "m.bin")
        assert f"{size} bytes" in message and "1300" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_record(tmp_path, value):
    array = np.ones((5, 3), np.float32)
    array[3, 1] = value
    array.tofile(tmp_path / "a.f32")
    assert "record 3 holds NaN or infinity" in refusal(records.read_f32, tmp_path / "a.f32", 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("Wo", v) for v in (np.nan, 0.0, -0.1, 3.15, np.inf)),
        *(("L", v) for v in (0, -1, 161)),
        ("A", np.nan),
        ("A", np.inf),
        ("phi", np.nan),
    ],
)
def test_a_model_with_a_field_out_of_range_is_refused_by_frame(tmp_path, field, value):
    broken = model(4)
    getattr(broken, field)[2] = value
    records.write_model(tmp_path / "m.bin", broken)
    assert "frame 2 has Wo" in refusal(records.read_model, tmp_path / "m.bin")


def test_half_a_sample_is_refused(tmp_path):
    (tmp_path / "s.raw").write_bytes(bytes([1]) * 1001)
    assert "1001 bytes, expected an even number" in refusal(records.read_speech, tmp_path / "s.raw")


STARTS = {
    **{"RIFF": ".wav", "RF64": ".wav", "fLaC": ".flac"},
    **{"OggS": ".ogg", "FORM": ".aiff", "caff": ".caf", "ID3\4": ".mp3", ".snd": ".au", "\0\0\0 ftypM4A ": ".m4a"},
}


@pytest.mark.parametrize("start", STARTS)
def test_a_raw_with_the_header_of_another_format_is_refused_with_its_name(tmp_path, start):
    (tmp_path / "s.raw").write_bytes(start.encode() + bytes(range(1, 250)) * 8)
    suffix = STARTS[start]
    assert f"begins as a {suffix} file does" in (line := refusal(records.read_speech, tmp_path / "s.raw"))
    assert line.endswith(f"the name s{suffix}")


@pytest.mark.parametrize("scale", [32767, 300, 1e300])
def test_floats_in_the_scale_of_integers_are_refused(tmp_path, scale):
    soundfile.write(tmp_path / "s.wav", scale * np.sin(np.arange(800)), 8000, "DOUBLE")
    assert re.search("a sample of .*, expected floats from -1 to 1", refusal(records.read_speech, tmp_path / "s.wav"))


@pytest.mark.parametrize("name", ["s.raw", "s.wav"])
def test_digital_silence_and_less_than_a_frame_are_refused(tmp_path, name):
    records.write_speech(tmp_path / name, np.zeros(800, np.int16))
    assert "all 800 samples are zero" in refusal(records.read_speech, tmp_path / name)
    records.write_speech(tmp_path / name, np.ones(79, np.int16))
    assert "79 samples" in refusal(records.read_speech, tmp_path / name)
    records.write_speech(tmp_path / name, np.r_[np.zeros(79), 1].astype(np.int16))  # one sample is not silence
    assert len(records.read_speech(tmp_path / name)) == 80


@pytest.mark.parametrize("content", [b"just some text\n" * 40, b"RIFF\0\0\0\0WAVE", bytes(range(256)) * 8])
def test_what_is_not_audio_is_refused(tmp_path, content):
    (tmp_path / "s.wav").write_bytes(content)
    assert "expected" in refusal(records.read_speech, tmp_path / "s.wav")


@pytest.mark.parametrize("name", ["s.wav", "s.flac"])
def test_half_of_an_audio_file_is_refused(tmp_path, name):
    noise = np.random.default_rng(1).normal(0, 0.1, 16000)
    soundfile.write(tmp_path / name, noise, 8000)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert "expected" in refusal(records.read_speech, tmp_path / name)


def test_audio_with_NaN_is_refused(tmp_path):
    soundfile.write(tmp_path / "s.wav", np.r_[np.ones(99), np.nan], 8000, "FLOAT")
    assert "NaN" in refusal(records.read_speech, tmp_path / "s.wav")


def test_a_wav_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "s.wav", np.zeros((0, 2)), 44100)
    assert "0 samples" in refusal(records.read_speech, tmp_path / "s.wav")


HUGE = 100_000_000_000  # bytes


def with_frames(flac, frames):
    """A flac file whose header claims so many samples, in the 36 bits for it."""
    block = int.from_bytes(flac[18:26], "big") >> 36 << 36 | frames
    return flac[:18] + block.to_bytes(8, "big") + flac[26:]


def stored(form, subtype="PCM_16", rate=8000):
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, 4000)
    soundfile.write(buffer, noise, rate, subtype, format=form)
    return buffer.getvalue()


def replaced(data, field, new):
    assert data.count(field) == 1
    return data.replace(field, new)


CLAIMS = {
    "flac": with_frames(stored("FLAC"), (1 << 36) - 1),
    "flac of hours": with_frames(stored("FLAC"), 8000 * 3600 * 30),
    "flac of a sample more": with_frames(stored("FLAC"), 4001),
    "wav": replaced(stored("WAV"), b"data" + struct.pack("<I", 8000), b"data" + struct.pack("<I", 0xFFFFFF00)),
    "wav of a sample more": replaced(
        stored("WAV"), b"data" + struct.pack("<I", 8000), b"data" + struct.pack("<I", 8002)
    ),
    "aiff": replaced(stored("AIFF"), b"SSND" + struct.pack(">I", 8008), b"SSND" + struct.pack(">I", 0x7FFFFFFF)),
    "wav of 1 Hz": replaced(stored("WAV"), struct.pack("<II", 8000, 16000), struct.pack("<II", 1, 2)),
    "wav of 4 GHz": replaced(stored("WAV"), struct.pack("<II", 8000, 16000), struct.pack("<II", 0xFFFFFFFF, 16000)),
    "wav of 1024 channels": replaced(
        stored("WAV"), struct.pack("<HHI", 1, 1, 8000), struct.pack("<HHI", 1, 1024, 8000)
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_header_that_claims_what_is_not_there_is_refused_before_room_is_made_for_it(tmp_path, claim):
    (tmp_path / "s.wav").write_bytes(CLAIMS[claim])
    tracemalloc.start()
    try:
        assert re.search("as its header says|not audio", refusal(records.read_speech, tmp_path / "s.wav"))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["W64", "RF64"])
def test_64_bit_sizes_beyond_the_file_make_no_room(tmp_path, form):
    data, size = stored(form), struct.pack("<Q", 8000 if form == "RF64" else 8024)
    assert size in data
    (tmp_path / "s.wav").write_bytes(data.replace(size, struct.pack("<Q", HUGE)))
    tracemalloc.start()
    try:
        line = refusal(records.read_speech, tmp_path / "s.wav")
        assert re.search("8000 bytes of samples, expected (99999999976|100000000000) as", line)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_speech_of_more_than_100_hours_is_refused_unread(tmp_path):
    with open(tmp_path / "s.raw", "wb") as file:
        file.truncate(HUGE)
    assert "1736 hours of speech, expected at most 100" in refusal(records.read_speech, tmp_path / "s.raw")


def test_a_small_file_of_hours_of_the_same_is_refused(tmp_path):
    soundfile.write(tmp_path / "s.flac", np.full(1 << 25, 1000, np.int16), 8000)
    assert (tmp_path / "s.flac").stat().st_size < 1 << 17
    assert "samples in 1 channels as its header says, expected at most" in refusal(
        records.read_speech, tmp_path / "s.flac"
    )


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF", "OGG", "MP3"])
def test_speech_is_the_same_however_many_chunks_it_is_read_in(tmp_path, monkeypatch, form):
    subtype = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(form, "PCM_16")
    (tmp_path / "s").write_bytes(stored(form, subtype, 44100))
    whole = records.read_speech(tmp_path / "s")
    monkeypatch.setattr(records, "_CHUNK", 997)
    np.testing.assert_array_equal(records.read_speech(tmp_path / "s"), whole)
    assert len(whole) > 700


def test_audio_comes_through_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    write = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[stored("FLAC")])
    write.start()
    try:
        (tmp_path / "s.flac").write_bytes(stored("FLAC"))
        np.testing.assert_array_equal(records.read_speech(tmp_path / "pipe"), records.read_speech(tmp_path / "s.flac"))
    finally:
        write.join()


def test_a_message_is_one_line_whatever_is_in_it():
    message = str(InputError("a\nb\x1b[2J\u202e\ud800 é " + "x" * 10_000 + " expected y"))
    assert message.isprintable() and message.startswith("a\\nb\\x1b[2J\\u202e\\ud800 é x")
    assert message.endswith("x expected y") and len(message) < 600


def test_json_beyond_any_depth_and_of_endless_numbers_is_refused(tmp_path):
    for text in ('{"a": "\\ud800"}', "[" * 100_000, '{"a":' * 100_000, '{"a": ' + "9" * 10_000 + "}"):
        (tmp_path / "a.json").write_text(text)
        assert "expected an object" in refusal(disk.read_json, tmp_path / "a.json")


@pytest.mark.parametrize("text", ["[1]", "1", '"a"', "{", "", "\ufffe", "nul"])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text.encode("utf-16"))
    assert "expected an object" in refusal(disk.read_json, tmp_path / "a.json")
    (tmp_path / "a.json").write_text(text or " ")
    assert "expected an object" in refusal(disk.read_json, tmp_path / "a.json")


def test_json_keeps_order_and_letters(tmp_path):
    value = {"z": "dB² \U0001f600", "a": [1, None, 0.1]}
    (tmp_path / "a.json").write_text(json.dumps(value))  # with the last letter as two escapes
    assert disk.read_json(tmp_path / "a.json") == value
    disk.write_json(tmp_path / "a.json", value)
    assert list(disk.read_json(tmp_path / "a.json").items()) == list(value.items())
    assert "dB²" in (tmp_path / "a.json").read_text(encoding="utf-8")


# --- a file is there whole or not at all -----------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_what_was_there(tmp_path, old, kind):
    target = tmp_path / "x.f32"
    if old:
        target.write_bytes(old)
    with pytest.raises(kind), disk.atomic(target) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".f32"
        temporary.write_bytes(b"half")
        raise kind
    assert [path.name for path in tmp_path.iterdir()] == (["x.f32"] if old else [])
    assert not old or target.read_bytes() == old


def test_a_reader_never_sees_half_a_file(tmp_path):
    target = tmp_path / "new/folder/x.f32"
    with disk.atomic(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        temporary.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert [path.name for path in target.parent.iterdir()] == ["x.f32"]


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_what_a_living_one_writes_is_not(tmp_path):
    target = tmp_path / "x.f32"
    code = f"import os, signal\nfrom mlquant.core import disk\nwith disk.atomic({str(target)!r}) as temporary:\n"
    code += "    temporary.write_bytes(b'half')\n    os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    (tmp_path / ".xy.12345678.f32").write_bytes(b"of another target")
    (left,) = tmp_path.glob(".x.*")
    with disk.atomic(target) as first:
        assert not left.exists()
        first.write_bytes(b"first")
        with disk.atomic(target) as second:
            second.write_bytes(b"second")
        assert target.read_bytes() == b"second"
    assert target.read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".xy.12345678.f32", "x.f32"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_gets_the_rights_that_the_user_asks_for(tmp_path, umask):
    before = os.umask(umask)
    try:
        disk.write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


WRITERS = {
    "x.f32": lambda path: records.write_f32(path, np.ones((3, 4))),
    "x.bin": lambda path: records.write_model(path, model(2)),
    "x.raw": lambda path: records.write_speech(path, np.ones(80, np.int16)),
    "x.json": lambda path: disk.write_json(path, {"a": 1}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, name):
    (tmp_path / name).write_bytes(b"old")
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            WRITERS[name](tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    # A device, as /dev/null is one: the superuser could replace it for the whole machine.
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe"):
        disk.write_text(tmp_path / "pipe", "text")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_speech_under_a_name_of_another_format_is_refused(tmp_path):
    # Not WAV data in a file that says it is something else.
    with pytest.raises(InputError, match=r"s\.flac.*expected"):
        records.write_speech(tmp_path / "s.flac", np.ones(80, np.int16))
    assert not list(tmp_path.iterdir())
