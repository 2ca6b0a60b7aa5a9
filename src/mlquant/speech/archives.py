"""Archives of speech: unpacked within limits, and written again as one plain tar of the audio files in them.

Archives are unpacked through temporary files in the folder of that tar, never in memory. No path in an archive is used
as a path on disk.
"""

from __future__ import annotations

import bz2
import contextlib
import difflib
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mlquant.core.containers import READ, SUFFIXES, UNREAD, some_of
from mlquant.core.disk import atomic, unreadable
from mlquant.core.errors import InputError, log, one_line

LIMIT = 2 << 30  # bytes; a download or the content of an archive beyond this is taken for an attack or a mistake
MEMBERS = 200_000  # most files and folders in an archive
NAMES = 16 << 20  # most characters in the names of its audio files
HEADER = 8 << 10  # most bytes of the name and attributes of a file in a tar
DIRECTORY = 24 << 20  # most bytes of the directory of a zip
XZ_MEMORY = 256 << 20  # most bytes of memory to decompress with; `xz -9` takes 65 MB
WHOLE_SECONDS = 600  # most seconds that a download, or an archive, may take
BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
# The same readers raise these on other kinds of damage.
BAD_ARCHIVE += (EOFError, OSError, RuntimeError, ValueError, ArithmeticError, LookupError, struct.error)
_CHUNK = 1 << 18  # bytes that are copied at a time


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer than WHOLE_SECONDS, even while it waits for a slow server."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"not complete after {WHOLE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, WHOLE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def raise_if_disk_full(error: Exception) -> None:
    """Raise an error again if it says that the disk is full: another server or archive would not help."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        raise error


def chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _CHUNK), b"")


def save(chunks: Iterator[bytes], path: Path) -> int:
    """Write a file chunk by chunk; return its size in bytes. Raises ValueError where there are more than LIMIT."""
    size = 0
    with open(path, "wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > LIMIT:
                raise ValueError(f"holds more than {LIMIT} bytes")
            file.write(chunk)
    return size


def unpack(
    name: str, download: Path, scratch: Path, origin: str, tables: Sequence[str] = ()
) -> tuple[Path, dict[str, tuple[int, int]]]:
    """Find the audio files in a download, which is a .deb, a zip, a tar of any compression, or one audio file.

    Files that globs `tables` match, as transcripts, are found too. Returns a file that holds all of them uncompressed
    and, by path, the offset and the bytes of each in that file. Raises InputError, which begins with `origin`, for a
    damaged archive and for one without audio.
    """
    if name.lower().endswith(SUFFIXES):
        return download, {one_line(name): (0, download.stat().st_size)}
    if name.lower().endswith(UNREAD):
        raise InputError(f"{origin}: {name} is not read, expected {READ}, or an archive of these")
    unread: list[str] = []
    try:
        with time_limit():
            content = _plain_tar(download, scratch, unread, tables)
            places = _places(content, unread, tables)
    except BAD_ARCHIVE as error:
        raise_if_disk_full(error)
        raise InputError(f"{origin}: {name} is corrupt or no archive ({error})") from None
    _tell(unread, origin)
    if not any(path.lower().endswith(SUFFIXES) for path in places):
        raise InputError(f"{origin}: {name} holds no audio, expected files named {', '.join(SUFFIXES)}")
    return content, places


def _tell(unread: list[str], where: object) -> None:
    if unread:
        log(f"warning: {where}: audio that is not read is left out: {some_of(unread)}")


def _plain_tar(archive: Path, scratch: Path, unread: list[str], tables: Sequence[str]) -> Path:
    """Return the content of an archive as an uncompressed tar in `scratch`; such a tar itself stays where it is.

    A zip keeps audio and tables alone; what it has of audio that is not read is added to `unread`.
    """
    plain = scratch / "plain.tar"
    start = _first_bytes(archive)
    if start.startswith(b"PK"):
        return _pack_zip(archive, plain, unread, tables)
    if start == b"!<arch>\n":
        archive = _deb_content(archive, scratch / "data.tar")
        start = _first_bytes(archive)
    if start.startswith(b"\xfd7zXZ\0"):
        with open(archive, "rb") as file:
            save(_unxz(file), plain)
    elif start.startswith((b"\x1f\x8b", b"BZh")):
        with (bz2 if start.startswith(b"BZh") else gzip).open(archive) as file:
            save(chunks(file), plain)
    else:
        return archive
    return plain


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _unxz(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of an xz file in chunks, as lzma.open gives it, with a bound on the memory it may claim."""
    chunk = file.read(_CHUNK)
    while chunk:
        decompressor = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        while not decompressor.eof:
            yield decompressor.decompress(chunk, _CHUNK)
            chunk = file.read(_CHUNK) if decompressor.needs_input else b""
            if decompressor.needs_input and not chunk:
                raise EOFError("ends before its stream does")
        chunk = decompressor.unused_data.lstrip(b"\0") or file.read(_CHUNK).lstrip(b"\0")


def _deb_content(deb: Path, target: Path) -> Path:
    """Write the data.tar.* of a Debian package, an `ar` archive (deb(5)): 60-byte headers, members at even offsets."""
    with open(deb, "rb") as file:
        at = file.seek(8)
        while len(header := file.read(60)) == 60:
            length = header[48:58].strip()
            if header[58:] != b"`\n" or not length.isdigit():
                raise ValueError(f"no ar header at byte {at}")
            size = int(length)
            if header.startswith(b"data.tar"):
                break
            at = file.seek(size + size % 2, os.SEEK_CUR)
        else:
            raise ValueError("no data.tar in the package")
        if b".zst" in header[:16]:  # Ubuntu packages have it; Python reads it from 3.14 on only
            return _dpkg_content(deb, target)
        if file.tell() + size > deb.stat().st_size:
            raise ValueError("truncated")
        save((file.read(min(_CHUNK, size - done)) for done in range(0, size, _CHUNK)), target)
    return target


def _dpkg_content(deb: Path, target: Path) -> Path:
    if not shutil.which("dpkg-deb"):
        raise ValueError("its data.tar.zst needs dpkg-deb, which is not installed")
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as dpkg:
        save(chunks(dpkg.stdout), target)
    if dpkg.returncode:
        raise ValueError(f"dpkg-deb ended with status {dpkg.returncode}")
    return target


class _Bounded:
    """A file of which at most `left` bytes can be read, so that a false size in a header cannot fill the memory."""

    def __init__(self, file: BinaryIO, left: int):
        self.file, self.left = file, left
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size == -1:
            size = min(self.left, _CHUNK)  # zipfile asks so for what follows its directory, 64 kB at most
        if not 0 <= size <= self.left:
            raise ValueError(f"a header claims {size} bytes, expected at most {self.left}")
        self.left -= size
        return self.file.read(size)


def _pack_zip(archive: Path, target: Path, unread: list[str], tables: Sequence[str]) -> Path:
    """Write the audio files and tables of a zip as a tar."""
    with open(archive, "rb") as file:
        bounded = _Bounded(file, DIRECTORY)
        with zipfile.ZipFile(bounded) as bundle, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
            bounded.left = sys.maxsize
            members = bundle.infolist()
            if len(members) > MEMBERS:
                raise ValueError(f"holds more than {MEMBERS} files")
            if sum(info.file_size for info in members) > LIMIT:
                raise ValueError(f"holds more than {LIMIT} bytes")
            for info in members:
                regular = not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
                path = _kept_path(info.filename, regular, unread, tables)
                if path is None:
                    continue
                # With other methods zipfile decompresses a whole file at once, however large it gets.
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{path} is compressed by method {info.compress_type}, expected 0 or 8 (deflate)")
                packed = tarfile.TarInfo(path)
                packed.size = info.file_size
                with bundle.open(info) as content:
                    tar.addfile(packed, content)
    return target


def _places(tar_file: Path, unread: list[str], tables: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Return the offset and the bytes of each audio file and table in an uncompressed tar, by path.

    Audio that is not read is added to `unread`.
    """
    places, members, characters = {}, 0, 0
    with open(tar_file, "rb") as file:
        bounded = _Bounded(file, HEADER)
        with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8") as tar:
            while info := tar.next():
                path = _kept_path(info.name, info.isreg() and not info.issparse(), unread, tables)
                if not 0 <= info.size <= LIMIT:
                    raise ValueError(f"{info.name} has {info.size} bytes, expected at most {LIMIT}")
                if path in places:
                    raise ValueError(f"holds {path} twice, expected each path once")
                if path:
                    places[path] = (info.offset_data, info.size)
                    characters += len(path)
                members += 1
                if members > MEMBERS or characters > NAMES:
                    raise ValueError(f"holds more than {MEMBERS} files, or {NAMES} characters of their names")
                # Both would grow with every file.
                tar.members.clear()
                tar.pax_headers.clear()
                bounded.left = HEADER
            end = tar.offset
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # tarfile stops here without an error
            raise ValueError(f"no header at byte {end} of the tar")
    return places


def _kept_path(name: str, regular: bool, unread: list[str], tables: Sequence[str]) -> str | None:
    """Return the path under which a member is kept; None if it is neither audio nor a table, or leads outside.

    Nor is one kept that is no plain file.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() not in SUFFIXES and not any(matches(str(path), table) for table in tables):
        if path.suffix.lower() in UNREAD and regular:
            unread.append(one_line(name))
        return None
    if not regular:
        log(f"{one_line(name)}: this is not a plain file; it is left out")
        return None
    if path.is_absolute() or ".." in path.parts:
        log(f"{one_line(name)}: this path leads out of the archive; it is left out")
        return None
    return one_line(str(path))


class _Hashed:
    """A file that computes the checksum of what is read from it."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        return data


def write_archive(path: Path, content: Path, places: dict[str, tuple[int, int]]) -> list[dict]:
    """Write parts of a file as an uncompressed tar, sorted by path; returns path, bytes and sha256 of each.

    Times, owners and modes are tarfile's constant defaults, so that the same files make the same bytes.
    """
    entries = []
    with (
        atomic(path) as temporary,
        open(content, "rb") as file,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(places):
            info = tarfile.TarInfo(name)
            offset, info.size = places[name]
            file.seek(offset)
            hashed = _Hashed(file)
            tar.addfile(info, hashed)
            tar.members.clear()
            entries.append({"path": name, "bytes": info.size, "sha256": hashed.sha256.hexdigest()})
    return entries


def read_archive(path: Path, tables: Sequence[str] = ()) -> dict[str, Callable[[], bytes]]:
    """Return the audio files of a tar, and those that globs `tables` match, by path: functions that read the bytes."""
    unread: list[str] = []
    try:
        places = _places(path, unread, tables)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise unreadable(path, error) from None
    except BAD_ARCHIVE as error:
        raise InputError(f"{path}: not an archive that can be read ({error}), expected tar") from None
    _tell(unread, path)
    return {name: partial(_read_part, path, *place) for name, place in places.items()}


def _read_part(path: Path, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def matches(path: str, pattern: str) -> bool:
    """Whether a glob matches the end of a path, from the start of one of its parts; `*` crosses slashes."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")


def member(archive: Path, pattern: str) -> tuple[str, bytes]:
    """Return path and bytes of the only file of an archive whose path ends as `pattern` (a glob) says.

    Raises InputError when there is none, with the nearest path, and when there are several.
    """
    files = read_archive(archive)
    found = sorted(path for path in files if matches(path, pattern))
    if len(found) == 1:
        return found[0], files[found[0]]()
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"{archive}: {len(found)} files match {pattern!r} ({some}), expected one")
    ends = {"/".join(path.split("/")[-1 - pattern.count("/") :]): path for path in sorted(files)}
    nearest = [ends[end] for end in difflib.get_close_matches(pattern, ends, n=1, cutoff=0.0)]
    what = f"the nearest of {len(files)} is {nearest[0]}" if nearest else "the archive is empty"
    raise InputError(f"{archive}: no file matches {pattern!r}, {what}")


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
