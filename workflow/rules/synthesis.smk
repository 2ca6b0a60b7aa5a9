# Speech is synthesised: from the model's own phases, from y_hat with phase0, and from Codec 2 for comparison.


rule resynth:
    input:
        model=taken("model", "results/models/{}/model.bin"),
    output:
        wav="results/resynthesised/{node}/speech.wav",
    log:
        "results/logs/resynthesised/{node}.log",
    benchmark:
        "results/benchmarks/resynthesised/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Resynthesising {wildcards.node} with original phases"
    shell:
        "mlquant resynth {params.arguments:q} > {log:q} 2>&1"


rule synth:
    input:
        model=taken("model", "results/models/{}/model.bin"),
        y_hat=taken("y_hat", "results/features/{}/y.f32", "results/inferred/{}/hat.f32", "results/decoded/{}/hat.f32"),
    output:
        wav="results/synthesised/{node}/speech.wav",
    log:
        "results/logs/synthesised/{node}.log",
    benchmark:
        "results/benchmarks/synthesised/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Synthesising {wildcards.node}"
    shell:
        "mlquant synth {params.arguments:q} > {log:q} 2>&1"


rule anchor:
    input:
        speech=taken("speech", "results/samples/{}/speech.raw"),
    output:
        wavs=expand("results/anchors/{{node}}/{mode}.wav", mode=MODES),
    log:
        "results/logs/anchors/{node}.log",
    benchmark:
        "results/benchmarks/anchors/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Coding {wildcards.node} with Codec 2"
    shell:
        "mlquant anchor {params.arguments:q} > {log:q} 2>&1"
