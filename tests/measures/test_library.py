"""Measures of other packages: of long speech, and when the package ends its process or is not there."""

import faulthandler
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from support.commands import succeeds

from mlquant.core import disk, records
from mlquant.measures import library, measures

needs_pesq = pytest.mark.skipif(find_spec("pesq") is None, reason="needs the package pesq, which a C compiler installs")


def bursts(count, seconds=0.4, pause=0.4):
    """Bursts [N] int16 of a buzz at changing pitch with pauses of slight noise, and the same late and noisier."""
    draw = np.random.default_rng(1)
    t = np.arange(round(8000 * seconds)) / 8000
    parts = []
    for i in range(count):
        pitch = 120 + 10 * (i % 7)
        buzz = sum(6000 / m * np.cos(2 * np.pi * pitch * m * t + m) for m in range(1, 20))
        parts += [buzz, np.zeros(round(8000 * pause))]
    clean = np.concatenate(parts) + draw.normal(0, 3, sum(map(len, parts)))
    noisy = np.roll(clean, measures.DELAY) + draw.normal(0, 300, len(clean))
    return tuple(np.rint(signal).clip(-32768, 32767).astype(np.int16) for signal in (clean, noisy))


def late(speech):
    """Speech as it comes out of the vocoder: later, and as long."""
    return np.pad(speech, (measures.DELAY, 0))[: len(speech)]


@needs_pesq
def test_pesq_of_long_speech_is_the_mean_of_its_stretches():
    clean, noisy = bursts(75)
    clean[8000 * 20 : 8000 * 40] = np.random.default_rng(2).integers(-2, 3, 8000 * 20)  # no speech for a while
    found = [
        (library.measured("pesq", clean[start:end], noisy[start:end]), np.abs(clean[start:end]).mean() > 100)
        for start, end in measures.stretches(clean, 19 * 8000)
    ]
    assert any(not speaks for _, speaks in found)
    expected = np.mean([value for value, speaks in found if speaks])
    assert measures.pesq_nb(clean, noisy) == pytest.approx(expected, abs=0.1)


@needs_pesq
def test_speech_that_is_silent_for_a_while_is_worse_not_better():
    clean, noisy = bursts(60)
    gone = noisy.copy()
    gone[8000 * 15 : 8000 * 40] = 0
    assert measures.pesq_nb(clean, gone) < measures.pesq_nb(clean, noisy)


@pytest.mark.parametrize("seconds", [19.1, 27.3, 60.0, 125.7])
def test_stretches_have_8_to_19_s_and_are_cut_in_pauses(seconds):
    clean = np.resize(bursts(10, 0.7, 0.5)[0], round(8000 * seconds))
    found = measures.stretches(clean, 19 * 8000)
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])] and found[-1][1] == len(clean)
    assert all(7.9 * 8000 <= end - start <= 19 * 8000 for start, end in found)
    assert all(np.abs(clean[start - 800 : start + 800]).max() < 30 for start, _ in found[1:])


@pytest.mark.slow
def test_stoi_of_long_speech_is_nearly_that_of_the_whole():
    from pystoi import stoi

    clean, noisy = bursts(80)
    noisy = np.roll(noisy, -measures.DELAY)
    for name in ("stoi", "estoi"):
        whole = stoi(clean.astype(float), noisy.astype(float), 8000, name == "estoi")
        assert measures._stoi(name, clean, noisy) == pytest.approx(whole, abs=0.01)


@pytest.fixture
def measured(tmp_path, voice, monkeypatch):
    """A function that measures speech by `mlquant measure`, by default the synthetic voice and with all packages.

    A package is replaced by one that is given as text.
    """

    def measure(package="", text="", source=voice, wav=None):
        library._CHILD.end()
        if package:
            (tmp_path / f"{package}.py").write_text(text)
            monkeypatch.syspath_prepend(tmp_path)
            monkeypatch.delitem(sys.modules, package, raising=False)
        monkeypatch.setattr(library._CHILD, "known", {})
        paths = {name: str(tmp_path / f"{name}.raw") for name in ("source", "original", "ideal_y", "wav")}
        for name, path in paths.items():
            records.write_speech(
                path, source if name == "source" else wav if name == "wav" and wav is not None else late(source)
            )
        frames = len(source) // 80
        features = np.column_stack([np.full((frames, 20), 30.0), np.full(frames, 0.09), np.ones(frames)])
        records.write_f32(tmp_path / "b.f32", features)
        references = {name: paths[name] for name in ("source", "original", "ideal_y")}
        row = {"index": 6, "tag": "x", "bits_per_frame": None, "frame_ms": None, "delay": 0}
        record = {
            **{"sample": "v", "sex": None, "stages": {}, "references": references | {"features": f"{tmp_path}/b.f32"}},
            "rows": [row | {"files": {"wav": paths["wav"]}}],
        }
        ended = succeeds("measure", json.dumps(record), "-o", tmp_path / "measured.json")
        found = disk.read_json(tmp_path / "measured.json")
        optional = [f"{text}; left empty" for text in found["optional"]]
        assert sorted(line for line in ended.err if line in optional) == sorted(optional)  # each once
        return found, [line for line in ended.err if line not in optional]

    faulthandler.disable()  # a child that dies by a signal would fill the log of the tests with its stack
    yield measure
    library._CHILD.end()
    faulthandler.enable()


