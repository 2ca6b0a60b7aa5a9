"""Which definitions of the package a function reaches, and what each of them means.

A definition is a function, a class or a constant at the top of a module. It reaches those that it names, directly or
through imports of the package, and those that these name in turn. All is read from the source text; nothing is
imported. Names that a function binds itself (parameters, local variables, loop variables, nested functions) hide those
of the module.

What cannot be followed counts whole: a class with all its methods; a module that is used other than by the names in it
(passed on as a value, imported with a star, assigned to). The statements that run when a reached module is imported
count as well. So do the data files in the folder of an `__init__.py` (templates, style sheets) when something in it is
reached.

What changes no result does not count: comments, docstrings, formatting, annotations, the arguments of an exception
that is raised, and statements that only call `log` or `progress`. The ground (see `_is_ground`) does not count either.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Place = tuple[str, str]
"""A module and a name in it.

The name is that of a definition, "" for the statements that run on import, "*" for all definitions, or "/" and the name
of a data file in the module's folder.
"""
_IMPORT, _ALL = "", "*"
_CORE = ("errors", "disk", "blocks", "stage", "keys", "definitions", "provenance")
_GROUND = {*(f"core.{name}" for name in _CORE), "speech.fetch", "networks.rows.ROWS"}
_FOLLOWED = {"speech.fetch"}  # ground that calls code that counts: speech.archives unpacks its downloads
_WORDING = ("core.errors.log", "core.errors.progress")
_STAGE = "core.stage.stage"
_BY_TEXT = {"globals", "eval", "exec"}  # builtins through which any name of the module may be used
_SKIPPED = {"ctx", "kind", "type_comment", "type_params"}
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _SKIPPED)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}


@dataclass(frozen=True)
class _Meaning:
    """The digest of what stands at a place, None where it does not count, and the places that it reaches."""

    digest: str | None
    reaches: frozenset[Place]


@dataclass(frozen=True)
class _Code:
    """The digest of some statements, and the names that they use; `_Walk` describes the three sets."""

    digest: str
    free: frozenset[tuple[str, tuple[str, ...]]]
    imported: frozenset[tuple[str, str, str | None, tuple[str, ...]]]
    loaded: frozenset[str]


@dataclass
class _Module:
    """The top of a module.

    `statements` are those that define each name, `effects` those that do something when the module is imported,
    `imports` what each imported name stands for: a module and a name in it, or None for the module itself. `imported`
    are the modules of the package that it imports, `stars` the modules from which it imports all names.
    """

    name: str
    is_package: bool
    statements: dict[str, list[ast.stmt]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)
    imports: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)
    imported: set[str] = field(default_factory=set)
    stars: set[str] = field(default_factory=set)
    definitions: dict[str, _Code] = field(default_factory=dict)
    entries: dict[str, _Code] = field(default_factory=dict)  # functions, without the defaults of their parameters
    on_import: _Code = field(init=False)


class Package:
    """The source text of a package in a folder, read once."""

    def __init__(self, folder: Path):
        self.name = folder.name
        self._paths: dict[str, Path] = {}
        for parent, folders, files in os.walk(folder):
            folders[:] = sorted(name for name in folders if name != "__pycache__")
            parts = (self.name, *Path(parent).relative_to(folder).parts)
            self._paths[".".join(parts)] = Path(parent, "__init__.py")
            for name in sorted(files):
                if name.endswith(".py") and name != "__init__.py":
                    self._paths[".".join((*parts, name[:-3]))] = Path(parent, name)
        self._modules: dict[str, _Module] = {}
        self._meanings: dict[Place, _Meaning] = {}

    def reached(self, entry: str) -> dict[str, str]:
        """Return the definitions that a function "module:function" reaches, its own among them, each with its digest.

        The defaults of the function's own parameters do not count. Raises ValueError where there is no such function.
        """
        module, _, name = entry.partition(":")
        with _no_collection():
            if module not in self._paths or name not in self._module(module).statements:
                raise ValueError(f"{entry}: there is no such function, expected module:function of the package")
            start = self._definition(module, name, is_entry=True)
            found: dict[Place, _Meaning] = {}
            pending = [*start.reaches]
            while pending:
                place = pending.pop()
                if place not in found:
                    found[place] = meaning = self._meaning(place)
                    pending += meaning.reaches
        found.setdefault((module, name), start)  # where a reached definition calls it too, its defaults count
        return dict(sorted((self._label(*place), one.digest) for place, one in found.items() if one.digest))

    def _label(self, module: str, name: str) -> str:
        inner = module.removeprefix(f"{self.name}.")
        return inner.replace(".", "/") + name if name.startswith("/") else f"{inner}.{name}" if name else inner

    def _is_ground(self, module: str, name: str) -> bool:
        """Return whether a place changes no result, or changes one only through the settings or files of a stage."""
        inner = module.removeprefix(f"{self.name}.")
        return inner in _GROUND or inner.endswith((".settings", ".types")) or f"{inner}.{name}" in _GROUND

    # modules

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            path = self._paths[name]
            self._modules[name] = module = _Module(name, path.name == "__init__.py")
            if path.exists():
                self._gather(module, ast.parse(path.read_bytes()).body)
            for defined, statements in module.statements.items():
                module.entries[defined], module.definitions[defined] = self._walked(module, statements)
            module.on_import = self._walked(module, module.effects)[1]
            # Syntax trees are not kept: each later run of the garbage collector would search all of them.
            module.effects, module.statements = [], {defined: [] for defined in module.statements}
        return self._modules[name]

    def _walked(self, module: _Module, statements: list[ast.stmt]) -> tuple[_Code, _Code]:
        """Return the code of statements at the top of a module: without the defaults of functions, and with them."""
        walk = _Walk(self, module)
        walk.run(statements)
        if walk.worded & walk.local:  # a function has a `log` of its own
            walk = _Walk(self, module, counts_wording=True)
            walk.run(statements)
        entry = walk.code()
        return (entry, walk.code()) if walk.run_defaults(statements) else (entry, entry)

    def _gather(self, module: _Module, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                module.statements.setdefault(statement.name, []).append(statement)
            elif isinstance(statement, ast.Import | ast.ImportFrom):
                self._gather_import(module, statement)
            elif isinstance(statement, ast.If) and _never_runs(statement.test):
                self._gather(module, statement.orelse)
            elif not _is_constant(statement) and not (isinstance(statement, ast.AnnAssign) and not statement.value):
                if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign) or _assigns_inside(statement):
                    module.effects.append(statement)
                for node in ast.walk(statement):
                    if isinstance(node, ast.Import | ast.ImportFrom):
                        self._gather_import(module, node)
                    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                        module.statements.setdefault(node.id, []).append(statement)
                    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                        module.statements.setdefault(node.name, []).append(statement)

    def _gather_import(self, module: _Module, statement: ast.Import | ast.ImportFrom) -> None:
        for name, source, attribute in self._imports(module, statement):
            module.imported |= self._loaded(source, attribute)
            if name == "*":
                module.stars.add(source)
            else:
                module.imports.setdefault(name, []).append((source, attribute))
        if isinstance(statement, ast.Import):
            module.imported |= {alias.name for alias in statement.names if alias.name in self._paths}

    @staticmethod
    def _imports(module: _Module, statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, str | None]]:
        """Yield the names that an import binds, each with the module and the name in it that it stands for."""
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, alias.name, None) if alias.asname else (top, top, None)
            return
        above = module.name.split(".")
        above = above[: len(above) - statement.level + module.is_package] if statement.level else []
        source = ".".join([*above, *filter(None, [statement.module])])
        for alias in statement.names:
            yield alias.asname or alias.name, source, alias.name

    def _loaded(self, source: str, attribute: str | None) -> set[str]:
        """Return the modules of the package that run when a name is imported from a module, but for those above."""
        return {name for name in (source, f"{source}.{attribute}") if name in self._paths}

    # what places mean

    def _meaning(self, place: Place) -> _Meaning:
        if place not in self._meanings:
            module, name = place
            if name == _IMPORT:
                meaning = self._import(module)
            elif name == _ALL:
                meaning = self._all(module)
            elif name.startswith("/"):
                data = self._paths[module].with_name(name[1:]).read_bytes()
                meaning = _Meaning(hashlib.sha256(data).hexdigest()[:8], frozenset())
            else:
                meaning = self._definition(module, name)
            self._meanings[place] = meaning
        return self._meanings[place]

    def _import(self, module: str) -> _Meaning:
        """Return the meaning of an import: a module's statements, the modules it imports, the packages above it."""
        about = self._module(module)
        reaches = {(name, _IMPORT) for name in about.imported}
        if "." in module:
            reaches.add((module.rpartition(".")[0], _IMPORT))
        reaches |= {(name, _ALL) for name in about.stars if name in self._paths}
        others = [f"from {name} import *" for name in sorted(about.stars) if name not in self._paths]
        texts, found = self._resolved(about, about.on_import)
        if self._is_ground(module, _IMPORT) or not (texts or others):
            return _Meaning(None, frozenset(reaches))
        return _Meaning(_digest([*others, *texts]), frozenset(reaches | found | self._data_files(about)))

    def _all(self, module: str) -> _Meaning:
        """Return the meaning of a whole module: its definitions, what it imports by name, and a package's modules."""
        about = self._module(module)
        reaches = {(module, _IMPORT), *((module, name) for name in about.statements)}
        for name, targets in about.imports.items():
            for target in self._follow(module, (name,)) if any(attribute for _, attribute in targets) else ():
                reaches.add((target[0], _IMPORT) if target[1] == _ALL else target)
        if about.is_package:
            reaches |= {(name, _ALL) for name in self._paths if name.startswith(f"{module}.")}
        return _Meaning(None, frozenset(place for place in reaches if place[0] in self._paths))

    def _definition(self, module: str, name: str, is_entry: bool = False) -> _Meaning:
        about, ground = self._module(module), self._is_ground(module, name)
        if ground and module.removeprefix(f"{self.name}.") not in _FOLLOWED:
            return _Meaning(None, frozenset({(module, _IMPORT)}))
        texts, reaches = self._resolved(about, (about.entries if is_entry else about.definitions)[name])
        reaches |= {(module, _IMPORT), *self._data_files(about)}
        return _Meaning(None if ground else _digest(texts), frozenset(reaches))

    def _data_files(self, about: _Module) -> set[Place]:
        """Return the places of the data files in the folder of a package."""
        if not about.is_package or not self._paths[about.name].exists():
            return set()
        there = self._paths[about.name].parent.iterdir()
        names = (path.name for path in there if path.is_file() and path.suffix != ".py")
        return {(about.name, f"/{name}") for name in names if not name.startswith(".")}

    def _resolved(self, about: _Module, code: _Code) -> tuple[list[str], set[Place]]:
        """Return what counts of statements, with the targets of their names, as texts; and the places they reach."""
        names, reaches = set(), {(name, _IMPORT) for name in code.loaded}
        for root, chain in code.free:
            targets = self._follow_root(about, root, chain)
            reaches |= targets
            names |= {self._binding((root, *chain), target) for target in targets}
        for name, source, attribute, chain in code.imported:
            targets = self._follow_import(source, attribute, chain, frozenset())
            reaches |= targets
            names |= {self._binding((name, *chain), target) for target in targets}
        return [*filter(None, [code.digest]), *sorted(names)], {place for place in reaches if place[0] in self._paths}

    def _binding(self, names: tuple[str, ...], target: Place) -> str:
        """Return a name with its target, as it counts; a target in the ground counts by name, without its module."""
        module, name = target
        module = "" if module in self._paths and self._is_ground(module, name) else module
        return f"{'.'.join(names)}={module}:{name}"

    # what names stand for

    def _follow_root(self, about: _Module, root: str, chain: tuple[str, ...]) -> set[Place]:
        """Return the places that a name in a module, with attributes behind it, stands for; none for a builtin."""
        if root in about.statements or root in about.imports or f"{about.name}.{root}" in self._paths:
            return self._follow(about.name, (root, *chain))
        return {(about.name, _ALL)} if root in _BY_TEXT else set()

    def _follow(
        self, module: str, names: tuple[str, ...], seen: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    ) -> set[Place]:
        """Return the places that a chain of attributes of a module stands for; "=" at its end marks an assignment.

        A module outside the package stands for its own name, so that a change to another module counts.
        """
        if module not in self._paths:
            return {(module, ".".join(names))}
        if not names or names[0] == "=" or names[1:] == ("=",):
            return {(module, _ALL)}
        if (module, names) in seen:
            return set()
        seen |= {(module, names)}
        about, first, rest = self._module(module), names[0], names[1:]
        found: set[Place] = {(module, first)} if first in about.statements else set()
        for source, attribute in about.imports.get(first, ()):
            found |= self._follow_import(source, attribute, rest, seen)
        if about.is_package and f"{module}.{first}" in self._paths:
            found |= self._follow(f"{module}.{first}", rest, seen)
        dunder = first.startswith("__") and first.endswith("__")
        return found or (set() if dunder else {(module, _ALL)})

    def _follow_import(
        self, source: str, attribute: str | None, chain: tuple[str, ...], seen: frozenset[tuple[str, tuple[str, ...]]]
    ) -> set[Place]:
        return self._follow(source, chain if attribute is None else (attribute, *chain), seen)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Suspend Python's garbage collection, which would search the growing syntax trees again and again.

    It would take twice the time of everything else here.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _digest(text: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(text).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _never_runs(test: ast.expr) -> bool:
    """Return whether a condition is TYPE_CHECKING, or asks whether the module was started as a program."""
    if isinstance(test, ast.Compare):
        return isinstance(test.left, ast.Name) and test.left.id == "__name__"
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _is_constant(statement: ast.stmt) -> bool:
    """Return whether a statement is a docstring or another constant without effect."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _assigns_inside(statement: ast.Assign | ast.AugAssign | ast.AnnAssign) -> bool:
    """Return whether an assignment changes an attribute or an element of an object."""
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return any(
        isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
        for target in targets
        for node in ast.walk(target)
    )


class _Scope:
    """Names that a function, lambda or comprehension binds, what its imports stand for, and the names that it uses.

    A class shares the uses of the scope around it, as its methods do not see the names that its body binds.
    """

    __slots__ = ("around", "bound", "imports", "is_class", "is_comprehension", "outer", "top", "uses")

    def __init__(self, around: _Scope | None = None, is_class: bool = False, is_comprehension: bool = False):
        self.around, self.is_class, self.is_comprehension = around, is_class, is_comprehension
        self.bound: set[str] = set()
        self.imports: dict[str, list[tuple[str, str | None]]] = {}
        self.top: set[str] = set()  # declared global
        self.outer: set[str] = set()  # declared nonlocal
        self.uses: set[tuple[str, tuple[str, ...]]] = around.uses if is_class and around else set()


class _Walk:
    """One walk over statements at the top of a module.

    `text` is their normal form. `free` are the names that are not local, with the attributes behind them. `imported` is
    what is used of imports inside functions, and `loaded` are the modules that these import. `worded` are the names of
    functions whose calls were left out because they only log; `local` are all names that some function binds.
    """

    def __init__(self, package: Package, module: _Module, counts_wording: bool = False):
        self.package, self.module, self.counts_wording = package, module, counts_wording
        self.text: list[str] = []
        self.top = _Scope()
        self.free = self.top.uses
        self.imported: set[tuple[str, str, str | None, tuple[str, ...]]] = set()
        self.loaded: set[str] = set()
        self.worded: set[str] = set()
        self.local: set[str] = set()

    def run(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.function(statement, self.top, counts_defaults=False)
            else:
                self.visit(statement, self.top)

    def run_defaults(self, statements: list[ast.stmt]) -> bool:
        """Walk over the defaults of the functions among the statements too; return whether there were any."""
        before = len(self.text)
        for statement in statements:
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                self.defaults(statement.args, self.top)
        return len(self.text) > before

    def code(self) -> _Code:
        digest = _digest(self.text) if self.text else ""
        return _Code(digest, frozenset(self.free), frozenset(self.imported), frozenset(self.loaded))

    def visit(self, node: ast.AST, scope: _Scope) -> None:
        kind = type(node)
        if special := _SPECIAL.get(kind):
            special(self, node, scope)
            return
        text = self.text
        text.append(f"({kind.__name__}")
        for name in _FIELDS[kind]:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                text.append(name)
                self.visit(value, scope)
            elif isinstance(value, list):
                if value:
                    text.append(f"{name}[")
                    self.visit_all(value, scope)
                    text.append("]")
            elif value is not None:
                text.append(f"{name}:{value!r}")
        text.append(")")

    def visit_all(self, nodes: list, scope: _Scope) -> None:
        for node in nodes:
            if isinstance(node, ast.AST):
                self.visit(node, scope)
            else:  # None for ** in a dictionary, or the text of a name
                self.text.append(repr(node))

    # names

    def name(self, node: ast.Name, scope: _Scope) -> None:
        self.text.append(node.id)
        if isinstance(node.ctx, ast.Load):
            scope.uses.add((node.id, ()))
        else:
            scope.bound.add(node.id)

    def attribute(self, node: ast.Attribute, scope: _Scope) -> None:
        names, value = [node.attr], node.value
        while isinstance(value, ast.Attribute):
            names.append(value.attr)
            value = value.value
        names.reverse()
        if isinstance(value, ast.Name):
            self.text.append(value.id)
            assigned = () if isinstance(node.ctx, ast.Load) else ("=",)
            scope.uses.add((value.id, (*names, *assigned)))
        else:
            self.visit(value, scope)
        self.text.append(f".{'.'.join(names)}")

    def constant(self, node: ast.Constant, scope: _Scope) -> None:
        self.text.append(repr(node.value))

    def call(self, node: ast.Call, scope: _Scope) -> None:
        self.text.append("(Call")
        self.visit(node.func, scope)
        for argument in node.args:
            self.visit(argument, scope)
        for keyword in node.keywords:
            self.text.append(f"{keyword.arg or '**'}=")
            self.visit(keyword.value, scope)
        self.text.append(")")

    def named(self, node: ast.NamedExpr, scope: _Scope) -> None:
        """A walrus binds in the function around a comprehension."""
        self.text.append("(:=")
        owner = scope
        while owner.is_comprehension and owner.around:
            owner = owner.around
        owner.bound.add(node.target.id)
        self.text.append(node.target.id)
        self.visit(node.value, scope)
        self.text.append(")")

    def capture(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping, scope: _Scope) -> None:
        """Walk over a node that binds a name which has no node of its own."""
        if name := node.rest if isinstance(node, ast.MatchMapping) else node.name:
            scope.bound.add(name)
        self.text.append(f"({type(node).__name__} {name}")
        for part in _FIELDS[type(node)]:
            value = getattr(node, part)
            if isinstance(value, ast.AST):
                self.visit(value, scope)
            elif isinstance(value, list):
                self.text.append("[")
                self.visit_all(value, scope)
                self.text.append("]")
        self.text.append(")")

    def declared(self, node: ast.Global | ast.Nonlocal, scope: _Scope) -> None:
        (scope.top if isinstance(node, ast.Global) else scope.outer).update(node.names)

    def imports(self, node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
        """An import counts by what is used of it, not by how it is written."""
        for name, source, attribute in self.package._imports(self.module, node):
            self.loaded |= self.package._loaded(source, attribute)
            if scope.is_class:  # methods may use it as an attribute
                self.imported.add((name, source, attribute, ()))
            elif scope.around:
                scope.imports.setdefault(name, []).append((source, attribute))
        if isinstance(node, ast.Import):
            self.loaded |= {alias.name for alias in node.names if alias.name in self.package._paths}

    # scopes

    def close(self, scope: _Scope, around: _Scope) -> None:
        """Pass the names that a scope uses but does not bind on to the scope around it."""
        self.local |= scope.bound
        self.local |= scope.imports.keys()
        self.free |= {(name, ()) for name in scope.top}
        for use in scope.uses:
            root, chain = use
            if root in scope.top:
                self.free.add(use)
            elif root in scope.imports:
                self.imported |= {(root, *target, chain) for target in scope.imports[root]}
            elif root not in scope.bound or root in scope.outer:
                around.uses.add(use)

    def function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope, counts_defaults: bool = True
    ) -> None:
        scope.bound.add(node.name)
        self.text.append(f"({type(node).__name__} {node.name}")
        for decorator in node.decorator_list:
            if not (isinstance(decorator, ast.Call) and self.origin(decorator.func)[1] == _STAGE):
                self.text.append("@")
                self.visit(decorator, scope)
        if counts_defaults:
            self.defaults(node.args, scope)
        self.with_parameters(node.args, node.body, scope)

    def lambda_(self, node: ast.Lambda, scope: _Scope) -> None:
        self.text.append("(Lambda")
        self.defaults(node.args, scope)
        self.with_parameters(node.args, [node.body], scope)

    def defaults(self, parameters: ast.arguments, scope: _Scope) -> None:
        for name in ("defaults", "kw_defaults"):
            if values := getattr(parameters, name):
                self.text.append(f"{name}[")
                self.visit_all(values, scope)
                self.text.append("]")

    def with_parameters(self, parameters: ast.arguments, body: list, scope: _Scope) -> None:
        inner = _Scope(scope)
        for name in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            value = getattr(parameters, name)
            if names := [one.arg for one in value] if isinstance(value, list) else [value.arg] if value else []:
                self.text.append(f"{name}:{','.join(names)}")
                inner.bound.update(names)
        for part in body:
            self.visit(part, inner)
        self.text.append(")")
        self.close(inner, scope)

    def class_(self, node: ast.ClassDef, scope: _Scope) -> None:
        scope.bound.add(node.name)
        self.text.append(f"(ClassDef {node.name}")
        for decorator in node.decorator_list:
            self.text.append("@")
            self.visit(decorator, scope)
        self.visit_all(node.bases, scope)
        for keyword in node.keywords:
            self.visit(keyword, scope)
        self.text.append(":")
        inner = _Scope(scope, is_class=True)
        self.visit_all(node.body, inner)
        self.text.append(")")
        self.local |= inner.bound

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, scope: _Scope) -> None:
        self.text.append(f"({type(node).__name__}")
        inner = _Scope(scope, is_comprehension=True)
        for i, part in enumerate(node.generators):
            self.text.append("async for" if part.is_async else "for")
            self.visit(part.iter, inner if i else scope)  # the first is looked up outside
            self.visit(part.target, inner)
            for condition in part.ifs:
                self.text.append("if")
                self.visit(condition, inner)
        self.text.append(":")
        for value in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.visit(value, inner)
        self.text.append(")")
        self.close(inner, scope)

    # statements that count in part

    def annotated(self, node: ast.AnnAssign, scope: _Scope) -> None:
        """Walk over an assignment without its annotation, which counts only in a class, where it declares a field."""
        if not node.value and not scope.is_class:
            if isinstance(node.target, ast.Name):
                scope.bound.add(node.target.id)
            return
        self.text.append("(field" if scope.is_class else "(Assign targets[")
        self.visit(node.target, scope)
        if node.value:
            self.text.append("value" if scope.is_class else "] value")
            self.visit(node.value, scope)
        self.text.append(")")

    def raised(self, node: ast.Raise, scope: _Scope) -> None:
        """Walk over a raise statement without the arguments of the exception."""
        self.text.append("(Raise")
        if node.exc:
            self.visit(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, scope)
        if node.cause:
            self.text.append("from")
            self.visit(node.cause, scope)
        self.text.append(")")

    def expression(self, node: ast.Expr, scope: _Scope) -> None:
        """Walk over an expression that is a statement, unless it is a docstring or only logs."""
        if isinstance(node.value, ast.Constant):
            return
        if isinstance(node.value, ast.Call) and not self.counts_wording:
            root, origin = self.origin(node.value.func)
            if origin in _WORDING:
                self.worded.add(root)
                return
        self.text.append("(Expr")
        self.visit(node.value, scope)
        self.text.append(")")

    def origin(self, function: ast.expr) -> tuple[str, str]:
        """Return the first name of a called function, and the place that the module's imports say it is from."""
        names: list[str] = []
        while isinstance(function, ast.Attribute):
            names.append(function.attr)
            function = function.value
        if not isinstance(function, ast.Name):
            return "", ""
        targets = self.module.imports.get(function.id, ())
        if len(targets) != 1 or function.id in self.module.statements:
            return function.id, ""
        place = [targets[0][0], *filter(None, [targets[0][1]]), *reversed(names)]
        return function.id, ".".join(place).removeprefix(f"{self.package.name}.")


_SPECIAL: dict[type[ast.AST], Callable[[_Walk, Any, _Scope], None]] = {
    ast.Name: _Walk.name,
    ast.Attribute: _Walk.attribute,
    ast.Constant: _Walk.constant,
    ast.Call: _Walk.call,
    ast.NamedExpr: _Walk.named,
    ast.ExceptHandler: _Walk.capture,
    ast.MatchAs: _Walk.capture,
    ast.MatchStar: _Walk.capture,
    ast.MatchMapping: _Walk.capture,
    ast.Global: _Walk.declared,
    ast.Nonlocal: _Walk.declared,
    ast.Import: _Walk.imports,
    ast.ImportFrom: _Walk.imports,
    ast.FunctionDef: _Walk.function,
    ast.AsyncFunctionDef: _Walk.function,
    ast.Lambda: _Walk.lambda_,
    ast.ClassDef: _Walk.class_,
    ast.ListComp: _Walk.comprehension,
    ast.SetComp: _Walk.comprehension,
    ast.GeneratorExp: _Walk.comprehension,
    ast.DictComp: _Walk.comprehension,
    ast.AnnAssign: _Walk.annotated,
    ast.Raise: _Walk.raised,
    ast.Expr: _Walk.expression,
}
