"""What the commands of studies and sweeps take, beside the entries of the configuration that their own files describe.

The workflow writes it. These blocks are for the help; a test compares them with what the workflow gives.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args

from mlquant.core.blocks import Block
from mlquant.core.stage import Setting

Path = str
Name = Annotated[str, Setting(help="name of the entry")]
Record = Annotated[dict[str, Any], Setting(help="what settings.json keeps: how it was made, for the report")]
Code = Annotated[str, Setting(help="digest of the code, by which Snakemake knows when to make it again")]


class Variant(Block):
    """A network of a sweep."""

    variant: Annotated[str, Setting(help="name of its row, with its seed if there are several")]
    label: Annotated[str, Setting(help="what its row changes, for tables and figures")]
    folder: Annotated[Path, Setting(help="folder that `mlquant train` has written")]
    settings: Annotated[dict[str, Any], Setting(help="all settings of the network; see `mlquant train --help`")]


class Sweep(Block):
    """Networks that differ in a few settings, and that are trained already."""

    name: Name
    title: Annotated[str, Setting(help="title of the figure")]
    variants: Annotated[list[Variant], Setting(help="the networks")]
    record: Record = {}
    code: Code = ""


class StudyFiles(Block):
    """What a study takes besides the settings of its kind; each kind takes some of these."""

    name: Name
    weights: Annotated[Path | None, Setting(help="weights of the network that is studied")] = None
    losses: Annotated[Path | None, Setting(help="losses.csv of its training")] = None
    features: Annotated[list[Path], Setting(help="features b that it was trained on, or those of the sample")] = []
    targets: Annotated[list[Path], Setting(help="their y, for a network that makes y_hat")] = []
    held_out_features: Annotated[list[Path], Setting(help="features b of voices that were held out")] = []
    held_out_targets: Annotated[list[Path], Setting(help="their y, for a network that makes y_hat")] = []
    codebooks: Annotated[list[Path], Setting(help="codebooks of all stages of the quantiser")] = []
    traces: Annotated[list[Path], Setting(help="trace.csv of the training of each codebook")] = []
    frame_ms: Annotated[int | None, Setting(help="time of a vector in ms")] = None
    thresh: Annotated[float | None, Setting(help="frames of no more energy, in dB, are left out")] = None
    b: Annotated[Path | None, Setting(help="of analog: features b of the sample")] = None
    y: Annotated[Path | None, Setting(help="of analog: features y of the sample")] = None
    model: Annotated[Path | None, Setting(help="of analog: model of the sample")] = None
    quantiser: Annotated[
        dict[str, Any], Setting(help="of analog, in place of the name: weights, codebooks and mbest")
    ] = {}
    manifold: Annotated[Path | None, Setting(help="of analog, in place of the name: weights of that network")] = None
    networks: Annotated[
        list[dict[str, Any]], Setting(help="of analog: the networks, each with d, snr_dB and weights")
    ] = []
    rows: Annotated[
        list[dict[str, Any]],
        Setting(
            help="of bits, in place of its settings: what is compared, each with source, kind, sizes, interval_ms, and "
            "the file of `mlquant rate`"
        ),
    ] = []
    anchors: Annotated[list[Path], Setting(help="of bits: measures of Codec 2 for each sample")] = []
    conditions: Annotated[
        list[dict[str, Any]],
        Setting(
            help="of measures and codec, in place of their settings: what is compared, each with condition and the "
            "files of `mlquant measure-set`; of measures with family and what it is a variant of, of codec with codec, "
            "bit_per_s, the part that is not quantised, and its part_bit_per_s"
        ),
    ] = []
    utterances: Annotated[list[Path], Setting(help="of measures and codec: tables of utterances of the test set")] = []
    manifests: Annotated[
        list[Path], Setting(help="of measures and codec: those of the corpora behind it, which may hold none of them")
    ] = []
    record: Record = {}
    code: Code = ""


def study() -> dict[str, type[Block]]:
    """Return the block of each kind of study, and that of what the workflow adds, by title."""
    from mlquant import studies

    of_kinds = {f"kind: {kind}": module.Settings for kind, module in studies.kinds().items()}
    return {**of_kinds, "of all kinds": StudyFiles}


def rate() -> dict[str, type[Block]]:
    """Return the block of the settings of `mlquant rate`, and that of each step of a chain, by title."""
    from mlquant.chains.steps import Step
    from mlquant.studies.rates import RateSettings

    steps = {get_args(block.model_fields["step"].annotation)[0]: block for block in get_args(Step)}
    return {"": RateSettings, **{f"step: {name}": block for name, block in steps.items()}}
