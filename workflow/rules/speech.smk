# Speech: obtained, and prepared as 16-bit 8 kHz samples and corpora.


rule fetch_source:
    output:
        archive="results/sources/{stage}/speech.tar",
        manifest="results/sources/{stage}/manifest.json",
    params:
        source=settings("sources"),
    log:
        "results/logs/sources/{stage}.log",
    benchmark:
        "results/benchmarks/sources/{stage}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Obtaining speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.source:q} --apt results/apt -o {output.archive} --manifest {output.manifest} "
        "> {log} 2>&1"


# Whether an optional source can be had is known only when it has been tried.
checkpoint fetch_optional_source:
    output:
        archive="results/optional_sources/{stage}/speech.tar",
        manifest="results/optional_sources/{stage}/manifest.json",
    params:
        source=settings("optional_sources"),
    log:
        "results/logs/optional_sources/{stage}.log",
    benchmark:
        "results/benchmarks/optional_sources/{stage}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Obtaining optional speech: {wildcards.stage}"
    shell:
        "mlquant fetch {params.source:q} --optional -o {output.archive} --manifest {output.manifest} 2>&1 | tee {log}"


rule prepare_sample:
    input:
        speech=files_of("samples", "speech"),
    output:
        "results/samples/{stage}/speech.raw",
    params:
        origin=lambda w: [
            f"--{name}={value}"
            for name, value in stage(w, "samples").settings.items()
            if value
        ],
    log:
        "results/logs/samples/{stage}.log",
    benchmark:
        "results/benchmarks/samples/{stage}.tsv"
    resources:
        mem_mb=1000,
        runtime=10,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Preparing sample {wildcards.stage}"
    shell:
        "mlquant prepare-sample {input.speech:q} {params.origin:q} -o {output} > {log} 2>&1"


rule prepare_corpus:
    input:
        speech=files_of("corpora", "speech"),
    output:
        speech="results/corpora/{stage}/speech.raw",
        manifest="results/corpora/{stage}/manifest.csv",
    params:
        settings=settings("corpora"),
    log:
        "results/logs/corpora/{stage}.log",
    benchmark:
        "results/benchmarks/corpora/{stage}.tsv"
    resources:
        mem_mb=2000,
        runtime=30,
    conda:
        "../../envs/mlquant.yaml"
    message:
        "Preparing training speech {wildcards.stage}"
    shell:
        "mlquant prepare-corpus {input.speech:q} --settings {params.settings:q} "
        "-o {output.speech} --manifest {output.manifest} > {log} 2>&1"
