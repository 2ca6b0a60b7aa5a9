"""The formats of the files that commands exchange, with one reader and one writer for each.

Formats are those of the Codec 2 tools (https://github.com/drowe67/codec2): headerless little-endian float32 records
(`.f32`), the 1300-byte records of `c2sim --modelout`, headerless 16-bit 8 kHz speech (`.raw`), and any audio that
libsndfile reads. Every writer writes a temporary file in the folder of the target and renames it, so that a file
is there whole or not at all. Every reader raises `InputError`, one line that names the file, what was found and what
was expected.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlquant.core import containers
from mlquant.core.disk import atomic, mapped, unreadable, write_bytes
from mlquant.core.errors import InputError, log

if TYPE_CHECKING:
    import soundfile

SAMPLE_RATE = 8000  # Hz; the only rate of the vocoder
FRAME = 80  # samples in a frame of 10 ms
MAX_AMP = 160  # most harmonics in a frame
_LOUDEST = 1e12  # largest amplitude in a model; those of 16-bit speech stay below 1e7
_RATES = (1_000, 768_000)  # Hz, of audio files; with a damaged header resampling could fill any memory
_CHANNELS = 64  # most channels of an audio file
_HOURS = 100  # most hours of speech in a file
_EXPANSION = 256  # most samples for a byte of an audio file; Opus at 6 kbit/s has 64, only silence in flac has more
_DELAY = 2 * 1152  # samples that an mp3 may have less than its frames hold, as the first cannot be decoded
_TRIED = 1 << 18  # samples in the middle of a headerless file that show whether they are what they should be
_INTEGERS = 16.0  # times full scale; float samples beyond are in the scale of integers
_CHUNK = 1 << 20  # values that are checked together

_MODEL_RECORD = np.dtype(
    [("Wo", "<f4"), ("L", "<i4"), ("A", "<f4", MAX_AMP + 1), ("phi", "<f4", MAX_AMP + 1), ("voiced", "<i4")]
)


@dataclass(frozen=True)
class Model:
    """Sinusoidal model parameters of F frames.

    Wo [F] float32 rad/sample; L [F] int32; A [F, 161] float32, linear, index m is harmonic m and
    index 0 is unused; phi [F, 161] float32 rad; voiced [F] int32, 0 or 1.
    """

    Wo: np.ndarray
    L: np.ndarray
    A: np.ndarray
    phi: np.ndarray
    voiced: np.ndarray

    def __len__(self) -> int:
        return len(self.Wo)


def read_f32(path: str | Path, width: int) -> np.ndarray:
    """Read headerless float32 records of `width` values; returns [F, width] float32.

    Raises InputError for a width below 1, a missing or empty file, a size that is not a whole number of records, and
    values that are not finite.
    """
    if width < 1:
        raise InputError(f"k: {width} values a record, expected at least 1")
    data = mapped(path)
    record = 4 * width
    if len(data) % record:
        raise InputError(
            f"{path}: {len(data)} bytes is not a whole number of records, "
            f"expected a multiple of {record} ({width} float32 values)"
        )
    array = np.frombuffer(data, "<f4").reshape(-1, width)
    rows = max(1, _CHUNK // width)
    for start in range(0, len(array), rows):
        finite = np.isfinite(array[start : start + rows]).all(axis=1)
        if not finite.all():
            record = start + int(np.argmin(finite))
            raise InputError(f"{path}: record {record} holds NaN or infinity, expected finite values")
    return array


def write_f32(path: str | Path, array: np.ndarray) -> None:
    """Write an array as headerless little-endian float32."""
    with open_f32(path) as write:
        write(array)


@contextlib.contextmanager
def open_f32(path: str | Path) -> Iterator[Callable[[np.ndarray], object]]:
    """Yield a function that appends an array to the file as `write_f32` writes it; the file appears at the end."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        yield lambda array: file.write(np.ascontiguousarray(array, "<f4").data)


def read_features(path: str | Path) -> np.ndarray:
    """Read feature records of b[20] in dB, Wo and voicing: [F, 22] float32.

    Raises InputError as `read_f32` does, and for a Wo that is not between 0 and pi rad/sample.
    """
    records = read_f32(path, 22)
    good = (records[:, 20] > 0) & (records[:, 20] < np.pi)
    if not good.all():
        frame = int(np.argmin(good))
        raise InputError(f"{path}: record {frame} has Wo {records[frame, 20]:g}, expected 0 < Wo < pi rad/sample")
    return records


