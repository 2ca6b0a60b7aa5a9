"""What the header of an audio file says of its samples, compared with the bytes that are there.

libsndfile reads what is left of a file that was cut off, without an error, and what follows the samples as if it were
more of them. So each family of containers has a small function here, which looks at sizes alone and decodes nothing. It
returns where the samples end and what libsndfile must see in place of wrong sizes, or raises InputError for samples
that are missing. Plain Python, so that the plan can take the suffixes from here.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Literal

from mlquant.core.errors import InputError

# Suffixes of the audio files that are read, in folders and in archives. Headerless `.raw` is 16-bit 8 kHz.
SUFFIXES = (
    *(".raw", ".wav", ".wav16", ".wave", ".wavex", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
    *(".mp2", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".sph", ".nist", ".voc", ".sf", ".ircam", ".avr"),
    *(".paf", ".pvf", ".svx", ".8svx", ".16sv", ".htk", ".mat4", ".mat5", ".mpc2k", ".sds", ".wve", ".xi"),
)
# Suffixes of audio that is not read, so that a file of them is named and not passed over.
UNREAD = (
    *(".m4a", ".m4b", ".mp4", ".aac", ".3gp", ".wma", ".asf", ".amr", ".awb", ".webm", ".weba", ".mka", ".spx"),
    *(".ape", ".wv", ".tta", ".mpc", ".ac3", ".dts", ".gsm", ".ra", ".sd2", ".shn", ".c2"),
)
READ = "wav, flac, ogg, opus, mp3, aiff, au, caf, or another format that libsndfile reads, or headerless 16-bit .raw"

_CHUNKS = 100_000  # most chunks in a file
_REST = 256  # bytes after the samples that may be no chunk, as of a tag or a block that was filled up
_SEARCHED = 4 << 20  # bytes at the end of a file in which chunks, or the last frame, are searched
_OPEN = 64  # a size so close to the largest number is that of a stream, less its header or rounded to whole frames


Part = bytes | tuple[int, int]


@dataclass
class Contents:
    """What a reader needs to know of an audio file.

    `parts` are what libsndfile gets to see in place of the whole file: bytes, or (first, end) of bytes of the file.
    `told` are lines for the log, each about something that the header does not say. `kind` "" is one that is unknown.
    """

    kind: str
    parts: list[Part] | None = None
    told: list[str] = field(default_factory=list)


Data = bytes | mmap
Parser = Callable[[str, Data], Contents]


class View:
    """What libsndfile gets to see of a file, as a file."""

    def __init__(self, data: Data, contents: Contents):
        self._data, self._at, self._end = data, 0, 0
        self._places: list[tuple[int, Part]] = []  # of each part, where it ends
        for part in contents.parts or [(0, len(data))]:
            self._end += len(part) if isinstance(part, bytes) else part[1] - part[0]
            self._places.append((self._end, part))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(place, 0)  # beyond the end too, as in any file
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int) -> bytes:
        found, begin, last = b"", 0, self._at + size
        for end, part in self._places:
            if self._at < end and begin < last:
                first, until = max(self._at, begin) - begin, min(last, end) - begin
                if isinstance(part, bytes):
                    found += part[first:until]
                else:
                    found += self._data[part[0] + first : part[0] + until]
            begin = end
        self._at += len(found)
        return found


def contents(where: str, data: Data) -> Contents:
    """Return what a reader must know of the audio file `where` with these bytes.

    Raises InputError, which begins with `where`, when bytes of samples are missing that the header says are there.
    """
    tag = _id3(data)
    start = bytes(data[tag : tag + 64])
    for beginning, (kind, parser) in _KINDS.items():
        if start.startswith(beginning):
            rest = data[tag:] if tag else data
            found = parser(where, rest) if parser else Contents(kind, told=[cannot_tell(kind)])
            if tag:
                parts = found.parts or [(0, len(rest))]
                found.parts = [part if isinstance(part, bytes) else (part[0] + tag, part[1] + tag) for part in parts]
            return found
    return _mp3(where, data) if tag or _mp3_frame(start) else Contents("")


def some_of(names: Iterable[str]) -> str:
    """Return how many files there are, and the names of some, for a message."""
    sorted_names = sorted(names)
    return f"{len(sorted_names)} ({', '.join(sorted_names[:5])}{', ...' if len(sorted_names) > 5 else ''})"


def suffix_of(start: bytes) -> str | None:
    """Return the suffix that a file with these first bytes should have; None when they are of no known format."""
    for beginning, suffix in _BEGINNINGS.items():
        if start.startswith(beginning):
            return suffix
    return ".m4a" if start[4:8] == b"ftyp" else None


def cannot_tell(kind: str) -> str:
    return f"{kind} without its length in the header, so that it cannot be told whether samples are missing at the end"


def _missing(where: str, found: int, expected: int) -> InputError:
    return InputError(f"{where}: {max(found, 0)} bytes of samples, expected {expected} as its header says")


def _refuse_rest(where: str, data: Data, end: int) -> list[str]:
    """Raise InputError for more than a few bytes after the samples, unless they are zeros; return lines for the log."""
    rest = len(data) - end
    if rest <= 0 or not data[end : end + _SEARCHED].strip(b"\0"):
        return []
    if rest > _REST:
        raise InputError(f"{where}: {rest} bytes follow the samples, of which its header says nothing, expected none")
    return [f"the last {rest} bytes, of which its header says nothing, are not read"]


# --- files of chunks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Family:
    """How chunks are written: a name, a size, and content that is filled up to a multiple of `align` bytes.

    `start` is where the first is; `counted` are the bytes of name and size if the size counts them. The samples are in
    a chunk of one of the names `samples`, after `before` bytes of it. Half the largest size stands for an unknown one
    too if `half_is_open`. Of the other chunks libsndfile needs those named `needed`, and sees no others: it refuses
    some that it could pass over.
    """

    kind: str
    start: int
    order: Literal["little", "big"]
    samples: tuple[bytes, ...]
    width: int = 4
    name: int = 4
    counted: int = 0
    align: int = 2
    before: int = 0
    needed: tuple[bytes, ...] = (b"fmt ", b"ds64")
    half_is_open: bool = False

    @property
    def header(self) -> int:
        return self.name + self.width

    def chunk(self, data: Data, place: int) -> tuple[bytes, int, int] | None:
        """Return name, size of the content, and place of the next chunk; None where no header fits."""
        header = data[place : place + self.header]
        if len(header) < self.header:
            return None
        size = int.from_bytes(header[self.name :], self.order) - self.counted
        return bytes(header[: self.name]), size, self.after(data, place + self.header + max(size, 0))

    def after(self, data: Data, end: int) -> int:
        """Return where a chunk is that follows content with this end, which some writers do not fill up."""
        name = data[end : end + self.name]
        return end if name[:4] in _AFTER or name in (*self.samples, *self.needed) else end + -end % self.align

    def is_open(self, size: int) -> bool:
        """Whether a size stands for one that was not known when the header was written.

        ffmpeg writes ones; arecord 0x80000000, sox and espeak 0x7ffff000 (each in whole frames); others 0.
        """
        full = 1 << 8 * self.width
        half = self.half_is_open and full // 2 - 0x1000 - _OPEN <= size <= full // 2 + _OPEN
        return size <= 0 or size >= full - _OPEN - self.counted or half


_W64 = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # all names in a W64 end so, but for the first
_WAV = _Family("wav", 12, "little", (b"data",), half_is_open=True)
_RF64 = _Family("RF64", 12, "little", (b"data",))
_WAVES = {
    b"RIFF": _WAV,
    b"RIFX": _Family("wav", 12, "big", (b"data",), half_is_open=True),
    b"RF64": _RF64,
    b"riff": _Family("W64", 40, "little", (b"data" + _W64,), 8, 16, counted=24, align=8, needed=(b"fmt " + _W64,)),
    b"FORM": _Family("aiff", 12, "big", (b"SSND", b"BODY"), needed=(b"COMM", b"VHDR", b"CHAN")),
    b"caff": _Family("caf", 8, "big", (b"data",), 8, align=1, before=4, needed=(b"desc", b"kuki", b"chan", b"pakt")),
}
# Chunks that come after samples, in wav (EBU Tech 3285, RIFF), aiff and caf.
_AFTER = (
    *(b"LIST", b"bext", b"fact", b"id3 ", b"ID3 ", b"cue ", b"smpl", b"inst", b"plst", b"PEAK", b"iXML", b"axml"),
    *(b"JUNK", b"junk", b"PAD ", b"FLLR", b"afsp", b"_PMX", b"cart", b"chna", b"DISP", b"acid", b"umid", b"minf"),
    *(b"elm1", b"MARK", b"INST", b"COMT", b"NAME", b"AUTH", b"(c) ", b"ANNO", b"APPL", b"MIDI", b"COMM", b"FVER"),
    *(b"info", b"free", b"pakt", b"strg", b"mark", b"regn", b"uuid", b"levl", b"wavl", b"note", b"labl", b"ltxt"),
)


def _of_chunks(where: str, data: Data) -> Contents:
    """Contents of wav, RF64 (EBU Tech 3306), W64 (Sony), aiff, 8svx and caf."""
    family = _WAVES[bytes(data[:4])]
    found, size_64, samples = Contents(family.kind), None, None
    needed: dict[bytes, Part] = {b"": (0, family.start)}
    place = family.start
    for _ in range(_CHUNKS):
        if not (chunk := family.chunk(data, place)):
            break
        name, size, following = chunk
        content = place + family.header
        if name == b"ds64" and family is _RF64 and size_64 is None:
            size_64 = int.from_bytes(data[content + 8 : content + 16], "little")
        if name in family.samples and not samples:
            in_64 = size_64 is not None and size == 0xFFFFFFFF
            size = size_64 if in_64 and size_64 is not None else size
            end, told = _end_of_samples(where, data, family, content, size, in_64)
            found.told += told
            samples, following = (content, end), family.after(data, end)
            written = end - content + family.counted
            if in_64:
                ds64, ds64_end = needed[b"ds64"]
                head = bytes(data[ds64 : ds64 + 16]) + written.to_bytes(8, "little")
                needed[b"ds64"] = head + bytes(data[ds64 + 24 : ds64_end])
                written = 0xFFFFFFFF
            elif written >= 1 << 8 * family.width:
                raise InputError(f"{where}: {written} bytes of samples, more than a {family.kind} can hold")
            header: Part = name + written.to_bytes(family.width, family.order)
            if not _chunks_follow(data, family, following):
                break
        elif name in family.needed:
            needed.setdefault(name, (place, min(following, len(data))))
        place = following
    else:
        raise InputError(f"{where}: more than {_CHUNKS} chunks, expected samples among them")
    if samples:
        found.parts = [*needed.values(), header, samples]
    return found


def _end_of_samples(
    where: str, data: Data, family: _Family, first: int, size: int, in_64: bool
) -> tuple[int, list[str]]:
    """Return where samples end that begin at a byte and have a size as the header says, and lines for the log."""
    there = len(data) - first
    is_open = size in (0, (1 << 64) - 1, (1 << 63) - 1) if in_64 else family.is_open(size)
    if is_open and not (size <= 0 and there and _chunks_follow(data, family, first)):
        end = _before_chunks_at_the_end(data, family, first)
        claim, follow = max(size - family.before, 0), max(end - first - family.before, 0)
        told = f"{claim if claim < 1 << 62 else 'an unknown number of'} bytes of samples as its header says"
        return end, [f"{told}; the {follow} that follow are read"] if follow else []
    if size > there:
        raise _missing(where, there - family.before, size - family.before)
    end = first + max(size, 0)
    rest = family.after(data, end)
    follow = rest >= len(data) or _chunks_follow(data, family, rest)
    return end, [] if follow else _refuse_rest(where, data, end)


def _chunks_follow(data: Data, family: _Family, place: int) -> bool:
    """Whether chunks, of which the last may be cut off, are all that is in a file from a place on."""
    for _ in range(_CHUNKS):
        rest = len(data) - place
        if rest < family.header:
            return rest < 4 or data[place : place + 4] in _AFTER
        chunk = family.chunk(data, place)
        assert chunk
        name, size, following = chunk
        known = name[:4] in _AFTER
        if not known and (not name[:4].isascii() or not name[:4].decode("latin").isprintable() or name[:4] in _KINDS):
            return False
        if size < 0 or following > len(data) + family.align:
            return known
        if following >= len(data):
            return True
        place = following
    return False


def _before_chunks_at_the_end(data: Data, family: _Family, first: int) -> int:
    """Return where samples end that go on to the end of a file, or to known chunks that do."""
    low = max(first, len(data) - _SEARCHED)
    begins: dict[int, int] = {}  # by where it ends, with what fills it up
    for match in re.finditer(b"|".join(map(re.escape, _AFTER)), data[low:]):
        if chunk := family.chunk(data, place := low + match.start()):
            end = place + family.header + max(chunk[1], 0)
            begins |= dict.fromkeys(range(end, end + -end % family.align + 1), place)
    end = len(data)
    while end in begins:
        end = begins[end]
    return end


# --- files with one size, or blocks ----------------------------------------------------------------------


def _sized(where: str, data: Data, kind: str, first: int, size: int) -> Contents:
    """Contents of a file with `size` bytes of samples from byte `first` on."""
    if first + size > len(data):
        raise _missing(where, len(data) - first, size)
    return Contents(kind, [(0, first + size)], _refuse_rest(where, data, first + size))


def _au(where: str, data: Data) -> Contents:
    """The au of Sun and NeXT: magic, offset, size (ones when it is not known), encoding, rate, channels."""
    order: Literal["little", "big"] = "big" if data[:1] == b"." else "little"
    first, size = (int.from_bytes(data[i : i + 4], order) for i in (4, 8))
    there = len(data) - first
    if 0 < there < 1 << 32 and (size == 0 or size >= (1 << 32) - _OPEN):
        told = f"{size} bytes of samples as its header says; the {there} that follow are read"
        return Contents("au", [(0, 8), there.to_bytes(4, order), (12, len(data))], [told])
    return _sized(where, data, "au", first, size)


def _nist(where: str, data: Data) -> Contents:
    """NIST SPHERE: 1024 bytes of text with `sample_count -i N`, of each channel."""
    text = bytes(data[:1024]).decode("latin")
    values = {name: int(value) for name, value in re.findall(r"^(\w+) -(?:i|s\d) (\d{1,15})\s*$", text, re.MULTILINE)}
    first = re.match(r"NIST_1A\s+(\d{1,6})\s", text)
    if not first or "sample_count" not in values:
        return Contents("nist", told=[cannot_tell("nist")])
    size = values["sample_count"] * values.get("channel_count", 1) * values.get("sample_n_bytes", 2)
    return _sized(where, data, "nist", int(first[1]), size)


def _voc(where: str, data: Data) -> Contents:
    """Creative Voice: blocks of a type and a size of three bytes, the last of type 0 without a size."""
    place, blocks = int.from_bytes(data[20:22], "little"), 0
    while blocks < _CHUNKS:
        header = data[place : place + 4]
        if header[:1] == b"\0" or (blocks and place == len(data)):
            return Contents("voc", told=_refuse_rest(where, data, place + 1))
        size = int.from_bytes(header[1:], "little")
        if len(header) < 4 or place + 4 + size > len(data):
            raise _missing(where, len(data) - place - 4, size)
        place, blocks = place + 4 + size, blocks + 1
    raise InputError(f"{where}: more than {_CHUNKS} blocks, expected a voc with an end")


def _at(kind: str, first: int, layout: str, place: int, size: Callable[..., int]) -> Parser:
    """A parser for a header that has numbers at one place, of which `size` makes the bytes of samples."""

    def parse(where: str, data: Data) -> Contents:
        fields = data[place : place + struct.calcsize(layout)]
        if len(fields) < struct.calcsize(layout):
            return Contents(kind)
        return _sized(where, data, kind, first, size(*struct.unpack(layout, fields)))

    return parse


def _avr(stereo: int, bits: int, frames: int) -> int:
    return frames * (bits // 8) * (2 if stereo else 1)


def _mat4(kind: int, rows: int, columns: int) -> int:
    return rows * columns * {0: 8, 1: 4, 2: 4, 3: 2, 4: 2}.get(kind // 10 % 10, 1)


def _sds(bits: int, *others: int) -> int:
    """Packets of 127 bytes that hold samples of two, three or four bytes of 7 bits."""
    count = others[-2] << 7 | others[-3] | others[-1] << 14
    return -(-count // (60 if bits <= 14 else 40 if bits <= 21 else 30)) * 127


def _mat5(where: str, data: Data) -> Contents:
    """MAT 5 as libsndfile reads it: matrices samplerate and wavedata, whose tag of samples is at byte 256."""
    order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
    if data[248:256] != b"wavedata":
        return Contents("mat5", told=[cannot_tell("mat5")])
    return _sized(where, data, "mat5", 264, int.from_bytes(data[260:264], order))


# --- compressed streams ----------------------------------------------------------------------------------


def _crc8_table() -> bytes:
    table = bytearray(256)
    for i in range(256):
        value = i
        for _ in range(8):
            value = (value << 1 ^ (7 if value & 128 else 0)) & 255
        table[i] = value
    return bytes(table)


_CRC8 = _crc8_table()  # of the polynomial x^8 + x^2 + x + 1
_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))


def _flac(where: str, data: Data) -> Contents:
    """FLAC (RFC 9639). Its length, of which a pipe leaves 0, is compared with the number of its last frame."""
    stored = int.from_bytes(data[18:26], "big")
    total, place = stored & (1 << 36) - 1, 4
    least = int.from_bytes(data[8:10], "big")
    for _ in range(_CHUNKS):
        block = data[place : place + 4]
        place += 4 + int.from_bytes(block[1:], "big")
        if not block or block[0] & 128:
            break
    first = bytes(data[place : place + 4])
    end, low, after = len(data), max(place, len(data) - _SEARCHED), None
    while len(first) == 4 and after is None and (end := data.rfind(first[:2], low, end + 1)) >= 0:
        after = _after_flac_frame(bytes(data[end : end + 16]), first, least)
    if after is None or after == total or (total and after < total):
        # libsndfile says that samples are missing, and never ends with a length of 0.
        if not total:
            raise InputError(f"{where}: no frame in a flac of unknown length, expected samples")
        return Contents("flac")
    new = stored >> 36 << 36 | after
    told = f"{total} samples as its header says; {after} follow and are read" if total else cannot_tell("flac")
    return Contents("flac", [(0, 18), new.to_bytes(8, "big"), (26, len(data))], [told])


def _after_flac_frame(header: bytes, first: bytes, least: int) -> int | None:
    """Return the number of samples up to the end of a frame; None for bytes that are no header like the first one."""
    if len(header) < 6 or not header[2] >> 4 or header[2] & 15 != first[2] & 15 or header[3] & 15 != first[3] & 15:
        return None
    more = next((i for i in range(8) if not header[4] << i & 128), 8)  # bytes of the number, coded as UTF-8 is
    more, number = (0, header[4]) if more == 0 else (more - 1, header[4] & (127 >> more))
    for byte in header[5 : 5 + more]:
        number = number << 6 | byte & 63
    place, code = 5 + more, header[2] >> 4
    if code in (6, 7):
        width = code - 5
        size = int.from_bytes(header[place : place + width], "big") + 1
        place += width
    else:
        size = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    place += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    crc = 0
    for byte in header[:place]:
        crc = _CRC8[crc ^ byte]
    if place >= len(header) or header[place] != crc:
        return None
    return (number if header[1] & 1 else number * least) + size


def _ogg(where: str, data: Data) -> Contents:
    """Ogg (RFC 3533): whole pages, numbered, with checksums; the last of each stream has a flag."""
    place, ended, streams, now = 0, 0, {}, 0.0
    while data[place : place + 4] == b"OggS":
        header = data[place : place + 27]
        size = 27 + header[-1] + sum(data[place + 27 : place + 27 + header[-1]]) if len(header) == 27 else 27
        page = data[place : place + size]
        if len(page) < size:
            raise InputError(f"{where}: ends within a page of {size} bytes{_until(now)}, expected whole pages")
        flags, granule, stream, number, crc = struct.unpack("<BqIII", header[5:26])
        if crc != _ogg_crc(page[:22] + bytes(4) + page[26:]):
            raise InputError(
                f"{where}: the page at byte {place}{_until(now)} is damaged, expected its checksum {crc:08x}"
            )
        if flags & 2:
            if ended:
                raise InputError(
                    f"{where}: several streams one after the other, the first of which ends{_until(now)}, expected one"
                )
            start = page[27 + header[-1] :]
            rate = 48000 if start.startswith(b"OpusHead") else int.from_bytes(start[12:16], "little") or 1
            streams[stream] = number - 1, rate
        if stream not in streams or number != streams[stream][0] + 1:
            raise InputError(f"{where}: a page is missing before byte {place}{_until(now)}, expected all in order")
        streams[stream] = number, streams[stream][1]
        now = max(now, granule / streams[stream][1])
        ended += bool(flags & 4)
        place += size
    if ended < len(streams):
        raise InputError(f"{where}: ends{_until(now)} without the last page of its stream, expected a whole file")
    return Contents("ogg", told=_refuse_rest(where, data, place))


def _until(seconds: float) -> str:
    return f" after {seconds:.2f} s" if seconds > 0 else ""


def _ogg_crc(page: bytes) -> int:
    """Return the checksum of a page, which takes bits in the other order than zlib does."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_REVERSED), "big")


