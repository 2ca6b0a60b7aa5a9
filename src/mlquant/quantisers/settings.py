"""The settings of vector quantisers: a block for each kind, each with its own settings only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mlquant.core.blocks import Block, by_kind, number, quoted, refusal
from mlquant.core.stage import Setting
from mlquant.networks.types import Seed
from mlquant.quantisers.types import BESIDE, STABLE, STOP, Entries, ResetEvery, Stop, Survivors
from mlquant.vocoder.types import Thresh

Interval = Annotated[Literal[10, 20, 40], BeforeValidator(number)]
"""The time in ms between vectors that are sent."""


Frames = Annotated[Literal[2, 4, 8], BeforeValidator(number)]
"""The frames of a superframe."""


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise refusal(f"found {value}, expected a power of two")
    return value


Size = Annotated[Entries, AfterValidator(_power_of_two)]


class CodebookStage(Block):
    """One stage of a quantiser: a codebook and how it is trained."""

    size: Annotated[Size, Setting(help="entries of the codebook, a power of two")] = 4096
    stop: Stop = STOP
    seed: Annotated[Seed, Setting(help="seed of the splits")] = 1


def _coefficient(value: Any) -> Any:
    """Return a prediction coefficient; refuse one outside the range of `vq.predictor`."""
    value = number(value)
    if value == "fit" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 0.95):
        return value
    raise refusal(f"found {quoted(value)}, expected fit, or a number, 0 to 0.95")


Predict = Annotated[
    Any,
    AfterValidator(_coefficient),
    Setting(
        help="prediction coefficient, 0 to 0.95: a vector is predicted as this times the quantised vector before it; "
        "fit: the coefficient of least squares on the training vectors"
    ),
]


class VectorQuantiser(Block):
    """What quantisers of all kinds have in common.

    A quantiser codes the latents of a network, or b itself without its gain, which is passed on.
    """

    renamed: ClassVar[dict[str, str]] = {"stretch": "reset_every"}

    commands: ClassVar[tuple[str, str]] = ("vq_train", "vq_train")
    """The functions of `stages` that train the first stage, and each of the others."""

    kind: str
    network: Annotated[str | None, Setting(help="name of the network whose latents are quantised")] = None
    corpus: Annotated[str | None, Setting(help="name of the corpus that a quantiser of b itself is trained on")] = None
    interval_ms: Annotated[
        Interval | None,
        Setting(help="ms between the vectors that are sent; the decoder interpolates. By default every vector is sent"),
    ] = None
    thresh: Annotated[
        Thresh | None, Setting(help="frames whose b has no more energy than this, in dB, are not trained on")
    ] = None
    stages: Annotated[list[CodebookStage], Field(min_length=1), Setting(help="its stages; see Stages of a quantiser")]

    @model_validator(mode="after")
    def _one_origin(self) -> VectorQuantiser:
        if (self.network is None) == (self.corpus is None):
            found = "has neither network nor corpus" if self.network is None else "has network and corpus"
            raise refusal(f"{found}, expected exactly one: network, for its latents, or corpus, for b itself")
        return self


class Lbg(VectorQuantiser):
    """Each stage is trained on the residual of the stage before (LBG)."""

    kind: Annotated[Literal["lbg"], Setting(help="how its stages are trained; lbg when it is left out")] = "lbg"


class Beam(VectorQuantiser):
    """The first stage is trained as in lbg, each other on the residuals of all survivors of the stages before."""

    commands: ClassVar[tuple[str, str]] = ("vq_train", "vq_train_beam")

    kind: Annotated[Literal["beam"], Setting(help="how its stages are trained")]
    mbest: Annotated[Survivors, Setting(help="survivors of the search in training")]


class Predictive(VectorQuantiser):
    """The residual of prediction from the vector before is quantised; the search keeps survivors over time as well."""

    commands: ClassVar[tuple[str, str]] = ("vq_train", "vq_train_beam")

    kind: Annotated[Literal["predictive"], Setting(help="how its stages are trained")]
    mbest: Annotated[Survivors, Setting(help="survivors of the search in training")]
    predict: Predict
    reset_every: Annotated[
        ResetEvery | None,
        Setting(help="number of sent vectors after which the prediction begins anew; by default never"),
    ] = None


EightBit = Annotated[
    bool, Setting(help="tables have 8 bits a number, and scales: a decoder for a small machine is a quarter as large")
]


class OfSuperframes(Block):
    """What a quantiser of superframes quantises, and how."""

    of: Annotated[
        Literal["shape", "energy"],
        Setting(help="what is quantised: the shape of b, that is b without its mean, or the energy of y in dB"),
    ]
    frames: Annotated[Frames, Setting(help="frames of 10 ms in a superframe")] = 4
    predict: Annotated[bool, Setting(help="false: no superframe depends on another")] = True
    largest: Annotated[
        float,
        Setting(
            help="largest eigenvalue of the matrix that predicts: the smaller, the sooner an error fades",
            gt=0,
            le=STABLE,
        ),
    ] = STABLE
    hidden: Annotated[
        list[Annotated[int, Setting(gt=0, le=4096)]],
        Setting(help="widths of the hidden layers of the network by which energy, pitch and voicing predict shapes"),
    ] = [*BESIDE]


class Superframe(OfSuperframes, VectorQuantiser):
    """Superframes of several frames are quantised, for a codec: a matrix predicts each from the one before.

    It is trained on the corpus of the codec that names it, at the pitch which that codec sends.
    """

    commands: ClassVar[tuple[str, str]] = ("vq_superframe", "vq_superframe")

    kind: Annotated[Literal["superframe"], Setting(help="how its stages are trained")]

    @model_validator(mode="after")
    def _one_origin(self) -> Superframe:
        for name in ("network", "corpus", "interval_ms", "thresh"):
            if getattr(self, name) is not None:
                raise refusal("goes with other kinds only, found kind superframe, which a codec trains", name)
        return self


class SuperframeSettings(OfSuperframes):
    """What `mlquant vq-superframe` takes; the workflow writes it from a quantiser of kind superframe."""

    stages: Annotated[list[CodebookStage], Field(min_length=1), Setting(help="its stages: size, stop and seed of each")]
    held_out: Annotated[float, Setting(help="share of each file, at its end, that is not trained on", ge=0, lt=1)] = 0.0
    eight_bit: EightBit = False


KINDS = {get_args(block.model_fields["kind"].annotation)[0]: block for block in VectorQuantiser.__subclasses__()}
"""The blocks of all kinds, by kind."""

if TYPE_CHECKING:
    Quantiser = Lbg | Beam | Predictive | Superframe
else:
    Quantiser = by_kind(*KINDS.values(), default="lbg")
