"""What speech a configuration can name: sources, test samples, and corpora, whose parts are chosen from sources."""

from __future__ import annotations

import glob
import hashlib
import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from mlquant.core.blocks import UNTOLD, Block, FilePath, Name, Positive, Text, checked, nearest, quoted, refusal
from mlquant.core.containers import READ, SUFFIXES, some_of
from mlquant.core.errors import InputError
from mlquant.core.stage import Setting
from mlquant.core.types import Seed, SlowMeasures
from mlquant.speech.archives import matches
from mlquant.speech.types import Equalise, Minutes, Resample

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def url_problem(url: str, sha256: str | None) -> str | None:
    """Return why a url and its checksum cannot be trusted, beginning with the key that is wrong; None when they can.

    A url must be https, or http to this machine itself, and have a checksum; `file:` needs none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return f"url: found {url!r} ({error}), expected https"
    if "@" in parts.netloc:
        return "url: has a user name or password, expected none"  # the message must not show it
    here = parts.scheme == "http" and is_this_machine(parts.hostname)
    if not (url.isprintable() and (here or parts.scheme in ("https", "file"))):
        return f"url: found {url!r}, expected https (or file, or http to this machine itself)"
    if not sha256 and parts.scheme != "file":
        return f"sha256: is missing, expected the checksum of {url}"
    return None


def is_this_machine(host: str | None) -> bool:
    """Return whether a host is this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class Url(Block):
    """Where a file can be downloaded, and what it must be."""

    url: Annotated[str, Setting(help="an address: https, or file")]
    sha256: Annotated[Sha256 | None, Setting(help="checksum of what is there; required of https")] = None

    @model_validator(mode="after")
    def _trusted(self) -> Url:
        if problem := url_problem(self.url, self.sha256):
            raise refusal(problem)
        return self


class Source(Block):
    """Where speech comes from: a Debian package, fetched without root, or else urls, tried in order."""

    name: Annotated[str | None, Setting(help="its name in messages; by default the name of the entry")] = None
    package: Annotated[str | None, Setting(help="name of a Debian package")] = None
    version: Annotated[str | None, Setting(help="version of the package; a * at its end stands for anything")] = None
    urls: Annotated[list[Url], Setting(help="where it can be downloaded when there is no package; tried in order")] = []
    tables: Annotated[
        list[str],
        Setting(
            help="globs of other files that are kept, as transcripts; those that test sets name are kept in any case",
            neutral=[],
        ),
    ] = []

    @model_validator(mode="after")
    def _somewhere(self) -> Source:
        if not (self.package or self.urls):
            raise refusal("has neither package nor urls, expected at least one")
        return self


class Sample(Block):
    """A test sample: a file of a source, or a url, or neither when the file is in speech_dir.

    No training corpus may hold it: results of an experiment whose networks have seen one of its samples are refused.
    """

    sex: Annotated[Literal["m", "f"] | None, Setting(help="sex of the speaker, for tables")] = None
    source: Annotated[str | None, Setting(help="name of the source that it is in")] = None
    file: Annotated[Text | None, Setting(help="its path in the source, or the end of it")] = None
    url: Annotated[str | None, Setting(help="where it can be downloaded, in place of a source")] = None
    sha256: Annotated[Sha256 | None, Setting(help="checksum of the file")] = None
    optional: Annotated[bool, Setting(help="it is left out, with a warning, when its url cannot be downloaded")] = False

    @model_validator(mode="after")
    def _one_origin(self) -> Sample:
        if (self.source is None) != (self.file is None):
            found = "file without source" if self.source is None else "source without file"
            raise refusal(f"has {found}, expected both or neither")
        if self.source and self.url:
            raise refusal("has both source and url, expected at most one")
        if self.source and self.optional:
            raise refusal("is optional, which needs a url of its own instead of a source")
        if self.url is not None and (problem := url_problem(self.url, self.sha256)):
            raise refusal(problem)
        return self


class HeldOutVoice(Block):
    """A voice that nothing is trained on, to measure on: files of a source.

    Each part of a corpus leaves them out, unless the part itself is `held_out`.
    """

    sex: Annotated[Literal["m", "f"], Setting(help="sex of the speaker, as the pitch tells it")]
    source: Annotated[str, Setting(help="name of the source that it is in")]
    include: Annotated[
        list[str], Field(min_length=1), Setting(help="globs that match the end of the paths of its files")
    ]
    also: Annotated[
        dict[Name, list[str]],
        Setting(help="globs, by source, of other files that may be of the same person: nothing is trained on these"),
    ] = {}

    def files(self) -> dict[str, list[str]]:
        """The globs, by source, of all files that are left out of corpora."""
        return {**self.also, self.source: [*self.include, *self.also.get(self.source, [])]}


