"""`mlquant enc` and `mlquant dec`: files, pipes, lost frames, wrong bits, and streams that are none."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.codecs import coded, write_small_codec
from support.commands import fails, run, succeeds

from mlquant.codecs import bitstream, files
from mlquant.codecs import codec as codecs
from mlquant.core import records
from mlquant.core.errors import InputError

MLQUANT = [sys.executable, "-c", "from mlquant.cli import main; main()"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_small_codec(tmp_path_factory.mktemp("codecs") / "small")


@pytest.fixture
def raw(tmp_path, voice):
    (tmp_path / "voice.raw").write_bytes(voice.tobytes())
    return tmp_path / "voice.raw"


def piped(*words, stdin, **options):
    return subprocess.run([*MLQUANT, *map(str, words)], input=stdin, capture_output=True, check=False, **options)


def test_encoder_and_decoder_work_from_file_to_file(folder, raw, tmp_path, voice):
    succeeds("enc", folder, raw, "-o", tmp_path / "voice.bit")
    succeeds("dec", folder, tmp_path / "voice.bit", "-o", tmp_path / "voice_out.wav")
    codec, codec_hash = files.read(folder)
    data, count = (tmp_path / "voice.bit").read_bytes(), -(-len(voice) // 320)
    assert data[:16] == bitstream.header(codec_hash, count)
    assert len(data) == 16 + -(-count * codec.bits // 8)
    assert np.array_equal(records.read_speech(tmp_path / "voice_out.wav"), coded(codec, voice))


def test_the_decoder_has_nothing_but_the_stream_and_the_codec(folder, raw, tmp_path):
    succeeds("enc", folder, raw, "-o", tmp_path / "voice.bit")
    succeeds("dec", folder, tmp_path / "voice.bit", "-o", tmp_path / "here.raw")
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("codec.json", "tables.safetensors"):
        (alone / name).write_bytes((folder / name).read_bytes())
    (alone / "voice.bit").write_bytes((tmp_path / "voice.bit").read_bytes())
    raw.unlink()
    package = Path(codecs.__file__).parents[2]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    ended = piped("dec", ".", "voice.bit", "-o", "out.raw", stdin=b"", cwd=alone, env=environment)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert (alone / "out.raw").read_bytes() == (tmp_path / "here.raw").read_bytes()


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_pipes_give_the_bits_and_the_speech_of_files(folder, raw, tmp_path, stream):
    succeeds("enc", folder, raw, "-o", tmp_path / "voice.bit")
    succeeds("dec", folder, tmp_path / "voice.bit", "-o", tmp_path / "voice_out.raw")
    bits = piped("enc", folder, "-", "-o", "-", *stream, stdin=raw.read_bytes())
    assert bits.returncode == 0 and bits.stdout[16:] == (tmp_path / "voice.bit").read_bytes()[16:]
    speech = piped("dec", folder, "-", "-o", "-", *stream, stdin=bits.stdout)
    assert speech.returncode == 0 and speech.stdout == (tmp_path / "voice_out.raw").read_bytes()


def test_a_stream_comes_out_as_it_goes_in(folder, voice):
    """Encoder and decoder in two pipes: speech comes out before the input has ended."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with (
        subprocess.Popen([*MLQUANT, "enc", folder, "-", "-o", "-", "--stream"], **options) as encoder,
        subprocess.Popen(
            [*MLQUANT, "dec", folder, "-", "-o", "-", "--stream"], **options | {"stdin": encoder.stdout}
        ) as decoder,
    ):
        encoder.stdin.write(voice[:8000].tobytes())
        first = decoder.stdout.read(2 * 320)
        assert len(first) == 640
        encoder.stdin.close()
        rest = decoder.stdout.read()
    assert len(first) + len(rest) == 2 * 8000


def test_a_stream_in_a_file_is_that_of_the_whole_file(folder, raw, tmp_path):
    for name, stream in (("whole", []), ("stream", ["--stream"])):
        succeeds("enc", folder, raw, "-o", tmp_path / f"{name}.bit", *stream)
        succeeds("dec", folder, tmp_path / f"{name}.bit", "-o", tmp_path / f"{name}.wav", *stream)
    for suffix in ("bit", "wav"):
        assert (tmp_path / f"whole.{suffix}").read_bytes() == (tmp_path / f"stream.{suffix}").read_bytes()


def test_a_bare_stream_has_no_header(folder, raw, tmp_path):
    succeeds("enc", folder, raw, "-o", tmp_path / "a.bit")
    succeeds("enc", folder, raw, "-o", tmp_path / "b.bit", "--bare")
    assert (tmp_path / "a.bit").read_bytes()[16:] == (tmp_path / "b.bit").read_bytes()
    for name, bare in (("a", []), ("b", ["--bare"])):
        succeeds("dec", folder, tmp_path / f"{name}.bit", "-o", tmp_path / f"{name}.raw", *bare)
    assert (tmp_path / "a.raw").read_bytes() == (tmp_path / "b.raw").read_bytes()


