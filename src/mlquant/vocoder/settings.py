"""The block of settings of features."""

from __future__ import annotations

from mlquant.core.blocks import Block
from mlquant.vocoder.types import Floor


class Features(Block):
    """How features are computed from a model of speech."""

    floor_dB: Floor = -80.0
