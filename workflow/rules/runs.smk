# Lets several runs work at once, and a run follow one that was killed. This file is included last, behind targets.smk.

from mlquant.core.provenance import no_revision
from mlquant.tools import runs

# Options of Snakemake with which nothing is made: -n, --dry-run, --summary, --report and their like.
LOOKS = r"-\w*n\w*|-[SD]|--(dry-?run|lint|list|(detailed-)?summary|report|dag|rulegraph|filegraph|unlock).*"
TARGETS = ASKED_FOR or ["all_experiments"]


def first_needed(files):
    """Return the first of some files that this run takes or makes."""
    needed = PLAN.needed_for(TARGETS)
    return next((path for path in files if {path, path.rpartition("/")[0]} & needed), None)


def there():
    """Yield the files that this run takes or makes, as far as they are there already."""
    needed = PLAN.needed_for(TARGETS)
    yield from PLAN.graph.own_inputs(PLAN[folder] for folder in needed if folder in PLAN.nodes)
    for folder in needed:
        for place, _, names in os.walk(folder):
            yield from (os.path.join(place, name) for name in names)


if workflow.is_main_process:
    if any(re.fullmatch(LOOKS, argument) for argument in sys.argv[1:]):
        runs.look()
    else:
        runs.enter(TARGETS, first_needed, logger.info)
        if ahead := runs.dated_ahead(there()):
            end(InputError(ahead))


onstart:
    runs.settle()
    if reason := no_revision():
        logger.warning(reason)


onsuccess:
    runs.leave()


onerror:
    runs.leave()
