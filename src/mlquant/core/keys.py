"""Keys: the start of a SHA-256 over all that defines the result of a stage.

That is its settings, its inputs, by paths that hold the keys of the stages they come from, and the meaning of the
code it runs. A result under its key is so made once and never stale, whatever else changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path


@cache
def code_of(command: str) -> str:
    """The meaning of a command: its functions in `cli` and every module of the package that they import.

    Parsed and written out again without docstrings, so comments and formatting do not count; nor do `schema`, which
    only words what is wrong with settings, and `provenance`, which tells of a result and changes none. What else lies
    in the folder of a module, as templates do, counts as it is.
    """
    used = _used(command)
    return "\n".join(f"{name}\n{used[name]}" for name in sorted(used))


def modules_of(commands: Iterable[str]) -> dict[str, str]:
    """First eight hex digits of a SHA-256 of the meaning of each module behind commands, and of the commands' own."""
    used = {name: code for command in commands for name, code in _used(command).items()}
    return {name: hashlib.sha256(code.encode()).hexdigest()[:8] for name, code in sorted(used.items())}


@cache
def _used(command: str) -> dict[str, str]:
    functions = {node.name: node for node in _parse("mlquant.cli").body if isinstance(node, ast.FunctionDef)}
    used: dict[str, str] = {}
    pending: set[str] = {command.replace("-", "_")}
    imported: set[str] = set()
    while pending:
        name = pending.pop()
        if name in functions and name not in used:
            used[name] = ast.unparse(functions[name])
            pending |= {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            imported |= _imports(functions[name], "mlquant.cli")
    while imported:
        name = imported.pop()
        if name not in used and name not in ("mlquant.core.blocks", "mlquant.core.provenance"):
            used[name], more = _meaning(name)
            imported |= more
    return used


@cache
def _meaning(module: str) -> tuple[str, set[str]]:
    """The code of a module of the package, and the modules of the package that it imports."""
    tree, path = _parse(module), _module_path(module)
    beside = sorted(path.parent.iterdir()) if path.name == "__init__.py" else []
    texts = [file.read_text(encoding="utf-8") for file in beside if file.is_file() and file.suffix != ".py"]
    return "\n".join([ast.unparse(tree), *texts]), _imports(tree, module)


@cache
def _parse(module: str) -> ast.Module:
    """The syntax tree of a module of the package, docstrings removed."""
    path = _module_path(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in _statements(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [item for item in body if not _is_text(item)] or [ast.Pass()]
    return tree


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """A node and all statements below it; not their expressions, which are most of a tree."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            if isinstance(below := getattr(node, name, None), list):
                pending += below


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _module_path(module: str) -> Path:
    base = Path(str(resources.files("mlquant"))).joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _imports(tree: ast.AST, module: str) -> set[str]:
    """Modules of the package that the syntax tree of a module imports, at its top or inside functions."""
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*above, *filter(None, [node.module])])
            if source.split(".")[0] == "mlquant":
                names = [f"{source}.{alias.name}" for alias in node.names]
                found.update(name if _module_path(name).exists() else source for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("mlquant."))
    return found


@cache
def digest_of_code(command: str) -> str:
    return hashlib.sha256(code_of(command).encode()).hexdigest()


def stage_key(kind: str, command: str, settings: dict, inputs: dict[str, list[str]]) -> str:
    """First eight hex digits of a SHA-256 over what defines a result.

    Inputs are named by their paths: those of other stages hold their keys, a user's own files count by path.
    """
    text = json.dumps([kind, settings, inputs, digest_of_code(command)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