def read_model(path: str | Path) -> Model:
    """Read the records of `c2sim --modelout`.

    Raises InputError for a missing, empty or truncated file and for fields out of range.
    """
    return joined(list(read_model_in_chunks(path)))


def read_model_in_chunks(path: str | Path, frames: int = 8192) -> Iterator[Model]:
    """Yield the same records as Models of up to `frames` frames each; raise InputError as `read_model` does."""
    size, done = _MODEL_RECORD.itemsize, 0
    try:
        with open(path, "rb") as file:
            while data := file.read(frames * size):
                if len(data) % size:
                    raise InputError(
                        f"{path}: {done * size + len(data)} bytes is not a whole number of model records, "
                        f"expected a multiple of {size}"
                    )
                yield _model_of(np.frombuffer(data, _MODEL_RECORD), path, done)
                done += len(data) // size
    except OSError as error:
        raise unreadable(path, error) from None
    if not done:
        raise InputError(f"{path}: is empty, expected at least one record")


def read_model_parts(path: str | Path, lengths: Iterable[int]) -> Iterator[Model]:
    """Yield the same records as Models of these lengths; InputError as by `read_model`, and for other lengths."""
    size, done = _MODEL_RECORD.itemsize, 0
    try:
        with open(path, "rb") as file:
            for length in lengths:
                data = file.read(length * size)
                if len(data) < length * size:
                    raise InputError(f"{path}: ends after {done + len(data) // size} records, expected {done + length}")
                yield _model_of(np.frombuffer(data, _MODEL_RECORD), path, done)
                done += length
            if file.read(1):
                raise InputError(f"{path}: has more than {done} records, expected no more")
    except OSError as error:
        raise unreadable(path, error) from None


def _model_of(records: np.ndarray, path: str | Path, first: int) -> Model:
    """Return records [F] as a Model; the first of them is frame `first` of the file."""
    good = (
        (np.abs(records["A"]) <= _LOUDEST).all(axis=1)  # which refuses NaN too
        & np.isfinite(records["phi"]).all(axis=1)
        & (records["Wo"] > 0)
        & (records["Wo"] < np.pi)
        & (records["L"] >= 1)
        & (records["L"] <= MAX_AMP)
    )
    if not good.all():
        frame = int(np.argmin(good))
        raise InputError(
            f"{path}: frame {first + frame} has Wo {records['Wo'][frame]:g} and L {records['L'][frame]}, "
            f"expected 0 < Wo < pi, 1 <= L <= {MAX_AMP}, A up to {_LOUDEST:g} and finite phi"
        )
    return Model(*(np.ascontiguousarray(records[name]) for name in ("Wo", "L", "A", "phi", "voiced")))


def joined(models: list[Model]) -> Model:
    """Return models that follow each other as one Model."""
    return Model(*(np.concatenate([getattr(model, field.name) for model in models]) for field in fields(Model)))


