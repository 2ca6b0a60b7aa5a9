"""The settings of a listening test: which outputs of an experiment are heard, and how they are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from mlquant.chains.settings import Mode
from mlquant.core.blocks import Block, Line, Name, by_kind, refusal
from mlquant.core.stage import Setting
from mlquant.core.types import Seed
from mlquant.experiments.settings import Index
from mlquant.vocoder.types import MODES

STIMULI = 12
"""Most sounds of one trial, the hidden reference and the low anchor among them, as ITU-R BS.1534-3 advises."""

Count = Annotated[int, Setting(gt=0, le=1000)]
Title = Annotated[Line, Setting(help="title of the page, which raters read: it should not tell what is compared")]
TITLE = "Listening test"
Trials = Annotated[
    Count | None, Setting(help="trials that one rater gets, chosen by chance among all; all of them if left out")
]
Chance = Annotated[
    Seed,
    Setting(help="with the name of a rater it decides the order of trials and of sounds; alone it chooses samples"),
]
Anchor = Annotated[
    Mode | None,
    Setting(
        help=f"the low anchor, a mode of Codec 2: one of {', '.join(MODES)}; null for none. The anchors of BS.1534, "
        "low-pass at 3.5 and 7 kHz, would leave speech at 8 kHz nearly as it is"
    ),
]
ANCHOR = "700C"
Outputs = Annotated[list[Index], Setting(help="indices of the outputs that are heard; all if left out")]
Pairs = Annotated[
    list[Annotated[list[Index], Field(min_length=2, max_length=2)]],
    Setting(
        help="pairs of indices that are compared, as [[6, 8], [7, 8]]; if left out, each of `outputs` with each other"
    ),
]


class _Test(Block):
    title: Title = TITLE
    experiment: Annotated[Name, Setting(help="the experiment whose outputs are heard")]
    samples: Annotated[list[Name], Setting(help="names of its samples that are heard; all if left out")] = []
    at_most: Annotated[
        Count | None, Setting(help="most samples that are heard, which `seed` chooses; all of them if left out")
    ] = None
    trials: Trials = None
    seed: Chance = 1


class Mushra(_Test):
    """Each trial has all outputs of one sample, beside its source as open reference.

    The hidden reference and a low anchor are among them. Each gets a score from 0 (bad) to 100 (excellent), as in
    ITU-R BS.1534 (MUSHRA).
    """

    kind: Annotated[Literal["mushra"], Setting(help="a score for each of several outputs at once")]
    outputs: Outputs = []
    anchor: Anchor = ANCHOR


class Preference(_Test):
    """Each trial has two outputs of one sample, beside its source, and asks which of the two is better."""

    kind: Annotated[Literal["preference"], Setting(help="which of two outputs is better")]
    outputs: Outputs = []
    pairs: Pairs = []

    @model_validator(mode="after")
    def _outputs_or_pairs(self) -> Preference:
        if self.outputs and self.pairs:
            raise refusal("has outputs and pairs, expected one of them")
        return self


KINDS = {"mushra": Mushra, "preference": Preference}

if TYPE_CHECKING:
    Listening = Mushra | Preference
else:
    Listening = by_kind(*KINDS.values())


class Page(Block):
    """What `mlquant listening` takes: an entry of `listening` in the configuration, and where its anchors are."""

    name: Annotated[Name, Setting(help="name of the listening test")]
    kind: Annotated[Literal["mushra", "preference"], Setting(help="a score for each output, or which of two is better")]
    title: Title = TITLE
    samples: Annotated[list[Name], Field(min_length=1), Setting(help="names of the samples that are heard")]
    outputs: Outputs = []
    trials: Trials = None
    seed: Chance = 1
    pairs: Pairs = []
    anchor: Annotated[Mode | None, Setting(help="the low anchor, a mode of Codec 2; null for none")] = None
    anchors: Annotated[dict[Name, str], Setting(help="paths of speech in the mode of the anchor, by sample")] = {}
    code: Annotated[str, Setting(help="digest of the code, by which Snakemake knows when to make it anew")] = ""
