# Sweeps, rated chains and studies, which compare networks and quantisers.


rule sweep:
    input:
        lambda w: PLAN.sweeps[w.sweep].files,
    output:
        report(
            directory("results/sweeps/{sweep}"),
            patterns=["{file}.{type,svg|csv}"],
            caption="../report/sweep.rst",
            category="Sweeps",
            subcategory="{sweep}",
            labels={"file": "{file}.{type}"},
        ),
    log:
        "results/logs/sweeps/{sweep}.log",
    benchmark:
        "results/benchmarks/sweeps/{sweep}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        sweep=lambda w: in_file(PLAN.of_sweep(w.sweep)),
        root=root,
    message:
        "Summarising sweep {wildcards.sweep}"
    shell:
        "mlquant sweep {params.sweep:q} {params.root:q} -o {output:q} > {log:q} 2>&1"


rule rate:
    input:
        trained=taken(
            "trained",
            "results/networks/{}/weights.safetensors",
            "results/codebooks/{}/vq.f32",
            "results/predictors/{}/a.f32",
        ),
        features=taken("features", "results/features/{}/b.f32", own),
        targets=taken("targets", "results/features/{}/y.f32", own),
        held_out_features=taken("held_out_features", "results/features/{}/b.f32", own),
        held_out_targets=taken("held_out_targets", "results/features/{}/y.f32", own),
        samples=lambda w: [
            here(path) for name in samples_rated(w) for path in node(w).settings["samples"][name].values()
        ],
        manifests=lambda w: PLAN.manifests(node(w)),
    output:
        table="results/rates/{node}/rates.csv",
    log:
        "results/logs/rates/{node}.log",
    benchmark:
        "results/benchmarks/rates/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        arguments=arguments,
        samples=lambda w: [f"--samples={name}" for name in samples_rated(w)],
        manifests=lambda w, input: [f"--manifests={path}" for path in input.manifests],
    message:
        "Measuring rate and distortion of {wildcards.node}"
    shell:
        "mlquant rate {params.arguments:q} {params.samples:q} {params.manifests:q} > {log:q} 2>&1"


rule study:
    input:
        files=lambda w: [here(path) for path in PLAN.studies[w.study].files],
        anchors=lambda w: anchors_of(w.study),
    output:
        report(
            directory("results/studies/{study}"),
            patterns=["{file}.{type,svg|csv|wav}"],
            caption="../report/study.rst",
            category="Studies",
            subcategory="{study}",
            labels={"file": "{file}.{type}"},
        ),
    log:
        "results/logs/studies/{study}.log",
    benchmark:
        "results/benchmarks/studies/{study}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        study=lambda w: in_file(PLAN.of_study(w.study, anchors_of(w.study))),
        root=root,
    message:
        "Making study {wildcards.study}"
    shell:
        "mlquant study {params.study:q} {params.root:q} -o {output:q} > {log:q} 2>&1"