def write_model(path: str | Path, chunks: Model | Iterable[Model]) -> None:
    """Write the records of `c2sim --modelout`, byte for byte the same format, of a model or of one in chunks."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        for model in [chunks] if isinstance(chunks, Model) else chunks:
            records = np.empty(len(model), _MODEL_RECORD)
            for field in fields(Model):
                records[field.name] = getattr(model, field.name)
            file.write(records.data)


def read_speech(path: str | Path, silent: bool = False, where: str | None = None) -> np.ndarray:
    """Read speech as [N] int16 at 8 kHz.

    A `.raw` file is headerless 16-bit mono at 8 kHz. Any other is read by libsndfile, and mixed to one channel and
    resampled where needed. Logged are that, clipping, a header that does not say how many samples there are, and a
    `.raw` that seems to hold something else. Raises InputError for a file that is missing, empty, not audio, not
    finite, in the scale of integers, shorter than a frame or longer than 100 hours, for one with fewer samples than its
    header says, and for a `.raw` with a header. A file of zeros alone is accepted only with `silent`, as for outputs of
    the vocoder. `where` is the name of the file in messages; None is its path.
    """
    path = Path(path)
    where = where or str(path)
    if path.suffix.lower() == ".raw":
        data = mapped(path)
        if suffix := containers.suffix_of(data[:32]):
            raise InputError(
                f"{where}: begins as a {suffix} file does, expected headerless 16-bit samples, or the name "
                f"{path.stem}{suffix}"
            )
        if len(data) % 2:
            raise InputError(f"{where}: {len(data)} bytes, expected an even number (16-bit samples)")
        _refuse_endless(where, len(data) // 2, SAMPLE_RATE)
        speech = np.frombuffer(data, "<i2").astype(np.int16, copy=False)  # without a copy, as it may be hours
        if len(speech) >= FRAME and (told := _not_as_headerless(speech)):
            log(f"warning: {where}: {told}")
    else:
        speech = _decode(path, where)
    if len(speech) < FRAME:
        raise InputError(f"{where}: {len(speech)} samples at 8 kHz, expected at least one frame of {FRAME}")
    if not silent and not speech.any():
        raise InputError(f"{where}: all {len(speech)} samples are zero, expected speech")
    return speech


def _not_as_headerless(speech: np.ndarray) -> str | None:
    """Return for the log what samples [N] int16 of a `.raw` seem to be, if not little-endian 16-bit speech.

    Speech changes little from sample to sample, wrong readings of it do. Thresholds are from five voices at levels from
    0 to -40 dB, read as they are and as each of the others, and from noise, tones and clipped speech.
    """
    middle = max(0, len(speech) - _TRIED) // 2
    part = np.ascontiguousarray(speech[middle : middle + _TRIED], "<i2")
    low, high = (part.view(np.uint8)[i::2].astype(np.float64) for i in (0, 1))
    seems = None
    floats = np.abs(part[: len(part) // 2 * 2].view("<f4"))
    with np.errstate(invalid="ignore"):  # any bits may come, those of NaN too
        floats = floats[floats != 0]
        like_floats = len(floats) > len(part) / 8 and np.mean((floats > 1e-7) & (floats < 1 << 17)) > 0.95
    signs = (low == 0).mean(), (low == 255).mean()
    swapped = _roughness(part.byteswap())
    if like_floats:
        seems = "floats"
    elif swapped < 0.85 and _roughness(part) > 1.4 * swapped:
        seems = "big-endian"
    elif np.mean(np.abs(part.astype(np.float64)) >= 28672) > 0.7:
        seems = "nearly all at full scale, as 8-bit samples read so"
    elif min(signs) > 0.05 and sum(signs) > 0.8 and np.isin(high, (0, 255)).mean() < 0.5:
        seems = "big-endian"  # quiet speech, of which the high byte is the sign
    elif (
        np.median(np.abs(high - 128)) < 100
        and _roughness(part.view(np.uint8)) < 0.9
        and np.mean((low - low.mean()) * (high - high.mean())) > 0.6 * low.std() * high.std() > 0
    ):
        seems = "8-bit"
    return seems and f"its samples seem to be {seems}, expected little-endian 16-bit at 8 kHz"


def _roughness(samples: np.ndarray) -> float:
    """Return the mean step of samples [N] over their mean distance from their mean."""
    samples = samples - samples.mean(dtype=np.float64)
    return float(np.abs(np.diff(samples)).mean() / max(np.abs(samples).mean(), 1e-9)) if len(samples) > 1 else 0.0


def _decode(path: Path, where: str) -> np.ndarray:
    import soundfile

    data = mapped(path)
    contents = containers.contents(where, data)
    try:
        # From a file with a name libsndfile would take one without header for what the suffix says.
        with soundfile.SoundFile(containers.View(data, contents)) as sound:
            rate, channels, claimed, kind = sound.samplerate, sound.channels, sound.frames, sound.format
            _check_header(where, rate, channels, claimed, len(data))
            speech, found = _as_speech(where, sound, len(data))
    except soundfile.SoundFileError as error:
        known = containers.suffix_of(bytes(data[:32])) or path.suffix.lower()
        if known in containers.UNREAD:
            raise InputError(f"{where}: {known} audio, which is not read, expected {containers.READ}") from None
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise InputError(f"{where}: not audio that can be read ({reason}), expected {containers.READ}") from None
    if found < claimed - (_DELAY if kind == "MP3" else 0):
        raise InputError(f"{where}: {found} samples, expected {claimed} as its header says")
    if not contents.kind and kind != "HTK":  # whose length libsndfile compares itself
        contents.told.append(containers.cannot_tell(kind.lower()))
    for line in contents.told:
        log(f"warning: {where}: {line}")
    if channels > 1:
        log(f"{where}: {channels} channels mixed to one")
    if rate != SAMPLE_RATE:
        log(f"{where}: {rate} Hz resampled to {SAMPLE_RATE} Hz")
    return speech


def _check_header(where: str, rate: int, channels: int, samples: int, size: int) -> None:
    """Raise InputError for an audio file of `size` bytes whose header holds impossible numbers."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(f"{where}: {rate} Hz as its header says, expected {_RATES[0]} to {_RATES[1]} Hz")
    if not 1 <= channels <= _CHANNELS:
        raise InputError(f"{where}: {channels} channels as its header says, expected 1 to {_CHANNELS}")
    if samples * channels > _EXPANSION * size:
        raise InputError(
            f"{where}: {samples} samples in {channels} channels as its header says, expected at most "
            f"{_EXPANSION * size // channels} in {size} bytes"
        )
    _refuse_endless(where, samples, rate)


