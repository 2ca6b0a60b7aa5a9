"""The settings of vector quantisers: a block for each kind, each with its own settings only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from mlquant.core.blocks import Block, by_kind, quoted, refusal
from mlquant.core.stage import Setting
from mlquant.networks.types import Seed
from mlquant.quantisers.types import Entries, Stop, Stretch, Survivors
from mlquant.vocoder.types import Thresh

Interval = Literal[10, 20, 40]
"""The time in ms between vectors that are sent."""


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise refusal(f"found {value}, expected a power of two")
    return value


Size = Annotated[Entries, AfterValidator(_power_of_two)]


class CodebookStage(Block):
    """One stage of a quantiser: a codebook and how it is trained."""

    size: Annotated[Size, Setting(help="entries of the codebook, a power of two")] = 4096
    stop: Stop = 1e-4
    seed: Annotated[Seed, Setting(help="of the splits")] = 1


def _coefficient(value: Any) -> Any:
    """A prediction coefficient; the largest is that of `vq.predictor`."""
    if value == "fit" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.95):
        return value
    raise refusal(f"found {quoted(value)}, expected fit, or a number, 0 to 0.95")


Predict = Annotated[
    Any,
    AfterValidator(_coefficient),
    Setting(
        help="what is predicted of a vector: this, 0 to 0.95, times the one before as quantised; fit: the coefficient "
        "of least squares on the training vectors"
    ),
]


class VectorQuantiser(Block):
    """What quantisers of all kinds have in common.

    A quantiser is of the latents of a network, or of b itself, less its mean, which is passed on.
    """

    renamed: ClassVar[dict[str, str]] = {"stretch": "reset_every"}

    kind: str
    network: Annotated[str | None, Setting(help="name of the network whose latents are quantised")] = None
    corpus: Annotated[str | None, Setting(help="name of the corpus that a quantiser of b itself is trained on")] = None
    interval_ms: Annotated[
        Interval | None,
        Setting(help="a vector is sent every so many ms, and the decoder interpolates; by default every vector is"),
    ] = None
    thresh: Annotated[Thresh | None, Setting(help="dB: frames with no more energy of b are not trained on")] = None
    stages: Annotated[list[CodebookStage], Field(min_length=1), Setting(help="its stages; see Stages of a quantiser")]

    @model_validator(mode="after")
    def _one_origin(self) -> VectorQuantiser:
        if (self.network is None) == (self.corpus is None):
            raise refusal("expected exactly one of network, for its latents, and corpus, for b itself")
        return self


class Lbg(VectorQuantiser):
    """Each stage is trained on the residual of the stage before (LBG)."""

    kind: Annotated[Literal["lbg"], Setting(help="how its stages are trained; lbg when it is left out")] = "lbg"


class Beam(VectorQuantiser):
    """The first stage is that of lbg, each other is trained on the residuals of all survivors of those before."""

    kind: Annotated[Literal["beam"], Setting(help="how its stages are trained")]
    mbest: Annotated[Survivors, Setting(help="survivors of the search in training")]


class Predictive(VectorQuantiser):
    """What prediction from the vector before leaves is quantised; the search keeps its survivors over time as well."""

    kind: Annotated[Literal["predictive"], Setting(help="how its stages are trained")]
    mbest: Annotated[Survivors, Setting(help="survivors of the search in training")]
    predict: Predict
    reset_every: Annotated[
        Stretch | None, Setting(help="the prediction begins anew after so many vectors that are sent; by default never")
    ] = None


if TYPE_CHECKING:
    Quantiser = Lbg | Beam | Predictive
else:
    Quantiser = by_kind(Lbg, Beam, Predictive, default="lbg")
