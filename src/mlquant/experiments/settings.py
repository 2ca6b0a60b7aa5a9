"""The settings of an experiment: its samples and its outputs."""

from __future__ import annotations

from typing import Annotated

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
