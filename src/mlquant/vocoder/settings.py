"""The block of settings of features."""

from __future__ import annotations

from mlquant.core.blocks import Block
from mlquant.vocoder.types import Floor, FLOOR_dB


class Features(Block):
    """How features are computed from a model of speech."""

    floor_dB: Floor = FLOOR_dB
