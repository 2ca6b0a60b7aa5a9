# Speech: obtained, and prepared as 16-bit 8 kHz samples and corpora.


rule fetch:
    output:
        archive="results/sources/{stage}/speech.tar",
        manifest="results/sources/{stage}/manifest.json",
    log:
        "results/logs/sources/{stage}.log",
    benchmark:
        "results/benchmarks/sources/{stage}.tsv"
    localrule: True  # the nodes of a cluster often have no network
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Obtaining speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.arguments:q} --apt results/apt > {log:q} 2>&1"


# Whether an optional source can be had is known only when it has been tried.
checkpoint fetch_optional:
    output:
        archive="results/optional_sources/{stage}/speech.tar",
        manifest="results/optional_sources/{stage}/manifest.json",
    log:
        "results/logs/optional_sources/{stage}.log",
    benchmark:
        "results/benchmarks/optional_sources/{stage}.tsv"
    localrule: True  # the nodes of a cluster often have no network
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        arguments=arguments,
    message:
        "Obtaining optional speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.arguments:q} --optional 2>&1 | tee {log:q}"


rule prepare_sample:
    input:
        speech=taken("speech", "results/sources/{}/speech.tar", "results/optional_sources/{}/speech.tar", own),
    output:
        raw="results/samples/{stage}/speech.raw",
    log:
        "results/logs/samples/{stage}.log",
    benchmark:
        "results/benchmarks/samples/{stage}.tsv"
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        arguments=arguments,
    message:
        "Preparing sample {wildcards.stage}"
    shell:
        "mlquant prepare-sample {params.arguments:q} > {log:q} 2>&1"


rule prepare_corpus:
    input:
        speech=taken("speech", "results/sources/{}/speech.tar"),
        own=taken("own", own),
    output:
        raw="results/corpora/{stage}/speech.raw",
        manifest="results/corpora/{stage}/manifest.csv",
    log:
        "results/logs/corpora/{stage}.log",
    benchmark:
        "results/benchmarks/corpora/{stage}.tsv"
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
        "Preparing training speech {wildcards.stage}"
    shell:
        "mlquant prepare-corpus {params.arguments:q} {params.test_samples:q} > {log:q} 2>&1"
