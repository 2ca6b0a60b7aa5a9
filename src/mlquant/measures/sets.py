"""The measures of a test set: each utterance of a shard is coded and measured by itself, in one process.

An utterance gets the speech and the measures that the single commands give for the same file as a sample.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlquant.chains import coder
from mlquant.chains.steps import Made, Quantise, Step, Synthesise
from mlquant.codecs import files, trials
from mlquant.core import errors, records
from mlquant.core.errors import InputError
from mlquant.measures import library, measures
from mlquant.measures.settings import Coding
from mlquant.speech import sets
from mlquant.vocoder import codec2, decoder, synthesis


@dataclass(frozen=True)
class Shard:
    """The files of a shard: its speech, its table of utterances, its model and its features."""

    speech: Path
    utterances: Path
    model: Path
    b: Path
    y: Path


def measure(coding: Coding, shard: Shard) -> tuple[list[dict], np.ndarray]:
    """Return the measures of each utterance, and the speech [N] int16 of all; the log says why some have no value.

    The speech of an utterance has as many samples as its source, padded to whole frames. Raises InputError for files
    that do not fit each other.
    """
    utterances = sets.read(shard.utterances)
    lengths = [one.frames for one in utterances]
    b, y = (_parts(path, width, lengths) for path, width in ((shard.b, 22), (shard.y, 79)))
    code = _coder(coding)
    rows, spoken, told = [], [np.zeros(0, np.int16)], set[str]()
    sources, models = sets.each(shard.speech, utterances), records.read_model_parts(shard.model, lengths)
    for one, source, model, of_b, of_y in zip(utterances, sources, models, b, y, strict=True):
        made = code(source, model, of_b, of_y)
        delay = 0 if coding.process == "noise" else measures.DELAY + coding.delay
        row, failed = _measured(made, source, of_b, of_y, delay)
        slow, failures = measures.slow_measures(coding.measures, source, made.speech, delay, one.transcript)
        row |= _rounded(slow)
        failed |= failures
        rows.append({"utterance": one.name, "speaker": one.speaker, "sex": one.sex, **row})
        spoken.append(made.speech)
        for measure, reason in failed.items():
            text = measures.failure(measure, reason, f"{one.name} of {shard.speech}")
            if text not in told:
                errors.log(f"{text}; left empty")
            told.add(text)
    return rows, np.concatenate(spoken)


def _parts(path: Path, width: int, lengths: list[int]) -> list[np.ndarray]:
    """Return the features [F, width] of each utterance."""
    if not lengths:
        return []
    array = records.read_features(path) if width == 22 else records.read_f32(path, width)
    if len(array) != sum(lengths):
        raise InputError(f"{path}: {len(array)} frames, expected {sum(lengths)} as its utterances have")
    return np.split(array, np.cumsum(lengths)[:-1])


def _coder(coding: Coding) -> Any:
    """Return a function from source [N], model, b [F, 22] and y [F, 79] of an utterance to what is made of it."""
    if coding.process == "original":
        return lambda source, model, b, y: Made(b, y, speech=synthesis.synthesise(model))
    if coding.process == "codec2" and (coding.ber or coding.lost):
        errors = str(coding.mode), coding.ber, coding.lost, coding.seed
        return lambda source, model, b, y: Made(b, y, speech=codec2.with_errors(source, *errors))
    if coding.process == "codec2":
        return lambda source, model, b, y: Made(b, y, speech=codec2.codec2(source, [str(coding.mode)])[0])
    if coding.process == "codec":
        if coding.codec is None:
            raise InputError("codec: is missing, expected the codec.json of a codec, as process is codec")
        codec, _ = files.read(Path(coding.codec))
        codec = trials.rounded(codec) if coding.rounded else codec
        if coding.exact:
            return lambda source, model, b, y: Made(b, y, speech=trials.with_exact(codec, source, coding.exact))
        errors = coding.ber, coding.lost, coding.seed
        return lambda source, model, b, y: Made(b, y, speech=trials.with_errors(codec, source, *errors))
    if coding.process == "noise":
        if coding.snr_dB is None:
            raise InputError("snr_dB: is missing, expected a number of dB, as process is noise")
        snr_dB = coding.snr_dB
        return lambda source, model, b, y: Made(b, y, speech=measures.with_noise(source, snr_dB))
    # The name of the union has the key count the code of every step.
    if not all(isinstance(step, Step) for step in coding.steps):
        raise InputError("steps: found what is no step, expected steps")
    if not coding.steps or not isinstance(coding.steps[-1], Synthesise):
        raise InputError("steps: found no synthesise at the end, expected it")
    takes_b = "b" in coding.steps[0].takes
    searches = {i: coder.search_of(step) for i, step in enumerate(coding.steps) if isinstance(step, Quantise)}

    def code(source: np.ndarray, model: records.Model, b: np.ndarray, y: np.ndarray) -> Made:
        made = Made(b if takes_b else y, y, model=[model])
        for i, step in enumerate(coding.steps):
            if i in searches:
                search = searches[i]
                quantised = coder.quantise(search, made.vectors, len(search.codebooks))
                made = replace(made, unquantised=made.vectors, quantised=quantised, vectors=quantised)
            else:
                if isinstance(step, Synthesise):
                    decoder.check(made.features, len(model), "y_hat", "the model")
                made = step.of_arrays(made)
        return made

    return code


def _measured(
    made: Made, source: np.ndarray, b: np.ndarray, y: np.ndarray, delay: int
) -> tuple[dict, dict[str, library.Failed]]:
    """Return the measures of an utterance by the names of their columns, and why some have no value.

    The speech comes `delay` samples after its source.
    """
    result: dict[str, Any] = {}
    if made.features is not b and made.features is not y:
        result |= measures.of_spectra(y, made.features, b[:, 21] > 0)[0]
    if made.b_hat is not None:
        result |= measures.of_b(b, made.b_hat)[0]
    if made.quantised is not None:
        result |= measures.of_latents(made.unquantised, made.quantised)[0]
    of_speech, _, failed = measures.audio_measures(source, made.speech, delay)
    result |= of_speech
    return _rounded(result), failed


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Return measures with nine digits each, as they are in a file."""
    return {name: float(f"{value:.9g}") if isinstance(value, float) else value for name, value in row.items()}
