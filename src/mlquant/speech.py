"""Speech: sources obtained and kept as archives, samples and training corpora prepared from them.

A source is a Debian package, fetched with `apt-get` as any user into a folder of our own, or a list of urls that are
tried in order when that fails. Whatever came, what is kept is one plain tar of the audio files in it, the same bytes
each time. Samples and corpora are then cut from that tar or from a user's own files, as headerless 16-bit 8 kHz
speech. Nothing here tells speech from other sounds: which files are used is for the globs in the settings to say.
"""

from __future__ import annotations

import csv
import difflib
import fcntl
import glob
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import unquote, urlsplit

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from mlquant.files import FRAME, SAMPLE_RATE, InputError, atomic, log, read_speech, write_json, write_speech, write_text
from mlquant.schema import Block, Positive, Seed, refusal

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AUDIO = (".raw", ".wav", ".wav16", ".flac")  # suffixes of the files that an archive keeps
OWN = (".raw", ".wav", ".flac")  # suffixes of a user's own files
LIMIT = 2 << 30  # bytes; a download or the content of an archive beyond this is taken for an attack or a mistake
URL_SECONDS = 30  # seconds without an answer before a server counts as silent
WHOLE_SECONDS = 600  # seconds that one download may take in all
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
APT::Sandbox::User "root";
"""
_BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error)
_BAD_ARCHIVE += (EOFError, OSError, RuntimeError, ValueError)  # from the same readers, on other kinds of damage


class Url(Block):
    """Where a file can be downloaded, and what it must be."""

    url: str
    sha256: Sha256 | None = None


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


class Choice(Block):
    """Which speech is taken, and how much; see `prepare_corpus_part`."""

    include: list[str] = ["*"]
    exclude: list[str] = []
    forbid: list[Sha256] = []
    minutes: Annotated[float, Field(gt=0)] | None = None
    resample: Annotated[list[Annotated[float, Field(ge=0.5, le=2.0)]], Field(min_length=1)] = [1.0]
    equalise: Annotated[float, Field(ge=0, le=20)] = 0.0


class SeededChoice(Choice):
    """A choice with its seed; `files` is the folder or glob that a user's own files came from.

    Of these every `shards`-th is taken, from number `shard` on.
    """

    seed: Seed = 1
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
    it) and `urls`, a list of {url, sha256 (may be left out)}. apt comes first, then each url. `apt_folder` keeps
    apt's package lists for the next call; without it they are fetched anew and removed.

    The manifest holds source, available, obtained_from, sha256 (of the download) and files [{path, bytes, sha256}].
    Raises InputError, which gives the reason of every way, when all fail; if `optional`, the tar is empty instead
    and the manifest says `available: false` and the `reason`.
    """
    ways: list[Callable[[], tuple[str, str, bytes]]] = []
    if source.get("package"):
        ways.append(lambda: _fetch_package(source["package"], source.get("version"), apt_folder))
    ways += [lambda entry=entry: _fetch_url(entry["url"], entry.get("sha256")) for entry in source.get("urls") or []]

    reasons = []
    for way in ways:
        try:
            origin, name, data = way()
            files = _unpack(name, data, origin)
        except InputError as error:
            reasons.append(str(error))
            continue
        _write_archive(archive, files)
        entries = [{"path": path, "bytes": len(files[path]), "sha256": _sha256(files[path])} for path in sorted(files)]
        found = {"obtained_from": origin, "sha256": _sha256(data), "files": entries}
        write_json(manifest, {"source": source, "available": True} | found)
        return

    urls = [entry["url"] for entry in source.get("urls") or []]
    name = source.get("name") or source.get("package") or next(iter(urls), "without a name")
    message = f"source {name}: " + ("; ".join(reasons) or "has neither package nor urls, expected one of them")
    if not optional:
        raise InputError(message)
    log(f"warning: {message}; it is optional and is left out")
    _write_archive(archive, {})
    write_json(manifest, {"source": source, "available": False, "reason": message, "files": []})


def _fetch_package(package: str, version: str | None, folder: Path | None) -> tuple[str, str, bytes]:
    """Download a package with apt; returns where it came from, its file's name and its bytes."""
    if not shutil.which("apt-get"):
        raise InputError("apt-get: not found")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(folder or scratch).resolve()
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
        debs = list(Path(scratch).glob("*.deb"))
        if problem or len(debs) != 1:
            problem = problem or f"{len(debs)} files came for {package}, expected one"
            raise InputError(f"apt-get: {problem}" + (f" (update: {complaint})" if complaint else ""))
        found = unquote(debs[0].name).split("_")[1]
        return f"apt package {package} version {found}", debs[0].name, debs[0].read_bytes()


