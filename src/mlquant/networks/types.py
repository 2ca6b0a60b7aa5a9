"""Settings of networks that are single values, each said once, for configuration and commands."""

from __future__ import annotations

from typing import Annotated

from mlquant.core.stage import Setting

NoiseVar = Annotated[float, Setting(help="variance of Gaussian noise on the latents", ge=0)]
Seed = Annotated[int, Setting(help="seed of the random draws", ge=0, lt=1 << 32)]
