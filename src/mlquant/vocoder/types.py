"""Scalar settings of the vocoder, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Floor = Annotated[
    float, Setting(help="least amplitude of a harmonic, in dB", ge=-200, le=100, flag="--floor", metavar="DB")
]
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
Thresh = Annotated[float, Setting(help="dB: frames with no more energy of b are left out", metavar="DB")]
Pairs = Annotated[
    int, Setting(help="each vector comes behind the one so many vectors before it, for prediction", gt=0, lt=1 << 31)
]

MODES = {
    **{"3200": (64, 20, 0), "2400": (48, 20, 0), "1600": (64, 40, 0), "1400": (56, 40, 0)},
    **{"1300": (52, 40, 0), "1200": (48, 40, 0), "700C": (28, 40, 80)},
}
"""Modes of Codec 2, named by their bit/s, to the bits of a coded frame, its ms, and the samples of delay beyond others.

700C plays a frame of 10 ms later: it interpolates from the frame sent before up to, not including, the one just sent.
"""
