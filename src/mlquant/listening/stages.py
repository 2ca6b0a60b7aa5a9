"""The commands of listening tests: the page for raters, and what their answers say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Json, Root, Setting, stage


@stage(example="listening.json results/experiments/240118.3f9a1c2e -o listening/240118")
def listening(
    settings: Annotated[Json, Setting(help="JSON text or file", block="mlquant.listening.settings:Page")],
    tables: Annotated[Path, File(help="a folder written by tabulate", metavar="DIR")],
    *,
    out: Annotated[Path, File(help="index.html, README.md and stimuli.csv", flag="--out", metavar="DIR")],
    root: Root = None,
) -> None:
    """Make the page of a listening test.

    It is one file with all sounds, blind, for any number of raters, and needs no network.
    """
    from mlquant.core import disk
    from mlquant.listening import page

    tables, out = tables.absolute(), out.absolute()
    with disk.working_in(root):
        page.write(settings, tables, out)


@stage(example="answers/*.csv -o results/ratings/240118")
def ratings(
    answers: Annotated[list[Path], File(help="files that the page of one listening test has saved", metavar="CSV")],
    *,
    out: Annotated[Path, File(help="tables, a figure and README.md", flag="--out", metavar="DIR")],
) -> None:
    """Tell what the raters of a listening test say.

    Their answers are checked. Means, differences, and what is beyond chance are printed and written.
    """
    from mlquant.listening import ratings

    print(ratings.summarise(answers, out))
