# Measures of each sample, and the folder that an experiment ends in.


rule measure_sample:
    input:
        files=files_of("measures", "files"),
    output:
        "results/measures/{stage}/measured.json",
    log:
        "results/logs/measures/{stage}.log",
    benchmark:
        "results/benchmarks/measures/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        record=settings("measures"),
    message:
        "Measuring {wildcards.stage}"
    shell:
        "mlquant measure {params.record:q} -o {output} > {log} 2>&1"


rule gather_wavs:
    input:
        required=lambda w: measures_and_wavs(required(w)),
        optional=lambda w: measures_and_wavs(optional(w)),
        curves=lambda w: [
            curve.file("losses.png") for curve in PLAN.experiments[w.experiment].curves
        ],
    output:
        directory("results/{experiment}_wav"),
    log:
        "results/logs/{experiment}_wav.log",
    benchmark:
        "results/benchmarks/{experiment}_wav.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        experiment=lambda w: PLAN.gather_params(w.experiment),
        measured=lambda w: [
            stage.file("measured.json") for stage in required(w) + optional(w)
        ],
        figures=lambda w, input: ["--figures", *input.curves] if input.curves else [],
    message:
        "Gathering {output}"
    shell:
        "mlquant gather {params.experiment:q} --measured {params.measured} {params.figures} -o {output} > {log} 2>&1"
