"""Bit streams: what is packed comes back, and what is no stream of the codec is refused in one line."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlquant.codecs import bitstream
from mlquant.core.errors import InputError

WIDTHS = [1, 1, 6, 2, 8, 11]  # 29 bits
HASH = "0123456789abcdef" * 4


def fields(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, 1 << width, count) for width in WIDTHS], axis=1)


def unpacked(data, superframes=0, piece=7):
    chunks = (data[i : i + piece] for i in range(0, len(data), piece))
    return np.concatenate([*bitstream.unpacked(chunks, WIDTHS, "x.bit", superframes)])


@given(st.integers(1, 50), st.integers(0, 999), st.integers(1, 40), st.integers(1, 9))
def test_what_is_packed_comes_back_however_it_is_cut(count, seed, piece, batch):
    sent = fields(count, seed)
    data = b"".join(bitstream.packed((sent[i : i + batch] for i in range(0, count, batch)), WIDTHS))
    assert len(data) == -(-29 * count // 8)
    found = bitstream.from_bits(unpacked(data, count, piece), WIDTHS)
    assert np.array_equal(found, sent)
    assert np.array_equal(bitstream.from_bits(bitstream.to_bits(sent, WIDTHS), WIDTHS), sent)


def test_a_field_is_sent_from_its_highest_bit_on():
    data = b"".join(bitstream.packed([np.array([[1, 0, 0b100001, 2, 255, 1024]])], WIDTHS))
    assert f"{int.from_bytes(data, 'big'):032b}" == "10100001101111111110000000000000"


@pytest.mark.parametrize(
    ("data", "superframes", "line"),
    [
        (b"\0" * 29, 9, "x.bit: 8 superframes, expected 9 as its header tells; it is cut off"),
        (b"\0" * 29, 4, "x.bit: goes on after the 4 superframes of its header, expected its end"),
        (b"\0\0\0", 0, "x.bit: no superframe of 29 bits, expected at least one"),
        (b"", 0, "x.bit: no superframe of 29 bits, expected at least one"),
        (b"\0" * 6, 0, "x.bit: 19 bits after 1 superframes, expected zeros up to a whole byte; it is cut off"),
        (b"\0\0\0\1", 0, "x.bit: 3 bits after 1 superframes, expected zeros up to a whole byte; it is cut off"),
    ],
)
def test_what_is_cut_off_or_too_long_is_refused(data, superframes, line):
    with pytest.raises(InputError) as error:
        unpacked(data, superframes)
    assert str(error.value) == line


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (b"mlqB", "x: 4 bytes, expected a header of 16"),
        (b"RIFF" + bytes(12), "x: begins with b'RIFF', expected b'mlqB'"),
        (bitstream.header("f" * 64, 3), "x: is a stream of the codec ffffffffffffffff, expected 0123456789abcdef"),
    ],
)
def test_another_header_is_refused(found, line):
    with pytest.raises(InputError, match=f"^{line}"):
        bitstream.check_header(found, HASH, "x")
    assert bitstream.check_header(bitstream.header(HASH, 77), HASH, "x") == 77


def test_lost_superframes_follow_a_pattern_or_a_share():
    assert [*islice(bitstream.lost_of("001", 1), 7)] == [False, False, True] * 2 + [False]
    drawn = [*islice(bitstream.lost_of("5%", 3), 20000)]
    assert 0.045 < np.mean(drawn) < 0.055 and drawn == [*islice(bitstream.lost_of("5%", 3), 20000)]
    for wrong in ("", "x", "012", "101%", "nan%"):
        with pytest.raises(InputError, match="--lost: found"):
            next(bitstream.lost_of(wrong, 1))


def test_flipped_bits_have_the_rate_asked_for_and_do_not_depend_on_batches():
    bits = np.zeros((2000, 29), np.uint8)
    whole = np.concatenate([*bitstream.flipped([bits], 0.03, 5)])
    cut = np.concatenate([*bitstream.flipped(np.split(bits, [3, 700, 701]), 0.03, 5)])
    assert np.array_equal(whole, cut) and 0.027 < whole.mean() < 0.033
