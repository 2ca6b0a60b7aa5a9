"""Keys: what a change of the code redoes, and that everything that runs for a result counts in its key."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlquant.core import keys
from mlquant.core.definitions import Package

ROOT = Path(__file__).resolve().parents[2]


# --- small packages --------------------------------------------------------------------------------------

CASES = Path(__file__).parent
B = (CASES / "keys_seen.txt").read_text().partition("stands:\n")[2].partition("\n##")[0]


def reached(folder, files, entry="mlquant.a:f"):
    """What a function of a package of these files reaches, each definition with its digest."""
    package = folder / "mlquant"
    shutil.rmtree(package, ignore_errors=True)
    for name, text in {"__init__.py": "", "sub/__init__.py": "", "b.py": B, "sub/b.py": B, **files}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Package(package).reached(entry)


def cases(name):
    """The edits in a file: by name the files of the package before and after."""
    found = {}
    for case in (CASES / name).read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, rest = case.partition("\n")
        text, _, edit = rest.rpartition("\n> ")
        first, *others = text.replace("{B}", B).split("\n--- ")
        files = {"b.py": B, "sub/b.py": B, "sub/__init__.py": "", "a.py": first}
        files |= {other.partition("\n")[0]: other.partition("\n")[2] for other in others}
        edited, old, new = re.fullmatch(r"(\S+):(?: (.*?))? -> ?(.*)\n*", edit).groups(default="")
        old, new = (part.replace("\\n", "\n").replace("{B}", B) for part in (old, new))
        assert title not in found and (not old or files[edited].count(old) == 1), title
        found[title] = files, files | {edited: files[edited].replace(old, new) if old else new}
    return found


SEEN, NOT_SEEN = cases("keys_seen.txt"), cases("keys_not_seen.txt")


@pytest.mark.parametrize("case", SEEN)
def test_an_edit_of_what_a_function_reaches_is_seen(tmp_path, case):
    before, after = SEEN[case]
    assert before != after and reached(tmp_path, before) != reached(tmp_path, after)


@pytest.mark.parametrize("case", NOT_SEEN)
def test_an_edit_of_anything_else_is_not(tmp_path, case):
    before, after = NOT_SEEN[case]
    assert before != after and reached(tmp_path, before) == reached(tmp_path, after)


def test_what_is_reached_is_named_without_the_package(tmp_path):
    files = {
        "a.py": "from mlquant import sub\nfrom mlquant.sub.b import g\ndef f(): return g(), sub.X\n",
        "sub/__init__.py": "print(1)\nX = 1\n",
        "sub/b.py": B,
        "sub/page.html": "<p>",
    }
    found = reached(tmp_path, files)
    assert [*found] == ["a.f", "sub", "sub.X", "sub.b.g", "sub/page.html"]
    assert all(re.fullmatch("[0-9a-f]{8}", digest) for digest in found.values())


def test_functions_that_reach_each_other_and_modules_that_import_each_other_are_followed(tmp_path):
    files = {
        "a.py": "from mlquant.b import g, k\ndef f(): g()\n",
        "b.py": "from mlquant.a import f, k\ndef g(): f(), k\n",
    }
    assert [*reached(tmp_path, files)] == ["a.f", "b.g"]


@pytest.mark.parametrize("entry", ["mlquant.a:h", "mlquant.c:f", "mlquant.a", "f"])
def test_a_function_that_is_not_there_is_named(tmp_path, entry):
    with pytest.raises(ValueError, match=f"^{entry}: there is no such function, expected module:function"):
        reached(tmp_path, {"a.py": "def f(): pass\n"}, entry)


def test_a_key_is_of_folder_settings_inputs_and_code():
    whole = ("codebooks", {"k": 4}, {"latents": ["results/latents/a.12345678/l.f32"]}, "code")
    others = ("codebooks_", {"k": 5}, {"latents": ["results/latents/a.12345679/l.f32"]}, "codes")
    changed = [(*whole[:i], other, *whole[i + 1 :]) for i, other in enumerate(others)]
    found = [keys.stage_key(*given) for given in (whole, *changed)]
    assert len({*found}) == 5 and all(re.fullmatch("[0-9a-f]{8}", key) for key in found)
    assert keys.stage_key(*whole) == found[0]


def test_settings_at_their_neutral_value_are_left_out():
    assert keys.without_neutral({"a": 1, "b": None, "c": 0}, {"b": None, "c": 1}) == {"a": 1, "c": 0}


# --- the real plan ---------------------------------------------------------------------------------------

PLAN = """
import json, sys
from pathlib import Path
from mlquant.core import keys
from mlquant.plan import config
from mlquant.plan.plan import Plan

