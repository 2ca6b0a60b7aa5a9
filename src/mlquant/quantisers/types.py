"""Settings of quantisers that are single values, each said once, for configuration and commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

Width = Annotated[int, Setting(help="elements of a vector", gt=0, flag="-k", metavar="K")]
Entries = Annotated[
    int, Setting(help="entries of a codebook, a power of two", ge=2, le=1 << 20, flag="-m", metavar="M")
]
Stop = Annotated[float, Setting(help="relative gain of an iteration at which a size of the codebook is done", gt=0)]
SplitSeed = Annotated[int, Setting(help="seed of the random splits", ge=0, lt=1 << 32)]
Survivors = Annotated[int, Setting(help="survivors that the search keeps after each stage", gt=0, lt=1 << 31)]
Every = Annotated[int, Setting(help="one vector of so many is sent, the others are interpolated", gt=0, lt=1 << 31)]
Stretch = Annotated[
    int, Setting(help="prediction begins anew after so many vectors that are sent (default: never)", gt=0, lt=1 << 31)
]
Share = Annotated[float, Setting(help="share of each file, its end, that is left out", ge=0, lt=1)]
