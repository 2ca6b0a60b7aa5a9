"""The networks: stacks of linear layers described by a row of widths.

A network maps a frame, or `ncat` adjacent frames flattened, to a frame: b to y_hat, or b
through a bottleneck of `d` latents to b_hat. What goes in and comes out is dB/20, that is log10 of the
amplitude; preparing and restoring it is in `inference`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn

from mlquant.architectures import ROWS


class Network(nn.Module):
    """Encoder, bottleneck (tanh, then noise in training) and decoder; without latents just the decoder."""

    def __init__(self, settings: dict):
        super().__init__()
        self.row = ROWS[settings["family"], settings["nn"]]
        frames = settings["ncat"]
        special = {"d": settings["d"], 20: 20 * frames}
        self.encoder = _stack([special.get(width, width) for width in self.row.encoder])
        self.decoder = _stack([special.get(width, width) for width in self.row.decoder])
        self.noise_var = settings["noise_var"]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Latents [F, d] in -1..1 of inputs [F, inputs]; the inputs themselves when there is no bottleneck."""
        return torch.tanh(self.encoder(x)) if self.row.encoder else x

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Outputs [F, outputs] of latents [F, d]."""
        return self.decoder(latents)

    def forward(self, x: torch.Tensor, noise: torch.Generator | None = None) -> torch.Tensor:
        """Outputs of inputs; with a generator, noise of variance `noise_var` is added to each latent vector."""
        latents = self.encode(x)
        if noise is not None and self.noise_var > 0:
            latents = latents + self.noise_var**0.5 * torch.randn(latents.shape, generator=noise)
        return self.decode(latents)


def _stack(widths: list[int]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def network_inputs(settings: dict, records: np.ndarray) -> np.ndarray:
    """What a network sees of feature records [F, 22] (b in dB, Wo, voiced): [F, 20 or 22] float32.

    b in dB/20, less its own energy when `norm`; a 22-wide network also gets log10(Wo) and the voicing.
    """
    row = ROWS[settings["family"], settings["nn"]]
    b = records[:, :20].astype(np.float64)
    if settings["norm"]:
        b = b - energy_dB(b)[:, None]
    if row.inputs == 22:
        extra = np.stack([np.log10(records[:, 20]), records[:, 21]], axis=1)
        return np.concatenate([b / 20, extra], axis=1).astype(np.float32)
    return (b / 20).astype(np.float32)


def energy_dB(features: np.ndarray) -> np.ndarray:
    """Energy [F] in dB of feature vectors [F, n] in dB: 10 log10 of the sum of 10^(X/10)."""
    peak = features.max(axis=1, keepdims=True)
    return (peak + 10 * np.log10(np.sum(10 ** ((features - peak) / 10), axis=1, keepdims=True)))[:, 0]
