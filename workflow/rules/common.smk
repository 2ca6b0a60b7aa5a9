# Makes the plan from the configuration, and defines the functions by which rules look things up in it.

import hashlib
import json
import os
import re
from pathlib import Path

from mlquant.core.disk import write_text
from mlquant.core.errors import InputError
from mlquant.plan.config import files, load, read
from mlquant.plan.plan import Plan
from mlquant.plan.reading import end, refuse_repeats
from mlquant.plan.records import WITH_SIDECAR
from mlquant.vocoder.types import MODES

if re.search("[{}]", str(workflow.basedir)):
    raise WorkflowError(f"{workflow.basedir}: has braces in its name, which Snakemake takes for a wildcard")
# The files of the configuration are read here, not by `configfile:`, so that 240118 and "240118" are one experiment
# whichever file or --config it stands in. Snakemake gets their names for --report.
CHECKOUT = Path(str(workflow.basedir))
workflow.configfiles += files(CHECKOUT)
try:
    refuse_repeats(workflow.config_settings.config_args or ())
    PLAN = Plan(load(read(CHECKOUT, workflow.overwrite_configfiles, workflow.config_settings.config)))
except InputError as error:
    end(error)

config |= PLAN.captions()  # captions read it from snakemake.config

own = None  # in place of a pattern: a user's own files, which no rule makes
any_result = ...  # in place of a pattern: whatever a node makes
NODE_FILE = re.compile(r"(.+/)?results/\w+/[\w-]+\.[0-9a-f]{8}/[^/]+")
NODES = {folder.rpartition("/")[2]: folder for folder in PLAN.nodes}


def node(wildcards):
    """Return the node of the plan that a job makes."""
    folder = NODES.get(wildcards.node, f"results/{wildcards.node}")
    try:
        return PLAN[folder]
    except InputError as error:
        raise WorkflowError(str(error))


def taken(name, *patterns):
    """Return an input function: it gives the files of a node's input `name`; each must match one of the patterns."""
    known = {tuple(pattern.split("/{}/")) for pattern in patterns if isinstance(pattern, str)}

    def files(wildcards):
        paths = node(wildcards).inputs.get(name, [])
        for path in paths:
            folder, _, file = path.rpartition("/")
            if folder in PLAN.nodes:
                matches = any_result in patterns or (folder.rpartition("/")[0], file) in known
            else:
                matches = own in patterns
            if not matches:
                raise WorkflowError(
                    f"{wildcards.node}: its input {name} is {path}, which matches no pattern of the rule"
                )
        return [here(path) for path in paths]

    return files


def made_by(command):
    """Return a regular expression of the nodes that a command makes, where two commands make results of one kind."""
    names = [re.escape(folder.rpartition("/")[2]) for folder, found in PLAN.nodes.items() if found.command == command]
    return "|".join(names) or "none"


def arguments(wildcards, input, output):
    """Params function: return the words of a node's command line, which follow from the signature of its function."""
    found = node(wildcards)
    stage = found.stage
    values = dict(found.settings) if not stage.whole else {stage.whole.name: in_file(params(found.settings))}
    for name, one in stage.inputs.items():
        paths = list(input.get(name, []))
        values[name] = paths if one.several else (paths[0] if paths else None)
    for name, files in stage.outputs.items():
        several = stage.parameters[name].several
        values[name] = list(output) if several else output.get(name) or os.path.dirname(output[0])
    if "record" in stage.parameters and found.kind in WITH_SIDECAR:
        values["record"] = in_file(PLAN.sidecar(found))
    return stage.words(values) + root(wildcards, input) * ("root" in stage.parameters)


def params(settings):
    """Return all settings as one sorted JSON text."""
    return json.dumps(settings, sort_keys=True)


def in_file(text):
    """Write a JSON text into a file and return its path, as on a command line it would take kilobytes.

    The path follows from the text. So Snakemake, which compares params, sees a change of the text, and each process that
    reads the rules, on any machine, names the same file.
    """
    path = f".snakemake/mlquant/settings/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
    if not os.path.exists(path):
        try:
            write_text(path, f"{text}\n")
        except OSError as error:
            raise WorkflowError(f"{path}: cannot be written: {error.strerror}")
    return path


def root(wildcards, input):
    """Params function: return --root and the folder of results/ when files come from a storage, else nothing.

    Paths within records stay those of the plan.
    """
    found = [match for match in map(NODE_FILE.fullmatch, map(str, input)) if match]
    folders = {match[1] for match in found}
    return ["--root", min(folders)[:-1]] if folders and None not in folders else []


def folder_of(wildcards, output):
    """Params function: return the folder that a job writes into."""
    return os.path.dirname(output[0])


def here(path):
    """Return a path for Snakemake; a file that no node makes is local, whatever storage results are kept in."""
    return path if path.rpartition("/")[0] in PLAN.nodes else local(path)
