"""Sources of speech, obtained from Debian's package archive or a url and kept as archives.

A source is a Debian package, fetched with `apt-get` as any user into a folder of our own, or a list of urls that are
tried in order when that fails. Nothing is used but what apt's signature or a checksum vouches for. Nothing here changes
a result: what is obtained counts by its checksum.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from mlquant.core.disk import file_sha256, write_json
from mlquant.core.errors import InputError, log, one_line
from mlquant.speech.archives import (
    LIMIT,
    WHOLE_SECONDS,
    chunks,
    raise_if_disk_full,
    save,
    time_limit,
    unpack,
    write_archive,
)
from mlquant.speech.settings import is_this_machine, url_problem

URL_SECONDS = 30  # seconds without an answer before a server counts as silent
WAITS = (1, 4, 16)  # seconds before a url is tried again
LONGEST_WAIT = 60  # seconds, when a server asks for more
LISTS_SECONDS = 3600  # seconds for which package lists are used again, so that six packages cost one update
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


def fetch_source(
    source: dict, archive: Path, manifest: Path, optional: bool = False, apt_folder: Path | None = None
) -> None:
    """Obtain a source; write its audio files, and `tables`, as a tar, and a JSON manifest of where they came from.

    `source` may hold `name` (for messages), `package`, `version` (of the package, as apt writes it; a `*` may end
    it), `urls`, a list of {url, sha256}, see `url_problem`, and `tables`, globs of other files that are kept. apt is
    tried first, then each url. `apt_folder` keeps apt's package lists for the next call; without it they are fetched
    anew and removed.

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
                content, places = unpack(name, download, scratch, origin, source.get("tables") or ())
            except InputError as error:
                reasons.append(str(error))
                unreachable += isinstance(error, _Unreachable)
                continue
            digest = file_sha256(download)
            entries = write_archive(archive, content, places)
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
    write_archive(archive, Path(os.devnull), {})
    write_json(manifest, {"source": source, "available": False, "reason": message, "files": []})


@contextlib.contextmanager
def _scratch_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to the file `target` that is to be written, on the disk that has room for it."""
    folder = target.absolute().with_name(f".{target.name}.unfinished")
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        # A failed update need not matter: it may concern another repository of this machine.
        problem = _run_apt(folder, scratch, "download", "--", package + (f"={version}" if version else ""))
    debs = list(scratch.glob("*.deb"))
    if problem or len(debs) != 1:
        problem = problem or f"{len(debs)} files came for {package}, expected one"
        raise InputError(f"apt-get: {problem}" + (f" (update: {complaint})" if complaint else ""))
    found = unquote(debs[0].name).split("_")[1]
    return f"apt package {package} version {found}", debs[0].name, debs[0]


def _run_apt(folder: Path, cwd: Path, *arguments: str) -> str:
    """Run apt-get on a folder of our own; returns its complaint in one line, empty when all went well."""
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
    """No server answered: there is no network, or the proxy or the server cannot be reached."""


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
        with time_limit():
            _download_with_patience(url, path)
    except TimeoutError as error:
        raise InputError(f"{url}: {error}") from None
    found = file_sha256(path)
    if sha256 and found != sha256.lower():
        raise InputError(f"{url}: checksum {found}, expected {sha256.lower()}")
    return url, PurePosixPath(unquote(urlsplit(url).path)).name, path


def _download_with_patience(url: str, path: Path) -> None:
    """Download a url; try again after a failure that may pass, unlike an unknown host or a silent server."""
    import http.client
    import ssl
    import urllib.error

    for wait in (*WAITS, None):
        try:
            return _download(url, path)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise_if_disk_full(error)
            answered = isinstance(error, urllib.error.HTTPError)
            reason = error if answered else getattr(error, "reason", error)
            if answered:
                passing, asked = error.code in (408, 429, 500, 502, 503, 504), error.headers.get("Retry-After") or ""
            else:
                passing, asked = isinstance(reason, ConnectionError | http.client.IncompleteRead), ""
            if wait is None or not passing:
                # urllib wraps the errors from before a server is reached, and no others.
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
            here = is_this_machine(urlsplit(req.full_url).hostname)  # a proxy would take the name for its own machine
            return None if here else super().proxy_open(req, proxy, type)

    opener = urllib.request.build_opener(Redirects, Proxies)
    request = urllib.request.Request(url, headers={"User-Agent": "mlquant"})  # some servers refuse urllib's own name
    with opener.open(request, timeout=URL_SECONDS) as response:
        length = response.headers.get("Content-Length") or ""
        expected = int(length) if length.isdecimal() else 0
        if expected > LIMIT:
            raise ValueError(f"{expected} bytes, more than {LIMIT} bytes")
        size = save(chunks(response), path)
    if size < expected:
        raise http.client.IncompleteRead(b"", expected - size)
