"""Measures of other packages, each computed in a child process, which may die without its job.

pesq writes beyond its arrays for some speech, which ends the process or spoils the value; what else a library does is
not known. One child serves all calls of a process, with one thread, so that values are the same on any number of cores.
It is started at the first call, and again after it died.

The slow measures take a second or more for each utterance, where the others take a tenth. Their packages are wanted by
few, and bring their models with them.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import scipy.signal

SAMPLE_RATE = 8000
WIDE_RATE = 16000  # Hz, that of slow measures
_SPEECH, _VOICE = -26, -30  # dB, RMS of what recogniser and voice encoder take, full scale 1
_PATIENCE = 300  # seconds of one call, of which the slowest takes one; longer than that is a loop without end
_UNDEFINED = (-6, -7)  # what pesq returns for speech that is too short, and for speech without an utterance


class Failed(Exception):
    """A library that gave no value; the text says why."""


class Missing(Failed):
    """A library that is not there, or cannot be imported."""


def pesq(reference: np.ndarray, speech: np.ndarray) -> float | None:
    """Narrow-band PESQ (ITU-T P.862) of speech [N] int16; None for speech too short, or without an utterance."""
    import pesq

    score = pesq.pesq(SAMPLE_RATE, reference, speech, "nb", on_error=pesq.PesqError.RETURN_VALUES)
    if score < 0 and score not in _UNDEFINED:
        raise RuntimeError(f"error {score}")
    return float(score) if score > 0 else None


def stoi(reference: np.ndarray, speech: np.ndarray, extended: bool = False) -> float | None:
    """STOI of speech [N] int16 (Taal et al., 2011); None where there are fewer than 30 frames of speech."""
    from pystoi import stoi

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(stoi(reference.astype(float), speech.astype(float), SAMPLE_RATE, extended))
        except RuntimeWarning:
            return None


def estoi(reference: np.ndarray, speech: np.ndarray) -> float | None:
    """Extended STOI of speech [N] int16 (Jensen and Taal, 2016); None as for STOI."""
    return stoi(reference, speech, extended=True)


def visqol(reference: np.ndarray, speech: np.ndarray) -> float | None:
    """ViSQOL of speech [N] int16 in its mode for speech (Chinen et al., 2020), 1 to 5; None for less than 0.75 s."""
    if len(speech) < 640:  # one spectrum
        return None
    try:
        result = _visqol().measure_from_arrays(_at_16_kHz(reference), _at_16_kHz(speech), WIDE_RATE)
    except IndexError:  # it compares patches of speech, and found none
        return None
    return float(result.moslqo) if math.isfinite(result.moslqo) else None


@cache
def _visqol() -> Any:
    import visqol

    api = visqol.VisqolApi()
    api.create(mode="speech", use_lattice_model=True)  # without its package this raises ImportError
    return api


def heard(_: np.ndarray, speech: np.ndarray) -> str:
    """Return the words that pocketsphinx hears in speech [N] int16, with the model of English that it comes with."""
    decoder = _recogniser()
    if len(speech) < SAMPLE_RATE // 10 or not speech.any():
        return ""  # it hears words in silence
    level = 10 ** (_SPEECH / 20) / _rms(speech / 32768)
    wide = np.rint(32768 * (level * _at_16_kHz(speech) + _noise(2 * len(speech)))).clip(-32768, 32767).astype("<i2")
    decoder.start_utt()
    decoder.process_raw(wide.tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found else ""


@cache
def _recogniser() -> Any:
    from pocketsphinx import Decoder

    # The mean of each utterance is its own, so that nothing depends on what was heard before. With fewer paths than by
    # default it takes half the time and hears as many words.
    return Decoder(samprate=WIDE_RATE, loglevel="FATAL", cmn="batch", maxhmmpf=3000, maxwpf=10)


def _noise(length: int) -> np.ndarray:
    """Return the same noise [length] above 4 kHz each time, full scale 1.

    The recogniser was trained on speech of 16 kHz. Where steady noise fills the band that is empty in ours, it hears
    a third of the words of 14 prompts and sentences in place of a quarter.
    """
    high_pass = scipy.signal.butter(8, SAMPLE_RATE / 2, "high", fs=WIDE_RATE, output="sos")
    return scipy.signal.sosfilt(high_pass, np.random.default_rng(1).normal(0, 0.006, length))


def speaker_similarity(reference: np.ndarray, speech: np.ndarray) -> float | None:
    """Cosine of the embeddings of two voices, of speech [N] int16 and of its reference (Wan et al., 2018).

    None for less than half of the 1.6 s that an embedding is made of, and for silence.
    """
    if len(speech) < 0.8 * SAMPLE_RATE or not (reference.any() and speech.any()):
        return None
    return float(np.dot(*(_voice(one) for one in (reference, speech))))


def _voice(speech: np.ndarray) -> np.ndarray:
    """Return the embedding [256] of a voice, at the level that the encoder was trained at."""
    level = 10 ** (_VOICE / 20) / _rms(speech / 32768)
    return _encoder().embed_utterance((level * _at_16_kHz(speech)).astype(np.float32))


def _rms(signal: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))


@cache
def _encoder() -> Any:
    # resemblyzer imports webrtcvad, which cuts pauses; we do not ask for that. Its last release, of 2017, cannot be
    # imported beside a setuptools of today.
    sys.modules.setdefault("webrtcvad", types.ModuleType("webrtcvad"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that resemblyzer loads
        import resemblyzer
    import torch

    torch.set_num_threads(1)  # so that the value does not depend on the number of cores
    return resemblyzer.VoiceEncoder("cpu", verbose=False)


def _at_16_kHz(speech: np.ndarray) -> np.ndarray:
    """Return speech [N] int16 at 8 kHz as [2 N] float64 of -1 to 1 at 16 kHz."""
    return scipy.signal.resample_poly(speech / 32768.0, WIDE_RATE // SAMPLE_RATE, 1)


MEASURES: dict[str, Callable] = {"pesq": pesq, "stoi": stoi, "estoi": estoi}
"""The measures by their names; each takes a reference and speech, [N] int16 of the same length."""
_SLOW: dict[str, Callable] = {"visqol": visqol, "heard": heard, "speaker_similarity": speaker_similarity}


def measured(name: str, reference: np.ndarray, speech: np.ndarray) -> Any:
    """Return a measure of speech [N] int16 against a reference [N] int16; None where it is not defined.

    Of the name "heard" it is the text of what a recogniser hears in the speech.

    Raises Missing when the library is not there, and Failed when it ended its process, raised an error or took too
    long. A measure that took too long once is not tried again.
    """
    return _CHILD.measured(name, reference, speech)


def end() -> None:
    """End the child process, which holds open what was open when it was started."""
    _CHILD.end()


def known(name: str) -> Failed | None:
    """Return what need not be asked again of a measure: that its library is missing, or took too long."""
    return _CHILD.known.get(name)


def is_missing(name: str) -> bool:
    """Whether the library of a measure was found to be missing."""
    return isinstance(known(name), Missing)


class _Child:
    """The child process, and what does not need to be asked again."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Any = None
        self.known: dict[str, Failed] = {}

    def measured(self, name: str, reference: np.ndarray, speech: np.ndarray) -> Any:
        if name in self.known:
            raise self.known[name]
        pipe = self._started()
        try:
            pipe.send_bytes(name.encode())
            pipe.send_bytes(np.stack([reference, speech]).astype("<i2").tobytes())
            # Seconds are counted one by one, so that those during which the whole job was stopped are not.
            if not any(pipe.poll(1) for _ in range(_PATIENCE)):
                self.known[name] = Failed(f"the library gave no value within {_PATIENCE} s")
                raise self.known[name]
            answer = pipe.recv_bytes()
        except (EOFError, ConnectionError):
            raise Failed(f"the library ended its process by {self.end()}") from None
        except BaseException:
            self.end()
            raise
        kind, value = json.loads(answer)
        if kind == "missing":
            self.known[name] = Missing(value)
            raise self.known[name]
        if kind == "failed":
            raise Failed(value)
        return value

    def _started(self) -> Connection:
        if self._process is None:
            context = multiprocessing.get_context("fork")  # which has scipy loaded already; that takes a second
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(self._pipe, theirs), daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe

    def end(self) -> str:
        """End the child, if there is one, and return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "nothing"
        self._pipe.close()
        process.join(1)
        if process.is_alive():
            process.kill()
            process.join()
        status = process.exitcode
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


_CHILD = _Child()


def _serve(parents: Connection, pipe: Connection) -> None:
    """Compute measures until the pipe ends: what the child does.

    A request is the name of a measure, and the samples of both; the answer is JSON.
    """
    from threadpoolctl import threadpool_limits

    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when its parent does
    os.dup2(2, 1)  # whatever a library prints goes into the log
    os.environ["NUMBA_NUM_THREADS"] = "1"
    threadpool_limits(1)
    with contextlib.suppress(EOFError):
        while name := pipe.recv_bytes().decode():
            both = np.frombuffer(pipe.recv_bytes(), "<i2").astype(np.int16).reshape(2, -1)
            try:
                answer = ["value", (MEASURES | _SLOW)[name](*both)]
            except ImportError as error:
                answer = ["missing", f"its Python package cannot be imported ({error})"]
            except Exception as error:
                answer = ["failed", f"the library raised {type(error).__name__}: {error}"]
            pipe.send_bytes(json.dumps(answer).encode())
