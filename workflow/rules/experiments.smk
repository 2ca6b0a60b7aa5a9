# Experiments: measures of each sample, their tables, and the folder with all wavs and a page.


rule measure:
    input:
        files=taken("files", any_result, own),
    output:
        measured="results/measures/{node}/measured.json",
    log:
        "results/logs/measures/{node}.log",
    benchmark:
        "results/benchmarks/measures/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Measuring {wildcards.node}"
    shell:
        "mlquant measure {params.arguments:q} > {log:q} 2>&1"


rule measure_set:
    input:
        speech=taken("speech", "results/sets/{}/speech.raw"),
        utterances=taken("utterances", "results/sets/{}/utterances.csv"),
        model=taken("model", "results/set_features/{}/model.bin"),
        b=taken("b", "results/set_features/{}/b.f32"),
        y=taken("y", "results/set_features/{}/y.f32"),
        trained=taken("trained", any_result),
    output:
        table="results/set_measures/{node}/measures.csv",
        speech_out="results/set_measures/{node}/speech.raw",
    log:
        "results/logs/set_measures/{node}.log",
    benchmark:
        "results/benchmarks/set_measures/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        arguments=arguments,
    message:
        "Coding and measuring utterances {wildcards.node}"
    shell:
        "mlquant measure-set {params.arguments:q} > {log:q} 2>&1"


rule tabulate:
    input:
        required=lambda w: measured(experiment_of(w), required(experiment_of(w))),
        optional=lambda w: measured(experiment_of(w), optional(experiment_of(w))),
        sidecars=taken("sidecars", "results/networks/{}/provenance.json", "results/codebooks/{}/provenance.json"),
        origins=lambda w: origins(experiment_of(w)),
        of_set=taken("of_set", "results/sets/{}/utterances.csv", "results/set_measures/{}/measures.csv"),
    output:
        report(
            "results/experiments/{node}/means.csv",
            caption="../report/measures.rst",
            category="Measures",
            labels={"experiment": "{node}", "table": "means"},
        ),
        report(
            "results/experiments/{node}/measures.csv",
            caption="../report/measures.rst",
            category="Measures",
            labels={"experiment": "{node}", "table": "each sample"},
        ),
        multiext(
            "results/experiments/{node}/",
            "anchors.csv",
            "frames.csv",
            "columns.csv",
            "utterances.csv",
            "set_means.csv",
            "set_pairs.csv",
            "README.md",
            "config.yaml",
            "provenance.json",
        ),
    log:
        "results/logs/experiments/{node}.log",
    benchmark:
        "results/benchmarks/experiments/{node}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        # In the order of the configuration, which config.yaml keeps: it is that of training speech.
        experiment=lambda w: in_file(json.dumps(node(w).settings)),
        root=root,
        folder=folder_of,
    message:
        "Tabulating the measures of {wildcards.node}"
    shell:
        "mlquant tabulate {params.experiment:q} --measured {input.required:q} {input.optional:q} "
        "--sidecars {input.sidecars:q} --origins {input.origins:q} {params.root:q} -o {params.folder:q} > {log:q} 2>&1"


rule plot_losses:
    input:
        losses=taken("losses", "results/networks/{}/losses.csv"),
    output:
        png=report(
            "results/figures/{node}/losses.png",
            caption="../report/losses.rst",
            category="Networks",
            labels={"network": "{node}"},
        ),
    log:
        "results/logs/figures/{node}.log",
    benchmark:
        "results/benchmarks/figures/{node}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Plotting the losses of {wildcards.node}"
    shell:
        "mlquant plot-losses {params.arguments:q} > {log:q} 2>&1"


rule page:
    input:
        tables=lambda w: [PLAN.experiments[w.experiment].tables.file(name) for name in TABLES],
        required=lambda w: files_on_page(w.experiment, required(w.experiment)),
        optional=lambda w: files_on_page(w.experiment, optional(w.experiment)),
        curves=lambda w: PLAN.experiments[w.experiment].curves,
        trained=lambda w: PLAN.experiments[w.experiment].on_page,
        ratings=lambda w: ratings_of(w.experiment),
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
        ratings=lambda w, input: ["--ratings", *input.ratings] if input.ratings else [],
        # The folder is not keyed: a new page is made when its code changes.
        code=PLAN.params(("mlquant.experiments.stages:page",), {}),
    message:
        "Gathering {output}"
    shell:
        "mlquant page {params.tables:q} {params.figures:q} {params.ratings:q} --history results/history.csv {params.root:q} -o {output:q} "
        "> {log:q} 2>&1"
