"""The settings of an experiment: its samples and its outputs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mlquant.chains.settings import Output
from mlquant.core.blocks import Block, FilePath, Line, Name
from mlquant.core.stage import Setting

Index = Annotated[int, Setting(ge=0, le=9999)]


def _by_index(outputs: dict[int, Output]) -> dict[int, Output]:
    return dict(sorted(outputs.items()))


class Experiment(Block):
    """Samples, and what is made of each. `snakemake results/<name>_wav` makes the files <sample>_<index>_<tag>.wav."""

    title: Annotated[Line, Setting(help="title of its tables and its page")] = ""
    in_all: Annotated[bool, Setting(help="whether `snakemake all_experiments` makes it")] = True
    published: Annotated[
        FilePath | None, Setting(help="folder of published wavs with the same names, which are measured and played too")
    ] = None
    samples: Annotated[list[Name], Field(min_length=1), Setting(help="names of samples, or of files in speech_dir")]
    test_set: Annotated[
        str | None,
        Setting(help="name of a test set that the outputs are measured on as well", neutral=None),
    ] = None
    outputs: Annotated[
        dict[Index, Output],
        Field(min_length=1),
        AfterValidator(_by_index),
        Setting(help="its outputs by index; an output that is null is left out; see Outputs"),
    ]


class Bottleneck(Block):
    """The network with a bottleneck whose decoder runs in the page."""

    network: Annotated[str, Setting(help="its name")]
    weights: Annotated[str, Setting(help="its weights.safetensors")]
    codebooks: Annotated[list[str], Setting(help="codebooks of a quantiser of its latents")]
    choices: Annotated[
        list[dict[str, Any]],
        Setting(
            help="how the outputs use them: index, stages and mbest; with smoothing also the share of neighbours, as "
            "smooth, and the files of what was sent of each sample"
        ),
    ]


class IndexedOutput(Output):
    """An output of the experiment; see `outputs` of an experiment in workflow/config/README.md."""

    index: Annotated[Index, Setting(help="its index")]


class Tables(Block):
    """What `mlquant tabulate` takes: the entry of an experiment, and what its page shows besides tables.

    The workflow writes it. The block is for the help; a test compares it with what the workflow gives.
    """

    name: Annotated[Name, Setting(help="name of the experiment")]
    title: Annotated[Line, Setting(help="title of its tables and its page")]
    published: Annotated[str | None, Setting(help="folder of published wavs with the same names")]
    samples: Annotated[list[Name], Setting(help="names of its samples")]
    outputs: Annotated[list[IndexedOutput], Setting(help="its outputs")]
    speech_dir: Annotated[str, Setting(help="folder of the test samples, which a warning names")]
    networks: Annotated[dict[str, str], Setting(help="folders of its networks, by name")]
    codebooks: Annotated[dict[str, str], Setting(help="folders of its codebooks, by name")]
    bottleneck: Annotated[Bottleneck | None, Setting(help="the network whose decoder runs in the page")]
    definitions: Annotated[dict[str, str], Setting(help="digests of the functions that all was made by, by name")]
    config: Annotated[dict[str, Any], Setting(help="the part of the configuration that makes it, for config.yaml")]
    test_set: Annotated[str | None, Setting(help="name of its test set")] = None
    measured_in_set: Annotated[
        dict[str, Any],
        Setting(
            help="of its test set: tables of utterances and their speech, and for each output the tables of measures "
            "and the coded speech"
        ),
    ] = {}
    lowered: Annotated[
        dict[str, Any], Setting(help="of a quick look: what upper limits such as max_epochs lowered")
    ] = {}
