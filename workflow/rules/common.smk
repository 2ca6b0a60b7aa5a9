# The plan that config.yaml stands for, and the functions by which rules look things up in it.

import json

from mlquant.config import load
from mlquant.files import InputError
from mlquant.plan import Plan

try:
    PLAN = Plan(load(config))
except InputError as error:
    raise WorkflowError(str(error))


LEFT_OUT = set()  # optional samples that a warning has named


def stage(wildcards, kind):
    """The stage that a job makes, by its folder."""
    try:
        return PLAN[f"results/{kind}/{wildcards.stage}"]
    except InputError as error:
        raise WorkflowError(str(error))


def files_of(kind, name):
    """Input function: the files that a stage takes under a name; none when it takes none."""
    return lambda wildcards: stage(wildcards, kind).inputs.get(name, [])


def setting(kind, name):
    """Params function: one setting of a stage."""
    return lambda wildcards: stage(wildcards, kind).settings[name]


def settings(kind):
    """Params function: all settings of a stage as one sorted JSON text."""
    return lambda wildcards: stage(wildcards, kind).params


def required(wildcards):
    """The stages that measure an experiment's samples, without the optional ones."""
    plan = PLAN.experiments[wildcards.experiment]
    return [plan.measured[name] for name in plan.measured if name not in plan.optional]


def optional(wildcards):
    """The same for those optional samples that could be obtained."""
    plan = PLAN.experiments[wildcards.experiment]
    available = []
    for name, source in plan.optional.items():
        fetched = checkpoints.fetch_optional_source.get(
            stage=source.folder.rsplit("/", 1)[1]
        )
        with open(fetched.output.manifest) as manifest:
            if json.load(manifest)["available"]:
                available.append(plan.measured[name])
            elif name not in LEFT_OUT:
                LEFT_OUT.add(name)
                logger.warning(
                    f"The optional sample {name} could not be obtained and is left out. To try again, remove "
                    f"{source.folder}, or put the sample into {PLAN.config.speech_dir}/."
                )
    return available


def measures_and_wavs(stages):
    """The files of samples that a gathering takes."""
    wavs = [row["files"]["wav"] for stage in stages for row in stage.settings["rows"]]
    return [stage.file("measured.json") for stage in stages] + wavs
