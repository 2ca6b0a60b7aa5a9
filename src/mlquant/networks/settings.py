"""The settings of a network and of its training, checked against its row of the table of networks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from mlquant.core.blocks import Block, Positive, nearest, quoted, refusal
from mlquant.core.stage import Setting
from mlquant.core.types import MBEST
from mlquant.networks.rows import POOLING, ROWS, Row, checked_row
from mlquant.networks.types import NoiseVar, Seed, Share, Stages, Survivors, Threads, Thresh


def _row(value: Any) -> Row:
    try:
        return value if isinstance(value, Row) else checked_row(value)
    except ValueError as error:
        raise refusal(str(error)) from None


def as_settings(row: Row) -> dict[str, Any]:
    """A row as it stands among settings, with lists in place of tuples, as JSON has them."""
    return asdict(row) | {"encoder": list(row.encoder), "decoder": list(row.decoder)}


def _row_of_table(settings: dict[str, Any]) -> Row | None:
    """The row of the table for the settings above it; None where there is none."""
    return ROWS.get((settings.get("family", ""), settings.get("nn", 0)))


class NetworkSettings(Block):
    """All settings that define the training of a network, but for its data, with their defaults.

    A row that is left out is that of the table for `family` and `nn`; a row that is given is used, whatever these are.
    """

    family: Annotated[str, Setting(help="with `nn` the row of the table in src/mlquant/networks/rows.py")]
    nn: Annotated[int, Setting(help="number of the row in its family")]
    row: Annotated[
        Row,
        BeforeValidator(_row),
        PlainSerializer(as_settings),
        Field(default_factory=_row_of_table),
        Setting(help="layer widths and kind of the network; by default those of the table"),
    ]
    d: Annotated[
        Annotated[int, Setting(gt=0, le=1024)] | None,
        Setting(help="width of the bottleneck; required of a network that has one"),
    ] = None
    ncat: Annotated[int, Setting(help="adjacent frames that make one vector", gt=0, le=1024)] = 1
    nvq: Annotated[int, Setting(help="quantisers in a network that quantises by itself", gt=0, le=64)] = 1
    norm: Annotated[bool, Setting(help="the energy of a frame is taken out of b and passed on to the output")] = True
    zero_mean: Annotated[bool, Setting(help="the mean of each element of b over the corpus is taken out")] = False
    dct: Annotated[bool, Setting(help="the network sees the cosine transform of b")] = False
    lower_limit_dB: Annotated[
        float | None, Setting(help="a b of less energy, in dB, is raised to this energy; by default none is")
    ] = None
    noise_var: Annotated[NoiseVar, Setting(help="variance of Gaussian noise on the latents in training")] = 0.0
    symbols: Annotated[bool, Setting(help="two latents make a complex symbol of energy 1, sent over a channel")] = False
    loss: Annotated[
        Literal["sd", "wloss"],
        Setting(help="wloss: squared error of linear amplitudes, weighted; sd: squared error in dB"),
    ] = "wloss"
    gamma: Annotated[
        float, Setting(help="of wloss: at 1 errors count as in linear amplitude, at 0 nearly as in dB", ge=0, le=1)
    ] = 0.5
    optimiser: Annotated[Literal["sgd", "adam"], Setting(help="method of the training")] = "adam"
    lr: Annotated[float, Setting(help="learning rate", gt=0)]
    schedule: Annotated[Literal["constant", "cosine"], Setting(help="cosine: the rate falls to 0 as half a cosine")] = (
        "cosine"
    )
    batch: Annotated[Positive, Setting(help="vectors in a batch")] = 256
    epochs: Annotated[Positive, Setting(help="how often the training goes through the corpus")]
    seed: Annotated[Seed, Setting(help="seed of initial weights, order and noise")] = 1
    thresh: Annotated[
        Thresh | None, Setting(help="frames whose b has no more energy than this, in dB, are left out")
    ] = None
    voiced_only: Annotated[bool, Setting(help="unvoiced frames are left out")] = False
    held_out: Annotated[
        Share,
        Setting(
            help="share of each file, at its end, that is never trained on; the training is measured on it where the "
            "corpus holds out no voice"
        ),
    ] = 0.05
    threads: Threads = 1
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Setting(help="where it is trained; auto: on a CUDA device if there is one that works"),
    ] = "auto"
    mbest: Annotated[
        Survivors, Setting(help="survivors of the search, for a network that is trained on from another")
    ] = MBEST
    refresh: Annotated[Positive, Setting(help="with vq_in_loop: epochs between refreshes of the codebooks")] = 5

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSettings:
        row = self.row
        if row is None:
            of_family = [str(nn) for family, nn in ROWS if family == self.family]
            if not of_family:
                families = dict.fromkeys(family for family, _ in ROWS)
                raise refusal(f"found {quoted(self.family)}, {nearest(self.family, families)}", "family")
            raise refusal(f"found {self.nn}, expected one of {', '.join(of_family)} for {self.family}", "nn")
        name = f"{self.family} {self.nn}"
        whole_b = row.source == row.target == "b"
        contradictions = {
            "d": (self.d is not None and not row.encoder, "has no bottleneck"),
            "noise_var": (self.noise_var and not row.noisy, "has no bottleneck noise"),
            "symbols": (self.symbols and not row.noisy, "has no bottleneck noise, as symbols over a channel have"),
            "ncat": (self.ncat > 1 and row.inputs != "b", "takes one frame"),
            "nvq": (self.nvq > 1 and not (row.quantised == "fsq" or (row.encoder == () and row.quantised)),
                    "has one quantiser at most"),
            "batch": (self.batch == 1 and row.layers == "normalised", "normalises over each batch"),
            "norm": (not self.norm and not whole_b, "always normalises"),
            "zero_mean": (self.zero_mean and not whole_b, "is not from b to b_hat"),
            "dct": (self.dct and not whole_b, "is not from b to b_hat"),
            "lower_limit_dB": (self.lower_limit_dB is not None and not whole_b, "is not from b to b_hat"),
        }  # fmt: skip
        for key, (found, reason) in contradictions.items():
            if found:
                raise refusal(f"found {getattr(self, key)}, but {name} {reason}", key)
        if row.encoder and self.d is None:
            raise refusal(f"is missing, expected the width of the bottleneck of {name}", "d")
        if self.symbols and (self.d or 0) % 2:
            raise refusal(f"found {self.d}, expected an even number, for symbols of two latents each", "d")
        if row.layers == "conv" and self.ncat % POOLING:
            raise refusal(f"found {self.ncat}, expected a multiple of {POOLING} for {name}", "ncat")
        return self


class Network(NetworkSettings):
    """A network, the corpus that it is trained on, and the network whose weights its training begins with, if any.

    With `finetune` or `vq_in_loop` it takes the settings that it does not have from the network named there.
    """

    corpus: Annotated[str, Setting(help="name of the corpus that it is trained on")]
    finetune: Annotated[
        str | None,
        Setting(
            help="name of the network whose weights this one begins with. Its input is quantised: b of the whole "
            "corpus or, for a network with a bottleneck, the latents; then the decoder alone is trained"
        ),
    ] = None
    vq_in_loop: Annotated[
        str | None,
        Setting(
            help="name of the network whose weights this one begins with. Encoder and decoder are trained through a "
            "quantiser between them, whose codebooks are refreshed"
        ),
    ] = None
    quantiser: Annotated[str | None, Setting(help="name of the quantiser, with finetune or vq_in_loop")] = None
    stages: Annotated[
        Stages | None, Setting(help="number of stages of the quantiser that are used; by default all")
    ] = None

    @model_validator(mode="after")
    def _trained_on(self) -> Network:
        if self.finetune and self.vq_in_loop:
            raise refusal("has finetune and vq_in_loop, expected at most one of them")
        if self.initial and not self.quantiser:
            key = "finetune" if self.finetune else "vq_in_loop"
            raise refusal(f"is missing, expected the name of a quantiser, as there is {key}", "quantiser")
        if self.quantiser and not self.initial:
            raise refusal("quantiser goes with finetune or vq_in_loop only, found neither")
        for name, goes_with in (("stages", "quantiser"), ("mbest", "quantiser"), ("refresh", "vq_in_loop")):
            if getattr(self, name) != type(self).model_fields[name].default and not getattr(self, goes_with):
                raise refusal(f"{name} goes with {goes_with} only, found no {goes_with}")
        if self.noise_var and self.initial:
            raise refusal(f"found {self.noise_var:g}, expected 0 where latents are quantised instead", "noise_var")
        return self

    @property
    def initial(self) -> str | None:
        """The name of the network whose weights this one begins with, or None."""
        return self.finetune or self.vq_in_loop
