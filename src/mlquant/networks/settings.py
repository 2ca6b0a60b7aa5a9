"""The settings of a network's training, and which of them contradict its row of layer widths."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from mlquant.core.blocks import Block, Positive, Seed, refusal
from mlquant.networks.rows import POOLING, ROWS, Row, as_settings, checked_row


def _row(value: Any) -> Row:
    try:
        return value if isinstance(value, Row) else checked_row(value)
    except ValueError as error:
        raise refusal(str(error)) from None


def _row_of_table(settings: dict[str, Any]) -> Row | None:
    """The row of the table for the settings above it; None where there is none."""
    return ROWS.get((settings.get("family"), settings.get("nn")))


class NetworkSettings(Block):
    """Everything that defines the training of a network but its data; what is left out has these values.

    The row, where left out, is that of the table for `family` and `nn`; one that is given stands, whatever these are.
    """

    family: str
    nn: int
    row: Annotated[Row, BeforeValidator(_row), PlainSerializer(as_settings), Field(default_factory=_row_of_table)]
    d: Annotated[int, Field(gt=0, le=1024)] | None = None
    ncat: Annotated[int, Field(gt=0, le=1024)] = 1
    nvq: Annotated[int, Field(gt=0, le=64)] = 1
    norm: bool = True
    zero_mean: bool = False
    dct: bool = False
    lower_limit_dB: float | None = None
    noise_var: Annotated[float, Field(ge=0)] = 0.0
    symbols: bool = False
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
    threads: Annotated[int, Field(gt=0, le=1024)] = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    mbest: Positive = 5  # survivors of the search, with vector quantisation in the loop
    refresh: Positive = 5  # epochs between refreshes of its codebooks

    @model_validator(mode="after")
    def _consistent(self) -> NetworkSettings:
        row = self.row
        if row is None:
            known = ", ".join(f"{family} {nn}" for family, nn in ROWS)
            raise refusal(f"family and nn: found {self.family} {self.nn}, expected one of {known}")
        name = f"{self.family} {self.nn}"
        whole_b = row.source == row.target == "b"
        contradictions = {
            "d": (bool(row.encoder) != (self.d is not None), f"{'needs a' if row.encoder else 'has no'} bottleneck"),
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
                raise refusal(f"{key}: found {getattr(self, key)}, but {name} {reason}")
        if self.symbols and self.d % 2:
            raise refusal(f"d: found {self.d}, expected an even number, for symbols of two latents each")
        if row.layers == "conv" and self.ncat % POOLING:
            raise refusal(f"ncat: found {self.ncat}, expected a multiple of {POOLING} for {name}")
        return self
