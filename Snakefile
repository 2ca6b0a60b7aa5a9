# The graph, from speech to a folder of samples: what is made is in config.yaml and workflow/config, how is in
# workflow/rules.

import os
import sys

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import min_version

min_version("9.0")


# For envs/mlquant.post-deploy.sh, as the working directory (--directory) need not be the checkout.
os.environ |= {"MLQUANT_CHECKOUT": str(workflow.basedir)}
# Jobs take `mlquant` from the environment that Snakemake itself runs in, activated or not, as its code made the keys.
# With --sdm conda they have an environment of their own, which conda puts first only on a PATH as it left it.
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    os.environ |= {"PATH": os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()])}


include: "workflow/rules/common.smk"
include: "workflow/rules/samples.smk"


wildcard_constraints:
    node=r"[A-Za-z0-9_-]+\.[0-9a-f]{8}",
    experiment="|".join(PLAN.experiments),
    sweep="|".join(PLAN.sweeps),
    study="|".join(PLAN.studies),
    codec="|".join(PLAN.config.codecs) or "none",
    test="|".join(PLAN.tests),
    a=r"[A-Za-z0-9_-]+(\.[0-9a-f]{8})?",
    b=r"[A-Za-z0-9_-]+(\.[0-9a-f]{8})?",


report: "workflow/report/workflow.rst"


rule all_experiments:
    input:
        [f"results/{name}_wav" for name, settings in PLAN.config.experiments.items() if settings.in_all],


rule all_sweeps:
    input:
        expand("results/sweeps/{sweep}", sweep=PLAN.sweeps),


rule all_studies:
    input:
        [f"results/studies/{name}" for name, study in PLAN.config.studies.items() if getattr(study, "in_all", True)],


include: "workflow/rules/speech.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/quantisers.smk"
include: "workflow/rules/codecs.smk"
include: "workflow/rules/synthesis.smk"
include: "workflow/rules/listening.smk"
include: "workflow/rules/experiments.smk"
include: "workflow/rules/studies.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/runs.smk"
