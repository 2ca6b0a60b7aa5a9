# Functions that say which samples and results jobs take. Optional samples are taken if they could be obtained.

import json
import os
from glob import glob

TABLES = ("provenance.json", "measures.csv", "means.csv", "anchors.csv")
TABLES += ("frames.csv", "columns.csv", "README.md", "config.yaml", "utterances.csv", "set_means.csv", "set_pairs.csv")
LEFT_OUT = set()  # optional samples that a warning has named


def required(experiment):
    """Return the samples of an experiment, without the optional ones."""
    plan = PLAN.experiments[experiment]
    return [name for name in plan.measured if name not in plan.optional]


def optional(experiment):
    """Return the optional samples of an experiment that could be obtained."""
    return obtained(PLAN.experiments[experiment].optional)


def obtained(sources):
    """Return the samples that could be obtained; `sources` are the nodes that fetch optional samples, by sample."""
    available = []
    for name, source in sources.items():
        fetched = checkpoints.fetch_optional.get(node=source.folder.rsplit("/", 1)[1])
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
    """Return the experiment whose tables a job makes."""
    return node(wildcards).name


def folder_compared(name):
    """Return the folder of the tables of an experiment, or of an older variant of one, as 240118.3f9a1c2e."""
    if name in PLAN.experiments:
        return PLAN.experiments[name].tables.folder
    return f"results/experiments/{name}"


def files_compared(name):
    """Return the files that a comparison needs of an experiment. Those of an older variant exist: no rule makes them."""
    folder = folder_compared(name)
    if folder not in PLAN.nodes:
        if not os.path.exists(f"{folder}/provenance.json"):
            raise WorkflowError(
                f"{name}: neither an experiment of the configuration nor a folder in results/experiments, "
                f"expected one of {', '.join(PLAN.experiments)}"
            )
        return []
    experiment = PLAN.nodes[folder].name
    return [
        *(f"{folder}/{name}" for name in TABLES),
        *files_on_page(experiment, required(experiment) + optional(experiment)),
        *PLAN.experiments[experiment].on_page,
    ]


def measured(experiment, samples):
    """Return the files with the measures of some of an experiment's samples."""
    plan = PLAN.experiments[experiment]
    return [node.file("measured.json") for name in samples for node in plan.measured[name]]


def origins(experiment):
    """Return the files that an experiment's speech came from; a user's own files are never in a storage."""
    samples = required(experiment) + optional(experiment)
    return [here(path) for path in PLAN.origins(experiment, samples)]


def files_on_page(experiment, samples):
    """Return the files that an experiment's page shows of some samples: wavs, features, latents and indices."""
    plan = PLAN.experiments[experiment]
    nodes = [node for name in samples for node in plan.measured[name]]
    files = [here(path) for node in nodes for path in node.inputs["files"]]
    files += [plan.latents[name] for name in samples if name in plan.latents]
    return files + [path for name in samples for path in plan.sent.get(name, ())]


def ratings_of(experiment):
    """Return the tables of answers to the listening tests of an experiment that are there."""
    tests = [name for name, test in PLAN.tests.items() if test.experiment == experiment]
    return [local(path) for path in (f"results/ratings/{name}/ratings.csv" for name in tests) if os.path.exists(path)]


def test_settings(test):
    """Return what the page of a listening test is made by, as JSON text."""
    try:
        return PLAN.of_listening(test)
    except InputError as error:
        raise WorkflowError(str(error))


def tested(wildcards):
    """Return the experiment whose outputs are heard in a listening test."""
    return PLAN.tests[wildcards.test].experiment


def available_of(samples):
    """Return samples without the optional ones that could not be obtained."""
    sources = PLAN.optional(samples)
    optional = obtained(sources)
    available = [name for name in samples if name not in sources or name in optional]
    if samples and not available:
        raise WorkflowError(f"samples {', '.join(samples)}: none could be obtained, expected at least one")
    return available


def samples_rated(wildcards):
    """Return the samples of a rated chain, without the optional ones that could not be obtained."""
    return available_of(node(wildcards).settings["samples"])


def anchors_of(study):
    """Return the measured anchors of a study's samples."""
    anchors = PLAN.studies[study].anchors
    return [anchors[name] for name in available_of(anchors)]


def with_results(targets=()):
    """Return the folders of experiments, studies and sweeps that exist, and those among the targets of this run.

    Those of other configurations are among them, as far as they hold a record of how they were made.
    """
    found = [folder for folder in PLAN.folders() if folder in targets or os.path.isdir(folder)]
    records = ("*_wav/provenance.json", "studies/*/settings.json", "sweeps/*/settings.json")
    found += [os.path.dirname(path) for name in records for path in sorted(glob(f"results/{name}"))]
    if not found:
        raise WorkflowError(
            "There is nothing to report yet. Make a result first, as with: snakemake results/240118_wav"
        )
    return [*dict.fromkeys(found)]
