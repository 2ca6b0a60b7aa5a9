"""Scalar settings of networks, for blocks of settings and for the signatures of commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting
from mlquant.core.types import Seed, Stages, Survivors

__all__ = ["HeldOut", "NoiseVar", "Seed", "Stages", "Survivors", "Threads", "Thresh"]

NoiseVar = Annotated[float, Setting(help="variance of Gaussian noise on the latents", ge=0)]
Thresh = Annotated[float, Setting(help="dB: frames with no more energy of b are left out", metavar="DB")]
HeldOut = Annotated[float, Setting(help="share of each file, its end, that is never trained on", gt=0, lt=1)]
Threads = Annotated[int, Setting(help="threads of the training; the rounding follows their number", gt=0, le=1024)]
