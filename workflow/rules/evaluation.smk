# Measures of each sample, and the folder that an experiment ends in.

import json


rule measure_sample:
    input:
        files=files_of("measures", "files"),
    output:
        "results/measures/{stage}/measured.json",
    params:
        record=settings("measures"),
    log:
        "results/logs/measures/{stage}.log",
    benchmark:
        "results/benchmarks/measures/{stage}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Measuring {wildcards.stage}"
    shell:
        "mlquant measure {params.record:q} -o {output} > {log} 2>&1"


def required(wildcards):
    """The stages that measure an experiment's samples, without the optional ones."""
    plan = PLAN.experiments[wildcards.experiment]
    return [plan.measured[name] for name in plan.measured if name not in plan.optional]


def optional(wildcards):
    """The same for those optional samples that could be obtained."""
    plan = PLAN.experiments[wildcards.experiment]
    available = []
    for name, source in plan.optional.items():
        fetched = checkpoints.fetch_optional_source.get(stage=source.folder.rsplit("/", 1)[1])
        with open(fetched.output.manifest) as manifest:
            if json.load(manifest)["available"]:
                available.append(plan.measured[name])
    return available


def measures_and_wavs(stages):
    """The files of samples that a gathering takes."""
    wavs = [row["files"]["wav"] for stage in stages for row in stage.settings["rows"]]
    return [stage.file("measured.json") for stage in stages] + wavs


rule gather_wavs:
    input:
        required=lambda w: measures_and_wavs(required(w)),
        optional=lambda w: measures_and_wavs(optional(w)),
        curves=lambda w: [
            curve.file("losses.png") for curve in PLAN.experiments[w.experiment].curves
        ],
    output:
        directory("results/{experiment}_wav"),
    params:
        experiment=lambda w: PLAN.gather_params(w.experiment),
        measured=lambda w: [stage.file("measured.json") for stage in required(w) + optional(w)],
        figures=lambda w, input: ["--figures", *input.curves] if input.curves else [],
    log:
        "results/logs/{experiment}_wav.log",
    benchmark:
        "results/benchmarks/{experiment}_wav.tsv"
    localrule: True
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Gathering {output}"
    shell:
        "mlquant gather {params.experiment:q} --measured {params.measured} {params.figures} -o {output} > {log} 2>&1"
