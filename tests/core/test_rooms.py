"""A room of the package imports core and the rooms to its left; what Snakemake imports to plan loads nothing slow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "mlquant"
MODULES = sorted(PACKAGE.rglob("*.py"))
SUBJECTS = ["speech", "vocoder", "networks", "quantisers", "chains", "codecs", "measures", "experiments", "listening"]
SUBJECTS += ["studies", "report"]
# What each room may import of the package. The plan, the tools and cli.py may import all of it.
MAY = {room: {"core", *SUBJECTS[: i + 1]} for i, room in enumerate(SUBJECTS)} | {"core": {"core"}}
MAY["studies"] -= {"experiments", "listening"}
OF_PLAIN_VALUES = ("settings.py", "types.py", "columns.py")
SLOW = ("numpy", "torch", "pandas", "scipy")


def place(module):
    return module.relative_to(PACKAGE).as_posix()


def imports(module):
    """The modules of the package that a module imports anywhere in its text, each in full."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("mlquant."))
        elif isinstance(node, ast.ImportFrom):
            within = ["mlquant", *module.relative_to(PACKAGE).parts[: -node.level]] if node.level else []
            name = ".".join([*within, *([node.module] if node.module else [])])
            if name.startswith("mlquant"):
                yield from (f"{name}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("room", MAY)
def test_a_room_imports_core_and_the_rooms_to_its_left(room):
    found = {(place(module), name) for module in (PACKAGE / room).rglob("*.py") for name in imports(module)}
    assert {(module, name) for module, name in found if name.split(".")[1] not in MAY[room]} == set()


def test_every_room_has_a_rule():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == {*MAY, "plan", "tools"}


def test_only_the_plan_and_the_commands_import_stages():
    found = {place(module) for module in MODULES if any("stages" in name.split(".")[2:3] for name in imports(module))}
    assert {module for module in found if module.split("/")[0] not in ("plan", "cli.py")} == set()


def test_settings_columns_and_the_plan_load_nothing_slow():
    named = [module for module in MODULES if module.name in OF_PLAIN_VALUES or module.parent.name == "plan"]
    names = [".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts) for module in named]
    program = f"import {', '.join(names)}, sys; print(*{{*{SLOW}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
