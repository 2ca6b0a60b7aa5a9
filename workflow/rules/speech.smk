# Speech: obtained, and prepared as 16-bit 8 kHz samples and corpora.


rule fetch_source:
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
        source=settings("sources"),
    message:
        "Obtaining speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.source:q} --apt results/apt -o {output.archive:q} --manifest {output.manifest:q} "
        "> {log:q} 2>&1"


# Whether an optional source can be had is known only when it has been tried.
checkpoint fetch_optional_source:
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
        source=settings("optional_sources"),
    message:
        "Obtaining optional speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.source:q} --optional -o {output.archive:q} --manifest {output.manifest:q} "
        "2>&1 | tee {log:q}"


rule prepare_sample:
    input:
        speech=files_of("samples", "speech"),
    output:
        "results/samples/{stage}/speech.raw",
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
        origin=lambda w: [
            f"--{name}={value}"
            for name, value in stage(w, "samples").settings.items()
            if value
        ],
    message:
        "Preparing sample {wildcards.stage}"
    shell:
        "mlquant prepare-sample {input.speech:q} {params.origin:q} -o {output:q} > {log:q} 2>&1"


rule prepare_corpus:
    input:
        speech=files_of("corpora", "speech"),
    output:
        speech="results/corpora/{stage}/speech.raw",
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
        settings=settings("corpora"),
        # A user's own files can be too many for a command line: the settings name their folder.
        archive=lambda w, input: [
            path for path in input.speech if path.endswith(".tar")
        ],
    message:
        "Preparing training speech {wildcards.stage}"
    shell:
        "mlquant prepare-corpus {params.archive:q} --settings {params.settings:q} "
        "-o {output.speech:q} --manifest {output.manifest:q} > {log:q} 2>&1"
