# Whole codecs: what they are trained on, their parts, their folders, and speech that they code.


rule track:
    input:
        speech=taken("speech", "results/corpora/{}/speech.raw"),
    output:
        b="results/tracked/{node}/b.f32",
        y="results/tracked/{node}/y.f32",
    log:
        "results/logs/tracked/{node}.log",
    benchmark:
        "results/benchmarks/tracked/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        arguments=arguments,
    message:
        "Computing features at a pitch that can be sent: {wildcards.node}"
    shell:
        "mlquant track {params.arguments:q} > {log:q} 2>&1"


rule vq_superframe:
    input:
        features=taken("features", "results/tracked/{}/b.f32"),
        targets=taken("targets", "results/tracked/{}/y.f32"),
    output:
        tables="results/superframes/{node}/tables.safetensors",
    log:
        "results/logs/superframes/{node}.log",
    benchmark:
        "results/benchmarks/superframes/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        arguments=arguments,
    message:
        "Training the quantiser of superframes {wildcards.node}"
    shell:
        "mlquant vq-superframe {params.arguments:q} --threads {threads} > {log:q} 2>&1"


rule train_context:
    input:
        features=taken("features", "results/tracked/{}/b.f32"),
        targets=taken("targets", "results/tracked/{}/y.f32"),
        energy=taken("energy", "results/superframes/{}/tables.safetensors"),
        shape=taken("shape", "results/superframes/{}/tables.safetensors"),
    output:
        network="results/context/{node}/context.safetensors",
        losses="results/context/{node}/losses.csv",
    log:
        "results/logs/context/{node}.log",
    benchmark:
        "results/benchmarks/context/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        arguments=arguments,
    message:
        "Training the context network of {wildcards.node}"
    shell:
        "mlquant train-context {params.arguments:q} > {log:q} 2>&1"


rule assemble:
    input:
        energy=taken("energy", "results/superframes/{}/tables.safetensors"),
        shape=taken("shape", "results/superframes/{}/tables.safetensors"),
        network=taken("network", "results/context/{}/context.safetensors"),
        speech=taken("speech", "results/corpora/{}/speech.raw"),
    output:
        description="results/assembled/{node}/codec.json",
        tables="results/assembled/{node}/tables.safetensors",
    log:
        "results/logs/assembled/{node}.log",
    benchmark:
        "results/benchmarks/assembled/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Writing the codec {wildcards.node}"
    shell:
        "mlquant assemble {params.arguments:q} > {log:q} 2>&1"


rule codec:
    input:
        lambda w: PLAN.codec(w.codec),
    output:
        directory("results/codecs/{codec}"),
    log:
        "results/logs/codecs/{codec}.log",
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=200,
        runtime=2,
    message:
        "Copying the codec {wildcards.codec}"
    shell:
        "(mkdir {output:q} && cp {input:q} {output:q}/) > {log:q} 2>&1"


rule enc:
    input:
        codec=taken("codec", "results/assembled/{}/codec.json"),
        speech=taken("speech", "results/samples/{}/speech.raw"),
    output:
        bits="results/streams/{node}/stream.bit",
    log:
        "results/logs/streams/{node}.log",
    benchmark:
        "results/benchmarks/streams/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Encoding {wildcards.node}"
    shell:
        "mlquant enc {params.arguments:q} > {log:q} 2>&1"


rule dec:
    input:
        codec=taken("codec", "results/assembled/{}/codec.json"),
        bits=taken("bits", "results/streams/{}/stream.bit"),
    output:
        wav="results/decoded_streams/{node}/speech.wav",
    log:
        "results/logs/decoded_streams/{node}.log",
    benchmark:
        "results/benchmarks/decoded_streams/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Decoding {wildcards.node}"
    shell:
        "mlquant dec {params.arguments:q} > {log:q} 2>&1"
