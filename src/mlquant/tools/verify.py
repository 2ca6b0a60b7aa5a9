"""A check whether files are still as a provenance.json lists them: every checksum is computed again.

The provenance itself is taken as true. Nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from mlquant.core import provenance
from mlquant.core.disk import file_sha256, read_json, require
from mlquant.core.errors import InputError, one_line

_OWN = {provenance.NAME, ".snakemake_timestamp"}  # files of a folder that it does not list


def verify(folders: list[Path]) -> bool:
    """Print a line for each file that changed, is missing or is not listed, and one with counts for each folder.

    Returns True if every file is as its folder's provenance.json lists it. There `files` holds checksums by paths,
    relative to the folder that `results/` is in, and `folder` by names in the folder itself. Files that are not listed
    do not count. Raises InputError, before any file is checked, for a folder without a provenance.json of that form.
    """
    listed = {folder: _listed(folder) for folder in folders}
    sha256 = cache(file_sha256)  # experiments share most of their files
    good = True
    for folder, files in listed.items():
        counts = dict.fromkeys(("as listed", "changed", "missing", "not listed"), 0)
        for path, (name, digest) in files.items():
            state, why = _state(path, digest, sha256)
            counts[state] += 1
            if state != "as listed":
                print(one_line(f"{state}  {name}{why}"))
        for path in sorted(path for path in _files_in(folder) if path not in files):
            counts["not listed"] += 1
            print(one_line(f"not listed  {folder / os.path.relpath(path, folder)}"))
        texts = [f"{number} {state}" for state, number in counts.items() if number or state != "not listed"]
        print(one_line(f"{folder.absolute().name}: {', '.join(texts).replace(' ', ' files ', 1)}"))
        good = good and not counts["changed"] and not counts["missing"]
    return good


def _listed(folder: Path) -> dict[str, tuple[str, str]]:
    """Return the files that the provenance of a folder lists: by absolute path, the name to print and the checksum."""
    where = folder / provenance.NAME
    for path, expected in ((folder, "a folder"), (where, "a file")):
        if path.is_symlink():
            raise InputError(f"{path}: is a symbolic link, expected {expected}")
    found = read_json(where)
    require(found, str(where), "files")
    listed = {}
    for key, base in (("files", _base(folder)), ("folder", folder)):
        block = found.get(key, {})
        if not isinstance(block, dict):
            raise InputError(f"{where}: {key}: found a {type(block).__name__}, expected checksums by path")
        for name, digest in block.items():
            if not name or "\0" in name:
                raise InputError(f"{where}: {key}: found {name!r}, expected a path")
            if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
                raise InputError(f"{where}: {key}: {name}: found {digest!r}, expected a SHA-256 of 64 hex digits")
            listed[os.path.abspath(base / name)] = (name if key == "files" else str(folder / name), digest)
    return listed


def _base(folder: Path) -> Path:
    """Return the folder that the results/ around a folder is in; the current folder if there is no results/."""
    absolute = Path(os.path.abspath(folder))
    above = [parent for parent in (absolute, *absolute.parents) if parent.name == "results"]
    return above[0].parent if above else Path.cwd()


def _state(path: str, digest: str, sha256: Callable[[str], str]) -> tuple[str, str]:
    """Return whether a listed file is as listed, changed or missing, and a text on the change."""
    if not os.path.lexists(path):
        return "missing", ""
    if not os.path.isfile(path):  # a pipe or a device is not read
        return "changed", " (is not a file)"
    try:
        now = sha256(path)
    except InputError as error:
        return "changed", f" ({str(error).removeprefix(f'{path}: ')})"
    return ("as listed", "") if now == digest else ("changed", f" (is {now[:8]}..., was {digest[:8]}...)")


def _files_in(folder: Path) -> Iterator[str]:
    """Give the absolute paths of all files and symbolic links below a folder, without its own provenance."""
    top = os.path.abspath(folder)
    for place, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        yield from (os.path.join(place, name) for name in [*names, *links] if name not in _OWN or place != top)
