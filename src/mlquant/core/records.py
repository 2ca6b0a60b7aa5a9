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
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

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
_GUESSED = ("MP3", "OGG")  # formats whose header does not give the length
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


def read_speech(path: str | Path, silent: bool = False) -> np.ndarray:
    """Read speech as [N] int16 at 8 kHz.

    A `.raw` file is headerless 16-bit mono at 8 kHz. Any other is read by libsndfile, and mixed to one channel and
    resampled where needed, which is logged. Raises InputError for a file that is missing, empty, not audio, not finite,
    shorter than a frame or longer than 100 hours, and for one with fewer samples than its header says. A file of zeros
    alone is accepted only with `silent`, as for outputs of the vocoder.
    """
    path = Path(path)
    if path.suffix.lower() == ".raw":
        data = mapped(path)
        if len(data) % 2:
            raise InputError(f"{path}: {len(data)} bytes, expected an even number (16-bit samples)")
        _refuse_endless(path, len(data) // 2, SAMPLE_RATE)
        speech = np.frombuffer(data, "<i2").astype(np.int16, copy=False)  # without a copy, as it may be hours
    else:
        speech = _decode(path)
    if len(speech) < FRAME:
        raise InputError(f"{path}: {len(speech)} samples at 8 kHz, expected at least one frame of {FRAME}")
    if not silent and not speech.any():
        raise InputError(f"{path}: all {len(speech)} samples are zero, expected speech")
    return speech


def _decode(path: Path) -> np.ndarray:
    import soundfile

    data = mapped(path)
    _refuse_half_a_file(path, data)
    try:
        # libsndfile is given the number of an open file. With a Python file it would print a traceback for each seek
        # beyond the end; with a name it would take a file without header for what the suffix says.
        with (
            open(path, "rb") if isinstance(data, mmap.mmap) else _as_file(data) as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            rate, channels, claimed, guessed = sound.samplerate, sound.channels, sound.frames, sound.format in _GUESSED
            _check_header(path, rate, channels, claimed, len(data))
            speech, found = _as_speech(path, sound, len(data))
    except soundfile.SoundFileError as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise InputError(f"{path}: not audio that can be read ({reason}), expected wav, flac or .raw") from None
    if found < claimed and not guessed:
        raise InputError(f"{path}: {found} samples, expected {claimed} as its header says")
    if channels > 1:
        log(f"{path}: {channels} channels mixed to one")
    if rate != SAMPLE_RATE:
        log(f"{path}: {rate} Hz resampled to {SAMPLE_RATE} Hz")
    return speech


def _as_file(data: bytes) -> BinaryIO:
    """Return an open temporary file of these bytes, which came from a pipe."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  # for the caller to close
    file.write(data)
    file.seek(0)
    return file


def _check_header(path: Path, rate: int, channels: int, samples: int, size: int) -> None:
    """Raise InputError for an audio file of `size` bytes whose header holds impossible numbers."""
    if not _RATES[0] <= rate <= _RATES[1]:
        raise InputError(f"{path}: {rate} Hz as its header says, expected {_RATES[0]} to {_RATES[1]} Hz")
    if not 1 <= channels <= _CHANNELS:
        raise InputError(f"{path}: {channels} channels as its header says, expected 1 to {_CHANNELS}")
    if samples * channels > _EXPANSION * size:
        raise InputError(
            f"{path}: {samples} samples in {channels} channels as its header says, expected at most "
            f"{_EXPANSION * size // channels} in {size} bytes"
        )
    _refuse_endless(path, samples, rate)


def _refuse_endless(path: Path, samples: int, rate: int) -> None:
    if samples > 3600 * _HOURS * rate:
        raise InputError(f"{path}: {samples / rate / 3600:.0f} hours of speech, expected at most {_HOURS}")


def _as_speech(path: Path, sound: soundfile.SoundFile, size: int) -> tuple[np.ndarray, int]:
    """Return an open file of `size` bytes as [N] int16 at 8 kHz, and how many samples it holds at its own rate.

    It is read in chunks, so that hours of speech at a high rate fit in memory.
    """
    # soundfile seeks after each chunk, and a seek in mp3 is not exact.
    most = sound.frames if sound.format == "MP3" else _CHUNK // sound.channels
    resampled = None
    if sound.samplerate != SAMPLE_RATE:
        import soxr

        resampled = soxr.ResampleStream(sound.samplerate, SAMPLE_RATE, 1, dtype="float64")
    parts, found = [np.zeros(0, np.int16)], 0
    while True:
        audio = sound.read(max(1, most), dtype="float64", always_2d=True)
        if not np.isfinite(audio).all():
            raise InputError(f"{path}: holds NaN or infinity, expected finite samples")
        found += len(audio)
        if found * sound.channels > _EXPANSION * size:
            raise InputError(f"{path}: more than {_EXPANSION} samples for a byte, expected speech")
        _refuse_endless(path, found, sound.samplerate)
        # All beyond full scale is clipped in the end; clipped here first, sums stay finite.
        mono = np.clip(audio, -1e9, 1e9).mean(axis=1) * 32768.0
        if resampled:
            mono = resampled.resample_chunk(mono, last=not len(audio))
        parts.append(np.clip(np.rint(mono), -32768, 32767).astype(np.int16))
        if not len(audio):
            return np.concatenate(parts), found


def _refuse_half_a_file(path: Path, data: bytes | mmap.mmap) -> None:
    """Raise InputError for a wav or aiff that ends before its data do, which libsndfile reads without an error."""
    orders: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big", b"FORM": "big"}
    order = orders.get(data[:4])
    place = 12
    while order and place + 8 <= min(len(data), _CHUNK):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], order)
        if name in (b"data", b"SSND"):
            # The header of a stream that was written without seeking back says 0 or all ones.
            if size not in (0, 0xFFFFFFFF) and place + 8 + size > len(data):
                raise InputError(
                    f"{path}: {len(data) - place - 8} bytes of samples, expected {size} as its header says"
                )
            return
        place += 8 + size + size % 2


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
