"""Test sets: utterances of many speakers, prepared one after another as headerless 16-bit 8 kHz speech.

Each utterance has the samples that `prepare_sample` makes of its file. A set is made in shards; an utterance is in the
shard that its name gives, so that one that is added changes its own shard only.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path, PurePosixPath

import numpy as np

from mlquant.core.disk import unreadable, write_text
from mlquant.core.errors import InputError, log, one_line
from mlquant.core.records import FRAME, SAMPLE_RATE, read_speech, write_speech
from mlquant.speech.archives import matches, read_archive, sha256_of
from mlquant.speech.corpus import decode
from mlquant.speech.settings import (
    GivenClips,
    SetShard,
    audio_files,
    by_seed,
    own_tables,
    prefix_of,
    shard_of,
    short_names,
    taken,
)

COLUMNS = ("utterance", "speaker", "sex", "start", "samples", "samples_sha256", "transcript", "files")
PAUSE = SAMPLE_RATE // 5  # samples of silence between files that are joined
_STEP = SAMPLE_RATE // 50  # samples, of the places of cuts


@dataclass(frozen=True)
class Utterance:
    """An utterance of a set: samples start to start + samples of the speech of its shard.

    `samples_sha256` are those of the files that it is made of, by which training speech is kept apart. `transcript`
    holds the words, and is empty where they are not known.
    """

    name: str
    speaker: str
    sex: str
    start: int
    samples: int
    samples_sha256: str
    transcript: str = ""

    @property
    def frames(self) -> int:
        """The frames of its model and of its features."""
        return -(-self.samples // FRAME)


@dataclass(frozen=True, eq=False)
class _Piece:
    """Speech [N] int16 of a file, or a part of it: `samples_sha256` are those of the whole file."""

    file: str
    samples_sha256: str
    speech: np.ndarray
    whole: bool


Made = Iterator[tuple[str, str, list[_Piece]]]
"""For each utterance its name, its speaker, and the pieces that it is made of."""


def prepare(set_shard: SetShard, out: Path, table: Path, root: Path | None = None) -> None:
    """Write the utterances of a shard as one 16-bit 8 kHz `.raw`, and a CSV with a row for each.

    Where a part has `seconds`, its utterances are joined from files and cut from long ones; else each file is one.
    Paths of archives are relative to `root`. A file of an archive that is not usable speech is left out and logged.
    InputError is raised for such a file among a user's own, where a part has no file, and for tables of sexes or
    transcripts that cannot be read, or that have none of its speakers or files.
    """
    pieces, rows, start = [], [], 0
    names: set[str] = set()
    for part, clips in set_shard.parts.items():
        for name, speaker, sex, transcript, made in _of_part(part, clips, set_shard, root):
            while name in names:  # as of the speakers "a b" and "a_b"
                name += f"_{hashlib.sha256(made[0].file.encode()).hexdigest()[:6]}"
            names.add(name)
            speech = _with_pauses([piece.speech for piece in made])
            files = {piece.file: piece.samples_sha256 for piece in made}
            digests, paths = " ".join(files.values()), " + ".join(map(one_line, files))
            rows.append((name, speaker, sex, start, len(speech), digests, transcript, paths))
            pieces.append(speech)
            start += len(speech)
    write_speech(out, np.concatenate(pieces) if pieces else np.zeros(0, np.int16))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_text(table, text.getvalue())


def _of_part(
    part: str, clips: GivenClips, set_shard: SetShard, root: Path | None
) -> Iterator[tuple[str, str, str, str, list[_Piece]]]:
    """Give name, speaker, sex, transcript and pieces of each utterance of a part that is in the shard."""
    archive = Path(root or "", clips.archive) if clips.archive else None
    files = read_archive(archive) if archive else {path: Path(path) for path in audio_files(str(clips.files))}
    chosen = taken(files, clips.include, clips.exclude)
    if not chosen:
        raise InputError(
            f"{archive or 'own files'}: none of {len(files)} audio files is chosen by include {clips.include} and "
            f"exclude {clips.exclude}, expected at least one"
        )
    speaker_of = {name: _speaker(name, part, clips) for name in chosen}
    sex_of = _sexes(clips, archive, {*speaker_of.values()})
    said = _transcripts(clips, archive, chosen)

    def read(name: str) -> np.ndarray | None:
        try:
            return decode(name, files[name](), f"{archive}: {name}") if archive else read_speech(name)
        except InputError as error:
            if archive is None:
                raise
            log(f"{error}; it is left out")
            return None

    made = _joined if clips.seconds else _as_they_are
    prefix = prefix_of(part, clips, len(set_shard.parts))
    mine = partial(_is_mine, set_shard, prefix)
    for name, speaker, pieces in made(by_seed(chosen, set_shard.seed), speaker_of, read, clips, mine):
        words = [said.get(piece.file, "") if piece.whole else "" for piece in pieces]
        yield prefix + name, speaker, sex_of.get(speaker, ""), " ".join(words) if all(words) else "", pieces


def _is_mine(set_shard: SetShard, prefix: str, name: str) -> bool:
    return shard_of(prefix + name, set_shard.shards) == set_shard.shard


def read(table: Path) -> list[Utterance]:
    """Return the utterances that a CSV of `prepare` lists; InputError for another file."""
    try:
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            Utterance(
                row["utterance"],
                row["speaker"],
                row["sex"],
                int(row["start"]),
                int(row["samples"]),
                row["samples_sha256"],
                row["transcript"],
            )
            for row in rows
        ]
    except OSError as error:
        raise unreadable(table, error) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: not a table of utterances written by mlquant prepare-set ({error})") from None


def checksums(utterances: Iterable[Utterance]) -> dict[str, str]:
    """Return the SHA-256 of the samples of every file that utterances are made of, by names for messages."""
    return {f"{one.name} ({i})": sha256 for one in utterances for i, sha256 in enumerate(one.samples_sha256.split(), 1)}


def each(speech: Path, utterances: Iterable[Utterance]) -> Iterator[np.ndarray]:
    """Give the speech [N] int16 of each utterance of a shard; InputError where the file is shorter than they say."""
    utterances = [*utterances]
    whole = read_speech(speech, silent=True) if utterances else np.zeros(0, np.int16)  # of an empty shard it is empty
    if (end := max((one.start + one.samples for one in utterances), default=0)) > len(whole):
        raise InputError(f"{speech}: {len(whole)} samples, expected {end} as its utterances have")
    for one in utterances:
        yield whole[one.start : one.start + one.samples]


def _speaker(name: str, part: str, clips: GivenClips) -> str:
    if not clips.speakers:
        return part
    found = re.search(clips.speakers, name)
    if not found or not found[1]:
        raise InputError(f"speakers: {clips.speakers!r} finds no name in {name}, expected one in each path")
    return found[1]


def _sexes(clips: GivenClips, archive: Path | None, speakers: set[str]) -> dict[str, str]:
    """Return the sex of each speaker that it is known of."""
    if clips.sex is None or clips.sex in ("m", "f"):
        return dict.fromkeys(speakers, clips.sex or "")
    found: dict[str, str] = {}
    if isinstance(clips.sex, dict):
        found, where = dict(clips.sex), "sex"
    else:
        texts = _tables("sex", clips.sex, archive, clips.files)
        for where, text in texts:
            found |= _once(where, _sexes_in(where, text))
    if not speakers & found.keys():
        raise InputError(
            f"{where}: has none of the {len(speakers)} speakers, as {min(speakers)}, but {min(found, default='no one')}"
        )
    return found


def _sexes_in(where: str, text: str) -> Iterator[tuple[str, str]]:
    """Give speaker and sex of each row of a table: CSV with a header, or fields between bars, as of LibriSpeech."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(";")]
    if lines and "|" in lines[0]:
        rows = [[field.strip() for field in line.split("|")][:2] for line in lines]
        rows = rows[1:] if [name.lower() for name in rows[0]][-1:] == ["sex"] else rows
    else:
        rows = _csv_rows(where, text, "speaker", "sex")
    for speaker, *sex in rows:
        if [one.lower() for one in sex] not in (["m"], ["f"], [""]):
            raise InputError(f"{where}: found {' '.join(sex)!r} as the sex of {speaker!r}, expected m or f")
        yield speaker, sex[0].lower()


