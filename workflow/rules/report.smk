# The report of all results: of those whose folders are there when Snakemake starts, brought up to date first.


rule write_report:
    input:
        lambda w: with_results(),
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
        report=lambda w: PLAN.params("report", PLAN.report(with_results())),
    message:
        "Writing {output}"
    shell:
        "mlquant report {params.report:q} -o {output} > {log} 2>&1"
