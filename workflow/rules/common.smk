# The plan that the configuration stands for, and the functions by which rules look things up in it.

import os
import re
from pathlib import Path

from mlquant.core.errors import InputError
from mlquant.plan.config import files, load, read
from mlquant.plan.graph import Plan
from mlquant.vocoder.codec2 import MODES

if re.search("[{}]", str(workflow.basedir)):
    raise WorkflowError(
        f"{workflow.basedir}: has braces in its name, which Snakemake takes for a wildcard"
    )
# The files of the configuration are read here, not by `configfile:`, so that 240118 and "240118" are one experiment
# whichever file or --config it stands in. Snakemake is told of them for --report.
CHECKOUT = Path(str(workflow.basedir))
workflow.configfiles += files(CHECKOUT)
try:
    PLAN = Plan(
        load(
            read(
                CHECKOUT, workflow.overwrite_configfiles, workflow.config_settings.config
            )
        )
    )
except InputError as error:
    raise WorkflowError(str(error))


STAGE_FILE = re.compile(r"(.+/)?results/\w+/[\w-]+\.[0-9a-f]{8}/[^/]+")


def stage(wildcards, kind):
    """The stage that a job makes, by its folder."""
    try:
        return PLAN[f"results/{kind}/{wildcards.stage}"]
    except InputError as error:
        raise WorkflowError(str(error))


def files_of(kind, name):
    """Input function: the files that a stage takes under a name; none when it takes none."""
    return lambda wildcards: [
        here(path) for path in stage(wildcards, kind).inputs.get(name, [])
    ]


def setting(kind, name):
    """Params function: one setting of a stage."""
    return lambda wildcards: stage(wildcards, kind).settings[name]


def settings(kind):
    """Params function: all settings of a stage as one sorted JSON text."""
    return lambda wildcards: stage(wildcards, kind).params


def options(kind):
    """Params function: all settings of a stage as options of its command; those that are null are left out."""
    return lambda wildcards: [
        f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in stage(wildcards, kind).settings.items()
        if value is not None
    ]


def predicted(kind):
    """Params function: the options of prediction over time, by a coefficient that is given, or that of a file."""

    def words(wildcards, input):
        settings = stage(wildcards, kind).settings
        coefficient = input.predictor or [settings.get("predict")]
        given = {"predict": coefficient[0], "stretch": settings.get("stretch")}
        return [
            f"--{name}={value}" for name, value in given.items() if value is not None
        ]

    return words


def root(wildcards, input):
    """Params function: the folder that results/ is in when files come from a storage, as an option; nothing when here.

    Paths within records are those of the plan.
    """
    found = [match for match in map(STAGE_FILE.fullmatch, map(str, input)) if match]
    folders = {match[1] for match in found}
    return ["--root", min(folders)[:-1]] if folders and None not in folders else []


def folder_of(wildcards, output):
    """Params function: the folder that a job writes into."""
    return os.path.dirname(output[0])


def here(path):
    """A file that no stage makes lies where its name says, whatever storage results are kept in."""
    return path if path.rpartition("/")[0] in PLAN.stages else local(path)
