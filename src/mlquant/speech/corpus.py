"""Speech: sources obtained and kept as archives, samples and training corpora prepared from them.

A source is a Debian package, fetched with `apt-get` as any user into a folder of our own, or a list of urls that are
tried in order when that fails. Nothing is used but what apt's signature or a checksum vouches for. Whatever came, what
is kept is one plain tar of the audio files in it, the same bytes each time. Downloads and archives pass through files
beside that tar, never through memory, and no path in an archive names a place on disk. Samples and corpora are then
cut from that tar or from a user's own files, as headerless 16-bit 8 kHz speech. Nothing here tells speech from other
sounds: which files are used is for the globs in the settings to say.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import difflib
import errno
import fcntl
import glob
import gzip
import hashlib
import io
import ipaddress
import lzma
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mlquant.files import (
    FRAME,
    SAMPLE_RATE,
    InputError,
    atomic,
    file_sha256,
    log,
    one_line,
    read_speech,
    write_json,
    write_speech,
    write_text,
)
from mlquant.schema import Block, Positive, Seed, refusal, shown

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AUDIO = (".raw", ".wav", ".wav16", ".flac")  # suffixes of the files that an archive keeps
OWN = (".raw", ".wav", ".flac")  # suffixes of a user's own files
LIMIT = 2 << 30  # bytes; a download or the content of an archive beyond this is taken for an attack or a mistake
MEMBERS = 200_000  # files and folders in an archive
NAMES = 16 << 20  # characters in the names of its audio files
HEADER = 8 << 10  # bytes that tell of one file of a tar, its name and attributes
DIRECTORY = 24 << 20  # bytes that tell of all files of a zip
XZ_MEMORY = 256 << 20  # bytes to decompress with; `xz -9` takes 65 MB
URL_SECONDS = 30  # seconds without an answer before a server counts as silent
WHOLE_SECONDS = 600  # seconds that one download may take in all, or an archive
WAITS = (1, 4, 16)  # seconds before a url is tried again
LONGEST_WAIT = 60  # seconds, when a server asks for more
LISTS_SECONDS = 3600  # seconds for which package lists are used again, so that six packages cost one update
LONGEST_ZEROS = 3 * SAMPLE_RATE // 10  # samples; of a longer run of digital silence only this much stays

# `update` as root would run the machine's own hooks (the one in Docker images empties apt's cache).
_APT_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
"""
_BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
# From the same readers, on other kinds of damage.
_BAD_ARCHIVE += (EOFError, OSError, RuntimeError, ValueError, ArithmeticError, LookupError, struct.error)
_CHUNK = 1 << 18  # bytes that are copied at a time


