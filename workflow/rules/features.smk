# Sinusoidal analysis, and the features b and y.


rule analyse:
    input:
        speech=taken("speech", "results/samples/{}/speech.raw", "results/corpora/{}/speech.raw"),
    output:
        model="results/models/{node}/model.bin",
    log:
        "results/logs/models/{node}.log",
    benchmark:
        "results/benchmarks/models/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        arguments=arguments,
    message:
        "Analysing {wildcards.node}"
    shell:
        "mlquant analyse {params.arguments:q} > {log:q} 2>&1"


rule features:
    input:
        model=taken("model", "results/models/{}/model.bin"),
    output:
        b="results/features/{node}/b.f32",
        y="results/features/{node}/y.f32",
    log:
        "results/logs/features/{node}.log",
    benchmark:
        "results/benchmarks/features/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        arguments=arguments,
    message:
        "Computing features of {wildcards.node}"
    shell:
        "mlquant features {params.arguments:q} > {log:q} 2>&1"


rule analyse_set:
    input:
        speech=taken("speech", "results/sets/{}/speech.raw"),
        utterances=taken("utterances", "results/sets/{}/utterances.csv"),
    output:
        model="results/set_features/{node}/model.bin",
        b="results/set_features/{node}/b.f32",
        y="results/set_features/{node}/y.f32",
    log:
        "results/logs/set_features/{node}.log",
    benchmark:
        "results/benchmarks/set_features/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        arguments=arguments,
    message:
        "Analysing utterances {wildcards.node}"
    shell:
        "mlquant analyse-set {params.arguments:q} > {log:q} 2>&1"
