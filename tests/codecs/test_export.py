"""The decoder in C: it compiles without a warning, and decodes as `mlquant dec` does."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.codecs import sent_pitch, small_codec
from support.commands import run as mlquant

from mlquant.codecs import bitstream, export, files
from mlquant.codecs import codec as codecs

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler, cc")
HERE = Path(__file__).parent
FUZZ = HERE / "fuzz.c"
STRICT = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
CHECKED = [
    "-std=c99",
    "-D_POSIX_C_SOURCE=200809L",
    "-g",
    "-O1",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
]
CODECS = {
    "40 ms": {},
    "80 ms": {"frames": 8, "pitch": sent_pitch(every_ms=80), "voicing_ms": 40},
    "plain pitch": {"pitch": sent_pitch(every_ms=20, offsets=[])},
    "nothing beside": {},
    "8 bits": {"eight_bit": True},
}


def built(folder, codec, flags=STRICT, main=None, compiler="cc", more=()):
    """The program `dec` of a codec, or that of another main file."""
    export.write(folder, codec, "0123456789abcdef" * 4)
    sources = [main or folder / "dec.c", folder / "codec.c", folder / "tables.c", *more]
    command = [compiler, *flags, "-I", folder, "-o", folder / "program", *sources, "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "program"


@pytest.fixture(params=CODECS, scope="module")
def codec(request):
    made = small_codec(**CODECS[request.param])
    return replace(made, shape=replace(made.shape, layers=[])) if request.param == "nothing beside" else made


@pytest.fixture(scope="module")
def program(codec, tmp_path_factory):
    return built(tmp_path_factory.mktemp("c"), codec)


@pytest.fixture(scope="module")
def fields(codec, voice):
    return np.concatenate([*codecs.encode(codec, [voice])])


def stream(codec, fields):
    return b"".join(bitstream.packed([fields], [bits for _, bits in codec.layout]))


def run(program, *words, data=None):
    return subprocess.run([program, *words], input=data, capture_output=True)


@pytest.mark.parametrize("lost", ["0", "0001", "00110111010", "1"])
def test_the_speech_is_that_of_python(codec, program, fields, lost):
    gone = np.resize([mark == "1" for mark in lost], len(fields))
    expected = np.concatenate([*codecs.decode(codec, [(fields, gone)])]).astype(float)
    done = run(program, "--bare", "--lost", lost, "-", "-", data=stream(codec, fields))
    assert (done.returncode, done.stderr) == (0, b"")
    found = np.frombuffer(done.stdout, "<i2")
    assert len(found) == len(expected)
    assert np.square(expected).sum() > 1e6 * np.square(found - expected).sum()  # 60 dB


def test_streams_that_are_none_get_one_line(codec, program, fields, tmp_path):
    good = bitstream.header("0123456789abcdef" * 4, len(fields)) + stream(codec, fields)
    (tmp_path / "in.bit").write_bytes(good)
    out = tmp_path / "out.raw"
    assert run(program, tmp_path / "in.bit", out).returncode == 0
    assert out.stat().st_size == 2 * 80 * codec.frames * len(fields)
    for data, line in (
        (good[:10], b"has no header of a stream"),
        (b"RIFF" + good[4:], b"has no header of a stream"),
        (good[:4] + b"\0" + good[5:], b"is a stream of another codec"),
        (good[:-3], b"is cut off"),
        (good + b"x", b"goes on after the superframes of its header"),
        (good[:16], b"has no superframe"),
    ):
        (tmp_path / "in.bit").write_bytes(data)
        done = run(program, tmp_path / "in.bit", out)
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1
        assert line in done.stderr and b"in.bit" in done.stderr
        assert not out.exists()
    assert b"No such file" in run(program, tmp_path / "none.bit", out).stderr
    assert b"usage" in run(program).stderr


@pytest.mark.slow
def test_no_stream_does_harm(codec, fields, tmp_path):
    program = built(tmp_path, codec, CHECKED, FUZZ)
    (tmp_path / "in.bit").write_bytes(bitstream.header("0123456789abcdef" * 4, 6) + stream(codec, fields))
    done = run(program, tmp_path / "in.bit", "3000", "1")
    assert (done.returncode, done.stderr) == (0, b"")
    refused, samples = (int(word) for word in done.stdout.split() if word.isdigit())
    assert 0 < refused < 3000 < samples


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("valgrind"), reason="needs valgrind")
def test_memory_is_used_as_it_should_be(codec, fields, tmp_path):
    program = built(tmp_path, codec, ["-std=c99", "-g", "-O1"])
    (tmp_path / "in.bit").write_bytes(stream(codec, fields[:6]))
    checked = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--track-origins=yes", program]
    done = run(*checked, "--bare", "--lost", "00010", tmp_path / "in.bit", tmp_path / "out.raw")
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_command_writes_a_folder_that_builds(tmp_path, voice):
    codec = small_codec()
    files.write(tmp_path / "codec", codec, {"name": "codec"})
    assert mlquant("export", tmp_path / "codec", "-o", tmp_path / "c").status == 0
    if not shutil.which("make"):
        pytest.skip("needs make")
    subprocess.run(["make", "-s", "-C", tmp_path / "c"], check=True)
    voice.astype("<i2").tofile(tmp_path / "voice.raw")
    mlquant("enc", tmp_path / "codec", tmp_path / "voice.raw", "-o", tmp_path / "voice.bit")
    mlquant("dec", tmp_path / "codec", tmp_path / "voice.bit", "-o", tmp_path / "expected.raw")
    assert run(tmp_path / "c/dec", tmp_path / "voice.bit", tmp_path / "found.raw").returncode == 0
    found, expected = (np.fromfile(tmp_path / f"{name}.raw", "<i2").astype(float) for name in ("found", "expected"))
    assert np.square(expected).sum() > 1e6 * np.square(found - expected).sum()
    told = (tmp_path / "c/README.md").read_text()
    assert "$" not in told and f"{codec.bits} bits" in told


@pytest.mark.skipif(not shutil.which("clang"), reason="needs clang")
def test_clang_has_no_warnings_either(tmp_path):
    built(tmp_path, small_codec(), compiler="clang")


M4, M7 = ("cortex-m4", "fpv4-sp-d16", "mps2-an386"), ("cortex-m7", "fpv5-sp-d16", "mps2-an500")


def on_arm(folder, codec, *words, machine=M4, main=None, options=()):
    """What the program prints on an emulated Cortex-M4F or M7."""
    compiler = "arm-none-eabi-gcc"
    if not shutil.which(compiler) or not shutil.which("qemu-system-arm"):
        pytest.skip(f"needs {compiler}, its newlib, and qemu-system-arm")
    core, fpu, board = machine
    flags = [f"-mcpu={core}", "-mthumb", f"-mfpu={fpu}", "-mfloat-abi=hard"]
    start = subprocess.run([compiler, *flags, "-print-file-name=rdimon-crt0.o"], capture_output=True, text=True)
    flags += ["--specs=rdimon.specs", "-nostartfiles", "-T", HERE / "arm/mps2.ld"]
    more = [HERE / "arm/start.c", start.stdout.strip()]
    program = built(folder, codec, [*STRICT, *flags], main, compiler, more)
    arguments = ",".join(f"arg={word}" for word in ("dec", *words))
    command = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "none", *options]
    command += ["-semihosting-config", f"enable=on,target=native,{arguments}", "-kernel", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("machine", "eight_bit"), [(M4, False), (M4, True), (M7, True)])
def test_a_microcontroller_gives_the_same_speech(tmp_path, voice, machine, eight_bit):
    codec = small_codec(eight_bit=eight_bit)
    fields = np.concatenate([*codecs.encode(codec, [voice[:8000]])])
    (tmp_path / "in.bit").write_bytes(stream(codec, fields))
    words = ("--bare", "--lost", "00010", tmp_path / "in.bit", tmp_path / "out.raw")
    on_arm(tmp_path, codec, *words, machine=machine)
    lost = np.resize([False, False, False, True, False], len(fields))
    expected = np.concatenate([*codecs.decode(codec, [(fields, lost)])]).astype(float)
    found = np.fromfile(tmp_path / "out.raw", "<i2")
    assert len(found) == len(expected)
    assert np.square(expected).sum() > 1e6 * np.square(found - expected).sum()


def test_a_small_codec_leaves_a_microcontroller_time(tmp_path):
    """A Cortex-M4 at 168 MHz does at most one instruction a tick."""
    millions = float(on_arm(tmp_path, small_codec(), main=HERE / "arm/count.c", options=["-icount", "shift=0"]))
    assert 20 < millions < 168
