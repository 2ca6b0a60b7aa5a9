# Comparisons of two experiments, and the report of all results.


rule compare:
    input:
        a=lambda w: files_compared(w.a),
        b=lambda w: files_compared(w.b),
    output:
        report(
            directory("results/compare/{a}_vs_{b}"),
            htmlindex="index.html",
            caption="../report/compare.rst",
            category="Comparisons",
            labels={"experiments": "{a}, {b}"},
        ),
    log:
        "results/logs/compare/{a}_vs_{b}.log",
    benchmark:
        "results/benchmarks/compare/{a}_vs_{b}.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folders=lambda w, input: [
            os.path.dirname(files[0]) if files else folder_compared(name)
            for name, files in ((w.a, input.a), (w.b, input.b))
        ],
        root=root,
        code=PLAN.params(("mlquant.experiments.stages:compare",), {}),
    message:
        "Comparing {wildcards.a} and {wildcards.b}"
    shell:
        "mlquant compare {params.folders:q} {params.root:q} -o {output:q} > {log:q} 2>&1"


REPORTING = any(argument.startswith("--report") for argument in sys.argv)


# The report is of all results whose folders exist when Snakemake starts. It shows them as they were made; only those that
# are targets of the same run are made first. It is also the default target of `snakemake --report report.zip`, which
# then shows what exists.
rule report:
    default_target: REPORTING
    input:
        lambda w: [folder for folder in PLAN.folders() if folder in (with_results() if REPORTING else TARGETS)],
    output:
        # Snakemake's own report has this page in it once it is written.
        report(
            "results/report.html",
            caption="../report/report.rst",
            category="Report",
            labels={"page": "all results"},
        )
        if os.path.exists("results/report.html")
        else "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/mlquant.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        report=lambda w: in_file(PLAN.report(with_results(TARGETS))),
    message:
        "Writing {output}"
    shell:
        "mlquant report {params.report:q} -o {output:q} > {log:q} 2>&1"
