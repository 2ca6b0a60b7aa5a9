"""The networks as rows of layer widths, one row for each network of the original experiments, and their settings.

Shapes are those of the original's autoencoder scripts and its manifold project. Building and running them is
in `networks`; this table needs no torch, so that the configuration can be checked without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlquant.schema import Block, Positive, Seed, refusal

H = 512


@dataclass(frozen=True)
class Row:
    """Layer widths of a network; "d" is the bottleneck's width, and 20 becomes 20*ncat for `ncat` frames of b.

    `encoder` ends at the latents and is empty when the network has no bottleneck; `decoder` starts at them.
    `target` is what the output approximates, "b" or "y"; `noisy` networks take Gaussian noise after the tanh.
    """

    encoder: tuple
    decoder: tuple
    target: str
    noisy: bool = False

    @property
    def inputs(self) -> int:
        return (self.encoder or self.decoder)[0]


ROWS = {
    ("manifold", 1): Row((), (22, H, H, 79), "y"),
    ("autoencoder1", 2): Row((20, H, "d"), ("d", H, 20), "b"),
    ("autoencoder1", 4): Row((20, H, "d"), ("d", H, 20), "b", noisy=True),
}


class NetworkSettings(Block):
    """Everything that defines the training of a network but its data; what is left out has these values."""

    family: str
    nn: int
    d: Positive | None = None
    ncat: Positive = 1
    norm: bool = True
    noise_var: Annotated[float, Field(ge=0)] = 0.0
    loss: Literal["sd", "wloss"] = "wloss"
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.5
    optimiser: Literal["sgd", "adam"] = "adam"
    lr: Annotated[float, Field(gt=0)]
    schedule: Literal["constant", "cosine"] = "cosine"
    batch: Positive = 256
    epochs: Positive
    seed: Seed = 1
    thresh: float | None = None
    voiced_only: bool = False
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.05
    threads: Positive = 1

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSettings:
        row = ROWS.get((self.family, self.nn))
        if row is None:
            known = ", ".join(f"{family} {nn}" for family, nn in ROWS)
            raise refusal(f"family and nn: found {self.family} {self.nn}, expected one of {known}")
        if bool(row.encoder) != (self.d is not None):
            raise refusal(
                f"d: found {self.d}, but {self.family} {self.nn} {'needs' if row.encoder else 'has no'} bottleneck"
            )
        if self.noise_var and not row.noisy:
            raise refusal(f"noise_var: found {self.noise_var:g}, but {self.family} {self.nn} has no bottleneck noise")
        if self.ncat > 1 and row.inputs != 20:
            raise refusal(f"ncat: found {self.ncat}, but {self.family} {self.nn} takes one frame")
        if row.target == "y" and not self.norm:
            raise refusal(f"norm: found false, but {self.family} {self.nn} always normalises")
        return self
