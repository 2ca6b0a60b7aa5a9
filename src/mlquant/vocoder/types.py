"""Settings of the vocoder that are single values, each said once, for configuration and commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Floor = Annotated[
    float,
    Setting(
        help="least amplitude of a harmonic in dB, which stands for that of digital silence",
        ge=-200,
        le=40,
        flag="--floor",
        metavar="DB",
    ),
]
Postfilter = Annotated[
    float, Setting(help="the dynamic range of the amplitudes in dB times this, at the same energy", gt=0, le=2)
]
Thresh = Annotated[float, Setting(help="frames with no more energy of b than this, in dB, are left out", metavar="DB")]
Pairs = Annotated[
    int, Setting(help="each vector comes behind the one so many vectors before it, for prediction", gt=0, lt=1 << 31)
]
