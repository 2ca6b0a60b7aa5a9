"""Rate and distortion of a chain of networks one of whose latents, or whose b, are quantised.

Each number of stages is a row: its bits and bit/s, the distortion of b_hat and y_hat on the speech that the networks
were trained on, on what was held out of it and on other voices, and the PESQ of samples. The study `bits` compares
such tables. A sample goes through the chain as `chains.coder` takes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from mlquant.core.blocks import Block, Positive
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from mlquant.chains.coder import Chain

SETS = ("training", "held_out", "unseen")
"""Speech that distortions are measured on: that of the training, what was held out of it, and other voices."""
_DISTORTIONS = ("sd_b", "sd")
COLUMNS = ["stages", "bits", "interval_ms", "bit_per_s"]
COLUMNS += [f"{what}_{name}_dB2" for what in _DISTORTIONS for name in SETS] + ["pesq"]
"""Columns of the table; the PESQ of each sample comes after them."""


class Sample(Block):
    """The files of a sample."""

    speech: Annotated[str, Setting(help="16-bit 8 kHz speech")]
    model: Annotated[str, Setting(help="its model")]
    b: Annotated[str, Setting(help="its features b")]
    y: Annotated[str, Setting(help="its features y")]


class RateSettings(Block):
    """What is measured; all paths are those of files."""

    steps: Annotated[
        list[dict[str, Any]],
        Field(min_length=1),
        Setting(help="steps of the chain, each with the files and settings that it uses, as of chains.coder"),
    ]
    stages: Annotated[list[Positive], Field(min_length=1), Setting(help="numbers of stages, a row of the table each")]
    features: Annotated[list[str], Setting(help="features b that the networks were trained on")]
    targets: Annotated[list[str], Setting(help="their y")]
    held_out: Annotated[float, Setting(help="share of each file, its end, that was not trained on", ge=0, lt=1)]
    held_out_features: Annotated[list[str], Setting(help="features b of other voices")]
    held_out_targets: Annotated[list[str], Setting(help="their y")]
    thresh: Annotated[float | None, Setting(help="frames of no more energy, in dB, do not count in distortions")]
    seconds: Annotated[float, Setting(help="how much of the start of each part of a file is measured on", gt=0)]
    samples: Annotated[dict[str, Sample], Setting(help="samples whose PESQ is measured")]


def measure(settings: dict, names: list[str] | None = None) -> pd.DataFrame:
    """Return bits, bit/s, distortions and PESQ of each of `stages`.

    The settings are those of RateSettings; `names` are the samples to take, all of them without. Distortions are in
    dB^2: of b_hat the mean squared error of all frames above `thresh`, of y_hat the spectral distortion of the voiced
    ones; NaN where there is nothing to measure. The mean PESQ is NaN where that of a sample is. Raises InputError for
    files and numbers that do not fit together.
    """
    import numpy as np
    import pandas as pd

    from mlquant.chains import coder

    names = list(settings["samples"]) if names is None else list(dict.fromkeys(names))
    if unknown := [name for name in names if name not in settings["samples"]]:
        raise InputError(f"samples: found {unknown[0]!r}, expected one of {', '.join(settings['samples']) or 'none'}")
    chain, stages = coder.load(settings), settings["stages"]
    bits = [sum((len(codebook) - 1).bit_length() for codebook in chain.search.codebooks[:used]) for used in stages]
    table = pd.DataFrame({"stages": stages, "bits": bits, "interval_ms": chain.interval_ms})
    table["bit_per_s"] = 1000 * table["bits"] / chain.interval_ms
    found = {name: _distortions(chain, settings, _segments(settings, name)) for name in SETS}
    for i, what in enumerate(_DISTORTIONS):
        for name in SETS:
            table[f"{what}_{name}_dB2"] = found[name][:, i]
    scores = {f"pesq_{name}": _scores(chain, settings, name) for name in names}
    table["pesq"] = np.mean([*scores.values()], axis=0) if scores else np.nan
    return table.assign(**scores)


def _segments(settings: dict, name: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give features b [F, 22] and y [F, 79] of one of SETS: of each file that has some, its first `seconds`."""
    from mlquant.chains import coder
    from mlquant.networks import rows

    prefix = "held_out_" if name == "unseen" else ""
    paths, targets = settings[f"{prefix}features"], settings[f"{prefix}targets"]
    if len(paths) != len(targets):
        raise InputError(f"{prefix}targets: found {len(targets)} files, expected {len(paths)} as of the features")
    most = max(1, round(settings["seconds"] * 1000 / coder.FRAME_MS))
    for path, target in zip(paths, targets, strict=True):
        b, y = coder.read_pair(path, target)
        trained = rows.training_frames(settings, len(b))
        start, end = {"training": (0, trained), "held_out": (trained, len(b)), "unseen": (0, len(b))}[name]
        part = slice(start, min(end, start + most))
        if start < end:
            yield b[part].copy(), y[part].copy()  # a slice would hold the whole file in memory


def _distortions(chain: Chain, settings: dict, segments: Iterator[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the mean distortion in dB^2 of b_hat and of y_hat, [rows, 2]; NaN where there is none."""
    import numpy as np

    from mlquant.chains import coder
    from mlquant.vocoder import chosen, features

    sums, counts = np.zeros((2, len(settings["stages"]), 2))
    parts = [(b, y, coder.encoded(chain, b, y)) for b, y in segments]
    for row, stages in enumerate(settings["stages"]):
        quantised = coder.quantise_all(chain.search, [made.vectors for _, _, made in parts], stages)
        for (b, y, made), vectors in zip(parts, quantised, strict=True):
            hat = coder.decoded(chain, made, vectors)
            loud = chosen.loud(b, settings["thresh"])
            voiced, of_b = loud & (b[:, 21] > 0), np.empty(0)
            if hat.b_hat is not None:
                of_b = np.square(b[loud, :20].astype(np.float64) - hat.b_hat[loud, :20]).mean(axis=1)
            of_y = features.spectral_distortion(y[voiced], hat.features[voiced])
            for i, found in enumerate((of_b, of_y)):
                sums[row, i] += found.sum()
                counts[row, i] += len(found)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _scores(chain: Chain, settings: dict, name: str) -> list[float]:
    """Return the PESQ of a sample for each of `stages`, against its speech; NaN where it is not measured or defined.

    The log says why it is not measured.
    """
    import numpy as np

    from mlquant.chains import coder
    from mlquant.core import errors, records
    from mlquant.measures import library, measures

    path = settings["samples"][name]["speech"]
    source, found = records.read_speech(path), list[float]()
    outputs = [speech for _, speech in coder.outputs(chain, settings, name)]
    try:
        for stages, speech in zip(settings["stages"], outputs, strict=True):
            try:
                score = measures.pesq_nb(source, speech)
            except library.Failed as reason:
                errors.log(f"{measures.failure('pesq', reason, f'{path} with {stages} stages')}; left empty")
                if isinstance(reason, library.Missing):
                    return [np.nan] * len(settings["stages"])
                score = None
            found.append(np.nan if score is None else score)
    finally:
        library.end()
    return found
