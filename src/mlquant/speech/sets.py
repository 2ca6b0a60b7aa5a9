"""Test sets: utterances of many speakers, prepared one after another as headerless 16-bit 8 kHz speech.

Each utterance has the samples that `prepare_sample` makes of its file. A set is made in shards; an utterance is in the
shard that its name gives, so that one that is added changes its own shard only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from mlquant.core.disk import unreadable, write_text
from mlquant.core.errors import InputError, log, one_line
from mlquant.core.records import FRAME, SAMPLE_RATE, read_speech, write_speech
from mlquant.speech.archives import read_archive, sha256_of
from mlquant.speech.corpus import decode
from mlquant.speech.settings import by_seed, shard_of, short_names, taken

COLUMNS = ("utterance", "speaker", "sex", "start", "samples", "samples_sha256", "files")
PAUSE = SAMPLE_RATE // 5  # samples of silence between files that are joined
_STEP = SAMPLE_RATE // 50  # samples, of the places of cuts


@dataclass(frozen=True)
class Utterance:
    """An utterance of a set: samples start to start + samples of the speech of its shard.

    `samples_sha256` are those of the files that it is made of, by which training speech is kept apart.
    """

    name: str
    speaker: str
    sex: str
    start: int
    samples: int
    samples_sha256: str

    @property
    def frames(self) -> int:
        """The frames of its model and of its features."""
        return -(-self.samples // FRAME)


def prepare(inputs: list[Path], settings: dict, out: Path, table: Path) -> None:
    """Write the utterances of a shard as one 16-bit 8 kHz `.raw`, and a CSV with a row for each.

    `inputs` is one archive of `fetch_source` (a `.tar`), or audio files. `settings` are those of `SeededClips`. Where
    they have `seconds`, utterances are joined from files and cut from long ones; else each file is an utterance.
    A file of an archive that is not usable speech is left out and logged. InputError is raised for such a file among a
    user's own, and where the files give no utterance at all.
    """
    archive = Path(inputs[0]) if len(inputs) == 1 and Path(inputs[0]).suffix == ".tar" else None
    files = read_archive(archive) if archive else {str(path): Path(path) for path in inputs}
    where = str(archive or "own files")
    chosen = taken(files, settings["include"], settings["exclude"])
    if not chosen:
        raise InputError(
            f"{where}: none of {len(files)} audio files is chosen by include {settings['include']} and exclude "
            f"{settings['exclude']}, expected at least one"
        )
    speaker_of = {name: _speaker(name, settings) for name in chosen}

    def read(name: str) -> np.ndarray | None:
        try:
            return decode(name, files[name](), f"{archive}: {name}") if archive else read_speech(name)
        except InputError as error:
            if archive is None:
                raise
            log(f"{error}; it is left out")
            return None

    made = _joined if settings["seconds"] else _as_they_are
    pieces, rows, start = [], [], 0
    for name, speaker, used, speech in made(by_seed(chosen, settings["seed"]), speaker_of, read, settings):
        digests = " ".join(sha256_of(one.astype("<i2").tobytes()) for one in used.values())
        sex = settings["sex"].get(speaker, "") if isinstance(settings["sex"], dict) else settings["sex"] or ""
        rows.append((name, speaker, sex, start, len(speech), digests, " + ".join(map(one_line, used))))
        pieces.append(speech)
        start += len(speech)
    write_speech(out, np.concatenate(pieces) if pieces else np.zeros(0, np.int16))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    write_text(table, text.getvalue())


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
            )
            for row in rows
        ]
    except OSError as error:
        raise unreadable(table, error) from None
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(f"{table}: not a table of utterances written by mlquant prepare-set ({error})") from None


def each(speech: Path, utterances: Iterable[Utterance]) -> Iterator[np.ndarray]:
    """Give the speech [N] int16 of each utterance of a shard; InputError where the file is shorter than they say."""
    utterances = [*utterances]
    whole = read_speech(speech, silent=True) if utterances else np.zeros(0, np.int16)  # of an empty shard it is empty
    if (end := max((one.start + one.samples for one in utterances), default=0)) > len(whole):
        raise InputError(f"{speech}: {len(whole)} samples, expected {end} as its utterances have")
    for one in utterances:
        yield whole[one.start : one.start + one.samples]


def _speaker(name: str, settings: dict) -> str:
    if not settings["speakers"]:
        return settings["name"]
    found = re.search(settings["speakers"], name)
    if not found or not found[1]:
        raise InputError(f"speakers: {settings['speakers']!r} finds no name in {name}, expected one in each path")
    return found[1]


Made = Iterator[tuple[str, str, dict[str, np.ndarray], np.ndarray]]
"""For each utterance its name, its speaker, the speech of each file that it is made of, and its speech [N] int16."""


def _as_they_are(
    order: list[str], speaker_of: dict[str, str], read: Callable[[str], np.ndarray | None], settings: dict
) -> Made:
    """Give each file as an utterance, in order, as many as are wanted, if it is in the shard."""
    names, left = short_names(order[: settings["utterances"]]), _limit(settings)
    for path in order[: settings["utterances"]]:
        mine = shard_of(names[path], settings["shards"]) == settings["shard"]
        if mine or settings["minutes"]:
            speech = read(path)
            if speech is None:
                continue
            left -= len(speech)
            if left < 0:
                return
            if mine:
                yield names[path], speaker_of[path], {path: speech}, speech


def _joined(
    order: list[str], speaker_of: dict[str, str], read: Callable[[str], np.ndarray | None], settings: dict
) -> Made:
    """Give utterances of `seconds`, of each speaker in turn, made of files in order, if they are in the shard."""
    shortest, longest = (round(value * SAMPLE_RATE) for value in settings["seconds"])
    speakers = sorted(set(speaker_of.values()))
    clips = [_clips([path for path in order if speaker_of[path] == one], read, shortest, longest) for one in speakers]
    left, count = _limit(settings), 0
    for turn, together in enumerate(zip_longest(*clips), 1):
        for speaker, clip in zip(speakers, together, strict=True):
            if clip is None:
                continue
            used, speech = clip
            left, count = left - len(speech), count + 1
            if left < 0 or count > (settings["utterances"] or count):
                return
            name = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', speaker)}_{turn:03}"
            if shard_of(name, settings["shards"]) == settings["shard"]:
                yield name, speaker, used, speech


def _limit(settings: dict) -> float:
    return float("inf") if settings["minutes"] is None else settings["minutes"] * 60 * SAMPLE_RATE


def _clips(
    paths: list[str], read: Callable[[str], np.ndarray | None], shortest: int, longest: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Give clips [shortest <= N <= longest] of a speaker's files: joined with pauses, or cut; what is left is dropped.

    With each clip come the files that it is made of.
    """
    used: dict[str, np.ndarray] = {}
    pieces: list[np.ndarray] = []
    for path in paths:
        speech = read(path)
        if speech is None:
            continue
        for piece in _cut(speech, shortest, longest):
            length = sum(map(len, pieces)) + PAUSE * len(pieces)
            if length + len(piece) > longest and length >= shortest:
                yield used, _with_pauses(pieces)
                used, pieces, length = {}, [], 0
            if length + len(piece) <= longest:
                pieces.append(piece)
                used[path] = speech
    if sum(map(len, pieces)) + PAUSE * (len(pieces) - 1) >= shortest:
        yield used, _with_pauses(pieces)


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
