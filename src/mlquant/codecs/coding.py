"""Files and pipes of the encoder and the decoder."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
from threadpoolctl import threadpool_limits

from mlquant.codecs import bitstream, files
from mlquant.codecs import codec as codecs
from mlquant.core import disk, records
from mlquant.core.errors import InputError
from mlquant.core.records import FRAME

_CHUNK = FRAME * 1024  # samples coded together where speech is a whole file
_SUPERFRAMES = 256  # decoded together where the stream is a whole file


def encode_file(codec: Path, speech: Path, bits: Path, *, bare: bool, stream: bool) -> None:
    """Encode a file of speech, or standard input, to a file, or standard output; errors as of `mlquant enc`."""
    made, codec_hash = files.read(codec)
    widths = [width for _, width in made.layout]
    chunks = _samples(speech, stream)
    with threadpool_limits(1, user_api="blas"), _written(bits) as out:
        count = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal count
            for fields in codecs.encode(made, chunks):
                if not (count or bare):
                    out.write(bitstream.header(codec_hash, 0))
                count += len(fields)
                yield fields

        for data in bitstream.packed(counted(), widths):
            out.write(data)
            if stream:
                out.flush()
        if not count:
            raise InputError(f"{_named(speech)}: 0 samples, expected at least one")
        if not bare and str(bits) != "-":
            out.seek(0)
            out.write(bitstream.header(codec_hash, count))


def decode_file(
    codec: Path, bits: Path, wav: Path, *, bare: bool, lost: str | None, ber: float, seed: int, stream: bool
) -> None:
    """Decode a file of bits, or standard input, to a file, or standard output; errors as of `mlquant dec`."""
    made, codec_hash = files.read(codec)
    widths = [width for _, width in made.layout]
    marks = bitstream.lost_of(lost, seed) if lost is not None else iter(lambda: False, None)
    with threadpool_limits(1, user_api="blas"), _read(bits) as source:
        superframes = (
            0 if bare else bitstream.check_header(source.read(bitstream.HEADER.size), codec_hash, _named(bits))
        )
        chunks = bitstream.chunks_of(_read1(source) if stream else source.read)
        found = bitstream.unpacked(chunks, widths, _named(bits), superframes)
        if ber:
            found = bitstream.flipped(found, ber, seed)
        pieces = _pieces(found, 1 if stream else _SUPERFRAMES)
        _write_speech(wav, codecs.decode(made, bitstream.received(pieces, widths, marks)), stream)


def _named(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _standard(stream: TextIO | None) -> BinaryIO:
    """The bytes of standard input or output; InputError where it is closed."""
    if stream is None:
        raise InputError("-: standard input or output is closed, expected it open")
    return stream.buffer


def _samples(speech: Path, stream: bool) -> Iterator[np.ndarray]:
    """Chunks of int16 samples: of a file as large as a file's, of a stream a frame at a time."""
    if str(speech) == "-":
        rest = b""
        read = _read1(_standard(sys.stdin)) if stream else _standard(sys.stdin).read
        for data in bitstream.chunks_of(read):
            rest += data
            whole = len(rest) // 2 * 2
            yield from _cut(np.frombuffer(rest[:whole], "<i2"), FRAME if stream else _CHUNK)
            rest = rest[whole:]
        if rest:
            raise InputError("standard input: an odd number of bytes, expected samples of two bytes each")
        return
    yield from _cut(records.read_speech(speech, silent=True), FRAME if stream else _CHUNK)


def _cut(samples: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (samples[i : i + size] for i in range(0, len(samples), size))


def _pieces(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    return (batch[i : i + size] for batch in batches for i in range(0, len(batch), size))


def _read1(source: BinaryIO):
    """A function that reads what is there, and waits only if nothing is."""
    return getattr(source, "read1", source.read)


@contextlib.contextmanager
def _read(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield _standard(sys.stdin)
        return
    try:
        with open(path, "rb") as file:
            yield file
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise disk.unreadable(path, error) from None


@contextlib.contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at the end, or standard output."""
    if str(path) == "-":
        out = _standard(sys.stdout)
        try:
            yield out
            out.flush()
        except BrokenPipeError:
            # Whoever read has gone; nothing more is to be said there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        return
    with disk.atomic(path) as temporary, open(temporary, "wb") as file:
        yield file


def _write_speech(path: Path, parts: Iterator[np.ndarray], stream: bool) -> None:
    if str(path) == "-" or path.suffix == ".raw":
        with _written(path) as out:
            for part in parts:
                out.write(part.astype("<i2").tobytes())
                if stream:
                    out.flush()
        return
    records.write_speech(path, np.concatenate(list(parts)))