def _run_apt(folder: Path, cwd: str, *arguments: str) -> str:
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
    lines = [_one_line(line.strip()) for line in done.stderr.decode(errors="replace").splitlines()]
    failures = [line for line in lines if line.startswith("E:") or "Failed" in line]
    if done.returncode:
        return failures[-1] if failures else f"{arguments[0]} ended with status {done.returncode}"
    return failures[0] if failures else ""  # `update` without a network ends with status 0


def _fetch_url(url: str, sha256: str | None) -> tuple[str, str, bytes]:
    """Download a url and check it; returns the url, the file's name and its bytes."""
    import http.client
    import urllib.error

    if url.partition(":")[0].lower() not in ("http", "https", "file"):
        raise InputError(f"{url}: expected a url of http, https or file")
    for wait in (1, 3, None):
        try:
            data = _get(url)
            break
        except (OSError, http.client.HTTPException, ValueError) as error:
            # Only what may pass by itself is tried again: no name that does not resolve, no server that is silent.
            answered = isinstance(error, urllib.error.HTTPError)
            reason = error if answered else getattr(error, "reason", error)
            passing = answered and error.code in (408, 429, 500, 502, 503, 504)
            if wait is None or not (passing or isinstance(reason, ConnectionError | http.client.IncompleteRead)):
                raise InputError(f"{url}: {_one_line(getattr(reason, 'strerror', None) or str(reason))}") from None
            time.sleep(wait)
    found = _sha256(data)
    if sha256 and found != sha256.lower():
        raise InputError(f"{url}: checksum {found}, expected {sha256.lower()}")
    return url, PurePosixPath(unquote(urlsplit(url).path)).name, data


def _get(url: str) -> bytes:
    import http.client
    import urllib.request

    request = urllib.request.Request(url, headers={"User-Agent": "mlquant"})  # some servers refuse urllib's own name
    end = time.monotonic() + WHOLE_SECONDS
    chunks, size = [], 0
    with urllib.request.urlopen(request, timeout=URL_SECONDS) as response:
        while chunk := response.read(1 << 18):
            chunks.append(chunk)
            size += len(chunk)
            if size > LIMIT:
                raise ValueError(f"more than {LIMIT} bytes")
            if time.monotonic() > end:
                raise ValueError(f"not complete after {WHOLE_SECONDS} s")
        expected = response.headers.get("Content-Length")
    if expected and expected.isdigit() and size < int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - size)
    return b"".join(chunks)


def _unpack(name: str, data: bytes, origin: str) -> dict[str, bytes]:
    """Audio files in a download, by path: a .deb, zip or tar of any compression, or itself one audio file.

    Everything stays in memory, so no path in an archive can name a place on disk.
    """
    if name.lower().endswith(AUDIO):
        return {_one_line(name): data}
    try:
        if data.startswith(b"!<arch>\n"):
            files = _unpack_tar(_deb_content(data))
        elif data.startswith(b"PK"):
            files = _unpack_zip(data)
        else:
            files = _unpack_tar(data)
    except _BAD_ARCHIVE as error:
        raise InputError(f"{origin}: {name} is corrupt or no archive ({_one_line(str(error))})") from None
    if not files:
        raise InputError(f"{origin}: {name} holds no audio, expected files named {', '.join(AUDIO)}")
    return files


def _deb_content(data: bytes) -> bytes:
    """The data.tar.* of a Debian package, an `ar` archive (deb(5)): 60-byte headers, members at even offsets."""
    at = 8
    while at + 60 <= len(data):
        header = data[at : at + 60]
        if header[58:] != b"`\n":
            raise ValueError(f"no ar header at byte {at}")
        size = int(header[48:58])
        if header[:16].startswith(b"data.tar"):
            if at + 60 + size > len(data):
                raise ValueError("truncated")
            content = data[at + 60 : at + 60 + size]
            # tarfile reads zstd, which Ubuntu packages have, from Python 3.14 on only.
            return _dpkg_content(data) if b".zst" in header[:16] else content
        at += 60 + size + size % 2
    raise ValueError("no data.tar in the package")


