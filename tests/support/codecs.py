"""A small codec with tables drawn at random: its speech says nothing, its bits and bytes are those of a real one."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from mlquant.codecs import files
from mlquant.codecs.codec import Codec, decode, encode
from mlquant.networks import dense
from mlquant.quantisers.superframe import Superframes, ordered, rounded
from mlquant.vocoder import settings
from mlquant.vocoder.pitch import Pitch


def sent_pitch(**changes):
    """Pitch as a codec sends it by default, but for the changes."""
    return Pitch(**settings.Pitch(**changes).model_dump())


def small_codec(frames=4, paths=4, wait=0, pitch=None, voicing_ms=20, seed=0, eight_bit=False):
    rng = np.random.default_rng(seed)

    def superframes(width, spread, middle, sizes):
        codebooks = [ordered(rng.normal(0, spread, (size, width)).astype(np.float32)) for size in sizes]
        # As a training leaves it: neither symmetric, nor row after row in memory.
        predictor = (0.5 * np.eye(width) + rng.normal(0, 0.02, (width, width))).astype(np.float32).T
        return Superframes(np.full(width, middle, np.float32), predictor, codebooks)

    def network(widths, spread):
        return [
            (rng.normal(0, spread, (b, a)).astype(np.float32), np.zeros(b, np.float32)) for a, b in pairwise(widths)
        ]

    layers = network([69 * frames + 1, 16, 79 * frames], 0.05)
    of_energy, of_shape = superframes(frames, 10, 50, [16]), superframes(20 * frames, 4, 0, [32, 8])
    of_shape = replace(of_shape, layers=network([4 * frames + 6, 8, 1 + 20 * frames], 0.5))
    if eight_bit:
        of_energy, of_shape = rounded(of_energy), rounded(of_shape)
        layers = dense.rounded_layers(layers)
    pitch = pitch or sent_pitch()
    return Codec(frames, voicing_ms, pitch, of_energy, of_shape, layers, paths, wait, 1.2, -80.0, eight_bit)


def coded(codec, speech):
    """Speech that is encoded and decoded as a whole, without errors."""
    fields = np.concatenate([*encode(codec, [speech])])
    return np.concatenate([*decode(codec, [(fields, np.zeros(len(fields), bool))])])


def write_small_codec(folder, **options):
    files.write(folder, small_codec(**options), {"name": folder.name})
    return folder
