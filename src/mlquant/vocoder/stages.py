"""The commands of the vocoder: analysis, features b and y, synthesis, and Codec 2 itself for comparison."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from mlquant.core.errors import InputError
from mlquant.core.stage import Aside, File, Json, Setting, stage
from mlquant.vocoder.types import Floor, FLOOR_dB, Postfilter

if TYPE_CHECKING:
    import numpy as np

AUDIO = "any audio file that libsndfile reads, or headerless 16-bit 8 kHz .raw"
MODEL = "records as of c2sim --modelout"
Speech = Annotated[Path, File(help=AUDIO)]
Model = Annotated[Path, File(help=f"{MODEL}: Wo, L and voicing are used")]
Wav = Annotated[Path, File(help=".wav or headerless .raw", flag="--out")]


@stage("models", model="model.bin", example="big_dog.raw -o big_dog_model.bin")
def analyse(
    speech: Speech,
    *,
    model: Annotated[Path, File(help=f"{MODEL}, 1300 bytes a frame", flag="--out")],
) -> None:
    """Write the sinusoidal model of speech."""
    from mlquant.core import records
    from mlquant.vocoder import analysis

    records.write_model(model, analysis.analyse_in_chunks(records.read_speech(speech)))


@stage("features", b="b.f32", y="y.f32", example="big_dog_model.bin --b big_dog_b.f32 --y big_dog_y.f32")
def features(
    model: Annotated[Path, File(help=MODEL)],
    *,
    floor_dB: Floor = FLOOR_dB,
    b: Annotated[Path | None, File(help="b[20] in dB, Wo, voicing: 22 floats a frame")] = None,
    y: Annotated[Path | None, File(help="y[79] in dB: 79 floats a frame")] = None,
) -> None:
    """Compute the features b and y of a model."""
    from mlquant.core import records
    from mlquant.vocoder import features

    if not (b or y):
        raise InputError("found neither --b nor --y, expected at least one of them")
    with contextlib.ExitStack() as opened:
        write_b, write_y = (opened.enter_context(records.open_f32(path)) if path else None for path in (b, y))
        for part in records.read_model_in_chunks(model):
            of_b, of_y = features.model_to_features(part, floor_dB)
            if write_b:
                write_b(features.features_to_records(of_b, part.Wo, part.voiced))
            if write_y:
                write_y(of_y)


@stage(
    "set_features",
    model="model.bin",
    b="b.f32",
    y="y.f32",
    example="set.raw set.csv -o set_model.bin --b set_b.f32 --y set_y.f32",
)
def analyse_set(
    speech: Speech,
    utterances: Annotated[Path, File(help="CSV written by prepare-set")],
    *,
    floor_dB: Floor = FLOOR_dB,
    model: Annotated[Path, File(help=f"{MODEL}, 1300 bytes a frame", flag="--out")],
    b: Annotated[Path, File(help="b[20] in dB, Wo, voicing: 22 floats a frame")],
    y: Annotated[Path, File(help="y[79] in dB: 79 floats a frame")],
) -> None:
    """Write model, b and y of each utterance of a test set."""
    from mlquant.core import records
    from mlquant.speech import sets
    from mlquant.vocoder import analysis, features

    with contextlib.ExitStack() as opened:
        write_b, write_y = (opened.enter_context(records.open_f32(path)) for path in (b, y))

        def parts() -> Iterator[records.Model]:
            for speech_of_one in sets.each(speech, sets.read(utterances)):
                for part in analysis.analyse_in_chunks(speech_of_one):
                    of_b, of_y = features.model_to_features(part, floor_dB)
                    write_b(features.features_to_records(of_b, part.Wo, part.voiced))
                    write_y(of_y)
                    yield part

        records.write_model(model, parts())


@stage("tracked", b="b.f32", y="y.f32", example="big_dog.raw --settings '{}' --b big_dog_b.f32 --y big_dog_y.f32")
def track(
    speech: Speech,
    *,
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.vocoder.settings:Track")],
    b: Annotated[Path, File(help="b[20] in dB, Wo, voicing: 22 floats a frame")],
    y: Annotated[Path, File(help="y[79] in dB: 79 floats a frame")],
    model: Annotated[Path | None, Aside(help=f"{MODEL}, 1300 bytes a frame")] = None,
) -> None:
    """Compute the features b and y at a pitch that can be sent.

    The pitch is a track without octave jumps, on levels at knots that a codec sends.
    """
    from mlquant.core import blocks, records
    from mlquant.vocoder import features, pitch
    from mlquant.vocoder.settings import Track

    asked = blocks.validate(Track, settings, "settings")
    sent = pitch.Pitch(**asked.model_dump(exclude={"floor_dB"}))
    with contextlib.ExitStack() as opened:
        write_b, write_y = (opened.enter_context(records.open_f32(path)) for path in (b, y))

        def parts() -> Iterator[records.Model]:
            for _, part in pitch.tracked([records.read_speech(speech)], sent):
                of_b, of_y = features.model_to_features(part, asked.floor_dB)
                write_b(features.features_to_records(of_b, part.Wo, part.voiced))
                write_y(of_y)
                yield part

        if model:
            records.write_model(model, parts())
        else:
            for _ in parts():
                pass


@stage("resynthesised", wav="speech.wav", example="big_dog_model.bin -o big_dog_1_out.wav")
def resynth(model: Annotated[Path, File(help=MODEL)], *, wav: Wav) -> None:
    """Synthesise speech from a model's own amplitudes and phases."""
    import numpy as np

    from mlquant.core import records
    from mlquant.vocoder import synthesis

    chunks = synthesis.synthesise_in_chunks(records.read_model_in_chunks(model))
    records.write_speech(wav, np.concatenate(list(chunks)))


