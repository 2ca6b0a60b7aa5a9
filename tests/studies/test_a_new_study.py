"""A new study is one file and its entry in the configuration: nothing else of the project names it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mlquant

STUDY = '''
"""How many frames has a sample?"""

from typing import Annotated, Any, Literal

from mlquant.core.blocks import Block, Name
from mlquant.core.stage import Setting
from mlquant.studies import shared


class Settings(Block):
    """How long samples are."""

    kind: Annotated[Literal["length"], Setting(help="which study it is")]
    sample: Annotated[Name, Setting(help="the sample")]


def needs(graph: Any, name: str, settings: Settings) -> shared.Summary:
    return shared.summary(name, settings.model_dump(), {"b": graph.sample(settings.sample).b})


def tables(settings: dict) -> dict:
    import pandas as pd

    from mlquant.core import records

    frames = len(records.read_f32(settings["b"], 22))
    return {"length": pd.DataFrame({"sample": [settings["sample"]], "frames": [frames]})}


def figure(figure: Any, folder) -> None:
    from mlquant.core.tables import read_table

    figure.subplots().bar([0], read_table(folder / "length.csv")["frames"])


TITLE = "How long it is"
SECTION, PLACE = "Lengths", 15


def report(folder, entry: dict) -> tuple[dict, list[dict]]:
    from mlquant.core.tables import laid_out, read_rows

    table = read_rows(folder / "length.csv", "sample", "frames")
    return {"frames": table["frames"][0]}, [laid_out("Lengths", ("frames", table["frames"], "d"))]


WORDS = {
    "question": "How long is <code>{{ part.settings.sample }}</code>?",
    "setup": "<p>All frames are counted.</p>",
    "findings": "<p>It has {{ part.facts.frames | num('d') }} frames.</p>",
    "caption": "Frames.",
}
'''
CONFIG = {
    "samples": {"ann": {"url": "file:ann.raw"}},
    "experiments": {"e": {"samples": ["ann"], "outputs": {1: {"tag": "out", "process": "original"}}}},
    "studies": {"how_long": {"kind": "length", "sample": "ann"}},
}
PLAN = """
import json, sys
from mlquant.plan import config
from mlquant.plan.plan import Plan

plan = Plan(config.load(json.loads(sys.argv[1])))
folder = "results/studies/how_long"
report = {"folders": [{"folder": folder, "key": plan.key_of("study", "how_long"), "newer": None, "time": None}]}
made = json.loads(plan.of_study("how_long"))
print(json.dumps([plan.studies["how_long"].settings, plan.studies["how_long"].files, made, report]))
"""


@pytest.fixture
def package(tmp_path):
    """A function that runs Python words with a copy of the package in which there is one more study."""
    copy = tmp_path / "src/mlquant"
    shutil.copytree(Path(mlquant.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "studies/length.py").write_text(STUDY, encoding="utf-8")

    def run(*words):
        environment = os.environ | {"PYTHONPATH": str(copy.parent)}
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run, tmp_path


def test_a_study_needs_no_other_file_of_the_project(package):
    run, folder = package
    settings, files, made, report = json.loads(run("-c", PLAN, json.dumps(CONFIG)))
    assert settings == {"kind": "length", "sample": "ann", "name": "how_long", "b": files[0]}
    assert files[0].startswith("results/features/ann.") and files[0].endswith("/b.f32")
    b = folder / files[0]
    b.parent.mkdir(parents=True)
    b.write_bytes(bytes(88 * 7))
    run("-m", "mlquant.cli", "study", json.dumps(made), "-o", "results/studies/how_long")
    made = {path.name: path for path in (folder / "results/studies/how_long").iterdir()}
    assert made.keys() == {"README.md", "length.csv", "length.png", "length.svg", "settings.json"}
    assert made["length.csv"].read_text(encoding="utf-8") == "sample,frames\nann,7\n"
    readme = made["README.md"].read_text(encoding="utf-8")  # the study explains no column
    assert readme.startswith("# how_long\n\nHow long it is\n") and "- `sample`\n- `frames`\n" in readme
    run("-m", "mlquant.cli", "report", json.dumps(report), "-o", "results/report.html")
    page = (folder / "results/report.html").read_text(encoding="utf-8")
    for words in ("1. Lengths", "How long it is", "How long is <code>ann</code>?", "It has 7 frames.", ">Frames.<"):
        assert words in page, words


def test_a_mistake_in_the_entry_of_a_new_study_is_one_line(package):
    run, _ = package
    wrong = CONFIG | {"studies": {"how_long": {"kind": "length", "sampel": "ann"}}}
    program = "import json, sys; from mlquant.core.errors import InputError; from mlquant.plan import config\n"
    program += "try:\n    config.load(json.loads(sys.argv[1]))\nexcept InputError as error:\n    print(error)"
    assert "studies.how_long: unknown key 'sampel', the nearest valid one is 'sample'" in run(
        "-c", program, json.dumps(wrong)
    )


def test_the_configuration_can_be_checked_without_what_studies_compute_with():
    program = "import sys; from mlquant import studies; print(*studies.kinds())\n"
    program += "print(*{'torch', 'pandas', 'matplotlib', 'scipy', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    kinds, loaded = done.stdout.split("\n")[:2]
    assert {"noise", "bits"} <= {*kinds.split()} and "sweep" not in kinds
    assert loaded == ""


def test_every_study_says_all_that_the_project_asks_of_it():
    from mlquant import studies
    from mlquant.studies import sweep

    for kind, module in studies.kinds().items():
        assert module.__name__ == f"mlquant.studies.{kind}", "a file has the name of its kind"
        for name in ("needs", "tables", "figure", "report"):
            assert callable(getattr(module, name)), (kind, name)
    for module in (*studies.kinds().values(), sweep):
        assert module.__doc__ and module.SECTION and isinstance(module.PLACE, int) and isinstance(module.TITLE, str)
        assert module.WORDS.keys() == {"question", "setup", "findings", "caption"}
        for name, field in module.Settings.model_fields.items():
            assert any(getattr(one, "help", "") for one in field.metadata), (module.__name__, name)
