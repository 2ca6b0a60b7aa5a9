"""Scalar settings of the vocoder, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Floor = Annotated[
    float, Setting(help="least amplitude of a harmonic, in dB", ge=-200, le=100, flag="--floor", metavar="DB")
]
FLOOR_dB = -80.0
Postfilter = Annotated[
    float,
    Setting(
        help="factor of a postfilter, as that of Codec 2 700C, on the dynamic range of the amplitudes in dB, at the "
        "same energy; 1 leaves them as they are",
        gt=0,
        le=2,
        metavar="FACTOR",
    ),
]
Thresh = Annotated[
    float, Setting(help="frames whose b has no more energy than this, in dB, are left out", metavar="DB")
]
Pairs = Annotated[
    int,
    Setting(
        help="for prediction: write each vector behind the one that comes this many vectors before it", gt=0, lt=1 << 31
    ),
]

MODES = {
    **{"3200": (64, 20, 0), "2400": (48, 20, 0), "1600": (64, 40, 0), "1400": (56, 40, 0)},
    **{"1300": (52, 40, 0), "1200": (48, 40, 0), "700C": (28, 40, 80)},
}
"""Modes of Codec 2 by their bit/s: bits of a coded frame, its duration in ms, and samples of delay beyond other modes.

700C plays a frame of 10 ms later: it interpolates from the frame sent before up to the one just sent, without it.
"""
