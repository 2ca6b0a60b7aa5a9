"""What `mlquant measure` takes: the files of one sample, and of each output; and `mlquant measure-set`: its coding.

The workflow writes both. The blocks of `measure` are for the help; a test compares them with what the workflow gives.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlquant.chains.steps import Step
from mlquant.core.blocks import Block
from mlquant.core.stage import Setting
from mlquant.core.types import Seed, SlowMeasures

Path = str
SNR = Annotated[float, Setting(help="power of the active speech to that of the noise, in dB", ge=-50, le=100)]


class Row(Block):
    """An output of the sample."""

    index: Annotated[int | None, Setting(help="index of the output; none for an anchor")]
    tag: Annotated[str, Setting(help="tag of the output, the end of the name of its files")]
    bits_per_frame: Annotated[int | None, Setting(help="bits of a vector that is sent; none where none are")]
    frame_ms: Annotated[int | None, Setting(help="time in ms between vectors that are sent; none where none are")]
    delay: Annotated[int, Setting(help="samples by which it comes later than other outputs")]
    files: Annotated[
        dict[str, Path],
        Setting(
            help="its files by name: wav; of a vocoder's output also y, y_hat, b, b_hat, l, l_hat as far as it has "
            "them; published, a published wav of the same name"
        ),
    ]
    interval_ms: Annotated[
        int | None, Setting(help="time in ms between vectors that are sent, if the quantiser leaves some out")
    ] = None


class Record(Block):
    """One sample with its outputs."""

    sample: Annotated[str, Setting(help="name of the sample")]
    sex: Annotated[Literal["m", "f"] | None, Setting(help="sex of the speaker")]
    references: Annotated[
        dict[str, Path],
        Setting(
            help="files that outputs are compared with, by name: source, the speech itself; original and ideal_y, the "
            "vocoder without networks; features, b; model; y"
        ),
    ]
    rows: Annotated[list[Row], Setting(help="its outputs")]
    stages: Annotated[dict[str, Any], Setting(help="the results behind these files, by folder, for provenance.json")]
    latents: Annotated[Path | None, Setting(help="latents that the experiment's page starts from")] = None
    entry: Annotated[dict[str, Any] | None, Setting(help="the sample's entry of the configuration")] = None


class Coding(Block):
    """What is done to the utterances of a test set: the process of an output, with its steps or its mode."""

    process: Annotated[
        Literal["original", "vocoder", "codec2", "codec", "noise"],
        Setting(
            help="original: amplitudes and phases as analysed; codec2: Codec 2 itself; codec: encoder and decoder of a "
            "codec; vocoder: the steps; noise: the source itself, with white noise"
        ),
    ]
    steps: Annotated[
        list[Annotated[Step, Field(discriminator="step")]],
        Setting(help="of vocoder: the steps of its chain, as `mlquant rate` takes them"),
    ] = []
    mode: Annotated[str | None, Setting(help="of codec2: its mode, in bit/s")] = None
    codec: Annotated[str | None, Setting(help="of codec: codec.json in its folder")] = None
    exact: Annotated[
        list[Literal["pitch", "voicing", "energy", "shape"]], Setting(help="of codec: what is not quantised")
    ] = []
    rounded: Annotated[bool, Setting(help="of codec: its tables are first rounded to 8 bits a number")] = False
    ber: Annotated[float, Setting(help="of codec and codec2: share of bits that are wrong", ge=0, le=1)] = 0.0
    lost: Annotated[float, Setting(help="of codec and codec2: share of frames that are lost", ge=0, le=1)] = 0.0
    seed: Annotated[Seed, Setting(help="seed of wrong bits and lost frames")] = 1
    snr_dB: Annotated[SNR | None, Setting(help="of noise: power of active speech to that of noise, in dB")] = None
    delay: Annotated[int, Setting(help="samples by which it comes later than other outputs")] = 0
    measures: SlowMeasures = []
