# Vector quantisers: codebooks trained stage by stage, latents or the shapes of b quantised by M-best search.


rule export_shapes:
    input:
        features=files_of("shapes", "features"),
    output:
        "results/shapes/{stage}/s.f32",
    log:
        "results/logs/shapes/{stage}.log",
    benchmark:
        "results/benchmarks/shapes/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        part=options("shapes"),
    message:
        "Exporting shapes of {wildcards.stage}"
    shell:
        "mlquant shapes {input.features:q} {params.part:q} -o {output:q} > {log:q} 2>&1"


rule fit_predictor:
    input:
        pairs=files_of("predictors", "pairs"),
    output:
        "results/predictors/{stage}/a.f32",
    log:
        "results/logs/predictors/{stage}.log",
    benchmark:
        "results/benchmarks/predictors/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        k=setting("predictors", "k"),
    message:
        "Fitting the prediction coefficient of {wildcards.stage}"
    shell:
        "mlquant vq-predictor {input.pairs:q} -k {params.k} -o {output:q} > {log:q} 2>&1"


rule train_vq_stage:
    input:
        train=files_of("codebooks", "train"),
        after=files_of("codebooks", "after"),
        predictor=files_of("codebooks", "predictor"),
    output:
        codebook="results/codebooks/{stage}/vq.f32",
        residual="results/codebooks/{stage}/residual.f32",
        trace="results/codebooks/{stage}/trace.csv",
        provenance="results/codebooks/{stage}/provenance.json",
    log:
        "results/logs/codebooks/{stage}.log",
    benchmark:
        "results/benchmarks/codebooks/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    threads: 1  # so that it runs beside another training; a large codebook on a cluster may want more
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        k=setting("codebooks", "k"),
        size=setting("codebooks", "size"),
        stop=setting("codebooks", "stop"),
        seed=setting("codebooks", "seed"),
        beam=lambda w, input: (
            [
                f"--after={','.join(input.after)}",
                f"--mbest={stage(w, 'codebooks').settings['mbest']}",
            ]
            if input.after
            else []
        ),
        predict=predicted("codebooks"),
        record=lambda w: PLAN.record(stage(w, "codebooks")),
        root=root,
    message:
        "Training codebook {wildcards.stage}"
    shell:
        "mlquant vq-train {input.train:q} -k {params.k} -m {params.size} --stop {params.stop} --seed {params.seed} "
        "{params.beam:q} {params.predict:q} --threads {threads} --record {params.record:q} {params.root:q} -o {output.codebook:q} "
        "--residual {output.residual:q} --trace {output.trace:q} > {log:q} 2>&1"


rule quantise_latents:
    input:
        latents=files_of("quantised", "latents"),
        codebooks=files_of("quantised", "codebooks"),
        predictor=files_of("quantised", "predictor"),
    output:
        latents="results/quantised/{stage}/l_hat.f32",
        indices="results/quantised/{stage}/indices.npy",
    log:
        "results/logs/quantised/{stage}.log",
    benchmark:
        "results/benchmarks/quantised/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        k=setting("quantised", "k"),
        mbest=setting("quantised", "mbest"),
        every=setting("quantised", "every"),
        predict=predicted("quantised"),
        codebooks=lambda w, input: ",".join(input.codebooks),
    message:
        "Quantising {wildcards.stage}"
    shell:
        "mlquant vq-search {input.latents:q} -k {params.k} -q {params.codebooks:q} --mbest {params.mbest} --every {params.every} "
        "{params.predict:q} --usage --indices {output.indices:q} -o {output.latents:q} > {log:q} 2>&1"


rule restore_shapes:
    input:
        shapes=files_of("restored", "shapes"),
        features=files_of("restored", "features"),
    output:
        "results/restored/{stage}/b_hat.f32",
    log:
        "results/logs/restored/{stage}.log",
    benchmark:
        "results/benchmarks/restored/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    message:
        "Putting the mean back to quantised shapes: {wildcards.stage}"
    shell:
        "mlquant from-shapes {input.shapes:q} --features {input.features:q} -o {output:q} > {log:q} 2>&1"
