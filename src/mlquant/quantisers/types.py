"""Scalar settings of quantisers, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting
from mlquant.core.types import MBEST, Seed, Stages, Survivors
from mlquant.vocoder.types import Thresh

__all__ = [
    "BESIDE",
    "MBEST",
    "STABLE",
    "STOP",
    "Entries",
    "ResetEvery",
    "Seed",
    "SendEvery",
    "Share",
    "Smooth",
    "Stages",
    "Stop",
    "Survivors",
    "Thresh",
    "Width",
]

Width = Annotated[int, Setting(help="elements of a vector", gt=0, flag="-k", metavar="K")]
Entries = Annotated[
    int, Setting(help="entries of the codebook, a power of two", ge=2, le=1 << 20, flag="-m", metavar="M")
]
Stop = Annotated[float, Setting(help="relative gain of an iteration below which a size of the codebook is done", gt=0)]
STOP = 1e-4
STABLE = 0.95  # largest magnitude of an eigenvalue of a matrix that predicts
BESIDE = (256, 256)  # widths of the hidden layers of the network of what is known beside
SendEvery = Annotated[
    int, Setting(help="one vector in this many is sent; the decoder interpolates between them", gt=0, lt=1 << 31)
]
ResetEvery = Annotated[
    int, Setting(help="number of sent vectors after which the prediction begins anew", gt=0, lt=1 << 31)
]
Smooth = Annotated[
    float,
    Setting(
        help="share that the decoder gives to each neighbour of a vector; the search chooses entries for that",
        ge=0,
        le=0.33,
        neutral=0.0,
    ),
]
Share = Annotated[float, Setting(help="share of each file, at its end, that is left out", ge=0, lt=1)]