def url_problem(url: str, sha256: str | None) -> str | None:
    """Why a url and its checksum cannot be trusted, beginning with the key that is wrong; None when they can.

    It must be https, or http to this machine itself, and have a checksum; `file:` needs none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"url: found {url!r} ({error}), expected https"
    if "@" in parts.netloc:
        return "url: has a user name or password, expected none"  # and none is shown
    here = parts.scheme == "http" and _is_this_machine(parts.hostname)
    if not (url.isprintable() and (here or parts.scheme in ("https", "file"))):
        return f"url: found {url!r}, expected https (or file, or http to this machine itself)"
    if not sha256 and parts.scheme != "file":
        return f"sha256: is missing, expected the checksum of {url}"
    return None


def _is_this_machine(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Url(Block):
    """Where a file can be downloaded, and what it must be."""

    url: str
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _trusted(self) -> Url:
        if problem := url_problem(self.url, self.sha256):
            raise refusal(problem)
        return self


class Source(Block):
    """A Debian package, or urls to try in order; `name` is for messages, a `*` may end the version."""

    name: str | None = None
    package: str | None = None
    version: str | None = None
    urls: list[Url] = []

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        if not (self.package or self.urls):
            raise refusal("has neither package nor urls, expected at least one")
        return self


def _rising(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise refusal(f"found {value}, expected the lower end first")
    return value


def _one_group(value: str) -> str:
    """A regular expression that finds a name."""
    try:
        groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise refusal(f"found {shown(value)} ({error}), expected a regular expression") from None
    if groups != 1:
        raise refusal(f"found {shown(value)}, expected one group, in brackets, that is the speaker's name")
    return value


Range_dB = Annotated[
    list[Annotated[float, Field(ge=-60, le=60)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]


class Choice(Block):
    """Which speech is taken, how much, and what is done to it; see `prepare_corpus_part`."""

    include: list[str] = ["*"]
    exclude: list[str] = []
    forbid: list[Sha256] = []
    minutes: Annotated[float, Field(gt=0)] | None = None
    speakers: Annotated[str, AfterValidator(_one_group)] | None = None
    held_out_speakers: Positive | None = None
    resample: Annotated[list[Annotated[float, Field(ge=0.5, le=2.0)]], Field(min_length=1)] = [1.0]
    equalise: Annotated[float, Field(ge=0, le=20)] = 0.0
    noise: Range_dB | None = None
    gain: Range_dB | None = None

    @model_validator(mode="after")
    def _split_by_speaker(self) -> Choice:
        if (self.speakers is None) != (self.held_out_speakers is None):
            raise refusal("has only one of speakers and held_out_speakers, expected both or neither")
        return self


AS_IT_IS = {"resample": [1.0], "equalise": 0.0, "noise": None, "gain": None}  # of a choice, what changes no speech


class SeededChoice(Choice):
    """A choice with its seed; `files` is the folder or glob that a user's own files came from.

    Of these every `shards`-th is taken, from number `shard` on. Where speakers are held out, it is either those of
    them that are (`held_out`) or the others.
    """

    seed: Seed = 1
    held_out: bool = False
    files: str | None = None
    shard: Seed = 0
    shards: Positive = 1


def audio_files(pattern: str) -> list[str]:
    """The audio files that a folder or glob names, sorted; InputError when there are none."""
    if Path(pattern).is_dir():
        pattern = f"{glob.escape(pattern)}/**/*"
    found = sorted(path for path in glob.glob(pattern, recursive=True) if path.lower().endswith(OWN))
    if not found:
        raise InputError(f"files: no {', '.join(OWN)} file matches {pattern!r}, expected at least one")
    return found


def fetch_source(
    source: dict, archive: Path, manifest: Path, optional: bool = False, apt_folder: Path | None = None
) -> None:
    """Obtain a source; write its audio files as a tar and a JSON manifest of where they came from.

    `source` may hold `name` (for messages), `package`, `version` (of the package, as apt writes it; a `*` may end
    it) and `urls`, a list of {url, sha256}; see `url_problem`. apt comes first, then each url. `apt_folder` keeps
    apt's package lists for the next call; without it they are fetched anew and removed.

    The manifest holds source, available, obtained_from, sha256 (of the download) and files [{path, bytes, sha256}].
    Raises InputError, which gives the reason of every way, when all fail; if `optional`, the tar is empty instead
    and the manifest says `available: false` and the `reason`.
    """
    urls = source.get("urls") or []
    ways: list[Callable[[Path], tuple[str, str, Path]]] = []
    if source.get("package"):
        ways.append(partial(_fetch_package, source["package"], source.get("version"), apt_folder))
    ways += [partial(_fetch_url, entry["url"], entry.get("sha256")) for entry in urls]

    reasons, unreachable = [], 0
    for way in ways:
        with _scratch_folder(archive) as scratch:
            try:
                origin, name, download = way(scratch)
                content, places = _unpack(name, download, scratch, origin)
            except InputError as error:
                reasons.append(str(error))
                unreachable += isinstance(error, _Unreachable)
                continue
            digest = file_sha256(download)
            entries = _write_archive(archive, content, places)
        found = {"obtained_from": origin, "sha256": digest, "files": entries}
        write_json(manifest, {"source": source, "available": True} | found)
        return

    if unreachable and unreachable == sum(_is_https(entry["url"]) for entry in urls):
        reasons.append(_network_hint())
    name = source.get("name") or source.get("package") or next((entry["url"] for entry in urls), "without a name")
    message = f"source {name}: " + ("; ".join(reasons) or "has neither package nor urls, expected one of them")
    if not optional:
        raise InputError(message)
    log(f"warning: {message}; it is optional and is left out")
    _write_archive(archive, Path(os.devnull), {})
    write_json(manifest, {"source": source, "available": False, "reason": message, "files": []})


@contextlib.contextmanager
def _scratch_folder(beside: Path) -> Iterator[Path]:
    """An empty folder beside a file that is to be written, where there is room for what goes into it."""
    folder = beside.absolute().with_name(f".{beside.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)  # what a run left that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """Raise TimeoutError in what takes longer than WHOLE_SECONDS, also in a wait for a server that trickles."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"not complete after {WHOLE_SECONDS} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, WHOLE_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _raise_if_disk_full(error: Exception) -> None:
    """A full disk is not the fault of a server or an archive, and another would not help."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        raise error


def _fetch_package(package: str, version: str | None, folder: Path | None, scratch: Path) -> tuple[str, str, Path]:
    """Download a package with apt; returns where it came from, its name and its file in `scratch`."""
    if not shutil.which("apt-get"):
        raise InputError("apt-get: not found")
    folder = Path(folder or scratch / "apt").resolve()
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "state/status").touch()
    updated = folder / "updated"
    complaint = ""
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # jobs that share the folder take turns
        (folder / "apt.conf").write_text(_APT_CONFIG)
        if not updated.exists() or time.time() - updated.stat().st_mtime > LISTS_SECONDS:
            complaint = _run_apt(folder, scratch, "update")
            if not complaint:
                updated.touch()
        # A failed update need not matter: it may be of some other repository of this machine.
        problem = _run_apt(folder, scratch, "download", "--", package + (f"={version}" if version else ""))
    debs = list(scratch.glob("*.deb"))
    if problem or len(debs) != 1:
        problem = problem or f"{len(debs)} files came for {package}, expected one"
        raise InputError(f"apt-get: {problem}" + (f" (update: {complaint})" if complaint else ""))
    found = unquote(debs[0].name).split("_")[1]
    return f"apt package {package} version {found}", debs[0].name, debs[0]


def _run_apt(folder: Path, cwd: Path, *arguments: str) -> str:
    """Run apt-get on a folder of our own; returns what it complains of in one line, empty when all went well."""
    command = ["apt-get", "-q", "-c", str(folder / "apt.conf")]
    for key, part in (("Dir::State", "state"), ("Dir::State::status", "state/status"), ("Dir::Cache", "cache")):
        command += ["-o", f"{key}={folder / part}"]
    environment = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WHOLE_SECONDS,
        )
    except OSError as error:
        return f"cannot be run: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{arguments[0]} took longer than {WHOLE_SECONDS} s"
    lines = [one_line(line.strip()) for line in done.stderr.decode(errors="replace").splitlines()]
    failures = [line for line in lines if line.startswith("E:") or "Failed" in line]
    if done.returncode:
        return failures[-1] if failures else f"{arguments[0]} ended with status {done.returncode}"
    return failures[0] if failures else ""  # `update` without a network ends with status 0


class _Unreachable(InputError):
    """No server answered: for want of a network, a proxy, or the server."""


def _network_hint() -> str:
    import urllib.request

    proxy = urllib.request.getproxies().get("https")
    if not proxy:
        return "no network, or a proxy is needed: set https_proxy"
    host = re.sub(r".*(@|//)", "", proxy.rstrip("/"))  # a password may hold slashes
    return f"the proxy {host}, which https_proxy names, or the network behind it cannot be reached"


def _fetch_url(url: str, sha256: str | None, scratch: Path) -> tuple[str, str, Path]:
    """Download a url and check it; returns the url, the file's name and the file in `scratch`."""
    if problem := url_problem(url, sha256):
        raise InputError(problem)
    path = scratch / "download"
    try:
        with _time_limit():
            _download_with_patience(url, path)
    except TimeoutError as error:
        raise InputError(f"{url}: {error}") from None
    found = file_sha256(path)
    if sha256 and found != sha256.lower():
        raise InputError(f"{url}: checksum {found}, expected {sha256.lower()}")
    return url, PurePosixPath(unquote(urlsplit(url).path)).name, path