def test_errors_are_made_as_asked_for(folder, raw, tmp_path):
    succeeds("enc", folder, raw, "-o", tmp_path / "x.bit")
    made = {}
    for options in ((), ("--lost", "0"), ("--lost", "01"), ("--ber", "0.05"), ("--ber", "0.05", "--seed", "2")):
        succeeds("dec", folder, tmp_path / "x.bit", "-o", tmp_path / "x.raw", *options)
        made[options] = (tmp_path / "x.raw").read_bytes()
        succeeds("dec", folder, tmp_path / "x.bit", "-o", tmp_path / "again.raw", "--stream", *options)
        assert (tmp_path / "again.raw").read_bytes() == made[options]
    assert made[()] == made["--lost", "0"] and len({*made.values()}) == 4


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda data: data[:-40], "superframes, expected 50 as its header tells; it is cut off"),
        (lambda data: data + b"\0\0", "goes on after the 50 superframes of its header, expected its end"),
        (lambda data: data[:7], "7 bytes, expected a header of 16"),
        (lambda data: b"", "0 bytes, expected a header of 16"),
        (lambda data: b"OggS" + data[4:], "begins with b'OggS', expected b'mlqB'"),
        (lambda data: data[:4] + bytes(8) + data[12:], "is a stream of the codec 0000000000000000, expected"),
    ],
)
def test_what_is_no_stream_of_the_codec_gets_one_line(folder, raw, tmp_path, change, line):
    succeeds("enc", folder, raw, "-o", tmp_path / "x.bit")
    (tmp_path / "y.bit").write_bytes(change((tmp_path / "x.bit").read_bytes()))
    found = fails("dec", folder, tmp_path / "y.bit", "-o", tmp_path / "y.wav")
    assert found.startswith(f"mlquant dec: {tmp_path}/y.bit: ") and line in found
    assert not (tmp_path / "y.wav").exists()


def test_standard_output_in_a_file_is_only_appended_to(folder, raw, tmp_path):
    with open(tmp_path / "all.bit", "wb") as file:
        file.write(b"before")
        file.flush()
        subprocess.run([*MLQUANT, "enc", folder, raw, "-o", "-"], stdout=file, check=True)
        subprocess.run(["printf", "after"], stdout=file, check=True)
    bits = piped("enc", folder, raw, "-o", "-", stdin=b"").stdout
    assert (tmp_path / "all.bit").read_bytes() == b"before" + bits + b"after" and bits.startswith(b"mlqB")
    nothing = piped("enc", folder, "-", "-o", "-", stdin=b"")
    assert nothing.returncode == 1 and nothing.stdout == b""


def test_closed_pipes_get_one_line(folder, raw):
    for command in (f"enc {folder} - -o - <&-", f"enc {folder} {raw} -o - >&-"):
        ended = subprocess.run(
            f"{sys.executable} -c 'from mlquant.cli import main; main()' {command}",
            shell=True,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 1 and len(ended.stderr.splitlines()) == 1, ended.stderr


def test_silence_is_coded_from_a_file_as_from_a_pipe(folder, tmp_path):
    (tmp_path / "silence.raw").write_bytes(bytes(3200))
    succeeds("enc", folder, tmp_path / "silence.raw", "-o", tmp_path / "silence.bit")
    piece = piped("enc", folder, "-", "-o", "-", stdin=bytes(3200)).stdout
    assert (tmp_path / "silence.bit").read_bytes()[16:] == piece[16:]


def test_other_bad_input_gets_one_line(folder, raw, tmp_path):
    out = tmp_path / "out.bit"
    assert "no such file" in fails("enc", folder, tmp_path / "no.wav", "-o", out).lower()
    assert "has no codec.json" in fails("enc", tmp_path, raw, "-o", out)
    assert "0 samples, expected at least one" in piped("enc", folder, "-", "-o", out, stdin=b"").stderr.decode()
    assert "an odd number of bytes" in piped("enc", folder, "-", "-o", out, stdin=b"abc").stderr.decode()
    succeeds("enc", folder, raw, "-o", tmp_path / "x.bit")
    assert "--lost: found 'often'" in fails(
        "dec", folder, tmp_path / "x.bit", "-o", tmp_path / "y.wav", "--lost", "often"
    )
    assert not out.exists() and not (tmp_path / "y.wav").exists()


def test_mutated_streams_give_speech_or_one_line(folder, raw, tmp_path):
    """Some thousand mutations of a short stream, decoded in this process: speech, or InputError."""
    codec, codec_hash = files.read(folder)
    widths = [bits for _, bits in codec.layout]
    succeeds("enc", folder, raw, "-o", tmp_path / "x.bit")
    data = bitstream.header(codec_hash, 0) + (tmp_path / "x.bit").read_bytes()[16:56]
    rng, refused = np.random.default_rng(4), 0
    for _ in range(1000):
        changed = bytearray(data)
        for at in rng.integers(0, len(changed), rng.integers(1, 6)):
            changed[at] = rng.integers(0, 256)
        more = bytes(rng.integers(0, 256, rng.integers(0, 4), np.uint8))
        changed = bytes(changed[: rng.integers(1, len(changed) + 1)]) + more
        try:
            count = bitstream.check_header(changed[:16], codec_hash, "x")
            source = io.BytesIO(changed[16:])
            bits = bitstream.unpacked(bitstream.chunks_of(source.read), widths, "x", count)
            batches = ((bitstream.from_bits(one, widths), np.zeros(len(one), bool)) for one in bits)
            speech = np.concatenate([*codecs.decode(codec, batches)])
            assert speech.dtype == np.int16 and len(speech) <= 8 * 320 * len(changed)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 400 < refused < 990


def test_help_names_the_options(folder):
    assert "--lost" in run("dec", "--help").out and "--stream" in run("enc", "--help").out
