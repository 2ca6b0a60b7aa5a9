"""The commands of listening tests: the page for raters, and what their answers say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mlquant.core.stage import File, Json, Root, Setting, stage


@stage(example="listening.json results/experiments/240118.3f9a1c2e -o listening/240118")
def listening(
    settings: Annotated[
        Json,
        Setting(help="JSON text or file: name, kind, title, samples, outputs, trials, seed, anchors by sample, ..."),
    ],
    tables: Annotated[Path, File(help="a folder written by tabulate", metavar="DIR")],
    *,
    out: Annotated[Path, File(help="index.html, README.md and stimuli.csv", flag="--out", metavar="DIR")],
    root: Root = None,
) -> None:
    """Make the page of a listening test: one file with all its sounds, blind, for raters without a network."""
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
    """Check the answers of raters to a listening test, and tell what they say: means, differences, what is chance."""
    from mlquant.listening import ratings

    print(ratings.summarise(answers, out))
