# Codebooks are trained stage by stage; latents, or the shape of b, are quantised by M-best search.


rule remove_gain:
    input:
        features=taken("features", "results/features/{}/b.f32", "results/features/{}/y.f32", own),
    output:
        shape="results/gain_removed/{node}/shape.f32",
    log:
        "results/logs/gain_removed/{node}.log",
    benchmark:
        "results/benchmarks/gain_removed/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Taking the gain out of b: {wildcards.node}"
    shell:
        "mlquant remove-gain {params.arguments:q} > {log:q} 2>&1"


rule vq_predictor:
    input:
        pairs=taken("pairs", "results/gain_removed/{}/shape.f32", "results/latents/{}/l.f32"),
    output:
        coefficient="results/predictors/{node}/a.f32",
    log:
        "results/logs/predictors/{node}.log",
    benchmark:
        "results/benchmarks/predictors/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Fitting the prediction coefficient of {wildcards.node}"
    shell:
        "mlquant vq-predictor {params.arguments:q} > {log:q} 2>&1"


rule vq_train:
    input:
        train=taken(
            "train",
            "results/gain_removed/{}/shape.f32",
            "results/latents/{}/l.f32",
            "results/codebooks/{}/residual.f32",
        ),
        predictor=taken("predictor", "results/predictors/{}/a.f32"),
    output:
        codebook="results/codebooks/{node}/vq.f32",
        residual="results/codebooks/{node}/residual.f32",
        trace="results/codebooks/{node}/trace.csv",
        provenance="results/codebooks/{node}/provenance.json",
    log:
        "results/logs/codebooks/{node}.log",
    benchmark:
        "results/benchmarks/codebooks/{node}.tsv"
    wildcard_constraints:
        node=made_by("vq-train"),
    conda:
        "../../envs/mlquant.yaml"
    threads: 2  # a codebook waits for the one before it, which leaves a core idle; threads change the speed only
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        arguments=arguments,
    message:
        "Training codebook {wildcards.node}"
    shell:
        "mlquant vq-train {params.arguments:q} --threads {threads} > {log:q} 2>&1"


rule vq_train_beam:
    input:
        train=taken("train", "results/gain_removed/{}/shape.f32", "results/latents/{}/l.f32"),
        after=taken("after", "results/codebooks/{}/vq.f32"),
        predictor=taken("predictor", "results/predictors/{}/a.f32"),
    output:
        codebook="results/codebooks/{node}/vq.f32",
        residual="results/codebooks/{node}/residual.f32",
        trace="results/codebooks/{node}/trace.csv",
        provenance="results/codebooks/{node}/provenance.json",
    log:
        "results/logs/codebooks/{node}.log",
    benchmark:
        "results/benchmarks/codebooks/{node}.tsv"
    wildcard_constraints:
        node=made_by("vq-train-beam"),
    conda:
        "../../envs/mlquant.yaml"
    threads: 1  # so that two trainings run at once; a large codebook on a cluster may need more
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        arguments=arguments,
    message:
        "Training codebook {wildcards.node}"
    shell:
        "mlquant vq-train-beam {params.arguments:q} --threads {threads} > {log:q} 2>&1"


rule vq_search:
    input:
        latents=taken("latents", "results/latents/{}/l.f32", "results/gain_removed/{}/shape.f32"),
        codebooks=taken("codebooks", "results/codebooks/{}/vq.f32"),
        predictor=taken("predictor", "results/predictors/{}/a.f32"),
    output:
        l_hat="results/quantised/{node}/l_hat.f32",
        indices="results/quantised/{node}/indices.npy",
    log:
        "results/logs/quantised/{node}.log",
    benchmark:
        "results/benchmarks/quantised/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        arguments=arguments,
    message:
        "Quantising {wildcards.node}"
    shell:
        "mlquant vq-search {params.arguments:q} --usage > {log:q} 2>&1"


rule restore_gain:
    input:
        shapes=taken("shapes", "results/quantised/{}/l_hat.f32"),
        features=taken("features", "results/features/{}/b.f32", own),
    output:
        b_hat="results/gain_restored/{node}/b_hat.f32",
    log:
        "results/logs/gain_restored/{node}.log",
    benchmark:
        "results/benchmarks/gain_restored/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        arguments=arguments,
    message:
        "Putting the gain back to quantised shapes: {wildcards.node}"
    shell:
        "mlquant restore-gain {params.arguments:q} > {log:q} 2>&1"
