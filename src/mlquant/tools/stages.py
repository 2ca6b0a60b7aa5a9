"""The commands about existing results: what changed, what would run and why, and what can be removed."""

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
        list[Path], File(help="folder of an experiment, a network or a codebook, with provenance.json", metavar="DIR")
    ],
) -> None:
    """Check that no file of a result has changed.

    The files that it was made from are checked as well.
    """
    from mlquant.tools import verify

    if not verify.verify(folder):
        sys.exit(1)


@stage(example="results/240118_wav")
def why(
    target: Annotated[str, Aside(help="a target, as for snakemake")],
    *,
    configfile: ConfigFiles = [],  # noqa: B006
    config: Annotated[list[str], Aside(help="settings over these, as for snakemake", metavar="KEY=VALUE")] = [],  # noqa: B006
    all: Annotated[bool, Aside(help="also list each job, with its cause and time")] = False,
) -> None:
    """Tell what would run for a target, why, and for how long.

    It begins with the number of jobs and their time. Then it says what differs from the results that are there, and
    what follows from that.
    """
    from mlquant.tools import why

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    why.explain(target, [str(path) for path in configfile], config, cores, all)


@stage(example="--delete")
def prune(
    *,
    delete: Annotated[bool, Aside(help="remove them, with their logs and benchmarks")] = False,
    configfile: ConfigFiles = [],  # noqa: B006
) -> None:
    """List, or remove, results that nothing makes any more.

    These are folders results/KIND/NAME.KEY that the configuration no longer makes. A result is kept if config.yaml, the
    files given with --configfile and the present code make it. It is also kept if a provenance.json in results/*_wav,
    or in a variant that results/compare/ shows, names it: to remove such a result, remove that folder first. Folders
    that people name are never removed.
    """
    from mlquant.tools import prune

    prune.prune([str(path) for path in configfile], delete)
