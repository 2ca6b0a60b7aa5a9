"""Keys: the start of a SHA-256 over all that defines the result of a node of the plan.

It covers the settings of the node, its inputs, and the code that it runs: the definitions of the package that its
function reaches (see `definitions`). Inputs count by their paths, which hold the keys of the nodes that make them. So a
result under its key is made once and is never out of date, whatever else changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlquant.core.definitions import Package
from mlquant.core.stage import UNSET, Setting


@cache
def _package() -> Package:
    return Package(Path(__file__).parents[1])


@cache
def reached(entry: str) -> dict[str, str]:
    """Return the definitions that a function "module:function" of the package reaches, each with its digest.

    For example "quantisers.vq.search": "3f9a1c2e". Raises ValueError for a function that does not exist.
    """
    return _package().reached(entry)


@cache
def digest(entries: tuple[str, ...]) -> str:
    """Return the SHA-256 of all definitions that functions "module:function" reach."""
    found = {entry: reached(entry) for entry in entries}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def stage_key(folder: str, settings: Mapping[str, Any], inputs: Mapping[str, list[str]], code: str) -> str:
    """Return eight hex digits of a SHA-256 over what defines a result; `code` is the digest of the code that makes it.

    Inputs are given by their paths. Those of other nodes' results hold their keys; a user's own files count by path.
    """
    text = json.dumps([folder, settings, inputs, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def without_neutral(settings: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings without those at their neutral value, with which all is done as before the setting existed.

    So a setting that is added later changes no key as long as it has that value.
    """
    return {name: value for name, value in settings.items() if name not in neutral or value != neutral[name]}


def neutral_of(block: Any) -> dict[str, Any]:
    """Return the neutral values that the `Setting`s of a block declare, by the names of the settings."""
    about = {
        name: [one for one in field.metadata if isinstance(one, Setting)] for name, field in block.model_fields.items()
    }
    return {name: one.neutral for name, several in about.items() for one in several if one.neutral is not UNSET}


def counted(block: Any) -> dict[str, Any]:
    """Return the settings of a block, and of blocks in it, as JSON has them, without those at their neutral value."""

    def kept(value: Any, dumped: Any) -> Any:
        if hasattr(type(value), "model_fields"):
            neutral = neutral_of(type(value))
            named = {name: kept(getattr(value, name), item) for name, item in dumped.items()}
            return {name: item for name, item in named.items() if name not in neutral or dumped[name] != neutral[name]}
        if isinstance(value, dict):
            return {name: kept(*pair) for name, *pair in zip(dumped, value.values(), dumped.values(), strict=True)}
        if isinstance(value, list | tuple):
            return [kept(*pair) for pair in zip(value, dumped, strict=True)]
        return dumped

    return kept(block, block.model_dump(mode="json"))
