# Sinusoidal analysis, and the features b and y.


rule analyse_speech:
    input:
        speech=files_of("models", "speech"),
    output:
        "results/models/{stage}/model.bin",
    log:
        "results/logs/models/{stage}.log",
    benchmark:
        "results/benchmarks/models/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    message:
        "Analysing {wildcards.stage}"
    shell:
        "mlquant analyse {input.speech:q} -o {output:q} > {log:q} 2>&1"


rule compute_features:
    input:
        model=files_of("features", "model"),
    output:
        b="results/features/{stage}/b.f32",
        y="results/features/{stage}/y.f32",
    log:
        "results/logs/features/{stage}.log",
    benchmark:
        "results/benchmarks/features/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=15,
    params:
        floor=setting("features", "floor_dB"),
    message:
        "Computing features of {wildcards.stage}"
    shell:
        "mlquant features {input.model:q} --b {output.b:q} --y {output.y:q} --floor={params.floor:q} > {log:q} 2>&1"
