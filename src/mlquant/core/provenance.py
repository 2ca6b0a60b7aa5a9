"""Records of how a result was made: provenance.json in its folder, and a chunk in each wav of an experiment.

Nothing here changes a result, so no key depends on this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from mlquant.core.disk import file_sha256, require, write_bytes, write_json
from mlquant.core.errors import InputError, log

NAME = "provenance.json"
_PACKAGES: tuple[str, ...] = ("torch", "mlquant", "faiss-cpu", "numpy", "pandas", "pycodec2", "pystoi", "safetensors")
_PACKAGES += ("scipy", "snakemake", "soundfile", "soxr", "threadpoolctl", "vector-quantize-pytorch")
_UNCHANGED = hashlib.sha256(b"").hexdigest()


def sidecar(folder: Path, record: dict, settings: dict, inputs: dict[str, str], started: datetime) -> None:
    """Write provenance.json into the folder of a network or codebook, in which all other files are complete.

    `record` is what the workflow knows: the `command`, by folder the `stages` that led to the result, its own among
    them, and the `definitions` of the code that ran. Without a workflow it is empty. `inputs` are the checksums of the
    files that the result was made from, by path. Hidden files are not listed.
    """
    outputs = [path for path in sorted(folder.iterdir()) if path.name != NAME and not path.name.startswith(".")]
    about = {
        "key": folder.name.rpartition(".")[2] if record else None,
        "command": None,
        "settings": settings,
        "seed": settings.get("seed"),
        **ran_since(started),
        "versions": versions(),
        **record,
        "files": inputs,
        "folder": {path.name: file_sha256(path) for path in outputs},
    }
    write_json(folder / NAME, about)


def block_at(config: Mapping, place: str) -> dict:
    """Return the block of a configuration that a place, as networks.nn4.epochs, is in; {} if there is none."""
    block: Any = config
    for key in place.split(".")[:-1]:
        try:
            block = block[int(key)] if isinstance(block, list) else block[key]
        except (KeyError, IndexError):
            return {}
    return block


def quick_look(lowered: Mapping[str, Sequence]) -> str:
    """Return a sentence on what upper limits lowered: by place, the value asked for and the value used; "" for nothing.

    For each setting it has the value used, the values asked for, and the entries of the configuration.
    """
    parts: dict[str, tuple[list, dict[str, list[str]]]] = {}
    for place, (asked, used) in lowered.items():
        section, entry, *_, setting = place.split(".")
        values, entries = parts.setdefault(f"{setting} {used:g}", ([], {}))
        values.append(math.inf if asked is None else asked)
        entries.setdefault(section, []).append(entry)
    texts = []
    for what, (values, entries) in parts.items():
        asked = ", ".join(f"{value:g}" if value < math.inf else "all" for value in sorted({*values}))
        of = ", ".join(f"{section} {' '.join(dict.fromkeys(names))}" for section, names in entries.items())
        texts.append(f"{what} instead of {asked} ({of})")
    return f"This is a quick look, made with less than the configuration asks for: {'; '.join(texts)}." if texts else ""


def now() -> datetime:
    """Return the present time in UTC, for `ran_since`."""
    return datetime.now(UTC)


def ran_since(started: datetime) -> dict:
    """Return when something started, to the second, and how many seconds it has taken until now."""
    seconds = (now() - started).total_seconds()
    return {"started": started.isoformat(timespec="seconds"), "seconds": round(seconds, 3)}


def checksums(paths: Iterable[str | Path], root: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of files by their paths, sorted; paths below `root` are written relative to it."""
    names = {path: str(path).removeprefix(f"{root}/") for path in map(Path, paths)}
    return {name: file_sha256(path) for path, name in sorted(names.items())}


def versions() -> dict:
    """Return what the last digits of a result may depend on: Python, packages, machine and revision of the code.

    `revision` is that of git, with "-dirty" when the checkout has changes, which `diff_sha256` then identifies. All are
    None where git tells none, and a line of the log says why. Files that git does not track count as changes, as long
    as it does not ignore them.
    """
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or None