def _rising(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise refusal(f"found {value}, expected the lower end first")
    return value


def _one_group(value: str) -> str:
    """Return a regular expression; refuse one that has not exactly one group."""
    try:
        groups = re.compile(value).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise refusal(f"found {quoted(value)} ({error}), expected a regular expression") from None
    if groups != 1:
        raise refusal(f"found {quoted(value)}, expected one group, in brackets, that is the speaker's name")
    return value


Range_dB = Annotated[
    list[Annotated[float, Setting(ge=-60, le=60)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]


class Choice(Block):
    """Which speech is taken, how much, and what is done to it; see `prepare_corpus_part`."""

    removed: ClassVar[dict[str, str]] = {"forbid": "the program itself refuses test samples in training speech"}

    include: Annotated[list[str], Setting(help="globs that match the end of the path of a file that is taken")] = ["*"]
    exclude: Annotated[list[str], Setting(help="globs of files that are left out although `include` matches them")] = []
    minutes: Annotated[Minutes | None, Setting(help="most minutes of speech; by default all is taken")] = None
    minutes_each: Annotated[
        Minutes | None, Setting(help="most minutes of speech of each of the `speakers`", neutral=None)
    ] = None
    speakers: Annotated[
        Annotated[str, AfterValidator(_one_group)] | None,
        Setting(help="a regular expression whose group finds the speaker's name in the path of a file"),
    ] = None
    held_out_speakers: Annotated[
        Positive | None,
        Setting(help="number of speakers, drawn by the seed, that are not trained on; `minutes` limits both sides"),
    ] = None
    resample: Annotated[
        list[Resample],
        Field(min_length=1),
        Setting(
            help="factors of pitch and formants, as of other vocal tracts, used from file to file in turn; a factor "
            "below 1 leaves nothing above it times 4 kHz, so that y_hat must not be learned from such speech"
        ),
    ] = [1.0]
    equalise: Equalise = 0.0
    noise: Annotated[
        Range_dB | None,
        Setting(help="steady noise of the speech's own spectrum at a ratio drawn from this range in dB, file by file"),
    ] = None
    gain: Annotated[Range_dB | None, Setting(help="a gain drawn from this range in dB, file by file")] = None
    pause_ms: Annotated[
        int,
        Setting(
            help="silence between a file and the next, in ms, where the ends of both fade; words of a second need it",
            ge=0,
            le=2000,
            neutral=0,
        ),
    ] = 0

    @model_validator(mode="after")
    def _split_by_speaker(self) -> Choice:
        if self.speakers and not (self.held_out_speakers or self.minutes_each):
            raise refusal("has speakers without held_out_speakers and minutes_each, expected one of them, or both")
        for key in ("held_out_speakers", "minutes_each"):
            if getattr(self, key) and not self.speakers:
                raise refusal(f"has {key} without speakers, expected both or neither")
        return self


AS_IT_IS = {
    "resample": [1.0],
    "equalise": 0.0,
    "noise": None,
    "gain": None,
}  # settings of a choice that change no speech


class SeededChoice(Choice):
    """A choice with its seed; `files` is the folder or glob of a user's own files.

    Every `shards`-th of these files is taken, from number `shard` on. Where speakers are held out, `held_out` says
    whether their files are taken or those of the others.
    """

    seed: Annotated[Seed, Setting(help="seed of the choice of files and of all that is drawn for them")] = 1
    held_out: Annotated[
        bool, Setting(help="with held_out_speakers: the speech of these is taken, or of the others")
    ] = False
    files: Annotated[str | None, Setting(help="a folder or glob of your own audio files, in place of those given")] = (
        None
    )
    shard: Annotated[Seed, Setting(help="number of the first of `files` that is taken, from 0 on")] = 0
    shards: Annotated[Positive, Setting(help="one of so many of `files` is taken")] = 1


class Part(Choice):
    """A part of a corpus: files of a source, or a user's own audio files, or ready-made feature files."""

    source: Annotated[str | None, Setting(help="name of the source that the speech is from")] = None
    files: Annotated[FilePath | None, Setting(help="a folder or glob of your own audio files")] = None
    b: Annotated[FilePath | None, Setting(help="a file of ready-made features: 22 floats a frame")] = None
    y: Annotated[FilePath | None, Setting(help="the file of 79 floats a frame that goes with `b`")] = None
    shards: Annotated[Positive, Setting(help="number of jobs in which the speech of `files` is prepared")] = 1
    held_out: Annotated[bool, Setting(help="it is not trained on; the training is measured on it")] = False

    @model_validator(mode="after")
    def _one_origin(self) -> Part:
        if self.speakers and (self.b or self.shards > 1):
            other = "b" if self.b else "shards"
            raise refusal(f"has speakers and {other}, expected no speakers, or else speech that one job prepares")
        if self.held_out_speakers and self.held_out:
            raise refusal("has held_out and held_out_speakers, expected at most one of them")
        if self.shards > 1 and not self.files:
            raise refusal("shards goes with files only, found no files")
        origins = [key for key in ("source", "files", "b") if getattr(self, key) is not None]
        if len(origins) != 1:
            raise refusal(f"has {' and '.join(origins) or 'none of them'}, expected exactly one of source, files and b")
        if self.y and not self.b:
            raise refusal("has y without b, expected both")
        return self


Settings = Annotated[dict[str, Any], Field(exclude=True)]  # of parts; they are checked in the parts that get them


class Corpus(Block):
    """Training speech: parts that are each chosen, prepared and analysed by themselves."""

    seed: Annotated[Seed, Setting(help="seed of the choice of files and of all that is drawn for them")] = 1
    parts: Annotated[dict[Name, Part], Field(min_length=1), Setting(help="its parts by name; see Parts")]
    parts_with: Annotated[Settings, Setting(help="settings that each part has where it does not set them itself")] = {}
    parts_again: Annotated[
        Settings,
        Setting(
            help="settings by a name: each part that is not held out is used once more with them, as <part>_<name>"
        ),
    ] = {}

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, data: Any) -> Any:
        """Give each part the settings that all have in common, and add the parts that `parts_again` asks for."""
        if not isinstance(data, dict) or not isinstance(data.get("parts"), dict):
            return data
        common, again = data.get("parts_with", {}), data.get("parts_again", {})
        for key, settings in (("parts_with", common), ("parts_again", again)):
            if not isinstance(settings, dict):
                raise refusal(f"found {quoted(settings)}, expected settings of parts", key)
        for name, settings in (("parts_with", common), *((f"parts_again.{name}", own) for name, own in again.items())):
            if not isinstance(settings, dict):
                raise refusal(f"found {quoted(settings)}, expected settings of parts", name)
            for key in settings:
                if key not in Part.model_fields and key not in Part.removed:
                    raise refusal(f"unknown key {quoted(key)}, {nearest(key, Part.model_fields)}", name)
        parts = {}
        for name, part in data["parts"].items():
            parts[name] = part = common | part if isinstance(part, dict) else part
            if isinstance(part, dict) and not part.get("held_out"):
                parts |= {f"{name}_{suffix}": part | settings for suffix, settings in again.items()}
        return data | {"parts": parts, "parts_with": {}, "parts_again": {}}

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Corpus:
        if all(part.held_out for part in self.parts.values()):
            raise refusal("all are held out, expected one to train on", "parts")
        return self


Sex = Literal["m", "f"]
Range_s = Annotated[
    list[Annotated[float, Setting(gt=0, le=60)]], Field(min_length=2, max_length=2), AfterValidator(_rising)
]
Shards = Annotated[
    int,
    Setting(help="number of jobs that each stage takes; an utterance that is added redoes its own", gt=0, le=1000),
]


def _is_table(value: Any) -> str:
    return f"{UNTOLD}{'each' if isinstance(value, dict) else 'table'}"


# A fault is told of one of the two alone.
_SexOf = Annotated[
    Annotated[dict[Name, Sex], Tag(f"{UNTOLD}each")] | Annotated[FilePath, Tag(f"{UNTOLD}table")],
    Discriminator(_is_table),
]


class Clips(Block):
    """Which utterances are taken of a source, or of files: what `prepare_set` takes."""

    include: Annotated[list[str], Setting(help="globs that match the end of the path of a file that is taken")] = ["*"]
    exclude: Annotated[list[str], Setting(help="globs of files that are left out although `include` matches them")] = []
    utterances: Annotated[Positive | None, Setting(help="most utterances, drawn by the seed; by default all")] = None
    minutes: Annotated[Minutes | None, Setting(help="most minutes of speech, drawn by the seed")] = None
    seconds: Annotated[
        Range_s | None,
        Setting(
            help="least and most seconds of an utterance: files of the same speaker are joined with short pauses, and "
            "long ones are cut in pauses; by default each file is an utterance as it is"
        ),
    ] = None
    speakers: Annotated[
        Annotated[str, AfterValidator(_one_group)] | None,
        Setting(
            help="a regular expression whose group finds the speaker's name in the path of a file; by default all is "
            "of one speaker, who has the name of the part"
        ),
    ] = None
    sex: Annotated[
        _SexOf | None,
        Setting(
            help="sex of the speaker, m or f; or of each speaker by name; or a table: a CSV file with the columns "
            "speaker and sex, or one as LibriSpeech's SPEAKERS.TXT. It is a file of your own, or one in the source, "
            "by a glob that matches the end of its path"
        ),
    ] = None
    transcripts: Annotated[
        FilePath | None,
        Setting(
            help="tables of what is said, by a glob: of your own, also below the folder of `files`, or in the source. "
            "They are as LibriSpeech's *.trans.txt, whose lines have the name of a file and its words, or CSV files "
            "with the columns file and transcript",
            neutral=None,
        ),
    ] = None

    def tables(self) -> list[str]:
        """The tables that it names, by path or glob."""
        return [one for one in (self.sex, self.transcripts) if isinstance(one, str) and one not in ("m", "f")]


class GivenClips(Clips):
    """A part of a set, as `prepare-set` takes it."""

    archive: Annotated[str | None, Setting(help="a tar written by fetch")] = None
    files: Annotated[str | None, Setting(help="a folder or glob of audio files, in place of an archive")] = None

    @model_validator(mode="after")
    def _one_origin(self) -> GivenClips:
        return _from_one_of(self, "archive")


class SetShard(Block):
    """A shard of a test set: those of its utterances whose names give the number of the shard."""

    seed: Annotated[Seed, Setting(help="seed of the choice of utterances")] = 1
    shard: Annotated[Seed, Setting(help="number of the shard, from 0")] = 0
    shards: Shards = 1
    parts: Annotated[dict[Name, GivenClips], Field(min_length=1), Setting(help="the parts of the set by name")]


def shard() -> dict[str, type[Block]]:
    """Return the block of the settings of `mlquant prepare-set`, and that of each part, by title."""
    return {"": SetShard, "parts": GivenClips}


class SetPart(Clips):
    """A part of a test set: utterances of a source, or of your own audio files."""

    source: Annotated[str | None, Setting(help="name of the source that the speech is from")] = None
    files: Annotated[FilePath | None, Setting(help="a folder or glob of your own audio files")] = None

    @model_validator(mode="after")
    def _one_origin(self) -> SetPart:
        return _from_one_of(self, "source")


def _from_one_of(part: Any, other: str) -> Any:
    """Return a part; refuse one that has not exactly one of `files` and another origin."""
    if (getattr(part, other) is None) == (part.files is None):
        found = "neither" if part.files is None else "both"
        raise refusal(f"has {found} of {other} and files, expected exactly one of them")
    return part


class TestSet(Block):
    """Utterances of many speakers, on which experiments are measured.

    One with a single part may hold the settings of that part itself. With `held_out_voices` these are the settings of
    each voice.
    """

    __test__: ClassVar = False  # pytest would take it for a test
    seed: Annotated[Seed, Setting(help="seed of the choice of utterances")] = 1
    shards: Shards = 4
    held_out_voices: Annotated[
        bool, Field(exclude=True), Setting(help="true: each voice of the table `held_out_voices` is a part of it")
    ] = False
    measures: SlowMeasures = []
    parts: Annotated[dict[Name, SetPart], Setting(help="its parts by name; see SetParts")] = {}
    parts_with: Annotated[Settings, Setting(help="settings that each part has where it does not set them itself")] = {}

    @classmethod
    def _faults_of_keys(cls, data: dict) -> dict[Any, Any]:
        return super()._faults_of_keys({key: value for key, value in data.items() if key not in SetPart.model_fields})

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, data: Any) -> Any:
        """Give each part the settings that all have in common; the settings of a single part may stand in the set."""
        if not isinstance(data, dict):
            return data
        common, parts = data.get("parts_with", {}), data.get("parts", {})
        if not isinstance(common, dict):
            raise refusal(f"found {quoted(common)}, expected settings of parts", "parts_with")
        for key in common:
            if key not in SetPart.model_fields:
                raise refusal(f"unknown key {quoted(key)}, {nearest(key, SetPart.model_fields)}", "parts_with")
        own = {key: value for key, value in data.items() if key in SetPart.model_fields}
        rest = {key: value for key, value in data.items() if key not in own}
        if data.get("held_out_voices") is True:
            return rest | {"parts_with": cls._of_voices(common | own, parts)}
        if own and parts:
            raise refusal(f"has {', '.join(own)} and parts, expected these settings in parts or in parts_with")
        if not (own or parts):
            raise refusal("has no parts, expected source, files, parts, or held_out_voices: true")
        if not isinstance(parts, dict):
            return data
        parts = parts or {"all": own}
        parts = {name: common | part if isinstance(part, dict) else part for name, part in parts.items()}
        return rest | {"parts": parts, "parts_with": {}}

    @staticmethod
    def _of_voices(settings: dict, parts: Any) -> dict:
        """Return settings that all held-out voices have in common; refuse those that the table gives."""
        given = [key for key in ("source", "files", "include", "speakers", "sex") if key in settings]
        if given or parts:
            raise refusal(f"has held_out_voices and {', '.join(given or ['parts'])}, expected one of them")
        if faults := checked(Clips, settings)[1]:
            place, fault = faults[0]
            raise refusal(fault, ".".join(map(str, place)))
        return settings


def taken(paths: Iterable[str], include: list[str], exclude: list[str]) -> list[str]:
    """Return the paths, sorted, whose end one of the globs `include` matches, and none of `exclude`."""
    return [
        path
        for path in sorted(paths)
        if any(matches(path, one) for one in include) and not any(matches(path, one) for one in exclude)
    ]


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Return a short name for each path, without its suffix: the end of the path that no other path has."""
    found: dict[str, str] = {}
    left, parts = list(paths), 1
    while left:
        named = {path: "_".join(PurePosixPath(path).with_suffix("").parts[-parts:]) for path in left}
        named = {path: re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or "utterance" for path, name in named.items()}
        counts: dict[str, int] = {}
        for name in named.values():
            counts[name] = counts.get(name, 0) + 1
        longest = {path for path in left if parts >= len(PurePosixPath(path).parts)}
        unique = [path for path in left if (counts[named[path]] == 1 and named[path] not in found.values())]
        for path in unique or longest:
            name = named[path]
            while name in found.values():
                name += f"_{hashlib.sha256(path.encode()).hexdigest()[:6]}"
            found[path] = name
        left, parts = [path for path in left if path not in found], parts + 1
    return found


def by_seed(names: Iterable[str], seed: int) -> list[str]:
    """Return names in an order that the seed draws. A name that is added leaves the order of the others as it is."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())


def shard_of(name: str, shards: int) -> int:
    """Return the number of the shard that an utterance is in, by its name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % shards


def prefix_of(part: str, clips: Clips, parts: int) -> str:
    """Return what the names of a part's utterances begin with; that of its only speaker is the name of the part."""
    return f"{part}_" if parts > 1 and (clips.speakers or not clips.seconds) else ""


def of_shard(files: list[str], clips: Clips, seed: int, shard: int, shards: int, prefix: str) -> list[str]:
    """Return those of a user's own files that a shard needs: its own where the names say which these are, else all."""
    if clips.seconds or clips.minutes:
        return files
    names = short_names(by_seed(taken(files, clips.include, clips.exclude), seed)[: clips.utterances])
    return [path for path in files if path in names and shard_of(prefix + names[path], shards) == shard]


def own_tables(pattern: str, files: str | None) -> list[str]:
    """The user's own tables that a path or glob names, by itself or below the folder `files`; none is no error."""
    found = glob.glob(pattern, recursive=True)
    if not found and files and not Path(pattern).is_absolute():
        folder = glob.escape(files) if Path(files).is_dir() else str(Path(files).parent)
        found = glob.glob(f"{folder}/**/{pattern}", recursive=True)
    return sorted(path for path in found if Path(path).is_file())


def audio_files(pattern: str) -> list[str]:
    """The audio files that a folder or glob names, sorted; InputError when there are none."""
    found = _named(pattern)
    if not (audio := [path for path in found if path.lower().endswith(SUFFIXES)]):
        others = f" but {some_of(found)}" if found else ""
        raise InputError(f"files: no audio matches {pattern!r}{others}, expected {READ}")
    return audio


def left_out(pattern: str) -> list[str]:
    """The files that a folder or glob names and that have no suffix of audio that is read."""
    return [path for path in _named(pattern) if not path.lower().endswith(SUFFIXES)]


def _named(pattern: str) -> list[str]:
    if Path(pattern).is_dir():
        pattern = f"{glob.escape(pattern)}/**/*"
    found = sorted(glob.glob(pattern, recursive=True))
    return [path for path in found if path.lower().endswith(SUFFIXES) or Path(path).is_file()]
