# Listening tests: a page for raters, made from an experiment.


def ratings_of(experiment):
    """Return the tables of answers to the listening tests of an experiment that are there."""
    tests = [name for name, test in PLAN.tests.items() if test.experiment == experiment]
    return [local(path) for path in (f"results/ratings/{name}/ratings.csv" for name in tests) if os.path.exists(path)]


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
        settings=lambda w: test_settings(w.test),
        tables=lambda w, input: os.path.dirname(input.tables[0]),
        root=root,
    message:
        "Making {output}"
    shell:
        "mlquant listening {params.settings:q} {params.tables:q} {params.root:q} -o {output:q} > {log:q} 2>&1"


def test_settings(test):
    """Return what the page of a listening test is made by, as JSON text."""
    try:
        return PLAN.of_listening(test)
    except InputError as error:
        raise WorkflowError(str(error))


def tested(wildcards):
    """Return the experiment whose outputs are heard in a listening test."""
    return PLAN.tests[wildcards.test].experiment
