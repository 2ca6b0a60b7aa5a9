# Networks are trained, and features and latents pass through them.


rule train:
    input:
        features=taken("features", "results/features/{}/b.f32", own),
        targets=taken("targets", "results/features/{}/y.f32", own),
        held_out_features=taken("held_out_features", "results/features/{}/b.f32", own),
        held_out_targets=taken("held_out_targets", "results/features/{}/y.f32", own),
    output:
        multiext(
            "results/networks/{node}/",
            *("weights.safetensors", "settings.json", "losses.csv", "training.json", "provenance.json"),
        ),
    log:
        "results/logs/networks/{node}.log",
    benchmark:
        "results/benchmarks/networks/{node}.tsv"
    wildcard_constraints:
        node=made_by("train"),
    priority: 1  # trainings are on the longest path to the results
    conda:
        "../../envs/mlquant.yaml"
    threads: lambda w: node(w).settings["threads"]
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=lambda w: int(node(w).settings["device"] == "cuda"),
    params:
        arguments=arguments,
    message:
        "Training network {wildcards.node}; progress in {log}"
    shell:
        "mlquant train {params.arguments:q} --keep-failure > {log:q} 2>&1"


rule train_on:
    input:
        initial=taken("initial", "results/networks/{}/weights.safetensors"),
        features=taken(
            "features",
            "results/features/{}/b.f32",
            "results/gain_restored/{}/b_hat.f32",
            "results/decoded/{}/hat.f32",
            own,
        ),
        targets=taken("targets", "results/features/{}/y.f32", own),
        held_out_features=taken(
            "held_out_features",
            "results/features/{}/b.f32",
            "results/gain_restored/{}/b_hat.f32",
            "results/decoded/{}/hat.f32",
            own,
        ),
        held_out_targets=taken("held_out_targets", "results/features/{}/y.f32", own),
        latents=taken("latents", "results/quantised/{}/l_hat.f32"),
        held_out_latents=taken("held_out_latents", "results/quantised/{}/l_hat.f32"),
        codebooks=taken("codebooks", "results/codebooks/{}/vq.f32"),
    output:
        multiext(
            "results/networks/{node}/",
            *("weights.safetensors", "settings.json", "losses.csv", "training.json", "provenance.json"),
        ),
    log:
        "results/logs/networks/{node}.log",
    benchmark:
        "results/benchmarks/networks/{node}.tsv"
    wildcard_constraints:
        node=made_by("train-on"),
    priority: 1  # trainings are on the longest path to the results
    conda:
        "../../envs/mlquant.yaml"
    threads: lambda w: node(w).settings["threads"]
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=lambda w: int(node(w).settings["device"] == "cuda"),
    params:
        arguments=arguments,
    message:
        "Training network {wildcards.node} on; progress in {log}"
    shell:
        "mlquant train-on {params.arguments:q} --keep-failure > {log:q} 2>&1"


rule encode:
    input:
        weights=taken("weights", "results/networks/{}/weights.safetensors"),
        features=taken(
            "features",
            "results/features/{}/b.f32",
            "results/features/{}/y.f32",
            "results/gain_restored/{}/b_hat.f32",
            "results/inferred/{}/hat.f32",
            "results/decoded/{}/hat.f32",
            own,
        ),
    output:
        l="results/latents/{node}/l.f32",
    log:
        "results/logs/latents/{node}.log",
    benchmark:
        "results/benchmarks/latents/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Exporting latents of {wildcards.node}"
    shell:
        "mlquant encode {params.arguments:q} > {log:q} 2>&1"


rule decode:
    input:
        weights=taken("weights", "results/networks/{}/weights.safetensors"),
        latents=taken("latents", "results/quantised/{}/l_hat.f32"),
        features=taken(
            "features",
            "results/features/{}/b.f32",
            "results/features/{}/y.f32",
            "results/inferred/{}/hat.f32",
            "results/decoded/{}/hat.f32",
            "results/gain_restored/{}/b_hat.f32",
            own,
        ),
        energy=taken("energy", "results/features/{}/y.f32"),
    output:
        hat="results/decoded/{node}/hat.f32",
    log:
        "results/logs/decoded/{node}.log",
    benchmark:
        "results/benchmarks/decoded/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Decoding quantised latents of {wildcards.node}"
    shell:
        "mlquant decode {params.arguments:q} > {log:q} 2>&1"


rule infer:
    input:
        weights=taken("weights", "results/networks/{}/weights.safetensors"),
        features=taken(
            "features",
            "results/features/{}/b.f32",
            "results/features/{}/y.f32",
            "results/gain_restored/{}/b_hat.f32",
            "results/inferred/{}/hat.f32",
            "results/decoded/{}/hat.f32",
        ),
        energy=taken("energy", "results/features/{}/y.f32"),
    output:
        hat="results/inferred/{node}/hat.f32",
    log:
        "results/logs/inferred/{node}.log",
    benchmark:
        "results/benchmarks/inferred/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Passing features through a network: {wildcards.node}"
    shell:
        "mlquant infer {params.arguments:q} > {log:q} 2>&1"
