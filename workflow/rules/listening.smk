# Listening tests: a page for raters, made from an experiment.


rule listening:
    input:
        tables=lambda w: [PLAN.experiments[tested(w)].tables.file(name) for name in TABLES],
        required=lambda w: files_on_page(
            tested(w), [name for name in PLAN.heard(w.test) if name in required(tested(w))]
        ),
        optional=lambda w: files_on_page(
            tested(w), [name for name in PLAN.heard(w.test) if name in optional(tested(w))]
        ),
    output:
        report(
            directory("results/listening/{test}"),
            htmlindex="index.html",
            caption="../report/listening.rst",
            category="Listening tests",
            labels={"test": "{test}"},
        ),
    log:
        "results/logs/listening/{test}.log",
    benchmark:
        "results/benchmarks/listening/{test}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        settings=lambda w: in_file(test_settings(w.test)),
        tables=lambda w, input: os.path.dirname(input.tables[0]),
        root=root,
    message:
        "Making {output}"
    shell:
        "mlquant listening {params.settings:q} {params.tables:q} {params.root:q} -o {output:q} > {log:q} 2>&1"