def _transcripts(clips: GivenClips, archive: Path | None, chosen: list[str]) -> dict[str, str]:
    """Return what is said in each file that it is known of, by path."""
    if not clips.transcripts:
        return {}
    texts = _tables("transcripts", clips.transcripts, archive, clips.files)
    said: dict[str, str] = {}
    for where, text in texts:
        said |= _once(where, _transcripts_in(where, text))
    found = {}
    for path in chosen:
        parts = PurePosixPath(path).parts
        ends = ["/".join(parts[i:]) for i in range(len(parts))]
        ends += [str(PurePosixPath(end).with_suffix("")) for end in ends]
        if (end := next((end for end in ends if end in said), None)) is not None:
            found[path] = " ".join(said[end].split())
    if not found:
        raise InputError(
            f"{texts[0][0]}: has a transcript of none of the {len(chosen)} files, as {chosen[0]}, but of "
            f"{min(said, default='no file')}"
        )
    return found


def _transcripts_in(where: str, text: str) -> Iterator[tuple[str, str]]:
    """Give file and transcript of each row of a table: CSV with a header, or a name and words in each line."""
    if where.lower().endswith(".csv"):
        yield from ((file.removeprefix("./"), words) for file, words in _csv_rows(where, text, "file", "transcript"))
        return
    for line in filter(str.strip, text.splitlines()):
        name, _, words = line.strip().partition(" ")
        if not words:
            raise InputError(f"{where}: found the line {one_line(line[:60])!r}, expected a name and its words")
        yield name, words


def _csv_rows(where: str, text: str, *columns: str) -> list[list[str]]:
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise InputError(f"{where}: no CSV ({error})") from None
    head = text.partition("\n")[0].strip()
    if not set(columns) <= {*next(csv.reader([head]), [])}:
        raise InputError(
            f"{where}: found the header {one_line(head[:60])!r}, expected the columns {' and '.join(columns)}"
        )
    if any(row[column] is None for row in rows for column in columns):
        raise InputError(f"{where}: a row is shorter than the header, expected {' and '.join(columns)} in each")
    return [[row[column].strip() for column in columns] for row in rows]