nodes = [
    {"folder": folder, "kind": node.kind, "name": node.name, "entry": node.stage.entry, "settings": node.settings,
     "inputs": [path.rpartition("/")[0] for paths in node.inputs.values() for path in paths]}
    for folder, node in Plan(config.load(config.read(Path()))).nodes.items()
]
json.dump({"nodes": nodes, "reached": {node["entry"]: [*keys.reached(node["entry"])] for node in nodes}}, sys.stdout)
"""


@dataclass
class Planned:
    """The nodes of the plan, in its order, and what the function of each stage reaches."""

    nodes: list[dict]
    reached: dict[str, list[str]]

    def others(self, after):
        """Which nodes have another key in another plan."""
        named = [[(node["kind"], node["name"]) for node in plan.nodes] for plan in (self, after)]
        assert named[0] == named[1]
        pairs = enumerate(zip(self.nodes, after.nodes, strict=True))
        return {i for i, (node, other) in pairs if node["folder"] != other["folder"]}

    def where(self, condition):
        return {i for i, node in enumerate(self.nodes) if condition(node)}

    def of(self, *kinds):
        return self.where(lambda node: node["kind"] in kinds)

    def that_reach(self, definition):
        return self.where(lambda node: definition in self.reached[node["entry"]])

    def with_what_follows(self, chosen):
        """Nodes, and all that are made from them."""
        found = {*chosen}
        while True:
            folders = {self.nodes[i]["folder"] for i in found}
            more = self.where(lambda node: folders & {*node["inputs"]}) - found  # noqa: B023
            if not more:
                return found
            found |= more


def planned(source):
    """The plan of the configuration of this checkout, made by the package in a folder."""
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PLAN],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return Planned(**json.loads(done.stdout))


@pytest.fixture(scope="module")
def unedited():
    return planned(ROOT / "src")


@pytest.fixture
def source(tmp_path):
    """A copy of the package, to edit."""
    shutil.copytree(ROOT / "src/mlquant", tmp_path / "src/mlquant", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "src"


def replaced(pattern, by, flags=re.MULTILINE):
    """An edit of a text that finds a pattern once."""

    def edit(text):
        edited, count = re.subn(pattern, by, text, flags=flags)
        assert count == 1, pattern
        return edited

    return edit


def added(code):
    return lambda text: f"{text}\n\n{code}\n"


def with_a_statement_in(function):
    """An edit that adds a statement before the last one of a function."""

    def edit(text):
        (found,) = (node for node in ast.parse(text).body if getattr(node, "name", None) == function)
        last, lines = found.body[-1], text.splitlines()
        lines.insert(last.lineno - 1, " " * last.col_offset + "edited = 1")
        return "\n".join(lines) + "\n"

    return edit


def edit_file(source, name, edit):
    path = source / "mlquant" / name
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(edit(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before


STUDY = '''"""A study more."""

from mlquant.core.blocks import Block
from mlquant.core.figures import read_table


def tables(settings):
    return {}


def figure(figure, folder):
    read_table(folder / "more.csv")
'''
ROW = '("manifold", 9): Row((), (22, 8, 79))'
NEUTRAL = r"\1    more: Annotated[int, Setting(help='a setting that was added', neutral=3)] = 3\n"  # where epochs are
HARMLESS = {
    "a row of the table of networks": ("networks/rows.py", replaced(r"^(ROWS = \{\n)", rf"\1    {ROW},\n")),
    "a function in vq": ("quantisers/vq.py", added("def more(vectors):\n    return search(vectors, [], 1)")),
    "a function in features": ("vocoder/features.py", added("def more(b):\n    return energy_dB(b)")),
    "a training setting at its neutral value": ("networks/settings.py", replaced(r"^(    epochs: .*\n)", NEUTRAL)),
    "a study": ("studies/more.py", lambda text: STUDY),
    "a plot": ("core/figures.py", added("def plot_more(folder):\n    return read_table(folder)")),
    "a wait before a download is tried again": ("speech/fetch.py", replaced(r"^WAITS = .*", "WAITS = (2, 8)")),
    "an escape in the text of tables": ("core/errors.py", with_a_statement_in("markdown")),
    "a check of a setting": ("networks/settings.py", added("MORE = 1")),
}  # fmt: skip


@pytest.mark.parametrize(
    "change", [*[*HARMLESS][:5], *(pytest.param(change, marks=pytest.mark.slow) for change in [*HARMLESS][5:])]
)
def test_what_is_added_that_nothing_uses_changes_no_key(unedited, source, change):
    edit_file(source, *HARMLESS[change])
    assert unedited.others(planned(source)) == set()


def edited_everywhere(source, edit):
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(edit(text), encoding="utf-8")


@pytest.mark.slow
def test_the_texts_of_errors_and_of_the_log_change_no_key(unedited, source):
    counts = []

    def edit(text):
        text, raised = re.subn(r'(raise \w*Error\(f?")', r"\1Edited: ", text)
        text, logged = re.subn(r'^( +log\(f?")', r"\1Edited: ", text, flags=re.MULTILINE)
        counts.append((raised, logged))
        return text

    edited_everywhere(source, edit)
    assert sum(raised for raised, _ in counts) > 100 and sum(logged for _, logged in counts) > 5
    assert unedited.others(planned(source)) == set()


@pytest.mark.slow
def test_what_the_help_of_commands_and_the_descriptions_of_settings_say_changes_no_key(unedited, source):
    edited_everywhere(source, lambda text: re.sub(r'((?:Setting|File|Aside)\(help=f?")', r"\1Edited: ", text))
    assert unedited.others(planned(source)) == set()


def with_other_comments(text):
    """The code with another docstring everywhere that one is, comments before every statement, and blank lines."""
    lines = text.splitlines()
    tree = ast.parse(text)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and ast.get_docstring(node):
            at = node.body[0].lineno - 1
            lines[at] = lines[at].replace('"""', '"""Edited: ', 1)
    for node in reversed(tree.body):
        first = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
        lines.insert(first - 1, "# edited\n\n")
    return "\n".join(lines) + "\n\n\n# the end\n"


def with_other_formatting(text):
    """The code as another formatter would write it: all on few lines, single quotes, other blank lines."""
    return ast.unparse(ast.parse(text))


@pytest.mark.parametrize("edit", [with_other_comments, pytest.param(with_other_formatting, marks=pytest.mark.slow)])
def test_comments_docstrings_and_formatting_change_no_key(unedited, source, edit):
    edited_everywhere(source, edit)
    assert unedited.others(planned(source)) == set()


def test_a_change_of_the_search_redoes_searches_and_what_follows_and_no_network_but_those_trained_on(unedited, source):
    edit_file(source, "quantisers/vq.py", with_a_statement_in("_search_block"))
    changed = unedited.others(planned(source))
    searching = unedited.that_reach("quantisers.vq._search_block")
    assert changed == unedited.with_what_follows(searching)
    assert changed >= unedited.of("quantised", "rates") and not changed & unedited.of("features")
    assert searching <= unedited.of("quantised", "codebooks", "superframes", "rates", "set_measures")
    assert unedited.of("codebooks") - changed, "those that are trained by LBG alone"
    assert changed & unedited.of("networks") <= unedited.where(lambda node: node["entry"].endswith(":train_on"))


def test_a_changed_default_redoes_what_uses_it_and_what_follows_and_no_more(unedited, source):
    schedule = r'(^    schedule: (?:.|\n)*?\] = \(?\s*)"cosine"'
    edit_file(source, "networks/settings.py", replaced(schedule, r'\1"constant"'))
    after = planned(source)
    pairs = enumerate(zip(unedited.nodes, after.nodes, strict=True))
    users = {i for i, (node, other) in pairs if node["settings"] != other["settings"]} & unedited.of("networks")
    assert users and unedited.others(after) == unedited.with_what_follows(users)
    assert unedited.of("networks") - unedited.others(after)


def test_a_change_of_a_function_redoes_what_runs_it_and_what_follows(unedited, source):
    edit_file(source, "vocoder/decoder.py", with_a_statement_in("decode_in_chunks"))
    changed = unedited.others(planned(source))
    assert changed == unedited.with_what_follows(unedited.that_reach("vocoder.decoder.decode_in_chunks"))
    assert changed >= unedited.of("synthesised")
    assert not changed & unedited.of("networks", "codebooks", "quantised", "features")


def test_a_change_of_a_command_redoes_what_it_makes_and_what_follows(unedited, source):
    edit_file(source, "vocoder/stages.py", with_a_statement_in("resynth"))
    changed = unedited.others(planned(source))
    assert changed == unedited.with_what_follows(unedited.of("resynthesised"))
    assert changed <= unedited.of("resynthesised", "measures", "experiments")


@pytest.mark.parametrize("name", ["data.py", "page.html"])
def test_an_edit_of_the_page_gathers_again_and_changes_no_key(unedited, source, name):
    page = "mlquant.experiments.stages:page"
    before = Package(source / "mlquant").reached(page)
    edit = (
        with_a_statement_in({"__init__.py": "render", "data.py": "gather"}[name]) if ".py" in name else added("edited")
    )
    edit_file(source, f"experiments/page/{name}", edit)
    edited = Package(source / "mlquant")
    assert edited.reached(page) != before
    assert all(edited.reached(entry) == Package(ROOT / "src/mlquant").reached(entry) for entry in unedited.reached)


def test_fetching_counts_what_unpacks_and_nothing_of_how_it_is_obtained():
    found = keys.reached("mlquant.speech.stages:fetch")
    assert "speech.archives.write_archive" in found and not any(name.startswith("speech.fetch") for name in found)
