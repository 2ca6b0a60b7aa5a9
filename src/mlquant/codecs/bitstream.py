"""The bit stream of a codec: fields of superframes in bits, packed on without gaps, behind a header.

The header has 16 bytes: the magic `mlqB`, the first 8 bytes of the codec's hash, and the number of superframes as an
unsigned 32-bit number, little-endian, 0 if the encoder did not know it. A field is sent from its highest bit on; the
last byte is filled up with zeros. A bare stream has no header.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np

from mlquant.core.errors import InputError

MAGIC = b"mlqB"
HEADER = struct.Struct("<4s8sI")
_CHUNK = 1 << 14  # bytes read at a time


def header(codec_hash: str, superframes: int) -> bytes:
    """The header of a stream of so many superframes, 0 if that is not known; the hash is in hexadecimal digits."""
    return HEADER.pack(MAGIC, bytes.fromhex(codec_hash[:16]), superframes)


def check_header(found: bytes, codec_hash: str, where: str) -> int:
    """Return the number of superframes that a header tells; InputError, which names `where`, for another header."""
    if len(found) < HEADER.size:
        raise InputError(
            f"{where}: {len(found)} bytes, expected a header of {HEADER.size} (--bare for a stream without)"
        )
    magic, of, superframes = HEADER.unpack(found)
    if magic != MAGIC:
        raise InputError(f"{where}: begins with {magic!r}, expected {MAGIC!r} (--bare for a stream without a header)")
    if of.hex() != codec_hash[:16]:
        raise InputError(f"{where}: is a stream of the codec {of.hex()}, expected {codec_hash[:16]}")
    return superframes


def packed(batches: Iterable[np.ndarray], widths: Sequence[int]) -> Iterator[bytes]:
    """Yield the bytes of fields [n, fields] of `widths` bits; the last byte is filled up with zeros."""
    rest: np.ndarray = np.zeros(0, np.uint8)
    for fields in batches:
        bits = np.concatenate([rest, to_bits(fields, widths).ravel()])
        whole = len(bits) // 8 * 8
        rest = bits[whole:]
        if whole:
            yield np.packbits(bits[:whole]).tobytes()
    if len(rest):
        yield np.packbits(rest).tobytes()


def unpacked(chunks: Iterable[bytes], widths: Sequence[int], where: str, superframes: int = 0) -> Iterator[np.ndarray]:
    """Yield the bits [n, sum of widths] of superframes in chunks of bytes.

    Raises InputError, which names `where`, at the end: for no superframe, for another number than `superframes`, unless
    that is 0, and for more than a last byte that is filled up with zeros.
    """
    each, seen = sum(widths), 0
    rest: np.ndarray = np.zeros(0, np.uint8)
    for chunk in chunks:
        bits = np.concatenate([rest, np.unpackbits(np.frombuffer(chunk, np.uint8))])
        count = len(bits) // each
        if superframes:
            count = min(count, superframes - seen)
        rest = bits[count * each :]
        seen += count
        if count:
            yield bits[: count * each].reshape(count, each)
        if superframes and seen == superframes and len(rest) >= 8:
            raise InputError(f"{where}: goes on after the {superframes} superframes of its header, expected its end")
    if superframes and seen < superframes:
        raise InputError(f"{where}: {seen} superframes, expected {superframes} as its header tells; it is cut off")
    if not seen:
        raise InputError(f"{where}: no superframe of {each} bits, expected at least one")
    if len(rest) >= 8 or rest.any():
        raise InputError(
            f"{where}: {len(rest)} bits after {seen} superframes, expected zeros up to a whole byte; it is cut off"
        )


def to_bits(fields: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Bits [n, sum of widths] uint8 of fields [n, fields]."""
    columns = [(fields[:, i, None] >> np.arange(width)[::-1]) & 1 for i, width in enumerate(widths)]
    return np.concatenate(columns, axis=1).astype(np.uint8)


def from_bits(bits: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Fields [n, fields] int64 of bits [n, sum of widths]."""
    ends = np.cumsum(widths)
    columns = [
        bits[:, end - width : end] @ (1 << np.arange(width)[::-1]) for end, width in zip(ends, widths, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def lost_of(pattern: str, seed: int) -> Iterator[bool]:
    """Return an iterator that tells for one superframe after the other whether it is lost, without end.

    A pattern of 0 and 1, where 1 is lost, is repeated; a share such as 5% is drawn by the seed. InputError for others.
    """
    if re.fullmatch("[01]+", pattern):
        return cycle(mark == "1" for mark in pattern)
    share = float(pattern[:-1]) / 100 if re.fullmatch(r"[0-9]+(\.[0-9]+)?%", pattern) else 2.0
    if share > 1:
        raise InputError(f"--lost: found {pattern!r}, expected a pattern of 0 and 1, or a share such as 5%")
    rng = np.random.default_rng([seed, 1])
    return iter(lambda: bool(rng.random() < share), None)


def received(
    batches: Iterable[np.ndarray], widths: Sequence[int], lost: Iterator[bool]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield fields [n, fields] for bits [n, sum of widths], and which of the superframes are lost [n] bool."""
    for bits in batches:
        yield from_bits(bits, widths), np.array([*islice(lost, len(bits))], bool)


def flipped(batches: Iterable[np.ndarray], ber: float, seed: int) -> Iterator[np.ndarray]:
    """Yield bits [n, bits] with each bit turned over with the probability `ber`, by the seed."""
    rng = np.random.default_rng([seed, 0])
    for bits in batches:
        # A superframe at a time, so that the errors do not depend on how many come together.
        wrong = np.stack([rng.random(bits.shape[1]) < ber for _ in bits])
        yield bits ^ wrong.astype(np.uint8)


def chunks_of(read) -> Iterator[bytes]:
    """Yield what a file gives, as it comes."""
    while chunk := read(_CHUNK):
        yield chunk
