"""Scalar settings of vector quantisers, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting
from mlquant.core.types import Stages, Survivors

__all__ = ["Entries", "Every", "Stages", "Stop", "Stretch", "Survivors", "Width"]

Width = Annotated[int, Setting(help="elements of a vector", gt=0, flag="-k")]
Entries = Annotated[int, Setting(help="entries of the codebook", ge=2, le=1 << 20)]
Stop = Annotated[float, Setting(help="relative gain of an iteration at which a size of the codebook is done", gt=0)]
Every = Annotated[
    int, Setting(help="one vector in so many is sent; the decoder interpolates between them", gt=0, lt=1 << 31)
]
Stretch = Annotated[
    int, Setting(help="the prediction begins anew after so many vectors that are sent", gt=0, lt=1 << 31)
]