def _download_with_patience(url: str, path: Path) -> None:
    """Download a url, again where the failure may pass: not for a name that does not resolve or a silent server."""
    import http.client
    import ssl
    import urllib.error

    for wait in (*WAITS, None):
        try:
            return _download(url, path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            _raise_if_disk_full(error)
            answered = isinstance(error, urllib.error.HTTPError)
            reason = error if answered else getattr(error, "reason", error)
            if answered:
                passing, asked = error.code in (408, 429, 500, 502, 503, 504), error.headers.get("Retry-After") or ""
            else:
                passing, asked = isinstance(reason, ConnectionError | http.client.IncompleteRead), ""
            if wait is None or not passing:
                # urllib wraps what goes wrong before a server is reached, and only that.
                apart = isinstance(error, urllib.error.URLError) and not answered and isinstance(reason, OSError)
                kind = _Unreachable if apart and not isinstance(reason, ssl.SSLError) else InputError
                if isinstance(error, http.client.InvalidURL):  # its text may hold a part of a proxy's password
                    reason = "this, or the url of the proxy, is no url that can be used"
                raise kind(f"{url}: {getattr(reason, 'strerror', None) or reason}") from None
        time.sleep(max(wait, min(int(asked[:9]), LONGEST_WAIT)) if asked.isdecimal() else wait)


def _is_https(url: str) -> bool:
    return url.lower().startswith("https:")


def _download(url: str, path: Path) -> None:
    import http.client
    import urllib.request

    class Redirects(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req, fp, code, msg, headers, newurl):
            fp.close()  # or urllib would read all that comes with the redirect
            if url_problem(newurl, "that of the first url") or (_is_https(req.full_url) and not _is_https(newurl)):
                raise ValueError(f"redirects to {newurl}, expected https")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    class Proxies(urllib.request.ProxyHandler):
        def proxy_open(self, req, proxy, type):
            here = _is_this_machine(urlsplit(req.full_url).hostname)  # which is another one for a proxy
            return None if here else super().proxy_open(req, proxy, type)

    opener = urllib.request.build_opener(Redirects, Proxies)
    request = urllib.request.Request(url, headers={"User-Agent": "mlquant"})  # some servers refuse urllib's own name
    with opener.open(request, timeout=URL_SECONDS) as response:
        length = response.headers.get("Content-Length") or ""
        expected = int(length) if length.isdecimal() else 0
        if expected > LIMIT:
            raise ValueError(f"{expected} bytes, more than {LIMIT} bytes")
        size = _save(_chunks(response), path)
    if size < expected:
        raise http.client.IncompleteRead(b"", expected - size)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.read, _CHUNK), b"")