def _dpkg_content(data: bytes) -> bytes:
    if not shutil.which("dpkg-deb"):
        raise ValueError("its data.tar.zst needs dpkg-deb, which is not there")
    with tempfile.NamedTemporaryFile(suffix=".deb") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", file.name], capture_output=True)
    if done.returncode:
        raise ValueError(f"dpkg-deb: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _unpack_tar(data: bytes) -> dict[str, bytes]:
    files, total = {}, 0
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
        for info in tar:
            total = _within_limit(total + info.size)
            path = _audio_path(info.name, info.isreg())
            if path:
                files[path] = tar.extractfile(info).read()
        while tar.fileobj.read(1 << 20):  # compressed streams check their sums at the end only
            pass
    return files


def _unpack_zip(data: bytes) -> dict[str, bytes]:
    files, total = {}, 0
    with zipfile.ZipFile(io.BytesIO(data)) as bundle:
        for info in bundle.infolist():
            total = _within_limit(total + info.file_size)
            regular = not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            path = _audio_path(info.filename, regular)
            if path:
                files[path] = bundle.read(info)
    return files


def _within_limit(total: int) -> int:
    if total > LIMIT:
        raise ValueError(f"holds more than {LIMIT} bytes")
    return total


def _audio_path(name: str, regular: bool) -> str | None:
    """The path under which a member is kept; None for what is no audio, no plain file, or points outside."""
    path = PurePosixPath(name)
    if not regular or path.suffix.lower() not in AUDIO:
        return None
    if path.is_absolute() or ".." in path.parts:
        log(f"{_one_line(name)}: this path leads out of the archive; left out")
        return None
    return _one_line(str(path))


def _write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Write files as an uncompressed tar, sorted; times, owners and modes are tarfile's constant defaults."""
    with atomic(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))


def _read_archive(path: Path) -> dict[str, bytes]:
    try:
        return _unpack_tar(Path(path).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _BAD_ARCHIVE as error:
        raise InputError(f"{path}: not an archive that can be read ({_one_line(str(error))}), expected tar") from None


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
        return found[0], files[found[0]]
    if found:
        some = ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"{archive}: {len(found)} files match {pattern!r} ({some}), expected one")
    ends = {"/".join(path.split("/")[-1 - pattern.count("/") :]): path for path in sorted(files)}
    nearest = [ends[end] for end in difflib.get_close_matches(pattern, ends, n=1, cutoff=0.0)]
    what = f"the nearest of {len(files)} is {nearest[0]}" if nearest else "the archive is empty"
    raise InputError(f"{archive}: no file matches {pattern!r}, {what}")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _one_line(text: str) -> str:
    """Text with what cannot be printed, or is no UTF-8, as escapes: fit for a message and for any file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def prepare_sample(path: Path, out: Path, member_pattern: str | None = None, sha256: str | None = None) -> None:
    """Write one sample as 16-bit 8 kHz `.raw`, from an audio file or from a member of an archive of `fetch_source`.

    `sha256` is that of the audio file or member. Raises InputError, naming archive and member, when it differs and
    for everything that `read_speech` refuses.
    """
    if member_pattern is None:
        speech = read_speech(path)
        found, where = _file_sha256(path), str(path)
    else:
        name, data = member(path, member_pattern)
        found, where = _sha256(data), f"{path}: {name}"
        speech = None
    if sha256 and found != sha256.lower():
        raise InputError(f"{where}: checksum {found}, expected {sha256.lower()}")
    write_speech(out, _decode(name, data, where) if speech is None else speech)


def _file_sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


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
    that are never used), `minutes` (at most; None is no limit), `seed`, `resample` (factors, 1.0 is as it is) and
    `equalise` (dB, see `colour`).

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
            piece = colour(scale_voice(speech, factor), settings.get("equalise") or 0.0, f"{seed} {turn} {digest}")
            frames = min(-(-len(piece) // FRAME), limit - start)
            piece = np.pad(piece, (0, FRAME))[: frames * FRAME]  # a frame of zeros is more than rounding up can need
            pieces.append(piece)
            rows.append((_one_line(name), digest, factor, start, frames))
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
    names: dict[str, str] = {}
    for name in chosen:
        names.setdefault(_sha256(files[name]) if archive else _file_sha256(files[name]), name)
    # A hash orders the same on every machine and leaves the order of the others when a file is added.
    order = sorted(names, key=lambda digest: _sha256(f"{settings.get('seed', 0)} {digest}".encode()))

    forbid = {digest.lower() for digest in settings.get("forbid") or []}
    usable, seen, total = [], set(), 0
    for digest in order:
        name = names[digest]
        if total >= enough:
            break
        try:
            speech = _decode(name, files[name], f"{archive}: {name}") if archive else read_speech(name)
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

    rng = np.random.default_rng(int(_sha256(seed.encode())[:16], 16))
    frequency = np.linspace(0, 1, 65)
    gain = rng.normal(0, deviation, 4) @ np.cos(np.pi * np.outer(np.arange(1, 5), frequency))
    filtered = fftconvolve(speech.astype(np.float64), firwin2(65, frequency, 10 ** (gain / 20)), mode="same")
    level = np.sqrt(np.mean(np.square(speech, dtype=np.float64)) / max(np.mean(np.square(filtered)), 1e-12))
    return np.clip(np.rint(filtered * level), -32768, 32767).astype(np.int16)
