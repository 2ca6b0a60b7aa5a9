"""Samples and training corpora, prepared as headerless 16-bit 8 kHz speech.

They are made from the archives that `fetch` writes, or from a user's own files. Nothing here tells speech from other
sounds: the globs in the settings say which files are used.
"""

from __future__ import annotations

import csv
import io
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np

from mlquant.core.disk import file_sha256, write_text
from mlquant.core.errors import InputError, log, one_line
from mlquant.core.records import FRAME, SAMPLE_RATE, read_speech, write_speech
from mlquant.speech.archives import matches, member, read_archive, sha256_of

LONGEST_ZEROS = 3 * SAMPLE_RATE // 10  # samples; a longer run of digital silence is cut to this
_FADE = SAMPLE_RATE // 200  # samples at each end of a file before a pause, so that it does not click


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
        found, where = sha256_of(data), f"{path}: {name}"
        speech = None
    if sha256 and found != sha256.lower():
        raise InputError(f"{where}: checksum {found}, expected {sha256.lower()}")
    write_speech(out, decode(name, data, where) if speech is None else speech)


def decode(name: str, data: bytes, where: str) -> np.ndarray:
    """Return speech [N] int16 of an archive's member; messages name it as `where`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / re.sub(r"[^\w.-]", "_", PurePosixPath(name).name, flags=re.ASCII)[-80:]
        path.write_bytes(data)
        return read_speech(path, where=where)


def prepare_corpus_part(
    inputs: list[Path], settings: dict, out: Path, manifest: Path, test_samples: Iterable[str] = ()
) -> None:
    """Write training speech as one 16-bit 8 kHz `.raw`, and a CSV that lists its files and their places.

    `inputs` is one archive of `fetch_source` (a `.tar`), or a user's own audio files. `settings` may hold
    `include` and `exclude` (globs, as in `matches`), `minutes` (at most; None is no limit), `seed`, `resample`
    (factors; 1.0 changes nothing), `equalise` (dB, see `colour`), `noise` and `gain` (ranges in dB, see `add_noise` and
    `amplify`), and `pause_ms` (see `with_pause`). `speakers` is a regular expression whose group finds the speaker's
    name in a file's path. With it, `minutes_each` limits the speech of each speaker as `minutes` limits that of all,
    and `held_out_speakers` of the speakers are drawn; their files are used where `held_out` is set, else all others.
    `test_samples` are checksums or paths of files that are never used, under whatever name.

    The order of the files is drawn from the seed and the content of each. Equal content is used once, as that of a wav
    and a raw file of the same samples. The factors take turns from file to file, so that copies hold different phrases.
    When the files run out before the minutes do, all are used again with the next factor, until each was used with
    every factor. Runs of zeros are cut to 0.3 s, every file is padded with zeros to whole frames, and the
    last is cut where the minutes end. The CSV's columns are path, sha256, samples_sha256 (of the 16-bit 8 kHz samples
    of the whole file, before any change), factor, start_frame, frames.

    A file of an archive that is not usable speech is left out and logged. InputError is raised for such a file among a
    user's own, and where no file is usable.
    """
    factors = list(dict.fromkeys(settings.get("resample") or [1.0]))
    limit, limit_each, seed = *_limits(settings), settings.get("seed", 0)
    usable = _choose(inputs, settings, max(factors), _checksums(test_samples))

    pieces, rows, start = [], [], 0
    spoken: dict[str, int] = defaultdict(int)  # frames of each speaker
    for turn in range(len(factors)):
        for place, (name, digest, samples, speech, speaker) in enumerate(usable):
            room = min(limit - start, limit_each - spoken[speaker])
            if room == 0:
                continue
            factor = factors[(place + turn) % len(factors)]
            draw = f"{seed} {turn} {digest}"
            piece = colour(scale_voice(speech, factor), settings.get("equalise") or 0.0, draw)
            piece = add_noise(piece, settings.get("noise"), f"{draw} noise")
            piece = amplify(piece, settings.get("gain"), f"{draw} gain")
            piece = with_pause(piece, settings.get("pause_ms") or 0)
            frames = min(-(-len(piece) // FRAME), room)
            piece = np.pad(piece, (0, FRAME))[: frames * FRAME]  # rounding up needs less than a frame of zeros
            pieces.append(piece)
            rows.append((one_line(name), digest, samples, factor, start, frames))
            start += frames
            spoken[speaker] += frames
    write_speech(out, np.concatenate(pieces) if pieces else np.zeros(0, np.int16))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("path", "sha256", "samples_sha256", "factor", "start_frame", "frames"))
    writer.writerows(rows)
    write_text(manifest, table.getvalue())


def refuse_samples(samples: dict[str, str], manifests: Iterable[Path]) -> None:
    """Raise InputError when a corpus holds the speech of a test sample, under whatever name.

    `samples` are by name the SHA-256 of each sample's 16-bit 8 kHz speech, that is of the file that `prepare_sample`
    writes. `manifests` are the CSV files of `prepare_corpus_part`.
    """
    names = {digest: name for name, digest in samples.items()}
    for manifest in manifests:
        for row in csv.DictReader(io.StringIO(manifest.read_text(encoding="utf-8"))):
            if "samples_sha256" not in row:
                raise InputError(
                    f"{manifest}: has no column samples_sha256, expected a CSV written by mlquant prepare-corpus"
                )
            if name := names.get(row["samples_sha256"]):
                raise InputError(
                    f"{manifest}: {row['path']} is the test sample {name}, on which no network may be trained, "
                    "expected its path in exclude of that part of the corpus"
                )


def _checksums(test_samples: Iterable[str]) -> set[str]:
    """Return SHA-256 of test samples as given or, for those given as paths, of their 16-bit 8 kHz samples."""
    given = [*test_samples]
    paths = [one for one in given if not re.fullmatch("[0-9a-fA-F]{64}", one)]
    return {one.lower() for one in given if one not in paths} | {_samples_sha256(read_speech(path)) for path in paths}


def _samples_sha256(speech: np.ndarray) -> str:
    return sha256_of(speech.astype("<i2").tobytes())


def _limits(settings: dict) -> list[int]:
    """Return the most frames of all speech, and of that of each speaker."""
    limits = (settings.get(name) for name in ("minutes", "minutes_each"))
    return [sys.maxsize if one is None else round(one * 60 * SAMPLE_RATE) // FRAME for one in limits]


def _choose(
    inputs: list[Path], settings: dict, fastest: float, test_samples: set[str]
) -> list[tuple[str, str, str, np.ndarray, str]]:
    """Return the files to use, in their drawn order: (name, sha256, sha256 of its samples, speech, speaker).

    Without the setting `speakers` the name of every speaker is empty. No more are read than the limits allow where all
    are played as fast as the factor `fastest` says. Files that have a checksum of `test_samples` are left out.
    """
    enough, enough_each = (limit * FRAME * fastest for limit in _limits(settings))
    archive = Path(inputs[0]) if len(inputs) == 1 and Path(inputs[0]).suffix == ".tar" else None
    files = read_archive(archive) if archive else {str(path): Path(path) for path in inputs}
    include, exclude = settings.get("include") or ["*"], settings.get("exclude") or []
    for pattern in include:
        if not any(matches(name, pattern) for name in files):
            log(f"warning: {archive or 'own files'}: nothing matches include {pattern!r}")
    chosen = [
        name
        for name in sorted(files)
        if any(matches(name, pattern) for pattern in include) and not any(matches(name, p) for p in exclude)
    ]
    speakers = dict.fromkeys(chosen, "")
    if settings.get("speakers"):
        speakers = _of_speakers(chosen, settings)
        chosen = [*speakers]
    names: dict[str, str] = {}
    for name in chosen:
        names.setdefault(sha256_of(files[name]()) if archive else file_sha256(files[name]), name)
    # An order by hash is the same on every machine, and a file that is added leaves the order of the others.
    order = sorted(names, key=lambda digest: sha256_of(f"{settings.get('seed', 0)} {digest}".encode()))

    usable, seen, total = [], set(), 0
    spoken: dict[str, int] = defaultdict(int)  # samples of each speaker
    for digest in order:
        name = names[digest]
        if total >= enough:
            break
        if spoken[speakers[name]] >= enough_each:
            continue
        try:
            speech = decode(name, files[name](), f"{archive}: {name}") if archive else read_speech(name)
        except InputError as error:
            if archive is None:
                raise
            log(f"{error}; it is left out")
            continue
        samples = _samples_sha256(speech)
        if {digest, samples} & test_samples:
            log(f"{name} is a test sample, on which nothing is trained; it is left out")
            continue
        if samples in seen:
            continue
        seen.add(samples)
        speech = shorten_zeros(speech, LONGEST_ZEROS)
        usable.append((name, digest, samples, speech, speakers[name]))
        total += min(len(speech), enough_each - spoken[speakers[name]])
        spoken[speakers[name]] += len(speech)
    if not usable:
        raise InputError(
            f"{archive or 'own files'}: no usable speech: {len(files)} audio files, {len(chosen)} of them chosen by "
            f"include {include} and exclude {exclude}"
        )
    return usable


def _of_speakers(names: list[str], settings: dict) -> dict[str, str]:
    """Return the speaker of each file, of those held out or of the others; see `prepare_corpus_part`."""
    pattern, wanted = re.compile(settings["speakers"]), settings.get("held_out_speakers") or 0
    speakers: dict[str, str] = {}
    for name in names:
        if not (found := pattern.search(name)) or not found[1]:
            raise InputError(f"speakers: {pattern.pattern!r} finds no name in {name}, expected one in each path")
        speakers[name] = found[1]
    if not wanted:
        return speakers
    # Drawn by a hash of the name, so that parts with the same speakers hold out the same ones.
    drawn = sorted(set(speakers.values()), key=lambda name: sha256_of(f"{settings.get('seed', 0)} {name}".encode()))
    if wanted >= len(drawn):
        raise InputError(f"held_out_speakers: found {wanted}, expected less than {len(drawn)}, the number of speakers")
    held_out = sorted(drawn[:wanted])
    log(f"of {len(drawn)} speakers held out: {', '.join(map(one_line, held_out))}")
    of_these = bool(settings.get("held_out"))
    return {name: speaker for name, speaker in speakers.items() if (speaker in held_out) == of_these}


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
    `deviation`, drawn from the seed. What 16 bits cannot hold is clipped.
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
    powers, over all of the speech, is drawn evenly from the range `snr_dB`. What 16 bits cannot hold is clipped.
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
    """Speech [N] int16 with a gain drawn evenly from the range `gain_dB`, or the largest that 16 bits can hold: [N].

    None leaves it as it is.
    """
    if gain_dB is None:
        return speech
    loudest = np.abs(speech.astype(np.float64)).max(initial=1.0)
    return np.rint(speech * min(10 ** (_rng(seed).uniform(*gain_dB) / 20), 32767 / loudest)).astype(np.int16)


def with_pause(speech: np.ndarray, pause_ms: int) -> np.ndarray:
    """Speech [N] int16 with digital silence behind it; both ends fade over 5 ms, so that they do not click: [N + n].

    A pause of 0 changes nothing.
    """
    if pause_ms == 0:
        return speech
    faded = speech.astype(np.float64)
    fade = np.sin(np.pi / 2 * (np.arange(min(_FADE, len(speech))) + 0.5) / _FADE) ** 2
    faded[: len(fade)] *= fade
    faded[len(faded) - len(fade) :] *= fade[::-1]
    return np.pad(np.rint(faded).astype(np.int16), (0, pause_ms * SAMPLE_RATE // 1000))


def _rng(seed: str) -> np.random.Generator:
    return np.random.default_rng(int(sha256_of(seed.encode())[:16], 16))
