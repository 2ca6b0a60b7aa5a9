# What was asked for. A target that no rule makes is refused, with the name of the nearest one. This file is included
# after all rules that make something, as it needs their names and outputs.

import contextlib

from mlquant.core.errors import InputErrors
from mlquant.plan.reading import end


def asked_for():
    """Return the targets of this run, read from its command line as Snakemake reads it.

    Snakemake knows them when all rules are read, and tells them no rule before. None stands for a run that makes no
    target, or was not started from the command line of Snakemake.
    """
    from snakemake.cli import parse_args

    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            _, found = parse_args(sys.argv[1:])
    except (SystemExit, Exception):
        return None
    if found.lint or found.list_rules or found.list_target_rules or found.print_compilation or found.unlock:
        return None
    return [target if is_rule(target) or os.path.isabs(target) else os.path.relpath(target) for target in found.targets]


def is_rule(target):
    """Return whether a target is the name of a rule."""
    return workflow.is_rule(target)


def is_made(target):
    """Return whether Snakemake finds a rule for a target."""
    path = workflow.modifier.path_modifier.apply_default_storage(target)
    return is_rule(target) or any(rule.is_producer(path) for rule in workflow.rules)


ASKED_FOR = asked_for() if workflow.is_main_process else None
if unknown := [target for target in ASKED_FOR or [] if not is_made(target)]:
    named = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    end(InputErrors(PLAN.unknown_target(target, named) for target in unknown))
