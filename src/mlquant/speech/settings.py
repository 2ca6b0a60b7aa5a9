"""What speech a configuration can name: sources to obtain it from, and how training speech is chosen from them."""

from __future__ import annotations

import glob
import ipaddress
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from mlquant.core.blocks import Block, Positive, Seed, refusal, shown
from mlquant.core.errors import InputError

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AUDIO = (".raw", ".wav", ".wav16", ".flac")  # suffixes of the files that an archive keeps
OWN = (".raw", ".wav", ".flac")  # suffixes of a user's own files


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
    here = parts.scheme == "http" and is_this_machine(parts.hostname)
    if not (url.isprintable() and (here or parts.scheme in ("https", "file"))):
        return f"url: found {url!r}, expected https (or file, or http to this machine itself)"
    if not sha256 and parts.scheme != "file":
        return f"sha256: is missing, expected the checksum of {url}"
    return None


def is_this_machine(host: str | None) -> bool:
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
