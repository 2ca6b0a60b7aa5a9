"""The networks as rows of layer widths, one row for each network of the original experiments.

Shapes are those of the original's autoencoder scripts and its manifold project. Building them is in `networks`; this
table needs no torch, so that the configuration can be checked and plain networks run without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

H = 512
LEVELS = 8
"""Values of an element after finite scalar quantisation."""
ENTRIES = 512
"""Entries of a codebook that is trained with its network."""
SHAPING = ("family", "nn", "d", "ncat", "nvq", "norm", "zero_mean", "dct", "lower_limit_dB", "symbols")
"""Settings that a network has in common with one that it is trained on from."""
POOLING = 4
"""Frames of which the convolutional network makes one vector of latents."""


@dataclass(frozen=True)
class Row:
    """Layer widths of a network; "b" is 20*ncat for `ncat` frames of b, "d" the bottleneck's width.

    `encoder` ends at the latents and is empty when the network has no bottleneck; `decoder` starts at them. Widths of
    22 take b, log10(Wo) and the voicing. `bottleneck` is the latents' activation, after which `noisy` networks take
    Gaussian noise in training and others quantise, "fsq" by finite scalars and "vq" by codebooks that are trained
    along; of a row without encoder "vq" quantises the input. `layers` says what lies between the widths: "linear",
    "normalised" (linear, then batch normalisation), "conv" (convolutions over frames) or "pitch" (linear layers that
    see Wo once more at each step).
    """

    encoder: tuple
    decoder: tuple
    bottleneck: Literal["tanh", "relu"] = "tanh"
    noisy: bool = False
    quantised: Literal["fsq", "vq"] | None = None
    layers: Literal["linear", "normalised", "conv", "pitch"] = "linear"

    @property
    def inputs(self) -> str | int:
        return (self.encoder or self.decoder)[0]

    @property
    def source(self) -> str:
        """What goes in: "b" or "y"."""
        return "y" if self.inputs == 79 else "b"

    @property
    def target(self) -> str:
        """What the output approximates: "b" or "y"."""
        return "y" if self.decoder[-1] == 79 else "b"

    @property
    def beyond_dense(self) -> str | None:
        """Its quantiser or layers that dense layers, normalised or not, cannot stand for; None where they are all."""
        return self.quantised or (self.layers if self.layers in ("conv", "pitch") else None)


ROWS = {
    ("manifold", 1): Row((), (22, H, H, 79)),
    ("manifold", 3): Row((), (22, 40, 40, 79, 79)),
    ("manifold", 4): Row((), (22, H, H, 79), layers="pitch"),
    ("autoencoder1", 1): Row((20, H, "d"), ("d", H, 20), "relu"),
    ("autoencoder1", 2): Row(("b", H, "d"), ("d", H, "b")),
    ("autoencoder1", 3): Row(("b", 128, "d"), ("d", 128, "b"), "relu", layers="conv"),
    ("autoencoder1", 4): Row(("b", H, "d"), ("d", H, "b"), noisy=True),
    ("autoencoder1", 5): Row(("b", H, "d"), ("d", H, "b"), quantised="fsq"),
    ("autoencoder1", 6): Row((20, H, "d"), ("d", H, 20), "relu", quantised="vq"),
    ("autoencoder1", 7): Row((), (20, 20), quantised="vq"),
    ("autoencoder2", 1): Row((79, H, "d"), ("d", H, H, 79)),
    ("autoencoder2", 2): Row((79, H, 256, "d"), ("d", 256, H, H, 79)),
    ("autoencoder3", 1): Row((22, H, H, "d"), ("d", H, H, 79), noisy=True),
    ("autoencoder3", 2): Row((22, 256, 128, "d"), ("d", 128, 256, 79)),
    ("autoencoder3", 3): Row((22, 22, 22, 22, "d"), ("d", H, H, 79)),
    ("autoencoder3", 4): Row((22, H, H, "d", "d"), ("d", H, H, H, 79)),
    ("autoencoder4", 1): Row((20, H, "d"), ("d", H, 20), "relu"),
    ("autoencoder4", 2): Row((20, 64, H, "d"), ("d", H, 64, 20), "relu"),
    ("autoencoder4", 3): Row((20, 64, 64, "d"), ("d", 64, 64, 20), "relu"),
    ("autoencoder4", 4): Row((20, H, 256, "d"), ("d", 256, H, 20), "relu"),
    ("autoencoder4", 5): Row((20, H, 256, "d"), ("d", 256, H, 20), noisy=True),
    ("autoencoder4", 6): Row((20, H, 256, "d"), ("d", 256, H, 20), noisy=True, layers="normalised"),
}


def row_of(settings: dict) -> Row:
    """The row of a network, for settings as of `settings.NetworkSettings`."""
    return ROWS[settings["family"], settings["nn"]]


def latent_width(settings: dict) -> int | None:
    """Latents of one vector, for settings as of `settings.NetworkSettings`; None for a network without a bottleneck."""
    row = row_of(settings)
    if not row.encoder:
        return None
    if row.layers == "conv":
        return settings["d"] * settings["ncat"] // POOLING
    return settings["d"] * (settings["nvq"] if row.quantised == "fsq" else 1)


def widths_of(settings: dict) -> list[list[int]]:
    """Widths of the layers of encoder and decoder, for settings as of `settings.NetworkSettings`."""
    row, special = row_of(settings), {"b": 20 * settings["ncat"], "d": latent_width(settings)}
    return [[special.get(width, width) for width in widths] for widths in (row.encoder, row.decoder)]


def training_frames(settings: dict, frames: int) -> int:
    """Of so many frames of a file, how many are trained on: the first; the share `held_out`, the last, never is.

    Of a file of voices that a corpus holds out none is, whatever this says.
    """
    return frames - round(settings["held_out"] * frames)
