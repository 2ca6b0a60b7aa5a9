# The plan that config.yaml stands for, and the functions by which rules look things up in it.

import json
import os
import re
from functools import cache

from mlquant.anchor import MODES
from mlquant.config import load
from mlquant.files import InputError
from mlquant.plan import Plan

if re.search("[{}]", str(workflow.basedir)):
    raise WorkflowError(
        f"{workflow.basedir}: has braces in its name, which Snakemake takes for a wildcard"
    )
try:
    PLAN = Plan(load(config))
except InputError as error:
    raise WorkflowError(str(error))


TABLES = ("provenance.json", "measures.csv", "means.csv", "anchors.csv")
TABLES += ("frames.csv", "README.md", "config.yaml")
LEFT_OUT = set()  # optional samples that a warning has named
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


def required(experiment):
    """The samples of an experiment, without the optional ones."""
    plan = PLAN.experiments[experiment]
    return [name for name in plan.measured if name not in plan.optional]


def optional(experiment):
    """Those optional samples of an experiment that could be obtained."""
    return obtained(PLAN.experiments[experiment].optional)


def obtained(sources):
    """Those of optional samples, with the stages that fetch them, that could be obtained."""
    available = []
    for name, source in sources.items():
        fetched = checkpoints.fetch_optional_source.get(
            stage=source.folder.rsplit("/", 1)[1]
        )
        with open(fetched.output.manifest) as manifest:
            if json.load(manifest)["available"]:
                available.append(name)
            elif name not in LEFT_OUT:
                LEFT_OUT.add(name)
                logger.warning(
                    f"The optional sample {name} could not be obtained and is left out. To try again, remove "
                    f"{source.folder}, or put the sample into {PLAN.config.speech_dir}/."
                )
    return available


def experiment_of(wildcards):
    """The experiment whose tables a job makes."""
    return stage(wildcards, "experiments").name


def folder_compared(name):
    """The tables of an experiment, or of an older variant of one, as in 240118.3f9a1c2e."""
    if name in PLAN.experiments:
        return PLAN.experiments[name].tables.folder
    return f"results/experiments/{name}"


def files_compared(name):
    """What such tables and their page are made from; an older variant is there, or can no longer be made."""
    folder = folder_compared(name)
    if folder not in PLAN.stages:
        if not os.path.exists(f"{folder}/provenance.json"):
            raise WorkflowError(
                f"{name}: neither an experiment of the configuration nor a folder in results/experiments, "
                f"expected one of {', '.join(PLAN.experiments)}"
            )
        return []
    experiment = PLAN.stages[folder].name
    return [
        *(f"{folder}/{name}" for name in TABLES),
        *shown(experiment, required(experiment) + optional(experiment)),
        *PLAN.experiments[experiment].shown,
    ]


def measured(experiment, samples):
    """The measures of some of an experiment's samples."""
    plan = PLAN.experiments[experiment]
    return [
        stage.file("measured.json") for name in samples for stage in plan.measured[name]
    ]


def origins(experiment):
    """What the speech of an experiment's samples and networks came from; a user's own files are never in a storage."""
    samples = required(experiment) + optional(experiment)
    return [here(path) for path in PLAN.origins(experiment, samples)]


def here(path):
    """A file that no stage makes lies where its name says, whatever storage results are kept in."""
    return path if path.rpartition("/")[0] in PLAN.stages else local(path)


def shown(experiment, samples):
    """What an experiment's page shows of some of its samples: wavs, features and latents."""
    plan = PLAN.experiments[experiment]
    stages = [stage for name in samples for stage in plan.measured[name]]
    files = [here(path) for stage in stages for path in stage.inputs["files"]]
    return files + [plan.latents[name] for name in samples if name in plan.latents]


@cache
def with_results():
    """The folders of experiments, studies and sweeps that are there when Snakemake starts."""
    found = [folder for folder in PLAN.folders() if os.path.isdir(folder)]
    if not found:
        raise WorkflowError(
            "There is nothing to report yet. Make a result first, as with: snakemake results/240118_wav"
        )
    return found
