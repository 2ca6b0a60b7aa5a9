# Vector quantisers: codebooks trained stage by stage, latents quantised by M-best search.


rule train_vq_stage:
    input:
        train=files_of("codebooks", "train"),
        after=files_of("codebooks", "after"),
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
        record=lambda w: PLAN.record(stage(w, "codebooks")),
        root=root,
    message:
        "Training codebook {wildcards.stage}"
    shell:
        "mlquant vq-train {input.train:q} -k {params.k} -m {params.size} --stop {params.stop} --seed {params.seed} "
        "{params.beam:q} --threads {threads} --record {params.record:q} {params.root:q} -o {output.codebook:q} "
        "--residual {output.residual:q} --trace {output.trace:q} > {log:q} 2>&1"


rule quantise_latents:
    input:
        latents=files_of("quantised", "latents"),
        codebooks=files_of("quantised", "codebooks"),
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
        runtime=3,
    params:
        k=setting("quantised", "k"),
        mbest=setting("quantised", "mbest"),
        codebooks=lambda w, input: ",".join(input.codebooks),
    message:
        "Quantising latents of {wildcards.stage}"
    shell:
        "mlquant vq-search {input.latents:q} -k {params.k} -q {params.codebooks:q} --mbest {params.mbest} --usage "
        "--indices {output.indices:q} -o {output.latents:q} > {log:q} 2>&1"
