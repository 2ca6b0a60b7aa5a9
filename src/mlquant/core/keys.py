"""Keys: the start of a SHA-256 over all that defines the result of a stage.

That is its settings, its inputs, by paths that hold the keys of the stages they come from, and the meaning of the code
that it runs: the definitions of the package that its function reaches (see `definitions`). A result under its key is
so made once and never stale, whatever else changes.
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
    """The definitions that a function "module:function" of the package reaches, each with eight hex digits of meaning.

    For example "quantisers.vq.search": "3f9a1c2e". Raises ValueError for a function that is not there.
    """
    return _package().reached(entry)


@cache
def digest(entries: tuple[str, ...]) -> str:
    """SHA-256 of the meaning of all definitions that functions "module:function" reach."""
    found = {entry: reached(entry) for entry in entries}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def stage_key(folder: str, settings: Mapping[str, Any], inputs: Mapping[str, list[str]], code: str) -> str:
    """First eight hex digits of a SHA-256 over what defines a result; `code` is a digest of the code that makes it.

    Inputs are named by their paths: those of other stages hold their keys, a user's own files count by path.
    """
    text = json.dumps([folder, settings, inputs, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def without_neutral(settings: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those at their neutral value, which stands for how things were before the setting existed.

    So a setting that is added later changes no key as long as it has that value.
    """
    return {name: value for name, value in settings.items() if name not in neutral or value != neutral[name]}


def neutral_of(block: Any) -> dict[str, Any]:
    """The neutral values of the settings of a block that have one, as their `Setting`s say."""
    about = {
        name: [one for one in field.metadata if isinstance(one, Setting)] for name, field in block.model_fields.items()
    }
    return {name: one.neutral for name, several in about.items() for one in several if one.neutral is not UNSET}


def counted(block: Any) -> dict[str, Any]:
    """The settings of a block, and of blocks in it, as JSON has them, without those at their neutral value."""

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
