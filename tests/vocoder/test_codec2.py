"""The anchor is Codec 2's own output, the same in every fresh process."""

import subprocess
import sys

import numpy as np
import pytest

from mlquant.core import errors, records
from mlquant.vocoder import codec2
from mlquant.vocoder.analysis import high_pass

SAMPLES = ["big_dog", "hts1a", "kristoff", "mmt1", "two_lines"]


def in_fresh_process(speech, out):
    command = [sys.executable, "-m", "mlquant.cli", "anchor", str(speech), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("sample", SAMPLES)
def test_index_8_is_the_published_file_to_one_unit(reference, tmp_path, sample):
    ended = in_fresh_process(reference(f"speech/{sample}.raw"), tmp_path / "out.wav")
    assert ended.returncode == 0 and ended.stderr == ""
    published = records.read_speech(reference(f"published/240118_wav/{sample}_8_3200.wav")).astype(int)
    found = records.read_speech(tmp_path / "out.wav")
    assert found.shape == published.shape
    assert np.abs(found - published).max() <= 1


def test_the_output_has_whole_frames_of_10_ms_and_follows_the_speech(voice, tmp_path):
    for length in (80, 81, 159, 161, 8000):
        (out,) = codec2.codec2(voice[:length], ["3200"])
        assert out.dtype == np.int16 and len(out) == -(-length // 80) * 80
    # Not its waveform: its energy, in frames of 10 ms.
    level = [np.log10(1 + np.square(x.astype(float)).reshape(-1, 80).mean(axis=1)) for x in (high_pass(voice), out)]
    assert np.corrcoef(level[0][:98], level[1][2:])[0, 1] > 0.6


@pytest.mark.parametrize("mode", codec2.MODES)
def test_every_mode_gives_sound_of_the_speechs_length(voice, mode):
    (out,) = codec2.codec2(voice[:4000], [mode])
    assert len(out) == 4000 and out.any()


def test_several_modes_give_what_each_gives_alone(voice):
    together = codec2.codec2(voice[:4000], ["3200", "700C", "3200"])
    for mode, out in zip(("3200", "700C", "3200"), together, strict=True):
        np.testing.assert_array_equal(out, codec2.codec2(voice[:4000], [mode])[0])


def test_a_mode_that_there_is_not_is_refused(voice):
    with pytest.raises(errors.InputError, match=r"mode: found 3201, expected one of 3200, 2400"):
        codec2.codec2(voice, ["3200", "3201"])


def test_without_its_package_one_line_says_so(voice, tmp_path):
    records.write_speech(tmp_path / "s.raw", voice)
    # None in sys.modules is what Python itself takes for a module that is not there.
    code = "import sys; sys.modules['pycodec2'] = None; from mlquant import cli; cli.main()"
    command = [sys.executable, "-c", code, "anchor", str(tmp_path / "s.raw"), "-o", str(tmp_path / "out.wav")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "mlquant anchor: package pycodec2 is not installed, expected as in pyproject.toml"
    ]
    assert not (tmp_path / "out.wav").exists()