def _save(chunks: Iterator[bytes], path: Path) -> int:
    """Write a file chunk by chunk; returns its bytes. Raises ValueError where there are more than LIMIT."""
    size = 0
    with open(path, "wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > LIMIT:
                raise ValueError(f"holds more than {LIMIT} bytes")
            file.write(chunk)
    return size


def _unpack(name: str, download: Path, scratch: Path, origin: str) -> tuple[Path, dict[str, tuple[int, int]]]:
    """The audio files in a download: a .deb, zip or tar of any compression, or itself one audio file.

    Returns a file that holds them as they are and, by path, the offset and bytes of each in that file.
    """
    if name.lower().endswith(AUDIO):
        return download, {one_line(name): (0, download.stat().st_size)}
    try:
        with _time_limit():
            content = _plain_tar(download, scratch)
            places = _places(content)
    except _BAD_ARCHIVE as error:
        _raise_if_disk_full(error)
        raise InputError(f"{origin}: {name} is corrupt or no archive ({error})") from None
    if not places:
        raise InputError(f"{origin}: {name} holds no audio, expected files named {', '.join(AUDIO)}")
    return content, places


def _plain_tar(archive: Path, scratch: Path) -> Path:
    """What an archive holds as an uncompressed tar in `scratch`; one that is such a tar itself stays where it is."""
    plain = scratch / "plain.tar"
    start = _first_bytes(archive)
    if start.startswith(b"PK"):
        return _pack_zip(archive, plain)
    if start == b"!<arch>\n":
        archive = _deb_content(archive, scratch / "data.tar")
        start = _first_bytes(archive)
    if start.startswith(b"\xfd7zXZ\0"):
        with open(archive, "rb") as file:
            _save(_unxz(file), plain)
    elif start.startswith((b"\x1f\x8b", b"BZh")):
        with (bz2 if start.startswith(b"BZh") else gzip).open(archive) as file:
            _save(_chunks(file), plain)
    else:
        return archive
    return plain


def _first_bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(8)


def _unxz(file: BinaryIO) -> Iterator[bytes]:
    """What an xz file holds, in chunks: as of lzma.open, but for a bound on the memory that its header may claim."""
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
        if b".zst" in header[:16]:  # which Python reads from 3.14 on only, and Ubuntu packages have
            return _dpkg_content(deb, target)
        if file.tell() + size > deb.stat().st_size:
            raise ValueError("truncated")
        _save((file.read(min(_CHUNK, size - done)) for done in range(0, size, _CHUNK)), target)
    return target


def _dpkg_content(deb: Path, target: Path) -> Path:
    if not shutil.which("dpkg-deb"):
        raise ValueError("its data.tar.zst needs dpkg-deb, which is not there")
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as dpkg:
        _save(_chunks(dpkg.stdout), target)
    if dpkg.returncode:
        raise ValueError(f"dpkg-deb ended with status {dpkg.returncode}")
    return target


class _Bounded:
    """A file of which no more than `left` bytes can be read, so that no header's claim is believed and allocated."""

    def __init__(self, file: BinaryIO, left: int):
        self.file, self.left = file, left
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size == -1:
            size = min(self.left, _CHUNK)  # zipfile reads so what is behind its directory, 64 kB at most
        if not 0 <= size <= self.left:
            raise ValueError(f"a header claims {size} bytes, expected at most {self.left}")
        self.left -= size
        return self.file.read(size)


def _pack_zip(archive: Path, target: Path) -> Path:
    """Write the audio files of a zip as a tar."""
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
                path = _audio_path(info.filename, regular)
                if path is None:
                    continue
                # Of other methods zipfile decompresses all that a small file can hold at once.
                if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{path} is compressed by method {info.compress_type}, expected 0 or 8 (deflate)")
                packed = tarfile.TarInfo(path)
                packed.size = info.file_size
                with bundle.open(info) as content:
                    tar.addfile(packed, content)
    return target


def _places(tar_file: Path) -> dict[str, tuple[int, int]]:
    """Where the audio files of an uncompressed tar lie in it, by path: offset and bytes."""
    places, members, characters = {}, 0, 0
    with open(tar_file, "rb") as file:
        bounded = _Bounded(file, HEADER)
        with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8") as tar:
            while info := tar.next():
                path = _audio_path(info.name, info.isreg() and not info.issparse())
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
                tar.members.clear()  # which would grow with every file, as would
                tar.pax_headers.clear()
                bounded.left = HEADER
            end = tar.offset
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):  # where tarfile stops without a word
            raise ValueError(f"no header at byte {end} of the tar")
    return places


