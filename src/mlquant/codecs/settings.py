"""The settings of whole codecs, and of their context networks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mlquant.core.blocks import Block, Positive, number
from mlquant.core.stage import Setting
from mlquant.networks.types import Seed, Share, Threads
from mlquant.quantisers.settings import EightBit
from mlquant.vocoder.settings import Pitch
from mlquant.vocoder.types import Floor, FLOOR_dB, Postfilter

Paths = Annotated[int, Setting(help="paths that the search keeps over time", ge=1, le=256)]
Wait = Annotated[
    int, Setting(help="superframes that must follow until energy is decided, and after that shape", ge=0, le=50)
]


class ContextSettings(Block):
    """How a context network is trained, which makes y_hat of what a codec sends."""

    hidden: Annotated[
        list[Annotated[int, Setting(gt=0, le=4096)]], Field(min_length=1), Setting(help="widths of the hidden layers")
    ] = [512, 512]
    epochs: Annotated[Positive, Setting(help="epochs on what is not quantised")] = 12
    finetune: Annotated[Positive, Setting(help="epochs on what is quantised, after these")] = 8
    lr: Annotated[float, Setting(help="learning rate at first; half of it when the inputs are quantised", gt=0)] = 1e-3
    batch: Annotated[Positive, Setting(help="superframes in a batch")] = 512
    dropout: Annotated[
        float, Setting(help="share of each hidden layer that is left out at random in training", ge=0, lt=1)
    ] = 0.0
    seed: Annotated[Seed, Setting(help="seed of initial weights and order")] = 1
    held_out: Annotated[Share, Setting(help="share of each file, at its end, that is never trained on")] = 0.05
    threads: Threads = 2


class Voicing(Block):
    """How a codec sends voicing."""

    voicing_ms: Annotated[
        Literal[10, 20, 40, 80], BeforeValidator(number), Setting(help="time in ms that one bit of voicing stands for")
    ] = 20


class Coding(Voicing):
    """How a codec codes: all that is neither pitch nor a table."""

    paths: Paths = 16
    wait: Wait = 0
    postfilter: Postfilter = 1.2
    eight_bit: EightBit = False


class Codec(Coding):
    """A whole codec: how pitch, voicing, energy and the shape of the spectrum are sent, and what is made of them."""

    corpus: Annotated[str, Setting(help="name of the corpus that it is trained on")]
    pitch: Annotated[Pitch, Setting(help="how pitch is sent; see Pitch of a codec")] = Pitch()
    energy: Annotated[str, Setting(help="name of a quantiser of kind superframe, of energy")]
    shape: Annotated[str, Setting(help="name of a quantiser of kind superframe, of shape")]
    network: Annotated[ContextSettings, Setting(help="its context network; see Context network of a codec")] = (
        ContextSettings()
    )


class TrainContext(ContextSettings, Voicing):
    """What `mlquant train-context` takes; the workflow writes it from a codec."""

    frames: Annotated[int, Setting(help="frames of 10 ms in a superframe", gt=0, le=8)]
    eight_bit: EightBit = False


class Assembled(Coding):
    """What `mlquant assemble` takes; the workflow writes it from a codec."""

    frames: Annotated[int, Setting(help="frames of 10 ms in a superframe", gt=0, le=8)]
    pitch: Annotated[Pitch, Setting(help="how pitch is sent")]
    floor_dB: Floor = FLOOR_dB
    about: Annotated[dict[str, Any], Setting(help="what codec.json tells besides")] = {}
