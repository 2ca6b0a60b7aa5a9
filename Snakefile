# The graph, from speech to a folder of samples: what is made is in config.yaml, how is in workflow/rules.

from snakemake.utils import min_version

min_version("9.0")

from mlquant import config as mlquant_config
from mlquant.files import InputError


configfile: "config.yaml"


try:
    PLAN = mlquant_config.Plan(mlquant_config.load(config))
except InputError as error:
    raise WorkflowError(str(error))


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


wildcard_constraints:
    stage=r"[A-Za-z0-9_-]+\.[0-9a-f]{8}",
    experiment="|".join(PLAN.experiments),


rule all:
    input:
        expand("results/{experiment}_wav", experiment=PLAN.experiments),


include: "workflow/rules/speech.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/quantisers.smk"
include: "workflow/rules/synthesis.smk"
include: "workflow/rules/evaluation.smk"
