"""Files of the configuration as they are read: YAML or JSON, in which no key is there twice.

A fault is one line with the file, the line and the column.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml  # type: ignore[import-untyped]

from mlquant.core.blocks import quoted
from mlquant.core.disk import unreadable
from mlquant.core.errors import Faults, InputError, InputErrors

_MERGE, _TEXT = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:str"


class _Marked:
    """Gives the errors of YAML's own values, as of a date that there is not, their place in the file."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


class _Loader(_Marked, yaml.SafeLoader):
    pass


class _Fast(_Marked, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Six times as fast, but its stack, in C, overflows in a file that is nested deeply."""


def given(path: Path) -> dict[str, Any]:
    """Return what a file of `--configfile` holds; see `mapping_of`."""
    if path.is_file() or path.suffix in (".yaml", ".yml", ".json"):
        return mapping_of(path)
    found = "is a folder" if path.is_dir() else "no such file"
    hint = "--configfile takes all words up to the next option, so a target stands before it, or after --"
    raise InputError(f"{path}: {found}, expected a file of the configuration; {hint}")


def mapping_of(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML or JSON file holds. Its keys are the texts that stand in the file.

    So 240118 and "240118" are one key. Raises InputError for a file that cannot be read, that holds anything else, or
    that has a key twice in one mapping.
    """
    try:
        text = _decoded(path, path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None
    value = _value(path, text)
    if value is None:
        raise InputError(f"{path}: is empty, expected keys at its top level")
    if not isinstance(value, dict):
        raise InputError(f"{path}: found {quoted(value)}, expected keys at its top level")
    return value


def _decoded(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        place = f"line {len(lines)}, column {len(lines[-1]) + 1}"
        raise InputError(f"{path}, {place}: found the byte {data[error.start]:#04x}, expected UTF-8") from None


def _value(path: Path, text: str) -> Any:
    repeats: list[str] = []
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _noting(repeats, pairs))
    except (ValueError, RecursionError):
        pass
    else:
        if not repeats:
            return value
        text = text.replace("\t", " ")  # JSON is YAML but for tabs, and only YAML tells the lines
    loader = None
    try:
        loader = (_Fast if path.parent.parts[-2:] == ("workflow", "config") else _Loader)(text)
        node = loader.get_single_node()
        if faults := [_twice(path, *found) for found in _repeats(node)]:
            raise InputErrors(faults)
        return loader.construct_document(node) if node else None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(_not_yaml(path, text, error)) from None
    finally:
        if loader:
            loader.dispose()


def _noting(repeats: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeats.extend(found)
    return found


def _repeats(root: yaml.Node) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Give each key that its mapping has before: its place in the file, its node, and the node of the first one.

    All keys but `<<` become texts, as they stand in the file.
    """
    pending: list[tuple[str, yaml.Node]] = [("", root)]
    seen: set[int] = set()
    while pending:
        place, node = pending.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += [(f"{place}{i}.", item) for i, item in reversed([*enumerate(node.value)])]
            continue
        first: dict[str, yaml.Node] = {}
        inner = []
        for i, (key, value) in enumerate(node.value):
            if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                if key.value in first:
                    yield f"{place}{key.value}", key, first[key.value]
                first.setdefault(key.value, key)
                node.value[i] = (yaml.ScalarNode(_TEXT, key.value, key.start_mark, key.end_mark), value)
            inner.append((f"{place}{getattr(key, 'value', '')}.", value))
        pending += reversed(inner)


def _twice(path: Path, place: str, second: yaml.Node, first: yaml.Node) -> str:
    lines = second.start_mark.line + 1, first.start_mark.line + 1
    return f"{path}, line {lines[0]}: {place} is there already in line {lines[1]}, expected once"


def _not_yaml(path: Path, text: str, error: Exception) -> str:
    """Return the line that says where a text is not YAML, and why."""
    if isinstance(error, RecursionError):
        return f"{path}: is nested too deeply, expected a few levels"
    mark = getattr(error, "problem_mark", None)
    if mark:
        line, column = mark.line, mark.column
    else:  # a character that YAML does not have
        before = text[: getattr(error, "position", 0)].split("\n")
        line, column = len(before) - 1, len(before[-1])
    lines = text.split("\n")
    rest = lines[line][column:] if line < len(lines) else ""
    if rest.startswith("\t"):
        problem = "found a tab, expected spaces"
    elif mark and (alias := re.match(r"\*([^\s,\[\]{}]+)", rest)) and "undefined alias" in str(error):
        problem = (
            f"found the alias {alias[0]}, expected an anchor &{alias[1]} above it: the anchors of a file end with it; "
            f"`like` takes the settings of an entry of any file"
        )
    else:
        problem = f"{getattr(error, 'problem', None) or getattr(error, 'reason', None) or error}, expected YAML"
    return f"{path}, line {line + 1}, column {column + 1}: {problem}"


def refuse_repeats(entries: Iterable[str]) -> None:
    """Raise InputError for a setting that the KEY=VALUE entries of `--config` give twice, in one of them or in two."""
    faults = Faults()
    seen: set[str] = set()
    for entry in entries:
        key, _, value = entry.partition("=")
        try:
            node = yaml.compose(value, yaml.BaseLoader)
            ends = _ends(key, node)
        except (yaml.YAMLError, RecursionError):
            continue  # then the value is this text, or is refused later
        faults += [f"--config: {key}.{place} is there twice, expected once" for place, *_ in _repeats(node)]
        for place in ends:
            if place in seen:
                faults.append(f"--config: {place} is there twice, expected once")
            seen.add(place)
    faults.tell()


def _ends(place: str, node: yaml.Node) -> set[str]:
    """Return the places of the values in nested mappings."""
    if not isinstance(node, yaml.MappingNode):
        return {place}
    return {end for key, value in node.value for end in _ends(f"{place}.{key.value}", value)}


def before_snakemake() -> None:
    """Have this module read the files of `--configfile` as Snakemake reads them, before it reads the Snakefile.

    Snakemake itself would tell neither the file nor the line of a fault. The profiles call this.
    """
    from snakemake.settings import types  # type: ignore[import-untyped]

    def read(path: Path) -> dict[str, Any]:
        try:
            return given(path)
        except InputError as error:
            end(error)

    if hasattr(types, "load_configfile"):
        types.load_configfile = read


def end(error: InputError) -> NoReturn:
    """End this run of Snakemake with the lines of an error alone, where Snakemake would add a part of a traceback."""
    from snakemake.logging import logger  # type: ignore[import-untyped]

    logger.error(str(error))
    sys.exit(1)
