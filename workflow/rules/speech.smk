# Speech is obtained, and prepared as 16-bit 8 kHz samples and corpora.


rule fetch:
    output:
        archive="results/sources/{node}/speech.tar",
        manifest="results/sources/{node}/manifest.json",
    log:
        "results/logs/sources/{node}.log",
    benchmark:
        "results/benchmarks/sources/{node}.tsv"
    localrule: True  # the nodes of a cluster often have no network
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Obtaining speech: {wildcards.node}"
    shell:
        "mlquant fetch {params.arguments:q} --apt results/apt > {log:q} 2>&1"


# Whether an optional source can be obtained is known only after the attempt.
checkpoint fetch_optional:
    output:
        archive="results/optional_sources/{node}/speech.tar",
        manifest="results/optional_sources/{node}/manifest.json",
    log:
        "results/logs/optional_sources/{node}.log",
    benchmark:
        "results/benchmarks/optional_sources/{node}.tsv"
    localrule: True  # the nodes of a cluster often have no network
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Obtaining optional speech: {wildcards.node}"
    shell:
        "mlquant fetch {params.arguments:q} --optional > {log:q} 2>&1"


rule prepare_sample:
    input:
        speech=taken("speech", "results/sources/{}/speech.tar", "results/optional_sources/{}/speech.tar", own),
    output:
        raw="results/samples/{node}/speech.raw",
    log:
        "results/logs/samples/{node}.log",
    benchmark:
        "results/benchmarks/samples/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Preparing sample {wildcards.node}"
    shell:
        "mlquant prepare-sample {params.arguments:q} > {log:q} 2>&1"


rule prepare_corpus:
    input:
        speech=taken("speech", "results/sources/{}/speech.tar"),
        own=taken("own", own),
    output:
        raw="results/corpora/{node}/speech.raw",
        manifest="results/corpora/{node}/manifest.csv",
    log:
        "results/logs/corpora/{node}.log",
    benchmark:
        "results/benchmarks/corpora/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        arguments=arguments,
        # Not among the settings, so that a new sample redoes no corpus: those that have it are found by their manifests.
        test_samples=lambda w, input: [f"--test-samples={one}" for one in PLAN.test_samples()],
    message:
        "Preparing training speech {wildcards.node}"
    shell:
        "mlquant prepare-corpus {params.arguments:q} {params.test_samples:q} > {log:q} 2>&1"


rule prepare_set:
    input:
        speech=taken("speech", "results/sources/{}/speech.tar"),
        own=taken("own", own),
    output:
        raw="results/sets/{node}/speech.raw",
        utterances="results/sets/{node}/utterances.csv",
    log:
        "results/logs/sets/{node}.log",
    benchmark:
        "results/benchmarks/sets/{node}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        arguments=arguments,
    message:
        "Preparing utterances {wildcards.node}"
    shell:
        "mlquant prepare-set {params.arguments:q} > {log:q} 2>&1"
