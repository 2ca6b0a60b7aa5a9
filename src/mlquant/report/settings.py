"""What `mlquant report` takes: the folders that it shows, and how each would be made now.

The workflow writes it. These blocks are for the help; a test compares them with what the workflow gives.
"""

from __future__ import annotations

from typing import Annotated

from mlquant.core.blocks import Block
from mlquant.core.stage import Setting


class Folder(Block):
    """A folder of an experiment, a study or a sweep."""

    folder: Annotated[str, Setting(help="its path, as results/240118_wav")]
    key: Annotated[str | None, Setting(help="the key that it would have if it were made now; none: nothing makes it")]
    newer: Annotated[str | None, Setting(help="a file of your own that has changed since it was made")]
    time: Annotated[str | None, Setting(help="when it was made, in UTC")]


class Report(Block):
    """What is shown."""

    folders: Annotated[list[Folder], Setting(help="the folders, in any order")]
    code: Annotated[str, Setting(help="digest of the code, by which Snakemake knows when to write it anew")] = ""
