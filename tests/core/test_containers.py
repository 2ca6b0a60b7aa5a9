"""Audio files whose header and samples do not agree: all samples are read, or one line says what is wrong.

`python tests/core/test_containers.py 50000` tries so many.
"""

import io
import random
import re
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlquant.core import containers, records
from mlquant.core.errors import InputError

COUNT, SEED = 3000, 7
N = 1600  # samples
NOISE = np.random.default_rng(3).normal(0, 0.1, N)
SPEECH = np.rint(NOISE * 32768).astype(np.int16)
W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")
# The chunks of a family: where the first is, bytes of the size, byte order, what the size counts besides the content,
# alignment, and the chunk of the samples.
FAMILIES = {
    "WAV": (12, 4, "little", 0, 2, b"data"),
    "WAVEX": (12, 4, "little", 0, 2, b"data"),
    "RF64": (12, 4, "little", 0, 2, b"data"),
    "W64": (40, 8, "little", 24, 8, b"data" + W64),
    "AIFF": (12, 4, "big", 0, 2, b"SSND"),
    "SVX": (12, 4, "big", 0, 2, b"BODY"),
    "CAF": (8, 8, "big", 0, 1, b"data"),
}
# Where else a header has the number of samples, in bytes or frames: layout and place.
COUNTED = {
    "AU": (">I", 8),
    "AVR": (">I", 26),
    "WVE": (">I", 18),
    "MPC2K": ("<I", 26),
    "MAT4": ("<I", 47),
    "MAT5": ("<I", 260),
    "HTK": (">I", 0),
}
NOT_READ = ("RAW", "SD2")  # without a header
CANNOT = {"DWVW_12", "DWVW_16", "DWVW_24", "MPEG_LAYER_I", "MPEG_LAYER_II"}  # which libsndfile does not write or read


def stored(form, subtype=None, samples=SPEECH, rate=8000):
    buffer = io.BytesIO()
    if subtype in ("FLOAT", "DOUBLE"):  # libsndfile would write integers as they are
        samples = samples / 32768
    soundfile.write(buffer, samples, rate, subtype, format=form)
    return buffer.getvalue()


def examples():
    """A file of each format and coding that libsndfile writes and reads."""
    for form in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(form):
            if form not in NOT_READ and subtype not in CANNOT and (form, subtype) != ("WAV", "MPEG_LAYER_III"):
                yield f"{form} {subtype}", stored(form, subtype)


def chunks(form, data):
    """The chunks of a file: name, size as it is written, and content with what fills it up."""
    place, width, order, counted, align, _ = FAMILIES[form]
    name = width if form != "W64" else 16
    name = 4 if form == "CAF" else name
    while place + name + width <= len(data):
        size = int.from_bytes(data[place + name : place + name + width], order) - counted
        end = place + name + width + size
        end += -end % align
        yield data[place : place + name], size, data[place + name + width : end]
        place = end


def joined(form, data, parts):
    start, width, order, counted, _, _ = FAMILIES[form]
    ones = (1 << 8 * width) - 1
    made = [name + (size + counted & ones).to_bytes(width, order) + content for name, size, content in parts]
    return data[:start] + b"".join(made)


def other_chunk(form, rng, size):
    name = rng.choice([b"LIST", b"bext", b"fact", b"id3 ", b"JUNK"]) + (W64 if form == "W64" else b"")
    align = FAMILIES[form][4]
    content = rng.randbytes(size)
    return name, size, content + bytes(-(size) % align)


SIZES = ("right", "right", 0, "smaller", 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFFFFF, "a frame more")


