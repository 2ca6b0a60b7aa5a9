"""The settings of a coding chain: its networks, and the quantiser, noise and postfilter in it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mlquant.core.blocks import Block, Line, quoted, refusal
from mlquant.core.stage import Setting
from mlquant.core.types import MBEST, Stages, Survivors
from mlquant.networks.types import NoiseVar, Seed
from mlquant.quantisers.types import Smooth
from mlquant.vocoder.types import MODES, Postfilter

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]


class Noise(Block):
    """Settings of a step straight through a network."""

    noise_var: Annotated[NoiseVar, Setting(help="variance of noise on the latents, in place of a quantiser")] = 0.0
    seed: Annotated[Seed, Setting(help="seed of that noise")] = 1


class Synthesis(Block):
    """Settings of the synthesis."""

    postfilter: Postfilter = 1.0


class Chain(Synthesis, Noise):
    """Networks that lead from b or y to y_hat; the latents of one, or b itself, may be quantised or get noise."""

    renamed: ClassVar[dict[str, str]] = {"expand": "postfilter"}

    networks: Annotated[list[str], Setting(help="names of the networks, one after the other")] = []
    quantiser: Annotated[str | None, Setting(help="name of the quantiser, of one of the networks or of b")] = None
    stages: Annotated[
        Stages | None,
        Setting(help="number of stages of the quantiser that are used, from the first on; by default all"),
    ] = None
    mbest: Survivors = MBEST
    smooth: Smooth = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Chain:
        for name in ("stages", "mbest", "smooth"):
            if name in self.model_fields_set and self.quantiser is None:
                raise refusal(f"has {name} without a quantiser, expected both")
        if len(set(self.networks)) < len(self.networks):
            raise refusal(f"networks: found {', '.join(self.networks)}, expected each once")
        if self.noise_var and self.quantiser:
            raise refusal("has noise_var and quantiser, expected at most one of them")
        return self


class RatedChain(Chain):
    """A quantised chain that is measured with each of several numbers of stages."""

    networks: Annotated[list[str], Field(min_length=1), Setting(help="names of the networks, one after the other")]
    quantiser: Annotated[str, Setting(help="name of the quantiser, of one of the networks or of b")]
    stages: Annotated[  # type: ignore[assignment]
        list[Stages],
        Field(min_length=1),
        Setting(help="the numbers of stages of the quantiser with which it is measured"),
    ]

    @model_validator(mode="after")
    def _each_once(self) -> RatedChain:
        if len(set(self.stages)) < len(self.stages):
            raise refusal(f"found {self.stages}, expected each once", "stages")
        return self


def _mode(value: str) -> str:
    if value not in MODES:
        raise refusal(f"found {quoted(value)}, expected one of {', '.join(MODES)}")
    return value


Mode = Annotated[str, AfterValidator(_mode)]


class Output(Chain):
    """One of the outputs of an experiment: speech made of each of its samples; its index is its key."""

    removed: ClassVar[dict[str, str]] = {"index": "the index is the key of the output, as in outputs: {6: {tag: x}}"}

    tag: Annotated[Tag, Setting(help="the end of the name of its files, <sample>_<index>_<tag>.wav")]
    processing: Annotated[Line, Setting(help="what is done, for tables and pages")] = ""
    shows: Annotated[Line, Setting(help="what it shows, for tables and pages")] = ""
    process: Annotated[
        Literal["original", "vocoder", "codec2", "codec"],
        Setting(
            help="original: amplitudes and phases as analysed; codec2: Codec 2 itself; vocoder: amplitudes that the "
            "networks make, with phases made from them; codec: one of `codecs`, by a bit stream of everything"
        ),
    ]
    codec: Annotated[str | None, Setting(help="of codec: its name", neutral=None)] = None
    mode: Annotated[Mode | None, Setting(help=f"of codec2, in bit/s: one of {', '.join(MODES)}")] = None

    @model_validator(mode="after")
    def _of_its_process(self) -> Output:
        if self.process == "codec2" and self.mode is None:
            raise refusal(f"is missing, expected one of {', '.join(MODES)}, as process is codec2", "mode")
        others = [name for name in ("networks", "quantiser", "noise_var") if getattr(self, name)]
        others += ["postfilter"] if self.postfilter != 1 else []
        if self.process == "codec" and self.codec is None:
            raise refusal("is missing, expected the name of a codec, as process is codec", "codec")
        of_others = [*([("mode", "codec2")] if self.mode else []), *([("codec", "codec")] if self.codec else [])]
        for name, process in [*((name, "vocoder") for name in others), *of_others]:
            if self.process != process:
                raise refusal(f"{name} goes with process {process} only, found process {self.process}")
        return self
