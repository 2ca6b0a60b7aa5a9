# Networks: trained, and put to work on features.


rule train_network:
    input:
        features=files_of("networks", "features"),
        targets=files_of("networks", "targets"),
        held_out_features=files_of("networks", "held_out_features"),
        held_out_targets=files_of("networks", "held_out_targets"),
        start=files_of("networks", "start"),
        latents=files_of("networks", "latents"),
        held_out_latents=files_of("networks", "held_out_latents"),
        codebooks=files_of("networks", "codebooks"),
    output:
        weights="results/networks/{stage}/weights.safetensors",
        settings="results/networks/{stage}/settings.json",
        losses="results/networks/{stage}/losses.csv",
        report="results/networks/{stage}/training.json",
        provenance="results/networks/{stage}/provenance.json",
    log:
        "results/logs/networks/{stage}.log",
    benchmark:
        "results/benchmarks/networks/{stage}.tsv"
    priority: 1  # the longest way to the end
    conda:
        "../../envs/mlquant.yaml"
    threads: setting("networks", "threads")
    resources:
        mem_mb=3000,
        runtime=120,
        gpu=lambda w: int(stage(w, "networks").settings["device"] == "cuda"),
    params:
        command=lambda w, input: (
            ["train-on", *input.start] if input.start else ["train"]
        ),
        settings=settings("networks"),
        others=lambda w, input: [
            word
            for option, paths in (
                ("--target", input.targets),
                ("--held-out", input.held_out_features),
                ("--held-out-target", input.held_out_targets),
                ("--latents", input.latents),
                ("--held-out-latents", input.held_out_latents),
                ("--loop", [",".join(input.codebooks)] if input.codebooks else []),
            )
            if paths
            for word in (option, *paths)
        ],
        record=lambda w: PLAN.record(stage(w, "networks")),
        root=root,
        folder=folder_of,
    message:
        "Training network {wildcards.stage}; progress in {log}"
    shell:
        "mlquant {params.command:q} --keep-failure --settings {params.settings:q} --features {input.features:q} {params.others:q} "
        "--record {params.record:q} {params.root:q} -o {params.folder:q} > {log:q} 2>&1"


rule plot_losses:
    input:
        losses=files_of("figures", "losses"),
    output:
        report(
            "results/figures/{stage}/losses.png",
            caption="../report/losses.rst",
            category="Networks",
            labels={"network": "{stage}"},
        ),
    log:
        "results/logs/figures/{stage}.log",
    benchmark:
        "results/benchmarks/figures/{stage}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        title=setting("figures", "title"),
    message:
        "Plotting the losses of {wildcards.stage}"
    shell:
        "mlquant plot-losses {input.losses:q} --title {params.title:q} -o {output:q} > {log:q} 2>&1"


rule export_latents:
    input:
        weights=files_of("latents", "weights"),
        features=files_of("latents", "features"),
    output:
        "results/latents/{stage}/l.f32",
    log:
        "results/logs/latents/{stage}.log",
    benchmark:
        "results/benchmarks/latents/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        part=options("latents"),
    message:
        "Exporting latents of {wildcards.stage}"
    shell:
        "mlquant encode {input.weights:q} {input.features:q} {params.part:q} -o {output:q} > {log:q} 2>&1"


rule infer_features:
    input:
        weights=files_of("inferred", "weights"),
        features=files_of("inferred", "features"),
        energy=files_of("inferred", "energy"),
    output:
        "results/inferred/{stage}/hat.f32",
    log:
        "results/logs/inferred/{stage}.log",
    benchmark:
        "results/benchmarks/inferred/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        energy=lambda w, input: ["--energy-from", *input.energy] if input.energy else [],
        noise=options("inferred"),
    message:
        "Passing features through a network: {wildcards.stage}"
    shell:
        "mlquant infer {input.weights:q} {input.features:q} {params.energy:q} {params.noise:q} "
        "-o {output:q} > {log:q} 2>&1"


rule decode_latents:
    input:
        weights=files_of("decoded", "weights"),
        latents=files_of("decoded", "latents"),
        features=files_of("decoded", "features"),
        energy=files_of("decoded", "energy"),
    output:
        "results/decoded/{stage}/hat.f32",
    log:
        "results/logs/decoded/{stage}.log",
    benchmark:
        "results/benchmarks/decoded/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=3,
    params:
        energy=lambda w, input: ["--energy-from", *input.energy] if input.energy else [],
    message:
        "Decoding quantised latents of {wildcards.stage}"
    shell:
        "mlquant decode {input.weights:q} {input.latents:q} --features {input.features:q} {params.energy:q} "
        "-o {output:q} > {log:q} 2>&1"
