# Measures of each sample, and the folders that experiments, sweeps and studies end in.


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
        experiment=lambda w: PLAN.params(
            "gather", PLAN.experiments[w.experiment].settings
        ),
        measured=lambda w: [
            stage.file("measured.json") for stage in required(w) + optional(w)
        ],
        figures=lambda w, input: ["--figures", *input.curves] if input.curves else [],
    message:
        "Gathering {output}"
    shell:
        "mlquant gather {params.experiment:q} --measured {params.measured} {params.figures} -o {output} > {log} 2>&1"


rule summarise_sweep:
    input:
        lambda w: PLAN.sweeps[w.sweep].files,
    output:
        directory("results/sweeps/{sweep}"),
    log:
        "results/logs/sweeps/{sweep}.log",
    benchmark:
        "results/benchmarks/sweeps/{sweep}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        sweep=lambda w: PLAN.params("sweep", PLAN.sweeps[w.sweep].settings),
    message:
        "Summarising sweep {wildcards.sweep}"
    shell:
        "mlquant sweep {params.sweep:q} -o {output} 2>&1 | tee {log}"


rule make_study:
    input:
        lambda w: PLAN.studies[w.study].files,
    output:
        directory("results/studies/{study}"),
    log:
        "results/logs/studies/{study}.log",
    benchmark:
        "results/benchmarks/studies/{study}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        study=lambda w: PLAN.params("study", PLAN.studies[w.study].settings),
    message:
        "Making study {wildcards.study}"
    shell:
        "mlquant study {params.study:q} -o {output} > {log} 2>&1"
