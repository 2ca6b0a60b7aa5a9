"""Scalar settings that several subjects share: in blocks of settings and in the signatures of commands."""

from __future__ import annotations

from typing import Annotated, Literal

from mlquant.core.stage import Setting

Seed = Annotated[int, Setting(help="seed of the random numbers", ge=0, lt=1 << 32)]
Survivors = Annotated[int, Setting(help="survivors of the search after each stage", gt=0, lt=1 << 31)]
Stages = Annotated[
    int, Setting(help="number of stages of the quantiser that are used, from the first on", gt=0, lt=1 << 31)
]
SlowMeasure = Literal["visqol", "wer", "speaker_similarity"]
SlowMeasures = Annotated[
    list[SlowMeasure],
    Setting(
        help="slow measures that are computed as well, each a second or more for an utterance, by optional packages "
        "(pip install 'mlquant[measures]'); samples always have those whose packages are installed",
        neutral=[],
    ),
]
MBEST = 5
"""The number of survivors, where no other is given."""