def _refuse_endless(where: str, samples: int, rate: int) -> None:
    if samples > 3600 * _HOURS * rate:
        raise InputError(f"{where}: {samples / rate / 3600:.0f} hours of speech, expected at most {_HOURS}")


def _as_speech(where: str, sound: soundfile.SoundFile, size: int) -> tuple[np.ndarray, int]:
    """Return an open file of `size` bytes as [N] int16 at 8 kHz, and how many samples it holds at its own rate.

    It is read in chunks, so that hours of speech at a high rate fit in memory. What is beyond full scale is clipped,
    which is logged.
    """
    sound.seekable = lambda: False  # or soundfile seeks after each chunk, which is not exact in mp3
    resampled = None
    if sound.samplerate != SAMPLE_RATE:
        import soxr

        resampled = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float64")
    parts, found, loudest, clipped = [np.zeros(0, np.int16)], 0, 0.0, 0
    while True:
        # Not beyond the end, where FLAC may have a tag.
        most = min(max(1, _CHUNK // sound.channels), sound.frames - found)
        audio = sound.read(most, dtype="float64", always_2d=True)
        if not np.isfinite(audio).all():
            raise InputError(f"{where}: holds NaN or infinity, expected finite samples")
        peak = np.abs(audio).max(initial=0.0)
        if peak >= _INTEGERS:
            raise InputError(f"{where}: a sample of {peak:g}, expected floats from -1 to 1, as of integers over 32768")
        found += len(audio)
        if found * sound.channels > _EXPANSION * size:
            raise InputError(f"{where}: more than {_EXPANSION} samples for a byte, expected speech")
        _refuse_endless(where, found, sound.samplerate)
        mono = audio.mean(axis=1) * 32768.0
        if resampled:
            mono = resampled.resample_chunk(mono, last=not len(audio))
        loudest = max(loudest, np.abs(mono).max(initial=0.0))
        clipped += int(np.count_nonzero(np.abs(mono) > 32768))
        parts.append(np.clip(np.rint(mono), -32768, 32767).astype(np.int16))
        if not len(audio):
            break
    speech = np.concatenate(parts)
    if clipped:
        log(
            f"warning: {where}: {clipped} of {len(speech)} samples are clipped: the loudest has {loudest / 32768:.4g} "
            "times full scale"
        )
    return speech, found


def write_speech(path: str | Path, speech: np.ndarray) -> None:
    """Write [N] int16 at 8 kHz as `.raw` (headerless) or as 16-bit wav, by the name's suffix.

    Raises InputError for a name that ends otherwise.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".raw":
        write_bytes(path, np.ascontiguousarray(speech, "<i2").tobytes())
    elif suffix == ".wav":
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, speech.astype(np.int16), SAMPLE_RATE, "PCM_16", format="WAV")
        write_bytes(path, buffer.getvalue())
    else:
        raise InputError(f"{path}: cannot be written as {suffix or 'a name without suffix'}, expected .wav or .raw")