def case(name, data, rng):
    """A changed file, and whether its samples are all there and its header is right or says nothing."""
    form, size, good = name.split()[0], rng.choice(SIZES), True
    frame = 2 * 8  # of any of the formats
    if form in FAMILIES:
        parts = list(chunks(form, data))
        (place,) = (i for i, part in enumerate(parts) if part[0] == FAMILIES[form][5])
        for where in (place, place + 1 if rng.random() < 0.5 else len(parts)):
            if rng.random() < 0.6:
                where += where > place and len(parts) > place + 1
                large = rng.random() < 0.01
                parts.insert(where, other_chunk(form, rng, 3 << 20 if large else rng.choice([2, 3, 30, 301, 4000])))
        (place,) = (i for i, part in enumerate(parts) if part[0] == FAMILIES[form][5])
        label, right, content = parts[place]
        content += bytes(-len(content) % FAMILIES[form][4])
        parts[place] = (label, right, content)
        if size != "right":
            made = {"smaller": right // 2, "a frame more": right + frame + (1 << 13)}.get(size, size)
            if made == 0xFFFFFFFF and form in ("W64", "CAF"):
                made = (1 << 64) - 1 - FAMILIES[form][3]
            if form == "RF64":
                at = next(i for i, part in enumerate(parts) if part[0] == b"ds64")
                ds64 = bytearray(parts[at][2])
                ds64[8:16] = struct.pack("<Q", made if made != 0xFFFFFFFF else (1 << 64) - 1)
                parts[at] = (b"ds64", parts[at][1], bytes(ds64))
                made = 0xFFFFFFFF
            parts[place] = (label, made, content)
            wav = form in ("WAV", "WAVEX")
            # Where the size is not known, what fills up a chunk to whole words is read as well.
            good = (size in (0, 0xFFFFFFFF) or (wav and isinstance(size, int))) and right == len(content)
        data = joined(form, data, parts)
    elif form in COUNTED and size != "right":
        layout, at = COUNTED[form]
        (right,) = struct.unpack_from(layout, data, at)
        made = {"smaller": right // 2, "a frame more": right + frame}.get(size, size)
        data = data[:at] + struct.pack(layout, made) + data[at + 4 :]
        good = form == "AU" and made in (0, 0xFFFFFFFF)
    elif form == "FLAC" and size != "right":
        block = int.from_bytes(data[18:26], "big")
        made = {"smaller": N // 2, "a frame more": N + 1}.get(size, size)
        data = data[:18] + (block >> 36 << 36 | made).to_bytes(8, "big") + data[26:]
        good = made in (0, N // 2)
    if rng.random() < 0.4 and size != "smaller":  # or the rest may be all that the header promises
        data, good = data[: len(data) * rng.randrange(20) // 20 + rng.choice([0, 0, 0, 1, 2, 3])], False
    return data, good


def campaign(count, seed, folder):
    """Try so many cases; how many were read whole, refused, and read with a line in the log, and all that is wrong."""
    found, wrong, told = Counter(), [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "log", told.append)
        path, whole = folder / "s.wav", {}
        every = list(examples())
        for name, data in every:
            path.write_bytes(data)
            whole[name] = records.read_speech(path)
        for i in range(count):
            name, data = every[i % len(every)]
            changed, good = case(name, data, random.Random(f"{seed} {i}"))
            path.write_bytes(changed)
            told.clear()
            try:
                speech = records.read_speech(path)
            except InputError as error:
                kind = "refused"
                if good or not re.match(rf"{re.escape(str(path))}: .*expected", str(error)):
                    wrong.append(f"{seed} {i} {name}: {error}")
            except Exception as error:
                kind = "wrong"
                wrong.append(f"{seed} {i} {name}: {error!r}")
            else:
                kind = "whole" if np.array_equal(speech, whole[name]) else "told"
                if kind == "told" and (good or not any("warning" in line for line in told)):
                    wrong.append(f"{seed} {i} {name}: {len(speech)} samples of {len(whole[name])}, {told}")
            found[kind] += 1
    return found, wrong


@pytest.mark.slow
def test_samples_are_all_read_or_one_line_says_what_is_wrong(tmp_path):
    found, wrong = campaign(COUNT, SEED, tmp_path)
    print(dict(found))
    assert not wrong, "\n".join(wrong[:20])
    assert found["whole"] > COUNT / 4 and found["refused"] > COUNT / 4 and found["told"] < COUNT / 8


# --- what each kind of file says of its end --------------------------------------------------------------


def read(path, data):
    path.write_bytes(data)
    return records.read_speech(path)


def refusal(path, data):
    with pytest.raises(InputError) as error:
        read(path, data)
    return str(error.value)


def with_size(data, size):
    return data.replace(b"data" + struct.pack("<I", 2 * N), b"data" + struct.pack("<I", size))


@pytest.mark.parametrize("form, subtype", [("RF64", "PCM_16"), ("W64", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_half_a_file_is_refused_by_what_is_missing(tmp_path, form, subtype):
    data = stored(form, subtype, np.tile(NOISE, 10))
    line = refusal(tmp_path / "s.wav", data[: len(data) // 2])
    assert re.search(
        r"bytes of samples, expected \d+ as its header says|ends within a page|without the last page", line
    )


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_a_page_and_two_oggs_in_one_are_refused(tmp_path, subtype):
    data = stored("OGG", subtype, np.tile(NOISE, 40))
    pages = [match.start() for match in re.finditer(b"OggS", data)] + [len(data)]
    assert len(pages) > 5 and len(read(tmp_path / "s", data)) == 40 * N
    assert "a page is missing" in refusal(tmp_path / "s", data[: pages[-4]] + data[pages[-3] :])
    assert re.search(r"ends after \d.* without the last page", refusal(tmp_path / "s", data[: pages[-2]]))
    assert "is damaged" in refusal(tmp_path / "s", data[: pages[-2] - 9] + b"123456789" + data[pages[-2] :])
    assert "several streams" in refusal(tmp_path / "s", data + stored("OGG", subtype))


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path, capsys):
    data = stored("FLAC", None, np.tile(NOISE, 10))
    whole = read(tmp_path / "s", data)
    unknown = data[:18] + (int.from_bytes(data[18:26], "big") >> 36 << 36).to_bytes(8, "big") + data[26:]
    tag = b"TAG" + b"title".ljust(125)
    assert not capsys.readouterr().err
    for changed in (unknown, unknown + tag):
        np.testing.assert_array_equal(read(tmp_path / "s", changed), whole)
        assert capsys.readouterr().err.count("flac without its length in the header") == 1
    assert "expected" in refusal(tmp_path / "s", unknown[:-100])
    for changed in (data + tag, b"ID3\4\0\0\0\0\2\0" + bytes(256) + data):
        np.testing.assert_array_equal(read(tmp_path / "s", changed), whole)


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFFFFF, 0xFFFFFFDB])
def test_a_wav_from_a_pipe_is_read_to_its_end(tmp_path, capsys, size):
    data = with_size(stored("WAV", "PCM_16"), size)
    after = b"LIST" + struct.pack("<I", 30) + bytes(range(30))
    for changed in (data, data + after, data[:36] + after + data[36:]):
        np.testing.assert_array_equal(read(tmp_path / "s.wav", changed), SPEECH)
        told = capsys.readouterr().err
        assert f"{size} bytes of samples as its header says; the {2 * N} that follow are read" in told


def test_samples_that_the_header_of_a_wav_does_not_count_are_told_of(tmp_path, capsys):
    data = stored("WAV", "PCM_16")
    assert f"{N} bytes follow the samples" in refusal(tmp_path / "s.wav", with_size(data, N))
    assert "bytes follow the samples" in refusal(tmp_path / "s.wav", data + data)
    np.testing.assert_array_equal(read(tmp_path / "s.wav", data + b"\1" * 7), SPEECH)
    assert "the last 7 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("form", FAMILIES)
def test_chunks_of_megabytes_hide_no_samples(tmp_path, form):
    data = stored(form, "PCM_16")
    parts = list(chunks(form, data))
    (place,) = (i for i, part in enumerate(parts) if part[0] == FAMILIES[form][5])
    rng = random.Random(1)
    for size in (1, 3 << 20):
        parts[place:place] = [other_chunk(form, rng, size)]
        np.testing.assert_array_equal(read(tmp_path / "s", joined(form, data, parts)), SPEECH)
    half = joined(form, data, parts)[:-N]
    assert "bytes of samples, expected" in refusal(tmp_path / "s", half)


def test_odd_chunks_that_are_not_filled_up_hide_no_samples(tmp_path, capsys):
    data = stored("WAV", "PCM_U8", SPEECH[:-1])
    whole = read(tmp_path / "s", data)
    odd, large = b"LIST" + struct.pack("<I", 3) + b"abc", b"bext" + struct.pack("<I", 1000) + bytes(1000)
    for parts in (
        (data[:-1], large),
        (data[:-1], odd, large),
        (data[:36], odd, data[36:]),
        (data[:36], odd, odd, data[36:]),
    ):
        np.testing.assert_array_equal(read(tmp_path / "s", b"".join(parts)), whole)
    assert not capsys.readouterr().err


def test_an_mp3_without_its_length_is_read_to_its_end_and_says_so(tmp_path, capsys):
    # Its first half is quiet, so that the length cannot be guessed from the first frame.
    data = stored("MP3", None, np.r_[NOISE / 1000, np.tile(NOISE, 10)])
    whole = read(tmp_path / "s.mp3", data)
    first = containers._mp3_frame(data[:4])
    frames = [first]
    while frames[-1] < len(data):
        frames.append(frames[-1] + containers._mp3_frame(data[frames[-1] : frames[-1] + 4]))
    capsys.readouterr()
    found = read(tmp_path / "s.mp3", data[first:])
    assert "mp3 without its length in the header" in capsys.readouterr().err
    assert len(whole) == 11 * N and len(whole) <= len(found) < len(whole) + 3 * 1152
    for tag in (b"TAG" + bytes(125), b"APETAGEX" + bytes(40)):
        np.testing.assert_array_equal(read(tmp_path / "s.mp3", data + tag), whole)
    assert re.search(r"\d+ frames, expected \d+ as its header says", refusal(tmp_path / "s.mp3", data[: frames[-5]]))
    assert "ends within its frame" in refusal(tmp_path / "s.mp3", data[first : frames[-5] + 9])


def test_what_is_no_audio_that_is_read_is_named(tmp_path):
    line = refusal(tmp_path / "voice.wav", b"\0\0\0\x20ftypM4A " + bytes(500))
    assert ".m4a audio, which is not read, expected wav, flac, ogg" in line
    assert ".aac audio, which is not read" in refusal(tmp_path / "voice.aac", b"\xff\xf1\x50\x80" + bytes(500))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found, wrong = campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1, Path(folder))
    print(dict(found), len(wrong), *wrong[:40], sep="\n")
