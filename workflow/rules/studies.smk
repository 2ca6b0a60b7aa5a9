# What compares networks and quantisers: sweeps, rated chains and studies.


rule summarise_sweep:
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
        sweep=lambda w: PLAN.params("sweep", PLAN.sweeps[w.sweep].settings),
        root=root,
    message:
        "Summarising sweep {wildcards.sweep}"
    shell:
        "mlquant sweep {params.sweep:q} {params.root:q} -o {output:q} 2>&1 | tee {log:q}"


rule rate_chain:
    input:
        trained=files_of("rates", "trained"),
        features=files_of("rates", "features"),
        targets=files_of("rates", "targets"),
        held_out_features=files_of("rates", "held_out_features"),
        held_out_targets=files_of("rates", "held_out_targets"),
        samples=lambda w: [
            here(path)
            for name in samples_rated(w)
            for path in stage(w, "rates").inputs[f"sample_{name}"]
        ],
    output:
        "results/rates/{stage}/rates.csv",
    log:
        "results/logs/rates/{stage}.log",
    benchmark:
        "results/benchmarks/rates/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        chain=settings("rates"),
        samples=samples_rated,
        root=root,
    message:
        "Measuring rate and distortion of {wildcards.stage}"
    shell:
        "mlquant rate {params.chain:q} --samples {params.samples:q} {params.root:q} -o {output:q} > {log:q} 2>&1"


rule make_study:
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
        study=lambda w: PLAN.params("study", settings_of_study(w.study)),
        root=root,
    message:
        "Making study {wildcards.study}"
    shell:
        "mlquant study {params.study:q} {params.root:q} -o {output:q} > {log:q} 2>&1"
