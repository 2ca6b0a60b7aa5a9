"""Settings of quantisers that are single values, each said once, for configuration and commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting
from mlquant.core.types import Seed, Stages, Survivors
from mlquant.vocoder.types import Thresh

__all__ = ["Entries", "Every", "Seed", "Share", "Stages", "Stop", "Stretch", "Survivors", "Thresh", "Width"]

Width = Annotated[int, Setting(help="elements of a vector", gt=0, flag="-k", metavar="K")]
Entries = Annotated[
    int, Setting(help="entries of the codebook, a power of two", ge=2, le=1 << 20, flag="-m", metavar="M")
]
Stop = Annotated[float, Setting(help="relative gain of an iteration at which a size of the codebook is done", gt=0)]
Every = Annotated[
    int, Setting(help="one vector in so many is sent; the decoder interpolates between them", gt=0, lt=1 << 31)
]
Stretch = Annotated[
    int, Setting(help="the prediction begins anew after so many vectors that are sent", gt=0, lt=1 << 31)
]
Share = Annotated[float, Setting(help="share of each file, its end, that is left out", ge=0, lt=1)]