def no_revision() -> str | None:
    """Return in one line why git does not tell the revision of this code, or None where it does."""
    try:
        _head()
    except InputError as error:
        return f"{NAME} has no git revision: {error}"
    return None


def _revision() -> dict:
    try:
        top, revision = _head()
        digest = hashlib.sha256(_git(top, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv"))
        for name in sorted(_git(top, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")):
            if name:
                digest.update(name)
                _add(digest, top / os.fsdecode(name))
    except InputError as error:
        log(f"{NAME} has no git revision: {error}")
        return {"revision": None, "dirty": None, "diff_sha256": None}
    if digest.hexdigest() == _UNCHANGED:
        return {"revision": revision, "dirty": False, "diff_sha256": None}
    return {"revision": f"{revision}-dirty", "dirty": True, "diff_sha256": digest.hexdigest()}


def _add(digest: hashlib._Hash, path: Path) -> None:
    """Add what a file holds; of a link, a pipe, a folder, or a file that cannot be read, the name alone counts."""
    if path.is_file() and not path.is_symlink():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)


def _head() -> tuple[Path, str]:
    """Return the folder of the repository that this code is tracked in, and its revision.

    Raises InputError with git's reason. A repository around a copy of the code, which does not track it, is not meant.
    """
    here = Path(__file__).resolve()
    _git(here.parent, "ls-files", "--error-unmatch", here.name)
    top = Path(os.fsdecode(_git(here.parent, "rev-parse", "--show-toplevel")).removesuffix("\n"))
    return top, _git(here.parent, "rev-parse", "--verify", "HEAD").decode().strip()


def _git(folder: Path, *command: str) -> bytes:
    """Return what git prints in a folder; InputError with its reason if it fails or is not installed.

    Git refuses a checkout of another owner, where it would look for one itself. The checkout that this code is run from
    is named to it instead: that owner's code runs already.
    """
    here = Path(__file__).resolve()
    top = next((top for top in here.parents if here.is_relative_to(top / "src/mlquant")), None)
    named = [f"--git-dir={top / '.git'}", f"--work-tree={top}"] if top and (top / ".git").exists() else []
    # In a hook of git these are of the repository that the hook runs for.
    others = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
    environment = {name: value for name, value in os.environ.items() if name not in others} | {"LC_ALL": "C"}
    try:
        done = subprocess.run(["git", *named, *command], capture_output=True, cwd=folder, env=environment)
    except FileNotFoundError:
        raise InputError("git is not installed") from None
    except OSError as error:
        raise InputError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        raise InputError(done.stderr.decode(errors="replace").partition("\n")[0] or f"git ended with {done.returncode}")
    return done.stdout


def write_labelled_wav(path: Path, known: dict, name: str) -> None:
    """Write a wav of an experiment with a LIST chunk behind its samples that says what it is.

    `known` is the experiment's provenance. The chunk has a title (the name), an album (the experiment), a track number
    (the index) and a comment with the file that the samples come from, and the key in the name of its folder. So speech
    that is the same in another variant of the experiment gives the same file. Players skip chunks that they do not
    know. Raises InputError for speech that cannot be read.
    """
    import soundfile

    wav, experiment = known["wavs"][name], known["experiment"]["name"]
    require(wav, f"provenance of {name}", "from", "index", "tag")
    try:
        speech, rate = soundfile.read(wav["from"], dtype="int16")
    except soundfile.LibsndfileError as error:
        raise InputError(f"{wav['from']}: cannot be read: {error.error_string.rstrip('.')}") from None
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, 1, "PCM_16", format="WAV") as file:
        file.write(speech)
        # Set after the samples, so that the chunk follows them: programs that skip 44 bytes find speech there.
        file.title, file.album, file.tracknumber = name, experiment, str(wav["index"])
        key = Path(wav["from"]).parent.name.rpartition(".")[2]
        file.comment = f"mlquant: experiment {experiment}, index {wav['index']}, key {key}, from {wav['from']}"
    write_bytes(path, buffer.getvalue())