def _once(where: str, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return pairs by name; InputError for a name with two values."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if found.setdefault(name, value) != value:
            raise InputError(f"{where}: {name!r} is there twice, with {found[name]!r} and {value!r}, expected once")
    return found


def _tables(key: str, pattern: str, archive: Path | None, files: str | None) -> list[tuple[str, str]]:
    """Return name and text of each table that a setting names; of one's own first, else of the archive."""
    own: dict[str, Callable[[], bytes]] = {path: Path(path).read_bytes for path in own_tables(pattern, files)}
    if not own and archive:
        own = {path: one for path, one in read_archive(archive, (pattern,)).items() if matches(path, pattern)}
    if not own:
        where = f", nor one in {archive}" if archive else ""
        raise InputError(f"{key}: there is no file {pattern!r}{where}, expected a table")
    found = []
    for path, content in sorted(own.items()):
        try:
            found.append((one_line(path), content().decode("utf-8-sig")))
        except OSError as error:
            raise unreadable(path, error) from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: is no text in UTF-8, expected a table") from None
    return found


def _as_they_are(
    order: list[str],
    speaker_of: dict[str, str],
    read: Callable[[str], np.ndarray | None],
    clips: GivenClips,
    mine: Callable[[str], bool],
) -> Made:
    """Give each file as an utterance, in order, as many as are wanted, if it is in the shard."""
    names, left = short_names(order[: clips.utterances]), _limit(clips)
    for path in order[: clips.utterances]:
        if mine(names[path]) or clips.minutes:
            speech = read(path)
            if speech is None:
                continue
            left -= len(speech)
            if left < 0:
                return
            if mine(names[path]):
                yield names[path], speaker_of[path], [_Piece(path, _sha256(speech), speech, True)]


def _joined(
    order: list[str],
    speaker_of: dict[str, str],
    read: Callable[[str], np.ndarray | None],
    clips: GivenClips,
    mine: Callable[[str], bool],
) -> Made:
    """Give utterances of `seconds`, of each speaker in turn, made of files in order, if they are in the shard."""
    assert clips.seconds
    shortest, longest = (round(value * SAMPLE_RATE) for value in clips.seconds)
    speakers = sorted(set(speaker_of.values()))
    of_each = [_clips([path for path in order if speaker_of[path] == one], read, shortest, longest) for one in speakers]
    left, count = _limit(clips), 0
    for turn, together in enumerate(zip_longest(*of_each), 1):
        for speaker, pieces in zip(speakers, together, strict=True):
            if pieces is None:
                continue
            left, count = left - _length(pieces), count + 1
            if left < 0 or count > (clips.utterances or count):
                return
            name = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', speaker)}_{turn:03}"
            if mine(name):
                yield name, speaker, pieces


def _limit(clips: GivenClips) -> float:
    return float("inf") if clips.minutes is None else clips.minutes * 60 * SAMPLE_RATE


def _sha256(speech: np.ndarray) -> str:
    return sha256_of(speech.astype("<i2").tobytes())


def _clips(
    paths: list[str], read: Callable[[str], np.ndarray | None], shortest: int, longest: int
) -> Iterator[list[_Piece]]:
    """Give clips [shortest <= N <= longest] of a speaker's files, joined with pauses, or cut.

    A piece goes to the first of the clips that are too short yet and have room for it. What stays too short is dropped.
    """
    begun: list[list[_Piece]] = []
    for path in paths:
        speech = read(path)
        if speech is None:
            continue
        digest = _sha256(speech)
        for part in _cut(speech, shortest, longest):
            room = longest - PAUSE - len(part)
            clip = next((one for one in begun if _length(one) <= room), [])
            if not clip:
                begun.append(clip)
            clip.append(_Piece(path, digest, part, len(part) == len(speech)))
            if _length(clip) >= shortest:
                begun.remove(clip)
                yield clip


def _length(pieces: list[_Piece]) -> int:
    """Return how many samples pieces have when they are joined with pauses."""
    return sum(len(piece.speech) for piece in pieces) + PAUSE * (len(pieces) - 1)


def _with_pauses(pieces: list[np.ndarray]) -> np.ndarray:
    silence = np.zeros(PAUSE, np.int16)
    return np.concatenate([part for piece in pieces for part in (silence, piece)][1:])


def _cut(speech: np.ndarray, shortest: int, longest: int) -> Iterator[np.ndarray]:
    """Give speech [N] in pieces of `longest` samples at most, cut where it is quietest."""
    while len(speech) > longest:
        steps = speech[: longest // _STEP * _STEP].reshape(-1, _STEP)
        energy = np.convolve(np.square(steps.astype(np.float64)).sum(axis=1), np.ones(10), "same")
        first = -(-shortest // _STEP)
        at = _STEP * (first + int(energy[first:].argmin())) if first < len(energy) else longest
        yield speech[:at]
        speech = speech[at:]
    yield speech
