"""Scalar settings of the vocoder, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Floor = Annotated[float, Setting(help="least amplitude of a harmonic, in dB", ge=-200, le=100, metavar="DB")]
Postfilter = Annotated[
    float,
    Setting(
        help="a postfilter, as that of Codec 2 700C: the dynamic range of the amplitudes in dB times this, at the same "
        "energy; 1 leaves them as they are",
        gt=0,
        le=2,
        metavar="FACTOR",
    ),
]