@stage("synthesised", wav="speech.wav", example="big_dog_model.bin y_hat.f32 -o big_dog.wav")
def synth(
    model: Model,
    y_hat: Annotated[Path, File(help="79 floats a frame")],
    *,
    postfilter: Postfilter = 1.0,
    wav: Wav,
    a: Annotated[Path | None, File(help="amplitudes as for c2sim --amread")] = None,
    h: Annotated[Path | None, File(help="phase filter as for c2sim --hmread")] = None,
) -> None:
    """Synthesise speech from spectra y_hat.

    The phases are made from them too (minimum phase, phase0).
    """
    import numpy as np

    from mlquant.core import records
    from mlquant.vocoder import decoder, features

    def chunks() -> Iterator[records.Model]:
        return records.read_model_in_chunks(model)

    amplitudes = records.read_f32(y_hat, 79)
    decoder.check(amplitudes, sum(map(len, chunks())), y_hat, model)
    with contextlib.ExitStack() as opened:
        write_a, write_h = (opened.enter_context(records.open_f32(path)) if path else None for path in (a, h))

        def keep(A: np.ndarray, H: np.ndarray) -> None:
            if write_a:
                write_a(features.amplitudes_to_records(A))
            if write_h:
                write_h(features.phase_filter_to_records(H))

        speech = decoder.decode_in_chunks(chunks(), amplitudes, postfilter, keep)
        records.write_speech(wav, np.concatenate(list(speech)))


@stage("anchors", wavs=(), example="big_dog.raw --mode 3200 -o big_dog_8_3200.wav")
def anchor(
    speech: Speech,
    *,
    modes: Annotated[
        list[str],
        Setting(
            help="bit/s: 3200, 2400, 1600, 1400, 1300, 1200 or 700C, by default 3200; may be given several times",
            flag="--mode",
        ),
    ] = [],  # noqa: B006
    wavs: Annotated[list[Path], File(help=".wav or headerless .raw, one for each mode", flag="--out")],
) -> None:
    """Code and decode speech by Codec 2, for comparison.

    It passes the high pass of the analysis first, as all other speech here does.
    """
    from mlquant.core import records
    from mlquant.vocoder import codec2

    modes = modes or ["3200"]
    if len(modes) != len(wavs):
        raise InputError(f"-o: {len(wavs)} files, expected {len(modes)}, one for each mode")
    for path, coded in zip(wavs, codec2.codec2(records.read_speech(speech), modes), strict=True):
        records.write_speech(path, coded)
