"""Keys: the start of a SHA-256 over all that defines the result of a stage.

That is its settings, its inputs, by paths that hold the keys of the stages they come from, and the meaning of the code
that it runs: the definitions of the package that its function reaches (see `definitions`). A result under its key is
so made once and never stale, whatever else changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mlquant.core.definitions import Package


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
    found = {name: meaning for entry in entries for name, meaning in reached(entry).items()}
    # The functions themselves count by name: each may be the other's helper.
    return hashlib.sha256(json.dumps([entries, found], sort_keys=True).encode()).hexdigest()


def stage_key(folder: str, settings: dict, inputs: dict[str, list[str]], code: str) -> str:
    """First eight hex digits of a SHA-256 over what defines a result; `code` is a digest of the code that makes it.

    Inputs are named by their paths: those of other stages hold their keys, a user's own files count by path.
    """
    text = json.dumps([folder, settings, inputs, code], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def without_neutral(settings: dict, neutral: dict) -> dict:
    """Settings without those at their neutral value: how things were before the setting existed.

    So a setting that is added later, with that value, changes no key.
    """
    return {name: value for name, value in settings.items() if name not in neutral or value != neutral[name]}


def modules_of(commands: Iterable[str]) -> dict[str, str]:
    """The definitions that commands reach, as `reached`."""
    found = {name: meaning for command in commands for name, meaning in reached(_entry(command)).items()}
    return dict(sorted(found.items()))


def digest_of_code(command: str) -> str:
    """SHA-256 of the meaning of all that a command reaches."""
    return digest((_entry(command),))


def _entry(command: str) -> str:
    return f"mlquant.cli:{command.replace('-', '_')}"
