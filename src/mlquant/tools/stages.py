"""The commands about results that are there: what changed, what would run and why, what can go."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from mlquant.core.stage import Aside, File, stage

ConfigFiles = Annotated[list[Path], Aside(help="configuration over config.yaml, as for snakemake", metavar="FILE")]


@stage(example="results/240118_wav")
def verify(
    folder: Annotated[
        list[Path], File(help="one with a provenance.json: of an experiment, a network or a codebook", metavar="DIR")
    ],
) -> None:
    """Check that what made a result, and the result itself, are still what they were."""
    from mlquant.tools import verify

    if not verify.verify(folder):
        sys.exit(1)


@stage(example="results/240118_wav")
def why(
    target: Annotated[str, Aside(help="what snakemake would be asked for")],
    *,
    configfile: ConfigFiles = [],  # noqa: B006
    config: Annotated[list[str], Aside(help="settings over these, as for snakemake", metavar="KEY=VALUE")] = [],  # noqa: B006
) -> None:
    """Tell what would run for a target, what made it so, and how long it takes."""
    from mlquant.tools import why

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    why.explain(target, [str(path) for path in configfile], config, cores)


@stage(example="--delete")
def prune(
    *,
    delete: Annotated[bool, Aside(help="remove them, with their logs and benchmarks")] = False,
    configfile: ConfigFiles = [],  # noqa: B006
) -> None:
    """List, or remove, the stages that the configuration no longer makes.

    These are folders results/KIND/NAME.KEY. Kept is whatever config.yaml, the files given with --configfile and the
    present code make, and what a provenance.json in results/*_wav, or in a variant that results/compare/ shows, still
    names: remove these folders first if they are to go. Folders that people name are never removed.
    """
    from mlquant.tools import prune

    prune.prune([str(path) for path in configfile], delete)
