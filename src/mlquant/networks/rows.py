"""The networks as rows of layer widths, one row for each network of the original experiments.

Shapes are those of the original's autoencoder scripts and its manifold project. Building them is in `model`; this
module needs no torch, so that the configuration can be checked and plain networks run without it.

The table is data: `settings.NetworkSettings` puts a network's row among its settings, which its weights hold, and all
other code takes it from there (`row_of`). So a row that is added to the table changes nothing for other networks, and
weights of a network that is not in the table can be used.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, get_args

from mlquant.core.stage import Setting

H = 512
LEVELS = 8
"""Values of an element after finite scalar quantisation."""
ENTRIES = 512
"""Entries of a codebook that is trained with its network."""
SHAPING = ("family", "nn", "row", "d", "ncat", "nvq", "norm", "zero_mean", "dct", "lower_limit_dB", "symbols")
"""Settings in which a network must agree with the one whose weights its training begins with."""
POOLING = 4
"""Frames for which the convolutional network makes one vector of latents."""
_WIDEST = 2048  # most elements of a layer
_DEEPEST = 16  # most layers of an encoder or a decoder
Bottleneck = Literal["tanh", "relu"]
Layers = Literal["linear", "normalised", "conv", "pitch"]
Quantised = Literal["fsq", "vq"]


@dataclass(frozen=True)
class Row:
    """Layer widths of a network; "b" is 20*ncat for `ncat` frames of b, "d" the bottleneck's width.

    `encoder` ends at the latents and is empty when the network has no bottleneck; `decoder` starts at them. Widths of
    22 take b, log10(Wo) and the voicing. `bottleneck` is the latents' activation. After it, `noisy` networks get
    Gaussian noise in training, and `quantised` ones quantise: "fsq" by finite scalars, "vq" by codebooks that are
    trained with the network. Without an encoder "vq" quantises the input. `layers` says what lies between the widths:
    "linear", "normalised" (linear, then batch normalisation), "conv" (convolutions over frames) or "pitch" (linear
    layers that see Wo once more at each step).
    """

    encoder: Annotated[tuple, Setting(help="widths from the input to the latents; empty without a bottleneck")]
    decoder: Annotated[tuple, Setting(help="widths from the latents, or else from the input, to the output")]
    bottleneck: Annotated[Bottleneck, Setting(help="activation of the latents")] = "tanh"
    noisy: Annotated[bool, Setting(help="the latents get noise in training")] = False
    quantised: Annotated[Quantised | None, Setting(help="the network quantises by itself")] = None
    layers: Annotated[Layers, Setting(help="what lies between the widths")] = "linear"

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
        """The quantiser or kind of layers that it has besides dense ones, normalised or not; None if there is none."""
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
    row = settings["row"]
    return Row(**row | {"encoder": tuple(row["encoder"]), "decoder": tuple(row["decoder"])})


def checked_row(value: Any) -> Row:
    """Return the row that an object from JSON or YAML describes.

    Raises ValueError, one line that names the key, for a row of which no network can be built.
    """
    if not isinstance(value, dict):
        raise ValueError(f"found {repr(value)[:50]}, expected an object")
    known = [field.name for field in fields(Row)]
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"unknown key {str(unknown[0])[:50]!r}, expected {', '.join(known)}")

    def expect(key: str, good: object, expected: str) -> None:
        if not good:
            raise ValueError(f"{key}: found {repr(value.get(key))[:100]}, expected {expected}")

    def is_width(width: Any) -> bool:
        return width in ("b", "d") if isinstance(width, str) else type(width) is int and 1 <= width <= _WIDEST

    for key, least in (("encoder", 0), ("decoder", 2)):
        widths = value.get(key)
        good = isinstance(widths, list | tuple) and least <= len(widths) <= _DEEPEST and all(map(is_width, widths))
        expect(key, good, f'a list of widths, each "b", "d" or a whole number, 1 to {_WIDEST}')
    for key, choice in (("bottleneck", Bottleneck), ("layers", Layers), ("quantised", Quantised)):
        names = get_args(choice)
        absent = key not in value or (key == "quantised" and value[key] is None)
        expect(key, absent or (isinstance(value[key], str) and value[key] in names), f"one of {', '.join(names)}")
    expect("noisy", isinstance(value.get("noisy", False), bool), "true or false")

    row = row_of({"row": value})
    expect("encoder", not row.encoder or (len(row.encoder) > 1 and row.encoder[-1] == "d"), 'a list that ends in "d"')
    expect("decoder", not row.encoder or row.decoder[0] == "d", 'a list that begins with "d", as the encoder ends')
    first, last = row.inputs, row.decoder[-1]
    start = "encoder" if row.encoder else "decoder"
    expect(start, first in ("b", 20, 22, 79), 'a list that begins with "b", 20, 22 or 79')
    expect("decoder", last in ("b", 20, 79) and (last == 79 or last == first), "a list that ends in 79, or as b begins")
    expect("decoder", first != "b" or last == "b", 'a list that ends in "b", of as many frames as go in')
    inside = row.encoder[1:-1] + row.decoder[1:-1] if row.encoder else row.decoder[1:-1]
    expect("decoder", "b" not in inside and (row.encoder or "d" not in inside), "whole numbers between the ends")
    expect("noisy", bool(row.encoder) or not row.noisy, "false without an encoder")
    expect("quantised", bool(row.encoder) or row.quantised != "fsq", "another than fsq without an encoder")
    expect("quantised", bool(row.encoder) or row.quantised is None or type(first) is int, "none, for sequences of b")
    if row.layers == "conv":
        hidden = row.encoder[1:-1]
        good = len(hidden) == 1 and type(hidden[0]) is int
        good = good and (row.encoder, row.decoder) == (("b", *hidden, "d"), ("d", *hidden, "b")) and not row.quantised
        expect("layers", good, 'others than conv, which goes from "b" through one width to "d" and back')
    if row.layers == "pitch":
        good = not row.encoder and len(row.decoder) == 4 and first == 22 and not row.quantised
        expect("layers", good, "others than pitch, which goes from 22 through two widths to the output")
    return row


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
    """Return how many of a file's `frames`, from the first on, are trained on; the share `held_out` at its end is not.

    This is not for files of voices that a corpus holds out, of which no frame is trained on.
    """
    return frames - round(settings["held_out"] * frames)