def _audio_path(name: str, regular: bool) -> str | None:
    """The path under which a member is kept; None for what is no audio, no plain file, or points outside."""
    path = PurePosixPath(name)
    if path.suffix.lower() not in AUDIO:
        return None
    if not regular:
        log(f"{one_line(name)}: this is no plain file; left out")
        return None
    if path.is_absolute() or ".." in path.parts:
        log(f"{one_line(name)}: this path leads out of the archive; left out")
        return None
    return one_line(str(path))


class _Hashed:
    """A file with the checksum of what was read of it."""

    def __init__(self, file: BinaryIO):
        self.file, self.sha256 = file, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.sha256.update(data)
        return data


def _write_archive(path: Path, content: Path, places: dict[str, tuple[int, int]]) -> list[dict]:
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


def _read_archive(path: Path) -> dict[str, Callable[[], bytes]]:
    """The audio files of a tar, by path, each read only when it is called."""
    try:
        places = _places(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _BAD_ARCHIVE as error:
        raise InputError(f"{path}: not an archive that can be read ({error}), expected tar") from None
    return {name: partial(_read_part, path, *place) for name, place in places.items()}


def _read_part(path: Path, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(size)


def matches(path: str, pattern: str) -> bool:
    """Whether a glob matches the end of a path, from the start of one of its parts; `*` crosses slashes."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")


def member(archive: Path, pattern: str) -> tuple[str, bytes]:
    """The only file of an archive whose path ends as `pattern` (a glob) says: its path and its bytes.

    Raises InputError when none does, with the nearest path, and when several do.
    """
    files = _read_archive(archive)
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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def prepare_sample(path: Path, out: Path, member_pattern: str | None = None, sha256: str | None = None) -> None:
    """Write one sample as 16-bit 8 kHz `.raw`, from an audio file or from a member of an archive of `fetch_source`.

    `sha256` is that of the audio file or member. Raises InputError, naming archive and member, when it differs and
    for everything that `read_speech` refuses.
    """
    if member_pattern is None:
        speech = read_speech(path)
        found, where = file_sha256(path), str(path)
    else:
        name, data = member(path, member_pattern)
        found, where = _sha256(data), f"{path}: {name}"
        speech = None
    if sha256 and found != sha256.lower():
        raise InputError(f"{where}: checksum {found}, expected {sha256.lower()}")
    write_speech(out, _decode(name, data, where) if speech is None else speech)


def _decode(name: str, data: bytes, where: str) -> np.ndarray:
    """Speech [N] int16 of an archive's member; `where` stands for the file in errors."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / re.sub(r"[^\w.-]", "_", PurePosixPath(name).name, flags=re.ASCII)[-80:]
        path.write_bytes(data)
        try:
            return read_speech(path)
        except InputError as error:
            raise InputError(str(error).replace(str(path), where)) from None


def prepare_corpus_part(inputs: list[Path], settings: dict, out: Path, manifest: Path) -> None:
    """Write training speech as one 16-bit 8 kHz `.raw`, and a CSV of what lies where in it.

    `inputs` is one archive of `fetch_source` (a `.tar`), or a user's own audio files. `settings` may hold
    `include` and `exclude` (globs, as in `matches`), `forbid` (sha256 of files, or of their 16-bit 8 kHz samples,
    that are never used), `minutes` (at most; None is no limit), `seed`, `resample` (factors, 1.0 is as it is),
    `equalise` (dB, see `colour`), `noise` and `gain` (ranges in dB, see `add_noise` and `amplify`). With `speakers`,
    a regular expression whose group finds the speaker's name in a file's path, only files of some speakers are used:
    of `held_out_speakers` that are drawn where `held_out` is set, else of all others.

    Files come in an order drawn from the seed and each file's content, each content once (a wav and a raw file of
    the same samples are one). The factors take turns from file to file, so that copies hold different phrases;
    when the files run out before the minutes do, they go round again with the next factor, until each was used
    with each. Runs of zeros are cut to 0.3 s, every file is padded with zeros to whole frames, and the
    last is cut where the minutes end. The CSV's columns are path, sha256, factor, start_frame, frames.

    In an archive, a file that is no usable speech is left out and logged; among a user's own it is an InputError.
    So is nothing usable at all.
    """
    factors = list(dict.fromkeys(settings.get("resample") or [1.0]))
    minutes, seed = settings.get("minutes"), settings.get("seed", 0)
    limit = sys.maxsize if minutes is None else round(minutes * 60 * SAMPLE_RATE) // FRAME
    usable = _choose(inputs, settings, enough=limit * FRAME * max(factors))

    pieces, rows, start = [], [], 0
    for turn in range(len(factors)):
        for place, (name, digest, speech) in enumerate(usable):
            if start == limit:
                break
            factor = factors[(place + turn) % len(factors)]
            draw = f"{seed} {turn} {digest}"
            piece = colour(scale_voice(speech, factor), settings.get("equalise") or 0.0, draw)
            piece = add_noise(piece, settings.get("noise"), f"{draw} noise")
            piece = amplify(piece, settings.get("gain"), f"{draw} gain")
            frames = min(-(-len(piece) // FRAME), limit - start)
            piece = np.pad(piece, (0, FRAME))[: frames * FRAME]  # a frame of zeros is more than rounding up can need
            pieces.append(piece)
            rows.append((one_line(name), digest, factor, start, frames))
            start += frames
    write_speech(out, np.concatenate(pieces) if pieces else np.zeros(0, np.int16))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "sha256", "factor", "start_frame", "frames"))
    writer.writerows(rows)
    write_text(manifest, table.getvalue())


def _choose(inputs: list[Path], settings: dict, enough: float) -> list[tuple[str, str, np.ndarray]]:
    """Files to use, in their drawn order: (name, sha256, speech). Stops once there are `enough` samples."""
    archive = Path(inputs[0]) if len(inputs) == 1 and Path(inputs[0]).suffix == ".tar" else None
    files = _read_archive(archive) if archive else {str(path): Path(path) for path in inputs}
    include, exclude = settings.get("include") or ["*"], settings.get("exclude") or []
    for pattern in include:
        if not any(matches(name, pattern) for name in files):
            log(f"warning: {archive or 'own files'}: nothing matches include {pattern!r}")
    chosen = [
        name
        for name in sorted(files)
        if any(matches(name, pattern) for pattern in include) and not any(matches(name, p) for p in exclude)
    ]
    if settings.get("speakers"):
        chosen = _of_speakers(chosen, settings)
    names: dict[str, str] = {}
    for name in chosen:
        names.setdefault(_sha256(files[name]()) if archive else file_sha256(files[name]), name)
    # A hash orders the same on every machine and leaves the order of the others when a file is added.
    order = sorted(names, key=lambda digest: _sha256(f"{settings.get('seed', 0)} {digest}".encode()))

    forbid = {digest.lower() for digest in settings.get("forbid") or []}
    usable, seen, total = [], set(), 0
    for digest in order:
        name = names[digest]
        if total >= enough:
            break
        try:
            speech = _decode(name, files[name](), f"{archive}: {name}") if archive else read_speech(name)
        except InputError as error:
            if archive is None:
                raise
            log(f"{error}; left out")
            continue
        samples = _sha256(speech.astype("<i2").tobytes())
        if samples in seen or {digest, samples} & forbid:
            continue
        seen.add(samples)
        speech = shorten_zeros(speech, LONGEST_ZEROS)
        usable.append((name, digest, speech))
        total += len(speech)
    if not usable:
        raise InputError(
            f"{archive or 'own files'}: no usable speech: {len(files)} audio files, {len(chosen)} of them chosen by "
            f"include {include} and exclude {exclude}"
        )
    return usable


def _of_speakers(names: list[str], settings: dict) -> list[str]:
    """Those of some files that are of the speakers held out, or of the others; see `prepare_corpus_part`."""
    pattern, wanted = re.compile(settings["speakers"]), settings["held_out_speakers"]
    speakers: dict[str, str] = {}
    for name in names:
        if not (found := pattern.search(name)) or not found[1]:
            raise InputError(f"speakers: {pattern.pattern!r} finds no name in {name}, expected one in each path")
        speakers[name] = found[1]
    # By a hash of the name, so that parts that take the same speakers hold out the same.
    drawn = sorted(set(speakers.values()), key=lambda name: _sha256(f"{settings.get('seed', 0)} {name}".encode()))
    if wanted >= len(drawn):
        raise InputError(f"held_out_speakers: found {wanted}, expected less than {len(drawn)}, the speakers there are")
    held_out = sorted(drawn[:wanted])
    log(f"of {len(drawn)} speakers held out: {', '.join(map(one_line, held_out))}")
    return [name for name in names if (speakers[name] in held_out) == bool(settings.get("held_out"))]


def shorten_zeros(speech: np.ndarray, longest: int) -> np.ndarray:
    """Speech [N] with no more than the first `longest` samples of every run of zeros."""
    place = np.arange(len(speech))
    last_sound = np.maximum.accumulate(np.where(speech == 0, -1, place))
    return speech[place - last_sound <= longest]


def scale_voice(speech: np.ndarray, factor: float) -> np.ndarray:
    """Speech [N] int16 with pitch, formants and tempo times `factor`, as of a shorter vocal tract: [N / factor].

    It is played faster, that is, resampled from `factor` times 8 kHz. Below 1 it holds nothing above `factor`
    times 4 kHz but rounding noise; above 1 what would lie beyond 4 kHz is filtered away.
    """
    if factor == 1:
        return speech
    import soxr

    scaled = soxr.resample(speech.astype(np.float64), SAMPLE_RATE * factor, SAMPLE_RATE)
    return np.clip(np.rint(scaled), -32768, 32767).astype(np.int16)


def colour(speech: np.ndarray, deviation: float, seed: str) -> np.ndarray:
    """Speech [N] int16 through a smooth random equaliser, as of another microphone: [N], of the same level.

    Its gain in dB over 0 to 4 kHz is a sum of four half cosines with normal amplitudes of standard deviation
    `deviation`, drawn from the seed. Louder than 16 bits can hold it is clipped.
    """
    if deviation == 0:
        return speech
    from scipy.signal import fftconvolve, firwin2

    rng = _rng(seed)
    frequency = np.linspace(0, 1, 65)
    gain = rng.normal(0, deviation, 4) @ np.cos(np.pi * np.outer(np.arange(1, 5), frequency))
    filtered = fftconvolve(speech.astype(np.float64), firwin2(65, frequency, 10 ** (gain / 20)), mode="same")
    level = np.sqrt(np.mean(np.square(speech, dtype=np.float64)) / max(np.mean(np.square(filtered)), 1e-12))
    return np.clip(np.rint(filtered * level), -32768, 32767).astype(np.int16)


def add_noise(speech: np.ndarray, snr_dB: list[float] | None, seed: str) -> np.ndarray:
    """Speech [N] int16 in steady noise of its own spectrum: [N]. None leaves it as it is.

    The noise is Gaussian, shaped as the speech's power over 0 to 4 kHz, smoothed over 100 Hz; the ratio of both
    powers, over all of the speech, is drawn evenly from the range `snr_dB`. Louder than 16 bits can hold it is clipped.
    """
    if snr_dB is None:
        return speech
    from scipy import fft
    from scipy.ndimage import uniform_filter1d

    rng, smooth = _rng(seed), 1 + len(speech) * 100 // SAMPLE_RATE
    shape = np.sqrt(uniform_filter1d(np.abs(fft.rfft(speech.astype(np.float64))) ** 2, smooth).clip(0))
    noise = fft.irfft(shape * fft.rfft(rng.standard_normal(len(speech))), len(speech))
    power = np.mean(np.square(speech, dtype=np.float64)) / max(np.mean(np.square(noise)), 1e-12)
    level = np.sqrt(power * 10 ** (-rng.uniform(*snr_dB) / 10))
    return np.clip(np.rint(speech + level * noise), -32768, 32767).astype(np.int16)


def amplify(speech: np.ndarray, gain_dB: list[float] | None, seed: str) -> np.ndarray:
    """Speech [N] int16 louder by a gain drawn evenly from the range `gain_dB`, or by as much as 16 bits can hold: [N].

    None leaves it as it is.
    """
    if gain_dB is None:
        return speech
    loudest = np.abs(speech.astype(np.float64)).max(initial=1.0)
    return np.rint(speech * min(10 ** (_rng(seed).uniform(*gain_dB) / 20), 32767 / loudest)).astype(np.int16)


def _rng(seed: str) -> np.random.Generator:
    return np.random.default_rng(int(_sha256(seed.encode())[:16], 16))
