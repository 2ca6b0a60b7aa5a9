"""What a codec would give: with parts not quantised, rounded tables, wrong bits, and lost superframes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from mlquant.codecs import bitstream
from mlquant.codecs import codec as codecs
from mlquant.codecs.codec import Codec
from mlquant.core.records import FRAME, joined
from mlquant.networks import context, dense
from mlquant.quantisers import superframe
from mlquant.vocoder import pitch as pitches
from mlquant.vocoder.superframes import beside

EXACT: dict[str, Any] = {"every_ms": 10, "bits": 8, "offsets": (), "wait": 8}
"""How pitch that counts as not quantised is sent: 256 levels, a knot each frame."""


def with_errors(codec: Codec, speech: np.ndarray, ber: float, lost: float, seed: int) -> np.ndarray:
    """Decoded speech int16 of speech [N] int16, with shares of bits turned over and of superframes lost."""
    widths = [bits for _, bits in codec.layout]
    marks = bitstream.lost_of(f"{100 * lost:f}%", seed)
    with threadpool_limits(1, user_api="blas"):
        sent = (bitstream.to_bits(fields, widths) for fields in codecs.encode(codec, [speech]))
        received = bitstream.received(bitstream.flipped(sent, ber, seed), widths, marks)
        return np.concatenate(list(codecs.decode(codec, received)))


def with_exact(codec: Codec, speech: np.ndarray, exact: Collection[str]) -> np.ndarray:
    """Decoded speech int16 of speech [N] int16, with some of "pitch", "voicing", "energy" and "shape" as they are."""
    T, pitch = codec.frames, replace(codec.pitch, **EXACT) if "pitch" in exact else codec.pitch
    with threadpool_limits(1, user_api="blas"):
        model = joined([model for _, model in pitches.tracked([speech], pitch, T)])
        records, y = codecs.of_model(model, codec)
        shapes, energy, log2_f0, voiced = np.split(records, [20 * T, 21 * T, 22 * T], axis=1)
        if "energy" not in exact:
            found = superframe.search(codec.energy, energy, codec.paths, codec.wait)
            energy = superframe.decode(codec.energy, found)
        if "voicing" in exact:
            voiced = model.voiced.reshape(-1, T).astype(np.float32)
        if "shape" not in exact:
            choice, known = codecs.Choice(codec), beside(energy, log2_f0, voiced)
            for record, spectra in zip(
                context.record(shapes, energy, log2_f0, voiced), y.reshape(len(records), T, -1), strict=True
            ):
                choice.expect(record, spectra)
            found = superframe.search(codec.shape, shapes, codec.paths, codec.wait, known, choice)
            shapes = superframe.decode(codec.shape, found, known)
        own = context.record(shapes, energy, log2_f0, voiced)
        return np.concatenate(list(codecs.spoken(codec, [(model.Wo.reshape(-1, T), own, np.zeros(len(own), bool))])))


def rounded(codec: Codec) -> Codec:
    """The codec with all tables rounded to 8 bits a number, as none was trained for."""
    energy, shape = superframe.rounded(codec.energy), superframe.rounded(codec.shape)
    return replace(codec, energy=energy, shape=shape, layers=dense.rounded_layers(codec.layers))


def bit_costs(codec: Codec, speech: np.ndarray) -> list[float]:
    """What a wrong bit costs, for each bit of a superframe: the mean squared error of loudness that it makes.

    For each bit it is wrong in every fourth superframe of speech [N] int16. Loudness is the amplitude of harmonics to
    the power 0.46, as in the training of the network; a wrong pitch puts the harmonics elsewhere.
    """
    widths = [bits for _, bits in codec.layout]
    with threadpool_limits(1, user_api="blas"):
        sent = np.concatenate([bitstream.to_bits(fields, widths) for fields in codecs.encode(codec, [speech])])
        none_lost = np.zeros(len(sent), bool)

        def loudness(bits: np.ndarray) -> np.ndarray:
            fields = bitstream.from_bits(bits, widths)
            spoken = np.concatenate(list(codecs.decode(codec, [(fields, none_lost)])))
            frames = spoken.reshape(-1, FRAME).astype(np.float64) * np.hanning(FRAME)
            return np.abs(np.fft.rfft(frames, 2 * FRAME, axis=1)) ** context.POWER

        right, costs = loudness(sent), []
        for bit in range(codec.bits):
            wrong = sent.copy()
            wrong[::4, bit] ^= 1
            costs.append(float(np.square(loudness(wrong) - right).mean()))
    return costs