def _id3(data: Data) -> int:
    """Return the bytes of ID3v2 tags at the start of a file."""
    place = 0
    while (start := data[place : place + 10])[:3] == b"ID3" and len(start) == 10 and max(start[6:]) < 128:
        size = 0
        for byte in start[6:]:
            size = size << 7 | byte
        place += 10 + size + (10 if start[5] & 16 else 0)
    return place


_KBITS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _mp3_frame(header: bytes) -> int | None:
    """Return the bytes of a frame of MPEG audio (ISO 11172-3, 13818-3); None for bytes that are no header of one."""
    if len(header) < 4 or header[0] != 255 or header[1] < 224:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, kbits = header[2] >> 2 & 3, header[2] >> 4
    if version == 1 or layer == 4 or rate == 3 or kbits in (0, 15):
        return None
    Hz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bits = 1000 * _KBITS[1 if version == 3 else 2, layer][kbits - 1]
    padding = header[2] >> 1 & 1
    if layer == 1:
        return (12 * bits // Hz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // Hz + padding


def _mp3(where: str, data: Data) -> Contents:
    """MPEG audio: frames one after the other. The first may hold their number (Xing, Info or VBRI).

    Where it does not, libsndfile guesses it, and reads no more than that; so it gets to see such a frame.
    """
    first = place = _id3(data)
    frames, expected, counting, lost = 0, 0, False, 0
    while True:
        header = data[place : place + 4]
        if not (size := _mp3_frame(header)):
            following = _next_mp3_frame(data, place)
            if following is None or not frames:
                break
            lost, place = lost + following - place, following
            continue
        if not frames:
            head, start = bytes(header), bytes(data[place : place + min(size, 64)])
            for tag, at in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
                if (found := start.find(tag)) > 0:
                    counting = True
                    has = tag == b"VBRI" or (start[found + 7 : found + 8] > b"\0" and start[found + 7] & 1)
                    expected = int.from_bytes(start[found + at : found + at + 4], "big") if has else 0
        frames += 1
        place += size
    rest = bytes(data[place : place + 8])
    if place > len(data) or (0 < len(rest) < 4 and rest[:1] == b"\xff"):
        raise InputError(f"{where}: ends within its frame {frames}, expected whole frames")
    if not frames:
        return Contents("")
    told = [f"{lost} bytes between its frames are none, and are not read"] if lost else []
    frames -= counting
    if expected and frames < expected - 1:
        raise InputError(f"{where}: {frames} frames, expected {expected} as its header says")
    if expected:
        # Some writers count the frame with the number too.
        told += [f"{frames} frames, {expected} as its header says"] if frames < expected else []
        return Contents("mp3", told=told)
    told.append(cannot_tell("mp3"))
    if head[1] >> 1 & 3 != 1:
        return Contents("mp3", told=told)  # of layer I or II, with frames of one size
    head = bytes([255, head[1] | 1, 0xE0 | head[2] & 12, head[3]])  # without a checksum, and of the largest size
    size = _mp3_frame(head) or 0
    side = (17 if head[3] >> 6 == 3 else 32) if head[1] >> 3 & 3 == 3 else 9 if head[3] >> 6 == 3 else 17
    frame = head + bytes(side) + b"Info\0\0\0\1" + frames.to_bytes(4, "big")
    after = first + (_mp3_frame(data[first : first + 4]) or 0 if counting else 0)
    return Contents("mp3", [(0, first), frame.ljust(size, b"\0"), (after, len(data))], told)


def _next_mp3_frame(data: Data, place: int) -> int | None:
    """Return where the next two frames after damage begin; None where none do, as in tags at the end."""
    last = min(len(data), place + _SEARCHED)
    while (place := data.find(b"\xff", place + 1, last)) >= 0:
        if (size := _mp3_frame(data[place : place + 4])) and _mp3_frame(data[place + size : place + size + 4]):
            return place
    return None


# First bytes of each kind that libsndfile reads, its name and its parser; without one the header has no length.
_KINDS: dict[bytes, tuple[str, Parser | None]] = {
    **{beginning: (family.kind, _of_chunks) for beginning, family in _WAVES.items()},
    b"fLaC": ("flac", _flac),
    b"OggS": ("ogg", _ogg),
    b".snd": ("au", _au),
    b"dns.": ("au", _au),
    b"NIST_1A": ("nist", _nist),
    b"Creative Voice File": ("voc", _voc),
    b"2BIT": ("avr", _at("avr", 128, ">hh10xI", 12, _avr)),
    b"ALawSoundFile**": ("wve", _at("wve", 32, ">I", 18, lambda size: size)),
    b"\x01\x04": ("mpc2k", _at("mpc2k", 42, "<B4xI", 21, lambda stereo, frames: 2 * frames * (1 + stereo))),
    b"\0\0\0\0\1\0\0\0\1\0\0\0": ("mat4", _at("mat4", 68, "<3I", 39, _mat4)),
    b"\0\0\x03\xe8\0\0\0\1\0\0\0\1": ("mat4", _at("mat4", 68, ">3I", 39, _mat4)),
    b"MATLAB 5.0 MAT-f": ("mat5", _mat5),
    b"\xf0\x7e": ("sds", _at("sds", 21, "7B", 6, _sds)),
    **dict.fromkeys((b" paf", b"fap "), ("paf", None)),
    b"PVF1": ("pvf", None),
    b"Extended Instrument": ("xi", None),
    **dict.fromkeys((b"\x64\xa3", *(bytes([0, i]) + b"\xa3\x64" for i in range(5))), ("ircam", None)),
}
_BEGINNINGS = {
    **{beginning: ".wav" for beginning in (b"RIFF", b"RIFX", b"RF64")},
    b"riff\x2e\x91\xcf\x11": ".w64",
    b"FORM": ".aiff",
    b"caff": ".caf",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    **{b"ID3" + bytes([version]): ".mp3" for version in (2, 3, 4)},
    b".snd": ".au",
    b"dns.": ".au",
    b"NIST_1A": ".sph",
    b"Creative Voice File": ".voc",
    b"#!AMR": ".amr",
    b"\x1a\x45\xdf\xa3": ".webm",
    b"0&\xb2u\x8ef\xcf\x11": ".wma",
}
