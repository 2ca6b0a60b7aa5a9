# Speech: from the model's own phases, from y_hat with phase0, and from Codec 2 for comparison.


rule resynthesise_wav:
    input:
        model=files_of("resynthesised", "model"),
    output:
        "results/resynthesised/{stage}/speech.wav",
    log:
        "results/logs/resynthesised/{stage}.log",
    benchmark:
        "results/benchmarks/resynthesised/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    message:
        "Resynthesising {wildcards.stage} with original phases"
    shell:
        "mlquant resynth {input.model:q} -o {output:q} > {log:q} 2>&1"


rule synthesise_wav:
    input:
        model=files_of("synthesised", "model"),
        y_hat=files_of("synthesised", "y_hat"),
    output:
        "results/synthesised/{stage}/speech.wav",
    log:
        "results/logs/synthesised/{stage}.log",
    benchmark:
        "results/benchmarks/synthesised/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        amplitudes=options("synthesised"),
    message:
        "Synthesising {wildcards.stage}"
    shell:
        "mlquant synth {input.model:q} {input.y_hat:q} {params.amplitudes} -o {output:q} > {log:q} 2>&1"


rule code_anchors:
    input:
        speech=files_of("anchors", "speech"),
    output:
        expand("results/anchors/{{stage}}/{mode}.wav", mode=MODES),
    log:
        "results/logs/anchors/{stage}.log",
    benchmark:
        "results/benchmarks/anchors/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        modes=lambda w: [
            f"--mode={mode}" for mode in stage(w, "anchors").settings["modes"]
        ],
        wavs=lambda w, output: [f"--out={path}" for path in output],
    message:
        "Coding {wildcards.stage} with Codec 2"
    shell:
        "mlquant anchor {input.speech:q} {params.modes:q} {params.wavs:q} > {log:q} 2>&1"
