"""The help of every command names all of its settings, with the defaults and ranges that are declared."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mlquant import cli, studies
from mlquant.chains.steps import Step
from mlquant.codecs.settings import Assembled, TrainContext
from mlquant.core import blocks
from mlquant.core.stage import UNSET, Setting
from mlquant.experiments.settings import IndexedOutput, Tables
from mlquant.listening.settings import Page
from mlquant.measures.settings import Coding, Record
from mlquant.networks.settings import NetworkSettings
from mlquant.plan.config import load, read
from mlquant.plan.plan import Plan
from mlquant.quantisers.settings import SuperframeSettings
from mlquant.report.settings import Report
from mlquant.speech.settings import GivenClips, SeededChoice, SetShard, Source
from mlquant.studies.rates import RateSettings
from mlquant.studies.settings import StudyFiles, Sweep
from mlquant.vocoder.settings import Track

ROOT = Path(__file__).resolve().parents[1]
STAGES = cli.stages()
BLOCKS = {
    **{"fetch": [Source], "prepare-corpus": [SeededChoice], "train": [NetworkSettings], "train-on": [NetworkSettings]},
    **{"measure": [Record], "tabulate": [Tables], "sweep": [Sweep], "report": [Report]},
    "listening": [Page],
    "prepare-set": [SetShard, GivenClips],
    "measure-set": [Coding],
    **{"track": [Track], "vq-superframe": [SuperframeSettings], "train-context": [TrainContext]},
    "assemble": [Assembled],
    "rate": [RateSettings, *Step.__args__],
    "study": [StudyFiles, *(module.Settings for module in studies.kinds().values())],
}
"""The blocks whose keys the JSON object of a command has."""


@pytest.fixture(autouse=True)
def _columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


def helped(command):
    return cli._parser_of(STAGES[command]).format_help()


def entries(text):
    """What is said of each name that stands at the start of a line with two spaces, by name, in one line each."""
    found = {}
    for about in re.split(r"\n(?=  \S)|\n\n", text):
        for word in about.split("  ")[1].split(", ") if about.startswith("  ") else ():
            found.setdefault(word.split()[0], []).append(" ".join(about.split()))
    return found


def tells_bounds(text, about):
    """Whether a text holds the bounds of a setting, but for those of the machine; 1 may stand for more than 0."""
    bounds = {kind: bound for kind, bound in about.bounds.items() if bound < 1 << 31}
    told = [{bound, bound + 1} if kind == "gt" else {bound} for kind, bound in bounds.items()]
    return all(any(f" {one:,}".replace(",", " ") in text for one in either) for either in told)


def settings_in(annotation):
    """The settings within an annotation, as in one that may be None."""
    inner = [found for one in get_args(annotation) for found in settings_in(one)]
    return [one for one in getattr(annotation, "__metadata__", ()) if isinstance(one, Setting)] + inner


def as_told(default):
    """How a default is written."""
    if default in (None, "", []) or default is PydanticUndefined:
        return "none" if default != [] else "[]"
    if isinstance(default, bool):
        return str(default).lower()
    return json.dumps(default).strip('"')


def test_the_blocks_of_all_commands_that_take_json_are_compared():
    declared = {command for command, one in STAGES.items() if one.whole}
    assert declared == {*BLOCKS}
    for command in declared:
        module, _, name = STAGES[command].whole.about.block.partition(":")
        found = getattr(import_module(module), name)
        found = [found] if isinstance(found, type) else [*found().values()]
        assert {*found} == {*BLOCKS[command]}


@pytest.mark.parametrize("command", STAGES)
def test_the_help_names_every_parameter_with_its_default_and_range(command):
    told = entries(helped(command))
    for name, one in STAGES[command].parameters.items():
        flag = "-o" if one.flag == "--out" else one.flag or one.about.metavar or name
        (about,) = [text for text in told[flag] if " ".join(one.about.help.split()[:3]) in text.replace("- ", "-")]
        if isinstance(one.about, Setting):
            assert tells_bounds(about, one.about), (command, name, about)
            assert {int: "a whole number", float: "a number", str: "text"}.get(one.kind, "") in about
        if one.default is UNSET:
            assert "default" not in about and (one.role != "setting" or "required" in about)
        elif "by default" not in about:
            default = "off" if one.default is False else "none" if one.default in (None, "", []) else one.default
            assert f"default {default})" in about, (command, name, about)


@pytest.mark.parametrize(("command", "block"), [(command, block) for command in BLOCKS for block in BLOCKS[command]])
def test_the_help_names_every_key_of_a_json_object_with_its_default_and_range(command, block):
    told = entries(helped(command))
    for name, field in block.model_fields.items():
        if name == "step":  # which the title names
            continue
        texts = [re.sub(r"[`\s]+", " ", text) for text in told[name]]
        settings = [*settings_in(field.annotation), *(one for one in field.metadata if isinstance(one, Setting))]
        meant = field.description or next((one.help for one in reversed(settings) if one.help), "")
        texts = [text for text in texts if meant.replace("`", "").split(";")[0] in text]
        assert meant and texts, (command, name)
        if field.is_required():
            assert any("required)" in text for text in texts), (command, name, texts)
        elif "by default" not in texts[0] and field.default_factory is None:
            default = field.default
            assert any(f"default {as_told(default)})" in text for text in texts), (command, name, texts)
        assert all(any(tells_bounds(text, one) for text in texts) for one in settings), (command, name, texts)


@pytest.mark.parametrize("command", ["", *STAGES])
def test_the_help_fits_80_columns(command):
    text = helped(command) if command else cli._parser_of_all(cli.command_names()).format_help()
    too_long = [line for line in text.splitlines() if len(line) > 80]
    assert not too_long


def test_the_help_of_all_commands_has_a_line_for_each_by_subject_in_the_order_of_the_graph():
    lines = cli._parser_of_all(cli.command_names()).format_help().splitlines()
    assert [line.strip(" :") for line in lines if re.fullmatch(r"  \w+:", line)] == list(cli.SUBJECTS)
    named = [line.split() for line in lines if line.startswith("    ")]
    assert [words[0] for words in named] == list(cli.command_names())
    assert all(words[-1].endswith((".", ").")) for words in named)


def test_a_help_loads_no_library_that_computes_and_no_command_loads_pydantic_for_its_options():
    code = """
