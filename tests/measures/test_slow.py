"""ViSQOL, word error rates and the similarity of speakers: measures of optional packages."""

import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.workflow import synthetic_speech

from mlquant.measures import library, measures
from mlquant.measures.columns import SLOW_MEASURES


def voice(seconds):
    return synthetic_speech(seconds, 120, 1)


WORDS = st.lists(st.sampled_from("abc"), max_size=6)


@pytest.fixture
def fresh():
    """A child process of its own, which sees what the test changes."""
    library.end()
    library._CHILD.known.clear()
    measures._heard.cache_clear()
    yield
    library.end()
    library._CHILD.known.clear()
    measures._heard.cache_clear()


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("one two three four", "one two three four", 0.0),
        ("one two three four", "one too three four", 0.25),
        ("one two three four", "two three four", 0.25),
        ("one two three four", "", 1.0),
        ("one", "one and two", 2.0),
        ("It's ONE, two.", "it's one two", 0.0),
        ("", "one", None),
    ],
)
def test_word_error_rates_of_known_errors(said, heard, rate):
    assert measures.word_error_rate(measures.words(said), measures.words(heard)) == rate


@given(WORDS.filter(bool), WORDS.filter(bool), WORDS.filter(bool))
def test_word_errors_are_a_distance(a, b, c):
    def errors(x, y):
        return round(measures.word_error_rate(x, y) * len(x))

    assert errors(a, b) == errors(b, a) and (errors(a, b) == 0) == (a == b)
    assert errors(a, c) <= errors(a, b) + errors(b, c)
    assert abs(len(a) - len(b)) <= errors(a, b) <= max(len(a), len(b))


def test_without_its_package_a_measure_is_empty_and_the_reason_names_it(fresh, monkeypatch):
    for package in ("visqol", "pocketsphinx", "resemblyzer"):
        monkeypatch.setitem(sys.modules, package, None)  # which makes its import fail
    found, failed = measures.slow_measures(SLOW_MEASURES, *[voice(1.0)] * 2, 0)
    assert found == dict.fromkeys(SLOW_MEASURES) and failed.keys() == found.keys()
    lines = {name: measures.failure(name, reason, "a.wav") for name, reason in failed.items()}
    assert lines["speaker_similarity"].startswith("SPEAKER SIMILARITY: its Python package cannot be imported (")
    assert "pocketsphinx" in lines["wer"] and "visqol" in lines["visqol"]


def test_speech_is_compared_by_the_words_heard_in_it_and_with_the_transcript(fresh, monkeypatch, tmp_path):
    calls = tmp_path / "calls"

    def heard(_, speech):
        with open(calls, "a", encoding="ascii") as file:
            file.write(f"{len(speech)} ")
        return "this is it" if speech[0] == 1 else "this was it"

    monkeypatch.setitem(library._SLOW, "heard", heard)
    source, speech = np.ones(8000, np.int16), np.full(8010, 2, np.int16)
    for transcript, rate in (("This, that was it.", 1 / 4), ("", None)):
        found, failed = measures.slow_measures(["wer"], source, speech, 10, transcript)
        assert found == {"wer": 1 / 3, "wer_transcript": rate} and not failed
    assert calls.read_text() == "8000 8000 "  # each of both is heard once


def test_libraries_compute_with_one_thread_so_that_values_are_those_of_any_number_of_cores(fresh, monkeypatch):
    from threadpoolctl import threadpool_info

    def threads(*_):
        return [pool["num_threads"] for pool in threadpool_info()] + [int(os.environ["NUMBA_NUM_THREADS"])]

    monkeypatch.setitem(library._SLOW, "heard", threads)
    assert {*library.measured("heard", *[voice(0.1)] * 2)} == {1}


def noisy(ratios):
    clean = voice(2.0)
    return clean, [measures.with_noise(clean, ratio) for ratio in ratios]


@pytest.mark.parametrize(
    ("package", "measure", "best"), [("visqol", "visqol", 4.0), ("resemblyzer", "speaker_similarity", 0.999)]
)
def test_a_measure_falls_with_noise_and_is_highest_for_the_source(package, measure, best, fresh):
    pytest.importorskip(package, reason="the extra `measures` is not installed")
    clean, worse = noisy((40, 20, 0))
    values = [measures.slow_measures([measure], clean, one, 0)[0][measure] for one in (clean, *worse)]
    assert values == sorted(values, reverse=True) and values[0] > best and values[-1] < values[0] - 0.1
    again = measures.slow_measures([measure], clean, worse[1], 0)[0][measure]
    assert again == values[2]


def test_pocketsphinx_hears_the_same_whatever_it_heard_before_and_at_any_level(fresh):
    pytest.importorskip("pocketsphinx", reason="the extra `measures` is not installed")
    clean, (worse,) = noisy((10,))

    def heard(*all_of_it):
        library.end()
        return [library.measured("heard", one, one) for one in all_of_it][-1]

    alone = heard(clean)
    assert alone == heard(worse, clean[:40], clean * 0, clean)
    assert heard(clean // 2) == heard(clean // 2 * 2)
    assert alone and heard(clean * 0) == "" and measures.slow_measures(["wer"], clean, clean, 0)[0]["wer"] == 0


def test_the_similarity_of_voices_does_not_depend_on_their_level(fresh):
    pytest.importorskip("resemblyzer", reason="the extra `measures` is not installed")
    clean, (worse,) = noisy((20,))
    found = [measures.slow_measures(["speaker_similarity"], clean, one, 0)[0] for one in (worse, worse // 16)]
    assert found[0]["speaker_similarity"] == pytest.approx(found[1]["speaker_similarity"], abs=0.01)


@pytest.mark.parametrize("samples", [80, 800, 4000])
@pytest.mark.parametrize("silent", [False, True])
def test_short_and_silent_speech_has_values_or_none_and_no_error(fresh, samples, silent):
    for package in ("visqol", "pocketsphinx", "resemblyzer"):
        pytest.importorskip(package, reason="the extra `measures` is not installed")
    speech = voice(1.0)[:samples]
    found, failed = measures.slow_measures(SLOW_MEASURES, speech, speech * (not silent), 0)
    assert not failed and found["visqol"] is None
