# Measures of each sample, and the folders that experiments end in.


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
        runtime=5,
    params:
        record=settings("measures"),
        root=root,
    message:
        "Measuring {wildcards.stage}"
    shell:
        "mlquant measure {params.record:q} {params.root:q} -o {output:q} > {log:q} 2>&1"


rule tabulate_measures:
    input:
        required=lambda w: measured(experiment_of(w), required(experiment_of(w))),
        optional=lambda w: measured(experiment_of(w), optional(experiment_of(w))),
        sidecars=files_of("experiments", "sidecars"),
        origins=lambda w: origins(experiment_of(w)),
    output:
        report(
            "results/experiments/{stage}/means.csv",
            caption="../report/measures.rst",
            category="Measures",
            labels={"experiment": "{stage}", "table": "means"},
        ),
        report(
            "results/experiments/{stage}/measures.csv",
            caption="../report/measures.rst",
            category="Measures",
            labels={"experiment": "{stage}", "table": "each sample"},
        ),
        multiext(
            "results/experiments/{stage}/",
            "anchors.csv",
            "frames.csv",
            "README.md",
            "config.yaml",
            "provenance.json",
        ),
    log:
        "results/logs/experiments/{stage}.log",
    benchmark:
        "results/benchmarks/experiments/{stage}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        experiment=settings("experiments"),
        root=root,
        folder=folder_of,
    message:
        "Tabulating the measures of {wildcards.stage}"
    shell:
        "mlquant tabulate {params.experiment:q} --measured {input.required:q} {input.optional:q} "
        "--sidecars {input.sidecars:q} --origins {input.origins:q} {params.root:q} -o {params.folder:q} > {log:q} 2>&1"


rule gather_wavs:
    input:
        tables=lambda w: [
            PLAN.experiments[w.experiment].tables.file(name) for name in TABLES
        ],
        required=lambda w: shown(w.experiment, required(w.experiment)),
        optional=lambda w: shown(w.experiment, optional(w.experiment)),
        curves=lambda w: PLAN.experiments[w.experiment].curves,
        shown=lambda w: PLAN.experiments[w.experiment].shown,
    output:
        report(
            directory("results/{experiment}_wav"),
            htmlindex="index.html",
            caption="../report/experiment.rst",
            category="Experiments",
            labels={"experiment": "{experiment}"},
        ),
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
        tables=lambda w, input: os.path.dirname(input.tables[0]),
        root=root,
        figures=lambda w, input: ["--figures", *input.curves] if input.curves else [],
        # The folder is not keyed: a new page is made when its code is another.
        code=PLAN.params("page", {}),
    message:
        "Gathering {output}"
    shell:
        "mlquant page {params.tables:q} {params.figures:q} --history results/history.csv {params.root:q} -o {output:q} "
        "> {log:q} 2>&1"