import sys
from mlquant import cli
names = cli.command_names()
cli._parser_of_all(names).format_help()
stages = {command: cli.stage_of(command, subject) for command, subject in names.items() if subject != "report"}
for stage in stages.values():
    cli._parser_of(stage)
print("pydantic" in sys.modules)
for stage in cli.stages().values():
    cli._parser_of(stage).format_help()
print(sorted({"numpy", "torch", "pandas", "scipy", "snakemake"} & sys.modules.keys()), "pydantic" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False", "[] True"]


# --- what the workflow gives ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        return Plan(load(read(ROOT)))


def test_the_workflow_gives_commands_the_keys_that_their_help_names(plan):
    compared = set()
    for node in plan.nodes.values():
        if node.stage.whole:
            (block, *_) = BLOCKS[node.stage.command]
            given = json.loads(json.dumps(node.settings))
            if block is Tables:  # whose outputs hold defaults too, some of which exclude each other
                assert all(one.keys() == IndexedOutput.model_fields.keys() for one in given.pop("outputs"))
                given["outputs"] = []
            _, faults = blocks.checked(block, given)
            assert not faults, (node.folder, faults)
            compared.add(node.stage.command)
    assert compared == {*BLOCKS} - {"listening", "sweep", "study", "report"}
    steps = {block.model_fields["step"].default: block for block in Step.__args__}
    for node in plan.nodes.values():
        for step in node.settings["steps"] if node.stage.command == "rate" else ():
            _, faults = blocks.checked(steps[step["step"]], step)
            assert not faults, (node.folder, faults)


def test_the_workflow_gives_sweeps_studies_and_the_report_the_keys_that_their_help_names(plan):
    for name in plan.sweeps:
        assert not blocks.checked(Sweep, json.loads(plan.of_sweep(name)))[1]
    added = StudyFiles.model_fields.keys()
    for name, study in plan.config.studies.items():
        given = json.loads(plan.of_study(name, ["a/measured.json"]))
        own = {key: value for key, value in given.items() if key in added - type(study).model_fields.keys()}
        assert given.keys() <= type(study).model_fields.keys() | added, name
        assert not blocks.checked(StudyFiles, own | {"name": name})[1]
    assert not blocks.checked(Report, json.loads(plan.report(["results/240118_wav", "results/none_wav"])))[1]
    assert issubclass(Report, BaseModel)


def test_the_workflow_gives_listening_tests_the_keys_that_their_help_names(plan):
    assert {*plan.config.experiments, "240118_pairs"} == {*plan.tests}
    for name in plan.tests:
        assert not blocks.checked(Page, json.loads(plan.of_listening(name)))[1]
