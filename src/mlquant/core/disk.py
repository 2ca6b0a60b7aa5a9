"""Files that are written whole or not at all, JSON, and checksums.

Every writer writes a temporary file in the folder of the target and renames it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlquant.core.errors import InputError


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on any failure.

    What a writer that was killed has left of `path` is removed first. Raises InputError when there is a folder or a
    device of that name, and OSError that names `path`, not the temporary file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is a folder, pipe or device, expected the name of a file to write")
    temporary, handle = None, -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        while temporary is None:
            # The suffix is kept: some writers choose a format by it.
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
            temporary = Path(name)
            _lock(handle)
            if not temporary.exists():  # another writer took it for a leftover, before it was locked
                os.close(handle)
                temporary, handle = None, -1
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    finally:
        if handle >= 0:
            os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file, as long as it is open; False when another process has, or the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of `path` which no process has locked: their writers were killed."""
    name = re.compile(rf"\.{re.escape(path.stem)}\.[a-z0-9_]{{8}}{re.escape(path.suffix)}")
    for entry in os.scandir(path.parent):
        if name.fullmatch(entry.name):
            with contextlib.suppress(OSError):
                handle = os.open(entry.path, os.O_RDWR)
                if _lock(handle):
                    os.unlink(entry.path)
                os.close(handle)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; rename it to `path`, in place of what was there, on success only."""
    temporary = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def link(source: Path, target: Path) -> None:
    """Give a file a second name, as a hard link; as a copy where the file system has no links."""
    if not source.exists():
        raise InputError(f"{source}: no such file")
    if target.exists():
        # Writing there would change the result that the name is already a link to.
        raise InputError(f"{target.name}: is the name of two outputs, expected one for each")
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file; InputError when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all. Libraries' own writers hide or disguise a full disk; this does not."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def read_bytes(path: str | Path) -> bytes:
    """Return the bytes of a file; InputError when it is missing, empty or cannot be read."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    if not data:
        raise InputError(f"{path}: is empty, expected at least one record")
    return data


def mapped(path: str | Path) -> bytes | mmap.mmap:
    """Return the bytes of a file, mapped into memory; a pipe, or a file that cannot be mapped, is read instead."""
    if not Path(path).is_file() or not Path(path).stat().st_size:
        return read_bytes(path)
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError:
        return read_bytes(path)


def unreadable(path: str | Path, error: OSError) -> InputError:
    """Return the InputError for a file that could not be opened or read."""
    if isinstance(error, IsADirectoryError):
        return InputError(f"{path}: is a folder, expected a file")
    missing = isinstance(error, FileNotFoundError)
    return InputError(f"{path}: no such file" if missing else f"{path}: cannot be read: {error.strerror}")


def read_json(path: str | Path) -> dict:
    """Read a JSON object; raise InputError when the file is missing or holds anything else."""
    return parse_json(read_bytes(path), path)


def parse_json(text: str | bytes, where: str | Path) -> dict:
    """Return the object that JSON text holds; raise InputError, which begins with `where`, for any other text."""
    try:
        value = json.loads(text)
        if r"\ud" in (text if isinstance(text, str) else text.decode(errors="replace")).lower():
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be written as UTF-8
    except RecursionError:
        raise InputError(f"{where}: not JSON that can be read (nested too deeply), expected an object") from None
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}), expected an object") from None
    if not isinstance(value, dict):
        raise InputError(f"{where}: holds a {type(value).__name__}, expected an object")
    return value


def write_text(path: str | Path, text: str) -> None:
    """Write text as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, value: object) -> None:
    """Write JSON, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def require(value: dict, where: str, *names: str) -> None:
    """Raise InputError for the first of `names` that an object from JSON lacks."""
    for name in names:
        if name not in value:
            raise InputError(f"{where}: has no {name!r}, expected {', '.join(names)}")


@contextlib.contextmanager
def working_in(folder: Path | None) -> Iterator[None]:
    """Work in `folder`, to which the paths in records are relative; in the current folder for None."""
    before = Path.cwd()
    try:
        if folder:
            os.chdir(folder)
        yield
    finally:
        os.chdir(before)
