"""The blocks of settings of features, and of pitch that is sent."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from mlquant.core.blocks import Block, number, refusal
from mlquant.core.stage import Setting
from mlquant.vocoder.types import Floor, FLOOR_dB


class Features(Block):
    """How features are computed from a model of speech."""

    floor_dB: Floor = FLOOR_dB


def _of_bits(offsets: list[float]) -> list[float]:
    if len(offsets) not in (0, 2, 4, 8, 16) or any(not -0.5 <= offset <= 0.5 for offset in offsets):
        raise refusal(f"found {offsets}, expected 0, 2, 4, 8 or 16 numbers, -0.5 to 0.5")
    return offsets


class Pitch(Block):
    """How a codec sends pitch: at knots, with straight lines of log2 F0 between them."""

    every_ms: Annotated[
        Literal[10, 20, 40, 80], BeforeValidator(number), Setting(help="time in ms from one knot to the next")
    ] = 40
    bits: Annotated[int, Setting(help="bits of a knot, which is a level of log2 F0", ge=3, le=10)] = 6
    offsets: Annotated[
        list[float],
        AfterValidator(_of_bits),
        Setting(
            help="how far, in octaves, the middle between two knots may lie off the straight line; one of them is "
            "sent, and none if the list is empty"
        ),
    ] = [-0.06, -0.018, 0.018, 0.06]
    lowest: Annotated[float, Setting(help="lowest level in Hz", ge=40, le=500)] = 50.0
    highest: Annotated[float, Setting(help="highest level in Hz", ge=40, le=500)] = 400.0
    wait: Annotated[int, Setting(help="so many knots more are known when one is decided", ge=0, le=50)] = 2

    @model_validator(mode="after")
    def _in_order(self) -> Pitch:
        if self.lowest >= self.highest:
            raise refusal(f"found {self.lowest:g} to {self.highest:g} Hz, expected lowest below highest")
        return self


class Track(Pitch, Features):
    """What `mlquant track` takes; the workflow writes it from a codec."""
