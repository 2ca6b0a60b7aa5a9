"""Scalar settings of speech, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Minutes = Annotated[float, Setting(help="most minutes of speech", gt=0)]
Resample = Annotated[
    float,
    Setting(help="factor of pitch, formants and tempo, as of another vocal tract; 1 changes nothing", ge=0.5, le=2),
]
Equalise = Annotated[
    float,
    Setting(
        help="standard deviation in dB of a smooth random equaliser that each file passes, as of another microphone",
        ge=0,
        le=20,
    ),
]