@needs_pesq
@pytest.mark.parametrize("count", [52, pytest.param(60, marks=pytest.mark.slow)])
def test_pesq_of_more_utterances_than_the_library_has_room_for_is_that_of_fewer(measured, count):
    expected = measures.pesq_nb(*bursts(20))  # which the library takes as they are
    source, wav = bursts(count)
    record, told = measured(source=source, wav=wav)
    assert record["measures"][0]["pesq"] == pytest.approx(expected, abs=0.1)
    assert record["pesq"] is True and record["empty"] == told == []


@pytest.mark.parametrize(
    ("package", "does", "says"),
    [
        ("pesq", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the library ended its process by SIGSEGV"),
        ("pystoi", "import os; os.abort()", "the library ended its process by SIGABRT"),
        ("pystoi", "raise MemoryError('no room')", "the library raised MemoryError: no room"),
    ],
)
def test_a_library_that_dies_leaves_its_measure_empty_and_the_job_says_which(measured, package, does, says):
    function = "stoi" if package == "pystoi" else "pesq"
    text = f"class PesqError:\n    RETURN_VALUES = 1\n\n\ndef {function}(*args, **kwargs):\n    {does}\n"
    record, told = measured(package, text)
    (found,) = record["measures"]
    lost, kept = ("pesq",), ("stoi", "estoi")
    if package == "pystoi":
        lost, kept = kept, () if find_spec("pesq") is None else lost
    for name in lost:
        assert found[name] is found[f"original_{name}"] is None
        lines = [line for line in told if line.startswith(f"{name.upper()} of ")]
        assert len(lines) == 3 and all("wav.raw against " in line and says in line for line in lines)
        assert lines[0].endswith("; left empty") and lines[0].removesuffix("; left empty") in record["empty"]
    assert all(found[name] > 0 for name in kept) and found["lsd_dB"] == 0


def test_without_the_package_pesq_is_empty_and_the_job_says_so_once(measured):
    record, told = measured("pesq", "raise ImportError('no compiler')")
    assert told == ["PESQ: its Python package cannot be imported (no compiler); left empty"]
    assert record["pesq"] is False and record["empty"] == [told[0].removesuffix("; left empty")]
    assert record["measures"][0]["pesq"] is None and record["measures"][0]["original_stoi"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("package", "measure"), [("visqol", "visqol"), ("pocketsphinx", "wer"), ("resemblyzer", "speaker_similarity")]
)
def test_an_optional_package_that_is_not_there_is_no_fault_and_one_that_dies_is(measured, package, measure):
    record, told = measured(package, "raise ImportError('no wheel')")
    name = measure.upper().replace("_", " ")
    assert f"{name}: its Python package cannot be imported (no wheel)" in record["optional"]
    assert not [text for text in record["empty"] + told if text.startswith(name)]
    assert record["measures"][0][measure] is None and record["measures"][0]["stoi"] == pytest.approx(1)
    record, told = measured(package, "import os\nos.abort()")
    (text,) = (text for text in record["empty"] if text.startswith(f"{name} of "))
    assert "the library ended its process by SIGABRT" in text and f"{text}; left empty" in told
    assert record["measures"][0][measure] is None and not any(name in text for text in record["optional"])


@pytest.mark.slow
def test_a_library_that_does_not_end_is_ended_and_not_asked_again(tmp_path, voice, monkeypatch):
    library._CHILD.end()
    (tmp_path / "pesq.py").write_text("while True:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pesq", raising=False)
    monkeypatch.setattr(library._CHILD, "known", {})
    monkeypatch.setattr(library, "_PATIENCE", 1)
    for _ in range(2):
        with pytest.raises(library.Failed, match="the library gave no value within 1 s"):
            library.measured("pesq", voice, voice)
        assert library._CHILD._process is None
        monkeypatch.setattr(library, "_PATIENCE", 1000)
