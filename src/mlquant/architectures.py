"""The networks as rows of layer widths, one row for each network of the original experiments.

Shapes are those of the original's autoencoder scripts and its manifold project. Building and running them is
in `networks`; this table needs no torch, so that the configuration can be checked without it.
"""

from __future__ import annotations

from dataclasses import dataclass

H = 512


@dataclass(frozen=True)
class Row:
    """Layer widths of a network; "d" is the bottleneck's width, and 20 becomes 20*ncat for `ncat` frames of b.

    `encoder` ends at the latents and is empty when the network has no bottleneck; `decoder` starts at them.
    `target` is what the output approximates, "b" or "y"; `noisy` networks take Gaussian noise after the tanh.
    """

    encoder: tuple
    decoder: tuple
    target: str
    noisy: bool = False

    @property
    def inputs(self) -> int:
        return (self.encoder or self.decoder)[0]


ROWS = {
    ("manifold", 1): Row((), (22, H, H, 79), "y"),
    ("autoencoder1", 2): Row((20, H, "d"), ("d", H, 20), "b"),
    ("autoencoder1", 4): Row((20, H, "d"), ("d", H, 20), "b", noisy=True),
}
